/* Who may come in, in the server: what is waited for, who is told what and when, what is kept, and what of it is in the queue. */
#include <arpa/inet.h>
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/loop.h"
#include "policy/judge.h"
#include "smtpd/session.h"
#include "tests/server_rig.h"

Suite *smtpd_judge_suite(void);

/* ---- the rule: by the local part. "not" is refused for now, "never" for good, "new" is wanted and not known, "ask" and "ask-not" are asked
 * for first. All others are wanted. */

enum { ASKED_MAX = 10 };
static struct fact_ticket *asked[ASKED_MAX];
static size_t nasked;
static bool judged_late;
static void ask(struct fact_source *source, enum fact_kind kind, struct str name, struct fact_ticket *ticket)
{
	(void)source, (void)kind, (void)name;
	ck_assert_uint_lt(nasked, ASKED_MAX);
	asked[nasked++] = ticket;
}
static struct fact_source world = { .ask = ask };

static void answer(void)
{
	static const struct fact found = { .outcome = FOUND };

	while (nasked) {
		fact_answer(asked[--nasked], &found);
		site_turn();
	}
}

static enum verdict rule(void *arg, struct facts *f, const struct addr *to, const struct judge_message *m, bool late, struct judgement *out)
{
	struct str local = to->local;

	(void)arg;
	*out = (struct judgement){ .verdict = ACCEPT, .reason = "msgfromfull", .who = m->who };
	if (str_starts_nocase(local, STR("ask"))) {
		if (!fact(f, FACT_REPUTATION, local) && !late)
			return WAIT;
		judged_late = late;
		local = str_from(local, str_eq(local, STR("ask-not")) ? 4 : 3);
	}
	str_copy(out->local, sizeof out->local, to->local);
	if (str_eq(local, STR("new")))
		*out = (struct judgement){ .verdict = ACCEPT, .reason = "no-bad-signals", .first_time = true, .who = m->who };
	if (str_eq(local, STR("not"))) {
		out->reply = (struct reply){ .code = 451, .enhanced = "4.7.1", .text = "Not now" };
		snprintf(out->reason, sizeof out->reason, "ip1");
		out->verdict = REFUSE;
	}
	if (str_eq(local, STR("never"))) {
		out->reply = (struct reply){ .code = 550, .enhanced = "5.7.26", .text = "DMARC" };
		snprintf(out->reason, sizeof out->reason, "dmarc-policy");
		out->verdict = REFUSE;
	}
	return out->verdict;
}

/* ---- what is kept */

static struct refused *kept[ASKED_MAX];
static char kept_text[ASKED_MAX][70000], kept_as[ASKED_MAX][200];
static size_t nkept;

static void keep(void *arg, struct refused *r)
{
	ssize_t n;

	(void)arg;
	ck_assert_uint_lt(nkept, ASKED_MAX);
	ck_assert_int_lt(r->size, (off_t)sizeof kept_text[0]);
	n = file_pread(r->fd, kept_text[nkept], (size_t)r->size, r->at);
	ck_assert_int_eq(n, (ssize_t)r->size);
	kept_text[nkept][n] = '\0';
	snprintf(kept_as[nkept], sizeof kept_as[0], STR_FMT " " STR_FMT " " STR_FMT " " STR_FMT, STR_ARG(r->local), STR_ARG(r->to), STR_ARG(r->sender),
		STR_ARG(r->reason));
	ck_assert(!strncmp(kept_text[nkept] + r->own, "From: ", 6));
	kept[nkept++] = r;
}

static void say_kept(bool ok)
{
	while (nkept) {
		struct refused *r = kept[--nkept];

		r->done(r, ok);
		site_turn();
	}
}

/* ---- a session */

static void setup(void)
{
	site_start();
	site_config.judge = SMTPD_JUDGE_REFUSE;
	site_config.judge_rcpt = rule;
	site_config.keep = keep;
	site_config.first_time_s = 15;
	facts_source(FACT_REPUTATION, &world);
	nasked = nkept = 0;
	judged_late = false;
}

static void teardown(void)
{
	say_kept(true);                         /* too late */
	answer();
	site_stop();
	guests_forget();
	facts_source(FACT_REPUTATION, NULL);
}

#define HEADER "From: Anna <anna@x.example>\r\nSubject: x\r\n\r\n"

/* Up to the final dot. Names are separated by blanks. */
static void mail(struct site_client *c, const char *names, const char *body)
{
	struct str rest = str_of(names), name;
	char line[200];

	site_say(c, "MAIL FROM:<bounce@x.example>\r\n");
	site_expect(c, "250 2.1.0 *");
	while (str_word(&rest, &name)) {
		snprintf(line, sizeof line, "RCPT TO:<" STR_FMT "@mx.example.org>\r\n", STR_ARG(name));
		site_say(c, line);
		site_expect(c, "250 2.1.5 *");
	}
	site_say(c, "DATA\r\n");
	site_expect(c, "354 *");
	site_say(c, HEADER);
	site_say(c, body);
	site_say(c, ".\r\n");
}

static void come_and_send(struct site_client *c, const char *names)
{
	site_come(c, "127.0.0.1", SMTPD_MX);
	mail(c, names, "text\r\n");
}

static void assert_queued(const char *to, const char *on_top)
{
	struct buf envelope = { 0 }, message = { 0 };
	char line[200];

	ck_assert_uint_eq(site_messages(), 1);
	ck_assert(site_message(NULL, &envelope, &message));
	snprintf(line, sizeof line, "RCPT TO:<%s@mx.example.org>", to);
	ck_assert_msg(strstr(buf_cstr(&envelope), line) != NULL, "%s", buf_cstr(&envelope));
	ck_assert_msg(!strncmp(buf_cstr(&message), on_top, strlen(on_top)), "%s", buf_cstr(&message));
	ck_assert_ptr_nonnull(strstr(buf_cstr(&message), "\r\n" HEADER));
	buf_free(&envelope);
	buf_free(&message);
}

static void assert_not_queued_for(const char *to)
{
	struct buf envelope = { 0 }, message = { 0 };

	ck_assert(site_message(NULL, &envelope, &message));
	ck_assert_msg(strstr(buf_cstr(&envelope), to) == NULL, "%s", buf_cstr(&envelope));
	buf_free(&envelope);
	buf_free(&message);
}

START_TEST(what_is_wanted_says_why_and_who_it_is_from)
{
	struct site_client c;

	come_and_send(&c, "bob");
	site_expect(&c, "250 2.0.0 *");
	assert_queued("bob", "X-Fardel-Reason: msgfromfull; id=");
	assert_queued("bob", "");
	assert_queued("bob", "X-Fardel-Reason: msgfromfull; id=");
	site_hang_up(&c);
}
END_TEST

START_TEST(what_nobody_wants_is_kept_first_and_refused_then)
{
	struct site_client c;

	come_and_send(&c, "not");
	site_expect_nothing(&c);
	ck_assert_uint_eq(nkept, 1);
	ck_assert_str_eq(kept_as[0], "not not@mx.example.org bounce@x.example ip1");
	ck_assert_ptr_nonnull(strstr(kept_text[0], "\r\n" HEADER "text\r\n"));
	say_kept(true);
	site_expect(&c, "451 4.7.1 Not now");
	ck_assert_uint_eq(site_messages(), 0);
	ck_assert_uint_eq(site_drafts(), 0);
	mail(&c, "bob", "");                    /* the session goes on */
	site_expect(&c, "250 2.0.0 *");
	site_hang_up(&c);
}
END_TEST

START_TEST(what_cannot_be_kept_is_refused_all_the_same)
{
	struct site_client c;

	come_and_send(&c, "never");
	say_kept(false);
	site_expect(&c, "550 5.7.26 DMARC");
	mail(&c, "never", "");                  /* nobody says whether it was kept */
	site_expect_nothing(&c);
	loop_advance(9999);
	site_expect_nothing(&c);
	loop_advance(1);
	site_expect(&c, "550 5.7.26 DMARC");
	say_kept(true);
	site_expect_nothing(&c);
	site_config.keep = NULL;
	mail(&c, "not", "");
	site_expect(&c, "451 *");
	ck_assert_uint_eq(site_messages(), 0);
	site_hang_up(&c);
}
END_TEST

START_TEST(of_opposite_verdicts_each_has_his_way)
{
	struct site_client c;

	come_and_send(&c, "bob never carl not");
	ck_assert_uint_eq(nkept, 2);
	ck_assert_str_eq(kept_as[0], "never never@mx.example.org bounce@x.example dmarc-policy");
	ck_assert_str_eq(kept_as[1], "not not@mx.example.org bounce@x.example ip1");
	say_kept(true);
	site_expect(&c, "250 2.0.0 *");
	assert_queued("bob", "X-Fardel-Reason: msgfromfull; id=");
	assert_queued("carl", "");
	assert_not_queued_for("never@");
	assert_not_queued_for("not@");
	site_hang_up(&c);
}
END_TEST

/* More than is held in memory: what was written is changed on the disk. */
START_TEST(a_large_message_keeps_its_checksum_when_recipients_go)
{
	static char body[60001];
	struct site_client c;

	for (size_t i = 0; i + 1 < sizeof body; i++)
		body[i] = i % 60 == 58 ? '\r' : i % 60 == 59 ? '\n' : 'x';
	site_come(&c, "127.0.0.1", SMTPD_MX);
	mail(&c, "not bob", body);
	say_kept(true);
	site_expect(&c, "250 2.0.0 *");
	assert_queued("bob", "X-Fardel-Reason: msgfromfull; id=");
	assert_not_queued_for("not@");
	site_hang_up(&c);
}
END_TEST

START_TEST(those_who_want_it_for_different_reasons_are_not_told_of_each_other)
{
	struct site_client c;

	come_and_send(&c, "bob new");
	site_expect(&c, "250 2.0.0 *");
	assert_queued("bob", "X-Fardel-Reason: several; id=");
	site_hang_up(&c);
}
END_TEST

START_TEST(of_several_refusals_the_one_that_may_pass_is_told)
{
	struct site_client c;

	come_and_send(&c, "never not never");
	say_kept(true);
	site_expect(&c, "451 4.7.1 Not now");
	site_hang_up(&c);
}
END_TEST

START_TEST(strangers_wait_for_a_refusal)
{
	struct site_client c;

	site_come(&c, "192.0.2.1", SMTPD_MX);
	mail(&c, "not", "");
	say_kept(true);
	site_expect_nothing(&c);
	loop_advance(4999);
	site_expect_nothing(&c);
	loop_advance(1);
	site_expect(&c, "451 4.7.1 Not now");
	site_hang_up(&c);
}
END_TEST

START_TEST(whom_nobody_knows_waits_the_first_time)
{
	struct site_client c;

	site_come(&c, "192.0.2.1", SMTPD_MX);
	mail(&c, "new", "");
	site_expect_nothing(&c);
	loop_advance(14999);
	site_expect_nothing(&c);
	ck_assert_uint_eq(site_messages(), 0);
	loop_advance(1);
	site_expect(&c, "250 2.0.0 *");
	assert_queued("new", "X-Fardel-Reason: no-bad-signals; id=");
	site_hang_up(&c);
}
END_TEST

START_TEST(to_note_is_to_take_it)
{
	struct site_client c;

	site_config.judge = SMTPD_JUDGE_NOTE;
	site_come(&c, "192.0.2.1", SMTPD_MX);
	mail(&c, "not", "");
	site_expect(&c, "250 2.0.0 *");
	ck_assert_uint_eq(nkept, 0);
	assert_queued("not", "X-Fardel-Reason: unwanted:ip1; id=");
	site_hang_up(&c);
}
END_TEST

START_TEST(facts_are_waited_for_and_not_for_ever)
{
	struct site_client c;

	come_and_send(&c, "ask-not");
	site_expect_nothing(&c);
	answer();
	say_kept(true);
	site_expect(&c, "451 *");
	ck_assert(!judged_late);
	mail(&c, "ask ask", "");
	loop_advance(9999);
	site_expect_nothing(&c);
	loop_advance(1);
	site_expect(&c, "250 2.0.0 *");
	ck_assert(judged_late);
	site_hang_up(&c);
}
END_TEST

/* His message is whole: it may come in all the same, or be refused to nobody. */
START_TEST(who_hangs_up_meanwhile_leaves_nothing_unfinished)
{
	static const char *const names[] = { "ask", "not", "new" };

	for (size_t i = 0; i < 3; i++) {
		struct site_client c;

		site_come(&c, "192.0.2.1", SMTPD_MX);
		mail(&c, names[i], "");
		site_expect_nothing(&c);
		site_hang_up(&c);
		site_turn();
		for (int times = 0; times < 3; times++) {
			loop_advance(60000);
			site_turn();
		}
		answer();
		say_kept(true);
		ck_assert_uint_eq(site_drafts(), 0);
	}
}
END_TEST

START_TEST(chunks_are_judged_too)
{
	struct site_client c;

	site_come(&c, "127.0.0.1", SMTPD_MX);
	site_say(&c, "MAIL FROM:<>\r\nRCPT TO:<not@mx.example.org>\r\nBDAT 43 LAST\r\n" HEADER "NOOP\r\n");
	site_expect(&c, "250 2.1.0 *");
	site_expect(&c, "250 2.1.5 *");
	site_expect_nothing(&c);
	say_kept(true);
	site_expect(&c, "451 4.7.1 *");
	site_expect(&c, "*");
	site_hang_up(&c);
}
END_TEST

/* ---- more than one recipient */

static const char *record;
static void ask_dns(struct fact_source *source, enum fact_kind kind, struct str name, struct fact_ticket *ticket)
{
	struct record r = { .data = str_of(record) };
	struct fact f = { .outcome = *record ? FOUND : NO_NAME, .n = *record != 0, .record = &r };

	(void)source, (void)kind, (void)name;
	fact_answer(ticket, &f);
}
static struct fact_source dns = { .ask = ask_dns };

static void offer_two(struct site_client *c, const char *sender, const char *second)
{
	char line[100];

	snprintf(line, sizeof line, "RSET\r\nMAIL FROM:<%s>\r\n", sender);
	site_say(c, line);
	site_expect(c, "250 2.0.0 *");
	site_expect(c, "250 2.1.0 *");
	site_say(c, "RCPT TO:<bob@mx.example.org>\r\nRCPT TO:<carl@mx.example.org>\r\n");
	site_expect(c, "250 2.1.5 *");
	site_expect(c, second);
}

START_TEST(a_sender_that_spf_does_not_speak_for_has_one_recipient_at_a_time)
{
	struct site_client c;

	facts_source(FACT_TXT, &dns);
	site_config.spf = SMTPD_SPF_NOTE;
	record = "v=spf1 ip4:192.0.2.1 -all";
	site_come(&c, "192.0.2.1", SMTPD_MX);
	offer_two(&c, "anna@x.example", "250 2.1.5 *");
	record = "";
	offer_two(&c, "anna@none.example", "452 4.5.3 One recipient *");
	record = "v=spf1 -all";
	offer_two(&c, "anna@fail.example", "452 4.5.3 *");
	offer_two(&c, "", "452 4.5.3 *");
	/* whoever comes again has tried for long enough, and no other sender of his */
	loop_advance(60000);
	offer_two(&c, "anna@fail.example", "250 2.1.5 *");
	offer_two(&c, "ben@fail.example", "452 4.5.3 *");
	site_config.judge = SMTPD_JUDGE_NOTE;
	offer_two(&c, "carl@fail.example", "250 2.1.5 *");
	site_hang_up(&c);
	facts_source(FACT_TXT, NULL);
}
END_TEST

START_TEST(nobody_asks_for_users_and_local_programs)
{
	struct site_client c;

	site_config.judge_rcpt = NULL;
	site_connect(&c);
	site_expect(&c, "220 *");
	site_say(&c, "EHLO h.example\r\n");
	site_expect_reply(&c, "250 *");
	mail(&c, "not", "");
	site_expect(&c, "250 2.0.0 *");
	site_hang_up(&c);
}
END_TEST

/* ---- what is known of a message */

START_TEST(the_author_is_the_only_one_in_the_only_from)
{
	static const struct { const char *header, *from; } rows[] = {
		{ "From: Anna <Anna@X.example>\r\n", "anna@x.example" }, { "Subject: x\r\n", "" }, { "From: a@x, b@y\r\n", "" },
		{ "From: a@x\r\nFrom: a@x\r\n", "" }, { "From: nonsense\r\n", "" }, { "From: \"b@y\" <a@x>\r\n", "a@x" },
		{ "From: b@y <a@x>\r\n", "" }, { "\r\nFrom: a@x\r\n", "" }, { "from : \r\n a@x\r\n", "a@x" },
	};
	struct subject who = { .peer_text = "IPv6:2001:db8::1", .helo = "H.example", .sender = "a@x" };

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct judge_message m;
		struct buf text = { 0 };

		ck_assert(judge_message_set(&m, &text, &who, NULL, NULL, NULL, str_of(rows[i].header)));
		ck_assert_msg(str_eq(m.who.from, str_of(rows[i].from)), "row %zu: " STR_FMT, i, STR_ARG(m.who.from));
		ck_assert(str_eq(m.who.ip, STR("2001:db8::1")) && str_eq(m.who.helo, STR("h.example")) && str_eq(m.who.mail, STR("a@x")));
		ck_assert(!m.who.validated && !m.who.mail_pass && !m.who.helo_pass);
		buf_free(&text);
	}
}
END_TEST

START_TEST(spf_shows_a_sender)
{
	struct subject who = { .peer_text = "192.0.2.1", .helo = "h.example", .sender = "bounce@x.example" };
	struct spf_result pass = { .code = SPF_PASS }, of_helo = { .code = SPF_PASS, .helo = true }, fail = { .code = SPF_FAIL };
	struct judge_message m;
	struct buf text = { 0 };

	ck_assert(judge_message_set(&m, &text, &who, &pass, NULL, NULL, STR("From: anna@x.example\r\n")));
	ck_assert(m.who.validated && m.who.mail_pass && !m.who.helo_pass && m.spf_of_mail);
	ck_assert(judge_message_set(&m, &text, &who, &pass, NULL, NULL, STR("From: anna@y.example\r\n")));
	ck_assert(!m.who.validated && m.who.mail_pass);
	ck_assert(judge_message_set(&m, &text, &who, &of_helo, NULL, NULL, STR("From: anna@h.example\r\n")));
	ck_assert(m.who.validated && !m.who.mail_pass && m.who.helo_pass && !m.spf_of_mail);
	ck_assert(judge_message_set(&m, &text, &who, &fail, NULL, NULL, STR("From: anna@x.example\r\n")));
	ck_assert(!m.who.validated && !m.who.mail_pass && m.spf == SPF_FAIL);
	buf_free(&text);
}
END_TEST

Suite *smtpd_judge_suite(void)
{
	Suite *s = suite_create("smtpd_judge");
	TCase *c = tcase_create("judge");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, what_is_wanted_says_why_and_who_it_is_from);
	tcase_add_test(c, what_nobody_wants_is_kept_first_and_refused_then);
	tcase_add_test(c, what_cannot_be_kept_is_refused_all_the_same);
	tcase_add_test(c, of_opposite_verdicts_each_has_his_way);
	tcase_add_test(c, a_large_message_keeps_its_checksum_when_recipients_go);
	tcase_add_test(c, those_who_want_it_for_different_reasons_are_not_told_of_each_other);
	tcase_add_test(c, of_several_refusals_the_one_that_may_pass_is_told);
	tcase_add_test(c, strangers_wait_for_a_refusal);
	tcase_add_test(c, whom_nobody_knows_waits_the_first_time);
	tcase_add_test(c, to_note_is_to_take_it);
	tcase_add_test(c, facts_are_waited_for_and_not_for_ever);
	tcase_add_test(c, who_hangs_up_meanwhile_leaves_nothing_unfinished);
	tcase_add_test(c, chunks_are_judged_too);
	tcase_add_test(c, a_sender_that_spf_does_not_speak_for_has_one_recipient_at_a_time);
	tcase_add_test(c, nobody_asks_for_users_and_local_programs);
	tcase_add_test(c, the_author_is_the_only_one_in_the_only_from);
	tcase_add_test(c, spf_shows_a_sender);
	suite_add_tcase(s, c);
	return s;
}
