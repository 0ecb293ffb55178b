/* What was said on a connection lately, for who wants to know why a try came to nothing: each reply stands behind the command that it
 * answers, whenever it came. Secrets and the message are left out. */
#include "client/inside.h"

#include <string.h>

enum { LINE_SHOWN = 200 };              /* octets; what is behind them tells nothing more */

/* Behind the line that begins there. */
static size_t next_line(const struct dialogue *d, size_t at)
{
	const char *end = at < d->n ? memchr(d->text + at, '\n', d->n - at) : NULL;

	return end ? (size_t)(end - d->text) + 1 : d->n;
}

/* Octets from there on go. */
static void cut_out(struct dialogue *d, size_t from, size_t to)
{
	memmove(d->text + from, d->text + to, d->n - to);
	d->n -= to - from;
}

/* The oldest lines make room; commands that are not answered stay, as replies are laid behind them one by one. */
static void make_room(struct dialogue *d, size_t n)
{
	size_t gone = 0;

	while (d->n - gone + n > sizeof d->text && gone < d->heard)
		gone = next_line(d, gone);
	if (!gone)
		return;
	cut_out(d, 0, gone);
	d->heard -= gone;
	d->reply = d->reply > gone ? d->reply - gone : 0;
	d->cut = true;
}

/* A line at one of the places, which then is behind it. */
static void put(struct dialogue *d, size_t *place, char mark, struct str line)
{
	size_t n, at;

	if (line.n > LINE_SHOWN)
		line.n = LINE_SHOWN;
	n = line.n + 3;
	make_room(d, n);
	if (d->n + n > sizeof d->text)
		return;
	at = *place;
	memmove(d->text + at + n, d->text + at, d->n - at);
	d->text[at] = mark;
	d->text[at + 1] = ' ';
	for (size_t i = 0; i < line.n; i++)
		d->text[at + 2 + i] = line.p[i] >= ' ' && line.p[i] <= '~' ? line.p[i] : '?';
	d->text[at + n - 1] = '\n';
	d->n += n;
	if (place != &d->n)
		*place += n;
	if (place == &d->reply)
		d->heard += n;
}

static void put_taken(struct dialogue *d)
{
	struct buf words = { 0 };

	if (d->taken)
		buf_printf(&words, "%u recipient%s", d->taken, d->taken == 1 ? " was accepted" : "s were accepted");
	if (words.n)
		put(d, &d->heard, '*', buf_view(&words));
	d->taken = 0;
	buf_free(&words);
}

void client_dialogue_begins(struct client *c)
{
	struct dialogue *d = &c->dialogue;

	if (!c->transactions)
		return;
	d->n = d->heard = d->reply = d->taken = 0;
	d->cut = false;
	put(d, &d->heard, '*', STR("this connection had carried other messages before"));
}

void client_dialogue_secured(struct client *c) { put(&c->dialogue, &c->dialogue.heard, '*', str_of(c->tls)); }

/* RCPT is noted with its reply: there may be thousands of which nothing is worth telling. */
void client_dialogue_sent(struct client *c, struct str line)
{
	if (!str_starts_nocase(line, STR("RCPT ")) && !(c->phase == C_BODY && c->chunk && line.p[0] == '('))
		put(&c->dialogue, &c->dialogue.n, '>', line);
}

/* Nothing that came in answer to a secret is kept: a server may say it back. */
void client_dialogue_received(struct client *c, struct str line, bool first, const enum expect *what)
{
	struct dialogue *d = &c->dialogue;

	if (first) {
		if (!what || *what != X_RCPT)
			put_taken(d);
		if (!what)
			d->heard = d->n;
		else if (*what != X_RCPT && *what != X_GREETING)
			d->heard = next_line(d, d->heard);
		d->reply = d->heard;
	}
	if (what && *what == X_AUTH && line.n > 3)
		line.n = 3;
	put(d, &d->heard, '<', line);
}

void client_dialogue_rcpt_taken(struct client *c)
{
	struct dialogue *d = &c->dialogue;

	cut_out(d, d->reply, d->heard);
	d->heard = d->reply;
	d->taken++;
}

void client_dialogue_rcpt_refused(struct client *c, struct str command) { put(&c->dialogue, &c->dialogue.reply, '>', command); }

bool client_dialogue(const struct client *c, struct buf *out)
{
	const struct dialogue *d = &c->dialogue;

	if (!d->n)
		return true;
	buf_printf(out, "= %s\n", c->peer);
	if (d->cut)
		buf_puts(out, "* what was said before is left out\n");
	buf_add(out, d->text, d->n);
	if (d->taken)
		buf_printf(out, "* %u more recipients were accepted\n", d->taken);
	if (c->phase == C_OVER && c->why.code == 0 && !c->not_let_in)
		buf_printf(out, "* %s\n", c->why.text);
	return !out->bad;
}
