/* abuse KIND N PORT: N clients that are no good to anybody, until standard input ends; prints "begun" when all are at it.
 *   trickle    each sends an octet of a message every 200 ms
 *   line       each sends a line without end, as fast as it is taken; calls again when it is cut off
 *   commands   each sends commands that are none, in blocks of 100; calls again when it is cut off
 *   hello      each asks for STARTTLS, sends half a hello and waits
 *   silent     each connects and never says a word
 *   deaf       each asks for HELP without end and never reads
 * At the end: "sent N" octets, and how many connections were made. It shares no code with the program. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 2000, STEP_MS = 200 };

struct client {
	int fd;
	size_t said;                    /* octets of what it has to say first */
	long long at;                   /* ms: not before that */
};

static struct client client[MOST];
static struct sockaddr_in server = { .sin_family = AF_INET };
static unsigned long long sent, connections;
static const char *kind;

static const char hello[] = "EHLO abuse.test\r\nSTARTTLS\r\n";
static const char begin_message[] = "EHLO abuse.test\r\nMAIL FROM:<a@abuse.test>\r\nRCPT TO:<user@here.test>\r\nDATA\r\nSubject: slow\r\n\r\n";
static char block[100 * 16];

static long long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

static void call(struct client *c)
{
	if (c->fd != -1)
		close(c->fd);
	c->said = 0;
	c->at = 0;
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (c->fd == -1 || (connect(c->fd, (struct sockaddr *)&server, sizeof server) == -1 && errno != EINPROGRESS)) {
		perror("abuse");
		exit(1);
	}
	connections++;
}

static bool is(const char *what) { return !strcmp(kind, what); }

/* False: it is cut off. */
static bool push(struct client *c, const char *p, size_t n)
{
	ssize_t w = send(c->fd, p, n, MSG_NOSIGNAL);

	if (w == -1)
		return errno == EAGAIN || errno == ENOTCONN || errno == EINPROGRESS;
	sent += (size_t)w;
	c->said += (size_t)w;
	return true;
}

static bool speak(struct client *c)
{
	static const char half[] = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";

	if (is("silent"))
		return true;
	if (is("trickle")) {
		c->at = now_ms() + STEP_MS;
		return push(c, c->said < sizeof begin_message - 1 ? begin_message + c->said : "x", 1);
	}
	if (is("hello")) {
		if (c->said < sizeof hello - 1) {
			c->at = now_ms() + STEP_MS;     /* its 220 first: what follows at once would be an error */
			return push(c, hello + c->said, sizeof hello - 1 - c->said);
		}
		if (c->said < sizeof hello + sizeof half - 2)
			return push(c, half, sizeof half - 1);
		c->at = now_ms() + 1000000;
		return true;
	}
	return push(c, block, sizeof block);
}

static bool listen_to(struct client *c)
{
	char text[4096];
	ssize_t n;

	if (is("deaf"))
		return true;
	while ((n = recv(c->fd, text, sizeof text, 0)) > 0)
		;
	return n == -1 && errno == EAGAIN;
}

static void write_block(void)
{
	if (is("line"))
		memset(block, 'x', sizeof block);
	else
		for (size_t i = 0; i < sizeof block; i += 16)
			memcpy(block + i, is("deaf") ? "HELP xxxxxxxxx\r\n" : "BAD xxxxxxxxxx\r\n", 16);
}

static void run(size_t n)
{
	static struct pollfd p[MOST + 1];

	p[n] = (struct pollfd){ .fd = 0, .events = POLLIN };
	while (!p[n].revents) {
		long long now = now_ms();

		for (size_t i = 0; i < n; i++) {
			bool wants = client[i].at <= now && !is("silent");

			p[i] = (struct pollfd){ .fd = client[i].fd, .events = (short)((is("deaf") ? 0 : POLLIN) | (wants ? POLLOUT : 0)) };
		}
		if (poll(p, n + 1, 20) == -1)
			exit(1);
		for (size_t i = 0; i < n; i++) {
			if (p[i].revents & (POLLIN | POLLHUP | POLLERR) && !listen_to(&client[i]))
				call(&client[i]);
			else if (p[i].revents & POLLOUT && !speak(&client[i]))
				call(&client[i]);
		}
		if (is("trickle") || is("hello") || is("silent"))
			usleep(5000);
	}
}

int main(int argc, char **argv)
{
	struct rlimit r;
	size_t n;

	if (argc != 4 || !(n = (size_t)atoi(argv[2])) || n > MOST)
		return 2;
	kind = argv[1];
	server.sin_port = htons((unsigned short)atoi(argv[3]));
	server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	signal(SIGPIPE, SIG_IGN);
	getrlimit(RLIMIT_NOFILE, &r);
	r.rlim_cur = r.rlim_max;
	setrlimit(RLIMIT_NOFILE, &r);
	write_block();
	for (size_t i = 0; i < n; i++) {
		client[i].fd = -1;
		call(&client[i]);
	}
	puts("begun");
	fflush(stdout);
	run(n);
	printf("sent %llu, connections %llu\n", sent, connections);
	return 0;
}
