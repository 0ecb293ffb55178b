/* Base64, and hashes against the vectors of their RFCs. */
#include <check.h>
#include <string.h>

#include "lib/codec.h"
#include "lib/hash.h"

static const struct { const char *octets, *text; } pairs[] = {         /* RFC 4648 10 */
	{ "", "" }, { "f", "Zg==" }, { "fo", "Zm8=" }, { "foo", "Zm9v" }, { "foob", "Zm9vYg==" }, { "fooba", "Zm9vYmE=" }, { "foobar", "Zm9vYmFy" },
	{ "\xff\xfe\xfd", "//79" }, { "\xfb\xef\xbe", "++++" },
};

START_TEST(base64_is_that_of_the_rfc_both_ways)
{
	struct buf out = { 0 };
	unsigned char octets[16];
	size_t n = sizeof octets, wanted = strlen(pairs[_i].octets);

	ck_assert(base64_encode(&out, pairs[_i].octets, wanted));
	ck_assert_str_eq(buf_cstr(&out), pairs[_i].text);
	ck_assert(base64_decode(str_of(pairs[_i].text), octets, &n));
	ck_assert_uint_eq(n, wanted);
	ck_assert_mem_eq(octets, pairs[_i].octets, n);
	buf_free(&out);
}
END_TEST

static const struct { const char *octets, *text; } strings[] = {
	{ "", "\"\"" }, { "a/b", "\"a/b\"" }, { "\"\\", "\"\\\"\\\\\"" }, { "\t\r\n\x1b\x7f", "\"\\u0009\\u000d\\u000a\\u001b\\u007f\"" },
	{ "gr\xc3\xbc\xc3\x9f", "\"gr\xc3\xbc\xc3\x9f\"" }, { "\xf0\x9f\x93\xac", "\"\xf0\x9f\x93\xac\"" },
	{ "a\xff\xc3", "\"a\\ufffd\\ufffd\"" }, { "\xc2\x9b", "\"\\ufffd\\ufffd\"" }, { "\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\"" },
};

START_TEST(what_is_percent_encoded_comes_back)
{
	static const char text[] = "a:b@c/d%e #~\xc3\xa4";
	struct buf out = { 0 };
	char back[40];

	ck_assert(percent_encode(&out, str_of(text)));
	ck_assert_str_eq(buf_cstr(&out), "a%3Ab%40c%2Fd%25e%20%23~%C3%A4");
	ck_assert(percent_decode(buf_view(&out), back, sizeof back));
	ck_assert_str_eq(back, text);
	buf_free(&out);
}
END_TEST

START_TEST(a_json_string_holds_any_octets)
{
	struct buf out = { 0 };

	ck_assert(json_quote(&out, str_of(strings[_i].octets)));
	ck_assert_str_eq(buf_cstr(&out), strings[_i].text);
	buf_free(&out);
}
END_TEST

static const struct { const char *octets, *text; } elements[] = {
	{ "", "" }, { "a.test", "a.test" }, { "<a b=\"c\" d='e'>&amp;", "&lt;a b=&quot;c&quot; d=&apos;e&apos;&gt;&amp;amp;" }, { "a\tb\r\nc", "a\tb\r\nc" },
	{ "gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f" }, { "\x01\x1b", "\xef\xbf\xbd\xef\xbf\xbd" }, { "\xff", "\xef\xbf\xbd" },
	{ "\xef\xbf\xbf\xef\xbf\xbe", "\xef\xbf\xbd\xef\xbf\xbd" }, { "\xef\xbf\xbd", "\xef\xbf\xbd" }, { "\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
};

START_TEST(text_in_xml_holds_any_octets)
{
	struct buf out = { 0 };

	ck_assert(xml_text(&out, str_of(elements[_i].octets)));
	ck_assert_str_eq(buf_cstr(&out), elements[_i].text);
	buf_clear(&out);
	ck_assert(xml_text(&out, STR("\0")));
	ck_assert_str_eq(buf_cstr(&out), "\xef\xbf\xbd");
	buf_free(&out);
}
END_TEST

static const char *const wrong[] = { "Z", "Zg", "Zg=", "Zg===", "Zh==", "Zm9=", "Z g=", "Zm9v\r\n", "====", "=Zg=", "Zg==Zg==", "Zm9v!A==", "Zm\x80v" };

START_TEST(what_is_not_exactly_base64_is_refused)
{
	unsigned char octets[16];
	size_t n = sizeof octets;

	ck_assert_msg(!base64_decode(str_of(wrong[_i]), octets, &n), "%s", wrong[_i]);
}
END_TEST

START_TEST(nothing_is_written_behind_the_room_there_is)
{
	unsigned char octets[4] = "???";
	size_t n = 2;

	ck_assert(!base64_decode(STR("Zm9v"), octets, &n));
	ck_assert_int_eq(octets[2], '?');
	n = 3;
	ck_assert(base64_decode(STR("Zm9v"), octets, &n));
}
END_TEST

static void expect_hex(const unsigned char *p, size_t n, const char *hex)
{
	char text[2 * HASH_MAX + 1] = "";

	for (size_t i = 0; i < n; i++) {
		text[2 * i] = "0123456789abcdef"[p[i] >> 4];
		text[2 * i + 1] = "0123456789abcdef"[p[i] & 15];
	}
	text[2 * n] = '\0';
	ck_assert_str_eq(text, hex);
}

START_TEST(hashes_hmac_and_pbkdf2_agree_with_their_rfcs)
{
	unsigned char out[HASH_MAX];

	hash_of(HASH_SHA256, STR("abc"), out);                                          /* RFC 6234 8.5 */
	expect_hex(out, hash_size(HASH_SHA256), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	hash_of(HASH_SHA1, STR("abc"), out);
	expect_hex(out, hash_size(HASH_SHA1), "a9993e364706816aba3e25717850c26c9cd0d89d");
	hmac_of(HASH_SHA256, STR("Jefe"), STR("what do ya want for nothing?"), out);    /* RFC 4231 4.3 */
	expect_hex(out, hash_size(HASH_SHA256), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
	pbkdf2_of(HASH_SHA1, STR("password"), STR("salt"), 4096, out);                  /* RFC 6070 2 */
	expect_hex(out, hash_size(HASH_SHA1), "4b007901b765489abead49d926f721d065a429c1");
	ck_assert_uint_eq(hash_size(HASH_SHA384), 48);
	ck_assert_uint_eq(hash_size(HASH_SHA512), 64);
}
END_TEST

START_TEST(octets_are_the_same_or_not)
{
	ck_assert(octets_same("abc", "abc", 3) && !octets_same("abc", "abd", 3) && !octets_same("xbc", "abc", 3) && octets_same("a", "b", 0));
}
END_TEST

#define ROWS(table) (int)(sizeof(table) / sizeof *(table))

Suite *lib_codec_suite(void);
Suite *lib_codec_suite(void)
{
	Suite *s = suite_create("lib_codec");
	TCase *t = tcase_create("octets as text, and hashes");

	tcase_add_loop_test(t, base64_is_that_of_the_rfc_both_ways, 0, ROWS(pairs));
	tcase_add_test(t, what_is_percent_encoded_comes_back);
	tcase_add_loop_test(t, a_json_string_holds_any_octets, 0, (int)(sizeof strings / sizeof *strings));
	tcase_add_loop_test(t, text_in_xml_holds_any_octets, 0, (int)(sizeof elements / sizeof *elements));
	tcase_add_loop_test(t, what_is_not_exactly_base64_is_refused, 0, ROWS(wrong));
	tcase_add_test(t, nothing_is_written_behind_the_room_there_is);
	tcase_add_test(t, hashes_hmac_and_pbkdf2_agree_with_their_rfcs);
	tcase_add_test(t, octets_are_the_same_or_not);
	suite_add_tcase(s, t);
	return s;
}
