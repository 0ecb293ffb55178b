/* DMARC: records, authors, and tables of an invented DNS with the verdict (RFC 9989, RFC 7489). */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/suffix.h"
#include "policy/dmarc.h"

/* ---- records */

/* "p sp np adkim aspf psd t pct fo ri", or what is wrong. */
static const char *print(const char *text)
{
	static char out[200];
	struct dmarc_record r;
	const char *wrong = dmarc_record_parse(str_of(text), &r);

	if (wrong)
		return wrong;
	snprintf(out, sizeof out, "%s,%s,%s %c%c %c%c %u %u %u", dmarc_policy_name(r.p), dmarc_policy_name(r.sp), dmarc_policy_name(r.np),
		r.strict_dkim ? 's' : 'r', r.strict_spf ? 's' : 'r', r.psd, r.testing ? 'y' : 'n', r.pct, r.fo, r.ri);
	return out;
}

START_TEST(a_record_is_read_as_its_grammar_wants)
{
	static const char missing[] = "it says no policy (p=)", bad[] = "it says neither none, quarantine nor reject",
		twice[] = "it says the same tag twice", none[] = "it does not begin with v=DMARC1";
	static const struct { const char *text, *out; } rows[] = {
		{ "v=DMARC1; p=none", "none,, rr un 100 1 86400" },
		{ "v=DMARC1;p=reject;", "reject,, rr un 100 1 86400" },
		{ "v = DMARC1 ; p = Reject ; sp=QUARANTINE;np=none", "reject,quarantine,none rr un 100 1 86400" },
		{ "v=DMARC1; sp=none; p=reject", "reject,none, rr un 100 1 86400" },    /* any order behind v */
		{ "v=DMARC1; p=quarantine; adkim=s; aspf=S; psd=y; t=y; pct=5; fo=1:d:s; ri=3600", "quarantine,, ss yy 5 14 3600" },
		{ "v=DMARC1;; p=none;", "none,, rr un 100 1 86400" },
		/* What is not known or makes no sense does not count. */
		{ "v=DMARC1; p=none; x=y; bogus; =; a=; adkim=x; aspf=; psd=z; t=maybe; pct=101; fo=2; ri=-1", "none,, rr un 100 1 86400" },
		{ "v=DMARC1; p=none; pct=1e1; fo=0:x; ri=99999999999", "none,, rr un 100 1 86400" },
		{ "v=DMARC1; p=none; x=1; x=2", "none,, rr un 100 1 86400" },
		{ "v=DMARC1; p=reject; adkim=s\x01", "reject,, rr un 100 1 86400" },
		{ "v=DMARC1; p=reject; \xc3\xbc=s", "reject,, rr un 100 1 86400" },
		/* No policy, or one that is none: reports alone keep the record alive (4.10.1). */
		{ "v=DMARC1", missing },
		{ "v=DMARC1; sp=reject", missing },
		{ "v=DMARC1; p=", bad },
		{ "v=DMARC1; p=no", bad },
		{ "v=DMARC1; p=reject; sp=all", bad },
		{ "v=DMARC1; p=reject; np=;", bad },
		{ "v=DMARC1; p=re\xc3\xbcject", bad },
		{ "v=DMARC1; rua=mailto:a@x.test", "none,, rr un 100 1 86400" },
		{ "v=DMARC1; p=oh; sp=reject; rua=mailto:a@x.test", "none,, rr un 100 1 86400" },
		{ "v=DMARC1; p=reject; sp=oh; rua=https://x.test/", "none,, rr un 100 1 86400" },
		{ "v=DMARC1; p=oh; rua=a@x.test", bad },
		{ "v=DMARC1; p=oh; rua=mailto:", bad },
		/* The tag list of DKIM: a name twice, and it has no meaning. */
		{ "v=DMARC1; p=none; p=reject", twice },
		{ "v=DMARC1; p=none; P=none", twice },
		{ "v=DMARC1; p=none; rua=mailto:a@x.test; rua=mailto:b@x.test", twice },
		{ "v=DMARC1; p=none; v=DMARC1", "it says v= twice" },
		/* Not a record at all. */
		{ "", none }, { "v=DMARC", none }, { "v=dmarc1; p=none", none }, { "v=DMARC1 p=none", none }, { "v=DMARC12; p=none", none },
		{ " v=DMARC1; p=none", none }, { "p=none; v=DMARC1", none }, { "v=spf1 -all", none }, { "vv=DMARC1; p=none", none },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		ck_assert_msg(!strcmp(print(rows[i].text), rows[i].out), "\"%s\": %s", rows[i].text, print(rows[i].text));
}
END_TEST

START_TEST(a_record_that_is_too_long_has_no_meaning)
{
	static char text[DMARC_RECORD_MAX + 2] = "v=DMARC1; p=reject; x=";

	memset(text + strlen(text), 'a', DMARC_RECORD_MAX - strlen(text));
	ck_assert_str_eq(print(text), "reject,, rr un 100 1 86400");
	text[DMARC_RECORD_MAX] = 'a';
	ck_assert_str_eq(print(text), "it is too long");
}
END_TEST

START_TEST(addresses_for_reports_are_taken_from_their_list)
{
	static const struct { const char *list, *out; } rows[] = {
		{ "mailto:a@x.test", "a@x.test/0 " },
		{ "mailto:a@x.test!10m , MAILTO:b@x.test!1K", "a@x.test/10485760 b@x.test/1024 " },
		{ "mailto:a@x.test!5,mailto:b@x.test!1g,mailto:c@x.test!2t", "a@x.test/5 b@x.test/1073741824 c@x.test/2199023255552 " },
		{ "mailto:a@x.test!99999999999999999999t,mailto:b@x.test!x,mailto:c@x.test!", "a@x.test/0 b@x.test/0 c@x.test/0 " },
		{ "https://x.test/,mailto:a@x.test", "a@x.test/0 " },
		{ "mailto:a%2Db@x.test?subject=hi", "a-b@x.test/0 " },
		{ "mailto:a%2Cb@x.test", "" },
		{ "mailto:a%2,mailto:a%00@x.test,mailto:a%0A@x.test,mailto:a%zz@x.test,mailto:@,mailto:a,mailto:,,", "" },
		{ "mailto:a b@x.test,mailto:<a@x.test>,mailto:\"a\"@x.test", "" },
		{ "mailto:a@x.test,mailto:b@x.test", "a@x.test/0 b@x.test/0 " },
		{ "", "" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct str list = str_of(rows[i].list);
		char out[400] = "";
		struct dmarc_uri u;

		while (dmarc_uri_next(&list, &u))
			snprintf(out + strlen(out), sizeof out - strlen(out), "%s/%llu ", u.address, (unsigned long long)u.size_max);
		ck_assert_msg(!strcmp(out, rows[i].out), "\"%s\": %s", rows[i].list, out);
	}
}
END_TEST

/* ---- From */

/* In pieces of `step` octets. */
static void read_header(const char *header, size_t step, struct dmarc_author *out)
{
	struct dmarc_reader r;
	size_t n = strlen(header);

	dmarc_read_begin(&r);
	for (size_t i = 0; i < n; i += step)
		dmarc_read(&r, (struct str){ header + i, n - i < step ? n - i : step });
	dmarc_read_end(&r, out);
}

/* "domain domain first fields unclear". */
static const char *read_author(const char *header, size_t step)
{
	static char out[2000];
	struct dmarc_author a;

	read_header(header, step, &a);
	*out = '\0';
	for (size_t i = 0; i < a.n; i++)
		snprintf(out + strlen(out), sizeof out - strlen(out), "%s ", a.domain[i]);
	snprintf(out + strlen(out), sizeof out - strlen(out), "<%s> %u%s%s", a.first, a.fields, a.unclear ? " " : "", a.unclear ? a.unclear : "");
	return out;
}

START_TEST(the_domains_of_from_are_found_however_it_is_written)
{
	static const char nonsense[] = " no address can be made out in From", twice[] = " there is more than one From field";
	static const struct { const char *header, *out, *wrong; } rows[] = {
		{ "From: a@x.test\r\n\r\n", "x.test <a@x.test> 1", "" },
		{ "To: z@z.test\r\nFROM:A <a@X.Test>\r\n\r\n", "x.test <a@X.Test> 1", "" },
		{ "From \t: a@x.test\r\n\r\n", "x.test <a@x.test> 1", "" },
		{ "From:\r\n A\r\n <a@\r\n x.test>\r\nTo: b\r\n\r\n", "x.test <a@x.test> 1", "" },
		{ "From: a@x.test", "x.test <a@x.test> 1", "" },
		{ "From: a@x.test, b@y.test, c@X.test\r\n\r\n", "x.test y.test <a@x.test> 1", "" },
		{ "From: g: a@x.test;\r\n\r\n", "x.test <a@x.test> 1", "" },
		{ "From: \"boss@bank.test\" <a@x.test>\r\n\r\n", "x.test <a@x.test> 1", "" },
		{ "From: boss@bank.test <a@x.test>\r\n\r\n", "x.test <a@x.test> 1", "" },
		/* As people and programs write it. */
		{ "From: a@x.test via list <l@y.test>\r\n\r\n", "y.test <l@y.test> 1", "" },
		{ "From: =?utf-8?Q?a@x=2Etest?= <l@y.test>\r\n\r\n", "y.test <l@y.test> 1", "" },
		{ "From: Team [A] <a@x.test>\r\n\r\n", "x.test <a@x.test> 1", "" },
		{ "From: A: B <a@x.test>\r\n\r\n", "x.test <a@x.test> 1", "" },
		{ "From: <a@x.test> <b@y.test>\r\n\r\n", "x.test y.test <a@x.test> 1", "" },
		{ "From: a@x.test, \"b\r\n\r\n", "x.test <a@x.test> 1", "" },
		/* No address by any grammar, and still somebody is meant. */
		{ "From: A a@x.test\r\n\r\n", "x.test <> 1", "" },
		{ "From: A <a@X.test\r\n\r\n", "x.test <> 1", "" },
		{ "From: \"A <a@x.test>\r\n\r\n", "x.test <> 1", "" },
		{ "From: a..b@x.test\r\n\r\n", "x.test <> 1", "" },
		{ "From: a@x_y.test\r\n\r\n", "x_y.test <> 1", "" },
		{ "From: a@b@x.test.\r\n\r\n", "b x.test <> 1", "" },
		/* Nobody. */
		{ "To: a@x.test\r\n\r\nFrom: b@y.test\r\n", "<> 0", "" },
		{ "X-From: a@x.test\r\nFrom-X: a@x.test\r\nFro: a@x.test\r\n\r\n", "<> 0", "" },
		{ "To: x\r\n From: a@x.test\r\n\r\n", "<> 0", "" },
		{ "From: undisclosed:;\r\n\r\n", "<> 1", "" },
		{ "From:\r\n\r\n", "<> 1", "" },
		{ "From: root\r\n\r\n", "<> 1", "" },
		{ "From: a@[192.0.2.1]\r\n\r\n", "<a@[192.0.2.1]> 1", "" },
		/* Nobody can say who. */
		{ "From: a@x.test\r\nSubject: s\r\nFrom: b@y.test\r\n\r\n", "x.test y.test <a@x.test> 2", twice },
		{ "From: a@x.test\r\nfrom : a@x.test\r\n\r\n", "x.test <a@x.test> 2", twice },
		{ "From: a@\r\n\r\n", "<> 1", nonsense },
		{ "From: A <a@>, \"@\"\r\n\r\n", "<> 1", nonsense },
		{ "From: a@\xff.test\r\n\r\n", "<> 1", " the domain in From is not a name in the DNS" },
		{ "From: a@a.test,b@b.test,c@c.test,d@d.test,e@e.test\r\n\r\n", "a.test b.test c.test d.test <a@a.test> 1", " From names too many domains" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		for (size_t step = 1; step < 100; step = step * 3 + 1) {
			const char *out = read_author(rows[i].header, step);
			size_t n = strlen(rows[i].out);

			ck_assert_msg(!strncmp(out, rows[i].out, n) && !strcmp(out + n, rows[i].wrong), "\"%s\" by %zu: %s", rows[i].header, step, out);
		}
}
END_TEST

START_TEST(a_report_is_known_by_its_subject)
{
	static const struct { const char *header; bool report; } rows[] = {
		{ "From: a@x.test\r\nSubject: Report Domain: y.test Submitter: x.test\r\n\r\n", true },
		{ "SUBJECT :\tReport\t Domain:y.test\r\n\r\n", true },
		{ "Subject: report domain: y.test\r\n\r\n", true },
		{ "Subject: Report Domain y.test\r\n\r\n", false },
		{ "Subject: Re: Report Domain: y.test\r\n\r\n", false },
		{ "Subject: Rep\r\nSubjects: Report Domain: y.test\r\n\r\n", false },
		{ "X-Subject: Report Domain: y.test\r\nSubjec: Report Domain: y.test\r\n\r\n", false },
		{ "Sender: Report Domain: y.test\r\nSubject:\r\n\r\n", false },
		{ "Subject: s\r\n\r\nSubject: Report Domain: y.test\r\n", false },
		{ "Subject", false },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		for (size_t step = 1; step < 100; step = step * 3 + 1) {
			struct dmarc_author a;

			read_header(rows[i].header, step, &a);
			ck_assert_msg(a.report == rows[i].report, "\"%s\" by %zu", rows[i].header, step);
		}
}
END_TEST

START_TEST(a_from_without_end_costs_no_memory)
{
	static char line[1000];
	struct dmarc_reader r;
	struct dmarc_author a;

	memset(line, 'a', sizeof line);
	dmarc_read_begin(&r);
	dmarc_read(&r, STR("From: "));
	for (size_t i = 0; i < 1000; i++)
		dmarc_read(&r, (struct str){ line, sizeof line });
	ck_assert_uint_le(r.from.room, 2 * DMARC_FROM_MAX);
	dmarc_read_end(&r, &a);
	ck_assert_str_eq(a.unclear, "From is too long");
}
END_TEST

/* ---- an invented DNS: "NAME text" is a TXT record; "NAME" alone exists; "NAME !" cannot be found out */
enum { PENDING = DMARC_LOOKUPS };

static const char *const *zone;
static struct { struct fact_ticket *ticket; char name[300]; size_t n; } asked[PENDING];
static size_t nasked, nanswered;

static void ask(struct fact_source *source, enum fact_kind kind, struct str name, struct fact_ticket *ticket)
{
	(void)source;
	(void)kind;
	ck_assert_uint_lt(nasked, PENDING);
	ck_assert_uint_le(name.n, sizeof asked[0].name);
	asked[nasked].ticket = ticket;
	memcpy(asked[nasked].name, name.p, name.n);
	asked[nasked++].n = name.n;
}
static struct fact_source world = { .ask = ask };
static void nothing(struct task *t) { (void)t; }
static struct task wake = { .run = nothing };

/* As deep names exist, those above them do. */
static void answer_one(void)
{
	struct record r[8];
	struct fact f = { .outcome = NO_NAME, .record = r };
	struct str name = { asked[nanswered].name, asked[nanswered].n };

	for (size_t i = 0; zone[i]; i++) {
		struct str rest = str_of(zone[i]), owner;

		ck_assert(str_word(&rest, &owner));
		if (!str_eq_nocase(owner, name)) {
			if (f.outcome == NO_NAME && owner.n > name.n && owner.p[owner.n - name.n - 1] == '.' && str_ends_nocase(owner, name))
				f.outcome = NO_DATA;
			continue;
		}
		rest = str_trim(rest);
		if (str_eq(rest, STR("!")))
			f = (struct fact){ .outcome = UNKNOWN, .why = "SERVFAIL from 127.0.0.1" };
		else if (f.outcome != UNKNOWN && rest.n)
			r[f.n++].data = rest, f.outcome = FOUND;
		else if (f.outcome == NO_NAME)
			f.outcome = NO_DATA;
	}
	fact_answer(asked[nanswered++].ticket, &f);
}

/* "spf=pass:a.test dkim=pass:b.test dkim=temp:c.test"; two stand for every result that is neither. */
static void set_ids(struct dmarc_query *q, const char *text)
{
	struct str rest = str_of(text), word;

	while (str_word(&rest, &word)) {
		struct str head, result;
		struct dmarc_id id;

		ck_assert(str_cut(&word, '=', &head) && str_cut(&word, ':', &result));
		id = (struct dmarc_id){ word, str_eq(result, STR("pass")) ? DMARC_AUTH_PASS : str_eq(result, STR("temp")) ? DMARC_AUTH_TEMPERROR : DMARC_AUTH_NO };
		if (str_eq(head, STR("spf")))
			q->spf = id;
		else
			q->dkim[q->ndkim++] = id;
	}
}

static struct dmarc_result result;

/* "pass", "fail reject", "fail none p=reject", with "retry"; then the domain of the record and the organization. */
static const char *check(const char *from, const char *ids, unsigned sample, const char *const *records)
{
	static char out[800];
	struct dmarc_reader reader;
	struct dmarc_author author;
	struct dmarc_query q = { .author = &author, .sample = sample };
	struct facts *facts = facts_new(&wake, DMARC_LOOKUPS);
	char header[400];

	snprintf(header, sizeof header, "From: %s\r\n\r\n", from);
	dmarc_read_begin(&reader);
	dmarc_read(&reader, str_of(header));
	dmarc_read_end(&reader, &author);
	set_ids(&q, ids);
	zone = records;
	nasked = nanswered = 0;
	facts_source(FACT_TXT, &world);
	facts_source(FACT_A, &world);
	while (dmarc_check(facts, &q, &result) == WAIT) {
		ck_assert_uint_lt(nanswered, nasked);
		while (nanswered < nasked)
			answer_one();
	}
	facts_free(facts);
	while (nanswered < nasked)
		answer_one();
	snprintf(out, sizeof out, "%s%s%s%s%s%s%s at=%s org=%s", dmarc_name(result.code), result.code == DMARC_FAIL ? " " : "",
		result.code == DMARC_FAIL ? dmarc_policy_name(result.policy) : "", result.override ? " " : "", dmarc_override_name(result.override),
		result.retry ? " retry" : "", result.unclear ? " unclear" : "", result.policy_domain, result.organization);
	return out;
}

struct row {
	const char *from, *ids, *out;
	const char *records[12];
};

static void try_rows(const struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const char *out = check(rows[i].from, rows[i].ids, 50, rows[i].records);

		ck_assert_msg(!strcmp(out, rows[i].out), "%s with %s: %s (%s)", rows[i].from, rows[i].ids, out, result.why);
	}
}
#define TRY(rows) try_rows(rows, sizeof rows / sizeof *rows)

#define REJECT(name) "_dmarc." name " v=DMARC1; p=reject"

/* RFC 7489 B.1, RFC 9989 B.1. */
START_TEST(alignment_is_strict_or_relaxed_as_in_the_examples)
{
	static const struct row rows[] = {
		{ "sender@example.com", "spf=pass:example.com", "pass at=example.com org=example.com", { REJECT("example.com") } },
		{ "sender@example.com", "spf=pass:child.example.com", "pass at=example.com org=example.com", { REJECT("example.com") } },
		{ "sender@child.example.com", "spf=pass:example.com", "pass at=example.com org=example.com", { REJECT("example.com") } },
		{ "sender@example.com", "spf=pass:example.net", "fail reject at=example.com org=example.com", { REJECT("example.com") } },
		{ "sender@example.com", "dkim=pass:example.com", "pass at=example.com org=example.com", { REJECT("example.com") } },
		{ "sender@child.example.com", "dkim=pass:example.com", "pass at=example.com org=example.com", { REJECT("example.com") } },
		{ "sender@example.com", "dkim=pass:sample.net", "fail reject at=example.com org=example.com", { REJECT("example.com") } },
		{ "sender@example.com", "spf=no:example.com dkim=no:example.com", "fail reject at=example.com org=example.com", { REJECT("example.com") } },
		{ "sender@example.com", "spf=pass:EXAMPLE.com", "pass at=example.com org=example.com", { "_dmarc.example.com v=DMARC1; p=reject; aspf=s; adkim=s" } },
		{ "sender@example.com", "spf=pass:child.example.com", "fail reject at=example.com org=example.com", { "_dmarc.example.com v=DMARC1; p=reject; aspf=s" } },
		{ "sender@example.com", "dkim=pass:child.example.com", "fail reject at=example.com org=example.com", { "_dmarc.example.com v=DMARC1; p=reject; adkim=s" } },
		{ "sender@example.com", "dkim=pass:child.example.com", "pass at=example.com org=example.com", { "_dmarc.example.com v=DMARC1; p=reject; aspf=s" } },
		{ "sender@example.com", "spf=no:x.test dkim=no:example.com dkim=pass:y.test dkim=pass:example.com", "pass at=example.com org=example.com", { REJECT("example.com") } },
		{ "a@notexample.com", "dkim=pass:example.com", "fail reject at=notexample.com org=notexample.com", { REJECT("notexample.com"), REJECT("example.com") } },
		{ "a@example.com", "dkim=pass:notexample.com", "fail reject at=example.com org=example.com", { REJECT("notexample.com"), REJECT("example.com") } },
		{ "a@example.com", "dkim=pass:com", "fail reject at=example.com org=example.com", { REJECT("example.com"), REJECT("com") } },
	};

	TRY(rows);
}
END_TEST

/* RFC 9989 B.4. */
START_TEST(the_tree_is_walked_as_in_the_examples)
{
	static const struct row rows[] = {
		{ "a@example.com", "dkim=pass:signing.example.com", "pass at=example.com org=example.com", { REJECT("example.com"), REJECT("signing.example.com") } },
		{ "a@a.b.c.d.e.f.g.h.i.j.k.example.com", "spf=pass:example.com", "pass at=example.com org=example.com", { REJECT("example.com"), REJECT("signing.example.com") } },
		{ "a@a.b.c.d.e.f.g.h.i.j.k.example.com", "dkim=pass:signing.example.com", "pass at=example.com org=example.com", { REJECT("example.com"), REJECT("signing.example.com") } },
		{ "a@giant.bank.example", "spf=pass:mail.giant.bank.example", "pass at=giant.bank.example org=giant.bank.example",
			{ "_dmarc.bank.example v=DMARC1; p=none; psd=y", REJECT("giant.bank.example") } },
		{ "a@giant.bank.example", "dkim=pass:mail.mega.bank.example", "fail reject at=giant.bank.example org=giant.bank.example",
			{ "_dmarc.bank.example v=DMARC1; p=none; psd=y", REJECT("giant.bank.example") } },
		/* 4.10.2: the organization of a.mail.example.com. */
		{ "x@a.mail.example.com", "", "fail reject at=example.com org=example.com", { REJECT("example.com"), "_dmarc.mail.example.com v=DMARC1; p=none" } },
		{ "x@a.mail.example.com", "", "fail none at=mail.example.com org=mail.example.com", { REJECT("example.com"), "_dmarc.mail.example.com v=DMARC1; p=none; psd=n" } },
		{ "x@a.mail.example.com", "", "fail reject at=com org=example.com", { "_dmarc.com v=DMARC1; p=reject; psd=y" } },
		/* A boundary that is said is kept, in both directions. */
		{ "x@a.mail.example.com", "dkim=pass:example.com", "fail none at=mail.example.com org=mail.example.com", { REJECT("example.com"), "_dmarc.mail.example.com v=DMARC1; p=none; psd=n" } },
		{ "x@example.com", "dkim=pass:a.mail.example.com", "fail reject at=example.com org=example.com", { REJECT("example.com"), "_dmarc.mail.example.com v=DMARC1; p=none; psd=n" } },
		{ "x@a.example.com", "dkim=pass:b.example.com", "fail reject at=a.example.com org=a.example.com", { REJECT("a.example.com") } },
		{ "x@a.example.com", "dkim=pass:b.example.com", "pass at=a.example.com org=example.com", { REJECT("a.example.com"), "_dmarc.example.com v=DMARC1; p=none" } },
		/* The registry itself, and what it has left alone. */
		{ "x@bank.example", "dkim=pass:giant.bank.example", "fail reject at=bank.example org=bank.example", { "_dmarc.bank.example v=DMARC1; p=reject; psd=y" } },
		{ "x@a.giant.bank.example", "", "fail reject at=bank.example org=giant.bank.example", { "_dmarc.bank.example v=DMARC1; p=reject; psd=y" } },
		{ "x@localhost", "dkim=pass:localhost", "pass at=localhost org=localhost", { REJECT("localhost") } },
		{ "x@nothing.example.com", "dkim=pass:example.com", "none at= org=example.com", { "example.com" } },
	};

	TRY(rows);
	check("x@a.b.c.d.e.f.g.h.i.j.mail.example.com", "", 0, (const char *[]){ "com", NULL });
	ck_assert_uint_eq(nasked, 8);
	ck_assert(!memcmp(asked[0].name, "_dmarc.a.b.c.d.e.f.g.h.i.j.mail.example.com", asked[0].n));
	ck_assert(!memcmp(asked[1].name, "_dmarc.g.h.i.j.mail.example.com", asked[1].n));
	ck_assert(!memcmp(asked[7].name, "_dmarc.com", asked[7].n));
	check("x@a.b.c.d.e.f.g.h", "", 0, (const char *[]){ NULL });
	ck_assert_uint_eq(nasked, 8);
}
END_TEST

START_TEST(a_public_suffix_is_no_organization_even_when_its_record_does_not_say_so)
{
	static const struct row rows[] = {
		{ "x@a.gov.uk", "dkim=pass:b.gov.uk", "fail reject at=a.gov.uk org=a.gov.uk", { REJECT("a.gov.uk"), "_dmarc.gov.uk v=DMARC1; p=none" } },
		{ "x@a.gov.uk", "dkim=pass:b.gov.uk", "fail none at=gov.uk org=a.gov.uk", { "_dmarc.gov.uk v=DMARC1; p=none" } },
		{ "x@a.gov.uk", "dkim=pass:b.gov.uk", "pass at=gov.uk org=gov.uk", { "_dmarc.gov.uk v=DMARC1; p=none; psd=n" } },
		{ "x@gov.uk", "dkim=pass:gov.uk", "pass at=gov.uk org=gov.uk", { "_dmarc.gov.uk v=DMARC1; p=none" } },
		{ "x@me.github.io", "dkim=pass:you.github.io", "fail reject at=me.github.io org=me.github.io", { REJECT("me.github.io"), REJECT("github.io") } },
	};

	if (suffix_available())
		TRY(rows);
}
END_TEST

START_TEST(the_policy_comes_from_the_tag_for_that_name)
{
	static const struct row rows[] = {
		{ "x@a.test", "", "fail reject at=a.test org=a.test", { "_dmarc.a.test v=DMARC1; p=reject; sp=none; np=quarantine" } },
		{ "x@sub.a.test", "", "fail none at=a.test org=a.test", { "_dmarc.a.test v=DMARC1; p=reject; sp=none; np=quarantine", "sub.a.test" } },
		{ "x@sub.a.test", "", "fail quarantine at=a.test org=a.test", { "_dmarc.a.test v=DMARC1; p=reject; sp=none; np=quarantine" } },
		{ "x@sub.a.test", "", "fail none at=a.test org=a.test", { "_dmarc.a.test v=DMARC1; p=reject; sp=none" } },
		{ "x@sub.a.test", "", "fail reject at=a.test org=a.test", { "_dmarc.a.test v=DMARC1; p=reject; np=none", "sub.a.test" } },
		{ "x@sub.a.test", "", "fail none at=a.test org=a.test", { "_dmarc.a.test v=DMARC1; p=reject; np=none" } },
		{ "x@sub.a.test", "", "fail none at=a.test org=a.test", { "_dmarc.a.test v=DMARC1; p=reject; np=none", "deep.x.test" } },
		{ "x@sub.a.test", "", "fail reject at=a.test org=a.test", { "_dmarc.a.test v=DMARC1; p=reject; np=none", "deep.sub.a.test" } },
		{ "x@sub.a.test", "", "temperror retry at=a.test org=a.test", { "_dmarc.a.test v=DMARC1; p=reject; np=none", "sub.a.test !" } },
		{ "x@sub.a.test", "", "fail reject at=a.test org=a.test", { "_dmarc.a.test v=DMARC1; p=reject; np=reject", "sub.a.test !" } },
		{ "x@sub.a.test", "spf=pass:a.test", "pass at=a.test org=a.test", { "_dmarc.a.test v=DMARC1; p=reject; np=none", "sub.a.test !" } },
		/* Its own record, whatever stands above it; sp= there is for those below. */
		{ "x@sub.a.test", "", "fail none at=sub.a.test org=a.test", { REJECT("a.test"), "_dmarc.sub.a.test v=DMARC1; p=none; sp=reject" } },
		/* t= and pct=: one less. */
		{ "x@a.test", "", "fail quarantine policy_test_mode at=a.test org=a.test", { "_dmarc.a.test v=DMARC1; p=reject; t=y" } },
		{ "x@a.test", "", "fail none policy_test_mode at=a.test org=a.test", { "_dmarc.a.test v=DMARC1; p=quarantine; t=y; pct=0" } },
		{ "x@a.test", "", "fail none at=a.test org=a.test", { "_dmarc.a.test v=DMARC1; p=none; t=y; pct=0" } },
		{ "x@a.test", "", "fail quarantine sampled_out at=a.test org=a.test", { "_dmarc.a.test v=DMARC1; p=reject; pct=50" } },
		{ "x@a.test", "", "fail reject at=a.test org=a.test", { "_dmarc.a.test v=DMARC1; p=reject; pct=51" } },
		{ "x@a.test", "spf=pass:a.test", "pass at=a.test org=a.test", { "_dmarc.a.test v=DMARC1; p=reject; pct=0" } },
	};

	TRY(rows);
}
END_TEST

START_TEST(a_record_that_is_none_is_none_and_one_without_meaning_is_an_error)
{
	static const struct row rows[] = {
		{ "x@a.test", "spf=pass:a.test", "none at= org=a.test", { "a.test" } },
		{ "x@a.test", "", "none at= org=a.test", { REJECT("a.test"), REJECT("a.test") } },
		{ "x@a.test", "", "fail reject at=a.test org=a.test", { REJECT("a.test"), "_dmarc.a.test v=spf1 -all" } },
		{ "x@a.test", "spf=pass:a.test", "permerror at= org=a.test", { "_dmarc.a.test v=DMARC1; p=all" } },
		{ "x@sub.a.test", "", "permerror at= org=a.test", { "_dmarc.a.test v=DMARC1; p=all" } },
		{ "x@sub.a.test", "", "permerror at= org=a.test", { "_dmarc.sub.a.test v=DMARC1; p=all", REJECT("a.test") } },
		{ "x@b.sub.a.test", "", "fail reject at=a.test org=a.test", { "_dmarc.sub.a.test v=DMARC1; p=all", REJECT("a.test") } },
		{ "x@a.test", "", "fail none at=a.test org=a.test", { "_dmarc.a.test v=DMARC1; p=all; rua=mailto:a@a.test" } },
	};

	TRY(rows);
}
END_TEST

START_TEST(what_cannot_be_found_out_is_no_failure)
{
	static const struct row rows[] = {
		{ "x@a.test", "", "temperror retry at= org=", { "_dmarc.a.test !" } },
		{ "x@sub.a.test", "", "temperror retry at= org=", { "_dmarc.a.test !" } },
		/* The very same domain is enough, whatever the record says. */
		{ "x@a.test", "spf=pass:a.test", "temperror at= org=", { "_dmarc.a.test !" } },
		{ "x@a.test", "dkim=no:a.test dkim=pass:A.test", "temperror at= org=", { "_dmarc.a.test !" } },
		{ "x@sub.a.test", "dkim=pass:a.test", "temperror retry at= org=", { "_dmarc.a.test !" } },
		{ "x@a.test, y@b.test", "spf=pass:a.test", "temperror retry at= org=", { "_dmarc.a.test !", "_dmarc.b.test !" } },
		{ "x@sub.a.test", "", "temperror retry at= org=", { "_dmarc.sub.a.test !", REJECT("a.test") } },
		{ "x@sub.a.test", "spf=pass:a.test", "temperror retry at=sub.a.test org=", { "_dmarc.a.test !", REJECT("sub.a.test") } },
		{ "x@sub.a.test", "spf=pass:sub.a.test", "pass at=sub.a.test org=", { "_dmarc.a.test !", REJECT("sub.a.test") } },
		{ "x@sub.a.test", "spf=pass:b.test", "fail reject at=sub.a.test org=", { "_dmarc.a.test !", REJECT("sub.a.test") } },
		{ "x@a.test", "", "fail reject at=a.test org=a.test", { REJECT("a.test"), "_dmarc.test !" } },
		/* Of those that may speak for it. */
		{ "x@a.test", "spf=temp:a.test", "temperror retry at=a.test org=a.test", { REJECT("a.test") } },
		{ "x@a.test", "dkim=temp:a.test", "temperror retry at=a.test org=a.test", { REJECT("a.test") } },
		{ "x@a.test", "dkim=temp:a.test", "temperror at=a.test org=a.test", { "_dmarc.a.test v=DMARC1; p=none" } },
		{ "x@a.test", "dkim=temp:a.test spf=pass:a.test", "pass at=a.test org=a.test", { REJECT("a.test") } },
		{ "x@a.test", "spf=temp:a.test dkim=pass:a.test", "pass at=a.test org=a.test", { REJECT("a.test") } },
		{ "x@a.test", "spf=temp:b.test dkim=temp:c.test", "fail reject at=a.test org=a.test", { REJECT("a.test") } },
		{ "x@a.test", "dkim=pass:b.sub.a.test", "temperror retry at=a.test org=a.test", { REJECT("a.test"), "_dmarc.sub.a.test !" } },
	};

	TRY(rows);
}
END_TEST

START_TEST(of_several_authors_the_worst_decides)
{
	static const struct row rows[] = {
		{ "x@a.test, y@b.test", "spf=pass:a.test", "fail reject at=b.test org=b.test", { "_dmarc.a.test v=DMARC1; p=none", REJECT("b.test") } },
		{ "y@b.test, x@a.test", "spf=pass:a.test", "fail reject at=b.test org=b.test", { "_dmarc.a.test v=DMARC1; p=none", REJECT("b.test") } },
		{ "x@a.test, y@b.test", "spf=pass:a.test dkim=pass:b.test", "pass at=a.test org=a.test", { REJECT("a.test"), REJECT("b.test") } },
		{ "x@a.test, y@b.test", "spf=pass:a.test", "none at= org=b.test", { REJECT("a.test") } },
		{ "x@a.test, y@b.test", "", "temperror retry at= org=", { "_dmarc.a.test v=DMARC1; p=quarantine", "_dmarc.b.test !" } },
		{ "undisclosed:;", "spf=pass:a.test", "none at= org=", { REJECT("a.test") } },
		{ "a@x.test <b@y.test> <c@z.test>", "spf=pass:y.test", "fail reject at=z.test org=z.test", { REJECT("z.test") } },
		{ "b@", "spf=pass:y.test", "permerror unclear at= org=", { REJECT("z.test") } },
	};

	TRY(rows);
}
END_TEST

START_TEST(a_stranger_makes_us_ask_a_bounded_number_of_questions)
{
	static const char *const records[] = { REJECT("a.test"), "_dmarc.b.test !", REJECT("c.test"), REJECT("d.test"), NULL };
	char ids[2000] = "spf=pass:1.1.1.1.1.1.1.1.1.a.test";

	for (int i = 0; i < DMARC_SIGNATURES; i++)
		snprintf(ids + strlen(ids), sizeof ids - strlen(ids), " dkim=pass:1.2.3.4.5.6.7.8.9.x%d.%c.test", i, 'a' + i % 4);
	check("x@1.2.3.4.5.6.7.8.a.test, x@1.2.3.4.5.6.7.8.b.test, x@1.2.3.4.5.6.7.8.c.test, x@1.2.3.4.5.6.7.8.d.test", ids, 0, records);
	ck_assert_uint_le(nasked, DMARC_LOOKUPS);
}
END_TEST

START_TEST(addresses_for_reports_are_kept_whole)
{
	static char record[2000] = "_dmarc.a.test v=DMARC1; p=none; rua=mailto:x@a.test";
	const char *records[] = { record, NULL };
	struct dmarc_uri u;
	struct str list;
	size_t n = 0;

	for (int i = 0; i < 60; i++)
		snprintf(record + strlen(record), sizeof record - strlen(record), ", mailto:number%d@reports.test", i);
	check("x@a.test", "", 0, records);
	list = str_of(result.rua);
	while (dmarc_uri_next(&list, &u))
		n++;
	ck_assert_uint_gt(n, 30);
	ck_assert(str_ends_nocase(str_of(u.address), STR("@reports.test")));
}
END_TEST

START_TEST(a_question_that_waits_too_long_is_a_temporary_error)
{
	struct dmarc_author a = { .n = 1, .domain = { "a.test" }, .fields = 1 };
	struct dmarc_query q = { .author = &a };

	dmarc_late(&q, &result);
	ck_assert_int_eq(result.code, DMARC_TEMPERROR);
	ck_assert(result.retry);
	ck_assert_str_eq(result.domain, "a.test");
}
END_TEST

Suite *policy_dmarc_suite(void);
Suite *policy_dmarc_suite(void)
{
	Suite *s = suite_create("policy_dmarc");
	TCase *t = tcase_create("dmarc");

	tcase_add_test(t, a_record_is_read_as_its_grammar_wants);
	tcase_add_test(t, a_record_that_is_too_long_has_no_meaning);
	tcase_add_test(t, addresses_for_reports_are_taken_from_their_list);
	tcase_add_test(t, the_domains_of_from_are_found_however_it_is_written);
	tcase_add_test(t, a_report_is_known_by_its_subject);
	tcase_add_test(t, a_from_without_end_costs_no_memory);
	tcase_add_test(t, alignment_is_strict_or_relaxed_as_in_the_examples);
	tcase_add_test(t, the_tree_is_walked_as_in_the_examples);
	tcase_add_test(t, a_public_suffix_is_no_organization_even_when_its_record_does_not_say_so);
	tcase_add_test(t, the_policy_comes_from_the_tag_for_that_name);
	tcase_add_test(t, a_record_that_is_none_is_none_and_one_without_meaning_is_an_error);
	tcase_add_test(t, what_cannot_be_found_out_is_no_failure);
	tcase_add_test(t, of_several_authors_the_worst_decides);
	tcase_add_test(t, a_stranger_makes_us_ask_a_bounded_number_of_questions);
	tcase_add_test(t, addresses_for_reports_are_kept_whole);
	tcase_add_test(t, a_question_that_waits_too_long_is_a_temporary_error);
	suite_add_tcase(s, t);
	return s;
}
