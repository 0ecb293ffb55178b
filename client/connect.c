/* The client's way to its peer: the connection, a proxy (SOCKS5) before it, the TLS handshake. */
#include "client/inside.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>

#include "lib/list.h"

/* ---- TLS */

static void no_tls(struct client *c, int error)
{
	char why[300] = "";

	if (error == ENOENT)
		tls_trust_read(c->config->trust, why, sizeof why);
	client_fail(c, "4.7.5", "TLS handshake: %s", *why ? why : error == EINVAL ?
		"the certificate cannot be checked, as the host is known by its address only" : strerror(error));
}

void client_begin_tls(struct client *c)
{
	const char *host = c->host[0] ? c->host : NULL, *name = c->config->alias_for ? c->config->alias_for : host;
	struct tls *t;

	c->demands = (struct tls_demands){ .pins = c->config->pins, .also = { host, c->config->domain }, .own = c->config->fingerprints,
		.trust = c->config->verify_too ? c->config->trust : NULL };
	t = c->config->tls == CLIENT_TLS_PINNED ? tls_connect_pinned(name, &c->demands) :
		tls_connect(name, c->config->tls == CLIENT_TLS_VERIFY ? c->config->trust : NULL);

	c->securing = true;
	if (!t || stream_starttls(&c->stream, t) == -1) {
		no_tls(c, errno);
		tls_free(t);
		return;
	}
	c->phase = C_TLS;
	client_arm(c);
}

/* ---- a proxy */

/* Connected: the peer greets, or TLS comes first. */
static void begin_talk(struct client *c)
{
	if (c->config->tls_first) {
		client_begin_tls(c);
		return;
	}
	c->phase = C_HELLO;
	client_expect(c, X_GREETING);
}

void client_proxy_fails(struct client *c, const char *why)
{
	c->proxy_failed = true;
	client_fail(c, "4.4.1", "connect to %s through the proxy %s: %s", c->peer, c->config->proxy->name, why);
}

void client_ask_proxy(struct client *c)
{
	struct buf say = { .max = 1024 };
	size_t used;

	while ((used = socks_take(&c->socks, stream_peek(&c->stream), &say)))
		stream_take(&c->stream, used);
	client_put(c, say.p, say.n);
	if (say.p)
		explicit_bzero(say.p, say.room);
	buf_free(&say);
	if (!client_alive(c))
		return;
	switch (c->socks.state) {
	case SOCKS_METHOD: case SOCKS_LOGIN: case SOCKS_ANSWER:
		break;
	case SOCKS_OPEN:
		begin_talk(c);
		break;
	case SOCKS_REFUSED:
		client_fail(c, "4.4.1", "connect to %s through the proxy %s: %s", c->peer, c->config->proxy->name, c->socks.why);
		break;
	case SOCKS_BROKEN:
		client_proxy_fails(c, c->socks.why);
		break;
	}
}

static void begin_proxy(struct client *c)
{
	struct sockaddr_storage to = c->socks.to;
	struct buf say = { .max = 1024 };

	c->phase = C_PROXY;
	socks_begin(&c->socks, c->config->proxy, (const struct sockaddr *)&to, &say);
	client_put(c, say.p, say.n);
	buf_free(&say);
	if (client_alive(c))
		client_arm(c);
}

/* ---- connecting */

static void cannot_connect(struct client *c, int error)
{
	char why[200];

	snprintf(why, sizeof why, "it cannot be reached: %s", strerror(error));
	if (c->config->proxy)
		client_proxy_fails(c, why);
	else
		client_fail(c, "4.4.1", "connect to %s: %s", c->peer, strerror(error));
}

static void connected(struct client *c)
{
	int fd = c->dial.fd, on = 1;

	io_forget(&c->dial);
	/* Whole commands and blocks are written at once: waiting for more to send only costs time. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	if (stream_open(&c->stream, fd, fd, client_on_event) == -1) {
		client_fail(c, "4.3.0", "connect to %s: %s", c->peer, strerror(errno));
		return;
	}
	c->dial.fd = -1;
	if (c->config->proxy)
		begin_proxy(c);
	else
		begin_talk(c);
}

static void dialled(struct io *io, short revents)
{
	struct client *c = owner_of(io, struct client, dial);
	int error = connect_error(io->fd);

	(void)revents;
	if (error)
		cannot_connect(c, error);
	else
		connected(c);
}

/* RFC 6066 3: a name in DNS, no address. */
static void name_host(struct client *c, const char *host)
{
	unsigned char address[16];

	if (!parse_domain(str_of(host), false, false) && inet_pton(AF_INET, host, address) != 1 && inet_pton(AF_INET6, host, address) != 1)
		str_copy(c->host, sizeof c->host, str_of(host));
}

static void name_peer(struct client *c, const struct sockaddr *addr, const char *host)
{
	char text[INET6_ADDRSTRLEN] = "?";
	unsigned port = 0;

	if (addr->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const void *)addr;
		inet_ntop(AF_INET, &in->sin_addr, text, sizeof text);
		port = ntohs(in->sin_port);
	} else if (addr->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const void *)addr;
		inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof text);
		port = ntohs(in6->sin6_port);
	} else {
		snprintf(c->peer, sizeof c->peer, "%s", host);
		return;
	}
	snprintf(c->peer, sizeof c->peer, "%.255s[%s]:%u", host, text, port);
}

/* False: errno. An address that this host has not (any more) is the administrator's mistake: nothing goes from another one. */
static bool bind_source(struct client *c, sa_family_t family)
{
	const struct sockaddr_storage *from = c->config->source;

	for (size_t i = 0; from && i < 2; i++)
		if (from[i].ss_family == family)
			return bind(c->dial.fd, (const struct sockaddr *)&from[i],
				family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6)) == 0;
	return true;
}

int client_dial(struct client *c, const struct sockaddr *addr, socklen_t len, const char *host_name)
{
	const struct socks_proxy *proxy = c->config->proxy;

	c->dial.ready = dialled;
	name_peer(c, addr, host_name);
	name_host(c, host_name);
	memcpy(&c->socks.to, addr, len);
	if (proxy) {
		addr = (const struct sockaddr *)&proxy->addr;
		len = proxy->len;
	}
	c->dial.fd = socket(addr->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->dial.fd == -1)
		return -1;
	if (!proxy && !bind_source(c, addr->sa_family))
		return -1;
	if (io_watch(&c->dial, POLLOUT) == -1) {
		errno = ENOMEM;
		return -1;
	}
	client_arm(c);
	if (connect(c->dial.fd, addr, len) == -1 && errno != EINPROGRESS && errno != EINTR)
		cannot_connect(c, errno);
	return 0;
}
