/* May a sender's domain get mail? What is sent from one that cannot cannot be answered or returned (RFC 7505 4.2, RFC 5321 2.3.5). */
#ifndef POLICY_SENDER_H
#define POLICY_SENDER_H

#include "fardel.h"
#include "lib/facts.h"

enum { SENDER_HOSTS = 10 };             /* mail hosts of it that are looked at: up to 1 + 2 * SENDER_HOSTS questions */

/* Evaluator over facts. ACCEPT: a host of it has an address, or there is nothing to look up: <>, an address literal, a domain
 * with octets over 127. REFUSE, with *why: 550 for a null MX, a domain that does not exist or has no host; 451 when that cannot be
 * found out now, be it the domain's fault or our resolver's. */
enum verdict sender_domain(struct facts *, const struct addr *from, struct reply *why);

#endif
