/* One entry being tried: its bundles, their results, the journal, reports, and where the entry goes afterwards. */
#include "queue/inside.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/log.h"

enum {
	LINKS_A_TURN = 64,
	LOCKED_AGAIN_S = 30,            /* a delivery child of an earlier process still has the message */
	TROUBLE_AGAIN_S = 60,           /* the file cannot be opened or moved for now */
	STUCK_AGAIN_MS = 5000,          /* our disk refuses a mark */
	DELAY_EVENT = 1000000           /* no failure has this number */
};

/* Words that results point to for the rest of the attempt. */
struct kept {
	struct kept *next;
	char text[];
};

static struct list open_attempts;
static size_t nopen;

static void settle(struct attempt *);

size_t attempts_open(void)
{
	return nopen;
}

/* ---- small things */

static struct str keep(struct attempt *a, const char *text)
{
	size_t n = text ? strlen(text) : 0;
	struct kept *k = n ? malloc(sizeof *k + n) : NULL;

	if (!k)
		return (struct str){ "", 0 };
	memcpy(k->text, text, n);
	k->next = a->kept;
	a->kept = k;
	return (struct str){ k->text, n };
}

static bool clock_is_sane(void)
{
	return loop_wall() > 1790000000;        /* September 2026: earlier is a board without a clock */
}

static bool is_plus(const struct entry *e)
{
	return strcmp(e->dest, "+") == 0;
}

/* Is this recipient's delivery this entry's business? r->mine says so while it is open. */
static bool covers(const struct entry *e, const struct rcpt *r)
{
	char token[DEST_MAX + 1];

	dest_token(r->to.addr.domain, token);
	if (!is_plus(e))
		return strcmp(token, e->dest) == 0;
	return !r->linked && !entry_find(e->msg, str_of(token));
}

/* "<dest>.<n>" of this entry -> n, else 0. */
static unsigned event_of(const struct entry *e, struct str by)
{
	struct str dest;
	uint64_t n;

	return str_cut_last(&by, '.', &dest) && str_eq(dest, str_of(e->dest)) && str_number(by, DELAY_EVENT - 1, &n) ? (unsigned)n : 0;
}

static void event_print(char by[NAME_ROOM], const struct entry *e, unsigned event)
{
	snprintf(by, NAME_ROOM, "%.180s.%u", e->dest, event);
}

static void rcpt_print(struct buf *out, const struct attempt *a, const struct rcpt *r)
{
	const struct addr *to = &r->to.addr;

	buf_printf(out, "%zu<", (size_t)(r - a->mail->rcpt) + 1);
	buf_str(out, to->local);
	if (to->domain.n) {
		buf_char(out, '@');
		buf_str(out, to->domain);
	}
	buf_char(out, '>');
}

/* ---- closing */

static void free_bundle(struct bundle *b)
{
	dest_release(b->dest);
	free(b->rcpt);
	free(b->x);
	free(b);
}

static void close_attempt(struct attempt *a)
{
	struct kept *k;

	while ((k = a->kept)) {
		a->kept = k->next;
		free(k);
	}
	slot_give(a);
	attempt_gone(a);
	task_cancel(&a->write);
	timer_stop(&a->again);
	if (a->stuck)
		intake_hold(-1);
	list_remove(&open_attempts, &a->open);
	nopen--;
	mail_free(a->mail);
	buf_free(&a->lines);
	buf_free(&a->linked);
	a->entry->attempt = NULL;
	free(a);
}

/* Tried again soon, in memory only: nothing was said to anybody. */
static void later(struct entry *e, int64_t seconds)
{
	e->state = ENTRY_SCHEDULED;
	schedule_at(e, loop_wall() + seconds);
}

/* The entry stays in the queue under its name, for its stamp. */
static void put_back(struct attempt *a)
{
	struct entry *e = a->entry;
	bool nothing_new = !e->domain && !a->moved;

	close_attempt(a);
	e->state = ENTRY_SCHEDULED;
	if (nothing_new && e->next <= loop_wall())
		later(e, TROUBLE_AGAIN_S);      /* its ways are all blocked: not to be opened again and again for that */
	else
		schedule_entry(e);
}

static void forget_entry(struct attempt *a)
{
	struct entry *e = a->entry;

	close_attempt(a);
	e->state = ENTRY_SCHEDULED;
	index_drop(e);
}

/* ---- the name */

/* Renames the entry. 0 or -1 with errno; ENOENT: somebody has moved or removed it. */
static int restamp(struct entry *e, int64_t next, unsigned tries)
{
	char from[NAME_ROOM], to[NAME_ROOM];

	entry_print(from, e->next, false, e->tries, e->msg->id, e->dest);
	entry_print(to, next, false, tries, e->msg->id, e->dest);
	if (strcmp(from, to) != 0 && file_sys.rename(queue.cur, from, queue.cur, to) == -1)
		return -1;
	e->next = next;
	e->tries = tries;
	return 0;
}

static int unlink_entry(const struct entry *e)
{
	char name[NAME_ROOM];

	entry_print(name, e->next, false, e->tries, e->msg->id, e->dest);
	return file_sys.unlink(queue.cur, name);
}

/* ---- opening */

/* Some file system error, or the file is not ours: where does the entry go? */
static void could_not_open(struct entry *e, const char *why)
{
	char name[NAME_ROOM];
	int error = errno;

	entry_print(name, e->next, false, e->tries, e->msg->id, e->dest);
	if (error == ENOENT) {          /* moved or removed by hand: look the directory through */
		e->state = ENTRY_SCHEDULED;
		index_drop(e);
		index_scan_soon();
		return;
	}
	if (error == EBADMSG && why && queue_set_aside(queue.cur, name, why)) {
		e->state = ENTRY_SCHEDULED;
		index_drop(e);
		return;
	}
	log_event(LOG_ERROR, "cannot-open", LF(L_TEXT("id", e->msg->id), L_TEXT("file", name), L_TEXT("error", why ? why : strerror(error))));
	later(e, TROUBLE_AGAIN_S);
}

/* After a start: is a delivery child of our predecessor still at it? */
static bool locked_by_others(const struct mail *m)
{
	if (flock(m->fd, LOCK_EX | LOCK_NB) == -1)
		return errno == EWOULDBLOCK;
	flock(m->fd, LOCK_UN);
	return false;
}

static struct mail *open_mail(struct entry *e)
{
	char name[NAME_ROOM];
	const char *why;
	struct mail *m;

	entry_print(name, e->next, false, e->tries, e->msg->id, e->dest);
	m = mail_open(queue.cur, name, true, !e->msg->checked, &why);
	if (!m) {
		could_not_open(e, why);
		return NULL;
	}
	if (strcmp(m->id, e->msg->id) != 0) {
		mail_free(m);
		errno = EBADMSG;
		could_not_open(e, "The id in the file's name is not the id in its envelope.");
		return NULL;
	}
	if (!e->msg->checked && locked_by_others(m)) {
		mail_free(m);
		later(e, LOCKED_AGAIN_S);
		return NULL;
	}
	e->msg->checked = true;
	return m;
}

static struct bundle *new_bundle(struct attempt *a, struct dest *d)
{
	struct bundle *b = calloc(1, sizeof *b);
	struct bundle_private *p = b ? calloc(1, sizeof *p) : NULL;

	if (!p) {
		free(b);
		return NULL;
	}
	b->mail = a->mail;
	b->dest = d;
	b->x = p;
	p->bundle = b;
	p->attempt = a;
	dest_hold(d);
	list_push(&a->bundles, &p->mine);
	return b;
}

static void end_bundle(struct bundle *b)
{
	list_remove(&b->x->attempt->bundles, &b->x->mine);
	free_bundle(b);
}

static bool bundle_add(struct bundle *b, struct rcpt *r)
{
	if ((b->n & (b->n - 1)) == 0) {         /* full at every power of two */
		struct rcpt **more = realloc(b->rcpt, (b->n ? 2 * b->n : 1) * sizeof *more);

		if (!more)
			return false;
		b->rcpt = more;
	}
	if (b->n && !str_eq_nocase(b->rcpt[0]->to.addr.domain, r->to.addr.domain))
		b->mixed = true;
	b->rcpt[b->n++] = r;
	r->busy = true;
	return true;
}

static void lay_ready(struct bundle *b, bool first)
{
	struct dest *d = b->dest;

	if (first)
		list_unshift(&d->ready, &b->x->ready);
	else
		list_push(&d->ready, &b->x->ready);
	dest_is_runnable(d);
}

/* Where does a recipient's mail go? Neighbours in the envelope mostly share a domain. */
static struct dest *dest_of_rcpt(const struct rcpt *r, const struct rcpt *last, struct dest *last_dest)
{
	if (last && last_dest && str_eq(last->to.addr.domain, r->to.addr.domain))
		return last_dest;
	return dest_for(r->to.addr.domain);
}

/* The bundle of this attempt that the recipient belongs into. A destination that is not shared by transaction has one for each
 * domain. NULL: no memory. */
static struct bundle *bundle_for(struct attempt *a, struct dest *d, const struct rcpt *r)
{
	struct bundle *b = d->gather;

	if (b && (d->way.shared || str_eq_nocase(b->rcpt[0]->to.addr.domain, r->to.addr.domain)))
		return b;
	for (struct node *x = b ? list_first(&a->bundles) : NULL; x; x = list_next(&a->bundles, x)) {
		struct bundle *other = owner_of(x, struct bundle_private, mine)->bundle;

		if (other->dest == d && str_eq_nocase(other->rcpt[0]->to.addr.domain, r->to.addr.domain))
			return d->gather = other;
	}
	return d->gather = new_bundle(a, d);
}

/* What goes to a destination that is down is left where it is: when the rest is settled it gets names of its own. */
static void gather(struct attempt *a)
{
	struct rcpt *last = NULL;
	struct dest *d = NULL;

	for (size_t i = 0; i < a->mail->nrcpt; i++) {
		struct rcpt *r = &a->mail->rcpt[i];
		struct bundle *b;

		if (r->state != RCPT_OPEN || !r->mine)
			continue;
		d = dest_of_rcpt(r, last, d);
		last = r;
		b = d && !d->down ? bundle_for(a, d, r) : NULL;
		if (!b)
			continue;               /* no memory: it stays open and is deferred without a word */
		if (!bundle_add(b, r) && b->n == 0) {
			d->gather = NULL;
			end_bundle(b);
		} else if (b->n == 1) {
			lay_ready(b, !is_plus(a->entry));
		}
	}
}

static struct bundle *next_bundle(struct attempt *a, struct node **at)
{
	*at = *at ? list_next(&a->bundles, *at) : list_first(&a->bundles);
	return *at ? owner_of(*at, struct bundle_private, mine)->bundle : NULL;
}

static void forget_gather(struct attempt *a)
{
	struct node *at = NULL;

	for (struct bundle *b; (b = next_bundle(a, &at)); )
		b->dest->gather = NULL;
}

static void write_task(struct task *);
static void try_again(struct timer *);

static void read_rcpts(struct attempt *a)
{
	for (size_t i = 0; i < a->mail->nrcpt; i++) {
		struct rcpt *r = &a->mail->rcpt[i];

		r->mine = covers(a->entry, r);
		if (r->state != RCPT_FAILED)
			continue;
		r->event = event_of(a->entry, r->by);
		if (r->event >= a->event)
			a->event = r->event + 1;
	}
}

struct attempt *attempt_open(struct entry *e, bool look_only)
{
	struct attempt *a = calloc(1, sizeof *a);

	if (!a) {
		later(e, TROUBLE_AGAIN_S);
		return NULL;
	}
	if (!open_attempts.head.next)
		list_init(&open_attempts);
	e->state = ENTRY_OPEN;
	a->mail = open_mail(e);
	if (!a->mail) {
		free(a);
		return NULL;
	}
	a->entry = e;
	e->attempt = a;
	a->old_tries = e->tries;
	a->event = 1;
	a->write.run = write_task;
	a->again.expired = try_again;
	list_init(&a->bundles);
	list_push(&open_attempts, &a->open);
	nopen++;
	read_rcpts(a);
	if (!look_only) {
		gather(a);
		forget_gather(a);
	}
	if (a->bundles.n)
		return a;
	settle(a);
	return NULL;
}

/* ---- bundles */

/* The entry moves before any connection is made for it: a restart storm is no storm of deliveries. */
static bool move_for_attempt(struct attempt *a)
{
	struct entry *e = a->entry;

	if (a->moved)
		return true;
	if (restamp(e, loop_wall() + back_off(e->tries + 1), e->tries + 1) == -1)
		return false;
	a->moved = true;
	slot_take(a);
	return true;
}

static void drop_bundle(struct bundle *b)
{
	for (size_t i = 0; i < b->n; i++)
		b->rcpt[i]->busy = false;
	list_remove(&b->dest->ready, &b->x->ready);
	end_bundle(b);
}

/* All bundles of an attempt that were not started are taken back. */
static void drop_unstarted(struct attempt *a)
{
	for (struct node *x = list_first(&a->bundles), *next; x; x = next) {
		struct bundle_private *p = owner_of(x, struct bundle_private, mine);

		next = list_next(&a->bundles, x);
		if (!p->started)
			drop_bundle(p->bundle);
	}
}

bool bundle_start(struct bundle *b)
{
	struct attempt *a = b->x->attempt;
	struct entry *e = a->entry;
	int error;

	if (move_for_attempt(a)) {
		b->x->started = true;
		a->started++;
		return true;
	}
	error = errno;
	drop_bundle(b);
	drop_unstarted(a);
	close_attempt(a);
	errno = error;
	could_not_open(e, NULL);
	return false;
}

void bundle_unmake(struct bundle *b)
{
	struct attempt *a = b->x->attempt;

	drop_bundle(b);
	if (!a->bundles.n)
		settle(a);
}

bool attempt_park_one(void)
{
	for (struct node *x = list_first(&open_attempts); x; x = list_next(&open_attempts, x)) {
		struct attempt *a = owner_of(x, struct attempt, open);

		if (a->started || !a->bundles.n || !is_plus(a->entry))
			continue;
		drop_unstarted(a);
		settle(a);
		return true;
	}
	return false;
}

/* ---- results */

static const char *const result_word[] = { "delivered", "deferred", "failed" };
static const char *const result_status[] = { "2.0.0", "4.0.0", "5.0.0" };

/* "550 5.1.1 no such user" or our own words. */
static void words_of(const struct reply *r, char words[REPLY_TEXT + 24])
{
	if (r->code)
		snprintf(words, REPLY_TEXT + 24, "%03d %s%s%s", r->code % 1000, r->enhanced, r->enhanced[0] ? " " : "", r->text);
	else
		snprintf(words, REPLY_TEXT + 24, "%s", r->text);
}

static void log_result(const struct attempt *a, const struct rcpt *r, const struct result *res)
{
	struct str to = { r->to.addr.local.p, r->to.addr.local.n + (r->to.addr.domain.n ? 1 + r->to.addr.domain.n : 0) };
	char words[REPLY_TEXT + 24];

	words_of(res->reply, words);
	log_event(res->what == RESULT_FAILED ? LOG_WARN : LOG_INFO, result_word[res->what], LF(
		L_TEXT("id", a->entry->msg->id), L_STR("to", to), L_TEXT("relay", res->host),
		L_NUM("delay", loop_wall() - a->mail->arrived), L_NUM("tries", a->entry->tries),
		L_TEXT("words", words)));
}

static bool said_before(const struct rcpt *r, const char *words, const char *host)
{
	return str_eq(r->words, str_of(words)) && str_eq(r->host, str_of(host && *host ? host : NULL));
}

static void say_of(struct attempt *a, struct rcpt *r, const struct result *res)
{
	char words[REPLY_TEXT + 24];

	words_of(res->reply, words);
	r->when = loop_wall();
	r->status = keep(a, res->reply->enhanced[0] ? res->reply->enhanced : result_status[res->what]);
	if (said_before(r, words, res->host))
		return;
	r->host = keep(a, res->host);
	r->words = keep(a, words);
}

static void tell(const struct attempt *a, const struct rcpt *r, const struct result *res)
{
	log_result(a, r, res);
	if (queue.conf.settled)
		queue.conf.settled(queue.conf.arg, a->mail, r, res);
}

static void mark(struct attempt *a, struct rcpt *r, const struct result *res)
{
	char by[NAME_ROOM] = "";
	struct buf who = { 0 };

	if (res->what == RESULT_FAILED) {
		r->state = RCPT_FAILED;
		r->event = a->event;
		event_print(by, a->entry, a->event);
		r->by = keep(a, by);
	} else {
		r->state = RCPT_DELIVERED;
	}
	rcpt_print(&who, a, r);
	journal_line(&a->lines, loop_wall(), result_word[res->what], buf_view(&who), str_of(by), res->reply, res->host);
	buf_free(&who);
	task_post(&a->write);
}

static void defer(struct bundle *b, struct rcpt *r, const struct result *res)
{
	struct bundle_private *p = b->x;

	char words[REPLY_TEXT + 24];

	if (!p->deferred) {
		p->deferred = true;
		p->why = *res->reply;
		str_copy(p->host, sizeof p->host, str_of(res->host));
	}
	r->deferred = true;
	words_of(&p->why, words);       /* what the destination's line will say: does it say so already? */
	r->unchanged = said_before(r, words, p->host);
	say_of(p->attempt, r, res);
}

void queue_result(struct bundle *b, size_t i, const struct result *given)
{
	struct bundle_private *p = b->x;
	struct attempt *a = p->attempt;
	struct rcpt *r = b->rcpt[i];
	struct result res = *given;

	if (!r->busy)
		return;
	if (b->mixed && res.blame == BLAME_RCPT && res.what != RESULT_DELIVERED)
		return;                 /* it stays busy: tried again for its domain alone when the bundle ends */
	r->busy = false;
	if (res.blame == BLAME_SELF && res.what == RESULT_FAILED)
		res.what = RESULT_DEFERRED;     /* a fault of ours is never a final one */
	p->self |= res.blame == BLAME_SELF;
	p->failed_dest |= res.blame == BLAME_DEST && res.what == RESULT_DEFERRED;
	if (res.what == RESULT_DEFERRED) {
		defer(b, r, &res);
	} else {
		mark(a, r, &res);
		say_of(a, r, &res);
	}
	tell(a, r, &res);
}

/* What a mixed transaction refused is tried again at once, each domain alone. */
static void split_mixed(struct bundle *b)
{
	for (size_t i = 0; i < b->n; i++) {
		struct rcpt *first = b->rcpt[i];
		struct bundle *apart = first && first->busy ? new_bundle(b->x->attempt, b->dest) : NULL;

		if (!apart)
			continue;
		for (size_t k = i; k < b->n; k++) {
			struct rcpt *r = b->rcpt[k];

			if (!r || !r->busy || !str_eq_nocase(r->to.addr.domain, first->to.addr.domain))
				continue;
			bundle_add(apart, r);
			b->rcpt[k] = NULL;
		}
		lay_ready(apart, true);
	}
}

/* One line per destination, and none that only repeats what is there. */
static void journal_deferral(struct bundle *b)
{
	struct str last = { "", 0 };
	char token[DEST_MAX + 1];

	for (size_t i = 0; i < b->n; i++) {
		struct rcpt *r = b->rcpt[i];

		if (!r || r->state != RCPT_OPEN || !r->deferred || r->unchanged || str_eq_nocase(last, r->to.addr.domain))
			continue;
		last = r->to.addr.domain;
		dest_token(last, token);
		journal_line(&b->x->attempt->lines, loop_wall(), "deferred", str_of(token), STR(""), &b->x->why, b->x->host);
	}
}

void queue_done(struct bundle *b, const struct result *rest)
{
	static const struct reply silence = { .text = "the delivery ended without a result" };
	static const struct result none = { .what = RESULT_DEFERRED, .blame = BLAME_RCPT, .reply = &silence };
	struct attempt *a = b->x->attempt;
	struct dest *d = b->dest;
	bool failed = false, self = false;
	struct reply why;

	for (size_t i = 0; i < b->n; i++)
		queue_result(b, i, rest ? rest : &none);
	if (b->mixed)
		split_mixed(b);
	if (b->x->deferred) {
		journal_deferral(b);
		count_deferred();
	}
	failed = b->x->failed_dest;
	self = b->x->self;
	why = b->x->why;
	a->self |= self;
	a->counts |= !self;
	a->started--;
	dest_hold(d);
	end_bundle(b);
	if (!a->bundles.n)
		settle(a);
	if (failed || !self)
		dest_went(d, failed ? &why : NULL);
	dest_release(d);
}

/* ---- the journal */

/* Our disk refuses: nothing is forgotten, nothing is tried again, and no new mail is taken until it is written. */
static void stuck(struct attempt *a, const char *what)
{
	if (!a->stuck) {
		a->stuck = true;
		intake_hold(1);
		log_event(LOG_ERROR, "cannot-record", LF(L_TEXT("id", a->entry->msg->id), L_TEXT("what", what), L_TEXT("error", strerror(errno)),
			L_TEXT("msg", "no mail is accepted until this can be written")));
	}
	timer_set(&a->again, STUCK_AGAIN_MS);
}

static void unstick(struct attempt *a)
{
	if (!a->stuck)
		return;
	a->stuck = false;
	timer_stop(&a->again);
	intake_hold(-1);
	log_event(LOG_INFO, "recorded", LF(L_TEXT("id", a->entry->msg->id)));
}

/* 0, or -1 with errno: what was half written is cut off again. */
static int write_lines(struct attempt *a)
{
	if (a->lines.bad)
		abort();        /* as timer_set(): a start reads what is on disk; going on with a line lost would repeat deliveries */
	if (a->lines.n == 0)
		return 0;
	if (journal_append(a->mail, a->lines.p, a->lines.n) == -1)
		return -1;
	buf_clear(&a->lines);
	if (sync_marks(a->mail->fd, &a->round) == -1)
		log_event(LOG_WARN, "cannot-sync-soon", LF(L_TEXT("id", a->entry->msg->id), L_TEXT("error", strerror(errno))));
	return 0;
}

/* What was put off to the end of the turn, or refused by our disk. */
static void go_on(struct attempt *a)
{
	if (!a->bundles.n)
		settle(a);
	else if (write_lines(a) == -1)
		stuck(a, "a result in the journal");
	else
		unstick(a);
}

static void write_task(struct task *t)
{
	go_on(owner_of(t, struct attempt, write));
}

static void try_again(struct timer *t)
{
	go_on(owner_of(t, struct attempt, again));
}

/* ---- reports */

static bool wants(const struct rcpt *r, unsigned what)
{
	return r->to.notify == 0 || (r->to.notify & what);
}

/* The lowest event of this entry that is not reported yet; 0: none. */
static unsigned unreported(const struct attempt *a)
{
	unsigned lowest = 0;

	for (size_t i = 0; i < a->mail->nrcpt; i++) {
		const struct rcpt *r = &a->mail->rcpt[i];

		if (r->state == RCPT_FAILED && r->event && !r->reported && wants(r, NOTIFY_FAILURE) && (!lowest || r->event < lowest))
			lowest = r->event;
	}
	return lowest;
}

/* A commit or a sync has come out as ok. While one is awaited, the attempt stays open. False: it is stuck. */
static bool awaited(struct attempt *a, bool ok, const char *what)
{
	a->awaits = false;
	if (ok)
		return true;
	errno = EIO;
	stuck(a, what);
	return false;
}

static void report_committed(void *arg, bool ok)
{
	struct attempt *a = arg;
	char by[NAME_ROOM];

	if (!awaited(a, ok, "a report"))
		return;
	if (a->reporting == DELAY_EVENT) {
		a->mail->delay_told = a->entry->msg->delay_told = true;
		journal_line(&a->lines, loop_wall(), "delayed", STR(""), STR(""), NULL, NULL);
	} else {
		event_print(by, a->entry, a->reporting);
		journal_line(&a->lines, loop_wall(), "reported", STR(""), str_of(by), NULL, NULL);
		for (size_t i = 0; i < a->mail->nrcpt; i++)
			if (a->mail->rcpt[i].event == a->reporting)
				a->mail->rcpt[i].reported = true;
	}
	settle(a);
}

static bool all_ascii(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)p[i] >= 0x80)
			return false;
	return true;
}

static bool report_envelope(const struct attempt *a, const struct buf *text, struct envelope *env)
{
	const struct addr *to = &a->mail->from.addr;
	struct sender nobody = { .body = BODY_8BITMIME };
	struct recipient back = { .addr = *to };

	nobody.has_body = !all_ascii(text->p, text->n);
	nobody.smtputf8 = !all_ascii(to->local.p, to->local.n) || !all_ascii(to->domain.p, to->domain.n);
	return envelope_origin(env, "report about %s", a->entry->msg->id) && envelope_sender(env, &nobody) && envelope_rcpt(env, &back);
}

static struct draft *report_draft(struct attempt *a, enum report_kind kind, unsigned event)
{
	int64_t next = a->entry->next > loop_wall() ? a->entry->next : 0;
	struct envelope env = { 0 };
	struct buf text = { 0 };
	struct draft *d = NULL;
	char id[ID_MAX];

	/* one delay notice tells of the whole message */
	id_of_report(id, a->entry->msg->id, kind == REPORT_DELAYED ? "+" : a->entry->dest, event);
	if (queue.conf.report(queue.conf.arg, kind, a->mail, event, next, &text) && report_envelope(a, &text, &env))
		d = queue_draft(&env, id);
	if (d && draft_write(d, text.p, text.n) == -1) {
		draft_abort(d);
		d = NULL;
	}
	if (d)
		log_event(LOG_INFO, kind == REPORT_FAILED ? "report-failed" : "report-delayed", LF(L_TEXT("id", a->entry->msg->id), L_TEXT("report", id)));
	buf_free(&text);
	envelope_free(&env);
	return d;
}

static void send_report(struct attempt *a, enum report_kind kind, unsigned event)
{
	struct draft *d = report_draft(a, kind, event);

	if (!d) {
		stuck(a, "a report");
		return;
	}
	slot_take(a);           /* killed between commit and note, the next start notes it before the report can have left */
	a->awaits = true;
	a->reporting = event;
	a->entry->msg->delay_told |= kind == REPORT_DELAYED;
	queue_commit(d, report_committed, a);
}

static bool delay_is_due(const struct attempt *a)
{
	bool told = a->mail->delay_told || (a->entry->msg->delay_told && a->reporting != DELAY_EVENT);

	if (!queue.conf.delay_notice || told || !clock_is_sane() || a->mail->from.addr.local.n == 0)
		return false;
	if (loop_wall() - a->mail->arrived < queue.conf.delay_notice)
		return false;
	for (size_t i = 0; i < a->mail->nrcpt; i++) {
		const struct rcpt *r = &a->mail->rcpt[i];

		/* RFC 3461 4.1: NOTIFY without DELAY means no delay notice; not said: we may */
		if (r->state == RCPT_OPEN && r->mine && wants(r, NOTIFY_DELAY))
			return true;
	}
	return false;
}

/* ---- the end of the lifetime */

static bool expired(const struct attempt *a)
{
	int64_t from = a->mail->release > a->mail->arrived ? a->mail->release : a->mail->arrived;

	/* A machine that was off for a week shall try first. What waits behind a dead destination has been tried by its probes. */
	return clock_is_sane() && loop_wall() - from > queue.conf.lifetime && (a->entry->tries > 0 || dest_is_failing(a->entry));
}

/* The last that was heard: by the recipient, or by others that went the same way. */
static struct str last_words(const struct attempt *a, const struct rcpt *r, char room[REPLY_TEXT + 24])
{
	if (r->words.n)
		return r->words;
	if (!dest_is_failing(a->entry))
		return STR("none");
	words_of(&a->entry->domain->dest->last, room);
	return str_of(room);
}

static void give_up(struct attempt *a)
{
	struct reply why = { .enhanced = "5.4.7" };
	char host[400], room[REPLY_TEXT + 24];

	for (size_t i = 0; i < a->mail->nrcpt; i++) {
		struct rcpt *r = &a->mail->rcpt[i];
		struct result res = { .what = RESULT_FAILED, .reply = &why, .host = host };
		struct str last;

		if (r->state != RCPT_OPEN || !r->mine)
			continue;
		str_copy(host, sizeof host, r->host);
		last = last_words(a, r, room);
		snprintf(why.text, sizeof why.text, "given up after %" PRId64 " hours in the queue; the last answer was: %.*s",
			(loop_wall() - a->mail->arrived) / 3600, (int)(last.n < 400 ? last.n : 400), last.p);
		mark(a, r, &res);
		say_of(a, r, &res);
		tell(a, r, &res);
	}
}

/* ---- links: a destination of a "+" that must wait gets a name of its own */

/* What is left open of a "+", domain by domain. Domains that may share a transaction stay together under "+": apart, they
 * would be sent apart. */
struct group {
	struct map_node by_domain, by_key;
	struct way way;
	struct rcpt *first;
	bool together;
	bool tried;                     /* in this attempt */
};
struct split {
	struct group *group;
	size_t n, apart;                /* groups; those that want a name of their own */
	struct map domains, keys;
};

static void split_free(struct split *s)
{
	map_free(&s->domains);
	map_free(&s->keys);
	free(s->group);
}

static void split_add(struct split *s, struct rcpt *r)
{
	struct group *g = &s->group[s->n];
	struct map_node *other = map_get(&s->domains, r->to.addr.domain);

	if (other) {
		owner_of(other, struct group, by_domain)->tried |= r->deferred;
		return;
	}
	queue.conf.way(queue.conf.arg, r->to.addr.domain, &g->way);
	g->first = r;
	g->tried = r->deferred;
	if (!map_put(&s->domains, &g->by_domain, r->to.addr.domain))
		return;
	s->n++;
	s->apart++;
	other = g->way.shared ? map_get(&s->keys, str_of(g->way.key)) : NULL;
	if (!other) {
		map_put(&s->keys, &g->by_key, str_of(g->way.key));
		return;
	}
	g->together = true;
	s->apart--;
	if (!owner_of(other, struct group, by_key)->together) {
		owner_of(other, struct group, by_key)->together = true;
		s->apart--;
	}
}

/* False: no memory. */
static bool split_make(struct attempt *a, struct split *s)
{
	size_t room = 0;

	*s = (struct split){ 0 };
	for (size_t i = 0; i < a->mail->nrcpt; i++)
		room += a->mail->rcpt[i].state == RCPT_OPEN;
	s->group = calloc(room ? room : 1, sizeof *s->group);
	if (!s->group)
		return false;
	for (size_t i = 0; i < a->mail->nrcpt; i++) {
		struct rcpt *r = &a->mail->rcpt[i];

		if (r->state == RCPT_OPEN && r->mine)
			split_add(s, r);
	}
	return true;
}

static void links_durable(void *arg, bool ok)
{
	struct attempt *a = arg;

	if (!awaited(a, ok, "the names of its destinations"))
		return;
	buf_str(&a->lines, buf_view(&a->linked));
	buf_clear(&a->linked);
	settle(a);
}

/* The name for one destination of a "+": one that was not tried loses no time and no attempt. */
static void name_apart(const struct attempt *a, const struct group *g, char name[NAME_ROOM], char token[DEST_MAX + 1])
{
	const struct entry *e = a->entry;
	bool as_before = a->moved && !g->tried;

	dest_token(g->first->to.addr.domain, token);
	entry_print(name, as_before ? loop_wall() : e->next, false, as_before ? a->old_tries : e->tries, e->msg->id, token);
}

static void no_longer_mine(struct attempt *a, struct str domain)
{
	for (size_t i = 0; i < a->mail->nrcpt; i++)
		if (str_eq(a->mail->rcpt[i].to.addr.domain, domain))
			a->mail->rcpt[i].mine = false;
}

/* Makes up to LINKS_A_TURN names. 0: links are refused here, "+" goes on standing for all. */
static size_t make_links(struct attempt *a, const struct split *s)
{
	struct entry *e = a->entry;
	char from[NAME_ROOM], to[NAME_ROOM], token[DEST_MAX + 1];
	size_t made = 0;

	entry_print(from, e->next, false, e->tries, e->msg->id, e->dest);
	for (size_t i = 0; i < s->n && made < LINKS_A_TURN; i++) {
		if (s->group[i].together)
			continue;
		name_apart(a, &s->group[i], to, token);
		if (file_sys.link(queue.cur, from, queue.cur, to) == -1 && errno != EEXIST)
			break;
		if (!index_name(to, true))
			break;
		no_longer_mine(a, s->group[i].first->to.addr.domain);
		journal_line(&a->linked, loop_wall(), "linked", str_of(token), STR(""), NULL, NULL);
		made++;
	}
	a->links_made |= made > 0;
	return made;
}

/* One destination is left: its name takes the place of "+". */
static void become(struct attempt *a, const struct group *g)
{
	struct entry *e = a->entry;
	char from[NAME_ROOM], to[NAME_ROOM], token[DEST_MAX + 1];

	name_apart(a, g, to, token);
	entry_print(from, e->next, false, e->tries, e->msg->id, e->dest);
	if (file_sys.rename(queue.cur, from, queue.cur, to) == -1) {
		put_back(a);            /* "+" does as well */
		return;
	}
	index_name(to, true);
	forget_entry(a);
}

/* ---- settling: run from the top whenever something it waited for has come about */

static bool has_open(const struct attempt *a)
{
	for (size_t i = 0; i < a->mail->nrcpt; i++)
		if (a->mail->rcpt[i].state == RCPT_OPEN && a->mail->rcpt[i].mine)
			return true;
	return false;
}

static void remove_entry(struct attempt *a)
{
	if (unlink_entry(a->entry) == -1) {
		int saved = errno;

		/* Moved by hand, perhaps, or our disk refuses: whoever meets the file again shall read that all is done. */
		write_lines(a);
		errno = saved;
		if (errno != ENOENT) {
			stuck(a, "that it is done");
			return;
		}
		index_scan_soon();
	}
	sync_names();
	log_event(LOG_DEBUG, "removed", LF(L_TEXT("id", a->entry->msg->id), L_TEXT("dest", a->entry->dest)));
	forget_entry(a);
}

/* A report, or mail without a sender, that cannot be delivered: kept for the postmaster's eyes, never answered. */
static void set_aside_unreportable(struct attempt *a)
{
	struct buf why = { 0 };
	char name[NAME_ROOM];

	buf_puts(&why, "It could not be delivered, and there is nobody to tell: its sender is <>.\n");
	for (size_t i = 0; i < a->mail->nrcpt; i++) {
		const struct rcpt *r = &a->mail->rcpt[i];

		if (r->state != RCPT_FAILED)
			continue;
		rcpt_print(&why, a, r);
		buf_printf(&why, ": " STR_FMT "\n", STR_ARG(r->words));
	}
	entry_print(name, a->entry->next, false, a->entry->tries, a->entry->msg->id, a->entry->dest);
	if (write_lines(a) == -1 || !queue_set_aside(queue.cur, name, buf_cstr(&why)))
		stuck(a, "that it is undeliverable");
	else
		forget_entry(a);
	buf_free(&why);
}

/* Our own fault counts as no attempt: the name goes back to the tries it had. */
static void uncount(struct attempt *a)
{
	struct entry *e = a->entry;

	if (!a->self || a->counts || !a->moved)
		return;
	if (restamp(e, loop_wall() + back_off(1), a->old_tries) == -1 && errno == ENOENT)
		index_scan_soon();
	a->self = false;
}

/* A name whose stamp has passed while it was tried, or that a wrong clock put years away. */
static void mend_stamp(struct attempt *a)
{
	struct entry *e = a->entry;
	int64_t now = loop_wall();
	bool passed = a->moved && e->next <= now + 10 && queue.conf.retry_first > 20;
	bool far = e->next > now + 2 * queue.conf.retry_max && e->next > a->mail->release + 2 * queue.conf.retry_max;

	if (!passed && !far)
		return;
	if (restamp(e, now + back_off(e->tries ? e->tries : 1), e->tries) == -1 && errno == ENOENT)
		index_scan_soon();
}

/* Now that the file was read: does all that is open go one way? Then the entry waits there from now on, unopened. */
static void learn_way(struct attempt *a)
{
	const struct rcpt *first = NULL, *last = NULL;
	struct way one, other;

	for (size_t i = 0; !a->entry->domain && i < a->mail->nrcpt; i++) {
		const struct rcpt *r = &a->mail->rcpt[i];

		if (r->state != RCPT_OPEN || !r->mine || (last && str_eq(last->to.addr.domain, r->to.addr.domain)))
			continue;
		last = r;
		queue.conf.way(queue.conf.arg, r->to.addr.domain, first ? &other : &one);
		if (first && strcmp(one.key, other.key) != 0)
			return;
		if (!first)
			first = r;
	}
	if (first)
		index_learn(a->entry, first->to.addr.domain);
}

static void stay(struct attempt *a)
{
	learn_way(a);
	put_back(a);
}

/* Something is still to be delivered: under which name? unreportable: "+" must stay for those that failed. */
static void keep_in_queue(struct attempt *a, bool unreportable)
{
	struct split s;

	if (!is_plus(a->entry) || !split_make(a, &s)) {
		stay(a);
		return;
	}
	if (s.n == 1 && !a->links_made && !unreportable) {
		become(a, &s.group[0]);
	} else if (s.apart && make_links(a, &s)) {
		a->awaits = true;
		sync_dir(links_durable, a);
	} else {
		stay(a);
	}
	split_free(&s);
}

/* Has the message other names, which will read the journal? */
static bool has_siblings(const struct attempt *a)
{
	return a->entry->sibling || a->entry->msg->entries != a->entry;
}

static void settle(struct attempt *a)
{
	bool nobody = a->mail->from.addr.local.n == 0, done;
	unsigned event;

	if (a->awaits)
		return;
	if (a->linked.n) {              /* names were made; before they are durable nothing may rely on them */
		a->awaits = true;
		sync_dir(links_durable, a);
		return;
	}
	if (expired(a))
		give_up(a);
	event = unreported(a);
	done = !has_open(a);
	if (done && !event && !has_siblings(a)) {
		remove_entry(a);        /* all is done: the name goes, so what is left to write need not be written */
		return;
	}
	if (write_lines(a) == -1) {
		stuck(a, "a result in the journal");
		return;
	}
	if (event && nobody && done) {
		set_aside_unreportable(a);
		return;
	}
	if (event && !nobody) {
		send_report(a, REPORT_FAILED, event);
		return;
	}
	if (done) {
		remove_entry(a);
		return;
	}
	if (delay_is_due(a)) {
		send_report(a, REPORT_DELAYED, DELAY_EVENT);
		return;
	}
	unstick(a);
	a->entry->msg->delay_seen = clock_is_sane() && loop_wall() - a->mail->arrived > queue.conf.delay_notice;
	uncount(a);
	mend_stamp(a);
	keep_in_queue(a, event > 0);
}

/* ---- the process ends: everything open is as after a crash. The intake closes next, and calls nobody who waits for it. */

void attempts_close(void)
{
	struct node *x;

	if (!open_attempts.head.next)
		return;
	while ((x = list_first(&open_attempts))) {
		struct attempt *a = owner_of(x, struct attempt, open);

		if (write_lines(a) == -1)
			log_event(LOG_ERROR, "cannot-record", LF(L_TEXT("id", a->entry->msg->id), L_TEXT("error", strerror(errno))));
		drop_unstarted(a);
		while ((x = list_first(&a->bundles)))
			end_bundle(owner_of(x, struct bundle_private, mine)->bundle);
		close_attempt(a);
	}
}
