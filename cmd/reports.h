/* What others report of mail in our domains' names (DMARC) and of TLS with our hosts: kept in lines of a file a day, reports/ in the queue directory
 * (doc/QUEUE), and shown by `fardel reports`. */
#ifndef CMD_REPORTS_H
#define CMD_REPORTS_H

#include "lib/str.h"

enum {
	REPORTS_DAY_MAX = 8 << 20,      /* octets of a file: a hundred reports of the largest kind, then none of that day is added */
	REPORTS_DAYS = 92               /* older files are removed */
};

/* Opens reports/ in the queue directory `dir`; open already: nothing. 0, or -1 with errno. */
int reports_start(int dir);
void reports_stop(void);                /* not started: nothing */
/* A report is in the queue as message `id`, from this client: its lines as feedback_read() made them (policy/feedback.h). Not started: nothing. */
void reports_keep(const char *id, const char *client, struct str lines);

#endif
