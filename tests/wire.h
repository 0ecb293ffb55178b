/* The far end of a connection, plain or inside TLS, for peers and clients of tests: what it does with its socket is in the
 * test's hands. TLS is our own, the other side of it is openssl's in tests/unit/openssl.c. */
#ifndef TESTS_WIRE_H
#define TESTS_WIRE_H

#include "lib/buf.h"
#include "lib/tls.h"

struct wire {
	int fd;                 /* never blocks */
	struct tls *tls;        /* NULL: plain. wire_free() frees it */
	struct buf in, out;     /* come and not taken; to be sent */
	bool octets;            /* one octet a call of the kernel */
	bool eof;               /* the other side has ended, by a close_notify or without */
	bool failed;            /* inside TLS: tls_error() tells */
};
/* Reads and writes what goes now. True: something moved. */
bool wire_turn(struct wire *);
bool wire_drained(const struct wire *);
void wire_free(struct wire *);          /* not the descriptor */
/* A server for mx.example.org with both kinds of key, and for the hosts of tests/pki/sts.crt: one for the life of the program. */
struct tls_server *wire_server(void);

#endif
