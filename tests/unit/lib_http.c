/* One GET over HTTPS: what is an answer, whose certificate is believed, and how it ends. */
#include "lib/http.h"

#include <check.h>
#include <netinet/in.h>
#include <string.h>

#include "lib/tls.h"
#include "tests/peer.h"

Suite *lib_http_suite(void);

/* ---- the parser. end: 'w' the peer has said that it is all, 'b' it broke off, ' ' the connection stands */

#define OK "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
static const struct { const char *octets; char end; const char *body, *wrong; } answers[] = {
	{ OK "Content-Length: 5\r\n\r\nhello", ' ', "hello", NULL },
	{ OK "Content-Length: 5\r\n\r\nhello, world", ' ', "hello", NULL },
	{ OK "Content-Length: 0\r\n\r\n", ' ', "", NULL },
	{ OK "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", ' ', "hello", NULL },
	{ "HTTP/1.0 200\r\ncontent-type:text/plain;charset=utf-8\r\nCONTENT-LENGTH:\t1 \r\n\r\nx", ' ', "x", NULL },
	{ "HTTP/1.1 200 OK\nContent-Type: Text/Plain ; x=y\nContent-Length: 1\n\nx", ' ', "x", NULL },
	{ "HTTP/1.1 100 Continue\r\nContent-Type: text/html\r\n\r\nHTTP/1.1 103 \r\n\r\n" OK "Content-Length: 1\r\n\r\nx", ' ', "x", NULL },
	{ OK "Content-Encoding: identity\r\nContent-Length: 1\r\n\r\nx", ' ', "x", NULL },
	/* to the end of the connection, which must be a real one */
	{ OK "\r\nto the end", 'w', "to the end", NULL },
	{ OK "\r\n", 'w', "", NULL },
	{ OK "\r\nto the", 'b', NULL, "ended before" },
	{ OK "Content-Length: 5\r\n\r\nhell", 'w', NULL, "ended before" },
	{ OK "Content-Le", 'w', NULL, "ended before" }, { "", 'w', NULL, "ended before" },
	/* chunks */
	{ OK "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", ' ', "hello", NULL },
	{ OK "Transfer-Encoding: Chunked\r\nContent-Length: 3\r\n\r\n00005;x=y\r\nhello\r\n7 \r\n, world\r\n000\r\nTrailer: x\r\n\r\n", ' ', "hello, world", NULL },
	{ OK "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", ' ', "", NULL },
	{ OK "Transfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n", ' ', "0123456789", NULL },
	{ OK "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", 'w', NULL, "ended before" },
	{ OK "Transfer-Encoding: chunked\r\n\r\n5\r\nhello!\r\n0\r\n\r\n", ' ', NULL, "longer than it says" },
	{ OK "Transfer-Encoding: chunked\r\n\r\nx\r\n", ' ', NULL, "size of a chunk" }, { OK "Transfer-Encoding: chunked\r\n\r\n\r\n", ' ', NULL, "size of a chunk" },
	{ OK "Transfer-Encoding: chunked\r\n\r\n-1\r\n", ' ', NULL, "size of a chunk" }, { OK "Transfer-Encoding: chunked\r\n\r\n0x5\r\n", ' ', NULL, "size of a chunk" },
	{ OK "Transfer-Encoding: chunked\r\n\r\n10001\r\n", ' ', NULL, "longer than 65536" },
	{ OK "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffffffff\r\n", ' ', NULL, "longer than 65536" },
	{ OK "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n10000\r\n", ' ', NULL, "longer than 65536" },
	/* answers that do not count */
	{ "HTTP/1.1 301 Moved\r\nLocation: https://x/\r\n\r\n", ' ', NULL, "status 301: redirects" },
	{ "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\n\r\n", ' ', NULL, "status 404" },
	{ "HTTP/1.1 206 Partial\r\nContent-Type: text/plain\r\n\r\n", ' ', NULL, "status 206" },
	{ "HTTP/1.1 101 Switching\r\n\r\n", ' ', NULL, "status 101" },
	{ "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 1\r\n\r\nx", ' ', NULL, "not text/plain" },
	{ "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", ' ', NULL, "not text/plain" },
	{ OK "Content-Type: text/html\r\nContent-Length: 1\r\n\r\nx", ' ', NULL, "not text/plain" },
	{ "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Type: text/plain\r\n\r\n", ' ', NULL, "not text/plain" },
	{ OK "Content-Encoding: gzip\r\n\r\n", ' ', NULL, "compressed" },
	{ OK "Transfer-Encoding: gzip, chunked\r\n\r\n", ' ', NULL, "compressed" },
	{ OK "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", ' ', NULL, "compressed" },
	{ OK "Content-Length: 65537\r\n\r\n", ' ', NULL, "longer than 65536" },
	{ OK "Content-Length: x\r\n\r\n", ' ', NULL, "no number" }, { OK "Content-Length: -1\r\n\r\n", ' ', NULL, "no number" },
	{ OK "Content-Length: 5, 5\r\n\r\n", ' ', NULL, "no number" }, { OK "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", ' ', NULL, "no number" },
	{ OK "Content-Length: 99999999999999999999\r\n\r\n", ' ', NULL, "no number" },
	/* no HTTP */
	{ "220 mx.test ESMTP\r\n", ' ', NULL, "not HTTP/1" }, { "HTTP/2 200 OK\r\n", ' ', NULL, "not HTTP/1" }, { "HTTP/1.1 20 OK\r\n", ' ', NULL, "not HTTP/1" },
	{ "HTTP/1.1 2000 OK\r\n", ' ', NULL, "not HTTP/1" }, { "HTTP/1.1  200 OK\r\n", ' ', NULL, "not HTTP/1" }, { "HTTP/1.1 099 OK\r\n", ' ', NULL, "not HTTP/1" },
	{ "HTTP/1.", 'w', NULL, "ended before" }, { "\r\n", ' ', NULL, "not HTTP/1" },
	{ OK "no colon\r\n", ' ', NULL, "cannot be understood" }, { OK ": x\r\n", ' ', NULL, "cannot be understood" },
	{ OK "Name : x\r\n", ' ', NULL, "cannot be understood" }, { OK "X: y\r\n folded: x\r\n", ' ', NULL, "cannot be understood" },
	{ OK "X: a\rb\r\n", ' ', NULL, "does not belong" },
};

static void check_answer(const struct http_reply *r, size_t i)
{
	const char *wrong = answers[i].wrong;

	ck_assert_msg(http_reply_over(r), "not over: %s", answers[i].octets);
	ck_assert_msg(wrong ? strstr(r->wrong, wrong) != NULL : !r->wrong[0], "%s: \"%s\", wanted %s", answers[i].octets, r->wrong, wrong ? wrong : "none");
	if (!wrong)
		ck_assert_msg(str_eq(buf_view(&r->body), str_of(answers[i].body)), "%s: " STR_FMT, answers[i].octets, STR_ARG(buf_view(&r->body)));
	else
		ck_assert_uint_eq(r->body.n, 0);
}

START_TEST(an_answer_is_text_in_whole_or_none)
{
	struct http_reply whole = { 0 }, pieces = { 0 };
	struct str octets = str_of(answers[_i].octets);

	http_reply_take(&whole, octets);
	for (size_t i = 0; i < octets.n; i++)
		http_reply_take(&pieces, (struct str){ octets.p + i, 1 });
	if (answers[_i].end != ' ') {
		ck_assert(!http_reply_over(&whole) && !http_reply_over(&pieces));
		http_reply_end(&whole, answers[_i].end == 'w');
		http_reply_end(&pieces, answers[_i].end == 'w');
	}
	check_answer(&whole, (size_t)_i);
	check_answer(&pieces, (size_t)_i);
	http_reply_free(&whole);
	http_reply_free(&pieces);
}
END_TEST

/* Adds n times the same. */
static void take_many(struct http_reply *r, const char *text, size_t n)
{
	while (n--)
		http_reply_take(r, str_of(text));
}

START_TEST(nobody_makes_us_keep_more_than_the_bounds)
{
	struct http_reply r = { 0 };

	http_reply_take(&r, STR(OK "\r\n"));
	take_many(&r, "0123456789abcdef", HTTP_BODY / 16);
	ck_assert(!http_reply_over(&r));
	http_reply_take(&r, STR("x"));
	ck_assert_ptr_nonnull(strstr(r.wrong, "longer than 65536"));

	r = (struct http_reply){ 0 };
	take_many(&r, "HTTP/1.1 100 \r\n\r\n", HTTP_HEAD / 17 + 1);
	ck_assert_ptr_nonnull(strstr(r.wrong, "too long"));

	r = (struct http_reply){ 0 };
	http_reply_take(&r, STR(OK));
	take_many(&r, "0123456789abcdef", HTTP_LINE / 16 + 1);
	ck_assert_ptr_nonnull(strstr(r.wrong, "too long"));

	r = (struct http_reply){ 0 };
	http_reply_take(&r, STR(OK "Transfer-Encoding: chunked\r\n\r\n"));
	take_many(&r, "1\r\nx\r\n", HTTP_HEAD);
	ck_assert_ptr_nonnull(strstr(r.wrong, "too long"));
	ck_assert_ptr_null(r.body.p);
	http_reply_free(&r);
}
END_TEST

/* ---- the connection */

static struct tls_trust *trust;
static struct buf got;                          /* the body, or "wrong: ..." */
static unsigned answered;
static struct sockaddr_storage addresses[3];
static struct http_request request;

static void on_done(void *arg, const struct http_answer *a)
{
	ck_assert_ptr_eq(arg, &got);
	answered++;
	buf_clear(&got);
	if (a->wrong) {
		ck_assert_uint_eq(a->body.n, 0);
		buf_printf(&got, "wrong: %s", a->wrong);
	} else
		buf_str(&got, a->body);
}

static void setup(void)
{
	loop_virtual_clock(1796000000);
	trust = tls_trust_new("tests/pki/ec.crt");
	answered = 0;
	request = (struct http_request){ .host = "mx.example.org", .path = "/.well-known/x.txt", .addr = addresses, .trust = trust, .within = 60000 };
}

static void teardown(void)
{
	tls_trust_free(trust);
	buf_free(&got);
}

static void called_at(const struct peer *p)
{
	socklen_t len;
	const struct sockaddr *a = peer_address(p, &len);

	memcpy(&addresses[request.n++], a, len);
}

static void get(void)
{
	ck_assert_ptr_nonnull(http_get(&request, on_done, &got));
	ck_assert_uint_eq(answered, 0);                 /* never from inside */
	for (int i = 0; i < 20000 && !answered; i++)
		loop_turn(10);
	for (int i = 0; i < 20; i++)
		loop_turn(0);
	ck_assert_uint_eq(answered, 1);
}

#define ASKED "tls\nC: GET /.well-known/x.txt HTTP/1.1\nC: Host: mx.example.org:*\nC: User-Agent: *\nC: Accept: text/plain\n" \
	"C: Accept-Encoding: identity\nC: Connection: close\ntake 2\n"
#define ANSWER "S: HTTP/1.1 200 OK\nS: Content-Type: text/plain\n"

static const struct { const char *script, *host, *got; } talks[] = {
	{ ASKED ANSWER "W: Content-Length: 5\\r\\n\\r\\nhello\neof\n", NULL, "hello" },
	{ ASKED ANSWER "W: Transfer-Encoding: chunked\\r\\n\\r\\n5\\r\\nhello\\r\\n0\\r\\n\\r\\n\neof\n", NULL, "hello" },
	/* To the end of the connection: whoever cuts it cannot say that inside TLS. */
	{ ASKED ANSWER "W: \\r\\nhello\nclose\n", NULL, "hello" },
	{ ASKED ANSWER "W: \\r\\nhello\nshut\n", NULL, "wrong: *ended before the answer did" },
	{ ASKED "S: HTTP/1.1 302 Found\nW: Location: https://mx.example.org/\\r\\n\\r\\n\neof\n", NULL, "wrong: *status 302: redirects are not followed" },
	{ ASKED ANSWER "W: Content-Length: 5\\r\\n\\r\\nhell\nclose\n", NULL, "wrong: *" },
	{ ASKED "close\n", NULL, "wrong: *" },
	{ ASKED "wait 70\n", NULL, "wrong: *no answer within 60 s" },
	{ "wait 70\n", NULL, "wrong: *no answer within 60 s" },
	{ "take 5\nW: HTTP/1.1 400 this is TLS\\r\\n\\r\\n\nclose\n", NULL, "wrong: *" },
	{ "tls\neof\n", "other.example.org", "wrong: *certificate*" },
};

/* A '*' in the pattern stands for anything. */
static bool fits(const char *text, const char *pattern)
{
	for (; *pattern; pattern++, text++) {
		if (*pattern == '*') {
			for (; *text; text++)
				if (fits(text, pattern + 1))
					return true;
			return !pattern[1];
		}
		if (*text != *pattern)
			return false;
	}
	return !*text;
}

START_TEST(a_text_comes_from_a_host_that_is_believed_or_not_at_all)
{
	struct peer *p = peer_new_tcp(talks[_i].script);

	if (talks[_i].host)
		request.host = talks[_i].host;
	called_at(p);
	get();
	ck_assert_msg(fits(buf_cstr(&got), talks[_i].got), "%s: %s", talks[_i].script, buf_cstr(&got));
	if (!strstr(talks[_i].script, "wait") && !talks[_i].host)
		ck_assert_msg(!peer_trouble(p), "%s", peer_trouble(p));
	peer_free(p);
}
END_TEST

START_TEST(octet_by_octet_it_is_the_same)
{
	struct peer *p = peer_new_tcp(talks[_i].script);

	peer_octets(p);
	called_at(p);
	get();
	ck_assert_str_eq(buf_cstr(&got), talks[_i].got);
	peer_free(p);
}
END_TEST

START_TEST(a_certificate_from_nobody_that_is_trusted_is_refused)
{
	struct peer *p = peer_new_tcp("tls\neof\n");

	tls_trust_free(trust);
	request.trust = trust = tls_trust_new("tests/pki/other.crt");
	called_at(p);
	get();
	ck_assert_msg(strstr(buf_cstr(&got), "certificate"), "%s", buf_cstr(&got));
	peer_free(p);
}
END_TEST

START_TEST(without_authorities_nobody_is_called)
{
	struct peer *p = peer_new_tcp("close\n");

	tls_trust_free(trust);
	request.trust = trust = tls_trust_new("tests/pki/no-such-file");
	called_at(p);
	get();
	ck_assert_msg(strstr(buf_cstr(&got), "no-such-file"), "%s", buf_cstr(&got));
	peer_free(p);
}
END_TEST

/* Nobody listens at the first, the second speaks no TLS. */
START_TEST(of_several_addresses_the_first_that_is_secure_is_asked)
{
	struct peer *silent = peer_new_tcp("take 5\nclose\n"), *p = peer_new_tcp(ASKED ANSWER "W: Content-Length: 5\\r\\n\\r\\nhello\neof\n");
	struct sockaddr_in *nobody = (struct sockaddr_in *)&addresses[request.n++];

	*nobody = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(1) };
	called_at(silent);
	called_at(p);
	get();
	ck_assert_str_eq(buf_cstr(&got), "hello");
	peer_free(silent);
	peer_free(p);
}
END_TEST

START_TEST(an_address_that_hangs_is_left_after_ten_seconds_when_there_is_another)
{
	struct peer *silent = peer_new_tcp("wait 70\n"), *p = peer_new_tcp(ASKED ANSWER "W: Content-Length: 5\\r\\n\\r\\nhello\neof\n");
	msec begun = loop_now();

	called_at(silent);
	called_at(p);
	get();
	ck_assert_str_eq(buf_cstr(&got), "hello");
	ck_assert_int_ge(loop_now() - begun, HTTP_ADDRESS_MS);
	ck_assert_int_lt(loop_now() - begun, 2 * HTTP_ADDRESS_MS);
	peer_free(silent);
	peer_free(p);
}
END_TEST

START_TEST(nobody_to_ask_is_said)
{
	get();
	ck_assert_str_eq(buf_cstr(&got), "wrong: mx.example.org has no address");
}
END_TEST

START_TEST(what_is_cancelled_says_nothing)
{
	struct peer *p = peer_new_tcp(talks[0].script);
	struct http *h;

	called_at(p);
	h = http_get(&request, on_done, &got);
	for (int i = 0; i < _i; i++)
		loop_turn(0);
	if (!answered)
		http_cancel(h);
	answered = 0;
	http_cancel(NULL);
	for (int i = 0; i < 50; i++)
		loop_turn(10);
	ck_assert_uint_eq(answered, 0);
	peer_free(p);
}
END_TEST

Suite *lib_http_suite(void)
{
	Suite *s = suite_create("lib_http");
	TCase *t = tcase_create("answers");

	tcase_add_loop_test(t, an_answer_is_text_in_whole_or_none, 0, sizeof answers / sizeof *answers);
	tcase_add_test(t, nobody_makes_us_keep_more_than_the_bounds);
	suite_add_tcase(s, t);
	t = tcase_create("talks");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, a_text_comes_from_a_host_that_is_believed_or_not_at_all, 0, sizeof talks / sizeof *talks);
	tcase_add_loop_test(t, octet_by_octet_it_is_the_same, 0, 2);
	tcase_add_test(t, a_certificate_from_nobody_that_is_trusted_is_refused);
	tcase_add_test(t, without_authorities_nobody_is_called);
	tcase_add_test(t, of_several_addresses_the_first_that_is_secure_is_asked);
	tcase_add_test(t, an_address_that_hangs_is_left_after_ten_seconds_when_there_is_another);
	tcase_add_test(t, nobody_to_ask_is_said);
	tcase_add_loop_test(t, what_is_cancelled_says_nothing, 0, 12);
	suite_add_tcase(s, t);
	return s;
}
