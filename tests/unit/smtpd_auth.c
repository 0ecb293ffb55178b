/* Submission: who must log in, how, and as whom one may send (RFC 4954, 6409). */
#include <arpa/inet.h>
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "auth/saslc.h"
#include "auth/users.h"
#include "auth/verify.h"
#include "lib/codec.h"
#include "lib/loop.h"
#include "tests/server_rig.h"

/* user: pencil (RFC 7677 3) */
#define PENCIL "{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
#define PLAIN_GOOD "AHVzZXIAcGVuY2ls"          /* \0user\0pencil */
#define PLAIN_BAD "AHVzZXIAcGVuY2lt"           /* \0user\0pencim */

static char path[200];
static struct users *users;

static void start(void)
{
	static const struct str local[] = { { "here.test", 9 } };
	const char *tmp = getenv("TMPDIR");
	int fd;

	site_start();
	snprintf(path, sizeof path, "%.150s/users.XXXXXX", tmp ? tmp : "/tmp");
	fd = mkstemp(path);
	ck_assert_int_ne(fd, -1);
	ck_assert_int_gt(dprintf(fd, "user:%s\n", PENCIL), 0);
	close(fd);
	users = users_new(path);
	ck_assert_int_eq(verify_start(true), 0);
	site_config.users = users;
	site_config.local_domains = local;
	site_config.nlocal_domains = 1;
	site_config.tls = wire_server();
}

static void stop(void)
{
	site_stop();
	verify_stop();
	users_free(users);
	unlink(path);
}

static void call(struct site_client *c, enum smtpd_service service)
{
	struct sockaddr_storage peer = { 0 };
	struct sockaddr_in *in = (struct sockaddr_in *)&peer;
	int sv[2];

	in->sin_family = AF_INET;
	in->sin_addr.s_addr = htonl(0xc0000207);        /* 192.0.2.7 */
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	site_adopt(c, sv[0]);
	ck_assert_int_eq(smtpd_session(sv[1], sv[1], service, &peer, NULL), 0);
}

static void inside(struct site_client *c)
{
	call(c, SMTPD_SUBMISSIONS);
	site_starttls(c, NULL, false);
	site_expect(c, "220 *");
	site_say(c, "EHLO client.test\r\n");
	site_expect_reply(c, "250 *");
}

static void ask(struct site_client *c, const char *command, const char *pattern)
{
	site_say(c, command);
	site_say(c, "\r\n");
	site_expect_reply(c, pattern);
}

START_TEST(tls_from_the_first_octet_is_greeted_inside)
{
	struct site_client c;

	start();
	inside(&c);
	ask(&c, "STARTTLS", "503 *");
	ask(&c, "QUIT", "221 *");
	site_hang_up(&c);
	stop();
}
END_TEST

START_TEST(words_in_clear_at_the_port_with_tls_get_no_answer)
{
	struct site_client c;

	start();
	call(&c, SMTPD_SUBMISSIONS);
	site_say(&c, "EHLO client.test\r\n");
	site_listen(&c);
	ck_assert_ptr_null(memmem(c.got.p ? c.got.p : "", c.got.n, "250", 3));
	ck_assert(c.ended);
	site_hang_up(&c);
	stop();
}
END_TEST

START_TEST(in_clear_nothing_is_offered_and_nothing_taken)
{
	struct site_client c;

	start();
	call(&c, SMTPD_SUBMISSION);
	site_expect(&c, "220 *");
	site_say(&c, "EHLO client.test\r\n");
	site_listen(&c);
	ck_assert_ptr_nonnull(memmem(c.got.p, c.got.n, "STARTTLS", 8));
	ck_assert_ptr_null(memmem(c.got.p, c.got.n, "AUTH", 4));
	site_expect_reply(&c, "250 *");
	ask(&c, "AUTH PLAIN " PLAIN_GOOD, "538 5.7.11 *");
	ask(&c, "MAIL FROM:<user@here.test>", "530 5.7.0 *");
	ask(&c, "QUIT", "221 *");
	site_hang_up(&c);
	stop();
}
END_TEST

START_TEST(who_logs_in_sends_to_anybody_and_the_trace_says_so)
{
	struct buf envelope = { 0 }, message = { 0 };
	struct site_client c;

	start();
	inside(&c);
	ask(&c, "MAIL FROM:<user@here.test>", "530 5.7.0 *");
	ask(&c, "AUTH PLAIN " PLAIN_GOOD, "235 2.7.0 *");
	ask(&c, "AUTH PLAIN " PLAIN_GOOD, "503 *");
	ask(&c, "MAIL FROM:<user@here.test> AUTH=<>", "250 *");
	ask(&c, "AUTH PLAIN " PLAIN_GOOD, "503 *");
	ask(&c, "RCPT TO:<x@elsewhere.test>", "250 *");
	ask(&c, "DATA", "354 *");
	ask(&c, "From: user@here.test\r\nDate: Mon, 23 Nov 2026 09:00:00 +0000\r\nMessage-ID: <1@here.test>\r\nSubject: x\r\n\r\nx\r\n.", "250 2.0.0 *");
	ck_assert(site_message("Subject: x", &envelope, &message));
	ck_assert_ptr_nonnull(memmem(message.p, message.n, "with ESMTPSA id", 15));
	ck_assert_ptr_null(memmem(envelope.p, envelope.n, "AUTH=", 5));
	ask(&c, "QUIT", "221 *");
	site_hang_up(&c);
	buf_free(&envelope);
	buf_free(&message);
	stop();
}
END_TEST

static const struct { const char *from, *reply; } senders[] = {
	{ "<user@here.test>", "250 *" }, { "<user+x@HERE.test>", "250 *" }, { "<>", "250 *" },
	{ "<other@here.test>", "550 5.7.1 user may not send as <other@here.test>" }, { "<user@there.test>", "550 5.7.1 *" },
};

#ifdef HAVE_IDN2
START_TEST(a_user_of_an_international_domain_sends_as_people_write_it)
{
	static const struct str local[] = { { "xn--tda.test", 12 } };
	struct site_client c;

	start();
	site_config.local_domains = local;
	inside(&c);
	ask(&c, "AUTH PLAIN " PLAIN_GOOD, "235 *");
	ask(&c, "MAIL FROM:<user@\xc3\xbc.test> SMTPUTF8", "250 *");
	ask(&c, "RSET", "250 *");
	ask(&c, "MAIL FROM:<other@\xc3\xbc.test> SMTPUTF8", "550 5.7.1 *");
	ask(&c, "QUIT", "221 *");
	site_hang_up(&c);
	stop();
}
END_TEST
#endif

START_TEST(who_asks_for_logins_gets_them_on_a_pipe_too)
{
	struct site_client c;
	int sv[2], out;

	start();
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sv), 0);
	out = dup(sv[1]);
	ck_assert_int_ne(out, -1);
	ck_assert_int_eq(smtpd_session(sv[1], out, SMTPD_SUBMISSION, NULL, NULL), 0);
	site_adopt(&c, sv[0]);
	site_expect(&c, "220 *");
	site_say(&c, "EHLO client.test\r\n");
	site_expect_reply(&c, "250 *");
	ask(&c, "MAIL FROM:<user@here.test>", "530 5.7.0 *");
	ask(&c, "QUIT", "221 *");
	site_hang_up(&c);
	stop();
}
END_TEST

START_TEST(one_sends_as_oneself)
{
	char line[100];
	struct site_client c;

	start();
	inside(&c);
	ask(&c, "AUTH PLAIN", "334 ");
	ask(&c, PLAIN_GOOD, "235 *");
	snprintf(line, sizeof line, "MAIL FROM:%s", senders[_i].from);
	ask(&c, line, senders[_i].reply);
	ask(&c, "QUIT", "221 *");
	site_hang_up(&c);
	stop();
}
END_TEST

static const struct { const char *say, *reply, *then, *reply_then; } odd[] = {
	{ "AUTH", "501 5.5.4 *", NULL, NULL }, { "AUTH CRAM-MD5", "504 5.5.4 *", NULL, NULL }, { "AUTH EXTERNAL =", "504 5.5.4 *", NULL, NULL },
	{ "AUTH PLAIN", "334 ", "*", "501 5.7.0 *" }, { "AUTH PLAIN", "334 ", "not base64!", "501 5.5.2 *" }, { "AUTH PLAIN", "334 ", "", "501 5.5.2 *" },
	{ "AUTH PLAIN =", "501 5.5.2 *", NULL, NULL }, { "AUTH PLAIN AHVzZXI=", "501 5.5.2 *", NULL, NULL }, { "AUTH PLAIN " PLAIN_GOOD " x", "501 5.5.2 *", NULL, NULL },
	{ "AUTH LOGIN", "334 VXNlcm5hbWU6", "*", "501 *" }, { "AUTH LOGIN dXNlcg==", "334 UGFzc3dvcmQ6", "cGVuY2ls", "235 *" },
	{ "AUTH SCRAM-SHA-256", "334 ", "*", "501 *" }, { "AUTH SCRAM-SHA-1", "504 *", NULL, NULL }, { "auth plain " PLAIN_GOOD, "235 *", NULL, NULL },
};

START_TEST(odd_logins_are_answered_and_the_session_goes_on)
{
	struct site_client c;

	start();
	inside(&c);
	ask(&c, odd[_i].say, odd[_i].reply);
	if (odd[_i].then)
		ask(&c, odd[_i].then, odd[_i].reply_then);
	ask(&c, "NOOP", "250 *");
	ask(&c, "QUIT", "221 *");
	site_hang_up(&c);
	stop();
}
END_TEST

START_TEST(a_line_without_end_is_no_response)
{
	struct site_client c;
	struct buf line = { 0 };

	start();
	inside(&c);
	ask(&c, "AUTH PLAIN", "334 ");
	for (int i = 0; i < 13000; i++)
		buf_char(&line, 'A');
	buf_puts(&line, "\r\n");
	site_send(&c, line.p, line.n);
	site_expect(&c, "500 5.5.6 *");
	ask(&c, "NOOP", "250 *");
	ask(&c, "QUIT", "221 *");
	site_hang_up(&c);
	buf_free(&line);
	stop();
}
END_TEST

START_TEST(a_failure_is_told_later_each_time_and_five_end_the_session)
{
	struct site_client c, other;

	start();
	inside(&c);
	for (int i = 0; i < 5; i++) {
		site_say(&c, i % 2 ? "AUTH PLAIN AG5vYm9keQBwZW5jaWw=\r\n" : "AUTH PLAIN " PLAIN_BAD "\r\n");       /* nobody, too */
		site_expect_nothing(&c);
		loop_advance(1000 * i + 900);
		site_expect_nothing(&c);
		inside(&other);                 /* nobody else waits for it */
		ask(&other, "QUIT", "221 *");
		site_hang_up(&other);
		loop_advance(200);
		site_expect(&c, "535 5.7.8 *");
	}
	site_expect(&c, "421 4.7.0 *");
	site_expect_end(&c);
	site_hang_up(&c);
	stop();
}
END_TEST

/* One login by SCRAM-SHA-256 with the right password, up to what the server says to the proof. */
static void prove(struct site_client *c, const char *reply)
{
	const char *why = NULL;
	struct saslc *client = saslc_begin(STR(" SCRAM-SHA-256"), SASLC_PASSWORD, "user", "pencil", true, &why);
	struct buf said = { 0 }, line = { 0 };
	unsigned char octets[500];
	size_t n = sizeof octets;
	char text[700];

	ck_assert(client && saslc_first(client, &said));
	buf_puts(&line, "AUTH SCRAM-SHA-256 ");
	base64_encode(&line, said.p, said.n);
	buf_puts(&line, "\r\n");
	site_send(c, line.p, line.n);
	site_listen(c);
	ck_assert(site_line(c, text, sizeof text) && !strncmp(text, "334 ", 4));
	ck_assert(base64_decode(str_of(text + 4), octets, &n));
	ck_assert_ptr_null(saslc_take(client, (struct str){ (char *)octets, n }, &said));
	buf_clear(&line);
	base64_encode(&line, said.p, said.n);
	buf_puts(&line, "\r\n");
	site_send(c, line.p, line.n);
	site_turn();
	loop_advance(10000);
	site_expect(c, reply);
	saslc_free(client);
	buf_free(&said);
	buf_free(&line);
}

START_TEST(who_has_guessed_too_often_learns_of_no_password_that_it_is_right)
{
	struct site_client c;

	start();
	for (int i = 0; i < 60; i++) {
		inside(&c);
		site_say(&c, "AUTH PLAIN " PLAIN_BAD "\r\n");
	site_turn();
		loop_advance(6000);
		site_expect(&c, "535 *");
		ask(&c, "QUIT", "221 *");
		site_hang_up(&c);
	}
	inside(&c);
	prove(&c, "535 5.7.8 *");
	ask(&c, "QUIT", "221 *");
	site_hang_up(&c);
	inside(&c);
	site_say(&c, "AUTH PLAIN " PLAIN_GOOD "\r\n");
	site_turn();
	loop_advance(6000);
	site_expect(&c, "535 5.7.8 *");
	ask(&c, "QUIT", "221 *");
	site_hang_up(&c);
	stop();
}
END_TEST

START_TEST(what_is_pipelined_behind_a_login_is_read_after_it)
{
	struct site_client c;

	start();
	inside(&c);
	site_say(&c, "AUTH PLAIN " PLAIN_GOOD "\r\nMAIL FROM:<user@here.test>\r\nNOOP\r\n");
	site_expect(&c, "235 *");
	site_expect(&c, "250 2.1.0 *");
	site_expect(&c, "250 2.0.0 *");
	ask(&c, "QUIT", "221 *");
	site_hang_up(&c);
	stop();
}
END_TEST

START_TEST(a_client_that_leaves_while_its_password_is_compared_is_no_trouble)
{
	struct site_client c;

	start();
	verify_stop();
	ck_assert_int_eq(verify_start(false), 0);
	inside(&c);
	site_say(&c, "AUTH PLAIN " PLAIN_GOOD "\r\n");
	site_hang_up(&c);
	for (int i = 0; i < 50; i++)
		loop_turn(10);
	stop();
}
END_TEST

START_TEST(other_servers_are_offered_no_login)
{
	struct site_client c;

	start();
	call(&c, SMTPD_MX);
	site_expect(&c, "220 *");
	site_say(&c, "EHLO client.test\r\n");
	site_listen(&c);
	ck_assert_ptr_null(memmem(c.got.p, c.got.n, "AUTH", 4));
	site_expect_reply(&c, "250 *");
	ask(&c, "AUTH PLAIN " PLAIN_GOOD, "502 *");
	ask(&c, "MAIL FROM:<a@b.test> AUTH=<>", "555 *");
	ask(&c, "QUIT", "221 *");
	site_hang_up(&c);
	stop();
}
END_TEST

#define ROWS(table) (int)(sizeof(table) / sizeof *(table))

Suite *smtpd_auth_suite(void);
Suite *smtpd_auth_suite(void)
{
	Suite *s = suite_create("smtpd_auth");
	TCase *t = tcase_create("submission");

	tcase_add_test(t, tls_from_the_first_octet_is_greeted_inside);
	tcase_add_test(t, words_in_clear_at_the_port_with_tls_get_no_answer);
	tcase_add_test(t, in_clear_nothing_is_offered_and_nothing_taken);
	tcase_add_test(t, who_logs_in_sends_to_anybody_and_the_trace_says_so);
#ifdef HAVE_IDN2
	tcase_add_test(t, a_user_of_an_international_domain_sends_as_people_write_it);
#endif
	tcase_add_test(t, who_asks_for_logins_gets_them_on_a_pipe_too);
	tcase_add_loop_test(t, one_sends_as_oneself, 0, ROWS(senders));
	tcase_add_loop_test(t, odd_logins_are_answered_and_the_session_goes_on, 0, ROWS(odd));
	tcase_add_test(t, a_line_without_end_is_no_response);
	tcase_add_test(t, a_failure_is_told_later_each_time_and_five_end_the_session);
	tcase_add_test(t, who_has_guessed_too_often_learns_of_no_password_that_it_is_right);
	tcase_add_test(t, what_is_pipelined_behind_a_login_is_read_after_it);
	tcase_add_test(t, a_client_that_leaves_while_its_password_is_compared_is_no_trouble);
	tcase_add_test(t, other_servers_are_offered_no_login);
	suite_add_tcase(s, t);
	return s;
}
