/* The connections of all couriers: which one would do for whom, who may have one more, and where one is to be had soonest. */
#include "cmd/courier_inside.h"

#include <string.h>

#include "deliver/lame.h"

enum {
	LINES_TO_ADDRESS = 10,          /* connections to one address, whatever waits for one of them */
	LINES_IN_ALL = 100
};

bool same_address(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	return a->ss_family == b->ss_family && memcmp(a, b, a->ss_family == AF_INET ? sizeof(struct sockaddr_in) :
		a->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof *a) == 0;
}

/* ---- lines that several destinations share, one after the other: the same host with the same demands */

static bool same_way(const struct client_config *a, const struct client_config *b)
{
	/* What DNS says of a certificate holds for one domain (RFC 7672 3.2.2): such a line is not shared. */
	return a->tls != CLIENT_TLS_PINNED && a->tls == b->tls && a->unsure == b->unsure && a->lmtp == b->lmtp &&
		a->tls_first == b->tls_first && a->hearsay == b->hearsay && a->proxy == b->proxy && a->user == b->user && a->password == b->password &&
		a->no_chunking == b->no_chunking && a->no_pipelining == b->no_pipelining;
}

bool line_shares(const struct line *l, struct courier *c)
{
	const struct mx_address *a = wanted_address(c);
	struct line mine = { .courier = c };

	if (l->lax || l->settings != c->settings || !same_address(&l->addr, &a->addr) || !str_eq_nocase(str_of(l->host), str_of(a->host)))
		return false;
	line_take_demands(&mine, a);
	mine.config = line_config(&c->route, (const struct sockaddr *)&a->addr, &mine);
	return !mine.lax && same_way(&l->config, &mine.config);
}

bool line_suits(const struct line *l, struct courier *c)
{
	return client_usable(l->client) && line_shares(l, c);
}

struct courier *courier_idle_for(struct courier *c)
{
	for (struct node *x = list_first(&couriers.lines); x; x = list_next(&couriers.lines, x)) {
		struct line *l = owner_of(x, struct line, node);

		if (l->courier && !l->courier->bundle && timer_armed(&l->courier->patience) && line_suits(l, c))
			return l->courier;
	}
	return NULL;
}

/* ---- places: how many connections there may be, and who has the next one */

struct courier *waiter_for(const struct sockaddr_storage *addr, const struct dest *but)
{
	for (struct node *x = list_first(&couriers.waiters); x; x = list_next(&couriers.waiters, x)) {
		struct courier *w = owner_of(x, struct courier, waiting);

		if (w->dest != but && same_address(&wanted_address(w)->addr, addr))
			return w;
	}
	return NULL;
}

static size_t called_to(const struct sockaddr_storage *addr)
{
	size_t n = 0;

	for (struct node *x = list_first(&couriers.called); x; x = list_next(&couriers.called, x))
		n += same_address(&wanted_address(owner_of(x, struct courier, waiting))->addr, addr);
	return n;
}

/* A connection counts until it is gone: for the peer it is one, whoever has left it here. What somebody was called for is taken, too. */
static size_t lines_to(const struct sockaddr_storage *addr)
{
	size_t n = called_to(addr);

	for (struct node *x = list_first(&couriers.lines); x; x = list_next(&couriers.lines, x))
		n += same_address(&owner_of(x, struct line, node)->addr, addr);
	return n;
}

static size_t lines_in_all(void) { return couriers.lines.n + couriers.called.n; }

static bool full(const struct sockaddr_storage *addr)
{
	size_t most = lame_most((const struct sockaddr *)addr, LAME_LINES);

	return lines_in_all() >= LINES_IN_ALL || lines_to(addr) >= (most && most < LINES_TO_ADDRESS ? most : LINES_TO_ADDRESS);
}

/* Transactions that wait for a connection to this address. Parts of a message may share one, so the most of a destination's stand for all.
 * Counted once a turn for one after the other. */
static size_t work_for(const struct sockaddr_storage *addr)
{
	static struct sockaddr_storage counted;
	static unsigned when;
	static size_t n;
	size_t most = 0, sum = 0;
	bool mix = couriers.config->mix && !(lame_noted((const struct sockaddr *)addr) & LAME_MIX);

	if (when == loop_turns() && same_address(&counted, addr))
		return n;
	when = loop_turns();
	counted = *addr;
	n = 0;
	for (struct node *x = list_first(&couriers.waiters); x; x = list_next(&couriers.waiters, x)) {
		struct courier *w = owner_of(x, struct courier, waiting);

		size_t parts;

		if (!same_address(&wanted_address(w)->addr, addr))
			continue;
		n += queue_waiting(w->dest, &parts);
		sum += parts;
		most = parts > most ? parts : most;
	}
	return n += mix ? most : sum;
}

/* A large message, or a peer that takes its time: nobody can say when it will carry something else. */
static bool takes_long(const struct line *l)
{
	return l->courier->sending && loop_now() - l->courier->sent > LONG_MS;
}

/* One connection carries a burst in a moment. One more is made where what waits would take long over those that there are, and while
 * most of them have carried something: their number doubles, at most, each time that all have. */
bool courier_may_have_another(struct courier *c)
{
	const struct sockaddr_storage *addr = &wanted_address(c)->addr;
	size_t proven = 0, fresh = called_to(addr);
	msec took = 0;

	if (full(addr))
		return false;
	for (struct node *x = list_first(&couriers.lines); x; x = list_next(&couriers.lines, x)) {
		const struct line *l = owner_of(x, struct line, node);

		if (!l->courier || takes_long(l) || !line_shares(l, c))
			continue;
		proven += l->proven;
		fresh += !l->proven;
		took += l->proven ? l->took : 0;
	}
	if (proven + fresh == 0)
		return true;
	return c->waits && fresh < proven &&
		(msec)work_for(addr) * (took / (msec)proven) / (msec)(proven + fresh) > LONG_MS;
}

/* Until its task has run nobody else may have the place, or who comes by would be served before who waits. */
void call_waiter(struct courier *w)
{
	list_remove(&couriers.waiters, &w->waiting);
	list_push(&couriers.called, &w->waiting);
	w->called = true;
	timer_stop(&w->patience);
	task_post(&w->again);
}

/* Places may have come free: who has waited for one is called. */
static void call_waiters(void)
{
	for (struct node *x = list_first(&couriers.waiters), *after; x; x = after) {
		struct courier *w = owner_of(x, struct courier, waiting);

		after = list_next(&couriers.waiters, x);
		if (courier_may_have_another(w))
			call_waiter(w);
	}
}

static void make_room(struct task *t)
{
	(void)t;
	call_waiters();
}

/* When all have returned: who leaves one connection for another one has it then. */
static struct task room = { .run = make_room };

void room_soon(void)
{
	if (couriers.waiters.n)
		task_post(&room);
}

/* Who waits goes first, but for who was called, or has another connection in place of one. */
bool courier_has_place(struct courier *c, bool its_turn)
{
	const struct sockaddr_storage *addr = &wanted_address(c)->addr;
	bool replaces = c->replaces && same_address(&c->left, addr);

	c->replaces = false;
	if (its_turn || (replaces && !full(addr)))
		return true;
	call_waiters();
	return courier_may_have_another(c) || (couriers.waiters.n == WAITERS_MAX && !full(addr));
}

/* An address that has taken others of our connections and not this one: no more than those, from now on. */
bool line_is_one_too_many(const struct line *l)
{
	size_t others = 0;

	for (struct node *x = list_first(&couriers.lines); x; x = list_next(&couriers.lines, x)) {
		const struct line *other = owner_of(x, struct line, node);

		others += other != l && other->ready && same_address(&other->addr, &l->addr);
	}
	if (others)
		lame_note_most((const struct sockaddr *)&l->addr, LAME_LINES, others);
	return others > 0;
}

/* ---- does anybody answer at all? */

enum { SILENT_DOMAINS = 3 };            /* one may be down; three, and nobody else in between, are a closed port */
static struct {
	char domain[SILENT_DOMAINS][DOMAIN_MAX + 1];
	size_t n;
} silent;

static bool goes_by_dns(const struct courier *c) { return c->route.kind == ROUTE_MX && !couriers.config->proxy; }

bool courier_port_is_closed(const struct courier *c)
{
	size_t i = 0;

	if (!goes_by_dns(c))
		return false;
	while (i < silent.n && strcmp(silent.domain[i], c->route.domain))
		i++;
	if (i == silent.n && i < SILENT_DOMAINS)
		str_copy(silent.domain[silent.n++], sizeof silent.domain[0], str_of(c->route.domain));
	return silent.n == SILENT_DOMAINS;
}

void courier_port_is_open(const struct courier *c)
{
	if (goes_by_dns(c))
		silent.n = 0;
}

/* ---- hosts that are as good as one another */

/* How good it is to go there now: mail leaves at once, or in a moment, where somebody talks already or is about to. */
enum merit courier_merit(struct courier *c)
{
	enum merit best = M_NOBODY_THERE;

	for (struct node *x = list_first(&couriers.lines); x; x = list_next(&couriers.lines, x)) {
		const struct line *l = owner_of(x, struct line, node);

		if (!l->courier || !line_shares(l, c))
			continue;
		if (l->ready)
			return M_TALKING;
		best = loop_now() - l->since < YOUNG_MS ? M_CALLED : M_NOBODY_ANSWERS;
	}
	return best;
}

/* Of the hosts that are as good as the next one (RFC 5321 5.1: chance decides, which has put them in this order) the one where mail
 * leaves soonest comes to its place. */
void courier_choose_equal(struct courier *c)
{
	struct mx_address *at = c->hosts->at;
	size_t here = c->at, best = here;
	int most = -1;

	for (size_t i = here; i < c->hosts->n && at[i].rank == at[here].rank; i++) {
		c->at = i;
		if (courier_may_call(c, &at[i]) && (int)courier_merit(c) > most) {
			most = (int)courier_merit(c);
			best = i;
		}
	}
	c->at = here;
	if (best != here) {
		struct mx_address chosen = at[best];

		memmove(&at[here + 1], &at[here], (best - here) * sizeof *at);
		at[here] = chosen;
	}
}
