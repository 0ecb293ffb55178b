/* The intake log: its form, and what comes back from it behind a power cut. */
#include "queue/inside.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/queue_rig.h"

Suite *queue_wal_suite(void);

#define ROWS(...) ((const struct rig_answer[]){ __VA_ARGS__ })
#define ANSWERS(...) rig_answers(ROWS(__VA_ARGS__), sizeof ROWS(__VA_ARGS__) / sizeof(struct rig_answer))
#define LATER(who) { who, RESULT_DEFERRED, BLAME_RCPT, 450, "later" }
#define NEVER(who) { who, RESULT_FAILED, BLAME_RCPT, 550, "no such user" }

enum { SMALL = WAL_SEGMENT_MIN, MB = 1 << 20 };

/* ---- the form */

static const struct wal_head one = { .seq = 7, .life = 0x0123456789abcdefu };

static int memory_file(const struct buf *b)
{
	int fd = memfd_create("segment", MFD_CLOEXEC);

	ck_assert(fd != -1);
	ck_assert_int_eq(file_write(fd, b->p, b->n), 0);
	return fd;
}

static char seen[4096];
static bool note(void *arg, const struct wal_record *r)
{
	size_t n = strlen(seen);

	(void)arg;
	snprintf(seen + n, sizeof seen - n, "%c<" STR_FMT ">%zu ", r->kind, STR_ARG(r->head), r->n);
	return true;
}

static const char *read_all(const struct buf *b)
{
	struct wal_head h;
	int fd = memory_file(b);

	seen[0] = 0;
	if (wal_head_read(fd, &h) == 0)
		ck_assert_int_eq(wal_read(fd, &h, note, NULL), 0);
	close(fd);
	return seen;
}

static void start_segment(struct buf *b, const struct wal_head *h)
{
	char block[WAL_BLOCK];

	wal_head_print(block, h);
	ck_assert(buf_add(b, block, sizeof block));
}

static void up_to_block(struct buf *b)
{
	while (b->n % WAL_BLOCK)
		buf_char(b, 0);
}

/* Two batches: three records, and one. */
static void make_segment(struct buf *b)
{
	start_segment(b, &one);
	ck_assert(wal_record(b, &one, 1, WAL_MESSAGE, STR("a"), "0123456789", 10));
	ck_assert(wal_record(b, &one, 2, WAL_LINES, STR("b"), "x\n", 2));
	ck_assert(wal_record(b, &one, 3, WAL_GONE, STR("done a"), "", 0));
	up_to_block(b);
	ck_assert(wal_record(b, &one, 4, WAL_NAME, STR("- c"), "", 0));
	up_to_block(b);
	up_to_block(b);
}

START_TEST(what_is_logged_is_read_back)
{
	struct buf b = { 0 };

	make_segment(&b);
	ck_assert_str_eq(read_all(&b), "M<a>10 J<b>2 G<done a>0 N<- c>0 ");
	buf_free(&b);
}
END_TEST

START_TEST(a_head_with_any_octet_changed_is_none)
{
	char block[WAL_BLOCK];
	struct wal_head h;

	wal_head_print(block, &one);
	for (size_t i = 0; i < 200; i++) {
		struct buf b = { 0 };
		int fd;

		buf_add(&b, block, sizeof block);
		b.p[i] ^= 1;
		fd = memory_file(&b);
		ck_assert_int_eq(wal_head_read(fd, &h), -1);
		ck_assert_int_eq(errno, EBADMSG);
		close(fd);
		buf_free(&b);
	}
}
END_TEST

/* The records of its batch behind it go with it; what was durable before, and later batches, count. */
START_TEST(a_record_with_any_octet_changed_or_zeroed_is_passed_over)
{
	struct buf good = { 0 };
	size_t first = WAL_BLOCK, end = WAL_BLOCK + 3 * WAL_LINE + 12 + 4 + 7;

	make_segment(&good);
	for (size_t i = first; i < end; i++)
		for (int how = 0; how < 2; how++) {
			struct buf b = { 0 };
			const char *got;

			buf_add(&b, good.p, good.n);
			b.p[i] = how ? 0 : (char)(b.p[i] ^ 0x10);
			got = read_all(&b);
			ck_assert_str_eq(got, i < first + WAL_LINE + 12 ? "N<- c>0 " : i < first + 2 * WAL_LINE + 16 ? "M<a>10 N<- c>0 " :
				"M<a>10 J<b>2 N<- c>0 ");
			buf_free(&b);
		}
	buf_free(&good);
}
END_TEST

START_TEST(a_segment_cut_anywhere_gives_what_is_whole)
{
	struct buf good = { 0 };

	make_segment(&good);
	for (size_t n = WAL_BLOCK; n < WAL_BLOCK + 200; n++) {
		struct buf b = { 0 };
		const char *got;

		buf_add(&b, good.p, n);
		got = read_all(&b);
		ck_assert_str_eq(got, n < WAL_BLOCK + WAL_LINE + 12 ? "" : n < WAL_BLOCK + 2 * WAL_LINE + 16 ? "M<a>10 " :
			n < WAL_BLOCK + 3 * WAL_LINE + 23 ? "M<a>10 J<b>2 " : "M<a>10 J<b>2 G<done a>0 ");
		buf_free(&b);
	}
	buf_free(&good);
}
END_TEST

START_TEST(records_of_an_earlier_life_of_the_segment_do_not_count)
{
	struct wal_head again = one;
	struct buf b = { 0 }, fresh = { 0 };

	make_segment(&b);
	again.life++;
	again.seq++;
	start_segment(&fresh, &again);
	ck_assert(wal_record(&fresh, &again, 1, WAL_GONE, STR("away z"), "", 0));
	memcpy(b.p, fresh.p, fresh.n);
	ck_assert_str_eq(read_all(&b), "G<away z>0 ");
	buf_free(&b);
	buf_free(&fresh);
}
END_TEST

/* What a write that failed has left behind a shorter one that has come in its place. */
START_TEST(a_record_whose_number_is_not_higher_does_not_count)
{
	struct buf b = { 0 };

	start_segment(&b, &one);
	ck_assert(wal_record(&b, &one, 3, WAL_LINES, STR("b"), "x\n", 2));
	up_to_block(&b);
	ck_assert(wal_record(&b, &one, 3, WAL_GONE, STR("done a"), "", 0));
	up_to_block(&b);
	ck_assert(wal_record(&b, &one, 2, WAL_GONE, STR("done b"), "", 0));
	up_to_block(&b);
	ck_assert(wal_record(&b, &one, 4, WAL_NAME, STR("- c"), "", 0));
	up_to_block(&b);
	ck_assert_str_eq(read_all(&b), "J<b>2 N<- c>0 ");
	buf_free(&b);
}
END_TEST

/* ---- in a queue */

static void start(void)
{
	rig.conf.sync = QUEUE_SYNC_LOG;
	rig.conf.log_size = SMALL;
	rig_start();
}

static void set_up(void)
{
	rig_open();
	rig_crash();
	start();
}

static void tear_down(void)
{
	rig_close();
}

static void power_cut(void)
{
	rig_run(2);             /* what happened is durable in the log within a second */
	rig_power_cut(false);
}

static void lose_all(void)
{
	while (rig_count("cur"))
		rig_rm(rig_name(NULL));
}

static bool put_later(const char *to)
{
	bool ok;

	ANSWERS(LATER(""));
	ok = rig_put("a@s.example", to);
	rig_run(2);
	return ok;
}

START_TEST(a_message_whose_file_was_lost_comes_back)
{
	ck_assert(put_later("b@x.example"));
	power_cut();
	lose_all();
	start();
	ck_assert_str_eq(rig_cur(), "1 x.example");
	ANSWERS({ "", RESULT_DELIVERED, BLAME_RCPT, 250, "ok" });
	rig_run(86400);
	ck_assert_str_eq(rig_cur(), "");
	ck_assert_str_eq(rig.sent[rig.nsent - 1].body, rig_body);
}
END_TEST

START_TEST(a_file_that_is_torn_or_zeros_is_written_again)
{
	for (int how = 0; how < 4; how++) {
		char text[8192] = "", name[NAME_ROOM];
		size_t n;

		ck_assert(put_later("b@x.example"));
		power_cut();
		snprintf(name, sizeof name, "%s", rig_name("x.example"));
		n = strlen(rig_read("cur", name));
		memcpy(text, rig_read("cur", name), n);
		if (how == 2)
			memset(text, 0, n);
		if (how == 3)
			memset(strstr(text, "A line."), 0, 7);
		rig_rm(name);
		rig_write("cur", name, text, how == 0 ? 0 : how == 1 ? 100 : n);
		start();
		ck_assert_str_eq(rig_cur(), "1 x.example");
		ck_assert_uint_eq(rig_count("bad"), 0);
		ANSWERS({ "", RESULT_DELIVERED, BLAME_RCPT, 250, "ok" });
		rig_run(86400);
		ck_assert_uint_eq(rig_count("cur"), 0);
	}
	ck_assert_uint_eq(rig_count("bad"), 0);
}
END_TEST

START_TEST(what_was_delivered_does_not_come_back)
{
	ck_assert(rig_put("a@s.example", "b@x.example"));
	rig_run(2);
	ck_assert_str_eq(rig_cur(), "");
	power_cut();
	start();
	rig_run(86400);
	ck_assert_uint_eq(rig_got("b@x.example"), 1);
}
END_TEST

/* ---- the process ended, and the kernel has forgotten that nothing else did: the next start takes it for a power cut */

static void end_unnoticed(void)
{
	rig_crash();
	rig.life++;
}

START_TEST(what_left_just_before_a_kill_does_not_come_back)
{
	ck_assert(rig_put("a@s.example", "b@x.example"));
	rig_turn();
	ck_assert_str_eq(rig_cur(), "");
	end_unnoticed();
	start();
	ck_assert_str_eq(rig_cur(), "");
	rig_run(86400);
	ck_assert_uint_eq(rig_got("b@x.example"), 1);
}
END_TEST

START_TEST(several_names_of_a_message_that_left_just_before_a_kill_do_not_come_back)
{
	ck_assert(put_later("b@x.example c@y.example"));
	ANSWERS({ "", RESULT_DELIVERED, BLAME_RCPT, 250, "ok" });
	while (rig_count("cur"))
		rig_run(1);
	end_unnoticed();
	start();
	ck_assert_str_eq(rig_cur(), "");
	ck_assert_uint_eq(rig_got("b@x.example"), 2);
	ck_assert_uint_eq(rig_got("c@y.example"), 2);
}
END_TEST

START_TEST(what_was_noticed_just_before_a_kill_stays_away)
{
	ck_assert(put_later("b@x.example"));
	rig_rm(rig_name("x.example"));
	queue_wake();
	for (int i = 0; i < 5; i++)
		rig_turn();
	ck_assert_uint_eq(queue_entries(), 0);
	end_unnoticed();
	start();
	ck_assert_str_eq(rig_cur(), "");
}
END_TEST

/* What cannot be removed has been delivered all the same. */
START_TEST(a_kill_before_the_name_goes_repeats_nothing_either)
{
	rig.by_hand = true;
	ck_assert(rig_put("a@s.example", "b@x.example"));
	rig_turn();
	rig_disk(2, (unsigned)-1, EROFS);       /* the log hears of it */
	rig_finish(0, false);
	rig_turn();
	ck_assert_uint_eq(rig_count("cur"), 1);
	end_unnoticed();
	rig.by_hand = false;
	start();
	rig_run(86400);
	ck_assert_str_eq(rig_cur(), "");
	ck_assert_uint_eq(rig_got("b@x.example"), 1);
}
END_TEST

static ssize_t (*counted_pwrite)(int, const void *, size_t, off_t);
static unsigned writes;
static ssize_t count_pwrite(int fd, const void *p, size_t n, off_t at)
{
	writes++;
	return counted_pwrite(fd, p, n, at);
}

START_TEST(all_that_leave_in_a_turn_are_one_write)
{
	rig.by_hand = true;
	for (char to[] = "b@a.example"; to[2] < 'k'; to[2]++)
		ck_assert(rig_put("a@s.example", to));
	rig_turn();
	ck_assert_uint_eq(rig.nheld, 10);
	counted_pwrite = file_sys.pwrite;
	file_sys.pwrite = count_pwrite;
	writes = 0;
	while (rig.nheld)
		rig_finish(0, false);
	rig_turn();
	file_sys.pwrite = counted_pwrite;
	ck_assert_uint_eq(rig_count("cur"), 0);
	ck_assert_uint_eq(writes, 1);
	end_unnoticed();
	start();
	ck_assert_uint_eq(rig_count("cur"), 0);
}
END_TEST

/* Told behind one batch and written with it to a disk that fails, or to a segment that is changed for another. */
START_TEST(what_left_is_told_again_when_its_sync_fails)
{
	for (unsigned n = 1; n < 6; n++) {
		ck_assert(rig_put("a@s.example", "b@x.example"));
		rig_turn();
		rig_disk(n, n, EIO);
		rig_put("a@s.example", "c@x.example");
		rig_disk(0, 0, 0);
		power_cut();
		start();
		rig_run(86400);
		ck_assert_uint_eq(rig_got("b@x.example"), n);
		ck_assert_str_eq(rig_cur(), "");
	}
}
END_TEST

START_TEST(nothing_comes_back_whenever_the_process_ends)
{
	unsigned put = 0;

	for (int i = 1; i < 40; i++) {
		for (int k = 0; k < i % 9; k++, put++)
			ck_assert(rig_put("a@s.example", "b@x.example"));
		rig_turn();
		end_unnoticed();
		start();
		rig_run(86400);
		ck_assert_uint_eq(rig_got("b@x.example"), put);
	}
}
END_TEST

/* Wherever a segment is full. */
START_TEST(what_left_a_second_ago_does_not_come_back)
{
	unsigned put = 0;

	for (int i = 1; i < 40; i++) {
		for (int k = 0; k < i % 9; k++, put++)
			ck_assert(rig_put("a@s.example", "b@x.example"));
		power_cut();
		start();
		rig_run(86400);
		ck_assert_uint_eq(rig_got("b@x.example"), put);
	}
}
END_TEST

/* The name's removal was not written back before the power went. */
START_TEST(a_delivered_message_that_is_there_again_is_removed)
{
	char text[8192], name[NAME_ROOM];
	size_t n;

	rig.by_hand = true;
	ck_assert(rig_put("a@s.example", "b@x.example"));
	rig_run(1);
	snprintf(name, sizeof name, "%s", rig_name("x.example"));
	n = strlen(rig_read("cur", name));
	memcpy(text, rig_read("cur", name), n);
	rig_finish(0, false);
	power_cut();
	rig_write("cur", name, text, n);
	rig.by_hand = false;
	start();
	rig_run(86400);
	ck_assert_str_eq(rig_cur(), "");
	ck_assert_uint_eq(rig_got("b@x.example"), 1);
}
END_TEST

START_TEST(who_has_it_does_not_get_it_again)
{
	ANSWERS(LATER("c@x.example"));
	ck_assert(rig_put("a@s.example", "b@x.example c@x.example"));
	power_cut();
	lose_all();
	start();
	ANSWERS({ "", RESULT_DELIVERED, BLAME_RCPT, 250, "ok" });
	rig_run(86400);
	ck_assert_uint_eq(rig_got("b@x.example"), 1);
	ck_assert_uint_eq(rig_got("c@x.example"), 2);
}
END_TEST

static void lose_journal(const char *dest)
{
	char name[NAME_ROOM], path[600];

	snprintf(name, sizeof name, "%s", rig_name(dest));
	snprintf(path, sizeof path, "%s/cur/%s", rig.dir, name);
	ck_assert_int_eq(truncate(path, strstr(rig_read("cur", name), "A line.\r\n") + 9 - rig_read("cur", name)), 0);
}

START_TEST(a_journal_that_lost_its_lines_gets_them_again)
{
	ANSWERS(LATER("c@x.example"));
	ck_assert(rig_put("a@s.example", "b@x.example c@x.example"));
	power_cut();
	lose_journal("x.example");
	start();
	ANSWERS({ "", RESULT_DELIVERED, BLAME_RCPT, 250, "ok" });
	rig_run(86400);
	ck_assert_uint_eq(rig_got("b@x.example"), 1);
	ck_assert_uint_eq(rig_got("c@x.example"), 2);
}
END_TEST

START_TEST(names_of_destinations_come_back_and_plus_does_not)
{
	ck_assert(put_later("b@x.example c@y.example"));
	ck_assert_str_eq(rig_cur(), "1 x.example, 1 y.example");
	power_cut();
	rig_rm(rig_name("y.example"));
	start();
	ck_assert_str_eq(rig_cur(), "1 x.example, 1 y.example");
	rig_crash();
	rig.life++;
	lose_all();
	start();
	ck_assert_str_eq(rig_cur(), "");        /* the last start made it durable: who removes it since does so by hand */
}
END_TEST

/* The directory was written back before the log told of the name, and the file was not. */
START_TEST(a_name_that_the_log_does_not_know_gets_its_file_again)
{
	char name[NAME_ROOM], apart[NAME_ROOM];
	struct entry_name n;

	rig.by_hand = true;
	ck_assert(rig_put("a@s.example", "b@x.example c@y.example"));
	rig_run(1);
	power_cut();
	snprintf(name, sizeof name, "%s", rig_name("+"));
	ck_assert(entry_parse(name, &n));
	entry_print(apart, n.next, false, 1, n.id, "y.example");
	rig_rm(name);
	rig_write("cur", apart, "", 0);
	rig.by_hand = false;
	start();
	rig_run(86400);
	ck_assert_uint_eq(rig_got("b@x.example"), 1);
	ck_assert_uint_eq(rig_got("c@y.example"), 1);
	ck_assert_uint_eq(rig_count("bad"), 0);
	ck_assert_str_eq(rig_cur(), "");
}
END_TEST

START_TEST(all_names_are_made_again_from_the_log)
{
	ck_assert(put_later("b@x.example c@y.example d@z.example"));
	power_cut();
	lose_all();
	start();
	ck_assert_str_eq(rig_cur(), "1 x.example, 1 y.example, 1 z.example");
	ANSWERS({ "", RESULT_DELIVERED, BLAME_RCPT, 250, "ok" });
	rig_run(86400);
	ck_assert_uint_eq(rig_got("b@x.example") + rig_got("c@y.example") + rig_got("d@z.example"), 6);
}
END_TEST

START_TEST(in_the_same_life_of_the_machine_nothing_comes_back)
{
	ck_assert(put_later("b@x.example"));
	rig_run(2);
	rig_crash();
	lose_all();
	start();
	ck_assert_str_eq(rig_cur(), "");
	rig_crash();
	rig.life++;
	start();
	ck_assert_str_eq(rig_cur(), "");
}
END_TEST

START_TEST(what_was_removed_by_hand_and_noticed_stays_away)
{
	ck_assert(put_later("b@x.example"));
	rig_rm(rig_name("x.example"));
	queue_wake();
	rig_run(3);
	power_cut();
	start();
	ck_assert_str_eq(rig_cur(), "");
}
END_TEST

/* readdir() may give neither the old nor the new name of what is renamed meanwhile. */
START_TEST(a_name_that_one_look_does_not_meet_has_not_left)
{
	char name[NAME_ROOM], moved[NAME_ROOM];
	struct entry_name n;

	ck_assert(put_later("b@x.example"));
	snprintf(name, sizeof name, "%s", rig_name("x.example"));
	ck_assert(entry_parse(name, &n));
	entry_print(moved, n.next + 86400, false, 5, n.id, "x.example");
	ck_assert_int_eq(renameat(queue.cur, name, queue.bad, name), 0);
	queue_wake();
	for (int turns = 0; turns < 3; turns++)         /* the look begins, reads, ends */
		loop_turn(0);
	ck_assert_uint_eq(queue_entries(), 1);
	ck_assert_int_eq(renameat(queue.bad, name, queue.cur, moved), 0);
	power_cut();
	lose_all();
	start();
	ck_assert_str_eq(rig_cur(), "5 x.example");
}
END_TEST

/* Due, and gone by hand: it could have been moved. */
START_TEST(what_was_removed_when_it_was_due_stays_away)
{
	char name[NAME_ROOM], moved[NAME_ROOM];
	struct entry_name n;

	ck_assert(put_later("b@x.example"));
	ck_assert(put_later("b@y.example"));
	snprintf(name, sizeof name, "%s", rig_name("y.example"));
	ck_assert(entry_parse(name, &n));
	entry_print(moved, n.next + 86400, false, 5, n.id, "y.example");
	loop_advance(3600 * 1000);      /* both are due, before anybody has looked */
	rig_mv(name, moved);
	rig_rm(rig_name("x.example"));
	rig_run(20);
	ck_assert_str_eq(rig_cur(), "5 y.example");
	power_cut();
	lose_all();
	start();
	ck_assert_str_eq(rig_cur(), "5 y.example");
}
END_TEST

START_TEST(what_was_held_by_hand_comes_back_held)
{
	struct entry_name n;
	char name[NAME_ROOM], held[NAME_ROOM];

	ck_assert(put_later("b@x.example"));
	snprintf(name, sizeof name, "%s", rig_name("x.example"));
	ck_assert(entry_parse(name, &n));
	entry_print(held, n.next, true, 0, n.id, "x.example");
	rig_mv(name, held);
	queue_wake();
	rig_run(3);
	power_cut();
	lose_all();
	start();
	ck_assert_str_eq(rig_cur(), "H x.example");
}
END_TEST

START_TEST(a_report_comes_back_once)
{
	ANSWERS(NEVER("b@x.example"), LATER(""));
	ck_assert(rig_put("a@s.example", "b@x.example"));
	rig_run(2);
	ck_assert_str_eq(rig_cur(), "1 s.example");
	power_cut();
	lose_all();
	start();
	ck_assert_str_eq(rig_cur(), "1 s.example");
	ANSWERS({ "", RESULT_DELIVERED, BLAME_RCPT, 250, "ok" });
	rig_run(86400);
	ck_assert_uint_eq(rig.reports[0], 1);
	ck_assert_uint_eq(rig_got("a@s.example"), 2);   /* the first was put off */
}
END_TEST

START_TEST(a_sync_that_fails_refuses_its_messages_and_no_others)
{
	unsigned refused = 0, taken;

	ANSWERS(LATER(""));
	for (unsigned n = 1; n < 12; n++) {
		bool ok;

		rig_disk(n, n, EIO);
		ok = rig_put("a@s.example", "b@x.example");
		rig_disk(0, 0, 0);
		taken = ok;
		refused += !ok;
		ck_assert(rig_put("a@s.example", "b@x.example"));
		taken++;
		rig_run(3);
		ck_assert_uint_eq(rig_count("cur"), taken);
		power_cut();
		lose_all();
		start();
		ck_assert_uint_eq(rig_count("cur"), taken);
		lose_all();
		rig_run(86400);
	}
	ck_assert_uint_gt(refused, 2);
}
END_TEST

/* More than both segments hold. Whatever the log says, what is in cur/ stays, and what left stays away. */
START_TEST(segments_are_used_by_turns)
{
	unsigned all = 0;

	for (int i = 0; i < 60; i++) {
		ANSWERS(LATER("@late.example"));
		ck_assert(rig_put("a@s.example", i % 3 ? "b@x.example" : "b@late.example"));
		all += i % 3 == 0;
		rig_run(2);
		if (i % 7 == 0) {
			power_cut();
			start();
		}
		ck_assert_uint_eq(rig_count("cur"), all);
	}
	ck_assert_uint_eq(rig_got("b@x.example"), 40);
	ck_assert_uint_eq(rig_count("wal"), 2);
}
END_TEST

START_TEST(a_message_that_is_too_large_for_the_log_is_synced_by_itself)
{
	struct buf body = { 0 };

	ANSWERS(LATER(""));
	buf_puts(&body, "Subject: large\r\n\r\n");
	while (body.n < 100000)
		buf_puts(&body, "one line more of the sixty-four thousand that nobody reads\r\n");
	ck_assert(rig_put_body("a@s.example", "b@x.example", buf_cstr(&body), NULL, 0));
	ck_assert(rig_put("a@s.example", "c@x.example"));
	power_cut();
	start();
	ck_assert_uint_eq(rig_count("cur"), 2);
	buf_free(&body);
}
END_TEST

/* A draft that was written to disk in pieces is read back for the log. */
START_TEST(a_message_of_several_writes_comes_back)
{
	struct buf body = { 0 };

	rig_crash();
	rig.conf.log_size = 1 << 20;
	rig_start();
	ANSWERS(LATER(""));
	buf_puts(&body, "Subject: large\r\n\r\n");
	while (body.n < 100000)
		buf_puts(&body, "one line more of the sixty-four thousand that nobody reads\r\n");
	ck_assert(rig_put_body("a@s.example", "b@x.example", buf_cstr(&body), NULL, 0));
	power_cut();
	lose_all();
	rig_start();
	ck_assert_uint_eq(rig_count("cur"), 1);
	ANSWERS({ "", RESULT_DELIVERED, BLAME_RCPT, 250, "ok" });
	rig_run(86400);
	ck_assert_str_eq(rig.sent[rig.nsent - 1].body, body.p);
	buf_free(&body);
}
END_TEST

/* Lines of many recipients are several records. The file is lost, or what was added to it. */
START_TEST(no_line_of_many_is_lost_between_two_records)
{
	enum { MANY = 1000 };
	struct buf to = { 0 };

	rig_crash();
	rig.conf.log_size = MB;
	rig_start();
	for (int i = 0; i < MANY; i++)
		buf_printf(&to, "b%d@x.example ", i);
	buf_puts(&to, "late@x.example");
	for (unsigned n = 1; n <= 2; n++) {
		ANSWERS(LATER("late@x.example"));
		ck_assert(rig_put("a@s.example", buf_cstr(&to)));
		power_cut();
		if (n == 1)
			lose_all();
		else
			lose_journal("x.example");
		rig_start();
		rig_answers(NULL, 0);
		rig_run(86400);
		ck_assert_str_eq(rig_cur(), "");
		ck_assert_uint_eq(rig_times("late@x.example"), n);
		for (int i = 0; i < MANY; i++) {
			char who[40];

			snprintf(who, sizeof who, "b%d@x.example", i);
			ck_assert_uint_eq(rig_got(who), n);
		}
	}
	buf_free(&to);
}
END_TEST

/* ---- what is durable, and when */

static void head_of(int i, struct wal_head *h)
{
	char path[300];
	int fd;

	snprintf(path, sizeof path, "%s/wal/%d", rig.dir, i);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(wal_head_read(fd, h), 0);
	close(fd);
}

/* An old one would say that what leaves from now on is open. */
START_TEST(the_heads_of_a_log_are_durable_when_it_begins)
{
	struct wal_head before[2], after;

	ck_assert(put_later("b@x.example"));
	power_cut();
	start();
	for (int i = 0; i < 2; i++)
		head_of(i, &before[i]);
	rig_power_cut(false);
	for (int i = 0; i < 2; i++) {
		head_of(i, &after);
		ck_assert_uint_eq(after.seq, before[i].seq);
		ck_assert_uint_eq(after.life, before[i].life);
	}
	start();
}
END_TEST

/* An open message, and behind its batch the log was told of another one in the same turn: that write is torn. */
START_TEST(what_is_durable_is_not_written_again)
{
	ANSWERS(LATER("b@late.example"));
	for (int i = 0; i < 4; i++) {
		ck_assert(rig_put("a@s.example", "b@x.example"));
		ck_assert(rig_put("a@s.example", "b@late.example"));
		rig_turn();
		rig_power_cut(true);
		lose_all();
		start();
		ck_assert(strstr(rig_cur(), "late.example"));
		lose_all();
		rig_run(86400);
		ANSWERS(LATER("b@late.example"));
	}
}
END_TEST

static uint32_t sum_of(int i)
{
	static char text[SMALL];
	char path[300];
	int fd;

	snprintf(path, sizeof path, "%s/wal/%d", rig.dir, i);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(file_pread(fd, text, sizeof text, 0), SMALL);
	close(fd);
	return crc32_add(0, text, sizeof text);
}

/* What the disk holds of that one is not known. */
START_TEST(nothing_is_written_behind_a_sync_that_failed)
{
	uint32_t sum[3][2];
	int which;

	ANSWERS(LATER(""));
	for (int i = 0; i < 2; i++)
		sum[0][i] = sum_of(i);
	rig_disk(5, 5, EIO);            /* the draft, its text, its name, the batch, its sync */
	ck_assert(!rig_put("a@s.example", "b@x.example"));
	rig_disk(0, 0, 0);
	for (int i = 0; i < 2; i++)
		sum[1][i] = sum_of(i);
	which = sum[0][0] == sum[1][0];
	ck_assert(sum[0][which] != sum[1][which]);
	ck_assert(rig_put("a@s.example", "b@x.example"));
	for (int i = 0; i < 2; i++)
		sum[2][i] = sum_of(i);
	ck_assert_uint_ne(sum[2][!which], sum[1][!which]);
	power_cut();
	lose_all();
	start();
	ck_assert_str_eq(rig_cur(), "1 x.example");
}
END_TEST

static void loose_no_more(const char *name)
{
	if (strstr(name, ".new"))
		ck_assert(!rig_names_loose() || strcmp(name, "1.new") == 0);    /* 0.new was made just now */
}

/* The old ones, too, and when the log is not wanted any more. */
START_TEST(the_names_of_a_log_are_durable_when_it_begins_and_ends)
{
	ck_assert(!rig_names_loose());
	ck_assert(put_later("b@x.example"));
	for (int i = 0; i < 3; i++) {
		rig_crash();
		rig.conf.log_size = i == 1 ? SMALL : 2 * SMALL;
		rig.opening = loose_no_more;
		rig_start();
		rig.opening = NULL;
		ck_assert(wal_on());
		ck_assert(!rig_names_loose());
	}
	rig_crash();
	rig.conf.log_size = 2 * MB;     /* filled beside the service: names that went before it began are not in it */
	rig_start();
	ck_assert(wal_on());
	ck_assert_uint_eq(rig_syncs("cur"), 1);
	rig_crash();
	rig.conf.sync = QUEUE_SYNC_FILE;
	rig_start();
	ck_assert_uint_eq(rig_count("wal"), 0);
	ck_assert(!rig_names_loose());
	rig_crash();
	{
		char path[300];

		snprintf(path, sizeof path, "%s/wal", rig.dir);
		ck_assert_int_eq(rmdir(path), 0);
	}
	start();
	ck_assert(wal_on());
	ck_assert_uint_ge(rig_syncs(""), 1);
	ck_assert_str_eq(rig_cur(), "1 x.example");
}
END_TEST

START_TEST(a_clean_end_is_durable)
{
	struct wal_head h;

	ck_assert(put_later("b@x.example"));
	queue_close();
	rig_power_cut(false);
	for (int i = 0; i < 2; i++) {
		head_of(i, &h);
		ck_assert_uint_eq(h.life, 0);
	}
	start();
	ck_assert_str_eq(rig_cur(), "1 x.example");
}
END_TEST

static unsigned file_system_syncs;
static int count_syncfs(int fd)
{
	(void)fd;
	file_system_syncs++;
	return 0;
}

/* Neither are the segments read through, nor is what others write waited for. */
START_TEST(behind_a_clean_end_there_is_nothing_to_look_for)
{
	struct wal_head h;
	char path[300], why[500];
	int (*good)(int), fd;

	ck_assert(put_later("b@x.example"));
	queue_close();
	snprintf(path, sizeof path, "%s/wal/0", rig.dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(wal_head_read(fd, &h), 0);
	ck_assert_uint_eq(h.life, 0);
	close(fd);
	good = file_sys.syncfs;
	for (unsigned killed = 0; killed < 2; killed++) {
		file_system_syncs = 0;
		file_sys.syncfs = count_syncfs;
		ck_assert_int_eq(queue_open(&rig.conf, why, sizeof why), 0);
		ck_assert_uint_eq(file_system_syncs, killed);
		ck_assert_str_eq(rig_cur(), "1 x.example");
		file_sys.syncfs = good;
		rig_crash();
	}
	start();
}
END_TEST

static int fails(int fd)
{
	(void)fd;
	errno = EIO;
	return -1;
}

START_TEST(a_file_system_that_cannot_be_synced_keeps_the_log_for_the_next_boot)
{
	int (*good)(int) = file_sys.syncfs;
	unsigned logged = 0;

	file_sys.syncfs = fails;
	for (; wal_on(); logged++)
		ck_assert(put_later("b@x.example"));
	ck_assert_uint_eq(rig_count("wal"), 2);
	ck_assert(put_later("b@x.example"));
	file_sys.syncfs = good;
	rig_crash();
	start();                /* the same boot: what was kept stays, and there is a new log */
	ck_assert(wal_on());
	ck_assert_uint_eq(rig_count("wal"), 4);
	power_cut();
	lose_all();
	start();
	ck_assert_uint_eq(rig_count("cur"), logged);
	ck_assert_uint_eq(rig_count("wal"), 2);
}
END_TEST

/* The end of a service is no end of what is in memory: the log says what is open until all is where it belongs. */
START_TEST(a_clean_end_that_cannot_sync_the_file_system_keeps_the_log)
{
	ck_assert(put_later("b@x.example"));
	file_sys.syncfs = fails;
	queue_close();
	rig_power_cut(false);
	lose_all();
	start();
	ck_assert_str_eq(rig_cur(), "1 x.example");
}
END_TEST

static unsigned delivered_lines;
static int look_for_lines(int fd)
{
	(void)fd;
	delivered_lines += strstr(rig_read("cur", rig_name("+")), " delivered ") != NULL;
	return 0;
}

/* A result that the disk refused before is written by the end, and what the end makes durable has it. */
START_TEST(what_an_end_writes_is_durable)
{
	int (*good)(int) = file_sys.syncfs;

	rig.by_hand = true;
	ck_assert(rig_put("a@s.example", "b@x.example c@y.example"));
	rig_run(1);
	rig_disk(1, (unsigned)-1, ENOSPC);
	rig_finish(0, false);
	rig_run(1);
	rig_disk(0, 0, 0);
	delivered_lines = 0;
	file_sys.syncfs = look_for_lines;
	queue_close();
	file_sys.syncfs = good;
	ck_assert_uint_eq(delivered_lines, 1);
	rig_crash();
	rig.by_hand = false;
	start();
}
END_TEST

/* What was brought back is not durable: the log is not written over. */
START_TEST(a_start_that_cannot_make_durable_what_came_back_ends)
{
	char why[500];

	ck_assert(put_later("b@x.example"));
	power_cut();
	lose_all();
	file_sys.syncfs = fails;
	ck_assert_int_eq(queue_open(&rig.conf, why, sizeof why), -1);
	ck_assert_ptr_nonnull(strstr(why, "wal"));
	rig_crash();
	lose_all();
	start();
	ck_assert_str_eq(rig_cur(), "1 x.example");
}
END_TEST

static ino_t forgotten;
static bool remembers_all_but_one(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && st.st_ino != forgotten;
}

START_TEST(one_segment_that_the_kernel_has_forgotten_is_enough)
{
	for (int i = 0; i < 2; i++) {
		char path[300], why[500];
		struct stat st;

		ck_assert(put_later("b@x.example"));
		rig_run(2);
		rig_crash();
		lose_all();
		snprintf(path, sizeof path, "%s/wal/%d", rig.dir, i);
		ck_assert_int_eq(stat(path, &st), 0);
		forgotten = st.st_ino;
		file_sys.remembers = remembers_all_but_one;
		ck_assert_int_eq(queue_open(&rig.conf, why, sizeof why), 0);
		ck_assert_str_eq(rig_cur(), "1 x.example");
		lose_all();
		rig_crash();
		start();
	}
}
END_TEST

/* Kept ones are read with those that came behind them, in their order. */
START_TEST(segments_are_newer_than_those_that_were_kept)
{
	ck_assert(put_later("b@x.example"));
	file_sys.syncfs = fails;
	queue_close();
	start();                /* the same boot */
	ck_assert(wal_on());
	ck_assert_uint_eq(rig_count("wal"), 4);
	for (int i = 0; i < 2; i++) {
		struct wal_head h;
		unsigned long long kept;
		char path[300];
		DIR *d;
		struct dirent *x;

		snprintf(path, sizeof path, "%s/wal", rig.dir);
		d = opendir(path);
		head_of(i, &h);
		while ((x = readdir(d)))
			if (sscanf(x->d_name, "kept.%16llx", &kept) == 1)
				ck_assert_uint_gt(h.seq, kept);
		closedir(d);
	}
	ANSWERS({ "", RESULT_DELIVERED, BLAME_RCPT, 250, "ok" });
	rig_run(86400);
	power_cut();
	start();
	ck_assert_str_eq(rig_cur(), "");
}
END_TEST

/* A report, or what an alias has made, has the same id again when it is made again. */
START_TEST(of_a_message_that_was_made_again_nothing_of_the_first_counts)
{
	static const char id[] = "6b0d2c00aaaaaaaaaaaaaaaa";

	for (int i = 0; i < 2; i++) {
		if (i)
			ANSWERS(LATER("b@x.example"), LATER("c@x.example"));
		else
			ANSWERS(LATER("c@x.example"));
		ck_assert(rig_put_body("a@s.example", "b@x.example c@x.example", rig_body, id, 0));
		rig_run(2);
		rig_answers(NULL, 0);
		if (!i)
			rig_run(86400);
	}
	ck_assert_uint_eq(rig_got("b@x.example"), 2);
	power_cut();
	lose_all();
	start();
	rig_run(86400);
	ck_assert_uint_eq(rig_got("b@x.example"), 3);
	ck_assert_uint_eq(rig_got("c@x.example"), 4);
}
END_TEST

/* What was set aside is in bad/; where that name was lost it is where it was, and is set aside again. */
START_TEST(what_was_set_aside_is_not_removed_nor_made_again)
{
	for (int lost = 0; lost < 2; lost++) {
		char text[8192], name[NAME_ROOM];
		unsigned bad = rig_count("bad");
		size_t n;

		rig.by_hand = true;
		ANSWERS(NEVER(""));
		ck_assert(rig_put("", "b@x.example"));
		rig_run(1);
		snprintf(name, sizeof name, "%s", rig_name("x.example"));
		n = strlen(rig_read("cur", name));
		memcpy(text, rig_read("cur", name), n);
		rig_finish(0, false);
		rig_run(1);
		ck_assert_uint_eq(rig_count("bad"), bad + 2);
		power_cut();
		rig.by_hand = false;
		if (lost)
			rig_write("cur", name, text, n);
		start();
		rig_run(86400);
		ck_assert_str_eq(rig_cur(), "");
		ck_assert_uint_eq(rig_count("bad"), bad + 2 + 2 * (unsigned)lost);
	}
}
END_TEST

START_TEST(a_plus_that_became_a_name_does_not_come_back)
{
	ANSWERS(LATER("c@y.example"));
	ck_assert(rig_put("a@s.example", "b@x.example c@y.example"));
	rig_run(2);
	ck_assert_str_eq(rig_cur(), "1 y.example");
	power_cut();
	rig.conf.deliver = false;       /* what is due stays to be seen */
	for (int i = 0; i < 2; i++) {
		lose_all();
		start();
		ck_assert_str_eq(rig_cur(), i ? "" : "1 y.example");
		power_cut();
	}
}
END_TEST

/* A message that was durable before the log began, which knows of its names alone. One of them has reached the disk. */
static void cut_with_one_name(const char *dest, bool damaged)
{
	char text[8192], name[NAME_ROOM];
	size_t n;

	rig_crash();
	rig.conf.sync = QUEUE_SYNC_FILE;
	rig.conf.deliver = false;
	rig_start();
	ck_assert(rig_put("a@s.example", "b@x.example c@y.example"));
	snprintf(name, sizeof name, "%s", rig_name("+"));
	n = strlen(rig_read("cur", name));
	memcpy(text, rig_read("cur", name), n);
	if (damaged)
		memset(strstr(text, "A line."), 0, 7);
	rig_crash();
	rig.conf.deliver = true;
	ANSWERS(LATER(""));
	start();
	rig_run(2);
	ck_assert_str_eq(rig_cur(), "1 x.example, 1 y.example");
	if (strcmp(dest, "+") != 0)
		snprintf(name, sizeof name, "%s", rig_name(dest));
	power_cut();
	lose_all();
	rig_write("cur", name, text, n);
}

START_TEST(names_are_made_again_of_one_that_is_to_go)
{
	cut_with_one_name("+", false);
	start();
	ck_assert_str_eq(rig_cur(), "1 x.example, 1 y.example");
}
END_TEST

START_TEST(a_damaged_file_that_was_to_go_is_set_aside_when_there_is_no_other)
{
	cut_with_one_name("+", true);
	start();
	ck_assert_str_eq(rig_cur(), "");
	ck_assert_uint_eq(rig_count("bad"), 2);
}
END_TEST

/* What cannot be opened for want of descriptors is not damaged: all names are made of it, or the start ends. */
START_TEST(a_descriptor_that_is_missing_once_loses_no_name)
{
	bool failed = true;

	for (unsigned n = 1; failed; n++) {
		char why[500];
		bool opened;

		cut_with_one_name("x.example", false);
		rig.fail_open = true;
		rig_disk(n, n, EMFILE);
		opened = queue_open(&rig.conf, why, sizeof why) == 0;
		failed = rig.calls >= n;
		rig.fail_open = false;
		rig_disk(0, 0, 0);
		if (!opened) {
			rig_crash();
			start();
		}
		ck_assert_str_eq(rig_cur(), "1 x.example, 1 y.example");
		lose_all();
		rig_run(86400);
		ck_assert_uint_lt(n, 60);
	}
}
END_TEST

enum { TOLD = 1000 };
static char last_told[TOLD];
static bool follow(void *arg, const struct wal_record *r)
{
	struct str name = r->head, first;
	char text[NAME_ROOM];
	struct entry_name n;

	(void)arg;
	if ((r->kind == WAL_NAME || r->kind == WAL_GONE) && str_cut(&name, ' ', &first) && str_copy(text, sizeof text, name) && entry_parse(text, &n))
		last_told[strtoul(n.id + 8, NULL, 16) % TOLD] = r->kind;
	return true;
}

/* Both segments, which stay as large as they were made, the older one first: nothing that has left is there again. */
static void read_segments(void)
{
	struct wal_head h[2];

	memset(last_told, 0, sizeof last_told);
	for (int i = 0; i < 2; i++)
		head_of(i, &h[i]);
	for (int k = 0; k < 2; k++) {
		int i = h[0].seq > h[1].seq ? !k : k, fd;
		char path[300];
		struct stat st;

		snprintf(path, sizeof path, "%s/wal/%d", rig.dir, i);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		ck_assert(fstat(fd, &st) == 0 && st.st_size == SMALL);
		ck_assert_int_eq(wal_read(fd, &h[i], follow, NULL), 0);
		close(fd);
	}
	ck_assert_ptr_null(memchr(last_told, WAL_NAME, sizeof last_told));
}

/* Of each name: that it is there, and then that it has left, wherever a segment is full. */
START_TEST(what_happened_is_told_in_its_order)
{
	for (unsigned i = 0; i < TOLD; i++) {
		char id[ID_MAX], name[NAME_ROOM];

		snprintf(id, sizeof id, "6b0d2c00%016x", i);
		entry_print(name, RIG_WALL, false, 0, id, "z.example");
		wal_name(NULL, name);
		wal_tell();
		for (unsigned k = 0; k < i % 7; k++)
			wal_lines(id, "a line\n", 7);
		wal_gone(name, true);
		wal_tell();
		if (i % 50 != 49)
			continue;
		rig_run(2);
		read_segments();
	}
}
END_TEST

/* A person or a client may come again with it. */
START_TEST(what_was_refused_does_not_come_back_behind_a_kill)
{
	rig_crash();
	rig.conf.deliver = false;
	start();
	for (unsigned n = 4; n <= 5; n++) {     /* the batch, its sync */
		rig_disk(n, n, EIO);
		ck_assert(!rig_put("a@s.example", "b@x.example"));
		rig_disk(0, 0, 0);
		end_unnoticed();
		start();
		ck_assert_str_eq(rig_cur(), "");
	}
}
END_TEST

static int refuses_the_helper(int fd) { return getpid() == rig.ours ? 0 : fails(fd); }

/* What the disk said to one that has ended is not known, and is not said twice. */
START_TEST(segments_that_a_helper_cannot_retire_are_kept)
{
	char why[500];

	rig_crash();
	rig.conf.inline_sync = rig.conf.deliver = false;
	file_sys.syncfs = _i ? refuses_the_helper : rig_end_helper;
	ck_assert_int_eq(queue_open(&rig.conf, why, sizeof why), 0);
	for (int i = 0; i < 100 && wal_on(); i++) {
		rig_put("a@s.example", "b@x.example");
		loop_advance(1000);
	}
	ck_assert(!wal_on());
	ck_assert_uint_eq(rig_count("wal"), 2);
	ck_assert(faccessat(queue.dir, "wal/0", F_OK, 0) == -1);
	rig.conf.inline_sync = rig.conf.deliver = true;
	rig_crash();
	start();
}
END_TEST

START_TEST(what_ends_together_does_not_come_back_behind_a_kill)
{
	rig_crash();
	rig.conf.log_size = MB;
	rig.conf.lifetime = 700;
	rig_start();
	ck_assert(put_later("b@x.example c@y.example"));
	ck_assert_str_eq(rig_cur(), "1 x.example, 1 y.example");
	while (strstr(rig_cur(), "x.example") || strstr(rig_cur(), "y.example"))
		rig_run(10);
	end_unnoticed();
	rig.conf.deliver = false;
	rig_start();
	ck_assert(!strstr(rig_cur(), "x.example") && !strstr(rig_cur(), "y.example"));
	ck_assert_uint_eq(rig.reports[0], 1);
}
END_TEST

/* It was made durable before, perhaps: the log, which has it not, says nothing of that. */
START_TEST(an_id_that_is_there_already_is_synced_by_itself)
{
	static const char id[] = "6b0d2c00bbbbbbbbbbbbbbbb";

	rig_crash();
	rig.conf.deliver = false;
	start();
	ck_assert(rig_put_body("a@s.example", "b@x.example", rig_body, id, 0));
	rig_crash();
	start();
	rig_disk(0, 0, 0);
	ck_assert(rig_put_body("a@s.example", "b@x.example", rig_body, id, 0));
	ck_assert_uint_eq(rig_syncs("cur"), 1);
	ck_assert_str_eq(rig_cur(), "0 x.example");
}
END_TEST

/* A drop that cannot be removed is withdrawn: the log hears of it first, and, when its name cannot be removed either, that it is here. */
START_TEST(what_is_withdrawn_does_not_come_back_and_what_is_not_stays)
{
	rig_crash();
	rig.conf.deliver = false;
	start();
	for (unsigned n = 1; n <= 3; n++) {
		bool gone;

		ck_assert(rig_put("a@s.example", "b@x.example"));
		rig_disk(n, n == 1 ? (unsigned)-1 : n, EIO);
		gone = queue_withdraw(rig_id);
		ck_assert(gone == (n == 3));
		if (n < 3) {
			rig_disk(0, 0, 0);
			power_cut();
			start();
			ck_assert_str_eq(rig_cur(), "0 x.example");
			lose_all();
		} else {
			end_unnoticed();
			start();
			ck_assert_str_eq(rig_cur(), "");
		}
		rig_run(86400);
	}
}
END_TEST

START_TEST(without_the_setting_the_log_is_read_once_more_and_goes)
{
	ck_assert(put_later("b@x.example"));
	power_cut();
	lose_all();
	rig.conf.sync = QUEUE_SYNC_FILE;
	rig_start();
	ck_assert_str_eq(rig_cur(), "1 x.example");
	ck_assert_uint_eq(rig_count("wal"), 0);
}
END_TEST

START_TEST(a_recovery_that_fails_anywhere_is_done_by_the_next_start)
{
	char why[500];
	bool failed = true;

	for (unsigned n = 1; failed; n++) {
		ANSWERS(LATER("c@x.example"), LATER("d@y.example"));
		ck_assert(rig_put("a@s.example", "b@x.example c@x.example d@y.example"));
		power_cut();
		lose_all();
		rig_disk(n, (unsigned)-1, EIO);
		failed = queue_open(&rig.conf, why, sizeof why) == -1;
		rig_disk(0, 0, 0);
		ck_assert(!failed || strstr(why, "wal") || strstr(why, "lock"));
		rig_crash();
		start();
		ck_assert_uint_eq(rig_count("cur"), 2);
		ANSWERS({ "", RESULT_DELIVERED, BLAME_RCPT, 250, "ok" });
		rig_run(86400);
		ck_assert_uint_eq(rig_count("cur"), 0);
		ck_assert_uint_eq(rig_got("b@x.example"), n);
		ck_assert_uint_eq(rig_got("c@x.example"), 2 * n);
		ck_assert_uint_eq(rig_count("bad"), 0);
		ck_assert_uint_eq(rig_count("work"), 0);
		ck_assert(n < 40);
	}
}
END_TEST

static bool opens_with_descriptors(unsigned n)
{
	struct rlimit all, few;
	char why[500];
	int next = dup(0);
	bool ok;

	close(next);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &all), 0);
	few = (struct rlimit){ .rlim_cur = (rlim_t)next + n, .rlim_max = all.rlim_max };
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
	ok = queue_open(&rig.conf, why, sizeof why) == 0;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &all), 0);
	return ok;
}

/* What cannot be read is not taken for nothing. */
START_TEST(a_start_that_may_open_few_files_forgets_nothing)
{
	bool failed = true;

	for (unsigned n = 0; failed; n++) {
		ck_assert(put_later("b@x.example"));
		power_cut();
		lose_all();
		failed = !opens_with_descriptors(n);
		rig_crash();
		start();
		ck_assert_str_eq(rig_cur(), "1 x.example");
		lose_all();
		rig_run(86400);
		ck_assert_uint_lt(n, 40);
	}
}
END_TEST

START_TEST(a_log_that_cannot_be_opened_does_not_bring_back_what_left_without_it)
{
	bool failed = true;

	for (unsigned n = 1; failed; n++) {
		unsigned got = rig_got("b@x.example");
		char why[500];
		bool opened;

		ck_assert(put_later("b@x.example"));
		rig_crash();
		rig.fail_open = true;
		rig_disk(n, n, EIO);
		opened = queue_open(&rig.conf, why, sizeof why) == 0;
		failed = rig.calls >= n;
		rig.fail_open = false;
		rig_disk(0, 0, 0);
		ck_assert(!opened || wal_on() || !rig_names_loose());
		if (!opened) {
			rig_crash();
			start();
		}
		ANSWERS({ "", RESULT_DELIVERED, BLAME_RCPT, 250, "ok" });
		rig_run(86400);
		ck_assert_uint_eq(rig_got("b@x.example"), got + 2);
		power_cut();
		start();
		rig_run(86400);
		ck_assert_uint_eq(rig_got("b@x.example"), got + 2);
		ck_assert_uint_lt(n, 100);
	}
}
END_TEST

static unsigned preads, bad_pread;
static ssize_t (*real_pread)(int, void *, size_t, off_t);
static ssize_t pread_fails_once(int fd, void *p, size_t n, off_t at)
{
	if (++preads != bad_pread)
		return real_pread(fd, p, n, at);
	errno = EIO;
	return -1;
}

START_TEST(a_log_that_the_disk_does_not_give_is_not_written_over)
{
	char why[500];

	for (bad_pread = 1, preads = 1; preads >= bad_pread; bad_pread++) {
		bool failed;

		ck_assert(put_later("b@x.example"));
		power_cut();
		lose_all();
		preads = 0;
		real_pread = file_sys.pread;
		file_sys.pread = pread_fails_once;
		failed = queue_open(&rig.conf, why, sizeof why) == -1;
		file_sys.pread = real_pread;
		ck_assert(!failed || strstr(why, "wal"));
		rig_crash();
		start();
		ck_assert_str_eq(rig_cur(), "1 x.example");
		lose_all();
		rig_run(86400);
		ck_assert_uint_lt(bad_pread, 400);
	}
}
END_TEST

static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static int full_of;
static ssize_t full(int fd, const void *p, size_t n, off_t at)
{
	errno = full_of;
	return at > 100000 ? -1 : real_pwrite(fd, p, n, at);
}

static char before_open[NAME_ROOM], renamed_to[NAME_ROOM];
static int opens;
static void rename_it(const char *name)
{
	if (strcmp(name, before_open) != 0 || --opens > 0)
		return;
	rig.opening = NULL;
	rig_mv(before_open, renamed_to);
}

/* fardel queue release, by a person or cron, while the start that reads the log is at work. */
START_TEST(a_name_that_changes_while_the_log_is_read_is_no_second_entry)
{
	/* nothing was written but the name, or all but what the journal says of b; it is opened to be looked at, and to be written to */
	static const struct { bool whole; int opens; } rows[] = { { false, 1 }, { true, 1 }, { true, 2 } };

	for (unsigned i = 0; i < 3; i++) {
		char text[8192];

		ANSWERS(LATER("c@x.example"));
		ck_assert(rig_put("a@s.example", "b@x.example c@x.example"));
		rig_run(1);
		snprintf(text, sizeof text, "%s", rig_read("cur", rig_name("x.example")));
		power_cut();
		snprintf(before_open, sizeof before_open, "%s", rig_name("x.example"));
		entry_print(renamed_to, RIG_WALL + 90000 + i * 300000, false, 1, rig_id, "x.example");
		rig_rm(before_open);
		rig_write("cur", before_open, text, rows[i].whole ? (size_t)(strstr(text, "A line.\r\n") - text) + 9 : 0);
		opens = rows[i].opens;
		rig.opening = rename_it;
		start();
		ck_assert(!rig.opening);
		ck_assert_uint_eq(rig_count("cur"), 1);
		ANSWERS({ "", RESULT_DELIVERED, BLAME_RCPT, 250, "ok" });
		rig_run(2 * 86400);
		ck_assert_uint_eq(rig_count("cur"), 0);
		ck_assert_uint_eq(rig_got("b@x.example"), i + 1);
		ck_assert_uint_eq(rig_got("c@x.example"), 2 * (i + 1));
		ck_assert_uint_eq(rig_count("bad"), 0);
	}
}
END_TEST

static struct {
	char name[NAME_ROOM], text[8192];
	size_t n;
} taken_out;
static void put_back(const char *name)
{
	if (strcmp(name, rig_id) != 0)
		return;
	rig.opening = NULL;
	rig_write("cur", taken_out.name, taken_out.text, taken_out.n);
}

START_TEST(a_name_that_comes_while_the_log_is_read_keeps_no_server_from_starting)
{
	for (unsigned whole = 0; whole < 2; whole++) {
		ANSWERS(LATER(""));
		ck_assert(rig_put("a@s.example", "b@x.example"));
		rig_run(1);
		snprintf(taken_out.name, sizeof taken_out.name, "%s", rig_name("x.example"));
		taken_out.n = (size_t)snprintf(taken_out.text, sizeof taken_out.text, "%s", rig_read("cur", taken_out.name));
		taken_out.n = whole ? taken_out.n : 0;
		power_cut();
		rig_rm(taken_out.name);
		rig.opening = put_back;         /* when it is written again, in work/ */
		start();
		ck_assert(!rig.opening);
		ck_assert_uint_eq(rig_count("cur"), 1);
		ANSWERS({ "", RESULT_DELIVERED, BLAME_RCPT, 250, "ok" });
		rig_run(86400);
		ck_assert_uint_eq(rig_count("cur"), 0);
		ck_assert_uint_eq(rig_got("b@x.example"), 2 * (whole + 1));
		ck_assert_uint_eq(rig_count("bad") + rig_count("work"), 0);
	}
}
END_TEST

START_TEST(no_room_for_a_log_is_no_obstacle)
{
	static const int errors[] = { ENOSPC, EDQUOT, EFBIG };
	char why[500];

	ck_assert(put_later("b@x.example"));
	rig.conf.log_size = 1 << 20;
	real_pwrite = file_sys.pwrite;
	for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
		rig_crash();
		full_of = errors[i];
		file_sys.pwrite = full;
		ck_assert_int_eq(queue_open(&rig.conf, why, sizeof why), 0);
		file_sys.pwrite = real_pwrite;
		ck_assert(!wal_on());
		ck_assert_uint_eq(rig_count("wal"), 0);
	}
	ck_assert(put_later("b@y.example"));
	power_cut();
	rig_start();
	ck_assert(wal_on());
	ck_assert_str_eq(rig_cur(), "1 x.example, 1 y.example");
}
END_TEST

static struct file_space disk;
static int disk_space(int fd, struct file_space *out)
{
	(void)fd;
	*out = disk;
	return 0;
}

/* Starts a queue that may have a log of 16 MB on such a disk. */
static void start_on(uint64_t octets, uint64_t all)
{
	char why[500];

	rig_crash();
	disk = (struct file_space){ octets, all, 100000, 100000 };
	file_sys.space = disk_space;
	rig.conf.log_size = 16 * MB;
	ck_assert_int_eq(queue_open(&rig.conf, why, sizeof why), 0);
}

static off_t segment_size(void)
{
	struct stat st;

	return fstatat(queue.dir, "wal/1", &st, 0) == -1 ? 0 : st.st_size;
}

START_TEST(a_small_disk_has_a_small_log)
{
	static const struct {
		uint64_t all;
		off_t size;
	} rows[] = { { 0, 16 * MB }, { 100000 * (uint64_t)MB, 16 * MB }, { 1024 * (uint64_t)MB, 16 * MB }, { 64 * MB, MB }, { MB, SMALL } };

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		start_on(rows[i].all, rows[i].all);
		ck_assert(wal_on());
		ck_assert_msg(segment_size() == rows[i].size, "of %llu: %lld", (unsigned long long)rows[i].all, (long long)segment_size());
	}
}
END_TEST

START_TEST(a_log_is_not_made_of_the_reserve)
{
	rig.conf.reserve = 64 * MB;
	start_on((64 + 31) * (uint64_t)MB, 10000 * (uint64_t)MB);
	ck_assert(!wal_on());
	ck_assert_uint_eq(rig_count("wal"), 0);
	ck_assert(put_later("b@x.example"));
	start_on((64 + 33) * (uint64_t)MB, 10000 * (uint64_t)MB);
	ck_assert(wal_on());
	start_on((64 + 1) * (uint64_t)MB, 10000 * (uint64_t)MB);        /* it is there already */
	ck_assert(wal_on());
}
END_TEST

Suite *queue_wal_suite(void)
{
	Suite *s = suite_create("queue_wal");
	TCase *form = tcase_create("form"), *t = tcase_create("queue");

	tcase_add_test(form, what_is_logged_is_read_back);
	tcase_add_test(form, a_head_with_any_octet_changed_is_none);
	tcase_add_test(form, a_record_with_any_octet_changed_or_zeroed_is_passed_over);
	tcase_add_test(form, a_segment_cut_anywhere_gives_what_is_whole);
	tcase_add_test(form, records_of_an_earlier_life_of_the_segment_do_not_count);
	tcase_add_test(form, a_record_whose_number_is_not_higher_does_not_count);
	suite_add_tcase(s, form);
	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_add_test(t, a_message_whose_file_was_lost_comes_back);
	tcase_add_test(t, a_file_that_is_torn_or_zeros_is_written_again);
	tcase_add_test(t, what_was_delivered_does_not_come_back);
	tcase_add_test(t, what_left_just_before_a_kill_does_not_come_back);
	tcase_add_test(t, several_names_of_a_message_that_left_just_before_a_kill_do_not_come_back);
	tcase_add_test(t, what_was_noticed_just_before_a_kill_stays_away);
	tcase_add_test(t, a_kill_before_the_name_goes_repeats_nothing_either);
	tcase_add_test(t, all_that_leave_in_a_turn_are_one_write);
	tcase_add_test(t, what_left_is_told_again_when_its_sync_fails);
	tcase_add_test(t, nothing_comes_back_whenever_the_process_ends);
	tcase_add_test(t, what_left_a_second_ago_does_not_come_back);
	tcase_add_test(t, a_delivered_message_that_is_there_again_is_removed);
	tcase_add_test(t, who_has_it_does_not_get_it_again);
	tcase_add_test(t, a_journal_that_lost_its_lines_gets_them_again);
	tcase_add_test(t, names_of_destinations_come_back_and_plus_does_not);
	tcase_add_test(t, a_name_that_the_log_does_not_know_gets_its_file_again);
	tcase_add_test(t, all_names_are_made_again_from_the_log);
	tcase_add_test(t, in_the_same_life_of_the_machine_nothing_comes_back);
	tcase_add_test(t, what_was_removed_by_hand_and_noticed_stays_away);
	tcase_add_test(t, a_name_that_one_look_does_not_meet_has_not_left);
	tcase_add_test(t, what_was_removed_when_it_was_due_stays_away);
	tcase_add_test(t, what_was_held_by_hand_comes_back_held);
	tcase_add_test(t, a_report_comes_back_once);
	tcase_add_test(t, a_sync_that_fails_refuses_its_messages_and_no_others);
	tcase_add_test(t, segments_are_used_by_turns);
	tcase_add_test(t, a_message_that_is_too_large_for_the_log_is_synced_by_itself);
	tcase_add_test(t, a_message_of_several_writes_comes_back);
	tcase_add_test(t, no_line_of_many_is_lost_between_two_records);
	tcase_add_test(t, the_heads_of_a_log_are_durable_when_it_begins);
	tcase_add_test(t, what_is_durable_is_not_written_again);
	tcase_add_test(t, nothing_is_written_behind_a_sync_that_failed);
	tcase_add_test(t, the_names_of_a_log_are_durable_when_it_begins_and_ends);
	tcase_add_test(t, a_clean_end_is_durable);
	tcase_add_test(t, behind_a_clean_end_there_is_nothing_to_look_for);
	tcase_add_test(t, a_file_system_that_cannot_be_synced_keeps_the_log_for_the_next_boot);
	tcase_add_test(t, a_clean_end_that_cannot_sync_the_file_system_keeps_the_log);
	tcase_add_test(t, what_an_end_writes_is_durable);
	tcase_add_test(t, a_start_that_cannot_make_durable_what_came_back_ends);
	tcase_add_test(t, one_segment_that_the_kernel_has_forgotten_is_enough);
	tcase_add_test(t, segments_are_newer_than_those_that_were_kept);
	tcase_add_test(t, of_a_message_that_was_made_again_nothing_of_the_first_counts);
	tcase_add_test(t, what_was_set_aside_is_not_removed_nor_made_again);
	tcase_add_test(t, a_plus_that_became_a_name_does_not_come_back);
	tcase_add_test(t, names_are_made_again_of_one_that_is_to_go);
	tcase_add_test(t, a_descriptor_that_is_missing_once_loses_no_name);
	tcase_add_test(t, a_damaged_file_that_was_to_go_is_set_aside_when_there_is_no_other);
	tcase_add_test(t, what_happened_is_told_in_its_order);
	tcase_add_test(t, what_was_refused_does_not_come_back_behind_a_kill);
	tcase_add_loop_test(t, segments_that_a_helper_cannot_retire_are_kept, 0, 2);
	tcase_add_test(t, what_ends_together_does_not_come_back_behind_a_kill);
	tcase_add_test(t, an_id_that_is_there_already_is_synced_by_itself);
	tcase_add_test(t, what_is_withdrawn_does_not_come_back_and_what_is_not_stays);
	tcase_add_test(t, without_the_setting_the_log_is_read_once_more_and_goes);
	tcase_add_test(t, a_recovery_that_fails_anywhere_is_done_by_the_next_start);
	tcase_add_test(t, a_start_that_may_open_few_files_forgets_nothing);
	tcase_add_test(t, a_log_that_cannot_be_opened_does_not_bring_back_what_left_without_it);
	tcase_add_test(t, a_log_that_the_disk_does_not_give_is_not_written_over);
	tcase_add_test(t, a_name_that_changes_while_the_log_is_read_is_no_second_entry);
	tcase_add_test(t, a_name_that_comes_while_the_log_is_read_keeps_no_server_from_starting);
	tcase_add_test(t, no_room_for_a_log_is_no_obstacle);
	tcase_add_test(t, a_small_disk_has_a_small_log);
	tcase_add_test(t, a_log_is_not_made_of_the_reserve);
	suite_add_tcase(s, t);
	return s;
}
