/* The one poll() loop: descriptors, timers and tasks, none of them allocated here.
 * A turn is: poll, ready(), expired(), run(), then the end-of-turn hooks, in that order.
 * Any of them may add, change or remove any watcher, its own included. */
#ifndef LIB_LOOP_H
#define LIB_LOOP_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include "lib/heap.h"

typedef int64_t msec;                           /* a monotonic time or a span, in milliseconds */

/* ---- descriptors */
struct io {
	int fd;
	int slot;                               /* place in the poll array + 1; 0: not watched */
	void (*ready)(struct io *, short revents);
};
/* Watches io->fd for events (POLLIN, POLLOUT or 0: only errors and hang-up), or changes what it is watched for. 0 or -1 (no memory). */
int io_watch(struct io *, short events);
void io_forget(struct io *);                    /* not watched: nothing */
/* Forgets it and closes its descriptor, which is -1 then; with -1: nothing. */
static inline void io_close(struct io *io)
{
	if (io->fd == -1)
		return;
	io_forget(io);
	close(io->fd);
	io->fd = -1;
}

/* ---- timers */
struct timer {
	struct heap_node node;
	void (*expired)(struct timer *);
};
void timer_set(struct timer *, msec after);     /* (re)arms it; after <= 0: next turn */
void timer_stop(struct timer *);                /* not armed: nothing */
bool timer_armed(const struct timer *);

/* ---- tasks: "after you have all returned" */
struct task {
	struct task *next;
	bool posted;
	void (*run)(struct task *);
};
void task_post(struct task *);                  /* runs once, later in this turn or in the next; posting twice is once */
void task_cancel(struct task *);                /* not posted: nothing */

/* ---- end of turn: runs after everything else of the turn, for batches */
struct turn_end {
	struct turn_end *next;
	void (*run)(struct turn_end *);
};
void loop_at_turn_end(struct turn_end *);       /* stays until the loop ends; twice is once */

/* ---- signals: handler runs from the loop, never inside the signal */
void loop_on_signal(int signo, void (*handler)(int signo));

/* ---- running */
msec loop_now(void);                            /* monotonic; taken once a turn */
unsigned loop_turns(void);                      /* so far: what happens within one turn sees the same number */
int64_t loop_wall(void);                        /* Unix seconds; taken once a turn */
void loop_turn(msec wait);                      /* one turn that sleeps at most `wait` (-1: until something happens) */
void loop_run(void);                            /* turns until loop_stop() */
void loop_stop(void);
/* In a freshly forked child: forget all watchers, timers, tasks, hooks and signal handlers without touching their owners. */
void loop_after_fork(void);

/* Tests: from now on time stands still at `wall` and jumps to the next timer
 * whenever nothing else is to be done. */
void loop_virtual_clock(int64_t wall);
void loop_advance(msec by);                     /* virtual clock only */

#endif
