/* The memory of a mailbox on disk, what its folders say, and the folder of what was refused. */
#include "deliver/memory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "deliver/maildir.h"
#include "deliver/words.h"
#include "lib/clock.h"
#include "lib/file.h"
#include "lib/hash.h"
#include "lib/list.h"
#include "mime/header.h"

#define FILE_NAME "fardel.history"
#define FRESH_NAME "fardel.history.new"
#define RULES_NAME "fardel.rules"

enum {
	KEPT_S = 7 * 86400,             /* read, and still in the inbox */
	WROTE_AGAIN_S = 30 * 86400,     /* an address written to is noted anew */
	HEADER_READ = 16 << 10,         /* octets of a file in which its fields are looked for */
	SLACK_S = 2,                    /* stamps of directories are not finer everywhere */
	COMPACT_OCTETS = HISTORY_OCTETS / 2,
	ADD_OCTETS = 2 * HISTORY_OCTETS,        /* a file of that size is made compact before it grows */
	ID_DIGITS = 24,
	FOLDER_NAME = 256,
	REOPENED = 3
};

/* ---- the file */

/* Regular, one name, and nobody else's. */
static bool is_ours(int fd, struct stat *st)
{
	return fstat(fd, st) == 0 && S_ISREG(st->st_mode) && st->st_nlink == 1;
}

static int open_file(int mailbox, const char *name, int flags, struct stat *st)
{
	int fd = openat(mailbox, name, flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, 0600);

	if (fd == -1 || is_ours(fd, st))
		return fd;
	close(fd);
	errno = EPERM;
	return -1;
}

/* A lock that somebody else holds is not waited for: a line that is lost then does little harm. */
static int open_locked(int mailbox, struct stat *st)
{
	for (int i = 0; i < REOPENED; i++) {
		int fd = open_file(mailbox, FILE_NAME, O_RDWR | O_APPEND | O_CREAT, st);

		if (fd == -1)
			return -1;
		if (flock(fd, LOCK_EX | LOCK_NB) == -1 || (fstat(fd, st) == 0 && st->st_nlink == 1))
			return fd;
		close(fd);                      /* another has taken its place */
	}
	errno = EAGAIN;
	return -1;
}

/* Its last octets, from the beginning of a line. A file that is not there is empty. */
static int read_file(int mailbox, struct buf *text, off_t *size)
{
	struct stat st;
	int fd = open_file(mailbox, FILE_NAME, O_RDONLY, &st), saved;
	ssize_t n = -1;
	off_t at;
	char *p;

	*size = 0;
	if (fd == -1)
		return errno == ENOENT ? 0 : -1;
	*size = st.st_size;
	at = st.st_size > HISTORY_OCTETS ? st.st_size - HISTORY_OCTETS : 0;
	p = buf_reserve(text, (size_t)(st.st_size - at) + 1);
	errno = ENOMEM;
	if (p)
		n = file_pread(fd, p, (size_t)(st.st_size - at), at);
	saved = errno;
	close(fd);
	errno = saved;
	if (n < 0)
		return -1;
	text->n += (size_t)n;
	if (at) {
		const char *lf = memchr(text->p, '\n', text->n);

		buf_drop(text, lf ? (size_t)(lf - text->p) + 1 : text->n);
	}
	return 0;
}

/* In place of the old one, as long as nothing has been added to that: else another time. */
static void make_compact(int mailbox, struct history *h, off_t size, int64_t now)
{
	struct buf text = { 0 };
	struct stat st;
	int old = open_locked(mailbox, &st), fd = -1;

	if (old == -1 || st.st_size != size || flock(old, LOCK_EX | LOCK_NB) == -1 || !history_print(h, now, &text))
		goto out;
	unlinkat(mailbox, FRESH_NAME, 0);
	fd = open_file(mailbox, FRESH_NAME, O_WRONLY | O_CREAT | O_EXCL, &st);
	if (fd == -1 || file_write(fd, text.p, text.n) == -1 || file_sys.fdatasync(fd) == -1 ||
	    renameat(mailbox, FRESH_NAME, mailbox, FILE_NAME) == -1)
		unlinkat(mailbox, FRESH_NAME, 0);
out:
	if (fd != -1)
		close(fd);
	if (old != -1)
		close(old);
	buf_free(&text);
}

static void compact_unread(int mailbox)
{
	struct buf text = { .max = 2 * HISTORY_OCTETS };
	struct history h;
	off_t size;

	if (read_file(mailbox, &text, &size) == 0 && history_parse(&h, buf_view(&text))) {
		make_compact(mailbox, &h, size, clock_wall_s());
		history_free(&h);
	}
	buf_free(&text);
}

int memory_add(int mailbox, struct str lines)
{
	struct stat st;
	int fd, r, saved;
	char last = '\n';

	if (!lines.n)
		return 0;
	fd = open_locked(mailbox, &st);
	if (fd != -1 && st.st_size > ADD_OCTETS) {      /* nobody asks this mailbox, or somebody fills it */
		close(fd);
		compact_unread(mailbox);
		fd = open_locked(mailbox, &st);
	}
	if (fd == -1)
		return -1;
	r = st.st_size ? (int)file_pread(fd, &last, 1, st.st_size - 1) : 0;
	if (r >= 0 && last != '\n')             /* torn by a crash */
		r = file_write(fd, "\n", 1);
	if (r >= 0)
		r = file_write(fd, lines.p, lines.n);
	saved = errno;
	close(fd);
	errno = saved;
	return r < 0 ? -1 : 0;
}

/* ---- folders and rules */

/* -1 with errno. */
static int open_folder(int mailbox, struct str folder, bool make)
{
	char name[FOLDER_NAME];
	int fd, mark;

	if (!folder.n || snprintf(name, sizeof name, "." STR_FMT, STR_ARG(folder)) >= (int)sizeof name) {
		errno = ENOENT;
		return -1;
	}
	if (make && file_mkdir(mailbox, name, 0700) == -1)
		return -1;
	fd = openat(mailbox, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd != -1 && make && (mark = openat(fd, "maildirfolder", O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600)) != -1)
		close(mark);
	return fd;
}

int memory_folder(int mailbox, struct str name) { return open_folder(mailbox, name, true); }

/* Whole lines. */
static bool read_rules(int dir, const char *name, size_t most, struct buf *text)
{
	struct stat st;
	int fd = open_file(dir, name, O_RDONLY, &st);
	ssize_t n = -1;

	buf_clear(text);
	text->max = most;
	if (fd == -1)
		return false;
	if (buf_reserve(text, most))
		n = file_pread(fd, text->p, most, 0);
	close(fd);
	text->n = n > 0 ? (size_t)n : 0;
	while (text->n && (size_t)n == most && text->p[text->n - 1] != '\n')
		text->n--;
	return n > 0;
}

enum kind { KIND_INBOX, KIND_JUNK, KIND_NEUTRAL, KIND_SENT, KIND_REJECTS, KIND_KEPT };

static bool begins(struct str part, const char *words)
{
	struct str rest = str_of(words), word;

	while (str_word(&rest, &word))
		if (str_starts_nocase(part, word))
			return true;
	return false;
}

/* ".Archive.2026": the first part that says anything does. */
static enum kind kind_of(const struct memory_folders *f, struct str name)
{
	struct str part;
	bool more = true;

	while (more) {
		more = str_cut(&name, '.', &part);
		if (!more)
			part = name;
		if (!part.n)
			continue;
		if (f->rejects && str_eq_nocase(part, str_of(f->rejects)))
			return KIND_REJECTS;
		if (begins(part, f->junk))
			return KIND_JUNK;
		if (begins(part, f->neutral))
			return KIND_NEUTRAL;
		if (begins(part, f->sent))
			return KIND_SENT;
	}
	return KIND_KEPT;
}

bool memory_rule(int mailbox, const struct memory_folders *f, struct str whose, const struct rule_subject *s, struct buf *text, struct rule *r)
{
	bool found = f->rules && read_rules(AT_FDCWD, f->rules, RULESET_ALL, text) && ruleset_find(buf_view(text), &whose, f->separator, s, r);

	if (!found)
		found = f->own_rules && read_rules(mailbox, RULES_NAME, RULESET_OWN, text) && ruleset_find(buf_view(text), NULL, 0, s, r);
	if (found)
		r->unfit = r->refused.n && kind_of(f, r->refused) == KIND_KEPT;
	return found;
}

bool memory_apply(int mailbox, const struct memory_folders *f, struct str whose, struct str header, struct identities *who, char room[HISTORY_LINE],
	struct buf *text, struct rule *r)
{
	struct buf list = { .max = HISTORY_LINE };
	bool found = false;

	if (f->rules || f->own_rules) {
		list_id(&list, header);
		found = memory_rule(mailbox, f, whose, &(struct rule_subject){ who, buf_view(&list) }, text, r);
	}
	if (found && r->forwarder)
		identities_forward(who, r->by, room);
	buf_free(&list);
	return found;
}

/* ---- looking at folders */

struct look {
	int mailbox;
	const struct memory_folders *folders;
	const struct history *history;
	int64_t now, since;             /* what has not changed since then is known */
	int64_t end_ms;
	size_t names, opened, nfolders;
	bool changed;
	enum mark *mark;                /* as history->record: what was seen; MARK_NONE: nothing that says anything */
	struct buf lines;               /* for the memory */
	enum kind kind;
	struct bayes_table *table;      /* NULL: no words are learnt */
	bool first, learnt;             /* nothing was known of words; now something is */
	char header[HEADER_READ];
};

static bool is_over(const struct look *k)
{
	return k->names >= MEMORY_NAMES || k->opened >= MEMORY_OPENED || clock_monotonic_ms() >= k->end_ms;
}

/* The letters behind ":2,". */
static bool has_flag(const char *name, char flag)
{
	const char *info = strstr(name, ":2,");

	return info && strchr(info + 3, flag);
}

static enum mark mark_of(const struct look *k, const struct remembered *r, const char *name)
{
	bool rescued = r->mark == MARK_JUNK || str_starts_nocase(r->reason, STR("refused:"));
	bool used = has_flag(name, 'R') || has_flag(name, 'P') || has_flag(name, 'F');

	if (has_flag(name, 'T'))
		return MARK_NONE;
	switch (k->kind) {
	case KIND_JUNK:
		return MARK_JUNK;
	case KIND_KEPT:
		return MARK_HAM;
	case KIND_INBOX:
		return rescued || used || (has_flag(name, 'S') && k->now - r->time >= KEPT_S) ? MARK_HAM : MARK_NONE;
	case KIND_NEUTRAL:
		return used ? MARK_HAM : MARK_NONE;
	case KIND_SENT:
	case KIND_REJECTS:
		break;
	}
	return MARK_NONE;
}

/* Words count once, as what the message was last taken for. */
static void learn(struct look *k, int dir, const char *name, enum mark before, enum mark now)
{
	static struct bayes_words words;

	if (!k->table || now == MARK_NONE || now == before || is_over(k))
		return;
	k->opened++;
	if (!words_of_file(dir, name, &words))
		return;
	if (before != MARK_NONE)
		bayes_count(k->table, &words, before == MARK_JUNK, false);
	bayes_count(k->table, &words, now == MARK_JUNK, true);
	k->learnt = true;
}

/* Of two copies the one among the junk counts. */
static void note(struct look *k, const struct remembered *r, int dir, const char *name)
{
	enum mark m = mark_of(k, r, name), *seen = &k->mark[r - k->history->record];

	if (m != MARK_JUNK && *seen != MARK_NONE)
		return;
	learn(k, dir, name, *seen != MARK_NONE ? *seen : k->first ? MARK_NONE : r->mark, m);
	*seen = m;
}

/* The first time all that lies there is learnt, whoever delivered it. */
static void note_unknown(struct look *k, int dir, const char *name)
{
	if (k->first && (k->kind == KIND_JUNK || k->kind == KIND_KEPT) && !has_flag(name, 'T'))
		learn(k, dir, name, MARK_NONE, k->kind == KIND_JUNK ? MARK_JUNK : MARK_HAM);
}

/* "..._6b040b696db0f6315eaf30e2.host" */
static struct remembered *by_name(const struct history *h, const char *name)
{
	const char *id = strchr(name, '_');

	return id && strlen(id) > ID_DIGITS ? history_find(h, (struct str){ id + 1, ID_DIGITS }) : NULL;
}

/* The beginning of a file that has come, or changed its name, since we looked. */
static struct str read_header(struct look *k, int dir, const char *name)
{
	struct stat st;
	ssize_t n = -1;
	int fd;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == -1 || !S_ISREG(st.st_mode) || st.st_ctime < k->since)
		return STR("");
	k->opened++;
	fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	if (fd == -1)
		return STR("");
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		n = file_pread(fd, k->header, sizeof k->header, 0);
	close(fd);
	return n > 0 ? (struct str){ k->header, (size_t)n } : STR("");
}

static struct remembered *by_field(const struct history *h, struct str header)
{
	static struct reason r;
	struct field f;

	while (header_next(&header, &f) && !str_eq_nocase(f.name, STR("Received")))     /* what is below came with the message */
		if (str_eq_nocase(f.name, STR(REASON_FIELD)))
			return reason_parse(f.value, &r) ? history_find(h, r.id) : NULL;
	return NULL;
}

static bool note_address(void *arg, const struct addr *a)
{
	struct look *k = arg;
	struct buf raw = { .max = ADDR_MAX }, word = { .max = HISTORY_LINE };
	struct map_node *known;

	buf_printf(&raw, STR_FMT "@" STR_FMT, STR_ARG(a->local), STR_ARG(a->domain));
	identity_word(&word, buf_view(&raw));
	known = map_get(&k->history->by_address, buf_view(&word));
	if (a->domain.n && !raw.bad && !(known && k->now - owner_of(known, struct written, node)->time < WROTE_AGAIN_S))
		history_wrote(&k->lines, k->now, buf_view(&raw));
	buf_free(&raw);
	buf_free(&word);
	return k->lines.n < HISTORY_OCTETS / 4;
}

static void note_sent(struct look *k, struct str header)
{
	static const char *const names[] = { "To", "Cc", "Bcc" };
	struct field f;

	while (header_next(&header, &f))
		for (size_t i = 0; i < sizeof names / sizeof *names; i++)
			if (str_eq_nocase(f.name, str_of(names[i])))
				header_addresses(f.value, note_address, k);
}

static void see(struct look *k, int dir, const char *name)
{
	struct remembered *r = k->kind == KIND_SENT ? NULL : by_name(k->history, name);

	if (k->kind == KIND_SENT)
		note_sent(k, read_header(k, dir, name));
	else if (!r && k->history->n)
		r = by_field(k->history, read_header(k, dir, name));
	if (r)
		note(k, r, dir, name);
	else
		note_unknown(k, dir, name);
}

static void look_into(struct look *k, int folder, const char *part)
{
	int fd = openat(folder, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct dirent *e;
	struct stat st;
	DIR *d;

	if (fd == -1)
		return;
	if (fstat(fd, &st) == -1 || st.st_mtime < k->since || !(d = fdopendir(fd))) {
		close(fd);
		return;
	}
	k->changed = true;
	while (!is_over(k) && (e = readdir(d))) {
		k->names++;
		if (e->d_name[0] != '.')
			see(k, dirfd(d), e->d_name);
	}
	closedir(d);
}

static void look_at_folder(struct look *k, const char *name)
{
	int fd = openat(k->mailbox, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd == -1)
		return;
	look_into(k, fd, "new");
	look_into(k, fd, "cur");
	close(fd);
}

static void look_at_folders(struct look *k)
{
	int fd = openat(k->mailbox, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd == -1 ? NULL : fdopendir(fd);
	struct dirent *e;

	k->kind = KIND_INBOX;
	look_at_folder(k, ".");
	while (d && !is_over(k) && k->nfolders < MEMORY_FOLDERS && (e = readdir(d))) {
		k->names++;
		if (e->d_name[0] != '.' || !strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		k->kind = kind_of(k->folders, str_of(e->d_name));
		k->nfolders++;
		if (k->kind != KIND_REJECTS)
			look_at_folder(k, e->d_name);
	}
	if (d)
		closedir(d);
	else if (fd != -1)
		close(fd);
}

static void write_marks(struct look *k)
{
	for (size_t i = 0; i < k->history->n; i++) {
		const struct remembered *r = &k->history->record[i];

		if (k->mark[i] != MARK_NONE && k->mark[i] != r->mark)
			history_mark(&k->lines, k->now, r->id, k->mark[i]);
	}
}

/* Appends to lines what has changed. */
static void look(int mailbox, const struct memory_folders *folders, const struct history *h, int64_t now, struct buf *lines)
{
	struct look *k = calloc(1, sizeof *k);

	if (!k)
		return;
	*k = (struct look){ .mailbox = mailbox, .folders = folders, .history = h, .now = now, .mark = calloc(h->n + 1, sizeof *k->mark),
		.since = h->looked > now ? 0 : h->looked - SLACK_S, .end_ms = clock_monotonic_ms() + MEMORY_LOOK_MS };
	if (folders->words && !folders->untouched)
		k->table = words_open(mailbox, &k->first);
	if (k->first)
		k->since = 0;
	if (k->mark) {
		look_at_folders(k);
		write_marks(k);
		if (k->table && (k->learnt || k->first))
			words_save(mailbox, k->table);
		if (k->changed)
			history_looked(&k->lines, now);
		buf_str(lines, buf_view(&k->lines));
	}
	buf_free(&k->lines);
	free(k->table);
	free(k->mark);
	free(k);
}

int memory_open(struct memory *m, int mailbox, const struct memory_folders *folders, int64_t now)
{
	struct buf lines = { 0 };
	off_t size;

	*m = (struct memory){ .text = { .max = 2 * HISTORY_OCTETS } };
	errno = ENOMEM;
	if (read_file(mailbox, &m->text, &size) == -1 || !history_parse(&m->history, buf_view(&m->text)))
		goto fail;
	look(mailbox, folders, &m->history, now, &lines);
	if (!folders->untouched && memory_add(mailbox, buf_view(&lines)) == 0)
		size += (off_t)lines.n;
	if (lines.n) {
		history_free(&m->history);
		buf_str(&m->text, buf_view(&lines));
		if (!history_parse(&m->history, buf_view(&m->text)))
			goto fail;
	}
	buf_free(&lines);
	if (size > COMPACT_OCTETS && !folders->untouched)
		make_compact(mailbox, &m->history, size, now);
	return 0;
fail:
	buf_free(&lines);
	memory_close(m);
	return -1;
}

void memory_close(struct memory *m)
{
	history_free(&m->history);
	buf_free(&m->text);
}

/* ---- what was refused */

static void print_key(const unsigned char *hash, char key[REJECT_KEY + 1])
{
	for (size_t i = 0; i < REJECT_KEY / 2; i++)
		snprintf(key + 2 * i, 3, "%02x", hash[i]);
}

/* What stands between < and >, in lower case. */
static bool message_id(struct str header, struct buf *out)
{
	struct field f;

	while (header_next(&header, &f)) {
		struct str rest = f.value, id;

		if (!str_eq_nocase(f.name, STR("Message-ID")))
			continue;
		if (!str_cut(&rest, '<', &id) || !str_cut(&rest, '>', &id) || !id.n)
			return false;
		for (size_t i = 0; i < id.n; i++)
			buf_char(out, ascii_lower(id.p[i]));
		return !out->bad;
	}
	return false;
}

bool reject_key(struct str header, char key[REJECT_KEY + 1])
{
	struct buf id = { .max = 2048 };
	unsigned char hash[HASH_MAX];
	bool found = message_id(header, &id);

	if (found) {
		hash_of(HASH_SHA256, buf_view(&id), hash);
		print_key(hash, key);
	}
	buf_free(&id);
	return found;
}

int reject_hash(int fd, off_t at, off_t size, char key[REJECT_KEY + 1])
{
	unsigned char hash[HASH_MAX];
	struct hashing h;
	char chunk[8192];

	hash_begin(&h, HASH_SHA256);
	while (size > 0) {
		ssize_t n = file_pread(fd, chunk, size < (off_t)sizeof chunk ? (size_t)size : sizeof chunk, at);

		if (n <= 0)
			return -1;
		hash_add(&h, chunk, (size_t)n);
		at += n;
		size -= n;
	}
	hash_end(&h, hash);
	print_key(hash, key);
	return 0;
}

/* One file of ours: "<seconds>.M1P2Q3_<id>+<key>.host". */
struct kept {
	int64_t time;
	off_t size;
	bool cur;
	char name[256];
};
struct shelf {
	size_t n;
	off_t octets;
	struct kept at[REJECTS_MOST + 1];
};

static int open_rejects(int mailbox, const struct memory_folders *f, bool make)
{
	return open_folder(mailbox, str_of(f->rejects), make);
}

static bool is_kept(const char *name, struct str *key)
{
	const char *id = strchr(name, '_');

	if (!id || strlen(id) < 1 + ID_DIGITS + 1 + REJECT_KEY || id[1 + ID_DIGITS] != '+')
		return false;
	*key = (struct str){ id + ID_DIGITS + 2, REJECT_KEY };
	return true;
}

static const char *part_of(bool cur) { return cur ? "cur" : "new"; }

/* Calls each() with all files of ours until it says false. */
static void walk(int rejects, bool (*each)(void *arg, int dir, bool cur, const char *name, struct str key), void *arg)
{
	bool more = true;

	for (int cur = 0; cur < 2; cur++) {
		int fd = openat(rejects, part_of(cur), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		DIR *d = fd == -1 ? NULL : fdopendir(fd);
		size_t names = 0;
		struct dirent *e;
		struct str key;

		while (d && more && names++ < MEMORY_NAMES && (e = readdir(d)))
			if (is_kept(e->d_name, &key))
				more = each(arg, dirfd(d), cur, e->d_name, key);
		if (d)
			closedir(d);
		else if (fd != -1)
			close(fd);
	}
}

struct wanted { struct str key; bool found, remove; };

static bool compare(void *arg, int dir, bool cur, const char *name, struct str key)
{
	struct wanted *w = arg;

	(void)cur;
	if (!str_eq(key, w->key))
		return true;
	w->found = true;
	if (w->remove)
		unlinkat(dir, name, 0);
	return w->remove;
}

void reject_forget(int mailbox, const struct memory_folders *f, const char *key)
{
	struct wanted w = { .key = str_of(key), .remove = true };
	int rejects = open_rejects(mailbox, f, false);

	if (rejects == -1)
		return;
	walk(rejects, compare, &w);
	close(rejects);
}

struct tidying { struct shelf *shelf; int64_t now; };

static void drop_from(struct shelf *s, size_t i)
{
	s->octets -= s->at[i].size;
	s->at[i] = s->at[--s->n];
}

static bool shelve(void *arg, int dir, bool cur, const char *name, struct str key)
{
	struct tidying *t = arg;
	struct kept k = { .cur = cur, .time = strtoll(name, NULL, 10) };
	struct stat st;

	(void)key;
	if (strlen(name) >= sizeof k.name || fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == -1 || !S_ISREG(st.st_mode))
		return true;
	if (t->now - k.time > REJECTS_S || t->shelf->n > REJECTS_MOST) {
		unlinkat(dir, name, 0);
		return true;
	}
	memcpy(k.name, name, strlen(name) + 1);
	k.size = st.st_size;
	t->shelf->at[t->shelf->n++] = k;
	t->shelf->octets += k.size;
	return true;
}

/* Makes room for one more. */
static void tidy(int rejects, off_t size, int64_t now)
{
	struct tidying t = { .shelf = calloc(1, sizeof *t.shelf), .now = now };

	if (!t.shelf)
		return;
	walk(rejects, shelve, &t);
	while (t.shelf->n && (t.shelf->n >= REJECTS_MOST || t.shelf->octets + size > REJECTS_OCTETS)) {
		size_t oldest = 0;
		char path[300];

		for (size_t i = 1; i < t.shelf->n; i++)
			if (t.shelf->at[i].time < t.shelf->at[oldest].time)
				oldest = i;
		snprintf(path, sizeof path, "%s/%s", part_of(t.shelf->at[oldest].cur), t.shelf->at[oldest].name);
		unlinkat(rejects, path, 0);
		drop_from(t.shelf, oldest);
	}
	free(t.shelf);
}

int reject_keep(int mailbox, const struct memory_folders *f, const struct rejected *r, int64_t now)
{
	struct wanted w = { .key = str_of(r->key) };
	char id[ID_DIGITS + REJECT_KEY + 2];
	int rejects, saved, result = 0;

	if (r->size > REJECTS_LARGEST) {
		errno = EFBIG;
		return -1;
	}
	if ((rejects = open_rejects(mailbox, f, true)) == -1)
		return -1;
	walk(rejects, compare, &w);
	if (!w.found) {
		tidy(rejects, r->size, now);
		snprintf(id, sizeof id, "%.*s+%s", ID_DIGITS, r->id, r->key);
		if (maildir_put(rejects, &(struct letter){ .id = id, .trace = r->trace, .fd = r->fd, .at = r->at, .size = r->size }))
			result = -1;
	}
	saved = errno;
	close(rejects);
	errno = saved;
	return result;
}
