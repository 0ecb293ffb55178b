/* Octets as text. */
#include "lib/codec.h"

#include <string.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

int hex_digit(char c)
{
	c = ascii_lower(c);
	return ascii_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool percent_decode(struct str text, char *out, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < text.n; i++) {
		int c = (unsigned char)text.p[i];

		if (c == '%') {
			if (i + 2 >= text.n || hex_digit(text.p[i + 1]) < 0 || hex_digit(text.p[i + 2]) < 0)
				return false;
			c = hex_digit(text.p[i + 1]) << 4 | hex_digit(text.p[i + 2]);
			i += 2;
		}
		if (c < 0x20 || c == 0x7f || n + 1 == size)
			return false;
		out[n++] = (char)c;
	}
	out[n] = '\0';
	return n > 0;
}

static bool encode(struct buf *out, struct str text, bool (*plain)(char))
{
	for (size_t i = 0; i < text.n; i++)
		if (plain(text.p[i]))
			buf_char(out, text.p[i]);
		else
			buf_printf(out, "%%%02X", (unsigned char)text.p[i]);
	return !out->bad;
}

static bool unreserved(char c) { return ascii_alpha(c) || ascii_digit(c) || c == '-' || c == '.' || c == '_' || c == '~'; }
static bool of_a_word(char c) { return c > ' ' && c < 0x7f && c != '%'; }

bool percent_encode(struct buf *out, struct str text) { return encode(out, text, unreserved); }
bool percent_word(struct buf *out, struct str text) { return encode(out, text, of_a_word); }

bool base64_encode(struct buf *out, const void *data, size_t n)
{
	const unsigned char *p = data;

	for (; n >= 3; p += 3, n -= 3) {
		buf_char(out, alphabet[p[0] >> 2]);
		buf_char(out, alphabet[(p[0] & 3) << 4 | p[1] >> 4]);
		buf_char(out, alphabet[(p[1] & 15) << 2 | p[2] >> 6]);
		buf_char(out, alphabet[p[2] & 63]);
	}
	if (n) {
		unsigned second = n == 2 ? p[1] : 0;

		buf_char(out, alphabet[p[0] >> 2]);
		buf_char(out, alphabet[(p[0] & 3) << 4 | second >> 4]);
		buf_char(out, n == 2 ? alphabet[(second & 15) << 2] : '=');
		buf_char(out, '=');
	}
	return !out->bad;
}

static int value_of(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool base64_decode(struct str text, unsigned char *out, size_t *n)
{
	size_t pad = text.n && text.p[text.n - 1] == '=' ? 1 + (text.n > 1 && text.p[text.n - 2] == '=') : 0;
	size_t digits = text.n - pad, done = 0;
	uint32_t bits = 0;
	unsigned have = 0;

	if (text.n % 4)
		return false;
	for (size_t i = 0; i < digits; i++) {
		int v = value_of(text.p[i]);

		if (v == -1)
			return false;
		bits = bits << 6 | (unsigned)v;
		have += 6;
		if (have < 8)
			continue;
		have -= 8;
		if (done == *n)
			return false;
		out[done++] = (unsigned char)(bits >> have);
	}
	*n = done;
	return (bits & ((1u << have) - 1)) == 0;
}

bool json_quote(struct buf *out, struct str s)
{
	buf_char(out, '"');
	while (s.n) {
		unsigned char c = (unsigned char)s.p[0];
		size_t n = utf8_sequence(s);

		if (c == '"' || c == '\\')
			buf_printf(out, "\\%c", c);
		else if (c < 0x20 || c == 0x7f || !n)
			buf_printf(out, "\\u%04x", n ? c : 0xfffdu);
		else
			buf_add(out, s.p, n);
		s = str_from(s, n ? n : 1);
	}
	return buf_char(out, '"');
}

/* XML 1.0 2.2: no control characters but three, and neither U+FFFE nor U+FFFF. */
static bool xml_has(struct str s, size_t n)
{
	return n > 1 ? n != 3 || memcmp(s.p, "\xef\xbf", 2) != 0 || (unsigned char)s.p[2] < 0xbe
		: n && (s.p[0] >= ' ' || s.p[0] == '\t' || s.p[0] == '\r' || s.p[0] == '\n');
}

bool xml_text(struct buf *out, struct str s)
{
	static const struct { char c; const char *name; } names[] = { { '&', "&amp;" }, { '<', "&lt;" }, { '>', "&gt;" }, { '"', "&quot;" }, { '\'', "&apos;" } };

	while (s.n) {
		size_t n = utf8_sequence(s), i = 0;

		while (i < sizeof names / sizeof *names && names[i].c != s.p[0])
			i++;
		if (i < sizeof names / sizeof *names)
			buf_puts(out, names[i].name);
		else if (xml_has(s, n))
			buf_add(out, s.p, n);
		else
			buf_puts(out, "\xef\xbf\xbd");
		s = str_from(s, n ? n : 1);
	}
	return !out->bad;
}
