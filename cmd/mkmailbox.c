/* mkmailbox: makes the Maildir that lets a local user exist. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>

#include "cmd/fardel.h"
#include "cmd/settings.h"
#include "deliver/maildir.h"

static int make(const struct settings *set, const char *name)
{
	char user[LOCAL_MAX + 1], path[PATH_MAX];
	struct stat st;
	bool there;

	if (!maildir_user(str_of(name), user)) {
		fprintf(stderr, "fardel mkmailbox: \"%s\" can be no user's name: only a-z 0-9 . _ + -, not beginning with a dot\n", name);
		return EX_DATAERR;
	}
	if (!maildir_path(str_of(set->mailbox), user, path, sizeof path)) {
		fprintf(stderr, "%s: mailbox: the path for %s becomes too long. Choose a shorter one.\n",
			conf_where(&set->conf, "mailbox"), user);
		return EX_CONFIG;
	}
	there = stat(path, &st) == 0;
	if (maildir_make(path) == -1) {
		fprintf(stderr, "fardel mkmailbox: %s: %s\n", path, strerror(errno));
		return EX_CANTCREAT;
	}
	printf("%s %s\n", path, there ? "is there" : "made");
	return EX_OK;
}

int cmd_mkmailbox(int argc, char **argv)
{
	struct arguments a = { 0 };
	struct settings set;
	int status = EX_OK, users = 0;
	const char *why;

	for (int i = 1; i < argc; i++) {
		if (!arguments_take(&a, argc, argv, &i, &why)) {
			if (argv[i][0] == '-') {
				users = 0;
				break;
			}
			argv[1 + users++] = argv[i];    /* never ahead of i */
		} else if (why) {
			fprintf(stderr, "fardel mkmailbox: %s\n", why);
			return EX_USAGE;
		}
	}
	if (users == 0) {
		fprintf(stderr, "fardel mkmailbox: write fardel mkmailbox [-c FILE] USER...\n");
		return EX_USAGE;
	}
	if (!settings_load(&set, &a))
		status = settings_complain(&set);
	for (int i = 0; i < users && status == EX_OK; i++)
		status = make(&set, argv[1 + i]);
	settings_free(&set);
	return status;
}
