/* Public suffixes: names out of the list's own tests; make conformance has all of those. */
#include <check.h>

#include "lib/suffix.h"

static const struct { const char *domain, *registered; bool top; } names[] = {        /* top: known without a list */
	{ "", "", true }, { "com", "", true }, { "COM", "", true }, { "example.com", "example.com", true }, { "b.example.com", "example.com", true },
	{ "a.b.Example.COM", "Example.COM", true }, { "example.example", "example.example", true }, { "a.b.example.example", "example.example", true },
	{ "uk.com", "", false }, { "b.example.uk.com", "example.uk.com", false }, { "co.uk", "", false }, { "a.B.co.UK", "B.co.UK", false },
	{ "c.kobe.jp", "", false }, { "a.b.c.kobe.jp", "b.c.kobe.jp", false }, { "www.city.kobe.jp", "city.kobe.jp", false },
	{ "ck", "", true }, { "test.ck", "", false }, { "a.b.test.ck", "b.test.ck", false }, { "www.ck", "www.ck", false }, { "www.www.ck", "www.ck", false },
	{ "www.xn--85x722f.com.cn", "xn--85x722f.com.cn", false }, { "me.github.io", "me.github.io", false },
	{ ".com", "", true }, { "a..com", "", true }, { "example.com.", "", true },
};

START_TEST(a_registered_name_is_one_label_more_than_its_suffix)
{
	struct str domain = str_of(names[_i].domain), found = suffix_registered(domain);

	if (!names[_i].top && !suffix_available())
		return;
	ck_assert_msg(str_eq(found, str_of(names[_i].registered)), "%s: " STR_FMT, names[_i].domain, STR_ARG(found));
}
END_TEST

Suite *lib_suffix_suite(void);
Suite *lib_suffix_suite(void)
{
	Suite *s = suite_create("lib_suffix");
	TCase *t = tcase_create("names");

	tcase_add_loop_test(t, a_registered_name_is_one_label_more_than_its_suffix, 0, (int)(sizeof names / sizeof *names));
	suite_add_tcase(s, t);
	return s;
}
