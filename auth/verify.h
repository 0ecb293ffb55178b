/* Comparing passwords outside the loop: a hash that is slow for attackers would stop all sessions for as long. A helper process
 * computes; it knows no file and keeps nothing. */
#ifndef AUTH_VERIFY_H
#define AUTH_VERIFY_H

#include <stdbool.h>

#include "lib/str.h"

enum { VERIFY_WAITING = 64 };           /* comparisons under way at most: each costs up to a tenth of a second of processor */

/* One comparison. done() runs once, later, never from inside; a struct that is not pending may be freed. */
struct verification {
	void (*done)(struct verification *, bool matches);
	unsigned number;                /* 0: not pending */
};

/* Starts the helper; inline_work: there is none, and done() comes from the end of the turn (one session on a pipe). 0 or -1 with errno. */
int verify_start(bool inline_work);
void verify_stop(void);
/* secret as users have it; empty: nobody, which takes as long and fails. False: too many wait, or the helper is gone; nothing will come. */
bool verify_begin(struct verification *, struct str secret, struct str password);
void verify_cancel(struct verification *);      /* done() will not come. Not pending: nothing */

#endif
