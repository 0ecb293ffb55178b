/* The log: one event is one line, whatever strangers put into it. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/file.h"
#include "lib/log.h"
#include "lib/loop.h"

#define S(literal) { literal, sizeof(literal) - 1 }
#define STAMP "2023-11-14T22:13:20Z "

static char dir[64], path[80];
static struct buf text;

static void setup(void)
{
	const char *tmp = getenv("TMPDIR");

	loop_virtual_clock(1700000000);
	snprintf(dir, sizeof dir, "%.40s/log.XXXXXX", tmp ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof path, "%s/log", dir);
	ck_assert_int_eq(log_open(path), 0);
}

static void teardown(void)
{
	log_open("stderr");
	unlink(path);
	rmdir(dir);
	buf_free(&text);
}

static const char *logged(void)
{
	buf_clear(&text);
	ck_assert_int_eq(file_read_all(AT_FDCWD, path, &text), 0);
	return buf_cstr(&text);
}

static const struct { struct str value; const char *line; } values[] = {
	{ S("plain-word_1.2:3/4@5[6]<7>"), " v=plain-word_1.2:3/4@5[6]<7>" },
	{ S("two words"), " v=\"two words\"" },
	{ S("a=b"), " v=\"a=b\"" },
	{ S("say \"x\" \\ y"), " v=\"say \\\"x\\\" \\\\ y\"" },
	{ S("a\nb"), " v=\"a\\x0ab\"" },
	{ S("a\r\n2023-11-14T22:13:20Z info forged"), " v=\"a\\x0d\\x0a2023-11-14T22:13:20Z info forged\"" },
	{ S("\0"), " v=\"\\x00\"" },
	{ S("\x1b[2J\x7f\t"), " v=\"\\x1b[2J\\x7f\\x09\"" },
	{ S("M\xc3\xbcller"), " v=\"M\\xc3\\xbcller\"" },
	{ S(""), "" },
	{ { NULL, 0 }, "" },
};

START_TEST(a_value_is_one_word_or_quoted_and_never_another_line)
{
	char want[400];

	log_event(LOG_INFO, "event", LF(L_TEXT("id", "1"), L_STR("v", values[_i].value), L_NUM("n", -5), L_TEXT("none", NULL)));
	snprintf(want, sizeof want, STAMP "info event id=1%s n=-5\n", values[_i].line);
	ck_assert_str_eq(logged(), want);
}
END_TEST

START_TEST(a_long_value_is_cut)
{
	char value[2000], want[2000];

	memset(value, 'x', sizeof value);
	log_event(LOG_INFO, "e", LF(L_STR("v", ((struct str){ value, sizeof value })), L_NUM("n", 0)));
	snprintf(want, sizeof want, STAMP "info e v=%.512s n=0\n", value);
	ck_assert_str_eq(logged(), want);
}
END_TEST

START_TEST(a_field_that_does_not_fit_is_left_out_as_a_whole)
{
	char wide[512];
	const char *line;
	struct str v = { wide, sizeof wide };

	/* 2,050 octets each when escaped: the second one does not fit, what is short still does */
	memset(wide, '\n', sizeof wide);
	log_event(LOG_INFO, "e", LF(L_STR("a", v), L_STR("b", v), L_TEXT("c", "short"), L_STR("d", v), L_NUM("n", 7)));
	line = logged();
	ck_assert_uint_le(text.n, 4097);
	ck_assert_ptr_nonnull(strstr(line, "\\x0a\" c=short n=7\n"));
	ck_assert_ptr_null(strstr(line, " b="));
	ck_assert_ptr_null(strstr(line, " d="));
	ck_assert_ptr_eq(strchr(line, '\n'), line + text.n - 1);
}
END_TEST

static const struct { struct str value; const char *json; } json_values[] = {
	{ S("two words"), ",\"v\":\"two words\"" },
	{ S("say \"x\" \\ y\r\n"), ",\"v\":\"say \\\"x\\\" \\\\ y\\u000d\\u000a\"" },
	{ S("M\xc3\xbcller"), ",\"v\":\"M\xc3\xbcller\"" },
	{ S("\xff"), ",\"v\":\"\\ufffd\"" },
	{ S(""), "" },
};

START_TEST(a_line_is_a_json_object_when_that_is_asked_for)
{
	char want[400];

	log_written_as(LOG_JSON);
	log_event(LOG_WARN, "event", LF(L_TEXT("id", "1"), L_STR("v", json_values[_i].value), L_NUM("n", -5)));
	log_written_as(LOG_PLAIN);
	snprintf(want, sizeof want, "{\"time\":\"2023-11-14T22:13:20Z\",\"level\":\"warn\",\"event\":\"event\",\"id\":\"1\"%s,\"n\":-5}\n",
		json_values[_i].json);
	ck_assert_str_eq(logged(), want);
}
END_TEST

START_TEST(a_json_object_that_grows_too_long_is_still_whole)
{
	char wide[600];
	struct str v = { wide, sizeof wide };

	memset(wide, '\n', sizeof wide);
	log_written_as(LOG_JSON);
	log_event(LOG_INFO, "e", LF(L_STR("a", v), L_STR("b", v), L_NUM("n", 7)));
	log_written_as(LOG_PLAIN);
	logged();
	ck_assert_uint_le(text.n, 4098);
	ck_assert_ptr_nonnull(strstr(buf_cstr(&text), "\\u000a\",\"n\":7}\n"));
}
END_TEST

START_TEST(levels_have_names_and_a_threshold)
{
	log_text(LOG_DEBUG, "one", "never %s", "seen");
	log_threshold(LOG_DEBUG);
	log_text(LOG_DEBUG, "two", "now %d", 2);
	log_threshold(LOG_ERROR);
	log_text(LOG_WARN, "three", "no");
	log_text(LOG_ERROR, "four", "line\nbreak");
	ck_assert_str_eq(logged(), STAMP "debug two msg=\"now 2\"\n" STAMP "error four msg=\"line\\x0abreak\"\n");
}
END_TEST

START_TEST(the_file_is_for_its_owner_and_is_appended_to)
{
	struct stat st;

	log_text(LOG_INFO, "a", "1");
	ck_assert_int_eq(log_open(path), 0);
	log_text(LOG_INFO, "b", "2");
	ck_assert_str_eq(logged(), STAMP "info a msg=1\n" STAMP "info b msg=2\n");
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0600);
}
END_TEST

START_TEST(after_a_rotation_the_file_is_made_anew)
{
	char old[90];

	snprintf(old, sizeof old, "%s.1", path);
	log_text(LOG_INFO, "a", "1");
	ck_assert_int_eq(rename(path, old), 0);
	log_text(LOG_INFO, "b", "2");
	ck_assert_int_eq(log_reopen(), 0);
	log_text(LOG_INFO, "c", "3");
	ck_assert_str_eq(logged(), STAMP "info c msg=3\n");
	ck_assert_int_eq(unlink(old), 0);
}
END_TEST

START_TEST(a_target_that_cannot_be_had_leaves_the_old_one)
{
	char missing[90];

	snprintf(missing, sizeof missing, "%s/no/log", dir);
	ck_assert_int_eq(log_open(missing), -1);
	ck_assert_int_eq(errno, ENOENT);
	log_text(LOG_INFO, "a", "1");
	ck_assert_str_eq(logged(), STAMP "info a msg=1\n");
}
END_TEST

/* stderr is a file here, whatever a service manager has put into the environment for another one. */
START_TEST(only_what_goes_to_the_journal_is_written_for_it)
{
	struct stat st;
	char stream[64], want[200];
	int keep = dup(STDERR_FILENO);

	ck_assert_ptr_nonnull(freopen(path, "a", stderr));
	ck_assert_int_eq(fstat(STDERR_FILENO, &st), 0);
	setenv("JOURNAL_STREAM", "8:1", 1);
	ck_assert_int_eq(log_open("stderr"), 0);
	log_text(LOG_WARN, "a", "1");
	snprintf(stream, sizeof stream, "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	ck_assert_int_eq(log_open("stderr"), 0);
	log_text(LOG_WARN, "b", "2");
	ck_assert_int_eq(dup2(keep, STDERR_FILENO), STDERR_FILENO);
	close(keep);
	snprintf(want, sizeof want, STAMP "warn a msg=1\n<4>warn b msg=2\n");
	ck_assert_str_eq(logged(), want);
}
END_TEST

START_TEST(the_last_line_names_what_was_wanting_and_why)
{
	char want[300];
	int status;
	pid_t child = fork();

	if (child == 0) {
		errno = ENOMEM;
		log_end("no memory for a delivery");
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == EX_OSERR);
	snprintf(want, sizeof want, STAMP "error ended msg=\"no memory for a delivery: %s. Whatever was accepted is on the disk; "
		"start again when there is more of that\"\n", strerror(ENOMEM));
	ck_assert_str_eq(logged(), want);
}
END_TEST

Suite *lib_log_suite(void);
Suite *lib_log_suite(void)
{
	Suite *s = suite_create("lib_log");
	TCase *t = tcase_create("log");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, a_value_is_one_word_or_quoted_and_never_another_line, 0, (int)(sizeof values / sizeof *values));
	tcase_add_test(t, a_long_value_is_cut);
	tcase_add_test(t, a_field_that_does_not_fit_is_left_out_as_a_whole);
	tcase_add_loop_test(t, a_line_is_a_json_object_when_that_is_asked_for, 0, sizeof json_values / sizeof *json_values);
	tcase_add_test(t, a_json_object_that_grows_too_long_is_still_whole);
	tcase_add_test(t, levels_have_names_and_a_threshold);
	tcase_add_test(t, the_file_is_for_its_owner_and_is_appended_to);
	tcase_add_test(t, after_a_rotation_the_file_is_made_anew);
	tcase_add_test(t, a_target_that_cannot_be_had_leaves_the_old_one);
	tcase_add_test(t, only_what_goes_to_the_journal_is_written_for_it);
	tcase_add_test(t, the_last_line_names_what_was_wanting_and_why);
	suite_add_tcase(s, t);
	return s;
}
