/* Asking whoever sits at standard input. */
#ifndef CMD_PROMPT_H
#define CMD_PROMPT_H

#include <stdbool.h>
#include <stddef.h>

/* One line of standard input without its end. On a terminal the question is shown before (standard error) and, of what is secret, nothing
 * that is typed. 1; 0: there is no more input; -1: longer than fits with its NUL, or holds a NUL: the rest of the line is gone. */
int prompt(const char *question, bool secret, char *line, size_t size);

#endif
