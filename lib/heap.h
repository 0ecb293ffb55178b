/* A binary heap of nodes that live inside their owners; the smallest key is on top. */
#ifndef LIB_HEAP_H
#define LIB_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_node {
	int64_t key;
	size_t pos;                             /* place + 1; 0: in no heap */
};
struct heap {
	struct heap_node **at;
	size_t n, room;
};

bool heap_put(struct heap *, struct heap_node *, int64_t key);  /* adds or moves; false: no memory (not added) */
void heap_remove(struct heap *, struct heap_node *);            /* one that is in no heap: nothing */
struct heap_node *heap_top(const struct heap *);                /* or NULL */
void heap_free(struct heap *);

#endif
