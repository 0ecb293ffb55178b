/* Rules about TLS by domain or host: what is understood, and which one counts. */
#include "deliver/tlsrule.h"

#include <check.h>
#include <stdio.h>

Suite *deliver_tlsrule_suite(void);

#define DIGEST "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF"
#define COLONS "00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF"

static const struct { const char *text, *name; enum tls_level level; size_t pins; } right[] = {
	{ "Example.org none", "example.org", TLS_LEVEL_NONE, 0 },
	{ "* may", "*", TLS_LEVEL_MAY, 0 },
	{ ".example.org ENCRYPT", ".example.org", TLS_LEVEL_ENCRYPT, 0 },
	{ "relay_1.lan verify", "relay_1.lan", TLS_LEVEL_VERIFY, 0 },
	{ "2001:db8::1 dane", "2001:db8::1", TLS_LEVEL_DANE, 0 },
	{ "x.test fingerprint=" DIGEST, "x.test", TLS_LEVEL_FINGERPRINT, 2 },
	{ "x.test  fingerprint=" COLONS " Fingerprint=" DIGEST, "x.test", TLS_LEVEL_FINGERPRINT, 4 },
};

START_TEST(a_rule_says_what_is_demanded_of_whom)
{
	struct tls_rule r;
	const char *wrong = tls_rule_parse(str_of(right[_i].text), &r);

	ck_assert_msg(!wrong, "%s", wrong);
	ck_assert_str_eq(r.name, right[_i].name);
	ck_assert_int_eq(r.level, right[_i].level);
	ck_assert_uint_eq(r.pins.n, right[_i].pins);
	for (size_t i = 0; i < r.pins.n; i++) {
		ck_assert_int_eq(r.pins.pin[i].key_only, i & 1);
		ck_assert_uint_eq(r.pins.pin[i].digest[1], 0x11);
		ck_assert_uint_eq(r.pins.pin[i].digest[31], 0xff);
	}
}
END_TEST

static const char *const wrong_rules[] = {
	"", "x.test", "x.test must", "x.test may encrypt", "x.test fingerprint=", "x.test fingerprint=" DIGEST "0", "x.test fingerprint=" DIGEST " may",
	"x.test may fingerprint=" DIGEST, "x.test fingerprint=0" DIGEST, "x.test fingerprint=zz" DIGEST, "x..test may", "x.test. may", ". may", "*.x.test may",
	"[192.0.2.1] may", "x.test fingerprint=" COLONS ":", "x.test\001 may",
};

START_TEST(what_is_no_rule_is_refused_with_a_reason)
{
	struct tls_rule r;

	ck_assert_ptr_nonnull(tls_rule_parse(str_of(wrong_rules[_i]), &r));
}
END_TEST

START_TEST(eight_fingerprints_fit_and_nine_do_not)
{
	char text[1000] = "x.test";
	struct tls_rule r;
	size_t n = 6;

	for (int i = 1; i <= 9; i++) {
		n += (size_t)snprintf(text + n, sizeof text - n, " fingerprint=" DIGEST);
		ck_assert_int_eq(tls_rule_parse(str_of(text), &r) == NULL, i <= 8);
	}
}
END_TEST

START_TEST(the_closest_rule_is_found)
{
	static const char *const texts[] = { "* may", ".example.org encrypt", ".a.example.org verify", "example.org dane", "example.org none" };
	static const struct { const char *name; enum tls_level level; } row[] = {
		{ "other.test", TLS_LEVEL_MAY }, { "EXAMPLE.org", TLS_LEVEL_DANE }, { "x.example.org", TLS_LEVEL_ENCRYPT },
		{ "x.a.example.org", TLS_LEVEL_VERIFY }, { "a.example.org", TLS_LEVEL_ENCRYPT }, { "notexample.org", TLS_LEVEL_MAY }, { "", TLS_LEVEL_MAY },
	};
	struct tls_rule rule[5];
	struct tls_rules all = { rule, 5 };

	for (size_t i = 0; i < 5; i++)
		ck_assert_ptr_null(tls_rule_parse(str_of(texts[i]), &rule[i]));
	for (size_t i = 0; i < sizeof row / sizeof *row; i++)
		ck_assert_int_eq(tls_rule_find(&all, str_of(row[i].name))->level, row[i].level);
	all.n = 0;
	ck_assert_ptr_null(tls_rule_find(&all, STR("x")));
	ck_assert_ptr_null(tls_rule_find(NULL, STR("x")));
}
END_TEST

#define ROWS(a) (int)(sizeof(a) / sizeof *(a))

Suite *deliver_tlsrule_suite(void)
{
	Suite *s = suite_create("deliver_tlsrule");
	TCase *t = tcase_create("tlsrule");

	tcase_add_loop_test(t, a_rule_says_what_is_demanded_of_whom, 0, ROWS(right));
	tcase_add_loop_test(t, what_is_no_rule_is_refused_with_a_reason, 0, ROWS(wrong_rules));
	tcase_add_test(t, eight_fingerprints_fit_and_nine_do_not);
	tcase_add_test(t, the_closest_rule_is_found);
	suite_add_tcase(s, t);
	return s;
}
