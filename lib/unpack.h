/* Files that come packed: gzip (RFC 1952), and the first file of a zip archive. Whoever packed them may want us to run out of memory: no more comes
 * out than there is room for. Needs zlib; without it nothing that is packed can be read. */
#ifndef LIB_UNPACK_H
#define LIB_UNPACK_H

#include "lib/buf.h"

bool unpack_available(void);
/* Appends what was packed; what is neither is taken as it is. out->max is the ceiling, and must be set. NULL, or what is wrong. */
const char *unpack(struct str in, struct buf *out);

#endif
