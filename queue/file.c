/* The queue file: a first line of fixed length, the envelope, the message, the journal (doc/QUEUE). */
#include "queue/inside.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/file.h"
#include "lib/log.h"
#include "parse.h"

/* ---- checksum: CRC-32 as in gzip and cksum tools, so that a person can check a file by hand */

uint32_t crc32_add(uint32_t crc, const void *data, size_t n)
{
	static uint32_t table[8][256];
	const unsigned char *p = data;

	if (!table[0][1]) {
		for (uint32_t i = 0; i < 256; i++) {
			uint32_t c = i;

			for (int k = 0; k < 8; k++)
				c = c & 1 ? 0xedb88320u ^ c >> 1 : c >> 1;
			table[0][i] = c;
		}
		for (int t = 1; t < 8; t++)
			for (uint32_t i = 0; i < 256; i++)
				table[t][i] = table[0][table[t - 1][i] & 0xff] ^ table[t - 1][i] >> 8;
	}
	crc = ~crc;
	for (; n >= 8; n -= 8, p += 8) {        /* eight octets a round: five times as fast as one */
		crc ^= (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
		crc = table[7][crc & 0xff] ^ table[6][crc >> 8 & 0xff] ^ table[5][crc >> 16 & 0xff] ^ table[4][crc >> 24] ^
			table[3][p[4]] ^ table[2][p[5]] ^ table[1][p[6]] ^ table[0][p[7]];
	}
	for (; n; n--)
		crc = table[0][(crc ^ *p++) & 0xff] ^ crc >> 8;
	return ~crc;
}

/* Polynomials over two elements modulo that of the checksum, the highest bit first. */
static uint32_t multiply(uint32_t a, uint32_t b)
{
	uint32_t product = 0;

	for (; a; a <<= 1) {
		if (a & 0x80000000u)
			product ^= b;
		b = b & 1 ? 0xedb88320u ^ b >> 1 : b >> 1;
	}
	return product;
}

/* The remainder is linear: that of the change alone, moved by a factor of x^8 for each octet behind it, is the difference. */
uint32_t crc32_change(uint32_t crc, const void *change, size_t n, uint64_t behind)
{
	uint32_t difference = ~crc32_add(0xffffffffu, change, n), factor = 0x00800000u;

	for (; behind; behind >>= 1) {
		if (behind & 1)
			difference = multiply(factor, difference);
		factor = multiply(factor, factor);
	}
	return crc ^ difference;
}

/* ---- first line: where the message begins, how long it is, and the checksum of all between this line and its end */

void file_line_print(char line[FILE_LINE + 1], off_t at, uint64_t size, uint32_t crc)
{
	snprintf(line, FILE_LINE + 1, "FARDEL 1 at=%010" PRId64 " size=%020" PRIu64 " crc=%08" PRIx32 "  \n", (int64_t)at, size, crc);
}

static bool file_line_parse(struct str line, off_t *at, off_t *size, uint32_t *crc)
{
	struct str rest = line, word, value;
	uint64_t n;
	char hex[9], same[FILE_LINE + 1];

	if (!str_word(&rest, &word) || !str_eq(word, STR("FARDEL")) || !str_word(&rest, &word) || !str_eq(word, STR("1")))
		return false;
	if (!str_word(&rest, &word) || !str_cut(&word, '=', &value) || !str_number(word, ENVELOPE_MAX, &n) || n < FILE_LINE)
		return false;
	*at = (off_t)n;
	if (!str_word(&rest, &word) || !str_cut(&word, '=', &value) || !str_number(word, INT64_MAX / 2, &n))
		return false;
	*size = (off_t)n;
	if (!str_word(&rest, &word) || !str_cut(&word, '=', &value) || !str_copy(hex, sizeof hex, word))
		return false;
	*crc = (uint32_t)strtoul(hex, NULL, 16);
	file_line_print(same, *at, (uint64_t)*size, *crc);
	return str_eq(line, str_of(same));      /* nothing else is a line of ours */
}

/* ---- journal */

static unsigned check_of(const char *p, size_t n)
{
	return crc32_add(0, p, n) & 0xffff;
}

/* Peers' words may hold anything: what is not plain becomes \xHH, so that a line stays a line. */
static void add_words(struct buf *out, struct str words, size_t most)
{
	if (words.n > most)
		words.n = most;
	for (size_t i = 0; i < words.n; i++) {
		char c = words.p[i];

		if (ascii_print(c) && c != '\\')
			buf_char(out, c);
		else
			buf_printf(out, "\\x%02x", (unsigned char)c);
	}
}

static void add_word(struct buf *out, struct str word)
{
	if (word.n == 0)
		buf_char(out, '-');
	for (size_t i = 0; i < word.n && i < 400; i++)
		buf_char(out, ascii_print(word.p[i]) && word.p[i] != ' ' ? word.p[i] : '?');
	buf_char(out, ' ');
}

static const char *status_of(const struct reply *r, const char *what)
{
	if (r && r->enhanced[0])
		return r->enhanced;
	return strcmp(what, "failed") == 0 ? "5.0.0" : strcmp(what, "deferred") == 0 ? "4.0.0" : "2.0.0";
}

static void end_line(struct buf *out, size_t start)
{
	if (!out->bad)
		buf_printf(out, " ~%04x\n", check_of(out->p + start, out->n - start));
}

void journal_said(struct buf *out, int64_t now, struct str dest, struct str by, struct str said)
{
	size_t start = out->n;

	buf_printf(out, "%" PRId64 " said ", now);
	add_word(out, dest);
	add_word(out, by);
	buf_puts(out, "- - ");
	add_words(out, said, SAID_MAX);
	end_line(out, start);
}

void journal_line(struct buf *out, int64_t now, const char *what, struct str who, struct str by, const struct reply *r, const char *host)
{
	size_t start = out->n;

	buf_printf(out, "%" PRId64 " %s ", now, what);
	add_word(out, who);
	add_word(out, by);
	add_word(out, r ? str_of(status_of(r, what)) : STR(""));
	add_word(out, str_of(host));
	if (r && r->code)
		buf_printf(out, "%03d ", r->code % 1000);
	if (r && r->code && r->enhanced[0])
		buf_printf(out, "%s ", r->enhanced);
	if (r)
		add_words(out, str_of(r->text), REPLY_TEXT);
	end_line(out, start);
}

static int hex_value(char c)
{
	return ascii_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* \xHH back to octets, in place. */
static struct str unescape(char *p, size_t n)
{
	size_t to = 0;

	for (size_t i = 0; i < n; i++) {
		if (p[i] == '\\' && i + 3 < n && p[i + 1] == 'x' && hex_value(p[i + 2]) >= 0 && hex_value(p[i + 3]) >= 0) {
			p[to++] = (char)(hex_value(p[i + 2]) << 4 | hex_value(p[i + 3]));
			i += 3;
		} else {
			p[to++] = p[i];
		}
	}
	return (struct str){ p, to };
}

static bool dash_or(struct str *rest, struct str *word)
{
	if (!str_cut(rest, ' ', word))
		return false;
	if (str_eq(*word, STR("-")))
		word->n = 0;
	return true;
}

/* One line without its LF. False: torn or changed by something else than us. */
static bool line_parse(struct str text, struct told *out)
{
	struct str rest = text, when, check = text;
	uint64_t n;
	char want[8];

	if (!str_cut_last(&check, '~', &rest) || check.n != 4)
		return false;
	if (rest.n == 0 || rest.p[--rest.n] != ' ')     /* the blank before ~ */
		return false;
	snprintf(want, sizeof want, "%04x", check_of(rest.p, rest.n));
	if (!str_eq(check, str_of(want)))
		return false;
	if (!str_cut(&rest, ' ', &when) || !str_number(when, INT64_MAX, &n))
		return false;
	out->when = (int64_t)n;
	if (!str_cut(&rest, ' ', &out->what) || !dash_or(&rest, &out->who) || !dash_or(&rest, &out->by) ||
	    !dash_or(&rest, &out->status) || !dash_or(&rest, &out->host))
		return false;
	out->words = unescape((char *)(uintptr_t)rest.p, rest.n);
	return true;
}

bool mail_told(struct str *rest, struct told *out)
{
	struct str text;

	while (str_cut(rest, '\n', &text))
		if (line_parse(text, out))
			return true;
	return false;
}

/* "3<b@y>" names the third RCPT line. */
static struct rcpt *rcpt_of(struct mail *m, struct str who)
{
	struct str number;
	uint64_t n;

	if (!str_cut(&who, '<', &number) || !str_number(number, m->nrcpt, &n) || n == 0)
		return NULL;
	return &m->rcpt[n - 1];
}

/* Recipients by destination: with a thousand of each, a line must not look at every recipient. */
struct places {
	struct map map;
	struct place {
		struct map_node node;           /* in the map: the first of its destination */
		struct place *same;             /* the next of it */
		char token[DEST_MAX + 1];
	} *at;                                  /* as mail->rcpt */
};

static bool places_make(struct places *p, const struct mail *m)
{
	*p = (struct places){ .at = calloc(m->nrcpt, sizeof *p->at) };
	for (size_t i = 0; p->at && i < m->nrcpt; i++) {
		struct place *new = &p->at[i];
		struct map_node *x;

		dest_token(m->rcpt[i].to.addr.domain, new->token);
		x = map_get(&p->map, str_of(new->token));
		if (x) {
			struct place *first = owner_of(x, struct place, node);

			new->same = first->same;
			first->same = new;
		} else if (!map_put(&p->map, &new->node, str_of(new->token))) {
			return false;
		}
	}
	return p->at != NULL;
}

static void places_free(struct places *p)
{
	map_free(&p->map);
	free(p->at);
}

static struct place *places_first(const struct places *p, struct str dest)
{
	struct map_node *x = map_get(&p->map, dest);

	return x ? owner_of(x, struct place, node) : NULL;
}

/* What was said at another time goes; but it is what the end of the lifetime came of. */
static void say(struct rcpt *r, const struct told *l)
{
	if (str_eq(l->what, STR("deferred")) || !str_eq(l->host, r->host))
		r->said = STR("");
	r->when = l->when;
	r->status = l->status;
	r->host = l->host;
	r->words = l->words;
}

bool rcpt_is_at(const struct rcpt *r, struct str dest)
{
	char token[DEST_MAX + 1];

	if (dest.n && dest.p[0] != '=' && dest.n != r->to.addr.domain.n)
		return false;           /* as nearly always, where there are thousands */
	dest_token(r->to.addr.domain, token);
	return str_eq(str_of(token), dest);
}

static void apply_to_rcpt(struct rcpt *r, const struct told *l)
{
	if (str_eq(l->what, STR("linked"))) {
		r->linked = true;
	} else if (str_eq(l->what, STR("said"))) {
		if (r->state == RCPT_OPEN || (l->by.n && str_eq(r->by, l->by)))
			r->said = l->words;
	} else if (r->state == RCPT_OPEN) {
		say(r, l);
	}
}

static bool is_of_dest(struct str what)
{
	return str_eq(what, STR("deferred")) || str_eq(what, STR("linked")) || str_eq(what, STR("said"));
}

/* places NULL: the line is one of few, about the one destination that is asked for. */
static void apply_to_dest(struct mail *m, const struct places *places, const struct told *l)
{
	for (size_t i = 0; !places && i < m->nrcpt; i++)
		if (rcpt_is_at(&m->rcpt[i], l->who))
			apply_to_rcpt(&m->rcpt[i], l);
	for (const struct place *p = places ? places_first(places, l->who) : NULL; p; p = p->same)
		apply_to_rcpt(&m->rcpt[p - places->at], l);
}

static void apply_report(struct mail *m, const struct told *l)
{
	for (size_t i = 0; i < m->nrcpt; i++)
		if (m->rcpt[i].state != RCPT_OPEN && m->rcpt[i].by.n && str_eq(m->rcpt[i].by, l->by))
			m->rcpt[i].reported = true;
}

static void apply_line(struct mail *m, const struct places *places, const struct told *l)
{
	struct rcpt *r = rcpt_of(m, l->who);

	if (!m->first_sane && l->when > CLOCK_SANE)
		m->first_sane = l->when;
	if (r && (str_eq(l->what, STR("delivered")) || str_eq(l->what, STR("relayed")) || str_eq(l->what, STR("expanded")) ||
	    str_eq(l->what, STR("failed")))) {
		r->state = l->what.p[0] == 'f' ? RCPT_FAILED : RCPT_DELIVERED;
		r->relayed = l->what.p[0] == 'r';
		r->expanded = l->what.p[0] == 'e';
		r->by = l->by;
		say(r, l);
	} else if (is_of_dest(l->what)) {
		apply_to_dest(m, places, l);
	} else if (str_eq(l->what, STR("reported"))) {
		apply_report(m, l);
	} else if (str_eq(l->what, STR("delayed"))) {
		m->delay_told = true;
	}
}

static bool is_said(struct str line)
{
	struct str when;

	return str_cut(&line, ' ', &when) && str_starts_nocase(line, STR("said "));
}

/* A line about a destination, and not this one. */
static bool of_another(struct str line, struct str only)
{
	struct str when, what, who;

	return str_cut(&line, ' ', &when) && str_cut(&line, ' ', &what) && is_of_dest(what) &&
		str_cut(&line, ' ', &who) && !str_eq(who, only);
}

/* Applies all whole lines; what is not a line of ours is passed over. *whole: octets up to the last line end. only: see mail_open().
 * False: no memory. */
static bool apply_journal(struct mail *m, char *p, size_t n, struct str only, size_t *whole)
{
	struct str rest = { p, n }, text;
	struct places places = { .at = NULL };
	size_t bad = 0;

	*whole = 0;
	if (n == 0)
		return true;
	if (!only.n && !places_make(&places, m)) {
		places_free(&places);
		return false;
	}
	while (str_cut(&rest, '\n', &text)) {
		struct told l;

		m->said += is_said(text) ? text.n : 0;
		*whole = (size_t)(rest.p - p);
		if (only.n && m->first_sane && of_another(text, only))
			continue;
		if (line_parse(text, &l))
			apply_line(m, only.n ? NULL : &places, &l);
		else
			bad++;
	}
	places_free(&places);
	if (bad)
		log_event(LOG_WARN, "journal-lines-unreadable", LF(L_TEXT("id", m->id), L_NUM("lines", (long long)bad)));
	return true;
}

/* ---- envelope */

static const char *add_rcpt(struct mail *m, size_t *room, const struct recipient *to)
{
	if (m->nrcpt == *room) {
		size_t more = *room ? 2 * *room : 4;
		struct rcpt *r = realloc(m->rcpt, more * sizeof *r);

		if (!r) {
			errno = ENOMEM;
			return "no memory";
		}
		m->rcpt = r;
		*room = more;
	}
	m->rcpt[m->nrcpt++] = (struct rcpt){ .to = *to };
	return NULL;
}

/* "<id> <octets> 1+<staff@example.org> ..." */
static const char *alias_line(struct mail *m, struct str rest)
{
	struct str octets;
	uint64_t n;

	if (!str_cut(&rest, ' ', &m->alias_of) || !id_valid(m->alias_of) || !str_cut(&rest, ' ', &octets) ||
	    !str_number(octets, (uint64_t)m->size, &n))
		return "the ALIAS line holds no id and number";
	m->own = (off_t)n;
	m->alias_rcpts = rest;
	return NULL;
}

static const char *envelope_line(struct mail *m, size_t *room, struct str line)
{
	struct recipient to;
	struct parse_error e = { 0 };

	if (str_starts_nocase(line, STR("RCPT "))) {
		e = parse_rcpt(str_from(line, 5), PARAM_ALL, true, &to);
		return e.text ? e.text : add_rcpt(m, room, &to);
	}
	if (str_starts_nocase(line, STR("MAIL "))) {
		m->has_sender = true;
		return parse_mail(str_from(line, 5), PARAM_ALL, &m->from).text;
	}
	if (str_starts_nocase(line, STR("ID "))) {
		if (!id_valid(str_from(line, 3)))
			return "the ID line holds no id";
		str_copy(m->id, sizeof m->id, str_from(line, 3));
		return NULL;
	}
	if (str_starts_nocase(line, STR("FROM "))) {
		m->origin = str_from(line, 5);
		return NULL;
	}
	if (str_starts_nocase(line, STR("ROOM")) && !str_trim(str_from(line, 4)).n)
		return NULL;
	if (str_starts_nocase(line, STR("ALIAS ")))
		return alias_line(m, str_from(line, 6));
	if (str_starts_nocase(line, STR("RELEASE "))) {
		uint64_t n;

		if (!str_number(str_from(line, 8), INT64_MAX / 2, &n))
			return "the RELEASE line holds no number";
		m->release = (int64_t)n;
		return NULL;
	}
	return "an envelope line begins with an unknown word";
}

int64_t mail_began(const struct mail *m)
{
	int64_t began = m->arrived > CLOCK_SANE ? m->arrived : m->first_sane ? m->first_sane : loop_wall();

	return m->release > began ? m->release : began;
}

static const char *read_envelope(struct mail *m, struct str text)
{
	struct str line;
	size_t room = 0;

	errno = 0;
	while (str_cut(&text, '\n', &line)) {
		const char *why;

		if (line.n == 0)
			break;
		why = envelope_line(m, &room, line);
		if (why)
			return why;
	}
	if (!m->has_sender)
		return "the envelope has no MAIL line";
	if (!m->nrcpt)
		return "the envelope has no RCPT line";
	if (!m->id[0])
		return "the envelope has no ID line";
	m->arrived = id_arrival(m->id);
	return NULL;
}

/* The same recipient twice is one: the later line counts as done. */
static void merge_duplicates(struct mail *m, struct str only)
{
	struct map seen = { 0 };
	struct map_node *nodes;

	if (m->nrcpt < 2)
		return;
	nodes = calloc(m->nrcpt, sizeof *nodes);
	if (!nodes)
		return;                 /* a copy too many is better than none */
	for (size_t i = 0; i < m->nrcpt; i++) {
		const struct addr *a = &m->rcpt[i].to.addr;
		struct str key = { a->local.p, a->local.n + (a->domain.n ? 1 + a->domain.n : 0) };

		if (only.n && !rcpt_is_at(&m->rcpt[i], only))
			continue;
		if (map_get(&seen, key))
			m->rcpt[i].state = RCPT_DELIVERED;
		else
			map_put(&seen, &nodes[i], key);
	}
	map_free(&seen);
	free(nodes);
}

/* ---- reading */

/* Octets from `at` to the end of the file, at most ENVELOPE_MAX in all. */
static int read_rest(struct buf *b, int fd, off_t at)
{
	for (;;) {
		char *to = buf_reserve(b, 4096);
		ssize_t n;

		if (!to) {
			errno = b->n + 4096 > b->max ? EBADMSG : ENOMEM;
			return -1;
		}
		n = file_pread(fd, to, 4096, at);
		if (n == -1)
			return -1;
		b->n += (size_t)n;
		at += n;
		if (n < 4096)
			return 0;
	}
}

int mail_story(const struct mail *m, struct buf *out)
{
	out->max = ENVELOPE_MAX;
	return read_rest(out, m->fd, m->at + m->size);
}

enum { FIRST_READ = 1024 };             /* holds the first line and, of most messages, the envelope */

static int read_exactly(struct buf *b, int fd, size_t n, off_t at)
{
	char *to = buf_reserve(b, n);
	ssize_t got;

	if (!to) {
		errno = ENOMEM;
		return -1;
	}
	got = file_pread(fd, to, n, at);
	if (got == -1)
		return -1;
	if ((size_t)got != n) {
		errno = EBADMSG;
		return -1;
	}
	b->n += n;
	return 0;
}

/* 0: it agrees; else -1 with errno. */
static int check_sum(int fd, off_t from, off_t to, uint32_t want)
{
	char block[65536];
	uint32_t crc = 0;

	while (from < to) {
		size_t n = to - from < (off_t)sizeof block ? (size_t)(to - from) : sizeof block;
		ssize_t got = file_pread(fd, block, n, from);

		if (got == -1)
			return -1;
		if (got == 0)
			break;
		crc = crc32_add(crc, block, (size_t)got);
		from += got;
	}
	errno = EBADMSG;
	return from == to && crc == want ? 0 : -1;
}

/* The file is to blame, or a call of the system: what errno says decides whether it goes to bad/ or is tried again. */
static const char *damaged(const char *why)
{
	errno = EBADMSG;
	return why;
}

static const char *refused(const char *why)
{
	return errno == EBADMSG ? why : strerror(errno);
}

/* Envelope, and a journal that stands right behind the message. NULL, or what is wrong, with errno. */
static const char *read_mail(struct mail *m, bool writable, bool verify, struct str only)
{
	off_t end;
	uint32_t crc;
	size_t journal, whole;
	const char *why;
	struct stat st;

	m->text.max = ENVELOPE_MAX;
	if (fstat(m->fd, &st) == -1)
		return strerror(errno);
	if (!S_ISREG(st.st_mode))
		return damaged("it is not a regular file");
	errno = EBADMSG;
	if (st.st_size < FILE_LINE || read_exactly(&m->text, m->fd, st.st_size < FIRST_READ ? (size_t)st.st_size : FIRST_READ, 0) == -1)
		return refused("the file is shorter than its first line");
	if (!file_line_parse((struct str){ m->text.p, FILE_LINE }, &m->at, &m->size, &crc))
		return damaged("the first line is not that of a queue file (it is not whole, or was written by something else)");
	m->names = st.st_nlink;
	end = m->at + m->size;
	if (st.st_size < end)
		return damaged("the file is shorter than its first line says: it was never completed, or has lost its end");
	if (verify && check_sum(m->fd, FILE_LINE, end, crc) == -1)
		return refused("the checksum does not agree: the file was damaged or never completed");
	if ((off_t)m->text.n > m->at)
		m->text.n = (size_t)m->at;
	else if (read_exactly(&m->text, m->fd, (size_t)m->at - m->text.n, (off_t)m->text.n) == -1)
		return refused("the envelope has lost its end");
	journal = m->text.n;
	if (st.st_size > end && read_rest(&m->text, m->fd, end) == -1)
		return refused("envelope and journal are too long to be read");
	why = read_envelope(m, (struct str){ m->text.p + FILE_LINE, journal - FILE_LINE });
	if (why)
		return errno == ENOMEM ? why : damaged(why);
	merge_duplicates(m, only);
	if (!apply_journal(m, m->text.p + journal, m->text.n - journal, only, &whole)) {
		errno = ENOMEM;
		return "no memory";
	}
	m->end = end + (off_t)whole;
	if (writable && m->end < st.st_size && file_sys.ftruncate(m->fd, m->end) == -1)
		return strerror(errno);
	return NULL;
}

/* What open() says of a link, a directory or a socket; a FIFO can be opened. */
static bool no_file(int error)
{
	return error == ELOOP || error == EISDIR || error == ENXIO;
}

struct mail *mail_open(int dir, const char *name, bool writable, bool verify, struct str only, const char **why)
{
	struct mail *m = calloc(1, sizeof *m);
	int saved;

	*why = NULL;
	if (!m) {
		errno = ENOMEM;
		return NULL;
	}
	m->fd = file_sys.open(dir, name, (writable ? O_RDWR | O_APPEND : O_RDONLY) | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0);
	if (m->fd == -1) {
		if (no_file(errno))
			*why = damaged("it is not a regular file");
		goto fail;
	}
	*why = read_mail(m, writable, verify, only);
	if (!*why)
		return m;
fail:
	saved = errno;
	mail_free(m);
	errno = saved;
	return NULL;
}

struct mail *mail_of(struct buf *file, int fd, off_t at, uint64_t size, struct str only)
{
	struct mail *m = calloc(1, sizeof *m);

	if (!m)
		return NULL;
	m->fd = fd;
	m->text = *file;
	*file = (struct buf){ 0 };
	m->text.n = (size_t)at;
	m->body = m->text.p + at;
	m->at = at;
	m->size = (off_t)size;
	m->end = m->at + m->size;
	m->names = 1;
	if (!read_envelope(m, (struct str){ m->text.p + FILE_LINE, m->text.n - FILE_LINE })) {
		merge_duplicates(m, only);
		return m;
	}
	m->fd = -1;
	mail_free(m);
	return NULL;
}

struct mail *mail_read(int dir, const char *name, const char **why)
{
	struct mail *m = mail_open(dir, name, false, false, STR(""), why);

	if (!m && !*why)
		*why = strerror(errno);
	return m;
}

void mail_free(struct mail *m)
{
	if (!m)
		return;
	if (m->fd != -1)
		close(m->fd);
	buf_free(&m->text);
	free(m->rcpt);
	free(m);
}

/* Where the next line goes: behind the last line end, but never inside the message; *size: of the file. 0: that is no
 * longer whole; -1 with errno. */
static off_t journal_end(const struct mail *m, off_t *size)
{
	char tail[4096];
	off_t least = m->at + m->size, from;
	struct stat st;

	if (fstat(m->fd, &st) == -1)
		return -1;
	*size = st.st_size;
	if (st.st_size < least)
		return 0;
	for (off_t to = st.st_size; to > least; to = from) {
		ssize_t n;

		from = to - least > (off_t)sizeof tail ? to - (off_t)sizeof tail : least;
		n = file_pread(m->fd, tail, (size_t)(to - from), from);
		if (n == -1)
			return -1;
		while (n > 0 && tail[n - 1] != '\n')
			n--;
		if (n > 0)
			return from + n;
	}
	return least;
}

/* Another name of the same file may have added to it, and an append that failed may not have been undone: so it is
 * asked where the end is, every time. */
int journal_append(struct mail *m, const char *lines, size_t n)
{
	off_t size, end = journal_end(m, &size);
	int saved;

	if (end <= 0)
		return end == 0 ? 1 : -1;
	if (size != end && file_sys.ftruncate(m->fd, end) == -1)
		return -1;
	if (file_pwrite(m->fd, lines, n, end) == 0)
		return 0;
	saved = errno;
	if (file_sys.ftruncate(m->fd, end) == -1)
		log_text(LOG_ERROR, "queue", "cannot cut a torn line off a journal: %s", strerror(errno));
	errno = saved;
	return -1;
}

bool file_in_use(int dir, const char *name)
{
	int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	bool used = fd == -1 ? errno == EMFILE || errno == ENFILE || errno == ENOMEM : flock(fd, LOCK_EX | LOCK_NB) == -1 && errno == EWOULDBLOCK;

	if (fd != -1)
		close(fd);
	return used;
}

/* ---- bad/ */

/* Where it was: all that is set aside comes from one of three. */
static const char *place_of(int dir)
{
	return dir == queue.cur ? "cur" : dir == queue.in ? "in" : "new";
}

static int write_why(int dir, const char *name, const char *as, const char *why)
{
	char file[NAME_ROOM + 24], stamp[40];
	struct buf text = { 0 };
	int fd, failed;

	snprintf(file, sizeof file, "%s.why", as);
	fd = file_sys.open(queue.bad, file, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
	if (fd == -1)
		return -1;
	buf_printf(&text, "%s was set aside at %s:\n%s\n\nMend it and move it back to %s/, or delete both files.\n", name,
		clock_rfc3339(loop_wall(), stamp), why, place_of(dir));
	failed = file_write(fd, text.p, text.n);
	buf_free(&text);
	close(fd);
	return failed;
}

static void remove_why(const char *as)
{
	char file[NAME_ROOM + 24];
	int saved = errno;

	snprintf(file, sizeof file, "%s.why", as);
	file_sys.unlink(queue.bad, file);
	errno = saved;
}

/* The reason comes first: a file that is found in bad/ always has one. 0 or -1 with errno; as: under which name. */
static int move_to_bad(int dir, const char *name, const char *why, char as[NAME_ROOM + 16])
{
	snprintf(as, NAME_ROOM + 16, "%.235s", name);
	for (unsigned i = 1; i < 1000; i++) {
		if (faccessat(queue.bad, as, F_OK, AT_SYMLINK_NOFOLLOW) == -1) {
			if (write_why(dir, name, as, why) == 0 && file_sys.rename(dir, name, queue.bad, as) == 0)
				return 0;
			remove_why(as);
			return -1;
		}
		snprintf(as, NAME_ROOM + 16, "%.235s.%u", name, i);
	}
	errno = EEXIST;
	return -1;
}

bool queue_set_aside(int dir, const char *name, const char *why)
{
	char as[NAME_ROOM + 16];

	if (move_to_bad(dir, name, why, as) == -1) {
		if (errno == ENOENT)
			return true;
		log_event(LOG_ERROR, "cannot-set-aside", LF(L_TEXT("file", name), L_TEXT("reason", why), L_TEXT("error", strerror(errno))));
		return false;
	}
	if (dir == queue.cur) {
		wal_gone(name, false);
		wal_tell();
	}
	log_event(LOG_ERROR, "set-aside", LF(L_TEXT("file", name), L_TEXT("now", as), L_TEXT("reason", why)));
	return true;
}
