/* What the parts of `fardel check` share: how they complain. */
#ifndef CMD_CHECK_H
#define CMD_CHECK_H

#include "cmd/settings.h"

/* A line about a setting, from where it was written. An error makes the exit status 78; a note does not: it may be meant so, or pass. */
void check_error(const struct settings *, const char *setting, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void check_note(const struct settings *, const char *setting, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* The same about what no setting is to blame for: "clock". wrong: an error. */
void check_say(const char *what, bool wrong, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* cmd/standing.c: is the clock right, has it been ahead, and does anything keep it right? */
void check_clock(const struct settings *);
/* How other mail servers see this host: the names of its addresses (PTR) and the one that it says in EHLO; and does port 25 lead out, which is
 * tried with the hosts of these domains (commas between them; NULL: not tried). The resolver answers. Takes 10 s at most, and 20 s a domain. */
#define CHECK_OUTSIDE "gmail.com,outlook.com,yahoo.com"
void check_standing(const struct settings *, const char *outside);

#endif
