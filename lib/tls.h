/* TLS as octets in and octets out: no descriptor, no clock, no waiting. lib/stream is the usual owner. With lib/x509.c
 * the only files that know BearSSL's records, so that another library can be put behind this header. What BearSSL gives:
 * TLS 1.2 alone, ECDHE with RSA and ECDSA certificates; here without renegotiation. */
#ifndef LIB_TLS_H
#define LIB_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/hash.h"

/* ---- what a server shows */
struct tls_files {                      /* PEM: a chain with the server's own certificate first, and its key */
	const char *certificate, *key;
};
struct tls_server;
/* Reads nothing yet. NULL: no memory. Ends when its last connection does. */
struct tls_server *tls_server_new(const struct tls_files *, size_t n);
void tls_server_free(struct tls_server *);              /* NULL: nothing */
/* Reads files that have changed since they were read; the server does so itself before each handshake. A pair that cannot be
 * used is logged once and the one before stays. False: not all pairs are those of the files; *why names the first that is not. */
bool tls_server_refresh(struct tls_server *, char *why, size_t size);

struct tls_about {                      /* for those who look before they run */
	bool names_host;                /* the certificate is for this host */
	int64_t not_before, not_after;  /* Unix seconds */
	unsigned rsa_bits;              /* 0: EC */
};
/* False: the pair cannot be used, and *why says which file and what is wrong. */
bool tls_check(const struct tls_files *, const char *host, struct tls_about *, char *why, size_t size);

/* ---- whom a client believes */
struct tls_trust;
/* The certificates in a file of PEM: authorities, and servers that are believed as they are. NULL: those of the system, from the first of
 * the usual places that is there. Read when first needed. NULL: no memory. Must outlive its connections. */
struct tls_trust *tls_trust_new(const char *path);
void tls_trust_free(struct tls_trust *);                /* NULL: nothing */
/* Reads the file unless that is done. How many certificates it holds; 0: none, and *why says what is wrong. */
size_t tls_trust_read(struct tls_trust *, char *why, size_t size);
const char *tls_trust_path(const struct tls_trust *);   /* once read; "": none was found */

/* Certificates that are named one by one: by DNS (RFC 6698), say. */
enum { TLS_PINS = 16, TLS_PIN_AUTHORITY = 2, TLS_PIN_OWN = 3 };
struct tls_pin {
	unsigned char usage;            /* OWN: the server's certificate, whatever its name and dates. AUTHORITY: one above it, and it must be for
	                                 * the name and valid now */
	bool key_only;                  /* the digest is of its public key (SubjectPublicKeyInfo), else of the whole certificate */
	enum hash hash;                 /* SHA-256 or SHA-512 */
	unsigned char digest[64];
};
struct tls_pins {
	size_t n;
	struct tls_pin pin[TLS_PINS];
};

/* ---- one side of one connection */
struct tls;
/* NULL with errno (ENOMEM; ENOENT: no pair can be used). The certificate is chosen by the name that the client asks for
 * (RFC 6066 3) and by what it can verify; when it asks for no name or for one that we have not, it is the first that it can verify. */
struct tls *tls_accept(struct tls_server *);
/* name is asked for, NULL: none. Without trust any certificate is taken (RFC 7435); with it the peer's must be for the name, valid now
 * and from somebody who is trusted. NULL with errno (EINVAL: trust and no name; ENOENT: nobody is trusted, tls_trust_read() says why). */
struct tls *tls_connect(const char *name, struct tls_trust *);
/* The peer's certificate must meet all that is set here. Borrowed until tls_free(). */
struct tls_demands {
	const struct tls_pins *pins;    /* it is one of these, */
	const char *also[2];            /* which may be for these names, too (or NULL); with trust only for the first; */
	const struct tls_pins *own;     /* and one of these; */
	struct tls_trust *trust;        /* and it is as tls_connect() has it */
};
/* NULL with errno, as above. EINVAL also: pins, and no name. */
struct tls *tls_connect_pinned(const char *name, const struct tls_demands *);
void tls_free(struct tls *);                            /* NULL: nothing */

/* The wire: where the peer's next octets go (NULL: it takes none now), and what is to be sent (NULL: nothing). */
unsigned char *tls_space(struct tls *, size_t *n);
void tls_came(struct tls *, size_t n);
const unsigned char *tls_wire(struct tls *, size_t *n);
void tls_sent(struct tls *, size_t n);
/* The inside: what the peer has said (NULL: nothing), and how much of ours is taken. Who does not take what has come
 * stops the wire. What was put leaves with tls_push() at the latest. */
const unsigned char *tls_text(struct tls *, size_t *n);
void tls_taken(struct tls *, size_t n);
size_t tls_put(struct tls *, const void *, size_t n);
void tls_push(struct tls *);
/* Queues a close_notify; what has come and was not taken is lost. Everything put must have left before. */
void tls_close(struct tls *);

/* Signatures made so far by all servers: each takes from a third of a millisecond (P-256) to several (RSA). */
unsigned tls_signatures(void);

bool tls_ready(struct tls *);                           /* the handshake is over and was good */
bool tls_over(struct tls *);                            /* nothing more comes or goes: closed by the peer or failed */
const char *tls_error(struct tls *);                    /* what failed, in words; NULL: nothing. Valid as long as the tls */
/* The same for those who count it: what is wrong with the peer's certificate, or something else. */
enum tls_fault { TLS_FAULT_OTHER, TLS_FAULT_HOST, TLS_FAULT_EXPIRED, TLS_FAULT_NOT_TRUSTED };
enum tls_fault tls_fault(const struct tls *);
/* From tls_ready() on. The texts are constants. */
const char *tls_version(const struct tls *);            /* "TLSv1.2" */
const char *tls_cipher(const struct tls *);             /* IANA's name: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256" */
bool tls_resumed(const struct tls *);
/* tls-server-end-point (RFC 5929 4) of a server's own connection: octets of it (at most 64), 0: it is not known, as on a resumed one. */
size_t tls_end_point(const struct tls *, unsigned char out[64]);

size_t tls_footprint(bool server);                      /* octets that one connection holds from its handshake to its end */

#endif
