/* sink [-p PORT] [-n MAX] [-k KEYWORD]... [-r PREFIX=REPLY]... [-d REPLY] DIRECTORY: an SMTP server that takes everything
 * and keeps it as it came. It shares no code with the program.
 *   -p  listens there; else where the kernel likes. Prints "port N".
 *   -n  MAX recipients are taken in a transaction, the others are told 452
 *   -k  one more EHLO line
 *   -r  recipients whose address begins with PREFIX are answered REPLY
 *   -d  the answer to every final dot; nothing is kept then
 * In DIRECTORY: <session>.<n>.data is a message with its CRLF line ends and without the stuffed dots; `log` has a line
 * for everything that was said to us and one "<session>.<n> TOOK <recipients>" for each message kept. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST = 16, LINE = 4096, SESSION_S = 300 };

static const char *directory, *refused[MOST], *keyword[MOST], *dot_reply;
static int nrefused, nkeywords, most = 1 << 30, log_fd;

/* ---- one session, in a process of its own */

static FILE *in, *out;
static int number, took;

static void note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* One write a line: sessions share the file. */
static void note(const char *fmt, ...)
{
	char line[LINE + 64];
	va_list ap;
	int n = snprintf(line, sizeof line, "%ld.%d ", (long)getpid(), number), more;

	va_start(ap, fmt);
	more = vsnprintf(line + n, sizeof line - (size_t)n - 1, fmt, ap);
	va_end(ap);
	n += more < (int)sizeof line - n - 1 ? more : (int)sizeof line - n - 2;
	line[n++] = '\n';
	if (write(log_fd, line, (size_t)n) != n)
		exit(1);
}

static void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Goes out when nothing more has been sent to us: a pipelining client gets its answers together. */
static void say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(out, fmt, ap);
	va_end(ap);
	fputs("\r\n", out);
}

/* Without its line end. False: the peer has gone. */
static int read_line(char *line)
{
	size_t n = 0;
	int c;

	fflush(out);
	while ((c = getc_unlocked(in)) != EOF && c != '\n')
		if (n < LINE - 1)
			line[n++] = (char)c;
	while (n > 0 && line[n - 1] == '\r')
		n--;
	line[n] = '\0';
	return c != EOF;
}

/* RFC 5321 4.5.2: a dot at the beginning of a line is dropped, and alone it ends. False: it did not end. */
static int copy_data(FILE *to)
{
	enum { START, DOT, DOT_CR, TEXT, TEXT_CR } at = START;
	int c;

	while ((c = getc_unlocked(in)) != EOF) {
		if (at == DOT_CR && c == '\n')
			return 1;
		if (at == DOT_CR)
			putc_unlocked('\r', to);
		if (at == START && c == '.') {
			at = DOT;
			continue;
		}
		if (at == DOT && c == '\r') {
			at = DOT_CR;
			continue;
		}
		putc_unlocked(c, to);
		at = at == TEXT_CR && c == '\n' ? START : c == '\r' ? TEXT_CR : TEXT;
	}
	return 0;
}

static void take_data(void)
{
	char name[4096], part[4096 + 5];
	FILE *f;

	if (!took) {
		say("554 5.5.1 no recipients");
		return;
	}
	say("354 go on");
	fflush(out);
	snprintf(name, sizeof name, "%s/%ld.%d.data", directory, (long)getpid(), number);
	snprintf(part, sizeof part, "%s.part", name);
	f = fopen(part, "w");
	if (!f || !copy_data(f) || fclose(f) == EOF)
		exit(1);
	if (dot_reply) {
		unlink(part);
		say("%s", dot_reply);
	} else {
		rename(part, name);
		note("TOOK %d", took);
		say("250 2.0.0 kept");
	}
	took = 0;
	number++;
}

static void take_recipient(const char *line)
{
	const char *address = strchr(line, '<');

	for (int i = 0; address && i < nrefused; i++) {
		size_t n = strcspn(refused[i], "=");

		if (!strncmp(address + 1, refused[i], n)) {
			say("%s", refused[i] + n + 1);
			return;
		}
	}
	if (took >= most) {
		say("452 4.5.3 too many recipients");
		return;
	}
	took++;
	say("250 2.1.5 fine");
}

static void session(int fd)
{
	char line[LINE];
	int on = 1;

	alarm(SESSION_S);
	prctl(PR_SET_PDEATHSIG, SIGKILL);       /* who ends the server ends its sessions */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	in = fdopen(fd, "r");
	out = fdopen(dup(fd), "w");
	if (!in || !out)
		exit(1);
	say("220 sink.test ESMTP");
	while (read_line(line)) {
		note("%s", line);
		if (!strncasecmp(line, "EHLO", 4)) {
			say("250-sink.test");
			for (int i = 0; i < nkeywords; i++)
				say("250-%s", keyword[i]);
			say("250-PIPELINING\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250 SIZE");
		} else if (!strncasecmp(line, "RCPT", 4)) {
			take_recipient(line);
		} else if (!strncasecmp(line, "DATA", 4)) {
			take_data();
		} else if (!strncasecmp(line, "QUIT", 4)) {
			say("221 2.0.0 bye");
			break;
		} else {
			if (!strncasecmp(line, "MAIL", 4) || !strncasecmp(line, "RSET", 4))
				took = 0;
			say("250 2.0.0 fine");
		}
	}
	fflush(out);
	exit(0);
}

/* ---- the server */

static int open_port(unsigned port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((in_port_t)port) };
	int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
	socklen_t len = sizeof a;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (bind(fd, (struct sockaddr *)&a, sizeof a) == -1 || listen(fd, 1024) == -1 || getsockname(fd, (struct sockaddr *)&a, &len) == -1) {
		perror("sink");
		exit(1);
	}
	printf("port %u\n", ntohs(a.sin_port));
	fflush(stdout);
	return fd;
}

static void serve(int fd)
{
	for (;;) {
		int peer = accept(fd, NULL, NULL);
		pid_t child;

		if (peer == -1)
			continue;
		child = fork();
		if (child == 0) {
			close(fd);
			session(peer);
		}
		close(peer);
	}
}

static void usage(void)
{
	fputs("usage: sink [-p PORT] [-n MAX] [-k KEYWORD] [-r PREFIX=REPLY] [-d REPLY] DIRECTORY\n", stderr);
	exit(2);
}

int main(int argc, char **argv)
{
	char path[4096];
	unsigned port = 0;
	int c;

	while ((c = getopt(argc, argv, "p:n:k:r:d:")) != -1) {
		if (c == 'p')
			port = (unsigned)atoi(optarg);
		else if (c == 'n')
			most = atoi(optarg);
		else if (c == 'k' && nkeywords < MOST)
			keyword[nkeywords++] = optarg;
		else if (c == 'r' && nrefused < MOST && strchr(optarg, '='))
			refused[nrefused++] = optarg;
		else if (c == 'd')
			dot_reply = optarg;
		else
			usage();
	}
	if (optind + 1 != argc)
		usage();
	directory = argv[optind];
	snprintf(path, sizeof path, "%s/log", directory);
	log_fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
	if (log_fd == -1) {
		fprintf(stderr, "sink: %s: %s\n", path, strerror(errno));
		return 1;
	}
	signal(SIGCHLD, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	serve(open_port(port));
	return 0;
}
