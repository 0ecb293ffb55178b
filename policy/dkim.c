/* DKIM verification. Every octet is looked at a fixed number of times for each signature, whatever a stranger wrote. */
#include "policy/dkim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/codec.h"
#include "lib/idn.h"
#include "mime/header.h"
#include "parse.h"
#include "policy/arc.h"

const char *const dkim_result_name[] = {
	[DKIM_NONE] = "none", [DKIM_PASS] = "pass", [DKIM_FAIL] = "fail", [DKIM_POLICY] = "policy", [DKIM_NEUTRAL] = "neutral",
	[DKIM_TEMPERROR] = "temperror", [DKIM_PERMERROR] = "permerror",
};

static bool is_blank(char c) { return c == ' ' || c == '\t'; }

/* ---- lists of tags */

/* FWS at the start of s (2.8): blanks, around at most one line end that has a blank behind it. */
static size_t white(struct str s)
{
	size_t n = 0, behind;

	while (n < s.n && is_blank(s.p[n]))
		n++;
	behind = n + 2;
	if (s.n - n < 3 || s.p[n] != '\r' || s.p[n + 1] != '\n' || !is_blank(s.p[behind]))
		return n;
	while (behind < s.n && is_blank(s.p[behind]))
		behind++;
	return behind;
}

static struct str skip_white(struct str s) { return str_from(s, white(s)); }

/* tag-value: printable words with white space between them. False: something else is in it. *value without the white space behind it. */
static bool read_value(struct str s, struct str *value)
{
	size_t end = 0;

	for (size_t i = 0; i < s.n;) {
		size_t n = white(str_from(s, i));

		i += n;
		if (n)
			continue;
		if ((unsigned char)s.p[i] <= ' ' || s.p[i] == 0x7f)
			return false;
		end = ++i;
	}
	*value = (struct str){ s.p, end };
	return true;
}

static const char *read_tag(struct str spec, struct dkim_tag *out)
{
	struct str rest = skip_white(spec);
	size_t n = 0;

	while (n < rest.n && (ascii_alpha(rest.p[n]) || (n && (ascii_digit(rest.p[n]) || rest.p[n] == '_'))))
		n++;
	if (!n)
		return "a tag has no name";
	out->name = (struct str){ rest.p, n };
	rest = skip_white(str_from(rest, n));
	if (!rest.n || rest.p[0] != '=')
		return "a tag has no value";
	out->raw = str_from(rest, 1);
	return read_value(skip_white(out->raw), &out->value) ? NULL : "a tag's value has an octet that does not belong there";
}

const char *dkim_tags_parse(struct str text, struct dkim_tags *out)
{
	struct str spec;
	const char *wrong;

	out->n = 0;
	while (text.n) {
		if (!str_cut(&text, ';', &spec)) {
			spec = text;
			text.n = 0;
			if (out->n && white(spec) == spec.n)    /* behind the last ; */
				break;
		}
		if (out->n == DKIM_TAGS)
			return "there are too many tags";
		if ((wrong = read_tag(spec, &out->tag[out->n])))
			return wrong;
		for (size_t i = 0; i < out->n; i++)
			if (str_eq(out->tag[i].name, out->tag[out->n].name))
				return "a tag stands there twice";
		out->n++;
	}
	return out->n ? NULL : "there is no tag";
}

const struct dkim_tag *dkim_tag(const struct dkim_tags *t, const char *name)
{
	for (size_t i = 0; i < t->n; i++)
		if (str_eq(t->tag[i].name, str_of(name)))
			return &t->tag[i];
	return NULL;
}

bool dkim_next_item(struct str *rest, struct str *item)
{
	struct str value;

	if (!rest->p)
		return false;
	if (!str_cut(rest, ':', &value)) {
		value = *rest;
		*rest = (struct str){ NULL, 0 };
	}
	value = skip_white(value);
	while (value.n && (is_blank(value.p[value.n - 1]) || value.p[value.n - 1] == '\n' || value.p[value.n - 1] == '\r'))
		value.n--;
	*item = value;
	return true;
}

static bool list_has(struct str list, const char *wanted)
{
	struct str item;

	while (dkim_next_item(&list, &item))
		if (str_eq_nocase(item, str_of(wanted)))
			return true;
	return false;
}

/* Base64 with white space in it (2.10). */
static bool decode(struct str text, unsigned char *out, size_t *n)
{
	struct buf tight = { .max = 4 * (*n / 3 + 2) };
	bool ok = true;

	for (size_t i = 0; ok && i < text.n; i++)
		if (!is_blank(text.p[i]) && text.p[i] != '\r' && text.p[i] != '\n')
			ok = buf_char(&tight, text.p[i]);
	ok = ok && base64_decode(buf_view(&tight), out, n);
	buf_free(&tight);
	return ok;
}

/* ---- a signature */

static bool conclude(struct dkim_signature *s, enum dkim_result result, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* False, always: it does not go on from here. */
static bool conclude(struct dkim_signature *s, enum dkim_result result, const char *fmt, ...)
{
	va_list ap;

	s->result = result;
	va_start(ap, fmt);
	vsnprintf(s->why, sizeof s->why, fmt, ap);
	va_end(ap);
	ascii_make_printable(s->why);
	return false;
}

/* Labels of letters, digits, - and _: a selector is looked up, nothing else. */
static bool is_selector(const char *s)
{
	size_t label = 0;

	for (; *s; s++) {
		if (*s == '.' && !label)
			return false;
		label = *s == '.' ? 0 : label + 1;
		if (label > 63 || (*s != '.' && *s != '-' && *s != '_' && !ascii_alpha(*s) && !ascii_digit(*s)))
			return false;
	}
	return label > 0;
}

static void lower(char *s)
{
	for (; *s; s++)
		*s = ascii_lower(*s);
}

static bool take_version(struct dkim_signature *s, struct str value)
{
	return str_eq(value, STR("1")) || conclude(s, DKIM_PERMERROR, "v= is not 1");
}

static bool take_algorithm(struct dkim_signature *s, struct str value)
{
	if (!str_copy(s->algorithm, sizeof s->algorithm, value))
		return conclude(s, DKIM_PERMERROR, "a= is no algorithm");
	if (str_eq_nocase(value, STR("rsa-sha1")))              /* RFC 8301 3.1 */
		return conclude(s, DKIM_PERMERROR, "rsa-sha1 is not believed any more");
	s->kind = str_eq_nocase(value, STR("rsa-sha256")) ? KEY_RSA : KEY_ED25519;
	if (s->kind == KEY_ED25519 && !str_eq_nocase(value, STR("ed25519-sha256")))
		return conclude(s, DKIM_NEUTRAL, "the algorithm of a= is not known here");
	return (s->kind == KEY_RSA || ed25519_available()) || conclude(s, DKIM_NEUTRAL, "Ed25519 cannot be checked here");
}

static bool take_signature(struct dkim_signature *s, struct str value)
{
	size_t n = sizeof s->octets;

	if (!decode(value, s->octets, &n) || !n)
		return conclude(s, DKIM_PERMERROR, "b= is not the base64 of a signature");
	s->n = n;
	return true;
}

static bool take_body_hash(struct dkim_signature *s, struct str value)
{
	size_t n = sizeof s->body_digest;

	return (decode(value, s->body_digest, &n) && n == sizeof s->body_digest) || conclude(s, DKIM_PERMERROR, "bh= is not the base64 of a SHA-256 hash");
}

static bool read_canon(struct str word, enum dkim_canon *out)
{
	*out = str_eq_nocase(word, STR("relaxed")) ? DKIM_RELAXED : DKIM_SIMPLE;
	return *out == DKIM_RELAXED || str_eq_nocase(word, STR("simple"));
}

static bool take_canon(struct dkim_signature *s, struct str value)
{
	struct str header = value, body = value;

	if (!str_cut(&body, '/', &header)) {
		header = value;
		body = STR("simple");
	}
	return (read_canon(header, &s->header) && read_canon(body, &s->body)) || conclude(s, DKIM_PERMERROR, "c= is not known");
}

static bool take_domain(struct dkim_signature *s, struct str value)
{
	char domain[DOMAIN_MAX + 1];

	if (parse_domain(value, true, false) || idn_to_ascii(value, domain) || !strchr(domain, '.'))
		return conclude(s, DKIM_PERMERROR, "d= is no domain");
	lower(domain);
	memcpy(s->domain, domain, sizeof domain);
	return true;
}

static bool take_selector(struct dkim_signature *s, struct str value)
{
	char selector[DOMAIN_MAX + 1];

	if (idn_to_ascii(value, selector) || !is_selector(selector))
		return conclude(s, DKIM_PERMERROR, "s= is no selector");
	lower(selector);
	memcpy(s->selector, selector, sizeof selector);
	return true;
}

static bool take_identity(struct dkim_signature *s, struct str value)
{
	return str_copy(s->identity, sizeof s->identity, value) || conclude(s, DKIM_PERMERROR, "i= is no identity");
}

static bool take_limit(struct dkim_signature *s, struct str value)
{
	return (value.n <= 76 && str_number(value, UINT64_MAX - 1, &s->limit)) || conclude(s, DKIM_PERMERROR, "l= is no number");
}

/* RFC 8617 4.2.1: from 1 on. */
static bool take_instance(struct dkim_signature *s, struct str value)
{
	uint64_t n = 0;

	s->instance = str_number(value, ARC_SETS, &n) ? (unsigned)n : 0;
	return s->instance || conclude(s, DKIM_PERMERROR, "i= is no number from 1 to %d", ARC_SETS);
}

static bool take_chain(struct dkim_signature *s, struct str value)
{
	s->chain = str_eq_nocase(value, STR("none")) ? 'n' : str_eq_nocase(value, STR("pass")) ? 'p' : str_eq_nocase(value, STR("fail")) ? 'f' : 0;
	return s->chain || conclude(s, DKIM_PERMERROR, "cv= is neither none, pass nor fail");
}

static bool take_query(struct dkim_signature *s, struct str value)
{
	return list_has(value, "dns/txt") || conclude(s, DKIM_PERMERROR, "q= has no way to a key that is known");
}

static bool take_time(struct dkim_signature *s, struct str value)
{
	uint64_t t;

	s->time = str_number(value, INT64_MAX, &t) ? (int64_t)t : -1;
	return s->time != -1 || conclude(s, DKIM_PERMERROR, "t= is no time");
}

static bool take_expiry(struct dkim_signature *s, struct str value)
{
	uint64_t t;

	s->expires = str_number(value, INT64_MAX, &t) ? (int64_t)t : -1;
	return s->expires != -1 || conclude(s, DKIM_PERMERROR, "x= is no time");
}

static bool is_field_name(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= ' ' || s.p[i] >= 0x7f)
			return false;
	return s.n > 0;
}

static bool take_names(struct dkim_signature *s, struct str value)
{
	struct str rest = value, name;

	while (dkim_next_item(&rest, &name))
		if (!is_field_name(name))
			return conclude(s, DKIM_PERMERROR, "h= has something that is no field's name");
	return list_has(value, "from") || conclude(s, DKIM_PERMERROR, "From is not among the signed fields");
}

/* RFC 8617 4.1.2: what is sealed afterwards cannot be signed before. */
static bool take_names_of_arc(struct dkim_signature *s, struct str value)
{
	struct str rest = value, name;

	while (value.n && dkim_next_item(&rest, &name))
		if (name.n && !is_field_name(name))
			return conclude(s, DKIM_PERMERROR, "h= has something that is no field's name");
	return !value.n || !list_has(value, "arc-seal") || conclude(s, DKIM_PERMERROR, "ARC-Seal is among the signed fields");
}

static bool take_no_names(struct dkim_signature *s, struct str value)
{
	(void)value;
	return conclude(s, DKIM_PERMERROR, "a seal has no h=");
}

/* In the order in which they are looked at: whose signature it is comes first, so that it can be said. */
enum { OF_ARC = DKIM_ARC_MESSAGE | DKIM_ARC_SEAL, OF_MESSAGE = DKIM_FIELD | DKIM_ARC_MESSAGE, OF_ALL = OF_ARC | DKIM_FIELD };
static const struct {
	const char *name;
	unsigned known, needed;         /* by which fields */
	bool (*take)(struct dkim_signature *, struct str value);
} tags[] = {
	{ "v", DKIM_FIELD, DKIM_FIELD, take_version },
	{ "d", OF_ALL, OF_ALL, take_domain },
	{ "s", OF_ALL, OF_ALL, take_selector },
	{ "a", OF_ALL, OF_ALL, take_algorithm },
	{ "i", DKIM_FIELD, 0, take_identity },
	{ "i", OF_ARC, OF_ARC, take_instance },
	{ "c", OF_MESSAGE, 0, take_canon },
	{ "q", OF_MESSAGE, 0, take_query },
	{ "l", OF_MESSAGE, 0, take_limit },
	{ "t", OF_ALL, 0, take_time },
	{ "x", OF_MESSAGE, 0, take_expiry },
	{ "h", DKIM_FIELD, DKIM_FIELD, take_names },
	{ "h", DKIM_ARC_MESSAGE, DKIM_ARC_MESSAGE, take_names_of_arc },
	{ "h", DKIM_ARC_SEAL, 0, take_no_names },
	{ "cv", DKIM_ARC_SEAL, DKIM_ARC_SEAL, take_chain },
	{ "bh", OF_MESSAGE, OF_MESSAGE, take_body_hash },
	{ "b", OF_ALL, OF_ALL, take_signature },
};

/* The domain of i=, in the DNS's words. */
static bool identity_domain(const char *identity, char out[DOMAIN_MAX + 1])
{
	struct str domain = str_of(identity), local;

	if (!str_cut_last(&domain, '@', &local) || idn_to_ascii(domain, out) || parse_domain(str_of(out), false, false))
		return false;
	lower(out);
	return true;
}

static bool is_below(const char *name, const char *domain)
{
	size_t n = strlen(name), m = strlen(domain);

	return n > m && name[n - m - 1] == '.' && strcmp(name + n - m, domain) == 0;
}

/* What the tags must be to each other. */
static bool fits_together(struct dkim_signature *s)
{
	char domain[DOMAIN_MAX + 1];

	if (s->time != -1 && s->expires != -1 && s->expires <= s->time)
		return conclude(s, DKIM_PERMERROR, "x= is not later than t=");
	if (strlen(s->selector) + strlen("._domainkey.") + strlen(s->domain) > DOMAIN_MAX - 2)
		return conclude(s, DKIM_PERMERROR, "s= and d= are too long together");
	if (!s->identity[0])
		return true;
	if (!identity_domain(s->identity, domain) || (strcmp(domain, s->domain) != 0 && !is_below(domain, s->domain)))
		return conclude(s, DKIM_PERMERROR, "i= is not within d=");
	return true;
}

bool dkim_field_parse(enum dkim_field kind, struct str value, struct dkim_signature *out, struct str *names, struct str *raw)
{
	struct dkim_tags list;
	const struct dkim_tag *h;
	const char *wrong;

	/* A seal has one form; of a message that does not say its form the published suite of ARC expects the same. */
	*out = (struct dkim_signature){ .header = kind == DKIM_FIELD ? DKIM_SIMPLE : DKIM_RELAXED, .body = kind == DKIM_FIELD ? DKIM_SIMPLE : DKIM_RELAXED, .limit = UINT64_MAX, .time = -1, .expires = -1 };
	*names = *raw = STR("");
	if (value.n > DKIM_FIELD_MAX)
		return conclude(out, DKIM_PERMERROR, "the signature has more than %d octets", DKIM_FIELD_MAX);
	if ((wrong = dkim_tags_parse(value, &list)))
		return conclude(out, DKIM_PERMERROR, "in the signature %s", wrong);
	for (size_t i = 0; i < sizeof tags / sizeof *tags; i++) {
		const struct dkim_tag *tag = dkim_tag(&list, tags[i].name);

		if (!tag && tags[i].needed & kind)
			return conclude(out, DKIM_PERMERROR, "the signature has no %s=", tags[i].name);
		if (tag && tags[i].known & kind && !tags[i].take(out, tag->value))
			return false;
	}
	if (!fits_together(out))
		return false;
	h = dkim_tag(&list, "h");
	*names = h ? h->value : STR("");
	*raw = dkim_tag(&list, "b")->raw;
	return true;
}

bool dkim_signature_parse(struct str value, struct dkim_signature *out, struct str *names, struct str *raw)
{
	return dkim_field_parse(DKIM_FIELD, value, out, names, raw);
}

/* ---- a key record */

const char *dkim_key_parse(struct str record, struct dkim_key *out)
{
	struct dkim_tags list;
	const struct dkim_tag *v, *k, *h, *p, *s, *t;
	const char *wrong;

	*out = (struct dkim_key){ 0 };
	if ((wrong = dkim_tags_parse(record, &list)))
		return wrong;
	v = dkim_tag(&list, "v");
	if (v && (v != &list.tag[0] || !str_eq(v->value, STR("DKIM1"))))
		return "its v= is not DKIM1, or not its first tag";
	if (!(p = dkim_tag(&list, "p")))
		return "it has no p=";
	k = dkim_tag(&list, "k");
	if (k && !str_eq_nocase(k->value, STR("rsa")) && !str_eq_nocase(k->value, STR("ed25519")))
		return "its k= is not known here";
	out->kind = k && !str_eq_nocase(k->value, STR("rsa")) ? KEY_ED25519 : KEY_RSA;
	if ((h = dkim_tag(&list, "h")) && !list_has(h->value, "sha256"))
		return "its h= does not allow sha256";
	s = dkim_tag(&list, "s");
	out->email = !s || list_has(s->value, "*") || list_has(s->value, "email");
	out->tlsrpt = !s || list_has(s->value, "*") || list_has(s->value, "tlsrpt");
	if (!out->email && !out->tlsrpt)
		return "its s= does not allow mail";
	if ((t = dkim_tag(&list, "t"))) {
		out->testing = list_has(t->value, "y");
		out->exact = list_has(t->value, "s");
	}
	if (!p->value.n) {
		out->revoked = true;
		return NULL;
	}
	out->n = sizeof out->octets;
	if (!decode(p->value, out->octets, &out->n))
		return "its p= is no base64, or of a key that is too large";
	return public_key_read(out->kind, (struct str){ (const char *)out->octets, out->n }, &out->key);
}

/* ---- a message */

struct dkim {
	struct buf header;              /* until it is whole */
	size_t looked;                  /* octets of it that hold no end of a header */
	bool in_body, ended;
	enum dkim_result fault;         /* DKIM_NONE: none */
	const char *why;                /* of it */
	size_t n, passed_over;
	struct dkim_signature *signature;
	size_t nbody;                   /* different ways to hash the body */
	struct dkim_body body[DKIM_SIGNATURES + 1];     /* one for ARC */
	unsigned char digest[DKIM_SIGNATURES + 1][DKIM_DIGEST];
	struct arc *arc;                /* NULL: there is no field of it */
};

struct dkim *dkim_new(void) { return calloc(1, sizeof(struct dkim)); }

void dkim_free(struct dkim *d)
{
	if (!d)
		return;
	buf_free(&d->header);
	arc_free(d->arc);
	free(d->signature);
	free(d);
}

/* Signatures that hash the body in the same way share the work. */
static size_t place_body(struct dkim *d, const struct dkim_signature *s)
{
	size_t i = 0;

	while (i < d->nbody && (d->body[i].canon != s->body || d->body[i].limit != s->limit))
		i++;
	if (i == d->nbody)
		dkim_body_begin(&d->body[d->nbody++], s->body, s->limit);
	return i;
}

static const struct str signature_name = { "DKIM-Signature", 14 };

static void take_signature_field(struct dkim *d, struct dkim_fields *fields, const struct field *f)
{
	struct dkim_signature *s = &d->signature[d->n++];
	struct str names, raw;
	struct hashing hash;

	if (!dkim_signature_parse(f->value, s, &names, &raw))
		return;
	dkim_fields_hash(fields, s->header, names, f->whole, &hash);
	if (!dkim_own_hash(&hash, s->header, f->whole, raw, s->header_digest))
		conclude(s, DKIM_TEMPERROR, "out of memory");
	s->place = place_body(d, s);
}

static void fail(struct dkim *d, enum dkim_result result, const char *why)
{
	d->fault = result;
	d->why = why;
	d->in_body = true;
}

static void read_arc(struct dkim *d, struct str header, struct dkim_fields *fields)
{
	struct dkim_signature *s;

	d->arc = arc_new(header, fields);
	if (!d->arc)
		fail(d, DKIM_TEMPERROR, "out of memory");
	else if ((s = arc_message(d->arc)))
		s->place = place_body(d, s);
}

static void read_header(struct dkim *d, struct str header)
{
	struct str rest = header;
	struct dkim_fields *fields;
	const char *why;
	size_t all = 0, arc = 0, n;
	struct field f;

	while (header_next(&rest, &f)) {
		all += str_eq_nocase(f.name, signature_name);
		arc += arc_is_field(f.name);
	}
	if (!all && !arc && !rest.n)
		return;
	fields = dkim_fields_new(header, &why);
	if (!fields) {
		fail(d, rest.n ? DKIM_PERMERROR : DKIM_TEMPERROR, why);
		return;
	}
	if (arc)
		read_arc(d, header, fields);
	n = all < DKIM_SIGNATURES ? all : DKIM_SIGNATURES;
	d->passed_over = all - n;
	d->signature = calloc(n + 1, sizeof *d->signature);
	if (!d->signature)
		fail(d, DKIM_TEMPERROR, "out of memory");
	rest = header;
	while (d->signature && d->n < n && header_next(&rest, &f))
		if (str_eq_nocase(f.name, signature_name))
			take_signature_field(d, fields, &f);
	dkim_fields_free(fields);
}

static void add_body(struct dkim *d, struct str text)
{
	for (size_t i = 0; i < d->nbody; i++)
		dkim_body_add(&d->body[i], text);
}

/* The header is the first n octets of what is held. */
static void end_header(struct dkim *d, size_t n)
{
	struct str all = buf_view(&d->header);

	d->in_body = true;
	read_header(d, (struct str){ all.p, n });
	add_body(d, str_from(all, n));
	buf_free(&d->header);
}

/* Where the header ends, with its empty line; 0: not yet. */
static size_t find_end(struct dkim *d)
{
	size_t back = d->looked < 3 ? d->looked : 3;
	const char *p = d->header.p, *end;

	if (d->header.n >= 2 && !memcmp(p, "\r\n", 2))
		return 2;
	end = d->header.n ? memmem(p + d->looked - back, d->header.n - d->looked + back, "\r\n\r\n", 4) : NULL;
	d->looked = d->header.n;
	return end ? (size_t)(end - p) + 4 : 0;
}

void dkim_add(struct dkim *d, struct str text)
{
	size_t room, end;

	while (text.n && !d->in_body) {
		room = DKIM_HEADER_MAX - d->header.n;
		if (room > 4096)
			room = 4096;            /* little of the body is held with it */
		if (room > text.n)
			room = text.n;
		if (!buf_add(&d->header, text.p, room)) {
			fail(d, DKIM_TEMPERROR, "out of memory");
			break;
		}
		text = str_from(text, room);
		if ((end = find_end(d)))
			end_header(d, end);
		else if (d->header.n == DKIM_HEADER_MAX)
			fail(d, DKIM_PERMERROR, "the header is larger than 256 KiB");
	}
	if (d->fault)
		buf_free(&d->header);
	add_body(d, text);
}

void dkim_end(struct dkim *d)
{
	if (!d->in_body)                /* no empty line: there is no body */
		end_header(d, d->header.n);
	for (size_t i = 0; i < d->nbody; i++)
		dkim_body_end(&d->body[i], d->digest[i]);
	d->ended = true;
}

/* ---- judging */

/* What the hashes say of a signature and a key that belong together. */
static void compare(const struct dkim *d, struct dkim_signature *s, const struct dkim_key *k)
{
	const struct dkim_body *b = &d->body[s->place % DKIM_NO_BODY];
	struct str octets = { (const char *)s->octets, s->n };

	if (s->place == DKIM_NO_BODY && public_key_check(&k->key, s->header_digest, octets))
		conclude(s, DKIM_PASS, "the seal holds");
	else if (s->place == DKIM_NO_BODY)
		conclude(s, DKIM_FAIL, "the seal does not hold");
	else if (s->limit != UINT64_MAX && s->limit > b->n)
		conclude(s, DKIM_PERMERROR, "l= is larger than the body");
	else if (!octets_same(s->body_digest, d->digest[s->place], DKIM_DIGEST))
		conclude(s, DKIM_FAIL, "the body is not the one that was signed");
	else if (!public_key_check(&k->key, s->header_digest, octets))
		conclude(s, DKIM_FAIL, "the signature does not hold: the header is not the one that was signed, or the key another one");
	else if (b->n > s->limit)
		conclude(s, DKIM_POLICY, "it holds, but what stands behind the first %llu octets of the body is not signed (l=)", (unsigned long long)s->limit);
	else
		conclude(s, DKIM_PASS, "the signature holds%s", k->testing ? " (its key is marked as a test)" : "");
}

/* RFC 6376 6.1.2. */
static void apply_key(const struct dkim *d, struct dkim_signature *s, const struct dkim_key *k)
{
	char domain[DOMAIN_MAX + 1];

	s->bits = k->key.bits;
	if (k->revoked)
		conclude(s, DKIM_PERMERROR, "the key is revoked (its p= is empty)");
	else if (k->kind != s->kind)
		conclude(s, DKIM_PERMERROR, "the key is of another kind than a= says");
	else if (k->key.kind == KEY_RSA && k->key.bits < RSA_MIN)               /* RFC 8301 3.2 */
		conclude(s, DKIM_PERMERROR, "the key has %u bits, which is too weak: %d are the least", k->key.bits, RSA_MIN);
	else if (k->key.kind == KEY_RSA && k->key.bits > RSA_MAX)
		conclude(s, DKIM_PERMERROR, "the key has %u bits; more than %d cannot be checked here", k->key.bits, RSA_MAX);
	else if (k->exact && s->identity[0] && identity_domain(s->identity, domain) && strcmp(domain, s->domain) != 0)
		conclude(s, DKIM_PERMERROR, "i= is below d=, which the key does not allow (t=s)");
	else
		compare(d, s, k);
	s->for_tlsrpt = s->result == DKIM_PASS && s->limit == UINT64_MAX && k->tlsrpt;
	if (s->result == DKIM_PASS && !k->email)
		conclude(s, DKIM_PERMERROR, "the key may sign reports of TLS, and no other mail (s=)");
	/* A key that is being tested must not make anybody worse off than without (3.6.1, t=y). */
	if (k->testing && s->result != DKIM_PASS && s->result != DKIM_POLICY) {
		size_t n = strlen(s->why);

		s->result = DKIM_NEUTRAL;
		snprintf(s->why + n, sizeof s->why - n, " (the key is marked as a test)");
	}
}

/* Several records at a name are tried one by one; what the first one says stays if none is better. */
static void try_records(const struct dkim *d, struct dkim_signature *s, const struct fact *f, const char *name)
{
	struct dkim_signature first = { .result = DKIM_NONE };

	for (size_t i = 0; i < f->n && i < DKIM_RECORDS; i++) {
		struct dkim_key k;
		const char *wrong = dkim_key_parse(f->record[i].data, &k);

		if (wrong)
			conclude(s, DKIM_PERMERROR, "the key record at %s cannot be used: %s", name, wrong);
		else
			apply_key(d, s, &k);
		if (s->result == DKIM_PASS || s->result == DKIM_POLICY)
			return;
		if (first.result == DKIM_NONE || (first.result == DKIM_PERMERROR && s->result != DKIM_PERMERROR))
			first = *s;
	}
	*s = first;
}

/* False: its key is on its way. */
static bool judge(struct dkim *d, struct dkim_signature *s, struct facts *facts, int64_t now)
{
	char name[2 * DOMAIN_MAX + 16];
	const struct fact *f;

	if (s->result != DKIM_NONE)
		return true;
	if (s->expires != -1 && s->expires < now) {
		conclude(s, DKIM_PERMERROR, "the signature has expired (x=)");
		return true;
	}
	snprintf(name, sizeof name, "%s._domainkey.%s", s->selector, s->domain);
	f = fact(facts, FACT_TXT, str_of(name));
	if (!f || !d->ended)
		return false;
	s->secure = f->secure;
	switch (f->outcome) {
	case FOUND:
		if (f->n) {
			try_records(d, s, f, name);
			break;
		}
		/* fall through */
	case NO_DATA:
	case NO_NAME:
		conclude(s, DKIM_PERMERROR, "there is no key at %s", name);
		break;
	case UNKNOWN:
		conclude(s, DKIM_TEMPERROR, "no key can be had now: %s: %s", name, f->why ? f->why : "no answer");
		break;
	}
	return true;
}

bool dkim_judge(struct dkim *d, struct facts *facts, int64_t now)
{
	bool all = d->ended;

	for (size_t i = 0; i < d->n; i++)
		all &= judge(d, &d->signature[i], facts, now);
	if (d->arc)
		all &= arc_judge(d->arc, d, facts, now);
	return all;
}

bool dkim_judge_one(struct dkim *d, struct dkim_signature *s, struct facts *facts, int64_t now) { return judge(d, s, facts, now); }

void dkim_give_up(struct dkim *d)
{
	for (size_t i = 0; i < d->n; i++)
		if (d->signature[i].result == DKIM_NONE)
			conclude(&d->signature[i], DKIM_TEMPERROR, "the key did not come in time");
	if (d->arc)
		arc_give_up(d->arc);
}

const struct arc *dkim_arc(const struct dkim *d) { return d->arc; }

size_t dkim_count(const struct dkim *d) { return d->n; }
const struct dkim_signature *dkim_at(const struct dkim *d, size_t i) { return &d->signature[i]; }
size_t dkim_passed_over(const struct dkim *d) { return d->passed_over; }

enum dkim_result dkim_fault(const struct dkim *d, const char **why)
{
	*why = d->why;
	return d->fault;
}

size_t dkim_holds(const struct dkim *d) { return d->header.room + (d->arc ? arc_holds(d->arc) : 0); }

void dkim_abandon(struct dkim *d, const char *why)
{
	if (!d->in_body)
		fail(d, DKIM_TEMPERROR, why);
	buf_free(&d->header);
}
