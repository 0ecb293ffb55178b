/* Mail that may be a report on ours: what comes without a sender and says that it is a delivery status (RFC 3464), and what a stranger who can be
 * known sends to an address that reports of DMARC and TLS are to come to. It is read by a process of its own before it is taken, as only then its
 * file is sure to be there; who is told of it hears it when it is in the queue. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/list.h"
#include "lib/log.h"
#include "mime/status.h"
#include "parse.h"
#include "policy/dkim.h"
#include "policy/feedback.h"
#include "smtpd/session.h"

enum {
	READ_MS = 15000,                /* the reader has a deadline of its own, and others may stand before us */
	HEADER_LOOKED_AT = 64 << 10,    /* octets of the message in which it says what it is */
	FUTURE_S = 60                   /* a report may end so much later than our clock has it */
};

struct reading {
	struct session *session;
	struct facts *facts;
	struct task wake;
	enum feedback_kind kind;
	struct buf name;                /* of the fact */
	struct buf text;                /* what it comes to; empty: it is no report */
};

void reports_free(struct txn *t)
{
	struct reading *r = t->reading;

	if (!r)
		return;
	facts_free(r->facts);
	buf_free(&r->name);
	buf_free(&r->text);
	free(r);
	t->reading = NULL;
}

/* ---- what may be one */

static bool says_it_is_a_status(struct session *s)
{
	char *header = malloc(HEADER_LOOKED_AT);
	ssize_t n = header ? draft_peek(s->txn->draft, header, HEADER_LOOKED_AT) : -1;
	bool is = n > 0 && status_is_report((struct str){ header, (size_t)n });

	free(header);
	return is;
}

static bool goes_to_reports(const struct session *s)
{
	struct str rest = buf_view(&s->txn->envelope.text), line;
	struct recipient to;

	while (str_cut(&rest, '\n', &line))
		if (str_starts_nocase(line, STR("RCPT ")) && !parse_rcpt(str_from(line, 5), PARAM_ALL, true, &to).text &&
		    s->config->reports_at(s->config->arg, &to.addr))
			return true;
	return false;
}

static bool passes_dmarc(const struct session *s)
{
	const struct dmarc_result *d = inspect_dmarc(s->txn);

	return d && d->code == DMARC_PASS;
}

/* Is one of them the other, or below it? */
static bool is_within(const char *domain, const char *above)
{
	struct str d = str_of(domain), a = str_of(above);

	return a.n && str_ends_nocase(d, a) && (d.n == a.n || d.p[d.n - a.n - 1] == '.');
}

/* RFC 8460 5.3: the author's domain, or one above it within its organization, has signed all of it with a key for that. */
static bool signed_for_tls(const struct session *s)
{
	const struct dmarc_result *author = inspect_dmarc(s->txn);
	const struct dkim *dkim = inspect_dkim(s->txn);

	for (size_t i = 0; author && dkim && i < dkim_count(dkim); i++) {
		const struct dkim_signature *g = dkim_at(dkim, i);

		if (g->for_tlsrpt && (!strcmp(g->domain, author->domain) || (is_within(author->domain, g->domain) && is_within(g->domain, author->organization))))
			return true;
	}
	return false;
}

static void is_none(const struct session *s, const char *reason)
{
	log_event(LOG_INFO, "no-report", LF(L_TEXT("id", session_id(s)), L_TEXT("client", s->who.peer_text), L_TEXT("reason", reason)));
}

static bool is_wanted(struct session *s, enum feedback_kind *kind)
{
	if (!s->config->reported || s->who.submission)
		return false;
	*kind = FEEDBACK_STATUS;
	if (!*s->who.sender && says_it_is_a_status(s))
		return true;
	*kind = FEEDBACK_AGGREGATE;
	if (!s->config->reports_at || s->service != SMTPD_MX || !session_is_stranger(s) || !goes_to_reports(s))
		return false;
	if (passes_dmarc(s) || signed_for_tls(s))
		return true;
	is_none(s, "neither DMARC nor a signature says whose it is");
	return false;
}

/* ---- what it says */

/* "dmarc END DOMAIN" or "tls END DOMAIN DOMAIN ...". NULL, or why it is not kept. */
static const char *refused(const struct session *s, struct str text)
{
	struct str line, kind, word;
	char domain[DOMAIN_MAX + 1];
	uint64_t end;

	if (!str_cut(&text, '\n', &line) || !str_word(&line, &kind) || !str_word(&line, &word) || !str_number(word, INT64_MAX, &end))
		return "it cannot be understood";
	if (str_eq(kind, STR("dmarc")) ? !passes_dmarc(s) : !signed_for_tls(s))
		return str_eq(kind, STR("dmarc")) ? "it is one of DMARC, and does not pass DMARC itself" : "it is one of TLS, and not signed for that";
	if ((int64_t)end > loop_wall() + FUTURE_S)
		return "it is of a time that has not come yet";
	while (str_word(&line, &word))
		if (str_copy(domain, sizeof domain, word) && s->config->reports_on(s->config->arg, str_of(domain)))
			return NULL;
	return "it is about no domain of ours";
}

/* ---- asking */

static bool name_it(struct reading *r, off_t at)
{
	struct session *s = r->session;
	struct buf path = { .max = 4096 };
	bool ok = draft_path(s->txn->draft, &path) && feedback_ask(&r->name, r->kind, s->config->hostname, buf_cstr(&path), at);

	buf_free(&path);
	return ok;
}

/* False: it is waited for. */
static bool look(struct reading *r)
{
	const struct fact *f = fact(r->facts, FACT_FEEDBACK, buf_view(&r->name));
	const char *why;

	if (!f)
		return false;
	why = f->outcome != FOUND || !f->n ? f->why : r->kind == FEEDBACK_STATUS ? NULL : refused(r->session, f->record[0].data);
	if (why || f->outcome != FOUND)
		is_none(r->session, why);
	else
		buf_str(&r->text, f->record[0].data);
	return true;
}

static void on_fact(struct task *t)
{
	struct reading *r = owner_of(t, struct reading, wake);
	struct session *s = r->session;

	if (s->phase != P_READING || !look(r))
		return;
	data_commit(s);
	stream_again(&s->stream);
}

void reports_time(struct session *s)
{
	is_none(s, "it took too long");
	data_commit(s);
}

/* Without memory it is no report, and mail like any other. */
bool reports_begin(struct session *s)
{
	enum feedback_kind kind;
	struct reading *r;
	off_t at;

	if (s->txn->reading || s->txn->judging || !is_wanted(s, &kind) || !(r = calloc(1, sizeof *r)))
		return false;
	s->txn->reading = r;
	r->session = s;
	r->kind = kind;
	r->wake.run = on_fact;
	r->facts = facts_new(&r->wake, 1);
	if (!r->facts)
		return false;
	facts_for_stranger(r->facts);
	if (draft_file(s->txn->draft, &at) == -1) {
		data_disk_failed(s, "report");
		return false;
	}
	if (!name_it(r, at) || look(r))
		return false;
	s->phase = P_READING;
	session_deadline(s, READ_MS);
	return true;
}

/* ---- telling */

bool reports_taken(const struct txn *t)
{
	return t->reading && t->reading->kind == FEEDBACK_AGGREGATE && t->reading->text.n;
}

void reports_tell(struct session *s)
{
	struct reading *r = s->txn->reading;

	if (r && r->text.n)
		s->config->reported(s->config->arg, &s->who, s->txn->id, buf_view(&r->text));
}
