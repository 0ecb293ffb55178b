/* Public suffixes: below which names anybody may register one of his own ("com", "co.uk"). By libpsl, where the build found it, and the
 * newer of its list and the system's; without it only names of one label are known to be such. */
#ifndef LIB_SUFFIX_H
#define LIB_SUFFIX_H

#include "lib/str.h"

bool suffix_available(void);                    /* there is a list */
/* All parts of the list count: customers of a hosting service that is on it are no more one organization than those of a registry.
 * Domains are ASCII, of any case, without a final dot. */
bool suffix_is_public(struct str domain);
/* The end of `domain` that somebody has registered: its public suffix with one label more. Empty: it is a public suffix itself, or
 * not a name. */
struct str suffix_registered(struct str domain);

#endif
