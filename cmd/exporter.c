/* HTTP/1.1 (RFC 9110, 9112) as far as one page needs it: a request, an answer, the end of the connection. */
#include "cmd/exporter.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cmd/figures.h"
#include "lib/door.h"
#include "lib/log.h"

enum {
	CLIENTS = 8,                    /* at a time; more wait in the backlog */
	BACKLOG = 16,
	LINE_OCTETS = 1024,             /* collectors send some 200 octets in all */
	HEAD_OCTETS = 8192,
	PATIENCE_MS = 10000,            /* for all of it */
	FRESH_MS = 1000                 /* the queue is walked for a page: not more often than this, whoever asks how often */
};

struct client {
	struct caller caller;
	size_t heard;                   /* octets of the head */
	const struct answer *answer;    /* what the first line deserves; NULL: it has not come */
	bool told;                      /* it has been answered: the rest is passed over */
	bool wants_host, host;          /* it must be said (RFC 9112 3.2), and was */
};

static const struct answer {
	const char *status, *fields, *text;     /* text NULL: the figures */
} page = { "200 OK", "Content-Type: text/plain; version=0.0.4\r\n", NULL },
	bad = { "400 Bad Request", "Content-Type: text/plain\r\n", "That is no request.\n" },
	elsewhere = { "404 Not Found", "Content-Type: text/plain\r\n", "There is /metrics and nothing else.\n" },
	only_get = { "405 Method Not Allowed", "Allow: GET\r\nContent-Type: text/plain\r\n", "GET and nothing else.\n" },
	not_here = { "421 Misdirected Request", "Content-Type: text/plain\r\n", "Ask by an address of this host, or localhost.\n" },
	too_long = { "431 Request Header Fields Too Large", "Content-Type: text/plain\r\n", "Shorter, please.\n" },
	no_memory = { "503 Service Unavailable", "Content-Type: text/plain\r\n", "Out of memory.\n" };

static struct caller *enter(int fd);
static void event(struct stream *);
static void leave(struct caller *);

static struct door door = { .io.fd = -1, .most = CLIENTS, .patience = PATIENCE_MS, .enter = enter, .event = event, .leave = leave };
static bool loopback;
static struct buf figures;
static msec made;

/* ---- a client */

static struct caller *enter(int fd)
{
	struct client *c = calloc(1, sizeof *c);

	(void)fd;
	return c ? &c->caller : NULL;
}

static void leave(struct caller *caller) { free(owner_of(caller, struct client, caller)); }

static bool fresh_figures(void)
{
	if (figures.n && loop_now() - made < FRESH_MS)
		return true;
	buf_clear(&figures);
	made = loop_now();
	return figures_print(&figures);
}

static void tell(struct client *c, const struct answer *a)
{
	struct str text = str_of(a->text);

	if (!a->text && !fresh_figures()) {
		buf_clear(&figures);
		a = &no_memory;
		text = str_of(a->text);
	} else if (!a->text) {
		text = buf_view(&figures);
	}
	c->told = true;
	if (stream_printf(&c->caller.stream, "HTTP/1.1 %s\r\n%sContent-Length: %zu\r\nConnection: close\r\n\r\n", a->status, a->fields, text.n) == -1 ||
	    stream_write(&c->caller.stream, text.p, text.n) == -1)
		caller_end(&c->caller);
}

/* The path of "/metrics?x" or "http://host/metrics" (RFC 9112 3.2.2). */
static struct str path_of(struct str target)
{
	struct str path = target, before;

	if (str_starts_nocase(target, STR("http://"))) {
		path = str_from(target, 7);
		if (!str_cut(&path, '/', &before))
			return STR("/");
		path = (struct str){ path.p - 1, path.n + 1 };
	}
	target = path;
	return str_cut(&target, '?', &before) ? before : path;
}

static const struct answer *judge(struct client *c, struct str line)
{
	struct str method, target;

	if (!str_cut(&line, ' ', &method) || !str_cut(&line, ' ', &target) || !str_starts_nocase(line, STR("HTTP/1.")))
		return &bad;
	c->wants_host = !str_eq(line, STR("HTTP/1.0"));
	if (!str_eq(path_of(target), STR("/metrics")))
		return &elsewhere;
	return str_eq(method, STR("GET")) ? &page : &only_get;
}

/* A page of a stranger in a browser of this host can have its own name lead here. It cannot have us called by an address, or localhost. */
static bool is_us(struct str host)
{
	struct sockaddr_storage ss;
	socklen_t len;

	return !loopback || str_eq_nocase(host, STR("localhost")) || str_starts_nocase(host, STR("localhost:")) || resolver_parse(host, &ss, &len);
}

static void take_field(struct client *c, struct str line)
{
	struct str name;

	if (!str_cut(&line, ':', &name) || !str_eq_nocase(name, STR("host")))
		return;
	c->host = true;
	if (!is_us(str_trim(line)))
		c->answer = &not_here;
}

static void take_line(struct client *c, struct str line)
{
	c->heard += line.n + 2;
	if (c->heard > HEAD_OCTETS)
		tell(c, &too_long);
	else if (!c->answer && line.n)
		c->answer = judge(c, line);
	else if (line.n)
		take_field(c, line);
	else if (c->answer)
		tell(c, c->wants_host && !c->host ? &bad : c->answer);
}

/* The rest is read, or the kernel would reset the connection before the answer is read. */
static void finish(struct client *c)
{
	stream_take(&c->caller.stream, stream_peek(&c->caller.stream).n);
	if (c->caller.stream.eof && stream_drained(&c->caller.stream))
		caller_end(&c->caller);
	else if (stream_drained(&c->caller.stream) && !c->caller.stream.shut)
		stream_shutdown(&c->caller.stream);
}

static void event(struct stream *s)
{
	struct client *c = owner_of(s, struct client, caller.stream);
	struct str line;

	while (!c->told && !c->caller.end.posted && !s->error) {
		switch (stream_line(s, LINE_OCTETS, &line)) {
		case LINE_OK:
		case LINE_BARE:
			take_line(c, line);
			break;
		case LINE_LONG:
			tell(c, &too_long);
			break;
		case LINE_NONE:
			if (s->eof)
				caller_end(&c->caller);
			return;
		}
	}
	if (c->caller.end.posted)
		return;
	if (s->error)
		caller_end(&c->caller);
	else
		finish(c);
}

/* ---- listening */

int exporter_start(const struct settings *s)
{
	int on = 1, fd;

	if (!s->metrics_len)
		return 0;
	loopback = !s->metrics_public;
	fd = socket(s->metrics_addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd != -1)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (fd != -1 && bind(fd, (const struct sockaddr *)&s->metrics_addr, s->metrics_len) == 0 && listen(fd, BACKLOG) == 0 && door_open(&door, fd) == 0) {
		log_event(LOG_INFO, "listening", LF(L_TEXT("on", s->metrics_listen)));
		return 0;
	}
	log_text(LOG_ERROR, "metrics", "cannot listen on %s: %s. See the setting metrics_listen", s->metrics_listen, strerror(errno));
	if (fd != -1)
		close(fd);
	return -1;
}

void exporter_stop(void)
{
	if (door.io.fd == -1)
		return;
	door_close(&door);
	buf_free(&figures);
}
