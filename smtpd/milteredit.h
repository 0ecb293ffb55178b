/* What a filter wants changed in a message, collected until it has had its last word: fields, recipients, the sender, the body. */
#ifndef SMTPD_MILTEREDIT_H
#define SMTPD_MILTEREDIT_H

#include "queue.h"
#include "smtpd/milterwire.h"

enum {
	EDIT_HEADER_MAX = 264 << 10,    /* octets of a header with our trace fields: 256 KiB and some */
	EDIT_FIELDS_MAX = 500,          /* fields added, changed or removed by one filter */
	EDIT_RCPTS_MAX = 10000          /* recipients added or removed */
};

struct edit;
/* The message as it is: its header is read and kept. The draft is borrowed for this call. utf8: its addresses may be (RFC 6531). NULL with *why: "" for no memory or disk
 * (errno), words when there is more header than that. */
struct edit *edit_new(const struct draft *, bool utf8, const char **why);
void edit_free(struct edit *);                          /* NULL: nothing */
size_t edit_holds(const struct edit *);                 /* octets */

/* The i-th field that a filter is shown (ours of this hop, Received, is not): its value with LF for line ends. False: there are no more.
 * Before the first change. */
bool edit_field(const struct edit *, size_t i, struct str *name, struct str *value);
uint64_t edit_body(const struct edit *);                /* where it begins in the draft */

/* A change, as the packet says it. granted: MILTER_ bits of actions; spaces: values come with their leading blank. body_max: octets, 0: any
 * number. NULL, or what is wrong with it. */
const char *edit_change(struct edit *, uint32_t granted, bool spaces, uint64_t body_max, char letter, struct str data);
int edit_error(const struct edit *);                    /* errno of a change that we could not store: no fault of the filter; 0: none */
bool edit_is_change(char letter);                       /* one of those letters */
bool edit_wanted(struct edit *);                        /* the message is to be another; no more changes come */
const char *edit_quarantine(const struct edit *);       /* the reason to hold it, in printable ASCII; NULL: none */

/* Appends to the empty envelope what the old one becomes. False: no memory. */
bool edit_envelope(struct edit *, const struct envelope *old, struct envelope *out);
/* Appends the header with the empty line behind it. False: no memory. */
bool edit_header(const struct edit *, struct buf *out);
const struct draft *edit_new_body(const struct edit *); /* as the message of a draft; NULL: it stays */

#endif
