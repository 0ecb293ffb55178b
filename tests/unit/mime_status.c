/* Delivery reports of others: what Postfix, Gmail, Exchange and we ourselves write is read, and what is none is none. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "dsn.h"
#include "mime/status.h"

Suite *mime_status_suite(void);

#define ID "6b0c3d50a1b2c3d4e5f60718"
static struct status_report got;

static const char *read_text(const char *text) { return status_read(str_of(text), "mail.example.org", &got); }

/* "to original action status remote words" of a recipient, - for what was not said. */
static void expect(size_t i, const char *wanted)
{
	const struct status_rcpt *r = &got.rcpt[i];
	char text[1200];

	ck_assert_uint_gt(got.n, i);
	snprintf(text, sizeof text, "%s %s %s %s %s %s", r->to, *r->original ? r->original : "-", r->action, r->status, *r->remote ? r->remote : "-",
		*r->words ? r->words : "-");
	ck_assert_str_eq(text, wanted);
}

START_TEST(what_postfix_writes)
{
	ck_assert_ptr_null(read_text(
		"Received: by mx.example.net (Postfix)\r\n\tid 4Xyz; Mon, 23 Nov 2026 09:00:05 +0000 (UTC)\r\n"
		"From: MAILER-DAEMON@mx.example.net (Mail Delivery System)\r\nSubject: Undelivered Mail Returned to Sender\r\n"
		"Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
		"Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"4Xyz.1795424405/mx.example.net\"\r\n\r\n"
		"This is a MIME-encapsulated message.\r\n\r\n--4Xyz.1795424405/mx.example.net\r\nContent-Description: Notification\r\n"
		"Content-Type: text/plain; charset=us-ascii\r\n\r\nThis is the mail system at host mx.example.net.\r\n\r\n"
		"--4Xyz.1795424405/mx.example.net\r\nContent-Description: Delivery report\r\nContent-Type: message/delivery-status\r\n\r\n"
		"Reporting-MTA: dns; mx.example.net\r\nX-Postfix-Queue-ID: 4Xyz\r\nX-Postfix-Sender: rfc822; anna@example.org\r\n"
		"Arrival-Date: Mon, 23 Nov 2026 09:00:04 +0000 (UTC)\r\n\r\n"
		"Final-Recipient: rfc822; ben@inner.example.net\r\nOriginal-Recipient: rfc822;ben@example.net\r\nAction: failed\r\nStatus: 5.1.1\r\n"
		"Remote-MTA: dns; inner.example.net\r\nDiagnostic-Code: smtp; 550 5.1.1 <ben@inner.example.net>: Recipient address\r\n"
		"    rejected: User unknown in local recipient table\r\n\r\n"
		"--4Xyz.1795424405/mx.example.net\r\nContent-Description: Undelivered Message\r\nContent-Type: message/rfc822\r\n\r\n"
		"Received: from mail.example.org (mail.example.org [192.0.2.7])\r\n\tby mx.example.net (Postfix) with ESMTPS id 4Xyz\r\n"
		"\tfor <ben@example.net>; Mon, 23 Nov 2026 09:00:04 +0000 (UTC)\r\n"
		"Received: from [192.0.2.99] ([192.0.2.99])\r\n\tby mail.example.org with ESMTPSA id " ID "\r\n\ttls TLS_X (TLSv1.3)\r\n\tfor <ben@example.net>;\r\n"
		"\tMon, 23 Nov 2026 09:00:00 +0000\r\nSubject: hello\r\n\r\ntext\r\n--4Xyz.1795424405/mx.example.net--\r\n"));
	ck_assert_str_eq(got.mta, "mx.example.net");
	ck_assert_str_eq(got.id, ID);
	ck_assert_uint_eq(got.n, 1);
	expect(0, "ben@inner.example.net ben@example.net failed 5.1.1 inner.example.net "
		"550 5.1.1 <ben@inner.example.net>: Recipient address    rejected: User unknown in local recipient table");
}
END_TEST

START_TEST(what_gmail_writes)
{
	ck_assert_ptr_null(read_text(
		"From: Mail Delivery Subsystem <mailer-daemon@googlemail.com>\nTo: anna@example.org\nIn-Reply-To: <" ID "@mail.example.org>\n"
		"References: <other@example.org> <" ID "@mail.example.org>\nMIME-Version: 1.0\n"
		"Content-Type: multipart/report; boundary=\"000000000000abc\"; report-type=delivery-status\n\n"
		"--000000000000abc\nContent-Type: multipart/related; boundary=\"000000000000def\"\n\n--000000000000def\nContent-Type: multipart/alternative; boundary=\"000000000000ghi\"\n\n"
		"--000000000000ghi\nContent-Type: text/plain; charset=\"UTF-8\"\n\nDelivery Status Notification (Delay)\n--000000000000ghi--\n--000000000000def--\n"
		"--000000000000abc\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; googlemail.com\nReceived-From-MTA: dns; anna@example.org\n"
		"Arrival-Date: Mon, 23 Nov 2026 01:00:00 -0800 (PST)\nX-Original-Message-ID: <x@y>\n\n"
		"Final-Recipient: rfc822; ben@example.net\nAction: delayed\nStatus: 4.4.1\nDiagnostic-Code: smtp; The recipient server did not accept our requests to connect.\n"
		"Last-Attempt-Date: Mon, 23 Nov 2026 02:00:00 -0800 (PST)\nWill-Retry-Until: Mon, 30 Nov 2026 01:00:00 -0800 (PST)\n\n"
		"--000000000000abc--\n"));
	ck_assert_str_eq(got.id, ID);
	expect(0, "ben@example.net - delayed 4.4.1 - The recipient server did not accept our requests to connect.");
}
END_TEST

START_TEST(what_exchange_writes)
{
	ck_assert_ptr_null(read_text(
		"Content-Type: multipart/report; report-type=delivery-status;\r\n boundary=\"_7c2b_\"\r\nMIME-Version: 1.0\r\n\r\n"
		"--_7c2b_\r\nContent-Type: multipart/alternative; differences=Content-Type;\r\n boundary=\"_in_\"\r\n\r\n--_in_\r\nContent-Type: text/html\r\n\r\n<html>\r\n--_in_--\r\n\r\n"
		"--_7c2b_\r\nContent-Type: message/delivery-status\r\n\r\nOriginal-Envelope-Id: AB=2B\r\nReporting-MTA: dns;AM0PR01.prod.example.com (really)\r\n"
		"Received-From-MTA: dns;mail.example.org\r\nArrival-Date: Mon, 23 Nov 2026 09:00:04 +0000\r\n\r\n"
		"Original-Recipient: rfc822;one@example.com\r\nFinal-Recipient: rfc822;<one@example.com>\r\nAction: Failed\r\nStatus: 5.1.10 (bad (really) mailbox)\r\n"
		"Diagnostic-Code: smtp;550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found\r\n\r\n"
		"Final-Recipient: RFC822;two@example.com\r\nAction: relayed (to a host without DSN)\r\nStatus: 2.0.0\r\nX-Display-Name: Two\r\n\r\n\r\n"
		"--_7c2b_\r\nContent-Type: text/rfc822-headers\r\nContent-Transfer-Encoding: base64\r\n\r\n"
		"TWVzc2FnZS1JRDogPDZiMGMzZDUwYTFiMmMzZDRlNWY2MDcxOEBNYWlsLkV4YW1wbGUuT3JnPgpT\r\ndWJqZWN0OiB4Cg==\r\n--_7c2b_--\r\n"));
	ck_assert_str_eq(got.mta, "AM0PR01.prod.example.com");
	ck_assert_str_eq(got.envid, "AB=2B");
	ck_assert_str_eq(got.id, ID);
	ck_assert_uint_eq(got.n, 2);
	expect(0, "one@example.com one@example.com failed 5.1.10 - 550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found");
	expect(1, "two@example.com - relayed 2.0.0 - -");
}
END_TEST

START_TEST(what_we_write)
{
	static const char original[] = "Received: from x ([192.0.2.1])\r\n\tby mail.example.org with ESMTP id " ID ";\r\n\tMon, 23 Nov 2026 09:00:00 +0000\r\nSubject: x\r\n\r\n";
	const struct dsn_rcpt to[] = {
		{ .addr = STR("ben@example.net"), .orcpt = STR("rfc822;b+2Ben@example.net"), .action = DSN_FAILED, .status = STR("5.1.1"), .host = STR("mx.example.net[192.0.2.1]:25"),
			.words = STR("550 5.1.1 no such user"), .when = 1795424404 },
		{ .addr = STR("j\xc3\xb6rg@example.net"), .action = DSN_DELIVERED, .status = STR("2.0.0"), .when = 1795424404 },
	};
	const struct dsn d = { .hostname = "mail.example.net", .id = "x", .report_id = "y", .to = STR("anna@example.org"), .envid = STR("QQ314159"), .arrived = 1795424400,
		.now = 1795424405, .original = str_of(original), .n = 2, .rcpt = to };
	struct buf text = { 0 };
	const char *why;

	ck_assert(dsn_write(&text, &d));
	ck_assert_msg(!(why = status_read(buf_view(&text), "mail.example.org", &got)), "%s", why);
	ck_assert_str_eq(got.envid, "QQ314159");
	ck_assert_str_eq(got.id, ID);
	expect(0, "ben@example.net b+en@example.net failed 5.1.1 mx.example.net 550 5.1.1 no such user");
	expect(1, "j\xc3\xb6rg@example.net - delivered 2.0.0 - -");
	buf_free(&text);
}
END_TEST

/* ---- what is none */

#define TOP "Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\n\ntext\n--b\n"
#define PART TOP "Content-Type: message/delivery-status\n\n"
#define MTA "Reporting-MTA: dns; mx.test\n\n"
#define RCPT "Final-Recipient: rfc822; a@b.test\nAction: failed\nStatus: 5.0.0\n"

START_TEST(what_is_no_report_is_none)
{
	static const struct { const char *text, *why; } row[] = {
		{ PART MTA RCPT "--b--\n", NULL },
		{ PART MTA RCPT "\n" RCPT "\n\n\n" RCPT, NULL },
		{ PART MTA RCPT "Diagnostic-Code: no type\nRemote-MTA: none\nOriginal-Recipient: x-odd; 1\n", NULL },
		{ "", "no multipart/report" },
		{ "Content-Type: multipart/report; report-type=disposition-notification; boundary=b\n\n--b\n\n--b\n", "no multipart/report" },
		{ "Content-Type: multipart/mixed; report-type=delivery-status; boundary=b\n\n--b\n\n--b\n", "no multipart/report" },
		{ "Content-Type: multipart/report; report-type=delivery-status\n\n--b\n", "less than two parts" },
		{ "Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\n\ntext\n--b--\n", "less than two parts" },
		{ TOP "Content-Type: text/plain\n\n" MTA RCPT, "no delivery status" },
		{ PART "--b--\n", "tells of no recipient" },
		{ PART MTA, "tells of no recipient" },
		{ PART "X: y\n\n" RCPT, "no Reporting-MTA" },
		{ PART "Reporting-MTA: mx.test\n\n" RCPT, "names no host" },
		{ PART MTA "Action: failed\nStatus: 5.0.0\n", "no Final-Recipient" },
		{ PART MTA "Final-Recipient: rfc822; a@b.test\nStatus: 5.0.0\n", "no Action" },
		{ PART MTA "Final-Recipient: rfc822; a@b.test\nAction: failed\n", "no Status" },
		{ PART MTA RCPT "Status: 5.0.0\n", "stands in it twice" },
		{ PART MTA "Final-Recipient: rfc822; a\nAction: failed\nStatus: 5.0.0\n", "no address" },
		{ PART MTA "Final-Recipient: x400; a@b.test\nAction: failed\nStatus: 5.0.0\n", "no address" },
		{ PART MTA "Final-Recipient: utf-8; \xc3\xa4@b.test\nAction: failed\nStatus: 5.0.0\n", "no address" },
		{ PART MTA "Final-Recipient: rfc822; a@b.test\nAction: fail\nStatus: 5.0.0\n", "none that is known" },
		{ PART MTA "Final-Recipient: rfc822; a@b.test\nAction: failed\nStatus: 6.0.0\n", "Status in it is none" },
		{ PART MTA "Final-Recipient: rfc822; a@b.test\nAction: failed\nStatus: 5.0\n", "Status in it is none" },
		{ PART MTA "Final-Recipient: rfc822; a@b.test\nAction: failed\nStatus: 5.0.0000000\n", "Status in it is none" },
		{ PART MTA RCPT "what is this\n", "is no field" },
		{ PART " x\n", "begins with a blank" },
	};

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		const char *why = read_text(row[i].text);

		ck_assert_msg(row[i].why ? why && strstr(why, row[i].why) : !why, "row %zu: %s", i, why ? why : "taken");
	}
}
END_TEST

START_TEST(addresses_in_utf_8)
{
	static const struct { const char *address, *got; } row[] = {
		{ "utf-8; j\xc3\xb6rg@\xc3\xb6.test", "j\xc3\xb6rg@\xc3\xb6.test" }, { "utf-8; j\\x{F6}rg@x.test", "j\xc3\xb6rg@x.test" },
		{ "utf-8; \\x{20AC}\\x{1F4EC}\\x{5C}@x.test", "\xe2\x82\xac\xf0\x9f\x93\xac\\@x.test" }, { "utf-8; \\x{D800}@x.test", NULL },
		{ "utf-8; \\x{}@x.test", NULL }, { "utf-8; \\x{41", NULL }, { "utf-8; \\x{0A}@x.test", NULL }, { "utf-8; \\x{110000}@x.test", NULL },
		{ "rfc822; plain@x.test", "plain@x.test" },
	};
	char text[400];

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		snprintf(text, sizeof text, TOP "Content-Type: message/global-delivery-status\n\n" MTA "Final-Recipient: %s\nAction: failed\nStatus: 5.0.0\n", row[i].address);
		ck_assert_msg(!read_text(text) == (row[i].got != NULL), "%s", row[i].address);
		if (row[i].got)
			ck_assert_str_eq(got.rcpt[0].to, row[i].got);
	}
}
END_TEST

START_TEST(only_our_own_fields_name_a_message)
{
	static const struct { const char *header; bool found; } row[] = {
		{ "Received: from x by mail.example.org with ESMTP id " ID "; now\n", true },
		{ "Received: from x by MAIL.example.org with ESMTP id " ID ";\n", true },
		{ "Received: from x by mx.other.test with ESMTP id " ID "; now\n", false },
		{ "Received: from mail.example.org id " ID " by mx.other.test; now\n", false },
		{ "Received: from x by mail.example.org with ESMTP id " ID "0; now\n", false },
		{ "Received: from x by mail.example.org with ESMTP id 6B0C3D50A1B2C3D4E5F60718; now\n", false },
		{ "Message-ID: <" ID "@mail.example.org>\n", true },
		{ "Message-ID: <" ID "@other.test>\n", false },
		{ "Message-ID: " ID "@mail.example.org\n", false },
		{ "References: <" ID "@mail.example.org>\n", false },
	};
	char text[600];

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		snprintf(text, sizeof text, PART MTA RCPT "\n--b\nContent-Type: text/rfc822-headers\n\n%s--b--\n", row[i].header);
		ck_assert_ptr_null(read_text(text));
		ck_assert_msg(!strcmp(got.id, row[i].found ? ID : ""), "%s", row[i].header);
	}
}
END_TEST

START_TEST(thousands_of_recipients_are_counted_and_some_told)
{
	struct buf text = { 0 };

	buf_puts(&text, PART MTA);
	for (int i = 0; i < 1000; i++)
		buf_puts(&text, RCPT "\n");
	ck_assert_ptr_null(status_read(buf_view(&text), "mail.example.org", &got));
	ck_assert_uint_eq(got.n, STATUS_RCPTS);
	ck_assert_uint_eq(got.more, 1000 - STATUS_RCPTS);
	for (int i = 0; i < 10000; i++)
		buf_puts(&text, RCPT "\n");
	ck_assert_str_eq(status_read(buf_view(&text), "mail.example.org", &got), "its second part is too long");
	buf_free(&text);
}
END_TEST

Suite *mime_status_suite(void)
{
	Suite *s = suite_create("mime_status");
	TCase *t = tcase_create("delivery reports");

	tcase_add_test(t, what_postfix_writes);
	tcase_add_test(t, what_gmail_writes);
	tcase_add_test(t, what_exchange_writes);
	tcase_add_test(t, what_we_write);
	tcase_add_test(t, what_is_no_report_is_none);
	tcase_add_test(t, addresses_in_utf_8);
	tcase_add_test(t, only_our_own_fields_name_a_message);
	tcase_add_test(t, thousands_of_recipients_are_counted_and_some_told);
	suite_add_tcase(s, t);
	return s;
}
