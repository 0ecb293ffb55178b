/* Buffered octets over descriptors that never block. Reading stops when the owner
 * does not take what came; writing happens once a turn, so that replies share packets. */
#include "lib/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/list.h"

static size_t unread(const struct stream *s) { return s->in.n - s->taken; }
static size_t unsent(const struct stream *s) { return s->out.n - s->sent; }

static void fail(struct stream *s, int error)
{
	if (!s->error)
		s->error = error;
	buf_free(&s->out);
	s->sent = 0;
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

/* Watches for what can be used now and for nothing else. A descriptor that is watched for no event still reports
 * hang-ups, again and again, so it is forgotten instead. */
static void watch(struct stream *s)
{
	bool in = !s->error && !s->eof && !s->paused && unread(s) < STREAM_IN;
	bool out = !s->error && unsent(s) > 0;

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

/* Writes until all is gone or the kernel takes no more. True when something is worth an event: drained or failed. */
static bool write_out(struct stream *s)
{
	int fd = s->io_out.fd == -1 ? s->io.fd : s->io_out.fd;

	if (s->error || s->shut || !unsent(s))
		return false;
	while (unsent(s)) {
		ssize_t w = put(fd, s->out.p + s->sent, unsent(s));
		if (w == -1 && errno == EINTR)
			continue;
		if (w == -1 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return false;
		if (w == -1) {
			fail(s, errno);
			return true;
		}
		s->sent += (size_t)w;
	}
	buf_clear(&s->out);
	s->sent = 0;
	return true;
}

/* One read a turn: no peer owns the loop. It goes through one shared buffer, so that a stream holds what
 * really came and not what might have. */
static bool read_in(struct stream *s)
{
	static char scratch[STREAM_IN];
	ssize_t r;

	if (s->error || s->eof || s->paused || unread(s) >= STREAM_IN)
		return false;
	do
		r = read(s->io.fd, scratch, STREAM_IN - unread(s));
	while (r == -1 && errno == EINTR);
	if (r == -1 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return false;
	if (r == -1) {
		fail(s, errno);
		return true;
	}
	if (r == 0) {
		s->eof = true;
		return true;
	}
	if (s->taken) {
		buf_drop(&s->in, s->taken);
		s->taken = 0;
	}
	if (!buf_add(&s->in, scratch, (size_t)r))
		fail(s, ENOMEM);
	return true;
}

static void ready(struct stream *s, bool readable)
{
	bool news = write_out(s);

	if (readable && read_in(s))
		news = true;
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

static int set_flags(int fd)
{
	int fl = fcntl(fd, F_GETFL), fdfl = fcntl(fd, F_GETFD);

	if (fl == -1 || fdfl == -1)
		return -1;
	if (!(fdfl & FD_CLOEXEC) && fcntl(fd, F_SETFD, fdfl | FD_CLOEXEC) == -1)
		return -1;
	return fl & O_NONBLOCK ? 0 : fcntl(fd, F_SETFL, fl | O_NONBLOCK);
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
	if (getsockopt(out, SOL_SOCKET, SO_TYPE, &type, &n) == -1)
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
	task_cancel(&s->task);
	io_forget(&s->io);
	close(s->io.fd);
	if (s->io_out.fd != -1) {
		io_forget(&s->io_out);
		close(s->io_out.fd);
	}
	buf_free(&s->in);
	buf_free(&s->out);
	s->taken = s->sent = 0;
	s->io.fd = s->io_out.fd = -1;
	s->eof = true;
	s->event = NULL;
}

void stream_take(struct stream *s, size_t n)
{
	bool was_full = unread(s) >= STREAM_IN;

	s->taken += n < unread(s) ? n : unread(s);
	if (was_full)
		watch(s);
	if (s->taken == s->in.n && s->in.room)
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
		return LINE_LONG;
	}
	*line = (struct str){ have.p, (size_t)(lf - have.p) };
	stream_take(s, line->n + 1);
	crlf = line->n > 0 && line->p[line->n - 1] == '\r';
	if (crlf)
		line->n--;
	if (line->n > max) {
		*line = STR("");
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
	if (!s->event || s->shut || s->error) {
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
	if (s->io_out.fd == -1) {
		shutdown(s->io.fd, SHUT_WR);
		return;
	}
	/* A pipe ends by being closed; two descriptors may also be one socket (inetd), whose other half goes on. */
	shutdown(s->io_out.fd, SHUT_WR);
	io_forget(&s->io_out);
	close(s->io_out.fd);
	s->io_out.fd = -1;
}

bool stream_full(const struct stream *s) { return unsent(s) >= STREAM_OUT_FULL; }
bool stream_drained(const struct stream *s) { return unsent(s) == 0; }
