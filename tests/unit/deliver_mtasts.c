/* MTA-STS: what is a record, what is a policy, which hosts it allows, and which one is in force. */
#include "deliver/mtasts.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

Suite *deliver_mtasts_suite(void);

/* ---- the TXT record; id NULL: it is not valid */

static const struct { const char *txt, *id; } records[] = {
	{ "v=STSv1; id=20160831085700Z;", "20160831085700Z" },
	{ "v=STSv1;id=1", "1" }, { "v=STSv1 ; id=1 ; ", "1" }, { "v=STSv1;\tid=1\t;", "1" },
	{ "v=STSv1; x-y.z_1=some,thing; id=a1", "a1" },
	{ "v=STSv1; id=one; id=two", "one" },           /* of fields that come twice the first counts */
	{ "v=STSv1; id=12345678901234567890123456789012", "12345678901234567890123456789012" },
	{ "v=STSv1; id=123456789012345678901234567890123", NULL },
	{ "v=STSv1; id=", NULL }, { "v=STSv1; id=a-b", NULL }, { "v=STSv1; ID=1", NULL }, { "v=STSv1", NULL }, { "v=STSv1;", NULL },
	{ "v=STSv1; id", NULL }, { "v=STSv1; id=1; x", NULL }, { "v=STSv1; id=1; =x", NULL }, { "v=STSv1; id=1;; x=1", NULL },
	{ "v=STSv1; id=1; -x=1", NULL }, { "v=STSv1; id=1; x=a=b", NULL }, { "v=STSv1; id=1; x=a b", NULL },
	{ "v=STSv1; id=1; a23456789012345678901234567890123=1", NULL },
	{ "v=STSv2; id=1", NULL }, { "V=STSv1; id=1", NULL }, { "v=STSv11; id=1", NULL }, { " v=STSv1; id=1", NULL }, { "id=1; v=STSv1", NULL },
	{ "", NULL }, { ";", NULL },
};

START_TEST(a_record_has_one_id_or_does_not_count)
{
	struct str id;
	const char *wrong = mtasts_record(str_of(records[_i].txt), &id);

	ck_assert_msg(!wrong == (records[_i].id != NULL), "\"%s\": %s", records[_i].txt, wrong ? wrong : "valid");
	if (!wrong)
		ck_assert_msg(str_eq(id, str_of(records[_i].id)), STR_FMT, STR_ARG(id));
}
END_TEST

/* ---- policies */

#define HEAD "version: STSv1\nmode: enforce\n"
static const struct { const char *text; enum mtasts_mode mode; uint32_t max_age; const char *wrong; } policies[] = {
	{ "version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\nmx: backupmx.example.com\r\nmax_age: 604800\r\n",
		MTASTS_ENFORCE, 604800, NULL },
	{ "version:STSv1\nmode:\ttesting\nmx:a.b\nmax_age:1", MTASTS_TESTING, 1, NULL },
	{ "max_age: 86400  \nmx: a.b\t\nmode: enforce \nversion: STSv1 \n", MTASTS_ENFORCE, 86400, NULL },
	{ "version: STSv1\nmode: none\nmax_age: 0\n", MTASTS_NONE, 0, NULL },
	{ HEAD "mx: a.b\n\n\r\nmax_age: 5\n", MTASTS_ENFORCE, 5, NULL },
	{ HEAD "mx: a.b\nmax_age: 31557600\n", MTASTS_ENFORCE, MTASTS_AGE_MAX, NULL },
	{ HEAD "mx: a.b\nmax_age: 31557601\n", MTASTS_ENFORCE, MTASTS_AGE_MAX, NULL },
	{ HEAD "mx: a.b\nmax_age: 9999999999\n", MTASTS_ENFORCE, MTASTS_AGE_MAX, NULL },
	/* What is not known is passed over, and of what comes twice the first counts. */
	{ HEAD "mx: a.b\nmax_age: 5\nnew-key_1.x: \xc3\xa4 : ; =\nempty:\n", MTASTS_ENFORCE, 5, NULL },
	{ HEAD "mode: none\nversion: STSv2\nmx: a.b\nmax_age: 5\nmax_age: soon\n", MTASTS_ENFORCE, 5, NULL },
	{ "", 0, 0, "no version" }, { "\n\n", 0, 0, "no version" },
	{ "mode: enforce\nmx: a.b\nmax_age: 5\n", 0, 0, "no version" },
	{ "version: STSv1\nmx: a.b\nmax_age: 5\n", 0, 0, "no mode" },
	{ HEAD "mx: a.b\n", 0, 0, "no max_age" },
	{ HEAD "max_age: 5\n", 0, 0, "no mail host" },
	{ "version: STSv1\nmode: testing\nmax_age: 5\n", 0, 0, "no mail host" },
	{ "version: STSv2\nmode: enforce\nmx: a.b\nmax_age: 5\n", 0, 0, "not STSv1" },
	{ "version: STSv1\nmode: Enforce\nmx: a.b\nmax_age: 5\n", 0, 0, "mode is none of" },
	{ "version: STSv1\nmode: report\nmx: a.b\nmax_age: 5\n", 0, 0, "mode is none of" },
	{ HEAD "mx: a.b\nmax_age: -5\n", 0, 0, "no number" }, { HEAD "mx: a.b\nmax_age:\n", 0, 0, "no number" },
	{ HEAD "mx: a.b\nmax_age: 5 days\n", 0, 0, "no number" }, { HEAD "mx: a.b\nmax_age: 00000000005\n", 0, 0, "no number" },
	{ HEAD "mx:\nmax_age: 5\n", 0, 0, "is no name" }, { HEAD "mx: *\nmax_age: 5\n", 0, 0, "is no name" },
	{ HEAD "mx: *.\nmax_age: 5\n", 0, 0, "is no name" }, { HEAD "mx: a.*.b\nmax_age: 5\n", 0, 0, "is no name" },
	{ HEAD "mx: *a.b\nmax_age: 5\n", 0, 0, "is no name" }, { HEAD "mx: *.*.b\nmax_age: 5\n", 0, 0, "is no name" },
	{ HEAD "mx: .b.c\nmax_age: 5\n", 0, 0, "is no name" }, { HEAD "mx: a.b c.d\nmax_age: 5\n", 0, 0, "is no name" },
	{ HEAD "mx: a.b\nmax_age: 5\nwhatever\n", 0, 0, "key: value" }, { HEAD "mx: a.b\nmax_age: 5\n: x\n", 0, 0, "key: value" },
	{ HEAD "mx: a.b\nmax_age: 5\nmode : none\n", 0, 0, "key: value" },
	{ "<html>\n<head>: not found</head>\n", 0, 0, "key: value" },
	{ "\xef\xbb\xbfversion: STSv1\nmode: enforce\nmx: a.b\nmax_age: 5\n", 0, 0, "key: value" },
};

START_TEST(a_policy_is_understood_or_none)
{
	struct mtasts_policy p, again;
	const char *wrong = mtasts_parse(str_of(policies[_i].text), &p);
	struct buf text = { 0 };

	if (policies[_i].wrong) {
		ck_assert_msg(wrong && strstr(wrong, policies[_i].wrong), "%s: %s", policies[_i].text, wrong ? wrong : "valid");
		return;
	}
	ck_assert_msg(!wrong, "%s: %s", policies[_i].text, wrong);
	ck_assert_int_eq(p.mode, policies[_i].mode);
	ck_assert_uint_eq(p.max_age, policies[_i].max_age);
	ck_assert(mtasts_print(&p, &text) && buf_cstr(&text));
	ck_assert_ptr_null(mtasts_parse(buf_view(&text), &again));
	ck_assert_int_eq(again.mode, p.mode);
	ck_assert_uint_eq(again.max_age, p.max_age);
	/* cut off before its last number it is no policy */
	for (size_t n = strlen("max_age: ") + (size_t)(strstr(text.p, "max_age: ") - text.p); n > 0; n--)
		ck_assert_ptr_nonnull(mtasts_parse((struct str){ text.p, n }, &again));
	buf_free(&text);
}
END_TEST

START_TEST(a_policy_longer_than_64_kB_is_none)
{
	struct buf text = { 0 };
	struct mtasts_policy p;

	buf_puts(&text, HEAD "mx: a.b\nmax_age: 5\n");
	while (text.n + 16 <= MTASTS_TEXT)
		buf_puts(&text, "mx: abcdefg.hij\n");
	ck_assert_ptr_null(mtasts_parse(buf_view(&text), &p));
	buf_puts(&text, "mx: abcdefg.hij\n");
	ck_assert_str_eq(mtasts_parse(buf_view(&text), &p), "it is longer than 64 kB");
	buf_free(&text);
}
END_TEST

/* ---- hosts */

static const struct { const char *mx, *host; bool allowed; } hosts[] = {
	{ "mx: mail.example.com", "mail.example.com", true }, { "mx: Mail.Example.com", "mail.example.com", true },
	{ "mx: a.b\nmx: mail.example.com", "mail.example.com", true },
	{ "mx: mail.example.com", "mail.example.net", false }, { "mx: example.com", "mail.example.com", false },
	{ "mx: *.example.com", "mail.example.com", true }, { "mx: *.example.com", "MAIL.EXAMPLE.COM", true },
	{ "mx: *.example.com", "example.com", false }, { "mx: *.example.com", "foo.bar.example.com", false },
	{ "mx: *.example.com", ".example.com", false }, { "mx: *.example.com", "mailexample.com", false },
	{ "x: mail.example.com\nmx: a.b", "mail.example.com", false },
	{ "mx: a.b", "", false },
};

START_TEST(a_pattern_stands_for_one_label_at_most)
{
	struct buf text = { 0 };
	struct mtasts_policy p;

	buf_printf(&text, HEAD "%s\nmax_age: 5\n", hosts[_i].mx);
	ck_assert_ptr_null(mtasts_parse(buf_view(&text), &p));
	ck_assert_int_eq(mtasts_allows(&p, str_of(hosts[_i].host)), hosts[_i].allowed);
	buf_free(&text);
}
END_TEST

/* ---- which one is in force */

#define POLICY HEAD "mx: a.b\nmax_age: 5\n"
static const struct {
	enum outcome outcome;           /* of the TXT record */
	const char *txt[3];
	const char *asked;              /* the name of the policy */
	enum outcome policy;
	const char *text;
	enum mtasts_mode mode;
	bool unsure;
} rows[] = {
	{ FOUND, { "v=STSv1; id=1" }, "d.test 1", FOUND, POLICY, MTASTS_ENFORCE, false },
	{ FOUND, { "v=STSv1; id=1" }, "d.test 1", FOUND, "version: STSv1\nmode: testing\nmx: a.b\nmax_age: 5\n", MTASTS_TESTING, false },
	{ FOUND, { "v=STSv1; id=1" }, "d.test 1", FOUND, "version: STSv1\nmode: none\nmax_age: 5\n", MTASTS_NONE, false },
	{ FOUND, { "v=STSv1; id=1" }, "d.test 1", UNKNOWN, NULL, MTASTS_NONE, true },
	{ FOUND, { "v=spf1 -all", "v=STSv1; id=1", "v=STSv1" }, "d.test 1", FOUND, POLICY, MTASTS_ENFORCE, false },
	/* Two records are none, and so is a wrong one; but what is known stays in force. */
	{ FOUND, { "v=STSv1; id=1", "v=STSv1; id=1" }, "d.test ", NO_DATA, NULL, MTASTS_NONE, false },
	{ FOUND, { "v=STSv1; id=1", "v=STSv1; id" }, "d.test ", NO_DATA, NULL, MTASTS_NONE, false },
	{ FOUND, { "v=STSv1; id=!" }, "d.test ", FOUND, POLICY, MTASTS_ENFORCE, false },
	{ NO_NAME, { NULL }, "d.test ", NO_DATA, NULL, MTASTS_NONE, false },
	{ NO_NAME, { NULL }, "d.test ", FOUND, POLICY, MTASTS_ENFORCE, false },
	{ UNKNOWN, { NULL }, "d.test ", FOUND, POLICY, MTASTS_ENFORCE, false },
	{ UNKNOWN, { NULL }, "d.test ", NO_DATA, NULL, MTASTS_NONE, true },
	{ FOUND, { "v=STSv1; id=1" }, "d.test 1", FOUND, "nonsense", MTASTS_NONE, false },
};

START_TEST(the_policy_that_can_be_had_is_in_force)
{
	struct facts *f = facts_new(NULL, 0);
	struct record r[3], text = { .data = str_of(rows[_i].text) };
	struct mtasts_policy p;
	size_t n = 0;

	for (; n < 3 && rows[_i].txt[n]; n++)
		r[n] = (struct record){ .data = str_of(rows[_i].txt[n]) };
	facts_put(f, FACT_TXT, STR("_mta-sts.d.test"), &(struct fact){ .outcome = rows[_i].outcome, .n = n, .record = r });
	facts_put(f, FACT_POLICY, str_of(rows[_i].asked), &(struct fact){ .outcome = rows[_i].policy, .n = rows[_i].policy == FOUND, .record = &text });
	ck_assert_int_eq(mtasts_find(f, STR("d.test"), &p), ACCEPT);
	ck_assert_int_eq(p.mode, rows[_i].mode);
	ck_assert_int_eq(p.unsure, rows[_i].unsure);
	if (p.mode)
		ck_assert(mtasts_allows(&p, STR("a.b")) && !mtasts_allows(&p, STR("c.d")));
	facts_free(f);
}
END_TEST

static struct fact_ticket *tickets[4];
static char names[4][64];
static unsigned asked;

static void keep(struct fact_source *s, enum fact_kind kind, struct str name, struct fact_ticket *t)
{
	(void)s, (void)kind;
	str_copy(names[asked], sizeof names[asked], name);
	tickets[asked++] = t;
}

START_TEST(a_long_domain_or_one_without_answers_is_waited_for_and_no_more)
{
	static struct fact_source source = { keep };
	static struct task wake;
	struct mtasts_policy p;
	struct record r = { .data = STR("v=STSv1; id=7") };
	struct facts *f;
	char longest[300];

	asked = 0;
	facts_source(FACT_TXT, &source);
	facts_source(FACT_POLICY, &source);
	f = facts_new(&wake, 4);
	memset(longest, 'x', sizeof longest);
	ck_assert_int_eq(mtasts_find(f, (struct str){ longest, 256 }, &p), ACCEPT);
	ck_assert_uint_eq(asked, 0);
	ck_assert_int_eq(mtasts_find(f, STR("d.test"), &p), WAIT);
	fact_answer(tickets[0], &(struct fact){ .outcome = FOUND, .n = 1, .record = &r });
	ck_assert_int_eq(mtasts_find(f, STR("d.test"), &p), WAIT);
	ck_assert_uint_eq(asked, 2);
	ck_assert_str_eq(names[1], "d.test 7");
	fact_answer(tickets[1], &(struct fact){ .outcome = UNKNOWN });
	ck_assert_int_eq(mtasts_find(f, STR("d.test"), &p), ACCEPT);
	ck_assert_int_eq(p.mode, MTASTS_NONE);
	facts_free(f);
	facts_source(FACT_TXT, NULL);
	facts_source(FACT_POLICY, NULL);
}
END_TEST

Suite *deliver_mtasts_suite(void)
{
	Suite *s = suite_create("deliver_mtasts");
	TCase *t = tcase_create("mtasts");

	tcase_add_loop_test(t, a_record_has_one_id_or_does_not_count, 0, sizeof records / sizeof *records);
	tcase_add_loop_test(t, a_policy_is_understood_or_none, 0, sizeof policies / sizeof *policies);
	tcase_add_test(t, a_policy_longer_than_64_kB_is_none);
	tcase_add_loop_test(t, a_pattern_stands_for_one_label_at_most, 0, sizeof hosts / sizeof *hosts);
	tcase_add_loop_test(t, the_policy_that_can_be_had_is_in_force, 0, sizeof rows / sizeof *rows);
	tcase_add_test(t, a_long_domain_or_one_without_answers_is_waited_for_and_no_more);
	suite_add_tcase(s, t);
	return s;
}
