/* libidn2 behind lib/idn.h. */
#include "lib/idn.h"

#include <stdlib.h>
#include <string.h>
#ifdef HAVE_IDN2
#include <idn2.h>

#include "lib/late.h"
#endif

bool is_ascii(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] >= 0x80)
			return false;
	return true;
}

static const char not_here[] = "internationalized domains are not understood here: write the xn-- form";

#ifdef HAVE_IDN2
static struct late library = { .file = HAVE_IDN2 };
#define IDN2(f) LATE(library, HAVE_IDN2, f)

bool idn_available(void) { return late_is_there(&library); }

static const char *convert(struct str domain, char out[256])
{
	char name[1024], *found = NULL;
	const char *wrong = NULL;

	if (!str_copy(name, sizeof name, domain))
		return "the domain is too long";
	if (!late_open(&library))
		return not_here;
	if (IDN2(idn2_to_ascii_8z)(name, &found, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) != IDN2_OK)
		wrong = "the domain is no internationalized domain name";
	else if (!str_copy(out, 256, str_of(found)))
		wrong = "the domain is too long";
	IDN2(idn2_free)(found);
	return wrong;
}
#else
bool idn_available(void) { return false; }

static const char *convert(struct str domain, char out[256])
{
	(void)domain;
	(void)out;
	return not_here;
}
#endif

const char *idn_to_ascii(struct str domain, char out[256])
{
	if (!is_ascii(domain))
		return convert(domain, out);
	return str_copy(out, 256, domain) ? NULL : "the domain is too long";
}
