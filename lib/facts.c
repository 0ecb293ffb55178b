/* Facts: the table behind an evaluator that is run again from the top whenever an answer comes. */
#include "lib/facts.h"

#include <stdlib.h>
#include <string.h>

/* One question and, once `fact` is set, what came back. */
struct cell {
	struct cell *next;
	struct fact *fact;              /* owned; NULL while the answer is on its way */
	struct fact_ticket *ticket;     /* held by the source until it answers */
	bool waited;                    /* an evaluator was told to wait for it */
	enum fact_kind kind;
	size_t n;
	char name[];
};
struct facts {
	struct cell *cells;
	struct task *wake;
	unsigned limit, asked, pending;
	bool stranger;
	size_t octets;                  /* of the answers */
};
/* Outlives the table when the table is freed first: then the answer finds nobody. */
struct fact_ticket {
	struct facts *facts;            /* NULL: nobody wants the answer any more */
	struct cell *cell;
};

static struct fact_source *sources[FACT_KINDS];

static const struct fact too_many = { .outcome = UNKNOWN, .why = "too many lookups" };
static const struct fact no_source = { .outcome = UNKNOWN, .local_fault = true, .why = "not available" };
static const struct fact no_memory = { .outcome = UNKNOWN, .local_fault = true, .why = "out of memory" };

void facts_source(enum fact_kind kind, struct fact_source *source)
{
	sources[kind] = source;
}

struct facts *facts_new(struct task *wake, unsigned limit)
{
	struct facts *f = calloc(1, sizeof *f);

	if (!f)
		return NULL;
	f->wake = wake;
	f->limit = limit;
	return f;
}

/* What strangers have us hold: of one question, and of all together. An honest domain's records are some kilobytes. */
enum { STRANGER_MAX = 256 << 10, STRANGERS_MAX = 16 << 20 };
static size_t strangers_octets;

void facts_for_stranger(struct facts *f) { f->stranger = true; }
bool fact_is_for_stranger(const struct fact_ticket *t) { return t->facts && t->facts->stranger; }

static const struct fact too_much = { .outcome = UNKNOWN, .why = "the answers are too large" };

static struct fact *keep(struct facts *f, const struct fact *answer)
{
	size_t octets;
	struct fact *copy = fact_copy(answer, &octets);

	if (copy && f->stranger && (f->octets + octets > STRANGER_MAX || strangers_octets + octets > STRANGERS_MAX)) {
		free(copy);
		copy = fact_copy(&too_much, &octets);
	}
	if (copy && f->stranger) {
		f->octets += octets;
		strangers_octets += octets;
	}
	return copy;
}

static void cell_free(struct cell *c)
{
	if (c->ticket)
		c->ticket->facts = NULL;
	free(c->fact);
	free(c);
}

void facts_free(struct facts *f)
{
	if (!f)
		return;
	for (struct cell *c = f->cells, *next; c; c = next) {
		next = c->next;
		cell_free(c);
	}
	if (f->wake)
		task_cancel(f->wake);
	strangers_octets -= f->octets;
	free(f);
}

/* A table asks a few dozen questions at most: a list is searched faster than a hash is made. */
static struct cell *find(const struct facts *f, enum fact_kind kind, struct str name)
{
	struct cell *c;

	for (c = f->cells; c; c = c->next) {
		struct str known = { c->name, c->n };
		if (c->kind == kind && (kind == FACT_MAILBOX ? str_eq(known, name) : str_eq_nocase(known, name)))
			break;
	}
	return c;
}

static struct cell *cell_new(struct facts *f, enum fact_kind kind, struct str name)
{
	struct cell *c = calloc(1, sizeof *c + name.n);

	if (!c)
		return NULL;
	c->kind = kind;
	c->n = name.n;
	if (name.n)
		memcpy(c->name, name.p, name.n);
	c->next = f->cells;
	f->cells = c;
	return c;
}

/* The source may answer before this returns. Without memory the cell is left with neither ticket nor fact. */
static void ask(struct facts *f, struct cell *c, struct fact_source *source)
{
	struct fact_ticket *t = malloc(sizeof *t);

	if (!t)
		return;
	*t = (struct fact_ticket){ .facts = f, .cell = c };
	c->ticket = t;
	f->asked++;
	f->pending++;
	source->ask(source, c->kind, (struct str){ c->name, c->n }, t);
}

const struct fact *fact(struct facts *f, enum fact_kind kind, struct str name)
{
	struct cell *c = find(f, kind, name);

	if (!c) {
		if (!sources[kind])
			return &no_source;
		if (f->asked >= f->limit)
			return &too_many;
		if (!(c = cell_new(f, kind, name)))
			return &no_memory;
		ask(f, c, sources[kind]);
	}
	if (!c->fact && !c->ticket)
		return &no_memory;
	c->waited = !c->fact;
	return c->fact;
}

unsigned facts_pending(const struct facts *f)
{
	return f->pending;
}

void facts_each(const struct facts *f, void (*each)(void *arg, enum fact_kind, struct str name, const struct fact *), void *arg)
{
	for (const struct cell *c = f->cells; c; c = c->next)
		each(arg, c->kind, (struct str){ c->name, c->n }, c->fact);
}

/* Layout of the block: the fact, its records, then the octets of all of them and the words. */
struct fact *fact_copy(const struct fact *f, size_t *octets)
{
	size_t why = f->why ? strlen(f->why) + 1 : 0, end = f->end ? strlen(f->end) + 1 : 0;
	size_t size = sizeof *f + f->n * sizeof *f->record + why + end;
	struct fact *copy;
	struct record *r;
	char *p;

	for (size_t i = 0; i < f->n; i++)
		size += f->record[i].data.n;
	if (!(copy = malloc(size)))
		return NULL;
	*copy = *f;
	r = (struct record *)(void *)(copy + 1);
	p = (char *)(r + f->n);
	copy->record = r;
	for (size_t i = 0; i < f->n; i++) {
		struct str data = f->record[i].data;
		r[i] = (struct record){ f->record[i].priority, { p, data.n } };
		if (data.n)
			memcpy(p, data.p, data.n);
		p += data.n;
	}
	copy->why = NULL;
	if (f->why)
		copy->why = memcpy(p, f->why, why);
	copy->end = NULL;
	if (f->end)
		copy->end = memcpy(p + why, f->end, end);
	if (octets)
		*octets = size;
	return copy;
}

void fact_answer(struct fact_ticket *t, const struct fact *answer)
{
	struct facts *f = t->facts;
	struct cell *c = t->cell;

	free(t);
	if (!f)
		return;
	c->ticket = NULL;
	f->pending--;
	c->fact = keep(f, answer);
	if (c->waited && f->wake)
		task_post(f->wake);
}

void facts_put(struct facts *f, enum fact_kind kind, struct str name, const struct fact *what)
{
	struct cell *c = find(f, kind, name);

	if (!c && !(c = cell_new(f, kind, name)))
		return;
	if (c->ticket) {
		c->ticket->facts = NULL;
		c->ticket = NULL;
		f->pending--;
	}
	free(c->fact);
	c->fact = fact_copy(what, NULL);
}
