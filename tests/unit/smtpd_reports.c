/* Mail that may be a delivery report, in the server: what is read, what is waited for, and when it is told. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "lib/file.h"
#include "lib/loop.h"
#include "policy/feedback.h"
#include "policy/judge.h"
#include "smtpd/session.h"
#include "tests/server_rig.h"

Suite *smtpd_reports_suite(void);

static struct fact_ticket *asked;
static unsigned nasked, ntold;
static char told_id[ID_MAX], told_text[200];

/* What is asked for is there, from where it is said to begin. */
static void ask(struct fact_source *source, enum fact_kind kind, struct str name, struct fact_ticket *ticket)
{
	enum feedback_kind what;
	struct str hostname, path;
	char file[1000];
	struct buf text = { 0 };
	int64_t at;

	(void)source, (void)kind;
	ck_assert(feedback_asked(name, &what, &hostname, &path, &at));
	ck_assert(what == FEEDBACK_STATUS && str_eq(hostname, STR("mx.example.org")) && str_copy(file, sizeof file, path));
	ck_assert_int_eq(file_read_all(AT_FDCWD, file, &text), 0);
	ck_assert_ptr_nonnull(strstr(buf_cstr(&text) + at, "multipart/report"));
	buf_free(&text);
	asked = ticket;
	nasked++;
}

static void answer(enum outcome outcome, const char *text)
{
	const struct record r = { .data = str_of(text) };
	const struct fact f = { .outcome = outcome, .n = outcome == FOUND, .record = &r, .why = outcome == FOUND ? NULL : text };

	fact_answer(asked, &f);
	asked = NULL;
	site_turn();
}

static void reported(void *arg, const struct subject *who, const char *id, struct str text)
{
	(void)arg, (void)who;
	ntold++;
	ck_assert_uint_eq(site_messages(), 1);  /* never before it is in the queue */
	snprintf(told_id, sizeof told_id, "%s", id);
	str_copy(told_text, sizeof told_text, text);
}

static void setup(void)
{
	static struct fact_source reader = { .ask = ask };

	site_start();
	site_config.reported = reported;
	facts_source(FACT_FEEDBACK, &reader);
	nasked = ntold = 0;
}

static void teardown(void)
{
	site_stop();
	guests_forget();
	facts_source(FACT_FEEDBACK, NULL);
}

#define REPORT "Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=b\r\n\r\n--b\r\n"

static void bring(struct site_client *c, const char *from, const char *text)
{
	char line[200];

	site_come(c, "192.0.2.1", SMTPD_MX);
	snprintf(line, sizeof line, "MAIL FROM:<%s>\r\nRCPT TO:<bob@mx.example.org>\r\nDATA\r\n", from);
	site_say(c, line);
	site_expect(c, "250 *");
	site_expect(c, "250 *");
	site_expect(c, "354 *");
	site_say(c, text);
	site_say(c, "\r\n.\r\n");
}

START_TEST(a_report_is_read_first_and_told_when_it_is_in_the_queue)
{
	struct site_client c;

	bring(&c, "", REPORT);
	site_expect_nothing(&c);
	ck_assert_uint_eq(nasked, 1);
	ck_assert_uint_eq(ntold, 0);
	answer(FOUND, "status\n to=x\n");
	site_expect(&c, "250 2.0.0 Queued as *");
	ck_assert_uint_eq(ntold, 1);
	ck_assert_uint_eq(strlen(told_id), 24);
	ck_assert_str_eq(told_text, "status\n to=x\n");
	site_hang_up(&c);
}
END_TEST

START_TEST(other_mail_is_not_read)
{
	static const struct { const char *from, *text; } row[] = {
		{ "anna@x.example", REPORT }, { "", "Subject: out of office\r\n\r\ntext" }, { "", "Content-Type: multipart/report; report-type=disposition-notification\r\n\r\n" },
		{ "", "\r\n" REPORT },
	};

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		struct site_client c;

		bring(&c, row[i].from, row[i].text);
		site_expect(&c, "250 2.0.0 *");
		site_hang_up(&c);
	}
	ck_assert_uint_eq(nasked + ntold, 0);
}
END_TEST

START_TEST(what_turns_out_to_be_none_is_mail_like_any_other)
{
	struct site_client c;

	bring(&c, "", REPORT);
	answer(NO_DATA, "it tells of no recipient");
	site_expect(&c, "250 2.0.0 *");
	site_hang_up(&c);
	bring(&c, "", REPORT);
	answer(UNKNOWN, "nobody reads");
	site_expect(&c, "250 2.0.0 *");
	site_hang_up(&c);
	ck_assert_uint_eq(ntold, 0);
	ck_assert_uint_eq(site_messages(), 2);
}
END_TEST

START_TEST(nobody_waits_for_a_reader_for_ever)
{
	struct site_client c;

	bring(&c, "", REPORT);
	loop_advance(14999);
	site_expect_nothing(&c);
	loop_advance(1);
	site_expect(&c, "250 2.0.0 *");
	answer(FOUND, "status\n to=x\n");
	ck_assert_uint_eq(ntold, 0);
	site_hang_up(&c);
}
END_TEST

START_TEST(a_client_that_leaves_meanwhile_leaves_nothing)
{
	struct site_client c;

	bring(&c, "", REPORT);
	site_listen(&c);
	site_hang_up(&c);
	site_turn();
	answer(FOUND, "status\n to=x\n");
	ck_assert_uint_eq(site_drafts(), 0);
}
END_TEST

static ssize_t disk_is_full(int fd, const void *p, size_t n)
{
	(void)fd, (void)p, (void)n;
	errno = ENOSPC;
	return -1;
}

static ssize_t disk_is_full_at(int fd, const void *p, size_t n, off_t at)
{
	(void)at;
	return disk_is_full(fd, p, n);
}

static enum verdict take(void *arg, struct facts *f, const struct addr *to, const struct judge_message *m, bool late, struct judgement *out)
{
	(void)arg, (void)f, (void)to, (void)late;
	*out = (struct judgement){ .verdict = ACCEPT, .reason = "x", .who = m->who };
	return ACCEPT;
}

START_TEST(a_disk_that_is_full_then_refuses_it)
{
	struct file_calls disk = file_sys;
	struct site_client c;

	site_config.judge = SMTPD_JUDGE_NOTE;
	site_config.judge_rcpt = take;
	file_sys.write = disk_is_full;
	file_sys.pwrite = disk_is_full_at;
	bring(&c, "", REPORT);
	site_expect(&c, "452 4.3.1 *");
	file_sys = disk;
	ck_assert_uint_eq(site_messages() + site_drafts() + nasked, 0);
	site_hang_up(&c);
}
END_TEST

START_TEST(where_nobody_wants_to_know_nothing_is_read)
{
	struct site_client c;

	site_config.reported = NULL;
	bring(&c, "", REPORT);
	site_expect(&c, "250 2.0.0 *");
	ck_assert_uint_eq(nasked, 0);
	site_hang_up(&c);
}
END_TEST

Suite *smtpd_reports_suite(void)
{
	Suite *s = suite_create("smtpd_reports");
	TCase *t = tcase_create("delivery reports");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, a_report_is_read_first_and_told_when_it_is_in_the_queue);
	tcase_add_test(t, other_mail_is_not_read);
	tcase_add_test(t, what_turns_out_to_be_none_is_mail_like_any_other);
	tcase_add_test(t, nobody_waits_for_a_reader_for_ever);
	tcase_add_test(t, a_client_that_leaves_meanwhile_leaves_nothing);
	tcase_add_test(t, a_disk_that_is_full_then_refuses_it);
	tcase_add_test(t, where_nobody_wants_to_know_nothing_is_read);
	suite_add_tcase(s, t);
	return s;
}
