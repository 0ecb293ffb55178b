/* Watching a directory: by inotify, and by its mtime where there is none. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/watch.h"

enum { WALL = 1700000000 };

static char dir_name[64];
static int dir;
static unsigned changes;

static void setup(void)
{
	const char *tmp = getenv("TMPDIR");

	loop_virtual_clock(WALL);
	snprintf(dir_name, sizeof dir_name, "%.40s/watch.XXXXXX", tmp ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(dir_name));
	dir = open(dir_name, O_RDONLY | O_DIRECTORY);
	ck_assert_int_ge(dir, 0);
}

static void teardown(void)
{
	unlinkat(dir, "a", 0);
	unlinkat(dir, "b", 0);
	close(dir);
	rmdir(dir_name);
}

static void changed(struct watch *w)
{
	ck_assert_int_eq(w->dir, dir);
	changes++;
}

static void put(const char *name)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT, 0600);

	ck_assert_int_ge(fd, 0);
	close(fd);
}

/* Some turns that take no time. */
static unsigned soon(void)
{
	changes = 0;
	for (int i = 0; i < 3; i++)
		loop_turn(0);
	return changes;
}

static unsigned within(int seconds)
{
	changes = 0;
	for (int i = 0; i < seconds * 2; i++)
		loop_turn(500);
	return changes;
}

static void set_mtime(int64_t s, long ns)
{
	struct timespec t[2] = { { .tv_sec = s, .tv_nsec = ns }, { .tv_sec = s, .tv_nsec = ns } };

	ck_assert_int_eq(futimens(dir, t), 0);
}

START_TEST(inotify_tells_at_once_of_what_comes)
{
	struct watch w = { 0 };

	ck_assert_int_eq(watch_start(&w, dir, dir_name, changed), 0);
	ck_assert_int_ne(w.io.fd, -1);
	ck_assert_uint_eq(soon(), 0);
	put("a");
	ck_assert_uint_ge(soon(), 1);
	ck_assert_uint_eq(soon(), 0);
	ck_assert_int_eq(renameat(dir, "a", dir, "b"), 0);
	ck_assert_uint_ge(soon(), 1);
	ck_assert_int_eq(linkat(dir, "b", dir, "a", 0), 0);
	ck_assert_uint_ge(soon(), 1);
	for (int i = 0; i < 200; i++)           /* more than one read */
		put("a");
	ck_assert_uint_ge(soon(), 1);
	ck_assert_uint_eq(soon(), 0);
	watch_stop(&w);
	put("a");
	ck_assert_uint_eq(soon(), 0);
}
END_TEST

/* No path, no inotify. */
static void start_without_inotify(struct watch *w)
{
	ck_assert_int_eq(watch_start(w, dir, "/nowhere/at/all", changed), 0);
	ck_assert_int_eq(w->io.fd, -1);
}

START_TEST(without_inotify_a_new_mtime_is_noticed_within_a_second)
{
	struct watch w = { 0 };

	set_mtime(WALL - 1000, 1);
	start_without_inotify(&w);
	ck_assert_uint_eq(within(2), 1);        /* in doubt at first */
	ck_assert_uint_eq(within(10), 0);
	set_mtime(WALL - 1000, 2);
	ck_assert_uint_eq(within(2), 1);
	ck_assert_uint_eq(within(10), 0);
	set_mtime(WALL - 2000, 2);              /* backwards is another one, too */
	ck_assert_uint_eq(within(2), 1);
	watch_stop(&w);
	set_mtime(WALL - 3000, 0);
	ck_assert_uint_eq(within(10), 0);
}
END_TEST

/* A second change within the clock's grain leaves the mtime as it is. */
START_TEST(a_fresh_mtime_is_looked_at_again)
{
	struct watch w = { 0 };
	unsigned n;

	set_mtime(WALL + 1, 5);
	start_without_inotify(&w);
	n = within(6);
	ck_assert_uint_ge(n, 2);
	ck_assert_uint_le(n, 5);
	ck_assert_uint_eq(within(10), 0);
	watch_stop(&w);
}
END_TEST

static void stop_it(struct watch *w)
{
	changes++;
	watch_stop(w);
	memset(w, 0xee, sizeof *w);
	free(w);
}

START_TEST(a_watch_may_be_stopped_and_freed_when_it_tells)
{
	struct watch *w = calloc(1, sizeof *w);

	ck_assert_int_eq(watch_start(w, dir, _i ? dir_name : "/nowhere", stop_it), 0);
	put("a");
	ck_assert_uint_eq(within(5), 1);
	put("b");
	ck_assert_uint_eq(within(5), 0);
}
END_TEST

START_TEST(what_was_not_started_may_be_stopped)
{
	struct watch w = { 0 };

	watch_stop(&w);
	ck_assert_int_eq(watch_start(&w, -1, dir_name, changed), -1);
	ck_assert_int_eq(errno, EBADF);
	watch_stop(&w);
	watch_stop(&w);
}
END_TEST

Suite *lib_watch_suite(void);
Suite *lib_watch_suite(void)
{
	Suite *s = suite_create("lib_watch");
	TCase *t = tcase_create("watch");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, inotify_tells_at_once_of_what_comes);
	tcase_add_test(t, without_inotify_a_new_mtime_is_noticed_within_a_second);
	tcase_add_test(t, a_fresh_mtime_is_looked_at_again);
	tcase_add_loop_test(t, a_watch_may_be_stopped_and_freed_when_it_tells, 0, 2);
	tcase_add_test(t, what_was_not_started_may_be_stopped);
	suite_add_tcase(s, t);
	return s;
}
