/* What tests of the queue share. */
#include "tests/queue_rig.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/list.h"
#include "lib/log.h"
#include "parse.h"
#include "tests/tree.h"

struct rig rig;
char rig_id[ID_MAX];
const char rig_body[] = "Subject: hello\r\n\r\nA line.\r\n";

/* ---- the disk */

static struct file_calls kernel;

static bool disk_fails(void)
{
	rig.calls++;
	if (!rig.fail_from || rig.calls < rig.fail_from || rig.calls > rig.fail_to)
		return false;
	errno = rig.fail_errno;
	return true;
}

static const char *path_of(int fd)
{
	static char path[600];
	char link[40];
	ssize_t n;

	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof path - 1);
	path[n > 0 ? n : 0] = 0;
	return path;
}

static bool names_loose;                /* in wal/, since it was synced last */
static bool is_wal(int dir) { return str_ends_nocase(str_of(path_of(dir)), STR("/wal")); }

static int try_open(int dir, const char *name, int flags, mode_t mode)
{
	if (rig.opening)
		rig.opening(name);
	if ((rig.fail_open || flags & O_CREAT) && disk_fails())
		return -1;
	names_loose |= flags & O_CREAT && is_wal(dir);
	return kernel.open(dir, name, flags, mode);
}

/* A failing write leaves half of it behind, as a full disk does. */
static ssize_t try_write(int fd, const void *p, size_t n)
{
	int error;

	if (!disk_fails())
		return kernel.write(fd, p, n);
	error = errno;
	if (n > 1 && rig.fail_errno != EIO && kernel.write(fd, p, n / 2) == -1)
		ck_abort();
	errno = error;
	return -1;
}

static ssize_t try_pwrite(int fd, const void *p, size_t n, off_t at)
{
	return disk_fails() ? -1 : kernel.pwrite(fd, p, n, at);
}

static int try_ftruncate(int fd, off_t to)
{
	return disk_fails() ? -1 : kernel.ftruncate(fd, to);
}

/* Waiting for a disk would show nothing: what it would hold behind a power cut is noted. */

enum { LOGS = 16, SYNCS = 4096 };
static struct durable {                 /* files of the log, as they were synced last; the oldest make room */
	ino_t ino;
	char *data;
	size_t n;
} durable[LOGS];
static size_t next_durable;
static ino_t synced_dir[SYNCS];         /* since rig_disk() */
static unsigned nsynced;

static struct durable *durable_of(ino_t ino)
{
	size_t i = 0;

	while (i < LOGS && durable[i].ino != ino)
		i++;
	return i < LOGS ? &durable[i] : NULL;
}

static void keep_durable(int fd)
{
	struct durable *d;
	struct stat st;

	if (!strstr(path_of(fd), "/wal/") || fstat(fd, &st) == -1)
		return;
	d = durable_of(st.st_ino);
	if (!d)
		d = &durable[next_durable++ % LOGS];
	d->ino = st.st_ino;
	d->n = (size_t)st.st_size;
	d->data = realloc(d->data, d->n + 1);
	ck_assert_int_eq(file_pread(fd, d->data, d->n, 0), st.st_size);
}

static int try_fdatasync(int fd)
{
	struct stat st;

	if (disk_fails())
		return -1;
	ck_assert_int_eq(fstat(fd, &st), 0);
	if (S_ISDIR(st.st_mode) && nsynced < SYNCS)
		synced_dir[nsynced++] = st.st_ino;
	names_loose &= !is_wal(fd);
	if (S_ISREG(st.st_mode))
		keep_durable(fd);
	return 0;
}

/* With each file of the log, open to read and write. */
static void each_log(void (*with)(int fd))
{
	char path[300];
	DIR *d;
	struct dirent *x;

	snprintf(path, sizeof path, "%s/wal", rig.dir);
	d = opendir(path);
	while (d && (x = readdir(d))) {
		int fd = x->d_name[0] == '.' ? -1 : openat(dirfd(d), x->d_name, O_RDWR | O_CLOEXEC);

		if (fd == -1)
			continue;
		with(fd);
		close(fd);
	}
	if (d)
		closedir(d);
}

static int try_syncfs(int fd)
{
	(void)fd;
	if (disk_fails())
		return -1;
	each_log(keep_durable);
	names_loose = false;
	return 0;
}

static bool torn;
static void lose(int fd)
{
	char now[4096], then[4096];
	const struct durable *d;
	struct stat st;
	size_t n;

	ck_assert_int_eq(fstat(fd, &st), 0);
	d = durable_of(st.st_ino);
	for (off_t at = 0; (n = (size_t)file_pread(fd, now, sizeof now, at)) > 0; at += (off_t)n) {
		size_t kept = d && (size_t)at < d->n ? d->n - (size_t)at : 0;

		memset(then, 0, sizeof then);
		if (kept)
			memcpy(then, d->data + at, kept < n ? kept : n);
		if (memcmp(now, then, n) == 0)
			continue;
		if (torn)
			memset(then, 0, n);
		ck_assert_int_eq(file_pwrite(fd, then, n, at), 0);
	}
}

void rig_power_cut(bool is_torn)
{
	rig_crash();
	rig.life++;
	torn = is_torn;
	each_log(lose);
}

bool rig_names_loose(void) { return names_loose; }

unsigned rig_syncs(const char *dir)
{
	char path[300];
	struct stat st;
	unsigned n = 0;

	snprintf(path, sizeof path, "%s/%s", rig.dir, dir);
	ck_assert_int_eq(stat(path, &st), 0);
	for (unsigned i = 0; i < nsynced; i++)
		n += synced_dir[i] == st.st_ino;
	return n;
}

static int try_link(int from_dir, const char *from, int to_dir, const char *to)
{
	return disk_fails() ? -1 : kernel.link(from_dir, from, to_dir, to);
}

static int try_rename(int from_dir, const char *from, int to_dir, const char *to)
{
	names_loose |= is_wal(to_dir);
	return disk_fails() ? -1 : kernel.rename(from_dir, from, to_dir, to);
}

static int try_unlink(int dir, const char *name)
{
	if (disk_fails() || kernel.unlink(dir, name) == -1)
		return -1;
	names_loose |= is_wal(dir);
	return 0;
}

static void remember(int fd)
{
	(void)fd;
	rig.remembered = rig.life;
}

static bool remembers(int fd)
{
	(void)fd;
	return rig.remembered == rig.life;
}

static bool bears_log(int fd)
{
	(void)fd;
	return true;
}

static void take_disk(void)
{
	if (!kernel.open)
		kernel = file_sys;
	file_sys = (struct file_calls){
		.open = try_open, .pread = kernel.pread, .write = try_write, .pwrite = try_pwrite, .ftruncate = try_ftruncate, .fdatasync = try_fdatasync,
		.fsync = try_fdatasync, .link = try_link, .rename = try_rename, .unlink = try_unlink, .space = kernel.space,
		.syncfs = try_syncfs, .remember = remember, .remembers = remembers, .bears_log = bears_log,
	};
}

int rig_end_helper(int fd)
{
	(void)fd;
	if (getpid() != rig.ours)
		_exit(1);
	return 0;
}

void rig_disk(unsigned from, unsigned to, int error)
{
	rig.calls = nsynced = 0;
	rig.fail_from = from;
	rig.fail_to = to;
	rig.fail_errno = error;
}

/* ---- couriers */

struct courier {
	struct courier *next;
	struct task go;
	struct bundle *bundle;
};
static struct courier *couriers;

static const struct rig_answer *answer_for(const char *who)
{
	const char *at = strrchr(who, '@');

	for (const struct rig_answer *a = rig.answer; a->who; a++)
		if (!*a->who || strcmp(a->who, who) == 0 || (a->who[0] == '@' && at && strcmp(a->who, at) == 0))
			return a;
	return NULL;
}

static void address(const struct rcpt *r, char out[ADDR_MAX + 1])
{
	struct buf b = { 0 };

	print_addr(&b, &r->to.addr);
	ck_assert(str_copy(out, ADDR_MAX + 1, buf_view(&b)));
	buf_free(&b);
}

static void note(const struct bundle *b)
{
	struct rig_sent *s = &rig.sent[rig.nsent++];
	struct buf to = { 0 };

	ck_assert(rig.nsent < RIG_SENT_MAX);
	ck_assert(b->n > 0);
	str_copy(s->id, sizeof s->id, str_of(b->mail->id));
	for (size_t i = 0; i < b->n; i++) {
		char who[ADDR_MAX + 1];

		address(b->rcpt[i], who);
		buf_printf(&to, "%s%s", i ? " " : "", who);
	}
	s->to = strdup(buf_cstr(&to));
	s->taken = NULL;
	buf_free(&to);
	s->body = calloc(1, (size_t)b->mail->size + 1);
	ck_assert(file_pread(b->mail->fd, s->body, (size_t)b->mail->size, b->mail->at) == b->mail->size);
	s->declared = b->mail->from.body;
	s->when = loop_wall();
	s->mixed = b->mixed;
}

static void note_taken(struct buf *taken)
{
	rig.sent[rig.nsent - 1].taken = taken->n ? strdup(buf_cstr(taken)) : NULL;
	buf_free(taken);
}

/* Every recipient by its row; blame other than BLAME_RCPT is the whole bundle's. */
static void answer_all(struct bundle *b)
{
	struct buf taken = { 0 };
	struct reply reply;
	struct result r = { .host = "mx.example[192.0.2.1]:25", .reply = &reply, .handed = rig.handed };

	for (size_t i = 0; i < b->n; i++) {
		char who[ADDR_MAX + 1];
		const struct rig_answer *a;

		address(b->rcpt[i], who);
		a = answer_for(who);
		r.what = a ? a->what : RESULT_DELIVERED;
		r.blame = a ? a->blame : BLAME_RCPT;
		reply_set(&reply, a ? a->code : 250, "", "%s", a ? a->words : "taken");
		if (r.blame != BLAME_RCPT) {
			note_taken(&taken);
			r.host = NULL;
			queue_said(b, str_of(rig.said));
			queue_done(b, &r);
			return;
		}
		if (r.what == RESULT_DELIVERED)
			buf_printf(&taken, "%s%s", taken.n ? " " : "", who);
		queue_result(b, i, &r);
	}
	note_taken(&taken);
	queue_said(b, str_of(rig.said));
	reply_set(&reply, 451, "", "%s", "not asked");
	r.what = RESULT_DEFERRED;
	queue_done(b, &r);
}

static void courier_free(struct courier *c)
{
	struct courier **at = &couriers;

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	rig.running--;
	task_cancel(&c->go);
	free(c);
}

static void courier_goes(struct task *t)
{
	struct courier *c = owner_of(t, struct courier, go);
	struct dest *d = c->bundle->dest;

	note(c->bundle);
	answer_all(c->bundle);
	c->bundle = queue_next(d);
	if (c->bundle) {
		task_post(&c->go);
		return;
	}
	courier_free(c);
	queue_leave(d);
}

static void deliver(struct transport *t, struct bundle *b)
{
	struct courier *c;

	(void)t;
	rig.running++;
	if (rig.running > rig.most)
		rig.most = rig.running;
	if (rig.by_hand) {
		ck_assert(rig.nheld < 64);
		rig.held[rig.nheld++] = b;
		return;
	}
	c = calloc(1, sizeof *c);
	c->next = couriers;
	couriers = c;
	c->bundle = b;
	c->go.run = courier_goes;
	task_post(&c->go);
}

void rig_finish(size_t i, bool more)
{
	struct bundle *b = rig.held[i], *next;
	struct dest *d = b->dest;

	memmove(rig.held + i, rig.held + i + 1, (--rig.nheld - i) * sizeof *rig.held);
	note(b);
	answer_all(b);
	next = more ? queue_next(d) : NULL;
	if (next) {
		rig.held[rig.nheld++] = next;
		return;
	}
	rig.running--;
	queue_leave(d);
}

void rig_answers(const struct rig_answer *rows, size_t n)
{
	ck_assert(n < 16);
	memset(rig.answer, 0, sizeof rig.answer);
	if (n)
		memcpy(rig.answer, rows, n * sizeof *rows);
}

/* ---- what the queue asks for */

/* *.near.example has a transport of its own; *.relay.example shares a smarthost; *.pool.example shares connections but no transaction; others stand alone. */
static void way(void *arg, struct str domain, const struct addr *from, struct way *out)
{
	(void)arg;
	out->transport = str_ends_nocase(domain, STR(".near.example")) ? &rig.near : &rig.transport;
	out->shared = str_ends_nocase(domain, STR(".relay.example"));
	if (out->shared)
		str_copy(out->key, sizeof out->key, STR("smtp://relay.example"));
	else if (str_ends_nocase(domain, STR(".pool.example")))
		str_copy(out->key, sizeof out->key, STR("pool"));
	else if (str_ends_nocase(domain, STR(".split.example")))        /* everybody has a way of his own */
		snprintf(out->key, sizeof out->key, "for %.*s", from ? (int)from->local.n : 0, from ? from->local.p : "");
	else
		str_copy(out->key, sizeof out->key, domain);
	if (out->order[0])
		snprintf(out->key, sizeof out->key, "order %s", out->order);
	out->by_sender = !from && str_ends_nocase(domain, STR(".split.example"));
}

static bool report(void *arg, enum report_kind kind, const struct mail *m, unsigned event, int64_t next_try, struct buf *out)
{
	(void)arg;
	rig.reports[kind]++;
	buf_printf(out, "Subject: %s\r\n\r\nabout %s", kind == REPORT_FINAL ? "failed" : "delayed", m->id);
	if (next_try)
		buf_printf(out, " next %+lld", (long long)(next_try - loop_wall()));
	buf_puts(out, ":");
	for (size_t i = 0; i < m->nrcpt; i++) {
		const struct rcpt *r = &m->rcpt[i];

		if (kind == REPORT_DELAYED ? r->state != RCPT_OPEN : r->state == RCPT_OPEN || r->event != event)
			continue;
		if (r->to.notify & NOTIFY_NEVER)
			continue;
		buf_printf(out, " " STR_FMT "@" STR_FMT, STR_ARG(r->to.addr.local), STR_ARG(r->to.addr.domain));
		buf_printf(out, "(" STR_FMT ")", STR_ARG(r->words));
		if (r->said.n)
			buf_printf(out, "{" STR_FMT "}", STR_ARG(r->said));
	}
	return buf_puts(out, "\r\n");
}

static void settled(void *arg, const struct mail *m, const struct rcpt *r, const struct result *res)
{
	(void)arg;
	(void)m;
	(void)r;
	rig.settled[res->what]++;
}

/* ---- opening */

void rig_start(void)
{
	char why[300];

	take_disk();
	rig_disk(0, 0, 0);
	ck_assert_msg(queue_open(&rig.conf, why, sizeof why) == 0, "%s", why);
	rig_turn();
}

void rig_open(void)
{
	const char *tmp = getenv("TMPDIR");

	memset(&rig, 0, sizeof rig);
	names_loose = false;
	rig.life = 1;
	rig.ours = getpid();
	log_open(getenv("RIG_LOG") ? getenv("RIG_LOG") : "/dev/null");
	log_threshold(LOG_DEBUG);
	loop_virtual_clock(RIG_WALL);
	snprintf(rig.dir, sizeof rig.dir, "%s/queue.XXXXXX", tmp ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(rig.dir));
	rig.transport = (struct transport){ .name = "rig", .couriers = 4, .deliver = deliver };
	rig.near = (struct transport){ .name = "near", .couriers = 4, .in_all = 2, .deliver = deliver };
	rig.conf = (struct queue_config){
		.dir = rig.dir, .schedule = true, .deliver = true, .inline_sync = true, .retry_first = 300, .retry_max = 3600,
		.lifetime = 5 * 86400, .delay_notice = 0, .message_size = 1 << 20, .couriers = 20, .way = way, .report = report,
		.settled = settled,
	};
	if (getenv("RIG_WAL")) {
		rig.conf.sync = QUEUE_SYNC_LOG;
		rig.conf.log_size = 32768;
	}
	rig_start();
}

static void forget_couriers(void)
{
	while (couriers)
		courier_free(couriers);
	rig.nheld = 0;
	rig.running = 0;
}

void rig_crash(void)
{
	char path[300], lock[8192];
	ssize_t n;
	int fd;

	snprintf(path, sizeof path, "%s/lock", rig.dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd == -1 ? 0 : read(fd, lock, sizeof lock);
	if (fd != -1)
		close(fd);
	rig_disk(1, (unsigned)-1, EIO);
	queue_close();
	rig_disk(0, 0, 0);
	forget_couriers();
	if (n > 0)
		rig_write(".", "lock", lock, (size_t)n);
}

void rig_close(void)
{
	rig_disk(0, 0, 0);
	queue_close();
	forget_couriers();
	tree_remove(rig.dir);
	for (size_t i = 0; i < rig.nsent; i++) {
		free(rig.sent[i].to);
		free(rig.sent[i].taken);
		free(rig.sent[i].body);
	}
	rig.nsent = 0;
	for (size_t i = 0; i < LOGS; i++) {
		free(durable[i].data);
		durable[i] = (struct durable){ 0 };
	}
	file_sys = kernel;
}

/* ---- time */

void rig_turn(void)
{
	for (int i = 0; i < 12; i++)
		loop_turn(0);
}

void rig_run(int64_t seconds)
{
	msec end = loop_now() + seconds * 1000;

	while (loop_now() < end)
		loop_turn(end - loop_now());
	rig_turn();
}

/* ---- messages */

static void put_done(void *arg, bool ok)
{
	*(int *)arg = ok;
}

static bool put_rcpts(struct envelope *e, const char *to)
{
	struct str rest = str_of(to), word;

	while (str_word(&rest, &word)) {
		struct buf line = { 0 };
		struct recipient r;
		bool ok;

		buf_printf(&line, "TO:<" STR_FMT ">", STR_ARG(word));
		for (struct str more = rest; str_word(&more, &word) && memchr(word.p, '=', word.n) && !memchr(word.p, '@', word.n); rest = more)
			buf_printf(&line, " " STR_FMT, STR_ARG(word));
		ck_assert_ptr_null(parse_rcpt(buf_view(&line), PARAM_ALL, true, &r).text);
		ok = envelope_rcpt(e, &r);
		buf_free(&line);
		if (!ok)
			return false;
	}
	return true;
}

enum { PIECE = 30000 };                 /* octets of a message that are written at a time, as a session does */

bool rig_put_body(const char *from, const char *to, const char *body, const char *id, int64_t release)
{
	struct envelope e = { .release = release };
	struct sender s;
	struct draft *d;
	char line[ADDR_MAX + 100];
	int done = -1;

	snprintf(line, sizeof line, "FROM:<%s>", from);
	ck_assert_ptr_null(parse_mail(str_of(line), PARAM_ALL, &s).text);
	ck_assert(envelope_origin(&e, "a test") && envelope_sender(&e, &s) && put_rcpts(&e, to));
	d = queue_draft(&e, id);
	envelope_free(&e);
	if (!d)
		return false;
	str_copy(rig_id, sizeof rig_id, str_of(draft_id(d)));
	for (size_t n = strlen(body), some; n > 0; n -= some, body += some) {
		some = n < PIECE ? n : PIECE;
		if (draft_write(d, body, some) == 0)
			continue;
		draft_abort(d);
		return false;
	}
	queue_commit(d, put_done, &done);
	ck_assert_int_eq(done, -1);             /* never from inside */
	for (int i = 0; i < (rig.conf.inline_sync ? 100 : 10000) && done == -1; i++) {
		loop_turn(0);
		if (!rig.conf.inline_sync)      /* another process is at it */
			nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
	ck_assert_int_ne(done, -1);
	return done;
}

bool rig_put(const char *from, const char *to)
{
	return rig_put_body(from, to, rig_body, NULL, 0);
}

/* ---- looking */

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Names in dir, sorted. Returns how many; free each. */
static size_t list(const char *dir, char *names[], size_t room)
{
	char path[300];
	DIR *d;
	struct dirent *x;
	size_t n = 0;

	snprintf(path, sizeof path, "%s/%s", rig.dir, dir);
	d = opendir(path);
	ck_assert_ptr_nonnull(d);
	while ((x = readdir(d)))
		if (x->d_name[0] != '.' && n < room)
			names[n++] = strdup(x->d_name);
	closedir(d);
	qsort(names, n, sizeof *names, by_text);
	return n;
}

const char *rig_cur(void)
{
	static char text[8000];
	char *names[5000], *what[5000];
	size_t n = list("cur", names, 5000), used = 0;

	for (size_t i = 0; i < n; i++) {
		char short_name[300];
		struct entry_name e;

		if (!entry_parse(names[i], &e))
			snprintf(short_name, sizeof short_name, "?%s", names[i]);
		else if (e.held)
			snprintf(short_name, sizeof short_name, "H " STR_FMT, STR_ARG(e.dest));
		else
			snprintf(short_name, sizeof short_name, "%u " STR_FMT, e.tries, STR_ARG(e.dest));
		what[i] = strdup(short_name);
		free(names[i]);
	}
	qsort(what, n, sizeof *what, by_text);
	text[0] = 0;
	for (size_t i = 0; i < n; i++) {
		if (used < sizeof text)
			used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", i ? ", " : "", what[i]);
		free(what[i]);
	}
	return text;
}

unsigned rig_count(const char *dir)
{
	char *names[5000];
	size_t n = list(dir, names, 5000);

	for (size_t i = 0; i < n; i++)
		free(names[i]);
	return (unsigned)n;
}

const char *rig_name(const char *dest)
{
	static char found[300];
	char *names[5000];
	size_t n = list("cur", names, 5000);

	found[0] = 0;
	for (size_t i = 0; i < n; i++) {
		struct entry_name e;

		if (!found[0] && entry_parse(names[i], &e) && (!dest || str_eq(e.dest, str_of(dest))))
			snprintf(found, sizeof found, "%s", names[i]);
		free(names[i]);
	}
	ck_assert_msg(found[0], "nothing for %s in cur/: %s", dest, rig_cur());
	return found;
}

/* The directory's time as the virtual clock has it: two changes are never in one grain of the real one. */
static void touch_cur(void)
{
	static long grain;
	char path[300];
	struct timespec t[2] = { { .tv_sec = loop_wall() }, { .tv_sec = loop_wall(), .tv_nsec = ++grain } };

	snprintf(path, sizeof path, "%s/cur", rig.dir);
	ck_assert_int_eq(utimensat(AT_FDCWD, path, t, 0), 0);
}

void rig_mv(const char *from, const char *to)
{
	char a[600], b[600];

	snprintf(a, sizeof a, "%s/cur/%s", rig.dir, from);
	snprintf(b, sizeof b, "%s/cur/%s", rig.dir, to);
	ck_assert_int_eq(rename(a, b), 0);
	touch_cur();
}

void rig_rm(const char *name)
{
	char a[600];

	snprintf(a, sizeof a, "%s/cur/%s", rig.dir, name);
	ck_assert_int_eq(unlink(a), 0);
	touch_cur();
}

const char *rig_read(const char *dir, const char *name)
{
	static char text[200000];
	char path[600];
	ssize_t n;
	int fd;

	snprintf(path, sizeof path, "%s/%s/%s", rig.dir, dir, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_msg(fd != -1, "cannot open %s", path);
	n = read(fd, text, sizeof text - 1);
	close(fd);
	ck_assert(n >= 0);
	text[n] = 0;
	return text;
}

void rig_write(const char *dir, const char *name, const void *p, size_t n)
{
	char path[600];
	int fd;

	snprintf(path, sizeof path, "%s/%s/%s", rig.dir, dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ck_assert(fd != -1);
	ck_assert(write(fd, p, n) == (ssize_t)n);
	close(fd);
	if (strcmp(dir, "cur") == 0)
		touch_cur();
}

unsigned rig_times(const char *to)
{
	unsigned n = 0;

	for (size_t i = 0; i < rig.nsent; i++)
		n += strcmp(rig.sent[i].to, to) == 0;
	return n;
}

unsigned rig_got(const char *addr)
{
	unsigned n = 0;

	for (size_t i = 0; i < rig.nsent; i++) {
		struct str rest = str_of(rig.sent[i].to), word;

		while (str_word(&rest, &word))
			n += str_eq(word, str_of(addr));
	}
	return n;
}
