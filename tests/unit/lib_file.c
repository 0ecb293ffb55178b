/* Files: nothing is half done without a word, and no rename replaces. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/file.h"

static char dir_name[64];
static int dir;
static struct file_calls kernel;

static void setup(void)
{
	const char *tmp = getenv("TMPDIR");

	kernel = file_sys;
	snprintf(dir_name, sizeof dir_name, "%.40s/file.XXXXXX", tmp ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(dir_name));
	dir = open(dir_name, O_RDONLY | O_DIRECTORY);
	ck_assert_int_ge(dir, 0);
}

static void teardown(void)
{
	static const char *const names[] = { "a", "b", "c" };

	file_sys = kernel;
	for (int i = 0; i < 3; i++)
		if (unlinkat(dir, names[i], 0) == -1)
			unlinkat(dir, names[i], AT_REMOVEDIR);
	close(dir);
	ck_assert_int_eq(rmdir(dir_name), 0);
}

static int make(const char *name, const char *text)
{
	int fd = file_sys.open(dir, name, O_RDWR | O_CREAT | O_EXCL, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(file_write(fd, text, strlen(text)), 0);
	return fd;
}

static void put(const char *name, const char *text) { close(make(name, text)); }

static void reads(const char *name, const char *text)
{
	struct buf b = { 0 };

	ck_assert_int_eq(file_read_all(dir, name, &b), 0);
	ck_assert_str_eq(buf_cstr(&b), text);
	buf_free(&b);
}

/* It is the inode's, whoever opens it by whatever descriptor; a copy is another one. */
START_TEST(the_kernel_remembers_a_file_and_not_its_copy)
{
	int fd = make("a", "x"), again, copy = make("b", "x");

	ck_assert(!file_sys.remembers(fd));
	file_sys.remember(fd);
	close(fd);
	again = file_sys.open(dir, "a", O_RDONLY, 0);
	ck_assert(file_sys.remembers(again));
	ck_assert(!file_sys.remembers(copy));
	close(again);
	close(copy);
}
END_TEST

static bool is_there(const char *name) { return faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0; }

/* ---- writing */

/* The disk in bad weather: interrupted, a few octets at a time, at last an error. */
static int weather, fail_with;
static unsigned calls;

static bool storm(ssize_t *result)
{
	calls++;
	*result = -1;
	errno = EINTR;
	if (calls % 2)
		return true;
	if (!weather || calls / 2 <= (unsigned)weather)
		return false;
	errno = fail_with;
	*result = fail_with ? -1 : 0;
	return true;
}

static ssize_t stormy_write(int fd, const void *p, size_t n)
{
	ssize_t r;

	return storm(&r) ? r : kernel.write(fd, p, n < 3 ? n : 3);
}

static ssize_t stormy_pwrite(int fd, const void *p, size_t n, off_t at)
{
	ssize_t r;

	return storm(&r) ? r : kernel.pwrite(fd, p, n < 3 ? n : 3, at);
}

static void begin_storm(int short_writes, int error)
{
	weather = short_writes;
	fail_with = error;
	calls = 0;
	file_sys.write = stormy_write;
	file_sys.pwrite = stormy_pwrite;
}

START_TEST(interrupted_and_short_writes_are_continued)
{
	int fd = make("a", "0123456789");

	begin_storm(0, 0);
	ck_assert_int_eq(file_pwrite(fd, "abcdefg", 7, 2), 0);
	ck_assert_int_eq(file_write(fd, "the end", 7), 0);
	ck_assert_int_eq(file_write(fd, "", 0), 0);
	close(fd);
	reads("a", "01abcdefg9the end");
}
END_TEST

static const struct { int error, told; } errors[] = { { ENOSPC, ENOSPC }, { EIO, EIO }, { EDQUOT, EDQUOT }, { EFBIG, EFBIG }, { 0, EIO } };

START_TEST(a_write_that_fails_says_why)
{
	int fd = make("a", "");

	begin_storm(2, errors[_i].error);
	ck_assert_int_eq(file_write(fd, "0123456789", 10), -1);
	ck_assert_int_eq(errno, errors[_i].told);
	begin_storm(2, errors[_i].error);
	ck_assert_int_eq(file_pwrite(fd, "0123456789", 10, 0), -1);
	ck_assert_int_eq(errno, errors[_i].told);
	close(fd);
	reads("a", "012345");
}
END_TEST

/* ---- reading */

START_TEST(reading_at_a_place_ends_with_the_file)
{
	char out[20] = "";
	int fd = make("a", "0123456789");

	ck_assert_int_eq(file_pread(fd, out, 4, 3), 4);
	ck_assert_mem_eq(out, "3456", 4);
	ck_assert_int_eq(file_pread(fd, out, sizeof out, 7), 3);
	ck_assert_int_eq(file_pread(fd, out, sizeof out, 10), 0);
	ck_assert_int_eq(file_pread(fd, out, sizeof out, 1000), 0);
	ck_assert_int_eq(file_pread(fd, out, 0, 0), 0);
	close(fd);
	ck_assert_int_eq(file_pread(-1, out, 1, 0), -1);
	ck_assert_int_eq(errno, EBADF);
}
END_TEST

static const struct { size_t size, had, max; bool ok; } wholes[] = {
	{ 0, 0, 0, true }, { 0, 0, 1, true }, { 10, 0, 10, true }, { 11, 0, 10, false }, { 4096, 0, 4096, true }, { 4097, 0, 4096, false },
	{ 9000, 0, 0, true }, { 9000, 0, 8999, false }, { 5, 5, 10, true }, { 6, 5, 10, false }, { 0, 10, 10, true },
};

START_TEST(a_whole_file_is_read_up_to_the_ceiling_or_not_at_all)
{
	struct buf b = { 0 }, content = { 0 };

	for (size_t i = 0; i < wholes[_i].size; i++)
		buf_char(&content, 'c');
	put("a", buf_cstr(&content));
	for (size_t i = 0; i < wholes[_i].had; i++)
		buf_char(&b, 'h');
	b.max = wholes[_i].max;
	errno = 0;
	ck_assert_int_eq(file_read_all(dir, "a", &b), wholes[_i].ok ? 0 : -1);
	ck_assert_int_eq(wholes[_i].ok ? 0 : errno, wholes[_i].ok ? 0 : EFBIG);
	ck_assert_uint_eq(b.n, wholes[_i].had + (wholes[_i].ok ? wholes[_i].size : 0));
	ck_assert(!b.bad);
	buf_free(&b);
	buf_free(&content);
}
END_TEST

START_TEST(what_is_no_file_is_not_read)
{
	struct buf b = { 0 };

	ck_assert_int_eq(file_read_all(dir, "a", &b), -1);
	ck_assert_int_eq(errno, ENOENT);
	ck_assert_int_eq(mkdirat(dir, "a", 0700), 0);
	ck_assert_int_eq(file_read_all(dir, "a", &b), -1);
	ck_assert_int_eq(errno, EISDIR);
	buf_free(&b);
}
END_TEST

/* ---- names: the kernel's way, and link() + unlink() */

static void take_way(int i)
{
	if (i)
		file_sys.rename = file_rename_by_link;
}

START_TEST(a_rename_moves)
{
	struct stat before, after;

	take_way(_i);
	put("a", "text");
	ck_assert_int_eq(fstatat(dir, "a", &before, 0), 0);
	ck_assert_int_eq(file_sys.rename(dir, "a", dir, "b"), 0);
	ck_assert(!is_there("a"));
	ck_assert_int_eq(fstatat(dir, "b", &after, 0), 0);
	ck_assert_uint_eq(after.st_ino, before.st_ino);
	ck_assert_uint_eq(after.st_nlink, 1);
}
END_TEST

START_TEST(a_rename_never_replaces)
{
	take_way(_i);
	put("a", "mine");
	put("b", "theirs");
	ck_assert_int_eq(file_sys.rename(dir, "a", dir, "b"), -1);
	ck_assert_int_eq(errno, EEXIST);
	reads("a", "mine");
	reads("b", "theirs");
}
END_TEST

/* Plain rename() does nothing between two names of one inode and says that all is well. */
START_TEST(two_names_of_one_file_are_in_each_others_way)
{
	take_way(_i);
	put("a", "text");
	ck_assert_int_eq(file_sys.link(dir, "a", dir, "b"), 0);
	ck_assert_int_eq(file_sys.rename(dir, "a", dir, "b"), -1);
	ck_assert_int_eq(errno, EEXIST);
	ck_assert(is_there("a") && is_there("b"));
}
END_TEST

START_TEST(a_rename_of_nothing_says_so)
{
	take_way(_i);
	ck_assert_int_eq(file_sys.rename(dir, "a", dir, "b"), -1);
	ck_assert_int_eq(errno, ENOENT);
	ck_assert(!is_there("b"));
}
END_TEST

static int unlink_error;

static int failing_unlink(int d, const char *name)
{
	if (strcmp(name, "a") != 0)
		return kernel.unlink(d, name);
	if (unlink_error == ENOENT)
		kernel.unlink(d, name);         /* somebody was quicker */
	errno = unlink_error;
	return -1;
}

START_TEST(a_rename_by_link_that_fails_has_changed_nothing)
{
	put("a", "text");
	file_sys.unlink = failing_unlink;
	unlink_error = EIO;
	ck_assert_int_eq(file_rename_by_link(dir, "a", dir, "b"), -1);
	ck_assert_int_eq(errno, EIO);
	reads("a", "text");
	ck_assert(!is_there("b"));
	unlink_error = ENOENT;
	ck_assert_int_eq(file_rename_by_link(dir, "a", dir, "b"), 0);
	reads("b", "text");
}
END_TEST

/* ---- directories */

START_TEST(a_directory_that_is_there_is_well)
{
	ck_assert_int_eq(file_mkdir(dir, "a", 0700), 1);
	ck_assert_int_eq(file_mkdir(dir, "a", 0700), 0);
	put("b", "");
	ck_assert_int_eq(file_mkdir(dir, "b", 0700), -1);
	ck_assert_int_eq(errno, ENOTDIR);
	ck_assert_int_eq(symlinkat("nowhere", dir, "c"), 0);
	ck_assert_int_eq(file_mkdir(dir, "c", 0700), -1);
	ck_assert_int_eq(errno, ENOENT);
}
END_TEST

static unsigned syncs;

static int count_sync(int fd)
{
	syncs++;
	return fsync(fd);
}

static const struct { const char *below; int made, error; } paths[] = {
	{ "a", 1, 0 }, { "a/", 1, 0 }, { "a//x", 2, 0 }, { "a/x/y/", 3, 0 }, { "", 0, 0 }, { "b/x", -1, ENOTDIR },
};

START_TEST(all_missing_directories_of_a_path_are_made_durably)
{
	char path[200], command[200];
	struct stat st;

	put("b", "");
	snprintf(path, sizeof path, "%s/%s", dir_name, paths[_i].below);
	syncs = 0;
	file_sys.fsync = count_sync;
	if (paths[_i].error) {
		ck_assert_int_eq(file_mkdirs(path, 0700), -1);
		ck_assert_int_eq(errno, paths[_i].error);
	} else {
		ck_assert_int_ge(file_mkdirs(path, 0700), 0);
		ck_assert(stat(path, &st) == 0 && S_ISDIR(st.st_mode));
		ck_assert_uint_eq(syncs, (unsigned)paths[_i].made);     /* each in the directory that it is in */
		ck_assert_int_eq(file_mkdirs(path, 0700), 0);
		ck_assert_uint_eq(syncs, (unsigned)paths[_i].made);
	}
	snprintf(command, sizeof command, "%s/a/x/y", dir_name);
	for (int i = 0; i < 3; i++) {
		rmdir(command);
		*strrchr(command, '/') = 0;
	}
}
END_TEST

START_TEST(a_path_that_is_none_is_refused)
{
	static char endless[5000];

	memset(endless, 'a', sizeof endless - 1);
	ck_assert_int_eq(file_mkdirs(endless, 0700), -1);
	ck_assert_int_eq(errno, ENAMETOOLONG);
	ck_assert_int_eq(file_mkdirs("", 0700), -1);
	ck_assert_int_eq(errno, ENOENT);
}
END_TEST

#define ROWS(table) (int)(sizeof(table) / sizeof *(table))

Suite *lib_file_suite(void);
Suite *lib_file_suite(void)
{
	Suite *s = suite_create("lib_file");
	TCase *t = tcase_create("files"), *w = tcase_create("write hints");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, interrupted_and_short_writes_are_continued);
	tcase_add_loop_test(t, a_write_that_fails_says_why, 0, ROWS(errors));
	tcase_add_test(t, reading_at_a_place_ends_with_the_file);
	tcase_add_loop_test(t, a_whole_file_is_read_up_to_the_ceiling_or_not_at_all, 0, ROWS(wholes));
	tcase_add_test(t, what_is_no_file_is_not_read);
	tcase_add_loop_test(t, a_rename_moves, 0, 2);
	tcase_add_loop_test(t, a_rename_never_replaces, 0, 2);
	tcase_add_loop_test(t, two_names_of_one_file_are_in_each_others_way, 0, 2);
	tcase_add_loop_test(t, a_rename_of_nothing_says_so, 0, 2);
	tcase_add_test(t, a_rename_by_link_that_fails_has_changed_nothing);
	tcase_add_test(t, a_directory_that_is_there_is_well);
	tcase_add_loop_test(t, all_missing_directories_of_a_path_are_made_durably, 0, ROWS(paths));
	tcase_add_test(t, a_path_that_is_none_is_refused);
	suite_add_tcase(s, t);
	tcase_set_tags(w, "write-hint");                /* tests/cross.sh, tests/run-unit.sh */
	tcase_add_checked_fixture(w, setup, teardown);
	tcase_add_test(w, the_kernel_remembers_a_file_and_not_its_copy);
	suite_add_tcase(s, w);
	return s;
}
