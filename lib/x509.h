/* Certificates and private keys as PEM text, and which names a certificate is for. With lib/tls.c the only place that
 * knows BearSSL's records of them, and lib/pubkey.c, which signs without certificates: nobody else includes this header. */
#ifndef LIB_X509_H
#define LIB_X509_H

#include <bearssl.h>

#include "lib/buf.h"

/* A certificate chain and its key, which fit together. Shared: counted references. */
struct x509_pair {
	unsigned holders;
	br_x509_certificate *chain;     /* n of them, the pair's own first */
	size_t n;
	int type;                       /* BR_KEYTYPE_RSA or BR_KEYTYPE_EC */
	br_rsa_private_key rsa;
	br_ec_private_key ec;
	unsigned char *secret;          /* what the two point into: wiped before it is given back */
	size_t secret_n;
	struct buf names;               /* lower case, each with a NUL behind it */
	int64_t not_before, not_after;  /* Unix seconds */
};

/* Reads the PEM text of a chain (own certificate first) and of a key: RSA of 1024 to 4096 bits or EC on P-256, P-384 or
 * P-521, as PKCS#8, PKCS#1 or SEC1. Returns a pair with one holder, or NULL and *why in words ("the key ..."). */
struct x509_pair *x509_pair_read(struct str chain, struct str key, char *why, size_t size);
struct x509_pair *x509_pair_hold(struct x509_pair *);
void x509_pair_drop(struct x509_pair *);                /* NULL: nothing */
/* RFC 6125 6.4: a name of the certificate, or below one that begins with "*." by exactly one label. */
bool x509_pair_is_for(const struct x509_pair *, struct str name);

/* PKCS#8 of RSA 4096 has 2374 octets. BearSSL 0.6 checks the room for a larger key against the wrong size. */
enum { RSA_DER_MAX = 2400 };
/* A copy of a key whose numbers belong to a decoder: they are in *secret, to be wiped and freed. False: no memory. */
bool rsa_key_copy(br_rsa_private_key *to, const br_rsa_private_key *from, unsigned char **secret, size_t *secret_n);

/* Whom a client believes: authorities, and certificates that are believed as they are. */
struct x509_anchors {
	size_t n;
	br_x509_trust_anchor *at;
};
/* Adds the certificates of a PEM text; one whose key cannot be used is passed over. False: *why, and what was
 * added before stays: x509_anchors_free() when it must not. */
bool x509_anchors_add(struct x509_anchors *, struct str text, char *why, size_t size);
void x509_anchors_free(struct x509_anchors *);

/* Takes any certificate whose key can be used: for encryption that asks for nobody's name (RFC 7435). */
struct x509_any {
	const br_x509_class *vtable;    /* must be first */
	br_x509_decoder_context first;
	unsigned seen;                  /* certificates of the chain so far */
};
void x509_any_init(struct x509_any *);

/* Takes a certificate that meets several demands. */
struct tls_demands;
enum {
	X509_NOT_PINNED = 63,           /* errors beside BearSSL's: it is none of the demands' pins; */
	X509_NOT_OWN = 64,              /* none of their own */
	X509_CHAIN_OCTETS = 65536       /* kept of a chain at most */
};
struct x509_pinned {
	struct x509_any any;            /* must be first */
	const struct tls_demands *demands;
	const struct x509_anchors *anchors;     /* demands->trust's, read; or NULL */
	const char *name;
	struct buf chain;               /* the certificates one behind the other */
	size_t ends[10], n;             /* where each ends */
	bool too_much;
};
void x509_pinned_init(struct x509_pinned *, const struct tls_demands *, const struct x509_anchors *, const char *name); /* all borrowed */
void x509_pinned_free(struct x509_pinned *);

#endif
