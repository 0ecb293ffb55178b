/* DNS: the parser against packets made by hand, the lookups against a fake resolver in the same loop. */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dns.h"
#include "lib/log.h"
#include "tests/fakedns.h"

/* ---- packets made by hand */

enum { A = 1, NS = 2, CNAME = 5, SOA = 6, PTR = 12, MX = 15, TXT = 16, AAAA = 28, SRV = 33, OPT = 41, RRSIG = 46, TLSA = 52 };
enum section { ANSWER = 6, AUTHORITY = 8, ADDITIONAL = 10 };

struct packet {
	unsigned char p[70000];
	size_t n;
};

static void put(struct packet *k, const void *p, size_t n)
{
	memcpy(k->p + k->n, p, n);
	k->n += n;
}

static void put16(struct packet *k, unsigned x) { put(k, (unsigned char[]){ (unsigned char)(x >> 8), (unsigned char)x }, 2); }
static void put_name(struct packet *k, const char *name)
{
	while (*name) {
		size_t n = strcspn(name, ".");
		put(k, &(unsigned char){ (unsigned char)n }, 1);
		put(k, name, n);
		name += n + (name[n] == '.');
	}
	put(k, "", 1);
}

/* A reply (QR, RD, RA) with its question. */
static void begin(struct packet *k, const char *name, unsigned type)
{
	k->n = 0;
	put(k, "\x12\x34\x81\x80\0\1\0\0\0\0\0\0", 12);
	put_name(k, name);
	put16(k, type);
	put16(k, 1);
}

static void count(struct packet *k, enum section s)
{
	if (!++k->p[s + 1])
		k->p[s]++;
}

static void record(struct packet *k, enum section s, const char *name, unsigned type, unsigned long ttl, const void *data, size_t n)
{
	put_name(k, name);
	put16(k, type);
	put16(k, 1);
	put16(k, (unsigned)(ttl >> 16));
	put16(k, (unsigned)ttl);
	put16(k, (unsigned)n);
	put(k, data, n);
	count(k, s);
}

static void name_record(struct packet *k, const char *name, unsigned type, int preference, const char *target)
{
	static struct packet d;

	d.n = 0;
	if (preference >= 0)
		put16(&d, (unsigned)preference);
	put_name(&d, target);
	record(k, ANSWER, name, type, 300, d.p, d.n);
}

static void soa(struct packet *k, unsigned long ttl, unsigned minimum)
{
	unsigned char d[22] = { [20] = (unsigned char)(minimum >> 8), [21] = (unsigned char)minimum };

	record(k, AUTHORITY, "test", SOA, ttl, d, sizeof d);
}

static struct packet k;
static struct dns_answer a;
static char store[DNS_STORE];

/* Parsed from a block of just its size, so that a sanitizer sees a step too far. */
static bool parse(const char *name, enum fact_kind kind)
{
	unsigned char *copy = malloc(k.n ? k.n : 1);
	bool ok;

	ck_assert_ptr_nonnull(copy);
	memcpy(copy, k.p, k.n);
	memset(&a, 0x5a, sizeof a);
	ok = dns_parse(copy, k.n, str_of(name), kind, &a, store, sizeof store);
	free(copy);
	return ok;
}

static void assert_data(size_t i, const char *expected)
{
	ck_assert_uint_lt(i, a.n);
	ck_assert_uint_eq(a.record[i].data.n, strlen(expected));
	ck_assert_mem_eq(a.record[i].data.p, expected, strlen(expected));
}

START_TEST(records_of_every_kind_are_understood)
{
	begin(&k, "a.test", A);
	record(&k, ANSWER, "A.Test", A, 300, "\x7f\0\0\1", 4);
	record(&k, ANSWER, "a.test", A, 100, "\x7f\0\0\2", 4);
	ck_assert(parse("a.TEST.", FACT_A));
	ck_assert_int_eq(a.outcome, FOUND);
	ck_assert_uint_eq(a.n, 2);
	ck_assert_mem_eq(a.record[0].data.p, "\x7f\0\0\1", 4);
	ck_assert_mem_eq(a.record[1].data.p, "\x7f\0\0\2", 4);
	ck_assert_uint_eq(a.ttl, 100);
	ck_assert(!a.secure && !a.truncated && a.rcode == 0);

	begin(&k, "a.test", AAAA);
	record(&k, ANSWER, "a.test", AAAA, 300, "0123456789abcdef", 16);
	k.p[3] |= 0x20;
	ck_assert(parse("a.test", FACT_AAAA));
	assert_data(0, "0123456789abcdef");
	ck_assert(a.secure);

	begin(&k, "a.test", MX);
	name_record(&k, "a.test", MX, 20, "Mx2.A.test");
	name_record(&k, "a.test", MX, 10, "_mx-1.a.test");
	ck_assert(parse("a.test", FACT_MX));
	assert_data(0, "mx2.a.test");
	assert_data(1, "_mx-1.a.test");
	ck_assert_int_eq(a.record[0].priority, 20);
	ck_assert_int_eq(a.record[1].priority, 10);

	begin(&k, "a.test", MX);
	name_record(&k, "a.test", MX, 0, "");
	ck_assert(parse("a.test", FACT_MX));
	assert_data(0, "");

	begin(&k, "a.test", TXT);
	record(&k, ANSWER, "a.test", TXT, 300, "\3v=s\2pf\0", 8);
	record(&k, ANSWER, "a.test", TXT, 300, "\1 ", 2);
	ck_assert(parse("a.test", FACT_TXT));
	assert_data(0, "v=spf");
	assert_data(1, " ");

	begin(&k, "_submission._tcp.a.test", SRV);
	record(&k, ANSWER, "_submission._tcp.a.test", SRV, 300, "\0\1\0\2\2\113\4Mail\1a\4test\0", 19);
	record(&k, ANSWER, "_submission._tcp.a.test", SRV, 300, "\0\0\0\0\0\0\0", 7);
	ck_assert(parse("_submission._tcp.a.test", FACT_SRV));
	ck_assert_uint_eq(a.n, 2);
	ck_assert_int_eq(a.record[0].priority, 1);
	ck_assert_uint_eq(a.record[0].data.n, 15);
	ck_assert_mem_eq(a.record[0].data.p, "\0\2\2\113mail.a.test", 15);
	ck_assert_uint_eq(a.record[1].data.n, 4);

	begin(&k, "_25._tcp.a.test", TLSA);
	record(&k, ANSWER, "_25._tcp.a.test", TLSA, 300, "\3\1\1hash", 7);
	ck_assert(parse("_25._tcp.a.test", FACT_TLSA));
	assert_data(0, "\3\1\1hash");
}
END_TEST

START_TEST(an_address_is_asked_for_by_its_reverse_name)
{
	static const struct { const char *address, *name; } row[] = {
		{ "192.0.2.1", "1.2.0.192.in-addr.arpa" },
		{ "::ffff:192.0.2.1", "1.2.0.192.in-addr.arpa" },
		{ "2001:db8::1", "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa" },
	};

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		begin(&k, row[i].name, PTR);
		name_record(&k, row[i].name, PTR, -1, "Host.test");
		ck_assert(parse(row[i].address, FACT_PTR));
		assert_data(0, "host.test");
	}
	begin(&k, "host.test", PTR);
	ck_assert(!parse("host.test", FACT_PTR));
}
END_TEST

START_TEST(what_answers_another_question_is_no_answer)
{
	begin(&k, "a.test", A);
	ck_assert(parse("a.test", FACT_A));
	ck_assert(!parse("b.test", FACT_A));
	ck_assert(!parse("a.tes", FACT_A));
	ck_assert(!parse("a.test", FACT_MX));
	ck_assert(!parse("a.test", FACT_MAILBOX));
	ck_assert(!parse("", FACT_A));
	k.p[2] &= 0x7f;                 /* a question is no reply */
	ck_assert(!parse("a.test", FACT_A));
	begin(&k, "a.test", A);
	k.p[2] |= 0x10;                 /* opcode STATUS */
	ck_assert(!parse("a.test", FACT_A));
	begin(&k, "a.test", A);
	k.p[5] = 2;
	ck_assert(!parse("a.test", FACT_A));
	begin(&k, "a.test", A);
	k.p[k.n - 1] = 3;               /* class CHAOS */
	ck_assert(!parse("a.test", FACT_A));
	for (begin(&k, "a.test", A); k.n > 0; ) {
		k.n--;
		ck_assert(!parse("a.test", FACT_A));
	}
}
END_TEST

START_TEST(no_name_no_data_and_unknown_are_kept_apart)
{
	static const struct { unsigned rcode; enum outcome outcome; const char *why; } row[] = {
		{ 0, NO_DATA, NULL }, { 1, UNKNOWN, "FORMERR" }, { 2, UNKNOWN, "SERVFAIL" }, { 3, NO_NAME, NULL },
		{ 4, UNKNOWN, "NOTIMP" }, { 5, UNKNOWN, "REFUSED" }, { 15, UNKNOWN, "an unknown error code" },
	};

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		begin(&k, "a.test", A);
		k.p[3] |= row[i].rcode;
		ck_assert(parse("a.test", FACT_A));
		ck_assert_int_eq(a.outcome, row[i].outcome);
		ck_assert_int_eq(a.rcode, row[i].rcode);
		ck_assert_uint_eq(a.n, 0);
		if (row[i].why)
			ck_assert_str_eq(a.why, row[i].why);
	}
}
END_TEST

START_TEST(the_upper_bits_of_rcode_count)
{
	begin(&k, "a.test", A);
	put(&k, "\0\0\x29\4\xd0\1\0\0\0\0\0", 11);
	count(&k, ADDITIONAL);
	ck_assert(parse("a.test", FACT_A));
	ck_assert_int_eq(a.outcome, UNKNOWN);
	ck_assert_str_eq(a.why, "BADVERS");
	ck_assert_int_eq(a.rcode, 16);
}
END_TEST

START_TEST(a_truncated_answer_says_nothing_else)
{
	begin(&k, "a.test", A);
	k.p[2] |= 2;
	k.p[3] |= 3;
	record(&k, ANSWER, "a.test", A, 300, "\x7f\0\0\1", 4);
	ck_assert(parse("a.test", FACT_A));
	ck_assert(a.truncated);
	ck_assert_int_eq(a.outcome, UNKNOWN);
	ck_assert_uint_eq(a.n, 0);
}
END_TEST

START_TEST(cnames_are_followed_in_any_order)
{
	for (int backwards = 0; backwards < 2; backwards++) {
		begin(&k, "www.test", A);
		if (backwards)
			record(&k, ANSWER, "c.test", A, 300, "\x7f\0\0\1", 4);
		name_record(&k, backwards ? "b.test" : "www.test", CNAME, -1, backwards ? "c.test" : "b.test");
		name_record(&k, backwards ? "www.test" : "B.test", CNAME, -1, backwards ? "b.test" : "c.test");
		if (!backwards)
			record(&k, ANSWER, "c.test", A, 77, "\x7f\0\0\1", 4);
		record(&k, ANSWER, "other.test", A, 300, "\x7f\0\0\2", 4);
		ck_assert(parse("www.test", FACT_A));
		ck_assert_int_eq(a.outcome, FOUND);
		ck_assert_uint_eq(a.n, 1);
		ck_assert_uint_eq(a.ttl, backwards ? 300 : 77);
		ck_assert_str_eq(a.end, "c.test");
	}
}
END_TEST

/* "n0.test" -> "n1.test" -> ... with `links` CNAMEs and an address at the end. */
static void chain(unsigned links)
{
	char from[32], to[32];

	begin(&k, "n0.test", A);
	for (unsigned i = 0; i < links; i++) {
		snprintf(from, sizeof from, "n%u.test", i);
		snprintf(to, sizeof to, "n%u.test", i + 1);
		name_record(&k, from, CNAME, -1, to);
	}
	snprintf(to, sizeof to, "n%u.test", links);
	record(&k, ANSWER, to, A, 300, "\x7f\0\0\1", 4);
}

START_TEST(a_chain_of_cnames_has_an_end)
{
	chain(16);
	ck_assert(parse("n0.test", FACT_A));
	ck_assert_int_eq(a.outcome, FOUND);
	chain(20);
	ck_assert(parse("n0.test", FACT_A));
	ck_assert_int_eq(a.outcome, UNKNOWN);
	begin(&k, "a.test", A);
	name_record(&k, "a.test", CNAME, -1, "a.test");
	ck_assert(parse("a.test", FACT_A));
	ck_assert_int_eq(a.outcome, UNKNOWN);
	begin(&k, "a.test", A);
	name_record(&k, "a.test", CNAME, -1, "b.test");
	name_record(&k, "b.test", CNAME, -1, "a.test");
	ck_assert(parse("a.test", FACT_A));
	ck_assert_int_eq(a.outcome, UNKNOWN);
	/* to nowhere */
	begin(&k, "a.test", A);
	name_record(&k, "a.test", CNAME, -1, "b.test");
	ck_assert(parse("a.test", FACT_A));
	ck_assert_int_eq(a.outcome, NO_DATA);
	k.p[3] |= 3;
	ck_assert(parse("a.test", FACT_A));
	ck_assert_int_eq(a.outcome, NO_NAME);
}
END_TEST

START_TEST(broken_records_are_left_out)
{
	static const struct { enum fact_kind kind; unsigned type; const char *data; size_t n; } row[] = {
		{ FACT_A, A, "\x7f\0\0", 3 }, { FACT_A, A, "\x7f\0\0\1\1", 5 }, { FACT_A, A, "", 0 },
		{ FACT_AAAA, AAAA, "0123456789abcde", 15 },
		{ FACT_MX, MX, "", 0 }, { FACT_MX, MX, "\0", 1 }, { FACT_MX, MX, "\0\1", 2 }, { FACT_MX, MX, "\0\1\1", 3 },
		{ FACT_MX, MX, "\0\1\1a", 4 }, { FACT_MX, MX, "\0\1\1a\0\0", 6 }, { FACT_MX, MX, "\0\1\x41" "a\0", 5 },
		{ FACT_MX, MX, "\0\1\x81" "a\0", 5 }, { FACT_MX, MX, "\0\1\3a b\0", 7 }, { FACT_MX, MX, "\0\1\3a\nb\0", 7 },
		{ FACT_MX, MX, "\0\1\3a\0b\0", 7 }, { FACT_MX, MX, "\0\1\2)\xff\0", 6 }, { FACT_MX, MX, "\0\1\3a.b\0", 7 },
		{ FACT_MX, MX, "\0\1\xc0", 3 }, { FACT_MX, MX, "\0\1\xff\xff", 4 },
		{ FACT_TXT, TXT, "", 0 }, { FACT_TXT, TXT, "\5abcd", 5 }, { FACT_TXT, TXT, "\1a\1", 3 },
		{ FACT_SRV, SRV, "", 0 }, { FACT_SRV, SRV, "\0\1\0\2\2\113", 6 }, { FACT_SRV, SRV, "\0\1\0\2\2\113\1a", 8 },
		{ FACT_SRV, SRV, "\0\1\0\2\2\113\1a\0\0", 10 }, { FACT_SRV, SRV, "\0\1\0\2\2\113\3a b\0", 11 },
		{ FACT_TLSA, TLSA, "", 0 }, { FACT_TLSA, TLSA, "\3", 1 }, { FACT_TLSA, TLSA, "\3\1\1", 3 },
	};

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		begin(&k, "a.test", row[i].type);
		record(&k, ANSWER, "a.test", row[i].type, 300, row[i].data, row[i].n);
		ck_assert(parse("a.test", row[i].kind));
		ck_assert_msg(a.outcome == UNKNOWN && a.n == 0, "row %zu: %d", i, a.outcome);
		/* beside a good one */
		if (row[i].kind == FACT_MX)
			name_record(&k, "a.test", MX, 5, "mx.test");
		else if (row[i].kind == FACT_TXT)
			record(&k, ANSWER, "a.test", TXT, 300, "\7mx.test", 8);
		else
			continue;
		ck_assert(parse("a.test", row[i].kind));
		ck_assert_msg(a.outcome == FOUND && a.n == 1, "row %zu: %d", i, a.outcome);
		assert_data(0, "mx.test");
	}
}
END_TEST

START_TEST(of_too_many_mail_hosts_the_best_stay)
{
	char name[32];

	begin(&k, "a.test", MX);
	for (int i = 0; i < DNS_RECORDS + 6; i++) {
		snprintf(name, sizeof name, "m%d.test", i);
		name_record(&k, "a.test", MX, i < DNS_RECORDS + 4 ? 500 : i - DNS_RECORDS, name);
	}
	ck_assert(parse("a.test", FACT_MX));
	ck_assert_uint_eq(a.n, DNS_RECORDS);
	for (unsigned want = 4; want <= 5; want++) {
		unsigned found = 0;

		for (unsigned i = 0; i < a.n; i++)
			found += a.record[i].priority == want;
		ck_assert_uint_eq(found, 1);
	}
}
END_TEST

START_TEST(a_malformed_packet_decides_nothing)
{
	size_t whole, question;

	begin(&k, "a.test", MX);
	question = k.n;
	name_record(&k, "a.test", MX, 10, "mx.test");
	whole = k.n;
	name_record(&k, "a.test", MX, 20, "mx2.test");
	for (size_t n = k.n; k.n-- > question; ) {
		ck_assert(parse("a.test", FACT_MX));
		ck_assert_msg(a.outcome == UNKNOWN, "cut at %zu of %zu (%zu)", k.n, n, whole);
	}
}
END_TEST

/* A name at the place of the question's: what it decompresses to is compared with a.test. */
START_TEST(pointers_lead_backwards_or_nowhere)
{
	static const struct { const char *name; size_t n; bool ok; } row[] = {
		{ "\xc0\x0c", 2, true },                        /* the question's name */
		{ "\1a\xc0\x0e", 4, true },                     /* its second label */
		{ "\xc0\x1a", 2, false },                       /* itself: the record begins at 24 */
		{ "\xc0\x18", 2, false },
		{ "\1a\xc0\x18", 4, false },                    /* in circles */
		{ "\xc0\x1c", 2, false },                       /* forward */
		{ "\xff\xff", 2, false },                       /* out of the packet */
		{ "\x40", 1, false }, { "\x80", 1, false },     /* reserved kinds of label */
	};

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		begin(&k, "a.test", A);
		ck_assert_uint_eq(k.n, 24);
		put(&k, row[i].name, row[i].n);
		put(&k, "\0\1\0\1\0\0\1\0\0\4\x7f\0\0\1", 14);
		count(&k, ANSWER);
		ck_assert(parse("a.test", FACT_A));
		ck_assert_msg((a.outcome == FOUND) == row[i].ok, "row %zu: %d", i, a.outcome);
	}
}
END_TEST

START_TEST(names_have_at_most_255_octets)
{
	char name[300] = "", longer[302];

	/* 63.63.63.61: 255 with lengths and root */
	memset(name, 'a', 253);
	for (size_t i = 63; i < 253; i += 64)
		name[i] = '.';
	ck_assert_uint_eq(strlen(name), 253);
	begin(&k, name, A);
	record(&k, ANSWER, name, A, 300, "\x7f\0\0\1", 4);
	ck_assert(parse(name, FACT_A));
	ck_assert_int_eq(a.outcome, FOUND);
	snprintf(longer, sizeof longer, "%sa", name);
	begin(&k, longer, A);
	ck_assert(!parse(longer, FACT_A));
	begin(&k, "a.test", MX);
	name_record(&k, "a.test", MX, 1, name);
	name_record(&k, "a.test", MX, 2, longer);
	ck_assert(parse("a.test", FACT_MX));
	ck_assert_uint_eq(a.n, 1);
	assert_data(0, name);
}
END_TEST

START_TEST(times_to_live_are_clamped)
{
	static const struct { unsigned long ttl; uint32_t expected; } row[] = {
		{ 0, 0 }, { 1, 1 }, { 3600, 3600 }, { 3601, 3600 }, { 0x7fffffff, 3600 }, { 0x80000000, 0 }, { 0xffffffff, 0 },
	};
	static const struct { unsigned long ttl; unsigned minimum; uint32_t expected; } negative[] = {
		{ 100, 200, 100 }, { 200, 100, 100 }, { 5, 5, 30 }, { 9999, 9999, 300 }, { 0xffffffff, 100, 30 },
	};

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		begin(&k, "a.test", A);
		record(&k, ANSWER, "a.test", A, row[i].ttl, "\x7f\0\0\1", 4);
		ck_assert(parse("a.test", FACT_A));
		ck_assert_uint_eq(a.ttl, row[i].expected);
	}
	for (size_t i = 0; i < sizeof negative / sizeof *negative; i++) {
		begin(&k, "a.test", A);
		soa(&k, negative[i].ttl, negative[i].minimum);
		ck_assert(parse("a.test", FACT_A));
		ck_assert_int_eq(a.outcome, NO_DATA);
		ck_assert_uint_eq(a.ttl, negative[i].expected);
	}
	begin(&k, "a.test", A);
	ck_assert(parse("a.test", FACT_A));
	ck_assert_uint_eq(a.ttl, 30);
}
END_TEST

START_TEST(a_long_answer_is_cut_not_refused)
{
	static char text[256];

	begin(&k, "a.test", A);
	for (unsigned i = 0; i < 100; i++)
		record(&k, ANSWER, "a.test", A, 300, (unsigned char[]){ 10, 0, 0, (unsigned char)i }, 4);
	ck_assert(parse("a.test", FACT_A));
	ck_assert_uint_eq(a.n, DNS_RECORDS);
	memset(text, 'x', sizeof text);
	text[0] = (char)255;
	begin(&k, "a.test", TXT);
	for (unsigned i = 0; i < 240; i++)
		record(&k, ANSWER, "a.test", TXT, 300, text, 256);
	ck_assert(parse("a.test", FACT_TXT));
	ck_assert_uint_eq(a.n, DNS_RECORDS);
	/* a store that is too small */
	ck_assert(dns_parse(k.p, k.n, STR("a.test"), FACT_TXT, &a, store, 700));
	ck_assert_uint_eq(a.n, 2);
}
END_TEST

START_TEST(signatures_and_other_owners_are_passed_over)
{
	begin(&k, "a.test", MX);
	record(&k, ANSWER, "a.test", RRSIG, 5, "whatever", 8);
	name_record(&k, "b.test", MX, 1, "wrong.test");
	name_record(&k, "a.test", MX, 2, "right.test");
	record(&k, ADDITIONAL, "a.test", MX, 300, "\0\1\0", 3);
	ck_assert(parse("a.test", FACT_MX));
	ck_assert_uint_eq(a.n, 1);
	assert_data(0, "right.test");
	ck_assert_uint_eq(a.ttl, 300);
}
END_TEST

/* Good packets with octets changed and ends cut: whatever comes out lies inside the store and makes sense. */
START_TEST(no_packet_leads_the_parser_astray)
{
	static const struct { const char *name; unsigned type; enum fact_kind kind; } row[] = {
		{ "a.test", MX, FACT_MX }, { "a.test", TXT, FACT_TXT }, { "a.test", A, FACT_A }, { "a.test", TLSA, FACT_TLSA },
		{ "a.test", SRV, FACT_SRV },
	};
	static struct packet good;
	uint32_t x = 1;

	for (unsigned round = 0; round < 40000; round++) {
		size_t i = round % 5;
		if (round < 5 || !(round & 1023)) {
			begin(&k, "a.test", row[i].type);
			name_record(&k, "a.test", CNAME, -1, "b.test");
			name_record(&k, "b.test", row[i].type, 10, "mx.b.test");
			put(&k, "\xc0\x0c\0\1\0\1\0\0\1\0\0\4\x7f\0\0\1", 16);
			count(&k, ANSWER);
			soa(&k, 300, 300);
			good = k;
		}
		k = good;
		for (unsigned change = 0; change < 1 + round % 5; change++) {
			x = x * 1664525u + 1013904223u;
			k.p[(x >> 8) % k.n] = (unsigned char)(x >> 24 ^ change);
		}
		if (round % 7 == 0)
			k.n = (x >> 5) % (k.n + 1);
		if (!parse(row[i].name, row[i].kind))
			continue;
		ck_assert(a.outcome >= FOUND && a.outcome <= UNKNOWN);
		ck_assert((a.outcome == FOUND) == (a.n > 0));
		ck_assert((a.outcome == UNKNOWN) == (a.why != NULL));
		ck_assert_uint_le(a.n, DNS_RECORDS);
		ck_assert_uint_le(a.ttl, 3600);
		for (size_t n = 0; n < a.n; n++) {
			ck_assert(a.record[n].data.p >= store && a.record[n].data.p + a.record[n].data.n <= store + sizeof store);
			for (size_t c = 0; row[i].kind == FACT_MX && c < a.record[n].data.n; c++)
				ck_assert(ascii_print(a.record[n].data.p[c]) && a.record[n].data.p[c] != ' ');
		}
	}
}
END_TEST

/* ---- lookups */

static struct fakedns one, two;
static struct facts *table;
static char resolvers[64];
static struct dns_config config;

static void add(struct fakedns *f, const char *const *line)
{
	for (; *line; line++) {
		const char *wrong = fakedns_add(f, *line);
		ck_assert_msg(!wrong, "%s: %s", *line, wrong);
	}
}
#define ZONE(f, ...) add(f, (const char *const[]){ __VA_ARGS__, NULL })

static void open_table(void)
{
	facts_free(table);
	ck_assert_ptr_nonnull(table = facts_new(NULL, 5000));
}

static void setup(void)
{
	ck_assert_int_eq(log_open("/dev/null"), 0);
	ck_assert_int_eq(fakedns_open(&one), 0);
	ck_assert_int_eq(fakedns_open(&two), 0);
	snprintf(resolvers, sizeof resolvers, "127.0.0.1:%u", one.port);
	config = (struct dns_config){ .resolvers = resolvers };
	ck_assert_ptr_null(dns_start(&config));
	for (int kind = FACT_A; kind <= FACT_TLSA; kind++)
		facts_source(kind, dns_source());
	open_table();
}

static void teardown(void)
{
	facts_free(table);
	table = NULL;
	dns_stop();
	fakedns_close(&one);
	fakedns_close(&two);
}

/* Time stands still from here on and goes only in pass(). */
static void stop_the_clock(void)
{
	loop_virtual_clock(1800000000);
}

/* Turns that never wait: what is on its way on loopback arrives, no timer is jumped to. */
static void settle(void)
{
	for (int i = 0; i < 40; i++)
		loop_turn(0);
}

static void pass(msec ms)
{
	settle();
	loop_advance(ms);
	settle();
}

static void start_with_both(void)
{
	snprintf(resolvers, sizeof resolvers, "127.0.0.1:%u 127.0.0.1:%u", one.port, two.port);
	ck_assert_ptr_null(dns_start(&config));
}

/* The fact, once it is there. */
static const struct fact *look(enum fact_kind kind, const char *name)
{
	const struct fact *f;

	for (int turns = 0; !(f = fact(table, kind, str_of(name))); turns++) {
		ck_assert_msg(turns < 2000, "no answer for %s", name);
		loop_turn(50);
	}
	return f;
}

static void assert_unknown(const struct fact *f, const char *why, bool local_fault)
{
	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(f->outcome, UNKNOWN);
	ck_assert_msg(strstr(f->why, why) != NULL, "\"%s\" is not \"%s\"", f->why, why);
	ck_assert_int_eq(f->local_fault, local_fault);
}

START_TEST(names_are_looked_up)
{
	const struct fact *f;

	ZONE(&one, "d.test MX 20 b.test", "d.test MX 10 a.test", "null.test MX 0 .", "a.test A 192.0.2.1", "a.test AAAA 2001:db8::1",
		"192.0.2.1 PTR a.test", "2001:db8::1 PTR six.test", "t.test TXT \"v=spf1 \" \"-all\"", "_25._tcp.a.test TLSA 030101ABCDEF",
		"_submissions._tcp.a.test SRV 0 1 465 mx.a.test", "c.test CNAME a.test", "s.test A 192.0.2.2", "s.test AD");
	f = look(FACT_MX, "D.Test");
	ck_assert_int_eq(f->outcome, FOUND);
	ck_assert_uint_eq(f->n, 2);
	ck_assert(str_eq(f->record[0].data, STR("b.test")) && f->record[0].priority == 20);
	ck_assert(str_eq(f->record[1].data, STR("a.test")) && f->record[1].priority == 10);
	ck_assert(!f->secure && !f->local_fault);
	ck_assert_uint_eq(look(FACT_MX, "null.test")->record[0].data.n, 0);
	ck_assert_mem_eq(look(FACT_A, "a.test")->record[0].data.p, "\xc0\0\2\1", 4);
	ck_assert_uint_eq(look(FACT_AAAA, "a.test")->record[0].data.n, 16);
	ck_assert(str_eq(look(FACT_PTR, "192.0.2.1")->record[0].data, STR("a.test")));
	ck_assert(str_eq(look(FACT_PTR, "2001:db8::1")->record[0].data, STR("six.test")));
	ck_assert(str_eq(look(FACT_TXT, "t.test")->record[0].data, STR("v=spf1 -all")));
	ck_assert_mem_eq(look(FACT_SRV, "_submissions._tcp.a.test")->record[0].data.p, "\0\1\1\321mx.a.test", 13);
	ck_assert_uint_eq(look(FACT_TLSA, "_25._tcp.a.test")->record[0].data.n, 6);
	ck_assert_mem_eq(look(FACT_A, "c.test")->record[0].data.p, "\xc0\0\2\1", 4);
	ck_assert(look(FACT_A, "s.test")->secure);
	ck_assert_int_eq(look(FACT_MX, "a.test")->outcome, NO_DATA);
	ck_assert_int_eq(look(FACT_A, "absent.test")->outcome, NO_NAME);
	ck_assert_int_eq(look(FACT_A, "_tcp.a.test")->outcome, NO_DATA);
}
END_TEST

START_TEST(what_cannot_be_a_name_is_not_asked_for)
{
	char longest[400];
	const char *const row[] = { "", ".", "a..b", ".a", "a..", longest };

	memset(longest, 'a', 64);
	longest[64] = '\0';
	for (size_t i = 0; i < sizeof row / sizeof *row; i++)
		ck_assert_int_eq(fact(table, FACT_A, str_of(row[i]))->outcome, NO_NAME);
	memset(longest, 'a', 399);
	for (size_t i = 50; i < 399; i += 50)
		longest[i] = '.';
	longest[399] = '\0';
	ck_assert_int_eq(fact(table, FACT_A, str_of(longest))->outcome, NO_NAME);
	ck_assert_int_eq(fact(table, FACT_PTR, STR("no address"))->outcome, NO_NAME);
	settle();
	ck_assert_uint_eq(one.nseen, 0);
}
END_TEST

START_TEST(questions_ask_for_dnssec_and_small_packets)
{
	ZONE(&one, "a.test A 192.0.2.1");
	look(FACT_A, "a.test");
	ck_assert_uint_eq(one.nseen, 1);
	ck_assert(one.seen[0].edns && one.seen[0].dnssec_ok && one.seen[0].ad && !one.seen[0].tcp);
}
END_TEST

START_TEST(ids_and_ports_cannot_be_foreseen)
{
	static unsigned char ids[65536], ports[65536];
	unsigned nids = 0, nports = 0, rising = 0;
	enum { QUESTIONS = 500 };

	for (unsigned i = 0; i < QUESTIONS; i++) {
		char name[32];
		snprintf(name, sizeof name, "n%u.test", i);
		look(FACT_A, name);
	}
	ck_assert_uint_eq(one.nseen, QUESTIONS);
	for (unsigned i = 0; i < QUESTIONS; i++) {
		nids += !ids[one.seen[i].id]++;
		nports += !ports[one.seen[i].port]++;
		rising += i && one.seen[i].id > one.seen[i - 1].id;
	}
	ck_assert_uint_gt(nids, QUESTIONS - 20);        /* by chance 2 are expected to meet */
	ck_assert_uint_gt(nports, QUESTIONS - 60);      /* 4, with some 28000 ports */
	ck_assert_uint_gt(rising, 180);
	ck_assert_uint_lt(rising, 320);
}
END_TEST

START_TEST(errors_are_unknown_and_name_the_server)
{
	static const struct { const char *behaviour, *why; } row[] = {
		{ "SERVFAIL", "SERVFAIL from 127.0.0.1:" }, { "REFUSED", "REFUSED from 127.0.0.1:" }, { "NOTIMP", "NOTIMP from 127.0.0.1:" },
		{ "GARBAGE", "a malformed answer from 127.0.0.1:" },
		{ "TCPSHORT", "a malformed answer over TCP from 127.0.0.1:" }, { "TCPCLOSE", "no whole answer over TCP from 127.0.0.1:" },
	};

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		char line[64], name[32];
		snprintf(name, sizeof name, "n%zu.test", i);
		snprintf(line, sizeof line, "%s %s", name, row[i].behaviour);
		ZONE(&one, line);
		assert_unknown(look(FACT_A, name), row[i].why, false);
	}
}
END_TEST

START_TEST(wrong_packets_are_not_believed)
{
	ZONE(&one, "id.test A 192.0.2.1", "id.test WRONGID", "name.test A 192.0.2.1", "name.test WRONGNAME");
	ck_assert_int_eq(look(FACT_A, "id.test")->outcome, FOUND);
	ck_assert_int_eq(look(FACT_A, "name.test")->outcome, FOUND);
	ck_assert_uint_eq(one.nseen, 2);
}
END_TEST

START_TEST(many_wrong_packets_lead_to_tcp)
{
	ZONE(&one, "a.test A 192.0.2.1", "a.test FLOOD");
	ck_assert_int_eq(look(FACT_A, "a.test")->outcome, FOUND);
	ck_assert_uint_eq(one.nseen, 2);
	ck_assert(one.seen[1].tcp);
}
END_TEST

START_TEST(what_is_truncated_comes_by_tcp)
{
	const struct fact *f;
	char text[3000] = "big.test TXT ", line[64];

	memset(text + 13, 'x', 2500);
	text[2513] = '\0';
	ZONE(&one, text, "tc.test A 192.0.2.1", "tc.test TRUNCATED", "tc.test AD");
	f = look(FACT_TXT, "big.test");
	ck_assert_int_eq(f->outcome, FOUND);
	ck_assert_uint_eq(f->record[0].data.n, 2500);
	f = look(FACT_A, "tc.test");
	ck_assert_int_eq(f->outcome, FOUND);
	ck_assert(f->secure);
	for (unsigned i = 1; i <= 60; i++) {
		snprintf(line, sizeof line, "many.test MX %u host-with-a-long-name-%u.test", i, i);
		ZONE(&one, line);
	}
	ck_assert_uint_eq(look(FACT_MX, "many.test")->n, 60);
	ck_assert_uint_eq(fakedns_asked(&one, "many.test", 0), 2);
}
END_TEST

static unsigned asked_by_tcp(void)
{
	unsigned n = 0;

	for (size_t i = 0; i < one.nseen; i++)
		n += one.seen[i].tcp;
	return n;
}

START_TEST(tcp_connections_are_few_and_all_get_their_turn)
{
	char name[16], line[64];

	stop_the_clock();
	for (unsigned i = 0; i < 50; i++) {
		snprintf(name, sizeof name, "n%u.test", i);
		snprintf(line, sizeof line, "%s TCPSTALL", name);
		ZONE(&one, line);
		ck_assert_ptr_null(fact(table, FACT_A, str_of(name)));
	}
	for (int i = 0; i < 4; i++)
		settle();
	ck_assert_uint_eq(asked_by_tcp(), 20);
	pass(5000);
	settle();
	ck_assert_uint_eq(asked_by_tcp(), 40);
	pass(5000);
	settle();
	ck_assert_uint_eq(asked_by_tcp(), 50);
	pass(5000);
	ck_assert_uint_eq(facts_pending(table), 0);
}
END_TEST

START_TEST(a_stalled_tcp_answer_has_a_time_limit)
{
	const struct fact *f = NULL;

	stop_the_clock();
	ZONE(&one, "a.test A 192.0.2.1", "a.test TCPSTALL");
	fact(table, FACT_A, STR("a.test"));
	pass(4900);
	ck_assert_uint_eq(fakedns_asked(&one, "a.test", 0), 2);
	ck_assert_ptr_null(fact(table, FACT_A, STR("a.test")));
	pass(200);
	f = fact(table, FACT_A, STR("a.test"));
	assert_unknown(f, "no answer over TCP from 127.0.0.1:", false);
}
END_TEST

START_TEST(a_server_without_edns_is_asked_without_it)
{
	ZONE(&one, "a.test A 192.0.2.1", "a.test FORMERR");
	ck_assert_int_eq(look(FACT_A, "a.test")->outcome, FOUND);
	ck_assert_uint_eq(one.nseen, 2);
	ck_assert(one.seen[0].edns && !one.seen[1].edns);
	ck_assert(one.seen[1].ad);
	ck_assert_uint_ne(one.seen[0].id, one.seen[1].id);
}
END_TEST

START_TEST(a_server_that_swallows_edns_is_asked_without_it_at_last)
{
	stop_the_clock();
	ZONE(&one, "a.test A 192.0.2.1", "a.test NOEDNS");
	fact(table, FACT_A, STR("a.test"));
	for (int i = 0; i < 15; i++)
		pass(1000);
	ck_assert_ptr_nonnull(fact(table, FACT_A, STR("a.test")));
	ck_assert_int_eq(fact(table, FACT_A, STR("a.test"))->outcome, FOUND);
}
END_TEST

START_TEST(silence_is_asked_again_with_growing_patience)
{
	static const unsigned at[] = { 3, 9, 21 };      /* 3, then 6, then 12 seconds more */
	unsigned second = 0;

	stop_the_clock();
	ZONE(&one, "a.test SILENT");
	fact(table, FACT_A, STR("a.test"));
	for (unsigned i = 0; i < 3; i++) {
		for (; second < at[i]; second++) {
			ck_assert_ptr_null(fact(table, FACT_A, STR("a.test")));
			ck_assert_uint_eq(one.nseen, second ? i + 1 : 0);
			pass(1000);
		}
	}
	assert_unknown(fact(table, FACT_A, STR("a.test")), "no answer from 127.0.0.1:", true);
	ck_assert_uint_eq(one.nseen, 3);
}
END_TEST

START_TEST(silence_for_one_name_is_not_our_fault_while_others_are_answered)
{
	stop_the_clock();
	ZONE(&one, "a.test SILENT", "b.test A 192.0.2.1");
	fact(table, FACT_A, STR("a.test"));
	pass(2000);
	fact(table, FACT_A, STR("b.test"));
	for (int i = 0; i < 25; i++)
		pass(1000);
	assert_unknown(fact(table, FACT_A, STR("a.test")), "no answer from 127.0.0.1:", false);
	ck_assert_int_eq(fact(table, FACT_A, STR("b.test"))->outcome, FOUND);
}
END_TEST

START_TEST(a_lost_question_is_repeated)
{
	stop_the_clock();
	ZONE(&one, "a.test SILENT 2", "a.test A 192.0.2.1");
	fact(table, FACT_A, STR("a.test"));
	pass(3000);
	pass(6000);
	ck_assert_int_eq(fact(table, FACT_A, STR("a.test"))->outcome, FOUND);
	ck_assert_uint_eq(one.nseen, 3);
}
END_TEST

START_TEST(a_slow_answer_to_a_question_given_up_is_ignored)
{
	stop_the_clock();
	ZONE(&one, "a.test A 192.0.2.1", "a.test DELAY 4000");
	fact(table, FACT_A, STR("a.test"));
	pass(3500);
	pass(1000);             /* the first answer comes to a closed socket */
	ck_assert_ptr_null(fact(table, FACT_A, STR("a.test")));
	pass(3000);
	ck_assert_int_eq(fact(table, FACT_A, STR("a.test"))->outcome, FOUND);
}
END_TEST

START_TEST(nobody_at_the_resolvers_port_is_our_fault_and_known_at_once)
{
	struct fakedns gone = { .port = 0 };

	ck_assert_int_eq(fakedns_open(&gone), 0);
	snprintf(resolvers, sizeof resolvers, "127.0.0.1:%u", gone.port);
	fakedns_close(&gone);
	ck_assert_ptr_null(dns_start(&config));
	stop_the_clock();
	fact(table, FACT_A, STR("a.test"));
	settle();
	assert_unknown(fact(table, FACT_A, STR("a.test")), "Connection refused by 127.0.0.1:", true);
}
END_TEST

START_TEST(servers_are_asked_in_turn)
{
	start_with_both();
	ZONE(&one, "a.test SERVFAIL", "b.test A 192.0.2.1", "c.test SERVFAIL");
	ZONE(&two, "a.test A 192.0.2.2", "b.test A 192.0.2.2", "c.test REFUSED");
	ck_assert_mem_eq(look(FACT_A, "a.test")->record[0].data.p, "\xc0\0\2\2", 4);
	ck_assert_mem_eq(look(FACT_A, "b.test")->record[0].data.p, "\xc0\0\2\1", 4);
	assert_unknown(look(FACT_A, "c.test"), "REFUSED from 127.0.0.1:", false);
	ck_assert_uint_eq(fakedns_asked(&one, "c.test", 0) + fakedns_asked(&two, "c.test", 0), 2);
}
END_TEST

START_TEST(a_silent_server_is_asked_last_for_a_while)
{
	stop_the_clock();
	start_with_both();
	ZONE(&one, "a.test SILENT", "b.test A 192.0.2.1", "c.test A 192.0.2.1");
	ZONE(&two, "a.test A 192.0.2.2", "b.test A 192.0.2.2", "c.test A 192.0.2.2");
	fact(table, FACT_A, STR("a.test"));
	pass(3000);
	ck_assert_mem_eq(fact(table, FACT_A, STR("a.test"))->record[0].data.p, "\xc0\0\2\2", 4);
	fact(table, FACT_A, STR("b.test"));
	settle();
	ck_assert_mem_eq(fact(table, FACT_A, STR("b.test"))->record[0].data.p, "\xc0\0\2\2", 4);
	pass(31000);
	fact(table, FACT_A, STR("c.test"));
	settle();
	ck_assert_mem_eq(fact(table, FACT_A, STR("c.test"))->record[0].data.p, "\xc0\0\2\1", 4);
}
END_TEST

START_TEST(identical_questions_are_joined)
{
	struct facts *other = facts_new(NULL, 5), *gone = facts_new(NULL, 5);

	ZONE(&one, "a.test A 192.0.2.1");
	fact(table, FACT_A, STR("a.test"));
	fact(other, FACT_A, STR("A.test."));
	fact(gone, FACT_A, STR("a.TEST"));
	facts_free(gone);
	ck_assert_int_eq(look(FACT_A, "a.test")->outcome, FOUND);
	ck_assert_int_eq(fact(other, FACT_A, STR("A.test."))->outcome, FOUND);
	ck_assert_uint_eq(one.nseen, 1);
	facts_free(other);
}
END_TEST

START_TEST(answers_are_remembered_for_their_time)
{
	static const struct { const char *name; msec holds; } row[] = {
		{ "a.test", 300000 }, { "none.test", 60000 }, { "short.test", 5000 }, { "long.test", 3600000 }, { "broken.test", 5000 },
	};

	stop_the_clock();
	ZONE(&one, "a.test A 192.0.2.1", "short.test A 192.0.2.1", "short.test TTL 5", "long.test A 192.0.2.1",
		"long.test TTL 999999", "zero.test A 192.0.2.1", "zero.test TTL 0", "broken.test SERVFAIL");
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		open_table();
		fact(table, FACT_A, str_of(row[i].name));
		pass(row[i].holds - 1);
		open_table();
		ck_assert_ptr_nonnull(fact(table, FACT_A, str_of(row[i].name)));
		ck_assert_uint_eq(fakedns_asked(&one, row[i].name, 0), 1);
		pass(1);
		open_table();
		ck_assert_ptr_null(fact(table, FACT_A, str_of(row[i].name)));
		settle();
		ck_assert_uint_eq(fakedns_asked(&one, row[i].name, 0), 2);
	}
	fact(table, FACT_A, STR("zero.test"));
	settle();
	open_table();
	ck_assert_ptr_null(fact(table, FACT_A, STR("zero.test")));
	settle();
	dns_forget();
	open_table();
	ck_assert_ptr_null(fact(table, FACT_A, STR("long.test")));
	settle();
}
END_TEST

START_TEST(the_cache_has_a_ceiling_and_keeps_what_is_used)
{
	char name[32];

	ZONE(&one, "used.test A 192.0.2.1", "idle.test A 192.0.2.1");
	look(FACT_A, "idle.test");
	for (unsigned i = 0; i < 4200; i++) {
		if (i % 1000 == 0) {
			open_table();
			look(FACT_A, "used.test");
		}
		snprintf(name, sizeof name, "n%u.test", i);
		fact(table, FACT_A, str_of(name));
		if (i % 100 == 99)
			look(FACT_A, name);
	}
	while (facts_pending(table))
		loop_turn(50);
	open_table();
	ck_assert_ptr_nonnull(fact(table, FACT_A, STR("used.test")));
	ck_assert_ptr_null(fact(table, FACT_A, STR("idle.test")));
}
END_TEST

START_TEST(no_more_than_the_limit_is_on_its_way)
{
	char name[32];

	stop_the_clock();
	config.in_flight = 3;
	ck_assert_ptr_null(dns_start(&config));
	for (unsigned i = 0; i < 10; i++) {
		char line[64];
		snprintf(name, sizeof name, "n%u.test", i);
		snprintf(line, sizeof line, "%s DELAY 1000", name);
		ZONE(&one, line);
		fact(table, FACT_A, str_of(name));
	}
	settle();
	ck_assert_uint_eq(one.nseen, 3);
	pass(1000);
	ck_assert_uint_eq(one.nseen, 6);
	ck_assert_uint_eq(facts_pending(table), 7);
	for (int i = 0; i < 3; i++)
		pass(1000);
	ck_assert_uint_eq(facts_pending(table), 0);
}
END_TEST

START_TEST(the_questions_of_strangers_leave_places_for_ours)
{
	struct facts *strange = facts_new(NULL, 100);
	char name[32];

	stop_the_clock();
	config.in_flight = 4;
	ck_assert_ptr_null(dns_start(&config));
	facts_for_stranger(strange);
	for (unsigned i = 0; i < 10; i++) {
		char line[64];

		snprintf(name, sizeof name, "n%u.test", i);
		snprintf(line, sizeof line, "%s SILENT", name);
		ZONE(&one, line);
		fact(strange, FACT_A, str_of(name));
	}
	settle();
	ck_assert_uint_eq(one.nseen, 3);
	ZONE(&one, "ours.test A 192.0.2.1", "n9.test A 192.0.2.2");
	ck_assert_int_eq(look(FACT_A, "ours.test")->outcome, FOUND);
	fact(table, FACT_A, STR("n8.test"));            /* joins a stranger's, which waits: it is ours now */
	settle();
	ck_assert_uint_eq(one.nseen, 5);
	facts_free(strange);
	dns_stop();
}
END_TEST

START_TEST(stopping_answers_those_who_wait)
{
	stop_the_clock();
	config.in_flight = 1;
	ck_assert_ptr_null(dns_start(&config));
	ZONE(&one, "a.test SILENT", "t.test TCPSTALL");
	fact(table, FACT_A, STR("t.test"));
	settle();
	fact(table, FACT_A, STR("a.test"));
	fact(table, FACT_A, STR("b.test"));
	settle();
	dns_stop();
	ck_assert_uint_eq(facts_pending(table), 0);
	assert_unknown(fact(table, FACT_A, STR("a.test")), "shutting down", true);
	/* and it may start again */
	ck_assert_ptr_null(dns_start(&config));
	open_table();
	ZONE(&one, "c.test A 192.0.2.1");
	ck_assert_int_eq(look(FACT_A, "c.test")->outcome, FOUND);
}
END_TEST

START_TEST(wrong_resolvers_are_refused)
{
	static const char *const wrong[] = {
		"", " ", "localhost", "127.0.0.1:x", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:", "[::1", "[::1]53", "[127.0.0.1", "1.2.3",
		"::g", "1.1.1.1 2.2.2.2 3.3.3.3 4.4.4.4 5.5.5.5 6.6.6.6 7.7.7.7", "127.0.0.1 nonsense", "[]:53",
	};
	static const char *const right[] = { "127.0.0.1", "127.0.0.1:5353 [::1]:53", "::1", "[::1]", "192.0.2.1\t2001:db8::1" };

	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
		ck_assert_msg(dns_start(&(struct dns_config){ .resolvers = wrong[i] }) != NULL, "\"%s\" was taken", wrong[i]);
	for (size_t i = 0; i < sizeof right / sizeof *right; i++)
		ck_assert_msg(!dns_start(&(struct dns_config){ .resolvers = right[i] }), "\"%s\" was refused", right[i]);
}
END_TEST

/* ---- resolv.conf */

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
}

static void assert_resolvers(const char *expected)
{
	struct buf text = { .max = 0 };

	dns_resolvers(&text);
	ck_assert_str_eq(buf_cstr(&text), expected);
	buf_free(&text);
}

START_TEST(resolv_conf_is_understood)
{
	static const struct { const char *text, *expected; } row[] = {
		{ "", "127.0.0.1 (DNSSEC trusted); 3000 ms, 3 rounds" },
		{ "# nameserver 192.0.2.9\n;nameserver 192.0.2.8\nnameserver\nnameserver nonsense\nsearch example.org\n",
			"127.0.0.1 (DNSSEC trusted); 3000 ms, 3 rounds" },
		{ "nameserver 192.0.2.1\n nameserver\t127.0.0.53  \r\nnameserver ::1 # ours", "192.0.2.1, 127.0.0.53 (DNSSEC trusted), ::1 (DNSSEC trusted); 3000 ms, 3 rounds" },
		{ "options ndots:5 timeout:7 attempts:2 edns0 trust-ad\nnameserver 192.0.2.1", "192.0.2.1 (DNSSEC trusted); 7000 ms, 2 rounds" },
		{ "nameserver 192.0.2.1\noptions timeout:999\noptions attempts:99 timeout: attempts:0 timeout:x", "192.0.2.1; 30000 ms, 5 rounds" },
		{ "nameserver fe80::1%lo\nnameserver 192.0.2.1%lo", "fe80::1%lo; 3000 ms, 3 rounds" },
		{ "nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\nnameserver 192.0.2.4\nnameserver 192.0.2.5\n"
			"nameserver 192.0.2.6\nnameserver 192.0.2.7\n", "192.0.2.1, 192.0.2.2, 192.0.2.3, 192.0.2.4, 192.0.2.5, 192.0.2.6; 3000 ms, 3 rounds" },
	};
	char dir[] = "/tmp/fardel-dns-XXXXXX", path[64];

	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof path, "%s/resolv.conf", dir);
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		write_file(path, row[i].text);
		ck_assert_ptr_null(dns_start(&(struct dns_config){ .resolv_conf = path }));
		assert_resolvers(row[i].expected);
	}
	ck_assert_ptr_null(dns_start(&(struct dns_config){ .resolv_conf = path, .trust_ad = true, .timeout_ms = 10, .rounds = 1 }));
	assert_resolvers("192.0.2.1 (DNSSEC trusted), 192.0.2.2 (DNSSEC trusted), 192.0.2.3 (DNSSEC trusted), 192.0.2.4 (DNSSEC trusted), "
		"192.0.2.5 (DNSSEC trusted), 192.0.2.6 (DNSSEC trusted); 10 ms, 1 rounds");
	unlink(path);
	rmdir(dir);
}
END_TEST

START_TEST(resolv_conf_is_read_again_when_it_changes)
{
	char dir[] = "/tmp/fardel-dns-XXXXXX", path[64], fresh[64];

	stop_the_clock();
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof path, "%s/resolv.conf", dir);
	snprintf(fresh, sizeof fresh, "%s/fresh", dir);
	ck_assert_ptr_null(dns_start(&(struct dns_config){ .resolv_conf = path }));
	assert_resolvers("127.0.0.1 (DNSSEC trusted); 3000 ms, 3 rounds");
	write_file(path, "nameserver 192.0.2.1");
	assert_resolvers("127.0.0.1 (DNSSEC trusted); 3000 ms, 3 rounds");      /* looked at once a second */
	loop_advance(1000);
	assert_resolvers("192.0.2.1; 3000 ms, 3 rounds");
	write_file(fresh, "nameserver 192.0.2.2");
	ck_assert_int_eq(rename(fresh, path), 0);
	loop_advance(1000);
	assert_resolvers("192.0.2.2; 3000 ms, 3 rounds");
	unlink(path);
	loop_advance(1000);
	assert_resolvers("127.0.0.1 (DNSSEC trusted); 3000 ms, 3 rounds");
	/* what cannot be read changes nothing */
	ck_assert_int_eq(mkdir(path, 0700), 0);
	loop_advance(1000);
	assert_resolvers("127.0.0.1 (DNSSEC trusted); 3000 ms, 3 rounds");
	rmdir(path);
	rmdir(dir);
}
END_TEST

Suite *dns_suite(void);
Suite *dns_suite(void)
{
	Suite *s = suite_create("dns");
	TCase *t = tcase_create("packets");

	tcase_add_test(t, records_of_every_kind_are_understood);
	tcase_add_test(t, an_address_is_asked_for_by_its_reverse_name);
	tcase_add_test(t, what_answers_another_question_is_no_answer);
	tcase_add_test(t, no_name_no_data_and_unknown_are_kept_apart);
	tcase_add_test(t, the_upper_bits_of_rcode_count);
	tcase_add_test(t, a_truncated_answer_says_nothing_else);
	tcase_add_test(t, cnames_are_followed_in_any_order);
	tcase_add_test(t, a_chain_of_cnames_has_an_end);
	tcase_add_test(t, broken_records_are_left_out);
	tcase_add_test(t, of_too_many_mail_hosts_the_best_stay);
	tcase_add_test(t, a_malformed_packet_decides_nothing);
	tcase_add_test(t, pointers_lead_backwards_or_nowhere);
	tcase_add_test(t, names_have_at_most_255_octets);
	tcase_add_test(t, times_to_live_are_clamped);
	tcase_add_test(t, a_long_answer_is_cut_not_refused);
	tcase_add_test(t, signatures_and_other_owners_are_passed_over);
	tcase_add_test(t, no_packet_leads_the_parser_astray);
	suite_add_tcase(s, t);
	t = tcase_create("lookups");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, names_are_looked_up);
	tcase_add_test(t, what_cannot_be_a_name_is_not_asked_for);
	tcase_add_test(t, questions_ask_for_dnssec_and_small_packets);
	tcase_add_test(t, ids_and_ports_cannot_be_foreseen);
	tcase_add_test(t, errors_are_unknown_and_name_the_server);
	tcase_add_test(t, wrong_packets_are_not_believed);
	tcase_add_test(t, many_wrong_packets_lead_to_tcp);
	tcase_add_test(t, what_is_truncated_comes_by_tcp);
	tcase_add_test(t, tcp_connections_are_few_and_all_get_their_turn);
	tcase_add_test(t, a_stalled_tcp_answer_has_a_time_limit);
	tcase_add_test(t, a_server_without_edns_is_asked_without_it);
	tcase_add_test(t, a_server_that_swallows_edns_is_asked_without_it_at_last);
	tcase_add_test(t, silence_is_asked_again_with_growing_patience);
	tcase_add_test(t, silence_for_one_name_is_not_our_fault_while_others_are_answered);
	tcase_add_test(t, a_lost_question_is_repeated);
	tcase_add_test(t, a_slow_answer_to_a_question_given_up_is_ignored);
	tcase_add_test(t, nobody_at_the_resolvers_port_is_our_fault_and_known_at_once);
	tcase_add_test(t, servers_are_asked_in_turn);
	tcase_add_test(t, a_silent_server_is_asked_last_for_a_while);
	tcase_add_test(t, identical_questions_are_joined);
	tcase_add_test(t, answers_are_remembered_for_their_time);
	tcase_add_test(t, the_cache_has_a_ceiling_and_keeps_what_is_used);
	tcase_add_test(t, no_more_than_the_limit_is_on_its_way);
	tcase_add_test(t, the_questions_of_strangers_leave_places_for_ours);
	tcase_add_test(t, stopping_answers_those_who_wait);
	tcase_add_test(t, wrong_resolvers_are_refused);
	tcase_add_test(t, resolv_conf_is_understood);
	tcase_add_test(t, resolv_conf_is_read_again_when_it_changes);
	suite_add_tcase(s, t);
	return s;
}
