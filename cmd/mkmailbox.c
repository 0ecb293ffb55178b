/* mkmailbox: makes the Maildir that lets a local user exist. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "cmd/fardel.h"
#include "cmd/settings.h"
#include "deliver/maildir.h"
#include "lib/account.h"

/* The path of a user's mailbox. 0, or an exit status after a complaint. */
static int find_path(const struct settings *set, const char *name, char path[PATH_MAX])
{
	char user[LOCAL_MAX + 1];

	if (!maildir_user(str_of(name), user)) {
		fprintf(stderr, "fardel mkmailbox: \"%s\" can be no user's name: only a-z 0-9 . _ + -, not beginning with a dot\n", name);
		return EX_DATAERR;
	}
	if (maildir_path(str_of(set->mailbox), user, path, PATH_MAX))
		return 0;
	fprintf(stderr, "%s: mailbox: the path for %s becomes too long. Choose a shorter one.\n", conf_where(&set->conf, "mailbox"), user);
	return EX_CONFIG;
}

static int cannot_make(const char *path)
{
	fprintf(stderr, "fardel mkmailbox: cannot make %s: %s.%s\n", path, strerror(errno),
		errno == EACCES || errno == EPERM ? " Run it as root with user set, or as the account that owns what is above it." : "");
	return EX_CANTCREAT;
}

static int make(const struct settings *set, const char *name)
{
	char path[PATH_MAX], part[PATH_MAX + 4];
	struct stat st;
	bool there;
	int status = find_path(set, name, path);

	if (status)
		return status;
	/* The directory itself may have been made by root, a moment ago. */
	snprintf(part, sizeof part, "%s/new", path);
	there = stat(part, &st) == 0;
	if (maildir_make(path) == -1)
		return cannot_make(path);
	printf("%s %s\n", path, there ? "is there" : "made");
	return EX_OK;
}

/* As root, with `user` set: mailboxes must be that account's. Root makes only what the account cannot, and the rest is done as the
 * account, so that nothing it has put into its directories can lead root astray. */
static int become_user(const struct settings *set, int users, char **name)
{
	struct account a;
	char path[PATH_MAX], text[512];
	const char *why;
	int status = EX_OK;

	if (!set->user || geteuid() != 0)
		return EX_OK;
	if ((why = account_find(set->user, &a))) {
		fprintf(stderr, "%s: user = %s %s\n", conf_where(&set->conf, "user"), set->user, why);
		return EX_CONFIG;
	}
	for (int i = 0; i < users && status == EX_OK; i++) {
		status = find_path(set, name[i], path);
		if (status == EX_OK && account_make_first(&a, path, 0700) == -1)
			status = cannot_make(path);
	}
	if (status == EX_OK && account_settle(&a, text, sizeof text) == -1) {
		fprintf(stderr, "fardel mkmailbox: %s\n", text);
		status = EX_NOPERM;
	}
	return status;
}

/* In a home, as whose it is: in a child, for there is no way back to root. */
static int make_in_home(const struct settings *set, const char *name)
{
	struct account a;
	char user[LOCAL_MAX + 1];
	const char *why, *step;
	int status;
	pid_t pid;

	if (!maildir_user(str_of(name), user) || (why = account_find(user, &a))) {
		fprintf(stderr, "fardel mkmailbox: %s is no user who gets mail in a home: no account of this system, or root\n", name);
		return EX_NOUSER;
	}
	if (geteuid() != 0 && geteuid() != a.uid) {
		fprintf(stderr, "fardel mkmailbox: %s is another account than this one. Run it as root, or as %s\n", user, user);
		return EX_NOPERM;
	}
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		if (geteuid() != a.uid && account_become(&a, &step) == -1) {
			fprintf(stderr, "fardel mkmailbox: cannot become %s: %s: %s\n", user, step, strerror(errno));
			_exit(EX_OSERR);
		}
		status = make(set, name);
		fflush(stdout);
		_exit(status);
	}
	if (pid == -1 || waitpid(pid, &status, 0) == -1)
		return EX_OSERR;
	return WIFEXITED(status) ? WEXITSTATUS(status) : EX_SOFTWARE;
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
	else if (!set.homes)
		status = become_user(&set, users, argv + 1);
	for (int i = 0; i < users && status == EX_OK; i++)
		status = set.homes ? make_in_home(&set, argv[1 + i]) : make(&set, argv[1 + i]);
	settings_free(&set);
	return status;
}
