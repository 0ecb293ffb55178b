/* The memory of a mailbox as lines of text: reading them, whoever wrote them, and writing them. */
#include "policy/history.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/list.h"

static const char *const mark_names[] = { [MARK_NONE] = "none", [MARK_HAM] = "ham", [MARK_JUNK] = "junk" };

/* ---- words */

bool identity_word(struct buf *out, struct str raw)
{
	for (size_t i = 0; i < raw.n; i++) {
		char c = ascii_lower(raw.p[i]);

		if (c > ' ' && c < 0x7f && c != '%' && c != ',' && (c != '-' || raw.n > 1))
			buf_char(out, c);
		else
			buf_printf(out, "%%%02x", (unsigned char)c);
	}
	return !out->bad;
}

struct str identity_domain(struct str address)
{
	struct str local;

	return str_cut_last(&address, '@', &local) ? address : STR("");
}

static bool is_under(struct str name, struct str domain)
{
	return name.n && domain.n && (str_eq_nocase(name, domain) ||
		(name.n > domain.n && name.p[name.n - domain.n - 1] == '.' && str_ends_nocase(name, domain)));
}

bool identities_signer(struct str *rest, struct str *one)
{
	if (!rest->n)
		return false;
	if (!str_cut(rest, ',', one)) {
		*one = *rest;
		rest->n = 0;
	}
	return true;
}

struct str identities_voucher(const struct identities *who, struct str domain)
{
	struct str rest = who->dkim, one, mail = identity_domain(who->mail);

	while (identities_signer(&rest, &one))
		if (is_under(one, domain))
			return one;
	return who->mail_pass && is_under(mail, domain) ? mail : who->helo_pass && is_under(who->helo, domain) ? who->helo :
		is_under(who->via, domain) ? who->via : STR("");
}

void identities_forward(struct identities *who, struct str by, char room[HISTORY_LINE])
{
	struct str rest = who->dkim, one;
	size_t n = 0;

	while (identities_signer(&rest, &one)) {
		if (str_eq(one, by) || n + one.n + 1 > HISTORY_LINE)
			continue;
		memcpy(room + n, one.p, one.n);
		n += one.n;
		room[n++] = ',';
	}
	who->via = by;
	who->dkim = (struct str){ room, n ? n - 1 : 0 };
	who->mail = who->helo = who->ip = STR("");
	who->mail_pass = who->helo_pass = false;
}

static struct str or_dash(struct str word) { return word.n ? word : STR("-"); }

bool identities_print(struct buf *out, const struct identities *i)
{
	const char *flags = i->validated || i->mail_pass || i->helo_pass ? "" : "-";

	buf_printf(out, STR_FMT " %s%s%s%s ", STR_ARG(or_dash(i->from)), flags, i->validated ? "f" : "", i->mail_pass ? "m" : "",
		i->helo_pass ? "h" : "");
	return buf_printf(out, STR_FMT " " STR_FMT " " STR_FMT " " STR_FMT "%s" STR_FMT, STR_ARG(or_dash(i->mail)), STR_ARG(or_dash(i->helo)),
		STR_ARG(or_dash(i->ip)), STR_ARG(or_dash(i->dkim)), i->via.n ? " " : "", STR_ARG(i->via));
}

/* Nothing else is a word of ours. */
static bool take_plain(struct str *rest, struct str *word)
{
	if (!str_word(rest, word))
		return false;
	for (size_t i = 0; i < word->n; i++)
		if (word->p[i] <= ' ' || word->p[i] >= 0x7f)
			return false;
	return true;
}

static bool take(struct str *rest, struct str *word)
{
	if (!take_plain(rest, word))
		return false;
	if (str_eq(*word, STR("-")))
		word->n = 0;
	return true;
}

static bool holds(struct str flags, char flag) { return flags.n && memchr(flags.p, flag, flags.n); }

bool identities_parse(struct str *rest, struct identities *i)
{
	struct str flags;

	*i = (struct identities){ .validated = false };
	if (!take(rest, &i->from) || !take(rest, &flags) || !take(rest, &i->mail) || !take(rest, &i->helo) || !take(rest, &i->ip) ||
	    !take(rest, &i->dkim))
		return false;
	if (str_trim(*rest).n && !take(rest, &i->via))
		return false;
	i->validated = holds(flags, 'f');
	i->mail_pass = holds(flags, 'm');
	i->helo_pass = holds(flags, 'h');
	return true;
}

bool history_network(struct str ip, unsigned char out[16])
{
	static const unsigned char mapped[12] = { [10] = 0xff, [11] = 0xff };
	char text[INET6_ADDRSTRLEN];

	memset(out, 0, 16);
	if (!str_copy(text, sizeof text, ip))
		return false;
	if (inet_pton(AF_INET, text, out + 12) == 1) {
		memcpy(out, mapped, sizeof mapped);
		return true;
	}
	return inet_pton(AF_INET6, text, out) == 1;
}

/* ---- reading */

static bool take_time(struct str *rest, int64_t *time)
{
	struct str word;
	uint64_t n;

	if (!str_word(rest, &word) || !str_number(word, INT64_MAX / 2, &n))
		return false;
	*time = (int64_t)n;
	return true;
}

static void read_message(struct history *h, struct str rest)
{
	struct remembered *r = &h->record[h->n];

	*r = (struct remembered){ .mark = MARK_NONE };
	if (!take_time(&rest, &r->time) || !take_plain(&rest, &r->id) || !take_plain(&rest, &r->reason) || !identities_parse(&rest, &r->who))
		return;
	if (!history_network(r->who.ip, r->network))
		memset(r->network, 0, sizeof r->network);
	h->n++;
}

static void read_mark(struct history *h, struct str rest)
{
	struct str id, name;
	struct remembered *r;
	int64_t time;

	if (!take_time(&rest, &time) || !take_plain(&rest, &id) || !take_plain(&rest, &name) || !(r = history_find(h, id)))
		return;
	for (size_t i = 0; i < sizeof mark_names / sizeof *mark_names; i++)
		if (str_eq(name, str_of(mark_names[i])))
			r->mark = (enum mark)i;
}

static void read_written(struct history *h, struct str rest)
{
	struct written *w = &h->written[h->nwritten];

	*w = (struct written){ .time = 0 };
	if (take_time(&rest, &w->time) && take_plain(&rest, &w->address) && identity_domain(w->address).n)
		h->nwritten++;
}

static bool next_line(struct str *rest, struct str *line)
{
	while (str_cut(rest, '\n', line))
		if (line->n > 2 && line->n < HISTORY_LINE && line->p[1] == ' ')
			return true;
	return false;           /* a torn last line, too, is none */
}

static size_t count(struct str text, char kind, size_t *all)
{
	struct str line;
	size_t n = 0;

	*all = 0;
	while (next_line(&text, &line)) {
		n += line.p[0] == kind;
		++*all;
	}
	return n;
}

/* The last one of a key is the one that is found. */
static bool enter(struct map *map, struct map_node *node, struct str key)
{
	struct map_node *before = map_get(map, key);

	if (before)
		map_remove(map, before);
	return map_put(map, node, key);
}

struct remembered *history_find(const struct history *h, struct str id)
{
	struct map_node *x = map_get(&h->by_id, id);

	return x ? owner_of(x, struct remembered, node) : NULL;
}

static size_t beyond(size_t n) { return n > HISTORY_RECORDS ? n - HISTORY_RECORDS : 0; }

bool history_parse(struct history *h, struct str text)
{
	size_t all, messages = count(text, '+', &all), written = count(text, '>', &all), skip = beyond(messages), skip_written = beyond(written);
	struct str line;

	*h = (struct history){ .lines = all };
	h->record = calloc(messages - skip + 1, sizeof *h->record);
	h->written = calloc(written - skip_written + 1, sizeof *h->written);
	if (!h->record || !h->written)
		goto fail;
	while (next_line(&text, &line)) {
		struct str rest = str_from(line, 2);
		size_t n = h->n, nwritten = h->nwritten;

		switch (line.p[0]) {
		case '+':
			if (skip)
				skip--;
			else
				read_message(h, rest);
			break;
		case '>':
			if (skip_written)
				skip_written--;
			else
				read_written(h, rest);
			break;
		case '=':
			read_mark(h, rest);
			break;
		case '?':
			take_time(&rest, &h->looked);
			break;
		}
		if (h->n > n && !enter(&h->by_id, &h->record[n].node, h->record[n].id))
			goto fail;
		if (h->nwritten > nwritten && !enter(&h->by_address, &h->written[nwritten].node, h->written[nwritten].address))
			goto fail;
	}
	return true;
fail:
	history_free(h);
	return false;
}

void history_free(struct history *h)
{
	map_free(&h->by_id);
	map_free(&h->by_address);
	free(h->record);
	free(h->written);
	*h = (struct history){ .n = 0 };
}

/* ---- writing */

static bool line_done(struct buf *out, size_t start)
{
	buf_char(out, '\n');
	if (!out->bad && out->n - start < HISTORY_LINE)
		return true;
	out->n = start;
	return false;
}

bool history_add(struct buf *out, int64_t now, struct str id, struct str reason, const struct identities *who)
{
	size_t start = out->n;

	buf_printf(out, "+ %" PRId64 " " STR_FMT " " STR_FMT " ", now, STR_ARG(or_dash(id)), STR_ARG(or_dash(reason)));
	identities_print(out, who);
	return line_done(out, start);
}

bool history_mark(struct buf *out, int64_t now, struct str id, enum mark mark)
{
	size_t start = out->n;

	buf_printf(out, "= %" PRId64 " " STR_FMT " %s", now, STR_ARG(or_dash(id)), mark_names[mark]);
	return line_done(out, start);
}

bool history_wrote(struct buf *out, int64_t now, struct str address)
{
	size_t start = out->n;

	if (!identity_domain(address).n)
		return true;
	buf_printf(out, "> %" PRId64 " ", now);
	identity_word(out, address);
	return line_done(out, start);
}

bool history_looked(struct buf *out, int64_t now)
{
	return buf_printf(out, "? %" PRId64 "\n", now);
}

/* ---- making it compact */

static bool too_old(int64_t time, int64_t now) { return now - time > HISTORY_KEPT_S; }

struct author {
	struct map_node node;
	size_t marked;
};

/* From the newest down: what nobody would count. False: no memory. */
static bool drop_surplus(struct history *h, int64_t now)
{
	struct author *authors = calloc(h->n + 1, sizeof *authors);
	struct map by_from = { .n = 0 };
	size_t nauthors = 0;
	bool ok = authors != NULL;

	for (size_t i = h->n; ok && i--;) {
		struct remembered *r = &h->record[i];
		struct map_node *x = map_get(&by_from, r->who.from);
		struct author *a = x ? owner_of(x, struct author, node) : &authors[nauthors];

		if (!x) {
			ok = map_put(&by_from, &a->node, r->who.from);
			nauthors++;
		}
		r->dropped = too_old(r->time, now) || history_find(h, r->id) != r ||
			(r->mark == MARK_NONE && now - r->time > HISTORY_UNMARKED_S) ||
			(r->mark != MARK_NONE && r->who.from.n && a->marked++ >= HISTORY_SAME);
	}
	map_free(&by_from);
	free(authors);
	return ok;
}

static void drop_oldest(struct history *h, size_t *left, bool unmarked_alone)
{
	for (size_t i = 0; i < h->n && *left > HISTORY_RECORDS / 2; i++) {
		struct remembered *r = &h->record[i];

		if (r->dropped || (unmarked_alone && r->mark != MARK_NONE))
			continue;
		r->dropped = true;
		--*left;
	}
}

bool history_print(struct history *h, int64_t now, struct buf *out)
{
	size_t left = 0, written = beyond(h->nwritten + HISTORY_RECORDS / 2);

	if (!drop_surplus(h, now))
		return false;
	for (size_t i = 0; i < h->n; i++)
		left += !h->record[i].dropped;
	drop_oldest(h, &left, true);
	drop_oldest(h, &left, false);
	for (size_t i = written; i < h->nwritten; i++) {
		struct written *w = &h->written[i];

		if (!too_old(w->time, now) && map_get(&h->by_address, w->address) == &w->node)
			buf_printf(out, "> %" PRId64 " " STR_FMT "\n", w->time, STR_ARG(w->address));
	}
	for (size_t i = 0; i < h->n; i++) {
		struct remembered *r = &h->record[i];

		if (r->dropped)
			continue;
		history_add(out, r->time, r->id, r->reason, &r->who);
		if (r->mark != MARK_NONE)
			history_mark(out, r->time, r->id, r->mark);
	}
	if (h->looked)
		history_looked(out, h->looked);
	return !out->bad;
}

/* ---- the field of a message */

bool reason_print(struct buf *out, struct str reason, struct str id, const struct identities *who)
{
	struct buf words = { 0 };
	struct str rest, word;
	size_t start = out->n;

	identities_print(&words, who);
	buf_puts(out, REASON_FIELD ": ");
	buf_str(out, reason);
	buf_puts(out, "; id=");
	buf_str(out, id);
	buf_char(out, ';');
	rest = buf_view(&words);
	while (str_word(&rest, &word)) {
		buf_puts(out, "\r\n\t");
		buf_str(out, word);
	}
	buf_puts(out, "\r\n");
	if (words.bad)
		out->bad = true;
	buf_free(&words);
	if (!out->bad && out->n - start < HISTORY_LINE)
		return true;
	out->n = start;
	return false;
}

/* Takes "name=value;" off. */
static bool take_id(struct str *rest, struct str *id)
{
	struct str word;

	if (!str_word(rest, &word) || !str_starts_nocase(word, STR("id=")) || word.p[word.n - 1] != ';')
		return false;
	*id = (struct str){ word.p + 3, word.n - 4 };
	return id->n > 0;
}

bool reason_parse(struct str value, struct reason *out)
{
	struct str rest, more;
	size_t n = 0;

	if (value.n > sizeof out->room)
		return false;
	for (size_t i = 0; i < value.n; i++)
		out->room[n++] = value.p[i] == '\r' || value.p[i] == '\n' ? ' ' : value.p[i];
	rest = (struct str){ out->room, n };
	return str_cut(&rest, ';', &out->reason) && (out->reason = str_trim(out->reason)).n && take_id(&rest, &out->id) &&
		identities_parse(&rest, &out->who) && !str_word(&rest, &more);
}
