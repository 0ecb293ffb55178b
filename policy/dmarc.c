/* DMARC: the record that counts, who speaks for the domain, and what follows. Run again from the top until all is known. */
#include "policy/dmarc.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/suffix.h"
#include "policy/arc.h"
#include "policy/dkim.h"
#include "policy/spf.h"

_Static_assert((int)DMARC_SIGNATURES >= (int)DKIM_SIGNATURES, "all signatures that are judged count");

const char *dmarc_name(enum dmarc code)
{
	static const char *const names[] = {
		[DMARC_NONE] = "none", [DMARC_PASS] = "pass", [DMARC_FAIL] = "fail", [DMARC_TEMPERROR] = "temperror", [DMARC_PERMERROR] = "permerror",
	};

	return names[code];
}

const char *dmarc_override_name(enum dmarc_override why)
{
	static const char *const names[] = {
		[DMARC_NO_OVERRIDE] = "", [DMARC_SAMPLED_OUT] = "sampled_out", [DMARC_TEST_MODE] = "policy_test_mode", [DMARC_FORWARDED] = "forwarded",
		[DMARC_MAILING_LIST] = "mailing_list", [DMARC_TRUSTED_FORWARDER] = "trusted_forwarder", [DMARC_LOCAL_POLICY] = "local_policy",
		[DMARC_OTHER] = "other",
	};

	return names[why];
}

void dmarc_query_set(struct dmarc_query *q, const struct spf_result *spf, const struct dkim *d)
{
	const char *why;

	if (spf)
		q->spf = (struct dmarc_id){ str_of(spf->domain),
			spf->code == SPF_PASS ? DMARC_AUTH_PASS : spf->code == SPF_TEMPERROR ? DMARC_AUTH_TEMPERROR : DMARC_AUTH_NO };
	q->unknown_dkim = d && dkim_fault(d, &why) == DKIM_TEMPERROR;
	q->ndkim = d ? dkim_count(d) : 0;
	for (size_t i = 0; i < q->ndkim; i++) {
		const struct dkim_signature *s = dkim_at(d, i);

		q->dkim[i] = (struct dmarc_id){ str_of(s->domain),
			s->result == DKIM_PASS ? DMARC_AUTH_PASS : s->result == DKIM_TEMPERROR ? DMARC_AUTH_TEMPERROR : DMARC_AUTH_NO };
	}
}

/* ---- the walk through the tree (RFC 9989 4.10) */

enum found { NOTHING, RECORD, SENSELESS, UNCERTAIN };

struct level {
	struct str domain;
	enum found found;
	const struct fact *fact;
	struct dmarc_record record;     /* RECORD */
	const char *wrong;              /* SENSELESS */
};
struct walk {
	size_t n;
	struct level level[DMARC_WALK]; /* from the domain itself upwards */
	struct str organization;        /* empty: `uncertain` says why */
	const struct level *policy;     /* whose record counts for the domain; NULL: there is none, or `uncertain` says why */
	const struct level *uncertain;
};

static size_t labels(struct str name)
{
	size_t n = name.n > 0;

	for (size_t i = 0; i < name.n; i++)
		n += name.p[i] == '.';
	return n;
}

/* The last n labels of a name that has as many. */
static struct str last_labels(struct str name, size_t n)
{
	for (size_t k = labels(name); k > n; k--) {
		struct str head;

		str_cut(&name, '.', &head);
	}
	return name;
}

static void list_levels(struct walk *w, struct str domain)
{
	size_t n = labels(domain);

	w->level[w->n++].domain = domain;
	for (size_t k = n <= DMARC_WALK ? n : DMARC_WALK; k > 1; k--)
		w->level[w->n++].domain = last_labels(domain, k - 1);
}

/* Several records at a name are none. */
static void read_records(struct level *l)
{
	const struct fact *f = l->fact;
	const struct record *only = NULL;
	size_t n = 0;

	for (size_t i = 0; f->outcome == FOUND && i < f->n; i++) {
		if (!dmarc_is_record(f->record[i].data))
			continue;
		only = &f->record[i];
		n++;
	}
	if (n != 1)
		return;
	l->wrong = dmarc_record_parse(only->data, &l->record);
	l->found = l->wrong ? SENSELESS : RECORD;
}

/* False: not known yet. */
static bool look(struct facts *facts, struct level *l)
{
	char name[8 + DOMAIN_MAX];
	int n = snprintf(name, sizeof name, "_dmarc." STR_FMT, STR_ARG(l->domain));

	if (n > 253)                    /* RFC 1035 2.3.4: no such name can be */
		return true;
	if (!(l->fact = fact(facts, FACT_TXT, (struct str){ name, (size_t)n })))
		return false;
	if (l->fact->outcome == UNKNOWN)
		l->found = UNCERTAIN;
	else
		read_records(l);
	return true;
}

/* A registry that has a record without saying so (psd=) speaks for its customers where they say nothing themselves, but does not
 * make one organization of them. */
static bool is_registry(const struct level *l)
{
	return l->record.psd == 'y' || (l->record.psd == 'u' && suffix_is_public(l->domain));
}

/* RFC 9989 4.10.2: the record that decides, from the longest name to the shortest. */
static void select_organization(struct walk *w, struct str domain)
{
	const struct level *senseless = NULL;

	for (struct level *l = w->level; l < w->level + w->n; l++) {
		if (l->found == UNCERTAIN) {
			w->uncertain = l;
			w->organization = STR("");
			return;
		}
		if (l->found == SENSELESS && !senseless)
			senseless = l;
		if (l->found != RECORD)
			continue;
		if (!is_registry(l)) {
			w->organization = l->domain;
			w->policy = l;
			if (l->record.psd == 'n')
				return;
			continue;
		}
		w->organization = l == w->level ? domain : last_labels(domain, labels(l->domain) + 1);
		if (!w->policy || !str_eq(w->policy->domain, w->organization))
			w->policy = l;
		return;
	}
	if (!w->policy)
		w->policy = senseless;
}

/* False: not known yet. All but the top are asked for at once; a top-level domain counts only where nothing below it says anything. */
static bool walk(struct facts *facts, struct str domain, struct walk *w)
{
	bool known = true, any = false;
	size_t top;

	*w = (struct walk){ 0 };
	list_levels(w, domain);
	top = w->n - 1;
	for (size_t i = 0; i < w->n; i++) {
		if (i == top && i && (any || !known))
			break;
		known = look(facts, &w->level[i]) && known;
		any |= w->level[i].found != NOTHING;
	}
	if (!known)
		return false;
	select_organization(w, domain);
	if (!w->organization.n && !w->uncertain) {
		w->organization = suffix_registered(domain);
		if (!w->organization.n)
			w->organization = domain;
	}
	if (w->level[0].found == UNCERTAIN)
		w->policy = NULL;
	else if (w->level[0].found != NOTHING)  /* its own record, whatever stands above it */
		w->policy = &w->level[0];
	else if (w->uncertain)
		w->policy = NULL;
	return true;
}

enum verdict dmarc_find_owner(struct facts *facts, struct str domain, struct dmarc_owner *out)
{
	struct walk w;

	*out = (struct dmarc_owner){ 0 };
	if (!walk(facts, domain, &w))
		return WAIT;
	out->organization = w.organization;
	out->has_record = w.level[0].found == RECORD;
	out->record = w.level[0].record;
	return w.uncertain ? REFUSE : ACCEPT;
}

/* ---- alignment (RFC 9989 4.4, 4.10.2) */

enum aligned { LATER, NO, YES, UNSURE };

static bool is_below(struct str name, struct str domain)
{
	return name.n > domain.n && name.p[name.n - domain.n - 1] == '.' && str_ends_nocase(name, domain);
}

static enum aligned is_aligned(struct facts *facts, const struct walk *author, struct str domain, bool strict)
{
	struct str own = author->level[0].domain;
	struct walk w;

	if (!domain.n)
		return NO;
	if (str_eq_nocase(domain, own))
		return YES;
	if (strict)
		return NO;
	if (author->uncertain)          /* no top-level domain is an organization */
		return labels(own) > 1 && labels(domain) > 1 && str_eq_nocase(last_labels(own, 2), last_labels(domain, 2)) ? UNSURE : NO;
	if (str_eq_nocase(domain, author->organization))
		return YES;
	if (!is_below(domain, author->organization))
		return NO;
	if (!walk(facts, domain, &w))
		return LATER;
	return w.uncertain ? UNSURE : str_eq_nocase(w.organization, author->organization) ? YES : NO;
}

/* What one that may speak for the author does for him. */
static enum aligned speaks(struct facts *facts, const struct walk *author, const struct dmarc_id *id, bool strict)
{
	enum aligned a = id->result == DMARC_AUTH_NO ? NO : is_aligned(facts, author, id->domain, strict);

	return a == YES && id->result == DMARC_AUTH_TEMPERROR ? UNSURE : a;
}

/* ---- one author */

struct judging {
	struct facts *facts;
	const struct dmarc_query *q;
	struct dmarc_result *out;
	struct walk walk;
};

static void say(struct dmarc_result *out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void say(struct dmarc_result *out, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(out->why, sizeof out->why, fmt, ap);
	va_end(ap);
	ascii_make_printable(out->why);
}

static void uncertain(struct dmarc_result *out, const char *what, struct str name, const struct fact *f)
{
	out->code = DMARC_TEMPERROR;
	out->retry = !f->local_fault;
	say(out, "cannot look up %s" STR_FMT ": %s", what, STR_ARG(name), f->why ? f->why : "no reason given");
}

/* Whole URIs, as many as there is room for. */
static void keep_uris(struct dmarc_result *out, struct str rua)
{
	struct str rest = rua, last = rua;

	if (rua.n >= sizeof out->rua) {
		rest.n = sizeof out->rua;
		if (!str_cut_last(&rest, ',', &last))
			last = STR("");
	}
	str_copy(out->rua, sizeof out->rua, last);
}

/* The record's say. False: not known yet, or it is said what stands in the way. */
static bool find_policy(struct judging *j)
{
	const struct level *l = j->walk.policy;
	struct dmarc_result *out = j->out;

	str_copy(out->organization, sizeof out->organization, j->walk.organization);
	if (!l && j->walk.uncertain) {
		uncertain(out, "_dmarc.", j->walk.uncertain->domain, j->walk.uncertain->fact);
	} else if (!l) {
		out->code = DMARC_NONE;
		say(out, "%s has no DMARC record", out->domain);
	} else if (l->found == SENSELESS) {
		out->code = DMARC_PERMERROR;
		say(out, "the DMARC record of " STR_FMT " has no meaning: %s", STR_ARG(l->domain), l->wrong);
	} else {
		str_copy(out->policy_domain, sizeof out->policy_domain, l->domain);
		out->record = l->record;
		out->record.rua = out->record.ruf = STR("");
		out->secure = l->fact->secure;
		keep_uris(out, l->record.rua);
		return true;
	}
	return false;
}

/* Which tag counts (RFC 9989 4.10.1). np= is asked about only when it is of use. False: not known yet, or it cannot be known. */
static bool choose_tag(struct judging *j, bool passed)
{
	struct dmarc_result *out = j->out;
	const struct dmarc_record *r = &out->record;
	bool below = j->walk.policy != &j->walk.level[0];
	const struct fact *self = NULL;

	out->tag = below && r->sp != DMARC_NOT_SAID ? "sp" : "p";
	out->published = below && r->sp != DMARC_NOT_SAID ? r->sp : r->p;
	if (!below || passed || r->np == DMARC_NOT_SAID)
		return true;
	if (!(self = fact(j->facts, FACT_A, str_of(out->domain))))
		return false;
	if (self->outcome == UNKNOWN && r->np != out->published) {
		uncertain(out, "", str_of(out->domain), self);
		return false;
	}
	if (self->outcome == NO_NAME) {         /* 3.2.13 */
		out->tag = "np";
		out->published = r->np;
	}
	return true;
}

/* RFC 9989 4.7 (t=), RFC 7489 6.6.4 (pct=): the next lower one. */
static void choose_policy(struct dmarc_result *out, unsigned sample)
{
	out->policy = out->published;
	if (out->published == DMARC_P_NONE)
		return;
	if (out->record.testing)
		out->override = DMARC_TEST_MODE;
	else if (sample >= out->record.pct)
		out->override = DMARC_SAMPLED_OUT;
	if (out->override != DMARC_NO_OVERRIDE)
		out->policy = out->published == DMARC_P_REJECT ? DMARC_P_QUARANTINE : DMARC_P_NONE;
}

static void say_passed(struct dmarc_result *out)
{
	out->code = DMARC_PASS;
	say(out, "%s for %s", !out->dkim_aligned ? "SPF speaks" : !out->spf_aligned ? "a signature speaks" : "SPF and a signature speak", out->domain);
}

static void say_failed(struct dmarc_result *out)
{
	static const char *const but[] = { [DMARC_TEST_MODE] = ", for a test (t=y)", [DMARC_SAMPLED_OUT] = ", but not for this message (pct=)" };

	out->code = DMARC_FAIL;
	say(out, "neither SPF nor a signature speaks for %s; its owner says %s=%s at _dmarc.%s%s", out->domain, out->tag,
		dmarc_policy_name(out->published), out->policy_domain, out->override ? but[out->override] : "");
}

static void say_unsure(struct dmarc_result *out)
{
	out->code = DMARC_TEMPERROR;
	out->retry = out->policy != DMARC_P_NONE;
	out->policy = DMARC_P_NONE;
	say(out, "it cannot be found out now whether SPF or a signature speaks for %s", out->domain);
}

/* Whatever a record would say, the very same domain that has passed is enough. */
static bool speaks_anyway(const struct dmarc_query *q, const char *domain)
{
	bool any = q->spf.result == DMARC_AUTH_PASS && str_eq_nocase(q->spf.domain, str_of(domain));

	for (size_t i = 0; i < q->ndkim; i++)
		any = any || (q->dkim[i].result == DMARC_AUTH_PASS && str_eq_nocase(q->dkim[i].domain, str_of(domain)));
	return any;
}

/* False: not known yet. */
static bool judge(struct judging *j)
{
	struct dmarc_result *out = j->out;
	bool later = false, unsure = j->q->unknown_dkim;
	enum aligned a;

	if (!walk(j->facts, str_of(out->domain), &j->walk))
		return false;
	if (!find_policy(j)) {
		out->retry = out->retry && !speaks_anyway(j->q, out->domain);
		return true;
	}
	a = speaks(j->facts, &j->walk, &j->q->spf, out->record.strict_spf);
	later |= a == LATER;
	unsure |= a == UNSURE;
	out->spf_aligned = a == YES;
	for (size_t i = 0; i < j->q->ndkim; i++) {
		a = speaks(j->facts, &j->walk, &j->q->dkim[i], out->record.strict_dkim);
		later |= a == LATER;
		unsure |= a == UNSURE;
		out->dkim_aligned |= a == YES;
	}
	if (later)
		return false;
	if (!choose_tag(j, out->spf_aligned || out->dkim_aligned))
		return out->code == DMARC_TEMPERROR;
	if (out->spf_aligned || out->dkim_aligned) {
		say_passed(out);
		return true;
	}
	choose_policy(out, j->q->sample);
	(unsure ? say_unsure : say_failed)(out);
	return true;
}

/* ---- all of them */

static void begin(struct dmarc_result *out)
{
	*out = (struct dmarc_result){ .tag = "", .policy = DMARC_P_NONE, .published = DMARC_P_NONE };
}

/* The worst decides: what is refused, then what may be refused later, then what is not good. */
static unsigned badness(const struct dmarc_result *r)
{
	static const unsigned codes[] = { [DMARC_PASS] = 0, [DMARC_NONE] = 1, [DMARC_PERMERROR] = 2, [DMARC_FAIL] = 3, [DMARC_TEMPERROR] = 4 };

	return (r->policy == DMARC_P_REJECT ? 30u : r->retry ? 20u : r->policy == DMARC_P_QUARANTINE ? 10u : 0u) + codes[r->code];
}

enum verdict dmarc_check(struct facts *facts, const struct dmarc_query *q, struct dmarc_result *out)
{
	bool known = true;

	begin(out);
	if (q->author->unclear) {
		out->code = DMARC_PERMERROR;
		out->unclear = true;
		if (q->author->n)
			memcpy(out->domain, q->author->domain[0], sizeof out->domain);
		say(out, "%s", q->author->unclear);
		return ACCEPT;
	}
	if (!q->author->n) {
		say(out, "%s", q->author->fields ? "From names no domain" : "there is no From field");
		return ACCEPT;
	}
	for (size_t i = 0; i < q->author->n; i++) {
		struct dmarc_result one;
		struct judging j = { .facts = facts, .q = q, .out = &one };

		begin(&one);
		memcpy(one.domain, q->author->domain[i], sizeof one.domain);
		known = judge(&j) && known;
		if (known && (i == 0 || badness(&one) > badness(out)))
			*out = one;
	}
	return known ? ACCEPT : WAIT;
}

void dmarc_trust(struct dmarc_result *r, const struct arc *arc, const char *sealers)
{
	enum arc_result vouched = r->code == DMARC_FAIL && r->policy > DMARC_P_NONE ? arc_vouches(arc, sealers, r->domain) : ARC_FAIL;

	if (vouched == ARC_FAIL)
		return;
	r->policy = DMARC_P_NONE;
	if (vouched == ARC_PASS) {
		r->override = DMARC_TRUSTED_FORWARDER;
	} else {
		r->code = DMARC_TEMPERROR;
		r->retry = true;
		say(r, "nothing speaks for %s, and whether a chain that is trusted (ARC) does cannot be found out now", r->domain);
	}
}

void dmarc_late(const struct dmarc_query *q, struct dmarc_result *out)
{
	begin(out);
	if (q->author->n)
		memcpy(out->domain, q->author->domain[0], sizeof out->domain);
	out->code = DMARC_TEMPERROR;
	out->retry = q->author->n != 1 || !speaks_anyway(q, out->domain);
	say(out, "the records were not there after %d s", DMARC_TIME_S);
}
