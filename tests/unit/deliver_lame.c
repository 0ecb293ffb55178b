/* Which addresses are called in clear, and how long. */
#include "deliver/lame.h"

#include <arpa/inet.h>
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "lib/loop.h"

Suite *deliver_lame_suite(void);

static struct sockaddr_storage ss;

static const struct sockaddr *address(const char *text, unsigned port)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)&ss;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&ss;

	memset(&ss, 0, sizeof ss);
	if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)port);
	} else if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons((uint16_t)port);
	} else {
		ss.ss_family = AF_UNIX;
	}
	return (const struct sockaddr *)&ss;
}

static void begin(void)
{
	loop_virtual_clock(1795424400);
	lame_forget_all();
}

START_TEST(an_address_is_remembered_for_an_hour)
{
	ck_assert(!lame_noted(address("192.0.2.1", 25)));
	lame_note(address("192.0.2.1", 25), LAME_TLS);
	lame_note(address("2001:db8::1", 25), LAME_TLS);
	ck_assert(lame_noted(address("192.0.2.1", 25)) && lame_noted(address("2001:db8::1", 25)));
	lame_note(address("192.0.2.1", 25), LAME_CHUNKING);
	ck_assert_uint_eq(lame_noted(address("192.0.2.1", 25)), LAME_TLS | LAME_CHUNKING);
	ck_assert_uint_eq(lame_most(address("192.0.2.1", 25), LAME_RCPTS), 0);
	lame_note_most(address("192.0.2.1", 25), LAME_RCPTS, 10);
	ck_assert_uint_eq(lame_most(address("192.0.2.1", 25), LAME_RCPTS), 10);
	ck_assert_uint_eq(lame_most(address("192.0.2.1", 25), LAME_LINES), 0);
	ck_assert_uint_eq(lame_noted(address("192.0.2.1", 25)), LAME_TLS | LAME_CHUNKING);
	ck_assert(!lame_noted(address("192.0.2.2", 25)) && !lame_noted(address("192.0.2.1", 587)));
	loop_advance(3599 * 1000);
	ck_assert(lame_noted(address("192.0.2.1", 25)));
	loop_advance(1000);
	ck_assert(!lame_noted(address("192.0.2.1", 25)));
	lame_note(address("192.0.2.1", 25), LAME_TLS);
	ck_assert(lame_noted(address("192.0.2.1", 25)));
}
END_TEST

START_TEST(what_is_noted_of_one_thing_does_not_lengthen_another)
{
	lame_note(address("192.0.2.1", 25), LAME_TLS);
	loop_advance(3000 * 1000);
	lame_note_most(address("192.0.2.1", 25), LAME_RCPTS, 10);
	lame_note(address("192.0.2.1", 25), LAME_CHUNKING);
	loop_advance(600 * 1000);
	ck_assert_uint_eq(lame_noted(address("192.0.2.1", 25)), LAME_CHUNKING);
	ck_assert_uint_eq(lame_most(address("192.0.2.1", 25), LAME_RCPTS), 10);
}
END_TEST

START_TEST(a_host_that_was_busy_once_gets_a_connection_more_every_two_minutes)
{
	lame_note_most(address("192.0.2.1", 25), LAME_LINES, 1);
	lame_note_most(address("192.0.2.1", 25), LAME_RCPTS, 1);
	loop_advance(119 * 1000);
	ck_assert_uint_eq(lame_most(address("192.0.2.1", 25), LAME_LINES), 1);
	loop_advance(1000);
	ck_assert_uint_eq(lame_most(address("192.0.2.1", 25), LAME_LINES), 2);
	loop_advance(360 * 1000);
	ck_assert_uint_eq(lame_most(address("192.0.2.1", 25), LAME_LINES), 5);
	ck_assert_uint_eq(lame_most(address("192.0.2.1", 25), LAME_RCPTS), 1);
	/* It has not taken that many: from there again. */
	lame_note_most(address("192.0.2.1", 25), LAME_LINES, 4);
	ck_assert_uint_eq(lame_most(address("192.0.2.1", 25), LAME_LINES), 4);
}
END_TEST

START_TEST(the_first_give_way_to_the_last)
{
	char text[20];

	for (int i = 0; i < 1000; i++) {
		snprintf(text, sizeof text, "10.0.%d.%d", i / 250, i % 250);
		lame_note(address(text, 25), LAME_TLS);
		lame_note(address(text, 25), LAME_TLS);  /* again is no second one */
	}
	ck_assert(!lame_noted(address("10.0.0.0", 25)));
	ck_assert(lame_noted(address("10.0.3.249", 25)));
	ck_assert(lame_noted(address("10.0.2.0", 25)));
}
END_TEST

START_TEST(a_local_socket_is_no_host)
{
	lame_note(address("/run/lmtp", 0), LAME_TLS);
	ck_assert(!lame_noted(address("/run/lmtp", 0)));
}
END_TEST

Suite *deliver_lame_suite(void)
{
	Suite *s = suite_create("deliver_lame");
	TCase *t = tcase_create("clear");

	tcase_add_checked_fixture(t, begin, NULL);
	tcase_add_test(t, an_address_is_remembered_for_an_hour);
	tcase_add_test(t, what_is_noted_of_one_thing_does_not_lengthen_another);
	tcase_add_test(t, a_host_that_was_busy_once_gets_a_connection_more_every_two_minutes);
	tcase_add_test(t, the_first_give_way_to_the_last);
	tcase_add_test(t, a_local_socket_is_no_host);
	suite_add_tcase(s, t);
	return s;
}
