/* RELAYHOST and its fellows as a route. */
#include "cmd/relayhost.h"

#include <stdlib.h>
#include <string.h>

#include "deliver/route.h"
#include "lib/codec.h"

/* An empty variable is how a container's description leaves one out. */
static struct str variable_of(const char *name)
{
	return str_trim(str_of(getenv(name)));
}

static bool holds_control(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f)
			return true;
	return false;
}

/* "[relay.example]" is how Postfix' users say that MX records do not count. They never do for a route; an IPv6 address keeps its brackets. */
static void put_host(struct buf *out, struct str host)
{
	struct str inside = str_from(host, 1), rest = inside, name;

	if (host.n && host.p[0] == '[' && str_cut(&rest, ']', &name) && !memchr(name.p, ':', name.n)) {
		buf_str(out, name);
		buf_str(out, rest);
	} else {
		buf_str(out, host);
	}
}

/* Of the first host: how it is talked to goes with it. */
static bool says_port(struct str hosts, uint64_t *port)
{
	struct str rest = hosts, one, host;

	if (!str_cut(&rest, ',', &one))
		one = hosts;
	return str_cut_last(&one, ':', &host) && str_number(one, 65535, port);
}

/* RFC 8314 3.3: 465 is TLS from the first octet. 587 is for submission (RFC 6409), and so is what asks for a login: not without TLS. */
static const char *scheme_for(struct str hosts, bool login)
{
	uint64_t port = 0;

	says_port(hosts, &port);
	return port == 465 ? "smtps://" : port == 587 || login ? "smtp+starttls://" : "smtp://";
}

static const char *check_login(struct str host, struct str user, struct str password, struct str file, const char **variable)
{
	*variable = RELAYHOST_USERNAME;
	if (user.n && !host.n)
		return "is set, and RELAYHOST is not. Set RELAYHOST = HOST:PORT.";
	if (user.n && !password.n && !file.n)
		return "is set without a password. Set RELAYHOST_PASSWORD_FILE (or RELAYHOST_PASSWORD), too.";
	if (user.n >= sizeof (struct route_login){ 0 }.user || holds_control(user))
		return "is longer than 255 octets, or holds a control character.";
	*variable = file.n ? RELAYHOST_PASSWORD_FILE : RELAYHOST_PASSWORD;
	if ((password.n || file.n) && !user.n)
		return "is set without RELAYHOST_USERNAME. Say whose password it is.";
	if (password.n && file.n)
		return "is set beside RELAYHOST_PASSWORD. Unset one of them.";
	if (password.n >= sizeof (struct route_login){ 0 }.password || holds_control(password))
		return "is longer than 511 octets, or holds a control character.";
	if (file.n && (file.p[0] != '/' || strpbrk(file.p, " \t") || holds_control(file) || file.n >= sizeof (struct route_login){ 0 }.file))
		return "needs the whole path of a file, without blanks, of up to 255 octets.";
	return NULL;
}

const char *relayhost_rule(struct buf *rule, const char **variable)
{
	struct str hosts = variable_of(RELAYHOST), user = variable_of(RELAYHOST_USERNAME), password = variable_of(RELAYHOST_PASSWORD),
		file = variable_of(RELAYHOST_PASSWORD_FILE), rest = hosts, one;
	const char *wrong = check_login(hosts, user, password, file, variable), *scheme = scheme_for(hosts, user.n > 0);
	struct route_rule bare;
	struct buf all = { .max = 1200 };
	bool more = true;

	if (wrong || !hosts.n)
		return wrong;
	*variable = RELAYHOST;
	if (holds_control(hosts) || memchr(hosts.p, '@', hosts.n) || memchr(hosts.p, '/', hosts.n) || memchr(hosts.p, ' ', hosts.n))
		return "is to be HOST, HOST:PORT or [HOST]:PORT and nothing else. The login stands in RELAYHOST_USERNAME and RELAYHOST_PASSWORD_FILE.";
	while (more) {
		more = str_cut(&rest, ',', &one);
		put_host(&all, more ? one : rest);
		if (more)
			buf_char(&all, ',');
	}
	buf_printf(rule, "* %s%s", scheme, buf_cstr(&all));
	wrong = all.bad || rule->bad ? "is too long." : route_parse(buf_view(rule), &bare);
	buf_clear(rule);
	if (!wrong && user.n) {
		buf_printf(rule, "* %s", scheme);
		percent_encode(rule, user);
		if (password.n) {
			buf_char(rule, ':');
			percent_encode(rule, password);
		}
		buf_printf(rule, "@%s", buf_cstr(&all));
		if (file.n)
			buf_printf(rule, " password_file=" STR_FMT, STR_ARG(file));
	} else if (!wrong) {
		buf_printf(rule, "* %s%s", scheme, buf_cstr(&all));
	}
	buf_free(&all);
	return wrong;
}
