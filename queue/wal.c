/* The intake log: two segments of a fixed size, written by turns, that make messages and what happens to them durable with one fdatasync()
 * a batch. Its form is in doc/QUEUE; what a start does about what it finds is in queue/recover.c. */
#include "queue/inside.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/log.h"
#include "lib/rand.h"

enum {
	SUM_AT = 39,                    /* where the checksum stands in a record's line: it covers what is before it, and what the line announces */
	LINES_MAX = 65536,              /* journal lines in one record */
	RECORD_MAX = WAL_MESSAGE_MAX + 4096,
	BATCH_MAX = 1 << 20,            /* octets gathered in memory and written at once; one message more when it is the first */
	EVENTS_MAX = 4 << 20,           /* not written yet, as the disk is slow: more are not logged, which may repeat a delivery after a power cut */
	KEEP_BUFFER = 256 << 10,        /* a buffer that grew larger is given back */
	EVENT_SHARE = 8,                /* one part in so many of a segment is kept for what happens to messages: that can go nowhere else */
	FILL_AT_ONCE = 1 << 20,         /* a segment that takes no longer than a message */
	DISK_SHARE = 64                 /* a segment is no larger than this part of the file system, which may be a router's */
};

/* ---- the form */

void wal_head_print(char block[WAL_BLOCK], const struct wal_head *h)
{
	char line[256];
	int n = snprintf(line, sizeof line, "FARDEL LOG 1 seq=%016" PRIx64 " life=%016" PRIx64 " crc=", h->seq, h->life);

	memset(block, 0, WAL_BLOCK);
	snprintf(block, WAL_BLOCK, "%s%08" PRIx32 "\n", line, crc32_add(0, line, (size_t)n));
}

static bool hex_field(struct str *rest, const char *name, uint64_t *out)
{
	struct str word, value;
	char text[17];

	if (!str_word(rest, &word) || !str_cut(&word, '=', &value) || !str_eq(value, str_of(name)) || !str_copy(text, sizeof text, word))
		return false;
	*out = strtoull(text, NULL, 16);
	return true;
}

int wal_head_read(int fd, struct wal_head *h)
{
	char block[WAL_BLOCK], same[WAL_BLOCK];
	struct str rest, line, word;
	ssize_t n = file_pread(fd, block, sizeof block, 0);

	if (n == -1)
		return -1;
	errno = EBADMSG;
	rest = (struct str){ block, (size_t)n };
	if (n != WAL_BLOCK || !str_cut(&rest, '\n', &line))
		return -1;
	if (!str_word(&line, &word) || !str_word(&line, &word) || !str_word(&line, &word))      /* FARDEL LOG 1: compared below */
		return -1;
	if (!hex_field(&line, "seq", &h->seq) || !hex_field(&line, "life", &h->life))
		return -1;
	wal_head_print(same, h);
	return memcmp(block, same, sizeof block) == 0 ? 0 : -1; /* nothing else is a head of ours */
}

static void line_print(char line[WAL_LINE + 1], uint64_t life, char kind, uint32_t number, uint32_t n, uint32_t crc)
{
	snprintf(line, WAL_LINE + 1, "==%c %016" PRIx64 " %08" PRIx32 " %08" PRIx32 " %08" PRIx32 "\n", kind, life, number, n, crc);
}

/* False: it is not a record's line of this life. */
static bool line_parse(const char line[WAL_LINE], uint64_t life, char *kind, uint32_t *number, uint32_t *n, uint32_t *crc)
{
	char text[WAL_LINE + 1], same[WAL_LINE + 1];

	memcpy(text, line, WAL_LINE);
	text[WAL_LINE] = 0;
	*kind = text[2];
	if (!*kind || !strchr("MJNG", *kind) || strlen(text) != WAL_LINE)
		return false;
	*number = (uint32_t)strtoul(text + 21, NULL, 16);
	*n = (uint32_t)strtoul(text + 30, NULL, 16);
	*crc = (uint32_t)strtoul(text + SUM_AT, NULL, 16);
	line_print(same, life, *kind, *number, *n, *crc);
	return memcmp(text, same, WAL_LINE) == 0;
}

/* Adds one record to out: the head line and what it announces. False: no memory, and out.bad. */
bool wal_record(struct buf *out, const struct wal_head *h, uint32_t number, enum wal_kind kind, struct str head, const void *p, size_t n)
{
	size_t start = out->n, all = head.n + 1 + n;
	char line[WAL_LINE + 1];
	uint32_t crc;

	line_print(line, h->life, (char)kind, number, (uint32_t)all, 0);
	if (!buf_add(out, line, WAL_LINE) || !buf_str(out, head) || !buf_char(out, '\n') || !buf_add(out, p, n))
		return false;
	crc = crc32_add(crc32_add(0, line, SUM_AT), out->p + start + WAL_LINE, all);
	line_print(line, h->life, (char)kind, number, (uint32_t)all, crc);
	memcpy(out->p + start, line, WAL_LINE);
	return true;
}

/* ---- reading */

struct reader {
	int fd;
	const struct wal_head *head;
	off_t size;
	char first[WAL_HEAD_LINE + 1];  /* of the record just read */
};

/* The record at r, when there is one whose checksum agrees. 1, or 0: none; -1 with errno: the disk cannot be read there. */
static int read_record(struct reader *r, off_t at, struct wal_record *out, uint32_t *number)
{
	char line[WAL_LINE], block[16384];
	uint32_t n, crc, sum;
	ssize_t got = file_pread(r->fd, line, sizeof line, at);
	const char *end = NULL;

	if (got == -1)
		return -1;
	if (got != WAL_LINE || !line_parse(line, r->head->life, &out->kind, number, &n, &crc) || n > RECORD_MAX || at + WAL_LINE + (off_t)n > r->size)
		return 0;
	sum = crc32_add(0, line, SUM_AT);
	for (uint32_t done = 0; done < n; done += (uint32_t)got) {
		got = file_pread(r->fd, block, n - done < sizeof block ? n - done : sizeof block, at + WAL_LINE + done);
		if (got <= 0)
			return (int)got;
		sum = crc32_add(sum, block, (size_t)got);
		if (done)
			continue;
		end = memchr(block, '\n', (size_t)got);
		if (!end || end - block > WAL_HEAD_LINE)
			return 0;
		memcpy(r->first, block, (size_t)(end - block));
		out->head = (struct str){ r->first, (size_t)(end - block) };
	}
	if (!end || sum != crc)
		return 0;
	out->at = at + WAL_LINE + (off_t)out->head.n + 1;
	out->n = n - out->head.n - 1;
	return 1;
}

/* A hole (a batch that was never durable, damaged octets) ends at a block's border, where every batch begins. What is behind it counts:
 * a record too many repeats a delivery, one too few may lose one. */
int wal_read(int fd, const struct wal_head *h, bool (*each)(void *arg, const struct wal_record *), void *arg)
{
	struct reader r = { .fd = fd, .head = h };
	struct wal_record x;
	uint32_t last = 0, number;
	struct stat st;

	if (!h->life)
		return 0;
	if (fstat(fd, &st) == -1)
		return -1;
	r.size = st.st_size < WAL_SEGMENT_MAX ? st.st_size : WAL_SEGMENT_MAX;
	for (off_t at = WAL_BLOCK; at + WAL_LINE <= r.size; ) {
		int is = read_record(&r, at, &x, &number);

		if (is == -1)
			return -1;
		if (is != 1 || number <= last) {
			at = (at / WAL_BLOCK + 1) * WAL_BLOCK;
			continue;
		}
		last = number;
		at = x.at + (off_t)x.n;
		if (!each(arg, &x))
			return -1;
	}
	return 0;
}

/* ---- the directory */

static const char *const seg_name[2] = { "0", "1" };
static const char *const new_name[2] = { "0.new", "1.new" };    /* while it is filled */

int wal_dir(bool make)
{
	if (make && file_mkdir(queue.dir, "wal", 0700) == -1)
		return -1;
	return file_sys.open(queue.dir, "wal", O_RDONLY | O_DIRECTORY, 0);
}

bool wal_is_segment(const char *name) { return strcmp(name, seg_name[0]) == 0 || strcmp(name, seg_name[1]) == 0; }

/* What may hold the only copy of mail, as the disk has failed, and must not be written over: the next start behind a power cut reads it. */
bool wal_is_kept(const char *name) { return strncmp(name, "kept.", 5) == 0; }

static int held[16];
static size_t nheld;

void wal_hold(int fd)
{
	if (fd == -1)
		return;
	if (nheld < sizeof held / sizeof *held)
		held[nheld++] = fd;
	else
		close(fd);
}

void wal_keep(int dir, const char *name, uint64_t seq)
{
	char as[40];

	snprintf(as, sizeof as, "kept.%016" PRIx64, seq);
	if (file_sys.rename(dir, name, dir, as) == -1) {
		log_text(LOG_ERROR, "intake-log", "cannot rename wal/%s: %s", name, strerror(errno));
		return;
	}
	wal_hold(openat(dir, as, O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
	log_text(LOG_ERROR, "intake-log", "the file system could not be synced: wal/%s stays for the next start of the machine", as);
}

/* ---- writing */

struct segment {
	int fd;
	struct wal_head head;
	off_t used;                     /* at a block's border, unless something was told since the last sync began */
	uint32_t number;                /* of the last record */
	enum { SEG_FREE, SEG_FILLING, SEG_FULL, SEG_RETIRING } state;
};
/* What is to be logged, until a batch takes it. Its octets follow. */
struct event {
	char kind;
	uint32_t n;
};

static struct {
	bool on;
	bool filling;                   /* it will be, when the segments are filled */
	int dir;
	off_t size;
	struct segment seg[2];
	struct segment *now;            /* NULL: both wait to be retired */
	struct buf events;              /* struct event and its octets, again and again: not written yet */
	struct buf told;                /* written behind the last batch: the next sync is for them, too */
	struct buf taken;               /* those whose sync is on its way: they come again when that fails */
	struct buf batch;
	bool dropped;                   /* events were: said once */
} wal;

bool wal_on(void) { return wal.on; }
bool wal_pending(void) { return wal.events.n > 0; }

static void add_event(enum wal_kind kind, struct str head, const void *p, size_t n)
{
	struct event e = { .kind = (char)kind, .n = (uint32_t)(head.n + 1 + n) };

	if (wal.events.n + sizeof e + e.n <= EVENTS_MAX && buf_add(&wal.events, &e, sizeof e) && buf_str(&wal.events, head) &&
	    buf_char(&wal.events, '\n') && buf_add(&wal.events, p, n))
		return;
	if (!wal.dropped)
		log_text(LOG_ERROR, "intake-log", "the disk is too slow for what happens; after a power cut deliveries may be repeated");
	wal.dropped = true;
}

void wal_lines(const char *id, const char *lines, size_t n)
{
	while (wal.on && n) {
		size_t some = n;

		if (some > LINES_MAX) {
			const char *end = memrchr(lines, '\n', LINES_MAX);

			some = end ? (size_t)(end - lines) + 1 : LINES_MAX;
		}
		add_event(WAL_LINES, str_of(id), lines, some);
		lines += some;
		n -= some;
	}
}

static void two_words(enum wal_kind kind, const char *first, const char *second)
{
	char text[WAL_HEAD_LINE + 1];

	snprintf(text, sizeof text, "%s %s", first, second);
	add_event(kind, str_of(text), "", 0);
}

void wal_name(const char *from, const char *to)
{
	if (!wal.on)
		return;
	two_words(WAL_NAME, from ? from : "-", to);
	sync_names();
}

void wal_gone(const char *name, bool done)
{
	if (!wal.on)
		return;
	two_words(WAL_GONE, done ? "done" : "away", name);
	sync_names();
}

static off_t up_to_block(off_t at) { return (at + WAL_BLOCK - 1) / WAL_BLOCK * WAL_BLOCK; }

static size_t record_size(size_t head, size_t n) { return WAL_LINE + head + 1 + n; }

/* Octets of the events as records. */
static size_t events_size(void)
{
	size_t n = 0, at = 0;

	while (at < wal.events.n) {
		struct event e;

		memcpy(&e, wal.events.p + at, sizeof e);
		at += sizeof e + e.n;
		n += WAL_LINE + e.n;
	}
	return n;
}

static bool other_is_free(void)
{
	return wal.seg[0].state == SEG_FREE || wal.seg[1].state == SEG_FREE;
}

/* Each batch begins at a block's border: what is durable is never written again, so a torn write takes nothing from it. */
static bool has_room(const struct segment *s, size_t events, size_t messages)
{
	off_t kept = messages ? wal.size / EVENT_SHARE : 0;

	return s && up_to_block(s->used + (off_t)(events + messages)) <= wal.size - kept;
}

static void trim(struct buf *b)
{
	if (b->room > KEEP_BUFFER)
		buf_free(b);
	else
		buf_clear(b);
}

static void move_events(struct buf *to, struct buf *from)
{
	buf_str(to, buf_view(from));
	trim(from);
}

/* What happened is told again, before what has happened since. */
static void take_back(struct buf *again)
{
	struct buf since = wal.events;

	if (!again->n)
		return;
	wal.events = *again;
	*again = since;
	move_events(&wal.events, again);
}

/* What no sync has covered in the old one comes again in the new one. */
static void change_segment(void)
{
	struct segment *next = NULL;

	take_back(&wal.told);
	for (int i = 0; i < 2; i++)
		if (wal.seg[i].state == SEG_FREE && (!next || wal.seg[i].head.seq < next->head.seq))
			next = &wal.seg[i];
	if (wal.now)
		wal.now->state = SEG_FULL;
	wal.now = next;
	if (next)
		next->state = SEG_FILLING;
}

static void batch_events(void)
{
	size_t at = 0;

	while (at < wal.events.n) {
		struct str rest, head;
		struct event e;

		memcpy(&e, wal.events.p + at, sizeof e);
		rest = (struct str){ wal.events.p + at + sizeof e, e.n };
		if (str_cut(&rest, '\n', &head))
			wal_record(&wal.batch, &wal.now->head, ++wal.now->number, e.kind, head, rest.p, rest.n);
		at += sizeof e + e.n;
	}
}

bool wal_begin(size_t first)
{
	size_t events = wal.on ? events_size() : 0;

	if (!wal.on)
		return false;
	buf_clear(&wal.batch);
	if (!has_room(wal.now, events, first) && other_is_free()) {
		change_segment();
		events = events_size();
	}
	if (!wal.now || !has_room(wal.now, events, 0))
		return false;
	batch_events();
	return true;
}

size_t wal_message_size(const char *name, size_t n) { return record_size(strlen(name), n); }

bool wal_takes(size_t n)
{
	return n <= WAL_MESSAGE_MAX && (off_t)n <= wal.size / EVENT_SHARE;
}

enum wal_answer wal_add(const char *name, int fd, const char *text, size_t n)
{
	size_t need = wal_message_size(name, n);
	bool room = has_room(wal.now, wal.batch.n, need);
	struct buf read = { 0 };
	bool ok;

	if (wal.batch.n && (wal.batch.n + need > BATCH_MAX || (!room && other_is_free())))
		return WAL_NEXT_TIME;
	if (!room)
		return WAL_NOT_NOW;
	if (!text) {
		char *to = buf_reserve(&read, n);

		if (!to || file_pread(fd, to, n, 0) != (ssize_t)n) {
			buf_free(&read);
			return WAL_NOT_NOW;
		}
		text = to;
	}
	ok = wal_record(&wal.batch, &wal.now->head, wal.now->number + 1, WAL_MESSAGE, str_of(name), text, n);
	wal.now->number += ok;
	buf_free(&read);
	return ok ? WAL_TAKEN : WAL_NOT_NOW;
}

/* The batch at the end of what is used; with zeros to the border of a block that it begins, so that none has to be read first. *used: up to where
 * it goes itself. 0 or -1 with errno. */
static int write_batch(off_t *used)
{
	off_t from = wal.now->used, end = from + (off_t)wal.batch.n;
	size_t zeros = up_to_block(from) < end ? (size_t)(up_to_block(end) - end) : 0;

	if (buf_reserve(&wal.batch, WAL_BLOCK))
		memset(wal.batch.p + wal.batch.n, 0, zeros);
	*used = end;
	if (!wal.batch.bad)
		return file_pwrite(wal.now->fd, wal.batch.p, wal.batch.n + zeros, from);
	errno = ENOMEM;
	return -1;
}

int wal_write(void)
{
	off_t used = wal.now->used;

	move_events(&wal.taken, &wal.told);     /* until it is durable */
	move_events(&wal.taken, &wal.events);
	/* A write that fails leaves nothing that may be synced: the sync shall say so. */
	if (wal.batch.n && write_batch(&used) == -1) {
		log_text(LOG_ERROR, "intake-log", "cannot write: %s", strerror(errno));
		return -1;
	}
	wal.now->used = up_to_block(used);
	return wal.now->fd;
}

bool wal_batched(void) { return wal.batch.n > 0 || wal.told.n > 0; }

void wal_synced(bool ok)
{
	trim(&wal.batch);
	if (!ok && wal.on) {
		take_back(&wal.told);
		take_back(&wal.taken);
		if (wal.now)
			change_segment();       /* nothing behind a failed sync of a segment is believed */
	}
	trim(&wal.taken);
}

/* In a segment that is full this waits for the next batch. */
void wal_tell(void)
{
	size_t n = wal.on ? events_size() : 0;
	off_t used;

	if (!n || wal.told.n + wal.events.n > EVENTS_MAX || !has_room(wal.now, n, 0))
		return;
	buf_clear(&wal.batch);
	batch_events();
	if (write_batch(&used) == 0) {
		wal.now->used = used;
		move_events(&wal.told, &wal.events);
	}
	trim(&wal.batch);
}

/* ---- retiring: when the file system is synced, all that a full segment tells of is where it belongs */

bool wal_full(void)
{
	struct segment *oldest = NULL;

	for (int i = 0; wal.on && i < 2; i++) {
		struct segment *s = &wal.seg[i];

		if (s->state == SEG_RETIRING)
			return false;
		if (s->state == SEG_FULL && (!oldest || s->head.seq < oldest->head.seq))
			oldest = s;
	}
	if (oldest)
		oldest->state = SEG_RETIRING;
	return oldest != NULL;
}

static void close_segment(struct segment *s)
{
	if (s->fd != -1)
		close(s->fd);
	s->fd = -1;
}

static void close_segments(void)
{
	for (int i = 0; i < 2; i++)
		close_segment(&wal.seg[i]);
	if (wal.dir != -1)
		close(wal.dir);
	buf_free(&wal.events);
	buf_free(&wal.told);
	buf_free(&wal.taken);
	buf_free(&wal.batch);
	memset(&wal, 0, sizeof wal);
	wal.dir = wal.seg[0].fd = wal.seg[1].fd = -1;
}

static uint64_t new_life(void)
{
	uint64_t life = rand_u64();

	return life ? life : 1;
}

/* A new life, or 0, none: nothing that the segment holds counts any more. */
static int write_head(struct segment *s, uint64_t life)
{
	uint64_t a = wal.seg[0].head.seq, b = wal.seg[1].head.seq;
	char head[WAL_BLOCK];

	s->head.seq = (a > b ? a : b) + 1;
	s->head.life = life;
	wal_head_print(head, &s->head);
	s->used = WAL_BLOCK;
	s->number = 0;
	s->state = SEG_FREE;
	/* The kernel keeps what was written at a time together, and writes all of it when a part changes. */
	posix_fadvise(s->fd, 0, 0, POSIX_FADV_DONTNEED);
	posix_fadvise(s->fd, 0, 0, POSIX_FADV_RANDOM);
	return file_pwrite(s->fd, head, sizeof head, 0);
}

static void give_up(int error)
{
	log_text(LOG_ERROR, "intake-log", "the file system cannot be synced: %s. From now on each message is synced by itself", strerror(error));
	for (int i = 0; i < 2; i++)
		wal_keep(wal.dir, seg_name[i], wal.seg[i].head.seq);
	close_segments();
}

/* The head becomes durable with the first batch behind it. Until then what the segment told may be told again, and is true. It is written
 * here and by no helper: one that outlives us must not write it into the log of the next process. */
void wal_retired(int error)
{
	for (int i = 0; wal.on && i < 2; i++) {
		if (wal.seg[i].state != SEG_RETIRING)
			continue;
		if (error || write_head(&wal.seg[i], new_life()) == -1)
			give_up(error ? error : errno);
	}
	wal.dropped = false;
	if (wal.on && !wal.now)
		change_segment();
}

/* ---- opening */

/* By the whole of the disk, not by what is free: it should be the same at the next start, or the segments are filled anew. */
static off_t segment_size(void)
{
	struct file_space disk;
	uint64_t size = queue.conf.log_size;

	if (file_sys.space(queue.dir, &disk) == 0 && disk.octets_all && size > disk.octets_all / DISK_SHARE)
		size = disk.octets_all / DISK_SHARE;
	size = size / WAL_BLOCK * WAL_BLOCK;
	if (size < WAL_SEGMENT_MIN)
		return WAL_SEGMENT_MIN;
	return size > WAL_SEGMENT_MAX ? WAL_SEGMENT_MAX : (off_t)size;
}

static bool of_right_size(int fd)
{
	struct stat st;

	return fd != -1 && fstat(fd, &st) == 0 && st.st_size == wal.size;
}

/* 0; or -1 with errno: a segment may be left, which would say later that what has left meanwhile is open. */
static int cannot_make(void)
{
	int failed = 0;

	log_text(LOG_WARN, "intake-log", "cannot make %s/wal: %s. Each message is synced by itself", queue.conf.dir, strerror(errno));
	if (wal.dir == -1)
		wal.dir = wal_dir(false);
	if (wal.dir == -1 && errno != ENOENT)
		failed = errno;
	/* What is half made may fill the disk. */
	for (int i = 0; i < 2 && wal.dir != -1; i++)
		if (file_sys.unlink(wal.dir, seg_name[i]) == -1 && errno != ENOENT)
			failed = errno;
	if (wal.dir != -1) {
		wal_sweep(wal.dir);
		if (file_sys.fsync(wal.dir) == -1)
			failed = errno;
	}
	close_segments();
	errno = failed;
	return failed ? -1 : 0;
}

static int begin(void)
{
	for (int i = 0; i < 2; i++) {
		file_sys.remember(wal.seg[i].fd);
		if (write_head(&wal.seg[i], new_life()) == -1 || file_sys.fdatasync(wal.seg[i].fd) == -1)
			return -1;
	}
	wal.on = true;
	change_segment();
	return 0;
}

void wal_sweep(int dir)
{
	for (int i = 0; i < 2; i++)
		if (faccessat(dir, new_name[i], F_OK, AT_SYMLINK_NOFOLLOW) == 0)
			file_sys.unlink(dir, new_name[i]);
}

/* What is there holds nothing any more, and is of another size. */
static int make_anew(void)
{
	for (int i = 0; i < 2; i++)
		if (file_sys.unlink(wal.dir, seg_name[i]) == -1 && errno != ENOENT)
			return -1;
	if (file_sys.fsync(wal.dir) == -1)
		return -1;
	errno = ENOSPC;
	if (!space_left(2 * (uint64_t)wal.size))
		return -1;
	for (int i = 0; i < 2; i++) {
		/* another file than any that a helper of a dead process may still be filling */
		wal.seg[i].fd = file_sys.open(wal.dir, new_name[i], O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
		if (wal.seg[i].fd == -1 || file_sys.ftruncate(wal.seg[i].fd, wal.size) == -1)
			return -1;
	}
	space_used(2 * (uint64_t)wal.size);
	return 0;
}

int wal_fill(int fd)
{
	static char zeros[65536];       /* const, they would lie in the program's file */
	struct stat st;
	int error;

	if (fstat(fd, &st) == -1)
		return -1;
	error = posix_fallocate(fd, 0, st.st_size);     /* at once, where there is not so much room; what else it says the writes tell */
	if (error == ENOSPC || error == EDQUOT) {
		errno = error;
		return -1;
	}
	for (off_t at = 0; at < st.st_size; at += (off_t)sizeof zeros) {
		size_t n = st.st_size - at < (off_t)sizeof zeros ? (size_t)(st.st_size - at) : sizeof zeros;

		if (file_pwrite(fd, zeros, n, at) == -1)
			return -1;
	}
	return file_sys.fsync(fd);
}

void wal_filled(int error)
{
	if (!wal.filling)
		return;
	wal.filling = false;
	errno = error;
	if (error)
		goto fail;
	for (int i = 0; i < 2; i++)
		if (file_sys.rename(wal.dir, new_name[i], wal.dir, seg_name[i]) == -1)
			goto fail;
	if (file_sys.fsync(wal.dir) == 0 && file_sys.fsync(queue.dir) == 0 && begin() == 0)
		return;
fail:
	cannot_make();
}

int wal_open(uint64_t seq, int fill[2])
{
	bool made = true;

	wal.dir = wal.seg[0].fd = wal.seg[1].fd = -1;
	wal.size = segment_size();
	wal.dir = wal_dir(true);
	if (wal.dir == -1)
		goto fail;
	wal.seg[0].head.seq = seq;
	for (int i = 0; i < 2; i++) {
		wal.seg[i].fd = file_sys.open(wal.dir, seg_name[i], O_RDWR | O_NOFOLLOW, 0);
		made &= of_right_size(wal.seg[i].fd);
	}
	if (made) {
		if (begin() == -1)
			goto fail;
		return 0;
	}
	for (int i = 0; i < 2; i++)
		close_segment(&wal.seg[i]);
	if (make_anew() == -1)
		goto fail;
	wal.filling = true;
	for (int i = 0; i < 2; i++)
		fill[i] = wal.seg[i].fd;
	if (wal.size > FILL_AT_ONCE)
		return 1;
	wal_filled(wal_fill(fill[0]) == -1 || wal_fill(fill[1]) == -1 ? errno : 0);
	return 0;
fail:
	return cannot_make();
}

/* Nothing is left for the next start to do, and what is removed by hand meanwhile stays away. */
void wal_close(void)
{
	if (wal.on && file_sys.syncfs(queue.dir) == -1)
		give_up(errno);
	for (int i = 0; wal.on && i < 2; i++)
		if (write_head(&wal.seg[i], 0) == -1 || file_sys.fdatasync(wal.seg[i].fd) == -1)
			log_text(LOG_ERROR, "intake-log", "cannot write wal/%s: %s", seg_name[i], strerror(errno));
	if (wal.filling)
		wal_sweep(wal.dir);
	if (wal.on || wal.filling)
		close_segments();
	while (nheld)
		close(held[--nheld]);
}
