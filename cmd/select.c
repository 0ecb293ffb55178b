/* Which messages are meant. What names in the directory say is looked at first: files are read only where these do not decide. */
#include "cmd/select.h"

#include <string.h>

#include "lib/conf.h"

enum { STATE_HELD = 1, STATE_DUE = 2, STATE_DEFERRED = 4, STATE_NEW = 8 };
enum { ID_OCTETS = 24 };

/* ---- saying it */

static const char *take_from(struct selection *s, struct str value)
{
	s->from = str_eq(value, STR("<>")) ? STR("") : value;
	return value.n ? NULL : "needs an address, a domain or <>";
}

static const char *take_to(struct selection *s, struct str value)
{
	s->to = value;
	return value.n ? NULL : "needs an address or a domain";
}

static const char *take_domain(struct selection *s, struct str value)
{
	s->domain = value.n && value.p[0] == '@' ? str_from(value, 1) : value;
	return s->domain.n ? NULL : "needs a domain";
}

static const char *take_age(int64_t *out, struct str value)
{
	return conf_duration(value, out) && *out > 0 ? NULL : "needs an age, as 90s, 30m, 2h or 3d";
}
static const char *take_older(struct selection *s, struct str value) { return take_age(&s->older, value); }
static const char *take_younger(struct selection *s, struct str value) { return take_age(&s->younger, value); }

static const char *take_size(uint64_t *out, struct str value)
{
	return conf_size(value, out) && *out > 0 ? NULL : "needs a size, as 512, 100k or 5M";
}
static const char *take_larger(struct selection *s, struct str value) { return take_size(&s->larger, value); }
static const char *take_smaller(struct selection *s, struct str value) { return take_size(&s->smaller, value); }

static const struct {
	struct str word;
	unsigned bit;
} states[] = {
	{ { "held", 4 }, STATE_HELD }, { { "due", 3 }, STATE_DUE }, { { "deferred", 8 }, STATE_DEFERRED }, { { "new", 3 }, STATE_NEW },
};

static const char *take_state(struct selection *s, struct str value)
{
	bool more = true;

	while (more) {
		struct str word = value;
		size_t i = 0;

		more = str_cut(&value, ',', &word);
		while (i < sizeof states / sizeof *states && !str_eq_nocase(word, states[i].word))
			i++;
		if (i == sizeof states / sizeof *states)
			return "is held, due, deferred or new, or some of them with a comma between";
		s->states |= states[i].bit;
	}
	return NULL;
}

/* Nothing is what a script says whose variable is empty: it must not mean everything. */
static const char *take_id(struct selection *s, struct str value)
{
	if (!value.n)
		return "needs an id, an address or a domain";
	if (s->nwords == SELECT_WORDS)
		return "is one word too many: `all` and options choose more at a time";
	s->word[s->nwords++] = value;
	return NULL;
}

static const struct {
	const char *name;
	const char *(*take)(struct selection *, struct str value);
} options[] = {
	{ "--id", take_id }, { "--from", take_from }, { "--to", take_to }, { "--domain", take_domain },
	{ "--older", take_older }, { "--younger", take_younger }, { "--larger", take_larger }, { "--smaller", take_smaller },
	{ "--state", take_state },
};

bool select_option(struct selection *s, int argc, char **argv, int *i, const char **why)
{
	struct str name = str_of(argv[*i]), rest = name;
	bool glued = str_cut(&rest, '=', &name);

	*why = NULL;
	for (size_t k = 0; k < sizeof options / sizeof *options; k++) {
		if (!str_eq(name, str_of(options[k].name)))
			continue;
		if (!glued && *i + 1 >= argc)
			*why = "needs a value behind it";
		else
			*why = options[k].take(s, glued ? rest : str_of(argv[++*i]));
		return true;
	}
	return false;
}

const char *select_word(struct selection *s, const char *word)
{
	if (strcmp(word, "all"))
		return take_id(s, str_of(word));
	s->all = true;
	return NULL;
}

bool select_is_empty(const struct selection *s)
{
	return !s->all && !s->nwords && !s->from.p && !s->to.p && !s->domain.p && !s->older && !s->younger && !s->larger && !s->smaller &&
		!s->states;
}

/* ---- is it meant? */

static unsigned states_of(const struct listing *l, const struct entry_name *e)
{
	if (e->held)
		return STATE_HELD;
	return (e->next <= l->now ? STATE_DUE : STATE_DEFERRED) | (e->tries ? 0 : STATE_NEW);
}

/* What the name says. False: it is none of those that are meant. */
static bool name_fits(const struct selection *s, const struct listing *l, const struct listed *x)
{
	int64_t age = l->now - listing_arrival(x);

	return (!s->older || age >= s->older) && (!s->younger || age < s->younger) &&
		(!s->states || s->states & states_of(l, &x->entry));
}

static bool word_is_id(struct str word)
{
	if (word.n != ID_OCTETS)
		return false;
	for (size_t i = 0; i < word.n; i++)
		if (!ascii_digit(word.p[i]) && !(word.p[i] >= 'a' && word.p[i] <= 'f'))
			return false;
	return true;
}

static bool name_in_words(const struct selection *s, const struct listing *l, size_t first)
{
	for (size_t i = 0; i < s->nwords; i++)
		if (listing_about(l, first, NULL, s->word[i]))
			return true;
	return !s->nwords || s->all;
}

/* Ids alone are found by names. */
static bool only_ids(const struct selection *s)
{
	for (size_t i = 0; i < s->nwords; i++)
		if (!word_is_id(s->word[i]))
			return false;
	return true;
}

static bool plain_name(struct str dest) { return !str_eq(dest, STR("+")) && dest.p[0] != '='; }

static bool anybody_at(const struct listing *l, size_t first, size_t end, const struct listed *x, const struct mail *m, struct str about)
{
	for (size_t i = 0; i < m->nrcpt; i++)
		if (m->rcpt[i].state == RCPT_OPEN && listing_address_is(&m->rcpt[i].to.addr, about) && listing_waits_under(l, first, end, x, &m->rcpt[i]))
			return true;
	return false;
}

static bool sender_fits(const struct addr *from, struct str wanted)
{
	if (!wanted.n)
		return !from->local.n && !from->domain.n;
	return listing_address_is(from, wanted);
}

static bool word_fits(const struct selection *s, const struct listing *l, size_t first, size_t end, const struct listed *x, const struct mail *m)
{
	for (size_t i = 0; i < s->nwords; i++)
		if (listing_about_entry(l, first, end, x, m, s->word[i]))
			return true;
	return !s->nwords || s->all;
}

/* What only the file says. */
static bool mail_fits(const struct selection *s, const struct listing *l, size_t first, size_t end, const struct listed *x, const struct mail *m)
{
	return (!s->from.p || sender_fits(&m->from.addr, s->from)) && (!s->to.p || anybody_at(l, first, end, x, m, s->to)) &&
		(!s->domain.p || anybody_at(l, first, end, x, m, s->domain)) &&
		(!s->larger || (uint64_t)m->size >= s->larger) && (!s->smaller || (uint64_t)m->size < s->smaller) &&
		word_fits(s, l, first, end, x, m);
}

static bool needs_mail(const struct selection *s, const struct listing *l, size_t first, const struct listed *x)
{
	return s->from.p || s->to.p || s->larger || s->smaller || (s->domain.p && !plain_name(x->entry.dest)) ||
		(!name_in_words(s, l, first) && !only_ids(s));
}

size_t select_mark(const struct selection *s, struct listing *l, size_t first, size_t end, struct mail **m)
{
	size_t n = 0;
	const char *why;

	*m = NULL;
	for (size_t i = first; i < end; i++) {
		struct listed *x = &l->line[i];

		x->meant = name_fits(s, l, x);
		if (!x->meant)
			continue;
		if (!needs_mail(s, l, first, x)) {
			x->meant = name_in_words(s, l, first) && (!s->domain.p || str_eq_nocase(x->entry.dest, s->domain));
		} else {
			if (!*m)
				*m = listing_open(l, first, end, &why);
			x->meant = *m && mail_fits(s, l, first, end, x, *m);
		}
		n += x->meant;
	}
	return n;
}

bool select_names_rcpts(const struct selection *s)
{
	return s->to.p || s->domain.p || (!s->all && !only_ids(s));
}

bool select_rcpt(const struct selection *s, const struct listing *l, size_t first, const struct rcpt *r)
{
	const struct addr *a = &r->to.addr;
	bool named = name_in_words(s, l, first);

	for (size_t i = 0; !named && i < s->nwords; i++)
		named = listing_address_is(a, s->word[i]);
	return named && (!s->to.p || listing_address_is(a, s->to)) && (!s->domain.p || listing_address_is(a, s->domain));
}
