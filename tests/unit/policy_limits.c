/* Counts of address classes and users: who is let in, who is not, and that nothing grows past its ceiling. */
#include <arpa/inet.h>
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "policy/limits.h"

static struct limits *l;
static const struct limits_most most = { .open = 4, .connects = 10 };

static void setup(void) { ck_assert_ptr_nonnull(l = limits_new(1000)); }
static void teardown(void) { limits_free(l); }

static const struct sockaddr *address(const char *text)
{
	static struct sockaddr_storage ss;

	ss = (struct sockaddr_storage){ 0 };
	if (inet_pton(AF_INET, text, &((struct sockaddr_in *)&ss)->sin_addr) == 1)
		ss.ss_family = AF_INET;
	else if (inet_pton(AF_INET6, text, &((struct sockaddr_in6 *)&ss)->sin6_addr) == 1)
		ss.ss_family = AF_INET6;
	else
		ss.ss_family = AF_UNIX;
	return (const struct sockaddr *)&ss;
}

static bool enters(const char *text, int64_t now, struct limits_visit *v)
{
	return !limits_enter(l, &most, address(text), now, v);
}

/* ---- connections */

START_TEST(addresses_of_one_class_share_its_places)
{
	static const struct {
		const char *printed;            /* with an octet or group to count up */
		unsigned from, step;
		unsigned open;                  /* of 60 that come, each of another address */
	} rows[] = {
		{ "192.0.2.7", 0, 0, 4 },               /* one address */
		{ "192.0.2.%u", 0, 1, 12 },             /* a /26 */
		{ "192.0.2.%u", 0, 4, 36 },             /* four of them, within one /21 */
		{ "192.0.%u.1", 0, 8, 60 },             /* a /21 each */
		{ "::ffff:192.0.2.%u", 0, 1, 12 },      /* IPv4, however it is written */
		{ "2001:db8:1:1::%x", 0, 1, 4 },        /* a /64 */
		{ "2001:db8:1:%x::1", 0, 1, 12 },       /* a /48 */
		{ "2001:db8:%x::1", 0, 1, 36 },         /* a /32 */
		{ "2001:%x::1", 0, 1, 60 },
		{ "a local socket", 0, 0, 60 },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct limits_visit v[60], again;
		unsigned open = 0;
		char text[60];

		for (unsigned n = 0; n < 60; n++) {
			snprintf(text, sizeof text, rows[i].printed, rows[i].from + n * rows[i].step);
			open += enters(text, 1000 * (int64_t)i + 61 * n / 4, &v[n]);
		}
		ck_assert_msg(open == rows[i].open, "%s: %u", rows[i].printed, open);
		for (unsigned n = 0; n < 60; n++)
			limits_leave(l, &v[n]);
		limits_leave(l, &v[0]);         /* twice is once */
		snprintf(text, sizeof text, rows[i].printed, rows[i].from);
		ck_assert_msg(enters(text, 1000 * (int64_t)i + 990, &again), "%s", text);
		limits_leave(l, &again);
	}
}
END_TEST

START_TEST(an_address_that_has_no_place_leaves_its_neighbours_theirs)
{
	struct limits_visit v[5], w;

	for (int i = 0; i < 4; i++)
		ck_assert(enters("192.0.2.1", 0, &v[i]));
	ck_assert(!enters("192.0.2.1", 0, &v[4]));
	ck_assert(enters("192.0.2.2", 0, &w));
	limits_leave(l, &v[2]);
	ck_assert(enters("192.0.2.1", 0, &v[2]));
}
END_TEST

START_TEST(connections_of_a_minute_are_limited)
{
	static const struct {
		int64_t at;
		bool in;
	} rows[] = {
		{ 100, true }, { 101, true }, { 102, true }, { 103, true }, { 104, true }, { 105, true }, { 106, true }, { 107, true },
		{ 108, true }, { 109, true }, { 110, false }, { 159, false }, { 160, true }, { 161, true },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct limits_visit v;

		ck_assert_msg(enters("192.0.2.1", rows[i].at, &v) == rows[i].in, "at %lld", (long long)rows[i].at);
		limits_leave(l, &v);
	}
}
END_TEST

START_TEST(zero_is_no_limit)
{
	static const struct limits_most none;

	for (int i = 0; i < 500; i++) {
		struct limits_visit v;

		ck_assert(!limits_enter(l, &none, address("192.0.2.1"), 0, &v));
	}
}
END_TEST

/* ---- recipients */

START_TEST(who_guesses_recipients_is_not_let_in_for_an_hour)
{
	struct limits_visit v;

	for (int i = 1; i < LIMIT_REFUSED; i++)
		ck_assert(limits_refused(l, address("192.0.2.1"), 50));
	ck_assert(enters("192.0.2.1", 50, &v));
	ck_assert(!limits_refused(l, address("192.0.2.1"), 50));
	ck_assert(!enters("192.0.2.1", 3649, &v));
	ck_assert(enters("192.0.2.2", 3649, &v));
	ck_assert(enters("192.0.2.1", 3650, &v));
}
END_TEST

START_TEST(a_message_that_is_taken_makes_up_for_refused_recipients)
{
	for (int i = 0; i < 3 * LIMIT_REFUSED - 1; i++) {
		ck_assert(limits_refused(l, address("192.0.2.1"), 50));
		if (i % 100 == 0)
			limits_taken(l, address("192.0.2.1"));
	}
	ck_assert(!limits_refused(l, address("192.0.2.2"), 50));                /* but not for the whole network's */
	limits_taken(l, address("198.51.100.1"));                                /* never heard of: nothing */
}
END_TEST

/* ---- logins */

static void guess(const char *from, const char *user, unsigned n, int64_t now)
{
	while (n--)
		limits_login_failed(l, address(from), str_of(user), now);
}

static bool allowed(const char *from, const char *user, int64_t now)
{
	return limits_login_allowed(l, address(from), str_of(user), now);
}

START_TEST(guesses_are_limited_by_address_class_and_by_user)
{
	static const struct {
		const char *from, *user;        /* who fails, counted up */
		unsigned n;
		const char *then_from, *then_user;
		int64_t after;
		bool allowed;
	} rows[] = {
		{ "192.0.2.1", "u%u", 9, "192.0.2.1", "anna", 0, true },
		{ "192.0.2.1", "u%u", 10, "192.0.2.1", "anna", 0, false },
		{ "192.0.2.1", "u%u", 10, "192.0.2.1", "anna", 59, false },
		{ "192.0.2.1", "u%u", 10, "192.0.2.1", "anna", 60, true },
		{ "192.0.2.1", "u%u", 10, "192.0.2.2", "anna", 0, true },
		{ "192.0.2.1", "u%u", 50, "192.0.2.1", "anna", 86399, false },
		{ "192.0.2.1", "u%u", 50, "192.0.2.1", "anna", 86400, true },
		{ "192.0.2.%u", "u%u", 29, "192.0.2.50", "anna", 0, true },
		{ "192.0.2.%u", "u%u", 30, "192.0.2.50", "anna", 0, false },
		{ "192.0.2.%u", "u%u", 30, "192.0.2.90", "anna", 0, true },
		{ "2001:db8::%u", "u%u", 10, "2001:db8::ffff", "anna", 0, false },
		{ "2001:db8:0:%u::", "u%u", 30, "2001:db8:0:77::", "anna", 0, false },
		{ "2001:db8:%u::", "u%u", 90, "2001:db8:777::", "anna", 0, false },
		{ "2001:%u::", "u%u", 90, "2001:db8:777::", "anna", 0, true },
		{ "10.%u.0.1", "anna", 29, "192.0.2.1", "anna", 0, true },
		{ "10.%u.0.1", "anna", 30, "192.0.2.1", "anna", 0, false },
		{ "10.%u.0.1", "anna", 30, "192.0.2.1", "Anna", 0, true },
		{ "10.%u.0.1", "anna", 30, "192.0.2.1", "anna", 60, true },
		{ "10.%u.0.1", "anna", 150, "192.0.2.1", "anna", 80000, false },
		{ "local", "anna", 30, "local", "anna", 0, false },
		{ "local", "u%u", 90, "local", "anna", 0, true },
		{ "local", "", 29, "local", "", 0, true },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		teardown();
		setup();
		for (unsigned n = 0; n < rows[i].n; n++) {
			char from[60], user[60];

			snprintf(from, sizeof from, rows[i].from, n);
			snprintf(user, sizeof user, rows[i].user, n);
			guess(from, user, 1, 7);
		}
		ck_assert_msg(allowed(rows[i].then_from, rows[i].then_user, 7 + rows[i].after) == rows[i].allowed, "row %zu: %s %s",
			i, rows[i].then_from, rows[i].then_user);
	}
}
END_TEST

START_TEST(a_user_is_not_locked_out_where_he_has_logged_in_before)
{
	limits_login_ok(l, address("198.51.100.1"), STR("anna"), 0);
	for (unsigned n = 0; n < 200; n++) {
		char from[60];

		snprintf(from, sizeof from, "10.%u.0.1", n);
		guess(from, "anna", 1, 5);
	}
	ck_assert(!allowed("192.0.2.1", "anna", 5));
	ck_assert(allowed("198.51.100.1", "anna", 5));
	ck_assert(!allowed("198.51.100.2", "anna", 5));
	guess("198.51.100.1", "anna", 10, 5);            /* but not to guess there for ever */
	ck_assert(!allowed("198.51.100.1", "anna", 5));
	ck_assert(allowed("198.51.100.1", "anna", 30 * 86400 - 1));
}
END_TEST

START_TEST(an_old_password_that_is_said_again_and_again_locks_nobody_else_out)
{
	int64_t now = 0;

	limits_login_ok(l, address("198.51.100.1"), STR("anna"), now);
	limits_login_ok(l, address("198.51.100.1"), STR("bob"), now);
	for (unsigned n = 0; n < 288; n++)
		guess("198.51.100.1", "anna", 1, now += 300);           /* a phone, for a day */
	ck_assert(allowed("198.51.100.1", "bob", now));
	ck_assert(allowed("198.51.100.1", "carl", now));
	ck_assert(allowed("198.51.100.1", "anna", now));
	ck_assert(allowed("192.0.2.1", "anna", now));
	guess("198.51.100.1", "anna", 500 - 288, now);          /* but not to guess there for ever */
	ck_assert(!allowed("198.51.100.1", "anna", now + 60));
	ck_assert(allowed("198.51.100.1", "bob", now + 60));
}
END_TEST

START_TEST(the_guesses_of_a_stranger_do_not_lock_his_neighbours_out)
{
	limits_login_ok(l, address("198.51.100.1"), STR("bob"), 0);
	for (unsigned n = 0; n < 60; n++)
		guess("198.51.100.1", "anna", 1, 60 * n);
	ck_assert(!allowed("198.51.100.1", "anna", 3600));
	ck_assert(!allowed("198.51.100.1", "carl", 3600));
	ck_assert(allowed("198.51.100.1", "bob", 3600));
}
END_TEST

START_TEST(a_login_forgives_what_failed_before_from_its_address)
{
	guess("192.0.2.1", "anna", 9, 0);
	limits_login_ok(l, address("192.0.2.1"), STR("anna"), 0);
	guess("192.0.2.1", "anna", 9, 0);
	ck_assert(allowed("192.0.2.1", "anna", 0));
	guess("192.0.2.1", "anna", 1, 0);
	ck_assert(!allowed("192.0.2.1", "anna", 0));
}
END_TEST

START_TEST(a_name_of_any_length_is_counted)
{
	static char name[5000];

	memset(name, 'x', sizeof name);
	for (size_t n = 0; n < sizeof name; n += 97)
		limits_login_failed(l, address("192.0.2.1"), (struct str){ name, n }, 0);
	ck_assert(!limits_login_allowed(l, address("192.0.2.9"), (struct str){ name, 4990 }, 0));
}
END_TEST

/* ---- memory */

START_TEST(a_flood_of_addresses_ends_at_the_ceiling_and_keeps_what_is_open)
{
	struct limits_visit open[300], v;
	char text[60];
	unsigned in = 0;

	for (unsigned i = 0; i < 300; i++) {            /* 900 of 1000 records are held */
		snprintf(text, sizeof text, "10.%u.%u.1", i / 16, i % 16 * 16);
		ck_assert(enters(text, 0, &open[i]));
	}
	for (unsigned i = 0; i < 100000; i++) {
		snprintf(text, sizeof text, "2001:%x:%x::1", i >> 8, i & 255);
		if (enters(text, 1 + i, &v))
			in++;
		limits_leave(l, &v);
		ck_assert_uint_le(limits_records(l), 1000);
	}
	ck_assert_uint_eq(in, 100000);
	for (unsigned i = 0; i < 300; i++) {
		snprintf(text, sizeof text, "10.%u.%u.1", i / 16, i % 16 * 16);
		for (int n = 1; n < 4; n++)
			ck_assert(enters(text, 200000, &v));
		ck_assert_msg(!enters(text, 200000, &v), "%s was forgotten", text);
		limits_leave(l, &open[i]);
	}
}
END_TEST

START_TEST(when_all_records_are_held_nobody_else_comes_in)
{
	struct limits_visit v;
	unsigned in = 0;
	char text[60];

	teardown();
	l = limits_new(0);                              /* 64 is the least */
	for (unsigned i = 0; i < 100; i++) {
		snprintf(text, sizeof text, "%u.1.1.1", i + 1);
		in += enters(text, 0, &v);
	}
	ck_assert_uint_eq(in, 21);
	ck_assert_uint_eq(limits_records(l), 64);
	guess("203.0.113.1", "anna", 40, 0);             /* nothing to count with: nothing breaks */
	limits_refused(l, address("203.0.113.1"), 0);
	ck_assert(enters("local", 0, &v));
}
END_TEST

START_TEST(who_is_turned_away_costs_no_record)
{
	struct limits_visit v[60];
	char text[60];

	for (unsigned i = 0; i < 60; i++) {             /* a /32 of 36 places, a /64 each */
		snprintf(text, sizeof text, "2001:db8:%x::1", i);
		enters(text, 0, &v[i]);
	}
	ck_assert_uint_eq(limits_records(l), 36 * 2 + 1);
}
END_TEST

/* ---- from one run to the next */

/* Another table, whose clock begins at `now`, `wall` seconds later. */
static bool another_run(const struct buf *octets, size_t records, int64_t now, int64_t wall)
{
	limits_free(l);
	l = limits_new(records);
	return limits_read(l, buf_view(octets), now, 1795424400 + wall);
}

START_TEST(counts_go_on_where_they_ended)
{
	static const struct { int64_t now, wall; bool may; } row[] = {  /* of 3 an hour, at 0, 100 and 200 s of the run before, which ended at 1000 */
		{ 5, 0, false }, { 5, 2500, false }, { 5, 2601, true }, { 100000, 30, false }, { 0, -500, false }, { 7, 40 * 86400, true }, { UINT32_MAX, 10, false },
	};
	struct buf octets = { 0 };
	struct limits_visit v;

	for (int i = 0; i < 3; i++)
		ck_assert(limits_take(l, LIMIT_RCPT, STR("bob@here"), 3, 100 * i));
	limits_login_ok(l, address("192.0.2.7"), STR("anna"), 900);
	ck_assert(enters("203.0.113.5", 990, &v));      /* is still open */
	ck_assert(limits_print(l, 1000, 1795424400, &octets));
	limits_leave(l, &v);
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		ck_assert(another_run(&octets, 1000, row[i].now, row[i].wall));
		ck_assert_msg(limits_take(l, LIMIT_RCPT, STR("bob@here"), 3, row[i].now) == row[i].may, "row %zu", i);
		ck_assert(limits_take(l, LIMIT_RCPT, STR("carol@here"), 3, row[i].now));
	}
	ck_assert(another_run(&octets, 1000, 50, 86400));
	for (int i = 0; i < 100; i++)
		limits_login_failed(l, address("198.51.100.9"), STR("anna"), 50);
	ck_assert(!limits_login_allowed(l, address("198.51.100.9"), STR("anna"), 50));
	ck_assert(limits_login_allowed(l, address("192.0.2.7"), STR("anna"), 50));
	buf_free(&octets);
}
END_TEST

START_TEST(of_octets_that_are_not_whole_nothing_is_taken)
{
	struct buf octets = { 0 };

	limits_take(l, LIMIT_RCPT, STR("bob@here"), 1, 0);
	ck_assert(limits_print(l, 0, 1795424400, &octets));
	ck_assert(!another_run(&(struct buf){ .p = octets.p, .n = octets.n - 1 }, 1000, 0, 0));
	ck_assert(!another_run(&(struct buf){ .p = octets.p, .n = 10 }, 1000, 0, 0));
	for (size_t i = 0; i < octets.n; i++) {
		if (i >= 32 && i < 40)                  /* the time */
			continue;
		octets.p[i] ^= 0x41;
		ck_assert_msg(!another_run(&octets, 1000, 0, 0), "octet %zu", i);
		ck_assert_uint_eq(limits_records(l), 0);
		octets.p[i] ^= 0x41;
	}
	ck_assert(another_run(&octets, 1000, 0, 0));
	ck_assert(!limits_read(l, buf_view(&octets), 0, 1795424400));   /* it has counted already */
	buf_free(&octets);
}
END_TEST

START_TEST(of_more_than_there_is_room_for_the_newest_are_taken)
{
	struct buf octets = { 0 };
	char name[20];

	for (unsigned i = 0; i < 500; i++) {
		snprintf(name, sizeof name, "u%u", i);
		limits_take(l, LIMIT_RCPT, str_of(name), 1, i);
	}
	ck_assert(limits_print(l, 500, 1795424400, &octets));
	ck_assert(another_run(&octets, 100, 0, 0));
	ck_assert_uint_eq(limits_records(l), 100);
	ck_assert(!limits_take(l, LIMIT_RCPT, STR("u499"), 1, 0));
	ck_assert(!limits_take(l, LIMIT_RCPT, STR("u400"), 1, 0));
	ck_assert(limits_take(l, LIMIT_RCPT, STR("u399"), 1, 0));
	buf_free(&octets);
}
END_TEST

Suite *policy_limits_suite(void);
Suite *policy_limits_suite(void)
{
	Suite *s = suite_create("policy_limits");
	TCase *t = tcase_create("limits");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, addresses_of_one_class_share_its_places);
	tcase_add_test(t, an_address_that_has_no_place_leaves_its_neighbours_theirs);
	tcase_add_test(t, connections_of_a_minute_are_limited);
	tcase_add_test(t, zero_is_no_limit);
	tcase_add_test(t, who_guesses_recipients_is_not_let_in_for_an_hour);
	tcase_add_test(t, a_message_that_is_taken_makes_up_for_refused_recipients);
	tcase_add_test(t, guesses_are_limited_by_address_class_and_by_user);
	tcase_add_test(t, a_user_is_not_locked_out_where_he_has_logged_in_before);
	tcase_add_test(t, an_old_password_that_is_said_again_and_again_locks_nobody_else_out);
	tcase_add_test(t, the_guesses_of_a_stranger_do_not_lock_his_neighbours_out);
	tcase_add_test(t, a_login_forgives_what_failed_before_from_its_address);
	tcase_add_test(t, a_name_of_any_length_is_counted);
	tcase_add_test(t, a_flood_of_addresses_ends_at_the_ceiling_and_keeps_what_is_open);
	tcase_add_test(t, when_all_records_are_held_nobody_else_comes_in);
	tcase_add_test(t, who_is_turned_away_costs_no_record);
	tcase_add_test(t, counts_go_on_where_they_ended);
	tcase_add_test(t, of_octets_that_are_not_whole_nothing_is_taken);
	tcase_add_test(t, of_more_than_there_is_room_for_the_newest_are_taken);
	suite_add_tcase(s, t);
	return s;
}
