/* Lines of standard input, octet by octet: what follows them is somebody else's. */
#include "cmd/prompt.h"

#include <signal.h>
#include <stdio.h>
#include <termios.h>
#include <unistd.h>

static int read_line(char *line, size_t size)
{
	bool fits = true, any = false;
	size_t n = 0;
	char c;

	while (read(STDIN_FILENO, &c, 1) == 1) {
		any = true;
		if (c == '\n')
			break;
		fits = fits && c && n + 1 < size;
		if (fits)
			line[n++] = c;
	}
	line[n] = '\0';
	return !any ? 0 : fits ? 1 : -1;
}

/* What ends or stops us while nothing is echoed must not leave the terminal so. */
static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP };
enum { SIGNALS = sizeof signals / sizeof *signals };
static volatile sig_atomic_t caught;

static void note(int signal) { caught = signal; }

/* As read_line(), with a terminal that is as as_was says. */
static int read_secret(const struct termios *as_was, char *line, size_t size)
{
	struct sigaction how = { .sa_handler = note }, before[SIGNALS];        /* no SA_RESTART: reading ends */
	struct termios silent = *as_was;
	int got;

	silent.c_lflag &= ~(tcflag_t)ECHO;
	caught = 0;
	for (size_t i = 0; i < SIGNALS; i++)
		sigaction(signals[i], &how, &before[i]);
	tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent);
	got = read_line(line, size);
	tcsetattr(STDIN_FILENO, TCSAFLUSH, as_was);
	fputc('\n', stderr);
	for (size_t i = 0; i < SIGNALS; i++)
		sigaction(signals[i], &before[i], NULL);
	if (caught)
		raise(caught);
	return got;
}

int prompt(const char *question, bool secret, char *line, size_t size)
{
	struct termios as_was;
	bool tty = tcgetattr(STDIN_FILENO, &as_was) == 0;
	int got;

	do {                            /* again when it was stopped, and goes on */
		if (tty)
			fprintf(stderr, "%s", question);
		got = tty && secret ? read_secret(&as_was, line, size) : read_line(line, size);
	} while (tty && secret && caught);
	return got;
}
