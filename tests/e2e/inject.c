/* inject -p PORT [OPTIONS]: an SMTP client that remembers what was promised to it. It shares no code with the program.
 *   -f FROM        "" is the null sender
 *   -t RCPT        may be repeated; with -R N one address with a %d in it stands for N
 *   -m FILE        the message, with CRLF line ends; else a short one with an X-Token field
 *   -n N  -s N     so many messages, over so many sessions at a time
 *   -a FILE        gets the token of every message answered 250, and "? TOKEN" when the connection broke after its data
 *   -b             one octet at a time, each in a packet of its own, a little apart
 *   -e MS          a pause behind every message
 *   -k             goes on, on a new connection, when the old one breaks or is refused
 *   -T TEXT        tokens begin so
 *   -w SECONDS     gives up after (60)
 * SIGTERM: no further message is begun; those that are on their way get their answer.
 * Exit 0: everything was answered 250. Else the first other answer is on stderr. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 256, WINDOW = 100, PAUSE_MS = 20 };

static const char *from = "sender@inject.test", *rcpt[MOST], *token_prefix = "t";
static unsigned port, nrcpt, repeat = 1, messages = 1, sessions = 1, seconds = 60, pause_ms;
static bool slowly, stubborn;
static int ack_fd = -1;
static const char *content;
static size_t content_size;

static volatile sig_atomic_t enough;
static pid_t *children;

static FILE *in;
static int fd = -1;
static char reply[1024];

static void nap(unsigned ms)
{
	nanosleep(&(struct timespec){ ms / 1000, (long)(ms % 1000) * 1000000 }, NULL);
}

static void give_up(int signo)
{
	static const char text[] = "inject: not done in time\n";

	(void)signo;
	if (write(2, text, sizeof text - 1)) {}
	_exit(1);
}

static void stop(int signo)
{
	enough = 1;
	for (unsigned i = 0; children && i < sessions; i++)
		if (children[i] > 0)
			kill(children[i], signo);
}

/* ---- octets; false: the connection is lost */

static bool put(const char *p, size_t n)
{
	while (n > 0) {
		ssize_t k = send(fd, p, slowly ? 1 : n, MSG_NOSIGNAL);

		if (k == -1)
			return false;
		p += k;
		n -= (size_t)k;
		if (slowly)
			nap(1);
	}
	return true;
}

static bool line(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static bool line(const char *fmt, ...)
{
	char text[2048];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof text - 2, fmt, ap);
	va_end(ap);
	memcpy(text + n, "\r\n", 2);
	return put(text, (size_t)n + 2);
}

/* The code of the next reply, 0 when there is none. */
static int answer(void)
{
	do
		if (!fgets(reply, sizeof reply, in))
			return 0;
	while (reply[3] == '-');
	return atoi(reply);
}

/* What is not `wanted` ends this process, unless the connection broke. */
static bool expect(int wanted)
{
	int code = answer();

	if (code == wanted)
		return true;
	if (code == 0)
		return false;
	if (stubborn && code == 421)
		return false;
	fprintf(stderr, "inject: %s", reply);
	exit(1);
}

/* ---- a message */

static void acknowledge(const char *mark, const char *token)
{
	char text[128];
	int n = snprintf(text, sizeof text, "%s%s\n", mark, token);

	if (ack_fd != -1 && write(ack_fd, text, (size_t)n) != n)
		exit(1);
}

static bool recipients(void)
{
	unsigned all = nrcpt * repeat, asked = 0, answered = 0;

	while (answered < all) {
		while (asked < all && asked < answered + WINDOW) {
			char address[512];
			const char *pattern = rcpt[asked % nrcpt], *number = strstr(pattern, "%d");

			if (number)
				snprintf(address, sizeof address, "%.*s%u%s", (int)(number - pattern), pattern, asked / nrcpt, number + 2);
			else
				snprintf(address, sizeof address, "%s", pattern);
			if (!line("RCPT TO:<%s>", address))
				return false;
			asked++;
		}
		for (; answered < asked; answered++)
			if (!expect(250))
				return false;
	}
	return true;
}

static bool put_content(const char *token)
{
	const char *p = content, *end = content + content_size;

	if (!content)
		return line("X-Token: %s", token) && line("Subject: %s", token) && line("%s", "") && line("This is %s.", token);
	if (!slowly && !memmem(p, content_size, "\r\n.", 3) && (p == end || *p != '.'))
		return put(p, content_size);
	while (p < end) {
		const char *nl = memchr(p, '\n', (size_t)(end - p));
		size_t n = nl ? (size_t)(nl + 1 - p) : (size_t)(end - p);

		if ((*p == '.' && !put(".", 1)) || !put(p, n))
			return false;
		p += n;
	}
	return true;
}

static bool envelope(void)
{
	return line("MAIL FROM:<%s>%s", from, content ? " BODY=8BITMIME" : "") && expect(250) && recipients() && line("DATA") && expect(354);
}

/* False: the connection is lost. *over: the message must not be sent again, for it may have been taken. */
static bool message(const char *token, bool *over)
{
	*over = false;
	if (!envelope())
		return false;
	*over = true;
	if (!put_content(token) || !line(".") || !expect(250)) {
		acknowledge("? ", token);
		return false;
	}
	acknowledge("", token);
	return true;
}

/* ---- a session */

static bool meet(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((in_port_t)port) };
	int on = 1;

	if (in)
		fclose(in);
	in = NULL;
	fd = socket(AF_INET, SOCK_STREAM, 0);
	if (fd == -1 || connect(fd, (struct sockaddr *)&a, sizeof a) == -1 || !(in = fdopen(fd, "r"))) {
		if (fd != -1)
			close(fd);
		return false;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	return expect(220) && line("EHLO inject.test") && expect(250);
}

static void lost(void)
{
	if (!stubborn) {
		fprintf(stderr, "inject: the connection is lost or refused\n");
		exit(1);
	}
	nap(PAUSE_MS);
}

static void session(unsigned number)
{
	unsigned count = messages / sessions + (number < messages % sessions);

	children = NULL;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	alarm(seconds);
	while (!meet())
		lost();
	for (unsigned i = 0; i < count && !enough; ) {
		char token[64];
		bool over, well;

		snprintf(token, sizeof token, "%.40s-%u-%u", token_prefix, number, i);
		well = message(token, &over);
		i += over;
		if (pause_ms)
			nap(pause_ms);
		while (!well && !enough) {
			lost();
			well = meet();
		}
	}
	if (in && line("QUIT"))
		answer();
	exit(0);
}

/* ---- options */

static void read_content(const char *path)
{
	struct stat st;
	int file = open(path, O_RDONLY);

	if (file == -1 || fstat(file, &st) == -1) {
		perror(path);
		exit(2);
	}
	content_size = (size_t)st.st_size;
	content = "";
	if (content_size)
		content = mmap(NULL, content_size, PROT_READ, MAP_PRIVATE, file, 0);
	if (content == MAP_FAILED) {
		perror(path);
		exit(2);
	}
}

static void options(int argc, char **argv)
{
	int c;

	while ((c = getopt(argc, argv, "p:f:t:R:m:n:s:a:e:bkT:w:")) != -1) {
		switch (c) {
		case 'p': port = (unsigned)atoi(optarg); break;
		case 'f': from = optarg; break;
		case 't': if (nrcpt < MOST) rcpt[nrcpt++] = optarg; break;
		case 'R': repeat = (unsigned)atoi(optarg); break;
		case 'm': read_content(optarg); break;
		case 'n': messages = (unsigned)atoi(optarg); break;
		case 's': sessions = (unsigned)atoi(optarg); break;
		case 'a': ack_fd = open(optarg, O_WRONLY | O_CREAT | O_APPEND, 0600); break;
		case 'e': pause_ms = (unsigned)atoi(optarg); break;
		case 'b': slowly = true; break;
		case 'k': stubborn = true; break;
		case 'T': token_prefix = optarg; break;
		case 'w': seconds = (unsigned)atoi(optarg); break;
		default: exit(2);
		}
	}
	if (!port || !nrcpt || !sessions) {
		fputs("inject: needs at least -p PORT and -t RCPT\n", stderr);
		exit(2);
	}
}

int main(int argc, char **argv)
{
	int status, result = 0;

	options(argc, argv);
	children = calloc(sessions, sizeof *children);
	signal(SIGALRM, give_up);
	signal(SIGTERM, stop);          /* interrupts nothing: glibc restarts */
	for (unsigned i = 0; i < sessions && children; i++) {
		children[i] = fork();
		if (children[i] == 0)
			session(i);
		if (children[i] == -1)
			result = 1;
	}
	while (wait(&status) != -1 || errno == EINTR)
		if (status)
			result = 1;
	return result;
}
