/* Strangers who come for the first time, or too often: who is put off, and who is not. */
#include <arpa/inet.h>
#include <check.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/loop.h"
#include "policy/greylist.h"
#include "policy/spf.h"
#include "smtpd/session.h"
#include "tests/server_rig.h"

Suite *smtpd_grey_suite(void);

/* SPF of pass.test lets all send, that of others nobody; slow.test never answers. */
static struct fact_ticket *waiting[4];
static size_t nwaiting;

static void ask(struct fact_source *source, enum fact_kind kind, struct str name, struct fact_ticket *ticket)
{
	struct record r = { .data = str_eq(name, STR("pass.test")) ? STR("v=spf1 +all") : STR("v=spf1 -all") };
	struct fact f = { .outcome = FOUND, .n = 1, .record = &r };

	(void)source;
	ck_assert_int_eq(kind, FACT_TXT);
	if (str_eq(name, STR("slow.test")))
		waiting[nwaiting++] = ticket;
	else
		fact_answer(ticket, &f);
}
static struct fact_source world = { .ask = ask };

static bool nobody(void *arg, const struct subject *who)
{
	(void)arg;
	return who->peer.ss_family == AF_INET && ntohl(((const struct sockaddr_in *)&who->peer)->sin_addr.s_addr) >> 8 == 0xcb0071;        /* 203.0.113 */
}

static struct greylist *list;

static void setup(void)
{
	site_start();
	list = greylist_open(queue_dir(), "greylist");
	ck_assert_ptr_nonnull(list);
	site_config.spf = SMTPD_SPF_NOTE;
	site_config.trusted = nobody;
	site_config.greylist = list;
	site_config.greylist_delay_s = 300;
	site_config.greylist_window_s = 86400;
	facts_source(FACT_TXT, &world);
	nwaiting = 0;
}

static void teardown(void)
{
	struct fact f = { .outcome = UNKNOWN, .why = "late" };

	site_stop();
	while (nwaiting)                /* too late */
		fact_answer(waiting[--nwaiting], &f);
	greylist_close(list);
	guests_forget();
	facts_source(FACT_TXT, NULL);
}

static void come(struct site_client *c, const char *from, enum smtpd_service service)
{
	struct sockaddr_storage peer = { .ss_family = AF_INET };
	int sv[2];

	ck_assert_int_eq(inet_pton(AF_INET, from, &((struct sockaddr_in *)&peer)->sin_addr), 1);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	site_adopt(c, sv[0]);
	ck_assert_int_eq(smtpd_session(sv[1], sv[1], service, &peer, NULL), 0);
	site_expect(c, "220 *");
	site_say(c, "EHLO client.test\r\n");
	site_expect_reply(c, "250 *");
}

static void say(struct site_client *c, const char *text, const char *reply)
{
	site_say(c, text);
	site_expect_reply(c, reply);
}

#define WAIT_TEXT "451 4.7.1 Greylisted: this is the first mail from there, it will be taken when it comes again in 5 minutes or later"

START_TEST(a_first_message_is_put_off_and_taken_when_it_comes_again)
{
	struct site_client c;

	come(&c, "192.0.2.1", SMTPD_MX);
	say(&c, "MAIL FROM:<a@other.test>\r\n", "250 *");
	say(&c, "RCPT TO:<b@here.test>\r\n", WAIT_TEXT);
	say(&c, "RCPT TO:<no@here.test>\r\n", "550 5.1.1 *");
	say(&c, "RCPT TO:<PostMaster@here.test>\r\n", "250 *");
	loop_advance(299000);
	say(&c, "RCPT TO:<b@here.test>\r\n", "451 4.7.1 *in 1 minute or later");
	loop_advance(1000);
	say(&c, "RCPT TO:<b@here.test>\r\n", "250 *");
	site_hang_up(&c);
}
END_TEST

START_TEST(whom_spf_lets_send_waits_for_nothing)
{
	struct site_client c;

	come(&c, "192.0.2.1", SMTPD_MX);
	site_say(&c, "MAIL FROM:<a@pass.test>\r\nRCPT TO:<b@here.test>\r\nRCPT TO:<c@here.test>\r\nDATA\r\n");
	site_expect(&c, "250 *");
	site_expect(&c, "250 *");
	site_expect(&c, "250 *");
	site_expect(&c, "354 *");
	say(&c, "Subject: x\r\n\r\n.\r\n", "250 *");
	site_config.spf = SMTPD_SPF_OFF;        /* then nobody knows */
	say(&c, "MAIL FROM:<a@pass.test>\r\n", "250 *");
	say(&c, "RCPT TO:<d@here.test>\r\n", WAIT_TEXT);
	site_hang_up(&c);
}
END_TEST

START_TEST(spf_that_does_not_answer_is_not_waited_for_for_ever)
{
	struct site_client c;

	come(&c, "192.0.2.1", SMTPD_MX);
	say(&c, "MAIL FROM:<a@slow.test>\r\n", "250 *");
	site_say(&c, "RCPT TO:<b@here.test>\r\nRCPT TO:<c@here.test>\r\n");
	site_expect_nothing(&c);
	loop_advance(1000 * SPF_TIME_S);
	site_expect(&c, WAIT_TEXT);
	site_expect(&c, WAIT_TEXT);
	site_hang_up(&c);
	come(&c, "192.0.2.1", SMTPD_MX);
	say(&c, "MAIL FROM:<a@slow.test>\r\n", "250 *");
	site_say(&c, "RCPT TO:<b@here.test>\r\n");
	site_hang_up(&c);               /* and may go meanwhile */
	site_turn();
}
END_TEST

START_TEST(no_friend_is_put_off)
{
	struct site_client c;

	come(&c, "203.0.113.9", SMTPD_MX);
	say(&c, "MAIL FROM:<a@other.test>\r\n", "250 *");
	say(&c, "RCPT TO:<b@here.test>\r\n", "250 *");
	site_hang_up(&c);
	site_connect(&c);               /* a local program */
	site_expect(&c, "220 *");
	say(&c, "HELO x.test\r\n", "250 *");
	say(&c, "MAIL FROM:<a@other.test>\r\n", "250 *");
	say(&c, "RCPT TO:<b@here.test>\r\n", "250 *");
	site_hang_up(&c);
}
END_TEST

START_TEST(a_recipient_gets_so_much_from_strangers_an_hour)
{
	struct site_client c, friend;

	site_config.greylist = NULL;
	site_config.rcpt_per_hour = 2;
	come(&c, "192.0.2.1", SMTPD_MX);
	come(&friend, "203.0.113.9", SMTPD_MX);
	say(&c, "MAIL FROM:<a@other.test>\r\n", "250 *");
	say(&c, "RCPT TO:<b@here.test>\r\n", "250 *");
	say(&c, "RCPT TO:<b@HERE.test>\r\n", "250 *");
	say(&c, "RCPT TO:<b@here.test>\r\n", "451 4.7.1 This recipient gets too much mail from outside, try again later");
	say(&c, "RCPT TO:<c@here.test>\r\n", "250 *");
	for (int i = 0; i < 5; i++)
		say(&c, "RCPT TO:<postmaster@here.test>\r\n", "250 *");
	say(&friend, "MAIL FROM:<a@other.test>\r\n", "250 *");
	say(&friend, "RCPT TO:<b@here.test>\r\n", "250 *");
	site_hang_up(&friend);
	site_hang_up(&c);
	site_turn();
	loop_advance(3600000);
	come(&c, "198.51.100.1", SMTPD_MX);
	say(&c, "MAIL FROM:<a@other.test>\r\n", "250 *");
	say(&c, "RCPT TO:<b@here.test>\r\n", "250 *");
	site_hang_up(&c);
}
END_TEST

START_TEST(a_domain_sends_so_much_an_hour_from_wherever)
{
	struct site_client c;

	site_config.greylist = NULL;
	site_config.domain_per_hour = 2;
	for (int i = 0; i < 3; i++) {
		come(&c, i ? "198.51.100.1" : "192.0.2.1", SMTPD_MX);
		say(&c, i ? "MAIL FROM:<b@other.TEST>\r\n" : "MAIL FROM:<a@other.test>\r\n",
			i < 2 ? "250 *" : "451 4.7.1 Too much mail comes from other.test, try again later");
		say(&c, "RSET\r\n", "250 *");
		say(&c, "MAIL FROM:<>\r\n", "250 *");
		say(&c, "RSET\r\n", "250 *");
		say(&c, i == 0 ? "MAIL FROM:<a@third.test>\r\n" : "NOOP\r\n", "250 *");
		site_hang_up(&c);
	}
}
END_TEST

Suite *smtpd_grey_suite(void)
{
	Suite *s = suite_create("smtpd_grey");
	TCase *t = tcase_create("all");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, a_first_message_is_put_off_and_taken_when_it_comes_again);
	tcase_add_test(t, whom_spf_lets_send_waits_for_nothing);
	tcase_add_test(t, spf_that_does_not_answer_is_not_waited_for_for_ever);
	tcase_add_test(t, no_friend_is_put_off);
	tcase_add_test(t, a_recipient_gets_so_much_from_strangers_an_hour);
	tcase_add_test(t, a_domain_sends_so_much_an_hour_from_wherever);
	suite_add_tcase(s, t);
	return s;
}
