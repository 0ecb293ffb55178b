/* ARC (RFC 8617): what those who have sent a message on say of it, each under the seal of the next. Part of policy/dkim.c's one pass over a
 * message: header by arc_new(), keys by arc_judge(). We verify, and seal nothing ourselves. */
#ifndef POLICY_ARC_H
#define POLICY_ARC_H

#include "lib/facts.h"
#include "policy/dkim.h"

enum { ARC_SETS = 50 };                 /* RFC 8617 5.2 step 1; more fail */

enum arc_result {
	ARC_UNKNOWN,                    /* not judged yet */
	ARC_PASS,                       /* every seal holds, and the last signature of the message */
	ARC_FAIL,
	ARC_TEMPERROR                   /* a key could not be had now */
};
const char *arc_name(enum arc_result);          /* "temperror" */

struct arc;
bool arc_is_field(struct str name);
/* Reads the sets of a header that has at least one of these fields. Borrows nothing. NULL: no memory. */
struct arc *arc_new(struct str header, struct dkim_fields *);
void arc_free(struct arc *);                    /* NULL: nothing */
struct dkim_signature *arc_message(struct arc *);       /* the ARC-Message-Signature that needs its body hashed; NULL: none */
/* Asks for keys from the last set backwards, and for none behind what does not hold: who has made up a chain makes us ask little. False: run it
 * again. */
bool arc_judge(struct arc *, struct dkim *, struct facts *, int64_t now);
void arc_give_up(struct arc *);
size_t arc_holds(const struct arc *);           /* octets */

enum arc_result arc_result(const struct arc *, const char **why);      /* in words, printable ASCII */
size_t arc_sets(const struct arc *);            /* 0: their structure is broken */
const char *arc_sealer(const struct arc *, size_t i);           /* d= of set i, from 1 */

/* Did somebody in `sealers` (domains between blanks; NULL: nobody) see DMARC pass for this domain in From? All that came behind must be in it, too, as
 * what they sealed is believed for that alone. ARC_PASS: yes; ARC_FAIL: no; ARC_TEMPERROR: it may be so, and is not known now. */
enum arc_result arc_vouches(const struct arc *, const char *sealers, const char *domain);

#endif
