/* The sender's domain: tables of records and the reply. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "policy/sender.h"

static struct facts *table;
static void nothing(struct task *t) { (void)t; }
static struct task wake = { .run = nothing };

/* "MX name host host", "A name x", "AAAA name x", where "." is the root; or an outcome: "A name !none", "!noname", "!unknown". */
static void put(const char *line)
{
	static const char *const kinds[] = { [FACT_A] = "A", [FACT_AAAA] = "AAAA", [FACT_MX] = "MX" };
	static const struct { const char *word; struct fact fact; } outcomes[] = {
		{ "!none", { .outcome = NO_DATA } },
		{ "!noname", { .outcome = NO_NAME } },
		{ "!unknown", { .outcome = UNKNOWN, .why = "SERVFAIL from 127.0.0.1" } },
		{ "!ours", { .outcome = UNKNOWN, .local_fault = true } },
	};
	struct str rest = str_of(line), kind, name, word;
	struct record r[32];
	struct fact f = { .outcome = FOUND, .record = r };
	int k = FACT_A;

	ck_assert(str_word(&rest, &kind) && str_word(&rest, &name));
	while (!str_eq(kind, str_of(kinds[k])))
		k++;
	while (str_word(&rest, &word)) {
		for (size_t i = 0; i < sizeof outcomes / sizeof *outcomes; i++)
			if (str_eq(word, str_of(outcomes[i].word)))
				f = outcomes[i].fact;
		if (word.p[0] == '!')
			break;
		r[f.n++] = (struct record){ 10, str_eq(word, STR(".")) ? STR("") : word };
	}
	facts_put(table, (enum fact_kind)k, name, &f);
}

/* Answers when the row is over, too late. */
static struct fact_ticket *asked[8];
static size_t nasked;

static void ask(struct fact_source *source, enum fact_kind kind, struct str name, struct fact_ticket *ticket)
{
	(void)source, (void)kind, (void)name;
	ck_assert_uint_lt(nasked, 8);
	asked[nasked++] = ticket;
}
static struct fact_source world = { .ask = ask };

static void end_row(void)
{
	static const struct fact none = { .outcome = NO_DATA };

	facts_free(table);
	while (nasked)
		fact_answer(asked[--nasked], &none);
}

static void setup(void)
{
	for (int k = FACT_A; k <= FACT_MX; k++)
		facts_source((enum fact_kind)k, &world);
}

START_TEST(a_sender_must_be_able_to_get_mail)
{
	static const struct {
		const char *domain;
		const char *facts[8];
		const char *reply;      /* "wait", "ok" or the codes */
	} rows[] = {
		{ "", { NULL }, "ok" },
		{ "[192.0.2.1]", { NULL }, "ok" },
		{ "[IPv6:2001:db8::1]", { NULL }, "ok" },
		{ "b\xc3\xbc""cher.example", { NULL }, "ok" },
		{ "x.test", { "MX x.test mx.test", "A mx.test 4" }, "ok" },
		{ "X.Test", { "MX x.test mx.test", "A mx.test 4" }, "ok" },
		{ "x.test", { "MX x.test mx.test", "A mx.test !none", "AAAA mx.test 6" }, "ok" },
		{ "x.test", { "MX x.test mx.test", "A mx.test !unknown", "AAAA mx.test 6" }, "ok" },
		{ "x.test", { "MX x.test a.test b.test", "A a.test !noname", "AAAA a.test !noname", "A b.test 4" }, "ok" },
		{ "x.test", { "MX x.test a.test b.test", "A a.test !unknown", "AAAA a.test !unknown", "A b.test 4" }, "ok" },
		{ "x.test", { "MX x.test . b.test", "A b.test 4" }, "ok" },              /* RFC 7505 3: not alone, so no null MX */
		{ "x.test", { "MX x.test !none", "A x.test 4" }, "ok" },
		{ "x.test", { "MX x.test !none", "A x.test !none", "AAAA x.test 6" }, "ok" },
		{ "x.test", { "MX x.test ." }, "550 5.7.27" },
		{ "x.test", { "MX x.test . ." }, "550 5.7.27" },
		{ "x.test", { "MX x.test !noname" }, "550 5.1.8" },
		{ "x.test", { "MX x.test !none", "A x.test !none", "AAAA x.test !none" }, "550 5.1.8" },
		{ "x.test", { "MX x.test mx.test", "A mx.test !none", "AAAA mx.test !noname" }, "550 5.1.8" },
		{ "x.test", { "MX x.test !unknown" }, "451 4.4.3" },
		{ "x.test", { "MX x.test !ours" }, "451 4.4.3" },
		{ "x.test", { "MX x.test !none", "A x.test !unknown", "AAAA x.test !none" }, "451 4.4.3" },
		{ "x.test", { "MX x.test !none", "A x.test !none", "AAAA x.test !unknown" }, "451 4.4.3" },
		{ "x.test", { "MX x.test a.test b.test", "A a.test !unknown", "AAAA a.test !none", "A b.test !none", "AAAA b.test !none" }, "451 4.4.3" },
		{ "x.test", { NULL }, "wait" },
		{ "x.test", { "MX x.test mx.test" }, "wait" },
		{ "x.test", { "MX x.test mx.test", "A mx.test !none" }, "wait" },
		{ "x.test", { "MX x.test !none", "A x.test !none" }, "wait" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct addr from = { .local = STR("a"), .domain = str_of(rows[i].domain) };
		struct reply why = { .code = 0 };
		char text[40];

		table = facts_new(&wake, 1 + 2 * SENDER_HOSTS);
		for (size_t k = 0; k < 8 && rows[i].facts[k]; k++)
			put(rows[i].facts[k]);
		switch (sender_domain(table, &from, &why)) {
		case WAIT: snprintf(text, sizeof text, "wait"); break;
		case ACCEPT: snprintf(text, sizeof text, "ok"); break;
		case REFUSE: snprintf(text, sizeof text, "%d %s", why.code, why.enhanced); break;
		}
		ck_assert_msg(!strcmp(text, rows[i].reply), "row %zu: %s instead of %s", i, text, rows[i].reply);
		end_row();
	}
}
END_TEST

START_TEST(no_more_hosts_than_a_few_are_looked_at)
{
	struct addr from = { .local = STR("a"), .domain = STR("x.test") };
	struct record r[32];
	struct fact mx = { .outcome = FOUND, .n = 32, .record = r }, none = { .outcome = NO_DATA };
	struct reply why;
	char name[32][20];

	table = facts_new(&wake, 1 + 2 * SENDER_HOSTS);
	for (size_t i = 0; i < 32; i++) {
		snprintf(name[i], sizeof name[i], "mx%zu.test", i);
		r[i] = (struct record){ 10, str_of(name[i]) };
		if (i < SENDER_HOSTS) {
			facts_put(table, FACT_A, str_of(name[i]), &none);
			facts_put(table, FACT_AAAA, str_of(name[i]), &none);
		}
	}
	facts_put(table, FACT_MX, STR("x.test"), &mx);
	ck_assert_int_eq(sender_domain(table, &from, &why), REFUSE);
	ck_assert_int_eq(why.code, 550);
	end_row();
}
END_TEST

Suite *policy_sender_suite(void);
Suite *policy_sender_suite(void)
{
	Suite *s = suite_create("policy_sender");
	TCase *t = tcase_create("sender");

	tcase_add_checked_fixture(t, setup, NULL);
	tcase_add_test(t, a_sender_must_be_able_to_get_mail);
	tcase_add_test(t, no_more_hosts_than_a_few_are_looked_at);
	suite_add_tcase(s, t);
	return s;
}
