/* Reports: their words (tests/golden/dsn-*.txt, one file a story), their form, and hostile input.
 * FARDEL_GOLDEN=write writes the golden files anew from what is made now. */
#include "dsn.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/file.h"

Suite *dsn_suite(void);

#define HEADER \
	"Received: from laptop.example.org by mail.example.org; Mon, 23 Nov 2026 09:00:00 +0000\r\n" \
	"From: Alice <alice@example.org>\r\n" \
	"To: Bob <bob@example.net>\r\n" \
	"Subject: Lunch on\r\n Friday?\r\n" \
	"Message-ID: <42@laptop.example.org>\r\n"
#define BODY "\r\nShall we?\r\n--\r\nAlice\r\n"

enum { ARRIVED = 1795424400 };          /* Mon, 23 Nov 2026 09:00:00 +0000 */

static void set_up(void)
{
	setenv("TZ", "UTC0", 1);
	tzset();
}

static struct dsn report_of(const struct dsn_rcpt *rcpt, size_t n)
{
	return (struct dsn){
		.hostname = "mail.example.org", .id = "6b0c3d50a1b2c3d4e5f60718", .report_id = "6b0c3d50a1b2c3d4e5f60718-r1",
		.to = STR("alice@example.org"), .arrived = ARRIVED, .now = ARRIVED + 5, .original = STR(HEADER BODY),
		.n = n, .rcpt = rcpt,
	};
}

/* ---- golden files */

static const struct dsn_rcpt unknown_user = {
	.addr = STR("bob@example.net"), .orcpt = STR("rfc822;bob+2Bwork@example.net"), .action = DSN_FAILED, .status = STR("5.1.1"),
	.host = STR("mx.example.net[192.0.2.1]:25"), .words = STR("550 5.1.1 <bob@example.net>: no such user here"), .when = ARRIVED + 4,
};
static const struct dsn_rcpt several[] = {
	{ .addr = STR("carol@example.com"), .action = DSN_FAILED, .status = STR("4.4.1"), .host = STR("mx.example.com[2001:db8::1]:25"),
	  .words = STR("connect to mx.example.com[2001:db8::1]:25 timed out after 30 s"), .when = ARRIVED + 431990 },
	{ .addr = STR("dave@example.com"), .action = DSN_FAILED, .status = STR("5.7.1"), .host = STR("[192.0.2.7]:25"),
	  .words = STR("554-5.7.1 Service unavailable; Client host [198.51.100.1] blocked using list.example 554 5.7.1 see "
		"https://list.example/query?ip=198.51.100.1"), .when = ARRIVED + 431991 },
	{ .addr = STR("erin@example.org"), .action = DSN_FAILED, .status = STR("5.1.1"), .host = STR("maildir"),
	  .words = STR("550 5.1.1 there is no mailbox erin here"), .when = ARRIVED + 431992 },
	{ .addr = STR("frank@example.edu"), .action = DSN_RELAYED, .status = STR("2.1.5"), .host = STR("mx.example.edu[192.0.2.9]:25"),
	  .words = STR("250 2.1.5 taken"), .when = ARRIVED + 3 },
};
static const struct dsn_rcpt waiting = {
	.addr = STR("bob@example.net"), .action = DSN_DELAYED, .status = STR("4.2.2"), .host = STR("mx.example.net[192.0.2.1]:25"),
	.words = STR("452 4.2.2 mailbox full"), .when = ARRIVED + 14400, .retry_until = ARRIVED + 432000,
};
static const struct dsn_rcpt arrived = {
	.addr = STR("bob@example.net"), .action = DSN_DELIVERED, .status = STR("2.1.5"), .host = STR("maildir"),
	.words = STR("250 2.1.5 delivered to the mailbox of bob"), .when = ARRIVED + 1,
};
static const struct dsn_rcpt sent_on = {
	.addr = STR("staff@example.net"), .action = DSN_EXPANDED, .status = STR("2.0.0"), .host = STR("-"),
	.words = STR("an alias: sent on as 6b0c3d50a1, to 3 recipients"), .when = ARRIVED + 1,
};
static const struct dsn_rcpt beyond_ascii = {
	.addr = STR("b\xc3\xb6" "b@example.net"), .orcpt = STR("utf-8;b+5Cx{F6}b@example.net"), .action = DSN_FAILED, .status = STR("5.2.1"),
	.host = STR("mx.example.net[192.0.2.1]:25"), .words = STR("550 5.2.1 switched off"), .when = ARRIVED + 1,
};

static const struct dsn_rcpt refused_in_words = {
	.addr = STR("bob@example.net"), .action = DSN_FAILED, .status = STR("5.1.1"), .host = STR("mx2.example.net[192.0.2.2]:25"),
	.words = STR("550 5.1.1 no such user"), .when = ARRIVED + 4,
	.said = STR("= mx1.example.net[192.0.2.1]:25\n< 421 4.3.2 too busy\n"
		"= mx2.example.net[192.0.2.2]:25\n* what was said before is left out\n> MAIL FROM:<alice@example.org> SIZE=300\n< 250 2.1.0 ok\n"
		"> RCPT TO:<bob@example.net>\n< 550-5.1.1 no\x1b[31m\n< 550 5.1.1 such user\n"
		"> RCPT TO:<behind-the-alias@example.net> NOTIFY=NEVER\n< 450-4.2.0 who is\n< 450 4.2.0 not told of\n"
		"* 2 recipients were accepted\n> DATA\n< 354 go\n> (message and final dot)\n< 250 2.0.0 ok\n"),
};
static const struct dsn_rcpt put_off[] = {
	{ .addr = STR("bob@example.net"), .action = DSN_DELAYED, .status = STR("4.7.1"), .host = STR("mx.example.net[192.0.2.1]:25"),
	  .words = STR("451 4.7.1 come back"), .when = ARRIVED + 14400, .retry_until = ARRIVED + 432000,
	  .said = STR("= mx.example.net[192.0.2.1]:25\n< 220 mx\n> EHLO mail.example.org\n< 451 4.7.1 come back\n") },
	{ .addr = STR("carl@example.net"), .action = DSN_DELAYED, .status = STR("4.7.1"), .host = STR("mx.example.net[192.0.2.1]:25"),
	  .words = STR("451 4.7.1 come back"), .when = ARRIVED + 14400, .retry_until = ARRIVED + 432000,
	  .said = STR("= mx.example.net[192.0.2.1]:25\n< 220 mx\n> EHLO mail.example.org\n< 451 4.7.1 come back\n") },
};

static const struct story {
	const char *file;
	const struct dsn_rcpt *rcpt;
	size_t n;
	int64_t now, next_try;
	bool full;
	struct str envid, original;
} stories[] = {
	{ "unknown-user", &unknown_user, 1, ARRIVED + 5, 0, false, STR("QQ+2B314159"), STR(HEADER BODY) },
	{ "several", several, 4, ARRIVED + 432000, 0, false, STR(""), STR(HEADER BODY) },
	{ "delayed", &waiting, 1, ARRIVED + 14400, ARRIVED + 18000, true, STR(""), STR(HEADER BODY) },
	{ "conversation", &refused_in_words, 1, ARRIVED + 5, 0, false, STR(""), STR(HEADER BODY) },
	{ "conversation-delayed", put_off, 2, ARRIVED + 14400, ARRIVED + 18000, false, STR(""), STR(HEADER BODY) },
	{ "delivered", &arrived, 1, ARRIVED + 2, 0, false, STR("7"), STR(HEADER BODY) },
	{ "expanded", &sent_on, 1, ARRIVED + 2, 0, false, STR(""), STR(HEADER BODY) },
	{ "full", &unknown_user, 1, ARRIVED + 5, 0, true, STR(""), STR(HEADER BODY) },
	{ "utf8-headers", &waiting, 1, ARRIVED + 14400, 0, false, STR(""), STR("Subject: Gr\xc3\xbc\xc3\x9f" "e\r\nFrom: x\r\n\r\n\xc3\xa4\r\n") },
	{ "utf8", &beyond_ascii, 1, ARRIVED + 5, 0, true, STR(""), STR("Subject: Gr\xc3\xbc\xc3\x9f" "e\r\n\r\n\xc3\xa4\r\n") },
	{ "broken-header", &unknown_user, 1, ARRIVED + 5, 0, true, STR(""), STR("Subject: a\0b\rc = d \r\nX: y\r\n\r\nbody\r\n") },
};

static void without_cr(struct buf *b)
{
	size_t n = 0;

	for (size_t i = 0; i < b->n; i++)
		if (b->p[i] != '\r')
			b->p[n++] = b->p[i];
	b->n = n;
}

static void write_golden(const char *path, const struct buf *b)
{
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(b->p, 1, b->n, f), b->n);
	fclose(f);
}

START_TEST(report_reads_as_the_golden_file_says)
{
	const struct story *s = &stories[_i];
	struct dsn d = report_of(s->rcpt, s->n);
	struct buf out = { 0 }, golden = { .max = 100000 };
	char path[100];

	d.now = s->now;
	d.next_try = s->next_try;
	d.full = s->full;
	d.envid = s->envid;
	d.original = s->original;
	d.hold_for = s->rcpt == &arrived ? 3600 : 0;
	d.hold_until = s->rcpt == &waiting ? ARRIVED + 3600 : 0;
	if (s->rcpt == &beyond_ascii)
		d.to = STR("\xc3\xa4@example.org");
	ck_assert(dsn_write(&out, &d));
	without_cr(&out);
	snprintf(path, sizeof path, "tests/golden/dsn-%s.txt", s->file);
	if (getenv("FARDEL_GOLDEN"))
		write_golden(path, &out);
	ck_assert_msg(file_read_all(AT_FDCWD, path, &golden) == 0, "%s cannot be read (run from the root of the project)", path);
	ck_assert_msg(str_eq(buf_view(&out), buf_view(&golden)), "%s is:\n%s", path, buf_cstr(&out));
	buf_free(&out);
	buf_free(&golden);
}
END_TEST

/* ---- the form that every report must have */

static size_t count(struct str s, const char *what)
{
	size_t n = 0, length = strlen(what);

	for (size_t i = 0; i + length <= s.n; i++)
		n += memcmp(s.p + i, what, length) == 0;
	return n;
}

/* The value between the quotes of boundary="...", with two hyphens in front. */
static void boundary_of(struct str message, char out[80])
{
	const char *start = memmem(message.p, message.n, "\r\n\tboundary=\"", 13), *end;

	ck_assert_ptr_nonnull(start);
	start += 13;
	end = memchr(start, '"', 80);
	ck_assert_ptr_nonnull(end);
	ck_assert_int_le(end - start, 70);
	snprintf(out, 80, "--%.*s", (int)(end - start), start);
}

static void check_lines(struct str s)
{
	size_t line = 0;

	for (size_t i = 0; i < s.n; i++) {
		ck_assert_msg(s.p[i] != 0, "a NUL at %zu", i);
		if (s.p[i] == '\r') {
			ck_assert_msg(i + 1 < s.n && s.p[i + 1] == '\n', "a CR alone at %zu", i);
			i++;
			line = 0;
			continue;
		}
		ck_assert_msg(s.p[i] != '\n', "a LF alone at %zu", i);
		ck_assert_msg(++line <= 998, "a long line at %zu", i);
	}
	ck_assert_uint_eq(line, 0);
}

/* Exactly the fields that a report has, each once, in order. */
static void check_header(struct str s)
{
	static const char *const names[] = { "From: ", "To: ", "Subject: ", "Date: ", "Message-ID: ", "References: ", "Auto-Submitted: ",
		"MIME-Version: ", "Content-Type: ", "\tboundary=", "Content-Transfer-Encoding: " };
	size_t at = 0;
	struct str line;

	while (str_cut(&s, '\n', &line) && line.n > 1) {
		while (at < sizeof names / sizeof names[0] && !str_starts_nocase(line, str_of(names[at])))
			at++;
		ck_assert_msg(at < sizeof names / sizeof names[0], "a field that does not belong here: " STR_FMT, STR_ARG(line));
		at++;
	}
}

static bool has_eight_bit(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] >= 0x80)
			return true;
	return false;
}

static void check_form(struct str s)
{
	char boundary[80], closing[100], opening[180];
	struct str status;
	int global;

	check_lines(s);
	check_header(s);
	boundary_of(s, boundary);
	snprintf(closing, sizeof closing, "\r\n%s--\r\n", boundary);
	ck_assert_uint_eq(count(s, boundary), 4);
	ck_assert_uint_eq(count(s, closing), 1);
	ck_assert(str_ends_nocase(s, str_of(closing)));
	if (has_eight_bit(s))
		ck_assert_uint_ge(count(s, "Content-Transfer-Encoding: 8bit\r\n"), 2);
	/* the status part is about one message, and 7 bit unless it says what it is */
	for (global = 0; global < 2; global++) {
		snprintf(opening, sizeof opening, "%s\r\nContent-Type: message/%s\r\n", boundary,
			global ? "global-delivery-status\r\nContent-Transfer-Encoding: 8bit" : "delivery-status");
		if ((status.p = memmem(s.p, s.n, opening, strlen(opening))))
			break;
	}
	ck_assert_ptr_nonnull(status.p);
	status.p += strlen(opening);
	status.n = s.n - (size_t)(status.p - s.p);
	status.n = (size_t)((const char *)memmem(status.p, status.n, boundary, strlen(boundary)) - status.p);
	ck_assert(has_eight_bit(status) == (global == 1));
	ck_assert_uint_eq(count(status, "\r\nReporting-MTA: "), 1);
}

static const struct dsn_rcpt hostile_rcpt[] = {
	{ .addr = STR("b@example.net\r\nBcc: all@example.net"), .action = DSN_FAILED, .status = STR("5.1.1\r\nX: y"),
	  .orcpt = STR("rfc822\r\nX;a"), .host = STR("mx[192.0.2.1]\r\nX: y"), .words = STR("550 a\r\nAction: delivered\r\n\r\n--=_\x1b[2J\0\xff") },
	{ .addr = STR("\"a  b\"@example.net"), .action = DSN_FAILED, .status = STR("9.9.9"), .orcpt = STR("rfc822;a+0D+0AX"),
	  .host = STR("[[]"), .words = STR("") },
	{ .addr = STR(""), .action = DSN_DELAYED, .status = STR("5.1.1"), .orcpt = STR(";"), .host = STR("]["), .words = STR("999 x") },
	{ .addr = STR("\xc3\x28@example.net\xed\xa0\x80"), .action = DSN_DELIVERED, .status = STR("2."), .orcpt = STR("x"), .host = STR("["),
	  .words = STR("250") },
	{ .addr = STR("c@example.net"), .action = DSN_RELAYED, .status = STR("2.1234.1"), .host = STR("a(b)[c\\d]:25"), .words = STR("250-") },
};

START_TEST(hostile_words_and_addresses_cannot_leave_their_place)
{
	struct dsn d = report_of(hostile_rcpt, sizeof hostile_rcpt / sizeof hostile_rcpt[0]);
	struct buf out = { 0 };

	d.to = STR("a@example.org>\r\nBcc: <x@example.org");
	d.envid = STR("a\r\nX: y");
	d.report_id = "r\"\r\n1";
	d.id = "i\r\n";
	d.hostname = "host\r\nX: y";
	ck_assert(dsn_write(&out, &d));
	check_form(buf_view(&out));
	ck_assert_uint_eq(count(buf_view(&out), "\r\nBcc:"), 0);
	ck_assert_uint_eq(count(buf_view(&out), "\r\nX:"), 0);
	ck_assert_uint_eq(count(buf_view(&out), "\r\nAction: "), 5);
	ck_assert_uint_eq(count(buf_view(&out), "\r\nAction: delivered"), 1);
	ck_assert_uint_eq(count(buf_view(&out), "\r\nStatus: 5.0.0\r\n"), 2);
	ck_assert_uint_eq(count(buf_view(&out), "\r\nStatus: 4.0.0\r\n"), 1);
	ck_assert_uint_eq(count(buf_view(&out), "\r\nStatus: 2.0.0\r\n"), 2);
	buf_free(&out);
}
END_TEST

START_TEST(endless_words_and_addresses_stay_within_lines)
{
	static const char *const unit[] = { "x", " ", "\xc3\xa4", "\xff", "\\", "(", "\t" };
	char text[6000];

	for (size_t i = 0; i < sizeof unit / sizeof unit[0]; i++) {
		struct str s = { text, 0 };
		struct dsn_rcpt r = { .action = DSN_FAILED, .status = STR("5.1.1") };
		struct dsn d = report_of(&r, 1);
		struct buf out = { 0 };

		while (s.n + 2 < sizeof text) {
			memcpy(text + s.n, unit[i], strlen(unit[i]));
			s.n += strlen(unit[i]);
		}
		r.addr = r.words = d.to = s;
		r.orcpt = r.host = r.status = d.envid = s;
		ck_assert(dsn_write(&out, &d));
		check_form(buf_view(&out));
		buf_free(&out);
	}
}
END_TEST

/* ---- the original */

static const struct {
	const char *why;
	struct str original;
	bool full;
	const char *type;               /* of the third part */
	const char *encoding;           /* NULL: 7bit, not said */
	const char *holds, *lacks;
} originals[] = {
	{ "RET=HDRS", STR(HEADER BODY), false, "text/rfc822-headers", NULL, "Subject: Lunch on\r\n Friday?\r\n", "Shall we" },
	{ "RET=FULL", STR(HEADER BODY), true, "message/rfc822", NULL, "Shall we?\r\n--\r\nAlice\r\n", NULL },
	{ "8 bit body, header wanted", STR("A: b\r\n\r\n\xe4\r\n"), false, "text/rfc822-headers", NULL, "A: b\r\n", "\xe4" },
	{ "8 bit body, all wanted", STR("A: b\r\n\r\n\xe4\r\n"), true, "message/rfc822", "8bit", "\xe4\r\n", NULL },
	{ "8 bit header", STR("A: \xe4\r\n\r\n"), false, "text/rfc822-headers", "8bit", "A: \xe4\r\n", NULL },
	{ "NUL in the body", STR("A: b\r\n\r\nx\0y\r\n"), true, "text/rfc822-headers", NULL, "A: b\r\n", "x\r\n" },
	{ "bare LF in the body", STR("A: b\r\n\r\nx\ny\r\n"), true, "text/rfc822-headers", NULL, "A: b\r\n", "x\ny" },
	{ "bare CR in the header", STR("A: b\rc\r\n\r\nx\r\n"), false, "text/rfc822-headers", "quoted-printable", "A: b=0Dc\r\n", NULL },
	{ "no end of the last line", STR("A: b"), true, "message/rfc822", NULL, "\r\nA: b\r\n--", NULL },
	{ "no header", STR("\r\nbody\r\n"), false, "text/rfc822-headers", NULL, "", "body" },
	{ "nothing", STR(""), false, "text/rfc822-headers", NULL, "", NULL },
	{ "only line ends", STR("\r\n\r\n\r\n"), true, "message/rfc822", NULL, "", NULL },
	{ "a hostile subject", STR("Subject: x\x1b[2J\r\nBcc: y\r\n\r\n"), false, "text/rfc822-headers", NULL, "", "  Subject:   x" },
	{ "an encoded subject", STR("Subject: =?utf-8?q?x?=\r\n\r\n"), false, "text/rfc822-headers", NULL, "", "  Subject:   =" },
	{ "a hostile message id", STR("Message-ID: <a>\r\n <b>\r\n\r\n"), false, "text/rfc822-headers", NULL, "", "References" },
};

START_TEST(original_is_returned_as_far_as_it_is_wanted_and_legal)
{
	struct dsn d = report_of(&unknown_user, 1);
	struct buf out = { 0 };
	struct str part, all;

	d.original = originals[_i].original;
	d.full = originals[_i].full;
	ck_assert(dsn_write(&out, &d));
	all = buf_view(&out);
	check_form(all);
	part.p = memmem(all.p, all.n, originals[_i].type, strlen(originals[_i].type));
	ck_assert_msg(part.p != NULL, "%s: no %s", originals[_i].why, originals[_i].type);
	part.n = all.n - (size_t)(part.p - all.p);
	ck_assert_msg(count(part, originals[_i].holds) || !*originals[_i].holds, "%s:\n" STR_FMT, originals[_i].why, STR_ARG(all));
	ck_assert_msg(!originals[_i].lacks || !count(all, originals[_i].lacks), "%s:\n" STR_FMT, originals[_i].why, STR_ARG(all));
	ck_assert_uint_eq(count(part, "Content-Transfer-Encoding: "), originals[_i].encoding != NULL);
	if (originals[_i].encoding)
		ck_assert_uint_eq(count(part, originals[_i].encoding), 1);
	buf_free(&out);
}
END_TEST

START_TEST(long_originals_come_back_short)
{
	struct dsn d = report_of(&unknown_user, 1);
	struct buf original = { 0 }, out = { 0 };

	for (int i = 0; i < 3000; i++)
		buf_puts(&original, "X-Field: 0123456789012345678901234567890123456789\r\n");
	buf_puts(&original, "\r\n");
	while (original.n <= DSN_FULL_MAX)
		buf_puts(&original, "a body that is longer than what is returned of one\r\n");
	d.full = true;
	d.original = buf_view(&original);
	ck_assert(dsn_write(&out, &d));
	check_form(buf_view(&out));
	ck_assert_uint_lt(out.n, DSN_HEADER_MAX + 4096);
	ck_assert_uint_gt(out.n, DSN_HEADER_MAX / 2);
	ck_assert_uint_eq(count(buf_view(&out), "a body"), 0);
	buf_free(&original);
	buf_free(&out);
}
END_TEST

START_TEST(header_with_an_endless_line_is_encoded)
{
	struct dsn d = report_of(&unknown_user, 1);
	struct buf original = { 0 }, out = { 0 };

	for (int i = 0; i < 200000; i++)
		buf_char(&original, i % 7 ? 'x' : '=');
	d.original = buf_view(&original);
	ck_assert(dsn_write(&out, &d));
	check_form(buf_view(&out));
	ck_assert_uint_eq(count(buf_view(&out), "quoted-printable"), 1);
	buf_free(&original);
	buf_free(&out);
}
END_TEST

/* The message is made of the boundary and every continuation that a report of its id could choose at first. */
START_TEST(boundary_never_occurs_in_what_it_parts)
{
	static const char digits[] = "0123456789abcdef";
	struct dsn d = report_of(&unknown_user, 1);
	struct buf original = { 0 }, out = { 0 };

	for (int i = 0; i < 16 * 16; i++)
		buf_printf(&original, "--=_%s%c%c\r\n", d.report_id, digits[i >> 4], digits[i & 15]);
	d.full = true;
	d.original = buf_view(&original);
	ck_assert(dsn_write(&out, &d));
	check_form(buf_view(&out));
	ck_assert_uint_eq(count(buf_view(&out), "message/rfc822"), 1);
	buf_free(&original);
	buf_free(&out);
}
END_TEST

START_TEST(same_report_is_the_same_text)
{
	struct dsn d = report_of(several, 4);
	struct buf one = { 0 }, two = { 0 };

	ck_assert(dsn_write(&one, &d) && dsn_write(&two, &d));
	ck_assert(str_eq(buf_view(&one), buf_view(&two)));
	buf_free(&one);
	buf_free(&two);
}
END_TEST

START_TEST(report_about_a_report_goes_to_postmaster)
{
	struct dsn d = report_of(&unknown_user, 1);
	struct buf out = { 0 };

	d.to = STR("");
	ck_assert(dsn_write(&out, &d));
	check_form(buf_view(&out));
	ck_assert_uint_eq(count(buf_view(&out), "\r\nTo: <postmaster@mail.example.org>\r\n"), 1);
	buf_free(&out);
}
END_TEST

START_TEST(ceiling_of_the_buffer_is_an_answer)
{
	struct dsn d = report_of(&unknown_user, 1);
	struct buf out = { .max = 500 };

	ck_assert(!dsn_write(&out, &d));
	ck_assert_uint_le(out.n, 500);
	buf_free(&out);
}
END_TEST

/* ---- what a person is told */

static const struct {
	const char *status, *words;
	const char *told;
} advice[] = {
	{ "5.1.1", "550 5.1.1 x", "there is no mailbox of that name" },
	{ "5.1.10", "556 5.1.10 x", "takes no mail" },
	{ "5.2.2", "552 5.2.2 x", "mailbox is full" },
	{ "5.3.4", "552 5.3.4 x", "larger than the recipient's mail system takes" },
	{ "5.7.26", "550 5.7.26 x", "did not believe" },
	{ "5.7.1", "554 5.7.1 x", "by a rule of its own" },
	{ "4.4.1", "connect to mx.example.net[192.0.2.1]:25 timed out after 30 s", "port 25 may be blocked" },
	{ "4.4.1", "connect to mx.example.net[192.0.2.1]:25: Connection refused", "takes no mail at the moment" },
	{ "4.4.1", "connect to [192.0.2.1]:25 through the proxy 127.0.0.1:1080: it cannot be reached: Connection refused", "did not answer" },
	{ "4.4.1", "451 4.4.1 connect timed out", "did not answer" },
	{ "5.4.6", "554 5.4.6 x", "in a circle" },
	{ "4.4.1", "connect to x[192.0.2.1]:25 timed out after 30 s; nor does anybody else answer: outgoing port 25 seems to be blocked here",
		"neither the recipient's mail system nor any other" },
	{ "5.4.7", "given up after 120 hours in the queue; the last answer was: 452 4.2.2 full", "mailbox is full" },
	{ "5.4.7", "given up after 120 hours in the queue; the last answer was: none", "until its time was over" },
	{ "5.0.0", "550 No such user here", "there is no mailbox of that name" },
	{ "5.7.25", "550 5.7.25 no PTR", "leads back to it (PTR)" },
	{ "4.7.5", "TLS handshake failed: the peer's certificate has expired or is not valid yet", "out of date" },
	{ "5.7.1", "550 5.7.1 blocked using zen.spamhaus.org", "on a list" },
	{ "5.7.26", "550 5.7.26 DMARC policy", "did not believe" },
	{ "4.7.8", "login at x[192.0.2.1]:587 as anna: PLAIN was refused: 535 no", "did not accept the password" },
};

/* One blank for each run of blanks and line ends. */
static void unfold(struct buf *b)
{
	size_t n = 0;

	for (size_t i = 0; i < b->n; i++) {
		char c = b->p[i] == '\r' || b->p[i] == '\n' ? ' ' : b->p[i];

		if (c != ' ' || !n || b->p[n - 1] != ' ')
			b->p[n++] = c;
	}
	b->n = n;
}

START_TEST(well_known_answers_are_explained)
{
	struct dsn_rcpt r = unknown_user;
	struct dsn d = report_of(&r, 1);
	struct buf out = { 0 };

	r.status = str_of(advice[_i].status);
	r.words = str_of(advice[_i].words);
	ck_assert(dsn_write(&out, &d));
	unfold(&out);
	ck_assert_msg(count(buf_view(&out), advice[_i].told) == 1, "%s: %s", advice[_i].words, buf_cstr(&out));
	buf_free(&out);
}
END_TEST

/* A host in brackets has said it, where the words begin with a code; a mailbox is ours. */
#define PEER "mx.example.net[192.0.2.1]:25"

static const struct { const char *host, *status, *words, *holds; } remedies[] = {
	{ PEER, "4.7.8", "login at relay.test[192.0.2.1]:587 as anna: PLAIN was refused: 535 5.7.8 no", "user and password of the route" },
	{ PEER, "4.7.8", "the token_command of the route has given no token: exit status 1", "run the token_command" },
	{ PEER, "4.7.5", "TLS handshake failed: the peer's certificate has expired or is not valid yet", "clock" },
	{ PEER, "4.4.1", "connect to mx.example.net[192.0.2.1]:25 timed out after 30 s", "port 25 is blocked" },
	{ PEER, "4.4.1", "connect to [127.0.0.1]:2525: Connection refused", "nothing listens there" },
	{ PEER, "4.4.1", "connect to [192.0.2.1]:25 through the proxy 127.0.0.1:1080: it cannot be reached: Connection refused", "the proxy runs" },
	{ PEER, "4.4.1", "connect to [2001:db8::1]:25: Network is unreachable", "inet = only4" },
	{ PEER, "4.4.1", "connect to mx.example.net[192.0.2.1]:25: No route to host", "a firewall forbids it" },
	{ PEER, "4.4.1", "connect to mx.example.net[192.0.2.1]:25: Host is unreachable", "a firewall forbids it" },       /* musl's words */
	{ PEER, "4.4.1", "connect to mx.example.net[192.0.2.1]:25: Operation not permitted", "a firewall forbids it" },
	{ PEER, "5.7.1", "553 5.7.1 <anna@host.test>: Sender address rejected: not owned by user anna", "send_as" },
	{ PEER, "5.7.8", "535 5.7.8 bad password", "user and password of the route" },
	{ PEER, "5.7.25", "550 5.7.25 no PTR record", "PTR record" },
	{ PEER, "4.4.3", "no resolver answers", "fardel check" },
	{ PEER, "4.4.3", "451 4.4.3 our resolver is slow", NULL },
	{ "-", "4.4.3", "451 4.4.3 cannot look up the mail hosts of b.test: Network is unreachable asking 192.0.2.53", "fardel check" },
	{ "maildir", "4.3.1", "452 4.3.1 mailbox of anna: writing the message: No space left on device", "disk is full" },
	{ "maildir", "4.3.0", "451 4.3.0 mailbox of anna: opening it: Permission denied", "chown" },
	{ "maildir", "4.3.5", "451 4.3.5 the directory that holds the mailboxes is not there", "mounted" },
	{ "aliases", "4.3.5", "451 4.3.5 the alias names a file or a command, which is not done here", "pipes = yes" },
	{ "aliases", "4.3.0", "451 4.3.0 the user's .forward file cannot be read now", "fardel alias" },
	{ "maildir", "4.2.2", "452 4.2.2 the mailbox has no room", "mailbox_quota" },
	{ PEER, "4.7.5", "TLS handshake failed: the peer's certificate is for another name", "certificate's names" },
	{ PEER, "4.7.5", "TLS handshake failed: the peer's certificate is from nobody who is trusted here", "ca-certificates" },
	{ PEER, "4.7.5", "TLS handshake failed: what came is no TLS, or a version that this build has not (it has 1.2)", "smtp+starttls://" },
	{ "relay.test[192.0.2.1]:465", "4.4.2", "greeting: timed out after 300 s", "smtps://" },
	{ "relay.test[192.0.2.1]:4650", "4.4.2", "greeting: connection lost (closed by the peer)", "smtps://" },
	{ PEER, "4.4.1", "connect to x timed out after 30 s; nor does anybody else answer: outgoing port 25 seems to be blocked here", "ask the provider to open" },
	{ PEER, "5.7.1", "550-5.7.1 [2001:db8::1] Our system has detected that this message does not meet IPv6 sending guidelines regarding PTR records", "inet = only4" },
	{ PEER, "5.0.0", "554-gmx.net (mxgmx016) Nemesis ESMTP Service not available 554-No SMTP service 554-Bad DNS PTR resource record.", "PTR record" },
	{ PEER, "4.7.1", "450 4.7.1 Client host rejected: cannot find your hostname, [192.0.2.9]", "PTR record" },
	{ PEER, "5.7.1", "554 5.7.1 Service unavailable; Client host [192.0.2.9] blocked using zen.spamhaus.org", "look at the list" },
	{ PEER, "5.7.1", "550 5.7.1 Unfortunately, messages from [192.0.2.9] weren't sent; part of their network is on our block list (S3140)", "smarthost" },
	{ PEER, "5.7.26", "550-5.7.26 Your email has been blocked because the sender is unauthenticated. DKIM = did not pass SPF [x] did not pass", "dkim-key" },
	{ PEER, "5.7.1", "550 5.7.1 relaying denied", "wants a login" },
	{ PEER, "5.7.0", "530 5.7.0 Must issue a STARTTLS command first", "smtp+starttls://" },
	{ PEER, "5.4.7", "given up after 120 hours in the queue; the last answer was: 450 4.7.25 no PTR", "PTR record" },
	{ PEER, "5.4.7", "given up after 120 hours in the queue; the last answer was: connect to x timed out after 30 s", "port 25 is blocked" },
	{ PEER, "4.2.0", "450 4.2.0 greylisted, come back in 5 minutes", NULL },
	{ PEER, "4.3.0", "No space left on device", "disk is full" },
	{ PEER, "5.1.1", "550 5.1.1 no such user", NULL },
	{ PEER, "4.2.2", "452 4.2.2 mailbox full, timed out", NULL },
	{ PEER, "", "", NULL },
};

START_TEST(what_was_said_has_its_remedy_or_none)
{
	struct dsn_cause c = dsn_cause(str_of(remedies[_i].host), str_of(remedies[_i].status), str_of(remedies[_i].words));

	ck_assert_msg(remedies[_i].holds ? c.remedy && strstr(c.remedy, remedies[_i].holds) : !c.remedy, "\"%s\": %s", remedies[_i].words,
		c.remedy ? c.remedy : "none");
	ck_assert_msg(!remedies[_i].words[0] || !remedies[_i].holds || c.meaning, "\"%s\" has a remedy and no meaning", remedies[_i].words);
}
END_TEST

/* All of them, to be read as a whole. */
START_TEST(causes_read_as_the_golden_file_says)
{
	struct buf out = { 0 }, golden = { .max = 100000 };

	for (size_t i = 0; i < sizeof remedies / sizeof *remedies; i++) {
		struct dsn_cause c = dsn_cause(str_of(remedies[i].host), str_of(remedies[i].status), str_of(remedies[i].words));

		buf_printf(&out, "%s %s\n  means:  %s\n  sender: %s\n  host:   %s\n\n", remedies[i].status, remedies[i].words, c.meaning ? c.meaning : "-",
			c.advice ? c.advice : "-", c.remedy ? c.remedy : "-");
	}
	if (getenv("FARDEL_GOLDEN"))
		write_golden("tests/golden/dsn-causes.txt", &out);
	ck_assert(file_read_all(AT_FDCWD, "tests/golden/dsn-causes.txt", &golden) == 0);
	ck_assert(str_eq(buf_view(&out), buf_view(&golden)));
	buf_free(&out);
	buf_free(&golden);
}
END_TEST

Suite *dsn_suite(void)
{
	Suite *s = suite_create("dsn");
	TCase *t = tcase_create("report");

	tcase_add_checked_fixture(t, set_up, NULL);
	tcase_add_loop_test(t, report_reads_as_the_golden_file_says, 0, sizeof stories / sizeof stories[0]);
	tcase_add_test(t, hostile_words_and_addresses_cannot_leave_their_place);
	tcase_add_test(t, endless_words_and_addresses_stay_within_lines);
	tcase_add_loop_test(t, original_is_returned_as_far_as_it_is_wanted_and_legal, 0, sizeof originals / sizeof originals[0]);
	tcase_add_test(t, long_originals_come_back_short);
	tcase_add_test(t, header_with_an_endless_line_is_encoded);
	tcase_add_test(t, boundary_never_occurs_in_what_it_parts);
	tcase_add_test(t, same_report_is_the_same_text);
	tcase_add_test(t, report_about_a_report_goes_to_postmaster);
	tcase_add_test(t, ceiling_of_the_buffer_is_an_answer);
	tcase_add_loop_test(t, well_known_answers_are_explained, 0, sizeof advice / sizeof advice[0]);
	tcase_add_loop_test(t, what_was_said_has_its_remedy_or_none, 0, sizeof remedies / sizeof *remedies);
	tcase_add_test(t, causes_read_as_the_golden_file_says);
	suite_add_tcase(s, t);
	return s;
}
