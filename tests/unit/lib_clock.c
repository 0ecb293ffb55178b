/* Dates as text. */
#include "lib/clock.h"

#include <check.h>
#include <stdlib.h>
#include <time.h>

Suite *lib_clock_suite(void);

/* The last second that 32 bits hold with a sign, the next one, the last one without a sign, and what comes later. */
START_TEST(dates_go_on_behind_2038)
{
	static const struct { int64_t wall; const char *rfc3339, *rfc5322; } row[] = {
		{ 0, "1970-01-01T00:00:00Z", "Thu, 01 Jan 1970 00:00:00 +0000" },
		{ 1795424400, "2026-11-23T09:00:00Z", "Mon, 23 Nov 2026 09:00:00 +0000" },
		{ 2147483647, "2038-01-19T03:14:07Z", "Tue, 19 Jan 2038 03:14:07 +0000" },
		{ 2147483648, "2038-01-19T03:14:08Z", "Tue, 19 Jan 2038 03:14:08 +0000" },
		{ 4294967295, "2106-02-07T06:28:15Z", "Sun, 07 Feb 2106 06:28:15 +0000" },
		{ 4294967296, "2106-02-07T06:28:16Z", "Sun, 07 Feb 2106 06:28:16 +0000" },
		{ 253402300799, "9999-12-31T23:59:59Z", "Fri, 31 Dec 9999 23:59:59 +0000" },
	};
	char text[40];

	setenv("TZ", "UTC0", 1);
	tzset();
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		ck_assert_str_eq(clock_rfc3339(row[i].wall, text), row[i].rfc3339);
		ck_assert_str_eq(clock_rfc5322(row[i].wall, text), row[i].rfc5322);
	}
}
END_TEST

/* Of the clock and of files, too. A library may have two kinds of time_t (_TIME_BITS). */
START_TEST(the_system_can_tell_times_behind_2038)
{
	ck_assert_uint_ge(sizeof(time_t), sizeof(int64_t));
}
END_TEST

Suite *lib_clock_suite(void)
{
	Suite *s = suite_create("lib_clock");
	TCase *t = tcase_create("dates");

	tcase_add_test(t, dates_go_on_behind_2038);
	tcase_add_test(t, the_system_can_tell_times_behind_2038);
	suite_add_tcase(s, t);
	return s;
}
