/* Which way to a domain, for a sender. */
#include "deliver/route.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/codec.h"

static const struct scheme {
	const char *prefix;
	enum route_kind kind;
	unsigned port;
	enum route_tls tls;
	bool tls_first;
} schemes[] = {
	{ "smtp://", ROUTE_SMTP, 25, ROUTE_TLS_ANY, false },
	{ "smtp+starttls://", ROUTE_SMTP, 587, ROUTE_TLS_VERIFY, false },
	{ "smtps://", ROUTE_SMTP, 465, ROUTE_TLS_VERIFY, true },
	{ "lmtp://", ROUTE_LMTP, 24, ROUTE_TLS_ANY, false },
};

static void lower(char *s)
{
	for (; *s; s++)
		*s = ascii_lower(*s);
}

/* Labels of letters, digits, '-' and '_' (container networks have such names), 63 octets each. */
static bool name_ok(struct str name)
{
	size_t label = 0;

	if (!name.n || name.n > DOMAIN_MAX)
		return false;
	for (size_t i = 0; i < name.n; i++) {
		char c = name.p[i];
		if (c == '.' && !label)
			return false;
		label = c == '.' ? 0 : label + 1;
		if (label > 63 || (label && !ascii_alpha(c) && !ascii_digit(c) && c != '-' && c != '_'))
			return false;
	}
	return label > 0;
}

/* "1.2.3" and "192.0.2.300" are addresses gone wrong, not names: no top level domain is a number. */
static bool last_label_is_number(struct str name)
{
	struct str before;

	while (str_cut(&name, '.', &before))
		;
	for (size_t i = 0; i < name.n; i++)
		if (!ascii_digit(name.p[i]))
			return false;
	return true;
}

static bool is_address(const char *host, int family)
{
	unsigned char address[16];

	return inet_pton(family, host, address) == 1;
}

/* "host", "192.0.2.1", "[2001:db8::1]" */
static const char *parse_host(struct str text, struct route_host *r)
{
	bool brackets = text.n > 1 && text.p[0] == '[' && text.p[text.n - 1] == ']';

	if (brackets)
		text = (struct str){ text.p + 1, text.n - 2 };
	if (!str_copy(r->name, sizeof r->name, text))
		return "the host's name is too long";
	lower(r->name);
	r->is_address = is_address(r->name, brackets ? AF_INET6 : AF_INET);
	if (brackets && !r->is_address)
		return "between the brackets there is no IPv6 address";
	if (!r->is_address && memchr(text.p, ':', text.n))
		return "an IPv6 address needs brackets";
	if (!r->is_address && (!name_ok(text) || last_label_is_number(text)))
		return "the host is neither a name nor an address";
	return NULL;
}

/* "host:port", "[2001:db8::1]", ... */
static const char *parse_host_port(struct str text, unsigned port, struct route_host *r)
{
	struct str host, digits = text;
	uint64_t number = port;

	/* The last colon begins the port, unless it is inside the brackets. */
	if (!str_cut_last(&digits, ':', &host) || memchr(digits.p, ']', digits.n))
		host = text;
	else if (!str_number(digits, 65535, &number) || !number)
		return "the port is no number from 1 to 65535";
	r->port = (unsigned)number;
	return parse_host(host, r);
}

/* "host:port,host" */
static const char *parse_hosts(struct str text, unsigned port, struct route *r)
{
	bool more = true;

	while (more) {
		struct str one = text;
		const char *wrong;

		more = str_cut(&text, ',', &one);
		if (r->nhosts == ROUTE_HOSTS)
			return "a route has four hosts at most";
		wrong = parse_host_port(one, port, &r->host[r->nhosts++]);
		if (wrong)
			return wrong;
	}
	return NULL;
}

/* "user:password@" or "user@" before the host. */
static const char *take_login(struct str *text, struct route_login *login)
{
	struct str before, user;

	if (!str_cut_last(text, '@', &before))
		return NULL;
	if (!str_cut(&before, ':', &user))
		return percent_decode(before, login->user, sizeof login->user) ? NULL : "the user's name is empty, too long or has a wrong %";
	if (!percent_decode(user, login->user, sizeof login->user))
		return "the user's name is empty, too long or has a wrong %";
	return percent_decode(before, login->password, sizeof login->password) ? NULL : "the password is empty, too long or has a wrong % (write %25 for one)";
}

/* lmtp:///run/dovecot/lmtp */
static const char *parse_path(struct str path, struct route *r)
{
	if (!str_copy(r->path, sizeof r->path, path))
		return "the socket's path is too long: 107 octets are the most";
	r->kind = ROUTE_LMTP;
	r->shared = true;
	snprintf(r->key, sizeof r->key, "lmtp://%s", r->path);
	return NULL;
}

static const char *parse_url(struct str text, const struct scheme *scheme, struct route *r, struct route_login *login)
{
	const char *wrong;

	if (scheme->kind == ROUTE_LMTP && text.n > 1 && text.p[0] == '/')
		return parse_path(text, r);
	if ((wrong = take_login(&text, login)))
		return wrong;
	if (text.n && text.p[text.n - 1] == '/')
		return "nothing may follow the port, not even a slash";
	r->kind = scheme->kind;
	r->tls = scheme->tls;
	r->tls_first = scheme->tls_first;
	r->shared = true;
	return parse_hosts(text, scheme->port, r);
}

/* "anna@example.org", "example.org", ".example.org", "<>" */
static const char *take_from(struct str text, struct route_rule *rule)
{
	struct str domain = text, local;

	if (rule->from[0])
		return "from= stands there twice: write a rule for each sender";
	if (!str_eq(text, STR("<>"))) {
		if (str_cut_last(&domain, '@', &local) ? !local.n || !name_ok(domain) : !name_ok(str_from(text, text.n && text.p[0] == '.')))
			return "from= needs a sender: anna@example.org, example.org, .example.org (all below it) or <>";
	}
	if (!str_copy(rule->from, sizeof rule->from, text))
		return "the sender is too long";
	lower(rule->from);
	return NULL;
}

static const char *take_option(struct str word, struct route_rule *rule)
{
	struct route *r = &rule->to;
	struct route_login *login = &rule->login;

	if (str_starts_nocase(word, STR("from=")))
		return take_from(str_from(word, 5), rule);
	if (str_starts_nocase(word, STR("proxy=")))
		return r->path[0] || rule->proxy.len ? "there is one proxy, and none to a socket of this machine" :
			socks_parse(str_from(word, 6), &rule->proxy);
	if (str_eq_nocase(word, STR("tls=encrypt")) || str_eq_nocase(word, STR("tls=verify"))) {
		r->tls = str_eq_nocase(word, STR("tls=encrypt")) ? ROUTE_TLS_ENCRYPT : ROUTE_TLS_VERIFY;
		return r->kind == ROUTE_SMTP ? NULL : "tls= is for smtp routes";
	}
	if (str_starts_nocase(word, STR("user=")))
		return !login->user[0] && str_copy(login->user, sizeof login->user, str_from(word, 5)) && login->user[0] ? NULL :
			"the user is named twice, not at all, or too long";
	if (str_starts_nocase(word, STR("password_file=")))
		return str_copy(login->file, sizeof login->file, str_from(word, 14)) && login->file[0] == '/' ? NULL :
			"password_file= needs the whole path of a file";
	return "behind a route there may be from=SENDER, proxy=socks5://ADDRESS:PORT, user=NAME, password_file=PATH, token_command=PATH and tls=verify or tls=encrypt";
}

/* "/usr/bin/token anna": words that no shell sees. */
static const char *take_command(struct str text, struct route_login *login)
{
	return str_copy(login->command, sizeof login->command, str_trim(text)) && login->command[0] == '/' ? NULL :
		"token_command= needs the whole path of a program, and what stands behind it on the line is its arguments, 511 octets together";
}

static bool any_address(const struct route *r)
{
	for (size_t i = 0; i < r->nhosts; i++)
		if (r->host[i].is_address)
			return true;
	return false;
}

/* What belongs together, does not, or cannot work. */
static const char *check_way(const struct route *r, const struct route_login *login)
{
	if (r->kind == ROUTE_MX)
		return login->user[0] || login->file[0] || login->command[0] ? "a login needs a host: smtp+starttls:// or smtps://" : NULL;
	if (login->user[0] && (r->kind != ROUTE_SMTP || r->tls == ROUTE_TLS_ANY))
		return "a login needs TLS: smtp+starttls:// or smtps://";
	if (login->user[0] && !login->password[0] && !login->file[0] && !login->command[0])
		return "the user has no password: write password_file=PATH or token_command=PATH behind the route";
	if (!login->user[0] && (login->file[0] || login->command[0]))
		return "the password is nobody's: write user=NAME too";
	if ((login->password[0] != '\0') + (login->file[0] != '\0') + (login->command[0] != '\0') > 1)
		return "there are two passwords: one in the route, one in a file or by a command";
	if (r->tls == ROUTE_TLS_VERIFY && any_address(r))
		return "the host's certificate can only be checked by its name: write the name, or tls=encrypt behind the route";
	return NULL;
}

/* Who logs in as somebody else, or asks for less of TLS, needs connections of his own. False: it does not fit. */
static bool make_key(const struct scheme *scheme, struct route *r, const struct route_login *login, const struct socks_proxy *proxy)
{
	struct buf key = { .max = sizeof r->key - 1 };
	bool fits;

	buf_puts(&key, scheme->prefix);
	if (login->user[0])
		buf_printf(&key, "%s@", login->user);
	for (size_t i = 0; i < r->nhosts; i++)
		buf_printf(&key, strchr(r->host[i].name, ':') ? "%s[%s]:%u" : "%s%s:%u", i ? "," : "", r->host[i].name, r->host[i].port);
	if (r->tls != scheme->tls)
		buf_puts(&key, r->tls == ROUTE_TLS_VERIFY ? " verify" : " encrypt");
	if (proxy->len)
		buf_printf(&key, " by %s", proxy->name);
	fits = !key.bad && str_copy(r->key, sizeof r->key, buf_view(&key));
	buf_free(&key);
	return fits;
}

static const char *parse_way(struct str text, struct str options, struct route_rule *rule)
{
	struct route *r = &rule->to;
	struct route_login *login = &rule->login;
	const struct scheme *scheme = NULL;
	const char *wrong = NULL;
	struct str word;

	for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
		if (str_starts_nocase(text, str_of(schemes[i].prefix)))
			scheme = &schemes[i];
	if (scheme)
		wrong = parse_url(str_from(text, strlen(scheme->prefix)), scheme, r, login);
	else if (!str_eq_nocase(text, STR("mx")))
		wrong = "a route is smtp://host:port, smtp+starttls://, smtps://, lmtp://host:port, lmtp:///path or mx";
	while (!wrong && str_word(&options, &word)) {
		if (!str_starts_nocase(word, STR("token_command="))) {
			wrong = take_option(word, rule);
			continue;
		}
		wrong = take_command((struct str){ word.p + 14, (size_t)(options.p + options.n - word.p) - 14 }, login);
		break;
	}
	if (!wrong)
		wrong = check_way(r, login);
	if (!scheme && rule->proxy.len)
		snprintf(r->key, sizeof r->key, " by %.30s", rule->proxy.name);
	if (!wrong && scheme && !r->path[0] && !make_key(scheme, r, login, &rule->proxy))
		wrong = "the names of user and hosts are too long together";
	return wrong;
}

const char *route_parse(struct str text, struct route_rule *out)
{
	struct str domain, way;

	memset(out, 0, sizeof *out);
	if (!str_word(&text, &domain) || !str_word(&text, &way))
		return "a rule is a domain and a route";
	if (!str_eq(domain, STR("*")) && !name_ok(str_from(domain, domain.p[0] == '.')))
		return "the domain is no domain name, .suffix or *";
	if (!str_copy(out->domain, sizeof out->domain, domain))
		return "the domain is too long";
	lower(out->domain);
	return parse_way(way, text, out);
}

bool route_is_local(const struct routes *r, struct str domain)
{
	if (!domain.n)
		return true;
	for (size_t i = 0; i < r->nlocal; i++)
		if (str_eq_nocase(r->local[i], domain))
			return true;
	return r->also_local && r->also_local(r->also_arg, domain);
}

/* How closely a rule names a domain: 0 not at all, 1 "*", then suffixes by length, exact names above all. */
static size_t closeness(const struct route_rule *rule, struct str domain)
{
	struct str pattern = str_of(rule->domain);

	if (str_eq(pattern, STR("*")))
		return 1;
	if (str_eq_nocase(pattern, domain))
		return DOMAIN_MAX + 2;
	if (rule->domain[0] == '.' && str_ends_nocase(domain, pattern))
		return 1 + pattern.n;
	return 0;
}

/* How: behind the domain in the key. */
static void make_mx(const struct routes *r, struct str domain, const char *how, struct route *out)
{
	memset(out, 0, sizeof *out);
	out->kind = ROUTE_MX;
	out->port = r->smtp_port ? r->smtp_port : 25;
	str_copy(out->domain, sizeof out->domain, domain);      /* too long: an empty one, which no MX lookup finds */
	lower(out->domain);
	snprintf(out->key, sizeof out->key, "mx %s%.40s", out->domain, how);
}

/* How closely a rule names a sender: 0 not at all, 1 as all do, then suffixes by length, domains, addresses above all. */
static size_t sender_closeness(const struct route_rule *rule, const struct addr *from)
{
	struct str domain = str_of(rule->from), local;

	if (!rule->from[0])
		return 1;
	if (str_eq(domain, STR("<>")))
		return from->local.n ? 0 : DOMAIN_MAX + 4;
	if (!from->domain.n)
		return 0;
	if (str_cut_last(&domain, '@', &local))
		return str_eq_nocase(local, from->local) && str_eq_nocase(domain, from->domain) ? DOMAIN_MAX + 4 : 0;
	if (rule->from[0] == '.')
		return str_ends_nocase(from->domain, domain) ? 1 + domain.n : 0;
	return str_eq_nocase(domain, from->domain) ? DOMAIN_MAX + 3 : 0;
}

void routes_tell_apart(struct routes *r)
{
	for (size_t i = 0; i < r->n; i++) {
		struct route_rule *rule = &r->rule[i];
		size_t n = strlen(rule->to.key), room = sizeof rule->to.key - 12;

		for (size_t k = 0; k < i && (rule->login.user[0] || rule->proxy.len); k++)
			if (!strcmp(r->rule[k].to.key, rule->to.key) && (memcmp(&r->rule[k].login, &rule->login, sizeof rule->login) != 0 ||
			    memcmp(&r->rule[k].proxy, &rule->proxy, sizeof rule->proxy) != 0)) {
				n = n < room ? n : room;
				snprintf(rule->to.key + n, sizeof rule->to.key - n, " #%zu", i + 1);
				break;
			}
	}
}

void route_find(const struct routes *r, struct str domain, const struct addr *from, struct route *out)
{
	const struct route_rule *best = NULL;
	size_t best_is = 0, best_from = 0, asks = 0;

	for (size_t i = 0; domain.n && i < r->n; i++) {
		const struct route_rule *rule = &r->rule[i];
		size_t is = closeness(rule, domain), f = from || !rule->from[0] ? sender_closeness(rule, from) : 0;

		if (!from && rule->from[0] && is > asks)
			asks = is;
		if (f && (is > best_is || (is == best_is && is && f > best_from))) {
			best_is = is;
			best_from = f;
			best = rule;
		}
	}
	if (best_is <= DOMAIN_MAX + 1 && route_is_local(r, domain)) {
		*out = (struct route){ .kind = ROUTE_LOCAL, .key = "local" };
		out->by_sender = asks > DOMAIN_MAX + 1;
		return;
	}
	if (best && best->to.kind != ROUTE_MX) {
		*out = best->to;
		out->login = best->login.user[0] ? &best->login : NULL;
	} else {
		make_mx(r, domain, best && best->proxy.len ? best->to.key : "", out);
	}
	out->rule = best;
	out->proxy = best && best->proxy.len ? &best->proxy : NULL;
	out->by_sender = asks && asks >= best_is;
}

static bool same_hosts(const struct route *a, const struct route *b, bool any_port)
{
	bool same = a->nhosts == b->nhosts && !strcmp(a->path, b->path);

	for (size_t i = 0; same && i < a->nhosts; i++)
		same = !strcmp(a->host[i].name, b->host[i].name) && (any_port || a->host[i].port == b->host[i].port);
	return same;
}

static bool has_scheme(struct str way)
{
	for (size_t i = 0; i + 2 < way.n; i++)
		if (!memcmp(way.p + i, "://", 3))
			return true;
	return false;
}

/* "host:25", not "[2001:db8::25]" */
static bool says_port(struct str way)
{
	struct str port = way, host;
	uint64_t n;

	return str_cut_last(&port, ':', &host) && str_number(port, 65535, &n);
}

const char *route_to(const struct routes *r, struct str way, struct str domain, struct route *out)
{
	bool mx = str_eq_nocase(way, STR("mx")), bare = !mx && !has_scheme(way);
	struct route_rule said = { .domain = "*" };
	char text[ADDR_MAX + 20];
	const char *wrong;
	struct route usual;

	if ((size_t)snprintf(text, sizeof text, "%s%.*s", bare ? "smtp://" : "", (int)(way.n < sizeof text ? way.n : sizeof text), way.p) >= sizeof text)
		return "the way is too long";
	wrong = parse_way(str_of(text), STR(""), &said);
	if (wrong)
		return wrong;
	if (said.login.user[0])
		return "a login stands in a route of the settings: name its host alone";
	route_find(r, domain, NULL, &usual);
	if (mx)
		make_mx(r, domain, usual.proxy ? " by proxy" : "", out);
	else
		*out = said.to;
	out->proxy = usual.proxy;       /* who sends by one does not want to be seen without */
	for (size_t i = 0; !mx && i < r->n; i++) {
		const struct route_rule *rule = &r->rule[i];

		if (rule->to.kind == ROUTE_MX || !same_hosts(&rule->to, &said.to, bare && !says_port(way)) ||
		    (!bare && (rule->to.kind != said.to.kind || rule->to.tls_first != said.to.tls_first)))
			continue;
		*out = rule->to;
		out->login = rule->login.user[0] ? &rule->login : NULL;
		out->proxy = rule->proxy.len ? &rule->proxy : NULL;
		break;
	}
	return NULL;
}
