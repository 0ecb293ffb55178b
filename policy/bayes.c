/* Words of messages, and what they tell. */
#include "policy/bayes.h"

#include <string.h>

#include "lib/map.h"
#include "mime/header.h"
#include "mime/part.h"

enum {
	WORD_MAX = 40,                  /* octets; a longer one is no word */
	DEPTH = 4,                      /* parts within parts */
	PARTS = 50,                     /* of one message */
	PROBES = 16,                    /* places of the table at which a word may be */
	TOP = 10,                       /* words that speak most for either side */
	RARE = 2                        /* a word met no more often says little */
};

static const char magic[8] = "fbayes1\n";

void bayes_init(struct bayes_table *t)
{
	memset(t, 0, sizeof *t);
	memcpy(t->magic, magic, sizeof magic);
}

bool bayes_valid(const struct bayes_table *t) { return memcmp(t->magic, magic, sizeof magic) == 0; }

/* ---- words */

struct reader {
	struct bayes_words *words;
	struct str prefix;              /* of a header's words: its name; empty: in the body */
	char word[WORD_MAX];
	size_t n;                       /* octets of it, also those that do not fit */
	bool html, tag, hidden;         /* in a tag; in what is not shown */
	char name[8];                   /* of the tag */
	size_t nname;
	unsigned parts;
};

static void add(struct bayes_words *w, uint32_t hash)
{
	enum { ROOM = sizeof w->seen / sizeof *w->seen };
	size_t at = hash % ROOM;

	while (w->seen[at] && w->seen[at] != hash)
		at = (at + 1) % ROOM;
	if (w->seen[at] || w->n == BAYES_WORDS)
		return;
	w->seen[at] = hash;
	w->hash[w->n++] = hash;
}

static bool is_hex(char c) { return ascii_digit(c) || (c >= 'a' && c <= 'f'); }

/* Made by a machine: numbers, keys and names of files. */
static bool is_noise(const char *p, size_t n)
{
	size_t digits = 0, hex = 0, row = 0, odd = 0;

	for (size_t i = 0; i < n; i++) {
		digits += ascii_digit(p[i]);
		hex += is_hex(p[i]);
		row = ascii_digit(p[i]) ? row + 1 : 0;
		odd = (ascii_alpha(p[i]) && !strchr("aeiouy", p[i])) || (p[i] >= '2' && p[i] <= '9') ? odd + 1 : 0;
		if (row >= 4 || odd >= 6)
			return true;
	}
	return digits == n || (hex == n && digits >= 3);
}

static void end_word(struct reader *r)
{
	static const uint64_t key[2] = { 0x66617264656c, 0x6261796573 };        /* always the same: tables are kept */
	char text[WORD_MAX + 16];
	size_t n = r->n, at = 0;
	uint32_t hash;

	r->n = 0;
	if (n > WORD_MAX)
		return;
	while (n && r->word[n - 1] == '\'')
		n--;
	if (n < (r->prefix.n ? 4u : 3u) || is_noise(r->word, n))
		return;
	for (; at < r->prefix.n && at < 12; at++)
		text[at] = ascii_lower(r->prefix.p[at]);
	if (at)
		text[at++] = ':';
	memcpy(text + at, r->word, n);
	hash = (uint32_t)siphash(key, text, at + n);
	add(r->words, hash ? hash : 1);
}

static void take_letter(struct reader *r, char c)
{
	if (!ascii_alpha(c) && !ascii_digit(c) && (unsigned char)c < 0x80 && !(c == '\'' && r->n)) {
		end_word(r);
		return;
	}
	if (r->n < WORD_MAX)
		r->word[r->n] = ascii_lower(c);
	r->n++;
}

static void end_tag(struct reader *r)
{
	static const char *const unseen[] = { "script", "style", "svg" };
	bool closing = r->nname && r->name[0] == '/';
	struct str name = { r->name + closing, r->nname - closing };

	r->tag = false;
	for (size_t i = 0; i < sizeof unseen / sizeof *unseen; i++)
		if (str_eq(name, str_of(unseen[i])))
			r->hidden = !closing;
}

static void take_octet(struct reader *r, char c)
{
	if (r->html && r->tag) {
		if (c == '>')
			end_tag(r);
		else if (r->nname < sizeof r->name && (ascii_alpha(c) || (c == '/' && !r->nname)))
			r->name[r->nname++] = ascii_lower(c);
		else if (r->nname < sizeof r->name)
			r->name[r->nname = sizeof r->name - 1] = '\0';
	} else if (r->html && c == '<') {
		end_word(r);
		r->tag = true;
		r->nname = 0;
	} else if (!r->hidden) {
		take_letter(r, c);
	}
}

/* ---- the message and its parts */

static void take(void *reader, char c) { take_octet(reader, c); }

static void read_text(struct reader *r, struct str body, enum coding coding, bool html)
{
	r->html = html;
	r->tag = r->hidden = false;
	coding_decode(coding, body, take, r);
	end_word(r);
	r->html = false;
}

static void read_field(struct reader *r, const struct field *f)
{
	static const char *const names[] = { "From", "To", "Cc", "Bcc", "Reply-To", "Subject", "Sender", "Return-Path" };

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		if (!str_eq_nocase(f->name, str_of(names[i])))
			continue;
		r->prefix = str_of(names[i]);
		read_text(r, f->value, CODING_NONE, false);
		r->prefix = STR("");
	}
}

static void read_entity(struct reader *r, struct str text, unsigned depth)
{
	struct part whole, part;
	struct str rest;
	struct field f;

	if (depth == DEPTH)
		return;
	part_open(text, &whole);
	for (rest = whole.header; header_next(&rest, &f); )
		read_field(r, &f);
	rest = whole.body;
	if (part_is(&whole, "multipart/"))
		while (r->parts++ < PARTS && part_next(&whole, &rest, &part))
			read_entity(r, part.whole, depth + 1);
	else if (part_is(&whole, "message/rfc822"))
		read_entity(r, whole.body, depth + 1);
	else if (part_is(&whole, "text/"))
		read_text(r, whole.body, whole.coding, part_is(&whole, "text/html"));
}

void bayes_read(struct bayes_words *w, struct str message)
{
	struct reader r = { .words = w };

	memset(w, 0, sizeof *w);
	if (message.n > BAYES_READ)
		message.n = BAYES_READ;
	read_entity(&r, message, 0);
}

/* ---- the table */

static const struct bayes_slot *find(const struct bayes_table *t, uint32_t hash)
{
	for (unsigned i = 0; i < PROBES; i++) {
		const struct bayes_slot *s = &t->slot[(hash + i) % BAYES_SLOTS];

		if (s->hash == hash)
			return s;
	}
	return NULL;
}

static unsigned times(const struct bayes_slot *s) { return (unsigned)s->ham + s->junk; }

/* Where it is, or may be: the rarest one there makes place. */
static struct bayes_slot *place(struct bayes_table *t, uint32_t hash)
{
	struct bayes_slot *rarest = &t->slot[hash % BAYES_SLOTS];

	for (unsigned i = 0; i < PROBES; i++) {
		struct bayes_slot *s = &t->slot[(hash + i) % BAYES_SLOTS];

		if (s->hash == hash)
			return s;
		if (times(s) < times(rarest))
			rarest = s;
	}
	*rarest = (struct bayes_slot){ .hash = hash };
	return rarest;
}

void bayes_count(struct bayes_table *t, const struct bayes_words *w, bool junk, bool again)
{
	uint32_t *messages = junk ? &t->junk : &t->ham;

	if (again ? *messages == UINT32_MAX : *messages == 0)
		return;
	*messages += again ? 1 : -1u;
	for (size_t i = 0; i < w->n; i++) {
		struct bayes_slot *s = again ? place(t, w->hash[i]) : (struct bayes_slot *)(uintptr_t)find(t, w->hash[i]);
		uint16_t *n = s ? junk ? &s->junk : &s->ham : NULL;

		if (n && again && *n < UINT16_MAX)
			++*n;
		else if (n && !again && *n)
			--*n;
	}
}

/* How much a word speaks for junk; 0.5: nothing. */
static double weight(const struct bayes_table *t, const struct bayes_slot *s)
{
	double junk = t->junk ? (double)s->junk / t->junk : 0, ham = t->ham ? (double)s->ham / t->ham : 0, r;

	if (junk + ham <= 0)
		return 0.5;
	r = junk / (junk + ham);
	r = r < 0.01 ? 0.01 : r > 0.99 ? 0.99 : r;
	if (times(s) <= RARE)
		r += (0.5 - r) * (1 + RARE - times(s)) / 10;
	return r;
}

/* Keeps the ones furthest from the middle, the furthest first. */
static void keep(double top[TOP], unsigned *n, double r)
{
	double far = r < 0.5 ? 0.5 - r : r - 0.5;
	unsigned at = *n;

	for (; at && far > (top[at - 1] < 0.5 ? 0.5 - top[at - 1] : top[at - 1] - 0.5); at--)
		if (at < TOP)
			top[at] = top[at - 1];
	if (at < TOP)
		top[at] = r;
	*n += *n < TOP;
}

/* The sum of the logarithms of the odds, as a product: of twenty numbers between 0.01 and 0.99 nothing is lost. */
void bayes_judge(const struct bayes_table *t, const struct bayes_words *w, struct bayes_result *out)
{
	double low[TOP], high[TOP], junk = 1, ham = 1;
	unsigned nlow = 0, nhigh = 0;

	for (size_t i = 0; i < w->n; i++) {
		const struct bayes_slot *s = find(t, w->hash[i]);
		double r = s ? weight(t, s) : 0.5;

		if (r < 0.4)
			keep(low, &nlow, r);
		else if (r > 0.6)
			keep(high, &nhigh, r);
	}
	for (unsigned i = 0; i < nlow; i++) {
		junk *= low[i];
		ham *= 1 - low[i];
	}
	for (unsigned i = 0; i < nhigh; i++) {
		junk *= high[i];
		ham *= 1 - high[i];
	}
	*out = (struct bayes_result){ junk / (junk + ham), t->ham >= BAYES_ENOUGH && t->junk > 0, nlow + nhigh };
}

/* ---- as a fact */

bool content_ask(struct buf *name, struct str local, const char *file, int64_t at)
{
	buf_str(name, local);
	return buf_printf(name, "\n%s\n%lld", file, (long long)at);
}

bool content_asked(struct str name, struct str *local, struct str *file, int64_t *at)
{
	uint64_t n;
	bool ok = str_cut(&name, '\n', local) && str_cut(&name, '\n', file) && str_number(name, INT64_MAX, &n);

	*at = ok ? (int64_t)n : 0;
	return ok;
}

bool content_print(struct buf *out, const struct bayes_result *r)
{
	return buf_printf(out, "%u %s %u", (unsigned)(r->probability * 1000000), r->significant ? "enough" : "little", r->words);
}

bool content_parse(struct str text, struct bayes_result *out)
{
	struct str millionths, enough, words;
	uint64_t p, n;

	if (!str_word(&text, &millionths) || !str_word(&text, &enough) || !str_word(&text, &words) || !str_number(millionths, 1000000, &p) ||
	    !str_number(words, UINT32_MAX, &n))
		return false;
	*out = (struct bayes_result){ (double)p / 1000000, str_eq(enough, STR("enough")), (unsigned)n };
	return true;
}
