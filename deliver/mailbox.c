/* A mailbox: finding it, and putting a message into it. Done in a helper process, as the account that the mail is for. */
#include "deliver/mailbox.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "deliver/alias.h"
#include "deliver/aliasfile.h"
#include "deliver/command.h"
#include "deliver/maildirsize.h"
#include "deliver/memory.h"
#include "lib/account.h"
#include "lib/child.h"
#include "lib/file.h"
#include "lib/list.h"
#include "mime/header.h"
#include "parse.h"

enum {
	NAME_ROOM = 256,                /* of a file, with the NUL */
	NAME_TRIES = 16,
	CHUNK = 65536,
	HEADER_ROOM = 256 * 1024        /* of a longer header the beginning is searched for loops: that is where trace fields are */
};

static struct maildir_config config;
static const struct account *as;        /* who we are in a user's child; NULL: the program's own account */

void mailbox_configure(const struct maildir_config *c)
{
	config = *c;
	if (!config.hostname || !*config.hostname)
		config.hostname = "localhost";
}

void mailbox_become(const struct account *a) { as = a; }

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

bool mailbox_in_homes(struct str template)
{
	return str_starts_nocase(template, STR("~/")) || (template.n && memmem(template.p, template.n, "{home}", 6));
}

bool mailbox_fill(struct str template, const char *user, const char *home, char *path, size_t size)
{
	struct buf out = { .max = size - 1 };
	struct str before;
	bool named = false, ok;

	if (str_starts_nocase(template, STR("~/"))) {
		named = buf_puts(&out, home);
		template = str_from(template, 1);
	}
	while (str_cut(&template, '{', &before)) {
		bool is_user = str_starts_nocase(template, STR("user}")), is_home = str_starts_nocase(template, STR("home}"));

		buf_str(&out, before);
		out.bad |= !is_user && !is_home;
		buf_puts(&out, is_user ? user : home);
		template = str_from(template, 5);
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

bool maildir_path(struct str template, const char *user, char *path, size_t size)
{
	struct account a = { 0 };

	path[0] = 0;
	if (mailbox_in_homes(template) && account_look_up(user, &a))
		return false;
	return mailbox_fill(template, user, a.home, path, size);
}

int maildir_make(const char *path)
{
	static const char *const part[] = { "tmp", "new", "cur" };
	int dir, saved, made = file_mkdirs(path, 0700), r = -1;

	if (made == -1)
		return -1;
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir == -1)
		return -1;
	for (size_t i = 0; i < 3; i++) {
		int now = file_mkdir(dir, part[i], 0700);

		if (now == -1)
			goto out;
		made |= now;
	}
	r = made ? file_sys.fsync(dir) : 0;
out:
	saved = errno;
	close(dir);
	errno = saved;
	return r;
}

/* ======== the work itself */

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

/* It cannot be opened. Two programs that write to one mbox file ruin it, as they do not agree on a lock. */
static void set_no_mailbox(struct reply *r, const char *user)
{
	set_trouble(r, user, errno == ELOOP || errno == ENOTDIR ? "a symbolic link or no directory (mail is put into Maildirs alone, not into an mbox; "
		"move it away)" : "opening it");
}

/* ---- finding the mailbox */

enum search {
	MAILBOX_FOUND,
	MAILBOX_MISSING,                /* no such user */
	MAILBOX_NO_STORE,               /* the directory of all mailboxes is not there: a trouble for all but postmaster */
	MAILBOX_TROUBLE                 /* may pass; a reply says what it is */
};
struct opened {
	char path[PATH_ROOM];
	int dir;                        /* -1: it is not for us to open */
	int folder;                     /* in it, where the mail belongs; -1: it is the mailbox itself */
	char account[LOCAL_MAX + 1];    /* but for this user's child */
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
		set_no_mailbox(why, user);
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

/* A mailbox directory, which is the caller's to close. The path has no slash at its end: O_NOFOLLOW would not hold. */
static enum search check_opened(const char *user, int *dir, struct reply *why)
{
	struct stat st;

	if (fstat(*dir, &st) == 0 && !open_to_all(&st))
		return MAILBOX_FOUND;
	close(*dir);
	*dir = -1;
	reply_set(why, 451, "4.3.5", "the mailbox of %s may be written by everybody", user);
	return MAILBOX_TROUBLE;
}

/* Whose home it is in. A user's child knows one account. */
static enum search find_account(const char *user, struct account *a, struct reply *why)
{
	const char *wrong;

	if (as) {
		*a = *as;
		return strcmp(as->name, user) == 0 ? MAILBOX_FOUND : MAILBOX_MISSING;
	}
	wrong = account_look_up(user, a);
	if (wrong && !errno && !a->name[0])
		return MAILBOX_MISSING;
	if (wrong)
		reply_set(why, 451, "4.3.0", "the account %s %s", user, wrong);
	else if (a->uid == 0)
		reply_set(why, 451, "4.3.5", "%s is root, who gets no mail himself: an alias must say who reads it", user);
	else if (a->uid != geteuid() && !config.users)
		reply_set(why, 451, "4.3.5", "mail for %s needs a server that was started as root, with the setting user", user);
	else
		return MAILBOX_FOUND;
	return MAILBOX_TROUBLE;
}

/* A home that is there, and his: a directory that a disk is to be mounted on is not. Only then is a Maildir made. */
static int make_in_home(const struct account *a, const char *path)
{
	struct stat st;

	if (stat(a->home, &st) == -1)
		return -1;
	errno = ENOENT;
	if (!S_ISDIR(st.st_mode) || st.st_uid != a->uid || maildir_make(path) == -1)
		return -1;
	return open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static enum search open_in_home(const char *user, struct opened *o, struct reply *why)
{
	struct account a;
	enum search found = find_account(user, &a, why);

	if (found != MAILBOX_FOUND)
		return found;
	if (!mailbox_fill(str_of(config.template), user, a.home, o->path, sizeof o->path)) {
		reply_set(why, 451, "4.3.5", "the path of the mailbox is too long");
		return MAILBOX_TROUBLE;
	}
	if (a.uid != geteuid()) {
		str_copy(o->account, sizeof o->account, str_of(a.name));
		return MAILBOX_FOUND;
	}
	o->dir = open(o->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (o->dir == -1 && errno == ENOENT && !(config.folders && config.folders->untouched))
		o->dir = make_in_home(&a, o->path);
	if (o->dir != -1)
		return check_opened(user, &o->dir, why);
	if (errno == ENOENT)
		reply_set(why, 451, "4.3.5", "the home of %s is not there, or not his own", user);
	else
		set_no_mailbox(why, user);
	return MAILBOX_TROUBLE;
}

static enum search open_user(const char *user, struct opened *o, struct reply *why)
{
	if (mailbox_in_homes(str_of(config.template)))
		return open_in_home(user, o, why);
	if (!mailbox_fill(str_of(config.template), user, "", o->path, sizeof o->path)) {
		reply_set(why, 451, "4.3.5", "the path of the mailbox is too long");
		return MAILBOX_TROUBLE;
	}
	o->dir = open(o->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return o->dir == -1 ? explain_missing(user, why) : check_opened(user, &o->dir, why);
}

/* postmaster is never unknown (RFC 5321 4.5.1): where there is no mailbox (or no mailboxes at all), the fallback is made. */
static enum search open_fallback(struct opened *o, struct reply *why)
{
	const char *fallback = config.fallback;

	if (as || !fallback || !str_copy(o->path, sizeof o->path, (struct str){ fallback, without_slashes(fallback) })) {
		reply_set(why, 451, "4.3.5", "there is no mailbox for postmaster yet");
		return MAILBOX_TROUBLE;
	}
	o->dir = -1;
	if (maildir_make(o->path) == 0)
		o->dir = open(o->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (o->dir != -1)
		return MAILBOX_FOUND;
	set_trouble(why, "postmaster", "cannot be made");
	return MAILBOX_TROUBLE;
}

static enum search open_postmaster(struct opened *o, struct reply *why)
{
	const char *const name[] = { config.postmaster, "postmaster" };
	char user[LOCAL_MAX + 1];

	for (size_t i = 0; i < 2; i++) {
		enum search found;

		if (!name[i] || !maildir_user(str_of(name[i]), user))
			continue;
		found = open_user(user, o, why);
		if (found == MAILBOX_FOUND || found == MAILBOX_TROUBLE)
			return found;
	}
	return open_fallback(o, why);
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

/* anna+lists: the folder .lists, if there is one; a.b is .a.b, in it. -1: there is none, or the detail names no folder. */
static int open_folder(int mailbox, const char *detail)
{
	char name[1 + LOCAL_MAX + 1];
	size_t n = strlen(detail);

	if (!n || detail[0] == '.' || detail[n - 1] == '.' || strstr(detail, "..") || (size_t)snprintf(name, sizeof name, ".%s", detail) >= sizeof name)
		return -1;
	return openat(mailbox, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* A mailbox with the whole name is nearer than the one without the tag. */
static enum search open_mailbox(const struct work *q, struct opened *o, struct reply *why)
{
	char base[LOCAL_MAX + 1];
	enum search found;

	*o = (struct opened){ .dir = -1, .folder = -1 };
	if (q->postmaster)
		return open_postmaster(o, why);
	found = open_user(q->user, o, why);
	if (found != MAILBOX_MISSING || !without_tag(q->user, base))
		return found;
	found = is_postmaster(base) ? open_postmaster(o, why) : open_user(base, o, why);
	if (config.detail_folders && found == MAILBOX_FOUND && o->dir != -1)
		o->folder = open_folder(o->dir, q->user + strlen(base) + 1);
	return found;
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
static int read_header(const struct work *q, int fd, struct buf *out)
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

size_t mailbox_to_lf(const char *in, size_t n, char *out, bool *held)
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
		if (file_write(to, out, mailbox_to_lf(in, want, out, &held)) == -1)
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
static int publish(int tmp, int new, const char *name, const char *id, const char *suffix, char final[NAME_ROOM])
{
	snprintf(final, NAME_ROOM, "%.230s%s", name, suffix);
	for (int i = 0; i < NAME_TRIES; i++) {
		if (file_sys.rename(tmp, name, new, final) == 0)
			return 0;
		if (errno != EEXIST || !unique_name(id, final))
			return -1;              /* the suffix, a help for readers, is not worth more than that */
	}
	return -1;
}

/* ---- one delivery */

/* Into a mailbox whose parts are open. NULL, or the step that failed, with errno. size: NULL, or gets the octets stored, which then stand in
 * the name, too (",S=1234"). */
static const char *store(const struct letter *l, int tmp, int new, off_t *size)
{
	char name[NAME_ROOM], final[NAME_ROOM], suffix[24] = "";
	const char *step = "creating a file in tmp";
	int to = create_file(tmp, l->id, name), saved;

	if (to == -1)
		return step;
	step = "writing the message";
	if (write_file(l, to) == -1)
		goto fail;
	if (size) {
		*size = lseek(to, 0, SEEK_CUR);
		snprintf(suffix, sizeof suffix, ",S=%lld", (long long)*size);
	}
	saved = to;
	to = -1;
	if (close(saved) == -1)
		goto fail;
	step = "moving the message into new";
	if (publish(tmp, new, name, l->id, suffix, final) == -1)
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

static const char *put(int dir, const struct letter *l, off_t *size)
{
	static const char *const steps[] = { "opening tmp", "opening new", "opening cur" }, *const parts[] = { "tmp", "new", "cur" };
	int part[] = { -1, -1, -1 }, saved;
	const char *step = NULL;

	for (size_t i = 0; i < 3 && !step; i++)
		if ((part[i] = open_part(dir, parts[i])) == -1)
			step = steps[i];
	if (!step)
		step = store(l, part[0], part[1], size);
	saved = errno;
	for (size_t i = 0; i < 3; i++)
		if (part[i] != -1)
			close(part[i]);
	errno = saved;
	return step;
}

const char *maildir_put(int dir, const struct letter *l) { return put(dir, l, NULL); }

/* Above our own Received stands what we have written, and our filters. What is below came with the message. */
static bool find_reason(struct str header, struct reason *out)
{
	struct field f;

	while (header_next(&header, &f) && !str_eq_nocase(f.name, STR("Received")))
		if (str_eq(f.name, STR(REASON_FIELD)))
			return reason_parse(f.value, out);
	return false;
}

/* Mail that was judged says so. Its mailbox remembers who it was from, and what was refused of it before need be kept
 * no longer. None of this is a reason not to deliver it. */
static void remember(int mailbox, struct str header, const struct reason *r)
{
	char key[REJECT_KEY + 1];
	struct buf line = { 0 };

	history_add(&line, (int64_t)time(NULL), r->id, r->reason, &r->who);
	memory_add(mailbox, buf_view(&line));
	buf_free(&line);
	if (reject_key(header, key))
		reject_forget(mailbox, config.folders, key);
}

/* The folder that a rule of the mailbox names; -1: none does, or it is no folder. A rule is no reason not to deliver it, either. */
static int open_ruled(const struct work *q, int mailbox, struct str header, struct reason *r)
{
	static char room[HISTORY_LINE];
	struct buf text = { 0 };
	struct rule rule;
	int folder = -1;

	if (memory_apply(mailbox, config.folders, str_of(q->user), header, &r->who, room, &text, &rule)) {
		struct str name = rule.refused.n && !rule.unfit && str_starts_nocase(r->reason, STR("unwanted:")) ? rule.refused : rule.folder;

		folder = name.n ? memory_folder(mailbox, name) : -1;
	}
	buf_free(&text);
	return folder;
}

/* Is there room for it? False: r says why not. */
static bool has_room(const struct work *q, int mailbox, const char *who, struct reply *r)
{
	int room = config.quota ? maildirsize_has_room(mailbox, config.quota, (uint64_t)q->size) : 1;

	if (room == -1)
		set_trouble(r, who, "counting what it holds");
	else if (room == 0)
		reply_set(r, config.refuse_full ? 552 : 452, config.refuse_full ? "5.2.2" : "4.2.2", "the mailbox of %s is full", who);
	return room == 1;
}

/* mailbox: where the quota and the memory are kept; folder: the mailbox itself, or one in it. */
static void deliver_to(const struct work *q, int fd, int mailbox, int folder, struct reply *r)
{
	const char *who = q->postmaster ? "postmaster" : q->user, *step = "reading the message";
	struct buf header = { .max = HEADER_ROOM + 1 }, trace = { .max = 4096 };
	int got = read_header(q, fd, &header), ruled = -1;
	static struct reason reason;
	bool judged;
	off_t size = 0;

	if (got == 0 && names_recipient(buf_view(&header), q->delivered_to)) {
		reply_set(r, 554, "5.4.6", "mail for %s goes in a circle: it has been delivered there before", q->delivered_to);
		goto out;
	}
	if (got == 0 && !has_room(q, mailbox, who, r))
		goto out;
	add_field(&trace, "Return-Path: <", q->sender, ">\n");
	add_field(&trace, "Delivered-To: ", q->delivered_to, "\n");
	judged = config.folders && find_reason(buf_view(&header), &reason);
	if (judged)
		ruled = open_ruled(q, mailbox, buf_view(&header), &reason);
	if (trace.bad)
		errno = ENOMEM;
	else if (got == 0)
		step = put(ruled != -1 && folder == mailbox ? ruled : folder, &(struct letter){ .id = q->id, .trace = buf_view(&trace), .fd = fd, .at = q->at, .size = q->size },
			config.quota ? &size : NULL);
	if (step) {
		set_trouble(r, who, step);
		goto out;
	}
	if (config.quota)
		maildirsize_add(mailbox, (uint64_t)size);
	reply_set(r, 250, "2.1.5", "delivered to the mailbox of %s", who);
	if (judged)
		remember(mailbox, buf_view(&header), &reason);
out:
	if (ruled != -1)
		close(ruled);
	buf_free(&header);
	buf_free(&trace);
}

static void deliver(const struct work *q, int fd, struct reply *r)
{
	struct opened o;

	switch (open_mailbox(q, &o, r)) {
	case MAILBOX_FOUND:
		if (o.dir == -1) {
			reply_set(r, 451, "4.3.0", "the mailbox of %s is another account's now", q->user);
			return;
		}
		deliver_to(q, fd, o.dir, o.folder == -1 ? o.dir : o.folder, r);
		if (o.folder != -1)
			close(o.folder);
		close(o.dir);
		return;
	case MAILBOX_MISSING:
		reply_set(r, 550, "5.1.1", "there is no mailbox %s here", q->user);
		return;
	case MAILBOX_NO_STORE:
	case MAILBOX_TROUBLE:
		return;
	}
}

/* ---- .forward files */

/* Of whose child we are, or of ourselves: a regular file of his own that nobody else may write. FOUND, NO_DATA (there is none) or UNKNOWN
 * with *why. */
static enum outcome read_forward(const struct account *a, char *path, size_t size, struct buf *text, struct reply *why)
{
	struct stat st;
	const char *wrong = NULL;
	int fd;

	text->max = FORWARD_MAX;
	if ((size_t)snprintf(path, size, "%s/.forward", a->home) >= size)
		return NO_DATA;
	fd = open(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC);
	if (fd == -1 && (errno == ENOENT || errno == ENOTDIR))
		return NO_DATA;
	if (fd == -1)
		wrong = errno == ELOOP ? "is a symbolic link" : strerror(errno);
	else if (fstat(fd, &st) == -1)
		wrong = strerror(errno);
	else if (!S_ISREG(st.st_mode))
		wrong = "is no regular file";
	else if (st.st_uid != a->uid)
		wrong = "belongs to somebody else";
	else if (st.st_mode & (S_IWGRP | S_IWOTH))
		wrong = "may be written by others. Say chmod go-w";
	else if (st.st_size > FORWARD_MAX)
		wrong = "is larger than 16 KiB";
	else if (!buf_reserve(text, FORWARD_MAX))
		wrong = "out of memory";
	if (!wrong) {
		ssize_t n = file_pread(fd, text->p, FORWARD_MAX, 0);

		wrong = n == -1 ? strerror(errno) : NULL;
		text->n = n > 0 ? (size_t)n : 0;
	}
	if (fd != -1)
		close(fd);
	if (wrong)
		reply_set(why, 451, "4.3.5", "%s: %s", path, wrong);
	return wrong ? UNKNOWN : FOUND;
}

static void answer_forward(const struct work *q, struct work_result *a, struct buf *text)
{
	struct account who;

	switch (find_account(q->user, &who, &a->reply)) {
	case MAILBOX_FOUND:
		a->outcome = read_forward(&who, a->path, sizeof a->path, text, &a->reply);
		return;
	case MAILBOX_MISSING:
		a->outcome = NO_NAME;
		return;
	case MAILBOX_NO_STORE:
	case MAILBOX_TROUBLE:
		return;
	}
}

/* ---- commands: a name and a number say which one, and it is run only if the file that may name commands names it now */

struct named {
	bool forward;
	char name[LOCAL_MAX + 1];
	uint64_t n;
};

static bool parse_named(const char *text, struct named *out)
{
	struct str rest = str_of(text), name;

	out->forward = text[0] == '~';
	return str_cut_last(&rest, '|', &name) && str_number(rest, 10000, &out->n) && out->n &&
		str_copy(out->name, sizeof out->name, str_from(name, out->forward));
}

static const char *file_of(const struct named *c) { return strchr(c->name, '@') ? config.virtual : config.aliases; }

static bool refuse(struct reply *why, const char *fmt, const char *what)
{
	reply_set(why, 451, "4.3.5", fmt, what);
	return false;
}

/* The account that commands of the files of aliases are run as: the setting's, else the file's owner. */
static bool find_pipe_account(const struct named *c, struct account *a, struct reply *why)
{
	const char *path = file_of(c);
	struct passwd *pw = NULL;
	struct stat st;

	if (config.pipe_user && account_look_up(config.pipe_user, a))
		return refuse(why, "pipe_user = %s is no account", config.pipe_user);
	if (!config.pipe_user && path && stat(path, &st) == 0 && st.st_uid != 0)
		pw = getpwuid(st.st_uid);
	if (!config.pipe_user && (!pw || account_look_up(pw->pw_name, a)))
		return refuse(why, "%s belongs to root, or to nobody: the setting pipe_user must say as whom its commands are run", path ? path : "the file");
	return a->uid != 0 || refuse(why, "commands are never run as %s, who is root", a->name);
}

static void answer_owner(const struct work *q, struct work_result *a)
{
	struct account who;
	struct named c;

	if (!config.pipes || !parse_named(q->command, &c)) {
		refuse(&a->reply, "commands are not run here%s", "");
		return;
	}
	if (c.forward ? find_account(c.name, &who, &a->reply) != MAILBOX_FOUND : !find_pipe_account(&c, &who, &a->reply))
		return;
	a->outcome = FOUND;
	str_copy(a->account, sizeof a->account, str_of(who.name));
}

static const struct alias_target *find_command(const struct named *c, const struct account *me, struct alias_table *t, struct reply *why)
{
	struct buf text = { 0 };
	struct alias_entry *e = NULL;
	char path[PATH_ROOM];
	struct stat st;

	if (c->forward && strcmp(c->name, me->name) == 0) {
		if (read_forward(me, path, sizeof path, &text, why) == UNKNOWN)
			return NULL;
		e = alias_table_add_forward(t, str_of(me->name), str_of(path), buf_view(&text));
		buf_free(&text);
	} else if (!c->forward && file_of(c)) {
		/* Who asks is not believed: it is this account's file, or the setting names it. */
		if (config.pipe_user ? strcmp(config.pipe_user, me->name) != 0 : stat(file_of(c), &st) == -1 || st.st_uid != me->uid) {
			refuse(why, "%s may not run commands for aliases", me->name);
			return NULL;
		}
		alias_table_add(t, file_of(c), NULL, strchr(c->name, '@') != NULL);
		if (t->errors.n) {
			refuse(why, "%s has an error in it, or cannot be read", file_of(c));
			return NULL;
		}
		e = alias_table_find(t, str_of(c->name));
	}
	if (e && alias_command(e, (unsigned)c->n))
		return alias_command(e, (unsigned)c->n);
	reply_set(why, 550, "5.1.1", "%s names no such command any more", c->name);
	return NULL;
}

enum { VARIABLES = 6 };

/* "NAME=value", in texts of its own. False: no memory. */
static bool make_environment(const struct work *q, struct buf text[VARIABLES], const char *environment[VARIABLES + 1])
{
	struct str domain = str_of(q->recipient), local = domain, name, detail;

	if (!str_cut_last(&domain, '@', &local))
		domain = STR("");
	detail = local;
	if (config.separator && str_cut(&detail, config.separator, &name) && name.n)
		local = name;
	else
		detail = STR("");

	const struct {
		const char *name;
		struct str value;
	} rows[VARIABLES] = { { "SENDER", str_of(q->sender) }, { "RECIPIENT", str_of(q->recipient) }, { "ORIGINAL_RECIPIENT", str_of(q->recipient) },
		{ "LOCAL", local }, { "DOMAIN", domain }, { "EXTENSION", detail } };
	bool ok = true;

	for (size_t i = 0; i < VARIABLES; i++) {
		buf_printf(&text[i], "%s=" STR_FMT, rows[i].name, STR_ARG(rows[i].value));
		environment[i] = buf_cstr(&text[i]);
		ok &= !text[i].bad && *environment[i];
	}
	return ok;
}

/* False: the command has not ended in time. */
static bool run_command(const struct work *q, int fd, struct reply *why)
{
	struct alias_table t = { .commands = true };
	const struct alias_target *target = NULL;
	struct buf front = { .max = 4096 }, text[VARIABLES] = { 0 };
	const char *environment[VARIABLES + 1] = { 0 };
	struct named c;
	bool in_time = true;

	add_field(&front, "Return-Path: <", q->sender, ">\n");
	if (!as || !config.pipes || !parse_named(q->command, &c))
		refuse(why, "commands are not run here%s", "");
	else if (!make_environment(q, text, environment) || front.bad)
		reply_set(why, 451, "4.3.0", "out of memory here");
	else if ((target = find_command(&c, as, &t, why)))
		in_time = command_run(&(struct command){ .text = target->text, .name = c.name, .environment = environment, .front = buf_view(&front),
			.fd = fd, .at = q->at, .size = q->size, .deadline_s = config.command_s ? config.command_s : COMMAND_S }, why);
	for (size_t i = 0; i < VARIABLES; i++)
		buf_free(&text[i]);
	buf_free(&front);
	alias_table_free(&t);
	return in_time;
}

/* ---- what is asked for */

/* wanted() is asked after the lock is taken (see maildir.h). The lock is a shared one: children of several users may be at one message.
 * False: nobody wants it any more, or a command has not ended. */
static bool with_lock(const struct work *q, int fd, bool (*wanted)(void), struct work_result *a)
{
	bool goes_on = true;

	if (flock(fd, LOCK_SH | LOCK_NB) == -1 && errno == EWOULDBLOCK) {
		reply_set(&a->reply, 451, "4.3.0", "another process is delivering this message");
		return true;
	}
	if (wanted && !wanted()) {
		a->ticket = 0;
		return false;
	}
	if (q->kind == WORK_RUN)
		goes_on = run_command(q, fd, &a->reply);
	else
		deliver(q, fd, &a->reply);
	flock(fd, LOCK_UN);
	return goes_on;
}

static void answer_question(const struct work *q, struct work_result *a)
{
	struct opened o;

	switch (open_mailbox(q, &o, &a->reply)) {
	case MAILBOX_FOUND:
		a->outcome = FOUND;
		a->full = config.quota && o.dir != -1 && maildirsize_has_room(o.dir, config.quota, 1) == 0;
		if (o.folder != -1)
			close(o.folder);
		if (o.dir != -1)
			close(o.dir);
		str_copy(a->path, sizeof a->path, str_of(o.path));
		str_copy(a->account, sizeof a->account, str_of(o.account));
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

static void answer_recall(const struct work *q, int fd, struct work_result *a, struct buf *text)
{
	struct recall_answer answer = { .ticket = q->recall->ticket, .outcome = UNKNOWN };
	struct opened o;

	if (open_mailbox(q, &o, &a->reply) == MAILBOX_MISSING)
		answer.outcome = NO_NAME;
	if (o.folder != -1)
		close(o.folder);
	if (o.dir != -1 && config.folders)
		recall_work(q->recall, fd, o.dir, config.folders, &answer);
	else
		snprintf(answer.text, sizeof answer.text, "%.190s", a->reply.text);
	if (o.dir != -1)
		close(o.dir);
	buf_add(text, &answer, sizeof answer);
	a->text_n = text->n;
}

int mailbox_open(const struct work *q, bool *missing, char account[LOCAL_MAX + 1])
{
	struct reply why;
	struct opened o;

	*missing = open_mailbox(q, &o, &why) == MAILBOX_MISSING;
	memcpy(account, o.account, sizeof o.account);
	if (o.folder != -1)
		close(o.folder);
	return o.dir;
}

bool mailbox_work(const struct work *q, int fd, bool (*wanted)(void), struct work_result *a, struct buf *text)
{
	*a = (struct work_result){ .ticket = q->ticket, .outcome = UNKNOWN };
	switch (q->kind) {
	case WORK_DELIVER:
	case WORK_RUN:
		return with_lock(q, fd, wanted, a);
	case WORK_ASK:
		answer_question(q, a);
		break;
	case WORK_OWNER:
		answer_owner(q, a);
		break;
	case WORK_FORWARD:
		answer_forward(q, a, text);
		a->text_n = text->n;
		break;
	case WORK_RECALL:
		answer_recall(q, fd, a, text);
		break;
	}
	return true;
}

/* ======== the helper */

/* A fork at run time inherits the queue's lock and every connection: none of it is ours to keep open. */
static void close_all_but(int keep)
{
	int most = (int)sysconf(_SC_OPEN_MAX);

	if ((keep <= 3 || file_close_range(3, (unsigned)keep - 1, 0) == 0) && file_close_range((unsigned)keep + 1, ~0u, 0) == 0)
		return;
	for (int fd = 3; fd < (most > 0 && most < 65536 ? most : 65536); fd++)
		if (fd != keep)
			close(fd);
}

#define ENDS(text) (memchr((text), '\0', sizeof (text)) != NULL)

static bool is_file(int fd)
{
	struct stat st;

	return fd != -1 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

bool mailbox_is_work(const void *data, size_t n, int fd)
{
	const struct work *q = data;
	char user[LOCAL_MAX + 1];

	if (n < sizeof *q || !ENDS(q->user) || !ENDS(q->delivered_to) || !ENDS(q->sender) || !ENDS(q->id) || !ENDS(q->command) || !ENDS(q->recipient))
		return false;
	if (*(const unsigned char *)&q->postmaster > 1)         /* a bool of another value is none */
		return false;
	if (q->at < 0 || q->size < 0 || q->own < 0 || q->own > q->size || (q->user[0] && !maildir_user(str_of(q->user), user)))
		return false;
	n -= sizeof *q;
	switch (q->kind) {
	case WORK_DELIVER:
	case WORK_RUN:
		return !n && is_file(fd);
	case WORK_ASK:
	case WORK_OWNER:
	case WORK_FORWARD:
		return !n;
	case WORK_RECALL:
		return recall_is_request(q->recall, n) && (is_file(fd) || (q->recall->what != CONTENT && q->recall->what != KEEP));
	}
	return false;
}

int mailbox_serve(int socket, bool (*wanted)(void))
{
	static char answer[sizeof(struct work_result) + FORWARD_MAX];
	static union work_room room;
	static struct buf text;
	const struct work *q = &room.work;
	struct work_result a;

	signal(SIGTERM, SIG_IGN);       /* sent to a whole service at once: we end with our socket, never within a delivery */
	signal(SIGXFSZ, SIG_IGN);       /* EFBIG instead */
	close_all_but(socket);
	for (;;) {
		size_t nfds = 1;
		int fd = -1;
		ssize_t n = child_receive(socket, &room, sizeof room, &fd, &nfds);
		bool goes_on;

		if (n <= 0)
			return n == 0 ? 0 : 1;
		if (as ? !mailbox_is_work(q, (size_t)n, nfds ? fd : -1) : n != (ssize_t)sizeof *q)
			return 1;
		buf_clear(&text);
		goes_on = mailbox_work(q, fd, wanted, &a, &text);
		if (nfds)
			close(fd);
		if (!goes_on && !a.ticket)
			return 0;
		memcpy(answer, &a, sizeof a);
		if (a.text_n)
			memcpy(answer + sizeof a, text.p, a.text_n);
		if (child_reply(socket, answer, sizeof a + a.text_n) == -1)
			return 0;
		if (!goes_on)
			kill(0, SIGKILL);       /* a session of our own: the command, and all that it has begun */
	}
}
