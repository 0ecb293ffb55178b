/* The drop directory: what is taken, what is set aside with which words, and what hostile writers can do. */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cmd/drop.h"
#include "lib/file.h"
#include "lib/log.h"
#include "queue.h"
#include "tests/tree.h"

enum { WALL = 1796000000, SIZE_LIMIT = 300000 };

static char top[64];
static int dir = -1;                    /* the queue's */
static struct file_calls kernel;
static struct queue_config conf;
static struct drop_config drops;

static void way(void *arg, struct str domain, const struct addr *from, struct way *out)
{
	(void)arg;
	(void)domain;
	(void)from;
	(void)out;
	ck_abort_msg("nothing is delivered here");
}

static void start(void)
{
	char why[300];

	ck_assert_msg(queue_open(&conf, why, sizeof why) == 0, "%s", why);
	ck_assert_int_eq(drop_start(&drops), 0);
	dir = queue_dir();
}

static void stop(void)
{
	drop_stop();
	queue_close();
}

static void setup(void)
{
	const char *tmp = getenv("TMPDIR"), *log = getenv("TEST_LOG");

	kernel = file_sys;
	log_open(log ? log : "/dev/null");
	loop_virtual_clock(WALL);
	snprintf(top, sizeof top, "%.40s/drop.XXXXXX", tmp ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(top));
	conf = (struct queue_config){ .dir = top, .schedule = true, .inline_sync = true, .message_size = SIZE_LIMIT, .way = way };
	drops = (struct drop_config){ .queue = top, .hostname = "mx.test", .origin = "origin.test", .message_size = SIZE_LIMIT };
	start();
}

static void teardown(void)
{
	file_sys = kernel;
	stop();
	tree_remove(top);
}

/* As documented: into tmp/, then renamed. */
static void put(const char *name, const void *data, size_t n)
{
	char from[300], to[300];
	int fd;

	snprintf(from, sizeof from, "tmp/%s", name);
	snprintf(to, sizeof to, "new/%s", name);
	fd = openat(dir, from, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, data, n), (ssize_t)n);
	close(fd);
	ck_assert_int_eq(renameat(dir, from, dir, to), 0);
}

static void put_text(const char *name, const char *text) { put(name, text, strlen(text)); }

static void turn(void)
{
	for (int i = 0; i < 300; i++)
		loop_turn(0);
}

static unsigned count(const char *where)
{
	int fd = openat(dir, where, O_RDONLY | O_DIRECTORY);
	DIR *d = fdopendir(fd);
	unsigned n = 0;

	ck_assert_ptr_nonnull(d);
	for (struct dirent *e; (e = readdir(d)); )
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

static void empty(const char *where)
{
	int fd = openat(dir, where, O_RDONLY | O_DIRECTORY);
	DIR *d = fdopendir(fd);

	ck_assert_ptr_nonnull(d);
	for (struct dirent *e; (e = readdir(d)); )
		if (e->d_name[0] != '.')
			ck_assert_int_eq(unlinkat(fd, e->d_name, 0), 0);
	closedir(d);
}

static void counts(unsigned in_new, unsigned in_cur, unsigned in_bad)
{
	ck_assert_msg(count("new") == in_new && count("cur") == in_cur && count("bad") == in_bad,
		"new %u cur %u bad %u, wanted %u %u %u", count("new"), count("cur"), count("bad"), in_new, in_cur, in_bad);
	ck_assert_uint_eq(count("work"), 0);
}

/* The text of the only message, envelope and all. */
static void read_message(struct buf *out)
{
	int fd = openat(dir, "cur", O_RDONLY | O_DIRECTORY);
	DIR *d = fdopendir(fd);
	struct dirent *e;

	while ((e = readdir(d)) && e->d_name[0] == '.')
		;
	ck_assert_ptr_nonnull(e);
	ck_assert_int_eq(file_read_all(fd, e->d_name, out), 0);
	closedir(d);
}

static void only_id(char id[ID_MAX])
{
	struct buf b = { 0 };
	const char *at;

	read_message(&b);
	at = strstr(buf_cstr(&b), "ID ");
	ck_assert_ptr_nonnull(at);
	ck_assert(str_copy(id, ID_MAX, (struct str){ at + 3, 24 }));
	buf_free(&b);
}

static void why_holds(const char *name, const char *words)
{
	char path[300];
	struct buf b = { 0 };

	snprintf(path, sizeof path, "bad/%s.why", name);
	ck_assert_int_eq(file_read_all(dir, path, &b), 0);
	ck_assert_msg(strstr(buf_cstr(&b), words), "wanted \"%s\" in: %s", words, buf_cstr(&b));
	buf_free(&b);
}

/* ---- what is taken */

static const struct { const char *drop, *holds[4]; } good[] = {
	{ "From: a@x.test\nTo: b@y.test\nSubject: s\n\nhello\n",
		{ "\nRCPT TO:<b@y.test>\n", "Subject: s\r\n", "\r\n\r\nhello\r\n", "\nFROM drop one inode " } },
	{ "From: a@x.test\r\nTo: b@y.test\r\n\r\nhello\r\nthere\r\n", { "RCPT TO:<b@y.test>", "\r\n\r\nhello\r\nthere\r\n" } },
	{ "To: b@y.test\nCc: c@z.test\nBcc: d@z.test\n\nx", { "RCPT TO:<b@y.test>\nRCPT TO:<c@z.test>\nRCPT TO:<d@z.test>\n", "\r\nx\r\n" } },
	{ "MAIL FROM:<a@x.test>\nRCPT TO:<b@y.test>\n\nTo: nobody@z.test\n\nx\n", { "MAIL FROM:<a@x.test>\n", "RCPT TO:<b@y.test>\n", "To: nobody@z.test\r\n" } },
	{ "MAIL FROM:<>\r\nRCPT TO:<b@y.test> NOTIFY=NEVER\r\n\r\nSubject: s\r\n\r\nx\r\n", { "MAIL FROM:<>\n", "RCPT TO:<b@y.test> NOTIFY=NEVER\n" } },
	{ "mail from:<a@x.test> BODY=8BITMIME ENVID=7\nrcpt to:<b@y.test>\n\nSubject: s\n\n\xc3\xbc\n", { "MAIL FROM:<a@x.test> BODY=8BITMIME ENVID=7\n" } },
};

START_TEST(both_forms_and_both_line_ends_are_taken)
{
	struct buf b = { 0 };

	put_text("one", good[_i].drop);
	turn();
	counts(0, 1, 0);
	ck_assert(drop_idle());
	read_message(&b);
	for (int i = 0; i < 4 && good[_i].holds[i]; i++)
		ck_assert_msg(strstr(buf_cstr(&b), good[_i].holds[i]), "wanted \"%s\" in:\n%s", good[_i].holds[i], buf_cstr(&b));
	buf_free(&b);
}
END_TEST

START_TEST(nul_and_other_octets_pass_through)
{
	static const char drop[] = "MAIL FROM:<a@x.test>\nRCPT TO:<b@y.test>\n\nSubject: s\n\n\0\x01\x80\xff\0end\n";
	static const char body[] = "\r\n\r\n\0\x01\x80\xff\0end\r\n";
	struct buf b = { 0 };

	put("one", drop, sizeof drop - 1);
	turn();
	counts(0, 1, 0);
	read_message(&b);
	ck_assert_ptr_nonnull(memmem(b.p, b.n, body, sizeof body - 1));
	buf_free(&b);
}
END_TEST

START_TEST(all_that_lies_there_is_taken_and_what_comes_later_too)
{
	char name[20];

	stop();
	for (int i = 0; i < 40; i++) {
		snprintf(name, sizeof name, "drop %d\n", i);
		dir = open(top, O_RDONLY | O_DIRECTORY);
		put_text(name, good[0].drop);
		close(dir);
	}
	start();
	ck_assert(!drop_idle());
	turn();
	counts(0, 40, 0);
	put_text("later", good[0].drop);        /* nobody calls drop_look() */
	turn();
	counts(0, 41, 0);
	put_text(".hidden", good[0].drop);
	turn();
	counts(0, 41, 0);
	ck_assert(drop_idle());
}
END_TEST

/* ---- what is set aside */

static const struct { const char *drop, *why; } bad[] = {
	{ "", "there is no message in it" },
	{ "\n", "nobody is named" },
	{ "hello\n", "nobody is named" },
	{ "From: a@x.test\n\nTo: b@y.test\n", "nobody is named" },
	{ "To: not an address at all <\n\nx\n", "no address" },
	{ "MAIL FROM:a@x.test\nRCPT TO:<b@y.test>\n\nx\n", "line 1: " },
	{ "MAIL FROM:<a@x.test> SIZE=many\nRCPT TO:<b@y.test>\n\nx\n", "line 1: " },
	{ "MAIL FROM:<a@x.test> FROBNICATE=1\nRCPT TO:<b@y.test>\n\nx\n", "line 1: " },
	{ "MAIL FROM:<a@x.test> AUTH=<>\nRCPT TO:<b@y.test>\n\nx\n", "line 1: " },
	{ "MAIL FROM:<a@x.test>\nRCPT TO:<b@y.test\n\nx\n", "line 2: " },
	{ "MAIL FROM:<a@x.test>\nRCPT TO:<b@y.test>\nRCPT TO:<>\n\nx\n", "line 3: " },
	{ "MAIL FROM:<a@x.test>\nMAIL FROM:<a@x.test>\nRCPT TO:<b@y.test>\n\nx\n", "line 2: " },
	{ "MAIL FROM:<a@x.test>\nRCPT TO:<b@y.test>\nSubject: s\n\nx\n", "line 3: is neither" },
	{ "MAIL FROM:<a@x.test>\nRCPT TO:<b@y.test>\n", "line 3: the empty line" },
	{ "MAIL FROM:<a@x.test>\nRCPT TO:<b@y.test>", "line 2: the empty line" },
	{ "MAIL FROM:<a@x.test>\nRCPT TO:<b@y.test>\n\n", "there is no message" },
	{ "MAIL FROM:<a@x.test>\n\nx\n", "names no recipient" },
	{ "MAIL FROM:<a\rb@x.test>\nRCPT TO:<b@y.test>\n\nx\n", "line 1: " },
	{ "RCPT TO:<\xff@y.test>\n\nx\n", "line 1: " },
};

START_TEST(what_cannot_be_understood_is_set_aside_with_the_line_that_is_wrong)
{
	struct buf b = { 0 };

	put_text("one", bad[_i].drop);
	turn();
	counts(0, 0, 2);
	why_holds("one", bad[_i].why);
	ck_assert_int_eq(file_read_all(dir, "bad/one", &b), 0);         /* as it was */
	ck_assert_str_eq(buf_cstr(&b), bad[_i].drop);
	buf_free(&b);
	ck_assert(drop_idle());
}
END_TEST

static void make_symlink(void) { ck_assert_int_eq(symlinkat("/etc/passwd", dir, "new/one"), 0); }
static void make_dangling(void) { ck_assert_int_eq(symlinkat("nowhere", dir, "new/one"), 0); }
static void make_fifo(void) { ck_assert_int_eq(mkfifoat(dir, "new/one", 0600), 0); }
static void make_directory(void) { ck_assert_int_eq(mkdirat(dir, "new/one", 0700), 0); }

static void make_link(void)
{
	put_text("one", good[0].drop);
	ck_assert_int_eq(linkat(dir, "new/one", dir, "tmp/other", 0), 0);
}

static void make_socket(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(a.sun_path, sizeof a.sun_path, "%s/new/one", top);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
	close(fd);
}

static void make_huge(void)
{
	int fd = openat(dir, "new/one", O_WRONLY | O_CREAT, 0600);

	ck_assert_int_eq(ftruncate(fd, 2 * SIZE_LIMIT + (1 << 20)), 0);
	close(fd);
}

static void make_large(void)
{
	struct buf b = { 0 };

	buf_puts(&b, good[0].drop);
	while (b.n < SIZE_LIMIT + 1)
		buf_puts(&b, "more and more\n");
	put("one", b.p, b.n);
	buf_free(&b);
}

static const struct { void (*make)(void); const char *why; } kinds[] = {
	{ make_symlink, "symbolic link" }, { make_dangling, "symbolic link" }, { make_fifo, "not a regular file" },
	{ make_directory, "not a regular file" }, { make_socket, "not a regular file" }, { make_link, "another name" },
	{ make_huge, "larger than" }, { make_large, "larger than" },
};

START_TEST(what_is_no_plain_file_is_set_aside_and_never_waited_for)
{
	kinds[_i].make();
	errno = ENOENT;                 /* left by somebody: it says nothing of the drop */
	drop_look();
	turn();
	counts(0, 0, 2);
	why_holds("one", kinds[_i].why);
	ck_assert(drop_idle());
}
END_TEST

START_TEST(what_may_not_be_read_is_set_aside)
{
	stop();
	if (geteuid() == 0) {           /* root may read everything: be somebody else */
		char command[100];

		snprintf(command, sizeof command, "chown -R 65534 %s", top);
		ck_assert_int_eq(system(command), 0);
		ck_assert_int_eq(seteuid(65534), 0);
	}
	start();
	put_text("one", good[0].drop);
	ck_assert_int_eq(fchmodat(dir, "new/one", 0, 0), 0);
	turn();
	counts(0, 0, 2);
	why_holds("one", "may not be read");
	if (getuid() == 0)
		ck_assert_int_eq(seteuid(0), 0);
}
END_TEST

START_TEST(a_bad_drop_stands_in_nobodys_way)
{
	make_fifo();
	put_text("two", bad[5].drop);
	put_text("three", good[0].drop);
	turn();
	counts(0, 1, 4);
}
END_TEST

/* ---- writers that go on, and names that change hands */

static void put_long(const char *name, size_t n)
{
	struct buf b = { 0 };

	buf_puts(&b, "To: b@y.test\n\n");
	while (b.n < n)
		buf_puts(&b, "a line of a long message\n");
	put(name, b.p, b.n);
	buf_free(&b);
}

static void append(const char *text)
{
	int fd = openat(dir, "new/one", O_WRONLY | O_APPEND);
	struct timespec t[2] = { { .tv_sec = WALL, .tv_nsec = 1 }, { .tv_sec = WALL, .tv_nsec = 1 } };

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	t[1].tv_nsec += lseek(fd, 0, SEEK_END);
	ck_assert_int_eq(futimens(fd, t), 0);   /* the clock's grain is coarser than a test */
	close(fd);
}

static const char last_words[] = "written behind the rename\n";

START_TEST(a_drop_whose_writer_goes_on_is_taken_when_it_is_whole)
{
	struct buf b = { 0 };
	bool late;

	put_long("one", 250000);
	for (int i = 0; i < _i; i++)            /* in the middle of whatever is done then */
		loop_turn(0);
	late = !count("new");
	if (!late)
		append(last_words);
	turn();
	if (count("new")) {
		counts(1, 0, 0);
		ck_assert(drop_idle());         /* nobody waits for it */
		loop_advance(6000);
		turn();
	}
	counts(0, 1, 0);
	read_message(&b);
	ck_assert_msg(b.n > 250000 && (late || strstr(buf_cstr(&b), "written behind the rename\r\n")), "part of it was taken in turn %d", _i);
	buf_free(&b);
}
END_TEST

START_TEST(a_drop_put_under_the_name_of_another_is_a_drop_of_its_own)
{
	put_long("one", 250000);
	for (int i = 0; i < _i; i++)
		loop_turn(0);
	put_text("one", good[0].drop);          /* over it */
	turn();
	loop_advance(6000);
	turn();
	ck_assert_uint_eq(count("new") + count("bad"), 0);
	ck_assert_uint_ge(count("cur"), 1);
	ck_assert_uint_le(count("cur"), 2);
	if (count("cur") == 1) {                /* then it was replaced before it was opened, and the second one was taken */
		struct buf b = { 0 };

		read_message(&b);
		ck_assert_ptr_nonnull(strstr(buf_cstr(&b), "Subject: s"));
		buf_free(&b);
	}
}
END_TEST

START_TEST(a_drop_that_vanishes_is_no_trouble)
{
	put_long("one", 250000);
	for (int i = 0; i < _i; i++)
		loop_turn(0);
	unlinkat(dir, "new/one", 0);
	turn();
	ck_assert_uint_eq(count("new") + count("bad"), 0);
	put_text("two", good[0].drop);
	turn();
	ck_assert_uint_eq(count("new"), 0);
	ck_assert(drop_idle());
}
END_TEST

/* ---- crashes and full disks */

static bool broken, stays;

static int unlink_or_crash(int d, const char *name)
{
	if (!broken && (!stays || strcmp(name, "one") != 0))
		return kernel.unlink(d, name);
	errno = EIO;
	return -1;
}

/* However long it has lain there when it is met again. */
static const int ages[] = { 1, 86400 - 1800, 6 * 86400 };

START_TEST(a_drop_is_not_taken_twice_after_a_crash_between_commit_and_removal)
{
	char before[ID_MAX], after[ID_MAX];
	struct stat st;

	broken = true;
	file_sys.unlink = unlink_or_crash;
	put_text("one", good[0].drop);
	ck_assert_int_eq(fstatat(dir, "new/one", &st, 0), 0);
	loop_virtual_clock(st.st_ctim.tv_sec + ages[_i]);
	turn();
	counts(1, 1, 0);
	only_id(before);
	stop();
	broken = false;
	loop_advance(ages[_i] > 86400 ? 86400 * 1000 : 3600 * 1000);
	start();
	turn();
	counts(0, 1, 0);
	only_id(after);
	ck_assert_str_eq(before, after);
}
END_TEST

/* The loop reads the clock once a turn. As having come at midnight its sender would be told at once that it was late. */
START_TEST(a_drop_that_came_in_the_second_after_the_turn_began_came_then)
{
	char id[ID_MAX], want[9];
	struct stat st;

	put_text("one", good[0].drop);
	ck_assert_int_eq(fstatat(dir, "new/one", &st, 0), 0);
	loop_virtual_clock(st.st_ctim.tv_sec - 1);
	turn();
	counts(0, 1, 0);
	only_id(id);
	snprintf(want, sizeof want, "%08x", (unsigned)st.st_ctim.tv_sec);
	ck_assert(strncmp(id, want, 8) == 0);
}
END_TEST

/* Else it would be sent again and again. */
START_TEST(a_drop_that_cannot_be_removed_is_sent_when_it_can)
{
	stays = true;
	file_sys.unlink = unlink_or_crash;
	put_text("one", good[0].drop);
	put_text("two", good[0].drop);
	turn();
	counts(1, 1, 0);
	loop_advance(6000);
	turn();
	counts(1, 1, 0);
	stays = false;
	loop_advance(6000);
	turn();
	counts(0, 2, 0);
}
END_TEST

/* Here the queue's own name cannot be taken back either: it is delivered. */
START_TEST(a_drop_that_was_sent_and_stays_is_not_sent_again)
{
	broken = true;
	file_sys.unlink = unlink_or_crash;
	put_text("one", good[0].drop);
	put_text("two", good[0].drop);
	turn();
	counts(2, 1, 0);
	empty("cur");
	for (int i = 0; i < 12; i++) {
		loop_advance(6000);
		turn();
	}
	counts(2, 0, 0);
	broken = false;
	loop_advance(6000);
	turn();
	counts(0, 1, 0);
}
END_TEST

START_TEST(a_drop_that_could_not_be_removed_is_removed_later)
{
	broken = true;
	file_sys.unlink = unlink_or_crash;
	put_text("one", good[0].drop);
	turn();
	counts(1, 1, 0);
	broken = false;
	loop_advance(6000);
	turn();
	counts(0, 1, 0);
}
END_TEST

static int no_room(int d, const char *name, int flags, mode_t mode)
{
	if (!broken || !(flags & O_CREAT))
		return kernel.open(d, name, flags, mode);
	errno = ENOSPC;
	return -1;
}

static int no_sync(int fd)
{
	errno = EIO;
	return broken ? -1 : kernel.fdatasync(fd);
}

START_TEST(what_our_disk_refuses_stays_and_is_taken_when_it_can_be)
{
	broken = true;
	if (_i)
		file_sys.fdatasync = no_sync;
	else
		file_sys.open = no_room;
	put_text("one", good[0].drop);
	put_text("two", good[0].drop);
	turn();
	counts(2, 0, 0);
	ck_assert(drop_idle());         /* `fardel flush` does not wait for a disk */
	broken = false;
	loop_advance(6000);
	turn();
	counts(0, 2, 0);
}
END_TEST

static int sync_and_stop(int fd)
{
	if (broken)
		drop_stop();
	broken = false;
	return kernel.fdatasync(fd);
}

START_TEST(a_stop_while_a_drop_is_committed_removes_it_still)
{
	broken = true;
	file_sys.fdatasync = sync_and_stop;
	put_text("one", good[0].drop);
	turn();
	ck_assert(!broken);
	counts(0, 1, 0);
	put_text("two", good[0].drop);          /* and it has stopped */
	drop_look();
	turn();
	counts(1, 1, 0);
	ck_assert_int_eq(drop_start(&drops), 0);
	turn();
	counts(0, 2, 0);
}
END_TEST

#define ROWS(table) (int)(sizeof(table) / sizeof *(table))

Suite *cmd_drop_suite(void);
Suite *cmd_drop_suite(void)
{
	Suite *s = suite_create("cmd_drop");
	TCase *t = tcase_create("drops");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, both_forms_and_both_line_ends_are_taken, 0, ROWS(good));
	tcase_add_test(t, nul_and_other_octets_pass_through);
	tcase_add_test(t, all_that_lies_there_is_taken_and_what_comes_later_too);
	tcase_add_loop_test(t, what_cannot_be_understood_is_set_aside_with_the_line_that_is_wrong, 0, ROWS(bad));
	tcase_add_loop_test(t, what_is_no_plain_file_is_set_aside_and_never_waited_for, 0, ROWS(kinds));
	tcase_add_test(t, what_may_not_be_read_is_set_aside);
	tcase_add_test(t, a_bad_drop_stands_in_nobodys_way);
	tcase_add_loop_test(t, a_drop_whose_writer_goes_on_is_taken_when_it_is_whole, 0, 20);
	tcase_add_loop_test(t, a_drop_put_under_the_name_of_another_is_a_drop_of_its_own, 0, 20);
	tcase_add_loop_test(t, a_drop_that_vanishes_is_no_trouble, 0, 20);
	tcase_add_loop_test(t, a_drop_is_not_taken_twice_after_a_crash_between_commit_and_removal, 0, (int)(sizeof ages / sizeof *ages));
	tcase_add_test(t, a_drop_that_came_in_the_second_after_the_turn_began_came_then);
	tcase_add_test(t, a_drop_that_cannot_be_removed_is_sent_when_it_can);
	tcase_add_test(t, a_drop_that_was_sent_and_stays_is_not_sent_again);
	tcase_add_test(t, a_drop_that_could_not_be_removed_is_removed_later);
	tcase_add_loop_test(t, what_our_disk_refuses_stays_and_is_taken_when_it_can_be, 0, 2);
	tcase_add_test(t, a_stop_while_a_drop_is_committed_removes_it_still);
	suite_add_tcase(s, t);
	return s;
}
