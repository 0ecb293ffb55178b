/* The SMTP server where a conversation alone does not show it: failing disks, clients that vanish, limits, many sessions. */
#include "smtpd.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/loop.h"
#include "tests/server_rig.h"

Suite *smtpd_suite(void);

static const char envelope[] = "EHLO client.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@example.org>\r\n";
static const char whole[] = "EHLO client.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<wait@example.org>\r\n"
	"RCPT TO:<no@example.org>\r\nDATA\r\nSubject: x\r\n\r\nbody\r\n..\r\n.\r\nNOOP\r\nQUIT\r\n";

static void expect_ehlo(struct site_client *c)
{
	site_expect_reply(c, "250 *");
}

static void begin_data(struct site_client *c)
{
	site_connect(c);
	site_expect(c, "220 *");
	site_say(c, envelope);
	expect_ehlo(c);
	site_expect(c, "250 2.1.0 *");
	site_expect(c, "250 2.1.5 *");
	site_say(c, "DATA\r\n");
	site_expect(c, "354 *");
}

/* The session is still good: a whole message goes through it. */
static void send_one(struct site_client *c)
{
	site_say(c, "MAIL FROM:<a@b.example>\r\nRCPT TO:<c@example.org>\r\nDATA\r\n");
	site_expect(c, "250 2.1.0 *");
	site_expect(c, "250 2.1.5 *");
	site_expect(c, "354 *");
	site_say(c, "Subject: after\r\n\r\n.\r\n");
	site_expect(c, "250 2.0.0 *");
}

static void body(struct site_client *c, size_t octets)
{
	static char line[80];

	memset(line, 'x', 78);
	memcpy(line + 78, "\r\n", 2);
	for (size_t n = 0; n < octets; n += sizeof line)
		site_send(c, line, sizeof line);
}

/* ---- the disk */

static int disk_error;
static ssize_t no_write(int fd, const void *p, size_t n)
{
	(void)fd, (void)p, (void)n;
	errno = disk_error;
	return -1;
}
static int no_sync(int fd)
{
	(void)fd;
	errno = disk_error;
	return -1;
}

START_TEST(a_disk_that_fails_during_data_is_told_at_the_end_of_data)
{
	static const struct {
		int error;
		const char *reply;
	} rows[] = { { ENOSPC, "452 4.3.1 *" }, { EDQUOT, "452 4.3.1 *" }, { EIO, "451 4.3.0 *" } };
	struct site_client c;

	site_start();
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct file_calls saved = file_sys;

		begin_data(&c);
		disk_error = rows[i].error;
		file_sys.write = no_write;
		body(&c, 80000);
		site_expect_nothing(&c);
		file_sys = saved;
		site_say(&c, "MAIL FROM:<x@b.example>\r\n.\r\n");
		site_expect(&c, rows[i].reply);
		ck_assert_uint_eq(site_messages(), i);
		ck_assert_uint_eq(site_drafts(), 0);
		send_one(&c);
		site_say(&c, "QUIT\r\n");
		site_expect(&c, "221 *");
		site_hang_up(&c);
	}
	site_stop();
}
END_TEST

START_TEST(what_is_not_durable_is_not_accepted)
{
	struct site_client c;
	struct file_calls saved = file_sys;

	site_start();
	begin_data(&c);
	disk_error = EIO;
	file_sys.fdatasync = no_sync;
	site_say(&c, "Subject: x\r\n\r\n.\r\nNOOP\r\n");
	site_expect(&c, "451 4.3.0 *");
	site_expect(&c, "250 2.0.0 Ok");
	file_sys = saved;
	ck_assert_uint_eq(site_messages(), 0);
	send_one(&c);
	ck_assert_uint_eq(site_messages(), 1);
	site_hang_up(&c);
	site_stop();
}
END_TEST

static uint64_t octets_left;
static int little_room(int fd, struct file_space *out)
{
	(void)fd;
	*out = (struct file_space){ .octets = octets_left, .octets_all = 1 << 30 };
	return 0;
}

START_TEST(a_full_disk_is_told_at_mail_and_again_no_more_when_there_is_room)
{
	struct site_client c;
	struct file_calls saved = file_sys;

	site_start();
	octets_left = 0;
	file_sys.space = little_room;
	site_connect(&c);
	site_expect(&c, "220 *");
	site_say(&c, "EHLO client.example\r\n");
	expect_ehlo(&c);
	site_say(&c, "MAIL FROM:<a@b.example>\r\nRCPT TO:<c@example.org>\r\nDATA\r\nNOOP\r\n");
	site_expect(&c, "452 4.3.1 *");
	site_expect(&c, "503 5.5.1 *");
	site_expect(&c, "503 5.5.1 *");
	site_expect(&c, "250 2.0.0 *");
	octets_left = 50000;
	loop_advance(2001);
	site_say(&c, "MAIL FROM:<a@b.example> SIZE=60000\r\nMAIL FROM:<a@b.example> SIZE=40000\r\nRSET\r\n");
	site_expect(&c, "452 4.3.1 *");
	site_expect(&c, "250 2.1.0 *");
	site_expect(&c, "250 2.0.0 *");
	send_one(&c);
	site_hang_up(&c);
	site_stop();
	file_sys = saved;
}
END_TEST

/* ---- namesakes */

START_TEST(who_says_our_name_is_shown_the_mark_and_nobody_else)
{
	struct site_client c;

	site_start();
	site_config.marker = "feedfacefeedface";
	site_connect(&c);
	site_expect(&c, "220 *");
	site_say(&c, "EHLO MX.example.org\r\n");
	site_expect(&c, "250-mx.example.org feedfacefeedface");
	expect_ehlo(&c);
	site_say(&c, "EHLO mx.example.or\r\n");
	site_expect(&c, "250-mx.example.org");
	site_hang_up(&c);
	site_stop();
}
END_TEST

/* ---- slow lines */

START_TEST(a_message_that_keeps_coming_has_all_the_time_that_its_octets_buy)
{
	static const struct {
		size_t octets;          /* every 50 s */
		bool taken;
	} rows[] = { { 100000, true }, { 50400, true }, { 40000, false }, { 80, false } };
	struct site_client c;
	size_t taken = 0;

	site_start();
	site_config.idle_s = 60;
	site_config.data_s = 100;
	site_config.message_size = 8 << 20;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		begin_data(&c);
		for (int n = 0; n < 20 && !c.ended; n++) {
			body(&c, rows[i].octets);
			site_listen(&c);
			loop_advance(50000);
			site_listen(&c);
		}
		if (rows[i].taken) {
			site_say(&c, ".\r\n");
			site_expect(&c, "250 2.0.0 *");
			taken++;
		} else {
			site_expect(&c, "421 4.4.2 *");
		}
		site_hang_up(&c);
		ck_assert_uint_eq(site_messages(), taken);
	}
	site_stop();
}
END_TEST

START_TEST(octets_over_the_size_limit_buy_no_time)
{
	struct site_client c;

	site_start();
	site_config.idle_s = 60;
	site_config.data_s = 100;
	site_config.message_size = 100000;
	begin_data(&c);
	for (int n = 0; n < 4; n++) {           /* 100 s and what 100000 octets buy are over then */
		site_expect_nothing(&c);
		body(&c, 100000);
		loop_advance(55000);
	}
	site_expect(&c, "421 4.4.2 *");
	site_hang_up(&c);
	site_stop();
}
END_TEST

/* ---- clients that vanish */

START_TEST(a_client_may_vanish_after_any_octet)
{
	site_start();
	for (size_t n = 0; n <= strlen(whole); n++) {
		struct site_client c;

		site_connect(&c);
		site_send(&c, whole, n);
		site_hang_up(&c);
		for (int i = 0; i < 100 && smtpd_sessions(); i++)
			loop_turn(0);
		ck_assert_msg(!smtpd_sessions(), "after %zu octets", n);
		ck_assert_uint_eq(site_drafts(), 0);
	}
	/* At most those messages are there whose end of data had come. */
	ck_assert_uint_le(site_messages(), strlen("NOOP\r\nQUIT\r\n") + 1);
	site_stop();
}
END_TEST

START_TEST(a_client_that_does_not_wait_for_the_commit_leaves_its_message)
{
	struct site_client c;

	site_start();
	for (int i = 0; i < 3; i++) {
		site_connect(&c);
		site_expect(&c, "220 *");
		/* all in one turn: the replies cannot be written while the commit is on its way */
		ck_assert_int_eq(write(c.fd, envelope, strlen(envelope)), (ssize_t)strlen(envelope));
		ck_assert_int_eq(write(c.fd, "DATA\r\nx\r\n.\r\n", 12), 12);
		site_hang_up(&c);
		for (int t = 0; t < 100 && smtpd_sessions(); t++)
			loop_turn(0);
		ck_assert_uint_eq(smtpd_sessions(), 0);
	}
	ck_assert_uint_eq(site_messages(), 3);
	site_stop();
}
END_TEST

START_TEST(facts_that_do_not_come_cost_one_recipient)
{
	struct site_client c;

	site_start();
	site_config.idle_s = 60;
	site_mute = true;
	site_connect(&c);
	site_expect(&c, "220 *");
	site_say(&c, "HELO x.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<wait@example.org>\r\nRCPT TO:<c@example.org>\r\n");
	site_expect(&c, "250 *");
	site_expect(&c, "250 2.1.0 *");
	site_expect_nothing(&c);
	ck_assert_uint_eq(site_questions, 1);
	loop_advance(61000);
	site_expect(&c, "451 4.4.3 *");
	site_expect(&c, "250 2.1.5 *");
	site_hang_up(&c);
	site_stop();
}
END_TEST

START_TEST(a_client_may_vanish_while_facts_are_awaited)
{
	struct site_client c;

	site_start();
	site_config.idle_s = 60;
	site_mute = true;
	site_connect(&c);
	site_say(&c, "HELO x.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<wait@example.org>\r\n");
	ck_assert_uint_eq(site_questions, 1);
	site_hang_up(&c);
	site_stop();
}
END_TEST

START_TEST(a_client_that_never_reads_is_not_served_for_ever)
{
	static const char rcpt[] = "RCPT TO:<c@example.org>\r\n";
	struct site_client c;
	size_t sent = 0;

	site_start();
	site_connect(&c);
	site_say(&c, "HELO x.example\r\nMAIL FROM:<a@b.example>\r\n");
	for (int idle = 0; idle < 50; ) {
		ssize_t w = send(c.fd, rcpt, strlen(rcpt), MSG_NOSIGNAL);

		idle = w > 0 ? 0 : idle + 1;
		sent += w > 0 ? (size_t)w : 0;
		loop_turn(0);
	}
	ck_assert_uint_lt(sent, 4 << 20);
	ck_assert_uint_eq(smtpd_sessions(), 1);
	for (int i = 0; i < 700 && smtpd_sessions(); i++) {
		loop_advance(500);
		loop_turn(0);
	}
	ck_assert_uint_eq(smtpd_sessions(), 0);
	site_hang_up(&c);
	site_stop();
}
END_TEST

START_TEST(a_line_without_end_is_cut_off)
{
	static char much[65536];
	struct site_client c;
	size_t sent = 0;

	memset(much, 'x', sizeof much);
	site_start();
	site_connect(&c);
	site_expect(&c, "220 *");
	while (sent < 64 << 20 && !c.ended) {
		site_send(&c, much, sizeof much);
		sent += sizeof much;
	}
	ck_assert_uint_lt(sent, 8 << 20);
	site_expect(&c, "500 5.5.2 *");
	site_expect(&c, "421 4.7.0 *");
	site_hang_up(&c);
	site_stop();
}
END_TEST

START_TEST(far_too_much_data_ends_the_session)
{
	struct site_client c;
	static char much[1 << 20];

	memset(much, 'x', sizeof much);
	site_start();
	site_config.message_size = 1000;
	begin_data(&c);
	for (int i = 0; i < 80 && !c.ended; i++)
		site_send(&c, much, sizeof much);
	site_expect(&c, "552 5.3.4 *");
	site_hang_up(&c);
	ck_assert_uint_eq(site_messages(), 0);
	site_stop();
}
END_TEST

START_TEST(a_client_that_does_not_close_is_not_waited_for)
{
	struct site_client c;

	site_start();
	site_connect(&c);
	site_expect(&c, "220 *");
	site_say(&c, "QUIT\r\n");
	site_expect(&c, "221 *");
	site_say(&c, "and more\r\n");
	site_expect_end(&c);
	ck_assert_uint_eq(smtpd_sessions(), 1);
	loop_advance(3000);
	site_turn();
	ck_assert_uint_eq(smtpd_sessions(), 0);
	site_hang_up(&c);
	site_stop();
}
END_TEST

/* ---- commits that take their time */

static atomic_int *gate;                /* shared with the helper, which may keep no descriptor of ours: files that may pass */
static int (*real_sync)(int fd);

/* In the helper: waits until the test lets it pass. */
static int gated_sync(int fd)
{
	for (int i = 0; i < 30000 && atomic_load(gate) <= 0; i++)
		poll(NULL, 0, 1);
	atomic_fetch_sub(gate, 1);
	return real_sync(fd);
}

static void start_gated(void)
{
	gate = mmap(NULL, sizeof *gate, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert(gate != MAP_FAILED);
	atomic_init(gate, 0);
	real_sync = file_sys.fdatasync;
	file_sys.fdatasync = gated_sync;
	site_start_with_helper();
}

/* Lets n files pass, and waits for the helper to say so. */
static void open_gate(int n)
{
	atomic_fetch_add(gate, n);
	for (int i = 0; i < 30000 && !queue_committed(); i++) {
		poll(NULL, 0, 1);
		loop_turn(0);
	}
	ck_assert(queue_committed());
}

static void stop_gated(void)
{
	site_stop();
	file_sys.fdatasync = real_sync;
	munmap(gate, sizeof *gate);
}

START_TEST(nothing_is_answered_before_the_commit_and_replies_keep_their_order)
{
	struct site_client c;

	start_gated();
	begin_data(&c);
	site_say(&c, "Subject: x\r\n\r\n.\r\nNOOP\r\nMAIL FROM:<b@b.example>\r\nQUIT\r\n");
	site_expect_nothing(&c);
	loop_advance(50000);
	site_expect_nothing(&c);
	open_gate(1);
	site_expect(&c, "250 2.0.0 Queued as *");
	site_expect(&c, "250 2.0.0 Ok");
	site_expect(&c, "250 2.1.0 *");
	site_expect(&c, "221 *");
	ck_assert_uint_eq(site_messages(), 1);
	site_hang_up(&c);
	stop_gated();
}
END_TEST

START_TEST(a_client_may_vanish_while_its_commit_is_pending)
{
	struct site_client c;

	start_gated();
	/* one ends well-behaved, of the other the replies cannot be written any more */
	begin_data(&c);
	site_say(&c, "Subject: x\r\n\r\n.\r\n");
	site_expect_nothing(&c);
	site_hang_up(&c);
	site_turn();
	ck_assert_uint_eq(smtpd_sessions(), 1);
	site_connect(&c);
	site_expect(&c, "220 *");
	ck_assert_int_eq(write(c.fd, envelope, strlen(envelope)), (ssize_t)strlen(envelope));
	ck_assert_int_eq(write(c.fd, "DATA\r\nx\r\n.\r\n", 12), 12);
	site_hang_up(&c);
	site_turn();
	ck_assert_uint_eq(smtpd_sessions(), 2);         /* closed, but kept for done() */
	open_gate(2);
	site_turn();
	ck_assert_uint_eq(smtpd_sessions(), 0);
	ck_assert_uint_eq(site_messages(), 2);
	stop_gated();
}
END_TEST

/* ---- many sessions */

START_TEST(one_flood_does_not_keep_others_waiting)
{
	struct site_client loud, quiet;
	char flood[6 * 5000];

	site_start();
	for (size_t i = 0; i < sizeof flood; i += 6)
		memcpy(flood + i, "NOOP\r\n", 6);
	site_connect(&loud);
	site_connect(&quiet);
	site_expect(&loud, "220 *");
	site_expect(&quiet, "220 *");
	ck_assert_int_eq(write(loud.fd, flood, sizeof flood), sizeof flood);
	ck_assert_int_eq(write(quiet.fd, "NOOP\r\n", 6), 6);
	for (int i = 0; i < 3; i++)
		loop_turn(0);
	ck_assert_int_gt(read(quiet.fd, flood, sizeof flood), 0);
	ck_assert_int_lt(read(loud.fd, flood, sizeof flood), 4 * 50 * (ssize_t)strlen("250 2.0.0 Ok\r\n"));
	site_hang_up(&loud);
	site_hang_up(&quiet);
	site_stop();
}
END_TEST

START_TEST(a_thousand_sessions_are_served)
{
	enum { MANY = 1000, EACH = 3, OTHERS = 100 };   /* descriptors: both ends and the message */
	static struct site_client c[MANY];
	struct rlimit r;
	size_t n = MANY;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &r), 0);
	r.rlim_cur = r.rlim_max;
	setrlimit(RLIMIT_NOFILE, &r);
	if (r.rlim_max != RLIM_INFINITY && r.rlim_max < EACH * MANY + OTHERS)
		n = ((size_t)r.rlim_max - OTHERS) / EACH;
	site_start();
	for (size_t i = 0; i < n; i++)
		site_connect(&c[i]);
	site_turn();
	ck_assert_uint_eq(smtpd_sessions(), n);
	for (size_t i = 0; i < n; i++)
		ck_assert_int_eq(write(c[i].fd, whole, strlen(whole)), (ssize_t)strlen(whole));
	site_turn();
	site_turn();
	for (size_t i = 0; i < n; i++) {
		char text[2000];
		ssize_t got = read(c[i].fd, text, sizeof text - 1);

		ck_assert_int_gt(got, 0);
		text[got] = '\0';
		ck_assert_ptr_nonnull(strstr(text, "\r\n250 2.0.0 Queued"));
		ck_assert_ptr_nonnull(strstr(text, "\r\n221 2.0.0 "));
		site_hang_up(&c[i]);
	}
	ck_assert_uint_eq(site_messages(), n);
	site_stop();
}
END_TEST

static int ended_calls;
static void on_ended(void) { ended_calls++; }

START_TEST(a_session_on_given_descriptors_tells_its_end_once)
{
	int in[2], out[2];
	char text[500];

	site_start();
	ended_calls = 0;
	ck_assert_int_eq(pipe(in), 0);
	ck_assert_int_eq(pipe(out), 0);
	ck_assert_int_eq(smtpd_session(in[0], out[1], SMTPD_MX, NULL, on_ended), 0);
	ck_assert_int_eq(write(in[1], "QUIT\r\n", 6), 6);
	site_turn();
	ck_assert_int_eq(ended_calls, 0);               /* our half has ended, the other not yet */
	ck_assert_int_gt(read(out[0], text, sizeof text), 20);
	ck_assert_int_eq(read(out[0], text, sizeof text), 0);
	close(in[1]);
	site_turn();
	ck_assert_int_eq(ended_calls, 1);
	ck_assert_uint_eq(smtpd_sessions(), 0);
	close(out[0]);
	site_stop();
	ck_assert_int_eq(ended_calls, 1);
}
END_TEST

/* ---- listening */

static struct sockaddr_in listen_on(struct in_addr addr)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr = addr };
	socklen_t n = sizeof a;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_ne(fd, -1);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, n), 0);
	ck_assert_int_eq(listen(fd, 16), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&a, &n), 0);
	ck_assert_int_eq(smtpd_listen(fd, SMTPD_MX), 0);
	return a;
}

static void dial(struct site_client *c, const struct sockaddr_in *a)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_ne(fd, -1);
	ck_assert_int_eq(connect(fd, (const struct sockaddr *)a, sizeof *a), 0);
	site_adopt(c, fd);
}

static const struct in_addr *loopback(void)
{
	static struct in_addr a;

	a.s_addr = htonl(INADDR_LOOPBACK);
	return &a;
}

START_TEST(places_are_limited_and_idle_sessions_make_place)
{
	struct site_client a, b, c, d;
	struct sockaddr_in at;

	site_start();
	site_config.sessions_max = 2;
	at = listen_on(*loopback());
	dial(&a, &at);
	site_expect(&a, "220 *");
	dial(&b, &at);
	site_expect(&b, "220 *");
	site_say(&a, "HELO a.example\r\nMAIL FROM:<a@b.example>\r\n");      /* in a transaction: stays */
	site_expect(&a, "250 *");
	site_expect(&a, "250 2.1.0 *");
	dial(&c, &at);
	site_expect(&c, "421 4.3.2 *");
	site_expect_end(&c);
	site_expect_nothing(&b);
	loop_advance(11000);
	dial(&d, &at);
	site_expect(&d, "220 *");                        /* at once, though the other has not gone yet */
	site_expect(&b, "421 4.3.2 *");
	site_expect_nothing(&a);
	site_hang_up(&a);
	site_hang_up(&b);
	site_hang_up(&c);
	site_hang_up(&d);
	smtpd_stop();
	site_stop();
}
END_TEST

/* An address of this machine that is not loopback: connecting to it does not leave the machine. */
static bool own_address(struct in_addr *out)
{
	struct ifaddrs *all, *i;
	bool found = false;

	if (getifaddrs(&all) == -1)
		return false;
	for (i = all; i && !found; i = i->ifa_next) {
		struct sockaddr_in *a = (struct sockaddr_in *)(void *)i->ifa_addr;

		if (!a || a->sin_family != AF_INET || ntohl(a->sin_addr.s_addr) >> 24 == 127)
			continue;
		*out = a->sin_addr;
		found = true;
	}
	freeifaddrs(all);
	return found;
}

START_TEST(sessions_of_one_address_are_limited_but_not_those_of_this_machine)
{
	struct site_client a, b, c;
	struct in_addr own;
	struct sockaddr_in at;

	site_start();
	site_config.sessions_per_address = 1;
	at = listen_on(*loopback());
	dial(&a, &at);
	dial(&b, &at);
	site_expect(&a, "220 *");
	site_expect(&b, "220 *");
	site_hang_up(&a);
	site_hang_up(&b);
	if (own_address(&own)) {
		at = listen_on(own);
		dial(&a, &at);
		site_expect(&a, "220 *");
		dial(&b, &at);
		site_expect(&b, "421 4.7.0 *");
		site_expect_end(&b);
		site_hang_up(&a);
		site_turn();
		dial(&c, &at);
		site_expect(&c, "220 *");
		site_hang_up(&b);
		site_hang_up(&c);
	}
	smtpd_stop();
	site_stop();
}
END_TEST

START_TEST(the_trace_names_the_clients_address)
{
	struct site_client c;
	struct sockaddr_in at;
	struct buf head = { 0 }, message = { 0 };

	site_start();
	at = listen_on(*loopback());
	dial(&c, &at);
	site_expect(&c, "220 *");
	site_say(&c, "HELO [192.0.2.7]\r\n");
	site_expect(&c, "250 *");
	send_one(&c);
	ck_assert(site_message("Received: from [192.0.2.7] ([127.0.0.1])\r\n\tby mx.example.org with SMTP id ", &head, &message));
	ck_assert(site_message("FROM [192.0.2.7] [127.0.0.1] SMTP\n", &head, &message));
	buf_free(&head);
	buf_free(&message);
	site_hang_up(&c);
	smtpd_stop();
	site_stop();
}
END_TEST


/* Takes every free descriptor; give_back_fds() gives them back. */
static size_t take_all_fds(int *fds, size_t room, struct rlimit *before)
{
	struct rlimit few;
	size_t n = 0;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, before), 0);
	few = *before;
	if (few.rlim_cur == RLIM_INFINITY || few.rlim_cur > room)
		few.rlim_cur = room;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
	while (n < room && (fds[n] = dup(0)) != -1)
		n++;
	ck_assert_int_eq(errno, EMFILE);
	return n;
}

static void give_back_fds(const int *fds, size_t n, const struct rlimit *before)
{
	while (n)
		close(fds[--n]);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, before), 0);
}

START_TEST(without_descriptors_accepting_pauses_and_goes_on)
{
	static int fds[3000];
	struct site_client a, b, c;
	struct sockaddr_in at;
	struct rlimit before;
	size_t n;

	site_start();
	at = listen_on(*loopback());
	dial(&a, &at);
	site_expect(&a, "220 *");
	dial(&b, &at);
	n = take_all_fds(fds, sizeof fds / sizeof fds[0], &before);
	site_listen(&b);
	ck_assert_uint_eq(b.got.n, 0);
	site_say(&a, "NOOP\r\n");                        /* others are served meanwhile */
	site_expect(&a, "250 2.0.0 *");
	give_back_fds(fds, n, &before);
	dial(&c, &at);
	site_expect_nothing(&c);                         /* not watched: nothing spins */
	loop_advance(1001);
	site_expect(&c, "220 *");
	site_hang_up(&a);
	site_hang_up(&b);
	site_hang_up(&c);
	smtpd_stop();
	site_stop();
}
END_TEST

START_TEST(a_stop_ends_idle_sessions_and_lets_messages_finish)
{
	struct site_client idle, busy, late;

	site_start();
	site_connect(&idle);
	site_expect(&idle, "220 *");
	begin_data(&busy);
	site_say(&busy, "Subject: x\r\n");
	smtpd_stop();
	site_expect(&idle, "421 4.3.2 *");
	site_expect_nothing(&busy);
	site_say(&busy, "\r\n.\r\n");
	site_expect(&busy, "250 2.0.0 *");
	site_expect(&busy, "421 4.3.2 *");
	site_connect(&late);
	site_expect(&late, "220 *");
	site_expect(&late, "421 4.3.2 *");
	site_hang_up(&idle);
	site_hang_up(&busy);
	site_hang_up(&late);
	ck_assert_uint_eq(site_messages(), 1);
	site_stop();
}
END_TEST

START_TEST(octets_at_random_end_no_server)
{
	static const char *const words[] = { "MAIL FROM:<a@b.example>", "RCPT TO:<wait@example.org>", "DATA", ".", "\r\n", "\r\n", "\r\n",
		"\n", "\r", "EHLO x.example\r\n", "RSET", "QUIT", " ", "<", ">", "\xff", "BODY=8BITMIME", "NOOP\r\n", "VRFY x", "BDAT 5", "SIZE=9" };
	enum { NWORDS = sizeof words / sizeof words[0] };
	const char *seed_text = getenv("SEED");
	unsigned long seed = seed_text ? strtoul(seed_text, NULL, 10) : 20261123;
	uint64_t x = seed;
	struct site_client c;

	site_start();
	for (int round = 0; round < 300; round++) {
		site_connect(&c);
		for (int i = 0; i < 60 && !c.ended; i++) {
			x = x * 6364136223846793005u + 1442695040888963407u;
			site_say(&c, words[(x >> 33) % NWORDS]);
			if ((x >> 60) == 0)
				site_send(&c, "\0", 1);
		}
		site_listen(&c);
		for (char line[600]; site_line(&c, line, sizeof line); )
			ck_assert_msg(line[0] >= '2' && line[0] <= '5', "seed %lu round %d: %s", seed, round, line);
		ck_assert_msg(!c.got.n, "seed %lu round %d: half a reply", seed, round);
		site_hang_up(&c);
		site_turn();
		ck_assert_uint_eq(smtpd_sessions(), 0);
		ck_assert_uint_eq(site_drafts(), 0);
	}
	site_stop();
}
END_TEST

Suite *smtpd_suite(void)
{
	Suite *s = suite_create("smtpd");
	TCase *tc = tcase_create("server");

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, who_says_our_name_is_shown_the_mark_and_nobody_else);
	tcase_add_test(tc, a_disk_that_fails_during_data_is_told_at_the_end_of_data);
	tcase_add_test(tc, what_is_not_durable_is_not_accepted);
	tcase_add_test(tc, a_full_disk_is_told_at_mail_and_again_no_more_when_there_is_room);
	tcase_add_test(tc, a_message_that_keeps_coming_has_all_the_time_that_its_octets_buy);
	tcase_add_test(tc, octets_over_the_size_limit_buy_no_time);
	tcase_add_test(tc, a_client_may_vanish_after_any_octet);
	tcase_add_test(tc, a_client_that_does_not_wait_for_the_commit_leaves_its_message);
	tcase_add_test(tc, facts_that_do_not_come_cost_one_recipient);
	tcase_add_test(tc, a_client_may_vanish_while_facts_are_awaited);
	tcase_add_test(tc, a_client_that_never_reads_is_not_served_for_ever);
	tcase_add_test(tc, a_line_without_end_is_cut_off);
	tcase_add_test(tc, far_too_much_data_ends_the_session);
	tcase_add_test(tc, a_client_that_does_not_close_is_not_waited_for);
	tcase_add_test(tc, nothing_is_answered_before_the_commit_and_replies_keep_their_order);
	tcase_add_test(tc, a_client_may_vanish_while_its_commit_is_pending);
	tcase_add_test(tc, one_flood_does_not_keep_others_waiting);
	tcase_add_test(tc, a_thousand_sessions_are_served);
	tcase_add_test(tc, a_session_on_given_descriptors_tells_its_end_once);
	tcase_add_test(tc, places_are_limited_and_idle_sessions_make_place);
	tcase_add_test(tc, sessions_of_one_address_are_limited_but_not_those_of_this_machine);
	tcase_add_test(tc, the_trace_names_the_clients_address);
	tcase_add_test(tc, without_descriptors_accepting_pauses_and_goes_on);
	tcase_add_test(tc, a_stop_ends_idle_sessions_and_lets_messages_finish);
	tcase_add_test(tc, octets_at_random_end_no_server);
	suite_add_tcase(s, tc);
	return s;
}
