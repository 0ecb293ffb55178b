/* Owned, growing octets with a ceiling. */
#include "lib/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *buf_reserve(struct buf *b, size_t n)
{
	size_t need = b->n + n, room = b->room ? b->room : 256;
	char *p;

	if (need < n || (b->max && need > b->max)) {
		b->bad = true;
		return NULL;
	}
	if (need <= b->room && b->p)
		return b->p + b->n;
	while (room < need) {
		if (room > SIZE_MAX / 2)
			room = need;
		else
			room *= 2;
	}
	p = realloc(b->p, room);
	if (!p) {
		b->bad = true;
		return NULL;
	}
	b->p = p;
	b->room = room;
	return p + b->n;
}

bool buf_add(struct buf *b, const void *p, size_t n)
{
	char *to = buf_reserve(b, n);

	if (!to)
		return false;
	if (n)
		memcpy(to, p, n);
	b->n += n;
	return true;
}

bool buf_str(struct buf *b, struct str s) { return buf_add(b, s.p, s.n); }
bool buf_puts(struct buf *b, const char *s) { return buf_add(b, s, strlen(s)); }
bool buf_char(struct buf *b, char c) { return buf_add(b, &c, 1); }

bool buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap, again;
	char *to = buf_reserve(b, 1);
	int n;

	if (!to)
		return false;
	va_start(ap, fmt);
	va_copy(again, ap);
	n = vsnprintf(to, b->room - b->n, fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n >= b->room - b->n) {
		to = buf_reserve(b, (size_t)n + 1);
		n = to ? vsnprintf(to, b->room - b->n, fmt, again) : -1;
	}
	va_end(again);
	if (n < 0 || (b->max && b->n + (size_t)n > b->max)) {
		b->bad = true;
		return false;
	}
	b->n += (size_t)n;
	return true;
}

void buf_drop(struct buf *b, size_t n)
{
	if (n >= b->n) {
		b->n = 0;
		return;
	}
	if (n) {
		memmove(b->p, b->p + n, b->n - n);
		b->n -= n;
	}
}

void buf_clear(struct buf *b)
{
	b->n = 0;
	b->bad = false;
}

void buf_free(struct buf *b)
{
	free(b->p);
	b->p = NULL;
	b->n = b->room = 0;
	b->bad = false;
}

struct str buf_view(const struct buf *b)
{
	return (struct str){ b->p ? b->p : "", b->n };
}

const char *buf_cstr(struct buf *b)
{
	char *end;

	if (b->max && b->n >= b->max && b->n >= b->room)        /* the NUL is ours, not part of the ceiling */
		return "";
	if (b->n < b->room) {
		b->p[b->n] = 0;
		return b->p;
	}
	end = buf_reserve(b, 1);
	if (!end)
		return "";
	*end = 0;
	return b->p;
}
