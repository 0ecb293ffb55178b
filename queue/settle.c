/* Where an entry goes when its attempt is over: reports, the end of its lifetime, names for destinations that must wait. */
#include "queue/inside.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/file.h"
#include "lib/log.h"

enum {
	LINKS_A_TURN = 64,
	CLOCK_AGAIN_S = 300,
	REPORTS_AT_ONCE = 100           /* then 60 a minute: what makes them by the thousand is a mistake, or somebody's forgery */
};

/* ---- reports */

static bool wants(const struct rcpt *r, unsigned what)
{
	return r->to.notify == 0 || (r->to.notify & what);
}

static bool is_told(const struct rcpt *r)
{
	return r->state == RCPT_FAILED ? wants(r, NOTIFY_FAILURE) : r->state == RCPT_DELIVERED && r->to.notify & NOTIFY_SUCCESS;
}

/* The lowest event of this entry that is not reported yet; 0: none. */
static unsigned unreported(const struct attempt *a)
{
	unsigned lowest = 0;

	for (size_t i = 0; i < a->mail->nrcpt; i++) {
		const struct rcpt *r = &a->mail->rcpt[i];

		if (r->event && !r->reported && is_told(r) && (!lowest || r->event < lowest))
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
	attempt_set_stuck(a, what);
	return false;
}

/* One delay notice tells of the whole message. */
static void report_id(char id[ID_MAX], const struct attempt *a, unsigned event)
{
	id_of_report(id, a->entry->msg->id, event == DELAY_EVENT ? "+" : a->entry->dest, event);
}

static bool tells_failure(const struct attempt *a)
{
	for (size_t i = 0; i < a->mail->nrcpt; i++)
		if (a->mail->rcpt[i].event == a->reporting && a->mail->rcpt[i].state == RCPT_FAILED)
			return true;
	return false;
}

static void log_report(const struct attempt *a)
{
	char id[ID_MAX];

	report_id(id, a, a->reporting);
	log_event(LOG_INFO, a->reporting == DELAY_EVENT ? "report-delayed" : tells_failure(a) ? "report-failed" : "report-delivered",
		LF(L_TEXT("id", a->entry->msg->id), L_TEXT("report", id)));
}

static void report_committed(void *arg, bool ok)
{
	struct attempt *a = arg;
	char by[NAME_ROOM];

	if (!awaited(a, ok, "a report"))
		return;
	log_report(a);
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
	attempt_settle(a);
}

static bool all_ascii(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)p[i] >= 0x80)
			return false;
	return true;
}

/* Its id has the time at which the message came that it is about, so its lifetime, which begins now, is said apart. */
static bool report_envelope(const struct attempt *a, const struct buf *text, struct envelope *env)
{
	const struct addr *to = &a->mail->from.addr;
	struct sender nobody = { .body = BODY_8BITMIME };
	struct recipient back = { .addr = *to };

	env->release = loop_wall();
	nobody.has_body = !all_ascii(text->p, text->n);
	nobody.requiretls = a->mail->from.requiretls;           /* RFC 8689 5 */
	nobody.smtputf8 = !all_ascii(to->local.p, to->local.n) || !all_ascii(to->domain.p, to->domain.n);
	return envelope_origin(env, "report about %s", a->entry->msg->id) && envelope_sender(env, &nobody) && envelope_rcpt(env, &back);
}

/* A delay notice tells of all destinations. NULL: of this one alone, then. */
static struct mail *read_whole(const struct attempt *a)
{
	char name[NAME_ROOM];
	const char *why;

	entry_name_of(a->entry, name);
	return entry_is_plus(a->entry) ? NULL : mail_read(queue.cur, name, &why);
}

static struct draft *report_draft(struct attempt *a, enum report_kind kind, unsigned event)
{
	int64_t next = a->entry->next > loop_wall() ? a->entry->next : 0;
	struct mail *whole = kind == REPORT_DELAYED ? read_whole(a) : NULL;
	struct envelope env = { 0 };
	struct buf text = { 0 };
	struct draft *d = NULL;
	char id[ID_MAX];

	report_id(id, a, event);
	if (queue.conf.report(queue.conf.arg, kind, whole ? whole : a->mail, event, next, &text) && report_envelope(a, &text, &env))
		d = queue_draft(&env, id);
	if (d && draft_write(d, text.p, text.n) == -1) {
		draft_abort(d);
		d = NULL;
	}
	mail_free(whole);
	buf_free(&text);
	envelope_free(&env);
	return d;
}

static void send_report(struct attempt *a, enum report_kind kind, unsigned event)
{
	struct draft *d = report_draft(a, kind, event);

	if (!d) {
		attempt_set_stuck(a, "a report");
		return;
	}
	slot_take(a);           /* killed between commit and note, the next start notes it before the report can have left */
	a->awaits = true;
	a->reporting = event;
	a->entry->msg->delay_told |= kind == REPORT_DELAYED;
	queue_commit(d, report_committed, a);
}

int64_t attempt_age(const struct attempt *a)
{
	int64_t age = loop_wall() - mail_began(a->mail);

	return age > 0 ? age : 0;
}

static bool delay_is_due(const struct attempt *a)
{
	bool told = a->mail->delay_told || (a->entry->msg->delay_told && a->reporting != DELAY_EVENT);

	if (!queue.conf.delay_notice || told || !clock_is_sane() || a->mail->from.addr.local.n == 0)
		return false;
	if (attempt_age(a) < queue.conf.delay_notice)
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

/* Nothing but a fault of our own has come of it, or nothing at all: that counts as no attempt. */
static bool was_none(const struct attempt *a)
{
	return (a->self || a->given_back) && !a->counts && a->moved;
}

bool attempt_expired(const struct attempt *a)
{
	/* A machine that was off for a week, or could not send for one, shall try first. What waits behind a dead destination has been tried
	 * by its probes. */
	if (was_none(a) || dest_waits_for_machine(a->entry) || (!a->entry->tries && !dest_is_failing(a->entry)))
		return false;
	return clock_is_sane() && attempt_age(a) > queue.conf.lifetime;
}

/* Which entry has the recipient in its care. */
static struct entry *entry_of(const struct attempt *a, const struct rcpt *r)
{
	char token[DEST_MAX + 1];
	struct entry *e;

	dest_token(r->to.addr.domain, token);
	e = entry_find(a->entry->msg, str_of(token));
	return e || r->linked ? e : entry_find(a->entry->msg, STR("+"));
}

/* A copy, made where links are refused or by hand, has a journal of its own. */
static bool is_same_file(const struct attempt *a, const struct entry *e)
{
	struct stat ours, its;
	char name[NAME_ROOM];

	entry_name_of(e, name);
	return fstat(a->mail->fd, &ours) == 0 && fstatat(queue.cur, name, &its, AT_SYMLINK_NOFOLLOW) == 0 &&
		ours.st_dev == its.st_dev && ours.st_ino == its.st_ino;
}

/* The same rules as for this one; and nobody is at it. */
static bool ends_too(const struct attempt *a, const struct entry *e)
{
	return (e->state == ENTRY_SCHEDULED || e->state == ENTRY_WAITING) && !dest_waits_for_machine(e) && (e->tries || dest_is_failing(e)) &&
		is_same_file(a, e);
}

static bool join_entries(struct attempt *a)
{
	for (struct entry *e = a->entry->msg->entries; e; e = e->sibling) {
		if (e == a->entry || !ends_too(a, e))
			continue;
		unschedule_entry(e);
		e->state = ENTRY_OPEN;
		e->attempt = a;
		a->joined++;
	}
	return a->joined > 0;
}

/* A message's lifetime ends for all its destinations at once, and its sender shall hear of it once: their entries end with this one. An
 * entry that is opened for one destination knows little of the others, so the file is read again. */
static void end_together(struct attempt *a)
{
	unsigned event = a->event;
	char name[NAME_ROOM];
	const char *why;
	struct mail *whole;

	entry_name_of(a->entry, name);
	if (a->joined || attempt_write(a) == -1)
		return;
	whole = mail_open(queue.cur, name, true, false, STR(""), &why);
	if (!whole || !join_entries(a)) {
		mail_free(whole);
		return;
	}
	mail_free(a->mail);
	a->mail = whole;
	attempt_read_rcpts(a);
	a->event = event;
	for (size_t i = 0; i < whole->nrcpt; i++) {
		struct rcpt *r = &whole->rcpt[i];
		const struct entry *e = r->state == RCPT_OPEN && !r->mine ? entry_of(a, r) : NULL;

		r->mine = r->mine || (e && entry_is_in(e, a));
	}
}

/* The last that was heard: by the recipient, or by others that went the same way. */
static struct str last_words(const struct attempt *a, const struct rcpt *r, char room[REPLY_TEXT + 24])
{
	const struct entry *e = r->words.n ? NULL : entry_of(a, r);

	if (r->words.n)
		return r->words;
	if (!e || !dest_is_failing(e))
		return STR("none");
	words_of(&e->domain->dest->last, room);
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
			attempt_age(a) / 3600, (int)(last.n < 400 ? last.n : 400), last.p);
		attempt_mark(a, r, &res);
		attempt_say(a, r, &res);
		attempt_tell(a, r, &res);
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

static void split_add(struct split *s, const struct addr *from, struct rcpt *r)
{
	struct group *g = &s->group[s->n];
	struct map_node *other = map_get(&s->domains, r->to.addr.domain);

	if (other) {
		owner_of(other, struct group, by_domain)->tried |= r->deferred;
		return;
	}
	queue.conf.way(queue.conf.arg, r->to.addr.domain, from, &g->way);
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
			split_add(s, &a->mail->from.addr, r);
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
	attempt_settle(a);
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

	entry_name_of(e, from);
	for (size_t i = 0; i < s->n && made < LINKS_A_TURN; i++) {
		if (s->group[i].together)
			continue;
		name_apart(a, &s->group[i], to, token);
		if (file_sys.link(queue.cur, from, queue.cur, to) == -1 && errno != EEXIST)
			break;
		wal_name(NULL, to);
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
	entry_name_of(e, from);
	if (file_sys.rename(queue.cur, from, queue.cur, to) == -1) {
		attempt_put_back(a);            /* "+" does as well */
		return;
	}
	wal_name(from, to);
	index_name(to, true);
	attempt_forget_entry(a);
}

/* A name for several that was written anew by hand, for one of them: nothing else stands for the others, as it did. Those that had links
 * have been removed, and stay so. */
static bool has_nameless(const struct attempt *a)
{
	char name[NAME_ROOM];
	const char *why;
	struct mail *whole;
	bool any = false;

	for (size_t i = 0; i < a->mail->nrcpt; i++) {
		const struct rcpt *r = &a->mail->rcpt[i];

		if (r->mine && r->linked)
			return false;
		any |= r->state == RCPT_OPEN && !r->mine;
	}
	if (!any || entry_is_plus(a->entry))
		return false;
	/* What is opened for one destination does not know of others whether they are linked. */
	entry_name_of(a->entry, name);
	whole = mail_read(queue.cur, name, &why);
	any = false;
	for (size_t i = 0; whole && i < whole->nrcpt; i++) {
		const struct rcpt *r = &whole->rcpt[i];
		const struct entry *other = entry_of(a, r);

		any |= r->state == RCPT_OPEN && !a->mail->rcpt[i].mine && !r->linked && !(other && entry_has_name(other));
	}
	mail_free(whole);
	return any;
}

static void become_plus(struct attempt *a)
{
	struct entry *e = a->entry;
	char from[NAME_ROOM], to[NAME_ROOM];

	entry_print(to, loop_wall(), false, 0, e->msg->id, "+");
	entry_name_of(e, from);
	if (file_sys.rename(queue.cur, from, queue.cur, to) == 0) {
		wal_name(from, to);
		index_name(to, true);
	} else if (errno == ENOENT) {
		index_scan_soon();
	} else {
		attempt_set_stuck(a, "the name of its other destinations");
		return;
	}
	attempt_forget_entry(a);
}

/* ---- settling: run from the top whenever something it waited for has come about */

static bool has_open(const struct attempt *a)
{
	for (size_t i = 0; i < a->mail->nrcpt; i++)
		if (a->mail->rcpt[i].state == RCPT_OPEN && a->mail->rcpt[i].mine)
			return true;
	return false;
}

/* The names of those that ended with it go first: what is left of them is read as done. */
static void remove_joined(struct attempt *a)
{
	for (struct entry *e = a->entry->msg->entries, *next; e && a->joined; e = next) {
		next = e->sibling;
		if (e == a->entry || !entry_is_in(e, a) || (entry_unlink(e) == -1 && errno != ENOENT))
			continue;
		a->joined--;
		e->attempt = NULL;
		e->state = ENTRY_SCHEDULED;
		index_drop(e);
	}
}

static void tell_gone(const struct entry *e)
{
	char name[NAME_ROOM];

	entry_name_of(e, name);
	wal_gone(name, true);
}

static void tell_joined(const struct attempt *a)
{
	for (const struct entry *e = a->entry->msg->entries; e && a->joined; e = e->sibling)
		if (e != a->entry && entry_is_in(e, a))
			tell_gone(e);
}

/* The log hears of it first: a start that does not know whether the power went takes what is open there, and not here, for lost. One write
 * for all that leave in a turn, so the names go at its end. */
static void remove_entry(struct attempt *a)
{
	if (wal_on() && !a->told) {
		a->told = true;
		tell_joined(a);
		tell_gone(a->entry);
		attempt_go_on_soon(a);
		return;
	}
	wal_tell();
	remove_joined(a);
	if (entry_unlink(a->entry) == -1) {
		int saved = errno;

		a->told = false;
		/* Moved by hand, perhaps, or our disk refuses: whoever meets the file again shall read that all is done. */
		attempt_write(a);
		errno = saved;
		if (errno != ENOENT) {
			attempt_set_stuck(a, "that it is done");
			return;
		}
		index_scan_soon();
	}
	sync_names();
	log_event(LOG_DEBUG, "removed", LF(L_TEXT("id", a->entry->msg->id), L_TEXT("dest", a->entry->dest)));
	attempt_forget_entry(a);
}

/* A report, or mail without a sender, that cannot be delivered: kept for the postmaster's eyes, never answered. */
static void set_aside_unreportable(struct attempt *a)
{
	struct buf why = { 0 };
	char name[NAME_ROOM];
	bool aside = false;

	buf_puts(&why, "It could not be delivered, and there is nobody to tell: its sender is <>.\n");
	for (size_t i = 0; i < a->mail->nrcpt; i++) {
		const struct rcpt *r = &a->mail->rcpt[i];

		if (r->state != RCPT_FAILED)
			continue;
		rcpt_print(&why, a, r);
		buf_printf(&why, ": " STR_FMT "\n", STR_ARG(r->words));
	}
	/* Behind a crash it has the same name, so that one reason is left and not two. */
	if (attempt_write(a) == 0 && attempt_name(a) == 0) {
		entry_name_of(a->entry, name);
		aside = queue_set_aside(queue.cur, name, buf_cstr(&why));
	}
	if (!aside) {
		attempt_set_stuck(a, "that it is undeliverable");
	} else {
		tell_joined(a);
		wal_tell();
		remove_joined(a);
		attempt_forget_entry(a);
	}
	buf_free(&why);
}

/* The name goes back to the tries it had, and what was given back to now. How long it really waits is its destination's business. */
static void uncount(struct attempt *a)
{
	struct entry *e = a->entry;
	bool at_once = a->given_back && !a->put_off;

	if (!was_none(a) && !(at_once && a->moved))
		return;
	if (at_once && a->unnamed)
		attempt_unmove(a);
	else if (entry_restamp(e, loop_wall() + (at_once ? 0 : back_off(1)), a->old_tries) == -1 && errno == ENOENT)
		index_scan_soon();
	a->self = false;
	a->moved = a->moved && !at_once;
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
	if (entry_restamp(e, now + back_off(e->tries ? e->tries : 1), e->tries) == -1 && errno == ENOENT)
		index_scan_soon();
}

/* Now that the file was read: does all that is open go one way? Then the entry waits there from now on, unopened. */
static void learn_way(struct attempt *a)
{
	const struct rcpt *first = NULL, *last = NULL;
	struct way one = { 0 }, other = { 0 };

	for (size_t i = 0; entry_is_blind(a->entry) && !a->entry->msg->ordered && i < a->mail->nrcpt; i++) {
		const struct rcpt *r = &a->mail->rcpt[i];

		if (r->state != RCPT_OPEN || !r->mine || (last && str_eq(last->to.addr.domain, r->to.addr.domain)))
			continue;
		last = r;
		queue.conf.way(queue.conf.arg, r->to.addr.domain, &a->mail->from.addr, first ? &other : &one);
		if (first && strcmp(one.key, other.key) != 0)
			return;
		if (!first)
			first = r;
	}
	if (first)
		index_learn(a->entry, first->to.addr.domain, &a->mail->from.addr);
}

static void stay(struct attempt *a)
{
	learn_way(a);
	attempt_put_back(a);
}

/* A report without a date that can be believed is held back; the entry is looked at again, in memory only. */
static void wait_for_clock(struct attempt *a)
{
	struct entry *e = a->entry;

	stay(a);
	schedule_at(e, loop_wall() + CLOCK_AGAIN_S);
}

/* May another one be made now? */
static bool report_has_turn(void)
{
	static bool begun;
	static msec filled;             /* when the last one would have been due, had they come one a second */
	msec now = loop_now(), full = now - (msec)REPORTS_AT_ONCE * 1000;

	if (!begun || filled < full)
		filled = full;
	begun = true;
	if (filled + 1000 > now)
		return false;
	filled += 1000;
	return true;
}

/* In a row, a second each. What has failed is in the journal: a restart makes its report. */
static void wait_for_turn(struct attempt *a)
{
	static int64_t last, told;
	struct entry *e = a->entry;
	int64_t now = loop_wall();

	last = last < now || last > now + (int64_t)index_size() ? now + 1 : last + 1;   /* who comes anew leaves the second he had to others */
	if (now - told > 3600) {
		told = now;
		log_event(LOG_WARN, "reports-wait", LF(L_TEXT("msg", "more than a hundred were made at once: from now on one a second")));
	}
	stay(a);
	schedule_at(e, last);
}

/* Something is still to be delivered: under which name? unreportable: "+" must stay for those that failed. */
static void keep_in_queue(struct attempt *a, bool unreportable)
{
	struct split s;

	if (!entry_is_plus(a->entry) || !split_make(a, &s)) {
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

void attempt_settle(struct attempt *a)
{
	bool nobody = a->mail->from.addr.local.n == 0, done, others, late;
	unsigned event;

	if (a->awaits)
		return;
	if (a->linked.n) {              /* names were made; before they are durable nothing may rely on them */
		a->awaits = true;
		sync_dir(links_durable, a);
		return;
	}
	if (attempt_expired(a) && has_open(a)) {
		end_together(a);
		give_up(a);
	}
	event = unreported(a);
	done = !has_open(a);
	others = done && has_nameless(a);
	if (done && !event && !has_siblings(a) && !a->named_twice && !others) {
		remove_entry(a);        /* all is done: the name goes, so what is left to write need not be written */
		return;
	}
	if (attempt_write(a) == -1) {
		attempt_set_stuck(a, "a result in the journal");
		return;
	}
	if (event && nobody && done && !others) {
		set_aside_unreportable(a);
		return;
	}
	if (event && !nobody && !clock_is_sane()) {
		wait_for_clock(a);
		return;
	}
	if (event && !nobody && !report_has_turn()) {
		wait_for_turn(a);
		return;
	}
	if (event && !nobody) {
		send_report(a, REPORT_FINAL, event);
		return;
	}
	if (others) {
		become_plus(a);
		return;
	}
	if (done) {
		remove_entry(a);
		return;
	}
	late = delay_is_due(a);
	if (late && report_has_turn()) {
		send_report(a, REPORT_DELAYED, DELAY_EVENT);
		return;
	}
	attempt_clear_stuck(a);
	a->entry->msg->delay_seen = !late && clock_is_sane() && loop_wall() - a->mail->arrived > queue.conf.delay_notice;
	uncount(a);
	mend_stamp(a);
	keep_in_queue(a, event > 0);
}
