/* A message of the queue as a line of JSON, for whoever lists. */
#ifndef CMD_MAILQ_H
#define CMD_MAILQ_H

#include "cmd/listing.h"

/* The entries first..end-1 are of m; only those that are meant, or all. m NULL: it cannot be read, for why. False: no memory, and nothing is printed. */
bool mailq_print(const struct listing *, size_t first, size_t end, const struct mail *m, const char *why, int64_t lifetime, bool only_meant);

#endif
