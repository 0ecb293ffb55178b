/* Who comes again in time is let in, who does not is not. */
#include <arpa/inet.h>
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/file.h"
#include "policy/greylist.h"

Suite *policy_greylist_suite(void);

enum { DELAY = 300, WINDOW = 2 * 86400, NOW = 1795424400 };

static char dir[200];
static int at;
static struct greylist *list;

static void start(void)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(dir, sizeof dir, "%.150s/greylist.XXXXXX", tmp ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	at = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	list = greylist_open(at, "greylist");
	ck_assert_ptr_nonnull(list);
}

static void stop(void)
{
	greylist_close(list);
	unlinkat(at, "greylist", 0);
	close(at);
	rmdir(dir);
}

static int64_t from(const char *address, const char *sender, const char *rcpt, int64_t now)
{
	struct sockaddr_storage a = { 0 };

	if (inet_pton(AF_INET, address, &((struct sockaddr_in *)&a)->sin_addr) == 1)
		a.ss_family = AF_INET;
	else if (inet_pton(AF_INET6, address, &((struct sockaddr_in6 *)&a)->sin6_addr) == 1)
		a.ss_family = AF_INET6;
	return greylist_ask(list, (struct sockaddr *)&a, str_of(sender), str_of(rcpt), DELAY, WINDOW, now);
}

START_TEST(who_comes_again_in_time_is_let_in_and_stays_so)
{
	ck_assert_int_eq(from("192.0.2.1", "a@x.test", "b@y.test", NOW), DELAY);
	ck_assert_int_eq(from("192.0.2.1", "a@x.test", "b@y.test", NOW + 100), DELAY - 100);
	ck_assert_int_eq(from("192.0.2.1", "a@x.test", "b@y.test", NOW + DELAY), 0);
	ck_assert_int_eq(from("192.0.2.1", "a@x.test", "b@y.test", NOW + DELAY + 1), 0);
	ck_assert_int_eq(from("192.0.2.1", "a@x.test", "b@y.test", NOW + 30 * 86400), 0);
	ck_assert_int_eq(from("192.0.2.1", "a@x.test", "b@y.test", NOW + 60 * 86400), 0);
	ck_assert_int_eq(from("192.0.2.1", "a@x.test", "b@y.test", NOW + 100 * 86400), DELAY);
}
END_TEST

START_TEST(who_comes_too_late_or_before_the_clock_begins_anew)
{
	ck_assert_int_eq(from("192.0.2.1", "a@x.test", "b@y.test", NOW), DELAY);
	ck_assert_int_eq(from("192.0.2.1", "a@x.test", "b@y.test", NOW + WINDOW + 1), DELAY);
	ck_assert_int_eq(from("192.0.2.1", "a@x.test", "b@y.test", NOW), DELAY);
	ck_assert_int_eq(from("192.0.2.1", "a@x.test", "b@y.test", NOW + DELAY), 0);
}
END_TEST

static const struct {
	const char *address, *sender, *rcpt;
	bool same;                      /* as 192.0.2.1 a1@x.test b@y.test */
} others[] = {
	{ "192.0.2.254", "a1@x.test", "b@y.test", true },
	{ "::ffff:192.0.2.9", "a1@x.test", "b@y.test", true },
	{ "192.0.3.1", "a1@x.test", "b@y.test", false },
	{ "2001:db8::1", "a1@x.test", "b@y.test", false },
	{ "192.0.2.1", "A77@X.test", "B@y.test", true },
	{ "192.0.2.1", "a-1@x.test", "b@y.test", false },
	{ "192.0.2.1", "a1@x2.test", "b@y.test", false },
	{ "192.0.2.1", "a1@x.test", "b1@y.test", false },
	{ "192.0.2.1", "", "b@y.test", false },
};
START_TEST(neighbours_and_numbers_are_the_same)
{
	ck_assert_int_eq(from("192.0.2.1", "a1@x.test", "b@y.test", NOW), DELAY);
	ck_assert_int_eq(from(others[_i].address, others[_i].sender, others[_i].rcpt, NOW + DELAY), others[_i].same ? 0 : DELAY);
}
END_TEST

START_TEST(a_network_that_has_come_again_often_is_known)
{
	char rcpt[20];

	for (int i = 0; i < GREYLIST_KNOWN; i++) {
		snprintf(rcpt, sizeof rcpt, "b%d@y.test", i);
		ck_assert_int_eq(from("2001:db8::1", "a@x.test", rcpt, NOW), DELAY);
	}
	for (int i = 0; i < GREYLIST_KNOWN; i++) {
		snprintf(rcpt, sizeof rcpt, "b%d@y.test", i);
		ck_assert_int_eq(from("2001:db8::1", "a@x.test", "new@y.test", NOW + i), DELAY - i);
		ck_assert_int_eq(from("2001:db8::1", "a@x.test", rcpt, NOW + DELAY), 0);
		ck_assert_int_eq(from("2001:db8::1", "a@x.test", rcpt, NOW + DELAY), 0);
	}
	ck_assert_int_eq(from("2001:db8::2", "c@z.test", "d@y.test", NOW + DELAY), 0);
	ck_assert_int_eq(from("2001:db8:1::2", "c@z.test", "d@y.test", NOW + DELAY), DELAY);
	ck_assert_int_eq(from("2001:db8::2", "c@z.test", "e@y.test", NOW + 36 * 86400), DELAY);
}
END_TEST

START_TEST(it_outlives_a_restart_and_another_process_sees_it)
{
	struct greylist *other = greylist_open(at, "greylist"), *first = list;

	ck_assert_int_eq(from("192.0.2.1", "a@x.test", "b@y.test", NOW), DELAY);
	list = other;
	ck_assert_int_eq(from("192.0.2.1", "a@x.test", "b@y.test", NOW + DELAY), 0);
	greylist_close(other);
	list = first;
	ck_assert_int_eq(from("192.0.2.1", "a@x.test", "b@y.test", NOW + DELAY), 0);
}
END_TEST

START_TEST(a_file_that_is_not_whole_is_begun_anew)
{
	static const char *const texts[] = { "", "FARDEL", "something else that is longer than the head of the file is" };

	ck_assert_int_eq(from("192.0.2.1", "a@x.test", "b@y.test", NOW), DELAY);
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		int fd = openat(at, "greylist", O_RDWR | O_TRUNC | O_CLOEXEC);

		ck_assert_int_eq(file_write(fd, texts[i], strlen(texts[i])), 0);
		close(fd);
		greylist_close(list);
		list = greylist_open(at, "greylist");
		ck_assert_ptr_nonnull(list);
		ck_assert_int_eq(from("192.0.2.1", "a@x.test", "b@y.test", NOW + DELAY), DELAY);
	}
}
END_TEST

START_TEST(a_flood_of_strangers_neither_grows_the_file_nor_drives_out_who_is_known)
{
	struct stat st;
	char sender[30];

	ck_assert_int_eq(from("192.0.2.1", "a@x.test", "b@y.test", NOW), DELAY);
	ck_assert_int_eq(from("192.0.2.1", "a@x.test", "b@y.test", NOW + DELAY), 0);
	for (int i = 0; i < 3 * GREYLIST_RECORDS; i++) {
		snprintf(sender, sizeof sender, "%c%c%c%c@z.test", 'a' + i % 26, 'a' + i / 26 % 26, 'a' + i / 676 % 26, 'a' + i / 17576 % 26);
		from("198.51.100.1", sender, "b@y.test", NOW + DELAY);
	}
	ck_assert_int_eq(from("192.0.2.1", "a@x.test", "b@y.test", NOW + DELAY + 1), 0);
	ck_assert_int_eq(fstatat(at, "greylist", &st, 0), 0);
	ck_assert_int_le(st.st_size, 32 + 24 * GREYLIST_RECORDS);
}
END_TEST

static ssize_t no_write(int fd, const void *p, size_t n, off_t where)
{
	(void)fd;
	(void)p;
	(void)n;
	(void)where;
	return -1;
}

START_TEST(a_disk_that_fails_keeps_nobody_out)
{
	file_sys.pwrite = no_write;
	ck_assert_int_eq(from("192.0.2.1", "a@x.test", "b@y.test", NOW), 0);
}
END_TEST

Suite *policy_greylist_suite(void)
{
	Suite *s = suite_create("policy_greylist");
	TCase *t = tcase_create("all");

	tcase_add_checked_fixture(t, start, stop);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, who_comes_again_in_time_is_let_in_and_stays_so);
	tcase_add_test(t, who_comes_too_late_or_before_the_clock_begins_anew);
	tcase_add_loop_test(t, neighbours_and_numbers_are_the_same, 0, sizeof others / sizeof *others);
	tcase_add_test(t, a_network_that_has_come_again_often_is_known);
	tcase_add_test(t, it_outlives_a_restart_and_another_process_sees_it);
	tcase_add_test(t, a_file_that_is_not_whole_is_begun_anew);
	tcase_add_test(t, a_flood_of_strangers_neither_grows_the_file_nor_drives_out_who_is_known);
	tcase_add_test(t, a_disk_that_fails_keeps_nobody_out);
	suite_add_tcase(s, t);
	return s;
}
