/* Lines of a day, counted by domain. */
#include "policy/tally.h"

#include <stdlib.h>

void tally_init(struct tally *t)
{
	*t = (struct tally){ 0 };
	list_init(&t->domains);
}

void tally_free(struct tally *t, void (*clear)(struct tally_domain *))
{
	struct node *x;

	while ((x = list_shift(&t->domains))) {
		struct tally_domain *d = owner_of(x, struct tally_domain, node);

		clear(d);
		free(d);
	}
	map_free(&t->by_name);
	tally_init(t);
}

struct tally_domain *tally_domain(struct tally *t, const char *name, size_t size, size_t max)
{
	struct map_node *known = map_get(&t->by_name, str_of(name));
	struct tally_domain *d;

	if (known)
		return owner_of(known, struct tally_domain, by_name);
	if (t->domains.n >= max || !(d = calloc(1, size)))
		return NULL;
	str_copy(d->name, sizeof d->name, str_of(name));
	if (!map_put(&t->by_name, &d->by_name, str_of(d->name))) {
		free(d);
		return NULL;
	}
	list_push(&t->domains, &d->node);
	return d;
}

void tally_take(struct tally *t, struct buf *text, void (*count)(struct tally *, struct str line))
{
	struct str rest = buf_view(text), line;

	while (str_cut(&rest, '\n', &line))
		count(t, line);
	buf_drop(text, text->n - rest.n);
}
