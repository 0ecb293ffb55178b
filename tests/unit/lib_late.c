/* Libraries opened at their first use. */
#include <bearssl.h>
#include <check.h>
#include <dlfcn.h>
#include <signal.h>

#include "lib/late.h"

Suite *lib_late_suite(void);

/* One that is surely here, as this program is linked with it. */
static struct late a_library(void)
{
	static Dl_info info;

	ck_assert_int_ne(dladdr((void *)(uintptr_t)br_sha256_init, &info), 0);
	return (struct late){ .file = info.dli_fname };
}

START_TEST(a_library_that_is_there_gives_its_functions)
{
	struct late l = a_library();

	ck_assert(late_open(&l));
	ck_assert_ptr_eq(late_find(&l, "br_sha256_out"), (void *)(uintptr_t)br_sha256_out);
	late_close(&l);
	ck_assert(late_open(&l));
	late_close(&l);
}
END_TEST

START_TEST(one_that_is_not_there_may_come_later)
{
	struct late l = { .file = "libthat-nobody-has.so.0" };

	ck_assert(!late_open(&l));
	ck_assert(!late_is_there(&l));
	l.file = a_library().file;
	ck_assert(late_open(&l));
	late_close(&l);
}
END_TEST

START_TEST(to_ask_leaves_it_as_it_was)
{
	struct late l = a_library();

	ck_assert(late_is_there(&l));
	ck_assert_ptr_null(l.handle);
	ck_assert(late_open(&l));
	ck_assert(late_is_there(&l));
	ck_assert_ptr_nonnull(l.handle);
	late_close(&l);
}
END_TEST

START_TEST(one_that_is_linked_need_not_be_opened)
{
	struct late l = { .file = "" };

	ck_assert(late_open(&l));
	ck_assert_ptr_null(l.handle);
	ck_assert(LATE(l, "", br_sha256_init) == br_sha256_init);
	late_close(&l);
}
END_TEST

START_TEST(a_function_that_is_missing_ends_the_program)
{
	struct late l = a_library();

	late_open(&l);
	late_find(&l, "that_nobody_has");
}
END_TEST

Suite *lib_late_suite(void)
{
	Suite *s = suite_create("lib_late");
	TCase *c = tcase_create("late");

	tcase_add_test(c, a_library_that_is_there_gives_its_functions);
	tcase_add_test(c, one_that_is_not_there_may_come_later);
	tcase_add_test(c, to_ask_leaves_it_as_it_was);
	tcase_add_test(c, one_that_is_linked_need_not_be_opened);
	tcase_add_test_raise_signal(c, a_function_that_is_missing_ends_the_program, SIGABRT);
	suite_add_tcase(s, c);
	return s;
}
