/* DKIM signing. One hash of the header and one of the body serve all keys of a domain. */
#include "policy/sign.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fardel.h"
#include "lib/codec.h"
#include "lib/idn.h"
#include "mime/header.h"
#include "parse.h"
#include "policy/dkim.h"

enum {
	NAMES_MAX = 640,                /* octets of h= */
	SAME_MAX = 8,                   /* fields of one name */
	LINE = 72,                      /* octets of h= and b= in a line */
	FIXED = 200                     /* of a field: its name, tags and line ends without values */
};

struct entry {
	char domain[DOMAIN_MAX + 1], selector[DOMAIN_MAX + 1];
	struct sign_key *key;
};
struct signer {
	struct entry *entry;
	size_t n;
};
struct signing {
	const struct signer *signer;
	const char *domain;
	struct buf names;               /* h= */
	struct hashing header;          /* of the fields named */
	struct dkim_body body;
};

/* ---- keys */

struct signer *signer_new(void) { return calloc(1, sizeof(struct signer)); }

void signer_free(struct signer *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->n; i++)
		sign_key_free(s->entry[i].key);
	free(s->entry);
	free(s);
}

static void lower(char *s)
{
	for (; *s; s++)
		*s = ascii_lower(*s);
}

/* What another server will find valid: a domain with a dot, labels of letters, digits and hyphens (RFC 6376 3.1, 3.5). */
static const char *read_names(struct entry *e, struct str domain, struct str selector)
{
	char both[2 * DOMAIN_MAX + 2];

	if (parse_domain(domain, true, false) || idn_to_ascii(domain, e->domain) || !strchr(e->domain, '.'))
		return "is no full domain name";
	if (!str_copy(e->selector, sizeof e->selector, selector))
		return "has a selector that is too long";
	lower(e->domain);
	lower(e->selector);
	memcpy(both, e->selector, strlen(e->selector));
	memcpy(both + strlen(e->selector), ".x", 3);
	if (parse_domain(str_of(both), false, false))
		return "has a selector that is none: letters, digits and hyphens, in parts with dots between them";
	if (strlen(e->selector) + strlen("._domainkey.") + strlen(e->domain) > DOMAIN_MAX - 2)
		return "is too long with its selector";
	return NULL;
}

const char *signer_add(struct signer *s, struct str domain, struct str selector, struct sign_key *key)
{
	struct entry e = { .key = key }, *more;
	const char *wrong = read_names(&e, domain, selector);

	for (size_t i = 0; !wrong && i < s->n; i++)
		if (!strcmp(s->entry[i].domain, e.domain) && !strcmp(s->entry[i].selector, e.selector))
			wrong = "has this selector already";
	more = wrong ? NULL : realloc(s->entry, (s->n + 1) * sizeof *more);
	if (!more) {
		sign_key_free(key);
		return wrong ? wrong : "does not fit into memory";
	}
	s->entry = more;
	s->entry[s->n++] = e;
	return NULL;
}

static size_t field_room(const struct entry *e)
{
	size_t octets = sign_key_kind(e->key) == KEY_RSA ? (sign_key_bits(e->key) + 7) / 8 : 64, text = (octets + 2) / 3 * 4;

	return FIXED + strlen(e->domain) + strlen(e->selector) + (NAMES_MAX + text) * (LINE + 3) / LINE;
}

size_t signer_room(const struct signer *s)
{
	size_t most = 0;

	for (size_t i = 0; i < s->n; i++) {
		size_t sum = 0;

		for (size_t k = 0; k < s->n; k++)
			if (!strcmp(s->entry[i].domain, s->entry[k].domain))
				sum += field_room(&s->entry[k]);
		most = sum > most ? sum : most;
	}
	return most;
}

/* ---- who is the author */

struct author {
	char domain[DOMAIN_MAX + 1];
	bool found;
};

static bool take_author(void *arg, const struct addr *a)
{
	struct author *who = arg;

	who->found = a->domain.n && !idn_to_ascii(a->domain, who->domain);
	lower(who->domain);
	return false;
}

static const char *domain_for(const struct signer *s, const char *author)
{
	for (const char *at = author; at; at = strchr(at, '.') ? strchr(at, '.') + 1 : NULL)
		for (size_t i = 0; i < s->n; i++)
			if (!strcmp(s->entry[i].domain, at))
				return s->entry[i].domain;
	return NULL;
}

/* ---- what is signed */

/* RFC 6376 5.4.1. Sealed: once more than it is there, so that nobody can add one (8.15). Lists and whoever sends a message on
 * adds the others. */
static const struct {
	const char *name;
	bool sealed;
} fields[] = {
	{ "from", true }, { "reply-to", true }, { "subject", true }, { "date", true }, { "message-id", true }, { "to", true }, { "cc", true },
	{ "in-reply-to", true }, { "references", true }, { "mime-version", true }, { "content-type", true },
	{ "content-transfer-encoding", true }, { "sender", false }, { "auto-submitted", false },
	{ "resent-from", false }, { "resent-sender", false }, { "resent-to", false }, { "resent-cc", false }, { "resent-date", false },
	{ "resent-message-id", false }, { "list-id", false }, { "list-unsubscribe", false }, { "list-unsubscribe-post", false },
	{ "list-post", false }, { "list-help", false }, { "list-archive", false }, { "list-owner", false }, { "list-subscribe", false },
};

static const char *make_names(const struct dkim_fields *f, struct buf *out)
{
	out->max = NAMES_MAX;
	for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
		size_t n = dkim_fields_count(f, fields[i].name) + fields[i].sealed;

		if (n > SAME_MAX)
			return "too many fields have the same name";
		for (; n; n--) {
			if (out->n)
				buf_char(out, ':');
			buf_puts(out, fields[i].name);
		}
	}
	return out->bad ? "it has too many fields" : NULL;
}

static const char *choose_domain(const struct signer *s, const struct dkim_fields *f, const char **domain)
{
	struct str from = dkim_fields_last(f, "from"), name;
	struct author who = { .found = false };

	if (dkim_fields_count(f, "from") != 1 || !str_cut(&from, ':', &name))
		return "it must have one From field";
	header_addresses(from, take_author, &who);
	if (!who.found)
		return "From has no address";
	*domain = domain_for(s, who.domain);
	return NULL;
}

static struct signing *begin(const struct signer *s, struct dkim_fields *f, const char **why)
{
	struct signing *g;
	const char *domain = NULL;

	*why = choose_domain(s, f, &domain);
	if (*why || !domain)
		return NULL;
	*why = "out of memory";
	if (!(g = calloc(1, sizeof *g)))
		return NULL;
	g->signer = s;
	g->domain = domain;
	if ((*why = make_names(f, &g->names))) {
		signing_free(g);
		return NULL;
	}
	dkim_fields_hash(f, DKIM_RELAXED, buf_view(&g->names), STR(""), &g->header);
	dkim_body_begin(&g->body, DKIM_RELAXED, UINT64_MAX);
	return g;
}

struct signing *signing_begin(const struct signer *s, struct str header, const char **why)
{
	struct dkim_fields *f;
	struct signing *g = NULL;

	*why = NULL;
	if (s->n && (f = dkim_fields_new(header, why))) {
		g = begin(s, f, why);
		dkim_fields_free(f);
	}
	return g;
}

void signing_add(struct signing *g, struct str body) { dkim_body_add(&g->body, body); }
const char *signing_domain(const struct signing *g) { return g->domain; }

void signing_free(struct signing *g)
{
	if (!g)
		return;
	buf_free(&g->names);
	free(g);
}

/* ---- the field */

/* Lines are broken where white space may be: behind a colon, or anywhere. */
static void put_folded(struct buf *out, struct str text, bool anywhere)
{
	size_t line = 0;

	for (size_t i = 0; i < text.n; i++, line++) {
		if (line >= LINE && (anywhere || text.p[i - 1] == ':')) {
			buf_puts(out, "\r\n\t");
			line = 0;
		}
		buf_char(out, text.p[i]);
	}
}

static bool put_signature(const struct signing *g, const struct entry *e, struct str body_hash, int64_t now, struct buf *out)
{
	size_t from = out->n, n;
	unsigned char digest[DKIM_DIGEST], octets[SIGNATURE_MAX];
	struct hashing hash = g->header;
	struct buf text = { 0 };
	bool ok;

	buf_printf(out, "DKIM-Signature: v=1; a=%s; c=relaxed/relaxed; d=%s;\r\n\ts=%s; t=%" PRId64 ";\r\n\th=",
		sign_key_kind(e->key) == KEY_RSA ? "rsa-sha256" : "ed25519-sha256", e->domain, e->selector, now);
	put_folded(out, buf_view(&g->names), false);
	buf_printf(out, ";\r\n\tbh=" STR_FMT ";\r\n\tb=", STR_ARG(body_hash));
	if (out->bad)
		return false;
	ok = dkim_own_hash(&hash, DKIM_RELAXED, str_from(buf_view(out), from), (struct str){ out->p + out->n, 0 }, digest) &&
		(n = sign_key_sign(e->key, digest, octets)) && base64_encode(&text, octets, n);
	if (ok)
		put_folded(out, buf_view(&text), true);
	buf_free(&text);
	return ok && buf_puts(out, "\r\n");
}

bool signing_end(struct signing *g, int64_t now, struct buf *out)
{
	unsigned char digest[DKIM_DIGEST];
	struct buf body_hash = { 0 };
	size_t before = out->n;
	bool ok;

	dkim_body_end(&g->body, digest);
	ok = base64_encode(&body_hash, digest, sizeof digest);
	for (size_t i = 0; ok && i < g->signer->n; i++)
		if (!strcmp(g->signer->entry[i].domain, g->domain))
			ok = put_signature(g, &g->signer->entry[i], buf_view(&body_hash), now, out);
	buf_free(&body_hash);
	if (!ok && out->n > before)
		out->n = before;
	return ok;
}
