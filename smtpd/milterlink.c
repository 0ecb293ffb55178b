/* A connection to a filter. */
#include "smtpd/milterlink.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "lib/list.h"

enum {
	PACKETS_A_TURN = 100,
	ADDRESS_FACTS = 3               /* the hosts file, A, AAAA */
};

void link_close(struct milter_link *l)
{
	if (l->state == LINK_CLOSED)
		return;
	if (l->state == LINK_CALLING)
		io_close(&l->dial);
	else if (l->state != LINK_LOOKING)
		stream_close(&l->stream);
	facts_free(l->facts);
	l->facts = NULL;
	task_cancel(&l->wake);
	timer_stop(&l->timer);
	buf_free(&l->in);
	l->state = LINK_CLOSED;
}

void link_goodbye(struct milter_link *l)
{
	if (l->state == LINK_READY && link_send(l, 'Q', STR("")))
		stream_flush(&l->stream);
	link_close(l);
}

static void fail(struct milter_link *l, const char *why)
{
	link_close(l);
	l->failed(l, why);
}

/* ---- time */

void link_await(struct milter_link *l, msec patience, msec longest)
{
	l->patience = patience;
	l->latest = loop_now() + longest;
	timer_set(&l->timer, patience < longest ? patience : longest);
}

void link_goes_on(struct milter_link *l)
{
	msec left = l->latest - loop_now();

	timer_set(&l->timer, l->patience < left ? l->patience : left);
}

void link_content(struct milter_link *l) { timer_stop(&l->timer); }

static void out_of_time(struct timer *t)
{
	struct milter_link *l = owner_of(t, struct milter_link, timer);

	fail(l, l->state == LINK_READY ? "no answer in time" : l->state == LINK_OPTIONS ? "no options in time" : "cannot be reached in time");
}

/* ---- packets */

bool link_send(struct milter_link *l, char letter, struct str data)
{
	static struct buf packet;       /* one for all: it holds nothing from one call to the next */

	buf_clear(&packet);
	return milter_put(&packet, letter, data) && stream_write(&l->stream, packet.p, packet.n) == 0;
}

bool link_full(const struct milter_link *l) { return stream_full(&l->stream); }

static void take_packet(struct milter_link *l, char letter, struct str data)
{
	const char *wrong;

	if (l->state == LINK_READY) {
		l->heard(l, letter, data);
		return;
	}
	wrong = letter == 'O' ? milter_take_options(data, &l->options) : "its first packet has no options";
	if (wrong) {
		fail(l, wrong);
		return;
	}
	l->state = LINK_READY;
	link_content(l);
	l->ready(l);
}

/* The packet is dropped from `in` behind the call that reads it: nobody else touches that meanwhile, unless it closes the link. */
static void take_packets(struct milter_link *l)
{
	unsigned budget = PACKETS_A_TURN;
	size_t done = 0, used;
	struct str data;
	char letter;
	int whole = 1;

	while (l->state >= LINK_OPTIONS && budget-- && (whole = milter_take(str_from(buf_view(&l->in), done), &used, &letter, &data)) == 1) {
		done += used;
		take_packet(l, letter, data);
	}
	if (l->state < LINK_OPTIONS)
		return;
	buf_drop(&l->in, done);
	if (whole == -1)
		fail(l, "sends a packet of a length that none has");
	else if (whole == 1)
		stream_again(&l->stream);
	else if (!l->in.n)
		buf_free(&l->in);
}

static void on_event(struct stream *s)
{
	struct milter_link *l = owner_of(s, struct milter_link, stream);
	struct str in = stream_peek(s);

	if (in.n && !buf_str(&l->in, in)) {
		fail(l, l->in.n > MILTER_REPLY_MAX ? "says more than is asked" : "memory is out");
		return;
	}
	stream_take(s, in.n);
	take_packets(l);
	if (l->state < LINK_OPTIONS)
		return;
	if (s->error)
		fail(l, stream_error(s));
	else if (s->eof && !l->in.n)
		fail(l, "it has closed the connection");
	else if (s->eof && milter_take(buf_view(&l->in), &(size_t){ 0 }, &(char){ 0 }, &(struct str){ 0 }) != 1)
		fail(l, "it has closed the connection within a packet");
	else if (l->state == LINK_READY)
		l->room(l);
}

/* ---- calling */

static void connected(struct milter_link *l)
{
	struct buf options = { 0 };
	int fd = l->dial.fd;
	bool sent;

	io_forget(&l->dial);
	if (stream_open(&l->stream, fd, fd, on_event) == -1) {
		fail(l, strerror(errno));
		return;
	}
	l->state = LINK_OPTIONS;
	l->in.max = 2 * (MILTER_REPLY_MAX + 4);
	sent = milter_put_options(&options) && stream_write(&l->stream, options.p, options.n) == 0;
	buf_free(&options);
	if (!sent)
		fail(l, "memory is out");
}

static void dialled(struct io *io, short revents)
{
	struct milter_link *l = owner_of(io, struct milter_link, dial);
	int error = connect_error(io->fd);

	(void)revents;
	if (error)
		fail(l, strerror(error));
	else
		connected(l);
}

static void dial(struct milter_link *l, const struct sockaddr_storage *a, socklen_t len)
{
	int error;

	facts_free(l->facts);
	l->facts = NULL;
	l->dial = (struct io){ .fd = socket(a->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), .ready = dialled };
	if (l->dial.fd == -1) {
		fail(l, strerror(errno));
		return;
	}
	l->state = LINK_CALLING;
	if ((connect(l->dial.fd, (const struct sockaddr *)a, len) == -1 && errno != EINPROGRESS && errno != EINTR) || io_watch(&l->dial, POLLOUT) == -1) {
		error = errno;
		fail(l, error == EAGAIN ? "its backlog is full" : strerror(error));
	}
}

static bool make_address(const struct record *r, unsigned port, struct sockaddr_storage *a, socklen_t *len)
{
	struct sockaddr_in *four = (struct sockaddr_in *)a;
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)a;

	*a = (struct sockaddr_storage){ 0 };
	if (r->data.n == 4) {
		*four = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
		memcpy(&four->sin_addr, r->data.p, 4);
		*len = sizeof *four;
	} else if (r->data.n == 16) {
		*six = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };
		memcpy(&six->sin6_addr, r->data.p, 16);
		*len = sizeof *six;
	}
	return a->ss_family != AF_UNSPEC;
}

/* The first address of the host. Runs from the top each time that facts have come. */
static void look(struct milter_link *l)
{
	static const enum fact_kind kinds[ADDRESS_FACTS] = { FACT_HOSTS, FACT_A, FACT_AAAA };
	struct sockaddr_storage a;
	socklen_t len = 0;

	for (size_t i = 0; i < ADDRESS_FACTS; i++) {
		const struct fact *f = fact(l->facts, kinds[i], str_of(l->where->host));

		if (!f)
			return;
		if (f->outcome == FOUND && f->n && make_address(&f->record[0], l->where->port, &a, &len)) {
			dial(l, &a, len);
			return;
		}
	}
	fail(l, "its host has no address that can be found");
}

static void begin(struct task *t)
{
	struct milter_link *l = owner_of(t, struct milter_link, wake);

	if (!l->where->host[0])
		dial(l, &l->where->addr, l->where->len);
	else if (l->facts || (l->facts = facts_new(&l->wake, ADDRESS_FACTS)))
		look(l);
	else
		fail(l, "memory is out");
}

void link_open(struct milter_link *l, msec connect_ms)
{
	l->state = LINK_LOOKING;
	l->wake.run = begin;
	l->timer.expired = out_of_time;
	memset(&l->options, 0, sizeof l->options);
	task_post(&l->wake);
	link_await(l, connect_ms, connect_ms);
}
