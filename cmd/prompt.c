/* Lines of standard input, octet by octet: what follows them is somebody else's. */
#include "cmd/prompt.h"

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

int prompt(const char *question, bool secret, char *line, size_t size)
{
	struct termios as_was, silent;
	bool tty = tcgetattr(STDIN_FILENO, &as_was) == 0;
	int got;

	if (tty)
		fprintf(stderr, "%s", question);
	if (tty && secret) {
		silent = as_was;
		silent.c_lflag &= ~(tcflag_t)ECHO;
		tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent);
	}
	got = read_line(line, size);
	if (tty && secret) {
		tcsetattr(STDIN_FILENO, TCSAFLUSH, &as_was);
		fputc('\n', stderr);
	}
	return got;
}
