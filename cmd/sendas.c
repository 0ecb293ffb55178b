/* Rules are few: they are gone through one by one. */
#include "cmd/sendas.h"

#include <string.h>

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

struct rewrite {
	const struct sendas_rules *rules;
	struct str value, origin;       /* what is left to be written */
	bool angles;                    /* addresses stand between < and > */
	bool changed;
	struct buf *out;
};

static bool ends_name(char c)
{
	return strchr(" \t\r\n()<>:;,", c) != NULL;
}

/* Where the address stands in the rest: outside of quotes and comments, as a word of its own. False: nowhere, as it is written in pieces. */
static bool find_name(const struct rewrite *w, struct str name, size_t *at)
{
	struct str v = w->value;
	size_t depth = 0;
	bool quoted = false;

	for (size_t i = 0; i < v.n; i++) {
		bool starts = i == 0 ? !w->angles : w->angles ? v.p[i - 1] == '<' : ends_name(v.p[i - 1]);

		if (!depth && !quoted && starts && v.n - i >= name.n && !memcmp(v.p + i, name.p, name.n) &&
		    (v.n - i == name.n || ends_name(v.p[i + name.n]))) {
			*at = i;
			return true;
		}
		if ((quoted || depth) && v.p[i] == '\\')
			i++;
		else if (v.p[i] == '"' && !depth)
			quoted = !quoted;
		else if (!quoted && (v.p[i] == '(' || (v.p[i] == ')' && depth)))
			depth += v.p[i] == '(' ? 1 : (size_t)-1;
	}
	return false;
}

static bool replace(void *arg, const struct addr *a)
{
	struct rewrite *w = arg;
	struct addr whole = { a->local, a->domain.n ? a->domain : w->origin };
	struct str as = sendas_find(w->rules, &whole), name = a->local;
	size_t at;

	if (!as.n)
		return true;
	if (a->domain.n)
		name.n = (size_t)(a->domain.p + a->domain.n - a->local.p);
	if (find_name(w, name, &at)) {
		buf_add(w->out, w->value.p, at);
		buf_str(w->out, as);
		w->value = str_from(w->value, at + name.n);
	} else {                        /* a <b (comment) @ c>: not worth keeping */
		buf_printf(w->out, " <" STR_FMT ">", STR_ARG(as));
		w->value.n = 0;
	}
	w->changed = true;
	return w->value.n > 0;
}

bool sendas_field(const struct sendas_rules *r, struct str value, struct str origin, struct buf *out)
{
	struct rewrite w = { .rules = r, .value = value, .origin = origin, .angles = memchr(value.p ? value.p : "", '<', value.n) != NULL, .out = out };

	if (!r->n)
		return false;
	header_addresses(value, replace, &w);
	if (w.changed)
		buf_str(out, w.value);
	return w.changed;
}
