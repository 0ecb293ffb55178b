/* The control socket: what it tells to whom, and that nobody can hold it up. */
#include "cmd/control.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "cmd/await.h"
#include "cmd/fardel.h"
#include "lib/loop.h"
#include "smtpd.h"
#include "tests/queue_rig.h"

Suite *cmd_control_suite(void);

static struct settings set;

static void setup(void)
{
	rig_open();
	rig_crash();
	rig.conf.settled = control_settled;
	rig_start();
	set = (struct settings){ .queue = rig.dir, .hostname = "h.test" };
	ck_assert_int_eq(control_start(&set), 0);
}

static void teardown(void)
{
	control_stop();
	rig_close();
}

static int call(const char *text, size_t n)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	ck_assert(control_path(&set, un.sun_path, sizeof un.sun_path));
	ck_assert_int_eq(connect(fd, (const struct sockaddr *)&un, sizeof un), 0);
	if (n)
		ck_assert_int_eq(send(fd, text, n, MSG_NOSIGNAL), (ssize_t)n);
	return fd;
}

/* What has come so far; *ended: and no more will. */
static const char *heard(int fd, bool *ended)
{
	static char text[1 << 20];
	size_t n = 0;
	ssize_t got = -1;

	*ended = false;
	for (int i = 0; i < 200; i++) {
		loop_turn(0);
		while ((got = read(fd, text + n, sizeof text - 1 - n)) > 0)
			n += (size_t)got;
		if (got == 0)
			*ended = true;
	}
	text[n] = '\0';
	return text;
}

static const struct { const char *said, *answer; } questions[] = {
	{ "metrics\n", "ok\n# HELP fardel_start" }, { "metrics\r\n", "ok\n# HELP" }, { "destinations\n", "ok\n" }, { "top\n", "ok\nfigure\tnow\t" },
	{ "\n", "no such verb\n" }, { "burn everything\n", "no such verb\n" }, { "wait\n", "no answer" }, { "wait 123\n", "no answer" },
	{ "wait ../../etc/passwd\n", "no answer" }, { "METRICS\n", "no such verb\n" },
};

START_TEST(a_line_has_an_answer_and_that_is_all)
{
	int fd = call(questions[_i].said, strlen(questions[_i].said));
	bool ended;
	const char *text = heard(fd, &ended);

	ck_assert_msg(!strncmp(text, questions[_i].answer, strlen(questions[_i].answer)), "%s", text);
	ck_assert(ended);
	close(fd);
}
END_TEST

START_TEST(an_endless_line_is_cut_short)
{
	static char junk[100000];
	bool ended;
	int fd;

	memset(junk, 'x', sizeof junk);
	fd = call(junk, sizeof junk);
	ck_assert_str_eq(heard(fd, &ended), "no line so long\n");
	ck_assert(ended);
	close(fd);
}
END_TEST

START_TEST(who_says_nothing_is_not_waited_for)
{
	bool ended;
	int fd = call("", 0), half = call("metr", 4);

	heard(fd, &ended);
	ck_assert(!ended);
	rig_run(11);
	heard(fd, &ended);
	ck_assert(ended);
	heard(half, &ended);
	ck_assert(ended);
	close(fd);
	close(half);
}
END_TEST

START_TEST(more_clients_than_places_wait_and_are_served_in_their_turn)
{
	int idle[70], fd;
	bool ended;

	for (int i = 0; i < 64; i++)
		idle[i] = call("", 0);
	rig_turn();
	fd = call("metrics\n", 8);
	ck_assert_str_eq(heard(fd, &ended), "");
	for (int i = 0; i < 64; i++)
		close(idle[i]);
	ck_assert(strstr(heard(fd, &ended), "fardel_queue_messages"));
	close(fd);
}
END_TEST

/* The server stands still, and its backlog is full of those who asked before. */
START_TEST(who_takes_no_call_is_not_waited_for)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct settings other = { .queue = rig.dir, .control = un.sun_path };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), client[8], n = 0;

	ck_assert_int_lt(snprintf(un.sun_path, sizeof un.sun_path, "%.90s/still", rig.dir), 100);
	ck_assert_int_eq(bind(fd, (const struct sockaddr *)&un, sizeof un), 0);
	ck_assert_int_eq(listen(fd, 0), 0);
	while (n < 8 && (client[n] = control_call(&other, "metrics", 1)) != -1)
		n++;
	ck_assert_int_lt(n, 8);
	ck_assert_int_eq(errno, EAGAIN);
	while (n > 0)
		close(client[--n]);
	close(fd);
	unlink(un.sun_path);
}
END_TEST

START_TEST(a_destination_that_is_down_is_told_of)
{
	static const struct rig_answer dead[] = { { "@y.example", RESULT_DEFERRED, BLAME_DEST, 0, "connect to y: timed \x1b out" } };
	struct control_dest d;
	char path[200];
	bool ended;
	struct str answer;
	int fd;

	rig_answers(dead, 1);
	ck_assert(rig_put("a@x.example", "b@y.example"));
	rig_turn();
	ck_assert(rig_put("a@x.example", "b@z.example c@z2.example"));
	fd = call("destinations\n", 13);
	answer = str_of(heard(fd, &ended));
	ck_assert(control_find_dest(answer, STR("Y.example"), &d));
	ck_assert_uint_eq(d.entries, 1);
	ck_assert_uint_eq(d.failures, 1);
	ck_assert(d.again > RIG_WALL && !d.ours);
	ck_assert(str_eq(d.words, STR("connect to y: timed ? out")));
	ck_assert(!control_find_dest(answer, STR("q.example"), &d));
	close(fd);
	set.control = "off";
	ck_assert(!control_path(&set, path, sizeof path));
	set.control = NULL;
}
END_TEST

/* ---- waiting for results */

static void committed(void *arg, bool ok)
{
	(void)arg;
	ck_assert(ok);
}

static void put_from_here(const char *to)
{
	struct envelope e = { 0 };
	struct sender from = { .addr = { STR("a"), STR("x.example") } };
	struct recipient r = { .addr = { str_of(to), STR("y.example") } };
	struct draft *d;

	ck_assert(envelope_origin(&e, "sendmail uid 1000 (anna)") && envelope_sender(&e, &from) && envelope_rcpt(&e, &r));
	d = queue_draft(&e, NULL);
	snprintf(rig_id, ID_MAX, "%s", draft_id(d));
	ck_assert_int_eq(draft_write(d, "Subject: x\r\n\r\n", 14), 0);
	queue_commit(d, committed, NULL);
	envelope_free(&e);
}

START_TEST(who_waits_hears_the_result_before_and_after_it_has_come)
{
	static const struct rig_answer no[] = { { "no@y.example", RESULT_FAILED, BLAME_RCPT, 550, "no such user" } };
	char line[64];
	bool ended;
	int fd, late;

	rig_answers(no, 1);
	rig.by_hand = true;
	put_from_here("no");
	rig_turn();
	snprintf(line, sizeof line, "wait %s\n", rig_id);
	fd = call(line, strlen(line));
	ck_assert_str_eq(heard(fd, &ended), "ok\n");
	ck_assert(!ended);
	rig_finish(0, false);
	ck_assert_str_eq(heard(fd, &ended), "result\tno@y.example\tfailed\t550\t\tno such user\nend\n");
	late = call(line, strlen(line));
	ck_assert_str_eq(heard(late, &ended), "ok\nresult\tno@y.example\tfailed\t550\t\tno such user\nend\n");
	close(fd);
	close(late);
}
END_TEST

START_TEST(results_of_strangers_mail_are_not_kept)
{
	char line[64];
	bool ended;
	int fd;

	ck_assert(rig_put("a@x.example", "b@y.example"));
	rig_turn();
	snprintf(line, sizeof line, "wait %s\n", rig_id);
	fd = call(line, strlen(line));
	ck_assert_str_eq(heard(fd, &ended), "ok\n");
	close(fd);
}
END_TEST

START_TEST(a_refusal_has_the_exit_status_that_programs_know)
{
	static const struct { int code; const char *enhanced; int status; } row[] = {
		{ 550, "5.1.1", EX_NOUSER }, { 550, "5.1.2", EX_NOHOST }, { 556, "5.1.10", EX_NOHOST }, { 550, "5.4.4", EX_NOHOST }, { 552, "5.3.4", EX_DATAERR },
		{ 550, "5.7.1", EX_NOPERM }, { 554, "", EX_UNAVAILABLE }, { 450, "4.2.0", EX_TEMPFAIL }, { 550, "5.2.2", EX_NOUSER },
	};

	for (size_t i = 0; i < sizeof row / sizeof *row; i++)
		ck_assert_int_eq(await_status(row[i].code, str_of(row[i].enhanced)), row[i].status);
}
END_TEST

/* ---- sendmail --at. Now is Mon, 23 Nov 2026 09:00:00, in Berlin 10:00. */

START_TEST(a_time_is_said_in_several_ways_and_is_to_come)
{
	enum { NOW = 1795424400 };
	static const struct { const char *text; int64_t at; } row[] = {
		{ "+2h", NOW + 7200 }, { "+1h30m", NOW + 5400 }, { "11:00", NOW + 3600 }, { "10:00", NOW + 86400 }, { "9:30", NOW + 84600 },
		{ "2026-11-23T12:00", NOW + 7200 }, { "2026-11-23 12:00", NOW + 7200 }, { "2026-11-23T12:00:30", NOW + 7230 },
		{ "2026-11-23T12:00:00Z", NOW + 10800 }, { "2026-11-23T12:00:00+01:00", 0 }, { "1795424401", NOW + 1 },
		{ "2026-11-23T08:00", 0 }, { "1795424399", 0 }, { "", 0 }, { "tomorrow", 0 }, { "25:00", 0 }, { "11:60", 0 }, { "+2x", 0 }, { "-2h", 0 },
		{ "2026-13-01T00:00", 0 }, { "11:00 ", 0 }, { "2026-11-23", 0 },
	};
	int64_t at;

	setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
	tzset();
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		const char *wrong = sendmail_time(row[i].text, NOW, &at);

		ck_assert_msg(!wrong == (row[i].at != 0), "\"%s\": %s", row[i].text, wrong ? wrong : "right");
		if (!wrong)
			ck_assert_msg(at == row[i].at, "\"%s\": %+lld", row[i].text, (long long)(at - NOW));
	}
}
END_TEST

Suite *cmd_control_suite(void)
{
	Suite *s = suite_create("cmd_control");
	TCase *c = tcase_create("control"), *t = tcase_create("words");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_loop_test(c, a_line_has_an_answer_and_that_is_all, 0, sizeof questions / sizeof *questions);
	tcase_add_test(c, an_endless_line_is_cut_short);
	tcase_add_test(c, who_says_nothing_is_not_waited_for);
	tcase_add_test(c, more_clients_than_places_wait_and_are_served_in_their_turn);
	tcase_add_test(c, who_takes_no_call_is_not_waited_for);
	tcase_add_test(c, a_destination_that_is_down_is_told_of);
	tcase_add_test(c, who_waits_hears_the_result_before_and_after_it_has_come);
	tcase_add_test(c, results_of_strangers_mail_are_not_kept);
	tcase_add_test(t, a_refusal_has_the_exit_status_that_programs_know);
	tcase_add_test(t, a_time_is_said_in_several_ways_and_is_to_come);
	suite_add_tcase(s, c);
	suite_add_tcase(s, t);
	return s;
}
