/* What strangers may cost the server: how many come from where, who speaks before his turn, delays, and who makes place. */
#include <arpa/inet.h>
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/log.h"
#include "lib/loop.h"
#include "smtpd/session.h"
#include "tests/server_rig.h"

Suite *smtpd_guests_suite(void);

static void setup(void) { site_start(); }
static void teardown(void)
{
	site_stop();
	guests_forget();
}

static enum smtpd_service service = SMTPD_MX;

/* A client that comes from this address; what it says at once may be NULL. */
static void come(struct site_client *c, const char *from, const char *says)
{
	struct sockaddr_storage peer = { 0 };
	int sv[2];

	if (inet_pton(AF_INET, from, &((struct sockaddr_in *)&peer)->sin_addr) == 1)
		peer.ss_family = AF_INET;
	else if (inet_pton(AF_INET6, from, &((struct sockaddr_in6 *)&peer)->sin6_addr) == 1)
		peer.ss_family = AF_INET6;
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sv), 0);
	if (says)
		ck_assert_int_eq(write(sv[0], says, strlen(says)), (ssize_t)strlen(says));
	site_adopt(c, sv[0]);
	smtpd_welcome(sv[1], &peer, service);
}

static void enter(struct site_client *c, const char *from)
{
	come(c, from, NULL);
	site_expect(c, "220 *");
}

static void helo(struct site_client *c, const char *from)
{
	enter(c, from);
	site_say(c, "HELO x.example\r\n");
	site_expect(c, "250 *");
}

static void ehlo(struct site_client *c, const char *from)
{
	enter(c, from);
	site_say(c, "EHLO x.example\r\n");
	site_expect_reply(c, "250 *");
}

static bool trusts_ten(void *arg, const struct subject *s)
{
	(void)arg;
	return !strncmp(s->peer_text, "10.", 3);
}

/* ---- how many */

START_TEST(sessions_and_connections_are_limited_by_network)
{
	static const struct {
		unsigned open, minute;
		const char *from[6];
		const char *reply;      /* to the last of them */
	} rows[] = {
		{ 1, 0, { "192.0.2.1", "192.0.2.1" }, "421 4.7.0 mx.example.org Too many sessions from your address" },
		{ 1, 0, { "192.0.2.1", "::ffff:192.0.2.1" }, "421 4.7.0 *" },
		{ 1, 0, { "192.0.2.1", "192.0.2.2" }, "220 *" },
		{ 1, 0, { "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4" }, "421 4.7.0 mx.example.org Too many sessions from your network" },
		{ 1, 0, { "2001:db8::1", "2001:db8::2" }, "421 4.7.0 *" },
		{ 1, 0, { "2001:db8::1", "2001:db8:0:1::1" }, "220 *" },
		{ 1, 0, { "127.0.0.1", "127.0.0.1", "127.0.0.1", "::1", "::1" }, "220 *" },
		{ 1, 0, { "10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.1" }, "220 *" },
		{ 0, 2, { "192.0.2.1", "192.0.2.1", "192.0.2.1" }, "421 4.7.0 mx.example.org Too many connections *" },
		{ 0, 2, { "127.0.0.1", "127.0.0.1", "127.0.0.1" }, "220 *" },
		{ 0, 0, { "192.0.2.1", "192.0.2.1", "192.0.2.1" }, "220 *" },
	};

	site_config.trusted = trusts_ten;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct site_client c[6];
		size_t n = 0;

		site_config.sessions_per_address = rows[i].open;
		site_config.connections_per_minute = rows[i].minute;
		for (; n < 6 && rows[i].from[n]; n++) {
			come(&c[n], rows[i].from[n], NULL);
			if (n + 1 == 6 || !rows[i].from[n + 1])
				site_expect(&c[n], rows[i].reply);
			else
				site_expect(&c[n], "220 *");
		}
		while (n)
			site_hang_up(&c[--n]);
		site_turn();
		ck_assert_uint_eq(smtpd_sessions(), 0);
		guests_forget();
	}
}
END_TEST

START_TEST(a_place_is_free_again_when_its_session_has_ended)
{
	struct site_client a, b;

	site_config.sessions_per_address = 1;
	for (int i = 0; i < 5; i++) {
		enter(&a, "192.0.2.1");
		come(&b, "192.0.2.1", NULL);
		site_expect(&b, "421 4.7.0 *");
		site_hang_up(&a);
		site_hang_up(&b);
		site_turn();
	}
}
END_TEST

/* ---- before the greeting */

START_TEST(who_speaks_before_the_greeting_is_not_served)
{
	static const struct {
		const char *from, *says;
		const char *reply;
	} rows[] = {
		{ "192.0.2.1", "EHLO x.example\r\n", "554 5.5.1 *" },
		{ "192.0.2.1", "x", "554 5.5.1 *" },
		{ "192.0.2.1", "\n", "554 5.5.1 *" },
		{ "192.0.2.1", "\x16\x03\x01", "554 5.5.1 *" },
		{ "127.0.0.1", "EHLO x.example\r\nMAIL FROM:<>\r\n", "554 5.5.1 *" },
		{ "10.0.0.1", "NOOP\r\n", "220 *" },            /* ours may */
	};

	site_config.trusted = trusts_ten;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct site_client c;

		come(&c, rows[i].from, rows[i].says);
		site_expect(&c, rows[i].reply);
		if (rows[i].reply[0] == '5')
			site_expect_end(&c);
		site_hang_up(&c);
		site_turn();
	}
}
END_TEST

START_TEST(other_protocols_are_cut_off_at_their_first_line)
{
	static const struct {
		const char *says, *reply;
	} rows[] = {
		{ "GET / HTTP/1.1\r\nHost: x\r\n", "421 4.7.0 *" },
		{ "PROPFIND /mail HTTP/1.1\r\n", "421 4.7.0 * This is not SMTP" },
		{ "OPTIONS * RTSP/1.0\r\n", "421 4.7.0 *" },
		{ "DESCRIBE rtsp://x/y RTSP/1.0\r\n", "421 4.7.0 * This is not SMTP" },
		{ "INVITE sip:a@example.org SIP/2.0\r\n", "421 4.7.0 * This is not SMTP" },
		{ "SSH-2.0-OpenSSH_9.2p1\r\n", "421 4.7.0 * This is not SMTP" },
		{ "Host: mx.example.org\r\n", "421 4.7.0 * This is not SMTP" },
		{ "content-type: text/plain\r\n", "421 4.7.0 * This is not SMTP" },
		{ "\x16\x03\x01\x02", "421 4.7.0 * This is not SMTP, but TLS*" },
		{ "\x03", "421 4.7.0 *" },
		{ ":\r\n", "500 *" },
		{ "SSH 2.0\r\n", "500 *" },
		{ "NOOP HTTP/1.1\r\n", "250 *" },
		{ "NICK x\r\n", "500 *" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct site_client c;

		enter(&c, "127.0.0.1");
		site_say(&c, rows[i].says);
		site_expect(&c, rows[i].reply);
		if (rows[i].reply[0] == '4')
			site_expect_end(&c);
		site_hang_up(&c);
		site_turn();
	}
}
END_TEST

START_TEST(strangers_are_greeted_after_the_delay)
{
	struct site_client c, early, ours, here, user;

	site_config.trusted = trusts_ten;
	site_config.greeting_delay_ms = 500;
	come(&c, "192.0.2.1", NULL);
	come(&early, "192.0.2.2", NULL);
	enter(&ours, "10.0.0.1");
	enter(&here, "127.0.0.1");
	service = SMTPD_SUBMISSION;
	enter(&user, "192.0.2.3");
	service = SMTPD_MX;
	site_expect_nothing(&c);
	loop_advance(499);
	site_expect_nothing(&c);
	site_say(&early, "EHLO x.example\r\n");
	site_expect(&early, "554 5.5.1 *");
	site_expect_end(&early);
	loop_advance(1);
	site_expect(&c, "220 *");
	site_say(&c, "NOOP\r\n");
	site_expect(&c, "250 *");
	site_hang_up(&c);
	come(&c, "192.0.2.1", NULL);                    /* one that goes meanwhile */
	site_hang_up(&c);
	site_turn();
	site_hang_up(&early);
	site_hang_up(&ours);
	site_hang_up(&here);
	site_hang_up(&user);
}
END_TEST

START_TEST(a_stop_does_not_wait_for_greetings)
{
	struct site_client c;

	site_config.greeting_delay_ms = 500;
	come(&c, "192.0.2.1", NULL);
	site_turn();
	smtpd_stop();
	loop_advance(500);
	site_expect(&c, "220 *");
	site_expect(&c, "421 4.3.2 *");
	site_hang_up(&c);
	smtpd_configure(&site_config);
}
END_TEST

/* ---- delays and ends */

START_TEST(who_is_refused_again_and_again_waits_longer_and_longer)
{
	static const char *const lines[] = { "RCPT TO:<no@example.org>\r\n", "FOO\r\n", "RCPT TO:<wait-no@example.org>\r\n" };
	static const unsigned delays[] = { 0, 0, 0, 1000, 2000, 3000, 4000, 5000, 5000, 5000 };

	for (size_t k = 0; k < sizeof lines / sizeof *lines; k++) {
		struct site_client c;

		helo(&c, "192.0.2.1");
		site_say(&c, "MAIL FROM:<a@b.example>\r\n");
		site_expect(&c, "250 *");
		for (size_t i = 0; i < sizeof delays / sizeof *delays; i++) {
			site_say(&c, lines[k]);
			site_expect(&c, "5*");
			site_say(&c, "NOOP\r\n");
			if (delays[i]) {
				site_expect_nothing(&c);
				loop_advance(delays[i] - 1);
				site_expect_nothing(&c);
				loop_advance(1);
			}
			site_expect(&c, "250 *");
		}
		site_say(&c, "RSET\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@example.org>\r\nDATA\r\n");
		for (int i = 0; i < 3; i++)
			site_expect(&c, "250 *");
		site_expect(&c, "354 *");
		site_say(&c, "\r\n.\r\nFOO\r\nNOOP\r\n");               /* a message that is taken forgives it */
		site_expect(&c, "250 2.0.0 Queued*");
		site_expect(&c, "500 *");
		site_expect(&c, "250 *");
		site_hang_up(&c);
		site_turn();
	}
}
END_TEST

START_TEST(ours_are_never_delayed)
{
	static const char *const from[] = { "10.0.0.1", "127.0.0.1", "" };

	site_config.trusted = trusts_ten;
	for (size_t k = 0; k < sizeof from / sizeof *from; k++) {
		struct site_client c;

		helo(&c, from[k]);
		for (int i = 0; i < 15; i++) {
			site_say(&c, "FOO\r\nNOOP\r\n");
			site_expect(&c, "500 *");
			site_expect(&c, "250 *");
		}
		site_hang_up(&c);
	}
}
END_TEST

START_TEST(a_client_may_vanish_or_be_stopped_in_its_delay)
{
	struct site_client c, d;

	helo(&c, "192.0.2.1");
	helo(&d, "192.0.2.2");
	site_say(&c, "FOO\r\nFOO\r\nFOO\r\nFOO\r\nNOOP\r\n");
	site_say(&d, "FOO\r\nFOO\r\nFOO\r\nFOO\r\nNOOP\r\n");
	for (int i = 0; i < 4; i++) {
		site_expect(&c, "500 *");
		site_expect(&d, "500 *");
	}
	site_hang_up(&c);
	smtpd_stop();
	site_expect_nothing(&d);
	loop_advance(1000);
	site_expect(&d, "421 4.3.2 *");
	site_hang_up(&d);
	smtpd_configure(&site_config);
}
END_TEST

START_TEST(ten_refused_messages_are_enough)
{
	struct site_client c;
	int messages = 0;

	site_config.trusted = trusts_ten;
	site_config.hops_max = 1;
	helo(&c, "10.0.0.1");
	for (; messages < 20; messages++) {
		char line[600];

		site_say(&c, "MAIL FROM:<a@b.example>\r\n");
		site_listen(&c);
		ck_assert(site_line(&c, line, sizeof line));
		if (line[0] != '2') {
			ck_assert_msg(site_match("421 4.7.0 *", line), "%s", line);
			break;
		}
		site_say(&c, "RCPT TO:<c@example.org>\r\nDATA\r\n");
		site_expect(&c, "250 *");
		site_expect(&c, "354 *");
		site_say(&c, "Received: x\r\nReceived: y\r\n\r\n.\r\n");
		site_expect(&c, "554 *");
	}
	ck_assert_int_eq(messages, 11);
	site_expect_end(&c);
	site_hang_up(&c);
}
END_TEST

START_TEST(guesses_at_recipients_shut_a_network_out_for_an_hour)
{
	struct site_client c;
	int refused = 0;

	for (int session = 0; session < 10; session++) {
		come(&c, "192.0.2.1", NULL);
		site_listen(&c);
		if (!site_match("220 *", c.got.n ? "220 x" : "") || strncmp(c.got.p, "220", 3))
			break;
		site_expect(&c, "220 *");
		site_say(&c, "HELO x.example\r\nMAIL FROM:<a@b.example>\r\n");
		site_expect(&c, "250 *");
		site_expect(&c, "250 *");
		for (int i = 0; i < 90 && !c.ended; i++) {
			char line[600];

			site_say(&c, "RCPT TO:<no@example.org>\r\n");
			loop_advance(5000);
			site_listen(&c);
			while (site_line(&c, line, sizeof line))
				refused += line[0] == '5';
		}
		site_hang_up(&c);
		site_turn();
	}
	ck_assert_int_eq(refused, LIMIT_REFUSED);
	site_expect(&c, "421 4.7.0 mx.example.org Too many refused recipients *");
	site_hang_up(&c);
	enter(&c, "192.0.2.2");
	site_hang_up(&c);
	loop_advance(3600000);
	enter(&c, "192.0.2.1");
	site_hang_up(&c);
}
END_TEST

START_TEST(a_session_without_a_message_ends_but_not_within_one)
{
	struct site_client c;

	site_config.session_s = 1000;
	helo(&c, "10.0.0.1");
	for (int i = 0; i < 3; i++) {           /* each message buys it another 1000 s */
		loop_advance(200000);
		site_say(&c, "NOOP\r\n");
		site_expect(&c, "250 *");
		loop_advance(200000);
		site_say(&c, "MAIL FROM:<a@b.example>\r\nRCPT TO:<c@example.org>\r\nDATA\r\n");
		site_expect(&c, "250 *");
		site_expect(&c, "250 *");
		site_expect(&c, "354 *");
		for (int k = 0; k < 4; k++) {   /* nothing ends it in the middle */
			loop_advance(200000);
			site_say(&c, "x\r\n");
			site_expect_nothing(&c);
		}
		site_say(&c, ".\r\n");
		site_expect(&c, "250 2.0.0 *");
	}
	for (int i = 0; i < 5; i++) {
		loop_advance(200000);
		site_say(&c, "NOOP\r\n");
		site_expect(&c, "250 *");
	}
	loop_advance(1000);
	site_say(&c, "NOOP\r\n");
	site_expect(&c, "421 4.7.0 *");
	site_expect_end(&c);
	site_hang_up(&c);
}
END_TEST

/* ---- the sender's domain */

/* By the local part: "no" is refused, "later" for now, "wait" and "wait-no" are asked for first. */
static enum verdict mail(void *arg, const struct subject *who, struct facts *facts, const struct sender *from, struct reply *why)
{
	const struct fact *f;

	(void)arg;
	(void)who;
	*why = (struct reply){ .code = 550, .enhanced = "5.1.8", .text = "No such domain" };
	if (str_eq(from->addr.local, STR("later")))
		*why = (struct reply){ .code = 451, .enhanced = "4.4.3", .text = "Try again" };
	if (str_starts_nocase(from->addr.local, STR("wait"))) {
		f = fact(facts, FACT_MAILBOX, from->addr.local);
		if (!f)
			return WAIT;
		return f->outcome == FOUND ? ACCEPT : REFUSE;
	}
	return str_eq(from->addr.local, STR("no")) || str_eq(from->addr.local, STR("later")) ? REFUSE : ACCEPT;
}

START_TEST(the_senders_domain_is_asked_for_while_mail_waits)
{
	static const struct {
		const char *from, *sender;
		const char *reply;
		unsigned questions;
	} rows[] = {
		{ "192.0.2.1", "<a@b.example>", "250 2.1.0 *", 0 },
		{ "192.0.2.1", "<>", "250 2.1.0 *", 0 },
		{ "192.0.2.1", "<no@b.example>", "550 5.1.8 *", 0 },
		{ "192.0.2.1", "<later@b.example>", "451 4.4.3 *", 0 },
		{ "192.0.2.1", "<wait@b.example> BODY=8BITMIME", "250 2.1.0 *", 1 },
		{ "192.0.2.1", "<wait-no@b.example>", "550 5.1.8 *", 1 },
		{ "127.0.0.1", "<wait-no@b.example>", "550 5.1.8 *", 1 },
		{ "10.0.0.1", "<no@b.example>", "250 2.1.0 *", 0 },
		{ "", "<no@b.example>", "250 2.1.0 *", 0 },
	};

	site_config.trusted = trusts_ten;
	site_config.mail = mail;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct site_client c;
		char text[200], line[600];
		bool taken = rows[i].reply[0] == '2';

		site_questions = 0;
		enter(&c, rows[i].from);
		site_say(&c, "EHLO x.example\r\n");
		site_listen(&c);
		while (site_line(&c, line, sizeof line))
			;
		/* all that may follow is on its way already */
		snprintf(text, sizeof text, "MAIL FROM:%s\r\nRCPT TO:<c@example.org>\r\nDATA\r\n", rows[i].sender);
		site_say(&c, text);
		site_expect(&c, rows[i].reply);
		site_expect(&c, taken ? "250 2.1.5 *" : "503 5.5.1 *");
		site_expect(&c, taken ? "354 *" : "503 5.5.1 *");
		ck_assert_uint_eq(site_questions, rows[i].questions);
		if (taken) {
			site_say(&c, "\r\n.\r\n");
			site_expect(&c, "250 2.0.0 *");
		}
		site_hang_up(&c);
		site_turn();
	}
}
END_TEST

START_TEST(an_answer_about_the_sender_that_does_not_come_costs_a_451)
{
	struct site_client c;

	site_config.mail = mail;
	site_config.idle_s = 60;
	site_mute = true;
	helo(&c, "192.0.2.1");
	site_say(&c, "MAIL FROM:<wait@b.example>\r\n");
	site_expect_nothing(&c);
	loop_advance(60000);
	site_expect(&c, "451 4.4.3 *");
	site_say(&c, "MAIL FROM:<a@b.example>\r\n");
	site_expect(&c, "250 2.1.0 *");
	site_say(&c, "RSET\r\nMAIL FROM:<wait@b.example>\r\n");
	site_expect(&c, "250 2.0.0 *");
	site_hang_up(&c);                               /* and nobody is there when it comes */
	site_turn();
}
END_TEST

START_TEST(what_was_sent_along_with_a_refused_sender_is_no_error)
{
	struct site_client c;

	site_config.mail = mail;
	helo(&c, "192.0.2.1");
	site_say(&c, "MAIL FROM:<later@b.example>\r\n");
	site_expect(&c, "451 *");
	for (int i = 0; i < 30; i++) {                  /* 30 errors would have ended the session, 4 delayed it */
		site_say(&c, "RCPT TO:<c@example.org>\r\n");
		site_expect(&c, "503 *");
	}
	site_say(&c, "DATA\r\nNOOP\r\nRCPT TO:<c@example.org>\r\nRCPT TO:<c@example.org>\r\n");
	site_expect(&c, "503 *");
	site_expect(&c, "250 *");
	site_expect(&c, "503 *");
	site_expect(&c, "503 *");
	site_say(&c, "RCPT TO:<c@example.org>\r\nRCPT TO:<c@example.org>\r\nNOOP\r\n");
	site_expect(&c, "503 *");
	site_expect(&c, "503 *");
	site_expect_nothing(&c);                        /* but behind another command it is one */
	site_hang_up(&c);
}
END_TEST

/* ---- making place */

static void in_data(struct site_client *c, const char *from)
{
	helo(c, from);
	site_say(c, "MAIL FROM:<a@b.example>\r\nRCPT TO:<c@example.org>\r\nDATA\r\n");
	site_expect(c, "250 *");
	site_expect(c, "250 *");
	site_expect(c, "354 *");
}

START_TEST(who_sends_by_drops_makes_place_for_others)
{
	struct site_client slow, steady, late;
	static char block[60003];

	memset(block, 'x', 60000);
	memcpy(block + 60000, "\r\n", 2);
	site_config.sessions_max = 2;
	site_config.message_size = 1 << 20;
	in_data(&steady, "192.0.2.1");
	in_data(&slow, "192.0.2.2");
	for (int i = 0; i < 8; i++) {           /* steady: 15000 octets a second, slow: less than one */
		loop_advance(4000);
		site_say(&slow, "x\r\n");
		site_say(&steady, block);
		site_turn();
	}
	come(&late, "192.0.2.3", NULL);
	site_expect(&late, "220 *");
	site_expect(&slow, "421 4.3.2 *");
	site_expect_end(&slow);
	site_say(&steady, ".\r\n");
	site_expect(&steady, "250 2.0.0 *");
	site_hang_up(&slow);
	site_hang_up(&steady);
	site_hang_up(&late);
}
END_TEST

START_TEST(who_drips_commands_makes_place_too)
{
	struct site_client drip, fresh, late, later;

	site_config.sessions_max = 2;
	helo(&drip, "192.0.2.1");
	for (int i = 0; i < 10; i++) {          /* a whole command every three seconds */
		loop_advance(3000);
		site_say(&drip, i ? "RCPT TO:<c@example.org>\r\n" : "MAIL FROM:<a@b.example>\r\n");
		site_expect(&drip, "250 *");
	}
	helo(&fresh, "192.0.2.2");
	come(&late, "192.0.2.3", NULL);
	site_expect(&late, "421 4.3.2 *");      /* he has just spoken */
	loop_advance(1000);
	enter(&later, "192.0.2.3");
	site_expect(&drip, "421 4.3.2 *");
	site_expect_nothing(&fresh);
	site_hang_up(&drip);
	site_hang_up(&fresh);
	site_hang_up(&late);
	site_hang_up(&later);
}
END_TEST

START_TEST(who_makes_us_wait_for_the_dns_makes_place_too)
{
	struct site_client slow, late, later;

	site_config.sessions_max = 1;
	site_config.mail = mail;
	site_mute = true;
	helo(&slow, "192.0.2.1");
	for (int i = 0; i < 8; i++) {
		site_say(&slow, "MAIL FROM:<wait@b.example>\r\n");
		site_expect_nothing(&slow);
		loop_advance(5000);
		if (i == 0) {
			come(&late, "192.0.2.3", NULL);
			site_expect(&late, "421 4.3.2 *");
			site_hang_up(&late);
		}
		if (i < 7) {
			loop_advance(295000);
			site_expect(&slow, "451 4.4.3 *");
		}
	}
	come(&later, "192.0.2.3", NULL);
	site_expect(&later, "220 *");
	site_expect(&slow, "421 4.3.2 *");
	site_expect_end(&slow);
	site_hang_up(&slow);
	site_hang_up(&later);
}
END_TEST

START_TEST(senders_that_cannot_be_looked_up_use_up_the_patience)
{
	struct site_client c;
	int n = 0;

	site_config.mail = mail;
	helo(&c, "192.0.2.1");
	for (; n < 1000 && !c.ended; n++) {
		site_say(&c, "MAIL FROM:<later@b.example>\r\n");
		site_expect(&c, "4*");
	}
	ck_assert_int_le(n, 401);
	ck_assert_int_ge(n, 300);
	site_hang_up(&c);
}
END_TEST

/* A recipient with parameters of 500 octets. */
static void rcpts(struct site_client *c, int n, const char *first, const char *last)
{
	char line[700], padding[480];

	memset(padding, 'x', sizeof padding - 1);
	padding[sizeof padding - 1] = '\0';
	for (int i = 0; i < n; i++) {
		snprintf(line, sizeof line, "RCPT TO:<c%d@example.org> NOTIFY=NEVER ORCPT=rfc822;%s\r\n", i, padding);
		site_say(c, line);
		site_expect(c, i ? last : first);
	}
}

START_TEST(strangers_together_hold_so_much_of_envelopes_and_no_more)
{
	struct site_client c[6], own, small;
	int full = 0;

	for (int i = 0; i < 6; i++) {
		char from[30], line[600];

		snprintf(from, sizeof from, "192.0.%d.1", i + 2);
		ehlo(&c[i], from);
		site_say(&c[i], "MAIL FROM:<a@b.example>\r\n");
		site_expect(&c[i], "250 *");
		for (int k = 0; k < 4000; k++) {
			snprintf(line, sizeof line, "RCPT TO:<c%d@example.org> NOTIFY=NEVER ORCPT=rfc822;%0480d\r\n", k, 0);
			site_say(&c[i], line);
			site_listen(&c[i]);
			ck_assert(site_line(&c[i], line, sizeof line));
			if (line[0] == '4') {
				full++;
				break;
			}
		}
	}
	ck_assert_int_gt(full, 0);
	ehlo(&small, "198.51.100.1");           /* a common envelope goes on */
	site_say(&small, "MAIL FROM:<a@b.example>\r\n");
	site_expect(&small, "250 *");
	rcpts(&small, 10, "250 *", "250 *");
	site_config.trusted = trusts_ten;
	ehlo(&own, "10.0.0.1");                 /* and who is no stranger is not counted */
	site_say(&own, "MAIL FROM:<a@b.example>\r\n");
	site_expect(&own, "250 *");
	rcpts(&own, 100, "250 *", "250 *");
	for (int i = 0; i < 6; i++)
		site_hang_up(&c[i]);
	site_turn();
	rcpts(&small, 100, "250 *", "250 *");   /* they are gone */
	site_hang_up(&small);
	site_hang_up(&own);
}
END_TEST

static const struct { const char *from, *text, *reply; } circles[] = {
	{ "192.0.2.1", "Subject: x\r\ndelivered-to: C@Example.ORG\r\n\r\n", "554 5.4.6 *" },
	{ "192.0.2.1", "Delivered-To:\r\n c@example.org\r\n\r\n", "250 *" },      /* folded: the mailbox will see */
	{ "192.0.2.1", "Delivered-To: other@example.org\r\nX-Delivered-To: c@example.org\r\n\r\nDelivered-To: c@example.org\r\n", "250 *" },
	{ "10.0.0.1", "Delivered-To: c@example.org\r\n\r\n", "250 *" },
};

START_TEST(what_has_been_delivered_before_is_refused_to_a_stranger_and_not_reported_to_whom_he_names)
{
	struct site_client c;

	site_config.trusted = trusts_ten;
	ehlo(&c, circles[_i].from);
	site_say(&c, "MAIL FROM:<victim@b.example>\r\nRCPT TO:<c@example.org>\r\nDATA\r\n");
	site_expect(&c, "250 *");
	site_expect(&c, "250 *");
	site_expect(&c, "354 *");
	for (const char *p = circles[_i].text; *p; p++)
		site_send(&c, p, 1);
	site_say(&c, ".\r\n");
	site_expect(&c, circles[_i].reply);
	site_hang_up(&c);
}
END_TEST

static unsigned lines_with(const char *path, const char *word)
{
	FILE *f = fopen(path, "r");
	unsigned n = 0;
	char line[1000];

	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof line, f))
		n += strstr(line, word) != NULL;
	fclose(f);
	return n;
}

START_TEST(a_flood_of_clients_is_no_flood_of_lines)
{
	const char *tmp = getenv("TMPDIR");
	struct site_client c;
	char path[300];

	snprintf(path, sizeof path, "%s/guests.log", tmp ? tmp : "/tmp");
	ck_assert_int_eq(log_open(path), 0);
	log_threshold(LOG_INFO);
	loop_advance(2000);
	for (int i = 0; i < 200; i++) {
		enter(&c, "127.0.0.1");
		site_say(&c, "GET / HTTP/1.1\r\n");
		site_expect(&c, "421 *");
		site_hang_up(&c);
		site_turn();
	}
	ck_assert_uint_eq(lines_with(path, "hung-up"), 50);
	loop_advance(1000);
	enter(&c, "127.0.0.1");
	site_say(&c, "GET / HTTP/1.1\r\n");
	site_expect(&c, "421 *");
	site_hang_up(&c);
	ck_assert_uint_eq(lines_with(path, "hung-up"), 51);
	ck_assert_uint_eq(lines_with(path, "unsaid lines=150"), 1);
	log_open("stderr");
	unlink(path);
}
END_TEST

START_TEST(who_has_been_told_to_go_holds_no_place_for_long)
{
	struct site_client first[4], then[4], more;

	site_config.sessions_max = 4;
	for (int i = 0; i < 4; i++)
		enter(&first[i], "192.0.2.1");
	come(&more, "192.0.2.1", NULL);
	site_expect(&more, "421 4.3.2 *");      /* nobody has been quiet for long enough */
	site_hang_up(&more);
	loop_advance(10000);
	for (int i = 0; i < 4; i++) {           /* places are given before those who had them close */
		enter(&then[i], "192.0.2.2");
		site_expect(&first[i], "421 4.3.2 *");
	}
	come(&more, "192.0.2.1", NULL);
	site_expect(&more, "421 4.3.2 *");
	site_hang_up(&more);
	for (int i = 0; i < 4; i++) {
		site_hang_up(&first[i]);
		site_hang_up(&then[i]);
	}
}
END_TEST

Suite *smtpd_guests_suite(void)
{
	Suite *s = suite_create("smtpd_guests");
	TCase *t = tcase_create("guests");

	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, sessions_and_connections_are_limited_by_network);
	tcase_add_test(t, a_place_is_free_again_when_its_session_has_ended);
	tcase_add_test(t, who_speaks_before_the_greeting_is_not_served);
	tcase_add_test(t, other_protocols_are_cut_off_at_their_first_line);
	tcase_add_test(t, strangers_are_greeted_after_the_delay);
	tcase_add_test(t, a_stop_does_not_wait_for_greetings);
	tcase_add_test(t, who_is_refused_again_and_again_waits_longer_and_longer);
	tcase_add_test(t, ours_are_never_delayed);
	tcase_add_test(t, a_client_may_vanish_or_be_stopped_in_its_delay);
	tcase_add_test(t, ten_refused_messages_are_enough);
	tcase_add_test(t, guesses_at_recipients_shut_a_network_out_for_an_hour);
	tcase_add_test(t, a_session_without_a_message_ends_but_not_within_one);
	tcase_add_test(t, the_senders_domain_is_asked_for_while_mail_waits);
	tcase_add_test(t, an_answer_about_the_sender_that_does_not_come_costs_a_451);
	tcase_add_test(t, what_was_sent_along_with_a_refused_sender_is_no_error);
	tcase_add_test(t, who_sends_by_drops_makes_place_for_others);
	tcase_add_test(t, who_drips_commands_makes_place_too);
	tcase_add_loop_test(t, what_has_been_delivered_before_is_refused_to_a_stranger_and_not_reported_to_whom_he_names, 0, (int)(sizeof circles / sizeof *circles));
	tcase_add_test(t, who_makes_us_wait_for_the_dns_makes_place_too);
	tcase_add_test(t, senders_that_cannot_be_looked_up_use_up_the_patience);
	tcase_add_test(t, strangers_together_hold_so_much_of_envelopes_and_no_more);
	tcase_add_test(t, a_flood_of_clients_is_no_flood_of_lines);
	tcase_add_test(t, who_has_been_told_to_go_holds_no_place_for_long);
	suite_add_tcase(s, t);
	return s;
}
