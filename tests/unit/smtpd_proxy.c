/* Who stands in front: the PROXY protocol, versions 1 and 2, and XCLIENT. */
#include <arpa/inet.h>
#include <check.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "smtpd/session.h"
#include "tests/server_rig.h"

#define S(literal) { literal, sizeof(literal) - 1 }
#define V2 "\r\n\r\n\0\r\nQUIT\n"

static const struct { struct str in; enum proxy is; size_t used; const char *peer; } headers[] = {
	{ S("PROXY TCP4 192.0.2.1 192.0.2.2 1024 25\r\nEHLO"), PROXY_FOUND, 40, "192.0.2.1" },
	{ S("PROXY TCP6 2001:db8::1 2001:db8::2 1024 25\r\n"), PROXY_FOUND, 44, "2001:db8::1" },
	{ S("PROXY UNKNOWN\r\nEHLO"), PROXY_ITSELF, 15, NULL }, { S("PROXY UNKNOWN what ever\r\n"), PROXY_ITSELF, 25, NULL },
	{ S(""), PROXY_MORE, 0, NULL }, { S("PRO"), PROXY_MORE, 0, NULL }, { S("PROXY TCP4 192.0.2.1"), PROXY_MORE, 0, NULL },
	{ S("PROXY TCP4 192.0.2.1 192.0.2.2 1024\r\n"), PROXY_WRONG, 0, NULL }, { S("PROXY TCP4 192.0.2.1 192.0.2.2 1024 65536\r\n"), PROXY_WRONG, 0, NULL },
	{ S("PROXY TCP4 2001:db8::1 192.0.2.2 1 2\r\n"), PROXY_WRONG, 0, NULL }, { S("PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n"), PROXY_WRONG, 0, NULL },
	{ S("PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n"), PROXY_WRONG, 0, NULL }, { S("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n"), PROXY_MORE, 0, NULL },
	{ S("EHLO client.example\r\n"), PROXY_WRONG, 0, NULL }, { S("PROXYTCP4 "), PROXY_WRONG, 0, NULL }, { S("\x16\x03\x01"), PROXY_WRONG, 0, NULL },
	{ S("PROXY TCP4 192.0.2.1 192.0.2.2 1 2                                                                                 \r\n"), PROXY_WRONG, 0, NULL },
	{ S(V2 "\x21\x11\0\x0c\xc0\0\2\1\xc0\0\2\2\4\0\0\x19" "EHLO"), PROXY_FOUND, 28, "192.0.2.1" },
	{ S(V2 "\x21\x11\0\x0f\xc0\0\2\1\xc0\0\2\2\4\0\0\x19" "\3\0\0EHLO"), PROXY_FOUND, 31, "192.0.2.1" },
	{ S(V2 "\x21\x21\0\x24\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\2\4\0\0\x19"), PROXY_FOUND, 52, "2001:db8::1" },
	{ S(V2 "\x20\0\0\0"), PROXY_ITSELF, 16, NULL }, { S(V2 "\x21\0\0\0"), PROXY_ITSELF, 16, NULL }, { S(V2 "\x21\x31\0\2ab"), PROXY_ITSELF, 18, NULL },
	{ S(V2 "\x21\x11\0\x0b" "12345678901"), PROXY_WRONG, 0, NULL }, { S(V2 "\x11\x11\0\x0c"), PROXY_WRONG, 0, NULL }, { S(V2 "\x22\x11\0\x0c"), PROXY_WRONG, 0, NULL },
	{ S(V2 "\x21\x11\xff\xff"), PROXY_WRONG, 0, NULL }, { S(V2 "\x21\x11\0\x0c\xc0"), PROXY_MORE, 0, NULL }, { S(V2), PROXY_MORE, 0, NULL },
	{ S("\r\n\r\n\0\r\nQUIX"), PROXY_WRONG, 0, NULL }, { S("\r\n"), PROXY_MORE, 0, NULL },
};

START_TEST(a_header_says_who_it_is_or_is_none)
{
	struct sockaddr_storage peer;
	char text[INET6_ADDRSTRLEN];
	size_t used;

	ck_assert_int_eq(proxy_parse(headers[_i].in, &used, &peer), headers[_i].is);
	if (headers[_i].is == PROXY_FOUND || headers[_i].is == PROXY_ITSELF)
		ck_assert_uint_eq(used, headers[_i].used);
	if (!headers[_i].peer)
		return;
	inet_ntop(peer.ss_family, peer.ss_family == AF_INET ? (void *)&((struct sockaddr_in *)&peer)->sin_addr :
		(void *)&((struct sockaddr_in6 *)&peer)->sin6_addr, text, sizeof text);
	ck_assert_str_eq(text, headers[_i].peer);
}
END_TEST

START_TEST(a_header_in_pieces_is_awaited)
{
	struct sockaddr_storage peer;
	size_t used;

	for (size_t i = 0; headers[_i].is == PROXY_FOUND && i < headers[_i].used; i++)
		ck_assert_int_eq(proxy_parse((struct str){ headers[_i].in.p, i }, &used, &peer), PROXY_MORE);
}
END_TEST

/* ---- sessions */

static bool is_proxy(void *arg, const struct subject *s)
{
	(void)arg;
	return !strcmp(s->peer_text, "192.0.2.200");
}

static void call(struct site_client *c, unsigned last, enum smtpd_service service)
{
	struct sockaddr_storage peer = { 0 };
	struct sockaddr_in *in = (struct sockaddr_in *)&peer;
	int sv[2];

	in->sin_family = AF_INET;
	in->sin_addr.s_addr = htonl(0xc0000200 + last);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	site_adopt(c, sv[0]);
	ck_assert_int_eq(smtpd_session(sv[1], sv[1], service, &peer, NULL), 0);
}

static void send_one(struct site_client *c)
{
	site_say(c, "MAIL FROM:<a@b.example>\r\nRCPT TO:<yes@example.org>\r\nDATA\r\n");
	site_expect(c, "250 *");
	site_expect(c, "250 *");
	site_expect(c, "354 *");
	site_say(c, "Subject: x\r\n\r\n.\r\n");
	site_expect(c, "250 *");
}

static void expect_message(const char *text)
{
	struct buf envelope = { 0 }, message = { 0 };

	ck_assert(site_message(NULL, &envelope, &message));
	ck_assert_msg(memmem(message.p, message.n, text, strlen(text)) != NULL, "%.*s", (int)message.n, message.p);
	buf_free(&envelope);
	buf_free(&message);
}

START_TEST(the_client_is_whom_the_proxy_names)
{
	static const char line[] = "PROXY TCP4 198.51.100.9 192.0.2.2 1024 25\r\n";
	struct site_client c;

	site_start();
	site_config.proxy = is_proxy;
	call(&c, 200, SMTPD_MX);
	for (const char *p = line; *p; p++) {
		site_expect_nothing(&c);
		site_send(&c, p, 1);
	}
	site_listen(&c);
	site_expect(&c, "220 *");
	site_say(&c, "EHLO client.example\r\n");
	site_expect_reply(&c, "250 *");
	send_one(&c);
	expect_message("from client.example ([198.51.100.9])");
	site_hang_up(&c);
	site_turn();
	site_stop();
}
END_TEST

START_TEST(who_is_no_proxy_is_not_believed_and_who_is_must_say_so)
{
	struct site_client c;

	site_start();
	site_config.proxy = is_proxy;
	call(&c, 7, SMTPD_MX);
	site_expect(&c, "220 *");
	site_say(&c, "PROXY TCP4 198.51.100.9 192.0.2.2 1024 25\r\n");
	site_expect(&c, "500 *");
	site_hang_up(&c);
	call(&c, 200, SMTPD_MX);
	site_say(&c, "EHLO client.example\r\n");
	site_expect_end(&c);
	site_hang_up(&c);
	call(&c, 200, SMTPD_MX);
	site_expect_nothing(&c);
	loop_advance(11000);
	site_expect_end(&c);
	site_hang_up(&c);
	site_stop();
}
END_TEST

START_TEST(tls_may_follow_the_header_in_the_same_segment)
{
	struct site_client c;

	site_start();
	site_config.proxy = is_proxy;
	site_config.tls = wire_server();
	call(&c, 200, SMTPD_SUBMISSIONS);
	ck_assert_int_eq(send(c.fd, "PROXY TCP4 198.51.100.9 192.0.2.2 1024 465\r\n", 44, 0), 44);
	site_starttls(&c, NULL, false);         /* the hello is there before the server looks */
	site_expect(&c, "220 *");
	site_say(&c, "QUIT\r\n");
	site_expect(&c, "221 *");
	site_hang_up(&c);
	site_stop();
}
END_TEST

START_TEST(xclient_is_for_those_who_may_and_begins_anew)
{
	struct site_client c;
	char line[300];

	site_start();
	call(&c, 200, SMTPD_MX);
	site_expect(&c, "220 *");
	site_say(&c, "EHLO filter.example\r\nXCLIENT ADDR=198.51.100.9\r\n");
	site_listen(&c);
	ck_assert_ptr_null(memmem(c.got.p, c.got.n, "250-XCLIENT", 11));
	site_expect_reply(&c, "250 *");
	site_expect(&c, "550 5.7.0 *");
	site_hang_up(&c);
	site_config.xclient = is_proxy;
	call(&c, 200, SMTPD_MX);
	site_expect(&c, "220 *");
	site_say(&c, "EHLO filter.example\r\n");
	site_listen(&c);
	ck_assert_ptr_nonnull(memmem(c.got.p, c.got.n, "250-XCLIENT NAME ADDR", 21));
	site_expect_reply(&c, "250 *");
	site_say(&c, "XCLIENT ADDR=x\r\n");
	site_expect(&c, "501 *");
	site_say(&c, "XCLIENT COLOUR=red\r\n");
	site_expect(&c, "501 *");
	site_say(&c, "XCLIENT HELO=a+0Db\r\n");
	site_expect(&c, "501 *");
	site_say(&c, "XCLIENT LOGIN=anna LOGIN=[UNAVAILABLE]\r\n");
	site_expect(&c, "501 *");
	snprintf(line, sizeof line, "XCLIENT ADDR=198.51.100.9 LOGIN=%0129d\r\n", 0);
	site_say(&c, line);
	site_turn();
	loop_advance(5000);             /* so many errors cost a pause */
	site_expect(&c, "501 *");
	site_say(&c, "XCLIENT NAME=[UNAVAILABLE] ADDR=198.51.100.9 HELO=client.example PROTO=ESMTP LOGIN=anna\r\n");
	site_turn();
	loop_advance(5000);
	site_expect(&c, "220 *");
	site_say(&c, "MAIL FROM:<a@b.example>\r\n");
	site_expect(&c, "503 *");
	site_say(&c, "EHLO client.example\r\n");
	site_expect_reply(&c, "250 *");
	send_one(&c);
	expect_message("from client.example ([198.51.100.9])\r\n\tby mx.example.org with ESMTPA id");
	site_say(&c, "XCLIENT ADDR=IPV6:2001:db8::5 LOGIN=[UNAVAILABLE]\r\n");
	site_expect(&c, "220 *");
	site_hang_up(&c);
	site_turn();
	site_stop();
}
END_TEST

/* A filter says it once for each client, over one connection. */
START_TEST(what_one_client_did_costs_the_next_nothing)
{
	struct site_client c;

	site_start();
	site_config.xclient = is_proxy;
	call(&c, 200, SMTPD_MX);
	site_expect(&c, "220 *");
	for (int i = 0; i < 60; i++) {
		char line[100];

		snprintf(line, sizeof line, "XCLIENT ADDR=198.51.100.%d\r\n", i + 1);
		site_say(&c, line);
		site_expect(&c, "220 *");
		site_say(&c, "EHLO client.example\r\nFOO\r\n");
		site_expect_reply(&c, "250 *");
		site_expect(&c, "500 *");
	}
	site_hang_up(&c);
	site_stop();
}
END_TEST

START_TEST(who_was_named_before_starttls_is_nobody_behind_it)
{
	struct site_client c;

	site_start();
	site_config.xclient = is_proxy;
	site_config.tls = wire_server();
	call(&c, 200, SMTPD_MX);
	site_expect(&c, "220 *");
	site_say(&c, "XCLIENT ADDR=198.51.100.9 LOGIN=anna\r\n");
	site_expect(&c, "220 *");
	site_say(&c, "EHLO client.example\r\n");
	site_expect_reply(&c, "250 *");
	site_say(&c, "STARTTLS\r\n");
	site_expect(&c, "220 *");
	site_starttls(&c, NULL, false);
	site_say(&c, "EHLO client.example\r\n");
	site_expect_reply(&c, "250 *");
	send_one(&c);
	expect_message("with ESMTPS id");
	site_hang_up(&c);
	site_stop();
}
END_TEST

Suite *smtpd_proxy_suite(void);
Suite *smtpd_proxy_suite(void)
{
	Suite *s = suite_create("smtpd_proxy");
	TCase *t = tcase_create("in front");

	tcase_add_loop_test(t, a_header_says_who_it_is_or_is_none, 0, (int)(sizeof headers / sizeof *headers));
	tcase_add_loop_test(t, a_header_in_pieces_is_awaited, 0, (int)(sizeof headers / sizeof *headers));
	tcase_add_test(t, the_client_is_whom_the_proxy_names);
	tcase_add_test(t, who_is_no_proxy_is_not_believed_and_who_is_must_say_so);
	tcase_add_test(t, tls_may_follow_the_header_in_the_same_segment);
	tcase_add_test(t, xclient_is_for_those_who_may_and_begins_anew);
	tcase_add_test(t, what_one_client_did_costs_the_next_nothing);
	tcase_add_test(t, who_was_named_before_starttls_is_nobody_behind_it);
	suite_add_tcase(s, t);
	return s;
}
