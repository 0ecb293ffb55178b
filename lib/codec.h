/* Octets as text: base64 (RFC 4648 4), JSON strings (RFC 8259 7). */
#ifndef LIB_CODEC_H
#define LIB_CODEC_H

#include "lib/buf.h"

bool base64_encode(struct buf *out, const void *, size_t n);           /* false: out->bad */
/* Strict: padded, no white space, no bits left over. *n: room before, octets after. False: not base64, or it does not fit. */
bool base64_decode(struct str text, unsigned char *out, size_t *n);
/* Quotes and all. What is no UTF-8 becomes U+FFFD, octet by octet. False: out->bad. */
bool json_string(struct buf *out, struct str);

#endif
