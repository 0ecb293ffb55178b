/* Helper processes over SOCK_SEQPACKET pairs. */
#include "lib/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/list.h"
#include "lib/log.h"

enum {
	LOOK_AGAIN_MS = 1000,
	SETTLE_LOOKS = 100, SETTLE_LOOK_MS = 5,
	SEND_TRIES = 100, SEND_AGAIN_MS = 20    /* a result that is not told means that the work is done again: a second copy in a mailbox */
};

union fd_room {
	struct cmsghdr align;
	char octets[CMSG_SPACE(CHILD_FDS * sizeof(int))];
};

static ssize_t receive(int socket, void *data, size_t room, int *fds, size_t *nfds)
{
	union fd_room control;
	struct iovec iov = { data, room };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
	size_t most = nfds ? *nfds : 0, have = 0;
	ssize_t n;

	do
		n = recvmsg(socket, &m, MSG_CMSG_CLOEXEC);
	while (n == -1 && errno == EINTR);
	if (n == -1)
		return -1;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
		size_t got;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		got = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < got; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
			if (have < most)
				fds[have++] = fd;
			else
				close(fd);
		}
	}
	if (m.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {   /* half a message is none; descriptors are lost when we may open no more */
		while (have)
			close(fds[--have]);
		n = -1;
		errno = m.msg_flags & MSG_TRUNC ? EMSGSIZE : EMFILE;
	}
	if (nfds)
		*nfds = have;
	return n;
}

/* The kernel wants memory, for a moment it may be. */
static bool may_be_sent_later(int *tries)
{
	static const struct timespec pause = { .tv_nsec = SEND_AGAIN_MS * 1000000L };

	if ((errno != ENOBUFS && errno != ENOMEM) || (*tries)++ == SEND_TRIES)
		return false;
	nanosleep(&pause, NULL);
	return true;
}

static int transmit(int socket, const void *data, size_t n, const int *fds, size_t nfds, int flags)
{
	union fd_room control;
	struct iovec iov = { (void *)(uintptr_t)data, n };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	int tries = 0;
	ssize_t sent;

	if (n == 0 || n > CHILD_MESSAGE || nfds > CHILD_FDS) {  /* an empty one would read as the end */
		errno = n > CHILD_MESSAGE ? EMSGSIZE : EINVAL;
		return -1;
	}
	if (nfds) {
		struct cmsghdr *c;

		memset(&control, 0, sizeof control);
		m.msg_control = &control;
		m.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(nfds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, nfds * sizeof(int));
	}
	do
		sent = sendmsg(socket, &m, flags | MSG_NOSIGNAL);
	while (sent == -1 && (errno == EINTR || (!(flags & MSG_DONTWAIT) && may_be_sent_later(&tries))));
	return sent == -1 ? -1 : 0;
}

static void ended(struct child *c)
{
	child_stop(c);
	log_event(LOG_WARN, "helper-ended", LF(L_TEXT("name", c->name)));
	if (c->gone)
		c->gone(c);
}

static void readable(struct io *io, short revents)
{
	struct child *c = owner_of(io, struct child, io);
	static char data[CHILD_MESSAGE];
	int fds[CHILD_FDS];

	(void)revents;
	for (int budget = 64; budget > 0 && c->pid; budget--) {
		size_t nfds = CHILD_FDS;
		ssize_t n = receive(io->fd, data, sizeof data, fds, &nfds);

		if (n == -1 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return;
		if (n <= 0) {
			ended(c);
			return;
		}
		c->message(c, data, (size_t)n, fds, nfds);
		if (c->one_at_a_time)
			return;
	}
}

/* Killed, but perhaps stuck in the kernel (a home that hangs): never waited for, looked at now and then. */
static pid_t dying[64];

static void look_again(struct timer *t);
static struct timer look_timer = { .expired = look_again };

/* Some are still there? */
static bool reap(pid_t newcomer)
{
	bool left = false;

	for (size_t i = 0; i < sizeof dying / sizeof *dying; i++) {
		if (!dying[i]) {
			dying[i] = newcomer;
			newcomer = 0;
		}
		if (dying[i] && waitpid(dying[i], NULL, WNOHANG) != 0)
			dying[i] = 0;
		left |= dying[i] != 0;
	}
	if (left)
		timer_set(&look_timer, LOOK_AGAIN_MS);
	return left;
}

static void look_again(struct timer *t)
{
	(void)t;
	reap(0);
}

static void close_from(int first)
{
	long most = sysconf(_SC_OPEN_MAX);

	if (file_close_range((unsigned)first, ~0u, 0) == 0)
		return;
	for (int fd = first; fd < most; fd++)           /* Linux before 5.9 */
		close(fd);
}

/* In the child: nothing it is born with stays but the socket (now 3) and 0, 1, 2. A session's descriptor
 * kept here would hold the peer's connection open. */
static void clean_birth(int socket)
{
	/* A terminal or a service manager signals the whole group: that is for the parent, and the socket tells us when to end. */
	static const int not_ours[] = { SIGHUP, SIGINT, SIGTERM, SIGALRM, SIGUSR1, SIGUSR2, SIGPIPE };

	loop_after_fork();
	if (socket != 3)
		dup2(socket, 3);
	close_from(4);
	for (size_t i = 0; i < sizeof not_ours / sizeof *not_ours; i++)
		signal(not_ours[i], SIG_IGN);
}

static int listen_to(struct child *c, int fd)
{
	int flags = fcntl(fd, F_GETFL), saved;

	c->io = (struct io){ .fd = fd, .ready = readable };
	if (flags != -1 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 && io_watch(&c->io, POLLIN) == 0)
		return 0;
	saved = errno;
	child_stop(c);
	errno = saved;
	return -1;
}

int child_start(struct child *c, int (*main)(int, void *), void *arg)
{
	int pair[2], saved;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == -1)
		return -1;
	signal(SIGCHLD, SIG_DFL);       /* inherited as "ignore", pids would be used anew before we know: kill() must hit ours */
	reap(0);
	c->pid = fork();
	if (c->pid == -1) {
		saved = errno;
		c->pid = 0;
		close(pair[0]);
		close(pair[1]);
		errno = saved;
		return -1;
	}
	if (c->pid == 0) {
		close(pair[0]);         /* it may be 0, 1 or 2 when we were started without them */
		clean_birth(pair[1]);
		_exit(main(3, arg));
	}
	close(pair[1]);
	return listen_to(c, pair[0]);
}

int child_adopt(struct child *c, int fd)
{
	c->pid = -1;
	return listen_to(c, fd);
}

int child_send(struct child *c, const void *data, size_t n, const int *fds, size_t nfds)
{
	if (!c->pid) {
		errno = ESRCH;
		return -1;
	}
	return transmit(c->io.fd, data, n, fds, nfds, MSG_DONTWAIT);
}

void child_stop(struct child *c)
{
	if (!c->pid)
		return;
	io_close(&c->io);
	if (c->pid > 0) {
		kill(c->pid, SIGKILL);
		reap(c->pid);
	}
	c->pid = 0;
}

void child_settle(void)
{
	static const struct timespec pause = { .tv_nsec = SETTLE_LOOK_MS * 1000000L };

	for (int i = 0; i < SETTLE_LOOKS && reap(0); i++)
		nanosleep(&pause, NULL);
}

ssize_t child_receive(int socket, void *data, size_t room, int *fds, size_t *nfds)
{
	return receive(socket, data, room, fds, nfds);
}

int child_reply(int socket, const void *data, size_t n)
{
	return transmit(socket, data, n, NULL, 0, 0);
}

int child_reply_with(int socket, const void *data, size_t n, const int *fds, size_t nfds)
{
	return transmit(socket, data, n, fds, nfds, 0);
}
