/* latency [-t SECONDS] [-l OCTETS] PORT: a message every 12 ms, from its last octet to 250, and in another session NOOP every 2 ms, which shows
 * how long the server's loop stands. Prints for each the median, what 99 of 100 do not exceed and the most, in ms, and how many messages were
 * not answered 250. It shares no code with the program. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 200000 };

struct side {
	const char *name;
	double every;                   /* seconds */
	bool (*once)(struct side *);    /* false: the session is over */
	int fd;
	double took[MOST];              /* ms */
	size_t n, refused;
	pthread_t thread;
};

static double seconds = 10, began;
static struct sockaddr_in server = { .sin_family = AF_INET };
static char *message;
static size_t message_size, size = 4096;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static bool say(struct side *s, const char *p, size_t n) { return send(s->fd, p, n, MSG_NOSIGNAL) == (ssize_t)n; }

/* The code of one reply, of several lines or not; nothing comes behind it unasked. 0: the connection is lost. */
static int hear(struct side *s)
{
	char in[4096];
	size_t n = 0;

	for (;;) {
		ssize_t got = recv(s->fd, in + n, sizeof in - 1 - n, 0);
		char *line;

		if (got <= 0)
			return 0;
		n += (size_t)got;
		in[n] = '\0';
		if (in[n - 1] != '\n')
			continue;
		in[n - 1] = '\0';
		line = strrchr(in, '\n');
		line = line ? line + 1 : in;
		if (strlen(line) >= 3 && line[3] != '-')
			return atoi(line);
		in[n - 1] = '\n';
	}
}

static int command(struct side *s, const char *line) { return say(s, line, strlen(line)) ? hear(s) : 0; }

static void count(struct side *s, double from)
{
	if (s->n < MOST)
		s->took[s->n++] = (now() - from) * 1e3;
}

static bool send_message(struct side *s)
{
	double from;
	int code;

	code = command(s, "MAIL FROM:<a@load.test>\r\n");
	if (code == 250)
		code = command(s, "RCPT TO:<u0@there.test>\r\n");
	if (code == 250)
		code = command(s, "DATA\r\n");
	if (code != 354) {
		s->refused++;
		return code && command(s, "RSET\r\n") == 250;
	}
	from = now();
	code = say(s, message, message_size) ? hear(s) : 0;
	if (code == 250)
		count(s, from);
	else
		s->refused++;
	return code != 0;
}

static bool ask(struct side *s)
{
	double from = now();

	if (command(s, "NOOP\r\n") != 250)
		return false;
	count(s, from);
	return true;
}

static bool call(struct side *s)
{
	int one = 1;

	s->fd = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	setsockopt(s->fd, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){ 70, 0 }, sizeof(struct timeval));
	return connect(s->fd, (struct sockaddr *)&server, sizeof server) == 0 && hear(s) == 220 && command(s, "EHLO load.test\r\n") == 250;
}

static void *work(void *arg)
{
	struct side *s = arg;

	for (double next = began; now() - began < seconds; next += s->every) {
		double wait = next - now();

		if (wait > 0)
			nanosleep(&(struct timespec){ (time_t)wait, (long)((wait - (double)(time_t)wait) * 1e9) }, NULL);
		else
			next = now();           /* what a stall has cost is not made up for */
		if (!s->once(s))
			break;
	}
	close(s->fd);
	return NULL;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void show(struct side *s)
{
	qsort(s->took, s->n, sizeof *s->took, by_size);
	if (s->n)
		printf("%s %.1f %.1f %.1f", s->name, s->took[s->n / 2], s->took[s->n * 99 / 100], s->took[s->n - 1]);
	else
		printf("%s - - -", s->name);
}

int main(int argc, char **argv)
{
	static struct side mail = { .name = "250", .every = 0.012, .once = send_message }, noop = { .name = "NOOP", .every = 0.002, .once = ask };

	for (int o; (o = getopt(argc, argv, "t:l:")) != -1;) {
		switch (o) {
		case 't': seconds = atof(optarg); break;
		case 'l': size = (size_t)atol(optarg); break;
		default: return 2;
		}
	}
	if (optind >= argc || size < 100 || size > 32000)
		return 2;
	signal(SIGPIPE, SIG_IGN);
	server.sin_port = htons((unsigned short)atoi(argv[optind]));
	server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	message = malloc(size + 1);
	if (!message)
		return 2;
	message_size = (size_t)snprintf(message, size, "Subject: load\r\n\r\n");
	while (message_size + 80 < size) {
		memset(message + message_size, 'x', 76);
		memcpy(message + message_size + 76, "\r\n", 2);
		message_size += 78;
	}
	memcpy(message + message_size, ".\r\n", 3);
	message_size += 3;
	if (!call(&mail) || !call(&noop)) {
		fprintf(stderr, "latency: no session at port %s\n", argv[optind]);
		return 1;
	}
	began = now();
	if (pthread_create(&mail.thread, NULL, work, &mail) || pthread_create(&noop.thread, NULL, work, &noop))
		return 2;
	pthread_join(mail.thread, NULL);
	pthread_join(noop.thread, NULL);
	show(&mail);
	printf(" ");
	show(&noop);
	printf(" refused %zu of %zu\n", mail.refused, mail.refused + mail.n);
	return 0;
}
