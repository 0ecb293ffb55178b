/* Reputation: what was done with earlier mail on the left, what is said of the next on the right. */
#include <check.h>
#include <string.h>

#include "policy/reputation.h"

Suite *policy_reputation_suite(void);

enum { NOW = 1795427177, DAY = 86400, ROWS = 24 };

/* A message of before: how many days ago, its mark, from whom, what vouches for it, from where. Or, with a mark of '>', whom was written to. */
struct before {
	int days;
	char mark;                      /* j, h, - (none), > */
	const char *from;
	bool validated;
	const char *mail;               /* with SPF's pass; NULL: none */
	const char *helo;
	const char *ip;
	const char *dkim;
};
struct row {
	struct before before[ROWS];     /* the oldest first */
	struct before now;
	const char *org;
	const char *expected;           /* "junk yes msgfromfull" */
};

static struct identities identities(const struct before *b)
{
	return (struct identities){ .from = str_of(b->from), .validated = b->validated, .mail = str_of(b->mail), .mail_pass = b->mail,
		.helo = str_of(b->helo), .helo_pass = b->helo, .ip = str_of(b->ip), .dkim = str_of(b->dkim) };
}

static void write_history(const struct row *row, struct buf *text)
{
	for (unsigned i = 0; i < ROWS && row->before[i].mark; i++) {
		const struct before *b = &row->before[i];
		struct identities who = identities(b);
		int64_t then = NOW - (int64_t)b->days * DAY;
		char id[8] = { 'i', (char)('a' + i) };

		if (b->mark == '>') {
			history_wrote(text, then, str_of(b->from));
			continue;
		}
		history_add(text, then, str_of(id), STR("none"), &who);
		if (b->mark != '-')
			history_mark(text, then, str_of(id), b->mark == 'j' ? MARK_JUNK : MARK_HAM);
	}
	ck_assert(!text->bad);
}

static void check_rows(const struct row *row, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct identities who = identities(&row[i].now);
		struct buf text = { 0 }, got = { 0 };
		struct history h;
		struct reputation r;

		write_history(&row[i], &text);
		ck_assert(history_parse(&h, buf_view(&text)));
		reputation_of(&h, &who, str_of(row[i].org), NOW, &r);
		buf_printf(&got, "%s %s %s", opinion_name(r.opinion), r.conclusive ? "yes" : "no", method_name(r.method));
		ck_assert_msg(!strcmp(buf_cstr(&got), row[i].expected), "row %zu: %s, expected %s", i, buf_cstr(&got), row[i].expected);
		history_free(&h);
		buf_free(&got);
		buf_free(&text);
	}
}
#define CHECK(rows) check_rows(rows, sizeof rows / sizeof *rows)

#define A "other@remote.example"
#define B "b@remote.example"
#define C "c@remote.example"
#define VAL .validated = true
#define UNV .validated = false

START_TEST(an_author_is_known_by_his_last_two_messages)
{
	static const struct row rows[] = {
		{ { { 40, 'h', A, VAL }, { 30, 'j', A, VAL }, { 20, 'h', A, VAL }, { 10, 'j', A, VAL } }, { .from = A, VAL }, NULL, "ham yes msgfromfull" },
		{ { { 30, 'h', A, VAL }, { 20, 'j', A, VAL }, { 10, 'j', A, VAL } }, { .from = A, VAL }, NULL, "junk yes msgfromfull" },
		{ { { 30, 'j', A, VAL }, { 20, 'j', A, VAL }, { 10, 'h', B, VAL } }, { .from = A, VAL }, NULL, "junk yes msgfromfull" },
		{ { { 20, 'j', A, UNV }, { 10, 'j', A, UNV } }, { .from = A }, NULL, "junk no msgfromfull" },
		{ { { 10, 'j', A, VAL } }, { .from = A, VAL }, NULL, "junk yes msgfromfull" },
		{ { { 10, 'h', A, VAL } }, { .from = A, VAL }, NULL, "ham yes msgfromfull" },
		{ { { 10, 'h', A, UNV } }, { .from = A }, NULL, "ham no msgfromfull" },
		/* what nobody has marked says nothing, and what is three years old neither */
		{ { { 10, '-', A, VAL } }, { .from = A, VAL }, NULL, "unknown no none" },
		{ { { 3 * 365 + 1, 'j', A, VAL } }, { .from = A, VAL }, NULL, "unknown no none" },
		{ { { 3 * 365 - 1, 'j', A, VAL } }, { .from = A, VAL }, NULL, "junk yes msgfromfull" },
		/* an empty local part is one like others */
		{ { { 10, 'h', A, VAL } }, { .from = "@remote.example", VAL }, NULL, "ham yes msgfromdomain" },
	};
	CHECK(rows);
}
END_TEST

START_TEST(who_cannot_show_any_more_that_it_is_he_is_another)
{
	static const struct row rows[] = {
		{ { { 20, 'h', A, VAL }, { 10, 'h', A, VAL } }, { .from = A }, NULL, "junk no msgfromfull" },
		{ { { 10, 'h', A, VAL } }, { .from = A }, NULL, "junk no msgfromfull" },
		{ { { 10, 'j', A, VAL } }, { .from = A }, NULL, "junk yes msgfromfull" },
		{ { { 10, 'h', B, VAL } }, { .from = A }, NULL, "junk no msgfromdomain" },
		{ { { 10, 'h', "b@sub.remote.example", VAL } }, { .from = A }, "remote.example", "junk no msgfromorgdomain" },
	};
	CHECK(rows);
}
END_TEST

START_TEST(who_was_written_to_may_answer)
{
	static const struct row rows[] = {
		{ { { 20, 'j', B, UNV }, { 20, 'j', C, UNV }, { 10, '>', A, UNV } }, { .from = A }, NULL, "ham yes msgtofull" },
		{ { { 3 * 365 + 1, '>', A, UNV } }, { .from = A }, NULL, "unknown no none" },
		{ { { 10, '>', B, UNV } }, { .from = A }, NULL, "ham yes msgtodomain" },
		{ { { 2 * 365 + 1, '>', B, UNV } }, { .from = A }, NULL, "unknown no none" },
		{ { { 10, '>', "b@sub.remote.example", UNV } }, { .from = A }, "remote.example", "ham yes msgtoorgdomain" },
		{ { { 10, '>', "b@notremote.example", UNV } }, { .from = A }, "remote.example", "unknown no none" },
		{ { { 10, '>', "Other@Remote.Example", UNV } }, { .from = A }, NULL, "ham yes msgtofull" },
	};
	CHECK(rows);
}
END_TEST

START_TEST(a_domain_is_known_by_its_authors)
{
	static const struct row rows[] = {
		{ { { 9, 'h', B, VAL }, { 8, 'h', B, VAL }, { 7, 'h', B, VAL }, { 6, 'j', B, VAL }, { 5, 'j', B, VAL } }, { .from = A, VAL }, NULL,
			"unknown no msgfromdomain" },
		{ { { 9, 'h', B, VAL }, { 9, 'h', B, VAL }, { 9, 'h', B, VAL }, { 9, 'h', B, VAL }, { 9, 'h', B, VAL }, { 9, 'h', B, VAL },
			{ 9, 'h', B, VAL }, { 9, 'h', B, VAL }, { 9, 'h', B, VAL }, { 6, 'j', B, VAL } }, { .from = A, VAL }, NULL, "ham yes msgfromdomain" },
		{ { { 9, 'j', B, VAL }, { 8, 'j', C, VAL }, { 7, 'j', "d@remote.example", VAL }, { 6, 'h', B, VAL } }, { .from = A, VAL }, NULL,
			"unknown no msgfromdomain" },
		{ { { 9, 'j', B, VAL }, { 8, 'j', C, VAL }, { 7, 'j', "d@remote.example", VAL } }, { .from = A, VAL }, NULL, "junk yes msgfromdomain" },
		{ { { 9, 'j', B, VAL }, { 8, 'j', C, VAL }, { 7, 'j', C, VAL } }, { .from = A, VAL }, NULL, "junk no msgfromdomain" },
		{ { { 9, 'j', "b@x.remote.example", VAL }, { 8, 'j', "c@y.remote.example", VAL }, { 7, 'j', "d@x.remote.example", VAL } },
			{ .from = "a@z.remote.example", VAL }, "remote.example", "junk yes msgfromorgdomain" },
		{ { { 9, 'j', "b@x.remote.example", VAL }, { 8, 'j', "c@y.remote.example", VAL } },
			{ .from = "a@z.remote.example", VAL }, "remote.example", "junk no msgfromorgdomain" },
		{ { { 2 * 365 + 1, 'j', B, VAL } }, { .from = A, VAL }, NULL, "unknown no none" },
	};
	CHECK(rows);
}
END_TEST

#define ESP .dkim = "esp.example", .mail = "bounce@esp.example"

START_TEST(a_provider_is_known_by_its_signature)
{
	static const struct row rows[] = {
		{ { { 9, 'h', B, ESP }, { 8, 'h', C, ESP } }, { .from = "new@else.example", ESP }, NULL, "ham yes dkimspf" },
		{ { { 9, 'j', B, ESP }, { 8, 'j', C, ESP } }, { .from = "new@else.example", ESP }, NULL, "junk yes dkimspf" },
		{ { { 9, 'j', B, ESP }, { 8, 'h', C, ESP } }, { .from = "new@else.example", ESP }, NULL, "unknown no dkimspf" },
		{ { { 9, 'h', B, ESP } }, { .from = "new@else.example", ESP }, NULL, "ham yes dkimspf" },
		{ { { 9, 'j', B, ESP } }, { .from = "new@else.example", ESP }, NULL, "junk no dkimspf" },
		{ { { 183, 'j', B, ESP } }, { .from = "new@else.example", ESP }, NULL, "unknown no none" },
		/* all domains that signed are counted, whichever comes last */
		{ { { 9, 'j', B, .dkim = "one.example" }, { 8, 'j', B, .dkim = "one.example" }, { 7, 'j', B, .dkim = "two.example" } },
			{ .from = "new@else.example", .dkim = "one.example,two.example" }, NULL, "junk yes dkimspf" },
		{ { { 9, 'j', B, .dkim = "one.example" }, { 8, 'h', B, .dkim = "two.example" } },
			{ .from = "new@else.example", .dkim = "one.example,two.example" }, NULL, "unknown no dkimspf" },
		/* the same address, else its domain, else the name in HELO */
		{ { { 9, 'j', B, .mail = "x@esp.example" }, { 8, 'j', C, .mail = "y@esp.example" } },
			{ .from = "new@else.example", .mail = "z@esp.example" }, NULL, "junk yes dkimspf" },
		{ { { 9, 'h', B, .mail = "z@esp.example" }, { 8, 'j', C, .mail = "y@esp.example" } },
			{ .from = "new@else.example", .mail = "z@esp.example" }, NULL, "ham yes dkimspf" },
		{ { { 9, 'h', B, .helo = "mx.esp.example" } }, { .from = "new@else.example", .helo = "mx.esp.example" }, NULL, "ham yes dkimspf" },
	};
	CHECK(rows);
}
END_TEST

#define IP(n) .ip = "192.0.2." #n
#define NEW "new@else.example"

START_TEST(a_network_is_known_by_what_came_from_it)
{
	static const struct row rows[] = {
		{ { { 95, 'j', B, IP(1) }, { 93, 'j', B, IP(1) }, { 1, 'j', B, IP(1) } }, { .from = NEW, IP(1) }, NULL, "junk no ip1" },
		{ { { 3, 'h', B, IP(1) }, { 2, 'h', B, IP(1) }, { 1, 'h', B, IP(1) } }, { .from = NEW, IP(1) }, NULL, "ham yes ip1" },
		{ { { 3, 'j', B, IP(1) }, { 2, 'j', B, IP(1) }, { 1, 'j', B, IP(1) } }, { .from = NEW, IP(1) }, NULL, "junk yes ip1" },
		{ { { 9, 'h', B, .ip = "203.0.113.9" }, { 3, 'j', B, IP(1) }, { 3, 'j', B, IP(2) }, { 3, 'j', B, IP(3) }, { 3, 'j', B, IP(4) },
			{ 3, 'j', B, IP(5) } }, { .from = NEW, IP(6) }, NULL, "junk yes ip2" },
		{ { { 3, 'j', B, IP(1) }, { 3, 'j', B, IP(2) }, { 3, 'j', B, IP(3) }, { 3, 'j', B, IP(4) } }, { .from = NEW, IP(6) }, NULL, "junk no ip2" },
		{ { { 3, 'j', B, IP(101) }, { 3, 'j', B, IP(102) }, { 3, 'j', B, IP(103) }, { 3, 'j', B, IP(104) }, { 3, 'j', B, IP(105) },
			{ 3, 'j', B, IP(106) }, { 3, 'j', B, IP(107) }, { 3, 'j', B, IP(108) }, { 3, 'j', B, IP(109) }, { 3, 'j', B, IP(110) } },
			{ .from = NEW, .ip = "192.0.3.6" }, NULL, "junk yes ip3" },
		{ { { 3, 'j', B, .ip = "2001:db8::1" }, { 3, 'j', B, .ip = "2001:db8::2" } }, { .from = NEW, .ip = "2001:db8::99" }, NULL, "junk yes ip1" },
		{ { { 3, 'j', B, .ip = "2001:db8::1" } }, { .from = NEW, .ip = "2001:db8:0:1::1" }, NULL, "junk no ip2" },
		{ { { 3, 'j', B, .ip = "2001:db8::1" } }, { .from = NEW, .ip = "2001:db9::1" }, NULL, "unknown no none" },
		/* half of it is junk; and a forwarder's address tells nothing */
		{ { { 3, 'j', B, IP(1) }, { 3, 'h', B, IP(1) } }, { .from = NEW, IP(1) }, NULL, "unknown no ip1" },
		{ { { 3, 'j', B, UNV }, { 3, 'j', B, UNV } }, { .from = NEW }, NULL, "unknown no none" },
		/* a message without an author */
		{ { { 3, 'j', "", IP(1) }, { 3, 'j', "", IP(1) } }, { .from = "", IP(1) }, NULL, "junk yes ip1" },
		/* a clock that was ahead once */
		{ { { -40, 'j', B, IP(1) }, { -30, 'j', B, IP(1) } }, { .from = NEW, IP(1) }, NULL, "junk yes ip1" },
	};
	CHECK(rows);
}
END_TEST

Suite *policy_reputation_suite(void)
{
	Suite *s = suite_create("policy_reputation");
	TCase *c = tcase_create("reputation");

	tcase_add_test(c, an_author_is_known_by_his_last_two_messages);
	tcase_add_test(c, who_cannot_show_any_more_that_it_is_he_is_another);
	tcase_add_test(c, who_was_written_to_may_answer);
	tcase_add_test(c, a_domain_is_known_by_its_authors);
	tcase_add_test(c, a_provider_is_known_by_its_signature);
	tcase_add_test(c, a_network_is_known_by_what_came_from_it);
	suite_add_tcase(s, c);
	return s;
}
