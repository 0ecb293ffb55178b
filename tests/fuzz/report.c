/* Any octets as a message with an aggregate report, and as the files in one, packed or not: what is kept of it is bounded, and lines that can be read back. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/daily.h"
#include "lib/unpack.h"
#include "policy/feedback.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void check_lines(struct str text)
{
	struct two { char kind[8], org[260]; } two;
	static const struct daily_field rows[] = { DAILY_ROW(struct two, kind), DAILY_ROW(struct two, org) };
	struct str line;

	must(str_cut(&text, '\n', &line) && (str_starts_nocase(line, STR("dmarc ")) || str_starts_nocase(line, STR("tls "))));
	while (str_cut(&text, '\n', &line)) {
		struct buf whole = { 0 };

		memset(&two, 0, sizeof two);
		buf_puts(&whole, "1");
		buf_str(&whole, line);
		must(daily_read(buf_view(&whole), rows, 2, &two) && (!two.kind[0] || two.org[0]));
		buf_free(&whole);
	}
	must(!text.n);
}

static void check(const char *wrong, struct buf *out)
{
	if (!wrong && !out->bad)
		check_lines(buf_view(out));
	buf_free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct str text = { (const char *)data, n };
	struct buf out = { .max = FEEDBACK_TEXT }, file = { .max = 64 << 10 };
	const char *wrong = feedback_read(FEEDBACK_AGGREGATE, text, "mail.example.org", &out);

	must(!wrong || !out.n);
	check(wrong, &out);
	check(feedback_dmarc(text, &out), &out);
	check(feedback_tls(text, &out), &out);
	unpack(text, &file);
	must(file.n <= file.max);
	buf_free(&file);
	return 0;
}
