/* Which messages a command is about: words and options that are put together on its command line. */
#ifndef CMD_SELECT_H
#define CMD_SELECT_H

#include "cmd/listing.h"

enum { SELECT_WORDS = 64 };             /* ids, addresses and domains in one call; `all` and options say the rest */

struct selection {
	size_t nwords;
	struct str word[SELECT_WORDS];  /* any of them; none: every message */
	struct str from, to, domain;    /* p NULL: not said; from "": mail without a sender */
	int64_t older, younger;         /* seconds; 0: not said */
	uint64_t larger, smaller;       /* octets; 0: not said */
	unsigned states;                /* bits of select.c; 0: any */
	bool all;                       /* the word `all` */
};

/* When argv[*i] is an option of selections, takes it (--older 2d, --older=2d) and leaves *i at its last word. False: something else.
 * What is wrong with it, or its value, is in *why (else NULL). */
bool select_option(struct selection *, int argc, char **argv, int *i, const char **why);
/* An id or its beginning, an address, a domain, or `all`. NULL, or what is wrong with it. */
const char *select_word(struct selection *, const char *word);
bool select_is_empty(const struct selection *);         /* nothing was said, not even `all` */

/* Marks (listed.meant) the entries of the message first..end-1 that all of it is true of. Returns how many. *m is opened (listing_open())
 * only when it is needed for that; mail_free() it. A file that cannot be read is meant when its name alone says so. */
size_t select_mark(const struct selection *, struct listing *, size_t first, size_t end, struct mail **m);

/* Of an entry that is meant: is this recipient, or did words and options name others of it alone? */
bool select_rcpt(const struct selection *, const struct listing *, size_t first, const struct rcpt *);
bool select_names_rcpts(const struct selection *);      /* ... could they? */

#endif
