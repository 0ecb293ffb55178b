/* The loop: who is called when, and what callbacks may do to each other. */
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/list.h"
#include "lib/loop.h"
#include "lib/rand.h"
#include "tests/limits.h"

/* What was called, one letter each. */
static struct buf seen;

static void saw(const char *text)
{
	ck_assert_str_eq(buf_cstr(&seen), text);
	buf_clear(&seen);
}

static void setup(void) { loop_virtual_clock(1700000000); }
static void teardown(void) { buf_free(&seen); }

/* ---- descriptors */

struct wire {                           /* a pipe with something in it */
	struct io io;
	int in;
	char letter;
	struct wire *other;
	void (*then)(struct wire *);
};

static void wire_ready(struct io *io, short revents)
{
	struct wire *w = owner_of(io, struct wire, io);

	ck_assert_int_eq(revents, POLLIN);
	buf_char(&seen, w->letter);
	if (w->then)
		w->then(w);
}

static struct wire *wire_new(char letter)
{
	struct wire *w = calloc(1, sizeof *w);
	int fd[2];

	ck_assert_int_eq(pipe(fd), 0);
	w->io = (struct io){ .fd = fd[0], .ready = wire_ready };
	w->in = fd[1];
	w->letter = letter;
	ck_assert_int_eq(write(w->in, "x", 1), 1);
	return w;
}

static void wire_free(struct wire *w)
{
	io_forget(&w->io);
	close(w->io.fd);
	close(w->in);
	memset(w, 0xee, sizeof *w);
	free(w);
}

static void watch(struct wire *w) { ck_assert_int_eq(io_watch(&w->io, POLLIN), 0); }
static void free_other(struct wire *w) { wire_free(w->other); w->then = NULL; }
static void free_itself(struct wire *w) { wire_free(w); }
static void watch_other(struct wire *w) { watch(w->other); w->then = NULL; }
static void forget_and_watch(struct wire *w) { io_forget(&w->io); watch(w); }
static void look_only_for_trouble(struct wire *w) { ck_assert_int_eq(io_watch(&w->other->io, 0), 0); }

START_TEST(a_watcher_may_free_one_that_is_ready_too)
{
	struct wire *a = wire_new('a'), *b = wire_new('b');

	a->other = b;
	a->then = free_other;
	watch(a);
	watch(b);
	loop_turn(0);
	loop_turn(0);
	saw("aa");
	wire_free(a);
}
END_TEST

START_TEST(a_watcher_may_free_itself)
{
	struct wire *a = wire_new('a'), *b = wire_new('b');

	a->then = free_itself;
	watch(a);
	watch(b);
	loop_turn(0);
	loop_turn(0);
	saw("abb");
	wire_free(b);
}
END_TEST

START_TEST(a_new_watcher_in_an_old_ones_place_is_called_in_the_next_turn)
{
	struct wire *a = wire_new('a'), *b = wire_new('b'), *c = wire_new('c');

	a->other = b;
	watch(a);
	watch(b);
	watch(c);
	io_forget(&b->io);
	a->then = watch_other;          /* takes the hole in the middle of the turn, though b is readable */
	loop_turn(0);
	saw("ac");
	loop_turn(0);
	saw("abc");
	c->then = forget_and_watch;     /* its own place again */
	loop_turn(0);
	loop_turn(0);
	saw("abcabc");
	wire_free(a);
	wire_free(b);
	wire_free(c);
}
END_TEST

START_TEST(what_is_watched_for_may_change_at_any_time)
{
	struct wire *a = wire_new('a'), *b = wire_new('b');

	a->other = b;
	a->then = look_only_for_trouble;
	watch(a);
	watch(b);
	loop_turn(0);
	saw("ab");                      /* it was ready before it was changed */
	loop_turn(0);
	saw("a");
	watch(b);
	a->then = NULL;
	loop_turn(0);
	saw("ab");
	io_forget(&a->io);
	io_forget(&a->io);
	loop_turn(0);
	saw("b");
	wire_free(a);
	wire_free(b);
}
END_TEST

static unsigned called[150];
static struct wire *crowd[150];

static void count(struct wire *w)
{
	unsigned char letter = (unsigned char)w->letter;

	called[letter]++;
}

START_TEST(in_a_crowd_that_comes_and_goes_each_is_called_once_a_turn)
{
	uint64_t seed = rand_u64(), x = seed;

	for (int i = 0; i < 150; i++) {
		crowd[i] = wire_new((char)i);
		crowd[i]->then = count;
	}
	for (int turn = 0; turn < 200; turn++) {
		for (int k = 0; k < 40; k++) {
			struct wire *w;

			x = x * 6364136223846793005u + 1442695040888963407u;
			w = crowd[(x >> 33) % 150];
			if (x >> 63)
				watch(w);
			else
				io_forget(&w->io);
		}
		memset(called, 0, sizeof called);
		loop_turn(0);
		for (int i = 0; i < 150; i++)
			ck_assert_msg(called[i] == (crowd[i]->io.slot != 0), "seed %llu turn %d: %d was called %u times",
				(unsigned long long)seed, turn, i, called[i]);
	}
	for (int i = 0; i < 150; i++)
		wire_free(crowd[i]);
}
END_TEST

/* ---- a crowd of which most are quiet: poll() is asked for the others alone */

enum { QUIET = 300, ENOUGH = 400 };     /* turns: until who has had nothing is quiet; for all to be told apart */

static void count_and_empty(struct wire *w)
{
	char octet;

	ck_assert_int_eq(read(w->io.fd, &octet, 1), 1);
	count(w);
}

static void fill(struct wire *w) { ck_assert_int_eq(write(w->in, "x", 1), 1); }

/* All but the first `lively` have had nothing for long. */
static void crowd_with(int lively)
{
	for (int i = 0; i < 150; i++) {
		crowd[i] = wire_new((char)i);
		crowd[i]->then = i < lively ? count : count_and_empty;
		watch(crowd[i]);
	}
	for (int turn = 0; turn < QUIET + ENOUGH; turn++)
		loop_turn(0);
	memset(called, 0, sizeof called);
}

static void crowd_goes(void)
{
	for (int i = 0; i < 150; i++)
		wire_free(crowd[i]);
}

START_TEST(who_is_quiet_is_heard_at_once)
{
	crowd_with(_i);
	for (int round = 0; round < 500; round++) {
		int i = _i + round % (150 - _i);

		fill(crowd[i]);
		loop_turn(0);
		for (int k = 0; k < _i; k++)
			ck_assert_uint_eq(called[k], 1);
		ck_assert_uint_eq(called[i], 1);
		memset(called, 0, sizeof called);
		loop_turn(0);
		ck_assert_uint_eq(called[i], 0);
		memset(called, 0, sizeof called);
	}
	crowd_goes();
}
END_TEST

/* Those that an epoll descriptor of ours watches. */
static unsigned quiet_ones(void)
{
	char path[60], line[200];
	unsigned n = 0;

	for (int fd = 3; fd < 1000; fd++) {
		FILE *f;

		snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
		if (!(f = fopen(path, "r")))
			continue;
		while (fgets(line, sizeof line, f))
			n += strncmp(line, "tfd:", 4) == 0;
		fclose(f);
	}
	return n;
}

/* As clients that send an octet now and then, of which a turn would ask hundreds each time. */
START_TEST(who_has_something_once_in_many_turns_stays_quiet)
{
	crowd_with(1);
	ck_assert_uint_eq(quiet_ones(), 149);
	for (int round = 0; round < 20; round++) {
		for (int i = 1; i < 150; i++)
			fill(crowd[i]);
		for (int turn = 0; turn < 50; turn++)
			loop_turn(0);
		ck_assert_uint_eq(called[149], (unsigned)round + 1);
	}
	ck_assert_uint_eq(quiet_ones(), 149);
	crowd_goes();
}
END_TEST

START_TEST(what_is_watched_for_changes_for_the_quiet_too)
{
	crowd_with(1);
	ck_assert_int_eq(io_watch(&crowd[5]->io, 0), 0);
	fill(crowd[5]);
	loop_turn(0);
	ck_assert_uint_eq(called[5], 0);
	watch(crowd[5]);
	loop_turn(0);
	ck_assert_uint_eq(called[5], 1);
	crowd_goes();
}
END_TEST

START_TEST(all_who_are_quiet_may_have_something_at_once_and_free_each_other)
{
	crowd_with(1);
	for (int i = 1; i < 150; i++)
		fill(crowd[i]);
	for (int turn = 0; turn < 3; turn++) {
		loop_turn(0);
		for (int i = 1; i < 150; i++)
			if (!called[i] && i % 7 == 0)
				io_forget(&crowd[i]->io);
	}
	for (int i = 1; i < 150; i++)
		ck_assert_uint_eq(called[i], crowd[i]->io.slot ? 1 : 0);
	crowd_goes();
}
END_TEST

START_TEST(a_forked_child_of_a_crowd_watches_its_own)
{
	struct wire *own;
	int status;
	pid_t pid;

	crowd_with(1);
	pid = fork();
	if (pid == 0) {
		loop_after_fork();
		own = wire_new(0);
		memset(called, 0, sizeof called);
		own->then = count;
		io_watch(&own->io, POLLIN);
		fill(crowd[5]);
		loop_turn(0);
		_exit(called[0] == 1 && called[5] == 0 ? 0 : 1);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	loop_turn(0);
	ck_assert_uint_eq(called[5], 1);        /* what the child has put in came out here */
	crowd_goes();
}
END_TEST

START_TEST(nobody_is_lost_while_the_crowd_changes)
{
	uint64_t seed = rand_u64(), x = seed;
	bool waits[150] = { 0 };                /* there is something for him */

	crowd_with(2);
	for (int turn = 0; turn < 5000; turn++) {
		for (int k = 0; k < 4; k++) {
			int i;

			x = x * 6364136223846793005u + 1442695040888963407u;
			i = 2 + (int)((x >> 33) % 148);
			if ((x >> 20) % 8 == 0 && crowd[i]->io.slot && !waits[i]) {
				io_forget(&crowd[i]->io);
			} else if (!crowd[i]->io.slot) {
				watch(crowd[i]);
			} else if (!waits[i]) {
				fill(crowd[i]);
				waits[i] = true;
			}
		}
		memset(called, 0, sizeof called);
		loop_turn(0);
		for (int i = 0; i < 150; i++) {
			ck_assert_msg(i >= 2 || called[i] == 1, "seed %llu turn %d: the lively one was called %u times", (unsigned long long)seed, turn, called[i]);
			if (i >= 2 && called[i] == 1 && waits[i])
				waits[i] = false;
			else if (i >= 2)
				ck_assert_msg(called[i] == 0 && !waits[i], "seed %llu turn %d: %d was called %u times", (unsigned long long)seed, turn, i, called[i]);
		}
	}
	crowd_goes();
}
END_TEST

/* ---- tasks */

struct chore {
	struct task task;
	char letter;
	struct chore *post, *cancel;
};

static void chore_run(struct task *t)
{
	struct chore *c = owner_of(t, struct chore, task);

	buf_char(&seen, c->letter);
	if (c->post)
		task_post(&c->post->task);
	if (c->cancel)
		task_cancel(&c->cancel->task);
}

#define CHORE(letter_) { .task.run = chore_run, .letter = (letter_) }

START_TEST(tasks_run_once_in_the_order_of_posting)
{
	struct chore a = CHORE('a'), b = CHORE('b'), c = CHORE('c');

	task_post(&b.task);
	task_post(&a.task);
	task_post(&b.task);
	task_post(&c.task);
	loop_turn(-1);                  /* does not sleep */
	loop_turn(0);
	saw("bac");
}
END_TEST

START_TEST(a_cancelled_task_does_not_run_wherever_it_stands)
{
	struct chore x[4] = { CHORE('a'), CHORE('b'), CHORE('c'), CHORE('d') };
	char want[5] = "abcd";

	for (int i = 0; i < 4; i++)
		task_post(&x[i].task);
	task_cancel(&x[_i].task);
	task_cancel(&x[_i].task);
	memmove(want + _i, want + _i + 1, strlen(want + _i));
	task_post(&x[0].task);          /* appends to an intact list */
	if (_i == 0)
		memcpy(want, "bcda", 5);
	loop_turn(0);
	saw(want);
}
END_TEST

START_TEST(a_task_may_cancel_the_next_one_and_itself)
{
	struct chore a = CHORE('a'), b = CHORE('b'), c = CHORE('c');

	a.cancel = &b;
	c.post = c.cancel = &c;
	task_post(&a.task);
	task_post(&b.task);
	task_post(&c.task);
	loop_turn(0);
	loop_turn(0);
	saw("ac");
}
END_TEST

START_TEST(what_a_task_posts_waits_for_a_turn_so_that_others_are_served)
{
	struct chore a = CHORE('a'), b = CHORE('b');
	struct wire *w = wire_new('w');

	a.post = &b;
	b.post = &a;
	task_post(&a.task);
	watch(w);
	loop_turn(-1);
	saw("wa");
	loop_turn(-1);
	saw("wb");
	loop_turn(-1);
	saw("wa");
	task_cancel(&b.task);
	wire_free(w);
}
END_TEST

/* ---- timers */

struct alarm {
	struct timer timer;
	char letter;
	struct alarm *stop, *set;
	msec after;
};

static void alarm_rings(struct timer *t)
{
	struct alarm *a = owner_of(t, struct alarm, timer);

	buf_char(&seen, a->letter);
	if (a->stop)
		timer_stop(&a->stop->timer);
	if (a->set)
		timer_set(&a->set->timer, a->after);
}

#define ALARM(letter_) { .timer.expired = alarm_rings, .letter = (letter_) }

START_TEST(timers_expire_in_order_and_once)
{
	struct alarm a = ALARM('a'), b = ALARM('b'), c = ALARM('c');

	timer_set(&a.timer, 30);
	timer_set(&b.timer, 20);
	timer_set(&c.timer, 10);
	timer_set(&a.timer, 5);         /* set anew */
	ck_assert(timer_armed(&a.timer));
	loop_advance(19);
	loop_turn(0);
	saw("ac");
	ck_assert(!timer_armed(&a.timer));
	loop_advance(1);
	loop_turn(0);
	saw("b");
	loop_turn(0);
	saw("");
}
END_TEST

START_TEST(a_timer_set_again_for_at_once_waits_for_the_next_turn)
{
	static const msec at_once[] = { 0, -1, -1000000 };
	struct alarm a = ALARM('a'), b = ALARM('b'), far[20];

	for (int i = 0; i < 20; i++) {
		far[i] = (struct alarm)ALARM('?');
		timer_set(&far[i].timer, 100000 + i);
	}
	a.set = &a;
	a.after = at_once[_i];
	timer_set(&a.timer, 10);
	timer_set(&b.timer, 10);
	loop_advance(10);
	loop_turn(0);
	ck_assert_uint_eq(seen.n, 2);
	buf_clear(&seen);
	loop_turn(0);
	saw("a");
	loop_turn(0);
	saw("a");
	timer_stop(&a.timer);
	for (int i = 0; i < 20; i++)
		timer_stop(&far[i].timer);
}
END_TEST

START_TEST(a_timer_may_stop_or_move_another_that_is_due)
{
	struct alarm a = ALARM('a'), b = ALARM('b'), c = ALARM('c');

	a.stop = &b;
	a.set = &c;
	a.after = 7;
	timer_set(&a.timer, 1);
	timer_set(&b.timer, 2);
	timer_set(&c.timer, 3);
	loop_advance(100);
	loop_turn(0);
	saw("a");
	ck_assert(!timer_armed(&b.timer) && timer_armed(&c.timer));
	loop_advance(6);
	loop_turn(0);
	saw("");
	loop_advance(1);
	loop_turn(0);
	saw("c");
	timer_stop(&b.timer);
}
END_TEST

/* ---- the turn as a whole */

static void hook(struct turn_end *e)
{
	(void)e;
	buf_char(&seen, '.');
}

START_TEST(a_turn_is_descriptors_timers_tasks_and_the_end)
{
	static struct turn_end end = { .run = hook };
	struct wire *w = wire_new('w');
	struct alarm a = ALARM('a');
	struct chore c = CHORE('c');

	loop_at_turn_end(&end);
	loop_at_turn_end(&end);         /* twice is once */
	task_post(&c.task);
	timer_set(&a.timer, 0);
	watch(w);
	loop_turn(-1);
	saw("wac.");
	loop_turn(-1);
	saw("w.");
	wire_free(w);
	loop_turn(0);
	saw(".");
}
END_TEST

static void stop(struct timer *t)
{
	buf_char(&seen, 's');
	(void)t;
	loop_stop();
}

START_TEST(running_ends_with_the_turn_in_which_it_is_stopped)
{
	struct timer t = { .expired = stop };
	struct alarm a = ALARM('a');

	timer_set(&t, 1000);
	timer_set(&a.timer, 1000);
	loop_run();
	ck_assert_uint_eq(seen.n, 2);
}
END_TEST

START_TEST(the_virtual_clock_jumps_to_the_next_timer_and_no_further)
{
	struct alarm day = ALARM('d');
	msec began = loop_now();

	day.set = &day;
	day.after = 86400000;
	timer_set(&day.timer, 86400000);
	for (int i = 1; i <= 5; i++) {
		loop_turn(-1);
		ck_assert_int_eq(loop_now() - began, i * (msec)86400000);
		ck_assert_int_eq(loop_wall(), 1700000000 + i * 86400);
	}
	saw("ddddd");
	loop_turn(1234);                /* as long as was asked */
	ck_assert_int_eq(loop_wall(), 1700000000 + 5 * 86400 + 1);
	loop_turn(800);
	ck_assert_int_eq(loop_wall(), 1700000000 + 5 * 86400 + 2);
	timer_stop(&day.timer);
}
END_TEST

START_TEST(the_virtual_clock_stands_still_while_there_is_work)
{
	struct alarm a = ALARM('a');
	struct chore c = CHORE('c');
	struct wire *w = wire_new('w');
	msec began = loop_now();

	timer_set(&a.timer, 1000);
	task_post(&c.task);
	loop_turn(-1);
	watch(w);
	loop_turn(-1);
	ck_assert_int_eq(loop_now(), began);
	wire_free(w);
	loop_turn(-1);
	ck_assert_int_eq(loop_now(), began + 1000);
}
END_TEST

/* ---- signals and forks */

static void on_signal(int signo) { buf_char(&seen, signo == SIGUSR1 ? '1' : '2'); }

START_TEST(a_signal_is_handled_by_the_loop_and_not_inside_the_signal)
{
	loop_on_signal(SIGUSR1, on_signal);
	loop_on_signal(SIGUSR2, on_signal);
	raise(SIGUSR1);
	raise(SIGUSR2);
	saw("");
	loop_turn(-1);
	saw("12");
	loop_turn(0);
	saw("");
}
END_TEST

static int child_status;

/* A loop of its own, in the middle of the parent's turn. */
static int child_life(void)
{
	struct chore c = CHORE('c');
	struct alarm a = ALARM('a');

	loop_after_fork();
	buf_clear(&seen);
	loop_turn(0);
	if (seen.n)
		return 1;               /* something of the parent's */
	task_post(&c.task);
	timer_set(&a.timer, 0);
	loop_turn(0);
	return strcmp(buf_cstr(&seen), "ac") ? 2 : 0;
}

static void fork_here(struct task *t)
{
	pid_t pid = fork();

	(void)t;
	if (pid == 0)
		_exit(child_life());
	ck_assert_int_eq(waitpid(pid, &child_status, 0), pid);
}

START_TEST(a_forked_child_has_nothing_of_its_parents_and_may_turn_itself)
{
	static struct turn_end end = { .run = hook };
	struct task forker = { .run = fork_here };
	struct chore behind = CHORE('b');
	struct alarm a = ALARM('a');
	struct wire *w = wire_new('w');

	watch(w);
	loop_at_turn_end(&end);
	loop_on_signal(SIGUSR1, on_signal);
	timer_set(&a.timer, 1);
	task_post(&forker);
	task_post(&behind.task);
	loop_turn(0);
	ck_assert_int_eq(child_status, 0);
	saw("wb.");                     /* and the parent has lost nothing */
	raise(SIGUSR1);
	loop_advance(1);
	loop_turn(0);
	ck_assert_uint_eq(seen.n, 4);
	wire_free(w);
}
END_TEST

Suite *lib_loop_suite(void);
Suite *lib_loop_suite(void)
{
	Suite *s = suite_create("lib_loop");
	TCase *t = tcase_create("loop");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, a_watcher_may_free_one_that_is_ready_too);
	tcase_add_test(t, a_watcher_may_free_itself);
	tcase_add_test(t, a_new_watcher_in_an_old_ones_place_is_called_in_the_next_turn);
	tcase_add_test(t, what_is_watched_for_may_change_at_any_time);
	if (limits_allow(2 * sizeof crowd / sizeof *crowd + 50)) {
		tcase_add_test(t, in_a_crowd_that_comes_and_goes_each_is_called_once_a_turn);
		tcase_add_loop_test(t, who_is_quiet_is_heard_at_once, 0, 4);
	tcase_add_test(t, who_has_something_once_in_many_turns_stays_quiet);
		tcase_add_test(t, what_is_watched_for_changes_for_the_quiet_too);
		tcase_add_test(t, all_who_are_quiet_may_have_something_at_once_and_free_each_other);
		tcase_add_test(t, a_forked_child_of_a_crowd_watches_its_own);
		tcase_add_test(t, nobody_is_lost_while_the_crowd_changes);
	}
	tcase_add_test(t, tasks_run_once_in_the_order_of_posting);
	tcase_add_loop_test(t, a_cancelled_task_does_not_run_wherever_it_stands, 0, 4);
	tcase_add_test(t, a_task_may_cancel_the_next_one_and_itself);
	tcase_add_test(t, what_a_task_posts_waits_for_a_turn_so_that_others_are_served);
	tcase_add_test(t, timers_expire_in_order_and_once);
	tcase_add_loop_test(t, a_timer_set_again_for_at_once_waits_for_the_next_turn, 0, 3);
	tcase_add_test(t, a_timer_may_stop_or_move_another_that_is_due);
	tcase_add_test(t, a_turn_is_descriptors_timers_tasks_and_the_end);
	tcase_add_test(t, running_ends_with_the_turn_in_which_it_is_stopped);
	tcase_add_test(t, the_virtual_clock_jumps_to_the_next_timer_and_no_further);
	tcase_add_test(t, the_virtual_clock_stands_still_while_there_is_work);
	tcase_add_test(t, a_signal_is_handled_by_the_loop_and_not_inside_the_signal);
	tcase_add_test(t, a_forked_child_has_nothing_of_its_parents_and_may_turn_itself);
	suite_add_tcase(s, t);
	return s;
}
