/* Words for the subject: for whom and when they hold, and where they are found. */
#include "policy/subjectpass.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/file.h"
#include "tests/tree.h"

Suite *policy_subjectpass_suite(void);

enum { NOW = 1795424400, HOUR = 3600 };

static const unsigned char key[SUBJECTPASS_KEY] = { 1, 2, 3 }, other[SUBJECTPASS_KEY] = { 1, 2, 4 };

START_TEST(a_word_is_good_for_one_author_one_mailbox_and_a_while)
{
	static const struct { const unsigned char *key; const char *mailbox, *author; int64_t later; bool holds; } row[] = {
		{ key, "bob", "anna@x.example", 0, true }, { key, "bob", "anna@x.example", 12 * HOUR - 256, true }, { key, "bob", "anna@x.example", 12 * HOUR + 257, false },
		{ key, "bob", "anna@x.example", -600, false }, { other, "bob", "anna@x.example", 0, false }, { key, "carol", "anna@x.example", 0, false },
		{ key, "bob", "anna@y.example", 0, false }, { key, "bob", "", 0, false }, { key, "bob", "anna@x.example", 365 * 24 * HOUR, false },
	};
	struct buf word = { 0 };
	struct str token;

	ck_assert(subjectpass_make(&word, key, STR("bob"), STR("anna@x.example"), NOW));
	ck_assert_uint_eq(word.n, 6 + SUBJECTPASS_WORD + 1);
	token = (struct str){ word.p + 6, SUBJECTPASS_WORD };
	for (size_t i = 0; i < sizeof row / sizeof *row; i++)
		ck_assert_msg(subjectpass_holds(token, row[i].key, str_of(row[i].mailbox), str_of(row[i].author), NOW + row[i].later, 12 * HOUR) == row[i].holds, "row %zu", i);
	for (size_t i = 0; i < SUBJECTPASS_WORD; i++) {
		char was = word.p[6 + i];

		word.p[6 + i] = was == 'A' ? 'B' : 'A';
		ck_assert_msg(!subjectpass_holds(token, key, STR("bob"), STR("anna@x.example"), NOW, 12 * HOUR) || i == SUBJECTPASS_WORD - 1, "letter %zu", i);
		word.p[6 + i] = was;
	}
	ck_assert(!subjectpass_holds(STR("AAAA"), key, STR("bob"), STR("anna@x.example"), NOW, 12 * HOUR));
	ck_assert(!subjectpass_holds(STR("======================"), key, STR("bob"), STR("anna@x.example"), NOW, 12 * HOUR));
	buf_free(&word);
}
END_TEST

#define WORD "AAAAabcd-_89AAAAabcdAA"
START_TEST(it_is_found_as_programs_write_subjects)
{
	static const struct { const char *header; bool found; } row[] = {
		{ "Subject: Re: x (pass:" WORD ")\r\n", true }, { "From: a@b\r\nSUBJECT:(pass:" WORD ") y\r\n", true }, { "Subject: long\r\n (pass:" WORD ")\r\n", true },
		{ "Subject: =?utf-8?q?=C3=A4_=28pass=3AAAAAabcd-=5F89AAAAabcdAA=29?=\r\n", true }, { "Subject: =?UTF-8?Q?=C3=A4_(pass:AAAAabcd?=\r\n =?UTF-8?Q?-=5F89AAAAabcdAA)?=\r\n", true },
		{ "Subject: =?utf-8?B?w6QgKHBhc3M6QUFBQWFiY2QtXzg5QUFBQWFiY2RBQSk=?=\r\n", true },
		{ "Subject: (pass:" WORD "\r\n", false }, { "Subject: (pass:" WORD "A)\r\n", false }, { "Subject: pass:" WORD ")\r\n", false }, { "Subject: (pass:)\r\n", false },
		{ "X: (pass:" WORD ")\r\n", false }, { "Subject: (pass:" WORD ")\r\nSubject: y\r\n", false }, { "Subject: =?utf-8?B?====?= =?utf-8?q?=2?=\r\n", false },
		{ "Subject: =?=?=?=?=?\r\n", false }, { "Subject:\r\n", false }, { "", false },
	};
	char word[SUBJECTPASS_WORD + 1];

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		bool found = subjectpass_find(str_of(row[i].header), word);

		ck_assert_msg(found == row[i].found, "%s", row[i].header);
		if (found)
			ck_assert_str_eq(word, WORD);
	}
}
END_TEST

START_TEST(the_key_is_made_once_and_what_is_cut_off_is_none)
{
	char dir[256];
	const char *tmp = getenv("TMPDIR");
	unsigned char first[SUBJECTPASS_KEY], again[SUBJECTPASS_KEY];
	int at, fd;

	snprintf(dir, sizeof dir, "%.150s/pass.XXXXXX", tmp ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	at = open(dir, O_RDONLY | O_DIRECTORY);
	ck_assert(!subjectpass_key(at, "key", false, first));
	ck_assert(subjectpass_key(at, "key", true, first));
	ck_assert(subjectpass_key(at, "key", true, again));
	ck_assert_mem_eq(first, again, sizeof first);
	fd = openat(at, "key", O_WRONLY | O_TRUNC);
	ck_assert_int_eq(write(fd, "x", 1), 1);
	close(fd);
	ck_assert(!subjectpass_key(at, "key", true, again));
	close(at);
	tree_remove(dir);
}
END_TEST

Suite *policy_subjectpass_suite(void)
{
	Suite *s = suite_create("policy_subjectpass");
	TCase *c = tcase_create("subjectpass");

	tcase_add_test(c, a_word_is_good_for_one_author_one_mailbox_and_a_while);
	tcase_add_test(c, it_is_found_as_programs_write_subjects);
	tcase_add_test(c, the_key_is_made_once_and_what_is_cut_off_is_none);
	suite_add_tcase(s, c);
	return s;
}
