/* Canonical forms of bodies and of fields (RFC 6376 3.4), hashed as they are made; fields are taken by name from the bottom up. */
#include "policy/dkim.h"

#include <stdlib.h>
#include <string.h>

#include "lib/map.h"
#include "mime/header.h"

static bool is_blank(char c) { return c == ' ' || c == '\t'; }

/* ---- canonical forms: what comes is gathered into blocks, and hashed up to a limit */

struct sink {
	struct hashing *hash;
	uint64_t limit, *n;
	size_t held;
	char text[512];
};

static void pour(struct sink *s, struct str text)
{
	uint64_t left = *s->n < s->limit ? s->limit - *s->n : 0;

	hash_add(s->hash, text.p, text.n < left ? text.n : (size_t)left);
	*s->n += text.n;
}

static void flush(struct sink *s)
{
	pour(s, (struct str){ s->text, s->held });
	s->held = 0;
}

static void put(struct sink *s, char c)
{
	if (s->held == sizeof s->text)
		flush(s);
	s->text[s->held++] = c;
}

static void put_text(struct sink *s, struct str text)
{
	if (text.n > sizeof s->text - s->held)
		flush(s);
	if (text.n > sizeof s->text) {
		pour(s, text);
	} else if (text.n) {
		memcpy(s->text + s->held, text.p, text.n);
		s->held += text.n;
	}
}

static void put_line_end(struct sink *s) { put_text(s, STR("\r\n")); }

void dkim_body_begin(struct dkim_body *b, enum dkim_canon canon, uint64_t limit)
{
	*b = (struct dkim_body){ .canon = canon, .limit = limit };
	hash_begin(&b->hash, HASH_SHA256);
}

/* Something follows: what was waiting for that counts. */
static void settle(struct dkim_body *b, struct sink *out)
{
	for (; b->lines; b->lines--)
		put_line_end(out);
	if (b->blank)
		put(out, ' ');
	b->blank = false;
	if (b->cr)
		put(out, '\r');
	b->cr = false;
}

/* Octets at the start of s that stand for themselves. */
static size_t plain(enum dkim_canon canon, struct str s)
{
	const char *cr;
	size_t n = 0;

	if (canon == DKIM_SIMPLE) {
		cr = memchr(s.p, '\r', s.n);
		return cr ? (size_t)(cr - s.p) : s.n;
	}
	while (n < s.n && s.p[n] != '\r' && !is_blank(s.p[n]))
		n++;
	return n;
}

void dkim_body_add(struct dkim_body *b, struct str s)
{
	struct sink out = { .hash = &b->hash, .limit = b->limit, .n = &b->n };
	size_t n;

	while (s.n && b->n <= b->limit) {
		char c = s.p[0];

		if (b->cr && c == '\n') {               /* 3.4.4: white space in front of it is gone */
			b->cr = b->blank = false;
			b->lines++;
			s = str_from(s, 1);
			continue;
		}
		if (b->cr)
			settle(b, &out);
		if (c == '\r' || (b->canon == DKIM_RELAXED && is_blank(c))) {
			*(c == '\r' ? &b->cr : &b->blank) = true;
			s = str_from(s, 1);
			continue;
		}
		n = plain(b->canon, s);
		settle(b, &out);
		put_text(&out, (struct str){ s.p, n });
		s = str_from(s, n);
	}
	flush(&out);
}

void dkim_body_end(struct dkim_body *b, unsigned char digest[DKIM_DIGEST])
{
	struct sink out = { .hash = &b->hash, .limit = b->limit, .n = &b->n };
	unsigned char whole[HASH_MAX];

	b->lines = b->cr ? b->lines : 0;
	if (b->cr)
		settle(b, &out);
	/* 3.4.3: an empty body is one line end in the simple form, 3.4.4: and nothing in the relaxed one. */
	if (b->canon == DKIM_SIMPLE || b->n || out.held)
		put_line_end(&out);
	flush(&out);
	hash_end(&b->hash, whole);
	memcpy(digest, whole, DKIM_DIGEST);
}

/* 3.4.2: the name in lower case, the value in one line with single blanks. */
static void put_relaxed(struct sink *out, struct str field)
{
	struct str name;
	bool blank = false, begun = false;

	if (!str_cut(&field, ':', &name))
		return;
	name = str_trim(name);
	for (size_t i = 0; i < name.n; i++)
		put(out, ascii_lower(name.p[i]));
	put(out, ':');
	for (size_t i = 0; i < field.n; i++) {
		char c = field.p[i];

		if (c == '\r' && i + 1 < field.n && field.p[i + 1] == '\n') {
			i++;
		} else if (is_blank(c)) {
			blank = true;
		} else {
			if (blank && begun)
				put(out, ' ');
			blank = false;
			begun = true;
			put(out, c);
		}
	}
}

/* A field with or without its line end. */
static void put_field(struct sink *out, enum dkim_canon canon, struct str field, bool line_end)
{
	if (field.n >= 2 && !memcmp(field.p + field.n - 2, "\r\n", 2))
		field.n -= 2;
	if (canon == DKIM_RELAXED)
		put_relaxed(out, field);
	else
		put_text(out, field);
	if (line_end)
		put_line_end(out);
}

/* ---- the fields of a header */

struct entry {
	struct str whole;
	struct entry *above;            /* the next one of its name */
};
struct name {
	struct map_node node;
	struct entry *last, *left;      /* from the bottom; where this signature has come to */
	size_t n;
	unsigned turn;                  /* the signature that `left` is of */
};
struct dkim_fields {
	struct map names;
	struct entry *entry;
	struct name *name;
	size_t nname;
	struct buf lower;               /* the names */
	unsigned turn;
};

void dkim_fields_free(struct dkim_fields *f)
{
	if (!f)
		return;
	map_free(&f->names);
	free(f->entry);
	free(f->name);
	buf_free(&f->lower);
	free(f);
}

static bool take_field(struct dkim_fields *f, struct entry *e, const struct field *field)
{
	struct str key = { f->lower.p + f->lower.n, field->name.n };
	struct map_node *node;
	struct name *name;

	for (size_t i = 0; i < field->name.n; i++)
		buf_char(&f->lower, ascii_lower(field->name.p[i]));
	node = map_get(&f->names, key);
	name = node ? (struct name *)(void *)node : &f->name[f->nname++];
	if (!node && !map_put(&f->names, &name->node, key))
		return false;
	*e = (struct entry){ field->whole, name->last };
	name->last = e;
	name->n++;
	return true;
}

/* A line that is no field could be read as the end of the header by one program and not by another. */
static bool ends_well(struct str header, struct str rest)
{
	return !rest.n && (header.n < 2 || !memcmp(header.p + header.n - 2, "\r\n", 2));
}

size_t dkim_header_end(struct str message)
{
	const char *end = message.n ? memmem(message.p, message.n, "\r\n\r\n", 4) : NULL;

	if (message.n >= 2 && !memcmp(message.p, "\r\n", 2))
		return 2;
	return end ? (size_t)(end - message.p) + 4 : message.n;
}

struct dkim_fields *dkim_fields_new(struct str header, const char **why)
{
	struct dkim_fields *f = calloc(1, sizeof *f);
	struct str rest = header;
	struct field field;
	size_t n = 0;
	bool ok = f != NULL;

	*why = "out of memory";
	while (header_next(&rest, &field))
		n++;
	if (ok && !ends_well(header, rest)) {
		*why = "a line in the header is no field";
		ok = false;
	}
	ok = ok && (f->entry = calloc(n + 1, sizeof *f->entry)) && (f->name = calloc(n + 1, sizeof *f->name)) && buf_reserve(&f->lower, header.n + 1);
	rest = header;
	for (size_t i = 0; ok && header_next(&rest, &field); i++)
		ok = take_field(f, &f->entry[i], &field);
	if (ok)
		return f;
	dkim_fields_free(f);
	return NULL;
}

static struct name *find_name(const struct dkim_fields *f, struct str name)
{
	return (struct name *)(void *)map_get(&f->names, name);
}

size_t dkim_fields_count(const struct dkim_fields *f, const char *name)
{
	const struct name *found = find_name(f, str_of(name));

	return found ? found->n : 0;
}

struct str dkim_fields_last(const struct dkim_fields *f, const char *name)
{
	const struct name *found = find_name(f, str_of(name));

	return found ? found->last->whole : STR("");
}

/* The next field of this name, whose own field is not among them (3.5, h=). */
static const struct entry *next_entry(struct dkim_fields *f, struct str name, struct str own)
{
	char lower[256];
	struct name *found;
	const struct entry *e;

	if (name.n > sizeof lower)
		return NULL;                    /* its length is that of no field we would sign; as if there were none */
	for (size_t i = 0; i < name.n; i++)
		lower[i] = ascii_lower(name.p[i]);
	found = find_name(f, (struct str){ lower, name.n });
	if (!found)
		return NULL;
	if (found->turn != f->turn)
		found->left = found->last;
	found->turn = f->turn;
	if (found->left && found->left->whole.p == own.p)
		found->left = found->left->above;
	e = found->left;
	if (e)
		found->left = e->above;
	return e;
}

void dkim_fields_hash(struct dkim_fields *f, enum dkim_canon canon, struct str names, struct str own, struct hashing *hash)
{
	uint64_t n = 0;
	struct sink out = { .hash = hash, .limit = UINT64_MAX, .n = &n };
	struct str name;

	hash_begin(hash, HASH_SHA256);
	f->turn++;
	while (dkim_next_item(&names, &name)) {
		const struct entry *e = next_entry(f, name, own);

		if (e)
			put_field(&out, canon, e->whole, true);
	}
	flush(&out);
}

void dkim_field_hash(struct hashing *hash, enum dkim_canon canon, struct str whole)
{
	uint64_t n = 0;
	struct sink out = { .hash = hash, .limit = UINT64_MAX, .n = &n };

	put_field(&out, canon, whole, true);
	flush(&out);
}

bool dkim_own_hash(struct hashing *hash, enum dkim_canon canon, struct str own, struct str raw, unsigned char digest[DKIM_DIGEST])
{
	uint64_t n = 0;
	struct sink out = { .hash = hash, .limit = UINT64_MAX, .n = &n };
	unsigned char whole[HASH_MAX];
	struct buf bare = { 0 };
	size_t before = (size_t)(raw.p - own.p);
	bool ok = buf_add(&bare, own.p, before) && buf_str(&bare, str_from(own, before + raw.n));

	put_field(&out, canon, buf_view(&bare), false);
	flush(&out);
	hash_end(hash, whole);
	memcpy(digest, whole, DKIM_DIGEST);
	buf_free(&bare);
	return ok;
}
