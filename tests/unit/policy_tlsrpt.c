/* Reports of TLS: the line, what a day's lines come to, and the report (tests/golden/tls-report.*). */
#include "policy/tlsrpt.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/golden.h"

Suite *policy_tlsrpt_suite(void);

#define PIN "3 1 1 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static struct tally day;

static void setup(void)
{
	setenv("TZ", "UTC0", 1);
	tzset();
	tally_init(&day);
}

static void teardown(void) { tally_free(&day, tlsrpt_clear); }

static struct tlsrpt_session session(const char *domain, enum tlsrpt_type type, enum tlsrpt_result result)
{
	return (struct tlsrpt_session){ .time = 1795910000, .domain = str_of(domain), .type = type, .result = result, .mx = STR("mx.example.org"),
		.ip = STR("192.0.2.1"), .policy = type == TLSRPT_TLSA ? STR(PIN) : STR(""), .why = result == TLSRPT_OK ? STR("") : STR("that was it") };
}

static void take(struct str text)
{
	struct buf b = { 0 };

	buf_str(&b, text);
	tally_take(&day, &b, tlsrpt_count);
	buf_free(&b);
}

static void count(const char *domain, enum tlsrpt_type type, enum tlsrpt_result result)
{
	struct tlsrpt_session s = session(domain, type, result);
	struct buf b = { 0 };

	ck_assert(tlsrpt_print(&b, &s));
	take(buf_view(&b));
	buf_free(&b);
}

static struct tlsrpt_domain *first(void) { return owner_of(list_first(&day.domains), struct tlsrpt_domain, tally.node); }

/* ---- the line */

START_TEST(a_line_has_what_a_report_needs)
{
	struct tlsrpt_session s = session("example.org", TLSRPT_TLSA, TLSRPT_NOT_TRUSTED);
	struct buf out = { 0 };

	s.why = STR("a %\n b\xff");
	ck_assert(tlsrpt_print(&out, &s));
	ck_assert_str_eq(buf_cstr(&out), "1 time=1795910000 domain=example.org type=tlsa result=certificate-not-trusted mx=mx.example.org ip=192.0.2.1"
		" policy=3%201%201%20e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 why=a%20%25?%20b%FF\n");
	take(buf_view(&out));
	ck_assert_uint_eq(first()->npolicies, 1);
	ck_assert_str_eq(first()->policy[0].text, PIN);
	ck_assert_str_eq(first()->policy[0].detail[0].why, "a %? b\xff");
	ck_assert(!first()->tally.told);
	take(STR("1 time=7 sent=example.org until=1795996800\n"));
	ck_assert(first()->tally.told);
	buf_free(&out);
}
END_TEST

#define GOOD "1 time=5 domain=a.test type=sts result=ok"
static const struct { const char *text; unsigned good; } torn[] = {
	{ GOOD "\n", 1 },
	{ GOOD, 0 },                                            /* its end is still to come */
	{ GOOD "\n1 time=6 domain=a.te", 1 },
	{ "1 time=6 domain=a.te" GOOD "\n", 0 },                /* torn off by a crash, and the next one behind it */
	{ "1 time=6 dom" GOOD "\n" GOOD "\n", 1 },
	{ GOOD " new=field\n", 1 },
	{ "2 time=5 domain=a.test type=sts result=ok\n", 0 },
	{ "1 time=5 domain=a.test type=sts result=fine\n", 0 },
	{ "1 time=5 domain=a.test type=spf result=ok\n", 0 },
	{ "1 time=5 domain=a%0Atest type=sts result=ok\n", 0 },
	{ "1 time=5 domain=a%2 type=sts result=ok\n", 0 },
	{ "1 time=5 type=sts result=ok\n", 0 },
	{ "1 time=5 domain= type=sts result=ok\n", 0 },
	{ "\n\n1\n1 \n \n=\n1 =\n", 0 },
};

START_TEST(what_is_no_whole_line_does_not_count)
{
	uint64_t good = 0;

	take(str_of(torn[_i].text));
	for (struct node *x = list_first(&day.domains); x; x = list_next(&day.domains, x))
		good += owner_of(x, struct tlsrpt_domain, tally.node)->policy[0].good;
	ck_assert_uint_eq(good, torn[_i].good);
}
END_TEST

START_TEST(a_line_that_comes_in_pieces_counts_once)
{
	struct buf b = { 0 };

	for (const char *p = GOOD "\n" GOOD "\n"; *p; p++) {
		buf_char(&b, *p);
		tally_take(&day, &b, tlsrpt_count);
	}
	ck_assert_uint_eq(first()->policy[0].good, 2);
	ck_assert_uint_eq(b.n, 0);
	buf_free(&b);
}
END_TEST

/* ---- bounds */

START_TEST(a_day_of_many_domains_keeps_a_thousand)
{
	char name[40];

	for (unsigned i = 0; i < TLSRPT_DOMAINS + 7; i++) {
		snprintf(name, sizeof name, "d%u.test", i);
		count(name, TLSRPT_NO_POLICY, TLSRPT_OK);
	}
	count("d3.test", TLSRPT_NO_POLICY, TLSRPT_OK);
	ck_assert_uint_eq(day.domains.n, TLSRPT_DOMAINS);
	ck_assert_uint_eq(day.left_out, 7);
}
END_TEST

START_TEST(details_have_a_limit_and_the_sum_is_right_all_the_same)
{
	struct tlsrpt_session s = session("a.test", TLSRPT_STS, TLSRPT_FAILED);
	char why[40];

	for (unsigned i = 0; i < 500; i++) {
		struct buf b = { 0 };

		snprintf(why, sizeof why, "for reason %u", i);
		s.why = str_of(why);
		tlsrpt_print(&b, &s);
		take(buf_view(&b));
		buf_free(&b);
	}
	ck_assert_uint_eq(first()->policy[0].bad, 500);
	ck_assert_uint_eq(first()->policy[0].ndetails, TLSRPT_DETAILS);
}
END_TEST

START_TEST(policies_of_a_domain_have_a_limit)
{
	struct tlsrpt_session s = session("a.test", TLSRPT_TLSA, TLSRPT_OK);
	char mx[40];

	for (unsigned i = 0; i < TLSRPT_POLICIES + 3; i++) {
		struct buf b = { 0 };

		snprintf(mx, sizeof mx, "mx%u.test", i);
		s.mx = str_of(mx);
		tlsrpt_print(&b, &s);
		take(buf_view(&b));
		buf_free(&b);
	}
	ck_assert_uint_eq(first()->npolicies, TLSRPT_POLICIES);
	ck_assert_uint_eq(day.left_out, 3);
}
END_TEST

/* ---- where it goes */

static const struct { const char *txt[2]; const char *rua; } records[] = {
	{ { "v=TLSRPTv1; rua=mailto:reports@example.org" }, "mailto:reports@example.org" },
	{ { "v=TLSRPTv1;rua=mailto:a@x.test,https://x.test/v1" }, "mailto:a@x.test,https://x.test/v1" },
	{ { "v=TLSRPTv1; ext=1; rua = mailto:a@x.test ;" }, "mailto:a@x.test" },
	{ { "v=spf1 -all", "v=TLSRPTv1;rua=mailto:a@x.test" }, "mailto:a@x.test" },
	{ { "v=TLSRPTv1;rua=mailto:a@x.test", "v=TLSRPTv1;rua=mailto:b@x.test" }, NULL },
	{ { "v=TLSRPTv1" }, NULL },
	{ { "v=TLSRPTv1;" }, NULL },
	{ { "v=TLSRPTv1; rua=" }, NULL },
	{ { "v=TLSRPTv2; rua=mailto:a@x.test" }, NULL },
	{ { "rua=mailto:a@x.test; v=TLSRPTv1" }, NULL },
	{ { "" }, NULL },
};

START_TEST(a_domain_says_where_reports_go)
{
	struct record r[2];
	struct fact f = { .outcome = FOUND, .record = r };
	struct str rua;

	while (f.n < 2 && records[_i].txt[f.n]) {
		r[f.n].data = str_of(records[_i].txt[f.n]);
		f.n++;
	}
	ck_assert(tlsrpt_rua(&f, &rua) == (records[_i].rua != NULL));
	if (records[_i].rua)
		ck_assert(str_eq(rua, str_of(records[_i].rua)));
	f.outcome = UNKNOWN;
	ck_assert(!tlsrpt_rua(&f, &rua));
}
END_TEST

/* ---- the report */

static const char *const to[] = { "reports@example.org", "tls@example.net" };

static struct tlsrpt_report report(void)
{
	return (struct tlsrpt_report){ .hostname = "mail.example.net", .contact = "postmaster@example.net", .domain = first(), .to = to, .nto = 2,
		.day = 20786, .now = 1795917600 };
}

static void count_all(void)
{
	count("example.org", TLSRPT_STS, TLSRPT_OK);
	count("example.org", TLSRPT_STS, TLSRPT_OK);
	count("example.org", TLSRPT_STS, TLSRPT_EXPIRED);
	count("example.org", TLSRPT_STS, TLSRPT_OTHER_HOST);
	count("example.org", TLSRPT_STS, TLSRPT_EXPIRED);
	count("example.org", TLSRPT_TLSA, TLSRPT_NOT_TRUSTED);
	count("example.org", TLSRPT_NO_POLICY, TLSRPT_NO_STARTTLS);
	ck_assert(tlsrpt_domain_policy(first(), STR("version: STSv1\nmode: testing\nmx: *.example.org\nmx: mail.example.com\nmax_age: 86400\n")));
}

START_TEST(the_report_is_the_json_of_the_golden_file)
{
	struct tlsrpt_report r;
	struct buf out = { 0 };

	count_all();
	r = report();
	ck_assert(tlsrpt_json(&out, &r));
	golden_check("tls-report.json", &out);
	buf_free(&out);
}
END_TEST

START_TEST(the_message_is_the_one_of_the_golden_file)
{
	struct tlsrpt_report r;
	struct buf out = { 0 }, json = { 0 }, unpacked = { 0 }, shown = { 0 };

	count_all();
	r = report();
	ck_assert(tlsrpt_message(&out, &r) && tlsrpt_json(&json, &r));
	golden_unpack(&out, &unpacked, &shown);
	ck_assert(str_eq(buf_view(&unpacked), buf_view(&json)));
#ifdef HAVE_ZLIB
	golden_check("tls-report.txt", &shown);
#endif
	buf_free(&out);
	buf_free(&json);
	buf_free(&unpacked);
	buf_free(&shown);
}
END_TEST

START_TEST(a_domain_with_all_that_fits_has_a_report)
{
	struct tlsrpt_session s = session("a.test", TLSRPT_TLSA, TLSRPT_FAILED);
	struct tlsrpt_report r;
	struct buf out = { 0 };
	char mx[40], why[TLSRPT_WHY];

	memset(why, '"', sizeof why);
	for (unsigned i = 0; i < TLSRPT_POLICIES * TLSRPT_DETAILS; i++) {
		struct buf b = { 0 };

		snprintf(mx, sizeof mx, "mx%u.test", i / TLSRPT_DETAILS);
		snprintf(why, 10, "%u", i);
		why[strlen(why)] = '"';
		s.mx = str_of(mx);
		s.why = (struct str){ why, sizeof why };
		ck_assert(tlsrpt_print(&b, &s));
		take(buf_view(&b));
		buf_free(&b);
	}
	ck_assert_uint_eq(first()->npolicies, TLSRPT_POLICIES);
	r = report();
	ck_assert(tlsrpt_message(&out, &r));
	buf_free(&out);
}
END_TEST

Suite *policy_tlsrpt_suite(void)
{
	Suite *s = suite_create("policy_tlsrpt");
	TCase *t = tcase_create("tlsrpt");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, a_line_has_what_a_report_needs);
	tcase_add_loop_test(t, what_is_no_whole_line_does_not_count, 0, sizeof torn / sizeof *torn);
	tcase_add_test(t, a_line_that_comes_in_pieces_counts_once);
	tcase_add_test(t, a_day_of_many_domains_keeps_a_thousand);
	tcase_add_test(t, details_have_a_limit_and_the_sum_is_right_all_the_same);
	tcase_add_test(t, policies_of_a_domain_have_a_limit);
	tcase_add_loop_test(t, a_domain_says_where_reports_go, 0, sizeof records / sizeof *records);
	tcase_add_test(t, the_report_is_the_json_of_the_golden_file);
	tcase_add_test(t, the_message_is_the_one_of_the_golden_file);
	tcase_add_test(t, a_domain_with_all_that_fits_has_a_report);
	suite_add_tcase(s, t);
	return s;
}
