/* What a courier has in hand: its bundle and those of other domains that ride along, what their recipients were told, and the end of it. */
#include "cmd/courier_inside.h"

#include <stdlib.h>
#include <string.h>

#include "cmd/expand.h"
#include "deliver/lame.h"

enum { MIX_RCPTS = 1000 };              /* more are not gathered for a transaction; who takes fewer says so */

const struct reply courier_no_memory = { .text = "out of memory here" };

static void free_answers(const struct bundle *b, struct put_off **put_off)
{
	for (size_t i = 0; put_off && i < b->n; i++)
		free(put_off[i]);
	free(put_off);
}

static void forget_answers(struct courier *c)
{
	free_answers(c->bundle, c->put_off);
	free(c->to);
	free(c->seat);
	c->put_off = NULL;
	c->to = NULL;
	c->seat = NULL;
	c->rooms = 0;
}

/* False: no memory; what there is stays. */
static bool make_seats(struct courier *c, size_t n)
{
	const struct recipient **to = n > c->rooms ? realloc(c->to, n * sizeof *to) : c->to;
	struct seat *seat;

	if (!to)
		return false;
	c->to = to;
	seat = n > c->rooms ? realloc(c->seat, n * sizeof *seat) : c->seat;
	if (!seat)
		return false;
	c->seat = seat;
	if (n > c->rooms)
		c->rooms = n;
	return true;
}

bool courier_take_bundle(struct courier *c, struct bundle *b)
{
	c->bundle = b;
	c->expanded = c->family_tried = c->chance = false;
	c->tried = c->asked = c->unbound = 0;
	c->refused = false;
	buf_clear(&c->said);
	c->put_off = calloc(b->n, sizeof *c->put_off);
	if (c->put_off && make_seats(c, b->n))
		return true;
	forget_answers(c);
	return false;
}

static bool same_words(const struct put_off *a, const struct put_off *b)
{
	return a && b && a->reply.code == b->reply.code && strcmp(a->reply.text, b->reply.text) == 0;
}

/* All were given the same words: it is the transaction that was put off, and asking again in pieces would only press. */
static bool put_off_as_one(const struct bundle *b, struct put_off **put_off)
{
	for (size_t i = 0; i < b->n; i++)
		if (!put_off || !same_words(put_off[i], put_off[0]))
			return false;
	return true;
}

/* What a bundle's recipients were told goes to the queue. */
static void tell_answers(struct courier *c, struct bundle *b, struct put_off **put_off, enum blame blame)
{
	queue_said(b, buf_view(&c->said));
	for (size_t i = 0; put_off && i < b->n; i++) {
		struct put_off *p = put_off[i];

		/* RFC 8689 4.2.1: that no host is able is final, as soon as all have been asked. */
		if (p)
			queue_result(b, i, &(struct result){ .what = !p->refused && (p->reply.code < 500 || c->unasked) ? RESULT_DEFERRED :
				RESULT_FAILED, .blame = blame, .reply = &p->reply, .host = p->host });
	}
}

void courier_hand_over_answers(struct courier *c, enum blame blame)
{
	tell_answers(c, c->bundle, c->put_off, blame);
	forget_answers(c);
	c->bundle = NULL;
}

static enum blame blame_for(const struct bundle *b, struct put_off **put_off, const struct result *rest)
{
	return put_off_as_one(b, put_off) || rest->blame == BLAME_TALK ? BLAME_TALK : BLAME_RCPT;
}

static void rider_ends(struct courier *c, struct rider *r, const struct result *rest)
{
	tell_answers(c, r->bundle, r->put_off, blame_for(r->bundle, r->put_off, rest));
	free_answers(r->bundle, r->put_off);
	queue_done(r->bundle, rest);
}

void courier_bundle_ends(struct courier *c, const struct result *rest)
{
	struct bundle *b = c->bundle;

	courier_hand_over_answers(c, blame_for(b, c->put_off, rest));
	while (c->nriders)
		rider_ends(c, &c->rider[--c->nriders], rest);
	queue_done(b, rest);
}

/* Put off, whatever the code: it was said of a connection and not of the message. */
void courier_bundle_fails(struct courier *c, enum blame blame, const struct reply *why)
{
	courier_bundle_ends(c, &(struct result){ .what = RESULT_DEFERRED, .blame = blame, .reply = why, .host = c->last_host });
}

static size_t busy_in(const struct bundle *b)
{
	size_t n = 0;

	for (size_t i = 0; i < b->n; i++)
		n += b->rcpt[i]->busy;
	return n;
}

size_t courier_left_open(const struct courier *c)
{
	size_t n = busy_in(c->bundle);

	for (size_t i = 0; i < c->nriders; i++)
		n += busy_in(c->rider[i].bundle);
	return n;
}

/* ---- a transaction for several domains: those that have the same hosts with the same demands, and are waiting for one of them */

bool courier_goes_alone(const struct courier *c, const struct mail *m) { return strcmp(c->alone, m->id) == 0; }

static void go_alone(struct courier *c, const struct mail *m) { str_copy(c->alone, sizeof c->alone, str_of(m->id)); }

static bool same_host(const struct courier *c, const struct mx_address *a, const struct courier *d, const struct mx_address *b)
{
	const struct mx_result *h = c->hosts, *other = d->hosts;

	return same_address(&a->addr, &b->addr) && str_eq_nocase(str_of(a->host), str_of(b->host)) &&
		a->rank == b->rank && courier_rule_for(c, a) == courier_rule_for(d, b) &&
		h->dane[a->nth].demand == DANE_NONE && other->dane[b->nth].demand == DANE_NONE && h->allowed[a->nth] == other->allowed[b->nth];
}

/* Each of one is among the other's; as none is named twice, that is all. */
static bool same_hosts(const struct courier *c, const struct courier *d)
{
	const struct mx_result *h = c->hosts, *other = d->hosts;

	if (h->n != other->n || h->policy != other->policy || h->unsure != other->unsure || h->partial != other->partial)
		return false;
	for (size_t i = 0; i < h->n; i++) {
		size_t k = 0;

		while (k < other->n && !same_host(c, &h->at[i], d, &other->at[k]))
			k++;
		if (k == other->n)
			return false;
	}
	return true;
}

/* Domains that a transaction over this line may have. */
static size_t domains_together(const struct courier *c)
{
	size_t most = client_capabilities(c->line->client)->rcpt_domain_max;
	bool apart = !couriers.config->mix || c->settings != couriers.renewed || courier_goes_alone(c, c->bundle->mail) || c->line->lax ||
		c->route.kind != ROUTE_MX || c->passed_over || (lame_noted((const struct sockaddr *)&c->line->addr) & LAME_MIX);

	return apart ? 1 : most ? most : MIX_RCPTS;
}

static bool may_ride(struct courier *w, struct courier *with)
{
	return w->dest != with->dest && w->settings == couriers.renewed && !courier_goes_alone(w, with->bundle->mail) && !w->passed_over &&
		w->route.kind == ROUTE_MX && line_shares(with->line, w) && same_hosts(w, with);
}

/* False: no memory, or it is gone. */
static bool board(struct courier *c, struct bundle *b, size_t seats)
{
	struct rider *more = realloc(c->rider, (c->nriders + 1) * sizeof *more);
	struct put_off **put_off = calloc(b->n, sizeof *put_off);

	if (more)
		c->rider = more;
	if (!more || !put_off || !make_seats(c, seats) || !queue_take(b)) {
		free(put_off);
		return false;
	}
	c->rider[c->nriders++] = (struct rider){ b, put_off };
	return true;
}

/* They go back, each to its courier, with the answers that they have had. */
void riders_alight(struct courier *c)
{
	while (c->nriders) {
		struct rider *r = &c->rider[--c->nriders];

		tell_answers(c, r->bundle, r->put_off, BLAME_RCPT);
		free_answers(r->bundle, r->put_off);
		queue_give_back(r->bundle);
	}
}

void take_riders(struct courier *c)
{
	size_t domains = domains_together(c), seats = courier_left_open(c);

	if (c->nriders >= domains)
		riders_alight(c);
	for (struct node *x = list_first(&couriers.waiters), *next; x && c->nriders + 1 < domains; x = next) {
		struct courier *w = owner_of(x, struct courier, waiting);
		struct bundle *b = queue_ready(w->dest, c->bundle->mail);

		next = list_next(&couriers.waiters, x);
		if (!b || seats + b->n > MIX_RCPTS || expand_concerns(b) || !may_ride(w, c))
			continue;
		if (!board(c, b, seats + b->n))
			return;
		seats += b->n;
	}
}

/* Not the mix, but the transaction was put off: asking again in pieces would only press. */
bool courier_refused_as_one(const struct courier *c)
{
	const struct put_off *first = c->seat[0].put_off[c->seat[0].nth];

	for (size_t i = 0; i < c->job.n; i++)
		if (!same_words(c->seat[i].put_off[c->seat[i].nth], first) || first->reply.code >= 500)
			return false;
	return true;
}

static struct courier *waiter_of(const struct dest *d)
{
	for (struct node *x = list_first(&couriers.waiters); x; x = list_next(&couriers.waiters, x))
		if (owner_of(x, struct courier, waiting)->dest == d)
			return owner_of(x, struct courier, waiting);
	return NULL;
}

/* Who was refused beside other domains may not be, alone: each is asked for again at once, before that counts. */
void courier_go_apart(struct courier *c)
{
	static const struct result none = { .reply = &courier_no_memory };      /* nobody is left to have it */

	for (size_t i = 0; i < c->job.n; i++) {
		struct put_off **said = &c->seat[i].put_off[c->seat[i].nth];

		free(*said);
		*said = NULL;
	}
	buf_clear(&c->said);
	while (c->nriders) {
		struct rider *r = &c->rider[--c->nriders];
		struct courier *w = waiter_of(r->bundle->dest);

		if (!busy_in(r->bundle)) {
			rider_ends(c, r, &none);
			continue;
		}
		if (w)
			go_alone(w, c->bundle->mail);
		free_answers(r->bundle, r->put_off);
		queue_give_back(r->bundle);
	}
	if (courier_left_open(c)) {
		go_alone(c, c->bundle->mail);
		courier_send_bundle(c);
		return;
	}
	courier_bundle_ends(c, &none);
	courier_go_on(c, false);
}
