/* libpsl behind lib/suffix.h. */
#include "lib/suffix.h"

#ifdef HAVE_PSL
#include <libpsl.h>

#include "lib/late.h"

static struct late library = { .file = HAVE_PSL };
#define PSL(f) LATE(library, HAVE_PSL, f)

/* Read once, at the first question: a file of some 30 kB, if it is newer than what the library holds. */
static const psl_ctx_t *list(void)
{
	static psl_ctx_t *loaded;
	static bool tried;

	if (!tried && late_open(&library)) {
		loaded = PSL(psl_latest)(NULL);
		tried = true;
	}
	return loaded;
}

bool suffix_available(void) { return late_is_there(&library); }

static bool is_listed(const char *lower) { return list() && PSL(psl_is_public_suffix2)(list(), lower, PSL_TYPE_ANY); }
#else
bool suffix_available(void) { return false; }
static bool is_listed(const char *lower) { (void)lower; return false; }
#endif

static bool has_dot(struct str s)
{
	struct str head;

	return str_cut(&s, '.', &head);
}

bool suffix_is_public(struct str domain)
{
	char lower[256];

	if (!has_dot(domain))
		return domain.n > 0;
	if (!str_copy(lower, sizeof lower, domain))
		return false;
	for (char *p = lower; *p; p++)
		*p = ascii_lower(*p);
	return is_listed(lower);
}

struct str suffix_registered(struct str domain)
{
	struct str rest = domain, label, registered = { domain.p, 0 };

	if (suffix_is_public(domain))
		return registered;
	for (struct str whole = domain; str_cut(&rest, '.', &label); whole = rest) {
		if (!label.n || !rest.n)
			return (struct str){ domain.p, 0 };
		if (!registered.n && suffix_is_public(rest))
			registered = whole;
	}
	return registered;
}
