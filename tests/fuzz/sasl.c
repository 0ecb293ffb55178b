/* Logins under any responses, users' lines and base64 of any content. Nobody gets in without a password: PLAIN and LOGIN ask for a comparison
 * that holds for the right one alone, SCRAM ends well only with a proof over exactly what was said. What is printed reads the same.
 *
 * The first octet: '0' + bits of INSIDE_TLS..., the second the mechanism; then responses, one a line. Where a line of SCRAM holds "%p" the
 * proof that the right password makes stands in its place, "%r" stands for the server's nonce. */
#include "auth/sasl.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/codec.h"
#include "lib/file.h"
#include "lib/log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerInitialize(int *argc, char ***argv);

enum { INSIDE_TLS = 1, BINDING = 2 };
static const char *const mechanisms[] = { "PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-1", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "CRAM-MD5" };
static const char password[] = "pencil", salt[] = "salt";
static struct users *users;
static struct scram_verifier verifiers[2];

static void must(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "sasl: broken: %s\n", what);
	abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static char path[64];
	struct buf text = { 0 };
	char why[300];
	int fd = memfd_create("users", 0);

	(void)argc;
	(void)argv;
	must(log_open("/dev/null") == 0 && fd != -1, "no file");
	for (size_t i = 0; i < 2; i++) {
		enum hash h = i ? HASH_SHA1 : HASH_SHA256;

		scram_make(h, str_of(password), str_of(salt), 1, &verifiers[i]);
		buf_puts(&text, i ? "b:" : "a:");
		scram_print(&text, &verifiers[i]);
		buf_puts(&text, ":a@example.org,@example.net\n");
	}
	must(file_write(fd, text.p, text.n) == 0, "no users");
	buf_free(&text);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	users = users_new(path);
	must(users && users_refresh(users, why, sizeof why) && users_count(users) == 2, "the users cannot be read");
	return 0;
}

/* ---- the client that knows the password */

struct talk {
	struct buf auth;                        /* what both have said, for the signatures */
	struct str nonce;                       /* of the server's first message, which lies in challenge */
	struct buf challenge;
	bool sha1;
};

/* The proof for a final message as far as it goes before ",p=". */
static void prove(const struct talk *t, struct str before, struct buf *out)
{
	enum hash h = t->sha1 ? HASH_SHA1 : HASH_SHA256;
	const struct scram_verifier *v = &verifiers[t->sha1];
	unsigned char salted[HASH_MAX], key[HASH_MAX], signature[HASH_MAX];
	struct buf said = { 0 };

	buf_str(&said, buf_view(&t->auth));
	buf_char(&said, ',');
	buf_str(&said, before);
	pbkdf2_of(h, str_of(password), str_of(salt), 1, salted);
	hmac_of(h, (struct str){ (const char *)salted, hash_size(h) }, STR("Client Key"), key);
	hmac_of(h, (struct str){ (const char *)v->stored, hash_size(h) }, buf_view(&said), signature);
	for (size_t i = 0; i < hash_size(h); i++)
		key[i] ^= signature[i];
	base64_encode(out, key, hash_size(h));
	buf_free(&said);
}

static void fill_in(const struct talk *t, struct str line, struct buf *out)
{
	for (size_t i = 0; i < line.n; i++) {
		if (line.p[i] == '%' && i + 1 < line.n && (line.p[i + 1] == 'r' || line.p[i + 1] == 'p')) {
			struct str said = buf_view(out);

			i++;
			if (line.p[i] == 'r')
				buf_str(out, t->nonce);
			else if (said.n > 3 && memcmp(said.p + said.n - 3, ",p=", 3) == 0) {
				struct buf before = { 0 };

				buf_str(&before, (struct str){ said.p, said.n - 3 });
				prove(t, buf_view(&before), out);
				buf_free(&before);
			}
		} else {
			buf_char(out, line.p[i]);
		}
	}
}

/* The client's first message without its header, then the server's. */
static void note_first(struct talk *t, struct str said, const struct buf *challenge)
{
	struct str rest = said, part;

	if (!str_cut(&rest, ',', &part) || !str_cut(&rest, ',', &part))
		return;
	buf_clear(&t->auth);
	buf_str(&t->auth, rest);
	buf_char(&t->auth, ',');
	buf_str(&t->auth, buf_view(challenge));
	buf_clear(&t->challenge);
	buf_str(&t->challenge, buf_view(challenge));
	rest = buf_view(&t->challenge);
	must(str_cut(&rest, ',', &part) && part.n > 2 && part.p[0] == 'r', "a first message of ours without a nonce");
	t->nonce = str_from(part, 2);
}

static void check_password(struct sasl *s, bool *in)
{
	struct str secret = sasl_secret(s);
	bool right = str_eq(sasl_password(s), str_of(password));

	must(secret.n == 0 || strcmp(sasl_user(s), "a") == 0 || strcmp(sasl_user(s), "b") == 0, "a secret of nobody's");
	if (secret.n) {                         /* nobody's takes ten thousand rounds */
		*in = secret_matches(secret, sasl_password(s));
		must(*in == right, "a wrong password is right");
	}
}

static void log_in(const uint8_t *data, struct str rest)
{
	unsigned how = (unsigned)(uint8_t)(data[0] - '0'), which = (unsigned)(uint8_t)(data[1] - '0') % 7;
	struct sasl_server server = { .users = users, .tls = how & INSIDE_TLS, .binding = how & BINDING ? STR("0123456789abcdef") : STR("") };
	struct talk t = { .sha1 = which == 3 || which == 5 };
	struct buf challenge = { 0 }, said = { 0 };
	enum sasl_next next = SASL_MORE;
	bool needs_tls, in = false;
	struct sasl *s = sasl_begin(str_of(mechanisms[which]), &server, &needs_tls);

	must(!s || (how & INSIDE_TLS), "a login in clear");
	must(!s || which < 6, "a mechanism that is none");
	for (unsigned step = 0; s && (next == SASL_MORE || next == SASL_PROVED) && step < 6; step++) {
		struct str line;

		if (!str_cut(&rest, '\n', &line)) {
			line = rest;
			rest = STR("");
		}
		buf_clear(&said);
		fill_in(&t, line, &said);
		next = sasl_take(s, buf_view(&said), &challenge);
		must(memchr(sasl_user(s), '\0', USER_NAME_MAX + 1) != NULL && sasl_why(s), "a name without end");
		must(next != SASL_FAILED || *sasl_why(s), "a failure without words");
		if (next == SASL_CHECK)
			check_password(s, &in);
		if (next == SASL_MORE && which >= 2 && which < 6 && step == 0)
			note_first(&t, buf_view(&said), &challenge);
	}
	if (next == SASL_OK) {
		must(which >= 2 && which < 6, "in without a comparison");
		must(strcmp(sasl_user(s), t.sha1 ? "b" : "a") == 0, "in as somebody else");
	}
	sasl_free(s);
	buf_free(&t.auth);
	buf_free(&t.challenge);
	buf_free(&challenge);
	buf_free(&said);
}

/* ---- what is parsed on the way */

static void check_base64(struct str text)
{
	unsigned char *octets = malloc(text.n + 1);
	size_t n = text.n;
	struct buf again = { 0 };

	must(octets != NULL, "no memory");
	if (base64_decode(text, octets, &n)) {
		must(n <= text.n && base64_encode(&again, octets, n) && str_eq(buf_view(&again), text), "base64 that reads in two ways");
	}
	n = 3;
	if (base64_decode(text, octets, &n))
		must(n <= 3, "base64 beyond its room");
	free(octets);
	buf_free(&again);
}

static void check_line(struct str line)
{
	static const struct str local[] = { STR("example.org") };
	struct scram_verifier v, again;
	struct buf out = { 0 };
	struct user u;

	if (user_parse(line, &u) || !u.name.n)
		return;
	must(u.name.p >= line.p && u.secret.p + u.secret.n <= line.p + line.n, "a user beyond his line");
	if (scram_parse(u.secret, &v)) {
		must(scram_print(&out, &v) && scram_parse(buf_view(&out), &again), "a verifier that does not read again");
		must(again.iterations == v.iterations && again.salt_n == v.salt_n && memcmp(again.stored, v.stored, hash_size(v.hash)) == 0, "another verifier");
	}
	must(!user_may_send_as(u.name, u.addresses, local, 1, STR("nobody-at-all")), "an address without a domain");
	user_may_send_as(u.name, u.addresses, local, 1, line);
	buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct str rest;

	if (n < 2)
		return 0;
	rest = (struct str){ (const char *)data + 2, n - 2 };
	log_in(data, rest);
	check_base64(rest);
	check_line(rest);
	return 0;
}
