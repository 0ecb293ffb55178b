/* Mail from strangers: its DKIM signatures are checked while it goes by, and where its client comes from; then it is known what DMARC
 * makes of that, and all of it is written in front of the message. What the DNS has to say is asked for as soon as the header is there; at
 * the end it is waited for what has not come. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/list.h"
#include "lib/log.h"
#include "lib/rand.h"
#include "policy/arc.h"
#include "policy/authres.h"
#include "policy/dkim.h"
#include "policy/dmarc.h"
#include "policy/evaluation.h"
#include "policy/iprev.h"
#include "smtpd/session.h"

enum {
	ANSWERS_MS = 15000,             /* the client waits for its reply meanwhile */
	HELD_MAX = 64 << 20,            /* octets of header of all sessions that are held at a time */
	LOOKUPS = DKIM_LOOKUPS + IPREV_LOOKUPS + DMARC_LOOKUPS
};

static size_t held;

struct inspection {
	struct session *session;
	struct facts *facts;
	struct task wake;               /* some have come */
	struct dkim *dkim;
	bool whole;                     /* the message has been seen to its end */
	struct ip ip;
	struct iprev_result iprev;
	bool iprev_wanted, iprev_known;
	struct dmarc_reader from;
	struct dmarc_author author;
	struct dmarc_query query;
	struct dmarc_result dmarc;
	bool dmarc_wanted, author_known, dmarc_known;
	char dkim_words[256], dmarc_words[DOMAIN_MAX + 32];     /* for the log */
	char why[450];
	struct refusal refusal;
};

void inspect_free(struct txn *t)
{
	struct inspection *i = t->inspection;

	if (!i)
		return;
	if (i->dkim)
		held -= dkim_holds(i->dkim);
	dkim_free(i->dkim);
	facts_free(i->facts);
	dmarc_read_end(&i->from, &i->author);
	free(i);
	t->inspection = NULL;
}

/* ---- what is asked */

/* True: all is known. Before the end of the message it is only asked what will be needed. */
static bool look(struct inspection *i)
{
	bool signatures = dkim_judge(i->dkim, i->facts, loop_wall()) && i->whole;

	if (i->iprev_wanted && !i->iprev_known)
		i->iprev_known = iprev_check(i->facts, &i->ip, &i->iprev) == ACCEPT;
	if (i->dmarc_wanted && i->author_known && !i->dmarc_known) {
		dmarc_query_set(&i->query, vetting_result(i->session->txn), i->dkim);
		i->dmarc_known = dmarc_check(i->facts, &i->query, &i->dmarc) == ACCEPT && signatures;
		if (i->dmarc_known)
			dmarc_trust(&i->dmarc, dkim_arc(i->dkim), i->session->config->arc_sealers);
	}
	return signatures && i->iprev_known == i->iprev_wanted && i->dmarc_known == i->dmarc_wanted;
}

static void finish(struct session *);

static void facts_have_come(struct task *t)
{
	struct inspection *i = owner_of(t, struct inspection, wake);
	struct session *s = i->session;

	if (look(i) && s->phase == P_JUDGING) {
		finish(s);
		stream_again(&s->stream);
	}
}

/* ---- the message goes by */

bool inspect_wanted(const struct session *s)
{
	return s->config->check_dkim && !s->who.submission && session_is_stranger(s);
}

size_t inspect_room(void) { return AUTHRES_ROOM; }

/* DMARC speaks of what SPF and DKIM have found: without SPF it would call forged what is not. */
static bool begin_dmarc(struct session *s, struct inspection *i)
{
	if (s->config->dmarc == SMTPD_DMARC_OFF || !vetting_result(s->txn))
		return false;
	dmarc_read_begin(&i->from);
	i->query = (struct dmarc_query){ .author = &i->author, .sample = rand_below(100) };
	return true;
}

bool inspect_begin(struct session *s)
{
	struct inspection *i = calloc(1, sizeof *i);

	if (!i)
		return false;
	s->txn->inspection = i;
	i->session = s;
	i->wake.run = facts_have_come;
	i->facts = facts_new(&i->wake, LOOKUPS);
	i->dkim = dkim_new();
	if (!i->facts || !i->dkim)
		return false;
	facts_for_stranger(i->facts);
	i->iprev_wanted = ip_of((const struct sockaddr *)&s->who.peer, &i->ip) && s->config->check_iprev;
	i->dmarc_wanted = begin_dmarc(s, i);
	look(i);
	return true;
}

static void check_signatures(struct inspection *i, struct str text)
{
	held -= dkim_holds(i->dkim);
	dkim_add(i->dkim, text);
	if (held + dkim_holds(i->dkim) > HELD_MAX)      /* ten thousand strangers with a large one each are no friends */
		dkim_abandon(i->dkim, "too many headers are being read at a time");
	held += dkim_holds(i->dkim);
	dkim_judge(i->dkim, i->facts, loop_wall());     /* asks for what is known to be needed */
}

static void end_header(struct inspection *i)
{
	dmarc_read_end(&i->from, &i->author);
	i->author_known = true;
	look(i);
}

void inspect_take(struct session *s, struct str text)
{
	struct inspection *i = s->txn->inspection;

	check_signatures(i, text);
	if (i->dmarc_wanted && !i->author_known && !dmarc_read(&i->from, text))
		end_header(i);
}

/* ---- the end */

static void write_results(struct session *s)
{
	struct inspection *i = s->txn->inspection;
	struct authres r = { .ip = &i->ip, .iprev = i->iprev_wanted ? &i->iprev : NULL, .spf = vetting_result(s->txn),
		.dmarc = i->dmarc_wanted ? &i->dmarc : NULL, .dkim = i->dkim };
	struct buf field = { 0 };

	if (!authres_print(&field, s->config->hostname, &r))
		errno = ENOMEM;
	if (field.bad || draft_front(s->txn->draft, field.p, field.n) == -1)
		data_disk_failed(s, "results");
	buf_free(&field);
}

static void write_words(struct inspection *i)
{
	const struct dmarc_result *r = &i->dmarc;

	authres_words(i->dkim_words, sizeof i->dkim_words, i->dkim);
	if (i->dmarc_wanted)
		snprintf(i->dmarc_words, sizeof i->dmarc_words, "%s%s%s%s%s", dmarc_name(r->code), *r->domain ? ":" : "", r->domain,
			r->code == DMARC_FAIL ? " " : "", r->code == DMARC_FAIL ? dmarc_policy_name(r->policy) : "");
}

/* RFC 7372 3.3 for what the domain's owner does not want, unless its recipients are asked first (smtpd/judge.c); RFC 9989 11.5 for what nobody
 * can say whose it is; and what would be refused if it were known is put off. Mail that is suspect (quarantine) is taken: the field says so. */
static const struct refusal *refusal_of(struct inspection *i)
{
	static const struct { int code; const char *enhanced, *token; } rows[] = {
		{ 550, "5.7.26", "dmarc-policy" }, { 550, "5.7.1", "dmarc-unclear" }, { 451, "4.7.26", "dmarc-unknown" },
	};
	const struct dmarc_result *r = &i->dmarc;
	size_t which = r->policy == DMARC_P_REJECT && i->session->config->judge != SMTPD_JUDGE_REFUSE ? 0 : r->unclear ? 1 : 2;

	if (!i->dmarc_wanted || i->session->config->dmarc != SMTPD_DMARC_REFUSE || (which == 2 && !r->retry))
		return NULL;
	snprintf(i->why, sizeof i->why, "DMARC: %s", r->why);
	i->session->txn->token = rows[which].token;
	i->refusal = (struct refusal){ rows[which].code, rows[which].enhanced, i->why };
	return &i->refusal;
}

static void finish(struct session *s)
{
	struct inspection *i = s->txn->inspection;
	const struct refusal *no = refusal_of(i);

	write_words(i);
	if (no)
		data_refuse(s, no);
	else
		write_results(s);
	data_commit(s);
}

void inspect_out_of_time(struct session *s)
{
	struct inspection *i = s->txn->inspection;

	dkim_give_up(i->dkim);
	if (!look(i) && i->iprev_wanted && !i->iprev_known)
		iprev_late(&i->iprev);
	if (i->dmarc_wanted && !i->dmarc_known)
		dmarc_late(&i->query, &i->dmarc);
	i->dmarc_known = i->dmarc_wanted;
	finish(s);
}

void inspect_end(struct session *s)
{
	struct inspection *i = s->txn->inspection;

	held -= dkim_holds(i->dkim);
	dkim_end(i->dkim);
	held += dkim_holds(i->dkim);
	i->whole = true;
	if (i->dmarc_wanted && !i->author_known)
		end_header(i);
	if (look(i)) {
		finish(s);
		return;
	}
	s->phase = P_JUDGING;
	session_deadline(s, ANSWERS_MS);
}

/* ---- what came of it */

static struct str domain_of(struct str address)
{
	struct str local;

	return str_cut_last(&address, '@', &local) ? address : STR("");
}

/* Why mail is taken whose author's domain does not want that. */
static enum dmarc_override override_of(const struct txn *t, const struct dmarc_result *r)
{
	enum dmarc_override why = judging_override(t);

	if (r->override || r->policy == DMARC_P_NONE)
		return r->override;
	return why ? why : DMARC_LOCAL_POLICY;
}

void inspect_tell(struct session *s, bool taken)
{
	struct txn *t = s->txn;
	struct inspection *i = t->inspection;
	const struct dmarc_result *r = inspect_dmarc(t);
	struct evaluation e;

	if (!s->config->evaluated || !r || !*r->rua || r->code == DMARC_TEMPERROR || (!taken && strcmp(t->refusal->enhanced, "5.7.26") != 0))
		return;
	e = (struct evaluation){ .time = loop_wall(), .ip = &i->ip, .dmarc = r, .spf = vetting_result(t), .dkim = i->dkim,
		.done = taken ? DMARC_P_NONE : DMARC_P_REJECT, .why = taken ? override_of(t, r) : r->override,
		.mail_from = domain_of(str_of(t->sender)), .rcpt = t->envelope.nrcpt == 1 ? buf_view(&t->only_rcpt) : STR(""),
		.quiet = r->code == DMARC_PASS && i->author.report };
	s->config->evaluated(s->config->arg, &e);
}

const struct dmarc_result *inspect_dmarc(const struct txn *t)
{
	const struct inspection *i = t->inspection;

	return i && i->dmarc_known ? &i->dmarc : NULL;
}

bool inspect_no_iprev(const struct txn *t)
{
	const struct inspection *i = t->inspection;

	return i && i->iprev_known && (i->iprev.code == IPREV_FAIL || i->iprev.code == IPREV_PERMERROR);
}

const struct dkim *inspect_dkim(const struct txn *t) { return t->inspection ? t->inspection->dkim : NULL; }
const char *inspect_arc(const struct txn *t)
{
	const struct arc *a = t->inspection ? dkim_arc(t->inspection->dkim) : NULL;
	const char *why;

	return a ? arc_name(arc_result(a, &why)) : NULL;
}

const char *inspect_words(const struct txn *t) { return t->inspection ? t->inspection->dkim_words : NULL; }
const char *inspect_dmarc_words(const struct txn *t) { return t->inspection ? t->inspection->dmarc_words : NULL; }
