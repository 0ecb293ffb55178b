/* Notices that something has come into a directory. */
#include "lib/watch.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/inotify.h>
#endif

#include "lib/list.h"

enum { LOOK_MS = 1000 };

static void look(struct timer *t)
{
	struct watch *w = owner_of(t, struct watch, look);
	struct stat st;

	timer_set(t, LOOK_MS);
	if (fstat(w->dir, &st) == -1)
		return;
	/* A second change within the clock's grain leaves the same mtime: while it is fresh, look again. */
	if (st.st_mtim.tv_sec == w->mtime_s && st.st_mtim.tv_nsec == w->mtime_ns && loop_wall() > w->mtime_s + 1)
		return;
	w->mtime_s = st.st_mtim.tv_sec;
	w->mtime_ns = st.st_mtim.tv_nsec;
	w->changed(w);
}

#ifdef __linux__
static void event(struct io *io, short revents)
{
	struct watch *w = owner_of(io, struct watch, io);
	char events[4096];

	(void)revents;
	while (read(io->fd, events, sizeof events) > 0)
		;
	w->changed(w);          /* whatever it was, an overflow included: look at the directory */
}

static bool start_inotify(struct watch *w, const char *path)
{
	w->io.fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (w->io.fd == -1)
		return false;
	w->io.ready = event;
	if (inotify_add_watch(w->io.fd, path, IN_MOVED_TO | IN_CREATE | IN_CLOSE_WRITE | IN_ONLYDIR) != -1 && io_watch(&w->io, POLLIN) == 0)
		return true;
	close(w->io.fd);
	w->io.fd = -1;
	return false;
}
#else
static bool start_inotify(struct watch *w, const char *path)
{
	(void)w;
	(void)path;
	return false;
}
#endif

int watch_start(struct watch *w, int dir, const char *path, void (*changed)(struct watch *))
{
	struct stat st;

	*w = (struct watch){ .dir = dir, .io.fd = -1, .look.expired = look, .changed = changed };
	if (fstat(dir, &st) == -1)
		return -1;
	if (!start_inotify(w, path))
		timer_set(&w->look, LOOK_MS);
	return 0;
}

void watch_stop(struct watch *w)
{
	if (!w->changed)
		return;
	timer_stop(&w->look);
	io_close(&w->io);
	*w = (struct watch){ .io.fd = -1 };
}
