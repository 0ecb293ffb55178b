/* Remedies for whoever runs this host. */
#include "cmd/remedy.h"

#include <check.h>
#include <string.h>

Suite *cmd_remedy_suite(void);

#define PEER "mx.example.net[192.0.2.1]:25"

/* A host in brackets has said it, where the words begin with a code; a mailbox is ours. */
static const struct { const char *host, *status, *words, *holds; } rows[] = {
	{ PEER, "4.7.8", "login at relay.test[192.0.2.1]:587 as anna: PLAIN was refused: 535 5.7.8 no", "user and password of the route" },
	{ PEER, "4.7.8", "the token_command of the route has given no token: exit status 1", "run the token_command" },
	{ PEER, "4.7.5", "TLS handshake failed: the peer's certificate has expired or is not valid yet", "clock" },
	{ PEER, "4.4.1", "connect to mx.example.net[192.0.2.1]:25 timed out after 30 s", "port 25 is blocked" },
	{ PEER, "4.4.1", "connect to [127.0.0.1]:2525: Connection refused", "nothing listens there" },
	{ PEER, "4.4.1", "connect to [192.0.2.1]:25 through the proxy 127.0.0.1:1080: it cannot be reached: Connection refused", "the proxy runs" },
	{ PEER, "4.4.1", "connect to [2001:db8::1]:25: Network is unreachable", "inet = only4" },
	{ PEER, "5.7.8", "535 5.7.8 bad password", "user and password of the route" },
	{ PEER, "5.7.25", "550 5.7.25 no PTR record", "PTR record" },
	{ PEER, "4.4.3", "no resolver answers", "fardel check" },
	{ PEER, "4.4.3", "451 4.4.3 our resolver is slow", NULL },
	{ "-", "4.4.3", "451 4.4.3 cannot look up the mail hosts of b.test: Network is unreachable asking 192.0.2.53", "fardel check" },
	{ "maildir", "4.3.1", "452 4.3.1 mailbox of anna: writing the message: No space left on device", "disk is full" },
	{ "maildir", "4.3.0", "451 4.3.0 mailbox of anna: opening it: Permission denied", "chown" },
	{ "maildir", "4.3.5", "451 4.3.5 the directory that holds the mailboxes is not there", "mounted" },
	{ "aliases", "4.3.0", "451 4.3.0 the user's .forward file cannot be read now", "fardel alias" },
	{ "maildir", "4.2.2", "452 4.2.2 the mailbox has no room", "mailbox_quota" },
	{ PEER, "4.7.5", "certificate: it is for another name", "clock" },
	{ PEER, "4.3.0", "No space left on device", "disk is full" },
	{ PEER, "5.1.1", "550 5.1.1 no such user", NULL },
	{ PEER, "4.2.2", "452 4.2.2 mailbox full, timed out", NULL },
	{ PEER, "", "", NULL },
};

START_TEST(what_was_said_has_its_remedy_or_none)
{
	const char *r = remedy_of(str_of(rows[_i].host), str_of(rows[_i].status), str_of(rows[_i].words));

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
