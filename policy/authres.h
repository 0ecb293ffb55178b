/* The field Authentication-Results (RFC 8601): ours is written, and what others have written in our name is taken out. */
#ifndef POLICY_AUTHRES_H
#define POLICY_AUTHRES_H

#include "fardel.h"
#include "lib/buf.h"

struct dkim;
struct dmarc_result;
struct ip;
struct iprev_result;
struct spf_result;

enum {
	AUTHRES_ROOM = 1536,            /* octets that ours may have: results that do not fit are left out */
	AUTHRES_FIELD_MAX = 16 << 10    /* of another's; longer ones are taken out, whoever wrote them */
};

/* What has been found out; NULL: not looked at. */
struct authres {
	const struct ip *ip;                    /* of the client, for iprev */
	const struct iprev_result *iprev;
	const struct spf_result *spf;
	const struct dmarc_result *dmarc;
	const struct dkim *dkim;                /* ARC, and the signatures come last */
};
/* Appends the field with its line end. Whatever strangers wrote, it is this one field. False: no memory. */
bool authres_print(struct buf *out, const char *own, const struct authres *);
/* Signatures in a word for each, for the log: "pass:example.org fail:example.net", "none". Cut to size. */
void authres_words(char *out, size_t size, const struct dkim *);

/* Is a field with this value from `own`, or can nobody say whose it is (2.3, 5), since it does not begin with a name and at most a version
 * behind it? Names are the same in any case, quoted, with a dot at the end, as A-label and as U-label. */
bool authres_is_from(struct str value, const char *own);

/* Does a field with this value say that DMARC passed? Then out is the domain of From (header.from=), else "". */
bool authres_dmarc_passed(struct str value, char out[DOMAIN_MAX + 1]);

/* A message goes by, in pieces of any size, and leaves without such fields. */
struct authres_filter {
	const char *own;                /* borrowed */
	unsigned char state;
	unsigned char matched;          /* octets of the name */
	struct buf held;                /* what may be such a field */
	unsigned removed;               /* fields */
};
void authres_filter_begin(struct authres_filter *, const char *own);
/* Appends to out what stays of the text. False: no memory (out->bad). */
bool authres_filter_add(struct authres_filter *, struct str text, struct buf *out);
bool authres_filter_end(struct authres_filter *, struct buf *out);
bool authres_filter_over(const struct authres_filter *);        /* the header is: what comes now stays as it is, and need not be added */
void authres_filter_free(struct authres_filter *);

#endif
