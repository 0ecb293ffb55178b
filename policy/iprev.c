/* iprev: from the address to its names, and back. */
#include "policy/iprev.h"

#include <string.h>

const char *iprev_name(enum iprev code)
{
	static const char *const names[] = { [IPREV_PASS] = "pass", [IPREV_FAIL] = "fail", [IPREV_TEMPERROR] = "temperror", [IPREV_PERMERROR] = "permerror" };

	return names[code];
}

static bool has_address(const struct fact *f, const struct ip *ip)
{
	for (size_t i = 0; f->outcome == FOUND && i < f->n; i++)
		if (f->record[i].data.n == ip->n && !memcmp(f->record[i].data.p, ip->octet, ip->n))
			return true;
	return false;
}

/* All names are asked for at once; the first of them that leads back is taken, however they are answered. */
static enum verdict look_back(struct facts *facts, const struct ip *ip, const struct fact *ptr, struct iprev_result *out)
{
	bool known = true;

	out->code = IPREV_FAIL;
	str_copy(out->name, sizeof out->name, ptr->record[0].data);
	for (size_t i = 0; i < ptr->n && i < IPREV_NAMES; i++) {
		struct str name = ptr->record[i].data;
		const struct fact *a = name.n ? fact(facts, ip->n == 4 ? FACT_A : FACT_AAAA, name) : NULL;

		known = known && (a || !name.n);
		if (!a || out->code == IPREV_PASS)
			continue;
		if (has_address(a, ip)) {
			out->code = IPREV_PASS;
			out->secure = ptr->secure && a->secure;
			str_copy(out->name, sizeof out->name, name);
		} else if (a->outcome == UNKNOWN) {
			out->code = IPREV_TEMPERROR;
		}
	}
	if (out->code == IPREV_TEMPERROR)
		*out->name = '\0';
	return known ? ACCEPT : WAIT;
}

enum verdict iprev_check(struct facts *facts, const struct ip *ip, struct iprev_result *out)
{
	const struct fact *ptr = fact(facts, FACT_PTR, str_of(ip->text));

	*out = (struct iprev_result){ .code = IPREV_PERMERROR };
	if (!ptr)
		return WAIT;
	if (ptr->outcome == UNKNOWN)
		out->code = IPREV_TEMPERROR;
	if (ptr->outcome != FOUND || !ptr->n)
		return ACCEPT;
	return look_back(facts, ip, ptr, out);
}

void iprev_late(struct iprev_result *out) { *out = (struct iprev_result){ .code = IPREV_TEMPERROR }; }
