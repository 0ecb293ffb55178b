/* Which domains have taken mail inside TLS: who of them does not any more may have somebody in between. */
#ifndef DELIVER_TLSSEEN_H
#define DELIVER_TLSSEEN_H

#include "lib/str.h"

enum { TLSSEEN_DOMAINS = 8192 };        /* kept: of those whose hash is alike the one that was seen longest ago goes */

struct tlsseen {
	int64_t tls, clear;             /* Unix seconds of the last day that mail went inside TLS; in clear, later than that. 0: never */
};

/* Opens or makes `name` in the directory: some 200 kB at fixed places, looked at once for each connection. 0 or -1 with errno; then nothing is
 * known and nothing kept. For tools that only look, writable false. */
int tlsseen_start(int dir, const char *name, bool writable);
void tlsseen_stop(void);
void tlsseen_note(struct str domain, int64_t now);
/* It went in clear: the day that TLS was last seen, or 0: it was not, or this was told on this day already. */
int64_t tlsseen_lost(struct str domain, int64_t now);
/* False: nothing is known. */
bool tlsseen_look(struct str domain, struct tlsseen *out);

#endif
