/* Couriers between a real queue and scripted peers: which host is asked next, what is a result, and who is left alone.
 * mx1 and mx2 of y.test are 127.0.0.1 and 127.0.0.2 at one port. */
#include <arpa/inet.h>
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/courier.h"

#include "auth/token.h"
#include "cmd/expand.h"
#include "cmd/report.h"
#include "deliver/lame.h"
#include "deliver/stscache.h"
#include "deliver/tlsseen.h"
#include "dns.h"
#include "lib/clock.h"
#include "lib/codec.h"
#include "lib/file.h"
#include "lib/hash.h"
#include "lib/list.h"
#include "lib/log.h"
#include "lib/tls.h"
#include "parse.h"
#include "tests/fakedns.h"
#include "tests/limits.h"
#include "tests/peer.h"
#include "tests/tree.h"

enum { WALL = 1796000000, PATIENCE_MS = 20000 };        /* a bound, not a wait */

static const char message[] = "Subject: x\r\n\r\n.dot\r\n";
static const char *mail_text = message, *mail_from = "FROM:<a@x.test>";

static char dir[64];
static unsigned port;
static struct fakedns dns;
static char resolver[40];
static struct route_rule rules[4];
static struct routes routes;
static struct mx_self self = { .hostname = "client.test" };
static struct courier_config couriers = { .hostname = "client.test", .routes = &routes, .self = &self };
static const struct report_config reports = { .hostname = "client.test", .queue_lifetime = 5 * 86400 };
static struct queue_config conf;
static struct buf told;                         /* a line for each result */
static unsigned results, delivered, deferred, failed;

static void settled(void *arg, const struct mail *m, const struct rcpt *r, const struct result *res)
{
	static const char *const word[] = { "delivered", "deferred", "failed" };
	unsigned *const count[] = { &delivered, &deferred, &failed };

	(void)arg;
	(void)m;
	if (str_eq(r->to.addr.domain, STR("x.test")))   /* reports go there */
		return;
	results++;
	++*count[res->what];
	buf_printf(&told, STR_FMT "@" STR_FMT " %s by %s: %d %s %s\n", STR_ARG(r->to.addr.local), STR_ARG(r->to.addr.domain),
		word[res->what], res->host && *res->host ? res->host : "-", res->reply->code, res->reply->enhanced, res->reply->text);
}

static void told_holds(const char *words)
{
	ck_assert_msg(strstr(buf_cstr(&told), words), "wanted \"%s\" in:\n%s", words, buf_cstr(&told));
}

static void knows(const char *line)
{
	ck_assert_msg(!fakedns_add(&dns, line), "%s", line);
}

static void route(const char *text)
{
	char line[200];

	snprintf(line, sizeof line, text, port);
	ck_assert_msg(!route_parse(str_of(line), &rules[routes.n]), "%s", line);
	routes.rule = rules;
	routes.n++;
}

static void start_dns(void)
{
	static struct dns_config d;

	snprintf(resolver, sizeof resolver, "127.0.0.1:%u", dns.port);
	d = (struct dns_config){ .resolvers = resolver };
	ck_assert(!dns_start(&d));
	for (int k = FACT_A; k <= FACT_TLSA; k++)
		facts_source((enum fact_kind)k, dns_source());
}

static void start_queue(void)
{
	char why[300];

	ck_assert_msg(queue_open(&conf, why, sizeof why) == 0, "%s", why);
}

static void setup(void)
{
	const char *tmp = getenv("TMPDIR"), *log = getenv("TEST_LOG");

	log_open(log ? log : "/dev/null");
	log_threshold(LOG_DEBUG);
	loop_virtual_clock(WALL);
	port = peer_port();
	ck_assert_int_eq(fakedns_open(&dns), 0);
	knows("y.test MX 10 mx1.test");
	knows("y.test MX 20 mx2.test");
	knows("mx1.test A 127.0.0.1");
	knows("mx2.test A 127.0.0.2");
	knows("x.test MX 10 mx9.test");
	knows("mx9.test A 127.0.0.9");          /* nobody is there */
	start_dns();
	routes = (struct routes){ .smtp_port = port };
	courier_configure(&couriers);
	report_configure(&reports);
	snprintf(dir, sizeof dir, "%.40s/courier.XXXXXX", tmp ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	conf = (struct queue_config){
		.dir = dir, .schedule = true, .deliver = true, .inline_sync = true, .retry_first = 300, .retry_max = 3600,
		.lifetime = 5 * 86400, .message_size = 1 << 20, .couriers = 1, .way = courier_way, .report = report_write, .settled = settled,
	};
	start_queue();
}

static void turn(void)
{
	for (int i = 0; i < 500; i++)
		loop_turn(0);
}

static void teardown(void)
{
	for (int i = 0; i < 100 && !queue_drained(); i++)
		turn();         /* a courier that is cut off would be a leak of the test's own */
	queue_close();
	dns_stop();
	fakedns_close(&dns);
	buf_free(&told);
	tree_remove(dir);
}

/* Turns that take no time until so many results are in. */
static void await(unsigned n)
{
	int64_t end = clock_monotonic_ms() + PATIENCE_MS;

	while (results < n && clock_monotonic_ms() < end)
		loop_turn(0);
	turn();
	ck_assert_msg(results == n, "%u results, not %u:\n%.2000s", results, n, buf_cstr(&told));
}

static void committed(void *arg, bool ok)
{
	(void)arg;
	ck_assert(ok);
}

/* Recipients separated by blanks. */
static void put(const char *to)
{
	struct str rest = str_of(to), word;
	struct envelope e = { 0 };
	struct sender from;
	struct draft *d;

	ck_assert(!parse_mail(str_of(mail_from), PARAM_ALL, &from).text);
	ck_assert(envelope_sender(&e, &from));
	while (str_word(&rest, &word)) {
		struct buf line = { 0 };
		struct recipient r;

		buf_printf(&line, "TO:<" STR_FMT ">", STR_ARG(word));
		ck_assert(!parse_rcpt(buf_view(&line), PARAM_ALL, false, &r).text);
		ck_assert(envelope_rcpt(&e, &r));
		buf_free(&line);
	}
	d = queue_draft(&e, NULL);
	envelope_free(&e);
	ck_assert_ptr_nonnull(d);
	ck_assert_int_eq(draft_write(d, mail_text, strlen(mail_text)), 0);
	queue_commit(d, committed, NULL);
}

static struct peer *peer_at(int host, const char *script)
{
	char address[20];
	struct peer *p;

	snprintf(address, sizeof address, "127.0.0.%d", host);
	p = peer_new_at(script, address, port);
	peer_message(p, str_of(mail_text));
	return p;
}

static void played(struct peer *p)
{
	ck_assert_msg(!peer_trouble(p), "%s\n%s", peer_trouble(p), buf_cstr(&told));
	peer_free(p);
}

static const char *with_port(const char *pattern);

/* Entries in cur/ that have been tried so often, those of x.test left out. */
static unsigned entries(unsigned tries)
{
	char path[100];
	unsigned n = 0;
	DIR *d;

	snprintf(path, sizeof path, "%s/cur", dir);
	d = opendir(path);
	ck_assert_ptr_nonnull(d);
	for (struct dirent *e; (e = readdir(d)); ) {
		struct entry_name name;

		if (e->d_name[0] != '.' && entry_parse(e->d_name, &name) && !str_eq(name.dest, STR("x.test")))
			n += name.tries == tries;
	}
	closedir(d);
	return n;
}

#define HELLO "S: 220 mx\nC: EHLO client.test\nS: 250-mx\nS: 250 PIPELINING\n"
#define ENVELOPE(to) "C: MAIL FROM:<a@x.test>\nC: RCPT TO:<" to ">\nC: DATA\n"
#define TAKES "S: 250 ok\nS: 250 ok\nS: 354 go\nM:\nS: 250 2.0.0 taken\n"
#define BYE "C: QUIT\nS: 221 bye\neof\n"

START_TEST(a_message_goes_to_the_best_host)
{
	struct peer *p = peer_at(1, HELLO ENVELOPE("b@y.test") TAKES BYE);

	put("b@y.test");
	await(1);
	told_holds("b@y.test delivered by mx1.test[127.0.0.1]:");
	told_holds("250 2.0.0 taken");
	played(p);
	ck_assert_uint_eq(entries(0) + entries(1), 0);
	ck_assert(queue_drained());
}
END_TEST

static void with_room_for_idlers(void);

START_TEST(two_senders_with_a_route_each_share_no_connection)
{
	struct peer *anna = peer_at(3, HELLO "C: MAIL FROM:<anna@x.test>\nC: RCPT TO:<b@z.test>\nC: DATA\n" TAKES
		"C: MAIL FROM:<anna@x.test>\nC: RCPT TO:<b@z.test>\nC: DATA\n" TAKES BYE);
	struct peer *ben = peer_at(4, HELLO "C: MAIL FROM:<ben@x.test>\nC: RCPT TO:<b@z.test>\nC: DATA\n" TAKES BYE);

	route("* smtp://127.0.0.3:%u from=anna@x.test");
	route("* smtp://127.0.0.4:%u from=x.test");
	with_room_for_idlers();
	mail_from = "FROM:<anna@x.test>";
	put("b@z.test");
	await(1);
	mail_from = "FROM:<ben@x.test>";
	put("b@z.test");
	await(2);
	mail_from = "FROM:<anna@x.test>";
	put("b@z.test");
	await(3);
	mail_from = "FROM:<a@x.test>";
	ck_assert_uint_eq(delivered, 3);
	loop_advance(2500);
	turn();
	played(anna);
	played(ben);
}
END_TEST

/* ---- what was said */

/* The text of the first file in cur/ for x.test, whom reports go to. */
static const char *report_in_queue(void)
{
	static struct buf text = { .max = 1 << 20 };
	char path[100];
	DIR *d;

	buf_clear(&text);
	snprintf(path, sizeof path, "%s/cur", dir);
	d = opendir(path);
	for (struct dirent *e; d && (e = readdir(d)); ) {
		struct entry_name name;

		if (entry_parse(e->d_name, &name) && str_eq(name.dest, STR("x.test")))
			ck_assert_int_eq(file_read_all(dirfd(d), e->d_name, &text), 0);
	}
	if (d)
		closedir(d);
	return buf_cstr(&text);
}

START_TEST(a_report_has_what_each_host_of_the_try_said)
{
	struct peer *busy = peer_at(1, "S: 421 4.3.2 busy\neof\n");
	struct peer *p = peer_at(2, HELLO "C: MAIL FROM:<a@x.test>\nC: RCPT TO:<b@y.test>\nC: RCPT TO:<c@y.test>\nC: DATA\n"
		"S: 250 2.1.0 ok\nS: 550 5.1.1 nobody\nS: 250 2.1.5 ok\nS: 354 go\nM:\nS: 250 2.0.0 taken\n" BYE);
	const char *report;

	put("b@y.test c@y.test");
	await(2);
	report = report_in_queue();
	ck_assert_msg(strstr(report, "mx1.test[127.0.0.1]:") && strstr(report, "    < 421 4.3.2 busy\r\n"), "%s", report);
	ck_assert_msg(strstr(report, "mx2.test[127.0.0.2]:") && strstr(report, "    > RCPT TO:<b@y.test>\r\n    < 550 5.1.1 nobody\r\n"), "%s", report);
	ck_assert(strstr(report, "    (1 recipient was accepted)\r\n") && !strstr(report, "c@y.test"));
	played(busy);
	played(p);
}
END_TEST

START_TEST(what_went_well_leaves_nothing_of_what_was_said)
{
	struct peer *p = peer_at(1, HELLO ENVELOPE("b@y.test") "S: 250 ok\nS: 450 4.2.0 later\nS: 554 nobody\n" BYE);
	struct peer *good = peer_at(2, HELLO ENVELOPE("b@y.test") TAKES BYE);

	put("b@y.test");
	await(1);
	told_holds("b@y.test delivered by mx2.test");
	ck_assert_str_eq(report_in_queue(), "");
	played(p);
	played(good);
}
END_TEST

/* ---- nobody answers */

/* A full backlog takes no further connection and refuses none. */
static void swallow_all(int host, int fd[4])
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK - 1 + (unsigned)host) };
	int on = 1;

	fd[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(fd[0], SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	ck_assert(bind(fd[0], (struct sockaddr *)&a, sizeof a) == 0 && listen(fd[0], 0) == 0);
	for (int i = 1; i < 4; i++) {
		fd[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		ck_assert(connect(fd[i], (struct sockaddr *)&a, sizeof a) == 0 || errno == EINPROGRESS);
	}
}

static void put_and_wait(const char *to, unsigned n)
{
	put(to);
	turn();
	for (int i = 0; i < 3 && results < n; i++) {
		loop_advance(31000);
		turn();
	}
	await(n);
}

START_TEST(three_domains_that_do_not_answer_are_a_blocked_port)
{
	static const char *const domains[] = { "a.test MX 10 mx3.test", "b.test MX 10 mx3.test", "c.test MX 10 mx3.test", "d.test MX 10 mx3.test",
		"e.test MX 10 mx3.test" };
	struct peer *p;
	int one[4];

	for (size_t i = 0; i < sizeof domains / sizeof *domains; i++)
		knows(domains[i]);
	knows("mx3.test A 127.0.0.3");
	knows("good.test MX 10 mx4.test");
	knows("mx4.test A 127.0.0.4");
	swallow_all(3, one);
	p = peer_at(4, HELLO ENVELOPE("b@good.test") TAKES BYE);
	put_and_wait("b@a.test", 1);
	put_and_wait("b@b.test", 2);
	ck_assert(!strstr(buf_cstr(&told), "seems to be blocked"));
	put_and_wait("b@good.test", 3);          /* somebody answers: all begins anew */
	put_and_wait("b@c.test", 4);
	put_and_wait("b@d.test", 5);
	ck_assert(!strstr(buf_cstr(&told), "seems to be blocked"));
	put_and_wait("b@e.test", 6);
	told_holds("timed out after 30 s; nor does anybody else answer: outgoing port ");
	played(p);
	for (int i = 0; i < 4; i++)
		close(one[i]);
}
END_TEST

/* ---- the next host */

/* What the best host does; the second one takes the message at once. */
static const char *const useless[] = {
	NULL,                           /* nobody listens */
	"close\n",
	"S: 220 mx\nclose\n",
	"S: 421 4.3.2 busy\neof\n",
	"S: 554 5.3.2 not here\neof\n",
	"S: nonsense\neof\n",
	"S: 220 mx\nC: EHLO*\nS: 421 later\neof\n",
	HELLO "C: MAIL*\nclose\n",
	HELLO ENVELOPE("b@y.test") "S: 451 later\nS: 503 no\nS: 503 no\n" BYE,
	HELLO ENVELOPE("b@y.test") "S: 250 ok\nS: 450 greylisted\nS: 503 no\n" BYE,
	HELLO ENVELOPE("b@y.test") "S: 250 ok\nS: 250 ok\nS: 451 later\n" BYE,
	HELLO ENVELOPE("b@y.test") "S: 250 ok\nS: 250 ok\nS: 354 go\nM:\nS: 452 full\n" BYE,
	HELLO ENVELOPE("b@y.test") "S: 421 going down\neof\n",
};

START_TEST(a_host_that_cannot_now_is_followed_by_the_next_at_once)
{
	struct peer *first = useless[_i] ? peer_at(1, useless[_i]) : NULL, *second = peer_at(2, HELLO ENVELOPE("b@y.test") TAKES BYE);

	put("b@y.test");
	await(1);
	told_holds("b@y.test delivered by mx2.test[127.0.0.2]:");
	if (first)
		played(first);
	played(second);
	ck_assert_int_eq(loop_wall() / 60, WALL / 60);
	ck_assert(queue_drained());
}
END_TEST

static const char *const refusals[] = {
	HELLO ENVELOPE("b@y.test") "S: 550 5.7.1 no\nS: 503 no\nS: 503 no\n" BYE,
	HELLO ENVELOPE("b@y.test") "S: 250 ok\nS: 550 5.1.1 no\nS: 503 no\n" BYE,
	HELLO ENVELOPE("b@y.test") "S: 250 ok\nS: 250 ok\nS: 554 5.7.1 no\n" BYE,
	HELLO ENVELOPE("b@y.test") "S: 250 ok\nS: 250 ok\nS: 354 go\nM:\nS: 554 5.7.1 no\n" BYE,
};

#define POLICY(at) HELLO ENVELOPE("b@y.test") at BYE
#define AT_MAIL "S: 550 5.7.1 [192.0.2.1] is on a list\nS: 503 no\nS: 503 no\n"
#define AT_RCPT "S: 250 ok\nS: 550 5.7.25 no name for your address\nS: 503 no\n"
#define AT_DOT "S: 250 ok\nS: 250 ok\nS: 354 go\nM:\nS: 554 5.7.1 no PTR\n"
static const struct { const char *four, *six, *told, *next; } families[] = {
	{ POLICY(AT_MAIL), POLICY(TAKES), "b@y.test delivered by mx1.test[::1]", NULL },
	{ POLICY(AT_RCPT), POLICY(TAKES), "b@y.test delivered by mx1.test[::1]", NULL },
	{ POLICY(AT_DOT), POLICY(TAKES), "b@y.test delivered by mx1.test[::1]", NULL },
	{ POLICY(AT_MAIL), POLICY(AT_DOT), "b@y.test failed by mx1.test[::1]:%u: 554 5.7.1 no PTR", NULL },
	{ POLICY(AT_MAIL), POLICY("S: 550 5.1.0 no\nS: 503 no\nS: 503 no\n"), "b@y.test failed by mx1.test[::1]:%u: 550 5.1.0 no", NULL },
	/* What was said stands where the other family cannot be asked. */
	{ POLICY(AT_MAIL), NULL, "b@y.test failed by mx1.test[127.0.0.1]:%u: 550 5.7.1 [192.0.2.1] is on a list", NULL },
	{ POLICY(AT_MAIL), "S: 554 5.7.1 go away\neof\n", "b@y.test failed by mx1.test[127.0.0.1]:%u: 550 5.7.1 [192.0.2.1] is on a list", NULL },
	{ POLICY(AT_MAIL), POLICY("S: 250 ok\nS: 450 later\nS: 503 no\n"), "b@y.test deferred by mx1.test[::1]:%u: 450", NULL },
	/* Not about an address. */
	{ POLICY("S: 250 ok\nS: 550 5.1.1 nobody\nS: 503 no\n"), NULL, "b@y.test failed by mx1.test[127.0.0.1]:%u: 550 5.1.1 nobody", NULL },
};

static bool have_six(void)
{
	struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	int fd = socket(AF_INET6, SOCK_STREAM, 0);
	bool have = fd != -1 && bind(fd, (struct sockaddr *)&six, sizeof six) == 0;

	if (fd != -1)
		close(fd);
	return have;
}

START_TEST(a_refusal_that_may_be_about_our_address_gives_the_other_family_one_chance)
{
	struct peer *four, *six;

	if (!have_six())
		return;                 /* this machine has no IPv6 */
	dns_stop();
	fakedns_close(&dns);
	ck_assert_int_eq(fakedns_open(&dns), 0);
	knows("y.test MX 10 mx1.test");
	knows("mx1.test A 127.0.0.1");
	knows("mx1.test AAAA ::1");
	start_dns();
	mail_from = "FROM:<a@x.test>";
	four = peer_at(1, families[_i].four);
	six = families[_i].six ? peer_new_at(families[_i].six, "::1", port) : NULL;
	if (six)
		peer_message(six, str_of(mail_text));
	put("b@y.test");
	await(1);
	told_holds(with_port(families[_i].told));
	played(four);
	if (six)
		played(six);
}
END_TEST

START_TEST(in_later_attempts_a_refusal_is_one)
{
	struct peer *p = peer_at(1, POLICY("S: 450 4.2.0 later\nS: 503 no\nS: 503 no\n") POLICY(AT_MAIL));

	dns_stop();
	fakedns_close(&dns);
	ck_assert_int_eq(fakedns_open(&dns), 0);
	knows("y.test MX 10 mx1.test");
	knows("mx1.test A 127.0.0.1");
	knows("mx1.test AAAA ::1");
	start_dns();
	put("b@y.test");
	await(1);
	loop_advance(331 * 1000);
	await(2);
	told_holds("b@y.test failed by mx1.test[127.0.0.1]");
	played(p);
}
END_TEST

/* A second host where nobody is to come. */
static int silent_host(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(0x7f000002) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	ck_assert(bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(fd, 1) == 0);
	return fd;
}

START_TEST(a_host_that_says_no_is_followed_by_nobody)
{
	int second = silent_host();
	struct peer *first = peer_at(1, refusals[_i]);

	put("b@y.test");
	await(1);
	told_holds("b@y.test failed by mx1.test[127.0.0.1]:");
	played(first);
	ck_assert_int_eq(accept(second, NULL, NULL), -1);       /* nobody came */
	close(second);
	ck_assert_uint_eq(entries(0) + entries(1), 0);
}
END_TEST

START_TEST(who_was_told_no_for_now_is_put_off_in_the_words_of_who_said_it)
{
	struct peer *first = peer_at(1, HELLO ENVELOPE("b@y.test") "S: 250 ok\nS: 450 4.7.1 greylisted\nS: 503 no\n" BYE);

	put("b@y.test");                /* and nobody is at the second host */
	await(1);
	told_holds("b@y.test deferred by mx1.test[127.0.0.1]:");
	told_holds("450 4.7.1 greylisted");
	played(first);
	ck_assert_uint_eq(entries(1), 1);
}
END_TEST

START_TEST(a_greeting_of_5xx_is_no_result)
{
	struct peer *first = peer_at(1, "S: 554 5.3.2 not here\neof\n"), *second = peer_at(2, "S: 554 5.3.2 neither\neof\n");

	put("b@y.test");
	await(1);
	told_holds("b@y.test deferred by mx2.test[127.0.0.2]:");
	told_holds(": 0 4.3.2 no host of the destination talks to us; the last said: 554 greeting: neither");
	played(first);
	played(second);
}
END_TEST

/* ---- a host that is not able to take this message */

#define SMALL "S: 220 mx\nC: EHLO client.test\nS: 250-mx\nS: 250-PIPELINING\nS: 250 SIZE 5\n"

static const struct { const char *first, *second, *told; } able[] = {
	{ SMALL BYE, HELLO ENVELOPE("b@y.test") TAKES BYE, "delivered by mx2.test[127.0.0.2]:" },
	{ SMALL BYE, SMALL BYE, "failed by mx1.test[127.0.0.1]:" },
	{ NULL, SMALL BYE, "deferred by mx2.test[127.0.0.2]:" },
	{ "S: 421 4.3.2 busy\neof\n", SMALL BYE, "deferred by mx2.test[127.0.0.2]:" },
	{ SMALL BYE, NULL, "deferred by mx1.test[127.0.0.1]:" },
	{ HELLO ENVELOPE("b@y.test") "S: 250 ok\nS: 450 4.7.1 greylisted\nS: 503 no\n" BYE, SMALL BYE, "deferred by mx1.test[127.0.0.1]:" },
	{ SMALL BYE, HELLO ENVELOPE("b@y.test") "S: 250 ok\nS: 450 4.7.1 greylisted\nS: 503 no\n" BYE, "deferred by mx2.test[127.0.0.2]:" },
	{ SMALL BYE, HELLO ENVELOPE("b@y.test") "S: 250 ok\nS: 550 5.1.1 nobody\nS: 503 no\n" BYE, "failed by mx2.test[127.0.0.2]:" },
};

START_TEST(a_host_that_is_not_able_is_followed_by_the_next_and_final_when_all_have_been_asked)
{
	struct peer *first = able[_i].first ? peer_at(1, able[_i].first) : NULL, *second = able[_i].second ? peer_at(2, able[_i].second) : NULL;

	put("b@y.test");
	await(1);
	told_holds(able[_i].told);
	if (first)
		played(first);
	if (second)
		played(second);
	ck_assert_uint_eq(entries(0) + entries(1), deferred);
}
END_TEST

START_TEST(a_host_that_is_kept_and_not_able_is_left_for_a_better_one_that_is_back)
{
	struct peer *second = peer_at(2, SMALL "C: MAIL FROM:<a@x.test> SIZE=3\nC: RCPT TO:<b@y.test>\nC: DATA\n" TAKES BYE), *first;
	static const char tiny[] = "x\r\n";

	mail_text = tiny;
	peer_message(second, str_of(tiny));
	put("b@y.test");                        /* nobody is at the first */
	await(1);
	told_holds("delivered by mx2.test");
	mail_text = message;
	first = peer_at(1, HELLO ENVELOPE("c@y.test") TAKES BYE);
	put("c@y.test");
	await(2);
	told_holds("c@y.test delivered by mx1.test");
	loop_advance(2500);
	turn();
	played(second);
	played(first);
}
END_TEST

START_TEST(behind_the_first_host_of_a_route_the_second_is_asked)
{
	struct peer *second = peer_at(2, HELLO ENVELOPE("b@r.test") TAKES BYE);
	char line[100];

	snprintf(line, sizeof line, "r.test smtp://127.0.0.1:%%u,127.0.0.2:%u", port);
	route(line);
	put("b@r.test");
	await(1);
	told_holds("b@r.test delivered by ");
	played(second);
}
END_TEST

START_TEST(while_an_address_is_unknown_no_host_has_the_last_word)
{
	struct peer *first = peer_at(1, SMALL BYE);

	knows("z.test MX 10 mx0.test");
	knows("z.test MX 20 mx1.test");
	knows("mx0.test SERVFAIL");
	put("b@z.test");
	await(1);
	told_holds("deferred by mx1.test[127.0.0.1]:");
	played(first);
}
END_TEST

START_TEST(only_those_without_a_result_are_asked_for_at_the_next_host)
{
	struct peer *first = peer_at(1, HELLO "C: MAIL*\nC: RCPT TO:<b@y.test>\nC: RCPT TO:<c@y.test>\nC: RCPT TO:<d@y.test>\nC: DATA\n"
		"S: 250 ok\nS: 250 ok\nS: 450 later\nS: 550 no\nS: 354 go\nM:\nS: 250 taken\n" BYE);
	struct peer *second = peer_at(2, HELLO ENVELOPE("c@y.test") TAKES BYE);

	put("b@y.test c@y.test d@y.test");
	await(3);
	told_holds("b@y.test delivered by mx1");
	told_holds("c@y.test delivered by mx2");
	told_holds("d@y.test failed by mx1");
	played(first);
	played(second);
}
END_TEST

START_TEST(a_connection_lost_behind_the_final_dot_is_put_off_and_named)
{
	struct peer *p;

	knows("z.test MX 10 mx1.test");
	p = peer_at(1, HELLO ENVELOPE("b@z.test") "S: 250 ok\nS: 250 ok\nS: 354 go\nM:\nclose\n");
	put("b@z.test");
	await(1);
	told_holds("b@z.test deferred by mx1.test[127.0.0.1]:");
	told_holds("connection lost after the final dot");
	told_holds("may have the message already");
	played(p);
	ck_assert_uint_eq(entries(1), 1);
	ck_assert(queue_drained());
}
END_TEST

START_TEST(who_may_have_the_message_already_is_followed_by_nobody)
{
	int second = silent_host();
	struct peer *p = peer_at(1, HELLO ENVELOPE("b@y.test") "S: 250 ok\nS: 250 ok\nS: 354 go\nM:\nclose\n");

	put("b@y.test");
	await(1);
	told_holds("may have the message already");
	played(p);
	ck_assert_int_eq(accept(second, NULL, NULL), -1);
	close(second);
	ck_assert_uint_eq(entries(1), 1);
}
END_TEST

/* ---- one connection, many messages */

START_TEST(messages_for_one_destination_share_a_connection)
{
	struct peer *p = peer_at(1, HELLO ENVELOPE("b@y.test") TAKES ENVELOPE("b@y.test") TAKES ENVELOPE("b@y.test") TAKES
		ENVELOPE("b@y.test") TAKES ENVELOPE("b@y.test") TAKES BYE);

	for (int i = 0; i < 5; i++)
		put("b@y.test");
	await(5);
	ck_assert_uint_eq(delivered, 5);
	played(p);
	ck_assert(queue_drained());
}
END_TEST

/* With a single courier in all nobody may keep the place. */
static void with_room_for_idlers(void)
{
	queue_close();
	conf.couriers = 10;
	start_queue();
}

START_TEST(a_connection_is_kept_for_what_comes_within_two_seconds)
{
	struct peer *p = peer_at(1, HELLO ENVELOPE("b@y.test") TAKES ENVELOPE("b@y.test") TAKES BYE);

	with_room_for_idlers();
	put("b@y.test");
	await(1);
	loop_advance(1500);
	put("b@y.test");
	await(2);
	ck_assert_uint_eq(delivered, 2);
	ck_assert(!queue_drained());
	loop_advance(2500);
	turn();
	played(p);
	ck_assert(queue_drained());
}
END_TEST

START_TEST(another_domain_with_the_same_host_goes_over_the_idle_connection)
{
	struct peer *p = peer_at(1, HELLO ENVELOPE("b@y.test") TAKES ENVELOPE("d@z.test") TAKES ENVELOPE("b@y.test") TAKES BYE);

	knows("z.test MX 10 mx1.test");
	with_room_for_idlers();
	put("b@y.test");
	await(1);
	loop_advance(1000);
	put("d@z.test");
	await(2);
	loop_advance(1000);
	put("b@y.test");
	await(3);
	ck_assert_uint_eq(delivered, 3);
	loop_advance(2500);
	turn();
	played(p);
	ck_assert(queue_drained());
}
END_TEST

START_TEST(another_name_for_the_same_address_is_another_host)
{
	struct peer *p = peer_at(1, HELLO ENVELOPE("b@y.test") TAKES BYE HELLO ENVELOPE("d@z.test") TAKES BYE);

	knows("z.test MX 10 alias1.test");
	knows("alias1.test A 127.0.0.1");
	with_room_for_idlers();
	put("b@y.test");
	await(1);
	put("d@z.test");
	loop_advance(2500);
	await(2);
	ck_assert_uint_eq(delivered, 2);
	loop_advance(2500);
	turn();
	played(p);
}
END_TEST

START_TEST(an_idle_connection_that_the_peer_ends_is_replaced)
{
	struct peer *first = peer_at(1, HELLO ENVELOPE("b@y.test") TAKES "close\n"), *second;

	with_room_for_idlers();
	put("b@y.test");
	await(1);
	played(first);
	second = peer_at(2, HELLO ENVELOPE("b@y.test") TAKES BYE);       /* nobody is at the first any more */
	put("b@y.test");
	await(2);
	ck_assert_uint_eq(delivered, 2);
	queue_drain();
	turn();
	played(second);
	ck_assert(queue_drained());
}
END_TEST

START_TEST(a_refused_message_does_not_end_the_connection_for_the_next)
{
	struct peer *p = peer_at(1, HELLO ENVELOPE("b@y.test") "S: 550 no\nS: 503 no\nS: 503 no\n"
		"C: RSET\n" ENVELOPE("b@y.test") "S: 250 ok\n" TAKES BYE);

	put("b@y.test");
	put("b@y.test");
	await(2);
	ck_assert_uint_eq(failed, 1);
	ck_assert_uint_eq(delivered, 1);
	played(p);
}
END_TEST

#define MAILMAX "S: 220 mx\nC: EHLO client.test\nS: 250-mx\nS: 250-LIMITS MAILMAX=1\nS: 250 PIPELINING\n"

static const char *const too_many[] = { "452 4.5.3 too many", "452 too many" };

START_TEST(a_peer_that_ends_it_behind_too_many_recipients_is_asked_for_fewer_the_next_time)
{
	struct peer *p;
	char script[600];

	snprintf(script, sizeof script, HELLO "C: MAIL FROM:<a@x.test>\nC: RCPT TO:<b@y.test>\nC: RCPT TO:<c@y.test>\nC: RCPT TO:<d@y.test>\nC: DATA\n"
		"S: 250 ok\nS: 250 ok\nS: %s\nS: 421 4.7.0 too many errors\neof\n", too_many[_i]);
	p = peer_at(1, script);
	put("b@y.test c@y.test d@y.test");      /* and nobody is at the second host */
	await(3);
	ck_assert_uint_eq(deferred, 3);
	played(p);
	p = peer_at(1, HELLO ENVELOPE("b@y.test") TAKES ENVELOPE("c@y.test") TAKES ENVELOPE("d@y.test") TAKES BYE);
	loop_advance(400 * 1000);
	await(6);
	ck_assert_uint_eq(delivered, 3);
	played(p);
}
END_TEST

/* One that was not believed would get another copy at each try. */
START_TEST(a_reply_of_many_lines_is_an_answer)
{
	struct peer *p = peer_at(1, HELLO ENVELOPE("b@y.test") "S: 250 ok\n500 S: 250-and so on\nS: 250 ok\nS: 354 go\nM:\n"
		"500 S: 250-2.0.0 and so on\nS: 250 2.0.0 taken\n" BYE);

	put("b@y.test");
	await(1);
	ck_assert_uint_eq(delivered, 1);
	played(p);
}
END_TEST

START_TEST(a_peer_that_says_421_to_a_recipient_is_asked_for_fewer_the_next_time)
{
	struct peer *p = peer_at(1, HELLO "C: MAIL FROM:<a@x.test>\nC: RCPT TO:<b@y.test>\nC: RCPT TO:<c@y.test>\nC: RCPT TO:<d@y.test>\nC: DATA\n"
		"S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 421 4.3.2 enough\neof\n");

	put("b@y.test c@y.test d@y.test");      /* and nobody is at the second host */
	await(3);
	ck_assert_uint_eq(deferred, 3);
	played(p);
	p = peer_at(1, HELLO "C: MAIL FROM:<a@x.test>\nC: RCPT TO:<b@y.test>\nC: RCPT TO:<c@y.test>\nC: DATA\n"
		"S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\nM:\nS: 250 2.0.0 taken\n" ENVELOPE("d@y.test") TAKES BYE);
	loop_advance(400 * 1000);
	await(6);
	ck_assert_uint_eq(delivered, 3);
	played(p);
}
END_TEST

/* Announced, or learnt: 421 in the place of an answer to MAIL. */
static const char *const one_a_connection[] = {
	MAILMAX ENVELOPE("b@y.test") TAKES BYE MAILMAX ENVELOPE("b@y.test") TAKES BYE MAILMAX ENVELOPE("b@y.test") TAKES BYE,
	HELLO ENVELOPE("b@y.test") TAKES ENVELOPE("b@y.test") "S: 421 4.3.2 enough\neof\n" HELLO ENVELOPE("b@y.test") TAKES BYE
		HELLO ENVELOPE("b@y.test") TAKES BYE,
};

START_TEST(behind_mailmax_a_new_connection_is_made_at_once)
{
	struct peer *p = peer_at(1, one_a_connection[_i]);

	for (int i = 0; i < 3; i++)
		put("b@y.test");
	await(3);
	ck_assert_uint_eq(delivered, 3);
	ck_assert_int_eq(loop_wall(), WALL);
	played(p);
}
END_TEST

START_TEST(limits_may_take_a_connection_for_each_recipient)
{
	static const char one[] = "S: 220 mx\nC: EHLO client.test\nS: 250-mx\nS: 250-LIMITS MAILMAX=1 RCPTMAX=1\nS: 250 PIPELINING\n"
		"C: MAIL*\nC: RCPT*\nC: DATA\n" TAKES BYE;
	struct buf script = { 0 }, to = { 0 };
	struct peer *p;

	for (int i = 0; i < 20; i++) {
		buf_puts(&script, one);
		buf_printf(&to, "user%d@y.test ", i);
	}
	p = peer_at(1, buf_cstr(&script));
	put(buf_cstr(&to));
	await(20);
	ck_assert_uint_eq(delivered, 20);
	ck_assert_int_eq(loop_wall(), WALL);
	played(p);
	buf_free(&script);
	buf_free(&to);
}
END_TEST

START_TEST(a_connection_that_ends_between_two_messages_is_made_anew)
{
	struct peer *p = peer_at(1, HELLO ENVELOPE("b@y.test") TAKES "close\n" HELLO ENVELOPE("b@y.test") TAKES BYE);

	put("b@y.test");
	put("b@y.test");
	await(2);
	ck_assert_uint_eq(delivered, 2);
	played(p);
	ck_assert(queue_drained());
}
END_TEST

START_TEST(after_a_detour_the_best_host_is_tried_first_again)
{
	struct peer *first = peer_at(1, HELLO ENVELOPE("b@y.test") "S: 451 later\nS: 503 no\nS: 503 no\n" BYE
		HELLO ENVELOPE("b@y.test") TAKES BYE);
	struct peer *second = peer_at(2, HELLO ENVELOPE("b@y.test") TAKES BYE);

	put("b@y.test");
	put("b@y.test");
	await(2);
	told_holds("delivered by mx2");
	told_holds("delivered by mx1");
	played(first);
	played(second);
}
END_TEST

/* ---- how many connections at a time */

/* A host at every address of loopback that takes all who come at once; struct peer takes one after the other. */
static struct crowd {
	struct io listener;
	const char *ehlo;               /* the last line of its answer */
	bool mute, holds_quit;          /* says nothing at all; says nothing to QUIT */
	bool hangs_up;                  /* behind each message */
	bool ponders;                   /* says nothing behind EHLO */
	unsigned refuses_above;         /* so many at a time: 421; 0: takes all */
	unsigned open, most, ever, mails;
	struct guest {
		struct io io;
		char line[300];
		size_t n;
		bool body;
	} guest[256];
	struct buf took;                /* the domain of each recipient, ended by blanks */
} crowd;

static void guest_leaves(struct guest *g)
{
	io_forget(&g->io);
	close(g->io.fd);
	g->io.fd = -1;
	crowd.open--;
}

static void tell_guest(struct guest *g, const char *text)
{
	ck_assert_int_eq(send(g->io.fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static void guest_says(struct guest *g, const char *line)
{
	if (crowd.ponders && strncmp(line, "EHLO", 4) != 0)
		return;
	if (g->body) {
		if (strcmp(line, ".") != 0)
			return;
		g->body = false;
		tell_guest(g, "250 2.0.0 taken\r\n");
		if (crowd.hangs_up)
			guest_leaves(g);
	} else if (!strncmp(line, "EHLO", 4)) {
		tell_guest(g, "250-mx\r\n250-PIPELINING\r\n");
		tell_guest(g, crowd.ehlo);
	} else if (!strncmp(line, "QUIT", 4)) {
		if (crowd.holds_quit)
			return;
		tell_guest(g, "221 bye\r\n");
		guest_leaves(g);
	} else if (!strncmp(line, "DATA", 4)) {
		g->body = true;
		tell_guest(g, "354 go\r\n");
	} else {
		crowd.mails += !strncmp(line, "MAIL", 4);
		if (!strncmp(line, "RCPT", 4))
			buf_printf(&crowd.took, "%.*s ", (int)strcspn(strchr(line, '@') + 1, ">"), strchr(line, '@') + 1);
		tell_guest(g, "250 ok\r\n");
	}
}

static void guest_ready(struct io *io, short revents)
{
	struct guest *g = owner_of(io, struct guest, io);
	char c;

	(void)revents;
	while (g->io.fd != -1) {
		ssize_t n = recv(g->io.fd, &c, 1, 0);

		if (n == -1 && errno == EAGAIN)
			return;
		if (n <= 0) {
			guest_leaves(g);
		} else if (c == '\n') {
			g->line[g->n] = '\0';
			g->n = 0;
			guest_says(g, g->line);
		} else if (c != '\r' && g->n < sizeof g->line - 1) {
			g->line[g->n++] = c;
		}
	}
}

static void crowd_comes(struct io *io, short revents)
{
	int fd = accept4(io->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct guest *g = crowd.guest;
	int on = 1;

	(void)revents;
	for (size_t i = 0; i < 256; i++)        /* who has hung up before that is not there any more */
		if (crowd.guest[i].io.fd != -1)
			guest_ready(&crowd.guest[i].io, POLLIN);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);       /* or the virtual clock runs away while the kernel waits */
	while (g->io.fd != -1)
		g++;
	ck_assert(fd != -1 && g < crowd.guest + 256);
	*g = (struct guest){ .io = { .fd = fd, .ready = guest_ready } };
	ck_assert_int_eq(io_watch(&g->io, POLLIN), 0);
	crowd.ever++;
	if (++crowd.open > crowd.most)
		crowd.most = crowd.open;
	if (crowd.refuses_above && crowd.open > crowd.refuses_above) {
		tell_guest(g, "421 4.7.0 too many connections from you\r\n");
		guest_leaves(g);
	} else if (!crowd.mute) {
		tell_guest(g, "220 mx\r\n");
	}
}

static void crowd_opens(const char *address, const char *ehlo)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;

	crowd = (struct crowd){ .ehlo = ehlo, .listener = { .fd = fd, .ready = crowd_comes } };
	for (size_t i = 0; i < 256; i++)
		crowd.guest[i].io.fd = -1;
	inet_pton(AF_INET, address, &a.sin_addr);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	ck_assert(bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(fd, 256) == 0);
	ck_assert_int_eq(io_watch(&crowd.listener, POLLIN), 0);
}

/* Everybody is shown out. */
static void crowd_closes(void)
{
	io_forget(&crowd.listener);
	close(crowd.listener.fd);
	for (size_t i = 0; i < 256; i++)
		if (crowd.guest[i].io.fd != -1)
			guest_leaves(&crowd.guest[i]);
	buf_free(&crowd.took);
}

static void with_places(unsigned n)
{
	queue_close();
	conf.couriers = n;
	start_queue();
}

START_TEST(a_connection_counts_until_the_peer_has_let_it_go)
{
	knows("z.test MX 10 mx1.test");
	with_places(100);
	crowd_opens("127.0.0.1", "250 LIMITS MAILMAX=1\r\n");
	crowd.holds_quit = true;
	for (int i = 0; i < 45; i++)
		put("b@z.test");
	await(10);
	ck_assert_uint_eq(crowd.most, 10);
	loop_advance(5000);             /* as long as QUIT is waited for */
	await(20);
	ck_assert_uint_eq(crowd.most, 10);
	crowd.holds_quit = false;
	loop_advance(5000);
	await(45);
	ck_assert_uint_eq(crowd.most, 10);
	ck_assert_uint_eq(delivered, 45);
	loop_advance(5000);
	turn();
	crowd_closes();
}
END_TEST

START_TEST(there_are_a_hundred_connections_in_all)
{
	char line[60];

	with_places(100);
	crowd_opens("0.0.0.0", "250 LIMITS MAILMAX=1\r\n");
	crowd.holds_quit = true;
	for (int i = 0; i < 240; i++) {
		if (i < 12) {
			snprintf(line, sizeof line, "d%d.test MX 10 h%d.test", i, i);
			knows(line);
			snprintf(line, sizeof line, "h%d.test A 127.0.0.%d", i, 20 + i);
			knows(line);
		}
		snprintf(line, sizeof line, "b@d%d.test", i % 12);
		put(line);
	}
	await(100);
	ck_assert_uint_eq(crowd.most, 100);
	crowd.holds_quit = false;
	loop_advance(5000);
	await(240);
	ck_assert_uint_eq(delivered, 240);
	ck_assert_uint_eq(crowd.most, 100);
	loop_advance(5000);
	turn();
	crowd_closes();
}
END_TEST

/* d0.test, d1.test ... have this host. */
static void domains_at(const char *host, int n)
{
	char line[60];

	for (int i = 0; i < n; i++) {
		snprintf(line, sizeof line, "d%d.test MX 10 %s", i, host);
		knows(line);
	}
}

static void put_to_domains(int n)
{
	char to[30];

	for (int i = 0; i < n; i++) {
		snprintf(to, sizeof to, "b@d%d.test", i);
		put(to);
	}
}

START_TEST(a_slow_address_of_many_domains_holds_up_nobody)
{
	struct peer *fast = peer_at(2, HELLO ENVELOPE("b@z.test") TAKES BYE);

	knows("z.test MX 10 mx2.test");
	domains_at("mx1.test", 60);
	with_places(20);
	crowd_opens("127.0.0.1", "250 SIZE\r\n");
	crowd.mute = true;
	put_to_domains(60);
	put_to_domains(60);
	turn();
	ck_assert_uint_eq(crowd.open, 1);       /* the others wait for what comes of it */
	put("b@z.test");
	await(1);
	told_holds("b@z.test delivered");
	ck_assert_int_eq(loop_wall(), WALL);
	ck_assert_uint_eq(crowd.most, 1);
	ck_assert_uint_ge(entries(0), 110);
	queue_drain();
	turn();
	played(fast);
	crowd_closes();
	turn();
	ck_assert(queue_drained());
}
END_TEST

/* Each turn takes a fifth of a second, so that it is worth to have more connections. */
static void await_slowly(unsigned n)
{
	for (int i = 0; i < 10000 && results < n; i++) {
		loop_turn(0);
		loop_advance(200);
	}
	ck_assert_msg(results >= n, "%u results of %u:\n%.1500s", results, n, buf_cstr(&told));
}

static const struct { const char *ehlo; bool hangs_up; } hurried[] = {
	{ "250 LIMITS MAILMAX=1\r\n", false },
	{ "250 SIZE\r\n", true },
	{ "250 SIZE\r\n", false },
};

START_TEST(a_domain_that_waits_for_a_connection_has_its_turn_whatever_the_peer_does_between_messages)
{
	unsigned before, ahead = 0;
	struct str rest, word;

	knows("z.test MX 10 mx1.test");
	with_places(100);
	crowd_opens("127.0.0.1", hurried[_i].ehlo);
	crowd.hangs_up = hurried[_i].hangs_up;
	for (int i = 0; i < 300; i++)
		put("b@y.test");
	await_slowly(200);
	ck_assert_uint_ge(crowd.most, crowd.hangs_up ? 5 : 8);  /* who was hung up on is between two connections */
	before = results;
	put("b@z.test");
	await(301);
	rest = buf_view(&crowd.took);
	while (str_word(&rest, &word) && !str_eq(word, STR("z.test")))
		ahead++;
	ck_assert_msg(ahead < before + 40, "%u were sent before it", ahead - before);
	ck_assert_uint_eq(delivered, 301);
	loop_advance(5000);
	turn();
	crowd_closes();
}
END_TEST

START_TEST(who_waits_long_for_a_connection_is_put_off_without_an_attempt)
{
	domains_at("mx1.test", 100);
	with_places(100);
	crowd_opens("127.0.0.1", "250 SIZE\r\n");
	crowd.ponders = true;
	put_to_domains(100);
	turn();
	for (int i = 0; i < 36 * 30; i++) {     /* ten at a time, each as long as MAIL is waited for */
		loop_advance(2000);
		for (int k = 0; k < 20; k++)
			loop_turn(0);
	}
	ck_assert_uint_eq(crowd.most, 10);
	told_holds("deferred by mx1.test: 0 4.4.5 all connections to mx1.test are taken");
	told_holds("deferred by mx1.test[127.0.0.1]:");
	ck_assert_uint_ge(entries(0), 20);
	ck_assert_uint_eq(entries(0) + entries(1) + entries(2), 100);
	queue_drain();
	turn();
	crowd_closes();
	turn();
	ck_assert(queue_drained());
}
END_TEST

START_TEST(a_message_that_takes_long_holds_up_no_other)
{
	with_places(100);
	knows("z.test MX 10 mx1.test");
	crowd_opens("127.0.0.1", "250 SIZE\r\n");
	crowd.ponders = true;
	put("b@z.test");
	turn();
	crowd.ponders = false;
	put("c@z.test");
	put("d@z.test");
	turn();
	ck_assert_uint_eq(results, 0);
	for (int i = 0; i < 10; i++) {
		loop_advance(500);
		turn();
	}
	ck_assert_uint_eq(delivered, 2);
	ck_assert_uint_eq(crowd.ever, 2);
	queue_drain();
	turn();
	crowd_closes();
	turn();
}
END_TEST

START_TEST(a_burst_goes_over_one_connection)
{
	with_places(100);
	knows("z.test MX 10 mx1.test");
	domains_at("mx1.test", 30);
	crowd_opens("127.0.0.1", "250 SIZE\r\n");
	for (int i = 0; i < 200; i++)
		put("b@z.test");
	put_to_domains(30);
	await(230);
	ck_assert_uint_eq(delivered, 230);
	ck_assert_uint_eq(crowd.ever, 1);
	loop_advance(5000);
	turn();
	crowd_closes();
}
END_TEST

START_TEST(of_equal_hosts_the_one_that_talks_already_gets_all)
{
	char line[60];

	with_places(100);
	for (int i = 0; i < 60; i++) {
		snprintf(line, sizeof line, "d%d.test MX 10 mx%d.test", i / 2, i % 2 + 1);
		knows(line);
	}
	crowd_opens("0.0.0.0", "250 SIZE\r\n");
	put_to_domains(30);
	await(30);
	ck_assert_uint_eq(delivered, 30);
	ck_assert_uint_eq(crowd.ever, 1);
	loop_advance(5000);
	turn();
	crowd_closes();
}
END_TEST

START_TEST(who_waits_for_a_host_that_does_not_answer_goes_to_an_equal_one)
{
	struct buf script = { 0 };
	struct peer *other;
	char line[60];

	with_places(100);
	for (int i = 0; i < 40; i++) {
		snprintf(line, sizeof line, "d%d.test MX 10 mx%d.test", i / 2, i % 2 + 1);
		knows(line);
	}
	buf_puts(&script, HELLO);
	for (int i = 0; i < 20; i++)
		buf_puts(&script, "C: MAIL*\nC: RCPT*\nC: DATA\n" TAKES);
	other = peer_at(2, buf_cstr(&script));
	crowd_opens("127.0.0.1", "250 SIZE\r\n");
	crowd.mute = true;
	put_to_domains(20);
	turn();
	loop_advance(600);
	for (int i = 0; i < 10000 && results < 19; i++)         /* where chance has sent the first, it still waits */
		loop_turn(0);
	ck_assert_uint_ge(delivered, 19);
	ck_assert_uint_le(crowd.ever, 1);
	queue_drain();
	peer_free(other);
	buf_free(&script);
	crowd_closes();
	turn();
}
END_TEST

START_TEST(an_address_that_cannot_be_reached_is_tried_once_for_all_who_wait_for_it)
{
	with_places(100);
	domains_at("mx1.test", 30);     /* nobody listens */
	put_to_domains(30);
	await(30);
	ck_assert_uint_eq(deferred, 30);
	told_holds("connect to mx1.test[127.0.0.1]:");
	ck_assert_int_eq(loop_wall(), WALL);
	ck_assert_uint_eq(entries(1), 30);
	ck_assert(queue_drained());
}
END_TEST

START_TEST(a_connection_too_many_for_the_peer_is_no_failure_and_no_more_are_made)
{
	with_places(100);
	knows("z.test MX 10 mx1.test");
	crowd_opens("127.0.0.1", "250 SIZE\r\n");
	crowd.refuses_above = 3;
	for (int i = 0; i < 200; i++)
		put("b@z.test");
	await_slowly(200);
	turn();
	ck_assert_uint_eq(delivered, 200);
	ck_assert_uint_eq(deferred, 0);
	ck_assert_uint_eq(crowd.most, 4);
	ck_assert_uint_eq(crowd.ever, 4);
	ck_assert_uint_eq(lame_most((const struct sockaddr *)&(struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(0x7f000001) }, LAME_LINES), 3);
	loop_advance(5000);
	turn();
	crowd_closes();
}
END_TEST

/* ---- mixed transactions */

#define MIXED "C: MAIL*\nC: RCPT TO:<b@y.test>\nC: RCPT TO:<c@z.test>\nC: DATA\n"

static const struct { const char *script, *c; } mixed[] = {
	/* one of them is refused: once more, alone */
	{ HELLO MIXED "S: 250 ok\nS: 250 ok\nS: 550 no\nS: 354 go\nM:\nS: 250 taken\n"
		ENVELOPE("c@z.test") "S: 250 ok\nS: 550 really not\nS: 503 no\n" BYE, "c@z.test failed" },
	{ HELLO MIXED "S: 250 ok\nS: 250 ok\nS: 450 later\nS: 354 go\nM:\nS: 250 taken\n"
		ENVELOPE("c@z.test") TAKES BYE, "c@z.test delivered" },
};

START_TEST(what_a_mixed_transaction_refused_is_asked_again_alone_on_the_same_connection)
{
	struct peer *p;

	route("* smtp://127.0.0.1:%u");
	p = peer_at(1, mixed[_i].script);
	put("b@y.test c@z.test");
	await(2);
	told_holds("b@y.test delivered by");
	told_holds(mixed[_i].c);
	played(p);
	ck_assert_int_eq(loop_wall(), WALL);
}
END_TEST

START_TEST(a_mixed_transaction_refused_as_a_whole_is_tried_by_domain)
{
	struct peer *p;

	route("* smtp://127.0.0.1:%u");
	p = peer_at(1, HELLO MIXED "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\nM:\nS: 554 policy\n"
		"C: RSET\nC: MAIL*\nC: RCPT*\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\nM:\nS: 250 taken\n"
		"C: MAIL*\nC: RCPT*\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 354 go\nM:\nS: 554 policy\n" BYE);
	put("b@y.test c@z.test");
	await(2);
	ck_assert_uint_eq(delivered, 1);
	ck_assert_uint_eq(failed, 1);
	played(p);
}
END_TEST

static const char *const put_off_as_one[] = {
	HELLO MIXED "S: 451 4.7.0 not now\nS: 503 no\nS: 503 no\nS: 503 no\n" BYE,
	HELLO MIXED "S: 250 ok\nS: 450 4.7.1 greylisted\nS: 450 4.7.1 greylisted\nS: 503 no\n" BYE,
	HELLO MIXED "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\nM:\nS: 451 4.7.0 too much mail\n" BYE,
	HELLO MIXED "S: 421 4.3.2 going down\neof\n",
	HELLO MIXED "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\nM:\nclose\n",
};

START_TEST(a_mixed_transaction_that_is_put_off_as_one_is_not_asked_again_in_pieces)
{
	struct peer *p;

	route("* smtp://127.0.0.1:%u");
	p = peer_at(1, put_off_as_one[_i]);
	put("b@y.test c@z.test");
	await(2);
	told_holds("b@y.test deferred by");
	told_holds("c@z.test deferred by");
	ck_assert_ptr_null(strstr(buf_cstr(&told), "refused"));         /* nobody called a second time */
	played(p);
	ck_assert_uint_eq(entries(1), 1);
}
END_TEST

START_TEST(a_mixed_refusal_is_not_carried_to_another_host)
{
	struct peer *p;

	knows("relay.test A 127.0.0.1");
	knows("relay.test A 127.0.0.2");        /* nobody there: asking it would put c off */
	route("* smtp://relay.test:%u");
	p = peer_at(1, HELLO MIXED "S: 250 ok\nS: 250 ok\nS: 550 no\nS: 354 go\nM:\nS: 250 taken\n"
		ENVELOPE("c@z.test") "S: 250 ok\nS: 550 no\nS: 503 no\n" BYE);
	put("b@y.test c@z.test");
	await(2);
	told_holds("b@y.test delivered by");
	told_holds("c@z.test failed by");
	played(p);
}
END_TEST

/* ---- ... for domains with the same hosts */

/* b0@d0.test ...: n of them at domains of mx1.test. The first finds the connection being made, the others wait for it. */
static void mixes(void)
{
	static struct courier_config mixing;

	mixing = couriers;
	mixing.mix = true;
	courier_configure(&mixing);
	lame_forget_all();
	with_places(100);
}

START_TEST(domains_with_the_same_hosts_share_a_transaction)
{
	struct peer *p = peer_at(1, HELLO "C: MAIL*\nC: RCPT*\nC: RCPT*\nC: RCPT*\nC: RCPT*\nC: DATA\n"
		"S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\nM:\nS: 250 taken\n" BYE);

	mixes();
	domains_at("mx1.test", 3);
	put("b@d0.test b@d1.test b@d2.test c@d1.test");
	await(4);
	ck_assert_uint_eq(delivered, 4);
	loop_advance(2500);
	turn();
	played(p);
	ck_assert(queue_drained());
	ck_assert_uint_eq(entries(0) + entries(1), 0);
}
END_TEST

static const char *const other_hosts[] = {
	"d1.test MX 20 mx2.test",       /* a second host */
	"d1.test MX 10 mx2.test",
};

START_TEST(domains_with_other_hosts_do_not_share_a_transaction)
{
	struct peer *p = peer_at(1, HELLO "C: MAIL*\nC: RCPT*\nC: DATA\n" TAKES "C: MAIL*\nC: RCPT*\nC: DATA\n" TAKES BYE);

	mixes();
	domains_at("mx1.test", 2);
	if (_i < 2)
		knows(other_hosts[_i]);
	else
		couriers.mix = false, courier_configure(&couriers);
	put("b@d0.test b@d1.test");
	if (_i == 1) {                  /* chance may have sent it to the other host, where nobody is */
		await(2);
	} else {
		await(2);
		ck_assert_uint_eq(delivered, 2);
	}
	loop_advance(2500);
	turn();
	if (_i != 1)
		played(p);
	else
		peer_free(p);
}
END_TEST

#define THREE "C: MAIL*\nC: RCPT*\nC: RCPT*\nC: RCPT*\nC: DATA\n"
#define ONE "C: MAIL*\nC: RCPT*\nC: DATA\n"

/* The order of domains is chance: what is told is counted. */
static const struct { const char *script; unsigned delivered, deferred, failed; bool noted; } mixes_refused[] = {
	/* the host refuses mixes: 1 of 3 gets it at once, the others alone */
	{ HELLO THREE "S: 250 ok\nS: 250 ok\nS: 451 4.3.0 several domains\nS: 451 4.3.0 several domains\nS: 354 go\nM:\nS: 250 taken\n"
		ONE TAKES ONE TAKES BYE, 3, 0, 0, true },
	/* the second is unknown, and so he is alone */
	{ HELLO THREE "S: 250 ok\nS: 250 ok\nS: 550 5.1.1 nobody\nS: 250 ok\nS: 354 go\nM:\nS: 250 taken\n"
		ONE "S: 250 ok\nS: 550 5.1.1 nobody\nS: 503 no\n" BYE, 2, 0, 1, false },
	/* one tenant's policy */
	{ HELLO THREE "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\nM:\nS: 554 5.7.1 policy\n"
		"C: RSET\n" ONE "S: 250 ok\n" TAKES ONE "S: 250 ok\nS: 250 ok\nS: 354 go\nM:\nS: 554 5.7.1 policy\n"
		"C: RSET\n" ONE "S: 250 ok\n" TAKES BYE, 2, 0, 1, true },
	/* the transaction, and not the mix */
	{ HELLO THREE "S: 451 4.7.0 not now\nS: 503 no\nS: 503 no\nS: 503 no\nS: 503 no\n" BYE, 0, 3, 0, false },
	{ HELLO THREE "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\nM:\nS: 452 4.3.1 full\n" BYE, 0, 3, 0, false },
	/* it hangs up */
	{ HELLO THREE "S: 250 ok\nS: 250 ok\nclose\n", 0, 3, 0, false },
	{ HELLO THREE "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\nM:\nclose\n", 0, 3, 0, false },
	{ HELLO THREE "S: 250 ok\nS: 421 4.3.2 down\nclose\n", 0, 3, 0, false },
	/* too many recipients is no refusal */
	{ HELLO THREE "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 452 4.5.3 too many\nS: 354 go\nM:\nS: 250 taken\n" ONE TAKES BYE, 3, 0, 0, false },
	/* it says how many domains it takes */
	{ "S: 220 mx\nC: EHLO client.test\nS: 250-mx\nS: 250-LIMITS RCPTDOMAINMAX=2\nS: 250 PIPELINING\n"
		"C: MAIL*\nC: RCPT*\nC: RCPT*\nC: DATA\nS: 250 ok\n" TAKES ONE TAKES BYE, 3, 0, 0, false },
	{ "S: 220 mx\nC: EHLO client.test\nS: 250-mx\nS: 250-LIMITS RCPTDOMAINMAX=1\nS: 250 PIPELINING\n"
		ONE TAKES ONE TAKES ONE TAKES BYE, 3, 0, 0, false },
	/* the first of three, alone, dies behind the dot */
	{ HELLO THREE "S: 250 ok\nS: 550 no\nS: 550 no\nS: 250 ok\nS: 354 go\nM:\nS: 250 taken\n"
		ONE "S: 250 ok\nS: 250 ok\nS: 354 go\nM:\nclose\n" HELLO ONE TAKES BYE, 2, 1, 0, true },
};

START_TEST(what_is_refused_beside_other_domains_is_asked_again_alone_before_it_counts)
{
	const struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(0x7f000001) };
	struct peer *p = peer_at(1, mixes_refused[_i].script);

	mixes();
	domains_at("mx1.test", 3);
	put("b@d0.test b@d1.test b@d2.test");
	await(3);
	ck_assert_msg(delivered == mixes_refused[_i].delivered && deferred == mixes_refused[_i].deferred && failed == mixes_refused[_i].failed,
		"%s", buf_cstr(&told));
	ck_assert_int_eq(loop_wall(), WALL);
	ck_assert_int_eq((lame_noted((const struct sockaddr *)&at) & LAME_MIX) != 0, mixes_refused[_i].noted);
	loop_advance(2500);
	turn();
	played(p);
	ck_assert(queue_drained());
}
END_TEST

START_TEST(a_host_that_refuses_mixes_gets_the_next_message_by_domain)
{
	struct peer *p = peer_at(1, HELLO "C: MAIL*\nC: RCPT*\nC: RCPT*\nC: DATA\n"
		"S: 250 ok\nS: 250 ok\nS: 451 4.3.0 several domains\nS: 354 go\nM:\nS: 250 taken\n" ONE TAKES ONE TAKES ONE TAKES BYE);

	mixes();
	domains_at("mx1.test", 2);
	put("b@d0.test b@d1.test");
	await(2);
	put("b@d0.test b@d1.test");
	await(4);
	ck_assert_uint_eq(delivered, 4);
	loop_advance(2500);
	turn();
	played(p);
}
END_TEST

/* Whatever step the peer does not get to: nobody gets it twice, and nobody is forgotten. */
START_TEST(a_mixed_transaction_may_end_anywhere)
{
	static const char script[] = HELLO THREE "S: 250 ok\nS: 250 ok\nS: 550 no\nS: 250 ok\nS: 354 go\nM:\nS: 250 taken\n" ONE TAKES BYE;
	struct peer *p = peer_at(1, script);

	peer_cut(p, (unsigned)_i);
	mixes();
	domains_at("mx1.test", 3);
	put("b@d0.test b@d1.test b@d2.test");
	await_slowly(3);                /* a greeting that does not come is waited for */
	ck_assert_uint_eq(delivered + deferred, 3);
	ck_assert(delivered == 0 || delivered == 2 || delivered == 3);
	ck_assert_uint_ge(entries(0) + entries(1), deferred > 0);
	loop_advance(2500);
	turn();
	peer_free(p);
	ck_assert(queue_drained());
}
END_TEST

START_TEST(a_hundred_domains_and_a_thousand_recipients_are_one_transaction)
{
	struct buf to = { 0 };

	mixes();
	domains_at("mx1.test", 100);
	crowd_opens("127.0.0.1", "250 SIZE\r\n");
	for (int i = 0; i < 1000; i++)
		buf_printf(&to, "r%d@d%d.test ", i, i % 100);
	put(buf_cstr(&to));
	await(1000);
	ck_assert_uint_eq(delivered, 1000);
	ck_assert_uint_eq(crowd.ever, 1);
	ck_assert_uint_le(crowd.mails, 2);      /* the first may have found nobody yet who waits */
	loop_advance(5000);
	turn();
	crowd_closes();
	buf_free(&to);
}
END_TEST

/* ---- aliases in a domain that has a route: they are ours, and the others go there */

static struct aliases *take_aliases(void)
{
	static struct str local[] = { { "y.test", 6 } };
	static struct alias_config config = { .routes = &routes, .origin = "y.test" };
	struct aliases *a = aliases_new(&config);

	routes.local = local;
	routes.nlocal = 1;
	route("y.test smtp://127.0.0.1:%u");
	route("z.test smtp://127.0.0.2:%u");
	ck_assert(aliases_take(a, STR("team: c@z.test\n"), STR("")));
	expand_configure(a);
	return a;
}

static void no_aliases(struct aliases *a)
{
	expand_configure(NULL);
	aliases_free(a);
	routes.nlocal = 0;
}

static struct peer *peer_for_alias(void)
{
	struct peer *p = peer_at(2, HELLO ENVELOPE("c@z.test") TAKES BYE);

	peer_message(p, STR("Delivered-To: team@y.test\r\nSubject: x\r\n\r\n.dot\r\n"));
	return p;
}

START_TEST(an_alias_of_a_routed_domain_goes_its_way_and_the_others_theirs)
{
	struct aliases *a = take_aliases();
	struct peer *theirs = peer_at(1, HELLO ENVELOPE("b@y.test") TAKES BYE), *other = peer_for_alias();

	put("team@y.test b@y.test");
	await(3);
	told_holds("team@y.test delivered by -: 0 2.0.0 an alias: sent on as ");
	told_holds("b@y.test delivered by [127.0.0.1]");
	told_holds("c@z.test delivered by [127.0.0.2]");
	played(theirs);
	played(other);
	no_aliases(a);
}
END_TEST

START_TEST(for_aliases_alone_no_connection_is_made)
{
	struct aliases *a = take_aliases();
	struct peer *other = peer_for_alias();

	put("team@y.test");
	await(2);
	told_holds("c@z.test delivered by [127.0.0.2]");
	ck_assert_uint_eq(entries(0) + entries(1), 0);
	played(other);
	no_aliases(a);
}
END_TEST

START_TEST(aliases_are_looked_for_on_a_connection_that_is_there)
{
	struct aliases *a = take_aliases();
	struct peer *theirs = peer_at(1, HELLO ENVELOPE("b@y.test") TAKES ENVELOPE("d@y.test") TAKES BYE), *other = peer_for_alias();

	with_room_for_idlers();
	put("b@y.test");
	await(1);
	put("team@y.test d@y.test");    /* the connection is idle */
	await(4);
	played(theirs);
	played(other);
	no_aliases(a);
}
END_TEST

START_TEST(lmtp_gives_each_recipient_its_own_result)
{
	struct peer *p;

	route("y.test lmtp://127.0.0.1:%u");
	p = peer_at(1, "S: 220 mx\nC: LHLO client.test\nS: 250-mx\nS: 250 PIPELINING\n"
		"C: MAIL*\nC: RCPT TO:<b@y.test>\nC: RCPT TO:<c@y.test>\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\nM:\n"
		"S: 250 stored\nS: 452 4.2.2 full\n" BYE);
	put("b@y.test c@y.test");
	await(2);
	told_holds("b@y.test delivered by");
	told_holds("c@y.test deferred by");
	told_holds("452 4.2.2 full");
	played(p);
}
END_TEST

/* ---- destinations that cannot be reached */

START_TEST(a_dead_destination_is_probed_by_one_message_and_the_others_leave_with_it)
{
	struct peer *p;

	for (int i = 0; i < 4; i++)
		put("b@y.test");
	await(1);
	told_holds("connect to mx2.test[127.0.0.2]:");
	ck_assert_uint_eq(entries(1), 1);
	ck_assert_uint_eq(entries(0), 3);
	ck_assert(queue_drained());
	loop_advance(400000);           /* still dead: one probe again */
	await(2);
	ck_assert_uint_eq(entries(0) + entries(1) + entries(2), 4);
	ck_assert_uint_ge(entries(0), 2);
	p = peer_at(1, HELLO ENVELOPE("b@y.test") TAKES ENVELOPE("b@y.test") TAKES ENVELOPE("b@y.test") TAKES
		ENVELOPE("b@y.test") TAKES BYE);
	loop_advance(800000);
	await(6);
	ck_assert_uint_eq(delivered, 4);
	ck_assert_uint_eq(deferred, 2);
	played(p);
}
END_TEST

static const struct { const char *domain, *records[2], *words; } hopeless[] = {
	{ "gone.test", { NULL }, "b@gone.test failed by -: 550 5.1.2 the domain gone.test does not exist" },
	{ "null.test", { "null.test MX 0 ." }, "b@null.test failed by -: 556 5.1.10 the domain null.test does not accept mail" },
	{ "void.test", { "void.test TXT \"x\"" }, "b@void.test failed by -: 550 5.4.4 the domain void.test has neither" },
};

START_TEST(a_domain_that_cannot_get_mail_is_reported_at_once)
{
	char to[50];

	for (int i = 0; i < 2 && hopeless[_i].records[i]; i++)
		knows(hopeless[_i].records[i]);
	snprintf(to, sizeof to, "b@%s", hopeless[_i].domain);
	put(to);
	await(1);
	told_holds(hopeless[_i].words);
	ck_assert_uint_eq(entries(0) + entries(1), 0);
	ck_assert_uint_eq(queue_entries(), 1);          /* the report, for x.test */
	ck_assert(queue_drained());
}
END_TEST

START_TEST(a_domain_that_cannot_be_looked_up_waits_and_counts)
{
	knows("odd.test SERVFAIL");
	put("b@odd.test");
	await(1);
	told_holds("b@odd.test deferred by -: 451 4.4.3 cannot look up the mail hosts of odd.test");
	ck_assert_uint_eq(entries(1), 1);
}
END_TEST

START_TEST(without_a_resolver_nothing_is_counted_as_an_attempt)
{
	fakedns_close(&dns);
	put("b@y.test");
	put("b@z.test");
	for (int i = 0; i < 1000 && results < 2; i++)
		loop_turn(100);
	await(2);
	ck_assert_uint_eq(deferred, 2);
	ck_assert_uint_eq(entries(0), 2);
	ck_assert_uint_eq(entries(1), 0);
	memset(&dns, 0, sizeof dns);
	ck_assert_int_eq(fakedns_open(&dns), 0);        /* for teardown */
}
END_TEST

static const struct { const char *route, *host; const char *script, *words; } setups[] = {
	{ "* smtp://127.0.0.1:%u", NULL, HELLO "eof\n" HELLO "eof\n" HELLO "eof\n", "the server offers no login" },
	{ "* smtp://nowhere.test", NULL, NULL, "nowhere.test, the route configured here, does not exist" },
	{ "* smtp://bare.test", "bare.test TXT \"x\"", NULL, "bare.test, the route configured here, has no address" },
};

START_TEST(what_is_wrong_in_our_settings_is_met_by_one_message_in_growing_pauses)
{
	struct peer *p = setups[_i].script ? peer_at(1, setups[_i].script) : NULL;

	if (setups[_i].host)
		knows(setups[_i].host);
	route(setups[_i].route);
	if (p)
		rules[0].login = (struct route_login){ .user = "anna", .password = "secret" };
	for (int i = 0; i < 20; i++)
		put("b@y.test");
	await(1);
	told_holds(setups[_i].words);
	loop_advance(331 * 1000);
	await(2);
	loop_advance(201 * 1000);       /* the first pause is over twice */
	await(2);
	loop_advance(461 * 1000);
	await(3);
	ck_assert_uint_eq(entries(0), 20);
	if (p)
		played(p);
}
END_TEST

START_TEST(a_source_address_that_this_host_has_not_counts_no_attempt)
{
	struct sockaddr_storage source[2] = { { .ss_family = AF_INET }, { .ss_family = AF_UNSPEC } };
	struct courier_config from_afar = couriers;

	inet_pton(AF_INET, "192.0.2.55", &((struct sockaddr_in *)&source[0])->sin_addr);
	from_afar.source = source;
	courier_configure(&from_afar);
	for (int i = 0; i < 5; i++)
		put("b@y.test");
	await(1);
	told_holds("connect to mx2.test: ");
	told_holds(strerror(EADDRNOTAVAIL));
	loop_advance(331 * 1000);
	await(2);
	loop_advance(201 * 1000);
	await(2);
	ck_assert_uint_eq(entries(0), 5);
}
END_TEST

/* Only this process's next descriptors may be taken: none behind them. */
static void descriptors_left(int n)
{
	struct rlimit limit;
	int next = dup(0);

	close(next);
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = n < 0 ? limit.rlim_max : (rlim_t)(next + n);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

START_TEST(without_a_descriptor_nothing_is_counted_as_an_attempt)
{
	struct peer *p = peer_at(1, HELLO ENVELOPE("b@r.test") TAKES ENVELOPE("b@r.test") TAKES ENVELOPE("b@r.test") TAKES BYE);

	route("r.test smtp://127.0.0.1:%u");
	queue_close();
	conf.deliver = false;
	start_queue();
	for (int i = 0; i < 3; i++)
		put("b@r.test");
	turn();
	queue_close();
	conf.deliver = true;
	start_queue();
	descriptors_left(1);            /* for the message */
	await(1);
	told_holds("deferred by");
	told_holds(strerror(EMFILE));
	ck_assert_uint_eq(entries(0), 3);
	descriptors_left(-1);
	loop_advance(331 * 1000);
	await(4);
	ck_assert_uint_eq(delivered, 3);
	played(p);
}
END_TEST

START_TEST(a_copy_of_ours_that_cannot_be_read_holds_up_no_other_and_counts_no_attempt)
{
	static char large[40001];       /* is not held in memory */
	char command[200];
	struct peer *p;

	for (size_t i = 0; i < sizeof large - 1; i += 2)
		memcpy(large + i, i % 80 == 78 ? "\r\n" : "xx", 2);
	mail_text = large;
	p = peer_at(1, HELLO ENVELOPE("b@y.test") "S: 250 ok\nS: 250 ok\nwait 60\nS: 354 go\neof\n" HELLO ENVELOPE("c@y.test") TAKES BYE);
	put("b@y.test");
	turn();
	snprintf(command, sizeof command, "truncate -s -5 %s/cur/*", dir);
	ck_assert_int_eq(system(command), 0);
	put("c@y.test");
	turn();
	loop_advance(61 * 1000);
	await(2);
	told_holds("b@y.test deferred by mx1.test[127.0.0.1]:");
	told_holds("our copy of the message cannot be read");
	told_holds("c@y.test delivered by mx1");
	ck_assert_uint_eq(entries(0), 1);
	played(p);
}
END_TEST

static unsigned descriptors(void)
{
	unsigned n = 0;
	DIR *d = opendir("/proc/self/fd");

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

START_TEST(what_waits_goes_the_new_way_when_the_ways_change)
{
	struct queue_config later = conf;
	struct peer *p;
	char line[100];

	snprintf(line, sizeof line, "r.test smtp://127.0.0.3:%u", port);        /* nobody is there */
	route(line);
	put("one@r.test");
	await(1);
	put("two@r.test");              /* waits for the probe */
	turn();
	ck_assert_uint_eq(results, 1);
	snprintf(line, sizeof line, "r.test smtp://127.0.0.2:%u", port);
	routes.n = 0;
	route(line);
	p = peer_at(2, HELLO ENVELOPE("two@r.test") TAKES BYE);
	later.retry_first = 60;
	queue_reconfigure(&later);
	await(2);
	told_holds("two@r.test delivered by ");
	loop_advance(2500);
	turn();
	played(p);
	p = peer_at(2, HELLO ENVELOPE("one@r.test") TAKES BYE);
	loop_advance(400 * 1000);
	await(3);
	loop_advance(2500);
	told_holds("one@r.test delivered by ");
	turn();
	played(p);
	ck_assert(queue_drained());
}
END_TEST

START_TEST(what_waits_does_not_leave_over_a_connection_of_former_settings)
{
	struct courier_config must = couriers;
	struct queue_config later = conf;
	struct peer *p = peer_at(1, HELLO ENVELOPE("one@y.test") TAKES BYE);

	with_room_for_idlers();
	put("one@y.test");
	await(1);
	must.tls = CLIENT_TLS_MUST;
	courier_configure(&must);
	queue_reconfigure(&later);
	put("two@y.test");
	turn();
	played(p);
	await(2);
	ck_assert_uint_eq(delivered, 1);
}
END_TEST

/* Not until nobody delivers at all: that may never be. */
START_TEST(settings_of_before_are_used_as_long_as_their_own_couriers_and_connections_are_there)
{
	struct peer *p = peer_at(1, HELLO ENVELOPE("one@y.test") TAKES BYE);
	unsigned before = courier_configured();

	with_room_for_idlers();
	route("r.test smtp://127.0.0.2:%u");
	crowd_opens("127.0.0.2", "250 SIZE\r\n");
	crowd.mute = true;
	put("one@y.test");
	await(1);
	courier_configure(&couriers);
	put("two@r.test");              /* nobody greets it */
	turn();
	ck_assert_uint_eq(courier_configured(), before + 1);
	ck_assert_uint_eq(courier_oldest(), before);
	loop_advance(2500);
	turn();
	played(p);
	ck_assert_uint_eq(courier_oldest(), before + 1);
	ck_assert(!queue_drained());
	crowd_closes();
	turn();
}
END_TEST

START_TEST(ways_may_change_while_bundles_wait_for_a_place)
{
	struct peer *first, *second;

	knows("slow.test DELAY 20000");
	knows("z.test MX 10 mx2.test");
	put("a@slow.test b@z.test c@y.test");   /* one courier at a time: two destinations have bundles and no courier */
	turn();
	queue_reconfigure(&conf);
	turn();
	first = peer_at(1, HELLO ENVELOPE("c@y.test") TAKES BYE);
	second = peer_at(2, HELLO ENVELOPE("b@z.test") TAKES BYE);
	for (int i = 0; i < 60 && delivered < 2; i++) {
		loop_advance(2000);
		turn();
	}
	ck_assert_uint_eq(delivered, 2);
	peer_free(first);
	peer_free(second);
}
END_TEST

START_TEST(couriers_of_dead_destinations_leave_nothing_behind)
{
	unsigned before;
	char line[60];

	queue_close();
	conf.couriers = 20;
	start_queue();
	turn();
	before = descriptors();
	for (int i = 0; i < 30; i++) {
		snprintf(line, sizeof line, "d%d.test MX 10 mx9.test", i);
		knows(line);
		snprintf(line, sizeof line, "b@d%d.test", i);
		put(line);
		snprintf(line, sizeof line, "c@d%d.test", i);
		put(line);
	}
	for (int64_t end = clock_monotonic_ms() + PATIENCE_MS; deferred < 30 && clock_monotonic_ms() < end; )
		turn();
	turn();
	ck_assert(queue_drained());
	ck_assert_uint_ge(deferred, 30);
	ck_assert_uint_eq(entries(1), deferred);
	loop_advance(2000);             /* their journals become durable, and are closed */
	turn();
	ck_assert_uint_eq(descriptors(), before);
}
END_TEST

/* ---- ways */

static const struct { const char *domain, *key, *transport; bool shared; } ways[] = {
	{ "y.test", "mx y.test", "smtp", false },
	{ "relayed.test", "smtp://relay.test:25", "smtp", true },
	{ "also.relayed.test", "smtp://relay.test:25", "smtp", true },
	{ "home.test", "local home.test", "local", false },
	{ "", "local ", "local", false },
};

START_TEST(a_domain_has_a_way)
{
	static struct str homes[] = { { "home.test", 9 } };
	struct way w = { 0 };

	routes.local = homes;
	routes.nlocal = 1;
	route("relayed.test smtp://relay.test");
	route(".relayed.test smtp://relay.test:25");
	courier_way(NULL, str_of(ways[_i].domain), NULL, &w);
	ck_assert_str_eq(w.key, ways[_i].key);
	ck_assert_str_eq(w.transport->name, ways[_i].transport);
	ck_assert(w.shared == ways[_i].shared);
}
END_TEST

START_TEST(an_order_is_a_way_of_its_own)
{
	struct way w = { .order = "relay.test" }, none = { .order = "gopher://x" };

	route("relayed.test smtp://relay.test");
	courier_way(NULL, STR("home.test"), NULL, &w);
	ck_assert_str_eq(w.key, "order smtp://relay.test:25");
	ck_assert(w.shared);
	courier_way(NULL, STR("home.test"), NULL, &none);
	ck_assert_str_eq(none.key, "order gopher://x");
	ck_assert_str_eq(none.transport->name, "smtp");
}
END_TEST

/* ---- policies (MTA-STS). mx1.test shows a certificate that is good for it, mx2.test another's. */

static struct tls_trust *trust;
static struct stscache_config policies;

static void policy_setup(void)
{
	setup();
	trust = tls_trust_new("tests/pki/sts.crt");
	self.mta_sts = self.dane = true;
	couriers.tls = CLIENT_TLS_MAY;
	couriers.trust = policies.trust = trust;
	lame_forget_all();
	facts_source(FACT_POLICY, stscache_source());
	ck_assert_int_eq(stscache_start(&policies, queue_dir()), 0);
	mail_text = message;
	mail_from = "FROM:<a@x.test>";
	couriers.tls_rules = NULL;
	couriers.proxy = NULL;
	couriers.marker = NULL;
}

static void policy_teardown(void)
{
	teardown();
	token_stop();
	stscache_stop();
	tls_trust_free(trust);
}

/* As if it had been fetched a while ago. */
static void policy(const char *domain, const char *mode, const char *mx)
{
	struct buf text = { 0 };
	char path[200];
	int fd;

	snprintf(path, sizeof path, "%s/mta-sts/%s", dir, domain);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	buf_printf(&text, "id: 1\nfetched: %d\nversion: STSv1\nmode: %s\nmx: %s\nmax_age: 86400\n", WALL - 60, mode, mx);
	ck_assert(fd != -1 && file_write(fd, text.p, text.n) == 0);
	close(fd);
	buf_free(&text);
}

#define OFFERS "S: 220 mx\nC: EHLO client.test\nS: 250-mx\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go\ntls\n"
#define SECURE OFFERS "C: EHLO client.test\nS: 250-mx\nS: 250 PIPELINING\n"
#define CLEAR "S: 220 mx\nC: EHLO client.test\nS: 250-mx\nS: 250 PIPELINING\n"
#define MAIL ENVELOPE("b@y.test") TAKES BYE

static const struct { const char *mode, *mx, *one, *two, *told, *not_told; } policed[] = {
	{ "enforce", "mx1.test", SECURE MAIL, NULL, "delivered by mx1.test", NULL },
	{ "enforce", "*.test", SECURE MAIL, NULL, "delivered by mx1.test", NULL },
	{ "enforce", "*.test", "S: 421 busy\neof\n", OFFERS "eof\n",
		"deferred by mx2.test[127.0.0.2]:%u: 0 4.7.5 the policy of y.test (MTA-STS, enforce) demands TLS and a certificate that is good for its "
		"mail host: TLS handshake failed: the peer's certificate is", NULL },
	{ "enforce", "mx1.test", CLEAR "eof\n", NULL,
		"deferred by mx1.test[127.0.0.1]:%u: 0 4.7.4 the policy of y.test (MTA-STS, enforce) demands TLS and a certificate that is good for its "
		"mail host: not sent in clear: mx1.test[127.0.0.1]:%u does not offer STARTTLS", "mx2.test" },
	{ "enforce", "mx1.test", "S: 220 mx\nC: EHLO client.test\nS: 250-mx\nS: 250 STARTTLS\nC: STARTTLS\nS: 454 4.7.0 not now\neof\n", NULL,
		"mail host: STARTTLS: not now", "mx2.test" },
	{ "enforce", "mx2.test", NULL, OFFERS "eof\n", "the policy of y.test (MTA-STS, enforce) demands", NULL },
	{ "enforce", "mx9.test", NULL, NULL,
		"deferred by mx1.test: 0 4.7.5 mx1.test is not among the mail hosts that the policy of y.test (MTA-STS, enforce) names", "connect" },
	/* put off by the one host that may be asked */
	{ "enforce", "mx1.test", SECURE ENVELOPE("b@y.test") "S: 250 ok\nS: 451 4.2.0 later\nS: 503 no\n" BYE, NULL, "451 4.2.0 later", "mx2.test" },
	/* Being tested: as without, but for the log. */
	{ "testing", "*.test", SECURE MAIL, NULL, "delivered by mx1.test", NULL },
	{ "testing", "*.test", CLEAR "eof\n" CLEAR MAIL, NULL, "delivered by mx1.test", NULL },
	{ "testing", "*.test", "S: 220 mx\nC: EHLO client.test\nS: 250-mx\nS: 250 STARTTLS\nC: STARTTLS\nS: 454 4.7.0 not now\neof\n"
		"S: 220 mx\nC: EHLO client.test\nS: 250-mx\nS: 250 STARTTLS\nC: STARTTLS\nS: 454 4.7.0 not now\neof\n" CLEAR MAIL, NULL,
		"delivered by mx1.test", NULL },
	{ "testing", "*.test", "S: 421 busy\neof\n", OFFERS "eof\n" SECURE MAIL, "delivered by mx2.test", NULL },
	{ "testing", "mx9.test", SECURE MAIL, NULL, "delivered by mx1.test", NULL },
	{ "testing", "mx9.test", CLEAR MAIL, NULL, "delivered by mx1.test", NULL },
	{ "none", "mx9.test", CLEAR MAIL, NULL, "delivered by mx1.test", NULL },
};

/* The port in place of each %u. */
static const char *with_port(const char *pattern)
{
	static struct buf out;
	struct str rest = str_of(pattern), before;

	buf_clear(&out);
	while (str_cut(&rest, '%', &before)) {
		buf_printf(&out, STR_FMT "%u", STR_ARG(before), port);
		rest = str_from(rest, 1);
	}
	buf_str(&out, rest);
	return buf_cstr(&out);
}

START_TEST(mail_goes_as_the_policy_of_its_domain_demands)
{
	struct peer *one = policed[_i].one ? peer_at(1, policed[_i].one) : NULL, *two = policed[_i].two ? peer_at(2, policed[_i].two) : NULL;

	policy("y.test", policed[_i].mode, policed[_i].mx);
	put("b@y.test");
	await(1);
	told_holds(with_port(policed[_i].told));
	if (policed[_i].not_told)
		ck_assert_msg(!strstr(buf_cstr(&told), policed[_i].not_told), "%s", buf_cstr(&told));
	if (one)
		played(one);
	if (two)
		played(two);
}
END_TEST

START_TEST(a_policy_is_fetched_before_the_first_mail_leaves)
{
	struct peer *web = peer_new_tcp("tls\nC: GET /.well-known/mta-sts.txt HTTP/1.1\nC: Host: mta-sts.y.test*\nC: *\nC: *\nC: *\nC: *\ntake 2\n"
		"S: HTTP/1.1 200 OK\nW: Content-Type: text/plain\\r\\n\\r\\nversion: STSv1\\nmode: enforce\\nmx: mx9.test\\nmax_age: 86400\\n\nclose\n");
	socklen_t len;

	policies.port = ntohs(((const struct sockaddr_in *)(const void *)peer_address(web, &len))->sin_port);
	knows("_mta-sts.y.test TXT \"v=STSv1; id=1;\"");
	knows("mta-sts.y.test A 127.0.0.1");
	put("b@y.test");
	await(1);
	told_holds("mx1.test is not among the mail hosts that the policy of y.test (MTA-STS, enforce) names");
	played(web);
}
END_TEST

START_TEST(a_policy_that_cannot_be_had_keeps_nothing_back)
{
	struct peer *p = peer_at(1, CLEAR MAIL);

	knows("_mta-sts.y.test TXT \"v=STSv1; id=1;\"");
	knows("mta-sts.y.test A 127.0.0.1");            /* nobody is there */
	policies.port = 1;
	put("b@y.test");
	await(1);
	told_holds("delivered by mx1.test");
	played(p);
}
END_TEST

/* The TLSA record for the certificate of mx1.test, or one that is wrong. */
static void knows_tlsa(bool right)
{
	struct buf pem = { 0 }, line = { 0 };
	unsigned char der[2048], sum[HASH_MAX];
	size_t n = sizeof der;
	struct str rest, part;
	struct buf base64 = { 0 };

	ck_assert_int_eq(file_read_all(AT_FDCWD, "tests/pki/sts.crt", &pem), 0);
	rest = buf_view(&pem);
	while (str_cut(&rest, '\n', &part))
		if (part.n && part.p[0] != '-')
			buf_str(&base64, part);
	ck_assert(base64_decode(buf_view(&base64), der, &n));
	hash_of(HASH_SHA256, (struct str){ (const char *)der, n }, sum);
	buf_printf(&line, "_%u._tcp.mx1.test TLSA 030001", port);
	for (int i = 0; i < 32; i++)
		buf_printf(&line, "%02X", right ? sum[i] : 0);
	knows(buf_cstr(&line));
	buf_clear(&line);
	buf_printf(&line, "_%u._tcp.mx1.test AD", port);
	knows(buf_cstr(&line));
	knows("y.test AD");
	knows("mx1.test AD");
	buf_free(&pem);
	buf_free(&line);
	buf_free(&base64);
}

START_TEST(the_certificate_of_an_alias_is_named_where_its_chain_ends)
{
	struct peer *p = peer_at(1, _i ? SECURE MAIL : OFFERS "eof\n");

	dns_stop();
	fakedns_close(&dns);
	ck_assert_int_eq(fakedns_open(&dns), 0);
	knows("y.test MX 10 alias.test");
	knows("alias.test CNAME mx1.test");
	knows("mx1.test A 127.0.0.1");
	knows("alias.test AD");
	start_dns();
	knows_tlsa(_i);
	put("b@y.test");
	await(1);
	told_holds(_i ? "delivered by alias.test" : "none of those that DNS names");
	played(p);
}
END_TEST

START_TEST(what_dnssec_says_of_a_host_goes_before_the_policy)
{
	struct peer *p = peer_at(1, _i ? SECURE MAIL : OFFERS "eof\n");

	knows_tlsa(_i);
	policy("y.test", "enforce", _i ? "mx9.test" : "mx1.test");
	put("b@y.test");
	await(1);
	told_holds(_i ? "delivered by mx1.test" : "none of those that DNS names");
	played(p);
}
END_TEST

START_TEST(a_message_may_ask_that_policies_be_passed_over)
{
	struct peer *p = peer_at(1, CLEAR MAIL);

	mail_text = "TLS-Required: No\r\n\r\nx\r\n";
	peer_message(p, str_of(mail_text));
	policy("y.test", "enforce", "mx9.test");
	put("b@y.test");
	await(1);
	told_holds("delivered by mx1.test");
	mail_text = message;
	put("b@y.test");
	await(2);
	told_holds("is not among the mail hosts");
	played(p);
}
END_TEST

/* What mx1.test shows (its key, its certificate), and what nobody does. */
static const char *fingerprint(const char *kind)
{
	static char text[80];
	const char *command = !strcmp(kind, "key") ? "openssl x509 -in tests/pki/sts.crt -noout -pubkey | openssl pkey -pubin -outform DER | sha256sum" :
		"openssl x509 -in tests/pki/sts.crt -outform DER | sha256sum";
	FILE *f = popen(command, "r");

	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fread(text, 1, 64, f), 64);
	text[64] = '\0';
	pclose(f);
	if (!strcmp(kind, "wrong"))
		text[0] = text[0] == '0' ? '1' : '0';
	return text;
}

static void only_one_host(void)
{
	dns_stop();
	fakedns_close(&dns);
	ck_assert_int_eq(fakedns_open(&dns), 0);
	knows("y.test MX 10 mx1.test");
	knows("mx1.test A 127.0.0.1");
	start_dns();
}

enum { NO_RECORD, WRONG_RECORD, RIGHT_RECORD };
/* %s in a rule: a fingerprint. */
static const struct { const char *rule, *print; int record; const char *mode, *script, *told; } ruled[] = {
	{ "y.test encrypt", "", NO_RECORD, NULL, SECURE MAIL, "delivered by mx1.test" },
	{ "y.test encrypt", "", NO_RECORD, NULL, CLEAR "eof\n", "the setting tls = y.test encrypt is not met: not sent in clear: mx1.test" },
	{ "y.test verify", "", NO_RECORD, NULL, SECURE MAIL, "delivered by mx1.test" },
	{ "y.test verify", "", NO_RECORD, NULL, CLEAR "eof\n", "the setting tls = y.test verify is not met: not sent in clear" },
	{ "* dane", "", RIGHT_RECORD, NULL, SECURE MAIL, "delivered by mx1.test" },
	{ "* dane", "", WRONG_RECORD, NULL, OFFERS "eof\n", "the setting tls = * dane is not met: TLS handshake failed: the peer's certificate is none" },
	{ "* dane", "", NO_RECORD, NULL, NULL, "the setting tls = * dane is not met: there are no TLSA records of mx1.test" },
	{ "y.test fingerprint=%s", "key", NO_RECORD, NULL, SECURE MAIL, "delivered by mx1.test" },
	{ "y.test fingerprint=%s", "certificate", NO_RECORD, NULL, SECURE MAIL, "delivered by mx1.test" },
	{ "y.test fingerprint=%s", "wrong", NO_RECORD, NULL, OFFERS "eof\n", "the setting tls = y.test fingerprint is not met: TLS handshake failed: the "
		"peer's certificate, or its key, has none of the fingerprints" },
	/* None takes anything from another one... */
	{ "y.test fingerprint=%s", "wrong", RIGHT_RECORD, NULL, OFFERS "eof\n", "has none of the fingerprints" },
	{ "y.test fingerprint=%s", "key", WRONG_RECORD, NULL, OFFERS "eof\n", "none of those that DNS names" },
	{ "y.test fingerprint=%s", "wrong", NO_RECORD, "enforce", OFFERS "eof\n", "has none of the fingerprints" },
	{ "y.test fingerprint=%s", "key", NO_RECORD, "enforce", SECURE MAIL, "delivered by mx1.test" },
	{ "y.test may", "", WRONG_RECORD, NULL, OFFERS "eof\n", "none of those that DNS names" },
	{ "y.test may", "", NO_RECORD, "enforce", CLEAR "eof\n", "the policy of y.test (MTA-STS, enforce) demands TLS" },
	{ "y.test encrypt", "", NO_RECORD, "enforce", SECURE MAIL, "delivered by mx1.test" },
	/* ...but the administrator may say that he will have none of it. */
	{ "y.test none", "", WRONG_RECORD, "enforce", "S: 220 mx\nC: EHLO client.test\nS: 250-mx\nS: 250-STARTTLS\nS: 250 PIPELINING\n" MAIL,
		"delivered by mx1.test" },
	{ "y.test may", "", NO_RECORD, NULL, CLEAR MAIL, "delivered by mx1.test" },
};

START_TEST(what_the_administrator_demands_of_a_domain_holds_beside_all_else)
{
	static struct tls_rule rule;
	static const struct tls_rules all = { &rule, 1 };
	struct peer *p;
	char text[200];

	only_one_host();
	if (!strcmp(ruled[_i].print, ""))
		str_copy(text, sizeof text, str_of(ruled[_i].rule));
	else
		snprintf(text, sizeof text, "y.test fingerprint=%s", fingerprint(ruled[_i].print));
	ck_assert_ptr_null(tls_rule_parse(str_of(text), &rule));
	couriers.tls_rules = &all;
	if (ruled[_i].record != NO_RECORD)
		knows_tlsa(ruled[_i].record == RIGHT_RECORD);
	if (ruled[_i].mode)
		policy("y.test", ruled[_i].mode, "mx1.test");
	p = ruled[_i].script ? peer_at(1, ruled[_i].script) : NULL;
	put("b@y.test");
	await(1);
	told_holds(ruled[_i].told);
	if (p)
		played(p);
}
END_TEST

START_TEST(a_message_may_not_ask_that_our_own_rules_be_passed_over)
{
	static struct tls_rule rule = { .name = "y.test", .level = TLS_LEVEL_ENCRYPT };
	static const struct tls_rules all = { &rule, 1 };
	struct peer *p = peer_at(1, _i ? OFFERS "eof\n" : CLEAR "eof\n");

	only_one_host();
	rule.level = _i ? TLS_LEVEL_DANE : TLS_LEVEL_ENCRYPT;
	couriers.tls_rules = &all;
	mail_text = "TLS-Required: No\r\n\r\nx\r\n";
	if (_i)
		knows_tlsa(false);
	else
		policy("y.test", "enforce", "mx9.test");
	put("b@y.test");
	await(1);
	told_holds("the setting tls = y.test");
	played(p);
}
END_TEST

START_TEST(a_rule_for_the_host_of_a_route_holds_there)
{
	static struct tls_rule rule;
	static const struct tls_rules all = { &rule, 1 };
	struct peer *p = peer_at(1, _i ? SECURE MAIL : CLEAR "eof\n");

	ck_assert_ptr_null(tls_rule_parse(STR("127.0.0.1 encrypt"), &rule));
	couriers.tls_rules = &all;
	route("y.test smtp://127.0.0.1:%u");
	put("b@y.test");
	await(1);
	told_holds(_i ? "delivered by" : "the setting tls = 127.0.0.1 encrypt is not met");
	played(p);
}
END_TEST

#define PROMISES OFFERS "C: EHLO client.test\nS: 250-mx\nS: 250 REQUIRETLS\n"
#define PROMISED PROMISES "C: MAIL FROM:<a@x.test> REQUIRETLS\nS: 250 ok\nC: RCPT TO:<b@y.test>\nS: 250 ok\nC: DATA\nS: 354 go\nM:\nS: 250 taken\n" BYE
static const struct { const char *mode, *mx, *record, *script, *second, *told; } required[] = {
	{ "enforce", "mx1.test", NULL, PROMISED, NULL, "delivered by mx1.test" },
	{ "testing", "mx1.test", NULL, PROMISED, NULL, "delivered by mx1.test" },
	/* That no host is able is final; those that the policy does not allow are none. */
	{ "testing", "mx9.test", NULL, PROMISES BYE, PROMISES BYE, "failed by mx1.test" },
	{ NULL, NULL, NULL, PROMISES BYE, PROMISES BYE, "failed by mx1.test" },
	{ "enforce", "mx1.test", NULL, SECURE BYE, NULL, "failed by mx1.test" },
	{ "enforce", "*.test", NULL, SECURE BYE, OFFERS "eof\n", "deferred by" },
	{ NULL, NULL, "_mta-sts.y.test SERVFAIL", PROMISES BYE, NULL, "deferred by" },
	{ NULL, NULL, "_mta-sts.y.test TXT \"v=STSv1; id=1\"", PROMISES BYE, NULL, "450 4.7.30 not sent: it demands TLS with a host whose name is certain" },
};

/* ---- TLS that was there before */

START_TEST(a_domain_that_used_tls_and_does_not_any_more_is_told_of)
{
	struct peer *p = peer_at(1, SECURE MAIL CLEAR MAIL CLEAR MAIL SECURE MAIL);
	struct tlsseen seen;

	ck_assert_int_eq(tlsseen_start(queue_dir(), "tls-seen", true), 0);
	for (unsigned i = 1; i <= 4; i++) {
		put("b@y.test");
		await(i);
		ck_assert(tlsseen_look(STR("Y.test"), &seen));
		ck_assert_int_eq(seen.clear > 0, i == 2 || i == 3);
		if (i == 2) {           /* it survives a restart */
			tlsseen_stop();
			ck_assert(!tlsseen_look(STR("y.test"), &seen));
			ck_assert_int_eq(tlsseen_start(queue_dir(), "tls-seen", true), 0);
		}
		loop_advance(86400 * 1000);
		turn();
	}
	ck_assert_uint_eq(delivered, 4);
	ck_assert(!tlsseen_look(STR("x.test"), &seen));
	tlsseen_stop();
	played(p);
}
END_TEST

/* ---- ourselves, by what the peer says */

#define MARK "feedfacefeedface"
#define MIRROR "S: 220 client.test\nC: EHLO client.test\nS: 250-client.test " MARK "\nS: 250 PIPELINING\neof\n"
static const struct { const char *route, *one, *two, *told; bool final, counts; } mirrors[] = {
	{ NULL, MIRROR, NULL, "b@y.test failed by mx1.test[127.0.0.1]:%u: 554 5.4.6 mail for y.test loops back to this host", true, false },
	{ NULL, NULL, MIRROR, "b@y.test deferred by mx2.test[127.0.0.2]:%u: 0 4.4.6 mail for y.test loops back to this host", false, true },
	{ "* smtp://127.0.0.1:%u", MIRROR, NULL, "b@y.test deferred by [127.0.0.1]:%u: 0 4.4.6 [127.0.0.1]:%u is this host itself", false, false },
	/* our name, and another's mark, or none */
	{ NULL, "S: 220 client.test\nC: EHLO client.test\nS: 250-client.test feedfacefeedfacf\nS: 250 PIPELINING\nC: MAIL FROM:<>\nC: RCPT TO:<b@y.test>\nC: DATA\n" TAKES BYE, NULL, "delivered by mx1.test", true, false },
	{ NULL, "S: 220 client.test\nC: EHLO client.test\nS: 250-client.test\nS: 250 PIPELINING\nC: MAIL FROM:<>\nC: RCPT TO:<b@y.test>\nC: DATA\n" TAKES BYE, NULL, "delivered by mx1.test", true, false },
};

START_TEST(a_peer_that_is_ourselves_gets_no_mail)
{
	struct peer *one = mirrors[_i].one ? peer_at(1, mirrors[_i].one) : NULL, *two = mirrors[_i].two ? peer_at(2, mirrors[_i].two) : NULL;

	couriers.marker = MARK;
	if (mirrors[_i].route)
		route(mirrors[_i].route);
	mail_from = "FROM:<>";          /* so that no report goes out */
	put("b@y.test");
	await(1);
	told_holds(with_port(mirrors[_i].told));
	ck_assert_uint_eq(entries(0), !mirrors[_i].final && !mirrors[_i].counts);
	ck_assert_uint_eq(entries(1), mirrors[_i].counts);
	if (one)
		played(one);
	if (two)
		played(two);
}
END_TEST

/* ---- proxies. The proxy is 127.0.0.5, and plays what the peer says behind it. */

#define ASKS "take 3\nW: \\x05\\x00\ntake 10\n"
#define GIVES ASKS "W: \\x05\\x00\\x00\\x01\\x00\\x00\\x00\\x00\\x00\\x00\n"
#define REFUSES(code) ASKS "W: \\x05" code "\\x00\\x01\\x00\\x00\\x00\\x00\\x00\\x00\neof\n"

static void by_proxy(const char *login)
{
	static struct socks_proxy proxy;
	char text[100];

	snprintf(text, sizeof text, "socks5://%s127.0.0.5:%u", login, port);
	ck_assert_ptr_null(socks_parse(str_of(text), &proxy));
	couriers.proxy = &proxy;
}

static const struct { const char *login, *script, *told; bool ours; } proxied[] = {
	{ "", GIVES HELLO MAIL, "delivered by mx1.test[127.0.0.1]", false },
	{ "", GIVES OFFERS "C: EHLO client.test\nS: 250-mx\nS: 250 PIPELINING\n" MAIL, "delivered by mx1.test[127.0.0.1]", false },
	/* The second host is tried when the proxy could not reach the first. */
	{ "", REFUSES("\\x05") GIVES HELLO MAIL, "delivered by mx2.test[127.0.0.2]", false },
	{ "", REFUSES("\\x01") REFUSES("\\x04"), "through the proxy 127.0.0.5:%u: host unreachable", false },
	{ "", ASKS "close\n" ASKS "close\n", "through the proxy 127.0.0.5:%u: closed by the peer", false },
	{ "", REFUSES("\\x02"), "through the proxy 127.0.0.5:%u: it does not allow the connection", true },
	{ "", "take 3\nW: \\x05\\xff\neof\n", "through the proxy 127.0.0.5:%u: it wants a login", true },
	{ "me:pw@", "take 4\nW: \\x05\\x02\ntake 7\nW: \\x01\\x01\neof\n", "through the proxy 127.0.0.5:%u: it refuses the login of me", true },
	{ "", "take 3\nS: 220 this is no proxy\neof\n", "through the proxy 127.0.0.5:%u: it does not speak SOCKS5", true },
	{ "", "take 3\nclose\n", "through the proxy 127.0.0.5:%u: closed by the peer", true },
	{ "", NULL, "through the proxy 127.0.0.5:%u: it cannot be reached: Connection refused", true },      /* the last one: has a tag */
};

START_TEST(mail_goes_through_a_proxy_and_a_fault_of_that_is_ours)
{
	struct peer *p = proxied[_i].script ? peer_at(5, proxied[_i].script) : NULL;

	by_proxy(proxied[_i].login);
	put("b@y.test");
	await(1);
	told_holds(with_port(proxied[_i].told));
	ck_assert_uint_eq(entries(0), proxied[_i].ours);
	if (p)
		played(p);
}
END_TEST

START_TEST(a_proxy_that_is_silent_is_given_up)
{
	struct peer *p = peer_at(5, _i ? ASKS "eof\n" ASKS "eof\n" : "take 3\neof\n");

	by_proxy("");
	put("b@y.test");
	turn();
	for (int i = 0; i < 130; i++) {
		loop_advance(1000);
		turn();
	}
	await(1);
	told_holds(with_port(_i ? "through the proxy 127.0.0.5:%u timed out after 60 s" : "through the proxy 127.0.0.5:%u: it does not answer"));
	ck_assert_uint_eq(entries(0), !_i);
	played(p);
}
END_TEST

START_TEST(a_route_has_a_proxy_of_its_own)
{
	struct peer *p = peer_at(6, GIVES HELLO MAIL), *direct = peer_at(1, HELLO ENVELOPE("d@z.test") TAKES BYE);

	knows("z.test MX 10 mx1.test");
	route("y.test mx proxy=socks5://127.0.0.6:%u");
	put("b@y.test");
	put("d@z.test");
	await(2);
	ck_assert_uint_eq(delivered, 2);
	played(p);
	played(direct);
}
END_TEST

/* ---- tokens */

/* A route whose token command runs these lines of shell; $n counts its runs, from 1. */
static void token_route(const char *lines)
{
	char path[100], text[300];
	FILE *f;

	snprintf(path, sizeof path, "%s/command", dir);
	f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	fprintf(f, "#!/bin/sh\necho x >> %s/runs\nn=$(wc -l < %s/runs)\n%s\n", dir, dir, lines);
	ck_assert_int_eq(fchmod(fileno(f), 0700), 0);
	fclose(f);
	snprintf(text, sizeof text, "* smtp://mx1.test:%u tls=verify user=anna token_command=%s anna", port, path);
	ck_assert_msg(!route_parse(str_of(text), &rules[0]), "%s", text);
	routes.rule = rules;
	routes.n = 1;
}

static unsigned runs(void)
{
	struct buf text = { 0 };
	char path[100];
	size_t n;

	snprintf(path, sizeof path, "%s/runs", dir);
	file_read_all(AT_FDCWD, path, &text);
	n = text.n / 2;
	buf_free(&text);
	return (unsigned)n;
}

#define TOKENS OFFERS "C: EHLO client.test\nS: 250-mx\nS: 250-PIPELINING\nS: 250 AUTH XOAUTH2\n"
#define AUTH_T1 "C: AUTH XOAUTH2 dXNlcj1hbm5hAWF1dGg9QmVhcmVyIHQxAQE=\n"
#define AUTH_T2 "C: AUTH XOAUTH2 dXNlcj1hbm5hAWF1dGg9QmVhcmVyIHQyAQE=\n"
#define LETS_IN "S: 235 welcome\n"
#define LETS_NOT_IN "S: 334 e30=\nC: \nS: 535 5.7.8 no\neof\n"

START_TEST(a_token_is_kept_until_it_is_refused)
{
	struct peer *p = peer_at(1, TOKENS AUTH_T1 LETS_IN MAIL TOKENS AUTH_T1 LETS_IN MAIL TOKENS AUTH_T1 LETS_NOT_IN
		TOKENS AUTH_T2 LETS_IN MAIL);

	token_route("echo t$n");
	for (unsigned i = 1; i <= 3; i++) {
		put("b@y.test");
		await(i);
		loop_advance(2500);
		turn();
		ck_assert_uint_eq(runs(), i < 3 ? 1 : 2);
	}
	ck_assert_uint_eq(delivered, 3);
	played(p);
}
END_TEST

START_TEST(a_token_whose_time_is_over_is_not_shown)
{
	struct peer *p = peer_at(1, TOKENS AUTH_T1 LETS_IN MAIL TOKENS AUTH_T2 LETS_IN MAIL);

	token_route("echo t$n; echo 3600");
	put("b@y.test");
	await(1);
	loop_advance(3580 * 1000);
	put("b@y.test");
	await(2);
	ck_assert_uint_eq(delivered, 2);
	ck_assert_uint_eq(runs(), 2);
	played(p);
}
END_TEST

START_TEST(a_new_token_that_is_refused_holds_mail_and_counts_no_attempt)
{
	struct peer *p = peer_at(1, TOKENS AUTH_T1 LETS_NOT_IN);

	token_route("echo t$n");
	for (int i = 0; i < 5; i++)
		put("b@y.test");
	await(1);
	told_holds("deferred by mx1.test[127.0.0.1]");
	told_holds("XOAUTH2 was refused: 535 5.7.8 no");
	ck_assert_uint_eq(runs(), 1);
	ck_assert_uint_eq(entries(0), 5);
	played(p);
}
END_TEST

static const struct { const char *lines, *words; } no_tokens[] = {
	{ "echo geheim; exit 3", "its exit status is 3" },
	{ "kill -9 $$", "it was ended by signal 9" },
	{ ":", "it has printed nothing" },
	{ "echo no token", "its first line is no token" },
	{ "echo geheim; echo soon", "its second line is no number of seconds" },
	{ "echo geheim; echo 0", "its second line is no number of seconds" },
	{ "printf 'a\\000b\\n'", "its first line is no token" },
	{ "head -c 100000 /dev/zero | tr '\\0' x; sleep 100", "it has printed more than a token" },
	{ "exec > /dev/null; rm -f \"$0\"", "it has printed nothing" },
};

START_TEST(a_token_command_that_fails_holds_mail_counts_no_attempt_and_tells_no_secret)
{
	token_route(no_tokens[_i].lines);
	for (int i = 0; i < 20; i++)
		put("b@y.test");
	await(1);
	told_holds("the token_command of the route has given no token: ");
	told_holds(no_tokens[_i].words);
	ck_assert(!strstr(buf_cstr(&told), "geheim"));
	ck_assert_uint_eq(runs(), 1);
	ck_assert_uint_eq(entries(0), 20);
	loop_advance(331 * 1000);
	await(2);
	ck_assert_uint_eq(entries(0), 20);
	ck_assert_uint_eq(runs(), strstr(no_tokens[_i].lines, "rm") ? 1 : 2);
}
END_TEST

START_TEST(mail_waits_for_a_slow_token_command)
{
	struct peer *p = peer_at(1, TOKENS AUTH_T1 LETS_IN MAIL);

	with_room_for_idlers();
	token_route("sleep 0.3; echo t$n");
	put("b@y.test");
	turn();
	ck_assert_uint_eq(results, 0);
	await(1);
	ck_assert_uint_eq(runs(), 1);
	loop_advance(2500);
	turn();
	played(p);
}
END_TEST

/* RFC 8689 4.2.1: DNSSEC or a policy must have named the host. A name out of a DNS that anybody may have changed is not enough. */
START_TEST(a_certificate_for_a_name_that_nobody_vouches_for_does_not_satisfy_requiretls)
{
	static struct tls_rule rule = { .name = "y.test", .level = TLS_LEVEL_VERIFY };
	static const struct tls_rules all = { &rule, 1 };
	struct peer *p = peer_at(1, _i ? PROMISED : PROMISES BYE);

	only_one_host();
	couriers.tls_rules = &all;
	if (_i)
		policy("y.test", "enforce", "mx1.test");
	mail_from = "FROM:<a@x.test> REQUIRETLS";
	put("b@y.test");
	await(1);
	told_holds(_i ? "delivered by" : "5.7.30 not sent");
	played(p);
}
END_TEST

START_TEST(requiretls_is_satisfied_by_a_policy_that_holds)
{
	struct peer *p = peer_at(1, required[_i].script), *other = required[_i].second ? peer_at(2, required[_i].second) : NULL;

	mail_from = "FROM:<a@x.test> REQUIRETLS";
	if (required[_i].mode)
		policy("y.test", required[_i].mode, required[_i].mx);
	if (required[_i].record)
		knows(required[_i].record);
	put("b@y.test");
	await(1);
	told_holds(required[_i].told);
	loop_advance(2500);
	turn();
	played(p);
	if (other)
		played(other);
}
END_TEST

/* The mode of y.test, then of z.test; "unsure": there is a policy, but it cannot be had. */
static const struct { const char *y, *z; bool shared; } demands[] = {
	{ "enforce", "enforce", true }, { "enforce", "testing", true }, { "none", "none", true }, { "unsure", "unsure", true },
	{ "enforce", "none", false }, { "none", "enforce", false }, { "none", "unsure", false },
};

START_TEST(a_line_is_shared_where_the_demands_agree)
{
	struct peer *p = peer_at(1, demands[_i].shared ? SECURE ENVELOPE("b@y.test") TAKES ENVELOPE("d@z.test") TAKES BYE :
		SECURE ENVELOPE("b@y.test") TAKES BYE SECURE ENVELOPE("d@z.test") TAKES BYE);

	knows("z.test MX 10 mx1.test");
	with_room_for_idlers();
	if (!strcmp(demands[_i].y, "unsure"))
		knows("_mta-sts.y.test SERVFAIL");
	else
		policy("y.test", demands[_i].y, "mx1.test");
	if (!strcmp(demands[_i].z, "unsure"))
		knows("_mta-sts.z.test SERVFAIL");
	else
		policy("z.test", demands[_i].z, "*.test");
	put("b@y.test");
	await(1);
	put("d@z.test");
	turn();
	if (!demands[_i].shared)                /* the peer has one line at a time */
		loop_advance(2500);
	await(2);
	ck_assert_uint_eq(delivered, 2);
	loop_advance(2500);
	turn();
	played(p);
}
END_TEST

#define ROWS(table) (int)(sizeof(table) / sizeof *(table))

Suite *cmd_courier_suite(void);
Suite *cmd_courier_suite(void)
{
	Suite *s = suite_create("cmd_courier");
	TCase *t = tcase_create("couriers");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, a_message_goes_to_the_best_host);
	tcase_add_test(t, a_report_has_what_each_host_of_the_try_said);
	tcase_add_test(t, what_went_well_leaves_nothing_of_what_was_said);
	tcase_add_test(t, three_domains_that_do_not_answer_are_a_blocked_port);
	tcase_add_test(t, two_senders_with_a_route_each_share_no_connection);
	tcase_add_loop_test(t, a_refusal_that_may_be_about_our_address_gives_the_other_family_one_chance, 0, ROWS(families));
	tcase_add_test(t, in_later_attempts_a_refusal_is_one);
	tcase_add_loop_test(t, a_host_that_cannot_now_is_followed_by_the_next_at_once, 0, ROWS(useless));
	tcase_add_loop_test(t, a_host_that_says_no_is_followed_by_nobody, 0, ROWS(refusals));
	tcase_add_test(t, who_was_told_no_for_now_is_put_off_in_the_words_of_who_said_it);
	tcase_add_test(t, a_greeting_of_5xx_is_no_result);
	tcase_add_loop_test(t, a_host_that_is_not_able_is_followed_by_the_next_and_final_when_all_have_been_asked, 0, (int)(sizeof able / sizeof *able));
	tcase_add_test(t, while_an_address_is_unknown_no_host_has_the_last_word);
	tcase_add_test(t, a_host_that_is_kept_and_not_able_is_left_for_a_better_one_that_is_back);
	tcase_add_test(t, behind_the_first_host_of_a_route_the_second_is_asked);
	tcase_add_test(t, only_those_without_a_result_are_asked_for_at_the_next_host);
	tcase_add_test(t, a_connection_lost_behind_the_final_dot_is_put_off_and_named);
	tcase_add_test(t, who_may_have_the_message_already_is_followed_by_nobody);
	tcase_add_test(t, messages_for_one_destination_share_a_connection);
	tcase_add_test(t, a_connection_is_kept_for_what_comes_within_two_seconds);
	tcase_add_test(t, another_domain_with_the_same_host_goes_over_the_idle_connection);
	tcase_add_test(t, another_name_for_the_same_address_is_another_host);
	tcase_add_test(t, an_idle_connection_that_the_peer_ends_is_replaced);
	tcase_add_test(t, a_refused_message_does_not_end_the_connection_for_the_next);
	tcase_add_loop_test(t, a_peer_that_ends_it_behind_too_many_recipients_is_asked_for_fewer_the_next_time, 0, 2);
	tcase_add_test(t, a_reply_of_many_lines_is_an_answer);
	tcase_add_test(t, a_peer_that_says_421_to_a_recipient_is_asked_for_fewer_the_next_time);
	tcase_add_loop_test(t, behind_mailmax_a_new_connection_is_made_at_once, 0, ROWS(one_a_connection));
	tcase_add_test(t, limits_may_take_a_connection_for_each_recipient);
	tcase_add_test(t, a_connection_that_ends_between_two_messages_is_made_anew);
	tcase_add_test(t, after_a_detour_the_best_host_is_tried_first_again);
	tcase_add_test(t, a_connection_counts_until_the_peer_has_let_it_go);
	if (limits_allow(500)) {
		tcase_add_test(t, there_are_a_hundred_connections_in_all);
		tcase_add_loop_test(t, a_domain_that_waits_for_a_connection_has_its_turn_whatever_the_peer_does_between_messages, 0, ROWS(hurried));
	}
	tcase_add_test(t, a_slow_address_of_many_domains_holds_up_nobody);
	tcase_add_test(t, who_waits_long_for_a_connection_is_put_off_without_an_attempt);
	tcase_add_test(t, a_message_that_takes_long_holds_up_no_other);
	tcase_add_test(t, a_burst_goes_over_one_connection);
	tcase_add_test(t, of_equal_hosts_the_one_that_talks_already_gets_all);
	tcase_add_test(t, who_waits_for_a_host_that_does_not_answer_goes_to_an_equal_one);
	tcase_add_test(t, an_address_that_cannot_be_reached_is_tried_once_for_all_who_wait_for_it);
	tcase_add_test(t, a_connection_too_many_for_the_peer_is_no_failure_and_no_more_are_made);
	tcase_add_loop_test(t, what_a_mixed_transaction_refused_is_asked_again_alone_on_the_same_connection, 0, ROWS(mixed));
	tcase_add_test(t, a_mixed_transaction_refused_as_a_whole_is_tried_by_domain);
	tcase_add_loop_test(t, a_mixed_transaction_that_is_put_off_as_one_is_not_asked_again_in_pieces, 0, 5);
	tcase_add_test(t, a_mixed_refusal_is_not_carried_to_another_host);
	tcase_add_test(t, domains_with_the_same_hosts_share_a_transaction);
	tcase_add_loop_test(t, domains_with_other_hosts_do_not_share_a_transaction, 0, 3);
	tcase_add_loop_test(t, what_is_refused_beside_other_domains_is_asked_again_alone_before_it_counts, 0,
		sizeof mixes_refused / sizeof *mixes_refused);
	tcase_add_test(t, a_host_that_refuses_mixes_gets_the_next_message_by_domain);
	tcase_add_loop_test(t, a_mixed_transaction_may_end_anywhere, 0, 28);
	tcase_add_test(t, a_hundred_domains_and_a_thousand_recipients_are_one_transaction);
	tcase_add_test(t, lmtp_gives_each_recipient_its_own_result);
	tcase_add_test(t, an_alias_of_a_routed_domain_goes_its_way_and_the_others_theirs);
	tcase_add_test(t, for_aliases_alone_no_connection_is_made);
	tcase_add_test(t, aliases_are_looked_for_on_a_connection_that_is_there);
	tcase_add_test(t, a_dead_destination_is_probed_by_one_message_and_the_others_leave_with_it);
	tcase_add_loop_test(t, a_domain_that_cannot_get_mail_is_reported_at_once, 0, ROWS(hopeless));
	tcase_add_test(t, a_domain_that_cannot_be_looked_up_waits_and_counts);
	tcase_add_test(t, without_a_resolver_nothing_is_counted_as_an_attempt);
	tcase_add_loop_test(t, what_is_wrong_in_our_settings_is_met_by_one_message_in_growing_pauses, 0, ROWS(setups));
	tcase_add_test(t, a_source_address_that_this_host_has_not_counts_no_attempt);
	tcase_add_test(t, without_a_descriptor_nothing_is_counted_as_an_attempt);
	tcase_add_test(t, a_copy_of_ours_that_cannot_be_read_holds_up_no_other_and_counts_no_attempt);
	tcase_add_test(t, what_waits_goes_the_new_way_when_the_ways_change);
	tcase_add_test(t, what_waits_does_not_leave_over_a_connection_of_former_settings);
	tcase_add_test(t, settings_of_before_are_used_as_long_as_their_own_couriers_and_connections_are_there);
	tcase_add_test(t, ways_may_change_while_bundles_wait_for_a_place);
	tcase_add_test(t, couriers_of_dead_destinations_leave_nothing_behind);
	tcase_add_test(t, an_order_is_a_way_of_its_own);
	tcase_add_loop_test(t, a_domain_has_a_way, 0, ROWS(ways));
	suite_add_tcase(s, t);
	t = tcase_create("policies");
	tcase_add_checked_fixture(t, policy_setup, policy_teardown);
	tcase_add_loop_test(t, mail_goes_as_the_policy_of_its_domain_demands, 0, ROWS(policed));
	tcase_add_test(t, a_policy_is_fetched_before_the_first_mail_leaves);
	tcase_add_test(t, a_policy_that_cannot_be_had_keeps_nothing_back);
	tcase_add_loop_test(t, the_certificate_of_an_alias_is_named_where_its_chain_ends, 0, 2);
	tcase_add_loop_test(t, what_dnssec_says_of_a_host_goes_before_the_policy, 0, 2);
	tcase_add_test(t, a_message_may_ask_that_policies_be_passed_over);
	tcase_add_test(t, a_domain_that_used_tls_and_does_not_any_more_is_told_of);
	tcase_add_loop_test(t, a_peer_that_is_ourselves_gets_no_mail, 0, ROWS(mirrors));
	tcase_add_loop_test(t, mail_goes_through_a_proxy_and_a_fault_of_that_is_ours, 0, ROWS(proxied) - 1);
	tcase_add_loop_test(t, a_proxy_that_is_silent_is_given_up, 0, 2);
	tcase_add_test(t, a_route_has_a_proxy_of_its_own);
	tcase_add_test(t, a_token_is_kept_until_it_is_refused);
	tcase_add_test(t, a_token_whose_time_is_over_is_not_shown);
	tcase_add_test(t, a_new_token_that_is_refused_holds_mail_and_counts_no_attempt);
	tcase_add_loop_test(t, a_token_command_that_fails_holds_mail_counts_no_attempt_and_tells_no_secret, 0, ROWS(no_tokens));
	tcase_add_test(t, mail_waits_for_a_slow_token_command);
	tcase_add_loop_test(t, what_the_administrator_demands_of_a_domain_holds_beside_all_else, 0, ROWS(ruled));
	tcase_add_loop_test(t, a_message_may_not_ask_that_our_own_rules_be_passed_over, 0, 2);
	tcase_add_loop_test(t, a_rule_for_the_host_of_a_route_holds_there, 0, 2);
	tcase_add_loop_test(t, a_certificate_for_a_name_that_nobody_vouches_for_does_not_satisfy_requiretls, 0, 2);
	tcase_add_loop_test(t, requiretls_is_satisfied_by_a_policy_that_holds, 0, ROWS(required));
	tcase_add_loop_test(t, a_line_is_shared_where_the_demands_agree, 0, ROWS(demands));
	suite_add_tcase(s, t);
	t = tcase_create("refused");
	tcase_set_tags(t, "so-error");                  /* tests/cross.sh */
	tcase_add_checked_fixture(t, policy_setup, policy_teardown);
	tcase_add_loop_test(t, mail_goes_through_a_proxy_and_a_fault_of_that_is_ours, ROWS(proxied) - 1, ROWS(proxied));
	suite_add_tcase(s, t);
	return s;
}
