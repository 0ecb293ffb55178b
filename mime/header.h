/* Header fields of a message (RFC 5322 2.2, 3.4, 3.6): walking them, and the addresses in them. Pure. */
#ifndef MIME_HEADER_H
#define MIME_HEADER_H

#include "fardel.h"
#include "lib/buf.h"

struct field {
	struct str name;                        /* "Subject" */
	struct str value;                       /* after the colon, folded as it was, without the last line end */
	struct str whole;                       /* name to last line end */
};
/* Takes the next field off *rest (lines end in LF or CR LF). False at the empty line (which is taken), at the end,
 * or at a line that is no field (not taken: the body begins without an empty line). */
bool header_next(struct str *rest, struct field *out);
/* Octets of the header with the empty line that ends it, or all of it when there is none. */
size_t header_length(struct str message);
unsigned header_count(struct str message, struct str name);

/* Calls each() with every address of an address-list ("A <a@x>, b@y (c), group: c@z;"): as local@domain without comments,
 * folding and route; unqualified ones ("root") get domain empty. Only what parse_address() accepts is given, 8-bit included.
 * The slices are good until each() returns; when it returns false the walk ends.
 * False: each() ended it, or a piece could not be understood (others were still given). */
bool header_addresses(struct str value, bool (*each)(void *arg, const struct addr *), void *arg);
/* The same for who is to answer for the message: an address outside quotes in a display name ("boss@y <a@x>") is given, too, or, when
 * other words stand beside it, not understood. */
bool header_authors(struct str value, bool (*each)(void *arg, const struct addr *), void *arg);
/* Appends the value to out with other addresses in it: what each() appends to `as` stands where the address stood, its comments and
 * folding gone; display names and all else stay as they were. False: each() wanted nothing else, and nothing was appended. */
bool header_rewrite(struct str value, void (*each)(void *arg, const struct addr *, struct buf *as), void *arg, struct buf *out);

#endif
