/* The message: from DATA to the reply that says whether it is on disk (RFC 5321 4.1.1.4, 4.5.2). */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "parse.h"
#include "policy/sign.h"
#include "smtpd/session.h"

enum {
	DATA_RATE = 1000,               /* octets that buy a message another second, so that an honest slow line gets there */
	DISCARD_SLACK = 64 << 20        /* octets of a message too large that are read to keep the session going */
};

static unsigned hops_max(const struct session *s) { return s->config->hops_max ? s->config->hops_max : 100; }
msec data_ms(const struct session *s) { return 1000 * (msec)(s->config->data_s ? s->config->data_s : 1800); }

static const struct refusal
	refuse_size = { 552, "5.3.4", "Message is too large" },
	refuse_bare = { 554, "5.6.0", "Message holds a CR or LF that is not part of a CR LF line end" },
	refuse_nul = { 554, "5.6.0", "Message holds a NUL octet" },
	refuse_circle = { 554, "5.4.6", "The message has been delivered to one of its recipients before (Delivered-To)" },
	refuse_hops = { 554, "5.4.6", "Too many Received fields, the message seems to loop" },
	refuse_full = { 452, "4.3.1", "No room to store the message, try again later" },
	refuse_disk = { 451, "4.3.0", "The message could not be stored, try again later" };

static const struct refusal *disk_refusal(int error)
{
	return error == ENOSPC || error == EDQUOT ? &refuse_full : &refuse_disk;
}

/* Nothing more is stored; what still comes is read and dropped, so that the reply stands where the client expects it. */
void data_refuse(struct session *s, const struct refusal *why)
{
	if (s->txn->refusal)
		return;
	s->txn->refusal = why;
	if (s->txn->draft)
		draft_abort(s->txn->draft);
	s->txn->draft = NULL;
}

void data_disk_failed(struct session *s, const char *step)
{
	int error = errno;

	log_event(LOG_ERROR, "disk", LF(L_TEXT("id", session_id(s)), L_TEXT("step", step), L_TEXT("error", strerror(error))));
	data_refuse(s, disk_refusal(error));
}

msec data_left(const struct session *s, msec end, uint64_t octets)
{
	uint64_t bought = session_too_large(s, octets) ? s->config->message_size : octets;

	return end + (msec)(bought * 1000 / DATA_RATE) - loop_now();
}

void data_await(struct session *s, msec end, uint64_t octets)
{
	msec left = data_left(s, end, octets);

	session_deadline(s, left < session_idle_ms(s) ? left : session_idle_ms(s));
}

static void await_data(struct session *s) { data_await(s, s->txn->data_end, s->txn->octets); }

/* RFC 5321 4.4, RFC 7208 9.1. Of several recipients none is told of the others. */
static bool print_received(struct session *s, struct buf *out)
{
	char date[64];

	vetting_field(s, out);
	buf_printf(out, "Received: from %s (%s%s%s)\r\n", s->who.helo, s->who.local ? "" : "[", s->who.peer_text,
		s->who.local ? "" : "]");
	buf_printf(out, "\tby %s with %s id %s", s->config->hostname, session_protocol(s), session_id(s));
	if (s->who.tls)                         /* RFC 8314 4.3 */
		buf_printf(out, "\r\n\ttls %s (%s)", s->cipher, s->tls_version);
	if (s->txn->envelope.nrcpt == 1 && s->txn->only_rcpt.n)
		buf_printf(out, "\r\n\tfor <" STR_FMT ">", STR_ARG(buf_view(&s->txn->only_rcpt)));
	return buf_printf(out, ";\r\n\t%s\r\n", clock_rfc5322(loop_wall(), date)) && !out->bad;
}

/* Begins a draft with our trace fields. False: s->txn->refusal says why not. */
static bool begin_draft(struct session *s)
{
	struct buf received = { 0 };
	bool ok = false;

	s->txn->envelope.room = judging_room(s) + (inspect_wanted(s) ? inspect_room() : s->who.submission && s->config->signer ?
		signer_room(s->config->signer) : 0);
	s->txn->draft = queue_draft(&s->txn->envelope, milters_id(s));
	if (!s->txn->draft) {
		data_disk_failed(s, "open");
		return false;
	}
	str_copy(s->txn->id, sizeof s->txn->id, str_of(draft_id(s->txn->draft)));
	authres_filter_begin(&s->txn->forged, s->config->hostname);
	if (!print_received(s, &received) || (s->config->complete && s->who.submission && !submission_begin(s)) ||
	    (inspect_wanted(s) && !inspect_begin(s)))
		data_refuse(s, &refuse_disk);
	else if (draft_write(s->txn->draft, received.p, received.n) == -1)
		data_disk_failed(s, "write");
	else
		ok = true;
	buf_free(&received);
	return ok;
}

/* What may change in a moment costs no patience. */
static void refuse_vetted(struct session *s, const struct refusal *r)
{
	session_log_refusal(s, "DATA", buf_view(&s->txn->only_rcpt), r->code, r->enhanced, r->text);
	if (r->code >= 500)
		session_offends(s, COST_FAILED);
	session_say(s, r->code, r->enhanced, "%s", r->text);
	txn_reset(s);
}

static void begin_data(struct session *s)
{
	struct reply why;

	if (!queue_accepting(&why)) {
		session_log_refusal(s, "DATA", STR(""), why.code, why.enhanced, why.text);
		session_say_as(s, &why);
		txn_reset(s);
		return;
	}
	if (!begin_draft(s)) {
		session_say(s, s->txn->refusal->code, s->txn->refusal->enhanced, "%s", s->txn->refusal->text);
		txn_reset(s);
		return;
	}
	session_say(s, 354, "", "End data with <CR><LF>.<CR><LF>");
	s->phase = P_DATA;
	s->txn->data_end = loop_now() + data_ms(s);
	await_data(s);
}

static void filters_heard(struct session *s, const struct reply *no)
{
	if (no)
		refuse_vetted(s, milters_refusal(s));
	else
		begin_data(s);
}

static void ask_filters(struct session *s)
{
	const struct refusal *r = vetting_refusal(s);

	if (r)
		refuse_vetted(s, r);
	else
		milters_ask(s, MILTER_ASK_DATA, STR(""), NULL, STR(""), filters_heard);
}

void verb_data(struct session *s, struct str arg)
{
	(void)arg;
	vetting_await(s, ask_filters);
}

enum { CIRCLES_LOOKED_AT = 10 };         /* fields: as many as one with ten thousand recipients may cost us */
enum { HOPS_MATCHED = 8, HOPS_OTHER = 255 };    /* the whole word; a line of another kind */

static void count_hops(struct hops *h, struct str text)
{
	static const char word[] = "received";
	size_t i = 0;

	while (i < text.n && !h->body) {
		char c = text.p[i++];
		const char *lf;

		if (c == '\n') {
			h->at = 0;
		} else if (h->at == HOPS_OTHER) {
			lf = memchr(text.p + i, '\n', text.n - i);
			i = lf ? (size_t)(lf - text.p) : text.n;
		} else if (h->at == 0 && c == '\r') {
			h->body = true;         /* CR LF alone ends the header; a CR elsewhere refuses the message */
		} else if (h->at < HOPS_MATCHED && ascii_lower(c) == word[h->at]) {
			h->at++;
		} else if (h->at == HOPS_MATCHED && (c == ' ' || c == '\t')) {
			continue;               /* RFC 5322 4.5: blanks before the colon are an old custom */
		} else {
			h->n += h->at == HOPS_MATCHED && c == ':';
			h->at = HOPS_OTHER;
		}
	}
}

static bool is_rcpt(const struct txn *t, struct str address)
{
	struct str rest = buf_view(&t->envelope.text), line, to;

	while (str_cut(&rest, '\n', &line)) {
		if (!str_starts_nocase(line, STR("RCPT TO:<")))
			continue;
		line = str_from(line, 9);
		if (str_cut(&line, '>', &to) && str_eq_nocase(to, address))
			return true;
	}
	return false;
}

static void end_header_line(struct txn *t)
{
	struct circle *c = &t->circle;
	struct str line = str_trim((struct str){ c->line, c->n });

	c->body = !line.n;
	c->n = 0;
	if (str_starts_nocase(line, STR("Delivered-To:")) && c->looked_at++ < CIRCLES_LOOKED_AT)
		c->found = c->found || is_rcpt(t, str_trim(str_from(line, 13)));
}

/* The mailbox would refuse it, and the report would go to whoever a stranger has named as its sender: he is told himself. */
static void look_for_circle(struct txn *t, struct str text)
{
	struct circle *c = &t->circle;

	while (text.n && !c->body) {
		const char *lf = memchr(text.p, '\n', text.n);
		size_t n = lf ? (size_t)(lf - text.p) : text.n, room = sizeof c->line - c->n;

		memcpy(c->line + c->n, text.p, n < room ? n : room);
		c->n += n < room ? n : room;
		text = str_from(text, lf ? n + 1 : n);
		if (lf)
			end_header_line(t);
	}
}

void data_store(struct session *s, struct str text)
{
	if (text.n && draft_write(s->txn->draft, text.p, text.n) == -1)
		data_disk_failed(s, "write");
}

/* What users and programs say of it is as little a result of ours as what strangers do; another server of ours may have had one (RFC 8601 5). */
static bool may_be_forged(const struct session *s) { return s->who.submission || session_is_stranger(s); }

static void pass_on(struct session *s, struct str text)
{
	if (s->txn->refusal)
		return;
	if (s->txn->held) {
		submission_take(s, text);
		return;
	}
	data_store(s, text);
	if (s->txn->signing && !s->txn->refusal)
		signing_add(s->txn->signing, text);
}

/* Without results that somebody else has written in our name. */
static void pass_on_honest(struct session *s, struct str text, bool last)
{
	static struct buf out;          /* one for all: it holds nothing from one call to the next */
	struct authres_filter *f = &s->txn->forged;

	if (!may_be_forged(s) || authres_filter_over(f)) {
		pass_on(s, text);
		return;
	}
	buf_clear(&out);
	if (authres_filter_add(f, text, &out) && (!last || authres_filter_end(f, &out))) {
		pass_on(s, buf_view(&out));
	} else {
		errno = ENOMEM;
		data_disk_failed(s, "memory");
	}
}

static void keep_body(struct session *s, struct str body)
{
	count_hops(&s->txn->hops, body);
	if (session_is_stranger(s))
		look_for_circle(s->txn, body);
	if (s->txn->hops.n > hops_max(s))
		data_refuse(s, &refuse_hops);
	else if (s->txn->circle.found)
		data_refuse(s, &refuse_circle);
	if (s->txn->refusal)
		return;
	if (s->txn->inspection)
		inspect_take(s, body);
	pass_on_honest(s, body, false);
}

/* Checks and stores what has come of the message. */
static void take_body(struct session *s, struct str body)
{
	bool first = body.n && !s->txn->octets;

	s->txn->octets += body.n;
	if (s->txn->undot.bare)
		data_refuse(s, &refuse_bare);
	if (s->txn->undot.nul)
		data_refuse(s, &refuse_nul);
	if (session_too_large(s, s->txn->octets))
		data_refuse(s, &refuse_size);
	if (s->txn->refusal)
		return;
	/* RFC 5322 2.2.3: its first line would continue our trace field, and say what it likes in our name. It has no header. */
	if (first && !s->txn->held && (body.p[0] == ' ' || body.p[0] == '\t')) {
		s->txn->hops.body = true;
		pass_on_honest(s, STR("\r\n"), false);
	}
	keep_body(s, body);
}

static void log_received(struct session *s)
{
	char tls[80] = "";

	if (s->who.tls)
		snprintf(tls, sizeof tls, "%s:%s", s->tls_version, s->cipher);
	log_event(LOG_INFO, "received", LF(L_TEXT("id", session_id(s)), L_TEXT("from", *s->who.sender ? s->who.sender : "<>"),
		L_STR("to", buf_view(&s->txn->only_rcpt)), L_NUM("size", (long long)s->txn->octets), L_NUM("nrcpt", (long long)s->txn->envelope.nrcpt),
		L_TEXT("client", s->who.peer_text), L_TEXT("helo", s->who.helo), L_TEXT("user", s->who.user), L_TEXT("proto", session_protocol(s)),
		L_TEXT("tls", tls), L_TEXT("spf", vetting_word(s)), L_TEXT("signed", s->txn->signed_by), L_TEXT("dkim", inspect_words(s->txn)),
		L_TEXT("arc", inspect_arc(s->txn)), L_TEXT("dmarc", inspect_dmarc_words(s->txn)), L_TEXT("dnsbl", lists_words(s->txn)), L_TEXT("reason", judging_word(s->txn))));
}

/* Whom a user has written to may write to him. */
static void tell_written(const struct session *s)
{
	struct str rest = buf_view(&s->txn->envelope.text), line;
	struct recipient to;

	if (!s->config->wrote || !s->who.submission || !*s->who.user)
		return;
	while (str_cut(&rest, '\n', &line))
		if (str_starts_nocase(line, STR("RCPT ")) && !parse_rcpt(str_from(line, 5), PARAM_ALL, true, &to).text)
			s->config->wrote(s->config->arg, &s->who, &to.addr);
}

/* The client may be gone since; the mail is ours all the same. */
static void committed(void *arg, bool ok)
{
	struct session *s = arg;

	s->committing = false;
	if (ok) {
		log_received(s);
		tell_written(s);
		reports_tell(s);
	} else {
		session_log_refusal(s, "DATA", STR(""), refuse_disk.code, refuse_disk.enhanced, "not made durable");
	}
	if (s->phase == P_DEAD) {
		session_free_later(s);
		return;
	}
	if (ok) {
		session_message_taken(s);
		session_say(s, 250, "2.0.0", "Queued as %s", session_id(s));
	} else {
		session_say(s, refuse_disk.code, refuse_disk.enhanced, "%s", refuse_disk.text);
	}
	txn_reset(s);
	session_await_command(s);
	stream_again(&s->stream);
}

static void end_refused(struct session *s)
{
	const struct refusal *r = s->txn->refusal;

	session_log_refusal(s, "DATA", buf_view(&s->txn->only_rcpt), r->code, r->enhanced, r->text);
	session_offends(s, COST_FAILED);
	session_say(s, r->code, r->enhanced, "%s", r->text);
	txn_reset(s);
	session_await_command(s);
}

/* A filter has it so, and has said so in the log. */
static void end_discarded(struct session *s)
{
	session_message_taken(s);
	session_say(s, 250, "2.0.0", "Taken as %s", session_id(s));
	txn_reset(s);
	session_await_command(s);
}

static void commit(struct session *s, const struct reply *no)
{
	struct draft *draft;

	if (no)
		data_refuse(s, milters_refusal(s));
	inspect_tell(s, !s->txn->refusal);
	if (s->txn->refusal) {
		end_refused(s);
		return;
	}
	if (milters_discarded(s)) {
		end_discarded(s);
		return;
	}
	draft = s->txn->draft;
	s->txn->draft = NULL;
	s->phase = P_COMMIT;
	s->committing = true;
	queue_commit(draft, committed, s);
}

void data_commit(struct session *s)
{
	if (!s->txn->refusal && reports_begin(s))
		return;
	if (!s->txn->refusal && judging_begin(s))
		return;
	if (s->txn->refusal)
		commit(s, NULL);
	else
		milters_ask(s, MILTER_ASK_MESSAGE, STR(""), NULL, STR(""), commit);
}

static void end_of_data(struct session *s)
{
	if (!s->txn->refusal)
		pass_on_honest(s, STR(""), true);
	submission_end(s);
	submission_sign(s);
	if (s->txn->inspection && !s->txn->refusal)
		inspect_end(s);
	else
		data_commit(s);
}

/* Who sends more slowly than DATA_RATE counts as quiet: when places are short, his is taken. */
static void note_progress(struct session *s)
{
	uint64_t fresh = s->txn->octets - s->txn->noted;

	if (fresh * 1000 < (uint64_t)(loop_now() - s->quiet_since) * DATA_RATE)
		return;
	s->txn->noted = s->txn->octets;
	session_touch(s);
}

bool data_far_too_much(const struct session *s, uint64_t octets)
{
	return session_too_large(s, octets / 8) && octets > DISCARD_SLACK;
}

void data_far_too_large(struct session *s)
{
	session_log_refusal(s, "DATA", s->txn ? buf_view(&s->txn->only_rcpt) : STR(""), refuse_size.code, refuse_size.enhanced, "far over the size limit");
	session_say(s, refuse_size.code, refuse_size.enhanced, "%s; closing", refuse_size.text);
	session_close(s);
}

bool data_read(struct session *s)
{
	static struct buf body;         /* one for all: it holds nothing from one call to the next */
	struct str in = stream_peek(&s->stream);
	size_t used;

	if (!in.n)
		return false;
	buf_clear(&body);
	used = undot(&s->txn->undot, in.p, in.n, &body);
	if (body.bad) {
		errno = ENOMEM;
		data_disk_failed(s, "memory");
	}
	stream_take(&s->stream, used);
	take_body(s, buf_view(&body));
	note_progress(s);
	await_data(s);
	if (s->txn->undot.ended)
		end_of_data(s);
	else if (data_far_too_much(s, s->txn->octets))
		data_far_too_large(s);
	return true;
}

/* ---- BDAT: the same message in pieces whose octets are counted */

bool data_begin_chunk(struct session *s, uint64_t n)
{
	struct txn *t = s->txn;
	const struct refusal *r;
	struct reply why;

	if (!(s->seen & SEEN_BDAT)) {
		s->seen |= SEEN_BDAT;
		t->data_end = loop_now() + data_ms(s);
		if (!queue_accepting(&why))
			data_refuse(s, why.code == 452 ? &refuse_full : &refuse_disk);
		else if ((r = vetting_refusal(s)))
			data_refuse(s, r);
		else if (!t->refusal)
			begin_draft(s);
	}
	if (n > UINT64_MAX - t->octets || session_too_large(s, t->octets + n))
		data_refuse(s, &refuse_size);
	return n < UINT64_MAX - t->octets && !data_far_too_much(s, t->octets + n);
}

void data_take_chunk(struct session *s, struct str in)
{
	struct txn *t = s->txn;

	line_ends_see(&t->ends, in.p, in.n);
	t->undot.bare = t->ends.bare;
	t->undot.nul = t->ends.nul;
	take_body(s, in);
	note_progress(s);
	await_data(s);
}

/* RFC 3030 4.2 leaves line ends to us: what is stored ends in one, or the next hop would have to be told otherwise. */
void data_end_chunks(struct session *s)
{
	struct txn *t = s->txn;

	if (t->ends.cr)
		data_refuse(s, &refuse_bare);
	if (!t->ends.complete && t->octets && !t->refusal)
		keep_body(s, STR("\r\n"));     /* ours: it does not count for the limit */
	end_of_data(s);
}
