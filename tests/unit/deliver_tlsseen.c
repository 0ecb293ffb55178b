/* Domains that have used TLS: what is kept of how many. */
#include "deliver/tlsseen.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

Suite *deliver_tlsseen_suite(void);

enum { DAY = 86400, NOW = 1796000000 / DAY * DAY };

static char dir[200];
static int dir_fd;

static void setup(void)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(dir, sizeof dir, "%s/fardel-seen.XXXXXX", tmp ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY);
	ck_assert_int_eq(tlsseen_start(dir_fd, "seen", true), 0);
}

static void teardown(void)
{
	tlsseen_stop();
	unlinkat(dir_fd, "seen", 0);
	close(dir_fd);
	rmdir(dir);
}

START_TEST(a_loss_is_told_once_a_day_and_only_where_there_was_something_to_lose)
{
	struct tlsseen s;

	ck_assert_int_eq(tlsseen_lost(STR("y.test"), NOW), 0);
	tlsseen_note(STR("Y.test"), NOW + 50);
	ck_assert(tlsseen_look(STR("y.TEST"), &s));
	ck_assert(s.tls == NOW && s.clear == 0);
	ck_assert_int_eq(tlsseen_lost(STR("y.test"), NOW + DAY), NOW);
	ck_assert_int_eq(tlsseen_lost(STR("y.test"), NOW + DAY + 5), 0);
	ck_assert_int_eq(tlsseen_lost(STR("y.test"), NOW + 2 * DAY), NOW);
	ck_assert(tlsseen_look(STR("y.test"), &s));
	ck_assert(s.tls == NOW && s.clear == NOW + 2 * DAY);
	tlsseen_note(STR("y.test"), NOW + 3 * DAY);
	ck_assert(tlsseen_look(STR("y.test"), &s));
	ck_assert(s.tls == NOW + 3 * DAY && s.clear == 0);
}
END_TEST

START_TEST(the_file_has_a_ceiling_and_the_latest_stay)
{
	unsigned known = 0;
	struct tlsseen s;
	struct stat st;
	char name[40];

	for (int i = 0; i < 3 * TLSSEEN_DOMAINS; i++) {
		snprintf(name, sizeof name, "d%d.test", i);
		tlsseen_note(str_of(name), NOW + (int64_t)i * DAY / 1000);
	}
	ck_assert_int_eq(fstatat(dir_fd, "seen", &st, 0), 0);
	ck_assert_int_le(st.st_size, 16 * TLSSEEN_DOMAINS);
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof name, "d%d.test", 3 * TLSSEEN_DOMAINS - 1 - i);
		known += tlsseen_look(str_of(name), &s);
	}
	ck_assert_uint_ge(known, 990);
}
END_TEST

START_TEST(a_file_that_is_cut_or_not_there_is_nothing_known)
{
	struct tlsseen s;
	int fd;

	tlsseen_note(STR("y.test"), NOW);
	fd = openat(dir_fd, "seen", O_WRONLY | O_TRUNC);
	ck_assert_int_ne(fd, -1);
	close(fd);
	ck_assert(!tlsseen_look(STR("y.test"), &s));
	tlsseen_stop();
	ck_assert(!tlsseen_look(STR("y.test"), &s));
	tlsseen_note(STR("y.test"), NOW);
	ck_assert_int_eq(tlsseen_lost(STR("y.test"), NOW), 0);
	ck_assert_int_eq(tlsseen_start(dir_fd, "no/such/directory", true), -1);
	ck_assert_int_eq(tlsseen_start(dir_fd, "missing", false), -1);
}
END_TEST

Suite *deliver_tlsseen_suite(void)
{
	Suite *s = suite_create("deliver_tlsseen");
	TCase *t = tcase_create("tlsseen");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, a_loss_is_told_once_a_day_and_only_where_there_was_something_to_lose);
	tcase_add_test(t, the_file_has_a_ceiling_and_the_latest_stay);
	tcase_add_test(t, a_file_that_is_cut_or_not_there_is_nothing_known);
	suite_add_tcase(s, t);
	return s;
}
