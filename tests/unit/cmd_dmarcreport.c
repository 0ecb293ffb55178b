/* Reports of DMARC: what is kept of messages is sent when their day is over, or their hour, to who asks for it and has agreed, once. */
#include "cmd/dmarcreport.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "policy/aggregate.h"
#include "policy/spf.h"
#include "tests/golden.h"
#include "tests/report_rig.h"

Suite *cmd_dmarcreport_suite(void);

static const int64_t today = RIG_WALL - RIG_WALL % DAILY_S;
static const struct dmarcreport_config config = { .hostname = "mail.here.test", .contact = "reports@here.test",
	.other = "postmaster@here.test", .reports_at = "tls@here.test dmarc@here.test" };

static const struct report_txt zone[] = {
	{ "_dmarc.asks.test", "v=DMARC1; p=reject; rua=mailto:d@asks.test,https://asks.test/,mailto:two@vendor.test,mailto:no@stranger.test" },
	{ "asks.test._report._dmarc.vendor.test", "v=DMARC1" },
	{ "_dmarc.also.test", "v=DMARC1; p=none; rua=mailto:d@also.test" },
	{ "_dmarc.small.test", "v=DMARC1; p=none; rua=mailto:no@small.test!100,mailto:d@small.test!100k" },
	{ "_dmarc.tiny.test", "v=DMARC1; p=none; rua=mailto:d@tiny.test!1k" },
	{ "_dmarc.victim.test", "v=DMARC1; p=none" },
	{ "_dmarc.evil.test", "v=DMARC1; p=none; rua=mailto:you@victim.test" },
};

static void start(void) { ck_assert_int_eq(dmarcreport_start(&config, queue_dir(), true), 0); }

static void setup(void)
{
	report_rig_open(zone, sizeof zone / sizeof *zone);
	start();
}

static void teardown(void)
{
	dmarcreport_stop();
	report_rig_close();
}

static bool is_there(const char *name) { return report_rig_has("dmarc", name); }

static const char *rcpt = "user@here.test";

static void came_every(const char *domain, uint32_t ri, bool quiet)
{
	static const struct ip ip = { .n = 4, .text = "192.0.2.7" };
	static const struct spf_result spf = { .code = SPF_PASS, .domain = "b.test" };
	struct dmarc_result r = { .code = DMARC_PASS, .spf_aligned = true, .record = { .p = DMARC_P_REJECT, .pct = 100, .fo = DMARC_FO_0, .ri = ri } };

	str_copy(r.domain, sizeof r.domain, str_of(domain));
	str_copy(r.policy_domain, sizeof r.policy_domain, str_of(domain));
	str_copy(r.rua, sizeof r.rua, STR("mailto:old@b.test"));
	dmarcreport_note(&(struct evaluation){ .time = loop_wall(), .ip = &ip, .dmarc = &r, .done = DMARC_P_NONE, .spf = &spf, .mail_from = str_of(domain),
		.rcpt = str_of(rcpt), .quiet = quiet });
}

static void came(const char *domain) { came_every(domain, DMARC_RI, false); }

static const struct rig_sent *sent_to(const char *who)
{
	for (size_t i = 0; i < rig.nsent; i++)
		if (strstr(rig.sent[i].to, who))
			return &rig.sent[i];
	return NULL;
}

/* The report inside. */
static const char *xml_of(const struct rig_sent *s)
{
	static char out[20000];
	struct buf message = { 0 }, xml = { 0 }, shown = { 0 };

	buf_puts(&message, s->body);
	golden_unpack(&message, &xml, &shown);
	ck_assert(str_copy(out, sizeof out, buf_view(&xml)));
	buf_free(&message);
	buf_free(&xml);
	buf_free(&shown);
	return out;
}

static void has_dates(const char *xml, int64_t begin, int64_t end)
{
	char dates[100];

	snprintf(dates, sizeof dates, "<begin>%lld</begin>\n   <end>%lld</end>", (long long)begin, (long long)end - 1);
	ck_assert_msg(strstr(xml, dates) != NULL, "not %s: %s", dates, xml);
}

START_TEST(a_day_is_told_to_who_asks_when_it_is_over)
{
	came("asks.test");
	came("asks.test");
	came("silent.test");
	came("evil.test");
	rig_run(10 * HOUR);
	ck_assert_uint_eq(rig.nsent, 0);
	ck_assert_uint_eq(report_rig.asked, 0);
	rig_run(NIGHT);
	ck_assert_uint_eq(rig_got("d@asks.test"), 1);
	ck_assert_uint_eq(rig_got("two@vendor.test"), 1);
	ck_assert_uint_eq(rig.nsent, 2);
	ck_assert_ptr_nonnull(strstr(rig.sent[0].body, "From: Mail Delivery System <reports@here.test>\r\n"));
	ck_assert_ptr_nonnull(strstr(rig.sent[0].body, "Subject: Report Domain: asks.test\r\n\tSubmitter: mail.here.test\r\n\tReport-ID: <"));
	ck_assert_int_ge(rig.sent[0].when, today + DAILY_S);
	ck_assert_int_le(rig.sent[0].when, today + DAILY_S + HOUR);
	ck_assert_ptr_nonnull(strstr(xml_of(&rig.sent[0]), "<count>2</count>"));
	has_dates(xml_of(&rig.sent[0]), today, today + DAILY_S);
	ck_assert(!is_there(TODAY) && is_there(TODAY ".sent"));
	rig_run(3 * NIGHT);
	ck_assert_uint_eq(rig.nsent, 2);
}
END_TEST

START_TEST(who_asks_for_it_is_told_by_the_hour)
{
	came_every("asks.test", 3600, false);
	came("also.test");
	rig_run(HOUR);
	came_every("asks.test", 3600, false);
	came_every("asks.test", 3600, false);
	rig_run(HOUR);
	ck_assert_uint_eq(rig_got("d@asks.test"), 2);
	ck_assert_uint_eq(rig_got("d@also.test"), 0);
	has_dates(xml_of(&rig.sent[0]), today + 5 * HOUR, today + 6 * HOUR);
	ck_assert_ptr_nonnull(strstr(xml_of(&rig.sent[0]), "<count>1</count>"));
	has_dates(xml_of(&rig.sent[rig.nsent - 1]), today + 6 * HOUR, today + 7 * HOUR);
	ck_assert_ptr_nonnull(strstr(xml_of(&rig.sent[rig.nsent - 1]), "<count>2</count>"));
	rig_run(NIGHT);
	ck_assert_uint_eq(rig_got("d@asks.test"), 2);
	ck_assert_uint_eq(rig_got("d@also.test"), 1);
	has_dates(xml_of(sent_to("d@also.test")), today, today + DAILY_S);
	ck_assert(is_there(TODAY ".sent"));
}
END_TEST

START_TEST(who_starts_again_tells_no_hour_twice)
{
	came_every("asks.test", 3600, false);
	rig_run(2 * HOUR);
	ck_assert_uint_eq(rig_got("d@asks.test"), 1);
	dmarcreport_stop();
	start();
	came_every("asks.test", 3600, false);
	rig_run(60);
	ck_assert_uint_eq(rig_got("d@asks.test"), 1);
	dmarcreport_stop();
	rig_run(5 * HOUR);                      /* nobody is there at the end of the hour */
	start();
	rig_run(60);
	ck_assert_uint_eq(rig_got("d@asks.test"), 2);
	rig_run(2 * NIGHT);
	ck_assert_uint_eq(rig_got("d@asks.test"), 2);
}
END_TEST

START_TEST(what_was_kept_outlives_a_crash)
{
	came("asks.test");
	dmarcreport_stop();
	start();
	came("asks.test");
	dmarcreport_stop();
	rig_run(2 * NIGHT);                     /* nobody is there at midnight */
	start();
	rig_run(60);
	ck_assert_uint_eq(rig_got("d@asks.test"), 1);
	ck_assert_ptr_nonnull(strstr(xml_of(&rig.sent[0]), "<count>2</count>"));
}
END_TEST

#define LINE(domain) "1 time=1796000005 ip=192.0.2.7 result=pass done=none aligned=spf from=" domain " mail=b.test spf=pass:mfrom:b.test at=" domain \
	" p=none adkim=r aspf=r t=n pct=100 fo=0 rua=mailto:d@" domain "\n"

START_TEST(who_was_told_before_a_crash_is_not_told_again)
{
	static const char begun[] = LINE("also.test") LINE("asks.test") "1 time=1796083300 sent=also.test until=1796083200\n1 ti";

	dmarcreport_stop();
	rig_write("dmarc", TODAY, begun, sizeof begun - 1);
	rig_run(NIGHT);
	start();
	rig_run(60);
	ck_assert_uint_eq(rig_got("d@also.test"), 0);
	ck_assert_uint_eq(rig_got("d@asks.test"), 1);
	ck_assert(is_there(TODAY ".sent"));
}
END_TEST

/* Killed behind the commit, before it could write down that it was sent, again and again. */
START_TEST(a_report_that_is_in_the_queue_is_not_put_there_twice)
{
	size_t held, entries;

	rig.by_hand = true;
	came("asks.test");
	rig_run(NIGHT);
	held = rig.nheld;
	entries = queue_entries();
	ck_assert_uint_gt(held, 0);
	for (unsigned i = 0; i < 3; i++) {
		dmarcreport_stop();
		unlinkat(queue_dir(), "dmarc/" TODAY ".sent", 0);
		rig_write("dmarc", TODAY, LINE("asks.test"), sizeof LINE("asks.test") - 1);
		start();
		rig_run(60);
		ck_assert(is_there(TODAY ".sent"));
		ck_assert_uint_eq(rig.nheld, held);
		ck_assert_uint_eq(queue_entries(), entries);
	}
	while (rig.nheld)
		rig_finish(0, false);
}
END_TEST

START_TEST(while_the_dns_is_silent_a_report_waits_for_a_day_at_most)
{
	came("asks.test");
	report_rig.dns_is_down = _i > 0;
	rig_run(NIGHT);
	ck_assert(is_there(TODAY) == report_rig.dns_is_down);
	if (_i == 1) {
		report_rig.dns_is_down = false;
		rig_run(2 * HOUR);
	}
	rig_run(2 * NIGHT);
	ck_assert(!is_there(TODAY));
	ck_assert_uint_eq(rig_got("d@asks.test"), _i < 2);
}
END_TEST

START_TEST(who_does_not_answer_holds_others_up_for_seconds)
{
	int64_t begin;

	report_rig.silent = "vendor.test";
	came("asks.test");
	came("also.test");
	rig_run(NIGHT);
	ck_assert_uint_eq(rig_got("d@also.test"), 1);
	ck_assert_uint_eq(rig_got("d@asks.test"), 0);          /* it is tried for a day ... */
	begin = sent_to("d@also.test")->when;
	rig_run(NIGHT);
	ck_assert_uint_eq(rig_got("d@asks.test"), 1);          /* ... and then sent where it can be */
	ck_assert_uint_eq(rig_got("two@vendor.test"), 0);
	ck_assert_int_le(begin, today + DAILY_S + 45 * 60 + 30);
	ck_assert(is_there(TODAY ".sent"));
}
END_TEST

START_TEST(a_full_disk_puts_a_report_off)
{
	came("asks.test");
	rig_run(18 * HOUR);
	rig_disk(1, 100000, ENOSPC);
	rig_run(3 * HOUR);
	ck_assert_uint_eq(rig.nsent, 0);
	rig_disk(0, 0, 0);
	rig_run(2 * HOUR);
	ck_assert_uint_eq(rig_got("d@asks.test"), 1);
}
END_TEST

START_TEST(reports_alone_are_no_reason_for_one)
{
	came_every("asks.test", DMARC_RI, true);
	came_every("also.test", DMARC_RI, true);
	came("also.test");
	rcpt = "Reports@here.test";             /* answers to ours */
	came("asks.test");
	rcpt = "postmaster@here.test";
	came("asks.test");
	rcpt = "dmarc@here.test";
	came("asks.test");
	rcpt = "user@here.test";
	rig_run(2 * NIGHT);
	ck_assert_uint_eq(rig_got("d@asks.test"), 0);
	ck_assert_uint_eq(rig_got("d@also.test"), 1);
	ck_assert_ptr_nonnull(strstr(xml_of(sent_to("d@also.test")), "<count>2</count>"));
	ck_assert(is_there(TODAY ".sent"));
}
END_TEST

START_TEST(who_takes_less_is_left_out)
{
	came("small.test");
	came("tiny.test");
	rig_run(2 * NIGHT);
	ck_assert_uint_eq(rig.nsent, 1);
	ck_assert_uint_eq(rig_got("d@small.test"), 1);
	ck_assert(is_there(TODAY ".sent"));
}
END_TEST

START_TEST(a_file_that_is_no_day_of_ours_is_left_alone)
{
	static const char junk[] = "\x7f" "ELF\0\0\0";
	static char long_line[200000];

	dmarcreport_stop();
	memset(long_line, 'x', sizeof long_line);
	rig_write("dmarc", "notes", junk, sizeof junk - 1);
	rig_write("dmarc", "2026-11-28", junk, sizeof junk - 1);
	rig_write("dmarc", "2026-11-27", long_line, sizeof long_line);
	rig_write("dmarc", "2026-10-01", LINE("asks.test"), sizeof LINE("asks.test") - 1);     /* too old to be told */
	start();
	rig_run(60);
	ck_assert(is_there("notes") && is_there("2026-11-28.sent") && is_there("2026-11-27.sent") && is_there("2026-10-01"));
	ck_assert_uint_eq(report_rig.asked, 0);
	came("asks.test");
	ck_assert(!is_there("2026-10-01") && is_there(TODAY));
}
END_TEST

START_TEST(a_thousand_domains_are_told)
{
	char name[40];

	for (unsigned i = 0; i < AGGREGATE_DOMAINS; i++) {
		snprintf(name, sizeof name, "d%u.test", i);
		came(name);
	}
	rig_run(2 * NIGHT);
	ck_assert_uint_eq(report_rig.asked, AGGREGATE_DOMAINS * 2);        /* _dmarc.dN.test, _dmarc.test */
	ck_assert(is_there(TODAY ".sent"));
}
END_TEST

START_TEST(without_an_address_it_is_only_kept)
{
	static const struct dmarcreport_config keep = { .hostname = "mail.here.test" };

	ck_assert_int_eq(dmarcreport_start(&keep, queue_dir(), true), 0);       /* other settings */
	came("asks.test");
	rig_run(2 * NIGHT);
	ck_assert(is_there(TODAY));
	ck_assert_uint_eq(report_rig.asked, 0);
	start();
	rig_run(60);
	ck_assert_uint_eq(rig_got("d@asks.test"), 1);
}
END_TEST

Suite *cmd_dmarcreport_suite(void)
{
	Suite *s = suite_create("cmd_dmarcreport");
	TCase *t = tcase_create("dmarcreport");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, a_day_is_told_to_who_asks_when_it_is_over);
	tcase_add_test(t, who_asks_for_it_is_told_by_the_hour);
	tcase_add_test(t, who_starts_again_tells_no_hour_twice);
	tcase_add_test(t, what_was_kept_outlives_a_crash);
	tcase_add_test(t, who_was_told_before_a_crash_is_not_told_again);
	tcase_add_test(t, a_report_that_is_in_the_queue_is_not_put_there_twice);
	tcase_add_loop_test(t, while_the_dns_is_silent_a_report_waits_for_a_day_at_most, 0, 3);
	tcase_add_test(t, who_does_not_answer_holds_others_up_for_seconds);
	tcase_add_test(t, a_full_disk_puts_a_report_off);
	tcase_add_test(t, reports_alone_are_no_reason_for_one);
	tcase_add_test(t, who_takes_less_is_left_out);
	tcase_add_test(t, a_file_that_is_no_day_of_ours_is_left_alone);
	tcase_add_test(t, a_thousand_domains_are_told);
	tcase_add_test(t, without_an_address_it_is_only_kept);
	suite_add_tcase(s, t);
	return s;
}
