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
void hmac_of(enum hash, struct str key, struct str text, unsigned char out[HASH_MAX]);
/* RFC 8018 5.2 with one block: hash_size() octets. Takes time in proportion to the iterations: not for the loop. */
void pbkdf2_of(enum hash, struct str password, struct str salt, unsigned iterations, unsigned char out[HASH_MAX]);
/* In a time that tells nothing but n. */
bool octets_same(const void *, const void *, size_t n);

#endif
