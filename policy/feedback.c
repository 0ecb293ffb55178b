/* Reports of others as lines. */
#include "policy/feedback.h"

#include <string.h>

#include "lib/daily.h"
#include "lib/unpack.h"
#include "mime/status.h"

/* ---- what is asked */

static const char *const kinds[] = { [FEEDBACK_STATUS] = "status", [FEEDBACK_AGGREGATE] = "aggregate" };

bool feedback_ask(struct buf *name, enum feedback_kind kind, const char *hostname, const char *path, int64_t at)
{
	return buf_printf(name, "%s\n%s\n%lld\n%s", kinds[kind], hostname, (long long)at, path);
}

bool feedback_asked(struct str name, enum feedback_kind *kind, struct str *hostname, struct str *path, int64_t *at)
{
	struct str word, number;
	uint64_t n;

	if (!str_cut(&name, '\n', &word) || !str_cut(&name, '\n', hostname) || !str_cut(&name, '\n', &number) || !str_number(number, INT64_MAX, &n))
		return false;
	*kind = str_eq(word, str_of(kinds[FEEDBACK_STATUS])) ? FEEDBACK_STATUS : FEEDBACK_AGGREGATE;
	*path = name;
	*at = (int64_t)n;
	return true;
}

/* ---- delivery status */

static void put_rcpt(struct buf *out, const struct status_report *r, const struct status_rcpt *to)
{
	daily_put_text(out, "id", str_of(r->id));
	daily_put_text(out, "envid", str_of(r->envid));
	daily_put_text(out, "to", str_of(to->to));
	daily_put_text(out, "original", str_of(to->original));
	daily_put_text(out, "what", str_of(to->action));
	daily_put_text(out, "status", str_of(to->status));
	daily_put_text(out, "host", str_of(r->mta));
	daily_put_text(out, "remote", str_of(to->remote));
	daily_put_text(out, "words", (struct str){ to->words, strlen(to->words) < FEEDBACK_WORDS ? strlen(to->words) : FEEDBACK_WORDS });
	buf_char(out, '\n');
}

static const char *read_status(struct str message, const char *hostname, struct buf *out)
{
	static struct status_report r;
	const char *wrong = status_read(message, hostname, &r);

	if (wrong)
		return wrong;
	buf_puts(out, "status\n");
	for (size_t i = 0; i < r.n; i++)
		put_rcpt(out, &r, &r.rcpt[i]);
	return NULL;
}

/* ---- aggregate reports */

enum { PARTS = 20, DEPTH = 3 };         /* of a message; of parts within parts */

struct search {
	size_t parts;
	bool found;
	const char *wrong;              /* with the last file that was tried */
	struct buf *out;
};

/* What it is called says less than how it begins. */
static const char *read_file(struct str file, struct buf *out)
{
	struct str text = str_trim(file);

	if (str_starts_nocase(text, STR("\xef\xbb\xbf")))
		text = str_trim(str_from(text, 3));
	if (!text.n)
		return "the file in it is empty";
	return text.p[0] == '<' ? feedback_dmarc(text, out) : text.p[0] == '{' ? feedback_tls(text, out) : "no file in it is XML or JSON";
}

static void try_file(struct search *s, const struct part *p)
{
	struct buf packed = { .max = FEEDBACK_READ }, file = { .max = FEEDBACK_FILE };
	size_t before = s->out->n;

	if (part_decode(p, &packed) && !(s->wrong = unpack(buf_view(&packed), &file)))
		s->wrong = read_file(buf_view(&file), s->out);
	if (packed.bad)
		s->wrong = "a file in it is too large";
	s->found = !s->wrong;
	if (s->wrong)
		s->out->n = before;
	buf_free(&packed);
	buf_free(&file);
}

/* Words for people are none, nor is a message in it. */
static bool is_file(const struct part *p)
{
	return part_is(p, "text/xml") || !(part_is(p, "text/") || part_is(p, "message/"));
}

static void search_part(struct search *s, const struct part *p, unsigned depth)
{
	struct str rest = p->body;
	struct part inner;

	if (part_is(p, "multipart/"))
		while (depth < DEPTH && !s->found && s->parts++ < PARTS && part_next(p, &rest, &inner))
			search_part(s, &inner, depth + 1);
	else if (is_file(p))
		try_file(s, p);
}

static const char *read_aggregate(struct str message, struct buf *out)
{
	struct search s = { .wrong = "there is no file in it", .out = out };
	struct part whole;

	part_open(message, &whole);
	search_part(&s, &whole, 0);
	return s.found ? NULL : s.wrong;
}

const char *feedback_lacks(void)
{
	bool xml = feedback_reads_dmarc(), json = feedback_reads_tls();

	if (!unpack_available())
		return "those that are packed, as nearly all are (zlib)";
	return xml && json ? NULL : xml ? "those of TLS (jansson)" : json ? "those of DMARC (expat)" : "any (expat, jansson)";
}

/* ---- all of them */

const char *feedback_read(enum feedback_kind kind, struct str message, const char *hostname, struct buf *out)
{
	size_t before = out->n;
	const char *wrong = kind == FEEDBACK_STATUS ? read_status(message, hostname, out) : read_aggregate(message, out);

	if (!wrong && out->bad)
		wrong = "it says too much";
	if (wrong) {
		out->n = before;
		out->bad = false;
	}
	return wrong;
}
