/* SMTP and LMTP couriers: find a destination's hosts, connect, send bundle after bundle, and tell the queue what was said. */
#include "cmd/courier_inside.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/expand.h"
#include "cmd/local.h"
#include "deliver/lame.h"
#include "dsn.h"
#include "lib/log.h"
#include "lib/rand.h"
#include "parse.h"

enum {
	COURIERS_REMOTE = 10,           /* connections to one destination */
	COURIERS_LOCAL = 4,
	LOCAL_IN_ALL = 20,
	WAIT_MS = 30 * 60 * 1000,       /* for a connection, then its message is put off with these words */
	FAIR_SHARE = 10,                /* messages that one destination sends over a connection while another one waits for it */
	ADDRESSES_TRIED = 8,            /* for one bundle: connections begun since something was settled */
	IDLE_MS = 2000,                 /* a connection with nothing to do is kept for what may still come */
	HOSTS_ASKED = 2                 /* for one bundle: hosts that were asked to the end and put us off */
};

struct couriers couriers;

static void look_for_aliases(struct courier *, bool from_best);
static void connect_from_here(struct courier *, bool its_turn);
static void connect_next(struct courier *);
static void stop_waiting(struct courier *);
static void no_host(struct courier *);
static size_t next_to_call(const struct courier *, size_t at);

/* ---- the connection */

static void line_free(struct line *l)
{
	list_remove(&couriers.lines, &l->node);
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

/* For whoever reads the report. A host more than two and the first ones go. */
static void keep_dialogue(struct courier *c, const struct client *client)
{
	if (c->said.n > SAID_MAX / 2)
		buf_clear(&c->said);
	if (!client_dialogue(client, &c->said))
		buf_clear(&c->said);
}

/* ---- the end of the courier */

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
	buf_free(&c->said);
	list_remove(&couriers.all, &c->node);
	free(c);
	queue_leave(d);
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
	list_remove(c->called ? &couriers.called : &couriers.waiters, &c->waiting);
	if (c->called)
		room_soon();
	c->called = false;
	task_cancel(&c->again);
	timer_stop(&c->patience);
	queue_waited(c->dest, &c->idle);
}

/* What it may send next. Nothing when the settings have changed since it began: its hosts, demands and connection are those of before, and
 * another courier will do it. */
static struct bundle *next_bundle(const struct courier *c) { return c->settings == couriers.renewed ? queue_next(c->dest) : NULL; }

/* There is something to send for one who has waited. False: no more, and the courier has ended. */
static bool begin_again(struct courier *c)
{
	struct bundle *b;

	stop_waiting(c);
	b = next_bundle(c);
	if (b && courier_take_bundle(c, b))
		return true;
	if (b)
		courier_bundle_fails(c, BLAME_SELF, &courier_no_memory);
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
	courier_bundle_fails(c, BLAME_MESSAGE, &c->last);
	courier_end(c);
}

/* A moment: another host may be better. Or long: what was in the way may still be there. Or all the time that there is. */
static void has_waited(struct courier *c)
{
	if (loop_now() - c->waits_since >= WAIT_MS) {
		waited_in_vain(c);
		return;
	}
	timer_set(&c->patience, LONG_MS);
	if (courier_merit(c) < M_TALKING)
		courier_choose_equal(c);
	if (courier_may_have_another(c))
		call_waiter(c);
}

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
		courier_bundle_fails(c, BLAME_RCPT, &c->last);
		courier_go_on(c, true);
		return;
	}
	if (couriers.waiters.n == WAITERS_MAX) {
		say_all_taken(c);
		courier_bundle_fails(c, BLAME_SELF, &c->last);
		courier_end(c);
		return;
	}
	courier_hand_over_answers(c, BLAME_RCPT);
	c->unasked = c->at > 0 || c->hosts->partial;
	c->waits = true;
	list_push(&couriers.waiters, &c->waiting);
	c->waits_since = loop_now();
	c->served = 0;
	timer_set(&c->patience, YOUNG_MS);
	queue_wait(b, &c->idle);
}

/* ---- the next bundle, or a line for who waits for one */

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
		courier_tell_session(c);
	if (c->expanded)
		courier_send_bundle(c);
	else
		look_for_aliases(c, false);
}

/* Others wait for a connection to this address. One that has nothing more to send, or has had its share, makes way: its line goes to the
 * first of them, or where that cannot be, is closed. True: the courier has ended or is about to. */
static bool give_away(struct courier *c)
{
	struct courier *w = c->line ? waiter_for(&c->line->addr, c->dest) : NULL;

	if (!w || !line_usable(c))
		return false;
	if (!line_suits(c->line, w)) {
		say_goodbye(c);
		return true;
	}
	if (!begin_again(w))
		return give_away(c);
	take_line(w, c);
	return true;
}

void courier_go_on(struct courier *c, bool from_best)
{
	struct bundle *b;

	if (!from_best && c->served >= FAIR_SHARE && give_away(c))
		return;
	b = next_bundle(c);
	if (!b && !from_best && give_away(c))
		return;
	if (!b && c->settings == couriers.renewed && line_usable(c) && !from_best && queue_idle(c->dest, &c->idle)) {
		timer_set(&c->patience, IDLE_MS);
		return;
	}
	if (!b) {
		say_goodbye(c);
		return;
	}
	c->last = (struct reply){ 0 };
	if (!courier_take_bundle(c, b)) {
		courier_bundle_fails(c, BLAME_SELF, &courier_no_memory);
		courier_end(c);
		return;
	}
	look_for_aliases(c, from_best);
}

/* Who is still open is sent to: over the connection that there is, or another one. */
static void go_on_expanded(struct courier *c, bool its_turn)
{
	static const struct result none = { .reply = &courier_no_memory };      /* nobody is left to have it */

	if (!courier_left_open(c)) {
		courier_bundle_ends(c, &none);
		courier_go_on(c, c->from_best);
		return;
	}
	c->began_at = c->from_best ? 0 : c->at;
	if (c->facts) {                 /* where to is not known yet */
		task_post(&c->look);
		return;
	}
	if (line_usable(c) && !c->from_best && courier_may_call(c, wanted_address(c))) {
		courier_send_bundle(c);
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
		list_remove(&couriers.called, &c->waiting);
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
	courier_go_on(c, false);
}

/* ---- sending */

static struct courier *courier_of(struct client_job *j)
{
	return owner_of(j, struct courier, job);
}

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

	c->in_vain_for_some |= reply->code < 200 || reply->code >= 300;
	if (reply->code >= 200 && reply->code < 300) {
		c->line->proven = true;
		if (courier_goes_alone(c, c->bundle->mail))     /* the mix was to blame */
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
	if (!courier_left_open(c) || next == c->hosts->n || c->tried == ADDRESSES_TRIED)
		return false;
	if (!j->unfit && (c->asked >= HOSTS_ASKED || (answered && c->bundle->mixed)))
		return false;
	c->at = next;
	return true;
}

/* What the next connection to this address should know. */
static void note_lame(struct line *l)
{
	const struct sockaddr *addr = (const struct sockaddr *)&l->addr;
	size_t rcpt_max = client_rcpt_max(l->client);
	unsigned mail_max = client_mail_max(l->client), what = (client_lame(l->client) & CLIENT_LAME_CHUNKING ? LAME_CHUNKING : 0) |
		(client_lame(l->client) & CLIENT_LAME_PIPELINING ? LAME_PIPELINING : 0);

	if (what)
		lame_note(addr, what);
	if (rcpt_max != l->config.rcpt_max)
		lame_note_most(addr, LAME_RCPTS, rcpt_max);
	l->config.rcpt_max = rcpt_max;
	if (mail_max != l->config.mail_max)
		lame_note_most(addr, LAME_MAILS, mail_max);
	l->config.mail_max = mail_max;
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
	bool mix_refused = c->nriders && c->refused && !why && !courier_refused_as_one(c);

	c->sending = false;
	if (!untried && (why || c->in_vain_for_some))
		keep_dialogue(c, c->line->client);
	note_lame(c->line);
	took_so_long(c->line, loop_now() - c->sent);
	remember(c, client_peer(c->line->client), why ? why : &(struct reply){ .text = "no result" });
	if (untried && courier_left_open(c) < j->n)     /* so it cannot go on for ever */
		c->tried = 0;
	if (untried && c->tried < ADDRESSES_TRIED) {    /* the same host again, on a new connection */
		leave_host(c);
		connect_next(c);
		return;
	}
	if (why && client_is_our_trouble(why)) {        /* no other host would get on better */
		courier_bundle_fails(c, j->unreadable ? BLAME_MESSAGE : BLAME_SELF, &c->last);
		courier_go_on(c, true);
		return;
	}
	if (mix_refused) {
		courier_go_apart(c);
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
	courier_bundle_fails(c, why ? BLAME_TALK : BLAME_RCPT, &c->last);
	courier_go_on(c, c->asked > 1 || why);
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

void courier_send_bundle(struct courier *c)
{
	struct bundle *b = c->bundle;
	size_t n = 0;

	if (!c->chance)
		take_riders(c);
	seat_bundle(c, b, c->put_off, &n);
	for (size_t i = 0; i < c->nriders; i++)
		seat_bundle(c, c->rider[i].bundle, c->rider[i].put_off, &n);
	c->refused = c->in_vain_for_some = false;
	c->served++;
	c->sent = loop_now();
	c->job = (struct client_job){
		.from = &b->mail->from, .n = n, .to = c->to, .fd = b->mail->fd, .at = b->mail->at, .size = b->mail->size,
		.text = b->mail->body, .id = b->mail->id, .result = job_result, .done = job_done,
	};
	c->sending = client_send(c->line->client, &c->job);
	if (c->sending)
		return;
	leave_host(c);                  /* it was closed under us: a new connection */
	connect_next(c);
}

/* ---- connecting */

static void client_is_ready(struct client *client, void *arg)
{
	struct line *l = arg;

	(void)client;
	l->ready = true;
	courier_port_is_open(l->courier);
	line_note_tls(l);
	l->courier->met = true;
	l->courier->fresh_token = false;
	courier_tell_session(l->courier);
	courier_send_bundle(l->courier);
}

/* TLS is there to keep listeners out, not to keep mail back: the same address again, in clear. */
static void without_tls(struct courier *c, struct client *client, const struct reply *why)
{
	log_event(LOG_INFO, "tls-failed", LF(L_TEXT("relay", client_peer(client)), L_NUM("code", why->code), L_TEXT("reason", why->text)));
	lame_note((const struct sockaddr *)&c->hosts->at[c->at].addr, LAME_TLS);
	c->tried--;
	connect_next(c);
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
	static struct { char text[REPLY_TEXT]; int64_t when; } said[8];         /* of so many routes at a time */
	size_t at = 0;

	for (size_t i = 0; i < sizeof said / sizeof *said; i++) {
		if (strcmp(said[i].text, why->text) == 0) {
			at = i;
			break;
		}
		if (said[i].when < said[at].when)
			at = i;
	}
	if (strcmp(said[at].text, why->text) != 0 || loop_wall() - said[at].when >= 3600) {
		log_event(LOG_ERROR, what, LF(L_TEXT("relay", c->last_host), L_TEXT("reason", why->text), L_TEXT("remedy", remedy)));
		str_copy(said[at].text, sizeof said[at].text, str_of(why->text));
		said[at].when = loop_wall();
	}
	courier_bundle_fails(c, BLAME_SETUP, why);
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
		courier_bundle_ends(c, &(struct result){ .what = RESULT_FAILED, .reply = &loop, .host = c->last_host });
	else
		courier_bundle_fails(c, BLAME_DEST, &loop);
	courier_end(c);
}

/* The words of each that waits say so; the log once an hour. */
static void note_silence(struct courier *c)
{
	static int64_t when;
	struct reply why = c->last;

	if (!courier_port_is_closed(c))
		return;
	reply_set(&c->last, 0, why.enhanced, "%s; nor does anybody else answer: outgoing port %u seems to be blocked here", why.text,
		couriers.config->routes->smtp_port ? couriers.config->routes->smtp_port : 25);
	if (loop_wall() - when < 3600)
		return;
	when = loop_wall();
	log_event(LOG_ERROR, "port-blocked", LF(L_TEXT("relay", c->last_host), L_TEXT("reason", c->last.text),
		L_TEXT("remedy", dsn_cause(str_of(c->last_host), STR("4.4.1"), str_of(c->last.text)).remedy)));
}

/* It may have run out since it was got: another one is asked for, once. False: this one was new. */
static bool token_again(struct courier *c, const struct line *l)
{
	if (!l->token)
		return false;
	token_refuse(l->token);
	return !c->fresh_token;
}

/* The address could not be used: who waits for it goes on to the next one, or nobody would but one after the other. */
static void tell_waiters(const struct line *l, const char *host, const struct reply *why)
{
	for (struct node *x = list_first(&couriers.waiters), *next; x; x = next) {
		struct courier *w = owner_of(x, struct courier, waiting);

		next = list_next(&couriers.waiters, x);
		if (!same_address(&wanted_address(w)->addr, &l->addr))
			continue;
		remember(w, host, why);
		w->in_vain = true;
		call_waiter(w);
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
	bool crowded = useless && line_is_one_too_many(l), lax = l->lax;

	if (useless && !crowded)
		tell_waiters(l, client_peer(client), why);
	if (c && c->bundle && !l->ready && !crowded)
		keep_dialogue(c, client);
	if (c)
		part(c);
	line_free(l);
	if (!c || c->expanding)
		return;                 /* a new connection is made when the aliases have gone */
	if (c->bundle && tls_failed)
		courier_tell_failure(c, client, lax, why->text);
	if (c->bundle && tls_failed && may_go_without) {
		without_tls(c, client, why);
		return;
	}
	if (c->bundle && tls_failed && policy == MTASTS_TESTING) {
		courier_test_failed(c, wanted_address(c), why->text);
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
	if (client_is_silent(client))
		note_silence(c);
	else if (useless)
		courier_port_is_open(c);
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
		courier_bundle_fails(c, BLAME_SELF, why);
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
	courier_bundle_fails(c, c->met ? BLAME_TALK : c->unbound && c->unbound == c->tried ? BLAME_SETUP : BLAME_DEST, &why);
	courier_end(c);
}

/* The first place from `at` on that may be called; hosts->n: none. */
static size_t next_to_call(const struct courier *c, size_t at)
{
	while (at < c->hosts->n && !courier_may_call(c, &c->hosts->at[at]))
		at++;
	return at;
}

static bool connect_to(struct courier *c, const struct mx_address *a)
{
	const struct sockaddr *addr = (const struct sockaddr *)&a->addr;
	struct line *l = calloc(1, sizeof *l);

	if (!l)
		return false;
	l->courier = c;
	l->settings = c->settings;
	l->since = loop_now();
	l->proven = c->proven && same_address(&c->left, &a->addr);
	l->took = c->took;
	l->addr = a->addr;
	str_copy(l->host, sizeof l->host, str_of(a->host));
	line_take_demands(l, a);
	l->config = line_config(&c->route, addr, l);
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
	list_push(&couriers.lines, &l->node);
	return true;
}

/* The system refuses a socket. Where it lacks something, no other address would do better. False: the courier has ended. */
static bool can_go_on(struct courier *c, const struct mx_address *a, int error)
{
	c->unasked = true;
	reply_set(&c->last, 0, "", "connect to %s: %s", a->host, strerror(error));
	str_copy(c->last_host, sizeof c->last_host, str_of(a->host));
	if (error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM) {
		courier_bundle_fails(c, BLAME_SELF, &c->last);
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
	courier_bundle_fails(c, BLAME_SELF, &courier_no_memory);
	courier_end(c);
}

/* its_turn: it was called, and there is room at the first address. */
static void connect_from_here(struct courier *c, bool its_turn)
{
	for (; c->at < c->hosts->n && c->tried < ADDRESSES_TRIED; c->at++, its_turn = false) {
		const struct mx_address *a = wanted_address(c);
		struct courier *other;

		if (!its_turn && !c->replaces)
			courier_choose_equal(c);
		if (!courier_look_at_policy(c, a))
			continue;
		other = courier_idle_for(c);
		if (other) {
			take_line(c, other);
			return;
		}
		if (!courier_has_place(c, its_turn)) {
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
	list_push(&couriers.called, &c->waiting);
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

	if (blame_for_no_hosts(c) == BLAME_SETUP) {
		our_setup_fails(c, "no-host-of-route", why, "put the host of the route right, or its DNS; the mail for it waits");
		return;
	}
	if (final)
		courier_bundle_ends(c, &(struct result){ .what = RESULT_FAILED, .reply = why });
	else
		courier_bundle_fails(c, blame_for_no_hosts(c), why);
	courier_end(c);
}

static void find_route(struct courier *c, const struct bundle *b)
{
	struct str domain = str_of(dest_domain(b->dest)), order = str_of(dest_way(b->dest)->order);

	if (order.n)
		c->misled = route_to(couriers.config->routes, order, domain, &c->route);
	else
		route_find(couriers.config->routes, domain, &b->mail->from.addr, &c->route);
}

/* Nothing is sent before the order is mended. */
static void order_is_wrong(struct courier *c)
{
	struct reply why;

	reply_set(&why, 0, "4.3.5", "the way that is ordered for it, %s, is none: %s", dest_way(c->dest)->order, c->misled);
	courier_bundle_fails(c, BLAME_SETUP, &why);
	courier_end(c);
}

static void look_for_hosts(struct task *t)
{
	struct courier *c = owner_of(t, struct courier, look);
	enum verdict v = WAIT;
	struct mx_result found;

	if (c->misled && c->put_off) {
		order_is_wrong(c);
		return;
	}
	if (c->facts && c->put_off) {
		v = mx_find(c->facts, &c->route, &c->self, c->seed, &found);
		if (v == WAIT)
			return;
		c->hosts = mx_keep(&found);
	}
	if (!c->hosts) {
		courier_bundle_fails(c, BLAME_SELF, &courier_no_memory);
		courier_end(c);
		return;
	}
	courier_tell_unknown(c);
	if (v == REFUSE) {
		no_hosts_known(c, &c->hosts->why);
		return;
	}
	facts_free(c->facts);           /* no answer that is still on its way may wake us again */
	c->facts = NULL;
	c->unasked = c->hosts->partial;
	connect_next(c);
}

static void courier_deliver(struct transport *t, struct bundle *b)
{
	struct courier *c = calloc(1, sizeof *c);

	(void)t;
	if (!c)
		log_end("no memory for a delivery");    /* the bundle could not even be given back */
	c->dest = b->dest;
	c->settings = couriers.renewed;
	list_push(&couriers.all, &c->node);
	c->look.run = look_for_hosts;
	c->again.run = is_called;
	c->idle.wanted = something_came;
	c->patience.expired = patience_ends;
	c->seed = rand_u64();
	find_route(c, b);
	c->self = *couriers.config->self;
	tls_rules_ask(couriers.config->tls_rules, &c->route, &c->self);
	c->facts = facts_new(&c->look, MX_LOOKUPS);
	if (!c->facts || !courier_take_bundle(c, b)) {
		c->bundle = b;
		task_post(&c->look);    /* what memory refused is seen there */
		return;
	}
	look_for_aliases(c, false);
}

void courier_measure(size_t most, void (*each)(void *arg, const char *host, const char *domain, const char *id, unsigned served), void *arg)
{
	for (struct node *x = couriers.lines.head.next ? list_first(&couriers.lines) : NULL; x && most; x = list_next(&couriers.lines, x), most--) {
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
	couriers.config = c;
	couriers.renewed++;
	if (!couriers.lines.head.next) {
		list_init(&couriers.all);
		list_init(&couriers.lines);
		list_init(&couriers.waiters);
		list_init(&couriers.called);
	}
}

unsigned courier_configured(void) { return couriers.renewed; }

unsigned courier_oldest(void)
{
	struct node *first = list_first(&couriers.all);
	unsigned oldest = first ? owner_of(first, struct courier, node)->settings : couriers.renewed;

	for (struct node *x = list_first(&couriers.lines); x; x = list_next(&couriers.lines, x)) {
		const struct line *l = owner_of(x, struct line, node);

		oldest = l->settings < oldest ? l->settings : oldest;
	}
	return oldest;
}

void courier_way(void *arg, struct str domain, const struct addr *from, struct way *out)
{
	struct route r;

	(void)arg;
	if (out->order[0]) {
		bool known = !route_to(couriers.config->routes, str_of(out->order), domain, &r);

		out->shared = known && r.shared;
		out->transport = &remote;
		snprintf(out->key, sizeof out->key, "order %.*s", (int)sizeof out->key - 7, known ? r.key : out->order);
		return;
	}
	route_find(couriers.config->routes, domain, from, &r);
	out->by_sender = r.by_sender;
	out->shared = r.shared && r.kind != ROUTE_LOCAL;
	out->transport = r.kind == ROUTE_LOCAL ? &local : &remote;
	/* local domains are apart: a mailbox that refuses is a result, whoever else the message is for */
	if (r.kind == ROUTE_LOCAL)
		snprintf(out->key, sizeof out->key, "local %.*s", (int)(domain.n < 255 ? domain.n : 255), domain.p);
	else
		snprintf(out->key, sizeof out->key, "%.299s", r.key);
}
