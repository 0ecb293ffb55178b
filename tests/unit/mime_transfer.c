/* DATA on the wire: held against a plain statement of the rules, for every short text and every way to split it. */
#include "mime/transfer.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define S(literal) { "" literal, sizeof(literal) - 1 }
#define COUNT(rows) (sizeof(rows) / sizeof(*(rows)))

Suite *mime_transfer_suite(void);

/* In the loops over every text a test that holds says nothing: ck_assert() writes a mark for each, which would take most of the time. */

/* ---- what undot() must do, said without a state machine */

struct taken {
	struct buf out;
	size_t used, longest;
	bool ended, bare;
};

static void reset(struct taken *t)
{
	struct buf keep = t->out;

	*t = (struct taken){ .out = keep };
	buf_clear(&t->out);
}

/* Octets before the CR LF that ends the first line of s, or n: there is none. */
static size_t line_end(struct str s)
{
	const char *eol = memmem(s.p, s.n, "\r\n", 2);

	return eol ? (size_t)(eol - s.p) : s.n;
}

static void say(struct taken *t, struct str wire)
{
	reset(t);
	t->used = wire.n;
	for (struct str rest = wire; rest.n;) {
		struct str line = { rest.p, line_end(rest) };
		bool whole = line.n < rest.n;

		rest = str_from(rest, whole ? line.n + 2 : line.n);
		if (whole && str_eq(line, STR("."))) {
			t->ended = true;
			t->used -= rest.n;
			break;
		}
		if (line.n && line.p[0] == '.')
			line = str_from(line, 1);
		if (!whole && str_eq(line, STR("\r")) && line.p > wire.p && line.p[-1] == '.')
			line.n = 0;                     /* it may yet be the end */
		buf_str(&t->out, line);
		if (whole)
			buf_puts(&t->out, "\r\n");
		else if (line.n && line.p[line.n - 1] == '\r')
			line.n--;                       /* it may yet end the line */
		if (line.n > t->longest)
			t->longest = line.n;
	}
	for (size_t i = 0; i < t->used; i++) {
		if (wire.p[i] == '\n' && (i == 0 || wire.p[i - 1] != '\r'))
			t->bare = true;
		if (wire.p[i] == '\r' && i + 1 < t->used && wire.p[i + 1] != '\n')
			t->bare = true;
	}
}

/* undot() fed with pieces that end at the cuts. */
static void feed(struct taken *t, struct str wire, size_t cut1, size_t cut2)
{
	const size_t at[] = { 0, cut1, cut2, wire.n };
	struct undot u = { 0 };

	reset(t);
	for (size_t i = 0; i < 3 && !u.ended; i++) {
		size_t n = at[i + 1] - at[i], used = undot(&u, wire.p + at[i], n, &t->out);

		if (used != n && !u.ended)
			ck_abort_msg("%zu of %zu octets used", used, n);
		t->used += used;
	}
	t->ended = u.ended;
	t->bare = u.bare;
	t->longest = u.longest;
}

static void feed_octets(struct taken *t, struct str wire)
{
	struct undot u = { 0 };

	reset(t);
	while (t->used < wire.n && !u.ended)
		t->used += undot(&u, wire.p + t->used, 1, &t->out);
	t->ended = u.ended;
	t->bare = u.bare;
	t->longest = u.longest;
}

static const char *shown(struct str s)
{
	static char text[4][256];
	static unsigned turn;
	char *to = text[turn++ % 4];
	size_t n = 0;

	for (size_t i = 0; i < s.n && n < 250; i++)
		n += (size_t)snprintf(to + n, 256 - n, s.p[i] == '\r' ? "<CR>" : s.p[i] == '\n' ? "<LF>" : "%c", s.p[i]);
	to[n] = 0;
	return to;
}

static bool same(const struct taken *a, const struct taken *b)
{
	return str_eq(buf_view(&a->out), buf_view(&b->out)) && a->used == b->used && a->ended == b->ended && a->bare == b->bare &&
		a->longest == b->longest;
}

static void check_split(struct taken *want, struct taken *got, struct str wire, size_t cut1, size_t cut2)
{
	feed(got, wire, cut1, cut2);
	if (same(want, got))
		return;
	ck_abort_msg("%s cut at %zu and %zu: %s, used %zu, ended %d, bare %d, longest %zu", shown(wire), cut1, cut2,
		shown(buf_view(&got->out)), got->used, got->ended, got->bare, got->longest);
}

/* Text number i over the octets that matter. */
static struct str nth_text(unsigned i, size_t n, char room[16])
{
	for (size_t k = 0; k < n; k++, i /= 4)
		room[k] = ".\r\na"[i % 4];
	return (struct str){ room, n };
}

START_TEST(undot_keeps_the_rules_for_every_short_text_and_split)
{
	struct taken want = { 0 }, got = { 0 };
	char room[16];

	for (size_t n = 0; n <= 6; n++) {
		for (unsigned i = 0; i < 1u << (2 * n); i++) {
			struct str wire = nth_text(i, n, room);

			say(&want, wire);
			for (size_t cut = 0; cut <= n; cut++)
				check_split(&want, &got, wire, cut, n);
			for (size_t cut = 1; n <= 5 && cut < n; cut++)
				for (size_t next = cut + 1; next < n; next++)
					check_split(&want, &got, wire, cut, next);
			feed_octets(&got, wire);
			if (!same(&want, &got))
				ck_abort_msg("%s octet by octet: %s", shown(wire), shown(buf_view(&got.out)));
		}
	}
	buf_free(&want.out);
	buf_free(&got.out);
}
END_TEST

START_TEST(only_a_dot_between_whole_line_ends_ends_the_data)
{
	static const struct { struct str wire; const char *out; bool ended, bare; } row[] = {
		{ S(".\r\n"), "", true, false },
		{ S("a\r\n.\r\n"), "a\r\n", true, false },
		{ S("a\r\n..\r\n.\r\n"), "a\r\n.\r\n", true, false },
		{ S("a\r\n...\r\n.b\r\n.\r\n"), "a\r\n..\r\nb\r\n", true, false },
		{ S("a.\r\n.\r\n"), "a.\r\n", true, false },
		{ S("a\r\n. \r\n"), "a\r\n \r\n", false, false },
		/* with an octet of the line ends missing, or one too many */
		{ S("a\n.\nb"), "a\n.\nb", false, true },
		{ S("a\n.\r\nb"), "a\n.\r\nb", false, true },
		{ S("a\r\n.\nb"), "a\r\n\nb", false, true },
		{ S("a\r.\rb"), "a\r.\rb", false, true },
		{ S("a\r.\nb"), "a\r.\nb", false, true },
		{ S("a\n.\rb"), "a\n.\rb", false, true },
		{ S("a\r.\r\nb"), "a\r.\r\nb", false, true },
		{ S("a\r\n.\rb"), "a\r\n\rb", false, true },
		{ S("a\r\n.\r\r\nb"), "a\r\n\r\r\nb", false, true },
		{ S("a\r\r\n.\r\r\nb"), "a\r\r\n\r\r\nb", false, true },
		{ S("a\n\r.\n\rb"), "a\n\r.\n\rb", false, true },
		/* the real end behind them is seen */
		{ S("a\n.\nb\r\n.\r\n"), "a\n.\nb\r\n", true, true },
		{ S("a\r\n.\r\r\n.\r\n"), "a\r\n\r\r\n", true, true },
		/* what a careless reader might take for a line end or a dot */
		{ S("a\x85.\x85" "b\r\n"), "a\x85.\x85" "b\r\n", false, false },
		{ S("a\x8d\x8a.\x8d\x8a" "b"), "a\x8d\x8a.\x8d\x8a" "b", false, false },
		{ S("a\r\n\xae\r\nb"), "a\r\n\xae\r\nb", false, false },
		{ S("a\xe2\x80\xa8.\xe2\x80\xa8"), "a\xe2\x80\xa8.\xe2\x80\xa8", false, false },
		{ S("a\x0b.\x0c"), "a\x0b.\x0c", false, false },
	};
	struct taken want = { 0 }, got = { 0 };

	for (size_t i = 0; i < COUNT(row); i++) {
		feed(&want, row[i].wire, row[i].wire.n, row[i].wire.n);
		ck_assert_msg(str_eq(buf_view(&want.out), str_of(row[i].out)), "%s: %s", shown(row[i].wire), shown(buf_view(&want.out)));
		ck_assert_msg(want.ended == row[i].ended && want.bare == row[i].bare, "%s", shown(row[i].wire));
		for (size_t cut = 0; cut <= row[i].wire.n; cut++)
			for (size_t next = cut; next <= row[i].wire.n; next++)
				check_split(&want, &got, row[i].wire, cut, next);
	}
	buf_free(&want.out);
	buf_free(&got.out);
}
END_TEST

START_TEST(nul_beside_the_dot_is_text_and_is_told)
{
	static const struct { struct str wire, out; } row[] = {
		{ S("a\r\n\0.\r\n"), S("a\r\n\0.\r\n") }, { S("a\r\n.\0\r\n"), S("a\r\n\0\r\n") },
		{ S("a\r\n.\r\0\n"), S("a\r\n\r\0\n") }, { S("a\0b\r\n"), S("a\0b\r\n") },
	};

	for (size_t i = 0; i < COUNT(row); i++) {
		struct undot u = { 0 };
		struct buf out = { 0 };

		undot(&u, row[i].wire.p, row[i].wire.n, &out);
		ck_assert(u.nul && !u.ended && !u.eight_bit);
		ck_assert(str_eq(buf_view(&out), row[i].out));
		buf_free(&out);
	}
}
END_TEST

START_TEST(what_follows_the_end_is_left_alone)
{
	static const struct str wire = S("a\r\n.\r\nMAIL FROM:<\xc3\xb8@x>\0\r\n\n");
	struct undot u = { 0 };
	struct buf out = { 0 };

	ck_assert_uint_eq(undot(&u, wire.p, wire.n, &out), 6);
	ck_assert(u.ended && !u.eight_bit && !u.nul && !u.bare);
	ck_assert_uint_eq(undot(&u, wire.p + 6, wire.n - 6, &out), 0);
	ck_assert(str_eq(buf_view(&out), STR("a\r\n")));
	buf_free(&out);
}
END_TEST

START_TEST(eight_bit_octet_is_seen_wherever_it_stands)
{
	char text[40];

	for (size_t n = 1; n < sizeof(text); n++) {
		for (size_t at = 0; at <= n; at++) {            /* at == n: there is none */
			struct undot u = { 0 };
			struct buf out = { 0 };

			memset(text, 'a', n);
			if (at < n)
				text[at] = (char)0x80;
			undot(&u, text, n, &out);
			ck_assert(u.eight_bit == (at < n));
			buf_free(&out);
		}
	}
}
END_TEST

START_TEST(longest_line_is_known_before_it_ends)
{
	static const char text[] = "abc\r\n..defghi\r\njk";
	struct undot u = { 0 };
	struct buf out = { 0 };

	undot(&u, text, 4, &out);
	ck_assert_uint_eq(u.longest, 3);
	undot(&u, text + 4, 4, &out);
	ck_assert_uint_eq(u.longest, 3);
	undot(&u, text + 8, 5, &out);
	ck_assert_uint_eq(u.line, 7);
	ck_assert_uint_eq(u.longest, 7);
	undot(&u, text + 13, sizeof(text) - 14, &out);
	ck_assert_uint_eq(u.line, 2);
	ck_assert_uint_eq(u.longest, 7);
	ck_assert(str_eq(buf_view(&out), STR("abc\r\n.defghi\r\njk")));
	buf_free(&out);
}
END_TEST

START_TEST(full_buffer_is_told)
{
	struct buf out = { .max = 4 };
	struct undot u = { 0 };
	struct dot d = { 0 };
	struct crlf c = { 0 };

	undot(&u, "abc\r\ndef\r\n", 10, &out);
	ck_assert(out.bad);
	buf_clear(&out);
	ck_assert(!dot_add(&d, "abcde", 5, &out));
	buf_clear(&out);
	ck_assert(!crlf_add(&c, "abc\n", 4, &out));
	buf_clear(&out);
	ck_assert(!dot_end(&d, &out));
	buf_free(&out);
}
END_TEST

START_TEST(hostile_line_ends_take_linear_time)
{
	static const struct str row[] = { S("\r"), S("\n"), S("\r\n"), S("\r\r\n"), S("\n\r"), S("."), S(".\r"), S("\r\n."), S(".\r\n\r") };
	const size_t size = 2000000;
	char *text = malloc(size);

	ck_assert_ptr_nonnull(text);
	for (size_t i = 0; i < COUNT(row); i++) {
		struct undot u = { 0 };
		struct dot d = { 0 };
		struct crlf c = { 0 };
		struct buf out = { 0 };

		for (size_t k = 0; k < size; k++)
			text[k] = row[i].p[k % row[i].n];
		undot(&u, text, size, &out);
		buf_clear(&out);
		ck_assert(dot_add(&d, text, size, &out));
		buf_clear(&out);
		ck_assert(crlf_add(&c, text, size, &out));
		buf_free(&out);
	}
	free(text);
}
END_TEST

/* ---- sending */

static void stuff(struct buf *wire, struct str message, size_t cut)
{
	struct dot d = { 0 };

	buf_clear(wire);
	if (!dot_add(&d, message.p, cut, wire) || !dot_add(&d, message.p + cut, message.n - cut, wire) || !dot_end(&d, wire))
		ck_abort_msg("no memory");
}

START_TEST(dotted_message_comes_back_whole_for_every_short_text_and_split)
{
	struct buf whole = { 0 }, wire = { 0 };
	struct taken got = { 0 };
	char room[16];

	for (size_t n = 0; n <= 6; n++) {
		for (unsigned i = 0; i < 1u << (2 * n); i++) {
			struct str x = nth_text(i, n, room);
			bool ends = n == 0 || (n > 1 && memcmp(x.p + n - 2, "\r\n", 2) == 0);
			size_t w;

			stuff(&whole, x, n);
			for (size_t cut = 0; cut < n; cut++) {
				stuff(&wire, x, cut);
				if (!str_eq(buf_view(&whole), buf_view(&wire)))
					ck_abort_msg("%s cut at %zu: %s", shown(x), cut, shown(buf_view(&wire)));
			}
			w = whole.n;
			feed(&got, buf_view(&whole), w, w);
			if (!got.ended || got.used != w || got.out.n != n + (ends ? 0 : 2) || (n && memcmp(got.out.p, x.p, n) != 0))
				ck_abort_msg("%s -> %s -> %s, ends at %zu", shown(x), shown(buf_view(&whole)), shown(buf_view(&got.out)), got.used);
		}
	}
	buf_free(&whole);
	buf_free(&wire);
	buf_free(&got.out);
}
END_TEST

START_TEST(message_is_sent_with_dots_doubled_and_its_last_line_ended)
{
	static const struct { struct str in; const char *wire; } row[] = {
		{ S(""), ".\r\n" },
		{ S("a\r\n"), "a\r\n.\r\n" },
		{ S("a"), "a\r\n.\r\n" },
		{ S("."), "..\r\n.\r\n" },
		{ S(".\r\n"), "..\r\n.\r\n" },
		{ S("a\r\n.\r\nb\r\n..\r\n"), "a\r\n..\r\nb\r\n...\r\n.\r\n" },
		{ S("a.\r\n a.b\r\n"), "a.\r\n a.b\r\n.\r\n" },
		{ S("a\r\n."), "a\r\n..\r\n.\r\n" },
		{ S("a\r"), "a\r\r\n.\r\n" },
	};
	struct buf wire = { 0 };

	for (size_t i = 0; i < COUNT(row); i++) {
		stuff(&wire, row[i].in, row[i].in.n);
		ck_assert_msg(str_eq(buf_view(&wire), str_of(row[i].wire)), "%s: %s", shown(row[i].in), shown(buf_view(&wire)));
	}
	buf_free(&wire);
}
END_TEST

/* ---- text of local programs */

static void normalise(struct buf *out, struct str in, size_t cut)
{
	struct crlf c = { 0 };

	buf_clear(out);
	if (!crlf_add(&c, in.p, cut, out) || !crlf_add(&c, in.p + cut, in.n - cut, out) || !crlf_end(&c, out))
		ck_abort_msg("no memory");
}

START_TEST(every_line_end_becomes_cr_lf_for_every_short_text_and_split)
{
	struct buf want = { 0 }, got = { 0 };
	char room[16];

	for (size_t n = 0; n <= 6; n++) {
		for (unsigned i = 0; i < 1u << (2 * n); i++) {
			struct str x = nth_text(i, n, room);

			buf_clear(&want);
			for (size_t k = 0; k < n; k++) {
				if (x.p[k] == '\n' && k && x.p[k - 1] == '\r')
					continue;
				if (x.p[k] == '\r' || x.p[k] == '\n')
					buf_puts(&want, "\r\n");
				else
					buf_char(&want, x.p[k]);
			}
			if (n && x.p[n - 1] != '\r' && x.p[n - 1] != '\n')
				buf_puts(&want, "\r\n");
			for (size_t cut = 0; cut <= n; cut++) {
				normalise(&got, x, cut);
				if (!str_eq(buf_view(&want), buf_view(&got)))
					ck_abort_msg("%s cut at %zu: %s", shown(x), cut, shown(buf_view(&got)));
			}
		}
	}
	buf_free(&want);
	buf_free(&got);
}
END_TEST

Suite *mime_transfer_suite(void)
{
	Suite *s = suite_create("mime_transfer");
	TCase *receive = tcase_create("receive"), *send = tcase_create("send"), *local = tcase_create("local");

	tcase_add_test(receive, undot_keeps_the_rules_for_every_short_text_and_split);
	tcase_add_test(receive, only_a_dot_between_whole_line_ends_ends_the_data);
	tcase_add_test(receive, nul_beside_the_dot_is_text_and_is_told);
	tcase_add_test(receive, what_follows_the_end_is_left_alone);
	tcase_add_test(receive, eight_bit_octet_is_seen_wherever_it_stands);
	tcase_add_test(receive, longest_line_is_known_before_it_ends);
	tcase_add_test(receive, full_buffer_is_told);
	tcase_add_test(receive, hostile_line_ends_take_linear_time);
	suite_add_tcase(s, receive);
	tcase_add_test(send, dotted_message_comes_back_whole_for_every_short_text_and_split);
	tcase_add_test(send, message_is_sent_with_dots_doubled_and_its_last_line_ended);
	suite_add_tcase(s, send);
	tcase_add_test(local, every_line_end_becomes_cr_lf_for_every_short_text_and_split);
	suite_add_tcase(s, local);
	return s;
}
