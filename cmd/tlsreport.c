/* Reports of TLS: what they are made of, and whom they go to. */
#include "cmd/tlsreport.h"

#include <stdio.h>

#include "cmd/reporter.h"

enum {
	DELAY_S = 4 * 3600,             /* RFC 8460 4.1 */
	LOOKUPS = 2
};

static const struct tlsreport_config *config;

static bool has_news(const struct tally_domain *d, int64_t end)
{
	(void)end;
	return owner_of(d, struct tlsrpt_domain, tally)->npolicies;
}

static bool has_sts(const struct tlsrpt_domain *t)
{
	for (size_t i = 0; i < t->npolicies; i++)
		if (t->policy[i].type == TLSRPT_STS)
			return true;
	return false;
}

static enum verdict find(struct facts *facts, struct tally_domain *d, struct rua *out, struct buf *why)
{
	struct tlsrpt_domain *t = owner_of(d, struct tlsrpt_domain, tally);
	const struct fact *txt, *policy = NULL;
	char name[DOMAIN_MAX + 20];
	struct str rua;

	(void)why;
	snprintf(name, sizeof name, "_smtp._tls.%s", d->name);
	txt = fact(facts, FACT_TXT, str_of(name));
	snprintf(name, sizeof name, "%s ", d->name);
	if (!txt || (has_sts(t) && !(policy = fact(facts, FACT_POLICY, str_of(name)))))
		return WAIT;
	if (tlsrpt_rua(txt, &rua))
		rua_add(out, rua);
	if (policy && policy->outcome == FOUND && policy->n)
		tlsrpt_domain_policy(t, policy->record[0].data);
	return txt->outcome == UNKNOWN ? REFUSE : ACCEPT;
}

static bool print(struct buf *out, const struct reporter_message *m)
{
	struct tlsrpt_report r = { .hostname = config->hostname, .contact = config->contact, .domain = owner_of(m->domain, struct tlsrpt_domain, tally), .to = m->to,
		.nto = m->nto, .day = (int32_t)(m->end / DAILY_S) - 1, .now = m->now };

	return tlsrpt_message(out, &r);
}

static const struct reporter_kind kind = {
	.event = "tls-report", .name = "TLS report", .period_s = DAILY_S, .delay_s = DELAY_S, .line_max = TLSRPT_LINE, .lookups = LOOKUPS,
	.count = tlsrpt_count, .clear = tlsrpt_clear, .has_news = has_news, .find = find, .print = print,
};
static struct reporter reporter = { .kind = &kind, .kept = { .dir = -1, .fd = -1 } };

/* ---- the outside */

int tlsreport_start(const struct tlsreport_config *c, int dir, bool send)
{
	config = c;
	if (reporter.kept.dir == -1 && tlsrpt_open(&reporter.kept, dir) == -1)
		return -1;
	if (send)
		reporter_start(&reporter, c->hostname);
	return 0;
}

void tlsreport_stop(void)
{
	reporter_stop(&reporter);
	daily_close(&reporter.kept);
}

void tlsreport_note(const struct tlsrpt_session *s) { tlsrpt_keep(&reporter.kept, s); }
