/* DER as far as names and dates need it, and BearSSL's decoders for the rest. */
#include "lib/x509.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/hash.h"
#include "lib/list.h"
#include "lib/pem.h"
#include "lib/tls.h"

enum {
	CHAIN_MAX = 10,
	RSA_BITS_MIN = 1024
};

/* ---- DER of certificates */

static int64_t days_before(int64_t year, unsigned month)
{
	static const unsigned short sum[] = { 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334 };
	int64_t y = year - (month <= 2);        /* years whose 29 February lies behind us */

	return year * 365 - 719528 + y / 4 - y / 100 + y / 400 + 1 + sum[month - 1];
}

/* RFC 5280 4.1.2.5: YYMMDDHHMMSSZ until 2049, YYYYMMDDHHMMSSZ. */
static bool read_time(struct str *rest, int64_t *out)
{
	struct str t;
	unsigned tag;
	uint64_t year, part[5];

	if (!der_next(rest, &tag, &t) || (tag != DER_UTC_TIME && tag != DER_TIME))
		return false;
	if (!str_number((struct str){ t.p, tag == DER_TIME ? 4 : 2 }, 9999, &year) || t.n != (tag == DER_TIME ? 15 : 13))
		return false;
	t = str_from(t, tag == DER_TIME ? 4 : 2);
	if (tag == DER_UTC_TIME)
		year += year < 50 ? 2000 : 1900;
	for (size_t i = 0; i < 5; i++)
		if (!str_number((struct str){ t.p + 2 * i, 2 }, i == 0 ? 12 : i == 1 ? 31 : 60, &part[i]))
			return false;
	if (part[0] < 1)
		return false;
	*out = (days_before((int64_t)year, (unsigned)part[0]) + (int64_t)part[1] - 1) * 86400 + (int64_t)part[2] * 3600 +
		(int64_t)part[3] * 60 + (int64_t)part[4];
	return true;
}

static void add_name(struct x509_pair *pair, struct str name)
{
	/* A NUL inside, and anything that no name holds, can only be meant to deceive. */
	for (size_t i = 0; i < name.n; i++)
		if (!ascii_print(name.p[i]) || name.p[i] == ' ')
			return;
	for (size_t i = 0; i < name.n; i++)
		buf_char(&pair->names, ascii_lower(name.p[i]));
	buf_char(&pair->names, '\0');
}

/* RFC 5280 4.2.1.6. */
static void read_alternative_names(struct x509_pair *pair, struct str value)
{
	struct str names, name;
	unsigned tag;

	if (!der_take(&value, DER_SEQUENCE, &names))
		return;
	while (der_next(&names, &tag, &name))
		if (tag == DER_DNS_NAME)
			add_name(pair, name);
}

static void read_extensions(struct x509_pair *pair, struct str value)
{
	static const struct str subject_alt_name = { "\x55\x1d\x11", 3 };
	struct str list, extension, oid, content;
	unsigned tag;

	if (!der_take(&value, DER_SEQUENCE, &list))
		return;
	while (der_take(&list, DER_SEQUENCE, &extension)) {
		if (!der_take(&extension, DER_OID, &oid) || !str_eq(oid, subject_alt_name))
			continue;
		if (!der_next(&extension, &tag, &content))
			continue;
		if (tag == DER_BOOLEAN && !der_next(&extension, &tag, &content))
			continue;
		if (tag == DER_OCTETS)
			read_alternative_names(pair, content);
	}
}

/* RFC 6125 6.4.4: the common name counts when there are no others. */
static void read_common_name(struct x509_pair *pair, struct str subject)
{
	static const struct str common_name = { "\x55\x04\x03", 3 };
	struct str set, attribute, oid, value;
	unsigned tag;

	while (der_take(&subject, DER_SET, &set))
		if (der_take(&set, DER_SEQUENCE, &attribute) && der_take(&attribute, DER_OID, &oid) && str_eq(oid, common_name) &&
		    der_next(&attribute, &tag, &value))
			add_name(pair, value);
}

/* The parts of a certificate that are looked at here (RFC 5280 4.1). */
struct parts {
	struct str validity, subject;
	struct str key;                 /* SubjectPublicKeyInfo with its head */
	struct str rest;                /* behind it: the extensions */
};

static bool take_apart(struct str certificate, struct parts *out)
{
	struct str body, inner, skipped;
	unsigned tag;

	if (!der_take(&certificate, DER_SEQUENCE, &body) || !der_take(&body, DER_SEQUENCE, &inner) || !der_next(&inner, &tag, &skipped))
		return false;
	if (tag == DER_VERSION && !der_take(&inner, DER_INTEGER, &skipped))
		return false;
	if (!der_take(&inner, DER_SEQUENCE, &skipped) || !der_take(&inner, DER_SEQUENCE, &skipped) ||      /* signature, issuer */
	    !der_take(&inner, DER_SEQUENCE, &out->validity) || !der_take(&inner, DER_SEQUENCE, &out->subject))
		return false;
	out->key.p = inner.p;
	if (!der_take(&inner, DER_SEQUENCE, &skipped))
		return false;
	out->key.n = (size_t)(inner.p - out->key.p);
	out->rest = inner;
	return true;
}

static bool read_details(struct x509_pair *pair, const br_x509_certificate *c)
{
	struct str element;
	struct parts parts;
	unsigned tag;

	if (!take_apart((struct str){ (const char *)c->data, c->data_len }, &parts))
		return false;
	if (!read_time(&parts.validity, &pair->not_before) || !read_time(&parts.validity, &pair->not_after))
		return false;
	while (der_next(&parts.rest, &tag, &element))
		if (tag == DER_EXTENSIONS)
			read_extensions(pair, element);
	if (!pair->names.n)
		read_common_name(pair, parts.subject);
	return !pair->names.bad;
}

/* ---- the chain */

static bool take_certificate(struct pem *p, const char *label, void *arg)
{
	struct x509_pair *pair = arg;
	br_x509_certificate *c;

	if (strcmp(label, "CERTIFICATE") != 0 && strcmp(label, "X509 CERTIFICATE") != 0)
		return true;                    /* a key in the same file, say */
	if (pair->n == CHAIN_MAX)
		return pem_fault(p->why, p->why_size, "holds more than %d certificates", CHAIN_MAX);
	c = &pair->chain[pair->n];
	c->data = malloc(p->der.n + 1);
	if (!c->data)
		return pem_fault(p->why, p->why_size, "does not fit into memory");
	memcpy(c->data, p->der.p, p->der.n);
	c->data_len = p->der.n;
	pair->n++;
	return true;
}

/* ---- the key */

bool rsa_key_copy(br_rsa_private_key *to, const br_rsa_private_key *key, unsigned char **secret, size_t *secret_n)
{
	struct { unsigned char **to; const unsigned char *from; size_t n; } part[] = {
		{ &to->p, key->p, key->plen }, { &to->q, key->q, key->qlen }, { &to->dp, key->dp, key->dplen },
		{ &to->dq, key->dq, key->dqlen }, { &to->iq, key->iq, key->iqlen },
	};
	unsigned char *at;

	*secret_n = key->plen + key->qlen + key->dplen + key->dqlen + key->iqlen;
	at = *secret = malloc(*secret_n + 1);
	if (!at)
		return false;
	*to = *key;
	for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
		memcpy(at, part[i].from, part[i].n);
		*part[i].to = at;
		at += part[i].n;
	}
	return true;
}

static void keep_rsa(struct x509_pair *pair, const br_rsa_private_key *key)
{
	if (rsa_key_copy(&pair->rsa, key, &pair->secret, &pair->secret_n))
		pair->type = BR_KEYTYPE_RSA;
}

static void keep_ec(struct x509_pair *pair, const br_ec_private_key *key)
{
	pair->secret_n = key->xlen;
	pair->secret = malloc(pair->secret_n + 1);
	if (!pair->secret)
		return;
	memcpy(pair->secret, key->x, key->xlen);
	pair->ec = *key;
	pair->ec.x = pair->secret;
	pair->type = BR_KEYTYPE_EC;
}

static bool take_key(struct pem *p, const char *label, void *arg)
{
	struct x509_pair *pair = arg;
	br_skey_decoder_context d;
	int type;

	if (strcmp(label, "ENCRYPTED PRIVATE KEY") == 0)
		return pem_fault(p->why, p->why_size, "is encrypted. Write it without a passphrase: openssl pkey -in FILE -out NEWFILE");
	if (pair->type || (strcmp(label, "RSA PRIVATE KEY") != 0 && strcmp(label, "EC PRIVATE KEY") != 0 &&
	    strcmp(label, "PRIVATE KEY") != 0))
		return true;
	if (p->der.n > RSA_DER_MAX)
		return pem_fault(p->why, p->why_size, "is too large: RSA keys may have up to 4096 bits");
	br_skey_decoder_init(&d);
	br_skey_decoder_push(&d, p->der.p, p->der.n);
	type = br_skey_decoder_last_error(&d) ? 0 : br_skey_decoder_key_type(&d);
	if (type == BR_KEYTYPE_RSA)
		keep_rsa(pair, br_skey_decoder_get_rsa(&d));
	else if (type == BR_KEYTYPE_EC)
		keep_ec(pair, br_skey_decoder_get_ec(&d));
	explicit_bzero(&d, sizeof d);
	if (!type)
		return pem_fault(p->why, p->why_size, "is of a kind that cannot be used here. RSA and EC (P-256, P-384, P-521) can");
	if (!pair->type)
		return pem_fault(p->why, p->why_size, "does not fit into memory");
	return true;
}

/* ---- do they fit together? */

static const unsigned char digest[br_sha256_SIZE] = "any thirty-two octets will do it";

static bool rsa_fits(const struct x509_pair *pair, const br_rsa_public_key *public)
{
	unsigned char signature[512], heard[br_sha256_SIZE];
	size_t n = (pair->rsa.n_bitlen + 7) / 8;

	return n <= sizeof signature && public->nlen <= sizeof signature &&
		br_rsa_pkcs1_sign_get_default()(BR_HASH_OID_SHA256, digest, sizeof digest, &pair->rsa, signature) &&
		br_rsa_pkcs1_vrfy_get_default()(signature, n, BR_HASH_OID_SHA256, sizeof heard, public, heard) &&
		memcmp(heard, digest, sizeof digest) == 0;
}

static bool ec_fits(const struct x509_pair *pair, const br_ec_public_key *public)
{
	unsigned char signature[160];
	size_t n;

	if (public->curve != pair->ec.curve)
		return false;
	n = br_ecdsa_sign_asn1_get_default()(br_ec_get_default(), &br_sha256_vtable, digest, &pair->ec, signature);
	return n && br_ecdsa_vrfy_asn1_get_default()(br_ec_get_default(), digest, sizeof digest, public, signature, n);
}

static bool fits(const struct x509_pair *pair, char *why, size_t size)
{
	br_x509_decoder_context d;
	br_x509_pkey *public;
	bool ok;

	br_x509_decoder_init(&d, NULL, NULL);
	br_x509_decoder_push(&d, pair->chain[0].data, pair->chain[0].data_len);
	public = br_x509_decoder_get_pkey(&d);
	if (!public)
		return pem_fault(why, size, "the certificate cannot be used: its key is neither RSA nor EC (P-256, P-384, P-521), or it is broken");
	if (pair->type == BR_KEYTYPE_RSA && pair->rsa.n_bitlen < RSA_BITS_MIN)
		return pem_fault(why, size, "the key has %lu bits, at least %d are needed", (unsigned long)pair->rsa.n_bitlen, RSA_BITS_MIN);
	ok = public->key_type == pair->type &&
		(pair->type == BR_KEYTYPE_RSA ? rsa_fits(pair, &public->key.rsa) : ec_fits(pair, &public->key.ec));
	return ok || pem_fault(why, size, "the key does not belong to the certificate");
}

/* ---- pairs */

static bool read_pair(struct x509_pair *pair, struct str chain, struct str key, char *why, size_t size)
{
	char detail[200];

	pair->chain = calloc(CHAIN_MAX, sizeof *pair->chain);
	if (!pair->chain)
		return pem_fault(why, size, "out of memory");
	if (!pem_each(chain, take_certificate, pair, detail, sizeof detail))
		return pem_fault(why, size, "the certificate %s", detail);
	if (!pair->n)
		return pem_fault(why, size, "the certificate's file holds no certificate in PEM");
	if (!pem_each(key, take_key, pair, detail, sizeof detail))
		return pem_fault(why, size, "the key %s", detail);
	if (!pair->type)
		return pem_fault(why, size, "the key's file holds no private key in PEM");
	if (!fits(pair, why, size))
		return false;
	return read_details(pair, &pair->chain[0]) || pem_fault(why, size, "the certificate's names or dates cannot be read");
}

struct x509_pair *x509_pair_read(struct str chain, struct str key, char *why, size_t size)
{
	struct x509_pair *pair = calloc(1, sizeof *pair);

	if (!pair) {
		pem_fault(why, size, "out of memory");
		return NULL;
	}
	pair->holders = 1;
	if (read_pair(pair, chain, key, why, size))
		return pair;
	x509_pair_drop(pair);
	return NULL;
}

struct x509_pair *x509_pair_hold(struct x509_pair *pair)
{
	pair->holders++;
	return pair;
}

void x509_pair_drop(struct x509_pair *pair)
{
	if (!pair || --pair->holders)
		return;
	for (size_t i = 0; i < pair->n; i++)
		free(pair->chain[i].data);
	free(pair->chain);
	if (pair->secret)
		explicit_bzero(pair->secret, pair->secret_n);
	free(pair->secret);
	buf_free(&pair->names);
	free(pair);
}

static bool name_matches(struct str pattern, struct str name)
{
	struct str label;

	if (!str_starts_nocase(pattern, STR("*.")))
		return str_eq_nocase(pattern, name);
	return str_cut(&name, '.', &label) && label.n && str_eq_nocase(str_from(pattern, 2), name);
}

bool x509_pair_is_for(const struct x509_pair *pair, struct str name)
{
	struct str rest = buf_view(&pair->names), pattern;

	if (name.n && name.p[name.n - 1] == '.')
		name.n--;
	while (name.n && str_cut(&rest, '\0', &pattern))
		if (name_matches(pattern, name))
			return true;
	return false;
}

/* ---- whom a client believes */

static void keep_name(void *name, const void *p, size_t n) { buf_add(name, p, n); }

static unsigned char *copy(const void *p, size_t n)
{
	unsigned char *to = malloc(n + 1);

	return to ? memcpy(to, p, n) : NULL;
}

static void free_anchor(br_x509_trust_anchor *a)
{
	free(a->dn.data);
	if (a->pkey.key_type == BR_KEYTYPE_RSA) {
		free(a->pkey.key.rsa.n);
		free(a->pkey.key.rsa.e);
	} else if (a->pkey.key_type == BR_KEYTYPE_EC) {
		free(a->pkey.key.ec.q);
	}
}

/* False: no memory. What it holds by then is free_anchor()'s. */
static bool make_anchor(br_x509_trust_anchor *a, const br_x509_pkey *key, struct str name)
{
	a->dn = (br_x500_name){ copy(name.p, name.n), name.n };
	a->pkey.key_type = key->key_type;
	if (key->key_type == BR_KEYTYPE_RSA) {
		a->pkey.key.rsa = (br_rsa_public_key){ copy(key->key.rsa.n, key->key.rsa.nlen), key->key.rsa.nlen,
			copy(key->key.rsa.e, key->key.rsa.elen), key->key.rsa.elen };
		return a->dn.data && a->pkey.key.rsa.n && a->pkey.key.rsa.e;
	}
	a->pkey.key.ec = (br_ec_public_key){ key->key.ec.curve, copy(key->key.ec.q, key->key.ec.qlen), key->key.ec.qlen };
	return a->dn.data && a->pkey.key.ec.q;
}

static bool add_anchor(struct x509_anchors *anchors, const br_x509_trust_anchor *a)
{
	br_x509_trust_anchor *at = realloc(anchors->at, (anchors->n + 1) * sizeof *at);

	if (!at)
		return false;
	anchors->at = at;
	at[anchors->n++] = *a;
	return true;
}

static bool take_anchor(struct pem *p, const char *label, void *arg)
{
	br_x509_trust_anchor a = { .flags = 0 };
	struct buf name = { .max = p->der.n + 1 };
	br_x509_decoder_context d;
	const br_x509_pkey *key;
	bool ok = true;

	if (strcmp(label, "CERTIFICATE") != 0 && strcmp(label, "X509 CERTIFICATE") != 0)
		return true;
	br_x509_decoder_init(&d, keep_name, &name);
	br_x509_decoder_push(&d, p->der.p, p->der.n);
	key = br_x509_decoder_get_pkey(&d);
	if (key) {
		a.flags = br_x509_decoder_isCA(&d) ? BR_X509_TA_CA : 0;
		ok = !name.bad && make_anchor(&a, key, buf_view(&name)) && add_anchor(arg, &a);
		if (!ok)
			free_anchor(&a);
	}
	buf_free(&name);
	return ok || pem_fault(p->why, p->why_size, "does not fit into memory");
}

bool x509_anchors_add(struct x509_anchors *anchors, struct str text, char *why, size_t size)
{
	return pem_each(text, take_anchor, anchors, why, size);
}

void x509_anchors_free(struct x509_anchors *anchors)
{
	for (size_t i = 0; i < anchors->n; i++)
		free_anchor(&anchors->at[i]);
	free(anchors->at);
	*anchors = (struct x509_anchors){ 0 };
}

/* ---- any certificate will do */

static struct x509_any *any_of(const br_x509_class **c) { return owner_of(c, struct x509_any, vtable); }

static void any_start_chain(const br_x509_class **c, const char *name)
{
	(void)name;
	any_of(c)->seen = 0;
}

static void any_start_cert(const br_x509_class **c, uint32_t n)
{
	struct x509_any *x = any_of(c);

	(void)n;
	if (x->seen++ == 0)
		br_x509_decoder_init(&x->first, NULL, NULL);
}

/* The others are not looked at, so they need no room, however many there are. */
static void any_append(const br_x509_class **c, const unsigned char *p, size_t n)
{
	struct x509_any *x = any_of(c);

	/* BearSSL's decoder does not stand being fed after it has failed: it runs on behind the end of its program. */
	if (x->seen == 1 && x->first.err == 0)
		br_x509_decoder_push(&x->first, p, n);
}

static void any_end_cert(const br_x509_class **c) { (void)c; }

static unsigned any_end_chain(const br_x509_class **c)
{
	struct x509_any *x = any_of(c);

	if (x->seen == 0)
		return BR_ERR_X509_EMPTY_CHAIN;
	return (unsigned)br_x509_decoder_last_error(&x->first);
}

static const br_x509_pkey *any_get_pkey(const br_x509_class *const *c, unsigned *usages)
{
	struct x509_any *x = any_of((const br_x509_class **)(uintptr_t)c);

	if (usages)
		*usages = BR_KEYTYPE_KEYX | BR_KEYTYPE_SIGN;
	return br_x509_decoder_get_pkey(&x->first);
}

static const br_x509_class any_class = {
	sizeof(struct x509_any), any_start_chain, any_start_cert, any_append, any_end_cert, any_end_chain, any_get_pkey
};

void x509_any_init(struct x509_any *x)
{
	x->vtable = &any_class;
	x->seen = 0;
}

/* ---- one that is named */

static struct x509_pinned *pinned_of(const br_x509_class **c) { return owner_of(any_of(c), struct x509_pinned, any); }

static void pinned_start_chain(const br_x509_class **c, const char *name)
{
	struct x509_pinned *x = pinned_of(c);

	any_start_chain(c, name);
	buf_clear(&x->chain);
	x->n = 0;
	x->too_much = false;
}

static void pinned_append(const br_x509_class **c, const unsigned char *p, size_t n)
{
	struct x509_pinned *x = pinned_of(c);

	any_append(c, p, n);
	x->too_much = x->too_much || x->n == sizeof x->ends / sizeof *x->ends || !buf_add(&x->chain, p, n);
}

static void pinned_end_cert(const br_x509_class **c)
{
	struct x509_pinned *x = pinned_of(c);

	if (x->n < sizeof x->ends / sizeof *x->ends)
		x->ends[x->n++] = x->chain.n;
}

static struct str certificate(const struct x509_pinned *x, size_t i)
{
	size_t from = i ? x->ends[i - 1] : 0;

	return (struct str){ x->chain.p + from, x->ends[i] - from };
}

static bool is_pin(const struct tls_pin *pin, struct str cert)
{
	unsigned char found[HASH_MAX];
	struct parts parts;

	if (pin->key_only && !take_apart(cert, &parts))
		return false;
	hash_of(pin->hash, pin->key_only ? parts.key : cert, found);
	return octets_same(found, pin->digest, hash_size(pin->hash));
}

/* The first n certificates, checked with these authorities. BearSSL's error, 0: good. */
static unsigned check_chain(const struct x509_pinned *x, size_t n, const br_x509_trust_anchor *anchors, size_t nanchors, const char *name)
{
	br_x509_minimal_context m;

	br_x509_minimal_init_full(&m, anchors, nanchors);
	m.vtable->start_chain(&m.vtable, name);
	for (size_t i = 0; i < n; i++) {
		struct str cert = certificate(x, i);

		m.vtable->start_cert(&m.vtable, (uint32_t)cert.n);
		m.vtable->append(&m.vtable, (const unsigned char *)cert.p, cert.n);
		m.vtable->end_cert(&m.vtable);
	}
	return m.vtable->end_chain(&m.vtable);
}

/* The chain below certificate `top`, checked with that as the only authority. */
static unsigned check_below(const struct x509_pinned *x, size_t top, const char *name)
{
	br_x509_trust_anchor anchor = { .flags = BR_X509_TA_CA };
	struct buf subject = { .max = X509_CHAIN_OCTETS };
	br_x509_decoder_context d;
	const br_x509_pkey *key;
	unsigned error = BR_ERR_X509_NOT_TRUSTED;

	br_x509_decoder_init(&d, keep_name, &subject);
	br_x509_decoder_push(&d, certificate(x, top).p, certificate(x, top).n);
	key = br_x509_decoder_get_pkey(&d);
	if (key && !subject.bad && br_x509_decoder_isCA(&d)) {
		anchor.dn = (br_x500_name){ (unsigned char *)subject.p, subject.n };
		anchor.pkey = *key;
		error = check_chain(x, top, &anchor, 1, name);
	}
	buf_free(&subject);
	return error;
}

/* RFC 7671 5.1 and 5.2. */
static unsigned check_pin(const struct x509_pinned *x, const struct tls_pin *pin)
{
	unsigned error = X509_NOT_PINNED;

	if (pin->usage == TLS_PIN_OWN)
		return is_pin(pin, certificate(x, 0)) ? 0 : error;
	for (size_t i = 1; i < x->n; i++) {
		if (!is_pin(pin, certificate(x, i)))
			continue;
		error = check_below(x, i, x->name);
		for (size_t k = 0; k < 2 && error == BR_ERR_X509_BAD_SERVER_NAME; k++)
			if (x->demands->also[k])
				error = check_below(x, i, x->demands->also[k]);
		return error;
	}
	return error;
}

/* It is one of them. NULL: nothing is demanded. */
static unsigned check_pins(const struct x509_pinned *x, const struct tls_pins *pins)
{
	unsigned best = X509_NOT_PINNED;

	for (size_t i = 0; pins && i < pins->n; i++) {
		unsigned error = check_pin(x, &pins->pin[i]);

		if (!error)
			return 0;
		if (error != X509_NOT_PINNED)
			best = error;
	}
	return pins ? best : 0;
}

static unsigned pinned_end_chain(const br_x509_class **c)
{
	struct x509_pinned *x = pinned_of(c);
	unsigned error = any_end_chain(c);

	if (error)
		return error;
	if (x->too_much || !x->n)
		return BR_ERR_X509_LIMIT_EXCEEDED;
	error = check_pins(x, x->demands->pins);
	if (!error && check_pins(x, x->demands->own))
		error = X509_NOT_OWN;
	if (!error && x->anchors)
		error = check_chain(x, x->n, x->anchors->at, x->anchors->n, x->name);
	if (error == BR_ERR_X509_BAD_SERVER_NAME && x->anchors && x->demands->also[0])
		error = check_chain(x, x->n, x->anchors->at, x->anchors->n, x->demands->also[0]);
	return error;
}

static const br_x509_class pinned_class = {
	sizeof(struct x509_pinned), pinned_start_chain, any_start_cert, pinned_append, pinned_end_cert, pinned_end_chain, any_get_pkey
};

void x509_pinned_init(struct x509_pinned *x, const struct tls_demands *demands, const struct x509_anchors *anchors, const char *name)
{
	memset(x, 0, sizeof *x);
	x->any.vtable = &pinned_class;
	x->demands = demands;
	x->anchors = anchors;
	x->name = name;
	x->chain.max = X509_CHAIN_OCTETS;
}

void x509_pinned_free(struct x509_pinned *x) { buf_free(&x->chain); }
