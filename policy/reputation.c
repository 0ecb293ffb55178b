/* Reputation from what the reader of a mailbox did with mail that came before. */
#include "policy/reputation.h"

#include <string.h>

enum {
	DAY = 86400,
	FROM_S = 3 * 365 * DAY, DOMAIN_S = 2 * 365 * DAY, VOUCHED_S = 365 * DAY / 2, IP_S = 365 * DAY / 4,     /* how far back */
	FROM_MOST = 2, DOMAIN_MOST = 20, VOUCHED_MOST = 50, IP_MOST = 50,                                       /* how many of the newest */
	LOCALS_ENOUGH = 3,              /* different authors, before their whole domain is refused */
	CLASSES = 3
};

static const char *const method_names[] = {
	[METHOD_FROM] = "msgfromfull", [METHOD_TO] = "msgtofull", [METHOD_FROM_DOMAIN] = "msgfromdomain", [METHOD_TO_DOMAIN] = "msgtodomain",
	[METHOD_FROM_ORG] = "msgfromorgdomain", [METHOD_TO_ORG] = "msgtoorgdomain", [METHOD_DKIM_SPF] = "dkimspf",
	[METHOD_IP1] = "ip1", [METHOD_IP2] = "ip2", [METHOD_IP3] = "ip3", [METHOD_NONE] = "none"
};

const char *method_name(enum method m) { return method_names[m]; }

enum method method_of(struct str name)
{
	enum method m = METHOD_FROM;

	while (m < METHOD_NONE && !str_eq(name, str_of(method_names[m])))
		m++;
	return m;
}

const char *opinion_name(enum opinion o)
{
	return o == OPINION_HAM ? "ham" : o == OPINION_JUNK ? "junk" : "unknown";
}

/* ---- looking through marked mail, the newest first */

struct search {
	const struct history *history;
	const struct identities *who;
	int64_t now;
	struct str key;
	unsigned bits;                  /* of a network */
	unsigned char network[16];
	bool validated;
	bool (*matches)(const struct search *, const struct remembered *);
};
struct found {
	unsigned n, junk;
	const struct remembered *newest[DOMAIN_MOST];
};

static struct found look(const struct search *s, int64_t window, unsigned most)
{
	struct found f = { .n = 0 };

	for (size_t i = s->history->n; i-- && f.n < most;) {
		const struct remembered *r = &s->history->record[i];

		if (r->mark == MARK_NONE || s->now - r->time > window || !s->matches(s, r))
			continue;
		if (f.n < DOMAIN_MOST)
			f.newest[f.n] = r;
		f.n++;
		f.junk += r->mark == MARK_JUNK;
	}
	return f;
}

static bool is_below(struct str domain, struct str above)
{
	return str_eq(domain, above) || (domain.n > above.n && domain.p[domain.n - above.n - 1] == '.' &&
		str_eq(str_from(domain, domain.n - above.n), above));
}

static bool same_from(const struct search *s, const struct remembered *r)
{
	return r->who.validated == s->validated && str_eq(r->who.from, s->key);
}

static bool same_domain(const struct search *s, const struct remembered *r)
{
	return r->who.validated == s->validated && str_eq(identity_domain(r->who.from), s->key);
}

static bool same_org(const struct search *s, const struct remembered *r)
{
	return r->who.validated == s->validated && is_below(identity_domain(r->who.from), s->key);
}

static bool same_signer(const struct search *s, const struct remembered *r)
{
	struct str rest = r->who.dkim, one;

	while (str_cut(&rest, ',', &one))
		if (str_eq(one, s->key))
			return true;
	return str_eq(rest, s->key);
}

/* What was only said, and not shown, would let anybody spoil the name of others. */
static bool same_mail(const struct search *s, const struct remembered *r)
{
	return r->who.mail_pass && str_eq(r->who.mail, s->key);
}

static bool same_mail_domain(const struct search *s, const struct remembered *r)
{
	return r->who.mail_pass && str_eq(identity_domain(r->who.mail), s->key);
}

static bool same_helo(const struct search *s, const struct remembered *r)
{
	return r->who.helo_pass && str_eq(r->who.helo, s->key);
}

static bool same_network(const struct search *s, const struct remembered *r)
{
	unsigned octets = s->bits / 8;

	if (!r->who.ip.n || memcmp(r->network, s->network, octets) != 0)
		return false;
	return s->bits % 8 == 0 || (r->network[octets] ^ s->network[octets]) >> (8 - s->bits % 8) == 0;
}

/* ---- authors */

static bool both_junk(const struct found *f)
{
	return f->newest[0]->mark == MARK_JUNK && (f->n == 1 || f->newest[1]->mark == MARK_JUNK);
}

static unsigned different_locals(const struct found *f)
{
	unsigned n = 0;

	for (unsigned i = 0; i < f->n; i++) {
		unsigned k = 0;

		while (k < i && !str_eq(f->newest[k]->who.from, f->newest[i]->who.from))
			k++;
		n += k == i;
	}
	return n;
}

/* Of the same author. */
static bool from_author(struct search *s, struct reputation *out)
{
	struct found f = look(s, FROM_S, FROM_MOST);

	if (!f.n)
		return false;
	*out = (struct reputation){ both_junk(&f) ? OPINION_JUNK : OPINION_HAM, s->who->validated, METHOD_FROM, f.n };
	return true;
}

/* Of a whole domain. */
static bool from_many(struct search *s, enum method m, struct reputation *out)
{
	struct found f = look(s, DOMAIN_S, DOMAIN_MOST);

	if (!f.n)
		return false;
	*out = (struct reputation){ OPINION_UNKNOWN, false, m, f.n };
	if (f.junk == f.n)
		*out = (struct reputation){ OPINION_JUNK, different_locals(&f) >= LOCALS_ENOUGH, m, f.n };
	else if ((f.n - f.junk) * 100 / f.n > 80)
		*out = (struct reputation){ OPINION_HAM, true, m, f.n };
	return true;
}

/* Who always could show that it is his mail cannot now: that is not he. */
static bool not_as_before(struct search *s, int64_t window, enum method m, struct reputation *out)
{
	struct found f;

	if (s->who->validated)
		return false;
	s->validated = true;
	f = look(s, window, FROM_MOST);
	s->validated = false;
	if (!f.n)
		return false;
	*out = (struct reputation){ OPINION_JUNK, both_junk(&f), m, f.n };
	return true;
}

static bool written_to(const struct search *s, int64_t window, bool (*is)(struct str address, struct str key), enum method m,
	struct reputation *out)
{
	for (size_t i = s->history->nwritten; i--;) {
		const struct written *w = &s->history->written[i];

		if (s->now - w->time > window || !is(w->address, s->key))
			continue;
		*out = (struct reputation){ OPINION_HAM, true, m, 1 };
		return true;
	}
	return false;
}

static bool is_domain_of(struct str address, struct str domain) { return str_eq(identity_domain(address), domain); }
static bool is_org_of(struct str address, struct str org) { return is_below(identity_domain(address), org); }

static bool by_author(struct search *s, struct reputation *out)
{
	s->key = s->who->from;
	s->matches = same_from;
	return from_author(s, out) || not_as_before(s, FROM_S, METHOD_FROM, out) || written_to(s, FROM_S, str_eq, METHOD_TO, out);
}

static bool by_domain(struct search *s, struct reputation *out)
{
	s->key = identity_domain(s->who->from);
	s->matches = same_domain;
	return from_many(s, METHOD_FROM_DOMAIN, out) || not_as_before(s, DOMAIN_S, METHOD_FROM_DOMAIN, out) ||
		written_to(s, DOMAIN_S, is_domain_of, METHOD_TO_DOMAIN, out);
}

static bool by_org(struct search *s, struct str org, struct reputation *out)
{
	s->key = org;
	s->matches = same_org;
	return org.n && (from_many(s, METHOD_FROM_ORG, out) || not_as_before(s, DOMAIN_S, METHOD_FROM_ORG, out) ||
		written_to(s, DOMAIN_S, is_org_of, METHOD_TO_ORG, out));
}

/* ---- who vouches for it */

struct votes {
	unsigned ham, junk, neutral, most;
};

static bool vote(struct search *s, bool (*matches)(const struct search *, const struct remembered *), struct str key, struct votes *v)
{
	struct found f;

	if (!key.n)
		return false;
	s->key = key;
	s->matches = matches;
	f = look(s, VOUCHED_S, VOUCHED_MOST);
	if (!f.n)
		return false;
	if (f.junk * 10 < f.n)
		v->ham++;
	else if (f.junk * 10 > f.n * 9)
		v->junk++;
	else
		v->neutral++;
	if (f.n > v->most)
		v->most = f.n;
	return true;
}

static void vote_of_spf(struct search *s, struct votes *v)
{
	const struct identities *who = s->who;

	if (who->mail_pass && (vote(s, same_mail, who->mail, v) || vote(s, same_mail_domain, identity_domain(who->mail), v)))
		return;
	if (who->helo_pass)
		vote(s, same_helo, who->helo, v);
}

static bool by_vouchers(struct search *s, struct reputation *out)
{
	struct votes v = { .most = 0 };
	struct str rest = s->who->dkim, one;

	for (unsigned i = 0; i < HISTORY_DKIM && str_cut(&rest, ',', &one); i++)
		vote(s, same_signer, one, &v);
	vote(s, same_signer, rest, &v);
	vote_of_spf(s, &v);
	if (!v.ham && !v.junk && !v.neutral)
		return false;
	*out = (struct reputation){ OPINION_UNKNOWN, false, METHOD_DKIM_SPF, v.most };
	if (v.ham && !v.junk)
		*out = (struct reputation){ OPINION_HAM, true, METHOD_DKIM_SPF, v.most };
	else if (v.junk && !v.ham)
		*out = (struct reputation){ OPINION_JUNK, v.most > 1, METHOD_DKIM_SPF, v.most };
	return true;
}

/* ---- where it comes from */

static bool is_mapped(const unsigned char network[16])
{
	static const unsigned char mapped[12] = { [10] = 0xff, [11] = 0xff };

	return memcmp(network, mapped, sizeof mapped) == 0;
}

static bool by_network(struct search *s, struct reputation *out)
{
	static const struct { unsigned bits4, bits6, enough; } classes[CLASSES] = { { 128, 64, 2 }, { 122, 48, 5 }, { 117, 32, 10 } };

	if (!history_network(s->who->ip, s->network))
		return false;
	s->matches = same_network;
	for (unsigned c = 0; c < CLASSES; c++) {
		struct found f;

		s->bits = is_mapped(s->network) ? classes[c].bits4 : classes[c].bits6;
		f = look(s, IP_S, IP_MOST);
		if (!f.n)
			continue;
		out->opinion = f.junk * 4 < f.n ? OPINION_HAM : f.junk * 4 > f.n * 3 ? OPINION_JUNK : OPINION_UNKNOWN;
		out->conclusive = f.n >= classes[c].enough && (f.junk * 10 <= f.n || f.junk * 10 >= f.n * 9);
		out->method = METHOD_IP1 + c;
		out->n = f.n;
		return true;
	}
	return false;
}

void reputation_of(const struct history *h, const struct identities *who, struct str org, int64_t now, struct reputation *out)
{
	struct search s = { .history = h, .who = who, .now = now, .validated = who->validated };

	*out = (struct reputation){ OPINION_UNKNOWN, false, METHOD_NONE, 0 };
	if (identity_domain(who->from).n && (by_author(&s, out) || by_domain(&s, out) || by_org(&s, org, out)))
		return;
	if (!by_vouchers(&s, out))
		by_network(&s, out);
}

/* ---- as a fact */

bool reputation_ask(struct buf *name, struct str local, struct str org, const struct identities *who)
{
	buf_str(name, local);
	buf_char(name, '\n');
	buf_str(name, org);
	buf_char(name, '\n');
	return identities_print(name, who);
}

bool reputation_asked(struct str name, struct str *local, struct str *org, struct identities *who)
{
	return str_cut(&name, '\n', local) && str_cut(&name, '\n', org) && identities_parse(&name, who);
}

bool reputation_print(struct buf *out, const struct reputation *r)
{
	return buf_printf(out, "%s %s %s %u", method_name(r->method), opinion_name(r->opinion), r->conclusive ? "conclusive" : "weak", r->n);
}

bool reputation_parse(struct str text, struct reputation *out)
{
	struct str method, opinion, weight, number;
	uint64_t n;

	if (!str_word(&text, &method) || !str_word(&text, &opinion) || !str_word(&text, &weight) || !str_word(&text, &number) ||
	    !str_number(number, UINT32_MAX, &n))
		return false;
	*out = (struct reputation){ OPINION_UNKNOWN, str_eq(weight, STR("conclusive")), method_of(method), (unsigned)n };
	for (enum opinion o = OPINION_HAM; o <= OPINION_JUNK; o++)
		if (str_eq(opinion, str_of(opinion_name(o))))
			out->opinion = o;
	return true;
}
