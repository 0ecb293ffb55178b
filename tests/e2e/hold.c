/* hold PORT N: opens N SMTP sessions on 127.0.0.1, greets in each, prints "held N" and keeps them until its standard
 * input ends. Then each must still answer. Exit 0: all did. */
#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { DEADLINE_S = 120 };

/* Reads until a line "CODE blank". 0 when it did not come. */
static int code(int fd)
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
		if (text[n - 1] != '\n')
			continue;
		for (char *next; (next = strchr(line, '\n')) && next[1]; )
			line = next + 1;
		if (line[3] == ' ')
			return atoi(line);
	}
	return 0;
}

static int ask(int fd, const char *text, int wanted)
{
	size_t n = strlen(text);

	return (n == 0 || send(fd, text, n, MSG_NOSIGNAL) == (ssize_t)n) && code(fd) == wanted;
}

static int open_session(unsigned port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((in_port_t)port) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd != -1 && connect(fd, (struct sockaddr *)&a, sizeof a) == 0)
		return fd;
	perror("hold");
	exit(1);
}

int main(int argc, char **argv)
{
	struct rlimit r;
	int n = argc == 3 ? atoi(argv[2]) : 0, held = 0, answered = 0, *fd = calloc((size_t)n + 1, sizeof *fd);
	char rest;

	if (n <= 0 || !fd)
		return 2;
	alarm(DEADLINE_S);
	if (getrlimit(RLIMIT_NOFILE, &r) == 0) {
		r.rlim_cur = r.rlim_max;
		setrlimit(RLIMIT_NOFILE, &r);
	}
	for (int i = 0; i < n; i++)
		fd[i] = open_session((unsigned)atoi(argv[1]));
	for (int i = 0; i < n; i++)
		held += ask(fd[i], "", 220) && ask(fd[i], "EHLO hold.test\r\n", 250);
	printf("held %d\n", held);
	fflush(stdout);
	while (read(0, &rest, 1) > 0)
		;
	for (int i = 0; i < n; i++)
		answered += ask(fd[i], "NOOP\r\n", 250);
	printf("answered %d\n", answered);
	return held == n && answered == n ? 0 : 1;
}
