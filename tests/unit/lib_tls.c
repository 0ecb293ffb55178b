/* lib/tls and lib/x509: what pairs load, which one is shown, what a handshake comes to with peers of all sorts. Both sides are
 * engines in memory; what a file of openssl's making looks like is in tests/pki. */
#include "lib/tls.h"

#include <bearssl.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/codec.h"
#include "lib/file.h"
#include "lib/log.h"
#include "lib/x509.h"

Suite *lib_tls_suite(void);

#define PKI(name) "tests/pki/" name

static void quiet(void) { log_threshold(LOG_ERROR); }
static void silent(void) { ck_assert_int_eq(log_open("/dev/null"), 0); }
static void loud(void) { ck_assert_int_eq(log_open("stderr"), 0); }

/* ---- pairs */

static const struct { const char *certificate, *key, *why; } pairs[] = {
	{ "rsa.crt", "rsa.key", NULL },
	{ "rsa.crt", "rsa-pkcs1.key", NULL },
	{ "ec.crt", "ec.key", NULL },
	{ "ec.crt", "ec-sec1.key", NULL },
	{ "ec-no-newline.crt", "ec-no-newline.key", NULL },
	{ "p384.crt", "p384.key", NULL },
	{ "p521.crt", "p521.key", NULL },
	{ "rsa1024.crt", "rsa1024.key", NULL },
	{ "expired.crt", "expired.key", NULL },                 /* a chain; what its dates mean is for others to say */
	{ "rsa512.crt", "rsa512.key", "512 bits" },
	{ "ec.crt", "other.key", "does not belong" },
	{ "ec.crt", "rsa.key", "does not belong" },
	{ "rsa.crt", "ec.key", "does not belong" },
	{ "p384.crt", "ec.key", "does not belong" },
	{ "ed25519.crt", "ed25519.key", "of a kind that cannot be used" },
	{ "ed25519.crt", "ec.key", "neither RSA nor EC" },
	{ "ec.crt", "encrypted.key", "openssl pkey" },
	{ "rsa.crt", "encrypted-pkcs1.key", "the key" },
	{ "ec-cut.crt", "ec.key", "the certificate ends in the middle" },
	{ "ec.key", "ec.key", "holds no certificate" },
	{ "ec.crt", "ec.crt", "holds no private key" },
	{ "make.sh", "ec.key", "holds no certificate" },
	{ "missing.crt", "ec.key", "missing.crt: No such file" },
	{ "ec.crt", "missing.key", "missing.key: No such file" },
};

START_TEST(a_pair_loads_or_says_why_not)
{
	char certificate[100], key[100], why[600] = "";
	struct tls_files f = { certificate, key };
	struct tls_about about;
	bool ok;

	snprintf(certificate, sizeof certificate, PKI("%s"), pairs[_i].certificate);
	snprintf(key, sizeof key, PKI("%s"), pairs[_i].key);
	ok = tls_check(&f, "mx.example.org", &about, why, sizeof why);
	ck_assert_msg(ok == !pairs[_i].why, "%s with %s: %s", certificate, key, ok ? "taken" : why);
	ck_assert_msg(ok || strstr(why, pairs[_i].why), "%s with %s: %s", certificate, key, why);
	ck_assert_msg(ok || strstr(why, "tests/pki/"), "no file is named: %s", why);
}
END_TEST

START_TEST(dates_and_key_sizes_are_read)
{
	struct tls_about about;
	char why[600];

	ck_assert(tls_check(&(struct tls_files){ PKI("expired.crt"), PKI("expired.key") }, "mx.example.org", &about, why, sizeof why));
	ck_assert_int_eq(about.not_before, 1577880000);
	ck_assert_int_eq(about.not_after, 1577966400);
	ck_assert_uint_eq(about.rsa_bits, 0);
	ck_assert(about.names_host);            /* by its common name */
	ck_assert(tls_check(&(struct tls_files){ PKI("rsa.crt"), PKI("rsa.key") }, "mx.example.com", &about, why, sizeof why));
	ck_assert_uint_eq(about.rsa_bits, 2048);
	ck_assert(!about.names_host);
	ck_assert_int_gt(about.not_after, 4000000000);          /* beyond 2049 the other form of a date is used */
}
END_TEST

static const struct { const char *pair, *name; bool is; } names[] = {
	{ "other", "other.example.net", true }, { "other", "OTHER.Example.NET", true }, { "other", "other.example.net.", true },
	{ "other", "a.wild.example.net", true }, { "other", "wild.example.net", false }, { "other", ".wild.example.net", false },
	{ "other", "a.b.wild.example.net", false }, { "other", "*.wild.example.net", true }, { "other", "192.0.2.1", false },
	{ "other", "", false }, { "other", ".", false }, { "other", "ther.example.net", false },
	{ "common-name", "common.example.org", true }, { "common-name", "x.common.example.org", false },
};

START_TEST(a_certificate_is_for_its_names_alone)
{
	char certificate[100], key[100], why[600];
	struct tls_about about;

	snprintf(certificate, sizeof certificate, PKI("%s.crt"), names[_i].pair);
	snprintf(key, sizeof key, PKI("%s.key"), names[_i].pair);
	ck_assert_msg(tls_check(&(struct tls_files){ certificate, key }, names[_i].name, &about, why, sizeof why), "%s", why);
	ck_assert_msg(about.names_host == names[_i].is, "%s", names[_i].name);
}
END_TEST

/* Whatever is changed in a certificate or key, reading it ends, with a pair or with a reason. */
START_TEST(damaged_files_are_refused_or_harmless)
{
	struct buf certificate = { 0 }, key = { 0 };
	unsigned refused = 0;

	ck_assert_int_eq(file_read_all(-100, PKI("ec.crt"), &certificate), 0);
	ck_assert_int_eq(file_read_all(-100, PKI("ec.key"), &key), 0);
	for (size_t i = 0; i < certificate.n + key.n; i++) {
		char *c = i < certificate.n ? &certificate.p[i] : &key.p[i - certificate.n], was = *c, why[600] = "";
		struct x509_pair *pair;

		*c = (char)(was ^ (i % 2 ? 1 : 4));
		pair = x509_pair_read(buf_view(&certificate), buf_view(&key), why, sizeof why);
		ck_assert(pair || why[0]);
		refused += !pair;
		x509_pair_drop(pair);
		*c = was;
	}
	ck_assert_uint_gt(refused, 200);
	buf_free(&certificate);
	buf_free(&key);
}
END_TEST

/* ---- two engines */

/* One side: ours, or a BearSSL engine set up in a way that ours never is. */
struct side {
	struct tls *tls;
	br_ssl_engine_context *e;
	size_t step;            /* octets moved at once, 0: all */
};

static const unsigned char *wire_of(struct side *s, size_t *n)
{
	return s->tls ? tls_wire(s->tls, n) : br_ssl_engine_sendrec_buf(s->e, n);
}

static unsigned char *space_of(struct side *s, size_t *n)
{
	return s->tls ? tls_space(s->tls, n) : br_ssl_engine_recvrec_buf(s->e, n);
}

/* Moves what one has to send, as far as the other takes it. */
static bool move(struct side *from, struct side *to)
{
	size_t n = 0, room = 0;
	const unsigned char *p = wire_of(from, &n);
	unsigned char *q = p ? space_of(to, &room) : NULL;

	if (!q)
		return false;
	if (n > room)
		n = room;
	if (from->step && n > from->step)
		n = from->step;
	memcpy(q, p, n);
	if (from->tls)
		tls_sent(from->tls, n);
	else
		br_ssl_engine_sendrec_ack(from->e, n);
	if (to->tls)
		tls_came(to->tls, n);
	else
		br_ssl_engine_recvrec_ack(to->e, n);
	return true;
}

static void talk(struct side *a, struct side *b)
{
	bool any = true;

	for (int i = 0; any; i++) {
		bool one = move(a, b), two = move(b, a);

		any = one || two;
		ck_assert_int_lt(i, 1000000);
	}
}

static struct tls *accepted(const struct tls_files *files, size_t n)
{
	struct tls_server *server = tls_server_new(files, n);
	struct tls *t = tls_accept(server);

	ck_assert_ptr_nonnull(t);
	tls_server_free(server);                /* the connection keeps it */
	return t;
}

static const struct tls_files both[] = { { PKI("rsa.crt"), PKI("rsa.key") }, { PKI("ec.crt"), PKI("ec.key") } };

static const struct { struct tls_files files; const char *cipher; } kinds[] = {
	{ { PKI("rsa.crt"), PKI("rsa.key") }, "TLS_ECDHE_RSA_WITH_" }, { { PKI("ec.crt"), PKI("ec.key") }, "TLS_ECDHE_ECDSA_WITH_" },
	{ { PKI("p384.crt"), PKI("p384.key") }, "TLS_ECDHE_ECDSA_WITH_" }, { { PKI("p521.crt"), PKI("p521.key") }, "TLS_ECDHE_ECDSA_WITH_" },
	{ { PKI("expired.crt"), PKI("expired.key") }, "TLS_ECDHE_ECDSA_WITH_" }, { { PKI("rsa1024.crt"), PKI("rsa1024.key") }, "TLS_ECDHE_RSA_WITH_" },
};

START_TEST(any_certificate_makes_a_connection_octet_by_octet_too)
{
	size_t kind = (size_t)_i / 2, step = (size_t)_i % 2;
	struct side server = { .tls = accepted(&kinds[kind].files, 1), .step = step };
	struct side client = { .tls = tls_connect("somebody.else.test", NULL), .step = step };

	ck_assert(!tls_ready(client.tls) && !tls_ready(server.tls));
	talk(&client, &server);
	ck_assert(tls_ready(client.tls) && tls_ready(server.tls));
	ck_assert(!tls_over(client.tls) && !tls_error(client.tls));
	ck_assert_str_eq(tls_version(server.tls), "TLSv1.2");
	ck_assert_str_eq(tls_cipher(server.tls), tls_cipher(client.tls));
	ck_assert_msg(strncmp(tls_cipher(client.tls), kinds[kind].cipher, strlen(kinds[kind].cipher)) == 0, "%s", tls_cipher(client.tls));
	ck_assert(!tls_resumed(server.tls));
	tls_free(client.tls);
	tls_free(server.tls);
}
END_TEST

START_TEST(text_comes_out_as_it_went_in)
{
	struct side server = { .tls = accepted(both, 2) }, client = { .tls = tls_connect(NULL, NULL) };
	struct side *from = _i ? &server : &client, *to = _i ? &client : &server;
	size_t sent = 0, got = 0;
	char text[997];

	for (size_t i = 0; i < sizeof text; i++)
		text[i] = (char)(i * 7);
	talk(&client, &server);
	while (got < 300 * sizeof text) {
		size_t at = sent % sizeof text, n = sent < 300 * sizeof text ? tls_put(from->tls, text + at, sizeof text - at) : 0;
		const unsigned char *p;

		sent += n;
		if (sent == 300 * sizeof text)
			tls_push(from->tls);
		talk(&client, &server);
		while ((p = tls_text(to->tls, &n))) {
			for (size_t i = 0; i < n; i++)
				ck_assert(p[i] == (unsigned char)text[(got + i) % sizeof text]);
			got += n;
			tls_taken(to->tls, n);
		}
	}
	ck_assert_uint_eq(got, sent);
	tls_close(from->tls);
	talk(&client, &server);
	ck_assert(tls_over(to->tls) && !tls_error(to->tls));
	tls_free(client.tls);
	tls_free(server.tls);
}
END_TEST

/* The bug of BearSSL 0.6 that stands still for ever. */
START_TEST(closing_over_text_that_nobody_took_ends)
{
	struct side server = { .tls = accepted(both, 2) }, client = { .tls = tls_connect(NULL, NULL) };

	talk(&client, &server);
	ck_assert_uint_eq(tls_put(client.tls, "unread", 6), 6);
	tls_push(client.tls);
	talk(&client, &server);
	tls_close(server.tls);
	talk(&client, &server);
	ck_assert(tls_over(client.tls) && !tls_error(client.tls));
	ck_assert(tls_over(server.tls) && !tls_error(server.tls));
	tls_free(client.tls);
	tls_free(server.tls);
}
END_TEST

/* ---- which certificate */

/* A client of our own making: the suites, curves and versions are the test's. */
struct raw {
	br_ssl_client_context c;
	br_x509_minimal_context unused;
	struct x509_any any;
	unsigned char in[BR_SSL_BUFSIZE_INPUT], out[BR_SSL_BUFSIZE_OUTPUT];
};

static void raw_init(struct raw *r)
{
	br_ssl_client_init_full(&r->c, &r->unused, NULL, 0);
	x509_any_init(&r->any);
	br_ssl_engine_set_x509(&r->c.eng, &r->any.vtable);
	br_ssl_engine_set_buffers_bidi(&r->c.eng, r->in, sizeof r->in, r->out, sizeof r->out);
}

static const br_x509_pkey *shown(struct raw *r)
{
	const br_x509_pkey *k = r->any.vtable->get_pkey(&r->any.vtable, NULL);

	ck_assert_ptr_nonnull(k);
	return k;
}

static const uint16_t rsa_alone[] = { BR_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 };
static const uint16_t ec_alone[] = { BR_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 };
static const uint16_t chacha_first[] = { BR_TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, BR_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 };

START_TEST(the_certificate_is_of_a_kind_the_client_can_verify)
{
	static struct raw r;
	struct side server = { .tls = accepted(both, 2) }, client = { .e = &r.c.eng };

	raw_init(&r);
	br_ssl_engine_set_suites(&r.c.eng, _i ? ec_alone : rsa_alone, 1);
	ck_assert(br_ssl_client_reset(&r.c, "mx.example.org", 0));
	talk(&client, &server);
	ck_assert(tls_ready(server.tls));
	ck_assert_int_eq(shown(&r)->key_type, _i ? BR_KEYTYPE_EC : BR_KEYTYPE_RSA);
	tls_free(server.tls);
}
END_TEST

static uint32_t mul_without_p521(unsigned char *G, size_t glen, const unsigned char *x, size_t xlen, int curve)
{
	return br_ec_get_default()->mul(G, glen, x, xlen, curve);
}

/* OpenSSL would end the handshake, although the other certificate would have been good. */
START_TEST(no_certificate_on_a_curve_that_the_client_did_not_list)
{
	static struct raw r;
	static br_ec_impl few;
	static const struct tls_files files[] = { { PKI("p521.crt"), PKI("p521.key") }, { PKI("rsa.crt"), PKI("rsa.key") } };
	struct side server = { .tls = accepted(files, 2) }, client = { .e = &r.c.eng };

	raw_init(&r);
	few = *br_ec_get_default();
	few.supported_curves = (uint32_t)1 << BR_EC_secp256r1;
	few.mul = mul_without_p521;
	br_ssl_engine_set_ec(&r.c.eng, &few);
	ck_assert(br_ssl_client_reset(&r.c, NULL, 0));
	talk(&client, &server);
	ck_assert(tls_ready(server.tls));
	ck_assert_int_eq(shown(&r)->key_type, BR_KEYTYPE_RSA);
	tls_free(server.tls);
}
END_TEST

START_TEST(our_order_of_suites_counts)
{
	static struct raw r;
	struct side server = { .tls = accepted(both, 2) }, client = { .e = &r.c.eng };

	raw_init(&r);
	br_ssl_engine_set_suites(&r.c.eng, chacha_first, 2);
	ck_assert(br_ssl_client_reset(&r.c, NULL, 0));
	talk(&client, &server);
	ck_assert_str_eq(tls_cipher(server.tls), br_aes_x86ni_ctr_get_vtable() || br_aes_pwr8_ctr_get_vtable() ?
		"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256" : "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256");
	tls_free(server.tls);
}
END_TEST

static const struct { const char *asked; int pair; } asked[] = {
	{ "mx.example.org", 0 }, { "other.example.net", 1 }, { "p384.example.org", 2 }, { "OTHER.example.net", 1 },
	{ "deep.wild.example.net", 1 }, { NULL, 0 }, { "nobody.test", 0 }, { "other.example.net.", 1 }, { "..\\", 0 },
};
static const struct tls_files named[] = {
	{ PKI("ec.crt"), PKI("ec.key") }, { PKI("other.crt"), PKI("other.key") }, { PKI("p384.crt"), PKI("p384.key") },
};

/* Many times, since a wrong choice may depend on what was chosen before. */
START_TEST(the_certificate_is_the_one_asked_for_by_name)
{
	static struct raw r;
	struct tls_server *s = tls_server_new(named, 3);

	for (unsigned i = 0; i < 20 * sizeof asked / sizeof *asked; i++) {
		size_t row = i % (sizeof asked / sizeof *asked);
		struct side server = { .tls = tls_accept(s) }, client = { .e = &r.c.eng };
		struct buf text = { 0 }, key = { 0 };
		struct x509_pair *pair;
		br_x509_decoder_context d;
		char why[200];

		raw_init(&r);
		ck_assert(br_ssl_client_reset(&r.c, asked[row].asked, 0));
		talk(&client, &server);
		ck_assert(tls_ready(server.tls));
		ck_assert_int_eq(file_read_all(-100, named[asked[row].pair].certificate, &text), 0);
		ck_assert_int_eq(file_read_all(-100, named[asked[row].pair].key, &key), 0);
		pair = x509_pair_read(buf_view(&text), buf_view(&key), why, sizeof why);
		br_x509_decoder_init(&d, NULL, NULL);
		br_x509_decoder_push(&d, pair->chain[0].data, pair->chain[0].data_len);
		ck_assert_msg(shown(&r)->key.ec.qlen == br_x509_decoder_get_pkey(&d)->key.ec.qlen &&
			memcmp(shown(&r)->key.ec.q, br_x509_decoder_get_pkey(&d)->key.ec.q, shown(&r)->key.ec.qlen) == 0,
			"asked for %s, got another (round %u)", asked[row].asked, i);
		x509_pair_drop(pair);
		buf_free(&text);
		buf_free(&key);
		tls_free(server.tls);
	}
	tls_server_free(s);
}
END_TEST

START_TEST(a_client_may_resume_its_session)
{
	static struct raw r;
	struct tls_server *s = tls_server_new(both, 2);

	raw_init(&r);
	for (int again = 0; again < 3; again++) {
		struct side server = { .tls = tls_accept(s) }, client = { .e = &r.c.eng };

		ck_assert(br_ssl_client_reset(&r.c, NULL, again));
		talk(&client, &server);
		ck_assert(tls_ready(server.tls));
		ck_assert_int_eq(tls_resumed(server.tls), again > 0);
		tls_free(server.tls);
	}
	tls_server_free(s);
}
END_TEST

/* ---- peers that cannot be talked to */

static const struct { unsigned low, high; const uint16_t suite; const char *ours; int theirs; } odd_clients[] = {
	{ BR_TLS10, BR_TLS11, BR_TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, "peer offers only versions before TLS 1.2 (we sent alert 70)", BR_ERR_UNSUPPORTED_VERSION },
	{ BR_TLS12, BR_TLS12, BR_TLS_RSA_WITH_AES_128_GCM_SHA256, "no cipher suite or kind of key in common", BR_ERR_RECV_FATAL_ALERT + 40 },
	{ BR_TLS12, BR_TLS12, BR_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, "no cipher suite or kind of key in common", BR_ERR_RECV_FATAL_ALERT + 40 },
};

START_TEST(a_client_with_nothing_in_common_is_told)
{
	static struct raw r;
	struct side server = { .tls = accepted(both, 1) }, client = { .e = &r.c.eng };
	uint16_t suite = odd_clients[_i].suite;
	size_t n;

	raw_init(&r);
	br_ssl_engine_set_versions(&r.c.eng, odd_clients[_i].low, odd_clients[_i].high);
	br_ssl_engine_set_suites(&r.c.eng, &suite, 1);
	ck_assert(br_ssl_client_reset(&r.c, NULL, 0));
	talk(&client, &server);
	while (tls_wire(server.tls, &n))        /* an old client looks no further than the version of our alert */
		tls_sent(server.tls, n);
	ck_assert(tls_over(server.tls) && !tls_ready(server.tls));
	ck_assert_msg(strstr(tls_error(server.tls), odd_clients[_i].ours), "%s", tls_error(server.tls));
	ck_assert_int_eq(br_ssl_engine_last_error(&r.c.eng), odd_clients[_i].theirs);
	tls_free(server.tls);
}
END_TEST

static const struct { const char *octets; size_t n; const char *words; } answers[] = {
#define O(text) text, sizeof text - 1
	{ O("\x15\x03\x03\0\2\2\x46"), "peer offers only TLS 1.3, this build has up to 1.2" },
	{ O("\x15\x03\x03\0\2\2\x28"), "refused by the peer: no version, cipher suite or kind of key in common (alert 40)" },
	{ O("\x15\x03\x03\0\2\2\x30"), "refused by the peer: unknown CA (alert 48)" },
	{ O("\x15\x03\x03\0\2\2\xff"), "refused by the peer: no name (alert 255)" },
	{ O("454 TLS not available\r\n"), "what came is no TLS" },
	{ O("\x16\x03\x03\0\x04\x0e\0\0\0"), "does not belong there" },
	{ O("\x16\x03\x03\xff\xff"), "wrong length" },
	{ O("\x17\x03\x03\0\1x"), "does not belong there" },
	{ O("\x18\x03\x03\0\1x"), "does not belong there" },
	{ O("\x16\x03\x03\0\x2c\x02\0\0\x28\x03\x03""01234567890123456789012345678901\0\x13\x01\0\0\0"), "was not offered" },
#undef O
};

START_TEST(what_a_server_answers_instead_is_said_in_words)
{
	struct tls *t = tls_connect("mx.test", NULL);
	struct str rest = { answers[_i].octets, answers[_i].n };
	const char *error;
	size_t n;

	while (tls_wire(t, &n))
		tls_sent(t, n);
	while (rest.n) {
		unsigned char *p = tls_space(t, &n);

		if (!p)
			break;
		if (n > rest.n)
			n = rest.n;
		memcpy(p, rest.p, n);
		tls_came(t, n);
		rest = str_from(rest, n);
	}
	while (tls_wire(t, &n))
		tls_sent(t, n);
	ck_assert(tls_over(t));
	error = tls_error(t);
	ck_assert_ptr_nonnull(error);
	ck_assert_msg(strstr(error, answers[_i].words), "%s", error);
	tls_free(t);
}
END_TEST

START_TEST(a_client_may_not_renegotiate)
{
	static struct raw r;
	struct side server = { .tls = accepted(both, 2) }, client = { .e = &r.c.eng };

	raw_init(&r);
	ck_assert(br_ssl_client_reset(&r.c, NULL, 0));
	talk(&client, &server);
	ck_assert(br_ssl_engine_renegotiate(&r.c.eng));
	talk(&client, &server);
	/* It is told so (RFC 5246 7.2.2), and what was agreed on before holds. BearSSL as a client takes that for the end. */
	ck_assert(!tls_over(server.tls));
	ck_assert_int_eq(br_ssl_engine_last_error(&r.c.eng), BR_ERR_RECV_FATAL_ALERT + BR_ALERT_NO_RENEGOTIATION);
	tls_free(server.tls);
}
END_TEST

START_TEST(a_server_may_not_renegotiate)
{
	static br_ssl_server_context sc;
	static unsigned char in[BR_SSL_BUFSIZE_INPUT], out[BR_SSL_BUFSIZE_OUTPUT];
	struct side server = { .e = &sc.eng }, client = { .tls = tls_connect("mx.test", NULL) };
	struct buf text = { 0 }, key = { 0 };
	struct x509_pair *pair;
	char why[200];

	ck_assert_int_eq(file_read_all(-100, PKI("rsa.crt"), &text), 0);
	ck_assert_int_eq(file_read_all(-100, PKI("rsa.key"), &key), 0);
	pair = x509_pair_read(buf_view(&text), buf_view(&key), why, sizeof why);
	br_ssl_server_init_full_rsa(&sc, pair->chain, pair->n, &pair->rsa);
	br_ssl_engine_set_buffers_bidi(&sc.eng, in, sizeof in, out, sizeof out);
	ck_assert(br_ssl_server_reset(&sc));
	talk(&client, &server);
	ck_assert(tls_ready(client.tls));
	ck_assert(br_ssl_engine_renegotiate(&sc.eng));
	talk(&client, &server);
	ck_assert(!tls_over(client.tls));
	ck_assert_uint_eq(tls_put(client.tls, "QUIT\r\n", 6), 6);
	tls_free(client.tls);
	x509_pair_drop(pair);
	buf_free(&text);
	buf_free(&key);
}
END_TEST

/* Random octets, and real hellos with an octet changed. */
START_TEST(no_octets_harm_a_server)
{
	struct tls_server *s = tls_server_new(both, 2);
	unsigned char hello[2000];
	size_t length = 0, n;
	struct tls *c = tls_connect("mx.example.org", NULL);
	const unsigned char *p;

	while ((p = tls_wire(c, &n))) {
		memcpy(hello + length, p, n);
		length += n;
		tls_sent(c, n);
	}
	tls_free(c);
	for (size_t i = 0; i < length; i++) {
		struct tls *t = tls_accept(s);
		unsigned char *q, was = hello[i];
		size_t at = 0;

		hello[i] = (unsigned char)(was + 1 + i % 200);
		while (at < length && (q = tls_space(t, &n))) {
			if (n > length - at)
				n = length - at;
			memcpy(q, hello + at, n);
			tls_came(t, n);
			at += n;
			while (tls_wire(t, &n))
				tls_sent(t, n);
		}
		ck_assert(!tls_ready(t));
		if (tls_over(t))
			ck_assert_ptr_nonnull(tls_error(t));
		hello[i] = was;
		tls_free(t);
	}
	tls_server_free(s);
}
END_TEST

/* ---- files that change */

static char dir[100], crt[120], key_file[120];

static void copy(const char *from, const char *to)
{
	struct buf text = { 0 };
	char next[130];
	FILE *f;

	snprintf(next, sizeof next, "%s.new", to);
	ck_assert_int_eq(file_read_all(-100, from, &text), 0);
	f = fopen(next, "w");
	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(text.p, 1, text.n, f), text.n);
	fclose(f);
	ck_assert_int_eq(rename(next, to), 0);
	buf_free(&text);
}

static void make_dir(void)
{
	const char *tmp = getenv("TMPDIR");

	silent();
	snprintf(dir, sizeof dir, "%s/fardel-tls.XXXXXX", tmp ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(crt, sizeof crt, "%s/crt", dir);
	snprintf(key_file, sizeof key_file, "%s/key", dir);
}

static void remove_dir(void)
{
	unlink(crt);
	unlink(key_file);
	rmdir(dir);
	loud();
}

/* The kind of key of a new connection, 0: there is none. */
static int kind_now(struct tls_server *s)
{
	struct side server = { .tls = tls_accept(s) }, client;
	int kind;

	if (!server.tls) {
		ck_assert_int_eq(errno, ENOENT);
		return 0;
	}
	client = (struct side){ .tls = tls_connect(NULL, NULL) };
	talk(&client, &server);
	ck_assert(tls_ready(client.tls));
	kind = strstr(tls_cipher(client.tls), "ECDSA") ? BR_KEYTYPE_EC : BR_KEYTYPE_RSA;
	tls_free(client.tls);
	tls_free(server.tls);
	return kind;
}

START_TEST(files_that_change_are_read_again_and_the_old_pair_stays_until_the_new_one_matches)
{
	struct tls_files f = { crt, key_file };
	struct tls_server *s = tls_server_new(&f, 1);
	char why[600];

	ck_assert_int_eq(kind_now(s), 0);
	ck_assert(!tls_server_refresh(s, why, sizeof why) && strstr(why, "No such file"));
	copy(PKI("rsa.crt"), crt);
	copy(PKI("rsa.key"), key_file);
	ck_assert(tls_server_refresh(s, why, sizeof why));
	ck_assert_int_eq(kind_now(s), BR_KEYTYPE_RSA);
	copy(PKI("ec.crt"), crt);               /* as a renewal does: first the one, then the other */
	ck_assert_int_eq(kind_now(s), BR_KEYTYPE_RSA);
	ck_assert(!tls_server_refresh(s, why, sizeof why) && strstr(why, "does not belong"));
	copy(PKI("ec.key"), key_file);
	ck_assert_int_eq(kind_now(s), BR_KEYTYPE_EC);
	ck_assert(tls_server_refresh(s, why, sizeof why));
	unlink(crt);
	ck_assert_int_eq(kind_now(s), BR_KEYTYPE_EC);
	ck_assert(!tls_server_refresh(s, why, sizeof why));
	copy(PKI("ec-cut.crt"), crt);
	ck_assert_int_eq(kind_now(s), BR_KEYTYPE_EC);
	copy(PKI("ec.crt"), crt);
	ck_assert(tls_server_refresh(s, why, sizeof why));
	tls_server_free(s);
}
END_TEST

START_TEST(a_handshake_that_has_begun_ends_with_the_pair_it_began_with)
{
	struct tls_files f = { crt, key_file };
	struct tls_server *s;
	struct side server, client;

	copy(PKI("rsa.crt"), crt);
	copy(PKI("rsa.key"), key_file);
	s = tls_server_new(&f, 1);
	server = (struct side){ .tls = tls_accept(s), .step = 1 };
	client = (struct side){ .tls = tls_connect(NULL, NULL) };
	for (int i = 0; i < 300; i++) {
		move(&client, &server);
		move(&server, &client);
	}
	ck_assert(!tls_ready(client.tls));
	copy(PKI("ec.crt"), crt);
	copy(PKI("ec.key"), key_file);
	ck_assert_int_eq(kind_now(s), BR_KEYTYPE_EC);
	talk(&client, &server);
	ck_assert(tls_ready(client.tls));
	ck_assert_ptr_nonnull(strstr(tls_cipher(client.tls), "_RSA_"));
	tls_server_free(s);
	tls_free(client.tls);
	tls_free(server.tls);
}
END_TEST

START_TEST(one_pair_that_is_broken_leaves_the_others)
{
	static const struct tls_files files[] = { { PKI("ec.crt"), PKI("other.key") }, { PKI("rsa.crt"), PKI("rsa.key") } };
	struct tls_server *s = tls_server_new(files, 2);
	char why[600];

	ck_assert_int_eq(kind_now(s), BR_KEYTYPE_RSA);
	ck_assert(!tls_server_refresh(s, why, sizeof why));
	ck_assert_ptr_nonnull(strstr(why, "ec.crt"));
	tls_server_free(s);
}
END_TEST

static const struct { struct tls_files shown; const char *trusted, *name, *error; } trusts[] = {
	{ { PKI("ec.crt"), PKI("ec.key") }, PKI("ec.crt"), "mx.example.org", NULL },
	{ { PKI("rsa.crt"), PKI("rsa.key") }, PKI("rsa.crt"), "mx.example.org", NULL },
	{ { PKI("other.crt"), PKI("other.key") }, PKI("other.crt"), "a.wild.example.net", NULL },
	{ { PKI("ec.crt"), PKI("ec.key") }, PKI("ec.crt"), "example.org", "for another name" },
	{ { PKI("other.crt"), PKI("other.key") }, PKI("other.crt"), "a.b.wild.example.net", "for another name" },
	{ { PKI("ec.crt"), PKI("ec.key") }, PKI("rsa.crt"), "mx.example.org", "nobody who is trusted" },
	{ { PKI("rsa.crt"), PKI("rsa.key") }, PKI("ec.crt"), "mx.example.org", "nobody who is trusted" },
	{ { PKI("expired.crt"), PKI("expired.key") }, PKI("expired.crt"), "mx.example.org", "expired or is not valid yet" },
};

START_TEST(with_trust_the_certificate_is_for_the_name_and_from_somebody_trusted)
{
	struct tls_trust *trust = tls_trust_new(trusts[_i].trusted);
	struct side server = { .tls = accepted(&trusts[_i].shown, 1) }, client = { .tls = tls_connect(trusts[_i].name, trust) };
	const char *error;

	ck_assert_ptr_nonnull(client.tls);
	talk(&client, &server);
	error = tls_error(client.tls);
	if (trusts[_i].error)
		ck_assert_msg(!tls_ready(client.tls) && error && strstr(error, trusts[_i].error), "%s", error ? error : "taken");
	else
		ck_assert_msg(tls_ready(client.tls), "%s", error);
	tls_free(client.tls);
	tls_free(server.tls);
	tls_trust_free(trust);
}
END_TEST

/* Settings are read again, and the ones before go. */
START_TEST(the_names_of_files_may_go_where_they_were_said)
{
	char certificate[100], key[100], why[600];
	struct tls_files f = { certificate, key };
	struct tls_server *s;

	snprintf(certificate, sizeof certificate, "%s", PKI("ec.crt"));
	snprintf(key, sizeof key, "%s", PKI("ec.key"));
	s = tls_server_new(&f, 1);
	ck_assert_ptr_nonnull(s);
	certificate[0] = key[0] = 'x';
	ck_assert_msg(tls_server_refresh(s, why, sizeof why), "%s", why);
	tls_server_free(s);
}
END_TEST

/* Whoever rewrites the file in place is caught in the middle sooner or later. */
START_TEST(of_a_file_that_is_broken_further_down_nobody_is_trusted)
{
	char path[200], why[300];
	const char *tmp = getenv("TMPDIR");
	struct tls_trust *trust;
	struct buf good = { 0 }, broken = { 0 };
	int fd;

	snprintf(path, sizeof path, "%.150s/trust.XXXXXX", tmp ? tmp : "/tmp");
	fd = mkstemp(path);
	ck_assert_int_ne(fd, -1);
	trust = tls_trust_new(path);
	ck_assert_int_eq(file_read_all(AT_FDCWD, PKI("authority.crt"), &broken), 0);
	buf_puts(&broken, "-----BEGIN CERTIFICATE-----\nMIIB");
	ck_assert_int_eq(file_write(fd, broken.p, broken.n), 0);
	for (int i = 0; i < 3; i++)
		ck_assert_uint_eq(tls_trust_read(trust, why, sizeof why), 0);
	ck_assert_int_eq(file_read_all(AT_FDCWD, PKI("ec.crt"), &good), 0);
	ck_assert_int_eq(ftruncate(fd, 0), 0);
	ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
	ck_assert_int_eq(file_write(fd, good.p, good.n), 0);
	ck_assert_uint_eq(tls_trust_read(trust, why, sizeof why), 1);
	close(fd);
	unlink(path);
	tls_trust_free(trust);
	buf_free(&good);
	buf_free(&broken);
}
END_TEST

START_TEST(who_trusts_nobody_or_knows_no_name_does_not_connect)
{
	static const char *const row[] = { PKI("missing.crt"), PKI("ec.key"), PKI("make.sh") };
	struct tls_trust *trust = tls_trust_new(PKI("ec.crt"));
	char why[300];

	ck_assert_ptr_null(tls_connect(NULL, trust));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_ptr_null(tls_connect("", trust));
	ck_assert_uint_eq(tls_trust_read(trust, why, sizeof why), 1);
	tls_trust_free(trust);
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		trust = tls_trust_new(row[i]);
		ck_assert_ptr_null(tls_connect("mx.example.org", trust));
		ck_assert_int_eq(errno, ENOENT);
		ck_assert_uint_eq(tls_trust_read(trust, why, sizeof why), 0);
		ck_assert_msg(strstr(why, row[i]) != NULL, "%s", why);
		tls_trust_free(trust);
	}
}
END_TEST

/* The DER of certificate `nth` of a PEM file. */
static size_t der_of(const char *path, size_t nth, unsigned char *der, size_t room)
{
	struct buf text = { 0 }, plain = { 0 };
	const char *p;
	size_t n = room;

	ck_assert_int_eq(file_read_all(AT_FDCWD, path, &text), 0);
	for (p = buf_cstr(&text); (p = strstr(p, "-----BEGIN CERTIFICATE-----\n")) && nth; nth--)
		p++;
	ck_assert_ptr_nonnull(p);
	for (p += 28; *p != '-'; p++)
		if (*p != '\n')
			buf_char(&plain, *p);
	ck_assert(base64_decode(buf_view(&plain), der, &n));
	buf_free(&text);
	buf_free(&plain);
	return n;
}

/* `nth` of a file's certificates as a pin; key_only by what openssl says: see keys below. */
static void pin_of(const char *path, size_t nth, unsigned char usage, enum hash hash, struct tls_pins *out)
{
	static unsigned char der[8192];
	size_t n = der_of(path, nth, der, sizeof der);

	*out = (struct tls_pins){ .n = 2 };     /* the first is somebody else's */
	out->pin[0] = (struct tls_pin){ .usage = TLS_PIN_OWN, .hash = HASH_SHA256 };
	out->pin[1] = (struct tls_pin){ .usage = usage, .hash = hash };
	hash_of(hash, (struct str){ (char *)der, n }, out->pin[1].digest);
}

static const struct { const char *shown, *pinned; size_t nth; unsigned char usage; enum hash hash; const char *name, *also, *error; } pinnings[] = {
	{ "ec", "ec", 0, TLS_PIN_OWN, HASH_SHA256, "mx.example.org", NULL, NULL },
	{ "rsa", "rsa", 0, TLS_PIN_OWN, HASH_SHA512, "mx.example.org", NULL, NULL },
	{ "ec", "ec", 0, TLS_PIN_OWN, HASH_SHA256, "somebody.else.test", NULL, NULL },           /* RFC 7671 5.1: no name, no dates */
	{ "expired", "expired", 0, TLS_PIN_OWN, HASH_SHA256, "mx.example.org", NULL, NULL },
	{ "ec", "rsa", 0, TLS_PIN_OWN, HASH_SHA256, "mx.example.org", NULL, "none of those that DNS names" },
	{ "chain", "authority", 0, TLS_PIN_OWN, HASH_SHA256, "mx.example.org", NULL, "none of those that DNS names" },
	{ "chain", "authority", 0, TLS_PIN_AUTHORITY, HASH_SHA256, "mx.example.org", NULL, NULL },
	{ "chain", "chain", 1, TLS_PIN_AUTHORITY, HASH_SHA512, "mx.example.org", NULL, NULL },
	{ "chain", "authority", 0, TLS_PIN_AUTHORITY, HASH_SHA256, "other.example.org", NULL, "for another name" },
	{ "chain", "authority", 0, TLS_PIN_AUTHORITY, HASH_SHA256, "other.example.org", "mx.example.org", NULL },
	{ "chain", "ec", 0, TLS_PIN_AUTHORITY, HASH_SHA256, "mx.example.org", NULL, "none of those that DNS names" },
	{ "ec", "ec", 0, TLS_PIN_AUTHORITY, HASH_SHA256, "mx.example.org", NULL, "none of those that DNS names" },
	{ "expired", "expired", 1, TLS_PIN_AUTHORITY, HASH_SHA256, "mx.example.org", NULL, "expired" },
};

static const char *handshake_with(const char *shown, const char *name, const struct tls_demands *demands)
{
	static char error[200];
	char certificate[100], key[100];
	struct tls_files files = { certificate, key };
	struct side server, client;

	snprintf(certificate, sizeof certificate, PKI("%s.crt"), shown);
	snprintf(key, sizeof key, PKI("%s.key"), shown);
	server = (struct side){ .tls = accepted(&files, 1) };
	client = (struct side){ .tls = tls_connect_pinned(name, demands) };
	ck_assert_ptr_nonnull(client.tls);
	talk(&client, &server);
	snprintf(error, sizeof error, "%s", tls_error(client.tls) ? tls_error(client.tls) : "");
	ck_assert_int_eq(tls_ready(client.tls), !error[0]);
	tls_free(client.tls);
	tls_free(server.tls);
	return error;
}

static const char *handshake(const char *shown, const struct tls_pins *pins, const char *name, const char *also)
{
	return handshake_with(shown, name, &(struct tls_demands){ .pins = pins, .also = { NULL, also } });
}

START_TEST(what_is_demanded_beside_pins_holds_too)
{
	static const struct { bool pins, own, trust; const char *name, *error; } row[] = {
		{ true, true, true, "mx.example.org", "" },
		{ true, true, false, "somebody.else.test", "" },
		{ false, true, false, NULL, "" },               /* a fingerprint needs no name */
		{ true, true, true, "other.example.org", "for another name" },
		{ true, false, true, "mx.example.org", "has none of the fingerprints" },
		{ false, true, true, "other.example.org", "for another name" },
	};
	struct tls_trust *trust = tls_trust_new(PKI("authority.crt")), *strangers = tls_trust_new(PKI("rsa.crt"));
	struct tls_pins right, wrong = { .n = 1, .pin = { { .usage = TLS_PIN_OWN, .hash = HASH_SHA256 } } };

	pin_of(PKI("chain.crt"), 0, TLS_PIN_OWN, HASH_SHA256, &right);
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		struct tls_demands d = { .pins = row[i].pins ? &right : NULL, .own = row[i].own ? &right : &wrong, .trust = row[i].trust ? trust : NULL };
		const char *error = handshake_with("chain", row[i].name, &d);

		ck_assert_msg(row[i].error[0] ? strstr(error, row[i].error) != NULL : !error[0], "row %zu: %s", i, error);
		d.trust = strangers;
		if (row[i].name)
			ck_assert_str_ne(handshake_with("chain", row[i].name, &d), "");
	}
	ck_assert_ptr_null(tls_connect_pinned(NULL, &(struct tls_demands){ .pins = &right }));
	tls_trust_free(trust);
	tls_trust_free(strangers);
}
END_TEST

START_TEST(a_pinned_certificate_is_taken_and_no_other)
{
	struct tls_pins pins;
	char path[100];
	const char *error;

	snprintf(path, sizeof path, PKI("%s.crt"), pinnings[_i].pinned);
	pin_of(path, pinnings[_i].nth, pinnings[_i].usage, pinnings[_i].hash, &pins);
	error = handshake(pinnings[_i].shown, &pins, pinnings[_i].name, pinnings[_i].also);
	if (pinnings[_i].error)
		ck_assert_msg(strstr(error, pinnings[_i].error) != NULL, "%s", *error ? error : "taken");
	else
		ck_assert_msg(!*error, "%s", error);
}
END_TEST

/* What `openssl x509 -in F.crt -noout -pubkey | openssl pkey -pubin -outform DER | sha256sum` says. */
static const struct { const char *name, *sha256; } keys[] = {
	{ "ec", "df7cbd7f29a84561de31d46ac6433b431e7619aa4a21bb04827a73e6db5951d4" },
	{ "rsa", "cbaafbd4b5c9dc286e8f9249c0c513b713507075d705843bdbda547f79496ee7" },
	{ "p521", "45390bda70523bf6b7c7831d783f4052145df9beceb99800dce840a2c98d0a73" },
	{ "chain", "f0f91e0f51508dcc81bafec8a5d12fc0bef79d073d0d39b43c6fdb9fd4bf1a86" },
};

START_TEST(a_pinned_key_is_enough)
{
	struct tls_pins pins = { .n = 1, .pin = { { .usage = TLS_PIN_OWN, .key_only = true, .hash = HASH_SHA256 } } };

	for (size_t i = 0; i < 32; i++) {
		unsigned octet;

		ck_assert_int_eq(sscanf(keys[_i].sha256 + 2 * i, "%2x", &octet), 1);
		pins.pin[0].digest[i] = (unsigned char)octet;
	}
	ck_assert_str_eq(handshake(keys[_i].name, &pins, "mx.example.org", NULL), "");
	pins.pin[0].digest[31] ^= 1;
	ck_assert_str_ne(handshake(keys[_i].name, &pins, "mx.example.org", NULL), "");
	pins.pin[0].digest[31] ^= 1;
	pins.pin[0].key_only = false;
	ck_assert_str_ne(handshake(keys[_i].name, &pins, "mx.example.org", NULL), "");
}
END_TEST

START_TEST(a_connection_costs_what_is_written)
{
	/* doc/DECISIONS names these; a change of BearSSL's structs must be seen. */
	ck_assert_uint_le(tls_footprint(true), 24000);
	ck_assert_uint_le(tls_footprint(false), 41000);
}
END_TEST

Suite *lib_tls_suite(void)
{
	Suite *s = suite_create("lib_tls");
	TCase *t = tcase_create("pairs");

	tcase_add_checked_fixture(t, quiet, NULL);
	tcase_add_loop_test(t, a_pair_loads_or_says_why_not, 0, sizeof pairs / sizeof *pairs);
	tcase_add_test(t, dates_and_key_sizes_are_read);
	tcase_add_loop_test(t, a_certificate_is_for_its_names_alone, 0, sizeof names / sizeof *names);
	tcase_add_test(t, damaged_files_are_refused_or_harmless);
	suite_add_tcase(s, t);

	t = tcase_create("connections");
	tcase_add_loop_test(t, any_certificate_makes_a_connection_octet_by_octet_too, 0, 2 * sizeof kinds / sizeof *kinds);
	tcase_add_loop_test(t, text_comes_out_as_it_went_in, 0, 2);
	tcase_add_test(t, closing_over_text_that_nobody_took_ends);
	tcase_add_loop_test(t, the_certificate_is_of_a_kind_the_client_can_verify, 0, 2);
	tcase_add_test(t, no_certificate_on_a_curve_that_the_client_did_not_list);
	tcase_add_test(t, our_order_of_suites_counts);
	tcase_add_test(t, the_certificate_is_the_one_asked_for_by_name);
	tcase_add_test(t, a_client_may_resume_its_session);
	tcase_add_loop_test(t, a_client_with_nothing_in_common_is_told, 0, sizeof odd_clients / sizeof *odd_clients);
	tcase_add_loop_test(t, what_a_server_answers_instead_is_said_in_words, 0, sizeof answers / sizeof *answers);
	tcase_add_test(t, a_client_may_not_renegotiate);
	tcase_add_test(t, a_server_may_not_renegotiate);
	tcase_add_test(t, no_octets_harm_a_server);
	tcase_add_loop_test(t, with_trust_the_certificate_is_for_the_name_and_from_somebody_trusted, 0, sizeof trusts / sizeof *trusts);
	tcase_add_test(t, of_a_file_that_is_broken_further_down_nobody_is_trusted);
	tcase_add_test(t, the_names_of_files_may_go_where_they_were_said);
	tcase_add_test(t, who_trusts_nobody_or_knows_no_name_does_not_connect);
	tcase_add_test(t, what_is_demanded_beside_pins_holds_too);
	tcase_add_loop_test(t, a_pinned_certificate_is_taken_and_no_other, 0, sizeof pinnings / sizeof *pinnings);
	tcase_add_loop_test(t, a_pinned_key_is_enough, 0, sizeof keys / sizeof *keys);
	tcase_add_test(t, a_connection_costs_what_is_written);
	suite_add_tcase(s, t);

	t = tcase_create("files that change");
	tcase_add_checked_fixture(t, make_dir, remove_dir);
	tcase_add_test(t, files_that_change_are_read_again_and_the_old_pair_stays_until_the_new_one_matches);
	tcase_add_test(t, a_handshake_that_has_begun_ends_with_the_pair_it_began_with);
	suite_add_tcase(s, t);

	t = tcase_create("broken pairs");
	tcase_add_checked_fixture(t, silent, loud);
	tcase_add_test(t, one_pair_that_is_broken_leaves_the_others);
	suite_add_tcase(s, t);
	return s;
}
