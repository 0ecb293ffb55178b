/* Helper processes: forked early, do one thing, talk in messages over a socket pair. */
#ifndef LIB_CHILD_H
#define LIB_CHILD_H

#include <sys/types.h>

#include "lib/loop.h"

enum { CHILD_FDS = 250, CHILD_MESSAGE = 65536 };                /* most descriptors and octets in one message; at least one octet */

struct child {
	pid_t pid;                                              /* 0: not running; -1: adopted */
	struct io io;
	const char *name;                                       /* for the log */
	bool one_at_a_time;             /* it speaks when it was asked: a second message is not looked for behind the first, which saves a call */
	/* A message came; fds (nfds of them) are the receiver's to close. May stop the child, not free it. */
	void (*message)(struct child *, const void *, size_t n, int *fds, size_t nfds);
	void (*gone)(struct child *);                           /* it has ended, or nothing sane comes from it; may start it again */
};

/* Forks. The child runs main(socket, arg) and exits with its result; it holds none of the loop's watchers.
 * It must end when the socket does. It has no descriptor but the socket and 0, 1, 2: what it needs is sent to it; it does not log.
 * 0 or -1 with errno. */
int child_start(struct child *, int (*main)(int socket, void *arg), void *arg);
/* A child that somebody else has started and will end when we close fd, our end of the socket pair: taken, too when this fails. 0 or -1
 * with errno. */
int child_adopt(struct child *, int fd);
/* One message with descriptors (copies go over; yours stay yours). 0 or -1 with errno (EAGAIN: its queue is full;
 * EMSGSIZE, EINVAL: more than a message holds, or nothing). */
int child_send(struct child *, const void *, size_t n, const int *fds, size_t nfds);
/* Closes the socket and kills, at once: a child that hangs in the kernel is not waited for. gone() is not called. */
void child_stop(struct child *);
/* At the end of the program: waits until those that were stopped are gone, half a second at most, so that who supervises us finds none
 * left over. */
void child_settle(void);

/* In the child. Octets received; 0 when the parent is gone; -1 with errno (EMSGSIZE: more came than there is room for;
 * EMFILE: the descriptors with it could not be taken). *nfds: room before, received after; those beyond it are closed. */
ssize_t child_receive(int socket, void *, size_t room, int *fds, size_t *nfds);
/* 0 or -1 with errno. */
int child_reply(int socket, const void *, size_t n);
int child_reply_with(int socket, const void *, size_t n, const int *fds, size_t nfds);

#endif
