/* What a start does about the intake log: behind a power cut, messages whose files did not reach the disk are written again. */
#include "queue/inside.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/log.h"

enum {
	SEGMENTS = 16,                  /* two, and what was kept of failures */
	PASSES = 10,                    /* through cur/, while somebody renames what is in it */
};

struct segment {
	char name[NAME_ROOM];
	int fd;
	struct wal_head head;
};
struct part {                           /* of a segment */
	struct part *next;
	int fd;
	off_t at;
	size_t n;
};
struct logged {                    /* an entry, as the log says */
	struct logged *next;
	bool open, done;                /* done: it was ours to remove */
	char name[NAME_ROOM];
	struct str dest;                /* in name */
};
struct there {                          /* a name in cur/ */
	struct there *next;
	bool whole, gone;               /* gone: the directory was read with this name, and there is none now */
	char name[NAME_ROOM];
	struct str dest;
};
struct found {                          /* a message that the log tells of */
	struct map_node node;
	char id[ID_MAX];
	struct part message;            /* n 0: its file was durable before */
	struct part *lines, *last;
	struct logged *entries;
	struct there *there;
	bool right;                     /* nothing is to be done about it any more */
};

static struct map all;
static int reading;                     /* the segment's descriptor */
static size_t rebuilt, renamed, noted, removed;

/* ---- what the log says */

static void *get(size_t n)
{
	void *p = calloc(1, n);

	if (!p)
		errno = ENOMEM;
	return p;
}

static struct found *found_get(const char *id)
{
	struct map_node *x = map_get(&all, str_of(id));
	struct found *f;

	if (x)
		return owner_of(x, struct found, node);
	f = get(sizeof *f);
	if (!f)
		return NULL;
	str_copy(f->id, sizeof f->id, str_of(id));
	if (map_put(&all, &f->node, str_of(f->id)))
		return f;
	free(f);
	errno = ENOMEM;
	return NULL;
}

static void free_lines(struct found *f)
{
	for (struct part *p; (p = f->lines); free(p))
		f->lines = p->next;
	f->last = NULL;
}

static void free_entries(struct found *f)
{
	for (struct logged *e; (e = f->entries); free(e))
		f->entries = e->next;
}

static void free_there(struct found *f)
{
	for (struct there *t; (t = f->there); free(t))
		f->there = t->next;
}

static void forget(void)
{
	for (struct map_node *x = map_next(&all, NULL), *next; x; x = next) {
		struct found *f = owner_of(x, struct found, node);

		next = map_next(&all, x);
		map_remove(&all, x);
		free_lines(f);
		free_entries(f);
		free_there(f);
		free(f);
	}
	map_free(&all);
}

static bool put_name(char to[NAME_ROOM], struct str *dest, struct str name)
{
	struct entry_name n;

	if (!str_copy(to, NAME_ROOM, name) || !entry_parse(to, &n))
		return false;
	*dest = n.dest;
	return true;
}

/* An entry is known by its message and its destination: what its name said last is only how it is named when it is missing. */
static bool set_entry(struct str name, bool open, bool done)
{
	char text[NAME_ROOM];
	struct entry_name n;
	struct logged *e;
	struct found *f;

	if (!str_copy(text, sizeof text, name) || !entry_parse(text, &n))
		return true;            /* nothing of ours */
	f = found_get(n.id);
	if (!f)
		return false;
	for (e = f->entries; e && !str_eq(e->dest, n.dest); e = e->next)
		;
	if (!e) {
		e = get(sizeof *e);
		if (!e)
			return false;
		e->next = f->entries;
		f->entries = e;
	}
	put_name(e->name, &e->dest, name);
	e->open = open;
	e->done = done;
	return true;
}

static bool take_message(const struct wal_record *r)
{
	char text[NAME_ROOM];
	struct entry_name n;
	struct found *f;

	if (!str_copy(text, sizeof text, r->head) || !entry_parse(text, &n))
		return true;
	f = found_get(n.id);
	if (!f)
		return false;
	/* one that was refused, and now has been made again: nothing of the first counts */
	free_lines(f);
	free_entries(f);
	f->message = (struct part){ .fd = reading, .at = r->at, .n = r->n };
	return set_entry(r->head, true, false);
}

static bool take_lines(const struct wal_record *r)
{
	char id[ID_MAX];
	struct found *f;
	struct part *p;

	if (!id_valid(r->head) || !str_copy(id, sizeof id, r->head))
		return true;
	f = found_get(id);
	p = f ? get(sizeof *p) : NULL;
	if (!p)
		return false;
	*p = (struct part){ .fd = reading, .at = r->at, .n = r->n };
	if (f->last)
		f->last->next = p;
	else
		f->lines = p;
	f->last = p;
	return true;
}

static struct str dest_of(struct str name, char text[NAME_ROOM])
{
	struct entry_name n;

	return str_copy(text, NAME_ROOM, name) && entry_parse(text, &n) ? n.dest : STR("");
}

static bool take_name(const struct wal_record *r)
{
	char a[NAME_ROOM], b[NAME_ROOM];
	struct str to = r->head, from;

	if (!str_cut(&to, ' ', &from))
		return true;
	if (!str_eq(dest_of(from, a), dest_of(to, b)) && !set_entry(from, false, true))
		return false;
	return set_entry(to, true, false);
}

static bool take_gone(const struct wal_record *r)
{
	struct str name = r->head, why;

	return !str_cut(&name, ' ', &why) || set_entry(name, false, str_eq(why, STR("done")));
}

static bool take(void *arg, const struct wal_record *r)
{
	static const struct {
		char kind;
		bool (*take)(const struct wal_record *);
	} rows[] = {
		{ WAL_MESSAGE, take_message }, { WAL_LINES, take_lines }, { WAL_NAME, take_name }, { WAL_GONE, take_gone },
	};

	(void)arg;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		if (rows[i].kind == r->kind)
			return rows[i].take(r);
	return true;
}

/* ---- what there is */

static int meet(const char *name)
{
	struct entry_name n;
	struct map_node *x;
	struct there *t;
	struct found *f;

	if (!entry_parse(name, &n) || !(x = map_get(&all, str_of(n.id))))
		return 0;
	f = owner_of(x, struct found, node);
	if (f->right)
		return 0;
	t = get(sizeof *t);
	if (!t)
		return -1;
	put_name(t->name, &t->dest, str_of(name));
	t->next = f->there;
	f->there = t;
	return 0;
}

static int read_cur(void)
{
	int fd = openat(queue.cur, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), failed = 0;
	DIR *d = fd == -1 ? NULL : fdopendir(fd);
	struct dirent *x;

	if (!d) {
		if (fd != -1)
			close(fd);
		return -1;
	}
	errno = 0;
	while (!failed && (x = readdir(d))) {
		failed = meet(x->d_name);
		if (!failed)
			errno = 0;
	}
	failed = errno;
	closedir(d);
	errno = failed;
	return failed ? -1 : 0;
}

static bool short_of(int error) { return error == ENOMEM || error == EMFILE || error == ENFILE; }

/* 0, or -1 with errno: that cannot be told now. */
static int look_at(const char *id, struct there *t)
{
	const char *why;
	struct mail *m = mail_open(queue.cur, t->name, false, true, STR(""), &why);

	if (!m && short_of(errno))
		return -1;
	t->gone = !m && errno == ENOENT;
	t->whole = m && strcmp(m->id, id) == 0;
	mail_free(m);
	return 0;
}

static struct there *whole_one(const struct found *f)
{
	struct there *t = f->there;

	while (t && !t->whole)
		t = t->next;
	return t;
}

static struct there *there_for(const struct found *f, struct str dest)
{
	struct there *t = f->there;

	while (t && !(t->whole && str_eq(t->dest, dest)))
		t = t->next;
	return t;
}

static struct logged *first_open(const struct found *f)
{
	struct logged *e = f->entries;

	while (e && !e->open)
		e = e->next;
	return e;
}

static const struct logged *entry_for(const struct found *f, struct str dest)
{
	const struct logged *e = f->entries;

	while (e && !str_eq(e->dest, dest))
		e = e->next;
	return e;
}

/* ---- making it so */

static int copy_part(int fd, const struct part *p)
{
	char block[65536];

	for (size_t done = 0; done < p->n; ) {
		size_t n = p->n - done < sizeof block ? p->n - done : sizeof block;
		ssize_t got = file_pread(p->fd, block, n, p->at + (off_t)done);

		if (got == 0)
			errno = EBADMSG;
		if (got <= 0 || file_write(fd, block, (size_t)got) == -1)
			return -1;
		done += (size_t)got;
	}
	return 0;
}

/* In work/, which was swept, whole: 0, or -1 with errno. */
static int write_again(const struct found *f)
{
	int fd = file_sys.open(queue.work, f->id, O_RDWR | O_CREAT | O_EXCL, 0600), saved;
	const char *why;
	struct mail *m;

	if (fd == -1)
		return -1;
	if (copy_part(fd, &f->message) == -1)
		goto fail;
	for (const struct part *p = f->lines; p; p = p->next)
		if (copy_part(fd, p) == -1)
			goto fail;
	close(fd);
	m = mail_open(queue.work, f->id, false, true, STR(""), &why);
	if (m) {
		mail_free(m);
		return 0;
	}
	fd = -1;
fail:
	saved = errno;
	if (fd != -1)
		close(fd);
	file_sys.unlink(queue.work, f->id);
	errno = saved;
	return -1;
}

static int unlink_there(const struct there *t)
{
	return file_sys.unlink(queue.cur, t->name) == 0 || errno == ENOENT ? 0 : -1;
}

static int link_again(const char *from, const char *to)
{
	return file_sys.link(queue.cur, from, queue.cur, to) == 0 || errno == EEXIST ? 0 : -1;
}

/* None of its names has a whole file. Those that the log does not know, as a link or a rename reached the disk before it did, are names of
 * the whole one, too: "+" leaves to them what is theirs. 0, or -1 with errno. */
static int rebuild(struct found *f)
{
	struct logged *first = first_open(f);

	if (write_again(f) == -1) {
		if (errno != EBADMSG)
			return -1;
		log_event(LOG_ERROR, "intake-log", LF(L_TEXT("id", f->id), L_TEXT("msg", "what the log holds of it is no message")));
		f->message.n = 0;
		return 0;
	}
	for (const struct there *t = f->there; t; t = t->next)
		if (unlink_there(t) == -1)
			return -1;
	if (file_sys.rename(queue.work, f->id, queue.cur, first->name) == -1) {
		int saved = errno;

		file_sys.unlink(queue.work, f->id);     /* it is written anew when it is gone on with */
		errno = saved;
		return -1;
	}
	for (const struct logged *e = first->next; e; e = e->next)
		if (e->open && link_again(first->name, e->name) == -1)
			return -1;
	for (const struct there *t = f->there; t; t = t->next)
		if (!entry_for(f, t->dest) && link_again(first->name, t->name) == -1)
			return -1;
	rebuilt++;
	return 0;
}

static int name_again(struct found *f, const struct there *good)
{
	for (const struct logged *e = f->entries; e; e = e->next) {
		if (!e->open || there_for(f, e->dest))
			continue;
		if (link_again(good->name, e->name) == -1)
			return -1;
		renamed++;
	}
	return 0;
}

static bool has_line(const struct buf *journal, struct str line)
{
	struct str rest = buf_view(journal);

	while (rest.n >= line.n) {
		const char *at = memmem(rest.p, rest.n, line.p, line.n);

		if (!at)
			return false;
		if (at == journal->p || at[-1] == '\n')
			return true;
		rest = str_from(rest, (size_t)(at - rest.p) + 1);
	}
	return false;
}

static int read_part(int fd, off_t at, size_t n, struct buf *out)
{
	char *to = buf_reserve(out, n ? n : 1);
	ssize_t got;

	if (!to) {
		errno = ENOMEM;
		return -1;
	}
	got = file_pread(fd, to, n, at);
	out->n += got > 0 ? (size_t)got : 0;
	return got == -1 ? -1 : 0;
}

/* The lines that the journal lacks. 0, or -1 with errno. */
static int missing_lines(const struct found *f, const struct mail *m, struct buf *out)
{
	struct buf journal = { .max = ENVELOPE_MAX }, said = { .max = ENVELOPE_MAX };
	off_t from = m->at + m->size;
	int failed = read_part(m->fd, from, (size_t)(m->end - from), &journal);

	for (const struct part *p = f->lines; p && !failed; p = p->next) {
		struct str rest, line;

		buf_clear(&said);
		failed = read_part(p->fd, p->at, p->n, &said);
		rest = buf_view(&said);
		while (str_cut(&rest, '\n', &line)) {
			line.n++;       /* with its end */
			if (!has_line(&journal, line))
				buf_str(out, line);
		}
	}
	buf_free(&journal);
	buf_free(&said);
	return failed;
}

static int note_again(const struct found *f, const struct there *good)
{
	struct buf missing = { 0 };
	const char *why;
	struct mail *m;
	int failed;

	if (!f->lines)
		return 0;
	m = mail_open(queue.cur, good->name, true, false, STR(""), &why);
	if (!m)
		return -1;
	failed = missing_lines(f, m, &missing);
	if (missing.bad) {
		errno = ENOMEM;
		failed = -1;
	}
	if (!failed && missing.n) {
		failed = journal_append(m, missing.p, missing.n) == -1 ? -1 : 0;
		noted++;
	}
	mail_free(m);
	buf_free(&missing);
	return failed;
}

static int remove_done(const struct found *f)
{
	for (const struct there *t = f->there; t; t = t->next) {
		const struct logged *e = entry_for(f, t->dest);

		if (!e || e->open || !e->done)
			continue;
		if (unlink_there(t) == -1)
			return -1;
		removed++;
	}
	return 0;
}

/* 0, or -1 with errno; ENOENT, EEXIST: one of its names has changed since the directory was read. */
static int put_right(struct found *f, bool last_pass)
{
	struct there *good;
	bool changed = false;

	for (struct there *t = f->there; t; t = t->next) {
		if (look_at(f->id, t) == -1)
			return -1;
		changed |= t->gone;
	}
	if (changed && !last_pass) {
		errno = ENOENT;
		return -1;
	}
	good = whole_one(f);
	if (!good && f->message.n && first_open(f) && rebuild(f) == -1)
		return -1;
	if (good && (name_again(f, good) == -1 || note_again(f, good) == -1))
		return -1;
	if (!good && !f->message.n && first_open(f))
		return 0;               /* damaged, and nothing to make it again from: what is left of it is set aside when it is opened */
	return remove_done(f);          /* last: one of them may be the file that the others were named from */
}

/* A name has gone, or come. */
static bool has_changed(int error) { return error == ENOENT || error == EEXIST; }

/* Again for those whose names change under our hands, which any program may do: what is missing is looked for, and what was begun is gone on with. */
static int put_all_right(void)
{
	bool all_right = all.n == 0;

	for (int pass = 1; !all_right; pass++) {
		if (read_cur() == -1)
			return -1;
		all_right = true;
		for (struct map_node *x = map_next(&all, NULL); x; x = map_next(&all, x)) {
			struct found *f = owner_of(x, struct found, node);

			f->right = f->right || put_right(f, pass == PASSES) == 0;
			if (!f->right && (!has_changed(errno) || pass == PASSES))
				return -1;
			free_there(f);
			all_right &= f->right;
		}
	}
	return 0;
}

/* ---- the segments */

static int by_seq(const void *a, const void *b)
{
	const struct segment *x = a, *y = b;

	return (x->head.seq > y->head.seq) - (x->head.seq < y->head.seq);
}

/* Those that are to be looked at, in their order. Kept ones of this life of the machine stay: what they tell of is where it was, as far as
 * can be seen, and a sync that has failed is not tried again. -1 with errno. */
static int open_segments(int dir, struct segment seg[SEGMENTS], uint64_t *seq, bool *lost)
{
	char names[SEGMENTS][NAME_ROOM];
	int found = list_names(dir, names, SEGMENTS), n = 0;

	if (found == -1)
		return -1;
	for (int i = 0; i < found; i++) {
		struct segment *s = &seg[n];
		bool other;

		if (!wal_is_segment(names[i]) && !wal_is_kept(names[i]))
			continue;
		str_copy(s->name, sizeof s->name, str_of(names[i]));
		s->fd = file_sys.open(dir, s->name, O_RDONLY | O_NOFOLLOW, 0);
		if (s->fd == -1)
			return -1;
		n++;
		if (wal_head_read(s->fd, &s->head) == -1) {
			if (errno != EBADMSG)
				return -1;
			s->head.seq = 0;        /* it was being made, or was empty; a head that was damaged takes its segment along */
			continue;
		}
		if (s->head.seq > *seq)
			*seq = s->head.seq;
		other = !file_sys.remembers(s->fd);
		*lost |= other;
		if (other || !wal_is_kept(names[i]))
			continue;
		wal_hold(s->fd);
		s->fd = -1;
		n--;
	}
	qsort(seg, (size_t)n, sizeof *seg, by_seq);
	return n;
}

static int replay(const struct segment *seg, int n)
{
	rebuilt = renamed = noted = removed = 0;
	for (int i = 0; i < n; i++) {
		reading = seg[i].fd;
		if (seg[i].head.seq && wal_read(reading, &seg[i].head, take, NULL) == -1)
			return -1;
	}
	if (put_all_right() == -1)
		return -1;
	if (all.n)
		log_text(LOG_WARN, "recovered", "of %zu messages in the intake log: written again %zu, named again %zu, journals mended %zu, removed %zu",
			all.n, rebuilt, renamed, noted, removed);
	return 0;
}

/* Those that are no more of use. Without a log no segment may stay: it would say later that what has left meanwhile is open. */
static int drop(int dir, const struct segment *seg, int n)
{
	bool any = false;

	for (int i = 0; i < n; i++) {
		if (queue.conf.sync == QUEUE_SYNC_LOG && wal_is_segment(seg[i].name))
			continue;
		if (file_sys.unlink(dir, seg[i].name) == -1 && errno != ENOENT)
			return -1;
		any = true;
	}
	return any ? file_sys.fsync(dir) : 0;
}

/* After a clean end there is nothing in it, and what others have written is not waited for. */
static bool in_use(const struct segment *seg, int n)
{
	bool any = false;

	for (int i = 0; i < n; i++)
		any |= seg[i].head.seq && seg[i].head.life;
	return any;
}

static int sync_all(int dir, const struct segment *seg, int n, bool lost)
{
	if (!in_use(seg, n) || file_sys.syncfs(queue.cur) == 0)
		return 0;
	/* Behind a power cut the log is the only copy. Otherwise it is kept for the next one, and mail is served from what is seen. */
	for (int i = 0; i < n && !lost; i++)
		if (wal_is_segment(seg[i].name))
			wal_keep(dir, seg[i].name, seg[i].head.seq);
	return lost ? -1 : 0;
}

int recover(uint64_t *seq, char *why, size_t size)
{
	struct segment seg[SEGMENTS];
	bool lost = false;
	int dir = wal_dir(false), n, failed = -1, saved;

	*seq = 0;
	if (dir == -1 && errno == ENOENT)
		return 0;
	for (int i = 0; i < SEGMENTS; i++)
		seg[i] = (struct segment){ .fd = -1 };
	if (dir != -1)
		wal_sweep(dir);
	n = dir == -1 ? -1 : open_segments(dir, seg, seq, &lost);
	if (n == -1 || (lost && replay(seg, n) == -1))
		goto end;
	if (n > 0 && sync_all(dir, seg, n, lost) == -1)
		goto end;
	failed = drop(dir, seg, n);
end:
	saved = errno;
	if (failed)
		snprintf(why, size, "cannot bring back what %s/wal holds: %s. Nothing of it is lost; mend that and start again%s", queue.conf.dir,
			strerror(saved), saved == EIO ? " (doc/QUEUE says how to go on with what the disk still gives)" : "");
	for (int i = 0; i < SEGMENTS; i++)
		if (seg[i].fd != -1)
			close(seg[i].fd);
	if (dir != -1)
		close(dir);
	forget();
	errno = saved;
	return failed;
}
