/* Where reports go: addresses of the record, and hosts of others that have agreed or not (RFC 9990, RFC 7489 7.1). */
#include "policy/rua.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

Suite *policy_rua_suite(void);

static const char *const *zone;                 /* "NAME text", "NAME !" for what cannot be had now */
static struct { struct fact_ticket *ticket; char name[300]; } waiting[RUA_LOOKUPS];
static size_t nwaiting, nasked;

static void ask(struct fact_source *source, enum fact_kind kind, struct str name, struct fact_ticket *ticket)
{
	(void)source;
	ck_assert_int_eq(kind, FACT_TXT);
	ck_assert_uint_lt(nwaiting, RUA_LOOKUPS);
	ck_assert(str_copy(waiting[nwaiting].name, sizeof waiting[0].name, name));
	waiting[nwaiting++].ticket = ticket;
	nasked++;
}
static struct fact_source world = { .ask = ask };
static void nothing(struct task *t) { (void)t; }
static struct task wake = { .run = nothing };

static void answer_last(void)
{
	struct record r[4];
	struct fact f = { .outcome = NO_NAME, .record = r };

	nwaiting--;
	for (size_t i = 0; zone[i]; i++) {
		struct str rest = str_of(zone[i]), owner;

		ck_assert(str_cut(&rest, ' ', &owner));
		if (!str_eq_nocase(owner, str_of(waiting[nwaiting].name)))
			continue;
		f.outcome = str_eq(rest, STR("!")) ? UNKNOWN : FOUND;
		if (f.outcome == FOUND)
			r[f.n++].data = rest;
	}
	fact_answer(waiting[nwaiting].ticket, &f);
}

static struct buf why;

/* "a@x.test b@y.test<1024", "? ..." when something cannot be found out now. */
static const char *find(const char *domain, const char *const *records)
{
	static char out[1200];
	struct facts *facts = facts_new(&wake, RUA_LOOKUPS);
	struct rua to;
	enum verdict known;
	size_t n;

	zone = records;
	nwaiting = nasked = 0;
	buf_free(&why);
	facts_source(FACT_TXT, &world);
	while ((known = rua_find(facts, domain, &to, &why)) == WAIT) {
		buf_clear(&why);
		ck_assert_uint_gt(nwaiting, 0);
		answer_last();
	}
	facts_free(facts);
	while (nwaiting)
		answer_last();
	n = (size_t)snprintf(out, sizeof out, "%s", known == REFUSE ? "?" : "");
	for (size_t i = 0; i < to.n; i++) {
		n += (size_t)snprintf(out + n, sizeof out - n, "%s%s", n ? " " : "", to.to[i].address);
		if (to.to[i].size_max)
			n += (size_t)snprintf(out + n, sizeof out - n, "<%llu", (unsigned long long)to.to[i].size_max);
	}
	return out;
}

static const struct row { const char *domain, *out; const char *zone[8]; } rows[] = {
	/* what the record says */
	{ "a.test", "", { NULL } },
	{ "a.test", "r@a.test", { "_dmarc.a.test v=DMARC1; p=none; rua=mailto:r@a.test" } },
	{ "a.test", "", { "_dmarc.a.test v=DMARC1; p=none" } },
	{ "a.test", "", { "_dmarc.a.test v=DMARC1; p=none; rua=https://a.test/" } },
	{ "a.test", "r@a.test<10485760 s@a.test<5", { "_dmarc.a.test v=DMARC1; p=none; rua=mailto:r@a.test!10m,https://a.test,mailto:s@a.test!5" } },
	{ "a.test", "r@a.test", { "_dmarc.a.test v=DMARC1; p=none; rua=mailto:r@a.test,mailto:r@a.test!5" } },
	{ "a.test", "1@a.test 2@a.test 3@a.test 4@a.test",
		{ "_dmarc.a.test v=DMARC1; p=none; rua=mailto:1@a.test,mailto:2@a.test,mailto:3@a.test,mailto:4@a.test,mailto:5@a.test" } },
	{ "a.test", "", { "_dmarc.a.test v=DMARC1; p=none; rua=mailto:r@a.test", "_dmarc.a.test v=DMARC1; p=none; rua=mailto:s@a.test" } },
	{ "a.test", "?", { "_dmarc.a.test !" } },
	/* within an organization nobody is asked */
	{ "a.test", "r@mail.a.test", { "_dmarc.a.test v=DMARC1; p=none; rua=mailto:r@mail.a.test" } },
	{ "b.a.test", "r@a.test", { "_dmarc.b.a.test v=DMARC1; p=none; rua=mailto:r@a.test", "_dmarc.a.test v=DMARC1; p=none" } },
	{ "b.a.test", "r@c.a.test", { "_dmarc.b.a.test v=DMARC1; p=none; rua=mailto:r@c.a.test", "_dmarc.a.test v=DMARC1; p=none" } },
	{ "a.test", "r@A.TEST", { "_dmarc.a.test v=DMARC1; p=none; rua=mailto:r@A.TEST" } },
	{ "a.test", "", { "_dmarc.a.test v=DMARC1; p=none; rua=mailto:r@own.a.test", "_dmarc.own.a.test v=DMARC1; p=none; psd=n" } },
	{ "b.a.test", "r@b.a.test", { "_dmarc.b.a.test v=DMARC1; p=none; rua=mailto:r@b.a.test", "_dmarc.a.test !" } },
	{ "b.a.test", "? r@b.a.test", { "_dmarc.b.a.test v=DMARC1; p=none; rua=mailto:r@a.test,mailto:r@b.a.test", "_dmarc.a.test !" } },
	/* others agree, or not */
#define OUT "_dmarc.a.test v=DMARC1; p=none; rua=mailto:r@v.test!1k"
	{ "a.test", "", { OUT } },
	{ "a.test", "r@v.test<1024", { OUT, "a.test._report._dmarc.v.test v=DMARC1" } },
	{ "a.test", "r@v.test<1024", { OUT, "a.test._report._dmarc.v.test v=DMARC1;" } },
	{ "a.test", "r@v.test<1024", { OUT, "a.test._report._dmarc.v.test v=DMARC1; p=reject; x=y" } },
	{ "a.test", "r@v.test<1024", { OUT, "a.test._report._dmarc.v.test v=spf1 -all", "a.test._report._dmarc.v.test v=DMARC1" } },
	{ "a.test", "r@v.test<1024", { OUT, "a.test._report._dmarc.v.test v=DMARC1", "a.test._report._dmarc.v.test v=DMARC1" } },
	{ "a.test", "", { OUT, "a.test._report._dmarc.v.test yes" } },
	{ "a.test", "", { OUT, "a.test._report._dmarc.v.test v=dmarc1" } },
	{ "a.test", "", { OUT, "a.test._report._dmarc.v.test p=none; v=DMARC1" } },
	{ "a.test", "", { OUT, "_report._dmarc.v.test v=DMARC1", "_dmarc.v.test v=DMARC1; p=none" } },
	{ "a.test", "?", { OUT, "a.test._report._dmarc.v.test !" } },
	{ "a.test", "?", { OUT, "_dmarc.v.test !" } },
	{ "a.test", "r@a.test", { "_dmarc.a.test v=DMARC1; p=none; rua=mailto:r@v.test,mailto:r@a.test" } },
	{ "a.test", "? r@a.test", { "_dmarc.a.test v=DMARC1; p=none; rua=mailto:r@v.test,mailto:r@a.test", "a.test._report._dmarc.v.test !" } },
	/* a host below the vendor's domain is asked by its own name, not by its organization's */
	{ "a.test", "", { "_dmarc.a.test v=DMARC1; p=none; rua=mailto:r@in.v.test", "a.test._report._dmarc.v.test v=DMARC1" } },
	{ "a.test", "r@in.v.test", { "_dmarc.a.test v=DMARC1; p=none; rua=mailto:r@in.v.test", "a.test._report._dmarc.in.v.test v=DMARC1" } },
	/* elsewhere at the same host, but nowhere else */
	{ "a.test", "s@v.test", { OUT, "a.test._report._dmarc.v.test v=DMARC1; rua=mailto:s@v.test" } },
	{ "a.test", "s@V.test<7 t@v.test", { OUT, "a.test._report._dmarc.v.test v=DMARC1; rua=mailto:s@V.test!7,mailto:t@v.test" } },
	{ "a.test", "", { OUT, "a.test._report._dmarc.v.test v=DMARC1; rua=mailto:s@w.test" } },
	{ "a.test", "", { OUT, "a.test._report._dmarc.v.test v=DMARC1; rua=mailto:s@v.test,mailto:s@w.test" } },
	{ "a.test", "", { OUT, "a.test._report._dmarc.v.test v=DMARC1; rua=mailto:s@in.v.test" } },
	{ "a.test", "", { OUT, "a.test._report._dmarc.v.test v=DMARC1; rua=https://v.test/" } },
	{ "a.test", "1@v.test 2@v.test 3@v.test 4@v.test", { OUT,
		"a.test._report._dmarc.v.test v=DMARC1; rua=mailto:1@v.test,mailto:2@v.test,mailto:3@v.test,mailto:4@v.test,mailto:5@v.test" } },
	/* no name in the DNS */
	{ "a.test", "", { "_dmarc.a.test v=DMARC1; p=none; rua=mailto:r@[192.0.2.1],mailto:r@[127.0.0.1]" } },
	{ "a.test", "", { "_dmarc.a.test v=DMARC1; p=none; rua=mailto:postmaster,mailto:%0d%0a@a.test,mailto:,nonsense" } },
};

START_TEST(reports_go_where_they_are_wanted)
{
	const char *out = find(rows[_i].domain, rows[_i].zone);

	ck_assert_msg(!strcmp(out, rows[_i].out), "row %d: \"%s\", not \"%s\" (%s)", _i, out, rows[_i].out, buf_cstr(&why));
	buf_free(&why);
}
END_TEST

START_TEST(who_is_left_out_is_named)
{
	static const char *const records[] = { "_dmarc.a.test v=DMARC1; p=none; rua=mailto:r@v.test,mailto:s@[192.0.2.1],mailto:t@w.test",
		"a.test._report._dmarc.w.test v=DMARC1; rua=mailto:s@v.test", NULL };

	find("a.test", records);
	ck_assert_str_eq(buf_cstr(&why), "r@v.test: its host has not agreed to get reports of this domain; s@[192.0.2.1]: its host can have no record that it "
		"agrees; t@w.test: its host wants them to go to yet another one");
	buf_free(&why);
}
END_TEST

START_TEST(a_name_too_long_to_be_asked_for_is_no_agreement)
{
	char domain[260], record[600];
	const char *const records[] = { record, NULL };

	snprintf(domain, sizeof domain, "%060d.%060d.%060d.%050d.test", 0, 0, 0, 0);
	snprintf(record, sizeof record, "_dmarc.%s v=DMARC1; p=none; rua=mailto:r@vendor.test", domain);
	ck_assert_str_eq(find(domain, records), "");
	ck_assert_ptr_nonnull(strstr(buf_cstr(&why), "too long"));
	buf_free(&why);
}
END_TEST

/* The deepest there are. */
START_TEST(the_most_that_can_be_asked_fits)
{
	static const char *const records[] = { "_dmarc.1.2.3.4.5.6.7.8.a.test v=DMARC1; p=none; rua=mailto:r@1.1.1.1.1.1.1.1.b.test,mailto:r@1.1.1.1.1.1.1.1.c.test,"
		"mailto:r@1.1.1.1.1.1.1.1.d.test,mailto:r@1.1.1.1.1.1.1.1.e.test", "1.2.3.4.5.6.7.8.a.test._report._dmarc.1.1.1.1.1.1.1.1.e.test v=DMARC1", NULL };

	ck_assert_str_eq(find("1.2.3.4.5.6.7.8.a.test", records), "r@1.1.1.1.1.1.1.1.e.test");
	ck_assert_uint_le(nasked, RUA_LOOKUPS);
	buf_free(&why);
}
END_TEST

Suite *policy_rua_suite(void)
{
	Suite *s = suite_create("policy_rua");
	TCase *t = tcase_create("rua");

	tcase_add_loop_test(t, reports_go_where_they_are_wanted, 0, sizeof rows / sizeof *rows);
	tcase_add_test(t, who_is_left_out_is_named);
	tcase_add_test(t, a_name_too_long_to_be_asked_for_is_no_agreement);
	tcase_add_test(t, the_most_that_can_be_asked_fits);
	suite_add_tcase(s, t);
	return s;
}
