/* How much a user may send in a day. */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "policy/quota.h"

static char dir[200];
static int at;

static void start(void)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(dir, sizeof dir, "%.150s/quota.XXXXXX", tmp ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	at = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ne(at, -1);
}

static void stop(void)
{
	unlinkat(at, "quota", 0);
	close(at);
	rmdir(dir);
}

START_TEST(a_day_has_so_many_and_the_next_as_many_again)
{
	int fd, other;

	start();
	fd = quota_open(at, "quota");
	for (int i = 0; i < 3; i++)
		ck_assert(quota_take(fd, STR("anna"), 3, 86400 * 100 + i));
	ck_assert(!quota_take(fd, STR("anna"), 3, 86400 * 100 + 86399));
	ck_assert(quota_take(fd, STR("ben"), 3, 86400 * 100));
	other = quota_open(at, "quota");        /* another process, or this one later */
	ck_assert(!quota_take(other, STR("anna"), 3, 86400 * 100));
	ck_assert(quota_take(other, STR("anna"), 3, 86400 * 101));
	close(fd);
	close(other);
	stop();
}
END_TEST

START_TEST(a_disk_that_fails_refuses_nobody)
{
	ck_assert(quota_take(-1, STR("anna"), 1, 0));
	start();
	at = dup(at);
	ck_assert(quota_take(at, STR("anna"), 0, 0));   /* a directory is no file of counts */
	stop();
}
END_TEST

START_TEST(many_users_have_places_and_the_file_stays_small)
{
	int fd;
	char name[20];

	start();
	fd = quota_open(at, "quota");
	for (int i = 0; i < 20000; i++) {
		snprintf(name, sizeof name, "user%d", i);
		ck_assert(quota_take(fd, str_of(name), 1, 86400));
	}
	ck_assert_int_le(lseek(fd, 0, SEEK_END), QUOTA_USERS * 16);
	close(fd);
	stop();
}
END_TEST

Suite *policy_quota_suite(void);
Suite *policy_quota_suite(void)
{
	Suite *s = suite_create("policy_quota");
	TCase *t = tcase_create("a day");

	tcase_add_test(t, a_day_has_so_many_and_the_next_as_many_again);
	tcase_add_test(t, a_disk_that_fails_refuses_nobody);
	tcase_add_test(t, many_users_have_places_and_the_file_stays_small);
	suite_add_tcase(s, t);
	return s;
}
