/* Mechanisms are rows; each is a function that is called with one response after the other. */
#include "auth/sasl.h"

#include <stdlib.h>
#include <string.h>

#include "lib/codec.h"
#include "lib/rand.h"

enum { NONCE = 18 };                    /* octets of chance in ours */

struct sasl {
	const struct mechanism *mechanism;
	struct sasl_server server;
	unsigned step;
	char user[USER_NAME_MAX + 1], password[PASSWORD_MAX + 1];
	const char *why;
	/* SCRAM */
	struct scram_verifier verifier;
	bool known;                     /* the verifier is somebody's */
	char nonce[256];
	struct buf header;              /* gs2-header, as sent */
	struct buf auth;                /* AuthMessage, as far as it is known */
};

static enum sasl_next failed(struct sasl *s, const char *why)
{
	s->why = why;
	return SASL_FAILED;
}

static enum sasl_next malformed(struct sasl *s, const char *why)
{
	s->why = why;
	return SASL_MALFORMED;
}

static const struct user *account(const struct sasl *s) { return users_find(s->server.users, str_of(s->user)); }

/* ---- PLAIN and LOGIN */

static enum sasl_next take_user(struct sasl *s, struct str user)
{
	return user.n && str_copy(s->user, sizeof s->user, user) ? SASL_MORE : malformed(s, "no name, or one that is too long");
}

static enum sasl_next check(struct sasl *s, struct str password)
{
	if (!password.n || !str_copy(s->password, sizeof s->password, password))
		return malformed(s, "no password, or one that is too long");
	return SASL_CHECK;
}

static enum sasl_next plain(struct sasl *s, struct str in, struct buf *out)
{
	struct str for_whom, user;

	(void)out;
	if (!str_cut(&in, '\0', &for_whom) || !str_cut(&in, '\0', &user))
		return malformed(s, "not two NULs in the response");
	if (for_whom.n && !str_eq(for_whom, user))
		return failed(s, "to act for somebody else is not allowed");
	return take_user(s, user) == SASL_MORE ? check(s, in) : SASL_MALFORMED;
}

static enum sasl_next login(struct sasl *s, struct str in, struct buf *out)
{
	switch (s->step++) {
	case 0:
		if (in.n)               /* an initial response is the name (draft-murchison-sasl-login) */
			return login(s, in, out);
		buf_puts(out, "Username:");
		return SASL_MORE;
	case 1:
		buf_puts(out, "Password:");
		return take_user(s, in);
	default:
		return check(s, in);
	}
}

/* ---- SCRAM */

/* RFC 5802 5.1: "=2C" is a comma, "=3D" is "=". */
static bool take_name(struct sasl *s, struct str in)
{
	size_t n = 0;

	for (size_t i = 0; i < in.n; i++) {
		char c = in.p[i];

		if (c == '=') {
			struct str code = { in.p + i, in.n - i < 3 ? in.n - i : 3 };

			if (!str_eq_nocase(code, STR("=2C")) && !str_eq_nocase(code, STR("=3D")))
				return false;
			c = code.p[1] == '2' ? ',' : '=';
			i += 2;
		}
		if (!c || n == USER_NAME_MAX)
			return false;
		s->user[n++] = c;
	}
	s->user[n] = '\0';
	return n > 0;
}

static bool nonce_ok(struct str nonce)
{
	for (size_t i = 0; i < nonce.n; i++)
		if (nonce.p[i] <= 0x20 || nonce.p[i] >= 0x7f || nonce.p[i] == ',')
			return false;
	return nonce.n > 0 && nonce.n <= 200;
}

/* RFC 5802 6 and 7: "n,," "y,," or "p=tls-server-end-point,,"; behind it the rest of the message. */
static const char *take_header(struct sasl *s, struct str *in, bool plus)
{
	const char *begin = in->p;
	struct str flag, for_whom;

	if (!str_cut(in, ',', &flag) || !str_cut(in, ',', &for_whom))
		return "no header";
	if (!buf_add(&s->header, begin, (size_t)(in->p - begin)))
		return "no memory";
	if (for_whom.n)
		return "to act for somebody else is not allowed";
	if (plus)
		return str_eq(flag, STR("p=tls-server-end-point")) ? NULL : "another channel binding than the one we have";
	/* y: the client could bind and believes that we cannot. If we had offered it, somebody in between took it away. */
	if (str_eq(flag, STR("y")))
		return s->server.binding.n ? "channel binding was offered, and taken out on the way" : NULL;
	return str_eq(flag, STR("n")) ? NULL : "a channel binding without -PLUS";
}

/* Nobody of that name has a salt too, always the same one, as long as those of others and for as many rounds: who exists cannot be asked.
 * It comes of a secret that all processes know and no client does. */
static void invent(struct sasl *s, enum hash h)
{
	unsigned char salt[HASH_MAX];
	struct scram_verifier other;

	if (!users_first_scram(s->server.users, h, &other)) {
		other = (struct scram_verifier){ .iterations = SCRAM_ITERATIONS, .salt_n = 16 };
		rand_bytes(other.stored, sizeof other.stored);
	}
	hmac_of(HASH_SHA512, (struct str){ (const char *)other.stored, hash_size(h) }, str_of(s->user), salt);
	s->verifier = (struct scram_verifier){ .hash = h, .iterations = other.iterations, .salt_n = other.salt_n };
	memcpy(s->verifier.salt, salt, other.salt_n);
	rand_bytes(s->verifier.stored, sizeof s->verifier.stored);
}

static enum sasl_next scram_first(struct sasl *s, enum hash h, bool plus, struct str in, struct buf *out)
{
	const char *wrong = take_header(s, &in, plus);
	struct str bare = in, name, nonce;
	unsigned char ours[NONCE];
	struct buf text = { 0 };
	const struct user *u;

	if (wrong)
		return failed(s, wrong);
	if (in.n > 1 && in.p[0] == 'm')
		return failed(s, "an extension that we do not know");
	if (!scram_attribute(&in, 'n', &name) || !scram_attribute(&in, 'r', &nonce) || !take_name(s, name) || !nonce_ok(nonce))
		return malformed(s, "no name or no nonce");
	u = account(s);
	s->known = u && scram_parse(u->secret, &s->verifier) && s->verifier.hash == h;
	if (!s->known)
		invent(s, h);
	rand_bytes(ours, sizeof ours);
	buf_str(&text, nonce);
	base64_encode(&text, ours, sizeof ours);
	str_copy(s->nonce, sizeof s->nonce, buf_view(&text));
	buf_free(&text);
	buf_printf(out, "r=%s,s=", s->nonce);
	base64_encode(out, s->verifier.salt, s->verifier.salt_n);
	buf_printf(out, ",i=%u", s->verifier.iterations);
	buf_str(&s->auth, bare);
	buf_char(&s->auth, ',');
	buf_str(&s->auth, buf_view(out));
	return out->bad || s->auth.bad ? failed(s, "no memory") : SASL_MORE;
}

static bool binding_agrees(const struct sasl *s, struct str said, bool plus)
{
	unsigned char octets[1024];
	size_t n = sizeof octets, h = s->header.n;

	if (!base64_decode(said, octets, &n) || n < h || memcmp(octets, s->header.p, h) != 0)
		return false;
	if (!plus)
		return n == h;
	return n - h == s->server.binding.n && octets_same(octets + h, s->server.binding.p, n - h);
}

/* RFC 5802 3: what hashes to StoredKey, once the signature is taken off the proof, is the ClientKey. */
static bool proof_agrees(struct sasl *s, struct str said)
{
	size_t size = hash_size(s->verifier.hash), n = HASH_MAX;
	unsigned char proof[HASH_MAX], signature[HASH_MAX], key[HASH_MAX];

	if (!base64_decode(said, proof, &n) || n != size)
		return false;
	hmac_of(s->verifier.hash, (struct str){ (const char *)s->verifier.stored, size }, buf_view(&s->auth), signature);
	for (size_t i = 0; i < size; i++)
		proof[i] ^= signature[i];
	hash_of(s->verifier.hash, (struct str){ (const char *)proof, size }, key);
	return octets_same(key, s->verifier.stored, size) && s->known;
}

static enum sasl_next scram_final(struct sasl *s, bool plus, struct str in, struct buf *out)
{
	struct str whole = in, before = in, binding, nonce, proof;
	unsigned char signature[HASH_MAX];

	if (!scram_attribute(&in, 'c', &binding) || !scram_attribute(&in, 'r', &nonce))
		return malformed(s, "no binding or no nonce");
	if (!str_cut_last(&whole, ',', &before) || whole.n < 2 || whole.p[0] != 'p' || whole.p[1] != '=')
		return malformed(s, "no proof");
	proof = str_from(whole, 2);
	buf_char(&s->auth, ',');
	if (!buf_str(&s->auth, before))
		return failed(s, "no memory");
	if (!str_eq(nonce, str_of(s->nonce)))
		return failed(s, "another nonce than ours");
	if (!binding_agrees(s, binding, plus))
		return failed(s, "the channel binding does not agree: somebody may be in between");
	if (!proof_agrees(s, proof))
		return failed(s, s->known ? "wrong password" : "no such user");
	hmac_of(s->verifier.hash, (struct str){ (const char *)s->verifier.server, hash_size(s->verifier.hash) }, buf_view(&s->auth), signature);
	buf_puts(out, "v=");
	base64_encode(out, signature, hash_size(s->verifier.hash));
	return out->bad ? failed(s, "no memory") : SASL_PROVED;
}

static enum sasl_next scram(struct sasl *s, enum hash h, bool plus, struct str in, struct buf *out)
{
	switch (s->step++) {
	case 0: return scram_first(s, h, plus, in, out);
	case 1: return scram_final(s, plus, in, out);
	default: return in.n ? malformed(s, "more than was asked for") : SASL_OK;       /* RFC 4954 4: an empty line takes the signature */
	}
}

static enum sasl_next scram_1(struct sasl *s, struct str in, struct buf *out) { return scram(s, HASH_SHA1, false, in, out); }
static enum sasl_next scram_1_plus(struct sasl *s, struct str in, struct buf *out) { return scram(s, HASH_SHA1, true, in, out); }
static enum sasl_next scram_256(struct sasl *s, struct str in, struct buf *out) { return scram(s, HASH_SHA256, false, in, out); }
static enum sasl_next scram_256_plus(struct sasl *s, struct str in, struct buf *out) { return scram(s, HASH_SHA256, true, in, out); }

/* ---- mechanisms, the best first */

static const struct mechanism {
	const char *name;
	enum sasl_next (*take)(struct sasl *, struct str, struct buf *out);
	bool client_first;
	bool plus;                              /* needs a channel to bind to */
	bool needs_verifier;
	enum hash hash;                         /* of the verifier */
} mechanisms[] = {
	{ "SCRAM-SHA-256-PLUS", scram_256_plus, true, true, true, HASH_SHA256 },
	{ "SCRAM-SHA-256", scram_256, true, false, true, HASH_SHA256 },
	{ "SCRAM-SHA-1-PLUS", scram_1_plus, true, true, true, HASH_SHA1 },
	{ "SCRAM-SHA-1", scram_1, true, false, true, HASH_SHA1 },
	{ "PLAIN", plain, true, false, false, HASH_KINDS },
	{ "LOGIN", login, false, false, false, HASH_KINDS },
};
enum { MECHANISMS = sizeof mechanisms / sizeof *mechanisms };

/* Nothing in clear, SCRAM neither: what is sent after it could be changed on the way. */
static bool usable(const struct mechanism *m, const struct sasl_server *server)
{
	if (!server->tls || (m->plus && !server->binding.n))
		return false;
	return !m->needs_verifier || users_have_scram(server->users, m->hash);
}

void sasl_mechanisms(const struct sasl_server *server, struct buf *out)
{
	for (size_t i = 0; i < MECHANISMS; i++)
		if (usable(&mechanisms[i], server))
			buf_printf(out, " %s", mechanisms[i].name);
}

struct sasl *sasl_begin(struct str name, const struct sasl_server *server, bool *needs_tls)
{
	struct sasl_server inside = *server;
	struct sasl *s;

	inside.tls = true;
	*needs_tls = false;
	for (size_t i = 0; i < MECHANISMS; i++) {
		if (!str_eq_nocase(name, str_of(mechanisms[i].name)))
			continue;
		*needs_tls = !usable(&mechanisms[i], server) && usable(&mechanisms[i], &inside);
		s = usable(&mechanisms[i], server) ? calloc(1, sizeof *s) : NULL;
		if (s) {
			s->mechanism = &mechanisms[i];
			s->server = *server;
			s->why = "";
			s->header.max = 1024;
			s->auth.max = 4096;
		}
		return s;
	}
	return NULL;
}

void sasl_free(struct sasl *s)
{
	if (!s)
		return;
	buf_free(&s->header);
	buf_free(&s->auth);
	explicit_bzero(s, sizeof *s);
	free(s);
}

bool sasl_client_first(const struct sasl *s) { return s->mechanism->client_first; }

enum sasl_next sasl_take(struct sasl *s, struct str in, struct buf *out)
{
	buf_clear(out);
	return s->mechanism->take(s, in, out);
}

const char *sasl_name(const struct sasl *s) { return s->mechanism->name; }
const char *sasl_user(const struct sasl *s) { return s->user; }
const char *sasl_why(const struct sasl *s) { return s->why; }
struct str sasl_password(const struct sasl *s) { return str_of(s->password); }

struct str sasl_secret(const struct sasl *s)
{
	const struct user *u = account(s);

	return u ? u->secret : STR("");
}
