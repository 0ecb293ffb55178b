/* SOCKS5. */
#include "lib/socks.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/codec.h"

enum { VERSION = 5, NO_LOGIN = 0, BY_PASSWORD = 2, NONE = 255, CONNECT = 1, IPV4 = 1, NAME = 3, IPV6 = 4 };

/* ---- where it is */

/* "127.0.0.1:1080", "[::1]" */
static bool parse_address(struct str text, struct socks_proxy *p)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)&p->addr;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&p->addr;
	struct str host, digits = text;
	char name[INET6_ADDRSTRLEN];
	uint64_t port = 1080;

	if (!str_cut_last(&digits, ':', &host) || memchr(digits.p, ']', digits.n))
		host = text;
	else if (!str_number(digits, 65535, &port) || !port)
		return false;
	if (host.n > 2 && host.p[0] == '[' && host.p[host.n - 1] == ']') {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons((uint16_t)port);
		p->len = sizeof *v6;
		snprintf(p->name, sizeof p->name, STR_FMT ":%u", STR_ARG(host), (unsigned)port);
		return str_copy(name, sizeof name, (struct str){ host.p + 1, host.n - 2 }) && inet_pton(AF_INET6, name, &v6->sin6_addr) == 1;
	}
	v4->sin_family = AF_INET;
	v4->sin_port = htons((uint16_t)port);
	p->len = sizeof *v4;
	snprintf(p->name, sizeof p->name, STR_FMT ":%u", STR_ARG(host), (unsigned)port);
	return str_copy(name, sizeof name, host) && inet_pton(AF_INET, name, &v4->sin_addr) == 1;
}

const char *socks_parse(struct str text, struct socks_proxy *out)
{
	struct str login, user;

	memset(out, 0, sizeof *out);
	if (!str_starts_nocase(text, STR("socks5://")))
		return "a proxy is socks5://ADDRESS:PORT or socks5://USER:PASSWORD@ADDRESS:PORT";
	text = str_from(text, 9);
	if (str_cut_last(&text, '@', &login) && (!str_cut(&login, ':', &user) || !percent_decode(user, out->user, sizeof out->user) ||
	    !percent_decode(login, out->password, sizeof out->password)))
		return "user and password of the proxy have 1 to 255 octets each and a colon between them (write %25 for a %)";
	if (!parse_address(text, out))
		return "a proxy is named by its address (IPv6 in brackets), with a port from 1 to 65535 or none";
	return NULL;
}

/* ---- what is said */

__attribute__((format(printf, 3, 4)))
static void stop(struct socks *s, enum socks_state state, const char *fmt, ...)
{
	va_list ap;

	s->state = state;
	va_start(ap, fmt);
	vsnprintf(s->why, sizeof s->why, fmt, ap);
	va_end(ap);
}

static void say_connect(struct socks *s, struct buf *out)
{
	const struct sockaddr_in *v4 = (const void *)&s->to;
	const struct sockaddr_in6 *v6 = (const void *)&s->to;
	bool six = s->to.ss_family == AF_INET6;

	s->state = SOCKS_ANSWER;
	buf_add(out, six ? "\5\1\0\4" : "\5\1\0\1", 4);
	if (six)
		buf_add(out, &v6->sin6_addr, 16);
	else
		buf_add(out, &v4->sin_addr, 4);
	buf_add(out, six ? &v6->sin6_port : &v4->sin_port, 2);
}

static void say_login(struct socks *s, struct buf *out)
{
	s->state = SOCKS_LOGIN;
	buf_char(out, 1);
	buf_char(out, (char)strlen(s->proxy->user));
	buf_puts(out, s->proxy->user);
	buf_char(out, (char)strlen(s->proxy->password));
	buf_puts(out, s->proxy->password);
}

void socks_begin(struct socks *s, const struct socks_proxy *p, const struct sockaddr *to, struct buf *out)
{
	*s = (struct socks){ .state = SOCKS_METHOD, .proxy = p };
	memcpy(&s->to, to, to->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
	/* Who has a password for it may be let in without. */
	buf_add(out, p->user[0] ? "\5\2\0\2" : "\5\1\0", p->user[0] ? 4 : 3);
}

/* ---- what is answered */

static size_t take_method(struct socks *s, struct str in, struct buf *out)
{
	unsigned method;

	if (in.n && in.p[0] != VERSION) {
		stop(s, SOCKS_BROKEN, "it does not speak SOCKS5");
		return 0;
	}
	if (in.n < 2)
		return 0;
	method = (unsigned char)in.p[1];
	if (method == NO_LOGIN)
		say_connect(s, out);
	else if (method == BY_PASSWORD && s->proxy->user[0])
		say_login(s, out);
	else if (method == NONE)
		stop(s, SOCKS_BROKEN, s->proxy->user[0] ? "it takes no name and password" : "it wants a login, and none is configured");
	else
		stop(s, SOCKS_BROKEN, "it chooses a login (%u) that was not offered", method);
	return 2;
}

static size_t take_login(struct socks *s, struct str in, struct buf *out)
{
	if (in.n < 2)
		return 0;
	if (in.p[1])
		stop(s, SOCKS_BROKEN, "it refuses the login of %.60s", s->proxy->user);
	else
		say_connect(s, out);
	return 2;
}

/* RFC 1928 6. Who may not go where mail goes, or asks what the proxy cannot do, has one that is not for him. */
static const struct {
	enum socks_state state;
	const char *words;
} answers[] = {
	{ SOCKS_OPEN, "" },
	{ SOCKS_REFUSED, "general failure" },
	{ SOCKS_BROKEN, "it does not allow the connection" },
	{ SOCKS_REFUSED, "network unreachable" },
	{ SOCKS_REFUSED, "host unreachable" },
	{ SOCKS_REFUSED, "connection refused" },
	{ SOCKS_REFUSED, "the way is too long (TTL expired)" },
	{ SOCKS_BROKEN, "it does not know CONNECT" },
	{ SOCKS_REFUSED, "it cannot call addresses of this family" },
};

static size_t take_answer(struct socks *s, struct str in)
{
	unsigned code, type;
	size_t n;

	if (in.n && in.p[0] != VERSION) {
		stop(s, SOCKS_BROKEN, "it does not speak SOCKS5");
		return 0;
	}
	if (in.n < 2)
		return 0;
	code = (unsigned char)in.p[1];
	if (code >= sizeof answers / sizeof *answers)
		stop(s, SOCKS_REFUSED, "failure number %u", code);
	else if (code)
		stop(s, answers[code].state, "%s", answers[code].words);
	if (code || in.n < 5)           /* of a refusal the rest says nothing, and some leave it out */
		return 0;
	type = (unsigned char)in.p[3];
	n = 4 + 2 + (type == IPV4 ? 4 : type == IPV6 ? 16 : type == NAME ? 1u + (unsigned char)in.p[4] : 0);
	if (n == 6) {
		stop(s, SOCKS_BROKEN, "its answer makes no sense");
		return 0;
	}
	if (in.n < n)
		return 0;
	s->state = SOCKS_OPEN;
	return n;
}

size_t socks_take(struct socks *s, struct str in, struct buf *out)
{
	switch (s->state) {
	case SOCKS_METHOD: return take_method(s, in, out);
	case SOCKS_LOGIN: return take_login(s, in, out);
	case SOCKS_ANSWER: return take_answer(s, in);
	case SOCKS_OPEN: case SOCKS_REFUSED: case SOCKS_BROKEN: break;
	}
	return 0;
}
