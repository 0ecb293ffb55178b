/* sendmail -bs for an account that may not open the queue: a session with the server of this host, octets passed on both ways. */
#ifndef CMD_BRIDGE_H
#define CMD_BRIDGE_H

#include "cmd/settings.h"

/* Connects descriptors 0 and 1 to the server that handover_address() names, until that one ends the session. It knows by the kernel, at
 * unix://, or by the address who we are. 0, or 75: it cannot be called, which is said on standard error and as an SMTP greeting. */
int bridge_session(const struct settings *);

#endif
