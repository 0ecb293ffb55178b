/* fakedns ZONEFILE [PORT]: the fake resolver (tests/fakedns.h says what the lines mean) as a program.
 * Prints "port N" and answers until it is killed or its standard input, when that is a pipe or a socket, ends
 * (a shell gives /dev/null to what it starts in the background). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/fakedns.h"

static struct fakedns dns;

static void stdin_ready(struct io *io, short revents)
{
	char rest[256];
	ssize_t n;

	(void)revents;
	n = read(io->fd, rest, sizeof rest);
	if (n == 0 || (n == -1 && errno != EAGAIN && errno != EINTR))
		loop_stop();
}

/* False: said why. */
static bool read_zone(const char *path)
{
	FILE *f = fopen(path, "r");
	char line[8192];
	const char *wrong = NULL;
	unsigned n = 0;

	if (!f) {
		fprintf(stderr, "fakedns: %s: %s\n", path, strerror(errno));
		return false;
	}
	while (!wrong && fgets(line, sizeof line, f)) {
		n++;
		wrong = strchr(line, '\n') || feof(f) ? fakedns_add(&dns, line) : "the line is too long";
	}
	fclose(f);
	if (wrong)
		fprintf(stderr, "fakedns: %s:%u: %s\n", path, n, wrong);
	return !wrong;
}

static bool input_has_an_end(void)
{
	struct stat st;

	return fstat(STDIN_FILENO, &st) == 0 && (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode));
}

int main(int argc, char **argv)
{
	struct io input = { .fd = STDIN_FILENO, .ready = stdin_ready };

	if (argc != 2 && argc != 3) {
		fputs("usage: fakedns ZONEFILE [PORT]\n", stderr);
		return 2;
	}
	dns.port = argc == 3 ? (unsigned)atoi(argv[2]) : 0;
	if (!read_zone(argv[1]))
		return 1;
	if (fakedns_open(&dns) == -1 || (input_has_an_end() && io_watch(&input, POLLIN) == -1)) {
		fprintf(stderr, "fakedns: %s\n", strerror(errno));
		return 1;
	}
	printf("port %u\n", dns.port);
	fflush(stdout);
	loop_run();
	fakedns_close(&dns);
	return 0;
}
