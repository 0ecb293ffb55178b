/* Which way to a domain. */
#include "deliver/route.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "fardel.h"

static const struct scheme {
	const char *prefix;
	enum route_kind kind;
	unsigned port;
} schemes[] = {
	{ "smtp://", ROUTE_SMTP, 25 },
	{ "lmtp://", ROUTE_LMTP, 24 },
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
static const char *parse_host(struct str text, struct route *r)
{
	bool brackets = text.n > 1 && text.p[0] == '[' && text.p[text.n - 1] == ']';

	if (brackets)
		text = (struct str){ text.p + 1, text.n - 2 };
	if (!str_copy(r->host, sizeof r->host, text))
		return "the host's name is too long";
	lower(r->host);
	r->host_is_address = is_address(r->host, brackets ? AF_INET6 : AF_INET);
	if (brackets && !r->host_is_address)
		return "between the brackets there is no IPv6 address";
	if (!r->host_is_address && memchr(text.p, ':', text.n))
		return "an IPv6 address needs brackets";
	if (!r->host_is_address && (!name_ok(text) || last_label_is_number(text)))
		return "the host is neither a name nor an address";
	return NULL;
}

static const char *parse_url(struct str text, const struct scheme *scheme, struct route *r)
{
	struct str host = text, port = text;
	uint64_t number = scheme->port;
	const char *wrong;

	if (text.n && text.p[text.n - 1] == '/')
		return "nothing may follow the port, not even a slash";
	/* The last colon begins the port, unless it is inside the brackets. */
	if (str_cut_last(&port, ':', &host) && !memchr(port.p, ']', port.n)) {
		if (!str_number(port, 65535, &number) || !number)
			return "the port is no number from 1 to 65535";
	} else {
		host = text;
	}
	if ((wrong = parse_host(host, r)))
		return wrong;
	r->kind = scheme->kind;
	r->port = (unsigned)number;
	r->shared = true;
	snprintf(r->key, sizeof r->key, strchr(r->host, ':') ? "%s[%s]:%u" : "%s%s:%u", scheme->prefix, r->host, r->port);
	return NULL;
}

static const char *parse_way(struct str text, struct route *r)
{
	if (str_eq_nocase(text, STR("mx"))) {
		r->kind = ROUTE_MX;
		return NULL;
	}
	for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
		struct str prefix = str_of(schemes[i].prefix);
		if (str_starts_nocase(text, prefix))
			return parse_url(str_from(text, prefix.n), &schemes[i], r);
	}
	return "a route is smtp://host:port, lmtp://host:port or mx";
}

const char *route_parse(struct str text, struct route_rule *out)
{
	struct str domain, way, more;

	memset(out, 0, sizeof *out);
	if (!str_word(&text, &domain) || !str_word(&text, &way))
		return "a rule is a domain and a route";
	if (str_word(&text, &more))
		return "something follows the route";
	if (!str_eq(domain, STR("*")) && !name_ok(str_from(domain, domain.p[0] == '.')))
		return "the domain is no domain name, .suffix or *";
	if (!str_copy(out->domain, sizeof out->domain, domain))
		return "the domain is too long";
	lower(out->domain);
	return parse_way(way, &out->to);
}

bool route_is_local(const struct routes *r, struct str domain)
{
	if (!domain.n)
		return true;
	for (size_t i = 0; i < r->nlocal; i++)
		if (str_eq_nocase(r->local[i], domain))
			return true;
	return false;
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

static void make_mx(const struct routes *r, struct str domain, struct route *out)
{
	memset(out, 0, sizeof *out);
	out->kind = ROUTE_MX;
	out->port = r->smtp_port ? r->smtp_port : 25;
	str_copy(out->host, sizeof out->host, domain);  /* too long: an empty host, which no MX lookup finds */
	lower(out->host);
	snprintf(out->key, sizeof out->key, "mx %s", out->host);
}

void route_find(const struct routes *r, struct str domain, struct route *out)
{
	const struct route_rule *best = NULL;
	size_t best_is = 0;

	for (size_t i = 0; domain.n && i < r->n; i++) {
		size_t is = closeness(&r->rule[i], domain);
		if (is > best_is) {
			best_is = is;
			best = &r->rule[i];
		}
	}
	if (best_is <= DOMAIN_MAX + 1 && route_is_local(r, domain))
		*out = (struct route){ .kind = ROUTE_LOCAL, .key = "local" };
	else if (best && best->to.kind != ROUTE_MX)
		*out = best->to;
	else
		make_mx(r, domain, out);
}
