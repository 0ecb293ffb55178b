/* What users hand in is completed, and says who it is from (RFC 6409 6, 8). */
#include <arpa/inet.h>
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "auth/users.h"
#include "auth/verify.h"
#include "lib/codec.h"
#include "policy/dkim.h"
#include "policy/sign.h"
#include "tests/server_rig.h"

/* user: pencil (RFC 7677 3) */
#define PENCIL "{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

static char path[200];
static struct users *users;

static void start(struct site_client *c, bool logged_in)
{
	static const struct str local[] = { { "here.test", 9 } };
	struct sockaddr_storage peer = { 0 };
	struct sockaddr_in *in = (struct sockaddr_in *)&peer;
	const char *tmp = getenv("TMPDIR");
	int fd, sv[2];

	site_start();
	snprintf(path, sizeof path, "%.150s/users.XXXXXX", tmp ? tmp : "/tmp");
	fd = mkstemp(path);
	ck_assert_int_gt(dprintf(fd, "user:%s\n", PENCIL), 0);
	close(fd);
	users = users_new(path);
	ck_assert_int_eq(verify_start(true), 0);
	site_config.users = users;
	site_config.local_domains = local;
	site_config.nlocal_domains = 1;
	site_config.complete = true;
	site_config.tls = wire_server();
	in->sin_family = AF_INET;
	in->sin_addr.s_addr = htonl(0xc0000207);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	site_adopt(c, sv[0]);
	ck_assert_int_eq(smtpd_session(sv[1], sv[1], logged_in ? SMTPD_SUBMISSIONS : SMTPD_LOCAL, logged_in ? &peer : NULL, NULL), 0);
	if (logged_in)
		site_starttls(c, NULL, false);
	site_expect(c, "220 *");
	site_say(c, "EHLO client.test\r\n");
	site_expect_reply(c, "250 *");
	if (!logged_in)
		return;
	site_say(c, "AUTH PLAIN AHVzZXIAcGVuY2ls\r\n");
	site_expect(c, "235 *");
}

static void stop(struct site_client *c)
{
	site_say(c, "QUIT\r\n");
	site_expect(c, "221 *");
	site_hang_up(c);
	site_stop();
	verify_stop();
	users_free(users);
	unlink(path);
}

static void begin(struct site_client *c, const char *last)
{
	site_say(c, "MAIL FROM:<user@here.test>\r\nRCPT TO:<x@there.test>\r\n");
	site_say(c, last);
	site_expect(c, "250 2.1.0 *");
	site_expect(c, "250 2.1.5 *");
}

/* % stands for what differs from run to run. */
static const struct { bool logged_in; const char *text, *reply, *kept; } rows[] = {
	{ true, "From: user@here.test\r\n\r\nx\r\n", "250 *", "From: user@here.test\r\nDate: Mon, 23 Nov 2026 09:00:00 +0000\r\nMessage-ID: <%@mx.example.org>\r\n\r\nx\r\n" },
	{ true, "from : User <user@here.test>\r\nDATE: x\r\nmessage-id: <a@b>\r\n\r\nx\r\n", "250 *", "from : User <user@here.test>\r\nDATE: x\r\nmessage-id: <a@b>\r\n\r\nx\r\n" },
	{ true, "Bcc: secret@x.test,\r\n other@x.test\r\nFrom: user+x@here.test\r\nDate: d\r\nMessage-ID: <m>\r\nReturn-Path: <a@b>\r\nResent-Bcc: z\r\n\r\nBcc: stays\r\n", "250 *",
		"\r\nFrom: user+x@here.test\r\nDate: d\r\nMessage-ID: <m>\r\n\r\nBcc: stays\r\n" },
	{ true, "From: user@here.test\r\nDate: d\r\nMessage-ID: <m>\r\n", "250 *", "Message-ID: <m>\r\n\r\n" },
	{ true, "Date: d\r\nAuthentication-Results: mx.example.org;\r\n dkim=pass\r\nAuthentication-Results: there.test; none\r\nFrom: user@here.test\r\n\r\nx\r\n", "250 *",
		"Date: d\r\nAuthentication-Results: there.test; none\r\nFrom: user@here.test\r\n" },
	{ false, "Date: d\r\nAuthentication-Results: mx.example.org; none\r\nFrom: user@here.test\r\n\r\nx\r\n", "250 *", "Date: d\r\nFrom: user@here.test\r\n" },
	{ true, "Subject: s\r\n\r\nx\r\n", "250 *", "\r\nSubject: s\r\nDate: Mon, 23 Nov 2026 09:00:00 +0000\r\nMessage-ID: <%@mx.example.org>\r\nFrom: <user@here.test>\r\n\r\nx\r\n" },
	{ true, "just text\r\nFrom: boss@here.test\r\n", "250 *", "From: <user@here.test>\r\n\r\njust text\r\nFrom: boss@here.test\r\n" },
	{ true, "From: a@b.test\r\n\r\nx\r\n", "550 5.7.1 *", NULL },
	{ true, "From: user@here.test, a@b.test\r\n\r\nx\r\n", "550 5.7.1 *", NULL },
	{ true, "From: user@here.test\r\nFrom: user@here.test\r\n\r\nx\r\n", "550 5.6.0 *", NULL },
	{ true, "From: user@here.test\r\nSender: boss@here.test\r\n\r\nx\r\n", "550 5.7.1 *", NULL },
	{ true, "From: boss@bank.test <user@here.test>\r\n\r\nx\r\n", "550 5.7.1 *", NULL },
	{ true, "From: [boss@bank.test] <user@here.test>\r\n\r\nx\r\n", "550 5.6.0 *", NULL },
	{ true, "From: \001boss@bank.test <user@here.test>\r\n\r\nx\r\n", "550 5.6.0 *", NULL },
	{ true, "From: The boss@bank.test <user@here.test>\r\n\r\nx\r\n", "550 5.6.0 *", NULL },
	{ true, "From: user@here.test <user@here.test>\r\n\r\nx\r\n", "250 *", "From: user@here.test <user@here.test>\r\n" },
	{ true, "From: \"boss@bank.test\" <user@here.test>\r\n\r\nx\r\n", "250 *", "From: \"boss@bank.test\" <user@here.test>\r\n" },
	{ true, "From: The User (boss@bank.test) <user@here.test>\r\n\r\nx\r\n", "250 *", "From: The User" },
	{ true, "From: \"user\"@here.test\r\n\r\nx\r\n", "250 *", "From: \"user\"@here.test\r\n" },
	{ true, "From: user@here.test\r\nSender:\r\n\r\nx\r\n", "550 5.6.0 *", NULL },
	{ true, "From: user@here.test\r\nSender: user@here.test\r\nsender: user@here.test\r\n\r\nx\r\n", "550 5.6.0 *", NULL },
	{ true, "From: user@here.test\r\nSender: user@here.test\r\n\r\nx\r\n", "250 *", "Sender: user@here.test\r\n" },
	{ true, "From: undisclosed:;\r\n\r\nx\r\n", "550 5.6.0 *", NULL },
	{ true, "From:\r\n\r\nx\r\n", "550 5.6.0 *", NULL },
	{ true, "From: boss@evil.test: user@here.test;\r\n\r\nx\r\n", "550 5.6.0 *", NULL },
	{ true, "From: boss@evil.test:;, user@here.test\r\n\r\nx\r\n", "550 5.6.0 *", NULL },
	{ true, "From: \"user@here.test\" <other@here.test>\r\n\r\nx\r\n", "550 5.7.1 *", NULL },
	{ true, "From: (user@here.test) other@here.test\r\n\r\nx\r\n", "550 5.7.1 *", NULL },
	{ true, "From: user\r\n\r\nx\r\n", "550 5.7.1 *", NULL },
	{ true, "From: user@here.test\r\nno field\r\n\r\nx\r\n", "554 5.6.0 *", NULL },
	{ true, "From: user@here.test\r\nno empty line\r\n", "554 5.6.0 *", NULL },
	{ true, "\r\nx\r\n", "250 *", "From: <user@here.test>\r\n\r\nx\r\n" },
	{ false, "just text\r\n", "250 *", "Date: Mon, 23 Nov 2026 09:00:00 +0000\r\nMessage-ID: <%@mx.example.org>\r\nFrom: <user@here.test>\r\n\r\njust text\r\n" },
	{ false, "\r\njust text\r\n", "250 *", "From: <user@here.test>\r\n\r\njust text\r\n" },
	{ false, " blank\r\n", "250 *", "From: <user@here.test>\r\n\r\n blank\r\n" },
	{ false, "From: a@b.test\r\nBcc: x\r\nDate: d\r\nMessage-ID: <m>\r\n\r\nx\r\n", "250 *", "\r\nFrom: a@b.test\r\nDate: d\r\nMessage-ID: <m>\r\n\r\nx\r\n" },
};

static bool holds(const struct buf *message, const char *wanted)
{
	const char *percent = strchr(wanted, '%');
	size_t n = percent ? (size_t)(percent - wanted) : strlen(wanted);
	const char *at = memmem(message->p, message->n, wanted, n);

	if (!at || !percent)
		return at;
	return memmem(at + n, message->n - (size_t)(at + n - message->p), percent + 1, strlen(percent + 1));
}

static void expect_kept(const char *wanted)
{
	struct buf envelope = { 0 }, message = { 0 };

	ck_assert_uint_eq(site_messages(), wanted ? 1 : 0);
	if (!wanted)
		return;
	ck_assert(site_message(NULL, &envelope, &message));
	ck_assert_msg(holds(&message, wanted), "%.*s", (int)message.n, message.p);
	buf_free(&envelope);
	buf_free(&message);
}

START_TEST(a_message_is_completed_or_refused_by_data)
{
	struct site_client c;

	start(&c, rows[_i].logged_in);
	begin(&c, "DATA\r\n");
	site_expect(&c, "354 *");
	for (const char *p = rows[_i].text; *p; p++)           /* octet by octet */
		site_send(&c, p, 1);
	site_say(&c, ".\r\n");
	site_expect(&c, rows[_i].reply);
	expect_kept(rows[_i].kept);
	stop(&c);
}
END_TEST

START_TEST(a_message_is_completed_or_refused_by_bdat)
{
	char line[40];
	struct site_client c;

	start(&c, rows[_i].logged_in);
	begin(&c, "");
	snprintf(line, sizeof line, "BDAT %zu LAST\r\n", strlen(rows[_i].text));
	site_say(&c, line);
	site_say(&c, rows[_i].text);
	site_expect(&c, rows[_i].reply);
	expect_kept(rows[_i].kept);
	stop(&c);
}
END_TEST

START_TEST(a_header_without_end_is_refused)
{
	struct site_client c;
	struct buf big = { 0 };

	start(&c, true);
	begin(&c, "DATA\r\n");
	site_expect(&c, "354 *");
	site_config.message_size = 0;
	for (int i = 0; i < 8000; i++)
		buf_puts(&big, "X-Long: 0123456789012345678901234567890123456789\r\n");
	site_send(&c, big.p, big.n);
	site_say(&c, ".\r\n");
	site_expect(&c, "55* 5.*");
	expect_kept(NULL);
	stop(&c);
	buf_free(&big);
}
END_TEST

static const struct { size_t size, piece; const char *reply; } limits[] = {
	{ 256 << 10, 0, "250 *" }, { 256 << 10, 1000, "250 *" }, { (256 << 10) + 1, 0, "554 5.6.0 *" }, { (256 << 10) + 1, 1000, "554 5.6.0 *" },
	{ (256 << 10) + 1000, 0, "554 5.6.0 *" }, { (256 << 10) + 1000, 4096, "554 5.6.0 *" },
};

START_TEST(the_limit_of_a_header_is_the_same_however_its_octets_arrive)
{
	const size_t size = limits[_i].size, piece = limits[_i].piece;
	struct site_client c;
	struct buf big = { 0 };

	start(&c, true);
	site_config.message_size = 0;
	buf_puts(&big, "From: user@here.test\r\nDate: d\r\nMessage-ID: <m>\r\n");
	while (big.n < size - 200)
		buf_puts(&big, "X-Long: 0123456789012345678901234567890123456789\r\n");
	buf_puts(&big, "X-Last: ");
	while (big.n < size - 4)
		buf_char(&big, 'x');
	buf_puts(&big, "\r\n\r\n");
	ck_assert_uint_eq(big.n, size);
	buf_puts(&big, "x\r\n.\r\n");
	begin(&c, "DATA\r\n");
	site_expect(&c, "354 *");
	for (size_t at = 0, n; at < big.n; at += n) {
		n = piece && piece < big.n - at ? piece : big.n - at;
		site_send(&c, big.p + at, n);
	}
	site_expect(&c, limits[_i].reply);
	stop(&c);
	buf_free(&big);
}
END_TEST

/* ---- signing */

static const struct {
	bool logged_in;
	const char *text;
	size_t signatures;
} signed_rows[] = {
	{ true, "From: user@here.test\r\n\r\nx\r\n", 1 },
	{ true, "From: user@here.test\r\nBcc: secret\r\nSubject: s\r\n\r\n.x\r\n\r\n \r\n", 1 },
	{ true, "Subject: s\r\n\r\n", 1 },
	{ true, "text alone\r\n", 1 },
	{ true, "From: user@here.test\r\n", 1 },
	{ false, "From: user@here.test\r\n\r\nx\r\n", 1 },
	{ false, "From: user@elsewhere.test\r\n\r\nx\r\n", 0 },
	{ false, "From: user@here.test\r\nFrom: user@here.test\r\n\r\nx\r\n", 0 },
};

static void nothing(struct task *t) { (void)t; }

/* What lies in the queue has so many signatures, and all of them hold. */
static void expect_signed(struct sign_key *key, size_t n)
{
	struct task wake = { .run = nothing };
	struct facts *facts = facts_new(&wake, DKIM_SIGNATURES);
	struct buf envelope = { 0 }, message = { 0 }, public = { 0 }, record = { 0 };
	struct record r;
	struct fact f = { .outcome = FOUND, .n = 1, .record = &r };
	struct dkim *d = dkim_new();

	ck_assert(sign_key_public(key, &public));
	buf_puts(&record, "p=");
	base64_encode(&record, public.p, public.n);
	r = (struct record){ .data = buf_view(&record) };
	facts_put(facts, FACT_TXT, STR("sel._domainkey.here.test"), &f);
	ck_assert_uint_eq(site_messages(), 1);
	ck_assert(site_message(NULL, &envelope, &message));
	dkim_add(d, buf_view(&message));
	dkim_end(d);
	ck_assert(dkim_judge(d, facts, 0));
	ck_assert_msg(dkim_count(d) == n, "%.*s", (int)message.n, message.p);
	for (size_t i = 0; i < n; i++)
		ck_assert_msg(dkim_at(d, i)->result == DKIM_PASS, "%s: %.*s", dkim_at(d, i)->why, (int)message.n, message.p);
	ck_assert(n == 0 || !strncmp(message.p, "DKIM-Signature: ", 16));
	dkim_free(d);
	facts_free(facts);
	buf_free(&envelope);
	buf_free(&message);
	buf_free(&public);
	buf_free(&record);
}

/* The key belongs to the signer. */
static struct sign_key *start_signing(struct signer **signer)
{
	struct sign_key *key = sign_key_new(KEY_RSA, 1024);

	*signer = signer_new();
	ck_assert_ptr_null(signer_add(*signer, STR("here.test"), STR("sel"), key));
	site_config.signer = *signer;
	return key;
}

START_TEST(a_message_is_signed_as_it_was_completed)
{
	struct site_client c;
	struct signer *signer;
	struct sign_key *key;

	start(&c, signed_rows[_i].logged_in);
	key = start_signing(&signer);
	begin(&c, "DATA\r\n");
	site_expect(&c, "354 *");
	for (const char *p = signed_rows[_i].text; *p; p++) {
		if (*p == '.' && p[-1] == '\n')
			site_say(&c, ".");
		site_send(&c, p, 1);
	}
	site_say(&c, ".\r\n");
	site_expect(&c, "250 *");
	expect_signed(key, signed_rows[_i].signatures);
	stop(&c);
	signer_free(signer);
}
END_TEST

START_TEST(a_large_message_in_pieces_is_signed)
{
	struct site_client c;
	struct signer *signer;
	struct sign_key *key;
	struct buf text = { 0 };
	char line[40];

	start(&c, true);
	key = start_signing(&signer);
	begin(&c, "");
	buf_puts(&text, "From: user@here.test\r\n\r\n");
	for (int i = 0; i < 2000; i++)
		buf_printf(&text, "line %d \t with blanks  \r\n", i);
	buf_puts(&text, "the last one has no end");
	snprintf(line, sizeof line, "BDAT %d\r\n", 100);
	site_say(&c, line);
	site_send(&c, text.p, 100);
	site_expect(&c, "250 *");
	snprintf(line, sizeof line, "BDAT %zu LAST\r\n", text.n - 100);
	site_say(&c, line);
	site_send(&c, text.p + 100, text.n - 100);
	site_expect(&c, "250 *");
	expect_signed(key, 1);
	stop(&c);
	signer_free(signer);
	buf_free(&text);
}
END_TEST

Suite *smtpd_submission_suite(void);
Suite *smtpd_submission_suite(void)
{
	Suite *s = suite_create("smtpd_submission");
	TCase *t = tcase_create("headers");

	tcase_add_loop_test(t, a_message_is_completed_or_refused_by_data, 0, (int)(sizeof rows / sizeof *rows));
	tcase_add_loop_test(t, a_message_is_completed_or_refused_by_bdat, 0, (int)(sizeof rows / sizeof *rows));
	tcase_add_test(t, a_header_without_end_is_refused);
	tcase_add_loop_test(t, the_limit_of_a_header_is_the_same_however_its_octets_arrive, 0, (int)(sizeof limits / sizeof *limits));
	tcase_add_loop_test(t, a_message_is_signed_as_it_was_completed, 0, (int)(sizeof signed_rows / sizeof *signed_rows));
	tcase_add_test(t, a_large_message_in_pieces_is_signed);
	suite_add_tcase(s, t);
	return s;
}
