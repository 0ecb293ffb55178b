/* What is kept for aggregate reports: the line, and the files of days. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/file.h"
#include "policy/dkim.h"
#include "policy/evaluation.h"
#include "policy/spf.h"

static const struct ip ip = { .n = 4, .text = "192.0.2.7" };
static struct spf_result spf = { .code = SPF_PASS, .domain = "b.test" };
static struct dmarc_result dmarc = { .code = DMARC_FAIL, .policy = DMARC_P_REJECT, .published = DMARC_P_REJECT, .domain = "x.test", .policy_domain = "x.test",
	.record = { .p = DMARC_P_REJECT, .psd = 'u', .pct = 100, .fo = DMARC_FO_0, .ri = DMARC_RI }, .rua = "mailto:a@x.test" };

static struct evaluation what(int64_t time)
{
	return (struct evaluation){ .time = time, .ip = &ip, .dmarc = &dmarc, .done = DMARC_P_REJECT, .spf = &spf, .mail_from = STR("b.test"), .rcpt = STR("user@here.test") };
}

START_TEST(a_line_has_what_a_report_needs)
{
	struct evaluation e = what(1764300000);
	struct buf out = { 0 };
	struct dkim *d = dkim_new();

	dkim_add(d, STR("DKIM-Signature: v=1; a=rsa-sha256; d=sign.test; s=k1; h=from; bh=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=; b=AAAA\r\n\r\n"));
	dkim_end(d);
	dkim_give_up(d);
	ck_assert(evaluation_print(&out, &e));
	ck_assert_str_eq(buf_cstr(&out), "1 time=1764300000 ip=192.0.2.7 result=fail done=reject aligned= from=x.test mail=b.test to=here.test spf=pass:mfrom:b.test"
		" at=x.test p=reject adkim=r aspf=r t=n pct=100 fo=0 rua=mailto:a@x.test\n");
	buf_clear(&out);
	e.dkim = d;
	e.done = DMARC_P_NONE;
	e.why = DMARC_LOCAL_POLICY;
	e.rcpt = STR("");
	ck_assert(evaluation_print(&out, &e));
	ck_assert_str_eq(buf_cstr(&out), "1 time=1764300000 ip=192.0.2.7 result=fail done=none why=local_policy aligned= from=x.test mail=b.test spf=pass:mfrom:b.test"
		" dkim=temperror:sign.test:k1 at=x.test p=reject adkim=r aspf=r t=n pct=100 fo=0 rua=mailto:a@x.test\n");
	dkim_free(d);
	buf_free(&out);
}
END_TEST

START_TEST(a_line_is_one_line_whatever_is_in_it)
{
	struct dmarc_result odd = dmarc;
	struct evaluation e = what(1);
	struct buf out = { 0 };

	odd.code = DMARC_PASS;
	e.why = DMARC_MAILING_LIST;
	odd.spf_aligned = odd.dkim_aligned = true;
	snprintf(odd.rua, sizeof odd.rua, "mailto:a b%%\n@x.test");
	e.dmarc = &odd;
	e.mail_from = STR("b\r\n1 \xff");
	ck_assert(evaluation_print(&out, &e));
	ck_assert_ptr_eq(strchr(buf_cstr(&out), '\n'), out.p + out.n - 1);
	ck_assert_ptr_nonnull(strstr(out.p, " why=mailing_list aligned=dkim,spf "));
	ck_assert_ptr_nonnull(strstr(out.p, " mail=b%0D%0A1%20%FF "));
	ck_assert_ptr_nonnull(strstr(out.p, " rua=mailto:a%20b%25%0A@x.test\n"));
	buf_free(&out);
}
END_TEST

/* ---- files */

static char place[200];
static int dir = -1;
static struct daily kept;

static void setup(void)
{
	snprintf(place, sizeof place, "%s/evaluations.XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(place));
	dir = open(place, O_RDONLY | O_DIRECTORY);
	ck_assert_int_eq(evaluations_open(&kept, dir), 0);
}

static void teardown(void)
{
	daily_close(&kept);
	close(dir);
}

static long size_of(const char *name)
{
	struct stat st;

	return fstatat(dir, name, &st, 0) == -1 ? -1 : (long)st.st_size;
}

START_TEST(each_day_has_its_file_and_old_ones_go)
{
	struct evaluation e = what(86400LL * 20000 + 5);        /* 2024-10-04 */
	long one;

	evaluations_keep(&kept, &e);
	one = size_of("dmarc/2024-10-04");
	ck_assert_int_gt(one, 100);
	evaluations_keep(&kept, &e);
	ck_assert_int_eq(size_of("dmarc/2024-10-04"), 2 * one);
	daily_close(&kept);               /* another process, later that day */
	ck_assert_int_eq(evaluations_open(&kept, dir), 0);
	evaluations_keep(&kept, &e);
	ck_assert_int_eq(size_of("dmarc/2024-10-04"), 3 * one);
	close(openat(dir, "dmarc/notes", O_WRONLY | O_CREAT, 0600));
	e.time += 86400 * EVALUATION_DAYS;
	evaluations_keep(&kept, &e);
	ck_assert_int_eq(size_of("dmarc/2024-10-12"), one);
	ck_assert_int_eq(size_of("dmarc/2024-10-04"), 3 * one);
	e.time += 86400;
	evaluations_keep(&kept, &e);
	ck_assert_int_eq(size_of("dmarc/2024-10-04"), -1);
	ck_assert_int_eq(size_of("dmarc/notes"), 0);
}
END_TEST

START_TEST(a_day_has_a_limit)
{
	struct evaluation e = what(86400LL * 20000);
	int fd = openat(dir, "dmarc/2024-10-04", O_WRONLY | O_CREAT, 0600);

	ck_assert_int_eq(ftruncate(fd, EVALUATION_DAY_MAX - 100), 0);
	close(fd);
	evaluations_keep(&kept, &e);
	evaluations_keep(&kept, &e);
	ck_assert_int_eq(size_of("dmarc/2024-10-04"), EVALUATION_DAY_MAX - 100);
	e.time += 86400;
	evaluations_keep(&kept, &e);
	ck_assert_int_gt(size_of("dmarc/2024-10-05"), 0);
}
END_TEST

static ssize_t no_room(int fd, const void *p, size_t n) { (void)fd, (void)p, (void)n; errno = ENOSPC; return -1; }

START_TEST(a_disk_that_is_full_harms_nothing_else)
{
	struct evaluation e = what(86400LL * 20000);
	struct file_calls calls = file_sys;

	file_sys.write = no_room;
	evaluations_keep(&kept, &e);
	file_sys = calls;
	ck_assert(kept.full);
	e.time += 86400;
	evaluations_keep(&kept, &e);
	ck_assert(!kept.full);
}
END_TEST

Suite *policy_evaluation_suite(void);
Suite *policy_evaluation_suite(void)
{
	Suite *s = suite_create("policy_evaluation");
	TCase *t = tcase_create("line"), *files = tcase_create("files");

	tcase_add_test(t, a_line_has_what_a_report_needs);
	tcase_add_test(t, a_line_is_one_line_whatever_is_in_it);
	suite_add_tcase(s, t);
	tcase_add_checked_fixture(files, setup, teardown);
	tcase_add_test(files, each_day_has_its_file_and_old_ones_go);
	tcase_add_test(files, a_day_has_a_limit);
	tcase_add_test(files, a_disk_that_is_full_harms_nothing_else);
	suite_add_tcase(s, files);
	return s;
}
