/* Authentication-Results: whose a field is, which ones are taken out however the octets are split, and what ours looks like. */
#include "policy/authres.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/idn.h"
#include "mime/header.h"
#include "policy/dkim.h"
#include "policy/dmarc.h"
#include "policy/iprev.h"
#include "policy/spf.h"

Suite *policy_authres_suite(void);

static const char own[] = "mx.example.org";

START_TEST(a_field_belongs_to_the_host_it_names)
{
	static const struct {
		const char *value;
		bool ours;
	} rows[] = {
		{ " mx.example.org; dkim=pass", true },
		{ "mx.example.org;", true },
		{ " MX.Example.ORG 1; none", true },
		{ " mx.example.org", true },
		{ "\r\n\t mx.example.org\r\n ; none", true },
		{ " (comment (deep \\) )) mx.example.org(x); none", true },
		{ " \"mx.example.org\"; none", true },
		{ " \"mx\\.example.org\"; none", true },
		{ " other.example.org; dkim=pass", false },
		{ " mx.example.org.other.test; dkim=pass", false },
		{ " \"other\"; none", false },
		{ " (mx.example.org) other; none", false },
		{ " other (v) 1 (x); none", false },
		{ " other", false },
		{ " \"mx.example.org\" 1 ; none", true },
		{ " \"mx.\r\n example.org\"; none", true },
		{ " mx.example.org.; none", true },
		{ " other.; none", false },
		/* nobody can say */
		{ "", true },
		{ " ; none", true },
		{ " (never ends mx.other.test; none", true },
		{ " \"never ends; none", true },
		{ " \"\"; none", true },
		/* readers that are not strict would find us in it */
		{ " mx.(x)example.org; none", true },
		{ " mx.\r\n example.org; none", true },
		{ " =?us-ascii?q?mx.example.org?=; none", true },
		{ " other mx.example.org; none", true },
		{ " other/mx.example.org; none", true },
		{ " other 1 mx.example.org; none", true },
		{ " other 1 (never ends; none", true },
		{ " \"other\"mx.example.org; none", true },
		{ " dkim=pass; spf=pass", true },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		ck_assert_msg(authres_is_from(str_of(rows[i].value), own) == rows[i].ours, "%s", rows[i].value);
}
END_TEST

/* The rule without a state machine. Our filter goes on where header_next() ends the header without an empty line. */
static void expect_filtered(struct str message, struct buf *out)
{
	struct str rest = message;
	struct field f;

	buf_clear(out);
	while (header_next(&rest, &f))
		if (!str_eq_nocase(f.name, STR("Authentication-Results")) || !authres_is_from(f.value, own))
			buf_str(out, f.whole);
	if (rest.n < message.n && rest.p[-1] == '\n' && rest.p - message.p >= 2 && rest.p[-2] == '\r' && (rest.p - message.p == 2 || rest.p[-3] == '\n'))
		buf_puts(out, "\r\n");
	buf_str(out, rest);
}

static const struct {
	const char *text;
	unsigned removed;
} messages[] = {
	{ "", 0 },
	{ "Subject: x\r\n\r\nAuthentication-Results: mx.example.org; none\r\n", 0 },
	{ "Authentication-Results: mx.example.org; dkim=pass\r\n\r\nbody\r\n", 1 },
	{ "Authentication-Results: mx.example.org;\r\n dkim=pass\r\n\theader.d=x\r\nSubject: x\r\n\r\nbody\r\n", 1 },
	{ "Subject: x\r\nauthentication-RESULTS \t: MX.example.org;\r\n dkim=pass\r\nauthentication-results: other; none\r\n\r\n", 1 },
	{ "Authentication-Results: mx.example.org; a\r\nAuthentication-Results: mx.example.org; b\r\nX: y\r\nAuthentication-Results: mx.example.org; c\r\n\r\nx", 3 },
	{ "Authentication-Result: mx.example.org\r\nAuthentication-Results-X: mx.example.org\r\nAuthAuthentication-Results: mx.example.org\r\n\r\n", 0 },
	{ "X: y\r\n Authentication-Results: mx.example.org\r\n\r\n", 0 },
	{ "Authentication-Results: mx.example.org; none", 1 },
	{ "Authentication-Results: other; none\r\n continued", 0 },
	{ "Authentication-Results:\r\n mx.example.org; none\r\n\r\n", 1 },
	{ "A\r\nAuthentication-Results\r\n\r\nx", 0 },
};

START_TEST(fields_in_our_name_are_taken_out_however_they_are_split)
{
	struct buf want = { 0 };

	for (size_t i = 0; i < sizeof messages / sizeof *messages; i++) {
		struct str text = str_of(messages[i].text);

		expect_filtered(text, &want);
		for (size_t piece = 1; piece <= text.n + 1; piece++) {
			struct authres_filter f;
			struct buf out = { 0 };

			authres_filter_begin(&f, own);
			for (size_t at = 0; at < text.n; at += piece)
				ck_assert(authres_filter_add(&f, (struct str){ text.p + at, text.n - at < piece ? text.n - at : piece }, &out));
			ck_assert(authres_filter_end(&f, &out));
			ck_assert_msg(str_eq(buf_view(&out), buf_view(&want)), "row %zu, pieces of %zu: %.*s", i, piece, (int)out.n, out.p);
			ck_assert_uint_eq(f.removed, messages[i].removed);
			authres_filter_free(&f);
			buf_free(&out);
		}
	}
	buf_free(&want);
}
END_TEST

START_TEST(a_field_too_long_to_judge_is_taken_out)
{
	struct authres_filter f;
	struct buf text = { 0 }, out = { 0 };

	buf_puts(&text, "X: y\r\nAuthentication-Results: other.test;\r\n");
	while (text.n < 2 * AUTHRES_FIELD_MAX)
		buf_puts(&text, "\tdkim=pass header.d=example.test;\r\n");
	buf_puts(&text, "Subject: x\r\n\r\nbody\r\n");
	authres_filter_begin(&f, own);
	for (size_t i = 0; i < text.n; i += 100)
		authres_filter_add(&f, (struct str){ text.p + i, text.n - i < 100 ? text.n - i : 100 }, &out);
	authres_filter_end(&f, &out);
	ck_assert_str_eq(buf_cstr(&out), "X: y\r\nSubject: x\r\n\r\nbody\r\n");
	ck_assert_uint_eq(f.removed, 1);
	authres_filter_free(&f);
	buf_free(&text);
	buf_free(&out);
}
END_TEST

static struct dkim *of(const char *message)
{
	struct dkim *d = dkim_new();

	dkim_add(d, str_of(message));
	dkim_end(d);
	dkim_give_up(d);
	return d;
}

#define SIGNATURE "bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=; b=AB/+Cd09AB/+Cd09"

START_TEST(what_our_field_looks_like)
{
	static const struct {
		const char *message, *field, *words;
	} rows[] = {
		{ "From: x\r\n\r\n", "Authentication-Results: mx.example.org;\r\n\tdkim=none\r\n", "none" },
		{ "DKIM-Signature: x\r\nno field\r\n\r\n", "Authentication-Results: mx.example.org;\r\n\tdkim=permerror\r\n\t\treason=\"a line in the header is no field\"\r\n",
			"permerror" },
		{ "DKIM-Signature: v=1; d=example.com; s=x\r\n\r\n",
			"Authentication-Results: mx.example.org;\r\n\tdkim=permerror\r\n\t\treason=\"the signature has no a=\" header.d=example.com header.s=x\r\n",
			"permerror:example.com" },
		{ "DKIM-Signature: v=1; a=rsa-sha256; d=example.com; s=x; i=a\"b@example.com; h=from; " SIGNATURE "\r\nDKIM-Signature: z\r\n\r\n",
			"Authentication-Results: mx.example.org;\r\n\tdkim=temperror\r\n\t\treason=\"the key did not come in time\" header.d=example.com header.s=x"
			" header.a=rsa-sha256 header.i=\"a\\\"b@example.com\" header.b=\"AB/+Cd09\";\r\n"
			"\tdkim=permerror\r\n\t\treason=\"in the signature a tag has no value\"\r\n", "temperror:example.com permerror" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct dkim *d = of(rows[i].message);
		struct buf out = { 0 };
		char words[100];

		ck_assert(authres_print(&out, own, &(struct authres){ .dkim = d }));
		ck_assert_str_eq(buf_cstr(&out), rows[i].field);
		authres_words(words, sizeof words, d);
		ck_assert_str_eq(words, rows[i].words);
		buf_free(&out);
		dkim_free(d);
	}
}
END_TEST

START_TEST(a_name_is_ours_in_either_form)
{
	static const char *const names[] = { "mx.b\xc3\xbc" "cher.example", "MX.B\xc3\x9c" "CHER.example", "mx.xn--bcher-kva.example" };

	ck_assert(!authres_is_from(STR(" b\xc3\xbc" "cher.example; none"), names[0]));
	for (size_t i = 0; i < 3; i++)
		for (size_t k = 0; k < 3; k++)
			ck_assert(authres_is_from(str_of(names[i]), names[k]) || !idn_available());
}
END_TEST

START_TEST(each_method_has_its_line)
{
	static const struct ip ip = { .n = 16, .text = "2001:db8::7" };
	static const struct iprev_result iprev = { .code = IPREV_PASS, .name = "mx.client.test", .secure = true };
	static const struct spf_result spf = { .code = SPF_SOFTFAIL, .domain = "b.test" }, helo = { .code = SPF_PASS, .helo = true, .domain = "x y" };
	static const struct dmarc_result fail = { .code = DMARC_FAIL, .policy = DMARC_P_QUARANTINE, .override = DMARC_TEST_MODE, .domain = "b.test", .why = "no" },
		broken = { .code = DMARC_PERMERROR, .policy = DMARC_P_NONE, .secure = true, .domain = "b.test", .why = "it says \"x\"" };
	struct buf out = { 0 };

	ck_assert(authres_print(&out, own, &(struct authres){ .ip = &ip, .iprev = &iprev, .spf = &spf, .dmarc = &fail }));
	ck_assert_str_eq(buf_cstr(&out), "Authentication-Results: mx.example.org;\r\n\tiprev=pass (mx.client.test, DNSSEC) policy.iprev=\"2001:db8::7\";\r\n"
		"\tspf=softfail smtp.mailfrom=b.test;\r\n\tdmarc=fail (policy_test_mode) header.from=b.test policy.dmarc=quarantine\r\n");
	buf_clear(&out);
	ck_assert(authres_print(&out, own, &(struct authres){ .spf = &helo, .dmarc = &broken }));
	ck_assert_str_eq(buf_cstr(&out), "Authentication-Results: mx.example.org;\r\n\tspf=pass smtp.helo=\"x y\";\r\n"
		"\tdmarc=permerror (DNSSEC)\r\n\t\treason=\"it says \\\"x\\\"\" header.from=b.test\r\n");
	buf_free(&out);
}
END_TEST

static void fill(char *text, size_t size)
{
	memset(text, '"', size - 1);
	text[size - 1] = '\0';
}

START_TEST(results_of_any_length_fit_into_their_room)
{
	struct dkim *d = of("DKIM-Signature: v=1; a=rsa-sha256; d=example.com; s=x; h=from; " SIGNATURE "\r\n\r\n");
	struct ip ip = { .n = 16 };
	struct iprev_result iprev = { .code = IPREV_TEMPERROR, .secure = true };
	struct spf_result spf = { .code = SPF_TEMPERROR };
	struct dmarc_result dmarc = { .code = DMARC_PERMERROR, .secure = true, .override = DMARC_TRUSTED_FORWARDER };
	struct buf out = { 0 };

	fill(ip.text, sizeof ip.text);
	memset(iprev.name, 'a', sizeof iprev.name - 1);
	fill(spf.domain, sizeof spf.domain);
	fill(dmarc.domain, sizeof dmarc.domain);
	fill(dmarc.why, sizeof dmarc.why);
	ck_assert(authres_print(&out, own, &(struct authres){ .ip = &ip, .iprev = &iprev, .spf = &spf, .dmarc = &dmarc, .dkim = d }));
	ck_assert_uint_le(out.n, AUTHRES_ROOM);
	ck_assert_str_eq(buf_cstr(&out) + out.n - 2, "\r\n");
	dkim_free(d);
	buf_free(&out);
}
END_TEST

START_TEST(our_field_fits_into_its_room)
{
	struct buf message = { 0 }, out = { 0 };
	struct dkim *d;
	char words[40];

	for (unsigned i = 0; i < DKIM_SIGNATURES; i++)
		buf_printf(&message, "DKIM-Signature: v=1; a=rsa-sha256; d=a.%0*d.%0*d.example.com; s=x; h=from; " SIGNATURE "\r\n", 60, 1, 60, 2);
	d = of(buf_cstr(&message));
	ck_assert(authres_print(&out, own, &(struct authres){ .dkim = d }));
	ck_assert_uint_le(out.n, AUTHRES_ROOM);
	ck_assert_uint_ge(out.n, AUTHRES_ROOM / 2);
	ck_assert_str_eq(buf_cstr(&out) + out.n - 2, "\r\n");
	authres_words(words, sizeof words, d);
	ck_assert_uint_eq(strlen(words), sizeof words - 1);
	dkim_free(d);
	buf_free(&message);
	buf_free(&out);
}
END_TEST

Suite *policy_authres_suite(void)
{
	Suite *s = suite_create("policy_authres");
	TCase *t = tcase_create("authres");

	tcase_add_test(t, a_field_belongs_to_the_host_it_names);
	tcase_add_test(t, fields_in_our_name_are_taken_out_however_they_are_split);
	tcase_add_test(t, a_field_too_long_to_judge_is_taken_out);
	tcase_add_test(t, what_our_field_looks_like);
	tcase_add_test(t, a_name_is_ours_in_either_form);
	tcase_add_test(t, each_method_has_its_line);
	tcase_add_test(t, results_of_any_length_fit_into_their_room);
	tcase_add_test(t, our_field_fits_into_its_room);
	suite_add_tcase(s, t);
	return s;
}
