/* The memory of a mailbox: what folders and flags say, what is kept of what was refused, and what a hostile owner can do to us. */
#include "deliver/memory.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "deliver/maildir.h"
#include "deliver/words.h"
#include "lib/clock.h"
#include "lib/file.h"
#include "tests/tree.h"

Suite *deliver_memory_suite(void);

#define ID1 "6b040b696db0f6315eaf30e1"
#define ID2 "6b040b696db0f6315eaf30e2"

enum { DAY = 86400 };

static char dir[256];
static int box;
static int64_t now;
static const struct memory_folders folders = { .junk = "Junk Spam", .neutral = "Trash", .sent = "Sent", .rejects = "Rejects" };
static struct memory memory;

static void make(const char *name)
{
	char path[600];

	snprintf(path, sizeof path, "%s/%s", dir, name);
	ck_assert_int_eq(maildir_make(path), 0);
}

static void put(const char *name, const char *text)
{
	int fd = openat(box, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	ck_assert_msg(fd != -1, "%s", name);
	ck_assert_int_eq(file_write(fd, text, strlen(text)), 0);
	close(fd);
}

static bool there(const char *name) { return faccessat(box, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0; }

static void setup(void)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(dir, sizeof dir, "%.150s/memory.XXXXXX", tmp ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	box = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_ptr_null(maildir_start(&(struct maildir_config){ .template = "{user}", .hostname = "mail.example.org", .inline_work = true }));
	make("");
	now = clock_wall_s();
	memory = (struct memory){ .history = { .n = 0 } };
}

static void teardown(void)
{
	memory_close(&memory);
	maildir_stop();
	close(box);
	tree_remove(dir);
}

static void remember(const char *id, const char *reason, int days, enum mark mark)
{
	struct identities who = { .from = STR("anna@example.net"), .validated = true };
	struct buf line = { 0 };

	history_add(&line, now - (int64_t)days * DAY, str_of(id), str_of(reason), &who);
	if (mark != MARK_NONE)
		history_mark(&line, now, str_of(id), mark);
	ck_assert_int_eq(memory_add(box, buf_view(&line)), 0);
	buf_free(&line);
}

static void look(void)
{
	memory_close(&memory);
	ck_assert_int_eq(memory_open(&memory, box, &folders, now), 0);
}

static enum mark mark_of(const char *id)
{
	struct remembered *r = history_find(&memory.history, str_of(id));

	ck_assert_ptr_nonnull(r);
	return r->mark;
}

static off_t octets(void)
{
	struct stat st;

	ck_assert_int_eq(fstatat(box, "fardel.history", &st, 0), 0);
	return st.st_size;
}

#define NAME1 "1795427177.M1P2Q3_" ID1 ".mail.example.org"

START_TEST(what_the_reader_did_is_seen_in_folders_and_flags)
{
	static const struct {
		const char *folder, *place, *flags;
		int days;
		const char *reason;
		enum mark before, after;
	} rows[] = {
		{ "", "new", "", 9, "none", MARK_NONE, MARK_NONE },                    /* not read yet */
		{ "", "cur", ":2,S", 1, "none", MARK_NONE, MARK_NONE },                /* read just now */
		{ "", "cur", ":2,S", 8, "none", MARK_NONE, MARK_HAM },                 /* read and kept */
		{ "", "cur", ":2,", 8, "none", MARK_NONE, MARK_NONE },
		{ "", "cur", ":2,RS", 1, "none", MARK_NONE, MARK_HAM },                /* answered */
		{ "", "cur", ":2,FS", 1, "none", MARK_NONE, MARK_HAM },
		{ "", "cur", ":2,PS", 1, "none", MARK_NONE, MARK_HAM },
		{ "", "cur", ":2,ST", 8, "none", MARK_NONE, MARK_NONE },               /* is to be deleted */
		{ ".Junk", "new", "", 1, "none", MARK_NONE, MARK_JUNK },
		{ ".Junk", "cur", ":2,RS", 1, "none", MARK_HAM, MARK_JUNK },
		{ ".spam-2026", "cur", ":2,S", 1, "none", MARK_NONE, MARK_JUNK },
		{ ".Mail.Junk", "cur", ":2,S", 1, "none", MARK_NONE, MARK_JUNK },
		{ ".Archive.2026", "cur", ":2,S", 1, "none", MARK_NONE, MARK_HAM },
		{ ".Trash", "cur", ":2,", 1, "none", MARK_NONE, MARK_NONE },           /* deleted unread, or read: says nothing */
		{ ".Trash", "cur", ":2,S", 1, "none", MARK_JUNK, MARK_JUNK },
		{ ".Trash", "cur", ":2,RS", 1, "none", MARK_NONE, MARK_HAM },
		{ "", "cur", ":2,S", 1, "none", MARK_JUNK, MARK_HAM },                 /* taken out of the junk */
		{ ".Rejects", "new", "", 1, "refused:none", MARK_NONE, MARK_NONE },
		{ "", "cur", ":2,S", 1, "refused:none", MARK_NONE, MARK_HAM },         /* rescued */
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char path[400];

		teardown();
		setup();
		if (*rows[i].folder)
			make(rows[i].folder);
		remember(ID1, rows[i].reason, rows[i].days, rows[i].before);
		snprintf(path, sizeof path, "%s%s%s/" NAME1 "%s", rows[i].folder, *rows[i].folder ? "/" : "", rows[i].place, rows[i].flags);
		put(path, "Subject: x\n\ntext\n");
		look();
		ck_assert_msg(mark_of(ID1) == rows[i].after, "row %zu", i);
	}
}
END_TEST

START_TEST(a_mark_stays_when_the_message_is_gone)
{
	make(".Junk");
	remember(ID1, "none", 1, MARK_NONE);
	put(".Junk/cur/" NAME1 ":2,S", "");
	look();
	ck_assert_int_eq(unlinkat(box, ".Junk/cur/" NAME1 ":2,S", 0), 0);
	now += 10;
	look();
	ck_assert_int_eq(mark_of(ID1), MARK_JUNK);
}
END_TEST

/* Servers of mail give a new name to what is moved. */
START_TEST(a_message_is_known_by_its_field_under_another_name)
{
	make(".Junk");
	remember(ID1, "none", 1, MARK_NONE);
	remember(ID2, "none", 1, MARK_NONE);
	put(".Junk/cur/1795427177.M9P9.other:2,S", "Return-Path: <x@y>\nX-Fardel-Reason: none; id=" ID1 ";\n\tanna@example.net\n\tf\n\t-\n\t-\n\t-\n\t-\n"
		"X-Fardel-Reason: none; id=" ID2 "; a@b - - - - -\n\ntext\n");
	look();
	ck_assert_int_eq(mark_of(ID1), MARK_JUNK);
	ck_assert_int_eq(mark_of(ID2), MARK_NONE);
}
END_TEST

/* From who is not judged (relay_from, users) comes what a stranger has written, with an id that a reply has told him. */
START_TEST(a_field_that_came_with_the_message_means_no_other)
{
	make(".Junk");
	remember(ID1, "none", 1, MARK_NONE);
	put(".Junk/cur/1795427177.M9P9.other:2,S", "Return-Path: <x@y>\nReceived: from a by b\nX-Fardel-Reason: none; id=" ID1 ";\n\ta@b - - - - -\n\ntext\n");
	look();
	ck_assert_int_eq(mark_of(ID1), MARK_NONE);
}
END_TEST

START_TEST(of_two_copies_the_one_among_the_junk_counts)
{
	make(".Junk");
	make(".Archive");
	remember(ID1, "none", 1, MARK_NONE);
	put(".Junk/cur/" NAME1 ":2,S", "");
	put(".Archive/cur/" NAME1 ":2,S", "");
	look();
	ck_assert_int_eq(mark_of(ID1), MARK_JUNK);
}
END_TEST

START_TEST(who_was_written_to_is_learnt_from_the_sent_folder)
{
	make(".Sent");
	put(".Sent/cur/1.2.3:2,S", "From: me@here\nTo: Ben <Ben@Example.org>,\n\tcarl@example.com\nCc: undisclosed:;\nBcc: dora@example.net\n\nTo: no@body\n");
	look();
	ck_assert_uint_eq(memory.history.nwritten, 3);
	ck_assert(str_eq(memory.history.written[0].address, STR("ben@example.org")));
	ck_assert(str_eq(memory.history.written[2].address, STR("dora@example.net")));
	look();                                 /* known: not noted again */
	ck_assert_uint_eq(memory.history.nwritten, 3);
}
END_TEST

/* Where nothing has changed nothing is written, and nothing is listed again. */
START_TEST(a_look_at_what_is_known_costs_nothing)
{
	static const char *const parts[] = { "new", "cur" };
	struct timespec old[2] = { { .tv_sec = now - 100 }, { .tv_sec = now - 100 } };
	off_t before;

	remember(ID1, "none", 8, MARK_NONE);
	put("cur/" NAME1 ":2,S", "");
	look();
	before = octets();
	for (size_t i = 0; i < 2; i++)
		ck_assert_int_eq(utimensat(box, parts[i], old, 0), 0);
	look();
	ck_assert_int_eq(octets(), before);
	ck_assert_int_eq(mark_of(ID1), MARK_HAM);
}
END_TEST

START_TEST(a_clock_that_was_ahead_hides_nothing)
{
	struct buf line = { 0 };

	make(".Junk");
	remember(ID1, "none", 1, MARK_NONE);
	history_looked(&line, now + 365 * DAY);
	memory_add(box, buf_view(&line));
	buf_free(&line);
	put(".Junk/cur/" NAME1 ":2,S", "");
	look();
	ck_assert_int_eq(mark_of(ID1), MARK_JUNK);
}
END_TEST

START_TEST(a_torn_line_costs_itself_alone)
{
	int fd;

	remember(ID1, "none", 1, MARK_NONE);
	fd = openat(box, "fardel.history", O_WRONLY);
	ck_assert_int_eq(ftruncate(fd, octets() - 5), 0);
	close(fd);
	remember(ID2, "none", 1, MARK_NONE);
	look();
	ck_assert_uint_eq(memory.history.n, 1);
	ck_assert_int_eq(mark_of(ID2), MARK_NONE);
}
END_TEST

START_TEST(a_large_memory_is_read_at_its_end_and_made_compact)
{
	int fd;

	remember(ID1, "none", 1, MARK_HAM);
	fd = openat(box, "fardel.history", O_WRONLY);
	ck_assert_int_eq(ftruncate(fd, (off_t)1 << 30), 0);     /* holes are zeros: no line */
	close(fd);
	remember(ID2, "none", 1, MARK_JUNK);
	look();
	ck_assert_int_eq(mark_of(ID2), MARK_JUNK);
	ck_assert_int_lt(octets(), 4096);
	look();
	ck_assert_int_eq(mark_of(ID2), MARK_JUNK);
	ck_assert(!there("fardel.history.new"));
}
END_TEST

START_TEST(who_holds_the_lock_keeps_nobody_waiting)
{
	int fd;

	remember(ID1, "none", 1, MARK_NONE);
	fd = openat(box, "fardel.history", O_RDONLY);
	ck_assert_int_eq(flock(fd, LOCK_EX), 0);
	remember(ID2, "none", 1, MARK_NONE);
	look();
	ck_assert_int_eq(mark_of(ID2), MARK_NONE);
	close(fd);
}
END_TEST

START_TEST(what_is_no_file_is_no_memory)
{
	ck_assert_int_eq(symlinkat("/etc/passwd", box, "fardel.history"), 0);
	ck_assert_int_eq(memory_add(box, STR("x\n")), -1);
	ck_assert_int_eq(memory_open(&memory, box, &folders, now), -1);
	unlinkat(box, "fardel.history", 0);
	ck_assert_int_eq(mkfifoat(box, "fardel.history", 0600), 0);
	ck_assert_int_eq(memory_add(box, STR("x\n")), -1);
	ck_assert_int_eq(memory_open(&memory, box, &folders, now), -1);
	unlinkat(box, "fardel.history", 0);
	put("victim", "");
	ck_assert_int_eq(linkat(box, "victim", box, "fardel.history", 0), 0);
	ck_assert_int_eq(memory_add(box, STR("x\n")), -1);
}
END_TEST

START_TEST(folders_that_lead_elsewhere_are_not_followed)
{
	make(".Junk");
	make("elsewhere");
	remember(ID1, "none", 1, MARK_NONE);
	put("elsewhere/cur/" NAME1 ":2,S", "");
	ck_assert_int_eq(symlinkat("elsewhere", box, ".Archive"), 0);
	ck_assert_int_eq(unlinkat(box, ".Junk/cur", AT_REMOVEDIR), 0);
	ck_assert_int_eq(symlinkat("../elsewhere/cur", box, ".Junk/cur"), 0);
	ck_assert_int_eq(mkfifoat(box, ".Junk/new/fifo", 0600), 0);
	ck_assert_int_eq(symlinkat("/dev/zero", box, ".Junk/new/link"), 0);
	ck_assert_int_eq(mkfifoat(box, ".Fifo", 0600), 0);
	ck_assert_int_eq(symlinkat(".", box, ".Loop"), 0);
	look();
	ck_assert_int_eq(mark_of(ID1), MARK_NONE);
}
END_TEST

/* ---- words */

static double junk_by(const char *text)
{
	static struct bayes_words words;
	struct bayes_result r;
	bool fresh;
	struct bayes_table *t = words_open(box, &fresh);

	ck_assert_ptr_nonnull(t);
	bayes_read(&words, str_of(text));
	bayes_judge(t, &words, &r);
	free(t);
	return r.probability;
}

static void look_for_words(void)
{
	struct memory_folders f = folders;

	f.words = true;
	memory_close(&memory);
	ck_assert_int_eq(memory_open(&memory, box, &f, now), 0);
}

static uint32_t learnt(bool junk)
{
	bool fresh;
	struct bayes_table *t = words_open(box, &fresh);
	uint32_t n = junk ? t->junk : t->ham;

	ck_assert(!fresh);
	free(t);
	return n;
}

START_TEST(words_are_learnt_as_messages_are_marked_and_once)
{
	make(".Junk");
	make(".Archive");
	put(".Junk/cur/1.2.other:2,S", "Subject: x\n\ncheap pills\n");       /* the first time: whatever lies there */
	put(".Archive/cur/1.3.other:2,S", "Subject: x\n\nmeeting tomorrow\n");
	look_for_words();
	ck_assert_uint_eq(learnt(true), 1);
	ck_assert_uint_eq(learnt(false), 1);
	remember(ID1, "none", 1, MARK_NONE);
	put(".Junk/cur/" NAME1 ":2,S", "Subject: x\n\ncheap watches\n");
	look_for_words();
	look_for_words();
	ck_assert_uint_eq(learnt(true), 2);
	ck_assert(junk_by("\nwatches") > 0.5);
	ck_assert_int_eq(renameat(box, ".Junk/cur/" NAME1 ":2,S", box, ".Archive/cur/" NAME1 ":2,S"), 0);
	look_for_words();
	ck_assert_uint_eq(learnt(true), 1);
	ck_assert_uint_eq(learnt(false), 2);
	ck_assert(junk_by("\nwatches") < 0.5);
}
END_TEST

START_TEST(words_that_are_no_table_are_none)
{
	bool fresh;

	put("fardel.words", "short");
	free(words_open(box, &fresh));
	ck_assert(fresh);
	unlinkat(box, "fardel.words", 0);
	ck_assert_int_eq(mkfifoat(box, "fardel.words", 0600), 0);
	free(words_open(box, &fresh));
	ck_assert(fresh);
	look_for_words();
	ck_assert_uint_eq(learnt(true), 0);     /* one of ours is in its place */
}
END_TEST

/* ---- the field */

START_TEST(the_field_is_read_as_it_was_written)
{
	struct identities who = { .from = STR("anna@example.net"), .validated = true, .mail = STR("bounce@esp.example"), .mail_pass = true,
		.helo = STR("mx.esp.example"), .ip = STR("192.0.2.7"), .dkim = STR("a.example,b.example") };
	struct buf field = { 0 };
	static struct reason r;

	ck_assert(reason_print(&field, STR("none"), STR(ID1), &who));
	ck_assert(str_ends_nocase(buf_view(&field), STR("\r\n")));
	ck_assert(reason_parse(str_from(buf_view(&field), sizeof REASON_FIELD), &r));
	ck_assert(str_eq(r.reason, STR("none")) && str_eq(r.id, STR(ID1)));
	ck_assert(str_eq(r.who.dkim, who.dkim) && r.who.mail_pass && r.who.validated && !r.who.helo_pass);
	ck_assert(!reason_parse(STR(" none; id=1; a b"), &r));
	ck_assert(reason_parse(STR(" none; id=1; a b c d e f g"), &r) && str_eq(r.who.via, STR("g")));
	ck_assert(!reason_parse(STR(" none; id=1; a b c d e f g h"), &r));
	ck_assert(!reason_parse(STR(" none; id=; a b c d e f"), &r));
	ck_assert(!reason_parse(STR(""), &r));
	buf_free(&field);
}
END_TEST

/* ---- rules */

START_TEST(the_operators_rules_come_before_the_mailboxes_own)
{
	char path[300];
	struct memory_folders f = folders;
	const struct identities who = { .from = STR("anna@example.net"), .dkim = STR("l.example") };
	const struct rule_subject s = { &who, STR("") };
	struct buf text = { 0 };
	struct rule r;

	snprintf(path, sizeof path, "%s/operator", dir);
	put("operator", "bob verified=l.example folder=Junk.x refused=Junk.x\n");
	put("fardel.rules", "author=* folder=Own refused=Own");         /* its last line has no end */
	ck_assert(!memory_rule(box, &f, STR("bob"), &s, &text, &r));
	f.own_rules = true;
	ck_assert(memory_rule(box, &f, STR("bob"), &s, &text, &r) && r.own && str_eq(r.folder, STR("Own")));
	ck_assert(r.unfit);
	f.rules = path;
	ck_assert(memory_rule(box, &f, STR("carol"), &s, &text, &r) && r.own);
	ck_assert(memory_rule(box, &f, STR("bob"), &s, &text, &r) && !r.own && !r.unfit);
	f.rules = "/nonexistent/rules";
	ck_assert(memory_rule(box, &f, STR("bob"), &s, &text, &r) && r.own);
	buf_free(&text);
}
END_TEST

START_TEST(rules_are_one_regular_file_and_read_so_far)
{
	struct memory_folders f = folders;
	const struct identities who = { .from = STR("anna@example.net") };
	const struct rule_subject s = { &who, STR("") };
	struct buf text = { 0 };
	struct rule r;
	int fd;

	f.own_rules = true;
	ck_assert_int_eq(mkfifoat(box, "fardel.rules", 0600), 0);
	ck_assert(!memory_rule(box, &f, STR("bob"), &s, &text, &r));
	unlinkat(box, "fardel.rules", 0);
	put("there", "author=* folder=X\n");
	ck_assert_int_eq(symlinkat("there", box, "fardel.rules"), 0);
	ck_assert(!memory_rule(box, &f, STR("bob"), &s, &text, &r));
	unlinkat(box, "fardel.rules", 0);
	ck_assert_int_eq(linkat(box, "there", box, "fardel.rules", 0), 0);
	ck_assert(!memory_rule(box, &f, STR("bob"), &s, &text, &r));
	unlinkat(box, "fardel.rules", 0);
	put("fardel.rules", "\n");
	fd = openat(box, "fardel.rules", O_WRONLY);
	ck_assert_int_eq(ftruncate(fd, (off_t)1 << 40), 0);
	ck_assert_int_eq(pwrite(fd, "author=* folder=X\n", 18, RULESET_OWN - 10), 18);
	close(fd);
	ck_assert(!memory_rule(box, &f, STR("bob"), &s, &text, &r));
	buf_free(&text);
}
END_TEST

/* ---- what was refused */

#define MESSAGE "Subject: x\r\nMessage-ID: <One@Example.net>\r\n\r\nHello\r\n"

static unsigned kept(void)
{
	static const char *const parts[] = { ".Rejects/new", ".Rejects/cur" };
	unsigned n = 0;

	for (size_t i = 0; i < 2; i++) {
		int fd = openat(box, parts[i], O_RDONLY | O_DIRECTORY);
		DIR *d = fd == -1 ? NULL : fdopendir(fd);
		struct dirent *e;

		while (d && (e = readdir(d)))
			n += e->d_name[0] != '.';
		if (d)
			closedir(d);
	}
	return n;
}

static int keep(const char *message, const char *key)
{
	char made[REJECT_KEY + 1];
	struct rejected r = { .id = ID1, .key = key ? key : made, .trace = STR("X-Fardel-Reason: y\n"), .size = (off_t)strlen(message) };
	int result;

	put("message", message);
	r.fd = openat(box, "message", O_RDONLY);
	if (!key && !reject_key(str_of(message), made))
		ck_assert_int_eq(reject_hash(r.fd, 0, r.size, made), 0);
	result = reject_keep(box, &folders, &r, now);
	close(r.fd);
	return result;
}

START_TEST(what_was_refused_is_kept_once)
{
	char key[REJECT_KEY + 1];

	ck_assert_int_eq(keep(MESSAGE, NULL), 0);
	ck_assert_int_eq(keep(MESSAGE, NULL), 0);
	ck_assert_int_eq(keep("Message-Id: <one@example.NET>\r\n\r\nanother\r\n", NULL), 0);
	ck_assert_uint_eq(kept(), 1);
	ck_assert_int_eq(keep("Subject: without\r\n\r\n", NULL), 0);
	ck_assert_int_eq(keep("Subject: without\r\n\r\n", NULL), 0);
	ck_assert_int_eq(keep("Subject: without!\r\n\r\n", NULL), 0);
	ck_assert_uint_eq(kept(), 3);
	ck_assert(reject_key(STR(MESSAGE), key));
	reject_forget(box, &folders, key);
	ck_assert_uint_eq(kept(), 2);
}
END_TEST

START_TEST(what_was_refused_goes_after_a_fortnight)
{
	make(".Rejects");
	put(".Rejects/cur/1000.M1P2Q3_" ID1 "+0123456789abcdef.host:2,S", "old");
	put(".Rejects/cur/1000.M1P2Q3.host:2,S", "what somebody else has put there");
	ck_assert_int_eq(keep(MESSAGE, NULL), 0);
	ck_assert_uint_eq(kept(), 2);
	ck_assert(there(".Rejects/cur/1000.M1P2Q3.host:2,S"));
}
END_TEST

START_TEST(what_was_refused_has_a_ceiling)
{
	char name[100], key[REJECT_KEY + 1];

	make(".Rejects");
	for (unsigned i = 0; i < REJECTS_MOST; i++) {
		snprintf(name, sizeof name, ".Rejects/new/%lld.M1P2Q3_" ID1 "+%016x.host", (long long)now - 1000 + i, i);
		put(name, "x");
	}
	for (unsigned i = 0; i < 3; i++) {
		snprintf(key, sizeof key, "f%015u", i);
		ck_assert_int_eq(keep(MESSAGE, key), 0);
	}
	ck_assert_uint_eq(kept(), REJECTS_MOST);
	snprintf(name, sizeof name, ".Rejects/new/%lld.M1P2Q3_" ID1 "+%016x.host", (long long)now - 1000, 0);
	ck_assert(!there(name));                /* the oldest */
}
END_TEST

START_TEST(a_folder_that_leads_elsewhere_keeps_nothing)
{
	make("elsewhere");
	ck_assert_int_eq(symlinkat("elsewhere", box, ".Rejects"), 0);
	ck_assert_int_eq(keep(MESSAGE, NULL), -1);
	unlinkat(box, ".Rejects", 0);
	put(".Rejects", "a file");
	ck_assert_int_eq(keep(MESSAGE, NULL), -1);
}
END_TEST

Suite *deliver_memory_suite(void)
{
	Suite *s = suite_create("deliver_memory");
	TCase *c = tcase_create("memory");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_set_timeout(c, 30);
	tcase_add_test(c, what_the_reader_did_is_seen_in_folders_and_flags);
	tcase_add_test(c, a_mark_stays_when_the_message_is_gone);
	tcase_add_test(c, a_message_is_known_by_its_field_under_another_name);
	tcase_add_test(c, a_field_that_came_with_the_message_means_no_other);
	tcase_add_test(c, of_two_copies_the_one_among_the_junk_counts);
	tcase_add_test(c, who_was_written_to_is_learnt_from_the_sent_folder);
	tcase_add_test(c, a_look_at_what_is_known_costs_nothing);
	tcase_add_test(c, a_clock_that_was_ahead_hides_nothing);
	tcase_add_test(c, a_torn_line_costs_itself_alone);
	tcase_add_test(c, a_large_memory_is_read_at_its_end_and_made_compact);
	tcase_add_test(c, who_holds_the_lock_keeps_nobody_waiting);
	tcase_add_test(c, what_is_no_file_is_no_memory);
	tcase_add_test(c, folders_that_lead_elsewhere_are_not_followed);
	tcase_add_test(c, words_are_learnt_as_messages_are_marked_and_once);
	tcase_add_test(c, words_that_are_no_table_are_none);
	tcase_add_test(c, the_field_is_read_as_it_was_written);
	tcase_add_test(c, the_operators_rules_come_before_the_mailboxes_own);
	tcase_add_test(c, rules_are_one_regular_file_and_read_so_far);
	tcase_add_test(c, what_was_refused_is_kept_once);
	tcase_add_test(c, what_was_refused_goes_after_a_fortnight);
	tcase_add_test(c, what_was_refused_has_a_ceiling);
	tcase_add_test(c, a_folder_that_leads_elsewhere_keeps_nothing);
	suite_add_tcase(s, c);
	return s;
}
