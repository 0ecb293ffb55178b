/* Slices: cutting, comparing, numbers, copies. */
#include <check.h>
#include <string.h>

#include "lib/str.h"

#define S(literal) { literal, sizeof(literal) - 1 }

static const struct {
	struct str text;
	bool first;
	struct str first_head, first_rest;
	struct str last_head, last_rest;
} cuts[] = {
	{ S("a@b@c"), true, S("a"), S("b@c"), S("a@b"), S("c") },
	{ S("@"), true, S(""), S(""), S(""), S("") },
	{ S("a@"), true, S("a"), S(""), S("a"), S("") },
	{ S("@b"), true, S(""), S("b"), S(""), S("b") },
	{ S("a\0@b"), true, S("a\0"), S("b"), S("a\0"), S("b") },
	{ S("abc"), false, S("?"), S("abc"), S("?"), S("abc") },
	{ S(""), false, S("?"), S(""), S("?"), S("") },
};

START_TEST(a_cut_changes_nothing_when_there_is_nothing_to_cut_at)
{
	struct str head = STR("?"), rest = cuts[_i].text;

	ck_assert(str_cut(&rest, '@', &head) == cuts[_i].first);
	ck_assert(str_eq(head, cuts[_i].first_head) && str_eq(rest, cuts[_i].first_rest));
	head = STR("?");
	rest = cuts[_i].text;
	ck_assert(str_cut_last(&rest, '@', &head) == cuts[_i].first);
	ck_assert(str_eq(head, cuts[_i].last_head) && str_eq(rest, cuts[_i].last_rest));
}
END_TEST

START_TEST(words_are_what_stands_between_blanks)
{
	struct str rest = STR(" \t one two\t\tthree\rfour  "), word;

	ck_assert(str_word(&rest, &word) && str_eq(word, STR("one")));
	ck_assert(str_word(&rest, &word) && str_eq(word, STR("two")));
	ck_assert(str_word(&rest, &word) && str_eq(word, STR("three\rfour")));
	ck_assert(!str_word(&rest, &word));
	ck_assert_uint_eq(word.n, 0);
	ck_assert_uint_eq(rest.n, 0);
}
END_TEST

START_TEST(the_empty_slice_needs_no_pointer)
{
	struct str none = { NULL, 0 }, rest = none, out = STR("?");
	char copy[1] = "x";
	uint64_t n;

	ck_assert(!str_cut(&rest, 'x', &out) && !str_cut_last(&rest, 'x', &out));
	ck_assert(!str_word(&rest, &out));
	ck_assert(str_eq(none, STR("")) && str_eq_nocase(none, STR("")));
	ck_assert(str_starts_nocase(STR("a"), none) && str_ends_nocase(STR("a"), none));
	ck_assert_uint_eq(str_trim(none).n, 0);
	ck_assert_uint_eq(str_from(none, 7).n, 0);
	ck_assert(!str_number(none, 9, &n));
	ck_assert(str_copy(copy, sizeof copy, none));
	ck_assert_str_eq(copy, "");
	ck_assert(str_eq(str_of(NULL), none));
}
END_TEST

static const struct { struct str text, trimmed; } trims[] = {
	{ S(" \t\r\n a b \r\n"), S("a b") }, { S("\r\n"), S("") }, { S("a"), S("a") }, { S("\va"), S("\va") }, { S("\0 "), S("\0") },
};

START_TEST(trimming_takes_blanks_and_line_ends)
{
	ck_assert(str_eq(str_trim(trims[_i].text), trims[_i].trimmed));
}
END_TEST

static const struct { struct str a, b; bool same, starts, ends; } cases[] = {
	{ S("Abc"), S("aBC"), true, true, true },
	{ S("abc"), S("AB"), false, true, false },
	{ S("abc"), S("BC"), false, false, true },
	{ S("ab"), S("abc"), false, false, false },
	{ S("[\xc4]"), S("{\xe4}"), false, false, false },      /* letters of ASCII only */
	{ S("a@"), S("A`"), false, false, false },
};

START_TEST(only_the_case_of_ascii_letters_is_overlooked)
{
	ck_assert(str_eq_nocase(cases[_i].a, cases[_i].b) == cases[_i].same);
	ck_assert(str_starts_nocase(cases[_i].a, cases[_i].b) == cases[_i].starts);
	ck_assert(str_ends_nocase(cases[_i].a, cases[_i].b) == cases[_i].ends);
}
END_TEST

static const struct { struct str text; uint64_t max; bool ok; uint64_t value; } numbers[] = {
	{ S("0"), 0, true, 0 },
	{ S("1"), 0, false, 0 },
	{ S("007"), 7, true, 7 },
	{ S("255"), 255, true, 255 },
	{ S("256"), 255, false, 0 },
	{ S("2550"), 255, false, 0 },
	{ S("18446744073709551615"), UINT64_MAX, true, UINT64_MAX },
	{ S("18446744073709551616"), UINT64_MAX, false, 0 },
	{ S("18446744073709551625"), UINT64_MAX, false, 0 },
	{ S("99999999999999999999"), UINT64_MAX, false, 0 },
	{ S("000000000000000000000000000001"), 1, true, 1 },
	{ S(""), 9, false, 0 }, { S("+1"), 9, false, 0 }, { S("-1"), 9, false, 0 }, { S(" 1"), 9, false, 0 }, { S("1 "), 9, false, 0 },
	{ S("1\0"), 9, false, 0 }, { S("0x1"), 9, false, 0 }, { S("\xb1"), 9, false, 0 },
};

START_TEST(a_number_is_digits_that_do_not_pass_the_limit)
{
	uint64_t n = 4711;

	ck_assert(str_number(numbers[_i].text, numbers[_i].max, &n) == numbers[_i].ok);
	ck_assert_uint_eq(n, numbers[_i].ok ? numbers[_i].value : 4711);
}
END_TEST

static const struct { struct str text; bool ok; } copies[] = {
	{ S(""), true }, { S("abc"), true }, { S("abcd"), false }, { S("a\0b"), false }, { S("\0"), false },
};

START_TEST(a_copy_is_whole_or_empty)
{
	char dst[5] = "????";

	ck_assert(str_copy(dst, 4, copies[_i].text) == copies[_i].ok);
	ck_assert_str_eq(dst, copies[_i].ok ? copies[_i].text.p : "");
	ck_assert_int_eq(dst[4], 0);
}
END_TEST

START_TEST(character_classes_take_any_char)
{
	int letters = 0, digits = 0, printable = 0;

	for (int c = -128; c < 256; c++) {
		letters += ascii_alpha((char)c);
		digits += ascii_digit((char)c);
		printable += ascii_print((char)c);
	}
	/* 128..255 are -128..-1 again: 0..127 were counted once */
	ck_assert_int_eq(letters, 52);
	ck_assert_int_eq(digits, 10);
	ck_assert_int_eq(printable, 95);
	ck_assert_int_eq(ascii_lower('Z'), 'z');
	ck_assert_int_eq(ascii_lower('['), '[');
	ck_assert_int_eq(ascii_lower((char)0xc4), (char)0xc4);
}
END_TEST

#define ROWS(table) (int)(sizeof(table) / sizeof *(table))

Suite *lib_str_suite(void);
Suite *lib_str_suite(void)
{
	Suite *s = suite_create("lib_str");
	TCase *t = tcase_create("slices");

	tcase_add_loop_test(t, a_cut_changes_nothing_when_there_is_nothing_to_cut_at, 0, ROWS(cuts));
	tcase_add_test(t, words_are_what_stands_between_blanks);
	tcase_add_test(t, the_empty_slice_needs_no_pointer);
	tcase_add_loop_test(t, trimming_takes_blanks_and_line_ends, 0, ROWS(trims));
	tcase_add_loop_test(t, only_the_case_of_ascii_letters_is_overlooked, 0, ROWS(cases));
	tcase_add_loop_test(t, a_number_is_digits_that_do_not_pass_the_limit, 0, ROWS(numbers));
	tcase_add_loop_test(t, a_copy_is_whole_or_empty, 0, ROWS(copies));
	tcase_add_test(t, character_classes_take_any_char);
	suite_add_tcase(s, t);
	return s;
}
