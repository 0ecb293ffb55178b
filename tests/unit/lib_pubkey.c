/* Keys: made, printed, read back, and what is no key. */
#include "lib/pubkey.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/codec.h"
#include "lib/file.h"

Suite *lib_pubkey_suite(void);

static const unsigned char digest[KEY_DIGEST] = "0123456789abcdef0123456789abcdef";

/* A key signs, is printed and read back, and the copy signs the same. */
static void goes_round(enum key_kind kind, unsigned bits)
{
	struct sign_key *key = sign_key_new(kind, bits), *back;
	struct buf pem = { 0 }, public = { 0 };
	struct public_key p;
	unsigned char one[SIGNATURE_MAX], two[SIGNATURE_MAX], other[KEY_DIGEST] = "x";
	char why[200] = "";
	size_t n;

	ck_assert_ptr_nonnull(key);
	ck_assert(sign_key_kind(key) == kind && sign_key_bits(key) == (kind == KEY_RSA ? bits : 256));
	ck_assert(sign_key_print(key, &pem) && pem.n < KEY_PEM_MAX);
	back = sign_key_read(buf_view(&pem), why, sizeof why);
	ck_assert_msg(back != NULL, "%s", why);
	n = sign_key_sign(key, digest, one);
	ck_assert_uint_eq(n, kind == KEY_RSA ? bits / 8 : 64);
	ck_assert_uint_eq(sign_key_sign(back, digest, two), n);
	ck_assert_mem_eq(one, two, n);
	ck_assert(sign_key_public(back, &public));
	ck_assert_ptr_null(public_key_read(kind, buf_view(&public), &p));
	ck_assert_uint_eq(p.bits, sign_key_bits(key));
	ck_assert(public_key_check(&p, digest, (struct str){ (char *)one, n }));
	ck_assert(!public_key_check(&p, other, (struct str){ (char *)one, n }));
	ck_assert(!public_key_check(&p, digest, (struct str){ (char *)one, n - 1 }));
	one[n / 2] ^= 1;
	ck_assert(!public_key_check(&p, digest, (struct str){ (char *)one, n }));
	/* no octet less, none more */
	for (size_t less = 0; less < public.n; less++)
		ck_assert_ptr_nonnull(public_key_read(kind, (struct str){ public.p, less }, &p));
	buf_char(&public, '\0');
	ck_assert_ptr_nonnull(public_key_read(kind, buf_view(&public), &p));
	sign_key_free(key);
	sign_key_free(back);
	buf_free(&pem);
	buf_free(&public);
}

START_TEST(a_new_rsa_key_goes_round)
{
	goes_round(KEY_RSA, 1024);
	goes_round(KEY_RSA, 2048);
	ck_assert_ptr_null(sign_key_new(KEY_RSA, RSA_MIN - 1));
	ck_assert_ptr_null(sign_key_new(KEY_RSA, RSA_MAX + 1));
}
END_TEST

START_TEST(a_new_ed25519_key_goes_round)
{
	if (ed25519_available())
		goes_round(KEY_ED25519, 0);
	else
		ck_assert_ptr_null(sign_key_new(KEY_ED25519, 0));
}
END_TEST

START_TEST(keys_of_other_programs_are_read_or_refused_with_words)
{
	static const struct {
		const char *file;
		const char *why;        /* NULL: it can be used */
	} rows[] = {
		{ "rsa.key", NULL },
		{ "rsa-pkcs1.key", NULL },
		{ "rsa1024.key", NULL },
		{ "rsa4096.key", NULL },
		{ "rsa512.key", "the key has 512 bits" },
		{ "ec.key", "the key is neither RSA nor Ed25519" },
		{ "encrypted.key", "the key is encrypted" },
		{ "rsa.crt", "the key's file holds no private key" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct buf text = { 0 };
		char why[200] = "", path[64];
		struct sign_key *k;

		snprintf(path, sizeof path, "tests/pki/%s", rows[i].file);
		ck_assert_int_eq(file_read_all(AT_FDCWD, path, &text), 0);
		k = sign_key_read(buf_view(&text), why, sizeof why);
		ck_assert_msg((k == NULL) == (rows[i].why != NULL) && (k || !strncmp(why, rows[i].why, strlen(rows[i].why))), "%s: %s", path, why);
		sign_key_free(k);
		buf_free(&text);
	}
}
END_TEST

/* RFC 8032 7.1, test 1, as RFC 8463 has it. */
START_TEST(an_ed25519_key_of_another_program_has_the_public_key_it_should)
{
	const char *pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";
	char why[200] = "";
	struct sign_key *k = sign_key_read(str_of(pem), why, sizeof why);
	struct buf public = { 0 }, text = { 0 };

	if (!ed25519_available()) {
		ck_assert_str_eq(why, "the key is Ed25519, and there is no libsodium here");
		return;
	}
	ck_assert_msg(k != NULL, "%s", why);
	ck_assert(sign_key_public(k, &public) && base64_encode(&text, public.p, public.n));
	ck_assert_str_eq(buf_cstr(&text), "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=");
	sign_key_free(k);
	buf_free(&public);
	buf_free(&text);
}
END_TEST

Suite *lib_pubkey_suite(void)
{
	Suite *s = suite_create("lib_pubkey");
	TCase *t = tcase_create("pubkey");

	tcase_set_timeout(t, 120);              /* making keys takes its time, under valgrind above all */
	tcase_add_test(t, a_new_rsa_key_goes_round);
	tcase_add_test(t, a_new_ed25519_key_goes_round);
	tcase_add_test(t, keys_of_other_programs_are_read_or_refused_with_words);
	tcase_add_test(t, an_ed25519_key_of_another_program_has_the_public_key_it_should);
	suite_add_tcase(s, t);
	return s;
}
