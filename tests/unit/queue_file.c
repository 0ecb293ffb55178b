/* What the queue writes and reads: names, the first line, envelopes, the journal; and what damage does to them. */
#include "queue/inside.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/file.h"
#include "tests/queue_rig.h"

Suite *queue_file_suite(void);

#define ID "6b0c3d50a1b2c3d4e5f60718"

static void set_up(void)
{
	rig_open();
}

static void tear_down(void)
{
	rig_close();
}

/* ---- names */

START_TEST(a_name_that_is_printed_is_read_back)
{
	static const struct {
		int64_t next;
		bool held;
		unsigned tries;
		const char *dest;
	} rows[] = {
		{ 0, false, 0, "+" },
		{ 1796000000, false, 0, "example.org" },
		{ 1796000000, false, 17, "xn--bcher-kva.example" },
		{ 99999999999, false, 1000000, "[192.0.2.1]" },
		{ 1796000000, true, 0, "[ipv6:2001:db8::1]" },
		{ 1, false, 3, "=0123456789abcdef" },
		{ 1, false, 3, "a.b-c_d" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char name[NAME_ROOM];
		struct entry_name n;

		entry_print(name, rows[i].next, rows[i].held, rows[i].tries, ID, rows[i].dest);
		ck_assert_msg(entry_parse(name, &n), "%s", name);
		ck_assert_int_eq(n.next, rows[i].next);
		ck_assert_int_eq(n.held, rows[i].held);
		ck_assert_uint_eq(n.tries, rows[i].tries);
		ck_assert_str_eq(n.id, ID);
		ck_assert_msg(str_eq(n.dest, str_of(rows[i].dest)), "%s", name);
	}
}
END_TEST

START_TEST(a_name_of_another_form_is_none)
{
	static const char *const rows[] = {
		"", ".", "x", "1", "1.", "1.0", "1.0.", "1.0." ID, "1.0." ID ".", "." "0." ID ".a", "1.." ID ".a",
		"-1.0." ID ".a", "+1.0." ID ".a", " 1.0." ID ".a", "1.-1." ID ".a", "1.h." ID ".a", "1.HH." ID ".a", "1.0x." ID ".a",
		"99999999999999999999.0." ID ".a", "1.1000001." ID ".a", "1.99999999999999999999." ID ".a",
		"1.0.6b0c3d50a1b2c3d4e5f6071.a", "1.0.6b0c3d50a1b2c3d4e5f607188.a", "1.0.6B0C3D50A1B2C3D4E5F60718.a",
		"1.0.6b0c3d50a1b2c3d4e5f6071g.a", "1.0." ID ".EXAMPLE.org", "1.0." ID ".a b", "1.0." ID ".a\n", "1.0." ID ".a\xc3\xa4",
		"1.0." ID ".a~", "1.0." ID ".++", "1.0." ID "..a", "1.0." ID ".+a",
	};
	struct entry_name n;

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		ck_assert_msg(!entry_parse(rows[i], &n), "%s", rows[i]);
}
END_TEST

START_TEST(a_domain_that_does_not_fit_a_name_gets_a_token_that_does)
{
	static const struct {
		const char *domain;
		bool as_it_is;
	} rows[] = {
		{ "example.org", true }, { "[192.0.2.1]", true }, { "", false }, { "EXAMPLE.org", false }, { "b\xc3\xbc" "cher.example", false },
		{ ".hidden", false }, { "+", false }, { "=x", false }, { "a/b", false },
	};
	char token[DEST_MAX + 1], other[DEST_MAX + 1], name[NAME_ROOM], long_domain[DOMAIN_MAX + 1];
	struct entry_name n;

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		dest_token(str_of(rows[i].domain), token);
		ck_assert_int_eq(strcmp(token, rows[i].domain) == 0, rows[i].as_it_is);
		entry_print(name, 1, false, 0, ID, token);
		ck_assert_msg(entry_parse(name, &n), "%s", name);
	}
	memset(long_domain, 'a', DOMAIN_MAX);
	long_domain[DOMAIN_MAX] = 0;
	for (size_t i = 60; i < DOMAIN_MAX; i += 60)
		long_domain[i] = '.';
	dest_token(str_of(long_domain), token);
	ck_assert_int_eq(token[0], '=');
	ck_assert_uint_eq(strlen(token), 17);
	long_domain[0] = 'b';
	dest_token(str_of(long_domain), other);
	ck_assert_str_ne(token, other);
}
END_TEST

START_TEST(ids_are_valid_and_differ_and_tell_their_second)
{
	char a[ID_MAX], b[ID_MAX];

	id_make(a, 1796000000);
	id_make(b, 1796000000);
	ck_assert(id_valid(str_of(a)) && id_valid(str_of(b)));
	ck_assert_str_ne(a, b);
	ck_assert_int_eq(id_arrival(a), 1796000000);
	id_make(a, 4000000000);
	ck_assert_int_eq(id_arrival(a), 4000000000);
}
END_TEST

START_TEST(the_id_of_a_report_is_the_same_whenever_it_is_asked_for)
{
	char a[ID_MAX], b[ID_MAX];

	id_of_report(a, ID, "example.org", 1);
	id_of_report(b, ID, "example.org", 1);
	ck_assert(id_valid(str_of(a)));
	ck_assert_str_eq(a, b);
	id_of_report(b, ID, "example.org", 2);
	ck_assert_str_ne(a, b);
	id_of_report(b, ID, "example.net", 1);
	ck_assert_str_ne(a, b);
	ck_assert_str_ne(a, ID);
}
END_TEST

/* ---- a file, and every way to damage it */

/* A good file under its name, put into a queue that only takes in. */
static char good[4096], good_name[NAME_ROOM];
static size_t good_size;

static void make_good(void)
{
	rig.conf.deliver = false;
	queue_close();
	rig_start();
	ck_assert(rig_put("a@sender.example", "b@example.org NOTIFY=DELAY,FAILURE c@example.org"));
	snprintf(good_name, sizeof good_name, "%s", rig_name("example.org"));
	good_size = strlen(rig_read("cur", good_name));
	memcpy(good, rig_read("cur", good_name), good_size);
}

static struct mail *open_text(const char *text, size_t n, const char **why)
{
	rig_write("cur", good_name, text, n);
	return mail_open(queue.cur, good_name, false, true, STR(""), why);
}

START_TEST(an_envelope_and_its_message_are_read_back_as_they_were_put)
{
	const char *why;
	struct mail *m;
	char octets[sizeof good];

	make_good();
	ck_assert_int_eq(strncmp(good, "FARDEL 1 at=", 12), 0);
	ck_assert_int_eq(good[FILE_LINE - 1], '\n');
	m = mail_read(queue.cur, good_name, &why);
	ck_assert_msg(m != NULL, "%s", why);
	ck_assert_str_eq(m->id, rig_id);
	ck_assert_int_eq(m->arrived, RIG_WALL);
	ck_assert(str_eq(m->from.addr.local, STR("a")) && str_eq(m->from.addr.domain, STR("sender.example")));
	ck_assert(str_eq(m->origin, STR("a test")));
	ck_assert_uint_eq(m->nrcpt, 2);
	ck_assert(str_eq(m->rcpt[0].to.addr.local, STR("b")) && str_eq(m->rcpt[1].to.addr.local, STR("c")));
	ck_assert_uint_eq(m->rcpt[0].to.notify, NOTIFY_DELAY | NOTIFY_FAILURE);
	ck_assert_int_eq(m->size, (int64_t)strlen(rig_body));
	ck_assert_int_eq(file_pread(m->fd, octets, sizeof octets, m->at), m->size);
	ck_assert_int_eq(memcmp(octets, rig_body, strlen(rig_body)), 0);
	mail_free(m);
}
END_TEST

START_TEST(a_file_cut_at_any_octet_is_refused_and_says_why)
{
	make_good();
	for (size_t n = 0; n < good_size; n++) {
		const char *why = NULL;
		struct mail *m = open_text(good, n, &why);

		ck_assert_msg(!m, "cut to %zu", n);
		ck_assert_int_eq(errno, EBADMSG);
		ck_assert_ptr_nonnull(why);
	}
}
END_TEST

START_TEST(a_file_with_any_octet_changed_or_zeroed_is_refused)
{
	make_good();
	for (size_t i = 0; i < good_size; i++) {
		static const char change[] = { 0, 1, ' ', '~' };

		for (size_t k = 0; k < sizeof change; k++) {
			const char *why = NULL;
			char was = good[i];
			struct mail *m;

			if (was == change[k])
				continue;
			good[i] = change[k];
			m = open_text(good, good_size, &why);
			ck_assert_msg(!m, "octet %zu changed to %d", i, change[k]);
			ck_assert_int_eq(errno, EBADMSG);
			good[i] = was;
		}
	}
	for (size_t i = 0; i < good_size; i += 7) {     /* zeros from there on: a file system that lost data but not the length */
		char holes[sizeof good] = { 0 };
		const char *why = NULL;

		memcpy(holes, good, i);
		ck_assert_ptr_null(open_text(holes, good_size, &why));
	}
}
END_TEST

START_TEST(a_damaged_file_goes_to_bad_with_its_reason_and_is_not_tried)
{
	make_good();
	for (size_t n = 0; n < good_size; n += 13) {
		char why[NAME_ROOM + 8];

		rig_write("cur", good_name, good, n);
		rig_crash();
		rig.conf.deliver = true;
		rig_start();
		rig_run(2);
		ck_assert_str_eq(rig_cur(), "");
		ck_assert_uint_eq(rig.nsent, 0);
		ck_assert_uint_eq(rig_count("bad"), 2);
		snprintf(why, sizeof why, "%s.why", good_name);
		ck_assert_ptr_nonnull(strstr(rig_read("bad", why), "was set aside"));
		ck_assert_uint_eq(strlen(rig_read("bad", good_name)), n > 0 ? strlen(rig_read("bad", good_name)) : 0);
		ck_assert_int_eq(queue_set_aside(queue.bad, "nothing", "of this name"), true);
		unlinkat(queue.bad, good_name, 0);
		unlinkat(queue.bad, why, 0);
	}
}
END_TEST

/* It is as long as its first line says, and the envelope can be read. */
START_TEST(a_message_with_an_octet_changed_goes_to_bad_at_its_first_opening)
{
	char *end;

	make_good();
	end = memmem(good, good_size, "A line.", 7);
	ck_assert_ptr_nonnull(end);
	*end = 'B';
	for (unsigned in = 0; in < 2; in++) {
		rig_write(in ? "in" : "cur", good_name, good, good_size);
		rig_crash();
		rig.conf.deliver = true;
		rig_start();
		rig_run(2);
		ck_assert_str_eq(rig_cur(), "");
		ck_assert_uint_eq(rig.nsent, 0);
		ck_assert_uint_eq(rig_count("bad"), 2 + 2 * in);
	}
}
END_TEST

START_TEST(what_is_no_file_goes_to_bad)
{
	char name[NAME_ROOM], path[600];

	for (int kind = 0; kind < 3; kind++) {
		entry_print(name, 1, false, 0, ID, "example.org");
		if (kind == 0)
			ck_assert_int_eq(symlinkat("/etc/passwd", queue.cur, name), 0);
		else if (kind == 1)
			ck_assert_int_eq(mkdirat(queue.cur, name, 0700), 0);
		else
			ck_assert_int_eq(mkfifoat(queue.cur, name, 0600), 0);
		queue_wake();
		rig_run(1);
		ck_assert_str_eq(rig_cur(), "");
		ck_assert_uint_eq(rig_count("bad"), 2);
		snprintf(path, sizeof path, "%s.why", name);
		unlinkat(queue.bad, path, 0);
		unlinkat(queue.bad, name, kind == 1 ? AT_REMOVEDIR : 0);
	}
	ck_assert_uint_eq(rig.nsent, 0);
}
END_TEST

static int calls_failing;
static int open_fails(int dir, const char *name, int flags, mode_t mode)
{
	(void)dir;
	(void)name;
	(void)flags;
	(void)mode;
	errno = calls_failing;
	return -1;
}
static int cut_fails(int fd, off_t to)
{
	(void)fd;
	(void)to;
	errno = calls_failing;
	return -1;
}

START_TEST(a_failure_of_the_system_is_no_damage)
{
	static const int rows[] = { EIO, ENOSPC, EDQUOT, EROFS, ENOMEM, EMFILE, ENFILE, EACCES, EINTR };
	struct file_calls was = file_sys;
	const char *why;

	make_good();
	memcpy(good + good_size, "torn", 4);
	rig_write("cur", good_name, good, good_size + 4);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		calls_failing = rows[i];
		file_sys.open = open_fails;
		ck_assert_ptr_null(mail_open(queue.cur, good_name, true, true, STR(""), &why));
		ck_assert_int_eq(errno, rows[i]);
		file_sys = was;
		file_sys.ftruncate = cut_fails;
		ck_assert_ptr_null(mail_open(queue.cur, good_name, true, true, STR(""), &why));
		ck_assert_int_eq(errno, rows[i]);
		file_sys = was;
	}
}
END_TEST

/* A file with this envelope and journal, under a right first line. */
static struct mail *open_made(const char *envelope, const char *journal, const char **why)
{
	static char text[200000];
	char line[FILE_LINE + 1];
	size_t at = FILE_LINE + strlen(envelope), n;

	n = (size_t)snprintf(text, sizeof text, "%*s%s%s", FILE_LINE, "", envelope, rig_body);
	file_line_print(line, (off_t)at, strlen(rig_body), crc32_add(0, text + FILE_LINE, n - FILE_LINE));
	memcpy(text, line, FILE_LINE);
	n += (size_t)snprintf(text + n, sizeof text - n, "%s", journal);
	rig_write("work", "made", text, n);
	return mail_open(queue.work, "made", true, true, STR(""), why);
}

START_TEST(an_envelope_that_says_something_else_is_refused)
{
	static const char *const rows[] = {
		"\n", "ID " ID "\n\n", "ID " ID "\nMAIL FROM:<a@x.example>\n\n", "MAIL FROM:<a@x.example>\nRCPT TO:<b@y.example>\n\n",
		"ID " ID "\nRCPT TO:<b@y.example>\n\n", "ID 1\nMAIL FROM:<a@x.example>\nRCPT TO:<b@y.example>\n\n",
		"ID " ID "\nMAIL FROM:a@x.example\nRCPT TO:<b@y.example>\n\n", "ID " ID "\nMAIL FROM:<a@x.example>\nRCPT TO:<b@y@z>\n\n",
		"ID " ID "\nMAIL FROM:<a@x.example>\nRCPT TO:<b@y.example>\nHELLO\n\n",
		"ID " ID "\nMAIL FROM:<a@x.example>\nRCPT TO:<b@y.example>\nRELEASE soon\n\n",
		"ID " ID "\nMAIL FROM:<a@x.example>\nRCPT TO:<b@y.example>\nROOM x\n\n",
		"ID " ID "\nMAIL FROM:<a@x.example> COLOUR=red\nRCPT TO:<b@y.example>\n\n",
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const char *why;

		ck_assert_msg(!open_made(rows[i], "", &why), "row %zu", i);
		ck_assert_int_eq(errno, EBADMSG);
		ck_assert_ptr_nonnull(why);
	}
}
END_TEST

START_TEST(a_first_line_that_lies_is_refused)
{
	static const char *const rows[] = {
		"FARDEL 1 at=9999999999 size=00000000000000000001 crc=00000000  \n",
		"FARDEL 1 at=0000000064 size=18446744073709551615 crc=00000000  \n",
		"FARDEL 1 at=0000000064 size=09223372036854775807 crc=00000000  \n",
		"FARDEL 1 at=0000000063 size=00000000000000000000 crc=00000000  \n",
		"FARDEL 1 at=0000000000 size=00000000000000000000 crc=00000000  \n",
		"FARDEL 2 at=0000000064 size=00000000000000000000 crc=00000000  \n",
		"FARDEL 1 at=0000000064 size=00000000000000000000 crc=zzzzzzzz  \n",
		"FARDEL 1 to=0000000064 size=00000000000000000000 crc=00000000  \n",
		"FARDEL 1 at=-000000064 size=00000000000000000000 crc=00000000  \n",
	};
	const char *why;

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		ck_assert_uint_eq(strlen(rows[i]), FILE_LINE);
		rig_write("work", "made", rows[i], FILE_LINE);
		for (int verify = 0; verify < 2; verify++) {
			ck_assert_msg(!mail_open(queue.work, "made", false, verify, STR(""), &why), "row %zu", i);
			ck_assert_int_eq(errno, EBADMSG);
		}
	}
}
END_TEST

/* ---- the journal */

#define ENVELOPE "ID " ID "\nMAIL FROM:<a@x.example>\nRCPT TO:<b@y.example>\nRCPT TO:<c@y.example>\nRCPT TO:<d@z.example>\n\n"

static void add_line(struct buf *b, const char *what, const char *who, const char *by, int code, const char *words)
{
	struct reply r = { .code = code };

	str_copy(r.text, sizeof r.text, str_of(words));
	journal_line(b, 1796000001, what, str_of(who), str_of(by), words ? &r : NULL, words ? "mx[192.0.2.1]:25" : NULL);
}

START_TEST(words_of_a_peer_come_back_whatever_octets_they_hold)
{
	char all[256];
	struct buf b = { 0 };
	const char *why;
	struct mail *m;

	for (int i = 0; i < 255; i++)
		all[i] = (char)(i + 1);
	all[255] = 0;
	add_line(&b, "delivered", "1<b@y.example>", "", 0, all);
	add_line(&b, "failed", "2<c@y.example>", "y.example.1", 550, "\\x41 ~1234 \\");
	for (size_t i = 0; i + 1 < b.n; i++)
		ck_assert(ascii_print(b.p[i]) || b.p[i] == '\n');
	m = open_made(ENVELOPE, buf_cstr(&b), &why);
	ck_assert_msg(m != NULL, "%s", why);
	ck_assert_int_eq(m->rcpt[0].state, RCPT_DELIVERED);
	ck_assert(str_eq(m->rcpt[0].words, str_of(all)));
	ck_assert_int_eq(m->rcpt[1].state, RCPT_FAILED);
	ck_assert(str_eq(m->rcpt[1].words, STR("550 \\x41 ~1234 \\")));
	ck_assert(str_eq(m->rcpt[1].by, STR("y.example.1")));
	ck_assert(str_eq(m->rcpt[1].status, STR("5.0.0")));
	ck_assert(str_eq(m->rcpt[1].host, STR("mx[192.0.2.1]:25")));
	ck_assert_int_eq(m->rcpt[1].when, 1796000001);
	ck_assert_int_eq(m->rcpt[2].state, RCPT_OPEN);
	mail_free(m);
	buf_free(&b);
}
END_TEST

START_TEST(every_kind_of_line_is_understood)
{
	struct buf b = { 0 };
	const char *why;
	struct mail *m;

	add_line(&b, "failed", "1<b@y.example>", "+.1", 550, "no");
	add_line(&b, "reported", "", "+.1", 0, NULL);
	add_line(&b, "linked", "z.example", "", 0, NULL);
	add_line(&b, "deferred", "y.example", "", 451, "later");
	add_line(&b, "delayed", "", "", 0, NULL);
	journal_said(&b, 1796000001, STR("y.example"), STR("+.1"), STR("= mx\n< 550 no\n"));
	journal_said(&b, 1796000001, STR("z.example"), STR("+.1"), STR("= another\n"));
	add_line(&b, "invented", "y.example", "", 0, "by a later version");
	add_line(&b, "delivered", "99<q@y.example>", "", 250, "nobody");
	add_line(&b, "delivered", "0<q@y.example>", "", 250, "nobody");
	m = open_made(ENVELOPE, buf_cstr(&b), &why);
	ck_assert_msg(m != NULL, "%s", why);
	ck_assert_int_eq(m->rcpt[0].state, RCPT_FAILED);
	ck_assert(m->rcpt[0].reported && m->delay_told);
	ck_assert(str_eq(m->rcpt[0].words, STR("550 no")));
	ck_assert(m->rcpt[2].linked && !m->rcpt[1].linked);
	ck_assert(str_eq(m->rcpt[1].words, STR("451 later")));
	ck_assert_uint_eq(m->rcpt[2].words.n, 0);
	ck_assert(str_eq(m->rcpt[0].said, STR("= mx\n< 550 no\n")) && str_eq(m->rcpt[1].said, m->rcpt[0].said));
	ck_assert(str_eq(m->rcpt[2].said, STR("= another\n")));
	ck_assert_uint_gt(m->said, 100);
	mail_free(m);
	buf_free(&b);
}
END_TEST

START_TEST(a_journal_torn_anywhere_loses_its_last_line_only)
{
	struct buf b = { 0 };
	size_t first;
	const char *why;

	add_line(&b, "delivered", "1<b@y.example>", "", 250, "taken");
	first = b.n;
	add_line(&b, "delivered", "2<c@y.example>", "", 250, "taken, too");
	for (size_t n = 0; n <= b.n; n++) {
		char part[1000];
		struct mail *m;

		snprintf(part, sizeof part, "%.*s", (int)n, b.p);
		m = open_made(ENVELOPE, part, &why);
		ck_assert_msg(m != NULL, "%s", why);
		ck_assert_int_eq(m->rcpt[0].state, n >= first ? RCPT_DELIVERED : RCPT_OPEN);
		ck_assert_int_eq(m->rcpt[1].state, n == b.n ? RCPT_DELIVERED : RCPT_OPEN);
		ck_assert_int_eq(m->end, m->at + m->size + (off_t)(n == b.n ? n : n >= first ? first : 0));
		ck_assert_int_eq(lseek(m->fd, 0, SEEK_END), m->end);
		mail_free(m);
	}
	buf_free(&b);
}
END_TEST

START_TEST(a_line_that_was_changed_is_passed_over_and_the_others_count)
{
	struct buf b = { 0 };
	size_t first, second;
	const char *why;

	add_line(&b, "delivered", "1<b@y.example>", "", 250, "taken");
	first = b.n;
	add_line(&b, "delivered", "2<c@y.example>", "", 250, "taken");
	second = b.n;
	add_line(&b, "delivered", "3<d@z.example>", "", 250, "taken");
	for (size_t i = first; i + 1 < second; i++) {
		struct mail *m;
		char was = b.p[i];

		b.p[i] = was == 'x' ? 'y' : 'x';
		m = open_made(ENVELOPE, buf_cstr(&b), &why);
		ck_assert_msg(m != NULL, "%s", why);
		ck_assert_int_eq(m->rcpt[0].state, RCPT_DELIVERED);
		ck_assert_msg(m->rcpt[1].state == RCPT_OPEN, "octet %zu", i);
		ck_assert_int_eq(m->rcpt[2].state, RCPT_DELIVERED);
		mail_free(m);
		b.p[i] = was;
	}
	buf_free(&b);
}
END_TEST

START_TEST(lines_of_any_octets_do_no_harm)
{
	uint32_t seed = 12345;

	for (int round = 0; round < 400; round++) {
		char junk[200], text[400];
		struct buf b = { 0 };
		const char *why;
		struct mail *m;
		size_t n = 0;

		for (; n < sizeof junk - 1; n++) {
			seed = seed * 1103515245 + 12345;
			junk[n] = "0123456789 ~<>@.-\\x\nabcdef\xff"[(seed >> 16) % 27];
		}
		junk[n] = 0;
		add_line(&b, "delivered", "1<b@y.example>", "", 250, "taken");
		snprintf(text, sizeof text, "%s\n%s", junk, buf_cstr(&b));
		m = open_made(ENVELOPE, text, &why);
		ck_assert_msg(m != NULL, "%s", why);
		ck_assert_int_eq(m->rcpt[0].state, RCPT_DELIVERED);
		ck_assert_int_eq(m->rcpt[1].state, RCPT_OPEN);
		mail_free(m);
		buf_free(&b);
	}
}
END_TEST

START_TEST(cutting_a_torn_tail_never_reaches_the_message)
{
	static char longer[10000];
	static const char *const rows[] = { "", "torn", "1796000001 delivered 1<b@y.exam", longer };

	memset(longer, 'x', sizeof longer - 1);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const char *why;
		struct mail *m = open_made(ENVELOPE, "", &why);

		ck_assert_ptr_nonnull(m);
		ck_assert_int_eq(file_write(m->fd, rows[i], strlen(rows[i])), 0);
		ck_assert_int_eq(journal_append(m, "whole\n", 6), 0);
		ck_assert_int_eq(lseek(m->fd, 0, SEEK_END), m->at + m->size + 6);
		mail_free(m);
	}
	/* a message without a last line end, as another program may have made it */
	{
		static char text[2000];
		char line[FILE_LINE + 1];
		const char *why;
		struct mail *m;
		size_t n = (size_t)snprintf(text, sizeof text, "%*s%s%s", FILE_LINE, "", ENVELOPE, "Subject: x\r\n\r\nno end");

		file_line_print(line, (off_t)(FILE_LINE + strlen(ENVELOPE)), n - FILE_LINE - strlen(ENVELOPE), crc32_add(0, text + FILE_LINE, n - FILE_LINE));
		memcpy(text, line, FILE_LINE);
		rig_write("work", "made", text, n);
		m = mail_open(queue.work, "made", true, true, STR(""), &why);
		ck_assert_ptr_nonnull(m);
		ck_assert_int_eq(file_write(m->fd, "torn", 4), 0);
		ck_assert_int_eq(journal_append(m, "whole\n", 6), 0);
		ck_assert_int_eq(lseek(m->fd, 0, SEEK_END), (off_t)n + 6);
		mail_free(m);
		m = mail_open(queue.work, "made", true, true, STR(""), &why);
		ck_assert_msg(m != NULL, "%s", why);
		mail_free(m);
	}
}
END_TEST

START_TEST(the_same_recipient_twice_is_one)
{
	const char *why;
	struct mail *m = open_made("ID " ID "\nMAIL FROM:<>\nRCPT TO:<b@y.example>\nRCPT TO:<b@y.example>\nRCPT TO:<c@y.example>\n\n", "", &why);

	ck_assert_msg(m != NULL, "%s", why);
	ck_assert_int_eq(m->rcpt[0].state, RCPT_OPEN);
	ck_assert_int_eq(m->rcpt[1].state, RCPT_DELIVERED);
	ck_assert_int_eq(m->rcpt[2].state, RCPT_OPEN);
	mail_free(m);
}
END_TEST

START_TEST(what_is_opened_for_one_destination_knows_of_that_one)
{
	static const struct reply later = { .code = 450, .text = "later" };
	struct buf journal = { 0 };
	const char *why;
	struct mail *m;

	journal_line(&journal, RIG_WALL, "deferred", STR("z.example"), STR(""), &later, NULL);
	journal_line(&journal, RIG_WALL, "deferred", STR("y.example"), STR(""), &later, NULL);
	journal_line(&journal, RIG_WALL, "delivered", STR("4<c@y.example>"), STR(""), &later, NULL);
	journal_line(&journal, RIG_WALL, "failed", STR("5<d@z.example>"), STR("z.example.1"), &later, NULL);
	journal_line(&journal, RIG_WALL, "deferred", STR("z.example"), STR(""), &later, NULL);
	mail_free(open_made("ID " ID "\nMAIL FROM:<>\nRCPT TO:<b@z.example>\nRCPT TO:<b@y.example>\nRCPT TO:<b@y.example>\nRCPT TO:<c@y.example>\n"
		"RCPT TO:<d@z.example>\n\n", buf_cstr(&journal), &why));
	m = mail_open(queue.work, "made", true, true, STR("y.example"), &why);
	ck_assert_msg(m != NULL, "%s", why);
	ck_assert_uint_eq(m->nrcpt, 5);
	ck_assert(str_eq(m->rcpt[1].words, STR("450 later")));
	ck_assert_int_eq(m->rcpt[1].state, RCPT_OPEN);
	ck_assert_int_eq(m->rcpt[2].state, RCPT_DELIVERED);     /* named twice */
	ck_assert_int_eq(m->rcpt[3].state, RCPT_DELIVERED);
	ck_assert_int_eq(m->rcpt[4].state, RCPT_FAILED);
	mail_free(m);
	buf_free(&journal);
}
END_TEST

START_TEST(the_checksum_is_gzips)
{
	static const struct {
		const char *text;
		uint32_t crc;
	} rows[] = { { "", 0 }, { "a", 0xe8b7be43 }, { "123456789", 0xcbf43926 }, { "The quick brown fox jumps over the lazy dog", 0x414fa339 } };

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		size_t n = strlen(rows[i].text);

		ck_assert_uint_eq(crc32_add(0, rows[i].text, n), rows[i].crc);
		ck_assert_uint_eq(crc32_add(crc32_add(0, rows[i].text, n / 2), rows[i].text + n / 2, n - n / 2), rows[i].crc);
	}
}
END_TEST

START_TEST(the_checksum_follows_a_change_in_the_middle)
{
	static char text[70000];
	static const size_t behind[] = { 0, 1, 2, 3, 7, 8, 255, 256, 65535, 69900 };

	for (size_t i = 0; i < sizeof text; i++)
		text[i] = (char)(i * i + i / 7);
	for (size_t i = 0; i < sizeof behind / sizeof *behind; i++)
		for (size_t n = 0; n < 50; n += 7) {
			size_t at = sizeof text - behind[i] - n;
			uint32_t before = crc32_add(0, text, sizeof text);
			char change[50];

			for (size_t k = 0; k < n; k++)
				text[at + k] ^= change[k] = (char)(k * 77 + 1);
			ck_assert_uint_eq(crc32_change(before, change, n, behind[i]), crc32_add(0, text, sizeof text));
		}
}
END_TEST

static ssize_t pwrite_fails(int fd, const void *p, size_t n, off_t at)
{
	(void)fd, (void)p, (void)n, (void)at;
	errno = ENOSPC;
	return -1;
}

static void ignore(void *arg, bool ok)
{
	(void)arg;
	ck_assert(ok);
}

/* A small message is still in memory, a large one on its way to the disk. */
START_TEST(fields_put_in_front_later_are_a_part_of_the_message)
{
	static const size_t sizes[] = { 0, 10, 32000, 40000, 400000 };
	static const char first[] = "Second: field\r\n", second[] = "First: field\r\n\tfolded\r\n";

	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
		for (int early = 0; early < 2; early++) {
			struct envelope e = { .room = 60 };
			struct sender from = { .has_size = false };
			struct recipient to = { .addr = { STR("b"), STR("y.example") } };
			struct draft *d;
			struct mail *m;
			char *body = malloc(sizes[i] + 1), *back = malloc(sizes[i] + 60), name[NAME_ROOM];
			const char *why;
			size_t n = sizeof first + sizeof second - 2;

			memset(body, 'x', sizes[i] + 1);
			ck_assert(envelope_sender(&e, &from) && envelope_rcpt(&e, &to));
			d = queue_draft(&e, NULL);
			ck_assert_int_eq(draft_write(d, body, early ? sizes[i] / 2 : sizes[i]), 0);
			ck_assert_int_eq(draft_front(d, first, sizeof first - 1), 0);
			ck_assert_int_eq(draft_write(d, body, early ? sizes[i] - sizes[i] / 2 : 0), 0);
			ck_assert_int_eq(draft_front(d, body, 61), -1);
			ck_assert_int_eq(errno, EMSGSIZE);
			ck_assert_int_eq(draft_front(d, second, sizeof second - 1), 0);
			ck_assert_uint_eq(draft_size(d), sizes[i] + n);
			snprintf(name, sizeof name, "%s", draft_id(d));
			rig.by_hand = true;
			queue_commit(d, ignore, NULL);
			for (int turns = 0; turns < 50 && !queue_committed(); turns++)
				rig_turn();
			snprintf(name, sizeof name, "%s", rig_name("y.example"));
			m = mail_open(queue.cur, name, false, true, STR(""), &why);
			ck_assert_msg(m != NULL, "%zu octets: %s", sizes[i], why);
			ck_assert_int_eq(m->size, (off_t)(sizes[i] + n));
			ck_assert_int_eq(pread(m->fd, back, sizes[i] + n, m->at), (ssize_t)(sizes[i] + n));
			ck_assert_mem_eq(back, second, sizeof second - 1);
			ck_assert_mem_eq(back + sizeof second - 1, first, sizeof first - 1);
			ck_assert(sizes[i] == 0 || !memcmp(back + n, body, sizes[i]));
			mail_free(m);
			rig_finish(rig.nheld - 1, true);
			rig_turn();
			rig.nheld = 0;
			envelope_free(&e);
			free(body);
			free(back);
		}
}
END_TEST

static void name_rcpts(struct envelope *e, const char *const *domain, size_t n)
{
	struct sender from = { .has_size = false };

	*e = (struct envelope){ .room = e->room };
	ck_assert(envelope_sender(e, &from));
	for (size_t i = 0; i < n; i++) {
		struct recipient to = { .addr = { STR("b"), str_of(domain[i]) } };

		ck_assert(envelope_rcpt(e, &to));
	}
}

START_TEST(recipients_that_go_are_in_the_envelope_no_more)
{
	static const size_t sizes[] = { 10, 40000, 400000 };
	static const char *const before[] = { "long.name.of.a.recipient.example", "y.example", "z.example" };
	static const char field[] = "First: field\r\n";

	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
		for (int room = 0; room < 2; room++) {
			struct envelope e = { .room = room ? 60 : 0 }, fewer = { .room = 0 }, more = { .room = 0 };
			struct draft *d;
			struct mail *m;
			char *body = malloc(sizes[i]), name[NAME_ROOM], back[16];
			const char *why;
			off_t at;

			memset(body, 'x', sizes[i]);
			name_rcpts(&e, before, 3);
			name_rcpts(&fewer, before + 1, 1);
			d = queue_draft(&e, NULL);
			ck_assert_int_eq(draft_write(d, body, sizes[i]), 0);
			if (room)
				ck_assert_int_eq(draft_front(d, field, sizeof field - 1), 0);
			ck_assert_int_ge(draft_peek(d, back, 5), 0);
			ck_assert_mem_eq(back, room ? field : "xxxxx", 5);
			ck_assert_int_eq(draft_envelope(d, &fewer), 0);
			ck_assert_int_eq(draft_front(d, field, sizeof field - 1), 0);
			ck_assert_int_ne(draft_file(d, &at), -1);
			rig.by_hand = true;
			queue_commit(d, ignore, NULL);
			for (int turns = 0; turns < 50 && !queue_committed(); turns++)
				rig_turn();
			snprintf(name, sizeof name, "%s", rig_name("y.example"));
			m = mail_open(queue.cur, name, false, true, STR(""), &why);
			ck_assert_msg(m != NULL, "%zu octets: %s", sizes[i], why);
			ck_assert_uint_eq(m->nrcpt, 1);
			ck_assert(str_eq(m->rcpt[0].to.addr.domain, STR("y.example")));
			ck_assert_int_eq(m->at, at);
			ck_assert_int_eq(m->size, (off_t)(sizes[i] + (sizeof field - 1) * (room ? 2 : 1)));
			mail_free(m);
			rig_finish(rig.nheld - 1, true);
			rig_turn();
			rig.nheld = 0;
			d = queue_draft(&fewer, NULL);
			name_rcpts(&more, before, 3);
			ck_assert_int_eq(draft_envelope(d, &more), -1);
			ck_assert_int_eq(errno, EMSGSIZE);
			draft_abort(d);
			envelope_free(&e);
			envelope_free(&fewer);
			envelope_free(&more);
			free(body);
		}
}
END_TEST

START_TEST(a_field_that_cannot_be_put_in_front_ends_the_draft)
{
	static char body[100000];
	struct file_calls was = file_sys;
	struct envelope e = { .room = 60 };
	struct sender from = { .has_size = false };
	struct recipient to = { .addr = { STR("b"), STR("y.example") } };
	struct draft *d;

	ck_assert(envelope_sender(&e, &from) && envelope_rcpt(&e, &to));
	d = queue_draft(&e, NULL);
	ck_assert_int_eq(draft_write(d, body, sizeof body), 0);
	file_sys.pwrite = pwrite_fails;
	ck_assert_int_eq(draft_front(d, "A: b\r\n", 6), -1);
	ck_assert_int_eq(errno, ENOSPC);
	file_sys = was;
	ck_assert_int_eq(draft_front(d, "A: b\r\n", 6), -1);
	ck_assert_int_eq(draft_write(d, "x", 1), -1);
	draft_abort(d);
	ck_assert_uint_eq(rig_count("work"), 0);
	envelope_free(&e);
}
END_TEST

Suite *queue_file_suite(void)
{
	Suite *s = suite_create("queue_file");
	TCase *t = tcase_create("names"), *f = tcase_create("files"), *j = tcase_create("journal");

	tcase_add_test(t, a_name_that_is_printed_is_read_back);
	tcase_add_test(t, a_name_of_another_form_is_none);
	tcase_add_test(t, a_domain_that_does_not_fit_a_name_gets_a_token_that_does);
	tcase_add_test(t, ids_are_valid_and_differ_and_tell_their_second);
	tcase_add_test(t, the_id_of_a_report_is_the_same_whenever_it_is_asked_for);
	tcase_add_test(t, the_checksum_is_gzips);
	tcase_add_test(t, the_checksum_follows_a_change_in_the_middle);
	suite_add_tcase(s, t);
	tcase_add_checked_fixture(f, set_up, tear_down);
	tcase_add_test(f, an_envelope_and_its_message_are_read_back_as_they_were_put);
	tcase_add_test(f, a_file_cut_at_any_octet_is_refused_and_says_why);
	tcase_add_test(f, a_file_with_any_octet_changed_or_zeroed_is_refused);
	tcase_add_test(f, a_damaged_file_goes_to_bad_with_its_reason_and_is_not_tried);
	tcase_add_test(f, a_message_with_an_octet_changed_goes_to_bad_at_its_first_opening);
	tcase_add_test(f, what_is_no_file_goes_to_bad);
	tcase_add_test(f, a_failure_of_the_system_is_no_damage);
	tcase_add_test(f, an_envelope_that_says_something_else_is_refused);
	tcase_add_test(f, a_first_line_that_lies_is_refused);
	tcase_add_test(f, fields_put_in_front_later_are_a_part_of_the_message);
	tcase_add_test(f, recipients_that_go_are_in_the_envelope_no_more);
	tcase_add_test(f, a_field_that_cannot_be_put_in_front_ends_the_draft);
	suite_add_tcase(s, f);
	tcase_add_checked_fixture(j, set_up, tear_down);
	tcase_add_test(j, words_of_a_peer_come_back_whatever_octets_they_hold);
	tcase_add_test(j, every_kind_of_line_is_understood);
	tcase_add_test(j, a_journal_torn_anywhere_loses_its_last_line_only);
	tcase_add_test(j, a_line_that_was_changed_is_passed_over_and_the_others_count);
	tcase_add_test(j, lines_of_any_octets_do_no_harm);
	tcase_add_test(j, cutting_a_torn_tail_never_reaches_the_message);
	tcase_add_test(j, the_same_recipient_twice_is_one);
	tcase_add_test(j, what_is_opened_for_one_destination_knows_of_that_one);
	suite_add_tcase(s, j);
	return s;
}
