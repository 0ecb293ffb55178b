/* Owned, growing octets with a ceiling. */
#include "lib/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *refuse(struct buf *b)
{
	b->bad = true;
	return NULL;
}

static bool passes_ceiling(const struct buf *b, size_t n)
{
	return b->max && (b->n > b->max || n > b->max - b->n);
}

/* Room for n more octets, whatever the ceiling: a NUL at the end is ours and not part of it. */
static char *grow(struct buf *b, size_t n)
{
	size_t need = b->n + n, room = b->room ? b->room : 256;
	char *p;

	if (need < n)
		return refuse(b);
	if (need <= b->room)
		return b->p + b->n;
	while (room < need)
		room = room > SIZE_MAX / 2 ? need : 2 * room;
	p = realloc(b->p, room);
	if (!p)
		return refuse(b);
	b->p = p;
	b->room = room;
	return p + b->n;
}

char *buf_reserve(struct buf *b, size_t n)
{
	if (passes_ceiling(b, n))
		return refuse(b);
	return grow(b, n ? n : 1);      /* never NULL for nothing */
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
	size_t have = b->room - b->n;
	va_list ap, again;
	char *to = NULL;
	int n;

	va_start(ap, fmt);
	va_copy(again, ap);
	n = vsnprintf(have ? b->p + b->n : NULL, have, fmt, ap);
	va_end(ap);
	if (n >= 0 && !passes_ceiling(b, (size_t)n))
		to = grow(b, (size_t)n + 1);
	if (to && (size_t)n >= have)
		vsnprintf(to, (size_t)n + 1, fmt, again);
	va_end(again);
	if (to)
		b->n += (size_t)n;
	else
		refuse(b);
	return to;
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
	char *end = grow(b, 1);

	if (!end)
		return "";
	*end = 0;
	return b->p;
}
