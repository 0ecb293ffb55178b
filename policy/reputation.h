/* Who has written before is known: what its reader did with earlier mail says what to do with the next. Pure. */
#ifndef POLICY_REPUTATION_H
#define POLICY_REPUTATION_H

#include "policy/history.h"

enum opinion { OPINION_UNKNOWN, OPINION_HAM, OPINION_JUNK };

/* In the order in which they are tried; the first one that finds any marked mail answers. */
enum method {
	METHOD_FROM,                    /* msgfromfull: of the same author */
	METHOD_TO,                      /* msgtofull: the reader has written to him */
	METHOD_FROM_DOMAIN, METHOD_TO_DOMAIN,           /* the same of the author's domain ... */
	METHOD_FROM_ORG, METHOD_TO_ORG,                 /* ... and of all domains of his organization */
	METHOD_DKIM_SPF,                /* dkimspf: who vouches for it */
	METHOD_IP1, METHOD_IP2, METHOD_IP3,             /* where it comes from: IPv4 /32, /26, /21, IPv6 /64, /48, /32 */
	METHOD_NONE
};
const char *method_name(enum method);           /* the reason token, "msgfromfull" */
enum method method_of(struct str name);         /* METHOD_NONE: another word, too */
const char *opinion_name(enum opinion);         /* "ham" */

struct reputation {
	enum opinion opinion;
	bool conclusive;                /* enough to decide alone */
	enum method method;
	unsigned n;                     /* messages it rests on */
};

/* ---- as a fact. FACT_REPUTATION is asked with whose mailbox it is (a local part, as FACT_MAILBOX) and of whom; FOUND with one record, UNKNOWN when
 * it cannot be told now, NO_NAME when there is no such mailbox. */
bool reputation_ask(struct buf *name, struct str local, struct str org, const struct identities *);     /* false: no memory */
/* The name taken apart. False: it is none. */
bool reputation_asked(struct str name, struct str *local, struct str *org, struct identities *);
bool reputation_print(struct buf *, const struct reputation *);
bool reputation_parse(struct str, struct reputation *);

/* org: the organizational domain of the author, or empty. A time later than now counts as now. */
void reputation_of(const struct history *, const struct identities *, struct str org, int64_t now, struct reputation *out);

#endif
