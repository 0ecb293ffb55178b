/* Giving up root: who may be become, what is made for it, and that there is no way back. What only root can do is tried by root alone. */
#include <check.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/account.h"

Suite *lib_account_suite(void);

START_TEST(root_and_nobody_known_are_no_accounts_to_become)
{
	struct passwd *me = getpwuid(geteuid());
	struct account a;

	ck_assert_ptr_nonnull(strstr(account_find("root", &a), "nothing would be given up"));
	ck_assert_ptr_nonnull(strstr(account_find("no-such-account-here", &a), "no account of this system"));
	if (me && me->pw_uid != 0) {
		ck_assert_ptr_null(account_find(me->pw_name, &a));
		ck_assert_uint_eq(a.uid, me->pw_uid);
		ck_assert_uint_eq(a.gid, me->pw_gid);
	}
}
END_TEST

/* In a child, for the rights do not come back. 0, or the line that found otherwise. */
static int give_up(const struct account *a)
{
	const char *step;
	char why[256];

	if (account_become(a, &step) == -1)
		return __LINE__;
	if (getuid() != a->uid || geteuid() != a->uid || getgid() != a->gid || getegid() != a->gid)
		return __LINE__;
	if (setuid(0) == 0 || seteuid(0) == 0 || setgid(0) == 0)
		return __LINE__;
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1 || prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0)
		return __LINE__;
	return account_settle(a, why, sizeof why) == 0 ? 0 : __LINE__;   /* it is that account already */
}

START_TEST(there_is_no_way_back)
{
	struct account a;
	int status;
	pid_t pid;

	if (geteuid() != 0 || account_find("nobody", &a))
		return;
	pid = fork();
	if (pid == 0)
		_exit(give_up(&a));
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "line %d", WEXITSTATUS(status));
}
END_TEST

START_TEST(another_account_cannot_be_become_without_root)
{
	struct account a = { .name = "x", .uid = geteuid() + 1, .gid = getegid() };
	char why[256] = "";

	if (geteuid() == 0)
		return;
	ck_assert_int_eq(account_settle(&a, why, sizeof why), -1);
	ck_assert_ptr_nonnull(strstr(why, "user = x needs root"));
}
END_TEST

START_TEST(the_first_missing_directory_is_made_and_given_away)
{
	char top[] = "/tmp/fardel-unit.XXXXXX", one[64], deep[64];
	struct account a = { .name = "x", .uid = geteuid() == 0 ? 65534 : geteuid() + 1, .gid = getegid() };
	struct stat st;

	if (geteuid() != 0)
		return;
	ck_assert_ptr_nonnull(mkdtemp(top));
	snprintf(one, sizeof one, "%s/one", top);
	snprintf(deep, sizeof deep, "%s/one//two/three/", top);
	ck_assert_int_eq(account_make_first(&a, deep, 0700), 0);
	ck_assert_int_eq(stat(one, &st), 0);
	ck_assert_uint_eq(st.st_uid, a.uid);
	ck_assert_uint_eq(st.st_mode & 07777, 0700);
	/* What is below it the account makes itself: root does nothing where others can change the ways. */
	ck_assert_int_eq(account_make_first(&a, deep, 0700), 0);
	snprintf(deep, sizeof deep, "%s/one/two", top);
	ck_assert_int_eq(stat(deep, &st), -1);
	/* What is there stays as it is. */
	ck_assert_int_eq(account_make_first(&a, top, 0700), 0);
	ck_assert_int_eq(stat(top, &st), 0);
	ck_assert_uint_eq(st.st_uid, 0);
	rmdir(one);
	ck_assert_int_eq(account_make_first(&a, one, 0755), 0);
	ck_assert_int_eq(stat(one, &st), 0);
	ck_assert_uint_eq(st.st_uid, a.uid);
	ck_assert_uint_eq(st.st_mode & 07777, 0755);
	rmdir(one);
	rmdir(top);
}
END_TEST

Suite *lib_account_suite(void)
{
	Suite *s = suite_create("lib_account");
	TCase *c = tcase_create("account");

	tcase_add_test(c, root_and_nobody_known_are_no_accounts_to_become);
	tcase_add_test(c, there_is_no_way_back);
	tcase_add_test(c, another_account_cannot_be_become_without_root);
	tcase_add_test(c, the_first_missing_directory_is_made_and_given_away);
	suite_add_tcase(s, c);
	return s;
}
