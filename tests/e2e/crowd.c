/* crowd MODE PORT [N [OCTETS]]: many sessions of an SMTP client on 127.0.0.1, in one process that costs next to nothing.
 *   greet        until the server greets, which may not have been started yet; prints the milliseconds since then
 *   idle N       N sessions that have said EHLO; each must still answer at the end
 *   data N M     N sessions that have sent M octets of a message each, and not its end
 *   trickle N    N sessions that send an octet of a message every 200 ms
 * The last three print "N of N" when all are there, and hold them until standard input ends. Exit 0: all was
 * well. It shares no code with the program. */
#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { DEADLINE_S = 300, LOOK_MS = 1, LINE = 72, TRICKLE_MS = 200, TICK_MS = 10 };

static struct sockaddr_in server = { .sin_family = AF_INET };

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int dial(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd == -1 || connect(fd, (struct sockaddr *)&server, sizeof server) == 0)
		return fd;
	close(fd);
	return -1;
}

/* The code of a reply, its last line; 0: the connection is lost. */
static int hear(int fd)
{
	char text[4096];
	size_t n = 0;

	while (n < sizeof text - 1) {
		ssize_t k = read(fd, text + n, sizeof text - 1 - n);
		char *line = text;

		if (k <= 0)
			return 0;
		n += (size_t)k;
		text[n] = '\0';
		for (char *next; (next = strchr(line, '\n')) && next[1]; )
			line = next + 1;
		if (text[n - 1] == '\n' && strlen(line) > 4 && line[3] == ' ')
			return atoi(line);
	}
	return 0;
}

static int say(int fd, const char *text) { return send(fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text); }

static int ask(int fd, const char *text, int wanted) { return say(fd, text) && hear(fd) == wanted; }

static int greet(void)
{
	double since = now_ms();

	for (;;) {
		int fd = dial();

		if (fd != -1 && hear(fd) == 220) {
			printf("%.1f\n", now_ms() - since);
			ask(fd, "QUIT\r\n", 221);
			return 0;
		}
		if (fd != -1)
			close(fd);
		poll(NULL, 0, LOOK_MS);
	}
}

static int begin_message(int fd)
{
	return ask(fd, "MAIL FROM:<a@crowd.test>\r\n", 250) && ask(fd, "RCPT TO:<b@there.test>\r\n", 250) && ask(fd, "DATA\r\n", 354) &&
		say(fd, "Subject: crowd\r\n\r\n");
}

static int send_lines(int fd, long octets)
{
	char line[LINE + 1];

	memset(line, 'x', LINE - 2);
	memcpy(line + LINE - 2, "\r\n", 3);
	while (octets > 0 && say(fd, line))
		octets -= LINE;
	return octets <= 0;
}

int main(int argc, char **argv)
{
	const char *mode = argc > 2 ? argv[1] : "";
	int n = argc > 3 ? atoi(argv[3]) : 0, there = 0, *fd = calloc((size_t)n + 1, sizeof *fd);
	int trickle = strcmp(mode, "trickle") == 0, data = strcmp(mode, "data") == 0;
	struct pollfd in = { .fd = 0, .events = POLLIN };
	struct rlimit r;

	alarm(DEADLINE_S);
	server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	server.sin_port = htons((in_port_t)(argc > 2 ? atoi(argv[2]) : 0));
	if (strcmp(mode, "greet") == 0)
		return greet();
	if (!fd || n <= 0 || (!trickle && !data && strcmp(mode, "idle") != 0))
		return 2;
	if (getrlimit(RLIMIT_NOFILE, &r) == 0) {
		r.rlim_cur = r.rlim_max;
		setrlimit(RLIMIT_NOFILE, &r);
	}
	for (int i = 0; i < n; i++) {
		fd[i] = dial();
		there += fd[i] != -1 && hear(fd[i]) == 220 && ask(fd[i], "EHLO crowd.test\r\n", 250) && ((!trickle && !data) || begin_message(fd[i])) &&
			(!data || send_lines(fd[i], argc > 4 ? atol(argv[4]) : 0));
	}
	printf("%d of %d\n", there, n);
	fflush(stdout);
	/* What trickles does not come all at once: each has its own moment. */
	for (int tick = 0; poll(&in, 1, trickle ? TICK_MS : -1) <= 0; tick++)
		for (int i = tick % (TRICKLE_MS / TICK_MS); i < n; i += TRICKLE_MS / TICK_MS)
			say(fd[i], "x");
	for (int i = 0; i < n && !trickle && !data; i++)
		there -= !ask(fd[i], "NOOP\r\n", 250);
	return there != n;
}
