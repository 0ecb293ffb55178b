/* Slices of text. */
#include "lib/str.h"

#include <string.h>

char ascii_lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c; }
bool ascii_alpha(char c) { c = ascii_lower(c); return c >= 'a' && c <= 'z'; }
bool ascii_digit(char c) { return c >= '0' && c <= '9'; }
bool ascii_print(char c) { return c >= 0x20 && c < 0x7f; }

void ascii_make_printable(char *text)
{
	for (; *text; text++)
		if (!ascii_print(*text))
			*text = '?';
}

struct str str_of(const char *s)
{
	return (struct str){ s ? s : "", s ? strlen(s) : 0 };
}

bool str_eq(struct str a, struct str b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool str_eq_nocase(struct str a, struct str b)
{
	return a.n == b.n && str_starts_nocase(a, b);
}

bool str_starts_nocase(struct str s, struct str prefix)
{
	if (s.n < prefix.n)
		return false;
	for (size_t i = 0; i < prefix.n; i++)
		if (ascii_lower(s.p[i]) != ascii_lower(prefix.p[i]))
			return false;
	return true;
}

bool str_ends_nocase(struct str s, struct str suffix)
{
	return s.n >= suffix.n && str_eq_nocase(str_from(s, s.n - suffix.n), suffix);
}

bool str_cut(struct str *rest, char at, struct str *head)
{
	const char *c = rest->n ? memchr(rest->p, at, rest->n) : NULL;
	size_t before;

	if (!c)
		return false;
	before = (size_t)(c - rest->p);
	*head = (struct str){ rest->p, before };
	*rest = str_from(*rest, before + 1);
	return true;
}

bool str_cut_last(struct str *rest, char at, struct str *head)
{
	for (size_t i = rest->n; i > 0; i--) {
		if (rest->p[i - 1] != at)
			continue;
		*head = (struct str){ rest->p, i - 1 };
		*rest = str_from(*rest, i);
		return true;
	}
	return false;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

bool str_word(struct str *rest, struct str *word)
{
	size_t i = 0, start;

	while (i < rest->n && is_blank(rest->p[i]))
		i++;
	start = i;
	while (i < rest->n && !is_blank(rest->p[i]))
		i++;
	*word = str_from((struct str){ rest->p, i }, start);
	*rest = str_from(*rest, i);
	return word->n > 0;
}

struct str str_trim(struct str s)
{
	while (s.n && (is_blank(s.p[0]) || s.p[0] == '\r' || s.p[0] == '\n'))
		s.p++, s.n--;
	while (s.n && (is_blank(s.p[s.n - 1]) || s.p[s.n - 1] == '\r' || s.p[s.n - 1] == '\n'))
		s.n--;
	return s;
}

struct str str_from(struct str s, size_t at)
{
	if (at > s.n)
		at = s.n;
	return at ? (struct str){ s.p + at, s.n - at } : s;
}

bool str_number(struct str s, uint64_t max, uint64_t *out)
{
	uint64_t v = 0;

	if (s.n == 0)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		unsigned digit = (unsigned char)s.p[i] - '0';

		if (digit > 9 || v > max / 10 || (v == max / 10 && digit > max % 10))
			return false;
		v = v * 10 + digit;
	}
	*out = v;
	return true;
}

bool str_copy(char *dst, size_t size, struct str s)
{
	dst[0] = 0;
	if (s.n >= size || (s.n && memchr(s.p, 0, s.n)))
		return false;
	if (s.n)
		memcpy(dst, s.p, s.n);
	dst[s.n] = 0;
	return true;
}

size_t utf8_sequence(struct str s)
{
	static const struct { unsigned char first, last, low, high; size_t n; } row[] = {
		{ 0x00, 0x7f, 0x00, 0x00, 1 },
		{ 0xc2, 0xc2, 0xa0, 0xbf, 2 },          /* from U+00A0: the C1 controls below are as unwelcome as ESC */
		{ 0xc3, 0xdf, 0x80, 0xbf, 2 },
		{ 0xe0, 0xe0, 0xa0, 0xbf, 3 },          /* no overlong forms */
		{ 0xe1, 0xec, 0x80, 0xbf, 3 },
		{ 0xed, 0xed, 0x80, 0x9f, 3 },          /* no surrogates */
		{ 0xee, 0xef, 0x80, 0xbf, 3 },
		{ 0xf0, 0xf0, 0x90, 0xbf, 4 },
		{ 0xf1, 0xf3, 0x80, 0xbf, 4 },
		{ 0xf4, 0xf4, 0x80, 0x8f, 4 },          /* nothing above U+10FFFF */
	};
	const unsigned char *p = (const unsigned char *)s.p;
	size_t r = 0;

	while (r < sizeof(row) / sizeof(*row) && (*p < row[r].first || *p > row[r].last))
		r++;
	if (r == sizeof(row) / sizeof(*row) || s.n < row[r].n)
		return 0;
	if (row[r].n > 1 && (p[1] < row[r].low || p[1] > row[r].high))
		return 0;
	for (size_t i = 2; i < row[r].n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	return row[r].n;
}
