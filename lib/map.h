/* A hash table of nodes that live inside their owners, keyed by a slice that
 * the owner keeps alive. The hash is seeded, so that strangers' keys cannot collide on purpose. */
#ifndef LIB_MAP_H
#define LIB_MAP_H

#include "lib/str.h"

struct map_node {
	struct map_node *next;
	uint64_t hash;
	struct str key;
};
struct map {
	struct map_node **slot;
	size_t n, size;
};

struct map_node *map_get(const struct map *, struct str key);   /* or NULL */
/* The key must not be in the map yet. False: no memory. */
bool map_put(struct map *, struct map_node *, struct str key);
void map_remove(struct map *, struct map_node *);               /* one that is in the map */
/* Walks all: start with NULL. The node just returned may be removed and freed before the next call is made
 * only when that call is given the result of map_next() taken before. */
struct map_node *map_next(const struct map *, const struct map_node *);
void map_free(struct map *);                                    /* the table, not the nodes */

/* SipHash-2-4 of octets under a 128-bit key. */
uint64_t siphash(const uint64_t key[2], const void *, size_t);

#endif
