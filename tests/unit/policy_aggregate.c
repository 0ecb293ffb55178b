/* Aggregate reports of DMARC: what lines come to, and the report (tests/golden/dmarc-report.*). */
#include "policy/aggregate.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/golden.h"

Suite *policy_aggregate_suite(void);

enum { DAY = 20786, BEGIN = DAY * DAILY_S, END = BEGIN + DAILY_S };

static struct tally day;

static void setup(void)
{
	setenv("TZ", "UTC0", 1);
	tzset();
	tally_init(&day);
}

static void teardown(void) { tally_free(&day, aggregate_clear); }

static void count(const char *line) { aggregate_count(&day, str_of(line)); }

#define AT " at=b.test p=reject adkim=r aspf=s t=n pct=100 fo=0 rua=mailto:a@b.test"
#define PASS " ip=192.0.2.7 result=pass done=none aligned=dkim,spf from=b.test mail=b.test to=here.test spf=pass:mfrom:b.test dkim=pass:b.test:k1"

/* A message `seconds` behind the beginning of the day. */
static void came(unsigned seconds, const char *common, const char *rest)
{
	char line[EVALUATION_MAX + 100];

	snprintf(line, sizeof line, "1 time=%u%s%s", BEGIN + seconds, common, rest);
	count(line);
}

static struct aggregate_domain *first(void)
{
	return day.domains.n ? owner_of(list_first(&day.domains), struct aggregate_domain, tally.node) : NULL;
}

static uint64_t messages(int64_t end)
{
	uint64_t n = 0;

	for (struct node *x = first() ? list_first(&first()->rows) : NULL; x; x = list_next(&first()->rows, x))
		n += owner_of(x, struct aggregate_row, node)->until <= end ? owner_of(x, struct aggregate_row, node)->n : 0;
	return n;
}

/* ---- counting */

START_TEST(messages_with_all_in_common_are_one_row)
{
	came(1, PASS, AT);
	came(2, PASS, AT);
	came(3, " ip=192.0.2.8 result=pass done=none aligned=spf from=b.test spf=pass:mfrom:b.test", AT);
	came(4, PASS, " at=c.test p=none adkim=r aspf=r t=n pct=100 fo=0 rua=mailto:a@c.test");
	ck_assert_uint_eq(day.domains.n, 2);
	ck_assert_uint_eq(first()->rows.n, 2);
	ck_assert_uint_eq(messages(END), 3);
	ck_assert_uint_eq(messages(END - 1), 0);
	ck_assert(aggregate_asks(first(), END) && !aggregate_asks(first(), END - 1));
}
END_TEST

#define GOOD "1 time=5" PASS AT
static const struct { const char *text; unsigned good; } odd[] = {
	{ GOOD, 1 },
	{ GOOD " new=field", 1 },
	{ "1 time=5 ip=192.0.2.7 result=pa" GOOD, 0 },          /* torn off by a crash, and the next one behind it */
	{ "1 time=5 ip=192.0.2.7 from=" GOOD, 0 },
	{ "2 time=5" PASS AT, 0 },
	{ "1 time=5" AT, 0 },
	{ "1 time=5" PASS, 0 },
	{ "1 time=-5" PASS AT, 0 },
	{ "1 time=99999999999" PASS AT, 0 },
	{ "1" PASS AT, 0 },
	{ "1 time=5" PASS " at= p=none", 0 },
	{ "1 time=5" AT PASS, 0 },
	{ "1 time=5 sent=b.test", 0 },
	{ "1 time=5 sent=b.test until=x", 0 },
	{ "\x7f" "ELF", 0 },
	{ "", 0 },
};

START_TEST(what_is_no_whole_line_does_not_count)
{
	uint64_t good = 0;

	count(odd[_i].text);
	for (struct node *x = first() ? list_first(&first()->rows) : NULL; x; x = list_next(&first()->rows, x))
		good += owner_of(x, struct aggregate_row, node)->n;
	ck_assert_uint_eq(good, odd[_i].good);
}
END_TEST

static const struct { const char *ri; unsigned at, hours; } periods[] = {
	{ "", 86399, 24 }, { " ri=86400", 0, 24 }, { " ri=4294967295", 0, 24 }, { " ri=nonsense", 0, 24 },
	{ " ri=86399", 0, 24 }, { " ri=43200", 43199, 12 }, { " ri=43200", 43200, 24 }, { " ri=43201", 0, 12 },
	{ " ri=36000", 0, 8 }, { " ri=3600", 3599, 1 }, { " ri=3600", 3600, 2 }, { " ri=3601", 3600, 2 }, { " ri=1", 86399, 24 }, { " ri=0", 7200, 3 },
};

START_TEST(how_often_is_said_in_whole_hours_that_divide_a_day)
{
	char rest[300];

	snprintf(rest, sizeof rest, "%s%s", AT, periods[_i].ri);
	came(periods[_i].at, PASS, rest);
	ck_assert_int_eq(owner_of(list_first(&first()->rows), struct aggregate_row, node)->until, BEGIN + (int64_t)periods[_i].hours * 3600);
}
END_TEST

START_TEST(what_was_told_is_not_told_again)
{
	char sent[100];

	came(10, PASS, AT " ri=3600");
	came(3610, PASS, AT " ri=3600");
	snprintf(sent, sizeof sent, "1 time=5 sent=b.test until=%u", BEGIN + 3600);
	count(sent);
	came(20, PASS, AT);                     /* of those who are told once a day */
	ck_assert_uint_eq(messages(END), 2);
	ck_assert_uint_eq(messages(BEGIN + 3600), 0);
	snprintf(sent, sizeof sent, "1 time=5 sent=b.test until=%u", END);
	count(sent);
	count(sent);
	ck_assert_uint_eq(messages(END), 0);
	ck_assert_uint_eq(day.in_all, 0);
	ck_assert(!aggregate_asks(first(), END));
}
END_TEST

START_TEST(what_is_quiet_is_no_reason_to_report_but_is_in_the_report)
{
	came(1, PASS, AT " quiet=y");
	ck_assert(!aggregate_asks(first(), END));
	came(2, PASS, AT);
	ck_assert(aggregate_asks(first(), END));
	ck_assert_uint_eq(messages(END), 2);
}
END_TEST

/* ---- bounds */

START_TEST(a_day_of_many_domains_keeps_a_thousand)
{
	char rest[200];

	for (unsigned i = 0; i < AGGREGATE_DOMAINS + 7; i++) {
		snprintf(rest, sizeof rest, " at=d%u.test p=none", i);
		came(i, PASS, rest);
	}
	came(1, PASS, " at=d3.test p=none");
	ck_assert_uint_eq(day.domains.n, AGGREGATE_DOMAINS);
	ck_assert_uint_eq(day.left_out, 7);
}
END_TEST

static struct aggregate_report report(void)
{
	static const char *const to[] = { "dmarc@b.test", "reports@vendor.test" };

	return (struct aggregate_report){ .hostname = "mail.example.net", .contact = "postmaster@example.net", .domain = first(), .to = to, .nto = 2, .end = END,
		.now = END + 600 };
}

/* The longest that comes in, with octets that XML has the longest words for. */
START_TEST(a_domain_with_all_that_fits_has_a_report_that_says_so)
{
	struct aggregate_report r;
	struct buf xml = { 0 }, out = { 0 }, unpacked = { 0 }, shown = { 0 };
	char common[2000], quotes[240];

	memset(quotes, '"', sizeof quotes - 1);
	quotes[sizeof quotes - 1] = '\0';
	for (unsigned i = 0; i < AGGREGATE_ROWS + 5; i++) {
		snprintf(common, sizeof common, " ip=2001:db8::%x result=pass done=none aligned= from=%.*s mail=%.*s spf=fail:mfrom:%.*s", i, _i ? 239 : 1, quotes,
			_i ? 239 : 1, quotes, _i ? 239 : 1, quotes);
		came(i, common, AT);
	}
	ck_assert_uint_gt(day.left_out, 0);
	ck_assert_uint_eq(first()->rows.n + day.left_out, AGGREGATE_ROWS + 5);
	ck_assert_uint_le(first()->octets, AGGREGATE_OCTETS);
	ck_assert_uint_eq(messages(END), first()->rows.n);
	r = report();
	ck_assert(aggregate_xml(&xml, &r) && aggregate_message(&out, &r));
	golden_unpack(&out, &unpacked, &shown);
	ck_assert(str_eq(buf_view(&unpacked), buf_view(&xml)));
	ck_assert_ptr_nonnull(strstr(buf_cstr(&xml), "  <error>there were more messages than there is room to count</error>\n"));
	buf_free(&xml);
	buf_free(&out);
	buf_free(&unpacked);
	buf_free(&shown);
}
END_TEST

START_TEST(all_domains_together_have_a_limit)
{
	char common[800], rest[100];

	for (unsigned i = 0; i < 30000; i++) {
		snprintf(common, sizeof common, " ip=192.0.2.7 from=b.test spf=pass:mfrom:%u%0600u", i, i);
		snprintf(rest, sizeof rest, " at=d%u.test p=none", i % 20);
		came(1, common, rest);
	}
	ck_assert_uint_le(day.in_all, AGGREGATE_IN_ALL);
	ck_assert_uint_gt(day.in_all, AGGREGATE_IN_ALL - 1000);
	ck_assert_uint_gt(day.left_out, 0);
}
END_TEST

/* ---- the report */

static void count_all(void)
{
	came(1, PASS, AT);
	came(2, PASS, AT);
	came(3, " ip=2001:db8::7 result=fail done=reject aligned= from=news.b.test mail=c.test spf=softfail:mfrom:c.test dkim=fail:b.test:k1"
		" dkim=pass:list.test:s2", AT);
	came(4, " ip=192.0.2.9 result=fail done=none why=mailing_list aligned= from=b.test to=here.test spf=none:helo:list.test", AT);
	came(5, " ip=192.0.2.9 result=fail done=none why=local_policy aligned= from=b.test mail=%3Cx%26\"'%FF%C2%85.test spf=fail:mfrom:[IPv6:2001:db8::9]"
		" dkim=permerror:%3Cb%3E:a:b", AT);
}

START_TEST(the_report_is_the_xml_of_the_golden_file)
{
	struct aggregate_report r;
	struct buf out = { 0 };

	count_all();
	r = report();
	ck_assert(aggregate_xml(&out, &r));
	golden_check("dmarc-report.xml", &out);
	buf_free(&out);
}
END_TEST

START_TEST(what_is_published_is_what_was_seen_last)
{
	struct aggregate_report r;
	struct buf out = { 0 };

	came(1, PASS, AT);
	came(2, PASS, " at=b.test p=quarantine sp=reject np=none adkim=s aspf=r t=y pct=50 fo=1d rua=mailto:a@b.test");
	r = report();
	ck_assert(aggregate_xml(&out, &r));
	ck_assert_ptr_nonnull(strstr(buf_cstr(&out), "  <domain>b.test</domain>\n  <adkim>s</adkim>\n  <aspf>r</aspf>\n  <p>quarantine</p>\n  <sp>reject</sp>\n"
		"  <np>none</np>\n  <pct>50</pct>\n  <fo>1:d</fo>\n  <testing>y</testing>\n"));
	buf_free(&out);
}
END_TEST

START_TEST(a_part_of_a_day_is_told_alone)
{
	struct aggregate_report r;
	struct buf out = { 0 };
	char dates[100];

	came(7300, PASS, AT " ri=3600");
	came(11000, PASS, AT " ri=3600");
	r = report();
	r.end = BEGIN + 3 * 3600;
	ck_assert(aggregate_xml(&out, &r));
	snprintf(dates, sizeof dates, "<begin>%u</begin>\n   <end>%u</end>", BEGIN + 7200, BEGIN + 10799);
	ck_assert_ptr_nonnull(strstr(buf_cstr(&out), dates));
	ck_assert_ptr_nonnull(strstr(buf_cstr(&out), "<count>1</count>"));
	buf_free(&out);
}
END_TEST

START_TEST(the_message_is_the_one_of_the_golden_file)
{
	struct aggregate_report r;
	struct buf out = { 0 }, xml = { 0 }, unpacked = { 0 }, shown = { 0 };

	count_all();
	r = report();
	ck_assert(aggregate_message(&out, &r) && aggregate_xml(&xml, &r));
	golden_unpack(&out, &unpacked, &shown);
	ck_assert(str_eq(buf_view(&unpacked), buf_view(&xml)));
#ifdef HAVE_ZLIB
	golden_check("dmarc-report.txt", &shown);
#endif
	buf_free(&out);
	buf_free(&xml);
	buf_free(&unpacked);
	buf_free(&shown);
}
END_TEST

Suite *policy_aggregate_suite(void)
{
	Suite *s = suite_create("policy_aggregate");
	TCase *t = tcase_create("aggregate");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, messages_with_all_in_common_are_one_row);
	tcase_add_loop_test(t, what_is_no_whole_line_does_not_count, 0, sizeof odd / sizeof *odd);
	tcase_add_loop_test(t, how_often_is_said_in_whole_hours_that_divide_a_day, 0, sizeof periods / sizeof *periods);
	tcase_add_test(t, what_was_told_is_not_told_again);
	tcase_add_test(t, what_is_quiet_is_no_reason_to_report_but_is_in_the_report);
	tcase_add_test(t, a_day_of_many_domains_keeps_a_thousand);
	tcase_add_loop_test(t, a_domain_with_all_that_fits_has_a_report_that_says_so, 0, 2);
	tcase_add_test(t, all_domains_together_have_a_limit);
	tcase_add_test(t, the_report_is_the_xml_of_the_golden_file);
	tcase_add_test(t, what_is_published_is_what_was_seen_last);
	tcase_add_test(t, a_part_of_a_day_is_told_alone);
	tcase_add_test(t, the_message_is_the_one_of_the_golden_file);
	suite_add_tcase(s, t);
	return s;
}
