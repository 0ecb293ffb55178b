/* What the lines of a day (lib/daily.h) come to, by the domain that is to be told of it: what reports are made of. Pure. */
#ifndef POLICY_TALLY_H
#define POLICY_TALLY_H

#include "fardel.h"
#include "lib/buf.h"
#include "lib/list.h"
#include "lib/map.h"

/* The first member of whatever is counted for a domain. */
struct tally_domain {
	struct map_node by_name;
	struct node node;
	char name[DOMAIN_MAX + 1];
	bool told;                      /* all of it */
};
struct tally {
	struct map by_name;
	struct list domains;            /* in the order in which they came */
	size_t in_all;                  /* parts of all domains, as their module counts them */
	uint64_t left_out;              /* lines that a limit, or memory, had no room for */
};
void tally_init(struct tally *);
/* clear() frees what hangs on a domain, which is freed behind it. */
void tally_free(struct tally *, void (*clear)(struct tally_domain *));
/* The domain of that name, or a new one of `size` zeros otherwise. NULL: there are `max` already, or no memory. */
struct tally_domain *tally_domain(struct tally *, const char *name, size_t size, size_t max);
/* Takes the whole lines off the front of the text, each given to count() without its end. */
void tally_take(struct tally *, struct buf *text, void (*count)(struct tally *, struct str line));

#endif
