/* Orders about one message: read when it is opened, whoever gave them and when. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/loop.h"
#include "queue/inside.h"
#include "tests/queue_rig.h"

Suite *queue_order_suite(void);

static void give(const char *rows)
{
	ck_assert_int_eq(queue_order(queue_dir(), rig_id, str_of(rows)), 0);
	queue_wake();
}

static void waits_until_told(const char *to)
{
	static const struct rig_answer rows[] = { { "", RESULT_DEFERRED, BLAME_RCPT, 450, "4.2.0 later" } };

	rig_open();
	rig_answers(rows, 1);
	ck_assert(rig_put("a@x.example", to));
	rig_turn();
	ck_assert_uint_eq(rig.settled[RESULT_DEFERRED] > 0, 1);
}

/* As `fardel queue fail` does it: the order first, then the name. */
static void make_due(const char *dest)
{
	char name[300], now[300];
	const char *rest;

	snprintf(name, sizeof name, "%s", rig_name(dest));
	rest = strchr(name, '.');
	snprintf(now, sizeof now, "%lld%s", (long long)loop_wall(), rest);
	rig_mv(name, now);
	queue_wake();
	rig_turn();
}

START_TEST(whom_an_order_gives_up_fails_with_its_words_and_a_report)
{
	waits_until_told("b@y.example c@y.example");
	give("fail b@y.example not wanted here\n");
	make_due("y.example");
	ck_assert_uint_eq(rig.settled[RESULT_FAILED], 1);
	ck_assert_uint_eq(rig.reports[REPORT_FINAL], 1);
	ck_assert_str_eq(rig_cur(), "1 x.example, 2 y.example");
	ck_assert_ptr_nonnull(strstr(rig_read("cur", rig_name("y.example")), "failed 1<b@y.example> y.example.1 5.0.0 - not wanted here"));
	rig_close();
}
END_TEST

START_TEST(an_order_for_a_domain_is_for_all_of_it_and_goes_with_the_message)
{
	waits_until_told("b@y.example c@Y.example");
	give("fail y.example enough\n");
	ck_assert_uint_eq(rig_count("orders"), 1);
	make_due("y.example");
	ck_assert_uint_eq(rig.settled[RESULT_FAILED], 2);
	ck_assert_uint_eq(rig_count("orders"), 0);
	ck_assert_ptr_null(strstr(rig_cur(), "y.example"));
	rig_close();
}
END_TEST

START_TEST(an_order_given_while_nobody_delivers_is_seen_at_the_start)
{
	waits_until_told("b@y.example");
	rig_crash();
	rig_start();
	rig_crash();
	rig.conf.schedule = false;
	rig_start();
	ck_assert_int_eq(queue_order(queue_dir(), rig_id, STR("fail * enough\n")), 0);
	queue_close();
	rig.conf.schedule = true;
	rig_start();
	ck_assert_uint_eq(rig.settled[RESULT_FAILED], 0);
	make_due("y.example");
	ck_assert_uint_eq(rig.settled[RESULT_FAILED], 1);
	rig_close();
}
END_TEST

START_TEST(an_order_given_while_a_message_is_tried_counts_as_soon_as_that_has_failed)
{
	static const struct rig_answer answers[] = { { "", RESULT_DEFERRED, BLAME_RCPT, 450, "4.2.0 later" } };

	rig_open();
	rig_answers(answers, 1);
	rig.by_hand = true;
	ck_assert(rig_put("a@x.example", "b@y.example"));
	rig_turn();
	ck_assert_uint_eq(rig.nheld, 1);
	give("fail b@y.example enough\n");
	rig_turn();
	ck_assert_uint_eq(rig.settled[RESULT_FAILED], 0);
	rig_finish(0, false);
	rig_turn();
	ck_assert_uint_eq(rig.settled[RESULT_FAILED], 1);
	rig_close();
}
END_TEST

START_TEST(an_order_makes_a_message_due_that_had_moved_on)
{
	waits_until_told("b@y.example");
	give("fail b@y.example enough\n");
	rig_turn();
	ck_assert_uint_eq(rig.settled[RESULT_FAILED], 1);
	rig_close();
}
END_TEST

START_TEST(what_is_ordered_another_way_waits_for_nobody_on_the_old_one)
{
	static const struct rig_answer dead[] = { { "@y.example", RESULT_DEFERRED, BLAME_DEST, 0, "connect: timed out" } };

	rig_open();
	rig_answers(dead, 1);
	ck_assert(rig_put("a@x.example", "b@y.example"));
	rig_turn();
	ck_assert(rig_put("a@x.example", "c@y.example"));       /* behind a dead destination */
	rig_turn();
	ck_assert_uint_eq(rig.nsent, 1);
	rig_answers(NULL, 0);
	give("route y.example other.example\n");
	rig_turn();
	ck_assert_uint_eq(rig_got("c@y.example"), 1);
	ck_assert_uint_eq(rig_got("b@y.example"), 1);
	ck_assert_str_eq(rig_cur(), "1 y.example");
	ck_assert_uint_eq(rig_count("orders"), 0);
	rig_close();
}
END_TEST

static const struct { const char *text; bool good; } rows[] = {
	{ "fail y.example x\n", true }, { "# a word\n\nfail y.example x\n", true }, { "fail \"a b\"@y.example x y\n", true }, { "", true },
	{ "fail y.example\n", false }, { "fail\n", false }, { "burn y.example x\n", false }, { "fail y.example x", false },
	{ "fail \"a b@y.example x\n", false }, { "fail y.example x\nnonsense\n", false },
};

START_TEST(an_order_that_cannot_be_understood_keeps_the_message_waiting)
{
	struct buf text = { 0 };
	struct message *m;

	waits_until_told("b@z.example");
	ck_assert_int_eq(mkdirat(queue_dir(), "orders", 0700), 0);
	rig_write("orders", rig_id, rows[_i].text, strlen(rows[_i].text));
	ck_assert(!order_read(queue_dir(), rig_id, &text) == rows[_i].good);
	buf_free(&text);
	rig_answers(NULL, 0);
	make_due("z.example");
	ck_assert_uint_eq(rig.settled[RESULT_DELIVERED], rows[_i].good ? 1 : 0);
	ck_assert((m = index_message(str_of(rig_id))) == NULL || !rows[_i].good);
	if (!rows[_i].good) {           /* mended by hand */
		rig_write("orders", rig_id, "", 0);
		rig_run(61);
		ck_assert_uint_eq(rig.settled[RESULT_DELIVERED], 1);
	}
	rig_close();
}
END_TEST

START_TEST(an_order_stays_for_those_who_still_wait)
{
	static const struct rig_answer later[] = { { "@z.example", RESULT_DEFERRED, BLAME_RCPT, 450, "4.2.0 later" } };

	waits_until_told("b@y.example c@z.example");
	rig_answers(later, 1);
	give("route z.example other.example\n");
	rig_run(1);
	ck_assert_str_eq(rig_cur(), "2 z.example");
	ck_assert_uint_eq(rig_count("orders"), 1);
	rig_answers(NULL, 0);
	make_due("z.example");
	ck_assert_str_eq(rig_cur(), "");
	ck_assert_uint_eq(rig_count("orders"), 0);
	rig_close();
}
END_TEST

START_TEST(a_message_whose_order_cannot_be_read_waits)
{
	char path[100];

	waits_until_told("b@y.example");
	ck_assert_int_eq(mkdirat(queue_dir(), "orders", 0700), 0);
	snprintf(path, sizeof path, "orders/%s", rig_id);
	ck_assert_int_eq(mkdirat(queue_dir(), path, 0700), 0);
	rig_answers(NULL, 0);
	make_due("y.example");
	ck_assert_uint_eq(rig.settled[RESULT_DELIVERED], 0);
	ck_assert_int_eq(unlinkat(queue_dir(), path, AT_REMOVEDIR), 0);
	rig_run(61);
	ck_assert_uint_eq(rig.settled[RESULT_DELIVERED], 1);
	rig_close();
}
END_TEST

static void touch_orders(void)
{
	struct timespec now[2] = { { .tv_sec = loop_wall() }, { .tv_sec = loop_wall() } };

	ck_assert_int_eq(utimensat(queue_dir(), "orders", now, 0), 0);
}

/* The directory's time does not tell them apart. */
START_TEST(two_orders_in_one_grain_of_the_clock_are_two)
{
	char first[ID_MAX], second[ID_MAX];

	waits_until_told("b@y.example");
	snprintf(first, sizeof first, "%s", rig_id);
	ck_assert(rig_put("a@x.example", "b@z.example"));
	snprintf(second, sizeof second, "%s", rig_id);
	rig_turn();
	ck_assert_int_eq(queue_order(queue_dir(), first, STR("fail * enough\n")), 0);
	touch_orders();
	orders_look(true);
	ck_assert_int_eq(queue_order(queue_dir(), second, STR("fail * enough\n")), 0);
	touch_orders();
	orders_look(true);
	rig_turn();
	ck_assert_uint_eq(rig.settled[RESULT_FAILED], 2);
	rig_close();
}
END_TEST

START_TEST(the_last_row_about_somebody_counts)
{
	static const struct addr anna = { STR("anna"), STR("y.example") }, ben = { STR("ben"), STR("Y.EXAMPLE") }, none = { STR("x"), STR("z.example") };
	const struct str text = STR("fail * one\nfail y.example two\nroute y.example mx\nfail anna@y.example three\n");

	ck_assert(str_eq(order_row(text, "fail", &none), STR("one")));
	ck_assert(str_eq(order_row(text, "fail", &ben), STR("two")));
	ck_assert(str_eq(order_row(text, "fail", &anna), STR("three")));
	ck_assert(str_eq(order_row(text, "route", &anna), STR("mx")));
	ck_assert_uint_eq(order_row(text, "route", &none).n, 0);
}
END_TEST

START_TEST(rows_are_added_to_those_that_are_there)
{
	struct buf text = { 0 };

	waits_until_told("b@y.example");
	give("fail a@y.example x\n");
	give("fail c@y.example y\n");
	ck_assert_ptr_null(order_read(queue_dir(), rig_id, &text));
	ck_assert(str_eq(buf_view(&text), STR("fail a@y.example x\nfail c@y.example y\n")));
	ck_assert_uint_eq(rig_count("orders"), 1);
	buf_free(&text);
	rig_close();
}
END_TEST

START_TEST(an_order_whose_message_left_long_ago_is_swept)
{
	struct timespec old[2] = { { .tv_sec = RIG_WALL - 200000 }, { .tv_sec = RIG_WALL - 200000 } };

	waits_until_told("b@y.example");
	give("fail c@other.example x\n");
	rig_rm(rig_name("y.example"));
	rig_run(30);
	ck_assert_str_eq(rig_cur(), "");
	ck_assert_uint_eq(rig_count("orders"), 1);
	ck_assert_int_eq(utimensat(queue_dir(), "orders", old, 0), 0);
	{
		char path[100];

		snprintf(path, sizeof path, "orders/%s", rig_id);
		ck_assert_int_eq(utimensat(queue_dir(), path, old, 0), 0);
	}
	orders_forget();
	queue_wake();
	ck_assert_uint_eq(rig_count("orders"), 0);
	rig_close();
}
END_TEST

Suite *queue_order_suite(void)
{
	Suite *s = suite_create("queue_order");
	TCase *c = tcase_create("order");

	tcase_add_test(c, whom_an_order_gives_up_fails_with_its_words_and_a_report);
	tcase_add_test(c, an_order_for_a_domain_is_for_all_of_it_and_goes_with_the_message);
	tcase_add_test(c, an_order_given_while_nobody_delivers_is_seen_at_the_start);
	tcase_add_test(c, an_order_given_while_a_message_is_tried_counts_as_soon_as_that_has_failed);
	tcase_add_test(c, an_order_makes_a_message_due_that_had_moved_on);
	tcase_add_test(c, what_is_ordered_another_way_waits_for_nobody_on_the_old_one);
	tcase_add_loop_test(c, an_order_that_cannot_be_understood_keeps_the_message_waiting, 0, sizeof rows / sizeof *rows);
	tcase_add_test(c, an_order_stays_for_those_who_still_wait);
	tcase_add_test(c, a_message_whose_order_cannot_be_read_waits);
	tcase_add_test(c, two_orders_in_one_grain_of_the_clock_are_two);
	tcase_add_test(c, the_last_row_about_somebody_counts);
	tcase_add_test(c, rows_are_added_to_those_that_are_there);
	tcase_add_test(c, an_order_whose_message_left_long_ago_is_swept);
	suite_add_tcase(s, c);
	return s;
}
