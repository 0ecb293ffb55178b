/* SOCKS5: what is asked of a proxy, and what its answers mean, however they are cut. */
#include "lib/socks.h"

#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <string.h>

Suite *lib_socks_suite(void);

static const struct { const char *text, *name, *user, *password; } right[] = {
	{ "socks5://127.0.0.1:1081", "127.0.0.1:1081", "", "" },
	{ "SOCKS5://192.0.2.1", "192.0.2.1:1080", "", "" },
	{ "socks5://[2001:db8::1]", "[2001:db8::1]:1080", "", "" },
	{ "socks5://anna%40x:a%3ab:c@[::1]:9050", "[::1]:9050", "anna@x", "a:b:c" },
};

START_TEST(a_proxy_is_an_address_and_perhaps_a_login)
{
	struct socks_proxy p;
	const char *wrong = socks_parse(str_of(right[_i].text), &p);

	ck_assert_msg(!wrong, "%s", wrong);
	ck_assert_str_eq(p.name, right[_i].name);
	ck_assert_str_eq(p.user, right[_i].user);
	ck_assert_str_eq(p.password, right[_i].password);
}
END_TEST

static const char *const wrong_ones[] = {
	"", "127.0.0.1:1080", "http://127.0.0.1", "socks5://", "socks5://proxy.test", "socks5://127.0.0.1:0", "socks5://127.0.0.1:65536", "socks5://::1",
	"socks5://[127.0.0.1]", "socks5://a@127.0.0.1", "socks5://a:@127.0.0.1", "socks5://:b@127.0.0.1", "socks5://a:%0@127.0.0.1", "socks5://127.0.0.1:80/",
	"socks5h://127.0.0.1", "socks5://[::1", "socks5://[]",
};

START_TEST(what_is_no_proxy_is_refused)
{
	struct socks_proxy p;

	ck_assert_ptr_nonnull(socks_parse(str_of(wrong_ones[_i]), &p));
}
END_TEST

#define OCTETS(s) s, sizeof(s) - 1
static const struct { const char *proxy, *to; const char *in; size_t in_n; const char *out; size_t out_n; enum socks_state state; const char *why; } talks[] = {
	{ "socks5://127.0.0.1", "192.0.2.1", OCTETS("\5\0" "\5\0\0\1\1\2\3\4\0\1"), OCTETS("\5\1\0" "\5\1\0\1\300\0\2\1\0\31"), SOCKS_OPEN, "" },
	{ "socks5://127.0.0.1", "2001:db8::1", OCTETS("\5\0" "\5\0\0\4\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\0\1"),
		OCTETS("\5\1\0" "\5\1\0\4\x20\1\xd\xb8\0\0\0\0\0\0\0\0\0\0\0\1\0\31"), SOCKS_OPEN, "" },
	{ "socks5://127.0.0.1", "192.0.2.1", OCTETS("\5\0" "\5\0\0\3\5proxy\0\1"), OCTETS("\5\1\0" "\5\1\0\1\300\0\2\1\0\31"), SOCKS_OPEN, "" },
	{ "socks5://me:pw@127.0.0.1", "192.0.2.1", OCTETS("\5\2" "\1\0" "\5\0\0\1\1\2\3\4\0\1"),
		OCTETS("\5\2\0\2" "\1\2me\2pw" "\5\1\0\1\300\0\2\1\0\31"), SOCKS_OPEN, "" },
	{ "socks5://me:pw@127.0.0.1", "192.0.2.1", OCTETS("\5\0" "\5\0\0\1\1\2\3\4\0\1"), OCTETS("\5\2\0\2" "\5\1\0\1\300\0\2\1\0\31"), SOCKS_OPEN, "" },
	{ "socks5://me:pw@127.0.0.1", "192.0.2.1", OCTETS("\5\2" "\1\1"), OCTETS("\5\2\0\2" "\1\2me\2pw"), SOCKS_BROKEN, "it refuses the login of me" },
	{ "socks5://me:pw@127.0.0.1", "192.0.2.1", OCTETS("\5\377"), OCTETS("\5\2\0\2"), SOCKS_BROKEN, "it takes no name and password" },
	{ "socks5://127.0.0.1", "192.0.2.1", OCTETS("\5\377"), OCTETS("\5\1\0"), SOCKS_BROKEN, "it wants a login, and none is configured" },
	{ "socks5://127.0.0.1", "192.0.2.1", OCTETS("\5\2"), OCTETS("\5\1\0"), SOCKS_BROKEN, "a login (2) that was not offered" },
	{ "socks5://127.0.0.1", "192.0.2.1", OCTETS("HTTP/1.1 400"), OCTETS("\5\1\0"), SOCKS_BROKEN, "it does not speak SOCKS5" },
	{ "socks5://127.0.0.1", "192.0.2.1", OCTETS("\5\0" "\4\0"), OCTETS("\5\1\0" "\5\1\0\1\300\0\2\1\0\31"), SOCKS_BROKEN, "it does not speak SOCKS5" },
	{ "socks5://127.0.0.1", "192.0.2.1", OCTETS("\5\0" "\5\0\0\7xxxxx"), OCTETS("\5\1\0" "\5\1\0\1\300\0\2\1\0\31"), SOCKS_BROKEN, "makes no sense" },
};

static const struct { const char *words; enum socks_state state; } failures[] = {
	{ "general failure", SOCKS_REFUSED }, { "does not allow the connection", SOCKS_BROKEN }, { "network unreachable", SOCKS_REFUSED },
	{ "host unreachable", SOCKS_REFUSED }, { "connection refused", SOCKS_REFUSED }, { "TTL expired", SOCKS_REFUSED },
	{ "does not know CONNECT", SOCKS_BROKEN }, { "addresses of this family", SOCKS_REFUSED }, { "failure number 9", SOCKS_REFUSED },
};

static struct sockaddr_storage address(const char *text)
{
	struct sockaddr_storage ss = { 0 };
	struct sockaddr_in *v4 = (struct sockaddr_in *)&ss;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&ss;

	if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(25);
	} else {
		ck_assert_int_eq(inet_pton(AF_INET6, text, &v6->sin6_addr), 1);
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(25);
	}
	return ss;
}

/* Plays a proxy's octets, `piece` at a time. Octets behind the last that are used stay: they are the peer's. */
static size_t play(struct socks *s, const char *in, size_t n, size_t piece, struct buf *out)
{
	size_t used = 0, come = 0, now;

	do {
		come = come + piece < n ? come + piece : n;
		while ((now = socks_take(s, (struct str){ in + used, come - used }, out)))
			used += now;
	} while (come < n);
	return used;
}

START_TEST(a_proxy_is_asked_for_the_address_and_its_answer_understood_in_any_pieces)
{
	struct sockaddr_storage to = address(talks[_i].to);
	struct socks_proxy p;

	ck_assert_ptr_null(socks_parse(str_of(talks[_i].proxy), &p));
	for (size_t piece = 1; piece <= talks[_i].in_n; piece++) {
		struct buf out = { 0 };
		struct socks s;

		socks_begin(&s, &p, (struct sockaddr *)&to, &out);
		play(&s, talks[_i].in, talks[_i].in_n, piece, &out);
		ck_assert_int_eq(s.state, talks[_i].state);
		ck_assert_msg(strstr(s.why, talks[_i].why) != NULL, "%s", s.why);
		ck_assert_uint_eq(out.n, talks[_i].out_n);
		ck_assert_int_eq(memcmp(out.p, talks[_i].out, out.n), 0);
		buf_free(&out);
	}
}
END_TEST

START_TEST(what_comes_behind_the_answer_is_left_for_the_peer)
{
	struct sockaddr_storage to = address("192.0.2.1");
	static const char in[] = "\5\0\5\0\0\1\0\0\0\0\0\0" "220 mx";
	struct buf out = { 0 };
	struct socks_proxy p;
	struct socks s;

	ck_assert_ptr_null(socks_parse(STR("socks5://127.0.0.1"), &p));
	socks_begin(&s, &p, (struct sockaddr *)&to, &out);
	ck_assert_uint_eq(play(&s, in, sizeof in - 1, sizeof in, &out), 12);
	ck_assert_int_eq(s.state, SOCKS_OPEN);
	buf_free(&out);
}
END_TEST

START_TEST(each_failure_has_words_and_is_the_peers_or_the_proxys)
{
	struct sockaddr_storage to = address("192.0.2.1");
	char in[12] = "\5\0\5\0\0\1";
	struct buf out = { 0 };
	struct socks_proxy p;
	struct socks s;

	in[3] = (char)(_i + 1);
	ck_assert_ptr_null(socks_parse(STR("socks5://127.0.0.1"), &p));
	for (size_t n = 4; n <= sizeof in; n++) {       /* also one that is cut short */
		socks_begin(&s, &p, (struct sockaddr *)&to, &out);
		play(&s, in, n, n, &out);
		ck_assert_int_eq(s.state, failures[_i].state);
		ck_assert_msg(strstr(s.why, failures[_i].words) != NULL, "%s", s.why);
	}
	buf_free(&out);
}
END_TEST

#define ROWS(a) (int)(sizeof(a) / sizeof *(a))

Suite *lib_socks_suite(void)
{
	Suite *s = suite_create("lib_socks");
	TCase *t = tcase_create("socks");

	tcase_add_loop_test(t, a_proxy_is_an_address_and_perhaps_a_login, 0, ROWS(right));
	tcase_add_loop_test(t, what_is_no_proxy_is_refused, 0, ROWS(wrong_ones));
	tcase_add_loop_test(t, a_proxy_is_asked_for_the_address_and_its_answer_understood_in_any_pieces, 0, ROWS(talks));
	tcase_add_test(t, what_comes_behind_the_answer_is_left_for_the_peer);
	tcase_add_loop_test(t, each_failure_has_words_and_is_the_peers_or_the_proxys, 0, ROWS(failures));
	suite_add_tcase(s, t);
	return s;
}
