/* Room on the disk: when new mail is put off, and when it is taken again. */
#include <check.h>
#include <errno.h>

#include "lib/file.h"
#include "lib/loop.h"
#include "tests/queue_rig.h"

enum { MB = 1 << 20 };

static struct file_space disk;
static unsigned looks;
static bool broken;

static int fake(int fd, struct file_space *out)
{
	(void)fd;
	looks++;
	*out = disk;
	errno = EIO;
	return broken ? -1 : 0;
}

static void begin(uint64_t reserve)
{
	rig_open();
	rig_crash();
	rig.conf.reserve = reserve;
	looks = 0;
	broken = false;
	disk = (struct file_space){ .octets = 100 * (uint64_t)MB, .octets_all = 10000 * (uint64_t)MB, .inodes = 5000, .inodes_all = 100000 };
	rig_start();
	file_sys.space = fake;
}

START_TEST(mail_is_put_off_below_the_reserve)
{
	static const struct {
		uint64_t reserve, octets, all, inodes, inodes_all;
		uint64_t size;
		bool taken;
	} rows[] = {
		{ 64, 100, 10000, 5000, 100000, 0, true },
		{ 64, 64, 10000, 5000, 100000, 0, true },
		{ 64, 63, 10000, 5000, 100000, 0, false },
		{ 64, 0, 10000, 5000, 100000, 0, false },
		{ 64, 100, 10000, 5000, 100000, 36, true },
		{ 64, 100, 10000, 5000, 100000, 37, false },
		{ 64, 100, 10000, 5000, 100000, UINT64_MAX / MB, false },
		{ 64, 20, 200, 5000, 100000, 0, true },         /* a tenth is enough on a small disk */
		{ 64, 19, 200, 5000, 100000, 0, false },
		{ 64, 100, 10000, 999, 100000, 0, false },
		{ 64, 100, 10000, 1000, 100000, 0, true },
		{ 64, 100, 10000, 99, 1000, 0, false },
		{ 64, 100, 10000, 100, 1000, 0, true },
		{ 64, 100, 10000, 0, 0, 0, true },              /* inodes are not counted there */
		{ 64, 100, 10000, 0, 100000, 0, true },
		{ 64, 0, 0, 0, 0, 1000, true },                 /* nothing is */
		{ 0, 0, 10000, 0, 100000, 1000, true },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct reply why = { .code = 0 };

		begin(rows[i].reserve * MB);
		disk = (struct file_space){ rows[i].octets * MB, rows[i].all * MB, rows[i].inodes, rows[i].inodes_all };
		ck_assert_msg(queue_room(rows[i].size * MB, &why) == rows[i].taken, "row %zu", i);
		ck_assert_msg(rows[i].size || queue_accepting(&why) == rows[i].taken, "row %zu", i);
		if (!rows[i].taken) {
			ck_assert_int_eq(why.code, 452);
			ck_assert_str_eq(why.enhanced, "4.3.1");
		}
		rig_close();
	}
}
END_TEST

START_TEST(the_disk_is_looked_at_now_and_then_and_reckoned_between)
{
	struct reply why;

	begin(64 * MB);
	for (int i = 0; i < 1000; i++)
		ck_assert(queue_room(0, &why));
	ck_assert_uint_eq(looks, 1);
	disk.octets = 10 * MB;
	ck_assert(queue_room(0, &why));
	loop_advance(2000);
	ck_assert(!queue_room(0, &why));
	ck_assert(!queue_room(0, &why));
	ck_assert_uint_eq(looks, 2);
	disk.octets = 65 * MB;                          /* a little is not enough to begin again */
	loop_advance(2000);
	ck_assert(!queue_room(0, &why));
	disk.octets = 72 * MB;
	loop_advance(2000);
	ck_assert(queue_room(0, &why));
	rig_close();
}
END_TEST

START_TEST(what_was_written_since_counts)
{
	struct reply why;
	unsigned n = 0;

	begin(64 * MB);
	disk.octets = 64 * MB + 5000;
	while (queue_room(0, &why) && n < 100) {
		ck_assert(rig_put("a@s.example", "b@x.example"));
		n++;
	}
	ck_assert_uint_gt(n, 5);
	ck_assert_uint_lt(n, 100);
	rig_close();
}
END_TEST

START_TEST(a_disk_that_cannot_be_looked_at_takes_mail)
{
	struct reply why;

	begin(64 * MB);
	broken = true;
	disk.octets = 0;
	ck_assert(queue_room(0, &why));
	rig_close();
}
END_TEST

START_TEST(what_is_in_the_queue_is_sent_all_the_same)
{
	struct reply why;

	begin(64 * MB);
	rig.by_hand = true;
	ck_assert(rig_put("a@s.example", "b@x.example"));
	rig_run(1);
	ck_assert_uint_eq(rig.nheld, 1);
	disk.octets = 0;
	loop_advance(2000);
	ck_assert(!queue_accepting(&why));
	rig_finish(0, true);
	rig_run(10);
	ck_assert_uint_eq(queue_entries(), 0);
	rig_close();
}
END_TEST

static void restore(void)
{
	static struct file_calls saved;
	static bool known;

	if (known)
		file_sys = saved;
	else
		saved = file_sys;
	known = true;
}

Suite *queue_space_suite(void);
Suite *queue_space_suite(void)
{
	Suite *s = suite_create("queue_space");
	TCase *t = tcase_create("space");

	tcase_add_checked_fixture(t, restore, restore);
	tcase_add_test(t, mail_is_put_off_below_the_reserve);
	tcase_add_test(t, the_disk_is_looked_at_now_and_then_and_reckoned_between);
	tcase_add_test(t, what_was_written_since_counts);
	tcase_add_test(t, a_disk_that_cannot_be_looked_at_takes_mail);
	tcase_add_test(t, what_is_in_the_queue_is_sent_all_the_same);
	suite_add_tcase(s, t);
	return s;
}
