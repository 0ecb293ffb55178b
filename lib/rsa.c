/* RSA with Montgomery's multiplication on words of 64 bits (Koc, Acar, Kaliski: CIOS). */
#include "lib/rsa.h"

#include <string.h>

#ifdef __SIZEOF_INT128__

enum { WORDS_MAX = 64 };                /* 4096 bits */

typedef uint64_t word;
typedef unsigned __int128 wide;

struct number {                         /* the lowest word first */
	word w[WORDS_MAX];
};
struct modulus {
	size_t n;
	struct number m;
	word k;                         /* -1/m modulo 2^64 */
};

static void load(struct number *out, size_t n, const unsigned char *p, size_t octets)
{
	memset(out->w, 0, n * sizeof *out->w);
	for (size_t i = 0; i < octets; i++)
		out->w[i / 8] |= (word)p[octets - 1 - i] << i % 8 * 8;
}

static void store(const struct number *x, unsigned char *p, size_t octets)
{
	for (size_t i = 0; i < octets; i++)
		p[octets - 1 - i] = (unsigned char)(x->w[i / 8] >> i % 8 * 8);
}

static bool is_less(const struct number *a, const struct number *b, size_t n)
{
	while (n-- > 0)
		if (a->w[n] != b->w[n])
			return a->w[n] < b->w[n];
	return false;
}

static void subtract(struct number *a, const struct number *b, size_t n)
{
	word borrow = 0;

	for (size_t i = 0; i < n; i++) {
		wide d = (wide)a->w[i] - b->w[i] - borrow;

		a->w[i] = (word)d;
		borrow = (word)(d >> 64) & 1;
	}
}

/* x and y are less than m; r = x * y / 2^(64 n) modulo m. r may be x or y. */
static void multiply(struct number *r, const struct number *x, const struct number *y, const struct modulus *m)
{
	word t[WORDS_MAX + 2] = { 0 };

	for (size_t i = 0; i < m->n; i++) {
		word carry = 0, q;
		wide s;

		for (size_t j = 0; j < m->n; j++) {
			s = (wide)x->w[j] * y->w[i] + t[j] + carry;
			t[j] = (word)s;
			carry = (word)(s >> 64);
		}
		s = (wide)t[m->n] + carry;
		t[m->n] = (word)s;
		t[m->n + 1] = (word)(s >> 64);
		q = t[0] * m->k;
		s = (wide)q * m->m.w[0] + t[0];
		carry = (word)(s >> 64);
		for (size_t j = 1; j < m->n; j++) {
			s = (wide)q * m->m.w[j] + t[j] + carry;
			t[j - 1] = (word)s;
			carry = (word)(s >> 64);
		}
		s = (wide)t[m->n] + carry;
		t[m->n - 1] = (word)s;
		t[m->n] = t[m->n + 1] + (word)(s >> 64);
	}
	memcpy(r->w, t, m->n * sizeof *t);
	if (t[m->n] || !is_less(r, &m->m, m->n))
		subtract(r, &m->m, m->n);
}

static void twice(struct number *x, const struct modulus *m)
{
	word carry = 0;

	for (size_t i = 0; i < m->n; i++) {
		word w = x->w[i];

		x->w[i] = w << 1 | carry;
		carry = w >> 63;
	}
	if (carry || !is_less(x, &m->m, m->n))
		subtract(x, &m->m, m->n);
}

/* 2^(128 n) modulo m: from the highest power of two below m by doubling to 2^(64 n) and n times more, then by squaring, 64 being 2^6. */
static void square_of_radix(struct number *out, const struct modulus *m)
{
	size_t top = 63;

	while (!(m->m.w[m->n - 1] >> top & 1))
		top--;
	memset(out->w, 0, m->n * sizeof *out->w);
	out->w[m->n - 1] = (word)1 << top;
	for (size_t i = 0; i < 64 - top + m->n; i++)
		twice(out, m);
	for (int i = 0; i < 6; i++)
		multiply(out, out, out, m);
}

static word inverse(word m0)
{
	word k = m0;                    /* right for three bits; each step doubles them */

	for (int i = 0; i < 5; i++)
		k *= 2 - m0 * k;
	return -k;
}

bool rsa_raise(unsigned char *x, struct str number, struct str exponent)
{
	static const struct number one = { { 1 } };
	struct modulus m = { .n = (number.n + 7) / 8 };
	struct number base, power, radix2;
	uint64_t e = 0, bit = (uint64_t)1 << 63;

	if (number.n < 64 || m.n > WORDS_MAX || exponent.n < 1 || exponent.n > 8 || !number.p[0] || !(number.p[number.n - 1] & 1))
		return false;
	for (size_t i = 0; i < exponent.n; i++)
		e = e << 8 | (unsigned char)exponent.p[i];
	load(&m.m, m.n, (const unsigned char *)number.p, number.n);
	load(&base, m.n, x, number.n);
	if (!e || !is_less(&base, &m.m, m.n))
		return false;
	m.k = inverse(m.m.w[0]);
	square_of_radix(&radix2, &m);
	multiply(&base, &base, &radix2, &m);
	power = base;
	while (!(e & bit))
		bit >>= 1;
	while (bit >>= 1) {
		multiply(&power, &power, &power, &m);
		if (e & bit)
			multiply(&power, &power, &base, &m);
	}
	multiply(&power, &power, &one, &m);
	store(&power, x, number.n);
	return true;
}

#else
bool rsa_raise(unsigned char *x, struct str number, struct str exponent)
{
	(void)x, (void)number, (void)exponent;
	return false;
}
#endif
