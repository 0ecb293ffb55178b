/* iprev: an invented DNS and the result (RFC 8601 3). */
#include <arpa/inet.h>
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "policy/iprev.h"

static struct facts *table;
static void nothing(struct task *t) { (void)t; }
static struct task wake = { .run = nothing };

/* Answers when the row is over, too late. */
static struct fact_ticket *asked[IPREV_LOOKUPS];
static size_t nasked;

static void ask(struct fact_source *source, enum fact_kind kind, struct str name, struct fact_ticket *ticket)
{
	(void)source, (void)kind, (void)name;
	ck_assert_uint_lt(nasked, IPREV_LOOKUPS);
	asked[nasked++] = ticket;
}
static struct fact_source world = { .ask = ask };

/* "192.0.2.7 P name name", "name A 192.0.2.7", "name 6 2001:db8::1", or an outcome instead of the data. */
static void put(const char *line)
{
	struct str rest = str_of(line), owner, type, word;
	static unsigned char octets[16][16];
	struct record r[16];
	struct fact f = { .outcome = FOUND, .record = r, .secure = true };
	enum fact_kind kind;
	char text[64];

	ck_assert(str_word(&rest, &owner) && str_word(&rest, &type));
	kind = type.p[0] == 'P' ? FACT_PTR : type.p[0] == 'A' ? FACT_A : FACT_AAAA;
	while (str_word(&rest, &word)) {
		if (word.p[0] == '!') {
			f.outcome = str_eq(word, STR("!none")) ? NO_DATA : str_eq(word, STR("!noname")) ? NO_NAME : UNKNOWN;
			break;
		}
		r[f.n] = (struct record){ .data = word };
		if (kind != FACT_PTR) {
			ck_assert(str_copy(text, sizeof text, word));
			ck_assert_int_eq(inet_pton(kind == FACT_A ? AF_INET : AF_INET6, text, octets[f.n]), 1);
			r[f.n].data = (struct str){ (char *)octets[f.n], kind == FACT_A ? 4 : 16 };
		}
		f.n++;
	}
	facts_put(table, kind, owner, &f);
}

static const struct {
	const char *ip, *out;           /* "pass name" */
	const char *facts[10];
} rows[] = {
	{ "192.0.2.7", "wait", { NULL } },
	{ "192.0.2.7", "permerror ", { "192.0.2.7 P !noname" } },
	{ "192.0.2.7", "permerror ", { "192.0.2.7 P !none" } },
	{ "192.0.2.7", "temperror ", { "192.0.2.7 P !unknown" } },
	{ "192.0.2.7", "wait", { "192.0.2.7 P mx.test" } },
	{ "192.0.2.7", "pass mx.test", { "192.0.2.7 P mx.test", "mx.test A 192.0.2.7" } },
	{ "::ffff:192.0.2.7", "pass mx.test", { "192.0.2.7 P mx.test", "mx.test A 192.0.2.7" } },
	{ "192.0.2.7", "pass mx.test", { "192.0.2.7 P other.test mx.test", "other.test A !noname", "mx.test A 192.0.2.1 192.0.2.7" } },
	{ "192.0.2.7", "pass mx.test", { "192.0.2.7 P other.test mx.test", "other.test A !unknown", "mx.test A 192.0.2.7" } },
	{ "192.0.2.7", "pass a.test", { "192.0.2.7 P a.test mx.test", "a.test A 192.0.2.7", "mx.test A 192.0.2.7" } },
	{ "192.0.2.7", "wait", { "192.0.2.7 P a.test mx.test", "a.test A 192.0.2.7" } },
	{ "192.0.2.7", "fail mx.test", { "192.0.2.7 P mx.test", "mx.test A 192.0.2.8" } },
	{ "192.0.2.7", "fail mx.test", { "192.0.2.7 P mx.test", "mx.test A !none" } },
	{ "192.0.2.7", "temperror ", { "192.0.2.7 P mx.test other.test", "mx.test A !unknown", "other.test A !none" } },
	{ "2001:db8::7", "pass six.test", { "2001:db8::7 P six.test", "six.test 6 2001:db8::7", "six.test A 192.0.2.7" } },
	{ "2001:db8::7", "fail six.test", { "2001:db8::7 P six.test", "six.test 6 2001:db8::8" } },
	/* Names beyond the fifth are not looked at. */
	{ "192.0.2.7", "fail a.test", { "192.0.2.7 P a.test b.test c.test d.test e.test f.test", "a.test A !none", "b.test A !none", "c.test A !none",
		"d.test A !none", "e.test A !none", "f.test A 192.0.2.7" } },
};

START_TEST(an_address_has_a_name_that_leads_back_or_not)
{
	struct sockaddr_storage peer = { .ss_family = strchr(rows[_i].ip, ':') ? AF_INET6 : AF_INET };
	void *at = peer.ss_family == AF_INET ? (void *)&((struct sockaddr_in *)&peer)->sin_addr : (void *)&((struct sockaddr_in6 *)&peer)->sin6_addr;
	static const struct fact none = { .outcome = NO_DATA };
	struct iprev_result r;
	char out[300] = "wait";
	struct ip ip;

	for (int k = FACT_A; k <= FACT_PTR; k++)
		facts_source((enum fact_kind)k, &world);
	table = facts_new(&wake, IPREV_LOOKUPS);
	ck_assert_int_eq(inet_pton(peer.ss_family, rows[_i].ip, at), 1);
	ck_assert(ip_of((struct sockaddr *)&peer, &ip));
	for (size_t i = 0; i < 10 && rows[_i].facts[i]; i++)
		put(rows[_i].facts[i]);
	if (iprev_check(table, &ip, &r) == ACCEPT)
		snprintf(out, sizeof out, "%s %s", iprev_name(r.code), r.name);
	ck_assert_str_eq(out, rows[_i].out);
	if (!strcmp(out, "pass mx.test"))
		ck_assert(r.secure);
	facts_free(table);
	while (nasked)
		fact_answer(asked[--nasked], &none);
}
END_TEST

Suite *policy_iprev_suite(void);
Suite *policy_iprev_suite(void)
{
	Suite *s = suite_create("policy_iprev");
	TCase *t = tcase_create("iprev");

	tcase_add_loop_test(t, an_address_has_a_name_that_leads_back_or_not, 0, (int)(sizeof rows / sizeof *rows));
	suite_add_tcase(s, t);
	return s;
}
