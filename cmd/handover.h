/* What sendmail does for an account that may not open the queue: the message is laid into a queue of its own, in a new
 * directory below $TMPDIR or /tmp, and goes from there over SMTP to the daemon of this host. No rights are needed for it. */
#ifndef CMD_HANDOVER_H
#define CMD_HANDOVER_H

#include "cmd/settings.h"

/* Each says on standard error what went wrong: the step, the cause, the remedy. One handover at a time. */

/* Opens the queue for the one message, which is then made and committed as in any other. 0, or an exit status. */
int handover_begin(const struct settings *);
/* Closes and removes that queue, calls removed(), and sends what was committed in it. The daemon's 250 is for good: it has the message on
 * disk. When no daemon can be called and the drop directory of the queue is open to this account, the message is laid there. id: the one that
 * it has at the daemon, "" when that is not said. An exit status: 0; 67, 77 or 69: refused for good, with its words; 75: anything else. Takes 90 s at most. */
int handover_send(const struct settings *, bool verbose, void (*removed)(void), char id[ID_MAX]);
/* Removes what may be left; in any case the last call. */
void handover_end(void);

/* Where the daemon is called at: the first `listen` that takes connections from loopback addresses, else the first.
 * NULL: there is none. */
const struct listen_on *handover_address(const struct settings *, struct sockaddr_storage *, socklen_t *);

#endif
