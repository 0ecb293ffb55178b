/* The memory of a mailbox as text: what was written is read, whatever else stands there. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "policy/history.h"

Suite *policy_history_suite(void);

enum { NOW = 1795427177, DAY = 86400 };

static struct buf text;
static struct history history;

static void teardown(void)
{
	history_free(&history);
	buf_free(&text);
	text = (struct buf){ 0 };
}

static void add(int days, const char *id, const char *from, enum mark mark)
{
	struct identities who = { .from = str_of(from), .validated = true, .ip = STR("192.0.2.7"), .dkim = STR("a.example,b.example") };

	ck_assert(history_add(&text, NOW - (int64_t)days * DAY, str_of(id), STR("none"), &who));
	if (mark != MARK_NONE)
		ck_assert(history_mark(&text, NOW, str_of(id), mark));
}

static void parse(void)
{
	history_free(&history);
	ck_assert(history_parse(&history, buf_view(&text)));
}

/* Made compact, and read again. */
static void compact(void)
{
	struct buf out = { 0 };

	parse();
	ck_assert(history_print(&history, NOW, &out));
	history_free(&history);
	buf_free(&text);
	text = out;
	parse();
}

START_TEST(what_is_written_is_read)
{
	add(3, "1", "anna@example.net", MARK_HAM);
	add(2, "2", "", MARK_NONE);
	ck_assert(history_wrote(&text, NOW, STR("Ben@Example.ORG")));
	ck_assert(history_looked(&text, NOW - 5));
	parse();
	ck_assert_uint_eq(history.n, 2);
	ck_assert_int_eq(history.record[0].mark, MARK_HAM);
	ck_assert(str_eq(history.record[0].who.from, STR("anna@example.net")));
	ck_assert(history.record[0].who.validated && !history.record[0].who.mail_pass);
	ck_assert(str_eq(history.record[0].who.dkim, STR("a.example,b.example")));
	ck_assert_uint_eq(history.record[1].who.from.n, 0);
	ck_assert_int_eq(history.record[1].mark, MARK_NONE);
	ck_assert_uint_eq(history.nwritten, 1);
	ck_assert(str_eq(history.written[0].address, STR("ben@example.org")));
	ck_assert_int_eq(history.looked, NOW - 5);
}
END_TEST

START_TEST(a_word_holds_nothing_that_separates)
{
	static const struct { const char *raw, *word; } rows[] = {
		{ "Anna@Example.net", "anna@example.net" }, { "\"a b\"@x", "\"a%20b\"@x" }, { "a,b%\n\x7f\xc3\xa9", "a%2cb%25%0a%7f%c3%a9" }, { "-", "%2d" },
		{ "", "" }, { "a-b", "a-b" }
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		buf_clear(&text);
		ck_assert(identity_word(&text, str_of(rows[i].raw)));
		ck_assert_str_eq(buf_cstr(&text), rows[i].word);
	}
}
END_TEST

START_TEST(lines_that_are_none_are_passed_over)
{
	static const char *const lines[] = {
		"", "+", "+ ", "+ x 1 none a@b - - - - -", "+ 5 1 none a@b", "= 5", "= 5 unknown ham", "> 5", "> 5 nodomain", "> x a@b", "? x", "hello", "+\t5 1 none a - - - - -",
		"+ 99999999999999999999999 1 none a@b - - - - -", "= 5 1 purple",
	};

	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
		buf_printf(&text, "%s\n", lines[i]);
	for (unsigned i = 0; i < 3000; i++)
		buf_char(&text, 'x');
	buf_char(&text, '\n');
	buf_add(&text, "\0\xff\n", 3);
	add(1, "1", "anna@example.net", MARK_JUNK);
	buf_puts(&text, "= 5 1 ham");           /* torn */
	parse();
	ck_assert_uint_eq(history.n, 1);
	ck_assert_uint_eq(history.nwritten, 0);
	ck_assert_int_eq(history.record[0].mark, MARK_JUNK);
}
END_TEST

START_TEST(a_line_has_an_end)
{
	char long_name[3000] = { 0 };
	struct identities who = { .from = { long_name, sizeof long_name - 1 } };

	memset(long_name, 'a', sizeof long_name - 1);
	ck_assert(!history_add(&text, NOW, STR("1"), STR("none"), &who));
	ck_assert_uint_eq(text.n, 0);
}
END_TEST

START_TEST(compact_is_without_what_says_nothing)
{
	add(4 * 365, "old", "anna@example.net", MARK_HAM);
	add(100, "unmarked", "anna@example.net", MARK_NONE);
	add(80, "young", "anna@example.net", MARK_NONE);
	add(100, "ham", "anna@example.net", MARK_JUNK);
	history_mark(&text, NOW, STR("ham"), MARK_NONE);
	history_mark(&text, NOW, STR("ham"), MARK_HAM);
	history_wrote(&text, NOW - 10, STR("ben@example.org"));
	history_wrote(&text, NOW, STR("ben@example.org"));
	history_wrote(&text, NOW - (int64_t)4 * 365 * DAY, STR("carl@example.org"));
	history_looked(&text, NOW);
	compact();
	ck_assert_uint_eq(history.n, 2);
	ck_assert_ptr_null(history_find(&history, STR("old")));
	ck_assert_ptr_null(history_find(&history, STR("unmarked")));
	ck_assert_int_eq(history_find(&history, STR("ham"))->mark, MARK_HAM);
	ck_assert_uint_eq(history.nwritten, 1);
	ck_assert_int_eq(history.written[0].time, NOW);
	ck_assert_int_eq(history.looked, NOW);
	ck_assert_uint_eq(history.lines, 5);
}
END_TEST

/* A flood of mail that nobody has looked at yet, or of one author, leaves what is known of others. */
START_TEST(a_flood_drives_out_itself)
{
	char id[20];

	add(200, "friend", "anna@example.net", MARK_HAM);
	for (unsigned i = 0; i < HISTORY_RECORDS - 500; i++) {
		snprintf(id, sizeof id, "f%u", i);
		add(2, id, "flood@example.com", MARK_NONE);
	}
	for (unsigned i = 0; i < 400; i++) {
		snprintf(id, sizeof id, "l%u", i);
		add(1, id, "list@example.com", MARK_HAM);
	}
	compact();
	ck_assert_ptr_nonnull(history_find(&history, STR("friend")));
	ck_assert_uint_le(history.n, HISTORY_RECORDS / 2);
	ck_assert_uint_ge(history.n, HISTORY_RECORDS / 2 - 1);
	ck_assert_ptr_null(history_find(&history, STR("l0")));
	ck_assert_ptr_nonnull(history_find(&history, STR("l399")));
	ck_assert_uint_le(text.n, HISTORY_OCTETS);
}
END_TEST

START_TEST(only_so_many_are_kept_in_memory_and_the_last_ones)
{
	char id[20];

	for (unsigned i = 0; i < 3 * HISTORY_RECORDS; i++) {
		snprintf(id, sizeof id, "%u", i);
		add(2, id, "a@b", MARK_NONE);
		history_wrote(&text, NOW, STR("x@y"));
	}
	parse();
	ck_assert_uint_eq(history.n, HISTORY_RECORDS);
	ck_assert_uint_eq(history.nwritten, HISTORY_RECORDS);
	ck_assert_ptr_nonnull(history_find(&history, str_of(id)));
	compact();
	ck_assert_uint_eq(history.nwritten, 1);
}
END_TEST

Suite *policy_history_suite(void)
{
	Suite *s = suite_create("policy_history");
	TCase *c = tcase_create("history");

	tcase_add_checked_fixture(c, NULL, teardown);
	tcase_add_test(c, what_is_written_is_read);
	tcase_add_test(c, a_word_holds_nothing_that_separates);
	tcase_add_test(c, lines_that_are_none_are_passed_over);
	tcase_add_test(c, a_line_has_an_end);
	tcase_add_test(c, compact_is_without_what_says_nothing);
	tcase_add_test(c, a_flood_drives_out_itself);
	tcase_add_test(c, only_so_many_are_kept_in_memory_and_the_last_ones);
	suite_add_tcase(s, c);
	return s;
}
