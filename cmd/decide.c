/* One table of facts, one evaluator, one time-out. */
#include "cmd/decide.h"

#include <stdio.h>
#include <sysexits.h>

#include "deliver/hosts.h"
#include "dns.h"
#include "lib/list.h"
#include "lib/log.h"
#include "lib/loop.h"

struct question {
	const struct decision *how;
	struct task wake;
	struct timer late;
	struct facts *facts;
};

static void on_facts(struct task *t)
{
	struct question *q = owner_of(t, struct question, wake);

	if (q->how->check(q->how->arg, q->facts) != WAIT)
		loop_stop();
}

static void on_late(struct timer *t)
{
	struct question *q = owner_of(t, struct question, late);

	if (q->how->late)
		q->how->late(q->how->arg);
	loop_stop();
}

const char *decide_begin(const struct settings *set)
{
	struct dns_config d = { .resolvers = set->resolver };
	const char *wrong = dns_start(&d);

	if (wrong)
		return wrong;
	for (int k = FACT_A; k <= FACT_TLSA; k++)
		facts_source((enum fact_kind)k, dns_source());
	facts_source(FACT_HOSTS, hosts_source());
	return NULL;
}

bool decide_wait(const struct decision *how)
{
	struct question q = { .how = how, .wake = { .run = on_facts }, .late = { .expired = on_late } };

	if (!(q.facts = facts_new(&q.wake, how->lookups)))
		return false;
	if (how->check(how->arg, q.facts) == WAIT) {
		timer_set(&q.late, 1000 * (msec)how->seconds);
		loop_run();
		timer_stop(&q.late);
	}
	facts_free(q.facts);
	return true;
}

int decide(const struct decision *how, const struct settings *set)
{
	const char *wrong;

	log_threshold(LOG_ERROR);               /* which resolvers are in use is nobody's question here */
	if ((wrong = decide_begin(set))) {
		fprintf(stderr, "fardel %s: %s\n", how->command, wrong);
		return EX_CONFIG;
	}
	if (!decide_wait(how)) {
		fprintf(stderr, "fardel %s: out of memory\n", how->command);
		return EX_OSERR;
	}
	return 0;
}
