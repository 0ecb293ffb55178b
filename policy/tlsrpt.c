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

static void put_field(struct buf *out, const char *name, struct str value)
{
	if (!value.n)
		return;
	buf_printf(out, " %s=", name);
	percent_word(out, value);
}

/* A control character would be refused when it is read back. */
static void put_words(struct buf *out, struct str why)
{
	char text[TLSRPT_WHY];
	size_t n = why.n < sizeof text ? why.n : sizeof text - 1;

	for (size_t i = 0; i < n; i++)
		text[i] = (unsigned char)why.p[i] < ' ' || why.p[i] == 0x7f ? '?' : why.p[i];
	put_field(out, "why", (struct str){ text, n });
}

bool tlsrpt_print(struct buf *out, const struct tlsrpt_session *s)
{
	struct buf line = { .max = TLSRPT_LINE };
	bool good;

	buf_printf(&line, "1 time=%lld", (long long)s->time);
	put_field(&line, s->sent ? "sent" : "domain", s->domain);
	if (!s->sent) {
		buf_printf(&line, " type=%s result=%s", tlsrpt_type_name[s->type], tlsrpt_result_name[s->result]);
		put_field(&line, "mx", s->mx);
		put_field(&line, "ip", s->ip);
		put_field(&line, "policy", s->policy);
		put_words(&line, s->why);
	}
	good = buf_char(&line, '\n') && !line.bad && buf_str(out, buf_view(&line));
	buf_free(&line);
	return good;
}

/* A line read back, decoded. */
struct fields {
	char time[24], domain[DOMAIN_MAX + 1], sent[DOMAIN_MAX + 1], type[24], result[40], mx[DOMAIN_MAX + 1], ip[48], policy[TLSRPT_POLICY],
		why[TLSRPT_WHY];
};

#define ROW(name) { #name, offsetof(struct fields, name), sizeof ((struct fields *)0)->name }
static const struct { const char *name; size_t at, size; } rows[] = {
	ROW(time), ROW(domain), ROW(sent), ROW(type), ROW(result), ROW(mx), ROW(ip), ROW(policy), ROW(why),
};
enum { ROWS = sizeof rows / sizeof *rows };

/* False: it is no line of ours. One with a field twice is two, the first of which was torn off. */
static bool read_fields(struct str line, struct fields *f)
{
	struct str word, name;

	memset(f, 0, sizeof *f);
	if (!str_word(&line, &word) || !str_eq(word, STR("1")))
		return false;
	while (str_word(&line, &word)) {
		size_t i = 0;
		char *to;

		if (!str_cut(&word, '=', &name))
			return false;
		while (i < ROWS && !str_eq(name, str_of(rows[i].name)))
			i++;
		if (i == ROWS)
			continue;
		to = (char *)f + rows[i].at;
		if (*to || !percent_decode(word, to, rows[i].size))
			return false;
	}
	return f->time[0] && (f->sent[0] || f->domain[0]);
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

void tlsrpt_day_init(struct tlsrpt_day *d)
{
	*d = (struct tlsrpt_day){ 0 };
	list_init(&d->domains);
}

static void policy_free(struct tlsrpt_policy *p)
{
	free(p->text);
	free(p->detail);
}

void tlsrpt_day_free(struct tlsrpt_day *d)
{
	struct node *x;

	while ((x = list_shift(&d->domains))) {
		struct tlsrpt_domain *t = owner_of(x, struct tlsrpt_domain, node);

		for (size_t i = 0; i < t->npolicies; i++)
			policy_free(&t->policy[i]);
		free(t->policy);
		free(t);
	}
	map_free(&d->by_name);
	tlsrpt_day_init(d);
}

/* NULL: there is no room. */
static struct tlsrpt_domain *domain_of(struct tlsrpt_day *d, const char *name)
{
	struct map_node *known = map_get(&d->by_name, str_of(name));
	struct tlsrpt_domain *t;

	if (known)
		return owner_of(known, struct tlsrpt_domain, by_name);
	if (d->domains.n == TLSRPT_DOMAINS || !(t = calloc(1, sizeof *t)))
		return NULL;
	str_copy(t->name, sizeof t->name, str_of(name));
	if (!map_put(&d->by_name, &t->by_name, str_of(t->name))) {
		free(t);
		return NULL;
	}
	list_push(&d->domains, &t->node);
	return t;
}

/* Records change within a day: what went by the old ones is a policy of its own. */
static struct tlsrpt_policy *policy_of(struct tlsrpt_day *d, struct tlsrpt_domain *t, enum tlsrpt_type type, const struct fields *f)
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
static void count_detail(struct tlsrpt_day *d, struct tlsrpt_policy *p, enum tlsrpt_result result, const struct fields *f)
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

static void count(struct tlsrpt_day *d, const struct fields *f)
{
	struct tlsrpt_domain *t;
	struct tlsrpt_policy *p;
	unsigned type, result;

	if (f->sent[0]) {
		if ((t = domain_of(d, f->sent)))
			t->sent = true;
		return;
	}
	if (!find_name(tlsrpt_type_name, TLSRPT_TYPES, f->type, &type) || !find_name(tlsrpt_result_name, TLSRPT_RESULTS, f->result, &result))
		return;
	t = domain_of(d, f->domain);
	p = t ? policy_of(d, t, (enum tlsrpt_type)type, f) : NULL;
	if (!p) {
		d->left_out++;
		return;
	}
	if (result == TLSRPT_OK) {
		p->good++;
		return;
	}
	p->bad++;
	count_detail(d, p, (enum tlsrpt_result)result, f);
}

void tlsrpt_day_take(struct tlsrpt_day *d, struct buf *text)
{
	struct str rest = buf_view(text), line;
	struct fields f;

	while (str_cut(&rest, '\n', &line))
		if (read_fields(line, &f))
			count(d, &f);
	buf_drop(text, text->n - rest.n);
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
