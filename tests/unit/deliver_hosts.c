/* /etc/hosts for the hosts of routes. */
#include "deliver/hosts.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "deliver/mx.h"

Suite *deliver_hosts_suite(void);

static char file[200];
static struct facts *facts;
static struct task wake;

static void nothing(struct task *t) { (void)t; }

static void setup(void)
{
	const char *tmp = getenv("TMPDIR");
	FILE *f;
	int fd;

	snprintf(file, sizeof file, "%.150s/hosts.XXXXXX", tmp ? tmp : "/tmp");
	fd = mkstemp(file);
	ck_assert_int_ne(fd, -1);
	f = fdopen(fd, "w");
	fputs("# the table\n192.0.2.1\tmail.example.org  Relay # not.this\n\nnonsense relay\n2001:db8::1 relay\n192.0.2.2 other\n192.0.2.3 last", f);
	fclose(f);
	hosts_file(file);
	facts_source(FACT_HOSTS, hosts_source());
	wake.run = nothing;
	facts = facts_new(&wake, MX_LOOKUPS);
}

static void teardown(void)
{
	facts_free(facts);
	facts_source(FACT_HOSTS, NULL);
	hosts_file(NULL);
	unlink(file);
}

START_TEST(a_name_or_an_alias_is_found_with_all_its_addresses)
{
	static const struct { const char *name; size_t n; } row[] = {
		{ "mail.example.org", 1 }, { "RELAY", 2 }, { "other", 1 }, { "last", 1 }, { "not.this", 0 }, { "192.0.2.1", 0 }, { "nobody", 0 },
	};

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		const struct fact *f = fact(facts, FACT_HOSTS, str_of(row[i].name));

		ck_assert_ptr_nonnull(f);
		ck_assert_int_eq(f->outcome, row[i].n ? FOUND : NO_NAME);
		ck_assert_uint_eq(f->n, row[i].n);
	}
}
END_TEST

START_TEST(a_route_is_looked_up_there_first_and_dns_is_not_asked)
{
	struct route r = { .kind = ROUTE_SMTP, .nhosts = 1, .host = { { .name = "relay", .port = 587 } } };
	struct mx_result out;

	ck_assert_int_eq(mx_find(facts, &r, NULL, 1, &out), ACCEPT);
	ck_assert_uint_eq(out.n, 2);
	ck_assert_str_eq(out.at[0].host, "relay");
	ck_assert_int_eq(out.at[0].addr.ss_family, AF_INET);
	ck_assert_int_eq(out.at[1].addr.ss_family, AF_INET6);
	ck_assert_uint_eq(facts_pending(facts), 0);
}
END_TEST

START_TEST(only_the_wanted_family_is_taken_from_there)
{
	static const struct { enum inet inet; int family; } row[] = { { INET_ONLY4, AF_INET }, { INET_ONLY6, AF_INET6 } };
	struct route r = { .kind = ROUTE_SMTP, .nhosts = 1, .host = { { .name = "relay", .port = 587 } } };
	struct mx_result out;

	for (size_t i = 0; i < 2; i++) {
		struct mx_self self = { .hostname = "me.test", .inet = row[i].inet };

		ck_assert_int_eq(mx_find(facts, &r, &self, 1, &out), ACCEPT);
		ck_assert_uint_eq(out.n, 1);
		ck_assert_int_eq(out.at[0].addr.ss_family, row[i].family);
	}
}
END_TEST

START_TEST(a_socket_of_this_host_needs_no_lookup)
{
	struct route_rule rule;
	struct mx_result out;

	ck_assert_ptr_null(route_parse(STR("x.test lmtp:///run/lmtp.sock"), &rule));
	ck_assert_int_eq(mx_find(facts, &rule.to, NULL, 1, &out), ACCEPT);
	ck_assert_uint_eq(out.n, 1);
	ck_assert_int_eq(out.at[0].addr.ss_family, AF_UNIX);
	ck_assert_str_eq(out.at[0].host, "/run/lmtp.sock");
}
END_TEST

START_TEST(without_a_file_nobody_is_known)
{
	unlink(file);
	ck_assert_int_eq(fact(facts, FACT_HOSTS, STR("relay"))->outcome, NO_NAME);
}
END_TEST

Suite *deliver_hosts_suite(void)
{
	Suite *s = suite_create("deliver_hosts");
	TCase *t = tcase_create("hosts");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, a_name_or_an_alias_is_found_with_all_its_addresses);
	tcase_add_test(t, a_route_is_looked_up_there_first_and_dns_is_not_asked);
	tcase_add_test(t, only_the_wanted_family_is_taken_from_there);
	tcase_add_test(t, a_socket_of_this_host_needs_no_lookup);
	tcase_add_test(t, without_a_file_nobody_is_known);
	suite_add_tcase(s, t);
	return s;
}
