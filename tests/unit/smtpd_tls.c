/* STARTTLS at the SMTP server (RFC 3207), the hostile side of it above all. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/log.h"
#include "lib/loop.h"
#include "tests/server_rig.h"

Suite *smtpd_tls_suite(void);

static void with_tls(void)
{
	site_start();
	site_config.tls = wire_server();
}

static void expect_ehlo(struct site_client *c, bool starttls)
{
	site_listen(c);
	ck_assert_int_eq(memmem(c->got.p, c->got.n, "250-STARTTLS\r\n", 14) != NULL, starttls);
	site_expect_reply(c, "250 *");
}

static void greet(struct site_client *c)
{
	site_connect(c);
	site_expect(c, "220 *");
	site_say(c, "EHLO before.example\r\n");
	expect_ehlo(c, true);
}

static void starttls(struct site_client *c, bool octets)
{
	greet(c);
	site_say(c, "STARTTLS\r\n");
	site_expect(c, "220 2.0.0 *");
	site_starttls(c, "mx.example.org", octets);
	ck_assert(tls_ready(c->wire->tls));
}

static void start_secure(struct site_client *c)
{
	starttls(c, false);
	site_say(c, "EHLO inside.example\r\n");
	expect_ehlo(c, false);
}

static void send_message(struct site_client *c)
{
	site_say(c, "MAIL FROM:<a@b.example>\r\nRCPT TO:<wait@example.org>\r\nDATA\r\n");
	site_expect(c, "250 2.1.0 *");
	site_expect(c, "250 2.1.5 *");
	site_expect(c, "354 *");
	site_say(c, "Subject: secret\r\n\r\n..\r\n.\r\n");
	site_expect(c, "250 2.0.0 *");
}

static bool stored(const char *text)
{
	struct buf envelope = { 0 }, message = { 0 };
	bool found = site_message(text, &envelope, &message);

	buf_free(&envelope);
	buf_free(&message);
	return found;
}

/* ---- decent clients */

START_TEST(a_message_comes_inside_tls_and_its_trace_says_so)
{
	struct site_client c;

	starttls(&c, _i);
	site_say(&c, "EHLO inside.example\r\n");
	expect_ehlo(&c, false);
	send_message(&c);
	site_say(&c, "QUIT\r\n");
	site_expect(&c, "221 *");
	site_expect_end(&c);
	ck_assert(!c.wire->failed);             /* by a close_notify */
	site_hang_up(&c);
	ck_assert_uint_eq(site_messages(), 1);
	ck_assert(stored("Received: from inside.example ("));
	ck_assert(stored("\r\n\tby mx.example.org with ESMTPS id "));
	ck_assert(stored("\r\n\ttls TLS_ECDHE_ECDSA_WITH_"));
	ck_assert(stored(" (TLSv1.2)\r\n\tfor <wait@example.org>;\r\n"));
	ck_assert(!stored("before.example"));
}
END_TEST

START_TEST(helo_inside_tls_has_no_word_of_its_own)
{
	struct site_client c;

	starttls(&c, false);
	site_say(&c, "HELO inside.example\r\n");
	site_expect(&c, "250 *");
	send_message(&c);
	site_hang_up(&c);
	ck_assert(stored(" with SMTP id "));
	ck_assert(stored("\r\n\ttls TLS_"));
}
END_TEST

START_TEST(a_message_in_clear_has_no_tls_clause)
{
	struct site_client c;

	greet(&c);
	send_message(&c);
	site_hang_up(&c);
	ck_assert(stored(" with ESMTP id "));
	ck_assert(!stored("\ttls "));
}
END_TEST

START_TEST(what_was_said_before_is_forgotten)
{
	struct site_client c;

	starttls(&c, false);
	site_say(&c, "MAIL FROM:<a@b.example>\r\n");
	site_expect(&c, "503 5.5.1 Say HELO or EHLO first");
	site_say(&c, "STARTTLS\r\n");
	site_expect(&c, "503 5.5.1 Say HELO or EHLO first");
	site_say(&c, "EHLO inside.example\r\n");
	expect_ehlo(&c, false);
	site_say(&c, "STARTTLS\r\n");
	site_expect(&c, "503 5.5.1 TLS is active already");
	site_say(&c, "NOOP\r\n");
	site_expect(&c, "250 *");
	site_hang_up(&c);
}
END_TEST

static const struct { const char *said, *reply; } refused[] = {
	{ "STARTTLS now\r\n", "501 5.5.4 *" },
	{ "STARTTLS \r\n", "220 2.0.0 *" },             /* white space at the end is nothing */
	{ "starttls\r\n", "220 2.0.0 *" },
	{ "MAIL FROM:<a@b.example>\r\nSTARTTLS\r\n", "503 5.5.1 A transaction is open already" },
};

START_TEST(the_command_is_checked_like_others)
{
	struct site_client c;

	greet(&c);
	site_say(&c, refused[_i].said);
	if (refused[_i].said[0] == 'M')
		site_expect(&c, "250 *");
	site_expect(&c, refused[_i].reply);
	site_hang_up(&c);
}
END_TEST

START_TEST(before_ehlo_it_comes_too_early)
{
	struct site_client c;

	site_connect(&c);
	site_expect(&c, "220 *");
	site_say(&c, "STARTTLS\r\n");
	site_expect(&c, "503 5.5.1 Say HELO or EHLO first");
	site_hang_up(&c);
}
END_TEST

START_TEST(without_a_certificate_it_is_not_announced_and_not_done)
{
	struct site_client c;

	site_config.tls = NULL;
	site_connect(&c);
	site_expect(&c, "220 *");
	site_say(&c, "EHLO before.example\r\n");
	expect_ehlo(&c, false);
	site_say(&c, "STARTTLS\r\n");
	site_expect(&c, "502 5.5.1 *");
	site_hang_up(&c);
}
END_TEST

START_TEST(with_a_certificate_that_cannot_be_used_it_is_not_available_now)
{
	static const struct tls_files files[] = { { "tests/pki/ec.crt", "tests/pki/other.key" } };
	struct site_client c;

	ck_assert_int_eq(log_open("/dev/null"), 0);
	site_config.tls = tls_server_new(files, 1);
	greet(&c);
	site_say(&c, "STARTTLS\r\nNOOP\r\n");
	site_expect(&c, "421 4.7.0 *");          /* who puts something behind it is not told first whether it would be */
	site_hang_up(&c);
	greet(&c);
	site_say(&c, "STARTTLS\r\n");
	site_expect(&c, "454 4.7.0 *");
	send_message(&c);                       /* the session goes on in clear */
	site_hang_up(&c);
	site_turn();
	tls_server_free(site_config.tls);
	ck_assert_int_eq(log_open("stderr"), 0);
}
END_TEST

/* ---- hostile ones */

static const char *const behind[] = { "N", "\r\n", "NOOP\r\n", "EHLO x\r\nMAIL FROM:<a@b.example>\r\n", "\x16\x03\x01" };

START_TEST(whatever_follows_in_clear_ends_the_session)
{
	struct site_client c;
	char text[200];

	greet(&c);
	snprintf(text, sizeof text, "STARTTLS\r\n%s", behind[_i]);
	site_say(&c, text);
	site_expect(&c, "421 4.7.0 * Nothing may follow STARTTLS before its reply");
	site_expect_end(&c);
	site_hang_up(&c);
}
END_TEST

START_TEST(clear_text_behind_220_is_no_command)
{
	struct site_client c;

	greet(&c);
	site_say(&c, "STARTTLS\r\n");
	site_expect(&c, "220 2.0.0 *");
	site_say(&c, _i ? "EHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@example.org>\r\nDATA\r\n" : "QUIT\r\n");
	site_expect_end(&c);                     /* without a word */
	site_hang_up(&c);
	ck_assert_uint_eq(site_drafts(), 0);
}
END_TEST

/* Half a command in clear is no part of one inside. */
START_TEST(half_a_command_before_is_no_part_of_one_inside)
{
	struct site_client c;

	greet(&c);
	site_say(&c, "STARTTLS\r\nMAIL FROM:<evil@b.example> ");
	site_expect(&c, "421 4.7.0 *");
	site_expect_end(&c);
	site_hang_up(&c);
}
END_TEST

static const char hello_start[] = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";

START_TEST(a_handshake_has_a_minute_however_slowly_it_comes)
{
	struct site_client c;
	unsigned seconds = 0;

	greet(&c);
	site_say(&c, "STARTTLS\r\n");
	site_expect(&c, "220 2.0.0 *");
	while (!c.ended && seconds < 300) {
		if (_i && seconds % 2)
			site_send(&c, seconds / 2 < sizeof hello_start - 1 ? hello_start + seconds / 2 : "x", 1);
		loop_advance(1000);
		seconds++;
		site_listen(&c);
	}
	ck_assert_uint_ge(seconds, 60);
	ck_assert_uint_le(seconds, 61);
	site_hang_up(&c);
}
END_TEST

START_TEST(a_client_that_goes_in_the_handshake_leaves_nothing)
{
	struct site_client c;

	greet(&c);
	site_say(&c, "STARTTLS\r\n");
	site_expect(&c, "220 2.0.0 *");
	site_send(&c, hello_start, _i ? sizeof hello_start - 1 : 0);
	site_hang_up(&c);
	site_turn();
	ck_assert_uint_eq(smtpd_sessions(), 0);
}
END_TEST

/* A message ends by its dot. Neither the end of TLS nor clear text behind it is one. */
START_TEST(a_message_cut_off_inside_tls_is_no_message)
{
	struct site_client c;

	start_secure(&c);
	site_say(&c, "MAIL FROM:<a@b.example>\r\nRCPT TO:<c@example.org>\r\nDATA\r\n");
	site_expect(&c, "250 *");
	site_expect(&c, "250 *");
	site_expect(&c, "354 *");
	site_say(&c, "Subject: half\r\n\r\ntext\r\n");
	if (_i) {
		tls_close(c.wire->tls);
		site_listen(&c);
	}
	if (send(c.fd, "\r\n.\r\nQUIT\r\n", 11, MSG_NOSIGNAL) == -1)
		ck_assert(_i);                  /* it has closed already */
	shutdown(c.fd, SHUT_WR);
	site_listen(&c);
	site_hang_up(&c);
	site_turn();
	ck_assert_uint_eq(smtpd_sessions(), 0);
	ck_assert_uint_eq(site_messages(), 0);
	ck_assert_uint_eq(site_drafts(), 0);
}
END_TEST

START_TEST(a_whole_message_counts_though_the_client_has_ended_tls)
{
	struct site_client c;

	start_secure(&c);
	site_say(&c, "MAIL FROM:<a@b.example>\r\nRCPT TO:<c@example.org>\r\nDATA\r\n");
	site_expect(&c, "250 *");
	site_expect(&c, "250 *");
	site_expect(&c, "354 *");
	buf_puts(&c.wire->out, "Subject: whole\r\n\r\n.\r\nQUIT\r\n");
	for (int i = 0; i < 4; i++)
		wire_turn(c.wire);              /* the server has not had its turn yet */
	if (_i)
		tls_close(c.wire->tls);
	wire_turn(c.wire);
	shutdown(c.fd, SHUT_WR);
	site_listen(&c);
	site_hang_up(&c);
	site_turn();
	ck_assert_uint_eq(site_messages(), 1);
}
END_TEST

START_TEST(a_session_that_is_idle_inside_tls_is_told_inside)
{
	struct site_client c;

	start_secure(&c);
	loop_advance(301000);
	site_expect(&c, "421 4.4.2 *");
	site_expect_end(&c);
	ck_assert(!c.wire->failed);
	site_hang_up(&c);
}
END_TEST

START_TEST(a_server_that_stops_tells_those_inside_tls)
{
	struct site_client c, d;

	start_secure(&c);
	greet(&d);
	site_say(&d, "STARTTLS\r\n");
	site_expect(&d, "220 2.0.0 *");
	smtpd_stop();
	site_expect(&c, "421 4.3.2 *");
	site_expect_end(&c);
	site_starttls(&d, NULL, false);          /* one that was on its way hears it behind the handshake */
	site_say(&d, "EHLO inside.example\r\n");
	site_expect(&d, "421 4.3.2 *");
	site_expect_end(&d);
	site_hang_up(&c);
	site_hang_up(&d);
	smtpd_configure(&site_config);
}
END_TEST

START_TEST(many_sessions_do_not_meet)
{
	enum { MANY = 40 };
	static struct site_client c[MANY];

	for (size_t i = 0; i < MANY; i++)
		start_secure(&c[i]);
	for (size_t i = 0; i < MANY; i++) {
		send_message(&c[i]);
		if (i % 2)
			site_hang_up(&c[i]);
	}
	for (size_t i = 0; i < MANY; i += 2) {
		site_say(&c[i], "QUIT\r\n");
		site_expect(&c[i], "221 *");
		site_hang_up(&c[i]);
	}
	ck_assert_uint_eq(site_messages(), MANY);
}
END_TEST

/* Thirty clients begin at once. Between any two turns no more than two private-key operations were made, and who is in clear is
 * answered meanwhile. */
START_TEST(a_burst_of_handshakes_does_not_own_the_loop)
{
	enum { BURST = 30 };
	struct site_client c[BURST], other;
	unsigned before = tls_signatures(), turns = 0, answered = 0;

	with_tls();
	for (int i = 0; i < BURST; i++) {
		greet(&c[i]);
		site_say(&c[i], "STARTTLS\r\n");
		site_expect(&c[i], "220 2.0.0 *");
	}
	site_connect(&other);
	site_expect(&other, "220 *");
	for (int i = 0; i < BURST; i++) {
		c[i].wire = calloc(1, sizeof *c[i].wire);
		*c[i].wire = (struct wire){ .fd = c[i].fd, .tls = tls_connect("mx.example.org", NULL) };
		wire_turn(c[i].wire);           /* all hellos are there before the server looks */
	}
	ck_assert_int_eq(send(other.fd, "NOOP\r\n", 6, 0), 6);
	while (tls_signatures() - before < BURST && turns < 1000) {
		unsigned had = tls_signatures();
		char text[100];

		loop_turn(0);
		turns++;
		ck_assert_uint_le(tls_signatures() - had, 2);
		if (!answered && recv(other.fd, text, sizeof text, MSG_DONTWAIT) > 0)
			answered = turns;
		for (int i = 0; i < BURST; i++)
			wire_turn(c[i].wire);
	}
	ck_assert_uint_eq(tls_signatures() - before, BURST);
	ck_assert_uint_gt(answered, 0);
	ck_assert_uint_lt(answered, 4);
	for (int i = 0; i < BURST; i++)
		site_hang_up(&c[i]);
	site_hang_up(&other);
	site_turn();
	site_stop();
}
END_TEST

Suite *smtpd_tls_suite(void)
{
	Suite *s = suite_create("smtpd_tls");
	TCase *t = tcase_create("tls");

	tcase_add_checked_fixture(t, with_tls, site_stop);
	tcase_add_loop_test(t, a_message_comes_inside_tls_and_its_trace_says_so, 0, 2);
	tcase_add_test(t, helo_inside_tls_has_no_word_of_its_own);
	tcase_add_test(t, a_message_in_clear_has_no_tls_clause);
	tcase_add_test(t, what_was_said_before_is_forgotten);
	tcase_add_loop_test(t, the_command_is_checked_like_others, 0, sizeof refused / sizeof *refused);
	tcase_add_test(t, before_ehlo_it_comes_too_early);
	tcase_add_test(t, without_a_certificate_it_is_not_announced_and_not_done);
	tcase_add_test(t, with_a_certificate_that_cannot_be_used_it_is_not_available_now);
	tcase_add_loop_test(t, whatever_follows_in_clear_ends_the_session, 0, sizeof behind / sizeof *behind);
	tcase_add_loop_test(t, clear_text_behind_220_is_no_command, 0, 2);
	tcase_add_test(t, half_a_command_before_is_no_part_of_one_inside);
	tcase_add_loop_test(t, a_handshake_has_a_minute_however_slowly_it_comes, 0, 2);
	tcase_add_loop_test(t, a_client_that_goes_in_the_handshake_leaves_nothing, 0, 2);
	tcase_add_loop_test(t, a_message_cut_off_inside_tls_is_no_message, 0, 2);
	tcase_add_loop_test(t, a_whole_message_counts_though_the_client_has_ended_tls, 0, 2);
	tcase_add_test(t, a_session_that_is_idle_inside_tls_is_told_inside);
	tcase_add_test(t, a_server_that_stops_tells_those_inside_tls);
	tcase_add_test(t, many_sessions_do_not_meet);
	tcase_add_test(t, a_burst_of_handshakes_does_not_own_the_loop);
	suite_add_tcase(s, t);
	return s;
}
