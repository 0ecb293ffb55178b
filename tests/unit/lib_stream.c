/* lib/stream: lines and octets as they come off a socket, and what leaves again. */
#include "lib/stream.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/list.h"

Suite *lib_stream_suite(void);

static int peer;                        /* the other end */
static struct stream st;
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
	peer = sv[0];
	events = 0;
	ck_assert_int_eq(stream_open(&st, sv[1], sv[1], count), 0);
}

static void close_pair(void)
{
	stream_close(&st);
	stream_close(&st);
	if (peer != -1)
		close(peer);
}

static void turns(int n)
{
	while (n--)
		loop_turn(0);
}

static void peer_says(const void *p, size_t n)
{
	ck_assert_int_eq(write(peer, p, n), (ssize_t)n);
}

static size_t peer_reads(char *p, size_t room)
{
	ssize_t n = read(peer, p, room);

	return n > 0 ? (size_t)n : 0;
}

/* ---- lines */

static const struct {
	const char *in;
	const char *out;        /* a letter and the text for each result, ended by | */
} line_rows[] = {
	{ "", "" },
	{ "a", "" },
	{ "abc\r\n", "Oabc|" },
	{ "\r\n", "O|" },
	{ "a\r\nb\r\nc", "Oa|Ob|" },
	{ "abc\n", "Babc|" },
	{ "\n", "B|" },
	{ "a\rb\r\n", "Ba\rb|" },
	{ "a\r\r\n", "Ba\r|" },
	{ "a\rb\n", "Ba\rb|" },
	{ "a\nb\r\n", "Ba|Ob|" },
	{ "12345678\r\n", "O12345678|" },               /* just the max */
	{ "123456789\r\nb\r\n", "L12345678|Ob|" },
	{ "12345678\r\rb\r\nc\r\n", "L12345678|Oc|" },
	{ "1234567890123456789012345678901234567890\r\nb\r\n", "L12345678|Ob|" },
	{ "123456789012345\nb\r\n", "L12345678|Ob|" },
	{ "1234567890123456789", "L12345678|" },
	{ "12345678901234567890\r\n12345678901234567890\r\n", "L12345678|L12345678|" },
};

static void take_lines(struct buf *out)
{
	static const char letter[] = { [LINE_OK] = 'O', [LINE_BARE] = 'B', [LINE_LONG] = 'L' };
	struct str line;
	enum line got;

	while ((got = stream_line(&st, 8, &line)) != LINE_NONE) {
		buf_char(out, letter[got]);
		buf_str(out, line);
		buf_char(out, '|');
	}
}

static void check_lines(size_t i, size_t piece)
{
	struct buf out = { 0 };
	const char *in = line_rows[i].in;
	size_t n = strlen(in);

	open_pair();
	for (size_t at = 0; at < n; at += piece) {
		peer_says(in + at, piece < n - at ? piece : n - at);
		turns(2);
		take_lines(&out);
	}
	ck_assert_msg(!strcmp(buf_cstr(&out), line_rows[i].out), "row %zu in pieces of %zu: %s", i, piece, buf_cstr(&out));
	buf_free(&out);
	close_pair();
}

START_TEST(lines_are_the_same_in_pieces_of_any_size)
{
	for (size_t i = 0; i < sizeof line_rows / sizeof line_rows[0]; i++)
		for (size_t piece = 1; piece < 20; piece++)
			check_lines(i, piece);
}
END_TEST

START_TEST(a_line_without_end_takes_no_memory)
{
	static char many[8192];
	struct str line;

	memset(many, 'x', sizeof many);
	open_pair();
	peer_says(many, sizeof many);
	turns(2);
	ck_assert_int_eq(stream_line(&st, 100, &line), LINE_LONG);
	for (int i = 0; i < 100; i++) {
		peer_says(many, sizeof many);
		turns(2);
		ck_assert_int_eq(stream_line(&st, 100, &line), LINE_NONE);
		turns(2);
		ck_assert_uint_eq(st.in.room, 0);
	}
	ck_assert_uint_eq(st.skipped, 101 * sizeof many);
	peer_says("\r\nb\r\n", 5);
	turns(2);
	ck_assert(stream_has_line(&st));
	ck_assert_int_eq(stream_line(&st, 100, &line), LINE_OK);
	ck_assert(str_eq(line, STR("b")));
	ck_assert_uint_eq(st.skipped, 0);
	close_pair();
}
END_TEST

START_TEST(a_nul_is_an_octet_like_others)
{
	struct str line;

	open_pair();
	peer_says("a\0b\r\n", 5);
	turns(2);
	ck_assert_int_eq(stream_line(&st, 100, &line), LINE_OK);
	ck_assert_uint_eq(line.n, 3);
	close_pair();
}
END_TEST

/* ---- input */

START_TEST(reading_pauses_while_the_owner_does_not_take)
{
	static char many[4096];
	size_t put = 0;

	open_pair();
	for (int i = 0; i < 2000; i++) {
		ssize_t w = write(peer, many, sizeof many);
		if (w > 0)
			put += (size_t)w;
		loop_turn(0);
	}
	ck_assert_uint_eq(stream_peek(&st).n, STREAM_IN);
	ck_assert(stream_has_line(&st));                /* or its owner would wait for ever */
	events = 0;
	turns(10);
	ck_assert_uint_eq(events, 0);                   /* and nothing spins meanwhile */
	for (int i = 0; i < 2000 && put; i++) {
		size_t n = stream_peek(&st).n;
		put -= n;
		stream_take(&st, n);
		loop_turn(0);
	}
	ck_assert_uint_eq(put, 0);
	turns(2);
	ck_assert_uint_eq(st.in.room, 0);
	close_pair();
}
END_TEST

START_TEST(a_paused_stream_reads_nothing)
{
	open_pair();
	stream_pause(&st, true);
	peer_says("abc", 3);
	close(peer);
	peer = -1;
	turns(5);
	ck_assert_uint_eq(events, 0);
	ck_assert(!st.eof);
	stream_pause(&st, false);
	turns(5);
	ck_assert(str_eq(stream_peek(&st), STR("abc")));
	ck_assert(st.eof);
	close_pair();
}
END_TEST

START_TEST(the_end_of_input_is_told_once)
{
	open_pair();
	peer_says("last", 4);
	shutdown(peer, SHUT_WR);
	turns(5);
	ck_assert(st.eof && !st.error);
	events = 0;
	turns(10);
	ck_assert_uint_eq(events, 0);
	ck_assert(str_eq(stream_peek(&st), STR("last")));
	ck_assert_int_eq(stream_write(&st, "more", 4), 0);      /* the other half is open still */
	turns(2);
	char text[10];
	ck_assert_uint_eq(peer_reads(text, sizeof text), 4);
	close_pair();
}
END_TEST

START_TEST(again_is_one_more_event)
{
	open_pair();
	stream_again(&st);
	stream_again(&st);
	ck_assert_uint_eq(events, 0);                   /* never from inside */
	turns(3);
	ck_assert_uint_eq(events, 1);
	close_pair();
}
END_TEST

/* ---- output */

START_TEST(what_is_written_leaves_together_at_the_end_of_the_turn)
{
	char text[100];

	open_pair();
	ck_assert_int_eq(stream_write(&st, "one ", 4), 0);
	ck_assert_int_eq(stream_printf(&st, "%s %d", "two", 3), 0);
	ck_assert(!stream_drained(&st));
	ck_assert_uint_eq(peer_reads(text, sizeof text), 0);
	turns(1);
	ck_assert_uint_eq(peer_reads(text, sizeof text), 9);
	ck_assert_int_eq(memcmp(text, "one two 3", 9), 0);
	ck_assert(stream_drained(&st));
	turns(2);
	ck_assert_uint_eq(st.out.room, 0);
	close_pair();
}
END_TEST

START_TEST(a_flush_leaves_at_once_and_its_event_comes_later)
{
	char text[100];

	open_pair();
	ck_assert_int_eq(stream_write(&st, "now", 3), 0);
	stream_flush(&st);
	ck_assert_uint_eq(peer_reads(text, sizeof text), 3);
	ck_assert_uint_eq(events, 0);
	turns(2);
	ck_assert_uint_eq(events, 1);
	close_pair();
}
END_TEST

START_TEST(long_printed_text_is_whole)
{
	static char text[5000], got[6000];

	memset(text, 'x', sizeof text - 1);
	open_pair();
	ck_assert_int_eq(stream_printf(&st, "<%s>", text), 0);
	turns(2);
	ck_assert_uint_eq(peer_reads(got, sizeof got), sizeof text + 1);
	ck_assert_int_eq(got[0], '<');
	ck_assert_int_eq(got[sizeof text], '>');
	close_pair();
}
END_TEST

START_TEST(output_has_a_ceiling_and_drains_in_order)
{
	static char got[STREAM_OUT];
	uint32_t sent = 0, seen = 0;
	size_t n;

	open_pair();
	while (stream_write(&st, &sent, sizeof sent) == 0)
		sent++;
	ck_assert_int_eq(errno, EMSGSIZE);
	ck_assert_uint_eq(sent, STREAM_OUT / sizeof sent);
	ck_assert(stream_full(&st) && !st.error);
	for (int idle = 0; idle < 5; ) {
		loop_turn(0);
		/* half of it is written anew while the rest leaves */
		if (sent < 100000 && !stream_full(&st) && stream_write(&st, &sent, sizeof sent) == 0)
			sent++;
		n = peer_reads(got, 4000);
		idle = n ? 0 : idle + 1;
		for (size_t i = 0; i < n; i += sizeof seen, seen++)
			ck_assert_mem_eq(got + i, &seen, sizeof seen);
	}
	ck_assert_uint_eq(seen, sent);
	ck_assert(stream_drained(&st));
	ck_assert_uint_ge(events, 1);
	close_pair();
}
END_TEST

START_TEST(a_peer_that_is_gone_is_an_error_and_an_event)
{
	open_pair();
	close(peer);
	peer = -1;
	ck_assert_int_eq(stream_write(&st, "x", 1), 0);
	turns(3);
	ck_assert_int_eq(st.error, EPIPE);
	ck_assert_uint_ge(events, 1);
	ck_assert_int_eq(stream_write(&st, "x", 1), -1);
	ck_assert_int_eq(errno, EPIPE);
	events = 0;
	turns(10);
	ck_assert_uint_eq(events, 0);
	close_pair();
}
END_TEST

START_TEST(shutdown_ends_our_half_only)
{
	char text[10];

	open_pair();
	ck_assert_int_eq(stream_write(&st, "bye", 3), 0);
	turns(2);
	stream_shutdown(&st);
	ck_assert_int_eq(stream_write(&st, "x", 1), -1);
	ck_assert_int_eq(read(peer, text, sizeof text), 3);
	ck_assert_int_eq(read(peer, text, sizeof text), 0);
	peer_says("ok", 2);
	turns(2);
	ck_assert(str_eq(stream_peek(&st), STR("ok")));
	close_pair();
}
END_TEST

/* ---- descriptors */

START_TEST(two_pipes_are_a_stream)
{
	int in[2], out[2];
	struct str line;
	char text[10];

	loop_virtual_clock(1795424400);
	events = 0;
	ck_assert_int_eq(pipe(in), 0);
	ck_assert_int_eq(pipe(out), 0);
	ck_assert_int_eq(stream_open(&st, in[0], out[1], count), 0);
	ck_assert_int_eq(write(in[1], "hi\r\n", 4), 4);
	turns(2);
	ck_assert_int_eq(stream_line(&st, 10, &line), LINE_OK);
	ck_assert_int_eq(stream_write(&st, "ho", 2), 0);
	turns(2);
	ck_assert_int_eq(read(out[0], text, sizeof text), 2);
	close(in[1]);
	turns(3);
	ck_assert(st.eof);
	close(out[0]);
	ck_assert_int_eq(stream_write(&st, "ho", 2), 0);
	turns(3);
	ck_assert_int_eq(st.error, EPIPE);
	stream_close(&st);
}
END_TEST

START_TEST(a_descriptor_that_is_none_is_refused)
{
	ck_assert_int_eq(stream_open(&st, -1, -1, count), -1);
	ck_assert_int_eq(errno, EBADF);
	stream_close(&st);
	ck_assert_int_eq(stream_write(&st, "x", 1), -1);
	stream_again(&st);
	stream_flush(&st);
	turns(2);
}
END_TEST

static void close_in_event(struct stream *s)
{
	events++;
	stream_close(s);
	memset(s, 0xa5, sizeof *s);             /* as if it had been freed */
}

START_TEST(an_event_may_close_and_free_the_stream)
{
	int sv[2];

	loop_virtual_clock(1795424400);
	for (int how = 0; how < 3; how++) {
		events = 0;
		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv), 0);
		peer = sv[0];
		ck_assert_int_eq(stream_open(&st, sv[1], sv[1], close_in_event), 0);
		if (how == 0)
			peer_says("x", 1);
		else if (how == 1)
			stream_again(&st);
		else
			ck_assert_int_eq(stream_write(&st, "x", 1), 0);
		turns(4);
		ck_assert_uint_eq(events, 1);
		close(peer);
	}
}
END_TEST

enum { FILE_OCTETS = 1000000 };

/* A file of that many octets, each the last of its offset. */
static int file_of(size_t n)
{
	static char octets[FILE_OCTETS];
	char name[] = "/tmp/stream.XXXXXX";
	int fd = mkstemp(name);

	for (size_t i = 0; i < n; i++)
		octets[i] = (char)i;
	ck_assert(fd != -1 && unlink(name) == 0 && write(fd, octets, n) == (ssize_t)n);
	return fd;
}

START_TEST(a_file_leaves_behind_what_was_written_and_the_event_comes_when_it_has)
{
	static char got[FILE_OCTETS + 100];
	int fd = file_of(FILE_OCTETS);
	size_t n = 0;

	open_pair();
	ck_assert_int_eq(stream_write(&st, "BDAT\r\n", 6), 0);
	ck_assert(stream_send_file(&st, fd, 100, FILE_OCTETS - 100));
	ck_assert(!stream_send_file(&st, fd, 0, 1) && stream_full(&st));
	while (n < FILE_OCTETS - 94) {
		ck_assert(events == 0 || stream_drained(&st));
		turns(1);
		n += peer_reads(got + n, sizeof got - n);
	}
	turns(2);
	ck_assert(events == 1 && stream_drained(&st) && !stream_full(&st));
	ck_assert_mem_eq(got, "BDAT\r\n", 6);
	for (size_t i = 6; i < n; i++)
		ck_assert_int_eq(got[i], (char)(i + 94));
	ck_assert_uint_eq(peer_reads(got, 1), 0);
	close(fd);
	close_pair();
}
END_TEST

START_TEST(a_file_that_ends_too_early_or_cannot_be_read_ends_the_stream)
{
	int fd = _i ? open("/tmp", O_RDONLY | O_DIRECTORY) : file_of(1000);

	open_pair();
	ck_assert(stream_send_file(&st, fd, 0, 2000));
	turns(3);
	ck_assert_int_eq(st.error, _i ? EISDIR : ENODATA);
	ck_assert_uint_eq(events, 1);
	close(fd);
	close_pair();
}
END_TEST

START_TEST(a_file_to_a_peer_who_has_left_is_an_error_and_no_signal)
{
	int fd = file_of(FILE_OCTETS);

	open_pair();
	close(peer);
	peer = -1;
	ck_assert(stream_send_file(&st, fd, 0, FILE_OCTETS));
	turns(3);
	ck_assert_int_eq(st.error, EPIPE);
	close(fd);
	close_pair();
}
END_TEST

Suite *lib_stream_suite(void)
{
	Suite *s = suite_create("lib_stream");
	TCase *tc = tcase_create("stream");

	tcase_add_test(tc, lines_are_the_same_in_pieces_of_any_size);
	tcase_add_test(tc, a_line_without_end_takes_no_memory);
	tcase_add_test(tc, a_nul_is_an_octet_like_others);
	tcase_add_test(tc, reading_pauses_while_the_owner_does_not_take);
	tcase_add_test(tc, a_paused_stream_reads_nothing);
	tcase_add_test(tc, the_end_of_input_is_told_once);
	tcase_add_test(tc, again_is_one_more_event);
	tcase_add_test(tc, what_is_written_leaves_together_at_the_end_of_the_turn);
	tcase_add_test(tc, a_flush_leaves_at_once_and_its_event_comes_later);
	tcase_add_test(tc, long_printed_text_is_whole);
	tcase_add_test(tc, output_has_a_ceiling_and_drains_in_order);
	tcase_add_test(tc, a_peer_that_is_gone_is_an_error_and_an_event);
	tcase_add_test(tc, shutdown_ends_our_half_only);
	tcase_add_test(tc, two_pipes_are_a_stream);
	tcase_add_test(tc, a_file_leaves_behind_what_was_written_and_the_event_comes_when_it_has);
	tcase_add_loop_test(tc, a_file_that_ends_too_early_or_cannot_be_read_ends_the_stream, 0, 2);
	tcase_add_test(tc, a_file_to_a_peer_who_has_left_is_an_error_and_no_signal);
	tcase_add_test(tc, a_descriptor_that_is_none_is_refused);
	tcase_add_test(tc, an_event_may_close_and_free_the_stream);
	suite_add_tcase(s, tc);
	return s;
}
