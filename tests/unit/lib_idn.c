/* Domains that are not ASCII. */
#include <check.h>

#include "lib/idn.h"

static const struct { const char *domain, *ascii; } names[] = {
	{ "example.org", "example.org" }, { "b\xc3\xbc" "cher.example", "xn--bcher-kva.example" }, { "B\xc3\x9c" "CHER.example", "xn--bcher-kva.example" },
	{ "fa\xc3\x9f.example", "xn--fa-hia.example" }, { "\xe4\xbe\x8b.\xe6\xb5\x8b\xe8\xaf\x95", "xn--fsq.xn--0zwm56d" },
	{ "a\xe3\x80\x82" "b\xc3\xbc.example", "a.xn--b-eha.example" }, { "\xff.example", NULL },
};

START_TEST(a_domain_is_what_the_dns_knows)
{
	char out[256];
	const char *wrong = idn_to_ascii(str_of(names[_i].domain), out);

	if (!idn_available() && !is_ascii(str_of(names[_i].domain))) {
		ck_assert_ptr_nonnull(wrong);
		return;
	}
	ck_assert_msg((wrong == NULL) == (names[_i].ascii != NULL), "%s: %s", names[_i].domain, wrong ? wrong : out);
	if (!wrong)
		ck_assert_str_eq(out, names[_i].ascii);
}
END_TEST

Suite *lib_idn_suite(void);
Suite *lib_idn_suite(void)
{
	Suite *s = suite_create("lib_idn");
	TCase *t = tcase_create("names");

	tcase_add_loop_test(t, a_domain_is_what_the_dns_knows, 0, (int)(sizeof names / sizeof *names));
	suite_add_tcase(s, t);
	return s;
}
