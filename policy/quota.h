/* How much each user has sent today, in one small file that sessions of inetd share and that outlives a restart. */
#ifndef POLICY_QUOTA_H
#define POLICY_QUOTA_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/str.h"

enum { QUOTA_USERS = 4096 };            /* who was quiet longest makes place for others */

/* Opens or makes `name` in the directory. A descriptor, or -1 with errno. */
int quota_open(int dir, const char *name);
/* Counts one more for this user on the day (UTC) of `now`. False: that would be more than max; nothing is counted. A file that
 * cannot be read or written counts nothing and allows: a fault of our disk is no reason to refuse mail. */
bool quota_take(int fd, struct str user, unsigned max, int64_t now);

#endif
