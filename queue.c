/* The queue: opening it, who is tried when, and bundles by destination. What lies behind:
 * queue/name.c (names), queue/file.c (files), queue/intake.c (drafts and commits),
 * queue/index.c (what is in cur/), queue/attempt.c (one entry being tried),
 * queue/settle.c (where it goes afterwards), queue/alias.c (messages that aliases make),
 * queue/order.c (what is wanted of one message). */
#include "queue/inside.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/log.h"
#include "lib/rand.h"

enum {
	SUSPECT_PATIENCE_MS = 15 * 60 * 1000,   /* after that, others wait until a suspect had its turn */
	FIRST_WINDOW = 2,                       /* connections to a destination that is not known yet */
	BLIND_A_TURN = 20,                      /* files opened to know where to */
	LANES = 4,                              /* transports */
	KEPT = 5,                               /* one place in so many is for destinations that have none yet */
	TURN = 10                               /* messages that a destination sends while one without a place waits for it */
};

struct queue queue = { .dir = -1, .cur = -1, .in = -1, .work = -1, .bad = -1, .lock = -1 };

static struct map dests;
static struct heap schedule;            /* entries until their stamp */
static struct list blind;               /* due entries that must be opened to know where to */
static struct list suspects;            /* due entries that were being tried when the program died */
static struct list runnable;            /* destinations where something may be done */
static struct list held_up;             /* couriers that wait without a place */
static struct attempt *alone;           /* a suspect being tried: nothing else starts */
static unsigned couriers;               /* in all */
static unsigned idle;                   /* of them, those that only keep a connection */
static size_t deferred;
static bool draining;                   /* nothing new is begun */
static msec suspects_since;
static struct timer due_timer;
static struct task plan_task;
static struct io wake_io = { .fd = -1 };

/* ---- places: those of one transport are none of another's */

static struct lane {
	const struct transport *transport;
	unsigned running;               /* couriers */
	struct list first, more;        /* destinations that want a place: their first one; another one */
} lanes[LANES];

static struct lane *lane_of(const struct transport *t)
{
	struct lane *l = lanes;

	while (l->transport && l->transport != t)
		if (++l == lanes + LANES)
			abort();        /* a transport is written down in a table, not made */
	if (!l->transport) {
		l->transport = t;
		list_init(&l->first);
		list_init(&l->more);
	}
	return l;
}

static unsigned places(const struct lane *l)
{
	return l->transport->in_all ? l->transport->in_all : queue.conf.couriers;
}

/* RFC 5321 4.5.4.1: slow destinations must not hold up all the others. So who has a courier takes none of the last places, and
 * waits for those who have none. */
static bool place_for(const struct dest *d)
{
	const struct lane *l = d->lane;

	if (!d->couriers)
		return l->running < places(l);
	return l->running < places(l) - places(l) / KEPT && !l->first.n;
}

static void not_hungry(struct dest *d)
{
	if (d->hungry_in)
		list_remove(d->hungry_in, &d->hungry);
	d->hungry_in = NULL;
}

static void wait_for_place(struct dest *d)
{
	struct list *want = d->couriers ? &d->lane->more : &d->lane->first;

	if (d->hungry_in == want)
		return;
	not_hungry(d);
	d->hungry_in = want;
	list_push(want, &d->hungry);
}

/* The next who gets a place, if there is one; NULL: nobody. */
static struct dest *next_for_place(struct lane *l)
{
	struct node *x = list_first(&l->first);
	struct dest *d;

	if (!x)
		x = list_first(&l->more);
	d = x ? owner_of(x, struct dest, hungry) : NULL;
	if (!d || l->running >= places(l) || (d->hungry_in == &l->more && d->couriers && !place_for(d)))
		return NULL;
	not_hungry(d);
	return d;
}

/* ---- destinations */

void dest_hold(struct dest *d)
{
	d->refs++;
}

static void dest_free_if_idle(struct dest *d)
{
	if (d->refs || d->down || d->waiting.n)
		return;
	timer_stop(&d->back);
	list_remove(&runnable, &d->runnable);
	not_hungry(d);
	map_remove(&dests, &d->node);
	free(d);
}

void dest_release(struct dest *d)
{
	if (!d)
		return;
	d->refs--;
	dest_free_if_idle(d);
}

void dest_is_runnable(struct dest *d)
{
	if (!list_holds(&d->runnable))
		list_push(&runnable, &d->runnable);
	plan_soon();
}

int64_t dest_again(const struct dest *d)
{
	return d->down ? loop_wall() + (d->back.node.key > loop_now() ? (d->back.node.key - loop_now()) / 1000 : 0) : 0;
}

static void dest_back(struct timer *t)
{
	struct dest *d = owner_of(t, struct dest, back);

	d->down = false;
	dest_is_runnable(d);    /* nobody waits: then it is forgotten */
}

struct dest *dest_for(struct str domain, const struct addr *from, struct str order)
{
	struct way way = { 0 };
	struct map_node *x;
	struct dest *d;

	str_copy(way.order, sizeof way.order, order);
	queue.conf.way(queue.conf.arg, domain, from, &way);
	x = map_get(&dests, str_of(way.key));
	if (x)
		return owner_of(x, struct dest, node);
	d = calloc(1, sizeof *d);
	if (!d)
		return NULL;
	d->way = way;
	d->lane = lane_of(way.transport);
	d->back.expired = dest_back;
	d->window = FIRST_WINDOW < way.transport->couriers ? FIRST_WINDOW : way.transport->couriers;
	str_copy(d->domain, sizeof d->domain, domain);
	list_init(&d->waiting);
	list_init(&d->ready);
	list_init(&d->idle);
	if (map_put(&dests, &d->node, str_of(d->way.key)))
		return d;
	free(d);
	return NULL;
}

/* What is ordered to go another way has nothing to do with it. */
bool dest_is_failing(const struct entry *e)
{
	return !e->msg->ordered && e->domain && e->domain->dest && e->domain->dest->failures && e->domain->dest->blame != BLAME_SELF;
}

bool dest_waits_for_machine(const struct entry *e)
{
	return !e->msg->ordered && e->domain && e->domain->dest && e->domain->dest->failures && e->domain->dest->blame == BLAME_SELF;
}

const struct way *dest_way(const struct dest *d) { return &d->way; }
const char *dest_domain(const struct dest *d) { return d->domain; }

size_t queue_waiting(const struct dest *d, size_t *parts)
{
	*parts = d->ready.n;
	return d->waiting.n;
}

int64_t back_off(unsigned tries)
{
	int64_t s = queue.conf.retry_first;

	for (unsigned i = 1; i < tries && s < queue.conf.retry_max; i++)
		s *= 2;
	if (s > queue.conf.retry_max)
		s = queue.conf.retry_max;
	if (s > 10)             /* a tenth to either side, so that what failed together does not come back together */
		s += (int64_t)rand_below((uint32_t)(s / 5 + 1)) - s / 10;
	return s > 0 ? s : 1;
}

/* Nothing of what is ready there has been started: it waits for the probe and keeps its place. */
static void take_back_ready(struct dest *d)
{
	struct node *x;

	while ((x = list_shift(&d->ready)))
		bundle_unmake(owner_of(x, struct bundle_private, ready)->bundle);
}

/* It waits, and then one message tries whether it is better. The pauses grow, but not for a fault of this machine: that ends for all at
 * once, and nobody else is troubled by our asking. */
static void dest_fails(struct dest *d, enum blame blame, const struct reply *why)
{
	if (blame != BLAME_SELF || !d->failures)
		d->failures++;
	d->blame = blame;
	d->down = true;
	d->last = *why;
	d->window = 1;
	timer_set(&d->back, back_off(blame == BLAME_SELF ? 1 : d->failures) * 1000);
	take_back_ready(d);
}

void dest_went(struct dest *d, enum blame blame, const struct reply *why, bool delivered)
{
	if (blame == BLAME_MESSAGE)
		return;                 /* says nothing of the destination */
	if (blame >= BLAME_DEST) {
		dest_fails(d, blame, why);
		return;
	}
	d->failures = 0;
	d->down = false;
	timer_stop(&d->back);
	if (blame == BLAME_TALK)
		d->window -= d->window > 1;
	else if (delivered)
		d->window += d->window < d->way.transport->couriers;
	if (d->waiting.n || d->ready.n)
		dest_is_runnable(d);
}

/* ---- entries and their time */

/* NULL: no memory, or the sender decides and is not known. */
static struct dest *dest_of_entry(struct entry *e)
{
	struct str sender = str_of(e->domain->name), domain = sender;
	bool known = str_cut(&sender, ' ', &domain);
	struct addr from = { .domain = sender };
	struct way way = { 0 };

	if (e->domain->dest)
		return e->domain->dest;
	if (!known) {
		queue.conf.way(queue.conf.arg, domain, NULL, &way);
		e->domain->by_sender = way.by_sender;
	} else if (!str_cut_last(&from.domain, '@', &from.local)) {
		from = (struct addr){ { "", 0 }, { "", 0 } };
	}
	if (e->domain->by_sender)
		return NULL;
	e->domain->dest = dest_for(domain, known ? &from : NULL, STR(""));
	if (e->domain->dest)
		dest_hold(e->domain->dest);
	return e->domain->dest;
}

static void wait_in(struct entry *e, struct list *l)
{
	e->state = ENTRY_WAITING;
	e->waits_in = l;
	list_push(l, &e->wait);
}

static void entry_is_due(struct entry *e)
{
	struct dest *d;

	if (e->msg->suspect) {
		if (!suspects.n)
			suspects_since = loop_now();
		wait_in(e, &suspects);
		return;
	}
	d = e->domain ? dest_of_entry(e) : NULL;
	if (entry_is_blind(e)) {
		wait_in(e, &blind);
		return;
	}
	if (!d) {
		heap_put(&schedule, &e->due, loop_wall() + 60);
		return;
	}
	wait_in(e, &d->waiting);
	dest_is_runnable(d);
}

static void arm_due_timer(void)
{
	struct heap_node *x = heap_top(&schedule);
	int64_t wait;

	if (!x) {
		timer_stop(&due_timer);
		return;
	}
	wait = x->key - loop_wall();
	/* the wall clock may be set: look at it again every minute */
	timer_set(&due_timer, wait <= 0 ? 0 : wait < 60 ? wait * 1000 : 60000);
}

void schedule_entry(struct entry *e)
{
	schedule_at(e, e->next);
}

void schedule_at(struct entry *e, int64_t when)
{
	if (e->state != ENTRY_SCHEDULED || !queue.conf.deliver)
		return;
	if (!heap_put(&schedule, &e->due, when))
		log_text(LOG_ERROR, "queue", "no memory to schedule %s", e->msg->id);
	if (heap_top(&schedule) == &e->due)
		arm_due_timer();
}

void unschedule_entry(struct entry *e)
{
	if (e->state == ENTRY_SCHEDULED)
		heap_remove(&schedule, &e->due);
	else if (e->state == ENTRY_WAITING && e->waits_in)
		list_remove(e->waits_in, &e->wait);
	e->due = (struct heap_node){ 0 };
	e->waits_in = NULL;
}

static void take_due(void)
{
	int64_t now = loop_wall();
	struct heap_node *x;

	while ((x = heap_top(&schedule)) && x->key <= now) {
		heap_remove(&schedule, x);
		entry_is_due(owner_of(x, struct entry, due));
	}
	arm_due_timer();
}

uint16_t look_hour(void) { return (uint16_t)(loop_wall() / 3600 % UINT16_MAX + 1); }

void look_after(struct entry *e)
{
	if (attempts_open() >= OPEN_MAX)
		return;
	e->looked = look_hour();
	unschedule_entry(e);
	attempt_open(e, true);
}

/* ---- the plan */

void plan_soon(void)
{
	task_post(&plan_task);
}

static struct entry *shift_entry(struct list *l)
{
	struct node *x = list_shift(l);
	struct entry *e;

	if (!x)
		return NULL;
	e = owner_of(x, struct entry, wait);
	e->waits_in = NULL;
	return e;
}

static struct bundle *shift_ready(struct dest *d)
{
	struct node *x = list_first(&d->ready);
	struct bundle_private *p = x ? owner_of(x, struct bundle_private, ready) : NULL;

	if (!p || (alone && p->attempt != alone))
		return NULL;
	list_remove(&d->ready, x);
	return p->bundle;
}

/* The next thing to send there, opened and moved to its next stamp. */
static struct bundle *take(struct dest *d)
{
	for (;;) {
		struct bundle *b = shift_ready(d);
		struct entry *e;

		if (b && bundle_start(b))
			return b;
		if (b)
			continue;
		if (alone)
			return NULL;
		e = shift_entry(&d->waiting);
		if (!e)
			return NULL;
		attempt_open(e, false);         /* its bundle is ready now, or it is settled */
	}
}

static bool may_start(const struct dest *d)
{
	return !draining && !d->down && !d->held_up && d->couriers < d->window && (d->ready.n || (d->waiting.n && !alone));
}

/* A connection that is there already is used first. */
static void use_idle(struct dest *d)
{
	for (size_t n = d->idle.n; n > 0 && d->idle.n && !d->down && (d->ready.n || d->waiting.n); n--) {
		struct idle *i = owner_of(list_shift(&d->idle), struct idle, node);

		idle--;
		i->wanted(i);
	}
}

static void take_place(struct dest *d)
{
	d->couriers++;
	d->lane->running++;
	couriers++;
}

static void leave_place(struct dest *d)
{
	d->couriers--;
	d->leaving -= d->leaving > 0;
	d->lane->running--;
	couriers--;
	plan_soon();
}

static void run_dest(struct dest *d)
{
	dest_hold(d);
	use_idle(d);
	while (may_start(d)) {
		struct bundle *b;

		if (!place_for(d) || (!d->ready.n && attempts_enough())) {
			wait_for_place(d);
			break;
		}
		b = take(d);
		if (!b)
			break;
		take_place(d);
		dest_hold(d);
		d->way.transport->deliver(d->way.transport, b);
	}
	dest_release(d);
}

static void run_blind(void)
{
	for (int budget = BLIND_A_TURN; blind.n && !alone && !draining; budget--) {
		if (attempts_open() >= OPEN_MAX && !attempt_park_one())
			return;
		if (budget == 0 || attempts_enough()) {
			plan_soon();
			return;
		}
		attempt_open(shift_entry(&blind), false);
	}
}

static bool nothing_runs(void)
{
	return couriers == idle && attempts_open() == 0;
}

/* What was being tried when the program died is tried last and alone. */
static void run_suspect(void)
{
	struct entry *e;

	if (alone || draining || !suspects.n || !nothing_runs())
		return;
	e = shift_entry(&suspects);
	e->msg->suspect = false;
	alone = attempt_open(e, false);
	suspects_since = loop_now();
}

static bool suspects_have_waited(void)
{
	return suspects.n && loop_now() - suspects_since > SUSPECT_PATIENCE_MS;
}

static void run_hungry(void)
{
	for (struct lane *l = lanes; l < lanes + LANES && l->transport; l++)
		for (struct dest *d; !attempts_enough() && (d = next_for_place(l)); )
			run_dest(d);
}

static void plan(struct task *t)
{
	size_t n;

	(void)t;
	take_due();
	if (!suspects_have_waited())
		run_blind();
	else if (!alone)
		while (attempt_park_one())
			;               /* nothing starts until the suspects had their turn, which waits for what is open */
	if (!suspects_have_waited() || alone)
		run_hungry();
	for (n = runnable.n; n > 0 && runnable.n; n--) {
		struct dest *d = owner_of(list_shift(&runnable), struct dest, runnable);

		if (!suspects_have_waited() || alone)
			run_dest(d);
		else
			list_push(&runnable, &d->runnable);
	}
	if (attempts_enough())
		plan_soon();
	run_suspect();
}

static void wake_all(void)
{
	for (struct map_node *x = map_next(&dests, NULL); x; x = map_next(&dests, x)) {
		struct dest *d = owner_of(x, struct dest, node);

		if (d->waiting.n || d->ready.n)
			dest_is_runnable(d);
	}
}

bool attempt_is_alone(const struct attempt *a)
{
	return a == alone;
}

void attempt_gone(const struct attempt *a)
{
	if (a == alone) {
		alone = NULL;
		wake_all();
	}
	plan_soon();
}

static void due_now(struct timer *t)
{
	(void)t;
	plan_soon();
}

/* ---- couriers */

/* All places are taken, and this destination has had its turn: a courier of it leaves for one that has none. */
static bool turn_is_over(struct dest *d)
{
	if (d->served < TURN || !d->lane->first.n || d->lane->running < places(d->lane))
		return false;
	d->served = 0;
	return true;
}

static bool too_many(const struct dest *d)
{
	return d->couriers - d->leaving > d->window;
}

struct bundle *queue_next(struct dest *d)
{
	if (draining || d->down || suspects_have_waited() || turn_is_over(d))
		return NULL;
	if (too_many(d)) {
		d->leaving++;
		return NULL;
	}
	d->served++;
	return take(d);
}

struct bundle *queue_ready(struct dest *d, const struct mail *m)
{
	struct node *x = draining ? NULL : list_first(&d->ready);
	struct bundle *b = x ? owner_of(x, struct bundle_private, ready)->bundle : NULL;

	return b && b->mail == m ? b : NULL;
}

bool queue_take(struct bundle *b)
{
	list_remove(&b->dest->ready, &b->x->ready);
	return bundle_start(b);
}

void queue_give_back(struct bundle *b)
{
	struct dest *d = b->dest;

	dest_hold(d);
	bundle_give_back(b);
	dest_release(d);
}

bool queue_idle(struct dest *d, struct idle *i)
{
	/* not while others may want the place */
	if (draining || d->down || d->leaving || d->lane->running > places(d->lane) / 2)
		return false;
	list_push(&d->idle, &i->node);
	idle++;
	return true;
}

void queue_not_idle(struct dest *d, struct idle *i)
{
	if (!list_holds(&i->node))
		return;
	list_remove(&d->idle, &i->node);
	idle--;
}

void queue_wait(struct bundle *b, struct idle *i)
{
	struct dest *d = b->dest;

	d->held_up++;
	leave_place(d);
	list_push(&held_up, &i->node);
	bundle_give_back(b);
}

void queue_waited(struct dest *d, struct idle *i)
{
	list_remove(&held_up, &i->node);
	d->held_up--;
	d->served = 0;
	take_place(d);
	if (d->waiting.n || d->ready.n)
		dest_is_runnable(d);
}

void queue_leave(struct dest *d)
{
	leave_place(d);
	if (d->waiting.n || d->ready.n)
		dest_is_runnable(d);
	dest_release(d);
}

void count_deferred(void)
{
	deferred++;
}

size_t queue_deferred(void)
{
	size_t n = deferred + intake_holds();

	for (struct map_node *x = map_next(&dests, NULL); x; x = map_next(&dests, x)) {
		struct dest *d = owner_of(x, struct dest, node);

		if (d->down)
			n += d->waiting.n;
	}
	return n;
}

size_t queue_due(void)
{
	size_t n;

	take_due();
	n = blind.n + suspects.n + attempts_open() - intake_holds() + couriers - idle;
	for (struct map_node *x = map_next(&dests, NULL); x; x = map_next(&dests, x)) {
		struct dest *d = owner_of(x, struct dest, node);

		if (!d->down)
			n += d->waiting.n + d->ready.n;
	}
	return n;
}

void queue_drain(void)
{
	struct map_node *x = map_next(&dests, NULL);

	draining = true;
	while (x) {
		struct dest *d = owner_of(x, struct dest, node);
		struct node *i;

		dest_hold(d);
		while ((i = list_shift(&d->idle))) {
			idle--;
			owner_of(i, struct idle, node)->wanted(owner_of(i, struct idle, node));
		}
		x = map_next(&dests, x);
		dest_release(d);
	}
	for (struct node *i; (i = list_first(&held_up)); )
		owner_of(i, struct idle, node)->wanted(owner_of(i, struct idle, node));
}

bool queue_drained(void)
{
	return couriers == 0 && queue_committed();
}

bool queue_has(const char *id) { return index_message(str_of(id)) != NULL; }

size_t queue_entries(void)
{
	return index_size();
}

void queue_wake(void)
{
	for (struct map_node *x = map_next(&dests, NULL); x; x = map_next(&dests, x)) {
		struct dest *d = owner_of(x, struct dest, node);

		if (!d->down)
			continue;
		d->down = false;        /* one probe; failures stay until it succeeds */
		timer_stop(&d->back);
		dest_is_runnable(d);
	}
	adopt_in();
	orders_look(true);
	index_scan_soon();
	plan_soon();
}

/* ---- opening */

/* Their names are durable before mail relies on them. */
static int open_dir(const char *name, int *made)
{
	int now = file_mkdir(queue.dir, name, 0700);

	if (now == -1)
		return -1;
	*made |= now;
	return openat(queue.dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int open_dirs(const char **failed)
{
	struct {
		const char *name;
		int *fd;
	} wanted[] = { { "cur", &queue.cur }, { "in", &queue.in }, { "work", &queue.work }, { "bad", &queue.bad } };
	int made = 0;

	if (file_mkdirs(queue.conf.dir, 0700) == -1) {
		*failed = queue.conf.dir;
		return -1;
	}
	queue.dir = open(queue.conf.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (queue.dir == -1) {
		*failed = queue.conf.dir;
		return -1;
	}
	for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
		*wanted[i].fd = open_dir(wanted[i].name, &made);
		if (*wanted[i].fd != -1)
			continue;
		*failed = wanted[i].name;
		return -1;
	}
	*failed = "tmp or new";
	if (file_mkdir(queue.dir, "tmp", 0700) == -1 || file_mkdir(queue.dir, "new", 0700) == -1)
		return -1;
	*failed = queue.conf.dir;
	return made ? file_sys.fsync(queue.dir) : 0;
}

/* ---- the lock file: who schedules, and what is being tried, for `cat` and for the next start */

enum { SLOTS = 128, SLOT = 64, SLOT_DEST = 31 };        /* of a longer destination the slot holds the beginning */

bool slot_take(struct attempt *a)
{
	for (size_t i = 1; !a->slot && i < SLOTS; i++) {
		char *s = queue.slots + i * SLOT, text[SLOT];
		int n;

		if (s[0] != ' ')
			continue;
		n = snprintf(text, sizeof text, "%s %.*s", a->entry->msg->id, SLOT_DEST, a->entry->dest);
		memcpy(s + 7, text, (size_t)n);
		memcpy(s, "trying ", 7);        /* last: a line that is begun is whole */
		a->slot = i;
	}
	return a->slot;
}

void slot_give(struct attempt *a)
{
	if (!a->slot || !queue.slots)
		return;
	memset(queue.slots + a->slot * SLOT, ' ', SLOT - 1);
	a->slot = 0;
}

struct tried {
	char id[ID_MAX];
	char dest[SLOT_DEST + 1];       /* its first octets */
};
/* What the last scheduler was trying. Returns how many. */
static size_t read_slots(struct tried tried[SLOTS])
{
	char old[SLOTS * SLOT];
	ssize_t n = file_pread(queue.lock, old, sizeof old, 0);
	size_t found = 0;

	for (ssize_t i = SLOT; i + SLOT <= n; i += SLOT) {
		struct str id = { old + i + 7, 24 }, dest = str_trim((struct str){ old + i + 32, SLOT_DEST });

		if (memcmp(old + i, "trying ", 7) != 0 || !id_valid(id))
			continue;
		str_copy(tried[found].id, ID_MAX, id);
		str_copy(tried[found++].dest, SLOT_DEST + 1, dest);
	}
	return found;
}

static int map_slots(void)
{
	char blank[SLOTS * SLOT], pid[SLOT];
	void *p;

	memset(blank, ' ', sizeof blank);
	for (size_t i = SLOT - 1; i < sizeof blank; i += SLOT)
		blank[i] = '\n';
	memcpy(blank, pid, (size_t)snprintf(pid, sizeof pid, "pid %ld", (long)getpid()));
	/* written, not only extended: a hole in a full disk would be a SIGBUS later */
	if (file_pwrite(queue.lock, blank, sizeof blank, 0) == -1 || ftruncate(queue.lock, sizeof blank) == -1)
		return -1;
	p = mmap(NULL, sizeof blank, PROT_READ | PROT_WRITE, MAP_SHARED, queue.lock, 0);
	if (p == MAP_FAILED)
		return -1;
	queue.slots = p;
	/* A helper that is forked later must not keep the file, and with it the lock, by this mapping. */
	return madvise(p, sizeof blank, MADV_DONTFORK);
}

static int take_lock(char *why, size_t size)
{
	char holder[SLOT] = "";
	ssize_t n;

	queue.lock = openat(queue.dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (queue.lock == -1) {
		snprintf(why, size, "cannot open %s/lock: %s", queue.conf.dir, strerror(errno));
		return -1;
	}
	if (flock(queue.lock, LOCK_EX | LOCK_NB) == 0)
		return 0;
	if (errno != EWOULDBLOCK) {
		snprintf(why, size, "cannot lock %s/lock: %s", queue.conf.dir, strerror(errno));
		return -1;
	}
	n = file_pread(queue.lock, holder, sizeof holder - 1, 0);
	holder[n > 0 ? (size_t)n : 0] = 0;
	holder[strcspn(holder, "\n")] = 0;
	while (n > 0 && strlen(holder) && holder[strlen(holder) - 1] == ' ')
		holder[strlen(holder) - 1] = 0;
	snprintf(why, size, "another process (%s) delivers from the queue %s", holder[0] ? holder : "unknown", queue.conf.dir);
	errno = EWOULDBLOCK;
	return -1;
}

/* work/ holds nothing but unfinished files, which were never answered 250: ours of an earlier life, and those that
 * another process (inetd, sendmail) is writing just now. */
static void sweep_work(void)
{
	char names[64][NAME_ROOM];
	size_t removed;

	do {
		int n = list_names(queue.work, names, 64);

		removed = 0;
		for (int i = 0; i < n; i++)
			removed += !file_in_use(queue.work, names[i]) && file_sys.unlink(queue.work, names[i]) == 0;
	} while (removed);
}

static void woken(struct io *io, short revents)
{
	char octets[64];

	(void)revents;
	while (read(io->fd, octets, sizeof octets) > 0)
		;
	queue_wake();
}

static void open_wake(void)
{
	if (mkfifoat(queue.dir, "wake", 0600) == -1 && errno != EEXIST) {
		log_text(LOG_WARN, "queue", "cannot make %s/wake: %s", queue.conf.dir, strerror(errno));
		return;
	}
	/* for writing too, so that it never reads as ended */
	wake_io.fd = openat(queue.dir, "wake", O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
	wake_io.ready = woken;
	if (wake_io.fd != -1)
		io_watch(&wake_io, POLLIN);
}

int queue_poke(const char *dir)
{
	char path[4096];
	int fd;
	ssize_t n;

	snprintf(path, sizeof path, "%s/wake", dir);
	fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
	if (fd == -1)
		return -1;
	n = write(fd, "w", 1);
	close(fd);
	return n == 1 || errno == EAGAIN ? 0 : -1;
}

static struct entry *not_looked_at(const char *id)
{
	struct message *m = index_message(str_of(id));

	for (struct entry *e = m ? m->entries : NULL; e; e = e->sibling)
		if (e->state == ENTRY_SCHEDULED && !e->looked)
			return e;
	return NULL;
}

/* The name that it has is that of before. */
static void move_on(struct entry *e)
{
	unschedule_entry(e);
	e->state = ENTRY_SCHEDULED;
	if (entry_restamp(e, loop_wall() + back_off(e->tries + 1), e->tries + 1) == -1)
		log_event(LOG_ERROR, "cannot-rename", LF(L_TEXT("id", e->msg->id), L_TEXT("dest", e->dest), L_TEXT("error", strerror(errno))));
	schedule_entry(e);
}

/* What the last scheduler was at when it was killed: it waits for its next stamp. What it had begun to settle is settled now, so that a
 * report that is in the queue already is not made again when it has left. */
static void suspect(const struct tried *t)
{
	struct message *m = index_message(str_of(t->id));

	if (m)
		m->suspect = true;
	for (struct entry *e = m ? m->entries : NULL; e; e = e->sibling)
		if (e->next <= loop_wall() && (e->state == ENTRY_SCHEDULED || e->state == ENTRY_WAITING) && !strncmp(e->dest, t->dest, strlen(t->dest)))
			move_on(e);
	for (struct entry *e; queue.conf.deliver && attempts_open() < OPEN_MAX && (e = not_looked_at(t->id)); )
		look_after(e);
}

static int start_schedule(char *why, size_t size)
{
	struct tried tried[SLOTS];
	uint64_t seq;
	int fill[2], to_fill;
	size_t n;

	list_init(&blind);
	list_init(&suspects);
	list_init(&runnable);
	list_init(&held_up);
	memset(lanes, 0, sizeof lanes);
	plan_task.run = plan;
	due_timer.expired = due_now;
	deferred = couriers = idle = 0;
	draining = false;
	alone = NULL;
	queue.began = loop_wall();
	n = read_slots(tried);
	if (map_slots() == -1) {
		snprintf(why, size, "cannot write %s/lock: %s", queue.conf.dir, strerror(errno));
		return -1;
	}
	sweep_work();
	if (recover(&seq, why, size) == -1)
		return -1;
	if (index_read() == -1) {
		snprintf(why, size, "cannot read %s/cur: %s", queue.conf.dir, strerror(errno));
		return -1;
	}
	to_fill = queue.conf.sync == QUEUE_SYNC_LOG ? wal_open(seq, fill) : 0;
	if (to_fill == -1) {
		snprintf(why, size, "cannot open %s/wal or remove what is in it: %s", queue.conf.dir, strerror(errno));
		return -1;
	}
	if (to_fill)
		intake_fill(fill);
	for (size_t i = 0; i < n; i++)
		suspect(&tried[i]);
	adopt_in();
	orders_forget();
	orders_look(false);
	index_open();
	open_wake();
	plan_soon();
	return 0;
}

int queue_open(const struct queue_config *conf, char *why, size_t size)
{
	const char *failed = "";
	int saved;

	queue.conf = *conf;
	if (conf->sync != QUEUE_SYNC_FILE && !file_syncfs_tells()) {
		log_text(LOG_INFO, "queue", "this kernel's syncfs() does not say what could not be written: each message is synced by itself");
		queue.conf.sync = QUEUE_SYNC_FILE;
	}
	space_forget();
	if (!queue.conf.couriers)
		queue.conf.couriers = 100;
	if (open_dirs(&failed) == -1) {
		snprintf(why, size, "cannot make or open %s in the queue %s: %s", failed, conf->dir, strerror(errno));
		goto fail;
	}
	if (queue.conf.sync == QUEUE_SYNC_LOG && !file_sys.bears_log(queue.dir)) {
		log_text(LOG_INFO, "queue", "%s is on no file system that is known to keep what a log needs (ext4, XFS, btrfs), or on one "
			"where it gains nothing: each message is synced by itself", conf->dir);
		queue.conf.sync = QUEUE_SYNC_FILE;
	}
	if (conf->schedule && take_lock(why, size) == -1)
		goto fail;
	if (intake_open() == -1) {
		snprintf(why, size, "cannot start the commit helper: %s", strerror(errno));
		if (errno == EWOULDBLOCK)       /* fork(), where there are too many processes: nobody has our lock */
			errno = ENOMEM;
		goto fail;
	}
	queue.open = true;
	if (conf->schedule && start_schedule(why, size) == -1)
		goto fail;
	return 0;
fail:
	saved = errno;
	queue_close();
	errno = saved;
	return -1;
}

/* What is due at a destination, and what is ready there and not begun, is asked again where it goes. */
static void ask_again(struct dest *d)
{
	struct node *x;

	take_back_ready(d);
	while ((x = list_first(&d->waiting))) {
		struct entry *e = owner_of(x, struct entry, wait);

		unschedule_entry(e);
		e->state = ENTRY_SCHEDULED;
		schedule_entry(e);
	}
}

void queue_reconfigure(const struct queue_config *c)
{
	queue.conf.dir = c->dir;                /* the same one, in words that stay */
	queue.conf.retry_first = c->retry_first;
	queue.conf.retry_max = c->retry_max;
	queue.conf.lifetime = c->lifetime;
	queue.conf.delay_notice = c->delay_notice;
	queue.conf.message_size = c->message_size;
	queue.conf.reserve = c->reserve;
	space_forget();
	if (!queue.conf.schedule)
		return;
	for (struct map_node *x = map_next(&dests, NULL), *next; x; x = next) {
		struct dest *d = owner_of(x, struct dest, node);

		dest_hold(d);           /* its last bundle may be the last that needs it */
		ask_again(d);
		next = map_next(&dests, x);
		dest_release(d);
	}
	index_forget_ways();
}

static void close_fd(int *fd)
{
	if (*fd != -1)
		close(*fd);
	*fd = -1;
}

void queue_close(void)
{
	if (queue.conf.schedule && queue.open) {
		attempts_close();
		index_close();
		timer_stop(&due_timer);
		task_cancel(&plan_task);
		heap_free(&schedule);
		for (struct map_node *x; (x = map_next(&dests, NULL)); ) {
			struct dest *d = owner_of(x, struct dest, node);

			d->refs = 0;
			d->down = false;
			dest_free_if_idle(d);
		}
		map_free(&dests);
		if (queue.slots)
			munmap(queue.slots, SLOTS * SLOT);
		queue.slots = NULL;
		if (wake_io.fd != -1)
			io_forget(&wake_io);
		close_fd(&wake_io.fd);
	}
	wal_close();
	if (queue.open)
		intake_close();
	queue.open = false;
	close_fd(&queue.cur);
	close_fd(&queue.in);
	close_fd(&queue.work);
	close_fd(&queue.bad);
	if (queue.lock != -1)
		flock(queue.lock, LOCK_UN);     /* a helper that was forked just now may have it open still */
	close_fd(&queue.lock);
	close_fd(&queue.dir);
}

int queue_dir(void)
{
	return queue.dir;
}
