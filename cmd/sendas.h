/* Addresses of local programs that leave under another name (the setting send_as): a relay or the world would not take root@host. */
#ifndef CMD_SENDAS_H
#define CMD_SENDAS_H

#include "lib/buf.h"
#include "parse.h"

struct sendas {
	struct str local, domain;       /* each empty: any */
	struct str as;                  /* local@domain */
};
struct sendas_rules {
	size_t n;
	struct sendas *rule;
};
/* A row "PATTERN ADDRESS"; pattern is local@domain, local@, @domain or *. The slices of the rule are those of text. NULL, or what is wrong. */
const char *sendas_parse(struct str text, struct sendas *);
/* The name for it, of the first rule that fits; empty: it keeps its own. Domains and local parts are compared without regard to case. */
struct str sendas_find(const struct sendas_rules *, const struct addr *);
/* Appends the value of a field of addresses with each one that a rule fits replaced, and names without a domain completed with origin
 * (RFC 5322 3.4.1 knows none); display names and comments stay. Rules may be NULL: none. False: nothing in it is to change, and
 * nothing was appended. */
bool sendas_field(const struct sendas_rules *, struct str value, struct str origin, struct buf *out);

#endif
