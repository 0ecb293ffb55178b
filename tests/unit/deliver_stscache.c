/* Policies fetched, kept and handed out: what is in force when, and who is asked for it. */
#include "deliver/stscache.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/log.h"
#include "lib/loop.h"
#include "lib/tls.h"
#include "tests/peer.h"
#include "tests/tree.h"

Suite *deliver_stscache_suite(void);

enum { WALL = 1796000000 };

static char dir[200];
static int dir_fd;
static struct stscache_config config;
static struct tls_trust *trust;
static struct peer *peer;

/* ---- the DNS: everything is at 127.0.0.1, but for some names */

static unsigned looked_up;
static struct fact_ticket *unanswered[8];
static size_t nunanswered;

static void ask_dns(struct fact_source *s, enum fact_kind kind, struct str name, struct fact_ticket *t)
{
	static const struct record here = { 0, { "\x7f\0\0\1", 4 } }, six = { 0, { "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1", 16 } };
	struct fact f = { .outcome = NO_DATA };

	(void)s;
	looked_up++;
	if (str_eq(name, STR("mta-sts.silent.test"))) {
		ck_assert_uint_lt(nunanswered, 8);
		unanswered[nunanswered++] = t;
		return;
	}
	if (str_eq(name, STR("mta-sts.nowhere.test")))
		f.outcome = NO_NAME;
	else if (str_eq(name, STR("mta-sts.servfail.test")))
		f = (struct fact){ .outcome = UNKNOWN, .why = "SERVFAIL from 127.0.0.1" };
	else if (kind == FACT_AAAA && str_eq(name, STR("mta-sts.z.test")))
		f = (struct fact){ .outcome = FOUND, .n = 1, .record = &six };
	else if (kind == FACT_A)
		f = (struct fact){ .outcome = FOUND, .n = 1, .record = &here };
	fact_answer(t, &f);
}

static void setup(void)
{
	static struct fact_source dns = { ask_dns };
	const char *tmp = getenv("TMPDIR");

	loop_virtual_clock(WALL);
	log_threshold(LOG_ERROR);
	snprintf(dir, sizeof dir, "%s/fardel-sts.XXXXXX", tmp ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY);
	facts_source(FACT_A, &dns);
	facts_source(FACT_AAAA, &dns);
	facts_source(FACT_POLICY, stscache_source());
	trust = tls_trust_new("tests/pki/sts.crt");
	config = (struct stscache_config){ .trust = trust };
	looked_up = 0;
	peer = NULL;
}

static void teardown(void)
{
	stscache_stop();
	while (nunanswered)
		fact_answer(unanswered[--nunanswered], &(struct fact){ .outcome = UNKNOWN });
	if (peer)
		peer_free(peer);
	tls_trust_free(trust);
	close(dir_fd);
	tree_remove(dir);
	for (int k = 0; k < FACT_KINDS; k++)
		facts_source((enum fact_kind)k, NULL);
}

static void start(void) { ck_assert_int_eq(stscache_start(&config, dir_fd), 0); }

/* The policy host, of all domains. */
static void host(const char *script)
{
	socklen_t len;

	peer = peer_new_tcp(script);
	config.port = ntohs(((const struct sockaddr_in *)(const void *)peer_address(peer, &len))->sin_port);
}

static void played(void) { ck_assert_msg(!peer_trouble(peer), "%s", peer_trouble(peer)); }

/* ---- questions */

static char got[400];

static void wake(struct task *t) { (void)t; }

/* What comes of one, in words: "enforce mx.y.test", "none known", "unknown: why". */
static void show(const struct fact *f)
{
	static const char *const modes[] = { "none", "testing", "enforce" };
	struct mtasts_policy p;

	if (f->outcome == NO_DATA)
		snprintf(got, sizeof got, "none known");
	else if (f->outcome == UNKNOWN)
		snprintf(got, sizeof got, "unknown: %s", f->why);
	else {
		ck_assert(f->outcome == FOUND && f->n == 1 && !mtasts_parse(f->record[0].data, &p));
		snprintf(got, sizeof got, "%s %s", modes[p.mode], mtasts_allows(&p, STR("mx1.test")) ? "mx1" : mtasts_allows(&p, STR("mx2.test")) ? "mx2" : "-");
	}
}

static const char *ask(const char *name)
{
	struct task woken = { .run = wake };
	struct facts *f = facts_new(&woken, 4);
	const struct fact *p = NULL;

	for (int i = 0; i < 20000 && !(p = fact(f, FACT_POLICY, str_of(name))); i++)
		loop_turn(10);
	ck_assert_msg(p != NULL, "no answer for %s", name);
	show(p);
	facts_free(f);
	return got;
}

static void some_turns(void)
{
	for (int i = 0; i < 100; i++)
		loop_turn(0);
}

/* Time goes by, and what is due is done. */
static void pass(int64_t seconds)
{
	int64_t end = loop_wall() + seconds;

	while (loop_wall() < end) {
		loop_advance(1000 * (end - loop_wall() < 30 ? end - loop_wall() : 30));
		for (int i = 0; i < 4; i++)
			loop_turn(0);
	}
	some_turns();
}

static unsigned count(void)
{
	char path[300];
	unsigned n = 0;
	struct dirent *e;
	DIR *d;

	snprintf(path, sizeof path, "%s/mta-sts", dir);
	d = opendir(path);
	while (d && (e = readdir(d)))
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

static const char *content(const char *domain)
{
	static struct buf text;
	char path[400];

	snprintf(path, sizeof path, "mta-sts/%s", domain);
	buf_free(&text);
	return file_read_all(dir_fd, path, &text) == 0 ? buf_cstr(&text) : "";
}

static void write_file(const char *name, const char *text, int64_t mtime)
{
	struct timespec when[2] = { { .tv_sec = (time_t)mtime }, { .tv_sec = (time_t)mtime } };
	char path[400];
	int fd;

	mkdirat(dir_fd, "mta-sts", 0700);
	snprintf(path, sizeof path, "mta-sts/%s", name);
	fd = openat(dir_fd, path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	ck_assert(fd != -1 && file_write(fd, text, strlen(text)) == 0 && futimens(fd, when) == 0);
	close(fd);
}

#define GET "tls\nC: GET /.well-known/mta-sts.txt HTTP/1.1\nC: Host: mta-sts.*\nC: *\nC: *\nC: *\nC: *\ntake 2\n"
#define TEXT(policy) GET "S: HTTP/1.1 200 OK\nW: Content-Type: text/plain\\r\\n\\r\\n" policy "\nclose\n"
#define ENFORCE1 "version: STSv1\\r\\nmode: enforce\\r\\nmx: mx1.test\\r\\nmax_age: 604800\\r\\nx: y\\r\\n"
#define ENFORCE2 "version: STSv1\\nmode: enforce\\nmx: mx2.test\\nmax_age: 604800\\n"
#define GONE GET "W: HTTP/1.1 404 Not Found\\r\\n\\r\\n\nclose\n"

/* ---- fetching and keeping */

START_TEST(a_policy_is_fetched_once_and_kept_for_people_to_read)
{
	host(TEXT(ENFORCE1));
	start();
	ck_assert_str_eq(ask("y.test 1"), "enforce mx1");
	played();
	ck_assert_str_eq(content("y.test"), "id: 1\nfetched: 1796000000 (2026-11-30T00:53:20Z)\nversion: STSv1\nmode: enforce\nmx: mx1.test\nmax_age: 604800\n");
	ck_assert_uint_eq(count(), 1);
	ck_assert_str_eq(ask("y.test 1"), "enforce mx1");
	ck_assert_str_eq(ask("Y.Test 1"), "enforce mx1");
	ck_assert_str_eq(ask("y.test "), "enforce mx1");       /* the record is gone, the policy is not (RFC 8461 3.1) */
}
END_TEST

static struct file_calls kernel;

static int no_room(int at, const char *path, int flags, mode_t mode)
{
	if (!(flags & O_CREAT))
		return kernel.open(at, path, flags, mode);
	errno = ENOSPC;
	return -1;
}

START_TEST(a_policy_that_the_disk_does_not_take_is_not_fetched_for_each_message)
{
	kernel = file_sys;
	host(TEXT(ENFORCE1) TEXT(ENFORCE2));
	start();
	file_sys.open = no_room;
	for (int i = 0; i < 5; i++)
		ck_assert_str_eq(ask("y.test 1"), "enforce mx1");
	ck_assert_str_eq(ask("y.test "), "enforce mx1");
	pass(7200);
	ck_assert_str_eq(ask("y.test 1"), "enforce mx1");
	ck_assert_uint_eq(count(), 0);
	file_sys = kernel;
	ck_assert_str_eq(ask("y.test 2"), "enforce mx2");
	ck_assert_uint_eq(count(), 1);
	ck_assert_str_eq(ask("y.test 2"), "enforce mx2");
	played();
}
END_TEST

START_TEST(it_survives_a_new_start)
{
	host(TEXT(ENFORCE1));
	start();
	ask("y.test 1");
	stscache_stop();
	ck_assert_str_eq(ask("y.test 1"), "none known");        /* nobody is there */
	start();
	ck_assert_str_eq(ask("y.test 1"), "enforce mx1");
	played();
}
END_TEST

START_TEST(who_never_had_a_policy_is_asked_nothing_and_leaves_no_trace)
{
	start();
	ck_assert_str_eq(ask("y.test "), "none known");
	ck_assert_str_eq(ask("../lock 1"), "none known");
	ck_assert_str_eq(ask(".new 1"), "none known");
	ck_assert_str_eq(ask("nonsense"), "none known");
	ck_assert_uint_eq(looked_up, 0);
	ck_assert_uint_eq(count(), 0);
}
END_TEST

START_TEST(another_id_means_another_policy)
{
	host(TEXT(ENFORCE1) TEXT(ENFORCE2));
	start();
	ck_assert_str_eq(ask("y.test 1"), "enforce mx1");
	ck_assert_str_eq(ask("y.test 2"), "enforce mx2");
	played();
	ck_assert_str_eq(ask("y.test 2"), "enforce mx2");
	ck_assert_uint_eq(count(), 1);
}
END_TEST

START_TEST(a_policy_that_is_known_outlives_fetches_that_fail)
{
	host(TEXT(ENFORCE1) GONE TEXT(ENFORCE2));
	start();
	ck_assert_str_eq(ask("y.test 1"), "enforce mx1");
	ck_assert_str_eq(ask("y.test 2"), "enforce mx1");
	ck_assert_str_eq(ask("y.test 2"), "enforce mx1");       /* and it is not asked again so soon */
	pass(STSCACHE_RETRY_S);
	ck_assert_str_eq(ask("y.test 2"), "enforce mx2");
	played();
}
END_TEST

static const struct { const char *domain, *script, *got; } failures[] = {
	{ "y.test 1", GONE, "the answer has status 404 and not 200" },
	{ "y.test 1", TEXT("version: STSv1\\n"), "unknown: https://mta-sts.y.test/.well-known/mta-sts.txt is no policy: it has no mode" },
	{ "x.test 1", "tls\neof\n", "certificate" },                    /* for others */
	{ "nowhere.test 1", "eof\n", "unknown: mta-sts.nowhere.test has no address" },
	{ "servfail.test 1", "eof\n", "unknown: cannot look up the address of mta-sts.servfail.test: SERVFAIL from 127.0.0.1" },
};

START_TEST(what_fails_is_said_and_not_tried_again_for_five_minutes)
{
	char again[400];
	unsigned before;

	host(failures[_i].script);
	start();
	ask(failures[_i].domain);
	ck_assert_msg(strncmp(got, "unknown: ", 9) == 0 && strstr(got, failures[_i].got), "%s", got);
	str_copy(again, sizeof again, str_of(got));
	before = looked_up;
	pass(STSCACHE_RETRY_S - 1);
	ck_assert_str_eq(ask(failures[_i].domain), again);
	ck_assert_uint_eq(looked_up, before);
	pass(2);
	ask(failures[_i].domain);
	ck_assert_uint_gt(looked_up, before);
	ck_assert_uint_eq(count(), 0);
}
END_TEST

/* z.test has an IPv6 address, where nobody listens. */
START_TEST(families_are_called_as_is_preferred)
{
	static const struct { enum inet inet; const char *got; } rows[] = {
		{ INET_PREFER4, "enforce mx1" }, { INET_PREFER6, "enforce mx1" }, { INET_ONLY4, "enforce mx1" }, { INET_ONLY6, "unknown: mta-sts.z.test[::1]:" },
	};

	host(TEXT(ENFORCE1));
	config.inet = rows[_i].inet;
	start();
	ask("z.test 1");
	ck_assert_msg(strncmp(got, rows[_i].got, strlen(rows[_i].got)) == 0, "%s", got);
	if (rows[_i].inet != INET_ONLY6)
		played();
}
END_TEST

START_TEST(a_host_that_takes_its_time_holds_nobody_up_for_long)
{
	int64_t begun = loop_wall();

	host(GET "wait 40\nS: HTTP/1.1 200 OK\nW: Content-Type: text/plain\\r\\n\\r\\n" ENFORCE1 "\nclose\n");
	start();
	ck_assert_str_eq(ask("y.test 1"), "unknown: not fetched within 15 s");
	ck_assert_int_le(loop_wall() - begun, STSCACHE_WAIT_MS / 1000 + 1);
	pass(40);
	ck_assert_str_eq(ask("y.test 1"), "enforce mx1");       /* but what it says is not lost */
	played();
}
END_TEST

START_TEST(a_resolver_that_is_silent_holds_nobody_up_for_long)
{
	host("eof\n");
	start();
	ck_assert_str_eq(ask("silent.test 1"), "unknown: not fetched within 15 s");
	pass(60);
	ck_assert_str_eq(ask("silent.test 1"), "unknown: the address of mta-sts.silent.test was not found within 60 s");
}
END_TEST

START_TEST(who_asks_at_the_same_time_waits_for_the_same_fetch)
{
	struct task woken[3] = { { .run = wake }, { .run = wake }, { .run = wake } };
	struct facts *f[3];

	host(TEXT(ENFORCE1));
	start();
	for (int i = 0; i < 3; i++) {
		f[i] = facts_new(&woken[i], 4);
		ck_assert_ptr_null(fact(f[i], FACT_POLICY, STR("y.test 1")));
	}
	facts_free(f[1]);                               /* who has gone is not missed */
	for (int i = 0; i < 5000 && !fact(f[2], FACT_POLICY, STR("y.test 1")); i++)
		loop_turn(10);
	show(fact(f[0], FACT_POLICY, STR("y.test 1")));
	ck_assert_str_eq(got, "enforce mx1");
	played();
	facts_free(f[0]);
	facts_free(f[2]);
}
END_TEST

START_TEST(at_the_end_who_waits_is_told)
{
	struct task woken = { .run = wake };
	struct facts *f = facts_new(&woken, 4);

	host("wait 60\n");
	start();
	ck_assert_ptr_null(fact(f, FACT_POLICY, STR("y.test 1")));
	for (int i = 0; i < _i; i++)
		loop_turn(0);
	stscache_stop();
	ck_assert_ptr_nonnull(fact(f, FACT_POLICY, STR("y.test 1")));
	facts_free(f);
}
END_TEST

/* ---- time */

START_TEST(a_policy_ends_with_its_max_age)
{
	host(TEXT("version: STSv1\\nmode: enforce\\nmx: mx1.test\\nmax_age: 100\\n") GONE GONE GONE GONE);
	start();
	ck_assert_str_eq(ask("y.test 1"), "enforce mx1");
	loop_advance(100 * 1000);
	ck_assert_str_eq(ask("y.test "), "enforce mx1");
	loop_advance(1000);
	ck_assert_str_eq(ask("y.test "), "none known");
	pass(3 * 3600);
	ck_assert_uint_eq(count(), 0);
}
END_TEST

START_TEST(a_policy_in_use_is_fetched_again_every_day)
{
	host(TEXT(ENFORCE1) TEXT(ENFORCE2));
	start();
	ck_assert_str_eq(ask("y.test 1"), "enforce mx1");
	pass(STSCACHE_REFRESH_S - 200);
	ck_assert_str_eq(ask("y.test "), "enforce mx1");
	pass(400);                                      /* nobody asks */
	ck_assert_str_eq(ask("y.test "), "enforce mx2");
	played();
}
END_TEST

START_TEST(one_that_is_not_used_any_more_ends)
{
	write_file("y.test", "id: 1\nfetched: 1795990000 (x)\nversion: STSv1\nmode: enforce\nmx: mx1.test\nmax_age: 90000\n", WALL - STSCACHE_UNUSED_S + 3600);
	host("eof\n");
	start();
	pass(90000);
	ck_assert_uint_eq(looked_up, 0);
	ck_assert_uint_eq(count(), 0);
	ck_assert_str_eq(ask("y.test "), "none known");
}
END_TEST

/* ---- files */

#define FILE_OF(policy) "id: 1\nfetched: 1795999999 (x)\n" policy
#define GOOD "version: STSv1\nmode: enforce\nmx: mx1.test\nmax_age: 604800\n"
static const struct { const char *text, *got; } files[] = {
	{ FILE_OF(GOOD), "enforce mx1" },
	{ "id: 2\nfetched: 1700000000 (x)\n" GOOD, "none known" },                               /* its time is over */
	{ "id: 1\nfetched: 1796000099\n" GOOD, "enforce mx1" },                                  /* the clock was set back: no reason to be careless */
	{ FILE_OF("version: STSv1\nmode: enforce\nmx: mx1.test\nmax_age: 604800"), "none known" },       /* cut off */
	{ FILE_OF("version: STSv1\nmode: enforce\nmx: mx1.test\n"), "none known" },
	{ FILE_OF(""), "none known" }, { "", "none known" }, { GOOD, "none known" }, { "id: 1\n" GOOD, "none known" },
	{ "fetched: 1795999999 (x)\nid: 1\n" GOOD, "none known" }, { "id: 1\nfetched: soon\n" GOOD, "none known" },
	{ "id: 123456789012345678901234567890123\nfetched: 1795999999 (x)\n" GOOD, "none known" },
};

START_TEST(a_file_is_believed_when_it_is_whole)
{
	write_file("y.test", files[_i].text, WALL - 5);
	start();
	ck_assert_str_eq(ask("y.test "), files[_i].got);
	write_file("z.test", files[_i].text, WALL - 5);         /* put there by hand, later */
	ck_assert_str_eq(ask("z.test "), files[_i].got);
}
END_TEST

START_TEST(what_is_removed_is_forgotten_and_what_is_no_policy_left_alone)
{
	host(TEXT(ENFORCE1) TEXT(ENFORCE2));
	write_file("README", "of somebody's own", WALL);
	write_file("no name at all", "x", WALL);
	start();
	ck_assert_str_eq(ask("y.test 1"), "enforce mx1");
	ck_assert_int_eq(unlinkat(dir_fd, "mta-sts/y.test", 0), 0);
	ck_assert_str_eq(ask("y.test "), "none known");
	ck_assert_str_eq(ask("y.test 1"), "enforce mx2");
	pass(3600);
	ck_assert_uint_eq(count(), 3);
	played();
}
END_TEST

START_TEST(only_so_many_are_kept_and_the_longest_unused_goes)
{
	char name[40];

	for (int i = 0; i < STSCACHE_DOMAINS; i++) {
		snprintf(name, sizeof name, "d%d.test", i);
		write_file(name, FILE_OF(GOOD), WALL - 100 - (i * 7919) % STSCACHE_DOMAINS);
	}
	host(TEXT(ENFORCE2));
	start();
	ck_assert_uint_eq(count(), STSCACHE_DOMAINS);
	for (int i = 0; i < STSCACHE_DOMAINS; i++)      /* the one of the oldest time of use */
		if ((i * 7919) % STSCACHE_DOMAINS == STSCACHE_DOMAINS - 1)
			snprintf(name, sizeof name, "d%d.test", i);
	ck_assert_str_ne(content(name), "");
	ck_assert_str_eq(ask("y.test 1"), "enforce mx2");
	ck_assert_str_eq(content(name), "");
	ck_assert_uint_eq(count(), STSCACHE_DOMAINS);
	played();
}
END_TEST

START_TEST(use_is_noted_on_disk)
{
	struct stat st;

	write_file("y.test", FILE_OF(GOOD), WALL - 10000);
	start();
	ask("y.test ");
	ck_assert_int_eq(fstatat(dir_fd, "mta-sts/y.test", &st, 0), 0);
	ck_assert_int_eq(st.st_mtime, WALL);
}
END_TEST

START_TEST(without_authorities_nothing_is_fetched_and_what_is_known_holds)
{
	tls_trust_free(trust);
	config.trust = trust = tls_trust_new("tests/pki/no-such-file");
	write_file("y.test", FILE_OF(GOOD), WALL);
	start();
	ck_assert_str_eq(ask("y.test 2"), "enforce mx1");
	ck_assert_str_eq(ask("z.test 2"), "unknown: not fetched: there is no authority whose word counts");
	ck_assert_uint_eq(looked_up, 0);
}
END_TEST

Suite *deliver_stscache_suite(void)
{
	Suite *s = suite_create("deliver_stscache");
	TCase *t = tcase_create("cache");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, a_policy_is_fetched_once_and_kept_for_people_to_read);
	tcase_add_test(t, a_policy_that_the_disk_does_not_take_is_not_fetched_for_each_message);
	tcase_add_test(t, it_survives_a_new_start);
	tcase_add_test(t, who_never_had_a_policy_is_asked_nothing_and_leaves_no_trace);
	tcase_add_test(t, another_id_means_another_policy);
	tcase_add_test(t, a_policy_that_is_known_outlives_fetches_that_fail);
	tcase_add_loop_test(t, what_fails_is_said_and_not_tried_again_for_five_minutes, 0, sizeof failures / sizeof *failures);
	tcase_add_loop_test(t, families_are_called_as_is_preferred, 0, 4);
	tcase_add_test(t, a_host_that_takes_its_time_holds_nobody_up_for_long);
	tcase_add_test(t, a_resolver_that_is_silent_holds_nobody_up_for_long);
	tcase_add_test(t, who_asks_at_the_same_time_waits_for_the_same_fetch);
	tcase_add_loop_test(t, at_the_end_who_waits_is_told, 0, 6);
	tcase_add_test(t, a_policy_ends_with_its_max_age);
	tcase_add_test(t, a_policy_in_use_is_fetched_again_every_day);
	tcase_add_test(t, one_that_is_not_used_any_more_ends);
	tcase_add_loop_test(t, a_file_is_believed_when_it_is_whole, 0, sizeof files / sizeof *files);
	tcase_add_test(t, what_is_removed_is_forgotten_and_what_is_no_policy_left_alone);
	tcase_add_test(t, only_so_many_are_kept_and_the_longest_unused_goes);
	tcase_add_test(t, use_is_noted_on_disk);
	tcase_add_test(t, without_authorities_nothing_is_fetched_and_what_is_known_holds);
	suite_add_tcase(s, t);
	return s;
}
