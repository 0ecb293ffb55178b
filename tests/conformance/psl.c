/* The published test vectors of the public suffix list: psl FILE... has lib/suffix.c find the registered part of every name.
 * Prints what differs, then "N passed, N failed". Lines are checkPublicSuffix('NAME', 'REGISTERED') with null for none; others are for
 * people. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/file.h"
#include "lib/idn.h"
#include "lib/suffix.h"

static unsigned passed, failed;

/* 'text' or null; false: neither. */
static bool take_name(struct str *in, struct str *out)
{
	struct str before;

	*in = str_trim(*in);
	*out = STR("");
	if (str_starts_nocase(*in, STR("null"))) {
		*in = str_from(*in, 4);
		return true;
	}
	return str_cut(in, '\'', &before) && !before.n && str_cut(in, '\'', out);
}

static void check(struct str name, struct str wanted)
{
	char ascii[2][256];
	struct str found;

	if (idn_to_ascii(name, ascii[0]) || idn_to_ascii(wanted, ascii[1])) {
		printf(STR_FMT ": cannot be written in ASCII here\n", STR_ARG(name));
		failed++;
		return;
	}
	found = suffix_registered(str_of(ascii[0]));
	if (str_eq_nocase(found, str_of(ascii[1]))) {
		passed++;
		return;
	}
	printf(STR_FMT ": \"" STR_FMT "\" instead of \"" STR_FMT "\"\n", STR_ARG(name), STR_ARG(found), STR_ARG(wanted));
	failed++;
}

static void run(struct str rest)
{
	struct str line, name, wanted;

	while (str_cut(&rest, '\n', &line)) {
		if (!str_starts_nocase(line, STR("checkPublicSuffix(")))
			continue;
		line = str_from(line, 18);
		if (!take_name(&line, &name) || !str_starts_nocase(line, STR(",")))
			continue;
		line = str_from(line, 1);
		if (take_name(&line, &wanted))
			check(name, wanted);
	}
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		struct buf text = { .max = 10 << 20 };

		if (file_read_all(AT_FDCWD, argv[i], &text) == -1) {
			perror(argv[i]);
			return 2;
		}
		run(buf_view(&text));
		buf_free(&text);
	}
	if (!suffix_available())
		printf("built without a list of public suffixes\n");
	printf("%u passed, %u failed\n", passed, failed);
	return failed || !passed;
}
