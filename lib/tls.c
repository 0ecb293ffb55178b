/* BearSSL behind lib/tls.h: both engines, the choice of a certificate, and its errors in words. */
#include "lib/tls.h"

#include <assert.h>
#include <bearssl.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/list.h"
#include "lib/log.h"
#include "lib/rand.h"
#include "lib/x509.h"

enum {
	IN = BR_SSL_BUFSIZE_INPUT,              /* peers send records of 16 kB whatever we wish */
	OUT_SERVER = 2048 + 85,                 /* replies are short */
	OUT_CLIENT = BR_SSL_BUFSIZE_OUTPUT,     /* messages are not; and a smaller one would be announced (RFC 6066 4) */
	CACHE = 32768,                          /* about 320 sessions to resume */
	FILE_MAX = 1 << 18,
	BUNDLE_MAX = 4 << 20,                   /* Debian's has 220 kB */
	SEED = 32
};

/* ---- cipher suites */

/* ECDHE alone: no key that leaks later opens what was recorded today. ChaCha20 is five times slower than AES-GCM where the
 * processor has instructions for AES, and faster elsewhere. CBC is for peers of the time before 2012: better than no TLS. */
#define CHACHA BR_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, BR_TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
#define GCM BR_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, BR_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, \
	BR_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, BR_TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
#define CBC BR_TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256, BR_TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256, \
	BR_TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, BR_TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, \
	BR_TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, BR_TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA
static const uint16_t gcm_first[] = { GCM, CHACHA, CBC }, chacha_first[] = { CHACHA, GCM, CBC };

static const struct { uint16_t suite; const char *name; } suite_names[] = {
#define SUITE(x) { BR_##x, #x }
	SUITE(TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256), SUITE(TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
	SUITE(TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384), SUITE(TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
	SUITE(TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256), SUITE(TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
	SUITE(TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256), SUITE(TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256),
	SUITE(TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA), SUITE(TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA),
	SUITE(TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA), SUITE(TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA),
#undef SUITE
};

/* ---- structs */

/* A file as it was when it was read. */
struct stamp {
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec changed, written;
};

struct shown {
	struct tls_files files;
	struct stamp seen[2];
	bool tried, good;                       /* good: pair is what the files hold */
	char why[600];                          /* it is not */
	struct x509_pair *pair;                 /* the last good one, or NULL */
};

struct tls_server {
	unsigned holders;
	br_ssl_session_cache_lru cache;
	unsigned char *cached;
	size_t n;
	struct shown shown[];
};

struct tls {
	br_ssl_engine_context *engine;
	bool ready, server;
	char words[160];
};

struct server_side {
	struct tls tls;
	const br_ssl_server_policy_class *policy;
	struct tls_server *server;
	struct x509_pair *pair;                 /* chosen, held */
	br_ssl_server_context context;
	unsigned char in[IN], out[OUT_SERVER];
};

struct client_side {
	struct tls tls;
	union {
		struct x509_any any;
		struct x509_pinned pinned;
		br_x509_minimal_context trusting;
	} x509;
	bool is_pinned;
	br_ssl_client_context context;
	unsigned char in[IN], out[OUT_CLIENT];
};

/* ---- pairs and their files */

static struct stamp stamp_of(const char *path)
{
	struct stamp s;
	struct stat st;

	memset(&s, 0, sizeof s);
	if (file_stat(path, &st) == -1)
		return s;
	s.dev = st.st_dev;
	s.ino = st.st_ino;
	s.size = st.st_size;
	s.changed = st.st_ctim;
	s.written = st.st_mtim;
	return s;
}

static bool same_time(struct timespec a, struct timespec b) { return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec; }

static bool same_stamp(const struct stamp *a, const struct stamp *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->size == b->size && same_time(a->changed, b->changed) &&
		same_time(a->written, b->written);
}

static struct x509_pair *read_pair(const struct tls_files *f, char *why, size_t size)
{
	struct buf chain = { .max = FILE_MAX }, key = { .max = FILE_MAX };
	struct x509_pair *pair = NULL;
	char detail[300];

	if (file_read_all(AT_FDCWD, f->certificate, &chain) == -1)
		snprintf(why, size, "%s: %s", f->certificate, strerror(errno));
	else if (file_read_all(AT_FDCWD, f->key, &key) == -1)
		snprintf(why, size, "%s: %s", f->key, strerror(errno));
	else if (!(pair = x509_pair_read(buf_view(&chain), buf_view(&key), detail, sizeof detail)))
		snprintf(why, size, "%s with %s: %s", f->certificate, f->key, detail);
	if (key.p)
		explicit_bzero(key.p, key.room);
	buf_free(&key);
	buf_free(&chain);
	return pair;
}

static void refresh(struct shown *s)
{
	struct stamp now[2] = { stamp_of(s->files.certificate), stamp_of(s->files.key) };
	struct x509_pair *pair;

	if (s->tried && same_stamp(&now[0], &s->seen[0]) && same_stamp(&now[1], &s->seen[1]))
		return;
	s->seen[0] = now[0];
	s->seen[1] = now[1];
	pair = read_pair(&s->files, s->why, sizeof s->why);
	s->good = pair != NULL;
	if (!pair) {
		log_text(LOG_ERROR, "tls-certificate", "%s. %s", s->why, s->pair ? "The one read before stays in use" :
			"It cannot be used");
	} else {
		if (s->tried)
			log_text(LOG_INFO, "tls-certificate", "%s has been read again", s->files.certificate);
		x509_pair_drop(s->pair);
		s->pair = pair;
	}
	s->tried = true;
}

bool tls_server_refresh(struct tls_server *server, char *why, size_t size)
{
	const struct shown *bad = NULL;

	for (size_t i = 0; i < server->n; i++) {
		refresh(&server->shown[i]);
		if (!server->shown[i].good && !bad)
			bad = &server->shown[i];
	}
	if (bad)
		snprintf(why, size, "%s", bad->why);
	return !bad;
}

struct tls_server *tls_server_new(const struct tls_files *files, size_t n)
{
	struct tls_server *server = calloc(1, sizeof *server + n * sizeof server->shown[0]);

	if (!server)
		return NULL;
	server->cached = malloc(CACHE);
	if (!server->cached) {
		free(server);
		return NULL;
	}
	br_ssl_session_cache_lru_init(&server->cache, server->cached, CACHE);
	server->holders = 1;
	server->n = n;
	for (size_t i = 0; i < n; i++) {
		struct tls_files *own = &server->shown[i].files;

		*own = (struct tls_files){ strdup(files[i].certificate), strdup(files[i].key) };
		if (own->certificate && own->key)
			continue;
		tls_server_free(server);
		return NULL;
	}
	return server;
}

void tls_server_free(struct tls_server *server)
{
	if (!server || --server->holders)
		return;
	for (size_t i = 0; i < server->n; i++) {
		x509_pair_drop(server->shown[i].pair);
		free((char *)(uintptr_t)server->shown[i].files.certificate);
		free((char *)(uintptr_t)server->shown[i].files.key);
	}
	explicit_bzero(server->cached, CACHE);
	free(server->cached);
	free(server);
}

bool tls_check(const struct tls_files *files, const char *host, struct tls_about *about, char *why, size_t size)
{
	struct x509_pair *pair = read_pair(files, why, size);

	if (!pair)
		return false;
	*about = (struct tls_about){
		.names_host = x509_pair_is_for(pair, str_of(host)), .not_before = pair->not_before, .not_after = pair->not_after,
		.rsa_bits = pair->type == BR_KEYTYPE_RSA ? (unsigned)pair->rsa.n_bitlen : 0,
	};
	x509_pair_drop(pair);
	return true;
}

/* ---- whom a client believes */

struct tls_trust {
	const char *path;                       /* NULL: to be found */
	char *said;                             /* that it is; or NULL */
	bool read;
	struct x509_anchors anchors;
	char why[300];
};

static const char *const bundles[] = {
	"/etc/ssl/certs/ca-certificates.crt",   /* Debian, OpenWrt, Arch */
	"/etc/ssl/cert.pem",                    /* Alpine, BSD */
	"/etc/pki/tls/certs/ca-bundle.crt",     /* Fedora */
	"/etc/ssl/ca-bundle.pem",               /* SUSE */
};

struct tls_trust *tls_trust_new(const char *path)
{
	struct tls_trust *t = calloc(1, sizeof *t);

	if (!t || !path)
		return t;
	t->path = t->said = strdup(path);
	if (t->path)
		return t;
	free(t);
	return NULL;
}

void tls_trust_free(struct tls_trust *t)
{
	if (!t)
		return;
	x509_anchors_free(&t->anchors);
	free(t->said);
	free(t);
}

const char *tls_trust_path(const struct tls_trust *t) { return t->path ? t->path : ""; }

static bool read_bundle(struct tls_trust *t)
{
	struct buf text = { .max = BUNDLE_MAX };
	char detail[100] = "holds no certificate in PEM";
	bool ok;

	for (size_t i = 0; !t->path && i < sizeof bundles / sizeof *bundles; i++)
		if (access(bundles[i], R_OK) == 0)
			t->path = bundles[i];
	if (!t->path) {
		snprintf(t->why, sizeof t->why, "this system has no certificates of authorities. Install ca-certificates, or set tls_ca");
		return false;
	}
	if (file_read_all(AT_FDCWD, t->path, &text) == -1) {
		snprintf(t->why, sizeof t->why, "%.200s: %s", t->path, strerror(errno));
		buf_free(&text);
		return false;
	}
	ok = x509_anchors_add(&t->anchors, buf_view(&text), detail, sizeof detail) && t->anchors.n;
	if (!ok) {
		snprintf(t->why, sizeof t->why, "%.180s %s", t->path, detail);
		x509_anchors_free(&t->anchors);
	}
	buf_free(&text);
	return ok;
}

size_t tls_trust_read(struct tls_trust *t, char *why, size_t size)
{
	/* What failed is tried again: the file may have come in the meantime. */
	if (!t->read)
		t->read = read_bundle(t);
	if (!t->read)
		snprintf(why, size, "%s", t->why);
	return t->read ? t->anchors.n : 0;
}

/* ---- the server's policy: which certificate, and signing with its key */

static struct server_side *side_of(const br_ssl_server_policy_class **p) { return owner_of(p, struct server_side, policy); }

/* BearSSL's number of the best hash in a set, 0: none. */
static unsigned best_hash(unsigned set)
{
	static const unsigned char best_first[] = { br_sha256_ID, br_sha384_ID, br_sha512_ID, br_sha224_ID, br_sha1_ID };

	for (size_t i = 0; i < sizeof best_first; i++)
		if (set >> best_first[i] & 1)
			return best_first[i];
	return 0;
}

/* Can the client verify what this key signs under this suite? The hash to do it with, or 0. */
static unsigned verifiable(const br_ssl_server_context *c, const struct x509_pair *pair, unsigned key_exchange)
{
	unsigned hashes = br_ssl_server_get_client_hashes(c);

	if (key_exchange == BR_SSLKEYX_ECDHE_RSA && pair->type == BR_KEYTYPE_RSA)
		return best_hash(hashes & 0xff);
	/* OpenSSL ends the handshake over a certificate on a curve that it did not list. */
	if (key_exchange == BR_SSLKEYX_ECDHE_ECDSA && pair->type == BR_KEYTYPE_EC &&
	    br_ssl_server_get_client_curves(c) >> pair->ec.curve & 1)
		return best_hash(hashes >> 8 & 0xff);
	return 0;
}

/* The first suite, in our order, for which a pair can be shown; only pairs for `name` count when there is one. */
static bool choose_for(struct server_side *s, const br_ssl_server_context *c, struct str name, br_ssl_server_choices *out)
{
	size_t n;
	const br_suite_translated *suite = br_ssl_server_get_client_suites(c, &n);

	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < s->server->n; k++) {
			struct x509_pair *pair = s->server->shown[k].pair;
			unsigned hash;

			if (!pair || (name.n && !x509_pair_is_for(pair, name)))
				continue;
			hash = verifiable(c, pair, suite[i][1] >> 12);
			if (!hash)
				continue;
			x509_pair_drop(s->pair);
			s->pair = x509_pair_hold(pair);
			out->cipher_suite = suite[i][0];
			out->algo_id = 0xff00 + hash;
			out->chain = pair->chain;
			out->chain_len = pair->n;
			return true;
		}
	}
	return false;
}

static int choose(const br_ssl_server_policy_class **policy, const br_ssl_server_context *c, br_ssl_server_choices *out)
{
	struct server_side *s = side_of(policy);
	struct str name = str_of(br_ssl_engine_get_server_name(&c->eng));

	/* Mail clients ask for odd names; RFC 6066 3 lets us go on, and most of them look at no name at all. */
	return (name.n && choose_for(s, c, name, out)) || choose_for(s, c, STR(""), out);
}

/* Only for suites without forward secrecy, which are never chosen. */
static uint32_t do_keyx(const br_ssl_server_policy_class **policy, unsigned char *data, size_t *n)
{
	(void)policy;
	(void)data;
	(void)n;
	return 0;
}

static const struct { const br_hash_class *hash; const unsigned char *oid; } hashes[] = {
	[br_sha1_ID] = { &br_sha1_vtable, BR_HASH_OID_SHA1 }, [br_sha224_ID] = { &br_sha224_vtable, BR_HASH_OID_SHA224 },
	[br_sha256_ID] = { &br_sha256_vtable, BR_HASH_OID_SHA256 }, [br_sha384_ID] = { &br_sha384_vtable, BR_HASH_OID_SHA384 },
	[br_sha512_ID] = { &br_sha512_vtable, BR_HASH_OID_SHA512 },
};

static unsigned signatures;

unsigned tls_signatures(void) { return signatures; }

/* The hash comes and the signature goes in the same octets. */
static size_t do_sign(const br_ssl_server_policy_class **policy, unsigned algo, unsigned char *data, size_t hash_n, size_t room)
{
	const struct x509_pair *pair = side_of(policy)->pair;
	unsigned char hash[64];
	unsigned id = algo & 0xff;
	size_t n;

	if (algo < 0xff00 || id >= sizeof hashes / sizeof *hashes || !hashes[id].hash || hash_n > sizeof hash)
		return 0;
	memcpy(hash, data, hash_n);
	signatures++;
	if (pair->type == BR_KEYTYPE_EC)
		return room < 139 ? 0 : br_ecdsa_sign_asn1_get_default()(br_ec_get_default(), hashes[id].hash, hash, &pair->ec, data);
	n = (pair->rsa.n_bitlen + 7) / 8;
	if (n > room || !br_rsa_pkcs1_sign_get_default()(hashes[id].oid, hash, hash_n, &pair->rsa, data))
		return 0;
	return n;
}

static const br_ssl_server_policy_class policy_class = { sizeof(struct server_side), choose, do_keyx, do_sign };

/* ---- beginning and end */

static bool aes_is_fast(void)
{
	return br_aes_x86ni_ctr_get_vtable() || br_aes_pwr8_ctr_get_vtable();
}

static void set_up(br_ssl_engine_context *e)
{
	unsigned char seed[SEED];

	if (aes_is_fast())
		br_ssl_engine_set_suites(e, gcm_first, sizeof gcm_first / sizeof *gcm_first);
	else
		br_ssl_engine_set_suites(e, chacha_first, sizeof chacha_first / sizeof *chacha_first);
	br_ssl_engine_set_versions(e, BR_TLS12, BR_TLS12);
	br_ssl_engine_set_all_flags(e, BR_OPT_NO_RENEGOTIATION | BR_OPT_ENFORCE_SERVER_PREFERENCES);
	/* Otherwise it would open /dev/urandom, which a chroot has not. */
	rand_bytes(seed, sizeof seed);
	br_ssl_engine_inject_entropy(e, seed, sizeof seed);
	explicit_bzero(seed, sizeof seed);
}

static bool any_pair(const struct tls_server *server)
{
	for (size_t i = 0; i < server->n; i++)
		if (server->shown[i].pair)
			return true;
	return false;
}

struct tls *tls_accept(struct tls_server *server)
{
	struct server_side *s;
	char why[8];

	tls_server_refresh(server, why, sizeof why);
	if (!any_pair(server)) {
		errno = ENOENT;
		return NULL;
	}
	s = malloc(sizeof *s);
	if (!s)
		return NULL;
	memset(s, 0, offsetof(struct server_side, in));
	br_ssl_server_init_full_rsa(&s->context, NULL, 0, NULL);        /* its algorithms; the key is the policy's business */
	s->tls.engine = &s->context.eng;
	s->tls.server = true;
	s->policy = &policy_class;
	s->server = server;
	server->holders++;
	set_up(&s->context.eng);
	br_ssl_server_set_policy(&s->context, &s->policy);
	br_ssl_server_set_cache(&s->context, &server->cache.vtable);
	br_ssl_engine_set_buffers_bidi(&s->context.eng, s->in, sizeof s->in, s->out, sizeof s->out);
	if (br_ssl_server_reset(&s->context))
		return &s->tls;
	tls_free(&s->tls);
	errno = EIO;
	return NULL;
}

/* False: errno. */
static bool trust_known(const char *name, struct tls_trust *trust)
{
	char why[300];

	/* BearSSL 0.6 compares no name when it is given none. */
	errno = !trust ? 0 : !name || !*name ? EINVAL : !tls_trust_read(trust, why, sizeof why) ? ENOENT : 0;
	return errno == 0;
}

/* many: more is demanded than trust. */
static struct tls *connect_to(const char *name, struct tls_trust *trust, const struct tls_demands *many)
{
	static br_x509_minimal_context unused;  /* which the set-up asks for; our own class takes its place */
	struct client_side *c = trust_known(name, trust) ? malloc(sizeof *c) : NULL;

	if (!c)
		return NULL;
	memset(c, 0, offsetof(struct client_side, in));
	if (trust && !many)
		br_ssl_client_init_full(&c->context, &c->x509.trusting, trust->anchors.at, trust->anchors.n);
	else
		br_ssl_client_init_full(&c->context, &unused, NULL, 0);
	c->tls.engine = &c->context.eng;
	set_up(&c->context.eng);
	if (many) {
		c->is_pinned = true;
		x509_pinned_init(&c->x509.pinned, many, trust ? &trust->anchors : NULL, name);
		br_ssl_engine_set_x509(&c->context.eng, &c->x509.pinned.any.vtable);
	} else if (!trust) {
		x509_any_init(&c->x509.any);
		br_ssl_engine_set_x509(&c->context.eng, &c->x509.any.vtable);
	}
	br_ssl_engine_set_buffers_bidi(&c->context.eng, c->in, sizeof c->in, c->out, sizeof c->out);
	/* Nothing is resumed: a session made under one demand must not serve another. */
	if (br_ssl_client_reset(&c->context, name, 0))
		return &c->tls;
	tls_free(&c->tls);
	errno = EINVAL;
	return NULL;
}

struct tls *tls_connect(const char *name, struct tls_trust *trust) { return connect_to(name, trust, NULL); }

struct tls *tls_connect_pinned(const char *name, const struct tls_demands *d)
{
	errno = EINVAL;
	return !d->pins || (name && *name) ? connect_to(name, d->trust, d) : NULL;
}

void tls_free(struct tls *t)
{
	if (!t)
		return;
	if (t->server) {
		struct server_side *s = owner_of(t, struct server_side, tls);

		x509_pair_drop(s->pair);
		tls_server_free(s->server);
		explicit_bzero(s, sizeof *s);
	} else {
		struct client_side *c = owner_of(t, struct client_side, tls);

		if (c->is_pinned)
			x509_pinned_free(&c->x509.pinned);
		explicit_bzero(c, sizeof *c);
	}
	free(t);        /* the first member of both */
}

size_t tls_footprint(bool server) { return server ? sizeof(struct server_side) : sizeof(struct client_side); }

/* ---- octets */

unsigned char *tls_space(struct tls *t, size_t *n) { return br_ssl_engine_recvrec_buf(t->engine, n); }
void tls_came(struct tls *t, size_t n) { br_ssl_engine_recvrec_ack(t->engine, n); }
const unsigned char *tls_wire(struct tls *t, size_t *n) { return br_ssl_engine_sendrec_buf(t->engine, n); }
void tls_sent(struct tls *t, size_t n) { br_ssl_engine_sendrec_ack(t->engine, n); }
const unsigned char *tls_text(struct tls *t, size_t *n) { return br_ssl_engine_recvapp_buf(t->engine, n); }
void tls_taken(struct tls *t, size_t n) { br_ssl_engine_recvapp_ack(t->engine, n); }

size_t tls_put(struct tls *t, const void *p, size_t n)
{
	size_t room;
	unsigned char *to = br_ssl_engine_sendapp_buf(t->engine, &room);

	if (!to)
		return 0;
	if (n > room)
		n = room;
	memcpy(to, p, n);
	br_ssl_engine_sendapp_ack(t->engine, n);
	return n;
}

void tls_push(struct tls *t) { br_ssl_engine_flush(t->engine, 0); }

void tls_close(struct tls *t)
{
	size_t n;

	/* BearSSL 0.6 stands still for ever when it is closed over text that nobody took. */
	while (tls_text(t, &n))
		tls_taken(t, n);
	br_ssl_engine_close(t->engine);
}

/* ---- state */

bool tls_over(struct tls *t) { return br_ssl_engine_current_state(t->engine) & BR_SSL_CLOSED; }

bool tls_ready(struct tls *t)
{
	if (!t->ready)
		t->ready = br_ssl_engine_current_state(t->engine) & (BR_SSL_SENDAPP | BR_SSL_RECVAPP);
	return t->ready;
}

const char *tls_version(const struct tls *t)
{
	(void)t;
	return "TLSv1.2";                       /* there is no other */
}

const char *tls_cipher(const struct tls *t)
{
	br_ssl_session_parameters session;
	uint16_t suite;

	br_ssl_engine_get_session_parameters(t->engine, &session);
	suite = session.cipher_suite;
	explicit_bzero(&session, sizeof session);
	for (size_t i = 0; i < sizeof suite_names / sizeof *suite_names; i++)
		if (suite_names[i].suite == suite)
			return suite_names[i].name;
	return "unknown";
}

bool tls_resumed(const struct tls *t)
{
	return t->ready && br_ssl_engine_get_ecdhe_curve(t->engine) == 0;
}

/* RFC 5929 4.1: the hash of the certificate by the function of its signature; SHA-256 for the weak ones. A resumed connection has
 * shown no certificate. */
size_t tls_end_point(const struct tls *t, unsigned char out[64])
{
	const struct server_side *s = owner_of(t, const struct server_side, tls);
	br_x509_decoder_context d;
	br_hash_compat_context h;
	int id;

	if (!t->server || !t->ready || !s->pair || tls_resumed(t))
		return 0;
	br_x509_decoder_init(&d, NULL, NULL);
	br_x509_decoder_push(&d, s->pair->chain[0].data, s->pair->chain[0].data_len);
	id = br_x509_decoder_get_signer_hash_id(&d);
	if (id == br_md5_ID || id == br_sha1_ID)
		id = br_sha256_ID;
	if (id != br_sha256_ID && id != br_sha384_ID && id != br_sha512_ID)
		return 0;
	hashes[id].hash->init(&h.vtable);
	hashes[id].hash->update(&h.vtable, s->pair->chain[0].data, s->pair->chain[0].data_len);
	hashes[id].hash->out(&h.vtable, out);
	return hashes[id].hash->desc >> BR_HASHDESC_OUT_OFF & BR_HASHDESC_OUT_MASK;
}

/* ---- errors in words */

static const struct { int code; const char *words; } errors[] = {
	{ BR_ERR_UNSUPPORTED_VERSION, "what came is no TLS, or a version that this build has not (it has 1.2)" },
	{ BR_ERR_BAD_VERSION, "the TLS version changes within the connection" },
	{ BR_ERR_BAD_LENGTH, "a message of the handshake has a wrong length" },
	{ BR_ERR_TOO_LARGE, "a TLS record is too large" },
	{ BR_ERR_BAD_MAC, "a TLS record was damaged or forged" },
	{ BR_ERR_NO_RANDOM, "no random numbers" },
	{ BR_ERR_UNKNOWN_TYPE, "a TLS record of an unknown type" },
	{ BR_ERR_UNEXPECTED, "a TLS message that does not belong there" },
	{ BR_ERR_BAD_CCS, "a broken change of the cipher" },
	{ BR_ERR_BAD_ALERT, "a broken TLS alert" },
	{ BR_ERR_BAD_HANDSHAKE, "a broken TLS handshake" },
	{ BR_ERR_OVERSIZED_ID, "a session id that is too long" },
	{ BR_ERR_BAD_CIPHER_SUITE, "the peer chose a cipher suite that was not offered" },
	{ BR_ERR_BAD_COMPRESSION, "the peer chose compression" },
	{ BR_ERR_BAD_FRAGLEN, "the peer chose a record length that was not offered" },
	{ BR_ERR_BAD_SECRENEG, "a wrong renegotiation_info" },
	{ BR_ERR_EXTRA_EXTENSION, "the peer sent a TLS extension that was not offered" },
	{ BR_ERR_BAD_SNI, "a broken server name" },
	{ BR_ERR_BAD_HELLO_DONE, "a broken end of the server's hello" },
	{ BR_ERR_LIMIT_EXCEEDED, "a key of the peer is too large" },
	{ BR_ERR_BAD_FINISHED, "the two sides have seen different handshakes" },
	{ BR_ERR_RESUME_MISMATCH, "the resumed session is another one" },
	{ BR_ERR_INVALID_ALGORITHM, "the peer demands an algorithm that this build has not" },
	{ BR_ERR_BAD_SIGNATURE, "the peer's signature is wrong" },
	{ BR_ERR_WRONG_KEY_USAGE, "the peer's certificate is for another use" },
	{ BR_ERR_NO_CLIENT_AUTH, "the peer has no certificate" },
	{ BR_ERR_X509_EMPTY_CHAIN, "the peer has no certificate" },
	{ BR_ERR_X509_UNSUPPORTED, "the key of the peer's certificate is of a kind that this build has not" },
	{ BR_ERR_X509_LIMIT_EXCEEDED, "the key of the peer's certificate is too large" },
	{ BR_ERR_X509_EXPIRED, "the peer's certificate has expired or is not valid yet. If it is good elsewhere, look at the clock of this machine" },
	{ BR_ERR_X509_BAD_SERVER_NAME, "the peer's certificate is for another name" },
	{ BR_ERR_X509_NOT_TRUSTED, "the peer's certificate is from nobody who is trusted here" },
	{ X509_NOT_OWN, "the peer's certificate, or its key, has none of the fingerprints that the settings name" },
	{ X509_NOT_PINNED, "the peer's certificate is none of those that DNS names for it (TLSA)" },
	{ BR_ERR_X509_DN_MISMATCH, "the chain of the peer's certificates does not hold together" },
	{ BR_ERR_X509_NOT_CA, "the peer's certificate was made by one that is no authority" },
	{ BR_ERR_X509_BAD_SIGNATURE, "a signature among the peer's certificates is wrong" },
	{ BR_ERR_X509_CRITICAL_EXTENSION, "the peer's certificate has a critical extension that is not known here" },
	{ BR_ERR_X509_FORBIDDEN_KEY_USAGE, "the peer's certificate is for another use" },
	{ BR_ERR_X509_WEAK_PUBLIC_KEY, "a key among the peer's certificates is too weak" },
	{ BR_ERR_X509_WRONG_KEY_TYPE, "the key of the peer's certificate is of another kind than the cipher suite" },
};
static const struct { int code; const char *words; } alerts[] = {
	{ BR_ALERT_UNEXPECTED_MESSAGE, "unexpected message" }, { BR_ALERT_BAD_RECORD_MAC, "bad record" },
	{ BR_ALERT_RECORD_OVERFLOW, "record too large" },
	{ BR_ALERT_HANDSHAKE_FAILURE, "no version, cipher suite or kind of key in common" },
	{ BR_ALERT_BAD_CERTIFICATE, "bad certificate" }, { BR_ALERT_UNSUPPORTED_CERTIFICATE, "unsupported certificate" },
	{ BR_ALERT_CERTIFICATE_REVOKED, "certificate revoked" }, { BR_ALERT_CERTIFICATE_EXPIRED, "certificate expired" },
	{ BR_ALERT_CERTIFICATE_UNKNOWN, "certificate not accepted" }, { BR_ALERT_ILLEGAL_PARAMETER, "illegal parameter" },
	{ BR_ALERT_UNKNOWN_CA, "unknown CA" }, { BR_ALERT_ACCESS_DENIED, "access denied" }, { BR_ALERT_DECODE_ERROR, "decode error" },
	{ BR_ALERT_DECRYPT_ERROR, "decrypt error" }, { BR_ALERT_INSUFFICIENT_SECURITY, "insufficient security" },
	{ BR_ALERT_INTERNAL_ERROR, "internal error" }, { BR_ALERT_USER_CANCELED, "cancelled" },
};

static const char *alert_words(int code)
{
	for (size_t i = 0; i < sizeof alerts / sizeof *alerts; i++)
		if (alerts[i].code == code)
			return alerts[i].words;
	return "no name";
}

static void describe(struct tls *t, int error)
{
	int alert;

	if (error >= BR_ERR_SEND_FATAL_ALERT) {
		alert = error - BR_ERR_SEND_FATAL_ALERT;
		snprintf(t->words, sizeof t->words, "%s (we sent alert %d)", alert == BR_ALERT_PROTOCOL_VERSION ?
			"peer offers only versions before TLS 1.2" : alert == BR_ALERT_HANDSHAKE_FAILURE ?
			"no cipher suite or kind of key in common; peers that offer only TLS 1.3: this build has up to 1.2" :
			alert_words(alert), alert);
	} else if (error >= BR_ERR_RECV_FATAL_ALERT) {
		alert = error - BR_ERR_RECV_FATAL_ALERT;
		if (alert == BR_ALERT_PROTOCOL_VERSION)
			snprintf(t->words, sizeof t->words, "peer offers only TLS 1.3, this build has up to 1.2");
		else
			snprintf(t->words, sizeof t->words, "refused by the peer: %s (alert %d)", alert_words(alert), alert);
	} else {
		snprintf(t->words, sizeof t->words, error > 31 ? "the peer's certificate cannot be read (error %d)" : "TLS error %d", error);
		for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
			if (errors[i].code == error)
				snprintf(t->words, sizeof t->words, "%s", errors[i].words);
	}
}

const char *tls_error(struct tls *t)
{
	int error = br_ssl_engine_last_error(t->engine);

	if (!error || !tls_over(t))
		return NULL;
	if (!t->words[0])
		describe(t, error);
	return t->words;
}

enum tls_fault tls_fault(const struct tls *t)
{
	switch (br_ssl_engine_last_error(t->engine)) {
	case BR_ERR_X509_BAD_SERVER_NAME:
		return TLS_FAULT_HOST;
	case BR_ERR_X509_EXPIRED:
		return TLS_FAULT_EXPIRED;
	case BR_ERR_X509_NOT_TRUSTED:
	case BR_ERR_X509_DN_MISMATCH:
	case BR_ERR_X509_NOT_CA:
	case BR_ERR_X509_BAD_SIGNATURE:
	case BR_ERR_X509_CRITICAL_EXTENSION:
	case BR_ERR_X509_FORBIDDEN_KEY_USAGE:
	case BR_ERR_X509_WEAK_PUBLIC_KEY:
	case X509_NOT_PINNED:
	case X509_NOT_OWN:
		return TLS_FAULT_NOT_TRUSTED;
	default:
		return TLS_FAULT_OTHER;
	}
}
