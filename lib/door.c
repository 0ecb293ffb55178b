/* Callers at a listening socket: they come in, and leave in their own task. */
#include "lib/door.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PAUSE_MS = 100 };                /* when descriptors have run out: trying at once would fail again, for ever */

static void leave(struct caller *c)
{
	struct door *d = c->door;

	list_remove(&d->callers, &c->node);
	d->leave(c);
}

static void end(struct task *t)
{
	struct caller *c = owner_of(t, struct caller, end);
	struct door *d = c->door;

	leave(c);
	io_watch(&d->io, POLLIN);
}

void caller_end(struct caller *c)
{
	timer_stop(&c->patience);
	stream_close(&c->stream);
	task_post(&c->end);
}

static void too_late(struct timer *t) { caller_end(owner_of(t, struct caller, patience)); }

/* Takes fd. */
static void enter(struct door *d, int fd)
{
	struct caller *c = d->enter(fd);

	if (c && stream_open(&c->stream, fd, fd, d->event) == -1) {
		d->leave(c);
		c = NULL;
	}
	if (!c) {
		close(fd);
		return;
	}
	c->door = d;
	c->end.run = end;
	c->patience.expired = too_late;
	timer_set(&c->patience, d->patience);
	list_push(&d->callers, &c->node);
}

static void somebody_comes(struct io *io, short revents)
{
	struct door *d = owner_of(io, struct door, io);

	(void)revents;
	while (d->callers.n < d->most) {
		int fd = accept4(io->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd == -1 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
			io_forget(io);
			timer_set(&d->pause, PAUSE_MS);
		}
		if (fd == -1)
			return;
		enter(d, fd);
	}
	io_forget(io);                  /* until one has left */
}

static void pause_over(struct timer *t)
{
	struct door *d = owner_of(t, struct door, pause);

	if (io_watch(&d->io, POLLIN) == -1)
		timer_set(t, PAUSE_MS);
}

int door_open(struct door *d, int fd)
{
	list_init(&d->callers);
	d->io = (struct io){ .fd = fd, .ready = somebody_comes };
	d->pause = (struct timer){ .expired = pause_over };
	if (io_watch(&d->io, POLLIN) == 0)
		return 0;
	d->io.fd = -1;
	return -1;
}

void door_close(struct door *d)
{
	struct node *x;

	if (d->io.fd == -1)
		return;
	timer_stop(&d->pause);
	io_close(&d->io);
	while ((x = list_first(&d->callers))) {
		struct caller *c = owner_of(x, struct caller, node);

		timer_stop(&c->patience);
		stream_close(&c->stream);
		task_cancel(&c->end);
		leave(c);
	}
}
