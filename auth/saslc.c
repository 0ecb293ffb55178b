/* What a mail client says to log in. */
#include "auth/saslc.h"

#include <stdlib.h>
#include <string.h>

#include "auth/users.h"
#include "lib/codec.h"
#include "lib/hash.h"
#include "lib/list.h"
#include "lib/rand.h"

struct mechanism {
	const char *name;
	enum saslc_kind kind;
	bool client_first, safe_in_clear;
	enum hash hash;
	const char *(*take)(struct saslc *, struct str challenge, struct buf *out);
};

struct saslc {
	const struct mechanism *mechanism;
	const char *user, *password;
	unsigned step;
	bool proven;                            /* the server has shown what it was to show */
	char nonce[33];
	struct buf auth;                        /* SCRAM's AuthMessage (RFC 5802 3), as far as it has come */
	unsigned char server[HASH_MAX];         /* the signature that the server owes us */
	char error[200];
};

/* ---- PLAIN and LOGIN */

static const char *plain(struct saslc *l, struct str challenge, struct buf *out)
{
	if (l->step++)
		return "it asks for more than name and password";
	if (challenge.n)
		return "PLAIN has no challenge, and one has come";
	buf_char(out, '\0');
	buf_puts(out, l->user);
	buf_char(out, '\0');
	buf_puts(out, l->password);
	l->proven = true;
	return NULL;
}

/* Servers write all sorts of prompts; the first is answered with the name, the second with the password. */
static const char *by_prompts(struct saslc *l, struct str challenge, struct buf *out)
{
	(void)challenge;
	if (l->step > 1)
		return "it asks for more than name and password";
	buf_puts(out, l->step++ ? l->password : l->user);
	l->proven = true;
	return NULL;
}

/* ---- SCRAM */

/* RFC 5802 5.1: what stands for a comma and an equals sign. */
static void add_name(struct buf *out, const char *name)
{
	for (; *name; name++) {
		if (*name == ',')
			buf_puts(out, "=2C");
		else if (*name == '=')
			buf_puts(out, "=3D");
		else
			buf_char(out, *name);
	}
}

static const char *scram_first(struct saslc *l, struct buf *out)
{
	unsigned char chance[16];

	rand_bytes(chance, sizeof chance);
	for (size_t i = 0; i < sizeof chance; i++) {
		l->nonce[2 * i] = "0123456789abcdef"[chance[i] >> 4];
		l->nonce[2 * i + 1] = "0123456789abcdef"[chance[i] & 15];
	}
	buf_puts(&l->auth, "n=");
	add_name(&l->auth, l->user);
	buf_printf(&l->auth, ",r=%s", l->nonce);
	buf_puts(out, "n,,");
	buf_str(out, buf_view(&l->auth));
	return NULL;
}

/* Every connection to a smarthost would work it out anew, and the answer is the same as long as the server keeps its salt. */
static void salted_password(struct saslc *l, struct str salt, unsigned iterations, unsigned char out[HASH_MAX])
{
	static unsigned char known_for[HASH_MAX], known[HASH_MAX];
	static enum hash known_hash = HASH_KINDS;
	enum hash h = l->mechanism->hash;
	unsigned char key[HASH_MAX];
	struct buf text = { 0 };

	buf_printf(&text, "%u %zu ", iterations, salt.n);
	buf_str(&text, salt);
	buf_puts(&text, l->password);
	hash_of(HASH_SHA256, buf_view(&text), key);
	if (text.p)
		explicit_bzero(text.p, text.room);
	if (text.bad || known_hash != h || memcmp(key, known_for, hash_size(HASH_SHA256)) != 0) {
		pbkdf2_of(h, str_of(l->password), salt, iterations, known);
		memcpy(known_for, key, sizeof key);
		known_hash = text.bad ? HASH_KINDS : h;
	}
	memcpy(out, known, HASH_MAX);
	buf_free(&text);
}

static struct str octets(const unsigned char *p, size_t n) { return (struct str){ (const char *)p, n }; }

static const char *scram_proof(struct saslc *l, struct str challenge, struct buf *out)
{
	enum hash h = l->mechanism->hash;
	unsigned char salt[256], salted[HASH_MAX], key[HASH_MAX], stored[HASH_MAX], signature[HASH_MAX];
	size_t size = hash_size(h), salt_n = sizeof salt;
	struct str rest = challenge, nonce, value;
	uint64_t iterations;

	if (!scram_attribute(&rest, 'r', &nonce) || nonce.n <= 32 || memcmp(nonce.p, l->nonce, 32) != 0)
		return "the challenge does not go on with our nonce";
	if (!scram_attribute(&rest, 's', &value) || !base64_decode(value, salt, &salt_n) || !salt_n)
		return "the challenge has no salt";
	if (!scram_attribute(&rest, 'i', &value) || !str_number(value, UINT32_MAX, &iterations) || !iterations)
		return "the challenge does not say how often to hash";
	if (iterations > SASLC_ITERATIONS_MAX)
		return "the server wants the password hashed more often than 100,000 times";
	buf_printf(out, "c=biws,r=" STR_FMT, STR_ARG(nonce));           /* "n,," */
	buf_printf(&l->auth, "," STR_FMT "," STR_FMT, STR_ARG(challenge), STR_ARG(buf_view(out)));
	if (out->bad || l->auth.bad)
		return "no memory left";
	salted_password(l, octets(salt, salt_n), (unsigned)iterations, salted);
	hmac_of(h, octets(salted, size), STR("Client Key"), key);
	hash_of(h, octets(key, size), stored);
	hmac_of(h, octets(stored, size), buf_view(&l->auth), signature);
	for (size_t i = 0; i < size; i++)
		key[i] ^= signature[i];
	buf_puts(out, ",p=");
	base64_encode(out, key, size);
	hmac_of(h, octets(salted, size), STR("Server Key"), key);
	hmac_of(h, octets(key, size), buf_view(&l->auth), l->server);
	explicit_bzero(salted, sizeof salted);
	explicit_bzero(key, sizeof key);
	return NULL;
}

static const char *scram_verify(struct saslc *l, struct str challenge)
{
	unsigned char signature[HASH_MAX];
	size_t size = hash_size(l->mechanism->hash), n = sizeof signature;
	struct str value;

	if (!scram_attribute(&challenge, 'v', &value) || !base64_decode(value, signature, &n) || n != size ||
	    !octets_same(signature, l->server, size))
		return "the server does not know the password itself: it is not whom we take it for, or keeps a damaged one";
	l->proven = true;
	return NULL;
}

static const char *scram(struct saslc *l, struct str challenge, struct buf *out)
{
	switch (l->step++) {
	case 0: return challenge.n ? "a challenge before our first words" : scram_first(l, out);
	case 1: return scram_proof(l, challenge, out);
	case 2: return scram_verify(l, challenge);
	default: return "it asks for more than SCRAM has";
	}
}

/* ---- OAUTHBEARER and XOAUTH2 */

/* A challenge behind our first words is an error in JSON, to be answered by something that means nothing; then the refusal comes. */
static void note_error(struct saslc *l, struct str challenge)
{
	size_t n = 0;

	for (size_t i = 0; i < challenge.n && n + 1 < sizeof l->error; i++)
		if (challenge.p[i] >= ' ' && challenge.p[i] <= '~')
			l->error[n++] = challenge.p[i];
	l->error[n] = '\0';
}

static const char *by_token(struct saslc *l, struct str challenge, struct buf *out, bool standard)
{
	switch (l->step++) {
	case 0:
		if (challenge.n)
			return "a challenge before our first words";
		if (standard) {
			buf_puts(out, "n,a=");
			add_name(out, l->user);
			buf_puts(out, ",\001");
		} else {
			buf_printf(out, "user=%s\001", l->user);
		}
		buf_printf(out, "auth=Bearer %s\001\001", l->password);
		l->proven = true;
		return NULL;
	case 1:
		note_error(l, challenge);
		if (standard)
			buf_char(out, '\001');
		l->proven = false;
		return NULL;
	default:
		return "it asks for more than a token";
	}
}

static const char *bearer(struct saslc *l, struct str challenge, struct buf *out) { return by_token(l, challenge, out, true); }
static const char *xoauth2(struct saslc *l, struct str challenge, struct buf *out) { return by_token(l, challenge, out, false); }

const char *saslc_error(const struct saslc *l) { return l->error; }

/* ---- mechanisms, the best first */

static const struct mechanism mechanisms[] = {
	{ "SCRAM-SHA-256", SASLC_PASSWORD, true, true, HASH_SHA256, scram },
	{ "SCRAM-SHA-1", SASLC_PASSWORD, true, true, HASH_SHA1, scram },
	{ "PLAIN", SASLC_PASSWORD, true, false, HASH_KINDS, plain },
	{ "LOGIN", SASLC_PASSWORD, false, false, HASH_KINDS, by_prompts },
	{ "OAUTHBEARER", SASLC_TOKEN, true, false, HASH_KINDS, bearer },
	{ "XOAUTH2", SASLC_TOKEN, true, false, HASH_KINDS, xoauth2 },
};

static bool is_offered(struct str offered, struct str name)
{
	struct str word;

	while (str_word(&offered, &word))
		if (str_eq_nocase(word, name))
			return true;
	return false;
}

struct saslc *saslc_begin(struct str offered, enum saslc_kind kind, const char *user, const char *secret, bool tls, const char **why)
{
	struct saslc *l;

	*why = kind == SASLC_TOKEN ? "the server offers neither OAUTHBEARER nor XOAUTH2" :
		"the server offers none of SCRAM-SHA-256, SCRAM-SHA-1, PLAIN and LOGIN";
	for (size_t i = 0; i < sizeof mechanisms / sizeof *mechanisms; i++) {
		if (mechanisms[i].kind != kind || !is_offered(offered, str_of(mechanisms[i].name)))
			continue;
		if (!tls && !mechanisms[i].safe_in_clear) {
			*why = "the server takes passwords and tokens in clear only, and this connection has no TLS";
			continue;
		}
		l = calloc(1, sizeof *l);
		*why = l ? NULL : "no memory left";
		if (l) {
			l->mechanism = &mechanisms[i];
			l->user = user;
			l->password = secret;
			l->auth.max = 8192;
		}
		return l;
	}
	return NULL;
}

void saslc_free(struct saslc *l)
{
	if (!l)
		return;
	buf_free(&l->auth);
	explicit_bzero(l, sizeof *l);
	free(l);
}

const char *saslc_mechanism(const struct saslc *l) { return l->mechanism->name; }

bool saslc_first(struct saslc *l, struct buf *out)
{
	buf_clear(out);
	if (l->mechanism->client_first)
		l->mechanism->take(l, STR(""), out);
	return l->mechanism->client_first;
}

const char *saslc_take(struct saslc *l, struct str challenge, struct buf *out)
{
	const char *wrong;

	buf_clear(out);
	wrong = l->mechanism->take(l, challenge, out);
	return wrong ? wrong : out->bad ? "no memory left" : NULL;
}

const char *saslc_accepted(const struct saslc *l)
{
	return l->proven ? NULL : "the server says yes without having shown that it knows the password";
}
