/* Greylisting (RFC 6647 2): who comes for the first time is asked to come again, as every mail server does and most programs that spread junk
 * do not. Network, sender and recipient are remembered as hashes under a key of this file, in one file of fixed size that sessions of
 * inetd share and that outlives a restart. Who was quiet longest makes place for others, those who never came again first. */
#ifndef POLICY_GREYLIST_H
#define POLICY_GREYLIST_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "lib/str.h"

enum {
	GREYLIST_RECORDS = 65536,       /* 1.5 MB on disk when all are in use */
	GREYLIST_KNOWN = 5,             /* so many that came again make their network known: it is asked no more */
	GREYLIST_KEEP_S = 35 * 86400    /* without a message for so long all is forgotten */
};

struct greylist;
/* Opens or makes `name` in the directory; a file that is not whole is begun anew. Returns owned, or NULL with errno. */
struct greylist *greylist_open(int dir, const char *name);
void greylist_close(struct greylist *);                 /* NULL: nothing */

/* A message comes at `now` (Unix seconds). Its sender is as in MAIL, "" for <>; digits in its local part are all the same, as lists number
 * theirs, and so are addresses of one IPv4 /24 or IPv6 /64. 0: it may pass. Else the seconds until it may, if it comes again: `delay_s` after
 * the first time, and not later than `window_s`. A file that cannot be read or written lets all pass. */
int64_t greylist_ask(struct greylist *, const struct sockaddr *, struct str sender, struct str rcpt, int64_t delay_s, int64_t window_s, int64_t now);

#endif
