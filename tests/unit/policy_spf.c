/* SPF: tables of records and the result (RFC 7208); the published suites are run by make conformance. */
#include <arpa/inet.h>
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/spf.h"

/* ---- an invented DNS. "NAME TYPE DATA" with TXT to the end of the line and "." for the root; "NAME !" cannot be found out; a name that is
 * on no line does not exist. PTR stands at the address. */
enum { LINES = 40, PENDING = 300 };

static const char *const *zone;
static struct { struct fact_ticket *ticket; enum fact_kind kind; char name[300]; size_t n; } asked[PENDING];
static size_t nasked, nanswered;

static void ask(struct fact_source *source, enum fact_kind kind, struct str name, struct fact_ticket *ticket)
{
	(void)source;
	ck_assert_uint_lt(nasked, PENDING);
	ck_assert_uint_le(name.n, sizeof asked[0].name);
	asked[nasked].ticket = ticket;
	asked[nasked].kind = kind;
	memcpy(asked[nasked].name, name.p, name.n);
	asked[nasked++].n = name.n;
}
static struct fact_source world = { .ask = ask };

static bool is_of(enum fact_kind kind, struct str type)
{
	static const char *const kinds[] = { [FACT_A] = "A", [FACT_AAAA] = "AAAA", [FACT_MX] = "MX", [FACT_PTR] = "PTR", [FACT_TXT] = "TXT" };

	return str_eq(type, str_of(kinds[kind]));
}

static void answer_one(void)
{
	static unsigned char octets[64][16];
	struct record r[64];
	struct fact f = { .outcome = NO_NAME, .record = r };
	struct str name = { asked[nanswered].name, asked[nanswered].n };
	enum fact_kind kind = asked[nanswered].kind;

	for (size_t i = 0; i < LINES && zone && zone[i]; i++) {
		struct str rest = str_of(zone[i]), owner, type;
		char text[64];

		ck_assert(str_word(&rest, &owner) && str_word(&rest, &type));
		if (!str_eq_nocase(owner, name))
			continue;
		if (f.outcome == NO_NAME)
			f.outcome = NO_DATA;
		if (str_eq(type, STR("!")))
			f = (struct fact){ .outcome = UNKNOWN, .why = "SERVFAIL from 127.0.0.1" };
		if (!is_of(kind, type))
			continue;
		f.outcome = FOUND;
		rest = kind == FACT_TXT ? rest : str_trim(rest);
		r[f.n] = (struct record){ 10, str_eq(rest, STR(".")) ? STR("") : rest };
		if (kind == FACT_A || kind == FACT_AAAA) {
			ck_assert(str_copy(text, sizeof text, rest));
			ck_assert_int_eq(inet_pton(kind == FACT_A ? AF_INET : AF_INET6, text, octets[f.n]), 1);
			r[f.n].data = (struct str){ (char *)octets[f.n], kind == FACT_A ? 4 : 16 };
		} else if (kind == FACT_TXT && rest.n && rest.p[0] == ' ') {
			r[f.n].data = str_from(rest, 1);
		}
		f.n++;
	}
	fact_answer(asked[nanswered++].ticket, &f);
}

static struct sockaddr_storage peer;
static struct spf_query query;
static struct spf_result got;
static unsigned runs;

/* One answer at a time, and the whole evaluation again after each. */
static const char *result(const char *const *lines, const char *ip, const char *helo, const char *from)
{
	struct facts *facts = facts_new(NULL, SPF_LOOKUPS);
	struct str rest = str_of(from);

	zone = lines;
	peer = (struct sockaddr_storage){ .ss_family = strchr(ip, ':') ? AF_INET6 : AF_INET };
	ck_assert_int_eq(inet_pton(peer.ss_family, ip, strchr(ip, ':') ? (void *)&((struct sockaddr_in6 *)&peer)->sin6_addr :
		(void *)&((struct sockaddr_in *)&peer)->sin_addr), 1);
	query = (struct spf_query){ .peer = (struct sockaddr *)&peer, .helo = str_of(helo), .receiver = "mx.here.test", .now = 1700000000 };
	if (str_cut_last(&rest, '@', &query.from.local))
		query.from.domain = rest;
	nasked = nanswered = runs = 0;
	for (;;) {
		runs++;
		if (spf_check(facts, &query, &got) != WAIT)
			break;
		ck_assert_uint_lt(nanswered, nasked);   /* who waits has asked */
		answer_one();
	}
	while (nanswered < nasked)
		answer_one();
	facts_free(facts);
	return spf_name(got.code);
}

static void setup(void)
{
	for (int k = FACT_A; k <= FACT_TXT; k++)
		facts_source((enum fact_kind)k, &world);
}

struct row {
	const char *lines[8];
	const char *ip;
	const char *result, *mechanism;
};

static void check_rows(const struct row *row, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const char *is = result(row[i].lines, row[i].ip, "helo.test", "anna@x.test");

		ck_assert_msg(!strcmp(is, row[i].result) && !strcmp(got.mechanism, row[i].mechanism), "row %zu: %s (%s) instead of %s (%s): %s", i, is,
			got.mechanism, row[i].result, row[i].mechanism, got.why);
	}
}

START_TEST(the_first_mechanism_that_matches_decides)
{
	static const struct row rows[] = {
		{ { NULL }, "192.0.2.1", "none", "" },
		{ { "x.test TXT something else", "x.test TXT v=spf10 -all" }, "192.0.2.1", "none", "" },
		{ { "x.test TXT v=spf1" }, "192.0.2.1", "neutral", "default" },
		{ { "x.test TXT V=SPF1 -ALL" }, "192.0.2.1", "fail", "-ALL" },
		{ { "x.test TXT v=spf1   ~all  " }, "192.0.2.1", "softfail", "~all" },
		{ { "x.test TXT v=spf1 ?all -all" }, "192.0.2.1", "neutral", "?all" },
		{ { "x.test TXT v=spf1 ip4:192.0.2.0/24 -all" }, "192.0.2.255", "pass", "ip4:192.0.2.0/24" },
		{ { "x.test TXT v=spf1 ip4:192.0.2.0/24 -all" }, "192.0.3.0", "fail", "-all" },
		{ { "x.test TXT v=spf1 ip4:192.0.2.128/25 -all" }, "192.0.2.127", "fail", "-all" },
		{ { "x.test TXT v=spf1 ip4:192.0.2.1 -all" }, "::ffff:192.0.2.1", "pass", "ip4:192.0.2.1" },
		{ { "x.test TXT v=spf1 ip6:2001:db8::/32 -all" }, "2001:db8:1::1", "pass", "ip6:2001:db8::/32" },
		{ { "x.test TXT v=spf1 ip4:0.0.0.0/0 ip6:2001:db8::/33 -all" }, "2001:db8:8000::1", "fail", "-all" },
		{ { "x.test TXT v=spf1 a -all", "x.test A 192.0.2.1" }, "192.0.2.1", "pass", "a" },
		{ { "x.test TXT v=spf1 a:y.test/24//64 -all", "y.test A 192.0.2.1", "y.test AAAA 2001:db8::1" }, "192.0.2.9", "pass", "a:y.test/24//64" },
		{ { "x.test TXT v=spf1 a:y.test/24//64 -all", "y.test A 192.0.2.1", "y.test AAAA 2001:db8::1" }, "2001:db8::9", "pass", "a:y.test/24//64" },
		{ { "x.test TXT v=spf1 a:y.test//64 -all", "y.test A 192.0.2.1" }, "192.0.2.9", "fail", "-all" },
		{ { "x.test TXT v=spf1 mx -all", "x.test MX m.test", "x.test MX n.test", "n.test A 192.0.2.1" }, "192.0.2.1", "pass", "mx" },
		{ { "x.test TXT v=spf1 mx -all", "x.test MX ." }, "192.0.2.1", "fail", "-all" },
		{ { "x.test TXT v=spf1 mx -all", "x.test A 192.0.2.1" }, "192.0.2.1", "fail", "-all" },         /* no implicit MX */
		{ { "x.test TXT v=spf1 exists:%{i}.list.test -all", "192.0.2.1.list.test A 127.0.0.2" }, "192.0.2.1", "pass", "exists:%{i}.list.test" },
		{ { "x.test TXT v=spf1 exists:y.test -all", "y.test A 127.0.0.2" }, "2001:db8::1", "pass", "exists:y.test" },
		{ { "x.test TXT v=spf1 exists:y.test -all", "y.test AAAA ::1" }, "2001:db8::1", "fail", "-all" },
		{ { "x.test TXT v=spf1 ptr -all", "192.0.2.1 PTR a.x.test", "a.x.test A 192.0.2.1" }, "192.0.2.1", "pass", "ptr" },
		{ { "x.test TXT v=spf1 ptr -all", "192.0.2.1 PTR ax.test", "ax.test A 192.0.2.1" }, "192.0.2.1", "fail", "-all" },
		{ { "x.test TXT v=spf1 ptr -all", "192.0.2.1 PTR a.x.test", "a.x.test A 192.0.2.2" }, "192.0.2.1", "fail", "-all" },
		{ { "x.test TXT v=spf1 ptr:y.test -all", "192.0.2.1 PTR y.test", "y.test A 192.0.2.1" }, "192.0.2.1", "pass", "ptr:y.test" },
		{ { "x.test TXT v=spf1 all redirect=y.test", "y.test TXT v=spf1 -all" }, "192.0.2.1", "pass", "all" },
		{ { "x.test TXT v=spf1 redirect=y.test", "y.test TXT v=spf1 -all" }, "192.0.2.1", "fail", "-all" },
		{ { "x.test TXT v=spf1 redirect=y.test a:z.test", "y.test TXT v=spf1 a ~all", "y.test A 192.0.2.1" }, "192.0.2.1", "pass", "a" },
	};

	check_rows(rows, sizeof rows / sizeof *rows);
}
END_TEST

START_TEST(an_include_matches_when_what_is_included_passes)
{
	static const struct row rows[] = {
		{ { "x.test TXT v=spf1 include:y.test -all", "y.test TXT v=spf1 ip4:192.0.2.1" }, "192.0.2.1", "pass", "include:y.test" },
		{ { "x.test TXT v=spf1 ?include:y.test -all", "y.test TXT v=spf1 +all" }, "192.0.2.1", "neutral", "?include:y.test" },
		{ { "x.test TXT v=spf1 include:y.test ~all", "y.test TXT v=spf1 -all" }, "192.0.2.1", "softfail", "~all" },
		{ { "x.test TXT v=spf1 include:y.test -all", "y.test TXT v=spf1 ~all" }, "192.0.2.1", "fail", "-all" },
		{ { "x.test TXT v=spf1 include:y.test -all", "y.test TXT v=spf1 ?all" }, "192.0.2.1", "fail", "-all" },
		{ { "x.test TXT v=spf1 include:y.test -all" }, "192.0.2.1", "permerror", "" },
		{ { "x.test TXT v=spf1 include:y.test -all", "y.test TXT v=spf1 foo" }, "192.0.2.1", "permerror", "" },
		{ { "x.test TXT v=spf1 include:y.test -all", "y.test !" }, "192.0.2.1", "temperror", "" },
		{ { "x.test TXT v=spf1 include:y.test -all", "y.test TXT v=spf1 redirect=z.test", "z.test TXT v=spf1 all" }, "192.0.2.1", "pass", "include:y.test" },
	};

	check_rows(rows, sizeof rows / sizeof *rows);
}
END_TEST

START_TEST(what_cannot_be_found_out_is_temporary_and_only_where_it_matters)
{
	static const struct row rows[] = {
		{ { "x.test !" }, "192.0.2.1", "temperror", "" },
		{ { "x.test TXT v=spf1 ip4:192.0.2.1 a:y.test -all", "y.test !" }, "192.0.2.1", "pass", "ip4:192.0.2.1" },
		{ { "x.test TXT v=spf1 a:y.test all", "y.test !" }, "192.0.2.1", "temperror", "" },
		{ { "x.test TXT v=spf1 mx:y.test all", "y.test !" }, "192.0.2.1", "temperror", "" },
		{ { "x.test TXT v=spf1 exists:y.test all", "y.test !" }, "192.0.2.1", "temperror", "" },
		{ { "x.test TXT v=spf1 redirect=y.test", "y.test !" }, "192.0.2.1", "temperror", "" },
		{ { "x.test TXT v=spf1 mx -all", "x.test MX a.test", "x.test MX b.test", "a.test A 192.0.2.1", "b.test !" }, "192.0.2.1", "pass", "mx" },
		{ { "x.test TXT v=spf1 mx -all", "x.test MX b.test", "x.test MX a.test", "a.test A 192.0.2.1", "b.test !" }, "192.0.2.1", "temperror", "" },
		/* RFC 7208 5.5: the client's own names */
		{ { "x.test TXT v=spf1 ptr -all", "192.0.2.1 !" }, "192.0.2.1", "fail", "-all" },
		{ { "x.test TXT v=spf1 ptr -all", "192.0.2.1 PTR a.x.test", "192.0.2.1 PTR b.x.test", "a.x.test !", "b.x.test A 192.0.2.1" }, "192.0.2.1", "pass", "ptr" },
		{ { "x.test TXT v=spf1 -all exp=y.test", "y.test !" }, "192.0.2.1", "fail", "-all" },
	};

	check_rows(rows, sizeof rows / sizeof *rows);
}
END_TEST

START_TEST(a_record_that_is_wrong_anywhere_is_wrong)
{
	static const char *const wrong[] = {
		"v=spf1 ip4:192.0.2.1 foo", "v=spf1 +all -", "v=spf1 all:x.test", "v=spf1 all/8", "v=spf1 all.", "v=spf1 include", "v=spf1 include:",
		"v=spf1 exists", "v=spf1 exists:x.test/24", "v=spf1 ptr/24", "v=spf1 ip4", "v=spf1 ip4:192.0.2", "v=spf1 ip4:192.0.2.1/33",
		"v=spf1 ip4:192.0.2.1/024", "v=spf1 ip4:192.0.2.1/", "v=spf1 ip4:192.0.2.1//24", "v=spf1 ip4:2001:db8::1", "v=spf1 ip6:192.0.2.1",
		"v=spf1 ip6:2001:db8::/129", "v=spf1 ip6:2001:db8::x", "v=spf1 a:", "v=spf1 a:x", "v=spf1 a:x.", "v=spf1 a:x.123", "v=spf1 a:x.-y",
		"v=spf1 a:x.y-", "v=spf1 a/33", "v=spf1 a//129", "v=spf1 a/24/64", "v=spf1 a/x", "v=spf1 ax.test", "v=spf1 mx:x.test:25", "v=spf1 a:%x.test",
		"v=spf1 a:%{x}.test", "v=spf1 a:%{c}.test", "v=spf1 a:%{d0}.test", "v=spf1 a:%{d", "v=spf1 a:%{d2r.test", "v=spf1 a:%", "v=spf1 a:%{d}.1",
		"v=spf1 redirect=", "v=spf1 redirect=x", "v=spf1 redirect=y.test redirect=y.test", "v=spf1 exp=", "v=spf1 exp=y.test all exp=y.test",
		"v=spf1 redirect:y.test", "v=spf1 1x=y", "v=spf1 =y", "v=spf1 x=%", "v=spf1 x=\x80", "v=spf1 a\t-all", "v=spf1 -\200all",
	}, *const fine[] = {
		"v=spf1 foo=bar all", "v=spf1 foo= all", "v=spf1 foo.bar-1_2=%{c}%%%_%- all", "v=spf1 a:%{d} all", "v=spf1 a:%{D2R-+.} all", "v=spf1 a:x.y-z all",
		"v=spf1 a:x.y. all", "v=spf1 a:x/24.test/24 all", "v=spf1 a:x:y.test all", "v=spf1 a:%{d99999999999999999999} all", "v=spf1 a/0//0 all",
		"v=spf1 moo=%{l}/%{c} all", "v=spf1 a:foo%%.test all", "v=spf1 a:x.test%- all", "v=spf1 exp=%{d} all",
	};

	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		char line[200], other[] = "x.test TXT v=spf1 -all";
		const char *lines[LINES] = { line };

		snprintf(line, sizeof line, "x.test TXT %s", wrong[i]);
		ck_assert_msg(!strcmp(result(lines, "192.0.2.1", "h.test", "a@x.test"), "permerror"), "%s: %s", wrong[i], got.why);
		ck_assert_ptr_nonnull(strstr(got.why, "\" in that of x.test: "));
		lines[1] = other;
		ck_assert_str_eq(result(lines, "192.0.2.1", "h.test", "a@x.test"), "permerror");
		ck_assert_ptr_nonnull(strstr(got.why, "has more than one"));
	}
	for (size_t i = 0; i < sizeof fine / sizeof *fine; i++) {
		char line[200];
		const char *lines[LINES] = { line };

		snprintf(line, sizeof line, "x.test TXT %s", fine[i]);
		ck_assert_msg(!strcmp(result(lines, "192.0.2.1", "h.test", "a@x.test"), "pass"), "%s: %s", fine[i], got.why);
	}
}
END_TEST

START_TEST(macros_are_expanded_as_the_rfc_shows)
{
	/* RFC 7208 7.4 */
	static const struct {
		const char *text, *v4, *v6;
	} rows[] = {
		{ "%{s}", "strong-bad@email.example.com", NULL }, { "%{o}", "email.example.com", NULL }, { "%{d}", "email.example.com", NULL },
		{ "%{d4}", "email.example.com", NULL }, { "%{d3}", "email.example.com", NULL }, { "%{d2}", "example.com", NULL },
		{ "%{d1}", "com", NULL }, { "%{dr}", "com.example.email", NULL }, { "%{d2r}", "example.email", NULL }, { "%{l}", "strong-bad", NULL },
		{ "%{l-}", "strong.bad", NULL }, { "%{lr}", "strong-bad", NULL }, { "%{lr-}", "bad.strong", NULL }, { "%{l1r-}", "strong", NULL },
		{ "%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com",
			"1.0.B.C.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.B.D.0.1.0.0.2.ip6._spf.example.com" },
		{ "%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com", NULL },
		{ "%{lr-}.lp.%{ir}.%{v}._spf.%{d2}", "bad.strong.lp.3.2.0.192.in-addr._spf.example.com",
			"bad.strong.lp.1.0.B.C.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.B.D.0.1.0.0.2.ip6._spf.example.com" },
		{ "%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}", "3.2.0.192.in-addr.strong.lp._spf.example.com", "1.0.B.C.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.B.D.0.1.0.0.2.ip6.strong.lp._spf.example.com" },
		{ "%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net", NULL },
		{ "%{c} %{h} %{r} %{t} %{p}", "192.0.2.3 mail.example.org mx.here.test 1700000000 unknown", "2001:db8::cb01 mail.example.org mx.here.test 1700000000 unknown" },
		{ "%{S}%%%_%-", "strong-bad%40email.example.com% %20", NULL }, { "%{d128}", "email.example.com", NULL }, { "%{L2R+-}", "bad.strong", NULL },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		for (int six = 0; six < 2; six++) {
			char line[200];
			const char *lines[LINES] = { "email.example.com TXT v=spf1 -all exp=e.test", line }, *wanted = six && rows[i].v6 ? rows[i].v6 : rows[i].v4;

			snprintf(line, sizeof line, "e.test TXT %s", rows[i].text);
			result(lines, six ? "2001:db8::cb01" : "192.0.2.3", "mail.example.org", "strong-bad@email.example.com");
			ck_assert_str_eq(got.explanation, wanted);
		}
}
END_TEST

START_TEST(a_domain_may_ask_for_ten_things_and_find_nothing_twice)
{
	static const struct row rows[] = {
		{ { "x.test TXT v=spf1 a a a a a a a a a a ip4:192.0.2.1", "x.test A 192.0.2.9" }, "192.0.2.1", "pass", "ip4:192.0.2.1" },
		{ { "x.test TXT v=spf1 a a a a a a a a a a a ip4:192.0.2.1", "x.test A 192.0.2.9" }, "192.0.2.1", "permerror", "" },
		{ { "x.test TXT v=spf1 ip4:192.0.2.1 a a a a a a a a a a a", "x.test A 192.0.2.9" }, "192.0.2.1", "pass", "ip4:192.0.2.1" },
		{ { "x.test TXT v=spf1 a a a a a a a a a include:y.test ip4:192.0.2.1", "x.test A 192.0.2.9", "y.test TXT v=spf1 -ip4:192.0.2.1" }, "192.0.2.1", "pass", "ip4:192.0.2.1" },
		{ { "x.test TXT v=spf1 a a a a a a a a a include:y.test ip4:192.0.2.1", "x.test A 192.0.2.9", "y.test TXT v=spf1 a" }, "192.0.2.1", "permerror", "" },
		{ { "x.test TXT v=spf1 a a a a a a a a a redirect=y.test", "x.test A 192.0.2.9", "y.test TXT v=spf1 all" }, "192.0.2.1", "pass", "all" },
		{ { "x.test TXT v=spf1 a a a a a a a a a a redirect=y.test", "x.test A 192.0.2.9", "y.test TXT v=spf1 all" }, "192.0.2.1", "permerror", "" },
		{ { "x.test TXT v=spf1 redirect=x.test" }, "192.0.2.1", "permerror", "" },
		{ { "x.test TXT v=spf1 redirect=y.test", "y.test TXT v=spf1 redirect=x.test" }, "192.0.2.1", "permerror", "" },
		{ { "x.test TXT v=spf1 include:x.test" }, "192.0.2.1", "permerror", "" },
		{ { "x.test TXT v=spf1 a:1.test a:2.test all" }, "192.0.2.1", "pass", "all" },
		{ { "x.test TXT v=spf1 a:1.test a:2.test a:3.test all" }, "192.0.2.1", "permerror", "" },
		{ { "x.test TXT v=spf1 mx:1.test exists:2.test a:x.test all" }, "192.0.2.1", "permerror", "" },
		{ { "x.test TXT v=spf1 a:1.test a:2.test mx all", "x.test MX m.test" }, "192.0.2.1", "pass", "all" },     /* an MX host without an address */
		{ { "x.test TXT v=spf1 a:1.test a:2.test ptr all" }, "192.0.2.1", "pass", "all" },                       /* the client has no name */
		{ { "x.test TXT v=spf1 a:1.test a:2.test -all exp=3.test" }, "192.0.2.1", "fail", "-all" },
		{ { "x.test TXT v=spf1 exists:%{p}a exists:%{p}a exists:%{p}a exists:%{p}a exists:%{p}.a ip4:192.0.2.1" }, "192.0.2.1", "permerror", "" },
	};

	check_rows(rows, sizeof rows / sizeof *rows);
}
END_TEST

/* Whose records we read can have us ask others: so often and no more. */
START_TEST(no_domain_makes_us_ask_more_than_the_limit)
{
	static char text[LINES][80];
	const char *lines[LINES + 1] = { "x.test TXT v=spf1 mx:m.test mx:m.test mx:m.test mx:m.test mx:m.test mx:m.test mx:m.test mx:m.test mx:m.test ptr -all exp=%{p}.e.test" };
	size_t n = 1;

	for (int i = 0; i < 10; i++) {
		snprintf(text[n], sizeof text[n], "m.test MX %d.m.test", i);
		lines[n] = text[n];
		n++;
	}
	for (int i = 0; i < 20; i++) {
		snprintf(text[n], sizeof text[n], "192.0.2.1 PTR %d.p.test", i);
		lines[n] = text[n];
		n++;
	}
	ck_assert_str_eq(result(lines, "192.0.2.1", "h.test", "a@x.test"), "fail");
	ck_assert_uint_eq(nasked, 1 + 1 + 10 + 1 + 10 + 1);
	snprintf(text[n], sizeof text[n], "m.test MX 10.m.test");
	lines[n] = text[n];
	ck_assert_str_eq(result(lines, "192.0.2.1", "h.test", "a@x.test"), "permerror");
	ck_assert_ptr_nonnull(strstr(got.why, "m.test has more than 10 mail hosts"));
	ck_assert_uint_eq(nasked, 2);
}
END_TEST

START_TEST(the_name_in_helo_is_looked_at_when_there_is_no_sender)
{
	static const char *const lines[LINES] = { "h.test TXT v=spf1 -ip4:192.0.2.1 ~all exp=e.test", "e.test TXT %{s} %{l} %{o}" };

	ck_assert_str_eq(result(lines, "192.0.2.1", "h.test", ""), "fail");
	ck_assert(got.helo);
	ck_assert_str_eq(got.domain, "h.test");
	ck_assert_str_eq(got.explanation, "postmaster@h.test postmaster h.test");
	ck_assert_str_eq(got.why, "192.0.2.1 may not call itself h.test [-ip4:192.0.2.1]");
	ck_assert_str_eq(result(lines, "192.0.2.1", "x.test", "@h.test"), "fail");
	ck_assert(!got.helo);
	ck_assert_str_eq(got.explanation, "postmaster@h.test postmaster h.test");
	ck_assert_str_eq(got.why, "192.0.2.1 may not send mail from h.test [-ip4:192.0.2.1]");
	ck_assert_str_eq(result(lines, "192.0.2.2", "h.test.", ""), "softfail");
}
END_TEST

START_TEST(names_that_can_have_no_record_are_asked_nothing)
{
	static const char *const names[] = {
		"localhost", "[192.0.2.1]", "[IPv6:2001:db8::1]", "a..test", ".test", "", ".", "..", "x.\x80.test", "x.a\nb.test",
		"a123456789012345678901234567890123456789012345678901234567890123.test",
	};
	char longer[400] = "";

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		ck_assert_str_eq(result(NULL, "192.0.2.1", names[i], ""), "none");
		ck_assert_uint_eq(nasked, 0);
	}
	for (int i = 0; i < 70; i++)
		memcpy(longer + 4 * i, "abc.t", 6);
	ck_assert_str_eq(result(NULL, "192.0.2.1", longer, ""), "none");
	ck_assert_uint_eq(nasked, 0);
}
END_TEST

START_TEST(a_name_too_long_loses_labels_at_its_front)
{
	char line[2000], kept[300] = "";
	const char *lines[LINES] = { line };

	/* 60 times ".x.test" are 420 octets; 36 times are 252, and one less without the first dot. */
	memcpy(line, "x.test TXT v=spf1 a:first", 26);
	for (int i = 0; i < 60; i++)
		memcpy(line + strlen(line), ".%{d}", 6);
	memcpy(line + strlen(line), " all", 5);
	for (int i = 0; i < 36; i++)
		snprintf(kept + strlen(kept), sizeof kept - strlen(kept), "%sx.test", i ? "." : "");
	ck_assert_str_eq(result(lines, "192.0.2.1", "h.test", "a@x.test"), "pass");
	ck_assert_uint_eq(nasked, 2);
	ck_assert_uint_eq(asked[1].n, 251);
	ck_assert(str_eq((struct str){ asked[1].name, asked[1].n }, str_of(kept)));
}
END_TEST

START_TEST(a_record_far_too_long_or_with_a_bomb_of_macros_is_not_read)
{
	char *line = malloc(20000);
	const char *lines[LINES] = { line };

	snprintf(line, 20000, "x.test TXT v=spf1 %19000s all", "");
	ck_assert_str_eq(result(lines, "192.0.2.1", "h.test", "a@x.test"), "permerror");
	ck_assert_ptr_nonnull(strstr(got.why, "it is too long"));
	snprintf(line, 20000, "x.test TXT v=spf1 exists:");
	for (int i = 0; i < 200; i++)
		snprintf(line + strlen(line), 20000 - strlen(line), "%%{s}");
	snprintf(line + strlen(line), 20000 - strlen(line), " all");
	ck_assert_str_eq(result(lines, "192.0.2.1", "h.test", "a@x.test"), "permerror");
	ck_assert_ptr_nonnull(strstr(got.why, "the domain is too long"));
	ck_assert_uint_eq(nasked, 1);
	free(line);
}
END_TEST

START_TEST(an_explanation_is_of_the_domain_that_failed_it)
{
	static const struct {
		const char *lines[6], *explanation;
	} rows[] = {
		{ { "x.test TXT v=spf1 -all exp=e.test", "e.test TXT no" }, "no" },
		{ { "x.test TXT v=spf1 exp=e.test -all", "e.test TXT see %{i}" }, "see 192.0.2.1" },
		{ { "x.test TXT v=spf1 ~all exp=e.test", "e.test TXT no" }, "" },
		{ { "x.test TXT v=spf1 -all exp=e.test" }, "" },
		{ { "x.test TXT v=spf1 -all exp=e.test", "e.test TXT no", "e.test TXT no" }, "" },
		{ { "x.test TXT v=spf1 -all exp=e.test", "e.test TXT %{no" }, "" },
		{ { "x.test TXT v=spf1 -all exp=e.test", "e.test TXT n\xc3\xb6" }, "" },
		{ { "x.test TXT v=spf1 -all exp=e.test", "e.test TXT no\r\nX: y" }, "" },
		{ { "x.test TXT v=spf1 exp=e.test redirect=y.test", "e.test TXT x", "y.test TXT v=spf1 -all" }, "" },
		{ { "x.test TXT v=spf1 exp=e.test redirect=y.test", "e.test TXT x", "y.test TXT v=spf1 -all exp=%{d}.e.test", "y.test.e.test TXT %{d}" }, "y.test" },
		{ { "x.test TXT v=spf1 include:y.test -all exp=e.test", "e.test TXT x", "y.test TXT v=spf1 -all exp=f.test", "f.test TXT y" }, "x" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const char *lines[LINES] = { NULL };

		memcpy(lines, rows[i].lines, sizeof rows[i].lines);
		result(lines, "192.0.2.1", "h.test", "a@x.test");
		ck_assert_msg(!strcmp(got.explanation, rows[i].explanation), "row %zu: \"%s\"", i, got.explanation);
	}
}
END_TEST

/* ---- the field */

static const char *field(void)
{
	static struct buf b;

	buf_clear(&b);
	ck_assert(spf_field(&b, &query, &got));
	return buf_cstr(&b);
}

START_TEST(the_field_says_what_was_decided_of_whom_and_why)
{
	static const char *const lines[LINES] = { "x.test TXT v=spf1 ip4:192.0.2.0/24 ?exists:%{l}.test -all", "y.test TXT v=spf1 foo" };

	result(lines, "192.0.2.1", "h.test", "anna@x.test");
	ck_assert_str_eq(field(), "Received-SPF: pass\r\n\t(mx.here.test: 192.0.2.1 may send mail from x.test [ip4:192.0.2.0/24])\r\n"
		"\tclient-ip=192.0.2.1;\r\n\tenvelope-from=\"anna@x.test\";\r\n\thelo=h.test;\r\n\tmechanism=\"ip4:192.0.2.0/24\";\r\n"
		"\treceiver=mx.here.test;\r\n\tidentity=mailfrom\r\n");
	result(lines, "::1", "y.test", "");
	ck_assert_str_eq(field(), "Received-SPF: permerror\r\n\t(mx.here.test: the SPF record of y.test cannot be used: \"foo\" in that of y.test: there is "
		"no such mechanism)\r\n\tclient-ip=\"::1\";\r\n\tenvelope-from=\"<>\";\r\n\thelo=y.test;\r\n\tproblem=\"\\\"foo\\\" in that of y.test: there is "
		"no such mechanism\";\r\n\treceiver=mx.here.test;\r\n\tidentity=helo\r\n");
}
END_TEST

/* Every line is a fold, of less than 998 octets, of printable ASCII; quotes and parentheses close. */
static void check_form(const char *text)
{
	size_t line = 0;
	int depth = 0;
	bool quoted = false;

	ck_assert(!strncmp(text, "Received-SPF: ", 14));
	for (const char *p = text; *p; p++, line++) {
		if (*p == '\r') {
			ck_assert(p[1] == '\n' && (p[2] == '\t' || !p[2]) && !quoted && line <= 998);
			p++;
			line = 0;
			continue;
		}
		ck_assert(ascii_print(*p) || *p == '\t');
		if (*p == '\\') {
			ck_assert(p[1] && p[1] != '\r');
			p++;
		} else if (*p == '"' && !depth) {
			quoted = !quoted;
		} else if (!quoted) {
			depth += *p == '(' ? 1 : *p == ')' ? -1 : 0;
			ck_assert_int_ge(depth, 0);
		}
	}
	ck_assert(!quoted && !depth);
}

START_TEST(nothing_that_is_said_breaks_the_field)
{
	static const char *const words[] = {
		"a\r\nX-Evil: yes", "((((((", "))", "\"", "\\", "\\\"(", "a;b=c", "\x80\xff", "\x01\x7f", "a b", "=", "",
	};
	char big[600];

	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		for (size_t k = 0; k < sizeof words / sizeof *words; k++) {
			char line[200], from[100], helo[100];
			const char *lines[LINES] = { line };

			snprintf(line, sizeof line, "x.test TXT v=spf1 %s all", words[i]);
			snprintf(from, sizeof from, "%s@x.test", words[k]);
			snprintf(helo, sizeof helo, "%s.test", words[k]);
			result(lines, "192.0.2.1", helo, from);
			check_form(field());
			result(lines, "192.0.2.1", helo, "");
			check_form(field());
		}
	for (const char *c = "(\"\\a"; *c; c++) {
		memset(big, *c, sizeof big);
		big[sizeof big - 1] = '\0';
		for (size_t i = 60; i < 240; i += 60)
			big[i] = '.';
		big[240] = '\0';
		result(NULL, "192.0.2.1", big, "");
		check_form(field());
		memset(big, *c, sizeof big - 1);
		result(NULL, "192.0.2.1", big, "");
		check_form(field());
		query.from.local = str_of(big);
		query.from.domain = str_of(big);
		check_form(field());
	}
}
END_TEST

START_TEST(who_has_no_address_of_the_internet_gets_none)
{
	struct facts *facts = facts_new(NULL, SPF_LOOKUPS);

	result(NULL, "192.0.2.1", "h.test", "a@x.test");
	peer.ss_family = AF_UNIX;
	ck_assert_int_eq(spf_check(facts, &query, &got), ACCEPT);
	ck_assert_int_eq(got.code, SPF_NONE);
	check_form(field());
	facts_free(facts);
}
END_TEST

START_TEST(what_takes_too_long_is_temporary)
{
	result(NULL, "192.0.2.1", "h.test", "a@x.test");
	spf_late(&query, &got);
	ck_assert_int_eq(got.code, SPF_TEMPERROR);
	ck_assert_str_eq(got.why, "cannot find out now whether 192.0.2.1 may send mail from x.test: no answer within 30 s");
	check_form(field());
}
END_TEST

Suite *policy_spf_suite(void);
Suite *policy_spf_suite(void)
{
	Suite *s = suite_create("policy_spf");
	TCase *t = tcase_create("spf");

	tcase_add_checked_fixture(t, setup, NULL);
	tcase_add_test(t, the_first_mechanism_that_matches_decides);
	tcase_add_test(t, an_include_matches_when_what_is_included_passes);
	tcase_add_test(t, what_cannot_be_found_out_is_temporary_and_only_where_it_matters);
	tcase_add_test(t, a_record_that_is_wrong_anywhere_is_wrong);
	tcase_add_test(t, macros_are_expanded_as_the_rfc_shows);
	tcase_add_test(t, a_domain_may_ask_for_ten_things_and_find_nothing_twice);
	tcase_add_test(t, no_domain_makes_us_ask_more_than_the_limit);
	tcase_add_test(t, the_name_in_helo_is_looked_at_when_there_is_no_sender);
	tcase_add_test(t, names_that_can_have_no_record_are_asked_nothing);
	tcase_add_test(t, a_name_too_long_loses_labels_at_its_front);
	tcase_add_test(t, a_record_far_too_long_or_with_a_bomb_of_macros_is_not_read);
	tcase_add_test(t, an_explanation_is_of_the_domain_that_failed_it);
	tcase_add_test(t, the_field_says_what_was_decided_of_whom_and_why);
	tcase_add_test(t, nothing_that_is_said_breaks_the_field);
	tcase_add_test(t, who_has_no_address_of_the_internet_gets_none);
	tcase_add_test(t, what_takes_too_long_is_temporary);
	suite_add_tcase(s, t);
	return s;
}
