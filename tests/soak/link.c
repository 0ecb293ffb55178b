/* A connection that is read line by line, and waits. */
#include "tests/soak/link.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

void soak_nap(double seconds)
{
	nanosleep(&(struct timespec){ (time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9) }, NULL);
}

void link_open(struct link *l, int fd, unsigned seconds)
{
	struct timeval limit = { .tv_sec = seconds };
	int one = 1;

	l->fd = fd;
	l->ssl = NULL;
	l->at = l->n = 0;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

void link_close(struct link *l)
{
	SSL_free(l->ssl);
	close(l->fd);
}

bool link_secure(struct link *l, SSL_CTX *context, bool server)
{
	l->at = l->n = 0;
	l->ssl = SSL_new(context);
	SSL_set_fd(l->ssl, l->fd);
	return (server ? SSL_accept(l->ssl) : SSL_connect(l->ssl)) == 1;
}

bool link_put(struct link *l, const char *p, size_t n)
{
	while (n) {
		ssize_t w = l->ssl ? SSL_write(l->ssl, p, (int)n) : send(l->fd, p, n, MSG_NOSIGNAL);

		if (w <= 0)
			return false;
		p += w;
		n -= (size_t)w;
	}
	return true;
}

bool link_say(struct link *l, const char *fmt, ...)
{
	char text[2048];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof text - 2, fmt, ap);
	va_end(ap);
	memcpy(text + n, "\r\n", 2);
	return link_put(l, text, (size_t)n + 2);
}

static bool fill(struct link *l)
{
	ssize_t n;

	if (l->at < l->n)
		return true;
	n = l->ssl ? SSL_read(l->ssl, l->in, sizeof l->in) : recv(l->fd, l->in, sizeof l->in, 0);
	l->at = 0;
	l->n = n > 0 ? (size_t)n : 0;
	return n > 0;
}

int link_line(struct link *l, char *line, size_t size)
{
	size_t n = 0;

	while (fill(l)) {
		char *from = l->in + l->at, *end = memchr(from, '\n', l->n - l->at);
		size_t part = end ? (size_t)(end - from) : l->n - l->at, kept = part < size - 1 - n ? part : size - 1 - n;

		memcpy(line + n, from, kept);
		n += kept;
		l->at += part + (end != NULL);
		if (!end)
			continue;
		n -= n > 0 && line[n - 1] == '\r';
		line[n] = '\0';
		return (int)n;
	}
	return -1;
}

size_t link_take(struct link *l, char *p, size_t n)
{
	if (!fill(l))
		return 0;
	n = n < l->n - l->at ? n : l->n - l->at;
	memcpy(p, l->in + l->at, n);
	l->at += n;
	return n;
}

bool link_gone(const struct link *l)
{
	struct pollfd p = { .fd = l->fd, .events = POLLRDHUP };

	return poll(&p, 1, 0) == 1 && p.revents & (POLLRDHUP | POLLHUP | POLLERR);
}
