/* Counters of events. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "lib/log.h"
#include "lib/metrics.h"

START_TEST(events_are_counted_whether_they_are_written_or_not)
{
	struct buf out = { 0 };

	metrics_reset();
	log_open("/dev/null");
	log_threshold(LOG_ERROR);
	for (int i = 0; i < 3; i++)
		log_event(LOG_DEBUG, "delivered", LF(L_NUM("x", 1)));
	log_event(LOG_INFO, "made-up", LF(L_NUM("x", 1)));
	ck_assert(metrics_print(&out));
	ck_assert_ptr_nonnull(strstr(buf_cstr(&out), "# TYPE fardel_events_total counter\n"));
	ck_assert_ptr_nonnull(strstr(buf_cstr(&out), "fardel_events_total{event=\"delivered\"} 3\n"));
	ck_assert_ptr_nonnull(strstr(buf_cstr(&out), "fardel_events_total{event=\"made-up\"} 1\n"));
	ck_assert_ptr_nonnull(strstr(buf_cstr(&out), "fardel_events_total{event=\"failed\"} 0\n"));
	buf_free(&out);
}
END_TEST

START_TEST(there_is_no_end_of_names_but_one_of_counters)
{
	static char names[200][24];
	struct buf out = { 0 };

	for (int i = 0; i < 200; i++) {
		snprintf(names[i], sizeof names[i], "event-%d", i);
		metrics_count(names[i]);
	}
	ck_assert(metrics_print(&out));
	ck_assert_uint_lt(out.n, 10000);
	buf_free(&out);
}
END_TEST

START_TEST(a_figure_has_its_help_and_type)
{
	struct buf out = { 0 };

	ck_assert(metrics_figure(&out, "fardel_queue_entries", "gauge", "What waits.", 7));
	ck_assert_str_eq(buf_cstr(&out), "# HELP fardel_queue_entries What waits.\n# TYPE fardel_queue_entries gauge\nfardel_queue_entries 7\n");
	buf_free(&out);
}
END_TEST

Suite *lib_metrics_suite(void);
Suite *lib_metrics_suite(void)
{
	Suite *s = suite_create("lib_metrics");
	TCase *t = tcase_create("metrics");

	tcase_add_test(t, events_are_counted_whether_they_are_written_or_not);
	tcase_add_test(t, there_is_no_end_of_names_but_one_of_counters);
	tcase_add_test(t, a_figure_has_its_help_and_type);
	suite_add_tcase(s, t);
	return s;
}
