/* The envelope of a message: MAIL and RCPT (RFC 5321 4.1.1.2, 4.1.1.3). */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "lib/idn.h"
#include "parse.h"
#include "smtpd/session.h"

enum { QUALIFIED_MAX = 2048 + DOMAIN_MAX + 2 };         /* a line, and a domain more */

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
	unsigned offered = PARAM_SIZE | PARAM_BODY | PARAM_SMTPUTF8 | PARAM_DSN;

	if (!s->who.esmtp)
		return 0;
	if (s->who.tls)
		offered |= PARAM_REQUIRETLS;
	if (s->who.submission && !s->who.local)
		offered |= PARAM_AUTH;
	if (s->who.submission && s->config->future_max)
		offered |= PARAM_HOLD;
	return offered;
}

/* RFC 6409 8: programs of this machine write root and mean root of this machine. The argument with the domain put in, or as it was. */
static struct str qualify(const struct session *s, struct str arg, char room[QUALIFIED_MAX])
{
	const char *open = memchr(arg.p, '<', arg.n), *close = open ? memchr(open, '>', arg.n - (size_t)(open - arg.p)) : NULL;
	int n;

	if (!s->who.local || !s->config->origin || !close || close == open + 1 || memchr(open, '@', (size_t)(close - open)))
		return arg;
	n = snprintf(room, QUALIFIED_MAX, "%.*s@%s%.*s", (int)(close - arg.p), arg.p, s->config->origin, (int)(arg.n - (size_t)(close - arg.p)), close);
	return n < QUALIFIED_MAX ? (struct str){ room, (size_t)n } : arg;
}

/* An address whose domain is as the DNS knows it; everything behind us deals with that alone. */
struct plain_addr {
	struct addr addr;
	char text[ADDR_MAX + 256];
};

static const char *make_plain(const struct addr *in, struct plain_addr *out)
{
	char domain[256];
	const char *wrong;
	int n;

	out->addr = *in;
	if (is_ascii(in->domain))
		return NULL;
	wrong = idn_to_ascii(in->domain, domain);
	if (wrong)
		return wrong;
	n = snprintf(out->text, sizeof out->text, STR_FMT "@%s", STR_ARG(in->local), domain);
	return parse_address((struct str){ out->text, (size_t)n }, true, &out->addr);
}

/* When a message may leave (RFC 4865); 0: at once. -1: later than is allowed, or in the past. */
static int64_t release_time(const struct session *s, const struct sender *from)
{
	int64_t now = loop_wall(), at = from->hold_until;

	if (from->hold_for)
		at = from->hold_for > (uint64_t)s->config->future_max ? -1 : now + (int64_t)from->hold_for;
	return at && (at <= now || at > now + s->config->future_max) ? -1 : at;
}

static bool begin(struct session *s, const struct sender *said)
{
	struct sender kept = *said, *from = &kept;
	struct plain_addr plain;

	kept.auth = STR("");            /* RFC 4954 5: what it says is for those who trust each other */
	make_plain(&said->addr, &plain);        /* it was looked at before */
	kept.addr = plain.addr;
	if (!txn_begin(s) || !envelope_sender(&s->txn->envelope, from) ||
	    !envelope_origin(&s->txn->envelope, "%s [%s] %s", s->who.helo, s->who.peer_text, session_protocol(s)))
		return false;
	str_copy(s->txn->sender, sizeof s->txn->sender, addr_text(&from->addr));
	s->who.sender = s->txn->sender;
	s->txn->utf8 = from->smtputf8;
	s->txn->envelope.release = release_time(s, from);
	if (milters_id(s))
		str_copy(s->txn->id, sizeof s->txn->id, str_of(milters_id(s)));
	s->mails++;
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
	else
		session_spend(s, COST_REFUSED);
	session_say_as(s, why);
}

/* What stands behind the path. */
static struct str params_of(struct str arg, size_t word, bool utf8)
{
	struct str rest = str_from(arg, word);
	struct addr a;

	while (rest.n && rest.p[0] == ' ')
		rest = str_from(rest, 1);
	return parse_path(&rest, true, true, utf8, &a) ? STR("") : rest;
}

static void mail_heard(struct session *s, const struct reply *no)
{
	struct sender from = { 0 };
	struct plain_addr plain;

	parse_mail(milters_arg(s), params_offered(s), &from);
	make_plain(&from.addr, &plain);
	from.addr = plain.addr;
	if (no) {
		refuse_mail(s, &from, no);
		txn_reset(s);
	} else {
		accept_mail(s, &from);
	}
}

/* We have nothing against it: the filters' turn. */
static void pass_mail(struct session *s, struct str arg, const struct sender *from)
{
	struct reply why;

	if (!session_domain_allowed(s, &from->addr, &why))
		refuse_mail(s, from, &why);
	else if (milters_wanted(s))
		milters_ask(s, MILTER_ASK_MAIL, arg, &from->addr, params_of(arg, 5, true), mail_heard);
	else
		accept_mail(s, from);
}

/* Runs from the top each time that facts have come. */
static bool decide_mail(struct session *s, struct str arg)
{
	struct reply why = { .code = 550, .enhanced = "5.7.1", .text = "Sender refused" };
	struct sender from = { 0 };
	struct plain_addr plain;
	struct parse_error e = parse_mail(arg, params_offered(s), &from);

	assert(!e.text);
	(void)e;
	make_plain(&from.addr, &plain);
	from.addr = plain.addr;
	switch (s->config->mail(s->config->arg, &s->who, s->question.facts, &from, &why)) {
	case WAIT:
		return false;
	case ACCEPT:
		pass_mail(s, arg, &from);
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

/* False: it has been said what is wrong with the command itself. */
static bool mail_makes_sense(struct session *s, struct str arg, struct sender *from, struct plain_addr *plain)
{
	const char *first = must_come_first(s), *wrong;
	struct parse_error e;

	if (first) {
		session_error(s, 530, "5.7.0", first);
		return false;
	}
	e = parse_mail(arg, params_offered(s), from);
	if (e.text) {
		session_error(s, e.code, e.enhanced, e.text);
		return false;
	}
	wrong = make_plain(&from->addr, plain);
	from->addr = plain->addr;
	if (wrong)
		session_error(s, 553, "5.6.7", wrong);
	else if (release_time(s, from) == -1)
		session_error(s, 554, "5.5.4", "A message cannot be held until then; EHLO says how long it can");
	else
		return true;
	return false;
}

void verb_mail(struct session *s, struct str arg)
{
	char room[QUALIFIED_MAX];
	struct plain_addr plain;
	struct sender from = { 0 };
	struct reply why;

	if (s->config->mail_max && s->mails >= s->config->mail_max) {
		session_hang_up(s, "4.7.0", "No more messages in this session (LIMITS MAILMAX)");
		return;
	}
	s->mail_refused = true;
	arg = qualify(s, arg, room);
	if (!mail_makes_sense(s, arg, &from, &plain))
		return;
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
		pass_mail(s, arg, &from);
}

/* ---- RCPT */

static void refuse_rcpt(struct session *s, const struct recipient *to, const struct reply *why)
{
	session_log_refusal(s, "RCPT", addr_text(&to->addr), why->code, why->enhanced, why->text);
	session_refused_rcpt(s);
	session_say_as(s, why);
}

/* It is no fault of his, nor a sign of guessing. */
static void put_off_rcpt(struct session *s, const struct recipient *to, const struct reply *why)
{
	session_log_refusal(s, "RCPT", addr_text(&to->addr), why->code, why->enhanced, why->text);
	session_spend(s, COST_IDLE);
	session_say_as(s, why);
}

/* Next to nothing is lost in patience: a client may not know LIMITS and offer all it has (RFC 5321 4.5.3.1.10). */
static void refuse_too_many(struct session *s)
{
	session_spend(s, COST_IDLE);
	session_say(s, 452, "4.5.3", "Too many recipients, send the others in another transaction");
}

/* RFC 9422 4.3. False: it would be one domain more than is allowed. */
static bool look_at_domain(struct session *s, struct str domain, bool count)
{
	struct txn *t = s->txn;
	char line[DOMAIN_MAX + 3];
	int n;

	if (!s->config->rcpt_domain_max || !domain.n)   /* <postmaster> has none */
		return true;
	n = snprintf(line, sizeof line, "\n%.*s\n", STR_ARG(domain));
	for (int i = 0; i < n; i++)
		line[i] = ascii_lower(line[i]);
	if (t->domains.n && memmem(t->domains.p, t->domains.n, line, (size_t)n))
		return true;
	if (t->ndomains >= s->config->rcpt_domain_max || (count && !buf_add(&t->domains, line, (size_t)n)))
		return false;
	t->ndomains += count;
	return true;
}

static void accept_rcpt(struct session *s, const struct recipient *to)
{
	size_t before = s->txn->envelope.text.n, nrcpt = s->txn->envelope.nrcpt;

	if (!look_at_domain(s, to->addr.domain, true)) {
		refuse_too_many(s);
		return;
	}
	if (!envelope_rcpt(&s->txn->envelope, to) || !txn_may_hold(s)) {
		s->txn->envelope.text.n = before;
		s->txn->envelope.nrcpt = nrcpt;
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

static void rcpt_heard(struct session *s, const struct reply *no)
{
	struct recipient to = { 0 };
	struct plain_addr plain;

	parse_rcpt(milters_arg(s), params_offered(s), s->txn->utf8, &to);
	make_plain(&to.addr, &plain);
	to.addr = plain.addr;
	if (no)
		refuse_rcpt(s, &to, no);
	else
		accept_rcpt(s, &to);
}

static void pass_rcpt(struct session *s, struct str arg, const struct recipient *to)
{
	if (s->milters)
		milters_ask(s, MILTER_ASK_RCPT, arg, &to->addr, params_of(arg, 3, s->txn->utf8), rcpt_heard);
	else
		accept_rcpt(s, to);
}

static void grey_heard(struct session *s, struct str arg, const struct reply *no)
{
	struct recipient to = { 0 };
	struct plain_addr plain;

	parse_rcpt(arg, params_offered(s), s->txn->utf8, &to);
	make_plain(&to.addr, &plain);
	to.addr = plain.addr;
	if (no)
		put_off_rcpt(s, &to, no);
	else
		pass_rcpt(s, arg, &to);
}

/* The rule has nothing against it. */
static void consider_rcpt(struct session *s, struct str arg, const struct recipient *to)
{
	struct reply why;

	if (!session_rcpt_allowed(s, &to->addr, &why))
		put_off_rcpt(s, to, &why);
	else
		grey_ask(s, arg, &to->addr, grey_heard);
}

/* Runs from the top each time that facts have come. */
static bool decide_rcpt(struct session *s, struct str arg)
{
	struct reply why = { .code = 550, .enhanced = "5.7.1", .text = "Recipient refused" };
	struct recipient to = { 0 };
	struct plain_addr plain;
	enum verdict v;
	struct parse_error e = parse_rcpt(arg, params_offered(s), s->txn->utf8, &to);

	assert(!e.text);
	(void)e;
	make_plain(&to.addr, &plain);
	to.addr = plain.addr;
	v = s->config->rcpt(s->config->arg, &s->who, s->question.facts, &to, &why);
	if (v == ACCEPT)
		v = lists_decide(s, &to, &why);
	switch (v) {
	case WAIT:
		return false;
	case ACCEPT:
		consider_rcpt(s, arg, &to);
		break;
	case REFUSE:
		refuse_rcpt(s, &to, &why);
		break;
	}
	return true;
}

static void rcpt_vetted(struct session *s)
{
	static const char one[] = "One recipient at a time, as SPF does not speak for the sender; send the others in another transaction";
	struct buf arg = s->txn->next_rcpt;

	s->txn->next_rcpt = (struct buf){ 0 };
	if (judging_has_enough(s)) {
		if (guest_may_log())
			session_log_refusal(s, "RCPT", STR(""), 452, "4.5.3", one);
		session_spend(s, COST_IDLE);
		session_say(s, 452, "4.5.3", "%s", one);
	} else {
		question_ask(s, "RCPT", decide_rcpt, buf_view(&arg));
	}
	buf_free(&arg);
}

void verb_rcpt(struct session *s, struct str arg)
{
	char room[QUALIFIED_MAX];
	struct recipient to = { 0 };
	struct plain_addr plain;
	struct parse_error e;
	const char *wrong;

	arg = qualify(s, arg, room);
	e = parse_rcpt(arg, params_offered(s), s->txn->utf8, &to);
	wrong = e.text ? NULL : make_plain(&to.addr, &plain);
	if (e.text)
		session_error(s, e.code, e.enhanced, e.text);
	else if (wrong)
		session_error(s, 553, "5.6.7", wrong);
	else if (s->txn->envelope.nrcpt >= session_rcpt_max(s) || !look_at_domain(s, plain.addr.domain, false))
		refuse_too_many(s);     /* before anybody counts it for a quota */
	else if (judging_wants_one(s) && buf_str(&s->txn->next_rcpt, arg))
		vetting_await(s, rcpt_vetted);
	else
		question_ask(s, "RCPT", decide_rcpt, arg);
}
