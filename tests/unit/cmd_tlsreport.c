/* Reports of TLS: what is written down is sent when its day is over, to those who ask, once. */
#include "cmd/tlsreport.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/facts.h"
#include "tests/report_rig.h"

Suite *cmd_tlsreport_suite(void);

static const struct tlsreport_config config = { .hostname = "mail.here.test", .contact = "postmaster@here.test" };

static const struct report_txt zone[] = {
	{ "_smtp._tls.asks.test", "v=TLSRPTv1; rua=mailto:tls@asks.test,https://asks.test/tls,mailto:two@other.test" },
	{ "_smtp._tls.also.test", "v=TLSRPTv1; rua=mailto:tls@also.test" },
	{ "_smtp._tls.web.test", "v=TLSRPTv1; rua=https://web.test/tls" },
	{ "_smtp._tls.odd.test", "v=TLSRPTv1; rua=mailto:a b@,mailto:%0d%0a@x,nonsense" },
};

static void ask_policy(struct fact_source *s, enum fact_kind kind, struct str name, struct fact_ticket *t)
{
	struct record r = { .data = STR("version: STSv1\nmode: enforce\nmx: mx.asks.test\nmax_age: 86400\n") };
	struct fact f = { .outcome = FOUND, .n = 1, .record = &r };

	(void)s, (void)kind, (void)name;
	fact_answer(t, &f);
}

static void start(void) { ck_assert_int_eq(tlsreport_start(&config, queue_dir(), true), 0); }

static void setup(void)
{
	static struct fact_source policies = { ask_policy };

	report_rig_open(zone, sizeof zone / sizeof *zone);
	facts_source(FACT_POLICY, &policies);
	start();
}

static void teardown(void)
{
	tlsreport_stop();
	facts_source(FACT_POLICY, NULL);
	report_rig_close();
}

static void note(const char *domain, enum tlsrpt_type type, enum tlsrpt_result result)
{
	tlsreport_note(&(struct tlsrpt_session){ .time = loop_wall(), .domain = str_of(domain), .type = type, .result = result,
		.mx = STR("mx.asks.test"), .ip = STR("192.0.2.1") });
}

static bool is_there(const char *name) { return report_rig_has("tlsrpt", name); }

START_TEST(a_day_is_told_to_who_asks_when_it_is_over)
{
	note("asks.test", TLSRPT_STS, TLSRPT_OK);
	note("asks.test", TLSRPT_STS, TLSRPT_EXPIRED);
	note("silent.test", TLSRPT_NO_POLICY, TLSRPT_OK);
	note("web.test", TLSRPT_NO_POLICY, TLSRPT_OK);
	note("odd.test", TLSRPT_NO_POLICY, TLSRPT_OK);
	rig_run(10 * 3600);
	ck_assert_uint_eq(rig.nsent, 0);
	rig_run(NIGHT);
	ck_assert_uint_eq(rig_got("tls@asks.test"), 1);
	ck_assert_uint_eq(rig_got("two@other.test"), 1);
	for (size_t i = 0; i < rig.nsent; i++) {
		ck_assert_ptr_nonnull(strstr(rig.sent[i].body, "TLS-Report-Domain: asks.test\r\n"));
		ck_assert_ptr_nonnull(strstr(rig.sent[i].body, "TLS-Required: No\r\n"));
		ck_assert_ptr_nonnull(strstr(rig.sent[i].body, "1 sessions were good, 1 were not"));
		ck_assert_int_ge(rig.sent[i].when, RIG_WALL - RIG_WALL % 86400 + 86400);
		ck_assert_int_le(rig.sent[i].when, RIG_WALL - RIG_WALL % 86400 + 86400 + 4 * 3600 + 60);
	}
	ck_assert_uint_eq(report_rig.asked, 4);
	ck_assert(!is_there(TODAY) && is_there(TODAY ".sent"));
	rig_run(3 * NIGHT);
	ck_assert_uint_eq(rig_got("tls@asks.test"), 1);
}
END_TEST

START_TEST(what_was_counted_outlives_a_crash)
{
	note("asks.test", TLSRPT_NO_POLICY, TLSRPT_OK);
	tlsreport_stop();
	start();
	note("asks.test", TLSRPT_NO_POLICY, TLSRPT_OK);
	tlsreport_stop();
	rig_run(2 * NIGHT);                     /* nobody is there at midnight */
	start();
	rig_run(60);
	ck_assert_uint_eq(rig_got("tls@asks.test"), 1);
	ck_assert_ptr_nonnull(strstr(rig.sent[0].body, "2 sessions were good, 0 were not"));
}
END_TEST

START_TEST(who_was_told_before_a_crash_is_not_told_again)
{
	static const char begun[] = "1 time=1 domain=also.test type=tlsa result=ok\n1 time=2 domain=asks.test type=tlsa result=ok\n"
		"1 time=3 sent=also.test\n1 ti";

	note("also.test", TLSRPT_NO_POLICY, TLSRPT_OK);
	note("asks.test", TLSRPT_NO_POLICY, TLSRPT_OK);
	tlsreport_stop();
	rig_write("tlsrpt", "2026-11-29", begun, sizeof begun - 1);
	start();
	rig_run(60);
	ck_assert_uint_eq(rig_got("tls@also.test"), 0);
	ck_assert_uint_eq(rig_got("tls@asks.test"), 1);
	ck_assert(is_there("2026-11-29.sent") && is_there(TODAY));
}
END_TEST

START_TEST(a_report_that_is_in_the_queue_is_not_put_there_twice)
{
	static const char line[] = "1 time=2 domain=asks.test type=tlsa result=ok\n";
	size_t held, entries;

	rig.by_hand = true;
	rig_write("tlsrpt", "2026-11-29", line, sizeof line - 1);
	rig_run(60);
	held = rig.nheld;
	entries = queue_entries();
	ck_assert_uint_gt(held, 0);
	tlsreport_stop();
	unlinkat(queue_dir(), "tlsrpt/2026-11-29.sent", 0);
	rig_write("tlsrpt", "2026-11-29", line, sizeof line - 1);       /* killed before it could write down that it was sent */
	start();
	rig_run(60);
	ck_assert(is_there("2026-11-29.sent"));
	ck_assert_uint_eq(rig.nheld, held);
	ck_assert_uint_eq(queue_entries(), entries);
	while (rig.nheld)
		rig_finish(0, false);
}
END_TEST

START_TEST(while_the_dns_is_silent_a_report_waits_for_a_day_at_most)
{
	note("asks.test", TLSRPT_NO_POLICY, TLSRPT_OK);
	report_rig.dns_is_down = _i > 0;
	rig_run(NIGHT);
	ck_assert(is_there(TODAY) == report_rig.dns_is_down);
	if (_i == 1) {
		report_rig.dns_is_down = false;
		rig_run(2 * 3600);
	}
	rig_run(2 * NIGHT);
	ck_assert(!is_there(TODAY));
	ck_assert_uint_eq(rig_got("tls@asks.test"), _i < 2);
}
END_TEST

START_TEST(a_full_disk_puts_a_report_off)
{
	static const char line[] = "1 time=2 domain=asks.test type=tlsa result=ok\n";

	rig_write("tlsrpt", "2026-11-29", line, sizeof line - 1);
	rig_disk(1, 100000, ENOSPC);
	rig_run(60);
	ck_assert_uint_eq(rig.nsent, 0);
	rig_disk(0, 0, 0);
	rig_run(2 * 3600);
	ck_assert_uint_eq(rig_got("tls@asks.test"), 1);
}
END_TEST

START_TEST(a_file_that_is_no_day_of_ours_is_left_alone)
{
	static const char junk[] = "\x7f" "ELF\0\0\0";
	static char long_line[200000];

	memset(long_line, 'x', sizeof long_line);
	rig_write("tlsrpt", "notes", junk, sizeof junk - 1);
	rig_write("tlsrpt", "2026-11-28", junk, sizeof junk - 1);
	rig_write("tlsrpt", "2026-11-27", long_line, sizeof long_line);
	rig_write("tlsrpt", "2026-02-31", junk, sizeof junk - 1);
	rig_run(60);
	ck_assert(is_there("notes") && is_there("2026-11-28.sent") && is_there("2026-11-27.sent") && is_there("2026-02-31"));
	ck_assert_uint_eq(report_rig.asked, 0);
}
END_TEST

START_TEST(a_thousand_domains_are_told)
{
	char name[40];

	for (unsigned i = 0; i < 1000; i++) {
		snprintf(name, sizeof name, "d%u.test", i);
		note(name, TLSRPT_NO_POLICY, TLSRPT_OK);
	}
	rig_run(NIGHT);
	ck_assert_uint_eq(report_rig.asked, 1000);
	ck_assert(is_there(TODAY ".sent"));
}
END_TEST

Suite *cmd_tlsreport_suite(void)
{
	Suite *s = suite_create("cmd_tlsreport");
	TCase *t = tcase_create("tlsreport");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, a_day_is_told_to_who_asks_when_it_is_over);
	tcase_add_test(t, what_was_counted_outlives_a_crash);
	tcase_add_test(t, who_was_told_before_a_crash_is_not_told_again);
	tcase_add_test(t, a_report_that_is_in_the_queue_is_not_put_there_twice);
	tcase_add_loop_test(t, while_the_dns_is_silent_a_report_waits_for_a_day_at_most, 0, 3);
	tcase_add_test(t, a_full_disk_puts_a_report_off);
	tcase_add_test(t, a_file_that_is_no_day_of_ours_is_left_alone);
	tcase_add_test(t, a_thousand_domains_are_told);
	suite_add_tcase(s, t);
	return s;
}
