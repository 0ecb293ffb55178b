/* Doubly linked lists of nodes that live inside their owners: nothing is allocated. */
#ifndef LIB_LIST_H
#define LIB_LIST_H

#include <stdbool.h>
#include <stddef.h>

/* The struct of `type` whose `member` p points to. */
#define owner_of(p, type, member) ((type *)(void *)((char *)(p) - offsetof(type, member)))

struct node {
	struct node *next, *prev;               /* NULL: in no list */
};
struct list {
	struct node head;                       /* list_init() makes it point to itself */
	size_t n;
};

static inline void list_init(struct list *l) { l->head.next = l->head.prev = &l->head; l->n = 0; }
static inline bool list_holds(const struct node *x) { return x->next != NULL; }
static inline struct node *list_first(struct list *l) { return l->n ? l->head.next : NULL; }
static inline struct node *list_next(struct list *l, struct node *x) { return x->next == &l->head ? NULL : x->next; }

static inline void list_insert_before(struct list *l, struct node *at, struct node *x)
{
	x->next = at;
	x->prev = at->prev;
	at->prev->next = x;
	at->prev = x;
	l->n++;
}

static inline void list_push(struct list *l, struct node *x) { list_insert_before(l, &l->head, x); }        /* at the end */
static inline void list_unshift(struct list *l, struct node *x) { list_insert_before(l, l->head.next, x); } /* at the front */

/* Removing a node that is in no list does nothing; `l` must be the list it is in. */
static inline void list_remove(struct list *l, struct node *x)
{
	if (!x->next)
		return;
	x->prev->next = x->next;
	x->next->prev = x->prev;
	x->next = x->prev = NULL;
	l->n--;
}

static inline struct node *list_shift(struct list *l)
{
	struct node *x = list_first(l);
	if (x)
		list_remove(l, x);
	return x;
}

#endif
