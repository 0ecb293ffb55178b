/* One session: what it says, its time, its transaction, a question that waits for facts, and its end. */
#include "smtpd/session.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "lib/tls.h"
#include "policy/dnsbl.h"

/* ---- saying */

void session_say(struct session *s, int code, const char *enhanced, const char *fmt, ...)
{
	char text[480];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	ascii_make_printable(text);
	if (stream_printf(&s->stream, "%d %s%s%s\r\n", code, enhanced, *enhanced ? " " : "", text) == -1)
		s->broken = true;
}

void session_say_as(struct session *s, const struct reply *r)
{
	session_say(s, r->code, r->enhanced, "%s", r->text);
}

void session_spend(struct session *s, int cost)
{
	s->patience -= cost;
}

void session_error(struct session *s, int code, const char *enhanced, const char *text)
{
	session_offends(s, COST_ERROR);
	session_say(s, code, enhanced, "%s", text);
}

const char *session_id(const struct session *s) { return s->txn ? s->txn->id : ""; }

/* HELO has no word for TLS; the tls clause says it all the same. */
const char *session_protocol(const struct session *s)
{
	static const char *const words[2][2][2] = {
		{ { "ESMTP", "ESMTPS" }, { "ESMTPA", "ESMTPSA" } },
		{ { "UTF8SMTP", "UTF8SMTPS" }, { "UTF8SMTPA", "UTF8SMTPSA" } },         /* RFC 6531 4.3 */
	};

	return s->who.esmtp ? words[s->txn && s->txn->utf8][*s->who.user != '\0'][s->who.tls] : "SMTP";
}

void session_log_refusal(struct session *s, const char *stage, struct str to, int code, const char *enhanced, const char *text)
{
	const char *token = !s->txn ? NULL : s->txn->token ? s->txn->token : judging_word(s->txn);

	log_event(LOG_INFO, "rejected", LF(L_TEXT("id", session_id(s)), L_TEXT("stage", stage), L_TEXT("client", s->who.peer_text),
		L_TEXT("helo", s->who.helo), L_TEXT("from", s->who.sender), L_STR("to", to), L_NUM("code", code),
		L_TEXT("status", enhanced), L_TEXT("token", token), L_TEXT("reason", text)));
	if (s->txn)
		s->txn->token = NULL;
}

void session_forget_helo(struct session *s)
{
	milters_free(s);                /* they know it under this name */
	free(s->helo);
	s->helo = NULL;
	s->who.helo = "";
}

/* ---- limits */

unsigned session_rcpt_max(const struct session *s) { return s->config->rcpt_max ? s->config->rcpt_max : 10000; }
msec session_idle_ms(const struct session *s) { return 1000 * (msec)(s->config->idle_s ? s->config->idle_s : 300); }

bool session_too_large(const struct session *s, uint64_t octets)
{
	return s->config->message_size && octets > s->config->message_size;
}

/* ---- time */

/* The timer is moved only when it would come too late; one that comes too early looks at the deadline and goes on. */
void session_deadline(struct session *s, msec after)
{
	s->deadline = loop_now() + after;
	if (!timer_armed(&s->timer) || s->timer.node.key > s->deadline)
		timer_set(&s->timer, after);
}

void session_await_command(struct session *s)
{
	s->phase = P_COMMAND;
	session_deadline(s, session_idle_ms(s));
}

/* ---- a transaction */

bool txn_begin(struct session *s)
{
	s->txn = calloc(1, sizeof *s->txn);
	if (!s->txn)
		return false;
	s->txn->envelope.text.max = ENVELOPE_TEXT_MAX;
	return true;
}

static size_t strangers_text;

bool txn_may_hold(struct session *s)
{
	struct txn *t = s->txn;
	size_t now = t->envelope.text.n, more = now > t->strange ? now - t->strange : 0;

	if (!session_is_stranger(s))
		return true;
	if (now > STRANGER_TEXT_MIN && strangers_text + more > STRANGERS_TEXT_MAX)
		return false;
	strangers_text += more;
	t->strange += more;
	return true;
}

void txn_reset(struct session *s)
{
	struct txn *t = s->txn;

	question_end(s);
	s->seen &= SEEN_HELO;
	s->who.sender = "";
	milters_abort(s);
	if (!t)
		return;
	s->txn = NULL;
	if (t->draft)
		draft_abort(t->draft);
	strangers_text -= t->strange;
	envelope_free(&t->envelope);
	buf_free(&t->only_rcpt);
	buf_free(&t->next_rcpt);
	buf_free(&t->domains);
	submission_free(t);
	lists_free(t);
	vetting_free(t);
	inspect_free(t);
	authres_filter_free(&t->forged);
	reports_free(t);
	judging_free(t);
	grey_free(t);
	free(t);
}

/* ---- a question */

void question_end(struct session *s)
{
	facts_free(s->question.facts);
	buf_free(&s->question.arg);
	s->question = (struct question){ 0 };
	task_cancel(&s->wake);
	if (s->phase == P_ASKING)
		session_await_command(s);
}

static void out_of_memory(struct session *s)
{
	question_end(s);
	session_say(s, 451, "4.3.0", "Out of memory, try again later");
}

void question_ask(struct session *s, const char *stage, bool (*decide)(struct session *, struct str arg), struct str arg)
{
	assert(!s->question.facts);
	s->question = (struct question){ .stage = stage, .decide = decide, .facts = facts_new(&s->wake, FACTS_A_QUESTION + DNSBL_LOOKUPS) };
	if (!s->question.facts) {
		out_of_memory(s);
		return;
	}
	if (session_is_stranger(s))
		facts_for_stranger(s->question.facts);
	if (decide(s, arg)) {
		question_end(s);
		return;
	}
	s->phase = P_ASKING;
	session_deadline(s, session_idle_ms(s));
	if (!buf_str(&s->question.arg, arg))
		out_of_memory(s);
}

void question_wake(struct task *t)
{
	struct session *s = owner_of(t, struct session, wake);

	if (s->phase != P_ASKING || !s->question.decide(s, buf_view(&s->question.arg)))
		return;
	question_end(s);
	stream_again(&s->stream);
}

/* ---- ending */

static void end_session(struct task *t)
{
	struct session *s = owner_of(t, struct session, end);
	void (*ended)(void) = s->ended;

	sessions_remove(s);
	login_free(s);
	free(s->helo);
	free(s);
	if (ended)
		ended();
}

void session_free_later(struct session *s)
{
	txn_reset(s);
	s->end.run = end_session;
	task_post(&s->end);
}

void session_die(struct session *s)
{
	if (s->phase == P_DEAD)
		return;
	s->phase = P_DEAD;
	log_event(LOG_DEBUG, "disconnected", LF(L_TEXT("client", s->who.peer_text)));
	timer_stop(&s->timer);
	stream_close(&s->stream);
	milters_free(s);
	tls_free(s->tls);
	s->tls = NULL;
	session_leaves(s);
	guest_leave(&s->visit);
	if (s->committing)
		return;
	login_free(s);
	session_free_later(s);
}

void session_close(struct session *s)
{
	txn_reset(s);
	s->phase = P_CLOSING;
	session_leaves(s);
	session_deadline(s, CLOSE_MS);
}

void session_hang_up(struct session *s, const char *enhanced, const char *why)
{
	if (guest_may_log())
		log_event(LOG_INFO, "hung-up", LF(L_TEXT("id", session_id(s)), L_TEXT("client", s->who.peer_text), L_TEXT("helo", s->who.helo),
		L_TEXT("reason", why)));
	session_say(s, 421, enhanced, "%s %s", s->config->hostname, why);
	session_close(s);
}
