/* Two directions, one buffer each; neither waits for the other, since a client may pipeline more than a server has answered. */
#include "cmd/bridge.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

#include "cmd/fardel.h"
#include "cmd/handover.h"

/* No more than a pipe takes at once when it takes anything: what we were started with stays as it is, and may block. */
enum { PIECE = 4096, CONNECT_MS = 10000 };

struct lane {
	int from, to;
	size_t n, done;                 /* octets in data, and written of them */
	bool over;                      /* nothing more comes, and all is written */
	char data[PIECE];
};

static struct pollfd wish(const struct lane *w)
{
	if (w->over)
		return (struct pollfd){ .fd = -1 };
	return w->n ? (struct pollfd){ .fd = w->to, .events = POLLOUT } : (struct pollfd){ .fd = w->from, .events = POLLIN };
}

/* Moves what can be moved now. */
static void move(struct lane *w)
{
	ssize_t n;

	if (w->n) {
		n = send(w->to, w->data + w->done, w->n - w->done, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n == -1 && errno == ENOTSOCK)
			n = write(w->to, w->data + w->done, w->n - w->done);
	} else {
		n = read(w->from, w->data, sizeof w->data);
	}
	if (n == -1 && (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK))
		return;
	if (n <= 0) {
		w->over = true;
		shutdown(w->to, SHUT_WR);       /* the server hears that no more comes; of a pipe the end is ours */
	} else if (!w->n) {
		w->n = (size_t)n;
		w->done = 0;
	} else if ((w->done += (size_t)n) == w->n) {
		w->n = 0;
	}
}

/* 0, or -1 with errno. */
static int reach(int fd, const struct sockaddr *addr, socklen_t len)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	socklen_t size = sizeof errno;
	int wrong = 0;

	if (connect(fd, addr, len) == 0)
		return 0;
	if (errno != EINPROGRESS)
		return -1;
	if (poll(&p, 1, CONNECT_MS) != 1)
		errno = ETIMEDOUT;
	else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &wrong, &size) == 0 && !(errno = wrong))
		return 0;
	return -1;
}

int bridge_session(const struct settings *set)
{
	struct sockaddr_storage addr;
	socklen_t len;
	const struct listen_on *on = handover_address(set, &addr, &len);
	int fd = on ? socket(addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0) : -1;
	struct lane out = { .from = STDIN_FILENO, .to = fd }, in = { .from = fd, .to = STDOUT_FILENO };

	if (fd == -1 || reach(fd, (const struct sockaddr *)&addr, len) == -1) {
		sendmail_complain(0, "cannot call the server at %s (%s): %s. Is `fardel serve` running? Try again later", on ? on->text : "no address",
			on ? on->where : conf_where(&set->conf, "listen"), on ? strerror(errno) : "listen has neither unix:// nor smtp://");
		printf("421 4.3.2 The server of this host cannot be called\r\n");
		if (fd != -1)
			close(fd);
		return EX_TEMPFAIL;
	}
	while (!in.over) {
		struct pollfd p[] = { wish(&in), wish(&out) };

		if (poll(p, 2, -1) == -1 && errno != EINTR)
			break;
		if (p[0].revents)
			move(&in);
		if (p[1].revents)
			move(&out);
	}
	close(fd);
	return EX_OK;
}
