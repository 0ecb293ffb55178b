/* A seeded hash table of embedded nodes, chained. */
#include "lib/map.h"

#include <stdlib.h>
#include <string.h>

#include "lib/rand.h"

enum { KEPT = 1024 };                   /* slots that an empty one keeps; a smaller one behind a large one would upset who walks */

static uint64_t rotate(uint64_t x, int by) { return x << by | x >> (64 - by); }

static void sip_round(uint64_t v[4])
{
	v[0] += v[1]; v[1] = rotate(v[1], 13); v[1] ^= v[0]; v[0] = rotate(v[0], 32);
	v[2] += v[3]; v[3] = rotate(v[3], 16); v[3] ^= v[2];
	v[0] += v[3]; v[3] = rotate(v[3], 21); v[3] ^= v[0];
	v[2] += v[1]; v[1] = rotate(v[1], 17); v[1] ^= v[2]; v[2] = rotate(v[2], 32);
}

static uint64_t little_endian(const unsigned char *p, size_t n)
{
	uint64_t x = 0;

	for (size_t i = 0; i < n; i++)
		x |= (uint64_t)p[i] << (8 * i);
	return x;
}

uint64_t siphash(const uint64_t key[2], const void *data, size_t n)
{
	uint64_t v[4] = {
		key[0] ^ 0x736f6d6570736575u, key[1] ^ 0x646f72616e646f6du,
		key[0] ^ 0x6c7967656e657261u, key[1] ^ 0x7465646279746573u,
	};
	const unsigned char *p = data;
	size_t whole = n & ~(size_t)7;
	uint64_t m;

	for (size_t i = 0; i < whole; i += 8) {
		m = little_endian(p + i, 8);
		v[3] ^= m;
		sip_round(v);
		sip_round(v);
		v[0] ^= m;
	}
	m = little_endian(n > whole ? p + whole : p, n - whole) | (uint64_t)n << 56;
	v[3] ^= m;
	sip_round(v);
	sip_round(v);
	v[0] ^= m;
	v[2] ^= 0xff;
	for (int i = 0; i < 4; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static uint64_t hash_of(struct str key)
{
	static uint64_t seed[2];

	while (!seed[0])
		rand_bytes(seed, sizeof seed);
	return siphash(seed, key.n ? key.p : "", key.n);
}

static bool grow(struct map *m)
{
	size_t size = m->size ? 2 * m->size : 16;
	struct map_node **slot = calloc(size, sizeof *slot);

	if (!slot)
		return m->size > 0;             /* longer chains serve as well */
	for (size_t i = 0; i < m->size; i++) {
		for (struct map_node *x = m->slot[i], *next; x; x = next) {
			next = x->next;
			x->next = slot[x->hash & (size - 1)];
			slot[x->hash & (size - 1)] = x;
		}
	}
	free(m->slot);
	m->slot = slot;
	m->size = size;
	return true;
}

struct map_node *map_get(const struct map *m, struct str key)
{
	uint64_t hash;

	if (!m->n)
		return NULL;
	hash = hash_of(key);
	for (struct map_node *x = m->slot[hash & (m->size - 1)]; x; x = x->next)
		if (x->hash == hash && str_eq(x->key, key))
			return x;
	return NULL;
}

bool map_put(struct map *m, struct map_node *x, struct str key)
{
	if (m->n >= m->size && !grow(m))
		return false;
	x->key = key;
	x->hash = hash_of(key);
	x->next = m->slot[x->hash & (m->size - 1)];
	m->slot[x->hash & (m->size - 1)] = x;
	m->n++;
	return true;
}

void map_remove(struct map *m, struct map_node *x)
{
	struct map_node **at = &m->slot[x->hash & (m->size - 1)];

	while (*at != x)
		at = &(*at)->next;
	*at = x->next;
	x->next = NULL;
	m->n--;
	if (!m->n && m->size > KEPT)
		map_free(m);
}

struct map_node *map_next(const struct map *m, const struct map_node *x)
{
	size_t i = 0;

	if (x && x->next)
		return x->next;
	if (x)
		i = (x->hash & (m->size - 1)) + 1;
	for (; i < m->size; i++)
		if (m->slot[i])
			return m->slot[i];
	return NULL;
}

void map_free(struct map *m)
{
	free(m->slot);
	*m = (struct map){ 0 };
}
