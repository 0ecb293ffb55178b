/* Certificates that a peer shows, without a handshake around them. */
#include <check.h>

#include "lib/x509.h"

Suite *lib_x509_suite(void);

/* What BearSSL's decoder did with these: it failed at the first octets, and when it was fed more it ran on behind the end
 * of its program and read wherever that led. */
START_TEST(a_certificate_that_is_none_is_refused_however_it_comes)
{
	static const struct str rows[] = { STR("\x31\x80"), STR("\x30\x82\x01\x48\x31"), STR("\x30\x82\xff\xff\x30\x82\xff\xf0\x02"), STR("\xff"),
		STR("-----BEGIN CERTIFICATE-----\n") };
	struct str text = rows[_i];
	struct x509_any any;
	const br_x509_class **x = &any.vtable;

	x509_any_init(&any);
	(*x)->start_chain(x, "mx.example.org");
	(*x)->start_cert(x, 65535);
	for (unsigned i = 0; i < 65535; i++)
		(*x)->append(x, (const unsigned char *)text.p + i % text.n, 1);
	(*x)->end_cert(x);
	ck_assert_uint_ne((*x)->end_chain(x), 0);
}
END_TEST

Suite *lib_x509_suite(void)
{
	Suite *s = suite_create("lib_x509");
	TCase *tc = tcase_create("peers");

	tcase_add_loop_test(tc, a_certificate_that_is_none_is_refused_however_it_comes, 0, 5);
	suite_add_tcase(s, tc);
	return s;
}
