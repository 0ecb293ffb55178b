/* A command that gets a message, run by a user's child (deliver/mailbox.h) as that user: no shell, a deadline, a result. */
#ifndef DELIVER_COMMAND_H
#define DELIVER_COMMAND_H

#include "deliver/mailbox.h"
#include "lib/buf.h"

enum {
	COMMAND_WORDS = 64,
	COMMAND_S = 300                 /* longer than this it is not waited for */
};

/* The words of a command. Blanks part them; '...' and "..." hold together, in the second one, and outside of both, \ takes the next octet as
 * it is. Anything that asks for a shell (| & ; < > ( ) $ ` * ? unquoted; in "..." $ and `) is refused: there is none. The words lie in
 * room, with a NUL behind each; word[n] is NULL. NULL, or what is wrong. */
const char *command_parse(struct str text, struct buf *room, char *word[COMMAND_WORDS + 1]);

struct command {
	struct str text;
	const char *name;               /* whose: for the reply */
	const char *const *environment; /* "NAME=value", NULL behind the last; added to what the process has */
	/* What it is given: `front`, then the message with LF lines. */
	struct str front;
	int fd;
	off_t at, size;
	unsigned deadline_s;
};
/* Runs it and waits. Exit status 0 is 250; 75 and 71 (EX_TEMPFAIL, EX_OSERR) and a signal are 451, all others 5xx. What could not be
 * begun is 451. False: it did not end in time, and whoever answers is to end with all of its process group afterwards. */
bool command_run(const struct command *, struct reply *);

#endif
