/* A GET over HTTPS, and what may be believed of the answer. */
#include "lib/http.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/codec.h"
#include "lib/list.h"
#include "lib/stream.h"
#include "lib/tls.h"

/* ---- the answer */

enum part {
	P_STATUS,                       /* the status line is awaited */
	P_FIELD,                        /* a header field, or the empty line behind them */
	P_LENGTH,                       /* `left` octets of body */
	P_REST,                         /* body until the connection ends */
	P_SIZE,                         /* the line before a chunk */
	P_CHUNK,                        /* `left` octets of a chunk */
	P_CHUNK_END,                    /* the line end behind it */
	P_TRAILER,                      /* fields behind the last chunk, and the empty line */
	P_OVER
};

__attribute__((format(printf, 2, 3)))
static void give_up(struct http_reply *r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->wrong, sizeof r->wrong, fmt, ap);
	va_end(ap);
	r->part = P_OVER;
	buf_free(&r->body);
	buf_free(&r->line);
}

/* RFC 9112 4: "HTTP/1.1 200 words", and the words may be missing. */
static void take_status(struct http_reply *r, struct str line)
{
	uint64_t status;

	if (!str_starts_nocase(line, STR("HTTP/1.")) || line.n < 12 || !ascii_digit(line.p[7]) || line.p[8] != ' ' ||
	    !str_number((struct str){ line.p + 9, 3 }, 999, &status) || status < 100 || (line.n > 12 && line.p[12] != ' ')) {
		give_up(r, "the answer is not HTTP/1");
		return;
	}
	r->status = (int)status;
	r->part = P_FIELD;
}

/* ---- header fields */

static void field_type(struct http_reply *r, struct str value)
{
	struct str type;
	bool plain;

	if (!str_cut(&value, ';', &type))
		type = value;
	plain = str_eq_nocase(str_trim(type), STR("text/plain"));
	r->plain = plain && (r->plain || !r->typed);
	r->typed = true;
}

static void field_length(struct http_reply *r, struct str value)
{
	uint64_t n;

	if (!str_number(value, UINT64_MAX / 2, &n) || (r->sized && n != r->left))
		give_up(r, "the answer's Content-Length is no number");
	r->sized = true;
	r->left = n;
}

static void field_transfer(struct http_reply *r, struct str value)
{
	r->other_transfer = r->other_transfer || r->chunked || !str_eq_nocase(value, STR("chunked"));
	r->chunked = true;
}

static void field_coding(struct http_reply *r, struct str value)
{
	r->coded = r->coded || !str_eq_nocase(value, STR("identity"));
}

static const struct {
	const char *name;
	void (*take)(struct http_reply *, struct str value);
} fields[] = {
	{ "Content-Type", field_type }, { "Content-Length", field_length }, { "Transfer-Encoding", field_transfer },
	{ "Content-Encoding", field_coding },
};

static void take_field(struct http_reply *r, struct str line)
{
	struct str name;

	/* RFC 9112 5.1, 5.2: no blank before the colon; fields are not folded any more. */
	if (!str_cut(&line, ':', &name) || !name.n || memchr(name.p, ' ', name.n) || memchr(name.p, '\t', name.n)) {
		give_up(r, "a header field of the answer cannot be understood");
		return;
	}
	for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
		if (str_eq_nocase(name, str_of(fields[i].name)))
			fields[i].take(r, str_trim(line));
}

/* How the body comes (RFC 9112 6.3), if this is an answer that counts. */
static void take_head_end(struct http_reply *r)
{
	if (r->status < 200 && r->status != 101) {      /* only a word in between */
		r->plain = r->typed = r->coded = r->chunked = r->other_transfer = r->sized = false;
		r->part = P_STATUS;
	} else if (r->status >= 300 && r->status < 400)
		give_up(r, "the answer has status %d: redirects are not followed", r->status);
	else if (r->status != 200)
		give_up(r, "the answer has status %d and not 200", r->status);
	else if (!r->plain)
		give_up(r, "the answer is not text/plain");
	else if (r->coded || r->other_transfer)
		give_up(r, "the answer is compressed, or coded in another way that was not asked for");
	else if (r->chunked)
		r->part = P_SIZE;
	else if (r->sized && r->left > HTTP_BODY)
		give_up(r, "the answer is longer than %d octets", HTTP_BODY);
	else
		r->part = !r->sized ? P_REST : r->left ? P_LENGTH : P_OVER;
}

/* ---- chunks (RFC 9112 7.1) */

static void take_size(struct http_reply *r, struct str line)
{
	struct str size;
	uint64_t n = 0;

	if (!str_cut(&line, ';', &size))
		size = line;
	size = str_trim(size);
	for (size_t i = 0; i < size.n && n <= HTTP_BODY; i++) {
		if (hex_digit(size.p[i]) < 0)
			size.n = 0;
		else
			n = n << 4 | (unsigned)hex_digit(size.p[i]);
	}
	if (!size.n)
		give_up(r, "the size of a chunk of the answer is no number");
	else if (n > HTTP_BODY - r->body.n)
		give_up(r, "the answer is longer than %d octets", HTTP_BODY);
	else
		r->part = n ? P_CHUNK : P_TRAILER;
	r->left = n;
}

/* ---- octets */

static void take_line(struct http_reply *r, struct str line)
{
	switch ((enum part)r->part) {
	case P_STATUS:
		take_status(r, line);
		break;
	case P_FIELD:
		if (line.n)
			take_field(r, line);
		else
			take_head_end(r);
		break;
	case P_SIZE:
		take_size(r, line);
		break;
	case P_CHUNK_END:
		if (line.n)
			give_up(r, "a chunk of the answer is longer than it says");
		else
			r->part = P_SIZE;
		break;
	case P_TRAILER:
		if (!line.n)
			r->part = P_OVER;
		break;
	case P_LENGTH:
	case P_REST:
	case P_CHUNK:
	case P_OVER:
		break;
	}
}

/* Octets up to a line end; a line that is not whole yet is kept. LF alone ends one, too (RFC 9112 2.2). How many were used. */
static size_t take_head(struct http_reply *r, struct str octets)
{
	const char *lf = memchr(octets.p, '\n', octets.n);
	size_t n = lf ? (size_t)(lf - octets.p) + 1 : octets.n;
	struct str line;

	r->head += n;
	r->line.max = HTTP_LINE;
	if (r->head > HTTP_HEAD || !buf_add(&r->line, octets.p, n)) {
		give_up(r, "the header of the answer is too long");
		return n;
	}
	if (!lf)
		return n;
	line = (struct str){ r->line.p, r->line.n - 1 };
	if (line.n && line.p[line.n - 1] == '\r')
		line.n--;
	if (memchr(line.p, '\r', line.n) || memchr(line.p, '\0', line.n))
		give_up(r, "the header of the answer holds what does not belong there");
	else
		take_line(r, line);
	buf_clear(&r->line);
	return n;
}

static size_t take_body(struct http_reply *r, struct str octets)
{
	size_t n = r->part == P_REST || octets.n < r->left ? octets.n : (size_t)r->left;

	r->body.max = HTTP_BODY;
	if (!buf_add(&r->body, octets.p, n)) {
		give_up(r, "the answer is longer than %d octets", HTTP_BODY);
		return n;
	}
	if (r->part == P_REST)
		return n;
	r->left -= n;
	if (!r->left)
		r->part = r->part == P_CHUNK ? P_CHUNK_END : P_OVER;
	return n;
}

void http_reply_take(struct http_reply *r, struct str octets)
{
	while (octets.n && r->part != P_OVER) {
		bool body = r->part == P_LENGTH || r->part == P_REST || r->part == P_CHUNK;

		octets = str_from(octets, body ? take_body(r, octets) : take_head(r, octets));
	}
}

void http_reply_end(struct http_reply *r, bool whole)
{
	if (r->part == P_REST && whole)
		r->part = P_OVER;
	else if (r->part != P_OVER)
		give_up(r, "the connection ended before the answer did");
}

bool http_reply_over(const struct http_reply *r) { return r->part == P_OVER; }

void http_reply_free(struct http_reply *r)
{
	buf_free(&r->line);
	buf_free(&r->body);
}

/* ---- asking */

struct http {
	const struct http_request *request;
	void (*done)(void *arg, const struct http_answer *);
	void *arg;
	size_t at;                      /* of the addresses: the one being tried */
	struct io dial;                 /* the socket until it is connected */
	struct stream stream;           /* from then on */
	bool asked;                     /* the request is on its way: no other address is tried */
	struct timer deadline, patience;
	struct task task;               /* tells the caller */
	struct http_reply reply;
	char wrong[400];                /* "": nothing */
};

static void hang_up(struct http *h)
{
	timer_stop(&h->patience);
	stream_close(&h->stream);
	io_close(&h->dial);
}

static void http_free(struct http *h)
{
	hang_up(h);
	timer_stop(&h->deadline);
	task_cancel(&h->task);
	http_reply_free(&h->reply);
	free(h);
}

static void tell(struct task *t)
{
	struct http *h = owner_of(t, struct http, task);
	struct http_answer a = { .wrong = h->wrong[0] ? h->wrong : NULL };

	if (!a.wrong)
		a.body = buf_view(&h->reply.body);
	h->done(h->arg, &a);
	http_free(h);
}

static void finish(struct http *h)
{
	hang_up(h);
	timer_stop(&h->deadline);
	task_post(&h->task);
}

static const struct sockaddr *address(const struct http *h) { return (const struct sockaddr *)&h->request->addr[h->at]; }

/* "mta-sts.example.org[192.0.2.1]:443: why" */
static void note(struct http *h, const char *why)
{
	const struct sockaddr_in *four = (const void *)address(h);
	const struct sockaddr_in6 *six = (const void *)address(h);
	bool is_six = six->sin6_family == AF_INET6;
	char text[INET6_ADDRSTRLEN] = "?";

	inet_ntop(six->sin6_family, is_six ? (const void *)&six->sin6_addr : &four->sin_addr, text, sizeof text);
	snprintf(h->wrong, sizeof h->wrong, "%.200s[%s]:%u: %s", h->request->host, text, ntohs(is_six ? six->sin6_port : four->sin_port), why);
}

static void dial(struct http *);

/* This address is of no use. */
static void fail(struct http *h, const char *why)
{
	note(h, why);
	hang_up(h);
	h->at++;
	if (h->asked)
		finish(h);
	else
		dial(h);
}

/* A port that is not HTTPS's own belongs to the name (RFC 9110 7.2). */
static void ask(struct http *h)
{
	const struct http_request *r = h->request;
	unsigned port = ntohs(((const struct sockaddr_in *)(const void *)address(h))->sin_port);
	char suffix[8] = "";

	if (port != 443)
		snprintf(suffix, sizeof suffix, ":%u", port);
	h->asked = true;
	timer_stop(&h->patience);
	stream_printf(&h->stream, "GET %s HTTP/1.1\r\nHost: %s%s\r\nUser-Agent: fardel\r\nAccept: text/plain\r\nAccept-Encoding: identity\r\n"
		"Connection: close\r\n\r\n", r->path, r->host, suffix);
}

static void on_event(struct stream *s)
{
	struct http *h = owner_of(s, struct http, stream);
	struct str came = stream_peek(s);

	if (s->secure && !h->asked)
		ask(h);
	http_reply_take(&h->reply, came);
	stream_take(s, came.n);
	if (!http_reply_over(&h->reply) && s->error) {
		fail(h, stream_error(s));
		return;
	}
	if (s->eof)
		http_reply_end(&h->reply, s->tls && tls_over(s->tls));
	if (!http_reply_over(&h->reply))
		return;
	if (h->reply.wrong[0])
		note(h, h->reply.wrong);
	else
		h->wrong[0] = '\0';             /* of an address that was tried before */
	finish(h);
}

static void connected(struct http *h)
{
	int fd = h->dial.fd;
	struct tls *t;

	io_forget(&h->dial);
	if (stream_open(&h->stream, fd, fd, on_event) == -1) {
		fail(h, strerror(errno));
		return;
	}
	h->dial.fd = -1;
	t = tls_connect(h->request->host, h->request->trust);
	if (t && stream_starttls(&h->stream, t) == 0)
		return;
	if (errno != ENOENT || tls_trust_read(h->request->trust, h->wrong, sizeof h->wrong))
		snprintf(h->wrong, sizeof h->wrong, "TLS: %s", strerror(errno));
	tls_free(t);
	finish(h);
}

static void dialled(struct io *io, short revents)
{
	struct http *h = owner_of(io, struct http, dial);
	int error = connect_error(io->fd);

	(void)revents;
	if (error)
		fail(h, strerror(error));
	else
		connected(h);
}

static socklen_t size_of(const struct sockaddr *a) { return a->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6); }

static bool begin(struct http *h)
{
	const struct sockaddr *a = address(h);
	const struct sockaddr_storage *from = h->request->source;

	h->dial.fd = socket(a->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (h->dial.fd == -1)
		return false;
	for (size_t i = 0; from && i < 2; i++)
		if (from[i].ss_family == a->sa_family && bind(h->dial.fd, (const struct sockaddr *)&from[i], size_of(a)) == -1)
			return false;
	if (connect(h->dial.fd, a, size_of(a)) == -1 && errno != EINPROGRESS && errno != EINTR)
		return false;
	return io_watch(&h->dial, POLLOUT) == 0;
}

/* The next address that can be called; none: it is over, and the words are the last one's. */
static void dial(struct http *h)
{
	for (; h->at < h->request->n; h->at++) {
		if (begin(h)) {
			if (h->at + 1 < h->request->n)
				timer_set(&h->patience, HTTP_ADDRESS_MS);
			return;
		}
		note(h, strerror(errno));
		hang_up(h);
	}
	if (!h->wrong[0])
		snprintf(h->wrong, sizeof h->wrong, "%.200s has no address", h->request->host);
	finish(h);
}

static void impatient(struct timer *t)
{
	fail(owner_of(t, struct http, patience), "neither connection nor TLS within 10 s");
}

static void too_late(struct timer *t)
{
	struct http *h = owner_of(t, struct http, deadline);
	char why[60];

	snprintf(why, sizeof why, "no answer within %u s", (unsigned)(h->request->within / 1000));
	note(h, why);
	finish(h);
}

struct http *http_get(const struct http_request *request, void (*done)(void *arg, const struct http_answer *), void *arg)
{
	struct http *h = calloc(1, sizeof *h);

	assert(request->trust);         /* without, any certificate would do */
	if (!h)
		return NULL;
	h->request = request;
	h->done = done;
	h->arg = arg;
	h->dial = (struct io){ .fd = -1, .ready = dialled };
	h->deadline.expired = too_late;
	h->patience.expired = impatient;
	h->task.run = tell;
	timer_set(&h->deadline, request->within);
	dial(h);
	return h;
}

void http_cancel(struct http *h)
{
	if (h)
		http_free(h);
}
