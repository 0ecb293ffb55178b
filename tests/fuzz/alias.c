/* Files of aliases of any content, a NUL between that of names and that of virtual users: taken, or complained of with file and line; and
 * whatever is in them, each name stands for addresses that are some, each of them once, the same whenever it is asked. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "deliver/alias.h"
#include "lib/list.h"
#include "lib/log.h"
#include "deliver/aliasfile.h"
#include "parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static void must(bool holds)
{
	if (!holds)
		abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	must(log_open("/dev/null") == 0);
	return 0;
}

/* Every complaint begins with "aliases:N: " or "virtual:N: " and ends in a sentence. */
static void check_lines(const struct buf *lines)
{
	struct str rest = buf_view(lines), line;

	while (str_cut(&rest, '\n', &line)) {
		struct str word;
		uint64_t number;

		must(str_cut(&line, ':', &word) && (str_eq(word, STR("aliases")) || str_eq(word, STR("virtual"))));
		must(str_cut(&line, ':', &word) && str_number(word, 1 << 30, &number) && number > 0);
	}
	must(!rest.n);
}

static bool known(const struct expansion *x, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (str_eq(x->to[k].local, x->to[i].local) && str_eq(x->to[k].domain, x->to[i].domain))
			return true;
	return false;
}

static void check_found(const struct expansion *x)
{
	for (size_t i = 0; i < x->n && i < 200; i++) {
		struct buf whole = { 0 };
		struct addr a;

		print_addr(&whole, &x->to[i]);
		must(!parse_address(buf_view(&whole), false, &a));
		must(!known(x, i));
		buf_free(&whole);
	}
	must((x->kind == ALIAS_LIST) == (x->owner[0] != '\0'));
	must(x->n <= ALIAS_TARGETS);
}

static void ask(struct aliases *a, struct str name)
{
	struct str domain = name, local;
	struct addr addr = { .local = name, .domain = STR("here.example") };
	struct expansion x = { 0 }, again = { 0 };
	enum alias_answer answer;

	if (str_cut_last(&domain, '@', &local))
		addr = (struct addr){ local.n ? local : STR("someone"), domain };
	answer = alias_expand(a, NULL, &addr, &x);
	must(answer != ALIAS_WAIT);
	must(answer != ALIAS_FAILED || (x.why.code >= 400 && x.why.code < 600 && x.why.text[0]));
	if (answer == ALIAS_FOUND)
		check_found(&x);
	must(alias_expand(a, NULL, &addr, &again) == answer && again.n == x.n && again.kind == x.kind);
	for (size_t i = 0; i < x.n; i++)
		must(str_eq(x.to[i].local, again.to[i].local) && str_eq(x.to[i].domain, again.to[i].domain));
	expansion_free(&x);
	expansion_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct str local[] = { { "here.example", 12 }, { "a.example", 9 } };
	static struct routes routes = { .local = local, .nlocal = 2 };
	static struct alias_config config = { .routes = &routes, .origin = "here.example", .separator = '+' };
	struct aliases *a = aliases_new(&config);
	struct str text = { (const char *)data, n }, names = text, line, word;

	must(a != NULL);
	if (!str_cut(&text, '\0', &names))
		text = STR("");
	aliases_take(a, names, text);
	check_lines(aliases_errors(a));
	/* what looks like a name in the input, and a few that it may know */
	for (int i = 0; i < 50 && str_cut(&names, '\n', &line); i++)
		if (str_cut(&line, ':', &word))
			ask(a, str_trim(word));
	for (int i = 0; i < 50 && str_cut(&text, '\n', &line); i++)
		if (str_word(&line, &word))
			ask(a, word);
	ask(a, STR("root"));
	ask(a, STR("postmaster"));
	ask(a, STR("postmaster@a.example"));
	aliases_free(a);
	return 0;
}
