/* Counters of events, by the names that the log has for them. */
#include "lib/metrics.h"

#include <inttypes.h>
#include <string.h>

enum { ROOM = 96 };

static struct counter {
	const char *event;
	uint64_t n;
} counters[ROOM] = {
	{ "received", 0 }, { "taken-in", 0 }, { "rejected", 0 }, { "delivered", 0 }, { "deferred", 0 }, { "failed", 0 }, { "expanded", 0 }, { "removed", 0 },
	{ "auth-ok", 0 }, { "auth-failed", 0 }, { "login-failed", 0 }, { "tls-failed", 0 }, { "turned-away", 0 }, { "hung-up", 0 },
	{ "lost", 0 }, { "set-aside", 0 }, { "commit-failed", 0 }, { "drop-not-taken", 0 }, { "policy-test-failed", 0 },
	{ "proxy-failed", 0 }, { "loop", 0 }, { "tls-downgrade", 0 },
};

void metrics_count(const char *event)
{
	for (size_t i = 0; i < ROOM; i++) {
		struct counter *c = &counters[i];

		if (c->event && c->event != event && strcmp(c->event, event) != 0)
			continue;
		c->event = event;
		c->n++;
		return;
	}
}

bool metrics_print(struct buf *out)
{
	buf_puts(out, "# HELP fardel_events_total How often each event has happened since the start, by its name in the log.\n"
		"# TYPE fardel_events_total counter\n");
	for (size_t i = 0; i < ROOM && counters[i].event; i++)
		buf_printf(out, "fardel_events_total{event=\"%s\"} %" PRIu64 "\n", counters[i].event, counters[i].n);
	return !out->bad;
}

void metrics_lines(struct buf *out)
{
	for (size_t i = 0; i < ROOM && counters[i].event; i++)
		buf_printf(out, "count\t%s\t%" PRIu64 "\n", counters[i].event, counters[i].n);
}

bool metrics_figure(struct buf *out, const char *name, const char *type, const char *help, int64_t value)
{
	return buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n%s %" PRId64 "\n", name, help, name, type, name, value);
}

void metrics_reset(void)
{
	for (size_t i = 0; i < ROOM; i++)
		counters[i].n = 0;
}
