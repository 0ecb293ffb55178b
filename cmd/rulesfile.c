/* fardel rules FILE: what is wrong with a file of rules. */
#include "cmd/rulesfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "cmd/fardel.h"
#include "lib/file.h"
#include "policy/ruleset.h"

unsigned rulesfile_check(const char *path, bool operators, void (*complain)(void *arg, unsigned line, const char *why), void *arg)
{
	struct buf text = { .max = operators ? RULESET_ALL : RULESET_OWN };
	unsigned good = 0;

	if (file_read_all(AT_FDCWD, path, &text) == -1)
		complain(arg, 0, errno == EFBIG ? "it is too large: what is behind the first 64 KiB of a mailbox's, or 1 MiB of the operator's, does not count" : strerror(errno));
	else
		good = ruleset_check(buf_view(&text), operators, complain, arg);
	buf_free(&text);
	return good;
}

struct report {
	const char *path;
	unsigned wrong;
	bool unread;
};

static void print_wrong(void *arg, unsigned line, const char *why)
{
	struct report *r = arg;

	if (line) {
		r->wrong++;
		printf("%s:%u: %s\n", r->path, line, why);
	} else {
		r->unread = true;
		fprintf(stderr, "fardel rules: %s: %s\n", r->path, why);
	}
}

int cmd_rules(int argc, char **argv)
{
	bool operators = argc > 1 && !strcmp(argv[1], "-a");
	struct report r = { .path = argc > 1 ? argv[argc - 1] : NULL };
	unsigned good;

	if (argc != 2 + operators || (r.path[0] == '-' && !operators)) {
		fprintf(stderr, "fardel rules: which file is it? Write fardel rules ~/Maildir/fardel.rules, or fardel rules -a FILE for one of the setting rules\n");
		return EX_USAGE;
	}
	good = rulesfile_check(r.path, operators, print_wrong, &r);
	if (r.unread)
		return EX_NOINPUT;
	printf("%s: %u %s, %u with a mistake\n", r.path, good + r.wrong, good + r.wrong == 1 ? "rule" : "rules", r.wrong);
	return r.wrong ? EX_DATAERR : 0;
}
