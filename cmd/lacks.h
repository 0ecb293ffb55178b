/* Libraries that the program can do without, and what it cannot do then. */
#ifndef CMD_LACKS_H
#define CMD_LACKS_H

#include <stddef.h>

/* The i-th that is not here, built with or not; *what: what that means, a sentence without its stop. NULL: there is no such. */
const char *lacks(size_t i, const char **what);
/* A line in the log with those that are not here; none when all are. */
void lacks_log(void);

#endif
