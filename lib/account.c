/* Giving up root, and what root must do before. */
#include "lib/account.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/str.h"

const char *account_look_up(const char *name, struct account *out)
{
	struct passwd *pw;

	*out = (struct account){ 0 };
	errno = 0;
	pw = getpwnam(name);
	if (!pw && errno && errno != ENOENT && errno != ESRCH)
		return "cannot be looked up now. Try again later, or look at /etc/nsswitch.conf.";
	errno = 0;
	if (!pw)
		return "is no account of this system. Make it (useradd --system NAME), or name another one.";
	out->uid = pw->pw_uid;
	out->gid = pw->pw_gid;
	if (!str_copy(out->name, sizeof out->name, str_of(name)))
		return "is too long a name.";
	if (!str_copy(out->home, sizeof out->home, str_of(pw->pw_dir)) || !str_copy(out->shell, sizeof out->shell, str_of(pw->pw_shell)))
		return "has a home or a shell whose path is too long.";
	return NULL;
}

const char *account_find(const char *name, struct account *out)
{
	const char *wrong = account_look_up(name, out);

	if (!wrong && out->uid == 0)
		return "is root: nothing would be given up. Name an account without rights.";
	return wrong;
}

/* ---- directories */

/* Between mkdir and open somebody who may write above could have put something else there: only what we made is given away. */
static int make_and_give(const struct account *a, const char *path, mode_t mode)
{
	struct stat st;
	int fd, saved, r = -1;

	if (mkdir(path, 0700) == -1)
		return -1;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd == -1)
		return -1;
	if (fstat(fd, &st) == -1)
		goto out;
	errno = EEXIST;
	if (st.st_uid == geteuid() && (st.st_mode & 077) == 0 && fchmod(fd, mode) == 0)
		r = fchown(fd, a->uid, a->gid);
out:
	saved = errno;
	close(fd);
	errno = saved;
	return r;
}

/* The end of the next component of path behind `from`; 0: there is none. */
static size_t component_end(const char *path, size_t from)
{
	size_t i = from;

	while (path[i] == '/')
		i++;
	if (!path[i])
		return 0;
	while (path[i] && path[i] != '/')
		i++;
	return i;
}

int account_make_first(const struct account *a, const char *path, mode_t mode)
{
	char part[PATH_MAX];
	struct stat st, above;
	size_t end = 0;

	if (stat(path[0] == '/' ? "/" : ".", &above) == -1)
		return -1;
	while ((end = component_end(path, end))) {
		if (!str_copy(part, sizeof part, (struct str){ path, end })) {
			errno = ENAMETOOLONG;
			return -1;
		}
		if (stat(part, &st) == 0) {
			above = st;
			continue;
		}
		if (errno != ENOENT)
			return -1;
		return above.st_uid == a->uid ? 0 : make_and_give(a, part, mode);
	}
	return 0;
}

/* ---- rights */

int account_become(const struct account *a, const char **step)
{
	*step = "initgroups";
	if (initgroups(a->name, a->gid) == -1)
		return -1;
	*step = "setgid";
	if (setresgid(a->gid, a->gid, a->gid) == -1)
		return -1;
	*step = "setuid";
	if (setresuid(a->uid, a->uid, a->uid) == -1)
		return -1;
	/* A kernel or a sandbox that lets us come back has not taken the rights away. */
	*step = "setuid: it could be undone";
	if (setuid(0) != -1 || geteuid() != a->uid || getegid() != a->gid) {
		errno = EPERM;
		return -1;
	}
	*step = "no_new_privs";
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1)
		return -1;
	*step = "dumpable";
	return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

int account_settle(const struct account *a, char *why, size_t size)
{
	const char *step;

	if (geteuid() == a->uid && getuid() == a->uid)
		return 0;
	if (geteuid() != 0) {
		snprintf(why, size, "user = %s needs root to begin with, or that account itself; this is uid %lu. "
			"Start it as one of the two, or leave user empty", a->name, (unsigned long)geteuid());
		errno = EPERM;
		return -1;
	}
	if (account_become(a, &step) == 0)
		return 0;
	snprintf(why, size, "cannot become %s: %s: %s. The process needs CAP_SETUID and CAP_SETGID for it, or start it as %s",
		a->name, step, strerror(errno), a->name);
	return -1;
}
