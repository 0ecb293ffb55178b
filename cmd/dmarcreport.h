/* Aggregate reports of DMARC (RFC 9990): what came of messages is written down, and each domain that asks for it in its record is sent what
 * came of its own. */
#ifndef CMD_DMARCREPORT_H
#define CMD_DMARCREPORT_H

#include "policy/evaluation.h"

struct dmarcreport_config {             /* borrowed */
	const char *hostname;
	const char *contact;            /* address of who sends them, and answers questions; NULL: nothing is sent */
	const char *other;              /* another one where answers to reports of ours come; NULL: none */
	const char *reports_at;         /* those where reports of others come, with blanks between them; NULL: none */
};
/* Opens dmarc/ in the queue directory `dir`. send: reports are made, too, with a contact; the queue is open and schedules, and facts have their
 * sources. When it is started already, the config changes. 0, or -1 with errno. */
int dmarcreport_start(const struct dmarcreport_config *, int dir, bool send);
void dmarcreport_stop(void);            /* before the queue is closed; not started: nothing */
/* What comes to an address where reports are answered is quiet. Not started: nothing. */
void dmarcreport_note(const struct evaluation *);

#endif
