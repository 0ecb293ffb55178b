/* The queue as a whole: how mail enters, who is tried when and with whom, and what hands may do in the directory. */
#include "queue/inside.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "parse.h"
#include "tests/queue_rig.h"

Suite *queue_suite(void);

#define ROWS(...) ((const struct rig_answer[]){ __VA_ARGS__ })
#define ANSWERS(...) rig_answers(ROWS(__VA_ARGS__), sizeof ROWS(__VA_ARGS__) / sizeof(struct rig_answer))
#define LATER { "", RESULT_DEFERRED, BLAME_RCPT, 450, "later" }
#define DOWN { "", RESULT_DEFERRED, BLAME_DEST, 0, "connection refused" }

static void set_up(void)
{
	rig_open();
}

static void tear_down(void)
{
	rig_close();
}

static void take_only(void)
{
	rig_crash();
	rig.conf.deliver = false;
	rig_start();
}

static void deliver_again(void)
{
	rig_crash();
	rig.conf.deliver = true;
	rig_start();
}

/* ---- taking in */

START_TEST(one_destination_is_in_the_name_and_several_are_a_plus)
{
	static const struct {
		const char *to, *cur;
	} rows[] = {
		{ "b@one.example", "0 one.example" },
		{ "b@one.example c@one.example d@ONE.Example", "0 one.example" },
		{ "b@one.example c@two.example", "0 +" },
		{ "b@[192.0.2.1]", "0 [192.0.2.1]" },
	};

	take_only();
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		ck_assert(rig_put("a@s.example", rows[i].to));
		ck_assert_str_eq(rig_cur(), rows[i].cur);
		ck_assert_uint_eq(rig_count("work"), 0);
		ck_assert_uint_eq(queue_entries(), i + 1);
		rig_rm(rig_name(rows[i].cur + 2));
	}
}
END_TEST

START_TEST(a_domain_in_capitals_is_the_same_destination)
{
	static const struct rig_answer later[] = { { "", RESULT_DEFERRED, BLAME_RCPT, 451, "come again" } };
	static const char *const to[] = { "b@ONE.Example", "b@One.example c@one.example", "b@ONE.example c@Two.Example d@two.example" };

	for (size_t i = 0; i < sizeof to / sizeof *to; i++) {
		rig_answers(NULL, 0);
		ck_assert(rig_put("a@s.example", to[i]));
		rig_run(10);
		ck_assert_str_eq(rig_cur(), "");
		rig_answers(later, 1);
		ck_assert(rig_put("a@s.example", to[i]));
		rig_run(10);
		ck_assert_str_eq(rig_cur(), i < 2 ? "1 one.example" : "1 one.example, 1 two.example");
		rig_answers(NULL, 0);
		rig_run(4 * 3600);
		ck_assert_str_eq(rig_cur(), "");
	}
	ck_assert_uint_eq(rig_count("bad"), 0);
}
END_TEST

START_TEST(a_draft_that_is_given_up_leaves_nothing)
{
	struct envelope e = { 0 };
	struct sender s = { .addr = { STR("a"), STR("s.example") } };
	struct recipient r = { .addr = { STR("b"), STR("x.example") } };
	char block[40000];
	struct draft *d;

	memset(block, 'x', sizeof block);
	ck_assert(envelope_sender(&e, &s) && envelope_rcpt(&e, &r));
	for (int blocks = 0; blocks < 3; blocks++) {
		d = queue_draft(&e, NULL);
		for (int i = 0; i < blocks; i++)
			ck_assert_int_eq(draft_write(d, block, sizeof block), 0);
		ck_assert_uint_eq(draft_size(d), blocks * sizeof block);
		draft_abort(d);
		ck_assert_uint_eq(rig_count("work"), 0);
	}
	draft_abort(NULL);
	ck_assert_str_eq(rig_cur(), "");
	envelope_free(&e);
}
END_TEST

START_TEST(after_other_settings_a_draft_knows_its_path_without_the_old_ones)
{
	struct envelope e = { 0 };
	struct sender s = { .addr = { STR("a"), STR("s.example") } };
	struct recipient r = { .addr = { STR("b"), STR("x.example") } };
	char fresh[sizeof rig.dir], wanted[sizeof rig.dir + ID_MAX + 8];
	struct buf path = { 0 };
	struct draft *d;

	memcpy(fresh, rig.dir, sizeof fresh);
	rig.conf.dir = fresh;
	queue_reconfigure(&rig.conf);
	rig.dir[0] = '?';
	ck_assert(envelope_sender(&e, &s) && envelope_rcpt(&e, &r));
	d = queue_draft(&e, NULL);
	ck_assert(draft_path(d, &path));
	snprintf(wanted, sizeof wanted, "%s/work/%s", fresh, draft_id(d));
	ck_assert_str_eq(buf_cstr(&path), wanted);
	rig.dir[0] = fresh[0];
	rig.conf.dir = rig.dir;
	queue_reconfigure(&rig.conf);
	draft_abort(d);
	buf_free(&path);
	envelope_free(&e);
}
END_TEST

START_TEST(a_large_message_is_delivered_octet_for_octet)
{
	size_t n = 3 << 20;
	char *body = malloc(n + 1);

	for (size_t i = 0; i < n; i++)
		body[i] = i % 71 == 69 ? '\r' : i % 71 == 70 ? '\n' : (char)('a' + i % 23);
	body[n] = 0;
	ck_assert(rig_put_body("a@s.example", "b@x.example", body, NULL, 0));
	rig_run(1);
	ck_assert_uint_eq(rig.nsent, 1);
	ck_assert_int_eq(strcmp(rig.sent[0].body, body), 0);
	free(body);
}
END_TEST

START_TEST(an_empty_message_is_delivered)
{
	ck_assert(rig_put_body("a@s.example", "b@x.example", "", NULL, 0));
	rig_run(1);
	ck_assert_uint_eq(rig_times("b@x.example"), 1);
	ck_assert_str_eq(rig_cur(), "");
}
END_TEST

/* A power cut may keep a name and not the octets: what is taken again under that id is not told that it is there. */
START_TEST(an_id_whose_file_is_not_whole_is_taken_again)
{
	static const char id[] = "6b0c6a4000000000deadbeef";
	static const char name[] = "9999999999.0.6b0c6a4000000000deadbeef.there.test";

	rig_open();
	rig_crash();
	rig_write("cur", name, "", 0);
	rig_start();
	ck_assert(rig_put_body("a@here.test", "b@there.test", "Subject: again\r\n\r\n", id, 0));
	rig_run(60);
	ck_assert_uint_eq(rig_got("b@there.test"), 1);
	ck_assert_uint_eq(rig_count("bad"), 2);         /* and its reason */
	rig_close();
}
END_TEST

START_TEST(an_id_that_is_there_already_is_taken_once)
{
	take_only();
	ck_assert(rig_put_body("a@s.example", "b@x.example", rig_body, "6b0c3d50a1b2c3d4e5f60718", 0));
	ck_assert(rig_put_body("a@s.example", "b@x.example", rig_body, "6b0c3d50a1b2c3d4e5f60718", 0));
	ck_assert_str_eq(rig_cur(), "0 x.example");
	ck_assert_uint_eq(rig_count("work"), 0);
}
END_TEST

static int outcome[2] = { -1, -1 };
static void note_outcome(void *arg, bool ok)
{
	*(int *)arg = ok;
}

static struct draft *simple_draft(const char *id)
{
	struct envelope e = { 0 };
	struct sender s = { .addr = { STR("a"), STR("s.example") } };
	struct recipient r = { .addr = { STR("b"), STR("x.example") } };
	struct draft *d;

	ck_assert(envelope_sender(&e, &s) && envelope_rcpt(&e, &r));
	d = queue_draft(&e, id);
	ck_assert_ptr_nonnull(d);
	ck_assert_int_eq(draft_write(d, rig_body, strlen(rig_body)), 0);
	envelope_free(&e);
	return d;
}

/* One that could not be removed when it was given up. */
START_TEST(of_a_leftover_with_the_same_id_nothing_is_in_the_message)
{
	static const char id[] = "6b0c3d50a1b2c3d4e5f60718";
	static char left[3000];
	const char *text;

	take_only();
	memset(left, 'x', sizeof left);
	rig_write("work", id, left, sizeof left);
	ck_assert(rig_put_body("a@s.example", "b@x.example", rig_body, id, 0));
	text = rig_read("cur", rig_name(NULL));
	ck_assert_str_eq(text + strlen(text) - strlen(rig_body), rig_body);
	ck_assert_uint_eq(rig_count("work"), 0);
}
END_TEST

START_TEST(an_id_committed_twice_in_one_round_is_one_message)
{
	take_only();
	outcome[0] = outcome[1] = -1;
	queue_commit(simple_draft("6b0c3d50a1b2c3d4e5f60718"), note_outcome, &outcome[0]);
	queue_commit(simple_draft("6b0c3d50a1b2c3d4e5f60718"), note_outcome, &outcome[1]);
	ck_assert_int_eq(outcome[0], -1);
	rig_turn();
	ck_assert_int_eq(outcome[0], 1);
	ck_assert_int_ne(outcome[1], -1);
	ck_assert_str_eq(rig_cur(), "0 x.example");
	ck_assert_uint_eq(rig_count("work"), 0);
	ck_assert(queue_committed());
}
END_TEST

START_TEST(a_crash_in_mid_commit_calls_nobody_back)
{
	outcome[0] = outcome[1] = -1;
	queue_commit(simple_draft("6b0c3d50a1b2c3d4e5f60718"), note_outcome, &outcome[0]);
	queue_commit(simple_draft("6b0c3d50a1b2c3d4e5f60718"), note_outcome, &outcome[1]);
	rig_crash();
	rig_turn();
	rig_start();
	rig_run(1);
	ck_assert_int_eq(outcome[0], -1);
	ck_assert_int_eq(outcome[1], -1);
}
END_TEST

START_TEST(nothing_is_tried_before_its_release)
{
	ck_assert(rig_put_body("a@s.example", "b@x.example", rig_body, NULL, RIG_WALL + 1000));
	ck_assert_int_eq(strncmp(rig_name("x.example"), "1796001000.0.", 13), 0);
	rig_run(990);
	ck_assert_uint_eq(rig.nsent, 0);
	rig_run(20);
	ck_assert_uint_eq(rig.nsent, 1);
}
END_TEST

START_TEST(what_waits_in_in_is_adopted)
{
	take_only();
	ck_assert(rig_put("a@s.example", "b@x.example"));
	{
		char name[NAME_ROOM];

		snprintf(name, sizeof name, "%s", rig_name("x.example"));
		ck_assert_int_eq(renameat(queue.cur, name, queue.in, name), 0);
	}
	rig_write("in", "nonsense", "x", 1);
	deliver_again();
	rig_run(2);
	ck_assert_uint_eq(rig_times("b@x.example"), 1);
	ck_assert_uint_eq(rig_count("in"), 0);
	ck_assert_uint_eq(rig_count("bad"), 2);
}
END_TEST

static void kill_children(void)
{
	FILE *f = fopen("/proc/thread-self/children", "r");
	int pid;

	while (f && fscanf(f, "%d", &pid) == 1)
		kill(pid, SIGKILL);
	if (f)
		fclose(f);
}

/* It has the lock's descriptor until it closes what is not its own. */
START_TEST(a_helper_that_has_just_been_forked_does_not_keep_the_queue_behind_its_end)
{
	int hold[2], status;
	char c;
	pid_t child;

	ck_assert_int_eq(pipe(hold), 0);
	child = fork();
	if (child == 0) {
		close(hold[1]);
		_exit(read(hold[0], &c, 1) != 0);
	}
	close(hold[0]);
	rig_crash();
	rig_start();
	close(hold[1]);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
}
END_TEST

/* Killed at once by what wants its memory, say. */
START_TEST(a_commit_helper_that_dies_at_once_is_not_forked_in_a_circle)
{
	struct reply why;

	rig_crash();
	rig.conf.inline_sync = false;
	rig_start();
	if (access("/proc/thread-self/children", R_OK) == -1)
		return;
	kill_children();
	for (int i = 0; i < 1000000 && queue_accepting(&why); i++)
		loop_turn(0);
	rig_turn();
	ck_assert(!queue_accepting(&why));
	loop_advance(1000);
	rig_turn();
	ck_assert(queue_accepting(&why));
}
END_TEST

/* Calls of the disk as the commit helper has them: it is forked with these. */
static int is_done(int fd) { return (void)fd, 0; }
static int is_refused(int fd)
{
	(void)fd;
	if (getpid() == rig.ours)
		return 0;
	errno = EIO;
	return -1;
}

static void open_with_helper(enum queue_sync sync, int (*fdatasync)(int), int (*fsync)(int), int (*syncfs)(int))
{
	char why[300];

	rig_crash();
	rig.conf.deliver = false;
	rig.conf.inline_sync = false;
	rig.conf.sync = sync;
	rig.conf.log_size = WAL_SEGMENT_MIN;
	file_sys.fdatasync = fdatasync;
	file_sys.fsync = fsync;
	file_sys.syncfs = syncfs;
	ck_assert_int_eq(queue_open(&rig.conf, why, sizeof why), 0);
}

/* What it had done of that cannot be known. */
START_TEST(what_the_commit_helper_had_when_it_ended_is_refused)
{
	static const enum queue_sync ways[] = { QUEUE_SYNC_FILE, QUEUE_SYNC_FS, QUEUE_SYNC_LOG };

	open_with_helper(ways[_i], rig_end_helper, rig_end_helper, rig_end_helper);
	ck_assert(!rig_put("a@s.example", "b@x.example"));
	ck_assert_str_eq(rig_cur(), "");
}
END_TEST

/* Each way to make mail durable, and each of its calls that fails. */
static const struct {
	enum queue_sync sync;
	int (*fdatasync)(int), (*fsync)(int), (*syncfs)(int);
	bool taken;
} ways_to_fail[] = {
	{ QUEUE_SYNC_FILE, is_refused, is_done, is_done, false }, { QUEUE_SYNC_FILE, is_done, is_refused, is_done, false },
	{ QUEUE_SYNC_FILE, is_done, is_done, is_refused, true }, { QUEUE_SYNC_FS, is_done, is_done, is_refused, false },
	{ QUEUE_SYNC_FS, is_refused, is_refused, is_done, true }, { QUEUE_SYNC_LOG, is_refused, is_done, is_done, false },
	{ QUEUE_SYNC_LOG, is_done, is_refused, is_refused, true },
};

START_TEST(mail_is_taken_when_what_makes_it_durable_has_succeeded)
{
	open_with_helper(ways_to_fail[_i].sync, ways_to_fail[_i].fdatasync, ways_to_fail[_i].fsync, ways_to_fail[_i].syncfs);
	ck_assert_int_eq(rig_put("a@s.example", "b@x.example"), ways_to_fail[_i].taken);
	ck_assert_str_eq(rig_cur(), ways_to_fail[_i].taken ? "0 x.example" : "");
}
END_TEST

/* The helper has so many syncs left that may end; it has no descriptor of ours, and does not outlive us for long. */
static volatile int *may_end;
static int is_slow(int fd)
{
	(void)fd;
	for (int i = 0; i < 20000 && getpid() != rig.ours && *may_end == 0; i++)
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	if (getpid() != rig.ours)
		--*may_end;
	return 0;
}

static void note_end(void *arg, bool ok)
{
	ck_assert(ok);
	*(bool *)arg = true;
}

static void turns_until(const bool *over)
{
	for (int i = 0; i < 10000 && !*over; i++) {
		loop_turn(0);
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
	ck_assert(*over);
}

START_TEST(a_round_answers_those_who_were_there_when_it_began)
{
	static bool first, second;

	may_end = mmap(NULL, sizeof *may_end, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert(may_end != MAP_FAILED);
	open_with_helper(QUEUE_SYNC_FILE, is_done, is_slow, is_done);
	sync_dir(note_end, &first);
	rig_turn();
	sync_dir(note_end, &second);
	rig_turn();
	ck_assert(!first && !second);
	*may_end = 1;
	turns_until(&first);
	rig_turn();
	ck_assert(!second);
	*may_end = 1;
	turns_until(&second);
	munmap((void *)(uintptr_t)may_end, sizeof *may_end);
}
END_TEST

static void put_into_in(char name[NAME_ROOM], const char *id)
{
	entry_print(name, RIG_WALL, true, 0, id, "x.example");
	rig_write("in", name, "x", 1);
}

START_TEST(what_could_not_be_taken_from_in_for_a_moment_is_taken_behind_it)
{
	struct rlimit all, few;
	char name[NAME_ROOM];

	put_into_in(name, "6b0c3d50a1b2c3d4e5f60718");
	rig_disk(1, (unsigned)-1, EIO);
	queue_wake();
	rig_turn();
	rig_disk(0, 0, 0);
	ck_assert_uint_eq(rig_count("in"), 1);
	rig_run(5);
	ck_assert_uint_eq(rig_count("in"), 0);
	rig_write("in", "README", "x", 1);
	rig_disk(1, (unsigned)-1, EIO);
	queue_wake();
	rig_turn();
	rig_disk(0, 0, 0);
	ck_assert_uint_eq(rig_count("in"), 1);
	rig_run(5);
	ck_assert_uint_eq(rig_count("in"), 0);
	put_into_in(name, "6b0c3d50a1b2c3d4e5f60719");
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &all), 0);
	few = (struct rlimit){ .rlim_cur = 0, .rlim_max = all.rlim_max };
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
	queue_wake();
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &all), 0);
	ck_assert_uint_eq(rig_count("in"), 1);
	rig_run(5);
	ck_assert_uint_eq(rig_count("in"), 0);
}
END_TEST

START_TEST(a_message_still_being_written_elsewhere_is_left_alone)
{
	char name[NAME_ROOM];
	int fd;

	rig_write("work", "another-process", "half", 4);
	fd = openat(queue.work, "another-process", O_RDONLY | O_CLOEXEC);
	ck_assert(flock(fd, LOCK_EX | LOCK_NB) == 0);
	entry_print(name, RIG_WALL, false, 0, "6b0c3d50a1b2c3d4e5f60718", "x.example");
	ck_assert_int_eq(linkat(queue.work, "another-process", queue.in, name, 0), 0);
	rig_crash();
	rig_start();
	rig_run(5);
	ck_assert_uint_eq(rig_count("work"), 1);
	ck_assert_uint_eq(rig_count("in"), 1);
	close(fd);
	rig_run(5);
	ck_assert_uint_eq(rig_count("in"), 0);
	rig_crash();
	rig_start();
	ck_assert_uint_eq(rig_count("work"), 0);
}
END_TEST

static struct draft *some_draft(void)
{
	static const char text[] = "Subject: x\r\n\r\nx\r\n";
	struct envelope e = { 0 };
	struct sender s;
	struct recipient r;
	struct draft *d;

	ck_assert_ptr_null(parse_mail(STR("FROM:<a@s.example>"), PARAM_ALL, &s).text);
	ck_assert_ptr_null(parse_rcpt(STR("TO:<b@x.example>"), PARAM_ALL, true, &r).text);
	ck_assert(envelope_sender(&e, &s) && envelope_rcpt(&e, &r));
	d = queue_draft(&e, NULL);
	envelope_free(&e);
	ck_assert(d && draft_write(d, text, sizeof text - 1) == 0);
	return d;
}

START_TEST(what_another_process_takes_in_is_locked_until_it_is_durable)
{
	struct draft *d;
	off_t at;

	rig_crash();
	rig.conf.schedule = false;      /* inetd, sendmail */
	rig_start();
	d = some_draft();
	ck_assert_int_ne(draft_file(d, &at), -1);
	ck_assert_uint_eq(rig_count("work"), 1);
	ck_assert(file_in_use(queue.work, draft_id(d)));
	draft_abort(d);
}
END_TEST

/* Its name is met by a look through the directory, and it may be refused yet. */
START_TEST(what_is_not_durable_yet_is_no_entry)
{
	static bool over;

	may_end = mmap(NULL, sizeof *may_end, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert(may_end != MAP_FAILED);
	open_with_helper(QUEUE_SYNC_FILE, is_done, is_slow, is_done);
	queue_commit(some_draft(), note_end, &over);
	rig_turn();
	ck_assert_uint_eq(rig_count("cur"), 1);
	queue_wake();
	rig_turn();
	ck_assert_uint_eq(queue_entries(), 0);
	*may_end = 1;
	turns_until(&over);
	ck_assert_uint_eq(queue_entries(), 1);
	munmap((void *)(uintptr_t)may_end, sizeof *may_end);
}
END_TEST

/* A delivery child of the process that died is at it still. */
START_TEST(a_message_that_is_locked_at_the_start_is_left_alone)
{
	int fd;

	take_only();
	ck_assert(rig_put("a@s.example", "b@x.example"));
	fd = openat(queue.cur, rig_name(NULL), O_RDONLY | O_CLOEXEC);
	ck_assert(flock(fd, LOCK_SH | LOCK_NB) == 0);
	deliver_again();
	rig_run(100);
	ck_assert_uint_eq(rig.nsent, 0);
	ck_assert_str_eq(rig_cur(), "0 x.example");
	close(fd);
	rig_run(31);
	ck_assert_uint_eq(rig.nsent, 1);
}
END_TEST

/* Else a program that dies in a circle would deliver in a circle. */
START_TEST(what_has_no_place_in_the_lock_file_has_its_next_stamp_before_it_is_tried)
{
	enum { ALL = 128 * 64 };
	char *text = malloc(ALL);

	rig.by_hand = true;
	memcpy(text, queue.slots, ALL);
	memset(queue.slots + 64, 'x', ALL - 64);
	ck_assert(rig_put("a@s.example", "b@x.example"));
	rig_run(1);
	ck_assert_uint_eq(rig.nheld, 1);
	ck_assert_str_eq(rig_cur(), "1 x.example");
	memcpy(queue.slots, text, ALL);
	free(text);
	rig_finish(0, false);
	rig_run(1);
	ck_assert_str_eq(rig_cur(), "");
}
END_TEST

START_TEST(the_directories_of_a_queue_are_durable_when_it_is_opened)
{
	ck_assert_uint_ge(rig_syncs(""), 1);
	rig_crash();
	rig_start();
	ck_assert_uint_eq(rig_syncs(""), 0);    /* they are there */
}
END_TEST

START_TEST(work_is_swept_at_the_start)
{
	for (int i = 0; i < 150; i++) {
		char name[20];

		snprintf(name, sizeof name, "left-%d", i);
		rig_write("work", name, "x", 1);
	}
	rig_crash();
	rig_start();
	ck_assert_uint_eq(rig_count("work"), 0);
}
END_TEST

START_TEST(two_processes_do_not_schedule_one_queue)
{
	char why[300], pid[40];
	char path[300];
	int fd;

	snprintf(path, sizeof path, "%s/lock", rig.dir);
	fd = open(path, O_RDWR | O_CLOEXEC);
	rig_crash();
	ck_assert(flock(fd, LOCK_EX | LOCK_NB) == 0);
	ck_assert_int_eq(queue_open(&rig.conf, why, sizeof why), -1);
	ck_assert_int_eq(errno, EWOULDBLOCK);
	snprintf(pid, sizeof pid, "pid %ld", (long)getpid());
	ck_assert_msg(strstr(why, pid) != NULL, "%s", why);
	close(fd);
	rig_start();
}
END_TEST

/* ---- bundles */

START_TEST(fifty_recipients_at_four_domains_are_four_transactions)
{
	struct buf to = { 0 };

	for (int i = 0; i < 200; i++)
		buf_printf(&to, "u%d@d%d.example ", i, i % 4);
	ck_assert(rig_put("a@s.example", buf_cstr(&to)));
	rig_run(1);
	ck_assert_uint_eq(rig.nsent, 4);
	for (int i = 0; i < 200; i++) {
		char who[40];

		snprintf(who, sizeof who, "u%d@d%d.example", i, i % 4);
		ck_assert_uint_eq(rig_got(who), 1);
	}
	ck_assert_str_eq(rig_cur(), "");
	ck_assert_uint_eq(queue_entries(), 0);
	buf_free(&to);
}
END_TEST

START_TEST(a_shared_way_is_one_transaction)
{
	ck_assert(rig_put("a@s.example", "b@1.relay.example c@2.relay.example d@3.relay.example"));
	rig_run(1);
	ck_assert_uint_eq(rig_times("b@1.relay.example c@2.relay.example d@3.relay.example"), 1);
	ck_assert(rig.sent[0].mixed);
	ck_assert_str_eq(rig_cur(), "");
}
END_TEST

START_TEST(a_shared_connection_is_no_shared_transaction)
{
	ck_assert(rig_put("a@s.example", "b@1.pool.example c@2.pool.example d@1.pool.example"));
	rig_run(1);
	ck_assert_uint_eq(rig.nsent, 2);
	ck_assert_uint_eq(rig_times("b@1.pool.example d@1.pool.example"), 1);
	ck_assert_uint_eq(rig_times("c@2.pool.example"), 1);
}
END_TEST

START_TEST(what_a_mixed_transaction_refuses_is_tried_again_at_once_per_domain)
{
	ANSWERS({ "c@2.relay.example", RESULT_FAILED, BLAME_RCPT, 550, "no such user" },
		{ "@3.relay.example", RESULT_DEFERRED, BLAME_RCPT, 450, "later" });
	ck_assert(rig_put("a@s.example", "b@1.relay.example c@2.relay.example d@3.relay.example e@3.relay.example"));
	rig_run(1);
	ck_assert_uint_eq(rig_times("b@1.relay.example c@2.relay.example d@3.relay.example e@3.relay.example"), 1);
	ck_assert_uint_eq(rig_times("c@2.relay.example"), 1);
	ck_assert_uint_eq(rig_times("d@3.relay.example e@3.relay.example"), 1);
	ck_assert_uint_eq(rig_got("b@1.relay.example"), 1);
	ck_assert_uint_eq(rig.settled[RESULT_FAILED], 1);
	ck_assert_str_eq(rig_cur(), "1 3.relay.example");
}
END_TEST

START_TEST(a_waiting_message_leaves_on_the_same_connection)
{
	rig.by_hand = true;
	for (int i = 0; i < 6; i++)
		ck_assert(rig_put("a@s.example", "b@x.example"));
	rig_run(1);
	ck_assert_uint_eq(rig.nheld, 2);        /* an unknown destination gets two connections */
	rig_finish(0, true);
	ck_assert_uint_eq(rig.nheld, 2);
	while (rig.nheld) {
		rig_finish(0, true);
		rig_turn();
	}
	ck_assert_uint_eq(rig.nsent, 6);
	ck_assert(rig.most <= 4);
	ck_assert_uint_eq(rig.running, 0);
	ck_assert_str_eq(rig_cur(), "");
}
END_TEST

/* A message each for d<from>.example and those behind it. */
static void put_each(const char *at, int from, int n)
{
	for (int i = from; i < from + n; i++) {
		char to[60];

		snprintf(to, sizeof to, "b@d%d%s", i, at);
		ck_assert(rig_put("a@s.example", to));
	}
}

static void with_couriers(unsigned in_all, unsigned to_one)
{
	rig_crash();
	rig.conf.couriers = in_all;
	rig.transport.couriers = to_one;
	rig_start();
	rig.by_hand = true;
}

static void finish_all(bool more)
{
	for (int i = 0; i < 1000 && rig.nheld; i++) {
		rig_finish(0, more);
		rig_turn();
	}
	ck_assert_uint_eq(rig.nheld, 0);
}

START_TEST(success_adds_a_courier_and_trouble_takes_one)
{
	with_couriers(20, 8);
	for (int i = 0; i < 300; i++)
		ck_assert(rig_put("", "b@x.example"));
	for (int i = 0; i < 20; i++) {
		rig_run(1);
		rig_finish(0, true);
	}
	rig_run(1);
	ck_assert_uint_eq(rig.nheld, 8);
	ANSWERS({ "", RESULT_FAILED, BLAME_RCPT, 550, "no such user" });       /* neither */
	for (int i = 0; i < 20; i++)
		rig_finish(0, true);
	ck_assert_uint_eq(rig.nheld, 8);
	ANSWERS({ "", RESULT_DEFERRED, BLAME_TALK, 421, "too busy" });
	for (unsigned left = 7; left > 0; left--) {
		rig_finish(0, true);
		rig_run(1);
		ck_assert_uint_eq(rig.nheld, left);
	}
	rig_finish(0, true);
	rig_run(1);
	ck_assert_uint_eq(rig.nheld, 1);
	rig_answers(NULL, 0);
	for (int i = 0; i < 3; i++)
		rig_finish(0, true);
	rig_run(1);
	ck_assert_uint_eq(rig.nheld, 4);
}
END_TEST

START_TEST(no_more_couriers_run_than_are_allowed)
{
	rig_crash();
	rig.conf.couriers = 3;
	rig_start();
	for (int i = 0; i < 40; i++) {
		char to[40];

		snprintf(to, sizeof to, "b@d%d.example", i);
		ck_assert(rig_put("a@s.example", to));
	}
	rig_run(5);
	ck_assert_uint_eq(rig.nsent, 40);
	ck_assert(rig.most <= 3);
}
END_TEST

START_TEST(a_transport_has_places_of_its_own)
{
	with_couriers(4, 4);
	put_each(".example", 0, 10);
	rig_run(1);
	ck_assert_uint_eq(rig.nheld, 4);
	put_each(".near.example", 0, 5);
	rig_run(1);
	ck_assert_uint_eq(rig.nheld, 6);
	rig_finish(5, false);
	rig_run(1);
	ck_assert_uint_eq(rig.nheld, 6);
	finish_all(false);
	ck_assert_str_eq(rig_cur(), "");
}
END_TEST

static void count_entries(void *arg, const struct domain_figures *f)
{
	size_t *n = arg;

	ck_assert_uint_gt(f->entries, 0);
	*n += f->entries;
}

START_TEST(where_the_sender_decides_each_has_a_destination_and_none_waits_for_another)
{
	static const struct rig_answer down[] = { DOWN };
	size_t before, waiting = 0;

	rig.by_hand = true;
	ck_assert(rig_put("anna@s.example", "b@x.split.example c@y.split.example"));
	ck_assert(rig_put("anna@s.example", "b@x.split.example"));
	ck_assert(rig_put("ben@s.example", "b@x.split.example"));
	rig_run(1);
	ck_assert_uint_eq(rig.nheld, 3);
	for (size_t i = 0; i < 3; i++) {
		struct str who = rig.held[i]->mail->from.addr.local;

		ck_assert_str_eq(dest_way(rig.held[i]->dest)->key, who.n == 4 ? "for anna" : "for ben");
	}
	while (rig.nheld)
		rig_finish(0, true);
	rig_run(1);
	while (rig.nheld)
		rig_finish(0, true);
	ck_assert_str_eq(rig_cur(), "");
	/* One destination is down: what waits there is opened once, and learns where it waits. */
	rig.by_hand = false;
	rig_answers(down, 1);
	ck_assert(rig_put("anna@s.example", "b@x.split.example"));
	rig_run(5);
	ck_assert(rig_put("anna@s.example", "b@x.split.example"));
	rig_run(5);
	ck_assert_str_eq(rig_cur(), "0 x.split.example, 1 x.split.example");
	ck_assert(queue_measure_domains(10, count_entries, &waiting));
	ck_assert_uint_eq(waiting, 2);
	rig_answers(NULL, 0);
	before = rig.nsent;
	ck_assert(rig_put("ben@s.example", "b@x.split.example"));
	rig_run(5);
	ck_assert_uint_eq(rig.nsent, before + 1);       /* his way is another one */
	rig_run(3600);
	ck_assert_str_eq(rig_cur(), "");
	ck_assert_uint_eq(rig.nsent, before + 3);
}
END_TEST

START_TEST(the_last_places_are_for_who_has_none)
{
	with_couriers(20, 20);
	for (int i = 0; i < 200; i++)
		ck_assert(rig_put("a@s.example", "b@big.example"));
	for (int i = 0; i < 40; i++) {
		rig_run(1);
		rig_finish(0, true);
	}
	rig_run(1);
	ck_assert_uint_eq(rig.nheld, 16);
	put_each(".example", 0, 6);
	rig_run(1);
	ck_assert_uint_eq(rig.nheld, 20);       /* the other two wait, and are first when a place is free */
	for (int i = 0; i < 2; i++)
		rig_finish(0, false);
	rig_run(1);
	for (size_t i = 14; i < 20; i++)
		ck_assert_str_ne(dest_domain(rig.held[i]->dest), "big.example");
	finish_all(true);
	ck_assert_str_eq(rig_cur(), "");
}
END_TEST

/* How many messages leave until this one does. */
static unsigned leaves_behind(const char *to)
{
	unsigned steps = 0;

	ck_assert(rig_put("a@s.example", to));
	for (rig_run(1); !rig_got(to); steps++) {
		ck_assert(rig.nheld && steps < 200);
		rig_finish(0, true);
		rig_run(1);
	}
	return steps;
}

START_TEST(who_has_no_place_gets_one_after_a_turn_of_others)
{
	with_couriers(4, 4);
	for (int i = 0; i < 60; i++) {
		ck_assert(rig_put("a@s.example", "b@big1.example"));
		ck_assert(rig_put("a@s.example", "b@big2.example"));
	}
	rig_run(1);
	ck_assert_uint_le(leaves_behind("v@victim.example"), 30);       /* ten of each, and those that are under way */
	ck_assert_uint_le(leaves_behind("v@another.example"), 30);
	finish_all(true);
	ck_assert_str_eq(rig_cur(), "");
}
END_TEST

START_TEST(places_are_given_in_the_order_they_were_asked_for)
{
	size_t at;

	with_couriers(1, 4);
	for (int i = 0; i < 200; i++)
		ck_assert(rig_put("a@s.example", "b@big.example"));
	rig_run(1);
	put_each(".example", 0, 10);
	rig_run(1);
	finish_all(true);
	at = 0;
	for (int i = 0; i < 10; i++) {
		char to[40];

		snprintf(to, sizeof to, "b@d%d.example", i);
		while (at < rig.nsent && strcmp(rig.sent[at].to, to) != 0)
			at++;
	}
	ck_assert_uint_lt(at, rig.nsent);
	ck_assert_uint_lt(at, 30);
}
END_TEST

static void leave_now(struct idle *i)
{
	(void)i;
	ck_abort_msg("nobody drains");
}

START_TEST(a_courier_that_waits_costs_no_place_no_file_and_no_attempt)
{
	static const struct { const char *to, *cur; size_t open; } rows[] = {
		{ "1@x.example", "0 x.example, 0 x.example", 0 },
		{ "1@x.example 2@x.example", "0 x.example, 0 x.example", 0 },
		{ "1@x.example 2@y.example 3@z.example", "0 +, 0 x.example", 1 },       /* open for the others, and parked when there are many */
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		static struct idle waits;
		struct bundle *b;
		struct dest *d;

		with_couriers(1, 4);
		ck_assert(rig_put("a@s.example", rows[i].to));
		rig_run(1);
		ck_assert_uint_eq(rig.nheld, 1);
		d = rig.held[0]->dest;
		rig.nheld = 0;
		waits = (struct idle){ .wanted = leave_now };
		queue_wait(rig.held[0], &waits);
		ck_assert(rig_put("a@s.example", "other@x.example"));
		ck_assert(rig_put("a@s.example", "b@w.example"));
		rig_run(60);
		while (rig.nheld) {
			ck_assert_str_ne(dest_domain(rig.held[0]->dest), "x.example");
			rig_finish(0, true);
			rig_run(1);
		}
		ck_assert_uint_eq(rig_got("b@w.example"), i + 1);
		ck_assert_uint_eq(rig_got("1@x.example"), i);
		ck_assert_uint_eq(attempts_open(), rows[i].open);
		ck_assert_str_eq(rig_cur(), rows[i].cur);
		queue_waited(d, &waits);
		b = queue_next(d);
		ck_assert_ptr_nonnull(b);
		rig.running++;
		rig.held[rig.nheld++] = b;
		finish_all(true);
		ck_assert_uint_eq(rig_got("1@x.example"), i + 1);
		ck_assert_uint_eq(rig_got("other@x.example"), i + 1);
		ck_assert_str_eq(rig_cur(), "");
	}
}
END_TEST

START_TEST(what_has_a_result_is_not_given_back)
{
	static const struct reply later = { .code = 450, .text = "later" }, taken = { .code = 250, .text = "taken" };
	static struct idle waits = { .wanted = leave_now };

	for (int put_off = 0; put_off < 2; put_off++) {
		struct dest *d;

		with_couriers(4, 4);
		ck_assert(rig_put("a@s.example", "1@x.example 2@x.example"));
		rig_run(1);
		d = rig.held[0]->dest;
		queue_result(rig.held[0], 0, &(struct result){ .what = put_off ? RESULT_DEFERRED : RESULT_DELIVERED,
			.reply = put_off ? &later : &taken });
		rig.nheld = 0;
		queue_wait(rig.held[0], &waits);
		rig_run(10);
		ck_assert_str_eq(rig_cur(), put_off ? "1 x.example" : "0 x.example");
		queue_waited(d, &waits);
		rig.running--;
		queue_leave(d);
		rig_run(400);
		ck_assert_uint_eq(rig.nheld, 1);
		ck_assert_uint_eq(rig.held[0]->n, put_off ? 2 : 1);
		finish_all(true);
		ck_assert_str_eq(rig_cur(), "");
	}
}
END_TEST

static struct dest *leaving;
static void leave_at_once(struct idle *i)
{
	queue_waited(leaving, i);
	queue_leave(leaving);
}

START_TEST(who_waits_is_told_when_the_queue_is_drained)
{
	static struct idle waits = { .wanted = leave_at_once };

	with_couriers(1, 4);
	ck_assert(rig_put("a@s.example", "b@x.example"));
	rig_run(1);
	leaving = rig.held[0]->dest;
	rig.nheld = 0;
	queue_wait(rig.held[0], &waits);
	queue_drain();
	rig_turn();
	ck_assert(!list_holds(&waits.node));
	ck_assert(queue_drained());
	ck_assert_str_eq(rig_cur(), "0 x.example");
}
END_TEST

START_TEST(couriers_may_end_in_any_order)
{
	for (unsigned order = 0; order < 64; order++) {
		rig.by_hand = true;
		ANSWERS({ "@a.example", order & 1 ? RESULT_DEFERRED : RESULT_DELIVERED, order & 2 ? BLAME_DEST : BLAME_RCPT, 450, "x" },
			{ "@b.example", order & 4 ? RESULT_FAILED : RESULT_DELIVERED, BLAME_RCPT, 550, "x" });
		ck_assert(rig_put("a@s.example", "1@a.example 2@b.example 3@c.example"));
		ck_assert(rig_put("a@s.example", "1@a.example"));
		ck_assert(rig_put("a@s.example", "2@b.example 3@c.example"));
		rig_run(1);
		for (int i = 0; rig.nheld && i < 40; i++) {
			rig_finish((order >> 3) % rig.nheld, i & 1);
			if (order & 8)
				rig_turn();
		}
		rig.by_hand = false;
		rig_run(3 * 3600);
		ANSWERS({ "none", RESULT_DELIVERED, BLAME_RCPT, 250, "x" });
		rig_run(6 * 3600);
		ck_assert_msg(strcmp(rig_cur(), "") == 0, "order %u: %s", order, rig_cur());
		ck_assert_uint_eq(rig.running, 0);
	}
}
END_TEST

START_TEST(a_queue_that_is_closed_in_any_state_opens_again)
{
	ANSWERS(LATER);
	for (int state = 0; state < 6; state++) {
		rig.by_hand = state & 1;
		ck_assert(rig_put("a@s.example", "1@a.example 2@b.example 3@1.relay.example 4@2.relay.example"));
		rig_run(state * 200);
		rig_crash();
		rig.by_hand = false;
		rig_start();
	}
	ANSWERS({ "none", RESULT_DELIVERED, BLAME_RCPT, 250, "x" });
	rig_run(6 * 3600);
	ck_assert_str_eq(rig_cur(), "");
	for (int i = 1; i <= 2; i++) {
		char who[40];

		snprintf(who, sizeof who, "%d@%s.example", i, i == 1 ? "a" : "b");
		ck_assert_uint_ge(rig_got(who), 6);
	}
}
END_TEST

/* ---- time */

/* The name is changed when the entry stays, or by the next start: but for the other destination of the message, which was not tried. */
START_TEST(what_was_being_tried_at_a_crash_waits_for_its_next_stamp)
{
	rig.by_hand = true;
	ck_assert(rig_put("a@s.example", "b@x.example"));
	ck_assert(rig_put("a@s.example", "b@y.example"));
	rig_run(1);
	ck_assert_uint_eq(rig.nheld, 2);
	ck_assert_str_eq(rig_cur(), "0 x.example, 0 y.example");
	rig_finish(0, false);
	rig_run(1);
	ck_assert_str_eq(rig_cur(), "0 y.example");
	rig_crash();
	rig_start();
	ck_assert_str_eq(rig_cur(), "1 y.example");
	ck_assert(atoll(rig_name("y.example")) >= RIG_WALL + 270);
	rig_run(240);
	ck_assert_uint_eq(rig.nheld, 0);
	rig_run(120);
	ck_assert_uint_eq(rig.nheld, 1);
	rig_finish(0, false);
	rig_run(1);
	ck_assert_str_eq(rig_cur(), "");
}
END_TEST

START_TEST(a_crash_at_one_destination_is_no_try_at_another)
{
	bool x;

	with_couriers(1, 4);
	rig.by_hand = false;
	ANSWERS(LATER);
	ck_assert(rig_put("a@s.example", "b@x.example c@y.example"));
	rig_run(1);
	ck_assert_str_eq(rig_cur(), "1 x.example, 1 y.example");
	rig.by_hand = true;
	rig_run(400);
	ck_assert_uint_eq(rig.nheld, 1);
	x = strcmp(dest_domain(rig.held[0]->dest), "x.example") == 0;
	rig_crash();
	rig_start();
	ck_assert_str_eq(rig_cur(), x ? "1 y.example, 2 x.example" : "1 x.example, 2 y.example");
}
END_TEST

static unsigned descriptors(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) != -1;
	return n;
}

/* ... and what waits longer is read when its turn comes. */
START_TEST(what_has_just_come_in_is_in_memory_within_bounds)
{
	unsigned before;

	with_couriers(1, 4);
	before = descriptors();
	for (int i = 0; i < 300; i++)
		ck_assert(rig_put("a@s.example", "b@x.example"));
	rig_run(1);
	ck_assert_uint_eq(rig.nheld, 1);
	ck_assert_int_eq(rig.held[0]->mail->size, strlen(rig_body));
	ck_assert_mem_eq(rig.held[0]->mail->body, rig_body, strlen(rig_body));
	ck_assert_uint_ge(descriptors(), before + 10);
	ck_assert_uint_le(descriptors(), before + 205);
	rig_run(3);
	ck_assert_uint_le(descriptors(), before + 5);
	finish_all(true);
	ck_assert_uint_eq(rig_got("b@x.example"), 300);
	ck_assert_str_eq(rig_cur(), "");
}
END_TEST

START_TEST(what_is_removed_or_put_on_hold_before_its_attempt_is_not_tried)
{
	for (int hold = 0; hold < 2; hold++) {
		char old[600], held[600];

		rig.by_hand = true;
		ck_assert(rig_put("a@s.example", "b@x.example"));
		snprintf(old, sizeof old, "%s/cur/%s", rig.dir, rig_name("x.example"));
		snprintf(held, sizeof held, "%s/cur/0.H.%s", rig.dir, strstr(rig_name("x.example"), ".0.") + 3);
		ck_assert_int_eq(hold ? rename(old, held) : unlink(old), 0);
		rig_run(30);
		ck_assert_uint_eq(rig.nheld, 0);
		ck_assert_uint_eq(queue_entries(), hold);
	}
}
END_TEST

START_TEST(back_off_doubles_within_its_bounds)
{
	static const int64_t want[] = { 300, 600, 1200, 2400, 3600, 3600, 3600 };
	bool differs = false;

	for (size_t tries = 1; tries <= sizeof want / sizeof *want; tries++) {
		int64_t first = back_off((unsigned)tries);

		for (int i = 0; i < 200; i++) {
			int64_t s = back_off((unsigned)tries);

			ck_assert_int_ge(s, want[tries - 1] * 9 / 10);
			ck_assert_int_le(s, want[tries - 1] * 11 / 10);
			differs |= s != first;
		}
	}
	ck_assert(differs);
	ck_assert_int_le(back_off(1000000), 3960);
	ck_assert_int_ge(back_off(0), 1);
}
END_TEST

START_TEST(a_deferred_message_is_tried_again_in_growing_intervals)
{
	ANSWERS(LATER);
	ck_assert(rig_put("a@s.example", "b@x.example"));
	rig_run(6 * 3600);
	ck_assert_uint_ge(rig.nsent, 8);
	ck_assert_uint_le(rig.nsent, 11);
	for (size_t i = 2; i < 5; i++)
		ck_assert_int_gt(rig.sent[i].when - rig.sent[i - 1].when, rig.sent[i - 1].when - rig.sent[i - 2].when);
	ck_assert_str_eq(rig.sent[0].to, "b@x.example");
}
END_TEST

/* ---- destinations that are down */

START_TEST(a_dead_destination_is_probed_by_one_and_the_others_keep_their_names)
{
	ANSWERS(DOWN);
	rig_crash();
	rig.transport.couriers = 1;
	rig_start();
	for (int i = 0; i < 10; i++)
		ck_assert(rig_put("a@s.example", "b@x.example"));
	rig_run(1);
	ck_assert_uint_eq(rig.nsent, 1);
	ck_assert_uint_eq(rig.most, 1);
	ck_assert_str_eq(rig_cur(), "0 x.example, 0 x.example, 0 x.example, 0 x.example, 0 x.example, 0 x.example, 0 x.example, "
		"0 x.example, 0 x.example, 1 x.example");
	ck_assert_uint_eq(queue_due(), 0);
	ck_assert_uint_ge(queue_deferred(), 9);
	rig_run(400);
	ck_assert_uint_eq(rig.nsent, 2);
	rig_answers(NULL, 0);
	rig_run(800);
	ck_assert_uint_eq(rig.nsent, 12);
	ck_assert_int_le(rig.sent[11].when - rig.sent[2].when, 330);
	ck_assert_str_eq(rig_cur(), "");
}
END_TEST

START_TEST(a_fault_of_our_own_is_met_by_one_message_and_the_lifetime_alone_ends_it)
{
	ANSWERS({ "", RESULT_DEFERRED, BLAME_SETUP, 0, "login refused" });
	for (int i = 0; i < 100; i++)
		ck_assert(rig_put("a@s.example", "b@x.example"));
	rig_run(1);
	ck_assert_uint_le(rig.nsent, 2);
	ck_assert_uint_eq(queue_due(), 0);
	rig_run(3600);
	ck_assert_uint_le(rig.nsent, 6);
	ck_assert_ptr_null(strstr(rig_cur(), "1 x.example"));
	rig_run(4 * 86400);
	ck_assert_uint_eq(rig_count("cur"), 100);
	ck_assert_uint_eq(rig.reports[REPORT_FINAL], 0);
	ck_assert(rig_put("a@s.example", "b@x.example"));
	rig_run(2 * 86400);
	ck_assert_uint_eq(rig.reports[REPORT_FINAL], 100);
	ck_assert_uint_eq(rig_count("cur"), 101);       /* the reports wait likewise */
	rig_answers(NULL, 0);
	rig_run(3960);
	ck_assert_str_eq(rig_cur(), "");
}
END_TEST

START_TEST(what_a_fault_of_our_own_has_kept_for_long_is_tried_before_it_comes_back)
{
	ANSWERS(LATER);
	ck_assert(rig_put("a@s.example", "b@x.example"));
	rig_run(1);
	ANSWERS({ "", RESULT_DEFERRED, BLAME_SELF, 0, "no descriptor is left" });
	rig_run(12 * 86400);
	ck_assert_uint_eq(rig.reports[REPORT_FINAL], 0);
	ck_assert_str_eq(rig_cur(), "1 x.example");
	ANSWERS({ "b@x.example", RESULT_DEFERRED, BLAME_RCPT, 450, "later" });
	rig_run(400);
	ck_assert_uint_eq(rig.reports[REPORT_FINAL], 1);
	ck_assert_str_eq(rig_cur(), "");
}
END_TEST

START_TEST(a_fault_of_this_machine_is_met_by_one_message_and_over_soon_after_its_end)
{
	ANSWERS({ "", RESULT_DEFERRED, BLAME_SELF, 0, "no resolver answers" });
	for (int i = 0; i < 100; i++)
		ck_assert(rig_put("a@s.example", "b@x.example"));
	rig_run(6 * 3600);
	ck_assert_uint_le(rig.nsent, 2 + 6 * 3600 / 270);
	rig_answers(NULL, 0);
	rig_run(330);
	ck_assert_str_eq(rig_cur(), "");
	ck_assert_uint_eq(rig.reports[REPORT_FINAL], 0);
}
END_TEST

START_TEST(many_messages_for_a_dead_shared_way_cost_nothing_while_they_wait)
{
	unsigned turns = 0;

	ANSWERS(DOWN);
	for (int i = 0; i < 300; i++)
		ck_assert(rig_put("a@s.example", "b@1.relay.example c@2.relay.example"));
	rig_run(2);
	for (msec end = loop_now() + 100000; loop_now() < end; turns++) {
		ck_assert_msg(turns < 2000, "the loop does not come to rest");
		loop_turn(end - loop_now());
	}
	ck_assert_uint_le(rig.nsent, 4);
	rig_answers(NULL, 0);
	rig_run(2 * 3600);
	ck_assert_str_eq(rig_cur(), "");
	ck_assert_uint_le(rig.nsent, 306);
}
END_TEST

START_TEST(a_dead_destination_stops_no_other)
{
	ANSWERS({ "@dead.example", RESULT_DEFERRED, BLAME_DEST, 0, "connection refused" },
		{ "@1.relay.example", RESULT_DEFERRED, BLAME_DEST, 0, "connection refused" });
	for (int i = 0; i < 250; i++) {
		ck_assert(rig_put("a@s.example", "b@dead.example c@alive.example"));
		ck_assert(rig_put("a@s.example", "b@1.relay.example c@2.relay.example"));
	}
	rig_run(10);
	ck_assert_uint_eq(rig_got("c@alive.example"), 250);
	ck_assert(rig_put("a@s.example", "d@alive.example e@other.example"));
	rig_run(2);
	ck_assert_uint_eq(rig_got("d@alive.example"), 1);
	ck_assert_uint_eq(rig_got("e@other.example"), 1);
}
END_TEST

START_TEST(a_wake_up_probes_a_dead_destination_at_once)
{
	ANSWERS(DOWN);
	ck_assert(rig_put("a@s.example", "b@x.example"));
	ck_assert(rig_put("a@s.example", "c@x.example"));
	ck_assert(rig_put("a@s.example", "d@x.example"));
	rig_run(1);
	rig_answers(NULL, 0);
	queue_wake();
	rig_run(1);
	ck_assert_uint_eq(rig_got("d@x.example"), 1);
	ck_assert_int_eq(queue_poke(rig.dir), 0);
	rig_run(1);
}
END_TEST

START_TEST(a_destination_that_nobody_waits_for_is_forgotten)
{
	ANSWERS(DOWN);
	ck_assert(rig_put("a@s.example", "b@x.example"));
	rig_run(1);
	rig_rm(rig_name("x.example"));
	rig_run(7200);
	ck_assert_uint_eq(queue_entries(), 0);
	rig_answers(NULL, 0);
	ck_assert(rig_put("a@s.example", "b@x.example"));
	rig_run(1);
	ck_assert_str_eq(rig_cur(), "");
}
END_TEST

/* ---- hands in the directory */

START_TEST(a_name_moved_to_now_is_tried_now_however_it_is_written)
{
	static const char *const rows[] = { "0.1", "1796000000.0", "00000000000001.007", "5.1" };

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char to[NAME_ROOM];
		size_t before = rig.nsent + 1;

		ANSWERS(LATER);
		ck_assert(rig_put("a@s.example", "b@x.example"));
		rig_run(1);
		ck_assert_uint_eq(rig.nsent, before);
		snprintf(to, sizeof to, "%s.%s.x.example", rows[i], rig_id);
		rig_mv(rig_name("x.example"), to);
		rig_answers(NULL, 0);
		rig_run(12);
		ck_assert_msg(rig.nsent == before + 1, "%s", to);
		ck_assert_str_eq(rig_cur(), "");
	}
}
END_TEST

START_TEST(a_name_moved_later_is_tried_later)
{
	char to[NAME_ROOM];

	ANSWERS(LATER);
	ck_assert(rig_put("a@s.example", "b@x.example"));
	rig_run(1);
	entry_print(to, RIG_WALL + 3000, false, 1, rig_id, "x.example");
	rig_mv(rig_name("x.example"), to);
	rig_run(2900);
	ck_assert_uint_eq(rig.nsent, 1);
	rig_run(110);
	ck_assert_uint_eq(rig.nsent, 2);
}
END_TEST

START_TEST(what_waits_across_2038_is_tried_at_its_time)
{
	const int64_t last = INT32_MAX;

	loop_virtual_clock(last - 60);
	ANSWERS(LATER);
	ck_assert(rig_put("a@s.example", "b@x.example"));
	ck_assert_int_eq(id_arrival(rig_id), last - 60);
	rig_run(1);
	ck_assert_int_gt(atoll(rig_name("x.example")), last);
	rig_crash();
	rig_answers(NULL, 0);
	rig_start();
	rig_run(59);
	ck_assert_uint_eq(rig.nsent, 1);
	rig_run(86400);
	ck_assert_uint_eq(rig.nsent, 2);
	ck_assert_str_eq(rig_cur(), "");
}
END_TEST

START_TEST(a_name_removed_is_a_message_dropped)
{
	ANSWERS(LATER);
	ck_assert(rig_put("a@s.example", "b@x.example"));
	ck_assert(rig_put("a@s.example", "b@x.example"));
	rig_run(1);
	rig_rm(rig_name("x.example"));
	rig_run(12);
	ck_assert_uint_eq(queue_entries(), 1);
	rig_rm(rig_name("x.example"));
	rig_run(3600);
	ck_assert_uint_eq(queue_entries(), 0);
	ck_assert_uint_eq(rig.nsent, 2);
	ck_assert_uint_eq(rig_count("bad"), 0);
}
END_TEST

START_TEST(a_name_removed_while_it_is_tried_stays_away)
{
	static const enum result_kind ends[] = { RESULT_DELIVERED, RESULT_DEFERRED };

	for (size_t i = 0; i < 2; i++) {
		ANSWERS({ "", ends[i], BLAME_RCPT, 250, "x" });
		rig.by_hand = true;
		ck_assert(rig_put("a@s.example", "b@x.example c@y.example"));
		rig_run(1);
		ck_assert_uint_eq(rig.nheld, 2);
		rig_rm(rig_name("+"));
		rig_run(15);
		rig_finish(0, false);
		rig_finish(0, false);
		rig.by_hand = false;
		rig_run(3600);
		ck_assert_str_eq(rig_cur(), "");
		ck_assert_uint_eq(queue_entries(), 0);
		ck_assert_uint_eq(rig.nsent, 2 * i + 2);
	}
}
END_TEST

START_TEST(a_name_moved_while_it_is_tried_is_found_again)
{
	char to[NAME_ROOM];

	for (int delivered = 0; delivered < 2; delivered++) {
		size_t before = rig.nsent;

		ANSWERS({ "", delivered ? RESULT_DELIVERED : RESULT_DEFERRED, BLAME_RCPT, 250, "x" });
		rig.by_hand = true;
		ck_assert(rig_put("a@s.example", "b@x.example"));
		rig_run(1);
		entry_print(to, 0, false, 7, rig_id, "x.example");
		rig_mv(rig_name("x.example"), to);
		rig_run(15);
		rig_finish(0, false);
		rig.by_hand = false;
		rig_answers(NULL, 0);
		rig_run(25);
		ck_assert_str_eq(rig_cur(), "");
		ck_assert_uint_eq(rig.nsent - before, delivered ? 1 : 2);
	}
}
END_TEST

START_TEST(a_held_name_waits_until_it_is_let_go)
{
	char to[NAME_ROOM];

	ANSWERS(LATER);
	ck_assert(rig_put("a@s.example", "b@x.example"));
	rig_run(1);
	entry_print(to, RIG_WALL, true, 0, rig_id, "x.example");
	rig_mv(rig_name("x.example"), to);
	rig_run(10 * 86400);
	ck_assert_str_eq(rig_cur(), "H x.example");
	ck_assert_uint_eq(rig.nsent, 1);
	rig_crash();
	rig_start();
	rig_run(86400);
	ck_assert_uint_eq(rig.nsent, 1);
	rig_answers(NULL, 0);
	snprintf(to, sizeof to, "0.0.%s.x.example", rig_id);
	rig_mv(rig_name("x.example"), to);
	rig_run(12);
	ck_assert_uint_eq(rig_times("b@x.example"), 2);
	ck_assert_str_eq(rig_cur(), "");
}
END_TEST

START_TEST(of_two_names_for_one_entry_the_later_stamp_stays)
{
	for (int copy = 0; copy < 2; copy++) {
		char name[NAME_ROOM], later[NAME_ROOM], earlier[NAME_ROOM], id[ID_MAX];

		take_only();
		ck_assert(rig_put("a@s.example", "b@x.example"));
		snprintf(id, sizeof id, "%s", rig_id);
		snprintf(name, sizeof name, "%s", rig_name("x.example"));
		entry_print(later, RIG_WALL + 5000, false, 3, id, "x.example");
		entry_print(earlier, RIG_WALL + 2000, false, 2, id, "x.example");
		if (copy) {
			const char *text = rig_read("cur", name);

			rig_write("cur", later, text, strlen(text));
			rig_write("cur", earlier, text, strlen(text));
		} else {
			ck_assert_int_eq(linkat(queue.cur, name, queue.cur, later, 0), 0);
			ck_assert_int_eq(linkat(queue.cur, name, queue.cur, earlier, 0), 0);
		}
		rig_crash();
		rig_start();
		rig_run(12);
		ck_assert_str_eq(rig_cur(), "3 x.example");
		ck_assert_uint_eq(queue_entries(), 1);
		ck_assert_uint_eq(rig_count("bad"), copy ? 4 : 0);
		rig_rm(later);
		rig_run(12);
	}
}
END_TEST

START_TEST(of_two_files_for_one_entry_a_whole_one_stays)
{
	for (int torn = 0; torn < 2; torn++)            /* the later one, the earlier one */
		for (int how = 0; how < 3; how++) {     /* a start finds both, or a server the torn one, or the whole one */
			char name[2][NAME_ROOM], text[8192];
			size_t n;

			take_only();
			ck_assert(rig_put("a@s.example", "b@x.example"));
			n = (size_t)snprintf(text, sizeof text, "%s", rig_read("cur", rig_name("x.example")));
			entry_print(name[0], RIG_WALL + 5000, false, 3, rig_id, "x.example");
			entry_print(name[1], RIG_WALL + 4000, false, 2, rig_id, "x.example");
			rig_rm(rig_name("x.example"));
			rig_crash();
			if (how != 2)
				rig_write("cur", name[torn], text, n / 2);
			if (how != 1)
				rig_write("cur", name[!torn], text, n);
			rig_start();
			if (how == 2)
				rig_write("cur", name[torn], text, n / 2);
			if (how == 1)
				rig_write("cur", name[!torn], text, n);
			rig_run(12);
			ck_assert_uint_eq(rig_count("cur"), 1);
			ck_assert_str_eq(rig_read("cur", rig_name("x.example")), text);
			deliver_again();
			rig_run(6000);
			ck_assert_str_eq(rig_cur(), "");
			ck_assert_str_eq(rig.sent[rig.nsent - 1].body, rig_body);
		}
	ck_assert_uint_eq(rig.nsent, 6);
	ck_assert_uint_eq(rig_count("bad"), 6 * 2);
}
END_TEST

/* As if the clock had not ticked since. */
static void make_link(const char *from, const char *to)
{
	struct stat st;

	ck_assert_int_eq(fstat(queue.cur, &st), 0);
	ck_assert_int_eq(linkat(queue.cur, from, queue.cur, to, 0), 0);
	ck_assert_int_eq(futimens(queue.cur, (struct timespec[2]){ st.st_atim, st.st_mtim }), 0);
}

START_TEST(a_change_in_the_same_tick_as_one_that_was_seen_is_noticed)
{
	char name[NAME_ROOM];
	struct stat st;

	ANSWERS(LATER);
	ck_assert(rig_put("a@s.example", "b@x.example"));
	rig_run(9);
	entry_print(name, RIG_WALL + 5000, false, 1, rig_id, "x.example");
	rig_mv(rig_name("x.example"), name);
	rig_run(1);
	ck_assert_int_eq(fstat(queue.cur, &st), 0);
	entry_print(name, RIG_WALL, false, 1, rig_id, "x.example");
	rig_mv(rig_name("x.example"), name);
	ck_assert_int_eq(futimens(queue.cur, (struct timespec[2]){ st.st_atim, st.st_mtim }), 0);
	rig_run(25);
	ck_assert_uint_eq(rig.nsent, 2);
}
END_TEST

START_TEST(a_second_name_made_by_hand_brings_nothing_twice)
{
	rig_crash();
	rig.conf.retry_first = 7;
	rig_start();
	for (int tried = 0; tried < 2; tried++) {       /* it is made before the attempt, or while it runs, and noticed later or meanwhile */
		char name[NAME_ROOM];
		size_t before = rig.nsent;

		ANSWERS(LATER);
		rig.by_hand = tried;
		ck_assert(rig_put("a@s.example", "b@x.example"));
		rig_run(1);
		entry_print(name, loop_wall() + 40, false, 1, rig_id, "x.example");
		make_link(rig_name("x.example"), name);
		rig_answers(NULL, 0);
		rig_run(tried ? 12 : 7);
		if (tried)
			rig_finish(0, false);
		rig.by_hand = false;
		rig_run(100);
		ck_assert_str_eq(rig_cur(), "");
		ck_assert_uint_eq(rig.nsent - before, tried ? 1 : 2);
	}
}
END_TEST

START_TEST(a_destination_written_by_hand_in_place_of_several_loses_none_of_them)
{
	char name[NAME_ROOM];

	ck_assert(rig_put_body("a@s.example", "b@x.example c@y.example d@z.example", rig_body, NULL, RIG_WALL + 50));
	entry_print(name, 0, false, 0, rig_id, "x.example");
	rig_mv(rig_name("+"), name);
	rig_run(12);
	ck_assert_uint_eq(rig_times("b@x.example"), 1);
	rig_run(60);
	ck_assert_uint_eq(rig_times("c@y.example"), 1);
	ck_assert_uint_eq(rig_times("d@z.example"), 1);
	ck_assert_uint_eq(rig.nsent, 3);
	ck_assert_str_eq(rig_cur(), "");
}
END_TEST

START_TEST(a_plus_written_by_hand_in_place_of_a_destination_stands_for_it)
{
	char name[NAME_ROOM];

	ANSWERS(LATER);
	ck_assert(rig_put("a@s.example", "b@x.example c@y.example"));
	rig_run(1);
	ck_assert_str_eq(rig_cur(), "1 x.example, 1 y.example");
	entry_print(name, 0, false, 0, rig_id, "+");
	rig_mv(rig_name("x.example"), name);
	rig_answers(NULL, 0);
	rig_run(400);
	ck_assert_uint_eq(rig_times("b@x.example"), 2);
	ck_assert_uint_eq(rig_times("c@y.example"), 2);
	ck_assert_str_eq(rig_cur(), "");
}
END_TEST

/* The file of what is being tried loses its last octets before its result can be noted. */
static void cut_off(void *arg, const struct mail *m, const struct rcpt *r, const struct result *res)
{
	(void)arg;
	(void)r;
	(void)res;
	ck_assert_int_eq(ftruncate(m->fd, m->at + m->size - 5), 0);
}

START_TEST(a_file_cut_off_while_it_is_tried_is_not_sent_with_another_end)
{
	struct reply why;

	rig_crash();
	rig.conf.settled = cut_off;
	rig_start();
	ANSWERS(LATER);
	ck_assert(rig_put("a@s.example", "b@x.example"));
	rig_run(1);
	ck_assert(queue_accepting(&why));
	rig_answers(NULL, 0);
	rig_run(400);
	ck_assert_str_eq(rig_cur(), "");
	ck_assert_uint_eq(rig_count("bad"), 2);
	ck_assert_uint_eq(rig.nsent, 1);
}
END_TEST

/* As it is after so many octets of it, at this moment. */
static void copy_so_far(const char *dir, const char *name, const char *text, size_t n)
{
	struct timespec t = { .tv_sec = loop_wall() };
	char path[600];

	snprintf(path, sizeof path, "%s/%s/%s", rig.dir, dir, name);
	rig_write(dir, name, text, n);
	ck_assert_int_eq(utimensat(AT_FDCWD, path, (struct timespec[2]){ t, t }, 0), 0);
}

START_TEST(a_file_that_is_being_copied_into_the_queue_is_whole_when_it_is_tried)
{
	for (int ends = 0; ends < 2; ends++)            /* the copying */
		for (int in = 0; in < 2; in++) {
			char name[NAME_ROOM], text[8192];
			size_t n, before = rig.nsent, bad = rig_count("bad");

			take_only();
			ck_assert(rig_put("a@s.example", "b@x.example"));
			snprintf(name, sizeof name, "%s", rig_name("x.example"));
			n = (size_t)snprintf(text, sizeof text, "%s", rig_read("cur", name));
			rig_rm(name);
			deliver_again();
			for (size_t so_far = 0; so_far < n; so_far += n / 4) {
				copy_so_far(in && !so_far ? "in" : "cur", name, text, so_far);  /* its writer does not see that it is taken over */
				queue_wake();
				rig_run(1);
				ck_assert_uint_eq(rig_count("bad"), bad);
			}
			if (ends)
				copy_so_far("cur", name, text, n);
			rig_run(10);
			ck_assert_str_eq(rig_cur(), "");
			ck_assert_uint_eq(rig.nsent - before, ends);
			ck_assert_uint_eq(rig_count("bad") - bad, ends ? 0 : 2);
		}
}
END_TEST

START_TEST(what_went_after_the_directory_was_read_is_not_taken_for_a_message)
{
	enum { BEFORE = 500, ALL = 700 };       /* names that a scan looks at in a turn; so many are read at a time, and some of the next ones */
	char name[NAME_ROOM], id[ID_MAX];
	size_t place = 0;

	take_only();
	for (unsigned i = 0; i < ALL; i++)
		ck_assert(rig_put("a@s.example", "b@x.example"));
	rig_run(20);
	for (unsigned n = 0; place <= BEFORE || place > BEFORE + 50; n++) {
		struct dirent *x;
		DIR *d;

		if (n == 10000)
			return;         /* tmpfs: a new name comes first, wherever it is wanted */
		snprintf(id, sizeof id, "6b0c3d50%016x", n);
		entry_print(name, RIG_WALL, true, 0, id, "x.example");
		rig_write("cur", name, "x", 1);
		d = fdopendir(openat(queue.cur, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
		for (place = 0; (x = readdir(d)) && strcmp(x->d_name, name) != 0; )
			place += x->d_name[0] != '.';
		closedir(d);
		if (place <= BEFORE || place > BEFORE + 50)
			rig_rm(name);
	}
	index_scan_soon();
	loop_turn(0);
	loop_turn(0);
	rig_rm(name);
	rig_turn();
	ck_assert_uint_eq(queue_entries(), ALL);
}
END_TEST

START_TEST(a_name_that_cannot_be_read_goes_to_bad)
{
	rig_write("cur", "README", "what is this?", 13);
	rig_run(12);
	ck_assert_str_eq(rig_cur(), "");
	ck_assert_ptr_nonnull(strstr(rig_read("bad", "README.why"), "not of the form"));
	rig_write("cur", "README", "again", 5);
	rig_run(12);
	ck_assert_str_eq(rig_read("bad", "README"), "what is this?");
	ck_assert_str_eq(rig_read("bad", "README.1"), "again");
}
END_TEST

/* ---- suspects */

START_TEST(what_was_tried_at_a_crash_is_tried_last_and_alone)
{
	char bad[ID_MAX], due[NAME_ROOM];

	rig.by_hand = true;
	ck_assert(rig_put("a@s.example", "killer@x.example"));
	snprintf(bad, sizeof bad, "%s", rig_id);
	rig_run(1);
	rig_crash();
	rig_start();
	snprintf(due, sizeof due, "0.1.%s.x.example", bad);
	rig_mv(rig_name("x.example"), due);
	queue_wake();
	for (int i = 0; i < 5; i++)
		ck_assert(rig_put("a@s.example", "good@y.example"));
	rig_run(15);
	ck_assert_uint_eq(rig.nheld, 2);
	while (rig.nheld && strcmp(rig.held[0]->mail->id, bad) != 0) {
		ck_assert_str_ne(rig.held[rig.nheld - 1]->mail->id, bad);
		rig_finish(0, true);
		rig_turn();
	}
	ck_assert_uint_eq(rig_got("good@y.example"), 5);
	ck_assert_uint_eq(rig.nheld, 1);
	ck_assert(rig_put("a@s.example", "next@z.example"));
	ck_assert(rig_put("a@s.example", "next@z.example two@w.example"));
	rig_run(5);
	ck_assert_uint_eq(rig.nheld, 1);
	rig_finish(0, false);
	rig_run(1);
	ck_assert_uint_eq(rig.nheld, 3);
	while (rig.nheld)
		rig_finish(0, false);
	rig_run(1);
	ck_assert_str_eq(rig_cur(), "");
}
END_TEST

START_TEST(a_suspect_that_has_waited_long_has_its_turn_before_what_is_open_and_not_begun)
{
	rig.by_hand = true;
	ck_assert(rig_put("a@s.example", "killer@x.example"));
	rig_run(1);
	rig_crash();
	rig.conf.couriers = 1;
	rig_start();
	ck_assert(rig_put("a@s.example", "1@y.example 2@z.example"));
	rig_run(25 * 60);          /* its stamp, and fifteen minutes */
	ck_assert_uint_eq(rig.nheld, 1);
	rig_finish(0, false);
	rig_run(5);
	ck_assert_uint_eq(rig.nheld, 1);
	ck_assert_str_eq(dest_domain(rig.held[0]->dest), "x.example");
	while (rig.nheld) {
		rig_finish(0, false);
		rig_run(5);
	}
	rig_run(400);
	while (rig.nheld) {
		rig_finish(0, false);
		rig_run(5);
	}
	ck_assert_str_eq(rig_cur(), "");
}
END_TEST

START_TEST(a_suspect_for_a_dead_destination_holds_up_nobody)
{
	rig.by_hand = true;
	ck_assert(rig_put("a@s.example", "killer@x.example"));
	rig_run(1);
	rig_crash();
	rig.by_hand = false;
	ANSWERS({ "@x.example", RESULT_DEFERRED, BLAME_DEST, 0, "connection refused" });
	rig_start();
	ck_assert(rig_put("a@s.example", "b@x.example"));
	rig_run(500);
	ck_assert(rig_put("a@s.example", "b@y.example"));
	rig_run(5);
	ck_assert_uint_eq(rig_got("b@y.example"), 1);
	rig_answers(NULL, 0);
	rig_run(7200);
	ck_assert_str_eq(rig_cur(), "");
}
END_TEST

/* ---- size */

/* How long they may take is said by the limit that Check sets. */
START_TEST(a_thousand_recipients_are_settled_together)
{
	struct buf to = { 0 };

	ANSWERS({ "@d1.example", RESULT_DEFERRED, BLAME_RCPT, 450, "later" }, { "@d2.example", RESULT_FAILED, BLAME_RCPT, 550, "no" });
	for (int i = 0; i < 1000; i++)
		buf_printf(&to, "u%d@d%d.example ", i, i % 10);
	ck_assert(rig_put("a@s.example", buf_cstr(&to)));
	rig_run(5);
	ck_assert_uint_eq(rig.nsent, 11);       /* ten and the report */
	ck_assert_uint_eq(rig.settled[RESULT_DELIVERED], 801);
	ck_assert_uint_eq(rig.settled[RESULT_FAILED], 100);
	ck_assert_uint_eq(rig.reports[REPORT_FINAL], 1);
	ck_assert_str_eq(rig_cur(), "1 d1.example");
	buf_free(&to);
}
END_TEST

START_TEST(a_thousand_domains_that_must_wait_get_names_of_their_own)
{
	struct buf to = { 0 };

	ANSWERS(LATER);
	for (int i = 0; i < 1000; i++)
		buf_printf(&to, "u@d%d.example ", i);
	ck_assert(rig_put("a@s.example", buf_cstr(&to)));
	rig_run(30);
	ck_assert_uint_eq(rig.nsent, 1000);
	ck_assert_uint_eq(rig_count("cur"), 1000);
	rig_answers(NULL, 0);
	rig_run(1200);
	ck_assert_uint_eq(rig.nsent, 2000);
	ck_assert_str_eq(rig_cur(), "");
	buf_free(&to);
}
END_TEST

/* What is read and checked is bounded for a turn, as nobody else is served meanwhile. */
START_TEST(a_turn_opens_no_more_than_two_megabytes)
{
	size_t n = 1000 * 1000;
	char *body = malloc(n + 1);

	memset(body, 'x', n);
	body[n] = '\0';
	take_only();
	for (int i = 0; i < 40; i++) {
		char to[40];

		snprintf(to, sizeof to, "b@d%d.example", i);
		ck_assert(rig_put_body("a@s.example", to, body, NULL, 0));
	}
	free(body);
	rig_crash();
	rig.conf.deliver = true;
	rig.conf.couriers = 50;
	rig.by_hand = true;
	rig_start();
	ck_assert_uint_ge(rig.nheld, 10);
	ck_assert_uint_le(rig.nheld, 3 * 12);   /* turns of rig_start() */
	rig_turn();
	ck_assert_uint_eq(rig.nheld, 40);
}
END_TEST

START_TEST(two_thousand_messages_pass_quickly)
{
	for (int i = 0; i < 2000; i++)
		ck_assert(rig_put("a@s.example", i & 1 ? "b@x.example" : "b@x.example c@y.example"));
	rig_run(5);
	ck_assert_uint_eq(rig_got("b@x.example"), 2000);
	ck_assert_str_eq(rig_cur(), "");
}
END_TEST

/* Octets that are in use; where malloc() does not tell, of all that is resident. */
static size_t in_use(void)
{
#ifdef __GLIBC__
	return mallinfo2().uordblks;
#else
	FILE *f = fopen("/proc/self/statm", "r");
	size_t n;

	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(fscanf(f, "%*u %zu", &n), 1);
	fclose(f);
	return n * (size_t)sysconf(_SC_PAGESIZE);
#endif
}

START_TEST(a_hundred_thousand_entries_fit_in_forty_megabytes)
{
#if defined __SANITIZE_ADDRESS__
	return;         /* its allocator does not tell; the other variants measure */
#endif
	size_t before = in_use(), used;

	take_only();
	for (int i = 0; i < 100000; i++) {
		char name[NAME_ROOM], id[ID_MAX], dest[DEST_MAX];

		id_make(id, RIG_WALL);
		snprintf(dest, sizeof dest, "domain-%d.example.org", i);
		entry_print(name, RIG_WALL + 3600 + i % 5000, false, 1, id, dest);
		ck_assert_ptr_nonnull(index_name(name, true));
	}
	used = in_use() - before;
	ck_assert_msg(used < 40 << 20, "%zu octets each", used / 100000);
	rig_run(60);
}
END_TEST

Suite *queue_suite(void)
{
	Suite *s = suite_create("queue");
	TCase *t = tcase_create("taking in"), *b = tcase_create("bundles"), *w = tcase_create("time and destinations"),
		*h = tcase_create("hands in the directory"), *z = tcase_create("size");

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_add_test(t, one_destination_is_in_the_name_and_several_are_a_plus);
	tcase_add_test(t, a_domain_in_capitals_is_the_same_destination);
	tcase_add_test(t, a_draft_that_is_given_up_leaves_nothing);
	tcase_add_test(t, after_other_settings_a_draft_knows_its_path_without_the_old_ones);
	tcase_add_test(t, a_large_message_is_delivered_octet_for_octet);
	tcase_add_test(t, an_empty_message_is_delivered);
	tcase_add_test(t, an_id_whose_file_is_not_whole_is_taken_again);
	tcase_add_test(t, an_id_that_is_there_already_is_taken_once);
	tcase_add_test(t, of_a_leftover_with_the_same_id_nothing_is_in_the_message);
	tcase_add_test(t, an_id_committed_twice_in_one_round_is_one_message);
	tcase_add_test(t, a_crash_in_mid_commit_calls_nobody_back);
	tcase_add_test(t, nothing_is_tried_before_its_release);
	tcase_add_test(t, what_waits_in_in_is_adopted);
	tcase_add_test(t, a_commit_helper_that_dies_at_once_is_not_forked_in_a_circle);
	tcase_add_test(t, a_helper_that_has_just_been_forked_does_not_keep_the_queue_behind_its_end);
	tcase_add_loop_test(t, what_the_commit_helper_had_when_it_ended_is_refused, 0, 3);
	tcase_add_loop_test(t, mail_is_taken_when_what_makes_it_durable_has_succeeded, 0, (int)(sizeof ways_to_fail / sizeof *ways_to_fail));
	tcase_add_test(t, a_round_answers_those_who_were_there_when_it_began);
	tcase_add_test(t, what_another_process_takes_in_is_locked_until_it_is_durable);
	tcase_add_test(t, what_is_not_durable_yet_is_no_entry);
	tcase_add_test(t, a_message_that_is_locked_at_the_start_is_left_alone);
	tcase_add_test(t, the_directories_of_a_queue_are_durable_when_it_is_opened);
	tcase_add_test(t, what_has_no_place_in_the_lock_file_has_its_next_stamp_before_it_is_tried);
	tcase_add_test(t, what_could_not_be_taken_from_in_for_a_moment_is_taken_behind_it);
	tcase_add_test(t, a_message_still_being_written_elsewhere_is_left_alone);
	tcase_add_test(t, work_is_swept_at_the_start);
	tcase_add_test(t, two_processes_do_not_schedule_one_queue);
	suite_add_tcase(s, t);
	tcase_add_checked_fixture(b, set_up, tear_down);
	tcase_add_test(b, fifty_recipients_at_four_domains_are_four_transactions);
	tcase_add_test(b, a_shared_way_is_one_transaction);
	tcase_add_test(b, a_shared_connection_is_no_shared_transaction);
	tcase_add_test(b, what_a_mixed_transaction_refuses_is_tried_again_at_once_per_domain);
	tcase_add_test(b, a_waiting_message_leaves_on_the_same_connection);
	tcase_add_test(b, success_adds_a_courier_and_trouble_takes_one);
	tcase_add_test(b, no_more_couriers_run_than_are_allowed);
	tcase_add_test(b, a_transport_has_places_of_its_own);
	tcase_add_test(b, the_last_places_are_for_who_has_none);
	tcase_add_test(t, where_the_sender_decides_each_has_a_destination_and_none_waits_for_another);
	tcase_add_test(b, who_has_no_place_gets_one_after_a_turn_of_others);
	tcase_add_test(b, places_are_given_in_the_order_they_were_asked_for);
	tcase_add_test(b, a_courier_that_waits_costs_no_place_no_file_and_no_attempt);
	tcase_add_test(b, what_has_a_result_is_not_given_back);
	tcase_add_test(b, who_waits_is_told_when_the_queue_is_drained);
	tcase_add_test(b, couriers_may_end_in_any_order);
	tcase_add_test(b, a_queue_that_is_closed_in_any_state_opens_again);
	suite_add_tcase(s, b);
	tcase_add_checked_fixture(w, set_up, tear_down);
	tcase_add_test(w, what_was_being_tried_at_a_crash_waits_for_its_next_stamp);
	tcase_add_test(w, a_crash_at_one_destination_is_no_try_at_another);
	tcase_add_test(w, what_has_just_come_in_is_in_memory_within_bounds);
	tcase_add_test(w, what_is_removed_or_put_on_hold_before_its_attempt_is_not_tried);
	tcase_add_test(w, back_off_doubles_within_its_bounds);
	tcase_add_test(w, a_deferred_message_is_tried_again_in_growing_intervals);
	tcase_add_test(w, a_dead_destination_is_probed_by_one_and_the_others_keep_their_names);
	tcase_add_test(w, a_fault_of_our_own_is_met_by_one_message_and_the_lifetime_alone_ends_it);
	tcase_add_test(w, what_a_fault_of_our_own_has_kept_for_long_is_tried_before_it_comes_back);
	tcase_add_test(w, a_fault_of_this_machine_is_met_by_one_message_and_over_soon_after_its_end);
	tcase_add_test(w, many_messages_for_a_dead_shared_way_cost_nothing_while_they_wait);
	tcase_add_test(w, a_dead_destination_stops_no_other);
	tcase_add_test(w, a_wake_up_probes_a_dead_destination_at_once);
	tcase_add_test(w, what_waits_across_2038_is_tried_at_its_time);
	tcase_add_test(w, a_destination_that_nobody_waits_for_is_forgotten);
	tcase_add_test(w, what_was_tried_at_a_crash_is_tried_last_and_alone);
	tcase_add_test(w, a_suspect_that_has_waited_long_has_its_turn_before_what_is_open_and_not_begun);
	tcase_add_test(w, a_suspect_for_a_dead_destination_holds_up_nobody);
	suite_add_tcase(s, w);
	tcase_add_checked_fixture(h, set_up, tear_down);
	tcase_add_test(h, a_name_moved_to_now_is_tried_now_however_it_is_written);
	tcase_add_test(h, a_name_moved_later_is_tried_later);
	tcase_add_test(h, a_name_removed_is_a_message_dropped);
	tcase_add_test(h, a_name_removed_while_it_is_tried_stays_away);
	tcase_add_test(h, a_name_moved_while_it_is_tried_is_found_again);
	tcase_add_test(h, a_held_name_waits_until_it_is_let_go);
	tcase_add_test(h, of_two_names_for_one_entry_the_later_stamp_stays);
	tcase_add_test(h, of_two_files_for_one_entry_a_whole_one_stays);
	tcase_add_test(h, a_change_in_the_same_tick_as_one_that_was_seen_is_noticed);
	tcase_add_test(h, a_second_name_made_by_hand_brings_nothing_twice);
	tcase_add_test(h, a_destination_written_by_hand_in_place_of_several_loses_none_of_them);
	tcase_add_test(h, a_plus_written_by_hand_in_place_of_a_destination_stands_for_it);
	tcase_add_test(h, a_file_cut_off_while_it_is_tried_is_not_sent_with_another_end);
	tcase_add_test(h, a_file_that_is_being_copied_into_the_queue_is_whole_when_it_is_tried);
	tcase_add_test(h, what_went_after_the_directory_was_read_is_not_taken_for_a_message);
	tcase_add_test(h, a_name_that_cannot_be_read_goes_to_bad);
	suite_add_tcase(s, h);
	tcase_add_checked_fixture(z, set_up, tear_down);
	tcase_add_test(z, a_thousand_recipients_are_settled_together);
	tcase_add_test(z, a_thousand_domains_that_must_wait_get_names_of_their_own);
	tcase_add_test(z, a_turn_opens_no_more_than_two_megabytes);
	tcase_add_test(z, two_thousand_messages_pass_quickly);
	tcase_add_test(z, a_hundred_thousand_entries_fit_in_forty_megabytes);
	suite_add_tcase(s, z);
	return s;
}
