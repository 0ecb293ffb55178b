/* Keys that sign, and keys that check what was signed, without certificates: RSA (PKCS#1 v1.5 over SHA-256, RFC 8017) by BearSSL,
 * and Ed25519 (RFC 8032) by libsodium, where the build found it. What is signed is a SHA-256 digest. */
#ifndef LIB_PUBKEY_H
#define LIB_PUBKEY_H

#include "lib/buf.h"

enum key_kind { KEY_RSA, KEY_ED25519 };
enum {
	KEY_DIGEST = 32,
	SIGNATURE_MAX = 512,            /* octets: RSA of 4096 bits */
	RSA_MIN = 1024, RSA_MAX = 4096  /* bits (RFC 8301 3.2) */
};

bool ed25519_available(void);

/* ---- checking */
struct public_key {
	enum key_kind kind;
	unsigned bits;
	struct str number, exponent;    /* RSA: modulus and exponent without zeros in front; Ed25519: its 32 octets. Of what was read */
};
/* A SubjectPublicKeyInfo (RFC 5280 4.1.2.7) or RSAPublicKey in DER, or the 32 octets of an Ed25519 key. NULL, or what is wrong. */
const char *public_key_read(enum key_kind, struct str octets, struct public_key *);
/* Does the signature hold? Bits outside RSA_MIN..RSA_MAX, or Ed25519 where it is not available: false. */
bool public_key_check(const struct public_key *, const unsigned char digest[KEY_DIGEST], struct str signature);

/* ---- signing */
struct sign_key;
/* A private key in PEM: PKCS#8, for RSA PKCS#1 as well. Owned, or NULL and *why in words ("the key ..."). */
struct sign_key *sign_key_read(struct str pem, char *why, size_t size);
/* A new one. bits: of RSA, RSA_MIN to RSA_MAX; takes a second or more. NULL: no memory, or Ed25519 where it is not available. */
struct sign_key *sign_key_new(enum key_kind, unsigned bits);
void sign_key_free(struct sign_key *);                          /* NULL: nothing. Wipes it */
enum key_kind sign_key_kind(const struct sign_key *);
unsigned sign_key_bits(const struct sign_key *);                /* RSA; Ed25519: 256 */
/* Appends a key that was made here, as sign_key_read() reads it: a secret. The buffer must have room for KEY_PEM_MAX, or copies of it are left behind. */
enum { KEY_PEM_MAX = 4096 };
bool sign_key_print(const struct sign_key *, struct buf *pem);
/* Appends what public_key_read() reads: SubjectPublicKeyInfo for RSA. False: no memory. */
bool sign_key_public(const struct sign_key *, struct buf *out);
/* Octets of signature; 0: the key is broken. */
size_t sign_key_sign(const struct sign_key *, const unsigned char digest[KEY_DIGEST], unsigned char out[SIGNATURE_MAX]);

#endif
