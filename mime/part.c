/* Parts of messages. */
#include "mime/part.h"

#include <string.h>

#include "lib/codec.h"
#include "mime/header.h"

enum { BOUNDARY_MAX = 200 };            /* RFC 2046 5.1.1 has 70 */

/* ---- an entity */

static bool is_word(struct str value, struct str word)
{
	return str_starts_nocase(value, word) && (value.n == word.n || (value.p[word.n] && strchr(" \t\r\n;(", value.p[word.n])));
}

void part_open(struct str entity, struct part *out)
{
	struct str rest = entity;
	struct field f;

	*out = (struct part){ .whole = entity, .type = STR("text/plain") };
	while (header_next(&rest, &f)) {
		struct str value = str_trim(f.value);

		if (str_eq_nocase(f.name, STR("Content-Type")))
			out->type = value;
		if (str_eq_nocase(f.name, STR("Content-Transfer-Encoding")))
			out->coding = is_word(value, STR("quoted-printable")) ? CODING_QUOTED : is_word(value, STR("base64")) ? CODING_BASE64 : CODING_NONE;
	}
	out->body = rest;
	out->header = (struct str){ entity.p, entity.n - rest.n };
}

bool part_is(const struct part *p, const char *type)
{
	struct str t = str_of(type);

	return t.n && t.p[t.n - 1] == '/' ? str_starts_nocase(p->type, t) : is_word(p->type, t);
}

/* Behind the next ; that is not in quotes. False: there is none. */
static bool next_param(struct str *rest)
{
	bool quoted = false;

	for (size_t i = 0; i < rest->n; i++) {
		char c = rest->p[i];

		if (quoted && c == '\\')
			i++;
		else if (c == '"')
			quoted = !quoted;
		else if (c == ';' && !quoted) {
			*rest = str_from(*rest, i + 1);
			return true;
		}
	}
	return false;
}

static bool copy_quoted(struct str value, char *out, size_t size)
{
	size_t n = 0;

	for (size_t i = 1; i < value.n && value.p[i] != '"'; i++) {
		if (value.p[i] == '\\' && i + 1 < value.n)
			i++;
		if (n + 1 >= size || !value.p[i])
			return false;
		out[n++] = value.p[i];
	}
	out[n] = '\0';
	return n > 0;
}

bool part_param(const struct part *p, const char *name, char *out, size_t size)
{
	struct str rest = p->type, value;
	size_t n = strlen(name);

	while (next_param(&rest)) {
		value = str_trim(rest);
		if (!str_starts_nocase(value, str_of(name)))
			continue;
		value = str_trim(str_from(value, n));
		if (!value.n || value.p[0] != '=')
			continue;
		value = str_trim(str_from(value, 1));
		if (value.n && value.p[0] == '"')
			return copy_quoted(value, out, size);
		for (n = 0; n < value.n && value.p[n] > ' ' && value.p[n] != ';' && value.p[n] != '('; n++)
			;
		return n && str_copy(out, size, (struct str){ value.p, n });
	}
	return false;
}

/* ---- the parts of one */

static struct str next_line(struct str *rest)
{
	struct str line;

	if (!str_cut(rest, '\n', &line)) {
		line = *rest;
		*rest = str_from(*rest, rest->n);
	}
	return line;
}

/* "--boundary", or "--boundary--". */
static bool is_delimiter(struct str line, struct str boundary, bool *last)
{
	if (line.n < boundary.n + 2 || line.p[0] != '-' || line.p[1] != '-' || memcmp(line.p + 2, boundary.p, boundary.n) != 0)
		return false;
	line = str_trim(str_from(line, 2 + boundary.n));
	*last = str_eq(line, STR("--"));
	return *last || !line.n;
}

static struct str without_line_end(struct str s)
{
	if (s.n && s.p[s.n - 1] == '\n')
		s.n--;
	if (s.n && s.p[s.n - 1] == '\r')
		s.n--;
	return s;
}

bool part_next(const struct part *whole, struct str *rest, struct part *out)
{
	char name[BOUNDARY_MAX + 1];
	struct str boundary, content;
	bool last = false, begun = false;

	if (!part_is(whole, "multipart/") || !part_param(whole, "boundary", name, sizeof name))
		return false;
	boundary = str_of(name);
	while (!begun && rest->n)
		begun = is_delimiter(next_line(rest), boundary, &last);
	if (!begun || last) {
		*rest = str_from(*rest, rest->n);
		return false;
	}
	content = *rest;
	while (rest->n) {
		struct str before = *rest;

		if (!is_delimiter(next_line(rest), boundary, &last))
			continue;
		content = without_line_end((struct str){ content.p, (size_t)(before.p - content.p) });
		*rest = last ? str_from(before, before.n) : before;
		break;
	}
	part_open(content, out);
	return true;
}

/* ---- what they say */

static void decode_quoted(struct str s, void (*each)(void *arg, char), void *arg)
{
	for (size_t i = 0; i < s.n; i++) {
		int high = i + 2 < s.n && s.p[i] == '=' ? hex_digit(s.p[i + 1]) : -1, low = high >= 0 ? hex_digit(s.p[i + 2]) : -1;

		if (low >= 0) {
			each(arg, (char)(high << 4 | low));
			i += 2;
		} else if (s.p[i] == '=' && i + 1 < s.n && (s.p[i + 1] == '\n' || s.p[i + 1] == '\r')) {
			i += 1 + (s.p[i + 1] == '\r' && i + 2 < s.n && s.p[i + 2] == '\n');
		} else {
			each(arg, s.p[i]);
		}
	}
}

static void decode_base64(struct str s, void (*each)(void *arg, char), void *arg)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	uint32_t bits = 0;
	unsigned have = 0;

	for (size_t i = 0; i < s.n; i++) {
		const char *at = s.p[i] ? strchr(letters, s.p[i]) : NULL;

		if (!at)
			continue;
		bits = bits << 6 | (uint32_t)(at - letters);
		have += 6;
		if (have < 8)
			continue;
		have -= 8;
		each(arg, (char)(bits >> have & 0xff));
	}
}

void coding_decode(enum coding c, struct str s, void (*each)(void *arg, char), void *arg)
{
	switch (c) {
	case CODING_NONE:
		for (size_t i = 0; i < s.n; i++)
			each(arg, s.p[i]);
		break;
	case CODING_QUOTED:
		decode_quoted(s, each, arg);
		break;
	case CODING_BASE64:
		decode_base64(s, each, arg);
		break;
	}
}

static void add(void *out, char c) { buf_char(out, c); }

bool part_decode(const struct part *p, struct buf *out)
{
	if (p->coding == CODING_NONE)
		buf_str(out, p->body);
	else
		coding_decode(p->coding, p->body, add, out);
	return !out->bad;
}
