/* Octets as text: hex digits, base64 (RFC 4648 4), percent-encoding (RFC 3986 2.1), JSON strings (RFC 8259 7), text in XML. */
#ifndef LIB_CODEC_H
#define LIB_CODEC_H

#include "lib/buf.h"

int hex_digit(char c);                                                 /* 0 to 15, or -1 */
/* %XX stands for an octet. False: a wrong %, a control character, nothing, or it does not fit with its NUL. */
bool percent_decode(struct str text, char *out, size_t size);
/* All but letters, digits and - . _ ~ becomes %XX. False: out->bad. */
bool percent_encode(struct buf *out, struct str);
/* For a word of a line: octets outside of ! to ~, and % itself, as %XX. False: out->bad. */
bool percent_word(struct buf *out, struct str text);
bool base64_encode(struct buf *out, const void *, size_t n);           /* false: out->bad */
/* Strict: padded, no white space, no bits left over. *n: room before, octets after. False: not base64, or it does not fit. */
bool base64_decode(struct str text, unsigned char *out, size_t *n);
/* Quotes and all. What is no UTF-8 becomes U+FFFD, octet by octet. False: out->bad. */
bool json_quote(struct buf *out, struct str);
/* Between two tags, or in quotes. What is no UTF-8, or no character that XML 1.0 allows, becomes U+FFFD. False: out->bad. */
bool xml_text(struct buf *out, struct str);

#endif
