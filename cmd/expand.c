/* Aliases at the first attempt. One bundle's aliases become one message for each sender it is sent on as: the one it has, and the
 * owners of lists. So whoever stands behind several of them gets one copy. */
#include "cmd/expand.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/file.h"
#include "lib/list.h"
#include "lib/log.h"
#include "lib/map.h"
#include "mime/header.h"
#include "parse.h"

enum {
	RCPTS_A_TURN = 100,             /* looked up */
	COPY_A_TURN = 1 << 20,          /* octets of the message */
	BLOCK = 65536,
	HEADER_LOOKED_AT = 256 << 10    /* for Delivered-To: trace fields are at the beginning */
};

/* Somebody who gets the new message. */
struct heir {
	struct heir *next;
	struct map_node node;           /* key: the address */
	struct recipient to;
	bool served;                    /* without us */
	char orcpt[2 * ADDR_MAX + 16];
	char text[];
};

/* The aliases that are sent on in one message. */
struct group {
	struct group *next;
	char owner[ADDR_MAX + 1];       /* "": the sender that the message has */
	size_t n;
	size_t *which;                  /* of bundle->rcpt; room for all of them */
	enum handed *handed;
	struct heir *heir, **last;
	struct map heirs;
	size_t nheirs;
	bool discards;                  /* one of them is for nobody */
	char id[ID_MAX];
};

struct expand {
	struct node node;               /* of all */
	struct bundle *bundle;
	void (*then)(void *arg);
	void *arg;
	struct task step;
	struct facts *facts;
	size_t at;                      /* of bundle->rcpt: the next to be looked up */
	bool *is_alias;                 /* of bundle->rcpt */
	struct buf header;
	bool header_read;
	struct group *group;
	/* the group that is being sent on */
	struct draft *draft;
	off_t copied;
	bool committing;
};

static struct aliases *aliases;
static struct list all;

void expand_configure(struct aliases *a) { aliases = a; }

static const struct reply no_memory = { .code = 451, .enhanced = "4.3.0", .text = "out of memory here" };

/* ---- results */

static void fails(struct expand *x, size_t i, const struct reply *why)
{
	/* Said of a talk: a mixed transaction is not to ask a peer about it once more. What keeps one name back is no reason for its
	 * destination to wait. */
	struct result r = { .what = why->code >= 500 ? RESULT_FAILED : RESULT_DEFERRED, .blame = why->code >= 500 ? BLAME_TALK :
		why == &no_memory ? BLAME_SELF : BLAME_MESSAGE, .reply = why, .host = "aliases" };

	queue_result(x->bundle, i, &r);
}

static void group_fails(struct expand *x, const struct group *g, const struct reply *why)
{
	for (size_t i = 0; i < g->n; i++)
		fails(x, g->which[i], why);
}

static void group_free(struct group *g)
{
	struct heir *h;

	while ((h = g->heir)) {
		g->heir = h->next;
		free(h);
	}
	map_free(&g->heirs);
	free(g->which);
	free(g->handed);
	free(g);
}

static void forget(struct expand *x)
{
	struct group *g;

	list_remove(&all, &x->node);
	task_cancel(&x->step);

	while ((g = x->group)) {
		x->group = g->next;
		group_free(g);
	}
	facts_free(x->facts);
	buf_free(&x->header);
	free(x->is_alias);
	free(x);
}

static void end(struct expand *x)
{
	void (*then)(void *) = x->then;
	void *arg = x->arg;

	forget(x);
	then(arg);
}

void expand_stop(void)
{
	struct node *x;

	while (all.n && (x = list_first(&all))) {
		struct expand *e = owner_of(x, struct expand, node);

		if (!e->committing)
			draft_abort(e->draft);  /* else the queue has forgotten it */
		forget(e);
	}
}

/* ---- whom an alias stands for */

static struct group *group_for(struct expand *x, const char *owner)
{
	struct group **at = &x->group, *g;

	while (*at && strcmp((*at)->owner, owner) != 0)
		at = &(*at)->next;
	if (*at)
		return *at;
	g = calloc(1, sizeof *g);
	if (!g)
		return NULL;
	g->last = &g->heir;
	g->which = calloc(x->bundle->n, sizeof *g->which);
	g->handed = calloc(x->bundle->n, sizeof *g->handed);
	if (!g->which || !g->handed) {
		group_free(g);
		return NULL;
	}
	str_copy(g->owner, sizeof g->owner, str_of(owner));
	return *at = g;
}

static struct str whole(const struct addr *a) { return (struct str){ a->local.p, a->local.n + (a->domain.n ? 1 + a->domain.n : 0) }; }

/* RFC 3461 5.2.1: a relay may say whom the sender has written to, so that a report names an address that he knows. */
static void set_orcpt(struct heir *h, const struct recipient *alias)
{
	struct buf text = { .max = sizeof h->orcpt - 1 };

	h->to.orcpt = alias->orcpt;
	if (alias->orcpt.n)
		return;
	buf_puts(&text, "rfc822;");
	if (xtext_encode(&text, whole(&alias->addr)) && str_copy(h->orcpt, sizeof h->orcpt, buf_view(&text)))
		h->to.orcpt = str_of(h->orcpt);
	buf_free(&text);
}

/* RFC 3461 5.2.7: one for one keeps all; of several none tells of success, as the alias does; a list's mail is the list's own. */
static void set_dsn(struct heir *h, const struct recipient *alias, enum alias_kind kind)
{
	switch (kind) {
	case ALIAS_ONE:
		h->to.notify = alias->notify;
		break;
	case ALIAS_SEVERAL:
		h->to.notify = alias->notify & ~(unsigned)NOTIFY_SUCCESS;
		if (alias->notify && !h->to.notify)
			h->to.notify = NOTIFY_NEVER;
		break;
	case ALIAS_LIST:
		return;
	}
	set_orcpt(h, alias);
}

static bool add_heir(struct group *g, const struct addr *a, const struct recipient *alias, enum alias_kind kind)
{
	struct str text = whole(a);
	struct heir *h;

	if (map_get(&g->heirs, text))
		return true;
	h = calloc(1, sizeof *h + text.n);
	if (!h)
		return false;
	memcpy(h->text, text.p, text.n);
	h->to.addr = (struct addr){ { h->text, a->local.n }, { h->text + a->local.n + 1, a->domain.n } };
	set_dsn(h, alias, kind);
	if (!map_put(&g->heirs, &h->node, (struct str){ h->text, text.n })) {
		free(h);
		return false;
	}
	*g->last = h;
	g->last = &h->next;
	g->nheirs++;
	return true;
}

/* ---- loops */

static bool read_header(struct expand *x)
{
	const struct mail *m = x->bundle->mail;
	size_t n = m->size < HEADER_LOOKED_AT ? (size_t)m->size : HEADER_LOOKED_AT;
	char *to = x->header_read ? NULL : buf_reserve(&x->header, n ? n : 1);
	ssize_t got;

	if (x->header_read)
		return true;
	got = to ? file_pread(m->fd, to, n, m->at) : -1;
	if (got < 0)
		return false;
	x->header.n = header_length((struct str){ x->header.p, (size_t)got });
	x->header_read = true;
	return true;
}

/* It has been sent on from here before: its Delivered-To says so (RFC 9228). */
static bool was_here(struct expand *x, const struct addr *a)
{
	struct str rest = buf_view(&x->header);
	struct field f;

	while (header_next(&rest, &f))
		if (str_eq_nocase(f.name, STR("Delivered-To")) && str_eq_nocase(str_trim(f.value), whole(a)))
			return true;
	return false;
}

/* ---- looking up */

static void found(struct expand *x, size_t i, const struct expansion *e)
{
	static const enum handed handed[] = { [ALIAS_ONE] = HANDED_ON, [ALIAS_SEVERAL] = HANDED_EXPANDED, [ALIAS_LIST] = HANDED_DELIVERED };
	const struct recipient *alias = &x->bundle->rcpt[i]->to;
	bool nobody = addr_is_null(&x->bundle->mail->from.addr);        /* a report stays one: nobody is to answer it */
	struct group *g = group_for(x, e->kind == ALIAS_LIST && !nobody ? e->owner : "");
	struct reply loop;
	bool ok = g != NULL;

	if (!read_header(x)) {
		fails(x, i, &no_memory);
		return;
	}
	if (was_here(x, &alias->addr)) {
		reply_set(&loop, 554, "5.4.6", "mail for " STR_FMT " goes in a circle: it has been sent on from there before", STR_ARG(whole(&alias->addr)));
		fails(x, i, &loop);
		return;
	}
	for (size_t k = 0; ok && k < e->n; k++)
		ok = add_heir(g, &e->to[k], alias, e->kind);
	if (!ok) {
		fails(x, i, &no_memory);        /* heirs of this one that are in the group already: a copy too many is better than none */
		return;
	}
	g->discards |= !e->n;
	x->is_alias[x->bundle->rcpt[i] - x->bundle->mail->rcpt] = true;
	g->which[g->n] = i;
	g->handed[g->n++] = handed[e->kind];
}

/* False: facts are on their way. */
static bool look_up(struct expand *x, size_t i)
{
	const struct rcpt *r = x->bundle->rcpt[i];
	struct expansion e = { .forwards = true };
	enum alias_answer answer = alias_expand(aliases, x->facts, &r->to.addr, &e);

	if (answer != ALIAS_WAIT && answer != ALIAS_NONE && e.trouble[0])
		log_event(LOG_WARN, "alias", LF(L_TEXT("id", x->bundle->mail->id), L_STR("to", whole(&r->to.addr)), L_TEXT("trouble", e.trouble)));
	if (answer == ALIAS_FAILED)
		fails(x, i, &e.why);
	else if (answer == ALIAS_FOUND)
		found(x, i, &e);
	expansion_free(&e);
	return answer != ALIAS_WAIT;
}

/* ---- sending on */

/* Is he a recipient of the message itself, who stands for himself? Then he gets it from there. One of another bundle may be an alias that
 * was not looked up yet. */
static bool stands_for_himself(const struct expand *x, size_t i)
{
	const struct rcpt *r = &x->bundle->mail->rcpt[i];

	if (r->state == RCPT_FAILED || r->expanded || x->is_alias[i])
		return false;
	return r->state == RCPT_DELIVERED || !aliases_concern(aliases, r->to.addr.domain) ||
		str_eq_nocase(r->to.addr.domain, x->bundle->rcpt[0]->to.addr.domain);
}

/* Addresses behind aliases have their domain in lower case, and where names are ours, all of them. */
static struct map_node *heir_with(const struct group *g, const struct addr *a)
{
	char key[ADDR_MAX + 1];
	struct map_node *found;

	if (!str_copy(key, sizeof key, whole(a)))
		return NULL;
	for (char *c = key + a->local.n; *c; c++)
		*c = ascii_lower(*c);
	found = map_get(&g->heirs, str_of(key));
	for (char *c = key; *c; c++)
		*c = ascii_lower(*c);
	return found ? found : map_get(&g->heirs, str_of(key));
}

static void drop_those_who_get_it_anyway(const struct expand *x, struct group *g)
{
	struct heir **at = &g->heir, *h;

	for (size_t i = 0; i < x->bundle->mail->nrcpt; i++) {
		struct map_node *node = stands_for_himself(x, i) ? heir_with(g, &x->bundle->mail->rcpt[i].to.addr) : NULL;

		if (node)
			owner_of(node, struct heir, node)->served = true;
	}
	while ((h = *at)) {
		if (!h->served) {
			at = &h->next;
			continue;
		}
		*at = h->next;
		map_remove(&g->heirs, &h->node);
		free(h);
		g->nheirs--;
	}
}

static void group_done(struct expand *x, struct group *g)
{
	struct result r = { .what = RESULT_DELIVERED, .into = g->id[0] ? g->id : NULL };
	struct reply words;

	if (g->id[0])
		reply_set(&words, 0, "2.0.0", "an alias: sent on as %s, to %zu recipient%s", g->id, g->nheirs, g->nheirs == 1 ? "" : "s");
	else
		reply_set(&words, 0, "2.0.0", g->discards ? "an alias: discarded" : "an alias: who stands behind it gets the message already");
	r.reply = &words;
	for (size_t i = 0; i < g->n; i++) {
		r.handed = g->handed[i];
		queue_result(x->bundle, g->which[i], &r);
	}
}

/* The next group, or the end. */
static void group_next(struct expand *x)
{
	struct group *g = x->group;

	x->group = g->next;
	group_free(g);
	x->draft = NULL;
	x->copied = 0;
	task_post(&x->step);
}

static void committed(void *arg, bool ok)
{
	static const struct reply why = { .code = 451, .enhanced = "4.3.0", .text = "the disk refused the message that aliases make of it" };
	struct expand *x = arg;

	x->committing = false;
	if (ok)
		group_done(x, x->group);
	else
		group_fails(x, x->group, &why);
	group_next(x);
}

static bool put_envelope(const struct expand *x, const struct group *g, struct envelope *env)
{
	const struct mail *m = x->bundle->mail;
	struct sender from = m->from;
	struct addr owner;

	from.hold_for = 0;              /* it has been held */
	from.hold_until = 0;
	if (g->owner[0] && !parse_address(str_of(g->owner), false, &owner)) {
		from.addr = owner;
		from.ret = RET_NONE;
		from.envid = STR("");
	}
	if (!envelope_origin(env, "alias") || !envelope_sender(env, &from))
		return false;
	for (const struct heir *h = g->heir; h; h = h->next)
		if (!envelope_rcpt(env, &h->to))
			return false;
	return true;
}

static void put_trace(const struct expand *x, const struct group *g, struct buf *out)
{
	for (size_t i = 0; i < g->n; i++) {
		buf_puts(out, "Delivered-To: ");
		print_addr(out, &x->bundle->rcpt[g->which[i]]->to.addr);
		buf_puts(out, "\r\n");
	}
}

static bool open_draft(struct expand *x, struct group *g)
{
	struct envelope env = { 0 };
	struct buf trace = { 0 };

	put_trace(x, g, &trace);
	errno = ENOMEM;
	if (!trace.bad && put_envelope(x, g, &env))
		x->draft = queue_alias_draft(x->bundle, g->which, g->handed, g->n, &env, trace.n);
	if (x->draft && draft_write(x->draft, trace.p, trace.n) == -1) {
		draft_abort(x->draft);
		x->draft = NULL;
	}
	buf_free(&trace);
	envelope_free(&env);
	return x->draft != NULL;
}

/* Some of the message. -1 with errno. */
static int copy_some(struct expand *x)
{
	const struct mail *m = x->bundle->mail;
	static char block[BLOCK];

	for (size_t turn = 0; turn < COPY_A_TURN && x->copied < m->size; turn += BLOCK) {
		size_t n = m->size - x->copied < BLOCK ? (size_t)(m->size - x->copied) : BLOCK;

		errno = EBADMSG;
		if (file_pread(m->fd, block, n, m->at + x->copied) != (ssize_t)n || draft_write(x->draft, block, n) == -1)
			return -1;
		x->copied += (off_t)n;
	}
	return 0;
}

static void give_up(struct expand *x)
{
	struct reply why;

	reply_set(&why, 451, "4.3.0", "the message that aliases make of it cannot be written: %s", strerror(errno));
	draft_abort(x->draft);
	group_fails(x, x->group, &why);
	group_next(x);
}

static void send_on(struct expand *x)
{
	struct group *g = x->group;

	if (!x->draft) {
		drop_those_who_get_it_anyway(x, g);
		if (!g->heir) {
			group_done(x, g);
			group_next(x);
			return;
		}
		if (!open_draft(x, g)) {
			give_up(x);
			return;
		}
	}
	if (copy_some(x) == -1) {
		give_up(x);
		return;
	}
	if (x->copied < x->bundle->mail->size) {
		task_post(&x->step);
		return;
	}
	str_copy(g->id, sizeof g->id, str_of(draft_id(x->draft)));
	x->committing = true;
	queue_commit(x->draft, committed, x);
}

static void step(struct task *t)
{
	struct expand *x = owner_of(t, struct expand, step);

	if (x->committing)
		return;
	for (unsigned budget = RCPTS_A_TURN; x->at < x->bundle->n; x->at++) {
		if (!x->bundle->rcpt[x->at]->busy)
			continue;
		if (budget-- == 0) {
			task_post(t);
			return;
		}
		if (!look_up(x, x->at))
			return;
	}
	if (x->group && x->group->n) {
		send_on(x);
		return;
	}
	if (x->group) {                 /* all of it has failed */
		group_next(x);
		return;
	}
	end(x);
}

/* ---- the beginning */

bool expand_concerns(const struct bundle *b)
{
	if (!aliases || b->mail->alias_of.n)
		return false;
	if (aliases_refresh(aliases) && !aliases_count(aliases) && !aliases_forward(aliases))
		return false;
	for (size_t i = 0; i < b->n; i++)
		if (b->rcpt[i]->busy && aliases_concern(aliases, b->rcpt[i]->to.addr.domain))
			return true;
	return false;
}

void expand_bundle(struct bundle *b, void (*then)(void *), void *arg)
{
	struct expand *x;

	if (!expand_concerns(b)) {
		then(arg);
		return;
	}
	x = calloc(1, sizeof *x);
	if (!x)
		log_end("no memory for a delivery");    /* the bundle could not even be given back */
	if (!all.head.next)
		list_init(&all);
	list_push(&all, &x->node);
	x->bundle = b;
	x->then = then;
	x->arg = arg;
	x->step.run = step;
	x->is_alias = calloc(b->mail->nrcpt, sizeof *x->is_alias);
	x->facts = facts_new(&x->step, ALIAS_FACTS);
	if (!x->is_alias || !x->facts)
		log_end("no memory for a delivery");    /* as above */
	task_post(&x->step);
}
