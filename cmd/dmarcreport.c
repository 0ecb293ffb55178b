/* Reports of DMARC: what they are made of, and whom they go to. */
#include "cmd/dmarcreport.h"

#include "cmd/reporter.h"
#include "policy/aggregate.h"

enum { DELAY_S = 45 * 60 };             /* they are told before the next hour is over */

static const struct dmarcreport_config *config;

static bool has_news(const struct tally_domain *d, int64_t end)
{
	return aggregate_asks(owner_of(d, struct aggregate_domain, tally), end);
}

static enum verdict find(struct facts *facts, struct tally_domain *d, struct rua *out, struct buf *why)
{
	return rua_find(facts, d->name, out, why);
}

static bool print(struct buf *out, const struct reporter_message *m)
{
	struct aggregate_report r = { .hostname = config->hostname, .contact = config->contact, .domain = owner_of(m->domain, struct aggregate_domain, tally),
		.to = m->to, .nto = m->nto, .end = m->end, .now = m->now };

	return aggregate_message(out, &r);
}

static const struct reporter_kind kind = {
	.event = "dmarc-report", .name = "DMARC report", .period_s = AGGREGATE_PERIOD_S, .delay_s = DELAY_S, .line_max = EVALUATION_MAX,
	.lookups = RUA_LOOKUPS, .count = aggregate_count, .clear = aggregate_clear, .has_news = has_news, .find = find, .print = print,
};
static struct reporter reporter = { .kind = &kind, .kept = { .dir = -1, .fd = -1 } };

/* ---- the outside */

int dmarcreport_start(const struct dmarcreport_config *c, int dir, bool send)
{
	config = c;
	if (reporter.kept.dir == -1 && evaluations_open(&reporter.kept, dir) == -1)
		return -1;
	if (!c->contact)
		reporter_stop(&reporter);
	else if (send)
		reporter_start(&reporter, c->hostname);
	return 0;
}

void dmarcreport_stop(void)
{
	reporter_stop(&reporter);
	daily_close(&reporter.kept);
}

static bool is_for(const struct evaluation *e, const char *addresses)
{
	struct str rest = str_of(addresses ? addresses : ""), word;

	while (str_word(&rest, &word))
		if (str_eq_nocase(e->rcpt, word))
			return true;
	return false;
}

void dmarcreport_note(const struct evaluation *e)
{
	struct evaluation one = *e;

	if (reporter.kept.dir == -1)
		return;
	one.quiet |= is_for(e, config->contact) || is_for(e, config->other) || is_for(e, config->reports_at);
	evaluations_keep(&reporter.kept, &one);
}
