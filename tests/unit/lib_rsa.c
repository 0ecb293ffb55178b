/* RSA's public operation, compared with BearSSL's on numbers of all sizes. */
#include "lib/rsa.h"

#include <bearssl.h>
#include <check.h>
#include <string.h>

#include "lib/rand.h"

#ifdef __SIZEOF_INT128__
static const bool fast = true;
#else
static const bool fast = false;         /* BearSSL does all of it then */
#endif

Suite *lib_rsa_suite(void);

/* Random octets, or for some of the numbers long runs of ones and zeros, where carries go wrong. */
static void fill(unsigned char *p, size_t n, unsigned how)
{
	rand_bytes(p, n);
	for (size_t i = 0; how && i < n; i++)
		if (p[i] % 4)
			p[i] = how == 1 ? 0xff : how == 2 ? 0 : i % 16 < 8 ? 0xff : 0;
}

START_TEST(the_result_is_that_of_bearssl)
{
	static const struct str exponents[] = { { "\x01\x00\x01", 3 }, { "\x03", 1 }, { "\x11", 1 }, { "\xff\xff\xff\xff\xff\xff\xff\xff", 8 }, { "\x01", 1 } };
	br_rsa_public theirs = br_rsa_i31_public;

	for (unsigned round = 0; round < 400; round++) {
		unsigned char number[512], x[512], same[512];
		struct str e = exponents[round < 380 ? round % 3 : round % 5];
		size_t n = round % 4 ? 128 + rand_below(129) : (size_t)64 << round % 3;
		br_rsa_public_key key = { .n = number, .nlen = n, .e = (unsigned char *)e.p, .elen = e.n };

		fill(number, n, round % 5);
		number[0] = round % 7 ? number[0] | 1 : 0xff;
		number[n - 1] |= 1;
		fill(x, n, round % 3);
		x[0] = round % 11 ? (unsigned char)rand_below(number[0]) : number[0];
		memcpy(same, x, n);
		if (!rsa_raise(x, (struct str){ (char *)number, n }, e)) {
			ck_assert(!fast || memcmp(same, number, n) >= 0);
			continue;
		}
		ck_assert_uint_eq(theirs(same, n, &key), 1);
		ck_assert_mem_eq(x, same, n);
	}
}
END_TEST

START_TEST(what_is_no_number_for_it_is_refused)
{
	unsigned char x[600] = { 0 };
	char number[600];
	static const struct str e = { "\x03", 1 };

	memset(number, 0xff, sizeof number);
	ck_assert(!rsa_raise(x, (struct str){ number, 63 }, e));
	ck_assert(!rsa_raise(x, (struct str){ number, 513 }, e));
	ck_assert(!rsa_raise(x, (struct str){ number, 128 }, STR("")));
	ck_assert(!rsa_raise(x, (struct str){ number, 128 }, (struct str){ "\0", 1 }));
	number[0] = 0;
	ck_assert(!rsa_raise(x, (struct str){ number, 128 }, e));
	number[0] = number[127] = (char)0xfe;
	ck_assert(!rsa_raise(x, (struct str){ number, 128 }, e));
	number[127] = (char)0xff;
	memcpy(x, number, 128);
	ck_assert(!rsa_raise(x, (struct str){ number, 128 }, e));
}
END_TEST

Suite *lib_rsa_suite(void)
{
	Suite *s = suite_create("lib_rsa");
	TCase *t = tcase_create("public");

	tcase_add_test(t, the_result_is_that_of_bearssl);
	tcase_add_test(t, what_is_no_number_for_it_is_refused);
	suite_add_tcase(s, t);
	return s;
}
