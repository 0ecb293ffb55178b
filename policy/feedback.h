/* What others report on our mail: delivery status (RFC 3464), aggregate reports of DMARC (RFC 7489 7.2, RFC 9990) and of TLS (RFC 8460). What
 * comes is hostile, and is read by a process of its own (cmd/feedback.c); this is what it is asked, what it does, and what it answers. Pure. */
#ifndef POLICY_FEEDBACK_H
#define POLICY_FEEDBACK_H

#include "lib/buf.h"

enum {
	FEEDBACK_READ = 4 << 20,        /* octets of a message that are looked at */
	FEEDBACK_FILE = 4 << 20,        /* of a file in it, unpacked */
	FEEDBACK_TEXT = 56 << 10,       /* of what it comes to */
	FEEDBACK_WORDS = 300            /* of what somebody has said */
};

enum feedback_kind { FEEDBACK_STATUS, FEEDBACK_AGGREGATE };

/* The name of a FACT_FEEDBACK: a message in a file, from `at` on; hostname is ours. False: no memory. */
bool feedback_ask(struct buf *name, enum feedback_kind, const char *hostname, const char *path, int64_t at);
bool feedback_asked(struct str name, enum feedback_kind *, struct str *hostname, struct str *path, int64_t *at);

/* Appends what a message says: a line that tells what it is, then the lines that are kept (lib/daily.h, without version and time).
 *
 *     status                  and a line a recipient, as in sent/ (doc/QUEUE)
 *     dmarc END DOMAIN        Unix seconds, whose policy it is about; and lines as in reports/
 *     tls END DOMAIN...       likewise
 *
 * NULL, or why it is no report; nothing was added then. */
const char *feedback_read(enum feedback_kind, struct str message, const char *hostname, struct buf *out);

/* What cannot be read of aggregate reports for want of a library, in words; NULL: nothing. */
const char *feedback_lacks(void);

/* ---- its parts: files of reports as they were before they were packed. NULL, or why it is none; then something may have been added. They need expat
 * and jansson; without these nothing is a report. */
bool feedback_reads_dmarc(void), feedback_reads_tls(void);
const char *feedback_dmarc(struct str xml, struct buf *out);
const char *feedback_tls(struct str json, struct buf *out);

#endif
