/* One end of a connection, in clear or inside TLS (OpenSSL's): it waits, with a limit, and shares no code with the program. */
#ifndef TESTS_SOAK_LINK_H
#define TESTS_SOAK_LINK_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>

struct link {
	int fd;
	SSL *ssl;
	size_t at, n;
	char in[16384];
};

void link_open(struct link *, int fd, unsigned seconds);        /* takes fd; no read takes longer */
void link_close(struct link *);
bool link_secure(struct link *, SSL_CTX *, bool server);
/* False: the connection is lost. */
bool link_put(struct link *, const char *, size_t);
bool link_say(struct link *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A line without its LF and the CR before it, cut to what `line` holds; -1: the connection is lost. */
int link_line(struct link *, char *line, size_t size);
/* What there is, n octets at most; 0: the connection is lost. */
size_t link_take(struct link *, char *, size_t n);
/* The other end has closed. */
bool link_gone(const struct link *);
void soak_nap(double seconds);

#endif
