/* The one poll() loop. */
#include "lib/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/list.h"

/* The poll array is kept from turn to turn. A watcher that goes leaves a hole
 * (fd -1), which the next newcomer fills. */
static struct pollfd *polls;
static struct io **owners;              /* same places; NULL in a hole */
static size_t npolls, room;
static int *holes;                      /* stack of free places below npolls */
static size_t nholes;

static struct heap timers;
static struct heap ripe;                /* those that are run in this turn */
static struct task *first_task, **last_task = &first_task;
static struct task mark;                /* the last one of this turn */
static struct turn_end *turn_ends;

static msec now_ms, advanced;           /* advanced: milliseconds of the virtual clock that are no second yet */
static int64_t now_wall;
static bool clock_taken, clock_is_virtual, stopping;

static int signal_pipe[2] = { -1, -1 };
static struct io signal_io;
static void (*signal_handlers[NSIG])(int);

/* ---- time */

static void take_clock(void)
{
	clock_taken = true;
	if (clock_is_virtual)
		return;
	now_ms = clock_monotonic_ms();
	now_wall = clock_wall_s();
}

msec loop_now(void)
{
	if (!clock_taken)
		take_clock();
	return now_ms;
}

int64_t loop_wall(void)
{
	if (!clock_taken)
		take_clock();
	return now_wall;
}

void loop_virtual_clock(int64_t wall)
{
	clock_is_virtual = clock_taken = true;
	now_wall = wall;
	now_ms = 1000;
	advanced = 0;
}

void loop_advance(msec by)
{
	if (!clock_is_virtual || by <= 0)
		return;
	now_ms += by;
	advanced += by;
	now_wall += advanced / 1000;
	advanced %= 1000;
}

/* ---- descriptors */

static bool make_room(void)
{
	size_t more = room ? 2 * room : 64;
	void *p, *o, *h;

	if (npolls < room)
		return true;
	p = realloc(polls, more * sizeof *polls);
	if (p)
		polls = p;
	o = realloc(owners, more * sizeof *owners);
	if (o)
		owners = o;
	h = realloc(holes, more * sizeof *holes);
	if (h)
		holes = h;
	if (!p || !o || !h)
		return false;
	room = more;
	return true;
}

int io_watch(struct io *io, short events)
{
	int i = io->slot - 1;

	if (i < 0) {
		if (nholes)
			i = holes[--nholes];
		else if (make_room())
			i = (int)npolls++;
		else
			return -1;
		io->slot = i + 1;
		owners[i] = io;
		polls[i] = (struct pollfd){ .fd = io->fd };     /* no revents: what it gets, it gets next turn */
	}
	polls[i].events = events;
	return 0;
}

void io_forget(struct io *io)
{
	int i = io->slot - 1;

	if (i < 0)
		return;
	io->slot = 0;
	owners[i] = NULL;
	polls[i] = (struct pollfd){ .fd = -1 };
	holes[nholes++] = i;
}

/* ---- timers */

static void put_timer(struct heap *h, struct heap_node *x, msec at)
{
	if (!heap_put(h, x, at))
		abort();        /* a deadline that is never met is worse than a restart: everything accepted is on disk */
}

void timer_stop(struct timer *t)
{
	size_t i = t->node.pos;

	heap_remove(i && i <= ripe.n && ripe.at[i - 1] == &t->node ? &ripe : &timers, &t->node);
}

void timer_set(struct timer *t, msec after)
{
	timer_stop(t);
	put_timer(&timers, &t->node, loop_now() + (after > 0 ? after : 0));
}

bool timer_armed(const struct timer *t) { return t->node.pos != 0; }

/* Those that are due are put apart first: one that is set again for "at once" waits for the next turn. */
static void run_timers(void)
{
	struct heap_node *x;

	while ((x = heap_top(&timers)) && x->key <= now_ms) {
		heap_remove(&timers, x);
		put_timer(&ripe, x, x->key);
	}
	while ((x = heap_top(&ripe))) {
		struct timer *t = owner_of(x, struct timer, node);

		timer_stop(t);
		t->expired(t);
	}
}

/* ---- tasks */

void task_post(struct task *t)
{
	if (t->posted)
		return;
	t->posted = true;
	t->next = NULL;
	*last_task = t;
	last_task = &t->next;
}

void task_cancel(struct task *t)
{
	if (!t->posted)
		return;
	for (struct task **at = &first_task; *at; at = &(*at)->next) {
		if (*at != t)
			continue;
		*at = t->next;
		if (last_task == &t->next)
			last_task = at;
		break;
	}
	t->posted = false;
}

static void run_tasks(void)
{
	/* A mark ends this turn's tasks: what is posted from here on waits for the next turn, so that no two tasks can keep
	 * the loop from poll() by posting each other. */
	task_post(&mark);
	while (first_task != &mark) {
		struct task *t = first_task;

		first_task = t->next;
		t->posted = false;
		t->run(t);
	}
	task_cancel(&mark);
}

void loop_at_turn_end(struct turn_end *e)
{
	for (struct turn_end *x = turn_ends; x; x = x->next)
		if (x == e)
			return;
	e->next = turn_ends;
	turn_ends = e;
}

/* ---- signals */

static void on_signal(int signo)
{
	int saved = errno;
	unsigned char c = (unsigned char)signo;

	if (write(signal_pipe[1], &c, 1) == -1) {
		/* the pipe is full of signals that will be seen */
	}
	errno = saved;
}

static void signals_ready(struct io *io, short revents)
{
	unsigned char c[64];
	ssize_t n;

	(void)revents;
	while ((n = read(io->fd, c, sizeof c)) > 0)
		for (ssize_t i = 0; i < n; i++)
			if (c[i] < NSIG && signal_handlers[c[i]])
				signal_handlers[c[i]](c[i]);
}

void loop_on_signal(int signo, void (*handler)(int))
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_RESTART };

	if (signal_pipe[0] == -1) {
		if (pipe2(signal_pipe, O_CLOEXEC | O_NONBLOCK) == -1)
			abort();
		signal_io = (struct io){ .fd = signal_pipe[0], .ready = signals_ready };
		if (io_watch(&signal_io, POLLIN) == -1)
			abort();
	}
	signal_handlers[signo] = handler;
	sigemptyset(&sa.sa_mask);
	sigaction(signo, &sa, NULL);
}

/* ---- turning */

static msec until_next_timer(msec wait)
{
	struct heap_node *x = heap_top(&timers);
	msec due;

	if (!x)
		return wait;
	due = x->key > now_ms ? x->key - now_ms : 0;
	return wait < 0 || due < wait ? due : wait;
}

static int poll_now(msec wait)
{
	int n;

	if (first_task)
		wait = 0;
	if (wait > 3600000)
		wait = 3600000;
	n = poll(polls, npolls, (int)wait);
	if (n == -1 && errno != EINTR)
		abort();
	return n > 0 ? n : 0;
}

static void run_ready(int n)
{
	for (size_t i = 0; n > 0 && i < npolls; i++) {
		short got = polls[i].revents;

		if (!got)
			continue;
		n--;
		polls[i].revents = 0;
		if (owners[i])
			owners[i]->ready(owners[i], got);
	}
}

static unsigned turns;

unsigned loop_turns(void) { return turns; }

void loop_turn(msec wait)
{
	int n;

	turns++;
	if (!clock_is_virtual)
		take_clock();
	wait = until_next_timer(wait);
	n = poll_now(clock_is_virtual ? 0 : wait);
	if (!clock_is_virtual)
		take_clock();
	else if (!n && !first_task && wait > 0)
		loop_advance(wait);
	run_ready(n);
	run_timers();
	run_tasks();
	for (struct turn_end *e = turn_ends; e; e = e->next)
		e->run(e);
}

void loop_run(void)
{
	for (stopping = false; !stopping; )
		loop_turn(-1);
}

void loop_stop(void)
{
	stopping = true;
}

void loop_after_fork(void)
{
	struct sigaction dfl = { .sa_handler = SIG_DFL };

	for (int i = 1; i < NSIG; i++) {
		if (signal_handlers[i])
			sigaction(i, &dfl, NULL);
		signal_handlers[i] = NULL;
	}
	if (signal_pipe[0] != -1) {
		close(signal_pipe[0]);
		close(signal_pipe[1]);
		signal_pipe[0] = signal_pipe[1] = -1;
	}
	npolls = nholes = 0;
	timers.n = ripe.n = 0;
	first_task = NULL;
	last_task = &first_task;
	mark.posted = false;            /* the fork may have come from a task */
	turn_ends = NULL;
}
