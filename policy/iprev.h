/* iprev (RFC 8601 3): does an address have a name that leads back to it? An evaluator over facts. */
#ifndef POLICY_IPREV_H
#define POLICY_IPREV_H

#include "fardel.h"
#include "lib/facts.h"
#include "lib/ip.h"

enum {
	IPREV_NAMES = 5,                /* of the address that are looked at; who has more shares a machine with many */
	IPREV_LOOKUPS = 1 + IPREV_NAMES
};

enum iprev { IPREV_PASS, IPREV_FAIL, IPREV_TEMPERROR, IPREV_PERMERROR };
const char *iprev_name(enum iprev);             /* "permerror": it has no name (RFC 8601 2.7.3) */

struct iprev_result {
	enum iprev code;
	char name[DOMAIN_MAX + 1];      /* pass: that leads back; fail: its first one; else "" */
	bool secure;                    /* pass: both ways with DNSSEC */
};
/* WAIT, or ACCEPT when *out is set. Never REFUSE. */
enum verdict iprev_check(struct facts *, const struct ip *, struct iprev_result *out);
void iprev_late(struct iprev_result *out);      /* it has waited too long: a temperror */

#endif
