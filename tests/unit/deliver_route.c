/* Which way to a domain. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "deliver/route.h"

START_TEST(a_rule_says_where_to)
{
	static const struct {
		const char *text, *domain;
		enum route_kind kind;
		const char *host;
		bool is_address;
		unsigned port;
		const char *key;
	} row[] = {
		{ "example.org smtp://127.0.0.1:2600", "example.org", ROUTE_SMTP, "127.0.0.1", true, 2600, "smtp://127.0.0.1:2600" },
		{ "* lmtp://[::1]:24", "*", ROUTE_LMTP, "::1", true, 24, "lmtp://[::1]:24" },
		{ "* lmtp://[::1]", "*", ROUTE_LMTP, "::1", true, 24, "lmtp://[::1]:24" },
		{ "\tExample.ORG  SMTP://Relay.Example ", "example.org", ROUTE_SMTP, "relay.example", false, 25, "smtp://relay.example:25" },
		{ ".example.org smtp://mail_relay:65535", ".example.org", ROUTE_SMTP, "mail_relay", false, 65535, "smtp://mail_relay:65535" },
		{ "x.test mx", "x.test", ROUTE_MX, "", false, 0, "" },
		{ "localhost MX", "localhost", ROUTE_MX, "", false, 0, "" },
	};

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		struct route_rule r;
		ck_assert_msg(!route_parse(str_of(row[i].text), &r), "%s", row[i].text);
		ck_assert_str_eq(r.domain, row[i].domain);
		ck_assert_int_eq(r.to.kind, row[i].kind);
		ck_assert_uint_eq(r.to.nhosts, row[i].kind != ROUTE_MX);
		ck_assert_str_eq(r.to.host[0].name, row[i].host);
		ck_assert_int_eq(r.to.host[0].is_address, row[i].is_address);
		ck_assert_uint_eq(r.to.host[0].port, row[i].port);
		ck_assert_str_eq(r.to.key, row[i].key);
		ck_assert_int_eq(r.to.shared, row[i].kind != ROUTE_MX);
	}
}
END_TEST

START_TEST(a_wrong_rule_is_refused_with_a_reason)
{
	static const char *const row[] = {
		"", "example.org", "example.org smtp://", "example.org smtp://:25", "example.org smtp://h:0",
		"example.org smtp://h:65536", "example.org smtp://h:", "example.org smtp://h:2x", "example.org smtp://h/",
		"example.org smtp://::1", "example.org smtp://[::1", "example.org smtp://[h]:25", "example.org smtp://[127.0.0.1]",
		"example.org smtp://[::1]x:25", "example.org smtp://192.0.2.300", "example.org smtp://1.2.3:25",
		"example.org smtp://a..b", "example.org smtp://u@h", "* smtp://u:p@h", "* smtps://u@h", "* smtps://u:@h", "* smtps://:p@h", "* smtps://@h",
		"* smtps://u:%4@h", "* smtps://u:%0ax@h", "* smtps://u:%00@h", "* smtps://192.0.2.1", "* smtp+starttls://[::1]", "* smtps://h user=u",
		"* smtps://h password_file=/x", "* smtps://u:p@h password_file=/x", "* smtps://u:p@h user=u", "* smtps://h user=u password_file=x",
		"* smtps://h tls=no", "* smtps://h x", "* lmtp://h tls=verify", "* lmtp://u:p@h", "* mx user=u password_file=/x", "* lmtp://", "* smtp:///x",
		"* lmtp:///run/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "example.org ftp://h", "example.org smtp:h",
		"example.org mx more", "* mx from=", "* mx from=a b", "* mx from=@x", "* mx from=a@", "* mx from=a@b from=c@d", "* mx from=.", "* mx proxy=http://127.0.0.1", "* mx proxy=socks5://127.0.0.1 proxy=socks5://127.0.0.1", "* lmtp:///x proxy=socks5://127.0.0.1", "* smtps://h token_command=/bin/x", "* smtps://h user=a token_command=x", "* smtps://h user=a token_command=", "* smtps://a:b@h token_command=/x", "* mx from=<a@b>", "example..org mx", ". mx", ".. mx", "*.example.org mx", "[192.0.2.1] mx", "ex/ample mx",
		"example.org smtp://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
	};

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		struct route_rule r;
		ck_assert_msg(route_parse(str_of(row[i]), &r) != NULL, "\"%s\" was taken", row[i]);
	}
}
END_TEST

START_TEST(a_route_may_log_in_and_say_how_far_the_host_is_trusted)
{
	static const struct { const char *text, *user, *password, *file, *host, *key; enum route_tls tls; bool first, path; unsigned port; } row[] = {
		{ "* smtps://anna:secret@h.test", "anna", "secret", "", "h.test", "smtps://anna@h.test:465", ROUTE_TLS_VERIFY, true, false, 465 },
		{ "* smtp+starttls://anna%40x.test:a%3Ab%25%40:c@h.test:2525", "anna@x.test", "a:b%@:c", "", "h.test",
			"smtp+starttls://anna@x.test@h.test:2525", ROUTE_TLS_VERIFY, false, false, 2525 },
		{ "* smtp+starttls://anna@h.test password_file=/etc/pw", "anna", "", "/etc/pw", "h.test", "smtp+starttls://anna@h.test:587",
			ROUTE_TLS_VERIFY, false, false, 587 },
		{ "* smtps://[::1]:465 user=a@b password_file=/p tls=encrypt", "a@b", "", "/p", "::1", "smtps://a@b@[::1]:465 encrypt",
			ROUTE_TLS_ENCRYPT, true, false, 465 },
		{ "* smtp://h.test tls=verify", "", "", "", "h.test", "smtp://h.test:25 verify", ROUTE_TLS_VERIFY, false, false, 25 },
		{ "* lmtp:///run/dovecot/lmtp", "", "", "", "/run/dovecot/lmtp", "lmtp:///run/dovecot/lmtp", ROUTE_TLS_ANY, false, true, 0 },
	};

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		struct route_rule r;
		struct routes all = { .rule = &r, .n = 1 };
		struct route found;
		const char *wrong = route_parse(str_of(row[i].text), &r);

		ck_assert_msg(!wrong, "%s: %s", row[i].text, wrong);
		ck_assert_str_eq(r.login.user, row[i].user);
		ck_assert_str_eq(r.login.password, row[i].password);
		ck_assert_str_eq(r.login.file, row[i].file);
		ck_assert_str_eq(row[i].path ? r.to.path : r.to.host[0].name, row[i].host);
		ck_assert_str_eq(r.to.key, row[i].key);
		ck_assert_int_eq(r.to.tls, row[i].tls);
		ck_assert_int_eq(r.to.tls_first, row[i].first);
		ck_assert_int_eq(r.to.path[0] != '\0', row[i].path);
		ck_assert_uint_eq(r.to.host[0].port, row[i].port);
		route_find(&all, STR("x.test"), NULL, &found);
		ck_assert_ptr_eq(found.login, row[i].user[0] ? &r.login : NULL);
	}
}
END_TEST

START_TEST(a_route_has_several_hosts_in_their_order)
{
	struct route_rule r;
	const char *wrong = route_parse(STR("* smtp+starttls://anna:pw@A.test,b.test:25,c.test password_file="), &r);

	ck_assert_ptr_nonnull(wrong);
	wrong = route_parse(STR("* smtp+starttls://anna:pw@A.test,b.test:25"), &r);
	ck_assert_msg(!wrong, "%s", wrong);
	ck_assert_uint_eq(r.to.nhosts, 2);
	ck_assert_str_eq(r.to.host[0].name, "a.test");
	ck_assert_uint_eq(r.to.host[0].port, 587);
	ck_assert_str_eq(r.to.host[1].name, "b.test");
	ck_assert_uint_eq(r.to.host[1].port, 25);
	ck_assert_str_eq(r.to.key, "smtp+starttls://anna@a.test:587,b.test:25");
	ck_assert(!route_parse(STR("* smtp://[::1]:2,127.0.0.1,h"), &r));
	ck_assert_str_eq(r.to.key, "smtp://[::1]:2,127.0.0.1:25,h:25");
	ck_assert(!route_parse(STR("* smtp://a,b,c,d"), &r));
	ck_assert_ptr_nonnull(route_parse(STR("* smtp://a,b,c,d,e"), &r));
	ck_assert_ptr_nonnull(route_parse(STR("* smtp://a,,b"), &r));
	ck_assert_ptr_nonnull(route_parse(STR("* smtp://a,"), &r));
	ck_assert_ptr_nonnull(route_parse(STR("* smtps://a,192.0.2.1"), &r));
}
END_TEST

START_TEST(two_hosts_whose_names_are_too_long_for_a_key_are_refused)
{
	struct route_rule r;
	char text[800], name[200];

	memset(name, 'a', sizeof name);
	for (size_t i = 50; i < sizeof name; i += 50)
		name[i] = '.';
	name[sizeof name - 1] = '\0';
	snprintf(text, sizeof text, "* smtp://%s", name);
	ck_assert(!route_parse(str_of(text), &r));
	snprintf(text, sizeof text, "* smtp://%s,%s", name, name);
	ck_assert_ptr_nonnull(route_parse(str_of(text), &r));
}
END_TEST

START_TEST(a_name_of_any_length_fits_or_is_refused)
{
	char text[2100];

	for (size_t n = 1; n < 1000; n++) {
		struct route_rule r;
		size_t at = 0;
		for (size_t i = 0; i < n; i++)
			text[at++] = i % 50 == 49 && i + 1 < n ? '.' : 'a';
		memcpy(text + at, " smtp://", 9);
		at += 8;
		for (size_t i = 0; i < n; i++)
			text[at++] = i % 50 == 49 && i + 1 < n ? '.' : 'b';
		ck_assert_int_eq(!route_parse((struct str){ text, at }, &r), n <= 255);
	}
}
END_TEST

static struct routes routes;
static struct route_rule rules[8];
static struct str locals[2];

static void setup(void)
{
	static const char *const text[] = {
		"* smtp://smart.test", ".example.org smtp://below.test", ".deep.example.org mx", "example.org lmtp://127.0.0.1",
		"home.test smtp://exact.test", ".test smtp://test.test", "direct.test mx", "home.test smtp://second.test",
	};

	for (size_t i = 0; i < 8; i++)
		ck_assert_ptr_null(route_parse(str_of(text[i]), &rules[i]));
	locals[0] = STR("home.test");
	locals[1] = STR("local.test");
	routes = (struct routes){ .rule = rules, .n = 8, .local = locals, .nlocal = 2, .smtp_port = 2525 };
}

START_TEST(the_closest_rule_counts)
{
	static const struct { const char *domain, *key; } row[] = {
		{ "example.org", "lmtp://127.0.0.1:24" },
		{ "EXAMPLE.org", "lmtp://127.0.0.1:24" },
		{ "a.example.org", "smtp://below.test:25" },
		{ "a.deep.example.org", "mx a.deep.example.org" },
		{ "deep.example.org", "smtp://below.test:25" },
		{ "notexample.org", "smtp://smart.test:25" },
		{ "elsewhere.example", "smtp://smart.test:25" },
		{ "home.test", "smtp://exact.test:25" },
		{ "local.test", "local" },
		{ "x.local.test", "smtp://test.test:25" },
		{ "direct.test", "mx direct.test" },
		{ "[192.0.2.1]", "smtp://smart.test:25" },
		{ "", "local" },
	};

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		struct route r;
		route_find(&routes, str_of(row[i].domain), NULL, &r);
		ck_assert_str_eq(r.key, row[i].key);
	}
}
END_TEST

START_TEST(a_rule_by_sender_counts_where_no_rule_names_the_domain_more_closely)
{
	static const char *const text[] = {
		"* smtp://all.test", "* smtp://below.test from=.example.org", "* smtp://domain.test from=Example.org", "* smtp://anna.test from=Anna@example.org",
		"* mx from=<>", "partner.test smtp://partner.test", "partner.test smtp://ben.test from=ben@x.example", "home.test smtp://moved.test from=ben@x.example",
	};
	static const struct { const char *from, *domain, *key; } row[] = {
		{ "anna@example.org", "a.test", "smtp://anna.test:25" },
		{ "ANNA@EXAMPLE.ORG", "a.test", "smtp://anna.test:25" },
		{ "cara@example.org", "a.test", "smtp://domain.test:25" },
		{ "anna@sub.example.org", "a.test", "smtp://below.test:25" },
		{ "anna@notexample.org", "a.test", "smtp://all.test:25" },
		{ "", "a.test", "mx a.test" },
		{ "anna@example.org", "partner.test", "smtp://partner.test:25" },
		{ "ben@x.example", "partner.test", "smtp://ben.test:25" },
		{ "anna@example.org", "home.test", "local" },
		{ "ben@x.example", "home.test", "smtp://moved.test:25" },
		{ "anna@example.org", "local.test", "local" },
		{ NULL, "a.test", "smtp://all.test:25 ?" },
		{ NULL, "partner.test", "smtp://partner.test:25 ?" },
		{ NULL, "home.test", "local ?" },
		{ NULL, "local.test", "local" },
	};

	for (size_t i = 0; i < 8; i++)
		ck_assert_ptr_null(route_parse(str_of(text[i]), &rules[i]));
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		struct addr from = { .domain = str_of(row[i].from) };
		char key[400];
		struct route r;

		str_cut_last(&from.domain, '@', &from.local);
		route_find(&routes, str_of(row[i].domain), row[i].from ? &from : NULL, &r);
		snprintf(key, sizeof key, "%s%s", r.key, r.by_sender ? " ?" : "");
		ck_assert_msg(!strcmp(key, row[i].key), "%s to %s: %s", row[i].from ? row[i].from : "?", row[i].domain, key);
	}
}
END_TEST

START_TEST(the_same_host_with_another_login_is_another_way)
{
	static const char *const text[] = {
		"* smtps://anna:one@h.test", "a.test smtps://anna:two@h.test", "b.test smtps://anna:one@h.test", "* smtps://ben:x@h.test from=ben@x.example",
	};

	for (size_t i = 0; i < 4; i++)
		ck_assert_ptr_null(route_parse(str_of(text[i]), &rules[i]));
	routes.n = 4;
	routes_tell_apart(&routes);
	ck_assert_str_ne(rules[0].to.key, rules[1].to.key);
	ck_assert_str_eq(rules[0].to.key, rules[2].to.key);
	ck_assert_str_ne(rules[0].to.key, rules[3].to.key);
}
END_TEST

START_TEST(a_rule_may_have_a_proxy_and_a_token_command)
{
	static const char *const text[] = {
		"* mx proxy=socks5://127.0.0.1:9050", "a.test smtps://h.test proxy=socks5://me:pw@[::1] user=anna token_command=/usr/bin/token  anna x=y ",
		"b.test smtps://h.test proxy=socks5://me:other@[::1] user=anna token_command=/usr/bin/token  anna x=y ",
	};
	struct route r;

	for (size_t i = 0; i < 3; i++)
		ck_assert_ptr_null(route_parse(str_of(text[i]), &rules[i]));
	routes.n = 3;
	routes_tell_apart(&routes);
	route_find(&routes, STR("x.example"), NULL, &r);
	ck_assert_str_eq(r.key, "mx x.example by 127.0.0.1:9050");
	ck_assert_str_eq(r.proxy->name, "127.0.0.1:9050");
	route_find(&routes, STR("a.test"), NULL, &r);
	ck_assert_str_eq(r.key, "smtps://anna@h.test:465 by [::1]:1080");
	ck_assert_str_eq(r.login->command, "/usr/bin/token  anna x=y");
	ck_assert_str_eq(r.proxy->password, "pw");
	route_find(&routes, STR("b.test"), NULL, &r);
	ck_assert_str_eq(r.key, "smtps://anna@h.test:465 by [::1]:1080 #3");
	route_find(&routes, STR("local.test"), NULL, &r);
	ck_assert_ptr_null(r.proxy);
}
END_TEST

START_TEST(an_ordered_way_is_a_host_of_the_rules_or_any_other)
{
	static const struct { const char *way, *key, *login; } row[] = {
		{ "mx", "mx some.example", NULL },
		{ "relay.test", "smtps://anna@relay.test:465", "anna" },
		{ "RELAY.test", "smtps://anna@relay.test:465", "anna" },
		{ "smtps://relay.test", "smtps://anna@relay.test:465", "anna" },
		{ "smtp://relay.test", "smtp://relay.test:25", NULL },
		{ "relay.test:26", "smtp://relay.test:26", NULL },
		{ "relay.test:465", "smtps://anna@relay.test:465", "anna" },
		{ "other.test", "smtp://other.test:25", NULL },
		{ "other.test:2525", "smtp://other.test:2525", NULL },
		{ "[2001:db8::1]", "smtp://[2001:db8::1]:25", NULL },
		{ "lmtp:///run/x", "lmtp:///run/x", NULL },
		{ "lmtp://box.test", "lmtp://box.test:24", NULL },
		{ "smtps://ben:x@relay.test", NULL, NULL },
		{ "", NULL, NULL }, { "a b", NULL, NULL }, { "gopher://x", NULL, NULL }, { "192.0.2.300", NULL, NULL },
	};
	struct route r;

	ck_assert_ptr_null(route_parse(STR("x.test smtps://anna:one@relay.test"), &rules[0]));
	ck_assert_ptr_null(route_parse(STR("y.test mx"), &rules[1]));
	routes.n = 2;
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		const char *wrong = route_to(&routes, str_of(row[i].way), STR("some.example"), &r);

		ck_assert_msg(!wrong == (row[i].key != NULL), "%s: %s", row[i].way, wrong ? wrong : "right");
		if (wrong)
			continue;
		ck_assert_str_eq(r.key, row[i].key);
		ck_assert(row[i].login ? r.login && !strcmp(r.login->user, row[i].login) : !r.login);
	}
}
END_TEST

START_TEST(without_a_rule_the_mx_says)
{
	struct route r;

	routes.n = 0;
	route_find(&routes, STR("Some.Example"), NULL, &r);
	ck_assert_int_eq(r.kind, ROUTE_MX);
	ck_assert_str_eq(r.domain, "some.example");
	ck_assert_str_eq(r.key, "mx some.example");
	ck_assert_uint_eq(r.port, 2525);
	ck_assert(!r.shared);
	route_find(&routes, STR("local.test"), NULL, &r);
	ck_assert_int_eq(r.kind, ROUTE_LOCAL);
	ck_assert(!r.shared);
	routes.smtp_port = 0;
	route_find(&routes, STR("some.example"), NULL, &r);
	ck_assert_uint_eq(r.port, 25);
}
END_TEST

START_TEST(local_domains_are_local_in_any_case)
{
	ck_assert(route_is_local(&routes, STR("home.test")));
	ck_assert(route_is_local(&routes, STR("LOCAL.test")));
	ck_assert(route_is_local(&routes, STR("")));
	ck_assert(!route_is_local(&routes, STR("x.home.test")));
	ck_assert(!route_is_local(&routes, STR("home.tes")));
}
END_TEST

Suite *deliver_route_suite(void);
Suite *deliver_route_suite(void)
{
	Suite *s = suite_create("deliver_route");
	TCase *t = tcase_create("route");

	tcase_add_checked_fixture(t, setup, NULL);
	tcase_add_test(t, a_rule_says_where_to);
	tcase_add_test(t, a_wrong_rule_is_refused_with_a_reason);
	tcase_add_test(t, a_route_may_log_in_and_say_how_far_the_host_is_trusted);
	tcase_add_test(t, a_route_has_several_hosts_in_their_order);
	tcase_add_test(t, two_hosts_whose_names_are_too_long_for_a_key_are_refused);
	tcase_add_test(t, a_name_of_any_length_fits_or_is_refused);
	tcase_add_test(t, the_closest_rule_counts);
	tcase_add_test(t, a_rule_by_sender_counts_where_no_rule_names_the_domain_more_closely);
	tcase_add_test(t, the_same_host_with_another_login_is_another_way);
	tcase_add_test(t, a_rule_may_have_a_proxy_and_a_token_command);
	tcase_add_test(t, an_ordered_way_is_a_host_of_the_rules_or_any_other);
	tcase_add_test(t, without_a_rule_the_mx_says);
	tcase_add_test(t, local_domains_are_local_in_any_case);
	suite_add_tcase(s, t);
	return s;
}
