/* Words of messages: which ones count, and what a table says of them. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/bayes.h"

Suite *policy_bayes_suite(void);

static struct bayes_table table;
static struct bayes_words words, other;

static bool same_words(const char *a, const char *b)
{
	bayes_read(&words, str_of(a));
	bayes_read(&other, str_of(b));
	for (size_t i = 0; i < other.n; i++) {
		size_t k = 0;

		while (k < words.n && words.hash[k] != other.hash[i])
			k++;
		if (k == words.n)
			return false;
	}
	return words.n == other.n;
}

#define BODY(text) "X: y\n\n" text
#define MIXED \
	"Content-Type: multipart/mixed;\n boundary=\"=_b\"\n\npreamble\n--=_b\n\ncheap pills\n--=_b\nContent-Type: application/pdf\n\nnot read\n" \
	"--=_b\nContent-Type: multipart/alternative; boundary=c\n\n--c\nContent-Type: text/html\n\n<i>don't</i>\n--c--\n--=_b--\nepilogue\n"

START_TEST(words_are_found_in_whatever_they_are_wrapped)
{
	static const char *const rows[] = {
		BODY("Cheap PILLS, cheap pills! a an 2026 12345x deadbeef111 xkcdbvq don't'"),
		"Content-Type: text/html\r\n\r\n<html><style>hidden{}</style><b>cheap</b><br>pills<script>var nothing</script> <p class=x>don't</p>",
		"Content-Transfer-Encoding: quoted-printable\n\nche=\nap p=69lls don=27t",
		"Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\nY2hlYXAgcGls\nbHMgZG9uJ3Q=\n",
		MIXED,
		"Content-Type: message/rfc822\n\nX: y\n\ncheap pills don't\n",
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		ck_assert_msg(same_words(rows[i], BODY("cheap pills don't")), "row %zu: %zu words", i, words.n);
}
END_TEST

START_TEST(words_of_a_header_are_others_than_those_of_the_text)
{
	ck_assert(!same_words("Subject: cheap pills\n\n", BODY("cheap pills")));
	ck_assert(same_words("Subject: cheap pills the\nReceived: nothing\nMessage-ID: <nothing@here>\n\n", "subject: PILLS cheap\n\n"));
	ck_assert(!same_words("Subject: cheap\n\n", "From: cheap\n\n"));
}
END_TEST

static void count(const char *text, bool junk, unsigned times)
{
	bayes_read(&words, str_of(text));
	for (unsigned i = 0; i < times; i++)
		bayes_count(&table, &words, junk, true);
}

static double probability(const char *text, unsigned n)
{
	struct bayes_result r;

	bayes_read(&words, str_of(text));
	bayes_judge(&table, &words, &r);
	ck_assert_uint_eq(r.words, n);
	ck_assert_int_eq(r.significant, table.ham >= 50 && table.junk > 0);
	return r.probability;
}

START_TEST(what_stood_in_junk_speaks_for_junk)
{
	bayes_init(&table);
	ck_assert(bayes_valid(&table));
	ck_assert(probability(BODY("cheap pills"), 0) == 0.5);
	count(BODY("cheap pills today"), true, 60);
	count(BODY("meeting tomorrow today"), false, 60);
	ck_assert(probability(BODY("cheap pills today"), 2) > 0.99);
	ck_assert(probability(BODY("meeting tomorrow today"), 2) < 0.01);
	ck_assert(probability(BODY("unheard words"), 0) == 0.5);
	ck_assert(probability(BODY("cheap meeting"), 2) > 0.499 && probability(BODY("cheap meeting"), 2) < 0.501);
	count(BODY("rare"), true, 1);
	ck_assert(probability(BODY("rare"), 1) < 0.95);         /* met once: not so sure */
}
END_TEST

START_TEST(what_was_counted_can_be_taken_back)
{
	struct bayes_table *before = malloc(sizeof *before);

	bayes_init(&table);
	count(BODY("cheap pills"), true, 3);
	*before = table;
	count(BODY("cheap meeting"), true, 1);
	bayes_read(&words, STR(BODY("cheap meeting")));
	bayes_count(&table, &words, true, false);
	ck_assert_uint_eq(table.junk, before->junk);
	ck_assert(probability(BODY("meeting"), 0) == 0.5);
	for (unsigned i = 0; i < 10; i++)
		bayes_count(&table, &words, false, false);      /* what never was is not taken back */
	ck_assert_uint_eq(table.ham, 0);
	free(before);
}
END_TEST

START_TEST(a_flood_of_words_fits_and_common_ones_stay)
{
	static char text[300000];
	size_t n;

	bayes_init(&table);
	count(BODY("cheap pills"), true, 60);
	count(BODY("meeting tomorrow"), false, 60);
	for (unsigned round = 0; round < 60; round++) {
		n = (size_t)snprintf(text, sizeof text, BODY(""));
		for (unsigned i = 0; i < 5000; i++) {
			unsigned x = round * 5000 + i;

			text[n++] = ' ';
			for (unsigned k = 0; k < 6; k++, x /= 20)
				n += (size_t)snprintf(text + n, sizeof text - n, "%c%c", "bcdfghjklmnpqrstvwxz"[x % 20], "aeiou"[x % 5]);
		}
		bayes_read(&words, (struct str){ text, n });
		ck_assert_uint_eq(words.n, BAYES_WORDS);
		bayes_count(&table, &words, true, true);
	}
	ck_assert(probability(BODY("meeting tomorrow"), 2) < 0.01);
}
END_TEST

START_TEST(the_fact_is_read_as_it_was_written)
{
	struct bayes_result r = { 0.987654, true, 17 }, got;
	struct buf b = { 0 };
	struct str local, file;
	int64_t at;

	ck_assert(content_print(&b, &r) && content_parse(buf_view(&b), &got));
	ck_assert(got.significant && got.words == 17 && got.probability > 0.98765 && got.probability < 0.98766);
	ck_assert(!content_parse(STR("2000000 enough 1"), &got) && !content_parse(STR("x"), &got));
	buf_clear(&b);
	ck_assert(content_ask(&b, STR("bob"), "/q/work/1", 77) && content_asked(buf_view(&b), &local, &file, &at));
	ck_assert(str_eq(local, STR("bob")) && str_eq(file, STR("/q/work/1")) && at == 77);
	ck_assert(!content_asked(STR("bob\n/q"), &local, &file, &at));
	buf_free(&b);
}
END_TEST

Suite *policy_bayes_suite(void)
{
	Suite *s = suite_create("policy_bayes");
	TCase *c = tcase_create("words");

	tcase_add_test(c, words_are_found_in_whatever_they_are_wrapped);
	tcase_add_test(c, words_of_a_header_are_others_than_those_of_the_text);
	tcase_add_test(c, what_stood_in_junk_speaks_for_junk);
	tcase_add_test(c, what_was_counted_can_be_taken_back);
	tcase_add_test(c, a_flood_of_words_fits_and_common_ones_stay);
	tcase_add_test(c, the_fact_is_read_as_it_was_written);
	suite_add_tcase(s, c);
	return s;
}
