/* Records and policies of MTA-STS: what is understood is written so that it is understood again, as the same. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "deliver/mtasts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void must(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "mtasts: broken: %s\n", what);
	abort();
}

static void check_record(struct str text)
{
	struct str id;

	if (mtasts_record(text, &id))
		return;
	must(id.n > 0 && id.n <= MTASTS_ID, "an id's length");
	must(id.p >= text.p && id.p + id.n <= text.p + text.n, "an id from elsewhere");
	for (size_t i = 0; i < id.n; i++)
		must(ascii_alpha(id.p[i]) || ascii_digit(id.p[i]), "an octet of an id");
}

/* Do both allow the same hosts? Those that one of them names are asked for, as they are and below a "*". */
static void check_same(const struct mtasts_policy *a, const struct mtasts_policy *b)
{
	struct str rest = a->text, line, key;
	char host[300];

	while (rest.n) {
		if (!str_cut(&rest, '\n', &line)) {
			line = rest;
			rest = STR("");
		}
		if (!str_cut(&line, ':', &key))
			continue;
		line = str_trim(line);
		snprintf(host, sizeof host, "%s" STR_FMT, line.n && line.p[0] == '*' ? "x" : "", STR_ARG(str_from(line, line.n && line.p[0] == '*')));
		must(mtasts_allows(a, str_of(host)) == mtasts_allows(b, str_of(host)), "hosts that differ");
		must(!str_eq(key, STR("mx")) || strlen(host) > 255 || mtasts_allows(a, str_of(host)), "a host that is named and not allowed");
	}
}

static void check_policy(struct str text)
{
	struct mtasts_policy p, again;
	struct buf out = { 0 }, twice = { 0 };

	if (mtasts_parse(text, &p))
		return;
	must(p.max_age <= MTASTS_AGE_MAX && p.mode <= MTASTS_ENFORCE && text.n <= MTASTS_TEXT, "bounds");
	must(mtasts_print(&p, &out), "no room");
	must(!mtasts_parse(buf_view(&out), &again), "what was written is not understood");
	must(again.mode == p.mode && again.max_age == p.max_age, "what was written is another policy");
	check_same(&p, &again);
	must(mtasts_print(&again, &twice) && str_eq(buf_view(&out), buf_view(&twice)), "written twice it differs");
	buf_free(&out);
	buf_free(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct str text = { (const char *)data, n };

	check_record(text);
	check_policy(text);
	return 0;
}
