#include "lib/memory.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "lib/loop.h"

#ifdef __GLIBC__

enum { PIECES = 1000, LARGE = 16 << 10 };

static size_t resident(void)
{
	FILE *f = fopen("/proc/self/statm", "r");
	unsigned long all, n;

	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(fscanf(f, "%lu %lu", &all, &n), 2);
	fclose(f);
	return n * (size_t)sysconf(_SC_PAGESIZE);
}

START_TEST(what_is_free_between_what_is_in_use_goes_back_within_a_minute)
{
	static void *large[PIECES], *small[PIECES];
	size_t before = mallinfo2().uordblks, most;

	loop_virtual_clock(1000000);
	memory_give_back();
	loop_advance(60000);
	loop_turn(0);
	for (int i = 0; i < PIECES; i++) {
		large[i] = malloc(LARGE);
		small[i] = malloc(100);
		ck_assert(large[i] && small[i]);
		memset(large[i], 1, LARGE);
	}
	if (mallinfo2().uordblks - before < (size_t)PIECES * LARGE)
		return;         /* another allocator: ASan's, valgrind's */
	for (int i = 0; i < PIECES; i++)
		free(large[i]);
	most = resident();
	loop_turn(0);
	ck_assert_uint_gt(resident() + (1 << 20), most);        /* not every turn */
	loop_advance(60000);
	loop_turn(0);
	ck_assert_uint_lt(resident() + (8 << 20), most);
	for (int i = 0; i < PIECES; i++)
		free(small[i]);
}
END_TEST

#endif

Suite *lib_memory_suite(void);
Suite *lib_memory_suite(void)
{
	Suite *s = suite_create("lib_memory");
	TCase *t = tcase_create("memory");

#ifdef __GLIBC__
	tcase_add_test(t, what_is_free_between_what_is_in_use_goes_back_within_a_minute);
#endif
	suite_add_tcase(s, t);
	return s;
}
