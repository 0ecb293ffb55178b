/* DKIM: the vectors of the RFCs, canonical forms held against a plain statement of the rules for every way to split them, and tables
 * of what may be wrong. */
#include "policy/dkim.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/codec.h"

#define COUNT(rows) (sizeof(rows) / sizeof(*(rows)))

Suite *policy_dkim_suite(void);

static struct facts *table;
static void nothing(struct task *t) { (void)t; }
static struct task wake = { .run = nothing };

static void put(const char *name, const char *record, bool secure)
{
	struct record r = { .data = str_of(record) };
	struct fact f = { .outcome = record ? FOUND : NO_NAME, .n = record ? 1 : 0, .record = &r, .secure = secure };

	facts_put(table, FACT_TXT, str_of(name), &f);
}

/* ---- vectors: RFC 6376 A.2 (with errata 3192 and 4926), RFC 8463 A */

static const char message_6376[] =
	"DKIM-Signature: v=1; a=rsa-sha256; s=brisbane; d=example.com;\r\n"
	"      c=simple/simple; q=dns/txt; i=joe@football.example.com;\r\n"
	"      h=Received : From : To : Subject : Date : Message-ID;\r\n"
	"      bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n"
	"      b=AuUoFEfDxTDkHlLXSZEpZj79LICEps6eda7W3deTVFOk4yAUoqOB\r\n"
	"        4nujc7YopdG5dWLSdNg6xNAZpOPr+kHxt1IrE+NahM6L/LbvaHut\r\n"
	"        KVdkLLkpVaVVQPzeRDI009SO2Il5Lu7rDNH6mZckBdrIx0orEtZV\r\n"
	"        4bmp/YzhwvcubU4=;\r\n"
	"Received: from client1.football.example.com  [192.0.2.1]\r\n"
	"      by submitserver.example.com with SUBMISSION;\r\n"
	"      Fri, 11 Jul 2003 21:01:54 -0700 (PDT)\r\n"
	"From: Joe SixPack <joe@football.example.com>\r\n"
	"To: Suzie Q <suzie@shopping.example.net>\r\n"
	"Subject: Is dinner ready?\r\n"
	"Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n"
	"Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n"
	"\r\n"
	"Hi.\r\n"
	"\r\n"
	"We lost the game. Are you hungry yet?\r\n"
	"\r\n"
	"Joe.\r\n";
static const char key_6376[] =
	"v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkM"
	"oGeLnQg1fWn7/zYtIxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v/R"
	"tdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhitdY9tf6mcwGjaNBcWToI"
	"MmPSPDdQPNUYckcQ2QIDAQAB";

#define SIGNED_ED25519 \
	"DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n" \
	" d=football.example.com; i=@football.example.com;\r\n" \
	" q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n" \
	" subject : date : message-id : from : subject : date;\r\n" \
	" bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n" \
	" b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus\r\n" \
	" Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==\r\n"
#define SIGNED_RSA \
	"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;\r\n" \
	" d=football.example.com; i=@football.example.com;\r\n" \
	" q=dns/txt; s=test; t=1528637909; h=from : to : subject :\r\n" \
	" date : message-id : from : subject : date;\r\n" \
	" bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n" \
	" b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3\r\n" \
	" DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz\r\n" \
	" dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=\r\n"
#define HEADER_8463 \
	"From: Joe SixPack <joe@football.example.com>\r\n" \
	"To: Suzie Q <suzie@shopping.example.net>\r\n" \
	"Subject: Is dinner ready?\r\n" \
	"Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n" \
	"Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n"
#define BODY_8463 "Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n"
#define MESSAGE_8463 SIGNED_ED25519 SIGNED_RSA HEADER_8463 "\r\n" BODY_8463

static const char key_ed25519[] = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
#define P_RSA "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWR" \
	"iGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutAC" \
	"DfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3" \
	"Ip3G+2kryOTIKT+l/K4w3QIDAQAB"
static const char key_rsa[] = "v=DKIM1; k=rsa; p=" P_RSA;

enum { NOW = 1600000000 };

static struct dkim *check_in_pieces(struct str message, size_t piece)
{
	struct dkim *d = dkim_new();

	ck_assert_ptr_nonnull(d);
	for (size_t at = 0; at < message.n; at += piece)
		dkim_add(d, (struct str){ message.p + at, message.n - at < piece ? message.n - at : piece });
	dkim_end(d);
	if (!dkim_judge(d, table, NOW))
		dkim_give_up(d);
	return d;
}

static const char *fault(const struct dkim *d)
{
	const char *why;

	return dkim_fault(d, &why) == DKIM_NONE ? NULL : why;
}

static struct dkim *check(const char *message) { return check_in_pieces(str_of(message), strlen(message)); }

static void setup(void)
{
	table = facts_new(&wake, DKIM_SIGNATURES);
	put("brisbane._domainkey.example.com", key_6376, false);
	put("brisbane._domainkey.football.example.com", key_ed25519, true);
	put("test._domainkey.football.example.com", key_rsa, false);
}
static void teardown(void) { facts_free(table); }

START_TEST(the_example_of_rfc_6376_holds_in_pieces_of_any_size)
{
	struct str message = str_of(message_6376);

	for (size_t piece = 1; piece <= message.n; piece++) {
		struct dkim *d = check_in_pieces(message, piece);
		const struct dkim_signature *s = dkim_at(d, 0);

		ck_assert_uint_eq(dkim_count(d), 1);
		ck_assert_msg(s->result == DKIM_PASS, "pieces of %zu: %s", piece, s->why);
		ck_assert_str_eq(s->domain, "example.com");
		ck_assert_str_eq(s->selector, "brisbane");
		ck_assert_str_eq(s->identity, "joe@football.example.com");
		ck_assert_uint_eq(s->bits, 1024);
		dkim_free(d);
	}
}
END_TEST

START_TEST(the_examples_of_rfc_8463_hold)
{
	enum dkim_result with = ed25519_available() ? DKIM_PASS : DKIM_NEUTRAL;
	struct str message = STR(MESSAGE_8463);

	for (size_t piece = 1; piece <= message.n; piece += 7) {
		struct dkim *d = check_in_pieces(message, piece);

		ck_assert_uint_eq(dkim_count(d), 2);
		ck_assert_msg(dkim_at(d, 0)->result == with, "%s", dkim_at(d, 0)->why);
		ck_assert(dkim_at(d, 0)->secure || with != DKIM_PASS);
		ck_assert_msg(dkim_at(d, 1)->result == DKIM_PASS, "%s", dkim_at(d, 1)->why);
		ck_assert_int_eq(dkim_at(d, 1)->time, 1528637909);
		ck_assert(!dkim_at(d, 1)->secure);
		dkim_free(d);
	}
}
END_TEST

/* Every octet counts: changed one by one, nothing passes, save where white space or the case of a name is not signed. */
START_TEST(a_changed_octet_makes_it_fail)
{
	struct str all = STR(SIGNED_RSA HEADER_8463 "\r\n" BODY_8463);
	char *copy = malloc(all.n);

	for (size_t i = sizeof(SIGNED_RSA) - 1; i < all.n; i++) {
		struct dkim *d;
		bool space = strchr(" \r\n", all.p[i]) != NULL, name;

		memcpy(copy, all.p, all.n);
		copy[i] = (char)(space ? 'x' : all.p[i] ^ 1);
		name = memchr(" \r\n\t:", copy[i], 5) != NULL;
		d = check_in_pieces((struct str){ copy, all.n }, all.n);
		ck_assert_msg(name || fault(d) || dkim_at(d, 0)->result != DKIM_PASS, "octet %zu", i);
		dkim_free(d);
	}
	free(copy);
}
END_TEST

START_TEST(what_a_changed_message_comes_to)
{
	static const struct {
		const char *message;
		enum dkim_result result;
		const char *why;        /* the beginning */
	} rows[] = {
		{ SIGNED_RSA HEADER_8463 "\r\n" BODY_8463, DKIM_PASS, "the signature holds" },
		{ SIGNED_RSA HEADER_8463 "\r\n" BODY_8463 "\r\n \t \r\n\r\n", DKIM_PASS, "" },
		{ SIGNED_RSA HEADER_8463 "\r\n" "Hi. \t \r\n\r\nWe lost\t the   game. Are you hungry yet?\r\n \r\nJoe.", DKIM_PASS, "" },
		{ SIGNED_RSA HEADER_8463 "\r\n" BODY_8463 "PS: send money\r\n", DKIM_FAIL, "the body" },
		{ SIGNED_RSA HEADER_8463 "\r\n", DKIM_FAIL, "the body" },
		{ SIGNED_RSA HEADER_8463, DKIM_FAIL, "the body" },
		{ SIGNED_RSA "x-other: field\r\n" HEADER_8463 "\r\n" BODY_8463, DKIM_PASS, "" },
		/* From, Subject and Date are signed once more than they are there: another one cannot be added */
		{ SIGNED_RSA HEADER_8463 "From: other@example.com\r\n\r\n" BODY_8463, DKIM_FAIL, "the signature does not hold" },
		{ SIGNED_RSA "From: other@example.com\r\n" HEADER_8463 "\r\n" BODY_8463, DKIM_FAIL, "the signature does not hold" },
		{ SIGNED_RSA "Subject: other\r\n" HEADER_8463 "\r\n" BODY_8463, DKIM_FAIL, "the signature does not hold" },
		{ SIGNED_RSA "To: other\r\n" HEADER_8463 "\r\n" BODY_8463, DKIM_PASS, "" },
		{ SIGNED_RSA HEADER_8463 "To: other\r\n" "\r\n" BODY_8463, DKIM_FAIL, "the signature does not hold" },
	};

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct dkim *d = check(rows[i].message);
		const struct dkim_signature *s = dkim_at(d, 0);

		ck_assert_uint_eq(dkim_count(d), 1);
		ck_assert_msg(s->result == rows[i].result && !strncmp(s->why, rows[i].why, strlen(rows[i].why)), "row %zu: %s: %s", i,
			dkim_result_name[s->result], s->why);
		dkim_free(d);
	}
}
END_TEST

/* ---- keys and their records, with the RSA example of RFC 8463 */

START_TEST(what_a_key_record_comes_to)
{
	static const struct {
		const char *record;     /* NULL: the name is not there */
		enum dkim_result result;
		const char *why;
	} rows[] = {
		{ key_rsa, DKIM_PASS, "the signature holds" },
		{ "p=" P_RSA, DKIM_PASS, "" },
		{ " v = DKIM1 ; h = sha1 : sha256 ; s = email ; n=note; t=s; x1_=y; p = " P_RSA " ; ", DKIM_PASS, "" },
		{ "v=DKIM1; s=other:*; p=" P_RSA, DKIM_PASS, "" },
		{ "v=DKIM1; k=RSA; p=" P_RSA, DKIM_PASS, "" },
		{ "v=DKIM1; t=y; p=" P_RSA, DKIM_PASS, "the signature holds (its key is marked as a test)" },
		{ NULL, DKIM_PERMERROR, "there is no key at test._domainkey.football.example.com" },
		{ "v=DKIM1; p=", DKIM_PERMERROR, "the key is revoked" },
		{ "v=DKIM1; t=y; p=", DKIM_NEUTRAL, "the key is revoked" },
		{ "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", DKIM_PERMERROR, "the key is of another kind" },
		{ "v=DKIM1; k=ed25519; p=" P_RSA, DKIM_PERMERROR, "the key record" },
		{ "v=DKIM1; k=gost; p=" P_RSA, DKIM_PERMERROR, "the key record" },
		{ "v=DKIM1; h=sha1; p=" P_RSA, DKIM_PERMERROR, "the key record" },
		{ "v=DKIM1; s=tlsrpt; p=" P_RSA, DKIM_PERMERROR, "the key may sign reports of TLS, and no other mail" },
		{ "v=DKIM1; s=calendar; p=" P_RSA, DKIM_PERMERROR, "the key record" },
		{ "v=DKIM2; p=" P_RSA, DKIM_PERMERROR, "the key record" },
		{ "p=" P_RSA "; v=DKIM1", DKIM_PERMERROR, "the key record" },
		{ "v=DKIM1; p=" P_RSA "; p=" P_RSA, DKIM_PERMERROR, "the key record" },
		{ "v=DKIM1; p=" P_RSA "; n", DKIM_PERMERROR, "the key record" },
		{ "v=DKIM1; p=" P_RSA "AAAA", DKIM_PERMERROR, "the key record" },
		{ "v=DKIM1; p=!", DKIM_PERMERROR, "the key record" },
		{ "v=DKIM1; k=rsa", DKIM_PERMERROR, "the key record" },
		{ "v=spf1 -all", DKIM_PERMERROR, "the key record" },
		{ "", DKIM_PERMERROR, "the key record" },
		/* RSA of 512 bits */
		{ "v=DKIM1; p=MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAOJ+KK/laQqNiP2zg3eo7skTNWb/YHB5WrstdIMUh1Mxenyh6gX39VGvVsrQabGFDNHTghUIafQuDg1eq+skLTECAwEAAQ==",
			DKIM_PERMERROR, "the key has 512 bits" },
		{ key_6376, DKIM_FAIL, "the signature does not hold" },
		{ "v=DKIM1; t=y:s; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYtIxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v/"
			"RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhitdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB", DKIM_NEUTRAL, "the signature does not hold" },
	};

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct dkim *d;
		const struct dkim_signature *s;

		put("test._domainkey.football.example.com", rows[i].record, false);
		d = check(SIGNED_RSA HEADER_8463 "\r\n" BODY_8463);
		s = dkim_at(d, 0);
		ck_assert_msg(s->result == rows[i].result && !strncmp(s->why, rows[i].why, strlen(rows[i].why)), "row %zu: %s: %s", i,
			dkim_result_name[s->result], s->why);
		ck_assert_msg(s->for_tlsrpt == (rows[i].record && (strstr(rows[i].record, "s=tlsrpt") || (s->result == DKIM_PASS && !strstr(rows[i].record, "email")))),
			"row %zu", i);
		dkim_free(d);
	}
}
END_TEST

START_TEST(a_key_that_cannot_be_looked_up_now_is_a_temporary_error)
{
	struct fact f = { .outcome = UNKNOWN, .why = "SERVFAIL from 127.0.0.1" };
	struct dkim *d;

	facts_put(table, FACT_TXT, STR("test._domainkey.football.example.com"), &f);
	d = check(SIGNED_RSA HEADER_8463 "\r\n" BODY_8463);
	ck_assert_int_eq(dkim_at(d, 0)->result, DKIM_TEMPERROR);
	ck_assert_ptr_nonnull(strstr(dkim_at(d, 0)->why, "SERVFAIL from 127.0.0.1"));
	dkim_free(d);
}
END_TEST

START_TEST(of_several_key_records_the_one_that_fits_counts)
{
	struct record r[2] = { { .data = STR("v=spf1 -all") }, { .data = str_of(key_rsa) } };
	struct fact f = { .outcome = FOUND, .n = 2, .record = r };
	struct dkim *d;

	facts_put(table, FACT_TXT, STR("test._domainkey.football.example.com"), &f);
	d = check(SIGNED_RSA HEADER_8463 "\r\n" BODY_8463);
	ck_assert_int_eq(dkim_at(d, 0)->result, DKIM_PASS);
	dkim_free(d);
	r[1].data = str_of(key_6376);
	facts_put(table, FACT_TXT, STR("test._domainkey.football.example.com"), &f);
	d = check(SIGNED_RSA HEADER_8463 "\r\n" BODY_8463);
	ck_assert_int_eq(dkim_at(d, 0)->result, DKIM_FAIL);
	dkim_free(d);
}
END_TEST

/* Facts that nobody answers. */
static struct fact_ticket *asked[DKIM_SIGNATURES + 1];
static size_t nasked;
static void ask(struct fact_source *source, enum fact_kind kind, struct str name, struct fact_ticket *ticket)
{
	(void)source, (void)kind, (void)name;
	ck_assert_uint_lt(nasked, DKIM_SIGNATURES);
	asked[nasked++] = ticket;
}

START_TEST(keys_are_asked_for_when_the_header_is_whole_and_waited_for)
{
	static struct fact_source world = { .ask = ask };
	static const struct fact none = { .outcome = NO_DATA };
	struct dkim *d = dkim_new();
	struct facts *f = facts_new(&wake, DKIM_SIGNATURES);

	facts_source(FACT_TXT, &world);
	nasked = 0;
	dkim_add(d, STR(SIGNED_RSA HEADER_8463));
	ck_assert(!dkim_judge(d, f, NOW));
	ck_assert_uint_eq(nasked, 0);
	dkim_add(d, STR("\r\nHi"));
	ck_assert(!dkim_judge(d, f, NOW));
	ck_assert_uint_eq(nasked, 1);
	dkim_end(d);
	ck_assert(!dkim_judge(d, f, NOW));
	dkim_give_up(d);
	ck_assert_int_eq(dkim_at(d, 0)->result, DKIM_TEMPERROR);
	dkim_free(d);
	facts_free(f);
	while (nasked)
		fact_answer(asked[--nasked], &none);
	facts_source(FACT_TXT, NULL);
}
END_TEST

/* ---- the field */

START_TEST(what_a_signature_field_comes_to)
{
#define BH "bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8="
#define GOOD "v=1; a=rsa-sha256; d=example.com; s=x; h=from; " BH "; b=AAAA"
	static const struct {
		const char *value;
		enum dkim_result result;        /* DKIM_NONE: well formed */
		const char *why;
	} rows[] = {
		{ GOOD, DKIM_NONE, "" },
		{ GOOD ";", DKIM_NONE, "" },
		{ GOOD "; ", DKIM_NONE, "" },
		{ GOOD ";\r\n ", DKIM_NONE, "" },
		{ GOOD ";\r\n\t\r\n ", DKIM_PERMERROR, "in the signature" },
		{ GOOD ";;", DKIM_PERMERROR, "in the signature a tag has no name" },
		{ GOOD "; q", DKIM_PERMERROR, "in the signature a tag has no value" },
		{ GOOD "; v=1", DKIM_PERMERROR, "in the signature a tag stands there twice" },
		{ GOOD "; 1a=x", DKIM_PERMERROR, "in the signature a tag has no name" },
		{ GOOD "; _a=x", DKIM_PERMERROR, "in the signature a tag has no name" },
		{ GOOD "; z=\x01", DKIM_PERMERROR, "in the signature a tag's value" },
		{ GOOD "; z=\r\nx", DKIM_PERMERROR, "in the signature a tag's value" },
		{ GOOD "; z=a\r\n b; unknown=; a_1=x", DKIM_NONE, "" },
		{ "", DKIM_PERMERROR, "in the signature there is no tag" },
		{ "a=rsa-sha256; d=example.com; s=x; h=from; " BH "; b=AAAA", DKIM_PERMERROR, "the signature has no v=" },
		{ "v=2; a=rsa-sha256; d=example.com; s=x; h=from; " BH "; b=AAAA", DKIM_PERMERROR, "v=" },
		{ "v=1; d=example.com; s=x; h=from; " BH "; b=AAAA", DKIM_PERMERROR, "the signature has no a=" },
		{ "v=1; a=rsa-sha256; s=x; h=from; " BH "; b=AAAA", DKIM_PERMERROR, "the signature has no d=" },
		{ "v=1; a=rsa-sha256; d=example.com; h=from; " BH "; b=AAAA", DKIM_PERMERROR, "the signature has no s=" },
		{ "v=1; a=rsa-sha256; d=example.com; s=x; " BH "; b=AAAA", DKIM_PERMERROR, "the signature has no h=" },
		{ "v=1; a=rsa-sha256; d=example.com; s=x; h=from; b=AAAA", DKIM_PERMERROR, "the signature has no bh=" },
		{ "v=1; a=rsa-sha256; d=example.com; s=x; h=from; " BH, DKIM_PERMERROR, "the signature has no b=" },
		{ "v=1; a=rsa-sha256; d=example.com; s=x; h=to : subject; " BH "; b=AAAA", DKIM_PERMERROR, "From is not" },
		{ "v=1; a=rsa-sha256; d=example.com; s=x; h=to\r\n : FROM\t:x; " BH "; b=AAAA", DKIM_NONE, "" },
		{ "v=1; a=rsa-sha256; d=example.com; s=x; h=from:; " BH "; b=AAAA", DKIM_PERMERROR, "h=" },
		{ "v=1; a=rsa-sha256; d=example.com; s=x; h=from to; " BH "; b=AAAA", DKIM_PERMERROR, "h=" },
		{ "v=1; a=rsa-sha256; d=example.com; s=x; h=from; bh=AAAA; b=AAAA", DKIM_PERMERROR, "bh=" },
		{ "v=1; a=rsa-sha256; d=example.com; s=x; h=from; bh=2jUSOH9Nht VGCQWNr9BrIAPreKQjO6Sn7XIkf\r\n JVOzv8 =; b=A A\r\n\tAA", DKIM_NONE, "" },
		{ "v=1; a=rsa-sha256; d=example.com; s=x; h=from; " BH "; b=", DKIM_PERMERROR, "b=" },
		{ "v=1; a=rsa-sha256; d=example.com; s=x; h=from; " BH "; b=A", DKIM_PERMERROR, "b=" },
		{ "v=1; a=rsa-sha256; d=example.com; s=x; h=from; " BH "; b=AA-A", DKIM_PERMERROR, "b=" },
		{ "v=1; a=rsa-sha1; d=example.com; s=x; h=from; " BH "; b=AAAA", DKIM_PERMERROR, "rsa-sha1" },
		{ "v=1; a=rsa-sha512; d=example.com; s=x; h=from; " BH "; b=AAAA", DKIM_NEUTRAL, "the algorithm" },
		{ "v=1; a=; d=example.com; s=x; h=from; " BH "; b=AAAA", DKIM_NEUTRAL, "the algorithm" },
		{ "v=1; a=rsa-sha256; d=com; s=x; h=from; " BH "; b=AAAA", DKIM_PERMERROR, "d=" },
		{ "v=1; a=rsa-sha256; d=a..b; s=x; h=from; " BH "; b=AAAA", DKIM_PERMERROR, "d=" },
		{ "v=1; a=rsa-sha256; d=[192.0.2.1]; s=x; h=from; " BH "; b=AAAA", DKIM_PERMERROR, "d=" },
		{ "v=1; a=rsa-sha256; d=example.com.; s=x; h=from; " BH "; b=AAAA", DKIM_PERMERROR, "d=" },
		{ "v=1; a=rsa-sha256; d=example.com; s=a.b_c-d.2; h=from; " BH "; b=AAAA", DKIM_NONE, "" },
		{ "v=1; a=rsa-sha256; d=example.com; s=a..b; h=from; " BH "; b=AAAA", DKIM_PERMERROR, "s=" },
		{ "v=1; a=rsa-sha256; d=example.com; s=a/b; h=from; " BH "; b=AAAA", DKIM_PERMERROR, "s=" },
		{ "v=1; a=rsa-sha256; d=example.com; s=; h=from; " BH "; b=AAAA", DKIM_PERMERROR, "s=" },
		{ GOOD "; i=@example.com", DKIM_NONE, "" },
		{ GOOD "; i=a@b@sub.Example.com", DKIM_NONE, "" },
		{ GOOD "; i=@xexample.com", DKIM_PERMERROR, "i=" },
		{ GOOD "; i=@com", DKIM_PERMERROR, "i=" },
		{ GOOD "; i=example.com", DKIM_PERMERROR, "i=" },
		{ GOOD "; i=", DKIM_NONE, "" },
		{ GOOD "; c=relaxed", DKIM_NONE, "" },
		{ GOOD "; c=Simple/Relaxed", DKIM_NONE, "" },
		{ GOOD "; c=nofws", DKIM_PERMERROR, "c=" },
		{ GOOD "; c=relaxed/", DKIM_PERMERROR, "c=" },
		{ GOOD "; q=dns/txt", DKIM_NONE, "" },
		{ GOOD "; q=http : dns/txt", DKIM_NONE, "" },
		{ GOOD "; q=http", DKIM_PERMERROR, "q=" },
		{ GOOD "; l=0", DKIM_NONE, "" },
		{ GOOD "; l=-1", DKIM_PERMERROR, "l=" },
		{ GOOD "; l=99999999999999999999999999", DKIM_PERMERROR, "l=" },
		{ GOOD "; t=1; x=2", DKIM_NONE, "" },
		{ GOOD "; t=2; x=2", DKIM_PERMERROR, "x= is not later" },
		{ GOOD "; t=x", DKIM_PERMERROR, "t=" },
		{ GOOD "; x=", DKIM_PERMERROR, "x=" },
	};

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct dkim_signature s;
		struct str names, raw;
		bool ok = dkim_signature_parse(str_of(rows[i].value), &s, &names, &raw);

		ck_assert_msg(ok == (s.result == DKIM_NONE) && s.result == rows[i].result && !strncmp(s.why, rows[i].why, strlen(rows[i].why)),
			"%s: %s: %s", rows[i].value, dkim_result_name[s.result], s.why);
	}
}
END_TEST

START_TEST(a_signature_has_an_end)
{
	struct buf value = { 0 };
	struct dkim_signature s;
	struct str names, raw;

	buf_puts(&value, GOOD "; z=");
	while (value.n <= DKIM_FIELD_MAX)
		buf_char(&value, 'x');
	ck_assert(!dkim_signature_parse(buf_view(&value), &s, &names, &raw));
	ck_assert_int_eq(s.result, DKIM_PERMERROR);
	buf_clear(&value);
	buf_puts(&value, GOOD);
	for (unsigned i = 0; i < DKIM_TAGS; i++)
		buf_printf(&value, "; z%u=", i);
	ck_assert(!dkim_signature_parse(buf_view(&value), &s, &names, &raw));
	ck_assert_str_eq(s.why, "in the signature there are too many tags");
	buf_free(&value);
}
END_TEST

START_TEST(internationalized_names_are_asked_for_as_the_dns_has_them)
{
	struct dkim_signature s;
	struct str names, raw;
	bool ok = dkim_signature_parse(STR("v=1; a=rsa-sha256; d=b\xc3\xbc""cher.Example; i=\xc3\xbc@xn--bcher-kva.example; s=x; h=from; " BH "; b=AAAA"), &s, &names, &raw);

	ck_assert(ok || s.result == DKIM_PERMERROR);            /* without libidn2 */
	if (ok)
		ck_assert_str_eq(s.domain, "xn--bcher-kva.example");
}
END_TEST

/* ---- l= and x= of messages signed here */

static void seal(struct buf *out, struct sign_key *key, const char *tags, const char *header, const char *body)
{
	unsigned char digest[DKIM_DIGEST], octets[SIGNATURE_MAX];
	struct buf field = { 0 }, all = { 0 };
	struct dkim_fields *fields;
	struct hashing hash;
	struct dkim_body b;
	const char *why, *limit = strstr(tags, "l=");
	size_t n;

	dkim_body_begin(&b, DKIM_RELAXED, limit ? strtoull(limit + 2, NULL, 10) : UINT64_MAX);
	dkim_body_add(&b, str_of(body));
	dkim_body_end(&b, digest);
	buf_printf(&field, "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.org; s=x; h=from:from; %s bh=", tags);
	base64_encode(&field, digest, sizeof digest);
	buf_puts(&field, "; b=");
	buf_str(&all, buf_view(&field));
	buf_puts(&field, "\r\n");
	fields = dkim_fields_new(str_of(header), &why);
	dkim_fields_hash(fields, DKIM_RELAXED, STR("from:from"), STR(""), &hash);
	ck_assert(dkim_own_hash(&hash, DKIM_RELAXED, buf_view(&field), (struct str){ field.p + field.n - 2, 0 }, digest));
	dkim_fields_free(fields);
	n = sign_key_sign(key, digest, octets);
	ck_assert_uint_ne(n, 0);
	buf_str(out, buf_view(&all));
	base64_encode(out, octets, n);
	buf_printf(out, "\r\n%s\r\n%s", header, body);
	buf_free(&field);
	buf_free(&all);
}

START_TEST(limits_in_time_and_length_hold)
{
	static const struct {
		const char *tags, *signed_body, *body;
		enum dkim_result result;
		const char *why;
	} rows[] = {
		{ "", "text\r\n", "text\r\n", DKIM_PASS, "" },
		{ "l=6;", "text\r\n", "text\r\n", DKIM_PASS, "" },
		{ "l=6;", "text\r\n", "text\r\n\r\n\r\n", DKIM_PASS, "" },
		{ "l=6;", "text\r\n", "text\r\nmore\r\n", DKIM_POLICY, "it holds, but" },
		{ "l=3;", "text\r\n", "text\r\n", DKIM_POLICY, "it holds, but" },
		{ "l=0;", "text\r\n", "anything\r\n", DKIM_POLICY, "it holds, but" },
		{ "l=0;", "", "", DKIM_PASS, "" },
		{ "l=7;", "text\r\n", "text\r\n", DKIM_PERMERROR, "l= is larger" },
		{ "l=6;", "text\r\n", "Text\r\nmore\r\n", DKIM_FAIL, "the body" },
		{ "x=1600000001;", "", "", DKIM_PASS, "" },
		{ "x=1600000000;", "", "", DKIM_PASS, "" },
		{ "t=1; x=1599999999;", "", "", DKIM_PERMERROR, "the signature has expired" },
		{ "t=1700000000;", "", "", DKIM_PASS, "" },
	};
	struct sign_key *key = sign_key_new(KEY_RSA, 1024);
	struct buf public = { 0 }, record = { 0 };

	ck_assert_ptr_nonnull(key);
	sign_key_public(key, &public);
	buf_puts(&record, "v=DKIM1; p=");
	base64_encode(&record, public.p, public.n);
	put("x._domainkey.example.org", buf_cstr(&record), false);
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct buf message = { 0 }, given = { 0 };
		struct dkim *d;

		seal(&message, key, rows[i].tags, "From: a@example.org\r\n", rows[i].signed_body);
		message.n -= strlen(rows[i].signed_body);
		buf_puts(&message, rows[i].body);
		d = check_in_pieces(buf_view(&message), 3);
		ck_assert_msg(dkim_at(d, 0)->result == rows[i].result && !strncmp(dkim_at(d, 0)->why, rows[i].why, strlen(rows[i].why)), "row %zu: %s: %s",
			i, dkim_result_name[dkim_at(d, 0)->result], dkim_at(d, 0)->why);
		dkim_free(d);
		buf_free(&message);
		buf_free(&given);
	}
	sign_key_free(key);
	buf_free(&public);
	buf_free(&record);
}
END_TEST

/* ---- bounds */

START_TEST(so_many_signatures_are_looked_at)
{
	struct buf message = { 0 };
	struct dkim *d;

	for (unsigned i = 0; i < DKIM_SIGNATURES + 3; i++)
		buf_puts(&message, SIGNED_RSA);
	buf_puts(&message, HEADER_8463 "\r\n" BODY_8463);
	d = check_in_pieces(buf_view(&message), message.n);
	ck_assert_uint_eq(dkim_count(d), DKIM_SIGNATURES);
	ck_assert_uint_eq(dkim_passed_over(d), 3);
	for (size_t i = 0; i < DKIM_SIGNATURES; i++)
		ck_assert_int_eq(dkim_at(d, i)->result, DKIM_PASS);
	dkim_free(d);
	buf_free(&message);
}
END_TEST

START_TEST(a_header_that_cannot_be_read_is_a_fault)
{
	struct buf message = { 0 };
	struct dkim *d = check(SIGNED_RSA "this is no field\r\n" HEADER_8463 "\r\n" BODY_8463);

	ck_assert_str_eq(fault(d), "a line in the header is no field");
	ck_assert_uint_eq(dkim_count(d), 0);
	dkim_free(d);
	buf_puts(&message, SIGNED_RSA);
	while (message.n <= DKIM_HEADER_MAX)
		buf_puts(&message, "x-y: 012345678901234567890123456789\r\n");
	buf_puts(&message, HEADER_8463 "\r\n" BODY_8463);
	for (size_t piece = 1000; piece < message.n; piece *= 7) {
		d = check_in_pieces(buf_view(&message), piece);
		ck_assert_str_eq(fault(d), "the header is larger than 256 KiB");
		dkim_free(d);
	}
	buf_free(&message);
	d = check("");
	ck_assert(!fault(d) && dkim_count(d) == 0);
	dkim_free(d);
	d = check("\r\n" SIGNED_RSA);
	ck_assert(!fault(d) && dkim_count(d) == 0);
	dkim_free(d);
}
END_TEST

START_TEST(who_must_let_go_of_a_header_says_so_and_goes_on)
{
	struct dkim *d = dkim_new();
	const char *why;

	dkim_add(d, STR(SIGNED_RSA HEADER_8463));
	ck_assert_uint_ge(dkim_holds(d), strlen(SIGNED_RSA HEADER_8463));
	dkim_abandon(d, "too many");
	ck_assert_uint_eq(dkim_holds(d), 0);
	dkim_add(d, STR("\r\n" BODY_8463));
	dkim_end(d);
	ck_assert(dkim_judge(d, table, NOW));
	ck_assert_int_eq(dkim_fault(d, &why), DKIM_TEMPERROR);
	ck_assert_str_eq(why, "too many");
	ck_assert_uint_eq(dkim_count(d), 0);
	dkim_free(d);
}
END_TEST

/* Headers as long as may be, each field named by each of so many signatures: a second would be far too long. */
START_TEST(many_fields_and_names_cost_no_more_than_their_octets)
{
	struct buf message = { 0 };
	struct dkim *d;

	for (unsigned i = 0; i < DKIM_SIGNATURES; i++) {
		buf_printf(&message, "DKIM-Signature: v=1; a=rsa-sha256; d=example.com; s=x; " BH "; b=AAAA; h=from");
		for (unsigned k = 0; k < 7000; k++)
			buf_puts(&message, ":x");
		buf_puts(&message, "\r\n");
	}
	while (message.n < DKIM_HEADER_MAX - 1000)
		buf_puts(&message, "x:\r\n");
	buf_puts(&message, HEADER_8463 "\r\n");
	for (unsigned i = 0; i < 20; i++) {
		d = check_in_pieces(buf_view(&message), 1 << 16);
		ck_assert_uint_eq(dkim_count(d), DKIM_SIGNATURES);
		dkim_free(d);
	}
	buf_free(&message);
}
END_TEST

/* ---- bodies: what the canonical forms must be, said without a state machine (3.4.3, 3.4.4) */

static void canonical(enum dkim_canon canon, struct str body, struct buf *out)
{
	buf_clear(out);
	while (body.n) {
		const char *end = memmem(body.p, body.n, "\r\n", 2);
		struct str line = { body.p, end ? (size_t)(end - body.p) : body.n };
		size_t from = out->n;

		body = str_from(body, end ? line.n + 2 : line.n);
		for (size_t i = 0; i < line.n; i++) {
			bool blank = line.p[i] == ' ' || line.p[i] == '\t';

			if (canon == DKIM_SIMPLE || !blank)
				buf_char(out, line.p[i]);
			else if (out->n == from || out->p[out->n - 1] != ' ')
				buf_char(out, ' ');
		}
		if (canon == DKIM_RELAXED && out->n > from && out->p[out->n - 1] == ' ')
			out->n--;
		buf_puts(out, "\r\n");
	}
	while (out->n >= 4 && !memcmp(out->p + out->n - 4, "\r\n\r\n", 4))
		out->n -= 2;
	if (out->n == 2 || !out->n) {
		buf_clear(out);
		if (canon == DKIM_SIMPLE)
			buf_puts(out, "\r\n");
	}
}

static const uint64_t limits[] = { UINT64_MAX, 0, 1, 2, 3, 5 };

START_TEST(bodies_have_one_canonical_form_however_they_are_split)
{
	static const char alphabet[] = "a \t\r\n";
	struct buf form = { 0 };
	unsigned long texts = 0;

	for (size_t n = 0; n <= 7; n++) {
		char text[8];
		size_t all = 1;

		for (size_t i = 0; i < n; i++)
			all *= 5;
		for (size_t k = 0; k < all; k++) {
			size_t rest = k;

			for (size_t i = 0; i < n; i++, rest /= 5)
				text[i] = alphabet[rest % 5];
			for (int canon = DKIM_SIMPLE; canon <= DKIM_RELAXED; canon++) {
				size_t limit = texts % COUNT(limits);
				unsigned char want[HASH_MAX], got[DKIM_DIGEST];

				canonical((enum dkim_canon)canon, (struct str){ text, n }, &form);
				hash_of(HASH_SHA256, (struct str){ form.p, form.n < limits[limit] ? form.n : limits[limit] }, want);
				for (size_t piece = 1; piece <= n + 1; piece++) {
					struct dkim_body b;

					dkim_body_begin(&b, (enum dkim_canon)canon, limits[limit]);
					for (size_t at = 0; at < n; at += piece)
						dkim_body_add(&b, (struct str){ text + at, n - at < piece ? n - at : piece });
					dkim_body_end(&b, got);
					if (memcmp(want, got, sizeof got) || (form.n <= limits[limit] ? b.n != form.n : b.n <= limits[limit]))
						ck_abort_msg("length %zu, text %zu, form %d, pieces of %zu", n, k, canon, piece);
				}
				texts++;
			}
		}
	}
	buf_free(&form);
	ck_assert_uint_eq(texts, 2 * (1 + 5 + 25 + 125 + 625 + 3125 + 15625 + 78125));
}
END_TEST

START_TEST(headers_have_the_forms_of_the_examples)
{
	/* RFC 6376 3.4.5 */
	static const char header[] = "A: X\r\nB : Y\t\r\n\tZ  \r\n", own[] = "S: b=\r\n";
	static const struct {
		enum dkim_canon canon;
		const char *names, *form;
	} rows[] = {
		{ DKIM_RELAXED, "a:b", "a:X\r\nb:Y Z\r\ns:b=" },
		{ DKIM_SIMPLE, "a:b", "A: X\r\nB : Y\t\r\n\tZ  \r\nS: b=" },
		{ DKIM_RELAXED, "b : A : a : none", "b:Y Z\r\na:X\r\ns:b=" },
	};

	for (size_t i = 0; i < COUNT(rows); i++) {
		const char *why;
		struct dkim_fields *f = dkim_fields_new(str_of(header), &why);
		unsigned char want[HASH_MAX], got[DKIM_DIGEST];
		struct hashing hash;

		hash_of(HASH_SHA256, str_of(rows[i].form), want);
		for (int again = 0; again < 2; again++) {       /* each signature takes them from the bottom */
			dkim_fields_hash(f, rows[i].canon, str_of(rows[i].names), str_of(own), &hash);
			ck_assert(dkim_own_hash(&hash, rows[i].canon, str_of(own), (struct str){ own + 5, 0 }, got));
			ck_assert_mem_eq(want, got, sizeof got);
		}
		dkim_fields_free(f);
	}
}
END_TEST

Suite *policy_dkim_suite(void)
{
	Suite *s = suite_create("policy_dkim");
	TCase *t = tcase_create("dkim");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, the_example_of_rfc_6376_holds_in_pieces_of_any_size);
	tcase_add_test(t, the_examples_of_rfc_8463_hold);
	tcase_add_test(t, a_changed_octet_makes_it_fail);
	tcase_add_test(t, what_a_changed_message_comes_to);
	tcase_add_test(t, what_a_key_record_comes_to);
	tcase_add_test(t, a_key_that_cannot_be_looked_up_now_is_a_temporary_error);
	tcase_add_test(t, of_several_key_records_the_one_that_fits_counts);
	tcase_add_test(t, keys_are_asked_for_when_the_header_is_whole_and_waited_for);
	tcase_add_test(t, what_a_signature_field_comes_to);
	tcase_add_test(t, a_signature_has_an_end);
	tcase_add_test(t, internationalized_names_are_asked_for_as_the_dns_has_them);
	tcase_add_test(t, limits_in_time_and_length_hold);
	tcase_add_test(t, so_many_signatures_are_looked_at);
	tcase_add_test(t, a_header_that_cannot_be_read_is_a_fault);
	tcase_add_test(t, who_must_let_go_of_a_header_says_so_and_goes_on);
	tcase_add_test(t, many_fields_and_names_cost_no_more_than_their_octets);
	tcase_add_test(t, bodies_have_one_canonical_form_however_they_are_split);
	tcase_add_test(t, headers_have_the_forms_of_the_examples);
	suite_add_tcase(s, t);
	return s;
}
