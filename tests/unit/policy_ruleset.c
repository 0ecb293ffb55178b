/* Rules of a mailbox: the line left, what is wrong with it or what it does right. */
#include "policy/ruleset.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

Suite *policy_ruleset_suite(void);

static const struct identities sent = { .from = { "anna@shop.example", 17 }, .mail = { "bounce+7@mx.news.example", 24 }, .mail_pass = true,
	.helo = { "out.esp.example", 15 }, .helo_pass = true, .ip = { "192.0.2.7", 9 }, .dkim = { "a.example,lists.example.net", 27 }, .via = { "old.example", 11 } };

START_TEST(a_mistake_is_named_with_what_to_write)
{
	static const struct { const char *line, *wrong; } row[] = {
		{ "", NULL }, { "  # nothing", NULL }, { "\r", NULL },
		{ "verified=a.example allow", NULL }, { "list=\"a b\" folder=\"My lists\" # x", NULL }, { "VERIFIED=A.example Forwarder\r", NULL },
		{ "folder=x", "no condition" }, { "verified=a.example", "nothing that is to be done" }, { "author=*@x allow", "allow and forwarder need verified=" },
		{ "sender=<> forwarder", "need verified=" }, { "frm=x folder=y", "frm is not known here" }, { "verified= allow", "verified has no value" },
		{ "verified allow", "verified has no value" }, { "verified=a.example allow=yes", "takes no value" }, { "verified=a/b allow", "a/b is no domain" },
		{ "verified=.example allow", "is no domain" }, { "list=x list=y folder=z", "list is there twice" }, { "list=x folder=\"z", "a quote has no end" },
		{ "list=x folder=a/b", "a/b is no folder" }, { "list=x folder=..", "is no folder" }, { "list=x folder=.a", "is no folder" }, { "list=x refused=a.", "is no folder" },
		{ "list=x folder=a..b", "is no folder" }, { "list=x folder=\x01", "control character" }, { "list=x folder=\"\"", "folder has no value" },
	};
	char text[RULESET_LINE + 100];
	struct str whose;
	struct rule r;

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		const char *why = rule_parse(str_of(row[i].line), NULL, &r);

		ck_assert_msg(row[i].wrong ? why && strstr(why, row[i].wrong) : !why, "%s: %s", row[i].line, why ? why : "nothing");
		snprintf(text, sizeof text, "* %s", row[i].line);
		why = rule_parse(str_of(text), &whose, &r);
		ck_assert_msg(i < 3 || (row[i].wrong ? why && strstr(why, row[i].wrong) : !why), "%s", text);
	}
	snprintf(text, sizeof text, "list=x folder=y %*s", RULESET_LINE, "#");
	ck_assert_ptr_nonnull(rule_parse(str_of(text), NULL, &r));
	snprintf(text, sizeof text, "list=x folder=%0*d", RULESET_FOLDER + 1, 7);
	ck_assert_ptr_nonnull(rule_parse(str_of(text), NULL, &r));
}
END_TEST

START_TEST(a_rule_holds_when_all_its_conditions_do)
{
	static const struct { const char *conditions, *by; } row[] = {          /* by "-": it holds, nobody is verified; NULL: it does not */
		{ "verified=lists.example.net", "lists.example.net" }, { "verified=LISTS.example.net", "lists.example.net" }, { "verified=example.net", "lists.example.net" },
		{ "verified=ts.example.net", NULL }, { "verified=x.lists.example.net", NULL }, { "verified=shop.example", NULL },
		{ "verified=news.example", "mx.news.example" }, { "verified=esp.example", "out.esp.example" }, { "verified=old.example", "old.example" },
		{ "author=*@shop.example", "-" }, { "author=ANNA@*", "-" }, { "author=*", "-" }, { "author=anna", NULL }, { "author=*shop", NULL },
		{ "sender=bounce+*@*.example", "-" }, { "sender=<>", NULL }, { "sender=*7*7*", NULL },
		{ "list=*fardel*", "-" }, { "list=fardel.lists.example.net", "-" }, { "list=x", NULL },
		{ "list=*fardel* verified=example.net author=*@shop.example", "lists.example.net" }, { "list=*fardel* verified=other.example", NULL },
	};
	const struct rule_subject s = { &sent, STR("fardel.lists.example.net") };
	char text[300];
	struct rule r;

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		bool found;

		snprintf(text, sizeof text, "\n%s folder=X\nauthor=* folder=Y\n", row[i].conditions);
		found = ruleset_find(str_of(text), NULL, 0, &s, &r) && r.line == 2;
		ck_assert_msg(found == (row[i].by != NULL), "%s", row[i].conditions);
		if (found)
			ck_assert_msg(str_eq(r.by, row[i].by[0] == '-' ? STR("") : str_of(row[i].by)), "%s", row[i].conditions);
	}
	ck_assert(ruleset_find(STR("sender=<> folder=Y"), NULL, 0, &(struct rule_subject){ &(struct identities){ .from = STR("a@b") }, STR("") }, &r));
	ck_assert(!ruleset_find(STR("verified=b list=* folder=Y"), NULL, 0, &(struct rule_subject){ &(struct identities){ .from = STR("a@b") }, STR("") }, &r));
}
END_TEST

/* What was only said vouches for nothing. */
START_TEST(names_that_nobody_has_shown_are_not_verified)
{
	struct identities who = sent;
	struct rule r;

	who.mail_pass = who.helo_pass = false;
	ck_assert(!ruleset_find(STR("verified=news.example allow\nverified=esp.example allow"), NULL, 0, &(struct rule_subject){ &who, STR("") }, &r));
}
END_TEST

START_TEST(the_operators_rules_are_for_whom_they_name)
{
	static const char text[] = "anna list=* folder=A\nben list=y folder=B\n* list=* folder=C\nbroken list=x\n";
	static const struct { const char *whose; unsigned line; } row[] = { { "anna", 1 }, { "Anna", 1 }, { "anna+x", 1 }, { "ben", 3 }, { "ann", 3 }, { "anna-x", 3 } };
	const struct rule_subject s = { &sent, STR("x") };
	struct rule r;

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		struct str whose = str_of(row[i].whose);

		ck_assert(ruleset_find(str_of(text), &whose, '+', &s, &r));
		ck_assert_msg(r.line == row[i].line, "%s: line %u", row[i].whose, r.line);
		ck_assert(!r.own);
	}
}
END_TEST

/* A pattern of many stars against a long name: what a user writes costs no more than the product of both. */
START_TEST(no_pattern_takes_long)
{
	char name[2000], text[RULESET_LINE];
	struct identities who = sent;
	struct rule r;

	memset(name, 'a', sizeof name);
	who.from = (struct str){ name, sizeof name };
	snprintf(text, sizeof text, "folder=x author=");
	for (size_t n = strlen(text); n + 2 < sizeof text; n += 2)
		memcpy(text + n, "*a", 3);
	text[sizeof text - 2] = 'b';
	text[sizeof text - 1] = 0;
	for (int i = 0; i < 100; i++)
		ck_assert(!ruleset_find(str_of(text), NULL, 0, &(struct rule_subject){ &who, STR("") }, &r));
}
END_TEST

START_TEST(the_identifier_of_a_list_is_between_its_brackets)
{
	static const struct { const char *header, *id; } row[] = {
		{ "Subject: x\r\nList-Id: Fardel <Fardel.lists.example.net>\r\n", "fardel.lists.example.net" }, { "List-ID: \"a < b\" <x.y>\r\n", "x.y" },
		{ "List-Id:\r\n <x y>\r\n", "x%20y" }, { "List-Id: x.y\r\n", "" }, { "List-Id: <x.y\r\n", "" }, { "Subject: <x.y>\r\n", "" }, { "", "" },
	};
	struct buf out = { 0 };

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		buf_clear(&out);
		ck_assert(list_id(&out, str_of(row[i].header)) == (*row[i].id != 0));
		ck_assert_str_eq(buf_cstr(&out), row[i].id);
	}
	buf_free(&out);
}
END_TEST

START_TEST(as_a_fact_it_comes_back_as_it_was)
{
	static const struct { const char *line; const char *text; } row[] = {
		{ "verified=example.net allow", "own 1 allow\nlists.example.net\n\n" }, { "verified=example.net forwarder folder=\"A b\"", "own 1 forwarder\nlists.example.net\nA b\n" },
		{ "list=x refused=Junk", "own 1\n\n\nJunk" },
	};
	struct buf text = { 0 }, name = { 0 };
	struct identities room;
	struct rule_subject s = { &sent, STR("x") }, back;
	struct str local;
	struct rule r, again;

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		buf_clear(&text);
		ck_assert(ruleset_find(str_of(row[i].line), NULL, 0, &s, &r));
		ck_assert(rule_print(&text, &r));
		ck_assert_str_eq(buf_cstr(&text), row[i].text);
		ck_assert(rule_read(buf_view(&text), &again));
		ck_assert(again.own && again.line == 1 && again.allow == r.allow && again.forwarder == r.forwarder && str_eq(again.by, r.by) && str_eq(again.folder, r.folder) &&
			str_eq(again.refused, r.refused));
	}
	ck_assert(rule_ask(&name, STR("bob"), &s));
	ck_assert(rule_asked(buf_view(&name), &local, &back, &room));
	ck_assert(str_eq(local, STR("bob")) && str_eq(back.list, STR("x")) && str_eq(room.via, sent.via) && str_eq(room.dkim, sent.dkim));
	ck_assert(!rule_asked(STR("bob"), &local, &back, &room));
	ck_assert(!rule_read(STR("own x\n\n\n"), &again));
	ck_assert(!rule_read(STR(""), &again));
	buf_free(&text);
	buf_free(&name);
}
END_TEST

static unsigned told, last_line;

static void count(void *arg, unsigned line, const char *why)
{
	(void)arg, (void)why;
	told++;
	last_line = line;
}

START_TEST(each_mistake_is_told_by_its_line)
{
	ck_assert_uint_eq(ruleset_check(STR("# x\nlist=x folder=y\n\nfoo\nlist=z folder=y\nbar"), false, count, NULL), 2);
	ck_assert_uint_eq(told, 2);
	ck_assert_uint_eq(last_line, 6);
}
END_TEST

Suite *policy_ruleset_suite(void)
{
	Suite *s = suite_create("policy_ruleset");
	TCase *c = tcase_create("ruleset");

	tcase_add_test(c, a_mistake_is_named_with_what_to_write);
	tcase_add_test(c, a_rule_holds_when_all_its_conditions_do);
	tcase_add_test(c, names_that_nobody_has_shown_are_not_verified);
	tcase_add_test(c, the_operators_rules_are_for_whom_they_name);
	tcase_add_test(c, no_pattern_takes_long);
	tcase_add_test(c, the_identifier_of_a_list_is_between_its_brackets);
	tcase_add_test(c, as_a_fact_it_comes_back_as_it_was);
	tcase_add_test(c, each_mistake_is_told_by_its_line);
	suite_add_tcase(s, c);
	return s;
}
