/* Figures over HTTP: what is answered, and that nobody can hold it up. */
#include "cmd/exporter.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cmd/figures.h"
#include "lib/loop.h"
#include "lib/metrics.h"
#include "smtpd.h"
#include "tests/peer.h"
#include "tests/queue_rig.h"

Suite *cmd_exporter_suite(void);

static struct settings set;

static void setup(void)
{
	const struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)peer_port()) };

	rig_open();
	set = (struct settings){ .queue = rig.dir, .hostname = "h.test", .metrics_listen = "127.0.0.1", .metrics_len = sizeof a };
	memcpy(&set.metrics_addr, &a, sizeof a);
	ck_assert_int_eq(exporter_start(&set), 0);
}

static void teardown(void)
{
	exporter_stop();
	rig_close();
}

static int call(const char *text, size_t n)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	ck_assert_int_eq(connect(fd, (const struct sockaddr *)&set.metrics_addr, set.metrics_len), 0);
	ck_assert(!n || send(fd, text, n, MSG_NOSIGNAL) == (ssize_t)n);
	return fd;
}

/* What has come so far; *ended: and no more will. */
static const char *heard(int fd, bool *ended)
{
	static char text[1 << 20];
	size_t n = 0;
	ssize_t got = -1;

	*ended = false;
	for (int i = 0; i < 200; i++) {
		loop_turn(0);
		while ((got = recv(fd, text + n, sizeof text - 1 - n, MSG_DONTWAIT)) > 0)
			n += (size_t)got;
		if (got == 0)
			*ended = true;
	}
	text[n] = '\0';
	return text;
}

#define HOST "Host: localhost:9797\r\n"

static const struct { const char *said, *status; } requests[] = {
	{ "GET /metrics HTTP/1.1\r\n" HOST "\r\n", "200 OK" },
	{ "GET /metrics HTTP/1.1\r\n" HOST "Accept: text/plain\r\nUser-Agent: x\r\n\r\n", "200 OK" },
	{ "\r\nGET /metrics HTTP/1.1\r\nhost:127.0.0.1:9797\r\n\r\n", "200 OK" },
	{ "GET /metrics?a=b HTTP/1.0\r\n\r\n", "200 OK" },
	{ "GET http://[::1]:9797/metrics HTTP/1.1\r\nHost: [::1]:9797\r\n\r\n", "200 OK" },
	{ "GET /metrics HTTP/1.1\n" "Host: localhost\n\n", "200 OK" },
	{ "GET /metrics HTTP/1.1\r\n" HOST "\r\nGET /metrics HTTP/1.1\r\n" HOST "\r\n", "200 OK" },
	{ "GET /metrics HTTP/1.1\r\n\r\n", "400 Bad Request" },
	{ "GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n", "421 Misdirected Request" },
	{ "GET / HTTP/1.1\r\n" HOST "\r\n", "404 Not Found" },
	{ "GET http://localhost HTTP/1.1\r\n" HOST "\r\n", "404 Not Found" },
	{ "GET /metrics/../etc/passwd HTTP/1.1\r\n" HOST "\r\n", "404 Not Found" },
	{ "GET /metricsx HTTP/1.1\r\n" HOST "\r\n", "404 Not Found" },
	{ "POST /metrics HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabc", "405 Method Not Allowed" },
	{ "get /metrics HTTP/1.1\r\n" HOST "\r\n", "405 Method Not Allowed" },
	{ "GET /metrics\r\n\r\n", "400 Bad Request" },
	{ "GET /metrics HTTP/2.0\r\n" HOST "\r\n", "400 Bad Request" },
	{ "EHLO x\r\n\r\n", "400 Bad Request" },
	{ " \r\n\r\n", "400 Bad Request" },
};

START_TEST(a_request_has_one_answer_and_the_end)
{
	int fd = call(requests[_i].said, strlen(requests[_i].said));
	const char *text, *body;
	size_t octets;
	bool ended;

	shutdown(fd, SHUT_WR);
	text = heard(fd, &ended);
	ck_assert_msg(!strncmp(text, "HTTP/1.1 ", 9) && !strncmp(text + 9, requests[_i].status, strlen(requests[_i].status)), "%s: %s", requests[_i].said, text);
	ck_assert(ended && strstr(text, "\r\nConnection: close\r\n"));
	body = strstr(text, "\r\n\r\n");
	ck_assert(body && sscanf(strstr(text, "Content-Length: "), "Content-Length: %zu", &octets) == 1);
	ck_assert_uint_eq(strlen(body + 4), octets);
	ck_assert(!strncmp(requests[_i].status, "200", 3) == !!strstr(text, "\r\nContent-Type: text/plain; version=0.0.4\r\n"));
	close(fd);
}
END_TEST

START_TEST(zeros_are_there_and_destinations_with_what_waits)
{
	static const char ask[] = "GET /metrics HTTP/1.1\r\n" HOST "\r\n";
	int fd = call(ask, sizeof ask - 1);
	const char *text;
	bool ended;

	text = heard(fd, &ended);
	ck_assert(strstr(text, "\nfardel_queue_messages 0\n") && strstr(text, "\nfardel_events_total{event=\"delivered\"} 0\n"));
	ck_assert(strstr(text, "\n# TYPE fardel_destination_oldest_seconds gauge\n"));
	close(fd);
	rig.by_hand = true;
	ck_assert(rig_put("a@s.example", "b@x.example"));
	rig_run(5);
	fd = call(ask, sizeof ask - 1);
	text = heard(fd, &ended);
	ck_assert_msg(strstr(text, "\nfardel_queue_messages 1\n") && strstr(text, "\nfardel_destination_entries{destination=\"x.example\"} 1\n"), "%s", text);
	ck_assert(strstr(text, "\nfardel_destination_oldest_seconds{destination=\"x.example\"} 5\n"));
	close(fd);
	rig_finish(0, false);
}
END_TEST

START_TEST(an_endless_head_is_cut_short)
{
	static char junk[100000];
	bool ended;
	int fd;

	memset(junk, 'x', sizeof junk);
	memcpy(junk, "GET /metrics HTTP/1.1\r\n", 23);
	if (_i)
		for (size_t i = 100; i < sizeof junk; i += 100)
			memcpy(junk + i, "\r\n", 2);
	fd = call("", 0);
	send(fd, junk, sizeof junk, MSG_NOSIGNAL | MSG_DONTWAIT);
	ck_assert_ptr_nonnull(strstr(heard(fd, &ended), "431 Request Header Fields Too Large"));
	close(fd);
}
END_TEST

START_TEST(who_says_nothing_or_reads_nothing_is_not_waited_for)
{
	static const char ask[] = "GET /metrics HTTP/1.1\r\n" HOST "\r\n";
	int silent[8], later;
	bool ended;

	for (int i = 0; i < 8; i++)
		silent[i] = call("GET /met", (size_t)i);
	rig_turn();
	later = call(ask, sizeof ask - 1);
	ck_assert_str_eq(heard(later, &ended), "");             /* all places are taken */
	rig_run(5);
	for (int i = 0; i < 8; i++)
		send(silent[i], "x", 1, MSG_NOSIGNAL);          /* an octet now and then gains nothing */
	rig_run(6);
	for (int i = 0; i < 8; i++) {
		heard(silent[i], &ended);
		ck_assert(ended || errno == ECONNRESET);
		close(silent[i]);
	}
	ck_assert_ptr_nonnull(strstr(heard(later, &ended), "200 OK"));
	ck_assert(ended);
	close(later);
}
END_TEST

/* The walk through the queue is made once a second at most. */
START_TEST(who_asks_without_pause_gets_the_same_page)
{
	static const char ask[] = "GET /metrics HTTP/1.0\r\n\r\n";
	char first[65536];
	bool ended;
	int fd = call(ask, sizeof ask - 1);

	snprintf(first, sizeof first, "%s", heard(fd, &ended));
	close(fd);
	metrics_count("delivered");
	fd = call(ask, sizeof ask - 1);
	ck_assert_str_eq(heard(fd, &ended), first);
	close(fd);
	rig_run(2);
	fd = call(ask, sizeof ask - 1);
	ck_assert_str_ne(heard(fd, &ended), first);
	close(fd);
}
END_TEST

START_TEST(the_end_comes_with_clients_in_hand)
{
	int fd = call("GET /", 5);

	rig_turn();
	exporter_stop();
	close(fd);
}
END_TEST

Suite *cmd_exporter_suite(void)
{
	Suite *s = suite_create("cmd_exporter");
	TCase *t = tcase_create("exporter");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, a_request_has_one_answer_and_the_end, 0, sizeof requests / sizeof *requests);
	tcase_add_test(t, zeros_are_there_and_destinations_with_what_waits);
	tcase_add_loop_test(t, an_endless_head_is_cut_short, 0, 2);
	tcase_add_test(t, who_says_nothing_or_reads_nothing_is_not_waited_for);
	tcase_add_test(t, who_asks_without_pause_gets_the_same_page);
	tcase_add_test(t, the_end_comes_with_clients_in_hand);
	suite_add_tcase(s, t);
	return s;
}
