/* The process that stays root: what it may be asked, and what it never does. What only root can do is tried by root alone. */
#include "lib/root.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/list.h"
#include "lib/log.h"

Suite *lib_root_suite(void);

START_TEST(requests_are_a_letter_and_a_name)
{
	static const struct {
		const char *text;
		size_t n;
		enum root_request what;
	} rows[] = {
		{ "uanna", 5, ROOT_USER }, { "u_a.b-c+d", 9, ROOT_USER }, { "o/etc/key", 9, ROOT_OPEN }, { "o./key", 6, ROOT_OPEN },
		{ "", 0, ROOT_WRONG }, { "u", 1, ROOT_WRONG }, { "o", 1, ROOT_WRONG }, { "xanna", 5, ROOT_WRONG }, { "Uanna", 5, ROOT_WRONG },
		{ "u-rf", 4, ROOT_WRONG }, { "u../x", 5, ROOT_WRONG }, { "u.x", 3, ROOT_WRONG }, { "ua/b", 4, ROOT_WRONG }, { "ua b", 4, ROOT_WRONG },
		{ "ua:b", 4, ROOT_WRONG }, { "ua\nb", 4, ROOT_WRONG }, { "uanna\0", 6, ROOT_WRONG }, { "ua\0b", 4, ROOT_WRONG }, { "u\xc3\xa4", 3, ROOT_WRONG },
		{ "o/etc/key\0", 10, ROOT_WRONG },
	};
	char name[ROOT_MESSAGE], large[ROOT_MESSAGE + 1];

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		ck_assert_msg(root_parse(rows[i].text, rows[i].n, name) == rows[i].what, "row %zu", i);
		if (rows[i].what != ROOT_WRONG)
			ck_assert_str_eq(name, rows[i].text + 1);
	}
	memset(large, 'u', sizeof large);
	ck_assert_int_eq(root_parse(large, 65, name), ROOT_WRONG);
	ck_assert_int_eq(root_parse(large, 64, name), ROOT_USER);
	large[0] = 'o';
	ck_assert_int_eq(root_parse(large, ROOT_MESSAGE, name), ROOT_OPEN);
	ck_assert_int_eq(root_parse(large, sizeof large, name), ROOT_WRONG);
}
END_TEST

/* ---- as root */

static struct child pupil;
static char heard[4][200];
static size_t nheard;
static bool left;

static void listen_to(struct child *c, const void *data, size_t n, int *fds, size_t nfds)
{
	(void)c;
	(void)fds;
	ck_assert_uint_eq(nfds, 0);
	ck_assert_uint_lt(nheard, 4);
	memcpy(heard[nheard++], data, n < sizeof heard[0] ? n : sizeof heard[0]);
}

static void pupil_gone(struct child *c)
{
	(void)c;
	left = true;
}

static unsigned open_descriptors(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) != -1;
	return n;
}

static bool hangs;

/* Tells who it is, then waits for its end. */
static int tell(int socket, const struct account *a)
{
	char text[200];
	gid_t groups[64];
	int n, left_over = 0, of_parents_end = 0;

	if (hangs) {
		snprintf(text, sizeof text, "%ld", (long)getpid());
		child_reply(socket, text, strlen(text) + 1);
		for (;;)
			pause();
	}
	n = getgroups(64, groups);
	for (int i = 0; i < n; i++)
		left_over += groups[i] == 0;
	prctl(PR_GET_PDEATHSIG, &of_parents_end);
	snprintf(text, sizeof text, "%s %d %d %d %u %s %d %s", a->name, getuid() == a->uid && geteuid() == a->uid, getgid() == a->gid, left_over,
		open_descriptors(), getenv("HOME"), setuid(0) == 0 || seteuid(0) == 0, of_parents_end ? "told" : "not told");
	child_reply(socket, text, strlen(text) + 1);
	child_receive(socket, text, sizeof text, NULL, &(size_t){ 0 });
	return 0;
}

static const char *files[2];
static char secret[64];

static struct root_config config = { .file = files, .nfiles = 1, .main = tell };

static bool set_up(void)
{
	int fd;

	if (geteuid() != 0 || !getpwnam("nobody"))
		return false;
	log_threshold(LOG_ERROR + 1);
	snprintf(secret, sizeof secret, "/tmp/fardel-root-XXXXXX");
	fd = mkstemp(secret);
	ck_assert_int_ne(fd, -1);
	ck_assert_int_eq(write(fd, "secret", 6), 6);
	close(fd);
	files[0] = secret;
	ck_assert_int_eq(root_start(&config), 0);
	return true;
}

static void tear_down(void)
{
	child_stop(&pupil);
	root_stop();
	unlink(secret);
}

static void begin(const char *user)
{
	nheard = 0;
	left = false;
	pupil = (struct child){ .name = "pupil", .message = listen_to, .gone = pupil_gone };
	for (int i = 0; root_child(&pupil, user) == -1; i++) {  /* the process may have much to read yet */
		ck_assert_int_eq(errno, EAGAIN);
		ck_assert_int_lt(i, 1000);
		loop_turn(10);
	}
}

static void hear(size_t n)
{
	for (int i = 0; i < 500 && nheard < n && !left; i++)
		loop_turn(20);
}

static enum root_status status_of(const char *user)
{
	struct root_hello h;

	begin(user);
	hear(1);
	ck_assert_uint_ge(nheard, 1);
	memcpy(&h, heard[0], sizeof h);
	return h.status;
}

START_TEST(children_are_the_user_and_nothing_else)
{
	char expected[300];
	struct passwd *pw;

	if (!set_up())
		return;
	pw = getpwnam("nobody");
	ck_assert_int_eq(status_of("nobody"), ROOT_READY);
	hear(2);
	snprintf(expected, sizeof expected, "nobody 1 1 0 4 %s 0 told", pw->pw_dir);
	ck_assert_str_eq(heard[1], expected);
	tear_down();
}
END_TEST

START_TEST(nobody_becomes_root_or_who_does_not_exist)
{
	if (!set_up())
		return;
	ck_assert_int_eq(status_of("root"), ROOT_IS_ROOT);
	child_stop(&pupil);
	ck_assert_int_eq(status_of("no-such-account-here"), ROOT_NOBODY);
	child_stop(&pupil);
	begin("../../root");
	hear(1);
	ck_assert(left && !nheard);
	tear_down();
}
END_TEST

START_TEST(only_files_that_were_named_are_opened)
{
	char twice[80], text[8] = "";
	int fd;

	if (!set_up())
		return;
	fd = root_open(secret);
	ck_assert_int_ne(fd, -1);
	ck_assert_int_eq(read(fd, text, sizeof text), 6);
	ck_assert_int_eq(write(fd, "x", 1), -1);
	close(fd);
	snprintf(twice, sizeof twice, "/tmp/.%s", secret + 4);
	ck_assert_int_eq(root_open("/etc/shadow"), -1);
	ck_assert_int_eq(errno, EACCES);
	ck_assert_int_eq(root_open(twice), -1);
	unlink(secret);
	ck_assert_int_eq(root_open(secret), -1);
	ck_assert_int_eq(errno, ENOENT);
	ck_assert_int_eq(mkfifo(secret, 0600), 0);
	ck_assert_int_eq(root_open(secret), -1);        /* and it did not wait for a writer */
	ck_assert_int_eq(errno, EINVAL);
	tear_down();
}
END_TEST

/* What it was told to do nothing but hang: not even its end moves it. */
START_TEST(a_child_that_hangs_is_killed_when_its_socket_is_closed)
{
	pid_t pid = 0;

	if (!set_up())
		return;
	hangs = true;
	root_stop();
	ck_assert_int_eq(root_start(&config), 0);
	ck_assert_int_eq(status_of("nobody"), ROOT_READY);
	hear(2);
	pid = (pid_t)atol(heard[1]);
	ck_assert_int_gt(pid, 1);
	ck_assert_int_eq(kill(pid, 0), 0);
	ck_assert_int_eq(kill(pid, SIGSTOP), 0);
	child_stop(&pupil);
	for (int i = 0; i < 500 && kill(pid, 0) == 0; i++)
		loop_turn(20);
	ck_assert_int_eq(kill(pid, 0), -1);
	tear_down();
}
END_TEST

START_TEST(garbage_is_answered_by_closing_and_harms_nobody)
{
	static const char *const garbage[] = { "", "u", "o", "uroot/../x", "zzzz", "u-rf" };
	struct child *c = root_helper();
	char large[8000];
	int pair[2];

	if (!set_up())
		return;
	memset(large, 'u', sizeof large);
	for (int i = 0; i < 500; i++) {
		const char *text = garbage[i % 6];
		int fd = i % 3 ? open("/dev/null", O_RDONLY | O_CLOEXEC) : -1;

		child_send(c, *text ? text : large, *text ? strlen(text) : sizeof large, &fd, fd == -1 ? 0 : 1);
		child_send(c, "unobody", 7, &fd, fd == -1 ? 0 : 1);     /* no socket to talk over */
		if (fd != -1)
			close(fd);
		loop_turn(0);
	}
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	child_send(c, "unobody", 7, &pair[1], 1);                       /* nor one of another kind */
	close(pair[0]);
	close(pair[1]);
	ck_assert_int_eq(status_of("nobody"), ROOT_READY);
	tear_down();
}
END_TEST

START_TEST(one_user_takes_not_all_places)
{
	struct child many[ROOT_CHILDREN_EACH + 1];

	if (!set_up())
		return;
	for (size_t i = 0; i <= ROOT_CHILDREN_EACH; i++) {
		many[i] = (struct child){ .name = "pupil", .message = listen_to, .gone = pupil_gone };
		nheard = 0;
		left = false;
		ck_assert_int_eq(root_child(&many[i], "nobody"), 0);
		hear(2);
		ck_assert_uint_eq(left, i == ROOT_CHILDREN_EACH);
	}
	for (size_t i = 0; i <= ROOT_CHILDREN_EACH; i++)
		child_stop(&many[i]);
	for (int i = 0; i < 500 && left; i++) {         /* a place is free when its child has ended */
		begin("nobody");
		hear(2);
		loop_turn(10);
	}
	ck_assert(!left);
	tear_down();
}
END_TEST

Suite *lib_root_suite(void)
{
	Suite *s = suite_create("lib_root");
	TCase *t = tcase_create("root");

	tcase_add_test(t, requests_are_a_letter_and_a_name);
	tcase_add_test(t, children_are_the_user_and_nothing_else);
	tcase_add_test(t, nobody_becomes_root_or_who_does_not_exist);
	tcase_add_test(t, only_files_that_were_named_are_opened);
	tcase_add_test(t, a_child_that_hangs_is_killed_when_its_socket_is_closed);
	tcase_add_test(t, garbage_is_answered_by_closing_and_harms_nobody);
	tcase_add_test(t, one_user_takes_not_all_places);
	suite_add_tcase(s, t);
	return s;
}
