/* The envelope of a message: MAIL and RCPT (RFC 5321 4.1.1.2, 4.1.1.3). */
#include <assert.h>

#include "parse.h"
#include "smtpd/session.h"

static struct str addr_text(const struct addr *a)
{
	if (!a->domain.n)
		return a->local;
	return (struct str){ a->local.p, (size_t)(a->domain.p + a->domain.n - a->local.p) };
}

/* ---- MAIL */

/* Parameters belong to extensions, and those to EHLO. */
static unsigned params_offered(const struct session *s)
{
	return !s->who.esmtp ? 0 : PARAM_SIZE | PARAM_BODY | (s->who.submission && !s->who.local ? PARAM_AUTH : 0);
}

static bool begin(struct session *s, const struct sender *said)
{
	struct sender kept = *said, *from = &kept;

	kept.auth = STR("");            /* RFC 4954 5: what it says is for those who trust each other */
	if (!txn_begin(s) || !envelope_sender(&s->txn->envelope, from) ||
	    !envelope_origin(&s->txn->envelope, "%s [%s] %s", s->who.helo, s->who.peer_text, session_protocol(s)))
		return false;
	str_copy(s->txn->sender, sizeof s->txn->sender, addr_text(&from->addr));
	s->who.sender = s->txn->sender;
	return true;
}

static void accept_mail(struct session *s, const struct sender *from)
{
	if (!begin(s, from)) {
		txn_reset(s);
		session_say(s, 451, "4.3.0", "Out of memory, try again later");
		return;
	}
	s->mail_refused = false;
	s->seen |= SEEN_MAIL;
	session_say(s, 250, "2.1.0", "Sender ok");
}

/* What may change in a moment costs no more than any command. */
static void refuse_mail(struct session *s, const struct sender *from, const struct reply *why)
{
	session_log_refusal(s, "MAIL", addr_text(&from->addr), why->code, why->enhanced, why->text);
	if (why->code >= 500)
		session_offends(s, COST_REFUSED);
	session_say_as(s, why);
}

/* Runs from the top each time that facts have come. */
static bool decide_mail(struct session *s, struct str arg)
{
	struct reply why = { .code = 550, .enhanced = "5.7.1", .text = "Sender refused" };
	struct sender from = { 0 };
	struct parse_error e = parse_mail(arg, params_offered(s), &from);

	assert(!e.text);
	(void)e;
	switch (s->config->mail(s->config->arg, &s->who, s->question.facts, &from, &why)) {
	case WAIT:
		return false;
	case ACCEPT:
		accept_mail(s, &from);
		break;
	case REFUSE:
		refuse_mail(s, &from, &why);
		break;
	}
	return true;
}

/* RFC 6409 4.3 and RFC 3207 4: users say who they are, and not in clear. NULL: go on. */
static const char *must_come_first(const struct session *s)
{
	if (!s->who.submission || s->who.local || *s->who.user)
		return NULL;
	return s->who.tls ? "Log in first (AUTH)" : "Say STARTTLS first, then log in";
}

void verb_mail(struct session *s, struct str arg)
{
	struct sender from = { 0 };
	struct parse_error e = parse_mail(arg, params_offered(s), &from);
	const char *first = must_come_first(s);
	struct reply why;

	s->mail_refused = true;
	if (first) {
		session_error(s, 530, "5.7.0", first);
		return;
	}
	if (e.text) {
		session_error(s, e.code, e.enhanced, e.text);
		return;
	}
	if (!addr_is_null(&from.addr) && !auth_may_send_as(s, addr_text(&from.addr))) {
		reply_set(&why, 550, "5.7.1", "%s may not send as <%.*s>", s->who.user, STR_ARG(addr_text(&from.addr)));
		refuse_mail(s, &from, &why);
		return;
	}
	if (from.has_size && session_too_large(s, from.size)) {
		session_log_refusal(s, "MAIL", addr_text(&from.addr), 552, "5.3.4", "declared size is over the limit");
		session_offends(s, COST_REFUSED);
		session_say(s, 552, "5.3.4", "Message is larger than %llu octets", (unsigned long long)s->config->message_size);
		return;
	}
	if (!queue_accepting(&why) || !queue_room(from.has_size ? from.size : 0, &why)) {
		session_log_refusal(s, "MAIL", STR(""), why.code, why.enhanced, why.text);
		session_say_as(s, &why);
		return;
	}
	if (s->config->mail && !s->who.submission && session_is_stranger(s))
		question_ask(s, "MAIL", decide_mail, arg);
	else
		accept_mail(s, &from);
}

/* ---- RCPT */

static void refuse_rcpt(struct session *s, const struct recipient *to, const struct reply *why)
{
	session_log_refusal(s, "RCPT", addr_text(&to->addr), why->code, why->enhanced, why->text);
	session_refused_rcpt(s);
	session_say_as(s, why);
}

/* Next to nothing is lost in patience: a client may not know LIMITS and offer all it has (RFC 5321 4.5.3.1.10). */
static void refuse_too_many(struct session *s)
{
	session_spend(s, COST_IDLE);
	session_say(s, 452, "4.5.3", "Too many recipients, send the others in another transaction");
}

static void accept_rcpt(struct session *s, const struct recipient *to)
{
	size_t before = s->txn->envelope.text.n;

	if (!envelope_rcpt(&s->txn->envelope, to)) {
		s->txn->envelope.text.n = before;
		s->txn->envelope.text.bad = false;
		refuse_too_many(s);
		return;
	}
	buf_free(&s->txn->only_rcpt);
	if (s->txn->envelope.nrcpt == 1)
		buf_str(&s->txn->only_rcpt, addr_text(&to->addr));
	s->seen |= SEEN_RCPT;
	session_say(s, 250, "2.1.5", "Recipient ok");
}

/* Runs from the top each time that facts have come. */
static bool decide_rcpt(struct session *s, struct str arg)
{
	struct reply why = { .code = 550, .enhanced = "5.7.1", .text = "Recipient refused" };
	struct recipient to = { 0 };
	struct parse_error e = parse_rcpt(arg, params_offered(s), false, &to);

	assert(!e.text);
	(void)e;
	switch (s->config->rcpt(s->config->arg, &s->who, s->question.facts, &to, &why)) {
	case WAIT:
		return false;
	case ACCEPT:
		accept_rcpt(s, &to);
		break;
	case REFUSE:
		refuse_rcpt(s, &to, &why);
		break;
	}
	return true;
}

void verb_rcpt(struct session *s, struct str arg)
{
	struct recipient to = { 0 };
	struct parse_error e = parse_rcpt(arg, params_offered(s), false, &to);

	if (e.text)
		session_error(s, e.code, e.enhanced, e.text);
	else if (s->txn->envelope.nrcpt >= session_rcpt_max(s))
		refuse_too_many(s);
	else
		question_ask(s, "RCPT", decide_rcpt, arg);
}
