/* Taking messages in: envelopes, drafts in work/, and the commit that makes batches of them durable. */
#include "queue/inside.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/child.h"
#include "lib/file.h"
#include "lib/log.h"
#include "parse.h"

enum {
	DRAFT_BLOCK = 32768,            /* a message up to this size is one write() */
	ROUND_MAX = CHILD_FDS - 1,      /* files in one round: one descriptor is left for the directory */
	SYNCERS = 8,                    /* files of a round that are synced at a time */
	MARKS_AFTER_MS = 1000,          /* a mark is durable within this time */
	ROUND_SLOW_MS = 1000,           /* worth a line in the log */
	ROUND_LIMIT_MS = 60000,         /* not durable after that is final */
	HELPER_AGAIN_MS = 1000,
	FRESH_MAX = 200,                /* messages that wait for their first attempt with their octets in memory, a sixteenth of all descriptors, */
	FRESH_OCTETS = 1 << 20,         /* so much of it in all, */
	FRESH_MS = 2000                 /* and so long */
};

/* ---- envelopes */

static bool line_end(struct envelope *e)
{
	return buf_char(&e->text, '\n');
}

bool envelope_sender(struct envelope *e, const struct sender *s)
{
	return print_mail(&e->text, s) && line_end(e);
}

static bool same_domain(struct str domain, const char *have)
{
	return str_eq_nocase(domain, str_of(have));
}

bool envelope_rcpt(struct envelope *e, const struct recipient *r)
{
	size_t before = e->text.n;

	if (!print_rcpt(&e->text, r) || !line_end(e)) {
		e->text.n = before;
		return false;
	}
	if (e->nrcpt++ == 0) {
		str_copy(e->domain, sizeof e->domain, r->addr.domain);
		for (char *c = e->domain; *c; c++)
			*c = ascii_lower(*c);
	} else if (!e->several && !same_domain(r->addr.domain, e->domain)) {
		e->several = true;
	}
	return true;
}

bool envelope_origin(struct envelope *e, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	ascii_make_printable(text);
	return buf_printf(&e->text, "FROM %s\n", text);
}

void envelope_clear(struct envelope *e)
{
	buf_clear(&e->text);
	e->nrcpt = 0;
	e->release = 0;
	e->several = false;
	e->held = false;
	e->domain[0] = 0;
}

void envelope_free(struct envelope *e)
{
	buf_free(&e->text);
	envelope_clear(e);
}

/* ---- drafts */

struct draft {
	char id[ID_MAX];
	char dest[DEST_MAX + 1];
	char name[NAME_ROOM];           /* in cur/ (or in/) once it is there */
	int64_t release;
	int fd;                         /* -1: nothing is written yet */
	off_t at;                       /* where the message begins */
	size_t room;                    /* blanks in front of it that may yet become a part of it */
	uint64_t size;
	uint32_t crc;                   /* of what has left the buffer */
	bool in_buf;                    /* the buffer holds the whole file, written as it is */
	bool by_file;                   /* the log is not for it: somebody else's file, or too large */
	bool logged;                    /* its fate is that of the log's batch */
	bool broken;                    /* a write failed: only draft_abort() */
	bool replaced;                  /* by another with this id: its file has no name any more */
	bool held;
	struct buf buf;                 /* what is not written yet */
	/* from queue_commit() on */
	void (*done)(void *arg, bool ok);
	void *arg;
	struct node node;
	struct map_node known;
	bool in_map;
	struct task early;              /* done(false) without a round */
	msec fresh_until;               /* behind done(): see intake_fresh() */
};

static struct map committing;           /* drafts between queue_commit() and done(), by id */

static bool put_head(struct draft *d, const struct envelope *e)
{
	char blank[FILE_LINE];

	memset(blank, ' ', sizeof blank);
	buf_add(&d->buf, blank, sizeof blank);
	buf_printf(&d->buf, "ID %s\n", d->id);
	if (e->release)
		buf_printf(&d->buf, "RELEASE %" PRId64 "\n", e->release);
	buf_str(&d->buf, buf_view(&e->text));
	if (e->room && buf_printf(&d->buf, "ROOM%*s\n", (int)e->room, ""))
		d->room = e->room;
	buf_char(&d->buf, '\n');
	d->at = (off_t)d->buf.n;
	return !d->buf.bad && d->buf.n < ENVELOPE_MAX / 2;
}

static void set_dest(struct draft *d, const struct envelope *e)
{
	if (e->several)
		str_copy(d->dest, sizeof d->dest, STR("+"));
	else
		dest_token(str_of(e->domain), d->dest);
}

struct draft *queue_draft(const struct envelope *e, const char *id)
{
	struct draft *d = calloc(1, sizeof *d);

	if (!d)
		return NULL;
	d->fd = -1;
	d->release = e->release;
	d->held = e->held;
	if (id)
		str_copy(d->id, sizeof d->id, str_of(id));
	else
		id_make(d->id, loop_wall());
	set_dest(d, e);
	if (put_head(d, e))
		return d;
	draft_abort(d);
	errno = ENOMEM;
	return NULL;
}

void queue_new_id(char id[ID_MAX]) { id_make(id, loop_wall()); }

const char *draft_id(const struct draft *d)
{
	return d->id;
}

uint64_t draft_size(const struct draft *d)
{
	return d->size;
}

/* A new file. Where another process schedules it is locked until it is durable: that one neither sweeps it away nor adopts it
 * before that. */
static int open_work(const char *id)
{
	int flags = O_RDWR | O_CREAT | O_EXCL;

	for (unsigned tries = 0; tries < 10; tries++) {
		int fd = file_sys.open(queue.work, id, flags, 0600);
		struct stat st;

		/* the leftover of a draft with a given id, which could not be removed then? */
		if (fd == -1 && errno == EEXIST && !file_in_use(queue.work, id) && file_sys.unlink(queue.work, id) == 0)
			fd = file_sys.open(queue.work, id, flags, 0600);
		if (fd == -1 || queue.conf.schedule)
			return fd;
		/* Who begins to schedule just now may have swept it away before it was locked. */
		flock(fd, LOCK_EX);
		if (fstat(fd, &st) == -1 || st.st_nlink > 0)
			return fd;
		close(fd);
	}
	errno = EAGAIN;
	return -1;
}

static int write_on(struct draft *d, const char *p, size_t n, size_t skip)
{
	if (!d->in_buf)                 /* the first line says it already */
		d->crc = crc32_add(d->crc, p + skip, n - skip);
	if (file_write(d->fd, p, n) == -1) {
		d->broken = true;
		return -1;
	}
	space_used(n);
	return 0;
}

/* The first line stays blank until all is known. */
static int write_buf(struct draft *d)
{
	if (d->fd != -1)
		return write_on(d, d->buf.p, d->buf.n, 0);
	d->fd = open_work(d->id);
	if (d->fd == -1) {
		d->broken = true;
		return -1;
	}
	return write_on(d, d->buf.p, d->buf.n, FILE_LINE);
}

static int draft_flush(struct draft *d)
{
	int failed = write_buf(d);

	buf_clear(&d->buf);
	return failed;
}

/* A hundred sessions may be at it at a time: no more than DRAFT_BLOCK stays in memory, and what comes in large pieces is not copied. */
int draft_write(struct draft *d, const void *p, size_t n)
{
	if (d->broken) {
		errno = EIO;
		return -1;
	}
	if (d->buf.n + n >= DRAFT_BLOCK && (d->fd == -1 || d->buf.n) && draft_flush(d) == -1)
		return -1;
	d->size += n;
	if (n >= DRAFT_BLOCK / 2 && d->fd != -1 && !d->buf.n)
		return write_on(d, p, n, 0);
	if (buf_add(&d->buf, p, n))
		return 0;
	d->broken = true;
	errno = ENOMEM;
	return -1;
}

/* The last blanks of the room and the two line ends behind them become two line ends and the text: the envelope ends earlier. */
int draft_front(struct draft *d, const void *p, size_t n)
{
	size_t all = n + 2, from = (size_t)d->at - all;
	struct buf text = { 0 };
	int saved;

	if (d->broken || n > d->room) {
		errno = d->broken ? EIO : EMSGSIZE;
		return -1;
	}
	if (!buf_puts(&text, "\n\n") || !buf_add(&text, p, n))
		goto fail;
	if (d->fd == -1) {
		memcpy(d->buf.p + from, text.p, all);
	} else {
		if (file_pwrite(d->fd, text.p, all, (off_t)from) == -1)
			goto fail;
		for (size_t i = 0; i < all; i++)
			text.p[i] ^= i < n ? ' ' : '\n';
		d->crc = crc32_change(d->crc, text.p, all, d->size - d->buf.n);
	}
	buf_free(&text);
	d->room -= n;
	d->at -= (off_t)n;
	d->size += n;
	return 0;
fail:
	saved = text.bad ? ENOMEM : errno;
	buf_free(&text);
	d->broken = true;
	errno = saved;
	return -1;
}

ssize_t draft_peek(struct draft *d, void *out, size_t n)
{
	if (d->broken) {
		errno = EIO;
		return -1;
	}
	if (n > d->size)
		n = d->size;
	if (d->fd == -1) {
		memcpy(out, d->buf.p + d->at, n);
		return (ssize_t)n;
	}
	if (d->buf.n && draft_flush(d) == -1)
		return -1;
	return file_pread(d->fd, out, n, d->at);
}

int draft_file(struct draft *d, off_t *at)
{
	if (d->broken) {
		errno = EIO;
		return -1;
	}
	if ((d->fd == -1 || d->buf.n) && draft_flush(d) == -1)
		return -1;
	*at = d->at;
	return d->fd;
}

bool draft_path(const struct draft *d, struct buf *out)
{
	return buf_printf(out, "%s/work/%s", queue.conf.dir, d->id);
}

/* What the new one is shorter is room. */
int draft_envelope(struct draft *d, const struct envelope *e)
{
	size_t n = (size_t)d->at - FILE_LINE;
	struct draft head = { .fd = -1 };
	struct envelope all = *e;
	char *old = NULL;
	int r = -1, saved;

	memcpy(head.id, d->id, sizeof head.id);
	all.room = 0;
	errno = ENOMEM;
	if (!put_head(&head, &all) || !(old = malloc(n)))
		goto out;
	errno = EMSGSIZE;
	if (head.buf.n + sizeof "ROOM" >= (size_t)d->at && head.buf.n != (size_t)d->at)
		goto out;
	all.room = (size_t)d->at - head.buf.n - (head.buf.n == (size_t)d->at ? 0 : sizeof "ROOM");
	buf_clear(&head.buf);
	errno = ENOMEM;
	if (!put_head(&head, &all))
		goto out;
	if (d->fd == -1) {
		memcpy(d->buf.p + FILE_LINE, head.buf.p + FILE_LINE, n);
	} else {
		if (file_pread(d->fd, old, n, FILE_LINE) != (ssize_t)n || file_pwrite(d->fd, head.buf.p + FILE_LINE, n, FILE_LINE) == -1)
			goto out;
		for (size_t i = 0; i < n; i++)
			old[i] ^= head.buf.p[FILE_LINE + i];
		d->crc = crc32_change(d->crc, old, n, d->size - d->buf.n);
	}
	set_dest(d, e);
	d->room = all.room;
	r = 0;
out:
	saved = errno;
	d->broken = d->broken || r == -1;
	buf_free(&head.buf);
	free(old);
	errno = saved;
	return r;
}

/* What has left the buffer is read from the file. */
ssize_t draft_read(const struct draft *d, uint64_t from, void *p, size_t n)
{
	uint64_t written = (uint64_t)d->at + d->size - d->buf.n, at = (uint64_t)d->at + from;

	if (d->broken || from > d->size) {
		errno = EIO;
		return -1;
	}
	if (n > d->size - from)
		n = (size_t)(d->size - from);
	if (at >= written) {
		if (n)
			memcpy(p, d->buf.p + (at - written), n);
		return (ssize_t)n;
	}
	return file_pread(d->fd, p, n < written - at ? n : (size_t)(written - at), (off_t)at);
}

static void discard_work(struct draft *d)
{
	if (d->fd != -1 && !d->replaced)
		file_sys.unlink(queue.work, d->id);
}

static void draft_free(struct draft *d)
{
	if (d->fd != -1)
		close(d->fd);
	buf_free(&d->buf);
	free(d);
}

void draft_abort(struct draft *d)
{
	if (!d)
		return;
	discard_work(d);
	draft_free(d);
}

struct draft *draft_again(struct draft *old, const struct envelope *e)
{
	struct draft *d = queue_draft(e, old->id);

	if (!d)
		return NULL;
	discard_work(old);
	old->replaced = true;
	return d;
}

/* All in work/, first line included. A small message is one write. */
static int draft_complete(struct draft *d)
{
	char line[FILE_LINE + 1];
	bool unwritten = d->fd == -1;

	if (d->broken) {
		errno = EIO;
		return -1;
	}
	if (unwritten) {
		uint32_t crc = crc32_add(0, d->buf.p + FILE_LINE, d->buf.n - FILE_LINE);

		file_line_print(line, d->at, d->size, crc);
		memcpy(d->buf.p, line, FILE_LINE);
		d->in_buf = wal_on() || queue.conf.deliver;
		return d->in_buf ? write_buf(d) : draft_flush(d);
	}
	if (d->buf.n && draft_flush(d) == -1)
		return -1;
	file_line_print(line, d->at, d->size, d->crc);
	return file_pwrite(d->fd, line, FILE_LINE, 0);
}

/* ---- rounds: what is made durable together */

struct unsynced {
	struct node node;
	int fd;
};
struct waiter {                         /* for the directory alone */
	struct node node;
	void (*done)(void *arg, bool ok);
	void *arg;
};

static void unsynced_free(struct unsynced *u)
{
	close(u->fd);
	free(u);
}

static struct list drafts, marks, waiters;      /* for the next round */
static struct list failing;                     /* drafts whose done(false) is posted */
static unsigned round_number = 1;               /* of the next round */
static struct {
	bool running;
	msec began;
	bool log, dir, fs;              /* what is synced besides files: the log, before them; the directory; all of the file system in place of them */
	size_t ndrafts, nmarks;         /* files, in this order */
	struct list drafts, marks, waiters;
	struct list logged;             /* drafts in the log */
} flying;
static bool retiring;                           /* the helper is at it */
static bool marks_due;
static struct timer marks_timer, round_timer, helper_timer;
static msec helper_missing_since, helper_began;
static struct turn_end at_turn_end;
static unsigned holds;

/* The helper's answer: an errno for each descriptor, then one for the directory or the file system. */
struct answer {
	enum { OF_ROUND, OF_RETIRING, OF_FILLING } of;  /* not OF_ROUND: there is one errno, about that */
	int32_t error[ROUND_MAX + 2];   /* the log's, too */
};
static size_t answer_size(size_t n) { return offsetof(struct answer, error) + n * sizeof(int32_t); }

static int32_t error_of(int failed) { return failed == -1 ? errno : 0; }

static int32_t sync_rest(int dir, char what)
{
	return what == 'A' ? error_of(file_sys.syncfs(dir)) : what == 'S' ? error_of(file_sys.fsync(dir)) : 0;
}

static void sync_files(const int *fds, size_t n, int dir, char what, struct answer *a)
{
	a->of = OF_ROUND;
	for (size_t i = 0; i < n; i++)
		a->error[i] = error_of(file_sys.fdatasync(fds[i]));
	a->error[n] = sync_rest(dir, what);
}

/* Every SYNCERS-th file of a round, from the first on. */
struct share {
	const int *fds;
	size_t first, n;
	struct answer *answer;
	pthread_t thread;
	bool running;
};

static void *sync_share(void *arg)
{
	struct share *s = arg;

	for (size_t i = s->first; i < s->n; i += SYNCERS)
		s->answer->error[i] = file_sys.fdatasync(s->fds[i]) == -1 ? errno : 0;
	return NULL;
}

/* In the helper: one after the other each file would wait for the disk anew, while what waits at the same time is written and flushed
 * together. A thread that cannot be had costs time only. */
static void sync_together(const int *fds, size_t n, int dir, char what, struct answer *a)
{
	struct share share[SYNCERS];

	for (size_t i = SYNCERS; i-- > 0;) {
		share[i] = (struct share){ .fds = fds, .first = i, .n = n, .answer = a };
		share[i].running = i && i < n && pthread_create(&share[i].thread, NULL, sync_share, &share[i]) == 0;
		if (!share[i].running)
			sync_share(&share[i]);
	}
	for (size_t i = 0; i < SYNCERS; i++)
		if (share[i].running)
			pthread_join(share[i].thread, NULL);
	a->of = OF_ROUND;
	a->error[n] = sync_rest(dir, what);
}

/* What is done for the log beside the rounds, as it takes long: its segments are filled once, and a full one is retired, which waits for
 * all that anybody has written. */
struct aside {
	int socket, dir, fill[2];       /* fill[0] -1: retire */
};

static void *work_aside(void *arg)
{
	const struct aside *w = arg;
	bool fill = w->fill[0] != -1;
	struct answer a = { .of = fill ? OF_FILLING : OF_RETIRING };

	if (fill)
		a.error[0] = error_of(wal_fill(w->fill[0]) == -1 ? -1 : wal_fill(w->fill[1]));
	else
		a.error[0] = error_of(file_sys.syncfs(w->dir));
	for (int i = 0; fill && i < 2; i++)
		close(w->fill[i]);
	child_reply(w->socket, &a, answer_size(1));
	return NULL;
}

static void begin_aside(const struct aside *what)
{
	static struct aside w;          /* one at a time */
	pthread_t thread;

	w = *what;
	if (pthread_create(&thread, NULL, work_aside, &w) == 0)
		pthread_detach(thread);
	else
		work_aside(&w);
}

/* D: the directory. S: sync the files, then the directory. L: the files alone. A: the file system. Beside the rounds, R: the same; F: fill
 * two segments. */
static int helper_main(int socket, void *arg)
{
	static int fds[CHILD_FDS];
	int dir = -1;

	(void)arg;
	for (;;) {
		struct answer a;
		char octet;
		size_t n = CHILD_FDS;
		ssize_t got = child_receive(socket, &octet, 1, fds, &n);

		if (got <= 0)
			return 0;
		if (octet == 'D' && n == 1) {
			dir = fds[0];
			continue;
		}
		if (octet == 'R' || (octet == 'F' && n == 2)) {
			begin_aside(&(struct aside){ .socket = socket, .dir = dir, .fill = { octet == 'F' ? fds[0] : -1, fds[1] } });
			continue;
		}
		sync_together(fds, n, dir, octet, &a);
		for (size_t i = 0; i < n; i++)
			close(fds[i]);
		if (child_reply(socket, &a, answer_size(n + 1)) == -1)
			return 1;
	}
}

static void helper_answered(struct child *, const void *, size_t, int *, size_t);
static void helper_gone(struct child *);
static struct child helper = { .name = "commit", .one_at_a_time = true, .message = helper_answered, .gone = helper_gone };

static int target_dir(void)
{
	return queue.conf.schedule ? queue.cur : queue.in;
}

static int helper_start(void)
{
	int dir = target_dir();

	if (child_start(&helper, helper_main, NULL) == -1)
		return -1;
	helper_began = loop_now();
	if (child_send(&helper, "D", 1, &dir, 1) == 0)
		return 0;
	child_stop(&helper);
	return -1;
}

static void no_longer_committing(struct draft *d)
{
	if (d->in_map)
		map_remove(&committing, &d->known);
	d->in_map = false;
}

/* ---- fresh ones: most messages are tried at once, and need not be read back for that */

static struct map fresh;                /* by id */
static struct list fresh_ones;          /* the oldest first */
static size_t fresh_octets, fresh_max;

static size_t fresh_room(void)
{
	struct rlimit r;

	return getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur / 16 < FRESH_MAX ? (size_t)r.rlim_cur / 16 : FRESH_MAX;
}

static void no_longer_fresh(struct draft *d)
{
	map_remove(&fresh, &d->known);
	list_remove(&fresh_ones, &d->node);
	fresh_octets -= d->buf.room;
}

static struct draft *oldest_fresh(void) { return fresh.n ? owner_of(list_first(&fresh_ones), struct draft, node) : NULL; }

static void forget_fresh(msec until)
{
	struct draft *d;

	while ((d = oldest_fresh()) && d->fresh_until <= until) {
		no_longer_fresh(d);
		draft_free(d);
	}
}

static void fresh_grow_old(struct timer *t)
{
	forget_fresh(loop_now());
	if (fresh.n)
		timer_set(t, oldest_fresh()->fresh_until - loop_now());
}
static struct timer fresh_timer = { .expired = fresh_grow_old };

/* False: it is like any other from now on. */
static bool keep_fresh(struct draft *d, const struct entry *e)
{
	if (!d->in_buf || !e || !queue.conf.deliver || e->state == ENTRY_HELD || e->next > loop_wall())
		return false;
	if (fresh.n >= fresh_max || fresh_octets + d->buf.room > FRESH_OCTETS || !map_put(&fresh, &d->known, str_of(d->id)))
		return false;
	list_push(&fresh_ones, &d->node);
	fresh_octets += d->buf.room;
	d->fresh_until = loop_now() + FRESH_MS;
	if (!timer_armed(&fresh_timer))
		timer_set(&fresh_timer, FRESH_MS);
	return true;
}

struct mail *intake_fresh(const char *id, const char *name, struct str only)
{
	struct map_node *x = fresh.n ? map_get(&fresh, str_of(id)) : NULL;
	struct draft *d = x ? owner_of(x, struct draft, known) : NULL;
	struct mail *m = NULL;

	if (!d)
		return NULL;
	no_longer_fresh(d);
	if (strcmp(d->name, name) == 0)
		m = mail_of(&d->buf, d->fd, d->at, d->size, only);
	if (m)
		d->fd = -1;
	draft_free(d);
	return m;
}

static void draft_end(struct draft *d, bool ok)
{
	void (*done)(void *, bool) = d->done;
	void *arg = d->arg;
	const struct entry *e = NULL;

	no_longer_committing(d);
	if (!ok && d->name[0])
		file_sys.unlink(target_dir(), d->name);
	if (!ok && d->logged)
		wal_gone(d->name, true);
	if (ok && d->name[0] && queue.conf.schedule)
		e = index_name(d->name, true);
	if (!keep_fresh(d, e))
		draft_free(d);
	done(arg, ok);
}

bool queue_withdraw(const char *id)
{
	struct message *m = index_message(str_of(id));
	struct entry *e = m ? m->entries : NULL;
	char name[NAME_ROOM];

	if (!e || e->sibling || e->state != ENTRY_SCHEDULED || e->tries || e->looked || m->suspect)
		return false;
	entry_name_of(e, name);
	mail_free(intake_fresh(id, name, STR("")));
	wal_gone(name, true);
	wal_tell();
	if (entry_unlink(e) == -1) {
		wal_name(NULL, name);   /* it is here all the same */
		return false;
	}
	index_drop(e);
	return true;
}

/* errors NULL: nothing is known. A mark that may be lost means a delivery that may be repeated after a power cut. */
static void end_marks(struct list *l, const int32_t *errors)
{
	struct node *x;

	for (size_t i = 0; (x = list_shift(l)); i++) {
		struct unsynced *u = owner_of(x, struct unsynced, node);

		if (errors && errors[i])
			log_event(LOG_ERROR, "marks-not-durable", LF(L_TEXT("error", strerror(errors[i]))));
		unsynced_free(u);
	}
}

static size_t descriptors(void)
{
	return flying.log + (flying.fs ? 0 : flying.ndrafts + flying.nmarks);
}

static void end_draft(struct draft *d, int error)
{
	if (error)
		log_event(LOG_ERROR, "commit-failed", LF(L_TEXT("id", d->id), L_TEXT("error", strerror(error))));
	draft_end(d, !error);
}

static void take_all(struct list *from, struct list *to)
{
	struct node *x;

	list_init(to);
	while ((x = list_shift(from)))
		list_push(to, x);
}

/* The round is over; an answer is NULL when there was none. */
static void round_end(const struct answer *a)
{
	struct list by_file, logged, wait;
	struct node *x;
	int log_error = !flying.log ? 0 : a ? a->error[0] : EIO, rest_error = a ? a->error[descriptors()] : EIO;
	const int32_t *file_error = a && !flying.fs ? a->error + flying.log : NULL;
	msec took = loop_now() - flying.began;

	timer_stop(&round_timer);
	if (took >= ROUND_SLOW_MS)
		log_event(LOG_WARN, "slow-disk", LF(L_NUM("ms", took), L_NUM("messages", (long long)(flying.ndrafts + flying.logged.n))));
	if (flying.log)
		wal_synced(!log_error);
	take_all(&flying.drafts, &by_file);
	take_all(&flying.logged, &logged);
	take_all(&flying.waiters, &wait);
	end_marks(&flying.marks, file_error ? file_error + flying.ndrafts : NULL);
	flying.running = false;
	for (size_t i = 0; (x = list_shift(&by_file)); i++)
		end_draft(owner_of(x, struct draft, node), file_error && file_error[i] ? file_error[i] : rest_error);
	while ((x = list_shift(&logged)))
		end_draft(owner_of(x, struct draft, node), log_error);
	if (log_error)
		wal_tell();             /* of what was refused */
	while ((x = list_shift(&wait))) {
		struct waiter *w = owner_of(x, struct waiter, node);

		w->done(w->arg, !rest_error && !log_error);
		free(w);
	}
}

static void names_are_durable(void *arg, bool ok)
{
	(void)arg;
	(void)ok;
}

/* What went before the log began is not in it. */
static void filled(int error)
{
	wal_filled(error);
	if (wal_on())
		sync_dir(names_are_durable, NULL);
}

void intake_fill(const int fd[2])
{
	if (queue.conf.inline_sync)
		filled(error_of(wal_fill(fd[0]) == -1 ? -1 : wal_fill(fd[1])));
	else if (child_send(&helper, "F", 1, fd, 2) == -1)
		filled(errno);
}

static void helper_answered(struct child *c, const void *p, size_t n, int *fds, size_t nfds)
{
	struct answer a;

	(void)c;
	(void)fds;
	(void)nfds;
	if (n > sizeof a || n < answer_size(1))
		return;
	memcpy(&a, p, n);
	if (a.of == OF_RETIRING) {
		retiring = false;
		wal_retired(a.error[0]);
	} else if (a.of == OF_FILLING) {
		filled(a.error[0]);
	} else if (flying.running && n == answer_size(descriptors() + 1)) {
		round_end(&a);
	}
}

static bool board(int fds[ROUND_MAX + 1], size_t *n);

/* No helper has come for too long: what waits for one is refused, as a round would be. */
static void refuse_waiting(void)
{
	size_t n;

	while (drafts.n) {
		board((int[ROUND_MAX + 1]){ 0 }, &n);
		round_end(NULL);
	}
}

static void helper_again(struct timer *t)
{
	if (helper_start() == 0) {
		helper_missing_since = 0;
		log_text(LOG_INFO, "commit-helper", "started again");
		return;
	}
	if (loop_now() - helper_missing_since >= ROUND_LIMIT_MS)
		refuse_waiting();
	timer_set(t, HELPER_AGAIN_MS);
}

/* Its batch gets 451: what it had synced cannot be known. */
static void helper_gone(struct child *c)
{
	(void)c;
	log_text(LOG_ERROR, "commit-helper", "it has ended; messages being committed are refused for now");
	if (retiring)
		wal_retired(EIO);       /* what it has heard of the disk is not known, and is not told twice */
	retiring = false;
	wal_filled(EIO);
	if (flying.running)
		round_end(NULL);
	helper_missing_since = loop_now();
	timer_set(&helper_timer, loop_now() - helper_began < HELPER_AGAIN_MS ? HELPER_AGAIN_MS : 0);      /* one that dies at once must not be forked in a circle */
}

static void round_expired(struct timer *t)
{
	(void)t;
	log_text(LOG_ERROR, "commit-helper", "the disk did not answer for %d s; it is given up and started anew", ROUND_LIMIT_MS / 1000);
	child_stop(&helper);
	helper_gone(&helper);
}

/* Its last name went since the mark was made: the directory's sync in this round says more than any mark. */
static bool has_no_name(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && st.st_nlink == 0;
}

static size_t octets_of(const struct draft *d) { return (size_t)d->at + (size_t)d->size; }

static bool for_log(const struct draft *d)
{
	return !d->by_file && wal_takes(wal_message_size(d->name, octets_of(d)));
}

/* Drafts go into the log as long as it has room; the others are files of the round. */
static size_t board_drafts(bool log, int *fds)
{
	size_t n = 0;
	struct node *x;

	while (n < ROUND_MAX && (x = list_first(&drafts))) {
		struct draft *d = owner_of(x, struct draft, node);
		enum wal_answer is = log && for_log(d) ? wal_add(d->name, d->fd, d->in_buf ? d->buf.p : NULL, octets_of(d)) : WAL_NOT_NOW;

		if (is == WAL_NEXT_TIME)
			break;
		list_shift(&drafts);
		d->logged = is == WAL_TAKEN;
		if (!d->logged)
			fds[n++] = d->fd;
		list_push(d->logged ? &flying.logged : &flying.drafts, x);
	}
	return n;
}

static size_t board_marks(int *fds, size_t room)
{
	size_t n = 0;
	struct node *x;

	while (n < room && (x = list_shift(&marks))) {
		struct unsynced *u = owner_of(x, struct unsynced, node);

		if (has_no_name(u->fd)) {
			unsynced_free(u);
			continue;
		}
		fds[n++] = u->fd;
		list_push(&flying.marks, x);
	}
	return n;
}

static size_t octets_of_first(void)
{
	const struct draft *d = drafts.n ? owner_of(list_first(&drafts), struct draft, node) : NULL;

	return d && for_log(d) ? wal_message_size(d->name, octets_of(d)) : 0;
}

/* Moves what waits into the round and lists the descriptors: the log first, then up to ROUND_MAX files, drafts before marks. False: there is
 * nothing to sync. *n: how many. */
static bool board(int fds[ROUND_MAX + 1], size_t *n)
{
	bool log = wal_begin(octets_of_first());
	int *files = fds + 1;
	struct node *x;

	flying.ndrafts = board_drafts(log, files);
	flying.nmarks = board_marks(files + flying.ndrafts, ROUND_MAX - flying.ndrafts);
	while ((x = list_shift(&waiters)))
		list_push(&flying.waiters, x);
	flying.fs = queue.conf.sync == QUEUE_SYNC_FS && !queue.conf.inline_sync;
	flying.log = log && wal_batched();
	/* Who waits for names has them in the directory: "+" goes next, and a message that is not in the log any more has no other. */
	flying.dir = flying.ndrafts || flying.waiters.n || (!wal_on() && marks_due);
	marks_due = marks.n > 0 || (wal_pending() && !flying.log);
	if (!marks_due)
		timer_stop(&marks_timer);
	round_number++;
	flying.began = loop_now();
	flying.running = flying.log || flying.dir || flying.nmarks || flying.fs;
	*n = flying.fs ? 0 : flying.ndrafts + flying.nmarks;
	if (flying.log)
		fds[0] = wal_write();
	else
		memmove(fds, files, *n * sizeof *fds);
	*n += flying.log;
	return flying.running;
}

/* All of the file system, for a segment of the log that is full. */
static void retire_full(void)
{
	if (retiring || (!queue.conf.inline_sync && !helper.pid) || !wal_full())
		return;
	if (queue.conf.inline_sync) {
		wal_retired(error_of(file_sys.syncfs(queue.cur)));
		return;
	}
	retiring = child_send(&helper, "R", 1, NULL, 0) == 0;
	if (!retiring)
		wal_retired(errno);
}

static void round_begin(struct turn_end *e)
{
	int fds[ROUND_MAX + 1];
	size_t n;
	char what;

	(void)e;
	if (wal_on())
		retire_full();
	if (flying.running || (!drafts.n && !waiters.n && !marks_due))
		return;
	if (!queue.conf.inline_sync && !helper.pid)
		return;                 /* helper_timer is on it */
	if (!board(fds, &n))
		return;
	what = flying.fs ? 'A' : flying.dir ? 'S' : 'L';
	if (flying.log && fds[0] == -1) {
		round_end(NULL);
		return;
	}
	if (queue.conf.inline_sync) {
		struct answer a;

		sync_files(fds, n, target_dir(), what, &a);
		round_end(&a);
		return;
	}
	timer_set(&round_timer, ROUND_LIMIT_MS);
	if (child_send(&helper, &what, 1, fds, n) == -1) {
		log_text(LOG_ERROR, "commit-helper", "cannot reach it: %s", strerror(errno));
		child_stop(&helper);
		helper_gone(&helper);
	}
}

/* ---- commit */

/* The round begins at the end of a turn: let there be one, also for who commits outside the loop (sendmail). */
static void turn(struct task *t)
{
	(void)t;
}
static struct task turn_soon = { .run = turn };

static void fail_now(struct task *t)
{
	struct draft *d = owner_of(t, struct draft, early);

	list_remove(&failing, &d->node);
	draft_end(d, false);
}

/* done(false), but not from inside. */
static void fail_soon(struct draft *d)
{
	discard_work(d);
	d->early = (struct task){ .run = fail_now };
	list_push(&failing, &d->node);
	task_post(&d->early);
}

static int move_in(struct draft *d)
{
	int64_t now = loop_wall();

	entry_print(d->name, d->release > now ? d->release : now, d->held, 0, d->id, d->dest);
	if (file_sys.rename(queue.work, d->id, target_dir(), d->name) == 0)
		return 0;
	d->name[0] = 0;
	return -1;
}

/* A power cut may keep the name of a message and not its octets, and this message is what those octets should have been: without
 * its names it can be taken again. False: they could not be set aside. */
static bool clear_way(const char *id, const char *why)
{
	char name[NAME_ROOM];
	struct message *m;

	while ((m = index_message(str_of(id)))) {
		entry_name_of(m->entries, name);
		if (m->entries->state == ENTRY_OPEN || !queue_set_aside(queue.cur, name, why))
			return false;
		index_drop(m->entries);
	}
	return true;
}

struct message *intake_whole(const char *id)
{
	struct message *m = index_message(str_of(id));
	char name[NAME_ROOM];
	const char *why;
	struct mail *mail;

	if (!m || m->checked)
		return m;
	entry_name_of(m->entries, name);
	mail = mail_open(queue.cur, name, false, true, STR(""), &why);
	m->checked = mail != NULL;
	mail_free(mail);
	return !mail && errno == EBADMSG && clear_way(id, why) ? NULL : m;
}

/* A message with this id is in cur/. Perhaps a crash came between its name and its sync: it is synced before it is called
 * taken. 0 or -1 with errno. */
static int board_existing(struct draft *d, const struct message *m)
{
	char name[NAME_ROOM];
	int fd;

	entry_name_of(m->entries, name);
	fd = file_sys.open(queue.cur, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
	if (fd == -1)
		return -1;
	discard_work(d);
	if (d->fd != -1)
		close(d->fd);
	d->fd = fd;
	d->by_file = true;
	return 0;
}

void queue_commit(struct draft *d, void (*done)(void *, bool), void *arg)
{
	const struct message *there = intake_whole(d->id);
	bool ok;

	d->done = done;
	d->arg = arg;
	if (intake_knows(d->id)) {              /* whoever comes again shall come when that one is settled */
		fail_soon(d);
		return;
	}
	d->in_map = map_put(&committing, &d->known, str_of(d->id));
	ok = d->in_map && (there ? board_existing(d, there) == 0 : draft_complete(d) == 0 && move_in(d) == 0);
	if (!ok) {
		log_event(LOG_ERROR, "commit-failed", LF(L_TEXT("id", d->id), L_TEXT("error", strerror(errno))));
		fail_soon(d);
		return;
	}
	list_push(&drafts, &d->node);
	task_post(&turn_soon);
}

bool intake_knows(const char *id)
{
	return map_get(&committing, str_of(id)) != NULL;
}

bool queue_committed(void)
{
	return committing.n == 0 && !flying.running && waiters.n == 0;
}

static bool disk_is_gone(void)
{
	return !queue.conf.inline_sync && !helper.pid;
}

bool queue_accepting(struct reply *why)
{
	const char *text = !queue.open ? "the queue is not open" :
		holds ? "a delivery cannot be recorded on our disk, so no mail is taken until it can" :
		disk_is_gone() ? "our disk helper is not running; try again in a moment" : NULL;

	if (text)
		reply_set(why, 451, "4.3.0", "%s", text);
	return !text && queue_room(0, why);
}

void intake_hold(int by)
{
	holds = (unsigned)((int)holds + by);
}

unsigned intake_holds(void)
{
	return holds;
}

/* ---- marks and directories */

static void marks_are_due(struct timer *t)
{
	(void)t;
	marks_due = true;
}

void sync_names(void)
{
	if (!timer_armed(&marks_timer))
		timer_set(&marks_timer, MARKS_AFTER_MS);
}

int sync_marks(int fd, unsigned *round)
{
	struct unsynced *u;

	if (wal_on()) {                 /* the log tells of it: wal_lines() */
		sync_names();
		return 0;
	}
	if (*round == round_number)
		return 0;               /* the next round takes it anyway */
	u = calloc(1, sizeof *u);
	if (!u)
		return -1;
	u->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (u->fd == -1) {
		free(u);
		return -1;
	}
	list_push(&marks, &u->node);
	*round = round_number;
	sync_names();
	return 0;
}

void sync_dir(void (*done)(void *, bool), void *arg)
{
	struct waiter *w = calloc(1, sizeof *w);

	if (!w)
		log_end("no memory for a sync");
	w->done = done;
	w->arg = arg;
	list_push(&waiters, &w->node);
	task_post(&turn_soon);
}

/* ---- opening */

int intake_open(void)
{
	list_init(&drafts);
	list_init(&marks);
	list_init(&waiters);
	list_init(&failing);
	list_init(&fresh_ones);
	fresh_max = fresh_room();
	list_init(&flying.drafts);
	list_init(&flying.logged);
	list_init(&flying.marks);
	list_init(&flying.waiters);
	marks_timer.expired = marks_are_due;
	round_timer.expired = round_expired;
	helper_timer.expired = helper_again;
	if (!at_turn_end.run) {
		at_turn_end.run = round_begin;
		loop_at_turn_end(&at_turn_end);
	}
	return queue.conf.inline_sync ? 0 : helper_start();
}

static void forget_drafts(struct list *l)
{
	struct node *x;

	while ((x = list_shift(l))) {
		struct draft *d = owner_of(x, struct draft, node);

		task_cancel(&d->early);
		no_longer_committing(d);
		draft_free(d);
	}
}

static void forget_waiters(struct list *l)
{
	struct node *x;

	while ((x = list_shift(l)))
		free(owner_of(x, struct waiter, node));
}

static int sync_each(struct list *l)
{
	int failed = 0;

	for (struct node *x = list_first(l); x; x = list_next(l, x))
		failed |= file_sys.fdatasync(owner_of(x, struct unsynced, node)->fd);
	return failed;
}

/* What happened in the second before the end has no round any more. */
static void sync_last(void)
{
	int failed;

	if (!marks_due && !flying.running && !timer_armed(&marks_timer))
		return;
	failed = sync_each(&marks) | sync_each(&flying.marks);
	if ((file_sys.fsync(target_dir()) | failed) == -1)
		log_event(LOG_ERROR, "marks-not-durable", LF(L_TEXT("error", strerror(errno))));
}

void intake_close(void)
{
	child_stop(&helper);
	sync_last();
	timer_stop(&marks_timer);
	timer_stop(&round_timer);
	timer_stop(&helper_timer);
	timer_stop(&fresh_timer);
	forget_drafts(&drafts);
	forget_drafts(&flying.drafts);
	forget_drafts(&flying.logged);
	forget_drafts(&failing);
	forget_fresh(INT64_MAX);
	map_free(&fresh);
	end_marks(&marks, NULL);
	end_marks(&flying.marks, NULL);
	forget_waiters(&waiters);
	forget_waiters(&flying.waiters);
	flying.running = flying.log = marks_due = retiring = false;
	holds = 0;
	map_free(&committing);
}
