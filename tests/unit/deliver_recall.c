/* The helper that knows what mailboxes remember: what it answers, and what holds when a home hangs or it dies. */
#include "deliver/recall.h"

#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "deliver/maildir.h"
#include "deliver/recallwork.h"
#include "lib/file.h"
#include "lib/log.h"
#include "lib/loop.h"
#include "lib/root.h"
#include "tests/tree.h"

Suite *deliver_recall_suite(void);

#define ID1 "6b040b696db0f6315eaf30e1"
#define MESSAGE "Received: by us\r\nMessage-ID: <a@b>\r\n\r\ntext\r\n"

enum { INLINE, HELPER, WAYS };

static char dir[256], template[300];
static struct file_calls kernel;
static struct facts *facts;
static const struct identities anna = { .from = { "anna@example.net", 16 }, .validated = true };

static void setup(void)
{
	const char *tmp = getenv("TMPDIR");
	char box[300];

	snprintf(dir, sizeof dir, "%.150s/recall.XXXXXX", tmp ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(template, sizeof template, "%s/{user}", dir);
	snprintf(box, sizeof box, "%s/bob", dir);
	ck_assert_int_eq(maildir_make(box), 0);
	kernel = file_sys;
	log_threshold(LOG_ERROR);
	loop_virtual_clock(1795424400);
	facts = NULL;
}

static void teardown(void)
{
	facts_free(facts);
	recall_stop();
	maildir_stop();
	root_stop();
	file_sys = kernel;
	facts_source(FACT_REPUTATION, NULL);
	tree_remove(dir);
}

static void start(int way)
{
	struct recall_config c = { .folders = { .junk = "Junk", .neutral = "Trash", .sent = "Sent", .rejects = "Rejects" }, .inline_work = way == INLINE };

	ck_assert_ptr_null(maildir_start(&(struct maildir_config){ .template = template, .hostname = "mail.example.org", .inline_work = true,
		.folders = &c.folders }));
	ck_assert_ptr_null(recall_start(&c));
	facts_source(FACT_REPUTATION, recall_source());
	facts = facts_new(NULL, 100);
}

static const struct fact *ask(const char *local)
{
	struct buf name = { 0 };
	const struct fact *f;

	ck_assert(reputation_ask(&name, str_of(local), STR("example.net"), &anna));
	f = fact(facts, FACT_REPUTATION, buf_view(&name));
	buf_free(&name);
	return f;
}

static void turn(void)
{
	loop_turn(0);
	poll(NULL, 0, 1);
}

static const struct fact *await(const char *local)
{
	const struct fact *f;

	while (!(f = ask(local)))
		turn();
	return f;
}

static void put(const char *name, const char *text)
{
	char path[600];
	FILE *f;

	snprintf(path, sizeof path, "%s/bob/%s", dir, name);
	f = fopen(path, "a");
	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
}

START_TEST(it_answers_of_whom_the_mailbox_has_heard)
{
	const struct fact *f;

	start(_i);
	put("fardel.history", "+ 1795424300 " ID1 " none anna@example.net f - - - -\n= 1795424301 " ID1 " junk\n");
	f = await("bob");
	ck_assert_int_eq(f->outcome, FOUND);
	ck_assert(str_eq(f->record[0].data, STR("msgfromfull junk conclusive 1")));
	ck_assert_int_eq(await("nobody")->outcome, NO_NAME);
	ck_assert_int_eq(await("b/../ob")->outcome, NO_NAME);
}
END_TEST

START_TEST(whom_a_user_has_written_to_is_heard_of)
{
	start(_i);
	recall_wrote(STR("bob"), STR("Anna@Example.net"));
	recall_wrote(STR("nobody"), STR("Anna@Example.net"));
	ck_assert(str_eq(await("bob")->record[0].data, STR("msgtofull ham conclusive 1")));
}
END_TEST

static int done, was_kept;
static void keep_done(struct refused *r, bool kept)
{
	(void)r;
	done++;
	was_kept += kept;
}

static struct refused refused;
static void keep(const char *local)
{
	char path[300];
	int fd;

	put("message", "");
	snprintf(path, sizeof path, "%s/bob/message", dir);
	fd = open(path, O_RDWR | O_TRUNC);
	ck_assert_int_eq(write(fd, MESSAGE, sizeof MESSAGE - 1), sizeof MESSAGE - 1);
	refused = (struct refused){ .local = str_of(local), .to = STR("bob@here.example"), .sender = STR("x@y"), .reason = STR("ip1"), .who = &anna,
		.fd = fd, .size = sizeof MESSAGE - 1, .own = 17, .done = keep_done };
	memcpy(refused.id, ID1, sizeof ID1);
	done = was_kept = 0;
	recall_keep(&refused);
	ck_assert_int_eq(done, 0);
	close(fd);                              /* it has its own */
	while (!done)
		turn();
}

START_TEST(what_is_refused_lies_in_its_folder_and_a_rescue_is_learnt)
{
	char from[600], to[600];
	struct buf text = { 0 };
	DIR *d;
	struct dirent *e;
	int fd;

	start(_i);
	keep("bob");
	ck_assert_int_eq(was_kept, 1);
	keep("nobody");
	ck_assert_int_eq(was_kept, 0);
	snprintf(from, sizeof from, "%s/bob/.Rejects/new", dir);
	d = opendir(from);
	ck_assert_ptr_nonnull(d);
	while ((e = readdir(d)) && e->d_name[0] == '.')
		;
	ck_assert_ptr_nonnull(e);
	fd = dirfd(d);
	ck_assert_int_eq(file_read_all(fd, e->d_name, &text), 0);
	ck_assert_str_eq(buf_cstr(&text), "Return-Path: <x@y>\nDelivered-To: bob@here.example\nX-Fardel-Reason: refused:ip1; id=" ID1 ";\n"
		"\tanna@example.net\n\tf\n\t-\n\t-\n\t-\n\t-\nReceived: by us\nMessage-ID: <a@b>\n\ntext\n");
	ck_assert(str_eq(await("bob")->record[0].data, STR("none unknown weak 0")));
	snprintf(from, sizeof from, "%s/bob/.Rejects/new/%.200s", dir, e->d_name);
	snprintf(to, sizeof to, "%s/bob/cur/%.200s:2,S", dir, e->d_name);
	ck_assert_int_eq(rename(from, to), 0);
	closedir(d);
	facts_free(facts);
	facts = facts_new(NULL, 10);
	ck_assert(str_eq(await("bob")->record[0].data, STR("msgfromfull ham conclusive 1")));
	buf_free(&text);
}
END_TEST

static ssize_t hang(int fd, const void *p, size_t n)
{
	(void)fd, (void)p, (void)n;
	pause();
	_exit(1);
}

static ssize_t die(int fd, const void *p, size_t n)
{
	(void)fd, (void)p, (void)n;
	_exit(9);
}

/* The line that a look at the folders writes is where it hangs or dies. */
START_TEST(a_home_that_hangs_holds_up_nobody_for_long)
{
	file_sys.write = hang;
	start(HELPER);
	file_sys = kernel;                      /* what the next helper inherits */
	ck_assert_ptr_null(ask("bob"));
	ck_assert_ptr_null(ask("nobody"));
	loop_turn(0);
	loop_advance(4999);
	loop_turn(0);
	ck_assert_ptr_null(ask("bob"));
	loop_advance(1);
	loop_turn(0);
	ck_assert_int_eq(await("bob")->outcome, UNKNOWN);
	ck_assert_int_eq(await("nobody")->outcome, NO_NAME);
	facts_free(facts);
	facts = facts_new(NULL, 10);
	ck_assert_int_eq(await("bob")->outcome, UNKNOWN);        /* at once: it is left alone */
	facts_free(facts);
	facts = facts_new(NULL, 10);
	loop_advance(300001);
	ck_assert_int_eq(await("bob")->outcome, FOUND);
}
END_TEST

START_TEST(a_helper_that_dies_is_started_again)
{
	file_sys.write = die;
	start(HELPER);
	file_sys = kernel;
	ck_assert_int_eq(await("bob")->outcome, UNKNOWN);
	facts_free(facts);
	facts = facts_new(NULL, 10);
	ck_assert_ptr_null(ask("bob"));
	loop_advance(1001);
	ck_assert_int_eq(await("bob")->outcome, FOUND);
}
END_TEST

START_TEST(who_waits_when_it_is_stopped_is_told)
{
	file_sys.write = hang;
	start(HELPER);
	ck_assert_ptr_null(ask("bob"));
	loop_turn(0);
	recall_stop();
	ck_assert_int_eq(ask("bob")->outcome, UNKNOWN);
	ck_assert_int_eq(await("nobody")->outcome, UNKNOWN);
}
END_TEST

START_TEST(only_so_many_wait)
{
	char local[20];
	unsigned unknown = 0;

	file_sys.write = hang;
	start(HELPER);
	facts_free(facts);
	facts = facts_new(NULL, 3000);
	for (unsigned i = 0; i < 3000; i++) {
		const struct fact *f;

		snprintf(local, sizeof local, "bob%u", i);
		f = ask(local);
		unknown += f && f->outcome == UNKNOWN;
	}
	ck_assert_uint_eq(unknown, 1000);
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

static bool start_homes(int way)
{
	static struct root_config r = { .main = hang_or_work };
	struct recall_config c = { .folders = { .junk = "Junk", .rejects = "Rejects" }, .inline_work = way == INLINE };
	struct maildir_config m = { .template = "~/Maildir/", .hostname = "mail.example.org", .users = true, .folders = &c.folders };

	if (geteuid() != 0 || !getpwnam("nobody") || !getpwnam("daemon"))
		return false;
	ck_assert_ptr_null(maildir_configure(&m));
	ck_assert_int_eq(root_start(&r), 0);
	ck_assert_ptr_null(maildir_start(&m));
	ck_assert_ptr_null(recall_start(&c));
	facts_source(FACT_REPUTATION, recall_source());
	facts = facts_new(NULL, 100);
	return true;
}

static void wait_for_pending(unsigned n)
{
	while (facts_pending(facts) > n)
		turn();
}

START_TEST(a_users_home_that_hangs_costs_him_alone)
{
	if (!start_homes(_i))
		return;
	ck_assert_ptr_null(ask("nobody"));
	ck_assert_ptr_null(ask("daemon"));
	wait_for_pending(1);
	ck_assert_int_eq(ask("daemon")->outcome, UNKNOWN);
	ck_assert_str_eq(ask("daemon")->why, "the home of daemon is not there, or not his own");
	ck_assert_int_eq(await("no-such-account")->outcome, NO_NAME);
	ck_assert_int_eq(await("root")->outcome, UNKNOWN);
	ck_assert_ptr_null(ask("nobody"));
	loop_advance(5000);
	ck_assert_str_eq(await("nobody")->why, "looking into the mailbox took more than 5 s");
	facts_free(facts);
	facts = facts_new(NULL, 10);
	ck_assert_str_eq(await("nobody")->why, "the user's home did not answer a few minutes ago; it is tried again later");
}
END_TEST

START_TEST(who_waits_for_a_users_child_is_told_at_the_end)
{
	if (!start_homes(_i))
		return;
	ck_assert_ptr_null(ask("nobody"));
	for (int i = 0; i < 50; i++)
		turn();
	recall_stop();
	ck_assert_ptr_null(ask("nobody"));
	maildir_stop();
	ck_assert_str_eq(ask("nobody")->why, "mail delivery is being stopped");
}
END_TEST

START_TEST(without_the_process_that_stays_root_nobody_is_known)
{
	if (!start_homes(_i))
		return;
	root_stop();
	ck_assert_str_eq(await("daemon")->why, "the mailbox is another account's");
}
END_TEST

START_TEST(what_is_no_request_is_not_worked_on)
{
	static struct recall_request q = { .what = RECALL, .n = 3, .text = "bob" };
	const size_t n = recall_size(&q);
	static const struct {
		size_t at, n;
		int value;
	} row[] = {
		{ offsetof(struct recall_request, what), sizeof q.what, 0x7f }, { offsetof(struct recall_request, id), sizeof q.id, 'x' },
		{ offsetof(struct recall_request, at), sizeof q.at, 0xff }, { offsetof(struct recall_request, size), sizeof q.size, 0xff },
		{ offsetof(struct recall_request, own), sizeof q.own, 0x01 }, { offsetof(struct recall_request, n), sizeof q.n, 0xff },
	};

	ck_assert(recall_is_request(&q, n));
	ck_assert(!recall_is_request(&q, n - 1));
	ck_assert(!recall_is_request(&q, n + 1));
	ck_assert(!recall_is_request(&q, 8));
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		struct recall_request bad = q;

		memset((char *)&bad + row[i].at, row[i].value, row[i].n);
		ck_assert_msg(!recall_is_request(&bad, n), "row %zu", i);
	}
}
END_TEST

Suite *deliver_recall_suite(void)
{
	Suite *s = suite_create("deliver_recall");
	TCase *c = tcase_create("recall");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_loop_test(c, it_answers_of_whom_the_mailbox_has_heard, 0, WAYS);
	tcase_add_loop_test(c, whom_a_user_has_written_to_is_heard_of, 0, WAYS);
	tcase_add_loop_test(c, what_is_refused_lies_in_its_folder_and_a_rescue_is_learnt, 0, WAYS);
	tcase_add_test(c, a_home_that_hangs_holds_up_nobody_for_long);
	tcase_add_test(c, a_helper_that_dies_is_started_again);
	tcase_add_test(c, who_waits_when_it_is_stopped_is_told);
	tcase_add_test(c, only_so_many_wait);
	tcase_add_loop_test(c, a_users_home_that_hangs_costs_him_alone, 0, WAYS);
	tcase_add_loop_test(c, who_waits_for_a_users_child_is_told_at_the_end, 0, WAYS);
	tcase_add_loop_test(c, without_the_process_that_stays_root_nobody_is_known, 0, WAYS);
	tcase_add_test(c, what_is_no_request_is_not_worked_on);
	suite_add_tcase(s, c);
	return s;
}
