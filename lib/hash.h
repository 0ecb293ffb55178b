/* Hashes, and what is made of them for passwords. BearSSL's, whose time does not depend on what is hashed. */
#ifndef LIB_HASH_H
#define LIB_HASH_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/str.h"

enum hash { HASH_SHA1, HASH_SHA256, HASH_SHA384, HASH_SHA512, HASH_KINDS };
enum { HASH_MAX = 64 };

size_t hash_size(enum hash);
void hash_of(enum hash, struct str, unsigned char out[HASH_MAX]);
/* The same of octets that come in pieces. */
struct hashing {
	enum hash kind;
	union {
		uint64_t room[28];      /* for BearSSL's record, whose header is not for others */
		void *aligned;
	} state;
};
void hash_begin(struct hashing *, enum hash);
void hash_add(struct hashing *, const void *, size_t);
void hash_end(const struct hashing *, unsigned char out[HASH_MAX]);     /* may be added to further */
void hmac_of(enum hash, struct str key, struct str text, unsigned char out[HASH_MAX]);
/* RFC 8018 5.2 with one block: hash_size() octets. Takes time in proportion to the iterations: not for the loop. */
void pbkdf2_of(enum hash, struct str password, struct str salt, unsigned iterations, unsigned char out[HASH_MAX]);
/* In a time that tells nothing but n. */
bool octets_same(const void *, const void *, size_t n);

#endif
