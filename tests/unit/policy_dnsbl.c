/* Lists in the DNS: settings, an invented DNS and what comes of it (RFC 5782). */
#include <arpa/inet.h>
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "policy/dnsbl.h"

/* ---- settings */

static const struct { const char *text, *wrong; } settings[] = {
	{ "bl.test", NULL }, { "bl.test 5", NULL }, { "bl.test -1000", NULL }, { "bl.test=127.0.0.2", NULL },
	{ "bl.test=127.0.0.2-11,127.0.1.4,127.0-255.0-255.1-3 3", NULL },
	{ "", "the name of the list is missing" }, { "bl.test 0", "a weight is *" }, { "bl.test 1001", "a weight is *" }, { "bl.test x", "a weight is *" },
	{ "bl.test 1 2", "there is more *" }, { "bl.test=", "a code is *" }, { "bl.test=127.0.0", "a code is *" }, { "bl.test=127.0.0.2,", "a code is *" },
	{ "bl.test=10.0.0.1", "a code is *" }, { "bl.test=127.0.0.3-2", "a code is *" }, { "bl.test=127.0.0.256", "a code is *" },
	{ "bl.test=127.0.0.1,127.0.0.2,127.0.0.3,127.0.0.4,127.0.0.5,127.0.0.6,127.0.0.7,127.0.0.8,127.0.0.9", "there are more *" },
	{ "bl..test", "the name *" }, { "[192.0.2.1]", "the name *" }, { "bl_list.test", "the name *" },
};

START_TEST(a_list_is_a_name_with_codes_and_a_weight)
{
	struct dnsbl_list l;
	const char *wrong = dnsbl_parse(str_of(settings[_i].text), false, &l), *want = settings[_i].wrong;

	ck_assert_msg(want ? wrong && !strncmp(wrong, want, strlen(want) - (want[strlen(want) - 1] == '*')) : !wrong, "%s: %s", settings[_i].text, wrong);
}
END_TEST

/* ---- the DNS. "NAME A 127.0.0.2", "NAME T words", "NAME !" (cannot be found out), "NAME !!" (the fault is ours) */
enum { PENDING = DNSBL_LOOKUPS };

static const char *const *zone;
static struct { struct fact_ticket *ticket; enum fact_kind kind; char name[300]; } asked[PENDING];
static size_t nasked, nanswered;

static void ask(struct fact_source *source, enum fact_kind kind, struct str name, struct fact_ticket *ticket)
{
	(void)source;
	ck_assert_uint_lt(nasked, PENDING);
	asked[nasked].ticket = ticket;
	asked[nasked].kind = kind;
	ck_assert(str_copy(asked[nasked++].name, sizeof asked[0].name, name));
}
static struct fact_source world = { .ask = ask };
static void nothing(struct task *t) { (void)t; }
static struct task wake = { .run = nothing };

static void answer_one(void)
{
	static unsigned char octets[8][4];
	struct record r[8];
	struct fact f = { .outcome = NO_NAME, .record = r };
	struct str name = str_of(asked[nanswered].name);

	for (size_t i = 0; zone[i]; i++) {
		struct str rest = str_of(zone[i]), owner, type;
		char text[64];

		ck_assert(str_word(&rest, &owner) && str_word(&rest, &type));
		if (!str_eq_nocase(owner, name))
			continue;
		if (type.p[0] == '!') {
			f = (struct fact){ .outcome = UNKNOWN, .why = "SERVFAIL", .local_fault = type.n == 2 };
			break;
		}
		if ((type.p[0] == 'A') != (asked[nanswered].kind == FACT_A))
			continue;
		f.outcome = FOUND;
		r[f.n] = (struct record){ .data = str_trim(rest) };
		if (type.p[0] == 'A') {
			ck_assert(str_copy(text, sizeof text, r[f.n].data));
			ck_assert_int_eq(inet_pton(AF_INET, text, octets[f.n]), 1);
			r[f.n].data = (struct str){ (char *)octets[f.n], 4 };
		}
		f.n++;
	}
	fact_answer(asked[nanswered++].ticket, &f);
}

static struct dnsbl_list lists[DNSBL_LISTS];
static size_t nlists;

/* "bl.test 5;@rhs.test": those with @ are of domains. */
static void set_lists(const char *text)
{
	struct str rest = str_of(text), one;

	nlists = 0;
	for (bool more = true; more;) {
		bool domains;

		more = str_cut(&rest, ';', &one);
		if (!more)
			one = rest;
		domains = one.p[0] == '@';
		ck_assert(!dnsbl_parse(str_from(one, domains), domains, &lists[nlists++]));
	}
}

static struct dnsbl_result result;
static size_t rounds;

static void check(const char *peer_text, const char *domain, unsigned skip, const char *const *records)
{
	struct sockaddr_storage peer = { .ss_family = strchr(peer_text, ':') ? AF_INET6 : AF_INET };
	void *at = peer.ss_family == AF_INET ? (void *)&((struct sockaddr_in *)&peer)->sin_addr : (void *)&((struct sockaddr_in6 *)&peer)->sin6_addr;
	struct facts *facts = facts_new(&wake, DNSBL_LOOKUPS);
	struct dnsbl_query q = { .list = lists, .n = nlists, .skip = skip, .domain = { str_of(domain) } };
	struct ip ip;

	ck_assert_int_eq(inet_pton(peer.ss_family, peer_text, at), 1);
	ck_assert(ip_of((struct sockaddr *)&peer, &ip));
	q.ip = &ip;
	zone = records;
	nasked = nanswered = rounds = 0;
	facts_source(FACT_A, &world);
	facts_source(FACT_TXT, &world);
	while (dnsbl_check(facts, &q, &result) == WAIT) {
		ck_assert_uint_lt(nanswered, nasked);
		for (rounds++; nanswered < nasked;)
			answer_one();
	}
	facts_free(facts);
}

#define WELL "2.0.0.127.bl.test A 127.0.0.2"
#define WELL_RHS "test.rhs.test A 127.0.0.2"
#define WELL_6 "2.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.bl.test A 127.0.0.2"

static const struct {
	const char *lists, *peer, *domain, *out;        /* "score words|wrong of the first list" */
	const char *records[10];
} rows[] = {
	{ "bl.test 5", "192.0.2.7", "", "0 |", { WELL } },
	{ "bl.test 5", "192.0.2.7", "", "5 bl.test:127.0.0.2|", { WELL, "7.2.0.192.bl.test A 127.0.0.2" } },
	{ "bl.test 5", "::ffff:192.0.2.7", "", "5 bl.test:127.0.0.2|", { WELL, "7.2.0.192.bl.test A 127.0.0.2" } },
	{ "bl.test 5", "2001:db8::1", "", "5 bl.test:127.0.0.2|", { WELL, WELL_6, "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl.test A 127.0.0.2" } },
	/* What codes mean. */
	{ "bl.test=127.0.0.3 5", "192.0.2.7", "", "0 |", { WELL, "7.2.0.192.bl.test A 127.0.0.2" } },
	{ "bl.test=127.0.0.3 5", "192.0.2.7", "", "5 bl.test:127.0.0.3|", { WELL, "7.2.0.192.bl.test A 127.0.0.2", "7.2.0.192.bl.test A 127.0.0.3" } },
	{ "bl.test=127.0.0.10-11,127.0.1-2.4 5", "192.0.2.7", "", "5 bl.test:127.0.2.4|", { WELL, "7.2.0.192.bl.test A 127.0.2.4" } },
	{ "bl.test", "192.0.2.7", "", "0 |", { WELL, "7.2.0.192.bl.test A 127.0.0.1" } },
	{ "bl.test=127.0.0.2 3;bl.test=127.0.0.4 2", "192.0.2.7", "", "5 bl.test:127.0.0.2 bl.test:127.0.0.4|",
		{ WELL, "7.2.0.192.bl.test A 127.0.0.2", "7.2.0.192.bl.test A 127.0.0.4" } },
	{ "bl.test 3;@rhs.test -2", "192.0.2.7", "good.test", "1 bl.test:127.0.0.2 rhs.test:127.0.0.9|",
		{ WELL, WELL_RHS, "7.2.0.192.bl.test A 127.0.0.2", "good.test.rhs.test A 127.0.0.9" } },
	/* Lists that do not work. */
	{ "bl.test 5", "192.0.2.7", "", "0 |its test entry is not there: it seems to have been given up", { "7.2.0.192.bl.test A 127.0.0.2" } },
	{ "bl.test 5", "192.0.2.7", "", "0 |everything is on it", { WELL, "1.0.0.127.bl.test A 127.0.0.2", "7.2.0.192.bl.test A 127.0.0.2" } },
	{ "bl.test 5", "192.0.2.7", "", "0 |it does not answer", { WELL, "7.2.0.192.bl.test !" } },
	{ "bl.test 5", "192.0.2.7", "", "0 |it does not answer", { "2.0.0.127.bl.test !", "7.2.0.192.bl.test A 127.0.0.2" } },
	{ "bl.test 5", "192.0.2.7", "", "0 |", { "2.0.0.127.bl.test !!", "1.0.0.127.bl.test !!", "7.2.0.192.bl.test !!" } },
	{ "bl.test 5", "192.0.2.7", "", "0 |it refuses our questions (127.255.255.x): we ask too much, or by way of a public resolver", { WELL, "7.2.0.192.bl.test A 127.255.255.254" } },
	{ "bl.test 5", "192.0.2.7", "", "0 |it answers with addresses of the internet: somebody else has its name", { WELL, "7.2.0.192.bl.test A 203.0.113.9" } },
	{ "bl.test 5", "2001:db8::1", "", "0 |", { WELL, "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl.test A 127.0.0.2" } },
	{ "dead.test 5;bl.test 2", "192.0.2.7", "", "2 bl.test:127.0.0.2|it does not answer", { WELL, "2.0.0.127.dead.test !", "7.2.0.192.bl.test A 127.0.0.2" } },
	/* Domains. */
	{ "@rhs.test 5", "192.0.2.7", "bad.test", "5 rhs.test:127.0.0.2|", { WELL_RHS, "bad.test.rhs.test A 127.0.0.2" } },
	{ "@rhs.test 5", "192.0.2.7", "BAD.test", "5 rhs.test:127.0.0.2|", { WELL_RHS, "bad.test.rhs.test A 127.0.0.2" } },
	{ "@rhs.test 5", "192.0.2.7", "", "0 |", { WELL_RHS } },
	{ "@rhs.test 5", "192.0.2.7", "[192.0.2.7]", "0 |", { WELL_RHS } },
	{ "@rhs.test 5", "192.0.2.7", "bad.test", "0 |everything is on it", { WELL_RHS, "invalid.rhs.test A 127.0.0.2", "bad.test.rhs.test A 127.0.0.2" } },
	{ "@rhs.test 5", "192.0.2.7", "bad.test", "0 |its test entry is not there: it seems to have been given up", { "bad.test.rhs.test A 127.0.0.2" } },
};

START_TEST(what_a_list_says_counts_while_it_works)
{
	char out[400];

	set_lists(rows[_i].lists);
	check(rows[_i].peer, rows[_i].domain, 0, rows[_i].records);
	snprintf(out, sizeof out, "%d %s|%s", result.score, result.words, result.wrong[0] ? result.wrong[0] : "");
	ck_assert_str_eq(out, rows[_i].out);
	ck_assert_uint_le(rounds, 2);           /* all lists in one round, and the words of those who are on one */
}
END_TEST

START_TEST(the_reason_is_the_heaviest_list_with_its_owners_words)
{
	static const char *const records[] = { WELL, WELL_RHS, "7.2.0.192.bl.test A 127.0.0.4", "7.2.0.192.bl.test T see https://bl.test/\x01",
		"bad.test.rhs.test A 127.0.0.2", NULL };

	set_lists("@rhs.test 2;bl.test 3");
	check("192.0.2.7", "bad.test", 0, records);
	ck_assert_str_eq(result.why, "192.0.2.7 is listed by bl.test (127.0.0.4): see https://bl.test/?");
	ck_assert_uint_eq(result.listed, 3);
}
END_TEST

START_TEST(an_unwell_list_is_left_alone_for_a_while)
{
	static const char *const dead[] = { "7.2.0.192.bl.test !", NULL }, *const well[] = { WELL, "7.2.0.192.bl.test A 127.0.0.2", NULL };
	int64_t now = 1000000;

	set_lists("bl.test");
	ck_assert_uint_eq(dnsbl_skip(lists, 1, now), 0);
	check("192.0.2.7", "", 0, dead);
	dnsbl_remember(lists, 1, 0, &result, now);
	ck_assert(lists[0].unwell);
	ck_assert_uint_eq(dnsbl_skip(lists, 1, now + 1), 1);
	check("192.0.2.7", "", 1, well);
	ck_assert_uint_eq(nasked, 0);
	dnsbl_remember(lists, 1, 1, &result, now + 1);
	ck_assert(lists[0].unwell);
	ck_assert_uint_eq(dnsbl_skip(lists, 1, now + 600), 0);
	check("192.0.2.7", "", 0, well);
	dnsbl_remember(lists, 1, 0, &result, now + 600);
	ck_assert(!lists[0].unwell);
	ck_assert_int_eq(result.score, 1);
}
END_TEST

START_TEST(a_list_is_not_asked_more_often_than_is_decent)
{
	unsigned asked_now = 0;

	set_lists("bl.test");
	for (int i = 0; i < 1000; i++)
		asked_now += !dnsbl_skip(lists, 1, 1000000);
	ck_assert_uint_eq(asked_now, 50);
	ck_assert_uint_eq(dnsbl_skip(lists, 1, 1000001), 0);
}
END_TEST

START_TEST(eight_lists_ask_a_bounded_number_of_questions)
{
	static const char *const none[] = { NULL };

	set_lists("a.test;b.test;c.test;d.test;@e.test;@f.test;@g.test;@h.test");
	check("192.0.2.7", "x.test", 0, none);
	ck_assert_uint_le(nasked, DNSBL_LOOKUPS);
}
END_TEST

Suite *policy_dnsbl_suite(void);
Suite *policy_dnsbl_suite(void)
{
	Suite *s = suite_create("policy_dnsbl");
	TCase *t = tcase_create("lists");

	tcase_add_loop_test(t, a_list_is_a_name_with_codes_and_a_weight, 0, (int)(sizeof settings / sizeof *settings));
	tcase_add_loop_test(t, what_a_list_says_counts_while_it_works, 0, (int)(sizeof rows / sizeof *rows));
	tcase_add_test(t, the_reason_is_the_heaviest_list_with_its_owners_words);
	tcase_add_test(t, an_unwell_list_is_left_alone_for_a_while);
	tcase_add_test(t, a_list_is_not_asked_more_often_than_is_decent);
	tcase_add_test(t, eight_lists_ask_a_bounded_number_of_questions);
	suite_add_tcase(s, t);
	return s;
}
