/* The SMTP grammar: what is taken, what is refused and how, and that what we print reads back as the same. */
#include "parse.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define S(literal) { "" literal, sizeof(literal) - 1 }
#define COUNT(rows) (sizeof(rows) / sizeof(*(rows)))

Suite *parse_suite(void);

#define A10 "aaaaaaaaaa"
#define A60 A10 A10 A10 A10 A10 A10
#define A64 A60 "aaaa"
#define D60 "." "d" A10 A10 A10 A10 A10 "aaaaaaaa"           /* a dot and a label of 59: 60 octets */

static bool same(struct str a, const char *b)
{
	return str_eq(a, str_of(b));
}

/* ---- addresses */

START_TEST(path_gives_local_part_and_domain)
{
	static const struct { struct str in; const char *local, *domain, *rest; bool utf8; } row[] = {
		{ S("<a@b.example>"), "a", "b.example", "", false },
		{ S("<a@b.example> SIZE=1"), "a", "b.example", " SIZE=1", false },
		{ S("<a.b+c=d/e@B.Example>"), "a.b+c=d/e", "B.Example", "", false },
		{ S("<!#$%&'*+-/=?^_`{|}~@b>"), "!#$%&'*+-/=?^_`{|}~", "b", "", false },
		{ S("<\"a b\"@x>"), "\"a b\"", "x", "", false },
		{ S("<\"a>b\\\"@c\"@x>"), "\"a>b\\\"@c\"", "x", "", false },
		{ S("<\"\"@x>"), "\"\"", "x", "", false },
		{ S("<a@[192.0.2.1]>"), "a", "[192.0.2.1]", "", false },
		{ S("<a@[IPv6:2001:db8::1]>"), "a", "[IPv6:2001:db8::1]", "", false },
		{ S("<a@[ipv6:::ffff:192.0.2.1]>"), "a", "[ipv6:::ffff:192.0.2.1]", "", false },
		{ S("<@r.example:a@b>"), "a", "b", "", false },
		{ S("<@r.example,@s.example:a@[IPv6:::1]>"), "a", "[IPv6:::1]", "", false },
		{ S("<a@3com.example>"), "a", "3com.example", "", false },
		{ S("<a@1.2.3.x4>"), "a", "1.2.3.x4", "", false },
		{ S("<a@xn--bcher-kva.example>"), "a", "xn--bcher-kva.example", "", false },
		{ S("<j\xc3\xb8rn@b\xc3\xbc" "cher.example>"), "j\xc3\xb8rn", "b\xc3\xbc" "cher.example", "", true },
		{ S("<\"j\xc3\xb8 rn\"@x>"), "\"j\xc3\xb8 rn\"", "x", "", true },
		{ S("<\xf0\x9f\x90\x99@x>"), "\xf0\x9f\x90\x99", "x", "", true },
		{ S("<>"), "", "", "", false },
		{ S("<>>"), "", "", ">", false },
		{ S("<postmaster>"), "postmaster", "", "", false },
		{ S("<PostMaster> X"), "PostMaster", "", " X", false },
	};
	struct addr a;

	for (size_t i = 0; i < COUNT(row); i++) {
		struct str rest = row[i].in;
		const char *why = parse_path(&rest, true, true, row[i].utf8, &a);

		ck_assert_msg(!why, "%s: %s", row[i].in.p, why);
		ck_assert_msg(same(a.local, row[i].local), "%s: local " STR_FMT, row[i].in.p, STR_ARG(a.local));
		ck_assert_msg(same(a.domain, row[i].domain), "%s: domain " STR_FMT, row[i].in.p, STR_ARG(a.domain));
		ck_assert_msg(same(rest, row[i].rest), "%s: rest " STR_FMT, row[i].in.p, STR_ARG(rest));
		ck_assert(addr_is_null(&a) == (row[i].in.p[1] == '>'));
	}
}
END_TEST

START_TEST(path_that_is_none_is_refused_and_not_taken)
{
	static const struct str row[] = {
		S(""), S("a@b"), S("<a@b"), S("<"), S("<a"), S("<a@"), S("<a@>"), S("<@b>"), S("<a>"),
		S(" <a@b>"), S("<a@b "),
		S("< a@b>"), S("<a @b>"), S("<a@ b>"), S("<a@b >"), S("<a@@b>"), S("<a@b@c>"),
		S("<a,b@c>"), S("<a(c)@b>"),
		S("<.a@b>"), S("<a.@b>"), S("<a..b@c>"), S("<.@b>"), S("<a\"b\"@c>"), S("<\"a\"b@c>"),
		S("<\"a@b>"), S("<\"a\\"),
		S("<\"a\\\"@b>"), S("<a\\b@c>"), S("<a@b..c>"), S("<a@.b>"), S("<a@b.>"), S("<a@-b>"),
		S("<a@b->"), S("<a@b-.c>"),
		S("<a@b_c>"), S("<a@192.0.2.1>"), S("<a@x.1>"), S("<a@1>"), S("<a@[192.0.2.256]>"),
		S("<a@[192.0.2.1>"), S("<a@[192.0.2.1]x>"),
		S("<a@[192.0.2]>"), S("<a@[2001:db8::1]>"), S("<a@[IPv6:192.0.2.1]>"),
		S("<a@[IPv6:1::2::3]>"), S("<a@[IPv6:fe80::1%eth0]>"),
		S("<a@[]>"), S("<a@[x:y]>"), S("<a@[192.0.2.1 ]>"), S("<@r a@b>"), S("<@r:>"),
		S("<@r,a@b>"), S("<@r,:a@b>"), S("<@:a@b>"),
		S("<@[192.0.2.1]:a@b>"), S("<postmaster@>"), S("<postmaste>"), S("<<a@b>>"),
		S("<a@b\xff>"), S("<\"\\\xc3\xb8\"@b>"),
		/* control characters, alone and quoted */
		S("<a\0@b>"), S("<a@b\0>"), S("<a\r\n@b>"), S("<a\t@b>"), S("<a\x7f@b>"),
		S("<\"a\0\"@b>"), S("<\"a\\\0\"@b>"), S("<\"a\nb\"@c>"),
		S("<\"a\\\nb\"@c>"), S("<\"a\tb\"@c>"), S("<\"\x7f\"@b>"), S("<a@[192.0.2.1\0]>"),
		S("<a@[IPv6:::1\0]>"), S("<a@b\r\n>"), S("<@r\0:a@b>"),
	};
	struct addr a;

	for (size_t i = 0; i < COUNT(row); i++) {
		struct str rest = row[i];

		ck_assert_msg(parse_path(&rest, true, true, true, &a), "row %zu: %s", i, row[i].p);
		ck_assert(rest.p == row[i].p && rest.n == row[i].n);
	}
}
END_TEST

START_TEST(path_allows_null_and_postmaster_only_where_told)
{
	struct str null = STR("<>"), postmaster = STR("<postmaster>");
	struct addr a;

	ck_assert(parse_path(&null, false, true, false, &a));
	ck_assert(parse_path(&postmaster, true, false, false, &a));
}
END_TEST

START_TEST(utf8_must_be_well_formed_and_free_of_control_characters)
{
	static const struct { struct str local; bool ok; } row[] = {
		{ S("\xc2\xa0"), true }, { S("\xdf\xbf"), true }, { S("\xe0\xa0\x80"), true },
		{ S("\xed\x9f\xbf"), true },
		{ S("\xee\x80\x80"), true }, { S("\xf0\x90\x80\x80"), true },
		{ S("\xf4\x8f\xbf\xbf"), true },
		{ S("\x80"), false }, { S("\xbf"), false }, { S("\xc0\x80"), false },
		{ S("\xc1\xbf"), false }, { S("\xc3"), false },
		{ S("\xc3("), false }, { S("\xe0\x80\x80"), false }, { S("\xe0\x9f\xbf"), false },
		{ S("\xe2\x82"), false },
		{ S("\xed\xa0\x80"), false }, { S("\xed\xbf\xbf"), false },
		{ S("\xf0\x80\x80\x80"), false }, { S("\xf0\x9f\x90"), false },
		{ S("\xf4\x90\x80\x80"), false }, { S("\xf5\x80\x80\x80"), false },
		{ S("\xfe"), false }, { S("\xff"), false },
		{ S("\xc2\x80"), false }, { S("\xc2\x85"), false },
		{ S("\xc2\x9b"), false },          /* C1: NEL, CSI */
	};

	for (size_t i = 0; i < COUNT(row); i++) {
		char text[32];
		int n = snprintf(text, sizeof(text), "\"" STR_FMT "\"@x", STR_ARG(row[i].local));
		struct addr a;

		ck_assert_msg(!parse_address((struct str){ text, (size_t)n }, true, &a) == row[i].ok, "row %zu", i);
		ck_assert(parse_address((struct str){ text, (size_t)n }, false, &a));
	}
}
END_TEST

START_TEST(lengths_are_held_to_the_octet)
{
	static const struct { struct str in; bool ok; } row[] = {
		{ S("<" A64 "@x>"), true }, { S("<" A64 "a@x>"), false },
		{ S("<\"" A60 "aa\"@x>"), true }, { S("<\"" A60 "aaa\"@x>"), false },
		{ S("<a@" A60 "aaa>"), true }, { S("<a@" A64 ">"), false },
		{ S("<a@x." A60 "aaa.y>"), true }, { S("<a@x." A64 ".y>"), false },
		/* 256 octets with the brackets: 1 + 64 + 1 + 189 + 1 */
		{ S("<" A64 "@aaaaaaaaa" D60 D60 D60 ">"), true },
		{ S("<" A64 "@aaaaaaaaaa" D60 D60 D60 ">"), false },
		/* a route counts for itself */
		{ S("<@" A60 D60 D60 ":" A64 "@aaaaaaaaa" D60 D60 D60 ">"), true },
	};
	static const struct { struct str in; bool ok; } domain[] = {
		{ S("aaaaaaaaaaaa.a" D60 D60 D60 D60), true },
		{ S("aaaaaaaaaaaa.aa" D60 D60 D60 D60), true },
		{ S("aaaaaaaaaaaa.aaa" D60 D60 D60 D60), false },
	};
	struct addr a;

	for (size_t i = 0; i < COUNT(row); i++) {
		struct str rest = row[i].in;

		ck_assert_msg(!parse_path(&rest, false, false, false, &a) == row[i].ok, "row %zu (%zu octets)", i, row[i].in.n);
	}
	ck_assert(domain[1].in.n == DOMAIN_MAX);
	for (size_t i = 0; i < COUNT(domain); i++)
		ck_assert_msg(!parse_domain(domain[i].in, false, false) == domain[i].ok, "domain %zu (%zu octets)", i, domain[i].in.n);
}
END_TEST

START_TEST(bare_address_is_the_whole_slice)
{
	static const struct { struct str in; bool ok; } row[] = {
		{ S("a@b"), true }, { S("\"a@ >\"@b"), true }, { S("a@[IPv6:::1]"), true },
		{ S(""), false }, { S("a"), false }, { S("<a@b>"), false }, { S("a@b>"), false },
		{ S("a@b c"), false }, { S("a@b\n"), false },
		{ S("@r:a@b"), false }, { S(" a@b"), false }, { S("postmaster"), false },
		{ S("a@b\0"), false },
	};
	struct addr a;

	for (size_t i = 0; i < COUNT(row); i++)
		ck_assert_msg(!parse_address(row[i].in, false, &a) == row[i].ok, "%s", row[i].in.p);
}
END_TEST

START_TEST(domain_takes_literals_only_where_told)
{
	ck_assert(!parse_domain(STR("[192.0.2.1]"), false, true));
	ck_assert(parse_domain(STR("[192.0.2.1]"), false, false));
	ck_assert(parse_domain(STR(""), false, true));
	ck_assert(parse_domain(STR("b\xc3\xbc" "cher"), false, true));
	ck_assert(!parse_domain(STR("b\xc3\xbc" "cher"), true, true));
}
END_TEST

START_TEST(literal_gives_the_address)
{
	struct sockaddr_storage ss;
	struct sockaddr_in *v4 = (struct sockaddr_in *)&ss;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&ss;

	ck_assert(parse_literal(STR("[192.0.2.1]"), &ss));
	ck_assert(ss.ss_family == AF_INET && v4->sin_addr.s_addr == htonl(0xc0000201) && v4->sin_port == 0);
	ck_assert(parse_literal(STR("[IPV6:::1]"), &ss));
	ck_assert(ss.ss_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr) && v6->sin6_port == 0);
	ck_assert(!parse_literal(STR("192.0.2.1"), &ss));
	ck_assert(!parse_literal(STR("["), &ss));
	ck_assert(!parse_literal(STR("[IPv6:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000]"), &ss));
}
END_TEST

START_TEST(printed_address_has_its_domain_in_lower_case)
{
	static const struct { struct str in; const char *out, *local; } row[] = {
		{ S("John@EXAMPLE.Com"), "John@example.com", "John" },
		{ S("\"A\\ B\\\\\"@X"), "\"A\\ B\\\\\"@x", "A B\\" },
		{ S("\"\"@X"), "\"\"@x", "" },
		{ S("a@[IPv6:2001:DB8::1]"), "a@[ipv6:2001:db8::1]", "a" },
	};
	struct buf b = { 0 };
	struct addr a, again;

	for (size_t i = 0; i < COUNT(row); i++) {
		ck_assert(!parse_address(row[i].in, false, &a));
		buf_puts(&b, "X");
		ck_assert(print_addr(&b, &a));
		ck_assert_str_eq(buf_cstr(&b) + 1, row[i].out);
		ck_assert(!parse_address(str_from(buf_view(&b), 1), false, &again));
		buf_clear(&b);
		ck_assert(addr_local_unquoted(&b, &a));
		ck_assert_str_eq(buf_cstr(&b), row[i].local);
		buf_clear(&b);
	}
	memset(&a, 0, sizeof(a));
	ck_assert(print_addr(&b, &a) && b.n == 0);
	buf_free(&b);
}
END_TEST

START_TEST(printing_into_a_full_buffer_fails)
{
	struct buf b = { .max = 3 };
	struct sender s;
	struct addr a;

	ck_assert(!parse_address(STR("abc@d"), false, &a));
	ck_assert(!print_addr(&b, &a));
	buf_clear(&b);
	ck_assert(!parse_mail(STR("FROM:<a@b> RET=FULL"), PARAM_ALL, &s).text);
	ck_assert(!print_mail(&b, &s));
	buf_free(&b);
}
END_TEST

/* ---- MAIL */

struct answer {
	struct str in;
	int code;                       /* 0: taken */
	const char *enhanced;
};

static void check_answer(const struct answer *want, struct parse_error got)
{
	if (want->code == 0) {
		ck_assert_msg(!got.text, "%s: %d %s %s", want->in.p, got.code, got.enhanced, got.text);
		return;
	}
	ck_assert_msg(got.text, "%s: taken", want->in.p);
	ck_assert_msg(got.code == want->code && strcmp(got.enhanced, want->enhanced) == 0,
		"%s: %d %s %s", want->in.p, got.code, got.enhanced, got.text);
	for (const char *c = got.text; *c; c++)
		ck_assert(ascii_print(*c));
}

START_TEST(an_address_alone_may_be_as_long_as_one_in_a_path)
{
	struct addr a;

	ck_assert(!parse_address(STR("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd.dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd.dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd.ee.org"), false, &a));
	ck_assert_ptr_nonnull(parse_address(STR("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd.dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd.dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd.eee.org"), false, &a));
}
END_TEST

START_TEST(mail_is_answered_as_the_rfcs_ask)
{
	static const struct answer row[] = {
		{ S("FROM:<>"), 0, "" }, { S("FROM:<a@b>"), 0, "" }, { S("from:<a@b>"), 0, "" },
		{ S("FROM: <a@b>"), 0, "" },
		{ S("FROM:<a@b>  "), 0, "" }, { S("FROM:<a@b> \t"), 0, "" },
		{ S("FROM:<a@b> SIZE=1 "), 0, "" }, { S("FROM:<a@b>  SIZE=1  RET=FULL"), 0, "" },
		{ S("FROM:<> size=0 Body=8bitmime SmtpUtf8 RequireTLS ret=hdrs envid=x auth=<> holdfor=1"), 0, "" },
		{ S(""), 501, "5.5.2" }, { S("FROM"), 501, "5.5.2" }, { S("FROM:"), 501, "5.5.2" },
		{ S("TO:<a@b>"), 501, "5.5.2" }, { S("FROM <a@b>"), 501, "5.5.2" },
		{ S("FROM:  <a@b>"), 501, "5.5.2" }, { S("FROM:\t<a@b>"), 501, "5.5.2" },
		{ S("FROM :<a@b>"), 501, "5.5.2" },
		{ S("FROM:a@b"), 501, "5.5.2" }, { S("FROM:<a@b"), 501, "5.5.2" },
		{ S("FROM:a@b>"), 501, "5.5.2" }, { S("FROM:<a@b>SIZE=1"), 501, "5.5.2" },
		{ S("FROM:<a@b>,<c@d>"), 501, "5.5.2" }, { S("FROM:<a@b>\tSIZE=1"), 501, "5.5.2" },
		{ S("FROM:<a>"), 501, "5.1.7" }, { S("FROM:<postmaster>"), 501, "5.1.7" },
		{ S("FROM:<a b@c>"), 501, "5.1.7" }, { S("FROM:<a@b_c>"), 501, "5.1.7" },
		{ S("FROM:<a\0@b>"), 501, "5.1.7" }, { S("FROM:<a@b SIZE=1"), 501, "5.1.7" },
		/* any parameter */
		{ S("FROM:<a@b> X=1"), 555, "5.5.4" }, { S("FROM:<a@b> NOTIFY=NEVER"), 555, "5.5.4" },
		{ S("FROM:<a@b> X"), 555, "5.5.4" }, { S("FROM:<a@b> SIZ=1"), 555, "5.5.4" },
		{ S("FROM:<a@b> =1"), 501, "5.5.4" }, { S("FROM:<a@b> -X=1"), 501, "5.5.4" },
		{ S("FROM:<a@b> X="), 501, "5.5.4" }, { S("FROM:<a@b> X=1=2"), 501, "5.5.4" },
		{ S("FROM:<a@b> X_Y=1"), 501, "5.5.4" },
		{ S("FROM:<a@b> SIZE=1\tRET=FULL"), 501, "5.5.4" },
		{ S("FROM:<a@b> X=\0"), 501, "5.5.4" }, { S("FROM:<a@b> \0"), 501, "5.5.4" },
		{ S("FROM:<a@b> X=\x7f"), 501, "5.5.4" },
		{ S("FROM:<a@b> SIZE=1 size=1"), 501, "5.5.4" },
		{ S("FROM:<a@b> SMTPUTF8 SMTPUTF8"), 501, "5.5.4" },
		{ S("FROM:<a@b> SMTPUTF8=1"), 501, "5.5.4" },
		{ S("FROM:<a@b> REQUIRETLS=YES"), 501, "5.5.4" }, { S("FROM:<a@b> RET"), 501, "5.5.4" },
		/* each */
		{ S("FROM:<a@b> SIZE"), 501, "5.5.4" }, { S("FROM:<a@b> SIZE="), 501, "5.5.4" },
		{ S("FROM:<a@b> SIZE=abc"), 501, "5.5.4" }, { S("FROM:<a@b> SIZE=-1"), 501, "5.5.4" },
		{ S("FROM:<a@b> SIZE=+1"), 501, "5.5.4" }, { S("FROM:<a@b> SIZE=0x10"), 501, "5.5.4" },
		{ S("FROM:<a@b> SIZE=9223372036854775807"), 0, "" },
		{ S("FROM:<a@b> SIZE=09223372036854775807"), 0, "" },
		{ S("FROM:<a@b> SIZE=009223372036854775807"), 501, "5.5.4" },
		{ S("FROM:<a@b> SIZE=9223372036854775808"), 0, "" },
		{ S("FROM:<a@b> SIZE=99999999999999999999"), 0, "" },
		{ S("FROM:<a@b> SIZE=1844674407370955161x"), 501, "5.5.4" },
		{ S("FROM:<a@b> BODY=7BIT"), 0, "" }, { S("FROM:<a@b> BODY=BINARYMIME"), 0, "" },
		{ S("FROM:<a@b> BODY=9BIT"), 555, "5.5.4" }, { S("FROM:<a@b> BODY="), 501, "5.5.4" },
		{ S("FROM:<a@b> RET=ALL"), 501, "5.5.4" },
		{ S("FROM:<a@b> RET=FULL RET=HDRS"), 501, "5.5.4" },
		{ S("FROM:<a@b> ENVID=a+20b"), 0, "" }, { S("FROM:<a@b> ENVID=a+0Ab"), 501, "5.5.4" },
		{ S("FROM:<a@b> ENVID=+00"), 501, "5.5.4" },
		{ S("FROM:<a@b> ENVID=+0D"), 501, "5.5.4" },
		{ S("FROM:<a@b> ENVID=+"), 501, "5.5.4" }, { S("FROM:<a@b> ENVID=+4"), 501, "5.5.4" },
		{ S("FROM:<a@b> ENVID=+4g"), 501, "5.5.4" },
		{ S("FROM:<a@b> ENVID=+4a"), 501, "5.5.4" },
		{ S("FROM:<a@b> ENVID=+FF"), 501, "5.5.4" },
		{ S("FROM:<a@b> ENVID=" A60 A10 A10 A10 A10), 0, "" },
		{ S("FROM:<a@b> ENVID=" A60 A10 A10 A10 A10 "a"), 501, "5.5.4" },
		{ S("FROM:<a@b> AUTH=<>"), 0, "" }, { S("FROM:<a@b> AUTH=e+3Dmc2@example.com"), 0, "" },
		{ S("FROM:<a@b> AUTH=+0A"), 501, "5.5.4" }, { S("FROM:<a@b> AUTH="), 501, "5.5.4" },
		{ S("FROM:<a@b> HOLDFOR=1"), 0, "" }, { S("FROM:<a@b> HOLDFOR=999999999"), 0, "" },
		{ S("FROM:<a@b> HOLDFOR=1000000000"), 501, "5.5.4" },
		{ S("FROM:<a@b> HOLDFOR=0"), 501, "5.5.4" },
		{ S("FROM:<a@b> HOLDFOR=01"), 501, "5.5.4" },
		{ S("FROM:<a@b> HOLDFOR=-1"), 501, "5.5.4" },
		{ S("FROM:<a@b> HOLDFOR=1 HOLDFOR=1"), 501, "5.5.4" },
		{ S("FROM:<a@b> HOLDFOR=1 HOLDUNTIL=2030-01-01T00:00:00Z"), 501, "5.5.4" },
		{ S("FROM:<a@b> HOLDUNTIL=2030-01-01T00:00:00Z HOLDFOR=1"), 501, "5.5.4" },
		/* 8-bit: the path may come before the word that allows it */
		{ S("FROM:<\xc3\xb8@b> SMTPUTF8"), 0, "" },
		{ S("FROM:<a@\xc3\xb8.example> BODY=8BITMIME SMTPUTF8"), 0, "" },
		{ S("FROM:<\xc3\xb8@b>"), 553, "5.6.7" },
		{ S("FROM:<\xc3\xb8@b> BODY=8BITMIME"), 553, "5.6.7" },
		{ S("FROM:<@\xc3\xb8:a@b>"), 553, "5.6.7" },
		{ S("FROM:<@\xc3\xb8:a@b> SMTPUTF8"), 0, "" },
		{ S("FROM:<\xff@b> SMTPUTF8"), 553, "5.6.7" },
		{ S("FROM:<\xc0\xaf@b> SMTPUTF8"), 553, "5.6.7" },
		{ S("FROM:<\xed\xa0\x80@b> SMTPUTF8"), 553, "5.6.7" },
		{ S("FROM:<\xc3\xb8@b> X"), 555, "5.5.4" },
		{ S("FROM:<a@b> AUTH=\xc3\xb8@b SMTPUTF8"), 0, "" },
		{ S("FROM:<a@b> SMTPUTF8 AUTH=\xc3\xb8@b"), 0, "" },
		{ S("FROM:<a@b> AUTH=\xc3\xb8@b"), 501, "5.5.4" },
		{ S("FROM:<a@b> SMTPUTF8 AUTH=\xff@b"), 501, "5.5.4" },
		{ S("FROM:<a@b> ENVID=\xc3\xb8 SMTPUTF8"), 501, "5.5.4" },
	};
	struct sender s;

	for (size_t i = 0; i < COUNT(row); i++)
		check_answer(&row[i], parse_mail(row[i].in, PARAM_ALL, &s));
}
END_TEST

START_TEST(mail_parameter_that_was_not_offered_is_unknown)
{
	static const struct { struct str in; unsigned offered; int code; } row[] = {
		{ S("FROM:<a@b> SIZE=1"), PARAM_SIZE, 0 },
		{ S("FROM:<a@b> SIZE=1"), PARAM_ALL & ~PARAM_SIZE, 555 },
		{ S("FROM:<a@b> BODY=8BITMIME"), PARAM_BODY, 0 },
		{ S("FROM:<a@b> BODY=8BITMIME"), PARAM_ALL & ~(PARAM_BODY | PARAM_BINARY), 555 },
		{ S("FROM:<a@b> BODY=BINARYMIME"), PARAM_ALL & ~PARAM_BINARY, 555 },
		{ S("FROM:<a@b> SMTPUTF8"), PARAM_ALL & ~PARAM_SMTPUTF8, 555 },
		{ S("FROM:<\xc3\xb8@b>"), 0, 553 }, { S("FROM:<\xff@b>"), 0, 553 },
		{ S("FROM:<a@b> REQUIRETLS"), PARAM_ALL & ~PARAM_REQUIRETLS, 555 },
		{ S("FROM:<a@b> RET=FULL"), PARAM_ALL & ~PARAM_DSN, 555 },
		{ S("FROM:<a@b> ENVID=1"), PARAM_ALL & ~PARAM_DSN, 555 },
		{ S("FROM:<a@b> AUTH=<>"), PARAM_ALL & ~PARAM_AUTH, 555 },
		{ S("FROM:<a@b> HOLDFOR=1"), PARAM_ALL & ~PARAM_HOLD, 555 },
		{ S("FROM:<a@b> HOLDUNTIL=2030-01-01T00:00:00Z"), PARAM_ALL & ~PARAM_HOLD, 555 },
		{ S("FROM:<a@b>"), 0, 0 },
	};
	struct sender s;

	for (size_t i = 0; i < COUNT(row); i++) {
		struct parse_error e = parse_mail(row[i].in, row[i].offered, &s);

		ck_assert_msg((e.text ? e.code : 0) == row[i].code, "row %zu: %s", i, row[i].in.p);
	}
}
END_TEST

START_TEST(mail_parameters_arrive)
{
	struct sender s;

	ck_assert(!parse_mail(STR("FROM:<a@b> SIZE=9223372036854775807 BODY=8bitmime SMTPUTF8 REQUIRETLS RET=HDRS ENVID=q+2Bq "
		"AUTH=c@d HOLDFOR=60"), PARAM_ALL, &s).text);
	ck_assert(s.has_size && s.size == INT64_MAX);
	ck_assert(s.has_body && s.body == BODY_8BITMIME);
	ck_assert(s.smtputf8 && s.requiretls && s.ret == RET_HDRS);
	ck_assert(same(s.envid, "q+2Bq") && same(s.auth, "c@d"));
	ck_assert(s.hold_for == 60 && s.hold_until == 0);
	ck_assert(!parse_mail(STR("FROM:<c@d>"), PARAM_ALL, &s).text);
	ck_assert_msg(!s.has_size && !s.has_body && !s.smtputf8 && !s.requiretls && s.ret == RET_NONE && s.envid.n == 0 && s.auth.n == 0 &&
		s.hold_for == 0, "a parameter of the transaction before shows through");
}
END_TEST

START_TEST(hold_until_is_a_real_moment_in_utc)
{
	static const struct { const char *in; int64_t when; const char *printed; } row[] = {
		{ "1970-01-01T00:00:01Z", 1, NULL },
		{ "2000-02-29T12:34:56Z", 951827696, NULL },
		{ "2026-01-31T23:59:59Z", 1769903999, NULL },
		{ "2026-01-31t23:59:59.25z", 1769903999, "2026-01-31T23:59:59Z" },
		{ "2038-01-19T03:14:08Z", 2147483648, NULL },
		{ "2100-03-01T00:00:00Z", 4107542400, NULL },
		{ "2016-12-31T23:59:60Z", 1483228800, "2017-01-01T00:00:00Z" },
		{ "9999-12-31T23:59:59Z", 253402300799, NULL },
		{ "1970-01-01T00:00:00Z", 0, NULL }, { "1969-12-31T23:59:59Z", 0, NULL },
		{ "2026-02-29T00:00:00Z", 0, NULL }, { "2100-02-29T00:00:00Z", 0, NULL },
		{ "2026-04-31T00:00:00Z", 0, NULL }, { "2026-00-01T00:00:00Z", 0, NULL },
		{ "2026-13-01T00:00:00Z", 0, NULL }, { "2026-01-00T00:00:00Z", 0, NULL },
		{ "2026-01-01T24:00:00Z", 0, NULL }, { "2026-01-01T00:60:00Z", 0, NULL },
		{ "2026-01-01T00:00:61Z", 0, NULL }, { "26-01-01T00:00:00Z", 0, NULL },
		{ "2026-01-01T00:00:00", 0, NULL }, { "2026-01-01T00:00:00+00:00", 0, NULL },
		{ "2026-01-01T00:00:00ZZ", 0, NULL }, { "2026-01-01T00:00:00.Z", 0, NULL },
		{ "2026-01-01T00:00:00.1", 0, NULL }, { "2026-01-01T00:00:00.1x2Z", 0, NULL },
		{ "2026-1-1T0:0:0Z", 0, NULL }, { "20260101T000000Z", 0, NULL },
		{ "2026-01-01T00:00Z", 0, NULL }, { "+026-01-01T00:00:00Z", 0, NULL },
		{ "2026-01-01T00:00:", 0, NULL }, { "2026", 0, NULL }, { "Z", 0, NULL },
	};
	struct buf b = { 0 }, line = { 0 };
	struct sender s;

	for (size_t i = 0; i < COUNT(row); i++) {
		struct parse_error e;

		buf_clear(&line);
		buf_printf(&line, "FROM:<a@b> HOLDUNTIL=%s", row[i].in);
		e = parse_mail(buf_view(&line), PARAM_ALL, &s);
		ck_assert_msg(!e.text == (row[i].when != 0), "%s: %s", row[i].in, e.text ? e.text : "taken");
		if (e.text) {
			ck_assert_int_eq(e.code, 501);
			continue;
		}
		ck_assert_msg(s.hold_until == row[i].when, "%s: %lld", row[i].in, (long long)s.hold_until);
		buf_clear(&b);
		print_mail(&b, &s);
		ck_assert_str_eq(buf_cstr(&b) + strlen("MAIL FROM:<a@b> HOLDUNTIL="), row[i].printed ? row[i].printed : row[i].in);
	}
	buf_free(&b);
	buf_free(&line);
}
END_TEST

START_TEST(days_of_four_centuries_print_as_it_was_read)
{
	struct buf b = { 0 };
	struct sender s = { 0 }, again;
	int64_t last = (int64_t)400 * 366 * 86400;

	for (int64_t when = 86399; when < last; when += 86400 * 13) {
		s.hold_until = when;
		buf_clear(&b);
		print_mail(&b, &s);
		ck_assert(!parse_mail(str_from(buf_view(&b), 5), PARAM_ALL, &again).text);
		ck_assert_msg(again.hold_until == when, "%s", buf_cstr(&b));
	}
	buf_free(&b);
}
END_TEST

static bool same_sender(const struct sender *a, const struct sender *b)
{
	return str_eq(a->addr.local, b->addr.local) && str_eq(a->addr.domain, b->addr.domain) && a->body == b->body &&
		a->has_body == b->has_body && a->smtputf8 == b->smtputf8 && a->requiretls == b->requiretls && a->ret == b->ret &&
		str_eq(a->envid, b->envid) && str_eq(a->auth, b->auth) && a->hold_for == b->hold_for && a->hold_until == b->hold_until;
}

START_TEST(printed_mail_reads_back_as_the_same)
{
	static const struct { struct str in; const char *printed; } row[] = {
		{ S("FROM:<>"), "MAIL FROM:<>" },
		{ S("FROM:<A@B.Example> SIZE=7"), "MAIL FROM:<A@B.Example>" },
		{ S("FROM:<@r:a@b> body=7bit"), "MAIL FROM:<a@b> BODY=7BIT" },
		{ S("FROM: <\"a b\"@[192.0.2.1]> HOLDFOR=60 AUTH=<> ENVID=x+3D RET=FULL BODY=BINARYMIME"),
			"MAIL FROM:<\"a b\"@[192.0.2.1]> BODY=BINARYMIME RET=FULL ENVID=x+3D AUTH=<> HOLDFOR=60" },
		{ S("FROM:<\xc3\xb8@b> HOLDUNTIL=2030-06-15T01:02:03Z REQUIRETLS AUTH=\xc3\xb8@b SMTPUTF8 RET=HDRS"),
			"MAIL FROM:<\xc3\xb8@b> SMTPUTF8 REQUIRETLS RET=HDRS AUTH=\xc3\xb8@b HOLDUNTIL=2030-06-15T01:02:03Z" },
	};
	struct buf b = { 0 };
	struct sender s, again;

	for (size_t i = 0; i < COUNT(row); i++) {
		ck_assert(!parse_mail(row[i].in, PARAM_ALL, &s).text);
		buf_clear(&b);
		ck_assert(print_mail(&b, &s));
		ck_assert_str_eq(buf_cstr(&b), row[i].printed);
		ck_assert(!parse_mail(str_from(buf_view(&b), 5), PARAM_ALL, &again).text);
		ck_assert(same_sender(&s, &again));
	}
	buf_free(&b);
}
END_TEST

/* ---- RCPT */

START_TEST(rcpt_is_answered_as_the_rfcs_ask)
{
	static const struct answer row[] = {
		{ S("TO:<a@b>"), 0, "" }, { S("to: <a@b>"), 0, "" }, { S("TO:<Postmaster>"), 0, "" },
		{ S("TO:<@r:a@b>"), 0, "" }, { S("TO:<a@b> "), 0, "" },
		{ S(""), 501, "5.5.2" }, { S("FROM:<a@b>"), 501, "5.5.2" },
		{ S("TO:a@b"), 501, "5.5.2" }, { S("TO:<a@b"), 501, "5.5.2" },
		{ S("TO:<a@b>x"), 501, "5.5.2" },
		{ S("TO:<>"), 501, "5.1.3" }, { S("TO:<a>"), 501, "5.1.3" },
		{ S("TO:<a@b_c>"), 501, "5.1.3" }, { S("TO:<a\x01@b>"), 501, "5.1.3" },
		{ S("TO:<\xc3\xb8@b>"), 553, "5.6.7" },
		{ S("TO:<a@b> SIZE=1"), 555, "5.5.4" }, { S("TO:<a@b> X"), 555, "5.5.4" },
		{ S("TO:<a@b> NOTIFY=NEVER"), 0, "" },
		{ S("TO:<a@b> notify=success,Delay,FAILURE"), 0, "" },
		{ S("TO:<a@b> NOTIFY=NEVER,SUCCESS"), 501, "5.5.4" },
		{ S("TO:<a@b> NOTIFY=SUCCESS,NEVER"), 501, "5.5.4" },
		{ S("TO:<a@b> NOTIFY=NEVER,NEVER"), 501, "5.5.4" },
		{ S("TO:<a@b> NOTIFY="), 501, "5.5.4" },
		{ S("TO:<a@b> NOTIFY=,"), 501, "5.5.4" }, { S("TO:<a@b> NOTIFY=DELAY,"), 501, "5.5.4" },
		{ S("TO:<a@b> NOTIFY=DELAYED"), 501, "5.5.4" }, { S("TO:<a@b> NOTIFY"), 501, "5.5.4" },
		{ S("TO:<a@b> NOTIFY=DELAY NOTIFY=DELAY"), 501, "5.5.4" },
		{ S("TO:<a@b> ORCPT=rfc822;c+2Bd@e"), 0, "" }, { S("TO:<a@b> ORCPT=x-y;z"), 0, "" },
		{ S("TO:<a@b> ORCPT=utf-8;\\x{F8}@b"), 0, "" },
		{ S("TO:<a@b> ORCPT=rfc822"), 501, "5.5.4" },
		{ S("TO:<a@b> ORCPT=;a@b"), 501, "5.5.4" },
		{ S("TO:<a@b> ORCPT=rfc822;"), 501, "5.5.4" },
		{ S("TO:<a@b> ORCPT=rf<c;a@b"), 501, "5.5.4" },
		{ S("TO:<a@b> ORCPT=rfc822;a+0Ab"), 501, "5.5.4" },
		{ S("TO:<a@b> ORCPT=rfc822;a+00"), 501, "5.5.4" },
		{ S("TO:<a@b> ORCPT=rfc822;a+4"), 501, "5.5.4" },
		{ S("TO:<a@b> ORCPT=rfc822;a+E9"), 501, "5.5.4" },
		{ S("TO:<a@b> ORCPT=utf-8;\xc3\xb8@b"), 501, "5.5.4" },
		{ S("TO:<a@b> ORCPT=rfc822;" A60 A60 A60 A60 A60 A60 A60 A60 A10 "aaa"), 0, "" },
		{ S("TO:<a@b> ORCPT=rfc822;" A60 A60 A60 A60 A60 A60 A60 A60 A10 "aaaa"), 501, "5.5.4" },
	};
	struct recipient r;

	for (size_t i = 0; i < COUNT(row); i++)
		check_answer(&row[i], parse_rcpt(row[i].in, PARAM_ALL, false, &r));
	ck_assert(!parse_rcpt(STR("TO:<\xc3\xb8@b> ORCPT=utf-8;\xc3\xb8@b"), PARAM_ALL, true, &r).text);
	ck_assert_int_eq(parse_rcpt(STR("TO:<\xff@b>"), PARAM_ALL, true, &r).code, 553);
	ck_assert_int_eq(parse_rcpt(STR("TO:<a@b> ORCPT=utf-8;\xff"), PARAM_ALL, true, &r).code, 501);
	ck_assert_int_eq(parse_rcpt(STR("TO:<a@b> NOTIFY=NEVER"), PARAM_ALL & ~PARAM_DSN, true, &r).code, 555);
}
END_TEST

START_TEST(notify_does_not_leak_to_the_next_recipient)
{
	struct recipient r;

	ck_assert(!parse_rcpt(STR("TO:<a@b> NOTIFY=DELAY,SUCCESS ORCPT=rfc822;x"), PARAM_ALL, false, &r).text);
	ck_assert(r.notify == (NOTIFY_DELAY | NOTIFY_SUCCESS) && same(r.orcpt, "rfc822;x"));
	ck_assert(!parse_rcpt(STR("TO:<a@b>"), PARAM_ALL, false, &r).text);
	ck_assert(r.notify == 0 && r.orcpt.n == 0);
}
END_TEST

START_TEST(printed_rcpt_reads_back_as_the_same)
{
	static const struct { struct str in; const char *printed; } row[] = {
		{ S("TO:<postmaster>"), "RCPT TO:<postmaster>" },
		{ S("TO:<a@B>"), "RCPT TO:<a@B>" },
		{ S("TO:<\"x>y\"@b> notify=never"), "RCPT TO:<\"x>y\"@b> NOTIFY=NEVER" },
		{ S("TO:<a@b> ORCPT=rfc822;c+2Bd NOTIFY=DELAY,FAILURE,SUCCESS,DELAY"), "RCPT TO:<a@b> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;c+2Bd" },
	};
	struct buf b = { 0 };
	struct recipient r, again;

	for (size_t i = 0; i < COUNT(row); i++) {
		ck_assert(!parse_rcpt(row[i].in, PARAM_ALL, false, &r).text);
		buf_clear(&b);
		ck_assert(print_rcpt(&b, &r));
		ck_assert_str_eq(buf_cstr(&b), row[i].printed);
		ck_assert(!parse_rcpt(str_from(buf_view(&b), 5), PARAM_ALL, false, &again).text);
		ck_assert(str_eq(r.addr.local, again.addr.local) && str_eq(r.addr.domain, again.addr.domain));
		ck_assert(r.notify == again.notify && str_eq(r.orcpt, again.orcpt));
	}
	buf_free(&b);
}
END_TEST

/* What is told of the end of a slice must not come from behind it. */
START_TEST(nothing_is_read_behind_the_end)
{
	static const struct str row[] = {
		S("FROM:<@r.example,@s:\"a\\ b\"@[IPv6:2001:db8::1]> SIZE=12 BODY=8BITMIME SMTPUTF8 ENVID=a+20b AUTH=<> HOLDUNTIL=2030-01-01T00:00:00.5Z"),
		S("FROM:<\xf0\x9f\x90\x99@\xe2\x82\xac.example> SMTPUTF8 RET=FULL"),
		S("TO:<@r:a.b@c.example> NOTIFY=SUCCESS,DELAY ORCPT=utf-8;\xf0\x9f\x90\x99+20x"),
	};
	struct sender s;
	struct recipient r;

	for (size_t i = 0; i < COUNT(row); i++) {
		for (size_t n = 0; n <= row[i].n; n++) {
			char *copy = malloc(n ? n : 1);         /* the sanitizer watches its end */

			ck_assert_ptr_nonnull(copy);
			memcpy(copy, row[i].p, n);
			parse_mail((struct str){ copy, n }, PARAM_ALL, &s);
			parse_rcpt((struct str){ copy, n }, PARAM_ALL, true, &r);
			free(copy);
		}
	}
}
END_TEST

/* ---- xtext */

START_TEST(xtext_is_decoded_or_refused_whole)
{
	static const struct { struct str in; const char *out; } row[] = {
		{ S(""), "" }, { S("abc"), "abc" }, { S("a+2Bb+3Dc+20"), "a+b=c " }, { S("+7E"), "~" },
		{ S("a b"), NULL }, { S("a=b"), NULL }, { S("+"), NULL }, { S("+2"), NULL },
		{ S("+2b"), NULL }, { S("++2B"), NULL }, { S("+G0"), NULL },
		{ S("+00"), NULL }, { S("+0A"), NULL }, { S("+1F"), NULL }, { S("+7F"), NULL },
		{ S("+80"), NULL }, { S("+FF"), NULL }, { S("a\n"), NULL },
		{ S("\xc3\xb8"), NULL }, { S("a\0"), NULL },
	};
	struct buf b = { 0 }, again = { 0 };

	for (size_t i = 0; i < COUNT(row); i++) {
		buf_clear(&b);
		ck_assert_msg(xtext_valid(row[i].in) == (row[i].out != NULL), "row %zu", i);
		ck_assert(xtext_decode(&b, row[i].in) == (row[i].out != NULL));
		ck_assert_str_eq(buf_cstr(&b), row[i].out ? row[i].out : "");
		buf_clear(&again);
		ck_assert(xtext_encode(&again, buf_view(&b)) && xtext_valid(buf_view(&again)));
		buf_clear(&b);
		ck_assert(xtext_decode(&b, buf_view(&again)));
		ck_assert_str_eq(buf_cstr(&b), row[i].out ? row[i].out : "");
	}
	ck_assert(!xtext_encode(&again, STR("a\n")) && !xtext_encode(&again, STR("\xc3\xb8")));
	buf_free(&b);
	buf_free(&again);
}
END_TEST

/* ---- replies */

START_TEST(reply_line_is_code_mark_and_text)
{
	static const struct { struct str in; int code; bool last; const char *text; } row[] = {
		{ S("250 ok"), 250, true, "ok" }, { S("250-more"), 250, false, "more" },
		{ S("250"), 250, true, "" }, { S("250 "), 250, true, "" },
		{ S("250-"), 250, false, "" }, { S("354 go  on"), 354, true, "go  on" },
		{ S("200 x"), 200, true, "x" }, { S("599 x"), 599, true, "x" },
		{ S("250  x"), 250, true, " x" },
		{ S(""), 0, false, "" }, { S("25"), 0, false, "" }, { S("25 0"), 0, false, "" },
		{ S("2500"), 0, false, "" }, { S("199 x"), 0, false, "" }, { S("600 x"), 0, false, "" },
		{ S("099 x"), 0, false, "" }, { S("-50 x"), 0, false, "" },
		{ S("+50 x"), 0, false, "" }, { S("250\tx"), 0, false, "" },
		{ S("250_x"), 0, false, "" },
		{ S("abc"), 0, false, "" }, { S(" 250 x"), 0, false, "" }, { S("250\0"), 0, false, "" },
	};

	for (size_t i = 0; i < COUNT(row); i++) {
		struct str text;
		bool last;
		int code;

		ck_assert_msg(parse_reply_line(row[i].in, &code, &last, &text) == (row[i].code != 0), "%s", row[i].in.p);
		if (row[i].code)
			ck_assert_msg(code == row[i].code && last == row[i].last && same(text, row[i].text), "%s", row[i].in.p);
	}
}
END_TEST

START_TEST(enhanced_code_is_split_off_when_its_class_fits)
{
	static const struct { int code; struct str in; const char *enhanced, *text; } row[] = {
		{ 250, S("2.1.5 ok"), "2.1.5", "ok" }, { 550, S("5.7.2"), "5.7.2", "" },
		{ 450, S("4.999.999 x"), "4.999.999", "x" }, { 250, S("2.0.0  x"), "2.0.0", " x" },
		{ 250, S("5.1.5 ok"), "", "5.1.5 ok" }, { 354, S("3.0.0 x"), "", "3.0.0 x" },
		{ 250, S("2.1"), "", "2.1" }, { 250, S("2.1."), "", "2.1." },
		{ 250, S("2..1 x"), "", "2..1 x" },
		{ 250, S("2.1.5x"), "", "2.1.5x" }, { 250, S("2.1.5.6 x"), "", "2.1.5.6 x" },
		{ 250, S("2.1234.5 x"), "", "2.1234.5 x" }, { 250, S(""), "", "" },
		{ 250, S("2"), "", "2" },
		{ 250, S(" 2.1.5"), "", " 2.1.5" }, { 250, S("22.1.5 x"), "", "22.1.5 x" },
	};

	for (size_t i = 0; i < COUNT(row); i++) {
		struct str text = row[i].in;
		char enhanced[12];

		parse_enhanced(row[i].code, &text, enhanced);
		ck_assert_str_eq(enhanced, row[i].enhanced);
		ck_assert_msg(same(text, row[i].text), "%s", row[i].in.p);
	}
}
END_TEST

START_TEST(reply_text_is_cut_and_made_printable)
{
	char big[2 * REPLY_TEXT];
	struct reply r;

	reply_set(&r, 550, "5.1.1", "no %s\r\n\x1b[2J\t\xc3\xb8", "such user");
	ck_assert_int_eq(r.code, 550);
	ck_assert_str_eq(r.enhanced, "5.1.1");
	ck_assert_str_eq(r.text, "no such user???[2J???");
	reply_set(&r, 451, NULL, "%s", r.text);
	ck_assert_str_eq(r.text, "no such user???[2J???");
	ck_assert_str_eq(r.enhanced, "");
	memset(big, 'x', sizeof(big));
	big[sizeof(big) - 1] = 0;
	reply_set(&r, 0, "5.7.1234567890", "%s", big);
	ck_assert_uint_eq(strlen(r.text), REPLY_TEXT - 1);
	ck_assert_str_eq(r.enhanced, "");
	reply_set(&r, 250, "2.0.0", "%%n %s", "%n%s");
	ck_assert_str_eq(r.text, "%n %n%s");
}
END_TEST

/* ---- EHLO */

static struct capabilities ehlo(const char *lines)
{
	struct capabilities c = { 0 };
	struct str rest = str_of(lines), line;

	while (str_cut(&rest, '\n', &line))
		parse_capability(line, &c);
	parse_capability(rest, &c);
	return c;
}

START_TEST(capabilities_are_found_by_keyword)
{
	struct capabilities c = ehlo("mx.example.net says hello\nPIPELINING\nSIZE 1000\n8BitMime\nENHANCEDSTATUSCODES\nSTARTTLS\nCHUNKING\n"
		"SMTPUTF8\nDSN\nREQUIRETLS\nBINARYMIME\nX-SOMETHING\n\n \nLIMITS RCPTMAX=7");

	ck_assert_uint_eq(c.set, 4095u & ~(unsigned)CAP_AUTH);
	ck_assert_uint_eq(c.size, 1000);
	ck_assert_uint_eq(c.rcpt_max, 7);
	c = ehlo("PIPELININGX\nSIZE1000\nX-DSN");
	ck_assert_uint_eq(c.set, 0);
}
END_TEST

START_TEST(size_without_a_sane_number_is_no_limit)
{
	static const struct { const char *line; uint64_t size; } row[] = {
		{ "SIZE 52428800", 52428800 }, { "size 1", 1 }, { "SIZE", 0 }, { "SIZE 0", 0 },
		{ "SIZE -1", 0 }, { "SIZE abc", 0 }, { "SIZE 18446744073709551616", 0 },
		{ "SIZE 9223372036854775808", 0 }, { "SIZE 10 20", 10 },
	};

	for (size_t i = 0; i < COUNT(row); i++) {
		struct capabilities c = ehlo(row[i].line);

		ck_assert_msg(c.size == row[i].size && c.set == CAP_SIZE, "%s", row[i].line);
	}
}
END_TEST

START_TEST(limits_are_taken_whole_or_not_at_all)
{
	static const struct { const char *line; unsigned mail, rcpt, domain; } row[] = {
		{ "LIMITS MAILMAX=1 RCPTMAX=2 RCPTDOMAINMAX=3", 1, 2, 3 },
		{ "limits rcptmax=999999", 0, 999999, 0 }, { "LIMITS", 0, 0, 0 },
		{ "LIMITS NEW=x RCPTMAX=5 OTHER=1.5", 0, 5, 0 }, { "LIMITS FLAG RCPTMAX=5", 0, 5, 0 },
		{ "LIMITS V=a=b RCPTMAX=5", 0, 5, 0 },
		/* a value that makes no sense is ignored alone */
		{ "LIMITS RCPTMAX=0 MAILMAX=4", 4, 0, 0 },
		{ "LIMITS RCPTMAX=1000000 MAILMAX=4", 4, 0, 0 },
		{ "LIMITS RCPTMAX=0000005 MAILMAX=4", 4, 0, 0 },
		{ "LIMITS RCPTMAX=x MAILMAX=4", 4, 0, 0 },
		{ "LIMITS RCPTMAX=-1 MAILMAX=4", 4, 0, 0 }, { "LIMITS RCPTMAX MAILMAX=4", 4, 0, 0 },
		/* what breaks the syntax, or comes twice, spoils all */
		{ "LIMITS RCPTMAX=5 MAILMAX=", 0, 0, 0 }, { "LIMITS RCPTMAX=5 =3", 0, 0, 0 },
		{ "LIMITS RCPTMAX=5  MAILMAX=1", 0, 0, 0 }, { "LIMITS RCPTMAX=5 A;B=1", 0, 0, 0 },
		{ "LIMITS RCPTMAX=5 A=b;c", 0, 0, 0 }, { "LIMITS RCPTMAX=5 A=\x01", 0, 0, 0 },
		{ "LIMITS RCPTMAX=5\tMAILMAX=1", 0, 0, 0 },
		{ "LIMITS RCPTMAX=5 rcptmax=5", 0, 0, 0 },
		{ "LIMITS RCPTMAX=5 X=1 MAILMAX=3 x=2", 0, 0, 0 },
		{ "LIMITS RCPTMAX=5\nLIMITS MAILMAX=3", 0, 0, 0 },
	};

	for (size_t i = 0; i < COUNT(row); i++) {
		struct capabilities c = ehlo(row[i].line);

		ck_assert_msg(c.set == CAP_LIMITS, "%s", row[i].line);
		ck_assert_msg(c.mail_max == row[i].mail && c.rcpt_max == row[i].rcpt && c.rcpt_domain_max == row[i].domain,
			"%s: %u %u %u", row[i].line, c.mail_max, c.rcpt_max, c.rcpt_domain_max);
	}
}
END_TEST

START_TEST(auth_mechanisms_are_bounded_words)
{
	struct buf line = { 0 };
	struct capabilities c = ehlo("AUTH plain LOGIN\nAUTH SCRAM-SHA-256 B\x01" "AD M(ECH MUCH-TOO-LONG-FOR-A-MECHANISM");

	ck_assert_str_eq(c.auth, "PLAIN LOGIN SCRAM-SHA-256");
	ck_assert_uint_eq(c.set, CAP_AUTH);
	buf_puts(&line, "AUTH");
	for (int i = 0; i < 100; i++)
		buf_printf(&line, " MECHANISM-%d", i);
	c = ehlo(buf_cstr(&line));
	ck_assert(strlen(c.auth) < sizeof(c.auth) && strstr(c.auth, "MECHANISM-0 MECHANISM-1"));
	buf_free(&line);
}
END_TEST

Suite *parse_suite(void)
{
	Suite *s = suite_create("parse");
	TCase *address = tcase_create("address"), *command = tcase_create("command"), *reply = tcase_create("reply");

	tcase_add_test(address, path_gives_local_part_and_domain);
	tcase_add_test(address, path_that_is_none_is_refused_and_not_taken);
	tcase_add_test(address, path_allows_null_and_postmaster_only_where_told);
	tcase_add_test(address, utf8_must_be_well_formed_and_free_of_control_characters);
	tcase_add_test(address, lengths_are_held_to_the_octet);
	tcase_add_test(address, bare_address_is_the_whole_slice);
	tcase_add_test(address, domain_takes_literals_only_where_told);
	tcase_add_test(address, literal_gives_the_address);
	tcase_add_test(address, printed_address_has_its_domain_in_lower_case);
	tcase_add_test(address, printing_into_a_full_buffer_fails);
	suite_add_tcase(s, address);
	tcase_add_test(command, an_address_alone_may_be_as_long_as_one_in_a_path);
	tcase_add_test(command, mail_is_answered_as_the_rfcs_ask);
	tcase_add_test(command, mail_parameter_that_was_not_offered_is_unknown);
	tcase_add_test(command, mail_parameters_arrive);
	tcase_add_test(command, hold_until_is_a_real_moment_in_utc);
	tcase_add_test(command, days_of_four_centuries_print_as_it_was_read);
	tcase_add_test(command, printed_mail_reads_back_as_the_same);
	tcase_add_test(command, rcpt_is_answered_as_the_rfcs_ask);
	tcase_add_test(command, notify_does_not_leak_to_the_next_recipient);
	tcase_add_test(command, printed_rcpt_reads_back_as_the_same);
	tcase_add_test(command, nothing_is_read_behind_the_end);
	tcase_add_test(command, xtext_is_decoded_or_refused_whole);
	suite_add_tcase(s, command);
	tcase_add_test(reply, reply_line_is_code_mark_and_text);
	tcase_add_test(reply, enhanced_code_is_split_off_when_its_class_fits);
	tcase_add_test(reply, reply_text_is_cut_and_made_printable);
	tcase_add_test(reply, capabilities_are_found_by_keyword);
	tcase_add_test(reply, size_without_a_sane_number_is_no_limit);
	tcase_add_test(reply, limits_are_taken_whole_or_not_at_all);
	tcase_add_test(reply, auth_mechanisms_are_bounded_words);
	suite_add_tcase(s, reply);
	return s;
}
