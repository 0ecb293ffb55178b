/* Aggregate reports of DMARC (RFC 7489 appendix C, RFC 9990), read by expat: no document type, so no entities of the sender's; elements of few levels;
 * rows are written as they end, so that a report of any length costs what is kept of it. */
#include "policy/feedback.h"

static const char not_here[] = "it is XML, and there is no expat here";

#ifdef HAVE_EXPAT
#include <arpa/inet.h>
#include <expat.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "fardel.h"
#include "lib/codec.h"
#include "lib/daily.h"
#include "lib/late.h"

static struct late library = { .file = HAVE_EXPAT };
#define EXPAT(f) LATE(library, HAVE_EXPAT, f)

bool feedback_reads_dmarc(void) { return late_is_there(&library); }

enum {
	DEPTH = 12, PATH_ROOM = 256,    /* of elements, and of their names with slashes between them */
	VALUE_MAX = 256,                /* octets of an element's text that are kept */
	LIST_MAX = 400,                 /* of what signatures, or reasons, come to */
	COUNT_MAX = 1000000000,         /* messages of a row */
	ROWS_TEXT = FEEDBACK_TEXT - 4096        /* of rows; those that have no room are summed up */
};

struct values {
	/* Of the report. */
	char org[VALUE_MAX], report[VALUE_MAX], begin[24], end[24], domain[DOMAIN_MAX + 1], p[16], sp[16], pct[8];
	/* Of a row, and of a result or reason in it. */
	char ip[INET6_ADDRSTRLEN], n[16], done[16], dkim[16], spf[16], from[DOMAIN_MAX + 1], mail[DOMAIN_MAX + 1];
	char item[DOMAIN_MAX + 1], result[24];
};

/* Paths begin behind the outermost element, whatever its name. */
#define ROW(path, name) { path, offsetof(struct values, name), sizeof ((struct values *)0)->name }
static const struct {
	const char *path;
	size_t at, size;
} elements[] = {
	ROW("/report_metadata/org_name", org), ROW("/report_metadata/report_id", report), ROW("/report_metadata/date_range/begin", begin),
	ROW("/report_metadata/date_range/end", end), ROW("/policy_published/domain", domain), ROW("/policy_published/p", p),
	ROW("/policy_published/sp", sp), ROW("/policy_published/pct", pct), ROW("/record/row/source_ip", ip), ROW("/record/row/count", n),
	ROW("/record/row/policy_evaluated/disposition", done), ROW("/record/row/policy_evaluated/dkim", dkim),
	ROW("/record/row/policy_evaluated/spf", spf), ROW("/record/row/policy_evaluated/reason/type", item),
	ROW("/record/identifiers/header_from", from), ROW("/record/identifiers/envelope_from", mail),
	ROW("/record/auth_results/dkim/domain", item), ROW("/record/auth_results/dkim/result", result),
	ROW("/record/auth_results/spf/domain", item), ROW("/record/auth_results/spf/result", result),
};

struct reading {
	XML_Parser parser;
	char path[PATH_ROOM];
	size_t npath, depth;
	char text[VALUE_MAX];
	size_t ntext;
	struct values v;
	char signatures[LIST_MAX], sender[LIST_MAX], reasons[LIST_MAX];
	struct buf rows;
	uint64_t nrows, messages, rest[2][2];   /* rest: messages of rows without room, by dkim and spf */
	const char *wrong;
};

static void stop(struct reading *r, const char *wrong)
{
	if (!r->wrong)
		r->wrong = wrong;
	EXPAT(XML_StopParser)(r->parser, XML_FALSE);
}

/* ---- a row */

static bool passes(const char *word) { return !strcmp(word, "pass"); }

static void put_row(struct buf *out, const char *ip, uint64_t n, bool dkim, bool spf)
{
	if (*ip)
		daily_put_text(out, "ip", str_of(ip));
	buf_printf(out, " n=%" PRIu64 " dkim=%s spf=%s", n, dkim ? "pass" : "fail", spf ? "pass" : "fail");
}

static void end_row(struct reading *r)
{
	struct values *v = &r->v;
	struct buf line = { .max = 4096 };
	unsigned char address[16];
	uint64_t n;

	if (inet_pton(AF_INET, v->ip, address) != 1 && inet_pton(AF_INET6, v->ip, address) != 1) {
		stop(r, "a row of it has no address");
		return;
	}
	if (!str_number(str_of(v->n), COUNT_MAX, &n)) {
		stop(r, "a row of it has no number of messages");
		return;
	}
	put_row(&line, v->ip, n, passes(v->dkim), passes(v->spf));
	daily_put_text(&line, "done", str_of(!strcmp(v->done, "quarantine") || !strcmp(v->done, "reject") ? v->done : "none"));
	daily_put_text(&line, "from", str_of(v->from));
	daily_put_text(&line, "mail", str_of(v->mail));
	daily_put_text(&line, "why", str_of(r->reasons));
	daily_put_text(&line, "signed", str_of(r->signatures));
	daily_put_text(&line, "sent", str_of(r->sender));
	buf_char(&line, '\n');
	r->nrows++;
	r->messages += n;
	if (line.bad || r->rows.n + line.n > ROWS_TEXT)
		r->rest[passes(v->dkim)][passes(v->spf)] += n;
	else
		buf_str(&r->rows, buf_view(&line));
	buf_free(&line);
}

static void begin_row(struct reading *r)
{
	struct values *v = &r->v;

	memset(v->ip, 0, sizeof *v - offsetof(struct values, ip));
	r->signatures[0] = r->sender[0] = r->reasons[0] = '\0';
}

/* "example.org:pass, other.test:fail" */
static void add_item(struct reading *r, char list[LIST_MAX])
{
	size_t n = strlen(list);

	if (*r->v.item && n + strlen(r->v.item) + strlen(r->v.result) + 4 < LIST_MAX)
		snprintf(list + n, LIST_MAX - n, "%s%s%s%s", n ? "," : "", r->v.item, *r->v.result ? ":" : "", r->v.result);
	r->v.item[0] = r->v.result[0] = '\0';
}

/* ---- elements */

static void XMLCALL element_begins(void *arg, const XML_Char *name, const XML_Char **attributes)
{
	struct reading *r = arg;
	const char *colon = strrchr(name, ':');
	size_t n;

	(void)attributes;
	if (r->wrong)
		return;                 /* some callbacks follow a stop */
	name = colon ? colon + 1 : name;
	n = strlen(name);
	r->ntext = 0;
	if (++r->depth > DEPTH || r->npath + n + 2 > sizeof r->path) {
		stop(r, "its elements are nested too deep");
		return;
	}
	if (r->depth == 1)
		return;
	r->path[r->npath++] = '/';
	memcpy(r->path + r->npath, name, n + 1);
	r->npath += n;
	if (!strcmp(r->path, "/record"))
		begin_row(r);
}

/* The first of a name counts. */
static void take_text(struct reading *r)
{
	struct str text = str_trim((struct str){ r->text, r->ntext });

	for (size_t i = 0; i < sizeof elements / sizeof *elements; i++) {
		char *to = (char *)&r->v + elements[i].at;

		if (!strcmp(r->path, elements[i].path) && !*to)
			str_copy(to, elements[i].size, text);
	}
}

static void XMLCALL element_ends(void *arg, const XML_Char *name)
{
	struct reading *r = arg;

	(void)name;
	if (r->wrong || --r->depth == 0)
		return;
	take_text(r);
	r->ntext = 0;
	if (!strcmp(r->path, "/record/row/policy_evaluated/reason"))
		add_item(r, r->reasons);
	else if (!strcmp(r->path, "/record/auth_results/dkim"))
		add_item(r, r->signatures);
	else if (!strcmp(r->path, "/record/auth_results/spf"))
		add_item(r, r->sender);
	else if (!strcmp(r->path, "/record"))
		end_row(r);
	while (r->path[--r->npath] != '/')
		;
	r->path[r->npath] = '\0';
}

static void XMLCALL text_comes(void *arg, const XML_Char *text, int n)
{
	struct reading *r = arg;
	size_t room = sizeof r->text - r->ntext, k = (size_t)n < room ? (size_t)n : room;

	memcpy(r->text + r->ntext, text, k);
	r->ntext += k;
}

static void XMLCALL document_type(void *arg, const XML_Char *name, const XML_Char *system, const XML_Char *public, int subset)
{
	(void)name, (void)system, (void)public, (void)subset;
	stop(arg, "it defines a document type");
}

/* ---- the whole */

static const char *complete(struct reading *r, struct buf *out)
{
	struct values *v = &r->v;
	uint64_t begin, end;

	if (!*v->org || !*v->report)
		return "it does not say who reports, or has no id";
	if (!str_number(str_of(v->begin), INT64_MAX, &begin) || !str_number(str_of(v->end), INT64_MAX, &end) || end < begin)
		return "it is of no time";
	if (!*v->domain)
		return "it is of no domain";
	for (char *c = v->domain; *c; c++)
		*c = ascii_lower(*c);
	buf_printf(out, "dmarc %" PRIu64 " ", end);
	percent_word(out, str_of(v->domain));
	buf_puts(out, "\n kind=dmarc");
	daily_put_text(out, "org", str_of(v->org));
	daily_put_text(out, "report", str_of(v->report));
	buf_printf(out, " begin=%" PRIu64 " end=%" PRIu64, begin, end);
	daily_put_text(out, "domain", str_of(v->domain));
	daily_put_text(out, "p", str_of(v->p));
	daily_put_text(out, "sp", str_of(v->sp));
	daily_put_text(out, "pct", str_of(v->pct));
	buf_printf(out, " rows=%" PRIu64 " n=%" PRIu64 "\n", r->nrows, r->messages);
	buf_str(out, buf_view(&r->rows));
	for (int dkim = 0; dkim < 2; dkim++)
		for (int spf = 0; spf < 2; spf++)
			if (r->rest[dkim][spf]) {
				put_row(out, "", r->rest[dkim][spf], dkim, spf);
				buf_char(out, '\n');
			}
	return NULL;
}

const char *feedback_dmarc(struct str xml, struct buf *out)
{
	static struct reading r;
	const char *wrong;

	if (!late_open(&library))
		return not_here;
	r = (struct reading){ .parser = EXPAT(XML_ParserCreate)(NULL) };
	if (!r.parser)
		return "out of memory";
	EXPAT(XML_SetUserData)(r.parser, &r);
	EXPAT(XML_SetElementHandler)(r.parser, element_begins, element_ends);
	EXPAT(XML_SetCharacterDataHandler)(r.parser, text_comes);
	EXPAT(XML_SetStartDoctypeDeclHandler)(r.parser, document_type);
	if (EXPAT(XML_Parse)(r.parser, xml.p, (int)xml.n, XML_TRUE) == XML_STATUS_ERROR && !r.wrong)
		r.wrong = "it is no XML";
	wrong = r.wrong ? r.wrong : complete(&r, out);
	EXPAT(XML_ParserFree)(r.parser);
	buf_free(&r.rows);
	return wrong;
}
#else
bool feedback_reads_dmarc(void) { return false; }

const char *feedback_dmarc(struct str xml, struct buf *out)
{
	(void)xml, (void)out;
	return not_here;
}
#endif
