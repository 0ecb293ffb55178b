/* The transports that the queue is given: SMTP and LMTP couriers, and delivery into local mailboxes. */
#ifndef CMD_COURIER_H
#define CMD_COURIER_H

#include "deliver/mx.h"
#include "queue.h"

struct courier_config {                 /* borrowed */
	const char *hostname;
	const struct routes *routes;
	const struct mx_self *self;
};
void courier_configure(const struct courier_config *);
/* For struct queue_config.way: which key and transport for a domain. arg is not used. */
void courier_way(void *arg, struct str domain, struct way *out);

#endif
