/* What becomes of a message that is not simply delivered: deferral, links, reports, its end; a failing disk; a crash at any call. */
#include "queue/inside.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/log.h"
#include "tests/queue_rig.h"

Suite *queue_attempt_suite(void);

#define ROWS(...) ((const struct rig_answer[]){ __VA_ARGS__ })
#define ANSWERS(...) rig_answers(ROWS(__VA_ARGS__), sizeof ROWS(__VA_ARGS__) / sizeof(struct rig_answer))
#define LATER(who) { who, RESULT_DEFERRED, BLAME_RCPT, 450, "later" }
#define NEVER(who) { who, RESULT_FAILED, BLAME_RCPT, 550, "no such user" }

static void set_up(void)
{
	rig_open();
}

static void tear_down(void)
{
	rig_close();
}

/* The text of the n-th report that was delivered (0 is the first), or "". */
static const char *report_text(size_t n)
{
	for (size_t i = 0; i < rig.nsent; i++)
		if (strstr(rig.sent[i].body, "\r\n\r\nabout ") && n-- == 0)
			return strstr(rig.sent[i].body, "\r\n\r\nabout ") + 10 + 24;
	return "";
}

/* Reports by id: one that is delivered twice, because a crash came before its mark, is one. */
static unsigned reports_made(void)
{
	unsigned n = 0;

	for (size_t i = 0; i < rig.nsent; i++) {
		size_t k = 0;

		while (k < i && strcmp(rig.sent[k].id, rig.sent[i].id) != 0)
			k++;
		n += k == i && strstr(rig.sent[i].body, "\r\n\r\nabout ");
	}
	return n;
}

static unsigned lines_of(const char *dir, const char *name, const char *what)
{
	unsigned n = 0;

	for (const char *p = rig_read(dir, name); (p = strstr(p, what)); p++)
		n++;
	return n;
}

/* So that five days are few tries. */
static void seldom(void)
{
	rig.conf.retry_first = rig.conf.retry_max = 30000;
	queue_reconfigure(&rig.conf);
}

/* ---- deferral and links */

START_TEST(only_what_must_wait_is_tried_again)
{
	static const struct {
		const char *to, *wait, *cur, *again;
	} rows[] = {
		{ "b@x.example c@x.example", "c@x.example", "1 x.example", "c@x.example" },
		{ "b@x.example c@y.example", "@y.example", "1 y.example", "c@y.example" },
		{ "b@x.example c@y.example d@z.example", "@y.example", "1 y.example", "c@y.example" },
		{ "b@1.relay.example c@2.relay.example", "@2.relay.example", "1 2.relay.example", "c@2.relay.example" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		size_t before;

		ANSWERS(LATER(rows[i].wait));
		ck_assert(rig_put("a@s.example", rows[i].to));
		rig_run(1);
		ck_assert_str_eq(rig_cur(), rows[i].cur);
		before = rig.nsent;
		rig_answers(NULL, 0);
		rig_run(400);
		ck_assert_uint_eq(rig.nsent, before + 1);
		ck_assert_str_eq(rig.sent[before].to, rows[i].again);
		ck_assert_str_eq(rig_cur(), "");
	}
}
END_TEST

START_TEST(destinations_that_must_wait_get_names_of_their_own_and_plus_goes)
{
	ANSWERS(LATER("@x.example"), LATER("@y.example"));
	ck_assert(rig_put("a@s.example", "b@x.example c@y.example d@z.example"));
	rig_run(1);
	ck_assert_str_eq(rig_cur(), "1 x.example, 1 y.example");
	ck_assert_uint_eq(lines_of("cur", rig_name("x.example"), " linked "), 2);
	ANSWERS(LATER("@y.example"));
	rig_run(400);
	ck_assert_str_eq(rig_cur(), "2 y.example");
	rig_answers(NULL, 0);
	rig_run(3600);
	ck_assert_str_eq(rig_cur(), "");
	ck_assert_uint_eq(rig_got("b@x.example"), 2);
	ck_assert_uint_eq(rig_got("c@y.example"), 3);
	ck_assert_uint_eq(rig_got("d@z.example"), 1);
}
END_TEST

START_TEST(domains_of_a_shared_way_stay_together)
{
	size_t before;

	ANSWERS({ "@1.relay.example", RESULT_DEFERRED, BLAME_DEST, 0, "connection refused" }, LATER("@x.example"));
	ck_assert(rig_put("a@s.example", "b@1.relay.example c@2.relay.example d@x.example"));
	rig_run(1);
	ck_assert_str_eq(rig_cur(), "1 +, 1 x.example");
	rig_crash();
	rig_start();
	before = rig.nsent;
	rig_answers(NULL, 0);
	rig_run(800);
	ck_assert_uint_eq(rig.nsent, before + 2);
	ck_assert_uint_eq(rig_times("b@1.relay.example c@2.relay.example"), 2);
	ck_assert_uint_eq(rig_times("d@x.example"), 2);
	ck_assert_str_eq(rig_cur(), "");
}
END_TEST

START_TEST(a_destination_that_was_not_tried_loses_no_time)
{
	ANSWERS({ "@x.example", RESULT_DEFERRED, BLAME_DEST, 0, "connection refused" }, LATER("@y.example"));
	ck_assert(rig_put("a@s.example", "1@x.example"));
	rig_run(1);
	ck_assert(rig_put("a@s.example", "2@x.example 3@y.example 4@z.example"));
	rig_run(1);
	ck_assert_str_eq(rig_cur(), "0 x.example, 1 x.example, 1 y.example");
	rig_answers(NULL, 0);
	queue_wake();
	rig_run(2);
	ck_assert_uint_eq(rig_got("2@x.example"), 1);
}
END_TEST

START_TEST(links_that_are_refused_leave_plus_for_all)
{
	ANSWERS(LATER("@x.example"), LATER("@y.example"));
	ck_assert(rig_put_body("a@s.example", "b@x.example c@y.example d@z.example", rig_body, NULL, RIG_WALL + 5));
	rig_run(4);
	for (unsigned n = 1; n < 30; n++) {
		/* whichever call the links are: those that fail cost nobody a copy */
		rig_disk(n, n, EMLINK);
		rig_run(10);
	}
	rig_disk(0, 0, 0);
	rig_answers(NULL, 0);
	rig_run(7200);
	ck_assert_str_eq(rig_cur(), "");
	ck_assert_uint_ge(rig_got("b@x.example"), 2);
	ck_assert_uint_eq(rig_got("d@z.example"), 1);
}
END_TEST

START_TEST(a_deferral_is_one_line_and_is_not_repeated)
{
	ANSWERS({ "b@x.example", RESULT_DEFERRED, BLAME_RCPT, 450, "one" }, { "c@x.example", RESULT_DEFERRED, BLAME_RCPT, 451, "another" });
	ck_assert(rig_put("a@s.example", "b@x.example c@x.example"));
	rig_run(3 * 3600);
	ck_assert_uint_gt(rig.nsent, 4);
	ck_assert_uint_eq(lines_of("cur", rig_name("x.example"), " deferred "), 1);
	ANSWERS(LATER(""));
	rig_run(3 * 3600);
	ck_assert_uint_eq(lines_of("cur", rig_name("x.example"), " deferred "), 2);
}
END_TEST

/* ---- what was said */

START_TEST(what_was_said_is_written_down_where_it_was_in_vain)
{
	rig.said = "= mx\n< 220 hello\n";
	ck_assert(rig_put("a@s.example", "b@x.example c@x.example d@y.example"));
	ANSWERS(LATER("b@x.example"));
	rig_run(3 * 3600);
	ck_assert_uint_gt(rig.nsent, 4);
	ck_assert_uint_eq(lines_of("cur", rig_name(NULL), " said x.example - - - = mx\\x0a< 220 hello\\x0a ~"), 1);
	ck_assert_uint_eq(lines_of("cur", rig_name(NULL), " said "), 1);
}
END_TEST

START_TEST(a_report_has_what_was_said_of_those_who_failed)
{
	rig.said = "= one\n";
	ANSWERS(NEVER("b@x.example"), LATER("c@x.example"));
	ck_assert(rig_put("a@s.example", "b@x.example c@x.example"));
	rig_run(2);
	ck_assert_ptr_nonnull(strstr(report_text(0), "b@x.example(550 no such user){= one\n}\r\n"));
	rig.said = "= two\n";
	rig_run(400);                   /* the same words: nothing is written */
	ck_assert_uint_eq(lines_of("cur", rig_name(NULL), " said "), 1);
	ANSWERS(NEVER("c@x.example"));
	rig_run(1200);
	ck_assert_ptr_nonnull(strstr(report_text(1), "c@x.example(550 no such user){= two\n}\r\n"));
}
END_TEST

START_TEST(what_was_said_is_there_after_a_crash_and_when_the_lifetime_ends)
{
	rig.said = "= one\n";
	ANSWERS(LATER("@x.example"));
	ck_assert(rig_put("a@s.example", "b@x.example"));
	rig_run(3600);
	rig_crash();
	rig_start();
	rig.said = NULL;
	rig_run(5 * 86400);
	ck_assert_str_eq(rig_cur(), "");
	ck_assert_ptr_nonnull(strstr(report_text(0), "the last answer was: 450 later){= one\n}\r\n"));
}
END_TEST

START_TEST(new_words_without_a_conversation_take_the_old_one_away)
{
	rig.said = "= one\n";
	ANSWERS(LATER("@x.example"));
	ck_assert(rig_put("a@s.example", "b@x.example"));
	rig_run(2);
	rig.said = NULL;
	ANSWERS({ "@x.example", RESULT_DEFERRED, BLAME_DEST, 0, "timed out" });
	rig_run(5 * 86400 + 3600);
	rig_answers(NULL, 0);
	rig_run(86400);
	ck_assert_ptr_nonnull(strstr(report_text(0), "the last answer was: timed out)\r\n"));
}
END_TEST

START_TEST(what_was_said_does_not_fill_the_journal)
{
	static char said[SAID_MAX + 2];
	struct buf to = { 0 };

	memset(said, '\n', SAID_MAX);
	rig.said = said;
	for (int i = 0; i < 100; i++)
		buf_printf(&to, "b@d%d.example ", i);
	ANSWERS(LATER(""));
	ck_assert(rig_put("a@s.example", buf_cstr(&to)));
	rig_run(60);
	ck_assert_uint_eq(lines_of("cur", rig_name(NULL), " said "), SAID_IN_ALL / (4 * SAID_MAX));
	said[SAID_MAX] = '\n';          /* more than may be: none */
	ck_assert(rig_put("a@s.example", "b@other.example"));
	rig_run(60);
	ck_assert_uint_eq(lines_of("cur", rig_name("other.example"), " said "), 0);
	buf_free(&to);
}
END_TEST

START_TEST(a_host_that_all_go_to_is_not_told_of_for_each_domain)
{
	struct buf to = { 0 };

	rig.said = "= relay\n";
	for (int i = 0; i < 30; i++)
		buf_printf(&to, "b@d%d.relay.example ", i);
	ANSWERS({ "", RESULT_DEFERRED, BLAME_TALK, 451, "later" });
	ck_assert(rig_put("a@s.example", buf_cstr(&to)));
	rig_run(60);
	ck_assert_uint_eq(lines_of("cur", rig_name(NULL), " deferred "), 30);
	ck_assert_uint_eq(lines_of("cur", rig_name(NULL), " said "), 8);
	buf_free(&to);
}
END_TEST

START_TEST(a_fault_of_our_own_counts_no_attempt)
{
	ANSWERS({ "", RESULT_DEFERRED, BLAME_SELF, 0, "no resolver answers" });
	ck_assert(rig_put("a@s.example", "b@x.example"));
	ck_assert(rig_put("a@s.example", "b@x.example c@y.example"));
	rig_run(4 * 3600);
	ck_assert_uint_gt(rig.nsent, 8);
	ck_assert_str_eq(rig_cur(), "0 x.example, 0 x.example, 0 y.example");
	ANSWERS({ "", RESULT_FAILED, BLAME_SELF, 0, "no resolver answers" });
	rig_run(3600);
	ck_assert_uint_eq(rig.reports[REPORT_FINAL], 0);
	rig_answers(NULL, 0);
	rig_run(400);
	ck_assert_str_eq(rig_cur(), "");
}
END_TEST

START_TEST(the_log_counts_tries_as_the_name_does)
{
	static const struct { struct rig_answer answer; const char *logged, *left; } rows[] = {
		{ { "", RESULT_DEFERRED, BLAME_DEST, 0, "no answer" }, " tries=1 ", "1 x.example" },
		{ { "", RESULT_DEFERRED, BLAME_RCPT, 450, "later" }, " tries=1 ", "1 x.example" },
		{ { "", RESULT_DEFERRED, BLAME_SELF, 0, "no resolver answers" }, " tries=0 ", "0 x.example" },
	};
	char path[400];

	snprintf(path, sizeof path, "%s/log", rig.dir);
	ck_assert_int_eq(log_open(path), 0);
	rig_answers(&rows[_i].answer, 1);
	ck_assert(rig_put("a@s.example", "b@x.example"));
	rig_run(2);
	log_open("/dev/null");
	ck_assert_str_eq(rig_cur(), rows[_i].left);
	ck_assert_msg(strstr(rig_read(".", "log"), rows[_i].logged) != NULL, "%s", rig_read(".", "log"));
}
END_TEST

/* ---- reports */

START_TEST(a_report_names_exactly_those_that_failed)
{
	ANSWERS(NEVER("b@x.example"), NEVER("@y.example"), LATER("@z.example"));
	ck_assert(rig_put("a@s.example", "b@x.example c@x.example d@y.example e@y.example f@z.example"));
	rig_run(2);
	ck_assert_uint_eq(rig.reports[REPORT_FINAL], 1);
	ck_assert_uint_eq(rig_got("a@s.example"), 1);
	ck_assert_ptr_nonnull(strstr(report_text(0), ": b@x.example(550 no such user) d@y.example(550 no such user) e@y.example(550 no such user)\r\n"));
	ck_assert_str_eq(rig_cur(), "1 z.example");
	ck_assert_uint_eq(lines_of("cur", rig_name("z.example"), " reported "), 1);
	ANSWERS(NEVER("@z.example"));
	rig_run(400);
	ck_assert_str_eq(rig_cur(), "");
	ck_assert_ptr_nonnull(strstr(report_text(1), ": f@z.example(550 no such user)\r\n"));
	ck_assert_uint_eq(rig_got("a@s.example"), 2);
}
END_TEST

/* RFC 3461 4.1, 5.2: who asked for it, and once for what became final together. */
START_TEST(success_is_reported_to_who_asked_for_it)
{
	ck_assert(rig_put("a@s.example", "b@x.example NOTIFY=SUCCESS"));
	ck_assert(rig_put("a@s.example", "c@x.example NOTIFY=FAILURE"));
	ck_assert(rig_put("a@s.example", "d@x.example"));
	ck_assert(rig_put("", "e@x.example NOTIFY=SUCCESS"));
	rig.handed = HANDED_RELAYED;
	rig_run(60);
	ck_assert_uint_eq(rig.reports[REPORT_FINAL], 1);
	ck_assert_ptr_nonnull(strstr(report_text(0), ": b@x.example(250 taken)\r\n"));
	rig.handed = HANDED_ON;
	ck_assert(rig_put("a@s.example", "f@x.example NOTIFY=SUCCESS"));
	rig_run(60);
	ck_assert_uint_eq(rig.reports[REPORT_FINAL], 1);
	ck_assert_str_eq(rig_cur(), "");
}
END_TEST

START_TEST(success_and_failure_of_one_round_are_one_report)
{
	ANSWERS(NEVER("b@x.example"), LATER("d@x.example"));
	ck_assert(rig_put("a@s.example", "b@x.example c@x.example d@x.example"));
	ck_assert(rig_put("a@s.example", "b@x.example c@x.example NOTIFY=SUCCESS d@x.example NOTIFY=SUCCESS"));
	rig_run(60);
	ck_assert_uint_eq(rig.reports[REPORT_FINAL], 2);
	ck_assert_ptr_nonnull(strstr(report_text(0), ": b@x.example(550 no such user)\r\n"));
	ck_assert_ptr_nonnull(strstr(report_text(1), ": b@x.example(550 no such user) c@x.example(250 taken)\r\n"));
	rig_answers(NULL, 0);
	rig_run(1000);
	ck_assert_uint_eq(rig.reports[REPORT_FINAL], 3);
	ck_assert_ptr_nonnull(strstr(report_text(2), ": d@x.example(250 taken)\r\n"));
	ck_assert_str_eq(rig_cur(), "");
}
END_TEST

/* The report is made again under the same id, so it arrives once, or twice when it was on its way. */
START_TEST(a_crash_loses_no_report_of_success)
{
	for (unsigned n = 1; n < 14; n++) {
		ck_assert(rig_put("a@s.example", "b@x.example NOTIFY=SUCCESS"));
		rig_disk(n, (unsigned)-1, EIO);
		rig_run(1);
		rig_crash();
		rig_disk(0, 0, 0);
		rig_start();
		rig_run(3000);
		ck_assert_str_eq(rig_cur(), "");
		ck_assert_msg(rig_got("a@s.example") >= n, "call %u: %u reports", n, rig_got("a@s.example"));
	}
}
END_TEST

START_TEST(the_entry_stays_until_its_report_is_durable)
{
	ANSWERS(NEVER("@x.example"));
	rig.by_hand = true;
	ck_assert(rig_put("a@s.example", "b@x.example"));
	rig_run(1);
	rig_finish(0, false);
	/* the report is written, no turn has ended: nothing is durable yet */
	ck_assert_str_eq(rig_cur(), "0 s.example, 0 x.example");
	rig_turn();
	ck_assert_str_eq(rig_cur(), "0 s.example");
	rig_finish(0, false);
	rig_turn();
	ck_assert_str_eq(rig_cur(), "");
}
END_TEST

START_TEST(reports_are_no_flood)
{
	char to[40];

	ANSWERS({ "@s.example", RESULT_DELIVERED, BLAME_RCPT, 250, "taken" }, NEVER(""));
	for (int i = 0; i < 150; i++) {
		snprintf(to, sizeof to, "b@x%d.example", i);
		ck_assert(rig_put("a@s.example", to));
	}
	for (int i = 0; i < 500; i++)
		rig_turn();             /* no time passes */
	ck_assert_uint_eq(rig.reports[REPORT_FINAL], 100);
	rig_run(20);
	ck_assert_uint_ge(rig.reports[REPORT_FINAL], 115);
	ck_assert_uint_le(rig.reports[REPORT_FINAL], 125);
	rig_crash();                    /* what waits is in the journal, and its names are due again */
	rig_start();
	rig_run(600);
	ck_assert_uint_eq(rig.reports[REPORT_FINAL], 150);
	ck_assert_str_eq(rig_cur(), "");
	ck_assert_uint_eq(rig_got("a@s.example"), 150);
	ck_assert_uint_eq(rig_got("b@x149.example"), 1);
}
END_TEST

/* As `fardel queue retry all` does. */
static void retry_all(void)
{
	static char names[200][NAME_ROOM];
	int n = list_names(queue.cur, names, 200);
	static int64_t earlier;

	earlier++;
	for (int i = 0; i < n; i++) {
		struct entry_name e;
		char to[NAME_ROOM];

		ck_assert(entry_parse(names[i], &e));
		entry_print(to, loop_wall() - earlier, false, e.tries, e.id, e.dest.p);
		rig_mv(names[i], to);
	}
	queue_wake();
	rig_turn();
}

START_TEST(reports_that_are_asked_for_again_and_again_wait_no_longer_for_their_turn)
{
	char to[40];

	ANSWERS({ "@s.example", RESULT_DELIVERED, BLAME_RCPT, 250, "taken" }, NEVER(""));
	for (int i = 0; i < 150; i++) {
		snprintf(to, sizeof to, "b@x%d.example", i);
		ck_assert(rig_put("a@s.example", to));
	}
	for (int i = 0; i < 30; i++)
		retry_all();
	rig_run(120);
	ck_assert_uint_eq(rig.reports[REPORT_FINAL], 150);
	ck_assert_str_eq(rig_cur(), "");
}
END_TEST

START_TEST(notices_of_delay_are_no_flood_either_and_none_is_lost)
{
	rig.conf.delay_notice = 14400;
	seldom();
	ANSWERS({ "@x.example", RESULT_DEFERRED, BLAME_DEST, 0, "connect: timed out" });
	for (int i = 0; i < 130; i++)
		ck_assert(rig_put("a@s.example", "b@x.example"));
	rig_run(14400 + 3);
	ck_assert_uint_le(rig.reports[REPORT_DELAYED], 105);
	rig_run(2 * 3600);              /* each is looked at once an hour */
	ck_assert_uint_eq(rig.reports[REPORT_DELAYED], 130);
}
END_TEST

START_TEST(a_report_is_made_once_across_a_crash)
{
	/* between its commit and its note; the crash at every other moment is among the stories below */
	ANSWERS(NEVER("@x.example"));
	rig.by_hand = true;
	ck_assert(rig_put("a@s.example", "b@x.example c@y.example"));
	rig_run(1);
	ck_assert_uint_eq(rig.nheld, 2);
	rig_finish(0, false);
	rig_turn();
	rig_finish(0, false);
	ck_assert_str_eq(rig_cur(), "0 +, 0 s.example");
	ck_assert_uint_eq(lines_of("cur", rig_name("+"), " failed 1<b@x.example> +.1 "), 1);
	rig_crash();
	rig.by_hand = false;
	rig_start();
	rig_run(1200);
	ck_assert_str_eq(rig_cur(), "");
	ck_assert_uint_eq(rig_count("bad"), 0);
	ck_assert_uint_eq(rig_got("b@x.example"), 1);
	ck_assert_uint_eq(rig_got("c@y.example"), 1);
	ck_assert_uint_eq(rig_got("a@s.example"), 1);
}
END_TEST

START_TEST(mail_without_a_sender_that_fails_is_kept_in_bad)
{
	ANSWERS(NEVER("@x.example"));
	ck_assert(rig_put("", "b@x.example"));
	rig_run(1);
	ck_assert_str_eq(rig_cur(), "");
	ck_assert_uint_eq(rig.reports[REPORT_FINAL], 0);
	ck_assert_uint_eq(rig_count("bad"), 2);
}
END_TEST

START_TEST(mail_without_a_sender_goes_on_to_those_who_have_not_failed)
{
	static const struct {
		const char *to;
	} rows[] = { { "b@x.example c@x.example" }, { "b@x.example c@y.example" }, { "b@x.example c@y.example c@z.example" },
		{ "b@x.example c@1.relay.example c@2.relay.example" } };

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		ANSWERS(NEVER("b@x.example"), LATER(""));
		ck_assert(rig_put("", rows[i].to));
		rig_run(1);
		ck_assert_str_ne(rig_cur(), "");
		rig_answers(NULL, 0);
		rig_run(3600);
		ck_assert_str_eq(rig_cur(), "");
		ck_assert_msg(rig_count("bad") == 2 * (i + 1), "row %zu", i);
		ck_assert_uint_eq(rig_got("b@x.example"), (unsigned)i + 1);
	}
	ck_assert_uint_eq(rig_got("c@x.example"), 2);
	ck_assert_uint_eq(rig_got("c@z.example"), 2);
}
END_TEST

START_TEST(who_wants_no_report_gets_none)
{
	ANSWERS(NEVER(""));
	ck_assert(rig_put("a@s.example", "b@x.example NOTIFY=NEVER"));
	ck_assert(rig_put("a@s.example", "b@x.example NOTIFY=SUCCESS,DELAY"));
	ck_assert(rig_put("", "b@x.example NOTIFY=NEVER"));
	rig_run(2);
	ck_assert_str_eq(rig_cur(), "");
	ck_assert_uint_eq(rig.reports[REPORT_FINAL], 0);
	ck_assert_uint_eq(rig_count("bad"), 0);
}
END_TEST

START_TEST(a_report_with_octets_above_7_bits_says_so)
{
	ANSWERS(NEVER("@x.example"));
	ck_assert(rig_put("a@s.example", "b@x.example"));
	rig_run(1);
	ck_assert_int_eq(rig.sent[rig.nsent - 1].declared, BODY_7BIT);
	ck_assert(rig_put("a@s.example", "b\xc3\xbc@x.example"));
	rig_run(1);
	ck_assert_ptr_nonnull(strstr(report_text(1), "\xc3\xbc"));
	ck_assert_int_eq(rig.sent[rig.nsent - 1].declared, BODY_8BITMIME);
}
END_TEST

/* ---- age */

START_TEST(a_delay_notice_is_sent_once)
{
	rig_crash();
	rig.conf.delay_notice = 4 * 3600;
	rig_start();
	ANSWERS(LATER("@x.example"), LATER("@y.example"), { "@dead.example", RESULT_DEFERRED, BLAME_DEST, 0, "connection refused" });
	ck_assert(rig_put("a@s.example", "b@x.example c@y.example d@dead.example e@fine.example"));
	ck_assert(rig_put("", "b@x.example"));
	ck_assert(rig_put("a@s.example", "b@x.example NOTIFY=FAILURE"));
	rig_run(4 * 3600 - 60);
	ck_assert_uint_eq(rig.reports[REPORT_DELAYED], 0);
	rig_run(300);
	ck_assert_uint_eq(rig_got("a@s.example"), 1);
	ck_assert_ptr_nonnull(strstr(report_text(0), "b@x.example("));
	ck_assert_ptr_nonnull(strstr(report_text(0), "d@dead.example(connection refused)"));
	ck_assert_ptr_nonnull(strstr(report_text(0), "c@y.example(450 later)"));
	ck_assert_ptr_null(strstr(report_text(0), "e@fine.example"));
	rig_crash();
	rig_start();
	rig_run(24 * 3600);
	ck_assert_uint_eq(rig_got("a@s.example"), 1);
	ck_assert_uint_eq(rig.reports[REPORT_FINAL], 0);
}
END_TEST

START_TEST(the_end_of_the_lifetime_is_a_report_with_the_last_words)
{
	ANSWERS(LATER("@x.example"));
	ck_assert(rig_put("a@s.example", "b@x.example"));
	rig_run(5 * 86400 - 60);
	ck_assert_str_ne(rig_cur(), "");
	rig_run(120);
	ck_assert_str_eq(rig_cur(), "");
	ck_assert_uint_eq(rig_got("a@s.example"), 1);
	ck_assert_ptr_nonnull(strstr(report_text(0), "b@x.example(given up after 120 hours in the queue; the last answer was: 450 later)"));
}
END_TEST

START_TEST(a_report_at_the_end_of_the_lifetime_has_a_lifetime_of_its_own)
{
	ANSWERS(LATER(""));
	ck_assert(rig_put("a@s.example", "b@x.example"));
	rig_run(6 * 86400);
	ck_assert_uint_eq(rig.reports[REPORT_FINAL], 1);
	ck_assert_ptr_nonnull(strstr(rig_cur(), " s.example"));
	ck_assert_uint_eq(rig_count("bad"), 0);
	ANSWERS({ "", RESULT_DELIVERED, BLAME_RCPT, 250, "taken" });
	rig_run(86400);
	ck_assert_str_eq(rig_cur(), "");
	/* not for ever */
	ANSWERS(LATER(""));
	ck_assert(rig_put("a@s.example", "b@x.example"));
	rig_run(9 * 86400);
	ck_assert_ptr_nonnull(strstr(rig_cur(), " s.example"));
	rig_run(2 * 86400);
	ck_assert_str_eq(rig_cur(), "");
	ck_assert_uint_eq(rig_count("bad"), 2);         /* and why */
	ck_assert_uint_eq(rig.reports[REPORT_FINAL], 2);
}
END_TEST

START_TEST(the_end_of_the_lifetime_is_one_report_about_all_destinations)
{
	struct buf to = { 0 };

	seldom();
	ANSWERS(LATER(""));
	for (int i = 0; i < 200; i++)
		buf_printf(&to, "b@d%d.example ", i);
	ck_assert(rig_put("a@s.example", buf_cstr(&to)));
	rig_run(5 * 86400 - 14400);
	ck_assert_uint_eq(rig_count("cur"), 200);
	ANSWERS({ "@s.example", RESULT_DELIVERED, BLAME_RCPT, 250, "taken" }, LATER(""));
	rig_run(4 * 14400);
	ck_assert_str_eq(rig_cur(), "");
	ck_assert_uint_eq(rig.reports[REPORT_FINAL], 1);
	ck_assert_uint_eq(rig_got("a@s.example"), 1);
	ck_assert_ptr_nonnull(strstr(report_text(0), "b@d0.example(given up after 12"));
	ck_assert_ptr_nonnull(strstr(report_text(0), "b@d199.example(given up after 12"));
	ck_assert_uint_eq(rig.settled[RESULT_FAILED], 200);
	buf_free(&to);
}
END_TEST

/* Whatever call of the disk fails, or is the last one before a crash: everybody is told of, and the report is made again under its id. */
START_TEST(a_crash_at_the_end_of_the_lifetime_loses_no_report)
{
	seldom();
	for (unsigned n = 1; n < 20; n++) {
		unsigned had = rig_got("a@s.example");

		ANSWERS({ "@s.example", RESULT_DELIVERED, BLAME_RCPT, 250, "taken" }, LATER(""));
		ck_assert(rig_put("a@s.example", "b@x.example c@y.example d@z.example"));
		rig_run(5 * 86400 - 14400);
		rig_disk(n, (unsigned)-1, EIO);
		rig_run(4 * 14400);
		rig_crash();
		rig_disk(0, 0, 0);
		rig_start();
		seldom();
		rig_run(86400);
		ck_assert_str_eq(rig_cur(), "");
		ck_assert_msg(rig_got("a@s.example") > had, "call %u", n);
	}
}
END_TEST

START_TEST(what_came_in_before_the_clock_was_set_is_as_old_as_its_first_try_since)
{
	rig_crash();
	loop_virtual_clock(1000000);            /* a board in January 1970 */
	rig_start();
	ANSWERS(LATER("@x.example"));
	ck_assert(rig_put("a@s.example", "b@x.example"));
	rig_run(10);
	ck_assert_uint_eq(rig_got("b@x.example"), 1);
	loop_advance((RIG_WALL - 1000000) * INT64_C(1000));
	rig_run(7200);
	ck_assert_uint_ge(rig_got("b@x.example"), 2);
	ck_assert_uint_eq(rig.reports[REPORT_FINAL], 0);
	rig_run(5 * 86400);
	ck_assert_uint_eq(rig.reports[REPORT_FINAL], 1);
	ck_assert_ptr_nonnull(strstr(report_text(0), "given up after 12"));     /* hours, not those since 1970 */
	ck_assert_str_eq(rig_cur(), "");
}
END_TEST

START_TEST(a_report_waits_until_the_clock_is_set)
{
	rig_crash();
	loop_virtual_clock(1000000);
	rig_start();
	ANSWERS(NEVER("c@x.example"));
	ck_assert(rig_put("a@s.example", "c@x.example"));
	rig_run(3600);
	ck_assert_uint_eq(rig_got("a@s.example"), 0);
	ck_assert_uint_eq(rig_got("c@x.example"), 1);
	loop_advance((RIG_WALL - 1000000) * INT64_C(1000));
	rig_run(3600);
	ck_assert_uint_eq(rig_got("a@s.example"), 1);
	ck_assert_uint_eq(rig_got("c@x.example"), 1);
	ck_assert_str_eq(rig_cur(), "");
}
END_TEST

START_TEST(a_name_with_a_destination_that_nobody_is_at_is_set_aside)
{
	char to[300];

	ANSWERS(LATER("@x.example"));
	ck_assert(rig_put("a@s.example", "b@x.example"));
	rig_run(5);
	snprintf(to, sizeof to, "0.1.%s.y.example", rig_id);
	rig_mv(rig_name("x.example"), to);
	rig_run(60);
	ck_assert_str_eq(rig_cur(), "");
	ck_assert_uint_eq(rig_count("bad"), 2);         /* the message, and why */
	ck_assert_uint_eq(rig.reports[REPORT_FINAL], 0);
}
END_TEST

START_TEST(what_waits_behind_a_dead_destination_ends_in_time)
{
	rig_crash();
	rig.conf.delay_notice = 3600;
	rig_start();
	ANSWERS({ "@x.example", RESULT_DEFERRED, BLAME_DEST, 0, "connection refused" }, { "@1.relay.example", RESULT_DEFERRED, BLAME_DEST, 0, "gone" });
	for (int i = 0; i < 60; i++) {
		ck_assert(rig_put("a@s.example", "b@x.example"));
		ck_assert(rig_put("a@s.example", "c@1.relay.example c@2.relay.example"));
	}
	rig_run(5 * 86400 + 7200);
	ck_assert_str_eq(rig_cur(), "");
	ck_assert_uint_eq(rig.reports[REPORT_DELAYED], 120);
	ck_assert_uint_eq(rig.reports[REPORT_FINAL], 120);
	ck_assert_uint_eq(rig_got("a@s.example"), 240);
	for (size_t i = 120; i < 240; i++)
		ck_assert_msg(strstr(report_text(i), "connection refused") || strstr(report_text(i), "gone"), "%s", report_text(i));
}
END_TEST

START_TEST(a_message_is_tried_before_it_is_too_old)
{
	rig_crash();
	rig.conf.deliver = false;
	rig_start();
	ck_assert(rig_put("a@s.example", "b@x.example"));
	rig_run(6 * 86400);
	rig_crash();
	rig.conf.deliver = true;
	rig_start();
	rig_run(20);
	ck_assert_uint_eq(rig_times("b@x.example"), 1);
	ck_assert_uint_eq(rig.reports[REPORT_FINAL], 0);
}
END_TEST

START_TEST(a_stamp_far_away_is_mended_unless_it_was_asked_for)
{
	char to[NAME_ROOM], id[ID_MAX];

	ANSWERS(LATER(""));
	ck_assert(rig_put("a@s.example", "b@x.example"));
	snprintf(id, sizeof id, "%s", rig_id);
	rig_run(1);
	entry_print(to, RIG_WALL + 3650 * 86400LL, false, 1, id, "x.example");
	rig_mv(rig_name("x.example"), to);
	ck_assert(rig_put_body("a@s.example", "b@y.example", rig_body, NULL, RIG_WALL + 30 * 86400));
	rig_run(60);
	ck_assert_int_lt(atoll(rig_name("x.example")), RIG_WALL + 2 * 3600);
	rig_run(20 * 86400);
	ck_assert_int_eq(atoll(rig_name("y.example")), RIG_WALL + 30 * 86400);
	rig_answers(NULL, 0);
	rig_run(11 * 86400);
	ck_assert_uint_eq(rig_times("b@y.example"), 1);
}
END_TEST

/* ---- a disk that fails */

static const int errors[] = { EIO, ENOSPC };

START_TEST(a_commit_that_fails_at_any_call_is_refused_and_leaves_nothing)
{
	for (size_t e = 0; e < 2; e++) {
		for (int large = 0; large < 2; large++) {
			static char body[100000];
			bool failed = true;

			memset(body, 'x', sizeof body - 1);
			rig_crash();
			rig.conf.deliver = false;
			rig_start();
			for (unsigned n = 1; failed; n++) {
				ck_assert_uint_lt(n, 40);
				rig_disk(n, n, errors[e]);
				failed = !rig_put_body("a@s.example", "b@x.example", large ? body : rig_body, NULL, 0);
				ck_assert(failed || rig.calls < n || wal_on());        /* what is synced by itself needs no log */
				rig_disk(0, 0, 0);
				ck_assert_uint_eq(rig_count("work"), 0);
				ck_assert_str_eq(rig_cur(), failed ? "" : "0 x.example");
				ck_assert_uint_eq(queue_entries(), failed ? 0 : 1);
				ck_assert(queue_committed());
			}
			rig_rm(rig_name("x.example"));
		}
	}
}
END_TEST

START_TEST(a_mark_that_cannot_be_written_stops_the_intake_and_nothing_is_sent_twice)
{
	struct reply why;

	for (size_t e = 0; e < 2; e++) {
		unsigned b = rig_got("b@x.example"), d = rig_got("d@y.example");

		ANSWERS(LATER("c@x.example"));
		rig.by_hand = true;
		ck_assert(rig_put("a@s.example", "b@x.example c@x.example d@y.example"));
		rig_run(1);
		ck_assert_uint_eq(rig.nheld, 2);
		rig_disk(1, (unsigned)-1, errors[e]);
		rig_finish(0, false);
		rig_run(30);
		ck_assert(!queue_accepting(&why));
		ck_assert_int_eq(why.code, 451);
		rig_finish(0, false);
		rig_run(30);
		ck_assert(!queue_accepting(&why));
		rig_disk(0, 0, 0);
		rig_run(61);
		ck_assert(queue_accepting(&why));
		ck_assert_uint_eq(rig_got("b@x.example"), b + 1);
		ck_assert_uint_eq(rig_got("d@y.example"), d + 1);
		ck_assert_str_eq(rig_cur(), "1 x.example");
		rig.by_hand = false;
		rig_answers(NULL, 0);
		rig_run(800);
		ck_assert_uint_eq(rig_got("b@x.example"), b + 1);
		ck_assert_uint_eq(rig_got("d@y.example"), d + 1);
		ck_assert_str_eq(rig_cur(), "");
		ck_assert_uint_eq(rig_count("bad"), 0);
	}
}
END_TEST

START_TEST(marks_refused_at_one_time_keep_mail_out_as_long_as_one)
{
	struct reply why;

	rig.by_hand = true;
	ck_assert(rig_put("a@s.example", "b@w.example c@x.example d@y.example e@z.example"));
	rig_run(1);
	ck_assert_uint_eq(rig.nheld, 4);
	rig_disk(1, (unsigned)-1, EIO);
	for (int i = 0; i < 3; i++) {
		rig_finish(0, false);
		rig_run(1);
	}
	ck_assert(!queue_accepting(&why));
	rig_disk(0, 0, 0);
	rig_run(5);
	ck_assert(queue_accepting(&why));
}
END_TEST

/* What may happen to a message, and what must have come of it in the end. */
static const struct story {
	const char *from, *to;
	struct rig_answer answer[3];
	const char *got[4];             /* delivered, at least once */
	unsigned reports;               /* to the sender */
	unsigned bad;
} stories[] = {
	{ "a@s.example", "b@x.example", { { .who = NULL } }, { "b@x.example" }, 0, 0 },
	{ "a@s.example", "b@x.example c@x.example d@y.example", { LATER("c@x.example") },
	  { "b@x.example", "c@x.example", "d@y.example" }, 0, 0 },
	{ "a@s.example", "b@x.example c@y.example d@z.example", { LATER("@x.example"), LATER("@y.example") },
	  { "b@x.example", "c@y.example", "d@z.example" }, 0, 0 },
	{ "a@s.example", "b@x.example c@y.example", { NEVER("@x.example") }, { "c@y.example" }, 1, 0 },
	{ "a@s.example", "b@x.example c@x.example d@y.example", { NEVER("b@x.example"), LATER("@y.example") }, { "c@x.example", "d@y.example" }, 1, 0 },
	{ "a@s.example", "b@1.relay.example c@2.relay.example d@x.example", { NEVER("b@1.relay.example"), LATER("@2.relay.example") },
	  { "c@2.relay.example", "d@x.example" }, 1, 0 },
	{ "", "b@x.example c@y.example", { NEVER("b@x.example"), LATER("@y.example") }, { "c@y.example" }, 0, 2 },
};
enum { STORIES = sizeof stories / sizeof *stories };

static void begin_story(const struct story *t)
{
	rig_close();
	rig_open();
	memcpy(rig.answer, t->answer, sizeof t->answer);
	ck_assert(rig_put_body(t->from, t->to, rig_body, NULL, RIG_WALL + 5));
	rig_run(2);
}

static void end_story(const struct story *t, const char *how, unsigned n, unsigned most)
{
	memset(rig.answer, 0, sizeof rig.answer);
	for (int i = 0; i < 2; i++)
		if (t->answer[i].who && t->answer[i].what == RESULT_FAILED)
			rig.answer[0] = t->answer[i];
	rig_run(4 * 3600);
	ck_assert_msg(strcmp(rig_cur(), "") == 0, "%s %u of %s: left %s", how, n, t->to, rig_cur());
	ck_assert_msg(queue_entries() == 0 && rig_count("work") == 0, "%s %u of %s", how, n, t->to);
	for (int i = 0; i < 4 && t->got[i]; i++) {
		unsigned tried = rig_got(t->got[i]);
		bool waited = false;

		for (int k = 0; k < 3; k++)
			waited |= t->answer[k].who && t->answer[k].what == RESULT_DEFERRED && strstr(t->got[i], t->answer[k].who);
		ck_assert_msg(tried >= 1, "%s %u of %s: nothing came to %s", how, n, t->to, t->got[i]);
		if (!waited)
			ck_assert_msg(tried <= most, "%s %u of %s: %u times to %s", how, n, t->to, tried, t->got[i]);
	}
	ck_assert_msg(reports_made() == t->reports, "%s %u of %s: %u reports", how, n, t->to, reports_made());
	ck_assert_msg(rig_count("bad") == t->bad, "%s %u of %s: %u in bad/", how, n, t->to, rig_count("bad"));
}

START_TEST(a_call_that_fails_once_loses_nothing_and_repeats_nothing)
{
	const struct story *t = &stories[_i / 2];
	unsigned calls = 1;

	for (unsigned n = 1; n <= calls; n++) {
		begin_story(t);
		rig.fail_open = true;
		rig_disk(n, n, errors[_i % 2]);
		rig_run(30);
		if (calls < rig.calls)
			calls = rig.calls;
		ck_assert_uint_lt(calls, 200);
		rig_disk(0, 0, 0);
		/* a mixed transaction is told once together and once alone */
		end_story(t, "call", n, strstr(t->to, "relay") ? 2 : 1);
	}
}
END_TEST

START_TEST(a_disk_that_fails_for_a_while_loses_nothing_and_repeats_nothing)
{
	const struct story *t = &stories[_i / 2];
	unsigned calls = 1;

	for (unsigned n = 1; n <= calls; n++) {
		begin_story(t);
		rig.fail_open = true;
		rig_disk(n, (unsigned)-1, errors[_i % 2]);
		rig_run(30);
		if (n == 1)
			calls = 40;
		rig_disk(0, 0, 0);
		end_story(t, "from call", n, strstr(t->to, "relay") ? 2 : 1);
	}
}
END_TEST

/* Ends the first bundle that is held, behind the tasks that its results have posted. */
static void end_held(struct task *t)
{
	(void)t;
	rig_finish(0, false);
}

/* A courier hears the last reply, and in the same turn that its job is over: then the name goes, and a mark that nobody will ever read
 * is neither written nor synced. */
START_TEST(a_bundle_that_ends_in_the_turn_of_its_results_costs_one_call)
{
	static const struct reply taken = { .code = 250, .text = "taken" };
	struct task end = { .run = end_held };

	rig.by_hand = true;
	ck_assert(rig_put("a@s.example", "b@x.example c@x.example"));
	rig_run(1);
	ck_assert_uint_eq(rig.nheld, 1);
	rig_disk(0, 0, 0);
	for (size_t i = 0; i < 2; i++)
		queue_result(rig.held[0], i, &(struct result){ .what = RESULT_DELIVERED, .reply = &taken, .host = "mx.example" });
	task_post(&end);
	rig_turn();
	ck_assert_str_eq(rig_cur(), "");
	ck_assert_uint_eq(rig.calls, 1 + wal_on());     /* with a log that hears of it before */
	rig_run(2);
	ck_assert_uint_eq(rig.calls, 2 + wal_on());     /* the directory, or the log */
}
END_TEST

/* While another bundle is under way a result is written in its turn. What is written when the name goes is no longer synced. */
START_TEST(a_mark_is_synced_while_its_message_has_a_name)
{
	static const struct reply taken = { .code = 250, .text = "taken" };

	for (size_t settled = 1; settled <= 2; settled++) {
		rig.by_hand = true;
		ck_assert(rig_put("a@s.example", "b@x.example c@y.example"));
		rig_run(1);
		ck_assert_uint_eq(rig.nheld, 2);
		rig_disk(0, 0, 0);
		queue_result(rig.held[0], 0, &(struct result){ .what = RESULT_DELIVERED, .reply = &taken, .host = "mx.example" });
		rig_turn();
		ck_assert_uint_eq(rig.calls, 1);
		ck_assert_uint_eq(lines_of("cur", rig_name("+"), " delivered "), 1);
		rig_finish(0, false);
		if (settled == 2)
			rig_finish(0, false);
		rig_run(2);
		/* the line, and the file and the directory; or the line, the name and the directory */
		ck_assert_uint_eq(rig.calls, 3 + (wal_on() && settled == 2));  /* a log hears of the name before */
		rig.by_hand = false;
		while (rig.nheld)
			rig_finish(0, false);
		rig_run(2);
		ck_assert_str_eq(rig_cur(), "");
	}
}
END_TEST

/* Not only those of its first second. */
START_TEST(each_mark_of_a_message_is_synced_within_a_second)
{
	rig.by_hand = true;
	ck_assert(rig_put("a@s.example", "b@w.example c@x.example d@y.example"));
	rig_run(1);
	ck_assert_uint_eq(rig.nheld, 3);
	for (int i = 0; i < 2; i++) {
		rig_disk(0, 0, 0);
		rig_finish(0, false);
		rig_turn();
		ck_assert_uint_eq(rig.calls, 1);
		rig_run(2);
		ck_assert_uint_eq(rig.calls, 3);        /* the line; the file and the directory, or the log and its sync */
	}
	rig.by_hand = false;
	rig_finish(0, false);
	rig_run(2);
	ck_assert_str_eq(rig_cur(), "");
}
END_TEST

static unsigned file_syncs;
static int count_sync(int fd)
{
	(void)fd;
	file_syncs++;
	return 0;
}

/* What happened in the last second before it; and nothing else is waited for. */
START_TEST(an_end_syncs_what_was_marked)
{
	for (int late = 0; late < 2; late++) {
		rig.by_hand = true;
		ck_assert(rig_put("a@s.example", "b@x.example c@y.example"));
		rig_run(1);
		rig_finish(0, false);
		rig_turn();
		if (late)
			rig_run(2);
		rig_disk(0, 0, 0);
		file_sys.fdatasync = count_sync;
		file_syncs = 0;
		queue_close();
		if (!wal_on()) {
			ck_assert_uint_eq(file_syncs, !late);
			ck_assert_uint_eq(rig_syncs("cur"), !late);
		}
		rig_crash();
		rig.by_hand = false;
		rig_start();
		rig_run(86400);
		ck_assert_str_eq(rig_cur(), "");
	}
}
END_TEST

/* More than a round takes. */
START_TEST(all_marks_of_a_second_are_synced)
{
	enum { ALL = 300 };

	rig_crash();
	rig.conf.deliver = false;
	rig_start();
	for (int i = 0; i < ALL; i++)
		ck_assert(rig_put("a@s.example", "b@x.example c@x.example"));
	rig_crash();
	rig.conf.deliver = true;
	ANSWERS(LATER("c@x.example"));
	rig_start();
	file_sys.fdatasync = count_sync;
	file_syncs = 0;
	rig_run(5);
	ck_assert_uint_eq(rig_got("b@x.example"), ALL);
	if (!wal_on())
		ck_assert_uint_eq(file_syncs, ALL);
}
END_TEST

static int refuse_sync(int fd)
{
	(void)fd;
	errno = EIO;
	return -1;
}

/* Names that a power cut may take are not relied on: neither is it noted that they are there, nor does + go. */
START_TEST(names_that_cannot_be_made_durable_are_not_relied_on)
{
	int (*good)(int) = file_sys.fsync;

	ANSWERS(LATER(""));
	rig.by_hand = true;
	ck_assert(rig_put("a@s.example", "b@x.example c@y.example"));
	rig_run(1);
	file_sys.fsync = refuse_sync;
	rig_finish(0, false);
	rig_finish(0, false);
	rig_run(30);
	ck_assert_str_eq(rig_cur(), "0 +, 1 x.example, 1 y.example");
	ck_assert_uint_eq(lines_of("cur", rig_name("+"), " linked "), 0);
	file_sys.fsync = good;
	rig_run(61);
	ck_assert_str_eq(rig_cur(), "1 x.example, 1 y.example");
	ck_assert_uint_eq(lines_of("cur", rig_name(NULL), " linked "), 2);
}
END_TEST

/* Our disk has refused it, and takes it now. */
START_TEST(an_end_writes_what_could_not_be_written_before)
{
	rig.by_hand = true;
	ck_assert(rig_put("a@s.example", "b@x.example c@y.example"));
	rig_run(1);
	rig_disk(1, (unsigned)-1, ENOSPC);
	rig_finish(0, false);
	rig_run(1);
	rig_disk(0, 0, 0);
	queue_close();
	rig_crash();
	rig.by_hand = false;
	rig_start();
	rig_run(86400);
	ck_assert_str_eq(rig_cur(), "");
	ck_assert_uint_eq(rig_got("b@x.example") + rig_got("c@y.example"), 2);
}
END_TEST

/* The process is gone at its n-th call: nothing is lost, and only what was not marked yet comes again. */
START_TEST(a_crash_at_any_call_loses_nothing_and_reports_once)
{
	const struct story *t = &stories[_i];
	unsigned last = 1;

	for (unsigned n = 1; n <= last; n++) {
		begin_story(t);
		rig.fail_open = true;
		rig_disk(n, (unsigned)-1, EIO);
		for (int i = 0; i < 40 && rig.calls < n; i++)
			loop_turn(1000);
		if (rig.calls >= n)
			last = n + 1;
		rig_crash();
		rig_start();
		end_story(t, "crash at", n, 2 + (strstr(t->to, "relay") != NULL));
	}
	ck_assert_uint_gt(last, 2);
}
END_TEST

START_TEST(a_crash_at_any_call_of_a_commit_loses_nothing_that_was_answered)
{
	for (unsigned n = 1; n < 20; n++) {
		bool ok;

		rig_close();
		rig_open();
		rig_crash();
		rig.conf.deliver = false;
		rig_start();
		rig_disk(n, (unsigned)-1, EIO);
		ok = rig_put("a@s.example", "b@x.example c@y.example");
		rig_crash();
		rig_start();
		ck_assert_uint_eq(rig_count("work"), 0);
		rig_crash();
		rig.conf.deliver = true;
		rig_start();
		rig_run(10);
		ck_assert_uint_le(rig_got("b@x.example"), 1);
		if (ok)
			ck_assert_uint_eq(rig_got("b@x.example"), 1);
		ck_assert_str_eq(rig_cur(), "");
		ck_assert_uint_eq(rig_count("bad"), 0);
	}
}
END_TEST

Suite *queue_attempt_suite(void)
{
	Suite *s = suite_create("queue_attempt");
	TCase *l = tcase_create("deferral"), *r = tcase_create("reports"), *a = tcase_create("age"), *d = tcase_create("disk");

	tcase_add_checked_fixture(l, set_up, tear_down);
	tcase_add_test(l, only_what_must_wait_is_tried_again);
	tcase_add_test(l, destinations_that_must_wait_get_names_of_their_own_and_plus_goes);
	tcase_add_test(l, domains_of_a_shared_way_stay_together);
	tcase_add_test(l, a_destination_that_was_not_tried_loses_no_time);
	tcase_add_test(l, links_that_are_refused_leave_plus_for_all);
	tcase_add_test(l, a_deferral_is_one_line_and_is_not_repeated);
	tcase_add_test(l, what_was_said_is_written_down_where_it_was_in_vain);
	tcase_add_test(l, a_report_has_what_was_said_of_those_who_failed);
	tcase_add_test(l, what_was_said_is_there_after_a_crash_and_when_the_lifetime_ends);
	tcase_add_test(l, new_words_without_a_conversation_take_the_old_one_away);
	tcase_add_test(l, what_was_said_does_not_fill_the_journal);
	tcase_add_test(l, a_host_that_all_go_to_is_not_told_of_for_each_domain);
	tcase_add_test(l, a_fault_of_our_own_counts_no_attempt);
	tcase_add_loop_test(l, the_log_counts_tries_as_the_name_does, 0, 3);
	suite_add_tcase(s, l);
	tcase_add_checked_fixture(r, set_up, tear_down);
	tcase_add_test(r, a_report_names_exactly_those_that_failed);
	tcase_add_test(r, success_is_reported_to_who_asked_for_it);
	tcase_add_test(r, a_report_at_the_end_of_the_lifetime_has_a_lifetime_of_its_own);
	tcase_add_test(r, the_end_of_the_lifetime_is_one_report_about_all_destinations);
	tcase_add_test(r, a_crash_at_the_end_of_the_lifetime_loses_no_report);
	tcase_add_test(r, success_and_failure_of_one_round_are_one_report);
	tcase_add_test(r, a_crash_loses_no_report_of_success);
	tcase_add_test(r, the_entry_stays_until_its_report_is_durable);
	tcase_add_test(r, reports_are_no_flood);
	tcase_add_test(r, reports_that_are_asked_for_again_and_again_wait_no_longer_for_their_turn);
	tcase_add_test(r, notices_of_delay_are_no_flood_either_and_none_is_lost);
	tcase_add_test(r, a_report_is_made_once_across_a_crash);
	tcase_add_test(r, mail_without_a_sender_that_fails_is_kept_in_bad);
	tcase_add_test(r, mail_without_a_sender_goes_on_to_those_who_have_not_failed);
	tcase_add_test(r, who_wants_no_report_gets_none);
	tcase_add_test(r, a_report_with_octets_above_7_bits_says_so);
	suite_add_tcase(s, r);
	tcase_add_checked_fixture(a, set_up, tear_down);
	tcase_add_test(a, a_delay_notice_is_sent_once);
	tcase_add_test(a, the_end_of_the_lifetime_is_a_report_with_the_last_words);
	tcase_add_test(a, what_came_in_before_the_clock_was_set_is_as_old_as_its_first_try_since);
	tcase_add_test(a, a_report_waits_until_the_clock_is_set);
	tcase_add_test(a, a_name_with_a_destination_that_nobody_is_at_is_set_aside);
	tcase_add_test(a, what_waits_behind_a_dead_destination_ends_in_time);
	tcase_add_test(a, a_message_is_tried_before_it_is_too_old);
	tcase_add_test(a, a_stamp_far_away_is_mended_unless_it_was_asked_for);
	suite_add_tcase(s, a);
	tcase_add_checked_fixture(d, set_up, tear_down);
	tcase_add_test(d, a_commit_that_fails_at_any_call_is_refused_and_leaves_nothing);
	tcase_add_test(d, a_mark_that_cannot_be_written_stops_the_intake_and_nothing_is_sent_twice);
	tcase_add_test(d, marks_refused_at_one_time_keep_mail_out_as_long_as_one);
	tcase_add_loop_test(d, a_call_that_fails_once_loses_nothing_and_repeats_nothing, 0, 2 * STORIES);
	tcase_add_loop_test(d, a_disk_that_fails_for_a_while_loses_nothing_and_repeats_nothing, 0, 2 * STORIES);
	tcase_add_test(d, a_bundle_that_ends_in_the_turn_of_its_results_costs_one_call);
	tcase_add_test(d, a_mark_is_synced_while_its_message_has_a_name);
	tcase_add_test(d, each_mark_of_a_message_is_synced_within_a_second);
	tcase_add_test(d, an_end_syncs_what_was_marked);
	tcase_add_test(d, all_marks_of_a_second_are_synced);
	tcase_add_test(d, names_that_cannot_be_made_durable_are_not_relied_on);
	tcase_add_test(d, an_end_writes_what_could_not_be_written_before);
	tcase_add_loop_test(d, a_crash_at_any_call_loses_nothing_and_reports_once, 0, STORIES);
	tcase_add_test(d, a_crash_at_any_call_of_a_commit_loses_nothing_that_was_answered);
	suite_add_tcase(s, d);
	return s;
}
