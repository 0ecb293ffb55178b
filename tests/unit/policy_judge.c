/* Who may come in: what is known on the left, the verdict and its reason on the right. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "policy/bayes.h"
#include "policy/judge.h"
#include "policy/ruleset.h"
#include "policy/subjectpass.h"

Suite *policy_judge_suite(void);

struct row {
	const char *lists, *forwarders;
	const char *reputation;         /* "none unknown weak 0"; NULL: it cannot be told; "": no such mailbox */
	const char *dkim;
	const char *mail;               /* MAIL FROM */
	bool mail_pass;
	enum spf spf;
	bool dmarc_refuses;
	const char *content;            /* "990000 enough 9": the filter is on */
	bool no_iprev;
	int listed;
	bool report;                    /* of DMARC or TLS */
	bool clear, unnamed;            /* came without TLS; the recipient is not in To */
	bool pass_on, dmarc_pass;       /* words for the subject are given; DMARC says pass */
	const char *pass;               /* the word in it; "!": the right one */
	const char *rule;               /* policy/ruleset.h; "-": none holds, "": it cannot be told; NULL: there are no rules */
	const char *expected;           /* "take list-allow", "away spf-policy 451" */
};

static struct judgement got;
static const unsigned char pass_key[SUBJECTPASS_KEY] = { 7 };
static char right_word[40];
static struct buf steps;

static struct judge_message message_of(const struct row *r)
{
	return (struct judge_message){
		.who = { .from = STR("anna@x.example"), .mail = str_of(r->mail ? r->mail : "anna@x.example"), .mail_pass = r->mail_pass,
			.helo = STR("mx.x.example"), .ip = STR("192.0.2.7"), .dkim = str_of(r->dkim) },
		.org = STR("x.example"), .spf = r->spf, .spf_of_mail = true, .dmarc_refuses = r->dmarc_refuses, .dmarc_pass = r->dmarc_pass,
		.pass = r->pass && *r->pass == '!' ? (struct str){ right_word + 6, SUBJECTPASS_WORD } : str_of(r->pass),
		.tls = !r->clear, .named = r->unnamed ? STR("x@y") : STR("x@y,bob@here.example"), .file = "/q/work/1",
		.no_iprev = r->no_iprev, .listed = r->listed, .lists = "l.example:127.0.0.2", .report = r->report,
	};
}

static void put_reputation(struct facts *f, const struct row *r)
{
	struct record record = { .data = str_of(r->reputation) };
	struct fact found = { .outcome = FOUND, .n = 1, .record = &record }, not_now = { .outcome = UNKNOWN, .why = "the mailbox took too long" },
		none = { .outcome = NO_NAME };
	struct identities who = got.who;
	static char room[HISTORY_LINE];
	struct buf name = { 0 };

	/* Whoever it is asked of: the forwarder's names are gone then. */
	if (r->rule && strstr(r->rule, "forwarder"))
		identities_forward(&who, STR("fwd.example"), room);
	ck_assert(reputation_ask(&name, STR("bob"), STR("x.example"), &who));
	facts_put(f, FACT_REPUTATION, buf_view(&name), !r->reputation ? &not_now : *r->reputation ? &found : &none);
	buf_free(&name);
	if (r->content) {
		record.data = str_of(r->content);
		ck_assert(content_ask(&name, STR("bob"), "/q/work/1", 0));
		facts_put(f, FACT_CONTENT, buf_view(&name), &found);
		buf_free(&name);
	}
}

static struct fact_ticket *asked[4];
static size_t nasked;

static void ask(struct fact_source *source, enum fact_kind kind, struct str name, struct fact_ticket *ticket)
{
	(void)source, (void)kind, (void)name;
	ck_assert_uint_lt(nasked, sizeof asked / sizeof *asked);
	asked[nasked++] = ticket;
}

static void answer_too_late(void)
{
	while (nasked)
		fact_answer(asked[--nasked], &(struct fact){ .outcome = UNKNOWN });
}
static struct fact_source world = { .ask = ask };

static void put_rule(struct facts *f, const struct judge_message *m, const char *rule)
{
	struct record record = { .data = str_of(rule) };
	struct fact found = { .outcome = FOUND, .n = 1, .record = &record }, not_now = { .outcome = UNKNOWN, .why = "the mailbox took too long" },
		none = { .outcome = NO_DATA };
	struct buf name = { 0 };

	ck_assert(rule_ask(&name, STR("bob"), &(struct rule_subject){ &m->who, m->list }));
	facts_put(f, FACT_RULE, buf_view(&name), !*rule ? &not_now : *rule == '-' ? &none : &found);
	buf_free(&name);
}

static void make_right_word(void)
{
	struct buf b = { 0 };

	ck_assert(subjectpass_make(&b, pass_key, STR("bob"), STR("anna@x.example"), 1795424400));
	snprintf(right_word, sizeof right_word, "%s", buf_cstr(&b));
	buf_free(&b);
}

static void check_rows(const struct row *row, size_t n)
{
	make_right_word();
	facts_source(FACT_REPUTATION, &world);
	facts_source(FACT_RULE, &world);
	for (size_t i = 0; i < n; i++) {
		struct judge_rules rules = { .lists = row[i].lists, .forwarders = row[i].forwarders, .content = row[i].content,
			.own = row[i].rule, .pass_key = row[i].pass_on ? pass_key : NULL, .pass_s = 3600, .now = 1795424400 };
		struct judge_message m = message_of(&row[i]);
		struct addr address = { STR("Bob"), STR("here.example") };
		struct judge_rcpt to = { .local = STR("bob"), .to = &address };
		struct facts *f = facts_new(NULL, JUDGE_FACTS);
		char is[100];

		if (row[i].rule && judge(f, &rules, &m, &to, false, &got, &steps) == WAIT)
			put_rule(f, &m, row[i].rule);
		if (judge(f, &rules, &m, &to, false, &got, &steps) == WAIT) {
			put_reputation(f, &row[i]);
			ck_assert_int_ne(judge(f, &rules, &m, &to, false, &got, &steps), WAIT);
		}
		snprintf(is, sizeof is, "%s %s%s", got.verdict == ACCEPT ? "take" : "away", got.reason, got.first_time ? " first" : got.spared ? " spared" : "");
		if (got.verdict == REFUSE)
			snprintf(is + strlen(is), sizeof is - strlen(is), " %d", got.reply.code);
		ck_assert_msg(!strcmp(is, row[i].expected), "row %zu: %s, expected %s\n%s", i, is, row[i].expected, buf_cstr(&steps));
		facts_free(f);
		answer_too_late();
	}
	buf_free(&steps);
	facts_source(FACT_REPUTATION, NULL);
	facts_source(FACT_RULE, NULL);
}
#define CHECK(rows) check_rows(rows, sizeof rows / sizeof *rows)
#define KNOWN "msgfromfull ham conclusive 2"
#define NOBODY "none unknown weak 0"

#define STRANGER .pass_on = true, .dmarc_pass = true
START_TEST(who_reads_the_answer_and_is_whom_he_says_may_come_in)
{
	static const struct row rows[] = {
		{ STRANGER, .listed = 1, .reputation = NOBODY, .expected = "away give-subjectpass 550" },
		{ STRANGER, .listed = 1, .reputation = NOBODY, .pass = "!", .expected = "take subjectpass" },
		{ STRANGER, .listed = 1, .reputation = NOBODY, .pass = "AAAAAAAAAAAAAAAAAAAAAA", .expected = "away give-subjectpass 550" },
		{ .dmarc_pass = true, .listed = 1, .reputation = NOBODY, .pass = "!", .expected = "away dns-blocklisted 451" },
		{ .pass_on = true, .listed = 1, .reputation = NOBODY, .expected = "away dns-blocklisted 451" },
		{ STRANGER, .listed = 1, .reputation = "ip1 unknown weak 1", .expected = "away dns-blocklisted 451" },
		{ STRANGER, .listed = 1, .reputation = NULL, .expected = "away dns-blocklisted 451" },
		{ STRANGER, .content = "600000 enough 9", .unnamed = true, .reputation = NOBODY, .expected = "away give-subjectpass 550" },
		{ STRANGER, .content = "900000 enough 9", .unnamed = true, .reputation = NOBODY, .expected = "away junk-content-strict 451" },
		{ STRANGER, .content = "990000 enough 9", .reputation = NOBODY, .expected = "away junk-content 451" },
		{ STRANGER, .content = "990000 enough 9", .reputation = NOBODY, .pass = "!", .expected = "take subjectpass" },
		{ STRANGER, .pass = "!", .reputation = "msgfromfull junk conclusive 3", .expected = "away msgfromfull 451" },
		{ STRANGER, .pass = "!", .reputation = NOBODY, .spf = SPF_FAIL, .expected = "away spf-policy 451" },
		{ STRANGER, .reputation = NOBODY, .expected = "take no-bad-signals first" },
	};

	CHECK(rows);
	make_right_word();
	CHECK(((const struct row[]){ rows[0] }));
	ck_assert(strstr(got.reply.text, right_word) != NULL);
}
END_TEST

#define FORWARDER "own 3 forwarder\nfwd.example\n\n"
#define SPARED "all 1\n\n\nJunk"
START_TEST(a_mailboxes_rule_comes_before_all_else)
{
	static const struct row rows[] = {
		{ .rule = "own 3 allow\nlists.example\nLists\n", .dmarc_refuses = true, .expected = "take list-allow" },
		{ .rule = FORWARDER, .dkim = "fwd.example", .dmarc_refuses = true, .spf = SPF_FAIL, .reputation = NOBODY, .listed = 1, .expected = "take no-bad-signals" },
		{ .rule = FORWARDER, .dkim = "fwd.example", .reputation = "msgfromfull junk conclusive 3", .expected = "away msgfromfull 451" },
		{ .rule = "own 3\n\nLists\n", .dmarc_refuses = true, .expected = "away dmarc-policy 550" },
		{ .rule = SPARED, .dmarc_refuses = true, .expected = "away dmarc-policy spared 550" },
		{ .rule = SPARED, .reputation = KNOWN, .expected = "take msgfromfull spared" },
		{ .rule = "-", .reputation = NOBODY, .expected = "take no-bad-signals first" },
		{ .rule = "", .reputation = NOBODY, .expected = "take no-bad-signals first" },
		{ .rule = "nonsense", .reputation = NOBODY, .expected = "take no-bad-signals first" },
	};

	CHECK(rows);
}
END_TEST

START_TEST(a_verified_list_is_taken_whoever_wrote)
{
	static const struct row rows[] = {
		{ .lists = "l.example lists.example", .dkim = "a.example,lists.example", .dmarc_refuses = true, .expected = "take list-allow" },
		{ .lists = "lists.example", .mail = "b@lists.example", .mail_pass = true, .dmarc_refuses = true, .expected = "take list-allow" },
		{ .lists = "lists.example", .mail = "b@lists.example", .dmarc_refuses = true, .expected = "away dmarc-policy 550" },
		{ .lists = "lists.example", .dkim = "sub.lists.example", .dmarc_refuses = true, .expected = "away dmarc-policy 550" },
		{ .lists = "lists.example", .reputation = NOBODY, .expected = "take no-bad-signals first" },
	};
	CHECK(rows);
}
END_TEST

START_TEST(a_forwarder_is_not_blamed_for_what_others_wrote)
{
	static const struct row rows[] = {
		{ .forwarders = "fwd.example", .dkim = "fwd.example", .dmarc_refuses = true, .spf = SPF_FAIL, .reputation = NOBODY, .expected = "take no-bad-signals" },
		{ .forwarders = "fwd.example", .dkim = "mx.fwd.example", .dmarc_refuses = true, .reputation = NOBODY, .expected = "take no-bad-signals" },
		{ .forwarders = "fwd.example", .dkim = "notfwd.example", .dmarc_refuses = true, .reputation = NOBODY, .expected = "away dmarc-policy 550" },
		{ .forwarders = "fwd.example", .mail = "s@fwd.example", .mail_pass = true, .reputation = "msgfromfull junk conclusive 3", .expected = "away msgfromfull 451" },
	};
	CHECK(rows);
	ck_assert_uint_eq(got.who.ip.n + got.who.mail.n + got.who.helo.n, 0);
}
END_TEST

START_TEST(what_the_reader_did_decides_when_it_is_enough)
{
	static const struct row rows[] = {
		{ .reputation = KNOWN, .spf = SPF_FAIL, .expected = "take msgfromfull" },
		{ .reputation = KNOWN, .dmarc_refuses = true, .expected = "away dmarc-policy 550" },
		{ .reputation = "ip1 junk conclusive 3", .expected = "away ip1 451" },
		{ .reputation = "dkimspf ham conclusive 1", .spf = SPF_SOFTFAIL, .expected = "take dkimspf" },
		{ .reputation = "msgfromdomain junk weak 2", .expected = "take no-bad-signals" },
		{ .reputation = "msgfromfull junk weak 2", .spf = SPF_FAIL, .expected = "take no-bad-signals" },
	};
	CHECK(rows);
}
END_TEST

START_TEST(whom_nobody_knows_must_come_from_where_his_domain_says)
{
	static const struct row rows[] = {
		{ .reputation = NOBODY, .spf = SPF_FAIL, .expected = "away spf-policy 451" },
		{ .reputation = NOBODY, .spf = SPF_FAIL, .listed = 1, .report = true, .expected = "take reporting" },
		{ .reputation = "msgfromfull junk conclusive 3", .report = true, .expected = "away msgfromfull 451" },
		{ .reputation = NOBODY, .dmarc_refuses = true, .report = true, .expected = "away dmarc-policy 550" },
		{ .reputation = NOBODY, .spf = SPF_SOFTFAIL, .expected = "away spf-policy 451" },
		{ .reputation = "ip2 unknown weak 9", .spf = SPF_FAIL, .expected = "away spf-policy 451" },
		{ .reputation = NOBODY, .spf = SPF_NONE, .expected = "take no-bad-signals first" },
		{ .reputation = NOBODY, .spf = SPF_TEMPERROR, .expected = "take no-bad-signals first" },
		{ .reputation = NOBODY, .spf = SPF_PASS, .expected = "take no-bad-signals first" },
		/* where it cannot be told whether he is known, he may be */
		{ .reputation = NULL, .spf = SPF_FAIL, .expected = "take no-bad-signals" },
		{ .reputation = "", .spf = SPF_FAIL, .expected = "take no-bad-signals" },
		{ .reputation = "nonsense", .spf = SPF_FAIL, .expected = "take no-bad-signals" },
	};
	CHECK(rows);
}
END_TEST

START_TEST(an_address_without_a_name_counts_against_whom_nobody_knows)
{
	static const struct row rows[] = {
		{ .reputation = "ip1 junk weak 1", .no_iprev = true, .expected = "away iprev 451" },
		{ .reputation = "ip1 junk weak 1", .expected = "take no-bad-signals" },
		{ .reputation = "ip1 unknown weak 1", .no_iprev = true, .expected = "take no-bad-signals" },
		{ .reputation = "msgfromfull junk weak 1", .no_iprev = true, .expected = "take no-bad-signals" },
		{ .reputation = NOBODY, .no_iprev = true, .expected = "take no-bad-signals first" },
		{ .reputation = NOBODY, .no_iprev = true, .content = "260000 enough 9", .expected = "away junk-content-strict 451" },
	};
	CHECK(rows);
}
END_TEST

START_TEST(lists_count_last)
{
	static const struct row rows[] = {
		{ .reputation = NOBODY, .listed = 1, .expected = "away dns-blocklisted 451" },
		{ .reputation = NULL, .listed = 1, .expected = "away dns-blocklisted 451" },
		{ .reputation = KNOWN, .listed = 9, .expected = "take msgfromfull" },
		{ .reputation = NOBODY, .listed = -1, .expected = "take no-bad-signals first" },
		{ .reputation = NOBODY, .listed = 1, .spf = SPF_FAIL, .expected = "away spf-policy 451" },
		{ .lists = "lists.example", .dkim = "lists.example", .listed = 1, .expected = "take list-allow" },
		{ .forwarders = "fwd.example", .dkim = "fwd.example", .reputation = NOBODY, .listed = 1, .expected = "take no-bad-signals" },
	};
	CHECK(rows);
}
END_TEST

START_TEST(words_count_where_nothing_else_decides)
{
	static const struct row rows[] = {
		{ .reputation = NOBODY, .content = "951000 enough 9", .expected = "away junk-content 451" },
		{ .reputation = NOBODY, .content = "949000 enough 9", .expected = "take no-bad-signals first" },
		{ .reputation = NOBODY, .content = "260000 enough 9", .clear = true, .expected = "away junk-content-strict 451" },
		{ .reputation = NOBODY, .content = "240000 enough 9", .clear = true, .expected = "take no-bad-signals first" },
		{ .reputation = NOBODY, .content = "260000 enough 9", .unnamed = true, .expected = "away junk-content-strict 451" },
		{ .reputation = NOBODY, .content = "999999 little 9", .clear = true, .expected = "take no-bad-signals first" },
		{ .reputation = NOBODY, .content = "nonsense", .clear = true, .expected = "take no-bad-signals first" },
		{ .reputation = KNOWN, .content = "999999 enough 9", .expected = "take msgfromfull" },
	};
	CHECK(rows);
}
END_TEST

START_TEST(what_is_late_is_not_waited_for)
{
	struct row row = { .spf = SPF_FAIL };
	struct judge_message m = message_of(&row);
	struct judge_rules rules = { .lists = NULL };
	struct judge_rcpt to = { .local = STR("bob") };
	struct facts *f = facts_new(NULL, JUDGE_FACTS);

	facts_source(FACT_REPUTATION, &world);
	ck_assert_int_eq(judge(f, &rules, &m, &to, false, &got, NULL), WAIT);
	ck_assert_int_eq(judge(f, &rules, &m, &to, true, &got, NULL), ACCEPT);
	ck_assert_str_eq(got.local, "bob");
	to.local = STR("");                     /* nobody's mailbox: nobody is asked */
	ck_assert_int_eq(judge(f, &rules, &m, &to, false, &got, &steps), ACCEPT);
	ck_assert_ptr_nonnull(strstr(buf_cstr(&steps), "no mailbox"));
	facts_free(f);
	answer_too_late();
	buf_free(&steps);
	facts_source(FACT_REPUTATION, NULL);
}
END_TEST

Suite *policy_judge_suite(void)
{
	Suite *s = suite_create("policy_judge");
	TCase *c = tcase_create("judge");

	tcase_add_test(c, who_reads_the_answer_and_is_whom_he_says_may_come_in);
	tcase_add_test(c, a_mailboxes_rule_comes_before_all_else);
	tcase_add_test(c, a_verified_list_is_taken_whoever_wrote);
	tcase_add_test(c, a_forwarder_is_not_blamed_for_what_others_wrote);
	tcase_add_test(c, what_the_reader_did_decides_when_it_is_enough);
	tcase_add_test(c, whom_nobody_knows_must_come_from_where_his_domain_says);
	tcase_add_test(c, an_address_without_a_name_counts_against_whom_nobody_knows);
	tcase_add_test(c, lists_count_last);
	tcase_add_test(c, words_count_where_nothing_else_decides);
	tcase_add_test(c, what_is_late_is_not_waited_for);
	suite_add_tcase(s, c);
	return s;
}
