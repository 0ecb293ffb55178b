/* Helper processes over SOCK_SEQPACKET pairs. */
#include "lib/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/list.h"
#include "lib/log.h"

union fd_room {
	struct cmsghdr align;
	char octets[CMSG_SPACE(CHILD_FDS * sizeof(int))];
};

static ssize_t receive(int socket, void *data, size_t room, int *fds, size_t *nfds)
{
	union fd_room control;
	struct iovec iov = { data, room };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
	size_t most = *nfds;
	ssize_t n;

	*nfds = 0;
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
			if (*nfds < most)
				fds[(*nfds)++] = fd;
			else
				close(fd);
		}
	}
	return n;
}

static int transmit(int socket, const void *data, size_t n, const int *fds, size_t nfds, int flags)
{
	union fd_room control;
	struct iovec iov = { (void *)(uintptr_t)data, n };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t sent;

	if (nfds > CHILD_FDS) {
		errno = EINVAL;
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
	while (sent == -1 && errno == EINTR);
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
	char data[4096];
	int fds[8];

	(void)revents;
	for (int budget = 64; budget > 0 && c->pid; budget--) {
		size_t nfds = 8;
		ssize_t n = receive(io->fd, data, sizeof data, fds, &nfds);

		if (n == -1 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return;
		if (n <= 0) {
			ended(c);
			return;
		}
		c->message(c, data, (size_t)n, fds, nfds);
	}
}

/* Killed, but perhaps stuck in the kernel (a home that hangs): never waited for, looked at now and then. */
static pid_t dying[64];

static void reap(pid_t newcomer)
{
	for (size_t i = 0; i < sizeof dying / sizeof *dying; i++) {
		if (!dying[i]) {
			dying[i] = newcomer;
			newcomer = 0;
		}
		if (dying[i] && waitpid(dying[i], NULL, WNOHANG) != 0)
			dying[i] = 0;
	}
}

/* In the child: nothing it is born with stays but the socket (now 3) and 0, 1, 2. A session's descriptor
 * kept here would hold the peer's connection open. */
static void clean_birth(int socket)
{
	loop_after_fork();
	if (socket != 3)
		dup2(socket, 3);
	close_range(4, ~0u, 0);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGINT, SIG_IGN);        /* a ^C at the terminal is the parent's to handle */
	signal(SIGHUP, SIG_IGN);
	signal(SIGTERM, SIG_IGN);       /* sent to the whole group when a service stops: the socket tells us when to end */
}

int child_start(struct child *c, int (*main)(int, void *), void *arg)
{
	int pair[2], saved;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == -1)
		return -1;
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
		clean_birth(pair[1]);
		_exit(main(3, arg));
	}
	close(pair[1]);
	fcntl(pair[0], F_SETFL, fcntl(pair[0], F_GETFL) | O_NONBLOCK);
	c->io = (struct io){ .fd = pair[0], .ready = readable };
	if (io_watch(&c->io, POLLIN) == -1) {
		child_stop(c);
		errno = ENOMEM;
		return -1;
	}
	return 0;
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
	io_forget(&c->io);
	close(c->io.fd);
	kill(c->pid, SIGKILL);
	reap(c->pid);
	c->pid = 0;
}

ssize_t child_receive(int socket, void *data, size_t room, int *fds, size_t *nfds)
{
	return receive(socket, data, room, fds, nfds);
}

int child_reply(int socket, const void *data, size_t n)
{
	return transmit(socket, data, n, NULL, 0, 0);
}
