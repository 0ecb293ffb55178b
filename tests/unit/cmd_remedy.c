/* Remedies for whoever runs this host. */
#include "cmd/remedy.h"

#include <check.h>
#include <string.h>

Suite *cmd_remedy_suite(void);

static const struct { const char *status, *words, *holds; } rows[] = {
	{ "4.4.1", "connect to mx.example.net[192.0.2.1]:25 timed out after 30 s", "port 25 is blocked" },
	{ "4.4.1", "connect to [127.0.0.1]:2525: Connection refused", "nothing listens there" },
	{ "4.4.1", "connect to [2001:db8::1]:25: Network is unreachable", "inet = only4" },
	{ "5.7.8", "535 5.7.8 bad password", "user and password of the route" },
	{ "5.7.25", "550 5.7.25 no PTR record", "PTR record" },
	{ "4.4.3", "no resolver answers", "fardel check" },
	{ "4.4.3", "451 4.4.3 our resolver is slow", NULL },
	{ "4.7.5", "certificate: it is for another name", "clock" },
	{ "4.3.0", "No space left on device", "disk is full" },
	{ "5.1.1", "550 5.1.1 no such user", NULL },
	{ "4.2.2", "452 4.2.2 mailbox full, timed out", NULL },
	{ "", "", NULL },
};

START_TEST(what_was_said_has_its_remedy_or_none)
{
	const char *r = remedy_of(str_of(rows[_i].status), str_of(rows[_i].words));

	ck_assert_msg(rows[_i].holds ? r && strstr(r, rows[_i].holds) : !r, "\"%s\": %s", rows[_i].words, r ? r : "none");
}
END_TEST

Suite *cmd_remedy_suite(void)
{
	Suite *s = suite_create("cmd_remedy");
	TCase *c = tcase_create("remedy");

	tcase_add_loop_test(c, what_was_said_has_its_remedy_or_none, 0, sizeof rows / sizeof *rows);
	suite_add_tcase(s, c);
	return s;
}
