/* Signing: what is signed by us is believed by us, and what is added afterwards is noticed. */
#include "policy/sign.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

#include "lib/codec.h"
#include "policy/dkim.h"

Suite *policy_sign_suite(void);

enum { NOW = 1600000000 };

static struct facts *table;
static struct signer *signer;
static void nothing(struct task *t) { (void)t; }
static struct task wake = { .run = nothing };

/* A key whose record can be looked up. */
static void add_key(const char *domain, const char *selector, enum key_kind kind)
{
	struct sign_key *key = sign_key_new(kind, 1024);
	struct buf public = { 0 }, record = { 0 }, name = { 0 };
	struct record r;
	struct fact f = { .outcome = FOUND, .n = 1, .record = &r };

	ck_assert_ptr_nonnull(key);
	ck_assert(sign_key_public(key, &public));
	buf_printf(&record, "v=DKIM1; k=%s; p=", kind == KEY_RSA ? "rsa" : "ed25519");
	base64_encode(&record, public.p, public.n);
	buf_printf(&name, "%s._domainkey.%s", selector, domain);
	r = (struct record){ .data = buf_view(&record) };
	facts_put(table, FACT_TXT, buf_view(&name), &f);
	ck_assert_ptr_null(signer_add(signer, str_of(domain), str_of(selector), key));
	buf_free(&public);
	buf_free(&record);
	buf_free(&name);
}

static void setup(void)
{
	table = facts_new(&wake, 100);
	signer = signer_new();
}
static void teardown(void)
{
	facts_free(table);
	signer_free(signer);
}

/* The message with its signatures in front. */
static void seal(const char *header, const char *body, struct buf *out)
{
	const char *why;
	struct signing *g = signing_begin(signer, str_of(header), &why);

	ck_assert_msg(g != NULL, "%s", why ? why : "no key");
	for (const char *p = body; *p; p++)
		signing_add(g, (struct str){ p, 1 });
	buf_clear(out);
	ck_assert(signing_end(g, NOW, out));
	ck_assert_uint_le(out->n, signer_room(signer));
	signing_free(g);
	buf_printf(out, "%s\r\n%s", header, body);
}

static struct dkim *judge(struct str message)
{
	struct dkim *d = dkim_new();

	dkim_add(d, message);
	dkim_end(d);
	ck_assert(dkim_judge(d, table, NOW));
	return d;
}

static void must_pass(struct str message, size_t n)
{
	struct dkim *d = judge(message);

	ck_assert_uint_eq(dkim_count(d), n);
	for (size_t i = 0; i < n; i++)
		ck_assert_msg(dkim_at(d, i)->result == DKIM_PASS, "%s\n" STR_FMT, dkim_at(d, i)->why, STR_ARG(message));
	dkim_free(d);
}

START_TEST(what_we_sign_holds)
{
	static const char *const headers[] = {
		"From: a@example.org\r\n",
		"from:a@EXAMPLE.ORG\r\nSubject:\r\n \t folded \r\n\tand  folded\r\nTo: b@x.test, \r\n c@x.test\r\nX-Other: 1\r\n",
		"From: \"A, B\" (comment (deep)) <a@example.org>\r\nTo: x\r\nTo: y\r\nto: z\r\nDate: now\r\nMessage-ID: <1@x>\r\nMIME-Version: 1.0\r\n\
Content-Type: text/plain\r\nReply-To: r\r\nCc: c\r\nIn-Reply-To: <2>\r\nReferences: <2> <3>\r\nSender: s\r\nList-ID: l\r\n",
		"From: A <a@example.org>, B <b@other.test>\r\n",
		"DKIM-Signature: v=1; a=rsa-sha256; d=example.com; s=x; h=from; bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=; b=AAAA; x=1\r\nFrom: a@example.org\r\n",
	};
	static const char *const bodies[] = { "", "\r\n", "text\r\n", " a \t b \r\n\r\n\r\n", "no line end" };
	struct buf out = { 0 };

	add_key("example.org", "one", KEY_RSA);
	for (size_t i = 0; i + 1 < sizeof headers / sizeof *headers; i++)
		for (size_t k = 0; k < sizeof bodies / sizeof *bodies; k++) {
			seal(headers[i], bodies[k], &out);
			must_pass(buf_view(&out), 1);
		}
	seal(headers[4], "text\r\n", &out);
	{
		struct dkim *d = judge(buf_view(&out));

		ck_assert_uint_eq(dkim_count(d), 2);
		ck_assert_msg(dkim_at(d, 0)->result == DKIM_PASS, "%s", dkim_at(d, 0)->why);
		ck_assert_int_eq(dkim_at(d, 0)->time, NOW);
		dkim_free(d);
	}
	buf_free(&out);
}
END_TEST

START_TEST(all_keys_of_a_domain_sign)
{
	struct buf out = { 0 };
	size_t n = 2;

	add_key("example.org", "one", KEY_RSA);
	add_key("example.org", "two.x", KEY_RSA);
	add_key("other.test", "one", KEY_RSA);
	if (ed25519_available())
		add_key("Example.ORG", "three", KEY_ED25519), n++;
	seal("From: a@example.org\r\nSubject: x\r\n", "text\r\n", &out);
	must_pass(buf_view(&out), n);
	buf_free(&out);
}
END_TEST

START_TEST(a_field_that_is_added_or_changed_is_noticed)
{
	static const char *const added[] = { "From: x@y\r\n", "Subject: other\r\n", "Date: x\r\n", "To: z\r\n", "Reply-To: x@y\r\n", "Content-Type: text/html\r\n" };
	struct buf out = { 0 };

	add_key("example.org", "one", KEY_RSA);
	for (size_t i = 0; i < sizeof added / sizeof *added; i++)
		for (int top = 0; top < 2; top++) {
			struct buf message = { 0 };
			struct dkim *d;

			seal("From: a@example.org\r\nSubject: x\r\n", "text\r\n", &out);
			if (top)
				buf_puts(&message, added[i]);
			buf_add(&message, out.p, out.n - strlen("\r\ntext\r\n"));
			if (!top)
				buf_puts(&message, added[i]);
			buf_puts(&message, "\r\ntext\r\n");
			d = judge(buf_view(&message));
			ck_assert_int_eq(dkim_at(d, 0)->result, DKIM_FAIL);
			dkim_free(d);
			buf_free(&message);
		}
	buf_free(&out);
}
END_TEST

START_TEST(lines_are_of_a_bearable_length)
{
	struct buf out = { 0 };
	size_t line = 0;

	add_key("a-rather-long-name-for-a-domain.with-several-parts.example.org", "a-selector-that-is-long.too", KEY_RSA);
	seal("From: a@a-rather-long-name-for-a-domain.with-several-parts.example.org\r\nList-Unsubscribe-Post: x\r\n", "text\r\n", &out);
	for (size_t i = 0; i < out.n; i++) {
		line = out.p[i] == '\n' ? 0 : line + 1;
		ck_assert_uint_le(line, 140);
	}
	must_pass(buf_view(&out), 1);
	buf_free(&out);
}
END_TEST

START_TEST(the_author_decides_which_key)
{
	static const struct {
		const char *header, *domain;    /* NULL: not signed */
		const char *why;                /* then: NULL or the beginning */
	} rows[] = {
		{ "From: a@example.org\r\n", "example.org", NULL },
		{ "From: a@mail.example.org\r\n", "example.org", NULL },
		{ "From: a@deep.sub.example.org\r\n", "sub.example.org", NULL },
		{ "From: a@xexample.org\r\n", NULL, NULL },
		{ "From: a@org\r\n", NULL, NULL },
		{ "From: A <a@other.test>, b@example.org\r\n", NULL, NULL },
		{ "From: b@example.org, A <a@other.test>\r\n", "example.org", NULL },
		{ "From: a@example.org\r\nFrom: a@example.org\r\n", NULL, "it must have one From" },
		{ "To: a@example.org\r\n", NULL, "it must have one From" },
		{ "From: nobody\r\n", NULL, "From has no address" },
		{ "From: x:;\r\n", NULL, "From has no address" },
		{ "", NULL, "it must have one From" },
		{ "From: a@example.org\r\nno field\r\n", NULL, "a line in the header" },
		{ "From: a@example.org\r\nTo:\r\nTo:\r\nTo:\r\nTo:\r\nTo:\r\nTo:\r\nTo:\r\nTo:\r\nTo:\r\n", NULL, "too many fields" },
	};

	add_key("example.org", "one", KEY_RSA);
	add_key("sub.example.org", "one", KEY_RSA);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const char *why = "not set";
		struct signing *g = signing_begin(signer, str_of(rows[i].header), &why);

		ck_assert_msg((g != NULL) == (rows[i].domain != NULL), "%s: %s", rows[i].header, why);
		if (g)
			ck_assert_str_eq(signing_domain(g), rows[i].domain);
		else
			ck_assert_msg((why == NULL) == (rows[i].why == NULL) && (!why || !strncmp(why, rows[i].why, strlen(rows[i].why))), "%s: %s",
				rows[i].header, why);
		signing_free(g);
	}
}
END_TEST

START_TEST(names_of_keys_are_looked_at)
{
	static const struct {
		const char *domain, *selector, *why;
	} rows[] = {
		{ "example.org", "a", NULL },
		{ "EXAMPLE.org", "A", "has this selector already" },
		{ "example", "a", "is no full domain name" },
		{ "[192.0.2.1]", "a", "is no full domain name" },
		{ "example.org", "", "has a selector that is none" },
		{ "example.org", "a_b", "has a selector that is none" },
		{ "example.org", "a..b", "has a selector that is none" },
		{ "example.org", "2026.a-b", NULL },
		{ "example.org", "2026", NULL },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const char *wrong = signer_add(signer, str_of(rows[i].domain), str_of(rows[i].selector), sign_key_new(KEY_RSA, 1024));

		ck_assert_msg((wrong == NULL) == (rows[i].why == NULL) && (!wrong || !strncmp(wrong, rows[i].why, strlen(rows[i].why))), "%s %s: %s",
			rows[i].domain, rows[i].selector, wrong ? wrong : "");
	}
}
END_TEST

Suite *policy_sign_suite(void)
{
	Suite *s = suite_create("policy_sign");
	TCase *t = tcase_create("sign");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, what_we_sign_holds);
	tcase_add_test(t, all_keys_of_a_domain_sign);
	tcase_add_test(t, a_field_that_is_added_or_changed_is_noticed);
	tcase_add_test(t, lines_are_of_a_bearable_length);
	tcase_add_test(t, the_author_decides_which_key);
	tcase_add_test(t, names_of_keys_are_looked_at);
	suite_add_tcase(s, t);
	return s;
}
