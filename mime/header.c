/* Header fields, and the addresses in them. Every octet is looked at a fixed number of times, whatever a stranger wrote. */
#include "mime/header.h"

#include <string.h>

#include "parse.h"

/* ---- fields */

/* Octets of the first line of s with its LF (all of s when there is none). */
static size_t line_length(struct str s)
{
	const char *lf = s.n ? memchr(s.p, '\n', s.n) : NULL;

	return lf ? (size_t)(lf - s.p) + 1 : s.n;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* RFC 5322 2.2: printable, no colon; blanks before the colon are obsolete and still met (4.5). */
static bool field_name(struct str line, struct str *name, size_t *colon)
{
	size_t n = 0, at;

	while (n < line.n && line.p[n] > ' ' && line.p[n] < 0x7f && line.p[n] != ':')
		n++;
	for (at = n; at < line.n && is_blank(line.p[at]); at++)
		;
	if (n == 0 || at == line.n || line.p[at] != ':')
		return false;
	*name = (struct str){ line.p, n };
	*colon = at;
	return true;
}

static struct str without_line_end(struct str s)         /* a CR alone is no line end */
{
	if (s.n == 0 || s.p[s.n - 1] != '\n')
		return s;
	s.n--;
	if (s.n && s.p[s.n - 1] == '\r')
		s.n--;
	return s;
}

bool header_next(struct str *rest, struct field *out)
{
	struct str line = { rest->p, line_length(*rest) };
	size_t n = line.n, colon;

	if (without_line_end(line).n == 0) {
		*rest = str_from(*rest, n);
		return false;
	}
	if (!field_name(line, &out->name, &colon))
		return false;
	while (n < rest->n && is_blank(rest->p[n]))
		n += line_length(str_from(*rest, n));
	out->whole = (struct str){ rest->p, n };
	out->value = without_line_end(str_from(out->whole, colon + 1));
	*rest = str_from(*rest, n);
	return true;
}

size_t header_length(struct str message)
{
	struct str rest = message;
	struct field f;

	while (header_next(&rest, &f))
		;
	return message.n - rest.n;
}

unsigned header_count(struct str message, struct str name)
{
	struct field f;
	unsigned n = 0;

	while (header_next(&message, &f))
		n += str_eq_nocase(f.name, name);
	return n;
}

/* ---- addresses (RFC 5322 3.4, with the obsolete forms of 4.4) */

/* What may be an address, put together word by word without comments and folding. */
struct candidate {
	char text[ADDR_MAX + 1];
	size_t n;
	bool any;               /* something stands here */
	bool qualified;         /* it has an @ */
	bool literal;           /* it has a "[...]" */
	bool word_last;         /* the last piece was a word: another one makes it a phrase */
	bool spoilt;            /* a phrase, too long, or not to be understood */
	const char *from, *to;  /* where it stands in the value */
};

struct list {
	struct str rest;
	struct candidate now;
	bool in_angle, had_angle, in_group;
	bool strict;            /* a display name is one: header_authors() */
	bool good;              /* nothing was met that could not be understood */
	bool (*each)(void *arg, const struct addr *);
	void *arg;
};

/* Skips a comment, which may hold others to any depth. False: it does not end. */
static bool skip_comment(struct str *in)
{
	size_t depth = 0;

	for (size_t i = 0; i < in->n; i++) {
		if (in->p[i] == '\\')
			i++;
		else if (in->p[i] == '(')
			depth++;
		else if (in->p[i] == ')' && --depth == 0) {
			*in = str_from(*in, i + 1);
			return true;
		}
	}
	*in = str_from(*in, in->n);
	return false;
}

/* Length of the quoted string at the start of s, with its quotes, or 0: it does not end. */
static size_t quoted_length(struct str s)
{
	for (size_t i = 1; i < s.n; i++) {
		if (s.p[i] == '\\')
			i++;
		else if (s.p[i] == '"')
			return i + 1;
	}
	return 0;
}

static size_t atom_length(struct str s)
{
	size_t n = 0;

	while (n < s.n && !(s.p[n] && strchr(" \t\r\n()<>[]:;@,.\"", s.p[n])))
		n++;
	return n;
}

/* The address literal at the start of s, or all when it does not end. */
static size_t literal_length(struct str s)
{
	const char *close = memchr(s.p, ']', s.n);

	return close ? (size_t)(close - s.p) + 1 : s.n;
}

/* Folding is undone: line ends go, the blank behind them stays. */
static void add_octets(struct candidate *c, struct str s)
{
	if (!c->any)
		c->from = s.p;
	c->to = s.p + s.n;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '\r' || s.p[i] == '\n')
			continue;
		if (c->n == ADDR_MAX) {
			c->spoilt = true;
			return;
		}
		c->text[c->n++] = s.p[i] == '\t' ? ' ' : s.p[i];
	}
}

static void add_word(struct candidate *c, struct str s)
{
	if (c->word_last)
		c->spoilt = true;
	add_octets(c, s);
	c->any = c->word_last = true;
}

/* '.' or '@' between words. */
static void add_mark(struct candidate *c, struct str s)
{
	add_octets(c, s);
	c->any = true;
	c->qualified |= s.p[0] == '@';
	c->word_last = false;
}

/* The text is left as it is: clearing it at each comma would cost more than all the rest. */
static void start_over(struct list *l)
{
	struct candidate *c = &l->now;

	c->n = 0;
	c->any = c->qualified = c->literal = c->word_last = c->spoilt = false;
}

/* "<@a,@b:c@d>": what has come of the candidate is a source route. */
static bool in_route(const struct list *l)
{
	return l->in_angle && l->now.n && l->now.text[0] == '@';
}

/* An unqualified name is judged as if it had a domain. */
static bool split(const struct candidate *c, struct addr *out)
{
	static const char host[] = "@localhost";
	char whole[sizeof(c->text) + sizeof(host)];
	struct str text = { c->text, c->n };

	if (c->spoilt)
		return false;
	if (c->qualified)
		return parse_address(text, true, out) == NULL;
	memcpy(whole, c->text, c->n);
	memcpy(whole + c->n, host, sizeof(host) - 1);
	if (parse_address((struct str){ whole, c->n + sizeof(host) - 1 }, true, out))
		return false;
	out->local = text;
	out->domain = (struct str){ c->text + c->n, 0 };
	return true;
}

/* Hands the candidate over. False: the caller wants no more. */
static bool give(struct list *l)
{
	struct addr a;
	bool go_on = true;

	if (split(&l->now, &a))
		go_on = l->each(l->arg, &a);
	else
		l->good = false;
	start_over(l);
	return go_on;
}

/* At ',' ';' or the end: what stood there was an address without brackets, or nothing, or followed a '>'. */
static bool end_of_item(struct list *l)
{
	bool go_on = true;

	if (l->in_angle || (l->had_angle && l->now.any))
		l->good = false;
	else if (l->now.any)
		go_on = give(l);
	start_over(l);
	l->in_angle = l->had_angle = false;
	return go_on;
}

static bool on_open(struct list *l)
{
	bool go_on = true;

	if (l->in_angle || l->had_angle)
		l->good = false;
	/* RFC 5322 3.4: what stands there is a phrase. Where an address does, some take that one for the author's. */
	if (l->strict && (l->now.qualified || l->now.literal))
		go_on = give(l);
	start_over(l);                  /* that was the display name */
	l->in_angle = true;
	return go_on;
}

static bool on_close(struct list *l)
{
	if (!l->in_angle) {
		l->now.spoilt = l->now.any = true;
		return true;
	}
	l->in_angle = false;
	l->had_angle = true;
	return give(l);
}

/* The end of a group's name, or of a route inside the brackets, or out of place. */
static bool on_colon(struct list *l)
{
	bool expected = l->in_angle ? in_route(l) : l->now.any && !l->now.qualified && !l->in_group && !l->had_angle;

	if (!expected)
		l->good = false;
	if (!l->in_angle)
		l->in_group = true;
	start_over(l);
	return true;
}

static bool on_comma(struct list *l)
{
	/* The commas of a route separate nothing. */
	if (in_route(l)) {
		l->now.word_last = false;
		return true;
	}
	return end_of_item(l);
}

static bool on_semicolon(struct list *l)
{
	bool go_on = end_of_item(l);

	if (!l->in_group)
		l->good = false;
	l->in_group = false;
	return go_on;
}

static bool on_special(struct list *l, char c)
{
	switch (c) {
	case '<': return on_open(l);
	case '>': return on_close(l);
	case ':': return on_colon(l);
	case ',': return on_comma(l);
	case ';': return on_semicolon(l);
	}
	l->now.spoilt = l->now.any = true;      /* a ')' or ']' that closes nothing */
	return true;
}

/* Takes one piece off l->rest, which is not empty. False: the caller of header_addresses() wants no more. */
static bool take_piece(struct list *l)
{
	struct str *in = &l->rest;
	char c = in->p[0];
	struct str piece = { in->p, 1 };

	if (strchr(" \t\r\n", c) && c) {
		*in = str_from(*in, 1);
		return true;
	}
	if (c == '(') {
		l->good = skip_comment(in) && l->good;
		return true;
	}
	if (c == '"')
		piece.n = quoted_length(*in);
	else if (c == '[')
		piece.n = literal_length(*in);
	else if (!strchr("<>:;,.@)]", c) || !c)
		piece.n = atom_length(*in);
	if (piece.n == 0) {                     /* a quoted string without end: nothing behind it can be told apart */
		l->good = false;
		*in = str_from(*in, in->n);
		return true;
	}
	*in = str_from(*in, piece.n);
	if (c == '.' || c == '@')
		add_mark(&l->now, piece);
	else if (c && strchr("<>:;,)]", c))
		return on_special(l, c);
	else
		add_word(&l->now, piece);
	l->now.literal |= c == '[';
	return true;
}

static bool walk(struct list *l)
{
	while (l->rest.n)
		if (!take_piece(l))
			return false;
	if (!end_of_item(l))
		return false;
	return l->good && !l->in_group;
}

bool header_addresses(struct str value, bool (*each)(void *arg, const struct addr *), void *arg)
{
	struct list l = { .rest = value, .good = true, .each = each, .arg = arg };

	return walk(&l);
}

bool header_authors(struct str value, bool (*each)(void *arg, const struct addr *), void *arg)
{
	struct list l = { .rest = value, .good = true, .strict = true, .each = each, .arg = arg };

	return walk(&l);
}

struct rewriting {
	struct list list;
	struct str left;                /* what is still to be written */
	void (*each)(void *arg, const struct addr *, struct buf *as);
	void *arg;
	struct buf *out;
	bool changed;
};

static bool rewrite(void *arg, const struct addr *a)
{
	struct rewriting *w = arg;
	const struct candidate *c = &w->list.now;
	struct buf as = { .max = ADDR_MAX };

	w->each(w->arg, a, &as);
	if (as.n) {
		buf_add(w->out, w->left.p, (size_t)(c->from - w->left.p));
		buf_str(w->out, buf_view(&as));
		w->left = str_from(w->left, (size_t)(c->to - w->left.p));
		w->changed = true;
	}
	w->out->bad |= as.bad;
	buf_free(&as);
	return true;
}

bool header_rewrite(struct str value, void (*each)(void *arg, const struct addr *, struct buf *as), void *arg, struct buf *out)
{
	struct rewriting w = { .left = value, .each = each, .arg = arg, .out = out };

	w.list = (struct list){ .rest = value, .good = true, .each = rewrite, .arg = &w };
	walk(&w.list);
	if (w.changed)
		buf_str(out, w.left);
	return w.changed;
}
