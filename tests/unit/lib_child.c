/* Helper processes: messages both ways, ends of all kinds, and nothing inherited. */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/child.h"
#include "lib/log.h"
#include "lib/rand.h"

enum { TURNS = 2000 };                  /* of 10 ms: a bound, not a wait */

static unsigned messages, ends;
static struct buf last;                 /* the last message */
static size_t last_fds;

static void message(struct child *c, const void *p, size_t n, int *fds, size_t nfds)
{
	(void)c;
	messages++;
	last_fds = nfds;
	for (size_t i = 0; i < nfds; i++)
		close(fds[i]);
	buf_clear(&last);
	buf_add(&last, p, n);
}

static void gone(struct child *c)
{
	ck_assert_int_eq(c->pid, 0);
	ends++;
}

static struct child child = { .name = "test", .message = message, .gone = gone };

static void setup(void)
{
	signal(SIGPIPE, SIG_IGN);
	log_open("/dev/null");
}

static void teardown(void)
{
	child_stop(&child);
	buf_free(&last);
}

static void start(int (*life)(int, void *), void *arg)
{
	ck_assert_int_eq(child_start(&child, life, arg), 0);
}

static void await(const unsigned *what, unsigned n)
{
	for (int i = 0; i < TURNS && *what < n; i++)
		loop_turn(10);
	ck_assert_uint_eq(*what, n);
}

/* Says what it heard, and how many descriptors came with it, in front. */
static int echo(int socket, void *arg)
{
	static unsigned char data[CHILD_MESSAGE];
	static int fds[CHILD_FDS];

	(void)arg;
	for (;;) {
		size_t nfds = CHILD_FDS;
		ssize_t n = child_receive(socket, data, sizeof data, fds, &nfds);

		if (n <= 0)
			return 0;
		for (size_t i = 0; i < nfds; i++)
			close(fds[i]);
		if (nfds)
			data[0] = (unsigned char)nfds;
		if (child_reply(socket, data, (size_t)n) == -1)
			return 1;
	}
}

/* ---- messages */

static const size_t sizes[] = { 1, 4096, 4097, 30000, CHILD_MESSAGE };

START_TEST(a_message_of_any_size_comes_whole_in_both_directions)
{
	size_t n = sizes[_i];
	unsigned char *data = malloc(n);

	rand_bytes(data, n);
	start(echo, NULL);
	ck_assert_int_eq(child_send(&child, data, n, NULL, 0), 0);
	await(&messages, 1);
	ck_assert_uint_eq(last.n, n);
	ck_assert_mem_eq(last.p, data, n);
	free(data);
}
END_TEST

START_TEST(what_is_no_message_is_refused)
{
	static const char data[CHILD_MESSAGE + 1];
	int fds[CHILD_FDS + 1] = { 0 };

	ck_assert_int_eq(child_send(&child, "x", 1, NULL, 0), -1);
	ck_assert_int_eq(errno, ESRCH);
	start(echo, NULL);
	ck_assert_int_eq(child_send(&child, data, sizeof data, NULL, 0), -1);
	ck_assert_int_eq(errno, EMSGSIZE);
	ck_assert_int_eq(child_send(&child, data, 0, NULL, 0), -1);
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_int_eq(child_send(&child, data, 1, fds, CHILD_FDS + 1), -1);
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_int_eq(child_send(&child, "x", 1, NULL, 0), 0);
	await(&messages, 1);            /* and it lives */
}
END_TEST

START_TEST(the_most_descriptors_go_with_one_message)
{
	int fds[CHILD_FDS];

	for (int i = 0; i < CHILD_FDS; i++)
		fds[i] = STDIN_FILENO;
	start(echo, NULL);
	for (unsigned i = 1; i <= 5; i++) {     /* the child closes them, else it would run out */
		ck_assert_int_eq(child_send(&child, "x", 1, fds, CHILD_FDS), 0);
		await(&messages, i);
		ck_assert_int_eq((unsigned char)last.p[0], CHILD_FDS);
	}
}
END_TEST

/* Its main() has a raw socket: what child_reply() cannot do, a helper of another kind may. */
static int sends_descriptors(int socket, void *arg)
{
	char octet = 'f', control[CMSG_SPACE(2 * sizeof(int))] = { 0 };
	struct iovec iov = { &octet, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	int fds[2] = { 0, 1 };

	(void)arg;
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof fds);
	memcpy(CMSG_DATA(c), fds, sizeof fds);
	if (sendmsg(socket, &m, 0) != 1)
		return 1;
	return echo(socket, NULL);
}

START_TEST(descriptors_come_from_the_child_too)
{
	start(sends_descriptors, NULL);
	await(&messages, 1);
	ck_assert_uint_eq(last_fds, 2);
	ck_assert_int_eq(last.p[0], 'f');
}
END_TEST

/* Room for one octet and one descriptor: tells errno, or how many descriptors it got. */
static int small_room(int socket, void *arg)
{
	(void)arg;
	for (;;) {
		int fd[1] = { -1 };
		size_t nfds = 1;
		char octet;
		ssize_t n = child_receive(socket, &octet, 1, fd, &nfds);
		int told = n == -1 ? errno : (int)nfds;

		if (n == 0 || child_reply(socket, &told, sizeof told) == -1)
			return 0;
		if (fd[0] != -1)
			close(fd[0]);
	}
}

static int told(void)
{
	int x;

	ck_assert_uint_eq(last.n, sizeof x);
	memcpy(&x, last.p, sizeof x);
	return x;
}

START_TEST(half_a_message_is_an_error_and_no_message)
{
	int fds[3] = { 0, 0, 0 };

	start(small_room, NULL);
	ck_assert_int_eq(child_send(&child, "xy", 2, NULL, 0), 0);
	await(&messages, 1);
	ck_assert_int_eq(told(), EMSGSIZE);
	ck_assert_int_eq(child_send(&child, "x", 1, fds, 3), 0);
	await(&messages, 2);
	ck_assert_int_eq(told(), 1);            /* those without room are closed */
}
END_TEST

static int floods(int socket, void *arg)
{
	static const char data[1000];

	(void)arg;
	for (int i = 0; i < 500; i++)
		if (child_reply(socket, data, sizeof data) == -1)
			return 1;
	return 0;
}

START_TEST(all_that_a_child_said_is_heard_before_it_is_gone)
{
	start(floods, NULL);
	await(&ends, 1);
	ck_assert_uint_eq(messages, 500);
}
END_TEST

static int deaf(int socket, void *arg)
{
	(void)socket;
	(void)arg;
	while (pause() == -1)
		;
	return 0;
}

START_TEST(sending_to_a_deaf_child_does_not_block)
{
	static const char data[CHILD_MESSAGE];
	int n = 0;

	start(deaf, NULL);
	while (n < 1000 && child_send(&child, data, sizeof data, NULL, 0) == 0)
		n++;
	ck_assert_int_eq(errno, EAGAIN);
	ck_assert_int_lt(n, 1000);
	ck_assert_uint_eq(ends, 0);
}
END_TEST

/* ---- ends */

static int returns(int socket, void *arg)
{
	(void)socket;
	return *(int *)arg;
}

static int sends_nothing(int socket, void *arg)
{
	(void)arg;
	send(socket, "", 0, 0);
	return deaf(socket, NULL);
}

START_TEST(a_child_that_ends_is_gone_once_and_can_be_started_again)
{
	int status = 7;

	start(returns, &status);
	await(&ends, 1);
	start(echo, NULL);
	ck_assert_int_eq(child_send(&child, "x", 1, NULL, 0), 0);
	await(&messages, 1);
	ck_assert_int_eq(kill(child.pid, SIGKILL), 0);
	await(&ends, 2);
	for (int i = 0; i < 5; i++)
		loop_turn(0);
	ck_assert_uint_eq(ends, 2);
	start(sends_nothing, NULL);             /* an empty message cannot be told from the end: then it is the end */
	await(&ends, 3);
}
END_TEST

START_TEST(a_stopped_child_is_not_told_of)
{
	pid_t pid;

	start(deaf, NULL);
	pid = child.pid;
	child_stop(&child);
	child_stop(&child);
	ck_assert_int_eq(child.pid, 0);
	for (int i = 0; i < TURNS && kill(pid, 0) == 0; i++)
		loop_turn(10);                  /* reaped in passing */
	ck_assert_int_eq(kill(pid, 0), -1);
	ck_assert_uint_eq(ends, 0);
}
END_TEST

START_TEST(many_may_be_stopped_and_none_is_left_behind)
{
	pid_t pid[8];

	for (int i = 0; i < 8; i++) {
		start(deaf, NULL);
		pid[i] = child.pid;
		kill(pid[i], SIGSTOP);
		child_stop(&child);
	}
	for (int i = 0; i < 8; i++)
		for (int k = 0; k < TURNS && kill(pid[i], 0) == 0; k++)
			loop_turn(10);
	for (int i = 0; i < 8; i++)
		ck_assert_int_eq(kill(pid[i], 0), -1);
}
END_TEST

START_TEST(at_the_end_none_that_was_stopped_is_left)
{
	pid_t pid[8];

	for (int i = 0; i < 8; i++) {
		start(deaf, NULL);
		pid[i] = child.pid;
		child_stop(&child);
	}
	child_settle();
	for (int i = 0; i < 8; i++)
		ck_assert_int_eq(kill(pid[i], 0), -1);
}
END_TEST

static void stop_in_message(struct child *c, const void *p, size_t n, int *fds, size_t nfds)
{
	message(c, p, n, fds, nfds);
	child_stop(c);
}

START_TEST(a_child_may_be_stopped_by_its_own_message)
{
	child.message = stop_in_message;
	start(floods, NULL);
	await(&messages, 1);
	for (int i = 0; i < 5; i++)
		loop_turn(0);
	ck_assert_uint_eq(messages, 1);
	ck_assert_uint_eq(ends, 0);
	child.message = message;
	start(floods, NULL);
	await(&ends, 1);
	ck_assert_uint_eq(messages, 501);
}
END_TEST

/* Started with SIGCHLD ignored, a program's children would be reaped behind its back and their pids used anew. */
START_TEST(a_child_is_reaped_by_us_whatever_we_were_started_with)
{
	int status = 0;

	signal(SIGCHLD, SIG_IGN);
	start(returns, &status);
	for (int i = 0; i < TURNS && waitid(P_PID, (id_t)child.pid, &(siginfo_t){ 0 }, WEXITED | WNOWAIT) == -1 && errno == EINTR; i++)
		;
	ck_assert_int_eq(kill(child.pid, 0), 0);        /* dead, but ours still */
	await(&ends, 1);
}
END_TEST

/* Two generations: the parent of the helper dies, and we see the end of a pipe that only the helper holds (as its descriptor 2). */
START_TEST(the_death_of_its_parent_ends_a_child)
{
	int fd[2], status;
	char octet;
	pid_t parent;

	ck_assert_int_eq(pipe(fd), 0);
	parent = fork();
	if (parent == 0) {
		static struct child mine = { .name = "grandchild", .message = message, .gone = gone };

		dup2(fd[1], STDERR_FILENO);
		close(fd[0]);
		close(fd[1]);
		loop_after_fork();
		if (child_start(&mine, echo, NULL) == -1 || write(STDERR_FILENO, "s", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(fd[1]);
	ck_assert_int_eq(read(fd[0], &octet, 1), 1);
	kill(parent, SIGKILL);
	ck_assert_int_eq(waitpid(parent, &status, 0), parent);
	ck_assert_int_eq(read(fd[0], &octet, 1), 0);    /* nobody holds it any more */
	close(fd[0]);
}
END_TEST

/* ---- birth */

static int lists_descriptors(int socket, void *arg)
{
	struct buf out = { 0 };
	DIR *d = opendir("/proc/self/fd");

	(void)arg;
	for (struct dirent *e; d && (e = readdir(d)); )
		if (e->d_name[0] != '.' && atoi(e->d_name) != dirfd(d))
			buf_printf(&out, "%s ", e->d_name);
	return child_reply(socket, out.p, out.n) == -1 ? 1 : echo(socket, NULL);
}

/* Check holds some among 0, 1, 2 or not: what counts is that there is nothing but those and the socket. */
START_TEST(a_child_inherits_no_descriptor)
{
	static struct child first = { .name = "first", .message = message, .gone = gone };
	int fds[20];
	struct str list, fd;
	uint64_t n, most = (uint64_t)sysconf(_SC_OPEN_MAX);     /* valgrind keeps its own ones beyond */

	for (int i = 0; i < 20; i++)
		fds[i] = open("/dev/null", O_RDONLY);
	loop_on_signal(SIGUSR1, NULL);
	ck_assert_int_eq(child_start(&first, echo, NULL), 0);   /* nor the socket of another child */
	start(lists_descriptors, NULL);
	await(&messages, 1);
	list = buf_view(&last);
	while (str_word(&list, &fd))
		ck_assert_msg(str_number(fd, INT_MAX, &n) && (n <= 3 || n >= most), "the child has descriptor " STR_FMT, STR_ARG(fd));
	child_stop(&first);
	for (int i = 0; i < 20; i++)
		close(fds[i]);
}
END_TEST

/* Without 0, 1 and 2 the socket pair itself gets these numbers: the parent's end must not stay in the child. */
START_TEST(a_child_of_a_process_without_standard_descriptors_ends_with_it)
{
	int keep[3], status = -1;
	pid_t parent;

	for (int i = 0; i < 3; i++)
		keep[i] = fcntl(i, F_DUPFD_CLOEXEC, 10);
	parent = fork();
	if (parent == 0) {
		static struct child mine = { .name = "grandchild", .message = message, .gone = gone };

		for (int i = 0; i < 3; i++)
			close(i);
		loop_after_fork();
		if (child_start(&mine, echo, NULL) == -1)
			_exit(1);
		close(mine.io.fd);
		/* ended by the end of its socket, not by a signal */
		_exit(waitpid(mine.pid, &status, 0) == mine.pid && WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : 2);
	}
	ck_assert_int_eq(waitpid(parent, &status, 0), parent);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 0);
	for (int i = 0; i < 3; i++)
		if (keep[i] != -1)
			close(keep[i]);
}
END_TEST

static const int group_signals[] = { SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGPIPE };

START_TEST(signals_for_the_whole_group_do_not_end_a_child)
{
	start(echo, NULL);
	ck_assert_int_eq(child_send(&child, "a", 1, NULL, 0), 0);
	await(&messages, 1);
	ck_assert_int_eq(kill(child.pid, group_signals[_i]), 0);
	ck_assert_int_eq(child_send(&child, "b", 1, NULL, 0), 0);
	await(&messages, 2);
	ck_assert_uint_eq(ends, 0);
}
END_TEST

static int random_numbers(int socket, void *arg)
{
	uint64_t x = rand_u64();

	(void)arg;
	child_reply(socket, &x, sizeof x);
	return echo(socket, NULL);
}

START_TEST(a_child_has_chance_of_its_own)
{
	uint64_t mine, its;

	rand_u64();
	start(random_numbers, NULL);
	mine = rand_u64();
	await(&messages, 1);
	ck_assert_uint_eq(last.n, sizeof its);
	memcpy(&its, last.p, sizeof its);
	ck_assert_uint_ne(mine, its);
}
END_TEST

#define ROWS(table) (int)(sizeof(table) / sizeof *(table))

Suite *lib_child_suite(void);
Suite *lib_child_suite(void)
{
	Suite *s = suite_create("lib_child");
	TCase *t = tcase_create("child");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, a_message_of_any_size_comes_whole_in_both_directions, 0, ROWS(sizes));
	tcase_add_test(t, what_is_no_message_is_refused);
	tcase_add_test(t, the_most_descriptors_go_with_one_message);
	tcase_add_test(t, descriptors_come_from_the_child_too);
	tcase_add_test(t, half_a_message_is_an_error_and_no_message);
	tcase_add_test(t, all_that_a_child_said_is_heard_before_it_is_gone);
	tcase_add_test(t, sending_to_a_deaf_child_does_not_block);
	tcase_add_test(t, a_child_that_ends_is_gone_once_and_can_be_started_again);
	tcase_add_test(t, a_stopped_child_is_not_told_of);
	tcase_add_test(t, many_may_be_stopped_and_none_is_left_behind);
	tcase_add_test(t, at_the_end_none_that_was_stopped_is_left);
	tcase_add_test(t, a_child_may_be_stopped_by_its_own_message);
	tcase_add_test(t, a_child_is_reaped_by_us_whatever_we_were_started_with);
	tcase_add_test(t, the_death_of_its_parent_ends_a_child);
	tcase_add_test(t, a_child_inherits_no_descriptor);
	tcase_add_test(t, a_child_of_a_process_without_standard_descriptors_ends_with_it);
	tcase_add_loop_test(t, signals_for_the_whole_group_do_not_end_a_child, 0, ROWS(group_signals));
	tcase_add_test(t, a_child_has_chance_of_its_own);
	suite_add_tcase(s, t);
	return s;
}
