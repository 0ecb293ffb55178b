/* Header fields and address lists: what people and programs write, and what an attacker would. */
#include "mime/header.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define S(literal) { "" literal, sizeof(literal) - 1 }
#define COUNT(rows) (sizeof(rows) / sizeof(*(rows)))

Suite *mime_header_suite(void);

/* ---- fields */

/* "name=value|..." and where the walk stopped. */
static void walk(struct buf *out, struct str message, size_t *stopped)
{
	struct str rest = message;
	struct field f;

	buf_clear(out);
	while (header_next(&rest, &f)) {
		ck_assert(f.whole.p == f.name.p && f.whole.p + f.whole.n == rest.p);
		buf_printf(out, STR_FMT "=" STR_FMT "|", STR_ARG(f.name), STR_ARG(f.value));
	}
	*stopped = message.n - rest.n;
}

START_TEST(fields_are_given_as_they_stand)
{
	static const struct { struct str in; const char *out; size_t stopped; } row[] = {
		{ S("A: b\r\nC: d\r\n\r\nbody: x\r\n"), "A= b|C= d|", 14 },
		{ S("A: b\nC:d\n\nbody"), "A= b|C=d|", 10 },
		{ S("A: b\r\n  c\r\n\td\r\nE:\r\n\r\n"), "A= b\r\n  c\r\n\td|E=|", 21 },
		{ S("A: b\r\n \r\n c\r\n\r\n"), "A= b\r\n \r\n c|", 15 },
		{ S("A : b\r\nB\t: c\r\n"), "A= b|B= c|", 14 },
		{ S("A: b"), "A= b|", 4 },
		{ S("A: b\r\n c"), "A= b\r\n c|", 8 },
		{ S("A: b: c\r\n"), "A= b: c|", 9 },
		{ S(""), "", 0 },
		{ S("\r\nA: b\r\n"), "", 2 },
		{ S("\nA: b\n"), "", 1 },
		/* no field: the body begins, and keeps what was found there */
		{ S("A: b\r\nno field\r\nC: d\r\n"), "A= b|", 6 },
		{ S("From root Mon Jan  5 12:00:00 2026\nA: b\n"), "", 0 },
		{ S(" A: b\r\n"), "", 0 },
		{ S(": b\r\n"), "", 0 },
		{ S("A: b\r\n\xc3\xb8: c\r\n"), "A= b|", 6 },
		{ S("A\x01: b\r\n"), "", 0 },
		{ S("A b: c\r\n"), "", 0 },
		{ S("A: b\r\n\r"), "A= b|", 6 },
		{ S("A: b\r\n\r\r\nC: d\r\n"), "A= b|", 6 },
		/* a bare CR ends no line */
		{ S("A: b\rC: d\r\n\r\n"), "A= b\rC: d|", 13 },
		{ S("A: b\r"), "A= b\r|", 5 },
	};
	struct buf out = { 0 };
	size_t stopped;

	for (size_t i = 0; i < COUNT(row); i++) {
		walk(&out, row[i].in, &stopped);
		ck_assert_str_eq(buf_cstr(&out), row[i].out);
		ck_assert_msg(stopped == row[i].stopped, "row %zu: %zu", i, stopped);
		ck_assert_uint_eq(header_length(row[i].in), row[i].stopped);
	}
	buf_free(&out);
}
END_TEST

START_TEST(fields_are_counted_by_name_in_the_header_alone)
{
	struct str m = STR("Received: a\r\nX-Received: b\r\nRECEIVED: c\r\n Received: d\r\nreceived : e\r\nReceivedX: f\r\n\r\nReceived: g\r\n");

	ck_assert_uint_eq(header_count(m, STR("Received")), 3);
	ck_assert_uint_eq(header_count(m, STR("Subject")), 0);
	ck_assert_uint_eq(header_count(STR(""), STR("Received")), 0);
}
END_TEST

/* ---- addresses */

struct found {
	struct buf text;
	size_t n, stop_at;              /* stop_at 0: never */
};

static bool note(void *arg, const struct addr *a)
{
	struct found *f = arg;

	buf_printf(&f->text, STR_FMT, STR_ARG(a->local));
	if (a->domain.n)
		buf_printf(&f->text, "@" STR_FMT, STR_ARG(a->domain));
	buf_char(&f->text, '|');
	return ++f->n != f->stop_at;
}

START_TEST(addresses_are_found_in_what_people_write)
{
	static const struct { struct str in; const char *out; } row[] = {
		{ S(""), "" }, { S("  \r\n "), "" }, { S("a@b"), "a@b|" },
		{ S(" a@b.example \r\n"), "a@b.example|" }, { S("a@b,c@d"), "a@b|c@d|" },
		{ S("A <a@b>"), "a@b|" }, { S("<a@b>"), "a@b|" },
		{ S("\"A, B\" <a@b>, c@d (C, D)"), "a@b|c@d|" },
		{ S("John Q. Public <a@b>, O'Brien <c@d>"), "a@b|c@d|" }, { S("root"), "root|" },
		{ S("root, a@b, <bin>"), "root|a@b|bin|" },
		{ S("root (Cron Daemon)"), "root|" }, { S("Cron Daemon <root>"), "root|" },
		{ S("a@b (x (y \\) ((z)))) , c@d"), "a@b|c@d|" },
		{ S("(x)a(x)@(x)b(x).(x)c(x)"), "a@b.c|" }, { S("a . b @ c\r\n . d"), "a.b@c.d|" },
		{ S("A <(x) a@b (x)> (x)"), "a@b|" }, { S("\"a b\"@c"), "\"a b\"@c|" },
		{ S("\"a\\\"b\"@c, \"a,b\"@c"), "\"a\\\"b\"@c|\"a,b\"@c|" },
		{ S("\"a\r\n\tb\"@c"), "\"a b\"@c|" },
		{ S("friends: a@b, C <c@d>;"), "a@b|c@d|" }, { S("undisclosed-recipients:;"), "" },
		{ S("\"a group\": a@b ; , c@d"), "a@b|c@d|" },
		{ S("x:;,y: a@b;,c@d"), "a@b|c@d|" },
		{ S("<@r.example,@s.example:a@b>"), "a@b|" },
		{ S("A <@r.example:a@b>, c@d"), "a@b|c@d|" }, { S("<@r,,@s:a@b>"), "a@b|" },
		{ S(",, a@b ,, c@d ,"), "a@b|c@d|" },
		{ S("a@[192.0.2.1], B <b@[IPv6:2001:db8::1]>"), "a@[192.0.2.1]|b@[IPv6:2001:db8::1]|" },
		{ S("=?utf-8?Q?J=C3=B8rn=2C_Esq?= <a@b>, =?iso-8859-1?B?5g==?= x <c@d>"), "a@b|c@d|" },
		{ S("J\xc3\xb8rn <a@b>, j\xc3\xb8rn@b"), "a@b|j\xc3\xb8rn@b|" },
		{ S("a@b.example <c@d>"), "c@d|" }, { S("[EXT] A <a@b>"), "a@b|" },
		{ S("\"A\" \"B\" <a@b>"), "a@b|" }, { S("A (B) <a@b> (C)"), "a@b|" },
		{ S("A.B.C <a@b>"), "a@b|" }, { S("A @ B <a@b>"), "a@b|" },
	};
	struct found f = { .stop_at = 0 };

	for (size_t i = 0; i < COUNT(row); i++) {
		buf_clear(&f.text);
		ck_assert_msg(header_addresses(row[i].in, note, &f), "%s", row[i].in.p);
		ck_assert_str_eq(buf_cstr(&f.text), row[i].out);
	}
	buf_free(&f.text);
}
END_TEST

START_TEST(what_cannot_be_understood_is_told_and_the_rest_is_given)
{
	static const struct { struct str in; const char *out; } row[] = {
		{ S("A B, c@d"), "c@d|" }, { S("a@b c@d, e@f"), "e@f|" }, { S("a@, b@c"), "b@c|" },
		{ S("@a, b@c"), "b@c|" }, { S("a@b@c, d@e"), "d@e|" },
		{ S("<>, a@b"), "a@b|" }, { S("A <>"), "" }, { S("A < B C >, d@e"), "d@e|" },
		{ S("a@b_c, d@e"), "d@e|" }, { S(".a@b, c@d"), "c@d|" }, { S("a..b@c, d@e"), "d@e|" },
		{ S("<a@b, c@d"), "c@d|" }, { S("a@b>, c@d"), "c@d|" },
		{ S("<a@b> x, c@d"), "a@b|c@d|" }, { S("<a@b> <c@d>"), "a@b|c@d|" },
		{ S("<<a@b>>"), "a@b|" },
		{ S("a@b), c@d"), "c@d|" }, { S("a@b], c@d"), "c@d|" }, { S("a@[x, c@d"), "" },
		{ S("a@[[192.0.2.1], c@d"), "c@d|" }, { S("a\\b@c, d@e"), "d@e|" },
		{ S("a@b, (x"), "a@b|" }, { S("a@b (x, c@d"), "a@b|" }, { S("a@b, \"x"), "a@b|" },
		{ S("a@b, \"x\\"), "a@b|" }, { S("a@b, (x\\"), "a@b|" }, { S("(\\"), "" },
		{ S("\"\\"), "" },
		{ S("x: a@b"), "a@b|" }, { S("a@b;"), "a@b|" }, { S(":a@b;"), "a@b|" },
		{ S("x: y: a@b;"), "a@b|" }, { S("<x:a@b>, c@d"), "a@b|c@d|" },
		{ S("<@r:>, c@d"), "c@d|" },
		{ S("\"a\".\"b\"@c\"d\", e@f"), "e@f|" }, { S("a@b\0, c@d"), "c@d|" },
		{ S("a\x01@b, c@d"), "c@d|" }, { S("\"a\0\"@b, c@d"), "c@d|" },
		{ S("\xff@b, c@d"), "c@d|" },
		{ S("A <@r, b@c"), "" },
		{ S("a@b.example: c@d;"), "c@d|" }, { S("a@b.example:;, c@d"), "c@d|" },    /* a group's name is no address */
	};
	struct found f = { .stop_at = 0 };

	for (size_t i = 0; i < COUNT(row); i++) {
		buf_clear(&f.text);
		ck_assert_msg(!header_addresses(row[i].in, note, &f), "%s", row[i].in.p);
		ck_assert_msg(str_eq(buf_view(&f.text), str_of(row[i].out)), "%s: %s", row[i].in.p, buf_cstr(&f.text));
	}
	buf_free(&f.text);
}
END_TEST

START_TEST(walk_ends_when_the_caller_has_enough)
{
	static const struct str row[] = { S("a@b, c@d, e@f"), S("<a@b>, <c@d>, e@f"), S("x: a@b, c@d;, e@f"), S("a@b, c@d") };

	for (size_t i = 0; i < COUNT(row); i++) {
		struct found f = { .stop_at = 2 };

		ck_assert(!header_addresses(row[i], note, &f));
		ck_assert_uint_eq(f.n, 2);
		ck_assert_str_eq(buf_cstr(&f.text), "a@b|c@d|");
		buf_free(&f.text);
	}
}
END_TEST

START_TEST(address_too_long_is_left_out)
{
	struct found f = { .stop_at = 0 };
	struct buf text = { 0 };

	for (int i = 0; i < 1000; i++)
		buf_puts(&text, "aaaaaaaaaa");
	buf_puts(&text, "@b, <");
	for (int i = 0; i < 1000; i++)
		buf_puts(&text, "@cccccccccc,");
	buf_puts(&text, "@d:e@f>, ");
	for (int i = 0; i < 65; i++)
		buf_puts(&text, "g");
	buf_puts(&text, ", ");
	for (int i = 0; i < 64; i++)
		buf_puts(&text, "h");
	ck_assert(!header_addresses(buf_view(&text), note, &f));
	ck_assert_uint_eq(f.n, 2);
	ck_assert(strncmp(buf_cstr(&f.text), "e@f|hhhh", 8) == 0);
	buf_free(&f.text);
	buf_free(&text);
}
END_TEST

START_TEST(hostile_nesting_and_repetition_take_linear_time)
{
	static const struct str row[] = {
		S("("), S("(()"), S("\""), S("\\"), S("["), S("[]"), S("<"), S("<@"), S(">"), S(":"),
		S(","), S(";"), S("@"), S("."), S("a,"), S("a:"), S("<a@b>"), S("\"\","), S("x:;"),
		S("()"), S("a b "),
		S("\r\n "), S("=?"),
	};
	const size_t size = 1000000;
	char *text = malloc(size + 1);

	ck_assert_ptr_nonnull(text);
	for (size_t i = 0; i < COUNT(row); i++) {
		struct found f = { .stop_at = 0 };

		for (size_t k = 0; k < size; k++)
			text[k] = row[i].p[k % row[i].n];
		header_addresses((struct str){ text, size }, note, &f);
		buf_free(&f.text);
	}
	memset(text, '(', size / 2);
	memset(text + size / 2, ')', size / 2);
	ck_assert(header_addresses((struct str){ text, size }, note, NULL));
	free(text);
}
END_TEST

START_TEST(hostile_headers_are_walked_in_linear_time)
{
	static const struct str row[] = { S("a:\n"), S("a:\n "), S("\n"), S("a"), S("a:"), S("a:\r\n\r"), S(" ") };
	const size_t size = 1000000;
	char *text = malloc(size);

	ck_assert_ptr_nonnull(text);
	for (size_t i = 0; i < COUNT(row); i++) {
		for (size_t k = 0; k < size; k++)
			text[k] = row[i].p[k % row[i].n];
		ck_assert(header_length((struct str){ text, size }) <= size);
		header_count((struct str){ text, size }, STR("Received"));
	}
	free(text);
}
END_TEST

START_TEST(nothing_is_read_behind_the_end)
{
	static const struct str row[] = {
		S("A (b (c)) \"d\\\"e\" <@r,@s:f . g @ [192.0.2.1]>, h: \"i\\j\"@k, (\\l);, =?x?= \xc3\xb8@m"),
		S("Received : a\r\n\tb\r\nSubject: c\n d\r\n\r\nbody"),
	};
	struct found f = { .stop_at = 0 };

	for (size_t i = 0; i < COUNT(row); i++) {
		for (size_t n = 0; n <= row[i].n; n++) {
			char *copy = malloc(n ? n : 1);         /* the sanitizer watches its end */

			ck_assert_ptr_nonnull(copy);
			memcpy(copy, row[i].p, n);
			header_addresses((struct str){ copy, n }, note, &f);
			header_count((struct str){ copy, n }, STR("Received"));
			free(copy);
		}
	}
	buf_free(&f.text);
}
END_TEST

Suite *mime_header_suite(void)
{
	Suite *s = suite_create("mime_header");
	TCase *fields = tcase_create("fields"), *addresses = tcase_create("addresses");

	tcase_add_test(fields, fields_are_given_as_they_stand);
	tcase_add_test(fields, fields_are_counted_by_name_in_the_header_alone);
	tcase_add_test(fields, hostile_headers_are_walked_in_linear_time);
	suite_add_tcase(s, fields);
	tcase_add_test(addresses, addresses_are_found_in_what_people_write);
	tcase_add_test(addresses, what_cannot_be_understood_is_told_and_the_rest_is_given);
	tcase_add_test(addresses, walk_ends_when_the_caller_has_enough);
	tcase_add_test(addresses, address_too_long_is_left_out);
	tcase_add_test(addresses, hostile_nesting_and_repetition_take_linear_time);
	tcase_add_test(addresses, nothing_is_read_behind_the_end);
	suite_add_tcase(s, addresses);
	return s;
}
