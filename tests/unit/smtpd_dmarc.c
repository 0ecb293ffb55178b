/* What the server makes of DMARC, of the client's address and of lists in the DNS: noted, refused, put off. */
#include <arpa/inet.h>
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "lib/loop.h"
#include "policy/dnsbl.h"
#include "policy/evaluation.h"
#include "policy/judge.h"
#include "smtpd/session.h"
#include "tests/server_rig.h"

Suite *smtpd_dmarc_suite(void);

/* ---- a world. "NAME TYPE DATA", TYPE one of A, P and T (to the end of the line), or ! (cannot be found out), !! (our own fault) and
 * ~ (no answer comes). What is on no line does not exist. */

enum { WAITING = 50 };
static const char *const *zone;
static struct fact_ticket *waiting[WAITING];
static size_t nwaiting, nasked;

static void ask(struct fact_source *source, enum fact_kind kind, struct str name, struct fact_ticket *t)
{
	static unsigned char octets[8][4];
	struct record r[8];
	struct fact f = { .outcome = NO_NAME, .record = r };
	char type = kind == FACT_A ? 'A' : kind == FACT_PTR ? 'P' : 'T', text[64];

	(void)source;
	nasked++;
	for (size_t i = 0; zone && zone[i]; i++) {
		struct str rest = str_of(zone[i]), owner, word;

		ck_assert(str_word(&rest, &owner) && str_word(&rest, &word));
		if (!str_eq_nocase(owner, name))
			continue;
		rest = str_trim(rest);
		if (word.p[0] == '~') {
			ck_assert_uint_lt(nwaiting, WAITING);
			waiting[nwaiting++] = t;
			return;
		}
		if (word.p[0] == '!') {
			f = (struct fact){ .outcome = UNKNOWN, .why = "SERVFAIL from 127.0.0.1", .local_fault = word.n == 2 };
			break;
		}
		if (word.p[0] != type)
			continue;
		r[f.n] = (struct record){ .data = rest };
		if (type == 'A') {
			ck_assert(str_copy(text, sizeof text, rest) && inet_pton(AF_INET, text, octets[f.n]) == 1);
			r[f.n].data = (struct str){ (char *)octets[f.n], 4 };
		}
		f.n++;
		f.outcome = FOUND;
	}
	fact_answer(t, &f);
}
static struct fact_source world = { .ask = ask };

static void setup(void)
{
	static const enum fact_kind kinds[] = { FACT_A, FACT_PTR, FACT_TXT };

	site_start();
	site_config.spf = SMTPD_SPF_NOTE;
	site_config.check_dkim = true;
	site_config.dmarc = SMTPD_DMARC_REFUSE;
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		facts_source(kinds[i], &world);
	nasked = nwaiting = 0;
	zone = NULL;
}

static void teardown(void)
{
	static const struct fact none = { .outcome = NO_DATA };

	site_stop();
	guests_forget();
	while (nwaiting)
		fact_answer(waiting[--nwaiting], &none);
	for (int k = 0; k < FACT_KINDS; k++)
		facts_source((enum fact_kind)k, NULL);
}

/* From MAIL to the last dot. */
static void send_from(struct site_client *c, const char *from)
{
	site_say(c, "MAIL FROM:<a@b.test>\r\nRCPT TO:<user@mx.example.org>\r\nDATA\r\n");
	site_expect(c, "250 2.1.0 *");
	site_expect(c, "250 2.1.5 *");
	site_expect(c, "354 *");
	site_say(c, from);
	site_say(c, "Subject: x\r\n\r\ntext\r\n.\r\n");
}

static void assert_noted(const char *text)
{
	struct buf envelope = { 0 }, message = { 0 };

	ck_assert(site_message(NULL, &envelope, &message));
	ck_assert_msg(strstr(buf_cstr(&message), text) != NULL, "%s", buf_cstr(&message));
	buf_free(&envelope);
	buf_free(&message);
}

#define SPF_OF_B "b.test T v=spf1 ip4:192.0.2.7 -all"

static const struct {
	const char *from;
	enum smtpd_dmarc mode;
	const char *reply, *noted;
	const char *zone[6];
} rows[] = {
	{ "From: a@b.test\r\n", SMTPD_DMARC_REFUSE, "250 *", ";\r\n\tspf=pass smtp.mailfrom=b.test;\r\n\tdmarc=pass header.from=b.test;\r\n\tdkim=none\r\n",
		{ SPF_OF_B, "_dmarc.b.test T v=DMARC1; p=reject" } },
	{ "From: A <a@bank.test>\r\n", SMTPD_DMARC_REFUSE, "550 5.7.26 DMARC: neither SPF nor a signature speaks for bank.test; its owner says p=reject at _dmarc.bank.test", NULL,
		{ SPF_OF_B, "_dmarc.bank.test T v=DMARC1; p=reject" } },
	{ "From: A <a@bank.test>\r\n", SMTPD_DMARC_NOTE, "250 *", "\tdmarc=fail header.from=bank.test policy.dmarc=reject;\r\n",
		{ SPF_OF_B, "_dmarc.bank.test T v=DMARC1; p=reject" } },
	{ "From: A <a@bank.test>\r\n", SMTPD_DMARC_OFF, "250 *", "\tspf=pass smtp.mailfrom=b.test;\r\n\tdkim=none\r\n",
		{ SPF_OF_B, "_dmarc.bank.test T v=DMARC1; p=reject" } },
	{ "From: A <a@bank.test>\r\n", SMTPD_DMARC_REFUSE, "250 *", "\tdmarc=fail header.from=bank.test policy.dmarc=quarantine;\r\n",
		{ SPF_OF_B, "_dmarc.bank.test T v=DMARC1; p=quarantine" } },
	{ "From: A <a@bank.test>\r\n", SMTPD_DMARC_REFUSE, "250 *", "\tdmarc=fail header.from=bank.test policy.dmarc=none;\r\n",
		{ SPF_OF_B, "_dmarc.bank.test T v=DMARC1; p=none" } },
	{ "From: A <a@bank.test>\r\n", SMTPD_DMARC_REFUSE, "250 *", "\tdmarc=fail (sampled_out) header.from=bank.test policy.dmarc=quarantine;\r\n",
		{ SPF_OF_B, "_dmarc.bank.test T v=DMARC1; p=reject; pct=0" } },
	{ "From: a@nowhere.test\r\n", SMTPD_DMARC_REFUSE, "250 *", "\tdmarc=none header.from=nowhere.test;\r\n", { SPF_OF_B } },
	{ "", SMTPD_DMARC_REFUSE, "250 *", "\tdmarc=none;\r\n", { SPF_OF_B } },
	/* Nobody can say who it is. */
	{ "From: a@b.test\r\nFrom: a@bank.test\r\n", SMTPD_DMARC_REFUSE, "550 5.7.1 DMARC: there is more than one From field", NULL, { SPF_OF_B } },
	{ "From: a@\r\n", SMTPD_DMARC_REFUSE, "550 5.7.1 DMARC: no address can be made out in From", NULL, { SPF_OF_B } },
	{ "From: A <a@bank.test\r\n", SMTPD_DMARC_REFUSE, "550 5.7.26 DMARC: * for bank.test; *", NULL, { SPF_OF_B, "_dmarc.bank.test T v=DMARC1; p=reject" } },
	{ "From: a@b.test, c@bank.test\r\n", SMTPD_DMARC_REFUSE, "550 5.7.26 DMARC: * for bank.test; *", NULL,
		{ SPF_OF_B, "_dmarc.bank.test T v=DMARC1; p=reject", "_dmarc.b.test T v=DMARC1; p=none" } },
	/* What cannot be found out. */
	{ "From: a@bank.test\r\n", SMTPD_DMARC_REFUSE, "451 4.7.26 DMARC: cannot look up _dmarc.bank.test: SERVFAIL from 127.0.0.1", NULL,
		{ SPF_OF_B, "_dmarc.bank.test !" } },
	{ "From: a@bank.test\r\n", SMTPD_DMARC_NOTE, "250 *", "\tdmarc=temperror\r\n\t\treason=\"cannot look up", { SPF_OF_B, "_dmarc.bank.test !" } },
	{ "From: a@bank.test\r\n", SMTPD_DMARC_REFUSE, "250 *", "\tdmarc=temperror\r\n\t\treason=\"cannot look up", { SPF_OF_B, "_dmarc.bank.test !!" } },
	{ "From: a@b.test\r\n", SMTPD_DMARC_REFUSE, "451 4.7.26 DMARC: it cannot be found out now *", NULL,
		{ "b.test !", "_dmarc.b.test T v=DMARC1; p=reject" } },
	{ "From: a@b.test\r\n", SMTPD_DMARC_REFUSE, "250 *", "\tdmarc=temperror\r\n\t\treason=", { "b.test !", "_dmarc.b.test T v=DMARC1; p=none" } },
	{ "From: a@b.test\r\n", SMTPD_DMARC_REFUSE, "250 *", "\tdmarc=permerror\r\n\t\treason=\"the DMARC record of b.test", { "_dmarc.b.test T v=DMARC1; p=oh" } },
};

START_TEST(what_the_owner_of_from_wants_is_noted_or_done)
{
	struct site_client c;

	zone = rows[_i].zone;
	site_config.dmarc = rows[_i].mode;
	site_come(&c, "192.0.2.7", SMTPD_MX);
	send_from(&c, rows[_i].from);
	site_expect(&c, rows[_i].reply);
	if (rows[_i].noted)
		assert_noted(rows[_i].noted);
	ck_assert_uint_eq(site_messages(), rows[_i].noted != NULL);
	ck_assert_uint_eq(site_drafts(), 0);
	site_say(&c, "NOOP\r\n");               /* the session goes on */
	site_expect(&c, "250 *");
	site_hang_up(&c);
}
END_TEST

START_TEST(the_same_by_bdat)
{
	static const char *const records[] = { SPF_OF_B, "_dmarc.bank.test T v=DMARC1; p=reject", NULL };
	struct site_client c;

	zone = records;
	site_come(&c, "192.0.2.7", SMTPD_MX);
	site_say(&c, "MAIL FROM:<a@b.test>\r\nRCPT TO:<user@mx.example.org>\r\nBDAT 6\r\nFrom: BDAT 21 LAST\r\na@bank.test\r\n\r\ntext\r\n");
	site_expect(&c, "250 2.1.0 *");
	site_expect(&c, "250 2.1.5 *");
	site_expect(&c, "250 *");
	site_expect(&c, "550 5.7.26 *");
	ck_assert_uint_eq(site_messages(), 0);
	site_hang_up(&c);
}
END_TEST

START_TEST(answers_are_asked_for_behind_the_header_and_awaited_for_a_while)
{
	static const char *const records[] = { SPF_OF_B, "_dmarc.bank.test ~", NULL };
	static const struct fact none = { .outcome = NO_NAME };
	struct site_client c;

	zone = records;
	site_come(&c, "192.0.2.7", SMTPD_MX);
	site_say(&c, "MAIL FROM:<a@b.test>\r\nRCPT TO:<user@mx.example.org>\r\nDATA\r\nFrom: a@bank.test\r\n");
	site_expect(&c, "250 2.1.0 *");
	site_expect(&c, "250 2.1.5 *");
	site_expect(&c, "354 *");
	ck_assert_uint_eq(nwaiting, 0);
	site_say(&c, "\r\n");
	ck_assert_uint_eq(nwaiting, 1);
	site_say(&c, ".\r\n");
	site_expect_nothing(&c);
	fact_answer(waiting[--nwaiting], &none);
	site_expect(&c, "250 *");
	send_from(&c, "From: a@bank.test\r\n");
	loop_advance(14000);
	site_expect_nothing(&c);
	loop_advance(1500);
	site_expect(&c, "451 4.7.26 DMARC: *");
	site_hang_up(&c);
}
END_TEST

START_TEST(who_hangs_up_while_answers_are_on_their_way_harms_nobody)
{
	static const char *const records[] = { "_dmarc.bank.test ~", "192.0.2.7 ~", "b.test !", NULL };
	struct site_client c;

	zone = records;
	site_config.check_iprev = true;
	site_come(&c, "192.0.2.7", SMTPD_MX);
	send_from(&c, "From: a@bank.test\r\n");
	site_hang_up(&c);
	site_turn();
	ck_assert_uint_eq(nwaiting, 2);
}
END_TEST

static char evaluated[500];

static void evaluation(void *arg, const struct evaluation *e)
{
	struct buf line = { 0 };

	(void)arg;
	ck_assert(evaluation_print(&line, e) && str_copy(evaluated, sizeof evaluated, buf_view(&line)));
	buf_free(&line);
}

START_TEST(what_came_of_it_is_kept_for_who_wants_reports)
{
	static const char *const records[] = { SPF_OF_B, "_dmarc.b.test T v=DMARC1; p=reject; rua=mailto:r@b.test",
		"_dmarc.bank.test T v=DMARC1; p=reject; rua=mailto:r@bank.test", "_dmarc.quiet.test T v=DMARC1; p=reject", NULL };
	struct site_client c;

	zone = records;
	site_config.evaluated = evaluation;
	site_come(&c, "192.0.2.7", SMTPD_MX);
	*evaluated = '\0';
	send_from(&c, "From: a@quiet.test\r\n");
	site_expect(&c, "550 *");
	ck_assert_str_eq(evaluated, "");
	send_from(&c, "From: a@b.test\r\n");
	site_expect(&c, "250 *");
	ck_assert_ptr_nonnull(strstr(evaluated, " ip=192.0.2.7 result=pass done=none aligned=spf from=b.test mail=b.test to=mx.example.org spf=pass:mfrom:b.test at=b.test "));
	ck_assert_ptr_null(strstr(evaluated, " quiet="));
	send_from(&c, "From: a@bank.test\r\nSubject: Report Domain: us.test\r\n");
	site_expect(&c, "550 *");
	ck_assert_ptr_nonnull(strstr(evaluated, " result=fail done=reject aligned= from=bank.test "));
	ck_assert_ptr_null(strstr(evaluated, " quiet="));      /* whoever may say so */
	send_from(&c, "From: a@b.test\r\nSubject: Report Domain: us.test\r\n");
	site_expect(&c, "250 *");
	ck_assert_ptr_nonnull(strstr(evaluated, " quiet=y\n"));
	site_hang_up(&c);
}
END_TEST

/* A recipient who goes by DMARC, but for what his list has sent. */
static bool by_list;

static enum verdict judge_rcpt(void *arg, struct facts *f, const struct addr *to, const struct judge_message *m, bool late, struct judgement *out)
{
	(void)arg, (void)f, (void)to, (void)late;
	*out = (struct judgement){ .verdict = m->dmarc_refuses && !by_list ? REFUSE : ACCEPT, .why = by_list ? JUDGE_LIST : JUDGE_DMARC,
		.reply = { .code = 550, .enhanced = "5.7.26", .text = "no" } };
	return out->verdict;
}

static const struct {
	const char *record;
	enum smtpd_dmarc mode;
	bool by_list;
	const char *reply, *kept;
} asked_first[] = {
	{ "_dmarc.bank.test T v=DMARC1; p=reject; rua=mailto:r@bank.test", SMTPD_DMARC_REFUSE, false, "550 5.7.26 no", " done=reject aligned=" },
	{ "_dmarc.bank.test T v=DMARC1; p=quarantine; rua=mailto:r@bank.test", SMTPD_DMARC_REFUSE, false, "550 5.7.26 no", " done=reject aligned=" },
	{ "_dmarc.bank.test T v=DMARC1; p=none; rua=mailto:r@bank.test", SMTPD_DMARC_REFUSE, false, "250 *", " done=none aligned=" },
	{ "_dmarc.bank.test T v=DMARC1; p=reject; rua=mailto:r@bank.test", SMTPD_DMARC_REFUSE, true, "250 *", " done=none why=mailing_list aligned=" },
	{ "_dmarc.bank.test T v=DMARC1; p=reject; rua=mailto:r@bank.test", SMTPD_DMARC_NOTE, false, "250 *", " done=none why=local_policy aligned=" },
	{ "_dmarc.bank.test !", SMTPD_DMARC_REFUSE, true, "451 4.7.26 *", "" },
};

START_TEST(recipients_who_judge_are_asked_first)
{
	const char *records[] = { SPF_OF_B, asked_first[_i].record, NULL };
	struct site_client c;

	zone = records;
	site_config.dmarc = asked_first[_i].mode;
	site_config.judge = SMTPD_JUDGE_REFUSE;
	site_config.judge_rcpt = judge_rcpt;
	site_config.evaluated = evaluation;
	by_list = asked_first[_i].by_list;
	*evaluated = '\0';
	site_come(&c, "192.0.2.7", SMTPD_MX);
	send_from(&c, "From: a@bank.test\r\n");
	loop_advance(6000);
	site_expect(&c, asked_first[_i].reply);
	ck_assert_msg(strstr(evaluated, asked_first[_i].kept) != NULL, "%s", evaluated);
	site_hang_up(&c);
}
END_TEST

static const struct { const char *noted, *zone[4]; } names[] = {
	{ ";\r\n\tiprev=pass (mx.b.test) policy.iprev=192.0.2.7;\r\n", { "192.0.2.7 P mx.b.test", "mx.b.test A 192.0.2.7" } },
	{ ";\r\n\tiprev=fail (mx.b.test) policy.iprev=192.0.2.7;\r\n", { "192.0.2.7 P mx.b.test", "mx.b.test A 192.0.2.8" } },
	{ ";\r\n\tiprev=permerror policy.iprev=192.0.2.7;\r\n", { NULL } },
	{ ";\r\n\tiprev=temperror policy.iprev=192.0.2.7;\r\n", { "192.0.2.7 !" } },
};

START_TEST(the_name_of_the_client_is_noted)
{
	struct site_client c;

	zone = names[_i].zone;
	site_config.check_iprev = true;
	site_come(&c, "192.0.2.7", SMTPD_MX);
	send_from(&c, "From: a@b.test\r\n");
	site_expect(&c, "250 *");
	assert_noted(names[_i].noted);
	site_hang_up(&c);
}
END_TEST

START_TEST(users_and_friends_are_not_asked_about)
{
	static struct dnsbl_list list;
	struct site_client c;

	ck_assert(!dnsbl_parse(STR("bl.test"), false, &list));
	site_config.dnsbl = &list;
	site_config.ndnsbl = 1;
	site_config.dnsbl_refuse = 1;
	site_config.check_iprev = true;
	site_connect(&c);                       /* a local program */
	site_expect(&c, "220 *");
	site_say(&c, "EHLO h.example\r\n");
	site_expect_reply(&c, "250 *");
	send_from(&c, "From: a@bank.test\r\n");
	site_expect(&c, "250 *");
	ck_assert_uint_eq(nasked, 0);
	site_hang_up(&c);
}
END_TEST

/* ---- lists */

#define WELL "2.0.0.127.bl.test A 127.0.0.2"
static const struct {
	const char *zone[6];
	int refuse;
	const char *user, *postmaster;
} lists[] = {
	{ { WELL }, 1, "250 *", "250 *" },
	{ { WELL, "7.2.0.192.bl.test A 127.0.0.2", "7.2.0.192.bl.test T look here" }, 1,
		"550 5.7.1 192.0.2.7 is listed by bl.test (127.0.0.2): look here", "250 *" },
	{ { WELL, "7.2.0.192.bl.test A 127.0.0.2" }, 3, "250 *", "250 *" },
	{ { WELL, "7.2.0.192.bl.test A 127.0.0.2" }, 0, "250 *", "250 *" },
	{ { WELL, "7.2.0.192.bl.test A 127.255.255.254" }, 1, "250 *", "250 *" },
	{ { WELL, "7.2.0.192.bl.test !" }, 1, "250 *", "250 *" },
	{ { "test.rhs.test A 127.0.0.2", "b.test.rhs.test A 127.0.0.2" }, 1, "550 5.7.1 b.test is listed by rhs.test (127.0.0.2)", "250 *" },
	{ { "test.rhs.test A 127.0.0.2", "h.example.rhs.test A 127.0.0.2" }, 1, "550 5.7.1 h.example is listed by rhs.test (127.0.0.2)", "250 *" },
};

START_TEST(who_is_on_a_list_hears_so_at_rcpt)
{
	static struct dnsbl_list list[2];
	struct site_client c;

	ck_assert(!dnsbl_parse(STR("bl.test 2"), false, &list[0]) && !dnsbl_parse(STR("rhs.test"), true, &list[1]));
	site_config.dnsbl = list;
	site_config.ndnsbl = 2;
	site_config.dnsbl_refuse = lists[_i].refuse;
	zone = lists[_i].zone;
	site_come(&c, "192.0.2.7", SMTPD_MX);
	site_say(&c, "MAIL FROM:<a@b.test>\r\n");
	site_expect(&c, "250 *");
	site_say(&c, "RCPT TO:<no@mx.example.org>\r\n");
	site_expect(&c, "550 *");
	ck_assert_uint_eq(nasked, 0);           /* nobody is asked for those who guess names */
	site_say(&c, "RCPT TO:<user@mx.example.org>\r\nRCPT TO:<user@mx.example.org>\r\nRCPT TO:<postmaster>\r\n");
	site_expect(&c, lists[_i].user);
	site_expect(&c, lists[_i].user);
	site_expect(&c, lists[_i].postmaster);
	ck_assert_uint_le(nasked, 8);           /* once for all recipients */
	site_hang_up(&c);
}
END_TEST

START_TEST(where_readers_decide_a_list_refuses_nobody_at_rcpt)
{
	static struct dnsbl_list list;
	struct site_client c;

	site_config.judge = SMTPD_JUDGE_REFUSE;
	ck_assert(!dnsbl_parse(STR("bl.test"), false, &list));
	site_config.dnsbl = &list;
	site_config.ndnsbl = 1;
	site_config.dnsbl_refuse = 1;
	zone = lists[1].zone;
	site_come(&c, "192.0.2.7", SMTPD_MX);
	site_say(&c, "MAIL FROM:<a@b.test>\r\n");
	site_expect(&c, "250 *");
	site_say(&c, "RCPT TO:<user@mx.example.org>\r\n");
	site_expect(&c, "250 *");
	site_hang_up(&c);
}
END_TEST

Suite *smtpd_dmarc_suite(void)
{
	Suite *s = suite_create("smtpd_dmarc");
	TCase *t = tcase_create("strangers");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, what_the_owner_of_from_wants_is_noted_or_done, 0, (int)(sizeof rows / sizeof *rows));
	tcase_add_test(t, the_same_by_bdat);
	tcase_add_test(t, answers_are_asked_for_behind_the_header_and_awaited_for_a_while);
	tcase_add_test(t, who_hangs_up_while_answers_are_on_their_way_harms_nobody);
	tcase_add_test(t, what_came_of_it_is_kept_for_who_wants_reports);
	tcase_add_loop_test(t, recipients_who_judge_are_asked_first, 0, (int)(sizeof asked_first / sizeof *asked_first));
	tcase_add_loop_test(t, the_name_of_the_client_is_noted, 0, (int)(sizeof names / sizeof *names));
	tcase_add_test(t, users_and_friends_are_not_asked_about);
	tcase_add_loop_test(t, who_is_on_a_list_hears_so_at_rcpt, 0, (int)(sizeof lists / sizeof *lists));
	tcase_add_test(t, where_readers_decide_a_list_refuses_nobody_at_rcpt);
	suite_add_tcase(s, t);
	return s;
}
