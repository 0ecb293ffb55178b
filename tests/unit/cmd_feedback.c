/* The process that reads reports: it answers, one question after the other, in a process of its own or in this one. */
#include <check.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/feedback.h"
#include "lib/log.h"
#include "lib/loop.h"
#include "policy/feedback.h"

Suite *cmd_feedback_suite(void);

static struct facts *facts;
static char path[64];

static void setup(void)
{
	log_open("/dev/null");
	facts = facts_new(NULL, 200);
	snprintf(path, sizeof path, "/tmp/fardel-report.XXXXXX");
	close(mkstemp(path));
}

static void teardown(void)
{
	feedback_stop();
	facts_free(facts);
	unlink(path);
}

static void put(const char *text)
{
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
}

static const struct fact *ask(const char *file, int64_t at)
{
	struct buf name = { 0 };
	const struct fact *f;

	ck_assert(feedback_ask(&name, FEEDBACK_STATUS, "mail.example.org", file, at));
	f = fact(facts, FACT_FEEDBACK, buf_view(&name));
	buf_free(&name);
	return f;
}

static const struct fact *await(const char *file, int64_t at)
{
	const struct fact *f;

	while (!(f = ask(file, at))) {
		loop_turn(0);
		poll(NULL, 0, 1);
	}
	return f;
}

#define REPORT "Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\n\ntext\n--b\n" \
	"Content-Type: message/delivery-status\n\nReporting-MTA: dns; mx.test\n\nFinal-Recipient: rfc822; a@b.test\nAction: failed\nStatus: 5.1.1\n" \
	"Diagnostic-Code: smtp; 550 no\n--b\nContent-Type: text/rfc822-headers\n\nMessage-ID: <6b0c3d50a1b2c3d4e5f60718@mail.example.org>\n--b--\n"

START_TEST(it_answers_what_a_message_says)
{
	const struct fact *f;

	feedback_start(_i == 0);
	put("0123456789" REPORT);
	f = await(path, 10);
	ck_assert_int_eq(f->outcome, FOUND);
	ck_assert_msg(str_eq(f->record[0].data, STR("status\n id=6b0c3d50a1b2c3d4e5f60718 to=a@b.test what=failed status=5.1.1 host=mx.test words=550%20no\n")),
		STR_FMT, STR_ARG(f->record[0].data));
	f = await(path, 11);
	ck_assert_int_eq(f->outcome, NO_DATA);
	ck_assert_str_eq(f->why, "it is no multipart/report of a delivery status");
	f = await("/nonexistent", 0);
	ck_assert_int_eq(f->outcome, UNKNOWN);
	f = await(path, 9);
	ck_assert_int_eq(f->outcome, NO_DATA);
}
END_TEST

START_TEST(who_asks_too_much_at_once_is_told_so)
{
	unsigned unknown = 0, none = 0;

	feedback_start(true);
	put("no report");
	for (int i = 0; i < 150; i++) {
		const struct fact *f = ask(path, i);

		unknown += f && f->outcome == UNKNOWN;
	}
	ck_assert_uint_eq(unknown, 50);
	for (int i = 0; i < 150; i++)
		none += await(path, i)->outcome == NO_DATA;
	ck_assert_uint_eq(none, 100);
}
END_TEST

START_TEST(what_waits_at_the_end_is_not_known)
{
	feedback_start(_i == 0);
	put(REPORT);
	ck_assert_ptr_null(ask(path, 0));
	ck_assert_ptr_null(ask(path, 1));
	feedback_stop();
	ck_assert_int_eq(ask(path, 0)->outcome, UNKNOWN);
	ck_assert_int_eq(ask(path, 1)->outcome, UNKNOWN);
}
END_TEST

Suite *cmd_feedback_suite(void)
{
	Suite *s = suite_create("cmd_feedback");
	TCase *t = tcase_create("reading reports");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, it_answers_what_a_message_says, 0, 2);
	tcase_add_test(t, who_asks_too_much_at_once_is_told_so);
	tcase_add_loop_test(t, what_waits_at_the_end_is_not_known, 0, 2);
	suite_add_tcase(s, t);
	return s;
}
