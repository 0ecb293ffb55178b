/* The far end's octets. It shares lib/tls with the code under test, and nothing else. */
#include "tests/wire.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static bool send_plain(struct wire *w)
{
	ssize_t n = w->out.n ? send(w->fd, w->out.p, w->octets ? 1 : w->out.n, MSG_NOSIGNAL) : 0;

	if (n > 0)
		buf_drop(&w->out, (size_t)n);
	else if (n == -1 && errno != EAGAIN)
		buf_clear(&w->out);             /* the other side has closed: reading will tell */
	return n > 0;
}

static bool receive_plain(struct wire *w)
{
	char *room = buf_reserve(&w->in, 65536);
	ssize_t n;

	if (!room)
		abort();
	if (w->eof)
		return false;
	n = read(w->fd, room, w->octets ? 1 : 65536);
	if (n > 0)
		w->in.n += (size_t)n;
	else if (n == 0 || errno != EAGAIN)
		w->eof = true;
	return n > 0;
}

static bool send_tls(struct wire *w)
{
	size_t n;
	const unsigned char *p = tls_wire(w->tls, &n);
	ssize_t sent = p ? send(w->fd, p, w->octets ? 1 : n, MSG_NOSIGNAL) : 0;

	if (sent > 0) {
		tls_sent(w->tls, (size_t)sent);
	} else if (sent == -1 && errno != EAGAIN) {
		w->eof = true;                  /* it leads nowhere any more */
		tls_sent(w->tls, n);
		buf_clear(&w->out);
	}
	if (sent || !w->out.n || !tls_ready(w->tls))
		return sent > 0;
	n = tls_put(w->tls, w->out.p, w->out.n);
	buf_drop(&w->out, n);
	if (!w->out.n)
		tls_push(w->tls);
	return n > 0;
}

static bool receive_tls(struct wire *w)
{
	size_t n;
	const unsigned char *text = tls_text(w->tls, &n);
	unsigned char *p;
	ssize_t r;

	if (text) {
		if (!buf_add(&w->in, text, n))
			abort();
		tls_taken(w->tls, n);
		return true;
	}
	p = w->eof ? NULL : tls_space(w->tls, &n);
	r = p ? read(w->fd, p, w->octets ? 1 : n) : 0;
	if (r > 0)
		tls_came(w->tls, (size_t)r);
	else if (p && (r == 0 || errno != EAGAIN))
		w->eof = true;
	if (tls_over(w->tls)) {
		w->eof = true;
		w->failed = tls_error(w->tls) != NULL;
	}
	return r > 0;
}

bool wire_turn(struct wire *w)
{
	bool sent = w->tls ? send_tls(w) : send_plain(w);
	bool came = w->tls ? receive_tls(w) : receive_plain(w);

	return sent || came;
}

bool wire_drained(const struct wire *w)
{
	size_t n;

	return !w->out.n && !(w->tls && tls_wire(w->tls, &n));
}

void wire_free(struct wire *w)
{
	tls_free(w->tls);
	w->tls = NULL;
	buf_free(&w->in);
	buf_free(&w->out);
}

struct tls_server *wire_server(void)
{
	static const struct tls_files files[] = {
		{ "tests/pki/ec.crt", "tests/pki/ec.key" }, { "tests/pki/rsa.crt", "tests/pki/rsa.key" },
		{ "tests/pki/sts.crt", "tests/pki/sts.key" },
	};
	static struct tls_server *server;

	if (!server)
		server = tls_server_new(files, sizeof files / sizeof *files);
	if (!server)
		abort();
	return server;
}
