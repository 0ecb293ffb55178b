/* Sender Policy Framework (RFC 7208): does a domain say that an address may send its mail? An evaluator over facts. */
#ifndef POLICY_SPF_H
#define POLICY_SPF_H

#include "fardel.h"
#include "lib/buf.h"
#include "lib/facts.h"
#include "policy/spf_syntax.h"

enum {
	SPF_TERMS_MAX = 10,             /* that ask the DNS, includes and redirects with all that is in them (RFC 7208 4.6.4) */
	SPF_VOIDS_MAX = 2,              /* of them may find nothing */
	SPF_NAMES_MAX = 10,             /* MX hosts of a term; names of the address that are looked at */
	/* Most facts that one question asks, the limit for facts_new(): the record, ten terms with ten hosts each, the names of the
	 * address and the explanation. */
	SPF_LOOKUPS = 1 + SPF_TERMS_MAX * (1 + SPF_NAMES_MAX) + 1 + SPF_NAMES_MAX + 1,
	SPF_TIME_S = 30                 /* for all of it (RFC 7208 4.6.4: at least 20); the clock is the caller's */
};

enum spf { SPF_NONE, SPF_NEUTRAL, SPF_PASS, SPF_FAIL, SPF_SOFTFAIL, SPF_TEMPERROR, SPF_PERMERROR };
const char *spf_name(enum spf);         /* "softfail" */

/* What is asked. Borrowed; constant over the runs of one question. */
struct spf_query {
	const struct sockaddr *peer;    /* IPv4 or IPv6 (mapped IPv4 is IPv4) */
	struct str helo;                /* as said, or "" */
	struct addr from;               /* of MAIL; for <> the name in HELO is what is looked at (RFC 7208 2.4) */
	const char *receiver;           /* our name */
	int64_t now;                    /* Unix seconds: only for explanations that tell the time */
};
struct spf_result {
	enum spf code;
	bool helo;                      /* the name in HELO was looked at, not that in MAIL FROM */
	char domain[DOMAIN_MAX + 1];    /* that name */
	/* The rest is printable ASCII, cut to fit. */
	char mechanism[128];            /* of the domain's own record, as it stands there; "default": none did match; "": it did not come to that */
	char problem[200];              /* temperror, permerror: what is wrong, in words */
	char why[640];                  /* the result in words */
	char explanation[SPF_TEXT_MAX + 1];     /* fail: words of the domain's owner for the sender. Not ours: say whose they are. "": none */
};

/* WAIT, or ACCEPT when *out is all set. Never REFUSE: what follows from a result is the caller's business. */
enum verdict spf_check(struct facts *, const struct spf_query *, struct spf_result *out);
/* The result of a question that has waited for SPF_TIME_S: a temperror. */
void spf_late(const struct spf_query *, struct spf_result *out);
/* Appends a whole Received-SPF field (RFC 7208 9.1), folded, in ASCII, with its CR LF. Whatever was in the query and in the records, it is
 * this one field. False: no memory. */
bool spf_field(struct buf *, const struct spf_query *, const struct spf_result *);

#endif
