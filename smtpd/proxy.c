/* Who stands in front of us says for whom: the PROXY protocol, versions 1 and 2 (haproxy's proxy-protocol.txt), and XCLIENT (Postfix's
 * XCLIENT_README). Both are believed from addresses that the administrator has named, and from nobody else. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth/users.h"
#include "lib/log.h"
#include "parse.h"
#include "smtpd/session.h"

enum {
	V1_MAX = 107,                   /* octets of a line with its end (proxy-protocol.txt 2.1) */
	V2_HEAD = 16,
	V2_MAX = V2_HEAD + 4096         /* addresses and what a proxy adds */
};

/* ---- PROXY */

static bool take_port(struct str word, in_port_t *port)
{
	uint64_t n;

	if (!str_number(word, 65535, &n))
		return false;
	*port = htons((uint16_t)n);
	return true;
}

static bool take_address(int family, struct str text, struct str port, struct sockaddr_storage *out)
{
	struct sockaddr_in *four = (struct sockaddr_in *)out;
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)out;
	char name[INET6_ADDRSTRLEN];

	*out = (struct sockaddr_storage){ .ss_family = (sa_family_t)family };
	return str_copy(name, sizeof name, text) && inet_pton(family, name, family == AF_INET ? (void *)&four->sin_addr : (void *)&six->sin6_addr) == 1 &&
		take_port(port, family == AF_INET ? &four->sin_port : &six->sin6_port);
}

/* "PROXY TCP4 192.0.2.1 192.0.2.2 1024 25" CR LF, or "PROXY UNKNOWN ..." */
static enum proxy parse_v1(struct str in, size_t *used, struct sockaddr_storage *peer)
{
	const char *end = memmem(in.p, in.n < V1_MAX ? in.n : V1_MAX, "\r\n", 2);
	struct str line, word[5];
	int family;

	if (!end)
		return in.n < V1_MAX ? PROXY_MORE : PROXY_WRONG;
	*used = (size_t)(end - in.p) + 2;
	line = (struct str){ in.p + 6, (size_t)(end - in.p) - 6 };
	if (str_eq(line, STR("UNKNOWN")) || (line.n > 8 && !memcmp(line.p, "UNKNOWN ", 8)))
		return PROXY_ITSELF;
	for (size_t i = 0; i < 4; i++)
		if (!str_cut(&line, ' ', &word[i]))
			return PROXY_WRONG;
	word[4] = line;
	family = str_eq(word[0], STR("TCP4")) ? AF_INET : str_eq(word[0], STR("TCP6")) ? AF_INET6 : 0;
	if (!family || !take_address(family, word[2], word[4], peer) || !take_address(family, word[1], word[3], peer))
		return PROXY_WRONG;
	return PROXY_FOUND;
}

static const unsigned char v2_mark[12] = { 0x0d, 0x0a, 0x0d, 0x0a, 0, 0x0d, 0x0a, 'Q', 'U', 'I', 'T', 0x0a };

static enum proxy parse_v2(struct str in, size_t *used, struct sockaddr_storage *peer)
{
	const unsigned char *p = (const unsigned char *)in.p;
	struct sockaddr_in *four = (struct sockaddr_in *)peer;
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)peer;
	size_t n;

	if (in.n < V2_HEAD)
		return PROXY_MORE;
	n = (size_t)p[14] << 8 | p[15];
	if (p[12] >> 4 != 2 || (p[12] & 15) > 1 || V2_HEAD + n > V2_MAX)
		return PROXY_WRONG;
	*used = V2_HEAD + n;
	if (in.n < *used)
		return PROXY_MORE;
	*peer = (struct sockaddr_storage){ 0 };
	if ((p[12] & 15) == 0)          /* LOCAL: the proxy looks whether we are well */
		return PROXY_ITSELF;
	switch (p[13]) {
	case 0x11:                      /* TCP over IPv4: two addresses, two ports */
		if (n < 12)
			return PROXY_WRONG;
		four->sin_family = AF_INET;
		memcpy(&four->sin_addr, p + 16, 4);
		memcpy(&four->sin_port, p + 24, 2);
		return PROXY_FOUND;
	case 0x21:
		if (n < 36)
			return PROXY_WRONG;
		six->sin6_family = AF_INET6;
		memcpy(&six->sin6_addr, p + 16, 16);
		memcpy(&six->sin6_port, p + 48, 2);
		return PROXY_FOUND;
	default:                        /* a protocol that is none of ours: the proxy's own address stays */
		return PROXY_ITSELF;
	}
}

/* The beginning of `mark`, or all of it? */
static bool begins(struct str in, const void *mark, size_t n)
{
	return !memcmp(in.p, mark, in.n < n ? in.n : n);
}

enum proxy proxy_parse(struct str in, size_t *used, struct sockaddr_storage *peer)
{
	*used = 0;
	if (!in.n)
		return PROXY_MORE;
	if (begins(in, v2_mark, sizeof v2_mark))
		return in.n < sizeof v2_mark ? PROXY_MORE : parse_v2(in, used, peer);
	if (begins(in, "PROXY ", 6))
		return in.n < 6 ? PROXY_MORE : parse_v1(in, used, peer);
	return PROXY_WRONG;
}

bool proxy_read(struct session *s)
{
	struct sockaddr_storage peer;
	size_t used;

	switch (proxy_parse(stream_peek(&s->stream), &used, &peer)) {
	case PROXY_MORE:
		return false;
	case PROXY_WRONG:
		log_event(LOG_WARN, "proxy", LF(L_TEXT("client", s->who.peer_text), L_TEXT("reason",
			"it is in proxy_from and does not begin with a PROXY header. Set send-proxy there, or take it out of proxy_from")));
		session_die(s);
		return false;
	case PROXY_FOUND:
		stream_take(&s->stream, used);
		smtpd_peer_is(s, &peer);
		break;
	case PROXY_ITSELF:
		stream_take(&s->stream, used);
		break;
	}
	if (s->phase == P_PROXY)        /* it was not turned away */
		session_begin(s);
	return true;
}

/* ---- XCLIENT */

/* What a command line says; texts are decoded. */
struct xclient {
	struct sockaddr_storage addr;
	bool has_addr;
	char helo[DOMAIN_MAX + 1], login[USER_NAME_MAX + 1];
	unsigned said;                  /* a bit for each attribute: once is enough */
	bool has_helo, has_login, has_proto, esmtp;
};

static bool unavailable(struct str value)
{
	return str_eq_nocase(value, STR("[UNAVAILABLE]")) || str_eq_nocase(value, STR("[TEMPUNAVAIL]"));
}

static bool take_addr(struct xclient *x, struct str value)
{
	if (str_starts_nocase(value, STR("IPV6:")))
		x->has_addr = take_address(AF_INET6, str_from(value, 5), STR("0"), &x->addr);
	else
		x->has_addr = take_address(AF_INET, value, STR("0"), &x->addr);
	return x->has_addr;
}

static bool take_helo_name(struct xclient *x, struct str value)
{
	x->has_helo = helo_ok(value) && str_copy(x->helo, sizeof x->helo, value);
	return x->has_helo;
}

static bool take_login(struct xclient *x, struct str value)
{
	for (size_t i = 0; i < value.n; i++)
		if (!ascii_print(value.p[i]) || value.p[i] == ' ')
			return false;
	x->has_login = str_copy(x->login, sizeof x->login, value);
	return x->has_login;
}

static bool take_proto(struct xclient *x, struct str value)
{
	x->esmtp = str_eq_nocase(value, STR("ESMTP"));
	x->has_proto = x->esmtp || str_eq_nocase(value, STR("SMTP"));
	return x->has_proto;
}

static bool take_nothing(struct xclient *x, struct str value)
{
	(void)x;
	(void)value;
	return true;
}

static bool take_attribute(struct xclient *x, struct str word)
{
	static const struct {
		const char *name;
		bool (*take)(struct xclient *, struct str);
	} rows[] = {
		{ "ADDR", take_addr }, { "HELO", take_helo_name }, { "LOGIN", take_login }, { "PROTO", take_proto },
		{ "NAME", take_nothing }, { "PORT", take_nothing }, { "DESTADDR", take_nothing }, { "DESTPORT", take_nothing },
	};
	struct buf value = { .max = 1024 };
	struct str name;
	bool ok = false;

	if (!str_cut(&word, '=', &name) || !word.n)
		return false;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		if (!str_eq_nocase(name, str_of(rows[i].name)) || x->said & 1u << i)
			continue;
		x->said |= 1u << i;
		ok = unavailable(word) || (xtext_decode(&value, word) && rows[i].take(x, buf_view(&value)));
	}
	buf_free(&value);
	return ok;
}

bool xclient_offered(const struct session *s, struct buf *out)
{
	if (!s->xclient && (!s->config->xclient || !s->config->xclient(s->config->arg, &s->who)))
		return false;
	return !out || buf_puts(out, " NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT");
}

void verb_xclient(struct session *s, struct str arg)
{
	struct xclient x = { 0 };
	struct str word;

	if (!xclient_offered(s, NULL)) {
		session_error(s, 550, "5.7.0", "You are not authorized to say for whom you speak");
		return;
	}
	while (str_word(&arg, &word))
		if (!take_attribute(&x, word)) {
			session_error(s, 501, "5.5.4", "An attribute of XCLIENT is not understood");
			return;
		}
	s->xclient = true;
	/* From here on it is another session: as if that client had just come. */
	txn_reset(s);
	s->seen = 0;
	session_forget_helo(s);
	login_free(s);
	session_forgive(s);
	s->owed = 0;
	s->mails = 0;
	s->mail_refused = false;
	if (x.has_addr)
		smtpd_peer_is(s, &x.addr);
	if (s->phase != P_COMMAND)
		return;
	if (x.has_login && x.login[0] && !login_by_proxy(s, str_of(x.login))) {
		session_say(s, 451, "4.3.0", "Out of memory, try again later");
		return;
	}
	if (x.has_proto)
		s->who.esmtp = x.esmtp;
	if (x.has_helo && (s->helo = strdup(x.helo)))
		s->who.helo = s->helo;
	log_event(LOG_INFO, "xclient", LF(L_TEXT("client", s->who.peer_text), L_TEXT("helo", s->who.helo), L_TEXT("user", s->who.user)));
	session_greet(s);
}
