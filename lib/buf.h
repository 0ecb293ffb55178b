/* Owned, growing octets with a ceiling. A buffer of zeros is empty and has no
 * ceiling of its own; set max where a peer decides how much comes. */
#ifndef LIB_BUF_H
#define LIB_BUF_H

#include "lib/str.h"

struct buf {
	char *p;
	size_t n;               /* octets in use */
	size_t room;            /* octets allocated */
	size_t max;             /* ceiling for n; 0: none */
	bool bad;               /* an addition did not fit or memory ran out: sticky until buf_clear() */
};

/* Each returns false, adds nothing and sets bad when it would pass the ceiling
 * or memory is out. So a chain of additions may be checked once, by bad. */
bool buf_add(struct buf *, const void *, size_t);
bool buf_str(struct buf *, struct str);
bool buf_puts(struct buf *, const char *);
bool buf_char(struct buf *, char);
bool buf_printf(struct buf *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Room for at least n more octets behind p + n (which the caller then fills and counts), or NULL. */
char *buf_reserve(struct buf *, size_t n);
void buf_drop(struct buf *, size_t n);         /* removes n octets from the front */
void buf_clear(struct buf *);                  /* empty, keeps the memory */
void buf_free(struct buf *);                   /* empty, gives the memory back; the ceiling stays */
struct str buf_view(const struct buf *);       /* valid until the next change */
/* p with a NUL behind the last octet (not counted), "" when memory is out. */
const char *buf_cstr(struct buf *);

#endif
