/* Where mail for a domain goes from here, and what it must meet there: told to people, nothing is sent. */
#ifndef CMD_EXPLAIN_H
#define CMD_EXPLAIN_H

#include "cmd/settings.h"

/* Looks the hosts up as the queue would, and prints them in the order in which they are called, with what TLS each must show. Waits for the
 * DNS, 30 s at most. from NULL: for anybody's mail. An exit status: 0; 1: no mail can go there, for good; 75: it cannot be found out now; 78, 71. */
int explain_domain(const struct settings *, struct str domain, const struct addr *from);

/* The same, and then calls these hosts, until one has answered for the recipient, as far as RCPT: nothing is sent. Prints what is said on
 * both sides, and what the certificate is worth. 60 s at most. */
int explain_connect(const struct settings *, struct str domain, const struct addr *from, const struct addr *to);

#endif
