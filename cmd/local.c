/* Delivery into local mailboxes: a bundle becomes one job of the Maildir helper per recipient. */
#include "cmd/local.h"

#include <stdlib.h>

#include "cmd/expand.h"
#include "deliver/maildir.h"
#include "lib/list.h"
#include "lib/log.h"

struct local {
	struct bundle *bundle;
	size_t left;
	struct local_job {
		struct maildir_job job;
		struct local *owner;
		size_t i;
	} job[];
};

static void start(struct bundle *);

static void ended(struct local *l)
{
	struct bundle *b = l->bundle, *next;
	struct dest *d = b->dest;

	free(l);
	queue_done(b, NULL);
	next = queue_next(d);
	if (next)
		start(next);
	else
		queue_leave(d);
}

static void job_done(struct maildir_job *j, const struct reply *reply)
{
	struct local_job *lj = owner_of(j, struct local_job, job);
	struct local *l = lj->owner;
	struct result r = { .blame = BLAME_RCPT, .reply = reply, .host = j->command ? "command" : "maildir" };

	r.what = reply->code >= 500 ? RESULT_FAILED : reply->code >= 200 && reply->code < 300 ? RESULT_DELIVERED : RESULT_DEFERRED;
	queue_result(l->bundle, lj->i, &r);
	if (--l->left == 0)
		ended(l);
}

/* Aliases have gone: the others have mailboxes, or should. */
static void into_mailboxes(void *arg)
{
	struct local *l = arg;
	struct bundle *b = l->bundle;
	const struct addr *from = &b->mail->from.addr;

	for (size_t i = 0; i < b->n; i++) {
		struct local_job *j = &l->job[l->left];

		if (!b->rcpt[i]->busy)
			continue;
		l->left++;
		j->owner = l;
		j->i = i;
		j->job = (struct maildir_job){
			.to = &b->rcpt[i]->to.addr, .id = b->mail->id, .fd = b->mail->fd, .at = b->mail->at, .size = b->mail->size, .own = b->mail->own,
			.command = b->mail->alias_of.n && str_eq_nocase(b->rcpt[i]->to.addr.domain, STR(COMMAND_DOMAIN)), .original = b->rcpt[i]->to.orcpt,
			.sender = { from->local.p, from->local.n + (from->domain.n ? 1 + from->domain.n : 0) }, .done = job_done,
		};
	}
	if (!l->left) {
		ended(l);
		return;
	}
	for (size_t i = 0, n = l->left; i < n; i++)
		maildir_deliver(&l->job[i].job);
}

static void start(struct bundle *b)
{
	struct local *l = calloc(1, sizeof *l + b->n * sizeof *l->job);

	if (!l)
		log_end("no memory for a delivery");    /* the bundle could not even be given back */
	l->bundle = b;
	expand_bundle(b, into_mailboxes, l);
}

void local_deliver(struct transport *t, struct bundle *b)
{
	(void)t;
	start(b);
}
