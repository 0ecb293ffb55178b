/* Reports of TLS (RFC 8460): sessions are written down as couriers tell of them, and when a day is over, each domain that asks for it is sent
 * what came of its own. */
#ifndef CMD_TLSREPORT_H
#define CMD_TLSREPORT_H

#include "policy/tlsrpt.h"

struct tlsreport_config {               /* borrowed */
	const char *hostname;
	const char *contact;            /* address of who answers questions about the reports */
};
/* Opens tlsrpt/ in the queue directory `dir`. send: reports are made, too; the queue is open and schedules, and facts have their sources. When
 * it is started already, the config changes. 0, or -1 with errno. */
int tlsreport_start(const struct tlsreport_config *, int dir, bool send);
void tlsreport_stop(void);              /* before the queue is closed; not started: nothing */
void tlsreport_note(const struct tlsrpt_session *);     /* not started: nothing */

#endif
