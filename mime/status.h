/* Delivery status notifications of others, read (RFC 3464, 6522, 6533): what became of a message of ours. Pure. Who wrote it may be anybody: all
 * of it is bounded, and what is no such report is none. dsn.h writes ours. */
#ifndef MIME_STATUS_H
#define MIME_STATUS_H

#include "fardel.h"
#include "mime/part.h"

enum {
	STATUS_RCPTS = 20,              /* of a report that are told; further ones are counted */
	STATUS_TEXT = 128 << 10         /* octets of the part for programs that are looked at */
};

struct status_rcpt {
	char to[ADDR_MAX + 1];          /* Final-Recipient */
	char original[ADDR_MAX + 1];    /* Original-Recipient; "": not said */
	char action[12];                /* failed, delayed, delivered, relayed or expanded */
	char status[12];                /* "5.1.1" */
	char remote[DOMAIN_MAX + 1];    /* Remote-MTA, "" */
	char words[REPLY_TEXT];         /* Diagnostic-Code without its type, "" */
};
struct status_report {
	char mta[DOMAIN_MAX + 1];       /* Reporting-MTA */
	char envid[101];                /* Original-Envelope-Id, "" */
	char id[ID_MAX];                /* ours of the message: by our Received field in what came back, or by a Message-ID of ours; "": neither is there */
	size_t n, more;
	struct status_rcpt rcpt[STATUS_RCPTS];
};
/* Does the header of a message say that it is one? */
bool status_is_report(struct str header);
/* NULL, or why it is none. hostname: ours, as in our Received fields and Message-IDs. */
const char *status_read(struct str message, const char *hostname, struct status_report *out);

#endif
