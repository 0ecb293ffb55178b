/* Sender Policy Framework: check_host() of RFC 7208 4, run again from the top until all is known. */
#include "policy/spf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/ip.h"

/* What a term says. */
enum answer { LATER, NO, YES, STOP };           /* the last: c->code is the result of everything, c->out->problem says why */

struct check {
	struct facts *facts;
	const struct spf_query *q;
	struct spf_result *out;
	struct ip ip;
	char ip_dotted[64];                     /* "192.0.2.1", or 32 digits of IPv6 with dots between them */
	char sender[ADDR_MAX + DOMAIN_MAX];
	char time[24];
	struct spf_values values;               /* without those that depend on whose record it is */
	unsigned terms, voids;                  /* of RFC 7208 4.6.4 */
	enum spf code;
};

const char *spf_name(enum spf code)
{
	static const char *const names[] = {
		[SPF_NONE] = "none", [SPF_NEUTRAL] = "neutral", [SPF_PASS] = "pass", [SPF_FAIL] = "fail", [SPF_SOFTFAIL] = "softfail",
		[SPF_TEMPERROR] = "temperror", [SPF_PERMERROR] = "permerror",
	};

	return names[code];
}

/* ---- words */

static void set_text(char *out, size_t size, struct str s)
{
	size_t n = s.n < size ? s.n : size - 1;

	for (size_t i = 0; i < n; i++)
		out[i] = ascii_print(s.p[i]) ? s.p[i] : '?';
	out[n] = '\0';
}

static enum answer stop(struct check *c, enum spf code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static enum answer stop(struct check *c, enum spf code, const char *fmt, ...)
{
	va_list ap;

	c->code = code;
	va_start(ap, fmt);
	vsnprintf(c->out->problem, sizeof c->out->problem, fmt, ap);
	va_end(ap);
	ascii_make_printable(c->out->problem);
	return STOP;
}

static enum answer stop_unknown(struct check *c, const char *what, struct str name, const struct fact *f)
{
	return stop(c, SPF_TEMPERROR, "cannot look up the %s of " STR_FMT ": %s", what, STR_ARG(name), f->why ? f->why : "no reason given");
}

/* ---- limits (RFC 7208 4.6.4) */

static enum answer count_term(struct check *c)
{
	return ++c->terms > SPF_TERMS_MAX ? stop(c, SPF_PERMERROR, "more than %d terms of it ask the DNS", SPF_TERMS_MAX) : YES;
}

static enum answer count_void(struct check *c)
{
	return ++c->voids > SPF_VOIDS_MAX ? stop(c, SPF_PERMERROR, "more than %d terms of it name what the DNS does not have", SPF_VOIDS_MAX) : NO;
}

/* ---- addresses */

static bool in_network(const unsigned char *a, const unsigned char *b, unsigned bits)
{
	unsigned octets = bits / 8;

	return memcmp(a, b, octets) == 0 && (bits % 8 == 0 || (a[octets] ^ b[octets]) >> (8 - bits % 8) == 0);
}

static enum fact_kind address_kind(const struct check *c) { return c->ip.n == 4 ? FACT_A : FACT_AAAA; }

static bool any_in_network(const struct check *c, const struct fact *f, const struct spf_term *t)
{
	for (size_t i = 0; f->outcome == FOUND && i < f->n; i++)
		if (f->record[i].data.n == c->ip.n &&
		    in_network((const unsigned char *)f->record[i].data.p, c->ip.octet, c->ip.n == 4 ? t->bits4 : t->bits6))
			return true;
	return false;
}

/* ---- names of the client (RFC 7208 5.5), which are its own business: what is wrong with them is no error of the record */

struct names {
	size_t n;
	struct str name[SPF_NAMES_MAX];
};

/* Those that lead back to the address. False: not known yet. */
static bool find_names(struct check *c, struct names *out)
{
	static const struct spf_term exact = { .bits4 = 32, .bits6 = 128 };
	const struct fact *ptr = fact(c->facts, FACT_PTR, str_of(c->ip.text)), *a;
	bool all = true;

	out->n = 0;
	if (!ptr)
		return false;
	for (size_t i = 0; ptr->outcome == FOUND && i < ptr->n && i < SPF_NAMES_MAX; i++) {
		a = fact(c->facts, address_kind(c), ptr->record[i].data);
		all = all && a;
		if (a && any_in_network(c, a, &exact))
			out->name[out->n++] = ptr->record[i].data;
	}
	return all;
}

static bool is_below(struct str name, struct str domain)
{
	return name.n > domain.n && str_ends_nocase(name, domain) && name.p[name.n - domain.n - 1] == '.';
}

/* RFC 7208 7.3: the domain itself if it is one of them, else a name below it, else any. */
static struct str best_name(const struct names *names, struct str domain)
{
	for (size_t i = 0; i < names->n; i++)
		if (str_eq_nocase(names->name[i], domain))
			return names->name[i];
	for (size_t i = 0; i < names->n; i++)
		if (is_below(names->name[i], domain))
			return names->name[i];
	return names->n ? names->name[0] : STR("unknown");
}

/* ---- macros */

/* What they stand for in a text of this domain. False: not known yet. */
static bool values_for(struct check *c, struct str domain, struct str text, struct spf_values *out)
{
	struct names names;

	*out = c->values;
	out->of[SPF_M_DOMAIN] = domain;
	if (!spf_has_macro(text, SPF_M_VALIDATED))
		return true;
	if (!find_names(c, &names))
		return false;
	out->of[SPF_M_VALIDATED] = best_name(&names, domain);
	return true;
}

/* The name that a term is about. YES, LATER or STOP. */
static enum answer find_target(struct check *c, struct str domain, const struct spf_term *t, struct spf_text *room, struct str *out)
{
	struct spf_values v;

	*out = domain;
	if (!t->domain.n)
		return YES;
	if (!values_for(c, domain, t->domain, &v))
		return LATER;
	*out = spf_expand_name(t->domain, &v, room);
	return YES;
}

/* ---- mechanisms */

static enum answer match_addresses(struct check *c, const struct spf_term *t, struct str name, bool counts)
{
	const struct fact *a = fact(c->facts, address_kind(c), name);

	if (!a)
		return LATER;
	if (a->outcome == UNKNOWN)
		return stop_unknown(c, "address", name, a);
	if (any_in_network(c, a, t))
		return YES;
	return counts && a->outcome != FOUND ? count_void(c) : NO;
}

static enum answer match_a(struct check *c, const struct spf_term *t, struct str target)
{
	return match_addresses(c, t, target, true);
}

/* The hosts are asked for all at once, and looked at in their order. That one of them has no address of the client's family is common, and void
 * for nobody. */
static enum answer match_mx(struct check *c, const struct spf_term *t, struct str target)
{
	const struct fact *mx = fact(c->facts, FACT_MX, target);
	enum answer a = NO;

	if (!mx)
		return LATER;
	if (mx->outcome == UNKNOWN)
		return stop_unknown(c, "mail hosts", target, mx);
	if (mx->outcome != FOUND)
		return count_void(c);
	if (mx->n > SPF_NAMES_MAX)
		return stop(c, SPF_PERMERROR, STR_FMT " has more than %d mail hosts", STR_ARG(target), SPF_NAMES_MAX);
	for (size_t i = 0; i < mx->n; i++)
		if (mx->record[i].data.n)
			fact(c->facts, address_kind(c), mx->record[i].data);
	for (size_t i = 0; i < mx->n && a == NO; i++)
		if (mx->record[i].data.n)
			a = match_addresses(c, t, mx->record[i].data, false);
	return a;
}

static enum answer match_ptr(struct check *c, const struct spf_term *t, struct str target)
{
	struct names names;

	(void)t;
	if (!find_names(c, &names))
		return LATER;
	for (size_t i = 0; i < names.n; i++)
		if (str_eq_nocase(names.name[i], target) || is_below(names.name[i], target))
			return YES;
	return NO;
}

/* An A record, whatever the client's family (RFC 7208 5.7). */
static enum answer match_exists(struct check *c, const struct spf_term *t, struct str target)
{
	const struct fact *a = fact(c->facts, FACT_A, target);

	(void)t;
	if (!a)
		return LATER;
	if (a->outcome == UNKNOWN)
		return stop_unknown(c, "address", target, a);
	return a->outcome == FOUND ? YES : count_void(c);
}

static enum answer match_all(struct check *c, const struct spf_term *t, struct str target)
{
	(void)c, (void)t, (void)target;
	return YES;
}

static enum answer match_ip(struct check *c, const struct spf_term *t, struct str target)
{
	size_t n = t->kind == SPF_IP4 ? 4 : 16;

	(void)target;
	return n == c->ip.n && in_network(t->addr, c->ip.octet, n == 4 ? t->bits4 : t->bits6) ? YES : NO;
}

static enum answer match_include(struct check *c, const struct spf_term *t, struct str target);

static const struct {
	enum answer (*match)(struct check *, const struct spf_term *, struct str target);
	bool asks;                              /* counts among the terms that ask the DNS */
} terms[] = {
	[SPF_ALL] = { match_all, false },
	[SPF_INCLUDE] = { match_include, true },
	[SPF_A] = { match_a, true },
	[SPF_MX] = { match_mx, true },
	[SPF_PTR] = { match_ptr, true },
	[SPF_IP4] = { match_ip, false },
	[SPF_IP6] = { match_ip, false },
	[SPF_EXISTS] = { match_exists, true },
};

static enum answer match(struct check *c, struct str domain, const struct spf_term *t)
{
	struct spf_text room;
	struct str target;
	enum answer a;

	if (terms[t->kind].asks && count_term(c) == STOP)
		return STOP;
	a = find_target(c, domain, t, &room, &target);
	return a == YES ? terms[t->kind].match(c, t, target) : a;
}

/* ---- records */

/* A name of several labels that the DNS could have (RFC 7208 4.3). */
static bool is_domain(struct str name)
{
	struct str label;
	size_t dots = 0;
	bool more = true;

	if (!name.n || name.n > DOMAIN_MAX || name.p[0] == '[')
		return false;
	for (; more; dots++) {
		more = str_cut(&name, '.', &label);
		if (!more)
			label = name;
		if (!label.n || label.n > 63)
			return false;
		for (size_t i = 0; i < label.n; i++)
			if (!ascii_print(label.p[i]))
				return false;
	}
	return dots > 1;
}

/* YES: *terms is its record, which is well formed. NO: it has none. */
static enum answer find_record(struct check *c, struct str domain, struct str *record)
{
	const struct fact *txt;
	const char *wrong;
	struct str rest, where;
	size_t found = 0;

	if (!is_domain(domain))
		return NO;
	txt = fact(c->facts, FACT_TXT, domain);
	if (!txt)
		return LATER;
	if (txt->outcome == UNKNOWN)
		return stop_unknown(c, "record", domain, txt);
	for (size_t i = 0; txt->outcome == FOUND && i < txt->n; i++)
		if (spf_is_record(txt->record[i].data, &rest)) {
			*record = rest;
			found++;
		}
	if (!found)
		return NO;
	if (found > 1)
		return stop(c, SPF_PERMERROR, STR_FMT " has more than one", STR_ARG(domain));
	if ((wrong = spf_terms_fault(*record, &where)))
		return stop(c, SPF_PERMERROR, "\"%.*s\" in that of " STR_FMT ": %s", (int)(where.n < 60 ? where.n : 60), where.p, STR_ARG(domain), wrong);
	return YES;
}

/* The first mechanism that matches; modifiers on the way are kept. */
static enum answer find_match(struct check *c, struct str domain, struct str record, struct spf_term *out)
{
	const char *wrong;
	enum answer a = NO;

	while (a == NO && spf_next_term(&record, out, &wrong))
		if (out->kind <= SPF_EXISTS)
			a = match(c, domain, out);
	return a;
}

static bool find_modifier(struct str record, enum spf_kind kind, struct spf_term *out)
{
	const char *wrong;

	while (spf_next_term(&record, out, &wrong))
		if (out->kind == kind)
			return true;
	return false;
}

static enum spf code_of(char qualifier)
{
	return qualifier == '-' ? SPF_FAIL : qualifier == '~' ? SPF_SOFTFAIL : qualifier == '?' ? SPF_NEUTRAL : SPF_PASS;
}

/* What a record ended with: its last domain, where redirects led, and the term that matched. */
struct end {
	char domain[DOMAIN_MAX + 1];
	struct str record;
	struct str matched;                     /* empty: nothing did */
};

/* False: not known yet. */
static bool evaluate(struct check *c, struct str domain, struct end *end)
{
	struct spf_text room;
	struct spf_term t;
	struct str next;
	enum answer a;

	for (bool first = true;; first = false) {
		*end = (struct end){ .record = STR("") };
		str_copy(end->domain, sizeof end->domain, domain);
		domain = str_of(end->domain);
		a = find_record(c, domain, &end->record);
		if (a == NO && !first)          /* RFC 7208 6.1 */
			a = stop(c, SPF_PERMERROR, "it redirects to " STR_FMT ", which has none", STR_ARG(domain));
		if (a == NO)
			c->code = SPF_NONE;
		if (a != YES)
			return a != LATER;
		a = find_match(c, domain, end->record, &t);
		if (a == YES) {
			c->code = code_of(t.qualifier);
			end->matched = t.text;
		}
		if (a != NO)
			return a != LATER;
		if (!find_modifier(end->record, SPF_REDIRECT, &t)) {
			c->code = SPF_NEUTRAL;
			return true;
		}
		if (count_term(c) == STOP)
			return true;
		a = find_target(c, domain, &t, &room, &next);
		if (a != YES)
			return a != LATER;
		domain = next;
	}
}

/* RFC 7208 5.2 */
static enum answer match_include(struct check *c, const struct spf_term *t, struct str target)
{
	struct end end;

	(void)t;
	if (!evaluate(c, target, &end))
		return LATER;
	switch (c->code) {
	case SPF_PASS:
		return YES;
	case SPF_FAIL:
	case SPF_SOFTFAIL:
	case SPF_NEUTRAL:
		return NO;
	case SPF_NONE:
		return stop(c, SPF_PERMERROR, "it includes that of " STR_FMT ", which has none", STR_ARG(target));
	case SPF_TEMPERROR:
	case SPF_PERMERROR:
		break;
	}
	return STOP;
}

/* ---- explanations (RFC 7208 6.2): whatever is wrong with one, there is none then */

/* False: not known yet. */
static bool explain(struct check *c, const struct end *end)
{
	struct str domain = str_of(end->domain), name;
	const struct fact *txt;
	struct spf_values v;
	struct spf_text room;
	struct spf_term t;

	if (!find_modifier(end->record, SPF_EXP, &t))
		return true;
	if (!values_for(c, domain, t.domain, &v))
		return false;
	name = spf_expand_name(t.domain, &v, &room);
	if (!(txt = fact(c->facts, FACT_TXT, name)))
		return false;
	if (txt->outcome != FOUND || txt->n != 1 || txt->record[0].data.n > SPF_RECORD_MAX)
		return true;
	if (!values_for(c, domain, txt->record[0].data, &v))
		return false;
	if (spf_expand_text(txt->record[0].data, &v, &room))
		set_text(c->out->explanation, sizeof c->out->explanation, (struct str){ room.p, room.n });
	return true;
}

/* ---- the question */

/* False: no address of the internet. */
static bool set_address(struct check *c, const struct sockaddr *peer)
{
	size_t n = 0;

	if (!ip_of(peer, &c->ip))
		return false;
	if (c->ip.n == 4)
		snprintf(c->ip_dotted, sizeof c->ip_dotted, "%s", c->ip.text);
	else
		for (size_t i = 0; i < 32; i++) {
			c->ip_dotted[n++] = "0123456789ABCDEF"[i % 2 ? c->ip.octet[i / 2] & 15 : c->ip.octet[i / 2] >> 4];
			c->ip_dotted[n++] = i < 31 ? '.' : '\0';
		}
	return true;
}

/* A dot at the end is for the DNS alone. */
static struct str without_dot(struct str name)
{
	if (name.n && name.p[name.n - 1] == '.')
		name.n--;
	return name;
}

static struct str at_most(struct str s, size_t n)
{
	return (struct str){ s.p, s.n < n ? s.n : n };
}

/* RFC 7208 2.4, 4.3: who names no user means postmaster. The domain that is looked at. */
static struct str set_identity(struct check *c)
{
	const struct spf_query *q = c->q;
	struct str local = q->from.local.n ? at_most(q->from.local, LOCAL_MAX) : STR("postmaster"), domain = without_dot(q->from.domain);

	c->out->helo = !q->from.domain.n;
	if (c->out->helo)
		domain = without_dot(q->helo);
	snprintf(c->sender, sizeof c->sender, STR_FMT "@" STR_FMT, STR_ARG(local), STR_ARG(at_most(domain, DOMAIN_MAX)));
	snprintf(c->time, sizeof c->time, "%lld", (long long)q->now);
	c->values = (struct spf_values){ .of = {
		[SPF_M_SENDER] = str_of(c->sender), [SPF_M_LOCAL] = local, [SPF_M_SENDER_DOMAIN] = at_most(domain, DOMAIN_MAX),
		[SPF_M_IP] = str_of(c->ip_dotted), [SPF_M_FAMILY] = c->ip.n == 4 ? STR("in-addr") : STR("ip6"),
		[SPF_M_HELO] = at_most(q->helo, DOMAIN_MAX), [SPF_M_CLIENT] = str_of(c->ip.text),
		[SPF_M_RECEIVER] = q->receiver && *q->receiver ? str_of(q->receiver) : STR("unknown"), [SPF_M_TIME] = str_of(c->time),
	} };
	return domain;
}

static void set_why(struct check *c, struct str domain)
{
	static const char *const may[] = { [SPF_PASS] = "may", [SPF_FAIL] = "may not", [SPF_SOFTFAIL] = "probably may not" };
	struct spf_result *out = c->out;
	const char *ip = c->ip.text, *name = out->domain, *deed = out->helo ? "call itself" : "send mail from";

	switch (c->code) {
	case SPF_NONE:
		snprintf(out->why, sizeof out->why, is_domain(domain) ? "%s has no SPF record" : "\"%s\" is no name that could have an SPF record", name);
		break;
	case SPF_NEUTRAL:
		snprintf(out->why, sizeof out->why, "%s does not say whether %s may %s it [%s]", name, ip, deed, out->mechanism);
		break;
	case SPF_PASS:
	case SPF_FAIL:
	case SPF_SOFTFAIL:
		snprintf(out->why, sizeof out->why, "%s %s %s %s [%s]", ip, may[c->code], deed, name, out->mechanism);
		break;
	case SPF_TEMPERROR:
		snprintf(out->why, sizeof out->why, "cannot find out now whether %s may %s %s: %s", ip, deed, name, out->problem);
		break;
	case SPF_PERMERROR:
		snprintf(out->why, sizeof out->why, "the SPF record of %s cannot be used: %s", name, out->problem);
		break;
	}
}

void spf_late(const struct spf_query *q, struct spf_result *out)
{
	struct check c = { .q = q, .out = out };
	struct str domain;

	*out = (struct spf_result){ .code = SPF_TEMPERROR };
	set_address(&c, q->peer);
	domain = set_identity(&c);
	set_text(out->domain, sizeof out->domain, domain);
	stop(&c, SPF_TEMPERROR, "no answer within %d s", SPF_TIME_S);
	set_why(&c, domain);
}

enum verdict spf_check(struct facts *facts, const struct spf_query *q, struct spf_result *out)
{
	struct check c = { .facts = facts, .q = q, .out = out };
	struct str domain;
	struct end end;

	*out = (struct spf_result){ .code = SPF_NONE };
	if (!set_address(&c, q->peer)) {
		snprintf(out->why, sizeof out->why, "the client has no address of the internet");
		return ACCEPT;
	}
	domain = set_identity(&c);
	set_text(out->domain, sizeof out->domain, domain);
	if (!evaluate(&c, domain, &end) || (c.code == SPF_FAIL && !explain(&c, &end)))
		return WAIT;
	out->code = c.code;
	if (c.code != SPF_TEMPERROR && c.code != SPF_PERMERROR)
		out->problem[0] = '\0';
	if (c.code == SPF_NEUTRAL || c.code == SPF_PASS || c.code == SPF_FAIL || c.code == SPF_SOFTFAIL)
		set_text(out->mechanism, sizeof out->mechanism, end.matched.n ? end.matched : STR("default"));
	set_why(&c, domain);
	return ACCEPT;
}

/* ---- the field */

enum { COMMENT_MAX = 350 };                     /* octets: RFC 5322 2.1.1 allows 998 a line, with what is escaped */

static void add_comment(struct buf *b, struct str text)
{
	for (size_t i = 0; i < text.n; i++) {
		char c = text.p[i];

		if (c == '(' || c == ')' || c == '\\')
			buf_char(b, '\\');
		buf_char(b, ascii_print(c) ? c : '?');
	}
}

/* RFC 5322 3.2.3 */
static bool is_dot_atom(struct str s)
{
	bool dot = true;

	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (c == '.' ? dot : !ascii_alpha(c) && !ascii_digit(c) && (!c || !strchr("!#$%&'*+-/=?^_`{|}~", c)))
			return false;
		dot = c == '.';
	}
	return !dot;
}

/* "; key=value" on a line of its own; the blank behind the comment needs no semicolon. */
static void add_pair(struct buf *b, bool *first, const char *key, struct str value)
{
	value = at_most(value, ADDR_MAX);
	buf_printf(b, "%s\r\n\t%s=", *first ? "" : ";", key);
	*first = false;
	if (is_dot_atom(value)) {
		buf_str(b, value);
		return;
	}
	buf_char(b, '"');
	for (size_t i = 0; i < value.n; i++) {
		if (value.p[i] == '"' || value.p[i] == '\\')
			buf_char(b, '\\');
		buf_char(b, ascii_print(value.p[i]) ? value.p[i] : '?');
	}
	buf_char(b, '"');
}

bool spf_field(struct buf *b, const struct spf_query *q, const struct spf_result *r)
{
	struct check c = { .q = q };
	char from[ADDR_MAX + 2] = "<>";
	bool first = true;

	if (q->from.domain.n)
		snprintf(from, sizeof from, STR_FMT "@" STR_FMT, STR_ARG(q->from.local), STR_ARG(q->from.domain));
	buf_printf(b, "Received-SPF: %s\r\n\t(", spf_name(r->code));
	add_comment(b, at_most(str_of(q->receiver), DOMAIN_MAX));
	buf_puts(b, ": ");
	add_comment(b, at_most(str_of(r->why), COMMENT_MAX));
	buf_char(b, ')');
	if (set_address(&c, q->peer))
		add_pair(b, &first, "client-ip", str_of(c.ip.text));
	add_pair(b, &first, "envelope-from", str_of(from));
	add_pair(b, &first, "helo", q->helo);
	if (*r->problem)
		add_pair(b, &first, "problem", str_of(r->problem));
	if (*r->mechanism)
		add_pair(b, &first, "mechanism", str_of(r->mechanism));
	add_pair(b, &first, "receiver", str_of(q->receiver));
	add_pair(b, &first, "identity", r->helo ? STR("helo") : STR("mailfrom"));
	return buf_puts(b, "\r\n") && !b->bad;
}
