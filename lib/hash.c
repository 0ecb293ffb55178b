/* Hashes by BearSSL. */
#include "lib/hash.h"

#include <bearssl.h>
#include <string.h>

static const br_hash_class *const classes[HASH_KINDS] = {
	[HASH_SHA1] = &br_sha1_vtable, [HASH_SHA256] = &br_sha256_vtable, [HASH_SHA384] = &br_sha384_vtable, [HASH_SHA512] = &br_sha512_vtable,
};

size_t hash_size(enum hash h) { return classes[h]->desc >> BR_HASHDESC_OUT_OFF & BR_HASHDESC_OUT_MASK; }

void hash_of(enum hash h, struct str text, unsigned char out[HASH_MAX])
{
	br_hash_compat_context c;

	classes[h]->init(&c.vtable);
	classes[h]->update(&c.vtable, text.p, text.n);
	classes[h]->out(&c.vtable, out);
}

static br_hash_compat_context *context(struct hashing *h) { return (br_hash_compat_context *)(void *)&h->state; }
_Static_assert(sizeof(br_hash_compat_context) <= sizeof((struct hashing *)0)->state, "struct hashing holds BearSSL's record");

void hash_begin(struct hashing *h, enum hash kind)
{
	h->kind = kind;
	classes[kind]->init(&context(h)->vtable);
}

void hash_add(struct hashing *h, const void *p, size_t n)
{
	if (n)
		classes[h->kind]->update(&context(h)->vtable, p, n);
}

void hash_end(const struct hashing *h, unsigned char out[HASH_MAX])
{
	struct hashing copy = *h;

	classes[h->kind]->out(&context(&copy)->vtable, out);
}

void hmac_of(enum hash h, struct str key, struct str text, unsigned char out[HASH_MAX])
{
	br_hmac_key_context k;
	br_hmac_context c;

	br_hmac_key_init(&k, classes[h], key.p, key.n);
	br_hmac_init(&c, &k, 0);
	br_hmac_update(&c, text.p, text.n);
	br_hmac_out(&c, out);
}

void pbkdf2_of(enum hash h, struct str password, struct str salt, unsigned iterations, unsigned char out[HASH_MAX])
{
	static const unsigned char first[4] = { 0, 0, 0, 1 };
	size_t n = hash_size(h);
	unsigned char u[HASH_MAX];
	br_hmac_key_context k;
	br_hmac_context c;

	br_hmac_key_init(&k, classes[h], password.p, password.n);
	br_hmac_init(&c, &k, 0);
	br_hmac_update(&c, salt.p, salt.n);
	br_hmac_update(&c, first, sizeof first);
	br_hmac_out(&c, u);
	memcpy(out, u, n);
	while (--iterations > 0) {
		br_hmac_init(&c, &k, 0);
		br_hmac_update(&c, u, n);
		br_hmac_out(&c, u);
		for (size_t i = 0; i < n; i++)
			out[i] ^= u[i];
	}
	explicit_bzero(&k, sizeof k);
	explicit_bzero(u, sizeof u);
}

bool octets_same(const void *a, const void *b, size_t n)
{
	const unsigned char *x = a, *y = b;
	unsigned char differ = 0;

	for (size_t i = 0; i < n; i++)
		differ |= x[i] ^ y[i];
	return !differ;
}
