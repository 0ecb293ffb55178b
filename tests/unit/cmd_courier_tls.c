/* Couriers and TLS: what happens between the queue and a host that offers it. */
#include "cmd/courier.h"

#include <arpa/inet.h>
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "deliver/lame.h"
#include "lib/facts.h"
#include "lib/log.h"
#include "lib/loop.h"
#include "tests/peer.h"
#include "tests/tree.h"

Suite *cmd_courier_tls_suite(void);

static char dir[200];
static struct routes routes;
static struct route_rule rule;
static struct courier_config config;
static struct mx_self self;
static struct buf told;                         /* one line a result */

static void settled(void *arg, const struct mail *m, const struct rcpt *r, const struct result *res)
{
	static const char *const words[] = { "delivered", "deferred", "failed" };

	(void)arg;
	(void)m;
	(void)r;
	buf_printf(&told, "%s %s %s\n", words[res->what], res->tls && *res->tls ? "inside" : "in clear", res->reply->text);
}

static bool is_own(const struct sockaddr *a)
{
	(void)a;
	return false;
}

/* A queue whose mail all goes to this peer. */
static void start(const struct peer *p, enum client_tls tls)
{
	static struct queue_config queue;
	const char *tmp = getenv("TMPDIR");
	char text[100], why[300] = "";
	socklen_t len;
	const struct sockaddr_in *in = (const void *)peer_address(p, &len);

	snprintf(text, sizeof text, "* smtp://127.0.0.1:%u", (unsigned)ntohs(in->sin_port));
	ck_assert_ptr_null(route_parse(str_of(text), &rule));
	routes = (struct routes){ .rule = &rule, .n = 1, .smtp_port = 25 };
	self = (struct mx_self){ .hostname = "client.test", .is_own = is_own };
	config = (struct courier_config){ .hostname = "client.test", .routes = &routes, .self = &self, .tls = tls };
	courier_configure(&config);
	snprintf(dir, sizeof dir, "%s/fardel-courier.XXXXXX", tmp ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	log_threshold(LOG_ERROR);
	queue = (struct queue_config){ .dir = dir, .schedule = true, .deliver = true, .inline_sync = true, .retry_first = 3600,
		.retry_max = 3600, .lifetime = 86400, .message_size = 1 << 20, .couriers = 4, .way = courier_way, .settled = settled };
	ck_assert_msg(queue_open(&queue, why, sizeof why) == 0, "%s", why);
	lame_forget_all();
	buf_clear(&told);
}

static void committed(void *arg, bool ok)
{
	ck_assert(ok);
	*(bool *)arg = true;
}

static const struct str message = { "Subject: x\r\n\r\nx\r\n", 17 };

/* Puts a message in and turns the loop until its recipient has been told. */
static void deliver(void)
{
	static struct envelope e;
	struct sender from;
	struct recipient to;
	struct draft *d;
	size_t before = told.n;
	bool done = false;

	memset(&e, 0, sizeof e);
	ck_assert_ptr_null(parse_mail(STR("FROM:<a@x.test>"), PARAM_ALL, &from).text);
	ck_assert_ptr_null(parse_rcpt(STR("TO:<b@y.test>"), PARAM_ALL, false, &to).text);
	ck_assert(envelope_sender(&e, &from) && envelope_origin(&e, "test") && envelope_rcpt(&e, &to));
	d = queue_draft(&e, NULL);
	ck_assert_ptr_nonnull(d);
	ck_assert_int_eq(draft_write(d, message.p, message.n), 0);
	queue_commit(d, committed, &done);
	envelope_free(&e);
	for (int i = 0; i < 5000 && (!done || told.n == before); i++)
		loop_turn(10);
	ck_assert(done);
	for (int i = 0; i < 200; i++)           /* for the courier to leave */
		loop_turn(1000);
}

static void stop(void)
{
	queue_drain();
	for (int i = 0; i < 1000 && !queue_drained(); i++)
		loop_turn(1000);
	queue_close();
	tree_remove(dir);
	buf_free(&told);
}

static void with_a_virtual_clock(void) { loop_virtual_clock(1796000000); }

#define HELLO "S: 220 mx\nC: EHLO client.test\nS: 250-mx\nS: 250 STARTTLS\n"
#define SECURE "C: STARTTLS\nS: 220 go\ntls\nC: EHLO client.test\nS: 250 mx\n"
#define MAIL "C: MAIL*\nS: 250 ok\nC: RCPT*\nS: 250 ok\nC: DATA\nS: 354 go\nM:\nS: 250 2.0.0 taken\nC: QUIT\nS: 221 bye\nclose\n"

static const struct { enum client_tls tls; const char *script, *told; } rows[] = {
	{ CLIENT_TLS_MAY, HELLO SECURE MAIL, "delivered inside taken\n" },
	{ CLIENT_TLS_MUST, HELLO SECURE MAIL, "delivered inside taken\n" },
	{ CLIENT_TLS_NO, HELLO MAIL, "delivered in clear taken\n" },
	/* Refused, and broken in all ways: the same address again, in clear. */
	{ CLIENT_TLS_MAY, HELLO "C: STARTTLS\nS: 454 4.7.0 not now\nclose\n" HELLO MAIL, "delivered in clear taken\n" },
	{ CLIENT_TLS_MAY, HELLO "C: STARTTLS\nS: 502 5.5.1 what\nclose\n" HELLO MAIL, "delivered in clear taken\n" },
	{ CLIENT_TLS_MAY, HELLO "C: STARTTLS\nS: 220 go\ntake 5\nS: garbage\nclose\n" HELLO MAIL, "delivered in clear taken\n" },
	{ CLIENT_TLS_MAY, HELLO "C: STARTTLS\nS: 220 go\nclose\n" HELLO MAIL, "delivered in clear taken\n" },
	{ CLIENT_TLS_MAY, HELLO "C: STARTTLS\nclose\n" HELLO MAIL, "delivered in clear taken\n" },
	{ CLIENT_TLS_MAY, HELLO "C: STARTTLS\nS: 220 go\ntls\nC: EHLO*\nS: 421 no\nclose\n" HELLO MAIL, "delivered in clear taken\n" },
	/* Nothing goes in clear where TLS is a must. */
	{ CLIENT_TLS_MUST, HELLO "C: STARTTLS\nS: 454 4.7.0 not now\nclose\n", "deferred in clear STARTTLS: not now\n" },
	{ CLIENT_TLS_MUST, HELLO "C: STARTTLS\nS: 220 go\ntake 5\nW: \\x15\\x03\\x03\\x00\\x02\\x02\\x46\nclose\n",
		"deferred in clear TLS handshake failed: peer offers only TLS 1.3, this build has up to 1.2\n" },
};

START_TEST(mail_goes_the_way_that_was_wanted)
{
	struct peer *p = peer_new_tcp(rows[_i].script);

	peer_message(p, message);
	start(p, rows[_i].tls);
	deliver();
	ck_assert_msg(!peer_trouble(p), "%s; told: %s", peer_trouble(p), buf_cstr(&told));
	ck_assert_str_eq(buf_cstr(&told), rows[_i].told);
	stop();
	peer_free(p);
}
END_TEST

START_TEST(an_address_that_tls_fails_with_is_left_in_peace_for_an_hour)
{
	struct peer *p = peer_new_tcp(HELLO "C: STARTTLS\nS: 454 4.7.0 not now\nclose\n" HELLO MAIL HELLO MAIL HELLO SECURE MAIL);

	peer_message(p, message);
	start(p, CLIENT_TLS_MAY);
	deliver();
	deliver();
	loop_advance(3600 * 1000);
	deliver();
	ck_assert_msg(!peer_trouble(p), "%s", peer_trouble(p));
	ck_assert_str_eq(buf_cstr(&told), "delivered in clear taken\ndelivered in clear taken\ndelivered inside taken\n");
	stop();
	peer_free(p);
}
END_TEST

/* ---- what is told of sessions, for reports (RFC 8460) */

static struct buf came;
static bool pinned, unusable, bogus, unfetched;
static const char *policy, *mx;

static void note(const struct tlsrpt_session *s)
{
	buf_printf(&came, STR_FMT " %s %s " STR_FMT " " STR_FMT "\n", STR_ARG(s->domain), tlsrpt_type_name[s->type], tlsrpt_result_name[s->result],
		STR_ARG(s->mx), STR_ARG(s->ip));
	ck_assert((s->result == TLSRPT_OK) == !s->why.n);
	ck_assert(s->type != TLSRPT_TLSA || bogus || s->policy.n == (unusable ? 0 : strlen("3 1 1 ") + 64));
}

static void answer(struct fact_source *s, enum fact_kind kind, struct str name, struct fact_ticket *t)
{
	static const char pin[35] = { 3, 1, 1 }, none[35] = { 0, 1, 1 };
	struct record r = { .data = str_of(mx) };
	struct fact f = { .outcome = FOUND, .secure = pinned || unusable || bogus, .n = 1, .record = &r };

	(void)s;
	if (kind == FACT_A)
		r.data = STR("\x7f\0\0\1");
	else if (kind == FACT_TXT)
		r.data = STR("v=STSv1; id=1;");
	else if (kind == FACT_POLICY && policy)
		r.data = str_of(policy);
	else if (kind == FACT_TLSA && (pinned || unusable))
		r.data = (struct str){ unusable ? none : pin, 35 };
	else if (kind == FACT_POLICY && unfetched)
		f = (struct fact){ .outcome = UNKNOWN, .why = "the policy host is asleep" };
	else if (kind == FACT_TLSA && bogus)
		f = (struct fact){ .outcome = UNKNOWN, .why = "SERVFAIL" };
	else if (kind != FACT_MX || !str_eq(name, STR("y.test")))
		f.outcome = NO_DATA;
	fact_answer(t, &f);
}

static void start_mx(const struct peer *p, enum client_tls tls, const char *trust)
{
	static struct fact_source world = { answer };
	socklen_t len;

	start(p, tls);
	routes = (struct routes){ .smtp_port = ntohs(((const struct sockaddr_in *)(const void *)peer_address(p, &len))->sin_port) };
	self.dane = self.mta_sts = true;
	config.trust = tls_trust_new(trust);
	config.note_tls = note;
	for (int k = FACT_A; k <= FACT_TLSA; k++)
		facts_source((enum fact_kind)k, &world);
	facts_source(FACT_POLICY, &world);
}

#define HOSTS(mode, mx) "version: STSv1\nmode: " mode "\nmx: " mx "\nmax_age: 86400\n"
#define BREAKS "C: STARTTLS\nS: 220 go\ntls\neof\n"
static const struct {
	enum client_tls tls;
	enum { PLAIN, PINNED, UNUSABLE, BOGUS, UNFETCHED } world;
	const char *policy, *script, *came, *mx, *trust;
} outcomes[] = {
	{ CLIENT_TLS_MAY, PLAIN, NULL, HELLO SECURE MAIL, "y.test no-policy-found ok mx1.test 127.0.0.1\n", NULL, NULL },
	{ CLIENT_TLS_MAY, PLAIN, NULL, "S: 220 mx\nC: EHLO client.test\nS: 250 mx\n" MAIL, "y.test no-policy-found starttls-not-supported mx1.test 127.0.0.1\n", NULL, NULL },
	{ CLIENT_TLS_MUST, PLAIN, NULL, "S: 220 mx\nC: EHLO client.test\nS: 250 mx\nC: QUIT\nS: 221 bye\nclose\n",
		"y.test no-policy-found starttls-not-supported mx1.test 127.0.0.1\n", NULL, NULL },
	/* In clear afterwards is no session of its own. */
	{ CLIENT_TLS_MAY, PLAIN, NULL, HELLO "C: STARTTLS\nS: 454 4.7.0 not now\nclose\n" HELLO MAIL, "y.test no-policy-found validation-failure mx1.test 127.0.0.1\n", NULL, NULL },
	{ CLIENT_TLS_NO, PLAIN, NULL, HELLO MAIL, "", NULL, NULL },
	{ CLIENT_TLS_MAY, PLAIN, HOSTS("enforce", "mx1.test"), HELLO SECURE MAIL, "y.test sts ok mx1.test 127.0.0.1\n", NULL, NULL },
	{ CLIENT_TLS_MAY, PLAIN, HOSTS("enforce", "mx1.test"), HELLO BREAKS, "y.test sts certificate-not-trusted mx1.test 127.0.0.1\n",
		NULL, "tests/pki/other.crt" },
	{ CLIENT_TLS_MAY, PLAIN, HOSTS("testing", "mx1.test"), HELLO BREAKS HELLO SECURE MAIL, "y.test sts certificate-not-trusted mx1.test 127.0.0.1\n",
		NULL, "tests/pki/other.crt" },
	{ CLIENT_TLS_MAY, PLAIN, HOSTS("enforce", "mx9.test"), HELLO BREAKS, "y.test sts certificate-host-mismatch mx9.test 127.0.0.1\n",
		"mx9.test", "tests/pki/ec.crt" },
	{ CLIENT_TLS_MAY, PLAIN, HOSTS("testing", "mx2.test"), HELLO SECURE MAIL, "y.test sts validation-failure mx1.test 127.0.0.1\n", NULL, NULL },
	{ CLIENT_TLS_MAY, PLAIN, HOSTS("enforce", "mx2.test"), "", "y.test sts validation-failure mx1.test 127.0.0.1\n", NULL, NULL },
	{ CLIENT_TLS_MAY, PINNED, NULL, HELLO BREAKS, "y.test tlsa certificate-not-trusted mx1.test 127.0.0.1\n", NULL, NULL },
	{ CLIENT_TLS_MAY, BOGUS, NULL, "", "y.test tlsa dnssec-invalid mx1.test \n", NULL, NULL },
	{ CLIENT_TLS_MAY, UNFETCHED, NULL, HELLO SECURE MAIL, "y.test sts sts-policy-fetch-error mx1.test 127.0.0.1\n", NULL, NULL },
	{ CLIENT_TLS_MAY, UNUSABLE, NULL, HELLO SECURE MAIL, "y.test tlsa tlsa-invalid mx1.test 127.0.0.1\n", NULL, NULL },
};

START_TEST(what_came_of_tls_is_told_once)
{
	struct peer *p = peer_new_tcp(outcomes[_i].script);

	peer_message(p, message);
	pinned = outcomes[_i].world == PINNED;
	unusable = outcomes[_i].world == UNUSABLE;
	bogus = outcomes[_i].world == BOGUS;
	unfetched = outcomes[_i].world == UNFETCHED;
	policy = outcomes[_i].policy;
	mx = outcomes[_i].mx ? outcomes[_i].mx : "mx1.test";
	buf_clear(&came);
	start_mx(p, outcomes[_i].tls, outcomes[_i].trust ? outcomes[_i].trust : "tests/pki/sts.crt");
	deliver();
	ck_assert_str_eq(buf_cstr(&came), outcomes[_i].came);
	stop();
	tls_trust_free(config.trust);
	peer_free(p);
	buf_free(&came);
}
END_TEST

Suite *cmd_courier_tls_suite(void)
{
	Suite *s = suite_create("cmd_courier_tls");
	TCase *t = tcase_create("tls");

	tcase_add_checked_fixture(t, with_a_virtual_clock, NULL);
	tcase_add_loop_test(t, mail_goes_the_way_that_was_wanted, 0, sizeof rows / sizeof *rows);
	tcase_add_test(t, an_address_that_tls_fails_with_is_left_in_peace_for_an_hour);
	tcase_add_loop_test(t, what_came_of_tls_is_told_once, 0, sizeof outcomes / sizeof *outcomes);
	suite_add_tcase(s, t);
	return s;
}
