/* SMTP and LMTP couriers: find a destination's hosts, connect, send bundle after bundle, and tell the queue what was said. */
#include "cmd/courier.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/expand.h"
#include "cmd/local.h"
#include "auth/token.h"
#include "client.h"
#include "deliver/lame.h"
#include "deliver/tlsseen.h"
#include "lib/clock.h"
#include "lib/facts.h"
#include "lib/file.h"
#include "lib/list.h"
#include "lib/log.h"
#include "lib/rand.h"
#include "mime/header.h"
#include "parse.h"

enum {
	COURIERS_REMOTE = 10,           /* connections to one destination */
	COURIERS_LOCAL = 4,
	LOCAL_IN_ALL = 20,
	LINES_TO_ADDRESS = 10,          /* connections to one address, whatever waits for one of them */
	LINES_IN_ALL = 100,
	WAITERS_MAX = 300,              /* each keeps 40 kB, and neither a place nor a file */
	LONG_MS = 2000,                 /* what waits for an address and would take longer than this is worth a connection more */
	YOUNG_MS = 500,                 /* so long it is worth to wait for a connection that is being made */
	WAIT_MS = 30 * 60 * 1000,       /* for a connection, then its message is put off with these words */
	FAIR_SHARE = 10,                /* messages that one destination sends over a connection while another one waits for it */
	ADDRESSES_TRIED = 8,            /* for one bundle: connections begun since something was settled */
	IDLE_MS = 2000,                 /* a connection with nothing to do is kept for what may still come */
	MIX_RCPTS = 1000,               /* more are not gathered for a transaction; who takes fewer says so */
	HEADER_LOOKED_AT = 65536,
	HOSTS_ASKED = 2                 /* for one bundle: hosts that were asked to the end and put us off */
};

static const struct courier_config *config;
static unsigned renewed;                /* how often it has changed */

/* A connection. One that the courier has left lives on until its QUIT is answered (RFC 5321 4.1.1.10). */
struct line {
	struct node node;               /* of lines */
	struct courier *courier;        /* NULL: left */
	struct client *client;
	struct sockaddr_storage addr;
	char host[256];
	struct client_config config;
	bool lax;                       /* as a message wished; not for the next one */
	msec since;
	bool ready;                     /* the peer has answered EHLO */
	bool proven;                    /* somebody has got a message over it */
	msec took;                      /* for a message, lately */
	struct dane dane;               /* which the config points into, */
	char domain[256];               /* as the courier may have left */
	enum mtasts_mode policy;        /* of the domain, as far as it is about this host */
	const struct tls_rule *rule;    /* the administrator's for it, or NULL */
	struct token *token;            /* that the config's password is, or NULL */
};

/* The answer that a recipient has had and that is not final, and who gave it: a temporary one, or 5xx in our words, as that host is not
 * able to take the message. */
struct put_off {
	struct reply reply;
	bool refused;                   /* 5xx of the host itself: final, unless another address of it says something else */
	char host[300];
};

/* A bundle of another domain with the same hosts that goes along in the same transaction. Its own courier waits meanwhile for a connection,
 * for what has to go apart. */
struct rider {
	struct bundle *bundle;
	struct put_off **put_off;       /* as the courier's own */
};

/* Whose result a recipient of the job is. */
struct seat {
	struct bundle *bundle;
	size_t nth;                     /* in it */
	struct put_off **put_off;       /* of the nth */
};

struct courier {
	struct bundle *bundle;
	struct dest *dest;
	unsigned settings;              /* under which it began: `renewed` then */
	struct route route;
	const char *misled;             /* the way that was ordered is none, for this reason; NULL: it is one */
	/* finding the hosts */
	struct facts *facts;
	struct mx_self self;
	struct task look;
	uint64_t seed;
	struct mx_result *hosts;
	/* the host */
	size_t at;                      /* of hosts->at: where the client is, or goes next */
	uint32_t passed_over;           /* bits by hosts->at[].nth: the domain's policy is only being tested, and does not hold there */
	unsigned tried, asked;          /* for this bundle */
	unsigned unbound;               /* of those tried: we have no address to call from */
	bool family_tried, chance;      /* for this bundle: another family of addresses was, or is being, tried after a refusal */
	bool unasked;                   /* there is a host before `at`, or one without a known address, that was not asked to the end */
	struct line *line;
	struct idle idle;               /* while there is nothing to do, or no connection to be had */
	struct timer patience;
	bool waits;                     /* for a connection to hosts->at[at], without a bundle, */
	msec waits_since;
	bool in_vain;                   /* it has heard that this address is of no use */
	bool met;                       /* this courier has had a conversation */
	unsigned served;                /* bundles since it last waited, or took a line over */
	bool replaces, proven;          /* it has left a connection for which it may have another one, and which had carried something */
	msec took, sent;                /* likewise; when the client was given the message */
	bool sending;                   /* it still has it */
	struct sockaddr_storage left;   /* where it led */
	struct node waiting;            /* of waiters, */
	bool called;                    /* or called: the next connection is its own, when its aliases have gone */
	struct task again;
	struct token_question token;
	bool fresh_token;               /* it was got for this courier, and nobody has let us in with it yet */
	struct reply last;              /* why the last host was of no use, and who it was */
	char last_host[300];
	/* the bundle's turn */
	bool expanding;                 /* aliases are looked for in it: nothing of it is sent yet */
	bool expanded;                  /* that has been done */
	bool from_best;                 /* what go_on() was told meanwhile */
	size_t began_at;                /* where the courier was */
	/* what is being sent: the bundle's recipients that have no final result */
	struct client_job job;
	const struct recipient **to;
	struct seat *seat;              /* of to[i] */
	size_t rooms;                   /* for so many */
	struct put_off **put_off;       /* by bundle index, or NULL */
	struct rider *rider;
	size_t nriders;
	bool refused;                   /* somebody in the mix was: that counts as no answer */
	char alone[ID_MAX];             /* so the bundle of this message goes without others */
};

static const struct reply no_memory = { .text = "out of memory here" };

static struct list lines, waiters, called;

static void look_for_aliases(struct courier *, bool from_best);
static void connect_from_here(struct courier *, bool its_turn);
static void connect_next(struct courier *);
static void stop_waiting(struct courier *);
static void send_bundle(struct courier *);
static struct client_config way_to(const struct route *, const struct sockaddr *, struct line *);
static void take_demands(struct line *, const struct mx_address *);
static bool may_call(const struct courier *, const struct mx_address *);
static void no_host(struct courier *);
static size_t next_to_call(const struct courier *, size_t at);
static bool shares(const struct line *, struct courier *);
static const struct tls_rule *rule_for(const struct courier *, const struct mx_address *);
static void riders_alight(struct courier *);
static void tell_session(const struct courier *);

/* ---- the connection */

static bool same_address(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	return a->ss_family == b->ss_family && memcmp(a, b, a->ss_family == AF_INET ? sizeof(struct sockaddr_in) :
		a->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof *a) == 0;
}

static bool is_level(const struct tls_rule *r, enum tls_level level) { return r && r->level == level; }
static const struct mx_address *wanted_address(const struct courier *c) { return &c->hosts->at[c->at]; }

/* The first who waits for a connection to this address with mail for another destination. */
static struct courier *waiter_for(const struct sockaddr_storage *addr, const struct dest *but)
{
	for (struct node *x = list_first(&waiters); x; x = list_next(&waiters, x)) {
		struct courier *w = owner_of(x, struct courier, waiting);

		if (w->dest != but && same_address(&wanted_address(w)->addr, addr))
			return w;
	}
	return NULL;
}

static size_t called_to(const struct sockaddr_storage *addr)
{
	size_t n = 0;

	for (struct node *x = list_first(&called); x; x = list_next(&called, x))
		n += same_address(&wanted_address(owner_of(x, struct courier, waiting))->addr, addr);
	return n;
}

/* A connection counts until it is gone: for the peer it is one, whoever has left it here. What somebody was called for is taken, too. */
static size_t lines_to(const struct sockaddr_storage *addr)
{
	size_t n = called_to(addr);

	for (struct node *x = list_first(&lines); x; x = list_next(&lines, x))
		n += same_address(&owner_of(x, struct line, node)->addr, addr);
	return n;
}

static size_t lines_in_all(void) { return lines.n + called.n; }

static bool full(const struct sockaddr_storage *addr)
{
	size_t most = lame_most((const struct sockaddr *)addr, LAME_LINES);

	return lines_in_all() >= LINES_IN_ALL || lines_to(addr) >= (most ? most : LINES_TO_ADDRESS);
}

/* Transactions that wait for a connection to this address. Parts of a message may share one, so the most of a destination's stand for all.
 * Counted once a turn for one after the other. */
static size_t work_for(const struct sockaddr_storage *addr)
{
	static struct sockaddr_storage counted;
	static unsigned when;
	static size_t n;
	size_t most = 0, sum = 0;
	bool mix = config->mix && !(lame_noted((const struct sockaddr *)addr) & LAME_MIX);

	if (when == loop_turns() && same_address(&counted, addr))
		return n;
	when = loop_turns();
	counted = *addr;
	n = 0;
	for (struct node *x = list_first(&waiters); x; x = list_next(&waiters, x)) {
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
static bool may_have_another(struct courier *c)
{
	const struct sockaddr_storage *addr = &wanted_address(c)->addr;
	size_t proven = 0, fresh = called_to(addr);
	msec took = 0;

	if (full(addr))
		return false;
	for (struct node *x = list_first(&lines); x; x = list_next(&lines, x)) {
		const struct line *l = owner_of(x, struct line, node);

		if (!l->courier || takes_long(l) || !shares(l, c))
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
static void call(struct courier *w)
{
	list_remove(&waiters, &w->waiting);
	list_push(&called, &w->waiting);
	w->called = true;
	timer_stop(&w->patience);
	task_post(&w->again);
}

/* Places may have come free: who has waited for one is called. */
static void call_waiters(void)
{
	for (struct node *x = list_first(&waiters), *after; x; x = after) {
		struct courier *w = owner_of(x, struct courier, waiting);

		after = list_next(&waiters, x);
		if (may_have_another(w))
			call(w);
	}
}

static void make_room(struct task *t)
{
	(void)t;
	call_waiters();
}

/* When all have returned: who leaves one connection for another one has it then. */
static struct task room = { .run = make_room };

static void room_soon(void)
{
	if (waiters.n)
		task_post(&room);
}

static void line_free(struct line *l)
{
	list_remove(&lines, &l->node);
	room_soon();
	token_drop(l->token);
	free(l);
}

/* The courier has no more to do with it. It may have another one in its place, unless it has had its share. */
static void part(struct courier *c)
{
	struct line *l = c->line;

	c->replaces = l->ready && c->served < FAIR_SHARE;
	c->left = l->addr;
	c->proven = l->proven;
	c->took = l->took;
	l->courier = NULL;
	c->line = NULL;
	room_soon();
}

static void leave_host(struct courier *c)
{
	struct line *l = c->line;

	if (!l)
		return;
	part(c);
	client_quit(l->client);
}

static bool line_usable(const struct courier *c)
{
	return c->line && !c->line->lax && client_usable(c->line->client);
}

static void remember(struct courier *c, const char *host, const struct reply *why)
{
	c->last = *why;
	str_copy(c->last_host, sizeof c->last_host, str_of(host));
}

/* ---- the end of a bundle, and of the courier */

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

static void courier_end(struct courier *c)
{
	struct dest *d = c->dest;

	if (c->waits)
		stop_waiting(c);
	queue_not_idle(d, &c->idle);
	timer_stop(&c->patience);
	facts_free(c->facts);
	leave_host(c);
	free(c->rider);
	free(c->hosts);
	free(c);
	queue_leave(d);
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

/* False: no memory, and put_off is NULL. */
static bool take_bundle(struct courier *c, struct bundle *b)
{
	c->bundle = b;
	c->expanded = c->family_tried = c->chance = false;
	c->tried = c->asked = c->unbound = 0;
	c->refused = false;
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
	for (size_t i = 0; put_off && i < b->n; i++) {
		struct put_off *p = put_off[i];

		/* RFC 8689 4.2.1: that no host is able is final, as soon as all have been asked. */
		if (p)
			queue_result(b, i, &(struct result){ .what = !p->refused && (p->reply.code < 500 || c->unasked) ? RESULT_DEFERRED :
				RESULT_FAILED, .blame = blame, .reply = &p->reply, .host = p->host });
	}
}

static void hand_over_answers(struct courier *c, enum blame blame)
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

/* rest is for those who were told nothing. */
static void bundle_ends(struct courier *c, const struct result *rest)
{
	struct bundle *b = c->bundle;

	hand_over_answers(c, blame_for(b, c->put_off, rest));
	while (c->nriders)
		rider_ends(c, &c->rider[--c->nriders], rest);
	queue_done(b, rest);
}

/* Put off, whatever the code: it was said of a connection and not of the message. */
static void bundle_fails(struct courier *c, enum blame blame, const struct reply *why)
{
	bundle_ends(c, &(struct result){ .what = RESULT_DEFERRED, .blame = blame, .reply = why, .host = c->last_host });
}

static void say_goodbye(struct courier *c)
{
	if (c->line)
		client_quit(c->line->client);   /* gone() ends the courier */
	else
		courier_end(c);
}

static void has_waited(struct courier *);

static void patience_ends(struct timer *t)
{
	struct courier *c = owner_of(t, struct courier, patience);

	if (c->waits) {
		has_waited(c);
		return;
	}
	queue_not_idle(c->dest, &c->idle);
	say_goodbye(c);
}

/* ---- all connections to an address are taken: the courier waits, and the queue may do as if it were not there */

/* It is called, or ends. */
static void stop_waiting(struct courier *c)
{
	c->waits = false;
	list_remove(c->called ? &called : &waiters, &c->waiting);
	if (c->called)
		room_soon();
	c->called = false;
	task_cancel(&c->again);
	timer_stop(&c->patience);
	queue_waited(c->dest, &c->idle);
}

/* What it may send next. Nothing when the settings have changed since it began: its hosts, demands and connection are those of before, and
 * another courier will do it. */
static struct bundle *next_bundle(const struct courier *c) { return c->settings == renewed ? queue_next(c->dest) : NULL; }

/* There is something to send for one who has waited. False: no more, and the courier has ended. */
static bool begin_again(struct courier *c)
{
	struct bundle *b;

	stop_waiting(c);
	b = next_bundle(c);
	if (b && take_bundle(c, b))
		return true;
	if (b)
		bundle_fails(c, BLAME_SELF, &no_memory);
	courier_end(c);
	return false;
}

static void say_all_taken(struct courier *c)
{
	reply_set(&c->last, 0, "4.4.5", "all connections to %s are taken, and others wait for one, too", wanted_address(c)->host);
	str_copy(c->last_host, sizeof c->last_host, str_of(wanted_address(c)->host));
}

static void waited_in_vain(struct courier *c)
{
	if (!begin_again(c))
		return;
	say_all_taken(c);
	bundle_fails(c, BLAME_MESSAGE, &c->last);
	courier_end(c);
}

/* How good it is to go there now: mail leaves at once, or in a moment, where somebody talks already or is about to. */
enum merit { M_NOBODY_ANSWERS, M_NOBODY_THERE, M_CALLED, M_TALKING };
static enum merit merit(struct courier *c)
{
	enum merit best = M_NOBODY_THERE;

	for (struct node *x = list_first(&lines); x; x = list_next(&lines, x)) {
		const struct line *l = owner_of(x, struct line, node);

		if (!l->courier || !shares(l, c))
			continue;
		if (l->ready)
			return M_TALKING;
		best = loop_now() - l->since < YOUNG_MS ? M_CALLED : M_NOBODY_ANSWERS;
	}
	return best;
}

/* Of the hosts that are as good as the next one (RFC 5321 5.1: chance decides, which has put them in this order) the one where mail
 * leaves soonest comes to its place. */
static void choose_equal(struct courier *c)
{
	struct mx_address *at = c->hosts->at;
	size_t here = c->at, best = here;
	int most = -1;

	for (size_t i = here; i < c->hosts->n && at[i].rank == at[here].rank; i++) {
		c->at = i;
		if (may_call(c, &at[i]) && (int)merit(c) > most) {
			most = (int)merit(c);
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

/* A moment: another host may be better. Or long: what was in the way may still be there. Or all the time that there is. */
static void has_waited(struct courier *c)
{
	if (loop_now() - c->waits_since >= WAIT_MS) {
		waited_in_vain(c);
		return;
	}
	timer_set(&c->patience, LONG_MS);
	if (merit(c) < M_TALKING)
		choose_equal(c);
	if (may_have_another(c))
		call(c);
}

static void go_on(struct courier *, bool from_best);

/* Does anybody want this host's answer who has not had one elsewhere? */
static bool is_worth_waiting(const struct courier *c)
{
	for (size_t i = 0; i < c->bundle->n; i++)
		if (c->bundle->rcpt[i]->busy && !c->put_off[i])
			return true;
	return false;
}

static void wait_for_line(struct courier *c)
{
	struct bundle *b = c->bundle;

	c->unasked = true;
	riders_alight(c);
	if (!is_worth_waiting(c)) {
		bundle_fails(c, BLAME_RCPT, &c->last);
		go_on(c, true);
		return;
	}
	if (waiters.n == WAITERS_MAX) {
		say_all_taken(c);
		bundle_fails(c, BLAME_SELF, &c->last);
		courier_end(c);
		return;
	}
	hand_over_answers(c, BLAME_RCPT);
	c->unasked = c->at > 0 || c->hosts->partial;
	c->waits = true;
	list_push(&waiters, &c->waiting);
	c->waits_since = loop_now();
	c->served = 0;
	timer_set(&c->patience, YOUNG_MS);
	queue_wait(b, &c->idle);
}

/* ---- lines that several destinations share, one after the other: the same host with the same demands */

static bool same_way(const struct client_config *a, const struct client_config *b)
{
	/* What DNS says of a certificate holds for one domain (RFC 7672 3.2.2): such a line is not shared. */
	return a->tls != CLIENT_TLS_PINNED && a->tls == b->tls && a->unsure == b->unsure && a->lmtp == b->lmtp &&
		a->tls_first == b->tls_first && a->hearsay == b->hearsay && a->proxy == b->proxy && a->user == b->user && a->password == b->password &&
		a->no_chunking == b->no_chunking && a->no_pipelining == b->no_pipelining;
}

/* Would this line do for where the courier wants to go, once nobody else uses it? */
static bool shares(const struct line *l, struct courier *c)
{
	const struct mx_address *a = wanted_address(c);
	struct line mine = { .courier = c };

	if (l->lax || !same_address(&l->addr, &a->addr) || !str_eq_nocase(str_of(l->host), str_of(a->host)))
		return false;
	take_demands(&mine, a);
	mine.config = way_to(&c->route, (const struct sockaddr *)&a->addr, &mine);
	return !mine.lax && same_way(&l->config, &mine.config);
}

static bool suits(const struct line *l, struct courier *c)
{
	return client_usable(l->client) && shares(l, c);
}

/* Takes the line of a courier that has nothing to send; that courier ends. */
static void take_line(struct courier *c, struct courier *from)
{
	struct line *l = from->line;
	bool new_here = !str_eq_nocase(str_of(l->domain), str_of(c->route.domain));

	from->line = NULL;
	l->courier = c;
	c->line = l;
	c->served = 0;
	c->met = true;
	c->tried++;
	courier_end(from);
	if (new_here)
		tell_session(c);
	if (c->expanded)
		send_bundle(c);
	else
		look_for_aliases(c, false);
}

/* A courier that is idle on a line which would do. */
static struct courier *idle_on(struct courier *c)
{
	for (struct node *x = list_first(&lines); x; x = list_next(&lines, x)) {
		struct line *l = owner_of(x, struct line, node);

		if (l->courier && !l->courier->bundle && timer_armed(&l->courier->patience) && suits(l, c))
			return l->courier;
	}
	return NULL;
}

/* Others wait for a connection to this address. One that has nothing more to send, or has had its share, makes way: its line goes to the
 * first of them, or where that cannot be, is closed. True: the courier has ended or is about to. */
static bool give_away(struct courier *c)
{
	struct courier *w = c->line ? waiter_for(&c->line->addr, c->dest) : NULL;

	if (!w || !line_usable(c))
		return false;
	if (!suits(c->line, w)) {
		say_goodbye(c);
		return true;
	}
	if (!begin_again(w))
		return give_away(c);
	take_line(w, c);
	return true;
}

/* The next bundle over the same connection, or a little patience, or goodbye. from_best: with the best host again, on a
 * new connection. */
static void go_on(struct courier *c, bool from_best)
{
	struct bundle *b;

	if (!from_best && c->served >= FAIR_SHARE && give_away(c))
		return;
	b = next_bundle(c);
	if (!b && !from_best && give_away(c))
		return;
	if (!b && c->settings == renewed && line_usable(c) && !from_best && queue_idle(c->dest, &c->idle)) {
		timer_set(&c->patience, IDLE_MS);
		return;
	}
	if (!b) {
		say_goodbye(c);
		return;
	}
	c->last = (struct reply){ 0 };
	if (!take_bundle(c, b)) {
		bundle_fails(c, BLAME_SELF, &no_memory);
		courier_end(c);
		return;
	}
	look_for_aliases(c, from_best);
}

static size_t busy_in(const struct bundle *b)
{
	size_t n = 0;

	for (size_t i = 0; i < b->n; i++)
		n += b->rcpt[i]->busy;
	return n;
}

/* Recipients without a final result. */
static size_t left_open(const struct courier *c)
{
	size_t n = busy_in(c->bundle);

	for (size_t i = 0; i < c->nriders; i++)
		n += busy_in(c->rider[i].bundle);
	return n;
}

/* Who is still open is sent to: over the connection that there is, or another one. */
static void go_on_expanded(struct courier *c, bool its_turn)
{
	static const struct result none = { .reply = &no_memory };      /* nobody is left to have it */

	if (!left_open(c)) {
		bundle_ends(c, &none);
		go_on(c, c->from_best);
		return;
	}
	c->began_at = c->from_best ? 0 : c->at;
	if (c->facts) {                 /* where to is not known yet */
		task_post(&c->look);
		return;
	}
	if (line_usable(c) && !c->from_best && may_call(c, wanted_address(c))) {
		send_bundle(c);
		return;
	}
	leave_host(c);
	if (c->from_best) {
		c->at = 0;
		c->unasked = c->hosts->partial;
	}
	connect_from_here(c, its_turn);
}

static void aliases_have_gone(void *arg)
{
	struct courier *c = arg;
	bool its_turn = c->called;

	c->expanding = false;
	c->expanded = true;
	if (its_turn) {                 /* the place that was kept for it */
		list_remove(&called, &c->waiting);
		c->called = false;
		room_soon();            /* it may have no use for it */
	}
	go_on_expanded(c, its_turn);
}

static void look_for_aliases(struct courier *c, bool from_best)
{
	c->from_best = from_best;
	c->expanding = true;
	expand_bundle(c->bundle, aliases_have_gone, c);
}

static void something_came(struct idle *i)
{
	struct courier *c = owner_of(i, struct courier, idle);

	if (c->waits) {
		courier_end(c);
		return;
	}
	timer_stop(&c->patience);
	go_on(c, false);
}

/* ---- sending */

static struct courier *courier_of(struct client_job *j)
{
	return owner_of(j, struct courier, job);
}

static bool goes_alone(const struct courier *c, const struct mail *m) { return strcmp(c->alone, m->id) == 0; }
static void go_alone(struct courier *c, const struct mail *m) { str_copy(c->alone, sizeof c->alone, str_of(m->id)); }

/* The host's first address of another family than the one that is being called; hosts->n: there is none. */
static size_t other_family(const struct courier *c)
{
	const struct mx_address *now = wanted_address(c);
	size_t i = 0;

	while (i < c->hosts->n && (c->hosts->at[i].nth != now->nth || c->hosts->at[i].addr.ss_family == now->addr.ss_family))
		i++;
	return i;
}

static bool is_first_attempt(const struct bundle *b)
{
	for (size_t i = 0; i < b->n; i++)
		if (b->rcpt[i]->words.n)
			return false;
	return true;
}

/* Is it a refusal for reasons of policy (X.7), such as may be about the address that we call from, and can that be found out? A mail host is
 * often content with one family and not with the other. */
static bool may_be_about_address(const struct courier *c, const struct reply *r)
{
	return !strncmp(r->enhanced, "5.7.", 4) && c->route.kind == ROUTE_MX && !c->family_tried && !c->bundle->mixed && !c->nriders &&
		c->tried < ADDRESSES_TRIED && other_family(c) < c->hosts->n && is_first_attempt(c->bundle);
}

static void job_result(struct client_job *j, size_t i, const struct reply *reply)
{
	struct courier *c = courier_of(j);
	struct seat *s = &c->seat[i];
	struct put_off **said = &s->put_off[s->nth];
	struct result r = { .reply = reply, .host = client_peer(c->line->client), .tls = client_tls(c->line->client) };
	bool refused = reply->code >= 500 && !j->unfit;

	if (reply->code >= 200 && reply->code < 300) {
		c->line->proven = true;
		if (goes_alone(c, c->bundle->mail))     /* the mix was to blame */
			lame_note((const struct sockaddr *)&c->line->addr, LAME_MIX);
		r.what = RESULT_DELIVERED;
		r.handed = client_capabilities(c->line->client)->set & CAP_DSN ? HANDED_ON :
			c->route.kind == ROUTE_LMTP ? HANDED_DELIVERED : HANDED_RELAYED;
	} else if (refused && !c->nriders && !may_be_about_address(c, reply)) {
		r.what = RESULT_FAILED;
	} else if (j->unfit && *said) {
		return;                 /* who said "later" may still say yes */
	} else {                        /* another host may say yes, or this one to the domain alone */
		c->refused = c->refused || !j->unfit;
		if (!*said)
			*said = malloc(sizeof **said);
		if (*said) {
			(*said)->reply = *reply;
			(*said)->refused = refused && !c->nriders;
			str_copy((*said)->host, sizeof (*said)->host, str_of(r.host));
			return;
		}
		r.what = refused ? RESULT_FAILED : RESULT_DEFERRED;
	}
	queue_result(s->bundle, s->nth, &r);
}

/* Would another host do better? Not where a mixed transaction was answered: its recipients are asked for again by domain. One that is
 * not able to take the message was not asked, and has no other address that is. */
static bool wants_other_host(struct courier *c, const struct client_job *j, bool answered)
{
	size_t next = next_to_call(c, c->at + 1);

	while (j->unfit && next < c->hosts->n && c->hosts->at[next].nth == c->hosts->at[c->at].nth)
		next = next_to_call(c, next + 1);
	if (!left_open(c) || next == c->hosts->n || c->tried == ADDRESSES_TRIED)
		return false;
	if (!j->unfit && (c->asked >= HOSTS_ASKED || (answered && c->bundle->mixed)))
		return false;
	c->at = next;
	return true;
}

/* ---- a transaction for several domains: those that have the same hosts with the same demands, and are waiting for one of them */

static bool same_host(const struct courier *c, const struct mx_address *a, const struct courier *d, const struct mx_address *b)
{
	const struct mx_result *h = c->hosts, *other = d->hosts;

	return same_address(&a->addr, &b->addr) && str_eq_nocase(str_of(a->host), str_of(b->host)) &&
		a->rank == b->rank && rule_for(c, a) == rule_for(d, b) &&
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
	bool apart = !config->mix || c->settings != renewed || goes_alone(c, c->bundle->mail) || c->line->lax || c->route.kind != ROUTE_MX || c->passed_over ||
		(lame_noted((const struct sockaddr *)&c->line->addr) & LAME_MIX);

	return apart ? 1 : most ? most : MIX_RCPTS;
}

static bool may_ride(struct courier *w, struct courier *with)
{
	return w->dest != with->dest && w->settings == renewed && !goes_alone(w, with->bundle->mail) && !w->passed_over && w->route.kind == ROUTE_MX && shares(with->line, w) &&
		same_hosts(w, with);
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
static void riders_alight(struct courier *c)
{
	while (c->nriders) {
		struct rider *r = &c->rider[--c->nriders];

		tell_answers(c, r->bundle, r->put_off, BLAME_RCPT);
		free_answers(r->bundle, r->put_off);
		queue_give_back(r->bundle);
	}
}

static void take_riders(struct courier *c)
{
	size_t domains = domains_together(c), seats = left_open(c);

	if (c->nriders >= domains)
		riders_alight(c);
	for (struct node *x = list_first(&waiters), *next; x && c->nriders + 1 < domains; x = next) {
		struct courier *w = owner_of(x, struct courier, waiting);
		struct bundle *b = queue_ready(w->dest, c->bundle->mail);

		next = list_next(&waiters, x);
		if (!b || seats + b->n > MIX_RCPTS || expand_concerns(b) || !may_ride(w, c))
			continue;
		if (!board(c, b, seats + b->n))
			return;
		seats += b->n;
	}
}

/* Not the mix, but the transaction was put off: asking again in pieces would only press. */
static bool refused_as_one(const struct courier *c)
{
	const struct put_off *first = c->seat[0].put_off[c->seat[0].nth];

	for (size_t i = 0; i < c->job.n; i++)
		if (!same_words(c->seat[i].put_off[c->seat[i].nth], first) || first->reply.code >= 500)
			return false;
	return true;
}

static struct courier *waiter_of(const struct dest *d)
{
	for (struct node *x = list_first(&waiters); x; x = list_next(&waiters, x))
		if (owner_of(x, struct courier, waiting)->dest == d)
			return owner_of(x, struct courier, waiting);
	return NULL;
}

/* Who was refused beside other domains may not be, alone: each is asked for again at once, before that counts. */
static void go_apart(struct courier *c)
{
	static const struct result none = { .reply = &no_memory };      /* nobody is left to have it */

	for (size_t i = 0; i < c->job.n; i++) {
		struct put_off **said = &c->seat[i].put_off[c->seat[i].nth];

		free(*said);
		*said = NULL;
	}
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
	if (left_open(c)) {
		go_alone(c, c->bundle->mail);
		send_bundle(c);
		return;
	}
	bundle_ends(c, &none);
	go_on(c, false);
}

/* What the next connection to this address should know. */
static void note_lame(struct line *l)
{
	const struct sockaddr *addr = (const struct sockaddr *)&l->addr;
	size_t rcpt_max = client_rcpt_max(l->client);
	unsigned what = (client_lame(l->client) & CLIENT_LAME_CHUNKING ? LAME_CHUNKING : 0) |
		(client_lame(l->client) & CLIENT_LAME_PIPELINING ? LAME_PIPELINING : 0);

	if (what)
		lame_note(addr, what);
	if (rcpt_max != l->config.rcpt_max)
		lame_note_most(addr, LAME_RCPTS, rcpt_max);
	l->config.rcpt_max = rcpt_max;
}

static void took_so_long(struct line *l, msec ms)
{
	if (!l->proven)
		return;
	l->took = l->took ? (3 * l->took + ms) / 4 : ms;
	room_soon();
}

/* All were refused, and another family of addresses may change that: once, in the same attempt. Else those who were are told so. */
static bool calls_other_family(struct courier *c, const struct client_job *j)
{
	size_t n = 0;

	for (size_t i = 0; i < j->n; i++) {
		const struct put_off *p = c->seat[i].put_off[c->seat[i].nth];

		n += p && p->refused;
	}
	if (n == j->n) {
		log_event(LOG_INFO, "other-family", LF(L_TEXT("id", j->id), L_TEXT("relay", c->last_host),
			L_TEXT("reason", c->seat[0].put_off[c->seat[0].nth]->reply.text)));
		c->family_tried = c->chance = true;
		c->at = other_family(c);
		leave_host(c);
		connect_next(c);
		return true;
	}
	for (size_t i = 0; n && i < j->n; i++) {
		struct put_off **said = &c->seat[i].put_off[c->seat[i].nth], *p = *said;

		if (!p || !p->refused)
			continue;
		queue_result(c->seat[i].bundle, c->seat[i].nth, &(struct result){ .what = RESULT_FAILED, .reply = &p->reply, .host = p->host });
		free(p);
		*said = NULL;
	}
	return false;
}

static void job_done(struct client_job *j, const struct reply *why, bool untried)
{
	struct courier *c = courier_of(j);
	bool mix_refused = c->nriders && c->refused && !why && !refused_as_one(c);

	c->sending = false;
	note_lame(c->line);
	took_so_long(c->line, loop_now() - c->sent);
	remember(c, client_peer(c->line->client), why ? why : &(struct reply){ .text = "no result" });
	if (untried && left_open(c) < j->n)     /* so it cannot go on for ever */
		c->tried = 0;
	if (untried && c->tried < ADDRESSES_TRIED) {    /* the same host again, on a new connection */
		leave_host(c);
		connect_next(c);
		return;
	}
	if (why && client_is_our_trouble(why)) {        /* no other host would get on better */
		bundle_fails(c, j->unreadable ? BLAME_MESSAGE : BLAME_SELF, &c->last);
		go_on(c, true);
		return;
	}
	if (mix_refused) {
		go_apart(c);
		return;
	}
	if (!c->family_tried && !c->nriders && j->n && calls_other_family(c, j))
		return;
	c->chance = false;
	c->asked++;
	c->unasked = c->unasked || why;
	/* RFC 5321 4.5.3.2.6: who may have the message already is asked again later; another host would deliver it now. */
	if (!j->doubtful && wants_other_host(c, j, !why)) {
		leave_host(c);
		connect_next(c);
		return;
	}
	/* It is kept on a host that cannot, and one before it may be back. */
	if (j->unfit && c->began_at > 0 && c->unasked) {
		leave_host(c);
		c->at = c->began_at = 0;
		c->unasked = c->hosts->partial;
		connect_next(c);
		return;
	}
	bundle_fails(c, why ? BLAME_TALK : BLAME_RCPT, &c->last);
	go_on(c, c->asked > 1 || why);
}

static void seat_bundle(struct courier *c, struct bundle *b, struct put_off **put_off, size_t *n)
{
	for (size_t i = 0; i < b->n; i++) {
		if (!b->rcpt[i]->busy)
			continue;
		c->to[*n] = &b->rcpt[i]->to;
		c->seat[(*n)++] = (struct seat){ b, i, put_off };
	}
}

static void send_bundle(struct courier *c)
{
	struct bundle *b = c->bundle;
	size_t n = 0;

	if (!c->chance)
		take_riders(c);
	seat_bundle(c, b, c->put_off, &n);
	for (size_t i = 0; i < c->nriders; i++)
		seat_bundle(c, c->rider[i].bundle, c->rider[i].put_off, &n);
	c->refused = false;
	c->served++;
	c->sent = loop_now();
	c->job = (struct client_job){
		.from = &b->mail->from, .n = n, .to = c->to, .fd = b->mail->fd, .at = b->mail->at, .size = b->mail->size,
		.id = b->mail->id, .result = job_result, .done = job_done,
	};
	c->sending = client_send(c->line->client, &c->job);
	if (c->sending)
		return;
	leave_host(c);                  /* it was closed under us: a new connection */
	connect_next(c);
}

/* ---- what came of TLS, for reports (RFC 8460) */

static void print_pins(struct buf *out, const struct tls_pins *pins)
{
	for (size_t i = 0; i < pins->n; i++) {
		const struct tls_pin *p = &pins->pin[i];

		buf_printf(out, "%s%u %u %u ", i ? "," : "", p->usage, p->key_only, p->hash == HASH_SHA512 ? 2 : 1);
		for (size_t k = 0; k < hash_size(p->hash); k++)
			buf_printf(out, "%02x", p->digest[k]);
	}
}

/* Of hosts that the DNS names alone, and of what is demanded of them by their own domain: not where the administrator wants no TLS, or a
 * certificate that he names or believes, nor where an attempt is made again with less. */
static bool counts(const struct courier *c, const struct mx_address *a)
{
	const struct tls_rule *rule = rule_for(c, a);

	return config->note_tls && c->route.kind == ROUTE_MX && c->route.domain[0] != '[' && !(c->passed_over >> a->nth & 1) &&
		!is_level(rule, TLS_LEVEL_NONE) && !is_level(rule, TLS_LEVEL_VERIFY) && !is_level(rule, TLS_LEVEL_FINGERPRINT);
}

static void tell_tls(const struct courier *c, const struct mx_address *a, enum tlsrpt_result result, const char *why)
{
	const struct dane *dane = &c->hosts->dane[a->nth];
	struct buf policy = { 0 };
	char ip[INET6_ADDRSTRLEN] = "";
	const void *octets = a->addr.ss_family == AF_INET6 ? (const void *)&((const struct sockaddr_in6 *)(const void *)&a->addr)->sin6_addr :
		&((const struct sockaddr_in *)(const void *)&a->addr)->sin_addr;
	struct tlsrpt_session s = { .time = loop_wall(), .domain = str_of(c->route.domain), .mx = str_of(a->host), .result = result, .why = str_of(why),
		.type = dane->demand != DANE_NONE ? TLSRPT_TLSA : c->hosts->policy != MTASTS_NONE || c->hosts->unfetched[0] ? TLSRPT_STS :
			TLSRPT_NO_POLICY };

	if (s.type == TLSRPT_STS && c->hosts->unfetched[0]) {
		s.result = TLSRPT_STS_NOT_FETCHED;
		s.why = str_of(c->hosts->unfetched);
	}
	inet_ntop(a->addr.ss_family, octets, ip, sizeof ip);
	s.ip = str_of(ip);
	print_pins(&policy, &dane->pins);
	s.policy = buf_view(&policy);
	config->note_tls(&s);
	buf_free(&policy);
}

/* The connection is ready, and the courier's: in clear, that is since the host offers nothing else. */
static void tell_session(const struct courier *c)
{
	const struct mx_address *a = wanted_address(c);

	if (c->line->lax || c->line->config.tls == CLIENT_TLS_NO || !counts(c, a))
		return;
	if (!*client_tls(c->line->client))
		tell_tls(c, a, TLSRPT_NO_STARTTLS, "STARTTLS is not offered");
	else if (c->hosts->dane[a->nth].demand == DANE_ENCRYPT)
		tell_tls(c, a, TLSRPT_TLSA_INVALID, "none of the TLSA records can be used; the session was encrypted all the same");
	else
		tell_tls(c, a, TLSRPT_OK, "");
}

static void tell_failure(const struct courier *c, const struct client *client, bool lax, const char *why)
{
	static const enum tlsrpt_result of[] = {
		[TLS_FAULT_OTHER] = TLSRPT_FAILED, [TLS_FAULT_HOST] = TLSRPT_OTHER_HOST, [TLS_FAULT_EXPIRED] = TLSRPT_EXPIRED,
		[TLS_FAULT_NOT_TRUSTED] = TLSRPT_NOT_TRUSTED,
	};
	const struct mx_address *a = wanted_address(c);

	if (!lax && counts(c, a))
		tell_tls(c, a, client_tls_missing(client) ? TLSRPT_NO_STARTTLS : of[client_tls_fault(client)], why);
}

/* A host that was not asked, or not as the policy has it. */
static void tell_passed_over(const struct courier *c, const struct mx_address *a, enum tlsrpt_result result, const char *why)
{
	if (counts(c, a))
		tell_tls(c, a, result, why);
}

/* RFC 7672 2.1.2: a host that is left out since DNSSEC says neither yes nor no. */
static void tell_unknown(const struct courier *c)
{
	const struct mx_result *hosts = c->hosts;

	if (config->note_tls && hosts->unknown_tls[0])
		config->note_tls(&(struct tlsrpt_session){ .time = loop_wall(), .domain = str_of(c->route.domain), .type = TLSRPT_TLSA,
			.result = TLSRPT_DNSSEC_INVALID, .mx = str_of(hosts->unknown_tls), .why = str_of(hosts->why.text) });
}

/* ---- connecting */

static bool is_level(const struct tls_rule *, enum tls_level);

/* Where TLS was seen before and the peer does without now, somebody may have taken STARTTLS out of what it offers. */
static void note_tls(const struct line *l)
{
	const struct courier *c = l->courier;
	struct str domain = str_of(c->route.domain);
	int64_t seen;
	char date[40];

	if (c->route.kind != ROUTE_MX)
		return;
	if (client_tls(l->client)[0]) {
		tlsseen_note(domain, loop_wall());
		return;
	}
	if (is_level(l->rule, TLS_LEVEL_NONE) || (config->tls == CLIENT_TLS_NO && !is_level(l->rule, TLS_LEVEL_MAY)))
		return;
	seen = tlsseen_lost(domain, loop_wall());
	if (seen)
		log_event(LOG_WARN, "tls-downgrade", LF(L_TEXT("domain", c->route.domain), L_TEXT("relay", client_peer(l->client)),
			L_STR("seen", ((struct str){ clock_rfc3339(seen, date), 10 })),
			L_TEXT("remedy", "if it should not be so, write tls = DOMAIN encrypt: then its mail waits")));
}

static void client_is_ready(struct client *client, void *arg)
{
	struct line *l = arg;

	(void)client;
	l->ready = true;
	note_tls(l);
	l->courier->met = true;
	l->courier->fresh_token = false;
	tell_session(l->courier);
	send_bundle(l->courier);
}

/* TLS is there to keep listeners out, not to keep mail back: the same address again, in clear. */
static void without_tls(struct courier *c, struct client *client, const struct reply *why)
{
	log_event(LOG_INFO, "tls-failed", LF(L_TEXT("relay", client_peer(client)), L_NUM("code", why->code), L_TEXT("reason", why->text)));
	lame_note((const struct sockaddr *)&c->hosts->at[c->at].addr, LAME_TLS);
	c->tried--;
	connect_next(c);
}

/* RFC 8461 5: a policy that is being tested keeps no mail back, but somebody should hear of it. Once for a host and a courier. */
static void test_failed(struct courier *c, const struct mx_address *a, const char *why)
{
	c->passed_over |= (uint32_t)1 << a->nth;
	log_event(LOG_INFO, "policy-test-failed", LF(L_TEXT("domain", c->route.domain), L_TEXT("host", a->host), L_TEXT("reason", why)));
}

static bool demands_certificate(const struct tls_rule *r) { return r && r->level >= TLS_LEVEL_VERIFY; }

static void name_rule(struct courier *c, const struct tls_rule *r)
{
	struct reply why = c->last;

	reply_set(&c->last, why.code, why.enhanced, "the setting tls = %s %s is not met: %s", r->name, tls_level_name(r->level), why.text);
}

static void name_policy(struct courier *c)
{
	struct reply why = c->last;

	reply_set(&c->last, why.code, why.enhanced, "the policy of %s (MTA-STS, enforce) demands TLS and a certificate that is good for its mail host: %s",
		c->route.domain, why.text);
}

/* Name and password, or a proxy, are ours to put right: no host that takes the same ones would do better, and the mail waits without losing
 * attempts. Said loudly when it is news, and again after an hour. */
static void our_setup_fails(struct courier *c, const char *what, const struct reply *why, const char *remedy)
{
	static char said[REPLY_TEXT];
	static int64_t when;

	if (strcmp(said, why->text) != 0 || loop_wall() - when >= 3600) {
		log_event(LOG_ERROR, what, LF(L_TEXT("relay", c->last_host), L_TEXT("reason", why->text), L_TEXT("remedy", remedy)));
		str_copy(said, sizeof said, str_of(why->text));
		when = loop_wall();
	}
	bundle_fails(c, BLAME_SETUP, why);
	courier_end(c);
}

static void not_let_in(struct courier *c, const struct reply *why)
{
	our_setup_fails(c, "login-failed", why, "put user and password, or token_command, of the route right; the mail for it waits");
}

/* As mx_find() has it of addresses (RFC 5321 5.1), where ours are not known, as behind a router that translates them: whom we are a worse host
 * for has a better one, which the mail waits for. A route is for the administrator to put right. */
static void loops(struct courier *c, const struct reply *why)
{
	bool best = wanted_address(c)->nth == 0 && !c->hosts->partial;
	struct reply loop;

	if (c->route.kind != ROUTE_MX) {
		our_setup_fails(c, "loop", why, "the route leads back to this host; the mail for it waits");
		return;
	}
	log_event(LOG_WARN, "loop", LF(L_TEXT("domain", c->route.domain), L_TEXT("relay", c->last_host)));
	reply_set(&loop, best ? 554 : 0, best ? "5.4.6" : "4.4.6", "mail for %s loops back to this host (%s), where %s is neither a local domain nor routed",
		c->route.domain, c->last_host, c->route.domain);
	if (best)
		bundle_ends(c, &(struct result){ .what = RESULT_FAILED, .reply = &loop, .host = c->last_host });
	else
		bundle_fails(c, BLAME_DEST, &loop);
	courier_end(c);
}

/* It may have run out since it was got: another one is asked for, once. False: this one was new. */
static bool token_again(struct courier *c, const struct line *l)
{
	if (!l->token)
		return false;
	token_refuse(l->token);
	return !c->fresh_token;
}

/* An address that has taken others of our connections and not this one: no more than those, from now on. */
static bool is_one_too_many(const struct line *l)
{
	size_t others = 0;

	for (struct node *x = list_first(&lines); x; x = list_next(&lines, x)) {
		const struct line *other = owner_of(x, struct line, node);

		others += other != l && other->ready && same_address(&other->addr, &l->addr);
	}
	if (others)
		lame_note_most((const struct sockaddr *)&l->addr, LAME_LINES, others);
	return others > 0;
}

/* The address could not be used: who waits for it goes on to the next one, or nobody would but one after the other. */
static void tell_waiters(const struct line *l, const char *host, const struct reply *why)
{
	for (struct node *x = list_first(&waiters), *next; x; x = next) {
		struct courier *w = owner_of(x, struct courier, waiting);

		next = list_next(&waiters, x);
		if (!same_address(&wanted_address(w)->addr, &l->addr))
			continue;
		remember(w, host, why);
		w->in_vain = true;
		call(w);
	}
}

static void client_is_gone(struct client *client, void *arg, const struct reply *why)
{
	struct line *l = arg;
	struct courier *c = l->courier;
	bool again = c && c->bundle && client_login_failed(client) && token_again(c, l);
	bool may_go_without = l->config.tls == CLIENT_TLS_MAY, tls_failed = client_tls_failed(client) || client_tls_missing(client);
	enum mtasts_mode policy = l->config.tls == CLIENT_TLS_VERIFY || l->config.verify_too ? l->policy : MTASTS_NONE;
	const struct tls_rule *rule = l->rule && l->rule->level >= TLS_LEVEL_ENCRYPT ? l->rule : NULL;
	bool useless = c && !l->ready && !tls_failed && !client_login_failed(client) && !client_proxy_failed(client) && !client_is_our_trouble(why);
	bool crowded = useless && is_one_too_many(l), lax = l->lax;

	if (useless && !crowded)
		tell_waiters(l, client_peer(client), why);
	if (c)
		part(c);
	line_free(l);
	if (!c || c->expanding)
		return;                 /* a new connection is made when the aliases have gone */
	if (c->bundle && tls_failed)
		tell_failure(c, client, lax, why->text);
	if (c->bundle && tls_failed && may_go_without) {
		without_tls(c, client, why);
		return;
	}
	if (c->bundle && tls_failed && policy == MTASTS_TESTING) {
		test_failed(c, wanted_address(c), why->text);
		c->tried--;
		connect_next(c);                /* the same address, as without a policy */
		return;
	}
	if (c->bundle && crowded) {             /* it waits for one of the others */
		c->tried--;
		connect_next(c);
		return;
	}
	remember(c, client_peer(client), why);
	if (tls_failed && rule && (demands_certificate(rule) || client_tls_missing(client)))
		name_rule(c, rule);
	else if (tls_failed && policy == MTASTS_ENFORCE)
		name_policy(c);
	if (again) {
		c->tried--;
		connect_next(c);
		return;
	}
	if (c->bundle && client_login_failed(client)) {
		not_let_in(c, why);
		return;
	}
	if (c->bundle && client_is_self(client)) {
		loops(c, why);
		return;
	}
	if (c->bundle && client_proxy_failed(client)) {
		our_setup_fails(c, "proxy-failed", why, "look at the proxy, or put the setting right; what goes through it waits");
		return;
	}
	if (!c->bundle) {               /* after our QUIT */
		courier_end(c);
		return;
	}
	if (client_is_our_trouble(why)) {
		bundle_fails(c, BLAME_SELF, why);
		courier_end(c);
		return;
	}
	if (c->chance) {                /* it had one, and what was said stands */
		no_host(c);
		return;
	}
	c->unasked = true;
	c->at++;
	connect_next(c);
}

static const struct client_events events = { .ready = client_is_ready, .gone = client_is_gone };

/* No address is left. Whether a greeting said 4xx or 5xx, the host was not asked about this mail: it waits. */
static void no_host(struct courier *c)
{
	struct reply why = c->last;

	if (!why.text[0])
		reply_set(&why, 0, "4.4.1", "no host of the destination could be reached");
	if (why.code >= 500)
		reply_set(&why, 0, "4.3.2", "no host of the destination talks to us; the last said: %d %s", c->last.code, c->last.text);
	bundle_fails(c, c->met ? BLAME_TALK : c->unbound && c->unbound == c->tried ? BLAME_SETUP : BLAME_DEST, &why);
	courier_end(c);
}

/* RFC 8689 5: the sender would rather have it read by others than not delivered: "TLS-Required: No", the one field of that name. */
static bool waives_tls(const struct mail *m)
{
	static char text[HEADER_LOOKED_AT];
	struct str rest = { text, (size_t)(m->size < HEADER_LOOKED_AT ? m->size : HEADER_LOOKED_AT) };
	struct field f;
	bool waives = false;

	if (m->from.requiretls || file_pread(m->fd, text, rest.n, m->at) != (ssize_t)rest.n)
		return false;
	rest.n = header_length(rest);
	if (header_count(rest, STR("TLS-Required")) != 1)
		return false;
	while (header_next(&rest, &f))
		if (str_eq_nocase(f.name, STR("TLS-Required")))
			waives = str_eq_nocase(str_trim(f.value), STR("No"));
	return waives;
}

static const struct tls_rule *rule_for(const struct courier *c, const struct mx_address *a)
{
	return tls_rule_of(config->tls_rules, &c->route, a->nth);
}

/* What the administrator, DNSSEC and the domain's policy demand of this host. */
static void take_demands(struct line *l, const struct mx_address *a)
{
	const struct courier *c = l->courier;
	const struct mx_result *hosts = c->hosts;
	bool tested = hosts->allowed[a->nth] && !(c->passed_over >> a->nth & 1);

	l->rule = rule_for(c, a);
	l->dane = hosts->dane[a->nth];
	l->policy = hosts->policy == MTASTS_ENFORCE || tested ? hosts->policy : MTASTS_NONE;
	l->lax = (l->dane.demand != DANE_NONE || l->policy != MTASTS_NONE) && c->bundle && waives_tls(c->bundle->mail);
	if (!l->lax)
		return;
	/* The sender waives what the recipient's domain says, not what the administrator does. */
	l->policy = MTASTS_NONE;
	if (!is_level(l->rule, TLS_LEVEL_DANE))
		l->dane.demand = DANE_NONE;
}

/* All that is demanded holds: none takes anything from the others. But a certificate that DNS names needs no authority's word for a policy's
 * sake (RFC 8461 2). */
static void demand(struct client_config *c, const struct route *r, struct line *l)
{
	const struct tls_rule *rule = l->rule;
	bool by_dane = l->dane.demand == DANE_VERIFY, named = is_level(rule, TLS_LEVEL_FINGERPRINT);
	bool ours = r->tls == ROUTE_TLS_VERIFY || is_level(rule, TLS_LEVEL_VERIFY);

	c->unsure = l->courier->hosts->unsure;
	c->verify_too = ours || (l->policy != MTASTS_NONE && !by_dane);
	c->hearsay = r->kind == ROUTE_MX && l->policy == MTASTS_NONE && is_level(rule, TLS_LEVEL_VERIFY);
	c->pins = by_dane ? &l->dane.pins : NULL;
	c->fingerprints = named ? &rule->pins : NULL;
	str_copy(l->domain, sizeof l->domain, str_of(l->courier->route.domain));
	c->domain = l->domain[0] ? l->domain : NULL;
	c->alias_for = by_dane && l->dane.base[0] ? l->dane.base : NULL;
	if (by_dane || named)
		c->tls = CLIENT_TLS_PINNED;
	else if (c->verify_too)
		c->tls = CLIENT_TLS_VERIFY;
	else if (r->tls == ROUTE_TLS_ENCRYPT || l->dane.demand == DANE_ENCRYPT || is_level(rule, TLS_LEVEL_ENCRYPT))
		c->tls = CLIENT_TLS_MUST;
	else if (r->kind == ROUTE_LMTP || is_level(rule, TLS_LEVEL_NONE))
		c->tls = CLIENT_TLS_NO;
	else if (is_level(rule, TLS_LEVEL_MAY))
		c->tls = CLIENT_TLS_MAY;
}

/* NULL: this host may be called. Else the words: RFC 8461 5: a policy that is enforced allows the hosts that it names and no others. But one
 * that DNSSEC vouches for is the domain's own word, too; and a message may ask that policies be passed over. */
static const char *not_to_call(const struct courier *c, const struct mx_address *a, struct reply *why)
{
	bool vouched = c->hosts->dane[a->nth].demand == DANE_VERIFY;

	if (is_level(rule_for(c, a), TLS_LEVEL_DANE) && !vouched) {
		reply_set(why, 0, "4.7.5", "the setting tls = %s dane is not met: there are no TLSA records of %s that can be used and that DNSSEC "
			"vouches for, all the way from the domain", rule_for(c, a)->name, a->host[0] ? a->host : "an address");
		return why->text;
	}
	if (c->hosts->policy != MTASTS_ENFORCE || c->hosts->allowed[a->nth] || vouched || (c->bundle && waives_tls(c->bundle->mail)))
		return NULL;
	reply_set(why, 0, "4.7.5", "%s is not among the mail hosts that the policy of %s (MTA-STS, enforce) names", a->host, c->route.domain);
	return why->text;
}

static bool may_call(const struct courier *c, const struct mx_address *a)
{
	struct reply why;

	return !not_to_call(c, a, &why);
}

/* The first place from `at` on that may be called; hosts->n: none. */
static size_t next_to_call(const struct courier *c, size_t at)
{
	while (at < c->hosts->n && !may_call(c, &c->hosts->at[at]))
		at++;
	return at;
}

/* NULL: it is to be asked for first. */
static const char *known_token(const struct route_login *login)
{
	const struct token *t = token_known(login->command);

	return t ? token_text(t) : NULL;
}

static struct client_config way_to(const struct route *r, const struct sockaddr *addr, struct line *l)
{
	struct client_config c = { .hostname = config->hostname, .marker = config->marker, .lmtp = r->kind == ROUTE_LMTP, .tls = config->tls, .tls_first = r->tls_first };
	unsigned lame = lame_noted(addr);

	demand(&c, r, l);
	if (c.tls == CLIENT_TLS_MAY && (lame & LAME_TLS))
		c.tls = CLIENT_TLS_NO;
	c.rcpt_max = lame_most(addr, LAME_RCPTS);
	c.source = config->source;
	c.proxy = r->proxy ? r->proxy : r->kind == ROUTE_MX ? config->proxy : NULL;
	c.no_chunking = lame & LAME_CHUNKING;
	c.no_pipelining = lame & LAME_PIPELINING;
	c.trust = config->trust;
	if (r->login) {
		c.user = r->login->user;
		c.token = r->login->command[0] != '\0';
		c.password = c.token ? known_token(r->login) : r->login->password;
	}
	return c;
}

static bool connect_to(struct courier *c, const struct mx_address *a)
{
	const struct sockaddr *addr = (const struct sockaddr *)&a->addr;
	struct line *l = calloc(1, sizeof *l);

	if (!l)
		return false;
	l->courier = c;
	l->since = loop_now();
	l->proven = c->proven && same_address(&c->left, &a->addr);
	l->took = c->took;
	l->addr = a->addr;
	str_copy(l->host, sizeof l->host, str_of(a->host));
	take_demands(l, a);
	l->config = way_to(&c->route, addr, l);
	if (l->config.token)
		l->token = token_hold(token_known(c->route.login->command));
	l->client = client_open(&l->config, addr, a->len, a->host, &events, l);
	if (!l->client) {
		int saved = errno;

		token_drop(l->token);
		free(l);
		errno = saved;
		return false;
	}
	c->line = l;
	list_push(&lines, &l->node);
	return true;
}

static const char not_among_them[] = "it is not among the hosts that the policy names";

/* False: a rule of ours or the domain's policy does not allow this host. */
static bool look_at_policy(struct courier *c, const struct mx_address *a)
{
	struct reply why;

	if (c->hosts->policy == MTASTS_TESTING && !c->hosts->allowed[a->nth] && !(c->passed_over >> a->nth & 1)) {
		tell_passed_over(c, a, TLSRPT_FAILED, not_among_them);
		test_failed(c, a, not_among_them);
	}
	if (!not_to_call(c, a, &why))
		return true;
	tell_passed_over(c, a, is_level(rule_for(c, a), TLS_LEVEL_DANE) ? TLSRPT_DANE_REQUIRED : TLSRPT_FAILED, why.text);
	if (c->last.text[0])            /* what a host said that may be asked tells more */
		return false;
	str_copy(c->last_host, sizeof c->last_host, str_of(a->host));
	c->last = why;
	return false;
}

/* The system refuses a socket. Where it lacks something, no other address would do better. False: the courier has ended. */
static bool can_go_on(struct courier *c, const struct mx_address *a, int error)
{
	c->unasked = true;
	reply_set(&c->last, 0, "", "connect to %s: %s", a->host, strerror(error));
	str_copy(c->last_host, sizeof c->last_host, str_of(a->host));
	if (error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM) {
		bundle_fails(c, BLAME_SELF, &c->last);
		courier_end(c);
		return false;
	}
	c->unbound += error == EADDRNOTAVAIL;   /* source_address is none of this machine's; there may be one of the other family */
	return true;
}

/* ---- the token to log in with */

static void token_came(struct token_question *q, const char *why)
{
	struct courier *c = owner_of(q, struct courier, token);
	struct reply fault;

	c->fresh_token = true;
	if (!why) {
		connect_next(c);
		return;
	}
	reply_set(&fault, 0, "4.7.8", "the token_command of the route has given no token: %s", why);
	str_copy(c->last_host, sizeof c->last_host, str_of(wanted_address(c)->host));
	not_let_in(c, &fault);
}

static void ask_for_token(struct courier *c)
{
	c->token.done = token_came;
	if (c->fresh_token) {           /* so it cannot go on for ever */
		token_came(&c->token, "it was over before it could be used");
		return;
	}
	if (token_ask(&c->token, c->route.login->command))
		return;
	bundle_fails(c, BLAME_SELF, &no_memory);
	courier_end(c);
}

/* Who waits goes first, but for who was called, or has another connection in place of one. */
static bool has_place(struct courier *c, bool its_turn)
{
	const struct sockaddr_storage *addr = &wanted_address(c)->addr;
	bool replaces = c->replaces && same_address(&c->left, addr);

	c->replaces = false;
	if (its_turn || (replaces && !full(addr)))
		return true;
	call_waiters();
	return may_have_another(c) || (waiters.n == WAITERS_MAX && !full(addr));
}

/* its_turn: it was called, and there is room at the first address. */
static void connect_from_here(struct courier *c, bool its_turn)
{
	for (; c->at < c->hosts->n && c->tried < ADDRESSES_TRIED; c->at++, its_turn = false) {
		const struct mx_address *a = wanted_address(c);
		struct courier *other;

		if (!its_turn && !c->replaces)
			choose_equal(c);
		if (!look_at_policy(c, a))
			continue;
		other = idle_on(c);
		if (other) {
			take_line(c, other);
			return;
		}
		if (!has_place(c, its_turn)) {
			wait_for_line(c);
			return;
		}
		if (c->route.login && c->route.login->command[0] && !token_known(c->route.login->command)) {
			ask_for_token(c);
			return;
		}
		c->tried++;
		if (connect_to(c, a) || !can_go_on(c, a, errno))
			return;
		if (c->chance)
			break;
	}
	no_host(c);
}

static void connect_next(struct courier *c) { connect_from_here(c, false); }

static void is_called(struct task *t)
{
	struct courier *c = owner_of(t, struct courier, again);

	if (!begin_again(c))
		return;
	if (c->in_vain) {
		c->in_vain = false;
		c->unasked = true;
		c->at++;
		look_for_aliases(c, false);
		return;
	}
	c->called = true;
	list_push(&called, &c->waiting);
	look_for_aliases(c, false);
}

/* ---- finding the hosts */

/* A configured host that the DNS does not know, or gives no address, is for the administrator; no resolver at all is a fault of the machine. */
static enum blame blame_for_no_hosts(const struct courier *c)
{
	if (!c->hosts->local_fault)
		return BLAME_DEST;
	return c->route.kind == ROUTE_MX || c->hosts->partial ? BLAME_SELF : BLAME_SETUP;
}

static void no_hosts_known(struct courier *c, const struct reply *why)
{
	bool final = why->code >= 500 && !c->hosts->local_fault;

	if (final)
		bundle_ends(c, &(struct result){ .what = RESULT_FAILED, .reply = why });
	else
		bundle_fails(c, blame_for_no_hosts(c), why);
}

static void find_route(struct courier *c, const struct bundle *b)
{
	struct str domain = str_of(dest_domain(b->dest)), order = str_of(dest_way(b->dest)->order);

	if (order.n)
		c->misled = route_to(config->routes, order, domain, &c->route);
	else
		route_find(config->routes, domain, &b->mail->from.addr, &c->route);
}

/* Nothing is sent before the order is mended. */
static void order_is_wrong(struct courier *c)
{
	struct reply why;

	reply_set(&why, 0, "4.3.5", "the way that is ordered for it, %s, is none: %s", dest_way(c->dest)->order, c->misled);
	bundle_fails(c, BLAME_SETUP, &why);
	courier_end(c);
}

static void look_for_hosts(struct task *t)
{
	struct courier *c = owner_of(t, struct courier, look);

	if (!c->hosts || !c->facts || !c->put_off) {
		bundle_fails(c, BLAME_SELF, &no_memory);
		courier_end(c);
		return;
	}
	if (c->misled) {
		order_is_wrong(c);
		return;
	}
	switch (mx_find(c->facts, &c->route, &c->self, c->seed, c->hosts)) {
	case WAIT:
		return;
	case ACCEPT:
		tell_unknown(c);
		facts_free(c->facts);   /* no answer that is still on its way may wake us again */
		c->facts = NULL;
		c->unasked = c->hosts->partial;
		connect_next(c);
		return;
	case REFUSE:
		tell_unknown(c);
		break;
	}
	no_hosts_known(c, &c->hosts->why);
	courier_end(c);
}

static void courier_deliver(struct transport *t, struct bundle *b)
{
	struct courier *c = calloc(1, sizeof *c);

	(void)t;
	if (!c)
		abort();        /* the bundle could not even be given back; what was accepted is on disk */
	c->dest = b->dest;
	c->settings = renewed;
	c->look.run = look_for_hosts;
	c->again.run = is_called;
	c->idle.wanted = something_came;
	c->patience.expired = patience_ends;
	c->seed = rand_u64();
	find_route(c, b);
	c->self = *config->self;
	tls_rules_ask(config->tls_rules, &c->route, &c->self);
	c->hosts = calloc(1, sizeof *c->hosts);
	c->facts = facts_new(&c->look, MX_LOOKUPS);
	if (!c->hosts || !c->facts || !take_bundle(c, b)) {
		c->bundle = b;
		task_post(&c->look);    /* what memory refused is seen there */
		return;
	}
	look_for_aliases(c, false);
}

const struct client_config *courier_demands(const struct route *route, struct mx_result *hosts, size_t at, struct reply *why)
{
	static struct courier c;
	static struct line l;

	c = (struct courier){ .route = *route, .hosts = hosts, .at = at };
	l = (struct line){ .courier = &c };
	if (not_to_call(&c, &hosts->at[at], why))
		return NULL;
	take_demands(&l, &hosts->at[at]);
	l.config = way_to(&c.route, (const struct sockaddr *)&hosts->at[at].addr, &l);
	return &l.config;
}

void courier_measure(size_t most, void (*each)(void *arg, const char *host, const char *domain, const char *id, unsigned served), void *arg)
{
	for (struct node *x = lines.head.next ? list_first(&lines) : NULL; x && most; x = list_next(&lines, x), most--) {
		const struct line *l = owner_of(x, struct line, node);
		const struct courier *c = l->courier;

		each(arg, l->host, c ? dest_domain(c->dest) : l->domain, c && c->bundle ? c->bundle->mail->id : "", c ? c->served : 0);
	}
}

/* ---- ways */

static struct transport remote = { .name = "smtp", .couriers = COURIERS_REMOTE, .deliver = courier_deliver };
static struct transport local = { .name = "local", .couriers = COURIERS_LOCAL, .in_all = LOCAL_IN_ALL, .deliver = local_deliver };

void courier_configure(const struct courier_config *c)
{
	config = c;
	renewed++;
	if (!lines.head.next) {
		list_init(&lines);
		list_init(&waiters);
		list_init(&called);
	}
}

void courier_way(void *arg, struct str domain, const struct addr *from, struct way *out)
{
	struct route r;

	(void)arg;
	if (out->order[0]) {
		bool known = !route_to(config->routes, str_of(out->order), domain, &r);

		out->shared = known && r.shared;
		out->transport = &remote;
		snprintf(out->key, sizeof out->key, "order %.*s", (int)sizeof out->key - 7, known ? r.key : out->order);
		return;
	}
	route_find(config->routes, domain, from, &r);
	out->by_sender = r.by_sender;
	out->shared = r.shared && r.kind != ROUTE_LOCAL;
	out->transport = r.kind == ROUTE_LOCAL ? &local : &remote;
	/* local domains are apart: a mailbox that refuses is a result, whoever else the message is for */
	if (r.kind == ROUTE_LOCAL)
		snprintf(out->key, sizeof out->key, "local %.*s", (int)(domain.n < 255 ? domain.n : 255), domain.p);
	else
		snprintf(out->key, sizeof out->key, "%.299s", r.key);
}
