/* RSA by BearSSL, Ed25519 by libsodium. */
#include "lib/pubkey.h"

#include <stdlib.h>
#include <string.h>
#ifdef HAVE_SODIUM
#include <sodium.h>
#endif

#include "lib/hash.h"
#include "lib/late.h"
#include "lib/pem.h"
#include "lib/rand.h"
#include "lib/rsa.h"
#include "lib/x509.h"

enum { ED25519_KEY = 32, ED25519_SIGNATURE = 64, PUBLIC_EXPONENT = 65537 };

static const struct str rsa_encryption = { "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01", 9 },         /* RFC 8017 A.1 */
	ed25519_id = { "\x2b\x65\x70", 3 };                                                      /* RFC 8410 3 */
/* PKCS#8 of an Ed25519 key, up to its 32 octets (RFC 8410 7). */
static const unsigned char ed25519_pkcs8[16] = { 0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20 };

#ifdef HAVE_SODIUM
static struct late library = { .file = HAVE_SODIUM };
#define SODIUM(f) LATE(library, HAVE_SODIUM, f)

static bool open_ed25519(void) { return late_open(&library) && SODIUM(sodium_init)() != -1; }
bool ed25519_available(void) { return late_is_there(&library); }

static bool ed25519_check(struct str key, const unsigned char digest[KEY_DIGEST], struct str signature)
{
	return open_ed25519() && signature.n == ED25519_SIGNATURE && SODIUM(crypto_sign_verify_detached)((const unsigned char *)signature.p,
		digest, KEY_DIGEST, (const unsigned char *)key.p) == 0;
}

/* secret: the seed, then the public key, as libsodium has it. */
static void ed25519_expand(unsigned char secret[2 * ED25519_KEY])
{
	unsigned char seed[ED25519_KEY], public[ED25519_KEY];

	if (!open_ed25519())
		return;                 /* who reads keys says so */
	memcpy(seed, secret, sizeof seed);
	SODIUM(crypto_sign_seed_keypair)(public, secret, seed);
	explicit_bzero(seed, sizeof seed);
}

static size_t ed25519_sign(const unsigned char secret[2 * ED25519_KEY], const unsigned char digest[KEY_DIGEST], unsigned char *out)
{
	return open_ed25519() && SODIUM(crypto_sign_detached)(out, NULL, digest, KEY_DIGEST, secret) == 0 ? ED25519_SIGNATURE : 0;
}
#else
bool ed25519_available(void) { return false; }

static bool ed25519_check(struct str key, const unsigned char digest[KEY_DIGEST], struct str signature)
{
	(void)key, (void)digest, (void)signature;
	return false;
}
static void ed25519_expand(unsigned char secret[2 * ED25519_KEY]) { (void)secret; }
static size_t ed25519_sign(const unsigned char secret[2 * ED25519_KEY], const unsigned char digest[KEY_DIGEST], unsigned char *out)
{
	(void)secret, (void)digest, (void)out;
	return 0;
}
#endif

/* ---- checking */

static struct str without_zeros(struct str number)
{
	while (number.n && !number.p[0])
		number = str_from(number, 1);
	return number;
}

static unsigned bits_of(struct str number)
{
	unsigned bits = (unsigned)number.n * 8;

	for (unsigned char top = number.n ? (unsigned char)number.p[0] : 0x80; !(top & 0x80); top = (unsigned char)(top << 1))
		bits--;
	return bits;
}

/* The RSAPublicKey inside a SubjectPublicKeyInfo. */
static bool unwrap(struct str info, struct str *key)
{
	struct str algorithm, oid;

	if (!der_take(&info, DER_SEQUENCE, &algorithm) || !der_take(&algorithm, DER_OID, &oid) || !str_eq(oid, rsa_encryption))
		return false;
	if (!der_take(&info, DER_BITS, key) || info.n || !key->n || key->p[0])
		return false;
	*key = str_from(*key, 1);
	return true;
}

static const char *read_rsa(struct str der, struct public_key *out)
{
	static const char wrong[] = "it is no RSA key";
	struct str outer, key = der, inner;

	if (!der_take(&der, DER_SEQUENCE, &outer) || der.n || !outer.n)
		return wrong;
	if (outer.p[0] == DER_SEQUENCE && !unwrap(outer, &key))
		return wrong;
	if (!der_take(&key, DER_SEQUENCE, &inner) || key.n || !der_take(&inner, DER_INTEGER, &out->number) ||
	    !der_take(&inner, DER_INTEGER, &out->exponent) || inner.n)
		return wrong;
	out->number = without_zeros(out->number);
	out->exponent = without_zeros(out->exponent);
	if (!out->number.n || !out->exponent.n || out->exponent.n > 8 || !(out->number.p[out->number.n - 1] & 1) ||
	    !(out->exponent.p[out->exponent.n - 1] & 1))
		return wrong;
	out->bits = bits_of(out->number);
	return NULL;
}

const char *public_key_read(enum key_kind kind, struct str octets, struct public_key *out)
{
	*out = (struct public_key){ .kind = kind };
	if (kind == KEY_RSA)
		return read_rsa(octets, out);
	if (octets.n != ED25519_KEY)
		return "it is no Ed25519 key of 32 octets";
	out->number = octets;
	out->bits = 256;
	return NULL;
}

/* RFC 8017 9.2: what a signature must be made of. The parameters of the hash may be NULL or not there. */
static bool is_padded(const unsigned char *x, size_t n, const unsigned char digest[KEY_DIGEST])
{
	static const struct str infos[] = {
		{ "\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20", 19 },
		{ "\x30\x2f\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x04\x20", 17 },
	};

	for (size_t i = 0; i < sizeof infos / sizeof *infos; i++) {
		size_t pad = n - KEY_DIGEST - infos[i].n, k = 2;

		while (k < pad - 1 && x[k] == 0xff)
			k++;
		if (x[0] == 0 && x[1] == 1 && k == pad - 1 && x[k] == 0 && !memcmp(x + pad, infos[i].p, infos[i].n) && !memcmp(x + n - KEY_DIGEST, digest, KEY_DIGEST))
			return true;
	}
	return false;
}

/* BearSSL's way takes ten times as long, as it must not betray a secret exponent: it is for machines without a faster one. */
static bool rsa_check(const struct public_key *k, const unsigned char digest[KEY_DIGEST], struct str signature)
{
	unsigned char number[RSA_MAX / 8], exponent[8], heard[KEY_DIGEST];
	br_rsa_public_key key = { .n = number, .nlen = k->number.n, .e = exponent, .elen = k->exponent.n };

	if (k->bits < RSA_MIN || k->bits > RSA_MAX || signature.n != k->number.n || k->exponent.n > sizeof exponent)
		return false;
	memcpy(number, signature.p, signature.n);
	if (rsa_raise(number, k->number, k->exponent))
		return is_padded(number, signature.n, digest);
	memcpy(number, k->number.p, k->number.n);
	memcpy(exponent, k->exponent.p, k->exponent.n);
	return br_rsa_pkcs1_vrfy_get_default()((const unsigned char *)signature.p, signature.n, BR_HASH_OID_SHA256, sizeof heard, &key, heard) &&
		memcmp(heard, digest, sizeof heard) == 0;
}

bool public_key_check(const struct public_key *k, const unsigned char digest[KEY_DIGEST], struct str signature)
{
	return k->kind == KEY_RSA ? rsa_check(k, digest, signature) : ed25519_check(k->number, digest, signature);
}

/* ---- signing */

struct sign_key {
	enum key_kind kind;
	br_rsa_private_key rsa;
	uint32_t exponent;              /* the public one */
	unsigned char *secret;          /* what rsa points into */
	size_t secret_n;
	unsigned char ed25519[2 * ED25519_KEY];
	bool read;
};

static struct sign_key *key_alloc(void) { return calloc(1, sizeof(struct sign_key)); }

void sign_key_free(struct sign_key *k)
{
	if (!k)
		return;
	if (k->secret)
		explicit_bzero(k->secret, k->secret_n);
	free(k->secret);
	explicit_bzero(k, sizeof *k);
	free(k);
}

enum key_kind sign_key_kind(const struct sign_key *k) { return k->kind; }
unsigned sign_key_bits(const struct sign_key *k) { return k->kind == KEY_RSA ? k->rsa.n_bitlen : 256; }

/* RFC 8410 7: OneAsymmetricKey; what may follow the key says nothing new. False: it is another kind of key. */
static bool take_ed25519(struct sign_key *k, struct str der)
{
	struct str all, version, algorithm, oid, wrapped, seed;

	if (!der_take(&der, DER_SEQUENCE, &all) || !der_take(&all, DER_INTEGER, &version) || !der_take(&all, DER_SEQUENCE, &algorithm) ||
	    !der_take(&algorithm, DER_OID, &oid) || !str_eq(oid, ed25519_id) || !der_take(&all, DER_OCTETS, &wrapped) ||
	    !der_take(&wrapped, DER_OCTETS, &seed) || seed.n != ED25519_KEY)
		return false;
	memcpy(k->ed25519, seed.p, seed.n);
	k->kind = KEY_ED25519;
	k->read = true;
	ed25519_expand(k->ed25519);
	return true;
}

/* RFC 8017 A.1.2, inside PKCS#8 or not. BearSSL drops the public exponent, and can work it out for half of all keys alone. 0: none. */
static uint32_t read_exponent(struct str der)
{
	struct str all, version, number, skipped;
	uint32_t e = 0;

	if (!der_take(&der, DER_SEQUENCE, &all) || !der_take(&all, DER_INTEGER, &version))
		return 0;
	if (all.n && all.p[0] == DER_SEQUENCE && (!der_take(&all, DER_SEQUENCE, &skipped) || !der_take(&all, DER_OCTETS, &der) ||
	    !der_take(&der, DER_SEQUENCE, &all) || !der_take(&all, DER_INTEGER, &version)))
		return 0;
	if (!der_take(&all, DER_INTEGER, &skipped) || !der_take(&all, DER_INTEGER, &number) || without_zeros(number).n > 4)
		return 0;
	for (size_t i = 0; i < number.n; i++)
		e = e << 8 | (unsigned char)number.p[i];
	return e;
}

static bool take_rsa(struct sign_key *k, struct pem *p)
{
	br_skey_decoder_context d;
	bool is_rsa;

	br_skey_decoder_init(&d);
	br_skey_decoder_push(&d, p->der.p, p->der.n);
	is_rsa = !br_skey_decoder_last_error(&d) && br_skey_decoder_key_type(&d) == BR_KEYTYPE_RSA;
	if (is_rsa)
		k->read = rsa_key_copy(&k->rsa, br_skey_decoder_get_rsa(&d), &k->secret, &k->secret_n);
	k->exponent = read_exponent(buf_view(&p->der));
	explicit_bzero(&d, sizeof d);
	if (is_rsa && !k->read)
		return pem_fault(p->why, p->why_size, "does not fit into memory");
	return is_rsa || pem_fault(p->why, p->why_size, "is neither RSA nor Ed25519");
}

static bool take_key(struct pem *p, const char *label, void *arg)
{
	struct sign_key *k = arg;

	if (strcmp(label, "ENCRYPTED PRIVATE KEY") == 0)
		return pem_fault(p->why, p->why_size, "is encrypted. Write it without a passphrase: openssl pkey -in FILE -out NEWFILE");
	if (k->read || (strcmp(label, "RSA PRIVATE KEY") != 0 && strcmp(label, "PRIVATE KEY") != 0))
		return true;
	if (p->der.n > RSA_DER_MAX)
		return pem_fault(p->why, p->why_size, "is too large: RSA keys may have up to %d bits", RSA_MAX);
	return take_ed25519(k, buf_view(&p->der)) || take_rsa(k, p);
}

static bool can_sign(const struct sign_key *k)
{
	static const unsigned char digest[KEY_DIGEST] = "any thirty-two octets will do it";
	unsigned char signature[SIGNATURE_MAX];
	struct buf public = { 0 };
	struct public_key key;
	size_t n = sign_key_sign(k, digest, signature);
	bool ok = n && sign_key_public(k, &public) && !public_key_read(k->kind, buf_view(&public), &key) &&
		public_key_check(&key, digest, (struct str){ (const char *)signature, n });

	buf_free(&public);
	return ok;
}

static bool read_key(struct sign_key *k, struct str pem, char *why, size_t size)
{
	char detail[200];

	if (!pem_each(pem, take_key, k, detail, sizeof detail))
		return pem_fault(why, size, "the key %s", detail);
	if (!k->read)
		return pem_fault(why, size, "the key's file holds no private key in PEM");
	if (k->kind == KEY_ED25519 && !ed25519_available())
		return pem_fault(why, size, "the key is Ed25519, and there is no libsodium here");
	if (k->kind == KEY_RSA && (k->rsa.n_bitlen < RSA_MIN || k->rsa.n_bitlen > RSA_MAX))
		return pem_fault(why, size, "the key has %lu bits; RSA must have %d to %d", (unsigned long)k->rsa.n_bitlen, RSA_MIN, RSA_MAX);
	return can_sign(k) || pem_fault(why, size, "the key is broken: what it signs does not hold");
}

struct sign_key *sign_key_read(struct str pem, char *why, size_t size)
{
	struct sign_key *k = key_alloc();

	if (!k) {
		pem_fault(why, size, "out of memory");
		return NULL;
	}
	if (read_key(k, pem, why, size))
		return k;
	sign_key_free(k);
	return NULL;
}

static bool generate_rsa(struct sign_key *k, unsigned bits)
{
	br_hmac_drbg_context rng;
	unsigned char seed[48];
	bool ok;

	if (bits < RSA_MIN || bits > RSA_MAX)
		return false;
	k->kind = KEY_RSA;
	k->exponent = PUBLIC_EXPONENT;
	k->secret_n = BR_RSA_KBUF_PRIV_SIZE(bits);
	k->secret = malloc(k->secret_n);
	if (!k->secret)
		return false;
	rand_bytes(seed, sizeof seed);
	br_hmac_drbg_init(&rng, &br_sha256_vtable, seed, sizeof seed);
	ok = br_rsa_keygen_get_default()(&rng.vtable, &k->rsa, k->secret, NULL, NULL, bits, PUBLIC_EXPONENT);
	explicit_bzero(seed, sizeof seed);
	explicit_bzero(&rng, sizeof rng);
	return ok;
}

static bool generate_ed25519(struct sign_key *k)
{
	if (!ed25519_available())
		return false;
	k->kind = KEY_ED25519;
	rand_bytes(k->ed25519, ED25519_KEY);
	ed25519_expand(k->ed25519);
	return true;
}

struct sign_key *sign_key_new(enum key_kind kind, unsigned bits)
{
	struct sign_key *k = key_alloc();

	if (k && (kind == KEY_RSA ? generate_rsa(k, bits) : generate_ed25519(k)) && can_sign(k))
		return k;
	sign_key_free(k);
	return NULL;
}

/* ---- as text */

struct rsa_public {
	unsigned char n[RSA_MAX / 8], e[4];
	size_t nlen;
};
static bool rsa_public(const struct sign_key *k, struct rsa_public *out)
{
	if ((k->rsa.n_bitlen + 7) / 8 > sizeof out->n)
		return false;
	out->nlen = br_rsa_i15_compute_modulus(out->n, &k->rsa);        /* the others find no room for 4095 bits and more */
	for (size_t i = 0; i < sizeof out->e; i++)
		out->e[i] = (unsigned char)(k->exponent >> (24 - 8 * i));
	return out->nlen && k->exponent;
}

static bool put_pem(struct buf *out, const void *der, size_t n)
{
	size_t room = br_pem_encode(NULL, NULL, n, "PRIVATE KEY", BR_PEM_LINE64);
	char *to = buf_reserve(out, room + 1);          /* it ends in a NUL */

	if (to)
		out->n += br_pem_encode(to, der, n, "PRIVATE KEY", BR_PEM_LINE64);
	return to != NULL;
}

static bool print_rsa(const struct sign_key *k, struct buf *pem)
{
	unsigned char d[RSA_MAX / 8], der[RSA_DER_MAX];
	struct rsa_public p;
	br_rsa_public_key public = { .n = p.n, .e = p.e, .elen = sizeof p.e };
	size_t dlen, n;
	bool ok = false;

	if (!rsa_public(k, &p))
		return false;
	public.nlen = p.nlen;
	dlen = br_rsa_compute_privexp_get_default()(d, &k->rsa, k->exponent);
	n = dlen ? br_encode_rsa_pkcs8_der(NULL, &k->rsa, &public, d, dlen) : 0;
	if (n && n <= sizeof der) {
		br_encode_rsa_pkcs8_der(der, &k->rsa, &public, d, dlen);
		ok = put_pem(pem, der, n);
	}
	explicit_bzero(d, sizeof d);
	explicit_bzero(der, sizeof der);
	return ok;
}

static bool print_ed25519(const struct sign_key *k, struct buf *pem)
{
	unsigned char der[sizeof ed25519_pkcs8 + ED25519_KEY];
	bool ok;

	memcpy(der, ed25519_pkcs8, sizeof ed25519_pkcs8);
	memcpy(der + sizeof ed25519_pkcs8, k->ed25519, ED25519_KEY);
	ok = put_pem(pem, der, sizeof der);
	explicit_bzero(der, sizeof der);
	return ok;
}

bool sign_key_print(const struct sign_key *k, struct buf *pem)
{
	return k->kind == KEY_RSA ? print_rsa(k, pem) : print_ed25519(k, pem);
}

/* Puts a head in front of what out holds from `from` on. */
static void wrap(struct buf *out, size_t from, unsigned tag)
{
	size_t n = out->n - from, head = n < 128 ? 2 : n < 256 ? 3 : 4;
	unsigned char *p = (unsigned char *)buf_reserve(out, head);

	if (!p)
		return;
	p = (unsigned char *)out->p + from;
	memmove(p + head, p, n);
	out->n += head;
	p[0] = (unsigned char)tag;
	p[1] = (unsigned char)(n < 128 ? n : 0x80 + head - 2);
	if (head == 3)
		p[2] = (unsigned char)n;
	if (head == 4) {
		p[2] = (unsigned char)(n >> 8);
		p[3] = (unsigned char)n;
	}
}

/* A number of DER has no zeros in front, but for one that keeps it positive. */
static void put_number(struct buf *out, struct str number)
{
	size_t from = out->n;

	number = without_zeros(number);
	if (number.n && number.p[0] & 0x80)
		buf_char(out, '\0');
	buf_str(out, number);
	wrap(out, from, DER_INTEGER);
}

static bool public_rsa(const struct sign_key *k, struct buf *out)
{
	struct rsa_public p;
	size_t from = out->n, inner;

	if (!rsa_public(k, &p))
		return false;
	buf_str(out, rsa_encryption);
	wrap(out, from, DER_OID);
	buf_add(out, "\x05\x00", 2);
	wrap(out, from, DER_SEQUENCE);
	inner = out->n;
	put_number(out, (struct str){ (const char *)p.n, p.nlen });
	put_number(out, (struct str){ (const char *)p.e, sizeof p.e });
	wrap(out, inner, DER_SEQUENCE);
	if (!out->bad && buf_reserve(out, 1)) {         /* a bit string says first how many bits are left over */
		memmove(out->p + inner + 1, out->p + inner, out->n - inner);
		out->p[inner] = '\0';
		out->n++;
	}
	wrap(out, inner, DER_BITS);
	wrap(out, from, DER_SEQUENCE);
	return !out->bad;
}

bool sign_key_public(const struct sign_key *k, struct buf *out)
{
	return k->kind == KEY_RSA ? public_rsa(k, out) : buf_add(out, k->ed25519 + ED25519_KEY, ED25519_KEY);
}

size_t sign_key_sign(const struct sign_key *k, const unsigned char digest[KEY_DIGEST], unsigned char out[SIGNATURE_MAX])
{
	if (k->kind == KEY_ED25519)
		return ed25519_sign(k->ed25519, digest, out);
	if ((k->rsa.n_bitlen + 7) / 8 > SIGNATURE_MAX)
		return 0;
	return br_rsa_pkcs1_sign_get_default()(BR_HASH_OID_SHA256, digest, KEY_DIGEST, &k->rsa, out) ? (k->rsa.n_bitlen + 7) / 8 : 0;
}
