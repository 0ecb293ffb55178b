/* A file of rules (policy/ruleset.h) is looked at: before the server runs, and by who has written it. */
#ifndef CMD_RULESFILE_H
#define CMD_RULESFILE_H

#include <stdbool.h>

/* Tells of each mistake: its line, or 0 for the whole file. operators: the name of a mailbox stands in front of each rule. Returns the number of rules
 * without a mistake. */
unsigned rulesfile_check(const char *path, bool operators, void (*complain)(void *arg, unsigned line, const char *why), void *arg);

#endif
