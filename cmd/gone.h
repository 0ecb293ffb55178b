/* `fardel why` of mail that has left the queue. */
#ifndef CMD_GONE_H
#define CMD_GONE_H

#include "cmd/settings.h"

/* Tells on stdout of the last messages, and reports of them, that are about this id, address or domain. behind: something stands above it.
 * How many recipients that were. */
size_t gone_tell(const struct settings *, struct str about, bool behind);

#endif
