/* BDAT: the message in counted pieces (RFC 3030 2). Whatever is wrong, exactly the announced octets are taken off the connection before the
 * reply: they are never read as commands. */
#include <string.h>

#include "smtpd/session.h"

enum { CHUNK_MAX_DIGITS = 19 };

/* What is wrong before a single octet has come; said behind the last one. */
static const struct refusal
	no_helo = { 503, "5.5.1", "Say HELO or EHLO first" },
	no_mail = { 503, "5.5.1", "Send MAIL first" },
	no_rcpt = { 503, "5.5.1", "No valid recipients" };

static bool parse_chunk(struct str arg, uint64_t *n, bool *last)
{
	struct str size, rest;

	rest = arg;
	*last = str_cut(&rest, ' ', &size);
	if (!*last)
		size = arg;
	else if (!str_eq_nocase(str_trim(rest), STR("LAST")))
		return false;
	return size.n <= CHUNK_MAX_DIGITS && str_number(size, INT64_MAX, n);
}

static const struct refusal *out_of_place(const struct session *s)
{
	return !(s->seen & SEEN_HELO) ? &no_helo : !(s->seen & SEEN_MAIL) ? &no_mail : !(s->seen & SEEN_RCPT) ? &no_rcpt : NULL;
}

/* The pauses between chunks are a part of the time for the message. */
static void await_next_chunk(struct session *s)
{
	session_await_command(s);
	data_await(s, s->txn->data_end, s->txn->octets);
}

static void end_of_chunk(struct session *s)
{
	const struct refusal *r = s->chunk.refusal;
	uint64_t n = s->chunk.size;

	s->chunk.refusal = NULL;
	if (r) {
		/* RFC 2920 3.1: it may have been on its way before MAIL or RCPT was answered. */
		if (s->seen & SEEN_MAIL || s->mail_refused)
			session_spend(s, COST_REFUSED);
		else
			session_offends(s, COST_ERROR);
		session_say(s, r->code, r->enhanced, "%s", r->text);
		session_await_command(s);
	} else if (s->chunk.last) {
		data_end_chunks(s);
	} else if (s->txn->refusal) {           /* what follows is refused alike, until RSET or LAST */
		session_spend(s, COST_IDLE);
		session_say(s, s->txn->refusal->code, s->txn->refusal->enhanced, "%s", s->txn->refusal->text);
		await_next_chunk(s);
	} else {
		session_say(s, 250, "2.0.0", "%llu octets received", (unsigned long long)n);
		await_next_chunk(s);
	}
}

static void begin_chunk(struct session *s);

static void filters_heard(struct session *s, const struct reply *no)
{
	if (no)
		data_refuse(s, milters_refusal(s));
	begin_chunk(s);
}

static void ask_filters(struct session *s)
{
	if (s->seen & SEEN_BDAT || vetting_refusal(s))
		begin_chunk(s);
	else
		milters_ask(s, MILTER_ASK_DATA, STR(""), NULL, STR(""), filters_heard);
}

static void begin_chunk(struct session *s)
{
	struct chunk *c = &s->chunk;

	c->end = loop_now() + data_ms(s);
	s->phase = P_CHUNK;
	if (c->refusal ? data_far_too_much(s, c->size) : !data_begin_chunk(s, c->size)) {
		data_far_too_large(s);
		return;
	}
	session_deadline(s, session_idle_ms(s));
	if (c->left == 0)
		end_of_chunk(s);
}

void verb_bdat(struct session *s, struct str arg)
{
	struct chunk c = { 0 };

	if (!parse_chunk(arg, &c.size, &c.last)) {
		/* What follows is message text, and nobody knows how much: as commands it must not be read. */
		session_log_refusal(s, "BDAT", STR(""), 501, "5.5.4", "a size that is no number");
		session_say(s, 501, "5.5.4", "BDAT needs a number of octets, and LAST or nothing behind it; closing");
		session_close(s);
		return;
	}
	if (!c.size && !c.last)
		session_spend(s, COST_IDLE);
	c.left = c.size;
	c.refusal = out_of_place(s);
	s->chunk = c;
	if (c.refusal)
		begin_chunk(s);
	else
		vetting_await(s, ask_filters);
}

bool chunk_read(struct session *s)
{
	struct str in = stream_peek(&s->stream);

	if (!in.n)
		return false;
	if (in.n > s->chunk.left)
		in.n = (size_t)s->chunk.left;
	s->chunk.left -= in.n;
	if (s->chunk.refusal)
		data_await(s, s->chunk.end, s->chunk.size - s->chunk.left);
	else
		data_take_chunk(s, in);
	stream_take(&s->stream, in.n);
	if (s->chunk.left == 0)
		end_of_chunk(s);
	return true;
}
