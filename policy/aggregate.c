/* Aggregate reports: counting what was kept. */
#include "policy/aggregate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What decides where a line is counted. */
struct fields {
	char time[24], sent[DOMAIN_MAX + 1], until[24], at[DOMAIN_MAX + 1], ri[12], quiet[2];
	struct aggregate_policy policy;
};

#define ROW(name, member) { name, offsetof(struct fields, member), sizeof ((struct fields *)0)->member, false }
static const struct daily_field fields[] = {
	ROW("time", time), ROW("sent", sent), ROW("until", until), ROW("at", at), ROW("ri", ri), ROW("quiet", quiet),
	ROW("p", policy.p), ROW("sp", policy.sp), ROW("np", policy.np), ROW("adkim", policy.adkim), ROW("aspf", policy.aspf), ROW("t", policy.t),
	ROW("pct", policy.pct), ROW("fo", policy.fo),
};

/* ---- periods */

/* How often a domain wants to be told: whole hours, so that they divide a day. */
static int64_t period_of(const char *ri)
{
	static const uint64_t hours[] = { 24, 12, 8, 6, 4, 3, 2 };
	uint64_t wanted;

	if (!str_number(str_of(ri), UINT32_MAX, &wanted))
		wanted = DMARC_RI;
	for (size_t i = 0; i < sizeof hours / sizeof *hours; i++)
		if ((wanted + 3599) / 3600 >= hours[i])
			return (int64_t)hours[i] * 3600;
	return AGGREGATE_PERIOD_S;
}

/* ---- rows */

static struct aggregate_row *row_at(struct node *x) { return owner_of(x, struct aggregate_row, node); }

static void remove_row(struct aggregate_domain *d, struct aggregate_row *r)
{
	map_remove(&d->by_key, &r->by_key);
	list_remove(&d->rows, &r->node);
	d->octets -= r->by_key.key.n;
	free(r);
}

void aggregate_clear(struct tally_domain *t)
{
	struct aggregate_domain *d = owner_of(t, struct aggregate_domain, tally);

	while (d->rows.n)
		remove_row(d, row_at(list_first(&d->rows)));
	map_free(&d->by_key);
}

/* NULL: there is no room. */
static struct aggregate_domain *domain_of(struct tally *t, const char *name)
{
	struct tally_domain *known = tally_domain(t, name, sizeof(struct aggregate_domain), AGGREGATE_DOMAINS);
	struct aggregate_domain *d = known ? owner_of(known, struct aggregate_domain, tally) : NULL;

	if (d && !list_holds(&d->rows.head))
		list_init(&d->rows);
	return d;
}

/* What messages of a row have in common: all from the client to the last signature, as a line of its own behind the end of its period. False:
 * it is no such line. */
static bool make_key(struct str line, int64_t until, char *out, size_t size, struct str *key, size_t *at)
{
	const char *from = memmem(line.p, line.n, " ip=", 4);
	const char *to = from ? memmem(from, (size_t)(line.p + line.n - from), " at=", 4) : NULL;
	int front = snprintf(out, size, "%lld ", (long long)until), n;

	if (!to)
		return false;
	n = snprintf(out + front, size - (size_t)front, "1%.*s", (int)(to - from), from);
	*at = (size_t)front;
	*key = (struct str){ out, (size_t)(front + n) };
	return key->n < size;
}

/* NULL: there is no room. */
static struct aggregate_row *row_of(struct tally *t, struct aggregate_domain *d, struct str key)
{
	struct map_node *known = map_get(&d->by_key, key);
	struct aggregate_row *r;

	if (known)
		return owner_of(known, struct aggregate_row, by_key);
	if (d->rows.n == AGGREGATE_ROWS || d->octets + key.n > AGGREGATE_OCTETS || t->in_all + key.n > AGGREGATE_IN_ALL ||
	    !(r = calloc(1, sizeof *r + key.n + 1)))
		return NULL;
	memcpy(r->key, key.p, key.n);
	if (!map_put(&d->by_key, &r->by_key, (struct str){ r->key, key.n })) {
		free(r);
		return NULL;
	}
	list_push(&d->rows, &r->node);
	d->octets += key.n;
	t->in_all += key.n;
	return r;
}

/* ---- lines */

static void count_message(struct tally *t, struct str line, const struct fields *f, uint64_t time)
{
	int64_t day = (int64_t)(time - time % DAILY_S), period = period_of(f->ri), since = day + ((int64_t)time - day) / period * period;
	struct aggregate_domain *d = domain_of(t, f->at);
	char text[EVALUATION_MAX + 32];
	struct aggregate_row *r = NULL;
	struct str key;
	size_t at;

	if (d) {
		if (!make_key(line, since + period, text, sizeof text, &key, &at))
			return;
		d->policy = f->policy;
		r = row_of(t, d, key);
		d->cut |= !r;
	}
	if (!r) {
		t->left_out++;
		return;
	}
	r->since = since;
	r->until = since + period;
	r->at = at;
	r->n++;
	r->asks |= !f->quiet[0];
}

static void take_away(struct tally *t, const char *name, uint64_t until)
{
	struct aggregate_domain *d = domain_of(t, name);

	for (struct node *x = d ? list_first(&d->rows) : NULL, *next; x; x = next) {
		struct aggregate_row *r = row_at(x);

		next = list_next(&d->rows, x);
		if (r->until > (int64_t)until)
			continue;
		t->in_all -= r->by_key.key.n;
		remove_row(d, r);
	}
	if (d)
		d->cut = false;
}

void aggregate_count(struct tally *t, struct str line)
{
	struct fields f = { 0 };
	uint64_t time, until;

	if (!daily_read(line, fields, sizeof fields / sizeof *fields, &f) || !str_number(str_of(f.time), UINT32_MAX, &time))
		return;
	if (f.sent[0] && str_number(str_of(f.until), UINT32_MAX, &until))
		take_away(t, f.sent, until);
	else if (f.at[0])
		count_message(t, line, &f, time);
}

bool aggregate_asks(const struct aggregate_domain *d, int64_t end)
{
	for (const struct node *x = d->rows.n ? d->rows.head.next : &d->rows.head; x != &d->rows.head; x = x->next) {
		const struct aggregate_row *r = owner_of(x, struct aggregate_row, node);

		if (r->until <= end && r->asks)
			return true;
	}
	return false;
}
