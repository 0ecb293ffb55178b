/* What DNSSEC says of certificates, and what it means for a list of hosts. */
#include "deliver/dane.h"

#include <check.h>
#include <string.h>

#include "deliver/mx.h"

Suite *deliver_dane_suite(void);

#define OCTETS_32 "0123456789abcdef0123456789abcdef"
static const struct { const char *rdata; size_t n; bool good; } rdatas[] = {
	{ "\3\1\1" OCTETS_32, 35, true }, { "\3\0\1" OCTETS_32, 35, true }, { "\2\0\1" OCTETS_32, 35, true }, { "\2\1\1" OCTETS_32, 35, true },
	{ "\3\1\2" OCTETS_32 OCTETS_32, 67, true }, { "\3\1\0whatever", 11, true },
	{ "\0\1\1" OCTETS_32, 35, false }, { "\1\1\1" OCTETS_32, 35, false }, { "\4\1\1" OCTETS_32, 35, false }, { "\3\2\1" OCTETS_32, 35, false },
	{ "\3\1\3" OCTETS_32, 35, false }, { "\3\1\1" OCTETS_32, 34, false }, { "\3\1\2" OCTETS_32, 35, false }, { "\3\1\1" OCTETS_32 "x", 36, false },
	{ "\3\1\0", 3, false }, { "\3\1", 2, false }, { "", 0, false },
};

START_TEST(a_record_is_a_pin_or_cannot_be_used)
{
	struct tls_pin pin;

	ck_assert_int_eq(dane_pin((struct str){ rdatas[_i].rdata, rdatas[_i].n }, &pin), rdatas[_i].good);
}
END_TEST

START_TEST(a_whole_certificate_counts_as_its_digest)
{
	struct tls_pin whole, digest;
	unsigned char sum[HASH_MAX];
	char rdata[35] = "\3\0\1";

	hash_of(HASH_SHA256, STR("certificate"), sum);
	memcpy(rdata + 3, sum, 32);
	ck_assert(dane_pin((struct str){ "\3\0\0certificate", 14 }, &whole));
	ck_assert(dane_pin((struct str){ rdata, sizeof rdata }, &digest));
	ck_assert_mem_eq(whole.digest, digest.digest, 32);
	ck_assert_int_eq(whole.hash, digest.hash);
}
END_TEST

/* The zone: what of it is secure, and what the TLSA answer is. */
static const struct row {
	bool mx, a, tlsa_secure;
	enum outcome tlsa;
	const char *rdata;
	enum verdict verdict;
	enum dane_demand demand;
} rows[] = {
	{ true, true, true, FOUND, "\3\1\1" OCTETS_32, ACCEPT, DANE_VERIFY },
	{ true, true, true, FOUND, "\1\1\1" OCTETS_32, ACCEPT, DANE_ENCRYPT },
	{ true, true, false, FOUND, "\3\1\1" OCTETS_32, ACCEPT, DANE_NONE },
	{ false, true, true, FOUND, "\3\1\1" OCTETS_32, ACCEPT, DANE_NONE },
	{ true, false, true, FOUND, "\3\1\1" OCTETS_32, ACCEPT, DANE_NONE },
	{ true, true, true, NO_NAME, NULL, ACCEPT, DANE_NONE },
	{ true, true, true, NO_DATA, NULL, ACCEPT, DANE_NONE },
	{ true, true, false, UNKNOWN, NULL, REFUSE, DANE_NONE },         /* a bogus zone, or somebody who drops the question */
	{ false, true, false, UNKNOWN, NULL, ACCEPT, DANE_NONE },        /* not asked */
	{ true, false, false, UNKNOWN, NULL, ACCEPT, DANE_NONE },
};

static void put(struct facts *f, enum fact_kind kind, const char *name, enum outcome outcome, bool secure, int64_t priority, struct str data)
{
	struct record r = { .priority = priority, .data = data };

	facts_put(f, kind, str_of(name), &(struct fact){ .outcome = outcome, .secure = secure, .why = "SERVFAIL from 127.0.0.1",
		.n = outcome == FOUND, .record = &r });
}

static const struct mx_self asks = { .hostname = "me.test", .dane = true }, asks_not = { .hostname = "me.test" };
static struct mx_result out;

static enum verdict find(const struct row *row, bool implicit, const struct mx_self *self)
{
	struct route r = { .kind = ROUTE_MX, .domain = "d.test", .port = 25 };
	struct facts *f = facts_new(NULL, 0);
	const char *host = implicit ? "d.test" : "mx.test";
	enum verdict v;

	put(f, FACT_MX, "d.test", implicit ? NO_DATA : FOUND, row->mx, 10, STR("mx.test"));
	put(f, FACT_A, host, FOUND, row->a, 0, (struct str){ "\xc0\0\2\1", 4 });
	put(f, FACT_AAAA, host, NO_DATA, row->a, 0, STR(""));
	put(f, FACT_TLSA, implicit ? "_25._tcp.d.test" : "_25._tcp.mx.test", row->tlsa, row->tlsa_secure, 0,
		(struct str){ row->rdata, row->rdata ? 35 : 0 });
	v = mx_find(f, &r, self, 1, &out);
	facts_free(f);
	return v;
}

START_TEST(what_dnssec_vouches_for_all_along_is_demanded_and_nothing_else)
{
	const struct row *row = &rows[_i / 2];

	ck_assert_int_eq(find(row, _i % 2, &asks), row->verdict);
	if (row->verdict == REFUSE) {
		ck_assert_int_eq(out.why.code, 451);
		ck_assert_ptr_nonnull(strstr(out.why.text, "SERVFAIL"));
		return;
	}
	ck_assert_uint_eq(out.n, 1);
	ck_assert_int_eq(out.dane[out.at[0].nth].demand, row->demand);
	ck_assert_uint_eq(out.dane[out.at[0].nth].pins.n, row->demand == DANE_VERIFY);
}
END_TEST

START_TEST(who_does_not_ask_demands_nothing)
{
	ck_assert_int_eq(find(&rows[0], false, &asks_not), ACCEPT);
	ck_assert_int_eq(out.dane[0].demand, DANE_NONE);
}
END_TEST

START_TEST(a_host_whose_demands_are_unknown_is_left_out_and_the_others_stay)
{
	struct route r = { .kind = ROUTE_MX, .domain = "d.test", .port = 25 };
	struct facts *f = facts_new(NULL, 0);
	struct record mx[2] = { { .priority = 10, .data = STR("a.test") }, { .priority = 20, .data = STR("b.test") } };

	facts_put(f, FACT_MX, STR("d.test"), &(struct fact){ .outcome = FOUND, .secure = true, .n = 2, .record = mx });
	put(f, FACT_A, "a.test", FOUND, true, 0, (struct str){ "\xc0\0\2\1", 4 });
	put(f, FACT_A, "b.test", FOUND, true, 0, (struct str){ "\xc0\0\2\2", 4 });
	put(f, FACT_AAAA, "a.test", NO_DATA, true, 0, STR(""));
	put(f, FACT_AAAA, "b.test", NO_DATA, true, 0, STR(""));
	put(f, FACT_TLSA, "_25._tcp.a.test", UNKNOWN, false, 0, STR(""));
	put(f, FACT_TLSA, "_25._tcp.b.test", FOUND, true, 0, (struct str){ "\3\1\1" OCTETS_32, 35 });
	ck_assert_int_eq(mx_find(f, &r, &asks, 1, &out), ACCEPT);
	ck_assert_uint_eq(out.n, 1);
	ck_assert_str_eq(out.at[0].host, "b.test");
	ck_assert_int_eq(out.dane[out.at[0].nth].demand, DANE_VERIFY);
	facts_free(f);
}
END_TEST

#define RECORD "\3\1\1" "0123456789abcdef0123456789abcdef"
/* RFC 7672 2.2.2: the end of the chain first, then the name that was asked for. */
static const struct { enum outcome end; bool end_secure; enum outcome host; bool both; enum verdict verdict; enum dane_demand demand; const char *base; } aliases[] = {
	{ FOUND, true, FOUND, true, ACCEPT, DANE_VERIFY, "real.test" },
	{ FOUND, true, NO_NAME, true, ACCEPT, DANE_VERIFY, "real.test" },
	{ NO_DATA, true, FOUND, true, ACCEPT, DANE_VERIFY, "" },
	{ NO_NAME, true, NO_NAME, true, ACCEPT, DANE_NONE, "" },
	{ FOUND, false, FOUND, true, ACCEPT, DANE_VERIFY, "" },
	{ UNKNOWN, false, FOUND, true, REFUSE, DANE_NONE, "" },
	{ NO_DATA, true, UNKNOWN, true, REFUSE, DANE_NONE, "" },
	/* the families end at different names: nobody knows which */
	{ FOUND, true, NO_NAME, false, ACCEPT, DANE_NONE, "" },
};

static void put_alias(struct facts *f, enum fact_kind kind, const char *end, struct str address)
{
	struct record r = { .data = address };

	facts_put(f, kind, STR("mx.test"), &(struct fact){ .outcome = FOUND, .secure = true, .end = end, .n = 1, .record = &r });
}

START_TEST(an_alias_has_its_records_at_its_end_or_at_itself)
{
	struct route r = { .kind = ROUTE_MX, .domain = "d.test", .port = 25 };
	struct facts *f = facts_new(NULL, 0);

	put(f, FACT_MX, "d.test", FOUND, true, 10, STR("mx.test"));
	put_alias(f, FACT_A, "real.test", (struct str){ "\xc0\0\2\1", 4 });
	put_alias(f, FACT_AAAA, aliases[_i].both ? "real.test" : "other.test", (struct str){ "0123456789abcdef", 16 });
	put(f, FACT_TLSA, "_25._tcp.real.test", aliases[_i].end, aliases[_i].end_secure, 0, (struct str){ RECORD, 35 });
	put(f, FACT_TLSA, "_25._tcp.other.test", FOUND, true, 0, (struct str){ RECORD, 35 });
	put(f, FACT_TLSA, "_25._tcp.mx.test", aliases[_i].host, true, 0, (struct str){ RECORD, 35 });
	ck_assert_int_eq(mx_find(f, &r, &asks, 1, &out), aliases[_i].verdict);
	if (aliases[_i].verdict == ACCEPT) {
		ck_assert_int_eq(out.dane[0].demand, aliases[_i].demand);
		ck_assert_str_eq(out.dane[0].base, aliases[_i].base);
		ck_assert_str_eq(out.at[0].host, "mx.test");
	}
	facts_free(f);
}
END_TEST

static const struct { bool asked, in_hosts; enum outcome tlsa; enum verdict verdict; enum dane_demand demand; } relays[] = {
	{ true, false, FOUND, ACCEPT, DANE_VERIFY }, { false, false, FOUND, ACCEPT, DANE_NONE }, { true, false, NO_DATA, ACCEPT, DANE_NONE },
	{ true, true, FOUND, ACCEPT, DANE_NONE },      /* an address that DNSSEC does not vouch for */
	{ true, false, UNKNOWN, REFUSE, DANE_NONE },
};

START_TEST(the_host_of_a_route_is_asked_about_where_that_is_wanted)
{
	struct route r = { .kind = ROUTE_SMTP, .nhosts = 1, .host = { { .name = "relay.test", .port = 587, .dane = relays[_i].asked } } };
	struct facts *f = facts_new(NULL, 0);

	put(f, FACT_HOSTS, "relay.test", relays[_i].in_hosts ? FOUND : NO_NAME, false, 0, (struct str){ "\xc0\0\2\1", 4 });
	put(f, FACT_A, "relay.test", FOUND, true, 0, (struct str){ "\xc0\0\2\1", 4 });
	put(f, FACT_AAAA, "relay.test", NO_DATA, true, 0, STR(""));
	put(f, FACT_TLSA, "_587._tcp.relay.test", relays[_i].tlsa, true, 0, (struct str){ RECORD, 35 });
	ck_assert_int_eq(mx_find(f, &r, &asks, 1, &out), relays[_i].verdict);
	ck_assert_int_eq(out.dane[0].demand, relays[_i].demand);
	if (relays[_i].verdict == REFUSE)
		ck_assert_msg(out.why.code == 451 && strstr(out.why.text, "TLSA"), "%s", out.why.text);
	facts_free(f);
}
END_TEST

START_TEST(more_records_than_pins_are_no_harm)
{
	struct facts *f = facts_new(NULL, 0);
	static char data[60][36];
	struct record r[60];
	struct dane d;
	struct reply why;

	/* of three records one is of no use and one is there twice */
	for (int i = 0; i < 60; i++) {
		memcpy(data[i], i % 3 == 2 ? "\1\1\1" OCTETS_32 : "\3\1\1" OCTETS_32, 35);
		data[i][3] = (char)(i / 3);
		r[i] = (struct record){ .data = { data[i], 35 } };
	}
	facts_put(f, FACT_TLSA, STR("_25._tcp.mx.test"), &(struct fact){ .outcome = FOUND, .secure = true, .n = 60, .record = r });
	ck_assert_int_eq(dane_find(f, STR("mx.test"), NULL, 25, &d, &why), ACCEPT);
	ck_assert_uint_eq(d.pins.n, TLS_PINS);
	for (size_t i = 0; i < TLS_PINS; i++)
		ck_assert_uint_eq(d.pins.pin[i].digest[0], i);
	facts_free(f);
}
END_TEST

Suite *deliver_dane_suite(void)
{
	Suite *s = suite_create("deliver_dane");
	TCase *t = tcase_create("dane");

	tcase_add_loop_test(t, a_record_is_a_pin_or_cannot_be_used, 0, sizeof rdatas / sizeof *rdatas);
	tcase_add_test(t, a_whole_certificate_counts_as_its_digest);
	tcase_add_loop_test(t, what_dnssec_vouches_for_all_along_is_demanded_and_nothing_else, 0, 2 * sizeof rows / sizeof *rows);
	tcase_add_test(t, who_does_not_ask_demands_nothing);
	tcase_add_test(t, a_host_whose_demands_are_unknown_is_left_out_and_the_others_stay);
	tcase_add_loop_test(t, an_alias_has_its_records_at_its_end_or_at_itself, 0, (int)(sizeof aliases / sizeof *aliases));
	tcase_add_loop_test(t, the_host_of_a_route_is_asked_about_where_that_is_wanted, 0, (int)(sizeof relays / sizeof *relays));
	tcase_add_test(t, more_records_than_pins_are_no_harm);
	suite_add_tcase(s, t);
	return s;
}
