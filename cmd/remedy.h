/* What whoever runs this host can do about what a delivery was told. What its sender can do is in dsn.h. */
#ifndef CMD_REMEDY_H
#define CMD_REMEDY_H

#include "lib/str.h"

/* host, status and words as in struct rcpt. NULL: nothing better than to wait is known. */
const char *remedy_of(struct str host, struct str status, struct str words);

#endif
