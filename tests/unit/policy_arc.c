/* ARC: what a chain comes to, who is believed for it, and what a made-up one costs. Chains that hold or do not are in tests/conformance/dkim.yml. */
#include "policy/arc.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

#include "policy/authres.h"
#include "policy/dmarc.h"

Suite *policy_arc_suite(void);

/* What the author has signed, but for the body. */
#define WRITTEN \
	"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.org;\r\n" \
	" i=@example.org; q=dns/txt; s=rsa; t=1795853851; h=from : to : date :\r\n" \
	" message-id : subject : from;\r\n" \
	" bh=Ba3gj8+xBPQLJTahTfzW6RbWQ/XPgESxkCi2B66PSQg=;\r\n" \
	" b=Cx3/pGyLEELOT5Qws9xnHO+WwkHPOFgVK+Gwz3JL+X8jEDaRoI2ciItDbKwowvABHdpz4\r\n" \
	" 620quUWv55zWny+NbiejKa6nHLjRC9RRhrxB+YlbR8WycqS4kEvlmScSRzYNQp4fGqoLA1c\r\n" \
	" t/TTQ3kqbTSYvkYjMQbrDEWWpgBdBmI=\r\n" \
	"From: A <a@example.org>\r\n" \
	"To: b@example.net\r\n" \
	"Date: Fri, 11 Jul 2003 21:00:37 -0700\r\n" \
	"Message-ID: <1@x>\r\n" \
	"Subject: plain\r\n"
/* A list has changed the body, and says that DMARC passed before. */
#define CHANGED \
	"ARC-Seal: i=1; cv=none; a=rsa-sha256; d=lists.example.org; s=rsa;\r\n" \
	" t=1795853851;\r\n" \
	" b=DOhysyGxeVlc1l2C+zef9WGvgxP6ueMO1KXIHOJ2ePTYmqS3sOHB706gX7g3320+Fhw6R\r\n" \
	" ufs49cCujJedtWkfSREV0bmXN8wjAER2Yc9wEX5SaEhUoSQ54SrfIBgDgFWPUnRDY095wgh\r\n" \
	" 4K3AvKCl0dlU7uQ4NaHEVJq8E/7ilwU=\r\n" \
	"ARC-Message-Signature: i=1; a=rsa-sha256; c=relaxed/relaxed;\r\n" \
	" d=lists.example.org; s=rsa; t=1795853851; h=from : to : date :\r\n" \
	" message-id : subject : from;\r\n" \
	" bh=mCTzU67nt0YOwC48GoJlR0myI8h+W5XBddYu4LPUpds=;\r\n" \
	" b=3trTR1u1RIonZv2/e85fPKST9BNcdnRlweOGevlEM+jaOB6FhpcNDXRRkB3whHfXxmoTC\r\n" \
	" 9+T/7ocuN6ZQ6fuBaVgPW+VdteVsD+/2zlBcf7XVWIgYJs4LyfFbR6mB7i/29v+fHaz8/Va\r\n" \
	" 8GoYiXHJSS1coAdckpCnjSJ7serNSpw=\r\n" \
	"ARC-Authentication-Results: i=1; lists.example.org; spf=pass smtp.mailfrom=example.org;\r\n" \
	"  dmarc=pass (p=reject) header.from=example.org\r\n" \
	WRITTEN \
	"\r\n" \
	"Hello list\r\n"
/* By lists.example.org, and example.org before. */
#define TWICE \
	"ARC-Seal: i=2; cv=pass; a=rsa-sha256; d=lists.example.org; s=rsa;\r\n" \
	" t=1795853851;\r\n" \
	" b=fsAfk/99QstA8k4AVko+IyQCHDqVIJQnCS6wOadUPVaDqgGuqCOvCbt/TyLJuGnfFTY0w\r\n" \
	" buO0igwt72rU/YAZu46xfOKKtm3VTKw+mcrgHVGUWO/WQ8tDnArEnfh6oFu3GLRXnUktLHS\r\n" \
	" fv2QeHZRtxoN/bQ6kdsugN65NSM8y44=\r\n" \
	"ARC-Message-Signature: i=2; a=rsa-sha256; c=relaxed/relaxed;\r\n" \
	" d=lists.example.org; s=rsa; t=1795853851; h=from : to : date :\r\n" \
	" message-id : subject : from;\r\n" \
	" bh=Ba3gj8+xBPQLJTahTfzW6RbWQ/XPgESxkCi2B66PSQg=;\r\n" \
	" b=zc6bgZRoTbt6BHY292o9lI9PUGNuZy8G6bk0gDCfq/hUg9i179XxsGHAlLUtFR5g4/Sh6\r\n" \
	" T76znX04mY3yJb8eebX2zSvgHUqalLPF550V4ce/s00dDSikNXfokkOKSCt9pgHAM1sX8ip\r\n" \
	" t+PEULA/4cFyyapFkPEKDO/Sqzt/3p8=\r\n" \
	"ARC-Authentication-Results: i=2; lists.example.org; spf=pass smtp.mailfrom=example.org;\r\n" \
	"  dmarc=pass (p=reject) header.from=example.org;\r\n" \
	"  arc=pass\r\n" \
	"ARC-Seal: i=1; cv=none; a=rsa-sha256; d=example.org; s=rsa; t=1795853851;\r\n" \
	" b=Ualy39w3VbRpd1aRyGfxn2HQk1goBNrPwxTcEfrhqLUsb8VH0FVMoMB0mpwjp57liuVfF\r\n" \
	" RiA+rhFJxHo4HkKDiJFq8JPHCjgwYrhYAscervktwgG8uKfJTAxDTw04SFMAMgf94cpE+fG\r\n" \
	" WCasEQn4uaCpyW/kNfug3LLXBit8C4U=\r\n" \
	"ARC-Message-Signature: i=1; a=rsa-sha256; c=relaxed/relaxed;\r\n" \
	" d=example.org; s=rsa; t=1795853851; h=from : to : date : message-id :\r\n" \
	" subject : from; bh=Ba3gj8+xBPQLJTahTfzW6RbWQ/XPgESxkCi2B66PSQg=;\r\n" \
	" b=4tMWcrcEQuxaTye+kPVfCIGeJZgEcRpxG3OyBF1+9c933Se2BA4+XXs+WVWAF2dqmu8S0\r\n" \
	" WYonyF9DpwIrqvWSeHER2smTqFZGYG0/+SOhIL4JfdbkFe98UHjqo7X9yICLSgJGYLQ3ayY\r\n" \
	" ijp8etaV5QZzMbvq0FGYCZMzhN3v5Hk=\r\n" \
	"ARC-Authentication-Results: i=1; example.org; spf=pass smtp.mailfrom=\r\n" \
	" dmarc=pass (p=reject) header.from=example.org\r\n" \
	WRITTEN \
	"\r\n" \
	"Hello\r\n"
static const char key[] = "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQD7E85mf7Bs+iLEy8NMENbMm24xxeiaU75409D4OqTi"
	"Bs27lC6lqfk6wXZWDzvDfzU4W8gRcT1Yv6hWSwuY4Y9N6cY5OYRnu4hqyjlv9R3GGM9CcMe2AgZK/0ze"
	"NScj56g3/P6P9wBxdo8vWKdwAXUTIyO+h7h6ZAKT276LRL2qDwIDAQAB";

static size_t nasked;
static bool silent;

static void ask(struct fact_source *source, enum fact_kind kind, struct str name, struct fact_ticket *t)
{
	struct record r = { .data = { key, sizeof key - 1 } };
	struct fact f = { .outcome = silent ? UNKNOWN : FOUND, .why = "timeout", .n = !silent, .record = &r };

	(void)source;
	(void)kind;
	(void)name;
	nasked++;
	fact_answer(t, &f);
}
static void nothing(struct task *t) { (void)t; }

static struct dkim *check_in_pieces(struct str message, size_t piece)
{
	static struct fact_source world = { .ask = ask };
	struct task wake = { .run = nothing };
	struct facts *facts = facts_new(&wake, DKIM_LOOKUPS);
	struct dkim *d = dkim_new();

	nasked = 0;
	facts_source(FACT_TXT, &world);
	for (size_t at = 0; at < message.n; at += piece)
		dkim_add(d, (struct str){ message.p + at, message.n - at < piece ? message.n - at : piece });
	dkim_end(d);
	ck_assert(dkim_judge(d, facts, 1600000000));
	facts_source(FACT_TXT, NULL);
	facts_free(facts);
	return d;
}
static struct dkim *check(const char *message) { return check_in_pieces(str_of(message), strlen(message)); }

static enum arc_result result_of(const struct dkim *d)
{
	const char *why;

	return dkim_arc(d) ? arc_result(dkim_arc(d), &why) : ARC_UNKNOWN;
}

START_TEST(a_chain_holds_in_pieces_of_any_size)
{
	for (size_t piece = 1; piece < 300; piece += piece < 8 ? 1 : 97) {
		struct dkim *d = check_in_pieces(STR(TWICE), piece);

		ck_assert_int_eq(result_of(d), ARC_PASS);
		ck_assert_uint_eq(arc_sets(dkim_arc(d)), 2);
		ck_assert_str_eq(arc_sealer(dkim_arc(d), 1), "example.org");
		ck_assert_str_eq(arc_sealer(dkim_arc(d), 2), "lists.example.org");
		dkim_free(d);
	}
}
END_TEST

/* Only the structure of a chain, as all of it stands in the header. */
START_TEST(a_broken_chain_fails_and_asks_nobody)
{
	static const char set[] = "ARC-Seal: i=1; a=rsa-sha256; cv=none; d=x.test; s=s; b=AAAA\r\n",
		message[] = "ARC-Message-Signature: i=1; a=rsa-sha256; d=x.test; s=s; h=from; bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=; b=AAAA\r\n",
		results[] = "ARC-Authentication-Results: i=1; x.test; none\r\n";
	static const char *const rows[][4] = {
		{ set }, { message }, { results }, { set, message }, { set, results }, { message, results }, { set, set, message, results },
		{ set, message, results, "ARC-Seal: i=3; a=rsa-sha256; cv=pass; d=x.test; s=s; b=AAAA\r\n" },
		{ "ARC-Seal: i=51; a=rsa-sha256; cv=pass; d=x.test; s=s; b=AAAA\r\n" },
		{ "ARC-Seal: i=0; a=rsa-sha256; cv=none; d=x.test; s=s; b=AAAA\r\n", message, results },
		{ "ARC-Seal: a=rsa-sha256; cv=none; d=x.test; s=s; b=AAAA\r\n", message, results },
		{ "ARC-Seal: i=1; a=rsa-sha256; cv=pass; d=x.test; s=s; b=AAAA\r\n", message, results },
		{ "ARC-Seal: i=1; a=rsa-sha256; cv=fail; d=x.test; s=s; b=AAAA\r\n", message, results },
		{ "ARC-Seal: i=1; a=rsa-sha256; cv=none; d=x.test; s=s; h=from; b=AAAA\r\n", message, results },
		{ "ARC-Seal: i=1; a=rsa-sha256; cv=none; d=x.test; s=s; b=\r\n", message, results },
		{ set, message, "ARC-Authentication-Results: x.test; i=1; none\r\n" },
		{ set, message, "ARC-Authentication-Results: i=1\r\n" },
		{ set, message, "ARC-Authentication-Results: j=1; x.test; none\r\n" },
		{ set, "ARC-Message-Signature: i=1; a=rsa-sha256; d=x.test; s=s; h=from:arc-seal; bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=; b=AAAA\r\n", results },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct buf text = { 0 };
		struct dkim *d;

		buf_puts(&text, "From: a@x.test\r\n");
		for (size_t k = 0; k < 4 && rows[i][k]; k++)
			buf_puts(&text, rows[i][k]);
		buf_puts(&text, "\r\nx\r\n");
		d = check(buf_cstr(&text));
		ck_assert_msg(result_of(d) == ARC_FAIL, "row %zu", i);
		ck_assert_msg(nasked == 0, "row %zu", i);
		buf_free(&text);
		dkim_free(d);
	}
}
END_TEST

/* Fifty sets by a stranger: the first lie ends it. */
START_TEST(a_chain_that_is_made_up_costs_one_question)
{
	struct buf text = { 0 };
	struct dkim *d;

	buf_puts(&text, "From: a@x.test\r\n");
	for (unsigned i = 1; i <= ARC_SETS; i++)
		buf_printf(&text, "ARC-Seal: i=%u; a=rsa-sha256; cv=%s; d=x%u.test; s=s; b=AAAA\r\n"
			"ARC-Message-Signature: i=%u; a=rsa-sha256; d=y%u.test; s=s; h=from; bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=; b=AAAA\r\n"
			"ARC-Authentication-Results: i=%u; x.test; none\r\n", i, i == 1 ? "none" : "pass", i, i, i, i);
	buf_puts(&text, "\r\nx\r\n");
	d = check_in_pieces(buf_view(&text), 1000);
	ck_assert_int_eq(result_of(d), ARC_FAIL);
	ck_assert_uint_eq(arc_sets(dkim_arc(d)), ARC_SETS);
	ck_assert_uint_eq(nasked, 1);
	ck_assert_uint_lt(dkim_holds(d), 150000);
	dkim_free(d);
	buf_free(&text);
}
END_TEST

static const struct { const char *message, *sealers, *domain; bool silent; enum arc_result result; } believed[] = {
	{ CHANGED, "lists.example.org", "example.org", false, ARC_PASS },
	{ CHANGED, "other.test LISTS.example.org", "EXAMPLE.org", false, ARC_PASS },
	{ CHANGED, "example.org", "example.org", false, ARC_FAIL },
	{ CHANGED, NULL, "example.org", false, ARC_FAIL },
	{ CHANGED, "lists.example.org", "bank.example", false, ARC_FAIL },
	{ CHANGED "more\r\n", "lists.example.org", "example.org", false, ARC_FAIL },
	{ CHANGED, "lists.example.org", "example.org", true, ARC_TEMPERROR },
	{ CHANGED, "other.test", "example.org", true, ARC_FAIL },
	{ TWICE, "lists.example.org", "example.org", false, ARC_PASS },
	/* whoever had it last could have said anything below his seal */
	{ TWICE, "example.org", "example.org", false, ARC_FAIL },
};

START_TEST(whom_a_sealer_is_believed_for)
{
	struct dkim *d;

	silent = believed[_i].silent;
	d = check(believed[_i].message);
	ck_assert_int_eq(arc_vouches(dkim_arc(d), believed[_i].sealers, believed[_i].domain), believed[_i].result);
	silent = false;
	dkim_free(d);
}
END_TEST

START_TEST(who_is_believed_makes_up_for_a_failure_and_for_nothing_else)
{
	static const struct dmarc_result refused = { .code = DMARC_FAIL, .policy = DMARC_P_REJECT, .published = DMARC_P_REJECT, .domain = "example.org" },
		noted = { .code = DMARC_FAIL, .policy = DMARC_P_NONE, .domain = "example.org" }, passed = { .code = DMARC_PASS, .policy = DMARC_P_NONE, .domain = "example.org" };
	struct dmarc_result r = refused;
	struct dkim *d = check(CHANGED);

	dmarc_trust(&r, dkim_arc(d), "other.test");
	ck_assert(r.policy == DMARC_P_REJECT && !r.override);
	dmarc_trust(&r, NULL, "lists.example.org");
	ck_assert(r.policy == DMARC_P_REJECT && !r.override);
	dmarc_trust(&r, dkim_arc(d), "lists.example.org");
	ck_assert(r.code == DMARC_FAIL && r.policy == DMARC_P_NONE && r.override == DMARC_TRUSTED_FORWARDER && r.published == DMARC_P_REJECT);
	r = noted;
	dmarc_trust(&r, dkim_arc(d), "lists.example.org");
	ck_assert(!r.override);
	r = passed;
	dmarc_trust(&r, dkim_arc(d), "lists.example.org");
	ck_assert(r.code == DMARC_PASS && !r.override);
	dkim_free(d);
	silent = true;
	d = check(CHANGED);
	r = refused;
	dmarc_trust(&r, dkim_arc(d), "lists.example.org");
	ck_assert(r.code == DMARC_TEMPERROR && r.retry && r.policy == DMARC_P_NONE);
	silent = false;
	dkim_free(d);
}
END_TEST

START_TEST(what_another_says_of_dmarc_is_read)
{
	static const struct { const char *value, *domain; } rows[] = {
		{ "x.test; dmarc=pass header.from=a.test", "a.test" },
		{ "x.test 1; spf=pass (ok; dmarc=pass) smtp.mailfrom=a@b.test;\r\n dkim=pass header.i=@b.test header.b=\"a/b=\"; DMARC/1 = Pass (p=none) action=none Header.From=a.test;", "a.test" },
		{ "x.test; dkim=pass header.b=a/b+c==; dmarc=pass header.from=\"a.test\"", "a.test" },
		{ "x.test; dmarc=fail header.from=a.test", "" },
		{ "x.test; dmarc=fail header.from=a.test; dmarc=pass", "" },
		{ "x.test; dmarc=pass", "" },
		{ "x.test; spf=pass reason=\"; dmarc=pass header.from=a.test\"", "" },
		{ "x.test; spf=pass (dmarc=pass header.from=a.test", "" },
		{ "x.test; ; dmarc=pass header.from=a.test", "" },
		{ "x.test; none", "" },
		{ "dmarc=pass header.from=a.test", "" },
		{ "", "" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char domain[DOMAIN_MAX + 1];

		authres_dmarc_passed(str_of(rows[i].value), domain);
		ck_assert_msg(!strcmp(domain, rows[i].domain), "%s: %s", rows[i].value, domain);
	}
}
END_TEST

START_TEST(what_came_of_a_chain_stands_in_our_field)
{
	struct dkim *d = check(CHANGED), *broken = check(CHANGED "more\r\n");
	struct buf out = { 0 };

	ck_assert(authres_print(&out, "mx.test", &(struct authres){ .dkim = d }));
	ck_assert_msg(strstr(buf_cstr(&out), ";\r\n\tarc=pass (1, the last by lists.example.org);\r\n\tdkim=fail"), "%s", buf_cstr(&out));
	buf_clear(&out);
	ck_assert(authres_print(&out, "mx.test", &(struct authres){ .dkim = broken }));
	ck_assert_msg(strstr(buf_cstr(&out), "\tarc=fail (1, the last by lists.example.org)\r\n\t\treason=\"set 1: its signature: the body is not"), "%s", buf_cstr(&out));
	buf_free(&out);
	dkim_free(d);
	dkim_free(broken);
}
END_TEST

Suite *policy_arc_suite(void)
{
	Suite *s = suite_create("policy_arc");
	TCase *t = tcase_create("arc");

	tcase_add_test(t, a_chain_holds_in_pieces_of_any_size);
	tcase_add_test(t, a_broken_chain_fails_and_asks_nobody);
	tcase_add_test(t, a_chain_that_is_made_up_costs_one_question);
	tcase_add_loop_test(t, whom_a_sealer_is_believed_for, 0, (int)(sizeof believed / sizeof *believed));
	tcase_add_test(t, who_is_believed_makes_up_for_a_failure_and_for_nothing_else);
	tcase_add_test(t, what_another_says_of_dmarc_is_read);
	tcase_add_test(t, what_came_of_a_chain_stands_in_our_field);
	suite_add_tcase(s, t);
	return s;
}
