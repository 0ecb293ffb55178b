/* How a host is called: what TLS is demanded of it, whether it may be called at all, and what came of that. */
#include "cmd/courier_inside.h"

#include <arpa/inet.h>

#include "deliver/lame.h"
#include "deliver/tlsseen.h"
#include "lib/clock.h"
#include "lib/file.h"
#include "lib/log.h"
#include "mime/header.h"
#include "parse.h"

enum { HEADER_LOOKED_AT = 65536 };

static bool is_level(const struct tls_rule *r, enum tls_level level) { return r && r->level == level; }

/* RFC 8689 5: the sender would rather have it read by others than not delivered: "TLS-Required: No", the one field of that name. */
static bool waives_tls(const struct mail *m)
{
	static char text[HEADER_LOOKED_AT];
	struct str rest = { text, (size_t)(m->size < HEADER_LOOKED_AT ? m->size : HEADER_LOOKED_AT) };
	struct field f;
	bool waives = false;

	if (m->from.requiretls || file_pread(m->fd, text, rest.n, m->at) != (ssize_t)rest.n)
		return false;
	rest.n = header_length(rest);
	if (header_count(rest, STR("TLS-Required")) != 1)
		return false;
	while (header_next(&rest, &f))
		if (str_eq_nocase(f.name, STR("TLS-Required")))
			waives = str_eq_nocase(str_trim(f.value), STR("No"));
	return waives;
}

const struct tls_rule *courier_rule_for(const struct courier *c, const struct mx_address *a)
{
	return tls_rule_of(couriers.config->tls_rules, &c->route, a->nth);
}

void line_take_demands(struct line *l, const struct mx_address *a)
{
	const struct courier *c = l->courier;
	const struct mx_result *hosts = c->hosts;
	bool tested = hosts->allowed[a->nth] && !(c->passed_over >> a->nth & 1);

	l->rule = courier_rule_for(c, a);
	l->dane = hosts->dane[a->nth];
	l->policy = hosts->policy == MTASTS_ENFORCE || tested ? hosts->policy : MTASTS_NONE;
	l->lax = (l->dane.demand != DANE_NONE || l->policy != MTASTS_NONE) && c->bundle && waives_tls(c->bundle->mail);
	if (!l->lax)
		return;
	/* The sender waives what the recipient's domain says, not what the administrator does. */
	l->policy = MTASTS_NONE;
	if (!is_level(l->rule, TLS_LEVEL_DANE))
		l->dane.demand = DANE_NONE;
}

/* All that is demanded holds: none takes anything from the others. But a certificate that DNS names needs no authority's word for a policy's
 * sake (RFC 8461 2). */
static void demand(struct client_config *c, const struct route *r, struct line *l)
{
	const struct tls_rule *rule = l->rule;
	bool by_dane = l->dane.demand == DANE_VERIFY, named = is_level(rule, TLS_LEVEL_FINGERPRINT);
	bool ours = r->tls == ROUTE_TLS_VERIFY || is_level(rule, TLS_LEVEL_VERIFY);

	c->unsure = l->courier->hosts->unsure;
	c->verify_too = ours || (l->policy != MTASTS_NONE && !by_dane);
	c->hearsay = r->kind == ROUTE_MX && l->policy == MTASTS_NONE && is_level(rule, TLS_LEVEL_VERIFY);
	c->pins = by_dane ? &l->dane.pins : NULL;
	c->fingerprints = named ? &rule->pins : NULL;
	str_copy(l->domain, sizeof l->domain, str_of(l->courier->route.domain));
	c->domain = l->domain[0] ? l->domain : NULL;
	c->alias_for = by_dane && l->dane.base[0] ? l->dane.base : NULL;
	if (by_dane || named)
		c->tls = CLIENT_TLS_PINNED;
	else if (c->verify_too)
		c->tls = CLIENT_TLS_VERIFY;
	else if (r->tls == ROUTE_TLS_ENCRYPT || l->dane.demand == DANE_ENCRYPT || is_level(rule, TLS_LEVEL_ENCRYPT))
		c->tls = CLIENT_TLS_MUST;
	else if (r->kind == ROUTE_LMTP || is_level(rule, TLS_LEVEL_NONE))
		c->tls = CLIENT_TLS_NO;
	else if (is_level(rule, TLS_LEVEL_MAY))
		c->tls = CLIENT_TLS_MAY;
}

/* NULL: this host may be called. Else the words: RFC 8461 5: a policy that is enforced allows the hosts that it names and no others. But one
 * that DNSSEC vouches for is the domain's own word, too; and a message may ask that policies be passed over. */
static const char *not_to_call(const struct courier *c, const struct mx_address *a, struct reply *why)
{
	bool vouched = c->hosts->dane[a->nth].demand == DANE_VERIFY;

	if (is_level(courier_rule_for(c, a), TLS_LEVEL_DANE) && !vouched) {
		reply_set(why, 0, "4.7.5", "the setting tls = %s dane is not met: there are no TLSA records of %s that can be used and that DNSSEC "
			"vouches for, all the way from the domain", courier_rule_for(c, a)->name, a->host[0] ? a->host : "an address");
		return why->text;
	}
	if (c->hosts->policy != MTASTS_ENFORCE || c->hosts->allowed[a->nth] || vouched || (c->bundle && waives_tls(c->bundle->mail)))
		return NULL;
	reply_set(why, 0, "4.7.5", "%s is not among the mail hosts that the policy of %s (MTA-STS, enforce) names", a->host, c->route.domain);
	return why->text;
}

bool courier_may_call(const struct courier *c, const struct mx_address *a)
{
	struct reply why;

	return !not_to_call(c, a, &why);
}

/* NULL: it is to be asked for first. */
static const char *known_token(const struct route_login *login)
{
	const struct token *t = token_known(login->command);

	return t ? token_text(t) : NULL;
}

struct client_config line_config(const struct route *r, const struct sockaddr *addr, struct line *l)
{
	struct client_config c = { .hostname = couriers.config->hostname, .marker = couriers.config->marker, .lmtp = r->kind == ROUTE_LMTP,
		.tls = couriers.config->tls, .tls_first = r->tls_first };
	unsigned lame = lame_noted(addr);

	demand(&c, r, l);
	if (c.tls == CLIENT_TLS_MAY && (lame & LAME_TLS))
		c.tls = CLIENT_TLS_NO;
	c.rcpt_max = lame_most(addr, LAME_RCPTS);
	c.mail_max = (unsigned)lame_most(addr, LAME_MAILS);
	c.source = couriers.config->source;
	c.proxy = r->proxy ? r->proxy : r->kind == ROUTE_MX ? couriers.config->proxy : NULL;
	c.no_chunking = lame & LAME_CHUNKING;
	c.no_pipelining = lame & LAME_PIPELINING;
	c.trust = couriers.config->trust;
	if (r->login) {
		c.user = r->login->user;
		c.token = r->login->command[0] != '\0';
		c.password = c.token ? known_token(r->login) : r->login->password;
	}
	return c;
}

const struct client_config *courier_demands(const struct route *route, struct mx_result *hosts, size_t at, struct reply *why)
{
	static struct courier c;
	static struct line l;

	c = (struct courier){ .route = *route, .hosts = hosts, .at = at };
	l = (struct line){ .courier = &c };
	if (not_to_call(&c, &hosts->at[at], why))
		return NULL;
	line_take_demands(&l, &hosts->at[at]);
	l.config = line_config(&c.route, (const struct sockaddr *)&hosts->at[at].addr, &l);
	return &l.config;
}

/* ---- what came of TLS, for reports (RFC 8460) */

static void print_pins(struct buf *out, const struct tls_pins *pins)
{
	for (size_t i = 0; i < pins->n; i++) {
		const struct tls_pin *p = &pins->pin[i];

		buf_printf(out, "%s%u %u %u ", i ? "," : "", p->usage, p->key_only, p->hash == HASH_SHA512 ? 2 : 1);
		for (size_t k = 0; k < hash_size(p->hash); k++)
			buf_printf(out, "%02x", p->digest[k]);
	}
}

/* Of hosts that the DNS names alone, and of what is demanded of them by their own domain: not where the administrator wants no TLS, or a
 * certificate that he names or believes, nor where an attempt is made again with less. */
static bool counts(const struct courier *c, const struct mx_address *a)
{
	const struct tls_rule *rule = courier_rule_for(c, a);

	return couriers.config->note_tls && c->route.kind == ROUTE_MX && c->route.domain[0] != '[' && !(c->passed_over >> a->nth & 1) &&
		!is_level(rule, TLS_LEVEL_NONE) && !is_level(rule, TLS_LEVEL_VERIFY) && !is_level(rule, TLS_LEVEL_FINGERPRINT);
}

static void tell_tls(const struct courier *c, const struct mx_address *a, enum tlsrpt_result result, const char *why)
{
	const struct dane *dane = &c->hosts->dane[a->nth];
	struct buf policy = { 0 };
	char ip[INET6_ADDRSTRLEN] = "";
	const void *octets = a->addr.ss_family == AF_INET6 ? (const void *)&((const struct sockaddr_in6 *)(const void *)&a->addr)->sin6_addr :
		&((const struct sockaddr_in *)(const void *)&a->addr)->sin_addr;
	struct tlsrpt_session s = { .time = loop_wall(), .domain = str_of(c->route.domain), .mx = str_of(a->host), .result = result, .why = str_of(why),
		.type = dane->demand != DANE_NONE ? TLSRPT_TLSA : c->hosts->policy != MTASTS_NONE || c->hosts->unfetched[0] ? TLSRPT_STS :
			TLSRPT_NO_POLICY };

	if (s.type == TLSRPT_STS && c->hosts->unfetched[0]) {
		s.result = TLSRPT_STS_NOT_FETCHED;
		s.why = str_of(c->hosts->unfetched);
	}
	inet_ntop(a->addr.ss_family, octets, ip, sizeof ip);
	s.ip = str_of(ip);
	print_pins(&policy, &dane->pins);
	s.policy = buf_view(&policy);
	couriers.config->note_tls(&s);
	buf_free(&policy);
}

/* The connection is ready, and the courier's: in clear, that is since the host offers nothing else. */
void courier_tell_session(const struct courier *c)
{
	const struct mx_address *a = wanted_address(c);

	if (c->line->lax || c->line->config.tls == CLIENT_TLS_NO || !counts(c, a))
		return;
	if (!*client_tls(c->line->client))
		tell_tls(c, a, TLSRPT_NO_STARTTLS, "STARTTLS is not offered");
	else if (c->hosts->dane[a->nth].demand == DANE_ENCRYPT)
		tell_tls(c, a, TLSRPT_TLSA_INVALID, "none of the TLSA records can be used; the session was encrypted all the same");
	else
		tell_tls(c, a, TLSRPT_OK, "");
}

void courier_tell_failure(const struct courier *c, const struct client *client, bool lax, const char *why)
{
	static const enum tlsrpt_result of[] = {
		[TLS_FAULT_OTHER] = TLSRPT_FAILED, [TLS_FAULT_HOST] = TLSRPT_OTHER_HOST, [TLS_FAULT_EXPIRED] = TLSRPT_EXPIRED,
		[TLS_FAULT_NOT_TRUSTED] = TLSRPT_NOT_TRUSTED,
	};
	const struct mx_address *a = wanted_address(c);

	if (!lax && counts(c, a))
		tell_tls(c, a, client_tls_missing(client) ? TLSRPT_NO_STARTTLS : of[client_tls_fault(client)], why);
}

/* A host that was not asked, or not as the policy has it. */
static void tell_passed_over(const struct courier *c, const struct mx_address *a, enum tlsrpt_result result, const char *why)
{
	if (counts(c, a))
		tell_tls(c, a, result, why);
}

/* RFC 7672 2.1.2: a host that is left out since DNSSEC says neither yes nor no. */
void courier_tell_unknown(const struct courier *c)
{
	const struct mx_result *hosts = c->hosts;

	if (couriers.config->note_tls && hosts->unknown_tls[0])
		couriers.config->note_tls(&(struct tlsrpt_session){ .time = loop_wall(), .domain = str_of(c->route.domain), .type = TLSRPT_TLSA,
			.result = TLSRPT_DNSSEC_INVALID, .mx = str_of(hosts->unknown_tls), .why = str_of(hosts->why.text) });
}

/* ---- what came of TLS, for the log and for what is done next */

/* Where TLS was seen before and the peer does without now, somebody may have taken STARTTLS out of what it offers. */
void line_note_tls(const struct line *l)
{
	const struct courier *c = l->courier;
	struct str domain = str_of(c->route.domain);
	int64_t seen;
	char date[40];

	if (c->route.kind != ROUTE_MX)
		return;
	if (client_tls(l->client)[0]) {
		tlsseen_note(domain, loop_wall());
		return;
	}
	if (is_level(l->rule, TLS_LEVEL_NONE) || (couriers.config->tls == CLIENT_TLS_NO && !is_level(l->rule, TLS_LEVEL_MAY)))
		return;
	seen = tlsseen_lost(domain, loop_wall());
	if (seen)
		log_event(LOG_WARN, "tls-downgrade", LF(L_TEXT("domain", c->route.domain), L_TEXT("relay", client_peer(l->client)),
			L_STR("seen", ((struct str){ clock_rfc3339(seen, date), 10 })),
			L_TEXT("remedy", "if it should not be so, write tls = DOMAIN encrypt: then its mail waits")));
}

/* RFC 8461 5: a policy that is being tested keeps no mail back, but somebody should hear of it. Once for a host and a courier. */
void courier_test_failed(struct courier *c, const struct mx_address *a, const char *why)
{
	c->passed_over |= (uint32_t)1 << a->nth;
	log_event(LOG_INFO, "policy-test-failed", LF(L_TEXT("domain", c->route.domain), L_TEXT("host", a->host), L_TEXT("reason", why)));
}

static const char not_among_them[] = "it is not among the hosts that the policy names";

/* False: a rule of ours or the domain's policy does not allow this host. */
bool courier_look_at_policy(struct courier *c, const struct mx_address *a)
{
	struct reply why;

	if (c->hosts->policy == MTASTS_TESTING && !c->hosts->allowed[a->nth] && !(c->passed_over >> a->nth & 1)) {
		tell_passed_over(c, a, TLSRPT_FAILED, not_among_them);
		courier_test_failed(c, a, not_among_them);
	}
	if (!not_to_call(c, a, &why))
		return true;
	tell_passed_over(c, a, is_level(courier_rule_for(c, a), TLS_LEVEL_DANE) ? TLSRPT_DANE_REQUIRED : TLSRPT_FAILED, why.text);
	if (c->last.text[0])            /* what a host said that may be asked tells more */
		return false;
	str_copy(c->last_host, sizeof c->last_host, str_of(a->host));
	c->last = why;
	return false;
}
