/* Delivery into Maildirs, by the helper process and inline: most tests run both ways. */
#include "deliver/maildir.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/account.h"
#include "deliver/mailbox.h"
#include "deliver/memory.h"
#include "lib/child.h"
#include "lib/file.h"
#include "lib/list.h"
#include "lib/log.h"
#include "lib/loop.h"
#include "lib/root.h"
#include "tests/tree.h"

Suite *deliver_maildir_suite(void);

#define MESSAGE "Received: by x\r\nSubject: y\r\n\r\nHello\r\n\r\nBob\r\n"
#define STORED "Received: by x\nSubject: y\n\nHello\n\nBob\n"

static char dir[256];                   /* of this test, removed at its end */
static char template[300], fallback[300];
static struct file_calls kernel;

/* ---- files */

static const char *in_dir(const char *name)
{
	static char path[4][1024];
	static unsigned at;

	at = (at + 1) % 4;
	snprintf(path[at], sizeof path[at], "%s/%s", dir, name);
	return path[at];
}

/* Files in a directory; the name of one of them in `name`. */
static unsigned files_in(const char *path, char name[300])
{
	DIR *d = opendir(path);
	struct dirent *e;
	unsigned n = 0;

	while (d && (e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		n++;
		if (name)
			snprintf(name, 300, "%s", e->d_name);
	}
	if (d)
		closedir(d);
	return n;
}

static void write_new(const char *path, const char *text, size_t n)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	ck_assert_int_ne(fd, -1);
	ck_assert_int_eq(write(fd, text, n), (ssize_t)n);       /* not by file_sys: it may refuse */
	close(fd);
}

static void make_mailbox(const char *user)
{
	char name[100];

	snprintf(name, sizeof name, "mail/%s", user);
	ck_assert_int_eq(maildir_make(in_dir(name)), 0);
}

static void set_up(void)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(dir, sizeof dir, "%.200s/fardel-maildir-XXXXXX", tmp ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert_int_eq(mkdir(in_dir("mail"), 0700), 0);
	snprintf(template, sizeof template, "%s/mail/{user}/", dir);
	snprintf(fallback, sizeof fallback, "%s/postmaster/", dir);
	kernel = file_sys;
	log_threshold(LOG_ERROR);
}

static void tear_down(void)
{
	maildir_stop();
	file_sys = kernel;
	tree_remove(dir);
}

/* ---- jobs */

enum { INLINE, HELPER, WAYS };

static struct maildir_config config_of(int way)
{
	return (struct maildir_config){ .template = template, .fallback = fallback, .hostname = "mail.example.org",
		.inline_work = way == INLINE, .separator = '+' };
}

static void start(int way)
{
	struct maildir_config c = config_of(way);

	ck_assert_ptr_null(maildir_start(&c));
}

struct trial {
	struct maildir_job job;
	struct addr to;
	struct reply reply;
	bool done;
};
static unsigned order, in_order[100];

static void trial_done(struct maildir_job *job, const struct reply *r)
{
	struct trial *t = owner_of(job, struct trial, job);

	ck_assert(!t->done);
	t->done = true;
	t->reply = *r;
	in_order[order++ % 100] = (unsigned)job->errand.ticket;
}

/* The message is the file's octets behind the first `at`. */
static void begin(struct trial *t, const char *local, const char *file, off_t at)
{
	struct stat st;

	*t = (struct trial){ .to = { str_of(local), STR("Example.ORG") } };
	t->job = (struct maildir_job){ .to = &t->to, .sender = STR("alice@example.net"), .id = "6b0c3d50a1", .at = at, .done = trial_done };
	t->job.fd = open(file, O_RDWR | O_CLOEXEC);
	ck_assert_int_ne(t->job.fd, -1);
	ck_assert_int_eq(fstat(t->job.fd, &st), 0);
	t->job.size = st.st_size - at;
	maildir_deliver(&t->job);
	ck_assert(!t->done);
}

static void begin_text(struct trial *t, const char *local, const char *text, size_t n)
{
	write_new(in_dir("message"), "envelope\n", 9);
	write_new(in_dir("message2"), text, n);
	begin(t, local, in_dir("message2"), 0);
}

/* Turns of the loop that let no virtual time pass, until the helper has answered. */
static void await(const bool *done)
{
	for (int i = 0; i < 20000 && !*done; i++) {
		loop_turn(0);
		if (!*done)
			poll(NULL, 0, i < 50 ? 0 : 1);
	}
	ck_assert(*done);
}

static struct reply finish(struct trial *t)
{
	await(&t->done);
	close(t->job.fd);
	return t->reply;
}

static struct reply deliver_text(const char *local, const char *text)
{
	struct trial t;

	begin_text(&t, local, text, strlen(text));
	return finish(&t);
}

static void expect(const struct reply *r, int code, const char *enhanced)
{
	ck_assert_msg(r->code == code && !strcmp(r->enhanced, enhanced), "%d %s %s instead of %d %s", r->code, r->enhanced, r->text,
		code, enhanced);
}

/* The one file in mail/USER/new. */
static void read_delivered(const char *user, struct buf *out)
{
	char new[100], name[300], path[500];

	snprintf(new, sizeof new, "mail/%s/new", user);
	ck_assert_uint_eq(files_in(in_dir(new), name), 1);
	snprintf(path, sizeof path, "%s/%s", new, name);
	out->max = 2000000;
	ck_assert_int_eq(file_read_all(AT_FDCWD, in_dir(path), out), 0);
}

static unsigned delivered_to(const char *user)
{
	char new[100];

	snprintf(new, sizeof new, "mail/%s/new", user);
	return files_in(in_dir(new), NULL);
}

static void expect_nothing_left(const char *user)
{
	char tmp[100];

	snprintf(tmp, sizeof tmp, "mail/%s/tmp", user);
	ck_assert_uint_eq(files_in(in_dir(tmp), NULL), 0);
}

/* ---- names */

static const struct {
	struct str local;
	const char *user;               /* NULL: no such user can exist */
} users[] = {
	{ STR("bob"), "bob" },
	{ STR("Bob"), "bob" },
	{ STR("b.o_b+tag-1"), "b.o_b+tag-1" },
	{ STR("\"bob\""), "bob" },
	{ STR("\"b\\o\\b\""), "bob" },
	{ STR("POSTMASTER"), "postmaster" },
	{ STR("0123456789012345678901234567890123456789012345678901234567890123"),
	  "0123456789012345678901234567890123456789012345678901234567890123" },
	{ STR("01234567890123456789012345678901234567890123456789012345678901234"), NULL },
	{ STR(""), NULL },
	{ STR("\"\""), NULL },
	{ STR(".bob"), NULL },
	{ STR("\".bob\""), NULL },
	{ STR("."), NULL },
	{ STR(".."), NULL },
	{ STR("\"../bob\""), NULL },
	{ STR("\"a/b\""), NULL },
	{ STR("a/b"), NULL },
	{ STR("\"a b\""), NULL },
	{ STR("a\0b"), NULL },
	{ STR("\0"), NULL },
	{ STR("b\xc3\xb6" "b"), NULL },
	{ STR("{user}"), NULL },
	{ STR("|sh"), NULL },
	{ STR("bob\n"), NULL },
};

START_TEST(mailbox_names_are_of_a_narrow_alphabet)
{
	char user[LOCAL_MAX + 1];
	bool ok = maildir_user(users[_i].local, user);

	ck_assert_msg(ok == (users[_i].user != NULL), STR_FMT, STR_ARG(users[_i].local));
	ck_assert_str_eq(user, ok ? users[_i].user : "");
}
END_TEST

static const struct {
	const char *template, *path;    /* NULL: refused */
} paths[] = {
	{ "/m/{user}/", "/m/bob" },
	{ "/m/{user}", "/m/bob" },
	{ "/home/{user}/Maildir//", "/home/bob/Maildir" },
	{ "/{user}/{user}x", "/bob/bobx" },
	{ "/m/", NULL },
	{ "/m/{domain}/{user}", NULL },
	{ "/m/{user", NULL },
	{ "/m/{", NULL },
	{ "", NULL },
	{ "/much/longer/than/the/room/for/it/{user}", NULL },
};

START_TEST(template_makes_the_path)
{
	char path[32];
	bool ok = maildir_path(str_of(paths[_i].template), "bob", path, sizeof path);

	ck_assert_int_eq(ok, paths[_i].path != NULL);
	ck_assert_str_eq(path, ok ? paths[_i].path : "");
}
END_TEST

START_TEST(wrong_configuration_is_refused_in_words)
{
	static const struct { const char *template, *postmaster; } row[] = {
		{ NULL, NULL }, { "", NULL }, { "/m/", NULL }, { "/{x}/{user}", NULL }, { "/{user}", "../x" }, { "/{user}", "" }
	};

	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		struct maildir_config c = { .template = row[i].template, .postmaster = row[i].postmaster, .inline_work = true };

		ck_assert_ptr_nonnull(maildir_start(&c));
	}
}
END_TEST

/* ---- a delivery */

START_TEST(delivered_mail_has_trace_fields_and_unix_lines)
{
	struct buf text = { 0 };
	struct trial t;
	struct reply r;

	make_mailbox("bob");
	start(_i);
	write_new(in_dir("queued"), "MAIL FROM:<alice@example.net>\n\n" MESSAGE, 31 + strlen(MESSAGE));
	begin(&t, "Bob", in_dir("queued"), 31);
	r = finish(&t);
	expect(&r, 250, "2.1.5");
	read_delivered("bob", &text);
	ck_assert_str_eq(buf_cstr(&text), "Return-Path: <alice@example.net>\nDelivered-To: bob@example.org\n" STORED);
	expect_nothing_left("bob");
	buf_free(&text);
}
END_TEST

/* What a stranger has written below our trace fields is not believed. */
START_TEST(judged_mail_is_remembered_by_what_we_have_written)
{
	static const struct memory_folders folders = { .rejects = "Rejects" };
	static const char field[] = "X-Fardel-Reason: none; id=6b040b696db0f6315eaf30e1;\r\n\tanna@example.net f - - - -\r\n";
	static const struct { const char *above, *below; bool remembered; } rows[] = {
		{ field, "", true }, { "", field, false }, { "X-Filter: yes\r\nX-Fardel-Reason: none; id=6b040b696db0f6315eaf30e1; a@b f - - - -\r\n", "", true },
	};
	char text[600], history[100];
	struct trial t;

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct maildir_config c = config_of(_i);
		char name[20];

		c.folders = &folders;
		snprintf(name, sizeof name, "bob%zu", i);
		make_mailbox(name);
		ck_assert_ptr_null(maildir_start(&c));
		snprintf(text, sizeof text, "X-Filter: ours\r\n%s%s%s", rows[i].above, MESSAGE, "");
		snprintf(text, sizeof text, "%sReceived: by us\r\n%sSubject: x\r\n\r\ntext\r\n", rows[i].above, rows[i].below);
		begin_text(&t, name, text, strlen(text));
		ck_assert_int_eq(finish(&t).code, 250);
		snprintf(history, sizeof history, "mail/%s/fardel.history", name);
		ck_assert_int_eq(access(in_dir(history), F_OK) == 0, rows[i].remembered);
		maildir_stop();
	}
}
END_TEST

START_TEST(judged_mail_goes_where_a_rule_says)
{
	static const struct memory_folders folders = { .junk = "Junk", .rejects = "Rejects", .own_rules = true };
	static const char rules[] = "verified=fwd.example forwarder folder=Alumni refused=Junk\nlist=*dev* folder=dev\nauthor=x@y folder=cur\n";
	static const struct { const char *reason, *words, *more, *folder, *remembered; } rows[] = {
		{ "none", "a@b f s@fwd.example h 192.0.2.7 fwd.example,b", "", ".Alumni", " none a@b f - - - b fwd.example\n" },
		{ "unwanted:iprev", "a@b - - - 192.0.2.7 fwd.example", "", ".Junk", " unwanted:iprev a@b - - - - - fwd.example\n" },
		{ "none", "a@b f - - - b", "List-Id: <dev.lists>\r\n", ".dev", " none a@b f - - - b\n" },
		{ "none", "x@y f - - - b", "", ".", " none x@y f - - - b\n" },         /* the folder is a file */
		{ "none", "z@y f - - - b", "", ".", " none z@y f - - - b\n" },
	};
	char text[600], name[100], at[20];
	struct trial t;

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct maildir_config c = config_of(_i);
		struct buf history = { 0 };

		c.folders = &folders;
		snprintf(at, sizeof at, "bob%zu", i);
		make_mailbox(at);
		snprintf(name, sizeof name, "mail/%s/fardel.rules", at);
		write_new(in_dir(name), rules, strlen(rules));
		snprintf(name, sizeof name, "mail/%s/.cur", at);
		write_new(in_dir(name), "", 0);
		ck_assert_ptr_null(maildir_start(&c));
		snprintf(text, sizeof text, "X-Fardel-Reason: %s; id=6b040b696db0f6315eaf30e1; %s\r\nReceived: by us\r\n%sSubject: x\r\n\r\ntext\r\n", rows[i].reason,
			rows[i].words, rows[i].more);
		begin_text(&t, at, text, strlen(text));
		ck_assert_int_eq(finish(&t).code, 250);
		snprintf(name, sizeof name, "mail/%s/%s/new", at, rows[i].folder);
		ck_assert_msg(files_in(in_dir(name), NULL) == 1, "row %zu", i);
		snprintf(name, sizeof name, "mail/%s/fardel.history", at);
		ck_assert_int_eq(file_read_all(AT_FDCWD, in_dir(name), &history), 0);
		ck_assert_msg(str_ends_nocase(buf_view(&history), str_of(rows[i].remembered)), "row %zu: %s", i, buf_cstr(&history));
		buf_free(&history);
		maildir_stop();
	}
}
END_TEST

START_TEST(file_is_private_and_named_by_the_convention)
{
	struct maildir_config c = config_of(_i);
	char name[300], path[700];
	struct stat st;
	struct reply r;

	make_mailbox("bob");
	c.hostname = "mail/1:2";
	ck_assert_ptr_null(maildir_start(&c));
	r = deliver_text("bob", MESSAGE);
	expect(&r, 250, "2.1.5");
	ck_assert_uint_eq(files_in(in_dir("mail/bob/new"), name), 1);
	ck_assert(str_ends_nocase(str_of(name), STR("_6b0c3d50a1.mail\\0571\\0722")));
	snprintf(path, sizeof path, "mail/bob/new/%s", name);
	ck_assert_int_eq(stat(in_dir(path), &st), 0);
	ck_assert_int_eq(st.st_mode & 07777, 0600);
	ck_assert_int_eq(st.st_nlink, 1);
}
END_TEST

START_TEST(null_sender_is_an_empty_path)
{
	struct buf text = { 0 };
	struct trial t;

	make_mailbox("bob");
	start(_i);
	begin_text(&t, "bob", MESSAGE, strlen(MESSAGE));
	t.job.sender = STR("");
	finish(&t);
	read_delivered("bob", &text);
	ck_assert(str_starts_nocase(buf_view(&text), STR("Return-Path: <>\nDelivered-To: ")));
	buf_free(&text);
}
END_TEST

/* A CR LF that a read cuts in two, CRs alone, a CR at the end. */
START_TEST(line_ends_are_judged_over_the_borders_of_reads)
{
	enum { N = 65536 * 2 + 10 };
	char *text = malloc(N);
	struct buf stored = { 0 };
	struct trial t;
	size_t at;

	make_mailbox("bob");
	start(INLINE);
	memset(text, 'x', N);
	memcpy(text, "A: b\r\n\r\n", 8);
	text[65535] = '\r';
	text[65536] = '\n';
	text[131071] = '\r';            /* and no LF behind it */
	text[N - 1] = '\r';
	begin_text(&t, "bob", text, N);
	ck_assert_int_eq(finish(&t).code, 250);
	read_delivered("bob", &stored);
	at = stored.n - (N - 3);        /* two CRs of the header and one behind it are gone */
	ck_assert_mem_eq(stored.p + at, "A: b\n\nxx", 8);
	ck_assert_int_eq(stored.p[at + 65535 - 2], '\n');
	ck_assert_int_eq(stored.p[at + 131071 - 3], '\r');
	ck_assert_int_eq(stored.p[at + N - 1 - 3], '\r');
	buf_free(&stored);
	free(text);
}
END_TEST

START_TEST(unknown_users_are_refused_and_no_home_is_made)
{
	static const char *const local[] = { "nobody", "\"a/b\"", "..", "\"../mail\"" };

	make_mailbox("bob");
	start(_i);
	for (size_t i = 0; i < sizeof local / sizeof local[0]; i++) {
		struct reply r = deliver_text(local[i], MESSAGE);

		expect(&r, 550, "5.1.1");
	}
	ck_assert_uint_eq(files_in(in_dir("mail"), NULL), 1);
}
END_TEST

START_TEST(parts_of_a_mailbox_are_made)
{
	struct reply r;

	ck_assert_int_eq(mkdir(in_dir("mail/bob"), 0700), 0);
	start(_i);
	r = deliver_text("bob", MESSAGE);
	expect(&r, 250, "2.1.5");
	ck_assert_uint_eq(files_in(in_dir("mail/bob"), NULL), 3);
	ck_assert_uint_eq(delivered_to("bob"), 1);
}
END_TEST

static ino_t synced[64];
static size_t nsynced;
static int note_sync(int fd)
{
	struct stat st;

	ck_assert(fstat(fd, &st) == 0 && nsynced < 64);
	synced[nsynced++] = st.st_ino;
	return kernel.fsync(fd);
}

static bool was_synced(const char *name)
{
	struct stat st;
	size_t i = 0;

	ck_assert_int_eq(stat(in_dir(name), &st), 0);
	while (i < nsynced && synced[i] != st.st_ino)
		i++;
	return i < nsynced;
}

/* Whether they are made with it or for its first mail. */
START_TEST(parts_of_a_mailbox_are_durable_before_mail_is_in_them)
{
	struct reply r;

	file_sys.fsync = note_sync;
	make_mailbox("anna");
	ck_assert(was_synced("mail") && was_synced("mail/anna"));
	ck_assert_int_eq(mkdir(in_dir("mail/bob"), 0700), 0);
	start(INLINE);
	r = deliver_text("bob", MESSAGE);
	expect(&r, 250, "2.1.5");
	ck_assert(was_synced("mail/bob") && was_synced("mail/bob/new"));
}
END_TEST

START_TEST(links_are_not_followed)
{
	static const char *const part[] = { "tmp", "new", "cur" };
	struct reply r;

	make_mailbox("other");
	start(_i);
	for (size_t i = 0; i < 3; i++) {
		char user[10], path[30];

		snprintf(user, sizeof user, "u%zu", i);
		make_mailbox(user);
		snprintf(path, sizeof path, "mail/%s/%s", user, part[i]);
		ck_assert_int_eq(rmdir(in_dir(path)), 0);
		ck_assert_int_eq(symlink(in_dir("mail/other/new"), in_dir(path)), 0);
		r = deliver_text(user, MESSAGE);
		expect(&r, 451, "4.3.5");
	}
	ck_assert_int_eq(symlink(in_dir("mail/other"), in_dir("mail/linked")), 0);
	r = deliver_text("linked", MESSAGE);
	expect(&r, 451, "4.3.5");
	ck_assert_uint_eq(delivered_to("other"), 0);
	expect_nothing_left("other");
}
END_TEST

START_TEST(what_everybody_may_write_is_no_mailbox)
{
	static const char *const part[] = { "mail/bob", "mail/bob/tmp", "mail/bob/new", "mail/bob/cur" };

	make_mailbox("bob");
	start(_i);
	for (size_t i = 0; i < 4; i++) {
		ck_assert_int_eq(chmod(in_dir(part[i]), 0777), 0);
		ck_assert_int_eq(deliver_text("bob", MESSAGE).code, 451);
		ck_assert_int_eq(chmod(in_dir(part[i]), 0700), 0);
	}
	ck_assert_uint_eq(delivered_to("bob"), 0);
}
END_TEST

/* Not there is not the same as not mounted. */
START_TEST(missing_disks_defer_and_do_not_bounce)
{
	struct maildir_config c = config_of(_i);
	char homes[400];
	struct reply r;

	snprintf(homes, sizeof homes, "%s/home/{user}/Maildir/", dir);
	c.template = homes;
	ck_assert_ptr_null(maildir_start(&c));
	r = deliver_text("bob", MESSAGE);
	expect(&r, 451, "4.3.5");
	ck_assert_int_eq(mkdir(in_dir("home"), 0700), 0);
	r = deliver_text("bob", MESSAGE);
	expect(&r, 550, "5.1.1");
	ck_assert_int_eq(mkdir(in_dir("home/bob"), 0700), 0);
	r = deliver_text("bob", MESSAGE);
	expect(&r, 451, "4.3.5");
	ck_assert_uint_eq(files_in(in_dir("home/bob"), NULL), 0);
	ck_assert_int_eq(mkdir(in_dir("home/bob/Maildir"), 0700), 0);
	r = deliver_text("bob", MESSAGE);
	expect(&r, 250, "2.1.5");
}
END_TEST

/* ---- loops */

static const struct {
	const char *header;
	int code;
} circles[] = {
	{ "Delivered-To: bob@example.org\r\n", 554 },
	{ "Received: x\r\ndelivered-to:\tBOB@EXAMPLE.ORG \r\nX: y\r\n", 554 },
	{ "Delivered-To:\r\n bob@example.org\r\n", 554 },
	{ "Delivered-To: carol@example.org\r\nDelivered-To: bob@example.org\r\n", 554 },
	{ "Delivered-To: bob@example.com\r\n", 250 },
	{ "Delivered-To: bob@example.org.example\r\n", 250 },
	{ "X-Delivered-To: bob@example.org\r\n", 250 },
	{ "\r\nDelivered-To: bob@example.org\r\n", 250 },
	{ "", 250 },
};

START_TEST(mail_that_comes_back_is_refused_once)
{
	char text[400];

	make_mailbox("bob");
	start(INLINE);
	snprintf(text, sizeof text, "%s\r\nx\r\n", circles[_i].header);
	ck_assert_int_eq(deliver_text("\"Bob\"", text).code, circles[_i].code);
	ck_assert_uint_eq(delivered_to("bob"), circles[_i].code == 250);
}
END_TEST

/* What an alias has just put there itself is no sign of a loop, and is kept. */
START_TEST(our_own_trace_is_no_circle)
{
	static const char own[] = "Delivered-To: bob@example.org\r\n", text[] = "Delivered-To: bob@example.org\r\nSubject: x\r\n\r\n";
	struct buf got = { 0 };
	struct trial t;
	struct reply r;

	make_mailbox("bob");
	start(_i);
	write_new(in_dir("message2"), text, strlen(text));
	begin(&t, "bob", in_dir("message2"), 0);
	r = finish(&t);
	expect(&r, 554, "5.4.6");
	begin(&t, "bob", in_dir("message2"), 0);
	t.job.own = strlen(own);
	r = finish(&t);
	expect(&r, 250, "2.1.5");
	read_delivered("bob", &got);
	ck_assert_ptr_nonnull(strstr(buf_cstr(&got), "Delivered-To: bob@example.org\nDelivered-To: bob@example.org\nSubject"));
	buf_free(&got);
}
END_TEST

/* ---- subaddresses */

START_TEST(a_detail_behind_the_name_goes_to_the_name)
{
	static const struct row { const char *local, *user; } row[] = {
		{ "bob+shop", "bob" }, { "Bob+A=b%c", "bob" }, { "\"bob+two words\"", "bob" }, { "bob+a+b", "bob" }, { "bob+", "bob" }, { "bob+own", "bob+own" },
	};

	make_mailbox("bob");
	make_mailbox("bob+own");
	start(_i);
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		unsigned before = delivered_to(row[i].user);

		ck_assert_msg(deliver_text(row[i].local, MESSAGE).code == 250, "%s", row[i].local);
		ck_assert_uint_eq(delivered_to(row[i].user), before + 1);
	}
	ck_assert_int_eq(deliver_text("carol+x", MESSAGE).code, 550);
	ck_assert_int_eq(deliver_text("+x", MESSAGE).code, 550);
	ck_assert_int_eq(deliver_text("postmaster+x", MESSAGE).code, 250);
	ck_assert_uint_eq(files_in(in_dir("postmaster/new"), NULL), 1);
}
END_TEST

START_TEST(without_a_separator_there_are_no_details)
{
	struct maildir_config c = config_of(_i);

	c.separator = 0;
	make_mailbox("bob");
	ck_assert_ptr_null(maildir_start(&c));
	ck_assert_int_eq(deliver_text("bob+x", MESSAGE).code, 550);
}
END_TEST

/* ---- postmaster */

START_TEST(postmaster_always_has_a_mailbox)
{
	struct maildir_config c = config_of(_i);
	struct reply r;

	c.postmaster = "admin";
	ck_assert_ptr_null(maildir_start(&c));
	r = deliver_text("PostMaster", MESSAGE);
	expect(&r, 250, "2.1.5");
	ck_assert_uint_eq(files_in(in_dir("postmaster/new"), NULL), 1);
	make_mailbox("postmaster");
	deliver_text("postmaster", MESSAGE);
	ck_assert_uint_eq(delivered_to("postmaster"), 1);
	make_mailbox("admin");
	deliver_text("postmaster", MESSAGE);
	ck_assert_uint_eq(delivered_to("admin"), 1);
	ck_assert_uint_eq(files_in(in_dir("postmaster/new"), NULL), 1);
}
END_TEST

START_TEST(postmaster_without_any_place_is_deferred)
{
	struct maildir_config c = config_of(_i);
	struct reply r;

	c.fallback = NULL;
	ck_assert_ptr_null(maildir_start(&c));
	r = deliver_text("postmaster", MESSAGE);
	expect(&r, 451, "4.3.5");
}
END_TEST

START_TEST(bare_postmaster_is_named_with_our_host)
{
	struct buf text = { 0 };
	struct trial t;

	make_mailbox("postmaster");
	start(_i);
	begin_text(&t, "postmaster", MESSAGE, strlen(MESSAGE));
	t.to.domain = STR("");
	finish(&t);
	read_delivered("postmaster", &text);
	ck_assert_ptr_nonnull(strstr(buf_cstr(&text), "\nDelivered-To: postmaster@mail.example.org\n"));
	buf_free(&text);
}
END_TEST

/* ---- the system refuses */

static int fault, fail_from;            /* errno; calls that succeed first */

static int refuse_open(int d, const char *name, int flags, mode_t mode)
{
	if (flags & O_CREAT) {
		errno = fault;
		return -1;
	}
	return kernel.open(d, name, flags, mode);
}

static int refuse_part(int d, const char *name, int flags, mode_t mode)
{
	if (flags & O_DIRECTORY) {
		errno = fault;
		return -1;
	}
	return kernel.open(d, name, flags, mode);
}

static ssize_t refuse_write(int fd, const void *p, size_t n)
{
	if (fail_from-- > 0)
		return kernel.write(fd, p, n > 7 ? 7 : n);      /* short writes meanwhile */
	errno = fault;
	return -1;
}

static int refuse_sync(int fd)
{
	(void)fd;
	errno = fault;
	return -1;
}

static int refuse_rename(int a, const char *from, int b, const char *to)
{
	(void)a, (void)from, (void)b, (void)to;
	errno = fault;
	return -1;
}

static const struct {
	const char *call;
	int error, code;
	const char *enhanced;
} faults[] = {
	{ "part", EACCES, 451, "4.3.0" }, { "part", EIO, 451, "4.3.0" }, { "part", ESTALE, 451, "4.3.0" }, { "part", ELOOP, 451, "4.3.5" },
	{ "open", ENOSPC, 452, "4.3.1" }, { "open", EDQUOT, 452, "4.2.2" }, { "open", EROFS, 451, "4.3.0" }, { "open", EEXIST, 451, "4.3.0" },
	{ "write", ENOSPC, 452, "4.3.1" }, { "write", EDQUOT, 452, "4.2.2" }, { "write", EIO, 451, "4.3.0" }, { "write", EFBIG, 452, "4.3.1" },
	{ "fdatasync", EIO, 451, "4.3.0" }, { "fdatasync", ENOSPC, 452, "4.3.1" }, { "fdatasync", EDQUOT, 452, "4.2.2" },
	{ "rename", EXDEV, 451, "4.3.0" }, { "rename", EEXIST, 451, "4.3.0" }, { "rename", ENOSPC, 452, "4.3.1" },
	{ "fsync", EIO, 451, "4.3.0" },
};

static void inject(const char *call)
{
	if (!strcmp(call, "part"))
		file_sys.open = refuse_part;
	else if (!strcmp(call, "open"))
		file_sys.open = refuse_open;
	else if (!strcmp(call, "write"))
		file_sys.write = refuse_write;
	else if (!strcmp(call, "fdatasync"))
		file_sys.fdatasync = refuse_sync;
	else if (!strcmp(call, "rename"))
		file_sys.rename = refuse_rename;
	else if (!strcmp(call, "fsync"))
		file_sys.fsync = refuse_sync;
	else
		ck_abort_msg("no call %s", call);
}

START_TEST(every_refusal_of_the_system_is_temporary_and_leaves_nothing)
{
	struct reply r;

	make_mailbox("bob");
	start(INLINE);
	for (fail_from = 0; fail_from < 9; fail_from += 4) {
		int kept = fail_from;

		fault = faults[_i].error;
		inject(faults[_i].call);
		r = deliver_text("bob", MESSAGE);
		fail_from = kept;
		file_sys = kernel;
		expect(&r, faults[_i].code, faults[_i].enhanced);
		ck_assert_uint_eq(delivered_to("bob"), 0);
		expect_nothing_left("bob");
	}
	r = deliver_text("bob", MESSAGE);
	expect(&r, 250, "2.1.5");
}
END_TEST

static unsigned taken;                  /* names in new that are taken already */

static int rename_taken(int a, const char *from, int b, const char *to)
{
	if (taken-- > 0 && taken < 100) {
		int fd = openat(b, to, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);

		ck_assert_int_ne(fd, -1);
		close(fd);
	}
	return kernel.rename(a, from, b, to);
}

START_TEST(nothing_in_new_is_ever_replaced)
{
	struct reply r;

	make_mailbox("bob");
	start(INLINE);
	taken = 3;
	file_sys.rename = rename_taken;
	r = deliver_text("bob", MESSAGE);
	expect(&r, 250, "2.1.5");
	ck_assert_uint_eq(delivered_to("bob"), 4);
	expect_nothing_left("bob");
}
END_TEST

START_TEST(queue_file_that_is_too_short_is_not_delivered)
{
	struct trial t;
	struct reply r;

	make_mailbox("bob");
	start(_i);
	begin_text(&t, "bob", MESSAGE, strlen(MESSAGE));
	t.job.size += 1;
	r = finish(&t);
	expect(&r, 451, "4.3.0");
	ck_assert_uint_eq(delivered_to("bob"), 0);
	expect_nothing_left("bob");
}
END_TEST

START_TEST(message_locked_by_somebody_else_is_left_to_him)
{
	struct trial t;
	struct reply r;
	int other;

	make_mailbox("bob");
	start(_i);
	begin_text(&t, "bob", MESSAGE, strlen(MESSAGE));
	other = open(in_dir("message2"), O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(flock(other, LOCK_EX | LOCK_NB), 0);
	r = finish(&t);
	expect(&r, 451, "4.3.0");
	ck_assert_uint_eq(delivered_to("bob"), 0);
	flock(other, LOCK_UN);
	begin(&t, "bob", in_dir("message2"), 0);
	await(&t.done);
	expect(&t.reply, 250, "2.1.5");
	/* and the lock does not outlive the delivery, though our descriptor is still open */
	ck_assert_int_eq(flock(other, LOCK_EX | LOCK_NB), 0);
	close(other);
	close(t.job.fd);
}
END_TEST

/* ---- many */

START_TEST(deliveries_are_answered_in_order_each_once)
{
	enum { N = 60 };
	static struct trial t[N];
	char name[300];

	make_mailbox("bob");
	start(_i);
	order = 0;
	for (int i = 0; i < N; i++)
		begin_text(&t[i], i % 10 == 9 ? "no/body" : "bob", MESSAGE, strlen(MESSAGE));
	for (int i = 0; i < N; i++) {
		struct reply r = finish(&t[i]);

		ck_assert_int_eq(r.code, i % 10 == 9 ? 550 : 250);
	}
	ck_assert_uint_eq(order, N);
	for (int i = 0, last = 0; i < N; i++) {
		if (!in_order[i])
			continue;       /* needed no ticket */
		ck_assert_int_gt((int)in_order[i], last);
		last = (int)in_order[i];
	}
	ck_assert_uint_eq(files_in(in_dir("mail/bob/new"), name), N - N / 10);
}
END_TEST

/* ---- the question */

static struct task wake;
static struct facts *facts;
static bool known;

static void look(struct task *task)
{
	(void)task;
	known = facts_pending(facts) == 0;
}

static const struct fact *ask_mailbox(const char *local)
{
	facts_source(FACT_MAILBOX, maildir_source());
	wake = (struct task){ .run = look };
	facts = facts_new(&wake, 10);
	known = fact(facts, FACT_MAILBOX, str_of(local)) != NULL;
	await(&known);
	return fact(facts, FACT_MAILBOX, str_of(local));
}

START_TEST(questions_have_three_answers)
{
	const struct row { const char *local; enum outcome outcome; } row[] = {
		{ "bob", FOUND }, { "BOB", FOUND }, { "\"b\\ob\"", FOUND }, { "postmaster", FOUND }, { "carol", NO_NAME },
		{ "a/b", NO_NAME }, { "..", NO_NAME }, { "bob+x", FOUND }, { "bob+x=y", FOUND }, { "carol+x", NO_NAME }, { "a/b+x", NO_NAME }, { "linked", UNKNOWN },
	};

	make_mailbox("bob");
	ck_assert_int_eq(symlink(in_dir("mail/bob"), in_dir("mail/linked")), 0);
	start(_i);
	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		const struct fact *f = ask_mailbox(row[i].local);

		ck_assert_msg(f->outcome == row[i].outcome, "%s: %d", row[i].local, f->outcome);
		ck_assert_int_eq(f->n == 1, row[i].outcome == FOUND);
		ck_assert_int_eq(f->why != NULL, row[i].outcome == UNKNOWN);
		if (i == 0)
			ck_assert(str_eq(f->record[0].data, str_of(in_dir("mail/bob"))));
		facts_free(facts);
	}
	maildir_stop();
	ck_assert_int_eq(ask_mailbox("bob")->outcome, UNKNOWN);
	facts_free(facts);
}
END_TEST

START_TEST(answer_to_a_question_nobody_asks_any_more_is_dropped)
{
	const struct fact *f;

	make_mailbox("bob");
	start(_i);
	facts_source(FACT_MAILBOX, maildir_source());
	facts = facts_new(NULL, 10);
	ck_assert_ptr_null(fact(facts, FACT_MAILBOX, STR("bob")));
	facts_free(facts);
	f = ask_mailbox("bob");
	ck_assert_int_eq(f->outcome, FOUND);
	facts_free(facts);
}
END_TEST

START_TEST(questions_that_are_waiting_at_the_end_are_answered)
{
	start(_i);
	facts_source(FACT_MAILBOX, maildir_source());
	facts = facts_new(NULL, 10);
	ck_assert_ptr_null(fact(facts, FACT_MAILBOX, STR("bob")));
	maildir_stop();
	ck_assert_int_eq(fact(facts, FACT_MAILBOX, STR("bob"))->outcome, UNKNOWN);
	facts_free(facts);
}
END_TEST

/* ---- a helper that hangs or dies */

static int hang(int d, const char *name, int flags, mode_t mode)
{
	(void)d, (void)name, (void)flags, (void)mode;
	pause();
	_exit(1);
}

static int die(int d, const char *name, int flags, mode_t mode)
{
	(void)d, (void)name, (void)flags, (void)mode;
	_exit(9);
}

START_TEST(helper_that_hangs_is_killed_at_the_deadline)
{
	static struct trial t[3];
	const struct fact *f;
	bool asked;

	loop_virtual_clock(1795424400);
	make_mailbox("bob");
	file_sys.open = hang;
	start(HELPER);
	file_sys = kernel;              /* what the next helper inherits */
	begin_text(&t[0], "bob", MESSAGE, strlen(MESSAGE));
	begin(&t[1], "bob", in_dir("message2"), 0);
	loop_turn(0);
	facts_source(FACT_MAILBOX, maildir_source());
	facts = facts_new(NULL, 10);
	asked = fact(facts, FACT_MAILBOX, STR("bob")) != NULL;
	ck_assert(!asked);
	loop_turn(0);
	loop_advance(59999);
	loop_turn(0);
	ck_assert(!t[0].done && !t[1].done);
	loop_advance(1);
	loop_turn(0);
	ck_assert(t[0].done && t[1].done);
	expect(&t[0].reply, 451, "4.3.0");
	ck_assert_str_eq(t[0].reply.text, "delivery to the mailbox took more than 60 s");
	expect(&t[1].reply, 451, "4.3.0");
	f = fact(facts, FACT_MAILBOX, STR("bob"));
	ck_assert(f && f->outcome == UNKNOWN);
	facts_free(facts);
	close(t[0].job.fd);
	close(t[1].job.fd);

	begin(&t[2], "bob", in_dir("message2"), 0);
	ck_assert_int_eq(finish(&t[2]).code, 250);
	ck_assert_uint_eq(delivered_to("bob"), 1);
}
END_TEST

START_TEST(helper_that_dies_is_started_again)
{
	static struct trial t[2];

	loop_virtual_clock(1795424400);
	make_mailbox("bob");
	file_sys.open = die;
	start(HELPER);
	file_sys = kernel;
	begin_text(&t[0], "bob", MESSAGE, strlen(MESSAGE));
	expect(&(struct reply){ finish(&t[0]).code, "4.3.0", "" }, 451, "4.3.0");
	begin(&t[1], "bob", in_dir("message2"), 0);
	loop_turn(0);
	ck_assert(!t[1].done);
	loop_advance(1000);
	ck_assert_int_eq(finish(&t[1]).code, 250);
	ck_assert_uint_eq(delivered_to("bob"), 1);
}
END_TEST

/* ---- the parent dies during a delivery */

static int wait_for_fifo(int d, const char *name, int flags, mode_t mode)
{
	if (flags & O_CREAT) {
		int fd = open(in_dir("fifo"), O_RDONLY | O_CLOEXEC);    /* until somebody opens it for writing */

		close(fd);
	}
	return kernel.open(d, name, flags, mode);
}

static bool is_locked(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool locked = flock(fd, LOCK_EX | LOCK_NB) == -1;

	close(fd);
	return locked;
}

/* A process with a helper of its own: two deliveries are asked for, and it dies in the middle of the first. */
static void live_and_die(int life)
{
	static struct trial t[2];

	dup2(life, 0);          /* the helper keeps 0, 1 and 2: whoever reads the other end learns when both are gone */
	close(life);
	file_sys.open = wait_for_fifo;
	start(HELPER);
	begin(&t[0], "bob", in_dir("message2"), 0);
	begin(&t[1], "bob", in_dir("message2"), 0);
	for (int i = 0; i < 20000 && !is_locked(in_dir("message2")); i++) {
		loop_turn(0);
		poll(NULL, 0, 1);
	}
	_exit(0);
}

static bool nobody(void) { return false; }

/* It was asked for, and who has asked is gone: another process may be at the message since. */
START_TEST(what_nobody_will_mark_is_not_delivered)
{
	struct work w = { .ticket = 1, .kind = WORK_DELIVER, .size = sizeof MESSAGE - 1, .user = "bob", .delivered_to = "bob@example.org", .id = "1" };
	struct work_result result;
	struct buf text = { 0 };
	int fd;

	make_mailbox("bob");
	write_new(in_dir("message"), MESSAGE, sizeof MESSAGE - 1);
	fd = open(in_dir("message"), O_RDONLY | O_CLOEXEC);
	start(INLINE);
	ck_assert(!mailbox_work(&w, fd, nobody, &result, &text));
	ck_assert_uint_eq(delivered_to("bob"), 0);
	ck_assert(mailbox_work(&w, fd, NULL, &result, &text));
	ck_assert_uint_eq(delivered_to("bob"), 1);
	close(fd);
	buf_free(&text);
}
END_TEST

START_TEST(delivery_of_a_dead_parent_ends_under_its_lock_and_is_the_last)
{
	int life[2], status, fifo = -1;
	char octet;
	pid_t parent;

	make_mailbox("bob");
	write_new(in_dir("message2"), MESSAGE, strlen(MESSAGE));
	ck_assert_int_eq(mkfifo(in_dir("fifo"), 0600), 0);
	ck_assert_int_eq(pipe(life), 0);
	parent = fork();
	if (parent == 0) {
		close(life[0]);
		live_and_die(life[1]);
	}
	close(life[1]);
	ck_assert_int_eq(waitpid(parent, &status, 0), parent);
	ck_assert_int_eq(status, 0);
	ck_assert(is_locked(in_dir("message2")));
	for (int i = 0; i < 20000 && fifo == -1; i++) {
		fifo = open(in_dir("fifo"), O_WRONLY | O_NONBLOCK | O_CLOEXEC);
		if (fifo == -1)
			poll(NULL, 0, 1);
	}
	ck_assert_int_ne(fifo, -1);
	ck_assert_int_eq(read(life[0], &octet, 1), 0);
	close(fifo);
	close(life[0]);
	ck_assert(!is_locked(in_dir("message2")));
	ck_assert_uint_eq(delivered_to("bob"), 1);
	expect_nothing_left("bob");
}
END_TEST

/* ---- homes: what only root can do is tried by root alone */

static int hang_or_work(int socket, const struct account *a)
{
	alarm(60);                      /* whoever hangs is not there for ever */
	while (!strcmp(a->name, "nobody"))
		pause();
	return maildir_user_main(socket, a);
}

static bool start_homes_with(uint64_t quota)
{
	static struct root_config r = { .main = hang_or_work };
	struct maildir_config c = config_of(HELPER);

	if (geteuid() != 0 || !getpwnam("nobody") || !getpwnam("daemon"))
		return false;
	c.template = "~/Maildir/";
	c.users = true;
	c.quota = quota;
	ck_assert_ptr_null(maildir_configure(&c));
	ck_assert_int_eq(root_start(&r), 0);
	ck_assert_ptr_null(maildir_start(&c));
	return true;
}

static bool start_homes(void) { return start_homes_with(0); }

START_TEST(a_home_that_hangs_costs_its_owner_alone)
{
	static struct trial t[4];
	struct reply r;

	loop_virtual_clock(1795424400);
	if (!start_homes())
		return;
	begin_text(&t[0], "nobody", MESSAGE, strlen(MESSAGE));
	begin(&t[1], "daemon", in_dir("message2"), 0);
	r = finish(&t[1]);
	ck_assert_str_eq(r.text, "the home of daemon is not there, or not his own");
	expect(&r, 451, "4.3.5");
	ck_assert(!t[0].done);
	loop_advance(60000);
	r = finish(&t[0]);
	ck_assert_str_eq(r.text, "delivery to the mailbox took more than 60 s");
	expect(&r, 451, "4.3.0");
	begin(&t[2], "nobody", in_dir("message2"), 0);
	r = finish(&t[2]);
	ck_assert_str_eq(r.text, "the user's home did not answer a few minutes ago; it is tried again later");
	loop_advance(300000);
	begin(&t[3], "nobody", in_dir("message2"), 0);
	for (int i = 0; i < 100; i++) {
		loop_turn(0);
		poll(NULL, 0, 1);
	}
	ck_assert(!t[3].done);
	maildir_stop();
	root_stop();
	close(t[3].job.fd);
}
END_TEST

START_TEST(of_a_home_that_tells_nothing_it_is_not_said_that_it_is_full)
{
	static const char *const names[] = { "daemon", "nobody", "no-such-account" };
	static const enum outcome outcomes[] = { FOUND, FOUND, NO_NAME };
	struct facts *f = facts_new(NULL, 10);

	loop_virtual_clock(1795424400);
	if (!start_homes_with(1)) {
		facts_free(f);
		return;
	}
	facts_source(FACT_MAILBOX, maildir_source());
	for (size_t i = 0; i < 3; i++)
		fact(f, FACT_MAILBOX, str_of(names[i]));
	while (facts_pending(f) > 1) {
		loop_turn(0);
		poll(NULL, 0, 1);
	}
	ck_assert_ptr_null(fact(f, FACT_MAILBOX, STR("nobody")));
	loop_advance(5000);             /* not a minute: a client waits */
	while (facts_pending(f)) {
		loop_turn(0);
		poll(NULL, 0, 1);
	}
	for (size_t i = 0; i < 3; i++) {
		const struct fact *got = fact(f, FACT_MAILBOX, str_of(names[i]));

		ck_assert_msg(got->outcome == outcomes[i] && got->n == (outcomes[i] == FOUND), "%s", names[i]);
		ck_assert(got->outcome != FOUND || str_ends_nocase(got->record[0].data, STR("/Maildir")));
	}
	facts_free(f);
	maildir_stop();
	root_stop();
}
END_TEST

START_TEST(accounts_of_root_and_unknown_ones_get_no_mail)
{
	struct reply r;

	if (!start_homes())
		return;
	r = deliver_text("root", MESSAGE);
	ck_assert_str_eq(r.text, "root is root, who gets no mail himself: an alias must say who reads it");
	expect(&r, 451, "4.3.5");
	r = deliver_text("root+x", MESSAGE);
	expect(&r, 451, "4.3.5");
	r = deliver_text("no-such-account", MESSAGE);
	expect(&r, 550, "5.1.1");
	root_stop();                    /* as if it had been killed */
	r = deliver_text("daemon", MESSAGE);
	expect(&r, 451, "4.3.0");
	ck_assert_str_eq(r.text, "no delivery can be started as daemon: the process that starts them has ended. Start the server again");
}
END_TEST

#define ROWS(table) ((int)(sizeof table / sizeof table[0]))

Suite *deliver_maildir_suite(void)
{
	Suite *s = suite_create("deliver_maildir");
	TCase *names = tcase_create("names"), *work = tcase_create("work");

	tcase_add_loop_test(names, mailbox_names_are_of_a_narrow_alphabet, 0, ROWS(users));
	tcase_add_loop_test(names, template_makes_the_path, 0, ROWS(paths));
	tcase_add_test(names, wrong_configuration_is_refused_in_words);
	suite_add_tcase(s, names);

	tcase_add_checked_fixture(work, set_up, tear_down);
	tcase_add_loop_test(work, delivered_mail_has_trace_fields_and_unix_lines, 0, WAYS);
	tcase_add_loop_test(work, judged_mail_is_remembered_by_what_we_have_written, 0, WAYS);
	tcase_add_loop_test(work, judged_mail_goes_where_a_rule_says, 0, WAYS);
	tcase_add_loop_test(work, file_is_private_and_named_by_the_convention, 0, WAYS);
	tcase_add_loop_test(work, null_sender_is_an_empty_path, 0, WAYS);
	tcase_add_test(work, line_ends_are_judged_over_the_borders_of_reads);
	tcase_add_loop_test(work, unknown_users_are_refused_and_no_home_is_made, 0, WAYS);
	tcase_add_loop_test(work, parts_of_a_mailbox_are_made, 0, WAYS);
	tcase_add_test(work, parts_of_a_mailbox_are_durable_before_mail_is_in_them);
	tcase_add_loop_test(work, links_are_not_followed, 0, WAYS);
	tcase_add_loop_test(work, what_everybody_may_write_is_no_mailbox, 0, WAYS);
	tcase_add_loop_test(work, missing_disks_defer_and_do_not_bounce, 0, WAYS);
	tcase_add_loop_test(work, mail_that_comes_back_is_refused_once, 0, ROWS(circles));
	tcase_add_loop_test(work, postmaster_always_has_a_mailbox, 0, WAYS);
	tcase_add_loop_test(work, our_own_trace_is_no_circle, 0, WAYS);
	tcase_add_loop_test(work, a_detail_behind_the_name_goes_to_the_name, 0, WAYS);
	tcase_add_loop_test(work, without_a_separator_there_are_no_details, 0, WAYS);
	tcase_add_loop_test(work, postmaster_without_any_place_is_deferred, 0, WAYS);
	tcase_add_loop_test(work, bare_postmaster_is_named_with_our_host, 0, WAYS);
	tcase_add_loop_test(work, every_refusal_of_the_system_is_temporary_and_leaves_nothing, 0, ROWS(faults));
	tcase_add_test(work, nothing_in_new_is_ever_replaced);
	tcase_add_loop_test(work, queue_file_that_is_too_short_is_not_delivered, 0, WAYS);
	tcase_add_loop_test(work, message_locked_by_somebody_else_is_left_to_him, 0, WAYS);
	tcase_add_loop_test(work, deliveries_are_answered_in_order_each_once, 0, WAYS);
	tcase_add_loop_test(work, questions_have_three_answers, 0, WAYS);
	tcase_add_loop_test(work, answer_to_a_question_nobody_asks_any_more_is_dropped, 0, WAYS);
	tcase_add_loop_test(work, questions_that_are_waiting_at_the_end_are_answered, 0, WAYS);
	tcase_add_test(work, helper_that_hangs_is_killed_at_the_deadline);
	tcase_add_test(work, helper_that_dies_is_started_again);
	tcase_add_test(work, what_nobody_will_mark_is_not_delivered);
	tcase_add_test(work, delivery_of_a_dead_parent_ends_under_its_lock_and_is_the_last);
	tcase_add_test(work, a_home_that_hangs_costs_its_owner_alone);
	tcase_add_test(work, of_a_home_that_tells_nothing_it_is_not_said_that_it_is_full);
	tcase_add_test(work, accounts_of_root_and_unknown_ones_get_no_mail);
	suite_add_tcase(s, work);
	return s;
}
