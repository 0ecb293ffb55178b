/* The file of users, secrets, and whose addresses are whose. */
#include "auth/users.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#ifdef HAVE_CRYPT
#include <crypt.h>
#endif

#include "lib/codec.h"
#include "lib/file.h"
#include "lib/idn.h"
#include "lib/late.h"
#include "lib/log.h"
#include "parse.h"

enum {
	FILE_MAX = 4 << 20,
	USERS_MAX = 50000
};

struct users {
	const char *path;
	struct buf text;
	struct user *user;                      /* sorted by name */
	size_t n;
	bool scram[HASH_KINDS];
	bool read, complained;
	struct stat seen;
};

/* ---- secrets */

static const struct {
	const char *tag;
	enum hash hash;
} schemes[] = { { "{SCRAM-SHA-256}", HASH_SHA256 }, { "{SCRAM-SHA-1}", HASH_SHA1 } };

static bool take_base64(struct str *rest, unsigned char *out, size_t *n)
{
	struct str part;

	if (!str_cut(rest, ',', &part)) {
		part = *rest;
		*rest = STR("");
	}
	return part.n && base64_decode(part, out, n) && *n > 0;
}

bool scram_parse(struct str s, struct scram_verifier *out)
{
	uint64_t iterations;
	struct str number;
	size_t i = 0, stored = HASH_MAX, server = HASH_MAX;

	while (i < sizeof schemes / sizeof *schemes && !str_starts_nocase(s, str_of(schemes[i].tag)))
		i++;
	if (i == sizeof schemes / sizeof *schemes)
		return false;
	*out = (struct scram_verifier){ .hash = schemes[i].hash, .salt_n = sizeof out->salt };
	s = str_from(s, strlen(schemes[i].tag));
	if (!str_cut(&s, ',', &number) || !str_number(number, SCRAM_ITERATIONS_MAX, &iterations) || iterations == 0)
		return false;
	out->iterations = (unsigned)iterations;
	return take_base64(&s, out->salt, &out->salt_n) && take_base64(&s, out->stored, &stored) && take_base64(&s, out->server, &server) &&
		!s.n && stored == hash_size(out->hash) && server == stored;
}

bool scram_print(struct buf *out, const struct scram_verifier *v)
{
	for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
		if (schemes[i].hash == v->hash)
			buf_puts(out, schemes[i].tag);
	buf_printf(out, "%u,", v->iterations);
	base64_encode(out, v->salt, v->salt_n);
	buf_char(out, ',');
	base64_encode(out, v->stored, hash_size(v->hash));
	buf_char(out, ',');
	return base64_encode(out, v->server, hash_size(v->hash));
}

/* RFC 5802 3. */
void scram_make(enum hash h, struct str password, struct str salt, unsigned iterations, struct scram_verifier *out)
{
	unsigned char salted[HASH_MAX], key[HASH_MAX];
	struct str by = { (const char *)salted, hash_size(h) };

	*out = (struct scram_verifier){ .hash = h, .iterations = iterations, .salt_n = salt.n };
	memcpy(out->salt, salt.p, salt.n);
	pbkdf2_of(h, password, salt, iterations, salted);
	hmac_of(h, by, STR("Client Key"), key);
	hash_of(h, (struct str){ (const char *)key, hash_size(h) }, out->stored);
	hmac_of(h, by, STR("Server Key"), out->server);
	explicit_bzero(salted, sizeof salted);
	explicit_bzero(key, sizeof key);
}

static bool matches_scram(const struct scram_verifier *v, struct str password)
{
	struct scram_verifier made;

	scram_make(v->hash, password, (struct str){ (const char *)v->salt, v->salt_n }, v->iterations, &made);
	return octets_same(made.stored, v->stored, hash_size(v->hash));
}

bool secret_needs_crypt(struct str secret) { return secret.n && secret.p[0] == '$'; }

#ifdef HAVE_CRYPT
static struct late library = { .file = HAVE_CRYPT };
#define CRYPT(f) LATE(library, HAVE_CRYPT, f)

static bool open_crypt(void) { return late_open(&library); }
bool crypt_available(void) { return late_is_there(&library); }

/* libxcrypt's crypt_rn() fails by NULL; the sanitizers know nothing of it, and break crypt_r(). */
static const char *hash_phrase(const char *phrase, const char *setting, struct crypt_data *room)
{
#ifdef CRYPT_OUTPUT_SIZE
	return CRYPT(crypt_rn)(phrase, setting, room, (int)sizeof *room);
#else
	return CRYPT(crypt_r)(phrase, setting, room);
#endif
}

static bool matches_crypt(struct str secret, struct str password)
{
	struct crypt_data *room = calloc(1, sizeof *room);
	char setting[512], phrase[PASSWORD_MAX + 1];
	const char *made;
	bool ok = false;

	if (room && open_crypt() && str_copy(setting, sizeof setting, secret) && str_copy(phrase, sizeof phrase, password)) {
		made = hash_phrase(phrase, setting, room);
		ok = made && made[0] != '*' && strlen(made) == secret.n && octets_same(made, secret.p, secret.n);
	}
	explicit_bzero(phrase, sizeof phrase);
	if (room)
		explicit_bzero(room, sizeof *room);
	free(room);
	return ok;
}
#else
static bool open_crypt(void) { return false; }
bool crypt_available(void) { return false; }

static bool matches_crypt(struct str secret, struct str password)
{
	(void)secret;
	(void)password;
	return false;
}
#endif

bool secret_matches(struct str secret, struct str password)
{
	struct scram_verifier v = { .hash = HASH_SHA256, .iterations = SCRAM_ITERATIONS, .salt_n = 16 };

	if (secret_needs_crypt(secret))
		return matches_crypt(secret, password);
	if (scram_parse(secret, &v))
		return matches_scram(&v, password);
	/* Nobody of that name: it must not answer sooner. */
	v = (struct scram_verifier){ .hash = HASH_SHA256, .iterations = SCRAM_ITERATIONS, .salt_n = 16 };
	matches_scram(&v, password);
	return false;
}

/* ---- lines */

static bool name_ok(struct str name)
{
	for (size_t i = 0; i < name.n; i++)
		if ((unsigned char)name.p[i] <= 0x20 || name.p[i] == 0x7f)
			return false;
	return name.n > 0 && name.n <= USER_NAME_MAX;
}

const char *user_parse(struct str line, struct user *out)
{
	struct scram_verifier v;

	*out = (struct user){ .name = STR("") };
	line = str_trim(line);
	if (!line.n || line.p[0] == '#')
		return NULL;
	if (!str_cut(&line, ':', &out->name))
		return "has no colon. Write NAME:SECRET, or let `fardel passwd` write it";
	if (!name_ok(out->name))
		return "begins with no name: 1 to 128 octets without blanks";
	if (!str_cut(&line, ':', &out->secret)) {
		out->secret = line;
		line = STR("");
	}
	out->addresses = str_trim(line);
	if (secret_needs_crypt(out->secret))
		return open_crypt() ? NULL : "has a hash of crypt(3), and there is no libcrypt here. Let `fardel passwd` write another";
	if (!scram_parse(out->secret, &v))
		return "has a secret that is no verifier and no hash. Let `fardel passwd` write it";
	return NULL;
}

/* ---- the file */

struct users *users_new(const char *path)
{
	struct users *u = calloc(1, sizeof *u);

	if (u)
		u->path = path;
	return u;
}

void users_free(struct users *u)
{
	if (!u)
		return;
	if (u->text.p)
		explicit_bzero(u->text.p, u->text.room);
	buf_free(&u->text);
	free(u->user);
	free(u);
}

bool scram_attribute(struct str *rest, char letter, struct str *value)
{
	if (!str_cut(rest, ',', value)) {
		*value = *rest;
		*rest = STR("");
	}
	if (value->n < 2 || value->p[0] != letter || value->p[1] != '=')
		return false;
	*value = str_from(*value, 2);
	return true;
}

bool users_first_scram(const struct users *u, enum hash h, struct scram_verifier *out)
{
	for (size_t i = 0; i < u->n; i++)
		if (scram_parse(u->user[i].secret, out) && out->hash == h)
			return true;
	return false;
}

size_t users_count(const struct users *u) { return u->n; }
bool users_have_scram(const struct users *u, enum hash h) { return u->scram[h]; }

static int by_name(const void *a, const void *b)
{
	const struct str x = ((const struct user *)a)->name, y = ((const struct user *)b)->name;
	int order = memcmp(x.p, y.p, x.n < y.n ? x.n : y.n);

	return order ? order : x.n < y.n ? -1 : x.n > y.n;
}

static void complain_line(const struct users *u, unsigned line, const char *what)
{
	log_text(LOG_ERROR, "users", "%s:%u: the line %s. It is passed over", u->path, line, what);
}

/* Slices of users point into text. */
static bool take_lines(struct users *u, struct buf *text)
{
	struct str rest = buf_view(text), line;
	size_t room = 0;
	unsigned number = 0;

	u->n = 0;
	memset(u->scram, 0, sizeof u->scram);
	while (rest.n) {
		struct scram_verifier v;
		struct user one;
		const char *wrong;

		number++;
		if (!str_cut(&rest, '\n', &line)) {
			line = rest;
			rest = STR("");
		}
		wrong = user_parse(line, &one);
		if (wrong)
			complain_line(u, number, wrong);
		if (wrong || !one.name.n)
			continue;
		if (u->n == room) {
			struct user *more = room < USERS_MAX ? realloc(u->user, (room ? 2 * room : 16) * sizeof *more) : NULL;

			if (!more)
				return false;
			u->user = more;
			room = room ? 2 * room : 16;
		}
		u->user[u->n++] = one;
		if (scram_parse(one.secret, &v))
			u->scram[v.hash] = true;
	}
	if (u->n)
		qsort(u->user, u->n, sizeof *u->user, by_name);
	return true;
}

static bool unchanged(const struct users *u, const struct stat *st)
{
	return u->read && st->st_ino == u->seen.st_ino && st->st_dev == u->seen.st_dev && st->st_size == u->seen.st_size &&
		st->st_mtim.tv_sec == u->seen.st_mtim.tv_sec && st->st_mtim.tv_nsec == u->seen.st_mtim.tv_nsec &&
		st->st_ctim.tv_sec == u->seen.st_ctim.tv_sec && st->st_ctim.tv_nsec == u->seen.st_ctim.tv_nsec;
}

static bool cannot_read(struct users *u, char *why, size_t size)
{
	snprintf(why, size, "%s: %s", u->path, strerror(errno));
	if (!u->complained)
		log_text(LOG_ERROR, "users", "%s. %s", why, u->read ? "The users read before stay" : "Nobody can log in");
	u->complained = true;
	return false;
}

bool users_refresh(struct users *u, char *why, size_t size)
{
	struct buf text = { .max = FILE_MAX };
	struct stat st;

	if (file_stat(u->path, &st) == -1)
		return cannot_read(u, why, size);
	if (unchanged(u, &st))
		return true;
	if (file_read_all(AT_FDCWD, u->path, &text) == -1) {
		buf_free(&text);
		return cannot_read(u, why, size);
	}
	if (u->text.p)
		explicit_bzero(u->text.p, u->text.room);
	buf_free(&u->text);
	u->text = text;
	u->seen = st;
	u->complained = false;
	if (!take_lines(u, &u->text)) {
		errno = ENOMEM;
		return cannot_read(u, why, size);
	}
	if (u->read)
		log_text(LOG_INFO, "users", "%s has been read again: %zu users", u->path, u->n);
	u->read = true;
	return true;
}

const struct user *users_find(const struct users *u, struct str name)
{
	struct user key = { .name = name };

	return u->n ? bsearch(&key, u->user, u->n, sizeof *u->user, by_name) : NULL;
}

/* ---- addresses */

/* anna+list is anna's. */
static bool same_local(struct str theirs, struct str asked)
{
	if (str_eq_nocase(theirs, asked))
		return true;
	return asked.n > theirs.n && asked.p[theirs.n] == '+' && str_eq_nocase(theirs, (struct str){ asked.p, theirs.n });
}

/* The domain in the file may be written as people read it. */
static bool same_domain(struct str own, struct str asked)
{
	char plain[256];

	return str_eq_nocase(own, asked) || (!idn_to_ascii(own, plain) && str_eq_nocase(str_of(plain), asked));
}

static bool covers(struct str item, struct str local, struct str domain)
{
	struct str own;

	if (str_eq(item, STR("*")))
		return true;
	if (!str_cut_last(&item, '@', &own))
		return false;
	return same_domain(item, domain) && (!own.n || same_local(own, local));
}

static bool owns(struct str name, struct str addresses, const struct str *local_domains, size_t n, struct str local, struct str domain)
{
	struct str item;

	while (addresses.n) {
		if (!str_cut(&addresses, ',', &item)) {
			item = addresses;
			addresses = STR("");
		}
		if (covers(str_trim(item), local, domain))
			return true;
		if (!addresses.n)
			return false;
	}
	if (memchr(name.p, '@', name.n))
		return covers(name, local, domain);
	for (size_t i = 0; i < n; i++)
		if (str_eq_nocase(local_domains[i], domain))
			return same_local(name, local);
	return false;
}

bool user_may_send_as(struct str name, struct str addresses, const struct str *local_domains, size_t n, struct str address)
{
	struct addr as = { .domain = address };
	struct buf local = { 0 };
	bool may;

	if (!str_cut_last(&as.domain, '@', &as.local))
		return false;
	/* "anna"@here.test is anna@here.test (RFC 5321 4.1.2). */
	may = addr_local_unquoted(&local, &as) && owns(name, addresses, local_domains, n, buf_view(&local), as.domain);
	buf_free(&local);
	return may;
}
