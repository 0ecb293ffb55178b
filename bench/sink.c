/* A counting SMTP server: one thread, poll(), no code of the program's. */
#include "bench/sink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { LISTENERS = 10, CONNECTIONS = 1000, LINE = 4096, OUT = 65536 };

struct connection {
	int fd;
	char line[LINE];                /* the command that is coming */
	size_t n;
	char out[OUT];                  /* what is held back, until `due` */
	size_t out_n;
	double due;
	bool data, over;
	unsigned dot;                   /* octets of CR LF . CR LF that have been met */
	unsigned long chunk;            /* octets of it still to come */
	bool last;
	unsigned recipients;            /* of this transaction */
};

static struct sink_config config;
static struct pollfd polled[LISTENERS + CONNECTIONS];
static struct connection *connections[CONNECTIONS];
static nfds_t listeners, open_now;
static struct sink_counts counts;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void say(struct connection *c, const char *reply)
{
	size_t n = strlen(reply);

	if (n > OUT - c->out_n) {       /* nobody has so many commands on the way; whoever has would wait for ever */
		c->over = true;
		return;
	}
	if (!c->out_n)
		c->due = config.hold_ms ? now() + config.hold_ms / 1e3 : 0;
	memcpy(c->out + c->out_n, reply, n);
	c->out_n += n;
}

static void message_taken(struct connection *c)
{
	say(c, "250 2.0.0 taken\r\n");
	counts.messages++;
	counts.delivered += c->recipients;
	counts.last = now();
	c->recipients = 0;
}

static bool begins(const char *line, const char *verb) { return strncasecmp(line, verb, strlen(verb)) == 0; }

static void chunk_begins(struct connection *c)
{
	char *rest;

	c->chunk = strtoul(c->line + 5, &rest, 10);
	c->last = strcasestr(rest, "LAST");
	if (!c->chunk && c->last)
		message_taken(c);
}

static void command(struct connection *c)
{
	if (begins(c->line, "EHLO")) {
		say(c, "250-sink.test\r\n250-PIPELINING\r\n250-SIZE 52428800\r\n250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n");
		say(c, config.no_chunking ? "250 DSN\r\n" : "250-DSN\r\n250 CHUNKING\r\n");
	} else if (begins(c->line, "MAIL")) {
		counts.transactions++;
		c->recipients = 0;
		say(c, "250 2.1.0 OK\r\n");
	} else if (begins(c->line, "RCPT")) {
		counts.recipients++;
		c->recipients++;
		say(c, "250 2.1.5 OK\r\n");
	} else if (begins(c->line, "DATA")) {
		c->data = true;
		c->dot = 2;             /* the command's line end is the one before the message's first line */
		say(c, "354 go on\r\n");
	} else if (begins(c->line, "BDAT ") && !config.no_chunking) {
		chunk_begins(c);
	} else if (begins(c->line, "QUIT")) {
		say(c, "221 2.0.0 bye\r\n");
		c->over = true;
	} else if (begins(c->line, "RSET") || begins(c->line, "NOOP") || begins(c->line, "HELO")) {
		say(c, "250 2.0.0 OK\r\n");
	} else {
		say(c, "502 5.5.1 not here\r\n");
	}
}

/* Takes what there is of a chunk, a message or a command. Returns how many octets. */
static size_t take(struct connection *c, const char *p, size_t n)
{
	static const char end[] = "\r\n.\r\n";
	const char *line_end;
	size_t part;

	if (c->chunk) {
		part = n < c->chunk ? n : c->chunk;
		c->chunk -= part;
		if (!c->chunk && c->last)
			message_taken(c);
		else if (!c->chunk)
			say(c, "250 2.0.0 more\r\n");
		return part;
	}
	if (c->data) {
		for (part = 0; part < n && c->dot < 5; part++)
			c->dot = p[part] == end[c->dot] ? c->dot + 1 : p[part] == '\r';
		if (c->dot == 5) {
			c->data = false;
			message_taken(c);
		}
		return part;
	}
	line_end = memchr(p, '\n', n);
	part = line_end ? (size_t)(line_end + 1 - p) : n;
	if (part >= LINE - c->n) {
		c->over = true;
		return n;
	}
	memcpy(c->line + c->n, p, part);
	c->n += part;
	c->line[c->n] = '\0';
	if (line_end) {
		c->n = 0;
		command(c);
	}
	return part;
}

static void hear(struct connection *c)
{
	static char block[65536];
	ssize_t n = recv(c->fd, block, sizeof block, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {                   /* some say all they have to say and close their half: they still listen */
		c->over = true;
		return;
	}
	counts.in += (unsigned long)n;
	for (size_t at = 0; at < (size_t)n && !c->over;)
		at += take(c, block + at, (size_t)n - at);
}

static void answer(struct connection *c)
{
	/* What waits is far less than a socket's buffer takes at once. */
	if (send(c->fd, c->out, c->out_n, MSG_NOSIGNAL) != (ssize_t)c->out_n)
		c->over = true;
	counts.turns++;
	counts.out += c->out_n;
	c->out_n = 0;
}

static void connection_begins(int listener)
{
	struct connection *c;
	int one = 1, fd = accept(listener, NULL, NULL);

	if (fd == -1)
		return;
	c = open_now < CONNECTIONS ? calloc(1, sizeof *c) : NULL;
	if (!c) {
		close(fd);
		return;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	c->fd = fd;
	polled[listeners + open_now] = (struct pollfd){ .fd = fd, .events = POLLIN };
	connections[open_now++] = c;
	counts.connections++;
	if (open_now > counts.most)
		counts.most = open_now;
	say(c, "220 sink.test ESMTP\r\n");
}

static void connection_ends(nfds_t i)
{
	struct connection *c = connections[i];
	struct tcp_info info = { 0 };
	socklen_t n = sizeof info;

	if (getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &n) == 0) {
		counts.segments_in += info.tcpi_segs_in;
		counts.segments_out += info.tcpi_segs_out;
	}
	close(c->fd);
	free(c);
	open_now--;
	connections[i] = connections[open_now];
	polled[listeners + i] = polled[listeners + open_now];
}

/* One turn; returns the milliseconds until something that is held back is due, or -1. */
static int turn(void)
{
	double wait = -1, t = now();

	for (nfds_t i = 0; i < listeners; i++)
		if (polled[i].revents)
			connection_begins(polled[i].fd);
	for (nfds_t i = open_now; i-- > 0;) {
		struct connection *c = connections[i];

		if (polled[listeners + i].revents)
			hear(c);
		if (c->over)
			polled[listeners + i].events = 0;
		if (c->out_n && c->due <= t)
			answer(c);
		if (c->over && !c->out_n)
			connection_ends(i);
		else if (c->out_n && (wait < 0 || c->due - t < wait))
			wait = c->due - t;
	}
	return wait < 0 ? -1 : (int)(wait * 1e3) + 1;
}

static void *work(void *arg)
{
	int wait = -1;

	for (;;) {
		poll(polled, listeners + open_now, wait);
		pthread_mutex_lock(&lock);
		wait = turn();
		pthread_mutex_unlock(&lock);
	}
	return arg;
}

const char *sink_open(const struct sink_config *wanted, char *const addresses[], int n)
{
	pthread_t thread;
	int one = 1;

	config = *wanted;
	for (int i = 0; i < n && i < LISTENERS; i++) {
		struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((unsigned short)config.port) };
		int fd = socket(AF_INET, SOCK_STREAM, 0);

		if (inet_pton(AF_INET, addresses[i], &at.sin_addr) != 1)
			return "a sink's address is none of IPv4";
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
		if (bind(fd, (struct sockaddr *)&at, sizeof at) == -1 || listen(fd, 1024) == -1)
			return strerror(errno);
		polled[listeners++] = (struct pollfd){ .fd = fd, .events = POLLIN };
	}
	return pthread_create(&thread, NULL, work, NULL) ? "no thread" : NULL;
}

struct sink_counts sink_counts(void)
{
	struct sink_counts copy;

	pthread_mutex_lock(&lock);
	copy = counts;
	pthread_mutex_unlock(&lock);
	return copy;
}

static bool all_ended(unsigned long unused)
{
	bool ended;

	(void)unused;
	pthread_mutex_lock(&lock);
	ended = !open_now;
	pthread_mutex_unlock(&lock);
	return ended;
}

static bool all_served(unsigned long delivered) { return sink_counts().delivered >= delivered; }

static bool within(double seconds, bool (*is_so)(unsigned long), unsigned long arg)
{
	double until = now() + seconds;

	while (!is_so(arg)) {
		if (now() > until)
			return false;
		nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
	}
	return true;
}

bool sink_wait(unsigned long delivered, double seconds) { return within(seconds, all_served, delivered); }
bool sink_quiet(double seconds) { return within(seconds, all_ended, 0); }
