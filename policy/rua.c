/* Addresses for reports. */
#include "policy/rua.h"

#include <string.h>

static bool is_there(const struct rua *r, const char *address)
{
	for (size_t i = 0; i < r->n; i++)
		if (!strcmp(r->to[i].address, address))
			return true;
	return false;
}

void rua_add(struct rua *r, struct str list)
{
	while (r->n < RUA_MAX && dmarc_uri_next(&list, &r->to[r->n]))
		if (!is_there(r, r->to[r->n].address))
			r->n++;
}
