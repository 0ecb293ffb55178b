/* Notices that something has come into a directory: inotify where there is one, else a look at its mtime once a second. */
#ifndef LIB_WATCH_H
#define LIB_WATCH_H

#include "lib/loop.h"

struct watch {
	int dir;
	struct io io;                   /* inotify; fd -1: none */
	struct timer look;
	int64_t mtime_s, mtime_ns;
	void (*changed)(struct watch *);        /* runs from the loop, also when in doubt */
};

/* Borrows the directory's descriptor; path is the same directory. 0 or -1 with errno. */
int watch_start(struct watch *, int dir, const char *path, void (*changed)(struct watch *));
void watch_stop(struct watch *);        /* not started (all zeros): nothing */

#endif
