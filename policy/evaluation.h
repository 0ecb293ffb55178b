/* What was found out about messages, kept for those who ask for aggregate reports (RFC 9990): a file a day, to which lines are added. */
#ifndef POLICY_EVALUATION_H
#define POLICY_EVALUATION_H

#include "lib/buf.h"
#include "lib/daily.h"
#include "lib/ip.h"
#include "policy/dmarc.h"

struct dkim;
struct spf_result;

enum {
	EVALUATION_MAX = 8 << 10,       /* octets of a line; what is longer is not kept */
	EVALUATION_DAY_MAX = 32 << 20,  /* octets of a file: a hundred thousand messages and more, then none of that day is added */
	EVALUATION_DAYS = 8             /* older files are removed */
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
	struct str mail_from;                   /* a domain */
	struct str rcpt;                        /* an address, of which the domain is kept; empty when there were several */
	bool quiet;                             /* it alone is no reason to report: it is a report itself, or an answer to one */
};
/* Appends the line with its LF (doc/QUEUE has the format). False: it is too long, or no memory; nothing was added. */
bool evaluation_print(struct buf *, const struct evaluation *);

/* Makes the directory `dmarc` in `dir`. 0, or -1 with errno. daily_close() ends it. */
int evaluations_open(struct daily *, int dir);
/* Adds a line to the file of its day (lib/daily.h). */
void evaluations_keep(struct daily *, const struct evaluation *);

#endif
