/* A binary heap of embedded nodes. */
#include "lib/heap.h"

#include <stdlib.h>

enum { KEPT = 1024 };                   /* places that are not worth giving back */

static void place(struct heap *h, struct heap_node *x, size_t i)
{
	h->at[i] = x;
	x->pos = i + 1;
}

static void rise(struct heap *h, struct heap_node *x, size_t i)
{
	while (i > 0 && h->at[(i - 1) / 2]->key > x->key) {
		place(h, h->at[(i - 1) / 2], i);
		i = (i - 1) / 2;
	}
	place(h, x, i);
}

static void sink(struct heap *h, struct heap_node *x, size_t i)
{
	for (;;) {
		size_t child = 2 * i + 1;

		if (child >= h->n)
			break;
		if (child + 1 < h->n && h->at[child + 1]->key < h->at[child]->key)
			child++;
		if (h->at[child]->key >= x->key)
			break;
		place(h, h->at[child], i);
		i = child;
	}
	place(h, x, i);
}

static void settle(struct heap *h, struct heap_node *x, size_t i)
{
	if (i > 0 && h->at[(i - 1) / 2]->key > x->key)
		rise(h, x, i);
	else
		sink(h, x, i);
}

bool heap_put(struct heap *h, struct heap_node *x, int64_t key)
{
	x->key = key;
	if (x->pos) {
		settle(h, x, x->pos - 1);
		return true;
	}
	if (h->n == h->room) {
		size_t room = h->room ? 2 * h->room : 16;
		struct heap_node **at = realloc(h->at, room * sizeof *at);

		if (!at)
			return false;
		h->at = at;
		h->room = room;
	}
	rise(h, x, h->n++);
	return true;
}

/* What there was once need not be kept: a queue of a million would cost 8 MB for ever. */
static void give_back(struct heap *h)
{
	size_t room = h->room / 2;
	struct heap_node **at = h->n <= room / 2 && room >= KEPT ? realloc(h->at, room * sizeof *at) : NULL;

	if (!at)
		return;
	h->at = at;
	h->room = room;
}

void heap_remove(struct heap *h, struct heap_node *x)
{
	size_t i = x->pos;
	struct heap_node *last;

	if (!i)
		return;
	x->pos = 0;
	last = h->at[--h->n];
	if (last != x)
		settle(h, last, i - 1);
	give_back(h);
}

struct heap_node *heap_top(const struct heap *h)
{
	return h->n ? h->at[0] : NULL;
}

void heap_free(struct heap *h)
{
	free(h->at);
	*h = (struct heap){ 0 };
}
