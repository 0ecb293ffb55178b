/* What was found out about messages, kept for those who ask for aggregate reports (RFC 9990): a file a day, to which lines are added. */
#ifndef POLICY_EVALUATION_H
#define POLICY_EVALUATION_H

#include "lib/buf.h"
#include "lib/ip.h"
#include "policy/dmarc.h"

struct dkim;
struct spf_result;

enum {
	EVALUATION_MAX = 8 << 10,       /* octets of a line; what is longer is not kept */
	EVALUATION_DAY_MAX = 32 << 20,  /* octets of a file: a hundred thousand messages and more, then none of that day is added */
	EVALUATION_DAYS = 8             /* older files are removed: nobody has sent them */
};

/* Borrowed. */
struct evaluation {
	int64_t time;                           /* Unix seconds */
	const struct ip *ip;                    /* of the client */
	const struct dmarc_result *dmarc;
	enum dmarc_policy done;                 /* with the message */
	enum dmarc_override why;                /* that is not what the record wants */
	const struct spf_result *spf;
	const struct dkim *dkim;
	struct str mail_from, rcpt;             /* domains; rcpt is empty when there were several */
};
/* Appends the line with its LF (doc/QUEUE has the format). False: it is too long, or no memory; nothing was added. */
bool evaluation_print(struct buf *, const struct evaluation *);

struct evaluations {
	int dir, fd;                            /* -1: none */
	int32_t day;                            /* of fd, since 1970 */
	bool full;                              /* no more of that day */
};
/* Makes the directory `dmarc` in `dir`. 0, or -1 with errno. */
int evaluations_open(struct evaluations *, int dir);
void evaluations_close(struct evaluations *);
/* Adds a line to the file of its day, without syncing: a report that counts a message less after a power cut harms nobody. One that
 * cannot be written is left out, and the log says so once a day. */
void evaluations_keep(struct evaluations *, const struct evaluation *);

#endif
