/* DMARC (RFC 9989, with pct= of RFC 7489): does SPF or a signature speak for the domain in From, and what does its owner want done when
 * none does? An evaluator over facts. */
#ifndef POLICY_DMARC_H
#define POLICY_DMARC_H

#include "lib/facts.h"
#include "policy/dmarc_syntax.h"

struct dkim;
struct spf_result;

enum {
	DMARC_SIGNATURES = 8,
	DMARC_WALK = 8,                 /* questions of a walk through the tree (RFC 9989 4.10) */
	DMARC_URIS_MAX = 1024,          /* octets of rua= that are kept */
	/* Most facts of one question, the limit for facts_new(): a walk and a test of existence for each author, and a walk for each
	 * that may speak for them. */
	DMARC_LOOKUPS = DMARC_AUTHORS * (DMARC_WALK + 1) + (1 + DMARC_SIGNATURES) * DMARC_WALK,
	DMARC_TIME_S = 20               /* for all of it; the clock is the caller's */
};

enum dmarc { DMARC_NONE, DMARC_PASS, DMARC_FAIL, DMARC_TEMPERROR, DMARC_PERMERROR };
const char *dmarc_name(enum dmarc);             /* "temperror" (RFC 8601 2.7.6) */

/* ---- the question */
enum dmarc_auth { DMARC_AUTH_NO, DMARC_AUTH_PASS, DMARC_AUTH_TEMPERROR };
struct dmarc_id {                       /* a domain that may speak for the author's */
	struct str domain;
	enum dmarc_auth result;
};
/* Borrowed; constant over the runs of one question. */
struct dmarc_query {
	const struct dmarc_author *author;
	struct dmarc_id spf;            /* of MAIL FROM, or of HELO for <> */
	size_t ndkim;
	struct dmarc_id dkim[DMARC_SIGNATURES];
	bool unknown_dkim;              /* by a fault of ours it is not known what signatures there are */
	unsigned sample;                /* 0..99, by chance, once a message: for pct= */
};
/* Sets spf and dkim from what has been found out; either may be NULL: not looked at. Domains are borrowed from them. */
void dmarc_query_set(struct dmarc_query *, const struct spf_result *, const struct dkim *);

/* Why the policy is not what the record says (RFC 9990 PolicyOverrideType). The last ones are for who decides otherwise. */
enum dmarc_override {
	DMARC_NO_OVERRIDE, DMARC_SAMPLED_OUT, DMARC_TEST_MODE, DMARC_FORWARDED, DMARC_MAILING_LIST, DMARC_TRUSTED_FORWARDER,
	DMARC_LOCAL_POLICY, DMARC_OTHER
};
const char *dmarc_override_name(enum dmarc_override);   /* "mailing_list"; none: "" */

struct dmarc_result {
	enum dmarc code;
	enum dmarc_policy policy;       /* what the owner wants done with this message: P_NONE unless code is DMARC_FAIL */
	enum dmarc_override override;   /* why that is less than `published` */
	bool retry;                     /* DMARC_TEMPERROR: what is not known might change what is done, and it is not that no resolver answers */
	bool unclear;                   /* DMARC_PERMERROR: it cannot be said who has written (several From fields, nonsense in it) */
	bool spf_aligned, dkim_aligned; /* passed, and speaks for the domain */
	bool secure;                    /* the record came with DNSSEC */
	char domain[DOMAIN_MAX + 1];    /* of From, lower case, A-labels; "": none. Of several the one with the worst result */
	char organization[DOMAIN_MAX + 1];      /* its organizational domain: by the DNS, or where no record says anything, by the list of
	                                         * public suffixes; "": not known */
	/* The record; policy_domain is "" when there is none, or none with a meaning. */
	char policy_domain[DOMAIN_MAX + 1];     /* it stands at _dmarc. and this */
	const char *tag;                /* "p", "sp" or "np": which one counts */
	enum dmarc_policy published;    /* and what it says */
	struct dmarc_record record;     /* its rua and ruf are empty */
	char rua[DMARC_URIS_MAX];       /* whole URIs */
	char why[400];                  /* all that in words, printable ASCII */
};
/* WAIT, or ACCEPT when *out is all set. Never REFUSE: what follows from a result is the caller's business. */
enum verdict dmarc_check(struct facts *, const struct dmarc_query *, struct dmarc_result *out);
/* What is to be known of a domain before it is sent reports: its organization, and the record that stands at _dmarc.DOMAIN itself. */
struct dmarc_owner {
	struct str organization;        /* a part of the domain's name */
	bool has_record;                /* exactly one, and it has a meaning */
	struct dmarc_record record;     /* borrows from the facts */
};
/* WAIT, ACCEPT, or REFUSE when the organization cannot be found out now: it is empty then. It asks DMARC_WALK facts at most. */
enum verdict dmarc_find_owner(struct facts *, struct str domain, struct dmarc_owner *out);
/* Where a failure would have consequences: ARC by one of `sealers` (policy/arc.h; either may be NULL) takes them away, or, while that cannot be
 * known, makes a temperror of it. */
struct arc;
void dmarc_trust(struct dmarc_result *, const struct arc *, const char *sealers);
/* The result of a question that has waited for DMARC_TIME_S: a temperror. */
void dmarc_late(const struct dmarc_query *, struct dmarc_result *out);

#endif
