/* A door: what it does when descriptors have run out. cmd_control.c and cmd_exporter.c go through the rest. */
#include "lib/door.h"

#include <arpa/inet.h>
#include <check.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

Suite *lib_door_suite(void);

static struct caller *enter(int fd) { (void)fd; return calloc(1, sizeof(struct caller)); }
static void event(struct stream *s) { (void)s; }
static void leave(struct caller *c) { free(c); }

static void limit_descriptors(rlim_t n)
{
	struct rlimit r;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &r), 0);
	r.rlim_cur = n;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &r), 0);
}

START_TEST(without_descriptors_it_rests_and_then_goes_on)
{
	struct door door = { .most = 8, .patience = 1000, .enter = enter, .event = event, .leave = leave };
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof a;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), outside = socket(AF_INET, SOCK_STREAM, 0), next;

	loop_virtual_clock(1800000000);
	ck_assert(bind(fd, (struct sockaddr *)&a, n) == 0 && listen(fd, 8) == 0 && getsockname(fd, (struct sockaddr *)&a, &n) == 0);
	ck_assert_int_eq(door_open(&door, fd), 0);
	ck_assert_int_eq(connect(outside, (struct sockaddr *)&a, n), 0);
	next = fcntl(fd, F_DUPFD, 0);
	close(next);
	limit_descriptors((rlim_t)next);
	loop_turn(0);
	ck_assert_uint_eq(door.callers.n, 0);
	ck_assert(door.io.slot == 0 && timer_armed(&door.pause));
	limit_descriptors((rlim_t)next + 8);
	loop_advance(1000);
	loop_turn(0);
	loop_turn(0);
	ck_assert_uint_eq(door.callers.n, 1);
	door_close(&door);
	close(outside);
}
END_TEST

Suite *lib_door_suite(void)
{
	Suite *s = suite_create("lib_door");
	TCase *t = tcase_create("door");

	tcase_set_tags(t, "descriptors");               /* tests/run-unit.sh */
	tcase_add_test(t, without_descriptors_it_rests_and_then_goes_on);
	suite_add_tcase(s, t);
	return s;
}
