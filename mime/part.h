/* Parts of a message (RFC 2045, 2046): what stands in it, and as what. Pure; slices of the message until a body is decoded. */
#ifndef MIME_PART_H
#define MIME_PART_H

#include "lib/buf.h"

enum coding { CODING_NONE, CODING_QUOTED, CODING_BASE64 };      /* 7bit, 8bit, binary and what nobody knows: none */

struct part {
	struct str whole, header, body;
	struct str type;                /* the value of Content-Type; not said: text/plain */
	enum coding coding;
};
/* A message, or a part of one: lines end in CR LF or LF. Never fails: what has no header is a body. */
void part_open(struct str entity, struct part *out);
/* Is it of this type ("multipart/report", "text/")? One with nothing behind the slash is a family. */
bool part_is(const struct part *, const char *type);
/* A parameter of the type ("boundary"), without quotes. False: there is none, or it does not fit with its NUL. */
bool part_param(const struct part *, const char *name, char *out, size_t size);
/* The next part of a multipart body; *rest begins as whole->body. False: there is no other. The line end before a boundary is the boundary's; the
 * last part of a message that is torn off ends with it. */
bool part_next(const struct part *whole, struct str *rest, struct part *out);
/* Appends the body as it was before it was encoded; what is no base64 in it is passed over. False: out->bad. */
bool part_decode(const struct part *, struct buf *out);
/* For who takes octets as they come. */
void coding_decode(enum coding, struct str, void (*each)(void *arg, char), void *arg);

#endif
