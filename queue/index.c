/* The index: what is in cur/, known by names alone, and the scan that keeps it true to the directory. */
#include "queue/inside.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/log.h"
#include "lib/watch.h"

enum {
	SCAN_NAMES = 500,               /* looked at in one turn */
	SCAN_EVERY_MS = 10000,          /* a pass begins this often in a small queue */
	SCAN_SMALL = 1000,              /* names; a larger queue's pass takes longer in proportion, up to an hour */
	SCAN_LONGEST_MS = 3600000,
	LOOK_EVERY_MS = 10000,          /* for delay notices and the end of the lifetime */
	LOOK_AFTER_MAX = 20,            /* messages opened for that in one turn */
	MISSED_MAX = 65536,             /* octets of names; more are taken for moved, and come back after a power cut if they were not */
	ADOPT_AGAIN_MS = 1000           /* in in/: still being made durable by whoever took it in, or our disk has refused something */
};

static struct map messages, domains;
static size_t entries;
static DIR *scan;                       /* the pass that is under way */
static struct timespec seen_mtime;      /* of cur/ when the last pass began */
static bool seen_late;                  /* ... and so long after it that no other change can have the same */
static uint16_t pass;                   /* through cur/, complete ones and the one that is under way */

/* ---- entries */

struct message *index_message(struct str id)
{
	struct map_node *x = map_get(&messages, id);

	return x ? owner_of(x, struct message, node) : NULL;
}

size_t index_size(void)
{
	return entries;
}

void entry_name_of(const struct entry *e, char name[NAME_ROOM])
{
	const struct attempt *a = e->state == ENTRY_OPEN ? e->attempt : NULL;

	if (a && a->entry == e && a->unnamed)
		entry_print(name, a->old_next, false, a->old_tries, e->msg->id, e->dest);
	else
		entry_print(name, e->next, e->state == ENTRY_HELD, e->tries, e->msg->id, e->dest);
}

bool entry_is_in(const struct entry *e, const struct attempt *a) { return e->state == ENTRY_OPEN && e->attempt == a; }

static struct message *message_get(const char *id)
{
	struct message *m = index_message(str_of(id));

	if (m)
		return m;
	m = calloc(1, sizeof *m);
	if (!m)
		return NULL;
	str_copy(m->id, sizeof m->id, str_of(id));
	m->ordered = order_is_there(m->id);
	if (map_put(&messages, &m->node, str_of(m->id)))
		return m;
	free(m);
	return NULL;
}

static struct domain *domain_get(struct str name)
{
	struct map_node *x = map_get(&domains, name);
	struct domain *d;

	if (x)
		return owner_of(x, struct domain, node);
	d = calloc(1, sizeof *d + name.n + 1);
	if (!d)
		return NULL;
	memcpy(d->name, name.p, name.n);
	if (map_put(&domains, &d->node, str_of(d->name)))
		return d;
	free(d);
	return NULL;
}

static bool blind(struct str dest)
{
	return str_eq(dest, STR("+")) || dest.p[0] == '=';
}

static void message_drop_if_empty(struct message *m)
{
	if (m->entries)
		return;
	map_remove(&messages, &m->node);
	free(m);
}

struct entry *entry_find(const struct message *m, struct str dest)
{
	for (struct entry *e = m->entries; e; e = e->sibling)
		if (str_eq(str_of(e->dest), dest))
			return e;
	return NULL;
}

static struct entry *entry_add(const struct entry_name *n)
{
	struct message *m = message_get(n->id);
	struct entry *e = m ? calloc(1, sizeof *e + (blind(n->dest) ? n->dest.n + 1 : 0)) : NULL;

	if (!e)
		goto fail;
	if (blind(n->dest)) {
		e->dest = memcpy(e->own, n->dest.p, n->dest.n);
	} else {
		e->domain = domain_get(n->dest);
		if (!e->domain)
			goto fail;
		e->domain->entries++;
		e->domain->named++;
		e->dest = e->domain->name;
	}
	e->msg = m;
	e->seen = pass;
	e->sibling = m->entries;
	m->entries = e;
	entries++;
	return e;
fail:
	free(e);
	if (m)
		message_drop_if_empty(m);
	return NULL;
}

static void domain_leave(struct domain *d, size_t *count)
{
	if (--*count || d->entries || d->named)
		return;
	map_remove(&domains, &d->node);
	dest_release(d->dest);
	free(d);
}

void index_drop(struct entry *e)
{
	struct entry **at = &e->msg->entries;

	unschedule_entry(e);
	while (*at != e)
		at = &(*at)->sibling;
	*at = e->sibling;
	message_drop_if_empty(e->msg);
	if (e->domain)
		domain_leave(e->domain, &e->domain->entries);
	if (e->dest != e->own) {
		struct domain *namesake = owner_of(e->dest, struct domain, name);

		domain_leave(namesake, &namesake->named);
	}
	entries--;
	free(e);
}

bool entry_is_blind(const struct entry *e) { return !e->domain || e->domain->by_sender || e->msg->ordered; }

void index_learn(struct entry *e, struct str domain, const struct addr *from)
{
	struct buf key = { 0 };
	struct way way = { 0 };
	struct domain *d = NULL;

	if (!entry_is_blind(e))
		return;
	queue.conf.way(queue.conf.arg, domain, NULL, &way);
	buf_str(&key, domain);
	if (way.by_sender && from->local.n)
		buf_printf(&key, " " STR_FMT "@" STR_FMT, STR_ARG(from->local), STR_ARG(from->domain));
	else if (way.by_sender)
		buf_char(&key, ' ');
	if (!key.bad)
		d = domain_get(buf_view(&key));
	buf_free(&key);
	if (!d)
		return;                 /* it stays blind */
	d->entries++;
	if (e->domain)
		domain_leave(e->domain, &e->domain->entries);
	e->domain = d;
}

static void take_stamp(struct entry *e, const struct entry_name *n)
{
	char name[NAME_ROOM];

	unschedule_entry(e);
	e->next = n->next;
	e->tries = n->tries;
	e->state = n->held ? ENTRY_HELD : ENTRY_SCHEDULED;
	entry_name_of(e, name);
	wal_name(NULL, name);
	schedule_entry(e);
}

static bool is_damaged(const char *name)
{
	const char *why;
	struct mail *m = mail_open(queue.cur, name, false, true, STR(""), &why);

	if (!m)
		return errno == EBADMSG;
	mail_free(m);
	return false;
}

/* Two names of one entry: after a crash between link() and unlink(), or made by hand. The later stamp stays; if its file is another one and
 * not whole, it is the other's name from now on. */
static void remove_name(const char *gone, const char *stays)
{
	struct stat a, b;

	if (fstatat(queue.cur, gone, &a, AT_SYMLINK_NOFOLLOW) == -1 || fstatat(queue.cur, stays, &b, AT_SYMLINK_NOFOLLOW) == -1)
		return;
	if (a.st_ino == b.st_ino) {
		file_sys.unlink(queue.cur, gone);
		return;
	}
	if (!is_damaged(stays) || is_damaged(gone)) {
		if (queue_set_aside(queue.cur, gone, "There is another file with the same message id and destination and a later stamp; that one "
				"is kept in the queue."))
			wal_name(NULL, stays);
		return;
	}
	if (!queue_set_aside(queue.cur, stays, "It is not whole, and there is another file with the same message id and destination; that one is "
			"kept in the queue."))
		return;
	if (file_sys.rename(queue.cur, gone, queue.cur, stays) == 0)
		wal_name(NULL, stays);
	else
		log_event(LOG_ERROR, "cannot-rename", LF(L_TEXT("file", gone), L_TEXT("error", strerror(errno))));
}

/* Written by hand ("0.3.ID.example.org"): it gets the form under which we shall look for it. False: it could not. */
static bool mend_form(const char *name, const char *form)
{
	if (strcmp(name, form) == 0 || file_sys.rename(queue.cur, name, queue.cur, form) == 0)
		return true;
	if (errno == EEXIST) {
		remove_name(name, form);
		return true;
	}
	if (errno != ENOENT)
		log_event(LOG_ERROR, "cannot-rename", LF(L_TEXT("file", name), L_TEXT("error", strerror(errno))));
	return false;
}

/* readdir() reads hundreds of names at a time, and the last of them may be looked at seconds later. */
static bool has_gone(const char *name)
{
	return scan && faccessat(queue.cur, name, F_OK, AT_SYMLINK_NOFOLLOW) == -1 && errno == ENOENT;
}

struct entry *index_name(const char *given, bool checked)
{
	struct entry_name n;
	struct message *m;
	struct entry *e;
	char known[NAME_ROOM], name[NAME_ROOM];

	if (!entry_parse(given, &n))
		return NULL;
	entry_print(name, n.next, n.held, n.tries, n.id, n.dest.p);
	if (!mend_form(given, name))
		return NULL;
	m = index_message(str_of(n.id));
	e = m ? entry_find(m, n.dest) : NULL;
	if (!e) {
		e = !checked && has_gone(name) ? NULL : entry_add(&n);
		if (!e)
			return NULL;
		if (checked)
			e->msg->checked = true;
		else
			wal_name(NULL, name);   /* made by hand: not one that has left */
		e->next = n.next;
		e->tries = n.tries;
		e->state = n.held ? ENTRY_HELD : ENTRY_SCHEDULED;
		schedule_entry(e);
		return e;
	}
	entry_name_of(e, known);
	if (strcmp(known, name) == 0 || (!checked && has_gone(name)))
		return e;
	if (faccessat(queue.cur, known, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
		if (n.next <= e->next) {
			remove_name(name, known);
			return e;
		}
		if (e->state != ENTRY_OPEN)
			remove_name(known, name);
	}
	if (e->state != ENTRY_OPEN) {
		take_stamp(e, &n);
		return e;
	}
	seen_mtime = (struct timespec){ 0 };    /* met again when its attempt has ended */
	e->attempt->named_twice = true;
	return e;
}

/* ---- the scan */

static struct buf missed;               /* names, each with its NUL */
static size_t missed_before;            /* of them, octets from before the pass */
static bool scan_wanted, pass_complete;
static struct timer scan_timer, look_timer;
static void adopt_again(struct timer *);
static struct timer adopt_timer = { .expired = adopt_again };
static struct watch in_watch;

static DIR *open_again(int dir)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd == -1 ? NULL : fdopendir(fd);

	if (!d && fd != -1)
		close(fd);
	return d;
}

static bool hidden(const char *name)
{
	return name[0] == '.';
}

static struct entry *met(const char *name)
{
	struct entry_name n;
	struct entry *e;

	if (!entry_parse(name, &n)) {
		queue_set_aside(queue.cur, name, "The name is not of the form <next>.<tries>.<id>.<destination>, so it is not known when and "
			"where to the file is due.");
		return NULL;
	}
	if (intake_knows(n.id))
		return NULL;            /* not durable yet: not ours to try */
	e = index_name(name, false);
	if (e)
		e->seen = pass;
	return e;
}

static bool old_enough(const struct entry *e)
{
	int64_t now = loop_wall(), age = now - id_arrival(e->msg->id);

	if ((e->state != ENTRY_SCHEDULED && e->state != ENTRY_WAITING) || e->looked == look_hour())
		return false;
	if (e->next > now + 2 * queue.conf.retry_max)
		return true;            /* a clock that was wrong once? */
	if (now - age < CLOCK_SANE)
		return false;           /* its age is not known from its name: an attempt finds out */
	return (age > queue.conf.lifetime && (e->tries > 0 || dest_is_failing(e)) && !dest_waits_for_machine(e)) ||
		(queue.conf.delay_notice && !e->msg->delay_seen && age > queue.conf.delay_notice);
}

/* Entries that two whole passes did not meet have been removed by hand. One pass alone may have missed what was renamed meanwhile, as readdir()
 * gives neither name where the new one lies before, and the old one behind the place that it has reached. */
static void drop_unseen(void)
{
	struct map_node *x = map_next(&messages, NULL);

	while (x) {
		struct message *m = owner_of(x, struct message, node);
		struct entry *e = m->entries, *next_entry;

		x = map_next(&messages, x);
		for (; e; e = next_entry) {
			char name[NAME_ROOM];

			next_entry = e->sibling;
			entry_name_of(e, name);
			if (e->seen == pass || e->state == ENTRY_OPEN)
				continue;
			if (faccessat(queue.cur, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT) {
				e->seen = pass;
				continue;
			}
			if (e->seen == (uint16_t)(pass - 1)) {
				scan_wanted = true;
				continue;
			}
			log_event(LOG_INFO, "removed-by-hand", LF(L_TEXT("id", m->id), L_TEXT("dest", e->dest)));
			wal_gone(name, false);
			index_drop(e);
		}
	}
}

void index_miss(const struct entry *e)
{
	char name[NAME_ROOM];

	entry_name_of(e, name);
	missed.max = MISSED_MAX;
	if (wal_on() && missed.n + sizeof name <= MISSED_MAX)
		buf_add(&missed, name, strlen(name) + 1);
}

static void settle_missed(void)
{
	for (size_t at = 0; at < missed_before; at += strlen(missed.p + at) + 1) {
		struct entry_name n;
		const struct message *m;

		if (!entry_parse(missed.p + at, &n))
			continue;
		m = index_message(str_of(n.id));
		if (!m || !entry_find(m, n.dest))
			wal_gone(missed.p + at, false);
	}
	buf_drop(&missed, missed_before);
	missed_before = 0;
}

static void scan_end(void)
{
	closedir(scan);
	scan = NULL;
	if (!pass_complete) {
		pass--;
		return;
	}
	drop_unseen();
	settle_missed();
	wal_tell();
}

static msec pass_interval(void)
{
	int64_t ms = SCAN_EVERY_MS;

	if (entries > SCAN_SMALL)
		ms = (int64_t)(SCAN_EVERY_MS / SCAN_SMALL * entries);
	return ms > SCAN_LONGEST_MS ? SCAN_LONGEST_MS : ms;
}

/* Nothing has entered, moved or gone since the last pass began. */
static bool directory_unchanged(void)
{
	struct stat st;
	bool same;

	if (fstat(queue.cur, &st) == -1)
		return false;
	same = seen_late && st.st_mtim.tv_sec == seen_mtime.tv_sec && st.st_mtim.tv_nsec == seen_mtime.tv_nsec;
	seen_mtime = st.st_mtim;
	seen_late = loop_wall() > st.st_mtim.tv_sec + 1;
	return same;
}

/* One name per message and walk: looking may change the message's entries. True: there are more to look at. */
static bool look_after_old(void)
{
	struct map_node *x = map_next(&messages, NULL);
	int budget = LOOK_AFTER_MAX;

	while (x && budget > 0 && !attempts_enough()) {
		struct message *m = owner_of(x, struct message, node);
		struct entry *e = m->entries;

		x = map_next(&messages, x);
		while (e && !old_enough(e))
			e = e->sibling;
		if (!e)
			continue;
		look_after(e);
		budget--;
	}
	return x != NULL;
}

static void look(struct timer *t)
{
	bool more = look_after_old();

	timer_set(t, more ? 100 : entries < SCAN_SMALL ? LOOK_EVERY_MS : 6 * LOOK_EVERY_MS);
}

static void scan_begin(void)
{
	orders_look(true);
	if (!scan_wanted && directory_unchanged()) {
		timer_set(&scan_timer, pass_interval());
		return;
	}
	scan_wanted = false;
	scan = open_again(queue.cur);
	missed_before = missed.n;
	pass_complete = true;
	if (scan)
		pass++;
	else
		log_text(LOG_ERROR, "queue", "cannot read cur/: %s", strerror(errno));
	timer_set(&scan_timer, scan ? 0 : SCAN_EVERY_MS);
}

static void scan_some(struct timer *t)
{
	if (!scan) {
		scan_begin();
		return;
	}
	for (int i = 0; i < SCAN_NAMES; i++) {
		struct dirent *d;

		errno = 0;
		d = readdir(scan);
		if (!d) {
			pass_complete = errno == 0;
			scan_end();
			timer_set(t, scan_wanted ? 0 : pass_interval());
			return;
		}
		if (!hidden(d->d_name))
			met(d->d_name);
	}
	/* what is left of the interval, spread over what is left of the names */
	timer_set(t, scan_wanted || entries < SCAN_SMALL ? 0 : pass_interval() * SCAN_NAMES / (msec)entries);
}

int list_names(int dir, char names[][NAME_ROOM], int room)
{
	DIR *d = open_again(dir);
	struct dirent *x;
	int n = 0, failed;

	if (!d)
		return -1;
	errno = 0;
	while (n < room && (x = readdir(d))) {
		if (!hidden(x->d_name) && str_copy(names[n], NAME_ROOM, str_of(x->d_name)))
			n++;
		errno = 0;
	}
	failed = errno;
	closedir(d);
	errno = failed;
	return failed ? -1 : n;
}

void index_scan_soon(void)
{
	scan_wanted = true;
	timer_set(&scan_timer, 0);
}

int index_read(void)
{
	DIR *d = open_again(queue.cur);
	struct dirent *x;

	if (!d)
		return -1;
	errno = 0;
	while ((x = readdir(d))) {
		if (!hidden(x->d_name))
			met(x->d_name);
		errno = 0;
	}
	if (errno) {
		int saved = errno;

		closedir(d);
		errno = saved;
		return -1;
	}
	closedir(d);
	return 0;
}

/* ---- in/ */

static void refuse_in(const char *name, const char *why)
{
	if (!queue_set_aside(queue.in, name, why))
		timer_set(&adopt_timer, ADOPT_AGAIN_MS);
}

void adopt_in(void)
{
	DIR *d = open_again(queue.in);
	struct dirent *x;

	if (!d) {
		log_text(LOG_ERROR, "queue", "cannot read in/: %s", strerror(errno));
		timer_set(&adopt_timer, ADOPT_AGAIN_MS);
		return;
	}
	while ((errno = 0, x = readdir(d))) {
		struct entry_name n;

		if (hidden(x->d_name))
			continue;
		if (file_in_use(queue.in, x->d_name)) {
			timer_set(&adopt_timer, ADOPT_AGAIN_MS);
			continue;
		}
		if (!entry_parse(x->d_name, &n)) {
			refuse_in(x->d_name, "The name is not of the form <next>.<tries>.<id>.<destination>.");
			continue;
		}
		if (file_sys.rename(queue.in, x->d_name, queue.cur, x->d_name) == 0) {
			log_event(LOG_INFO, "taken-in", LF(L_TEXT("id", n.id), L_TEXT("from", "in/"), L_STR("dest", n.dest)));
			index_name(x->d_name, false);
		} else if (errno == EEXIST)
			refuse_in(x->d_name, "A file of this name is in cur/ already.");
		else if (errno != ENOENT) {
			log_event(LOG_ERROR, "cannot-take-from-in", LF(L_TEXT("file", x->d_name), L_TEXT("error", strerror(errno))));
			timer_set(&adopt_timer, ADOPT_AGAIN_MS);
		}
	}
	if (errno)
		timer_set(&adopt_timer, ADOPT_AGAIN_MS);
	closedir(d);
}

static void adopt_again(struct timer *t)
{
	(void)t;
	adopt_in();
}

static void in_changed(struct watch *w)
{
	(void)w;
	adopt_in();
}

/* ---- opening */

void index_open(void)
{
	char path[4096];

	scan_timer.expired = scan_some;
	timer_set(&scan_timer, SCAN_EVERY_MS);
	look_timer.expired = look;
	timer_set(&look_timer, LOOK_EVERY_MS);
	snprintf(path, sizeof path, "%s/in", queue.conf.dir);
	if (watch_start(&in_watch, queue.in, path, in_changed) == -1)
		log_text(LOG_WARN, "queue", "cannot watch %s: %s", path, strerror(errno));
}

void queue_measure(struct queue_figures *out)
{
	*out = (struct queue_figures){ .messages = messages.n };
	for (struct map_node *x = map_next(&messages, NULL); x; x = map_next(&messages, x)) {
		struct message *m = owner_of(x, struct message, node);
		int64_t came = id_arrival(m->id);

		if (!out->oldest || came < out->oldest)
			out->oldest = came;
		for (const struct entry *e = m->entries; e; e = e->sibling)
			out->held += e->state == ENTRY_HELD;
	}
}

/* ---- by domain */

static void measure_entries(struct domain_figures *several)
{
	for (struct map_node *x = map_next(&domains, NULL); x; x = map_next(&domains, x)) {
		struct domain *d = owner_of(x, struct domain, node);

		d->held = 0;
		d->oldest = 0;
	}
	for (struct map_node *x = map_next(&messages, NULL); x; x = map_next(&messages, x)) {
		struct message *m = owner_of(x, struct message, node);
		int64_t came = id_arrival(m->id);

		for (const struct entry *e = m->entries; e; e = e->sibling) {
			int64_t *oldest = e->domain ? &e->domain->oldest : &several->oldest;

			if (!*oldest || came < *oldest)
				*oldest = came;
			*(e->domain ? &e->domain->held : &several->held) += e->state == ENTRY_HELD;
			several->entries += !e->domain;
		}
	}
}

static int most_first(const void *a, const void *b)
{
	const struct domain *x = *(const struct domain *const *)a, *y = *(const struct domain *const *)b;

	return x->entries != y->entries ? (x->entries < y->entries ? 1 : -1) : strcmp(x->name, y->name);
}

bool queue_measure_domains(size_t most, void (*each)(void *arg, const struct domain_figures *), void *arg)
{
	struct domain **order = malloc((domains.n + 1) * sizeof *order);
	struct domain_figures several = { .domain = "+" };
	size_t n = 0;

	if (!order)
		return false;
	measure_entries(&several);
	if (several.entries)
		each(arg, &several);
	for (struct map_node *x = map_next(&domains, NULL); x; x = map_next(&domains, x))
		if (owner_of(x, struct domain, node)->entries)
			order[n++] = owner_of(x, struct domain, node);
	qsort(order, n, sizeof *order, most_first);
	for (size_t i = 0; i < n && i < most; i++) {
		const struct domain *d = order[i];
		const struct dest *to = d->dest;

		each(arg, &(struct domain_figures){ .domain = d->name, .entries = d->entries, .held = d->held, .oldest = d->oldest,
			.connections = to ? to->couriers : 0, .failures = to ? to->failures : 0, .again = to ? dest_again(to) : 0,
			.ours = to && to->failures && to->blame != BLAME_DEST, .why = to && to->failures ? &to->last : NULL });
	}
	free(order);
	return true;
}

void index_ordered(struct message *m, bool at_once)
{
	if (m->ordered)
		return;
	m->ordered = true;
	for (struct entry *e = m->entries; e; e = e->sibling) {
		if (e->state != ENTRY_WAITING && !(at_once && e->state == ENTRY_SCHEDULED))
			continue;
		unschedule_entry(e);    /* where it waits may not be where it goes */
		e->state = ENTRY_SCHEDULED;
		schedule_at(e, at_once ? loop_wall() : e->next);
	}
}

void index_forget_ways(void)
{
	for (struct map_node *x = map_next(&domains, NULL); x; x = map_next(&domains, x)) {
		struct domain *d = owner_of(x, struct domain, node);

		dest_release(d->dest);
		d->dest = NULL;
		d->by_sender = false;
	}
}

/* The message goes with its last one. */
static void drop_entries(struct message *m)
{
	for (struct entry *e = m->entries, *more; e; e = more) {
		more = e->sibling;
		e->state = e->state == ENTRY_OPEN ? ENTRY_HELD : e->state;
		index_drop(e);
	}
}

void index_close(void)
{
	timer_stop(&scan_timer);
	timer_stop(&look_timer);
	timer_stop(&adopt_timer);
	watch_stop(&in_watch);
	if (scan)
		closedir(scan);
	scan = NULL;
	scan_wanted = false;
	buf_free(&missed);
	missed_before = 0;
	seen_mtime = (struct timespec){ 0 };
	for (struct map_node *x = map_next(&messages, NULL), *next; x; x = next) {
		next = map_next(&messages, x);
		drop_entries(owner_of(x, struct message, node));
	}
	map_free(&messages);
	map_free(&domains);
}
