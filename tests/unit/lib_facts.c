/* Facts: asked once, waited for, copied, dropped when nobody wants them. */
#include <check.h>
#include <string.h>

#include "lib/facts.h"

/* A source that keeps its tickets, or answers at once. */
static struct fact_ticket *tickets[16];
static char names[16][64];
static unsigned asked;
static const struct fact *at_once;
static unsigned woken;

static void keep(struct fact_source *s, enum fact_kind kind, struct str name, struct fact_ticket *t)
{
	(void)s, (void)kind;
	ck_assert_uint_lt(asked, 16);
	str_copy(names[asked], sizeof names[asked], name);
	tickets[asked++] = t;
	if (at_once)
		fact_answer(t, at_once);
}

static void wake(struct task *t)
{
	(void)t;
	woken++;
}

static struct fact_source source = { keep };
static struct task waker = { .run = wake };
static struct facts *table;

static void setup(void)
{
	asked = woken = 0;
	at_once = NULL;
	for (int k = 0; k < FACT_KINDS; k++)
		facts_source(k, &source);
	table = facts_new(&waker, 4);
	ck_assert_ptr_nonnull(table);
}

static void teardown(void)
{
	facts_free(table);
}

static const struct fact nothing = { .outcome = NO_DATA };

START_TEST(a_question_is_asked_once_and_answered_by_waking)
{
	const struct fact *f;

	ck_assert_ptr_null(fact(table, FACT_MX, STR("a.test")));
	ck_assert_ptr_null(fact(table, FACT_MX, STR("A.TEST")));
	ck_assert_uint_eq(asked, 1);
	ck_assert_str_eq(names[0], "a.test");
	ck_assert_uint_eq(facts_pending(table), 1);
	fact_answer(tickets[0], &nothing);
	ck_assert_uint_eq(facts_pending(table), 0);
	ck_assert_uint_eq(woken, 0);            /* not from inside */
	loop_turn(0);
	ck_assert_uint_eq(woken, 1);
	f = fact(table, FACT_MX, STR("a.test"));
	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(f->outcome, NO_DATA);
	ck_assert_uint_eq(asked, 1);
}
END_TEST

START_TEST(answers_of_one_turn_wake_once)
{
	fact(table, FACT_A, STR("a.test"));
	fact(table, FACT_AAAA, STR("a.test"));
	ck_assert_uint_eq(asked, 2);
	fact_answer(tickets[1], &nothing);
	fact_answer(tickets[0], &nothing);
	loop_turn(0);
	ck_assert_uint_eq(woken, 1);
}
END_TEST

START_TEST(an_answer_at_once_needs_no_waking)
{
	at_once = &nothing;
	ck_assert_ptr_nonnull(fact(table, FACT_A, STR("a.test")));
	loop_turn(0);
	ck_assert_uint_eq(woken, 0);
}
END_TEST

START_TEST(the_answer_is_copied_whole)
{
	char data[8] = "octets\0x", why[] = "no reason";
	struct record r[2] = { { 10, { data, 8 } }, { 20, { data, 0 } } };
	struct fact given = { .outcome = FOUND, .secure = true, .local_fault = true, .why = why, .n = 2, .record = r };
	const struct fact *f;

	fact(table, FACT_TXT, STR("a.test"));
	fact_answer(tickets[0], &given);
	memset(data, '?', sizeof data);
	memset(r, 0xff, sizeof r);
	memset(why, '?', sizeof why - 1);
	f = fact(table, FACT_TXT, STR("a.test"));
	ck_assert_int_eq(f->outcome, FOUND);
	ck_assert(f->secure && f->local_fault);
	ck_assert_str_eq(f->why, "no reason");
	ck_assert_uint_eq(f->n, 2);
	ck_assert_int_eq(f->record[0].priority, 10);
	ck_assert_uint_eq(f->record[0].data.n, 8);
	ck_assert_mem_eq(f->record[0].data.p, "octets\0x", 8);
	ck_assert_int_eq(f->record[1].priority, 20);
	ck_assert_uint_eq(f->record[1].data.n, 0);
}
END_TEST

START_TEST(kinds_and_names_differ)
{
	static const struct { enum fact_kind kind; const char *name; unsigned asked; } row[] = {
		{ FACT_MAILBOX, "bob", 1 },
		{ FACT_MAILBOX, "Bob", 2 },             /* whether it is the same is for the mailboxes to say */
		{ FACT_TXT, "bob", 3 },
		{ FACT_TXT, "BOB", 3 },
		{ FACT_TXT, "bo", 4 },
	};

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		ck_assert_ptr_null(fact(table, row[i].kind, str_of(row[i].name)));
		ck_assert_uint_eq(asked, row[i].asked);
	}
	for (unsigned i = 0; i < asked; i++)
		fact_answer(tickets[i], &nothing);
}
END_TEST

START_TEST(beyond_the_limit_nothing_is_asked)
{
	static const char *const name[] = { "a", "b", "c", "d" };
	const struct fact *f;

	for (size_t i = 0; i < 4; i++)
		ck_assert_ptr_null(fact(table, FACT_A, str_of(name[i])));
	f = fact(table, FACT_A, STR("e"));
	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(f->outcome, UNKNOWN);
	ck_assert_str_eq(f->why, "too many lookups");
	ck_assert(!f->local_fault);
	ck_assert_uint_eq(asked, 4);
	ck_assert_ptr_null(fact(table, FACT_A, STR("a")));      /* the old ones still count */
	for (unsigned i = 0; i < asked; i++)
		fact_answer(tickets[i], &nothing);
}
END_TEST

START_TEST(late_answers_are_dropped)
{
	struct facts *gone = facts_new(&waker, 4);

	fact(gone, FACT_A, STR("a.test"));
	fact(gone, FACT_MX, STR("a.test"));
	facts_free(gone);
	fact_answer(tickets[1], &nothing);
	fact_answer(tickets[0], &nothing);
	loop_turn(0);
	ck_assert_uint_eq(woken, 0);
}
END_TEST

START_TEST(freeing_cancels_the_waking)
{
	struct facts *gone = facts_new(&waker, 4);

	fact(gone, FACT_A, STR("a.test"));
	fact_answer(tickets[0], &nothing);
	facts_free(gone);
	loop_turn(0);
	ck_assert_uint_eq(woken, 0);
	facts_free(NULL);
}
END_TEST

START_TEST(without_a_source_the_fact_is_unknown)
{
	const struct fact *f;

	facts_source(FACT_MAILBOX, NULL);
	f = fact(table, FACT_MAILBOX, STR("bob"));
	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(f->outcome, UNKNOWN);
	ck_assert_str_eq(f->why, "not available");
	ck_assert_uint_eq(asked, 0);
}
END_TEST

START_TEST(a_fact_put_in_is_not_asked_for)
{
	struct fact none = { .outcome = NO_NAME };

	facts_put(table, FACT_A, STR("a.test"), &nothing);
	ck_assert_int_eq(fact(table, FACT_A, STR("a.test"))->outcome, NO_DATA);
	facts_put(table, FACT_A, STR("A.test"), &none);
	ck_assert_int_eq(fact(table, FACT_A, STR("a.test"))->outcome, NO_NAME);
	ck_assert_uint_eq(asked, 0);
}
END_TEST

START_TEST(a_fact_put_in_supersedes_the_answer_on_its_way)
{
	struct fact none = { .outcome = NO_NAME };

	fact(table, FACT_A, STR("a.test"));
	facts_put(table, FACT_A, STR("a.test"), &none);
	ck_assert_uint_eq(facts_pending(table), 0);
	fact_answer(tickets[0], &nothing);
	ck_assert_int_eq(fact(table, FACT_A, STR("a.test"))->outcome, NO_NAME);
}
END_TEST

static struct fact_ticket *last;

static void keep_last(struct fact_source *s, enum fact_kind kind, struct str name, struct fact_ticket *t)
{
	(void)s;
	(void)kind;
	(void)name;
	last = t;
}

static struct fact_source last_source = { keep_last };

START_TEST(strangers_have_us_hold_so_much_and_no_more)
{
	static char big[60000];
	struct record r[3] = { { .data = { big, sizeof big } }, { .data = { big, sizeof big } }, { .data = { big, sizeof big } } };
	struct fact f = { .outcome = FOUND, .n = 3, .record = r };
	struct facts *strange[120], *ours = facts_new(NULL, 10);
	size_t held = 0;

	facts_source(FACT_TXT, &last_source);
	for (size_t i = 0; i < 120; i++) {
		strange[i] = facts_new(NULL, 10);
		facts_for_stranger(strange[i]);
		fact(strange[i], FACT_TXT, STR("a.test"));
		fact_answer(last, &f);
		held += fact(strange[i], FACT_TXT, STR("a.test"))->outcome == FOUND;
		fact(strange[i], FACT_TXT, STR("b.test"));
		fact_answer(last, &f);          /* more than one may have */
		ck_assert_int_eq(fact(strange[i], FACT_TXT, STR("b.test"))->outcome, UNKNOWN);
	}
	ck_assert_uint_le(held, (16 << 20) / 180000);
	ck_assert_uint_ge(held, (16 << 20) / 181000);
	fact(ours, FACT_TXT, STR("a.test"));
	fact_answer(last, &f);
	ck_assert_int_eq(fact(ours, FACT_TXT, STR("a.test"))->outcome, FOUND);
	for (size_t i = 0; i < 120; i++)
		facts_free(strange[i]);
	strange[0] = facts_new(NULL, 10);
	facts_for_stranger(strange[0]);
	fact(strange[0], FACT_TXT, STR("a.test"));
	fact_answer(last, &f);
	ck_assert_int_eq(fact(strange[0], FACT_TXT, STR("a.test"))->outcome, FOUND);
	facts_free(strange[0]);
	facts_free(ours);
	facts_source(FACT_TXT, NULL);
}
END_TEST

Suite *lib_facts_suite(void);
Suite *lib_facts_suite(void)
{
	Suite *s = suite_create("lib_facts");
	TCase *t = tcase_create("facts");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, a_question_is_asked_once_and_answered_by_waking);
	tcase_add_test(t, answers_of_one_turn_wake_once);
	tcase_add_test(t, an_answer_at_once_needs_no_waking);
	tcase_add_test(t, the_answer_is_copied_whole);
	tcase_add_test(t, kinds_and_names_differ);
	tcase_add_test(t, beyond_the_limit_nothing_is_asked);
	tcase_add_test(t, late_answers_are_dropped);
	tcase_add_test(t, freeing_cancels_the_waking);
	tcase_add_test(t, without_a_source_the_fact_is_unknown);
	tcase_add_test(t, a_fact_put_in_is_not_asked_for);
	tcase_add_test(t, strangers_have_us_hold_so_much_and_no_more);
	tcase_add_test(t, a_fact_put_in_supersedes_the_answer_on_its_way);
	suite_add_tcase(s, t);
	return s;
}
