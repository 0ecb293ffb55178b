/* Reading a message from a file ("-": standard input), for commands that look at one. */
#ifndef CMD_MESSAGE_H
#define CMD_MESSAGE_H

#include <stdbool.h>

#include "lib/str.h"

/* Hands it over, in pieces of any size and lines that end in CR LF, until take() says false. 0, or -1 with errno. */
int message_read(const char *file, bool (*take)(void *arg, struct str), void *arg);

/* A line of what came of its ARC chain, behind `head`; NULL: none. */
struct arc;
void message_print_arc(const struct arc *, const char *head);

#endif
