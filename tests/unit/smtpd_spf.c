/* SPF in the server: who is asked about, what waits for it, what is written and what is refused. */
#include <arpa/inet.h>
#include <check.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/loop.h"
#include "policy/spf.h"
#include "smtpd/session.h"
#include "tests/server_rig.h"

Suite *smtpd_spf_suite(void);

/* ---- a world that answers when the test says so. Every name has one TXT record; "!" cannot be found out. */

enum { ASKED_MAX = 50 };
static const char *record, *explanation;
static struct { struct fact_ticket *ticket; bool explains; } asked[ASKED_MAX];
static size_t nasked, nquestions;

static void ask(struct fact_source *source, enum fact_kind kind, struct str name, struct fact_ticket *ticket)
{
	(void)source;
	ck_assert_int_eq(kind, FACT_TXT);
	ck_assert_uint_lt(nasked, ASKED_MAX);
	asked[nasked].explains = str_starts_nocase(name, STR("e."));
	asked[nasked++].ticket = ticket;
	nquestions++;
}
static struct fact_source world = { .ask = ask };

static void answer(void)
{
	while (nasked) {
		const char *text = asked[--nasked].explains ? explanation : record;
		struct record r = { .data = str_of(text) };
		struct fact f = { .outcome = FOUND, .n = 1, .record = &r }, none = { .outcome = UNKNOWN, .why = "SERVFAIL from 127.0.0.1" };

		fact_answer(asked[nasked].ticket, *text == '!' ? &none : &f);
		site_turn();
	}
}

static void setup(void)
{
	site_start();
	site_config.spf = SMTPD_SPF_NOTE;
	facts_source(FACT_TXT, &world);
	nasked = nquestions = 0;
	record = "v=spf1 ip4:192.0.2.0/24 ip4:203.0.113.0/24 -all exp=e.%{d}";
	explanation = "%{i} is none of ours";
}

static void teardown(void)
{
	site_stop();
	guests_forget();
	answer();                               /* too late */
	facts_source(FACT_TXT, NULL);
}

static enum smtpd_service service;

/* MAIL and RCPT to somebody who is here. */
static void envelope(struct site_client *c, const char *from)
{
	char line[200];

	snprintf(line, sizeof line, "MAIL FROM:<%s>\r\n", from);
	site_say(c, line);
	site_expect(c, "250 2.1.0 *");
	site_say(c, "RCPT TO:<user@mx.example.org>\r\n");
	site_expect(c, "250 2.1.5 *");
}

static void assert_on_top(const char *wanted)
{
	struct buf envelope = { 0 }, message = { 0 };

	ck_assert(site_message(NULL, &envelope, &message));
	ck_assert_msg(!strncmp(buf_cstr(&message), wanted, strlen(wanted)), "%s", buf_cstr(&message));
	ck_assert_ptr_nonnull(strstr(buf_cstr(&message), "\r\nReceived: from h.example ([192.0.2.1])\r\n"));
	ck_assert_ptr_nonnull(strstr(buf_cstr(&message), "\r\nSubject: x\r\n"));
	buf_free(&envelope);
	buf_free(&message);
}

START_TEST(what_is_known_of_the_sender_is_written_on_top)
{
	struct site_client c;

	site_come(&c, "192.0.2.1", service);
	envelope(&c, "anna@x.example");
	site_say(&c, "DATA\r\n");
	site_expect_nothing(&c);
	answer();
	site_expect(&c, "354 *");
	site_say(&c, "Subject: x\r\n\r\ntext\r\n.\r\n");
	site_expect(&c, "250 2.0.0 *");
	assert_on_top("Received-SPF: pass\r\n\t(mx.example.org: 192.0.2.1 may send mail from x.example [ip4:192.0.2.0/24])\r\n"
		"\tclient-ip=192.0.2.1;\r\n\tenvelope-from=\"anna@x.example\";\r\n\thelo=h.example;\r\n\tmechanism=\"ip4:192.0.2.0/24\";\r\n"
		"\treceiver=mx.example.org;\r\n\tidentity=mailfrom\r\nReceived: ");
	site_hang_up(&c);
}
END_TEST

START_TEST(without_a_sender_the_name_in_helo_is_looked_at)
{
	struct site_client c;

	site_come(&c, "192.0.2.1", service);
	envelope(&c, "");
	site_say(&c, "DATA\r\n");
	site_expect_nothing(&c);
	answer();
	site_expect(&c, "354 *");
	site_say(&c, "Subject: x\r\n\r\ntext\r\n.\r\n");
	site_expect(&c, "250 2.0.0 *");
	assert_on_top("Received-SPF: pass\r\n\t(mx.example.org: 192.0.2.1 may call itself h.example [ip4:192.0.2.0/24])\r\n");
	site_hang_up(&c);
}
END_TEST

START_TEST(commands_do_not_wait_for_it_but_the_message_does)
{
	struct site_client c;

	site_come(&c, "192.0.2.1", service);
	envelope(&c, "anna@x.example");
	site_say(&c, "RCPT TO:<other@mx.example.org>\r\nNOOP\r\nDATA\r\n");
	site_expect(&c, "250 2.1.5 *");
	site_expect(&c, "250 2.0.0 *");
	site_expect_nothing(&c);
	answer();
	site_expect(&c, "354 *");
	site_say(&c, "Subject: x\r\n\r\ntext\r\n.\r\n");
	site_expect(&c, "250 2.0.0 *");
	ck_assert_uint_eq(nquestions, 1);
	site_hang_up(&c);
}
END_TEST

START_TEST(octets_of_bdat_are_never_commands_while_it_waits)
{
	struct site_client c;

	site_come(&c, "192.0.2.1", service);
	envelope(&c, "anna@x.example");
	site_say(&c, "BDAT 12\r\nSubject: x\r\nBDAT 8 LAST\r\n\r\nQUIT\r\nNOOP\r\n");
	site_expect_nothing(&c);
	answer();
	site_expect(&c, "250 2.0.0 12 octets received");
	site_expect(&c, "250 2.0.0 Queued *");
	site_expect(&c, "250 2.0.0 *");
	assert_on_top("Received-SPF: pass\r\n");
	site_hang_up(&c);
}
END_TEST

START_TEST(one_bdat_that_waits_is_one_message)
{
	struct site_client c;

	site_come(&c, "192.0.2.1", service);
	envelope(&c, "anna@x.example");
	site_say(&c, "BDAT 20 LAST\r\nSubject: x\r\n\r\nQUIT\r\nNOOP\r\n");
	site_expect_nothing(&c);
	loop_advance(10000);
	site_expect_nothing(&c);
	answer();
	site_expect(&c, "250 2.0.0 Queued *");
	site_expect(&c, "250 2.0.0 *");
	assert_on_top("Received-SPF: pass\r\n");
	site_hang_up(&c);
}
END_TEST

START_TEST(it_is_waited_for_30_seconds_and_that_is_noted)
{
	struct site_client c;

	site_come(&c, "192.0.2.1", service);
	envelope(&c, "anna@x.example");
	site_say(&c, "DATA\r\n");
	site_expect_nothing(&c);
	loop_advance(29000);
	site_expect_nothing(&c);
	loop_advance(2000);
	site_expect(&c, "354 *");
	site_say(&c, "Subject: x\r\n\r\ntext\r\n.\r\n");
	site_expect(&c, "250 2.0.0 *");
	assert_on_top("Received-SPF: temperror\r\n\t(mx.example.org: cannot find out now whether 192.0.2.1 may send mail from x.example: no answer within 30 s)\r\n");
	site_hang_up(&c);
}
END_TEST

START_TEST(a_fail_is_noted_or_refused_as_the_setting_says)
{
	static const struct {
		enum smtpd_spf spf;
		const char *record, *explanation, *reply;
	} rows[] = {
		{ SMTPD_SPF_NOTE, "v=spf1 -all exp=e.test", "go away", "354 *" },
		{ SMTPD_SPF_NOTE, "!", "", "354 *" },
		{ SMTPD_SPF_REFUSE, "v=spf1 -all exp=e.test", "go\taway", "550 5.7.23 SPF: 192.0.2.1 may not send mail from x.example [-all]" },
		{ SMTPD_SPF_REFUSE, "v=spf1 -all exp=e.test", "go away, %{i}",
			"550 5.7.23 SPF: 192.0.2.1 may not send mail from x.example [-all]; that domain explains: go away, 192.0.2.1" },
		{ SMTPD_SPF_REFUSE, "v=spf1 -all", "", "550 5.7.23 *" },
		{ SMTPD_SPF_REFUSE, "!", "", "451 4.7.24 SPF: cannot find out now whether * SERVFAIL from 127.0.0.1" },
		{ SMTPD_SPF_REFUSE, "v=spf1 ~all", "", "354 *" },
		{ SMTPD_SPF_REFUSE, "v=spf1 ?all", "", "354 *" },
		{ SMTPD_SPF_REFUSE, "v=spf1 all", "", "354 *" },
		{ SMTPD_SPF_REFUSE, "v=spf1 foo", "", "354 *" },
		{ SMTPD_SPF_REFUSE, "none", "", "354 *" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		for (int bdat = 0; bdat < 2; bdat++) {
			bool refused = rows[i].reply[0] != '3';
			size_t before = site_messages();
			struct site_client c;

			site_config.spf = rows[i].spf;
			record = rows[i].record;
			explanation = rows[i].explanation;
			site_come(&c, "192.0.2.1", service);
			envelope(&c, "anna@x.example");
			site_say(&c, bdat ? "BDAT 6\r\nX: y\r\nBDAT 0\r\n" : "DATA\r\n");
			site_expect_nothing(&c);
			answer();
			if (bdat) {
				site_expect(&c, refused ? rows[i].reply : "250 2.0.0 6 octets received");
				site_expect(&c, refused ? rows[i].reply : "250 2.0.0 0 octets received");
				site_say(&c, "RSET\r\n");
				site_expect(&c, "250 2.0.0 *");
			} else {
				site_expect(&c, rows[i].reply);
				site_say(&c, refused ? "DATA\r\n" : ".\r\n");
				site_expect(&c, refused ? "503 5.5.1 *" : "250 2.0.0 *");
			}
			record = "v=spf1 all";
			envelope(&c, "anna@x.example");         /* the next one is another question */
			site_say(&c, "DATA\r\n");
			site_expect_nothing(&c);
			answer();
			site_expect(&c, "354 *");
			site_say(&c, ".\r\n");
			site_expect(&c, "250 2.0.0 *");
			ck_assert_uint_eq(site_messages(), before + 1 + (!refused && !bdat));
			ck_assert_uint_eq(site_drafts(), 0);
			site_hang_up(&c);
		}
}
END_TEST

static bool trusts_all(void *arg, const struct subject *who)
{
	(void)arg;
	(void)who;
	return true;
}

START_TEST(nobody_is_asked_without_need)
{
	struct site_client c;

	site_come(&c, "192.0.2.1", service);                  /* no recipient is here */
	site_say(&c, "MAIL FROM:<anna@x.example>\r\nRCPT TO:<no@mx.example.org>\r\nRCPT TO:<later@mx.example.org>\r\n");
	site_expect(&c, "250 2.1.0 *");
	site_expect(&c, "550 *");
	site_expect(&c, "451 *");
	site_hang_up(&c);
	site_config.trusted = trusts_all;
	site_come(&c, "192.0.2.1", service);
	envelope(&c, "anna@x.example");
	site_hang_up(&c);
	site_config.trusted = NULL;
	site_config.spf = SMTPD_SPF_OFF;
	site_come(&c, "192.0.2.1", service);
	envelope(&c, "anna@x.example");
	site_hang_up(&c);
	site_config.spf = SMTPD_SPF_REFUSE;
	site_connect(&c);                       /* a local program */
	site_expect(&c, "220 *");
	site_say(&c, "EHLO h.example\r\n");
	site_expect_reply(&c, "250 *");
	envelope(&c, "anna@x.example");
	site_say(&c, "DATA\r\n");
	site_expect(&c, "354 *");
	site_hang_up(&c);
	ck_assert_uint_eq(nquestions, 0);
}
END_TEST

START_TEST(who_goes_while_it_is_asked_leaves_nothing)
{
	static const char *const last[] = { "", "RSET\r\n", "QUIT\r\n", "EHLO other.example\r\n", "DATA\r\n", "BDAT 100\r\nxx", "BDAT 2 LAST\r\nxx" };

	for (size_t i = 0; i < sizeof last / sizeof *last; i++) {
		struct site_client c;

		site_come(&c, "192.0.2.1", service);
		envelope(&c, "anna@x.example");
		site_say(&c, last[i]);
		site_listen(&c);
		if (i % 2)
			site_hang_up(&c);
		answer();
		if (!(i % 2))
			site_hang_up(&c);
		site_turn();
		ck_assert_uint_eq(site_drafts(), 0);
	}
	ck_assert_uint_le(site_messages(), 1);
}
END_TEST

START_TEST(nobody_is_asked_for_what_is_never_sent)
{
	struct site_client c;

	site_come(&c, "192.0.2.1", service);
	for (unsigned i = 1; i <= 3; i++) {
		envelope(&c, "anna@x.example");
		site_say(&c, "RCPT TO:<b@mx.example.org>\r\nRSET\r\n");
		site_expect(&c, "250 2.1.5 *");
		site_expect(&c, "250 2.0.0 *");
		ck_assert_uint_eq(nquestions, 0);
	}
	site_hang_up(&c);
}
END_TEST

START_TEST(each_message_asks_anew_and_once)
{
	struct site_client c;

	site_come(&c, "192.0.2.1", service);
	for (unsigned i = 1; i <= 3; i++) {
		envelope(&c, "anna@x.example");
		site_say(&c, "RCPT TO:<b@mx.example.org>\r\nBDAT 5\r\na\r\n\r\nBDAT 0 LAST\r\n");
		site_expect(&c, "250 2.1.5 *");
		site_expect_nothing(&c);
		answer();
		site_expect(&c, "250 2.0.0 5 octets received");
		site_expect(&c, "250 2.0.0 Queued*");
		ck_assert_uint_eq(nquestions, i);
	}
	site_hang_up(&c);
}
END_TEST

Suite *smtpd_spf_suite(void)
{
	Suite *s = suite_create("smtpd_spf");
	TCase *t = tcase_create("spf");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, what_is_known_of_the_sender_is_written_on_top);
	tcase_add_test(t, without_a_sender_the_name_in_helo_is_looked_at);
	tcase_add_test(t, commands_do_not_wait_for_it_but_the_message_does);
	tcase_add_test(t, octets_of_bdat_are_never_commands_while_it_waits);
	tcase_add_test(t, one_bdat_that_waits_is_one_message);
	tcase_add_test(t, it_is_waited_for_30_seconds_and_that_is_noted);
	tcase_add_test(t, a_fail_is_noted_or_refused_as_the_setting_says);
	tcase_add_test(t, nobody_is_asked_without_need);
	tcase_add_test(t, who_goes_while_it_is_asked_leaves_nothing);
	tcase_add_test(t, nobody_is_asked_for_what_is_never_sent);
	tcase_add_test(t, each_message_asks_anew_and_once);
	suite_add_tcase(s, t);
	return s;
}
