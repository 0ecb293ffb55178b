/* Fields of kept lines: any text goes in, and the same comes out. */
#include <check.h>
#include <string.h>

#include "lib/daily.h"

Suite *lib_daily_suite(void);

struct two {
	char a[8], b[8];
};
static const struct daily_field rows[] = { DAILY_ROW(struct two, a), DAILY_ROW(struct two, b) };

static bool read_two(const char *line, struct two *out)
{
	memset(out, 0, sizeof *out);
	return daily_read(str_of(line), rows, 2, out);
}

START_TEST(what_is_put_is_read_back)
{
	static const struct { const char *text, *line, *back; } row[] = {
		{ "x", "1 a=x", "x" }, { "a b", "1 a=a%20b", "a b" }, { "%=", "1 a=%25=", "%=" }, { "\n\x1b", "1 a=??", "??" },
		{ "\xc3\xa4", "1 a=%C3%A4", "\xc3\xa4" }, { "", "1", "" },
	};
	struct two two;

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		struct buf line = { 0 };

		buf_puts(&line, "1");
		daily_put_text(&line, "a", str_of(row[i].text));
		ck_assert_str_eq(buf_cstr(&line), row[i].line);
		ck_assert(read_two(buf_cstr(&line), &two));
		ck_assert_str_eq(two.a, row[i].back);
		buf_free(&line);
	}
}
END_TEST

START_TEST(what_is_no_line_of_ours_is_none)
{
	static const struct { const char *line; bool good; } row[] = {
		{ "1 a=x b=y", true }, { "1 b=y c=z a=x", true }, { "1", true }, { "", false }, { "2 a=x", false }, { "1 a", false }, { "1 a=", true },
		{ "1 a=x a=y", false }, { "1 a=%2", false }, { "1 a=%0a", false }, { "1 a=12345678", false }, { "1 a=1234567", true },
	};
	struct two two;

	for (size_t i = 0; i < sizeof row / sizeof *row; i++)
		ck_assert_msg(read_two(row[i].line, &two) == row[i].good, "%s", row[i].line);
}
END_TEST

Suite *lib_daily_suite(void)
{
	Suite *s = suite_create("lib_daily");
	TCase *t = tcase_create("lines");

	tcase_add_test(t, what_is_put_is_read_back);
	tcase_add_test(t, what_is_no_line_of_ours_is_none);
	suite_add_tcase(s, t);
	return s;
}
