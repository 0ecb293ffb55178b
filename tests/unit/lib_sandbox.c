/* The sandbox: what is in force is refused by the kernel, and what a mail server does goes on. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/sandbox.h"
#include "tests/tree.h"

static char dir[64], in[80], out[80];

static void setup(void)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(dir, sizeof dir, "%.40s/sandbox.XXXXXX", tmp ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(in, sizeof in, "%s/in", dir);
	snprintf(out, sizeof out, "%s/out", dir);
	ck_assert_int_eq(mkdir(in, 0700), 0);
	ck_assert_int_eq(mkdir(out, 0700), 0);
}

static void teardown(void)
{
	tree_remove(dir);
}

/* 0, or the errno of making the file. */
static int make(const char *below, const char *name)
{
	char path[120];
	int fd;

	snprintf(path, sizeof path, "%s/%s", below, name);
	fd = open(path, O_WRONLY | O_CREAT, 0600);
	if (fd == -1)
		return errno;
	close(fd);
	return 0;
}

static int move(const char *from, const char *to)
{
	char a[120], b[120];

	snprintf(a, sizeof a, "%s/%s", in, from);
	snprintf(b, sizeof b, "%s/%s", in, to);
	return rename(a, b) == 0 ? 0 : errno;
}

/* Each step in a process of its own, which cannot leave the sandbox again. The exit status is the first thing that was not as it must be. */
static int confined(bool executes)
{
	const char *place[] = { in, "/nonexistent" };
	struct buf why = { 0 };
	unsigned force = sandbox_enter(&(struct sandbox){ .place = place, .n = 2, .executes = executes }, &why);
	bool all = force == (SANDBOX_FILES | SANDBOX_CALLS | (executes ? 0u : SANDBOX_EXECUTE));
	char sub[100];
	int fd;

	if (all != (why.n == 0))
		return 2;               /* what is not in force has a reason */
	if (!(force & SANDBOX_FILES) && force & SANDBOX_EXECUTE)
		return 3;
	snprintf(sub, sizeof sub, "%s/sub", in);
	if (make(in, "a") != 0 || mkdir(sub, 0700) != 0 || move("a", "sub/b") != 0 || make(in, "sub/b") != 0)
		return 4;
	if (force & SANDBOX_FILES && (make(out, "new") != EACCES || make(out, "there") != EACCES))
		return 5;
	snprintf(sub, sizeof sub, "%s/there", out);
	if ((fd = open(sub, O_RDONLY)) == -1 || (fd = open("/dev/null", O_WRONLY)) == -1)
		return 6;
	if (force & SANDBOX_CALLS && (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != -1 || errno != EPERM))
		return 7;
	execl("/bin/true", "true", (char *)NULL);
	return force & SANDBOX_EXECUTE && errno == EACCES ? 0 : 8;
}

START_TEST(what_is_given_up_is_gone_and_the_rest_goes_on)
{
	int status;
	pid_t pid;

	ck_assert_int_eq(make(out, "there"), 0);
	fflush(NULL);
	pid = fork();
	ck_assert_int_ne(pid, -1);
	if (pid == 0)
		_exit(confined(_i == 1));
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 0);
}
END_TEST

Suite *lib_sandbox_suite(void);
Suite *lib_sandbox_suite(void)
{
	Suite *s = suite_create("lib_sandbox");
	TCase *t = tcase_create("sandbox");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, what_is_given_up_is_gone_and_the_rest_goes_on, 0, 2);
	suite_add_tcase(s, t);
	return s;
}
