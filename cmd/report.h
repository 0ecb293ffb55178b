/* What the queue knows of a message, made into a delivery report. */
#ifndef CMD_REPORT_H
#define CMD_REPORT_H

#include "policy/sign.h"
#include "queue.h"

struct report_config {
	const char *hostname;
	int64_t queue_lifetime;         /* seconds */
	const struct signer *signer;    /* DKIM keys, or NULL */
};
void report_configure(const struct report_config *);    /* borrowed */
/* For struct queue_config.report. */
bool report_write(void *arg, enum report_kind, const struct mail *, unsigned event, int64_t next_try, struct buf *out);
/* Puts signatures in front of a report, the only text in out. For want of one no report is withheld; id is for the log. */
void report_sign(struct buf *out, const char *id);

#endif
