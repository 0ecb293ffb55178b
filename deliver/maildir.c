/* The last metre: a message into a Maildir, by a helper process with a deadline. */
#include "deliver/maildir.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "deliver/memory.h"
#include "lib/child.h"
#include "lib/file.h"
#include "lib/list.h"
#include "lib/log.h"
#include "mime/header.h"
#include "parse.h"

enum {
	OUTSTANDING = 16,               /* requests sent ahead: more would only share the fate of one that hangs */
	DEADLINE_S = 60,
	RESTART_MS = 1000,              /* a helper that dies at once must not be forked in a circle */
	RETRY_MS = 200,
	PATH_ROOM = 1024,
	NAME_ROOM = 256,                /* of a file, with the NUL */
	NAME_TRIES = 16,
	CHUNK = 65536,
	HEADER_ROOM = 256 * 1024,       /* of a longer header the beginning is searched for loops: that is where trace fields are */
	ADDRESS_ROOM = LOCAL_MAX + 1 + DOMAIN_MAX + 1
};

/* ---- what is sent to the helper and back: both ends are the same program, forked, so structs as they are */

enum task_kind { DELIVER, ASK };

struct request {
	uint64_t ticket;
	enum task_kind kind;
	bool postmaster;
	off_t at, size, own;
	char user[LOCAL_MAX + 1];
	char delivered_to[ADDRESS_ROOM];        /* "bob@example.org" */
	char sender[ADDR_MAX + 1];
	char id[ID_MAX];
};
struct answer {
	uint64_t ticket;
	struct reply reply;                     /* DELIVER: the result; ASK: text says why it is UNKNOWN */
	enum outcome outcome;
	char path[PATH_ROOM];
};

static struct maildir_config config;

/* ======== names */

bool maildir_user(struct str local, char user[LOCAL_MAX + 1])
{
	struct addr addr = { .local = local };
	struct buf plain = { .max = LOCAL_MAX };
	bool ok = local.n && addr_local_unquoted(&plain, &addr) && plain.n && plain.p[0] != '.';

	for (size_t i = 0; ok && i < plain.n; i++) {
		char c = ascii_lower(plain.p[i]);

		ok = (c >= 'a' && c <= 'z') || ascii_digit(c) || (c && strchr("._+-", c));
		user[i] = c;
	}
	user[ok ? plain.n : 0] = 0;
	buf_free(&plain);
	return ok;
}

static size_t without_slashes(const char *path)
{
	size_t n = strlen(path);

	while (n > 1 && path[n - 1] == '/')
		n--;
	return n;
}

bool maildir_path(struct str template, const char *user, char *path, size_t size)
{
	struct buf out = { .max = size - 1 };
	struct str before;
	bool named = false, ok;

	while (str_cut(&template, '{', &before)) {
		buf_str(&out, before);
		if (template.n < 5 || memcmp(template.p, "user}", 5)) {
			out.bad = true;
			break;
		}
		template = str_from(template, 5);
		buf_puts(&out, user);
		named = true;
	}
	buf_str(&out, template);
	ok = named && !out.bad && str_copy(path, size, buf_view(&out));
	if (ok)
		path[without_slashes(path)] = 0;
	else
		path[0] = 0;
	buf_free(&out);
	return ok;
}

int maildir_make(const char *path)
{
	static const char *const part[] = { "tmp", "new", "cur" };
	int dir, saved, r = -1;

	if (file_mkdirs(path, 0700) == -1)
		return -1;
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir == -1)
		return -1;
	for (size_t i = 0; i < 3; i++)
		if (file_mkdir(dir, part[i], 0700) == -1)
			goto out;
	r = file_sys.fsync(dir);
out:
	saved = errno;
	close(dir);
	errno = saved;
	return r;
}

/* ======== the work itself: in the helper, or in this process with inline_work. Logs nothing: its answer says all. */

/* What the system's refusals mean to the sender. All of them are ours to mend, or pass: temporary. */
static const struct trouble {
	int error;
	int code;
	const char *enhanced;
} troubles[] = {
	{ ENOSPC, 452, "4.3.1" },
	{ EDQUOT, 452, "4.2.2" },
	{ EFBIG, 452, "4.3.1" },
	{ ELOOP, 451, "4.3.5" },
	{ ENOTDIR, 451, "4.3.5" },
	{ 0, 451, "4.3.0" }
};

static void set_trouble(struct reply *r, const char *user, const char *step)
{
	const struct trouble *t = troubles;
	int error = errno;

	while (t->error && t->error != error)
		t++;
	reply_set(r, t->code, t->enhanced, "mailbox of %s: %s: %s", user, step, strerror(error));
}

/* ---- finding the mailbox */

enum search {
	MAILBOX_FOUND,
	MAILBOX_MISSING,                /* no such user */
	MAILBOX_NO_STORE,               /* the directory of all mailboxes is not there: a trouble for all but postmaster */
	MAILBOX_TROUBLE                 /* may pass; a reply says what it is */
};

/* The directory above the template's first {user} component: where all mailboxes live. */
static bool base_is_there(const char *template)
{
	const char *user = strstr(template, "{user}");
	size_t n = (size_t)(user - template);
	char base[PATH_ROOM];
	struct stat st;

	while (n && template[n - 1] != '/')
		n--;
	if (!str_copy(base, sizeof base, (struct str){ template, n }))
		return false;
	return stat(n ? base : ".", &st) == 0;
}

/* Is there more behind the component that names the user? */
static bool lies_in_home(const char *template)
{
	const char *user = strstr(template, "{user}");
	const char *slash = strchr(user, '/');

	return slash && (size_t)(slash - template) < without_slashes(template);
}

static bool home_is_there(const char *template, const char *user)
{
	const char *slash = strchr(strstr(template, "{user}"), '/');
	char home[PATH_ROOM];
	struct stat st;

	return maildir_path((struct str){ template, (size_t)(slash - template) }, user, home, sizeof home)
		&& stat(home, &st) == 0;
}

/* Why a mailbox cannot be opened: no mailbox, or a trouble that may pass? */
static enum search explain_missing(const char *user, struct reply *why)
{
	if (errno != ENOENT) {
		set_trouble(why, user, errno == ELOOP || errno == ENOTDIR ? "a symbolic link or no directory" : "opening it");
		return MAILBOX_TROUBLE;
	}
	if (!base_is_there(config.template)) {
		reply_set(why, 451, "4.3.5", "the directory that holds the mailboxes is not there");
		return MAILBOX_NO_STORE;
	}
	if (lies_in_home(config.template) && home_is_there(config.template, user)) {
		reply_set(why, 451, "4.3.5", "the home of %s is there, but no Maildir in it", user);
		return MAILBOX_TROUBLE;
	}
	return MAILBOX_MISSING;
}

/* Everybody could take mail away, or put a link in its place. */
static bool open_to_all(const struct stat *st)
{
	return (st->st_mode & S_IWOTH) != 0;
}

/* Opens a user's mailbox directory; it is the caller's to close. The path has no slash at its end: O_NOFOLLOW would not hold. */
static enum search open_user(const char *user, char path[PATH_ROOM], int *dir, struct reply *why)
{
	struct stat st;

	if (!maildir_path(str_of(config.template), user, path, PATH_ROOM)) {
		reply_set(why, 451, "4.3.5", "the path of the mailbox is too long");
		return MAILBOX_TROUBLE;
	}
	*dir = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (*dir == -1)
		return explain_missing(user, why);
	if (fstat(*dir, &st) == 0 && !open_to_all(&st))
		return MAILBOX_FOUND;
	close(*dir);
	*dir = -1;
	reply_set(why, 451, "4.3.5", "the mailbox of %s may be written by everybody", user);
	return MAILBOX_TROUBLE;
}

/* postmaster is never unknown (RFC 5321 4.5.1): where there is no mailbox (or no mailboxes at all), the fallback is made. */
static enum search open_fallback(char path[PATH_ROOM], int *dir, struct reply *why)
{
	const char *fallback = config.fallback;

	if (!fallback || !str_copy(path, PATH_ROOM, (struct str){ fallback, without_slashes(fallback) })) {
		reply_set(why, 451, "4.3.5", "there is no mailbox for postmaster yet");
		return MAILBOX_TROUBLE;
	}
	*dir = -1;
	if (maildir_make(path) == 0)
		*dir = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (*dir != -1)
		return MAILBOX_FOUND;
	set_trouble(why, "postmaster", "cannot be made");
	return MAILBOX_TROUBLE;
}

static enum search open_postmaster(char path[PATH_ROOM], int *dir, struct reply *why)
{
	const char *const name[] = { config.postmaster, "postmaster" };
	char user[LOCAL_MAX + 1];

	for (size_t i = 0; i < 2; i++) {
		enum search found;

		if (!name[i] || !maildir_user(str_of(name[i]), user))
			continue;
		found = open_user(user, path, dir, why);
		if (found == MAILBOX_FOUND || found == MAILBOX_TROUBLE)
			return found;
	}
	return open_fallback(path, dir, why);
}

static bool is_postmaster(const char *user)
{
	return !strcmp(user, "postmaster");
}

/* anna+tag -> anna. False: there is no tag. */
static bool without_tag(const char *user, char base[LOCAL_MAX + 1])
{
	const char *tag = config.separator ? strchr(user, config.separator) : NULL;

	return tag && tag != user && str_copy(base, LOCAL_MAX + 1, (struct str){ user, (size_t)(tag - user) });
}

/* A mailbox with the whole name is nearer than the one without the tag. */
static enum search open_mailbox(const struct request *q, char path[PATH_ROOM], int *dir, struct reply *why)
{
	char base[LOCAL_MAX + 1];
	enum search found;

	*dir = -1;
	if (q->postmaster)
		return open_postmaster(path, dir, why);
	found = open_user(q->user, path, dir, why);
	if (found != MAILBOX_MISSING || !without_tag(q->user, base))
		return found;
	return is_postmaster(base) ? open_postmaster(path, dir, why) : open_user(base, path, dir, why);
}

/* tmp, new or cur: made when missing, never through a link, and nobody else's. -1 with errno. */
static int open_part(int mailbox, const char *name)
{
	const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
	struct stat box, part;
	int dir = file_sys.open(mailbox, name, flags, 0);

	if (dir == -1 && errno == ENOENT) {
		if (mkdirat(mailbox, name, 0700) == -1 && errno != EEXIST)
			return -1;
		if (file_sys.fsync(mailbox) == -1)
			return -1;
		dir = file_sys.open(mailbox, name, flags, 0);
	}
	if (dir == -1)
		return -1;
	if (fstat(mailbox, &box) == -1 || fstat(dir, &part) == -1)
		goto fail;
	if (!open_to_all(&part) && (part.st_uid == box.st_uid || part.st_uid == geteuid() || part.st_uid == 0))
		return dir;
	errno = EPERM;
fail:
	close(dir);
	return -1;
}

/* ---- loops */

/* A Delivered-To field that names this very recipient: the mail has been here (RFC 9228 describes the field). */
static bool names_recipient(struct str header, const char *delivered_to)
{
	struct field f;

	while (header_next(&header, &f))
		if (str_eq_nocase(f.name, STR("Delivered-To")) && str_eq_nocase(str_trim(f.value), str_of(delivered_to)))
			return true;
	return false;
}

/* The beginning of what was not written here. 0, or -1 with errno. */
static int read_header(const struct request *q, int fd, struct buf *out)
{
	off_t theirs = q->size - q->own;
	size_t want = theirs < HEADER_ROOM ? (size_t)theirs : HEADER_ROOM;
	char *text = buf_reserve(out, want + 1);
	ssize_t n;

	errno = ENOMEM;
	n = text ? file_pread(fd, text, want, q->at + q->own) : -1;
	out->n = n > 0 ? (size_t)n : 0;
	return n < 0 ? -1 : 0;
}

/* ---- writing */

/* Nothing that could end a line or the brackets' content early; the sender was parsed, this is the second lock. */
static void add_field(struct buf *b, const char *before, const char *value, const char *after)
{
	buf_puts(b, before);
	for (; *value; value++)
		buf_char(b, (unsigned char)*value < 0x20 || *value == 0x7f ? '?' : *value);
	buf_puts(b, after);
}

/* CR LF becomes LF; any other CR stays. held: the chunk before ended in a CR. The output is never longer than n + 1. */
static size_t to_lf(const char *in, size_t n, char *out, bool *held)
{
	size_t used = 0;

	for (size_t i = 0; i < n; i++) {
		if (*held && in[i] != '\n')
			out[used++] = '\r';
		*held = in[i] == '\r';
		if (!*held)
			out[used++] = in[i];
	}
	return used;
}

/* 0 or -1 with errno; EBADMSG: the queue file ends too early. */
static int copy_message(const struct letter *l, int to)
{
	static char in[CHUNK], out[CHUNK + 1];
	off_t at = l->at, end = l->at + l->size;
	bool held = false;

	while (at < end) {
		size_t want = end - at < CHUNK ? (size_t)(end - at) : CHUNK;
		ssize_t n = file_pread(l->fd, in, want, at);

		if (n == -1)
			return -1;
		if ((size_t)n < want) {
			errno = EBADMSG;
			return -1;
		}
		if (file_write(to, out, to_lf(in, want, out, &held)) == -1)
			return -1;
		at += n;
	}
	return held ? file_write(to, "\r", 1) : 0;
}

static int write_file(const struct letter *l, int to)
{
	int r = file_write(to, l->trace.p, l->trace.n);

	if (r == 0)
		r = copy_message(l, to);
	return r == 0 ? file_sys.fdatasync(to) : -1;
}

/* ---- names of files */

/* What a name may not hold is written as the Maildir convention has it: / is \057, : is \072. */
static void add_name(struct buf *b, const char *text, size_t max)
{
	size_t end = b->n + max;

	for (; *text && b->n + 4 <= end; text++) {
		if (*text == '/')
			buf_puts(b, "\\057");
		else if (*text == ':')
			buf_puts(b, "\\072");
		else
			buf_char(b, ascii_print(*text) && *text != ' ' ? *text : '_');
	}
}

/* time.MusecPpidQn_id.hostname */
static bool unique_name(const char *id, char name[NAME_ROOM])
{
	static unsigned long count;
	struct buf b = { .max = NAME_ROOM - 1 };
	struct timespec now;
	bool ok;

	clock_gettime(CLOCK_REALTIME, &now);
	buf_printf(&b, "%lld.M%ldP%ldQ%lu_", (long long)now.tv_sec, now.tv_nsec / 1000, (long)getpid(), ++count);
	add_name(&b, id, 2 * ID_MAX);
	buf_char(&b, '.');
	add_name(&b, config.hostname, 120);
	ok = !b.bad && str_copy(name, NAME_ROOM, buf_view(&b));
	buf_free(&b);
	return ok;
}

/* A new file in tmp. -1 with errno. */
static int create_file(int tmp, const char *id, char name[NAME_ROOM])
{
	int fd = -1;

	errno = ENOMEM;
	for (int i = 0; i < NAME_TRIES && unique_name(id, name); i++) {
		fd = file_sys.open(tmp, name, O_CREAT | O_EXCL | O_NOFOLLOW | O_WRONLY, 0600);
		if (fd != -1 || errno != EEXIST)
			break;
	}
	return fd;
}

/* Out of tmp into new, under the same name unless that is taken: nothing is ever replaced. */
static int publish(int tmp, int new, const char *name, const char *id, char final[NAME_ROOM])
{
	str_copy(final, NAME_ROOM, str_of(name));
	for (int i = 0; i < NAME_TRIES; i++) {
		if (file_sys.rename(tmp, name, new, final) == 0)
			return 0;
		if (errno != EEXIST || !unique_name(id, final))
			return -1;
	}
	return -1;
}

/* ---- one delivery */

/* Into a mailbox whose parts are open. NULL, or the step that failed, with errno. */
static const char *store(const struct letter *l, int tmp, int new)
{
	char name[NAME_ROOM], final[NAME_ROOM];
	const char *step = "creating a file in tmp";
	int to = create_file(tmp, l->id, name), saved;

	if (to == -1)
		return step;
	step = "writing the message";
	if (write_file(l, to) == -1)
		goto fail;
	saved = to;
	to = -1;
	if (close(saved) == -1)
		goto fail;
	step = "moving the message into new";
	if (publish(tmp, new, name, l->id, final) == -1)
		goto fail;
	step = "making new durable";
	if (file_sys.fsync(new) == 0)
		return NULL;
	saved = errno;
	file_sys.unlink(new, final);    /* it will be delivered again; a reader may have been quicker */
	errno = saved;
	return step;
fail:
	saved = errno;
	if (to != -1)
		close(to);
	file_sys.unlink(tmp, name);
	errno = saved;
	return step;
}

const char *maildir_put(int dir, const struct letter *l)
{
	static const char *const steps[] = { "opening tmp", "opening new", "opening cur" }, *const parts[] = { "tmp", "new", "cur" };
	int part[] = { -1, -1, -1 }, saved;
	const char *step = NULL;

	for (size_t i = 0; i < 3 && !step; i++)
		if ((part[i] = open_part(dir, parts[i])) == -1)
			step = steps[i];
	if (!step)
		step = store(l, part[0], part[1]);
	saved = errno;
	for (size_t i = 0; i < 3; i++)
		if (part[i] != -1)
			close(part[i]);
	errno = saved;
	return step;
}

/* Mail that was judged says so in its first field. Its mailbox remembers who it was from, and what was refused of it before need be kept
 * no longer. None of this is a reason not to deliver it. */
static void remember(int mailbox, struct str header)
{
	static struct reason r;
	char key[REJECT_KEY + 1];
	struct buf line = { 0 };
	struct str rest = header;
	struct field f;

	if (!config.folders || !header_next(&rest, &f) || !str_eq(f.name, STR(REASON_FIELD)) || !reason_parse(f.value, &r))
		return;
	history_add(&line, (int64_t)time(NULL), r.id, r.reason, &r.who);
	memory_add(mailbox, buf_view(&line));
	buf_free(&line);
	if (reject_key(header, key))
		reject_forget(mailbox, config.folders, key);
}

static void deliver_to(const struct request *q, int fd, int mailbox, struct reply *r)
{
	const char *who = q->postmaster ? "postmaster" : q->user, *step = "reading the message";
	struct buf header = { .max = HEADER_ROOM + 1 }, trace = { .max = 4096 };

	int got = read_header(q, fd, &header);

	if (got == 0 && names_recipient(buf_view(&header), q->delivered_to)) {
		reply_set(r, 554, "5.4.6", "mail for %s goes in a circle: it has been delivered there before", q->delivered_to);
		goto out;
	}
	add_field(&trace, "Return-Path: <", q->sender, ">\n");
	add_field(&trace, "Delivered-To: ", q->delivered_to, "\n");
	if (trace.bad)
		errno = ENOMEM;
	else if (got == 0)
		step = maildir_put(mailbox, &(struct letter){ .id = q->id, .trace = buf_view(&trace), .fd = fd, .at = q->at, .size = q->size });
	if (step) {
		set_trouble(r, who, step);
		goto out;
	}
	reply_set(r, 250, "2.1.5", "delivered to the mailbox of %s", who);
	remember(mailbox, buf_view(&header));
out:
	buf_free(&header);
	buf_free(&trace);
}

static void deliver(const struct request *q, int fd, struct reply *r)
{
	char path[PATH_ROOM];
	int mailbox;

	switch (open_mailbox(q, path, &mailbox, r)) {
	case MAILBOX_FOUND:
		deliver_to(q, fd, mailbox, r);
		close(mailbox);
		return;
	case MAILBOX_MISSING:
		reply_set(r, 550, "5.1.1", "there is no mailbox %s here", q->user);
		return;
	case MAILBOX_NO_STORE:
	case MAILBOX_TROUBLE:
		return;
	}
}

/* parent: who must mark the result; it is looked for after the lock is taken (see the header). 0: ourselves. */
static bool deliver_locked(const struct request *q, int fd, pid_t parent, struct reply *r)
{
	if (flock(fd, LOCK_EX | LOCK_NB) == -1 && errno == EWOULDBLOCK) {
		reply_set(r, 451, "4.3.0", "another process is delivering this message");
		return true;
	}
	if (parent && getppid() != parent)
		return false;
	deliver(q, fd, r);
	flock(fd, LOCK_UN);
	return true;
}

static void answer_question(const struct request *q, struct answer *a)
{
	int mailbox;

	switch (open_mailbox(q, a->path, &mailbox, &a->reply)) {
	case MAILBOX_FOUND:
		close(mailbox);
		a->outcome = FOUND;
		return;
	case MAILBOX_MISSING:
		a->outcome = NO_NAME;
		return;
	case MAILBOX_NO_STORE:
	case MAILBOX_TROUBLE:
		a->outcome = UNKNOWN;
		return;
	}
}

/* False: the parent is gone, nothing was done. */
static bool work(const struct request *q, int fd, pid_t parent, struct answer *a)
{
	*a = (struct answer){ .ticket = q->ticket, .outcome = UNKNOWN };
	if (q->kind == DELIVER)
		return deliver_locked(q, fd, parent, &a->reply);
	answer_question(q, a);
	return true;
}

/* ======== the helper */

/* A fork at run time inherits the queue's lock and every connection: none of it is ours to keep open. */
static void close_all_but(int keep)
{
	int most = (int)sysconf(_SC_OPEN_MAX);

	if ((keep <= 3 || close_range(3, (unsigned)keep - 1, 0) == 0) && close_range((unsigned)keep + 1, ~0u, 0) == 0)
		return;
	for (int fd = 3; fd < (most > 0 && most < 65536 ? most : 65536); fd++)
		if (fd != keep)
			close(fd);
}

static int helper_main(int socket, void *arg)
{
	pid_t parent = *(const pid_t *)arg;
	struct request q;
	struct answer a;

	signal(SIGTERM, SIG_IGN);       /* sent to a whole service at once: we end with our socket, never within a delivery */
	signal(SIGXFSZ, SIG_IGN);       /* EFBIG instead */
	close_all_but(socket);
	for (;;) {
		size_t nfds = 1;
		int fd = -1;
		ssize_t n = child_receive(socket, &q, sizeof q, &fd, &nfds);
		bool alive;

		if (n != (ssize_t)sizeof q)
			return n == 0 ? 0 : 1;
		alive = work(&q, fd, parent, &a);
		if (nfds)
			close(fd);
		if (!alive || child_reply(socket, &a, sizeof a) == -1)
			return 0;
	}
}

/* ======== the side of the loop */

struct question {
	struct question *next;
	struct fact_ticket *ticket;
	bool postmaster;
	char user[LOCAL_MAX + 1];
};
/* A request that was sent: exactly one of the two. */
struct slot {
	uint64_t ticket;
	struct maildir_job *job;
	struct question *question;
};

static struct child helper;
static pid_t self;
static struct slot outstanding[OUTSTANDING];            /* the oldest first: answers come in order */
static size_t noutstanding;
static struct maildir_job *jobs, **last_job = &jobs;    /* waiting to be sent */
static struct question *questions, **last_question = &questions;
static uint64_t last_ticket;
static bool started;

static void pump(struct task *);
static void deadline_passed(struct timer *);
static void try_again(struct timer *);
static struct task pump_task = { .run = pump };
static struct timer deadline = { .expired = deadline_passed };
static struct timer again = { .expired = try_again };

/* ---- answers to those who asked */

static void settle_job(struct maildir_job *job, const struct reply *r)
{
	job->next = NULL;
	job->done(job, r);
}

static void settle_question(struct question *q, enum outcome outcome, const char *path, const char *why)
{
	struct record record = { .data = str_of(path) };
	struct fact f = { .outcome = outcome, .n = outcome == FOUND, .record = &record,
		.local_fault = outcome == UNKNOWN, .why = outcome == UNKNOWN ? why : NULL };
	struct fact_ticket *ticket = q->ticket;

	free(q);
	fact_answer(ticket, &f);
}

static void settle(const struct slot *s, const struct answer *a)
{
	if (s->job)
		settle_job(s->job, &a->reply);
	else
		settle_question(s->question, a->outcome, a->path, a->reply.text);
}

/* Everything that was sent to the helper is answered as a failure that may pass. */
static void fail_outstanding(const char *oldest, const char *others)
{
	struct slot failed[OUTSTANDING];
	size_t n = noutstanding;

	memcpy(failed, outstanding, n * sizeof failed[0]);
	noutstanding = 0;
	timer_stop(&deadline);
	for (size_t i = 0; i < n; i++) {
		struct answer a = { .outcome = UNKNOWN };

		reply_set(&a.reply, 451, "4.3.0", "%s", i ? others : oldest);
		settle(&failed[i], &a);
	}
}

static unsigned deadline_s(void)
{
	return config.deadline_s ? config.deadline_s : DEADLINE_S;
}

/* The clock of a request starts when it becomes the oldest: that is when the helper turns to it. */
static void watch_oldest(void)
{
	if (noutstanding)
		timer_set(&deadline, (msec)deadline_s() * 1000);
	else
		timer_stop(&deadline);
}

/* ---- sending */

static struct maildir_job *take_job(void)
{
	struct maildir_job *job = jobs;

	if (job && !(jobs = job->next))
		last_job = &jobs;
	return job;
}

static struct question *take_question(void)
{
	struct question *q = questions;

	if (q && !(questions = q->next))
		last_question = &questions;
	return q;
}

static void put_back(const struct slot *s)
{
	if (s->job) {
		s->job->next = jobs;
		if (!jobs)
			last_job = &s->job->next;
		jobs = s->job;
	} else {
		s->question->next = questions;
		if (!questions)
			last_question = &s->question->next;
		questions = s->question;
	}
}

/* The mailbox's name; a tag may hold what no such name can (anna+bob=example.org), and then is left out. */
static bool name_of(struct str local, char user[LOCAL_MAX + 1])
{
	struct buf plain = { .max = LOCAL_MAX };
	struct str rest, base;
	bool ok = maildir_user(local, user);

	if (!ok && config.separator && addr_local_unquoted(&plain, &(struct addr){ .local = local })) {
		rest = buf_view(&plain);
		ok = str_cut(&rest, config.separator, &base) && maildir_user(base, user);
	}
	buf_free(&plain);
	return ok;
}

/* "bob@example.org": the mailbox's name, so that all spellings of an address are one recipient to the loop check. */
static bool print_delivered_to(const struct addr *to, const char *user, char out[ADDRESS_ROOM])
{
	struct str domain = to->domain.n ? to->domain : str_of(config.hostname);
	size_t n = strlen(user);

	if (!str_copy(out, ADDRESS_ROOM, str_of(user)) || n + 1 + domain.n >= ADDRESS_ROOM)
		return false;
	out[n++] = '@';
	for (size_t i = 0; i < domain.n; i++)
		out[n++] = ascii_lower(domain.p[i]);
	out[n] = 0;
	return true;
}

/* False: it needs no helper, r says the result. */
static bool request_delivery(struct maildir_job *job, struct request *q, struct reply *r)
{
	*q = (struct request){ .kind = DELIVER, .at = job->at, .size = job->size, .own = job->own };
	if (!name_of(job->to->local, q->user)) {
		reply_set(r, 550, "5.1.1", "there is no mailbox of that name here");
		return false;
	}
	q->postmaster = is_postmaster(q->user);
	if (!print_delivered_to(job->to, q->user, q->delivered_to) || !str_copy(q->sender, sizeof q->sender, job->sender)
	    || !str_copy(q->id, sizeof q->id, str_of(job->id))) {
		reply_set(r, 554, "5.1.3", "an address of the message is too long");
		return false;
	}
	return true;
}

static void request_answer(const struct question *question, struct request *q)
{
	*q = (struct request){ .kind = ASK, .postmaster = question->postmaster };
	str_copy(q->user, sizeof q->user, str_of(question->user));
}

/* The next request, questions first: an SMTP client waits for them. False: none, or it was settled without a request. */
static bool next_request(struct slot *s, struct request *q)
{
	struct reply r;

	*s = (struct slot){ .question = take_question() };
	if (s->question) {
		request_answer(s->question, q);
	} else if ((s->job = take_job())) {
		if (!request_delivery(s->job, q, &r)) {
			settle_job(s->job, &r);
			return false;
		}
		s->job->ticket = last_ticket + 1;
	} else {
		return false;
	}
	q->ticket = s->ticket = ++last_ticket;
	return true;
}

/* False: the request could not be sent now and waits again. */
static bool send_request(const struct slot *s, const struct request *q)
{
	if (child_send(&helper, q, sizeof *q, s->job ? &s->job->fd : NULL, s->job ? 1 : 0) == -1)
		return false;
	outstanding[noutstanding++] = *s;
	if (noutstanding == 1)
		watch_oldest();
	return true;
}

/* What cannot be sent though nothing is on its way will not be sendable by waiting for an answer. */
static void cannot_send(const struct slot *s)
{
	if (errno == EBADF || errno == EINVAL || errno == EMSGSIZE) {
		struct answer a = { .outcome = UNKNOWN };

		reply_set(&a.reply, 451, "4.3.0", "the message could not be handed to delivery: %s", strerror(errno));
		settle(s, &a);
		task_post(&pump_task);
		return;
	}
	put_back(s);
	if (!noutstanding)
		timer_set(&again, RETRY_MS);
}

static void pump_helper(void)
{
	struct request q;
	struct slot s;

	while (helper.pid && noutstanding < OUTSTANDING && (questions || jobs)) {
		if (!next_request(&s, &q))
			continue;
		if (send_request(&s, &q))
			continue;
		cannot_send(&s);
		return;
	}
}

/* One piece of work a turn: the loop goes on between two messages. */
static void pump_inline(void)
{
	struct request q;
	struct answer a;
	struct slot s;

	if (next_request(&s, &q)) {
		work(&q, s.job ? s.job->fd : -1, 0, &a);
		settle(&s, &a);
	}
	if (questions || jobs)
		task_post(&pump_task);
}

static void pump(struct task *t)
{
	(void)t;
	if (config.inline_work)
		pump_inline();
	else
		pump_helper();
}

/* ---- the helper's life */

static void answered(struct child *c, const void *data, size_t n, int *fds, size_t nfds)
{
	struct slot oldest = outstanding[0];
	struct answer a;

	for (size_t i = 0; i < nfds; i++)
		close(fds[i]);
	if (n != sizeof a || !noutstanding)
		return;
	memcpy(&a, data, sizeof a);
	if (a.ticket != oldest.ticket) {
		log_event(LOG_ERROR, "helper-out-of-step", LF(L_TEXT("name", c->name)));
		return;                 /* the deadline settles what is left */
	}
	noutstanding--;
	memmove(outstanding, outstanding + 1, noutstanding * sizeof outstanding[0]);
	watch_oldest();
	settle(&oldest, &a);
	if (questions || jobs)
		task_post(&pump_task);
}

static void helper_gone(struct child *c)
{
	(void)c;
	timer_set(&again, RESTART_MS);
	fail_outstanding("the delivery process ended unexpectedly", "the delivery process ended unexpectedly");
}

static bool start_helper(void)
{
	helper = (struct child){ .name = "maildir", .message = answered, .gone = helper_gone };
	self = getpid();
	return child_start(&helper, helper_main, &self) == 0;
}

/* Nobody is left waiting for a helper that cannot be had. */
static void fail_waiting(const char *why)
{
	struct maildir_job *job = jobs, *next;
	struct question *q = questions, *following;
	struct reply r;

	jobs = NULL;
	last_job = &jobs;
	questions = NULL;
	last_question = &questions;
	reply_set(&r, 451, "4.3.0", "%s", why);
	for (; job; job = next) {
		next = job->next;
		settle_job(job, &r);
	}
	for (; q; q = following) {
		following = q->next;
		settle_question(q, UNKNOWN, "", why);
	}
}

static void try_again(struct timer *t)
{
	if (!helper.pid && !start_helper()) {
		log_text(LOG_ERROR, "helper-missing", "the delivery process cannot be started: %s", strerror(errno));
		timer_set(t, 5 * RESTART_MS);
		fail_waiting("the delivery process cannot be started");
		return;
	}
	task_post(&pump_task);
}

static void deadline_passed(struct timer *t)
{
	char oldest[80], others[80];

	(void)t;
	snprintf(oldest, sizeof oldest, "delivery to the mailbox took more than %u s", deadline_s());
	snprintf(others, sizeof others, "the delivery before this one took more than %u s", deadline_s());
	log_text(LOG_WARN, "delivery-hangs", "%s: its process is killed and started anew", oldest);
	child_stop(&helper);
	timer_set(&again, 0);
	fail_outstanding(oldest, others);
}

/* ---- what the program calls */

enum kept { KEEP_TEMPLATE, KEEP_POSTMASTER, KEEP_FALLBACK, KEEP_HOSTNAME, KEPT };

static const char *check_template(const char *template)
{
	char path[PATH_ROOM];

	if (!template || !*template)
		return "no path for mailboxes is given";
	if (!strstr(template, "{user}"))
		return "the path for mailboxes must hold {user}";
	if (!maildir_path(str_of(template), "a", path, sizeof path - LOCAL_MAX))
		return "the path for mailboxes is too long, or holds a brace that is not {user}";
	return NULL;
}

/* A helper may be forked when whoever has set this is long gone. What is too long here is too long for a path, too. */
static const char *keep(enum kept which, const char *text)
{
	static char kept[KEPT][PATH_ROOM];

	return text && str_copy(kept[which], PATH_ROOM, str_of(text)) ? kept[which] : NULL;
}

const char *maildir_start(const struct maildir_config *c)
{
	char user[LOCAL_MAX + 1];
	const char *wrong = check_template(c->template);

	assert(!started);
	if (wrong)
		return wrong;
	if (c->postmaster && !maildir_user(str_of(c->postmaster), user))
		return "postmaster's user is no name that a mailbox can have";
	config = *c;
	config.template = keep(KEEP_TEMPLATE, c->template);
	config.postmaster = keep(KEEP_POSTMASTER, c->postmaster);
	config.fallback = keep(KEEP_FALLBACK, c->fallback);
	config.hostname = keep(KEEP_HOSTNAME, c->hostname && *c->hostname ? c->hostname : "localhost");
	if (!config.inline_work && !start_helper())
		return "the delivery process cannot be started";
	started = true;
	return NULL;
}

void maildir_stop(void)
{
	struct question *q;

	child_stop(&helper);
	timer_stop(&deadline);
	timer_stop(&again);
	task_cancel(&pump_task);
	for (size_t i = 0; i < noutstanding; i++)
		if (outstanding[i].question)
			settle_question(outstanding[i].question, UNKNOWN, "", "mail delivery is being stopped");
	noutstanding = 0;
	while ((q = take_question()))
		settle_question(q, UNKNOWN, "", "mail delivery is being stopped");
	jobs = NULL;
	last_job = &jobs;
	started = false;
}

void maildir_deliver(struct maildir_job *job)
{
	job->next = NULL;
	*last_job = job;
	last_job = &job->next;
	task_post(&pump_task);
}

static void ask(struct fact_source *source, enum fact_kind kind, struct str name, struct fact_ticket *ticket)
{
	static const struct fact no_name = { .outcome = NO_NAME };
	static const struct fact not_now = { .outcome = UNKNOWN, .local_fault = true, .why = "mailboxes cannot be looked up now" };
	struct question *q;
	char user[LOCAL_MAX + 1];

	(void)source;
	(void)kind;
	if (!name_of(name, user)) {
		fact_answer(ticket, &no_name);
		return;
	}
	q = started ? calloc(1, sizeof *q) : NULL;
	if (!q) {
		fact_answer(ticket, &not_now);
		return;
	}
	q->ticket = ticket;
	q->postmaster = is_postmaster(user);
	str_copy(q->user, sizeof q->user, str_of(user));
	*last_question = q;
	last_question = &q->next;
	task_post(&pump_task);
}

struct fact_source *maildir_source(void)
{
	static struct fact_source source = { .ask = ask };

	return &source;
}

int maildir_open(struct str local, bool *missing)
{
	struct request q = { .kind = ASK };
	struct answer a;
	int mailbox = -1;

	*missing = !name_of(local, q.user);
	if (*missing)
		return -1;
	q.postmaster = is_postmaster(q.user);
	*missing = open_mailbox(&q, a.path, &mailbox, &a.reply) == MAILBOX_MISSING;
	return mailbox;
}
