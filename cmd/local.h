/* Delivery into local mailboxes as a transport of the queue. */
#ifndef CMD_LOCAL_H
#define CMD_LOCAL_H

#include "queue.h"

void local_deliver(struct transport *, struct bundle *);

#endif
