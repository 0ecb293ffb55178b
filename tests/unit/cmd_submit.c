/* Text of local programs into the queue: what becomes envelope, what becomes message, and what is refused. */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "cmd/submit.h"
#include "lib/file.h"
#include "mime/header.h"
#include "parse.h"
#include "tests/tree.h"

Suite *cmd_submit_suite(void);

static char dir[256];
static struct mail *mail;               /* what lies in the queue */
static struct buf message;              /* its text */
static char why[512];
static int status;

static const struct submit_config plain = {
	.hostname = "host.test", .origin = "origin.test", .user = "anna", .uid = 1000, .how = "sendmail",
	.header_rcpts = true, .message_size = 35 << 20,
};

static void setup(void)
{
	const char *tmp = getenv("TMPDIR");
	struct queue_config q = { .inline_sync = true, .message_size = 35 << 20 };
	char text[512];

	snprintf(dir, sizeof dir, "%s/submit.XXXXXX", tmp ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	q.dir = dir;
	ck_assert_msg(queue_open(&q, text, sizeof text) == 0, "%s", text);
	mail = NULL;
}

static void forget(void)
{
	mail_free(mail);
	mail = NULL;
	buf_free(&message);
}

static void teardown(void)
{
	forget();
	queue_close();
	tree_remove(dir);
}

struct over { bool now, ok; };

static void committed(void *arg, bool ok)
{
	*(struct over *)arg = (struct over){ true, ok };
}

/* Reads the one message that is in the queue, and takes it out. */
static void fetch(void)
{
	const char *wrong = NULL;
	char name[256] = "";
	struct dirent *e;
	int in = openat(queue_dir(), "in", O_RDONLY | O_DIRECTORY);
	DIR *d = fdopendir(in);

	ck_assert_ptr_nonnull(d);
	while ((e = readdir(d)))
		if (e->d_name[0] != '.') {
			ck_assert_str_eq(name, "");
			snprintf(name, sizeof name, "%s", e->d_name);
		}
	mail = mail_read(in, name, &wrong);
	ck_assert_msg(mail != NULL, "%s", wrong);
	ck_assert_ptr_nonnull(buf_reserve(&message, (size_t)mail->size + 1));
	ck_assert_int_eq(file_pread(mail->fd, message.p, (size_t)mail->size, mail->at), (ssize_t)mail->size);
	message.n = (size_t)mail->size;
	buf_cstr(&message);
	unlinkat(in, name, 0);
	closedir(d);
}

/* Feeds text as a file. True: it is in `mail` and `message`; false: `why` and `status` tell. */
static bool submit(const struct submit_config *c, struct str text)
{
	struct submission *s;
	struct over over = { 0 };
	enum verdict v;
	FILE *f = tmpfile();

	forget();
	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(file_write(fileno(f), text.p, text.n), 0);
	ck_assert_int_eq(lseek(fileno(f), 0, SEEK_SET), 0);
	s = submit_open(c, fileno(f));
	ck_assert_ptr_nonnull(s);
	while ((v = submit_step(s)) == WAIT)
		;
	snprintf(why, sizeof why, "%s", submit_why(s));
	status = submit_status(s);
	if (v == ACCEPT) {
		queue_commit(submit_draft(s), committed, &over);
		for (int turns = 0; !over.now && turns < 10000; turns++)
			loop_turn(0);
		ck_assert(over.ok);
	}
	submit_close(s);
	fclose(f);
	if (v == ACCEPT)
		fetch();
	return v == ACCEPT;
}

static bool submit_text(const struct submit_config *c, const char *text)
{
	return submit(c, str_of(text));
}

/* "a@x b@y" of the mail, in order */
static const char *rcpts(void)
{
	static struct buf out;

	buf_clear(&out);
	for (size_t i = 0; i < mail->nrcpt; i++) {
		if (i)
			buf_char(&out, ' ');
		print_addr(&out, &mail->rcpt[i].to.addr);
	}
	return buf_cstr(&out);
}

static const char *sender(void)
{
	static struct buf out;

	buf_clear(&out);
	print_addr(&out, &mail->from.addr);
	return buf_cstr(&out);
}

static unsigned fields(const char *name)
{
	return header_count(buf_view(&message), str_of(name));
}

static bool has(const char *text)
{
	return strstr(message.p, text) != NULL;
}

static struct str body(void)
{
	return str_from(buf_view(&message), header_length(buf_view(&message)));
}

/* ---- the plain form */

START_TEST(a_whole_message_gets_a_trace_field_and_stays_as_it_is)
{
	ck_assert_msg(submit_text(&plain, "From: a@x.test\nTo: b@y.test\nDate: Mon, 23 Nov 2026 09:00:00 +0000\nMessage-ID: <1@x>\nSubject: s\n folded\n\nhello\n.dot\n"),
		"%s", why);
	ck_assert_int_eq(strncmp(message.p, "Received: by host.test (fardel, sendmail by uid 1000)\r\n\tid ", 57), 0);
	ck_assert(has("\r\nFrom: a@x.test\r\nTo: b@y.test\r\nDate: Mon, 23 Nov 2026 09:00:00 +0000\r\nMessage-ID: <1@x>\r\nSubject: s\r\n folded\r\n\r\nhello\r\n.dot\r\n"));
	ck_assert_str_eq(rcpts(), "b@y.test");
	ck_assert_str_eq(sender(), "anna@origin.test");
	ck_assert(has(mail->id));
}
END_TEST

START_TEST(missing_fields_are_added_once)
{
	struct submit_config c = plain;

	c.full_name = "Anna \"A\" Test";
	ck_assert(submit_text(&c, "To: b@y.test\n\nx\n"));
	ck_assert_uint_eq(fields("From"), 1);
	ck_assert_uint_eq(fields("Date"), 1);
	ck_assert_uint_eq(fields("Message-ID"), 1);
	ck_assert(has("\r\nFrom: \"Anna \\\"A\\\" Test\" <anna@origin.test>\r\n"));
	ck_assert(str_eq(body(), STR("x\r\n")));
}
END_TEST

START_TEST(bcc_and_return_path_never_leave)
{
	ck_assert(submit_text(&plain, "To: b@y.test\nBCC: c@z.test,\n d@z.test\nReturn-Path: <x@y>\nResent-Bcc: e@z.test\nbcc : f@z.test\n\nBcc: text\n"));
	ck_assert_uint_eq(fields("Bcc"), 0);
	ck_assert_uint_eq(fields("Resent-Bcc"), 0);
	ck_assert_uint_eq(fields("Return-Path"), 0);
	ck_assert(!has("z.test"));
	ck_assert(str_eq(body(), STR("Bcc: text\r\n")));
}
END_TEST

START_TEST(nobody_says_what_we_have_found)
{
	ck_assert(submit_text(&plain, "To: b@y.test\nAuthentication-Results: HOST.test 1;\n\tdkim=pass\nauthentication-results: there.test; none\n\n"
		"Authentication-Results: host.test; text\n"));
	ck_assert_uint_eq(fields("Authentication-Results"), 1);
	ck_assert(has("\r\nauthentication-results: there.test; none\r\n"));
	ck_assert(str_eq(body(), STR("Authentication-Results: host.test; text\r\n")));
}
END_TEST

START_TEST(recipients_come_from_the_header_and_the_arguments_each_once)
{
	static const struct { const char *args[4]; bool header; const char *text, *want; } row[] = {
		{ { "a@x.test" }, false, "To: b@y.test\n\n", "a@x.test" },
		{ { "a@x.test" }, true, "To: b@y.test\nCc: c@z.test\nBcc: d@w.test\n\n", "a@x.test b@y.test c@z.test d@w.test" },
		{ { 0 }, true, "To: A <a@x.test>, \"B, C\" <b@x.test>,\n\tc@x.test (note)\n\n", "a@x.test b@x.test c@x.test" },
		{ { 0 }, true, "To: list: a@x.test, b@x.test;, c@x.test\n\n", "a@x.test b@x.test c@x.test" },
		{ { 0 }, true, "To: a@x.test, a@X.TEST\nCc: <a@x.test>\nTo: A@x.test\n\n", "a@x.test A@x.test" },
		{ { "root", "anna@X.test" }, false, "\n", "root@origin.test anna@x.test" },
		{ { "a@x.test, b@x.test" }, false, "\n", "a@x.test b@x.test" },
		{ { "\"a b\"@x.test" }, false, "\n", "\"a b\"@x.test" },
		/* RFC 5322 3.6.6 */
		{ { 0 }, true, "To: a@x.test\nResent-To: b@x.test\nResent-Cc: c@x.test\n\n", "b@x.test c@x.test" },
		{ { 0 }, true, "To: undisclosed-recipients:;\nBcc: a@x.test\n\n", "a@x.test" },
		{ { "a@[192.0.2.1]" }, false, "\n", "a@[192.0.2.1]" },
	};

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		struct submit_config c = plain;

		c.rcpt = row[i].args;
		for (c.nrcpt = 0; c.nrcpt < 4 && row[i].args[c.nrcpt]; )
			c.nrcpt++;
		c.header_rcpts = row[i].header;
		ck_assert_msg(submit_text(&c, row[i].text), "row %zu: %s", i, why);
		ck_assert_str_eq(rcpts(), row[i].want);
	}
}
END_TEST

START_TEST(the_sender_is_what_was_said_or_who_submits)
{
	static const struct { const char *user, *said, *want; } row[] = {
		{ "anna", NULL, "anna@origin.test" }, { "anna", "b@y.test", "b@y.test" }, { "anna", "B <b@Y.test>", "b@y.test" },
		{ "anna", "bob", "bob@origin.test" }, { "anna", "", "" }, { "anna", "<>", "" }, { NULL, NULL, "uid1000@origin.test" },
		{ "a b", NULL, "uid1000@origin.test" }, { "A\\b", NULL, "uid1000@origin.test" },
	};

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		struct submit_config c = plain;

		c.user = row[i].user;
		c.sender = row[i].said;
		ck_assert_msg(submit_text(&c, "To: x@y.test\n\n"), "row %zu: %s", i, why);
		ck_assert_str_eq(sender(), row[i].want);
		ck_assert_uint_eq(fields("From"), 1);
	}
}
END_TEST

START_TEST(a_sender_with_another_name_has_it_everywhere)
{
	struct sendas rule = { .domain = { "origin.test", 11 }, .as = { "alerts@x.test", 13 } };
	struct sendas_rules rules = { 1, &rule };
	struct submit_config c = plain;

	c.send_as = &rules;
	ck_assert_msg(submit_text(&c, "From: root (Cron)\nSender: anna@origin.test\nReply-To: root@origin.test\nTo: a@b.test\n\nhi\n"), "%s", why);
	ck_assert_str_eq(sender(), "alerts@x.test");
	ck_assert(has("\r\nFrom: alerts@x.test (Cron)\r\nSender: alerts@x.test\r\nReply-To: root@origin.test\r\n"));
	ck_assert_msg(submit_text(&c, "To: a@b.test\n\nhi\n"), "%s", why);
	ck_assert(has("\r\nFrom: <alerts@x.test>\r\n"));
	c.sender = "other@y.test";
	ck_assert_msg(submit_text(&c, "From: other@y.test\nTo: a@b.test\n\nhi\n"), "%s", why);
	ck_assert_str_eq(sender(), "other@y.test");
	ck_assert(has("\r\nFrom: other@y.test\r\n"));
}
END_TEST

START_TEST(names_in_the_header_get_the_domain_of_this_place)
{
	ck_assert_msg(submit_text(&plain, "From: root (Cron Daemon)\nTo: anna, Ben <ben@y.test>,\n carl\nCc: d@y.test\nReply-To: root\nResent-From: e\n"
		"Resent-To: f\nSubject: root\n\nTo: root\n"), "%s", why);
	ck_assert_msg(has("\r\nFrom: root@origin.test (Cron Daemon)\r\nTo: anna@origin.test, Ben <ben@y.test>,\r\n carl@origin.test\r\nCc: d@y.test\r\n"
		"Reply-To: root@origin.test\r\nResent-From: e@origin.test\r\nResent-To: f@origin.test\r\nSubject: root\r\n"), "%s", message.p);
	ck_assert(str_eq(body(), STR("To: root\r\n")));
}
END_TEST

START_TEST(every_kind_of_line_end_becomes_cr_lf)
{
	ck_assert(submit_text(&plain, "To: a@x.test\r\nSubject: s\r\n\r\none\r\ntwo\nthree"));
	ck_assert(has("\r\nSubject: s\r\n"));
	ck_assert(str_eq(body(), STR("one\r\ntwo\r\nthree\r\n")));
}
END_TEST

START_TEST(a_cr_in_a_field_makes_no_field)
{
	ck_assert(submit_text(&plain, "To: a@x.test\nSubject: s\rX-Evil: 1\r\r\nY: 2\n\nb\n"));
	ck_assert_uint_eq(fields("X-Evil"), 0);
	ck_assert_uint_eq(fields("Y"), 1);
	ck_assert(str_eq(body(), STR("b\r\n")));
}
END_TEST

START_TEST(text_without_a_header_is_all_body)
{
	struct submit_config c = plain;
	const char *args[] = { "a@x.test" };

	c.rcpt = args;
	c.nrcpt = 1;
	ck_assert(submit_text(&c, "no field here\nSubject: not one either\n"));
	ck_assert(str_eq(body(), STR("no field here\r\nSubject: not one either\r\n")));
	ck_assert(submit_text(&c, ""));
	ck_assert(str_eq(body(), STR("")));
	ck_assert(submit_text(&c, "Subject: s\nno empty line\n"));
	ck_assert(has("\r\nSubject: s\r\n"));
	ck_assert(str_eq(body(), STR("no empty line\r\n")));
}
END_TEST

START_TEST(a_mailbox_from_line_is_left_out)
{
	ck_assert(submit_text(&plain, "From anna Mon Nov 23 09:00:00 2026\nTo: a@x.test\n\nx\n"));
	ck_assert(!has("From anna Mon"));
	ck_assert(submit_text(&plain, "From : anna@x.test\nTo: a@x.test\n\nx\n"));
	ck_assert_uint_eq(fields("From"), 1);
	ck_assert(has("From : anna@x.test\r\n"));
}
END_TEST

START_TEST(eight_bit_text_is_declared)
{
	ck_assert(submit_text(&plain, "To: a@x.test\n\nplain\n"));
	ck_assert(!mail->from.has_body || mail->from.body == BODY_7BIT);
	ck_assert(submit_text(&plain, "To: a@x.test\n\ngr\303\274n\n"));
	ck_assert(mail->from.has_body && mail->from.body == BODY_8BITMIME);
}
END_TEST

START_TEST(a_lone_dot_ends_the_text_when_it_should)
{
	static const struct { const char *text, *want; } row[] = {
		{ "To: a@x.test\n\none\n.\ntwo\n", "one\r\n" }, { "To: a@x.test\n\none\r\n.\r\ntwo\n", "one\r\n" },
		{ "To: a@x.test\n\n.\n", "" }, { "To: a@x.test\n\none\n..\n.x\n .\n.\rx\n", "one\r\n..\r\n.x\r\n .\r\n.\r\nx\r\n" },
		{ "To: a@x.test\n\none\n.", "one\r\n" }, { "To: a@x.test\n.\nX: y\n", "" },
	};
	struct submit_config c = plain;

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		c.dot_ends = true;
		ck_assert_msg(submit_text(&c, row[i].text), "row %zu: %s", i, why);
		ck_assert_msg(str_eq(body(), str_of(row[i].want)), "row %zu: " STR_FMT, i, STR_ARG(body()));
	}
	c.dot_ends = false;
	ck_assert(submit_text(&c, "To: a@x.test\n\none\n.\ntwo\n"));
	ck_assert(str_eq(body(), STR("one\r\n.\r\ntwo\r\n")));
}
END_TEST

START_TEST(a_lone_dot_is_seen_over_the_end_of_any_block)
{
	struct submit_config c = plain;
	struct buf text = { 0 };
	struct buf line = { 0 };

	c.dot_ends = true;
	for (int shift = -4; shift <= 4; shift++) {
		buf_clear(&text);
		buf_puts(&text, "To: a@x.test\n\n");
		while (text.n < 65536 + (size_t)shift)
			buf_char(&text, 'x');
		buf_puts(&text, "\n.\r\nmore\n");
		ck_assert(submit(&c, buf_view(&text)));
		ck_assert_uint_eq(body().n, 65536 + (size_t)shift - 14 + 2);
	}
	buf_free(&text);
	buf_free(&line);
}
END_TEST

START_TEST(a_large_message_arrives_whole)
{
	struct buf text = { 0 }, want = { 0 };

	buf_puts(&text, "To: a@x.test\n\n");
	for (unsigned i = 0; want.n < 5u << 20; i++) {
		buf_printf(&text, ".line %u %s\n", i, i % 7 ? "" : "gr\303\274n");
		buf_printf(&want, ".line %u %s\r\n", i, i % 7 ? "" : "gr\303\274n");
	}
	ck_assert(submit(&plain, buf_view(&text)));
	ck_assert(str_eq(body(), buf_view(&want)));
	ck_assert(mail->from.body == BODY_8BITMIME);
	buf_free(&text);
	buf_free(&want);
}
END_TEST

START_TEST(what_is_too_much_is_refused)
{
	struct submit_config c = plain;
	struct buf text = { 0 };

	c.message_size = 100000;
	buf_puts(&text, "To: a@x.test\n\n");
	while (text.n < 100001)
		buf_puts(&text, "xxxxxxxxxxxxxxx\n");
	ck_assert(!submit(&c, buf_view(&text)));
	ck_assert_int_eq(status, EX_DATAERR);
	ck_assert_ptr_nonnull(strstr(why, "larger than 100000"));
	/* small enough as it came, too large as it will be sent */
	text.n = 99000;
	ck_assert(!submit(&c, buf_view(&text)));
	buf_clear(&text);
	buf_puts(&text, "To: a@x.test\nSubject: ");
	while (text.n < SUBMIT_HEADER + 200000)
		buf_puts(&text, "xxxxxxxxxxxxxxxxxxxxxxx\n ");
	ck_assert(!submit(&plain, buf_view(&text)));
	ck_assert_ptr_nonnull(strstr(why, "header is larger"));
	buf_clear(&text);
	for (unsigned i = 0; i <= SUBMIT_RCPTS; i++)
		buf_printf(&text, "Bcc: u%u@x.test\n", i);
	ck_assert(!submit(&plain, buf_view(&text)));
	ck_assert_ptr_nonnull(strstr(why, "more than 10000 recipients"));
	buf_clear(&text);
	for (unsigned i = 0; i <= SUBMIT_HOPS; i++)
		buf_puts(&text, "Received: by x; now\n");
	buf_puts(&text, "To: a@x.test\n\n");
	ck_assert(!submit(&plain, buf_view(&text)));
	ck_assert_ptr_nonnull(strstr(why, "loop"));
	buf_free(&text);
}
END_TEST

START_TEST(mistakes_of_the_caller_are_told_in_words)
{
	static const struct { const char *arg, *from; bool header; const char *text; int status; const char *want; } row[] = {
		{ NULL, NULL, false, "x\n", EX_USAGE, "no recipient" },
		{ NULL, NULL, true, "Subject: x\n\n", EX_DATAERR, "nobody is named" },
		{ NULL, NULL, true, "To: undisclosed-recipients:;\n\n", EX_DATAERR, "nobody is named" },
		{ NULL, NULL, true, "To: a, \"b\n\n", EX_DATAERR, "To: \"a, \"b\" holds something that is no address" },
		{ "a@b@c", NULL, false, "\n", EX_DATAERR, "recipient" },
		{ "a@x..test", NULL, false, "\n", EX_DATAERR, "recipient" },
		{ "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd.dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd.dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd.eee.org", NULL, false, "\n", EX_DATAERR, "recipient" },
		{ "b@x.test", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd.dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd.dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd.eee.org", false, "\n", EX_DATAERR, "sender" },
		{ "a\001@x.test", NULL, false, "\n", EX_DATAERR, "recipient" },
		{ "<a@x.test> SIZE=5\nRCPT TO:<b@x.test>", NULL, false, "\n", EX_DATAERR, "recipient" },
		{ "a@x.test", "b@y.test\nRCPT TO:<c@z.test>", false, "\n", EX_DATAERR, "sender" },
		{ "a@x.test", "b@y.test, c@y.test", false, "\n", EX_DATAERR, "sender" },
		{ "a@x.test", "@", false, "\n", EX_DATAERR, "sender" },
		{ "gr\303\274n@x.test", NULL, false, "\n", EX_DATAERR, "recipient" },
	};

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		struct submit_config c = plain;

		c.rcpt = &row[i].arg;
		c.nrcpt = row[i].arg != NULL;
		c.sender = row[i].from;
		c.header_rcpts = row[i].header;
		ck_assert_msg(!submit_text(&c, row[i].text), "row %zu was taken", i);
		ck_assert_msg(status == row[i].status && strstr(why, row[i].want), "row %zu: %d %s", i, status, why);
		for (const char *p = why; *p; p++)
			ck_assert(ascii_print(*p));
	}
}
END_TEST

START_TEST(wishes_for_reports_stand_in_the_envelope)
{
	struct submit_config c = plain;

	c.notify = NOTIFY_NEVER;
	c.ret = RET_HDRS;
	c.envid = "id+20x";
	ck_assert(submit_text(&c, "To: a@x.test\n\n"));
	ck_assert_uint_eq(mail->rcpt[0].to.notify, NOTIFY_NEVER);
	ck_assert_int_eq(mail->from.ret, RET_HDRS);
	ck_assert(str_eq(mail->from.envid, STR("id+20x")));
}
END_TEST

/* ---- the form with an envelope */

static const struct submit_config drop = {
	.hostname = "host.test", .origin = "origin.test", .user = "anna", .uid = 1000, .how = "drop file", .note = "drop file x",
	.header_rcpts = true, .envelope_lines = true, .message_size = 35 << 20,
};

START_TEST(envelope_lines_decide_alone)
{
	ck_assert_msg(submit_text(&drop, "MAIL FROM:<s@x.test> RET=HDRS\nRCPT TO:<a@y.test> NOTIFY=DELAY,FAILURE\r\nrcpt to:<b@Z.test>\n\nFrom: f@x.test\nTo: c@w.test\n\nhi\n"),
		"%s", why);
	ck_assert_str_eq(sender(), "s@x.test");
	ck_assert_str_eq(rcpts(), "a@y.test b@z.test");
	ck_assert_uint_eq(mail->rcpt[0].to.notify, NOTIFY_DELAY | NOTIFY_FAILURE);
	ck_assert_int_eq(mail->from.ret, RET_HDRS);
	ck_assert(str_eq(mail->origin, STR("drop file x")));
	ck_assert(has("\r\nTo: c@w.test\r\n"));
	ck_assert(!has("RCPT"));
	ck_assert(str_eq(body(), STR("hi\r\n")));
}
END_TEST

START_TEST(a_drop_without_envelope_is_as_sendmail_t)
{
	ck_assert(submit_text(&drop, "To: a@y.test\nBcc: b@y.test\n\nhi\n"));
	ck_assert_str_eq(sender(), "anna@origin.test");
	ck_assert_str_eq(rcpts(), "a@y.test b@y.test");
	ck_assert_uint_eq(fields("Bcc"), 0);
}
END_TEST

START_TEST(odd_envelopes_are_understood)
{
	ck_assert(submit_text(&drop, "MAIL FROM:<>\nRCPT TO:<postmaster>\nRCPT TO:<a@y.test>\nRCPT TO:<a@y.test>\n\nSubject: x\n\nhi\n"));
	ck_assert_str_eq(sender(), "");
	ck_assert_str_eq(rcpts(), "postmaster@origin.test a@y.test");
	ck_assert_uint_eq(fields("From"), 1);
	ck_assert(submit_text(&drop, "RCPT TO:<a@y.test>\n\nhi\n"));
	ck_assert_str_eq(sender(), "anna@origin.test");
	ck_assert(str_eq(body(), STR("hi\r\n")));
}
END_TEST

START_TEST(broken_drops_are_refused_with_the_line)
{
	static const struct { const char *text, *want; } row[] = {
		{ "", "no message" },
		{ "MAIL FROM:<s@x.test>\nRCPT TO:<a@y.test>\n\n", "no message" },
		{ "MAIL FROM:<s@x.test>\n\nhi\n", "no recipient" },
		{ "MAIL FROM:<s@x.test>\nRCPT TO:<a@y.test>\nhi\n", "line 3: is neither" },
		{ "MAIL FROM:<s@x.test>\nRCPT TO:<a@y.test>", "line 2: the empty line" },
		{ "MAIL FROM:<s@x.test>\nRCPT TO:<a@y.test>\n", "line 3: the empty line" },
		{ "MAIL FROM:s@x.test\nRCPT TO:<a@y.test>\n\nhi\n", "line 1: " },
		{ "MAIL FROM:<s@x.test> FOO=1\nRCPT TO:<a@y.test>\n\nhi\n", "line 1: " },
		{ "MAIL FROM:<s@x.test>\nRCPT TO:<a@y.test>\nMAIL FROM:<t@x.test>\n\nhi\n", "line 3: " },
		{ "MAIL FROM:<s@x.test>\nRCPT TO:<a\r@y.test>\n\nhi\n", "line 2: " },
		{ "Subject: nobody\n\nhi\n", "nobody is named" },
	};

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		ck_assert_msg(!submit_text(&drop, row[i].text), "row %zu was taken", i);
		ck_assert_msg(strstr(why, row[i].want) != NULL, "row %zu: %s", i, why);
	}
}
END_TEST

START_TEST(octets_of_any_kind_are_survived)
{
	unsigned seed = 1;
	char text[3000];

	for (int round = 0; round < 200; round++) {
		size_t n = 0;

		if (round % 2)
			n = (size_t)snprintf(text, sizeof text, "%s", round % 4 == 1 ? "To: a@x.test\n" : "MAIL FROM:<>\nRCPT TO:<a@x.test>\n\n");
		for (; n < sizeof text; n++) {
			seed = seed * 1103515245u + 12345u;
			text[n] = (seed >> 16) % 4 ? "\r\n.: <>@,;\"()\\ab\0"[(seed >> 20) % 17] : (char)(seed >> 24);
		}
		if (!submit(round % 3 ? &plain : &drop, (struct str){ text, n }))
			ck_assert_str_ne(why, "");
	}
}
END_TEST

Suite *cmd_submit_suite(void)
{
	Suite *s = suite_create("cmd_submit");
	TCase *c = tcase_create("submit");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, a_whole_message_gets_a_trace_field_and_stays_as_it_is);
	tcase_add_test(c, missing_fields_are_added_once);
	tcase_add_test(c, bcc_and_return_path_never_leave);
	tcase_add_test(c, nobody_says_what_we_have_found);
	tcase_add_test(c, recipients_come_from_the_header_and_the_arguments_each_once);
	tcase_add_test(c, the_sender_is_what_was_said_or_who_submits);
	tcase_add_test(c, a_sender_with_another_name_has_it_everywhere);
	tcase_add_test(c, names_in_the_header_get_the_domain_of_this_place);
	tcase_add_test(c, every_kind_of_line_end_becomes_cr_lf);
	tcase_add_test(c, a_cr_in_a_field_makes_no_field);
	tcase_add_test(c, text_without_a_header_is_all_body);
	tcase_add_test(c, a_mailbox_from_line_is_left_out);
	tcase_add_test(c, eight_bit_text_is_declared);
	tcase_add_test(c, a_lone_dot_ends_the_text_when_it_should);
	tcase_add_test(c, a_lone_dot_is_seen_over_the_end_of_any_block);
	tcase_add_test(c, a_large_message_arrives_whole);
	tcase_add_test(c, what_is_too_much_is_refused);
	tcase_add_test(c, mistakes_of_the_caller_are_told_in_words);
	tcase_add_test(c, wishes_for_reports_stand_in_the_envelope);
	tcase_add_test(c, envelope_lines_decide_alone);
	tcase_add_test(c, a_drop_without_envelope_is_as_sendmail_t);
	tcase_add_test(c, odd_envelopes_are_understood);
	tcase_add_test(c, broken_drops_are_refused_with_the_line);
	tcase_add_test(c, octets_of_any_kind_are_survived);
	suite_add_tcase(s, c);
	return s;
}
