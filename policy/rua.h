/* Where a domain wants its reports: the addresses of rua=, and who else has agreed to get them (RFC 9990, RFC 7489 7.1). */
#ifndef POLICY_RUA_H
#define POLICY_RUA_H

#include "lib/facts.h"
#include "policy/dmarc.h"

enum {
	RUA_MAX = 4,                    /* addresses that a report goes to; more are passed over */
	/* Most facts of one question: a walk for the domain and for the host of each address, and what that host says. */
	RUA_LOOKUPS = (1 + RUA_MAX) * DMARC_WALK + RUA_MAX
};

struct rua {
	size_t n;
	struct dmarc_uri to[RUA_MAX];
};
/* Adds the addresses of a list of URIs: what is to go over HTTPS, say, and what is there already is passed over. */
void rua_add(struct rua *, struct str list);

/* Those of the record at _dmarc.DOMAIN, as it stands there now, without those whose host is of another organization that has not agreed.
 * ACCEPT: *out is set, to none perhaps. WAIT, or REFUSE when something cannot be found out now: *out has what is known all the same. why (may be
 * NULL) gets words for what was left out. */
enum verdict rua_find(struct facts *, const char *domain, struct rua *out, struct buf *why);

#endif
