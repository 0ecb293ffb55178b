/* Rules are few: they are gone through one by one. */
#include "cmd/sendas.h"

#include "mime/header.h"
#include "parse.h"

const char *sendas_parse(struct str text, struct sendas *out)
{
	struct str pattern, as, more;
	struct addr a;
	const char *wrong;

	*out = (struct sendas){ 0 };
	if (!str_word(&text, &pattern) || !str_word(&text, &as) || str_word(&text, &more))
		return "is not PATTERN ADDRESS, as in *@host.example.org alerts@example.org";
	if ((wrong = parse_address(as, false, &a)))
		return wrong;
	out->as = as;
	if (str_eq(pattern, STR("*")))
		return NULL;
	out->domain = pattern;
	if (!str_cut_last(&out->domain, '@', &out->local))
		return "has a pattern that is neither local@domain, local@, @domain nor *";
	if (str_eq(out->local, STR("*")))
		out->local.n = 0;
	if (str_eq(out->domain, STR("*")))
		out->domain.n = 0;
	return out->domain.n ? parse_domain(out->domain, false, true) : NULL;
}

struct str sendas_find(const struct sendas_rules *r, const struct addr *a)
{
	for (size_t i = 0; i < r->n; i++) {
		const struct sendas *s = &r->rule[i];

		if ((!s->local.n || str_eq_nocase(s->local, a->local)) && (!s->domain.n || str_eq_nocase(s->domain, a->domain)))
			return s->as;
	}
	return (struct str){ 0 };
}

struct names {
	const struct sendas_rules *rules;
	struct str origin;
};

static void name_of(void *arg, const struct addr *a, struct buf *as)
{
	const struct names *n = arg;
	struct addr whole = { a->local, a->domain.n ? a->domain : n->origin };
	struct str other = n->rules ? sendas_find(n->rules, &whole) : (struct str){ 0 };

	if (other.n)
		buf_str(as, other);
	else if (!a->domain.n)
		print_addr(as, &whole);
}

bool sendas_field(const struct sendas_rules *r, struct str value, struct str origin, struct buf *out)
{
	struct names n = { r, origin };

	return header_rewrite(value, name_of, &n, out);
}
