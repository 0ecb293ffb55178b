/* Helper processes: forked early, do one thing, talk in messages over a socket pair. */
#ifndef LIB_CHILD_H
#define LIB_CHILD_H

#include <sys/types.h>

#include "lib/loop.h"

enum { CHILD_FDS = 250, CHILD_MESSAGE = 65536 };                /* most descriptors and octets in one message */

struct child {
	pid_t pid;                                              /* 0: not running */
	struct io io;
	const char *name;                                       /* for the log */
	/* A message came; fds (nfds of them) are the receiver's to close. */
	void (*message)(struct child *, const void *, size_t n, int *fds, size_t nfds);
	void (*gone)(struct child *);                           /* it has ended and been reaped; may start it again */
};

/* Forks. The child runs main(socket, arg) and exits with its result; it holds none of the loop's watchers.
 * It must end when the socket does. It has no descriptor but the socket and 0, 1, 2: what it needs is sent to it; it does not log.
 * 0 or -1 with errno. */
int child_start(struct child *, int (*main)(int socket, void *arg), void *arg);
/* One message with descriptors (copies go over; yours stay yours). 0 or -1 with errno (EAGAIN: its queue is full). */
int child_send(struct child *, const void *, size_t n, const int *fds, size_t nfds);
void child_stop(struct child *);                                /* closes the socket and kills; gone() is not called */

/* In the child. Octets received; 0 when the parent is gone; -1 with errno. *nfds: room before, received after. */
ssize_t child_receive(int socket, void *, size_t room, int *fds, size_t *nfds);
int child_reply(int socket, const void *, size_t n);            /* 0 or -1 with errno */

#endif
