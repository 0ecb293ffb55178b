/* The one poll() loop. */
#include "lib/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/list.h"
#include "lib/log.h"

enum {
	CROWD = 64,                     /* descriptors that are not worth telling apart */
	QUIET_TURNS = 32,               /* who has had nothing for so long is quiet: what poll() costs for it by then, epoll costs for an event */
	SORT_EVERY = 64,                /* turns between looking who has become quiet */
	HEARD_AT_ONCE = 64,             /* quiet ones in one turn; the others in the next */
	NO_MEMORY_MS = 50, NO_MEMORY_MOST = 200
};

/* The poll array is kept from turn to turn. A watcher that goes leaves a hole (fd -1), which the next newcomer fills. What poll() costs
 * grows with the descriptors, so in a crowd it is asked for the lively ones alone, which come first. The quiet ones behind them are watched by an
 * epoll descriptor, which is one of the lively. */
static struct pollfd *polls;
static struct io **owners;              /* same places; NULL in a hole */
static uint32_t *last;                  /* same places: the turn of the last event */
static size_t npolls, room;
static size_t lively;                   /* of npolls, from the beginning */
static int *holes;                      /* stack of free places among the lively ones */
static size_t nholes;
static void quiet_ready(struct io *, short);
static struct io quiet = { .fd = -1, .ready = quiet_ready };

static uint32_t turns;
static unsigned refused;                /* poll()s in a row, for want of memory */

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
static volatile sig_atomic_t unheard;   /* a signal that the pipe did not take. poll() is interrupted all the same */

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
	void *p, *o, *h, *l;

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
	l = realloc(last, more * sizeof *last);
	if (l)
		last = l;
	if (!p || !o || !h || !l)
		return false;
	room = more;
	return true;
}

static void move(size_t from, size_t to)
{
	polls[to] = polls[from];
	owners[to] = owners[from];
	last[to] = last[from];
	if (owners[to])
		owners[to]->slot = (int)to + 1;
}

static void swap(size_t a, size_t b)
{
	struct pollfd p = polls[a];
	struct io *o = owners[a];
	uint32_t l = last[a];

	if (a == b)
		return;
	move(b, a);
	polls[b] = p;
	owners[b] = o;
	last[b] = l;
	if (o)
		o->slot = (int)b + 1;
}

/* A place behind the lively ones. A quiet one that is there goes to the end, where run_ready() still comes by. */
static size_t place_at_end_of_lively(void)
{
	if (lively == npolls)
		npolls++;
	else if (owners[lively])
		move(lively, npolls++);
	return lively++;
}

static void make_lively(size_t i)
{
	epoll_ctl(quiet.fd, EPOLL_CTL_DEL, polls[i].fd, NULL);
	swap(i, lively++);
}

/* False: it cannot be watched so, and stays where it is. */
static bool make_quiet(size_t i)
{
	struct epoll_event e = { .events = (uint32_t)polls[i].events, .data.ptr = owners[i] };

	if (owners[i] == &quiet || epoll_ctl(quiet.fd, EPOLL_CTL_ADD, polls[i].fd, &e) == -1)
		return false;
	swap(i, --lively);
	return true;
}

static bool can_be_quiet(void)
{
	if (quiet.fd == -1)
		quiet.fd = epoll_create1(EPOLL_CLOEXEC);
	return quiet.fd != -1 && (quiet.slot || io_watch(&quiet, POLLIN) == 0);
}

/* Between two turns: the holes go, and who has become quiet is put behind the lively ones. */
static void sort_out(void)
{
	size_t n = 0, among = 0;

	for (size_t i = 0; i < npolls; i++) {
		if (!owners[i])
			continue;
		among += i < lively;
		move(i, n++);
	}
	npolls = n;
	lively = among;
	nholes = 0;
	if (npolls <= CROWD || !can_be_quiet())
		return;
	for (size_t i = lively; i-- > 0; )
		if (turns - last[i] >= QUIET_TURNS)
			make_quiet(i);
}

/* Once may be chance, and moves nobody; twice is lively. */
static void had_event(size_t i)
{
	bool again = turns - last[i] < QUIET_TURNS;

	last[i] = turns;
	if (i >= lively && again)
		make_lively(i);
}

/* They have what they get from poll_now(). */
static void quiet_ready(struct io *io, short revents)
{
	(void)io;
	(void)revents;
}

int io_watch(struct io *io, short events)
{
	int i = io->slot - 1;

	if (i < 0) {
		if (nholes)
			i = holes[--nholes];
		else if (make_room())
			i = (int)place_at_end_of_lively();
		else
			return -1;
		io->slot = i + 1;
		owners[i] = io;
		last[i] = turns;
		polls[i] = (struct pollfd){ .fd = io->fd };     /* no revents: what it gets, it gets next turn */
	} else if ((size_t)i >= lively && events != polls[i].events) {
		last[i] = turns;
		make_lively((size_t)i);
		i = io->slot - 1;
	}
	polls[i].events = events;
	return 0;
}

void io_forget(struct io *io)
{
	int i = io->slot - 1;

	if (i < 0)
		return;
	if ((size_t)i >= lively)
		epoll_ctl(quiet.fd, EPOLL_CTL_DEL, polls[i].fd, NULL);
	io->slot = 0;
	owners[i] = NULL;
	polls[i] = (struct pollfd){ .fd = -1 };
	if ((size_t)i < lively)
		holes[nholes++] = i;
}

/* ---- timers */

static void put_timer(struct heap *h, struct heap_node *x, msec at)
{
	if (!heap_put(h, x, at))
		log_end("no memory for a timer");       /* a deadline that is never met is worse than a restart */
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

	if (write(signal_pipe[1], &c, 1) == -1)
		unheard = signo;
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

static void hear_signal(void)
{
	int signo = unheard;

	unheard = 0;
	if (signal_handlers[signo])
		signal_handlers[signo](signo);
}

void loop_on_signal(int signo, void (*handler)(int))
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_RESTART };

	if (signal_pipe[0] == -1) {
		if (pipe2(signal_pipe, O_CLOEXEC | O_NONBLOCK) == -1)
			log_end("no pipe for signals");
		signal_io = (struct io){ .fd = signal_pipe[0], .ready = signals_ready };
		if (io_watch(&signal_io, POLLIN) == -1)
			log_end("no memory to watch signals");
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

/* What the quiet ones have stands in their places, as poll() would have put it. Returns how many. */
static int ask_quiet(void)
{
	struct epoll_event e[HEARD_AT_ONCE];
	int n = epoll_wait(quiet.fd, e, HEARD_AT_ONCE, 0);

	for (int i = 0; i < n; i++)
		polls[((struct io *)e[i].data.ptr)->slot - 1].revents = (short)e[i].events;
	return n > 0 ? n : 0;
}

/* The kernel's want of memory passes. Until then nobody is heard, so it is not waited for longer than a peer would wait. */
static void poll_later(void)
{
	static const struct timespec pause = { .tv_nsec = NO_MEMORY_MS * 1000000L };

	if (errno == EINTR)
		return;
	if ((errno != ENOMEM && errno != EAGAIN) || ++refused > NO_MEMORY_MOST)
		log_end("poll()");
	nanosleep(&pause, NULL);
}

static int poll_now(msec wait)
{
	int n;

	if (first_task)
		wait = 0;
	if (wait > 3600000)
		wait = 3600000;
	n = poll(polls, lively, (int)wait);
	if (n == -1)
		poll_later();
	else
		refused = 0;
	if (n > 0 && quiet.slot && polls[quiet.slot - 1].revents)
		n += ask_quiet();
	return n > 0 ? n : 0;
}

static void run_ready(int n)
{
	for (size_t i = 0; n > 0 && i < npolls; i++) {
		short got = polls[i].revents;
		struct io *io = owners[i];

		if (!got)
			continue;
		n--;
		polls[i].revents = 0;
		if (!io)
			continue;
		had_event(i);
		io->ready(io, got);
	}
}

unsigned loop_turns(void) { return turns; }

void loop_turn(msec wait)
{
	int n;

	turns++;
	if (turns % SORT_EVERY == 0 && (npolls > CROWD || lively < npolls))
		sort_out();
	if (!clock_is_virtual)
		take_clock();
	wait = until_next_timer(wait);
	n = poll_now(clock_is_virtual ? 0 : wait);
	if (!clock_is_virtual)
		take_clock();
	else if (!n && !first_task && wait > 0)
		loop_advance(wait);
	run_ready(n);
	if (unheard)
		hear_signal();
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
	npolls = nholes = lively = 0;
	if (quiet.fd != -1)
		close(quiet.fd);
	quiet.fd = -1;
	quiet.slot = 0;
	timers.n = ripe.n = 0;
	first_task = NULL;
	last_task = &first_task;
	mark.posted = false;            /* the fork may have come from a task */
	turn_ends = NULL;
}
