/* TLS reporting: lines, and what a day's lines come to. */
#include "policy/tlsrpt.h"

#include <stdlib.h>
#include <string.h>

#include "lib/codec.h"

const char *const tlsrpt_type_name[TLSRPT_TYPES] = {
	[TLSRPT_NO_POLICY] = "no-policy-found", [TLSRPT_STS] = "sts", [TLSRPT_TLSA] = "tlsa",
};

const char *const tlsrpt_result_name[TLSRPT_RESULTS] = {
	[TLSRPT_OK] = "ok",
	[TLSRPT_NO_STARTTLS] = "starttls-not-supported", [TLSRPT_OTHER_HOST] = "certificate-host-mismatch",
	[TLSRPT_EXPIRED] = "certificate-expired", [TLSRPT_NOT_TRUSTED] = "certificate-not-trusted", [TLSRPT_FAILED] = "validation-failure",
	[TLSRPT_TLSA_INVALID] = "tlsa-invalid", [TLSRPT_DNSSEC_INVALID] = "dnssec-invalid", [TLSRPT_DANE_REQUIRED] = "dane-required",
	[TLSRPT_STS_NOT_FETCHED] = "sts-policy-fetch-error",
};

/* ---- the line */

bool tlsrpt_print(struct buf *out, const struct tlsrpt_session *s)
{
	struct buf line = { .max = TLSRPT_LINE };
	bool good;

	buf_printf(&line, "1 time=%lld", (long long)s->time);
	daily_put(&line, "domain", s->domain);
	buf_printf(&line, " type=%s result=%s", tlsrpt_type_name[s->type], tlsrpt_result_name[s->result]);
	daily_put(&line, "mx", s->mx);
	daily_put(&line, "ip", s->ip);
	daily_put(&line, "policy", s->policy);
	daily_put_text(&line, "why", (struct str){ s->why.p, s->why.n < TLSRPT_WHY ? s->why.n : TLSRPT_WHY - 1 });
	good = buf_char(&line, '\n') && !line.bad && buf_str(out, buf_view(&line));
	buf_free(&line);
	return good;
}

/* A line read back, decoded. */
struct fields {
	char time[24], domain[DOMAIN_MAX + 1], sent[DOMAIN_MAX + 1], type[24], result[40], mx[DOMAIN_MAX + 1], ip[48], policy[TLSRPT_POLICY],
		why[TLSRPT_WHY];
};

#define ROW(name) DAILY_ROW(struct fields, name)
static const struct daily_field rows[] = {
	ROW(time), ROW(domain), ROW(sent), ROW(type), ROW(result), ROW(mx), ROW(ip), ROW(policy), ROW(why),
};

static bool read_fields(struct str line, struct fields *f)
{
	memset(f, 0, sizeof *f);
	return daily_read(line, rows, sizeof rows / sizeof *rows, f) && f->time[0] && (f->sent[0] || f->domain[0]);
}

static bool find_name(const char *const *names, size_t n, const char *text, unsigned *out)
{
	for (*out = 0; *out < n; ++*out)
		if (!strcmp(names[*out], text))
			return true;
	return false;
}

/* ---- the files */

int tlsrpt_open(struct daily *d, int dir)
{
	*d = (struct daily){ .event = "tls-sessions", .octets_max = TLSRPT_DAY_MAX, .days = TLSRPT_DAYS };
	return daily_open(d, dir, "tlsrpt");
}

void tlsrpt_keep(struct daily *d, const struct tlsrpt_session *s)
{
	struct buf line = { 0 };

	if (d->dir != -1 && tlsrpt_print(&line, s))
		daily_add(d, s->time, buf_view(&line));
	buf_free(&line);
}

/* ---- counting */

static void policy_free(struct tlsrpt_policy *p)
{
	free(p->text);
	free(p->detail);
}

void tlsrpt_clear(struct tally_domain *d)
{
	struct tlsrpt_domain *t = owner_of(d, struct tlsrpt_domain, tally);

	for (size_t i = 0; i < t->npolicies; i++)
		policy_free(&t->policy[i]);
	free(t->policy);
}

/* NULL: there is no room. */
static struct tlsrpt_domain *domain_of(struct tally *d, const char *name)
{
	return (struct tlsrpt_domain *)tally_domain(d, name, sizeof(struct tlsrpt_domain), TLSRPT_DOMAINS);
}

/* Records change within a day: what went by the old ones is a policy of its own. */
static struct tlsrpt_policy *policy_of(struct tally *d, struct tlsrpt_domain *t, enum tlsrpt_type type, const struct fields *f)
{
	const char *mx = type == TLSRPT_TLSA ? f->mx : "";
	struct tlsrpt_policy *more, *p;

	for (size_t i = 0; i < t->npolicies; i++) {
		p = &t->policy[i];
		if (p->type == type && !strcmp(p->mx, mx) && !strcmp(p->text ? p->text : "", f->policy))
			return p;
	}
	if (t->npolicies == TLSRPT_POLICIES || d->in_all == TLSRPT_IN_ALL)
		return NULL;
	more = realloc(t->policy, (t->npolicies + 1) * sizeof *more);
	if (!more)
		return NULL;
	t->policy = more;
	p = &more[t->npolicies];
	*p = (struct tlsrpt_policy){ .type = type };
	str_copy(p->mx, sizeof p->mx, str_of(mx));
	if (f->policy[0] && !(p->text = strdup(f->policy)))
		return NULL;
	t->npolicies++;
	d->in_all++;
	return p;
}

/* What has no room is in the sum all the same. */
static void count_detail(struct tally *d, struct tlsrpt_policy *p, enum tlsrpt_result result, const struct fields *f)
{
	struct tlsrpt_detail *more;
	size_t i = 0;

	while (i < p->ndetails && !(p->detail[i].result == result && !strcmp(p->detail[i].mx, f->mx) && !strcmp(p->detail[i].ip, f->ip) &&
	       !strcmp(p->detail[i].why, f->why)))
		i++;
	if (i == p->ndetails) {
		if (i == TLSRPT_DETAILS || d->in_all == TLSRPT_IN_ALL || !(more = realloc(p->detail, (i + 1) * sizeof *more)))
			return;
		p->detail = more;
		p->ndetails++;
		d->in_all++;
		more[i] = (struct tlsrpt_detail){ .result = result };
		str_copy(more[i].mx, sizeof more[i].mx, str_of(f->mx));
		str_copy(more[i].ip, sizeof more[i].ip, str_of(f->ip));
		str_copy(more[i].why, sizeof more[i].why, str_of(f->why));
	}
	p->detail[i].n++;
}

void tlsrpt_count(struct tally *d, struct str line)
{
	struct tlsrpt_domain *t;
	struct tlsrpt_policy *p;
	struct fields f;
	unsigned type, result;

	if (!read_fields(line, &f))
		return;
	if (f.sent[0]) {
		if ((t = domain_of(d, f.sent)))
			t->tally.told = true;
		return;
	}
	if (!find_name(tlsrpt_type_name, TLSRPT_TYPES, f.type, &type) || !find_name(tlsrpt_result_name, TLSRPT_RESULTS, f.result, &result))
		return;
	t = domain_of(d, f.domain);
	p = t ? policy_of(d, t, (enum tlsrpt_type)type, &f) : NULL;
	if (!p) {
		d->left_out++;
		return;
	}
	if (result == TLSRPT_OK) {
		p->good++;
		return;
	}
	p->bad++;
	count_detail(d, p, (enum tlsrpt_result)result, &f);
}

bool tlsrpt_domain_policy(struct tlsrpt_domain *t, struct str text)
{
	for (size_t i = 0; i < t->npolicies; i++) {
		struct tlsrpt_policy *p = &t->policy[i];

		if (p->type == TLSRPT_STS && !p->text && !(p->text = strndup(text.p, text.n)))
			return false;
	}
	return true;
}
