/* queue shape: how long what waits has waited, by destination. Names alone are read. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "cmd/control.h"
#include "cmd/views.h"
#include "lib/codec.h"
#include "lib/list.h"
#include "lib/map.h"

enum { ROWS_SHOWN = 30 };               /* of a table; the others are one row. JSON has all */

/* Bounds from below; the last one has none above. */
static const struct {
	int64_t from;
	const char *title;
} ages[] = { { 0, "<5m" }, { 300, "<20m" }, { 1200, "<1h" }, { 3600, "<4h" }, { 14400, "<1d" }, { 86400, "<3d" }, { 259200, ">=3d" } };
enum { AGES = sizeof ages / sizeof *ages };

struct row {
	struct map_node node;           /* key: dest */
	struct str dest;
	size_t n, held, due, by_age[AGES];
	int64_t oldest;                 /* age in seconds */
	bool known;                     /* the running program has told of it: */
	struct control_dest state;
};
struct shape {
	struct map rows;
	struct buf told;                /* by the running program; empty: by nobody */
	int64_t now;
	struct row *all, **order;
	size_t n;
};

static size_t age_of(int64_t seconds)
{
	size_t i = AGES - 1;

	while (i > 0 && seconds < ages[i].from)
		i--;
	return i;
}

static void count(struct row *r, const struct listing *l, const struct listed *x)
{
	int64_t age = l->now - listing_arrival(x);

	r->n++;
	r->held += x->entry.held;
	r->due += !x->entry.held && x->entry.next <= l->now;
	r->by_age[age_of(age)]++;
	if (age > r->oldest)
		r->oldest = age;
}

static void add(struct row *to, const struct row *from)
{
	to->n += from->n;
	to->held += from->held;
	to->due += from->due;
	for (size_t i = 0; i < AGES; i++)
		to->by_age[i] += from->by_age[i];
	if (from->oldest > to->oldest)
		to->oldest = from->oldest;
}

/* What waits longest in numbers is on top; equal ones by name. */
static int by_number(const void *a, const void *b)
{
	const struct row *x = *(const struct row *const *)a, *y = *(const struct row *const *)b;
	size_t n = x->dest.n < y->dest.n ? x->dest.n : y->dest.n;
	int order;

	if (x->n != y->n)
		return x->n < y->n ? 1 : -1;
	order = memcmp(x->dest.p, y->dest.p, n);
	return order ? order : (int)x->dest.n - (int)y->dest.n;
}

static struct row *row_of(struct shape *s, struct str dest)
{
	struct map_node *x = map_get(&s->rows, dest);
	struct row *r;

	if (x)
		return owner_of(x, struct row, node);
	r = &s->all[s->n];
	*r = (struct row){ .dest = dest };
	if (!map_put(&s->rows, &r->node, dest))
		return NULL;
	s->order[s->n++] = r;
	return r;
}

/* False: no memory. */
static bool gather(struct shape *s, struct listing *l, const struct selection *which)
{
	s->all = calloc(l->n ? l->n : 1, sizeof *s->all);
	s->order = calloc(l->n ? l->n : 1, sizeof *s->order);
	for (size_t first = 0, end; s->all && s->order && first < l->n; first = end) {
		struct mail *m;

		end = listing_end(l, first);
		listing_progress("looked at", first, l->n);
		select_mark(which, l, first, end, &m);
		mail_free(m);
		for (size_t i = first; i < end; i++) {
			struct row *r = l->line[i].meant ? row_of(s, l->line[i].entry.dest) : NULL;

			if (l->line[i].meant && !r)
				return false;
			if (r)
				count(r, l, &l->line[i]);
		}
	}
	listing_progress(NULL, 0, 0);
	if (s->n)
		qsort(s->order, s->n, sizeof *s->order, by_number);
	return s->all && s->order;
}

/* What lives in the memory of the program that delivers, if one does. */
static void ask_for_states(struct shape *s, const struct settings *set)
{
	struct control_dest d;
	struct str rest;
	const char *why;

	if (!control_ask(set, "destinations", &s->told, &why)) {
		buf_clear(&s->told);
		return;
	}
	rest = buf_view(&s->told);
	while (control_next_dest(&rest, &d)) {
		struct map_node *x = map_get(&s->rows, d.dest);

		if (!x)
			continue;
		owner_of(x, struct row, node)->known = true;
		owner_of(x, struct row, node)->state = d;
	}
}

/* ---- a table */

static void print_state(const struct shape *s, const struct row *r)
{
	char span[40];

	if (!r->known)
		return;
	if (r->state.again)
		printf("  down, next try in %s: ", listing_span(r->state.again - s->now, span));
	else if (r->state.connections)
		printf("  %" PRIu64 " connections", r->state.connections);
	if (r->state.again)
		listing_show(stdout, r->state.words);
}

static void print_row(const struct shape *s, struct str name, const struct row *r)
{
	char span[40];

	if (name.n > 30)
		name.n = 30;
	listing_show(stdout, name);
	printf("%*s %7zu", (int)(30 - name.n), "", r->n);
	for (size_t i = 0; i < AGES; i++)
		if (r->by_age[i])
			printf(" %6zu", r->by_age[i]);
		else
			printf(" %6s", ".");
	printf(" %6zu %6zu  %s", r->due, r->held, listing_span(r->oldest, span));
	print_state(s, r);
	putchar('\n');
}

static struct str name_of(const struct row *r)
{
	return str_eq(r->dest, STR("+")) ? STR("(several destinations)") : r->dest.p[0] == '=' ? STR("(a long domain)") : r->dest;
}

static void print_table(const struct shape *s)
{
	struct row total = { 0 }, others = { 0 };
	char text[40];

	printf("%-30s %7s", "DESTINATION", "TOTAL");
	for (size_t i = 0; i < AGES; i++)
		printf(" %6s", ages[i].title);
	printf(" %6s %6s  OLDEST\n", "DUE", "HELD");
	for (size_t i = 0; i < s->n; i++) {
		add(&total, s->order[i]);
		if (i >= ROWS_SHOWN)
			add(&others, s->order[i]);
	}
	print_row(s, STR("all"), &total);
	for (size_t i = 0; i < s->n && i < ROWS_SHOWN; i++)
		print_row(s, name_of(s->order[i]), s->order[i]);
	if (s->n > ROWS_SHOWN) {
		snprintf(text, sizeof text, "(%zu others)", s->n - ROWS_SHOWN);
		print_row(s, str_of(text), &others);
	}
}

/* ---- JSON: a line for each destination */

static bool print_json(const struct shape *s)
{
	struct buf out = { 0 };

	for (size_t i = 0; i < s->n; i++) {
		const struct row *r = s->order[i];

		buf_puts(&out, "{\"destination\": ");
		json_quote(&out, r->dest);
		buf_printf(&out, ", \"entries\": %zu, \"due\": %zu, \"held\": %zu, \"oldest_seconds\": %" PRId64 ", \"by_age\": [", r->n, r->due,
			r->held, r->oldest);
		for (size_t k = 0; k < AGES; k++)
			buf_printf(&out, "%s{\"from_seconds\": %" PRId64 ", \"entries\": %zu}", k ? ", " : "", ages[k].from, r->by_age[k]);
		buf_char(&out, ']');
		if (r->known) {
			buf_printf(&out, ", \"down\": %s, \"connections\": %" PRIu64 ", \"failures\": %" PRIu64, r->state.again ? "true" : "false",
				r->state.connections, r->state.failures);
			if (r->state.again)
				buf_printf(&out, ", \"next_try\": %" PRId64 ", \"reason\": ", r->state.again);
			if (r->state.again)
				json_quote(&out, r->state.words);
		}
		buf_puts(&out, "}\n");
		if (out.bad)
			break;
		fwrite(out.p, 1, out.n, stdout);
		buf_clear(&out);
	}
	buf_free(&out);
	return !out.bad;
}

int queue_shape(const struct settings *set, const struct queue_words *q)
{
	struct shape s = { 0 };
	struct listing l;
	int status = listing_read(&l, set->queue, "queue");
	bool gathered = status == 0 && gather(&s, &l, &q->which);

	s.now = l.now;
	if (gathered)
		ask_for_states(&s, set);
	if (status == 0 && !gathered) {
		fprintf(stderr, "queue: out of memory\n");
		status = EX_OSERR;
	} else if (status == 0 && q->json) {
		status = print_json(&s) ? EX_OK : EX_OSERR;
	} else if (status == 0 && !s.n) {
		printf(l.n ? "Nothing in the queue is meant by that.\n" : "The queue is empty.\n");
		status = l.n ? 1 : EX_OK;
	} else if (status == 0) {
		print_table(&s);
	}
	map_free(&s.rows);
	buf_free(&s.told);
	free(s.all);
	free(s.order);
	listing_free(&l);
	return status;
}
