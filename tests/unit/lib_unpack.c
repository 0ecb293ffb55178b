/* Packed files: what was packed comes out, and no more than there is room for. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#ifdef HAVE_ZLIB
#include <zlib.h>
#endif

#include "lib/unpack.h"

Suite *lib_unpack_suite(void);

static const char *unpacked(const void *p, size_t n, size_t most, struct buf *out)
{
	*out = (struct buf){ .max = most };
	return unpack((struct str){ p, n }, out);
}

START_TEST(what_is_not_packed_is_taken_as_it_is)
{
	struct buf out;

	ck_assert_ptr_null(unpacked("<x/>", 4, 4, &out));
	ck_assert(str_eq(buf_view(&out), STR("<x/>")));
	buf_free(&out);
	ck_assert_str_eq(unpacked("<x/>", 4, 3, &out), "it is too large");
	buf_free(&out);
	ck_assert_ptr_null(unpacked("", 0, 4, &out));
	buf_free(&out);
}
END_TEST

#ifdef HAVE_ZLIB
static void number(struct buf *out, uint32_t value, size_t n)
{
	for (; n; n--, value >>= 8)
		buf_char(out, (char)(value & 0xff));
}

static void deflated(struct buf *out, struct str text, int window)
{
	z_stream z = { .next_in = (unsigned char *)(uintptr_t)text.p, .avail_in = (unsigned)text.n };
	size_t room = text.n + 1024;
	char *to = buf_reserve(out, room);

	ck_assert_int_eq(deflateInit2(&z, 9, Z_DEFLATED, window, 8, Z_DEFAULT_STRATEGY), Z_OK);
	z.next_out = (unsigned char *)to;
	z.avail_out = (unsigned)room;
	ck_assert_int_eq(deflate(&z, Z_FINISH), Z_STREAM_END);
	out->n += room - z.avail_out;
	deflateEnd(&z);
}

enum { DEFLATED = 8, STORED = 0, LATER = 8, ENCRYPTED = 1 };

/* An archive of one file, without its directory. */
static struct buf zip(struct str text, unsigned method, unsigned flags)
{
	uint32_t sum = (uint32_t)crc32(0, (const unsigned char *)text.p, (unsigned)text.n);
	struct buf data = { 0 }, out = { 0 };

	if (method == DEFLATED)
		deflated(&data, text, -15);
	else
		buf_str(&data, text);
	buf_add(&out, "PK\3\4", 4);
	number(&out, 20, 2);
	number(&out, flags, 2);
	number(&out, method, 2);
	number(&out, 0, 4);
	number(&out, flags & LATER ? 0 : sum, 4);
	number(&out, flags & LATER ? 0 : (uint32_t)data.n, 4);
	number(&out, flags & LATER ? 0 : (uint32_t)text.n, 4);
	number(&out, 5, 2);
	number(&out, 2, 2);
	buf_puts(&out, "a.xmlzz");
	buf_str(&out, buf_view(&data));
	if (flags & LATER) {
		buf_add(&out, "PK\7\10", 4);
		number(&out, sum, 4);
	}
	buf_puts(&out, "PK\1\2 a directory that is not looked at");
	buf_free(&data);
	return out;
}

static const struct str hello = { "<feedback>hello, hello, hello</feedback>", 39 };

START_TEST(an_archive_gives_its_first_file)
{
	static const struct { unsigned method, flags; const char *wrong; } row[] = {
		{ DEFLATED, 0, NULL }, { STORED, 0, NULL }, { DEFLATED, LATER, NULL }, { STORED, LATER, "it is packed in a way that is not known here" },
		{ 12, 0, "it is packed in a way that is not known here" }, { DEFLATED, ENCRYPTED, "it is encrypted" },
	};

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		struct buf in = zip(hello, row[i].method, row[i].flags), out;
		const char *wrong = unpacked(in.p, in.n, 1000, &out);

		ck_assert_msg(row[i].wrong ? wrong && !strcmp(wrong, row[i].wrong) : !wrong, "row %zu: %s", i, wrong ? wrong : "taken");
		if (!wrong)
			ck_assert(str_eq(buf_view(&out), hello));
		buf_free(&in);
		buf_free(&out);
	}
}
END_TEST

/* Each octet changed, and each length: nothing but what was packed comes out as right. */
START_TEST(a_broken_one_is_found_out)
{
	static const int kinds[] = { DEFLATED, STORED, DEFLATED | LATER << 8, -1 };

	for (size_t k = 0; k < 4; k++) {
		struct buf in = { 0 }, out;

		if (kinds[k] == -1)
			deflated(&in, hello, 15 + 16);
		else
			in = zip(hello, (unsigned)kinds[k] & 0xff, (unsigned)kinds[k] >> 8);
		for (size_t i = 0; i < in.n; i++) {
			unpacked(in.p, i, 1000, &out);
			buf_free(&out);
			in.p[i] ^= 0x55;
			if (!unpacked(in.p, in.n, 1000, &out))
				ck_assert(str_eq(buf_view(&out), hello) || i < 4);
			in.p[i] ^= 0x55;
			buf_free(&out);
		}
		buf_free(&in);
	}
}
END_TEST

START_TEST(a_bomb_does_not_go_off)
{
	char *zeros = calloc(1, 10 << 20);

	for (int i = 0; i < 2; i++) {
		struct buf in = { 0 }, out;

		if (i == 0)
			deflated(&in, (struct str){ zeros, 10 << 20 }, 15 + 16);
		else
			in = zip((struct str){ zeros, 10 << 20 }, DEFLATED, 0);
		ck_assert_uint_lt(in.n, 20000);
		ck_assert_str_eq(unpacked(in.p, in.n, 1 << 20, &out), "it unpacks to too much");
		ck_assert_uint_le(out.room, 4 << 20);
		buf_free(&in);
		buf_free(&out);
	}
	free(zeros);
}
END_TEST
#endif

Suite *lib_unpack_suite(void)
{
	Suite *s = suite_create("lib_unpack");
	TCase *t = tcase_create("packed files");

	tcase_add_test(t, what_is_not_packed_is_taken_as_it_is);
#ifdef HAVE_ZLIB
	tcase_add_test(t, an_archive_gives_its_first_file);
	tcase_add_test(t, a_broken_one_is_found_out);
	tcase_add_test(t, a_bomb_does_not_go_off);
#endif
	suite_add_tcase(s, t);
	return s;
}
