/* The Maildir++ quota: what is counted, and when it is counted anew. */
#include "deliver/maildirsize.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/file.h"

Suite *deliver_maildirsize_suite(void);

static char dir[64];
static int mailbox;

static void set_up(void)
{
	static const char *const parts[] = { "tmp", "new", "cur", ".sent", ".sent/cur", ".sent/new", ".Trash", ".Trash/cur", "plain", "plain/cur" };

	snprintf(dir, sizeof dir, "/tmp/fardel-size-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	mailbox = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
		ck_assert_int_eq(mkdirat(mailbox, parts[i], 0700), 0);
}

static void tear_down(void)
{
	char command[100];

	close(mailbox);
	snprintf(command, sizeof command, "rm -rf %s", dir);
	ck_assert_int_eq(system(command), 0);
}

static void put(const char *name, const char *text)
{
	int fd = openat(mailbox, name, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);

	ck_assert_int_ne(fd, -1);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

static void set_age(const char *name, long seconds)
{
	struct timespec t[2] = { { time(NULL) - seconds, 0 }, { time(NULL) - seconds, 0 } };

	ck_assert_int_eq(utimensat(mailbox, name, t, 0), 0);
}

static void says(const char *expected)
{
	struct buf text = { 0 };

	ck_assert_int_eq(file_read_all(mailbox, "maildirsize", &text), 0);
	ck_assert_str_eq(buf_cstr(&text), expected);
	buf_free(&text);
}

START_TEST(what_counts)
{
	put("new/1.a", "12345");
	put("cur/2.b,S=100:2,S", "1");          /* the name is believed */
	put("cur/3.c,S=:2,S", "12");
	put(".sent/cur/4.d:2,", "123");
	put("cur/5.e:2,ST", "not this");
	put(".Trash/cur/6.f", "nor this");
	put("plain/cur/7.g", "this is no folder");
	put("tmp/8.h", "not there yet");
	put("cur/.hidden", "no message");
	ck_assert_int_eq(symlinkat("/etc/passwd", mailbox, "new/link"), 0);
	ck_assert_int_eq(symlinkat("/tmp", mailbox, ".linked"), 0);
	ck_assert_int_eq(maildirsize_has_room(mailbox, 1000, 10), 1);
	says("1000S\n110 5\n");                 /* the link is a name, of nothing */
}
END_TEST

START_TEST(changes_are_lines)
{
	ck_assert_int_eq(maildirsize_has_room(mailbox, 1000, 10), 1);
	maildirsize_add(mailbox, 10);
	maildirsize_add(mailbox, 20);
	says("1000S\n0 0\n10 1\n20 1\n");
	ck_assert_int_eq(maildirsize_has_room(mailbox, 1000, 970), 1);
	ck_assert_int_eq(maildirsize_has_room(mailbox, 1000, UINT64_MAX), 0);
}
END_TEST

/* What is in the file, how old it is, and what it is after a look (the mailbox holds one message of 7 octets). */
START_TEST(wrong_files_are_made_anew)
{
	static const struct {
		const char *text;
		long age;
		int room;
		const char *after;
	} rows[] = {
		{ "100S\n7 1\n", 0, 1, "100S\n7 1\n" },
		{ "100S\n50 2\n", 0, 1, "100S\n50 2\n" },               /* believed while there is room */
		{ "100S\n95 2\n", 0, 0, "100S\n95 2\n" },               /* counted just now */
		{ "100S\n95 2\n", 1000, 1, "100S\n7 1\n" },
		{ "100S\n50 2\n45 1\n", 0, 1, "100S\n7 1\n" },
		{ "100S\n50 2\n-45 -1\n", 0, 1, "100S\n50 2\n-45 -1\n" },
		{ "100S\n50 2\n-55 -1\n", 0, 1, "100S\n7 1\n" },
		{ "200S\n7 1\n", 0, 1, "100S\n7 1\n" },
		{ "100S,5C\n7 1\n", 0, 1, "100S\n7 1\n" },
		{ "100S\n7\n", 0, 1, "100S\n7 1\n" },
		{ "100S\n7 1", 0, 1, "100S\n7 1\n" },
		{ "100S\n99999999999999999999999 1\n", 0, 1, "100S\n7 1\n" },
		{ "100S\nx y\n", 0, 1, "100S\n7 1\n" },
		{ "", 0, 1, "100S\n7 1\n" },
	};

	put("new/1.a", "1234567");
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		put("maildirsize", rows[i].text);
		set_age("maildirsize", rows[i].age);
		ck_assert_msg(maildirsize_has_room(mailbox, 100, 10) == rows[i].room, "row %zu", i);
		says(rows[i].after);
	}
}
END_TEST

START_TEST(a_long_file_is_made_anew)
{
	struct buf text = { 0 };

	buf_puts(&text, "100S\n");
	while (text.n <= 5120)
		buf_puts(&text, "0 0\n");
	put("maildirsize", buf_cstr(&text));
	buf_free(&text);
	ck_assert_int_eq(maildirsize_has_room(mailbox, 100, 10), 1);
	says("100S\n0 0\n");
}
END_TEST

START_TEST(nothing_else_in_its_place_is_believed_or_waited_for)
{
	ck_assert_int_eq(mkfifoat(mailbox, "maildirsize", 0600), 0);
	ck_assert_int_eq(maildirsize_has_room(mailbox, 100, 10), 1);
	says("100S\n0 0\n");
	unlinkat(mailbox, "maildirsize", 0);
	put("elsewhere", "100S\n99 1\n");
	ck_assert_int_eq(symlinkat("elsewhere", mailbox, "maildirsize"), 0);
	ck_assert_int_eq(maildirsize_has_room(mailbox, 100, 10), 1);
	says("100S\n0 0\n");
	unlinkat(mailbox, "maildirsize", 0);
	ck_assert_int_eq(mkdirat(mailbox, "maildirsize", 0700), 0);
	ck_assert_int_eq(maildirsize_has_room(mailbox, 100, 10), 1);
	maildirsize_add(mailbox, 10);
}
END_TEST

Suite *deliver_maildirsize_suite(void)
{
	Suite *s = suite_create("deliver_maildirsize");
	TCase *t = tcase_create("maildirsize");

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_add_test(t, what_counts);
	tcase_add_test(t, changes_are_lines);
	tcase_add_test(t, wrong_files_are_made_anew);
	tcase_add_test(t, a_long_file_is_made_anew);
	tcase_add_test(t, nothing_else_in_its_place_is_believed_or_waited_for);
	suite_add_tcase(s, t);
	return s;
}
