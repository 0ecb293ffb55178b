/* Buffered octets over descriptors that never block. Reading stops when the owner
 * does not take what came; writing happens once a turn, so that replies share packets. */
#include "lib/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/list.h"
#include "lib/tls.h"

static size_t unread(const struct stream *s) { return s->in.n - s->taken; }
static size_t unsent(const struct stream *s) { return s->out.n - s->sent; }

static void fail(struct stream *s, int error)
{
	if (!s->error)
		s->error = error;
	buf_free(&s->out);
	s->sent = 0;
}

static void fail_saying(struct stream *s, int error, const char *why)
{
	if (!s->error)
		s->why = why;
	fail(s, error);
}

static void owe_event(struct stream *s)
{
	s->due = true;
	task_post(&s->task);
}

static void watch_one(struct stream *s, struct io *io, short events)
{
	if (!events) {
		io_forget(io);
	} else if (io_watch(io, events) == -1) {
		fail(s, ENOMEM);
		owe_event(s);
	}
}

/* Could octets from the wire be used? TLS may have to send first, and what follows our close_notify is only dropped. */
static bool has_space(const struct stream *s)
{
	size_t n;

	if (!s->tls)
		return unread(s) < STREAM_IN;
	return s->shut || (unread(s) < STREAM_IN && tls_space(s->tls, &n));
}

static bool has_output(const struct stream *s)
{
	size_t n;

	return s->tls ? tls_wire(s->tls, &n) != NULL : unsent(s) > 0 || s->file_left > 0;
}

/* Watches for what can be used now and for nothing else. A descriptor that is watched for no event still reports
 * hang-ups, again and again, so it is forgotten instead. */
static void watch(struct stream *s)
{
	bool in = !s->error && !s->eof && !s->paused && has_space(s);
	bool out = !s->error && has_output(s);

	if (s->io_out.fd == -1) {
		watch_one(s, &s->io, (short)((in ? POLLIN : 0) | (out ? POLLOUT : 0)));
		return;
	}
	watch_one(s, &s->io, in ? POLLIN : 0);
	watch_one(s, &s->io_out, out ? POLLOUT : 0);
}

static void give_back(struct stream *s)
{
	if (s->taken == s->in.n) {
		buf_free(&s->in);
		s->taken = 0;
	}
	if (s->sent == s->out.n) {
		buf_free(&s->out);
		s->sent = 0;
	}
}

static ssize_t put(int fd, const void *p, size_t n)
{
	ssize_t w = send(fd, p, n, MSG_NOSIGNAL);

	return w == -1 && errno == ENOTSOCK ? write(fd, p, n) : w;
}

/* Octets that the kernel took, 0: none now, -1: it failed, and so has the stream. */
static ssize_t send_some(struct stream *s, const void *p, size_t n)
{
	int fd = s->io_out.fd == -1 ? s->io.fd : s->io_out.fd;
	ssize_t w;

	do
		w = put(fd, p, n);
	while (w == -1 && errno == EINTR);
	if (w == -1 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return 0;
	if (w == -1)
		fail(s, errno);
	return w;
}

/* As sendfile(), also where the system has none for these two. */
static ssize_t file_to_socket(int fd, int file, off_t *at, size_t n)
{
	static char block[STREAM_OUT_FULL];
	ssize_t w = sendfile(fd, file, at, n);

	if (w != -1 || (errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP))
		return w;
	w = file_pread(file, block, n < sizeof block ? n : sizeof block, *at);
	if (w > 0)
		w = put(fd, block, (size_t)w);
	if (w > 0)
		*at += w;
	return w;
}

/* True: all of the file's part has left. */
static bool send_file(struct stream *s)
{
	while (s->file_left) {
		ssize_t w = file_to_socket(s->io.fd, s->file, &s->file_at, s->file_left);

		if (w == -1 && errno == EINTR)
			continue;
		if (w == -1 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return false;
		if (w <= 0) {
			fail(s, w ? errno : ENODATA);
			return false;
		}
		s->file_left -= (size_t)w;
	}
	return true;
}

/* Octets that came, 0: none now, or the end (`eof`), -1: it failed. */
static ssize_t receive_some(struct stream *s, void *p, size_t n)
{
	ssize_t r;

	do
		r = read(s->io.fd, p, n);
	while (r == -1 && errno == EINTR);
	if (r == -1 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return 0;
	if (r == -1)
		fail(s, errno);
	s->eof = r == 0;
	return r;
}

static void keep(struct stream *s, const void *p, size_t n)
{
	if (s->taken) {
		buf_drop(&s->in, s->taken);
		s->taken = 0;
	}
	if (!buf_add(&s->in, p, n))
		fail(s, ENOMEM);
}

static void end_half(struct stream *s)
{
	if (s->ended)
		return;
	s->ended = true;
	if (s->io_out.fd == -1) {
		shutdown(s->io.fd, SHUT_WR);
		return;
	}
	/* A pipe ends by being closed; two descriptors may also be one socket (inetd), whose other half goes on. */
	shutdown(s->io_out.fd, SHUT_WR);
	io_close(&s->io_out);
}

/* ---- inside TLS. Each of these does one thing and says whether it could. */

static bool send_records(struct stream *s)
{
	size_t n;
	const unsigned char *p = tls_wire(s->tls, &n);
	ssize_t w = p ? send_some(s, p, n) : 0;

	if (w > 0)
		tls_sent(s->tls, (size_t)w);
	return w > 0;
}

static bool take_text(struct stream *s)
{
	size_t n, room = STREAM_IN - unread(s);
	const unsigned char *p = room && !s->shut ? tls_text(s->tls, &n) : NULL;

	if (!p)
		return false;
	if (n > room)
		n = room;
	keep(s, p, n);
	tls_taken(s->tls, n);
	return !s->error;
}

static bool give_text(struct stream *s)
{
	size_t n = unsent(s) && s->secure ? tls_put(s->tls, s->out.p + s->sent, unsent(s)) : 0;

	s->sent += n;
	/* Once for all that is to be said: what is pushed becomes a record. */
	if (n && !unsent(s))
		tls_push(s->tls);
	return n > 0;
}

enum { SIGNATURES_A_TURN = 2 };

/* A signature costs the time of a hundred messages: a burst of handshakes shall not hold up those who are in already. Who has to
 * wait is called again at once, as its socket stays readable. */
static bool may_sign(void)
{
	static unsigned turn, before;

	if (turn != loop_turns()) {
		turn = loop_turns();
		before = tls_signatures();
	}
	return tls_signatures() - before < SIGNATURES_A_TURN;
}

static bool receive_records(struct stream *s)
{
	size_t n;
	unsigned char *p = !s->eof && !s->paused && (s->secure || may_sign()) ? tls_space(s->tls, &n) : NULL;
	ssize_t r = p ? receive_some(s, p, n) : 0;

	if (r > 0)
		tls_came(s->tls, (size_t)r);
	else if (s->eof && !s->secure)
		fail_saying(s, ECONNRESET, "the connection ended in the TLS handshake");
	return r > 0;
}

/* Behind our close_notify nothing is of interest any more, except that it ends. */
static void drop_records(struct stream *s)
{
	char nothing[4096];

	for (int i = 0; i < STREAM_IN / (int)sizeof nothing && !s->eof; i++)
		if (receive_some(s, nothing, sizeof nothing) <= 0)
			break;
}

/* The peer's close_notify, or a failure: the stream ends with it. */
static void end_tls(struct stream *s)
{
	const char *why = tls_error(s->tls);

	if (why)
		fail_saying(s, EPROTO, why);
	else if (!s->secure)
		fail_saying(s, ECONNRESET, "the connection ended in the TLS handshake");
	s->eof = true;
	buf_free(&s->out);
	s->sent = 0;
}

/* Turns the engine until it needs the socket, or the owner, or the turn is used up. True: worth an event. */
static bool pump(struct stream *s, bool readable)
{
	bool drained = stream_drained(s), secure = s->secure, eof = s->eof, news = false;
	int budget = STREAM_IN / 1024;          /* receptions; records of a few octets are no way to own the loop */

	while (!s->error) {
		if (!s->secure && tls_ready(s->tls))
			s->secure = true;
		if (send_records(s))
			continue;
		if (take_text(s))
			news = true;
		else if (!give_text(s) && !(readable && !s->shut && budget-- > 0 && receive_records(s)))
			break;
	}
	if (!s->error && s->shut && stream_drained(s))
		end_half(s);
	if (!s->error && s->shut && readable)
		drop_records(s);
	if (!s->error && !s->shut && !eof && tls_over(s->tls))
		end_tls(s);
	return news || s->error || s->eof != eof || s->secure != secure || (secure && !drained && stream_drained(s));
}

/* ---- reading and writing */

/* Writes until all is gone or the kernel takes no more. True when something is worth an event: drained or failed. */
static bool write_out(struct stream *s)
{
	if (s->error)
		return false;
	if (s->tls)
		return pump(s, false);
	if (s->shut || stream_drained(s))
		return false;
	while (unsent(s)) {
		ssize_t w = send_some(s, s->out.p + s->sent, unsent(s));

		if (w <= 0)
			return w == -1;
		s->sent += (size_t)w;
	}
	buf_clear(&s->out);
	s->sent = 0;
	return send_file(s) || s->error;
}

/* One read a turn: no peer owns the loop. It goes through one shared buffer, so that a stream holds what
 * really came and not what might have. */
static bool read_in(struct stream *s)
{
	static char scratch[STREAM_IN];
	ssize_t r;

	if (s->error || s->eof || s->paused || unread(s) >= STREAM_IN)
		return false;
	r = receive_some(s, scratch, STREAM_IN - unread(s));
	if (r > 0)
		keep(s, scratch, (size_t)r);
	return r > 0 || s->error || s->eof;
}

static void ready(struct stream *s, bool readable)
{
	bool news;

	if (s->tls) {
		news = !s->error && pump(s, readable);
	} else {
		news = write_out(s);
		if (readable && read_in(s))
			news = true;
	}
	give_back(s);
	watch(s);
	if (news)
		s->event(s);            /* last: the stream may be gone when it returns */
}

static void ready_in(struct io *io, short revents)
{
	ready(owner_of(io, struct stream, io), revents & (POLLIN | POLLHUP | POLLERR | POLLNVAL));
}

static void ready_out(struct io *io, short revents)
{
	(void)revents;
	ready(owner_of(io, struct stream, io_out), false);
}

static void run_task(struct task *t)
{
	struct stream *s = owner_of(t, struct stream, task);
	bool news = write_out(s) || s->due;

	s->due = false;
	give_back(s);
	watch(s);
	if (news)
		s->event(s);
}

/* Sockets of ours got both flags when they were made. */
static int set_flags(int fd)
{
	int fl = fcntl(fd, F_GETFL), fdfl;

	if (fl == -1 || fl & O_NONBLOCK)
		return fl == -1 ? -1 : 0;
	fdfl = fcntl(fd, F_GETFD);
	if (fdfl == -1)
		return -1;
	if (!(fdfl & FD_CLOEXEC) && fcntl(fd, F_SETFD, fdfl | FD_CLOEXEC) == -1)
		return -1;
	return fcntl(fd, F_SETFL, fl | O_NONBLOCK);
}

int connect_error(int fd)
{
	socklen_t n = sizeof(int);
	int error = 0;

	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n) == -1 ? errno : error;
}

int stream_open(struct stream *s, int in, int out, void (*event)(struct stream *))
{
	int type;
	socklen_t n = sizeof type;

	memset(s, 0, sizeof *s);
	s->io = (struct io){ .fd = in, .ready = ready_in };
	s->io_out = (struct io){ .fd = in == out ? -1 : out, .ready = ready_out };
	s->task.run = run_task;
	if (set_flags(in) == -1 || (out != in && set_flags(out) == -1))
		return -1;
	/* Sockets are told one by one; a pipe whose reader is gone can be kept from killing us only this way. */
	if (in != out && getsockopt(out, SOL_SOCKET, SO_TYPE, &type, &n) == -1)
		signal(SIGPIPE, SIG_IGN);
	if (io_watch(&s->io, POLLIN) == -1) {
		errno = ENOMEM;
		return -1;
	}
	s->event = event;
	return 0;
}

void stream_close(struct stream *s)
{
	if (!s->event)
		return;
	/* The peer is told that this is the end, as far as that can be done at once. */
	if (s->tls && s->secure && !s->error && !s->shut && stream_drained(s) && !tls_over(s->tls)) {
		tls_close(s->tls);
		send_records(s);
	}
	tls_free(s->tls);
	s->tls = NULL;
	task_cancel(&s->task);
	io_close(&s->io);
	io_close(&s->io_out);
	buf_free(&s->in);
	buf_free(&s->out);
	s->taken = s->sent = s->file_left = 0;
	s->eof = true;
	s->event = NULL;
}

void stream_take(struct stream *s, size_t n)
{
	bool was_full = unread(s) >= STREAM_IN;

	s->taken += n < unread(s) ? n : unread(s);
	if (was_full)
		watch(s);
	/* What was kept back may be inside the engine, where no socket wakes us for it. */
	if ((s->taken == s->in.n && s->in.room) || (was_full && s->tls))
		task_post(&s->task);
}

struct str stream_peek(const struct stream *s)
{
	return (struct str){ s->in.p ? s->in.p + s->taken : "", unread(s) };
}

/* Drops the rest of a line that was too long. False while its end has not come. */
static bool skip_rest(struct stream *s)
{
	struct str have = stream_peek(s);
	const char *lf = memchr(have.p, '\n', have.n);

	if (!lf) {
		s->skipped += have.n;
		stream_take(s, have.n);
		return false;
	}
	stream_take(s, (size_t)(lf - have.p) + 1);
	s->skipping = false;
	s->skipped = 0;
	return true;
}

enum line stream_line(struct stream *s, size_t max, struct str *line)
{
	struct str have;
	const char *lf;
	bool crlf;

	*line = STR("");
	if (s->skipping && !skip_rest(s))
		return LINE_NONE;
	have = stream_peek(s);
	lf = memchr(have.p, '\n', have.n);
	if (!lf) {
		if (have.n < max + 2)           /* max octets and a CR may still become a line */
			return LINE_NONE;
		s->skipping = true;
		s->skipped = have.n;
		stream_take(s, have.n);
		*line = (struct str){ have.p, max };
		return LINE_LONG;
	}
	*line = (struct str){ have.p, (size_t)(lf - have.p) };
	stream_take(s, line->n + 1);
	crlf = line->n > 0 && line->p[line->n - 1] == '\r';
	if (crlf)
		line->n--;
	if (line->n > max) {
		line->n = max;
		return LINE_LONG;
	}
	return crlf && !memchr(line->p, '\r', line->n) ? LINE_OK : LINE_BARE;
}

bool stream_has_line(const struct stream *s)
{
	struct str have = stream_peek(s);
	const char *lf = memchr(have.p, '\n', have.n);

	if (lf && s->skipping) {
		have = str_from(have, (size_t)(lf - have.p) + 1);
		lf = memchr(have.p, '\n', have.n);
	}
	return lf || have.n >= STREAM_IN;
}

void stream_pause(struct stream *s, bool pause)
{
	s->paused = pause;
	if (s->event)
		watch(s);
}

void stream_again(struct stream *s)
{
	if (s->event)
		owe_event(s);
}

int stream_write(struct stream *s, const void *p, size_t n)
{
	if (!s->event || s->shut || s->error || (s->tls && s->eof && tls_over(s->tls))) {
		errno = s->error ? s->error : EPIPE;
		return -1;
	}
	if (n > STREAM_OUT - unsent(s)) {
		errno = EMSGSIZE;
		return -1;
	}
	/* Moved to the front only when half of it is gone: each octet moves at most once. */
	if (s->sent > s->out.n / 2) {
		buf_drop(&s->out, s->sent);
		s->sent = 0;
	}
	if (!buf_add(&s->out, p, n)) {
		fail(s, ENOMEM);
		owe_event(s);
		errno = ENOMEM;
		return -1;
	}
	task_post(&s->task);
	return 0;
}

int stream_printf(struct stream *s, const char *fmt, ...)
{
	struct buf text = { .max = STREAM_OUT };
	char line[1024];
	va_list ap;
	int n, r = -1;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n < sizeof line)
		return stream_write(s, line, (size_t)n);
	errno = EMSGSIZE;
	if (n >= 0 && n < STREAM_OUT && buf_reserve(&text, (size_t)n + 1)) {
		va_start(ap, fmt);
		vsnprintf(text.p, (size_t)n + 1, fmt, ap);
		va_end(ap);
		r = stream_write(s, text.p, (size_t)n);
	}
	buf_free(&text);
	return r;
}

void stream_flush(struct stream *s)
{
	if (!s->event)
		return;
	if (write_out(s))
		owe_event(s);
	watch(s);
}

void stream_shutdown(struct stream *s)
{
	if (!s->event || s->shut)
		return;
	s->shut = true;
	buf_free(&s->out);
	s->sent = 0;
	if (s->tls && s->secure && !s->error && !tls_over(s->tls)) {
		tls_close(s->tls);
		task_post(&s->task);            /* which sends it, and ends our half behind it */
		return;
	}
	end_half(s);
}

bool stream_send_file(struct stream *s, int fd, off_t at, size_t n)
{
	if (!s->event || s->tls || s->error || s->shut || s->file_left || s->io_out.fd != -1)
		return false;
	s->file = fd;
	s->file_at = at;
	s->file_left = n;
	task_post(&s->task);
	return true;
}

bool stream_full(const struct stream *s) { return unsent(s) >= STREAM_OUT_FULL || s->file_left; }

bool stream_drained(const struct stream *s)
{
	size_t n;

	return unsent(s) == 0 && s->file_left == 0 && !(s->tls && !s->error && tls_wire(s->tls, &n));
}

/* ---- TLS */

int stream_starttls(struct stream *s, struct tls *tls)
{
	errno = !s->event || s->shut || s->eof || s->error ? EPIPE : s->tls ? EALREADY : unread(s) || s->skipping ? EPROTO :
		unsent(s) ? EBUSY : 0;
	if (errno)
		return -1;
	s->tls = tls;
	/* TLS leaves in several records, and the kernel would keep back the second until the peer has acknowledged the first:
	 * 40 ms for a peer that delays that. On other than TCP it fails, and is not needed. */
	setsockopt(s->io_out.fd != -1 ? s->io_out.fd : s->io.fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
	task_post(&s->task);                    /* a client speaks first */
	return 0;
}

int stream_begin_tls(struct stream *s, struct tls *tls)
{
	while (unread(s)) {
		size_t room, n = unread(s);
		unsigned char *p = tls_space(tls, &room);

		if (!p) {
			errno = EPROTO;
			return -1;
		}
		n = n < room ? n : room;
		memcpy(p, s->in.p + s->taken, n);
		tls_came(tls, n);
		stream_take(s, n);
	}
	return stream_starttls(s, tls);
}

const char *stream_error(const struct stream *s) { return s->why ? s->why : strerror(s->error); }
