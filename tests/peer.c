/* The scripted peer. It shares nothing with the code under test but the loop and the buffers. */
#include "tests/peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/list.h"
#include "lib/loop.h"
#include "tests/wire.h"

struct peer {
	struct io listener, io;
	struct task play;
	struct timer timer;
	struct sockaddr_storage addr;
	socklen_t addr_len;
	const char *script;
	struct str rest;                /* of the script, from the step being played */
	unsigned step;                  /* its number */
	struct str message;
	struct buf in, out;
	struct wire *wire;              /* inside TLS; NULL: in clear */
	bool octets, cut, deaf, asleep, eof, timing, timed_out;
	unsigned cut_at;
	size_t dripped;
	char trouble[1024];
};

/* ---- the script */

static bool is_step(struct str line) { return line.n && line.p[0] != '#'; }

/* The step at the start of *rest, not taken. False: none is left. */
static bool next_step(struct str *rest, struct str *step)
{
	struct str after = *rest, line;

	while (after.n) {
		if (!str_cut(&after, '\n', &line)) {
			line = after;
			after = str_from(after, after.n);
		}
		line = str_trim(line);
		if (is_step(line)) {
			*step = line;
			return true;
		}
		*rest = after;
	}
	return false;
}

static void skip_step(struct str *rest)
{
	struct str line;

	if (!str_cut(rest, '\n', &line))
		*rest = str_from(*rest, rest->n);
}

unsigned peer_steps(const struct peer *p)
{
	struct str rest = str_of(p->script), step;
	unsigned n = 0;

	for (; next_step(&rest, &step); n++)
		skip_step(&rest);
	return n;
}

static void hex_octet(struct str *s, struct buf *out)
{
	char digits[3] = { s->n > 0 ? s->p[0] : '0', s->n > 1 ? s->p[1] : '0', '\0' };

	buf_char(out, (char)strtol(digits, NULL, 16));
	*s = str_from(*s, 2);
}

static void unescape(struct str s, struct buf *out)
{
	while (s.n) {
		char c = s.p[0];

		s = str_from(s, 1);
		if (c != '\\' || !s.n) {
			buf_char(out, c);
			continue;
		}
		c = s.p[0];
		s = str_from(s, 1);
		if (c == 'x')
			hex_octet(&s, out);
		else
			buf_char(out, c == 'r' ? '\r' : c == 'n' ? '\n' : c == 't' ? '\t' : c);
	}
}

/* ---- the connection */

static void drop_tls(struct peer *p)
{
	if (p->wire)
		wire_free(p->wire);
	free(p->wire);
	p->wire = NULL;
}

static void hang_up(struct peer *p)
{
	if (p->io.fd == -1)
		return;
	if (p->wire && wire_drained(p->wire)) {
		tls_close(p->wire->tls);
		wire_turn(p->wire);
	}
	drop_tls(p);
	io_forget(&p->io);
	close(p->io.fd);
	p->io.fd = -1;
	buf_clear(&p->in);
	buf_clear(&p->out);
	p->eof = p->deaf = p->asleep = false;
}

__attribute__((format(printf, 2, 3)))
static void trouble(struct peer *p, const char *fmt, ...)
{
	struct str step = STR("(end of the script)");
	va_list ap;
	int n;

	if (!p->trouble[0]) {
		next_step(&p->rest, &step);
		n = snprintf(p->trouble, sizeof p->trouble, "step %u, \"" STR_FMT "\": ", p->step,
			(int)(step.n < 200 ? step.n : 200), step.p);
		va_start(ap, fmt);
		vsnprintf(p->trouble + n, sizeof p->trouble - (size_t)n, fmt, ap);
		va_end(ap);
	}
	hang_up(p);
}

static void watch(struct peer *p)
{
	short events = 0;

	if (p->io.fd == -1)
		return;
	if (!p->deaf && !p->asleep && !p->eof)
		events |= POLLIN;
	if ((p->out.n || (p->wire && !wire_drained(p->wire))) && !p->octets)
		events |= POLLOUT;
	if (!events)
		io_forget(&p->io);
	else if (io_watch(&p->io, events) == -1)
		abort();
}

/* Once, or until nothing moves any more. What has come inside is there to be heard. */
static void turn_wire(struct peer *p)
{
	bool moved;

	buf_str(&p->wire->out, buf_view(&p->out));
	buf_clear(&p->out);
	p->wire->octets = p->octets;
	do
		moved = wire_turn(p->wire);
	while (moved && !p->octets);
	buf_str(&p->in, buf_view(&p->wire->in));
	buf_clear(&p->wire->in);
	p->eof = p->wire->eof;
	if (p->octets && (moved || !wire_drained(p->wire)))
		task_post(&p->play);
}

static void flush(struct peer *p)
{
	size_t n = p->octets ? 1 : p->out.n;
	ssize_t w;

	if (p->io.fd != -1 && p->wire)
		turn_wire(p);
	if (p->io.fd == -1 || !p->out.n)
		return;
	w = send(p->io.fd, p->out.p, n, MSG_NOSIGNAL);
	if (w > 0)
		buf_drop(&p->out, (size_t)w);
	else if (errno != EAGAIN)
		buf_clear(&p->out);             /* the client has closed: the next step will tell */
	if (p->octets && p->out.n)
		task_post(&p->play);
}

static void receive(struct peer *p)
{
	char *room = buf_reserve(&p->in, 65536);
	ssize_t n;

	if (!room)
		abort();
	if (p->wire) {
		turn_wire(p);
		return;
	}
	n = read(p->io.fd, room, 65536);
	if (n > 0)
		p->in.n += (size_t)n;
	else if (n == 0 || errno != EAGAIN)
		p->eof = true;
}

/* ---- steps: each returns whether it is done. The argument is what follows its word. */

static bool take_line(struct peer *p, struct buf *line)
{
	const char *lf = p->in.n ? memchr(p->in.p, '\n', p->in.n) : NULL;
	size_t n;

	if (!lf)
		return false;
	n = (size_t)(lf - p->in.p);
	if (n == 0 || p->in.p[n - 1] != '\r')
		trouble(p, "the client ends a line by LF alone");
	else
		buf_add(line, p->in.p, n - 1);
	if (p->io.fd != -1)
		buf_drop(&p->in, n + 1);
	return true;
}

static bool hear_line(struct peer *p, struct str wanted)
{
	struct buf line = { 0 };
	bool whole = true;

	if (!take_line(p, &line))
		return false;
	if (wanted.n && wanted.p[wanted.n - 1] == '*') {
		wanted.n--;
		whole = false;
	}
	if (whole ? !str_eq(buf_view(&line), wanted) : !str_starts_nocase(buf_view(&line), wanted))
		trouble(p, "the client says \"%.300s\"", buf_cstr(&line));
	buf_free(&line);
	return true;
}

/* The message on the wire, by the plain words of RFC 5321 4.5.2. */
static void on_the_wire(struct str message, struct buf *out)
{
	struct str line;

	while (str_cut(&message, '\n', &line)) {
		if (line.n && line.p[0] == '.')
			buf_char(out, '.');
		buf_str(out, line);
		buf_char(out, '\n');
	}
	if (message.n) {
		if (message.p[0] == '.')
			buf_char(out, '.');
		buf_str(out, message);
		buf_puts(out, "\r\n");
	}
	buf_puts(out, ".\r\n");
}

static bool hear_message(struct peer *p, struct str unused)
{
	struct buf wanted = { 0 };
	bool come;

	(void)unused;
	on_the_wire(p->message, &wanted);
	come = p->in.n >= wanted.n;
	if (come && memcmp(p->in.p, wanted.p, wanted.n))
		trouble(p, "another message came");
	else if (come)
		buf_drop(&p->in, wanted.n);
	buf_free(&wanted);
	return come;
}

static bool hear_raw(struct peer *p, struct str unused)
{
	bool come = p->in.n >= p->message.n;

	(void)unused;
	if (come && memcmp(p->in.p, p->message.p, p->message.n))
		trouble(p, "another message came");
	else if (come)
		buf_drop(&p->in, p->message.n);
	return come;
}

static bool take(struct peer *p, struct str number)
{
	size_t n = strtoul(number.p, NULL, 10);

	if (p->in.n < n)
		return false;
	buf_drop(&p->in, n);
	return true;
}

static bool send_line(struct peer *p, struct str line)
{
	buf_str(&p->out, line);
	buf_puts(&p->out, "\r\n");
	return true;
}

static bool send_raw(struct peer *p, struct str text)
{
	unescape(text, &p->out);
	return true;
}

/* A span of the loop's time. True when it is over. */
static bool pass(struct peer *p, msec span)
{
	bool over = p->timed_out;

	if (!p->timing) {
		timer_set(&p->timer, span);
		p->timing = true;
	}
	if (over)
		p->timing = p->timed_out = false;
	return over;
}

static bool stay_quiet(struct peer *p, struct str unused)
{
	(void)unused;
	if (p->out.n)
		return false;
	if (p->in.n || p->eof) {
		trouble(p, p->eof ? "the client closes the connection" : "the client speaks: %.*s", (int)p->in.n, p->in.p);
		return true;
	}
	return pass(p, 1000);
}

static bool wait_for(struct peer *p, struct str seconds)
{
	if (p->out.n)
		return false;
	p->asleep = !pass(p, strtol(seconds.p, NULL, 10) * 1000);
	return !p->asleep;
}

static bool drip(struct peer *p, struct str args)
{
	struct str seconds = STR("0");
	struct buf text = { 0 };
	bool over;

	str_word(&args, &seconds);
	unescape(str_trim(args), &text);
	if (pass(p, strtol(seconds.p, NULL, 10) * 1000)) {
		buf_char(&p->out, text.p[p->dripped++]);
		flush(p);
	}
	over = p->dripped == text.n || p->eof;
	if (over)
		p->dripped = 0;
	else if (!p->timing)
		task_post(&p->play);
	buf_free(&text);
	return over;
}

static bool go_secure(struct peer *p, struct str unused)
{
	(void)unused;
	if (p->out.n)
		return false;
	if (p->in.n)
		trouble(p, "the client says something in clear first");
	p->wire = calloc(1, sizeof *p->wire);
	if (!p->wire)
		abort();
	*p->wire = (struct wire){ .fd = p->io.fd, .tls = tls_accept(wire_server()) };
	return true;
}

static bool go_clear(struct peer *p, struct str unused)
{
	(void)unused;
	if (p->out.n || !wire_drained(p->wire))
		return false;
	drop_tls(p);
	return true;
}

static bool go_deaf(struct peer *p, struct str unused)
{
	(void)unused;
	p->deaf = true;
	return true;
}

static bool close_now(struct peer *p, struct str unused)
{
	(void)unused;
	if (p->out.n || (p->wire && !wire_drained(p->wire)))
		return false;
	hang_up(p);
	return true;
}

static bool shut_half(struct peer *p, struct str unused)
{
	(void)unused;
	return !p->out.n && shutdown(p->io.fd, SHUT_WR) == 0;
}

static bool hear_eof(struct peer *p, struct str unused)
{
	(void)unused;
	if (!p->eof)
		return false;
	if (p->in.n)
		trouble(p, "the client says \"%.*s\"", (int)(p->in.n < 300 ? p->in.n : 300), p->in.p);
	hang_up(p);
	return true;
}

static const struct verb {
	const char *word;
	bool (*play)(struct peer *, struct str);
	bool hears;                     /* waits for the client; its going away is trouble */
} verbs[] = {
	{ "S:", send_line, false },
	{ "W:", send_raw, false },
	{ "C:", hear_line, true },
	{ "M:", hear_message, true },
	{ "B:", hear_raw, true },
	{ "take", take, true },
	{ "quiet", stay_quiet, true },
	{ "wait", wait_for, false },
	{ "drip", drip, false },
	{ "tls", go_secure, false },
	{ "unmask", go_clear, false },
	{ "deaf", go_deaf, false },
	{ "shut", shut_half, false },
	{ "close", close_now, false },
	{ "eof", hear_eof, false },
};

static const struct verb *find_verb(struct str *step, unsigned long *times)
{
	struct str word = STR("");

	*times = 1;
	str_word(step, &word);
	if (word.n && ascii_digit(word.p[0])) {
		*times = strtoul(word.p, NULL, 10);
		str_word(step, &word);
	}
	*step = str_trim(*step);
	for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
		if (str_eq(word, str_of(verbs[i].word)))
			return &verbs[i];
	return NULL;
}

/* True: the step is done. */
static bool play_step(struct peer *p, struct str step)
{
	const struct verb *verb;
	unsigned long times;

	verb = find_verb(&step, &times);
	if (!verb) {
		trouble(p, "not a step");
		return false;
	}
	while (times > 1 && verb->play(p, step))
		times--;
	if (verb->play(p, step))
		return true;
	if (verb->hears && p->eof && p->io.fd != -1)
		trouble(p, "the client has closed the connection (%.*s left)", (int)(p->in.n < 200 ? p->in.n : 200), p->in.n ? p->in.p : "");
	return false;
}

static void play(struct peer *p)
{
	struct str step;

	while (p->io.fd != -1 && next_step(&p->rest, &step)) {
		if (p->cut && p->step == p->cut_at && !p->out.n) {
			p->cut = false;
			p->rest = str_from(p->rest, p->rest.n);
			hang_up(p);
			return;
		}
		if ((p->cut && p->step == p->cut_at) || !play_step(p, step))
			break;
		if (p->trouble[0])
			return;
		skip_step(&p->rest);
		p->step++;
		flush(p);
	}
	if (p->io.fd != -1 && !p->deaf && !next_step(&p->rest, &step) && p->in.n)
		trouble(p, "the client says \"%.*s\"", (int)(p->in.n < 300 ? p->in.n : 300), p->in.p);
	watch(p);
}

/* ---- from the loop */

static void on_ready(struct io *io, short revents)
{
	struct peer *p = owner_of(io, struct peer, io);

	if (revents & POLLOUT)
		flush(p);
	if (!p->deaf && !p->asleep && !p->eof && (revents & (POLLIN | POLLHUP | POLLERR)))
		receive(p);
	play(p);
}

static void on_task(struct task *t)
{
	struct peer *p = owner_of(t, struct peer, play);

	flush(p);
	play(p);
}

static void on_timer(struct timer *t)
{
	struct peer *p = owner_of(t, struct peer, timer);

	p->timed_out = true;
	play(p);
}

static void on_connection(struct io *io, short revents)
{
	struct peer *p = owner_of(io, struct peer, listener);
	int on = 1;

	(void)revents;
	if (p->io.fd != -1)
		return;
	p->io.fd = accept4(p->listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (p->io.fd == -1)
		return;
	/* a line that waits for an acknowledgement would need time that a virtual clock does not give */
	setsockopt(p->io.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	play(p);
}

/* ---- for tests */

static struct peer *listen_on(const char *script, const struct sockaddr *addr, socklen_t len)
{
	struct peer *p = calloc(1, sizeof *p);
	int on = 1;

	if (!p)
		abort();
	p->script = script;
	p->rest = str_of(script);
	p->io = (struct io){ .fd = -1, .ready = on_ready };
	p->listener.ready = on_connection;
	p->play.run = on_task;
	p->timer.expired = on_timer;
	p->listener.fd = socket(addr->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	p->addr_len = sizeof p->addr;
	if (p->listener.fd == -1 || setsockopt(p->listener.fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == -1
	    || bind(p->listener.fd, addr, len) == -1 || listen(p->listener.fd, 8) == -1
	    || getsockname(p->listener.fd, (struct sockaddr *)&p->addr, &p->addr_len) == -1
	    || io_watch(&p->listener, POLLIN) == -1)
		abort();
	return p;
}

struct peer *peer_new(const char *script)
{
	struct sockaddr_un local = { .sun_family = AF_UNIX };

	/* a name of the kernel's choice, in no file system */
	return listen_on(script, (struct sockaddr *)&local, sizeof(sa_family_t));
}

struct peer *peer_new_tcp(const char *script)
{
	struct sockaddr_in loopback = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	return listen_on(script, (struct sockaddr *)&loopback, sizeof loopback);
}

struct peer *peer_new_at(const char *script, const char *address, unsigned port)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };

	if (inet_pton(AF_INET6, address, &six.sin6_addr) == 1)
		return listen_on(script, (struct sockaddr *)&six, sizeof six);
	if (inet_pton(AF_INET, address, &at.sin_addr) != 1)
		abort();
	return listen_on(script, (struct sockaddr *)&at, sizeof at);
}

unsigned peer_port(void)
{
	static int keeper = -1;         /* bound, and never listening: it keeps others off */
	struct sockaddr_in6 six = { .sin6_family = AF_INET6 };
	struct sockaddr_in four = { .sin_family = AF_INET };
	socklen_t len = sizeof six;
	int on = 1, off = 0;

	if (keeper != -1)
		close(keeper);
	keeper = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (keeper != -1 && setsockopt(keeper, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) == 0
	    && setsockopt(keeper, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0
	    && bind(keeper, (struct sockaddr *)&six, sizeof six) == 0 && getsockname(keeper, (struct sockaddr *)&six, &len) == 0)
		return ntohs(six.sin6_port);
	if (keeper != -1)
		close(keeper);
	keeper = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	len = sizeof four;
	if (keeper == -1 || setsockopt(keeper, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == -1
	    || bind(keeper, (struct sockaddr *)&four, sizeof four) == -1 || getsockname(keeper, (struct sockaddr *)&four, &len) == -1)
		abort();
	return ntohs(four.sin_port);
}

const struct sockaddr *peer_address(const struct peer *p, socklen_t *len)
{
	*len = p->addr_len;
	return (const struct sockaddr *)&p->addr;
}

void peer_message(struct peer *p, struct str message) { p->message = message; }
void peer_octets(struct peer *p) { p->octets = true; }

void peer_cut(struct peer *p, unsigned step)
{
	p->cut = true;
	p->cut_at = step;
}

const char *peer_trouble(struct peer *p)
{
	struct str step;

	/* What the client did last is still on its way. */
	for (int i = 0; i < 500 && !p->trouble[0] && next_step(&p->rest, &step); i++)
		loop_turn(10);
	if (!p->trouble[0] && next_step(&p->rest, &step))
		trouble(p, "was not reached");
	return p->trouble[0] ? p->trouble : NULL;
}

void peer_free(struct peer *p)
{
	hang_up(p);
	io_forget(&p->listener);
	close(p->listener.fd);
	task_cancel(&p->play);
	timer_stop(&p->timer);
	buf_free(&p->in);
	buf_free(&p->out);
	free(p);
}
