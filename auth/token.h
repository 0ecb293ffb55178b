/* Access tokens (RFC 6750) that a command of the administrator's prints, for logging in at other hosts (OAUTHBEARER, XOAUTH2). The command is
 * run by a helper process and without a shell; what it prints is kept until it is refused or its time is over. */
#ifndef AUTH_TOKEN_H
#define AUTH_TOKEN_H

#include "lib/list.h"
#include "lib/loop.h"

enum {
	TOKEN_MAX = 4096,               /* octets: those in use have up to 3 kB */
	TOKEN_COMMAND = 512,            /* octets of a command */
	TOKEN_RUN_MS = 30000            /* that a command may take */
};

/* One that is in use. Counted references. */
struct token;
const char *token_text(const struct token *);
struct token *token_hold(struct token *);
void token_drop(struct token *);                        /* NULL: nothing. The last wipes it */

/* The token of a command, if one is known that has not run out. Borrowed; NULL: ask. */
struct token *token_known(const char *command);
/* It was refused: the command is run for the next one. */
void token_refuse(const struct token *);

/* Forks the helper that runs commands; token_ask() does, too, but who is confined by then executes nothing. 0 or -1 with errno. */
int token_start(void);

struct token_question {
	struct node node;
	/* token_known() has one now, or why (not NULL) says why not: in words that hold nothing of what the command has printed. */
	void (*done)(struct token_question *, const char *why);
};
/* Runs the command, unless that is done already: words separated by blanks, the first the whole path of a program. Its first line is the
 * token, a second one may be a number: the seconds that it is good for. What it has to say to people goes to our standard error output.
 * done() runs once, later, never from inside. The text is copied. False: no memory. */
bool token_ask(struct token_question *, const char *command);
void token_stop(void);                                  /* ends what runs, forgets all; who waits is not called */

#endif
