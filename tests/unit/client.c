/* The client against what no decent server does, and at its edges. Decent conversations are in tests/script/client/. */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "client.h"
#include "lib/rand.h"
#include "tests/caller.h"
#include "tests/peer.h"

static void with_a_virtual_clock(void) { loop_virtual_clock(1700000000); }

static const struct str message = { "Subject: x\r\n\r\n.dot\r\n", 20 };

static void one_job(struct caller *a)
{
	ck_assert(caller_from(a, STR("FROM:<a@x.test>")));
	ck_assert(caller_to(a, STR("TO:<b@y.test>")));
	caller_message(a, a->n - 1, message);
}

static bool run(struct caller *a, struct peer *p)
{
	socklen_t len;
	const struct sockaddr *addr = peer_address(p, &len);

	peer_message(p, message);
	return caller_run(a, addr, len);
}

static void told_holds(struct caller *a, const char *words)
{
	ck_assert_msg(strstr(caller_told(a), words), "wanted \"%s\" in:\n%s", words, caller_told(a));
}

static size_t count(const char *text, const char *words)
{
	size_t n = 0;

	for (; (text = strstr(text, words)); text++)
		n++;
	return n;
}

/* What holds however a conversation went. */
static void bookkeeping_is_right(struct caller *a, const char *about)
{
	const char *told = caller_told(a);
	size_t over = count(told, "\ndone") + count(told, "\nuntried");

	ck_assert_msg(a->gone && count(told, "gone: ") == 1, "%s: gone() once:\n%s", about, told);
	ck_assert_msg(over == (strstr(told, "ready") ? a->sent : 0) || strstr(told, "left"), "%s: done() once a job:\n%s", about, told);
	for (size_t i = 0; i < a->n; i++) {
		for (size_t j = 0; j < a->errands[i].job.n; j++)
			ck_assert_msg(a->errands[i].results[j] <= 1, "%s: two results for one recipient:\n%s", about, told);
	}
}

/* ---- replies that are none */

static const struct { const char *step, *script; } steps[] = {
	{ "greeting", "" },
	{ "EHLO", "S: 220 mx\nC: EHLO client.test\n" },
	{ "MAIL", "S: 220 mx\nC: EHLO client.test\nS: 250 mx\nC: MAIL*\n" },
	{ "RCPT", "S: 220 mx\nC: EHLO client.test\nS: 250 mx\nC: MAIL*\nS: 250 ok\nC: RCPT*\n" },
	{ "DATA", "S: 220 mx\nC: EHLO client.test\nS: 250 mx\nC: MAIL*\nS: 250 ok\nC: RCPT*\nS: 250 ok\nC: DATA\n" },
	{ "the final dot", "S: 220 mx\nC: EHLO client.test\nS: 250 mx\nC: MAIL*\nS: 250 ok\nC: RCPT*\nS: 250 ok\nC: DATA\nS: 354 go\nM:\n" },
};
static const struct { const char *reply, *words; } nonsense[] = {
	{ "S: 199 preliminary", ": not a reply: \"199 preliminary\"" },
	{ "S: 600 beyond", ": not a reply: \"600 beyond\"" },
	{ "S: 000", ": not a reply" },
	{ "S: bogus", ": not a reply: \"bogus\"" },
	{ "S: 2200 mx", ": not a reply" },
	{ "S: 25", ": not a reply" },
	{ "S: -250", ": not a reply" },
	{ "S: 250_ok", ": not a reply" },
	{ "W: \\r\\n", ": not a reply: \"" },
	{ "W: 2\\x000 ok\\r\\n", ": not a reply: \"2" },
	{ "W: 250-one\\r\\n251 two\\r\\n", ": the code changes inside a reply: \"251 two\"" },
	{ "W: 250-one\\r\\n 250 two\\r\\n", ": not a reply" },
	{ "W: 550-one\\r\\n250 two\\r\\n", ": the code changes inside a reply" },
	{ "20000 S: 450-more", ": a reply of more than 10000 lines" },
	{ "20000 W: this goes on and on and", ": a reply line of more than 4096 octets" },
};
enum { STEPS = sizeof steps / sizeof *steps, NONSENSE = sizeof nonsense / sizeof *nonsense };

START_TEST(nonsense_is_a_protocol_error_at_every_step)
{
	const char *step = steps[_i / NONSENSE].step, *reply = nonsense[_i % NONSENSE].reply, *wrong = nonsense[_i % NONSENSE].words;
	struct buf script = { 0 }, words = { 0 };
	struct caller a;
	struct peer *p;

	buf_printf(&script, "%s%s\n", steps[_i / NONSENSE].script, reply);
	if (_i == STEPS * NONSENSE - 1)         /* the beginning of such a line counts there */
		wrong = ": not a reply: \"this goes on";
	buf_printf(&words, "gone: 0 4.5.0 %s%s", step, wrong);
	caller_init(&a, false);
	one_job(&a);
	p = peer_new(buf_cstr(&script));
	ck_assert(run(&a, p));
	told_holds(&a, buf_cstr(&words));
	bookkeeping_is_right(&a, reply);
	ck_assert_msg(!strstr(caller_told(&a), "b@y.test"), "%s at %s is a result:\n%s", reply, step, caller_told(&a));
	if (_i / NONSENSE == STEPS - 1)
		told_holds(&a, "second copy");
	else
		ck_assert(!strstr(caller_told(&a), "second copy"));
	peer_free(p);
	caller_free(&a);
	buf_free(&script);
	buf_free(&words);
}
END_TEST

/* What begins with the code that says yes has said it: the message is not sent again, however the reply goes on. */
START_TEST(a_final_yes_that_can_be_read_is_believed)
{
	static const struct { const char *reply, *result, *gone; } rows[] = {
		{ "20000 W: 250 this goes on and on and\n", "b@y.test: 250 this goes on and on and", NULL },
		{ "W: 250 2.0.0 long\n1000 W: queued\nW: \\r\\n\nC: QUIT\nS: 221 bye\neof\n", "b@y.test: 250 2.0.0 longqueued", "gone: 221" },
		{ "20000 S: 250-2.0.0 more\n", "b@y.test: 250 2.0.0 more", "gone: 0 4.5.0 protocol error: a reply of more than 10000 lines" },
		{ "S: 250-2.0.0 queued\nclose\n", "b@y.test: 250 2.0.0 queued", "gone: 0 4.4.2 connection lost" },
		{ "S: 250-2.0.0 queued\nW: 250-2\nclose\n", "b@y.test: 250 2.0.0 queued", "gone: 0 4.4.2 connection lost" },
		{ "W: 250 2.0.0 que\nclose\n", "b@y.test: 250 2.0.0 que", "gone: 0 4.4.2 connection lost" },
		{ "W: 250 ok\\r\nclose\n", "b@y.test: 250 ok\n", "gone: 0 4.4.2 connection lost" },
		{ "S: 250-2.0.0 queued\n", "b@y.test: 250 2.0.0 queued", "gone: 0 4.4.2 a reply had no end within 600 s\n" },
		{ "W: 250 2.0.0 que\n", "b@y.test: 250 2.0.0 que", "gone: 0 4.4.2 a reply had no end within 600 s\n" },
		/* no yes, or no code: asked again */
		{ "W: 250\nclose\n", "done: 0 4.4.2 connection lost after the final dot", "second copy" },
		{ "W: 25\nclose\n", "done: 0 4.4.2 connection lost after the final dot", "second copy" },
		{ "S: 550-5.7.1 no\nclose\n", "done: 0 4.4.2 connection lost after the final dot", "second copy" },
		{ "S: 550-5.7.1 no\n", "done: 0 4.4.2 no reply to the final dot within 600 s", "second copy" },
		{ "S: 354-go\nclose\n", "done: 0 4.4.2 connection lost after the final dot", "second copy" },
		{ "20000 W: 550 this goes on and on and\n", "b@y.test: 550 this goes on", NULL },
	};
	struct buf script = { 0 };
	struct caller a;
	struct peer *p;

	buf_printf(&script, "%s%s", steps[STEPS - 1].script, rows[_i].reply);
	caller_init(&a, false);
	one_job(&a);
	p = peer_new(buf_cstr(&script));
	run(&a, p);
	told_holds(&a, rows[_i].result);
	if (rows[_i].gone)
		told_holds(&a, rows[_i].gone);
	bookkeeping_is_right(&a, rows[_i].reply);
	peer_free(p);
	caller_free(&a);
	buf_free(&script);
}
END_TEST

/* Codes that are codes, but say nothing at this step. */
static const struct { int step; const char *reply; } misplaced[] = {
	{ 0, "250 ok" }, { 0, "221 bye" }, { 0, "354 go" }, { 0, "200 ok" },
	{ 1, "220 again" }, { 1, "221 bye" }, { 1, "251 ok" }, { 1, "354 go" }, { 1, "334 login" },
	{ 2, "354 go" }, { 2, "334 login" }, { 3, "354 go" }, { 3, "300 more" },
	{ 4, "250 ok" }, { 4, "220 ok" }, { 4, "221 bye" }, { 4, "355 go" }, { 4, "300 go" },
	{ 5, "354 go" }, { 5, "334 login" }, { 5, "399 more" },
};

START_TEST(a_misplaced_code_is_never_success)
{
	struct buf script = { 0 }, words = { 0 };
	struct caller a;
	struct peer *p;

	buf_printf(&script, "%sS: %s\neof\n", steps[misplaced[_i].step].script, misplaced[_i].reply);
	buf_printf(&words, "gone: 0 4.5.0 %s: a reply without meaning here: %s", steps[misplaced[_i].step].step, misplaced[_i].reply);
	caller_init(&a, false);
	one_job(&a);
	p = peer_new(buf_cstr(&script));
	ck_assert(run(&a, p));
	ck_assert_msg(!peer_trouble(p), "%s", peer_trouble(p));
	told_holds(&a, buf_cstr(&words));
	bookkeeping_is_right(&a, misplaced[_i].reply);
	ck_assert(!strstr(caller_told(&a), "b@y.test"));
	peer_free(p);
	caller_free(&a);
	buf_free(&script);
	buf_free(&words);
}
END_TEST

START_TEST(words_of_the_peer_are_bounded_and_printable)
{
	struct caller a;
	const char *told, *end;
	struct peer *p = peer_new("S: 220 mx\nC: EHLO client.test\nS: 250 mx\nC: MAIL*\n"
		"W: 550-5.7.1 \\x1b[2J\\x00\\xff bell\\x07\\r\\n\n"
		"90 S: 550-5.7.1 and so on, and so on, and so on, and so on, and so on\n"
		"S: 550 5.7.1 end\nC: QUIT\nS: 221 bye\neof\n");

	caller_init(&a, false);
	one_job(&a);
	ck_assert(run(&a, p));
	ck_assert_msg(!peer_trouble(p), "%s", peer_trouble(p));
	told_holds(&a, "b@y.test: 550 5.7.1 ?[2J?? bell? and so on, ");
	told = strstr(caller_told(&a), "550");
	end = strchr(told, '\n');
	ck_assert_int_le(end - told, REPLY_TEXT + 12);
	for (; told < end; told++)
		ck_assert(ascii_print(*told));
	peer_free(p);
	caller_free(&a);
}
END_TEST

/* ---- the connection ends anywhere */

static const struct { bool lmtp; const char *script; } wholes[] = {
	{ false, "S: 220 mx\nC: EHLO client.test\nS: 250-mx\nS: 250 PIPELINING\n"
		"C: MAIL*\nC: RCPT*\nC: RCPT*\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 452 4.5.3 too many\nS: 354 go\nM:\nS: 250 queued\n"
		"C: MAIL*\nC: RCPT*\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 354 go\nM:\nS: 554 no\n"
		"C: RSET\nC: MAIL*\nC: RCPT*\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\nM:\nS: 250 queued\nC: QUIT\nS: 221 bye\neof\n" },
	{ false, "S: 220 mx\nC: EHLO client.test\nS: 500 what\nC: HELO client.test\nS: 250 mx\n"
		"C: MAIL*\nS: 250 ok\nC: RCPT*\nS: 250 ok\nC: RCPT*\nS: 550 no\nC: DATA\nS: 354 go\nM:\nS: 250 queued\n"
		"C: MAIL*\nS: 250 ok\nC: RCPT*\nS: 250 ok\nC: DATA\nS: 354 go\nM:\nS: 250 queued\nC: QUIT\nS: 221 bye\neof\n" },
	{ true, "S: 220 mx\nC: LHLO client.test\nS: 250-mx\nS: 250 PIPELINING\n"
		"C: MAIL*\nC: RCPT*\nC: RCPT*\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\nM:\nS: 250 queued\nS: 450 full\n"
		"C: RSET\nC: MAIL*\nC: RCPT*\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 550 no\nS: 503 no\nC: QUIT\nS: 221 bye\neof\n" },
};
enum { WHOLES = sizeof wholes / sizeof *wholes };

static void two_jobs(struct caller *a, bool lmtp)
{
	caller_init(a, lmtp);
	one_job(a);
	ck_assert(caller_to(a, STR("TO:<c@y.test>")));
	one_job(a);
}

START_TEST(a_close_at_every_step_is_accounted_for)
{
	bool octets = _i % 2;
	const char *script = wholes[_i / 2].script;
	unsigned n = 0, last = 1;

	for (; n <= last; n++) {
		struct peer *p = peer_new(script);
		struct caller a;
		char about[64];

		last = peer_steps(p);
		two_jobs(&a, wholes[_i / 2].lmtp);
		if (octets)
			peer_octets(p);
		peer_cut(p, n);
		ck_assert(run(&a, p));
		snprintf(about, sizeof about, "script %d cut at step %u", _i / 2, n);
		bookkeeping_is_right(&a, about);
		ck_assert_msg(!peer_trouble(p), "%s: %s", about, peer_trouble(p));
		if (n >= last - 1)
			told_holds(&a, "gone: 221 ");
		peer_free(p);
		caller_free(&a);
	}
}
END_TEST

/* Steps drawn by lot; the seed is shown when something is wrong. */
START_TEST(random_peers_cannot_upset_the_bookkeeping)
{
	static const char *const menu[] = {
		"S: 220 a", "S: 250 b", "S: 250-PIPELINING", "S: 250 PIPELINING", "S: 354 d", "S: 421 e", "S: 452 f", "S: 550 5.1.1 g",
		"S: 552 h", "S: 250-x", "W: 25", "W: 0 ", "W: \\r\\n", "take 1", "take 10", "take 60", "take 200", "wait 1", "wait 200",
		"wait 700", "S: 250 2.1.5 i", "S: 250 2.1.5 i", "S: 354 d", "W: 250 a\\r\\n250 b\\r\\n354 c\\r\\n",
		"W: 250-x\\r\\n250-LIMITS RCPTMAX=1\\r\\n250 PIPELINING\\r\\n", "S: 503 j", "close",
	};
	uint64_t seed = rand_u64();

	for (int round = 0; round < 150; round++, seed = seed * 6364136223846793005u + 1442695040888963407u) {
		struct buf script = { 0 };
		uint64_t x = seed;
		struct caller a;
		struct peer *p;
		char about[64];

		buf_puts(&script, "S: 220 hello\nC: *\n");
		for (int i = 0; i < 40; i++) {
			x = x * 6364136223846793005u + 1442695040888963407u;
			buf_printf(&script, "%s\n", menu[(x >> 33) % (sizeof menu / sizeof *menu)]);
		}
		snprintf(about, sizeof about, "seed %llu", (unsigned long long)seed);
		two_jobs(&a, round % 3 == 0);
		p = peer_new(buf_cstr(&script));
		if (round % 2)
			peer_octets(p);
		ck_assert_msg(run(&a, p), "%s: does not end:\n%s\n%s", about, buf_cstr(&script), caller_told(&a));
		bookkeeping_is_right(&a, about);
		peer_free(p);
		caller_free(&a);
		buf_free(&script);
	}
}
END_TEST

/* ---- many recipients */

START_TEST(thousands_of_recipients_go_in_one_transaction)
{
	enum { N = 5000 };
	struct buf script = { 0 }, args = { 0 };
	struct caller a;
	struct peer *p;

	caller_init(&a, false);
	ck_assert(caller_from(&a, STR("FROM:<a@x.test>")));
	buf_puts(&script, "S: 220 mx\nC: EHLO client.test\nS: 250-mx\nS: 250 PIPELINING\nC: MAIL FROM:<a@x.test>\n");
	for (int i = 0; i < N; i++)
		buf_printf(&args, "TO:<recipient-%04d@a-longer-domain-name.y.test>", i);
	for (size_t i = 0; i < N; i++) {
		size_t n = args.n / N;
		struct str to = { args.p + i * n, n };
		ck_assert(caller_to(&a, to));
		buf_printf(&script, "C: RCPT " STR_FMT "\n", STR_ARG(to));
	}
	buf_puts(&script, "C: DATA\nquiet\nS: 250 ok\n4999 S: 250 ok\nS: 550 5.1.1 the last one\nS: 354 go\nM:\nS: 250 queued\nC: QUIT\nS: 221 bye\neof\n");
	caller_message(&a, 0, message);
	p = peer_new(buf_cstr(&script));
	ck_assert(run(&a, p));
	ck_assert_msg(!peer_trouble(p), "%s", peer_trouble(p));
	bookkeeping_is_right(&a, "thousands");
	ck_assert_uint_eq(count(caller_told(&a), ": 250 queued\n"), N - 1);
	told_holds(&a, "recipient-4999@a-longer-domain-name.y.test: 550 5.1.1 the last one\n");
	peer_free(p);
	caller_free(&a);
	buf_free(&script);
	buf_free(&args);
}
END_TEST

/* ---- the final dot is written but stuck behind a peer that does not read */

static size_t more_than_a_socket_holds(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), room = 0;
	socklen_t len = sizeof room;

	ck_assert_int_eq(getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, &len), 0);
	close(fd);
	return ((size_t)room / 65536 + 1) * 65536;
}

START_TEST(a_dot_that_has_not_left_is_not_answered)
{
	static const struct { const char *step, *words; } rows[] = {
		{ "S: 250 2.0.0 early\ndeaf\n", "done: 0 4.5.0 reply before the end of the message: 250 2.0.0 early\n" },
		{ "S: 421 4.3.2 early\ndeaf\n", "done: 421 4.3.2 reply before the end of the message: early\n" },
		{ "shut\ndeaf\n", "done: 0 4.4.2 connection lost in the middle of the message (closed by the peer)\n" },
		{ "deaf\n", "done: 0 4.4.2 the peer did not take the message: a block took more than 180 s\n" },
	};
	struct buf large = { 0 }, script = { 0 };
	struct caller a;
	struct peer *p;

	while (large.n < more_than_a_socket_holds())
		buf_puts(&large, "a line of it..\r\n");
	buf_printf(&script, "%sS: 354 go\nwait 1\n%s", steps[4].script, rows[_i].step);
	caller_init(&a, false);
	one_job(&a);
	caller_message(&a, 0, buf_view(&large));
	p = peer_new(buf_cstr(&script));
	ck_assert(run(&a, p));
	ck_assert_msg(!peer_trouble(p), "%s", peer_trouble(p));
	told_holds(&a, rows[_i].words);
	bookkeeping_is_right(&a, rows[_i].step);
	peer_free(p);
	caller_free(&a);
	buf_free(&large);
	buf_free(&script);
}
END_TEST

/* ---- our own faults */

START_TEST(a_message_that_ends_too_early_never_gets_its_dot)
{
	struct caller a;
	struct peer *p = peer_new("S: 220 mx\nC: EHLO client.test\nS: 250 mx\nC: MAIL*\nS: 250 ok\nC: RCPT*\nS: 250 ok\nC: DATA\nS: 354 go\neof\n");

	caller_init(&a, false);
	one_job(&a);
	a.errands[0].job.size = 100000;
	ck_assert(run(&a, p));
	ck_assert_msg(!peer_trouble(p), "%s", peer_trouble(p));
	told_holds(&a, "done: 0 4.3.0 our copy of the message cannot be read: it ends too early\n");
	peer_free(p);
	caller_free(&a);
}
END_TEST

START_TEST(a_file_that_breaks_in_the_middle_never_gets_its_dot)
{
	struct caller a;
	struct peer *p = peer_new("S: 220 mx\nC: EHLO client.test\nS: 250 mx\nC: MAIL*\nS: 250 ok\nC: RCPT*\nS: 250 ok\nC: DATA\nS: 354 go\ntake 65536\neof\n");
	struct buf large = { 0 };

	while (large.n < 65536)
		buf_puts(&large, "a line of it..\r\n");
	caller_init(&a, false);
	one_job(&a);
	caller_message(&a, 0, buf_view(&large));
	a.errands[0].job.size = 4 * 65536;
	ck_assert(run(&a, p));
	ck_assert_msg(!peer_trouble(p), "%s", peer_trouble(p));
	told_holds(&a, "done: 0 4.3.0 our copy of the message cannot be read: ");
	peer_free(p);
	caller_free(&a);
	buf_free(&large);
}
END_TEST

START_TEST(a_job_without_recipients_is_over_at_once)
{
	struct caller a;
	struct peer *p = peer_new("S: 220 mx\nC: EHLO client.test\nS: 250 mx\nC: QUIT\nS: 221 bye\neof\n");

	caller_init(&a, false);
	ck_assert(caller_from(&a, STR("FROM:<a@x.test>")));
	caller_message(&a, 0, message);
	ck_assert(run(&a, p));
	ck_assert_msg(!peer_trouble(p), "%s", peer_trouble(p));
	ck_assert_str_eq(caller_told(&a), "ready\ndone\ngone: 221 bye\n");
	peer_free(p);
	caller_free(&a);
}
END_TEST

/* ---- connecting */

static int tcp_socket(struct sockaddr_in *addr, int backlog)
{
	socklen_t len = sizeof *addr;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*addr = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	ck_assert_int_ne(fd, -1);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)addr, len), 0);
	if (backlog >= 0)
		ck_assert_int_eq(listen(fd, backlog), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)addr, &len), 0);
	return fd;
}

START_TEST(a_refused_connect_names_host_address_and_port)
{
	struct sockaddr_in addr;
	int fd = tcp_socket(&addr, -1);
	struct caller a;
	char words[200];

	caller_init(&a, false);
	ck_assert(caller_run(&a, (struct sockaddr *)&addr, sizeof addr));
	snprintf(words, sizeof words, "gone: 0 4.4.1 connect to mx.test[127.0.0.1]:%u: Connection refused\n", ntohs(addr.sin_port));
	ck_assert_str_eq(caller_told(&a), words);
	caller_free(&a);
	close(fd);
}
END_TEST

START_TEST(a_connect_that_hangs_times_out)
{
	struct sockaddr_in addr;
	int fd = tcp_socket(&addr, 0), full[4];
	struct caller a;
	char words[200];

	/* A full backlog takes no further connection and refuses none. */
	for (int i = 0; i < 4; i++) {
		full[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		ck_assert(connect(full[i], (struct sockaddr *)&addr, sizeof addr) == 0 || errno == EINPROGRESS);
	}
	caller_init(&a, false);
	a.config.connect_s = _i;
	ck_assert(caller_run(&a, (struct sockaddr *)&addr, sizeof addr));
	snprintf(words, sizeof words, "gone: 0 4.4.1 connect to mx.test[127.0.0.1]:%u timed out after %d s\n",
		ntohs(addr.sin_port), _i ? _i : 30);
	ck_assert_str_eq(caller_told(&a), words);
	for (int i = 0; i < 4; i++)
		close(full[i]);
	caller_free(&a);
	close(fd);
}
END_TEST

START_TEST(an_address_that_is_none_is_reported_later)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX, .sun_path = "/nonexistent/lmtp" };
	struct caller a;

	caller_init(&a, true);
	ck_assert(caller_run(&a, (struct sockaddr *)&addr, sizeof addr));
	ck_assert_str_eq(caller_told(&a), "gone: 0 4.4.1 connect to mx.test: No such file or directory\n");
	caller_free(&a);
}
END_TEST

START_TEST(tcp_carries_a_conversation_too)
{
	struct caller a;
	struct peer *p = peer_new_tcp(wholes[0].script);

	two_jobs(&a, false);
	a.step = 1;                     /* octets on TCP take real time: a clock that jumps must not run ahead of them */
	ck_assert(run(&a, p));
	ck_assert_msg(!peer_trouble(p), "%s; told:\n%s", peer_trouble(p), caller_told(&a));
	told_holds(&a, "c@y.test: 554 no\ndone\nb@y.test: 250 queued\ndone\ngone: 221 bye\n");
	peer_free(p);
	caller_free(&a);
}
END_TEST

START_TEST(time_limits_can_be_set)
{
	static const struct { const char *script, *words; } rows[] = {
		{ "wait 8\neof\n", "greeting: timed out after 7 s" },
		{ "S: 220 mx\nwait 8\nC: EHLO*\neof\n", "no reply to EHLO within 7 s" },
		{ "S: 220 mx\nC: EHLO*\nS: 250 mx\nC: MAIL*\nwait 8\neof\n", "no reply to MAIL within 7 s" },
		{ "S: 220 mx\nC: EHLO*\nS: 250 mx\nC: MAIL*\nS: 250 ok\nC: RCPT*\nS: 250 ok\nC: DATA\nwait 8\neof\n", "no reply to DATA within 7 s" },
		{ "S: 220 mx\nC: EHLO*\nS: 250 mx\nC: MAIL*\nS: 250 ok\nC: RCPT*\nS: 250 ok\nC: DATA\nS: 354 go\nM:\nwait 10\neof\n",
			"no reply to the final dot within 9 s; the peer may have the message" },
	};
	struct caller a;
	struct peer *p = peer_new(rows[_i].script);

	caller_init(&a, false);
	a.config.command_s = 7;
	a.config.final_s = 9;
	one_job(&a);
	ck_assert(run(&a, p));
	ck_assert_msg(!peer_trouble(p), "%s", peer_trouble(p));
	told_holds(&a, rows[_i].words);
	peer_free(p);
	caller_free(&a);
}
END_TEST

/* ---- giving up */

enum when { AT_ONCE, IN_READY, IN_DONE, IN_THE_MIDDLE };
static struct {
	enum when when;
	struct client *client;
	unsigned ready, done, gone, results;
	bool usable_while_busy;
	struct client_job job;
} quitter;

static void quitter_result(struct client_job *j, size_t i, const struct reply *r)
{
	(void)j, (void)i, (void)r;
	quitter.results++;
}

static void quitter_done(struct client_job *j, const struct reply *why, bool untried)
{
	(void)j, (void)why, (void)untried;
	quitter.done++;
	if (quitter.when == IN_DONE)
		client_abort(quitter.client);
}

static void quitter_ready(struct client *c, void *arg)
{
	(void)arg;
	quitter.ready++;
	if (quitter.when == IN_READY) {
		client_abort(c);
		return;
	}
	ck_assert(client_usable(c));
	ck_assert(client_send(c, &quitter.job));
	quitter.usable_while_busy = client_usable(c) || client_send(c, &quitter.job);
}

static void quitter_gone(struct client *c, void *arg, const struct reply *why)
{
	(void)c, (void)arg, (void)why;
	quitter.gone++;
}

START_TEST(an_aborted_client_says_nothing_more)
{
	static const struct client_events events = { .ready = quitter_ready, .gone = quitter_gone };
	struct client_config config = { .hostname = "client.test" };
	struct sender from = { 0 };
	struct recipient to = { .addr = { STR("b"), STR("y.test") } };
	const struct recipient *list = &to;
	struct peer *p = peer_new("S: 220 mx\nC: EHLO*\nS: 250 mx\nC: MAIL*\nS: 250 ok\nC: RCPT*\nS: 250 ok\nC: DATA\nS: 354 go\nC: .\nS: 250 ok\nwait 100\n");
	socklen_t len;
	const struct sockaddr *addr = peer_address(p, &len);

	memset(&quitter, 0, sizeof quitter);
	quitter.when = (enum when)_i;
	quitter.job = (struct client_job){ .from = &from, .n = 1, .to = &list, .fd = -1, .id = "x", .result = quitter_result, .done = quitter_done };
	quitter.client = client_open(&config, addr, len, "mx", &events, NULL);
	ck_assert_ptr_nonnull(quitter.client);
	ck_assert(!client_usable(quitter.client));
	for (int turn = 0; turn < 100; turn++) {
		if ((_i == AT_ONCE && turn == 0) || (_i == IN_THE_MIDDLE && quitter.ready == 1 && turn == 6))
			client_abort(quitter.client);
		loop_turn(0);
	}
	ck_assert_uint_eq(quitter.ready, _i != AT_ONCE);
	ck_assert_uint_eq(quitter.done, _i == IN_DONE);
	ck_assert_uint_eq(quitter.results, _i == IN_DONE);
	ck_assert_uint_eq(quitter.gone, 0);
	ck_assert(!quitter.usable_while_busy);
	peer_free(p);
}
END_TEST

Suite *client_suite(void);
Suite *client_suite(void)
{
	Suite *s = suite_create("client");
	TCase *t = tcase_create("hostile"), *tcp = tcase_create("tcp"), *refused = tcase_create("refused");

	tcase_add_checked_fixture(t, with_a_virtual_clock, NULL);
	tcase_add_loop_test(t, nonsense_is_a_protocol_error_at_every_step, 0, STEPS * NONSENSE);
	tcase_add_loop_test(t, a_final_yes_that_can_be_read_is_believed, 0, 15);
	tcase_add_loop_test(t, a_misplaced_code_is_never_success, 0, sizeof misplaced / sizeof *misplaced);
	tcase_add_test(t, words_of_the_peer_are_bounded_and_printable);
	tcase_add_loop_test(t, a_close_at_every_step_is_accounted_for, 0, 2 * WHOLES);
	tcase_add_test(t, random_peers_cannot_upset_the_bookkeeping);
	tcase_add_test(t, thousands_of_recipients_go_in_one_transaction);
	tcase_add_loop_test(t, a_dot_that_has_not_left_is_not_answered, 0, 4);
	tcase_add_test(t, a_message_that_ends_too_early_never_gets_its_dot);
	tcase_add_test(t, a_file_that_breaks_in_the_middle_never_gets_its_dot);
	tcase_add_test(t, a_job_without_recipients_is_over_at_once);
	tcase_add_loop_test(t, a_connect_that_hangs_times_out, 0, 2);
	tcase_add_test(t, an_address_that_is_none_is_reported_later);
	tcase_add_loop_test(t, time_limits_can_be_set, 0, 5);
	tcase_add_loop_test(t, an_aborted_client_says_nothing_more, 0, 4);
	suite_add_tcase(s, t);
	tcase_add_test(tcp, tcp_carries_a_conversation_too);
	suite_add_tcase(s, tcp);
	tcase_set_tags(refused, "so-error");            /* tests/cross.sh */
	tcase_add_test(refused, a_refused_connect_names_host_address_and_port);
	suite_add_tcase(s, refused);
	return s;
}
