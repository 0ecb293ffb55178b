/* What is remembered of mail that has left: written together, read back, told by `fardel why`. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/gone.h"
#include "cmd/sent.h"
#include "lib/file.h"
#include "lib/log.h"
#include "lib/loop.h"
#include "tests/queue_rig.h"

Suite *cmd_sent_suite(void);

static unsigned writes;
static struct file_calls real;

static ssize_t count_write(int fd, const void *p, size_t n)
{
	writes++;
	return real.write(fd, p, n);
}

static void note(void *arg, const struct mail *m, const struct rcpt *r, const struct result *res)
{
	(void)arg;
	sent_note(m, r, res);
}

static void setup(void)
{
	rig_open();
	log_threshold(LOG_ERROR);
	rig.conf.settled = note;
	rig_crash();
	rig_start();
	ck_assert_int_eq(sent_start(queue_dir(), 5), 0);
}

static void teardown(void)
{
	sent_stop();
	rig_close();
}

/* ---- reading */

static struct sent lines[50];
static size_t nlines;

static void take(void *arg, const struct sent *s)
{
	(void)arg;
	ck_assert_uint_lt(nlines, 50);
	lines[nlines++] = *s;
}

static void read_all(void)
{
	nlines = 0;
	ck_assert_int_eq(sent_each(rig.dir, take, NULL), 0);
}

START_TEST(what_is_final_is_kept_and_what_waits_is_not)
{
	static const struct rig_answer answers[] = {
		{ "late@x.test", RESULT_DEFERRED, BLAME_RCPT, 450, "not now" }, { "no@x.test", RESULT_FAILED, BLAME_RCPT, 550, "no such\x01 user" },
	};

	rig_answers(answers, 2);
	ck_assert(rig_put("a@here.test", "late@x.test no@x.test yes@y.test"));
	rig_run(10);
	read_all();
	ck_assert_uint_ge(nlines, 2);
	for (size_t i = 0; i < nlines; i++) {
		bool no = !strcmp(lines[i].to, "no@x.test");

		if (!no && strcmp(lines[i].to, "yes@y.test") != 0) {
			ck_assert_str_eq(lines[i].to, "a@here.test");   /* our report of it */
			continue;
		}
		ck_assert_str_eq(lines[i].id, rig_id);
		ck_assert_str_eq(lines[i].from, "a@here.test");
		ck_assert_str_eq(lines[i].what, no ? "failed" : "delivered");
		if (no)
			ck_assert_str_eq(lines[i].words, "550 no such? user");
	}
}
END_TEST

START_TEST(many_messages_of_a_second_cost_one_write)
{
	real = file_sys;
	for (int i = 0; i < 20; i++)
		ck_assert(rig_put("a@here.test", "b@x.test"));
	rig_turn();
	file_sys.write = count_write;
	writes = 0;
	rig_run(2);
	file_sys = real;
	ck_assert_uint_eq(writes, 1);
	read_all();
	ck_assert_uint_eq(nlines, 20);
}
END_TEST

START_TEST(what_was_gathered_is_written_at_the_end)
{
	ck_assert(rig_put("a@here.test", "b@x.test"));
	rig_turn();
	ck_assert_int_eq(sent_each(rig.dir, take, NULL), 0);
	sent_stop();
	read_all();
	ck_assert_uint_eq(nlines, 1);
}
END_TEST

START_TEST(days_that_are_over_go)
{
	rig_write("sent", "2020-01-01", "1 time=1 id=x\n", 14);
	rig_write("sent", "2020-01-01.mine", "x", 1);
	rig_write("sent", "notes", "x", 1);
	ck_assert(rig_put("a@here.test", "b@x.test"));
	rig_run(2);
	ck_assert_uint_eq(rig_count("sent"), 2);
	read_all();
	ck_assert_uint_eq(nlines, 1);
}
END_TEST

START_TEST(lines_that_are_none_are_passed_over)
{
	static const char text[] = "1 time=1796000000 id=aaaa to=b@x.test what=deli1 time=1796000001 id=bbbb to=b@x.test\n\n\x01\xff\n1 id=no-time\n"
		"1 time=1796000002 id=cccc to=b@x.test\n1 time=17960";

	rig_write("sent", "2026-12-01", text, sizeof text - 1);
	read_all();
	ck_assert_uint_eq(nlines, 1);
	ck_assert_str_eq(lines[0].id, "cccc");
}
END_TEST

START_TEST(nothing_is_kept_where_it_is_not_wanted)
{
	ck_assert_int_eq(sent_start(queue_dir(), 0), 0);
	ck_assert(rig_put("a@here.test", "b@x.test"));
	rig_run(2);
	ck_assert_uint_eq(rig_count("sent"), 0);
}
END_TEST

/* ---- telling */

static char told[16384];

/* What `fardel why` says of this. */
static size_t tell(const char *about)
{
	struct settings set = { .queue = rig.dir };
	FILE *to = tmpfile();
	int out = dup(1);
	size_t n, told_of;

	ck_assert_ptr_nonnull(to);
	fflush(stdout);
	dup2(fileno(to), 1);
	told_of = gone_tell(&set, str_of(about), false);
	fflush(stdout);
	dup2(out, 1);
	close(out);
	rewind(to);
	n = fread(told, 1, sizeof told - 1, to);
	told[n] = '\0';
	fclose(to);
	return told_of;
}

static void put_lines(const char *text) { rig_write("sent", "2026-11-30", text, strlen(text)); }

#define LEFT "1 time=1796000010 id=6b0c3d50a1b2c3d4e5f60718 from=a@here.test to=b@x.test what=delivered status=2.0.0 host=mx.x.test[192.0.2.1]:25 words=250%20ok envid=QQ\n"
#define BACK "1 time=1796000009 report=6b0c3d50ffffffffffffffff client=192.0.2.1 id=6b0c3d50a1b2c3d4e5f60718 to=b2@y.test what=failed status=5.1.1 host=mx.x.test " \
	"remote=in.y.test words=550%205.1.1%20who\n"

START_TEST(a_report_is_told_with_the_mail_it_is_about)
{
	static const char *const about[] = { "b@x.test", "x.test", "a@here.test", "6b0c3d50a1b2", "6b0c3d50a1b2c3d4e5f60718", "QQ" };

	put_lines(BACK LEFT);                   /* it may come first */
	for (size_t i = 0; i < sizeof about / sizeof *about; i++) {
		ck_assert_msg(tell(about[i]) == 1, "%s", about[i]);
		ck_assert_ptr_nonnull(strstr(told, "6b0c3d50a1b2c3d4e5f60718, from <a@here.test>, to b@x.test\n"));
		ck_assert_ptr_nonnull(strstr(told, "what came   mx.x.test[192.0.2.1]:25 said: 250 ok\n"));
		ck_assert_ptr_nonnull(strstr(told, "mx.x.test reports that it could not be delivered (to b2@y.test)\n"));
		ck_assert_ptr_nonnull(strstr(told, "in.y.test said: 550 5.1.1 who\n"));
		ck_assert_ptr_nonnull(strstr(told, "message 6b0c3d50ffffffffffffffff, from [192.0.2.1]\n"));
	}
	ck_assert_uint_eq(tell("nobody@x.test"), 0);
	ck_assert_str_eq(told, "");
	ck_assert_uint_eq(tell("6b0"), 0);
}
END_TEST

START_TEST(a_report_without_an_id_is_of_what_that_recipient_had_last)
{
	put_lines(LEFT "1 time=1796000011 id=6b0c3d51a1b2c3d4e5f60718 from=a@here.test to=B@x.test what=delivered\n"
		"1 time=1796000012 report=6b0c3d50ffffffffffffffff client=192.0.2.1 to=other@z.test original=b@x.test what=delayed status=4.0.0 host=mx.x.test\n");
	ck_assert_uint_eq(tell("x.test"), 2);
	ck_assert_ptr_nonnull(strstr(strstr(told, "6b0c3d51"), "mx.x.test reports that it is delayed"));
	ck_assert_ptr_null(strstr(strstr(told, "6b0c3d51"), "6b0c3d50a1b2"));
}
END_TEST

START_TEST(a_report_that_names_another_message_is_not_laid_to_this_one)
{
	put_lines(LEFT "1 time=1796000012 report=6b0c3d50ffffffffffffffff client=192.0.2.1 id=6b0c3d50a1b2c3d4e5f60000 to=b@x.test what=failed status=5.0.0 host=liar.test\n");
	ck_assert_uint_eq(tell("b@x.test"), 2);
	ck_assert_ptr_nonnull(strstr(told, "6b0c3d50a1b2c3d4e5f60000, of which nothing else is kept\n"));
}
END_TEST

START_TEST(of_very_much_the_last_is_told)
{
	struct buf text = { 0 };

	for (int i = 0; i < 1000; i++)
		buf_printf(&text, "1 time=%d id=6b0c3d50a1b2c3d4e5f6%04d from=a@here.test to=b@x.test what=delivered host=mx.x.test words=250%%20ok\n", 1796000000 + i, i);
	for (int i = 0; i < 100; i++)
		buf_puts(&text, "1 time=1796005000 report=6b0c3d50ffffffffffffffff client=192.0.2.1 id=6b0c3d50a1b2c3d4e5f60999 to=b@x.test what=failed status=5.0.0 host=x.test\n");
	put_lines(buf_cstr(&text));
	buf_free(&text);
	ck_assert_uint_eq(tell("b@x.test"), 1000);
	ck_assert_ptr_nonnull(strstr(told, "980 more recipients had mail before that"));
	ck_assert_ptr_nonnull(strstr(told, "6b0c3d50a1b2c3d4e5f60980, "));
	ck_assert_ptr_null(strstr(told, "6b0c3d50a1b2c3d4e5f60979, "));
}
END_TEST

START_TEST(a_directory_that_is_not_there_says_so)
{
	ck_assert_int_eq(sent_each("/nonexistent", take, NULL), -1);
	ck_assert_int_eq(errno, ENOENT);
}
END_TEST

Suite *cmd_sent_suite(void)
{
	Suite *s = suite_create("cmd_sent");
	TCase *t = tcase_create("mail that has left");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, what_is_final_is_kept_and_what_waits_is_not);
	tcase_add_test(t, many_messages_of_a_second_cost_one_write);
	tcase_add_test(t, what_was_gathered_is_written_at_the_end);
	tcase_add_test(t, days_that_are_over_go);
	tcase_add_test(t, lines_that_are_none_are_passed_over);
	tcase_add_test(t, nothing_is_kept_where_it_is_not_wanted);
	tcase_add_test(t, a_report_is_told_with_the_mail_it_is_about);
	tcase_add_test(t, a_report_without_an_id_is_of_what_that_recipient_had_last);
	tcase_add_test(t, a_report_that_names_another_message_is_not_laid_to_this_one);
	tcase_add_test(t, of_very_much_the_last_is_told);
	tcase_add_test(t, a_directory_that_is_not_there_says_so);
	suite_add_tcase(s, t);
	return s;
}
