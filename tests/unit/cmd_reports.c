/* Reports of DMARC and TLS: kept as they come, counted and told by `fardel reports`. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/fardel.h"
#include "cmd/reports.h"
#include "lib/log.h"
#include "lib/loop.h"
#include "tests/queue_rig.h"

Suite *cmd_reports_suite(void);

static void setup(void)
{
	rig_open();
	log_threshold(LOG_ERROR);
	ck_assert_int_eq(reports_start(queue_dir()), 0);
}

static void teardown(void)
{
	reports_stop();
	rig_close();
}

static char told[65536];

/* What it says with these words behind it, three at most; its exit status. */
static int reports(const char *a, const char *b, const char *c)
{
	char queue[300];
	const char *words[] = { "reports", "-c", "/dev/null", "-o", queue, a, b, c, NULL };
	char **argv = (char **)(uintptr_t)words;
	int argc = 5 + (a != NULL) + (b != NULL) + (c != NULL), out = dup(1), status;
	FILE *to = tmpfile();
	size_t n;

	snprintf(queue, sizeof queue, "queue=%s", rig.dir);
	fflush(stdout);
	dup2(fileno(to), 1);
	status = cmd_reports(argc, argv);
	fflush(stdout);
	dup2(out, 1);
	close(out);
	rewind(to);
	n = fread(told, 1, sizeof told - 1, to);
	told[n] = '\0';
	fclose(to);
	return status;
}

#define HAS(text) ck_assert_msg(strstr(told, text) != NULL, "no \"%s\" in: %s", text, told)
#define HAS_NOT(text) ck_assert_msg(strstr(told, text) == NULL, "\"%s\" in: %s", text, told)

#define DMARC(org, id, domain) " kind=dmarc org=" org " report=" id " begin=1795910400 end=1795996799 domain=" domain " p=none rows=2 n=52\n"

static void keep(const char *lines) { reports_keep("6b0c3d50a1b2c3d4e5f60718", "192.0.2.1", str_of(lines)); }

START_TEST(sources_are_counted_and_what_can_be_done_is_told)
{
	keep(DMARC("google.com", "1", "a.test") " ip=192.0.2.7 n=12 dkim=pass spf=fail done=none from=a.test\n"
		" ip=203.0.113.9 n=40 dkim=fail spf=fail done=reject from=a.test\n");
	keep(DMARC("Enterprise%20Outlook", "1", "a.test") " ip=192.0.2.7 n=3 dkim=pass spf=pass done=none\n"
		" ip=2001:db8::1 n=2 dkim=fail spf=fail done=quarantine signed=mailer.test:pass,a.test:fail\n"
		" ip=192.0.2.99 n=1 dkim=fail spf=fail done=none why=mailing_list\n n=7 dkim=pass spf=fail\n");
	keep(DMARC("google.com", "1", "a.test") " ip=192.0.2.7 n=12 dkim=pass spf=fail done=none from=a.test\n");       /* once more */
	keep(DMARC("google.com", "2", "notb.test") " ip=192.0.2.7 n=1 dkim=pass spf=fail done=none\n");
	ck_assert_int_eq(reports(NULL, NULL, NULL), 0);
	HAS("a.test, DMARC, 2026-11-29 to 2026-11-29, 2 reports by google.com, Enterprise Outlook\n");
	HAS("  65 messages, 22 passed, 43 did not; policy none\n");
	HAS("    203.0.113.9                                    40         0         0         0         0        40\n");
	HAS("    192.0.2.7                                      15        15        15         3         0         0\n");
	HAS("    2001:db8::1                                     2         0         0         0         2         0\n");
	HAS("    others                                          7         7         7         0         0         0\n");
	HAS("add ip4:203.0.113.9 to the SPF");
	HAS("keeps it out.\n");
	HAS("mailer.test speaks for it, which is not");
	HAS("sends on what others got");
	HAS("notb.test, DMARC, ");
	ck_assert_int_eq(reports("--domain", "b.test", NULL), 0);
	HAS("Nothing was reported within 7 days");
	ck_assert_int_eq(reports("--domain=NOTB.test", "dmarc", "--json"), 0);
	HAS("{\"kind\":\"dmarc\",\"domain\":\"notb.test\",\"policy\":\"none\",\"by\":\"google.com\",\"begin\":1795910400,\"end\":1795996799,\"reports\":1,\"messages\":1,"
		"\"passed\":1,\"sources\":[{\"ip\":\"192.0.2.7\",\"messages\":1,\"passed\":1,\"dkim\":1,\"spf\":0,\"quarantined\":0,\"rejected\":0}]}");
	HAS_NOT("a.test\",\"policy\":\"none\",\"by\":\"google.com, ");
}
END_TEST

START_TEST(sessions_are_counted_and_failures_named)
{
	keep(" kind=tls org=Google%20Inc. report=1 begin=1795910400 end=1795996799\n domain=a.test type=sts good=23 bad=3\n"
		" result=certificate-expired n=2 mx=mx.a.test\n result=something-new n=1\n domain=b.test type=no-policy-found good=1 bad=0\n");
	keep(" kind=tls org=Microsoft report=1 begin=1795910400 end=1795996799\n domain=a.test type=sts good=1 bad=1\n result=certificate-expired n=1 mx=mx.a.test\n");
	ck_assert_int_eq(reports(NULL, NULL, NULL), 0);
	HAS("a.test, TLS, 2026-11-29 to 2026-11-29, 2 reports by Google Inc., Microsoft\n  28 sessions, 24 good, 4 failed; policy sts\n"
		"    3 certificate-expired at mx.a.test\n");
	HAS("renew it");
	HAS("    1 something-new\n");
	HAS("b.test, TLS, 2026-11-29 to 2026-11-29, 1 report by Google Inc.\n  1 sessions, 1 good, 0 failed; policy no-policy-found\n");
	ck_assert_int_eq(reports("dmarc", NULL, NULL), 0);
	HAS_NOT("TLS,");
	ck_assert_int_eq(reports("tls", "--json", NULL), 0);
	HAS("\"sessions\":28,\"passed\":24,\"failures\":[{\"result\":\"certificate-expired\",\"mx\":\"mx.a.test\",\"sessions\":3},");
}
END_TEST

START_TEST(what_is_old_is_not_shown_unless_asked_for)
{
	static const char old[] = "1 time=1795300000 kind=dmarc org=x report=1 begin=1795200000 end=1795286399 domain=old.test p=none\n1 ip=192.0.2.1 n=1 dkim=pass spf=pass\n";

	rig_write("reports", "2026-11-21", old, sizeof old - 1);
	ck_assert_int_eq(reports(NULL, NULL, NULL), 0);
	HAS_NOT("old.test");
	ck_assert_int_eq(reports("--days", "30", NULL), 0);
	HAS("old.test");
}
END_TEST

START_TEST(lines_of_nobody_are_counted_for_nobody)
{
	static const char lines[] = "1 ip=192.0.2.1 n=5 dkim=pass spf=pass\n"
		"1 time=1796000000 kind=dmarc org=x report=1 begin=1 end=2 domain=a.test\n1 ip=192.0.2.1 n=1 dkim=pass spf=pass\ngarbage\n1 ip=192.0.2.2 n=5 dkim=pass spf=pass\n"
		"1 time=1796000000 kind=dmarc org=x report=2 begin=1 end=2 domain=a.test\n1 ip=192.0.2.3 n=1 dkim=pa1 time=1796000000 kind=dmarc org=x report=3 end=2 domain=b.test\n"
		"1 ip=192.0.2.4 n=99999999999999999999 dkim=pass";

	rig_write("reports", "2026-11-30", lines, sizeof lines - 1);
	ck_assert_int_eq(reports(NULL, NULL, NULL), 0);
	HAS("a.test, DMARC, 1970-01-01 to 1970-01-01, 2 reports by x\n  1 messages, 1 passed, 0 did not; policy not said\n");
	HAS_NOT("192.0.2.2");
	HAS_NOT("192.0.2.4");
	HAS_NOT("b.test");
}
END_TEST

START_TEST(a_hundred_thousand_sources_are_not_counted_at_once)
{
	struct buf lines = { 0 };

	for (int i = 0; i < 25000; i++) {
		if (i % 400 == 0)
			buf_printf(&lines, "1 time=1796000000 kind=dmarc org=x report=%d begin=1 end=2 domain=a.test\n", i);
		buf_printf(&lines, "1 ip=10.%d.%d.1 n=1 dkim=pass spf=pass\n", i / 250, i % 250);
	}
	rig_write("reports", "2026-11-30", lines.p, lines.n);
	buf_free(&lines);
	ck_assert_int_eq(reports(NULL, NULL, NULL), 0);
	HAS("  25000 messages, 25000 passed, 0 did not");
	HAS("more than can be counted at once");
}
END_TEST

START_TEST(other_words_are_told)
{
	static const char *const row[][2] = { { "spf", NULL }, { "--days", NULL }, { "--days", "0" }, { "--days", "93" }, { "--days", "x" }, { "--domain", NULL },
		{ "dmarc", "tls" }, { "--jso", NULL } };
	int err = dup(2);

	ck_assert_ptr_nonnull(freopen("/dev/null", "w", stderr));
	for (size_t i = 0; i < sizeof row / sizeof *row; i++)
		ck_assert_msg(reports(row[i][0], row[i][1], NULL) == 64, "row %zu", i);
	dup2(err, 2);
	close(err);
}
END_TEST

Suite *cmd_reports_suite(void)
{
	Suite *s = suite_create("cmd_reports");
	TCase *t = tcase_create("reports");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, sources_are_counted_and_what_can_be_done_is_told);
	tcase_add_test(t, sessions_are_counted_and_failures_named);
	tcase_add_test(t, what_is_old_is_not_shown_unless_asked_for);
	tcase_add_test(t, lines_of_nobody_are_counted_for_nobody);
	tcase_add_test(t, a_hundred_thousand_sources_are_not_counted_at_once);
	tcase_add_test(t, other_words_are_told);
	suite_add_tcase(s, t);
	return s;
}
