/* What tests of reports have in common. */
#include "tests/report_rig.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "cmd/report.h"
#include "lib/facts.h"
#include "lib/log.h"

struct report_rig report_rig;
static const struct report_txt *zone;
static size_t nzone, nheld;
static struct fact_ticket *held[64];

static void ask(struct fact_source *s, enum fact_kind kind, struct str name, struct fact_ticket *t)
{
	struct fact f = { .outcome = report_rig.dns_is_down ? UNKNOWN : NO_NAME };
	struct record r = { 0 };

	(void)s, (void)kind;
	report_rig.asked++;
	if (report_rig.silent && str_ends_nocase(name, str_of(report_rig.silent))) {
		ck_assert_uint_lt(nheld, sizeof held / sizeof *held);
		held[nheld++] = t;
		return;
	}
	for (size_t i = 0; !report_rig.dns_is_down && i < nzone; i++)
		if (str_eq(name, str_of(zone[i].name))) {
			r.data = str_of(zone[i].txt);
			f = (struct fact){ .outcome = FOUND, .n = 1, .record = &r };
		}
	fact_answer(t, &f);
}

void report_rig_open(const struct report_txt *texts, size_t n)
{
	static struct fact_source dns = { ask };
	static const struct report_config reports = { .hostname = "mail.here.test" };

	rig_open();
	rig_run(5 * HOUR);
	log_threshold(LOG_ERROR);
	report_configure(&reports);
	zone = texts;
	nzone = n;
	report_rig = (struct report_rig){ 0 };
	facts_source(FACT_TXT, &dns);
}

void report_rig_close(void)
{
	while (nheld)
		fact_answer(held[--nheld], &(struct fact){ .outcome = UNKNOWN });
	facts_source(FACT_TXT, NULL);
	rig_close();
}

bool report_rig_has(const char *dir, const char *name)
{
	char path[100];

	snprintf(path, sizeof path, "%s/%s", dir, name);
	return faccessat(queue_dir(), path, F_OK, 0) == 0;
}
