/* A listening socket at which callers ask something short: so many at a time, each with a time-out. */
#ifndef LIB_DOOR_H
#define LIB_DOOR_H

#include "lib/list.h"
#include "lib/stream.h"

struct door;

/* A member of its owner's struct. */
struct caller {
	struct node node;               /* among door->callers */
	struct stream stream;
	struct timer patience;          /* caller_end() when it is over; set at first to door->patience */
	struct task end;                /* posted: it has ended, leave() is still to come */
	struct door *door;
};

struct door {
	struct io io;                   /* fd -1: closed */
	struct timer pause;             /* armed while nobody can be let in, as descriptors have run out */
	struct list callers;
	size_t most;                    /* callers at a time; more wait in the backlog */
	msec patience;
	/* Somebody has come at fd, which is not to be closed. His caller, whose owner is zeros otherwise; NULL: he is sent away. */
	struct caller *(*enter)(int fd);
	void (*event)(struct stream *);
	void (*leave)(struct caller *); /* frees what enter() has made; the stream is closed */
};

/* Takes fd, which listens and does not block; `most` and what follows is set. 0, or -1 with errno and fd is the caller's. */
int door_open(struct door *, int fd);
void door_close(struct door *);         /* all callers leave at once. Of one that is closed: nothing */
/* Hangs up; leave() comes later, at the end of the turn. */
void caller_end(struct caller *);

#endif
