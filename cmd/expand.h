/* Aliases at the first attempt: recipients of a bundle who stand for others become a message of their own. */
#ifndef CMD_EXPAND_H
#define CMD_EXPAND_H

#include "deliver/alias.h"
#include "queue.h"

void expand_configure(struct aliases *);        /* borrowed; NULL: there are none */
void expand_stop(void);                         /* the queue is closed: what was under way is forgotten, as the bundles are */
/* False: nobody of the bundle can be an alias, so that it may be sent as it is. */
bool expand_concerns(const struct bundle *);
/* Looks for aliases among the recipients of a bundle and deals with them: what they stand for is committed as a new message, and they have
 * their results. Then then(arg): later, or at once where nothing had to be looked for. Who is not `busy` any more has a result; all may. */
void expand_bundle(struct bundle *, void (*then)(void *arg), void *arg);

#endif
