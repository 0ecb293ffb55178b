/* The hosts to try for a destination, in order. */
#include "deliver/mx.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "parse.h"

struct host {
	struct str name;
	int64_t preference;
	uint64_t chance;                /* decides among equal preferences */
	const struct fact *a, *aaaa;
	size_t nth, rank;               /* in mx_result.dane; see struct mx_address */
	bool unknown_tls;               /* what DNSSEC demands of it could not be found out: not to be used */
};
struct hosts {
	size_t n;
	struct host at[MX_HOSTS];
};

/* ---- addresses */

static bool same_address(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	if (a->ss_family != b->ss_family)
		return false;
	if (a->ss_family == AF_INET)
		return ((const struct sockaddr_in *)a)->sin_addr.s_addr == ((const struct sockaddr_in *)b)->sin_addr.s_addr;
	return IN6_ARE_ADDR_EQUAL(&((const struct sockaddr_in6 *)a)->sin6_addr, &((const struct sockaddr_in6 *)b)->sin6_addr);
}

static void make_v4(struct mx_address *a, const void *octets, unsigned port)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)&a->addr;

	v4->sin_family = AF_INET;
	v4->sin_port = htons((uint16_t)port);
	memcpy(&v4->sin_addr, octets, sizeof v4->sin_addr);
	a->len = sizeof *v4;
}

static void make_v6(struct mx_address *a, const void *octets, unsigned port)
{
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&a->addr;

	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons((uint16_t)port);
	memcpy(&v6->sin6_addr, octets, sizeof v6->sin6_addr);
	a->len = sizeof *v6;
}

/* Record i of an answer as an address; false: there is none. */
static bool record_address(const struct fact *f, size_t i, unsigned port, struct mx_address *out)
{
	memset(out, 0, sizeof *out);
	if (f->outcome != FOUND || i >= f->n)
		return false;
	if (f->record[i].data.n == 4)
		make_v4(out, f->record[i].data.p, port);
	else if (f->record[i].data.n == 16)
		make_v6(out, f->record[i].data.p, port);
	return out->len > 0;
}

/* An address that is in the list under another name already would only be refused again. */
static void add_address(struct mx_result *out, const struct mx_address *a, struct str host)
{
	struct mx_address *to = &out->at[out->n];

	if (out->n == MX_ADDRESSES)
		return;
	for (size_t i = 0; i < out->n; i++)
		if (same_address(&out->at[i].addr, &a->addr))
			return;
	*to = *a;
	if (str_copy(to->host, sizeof to->host, host))
		out->n++;
}

/* At most `most` addresses of a host, its families taking turns: should one be broken on the way, the second try helps. */
static void add_host(struct mx_result *out, const struct host *h, unsigned port, size_t most, enum inet inet)
{
	bool six = inet == INET_PREFER6 || inet == INET_ONLY6;
	const struct fact *preferred = six ? h->aaaa : h->a, *other = six ? h->a : h->aaaa;
	size_t first = out->n, full = out->n + most, longer = h->a->n > h->aaaa->n ? h->a->n : h->aaaa->n;
	struct mx_address a;

	for (size_t i = 0; i < longer; i++) {
		if (out->n < full && record_address(preferred, i, port, &a))
			add_address(out, &a, h->name);
		if (inet < INET_ONLY4 && out->n < full && record_address(other, i, port, &a))
			add_address(out, &a, h->name);
	}
	for (; first < out->n; first++) {
		out->at[first].nth = h->nth;
		out->at[first].rank = h->rank;
	}
}

/* Asks for both families, however far the first answer is. */
static bool host_known(struct facts *f, struct host *h)
{
	h->a = fact(f, FACT_A, h->name);
	h->aaaa = fact(f, FACT_AAAA, h->name);
	return h->a && h->aaaa;
}

/* NULL: both families were answered. Else the answer that is missing; one of the domain's own fault before one of ours. */
static const struct fact *host_unknown(const struct host *h)
{
	if (h->a->outcome == UNKNOWN && (h->aaaa->outcome != UNKNOWN || !h->a->local_fault))
		return h->a;
	return h->aaaa->outcome == UNKNOWN ? h->aaaa : NULL;
}

static const char *why(const struct fact *f)
{
	return f->why ? f->why : "no reason given";
}

/* ---- ourselves */

static bool is_own_address(const struct mx_self *self, const struct mx_address *a)
{
	return self && self->is_own && self->is_own((const struct sockaddr *)&a->addr);
}

static bool is_own(const struct mx_self *self, const struct host *h, unsigned port)
{
	struct mx_address a;

	if (self && self->hostname && str_eq_nocase(h->name, str_of(self->hostname)))
		return true;
	for (size_t i = 0; record_address(h->a, i, port, &a); i++)
		if (is_own_address(self, &a))
			return true;
	for (size_t i = 0; record_address(h->aaaa, i, port, &a); i++)
		if (is_own_address(self, &a))
			return true;
	return false;
}

/* RFC 5321 5.1: a relay that is in the set itself leaves out its own and every worse or equal preference. */
static void drop_own(struct hosts *hosts, const struct mx_self *self, unsigned port)
{
	size_t own = 0;

	while (own < hosts->n && !is_own(self, &hosts->at[own], port))
		own++;
	if (own == hosts->n)
		return;
	hosts->n = own;
	while (hosts->n && hosts->at[hosts->n - 1].preference == hosts->at[own].preference)
		hosts->n--;
}

/* ---- the list of hosts */

/* splitmix64: what differs little goes in, what differs much comes out. */
static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static bool before(const struct host *a, const struct host *b)
{
	if (a->preference != b->preference)
		return a->preference < b->preference;
	return a->chance < b->chance;
}

/* Into its place; from a list that is full the last one falls. */
static void insert(struct hosts *hosts, const struct host *h)
{
	size_t i = hosts->n;

	if (i == MX_HOSTS && !before(h, &hosts->at[--i]))
		return;
	for (; i > 0 && before(h, &hosts->at[i - 1]); i--)
		hosts->at[i] = hosts->at[i - 1];
	hosts->at[i] = *h;
	if (hosts->n < MX_HOSTS)
		hosts->n++;
}

/* RFC 7505 3: "." beside real hosts means nothing. Empty: it stood alone. */
static void list_hosts(struct hosts *hosts, const struct fact *mx, uint64_t seed)
{
	hosts->n = 0;
	for (size_t i = 0; i < mx->n; i++) {
		const struct record *r = &mx->record[i];
		struct host h = { .name = r->data, .preference = r->priority, .chance = mix(seed + i) };
		if (r->data.n)
			insert(hosts, &h);
	}
}

static bool hosts_known(struct facts *f, struct hosts *hosts)
{
	bool known = true;

	for (size_t i = 0; i < hosts->n; i++)
		known = host_known(f, &hosts->at[i]) && known;
	return known;
}

/* ---- what DNSSEC demands */

/* RFC 7672 2.2.1, 2.2.2: only an MX and addresses that DNSSEC vouches for make TLSA records count. */
static bool host_secure(const struct host *h)
{
	bool a = h->a->outcome == FOUND, aaaa = h->aaaa->outcome == FOUND;

	return (a || aaaa) && (!a || h->a->secure) && (!aaaa || h->aaaa->secure);
}

/* Where a host's name is an alias for, as far as both families say the same. */
static const char *end_of(const struct host *h)
{
	const char *a = h->a->outcome == FOUND ? h->a->end : NULL, *aaaa = h->aaaa->outcome == FOUND ? h->aaaa->end : NULL;

	if (h->a->outcome == FOUND && h->aaaa->outcome == FOUND)
		return a && aaaa && !strcmp(a, aaaa) ? a : NULL;
	return a ? a : aaaa;
}

/* False: an answer is on its way. */
static bool demands_known(struct facts *f, unsigned port, const struct mx_self *self, const struct fact *mx, struct hosts *hosts,
	struct mx_result *out)
{
	bool known = true;

	for (size_t i = 0; i < hosts->n; i++) {
		struct host *h = &hosts->at[i];
		enum verdict v = ACCEPT;

		h->nth = i;
		h->rank = i && hosts->at[i - 1].preference == h->preference ? hosts->at[i - 1].rank : i;
		out->dane[i] = (struct dane){ .demand = DANE_NONE };
		if (self && self->dane && mx->secure && host_secure(h))
			v = dane_find(f, h->name, end_of(h), port, &out->dane[i], &out->why);
		h->unknown_tls = v == REFUSE;
		if (h->unknown_tls)
			str_copy(out->unknown_tls, sizeof out->unknown_tls, h->name);
		known = known && v != WAIT;
	}
	return known;
}

/* ---- what the domain's policy says */

static void note_policy(const struct mtasts_policy *p, const struct hosts *hosts, struct mx_result *out)
{
	out->policy = p->mode;
	out->unsure = p->unsure;
	snprintf(out->unfetched, sizeof out->unfetched, "%s", p->unfetched ? p->unfetched : "");
	for (size_t i = 0; i < hosts->n; i++)
		out->allowed[i] = p->mode != MTASTS_NONE && mtasts_allows(p, hosts->at[i].name);
}

/* ---- verdicts */

static enum verdict refuse_loop(struct mx_result *out, const char *domain)
{
	reply_set(&out->why, 554, "5.4.6", "mail for %s loops back to this host, where %s is neither a local domain nor routed",
		domain, domain);
	return REFUSE;
}

/* No host has an address. Only when every answer is in is that final. */
static enum verdict refuse_addresses(struct mx_result *out, const struct hosts *hosts, const char *domain, bool implicit)
{
	const struct fact *missing = NULL;
	struct str name = { "", 0 };

	for (size_t i = 0; i < hosts->n; i++) {
		const struct fact *m = host_unknown(&hosts->at[i]);
		if (m && (!missing || (missing->local_fault && !m->local_fault))) {
			missing = m;
			name = hosts->at[i].name;
		}
	}
	out->local_fault = missing && missing->local_fault;
	if (missing)
		reply_set(&out->why, 451, "4.4.3", "cannot look up the address of " STR_FMT ", mail host of %s: %s",
			STR_ARG(name), domain, why(missing));
	else if (implicit)
		reply_set(&out->why, 550, "5.4.4", "the domain %s has neither a mail host nor an address", domain);
	else
		reply_set(&out->why, 550, "5.4.4", "no mail host of %s has an address", domain);
	return REFUSE;
}

static enum verdict refuse_mx(struct mx_result *out, const struct fact *mx, const char *domain)
{
	out->local_fault = mx->local_fault;
	if (mx->outcome == UNKNOWN)
		reply_set(&out->why, 451, "4.4.3", "cannot look up the mail hosts of %s: %s", domain, why(mx));
	else if (mx->outcome == NO_NAME)
		reply_set(&out->why, 550, "5.1.2", "the domain %s does not exist", domain);
	else                    /* RFC 7504 made the code for this, RFC 7505 the status */
		reply_set(&out->why, 556, "5.1.10", "the domain %s does not accept mail (null MX)", domain);
	return REFUSE;
}

/* ---- the three ways */

static enum verdict find_mx(struct facts *f, const struct route *r, const struct mx_self *self, uint64_t seed,
	struct mx_result *out)
{
	const struct fact *mx = fact(f, FACT_MX, str_of(r->domain));
	struct mtasts_policy policy = { .mode = MTASTS_NONE };
	bool implicit, had, policy_known;
	struct hosts hosts;

	/* Asked for at once with all else, so that it costs no time of its own. */
	policy_known = !self || !self->mta_sts || mtasts_find(f, str_of(r->domain), &policy) != WAIT;
	if (!mx)
		return WAIT;
	if (mx->outcome == UNKNOWN || mx->outcome == NO_NAME)
		return refuse_mx(out, mx, r->domain);
	implicit = mx->outcome == NO_DATA;
	if (implicit)           /* RFC 5321 5.1: an MX of preference 0 that points to the domain */
		hosts = (struct hosts){ .n = 1, .at = { { .name = str_of(r->domain) } } };
	else
		list_hosts(&hosts, mx, seed);
	if (!hosts.n)
		return refuse_mx(out, mx, r->domain);
	if (!hosts_known(f, &hosts))
		return WAIT;
	drop_own(&hosts, self, r->port);
	had = hosts.n > 0;
	if (!demands_known(f, r->port, self, mx, &hosts, out) || !policy_known)
		return WAIT;
	note_policy(&policy, &hosts, out);
	for (size_t i = 0; i < hosts.n; i++) {
		out->partial = out->partial || hosts.at[i].unknown_tls || host_unknown(&hosts.at[i]);
		if (!hosts.at[i].unknown_tls)
			add_host(out, &hosts.at[i], r->port, MX_ADDRESSES / hosts.n, self ? self->inet : INET_PREFER4);
	}
	if (out->n)
		return ACCEPT;
	if (out->why.code)              /* no TLSA answer for a host that could have been used */
		return REFUSE;
	return had ? refuse_addresses(out, &hosts, r->domain, implicit) : refuse_loop(out, r->domain);
}

/* user@[192.0.2.1] (RFC 5321 4.1.3) */
static enum verdict find_literal(const struct route *r, const struct mx_self *self, struct mx_result *out)
{
	struct mx_address a = { .len = 0 };
	struct sockaddr_storage parsed;

	if (!parse_literal(str_of(r->domain), &parsed)) {
		reply_set(&out->why, 550, "5.1.2", "%s is no address that mail can be sent to", r->domain);
		return REFUSE;
	}
	if (parsed.ss_family == AF_INET)
		make_v4(&a, &((struct sockaddr_in *)&parsed)->sin_addr, r->port);
	else
		make_v6(&a, &((struct sockaddr_in6 *)&parsed)->sin6_addr, r->port);
	if (is_own_address(self, &a))
		return refuse_loop(out, r->domain);
	add_address(out, &a, str_of(""));
	return ACCEPT;
}

static enum verdict take_path(const struct route *r, struct mx_result *out)
{
	struct mx_address a = { .len = sizeof(struct sockaddr_un) };
	struct sockaddr_un *un = (struct sockaddr_un *)&a.addr;

	un->sun_family = AF_UNIX;
	str_copy(un->sun_path, sizeof un->sun_path, str_of(r->path));
	add_address(out, &a, str_of(r->path));
	return ACCEPT;
}

/* The address of a configured host, written out. */
static void take_address(const struct route_host *host, struct mx_result *out)
{
	struct mx_address a = { .len = 0 };
	unsigned char octets[16];

	if (inet_pton(AF_INET, host->name, octets) == 1)
		make_v4(&a, octets, host->port);
	else if (inet_pton(AF_INET6, host->name, octets) == 1)
		make_v6(&a, octets, host->port);
	else
		assert(!"route_parse() makes no such address");
	add_address(out, &a, str_of(""));
}

/* False: an answer is on its way. */
static bool find_host(struct facts *f, const struct route_host *host, size_t room, enum inet inet, struct dane *dane, struct mx_result *out)
{
	struct host h = { .name = str_of(host->name) };
	const struct fact *missing, *said = fact(f, FACT_HOSTS, h.name);
	size_t before = out->n;
	struct mx_address a;

	if (!said)
		return false;
	for (size_t i = 0; out->n - before < room && record_address(said, i, host->port, &a); i++)
		if (inet < INET_ONLY4 || a.addr.ss_family == (inet == INET_ONLY4 ? AF_INET : AF_INET6))
			add_address(out, &a, h.name);
	if (out->n > before)
		return true;
	if (!host_known(f, &h))
		return false;
	add_host(out, &h, host->port, room, inet);
	missing = host_unknown(&h);
	if (host->dane && host_secure(&h))
		switch (dane_find(f, h.name, end_of(&h), host->port, dane, &out->why)) {
		case WAIT:
			return false;
		case REFUSE:
			out->n = before;
			out->partial = true;
			return true;
		case ACCEPT:
			break;
		}
	if (missing)
		reply_set(&out->why, 451, "4.4.3", "cannot look up the address of %s, the route configured here: %s",
			host->name, why(missing));
	else if (out->n == before)
		reply_set(&out->why, 451, "4.3.5", "%s, the route configured here, %s", host->name,
			h.a->outcome == NO_NAME ? "does not exist" : "has no address");
	out->partial = out->partial || missing;
	return true;
}

/* Whatever is wrong with the name of a configured host is for the administrator to put right: mail waits for it. */
static enum verdict find_relay(struct facts *f, const struct route *r, enum inet inet, struct mx_result *out)
{
	bool known = true;

	for (size_t i = 0; i < r->nhosts; i++) {
		size_t first = out->n;

		out->dane[i] = (struct dane){ .demand = DANE_NONE };
		if (r->host[i].is_address)
			take_address(&r->host[i], out);
		else
			known = find_host(f, &r->host[i], MX_ADDRESSES / r->nhosts, inet, &out->dane[i], out) && known;
		for (; first < out->n; first++)
			out->at[first].nth = out->at[first].rank = i;
	}
	if (!known)
		return WAIT;
	out->local_fault = !out->n;
	return out->n ? ACCEPT : REFUSE;
}

enum verdict mx_find(struct facts *f, const struct route *r, const struct mx_self *self, uint64_t seed, struct mx_result *out)
{
	static struct mx_address at[MX_ADDRESSES];
	static struct dane dane[MX_HOSTS];

	out->n = 0;
	out->at = at;
	out->dane = dane;
	out->dane[0] = (struct dane){ .demand = DANE_NONE };
	out->policy = MTASTS_NONE;
	memset(out->allowed, 0, sizeof out->allowed);
	out->unsure = out->local_fault = out->partial = false;
	memset(&out->why, 0, sizeof out->why);
	out->unfetched[0] = out->unknown_tls[0] = '\0';
	assert(r->kind != ROUTE_LOCAL);
	if (r->kind != ROUTE_MX)
		return r->path[0] ? take_path(r, out) : find_relay(f, r, self ? self->inet : INET_PREFER4, out);
	return r->domain[0] == '[' ? find_literal(r, self, out) : find_mx(f, r, self, seed, out);
}

/* Of forty addresses and twenty hosts there are mostly one or two, and many may wait for their turn with what was found. */
struct mx_result *mx_keep(const struct mx_result *r)
{
	struct mx_result *kept;
	size_t hosts = 0;

	for (size_t i = 0; i < r->n; i++)
		hosts = r->at[i].nth < hosts ? hosts : r->at[i].nth + 1;
	kept = malloc(sizeof *kept + r->n * sizeof *r->at + hosts * sizeof *r->dane);
	if (!kept)
		return NULL;
	*kept = *r;
	kept->at = (struct mx_address *)(kept + 1);
	kept->dane = (struct dane *)(kept->at + r->n);
	memcpy(kept->at, r->at, r->n * sizeof *r->at);
	memcpy(kept->dane, r->dane, hosts * sizeof *r->dane);
	return kept;
}
