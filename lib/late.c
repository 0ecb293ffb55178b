/* dlopen() behind lib/late.h. */
#include "lib/late.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

bool late_open(struct late *l)
{
	if (!l->handle && *l->file)
		l->handle = dlopen(l->file, RTLD_LAZY | RTLD_LOCAL);
	return l->handle || !*l->file;
}

void late_close(struct late *l)
{
	if (l->handle)
		dlclose(l->handle);
	l->handle = NULL;
}

bool late_is_there(struct late *l)
{
	bool was_open = l->handle, there = late_open(l);

	if (!was_open)
		late_close(l);
	return there;
}

void *late_find(struct late *l, const char *function)
{
	void *found = l->handle ? dlsym(l->handle, function) : NULL;

	if (found)
		return found;
	fprintf(stderr, "fardel: %s has no %s: install the one that fardel was built with\n", l->file, function);
	abort();
}
