/* SMTP and LMTP couriers: find a destination's hosts, connect, send bundle after bundle, and tell the queue what was said. */
#include "cmd/courier.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/local.h"
#include "client.h"
#include "lib/facts.h"
#include "lib/list.h"
#include "lib/log.h"
#include "lib/rand.h"
#include "parse.h"

enum {
	COURIERS_REMOTE = 10,           /* connections to one destination */
	COURIERS_LOCAL = 4,
	ADDRESSES_TRIED = 8,            /* for one bundle: connections begun */
	HOSTS_ASKED = 2                 /* for one bundle: hosts that were asked to the end and put us off */
};

static const struct courier_config *config;
static struct client_config smtp_client, lmtp_client;

struct courier {
	struct bundle *bundle;
	struct dest *dest;
	struct route route;
	/* finding the hosts */
	struct facts *facts;
	struct task look;
	uint64_t seed;
	struct mx_result *hosts;
	/* the host */
	size_t at;                      /* of hosts->at: where the client is, or goes next */
	unsigned tried, asked;          /* for this bundle */
	struct client *client;
	bool met;                       /* this courier has had a conversation */
	struct reply last;              /* why the last host was of no use, and who it was */
	char last_host[300];
	/* what is being sent: the bundle's recipients that have no final result */
	struct client_job job;
	const struct recipient **to;
	size_t *index;                  /* to[i] is bundle->rcpt[index[i]] */
	struct reply **put_off;         /* by bundle index: the temporary answer it has had, or NULL */
};

static const struct reply no_memory = { .text = "out of memory here" };

static void connect_next(struct courier *);
static void send_bundle(struct courier *);

/* ---- the end of a bundle, and of the courier */

static void forget_answers(struct courier *c)
{
	for (size_t i = 0; c->put_off && i < c->bundle->n; i++)
		free(c->put_off[i]);
	free(c->put_off);
	free(c->to);
	free(c->index);
	c->put_off = NULL;
	c->to = NULL;
	c->index = NULL;
}

static void leave_host(struct courier *c)
{
	if (c->client)
		client_abort(c->client);
	c->client = NULL;
}

static void courier_end(struct courier *c)
{
	struct dest *d = c->dest;

	task_cancel(&c->look);
	facts_free(c->facts);
	leave_host(c);
	free(c->hosts);
	free(c);
	queue_leave(d);
}

static bool take_bundle(struct courier *c, struct bundle *b)
{
	c->bundle = b;
	c->tried = c->asked = 0;
	c->to = calloc(b->n, sizeof *c->to);
	c->index = calloc(b->n, sizeof *c->index);
	c->put_off = calloc(b->n, sizeof *c->put_off);
	return c->to && c->index && c->put_off;
}

/* Everything that the bundle's recipients were told goes to the queue; rest is for those who were told nothing. */
static void bundle_ends(struct courier *c, const struct result *rest)
{
	struct bundle *b = c->bundle;

	for (size_t i = 0; c->put_off && i < b->n; i++) {
		struct result r = { .what = RESULT_DEFERRED, .blame = BLAME_RCPT, .reply = c->put_off[i], .host = c->last_host };

		if (c->put_off[i])
			queue_result(b, i, &r);
	}
	forget_answers(c);
	c->bundle = NULL;
	queue_done(b, rest);
}

static void bundle_fails(struct courier *c, enum blame blame, const struct reply *why)
{
	struct result rest = { .what = RESULT_DEFERRED, .blame = blame, .reply = why, .host = c->last_host };

	if (blame == BLAME_RCPT && why->code >= 500)
		rest.what = RESULT_FAILED;
	bundle_ends(c, &rest);
}

/* The next bundle over the same connection, or goodbye. */
static void go_on(struct courier *c)
{
	struct bundle *b = queue_next(c->dest);

	if (!b) {
		if (c->client && client_usable(c->client))
			client_quit(c->client);         /* gone() ends the courier */
		else
			courier_end(c);
		return;
	}
	if (!take_bundle(c, b)) {
		bundle_fails(c, BLAME_SELF, &no_memory);
		courier_end(c);
		return;
	}
	if (c->client && client_usable(c->client)) {
		send_bundle(c);
		return;
	}
	leave_host(c);
	connect_next(c);
}

/* ---- sending */

static struct courier *courier_of(struct client_job *j)
{
	return owner_of(j, struct courier, job);
}

static void job_result(struct client_job *j, size_t i, const struct reply *reply)
{
	struct courier *c = courier_of(j);
	size_t k = c->index[i];
	struct result r = { .blame = BLAME_RCPT, .reply = reply, .host = client_peer(c->client) };

	if (reply->code >= 200 && reply->code < 300) {
		r.what = RESULT_DELIVERED;
	} else if (reply->code >= 500) {
		r.what = RESULT_FAILED;
	} else {                        /* another host may say yes */
		if (!c->put_off[k])
			c->put_off[k] = malloc(sizeof *reply);
		if (c->put_off[k]) {
			*c->put_off[k] = *reply;
			return;
		}
		r.what = RESULT_DEFERRED;
	}
	queue_result(c->bundle, k, &r);
}

static void remember(struct courier *c, const char *host, const struct reply *why)
{
	c->last = *why;
	if (host)
		str_copy(c->last_host, sizeof c->last_host, str_of(host));
}

/* Recipients without a final result. */
static size_t left_open(const struct courier *c)
{
	size_t n = 0;

	for (size_t i = 0; i < c->bundle->n; i++)
		n += c->bundle->rcpt[i]->busy;
	return n;
}

static void job_done(struct client_job *j, const struct reply *why, bool untried)
{
	struct courier *c = courier_of(j);

	if (why)
		remember(c, client_peer(c->client), why);
	else
		str_copy(c->last_host, sizeof c->last_host, str_of(client_peer(c->client)));
	if (untried && c->tried < ADDRESSES_TRIED) {    /* the same host again, on a new connection */
		leave_host(c);
		connect_next(c);
		return;
	}
	c->asked++;
	if (left_open(c) && c->asked < HOSTS_ASKED && c->at + 1 < c->hosts->n && c->tried < ADDRESSES_TRIED) {
		leave_host(c);
		c->at++;
		connect_next(c);
		return;
	}
	bundle_fails(c, BLAME_RCPT, why ? why : &(struct reply){ .text = "no result" });
	if (c->asked > 1 || (why && c->client && !client_usable(c->client))) {
		leave_host(c);          /* the next bundle begins with the best host again */
		c->at = 0;
	}
	go_on(c);
}

static void send_bundle(struct courier *c)
{
	struct bundle *b = c->bundle;
	size_t n = 0;

	for (size_t i = 0; i < b->n; i++) {
		if (!b->rcpt[i]->busy)
			continue;
		c->to[n] = &b->rcpt[i]->to;
		c->index[n++] = i;
	}
	c->job = (struct client_job){
		.from = &b->mail->from, .n = n, .to = c->to, .fd = b->mail->fd, .at = b->mail->at, .size = b->mail->size,
		.id = b->mail->id, .result = job_result, .done = job_done,
	};
	if (client_send(c->client, &c->job))
		return;
	leave_host(c);                  /* it was closed under us: a new connection */
	connect_next(c);
}

/* ---- connecting */

static void client_is_ready(struct client *client, void *arg)
{
	struct courier *c = arg;

	(void)client;
	c->met = true;
	send_bundle(c);
}

static void client_is_gone(struct client *client, void *arg, const struct reply *why)
{
	struct courier *c = arg;

	remember(c, client_peer(client), why);
	c->client = NULL;
	if (!c->bundle) {               /* after our QUIT */
		courier_end(c);
		return;
	}
	c->at++;
	connect_next(c);
}

static const struct client_events events = { .ready = client_is_ready, .gone = client_is_gone };

/* No address is left. Whether a greeting said 4xx or 5xx, the host was not asked about this mail: it waits. */
static void no_host(struct courier *c)
{
	struct reply why = c->last;

	if (why.code >= 500)
		snprintf(why.text, sizeof why.text, "no host of the destination talks to us; the last said: %.400s", c->last.text);
	if (!why.text[0])
		snprintf(why.text, sizeof why.text, "no host of the destination could be reached");
	c->at = 0;
	bundle_fails(c, c->met ? BLAME_RCPT : BLAME_DEST, &why);
	courier_end(c);
}

static void connect_next(struct courier *c)
{
	const struct client_config *how = c->route.kind == ROUTE_LMTP ? &lmtp_client : &smtp_client;

	while (c->at < c->hosts->n && c->tried < ADDRESSES_TRIED) {
		const struct mx_address *a = &c->hosts->at[c->at];

		c->tried++;
		c->client = client_open(how, (const struct sockaddr *)&a->addr, a->len, a->host, &events, c);
		if (c->client)
			return;
		reply_set(&c->last, 0, "", "connect to %s: %s", a->host, strerror(errno));
		c->at++;
	}
	if (c->last.code >= 500)        /* of a connection, not of the message */
		c->last.code = 0;
	no_host(c);
}

/* ---- finding the hosts */

static void look_for_hosts(struct task *t)
{
	struct courier *c = owner_of(t, struct courier, look);

	if (!c->hosts || !c->facts || !c->put_off) {
		bundle_fails(c, BLAME_SELF, &no_memory);
		courier_end(c);
		return;
	}
	switch (mx_find(c->facts, &c->route, config->self, c->seed, c->hosts)) {
	case WAIT:
		return;
	case ACCEPT:
		connect_next(c);
		return;
	case REFUSE:
		break;
	}
	c->last_host[0] = 0;
	bundle_fails(c, c->hosts->local_fault ? BLAME_SELF : c->hosts->why.code >= 500 ? BLAME_RCPT : BLAME_DEST, &c->hosts->why);
	courier_end(c);
}

static void courier_deliver(struct transport *t, struct bundle *b)
{
	struct courier *c = calloc(1, sizeof *c);

	(void)t;
	if (!c)
		abort();        /* the bundle could not even be given back; what was accepted is on disk */
	c->dest = b->dest;
	c->look.run = look_for_hosts;
	c->seed = rand_u64();
	route_find(config->routes, str_of(dest_domain(b->dest)), &c->route);
	c->hosts = calloc(1, sizeof *c->hosts);
	c->facts = facts_new(&c->look, MX_LOOKUPS);
	take_bundle(c, b);              /* what memory refused is seen in the task */
	task_post(&c->look);
}

/* ---- ways */

static struct transport remote = { .name = "smtp", .couriers = COURIERS_REMOTE, .deliver = courier_deliver };
static struct transport local = { .name = "local", .couriers = COURIERS_LOCAL, .deliver = local_deliver };

void courier_configure(const struct courier_config *c)
{
	config = c;
	smtp_client = (struct client_config){ .hostname = c->hostname };
	lmtp_client = (struct client_config){ .hostname = c->hostname, .lmtp = true };
}

void courier_way(void *arg, struct str domain, struct way *out)
{
	struct route r;

	(void)arg;
	route_find(config->routes, domain, &r);
	out->shared = r.shared && r.kind != ROUTE_LOCAL;
	out->transport = r.kind == ROUTE_LOCAL ? &local : &remote;
	/* local domains are apart: a mailbox that refuses is a result, whoever else the message is for */
	if (r.kind == ROUTE_LOCAL)
		snprintf(out->key, sizeof out->key, "local %.*s", (int)(domain.n < 255 ? domain.n : 255), domain.p);
	else
		snprintf(out->key, sizeof out->key, "%.299s", r.key);
}
