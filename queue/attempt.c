/* One entry being tried: opening it, its bundles, their results, and the journal. What follows is in queue/settle.c. */
#include "queue/inside.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/log.h"

enum {
	LOCKED_AGAIN_S = 30,            /* a delivery child of an earlier process still has the message */
	TROUBLE_AGAIN_S = 60,           /* the file cannot be opened or moved for now */
	WRITING_S = 2,                  /* who copies a file into the queue does not pause for so long */
	STUCK_AGAIN_MS = 5000,          /* our disk refuses a mark; doubled each time */
	STUCK_LONGEST_MS = 60000,
	SAID_DOMAINS = 8,               /* of a bundle that what was said is noted for: a host that takes all of them would have it a thousand times */
	CLOCK_LEAP_S = 86400,
	CLOCK_DISTRUST_MS = 3600000
};

/* Words that results point to for the rest of the attempt. */
struct kept {
	struct kept *next;
	char text[];
};

static struct list open_attempts;
static struct list unwritten;           /* attempts with lines for the end of this turn */
static size_t nopen;
static uint64_t octets_read;            /* in the turn ... */
static unsigned read_in;                /* ... of this number */

size_t attempts_open(void)
{
	return nopen;
}

bool attempts_enough(void)
{
	return read_in == loop_turns() && octets_read >= READ_A_TURN;
}

static void count_read(uint64_t octets)
{
	if (read_in != loop_turns())
		octets_read = 0;
	read_in = loop_turns();
	octets_read += octets;
}

/* ---- small things */

static struct str keep_str(struct attempt *a, struct str text)
{
	struct kept *k = text.n ? malloc(sizeof *k + text.n) : NULL;

	if (!k)
		return (struct str){ "", 0 };
	memcpy(k->text, text.p, text.n);
	k->next = a->kept;
	a->kept = k;
	return (struct str){ k->text, text.n };
}

static struct str keep(struct attempt *a, const char *text) { return keep_str(a, str_of(text)); }

/* A leap is a difference between what the two clocks of the machine have counted. A first setting is none. */
bool clock_is_sane(void)
{
	static int64_t last;
	static msec distrusted_until;
	int64_t apart = loop_wall() - loop_now() / 1000, leap = last ? apart - last : 0;

	if (loop_wall() < CLOCK_SANE) {
		last = 0;
		return false;
	}
	last = apart;
	if (leap > CLOCK_LEAP_S || leap < -CLOCK_LEAP_S) {
		log_text(LOG_ERROR, "clock", "it has leapt by %" PRId64 " hours; nothing expires and nothing is reported for an hour", leap / 3600);
		distrusted_until = loop_now() + CLOCK_DISTRUST_MS;
	}
	return loop_now() >= distrusted_until;
}

bool entry_is_plus(const struct entry *e)
{
	return strcmp(e->dest, "+") == 0;
}

/* Is this recipient's delivery this entry's business? r->mine says so while it is open. */
static bool covers(const struct entry *e, const struct rcpt *r)
{
	char token[DEST_MAX + 1];

	if (!entry_is_plus(e))
		return rcpt_is_at(r, str_of(e->dest));
	dest_token(r->to.addr.domain, token);
	return !r->linked && !entry_find(e->msg, str_of(token));
}

/* "<dest>.<n>" of this entry -> n, else 0. */
static unsigned event_of(const struct entry *e, struct str by)
{
	struct str dest;
	uint64_t n;

	return str_cut_last(&by, '.', &dest) && str_eq(dest, str_of(e->dest)) && str_number(by, DELAY_EVENT - 1, &n) ? (unsigned)n : 0;
}

void event_print(char by[NAME_ROOM], const struct entry *e, unsigned event)
{
	snprintf(by, NAME_ROOM, "%.180s.%u", e->dest, event);
}

void rcpt_print(struct buf *out, const struct attempt *a, const struct rcpt *r)
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

/* Entries that were to end with it, and did not: they are as they were. */
static void part_with_joined(struct attempt *a)
{
	for (struct entry *e = a->entry->msg->entries; e && a->joined; e = e->sibling) {
		if (e == a->entry || !entry_is_in(e, a))
			continue;
		e->attempt = NULL;
		e->state = ENTRY_SCHEDULED;
		schedule_entry(e);
		a->joined--;
	}
}

static void close_attempt(struct attempt *a)
{
	struct kept *k;

	while ((k = a->kept)) {
		a->kept = k->next;
		free(k);
	}
	part_with_joined(a);
	slot_give(a);
	attempt_gone(a);
	task_cancel(&a->write);
	list_remove(&unwritten, &a->unwritten);
	timer_stop(&a->again);
	if (a->stuck)
		intake_hold(-1);
	list_remove(&open_attempts, &a->open);
	nopen--;
	mail_free(a->mail);
	buf_free(&a->order);
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

/* Somebody has moved its name or taken it out, or our disk refuses a new one: then it keeps the old one, and waits all the same. */
static void stays_unnamed(struct attempt *a, int64_t *when)
{
	struct entry *e = a->entry;

	if (errno == ENOENT)
		index_scan_soon();
	else
		log_event(LOG_ERROR, "cannot-rename", LF(L_TEXT("id", e->msg->id), L_TEXT("dest", e->dest), L_TEXT("error", strerror(errno))));
	*when = e->next;
	attempt_unmove(a);
}

/* The entry stays in the queue under its name, for its stamp. */
void attempt_put_back(struct attempt *a)
{
	struct entry *e = a->entry;
	bool nothing_new = entry_is_blind(e) && !a->moved;
	bool ordered = e->msg->ordered && !a->order.n;  /* while it was open */
	int64_t when = 0;
	char name[NAME_ROOM];

	if (attempt_name(a) == -1)
		stays_unnamed(a, &when);
	/* Not when its attempt begins: most leave. One that comes back from the log has the tries of the last time it stayed. */
	entry_name_of(e, name);
	if (a->moved)
		wal_name(NULL, name);
	close_attempt(a);
	e->state = ENTRY_SCHEDULED;
	if (ordered)
		schedule_at(e, loop_wall());
	else if (nothing_new && e->next <= loop_wall())
		later(e, TROUBLE_AGAIN_S);      /* its ways are all blocked: not to be opened again and again for that */
	else if (when)
		schedule_at(e, when);
	else
		schedule_entry(e);
}

void attempt_forget_entry(struct attempt *a)
{
	struct entry *e = a->entry;

	close_attempt(a);
	e->state = ENTRY_SCHEDULED;
	if (e->msg->ordered && e->msg->entries == e && !e->sibling)
		order_done(e->msg->id);
	index_drop(e);
}

/* ---- the name */

/* Renames the entry. 0 or -1 with errno; ENOENT: somebody has moved or removed it. */
int entry_restamp(struct entry *e, int64_t next, unsigned tries)
{
	char from[NAME_ROOM], to[NAME_ROOM];

	entry_name_of(e, from);
	entry_print(to, next, false, tries, e->msg->id, e->dest);
	if (strcmp(from, to) != 0 && file_sys.rename(queue.cur, from, queue.cur, to) == -1)
		return -1;
	e->next = next;
	e->tries = tries;
	if (e->state == ENTRY_OPEN && e->attempt)
		e->attempt->unnamed = false;
	return 0;
}

int attempt_name(struct attempt *a)
{
	return a->unnamed ? entry_restamp(a->entry, a->entry->next, a->entry->tries) : 0;
}

void attempt_unmove(struct attempt *a)
{
	a->entry->next = a->old_next;
	a->entry->tries = a->old_tries;
	a->unnamed = false;
}

bool entry_has_name(const struct entry *e)
{
	char name[NAME_ROOM];

	entry_name_of(e, name);
	return faccessat(queue.cur, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

int entry_unlink(const struct entry *e)
{
	char name[NAME_ROOM];

	entry_name_of(e, name);
	return file_sys.unlink(queue.cur, name);
}

/* ---- opening */

/* Somebody is copying it to where it is. What a crash has torn was written before we began. */
static bool is_being_written(const char *name)
{
	int64_t now = loop_wall();
	struct stat st;

	return fstatat(queue.cur, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) && st.st_mtim.tv_sec >= queue.began &&
		st.st_mtim.tv_sec >= now - WRITING_S && st.st_mtim.tv_sec <= now + WRITING_S;
}

/* Some file system error, or the file is not ours: where does the entry go? */
static void could_not_open(struct entry *e, const char *why)
{
	char name[NAME_ROOM];
	int error = errno;

	entry_name_of(e, name);
	if (error == ENOENT) {          /* moved or removed by hand: look the directory through */
		e->state = ENTRY_SCHEDULED;
		index_miss(e);
		index_drop(e);
		index_scan_soon();
		return;
	}
	if (error == EBADMSG && why && is_being_written(name)) {
		later(e, WRITING_S);
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

/* A name by hand may have a destination that the envelope knows nothing of: it must not pass for one that is done. */
static bool concerns_somebody(const struct entry *e, const struct mail *m)
{
	for (size_t i = 0; i < m->nrcpt && !entry_is_plus(e); i++)
		if (rcpt_is_at(&m->rcpt[i], str_of(e->dest)))
			return true;
	return entry_is_plus(e);
}

static struct mail *open_mail(struct entry *e)
{
	struct str only = entry_is_plus(e) ? STR("") : str_of(e->dest);
	char name[NAME_ROOM];
	const char *why;
	struct mail *m;

	entry_name_of(e, name);
	m = intake_fresh(e->msg->id, name, only);
	if (m)
		return m;
	m = mail_open(queue.cur, name, true, !e->msg->checked, only, &why);
	if (!m) {
		could_not_open(e, why);
		return NULL;
	}
	count_read(m->text.n + (e->msg->checked ? 0 : (uint64_t)m->size));
	if (strcmp(m->id, e->msg->id) != 0) {
		mail_free(m);
		errno = EBADMSG;
		could_not_open(e, "The id in the file's name is not the id in its envelope.");
		return NULL;
	}
	if (!concerns_somebody(e, m)) {
		mail_free(m);
		errno = EBADMSG;
		could_not_open(e, "No recipient of the message is at the destination in the file's name. Give it the name it had, or one with + for "
			"the destination, and move it back to cur/.");
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

/* It did not wait for a destination's turn. */
static bool opened_blind(const struct entry *e) { return entry_is_plus(e) || entry_is_blind(e); }

/* Where does a recipient's mail go? Neighbours in the envelope mostly share a domain. */
static struct dest *dest_of_rcpt(const struct attempt *a, const struct rcpt *r, const struct rcpt *last, struct dest *last_dest)
{
	if (a->order.n)
		return dest_for(r->to.addr.domain, &a->mail->from.addr, order_row(buf_view(&a->order), "route", &r->to.addr));
	if (last && last_dest && str_eq(last->to.addr.domain, r->to.addr.domain))
		return last_dest;
	return dest_for(r->to.addr.domain, &a->mail->from.addr, STR(""));
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
		d = dest_of_rcpt(a, r, last, d);
		last = r;
		b = d && !d->down ? bundle_for(a, d, r) : NULL;
		if (!b)
			continue;               /* no memory: it stays open and is deferred without a word */
		if (!bundle_add(b, r) && b->n == 0) {
			d->gather = NULL;
			end_bundle(b);
		} else if (b->n == 1) {
			lay_ready(b, !opened_blind(a->entry));
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

static void write_soon(struct task *);
static void write_unwritten(struct turn_end *);
static struct turn_end write_all = { .run = write_unwritten };
static void try_again(struct timer *);

/* A "+" that stands for nobody while somebody has no name at all was written by hand in place of his. */
static void take_nameless(struct attempt *a)
{
	bool any = !entry_is_plus(a->entry);

	for (size_t i = 0; i < a->mail->nrcpt && !any; i++)
		any = a->mail->rcpt[i].state == RCPT_OPEN && a->mail->rcpt[i].mine;
	for (size_t i = 0; i < a->mail->nrcpt && !any; i++) {
		struct rcpt *r = &a->mail->rcpt[i];
		const struct entry *e;
		char token[DEST_MAX + 1];

		dest_token(r->to.addr.domain, token);
		e = entry_find(a->entry->msg, str_of(token));
		r->mine = r->state == RCPT_OPEN && !(e && entry_has_name(e));
	}
}

void attempt_read_rcpts(struct attempt *a)
{
	for (size_t i = 0; i < a->mail->nrcpt; i++) {
		struct rcpt *r = &a->mail->rcpt[i];

		r->mine = covers(a->entry, r);
		if (r->state == RCPT_OPEN)
			continue;
		r->event = event_of(a->entry, r->by);
		if (r->event >= a->event)
			a->event = r->event + 1;
	}
	take_nameless(a);
}

/* False: what is wanted cannot be understood, so nothing is done. */
static bool read_order(struct attempt *a)
{
	struct entry *e = a->entry;
	const char *wrong;

	if (!e->msg->ordered)
		return true;
	wrong = order_read(queue.dir, e->msg->id, &a->order);
	if (wrong)
		log_event(LOG_ERROR, "bad-order", LF(L_TEXT("id", e->msg->id), L_TEXT("error", wrong), L_TEXT("remedy",
			"mend or remove the file of this name in orders/; the message waits")));
	else
		e->msg->ordered = a->order.n > 0;
	return !wrong;
}

/* Whom somebody has given up. */
static void fail_as_ordered(struct attempt *a)
{
	struct reply why = { .enhanced = "5.0.0" };
	struct result res = { .what = RESULT_FAILED, .reply = &why };

	for (size_t i = 0; a->order.n && i < a->mail->nrcpt; i++) {
		struct rcpt *r = &a->mail->rcpt[i];
		struct str reason = order_row(buf_view(&a->order), "fail", &r->to.addr);

		if (r->state != RCPT_OPEN || !r->mine || !reason.n)
			continue;
		str_copy(why.text, sizeof why.text, (struct str){ reason.p, reason.n < sizeof why.text ? reason.n : sizeof why.text - 1 });
		attempt_mark(a, r, &res);
		attempt_say(a, r, &res);
		attempt_tell(a, r, &res);
	}
}

static size_t names_known(const struct message *m)
{
	size_t n = 0;

	for (const struct entry *e = m->entries; e; e = e->sibling)
		n++;
	return n;
}

struct attempt *attempt_open(struct entry *e, bool look_only)
{
	struct attempt *a = calloc(1, sizeof *a);
	bool first_time = !e->msg->checked;

	if (!a) {
		later(e, TROUBLE_AGAIN_S);
		return NULL;
	}
	if (!open_attempts.head.next) {
		list_init(&open_attempts);
		list_init(&unwritten);
	}
	loop_at_turn_end(&write_all);
	e->state = ENTRY_OPEN;
	a->mail = open_mail(e);
	if (!a->mail) {
		free(a);
		return NULL;
	}
	a->entry = e;
	e->attempt = a;
	a->event = 1;
	a->write.run = write_soon;
	a->again.expired = try_again;
	list_init(&a->bundles);
	list_push(&open_attempts, &a->open);
	nopen++;
	a->named_twice = a->mail->names > names_known(e->msg);
	attempt_read_rcpts(a);
	alias_recover(a);
	if (first_time)
		alias_note_in_parent(a->mail);
	if (!read_order(a)) {
		close_attempt(a);
		later(e, TROUBLE_AGAIN_S);
		return NULL;
	}
	fail_as_ordered(a);
	if (!look_only) {
		gather(a);
		forget_gather(a);
	}
	if (a->bundles.n)
		return a;
	attempt_settle(a);
	return NULL;
}

/* ---- bundles */

/* The entry moves before any connection is made for it: a restart storm is no storm of deliveries. What is in the lock file gets its new
 * name when it stays, as most leave, or from the next start. */
static bool move_for_attempt(struct attempt *a)
{
	struct entry *e = a->entry;
	int64_t next = loop_wall() + back_off(e->tries + 1);

	if (a->moved)
		return true;
	a->old_next = e->next;
	a->old_tries = e->tries;
	if (slot_take(a)) {
		if (!entry_has_name(e))
			return false;
		a->unnamed = true;
		e->next = next;
		e->tries++;
	} else if (entry_restamp(e, next, e->tries + 1) == -1) {
		return false;
	}
	a->moved = true;
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
		attempt_settle(a);
}

bool attempt_park_one(void)
{
	for (struct node *x = list_first(&open_attempts); x; x = list_next(&open_attempts, x)) {
		struct attempt *a = owner_of(x, struct attempt, open);

		if (a->started || !a->bundles.n || !opened_blind(a->entry))
			continue;
		drop_unstarted(a);
		attempt_settle(a);
		return true;
	}
	return false;
}

/* ---- results */

static const char *const result_word[] = { "delivered", "deferred", "failed" };
static const char *const result_status[] = { "2.0.0", "4.0.0", "5.0.0" };

/* "550 5.1.1 no such user" or our own words. */
void words_of(const struct reply *r, char words[REPLY_TEXT + 24])
{
	if (r->code)
		snprintf(words, REPLY_TEXT + 24, "%03d %s%s%s", r->code % 1000, r->enhanced, r->enhanced[0] ? " " : "", r->text);
	else
		snprintf(words, REPLY_TEXT + 24, "%s", r->text);
}

/* What a list takes is delivered (RFC 3461 5.2.7.1): what it sends on is its own. */
static bool is_expanded(const struct result *res)
{
	return res->what == RESULT_DELIVERED && res->into && res->handed != HANDED_DELIVERED;
}

static bool is_ours(enum blame b) { return b >= BLAME_MESSAGE; }

/* With this one, as the name will say: a fault of our own counts as none. */
static unsigned tries_now(const struct attempt *a, const struct result *res)
{
	return res->what == RESULT_DEFERRED && is_ours(res->blame) && a->moved && !a->counts ? a->old_tries : a->entry->tries;
}

static void log_result(const struct attempt *a, const struct rcpt *r, const struct result *res)
{
	struct str to = { r->to.addr.local.p, r->to.addr.local.n + (r->to.addr.domain.n ? 1 + r->to.addr.domain.n : 0) };
	char words[REPLY_TEXT + 24];

	words_of(res->reply, words);
	log_event(res->what == RESULT_FAILED ? LOG_WARN : LOG_INFO, is_expanded(res) ? "expanded" : result_word[res->what], LF(
		L_TEXT("id", a->entry->msg->id), L_STR("to", to), L_TEXT("into", res->into), L_TEXT("relay", res->host), L_TEXT("tls", res->tls),
		L_NUM("delay", attempt_age(a)), L_NUM("tries", tries_now(a, res)), L_TEXT("words", words)));
}

static bool said_before(const struct rcpt *r, const char *words, const char *host)
{
	if (r->when < CLOCK_SANE && loop_wall() > CLOCK_SANE)
		return false;           /* the line is wanted for its time */
	return str_eq(r->words, str_of(words)) && str_eq(r->host, str_of(host && *host ? host : NULL));
}

void attempt_say(struct attempt *a, struct rcpt *r, const struct result *res)
{
	char words[REPLY_TEXT + 24];

	words_of(res->reply, words);
	r->when = loop_wall();
	r->status = keep(a, res->reply->enhanced[0] ? res->reply->enhanced : result_status[res->what]);
	if (said_before(r, words, res->host))
		return;
	if (res->what == RESULT_DEFERRED || !str_eq(r->host, str_of(res->host)))
		r->said = STR("");      /* it came of another conversation */
	r->host = keep(a, res->host);
	r->words = keep(a, words);
}

void attempt_tell(const struct attempt *a, const struct rcpt *r, const struct result *res)
{
	log_result(a, r, res);
	if (queue.conf.settled)
		queue.conf.settled(queue.conf.arg, a->mail, r, res);
}

/* RFC 3461 4.1: the sender hears of success only when he asked for it, and a report is never reported. */
static bool tells_success(const struct attempt *a, const struct rcpt *r, const struct result *res)
{
	return res->handed != HANDED_ON && r->to.notify & NOTIFY_SUCCESS && a->mail->from.addr.local.n;
}

void attempt_mark(struct attempt *a, struct rcpt *r, const struct result *res)
{
	bool failed = res->what == RESULT_FAILED;
	const char *what = result_word[res->what];
	char by[NAME_ROOM] = "";
	struct buf who = { 0 };

	r->state = failed ? RCPT_FAILED : RCPT_DELIVERED;
	r->expanded = is_expanded(res);
	if (r->expanded)
		what = "expanded";
	if (failed || tells_success(a, r, res)) {
		r->event = a->event;
		event_print(by, a->entry, a->event);
		r->by = keep(a, by);
		r->relayed = !failed && res->handed == HANDED_RELAYED;
		what = r->relayed ? "relayed" : what;
	}
	rcpt_print(&who, a, r);
	journal_line(&a->lines, loop_wall(), what, buf_view(&who), str_of(by), res->reply, res->host);
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
	attempt_say(p->attempt, r, res);
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
	if (is_ours(res.blame) && res.what == RESULT_FAILED)
		res.what = RESULT_DEFERRED;     /* a fault of ours is never a final one */
	p->delivered |= res.what == RESULT_DELIVERED;
	if (res.what == RESULT_DEFERRED && res.blame > p->blame)
		p->blame = res.blame;
	if (res.what == RESULT_DEFERRED) {
		defer(b, r, &res);
	} else {
		attempt_mark(a, r, &res);
		attempt_say(a, r, &res);
	}
	attempt_tell(a, r, &res);
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

/* ---- what was said */

void queue_said(struct bundle *b, struct str said)
{
	b->x->said = said.n <= SAID_MAX ? keep_str(b->x->attempt, said) : STR("");
}

/* Is what was said worth a line for him? */
static bool is_news(const struct attempt *a, const struct rcpt *r)
{
	return r && (r->state == RCPT_FAILED ? r->event == a->event : r->state == RCPT_OPEN && r->deferred && !r->unchanged);
}

/* For all of the bundle at the same domain as the first, one line. */
static void journal_said_at(struct bundle *b, size_t first)
{
	struct attempt *a = b->x->attempt;
	struct str domain = b->rcpt[first]->to.addr.domain;
	char token[DEST_MAX + 1], by[NAME_ROOM] = "";
	size_t before = a->lines.n;

	for (size_t i = first; i < b->n; i++) {
		struct rcpt *r = b->rcpt[i];

		if (!is_news(a, r) || !str_eq_nocase(r->to.addr.domain, domain))
			continue;
		r->said = b->x->said;
		if (r->state == RCPT_FAILED)
			event_print(by, a->entry, a->event);
	}
	if (a->mail->said >= SAID_IN_ALL)
		return;
	dest_token(domain, token);
	journal_said(&a->lines, loop_wall(), str_of(token), str_of(by), b->x->said);
	a->mail->said += a->lines.n - before;
	task_post(&a->write);
}

static void end_said(struct bundle *b)
{
	unsigned domains = 0;

	for (size_t i = 0; b->x->said.n && i < b->n && domains < SAID_DOMAINS; i++) {
		if (!is_news(b->x->attempt, b->rcpt[i]) || b->rcpt[i]->said.p == b->x->said.p)
			continue;
		journal_said_at(b, i);
		domains++;
	}
	b->x->said = STR("");
}

static void end_deferral(struct bundle *b)
{
	if (!b->x->deferred)
		return;
	journal_deferral(b);
	count_deferred();
	b->x->attempt->put_off = true;
}

void queue_done(struct bundle *b, const struct result *rest)
{
	static const struct reply silence = { .text = "the delivery ended without a result" };
	static const struct result none = { .what = RESULT_DEFERRED, .blame = BLAME_RCPT, .reply = &silence };
	struct attempt *a = b->x->attempt;
	struct dest *d = b->dest;
	enum blame blame;
	bool delivered;
	struct reply why;

	for (size_t i = 0; i < b->n; i++)
		queue_result(b, i, rest ? rest : &none);
	if (b->mixed)
		split_mixed(b);
	end_deferral(b);
	end_said(b);
	blame = b->x->blame;
	delivered = b->x->delivered;
	why = b->x->why;
	a->self |= is_ours(blame);
	a->counts |= !is_ours(blame);
	a->started--;
	dest_hold(d);
	end_bundle(b);
	if (!a->bundles.n)
		attempt_settle(a);
	dest_went(d, blame, &why, delivered);
	dest_release(d);
}

/* Among others of its attempt it keeps its place. Alone, it would only keep a file open. */
void bundle_give_back(struct bundle *b)
{
	struct attempt *a = b->x->attempt;

	a->started--;
	if (a->bundles.n > 1 && !attempt_is_alone(a)) {
		b->x->started = false;
		lay_ready(b, true);
		return;
	}
	a->given_back = true;
	a->counts |= b->x->deferred;
	end_deferral(b);
	end_said(b);
	for (size_t i = 0; i < b->n; i++)
		b->rcpt[i]->busy = false;
	end_bundle(b);
	if (!a->bundles.n)
		attempt_settle(a);
}

/* ---- the journal */

/* Our disk refuses: nothing is forgotten, nothing is tried again, and no new mail is taken until it is written. */
void attempt_set_stuck(struct attempt *a, const char *what)
{
	if (!a->stuck) {
		a->stuck = true;
		intake_hold(1);
		log_event(LOG_ERROR, "cannot-record", LF(L_TEXT("id", a->entry->msg->id), L_TEXT("what", what), L_TEXT("error", strerror(errno)),
			L_TEXT("msg", "no mail is accepted until this can be written")));
	}
	if (timer_armed(&a->again))
		return;         /* the next result, refused for the same reason */
	a->patience = a->patience ? 2 * a->patience : STUCK_AGAIN_MS;
	if (a->patience > STUCK_LONGEST_MS)
		a->patience = STUCK_LONGEST_MS;
	timer_set(&a->again, a->patience);
}

void attempt_clear_stuck(struct attempt *a)
{
	if (!a->stuck)
		return;
	a->stuck = false;
	a->patience = 0;
	timer_stop(&a->again);
	intake_hold(-1);
	log_event(LOG_INFO, "recorded", LF(L_TEXT("id", a->entry->msg->id)));
}

/* Somebody has cut off its file: a line behind the message's end would put zeros into what is missing. */
static void cut_off(struct attempt *a)
{
	log_text(LOG_ERROR, "queue", "the file of %s has lost its end while it was tried: what came of that is noted nowhere; if it stays it is set aside "
		"when it is due", a->entry->msg->id);
	buf_clear(&a->lines);
}

/* 0, or -1 with errno: what was half written is cut off again. */
int attempt_write(struct attempt *a)
{
	int written;

	if (a->lines.bad) {
		errno = ENOMEM;
		log_end("no memory for a result");      /* going on with a line lost would repeat deliveries */
	}
	if (a->lines.n == 0)
		return 0;
	written = journal_append(a->mail, a->lines.p, a->lines.n);
	if (written == -1)
		return -1;
	if (written == 1) {
		cut_off(a);
		return 0;
	}
	wal_lines(a->entry->msg->id, a->lines.p, a->lines.n);
	buf_clear(&a->lines);
	if (sync_marks(a->mail->fd, &a->round) == -1)
		log_event(LOG_WARN, "cannot-sync-soon", LF(L_TEXT("id", a->entry->msg->id), L_TEXT("error", strerror(errno))));
	return 0;
}

/* What was put off to the end of the turn, or refused by our disk. */
static void go_on(struct attempt *a)
{
	if (!a->bundles.n)
		attempt_settle(a);
	else if (attempt_write(a) == -1)
		attempt_set_stuck(a, "a result in the journal");
	else
		attempt_clear_stuck(a);
}

static void put_in_list(struct attempt *a)
{
	if (!list_holds(&a->unwritten))
		list_push(&unwritten, &a->unwritten);
}

static void write_soon(struct task *t)
{
	put_in_list(owner_of(t, struct attempt, write));
}

static bool turn_ends;                  /* the list is being gone through */

void attempt_go_on_soon(struct attempt *a)
{
	if (turn_ends)
		put_in_list(a);
	else
		task_post(&a->write);
}

/* Behind all tasks of the turn: who has heard a last reply hears in the same turn that the bundle is over, and when nothing is left to do
 * the name goes and the line need not be written. */
static void write_unwritten(struct turn_end *e)
{
	struct node *x;

	(void)e;
	turn_ends = true;
	while ((x = list_shift(&unwritten)))
		go_on(owner_of(x, struct attempt, unwritten));
	turn_ends = false;
}

static void try_again(struct timer *t)
{
	go_on(owner_of(t, struct attempt, again));
}

/* ---- the process ends: everything open is as after a crash. The intake closes next, and calls nobody who waits for it. */

void attempts_close(void)
{
	struct node *x;

	if (!open_attempts.head.next)
		return;
	while ((x = list_first(&open_attempts))) {
		struct attempt *a = owner_of(x, struct attempt, open);

		if (attempt_write(a) == -1)
			log_event(LOG_ERROR, "cannot-record", LF(L_TEXT("id", a->entry->msg->id), L_TEXT("error", strerror(errno))));
		attempt_name(a);
		drop_unstarted(a);
		while ((x = list_first(&a->bundles)))
			end_bundle(owner_of(x, struct bundle_private, mine)->bundle);
		close_attempt(a);
	}
}
