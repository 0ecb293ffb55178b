/* check: would the program run with this configuration in this environment? Says what is wrong, where it was written and what to do. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "cmd/check.h"

#include "auth/users.h"
#include "cmd/control.h"
#include "cmd/decide.h"
#include "cmd/fardel.h"
#include "cmd/lacks.h"
#include "cmd/probe.h"
#include "cmd/relay.h"
#include "cmd/rulesfile.h"
#include "cmd/settings.h"
#include "cmd/signing.h"
#include "deliver/alias.h"
#include "deliver/mailbox.h"
#include "dns.h"
#include "lib/account.h"
#include "lib/clock.h"
#include "lib/file.h"
#include "lib/log.h"
#include "lib/rand.h"
#include "policy/feedback.h"

enum { RESOLVER_WAIT_MS = 2000, LOGIN_CONNECT_S = 10, CALL_MS = 2000 };

/* An error makes the exit status 78; a note does not: it may be meant so, or pass. */
static unsigned errors, notes;

/* As short as there are many. */
#define error check_error
#define note check_note

static void say(const struct settings *s, const char *setting, const char *kind, const char *fmt, va_list ap)
{
	printf("%s: %s: %s", conf_where(&s->conf, setting), kind, setting);
	printf(": ");
	vprintf(fmt, ap);
	putchar('\n');
}

void check_error(const struct settings *s, const char *setting, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(s, setting, "error", fmt, ap);
	va_end(ap);
	errors++;
}

void check_note(const struct settings *s, const char *setting, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(s, setting, "note", fmt, ap);
	va_end(ap);
	notes++;
}

void check_say(const char *what, bool wrong, const char *fmt, ...)
{
	va_list ap;

	printf("%s: %s: ", what, wrong ? "error" : "note");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	*(wrong ? &errors : &notes) += 1;
}

/* Lines that say themselves where they are from. */
static void say_lines(const char *kind, const struct buf *lines, unsigned *count)
{
	struct str rest = buf_view(lines), line, where, colon;

	while (str_cut(&rest, '\n', &line)) {
		colon = line;
		if (str_cut(&colon, ' ', &where))
			printf(STR_FMT " %s: " STR_FMT "\n", STR_ARG(where), kind, STR_ARG(colon));
		else
			printf("%s: " STR_FMT "\n", kind, STR_ARG(line));
		++*count;
	}
}

/* ---- the account */

/* Whose rights count: NULL: our own. Root looks with the eyes of `user`. */
static const struct account *eyes;

static void check_user(const struct settings *s)
{
	static struct account account;
	const char *why;

	eyes = NULL;
	if (!s->user) {
		if (geteuid() == 0)
			note(s, "user", "is empty, so what root starts stays root. Make an account for it, and set user = NAME.");
		return;
	}
	if ((why = account_find(s->user, &account)))
		error(s, "user", "%s %s", s->user, why);
	else if (geteuid() == 0)
		eyes = &account;
	else if (geteuid() != account.uid)
		note(s, "user", "%s is another account than this one (uid %lu), whose rights are looked at here. Run check as root, or as %s.",
			s->user, (unsigned long)geteuid(), s->user);
}

static unsigned long uid_looked_at(void)
{
	return (unsigned long)(eyes ? eyes->uid : geteuid());
}

/* A full disk and one that cannot be written need something else than rights. */
static const char *room_or(const char *rights, int wrong)
{
	return wrong == ENOSPC || wrong == EDQUOT ? "Make room there." : wrong == EROFS ? "Mount it for writing." : rights;
}

/* Makes a file and removes it: rights, access lists, read-only and full disks show in no other way. 0 or an errno. */
static int try_here(const char *dir)
{
	char path[PATH_MAX];
	int fd, wrong = 0;

	if ((size_t)snprintf(path, sizeof path, "%s/.fardel-check.%ld", dir, (long)getpid()) >= sizeof path)
		return ENAMETOOLONG;
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd == -1)
		return errno;
	if (write(fd, "x", 1) != 1)
		wrong = errno;
	if (close(fd) == -1 && !wrong)
		wrong = errno;
	if (unlink(path) == -1 && !wrong)
		wrong = errno;
	return wrong;
}

/* A trial with the rights of another account, in a child that gives up ours. NULL: as we are. */
static int try_as(const struct account *as, int (*trial)(const char *path), const char *path)
{
	const char *step;
	int status;
	pid_t pid;

	if (!as)
		return trial(path);
	fflush(stdout);
	pid = fork();
	if (pid == -1)
		return errno;
	if (pid == 0)
		_exit(account_become(as, &step) == -1 ? errno : trial(path));
	while (waitpid(pid, &status, 0) == -1)
		if (errno != EINTR)
			return errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : EPERM;
}

/* ---- directories */

/* The nearest directory above path that is there, or path itself. False: it does not fit. */
static bool nearest_directory(const char *path, char *out, size_t size)
{
	struct stat st;
	char *slash;

	if (!str_copy(out, size, str_of(path)))
		return false;
	while (stat(out, &st) == -1 && errno == ENOENT) {
		slash = strrchr(out, '/');
		/* "queue" stands in ".", "/queue" in "/". */
		if (!slash)
			return str_copy(out, size, STR("."));
		if (slash == out)
			return str_copy(out, size, STR("/"));
		*slash = '\0';
	}
	return true;
}

/* Can we write in path, or make it? What is missing root makes, when root starts the program. */
static void check_directory(const struct settings *s, const char *setting, const char *path)
{
	char at[PATH_MAX];
	struct stat st;
	bool missing;
	int wrong;

	if (!nearest_directory(path, at, sizeof at)) {
		error(s, setting, "%s is too long. Choose a shorter path.", path);
		return;
	}
	missing = stat(path, &st) == -1;
	if (stat(at, &st) == 0 && !S_ISDIR(st.st_mode))
		error(s, setting, "%s is no directory. Choose another path.", at);
	else if ((wrong = try_as(missing ? NULL : eyes, try_here, at)))
		error(s, setting, "%s: no file can be made there by uid %lu: %s. %s", at, missing ? (unsigned long)geteuid() : uid_looked_at(),
			strerror(wrong), room_or("Give it to that account (chown -R), or choose another path.", wrong));
}

static const char *const queue_parts[] = { "cur", "in", "new", "tmp", "work", "bad", "mta-sts" };

static void check_queue(const struct settings *s)
{
	char path[PATH_MAX];
	struct stat st;

	check_directory(s, "queue", s->queue);
	for (size_t i = 0; i < sizeof queue_parts / sizeof *queue_parts; i++) {
		snprintf(path, sizeof path, "%s/%s", s->queue, queue_parts[i]);
		if (stat(path, &st) == 0)
			check_directory(s, "queue", path);
	}
}

/* Less than queue_reserve, or 1000 inodes: mail from clients is put off. */
static void check_room(const struct settings *s)
{
	enum { INODES_LOW = 1000, MEGABYTE = 1 << 20 };
	char at[PATH_MAX];
	struct file_space room;
	int fd = nearest_directory(s->queue, at, sizeof at) ? open(at, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	if (fd == -1)
		return;
	if (file_sys.space(fd, &room) == 0) {
		uint64_t tenth = room.octets_all / 10, least = s->queue_reserve < tenth ? s->queue_reserve : tenth;

		if (room.octets_all && least && room.octets < least)
			note(s, "queue", "%s has %llu MB of room left: mail from clients is put off (queue_reserve). Make room.", at,
				(unsigned long long)(room.octets / MEGABYTE));
		if (room.inodes_all && s->queue_reserve && room.inodes < INODES_LOW)
			note(s, "queue", "%s has %llu inodes left: mail from clients is put off. Remove files.", at, (unsigned long long)room.inodes);
	}
	close(fd);
}

/* The server's children: is one of them root? -1: that cannot be told. */
static int has_root_helper(long pid)
{
	char path[64], *p;
	struct buf text = { .max = 16384 };
	struct stat st;
	int found = 0;

	snprintf(path, sizeof path, "/proc/%ld/task/%ld/children", pid, pid);
	if (file_read_all(AT_FDCWD, path, &text) == -1)
		found = -1;
	p = found == -1 ? NULL : (char *)(uintptr_t)buf_cstr(&text);
	while (p && *p) {
		snprintf(path, sizeof path, "/proc/%ld", strtol(p, &p, 10));
		found |= stat(path, &st) == 0 && st.st_uid == 0;
		p += strspn(p, " \n");
	}
	buf_free(&text);
	return found;
}

/* Who holds the queue writes its pid into the lock. 0: nobody, as far as that can be seen. */
static long server_pid(const struct settings *s)
{
	struct buf text = { .max = 65536 }, comm = { .max = 64 };
	char path[PATH_MAX];
	long pid = 0;

	snprintf(path, sizeof path, "%s/lock", s->queue);
	if (file_read_all(AT_FDCWD, path, &text) == 0 && str_starts_nocase(buf_view(&text), STR("pid ")))
		pid = strtol(buf_cstr(&text) + 4, NULL, 10);
	snprintf(path, sizeof path, "/proc/%ld/comm", pid);
	if (pid <= 0 || file_read_all(AT_FDCWD, path, &comm) == -1 || !str_starts_nocase(buf_view(&comm), STR("fardel")))
		pid = 0;
	buf_free(&text);
	buf_free(&comm);
	return pid;
}

enum { PEOPLE = 1000, NOBODY = 65534 };         /* other accounts belong to programs */
enum { BOXES = 1000, BOX_COMPLAINTS = 5 };      /* mailboxes looked at, and spoken of: more would say the same */

/* Why mail for a directory of a mailbox would wait. False: it would not, as far as can be seen. */
static bool part_is_wrong(const struct settings *s, const char *path, uid_t owner)
{
	struct stat st;

	if (lstat(path, &st) == -1)
		return false;
	if (S_ISLNK(st.st_mode))
		error(s, "mailbox", "%s is a symbolic link: its mail waits. Put the directory itself there, or mount it.", path);
	else if (!S_ISDIR(st.st_mode))
		error(s, "mailbox", "%s is no directory: its mail waits, as mail is put into Maildirs alone, not into an mbox. Move it away.", path);
	else if (st.st_mode & S_IWOTH)
		error(s, "mailbox", "%s may be written by everybody: its mail waits. Say chmod o-w %s", path, path);
	else if (st.st_uid != owner && !(st.st_mode & S_IWGRP))
		error(s, "mailbox", "%s belongs to uid %lu, and its mail is delivered as uid %lu: it waits. Say chown -R %lu %s", path,
			(unsigned long)st.st_uid, (unsigned long)owner, (unsigned long)owner, path);
	else
		return false;
	return true;
}

/* The mailbox, and what mail is put through. */
static bool box_is_wrong(const struct settings *s, const char *path, uid_t owner)
{
	static const char *const parts[] = { "", "tmp", "new" };
	char part[PATH_MAX + 8];
	bool wrong = false;

	for (size_t i = 0; i < sizeof parts / sizeof *parts && !wrong; i++) {
		size_t n = strlen(path);

		snprintf(part, sizeof part, "%s%s%s", path, *parts[i] && n && path[n - 1] != '/' ? "/" : "", parts[i]);
		wrong = part_is_wrong(s, part, owner);
	}
	return wrong;
}

/* Those below the directory of all. */
static void check_boxes(const struct settings *s, const char *above)
{
	DIR *d = opendir(above);
	unsigned wrong = 0;
	struct dirent *e;

	for (unsigned n = 0; d && n < BOXES && wrong < BOX_COMPLAINTS && (e = readdir(d)); n++) {
		char user[LOCAL_MAX + 1], path[PATH_MAX];

		if (maildir_user(str_of(e->d_name), user) && !strcmp(user, e->d_name) && maildir_path(str_of(s->mailbox), user, path, sizeof path))
			wrong += box_is_wrong(s, path, (uid_t)uid_looked_at());
	}
	if (d)
		closedir(d);
}

/* Those of people. */
static void check_boxes_in_homes(const struct settings *s)
{
	unsigned wrong = 0, n = 0;
	const struct passwd *pw;
	char path[PATH_MAX];

	setpwent();
	while (n < BOXES && wrong < BOX_COMPLAINTS && (pw = getpwent())) {
		if (pw->pw_uid < PEOPLE || pw->pw_uid == NOBODY)
			continue;
		n++;
		if (mailbox_fill(str_of(s->mailbox), pw->pw_name, pw->pw_dir, path, sizeof path))
			wrong += box_is_wrong(s, path, pw->pw_uid);
	}
	endpwent();
}

/* Homes are their users': what can be said beforehand is whether deliveries as them can be started. */
static void check_homes(const struct settings *s)
{
	long pid = server_pid(s);
	struct account a;

	if (pid && has_root_helper(pid) == 0)
		error(s, "mailbox", "the server that runs (pid %ld) has no process that could deliver as another user: mail for homes waits. Stop it, and "
			"start it as root, with user set.", pid);
	else if (!pid && geteuid() != 0)
		note(s, "mailbox", "deliveries into homes need a server that was started as root, with user set. This check is not root.");
	check_boxes_in_homes(s);
	if (s->postmaster && account_find(s->postmaster, &a))
		error(s, "postmaster", "%s is no account that gets mail. Name a user of this system who is not root.", s->postmaster);
}

static void check_mailbox(const struct settings *s)
{
	char longest[LOCAL_MAX + 1], path[PATH_MAX], above[PATH_MAX];
	struct stat st;
	char *slash;
	int wrong;

	if (s->homes) {
		check_homes(s);
		return;
	}
	memset(longest, 'x', LOCAL_MAX);
	longest[LOCAL_MAX] = '\0';
	if (!maildir_path(str_of(s->mailbox), longest, path, sizeof path)) {
		error(s, "mailbox", "paths made from %s are too long. Choose a shorter one.", s->mailbox);
		return;
	}
	/* Of the directory that all mailboxes are in we can speak; whose homes they are is not known here. */
	if (!str_copy(above, sizeof above, (struct str){ s->mailbox, (size_t)(strstr(s->mailbox, "{user}") - s->mailbox) }))
		return;
	slash = strrchr(above, '/');
	if (slash && slash != above)
		*slash = '\0';
	else if (!slash)
		str_copy(above, sizeof above, STR("."));
	if (stat(above, &st) == -1)
		note(s, "mailbox", "%s: %s: no local user exists yet. `fardel mkmailbox USER` makes what is missing.", above, strerror(errno));
	else if (!S_ISDIR(st.st_mode))
		error(s, "mailbox", "%s is no directory. Choose another path.", above);
	/* No error: mailboxes that are there already may be the account's all the same. */
	else if ((wrong = try_as(eyes, try_here, above)))
		note(s, "mailbox", "%s: no file can be made there by uid %lu: %s. %s", above, uid_looked_at(), strerror(wrong),
			room_or("Mailboxes must belong to that account, and root must make them (fardel mkmailbox, with user set).", wrong));
	check_boxes(s, above);
	if (s->postmaster && maildir_user(str_of(s->postmaster), longest) &&
		maildir_path(str_of(s->mailbox), longest, path, sizeof path) && stat(path, &st) == -1)
		note(s, "postmaster", "%s: %s. Make it: fardel mkmailbox %s", path, strerror(errno), longest);
}

/* The name means nobody: no alias, no mailbox. */
static bool gets_nothing(const struct settings *s, struct aliases *a, const char *name)
{
	struct addr addr = { str_of(name), str_of(s->origin) };
	struct expansion x = { 0 };
	char user[LOCAL_MAX + 1], path[PATH_MAX];
	struct stat st;
	bool nothing = alias_expand(a, NULL, &addr, &x) == ALIAS_NONE && maildir_user(addr.local, user) &&
		maildir_path(str_of(s->mailbox), user, path, sizeof path) && stat(path, &st) == -1 && errno == ENOENT;

	expansion_free(&x);
	return nothing;
}

/* Programs have accounts that nobody can log in to. */
static bool can_log_in(const struct passwd *pw)
{
	const char *shell = strrchr(pw->pw_shell, '/');

	return !shell || (strcmp(shell, "/nologin") && strcmp(shell, "/false"));
}

/* Cron writes to whoever a job runs as: that mail is missed last, when something has gone wrong. */
static void check_people(const struct settings *s, struct aliases *a)
{
	enum { NAMED = 5 };
	struct buf names = { 0 };
	unsigned n = 0, without = 0;
	const struct passwd *pw;

	setpwent();
	while (n < BOXES && (pw = getpwent())) {
		if (pw->pw_uid < PEOPLE || pw->pw_uid == NOBODY || !can_log_in(pw))
			continue;
		n++;
		if (gets_nothing(s, a, pw->pw_name) && ++without <= NAMED)
			buf_printf(&names, " %s", pw->pw_name);
	}
	endpwent();
	if (without)
		note(s, "mailbox", "accounts of this system with neither a mailbox nor an alias:%s%s. Mail for them is refused, that of their cron jobs, too. "
			"Say fardel mkmailbox%s, or write aliases.", buf_cstr(&names), without > NAMED ? " and more" : "", buf_cstr(&names));
	buf_free(&names);
}

/* Those of `user` are read with our rights here: what it may not read shows in its log. */
static void rule_is_wrong(void *arg, unsigned line, const char *why)
{
	const struct settings *s = arg;

	if (line)
		check_error(s, "rules", "%s:%u: %s.", s->rules, line, why);
	else
		check_error(s, "rules", "%s: %s.", s->rules, why);
}

/* They are read by users' children where mailboxes lie in homes. */
static void check_rules(const struct settings *s)
{
	struct stat st;

	if ((s->rules || s->user_rules) && s->judge == SMTPD_JUDGE_OFF)
		check_note(s, s->rules ? "rules" : "user_rules", "judge = off, so nobody knows who vouches for mail, and no rule holds. Set judge = note.");
	if (!s->rules)
		return;
	rulesfile_check(s->rules, true, rule_is_wrong, (void *)(uintptr_t)s);
	if (s->homes && stat(s->rules, &st) == 0 && !(st.st_mode & S_IROTH))
		check_error(s, "rules", "%s is read by the users whose mailboxes it is for, and they may not. Say chmod o+r %s.", s->rules, s->rules);
}

static void check_aliases(const struct settings *s)
{
	struct alias_config c = settings_aliases(s);
	struct aliases *a;
	struct addr root = { STR("root"), str_of(s->origin) };
	struct expansion x = { 0 };
	char path[PATH_MAX];
	struct buf wrong = { 0 }, nobody = { 0 };
	struct stat st;

	c.quiet = true;
	if (!(a = aliases_new(&c)))
		return;
	aliases_refresh(a);
	say_lines("error", aliases_errors(a), &errors);
	say_lines("note", aliases_notes(a), &notes);
	if (aliases_try_all(a, &wrong, &nobody, alias_is_nobody, (void *)(uintptr_t)s)) {
		say_lines("error", &wrong, &errors);
		say_lines("note", &nobody, &notes);
	}
	if (!aliases_errors(a)->n && s->routes.nlocal && alias_expand(a, NULL, &root, &x) == ALIAS_NONE &&
	    (s->homes || (maildir_path(str_of(s->mailbox), "root", path, sizeof path) && stat(path, &st) == -1)))
		note(s, "aliases", "root has no alias and no mailbox: what the system tells root goes nowhere. Write root: YOU into %s.",
			s->aliases ? s->aliases : "a file that aliases names");
	if (!aliases_errors(a)->n && s->routes.nlocal && !s->homes)
		check_people(s, a);
	expansion_free(&x);
	buf_free(&wrong);
	buf_free(&nobody);
	aliases_free(a);
}

/* ---- the network */

/* Binding would leave a socket behind. */
static void check_local(const struct settings *s, const struct listen_on *on)
{
	const struct sockaddr_un *un = (const struct sockaddr_un *)(const void *)&on->addr;
	char directory[sizeof un->sun_path];
	int wrong;
	char *slash;

	snprintf(directory, sizeof directory, "%s", un->sun_path);
	slash = strrchr(directory, '/');
	slash[slash == directory] = '\0';
	if (access(directory, W_OK | X_OK) == 0)
		return;
	wrong = errno;
	/* Root makes one at the start, like /run/fardel. */
	if (wrong == ENOENT && geteuid() == 0 && s->user && (slash = strrchr(directory, '/'))) {
		*slash = '\0';
		if (access(slash == directory ? "/" : directory, X_OK) == 0)
			return;
		*slash = '/';
	}
	printf("%s: error: listen: %s: %s: %s. Make the directory, for the account that starts the program.\n", on->where, on->text, directory, strerror(wrong));
	errors++;
}

static void check_users(const struct settings *s)
{
	struct users *u = s->users ? users_new(s->users) : NULL;
	char why[1024];
	struct stat st;

	if (!u)
		return;
	if (!users_refresh(u, why, sizeof why))
		note(s, "users", "%s. Nobody can log in before fardel passwd %s NAME has written it.", why, s->users);
	else if (stat(s->users, &st) == 0 && st.st_mode & (S_IRWXO | S_IWGRP))
		note(s, "users", "%s can be read or changed by others (mode %03o). chmod 600, or 640 with a group of its own.", s->users,
			(unsigned)st.st_mode & 0777);
	users_free(u);
}

static void check_listen(const struct settings *s, const struct listen_on *on)
{
	int fd = socket(on->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	if (fd == -1) {
		printf("%s: error: listen: %s: %s\n", on->where, on->text, strerror(errno));
		errors++;
		return;
	}
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(fd, (const struct sockaddr *)&on->addr, on->len) == -1) {
		if (errno == EADDRINUSE) {
			printf("%s: note: listen: %s is in use: by a running fardel, or by another server.\n", on->where, on->text);
			notes++;
		} else {
			printf("%s: error: listen: %s: %s. %s\n", on->where, on->text, strerror(errno),
				errno == EACCES ? "Ports below 1024 need root or CAP_NET_BIND_SERVICE; or choose a higher one." :
				errno == EADDRNOTAVAIL ? "Choose an address of this host." : "Choose another address or port.");
			errors++;
		}
	}
	close(fd);
	(void)s;
}

static void check_listens(const struct settings *s)
{
	if (s->nlisten == 0)
		note(s, "listen", "is empty: no mail comes in over the network.");
	for (size_t i = 0; i < s->nlisten; i++) {
		if (s->listen[i].service == SMTPD_LOCAL)
			check_local(s, &s->listen[i]);
		else
			check_listen(s, &s->listen[i]);
	}
}

/* The socket that `fardel top` and others ask at. A server does without, so they are wrong alone; binding would leave it behind. */
static void check_control(const struct settings *s)
{
	const char *setting = s->control ? "control" : "queue", *slash;
	struct sockaddr_un un;
	char path[PATH_MAX], dir[PATH_MAX];
	struct stat st, above;
	int fd, wrong;

	if (s->control && !strcmp(s->control, "off"))
		return;
	if (!control_path(s, path, sizeof path) || strlen(path) >= sizeof un.sun_path) {
		error(s, setting, "the path of the control socket has more than %zu octets: `fardel top`, `metrics` and sendmail --wait can ask nobody. "
			"Set control to a shorter path.", sizeof un.sun_path - 1);
		return;
	}
	if ((fd = control_call(s, "metrics", CALL_MS)) != -1) { /* the server runs */
		close(fd);
		return;
	}
	if (errno == EAGAIN)
		note(s, setting, "the server at %s takes no call within %d s: it stands still, or too many ask it. Its log tells more.", path, CALL_MS / 1000);
	slash = strrchr(path, '/');
	snprintf(dir, sizeof dir, "%.*s", slash ? (int)(slash - path) + (slash == path) : 1, slash ? path : ".");
	if (lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
		error(s, setting, "%s is there and no socket: nobody can listen there. Move it away, or set control to another path.", path);
	else if (lstat(path, &st) == 0 && stat(dir, &above) == 0 && above.st_mode & S_ISVTX && st.st_uid != uid_looked_at() &&
		above.st_uid != uid_looked_at() && uid_looked_at())
		error(s, setting, "%s belongs to uid %lu, and uid %lu cannot replace it. Remove it, or set control to another path.", path,
			(unsigned long)st.st_uid, uid_looked_at());
	else if (s->control && (wrong = try_as(eyes, try_here, dir)))   /* of the queue it is told anyway */
		error(s, setting, "%s: no socket can be made there by uid %lu: %s. %s", dir, uid_looked_at(), strerror(wrong),
			room_or("Make the directory for that account, or set control to another path.", wrong));
}

/* The first server that would be asked, as text. */
static bool first_resolver(const struct settings *s, char *out, size_t size)
{
	struct buf text = { .max = 65536 };
	struct str rest = str_of(s->resolver), line, word;
	bool found = str_word(&rest, &word) && str_copy(out, size, word);

	if (!s->resolver && file_read_all(AT_FDCWD, "/etc/resolv.conf", &text) == 0) {
		buf_char(&text, '\n');
		rest = buf_view(&text);
		while (!found && str_cut(&rest, '\n', &line))
			found = str_word(&line, &word) && str_eq(word, STR("nameserver")) && str_word(&line, &word) && str_copy(out, size, word);
	}
	buf_free(&text);
	return found;
}

/* Asks for the name servers of the root, which are signed. NULL: it answered (with whatever); else what happened. *validates: it says that
 * it has checked the answer by DNSSEC (RFC 6840 5.7: who sets AD in the question wants to know). */
static const char *ask(const struct sockaddr *to, socklen_t len, bool *validates)
{
	unsigned char question[17] = { [2] = 1, [3] = 0x20, [5] = 1, [14] = 2, [16] = 1 }, answer[512];      /* RD, AD; one question: . NS IN */
	struct pollfd p = { .events = POLLIN };
	const char *wrong = NULL;
	ssize_t n;

	rand_bytes(question, 2);
	p.fd = socket(to->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (p.fd == -1)
		return strerror(errno);
	if (connect(p.fd, to, len) == -1 || send(p.fd, question, sizeof question, 0) == -1)
		wrong = strerror(errno);
	else if (poll(&p, 1, RESOLVER_WAIT_MS) == 0)
		wrong = "no answer within 2 s";
	else if ((n = recv(p.fd, answer, sizeof answer, 0)) == -1)
		wrong = strerror(errno);
	else if (n < 12 || memcmp(answer, question, 2) != 0)
		wrong = "its answer is no DNS packet";
	else
		*validates = answer[3] & 0x20;
	close(p.fd);
	return wrong;
}

/* Does it answer? */
static bool check_resolver(const struct settings *s)
{
	char text[128] = "";
	const char *wrong;
	struct sockaddr_storage ss;
	bool validates = false;
	socklen_t len;

	if (!first_resolver(s, text, sizeof text)) {
		note(s, "resolver", "/etc/resolv.conf names no server. Set resolver, or only configured routes will work.");
		return false;
	}
	if (!resolver_parse(str_of(text), &ss, &len)) {
		note(s, "resolver", "/etc/resolv.conf: \"%s\" is no address.", text);
		return false;
	}
	wrong = ask((const struct sockaddr *)&ss, len, &validates);
	if (wrong)
		note(s, "resolver", "%s does not answer: %s. Mail to domains without a route waits until it does.", text, wrong);
	else
		printf("resolver %s answers%s\n", text, validates ? ", and checks DNSSEC" :
			"; it does not check DNSSEC, so DANE is without effect: a resolver on this host that does (unbound) would help");
	return !wrong;
}

/* ---- TLS */

enum { EXPIRES_SOON_S = 7 * 86400, RSA_SLOW_BITS = 3072 };

/* A complaint about one of several pairs stands where that one was written. */
static void tls_say(const struct settings *s, size_t i, const char *kind, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

static void tls_say(const struct settings *s, size_t i, const char *kind, const char *fmt, ...)
{
	va_list ap;

	printf("%s: %s: tls_certificate: ", s->certificate_text.item[i].where, kind);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	*(strcmp(kind, "error") == 0 ? &errors : &notes) += 1;
}

static void check_dates(const struct settings *s, size_t i, const struct tls_about *about)
{
	int64_t now = clock_wall_s();
	char date[40];

	if (about->not_before > now)
		tls_say(s, i, "note", "%s is valid from %s on only. Look at the clock of this machine, or at the certificate.", s->tls[i].certificate,
			clock_rfc3339(about->not_before, date));
	else if (about->not_after <= now)
		tls_say(s, i, "note", "%s has expired at %s: careful clients refuse it. Renew it.", s->tls[i].certificate,
			clock_rfc3339(about->not_after, date));
	else if (about->not_after - now < EXPIRES_SOON_S)
		tls_say(s, i, "note", "%s expires at %s. Renew it.", s->tls[i].certificate, clock_rfc3339(about->not_after, date));
}

static void check_pair(const struct settings *s, size_t i, bool *named)
{
	const struct tls_files *f = &s->tls[i];
	struct tls_about about;
	char why[700];
	struct stat st;

	if (!tls_check(f, s->hostname, &about, why, sizeof why)) {
		tls_say(s, i, "error", "%s.", why);
		return;
	}
	*named = *named || about.names_host;
	check_dates(s, i, &about);
	if (about.rsa_bits > RSA_SLOW_BITS)
		tls_say(s, i, "note", "%s has an RSA key of %u bits: each new session stops all others for some 15 ms. EC P-256 or RSA 2048 is enough.",
			f->certificate, about.rsa_bits);
	if (stat(f->key, &st) == 0 && st.st_mode & (S_IWGRP | S_IROTH | S_IWOTH))
		tls_say(s, i, "note", "%s can be read or changed by others. chmod 640 or stricter.", f->key);
}

static void check_tls(const struct settings *s)
{
	bool named = false;
	unsigned before = errors;

	if (s->ntls == 0)
		note(s, "tls_certificate", "is empty: STARTTLS is not offered.");
	for (size_t i = 0; i < s->ntls; i++)
		check_pair(s, i, &named);
	if (s->ntls && !named && errors == before)
		note(s, "tls_certificate", "none is for %s: careful clients refuse it. Get one with that name.", s->hostname);
}

/* ---- DKIM */

static void check_key(const struct dkim_words *w, struct signer *all)
{
	char why[700];
	struct sign_key *key = signing_key(w->file, why, sizeof why);
	bool slow = key && sign_key_kind(key) == KEY_RSA && sign_key_bits(key) > RSA_SLOW_BITS;
	const char *wrong = key ? signer_add(all, w->domain, w->selector, key) : NULL;
	struct stat st;

	if (!key || wrong) {
		if (key)
			snprintf(why, sizeof why, STR_FMT " %s", STR_ARG(w->domain), wrong);
		printf("%s: error: dkim_key: %s. `fardel dkim-key` makes a key, or shows the record of one.\n", w->where, why);
		errors++;
		return;
	}
	if (slow) {
		printf("%s: note: dkim_key: %s is RSA of so many bits that each signature stops all sessions for some 15 ms. 2048 are enough.\n", w->where, w->file);
		notes++;
	}
	if (stat(w->file, &st) == 0 && st.st_mode & (S_IWGRP | S_IROTH | S_IWOTH)) {
		printf("%s: note: dkim_key: %s can be read or changed by others. chmod 640 or stricter.\n", w->where, w->file);
		notes++;
	}
}

/* RFC 9990: who gets reports of DMARC reads none that does not pass it. */
static void check_reports_key(const struct settings *s, const struct signer *all)
{
	char header[ADDR_MAX + 16];
	const char *why;
	struct signing *g;

	if (s->dmarc_reports != DMARC_REPORTS_SEND)
		return;
	snprintf(header, sizeof header, "From: <%.*s>\r\n\r\n", ADDR_MAX, s->dmarc_reports_text);
	g = signing_begin(all, str_of(header), &why);
	if (!g)
		note(s, "dmarc_reports", "no dkim_key is for %s: some of those who get reports read none that is not signed.", s->dmarc_reports_text);
	signing_free(g);
}

/* Nobody is believed of whom nothing is known. */
static void check_reports(const struct settings *s)
{
	if (!s->reports_at)
		return;
	if (s->spf == SMTPD_SPF_OFF || !s->check_dkim || s->dmarc == SMTPD_DMARC_OFF)
		note(s, "reports_at", "spf, check_dkim or dmarc is off, so no report can be believed and none is kept. Switch them on.");
	if (feedback_lacks())
		note(s, "reports_at", "%s cannot be read here: the library is missing.", feedback_lacks());
}

static void check_dkim(const struct settings *s)
{
	struct signer *all = signer_new();

	for (size_t i = 0; all && i < s->ndkim; i++)
		check_key(&s->dkim[i], all);
	if (all)
		check_reports_key(s, all);
	signer_free(all);
}

/* ---- sending */

static void check_trust(const struct settings *s)
{
	struct tls_trust *trust = tls_trust_new(s->tls_ca);
	bool needed = s->tls_ca != NULL;
	char why[300] = "out of memory";

	for (size_t i = 0; i < s->routes.n; i++)
		needed = needed || s->routes.rule[i].to.tls == ROUTE_TLS_VERIFY;
	if (!trust || !tls_trust_read(trust, why, sizeof why)) {
		if (needed)
			error(s, "tls_ca", "no host can be checked: %s.", why);
		else if (s->mta_sts && s->tls_out != TLS_OUT_NO)
			note(s, "mta_sts", "has no effect: no policy host can be checked: %s.", why);
	}
	tls_trust_free(trust);
}

static void say_what_is_lacking(void)
{
	const char *name, *what;

	for (size_t i = 0; (name = lacks(i, &what)); i++)
		printf("there is no %s here: %s\n", name, what);
}

static int try_read(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd == -1)
		return errno;
	close(fd);
	return 0;
}

/* Passwords are read before root is given up, so a file of root's is right for who starts as root. */
static void check_passwords(const struct settings *s)
{
	for (size_t i = 0; i < s->routes.n; i++) {
		const struct route_login *login = &s->routes.rule[i].login;
		int wrong = login->file[0] ? try_as(eyes, try_read, login->file) : 0;

		if (!wrong)
			continue;
		if (login->password[0])
			note(s, "route", "password_file=%s: uid %lu cannot read it: %s. That is well where root starts the program; where a service manager "
				"starts it as that account, chown it.", login->file, uid_looked_at(), strerror(wrong));
		else
			error(s, "route", "password_file=%s: %s. Give it to the account that sends (chown, chmod 600).", login->file, strerror(wrong));
	}
}

/* Where mail would go that needs a login: is it let in? Nothing is sent. */
static void check_logins(const struct settings *s, bool wanted)
{
	for (size_t i = 0; i < s->routes.n; i++) {
		const struct route_rule *rule = &s->routes.rule[i];
		struct route r = rule->to;
		enum relay_step step;
		const char *remedy;
		struct reply why;

		if (!rule->login.password[0])           /* none, by a command, or one that is closed to us, which is told elsewhere */
			continue;
		if (!wanted) {
			printf("route %s: its login was not tried (check --login does)\n", r.key);
			continue;
		}
		r.login = &rule->login;
		r.proxy = rule->proxy.len ? &rule->proxy : NULL;
		fflush(stdout);
		if ((step = relay_try(s, &r, LOGIN_CONNECT_S, &why)) == RELAY_IN) {
			printf("route %s lets us in\n", r.key);
			continue;
		}
		ascii_make_printable(why.text);
		remedy = relay_remedy(step, &why);
		printf("%s: error: route: %s: failed at %s: %s. %s\n", s->route_text.item[i].where, r.key, relay_step_name(step), why.text,
			remedy ? remedy : "");
		errors++;
	}
}

static void check_source(const struct settings *s)
{
	for (size_t i = 0; i < 2; i++) {
		const struct sockaddr *from = (const struct sockaddr *)&s->source[i];
		socklen_t len = from->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
		int fd = from->sa_family == AF_UNSPEC ? -1 : socket(from->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (fd == -1)
			continue;
		if (bind(fd, from, len) == -1)
			error(s, "source_address", "the IPv%d address cannot be used: %s. Write one that this host has.", i ? 6 : 4, strerror(errno));
		close(fd);
	}
}

/* ---- what is asked about mail that comes in */

static void say_item(const struct conf_list *l, size_t i, const char *setting, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

static void say_item(const struct conf_list *l, size_t i, const char *setting, const char *fmt, ...)
{
	va_list ap;

	printf("%s: note: %s: ", l->item[i].where, setting);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	notes++;
}

/* Root may open every socket; the server is who matters. */
static int try_socket(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), wrong;

	str_copy(a.sun_path, sizeof a.sun_path, str_of(path));
	if (fd == -1)
		return errno;
	wrong = connect(fd, (const struct sockaddr *)&a, sizeof a) == -1 ? errno : 0;
	close(fd);
	return wrong;
}

static const char *without_it(const struct settings *s)
{
	static const char *const words[] = { [SMTPD_MILTER_TEMPFAIL] = "mail is put off", [SMTPD_MILTER_ACCEPT] = "mail is taken without it",
		[SMTPD_MILTER_REJECT] = "mail is refused" };

	return words[s->milter_default];
}

static void check_milter(const struct settings *s, size_t i)
{
	const struct smtpd_milter *m = &s->milters[i];
	const struct sockaddr_un *un = (const struct sockaddr_un *)(const void *)&m->addr;
	int denied = un->sun_family == AF_UNIX && eyes ? try_as(eyes, try_socket, un->sun_path) : 0;
	const char *wrong = denied == EACCES ? NULL : probe_milter(s, m);

	if (denied == EACCES)
		say_item(&s->milter_text, i, "milter", "%s may not be opened by uid %lu: %s meanwhile (milter_default_action). Let that account into the group of the "
			"socket, or have the filter make it for all.", un->sun_path, uid_looked_at(), without_it(s));
	else if (wrong)
		say_item(&s->milter_text, i, "milter", "%s: %s: %s meanwhile (milter_default_action). Start the filter, or look at where it listens.", m->text, wrong,
			without_it(s));
	else
		printf("milter %s answers\n", m->text);
}

static void check_milters(const struct settings *s)
{
	for (size_t i = 0; i < s->nmilters; i++)
		check_milter(s, i);
}

/* The settings have those of addresses first, as the array does. */
static void check_lists(const struct settings *s)
{
	for (size_t i = 0; i < s->ndnsbl; i++) {
		const struct dnsbl_list *l = &s->dnsbl[i];
		const struct conf_list *text = l->domains ? &s->rhsbl_text : &s->dnsbl_text;
		const char *name = l->domains ? "rhsbl" : "dnsbl", *wrong;
		bool ipv6, unknown;

		wrong = probe_list(l, &ipv6, &unknown);
		if (wrong)
			say_item(text, l->domains ? i - s->dnsbl_text.n : i, name, "%s: %s. Meanwhile it counts for nothing. Look at its owner's pages for who may ask it "
				"and how; a resolver of your own (resolver) helps where public ones are refused. Or take it out.", l->zone, wrong);
		else if (unknown)
			printf("%s %s cannot be tried: no resolver answers\n", name, l->zone);
		else
			printf("%s %s works%s\n", name, l->zone, l->domains ? "" : ipv6 ? ", for IPv6, too" : ", for IPv4 alone");
	}
}

static void check_asked(const struct settings *s)
{
	if (!s->nmilters && !s->ndnsbl)
		return;
	fflush(stdout);
	log_threshold(LOG_ERROR);               /* all that there is to say is said here */
	if (decide_begin(s))
		return;                         /* check_resolver() says why */
	check_milters(s);
	check_lists(s);
	dns_stop();
}

/* ---- the rest */

static int try_log(const char *path)
{
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);

	if (fd == -1)
		return errno;
	close(fd);
	return 0;
}

static void check_log(const struct settings *s)
{
	int wrong;

	if (!strcmp(s->log, "stderr") || !strcmp(s->log, "syslog"))
		return;
	if ((wrong = try_as(eyes, try_log, s->log)))
		error(s, "log", "%s: uid %lu cannot write it: %s. Choose a path that can be written, stderr or syslog.",
			s->log, uid_looked_at(), strerror(wrong));
}

/* The place that programs have had in them for forty years. */
static void check_sendmail(void)
{
	static const char place[] = "/usr/sbin/sendmail";
	struct stat theirs, ours;
	int missing = stat(place, &theirs) == -1;

	if (stat("/proc/self/exe", &ours) == -1 || (!missing && theirs.st_dev == ours.st_dev && theirs.st_ino == ours.st_ino))
		return;
	printf("sendmail: note: %s, which cron and other programs call, is %s: their mail does not come here. Make it a link to fardel.\n", place,
		missing ? "not there" : "another program");
	notes++;
}

static void check_names(const struct settings *s)
{
	if (!strchr(s->hostname, '.'))
		note(s, "hostname", "\"%s\" is no full name: other servers may refuse it. Set hostname = NAME.DOMAIN.", s->hostname);
	if (s->routes.nlocal == 0)
		note(s, "local_domains", "is empty: no mail is delivered here.");
	if (!s->deliver)
		note(s, "deliver", "is no: mail is taken and kept, nothing leaves.");
}

/* --login, --outside and --outside=DOMAIN,... stand before all others. */
static int take_words(int argc, char **argv, bool *login, const char **outside)
{
	int n = 1;

	for (; n < argc; n++) {
		if (!strcmp(argv[n], "--login"))
			*login = true;
		else if (!strcmp(argv[n], "--outside"))
			*outside = CHECK_OUTSIDE;
		else if (!strncmp(argv[n], "--outside=", 10))
			*outside = argv[n] + 10;
		else
			break;
	}
	return n - 1;
}

int cmd_check(int argc, char **argv)
{
	bool login = false;
	const char *outside = NULL;
	struct settings set;
	int status, words = take_words(argc, argv, &login, &outside);

	argv[words] = argv[0];
	status = settings_for_command(&set, argc - words, argv + words);
	if (status == 0) {
		errors = notes = 0;
		printf("configuration: %s\n", set.file ? set.file : "no file; presets, environment and options");
		check_user(&set);
		check_clock(&set);
		check_sendmail();
		check_names(&set);
		check_queue(&set);
		check_room(&set);
		check_mailbox(&set);
		check_aliases(&set);
		check_rules(&set);
		check_listens(&set);
		check_control(&set);
		check_tls(&set);
		check_users(&set);
		check_dkim(&set);
		check_reports(&set);
		check_trust(&set);
		check_passwords(&set);
		check_source(&set);
		check_logins(&set, login);
		if (check_resolver(&set))
			check_standing(&set, outside);
		check_asked(&set);
		check_log(&set);
		say_what_is_lacking();
		if (errors)
			printf("%u error%s\n", errors, errors == 1 ? "" : "s");
		else
			printf("fine%s\n", notes ? ", see the notes above" : "");
		status = errors ? EX_CONFIG : EX_OK;
	}
	settings_free(&set);
	return status;
}
