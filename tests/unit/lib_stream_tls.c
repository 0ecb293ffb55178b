/* lib/stream inside TLS: when it may begin, what comes out, and how it ends. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/stream.h"
#include "tests/wire.h"

Suite *lib_stream_tls_suite(void);

static struct stream st;
static struct wire far;
static unsigned events;

static void count(struct stream *s)
{
	ck_assert_ptr_eq(s, &st);
	events++;
}

static void open_pair(void)
{
	int sv[2];

	loop_virtual_clock(1795424400);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv), 0);
	far = (struct wire){ .fd = sv[0] };
	events = 0;
	ck_assert_int_eq(stream_open(&st, sv[1], sv[1], count), 0);
}

static void close_pair(void)
{
	stream_close(&st);
	wire_free(&far);
	if (far.fd != -1)
		close(far.fd);
}

/* Both sides, until nothing moves any more. */
static void settle(void)
{
	for (int quiet = 0; quiet < 4; quiet++) {
		loop_turn(0);
		if (far.fd != -1 && wire_turn(&far))
			quiet = 0;
	}
}

static void far_says(const char *text)
{
	ck_assert(buf_puts(&far.out, text));
	settle();
}

static void begin(bool as_server)
{
	struct tls *ours = as_server ? tls_accept(wire_server()) : tls_connect("mx.example.org", NULL);

	far.tls = as_server ? tls_connect("mx.example.org", NULL) : tls_accept(wire_server());
	ck_assert_int_eq(stream_starttls(&st, ours), 0);
}

static void begin_and_settle(bool as_server)
{
	begin(as_server);
	settle();
	ck_assert_msg(st.secure && !st.error, "%s", stream_error(&st));
}

static void comes(const char *text)
{
	ck_assert_msg(str_eq(buf_view(&far.in), str_of(text)), "came: " STR_FMT, STR_ARG(buf_view(&far.in)));
	buf_clear(&far.in);
}

static void next_line(const char *text)
{
	struct str line;

	ck_assert_int_eq(stream_line(&st, 1000, &line), LINE_OK);
	ck_assert(str_eq(line, str_of(text)));
}

/* ---- beginning */

START_TEST(either_role_in_pieces_of_any_size)
{
	far.octets = _i & 2;
	begin_and_settle(_i & 1);
	ck_assert_uint_eq(events, 1);           /* that the handshake is over, and nothing else */
	far_says("EHLO x\r\nMAIL");
	next_line("EHLO x");
	ck_assert(str_eq(stream_peek(&st), STR("MAIL")));
	ck_assert_int_eq(stream_printf(&st, "250 %s\r\n", "ok"), 0);
	ck_assert(!stream_drained(&st));
	settle();
	comes("250 ok\r\n");
	ck_assert(stream_drained(&st));
	ck_assert(!st.eof && !st.error);
}
END_TEST

START_TEST(octets_that_came_in_clear_forbid_it)
{
	struct tls *t = _i ? tls_accept(wire_server()) : tls_connect(NULL, NULL);
	struct str line;

	far_says("220 go ahead\r\n250 injected\r\n");
	ck_assert_int_eq(stream_line(&st, 1000, &line), LINE_OK);
	ck_assert_int_eq(stream_starttls(&st, t), -1);
	ck_assert_int_eq(errno, EPROTO);
	ck_assert_ptr_null(st.tls);
	tls_free(t);
}
END_TEST

START_TEST(octets_that_have_not_left_forbid_it)
{
	struct tls *t = tls_accept(wire_server());

	ck_assert_int_eq(stream_write(&st, "220 go\r\n", 8), 0);
	ck_assert_int_eq(stream_starttls(&st, t), -1);
	ck_assert_int_eq(errno, EBUSY);
	settle();
	ck_assert_int_eq(stream_starttls(&st, t), 0);
	ck_assert_int_eq(stream_starttls(&st, t), -1);
	ck_assert_int_eq(errno, EALREADY);
	comes("220 go\r\n");
}
END_TEST

START_TEST(what_is_written_meanwhile_leaves_inside)
{
	begin(_i);
	ck_assert_int_eq(stream_write(&st, "secret\r\n", 8), 0);
	settle();
	ck_assert(st.secure);
	comes("secret\r\n");
}
END_TEST

/* ---- handshakes that fail */

static const struct { const char *says, *words; } bad[] = {
	{ "EHLO injected\r\nMAIL FROM:<a@x>\r\n", "what came is no TLS" },
	{ "\r\n\r\n\r\n", "what came is no TLS" },
	{ "\x16\x03\x01\x40\x01xxxxxxxx", "wrong length" },
	{ "\x80\x2e\x01\x03\x01xxxxxxxxxxxxxxxx", "what came is no TLS" },
	{ "\x16\x03\x03\x01\x02x", "" },
};

START_TEST(garbage_in_the_handshake_ends_the_stream)
{
	struct tls *t = _i % 2 ? tls_accept(wire_server()) : tls_connect(NULL, NULL);

	ck_assert_int_eq(stream_starttls(&st, t), 0);
	far_says(bad[_i / 2].says);
	if (!*bad[_i / 2].words) {              /* half a record: it is waited for */
		ck_assert(!st.error && !st.secure);
		return;
	}
	ck_assert_int_eq(st.error, EPROTO);
	ck_assert_msg(strstr(stream_error(&st), bad[_i / 2].words), "%s", stream_error(&st));
	ck_assert(!st.secure && stream_peek(&st).n == 0);
	ck_assert_int_eq(stream_write(&st, "x", 1), -1);
	far_says("QUIT\r\n");                   /* nothing is read in clear any more */
	ck_assert_uint_eq(stream_peek(&st).n, 0);
	ck_assert_uint_eq(events, 1);
}
END_TEST

START_TEST(a_connection_that_ends_in_the_handshake_is_an_error)
{
	begin(_i);
	loop_turn(0);
	close(far.fd);
	far.fd = -1;
	settle();
	ck_assert_int_ne(st.error, 0);
	ck_assert(!st.secure);
	ck_assert_msg(strstr(stream_error(&st), "TLS handshake") || st.error == EPIPE || st.error == ECONNRESET, "%s", stream_error(&st));
}
END_TEST

/* The largest hello that there can be: 64 records full of nothing. */
START_TEST(a_hello_without_end_is_refused)
{
	struct tls *t = tls_accept(wire_server());
	char record[16384 + 5] = "\x16\x03\x01\x40";

	memcpy(record + 5, "\x01\xff\xff\xff\x03\x03", 6);
	ck_assert_int_eq(stream_starttls(&st, t), 0);
	for (int i = 0; i < 64 && !st.error; i++) {
		buf_add(&far.out, record, sizeof record);
		settle();
		memset(record + 5, 'x', sizeof record - 5);
	}
	ck_assert_int_eq(st.error, EPROTO);
	ck_assert_uint_eq(stream_peek(&st).n, 0);
}
END_TEST

/* ---- ends */

START_TEST(a_close_notify_is_the_end_and_nothing_is_read_in_clear_behind_it)
{
	begin_and_settle(_i);
	far_says("last words\r\n");
	tls_close(far.tls);
	settle();
	ck_assert_int_eq(send(far.fd, "QUIT\r\n", 6, MSG_NOSIGNAL), 6);
	settle();
	ck_assert(st.eof && !st.error);
	next_line("last words");
	ck_assert_uint_eq(stream_peek(&st).n, 0);
	ck_assert_int_eq(stream_write(&st, "250 ok\r\n", 8), -1);
	ck_assert_int_eq(errno, EPIPE);
	ck_assert(stream_drained(&st));
}
END_TEST

START_TEST(an_end_without_close_notify_is_an_end_too)
{
	begin_and_settle(_i);
	far_says("DATA half a li");
	shutdown(far.fd, SHUT_WR);
	settle();
	ck_assert(st.eof && !st.error);
	ck_assert(str_eq(stream_peek(&st), STR("DATA half a li")));
}
END_TEST

START_TEST(a_forged_record_is_an_error)
{
	begin_and_settle(_i);
	ck_assert_int_eq(send(far.fd, "\x17\x03\x03\0\x20" "0123456789abcdef0123456789abcdef", 37, MSG_NOSIGNAL), 37);
	settle();
	ck_assert_int_eq(st.error, EPROTO);
	ck_assert_msg(strstr(stream_error(&st), "damaged or forged"), "%s", stream_error(&st));
	ck_assert_uint_eq(stream_peek(&st).n, 0);
}
END_TEST

START_TEST(a_shutdown_sends_the_last_words_a_close_notify_and_the_end)
{
	begin_and_settle(_i);
	ck_assert_int_eq(stream_write(&st, "221 bye\r\n", 9), 0);
	stream_flush(&st);
	ck_assert(stream_drained(&st));
	far_says("too late\r\n");               /* lies unread inside */
	stream_shutdown(&st);
	settle();
	comes("221 bye\r\n");
	ck_assert(far.eof && !far.failed);      /* by a close_notify */
	ck_assert(!st.error && !st.eof);
	ck_assert_int_eq(send(far.fd, "whatever\r\n", 10, MSG_NOSIGNAL), 10);
	settle();
	stream_take(&st, 10);
	ck_assert_uint_eq(stream_peek(&st).n, 0);
	ck_assert_int_eq(recv(far.fd, (char[1]){ 0 }, 1, 0), 0);
	close(far.fd);
	far.fd = -1;
	settle();
	ck_assert(st.eof);
}
END_TEST

START_TEST(a_stream_that_is_closed_says_so)
{
	begin_and_settle(_i);
	stream_close(&st);
	settle();
	ck_assert(far.eof && !far.failed && tls_over(far.tls));
}
END_TEST

/* ---- much */

START_TEST(what_the_owner_does_not_take_waits_and_comes_without_another_word)
{
	size_t got = 0, total = 400000;

	begin_and_settle(_i);
	for (size_t i = 0; i < total; i++)
		buf_char(&far.out, (char)(i % 251));
	settle();
	ck_assert_uint_eq(stream_peek(&st).n, STREAM_IN);
	while (got < total) {
		struct str in = stream_peek(&st);

		ck_assert_uint_gt(in.n, 0);
		ck_assert_uint_le(in.n, STREAM_IN);
		for (size_t i = 0; i < in.n; i++)
			ck_assert(in.p[i] == (char)((got + i) % 251));
		got += in.n;
		stream_take(&st, in.n);
		settle();
	}
	ck_assert_uint_eq(stream_peek(&st).n, 0);
	settle();
	ck_assert_uint_eq(st.in.room, 0);       /* an idle stream holds no buffer but TLS's own */
}
END_TEST

START_TEST(what_the_peer_does_not_take_is_not_drained)
{
	static char block[STREAM_OUT];

	memset(block, 'x', sizeof block);
	begin_and_settle(_i);
	ck_assert_int_eq(stream_write(&st, block, sizeof block), 0);
	for (int i = 0; i < 20; i++)
		loop_turn(0);
	ck_assert(!stream_drained(&st));
	events = 0;
	settle();
	ck_assert(stream_drained(&st));
	ck_assert_uint_ge(events, 1);
	ck_assert_uint_eq(far.in.n, sizeof block);
	ck_assert_uint_eq(st.out.room, 0);
}
END_TEST

START_TEST(a_paused_stream_takes_nothing_until_it_goes_on)
{
	begin_and_settle(_i);
	stream_pause(&st, true);
	far_says("NOOP\r\n");
	ck_assert_uint_eq(stream_peek(&st).n, 0);
	stream_pause(&st, false);
	settle();
	next_line("NOOP");
}
END_TEST

/* As under inetd: one socket, two descriptors. */
START_TEST(two_descriptors_are_a_stream_too)
{
	int sv[2];

	stream_close(&st);
	close(far.fd);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv), 0);
	far.fd = sv[0];
	ck_assert_int_eq(stream_open(&st, sv[1], dup(sv[1]), count), 0);
	begin_and_settle(true);
	far_says("EHLO x\r\n");
	next_line("EHLO x");
	ck_assert_int_eq(stream_write(&st, "250 ok\r\n", 8), 0);
	settle();
	comes("250 ok\r\n");
	stream_shutdown(&st);
	settle();
	ck_assert(far.eof && !far.failed);
}
END_TEST

static int listen_on_loopback(struct sockaddr_in *a)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	socklen_t n = sizeof *a;

	*a = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	ck_assert(fd != -1 && bind(fd, (struct sockaddr *)a, sizeof *a) == 0 && listen(fd, 1) == 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)a, &n), 0);
	return fd;
}

/* Each flight of a handshake is several records: with Nagle's algorithm the last waits for a delayed acknowledgement. */
START_TEST(no_record_waits_for_the_acknowledgement_of_another)
{
	struct sockaddr_in a;
	struct tls *tls = _i ? tls_accept(wire_server()) : tls_connect("mx.example.org", NULL);
	struct stream tcp = { 0 };
	int listener = listen_on_loopback(&a), fd = socket(AF_INET, SOCK_STREAM, 0), on = 0;
	socklen_t n = sizeof on;

	ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
	ck_assert_int_eq(stream_open(&tcp, fd, fd, count), 0);
	ck_assert_int_eq(stream_starttls(&tcp, tls), 0);
	ck_assert(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, &n) == 0 && on);
	stream_close(&tcp);
	close(listener);
}
END_TEST

Suite *lib_stream_tls_suite(void)
{
	Suite *s = suite_create("lib_stream_tls");
	TCase *t = tcase_create("stream");

	tcase_add_checked_fixture(t, open_pair, close_pair);
	tcase_add_loop_test(t, either_role_in_pieces_of_any_size, 0, 4);
	tcase_add_loop_test(t, octets_that_came_in_clear_forbid_it, 0, 2);
	tcase_add_test(t, octets_that_have_not_left_forbid_it);
	tcase_add_loop_test(t, what_is_written_meanwhile_leaves_inside, 0, 2);
	tcase_add_loop_test(t, garbage_in_the_handshake_ends_the_stream, 0, 2 * sizeof bad / sizeof *bad);
	tcase_add_loop_test(t, a_connection_that_ends_in_the_handshake_is_an_error, 0, 2);
	tcase_add_test(t, a_hello_without_end_is_refused);
	tcase_add_loop_test(t, a_close_notify_is_the_end_and_nothing_is_read_in_clear_behind_it, 0, 2);
	tcase_add_loop_test(t, an_end_without_close_notify_is_an_end_too, 0, 2);
	tcase_add_loop_test(t, a_forged_record_is_an_error, 0, 2);
	tcase_add_loop_test(t, a_shutdown_sends_the_last_words_a_close_notify_and_the_end, 0, 2);
	tcase_add_loop_test(t, a_stream_that_is_closed_says_so, 0, 2);
	tcase_add_loop_test(t, what_the_owner_does_not_take_waits_and_comes_without_another_word, 0, 2);
	tcase_add_loop_test(t, what_the_peer_does_not_take_is_not_drained, 0, 2);
	tcase_add_loop_test(t, a_paused_stream_takes_nothing_until_it_goes_on, 0, 2);
	tcase_add_test(t, two_descriptors_are_a_stream_too);
	tcase_add_loop_test(t, no_record_waits_for_the_acknowledgement_of_another, 0, 2);
	suite_add_tcase(s, t);
	return s;
}
