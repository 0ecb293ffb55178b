/* Mail from strangers has its signatures checked, waits for their keys no longer than it may, and bears the results. */
#include <arpa/inet.h>
#include <check.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/loop.h"
#include "tests/server_rig.h"

Suite *smtpd_inspect_suite(void);

/* RFC 8463 A */
#define SIGNED \
	"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;\r\n" \
	" d=football.example.com; i=@football.example.com;\r\n" \
	" q=dns/txt; s=test; t=1528637909; h=from : to : subject :\r\n" \
	" date : message-id : from : subject : date;\r\n" \
	" bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n" \
	" b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3\r\n" \
	" DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz\r\n" \
	" dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=\r\n"
#define HEADER \
	"From: Joe SixPack <joe@football.example.com>\r\n" \
	"To: Suzie Q <suzie@shopping.example.net>\r\n" \
	"Subject: Is dinner ready?\r\n" \
	"Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n" \
	"Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n"
#define BODY "Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n"
static const char key[] = "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/"
	"byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB";

/* The world: answers at once, or when it is told to. */
static bool at_once;
static struct fact_ticket *waiting[8];
static size_t nwaiting, nasked;

static void answer(struct fact_ticket *t)
{
	struct record r = { .data = { key, sizeof key - 1 } };
	struct fact f = { .outcome = FOUND, .n = 1, .record = &r };

	fact_answer(t, &f);
}

static void ask(struct fact_source *source, enum fact_kind kind, struct str name, struct fact_ticket *t)
{
	(void)source;
	ck_assert(kind == FACT_TXT && str_eq(name, STR("test._domainkey.football.example.com")));
	nasked++;
	if (at_once)
		answer(t);
	else
		waiting[nwaiting++] = t;
}

static void start(struct site_client *c, const char *peer_text)
{
	static struct fact_source world = { .ask = ask };
	struct sockaddr_storage peer = { 0 };
	struct sockaddr_in *in = (struct sockaddr_in *)&peer;
	int sv[2];

	site_start();
	site_config.check_dkim = true;
	facts_source(FACT_TXT, &world);
	nasked = nwaiting = 0;
	at_once = false;
	in->sin_family = AF_INET;
	ck_assert_int_eq(inet_pton(AF_INET, peer_text, &in->sin_addr), 1);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	site_adopt(c, sv[0]);
	ck_assert_int_eq(smtpd_session(sv[1], sv[1], SMTPD_MX, &peer, NULL), 0);
	site_expect(c, "220 *");
	site_say(c, "EHLO client.test\r\n");
	site_expect_reply(c, "250 *");
}

static void stop(struct site_client *c)
{
	site_say(c, "QUIT\r\n");
	site_expect(c, "221 *");
	site_hang_up(c);
	site_stop();
	facts_source(FACT_TXT, NULL);
}

static void begin(struct site_client *c, const char *last)
{
	site_say(c, "MAIL FROM:<a@b.test>\r\nRCPT TO:<x@there.test>\r\n");
	site_say(c, last);
	site_expect(c, "250 2.1.0 *");
	site_expect(c, "250 2.1.5 *");
}

/* The only message begins so, and ends so. */
static void expect_kept(const char *first, const char *last)
{
	struct buf envelope = { 0 }, message = { 0 };
	size_t n = strlen(first), m = strlen(last);

	ck_assert_uint_eq(site_messages(), 1);
	ck_assert(site_message(NULL, &envelope, &message));
	ck_assert_msg(message.n >= n && !memcmp(message.p, first, n), "%.*s", (int)message.n, message.p);
	ck_assert_msg(message.n >= m && !memcmp(message.p + message.n - m, last, m), "%.*s", (int)message.n, message.p);
	buf_free(&envelope);
	buf_free(&message);
}

static const struct {
	const char *text, *first, *last;
} rows[] = {
	{ "Subject: x\r\n\r\nbody\r\n", "Authentication-Results: mx.example.org;\r\n\tdkim=none\r\nReceived: from client.test", "\r\nSubject: x\r\n\r\nbody\r\n" },
	{ "\r\nbody\r\n", "Authentication-Results: mx.example.org;\r\n\tdkim=none\r\nReceived: ", "0000\r\n\r\nbody\r\n" },
	{ " blank\r\n", "Authentication-Results: mx.example.org;\r\n\tdkim=permerror\r\n\t\treason=\"a line", "\r\n\r\n blank\r\n" },
	{ SIGNED HEADER "\r\n" BODY, "Authentication-Results: mx.example.org;\r\n\tdkim=pass (1024-bit key) header.d=football.example.com header.s=test"
		" header.a=rsa-sha256 header.i=@football.example.com header.b=F45dVWDf\r\nReceived: ", "\r\n" SIGNED HEADER "\r\n" BODY },
	{ SIGNED HEADER "\r\nother" BODY, "Authentication-Results: mx.example.org;\r\n\tdkim=fail (1024-bit key)\r\n\t\treason=\"the body is not", BODY },
	/* what is said in our name goes, even if it was signed with the rest */
	{ "Authentication-Results: MX.example.org; dkim=pass\r\n header.d=bank.example\r\n" SIGNED "Authentication-Results: other; dkim=pass\r\n" HEADER "\r\n" BODY,
		"Authentication-Results: mx.example.org;\r\n\tdkim=pass", "0000\r\n" SIGNED "Authentication-Results: other; dkim=pass\r\n" HEADER "\r\n" BODY },
};

START_TEST(results_stand_on_top_by_data)
{
	struct site_client c;

	start(&c, "192.0.2.7");
	at_once = true;
	begin(&c, "DATA\r\n");
	site_expect(&c, "354 *");
	for (const char *p = rows[_i].text; *p; p++)
		site_send(&c, p, 1);
	site_say(&c, ".\r\n");
	site_expect(&c, "250 *");
	expect_kept(rows[_i].first, rows[_i].last);
	stop(&c);
}
END_TEST

START_TEST(results_stand_on_top_by_bdat)
{
	struct site_client c;
	char line[40];

	start(&c, "192.0.2.7");
	at_once = true;
	begin(&c, "");
	snprintf(line, sizeof line, "BDAT %zu LAST\r\n", strlen(rows[_i].text));
	site_say(&c, line);
	site_say(&c, rows[_i].text);
	site_expect(&c, "250 *");
	expect_kept(rows[_i].first, rows[_i].last);
	stop(&c);
}
END_TEST

START_TEST(keys_are_asked_for_while_the_body_comes_and_awaited_at_its_end)
{
	struct site_client c;

	start(&c, "192.0.2.7");
	begin(&c, "DATA\r\n");
	site_expect(&c, "354 *");
	site_say(&c, SIGNED HEADER);
	site_listen(&c);
	ck_assert_uint_eq(nasked, 0);
	site_say(&c, "\r\nHi.\r\n");
	site_listen(&c);
	ck_assert_uint_eq(nasked, 1);
	site_say(&c, &BODY[5]);
	site_say(&c, ".\r\nNOOP\r\n");
	site_expect_nothing(&c);
	ck_assert_uint_eq(site_messages(), 0);
	answer(waiting[0]);
	site_expect(&c, "250 2.0.0 Queued*");
	site_expect(&c, "250 *");
	ck_assert_uint_eq(nasked, 1);
	expect_kept("Authentication-Results: mx.example.org;\r\n\tdkim=pass ", BODY);
	stop(&c);
}
END_TEST

START_TEST(keys_that_do_not_come_hold_up_nobody_for_long)
{
	struct site_client c;

	start(&c, "192.0.2.7");
	begin(&c, "DATA\r\n");
	site_expect(&c, "354 *");
	site_say(&c, SIGNED HEADER "\r\n" BODY ".\r\n");
	site_expect_nothing(&c);
	loop_advance(14000);
	site_expect_nothing(&c);
	loop_advance(1500);
	site_expect(&c, "250 *");
	expect_kept("Authentication-Results: mx.example.org;\r\n\tdkim=temperror\r\n\t\treason=\"the key did not come in time\"", BODY);
	stop(&c);
	answer(waiting[0]);             /* too late: nobody asks any more */
}
END_TEST

START_TEST(who_leaves_while_keys_are_awaited_leaves_nothing)
{
	struct site_client c;

	start(&c, "192.0.2.7");
	begin(&c, "DATA\r\n");
	site_expect(&c, "354 *");
	site_say(&c, SIGNED HEADER "\r\n" BODY ".\r\n");
	site_expect_nothing(&c);
	site_hang_up(&c);
	site_turn();
	answer(waiting[0]);
	site_turn();
	loop_advance(60000);
	site_turn();
	ck_assert_uint_eq(site_drafts(), 0);
	site_stop();
	facts_source(FACT_TXT, NULL);
}
END_TEST

static bool everybody(void *arg, const struct subject *who)
{
	(void)arg;
	(void)who;
	return true;
}

START_TEST(mail_of_who_is_trusted_is_passed_on_as_it_is)
{
	static const char text[] = "Authentication-Results: mx.example.org; dkim=pass\r\n" SIGNED HEADER "\r\n" BODY;
	struct site_client c;

	start(&c, "192.0.2.7");
	site_config.trusted = everybody;
	begin(&c, "DATA\r\n");
	site_expect(&c, "354 *");
	site_say(&c, text);
	site_say(&c, ".\r\n");
	site_expect(&c, "250 *");
	ck_assert_uint_eq(nasked, 0);
	expect_kept("Received: ", text);
	stop(&c);
}
END_TEST

/* What is said in our name goes, whether or not anything is looked at here. */
static const struct { const char *text, *kept; } forged[] = {
	{ "Authentication-Results: mx.example.org; dkim=pass\r\nSubject: x\r\n\r\nbody\r\n", "0000\r\nSubject: x\r\n\r\nbody\r\n" },
	{ "Subject: x\r\nAUTHENTICATION-results : (c) MX.example.org 1;\r\n dkim=pass\r\n\r\nAuthentication-Results: mx.example.org; stays\r\n",
		"0000\r\nSubject: x\r\n\r\nAuthentication-Results: mx.example.org; stays\r\n" },
	{ "Authentication-Results: there.test; none\r\nAuthentication-Results: mx.example.org; none\r\n", "0000\r\nAuthentication-Results: there.test; none\r\n" },
	{ "Authentication-Results: mx.example.org", "0000\r\n" },
	{ "Subject: x\r\nAuthentication-Res", "0000\r\nSubject: x\r\nAuthentication-Res\r\n" },
	/* its first line says that it has no header */
	{ " blank\r\nAuthentication-Results: mx.example.org; stays\r\n", "0000\r\n\r\n blank\r\nAuthentication-Results: mx.example.org; stays\r\n" },
};

START_TEST(what_is_forged_is_taken_out_with_all_checks_off)
{
	struct site_client c;
	char line[40];

	start(&c, "192.0.2.7");
	site_config.check_dkim = false;
	begin(&c, "");
	snprintf(line, sizeof line, "BDAT %zu LAST\r\n", strlen(forged[_i].text));
	site_say(&c, line);
	for (const char *p = forged[_i].text; *p; p++)
		site_send(&c, p, 1);
	site_expect(&c, "250 *");
	expect_kept("Received: ", forged[_i].kept);
	stop(&c);
}
END_TEST

START_TEST(a_message_that_is_refused_is_not_judged)
{
	struct site_client c;

	start(&c, "192.0.2.7");
	begin(&c, "DATA\r\n");
	site_expect(&c, "354 *");
	site_say(&c, SIGNED HEADER "\r\nbare\nline end\r\n.\r\n");
	site_expect(&c, "554 5.6.0 *");
	begin(&c, "BDAT 200000 LAST\r\n");
	site_hang_up(&c);
	site_turn();
	for (size_t i = 0; i < nwaiting; i++)
		answer(waiting[i]);
	site_turn();
	ck_assert_uint_eq(site_messages() + site_drafts(), 0);
	site_stop();
	facts_source(FACT_TXT, NULL);
}
END_TEST

Suite *smtpd_inspect_suite(void)
{
	Suite *s = suite_create("smtpd_inspect");
	TCase *t = tcase_create("inspect");

	tcase_add_loop_test(t, results_stand_on_top_by_data, 0, (int)(sizeof rows / sizeof *rows));
	tcase_add_loop_test(t, results_stand_on_top_by_bdat, 0, (int)(sizeof rows / sizeof *rows));
	tcase_add_test(t, keys_are_asked_for_while_the_body_comes_and_awaited_at_its_end);
	tcase_add_test(t, keys_that_do_not_come_hold_up_nobody_for_long);
	tcase_add_test(t, who_leaves_while_keys_are_awaited_leaves_nothing);
	tcase_add_test(t, mail_of_who_is_trusted_is_passed_on_as_it_is);
	tcase_add_loop_test(t, what_is_forged_is_taken_out_with_all_checks_off, 0, (int)(sizeof forged / sizeof *forged));
	tcase_add_test(t, a_message_that_is_refused_is_not_judged);
	suite_add_tcase(s, t);
	return s;
}
