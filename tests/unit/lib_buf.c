/* Buffers: the ceiling holds, and all that fits below it fits. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"

static void holds(const struct buf *b, const char *text)
{
	ck_assert_msg(str_eq(buf_view(b), str_of(text)), "wanted \"%s\", it holds \"%.*s\"", text, (int)b->n, b->n ? b->p : "");
}

START_TEST(a_buffer_of_zeros_is_empty)
{
	struct buf b = { 0 };

	holds(&b, "");
	ck_assert_str_eq(buf_cstr(&b), "");
	ck_assert(!b.bad);
	buf_drop(&b, 5);
	buf_clear(&b);
	holds(&b, "");
	buf_free(&b);
	ck_assert(buf_add(&b, NULL, 0));
	ck_assert_ptr_nonnull(buf_reserve(&b, 0));
	buf_free(&b);
}
END_TEST

START_TEST(all_ways_of_adding_add)
{
	struct buf b = { 0 };

	ck_assert(buf_puts(&b, "a") && buf_char(&b, 'b') && buf_str(&b, STR("cd")) && buf_add(&b, "ef", 2) && buf_printf(&b, "%d%s", 7, "g"));
	holds(&b, "abcdef7g");
	memcpy(buf_reserve(&b, 2), "hi", 2);
	holds(&b, "abcdef7g");          /* not counted yet */
	b.n += 2;
	ck_assert_str_eq(buf_cstr(&b), "abcdef7ghi");
	holds(&b, "abcdef7ghi");
	buf_drop(&b, 3);
	holds(&b, "def7ghi");
	buf_drop(&b, 100);
	holds(&b, "");
	buf_free(&b);
}
END_TEST

/* What is there, what is added, and whether it fits below 8 octets. */
static const struct { const char *had, *added; bool fits; } ceilings[] = {
	{ "", "12345678", true }, { "", "123456789", false }, { "1234567", "8", true }, { "1234567", "89", false },
	{ "12345678", "", true }, { "12345678", "9", false }, { "1", "2345678", true },
};

static bool add_whole(struct buf *b, const char *s) { return buf_add(b, s, strlen(s)); }
static bool add_printf(struct buf *b, const char *s) { return buf_printf(b, "%s", s); }
static bool (*const ways[])(struct buf *, const char *) = { add_whole, buf_puts, add_printf };
enum { CEILINGS = sizeof ceilings / sizeof *ceilings, WAYS = sizeof ways / sizeof *ways };

START_TEST(what_fits_below_the_ceiling_fits_and_what_does_not_adds_nothing)
{
	const char *had = ceilings[_i / WAYS].had, *added = ceilings[_i / WAYS].added;
	bool fits = ceilings[_i / WAYS].fits;
	struct buf b = { .max = 8 };
	char want[20];

	/* Memory of exactly the ceiling: the NUL that printf and C want is not part of it. */
	b.p = malloc(8);
	ck_assert_ptr_nonnull(b.p);
	b.room = 8;
	ck_assert(buf_puts(&b, had));
	ck_assert(ways[_i % WAYS](&b, added) == fits);
	ck_assert(b.bad == !fits);
	snprintf(want, sizeof want, "%s%s", had, fits ? added : "");
	holds(&b, want);
	ck_assert_str_eq(buf_cstr(&b), want);
	holds(&b, want);
	buf_free(&b);
	ck_assert_uint_eq(b.max, 8);
}
END_TEST

START_TEST(bad_stays_until_the_buffer_is_cleared)
{
	struct buf b = { .max = 4 };

	ck_assert(!buf_puts(&b, "12345"));
	ck_assert(buf_puts(&b, "1234"));        /* smaller pieces still fit: look at bad */
	ck_assert(b.bad);
	buf_clear(&b);
	ck_assert(!b.bad);
	ck_assert(buf_printf(&b, "%04d", 42));
	ck_assert_str_eq(buf_cstr(&b), "0042");
	ck_assert(!b.bad);                      /* nor did asking for the C string spoil it */
	buf_free(&b);
}
END_TEST

START_TEST(a_size_that_wraps_is_refused)
{
	static const size_t huge[] = { SIZE_MAX, SIZE_MAX - 1, SIZE_MAX - 3 };
	struct buf b = { 0 }, limited = { .max = 100 };

	ck_assert(buf_puts(&b, "abcd") && buf_puts(&limited, "abcd"));
	ck_assert_ptr_null(buf_reserve(&b, huge[_i]));
	ck_assert_ptr_null(buf_reserve(&limited, huge[_i]));
	ck_assert(b.bad && limited.bad);
	holds(&b, "abcd");
	buf_free(&b);
	buf_free(&limited);
}
END_TEST

START_TEST(a_long_print_is_whole)
{
	struct buf b = { 0 };
	char *text = malloc(100001);

	memset(text, 'x', 100000);
	text[100000] = 0;
	ck_assert(buf_printf(&b, "%s|%s", text, text));
	ck_assert_uint_eq(b.n, 200001);
	ck_assert_int_eq(b.p[100000], '|');
	ck_assert_int_eq(b.p[200000], 'x');
	ck_assert_uint_eq(strlen(buf_cstr(&b)), 200001);
	free(text);
	buf_free(&b);
}
END_TEST

Suite *lib_buf_suite(void);
Suite *lib_buf_suite(void)
{
	Suite *s = suite_create("lib_buf");
	TCase *t = tcase_create("buffers");

	tcase_add_test(t, a_buffer_of_zeros_is_empty);
	tcase_add_test(t, all_ways_of_adding_add);
	tcase_add_loop_test(t, what_fits_below_the_ceiling_fits_and_what_does_not_adds_nothing, 0, CEILINGS * WAYS);
	tcase_add_test(t, bad_stays_until_the_buffer_is_cleared);
	tcase_add_loop_test(t, a_size_that_wraps_is_refused, 0, 3);
	tcase_add_test(t, a_long_print_is_whole);
	suite_add_tcase(s, t);
	return s;
}
