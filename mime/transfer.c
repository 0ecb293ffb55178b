/* DATA on the wire: dots off, dots on, line ends made whole.
 *
 * All three machines look for line ends only, with memchr(), and copy what lies between two changes in one piece:
 * a block without a dot at the start of a line is a single copy. `keep` is where that piece begins. */
#include "mime/transfer.h"

#include <string.h>

/* Where the last octet left us. Zero is "at the start of a line" for each machine. */
enum {
	START,                  /* behind CR LF, or nothing has come yet */
	TEXT,                   /* inside a line */
	CR,                     /* behind a CR that ends no line yet */
	DOT,                    /* undot: behind a dot that began a line; it was taken off */
	DOT_CR                  /* undot: behind such a dot and a CR, which is held back */
};

/* memchr() remembered: the next `c` at or behind p, or end. Each octet is looked at once however often we ask. */
struct finder {
	char c;
	const char *found;
};

static const char *find(struct finder *f, const char *p, const char *end)
{
	const char *c;

	if (f->found && f->found >= p)
		return f->found;
	c = p < end ? memchr(p, f->c, (size_t)(end - p)) : NULL;
	return f->found = c ? c : end;
}

static void flush(struct buf *out, const char *keep, const char *to)
{
	if (to > keep)
		buf_add(out, keep, (size_t)(to - keep));
}

/* ---- receiving */

static void count(struct undot *u, size_t n)
{
	u->line += n;
	if (u->line > u->longest)
		u->longest = u->line;
}

static bool any_eight_bit(const char *p, size_t n)
{
	uint64_t word, seen = 0;
	size_t i;

	for (i = 0; i + sizeof(word) <= n; i += sizeof(word)) {
		memcpy(&word, p + i, sizeof(word));
		seen |= word;
	}
	for (; i < n; i++)
		seen |= (unsigned char)p[i];
	return seen & UINT64_C(0x8080808080808080);
}

/* Takes text up to the next CR or LF that matters; the state is START or TEXT. Returns where it stopped. */
static const char *take_text(struct undot *u, const char *p, const char *end, struct finder *lf, struct finder *cr)
{
	const char *nl = find(lf, p, end), *ret = find(cr, p, end);

	if (ret < nl) {
		count(u, (size_t)(ret - p));
		u->state = CR;
		return ret + 1;
	}
	u->state = TEXT;
	if (nl == end) {
		count(u, (size_t)(end - p));
		return end;
	}
	u->bare = true;                 /* an LF that no CR came before */
	count(u, (size_t)(nl - p) + 1);
	return nl + 1;
}

/* The octet behind a CR. Anything but LF makes that CR one of the text. */
static const char *after_cr(struct undot *u, const char *p)
{
	if (*p == '\n') {
		u->line = 0;
		u->state = START;
		return p + 1;
	}
	u->bare = true;
	count(u, 1);
	u->state = TEXT;
	return p;
}

/* Only CR LF . CR LF ends the data (RFC 5321 4.1.1.4). What looks like it to a careless reader, with a CR or an LF
 * missing or to spare, is text, and is reported as bare: passed on, it could end the data at the next hop. */
size_t undot(struct undot *u, const char *in, size_t n, struct buf *out)
{
	struct finder lf = { .c = '\n' }, cr = { .c = '\r' };
	const char *p = in, *end = n ? in + n : in, *keep = in;

	if (n == 0)
		return 0;
	while (p < end && !u->ended) {
		switch (u->state) {
		case START:
			if (*p != '.') {
				p = take_text(u, p, end, &lf, &cr);
				break;
			}
			flush(out, keep, p);
			keep = ++p;
			u->state = DOT;
			break;
		case TEXT:
			p = take_text(u, p, end, &lf, &cr);
			break;
		case CR:
			p = after_cr(u, p);
			break;
		case DOT:
			if (*p != '\r') {
				p = take_text(u, p, end, &lf, &cr);
				break;
			}
			keep = ++p;
			u->state = DOT_CR;
			break;
		case DOT_CR:
			if (*p == '\n') {
				keep = ++p;
				u->ended = true;
				break;
			}
			buf_char(out, '\r');
			u->state = CR;
			break;
		}
	}
	flush(out, keep, p);
	n = (size_t)(p - in);
	if (!u->eight_bit)
		u->eight_bit = any_eight_bit(in, n);
	if (!u->nul)
		u->nul = memchr(in, 0, n) != NULL;
	return n;
}

/* ---- sending */

void line_ends_see(struct line_ends *e, const char *in, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char c = in[i];

		e->bare |= e->cr != (c == '\n');
		e->nul |= !c;
		e->complete = e->cr && c == '\n';
		e->cr = c == '\r';
	}
}

bool dot_add(struct dot *d, const char *in, size_t n, struct buf *out)
{
	const char *p = in, *end = n ? in + n : in, *keep = in;

	if (n == 0)
		return !out->bad;
	while (p < end) {
		if (d->state == CR && *p == '\n')
			d->state = START;
		else if (d->state == START && *p == '.') {
			flush(out, keep, p);
			buf_char(out, '.');
			keep = p;
			d->state = TEXT;
		} else {
			/* At an LF we look back for its CR; one that ends the block is remembered for the next. */
			const char *lf = memchr(p, '\n', (size_t)(end - p));

			p = lf ? lf : end - 1;
			d->state = TEXT;
			if (lf && lf > in && lf[-1] == '\r')
				d->state = START;
			else if (*p == '\r')
				d->state = CR;
		}
		p++;
	}
	flush(out, keep, end);
	return !out->bad;
}

bool dot_end(struct dot *d, struct buf *out)
{
	buf_puts(out, d->state == START ? ".\r\n" : "\r\n.\r\n");
	d->state = START;
	return !out->bad;
}

/* ---- text of local programs */

bool crlf_add(struct crlf *c, const char *in, size_t n, struct buf *out)
{
	struct finder lf = { .c = '\n' }, cr = { .c = '\r' };
	const char *p = in, *end = n ? in + n : in, *keep = in;

	if (n == 0)
		return !out->bad;
	if (c->state == CR && *p == '\n') {             /* its CR was written as CR LF already */
		keep = ++p;
		c->state = START;
	}
	while (p < end) {
		const char *nl = find(&lf, p, end), *ret = find(&cr, p, end);
		const char *eol = ret < nl ? ret : nl;

		if (eol == end) {
			c->state = TEXT;
			break;
		}
		c->state = START;
		p = eol + 1;
		if (*eol == '\r' && p < end && *p == '\n') {
			p++;
			continue;
		}
		if (*eol == '\r' && p == end)
			c->state = CR;
		flush(out, keep, eol);
		buf_add(out, "\r\n", 2);
		keep = p;
	}
	flush(out, keep, end);
	return !out->bad;
}

bool crlf_end(struct crlf *c, struct buf *out)
{
	if (c->state == TEXT)
		buf_add(out, "\r\n", 2);
	c->state = START;
	return !out->bad;
}
