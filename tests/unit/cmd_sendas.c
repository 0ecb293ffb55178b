/* send_as: which addresses leave under another name, and what becomes of the fields that hold them. */
#include <check.h>
#include <stdlib.h>

#include "cmd/sendas.h"
#include "parse.h"

Suite *cmd_sendas_suite(void);

static struct sendas rule[8];
static struct sendas_rules rules = { .rule = rule };

static void load(const char *const *text)
{
	for (rules.n = 0; text[rules.n]; rules.n++)
		ck_assert_ptr_null(sendas_parse(str_of(text[rules.n]), &rule[rules.n]));
}

START_TEST(the_first_rule_that_fits_gives_the_name)
{
	static const char *const text[] = { "root@a.test boss@x.test", "www-data@ web@x.test", "@b.test b@x.test", "*@c.test c@x.test", NULL };
	static const struct { const char *addr, *want; } row[] = {
		{ "root@a.test", "boss@x.test" }, { "ROOT@A.TEST", "boss@x.test" }, { "anna@a.test", "" }, { "www-data@a.test", "web@x.test" },
		{ "www-data@b.test", "web@x.test" }, { "root@b.test", "b@x.test" }, { "root@sub.b.test", "" }, { "x@c.test", "c@x.test" },
	};

	load(text);
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		struct addr a;

		ck_assert_ptr_null(parse_address(str_of(row[i].addr), false, &a));
		ck_assert_msg(str_eq(sendas_find(&rules, &a), str_of(row[i].want)), "%s", row[i].addr);
	}
}
END_TEST

START_TEST(rules_that_mean_nothing_are_told)
{
	static const char *const bad[] = { "", "*", "* nobody", "* a@b.test more", "root a@b.test", "@-.test a@b.test", "* <a@b.test>", "* a@b" "\x01" ".test" };
	struct sendas s;

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		ck_assert_msg(sendas_parse(str_of(bad[i]), &s) != NULL, "%s", bad[i]);
}
END_TEST

START_TEST(addresses_are_replaced_and_nothing_else)
{
	static const char *const text[] = { "@h.test n@x.test", NULL };
	static const struct { const char *value, *want; } row[] = {
		{ " root@h.test", " n@x.test" },
		{ " root@h.test (Cron Daemon)", " n@x.test (Cron Daemon)" },
		{ " root (Cron Daemon)", " n@x.test (Cron Daemon)" },
		{ "root", "n@x.test" },
		{ " \"(Cron Daemon)\" <root>", " \"(Cron Daemon)\" <n@x.test>" },
		{ " root <root>", " root <n@x.test>" },
		{ " \"root@h.test\" <root@h.test>", " \"root@h.test\" <n@x.test>" },
		{ " A <a@h.test>,\r\n B <b@y.test>, C <c@h.test>", " A <n@x.test>,\r\n B <b@y.test>, C <n@x.test>" },
		{ " (\\) root@h.test) root@h.test", " (\\) root@h.test) n@x.test" },
		{ " x <root (who) @ h.test>", " x <n@x.test>" },
		{ " root, A <a@h.test>, root: b@y.test, root;", " n@x.test, A <n@x.test>, root: b@y.test, n@x.test;" },
		{ " b@y.test", NULL }, { "", NULL }, { " nothing at all;", NULL },
	};

	load(text);
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		struct buf out = { 0 };
		bool changed = sendas_field(&rules, str_of(row[i].value), STR("h.test"), &out);

		ck_assert_msg(changed == (row[i].want != NULL), "%s", row[i].value);
		ck_assert_str_eq(buf_cstr(&out), changed ? row[i].want : "");
		buf_free(&out);
	}
}
END_TEST

START_TEST(names_without_a_domain_get_one)
{
	static const struct { const char *value, *want; } row[] = {
		{ " root", " root@o.test" },
		{ " root (Cron Daemon)", " root@o.test (Cron Daemon)" },
		{ " anna, Ben <ben@y.test>, anna <anna>,\r\n \"root\"", " anna@o.test, Ben <ben@y.test>, anna <anna@o.test>,\r\n \"root\"@o.test" },
		{ " root@h.test", NULL }, { " undisclosed-recipients:;", NULL }, { " Anna Smith", NULL }, { " <>", NULL }, { " \"root", NULL },
	};

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		struct buf out = { 0 };
		bool changed = sendas_field(NULL, str_of(row[i].value), STR("o.test"), &out);

		ck_assert_msg(changed == (row[i].want != NULL), "%s", row[i].value);
		ck_assert_str_eq(buf_cstr(&out), changed ? row[i].want : "");
		buf_free(&out);
	}
}
END_TEST

Suite *cmd_sendas_suite(void)
{
	Suite *s = suite_create("cmd_sendas");
	TCase *c = tcase_create("rules");

	tcase_add_test(c, the_first_rule_that_fits_gives_the_name);
	tcase_add_test(c, rules_that_mean_nothing_are_told);
	tcase_add_test(c, addresses_are_replaced_and_nothing_else);
	tcase_add_test(c, names_without_a_domain_get_one);
	suite_add_tcase(s, c);
	return s;
}
