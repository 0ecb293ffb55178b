/* The hosts to try for a destination: tables of records and the expected list. */
#include <arpa/inet.h>
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "deliver/mx.h"

static struct facts *table;
static struct mx_result result;

/* Words for a fact: "MX name 10 host, 20 host", "A name 192.0.2.1 192.0.2.2", "AAAA name 2001:db8::1", or an outcome:
 * "A name !none", "!noname", "!unknown", "!ours" (no resolver answers). */
static void put(const char *line)
{
	static const char *const kinds[] = { [FACT_A] = "A", [FACT_AAAA] = "AAAA", [FACT_MX] = "MX" };
	static const struct { const char *word; struct fact fact; } outcomes[] = {
		{ "!none", { .outcome = NO_DATA } },
		{ "!noname", { .outcome = NO_NAME } },
		{ "!unknown", { .outcome = UNKNOWN, .why = "SERVFAIL from 127.0.0.1" } },
		{ "!ours", { .outcome = UNKNOWN, .why = "no answer from 127.0.0.1", .local_fault = true } },
	};
	struct str rest = str_of(line), kind, name, word;
	struct record r[64];
	char address[64][16];
	struct fact f = { .outcome = FOUND, .record = r };
	int k = FACT_A;

	ck_assert(str_word(&rest, &kind) && str_word(&rest, &name));
	while (!str_eq(kind, str_of(kinds[k])))
		k++;
	while (str_word(&rest, &word)) {
		char text[64];
		uint64_t n = 0;
		for (size_t i = 0; i < sizeof outcomes / sizeof *outcomes; i++)
			if (str_eq(word, str_of(outcomes[i].word)))
				f = outcomes[i].fact;
		if (word.p[0] == '!')
			break;
		r[f.n] = (struct record){ 0, { address[f.n], k == FACT_A ? 4 : 16 } };
		ck_assert(str_copy(text, sizeof text, word));
		if (k == FACT_MX) {
			ck_assert(str_number(word, 65535, &n) && str_word(&rest, &word));
			r[f.n] = (struct record){ (int64_t)n, str_eq(word, STR(".")) ? str_of("") : word };
		} else {
			ck_assert_int_eq(inet_pton(k == FACT_A ? AF_INET : AF_INET6, text, address[f.n]), 1);
		}
		f.n++;
	}
	facts_put(table, (enum fact_kind)k, name, &f);
}

static bool own(const struct sockaddr *a)
{
	char text[INET6_ADDRSTRLEN] = "";

	if (a->sa_family == AF_INET)
		inet_ntop(AF_INET, &((const struct sockaddr_in *)a)->sin_addr, text, sizeof text);
	else
		inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)a)->sin6_addr, text, sizeof text);
	if (ntohs(((const struct sockaddr_in *)a)->sin_port) != 2525)
		return false;
	return strcmp(text, "192.0.2.99") == 0 || strcmp(text, "2001:db8::99") == 0 || strcmp(text, "127.0.0.1") == 0;
}
static const struct mx_self self = { .hostname = "me.test", .dane = true, .is_own = own };

/* The list as "host/address host/address", or "CODE x.y.z" with a mark for a fault of our side. */
static char *shown(enum verdict v)
{
	static char text[8192];
	size_t n = 0;

	text[0] = '\0';
	if (v == WAIT) {
		snprintf(text, sizeof text, "wait");
		return text;
	}
	if (v == REFUSE)
		snprintf(text, sizeof text, "%d %s%s", result.why.code, result.why.enhanced, result.local_fault ? " ours" : "");
	for (size_t i = 0; i < result.n; i++) {
		const struct mx_address *a = &result.at[i];
		char address[INET6_ADDRSTRLEN];
		if (a->addr.ss_family == AF_INET)
			inet_ntop(AF_INET, &((const struct sockaddr_in *)&a->addr)->sin_addr, address, sizeof address);
		else
			inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)&a->addr)->sin6_addr, address, sizeof address);
		n += (size_t)snprintf(text + n, sizeof text - n, "%s%s/%s", i ? " " : "", a->host, address);
		ck_assert_uint_eq(ntohs(((const struct sockaddr_in *)&a->addr)->sin_port), 2525);
		ck_assert_uint_eq(a->len, a->addr.ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
	}
	ck_assert((v == ACCEPT) == (result.n > 0));
	return text;
}

static char *find(enum route_kind kind, const char *host, uint64_t seed)
{
	unsigned char address[16];
	struct route r = { .kind = kind, .port = 2525, .nhosts = 1, .host = { { .port = 2525 } } };

	snprintf(r.domain, sizeof r.domain, "%s", host);
	snprintf(r.host[0].name, sizeof r.host[0].name, "%s", host);
	r.host[0].is_address = inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
	return shown(mx_find(table, &r, &self, seed, &result));
}

struct row {
	const char *facts[12];
	const char *expected;
};

static void check_rows(const struct row *row, size_t n, enum route_kind kind, const char *host)
{
	for (size_t i = 0; i < n; i++) {
		char *got;
		table = facts_new(NULL, 0);
		for (size_t k = 0; k < 12 && row[i].facts[k]; k++)
			put(row[i].facts[k]);
		got = find(kind, host, 1);
		ck_assert_msg(!strcmp(got, row[i].expected), "row %zu: got %s (%s), expected %s", i, got, result.why.text,
			row[i].expected);
		facts_free(table);
	}
}
#define ROWS(row, kind, host) check_rows(row, sizeof row / sizeof *row, kind, host)

START_TEST(families_come_as_is_preferred)
{
	static const struct { enum inet inet; const char *expected; } row[] = {
		{ INET_PREFER4, "a.test/192.0.2.1 a.test/2001:db8::1 a.test/192.0.2.2 b.test/2001:db8::2" },
		{ INET_PREFER6, "a.test/2001:db8::1 a.test/192.0.2.1 a.test/192.0.2.2 b.test/2001:db8::2" },
		{ INET_ONLY4, "a.test/192.0.2.1 a.test/192.0.2.2" },
		{ INET_ONLY6, "a.test/2001:db8::1 b.test/2001:db8::2" },
	};
	static const char *const zone[] = { "MX d.test 10 a.test 20 b.test", "A a.test 192.0.2.1 192.0.2.2", "AAAA a.test 2001:db8::1",
		"A b.test !none", "AAAA b.test 2001:db8::2" };

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		struct mx_self mine = self;
		struct route r = { .kind = ROUTE_MX, .domain = "d.test", .port = 2525 };

		mine.inet = row[i].inet;
		table = facts_new(NULL, 0);
		for (size_t k = 0; k < sizeof zone / sizeof *zone; k++)
			put(zone[k]);
		ck_assert_str_eq(shown(mx_find(table, &r, &mine, 1, &result)), row[i].expected);
		facts_free(table);
	}
}
END_TEST

START_TEST(hosts_come_by_preference)
{
	static const struct row row[] = {
		{ { "MX d.test 20 b.test 10 a.test", "A a.test 192.0.2.1", "AAAA a.test !none", "A b.test 192.0.2.2", "AAAA b.test !none" },
			"a.test/192.0.2.1 b.test/192.0.2.2" },
		{ { "MX d.test 10 a.test", "A a.test 192.0.2.1 192.0.2.2", "AAAA a.test 2001:db8::1 2001:db8::2 2001:db8::3" },
			"a.test/192.0.2.1 a.test/2001:db8::1 a.test/192.0.2.2 a.test/2001:db8::2 a.test/2001:db8::3" },
		{ { "MX d.test 10 a.test 20 b.test", "A a.test !none", "AAAA a.test 2001:db8::1", "A b.test 192.0.2.2", "AAAA b.test !none" },
			"a.test/2001:db8::1 b.test/192.0.2.2" },
		/* one host under two names is tried once */
		{ { "MX d.test 10 a.test 20 b.test", "A a.test 192.0.2.1", "AAAA a.test !none", "A b.test 192.0.2.1 192.0.2.2", "AAAA b.test !none" },
			"a.test/192.0.2.1 b.test/192.0.2.2" },
	};

	ROWS(row, ROUTE_MX, "d.test");
}
END_TEST

START_TEST(without_mx_the_domain_itself_is_the_host)
{
	static const struct row row[] = {
		{ { "MX d.test !none", "A d.test 192.0.2.1", "AAAA d.test 2001:db8::1" }, "d.test/192.0.2.1 d.test/2001:db8::1" },
		{ { "MX d.test !none", "A d.test !none", "AAAA d.test !none" }, "550 5.4.4" },
		{ { "MX d.test !none", "A d.test !unknown", "AAAA d.test !none" }, "451 4.4.3" },
		/* RFC 5321 5.1: never beside an MX */
		{ { "MX d.test 10 a.test", "A d.test 192.0.2.1", "AAAA d.test !none", "A a.test !none", "AAAA a.test !none" }, "550 5.4.4" },
	};

	ROWS(row, ROUTE_MX, "d.test");
}
END_TEST

START_TEST(null_mx_alone_refuses_the_recipient)
{
	static const struct row row[] = {
		{ { "MX d.test 0 .", "A d.test 192.0.2.1" }, "556 5.1.10" },
		{ { "MX d.test 10 ." }, "556 5.1.10" },
		{ { "MX d.test 0 . 10 a.test", "A a.test 192.0.2.1", "AAAA a.test !none" }, "a.test/192.0.2.1" },
	};

	ROWS(row, ROUTE_MX, "d.test");
}
END_TEST

START_TEST(only_a_certain_no_is_permanent)
{
	static const struct row row[] = {
		{ { "MX d.test !noname" }, "550 5.1.2" },
		{ { "MX d.test !unknown" }, "451 4.4.3" },
		{ { "MX d.test !ours" }, "451 4.4.3 ours" },
		{ { "MX d.test 10 a.test", "A a.test !noname", "AAAA a.test !noname" }, "550 5.4.4" },
		{ { "MX d.test 10 a.test", "A a.test !unknown", "AAAA a.test !unknown" }, "451 4.4.3" },
		{ { "MX d.test 10 a.test", "A a.test !ours", "AAAA a.test !ours" }, "451 4.4.3 ours" },
		{ { "MX d.test 10 a.test", "A a.test !ours", "AAAA a.test !unknown" }, "451 4.4.3" },
		{ { "MX d.test 10 a.test", "A a.test !unknown", "AAAA a.test !none" }, "451 4.4.3" },
		{ { "MX d.test 10 a.test", "A a.test !none", "AAAA a.test !unknown" }, "451 4.4.3" },
		{ { "MX d.test 10 a.test 20 b.test", "A a.test !ours", "AAAA a.test !none", "A b.test !unknown", "AAAA b.test !none" }, "451 4.4.3" },
		{ { "MX d.test 10 a.test 20 b.test", "A a.test !noname", "AAAA a.test !noname", "A b.test !ours", "AAAA b.test !none" }, "451 4.4.3 ours" },
		/* one address is enough */
		{ { "MX d.test 10 a.test 20 b.test", "A a.test !unknown", "AAAA a.test !unknown", "A b.test 192.0.2.2", "AAAA b.test !ours" },
			"b.test/192.0.2.2" },
	};

	ROWS(row, ROUTE_MX, "d.test");
}
END_TEST

START_TEST(ourselves_and_what_is_not_better_is_left_out)
{
	static const struct row row[] = {
		/* by address */
		{ { "MX d.test 10 a.test 20 b.test 20 c.test 30 e.test", "A a.test 192.0.2.1", "AAAA a.test !none", "A b.test 192.0.2.99", "AAAA b.test !none",
			"A c.test 192.0.2.3", "AAAA c.test !none", "A e.test 192.0.2.4", "AAAA e.test !none" }, "a.test/192.0.2.1" },
		{ { "MX d.test 10 a.test 20 b.test", "A a.test 192.0.2.1", "AAAA a.test !none", "A b.test !none", "AAAA b.test 2001:db8::98 2001:db8::99" },
			"a.test/192.0.2.1" },
		/* by name, even without an address */
		{ { "MX d.test 10 a.test 20 ME.test", "A a.test 192.0.2.1", "AAAA a.test !none", "A me.test !unknown", "AAAA me.test !unknown" },
			"a.test/192.0.2.1" },
		/* nothing is left */
		{ { "MX d.test 10 me.test 20 b.test", "A me.test !none", "AAAA me.test !none", "A b.test 192.0.2.2", "AAAA b.test !none" }, "554 5.4.6" },
		{ { "MX d.test 10 b.test", "A b.test 127.0.0.1", "AAAA b.test !none" }, "554 5.4.6" },
		{ { "MX d.test !none", "A d.test 192.0.2.99", "AAAA d.test !none" }, "554 5.4.6" },
		/* we are the second, the first cannot be found: later, or never */
		{ { "MX d.test 10 a.test 20 me.test", "A a.test !unknown", "AAAA a.test !none", "A me.test !none", "AAAA me.test !none" }, "451 4.4.3" },
		{ { "MX d.test 10 a.test 20 me.test", "A a.test !noname", "AAAA a.test !noname", "A me.test !none", "AAAA me.test !none" }, "550 5.4.4" },
	};

	ROWS(row, ROUTE_MX, "d.test");
}
END_TEST

START_TEST(a_literal_is_its_own_host)
{
	static const struct { const char *domain, *expected; } row[] = {
		{ "[192.0.2.1]", "/192.0.2.1" },
		{ "[IPv6:2001:db8::1]", "/2001:db8::1" },
		{ "[192.0.2.99]", "554 5.4.6" },
		{ "[192.0.2]", "550 5.1.2" },
		{ "[x-tag:foo]", "550 5.1.2" },
	};

	table = facts_new(NULL, 0);
	for (size_t i = 0; i < sizeof row / sizeof *row; i++)
		ck_assert_str_eq(find(ROUTE_MX, row[i].domain, 1), row[i].expected);
	facts_free(table);
}
END_TEST

START_TEST(a_configured_host_is_taken_at_its_word)
{
	static const struct row row[] = {
		{ { "MX r.test 10 a.test", "A r.test 192.0.2.1", "AAAA r.test 2001:db8::1" }, "r.test/192.0.2.1 r.test/2001:db8::1" },
		{ { "A r.test 192.0.2.99", "AAAA r.test !unknown" }, "r.test/192.0.2.99" },
		{ { "A r.test !none", "AAAA r.test !none" }, "451 4.3.5 ours" },
		{ { "A r.test !noname", "AAAA r.test !noname" }, "451 4.3.5 ours" },
		{ { "A r.test !unknown", "AAAA r.test !none" }, "451 4.4.3 ours" },
		{ { "A r.test !ours", "AAAA r.test !ours" }, "451 4.4.3 ours" },
	};

	ROWS(row, ROUTE_SMTP, "r.test");
	ROWS(row, ROUTE_LMTP, "r.test");
	table = facts_new(NULL, 0);
	ck_assert_str_eq(find(ROUTE_SMTP, "127.0.0.1", 1), "/127.0.0.1");
	ck_assert_str_eq(find(ROUTE_LMTP, "::1", 1), "/::1");
	facts_free(table);
}
END_TEST

START_TEST(the_hosts_of_a_route_come_in_its_order)
{
	static const struct { const char *facts[5], *expected; bool partial; } row[] = {
		{ { "A a.test 192.0.2.1", "AAAA a.test 2001:db8::1", "A b.test 192.0.2.2", "AAAA b.test !none" },
			"a.test/192.0.2.1 a.test/2001:db8::1 b.test/192.0.2.2 /127.0.0.1", false },
		{ { "A a.test !noname", "AAAA a.test !noname", "A b.test 192.0.2.2", "AAAA b.test !none" }, "b.test/192.0.2.2 /127.0.0.1", false },
		{ { "A a.test !unknown", "AAAA a.test !unknown", "A b.test !ours", "AAAA b.test !ours" }, "/127.0.0.1", true },
	};
	struct route r = { .kind = ROUTE_SMTP, .nhosts = 3, .host = { { .name = "a.test", .port = 2525 }, { .name = "b.test", .port = 2525 },
		{ .name = "127.0.0.1", .is_address = true, .port = 2525 } } };

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		table = facts_new(NULL, 0);
		for (size_t k = 0; k < 5 && row[i].facts[k]; k++)
			put(row[i].facts[k]);
		ck_assert_str_eq(shown(mx_find(table, &r, &self, 1, &result)), row[i].expected);
		ck_assert_int_eq(result.partial, row[i].partial);
		ck_assert_uint_eq(result.at[result.n - 1].nth, 2);
		facts_free(table);
	}
}
END_TEST

START_TEST(a_route_none_of_whose_hosts_is_found_is_our_fault)
{
	struct route r = { .kind = ROUTE_SMTP, .nhosts = 2, .host = { { .name = "a.test", .port = 25 }, { .name = "b.test", .port = 25 } } };

	table = facts_new(NULL, 0);
	put("A a.test !noname");
	put("AAAA a.test !noname");
	put("A b.test !none");
	put("AAAA b.test !none");
	ck_assert_str_eq(shown(mx_find(table, &r, &self, 1, &result)), "451 4.3.5 ours");
	facts_free(table);
}
END_TEST

/* ---- asking */

static struct fact_ticket *tickets[64];
static unsigned asked;

static void keep(struct fact_source *s, enum fact_kind kind, struct str name, struct fact_ticket *t)
{
	(void)s, (void)kind, (void)name;
	tickets[asked++] = t;
}

START_TEST(all_hosts_are_asked_for_together)
{
	static struct fact_source source = { keep };
	static const struct record record = { 0, { "\300\0\2\1", 4 } };
	static const struct fact address = { .outcome = FOUND, .n = 1, .record = &record };

	for (int k = 0; k < FACT_KINDS; k++)
		facts_source(k, &source);
	table = facts_new(NULL, MX_LOOKUPS);
	put("MX d.test 10 a.test 20 b.test 30 c.test");
	ck_assert_str_eq(find(ROUTE_MX, "d.test", 1), "wait");
	ck_assert_uint_eq(asked, 6);
	fact_answer(tickets[0], &address);
	ck_assert_str_eq(find(ROUTE_MX, "d.test", 1), "wait");
	for (unsigned i = 1; i < 6; i++)
		fact_answer(tickets[i], &address);
	ck_assert_str_eq(find(ROUTE_MX, "d.test", 1), "a.test/192.0.2.1");
	ck_assert_uint_eq(asked, 6);
	facts_free(table);
}
END_TEST

/* `n` hosts h0.test .. of preference 10 and addresses each. */
static void put_many(size_t n, size_t addresses)
{
	static char line[8192];
	size_t at = (size_t)snprintf(line, sizeof line, "MX d.test");

	for (size_t i = 0; i < n; i++)
		at += (size_t)snprintf(line + at, sizeof line - at, " 10 h%zu.test", i);
	put(line);
	for (size_t i = 0; i < n; i++) {
		at = (size_t)snprintf(line, sizeof line, "A h%zu.test", i);
		for (size_t k = 0; k < addresses; k++)
			at += (size_t)snprintf(line + at, sizeof line - at, " 10.%zu.%zu.1", i, k);
		put(line);
		snprintf(line, sizeof line, "AAAA h%zu.test !none", i);
		put(line);
	}
}

START_TEST(chance_decides_among_equals_and_holds_for_a_seed)
{
	unsigned first[5] = { 0 };

	table = facts_new(NULL, 0);
	put_many(5, 1);
	for (uint64_t seed = 0; seed < 1000; seed++) {
		char once[512];
		snprintf(once, sizeof once, "%s", find(ROUTE_MX, "d.test", seed));
		ck_assert_str_eq(once, find(ROUTE_MX, "d.test", seed));
		ck_assert_uint_eq(result.n, 5);
		first[result.at[0].host[1] - '0']++;
	}
	for (size_t i = 0; i < 5; i++)
		ck_assert_msg(first[i] > 120 && first[i] < 280, "host %zu was first %u times of 1000", i, first[i]);
	facts_free(table);
}
END_TEST

START_TEST(long_lists_are_cut_evenly)
{
	static const struct { size_t hosts, addresses, n, per_host; } row[] = {
		{ 1, 60, 40, 40 }, { 2, 60, 40, 20 }, { 7, 30, 35, 5 }, { 20, 9, 40, 2 }, { 60, 9, 40, 2 },
	};

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		table = facts_new(NULL, 0);
		put_many(row[i].hosts, row[i].addresses);
		find(ROUTE_MX, "d.test", 7);
		ck_assert_uint_eq(result.n, row[i].n);
		for (size_t k = 0; k < result.n; k++)
			ck_assert_str_eq(result.at[k].host, result.at[k - k % row[i].per_host].host);
		facts_free(table);
	}
}
END_TEST

START_TEST(the_best_of_a_long_list_are_kept)
{
	char line[4096];
	size_t at = (size_t)snprintf(line, sizeof line, "MX d.test");

	table = facts_new(NULL, 0);
	for (unsigned i = 60; i > 0; i--)
		at += (size_t)snprintf(line + at, sizeof line - at, " %u h%u.test", i, i);
	put(line);
	for (unsigned i = 1; i <= 20; i++) {
		snprintf(line, sizeof line, "A h%u.test 10.0.0.%u", i, i);
		put(line);
		snprintf(line, sizeof line, "AAAA h%u.test !none", i);
		put(line);
	}
	find(ROUTE_MX, "d.test", 7);
	ck_assert_uint_eq(result.n, 20);
	for (unsigned i = 0; i < 20; i++) {
		snprintf(line, sizeof line, "h%u.test", i + 1);
		ck_assert_str_eq(result.at[i].host, line);
	}
	facts_free(table);
}
END_TEST

START_TEST(the_words_name_domain_cause_and_remedy)
{
	table = facts_new(NULL, 0);
	put("MX d.test !unknown");
	find(ROUTE_MX, "d.test", 1);
	ck_assert_str_eq(result.why.text, "cannot look up the mail hosts of d.test: SERVFAIL from 127.0.0.1");
	put("MX e.test 10 a.test");
	put("A a.test !none");
	put("AAAA a.test !unknown");
	find(ROUTE_MX, "e.test", 1);
	ck_assert_str_eq(result.why.text, "cannot look up the address of a.test, mail host of e.test: SERVFAIL from 127.0.0.1");
	facts_free(table);
}
END_TEST

START_TEST(a_policy_is_asked_for_with_all_else_and_says_which_hosts_are_allowed)
{
	static const struct mx_self asks = { .hostname = "me.test", .mta_sts = true };
	struct route r = { .kind = ROUTE_MX, .domain = "d.test", .port = 2525 };
	struct record txt = { .data = STR("v=STSv1; id=1") },
		policy = { .data = STR("version: STSv1\nmode: enforce\nmx: a.test\nmx: *.c.test\nmax_age: 5\n") };

	facts_source(FACT_POLICY, NULL);
	facts_source(FACT_TXT, NULL);
	table = facts_new(NULL, MX_LOOKUPS);
	put("MX d.test 10 a.test 20 b.test 30 x.c.test");
	for (const char *h = "abc"; *h; h++) {
		char line[60];

		snprintf(line, sizeof line, "A %s%c.test 192.0.2.%c", *h == 'c' ? "x." : "", *h, *h - 'a' + '1');
		put(line);
		snprintf(line, sizeof line, "AAAA %s%c.test !none", *h == 'c' ? "x." : "", *h);
		put(line);
	}
	facts_put(table, FACT_TXT, STR("_mta-sts.d.test"), &(struct fact){ .outcome = FOUND, .n = 1, .record = &txt });
	facts_put(table, FACT_POLICY, STR("d.test 1"), &(struct fact){ .outcome = FOUND, .n = 1, .record = &policy });
	ck_assert_str_eq(shown(mx_find(table, &r, &asks, 1, &result)), "a.test/192.0.2.1 b.test/192.0.2.2 x.c.test/192.0.2.3");
	ck_assert_int_eq(result.policy, MTASTS_ENFORCE);
	ck_assert(result.allowed[result.at[0].nth] && !result.allowed[result.at[1].nth] && result.allowed[result.at[2].nth]);
	find(ROUTE_MX, "d.test", 1);                    /* who does not ask */
	ck_assert_int_eq(result.policy, MTASTS_NONE);
	ck_assert(!result.allowed[0] && !result.unsure);
	facts_put(table, FACT_POLICY, STR("d.test 1"), &(struct fact){ .outcome = UNKNOWN });
	ck_assert_int_eq(mx_find(table, &r, &asks, 1, &result), ACCEPT);
	ck_assert_int_eq(result.policy, MTASTS_NONE);
	ck_assert(result.unsure);
	facts_free(table);
}
END_TEST

START_TEST(what_is_kept_stays_when_others_are_looked_for)
{
	struct mx_result *kept;

	table = facts_new(NULL, MX_LOOKUPS);
	put("MX d.test 10 a.test 20 b.test");
	put("A a.test 192.0.2.1");
	put("AAAA a.test 2001:db8::1");
	put("A b.test 192.0.2.2");
	put("AAAA b.test !none");
	put("MX e.test 10 c.test");
	put("A c.test 192.0.2.3");
	put("AAAA c.test !none");
	ck_assert_str_eq(find(ROUTE_MX, "d.test", 1), "a.test/192.0.2.1 a.test/2001:db8::1 b.test/192.0.2.2");
	result.dane[1].demand = DANE_ENCRYPT;
	kept = mx_keep(&result);
	ck_assert_ptr_nonnull(kept);
	ck_assert_str_eq(find(ROUTE_MX, "e.test", 1), "c.test/192.0.2.3");
	result = *kept;
	ck_assert_str_eq(shown(ACCEPT), "a.test/192.0.2.1 a.test/2001:db8::1 b.test/192.0.2.2");
	ck_assert_int_eq(kept->dane[kept->at[1].nth].demand, DANE_NONE);
	ck_assert_int_eq(kept->dane[kept->at[2].nth].demand, DANE_ENCRYPT);
	free(kept);
	facts_free(table);
}
END_TEST

Suite *deliver_mx_suite(void);
Suite *deliver_mx_suite(void)
{
	Suite *s = suite_create("deliver_mx");
	TCase *t = tcase_create("mx");

	tcase_add_test(t, families_come_as_is_preferred);
	tcase_add_test(t, hosts_come_by_preference);
	tcase_add_test(t, without_mx_the_domain_itself_is_the_host);
	tcase_add_test(t, null_mx_alone_refuses_the_recipient);
	tcase_add_test(t, only_a_certain_no_is_permanent);
	tcase_add_test(t, ourselves_and_what_is_not_better_is_left_out);
	tcase_add_test(t, a_literal_is_its_own_host);
	tcase_add_test(t, a_configured_host_is_taken_at_its_word);
	tcase_add_test(t, the_hosts_of_a_route_come_in_its_order);
	tcase_add_test(t, a_route_none_of_whose_hosts_is_found_is_our_fault);
	tcase_add_test(t, all_hosts_are_asked_for_together);
	tcase_add_test(t, chance_decides_among_equals_and_holds_for_a_seed);
	tcase_add_test(t, long_lists_are_cut_evenly);
	tcase_add_test(t, the_best_of_a_long_list_are_kept);
	tcase_add_test(t, the_words_name_domain_cause_and_remedy);
	tcase_add_test(t, what_is_kept_stays_when_others_are_looked_for);
	tcase_add_test(t, a_policy_is_asked_for_with_all_else_and_says_which_hosts_are_allowed);
	suite_add_tcase(s, t);
	return s;
}
