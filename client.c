/* SMTP and LMTP client. A conversation is a phase, a queue of expectations (what will the next reply
 * answer?) and a table that says what each kind of reply means. Without PIPELINING the queue is one deep. */
#include "client/inside.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/list.h"
#include "lib/log.h"

enum {
	REPLY_LINE = 4096,              /* RFC 5321 4.5.3.1.5 asks for 512; many peers write more */
	REPLY_LINES = 10000,            /* of one reply, */
	REPLY_LINES_KEPT = 100,         /* of which the first are looked at: what the peer has answered is said by each of them */
	LINES_A_TURN = 100,
	CONNECT_S = 30,
	PROXY_S = 60,                   /* from the connection to the proxy to that to the peer, which it waits for in its turn */
	HANDSHAKE_S = 60,
	BLOCK_S = 180                   /* RFC 5321 4.5.3.2.5 */
};

enum fate {
	F_WAITING,                      /* for a transaction, the first or another one */
	F_OFFERED,                      /* in this transaction, not answered */
	F_ACCEPTED,                     /* 2xx to RCPT; the final reply decides */
	F_SETTLED                       /* result() has been called */
};

struct step {
	const char *name;
	unsigned seconds;               /* RFC 5321 4.5.3.2 */
	int low, high;                  /* codes that say yes; 4xx and 5xx say no; others have no meaning here */
	bool ends_data;
	void (*yes)(struct client *, const struct reply *);
	void (*no)(struct client *, const struct reply *);
};
static const struct step steps[X_QUIT + 1];

static void pump(struct client *);
static void bad_reply(struct client *, const char *what, struct str text);

static bool awaiting(const struct client *c) { return c->answered < c->expected.n; }
static enum expect oldest(const struct client *c) { return (enum expect)c->expected.p[c->answered]; }

/* ---- the end */

bool client_alive(const struct client *c) { return c->phase != C_OVER && c->phase != C_ABORTED; }

static void hang_up(struct client *c)
{
	timer_stop(&c->timer);
	stream_close(&c->stream);
	io_close(&c->dial);
}

static void forget_job(struct client *c)
{
	c->job = NULL;
	c->job_over = c->untried = false;
	free(c->fate);
	free(c->batch);
	c->fate = NULL;
	c->batch = NULL;
}

static void free_client(struct client *c)
{
	task_cancel(&c->task);
	forget_job(c);
	client_login_free(c);
	buf_free(&c->expected);
	free(c);
}

static void finish_job(struct client *c, bool untried)
{
	c->job_over = true;
	c->untried = untried && c->unsettled;
	task_post(&c->task);
}

/* See end(). A chunk that has left with its envelope changes little: who has answered nothing of it and hangs up, or answers MAIL with
 * 421 or 503, did not look at it. But after silence nobody knows. */
static bool unheard(const struct client *c)
{
	return c->had_others && !c->mail_answered && (c->phase == C_ENVELOPE || c->why.code == 421 || c->why.code == 503 || c->hung_up);
}

/* What silence or a hang-up may come of: some peers, or boxes before them, lose what comes in one piece with the command before, or know
 * nothing of what they announce. So the next attempt does without; it is no reason to ask again at once. */
static unsigned suspicion(const struct client *c)
{
	bool flight = c->phase == C_DOT && c->chunk;

	if (c->why.code != 0 || c->mail_refused || !awaiting(c) || unheard(c))
		return 0;
	if (flight && oldest(c) == X_BDAT)
		return CLIENT_LAME_CHUNKING;
	if ((flight || c->phase == C_ENVELOPE) && !c->had_others && c->expected.n - c->answered > 1)
		return CLIENT_LAME_PIPELINING;
	return 0;
}

/* How many it takes, by where it had enough: do not do that to it again. Who sends 421 to a recipient behind others has said it of recipients,
 * to MAIL behind other messages of messages. */
static void learn(struct client *c)
{
	if (c->deferred || (c->why.code == 421 && c->accepted && awaiting(c) && oldest(c) == X_RCPT))
		c->learnt = c->accepted;
	if (c->why.code == 421 && c->had_others && awaiting(c) && oldest(c) == X_MAIL)
		c->mails = c->transactions - 1;
}

/* The connection is over and c->why says how. Recipients without a result hear of it through their job's done(). */
static void end(struct client *c)
{
	/* A peer that ends a connection which has served others, before it answers MAIL, has said nothing of this message:
	 * many close after some messages, or after an idle minute that crosses our MAIL. */
	bool untried = unheard(c) || (c->lame & CLIENT_LAME_CHUNKING);

	c->lame |= suspicion(c);
	/* After QUIT nothing can go wrong any more. */
	if (c->phase == C_QUIT && c->why.code != 221)
		reply_set(&c->why, 221, "2.0.0", "connection closed after QUIT");
	c->phase = C_OVER;
	hang_up(c);
	if (c->job && !c->job_over) {
		learn(c);
		c->job_why = c->why;
		finish_job(c, untried);
	}
	task_post(&c->task);
}

void client_fail(struct client *c, const char *enhanced, const char *fmt, ...)
{
	char text[REPLY_TEXT];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	reply_set(&c->why, 0, enhanced, "%s", text);
	end(c);
}

void client_end_by_reply(struct client *c, const char *step, const struct reply *r)
{
	reply_set(&c->why, r->code, r->enhanced, "%s: %s", step, r->text);
	end(c);
}

/* ---- expectations */

static unsigned or_else(unsigned set, unsigned otherwise) { return set ? set : otherwise; }

static unsigned seconds(const struct client *c)
{
	if (c->phase == C_CONNECT)
		return or_else(c->config->connect_s, CONNECT_S);
	if (c->phase == C_PROXY)
		return or_else(c->config->command_s, PROXY_S);
	if (c->phase == C_TLS)
		return or_else(c->config->command_s, HANDSHAKE_S);
	if (c->phase == C_BODY || c->dot_leaving)
		return or_else(c->config->command_s, BLOCK_S);
	if (oldest(c) == X_QUIT)
		return steps[X_QUIT].seconds;
	return or_else(steps[oldest(c)].ends_data ? c->config->final_s : c->config->command_s, steps[oldest(c)].seconds);
}

void client_arm(struct client *c)
{
	if (c->phase == C_BODY || c->phase == C_CONNECT || c->phase == C_PROXY || c->phase == C_TLS || awaiting(c))
		timer_set(&c->timer, (msec)seconds(c) * 1000);
	else
		timer_stop(&c->timer);
}

void client_expect(struct client *c, enum expect what)
{
	bool first = !awaiting(c);

	if (first) {
		buf_clear(&c->expected);
		c->answered = 0;
	}
	if (!buf_char(&c->expected, (char)what))
		client_fail(c, "4.3.0", "no memory left");
	else if (first)
		client_arm(c);
}

void client_log_line(const struct client *c, const char *direction, struct str line)
{
	if (c->config->said)
		c->config->said(direction, line);
	log_event(LOG_DEBUG, c->config->lmtp ? "lmtp" : "smtp", LF(L_TEXT("id", c->job ? c->job->id : NULL),
		L_TEXT("peer", c->peer), L_STR(direction, line)));
}

void client_note_sent(struct client *c, struct str line)
{
	client_dialogue_sent(c, line);
	client_log_line(c, "sent", line);
}

void client_put(struct client *c, const void *p, size_t n)
{
	if (client_alive(c) && stream_write(&c->stream, p, n) == -1)
		client_fail(c, "4.4.2", "connection lost: %s", strerror(errno));
}

void client_say_shown(struct client *c, enum expect what, struct str line, struct str shown)
{
	/* Addresses and parameters have been parsed; a line end in one would be a command of somebody else. */
	assert(!memchr(line.p, '\n', line.n) && !memchr(line.p, '\r', line.n));
	client_note_sent(c, shown);
	client_put(c, line.p, line.n);
	client_put(c, "\r\n", 2);
	if (client_alive(c))
		client_expect(c, what);
}

void client_say(struct client *c, enum expect what, struct str line) { client_say_shown(c, what, line, line); }

static void say_built(struct client *c, enum expect what, struct buf *line)
{
	if (line->bad)
		client_fail(c, "4.3.0", "no memory left");
	else
		client_say(c, what, buf_view(line));
	buf_free(line);
}

static void say_hello(struct client *c, enum expect what)
{
	struct buf line = { .max = REPLY_LINE };

	memset(&c->can, 0, sizeof c->can);
	c->phase = C_HELLO;
	buf_printf(&line, "%s %s", steps[what].name, c->config->hostname);
	say_built(c, what, &line);
}

/* ---- greeting and EHLO */

static void greeted(struct client *c, const struct reply *r)
{
	(void)r;
	say_hello(c, c->config->lmtp ? X_LHLO : X_EHLO);
}

static bool wants_tls(const struct client *c)
{
	return c->config->tls != CLIENT_TLS_NO && !c->config->lmtp && !c->tls[0];
}

void client_be_ready(struct client *c)
{
	c->phase = C_IDLE;
	c->ready_due = true;
	task_post(&c->task);
}

/* What the peer has announced, and what we believe of it. */
static void believe(struct client *c)
{
	if (c->config->no_chunking)
		c->can.set &= ~(unsigned)CAP_CHUNKING;
	if (c->config->no_pipelining)
		c->can.set &= ~(unsigned)(CAP_PIPELINING | CAP_CHUNKING);
}

static void hello_taken(struct client *c, const struct reply *r)
{
	(void)r;
	if (c->is_self) {
		client_fail(c, "4.4.6", "%s is this host itself", c->peer);
		return;
	}
	believe(c);
	if (wants_tls(c) && (c->can.set & CAP_STARTTLS)) {
		c->securing = true;
		client_say(c, X_STARTTLS, STR("STARTTLS"));
		return;
	}
	if (wants_tls(c) && c->config->tls >= CLIENT_TLS_MUST) {
		c->no_tls_offered = true;
		client_fail(c, "4.7.4", "not sent in clear: %s does not offer STARTTLS, and TLS is a must", c->peer);
		return;
	}
	c->securing = false;
	if (c->config->user)
		client_begin_login(c);
	else
		client_be_ready(c);
}

static void ehlo_refused(struct client *c, const struct reply *r)
{
	/* RFC 5321 3.2: only a peer that does not know EHLO is asked in the old way. */
	if (r->code >= 500)
		say_hello(c, X_HELO);
	else
		client_end_by_reply(c, steps[X_EHLO].name, r);
}

/* ---- TLS */

static void starttls_taken(struct client *c, const struct reply *r)
{
	(void)r;
	client_begin_tls(c);
}

/* RFC 3207 4.2: what the peer has announced in clear is forgotten (by say_hello), and asked for again. */
static void secured(struct client *c)
{
	snprintf(c->tls, sizeof c->tls, "%s:%s", tls_version(c->stream.tls), tls_cipher(c->stream.tls));
	client_dialogue_secured(c);
	if (c->config->tls_first) {
		c->phase = C_HELLO;
		client_expect(c, X_GREETING);
	} else if (stream_peek(&c->stream).n)
		bad_reply(c, "the peer speaks out of turn behind the TLS handshake: \"", stream_peek(&c->stream));
	else
		say_hello(c, X_EHLO);
}

static void starttls_refused(struct client *c, const struct reply *r) { client_end_by_reply(c, steps[X_STARTTLS].name, r); }
static void greeting_refused(struct client *c, const struct reply *r) { client_end_by_reply(c, steps[X_GREETING].name, r); }
static void helo_refused(struct client *c, const struct reply *r) { client_end_by_reply(c, steps[X_HELO].name, r); }
static void lhlo_refused(struct client *c, const struct reply *r) { client_end_by_reply(c, steps[X_LHLO].name, r); }

/* ---- results */

static void settle(struct client *c, size_t i, const struct reply *r)
{
	if (c->fate[i] == F_SETTLED)
		return;
	c->fate[i] = F_SETTLED;
	c->unsettled--;
	c->job->result(c->job, i, r);
}

static void settle_all(struct client *c, const struct reply *r)
{
	for (size_t i = 0; i < c->job->n; i++)
		settle(c, i, r);
}

static void settle_accepted(struct client *c, const struct reply *r)
{
	for (size_t i = 0; i < c->batch_n; i++)
		if (c->fate[c->batch[i]] == F_ACCEPTED)
			settle(c, c->batch[i], r);
}

/* ---- the envelope */

static unsigned mail_max(const struct client *c)
{
	return c->mails && (!c->can.mail_max || c->mails < c->can.mail_max) ? c->mails : c->can.mail_max;
}

static bool mail_max_reached(const struct client *c) { return mail_max(c) && c->transactions >= mail_max(c); }

static size_t batch_limit(const struct client *c)
{
	size_t limit = c->job->n;

	if (c->can.rcpt_max && c->can.rcpt_max < limit)         /* RFC 9422 */
		limit = c->can.rcpt_max;
	if (c->learnt && c->learnt < limit)
		limit = c->learnt;
	return c->most && c->most < limit ? c->most : limit;
}

/* Picks the recipients of the next transaction: the first that wait, as many as the peer takes. */
static void fill_batch(struct client *c)
{
	size_t limit = batch_limit(c), domains = 0;
	struct str last = STR("");

	c->batch_n = c->offered = c->heard = c->accepted = c->deferred = c->final = 0;
	c->said_too_many = false;
	for (size_t i = 0; i < c->job->n && c->batch_n < limit; i++) {
		struct str domain = c->job->to[i]->addr.domain;

		if (c->fate[i] != F_WAITING)
			continue;
		/* Changes of the domain are counted: never fewer than there are domains. */
		if (domains == 0 || !str_eq_nocase(domain, last)) {
			if (c->can.rcpt_domain_max && domains == c->can.rcpt_domain_max)
				break;
			domains++;
			last = domain;
		}
		c->batch[c->batch_n++] = i;
	}
}

static void begin_transaction(struct client *c)
{
	if (mail_max_reached(c)) {
		reply_set(&c->job_why, 0, "4.4.5", "the peer takes %u messages on a connection", mail_max(c));
		c->phase = C_IDLE;
		finish_job(c, true);
		return;
	}
	fill_batch(c);
	c->had_others = c->transactions > 0;
	c->mail_answered = c->mail_refused = false;
	c->next = c->dirty ? N_RSET : N_MAIL;
	c->phase = C_ENVELOPE;
	pump(c);
}

static void transaction_over(struct client *c)
{
	/* What was offered but not settled was too many for this transaction: the next one is smaller. */
	for (size_t i = 0; i < c->batch_n; i++)
		if (c->fate[c->batch[i]] != F_SETTLED)
			c->fate[c->batch[i]] = F_WAITING;
	if (c->deferred)
		c->most = c->accepted;
	if (c->deferred && c->said_too_many)
		c->learnt = c->accepted;
	if (c->unsettled) {
		begin_transaction(c);
		return;
	}
	c->phase = C_IDLE;
	client_arm(c);
	finish_job(c, false);
}

static void say_mail(struct client *c)
{
	struct sender from = *c->job->from;
	struct buf line = { 0 };

	/* Only what the peer has announced. 8-bit content goes to a peer without 8BITMIME as it is: such peers pass it on in
	 * practice, and converting it would break signatures. */
	from.has_body = (c->can.set & CAP_8BITMIME) && from.body == BODY_8BITMIME;
	from.body = from.has_body ? BODY_8BITMIME : BODY_7BIT;
	if (!(c->can.set & CAP_DSN)) {
		from.ret = RET_NONE;
		from.envid = STR("");
	}
	from.requiretls = from.requiretls && (c->can.set & CAP_REQUIRETLS) && !c->config->lmtp;
	from.auth = STR("");
	if (!c->config->pass_hold) {
		from.hold_for = 0;
		from.hold_until = 0;
	}
	print_mail(&line, &from);
	if (c->can.set & CAP_SIZE)
		buf_printf(&line, " SIZE=%llu", (unsigned long long)c->job->size);
	c->transactions++;
	c->dirty = true;
	say_built(c, X_MAIL, &line);
}

static void print_rcpt_for(struct buf *line, const struct client *c, size_t i)
{
	struct recipient to = *c->job->to[i];

	if (!(c->can.set & CAP_DSN)) {
		to.notify = 0;
		to.orcpt = STR("");
	}
	print_rcpt(line, &to);
}

static void say_rcpt(struct client *c, size_t i)
{
	struct buf line = { 0 };

	print_rcpt_for(&line, c, i);
	c->fate[i] = F_OFFERED;
	say_built(c, X_RCPT, &line);
}

/* RFC 3030 2. In LMTP nobody could say how many replies come before RCPT is answered. */
static bool by_chunk(const struct client *c) { return (c->can.set & CAP_CHUNKING) && !c->config->lmtp; }

/* Behind it all is clean, and not when it is answered: by then the next MAIL may have been said. */
static void say_reset(struct client *c)
{
	c->dirty = false;
	client_say(c, X_RSET, STR("RSET"));
}

static void say_next(struct client *c)
{
	switch (c->next) {
	case N_RSET:
		c->next = N_MAIL;
		say_reset(c);
		break;
	case N_MAIL:
		c->next = N_RCPT;
		say_mail(c);
		break;
	case N_RCPT:
		if (c->offered + 1 == c->batch_n)
			c->next = N_DATA;
		say_rcpt(c, c->batch[c->offered++]);
		break;
	case N_DATA:
		c->next = N_NOTHING;
		if (!awaiting(c) && !c->accepted)
			break;
		if (c->job->probe)
			say_reset(c);
		else if (by_chunk(c))
			client_say_chunk(c);
		else
			client_say(c, X_DATA, STR("DATA"));
		break;
	case N_NOTHING:
		break;
	}
}

static bool may_say(const struct client *c)
{
	/* A long message is not sent in vain: it waits until somebody is to get it. */
	if (c->next == N_DATA && ((by_chunk(c) && c->job->size > BLOCK) || c->job->probe) && awaiting(c))
		return false;
	return (c->can.set & CAP_PIPELINING) ? !stream_full(&c->stream) : !awaiting(c);
}

/* Sends what may be sent now: with PIPELINING the whole envelope, without it one command. */
static void pump(struct client *c)
{
	while (c->phase == C_ENVELOPE && c->next != N_NOTHING && may_say(c))
		say_next(c);
	if (c->phase == C_ENVELOPE && c->next == N_NOTHING && !awaiting(c))
		transaction_over(c);
}

static void reset_taken(struct client *c, const struct reply *r)
{
	(void)c;
	(void)r;
}

static void reset_refused(struct client *c, const struct reply *r) { client_end_by_reply(c, steps[X_RSET].name, r); }

static void mail_taken(struct client *c, const struct reply *r)
{
	(void)r;
	c->mail_answered = true;
}

/* Says nothing of the recipients but something of the message, so it answers for those of later transactions too. */
static void mail_refused(struct client *c, const struct reply *r)
{
	c->mail_answered = c->mail_refused = true;
	c->next = N_NOTHING;
	settle_all(c, r);
}

static void rcpt_taken(struct client *c, const struct reply *r)
{
	size_t i = c->batch[c->heard++];

	client_dialogue_rcpt_taken(c);
	c->accepted++;
	if (c->fate[i] == F_OFFERED)
		c->fate[i] = F_ACCEPTED;
	if (c->job->probe)
		settle(c, i, r);
}

/* RFC 5321 4.5.3.1.10: 452, or 552 in older peers, is "too many recipients" when others came before it. A full
 * mailbox (X.2.2) or a message too big for it (X.3.4) is not. */
static bool too_many_here(const struct client *c, const struct reply *r)
{
	const char *detail = r->enhanced[0] ? r->enhanced + 1 : "";

	return c->accepted && (r->code == 452 || r->code == 552) && strcmp(detail, ".2.2") && strcmp(detail, ".3.4");
}

static void note_refusal(struct client *c, size_t i)
{
	struct buf line = { 0 };

	print_rcpt_for(&line, c, i);
	client_dialogue_rcpt_refused(c, buf_view(&line));
	buf_free(&line);
}

static void rcpt_refused(struct client *c, const struct reply *r)
{
	size_t i = c->batch[c->heard++];

	note_refusal(c, i);
	if (c->fate[i] == F_SETTLED)
		return;
	if (!too_many_here(c, r)) {
		settle(c, i, r);
		return;
	}
	c->fate[i] = F_WAITING;
	c->deferred++;
	c->said_too_many = c->said_too_many || (r->enhanced[0] && !strcmp(r->enhanced + 1, ".5.3"));
	/* X.5.3 says it outright: those not yet offered need not ask. */
	if (c->next == N_RCPT && r->enhanced[0] && !strcmp(r->enhanced + 1, ".5.3")) {
		c->batch_n = c->offered;
		c->next = N_DATA;
	}
}

/* ---- the message */

static void data_taken(struct client *c, const struct reply *r)
{
	(void)r;
	if (c->accepted && !c->mail_refused) {
		c->chunk = false;
		client_begin_body(c);
		return;
	}
	/* RFC 2920 3.1: nobody is to get it, so a lone dot. But to a peer that has recipients all the same that would be an
	 * empty message, and in LMTP nobody knows how many replies will come (RFC 2033 4.2: it must be refused). */
	if (c->accepted || c->config->lmtp) {
		client_fail(c, "4.5.0", "DATA: accepted although nothing before it was");
		return;
	}
	client_note_sent(c, STR("."));
	client_put(c, ".\r\n", 3);
	if (client_alive(c))
		client_end_data(c, X_LONE_DOT, 1);
}

static void data_refused(struct client *c, const struct reply *r)
{
	settle_accepted(c, r);
}

/* LMTP (RFC 2033 4.2): one final reply for each accepted recipient, in the order of RCPT. */
static void final_reply(struct client *c, const struct reply *r)
{
	if (!c->config->lmtp) {
		settle_accepted(c, r);
		return;
	}
	while (c->fate[c->batch[c->final]] != F_ACCEPTED)
		c->final++;
	settle(c, c->batch[c->final++], r);
}

static void final_refused(struct client *c, const struct reply *r)
{
	c->dirty = true;
	final_reply(c, r);
	if (r->code == 421)
		client_end_by_reply(c, steps[X_DOT].name, r);
}

/* RFC 3030 2: a chunk that nobody is to get is refused as well. A peer that does not know BDAT has taken the message for commands:
 * nothing it says from here on has a meaning. */
static void chunk_refused(struct client *c, const struct reply *r)
{
	if (!c->accepted || c->mail_refused) {
		c->dirty = true;
		if (r->code == 421)
			client_end_by_reply(c, steps[X_BDAT].name, r);
		return;
	}
	if (r->code == 500 || r->code == 502 || r->code == 503 || r->code == 504) {
		c->lame |= CLIENT_LAME_CHUNKING;
		client_end_by_reply(c, "BDAT, which was announced", r);
		return;
	}
	final_refused(c, r);
}

/* Taken although nobody was to get it: what the peer has done with it nobody knows. */
static void chunk_taken(struct client *c, const struct reply *r)
{
	if (!c->accepted || c->mail_refused)
		client_fail(c, "4.5.0", "BDAT: accepted although nothing before it was");
	else
		final_reply(c, r);
}

static void discard(struct client *c, const struct reply *r)
{
	if (r->code == 421)
		client_end_by_reply(c, steps[X_LONE_DOT].name, r);
}

static void bye(struct client *c, const struct reply *r)
{
	reply_set(&c->why, 221, r->enhanced, "%s", r->text);
	end(c);
}

static const struct step steps[X_QUIT + 1] = {
	[X_GREETING] = { "greeting", 300, 220, 220, false, greeted, greeting_refused },
	[X_EHLO] = { "EHLO", 300, 250, 250, false, hello_taken, ehlo_refused },
	[X_HELO] = { "HELO", 300, 250, 250, false, hello_taken, helo_refused },
	[X_LHLO] = { "LHLO", 300, 250, 250, false, hello_taken, lhlo_refused },
	[X_STARTTLS] = { "STARTTLS", 120, 220, 220, false, starttls_taken, starttls_refused },
	[X_AUTH] = { "AUTH", 300, 235, 334, false, client_login_taken, client_login_refused },
	[X_RSET] = { "RSET", 300, 200, 299, false, reset_taken, reset_refused },
	[X_MAIL] = { "MAIL", 300, 200, 299, false, mail_taken, mail_refused },
	[X_RCPT] = { "RCPT", 300, 200, 299, false, rcpt_taken, rcpt_refused },
	[X_DATA] = { "DATA", 120, 354, 354, false, data_taken, data_refused },
	/* RFC 5321 4.5.3.2.6: ten minutes. Giving up sooner after the final dot makes duplicates. */
	[X_DOT] = { "the final dot", 600, 200, 299, true, final_reply, final_refused },
	[X_LONE_DOT] = { "a lone dot", 600, 200, 299, true, discard, discard },
	[X_BDAT] = { "the message", 600, 200, 299, true, chunk_taken, chunk_refused },
	[X_QUIT] = { "QUIT", 5, 200, 299, false, bye, bye },
};

/* ---- replies */

static bool believe_beginning(struct client *);

/* The words for what can no longer be known: the peer may have taken the message, but its answer did not come. */
static const char *doubt(struct client *c)
{
	/* A stream that failed does not tell how much had left. With a chunk the message was there before the first reply. */
	if (c->phase != C_DOT || oldest(c) == X_LONE_DOT || unheard(c) || (c->dot_leaving && !c->stream.error))
		return "";
	c->job->doubtful = true;
	return "; the peer may have the message already, and the next attempt may make a second copy";
}

static void handshake_failed(struct client *c, const char *cause)
{
	c->tls_fault = tls_fault(c->stream.tls);
	client_fail(c, "4.7.5", "TLS handshake failed: %s", cause);
}

static void lost(struct client *c)
{
	const char *cause = c->stream.error ? stream_error(&c->stream) : "closed by the peer";

	c->hung_up = true;
	believe_beginning(c);
	if (!client_alive(c))
		return;
	if (c->stream.error == ENODATA)
		client_unreadable(c, 0);
	else if (c->phase == C_PROXY && c->socks.state == SOCKS_ANSWER)  /* some say no so */
		client_fail(c, "4.4.1", "connect to %s through the proxy %s: %s", c->peer, c->config->proxy->name, cause);
	else if (c->phase == C_PROXY)
		client_proxy_fails(c, cause);
	else if (c->phase == C_TLS)
		handshake_failed(c, cause);
	else if (c->phase == C_BODY || (c->dot_leaving && !*doubt(c)))
		client_fail(c, "4.4.2", "connection lost in the middle of the message (%s)", cause);
	else if (!awaiting(c))
		client_fail(c, "4.4.2", "connection lost while idle (%s)", cause);
	else if (oldest(c) == X_GREETING)
		client_fail(c, "4.4.2", "greeting: connection lost (%s)", cause);
	else
		client_fail(c, "4.4.2", "connection lost after %s (%s)%s", steps[oldest(c)].name, cause, doubt(c));
}

static void expired(struct timer *t)
{
	struct client *c = owner_of(t, struct client, timer);
	unsigned s = seconds(c);

	if (c->phase == C_CONNECT && c->config->proxy)
		client_proxy_fails(c, "it cannot be reached: timed out");
	else if (c->phase == C_CONNECT) {
		c->silent = true;
		client_fail(c, "4.4.1", "connect to %s timed out after %u s", c->peer, s);
	} else if (c->phase == C_PROXY && c->socks.state == SOCKS_ANSWER)         /* it may be waiting for the peer */
		client_fail(c, "4.4.1", "connect to %s through the proxy %s timed out after %u s", c->peer, c->config->proxy->name, s);
	else if (c->phase == C_PROXY)
		client_proxy_fails(c, "it does not answer");
	else if (c->phase == C_TLS)
		client_fail(c, "4.7.5", "TLS handshake timed out after %u s", s);
	else if (c->phase == C_BODY || c->dot_leaving)
		client_fail(c, "4.4.2", "the peer did not take the message: a block took more than %u s", s);
	else if (believe_beginning(c)) {
		if (client_alive(c))
			client_fail(c, "4.4.2", "a reply had no end within %u s%s", s, doubt(c));
	} else if (oldest(c) == X_GREETING)
		client_fail(c, "4.4.2", "greeting: timed out after %u s", s);
	else
		client_fail(c, "4.4.2", "no reply to %s within %u s%s", steps[oldest(c)].name, s, doubt(c));
}

/* The conversation is out of step: nothing said from here on can be believed. */
static void bad_reply(struct client *c, const char *what, struct str text)
{
	if (text.n > 80)
		text.n = 80;
	client_fail(c, "4.5.0", "%s%s" STR_FMT "%s%s", awaiting(c) ? steps[oldest(c)].name : "protocol error",
		what, STR_ARG(text), text.n ? "\"" : "", doubt(c));
}

/* A reply to nothing. 421 may come at any time (RFC 5321 3.8). */
static void unasked(struct client *c, const struct reply *r)
{
	const char *when = c->phase == C_BODY || c->phase == C_DOT ? "reply before the end of the message" : "unasked reply";

	if (r->code == 421)
		client_end_by_reply(c, when, r);
	else
		client_fail(c, "4.5.0", "%s: %d %s%s%s", when, r->code, r->enhanced, r->enhanced[0] ? " " : "", r->text);
}

/* 421 says so (RFC 5321 3.8). So does 503 to MAIL behind other messages, whatever it means: the peer and we are not at the same place any
 * more, and that is none of this message's fault. */
static bool ends_connection(const struct client *c, const struct reply *r)
{
	return (r->code == 421 && !steps[oldest(c)].ends_data) || (r->code == 503 && oldest(c) == X_MAIL && c->had_others);
}

static void answer(struct client *c, const struct reply *r)
{
	const struct step *step;
	bool yes, chatter;

	if (!awaiting(c) || (steps[oldest(c)].ends_data && c->dot_leaving)) {
		unasked(c, r);
		return;
	}
	step = &steps[oldest(c)];
	if (ends_connection(c, r)) {
		client_end_by_reply(c, step->name, r);
		return;
	}
	yes = r->code >= step->low && r->code <= step->high;
	if (!yes && r->code < 400) {
		client_fail(c, "4.5.0", "%s: a reply without meaning here: %d %s%s", step->name, r->code, r->text, doubt(c));
		return;
	}
	c->answered++;
	/* Octets behind the last reply we wait for answer a question not asked yet. A final reply is believed, since the
	 * message is with the peer; after any other we must not go on. */
	chatter = !awaiting(c) && stream_peek(&c->stream).n > 0;
	if (chatter && !step->ends_data) {
		client_fail(c, "4.5.0", "%s: more than one reply", step->name);
		return;
	}
	client_arm(c);
	(yes ? step->yes : step->no)(c, r);
	if (chatter && client_alive(c))
		client_fail(c, "4.5.0", "%s: more than one reply", step->name);
	if (c->phase == C_DOT && !awaiting(c))
		transaction_over(c);
	else
		pump(c);
}

/* Adds a line's words to the reply, as much as is kept. */
static void add_text(struct client *c, struct str text)
{
	if (c->lines > 1 && text.n && c->text_n && c->text_n < sizeof c->text - 1)
		c->text[c->text_n++] = ' ';
	for (size_t i = 0; i < text.n && c->text_n < sizeof c->text - 1; i++)
		c->text[c->text_n++] = text.p[i] ? text.p[i] : '?';
}

static void add_line(struct client *c, int code, struct str text)
{
	enum expect what = awaiting(c) ? oldest(c) : X_QUIT;
	char enhanced[12];

	c->code = code;
	if (what == X_EHLO || what == X_LHLO) {
		if (code == 250 && c->lines > 1)
			parse_capability(text, &c->can);
		else if (c->config->marker)
			c->is_self = str_ends_nocase(text, str_of(c->config->marker));
	}
	parse_enhanced(code, &text, enhanced);
	if (c->lines == 1)
		memcpy(c->enhanced, enhanced, sizeof enhanced);
	add_text(c, text);
}

static void reply_whole(struct client *c)
{
	struct reply r;

	c->text[c->text_n] = '\0';
	reply_set(&r, c->code, c->enhanced, "%s", c->text);
	c->code = 0;
	c->lines = 0;
	c->text_n = 0;
	answer(c, &r);
}

/* A reply to the final dot that will not come to its end. Each of its lines begins with the code (RFC 5321 4.2.1), so a first one, or what
 * has come of it, that says yes says that the peer has the message: it is not sent again. What says no is asked again. False: it did not say yes. */
static bool believe_beginning(struct client *c)
{
	struct str rest = stream_peek(&c->stream), text;
	int code = c->code;
	bool last;

	if (!awaiting(c) || !steps[oldest(c)].ends_data || c->dot_leaving)
		return false;
	if (!code && rest.n > 3 && parse_reply_line(rest, &code, &last, &text)) {
		client_dialogue_received(c, rest, true, &(enum expect){ oldest(c) });
		client_log_line(c, "received", rest);
		c->lines++;
		add_line(c, code, str_trim(text));
	}
	stream_take(&c->stream, rest.n);
	if (code < steps[oldest(c)].low || code > steps[oldest(c)].high)
		return false;
	reply_whole(c);
	return true;
}

static void too_many_lines(struct client *c)
{
	believe_beginning(c);
	if (client_alive(c))
		bad_reply(c, ": a reply of more than 10000 lines", STR(""));
}

/* Takes one line of a reply. False: none has come. */
static bool take_line(struct client *c)
{
	struct str line, text;
	bool last;
	int code;

	/* A line ended by LF alone is understood: it lets the peer say nothing that it could not say anyway. */
	switch (stream_line(&c->stream, REPLY_LINE, &line)) {
	case LINE_NONE:
		return false;
	case LINE_LONG:
		if (awaiting(c) && steps[oldest(c)].ends_data)
			break;          /* it begins with what became of the message */
		bad_reply(c, ": a reply line of more than 4096 octets", STR(""));
		return true;
	case LINE_BARE:
	case LINE_OK:
		break;
	}
	client_dialogue_received(c, line, c->code == 0, awaiting(c) ? &(enum expect){ oldest(c) } : NULL);
	client_log_line(c, "received", line);
	if (!parse_reply_line(line, &code, &last, &text))
		bad_reply(c, ": not a reply: \"", line);
	else if (c->code && c->code != code)
		bad_reply(c, ": the code changes inside a reply: \"", line);
	else if (++c->lines > REPLY_LINES)
		too_many_lines(c);
	else {
		if (c->lines <= REPLY_LINES_KEPT)
			add_line(c, code, text);
		if (last)
			reply_whole(c);
	}
	return true;
}

static void proceed(struct client *c)
{
	if (c->phase == C_ENVELOPE)
		pump(c);
	else if (c->phase == C_BODY && !stream_full(&c->stream))
		client_send_block(c);
}

void client_on_event(struct stream *s)
{
	struct client *c = owner_of(s, struct client, stream);
	int budget = LINES_A_TURN;

	if (c->dot_leaving && !s->error && stream_drained(s)) {
		c->dot_leaving = false;
		client_arm(c);
	}
	if (c->phase == C_PROXY)
		client_ask_proxy(c);
	if (c->phase == C_PROXY && !s->error && !s->eof)
		return;
	if (c->phase == C_TLS && s->secure)
		secured(c);
	while (client_alive(c) && budget > 0 && take_line(c))
		budget--;
	if (!client_alive(c))
		return;
	if (budget == 0)
		stream_again(s);
	else if (s->error || s->eof)
		lost(c);
	else if (!awaiting(c) && stream_peek(s).n)
		bad_reply(c, ": the peer speaks out of turn: \"", stream_peek(s));
	else
		proceed(c);
}

/* ---- telling the caller */

static void tell_job(struct client *c)
{
	struct client_job *job = c->job;
	struct reply why = c->job_why;
	bool untried, left;

	if (c->unfit.code) {
		job->unfit = true;
		settle_all(c, &c->unfit);
		c->unfit.code = 0;
	}
	untried = c->untried;
	left = c->unsettled > 0;
	forget_job(c);
	job->done(job, left ? &why : NULL, untried);
}

/* Nobody stands in the client or in a call of the caller's now, so it may be called, and the client may die. */
static void tell(struct task *t)
{
	struct client *c = owner_of(t, struct client, task);

	c->telling = true;
	if (c->job_over)
		tell_job(c);
	if (c->phase == C_IDLE && c->ready_due) {
		c->ready_due = false;
		c->events->ready(c, c->arg);
	}
	/* A job given in these calls is over already when it could not be sent: its turn comes with the posted task. */
	if (c->phase == C_OVER && !c->job_over)
		c->events->gone(c, c->arg, &c->why);
	else if (c->phase != C_ABORTED) {
		c->telling = false;
		return;
	}
	free_client(c);
}

/* ---- what callers call */

struct client *client_open(const struct client_config *config, const struct sockaddr *addr, socklen_t len,
	const char *host_name, const struct client_events *events, void *arg)
{
	struct client *c = calloc(1, sizeof *c);
	int saved;

	if (!c)
		return NULL;
	c->config = config;
	c->events = events;
	c->arg = arg;
	c->learnt = config->rcpt_max;
	c->mails = config->mail_max;
	c->task.run = tell;
	c->timer.expired = expired;
	c->dial.fd = -1;
	if (client_dial(c, addr, len, host_name ? host_name : "") == 0)
		return c;
	saved = errno;
	hang_up(c);
	free_client(c);
	errno = saved;
	return NULL;
}

const char *client_peer(const struct client *c) { return c->peer; }
const struct capabilities *client_capabilities(const struct client *c) { return &c->can; }
const char *client_tls(const struct client *c) { return c->tls; }
bool client_tls_failed(const struct client *c) { return c->phase == C_OVER && c->securing; }
enum tls_fault client_tls_fault(const struct client *c) { return c->tls_fault; }
bool client_tls_missing(const struct client *c) { return c->phase == C_OVER && c->no_tls_offered; }

size_t client_rcpt_max(const struct client *c) { return c->learnt; }
unsigned client_mail_max(const struct client *c) { return c->mails; }
unsigned client_lame(const struct client *c) { return c->lame; }
bool client_is_our_trouble(const struct reply *why) { return why->code == 0 && !strcmp(why->enhanced, "4.3.0"); }
bool client_is_silent(const struct client *c) { return c->phase == C_OVER && c->silent; }
bool client_is_self(const struct client *c) { return c->phase == C_OVER && c->is_self; }
bool client_proxy_failed(const struct client *c) { return c->phase == C_OVER && c->proxy_failed; }
bool client_login_failed(const struct client *c) { return c->phase == C_OVER && c->not_let_in; }

bool client_usable(const struct client *c)
{
	return c->phase == C_IDLE && !c->job && !mail_max_reached(c);
}

/* RFC 8689 4.2.1: the peer is known to be whom the recipient's domain, or the administrator, has named. */
static bool is_certain(const struct client *c) { return c->tls[0] && c->config->tls >= CLIENT_TLS_VERIFY && !c->config->hearsay; }

/* What this peer cannot be sent at all: said at once, nothing goes over the wire. */
static void judge(struct client *c, const struct client_job *job)
{
	const struct sender *from = job->from;

	c->unfit.code = 0;
	if ((c->can.set & CAP_SIZE) && c->can.size && (uint64_t)job->size > c->can.size)
		reply_set(&c->unfit, 552, "5.3.4", "not sent: %s takes messages of %llu octets, this one has %llu", c->peer,
			(unsigned long long)c->can.size, (unsigned long long)job->size);
	else if (from->smtputf8 && !(c->can.set & CAP_SMTPUTF8))
		reply_set(&c->unfit, 550, "5.6.7", "not sent: it needs SMTPUTF8, which %s does not offer", c->peer);
	else if (c->config->pass_hold && (from->hold_for || from->hold_until) && !(c->can.set & CAP_FUTURERELEASE))
		reply_set(&c->unfit, 550, "5.5.4", "not sent: %s does not hold messages (FUTURERELEASE)", c->peer);
	else if (from->body == BODY_BINARYMIME)
		reply_set(&c->unfit, 554, "5.6.3", "not sent: binary content cannot be passed on");
	else if (from->requiretls && !c->config->lmtp && !is_certain(c) && c->config->unsure)
		reply_set(&c->unfit, 450, "4.7.30", "not sent: it demands TLS with a host whose name is certain (REQUIRETLS), and the policy of its domain "
			"(MTA-STS) cannot be had now");
	else if (from->requiretls && !c->config->lmtp && !is_certain(c))
		reply_set(&c->unfit, 550, "5.7.30", "not sent: it demands TLS with a host whose name is certain (REQUIRETLS), which this is not");
	else if (from->requiretls && !c->config->lmtp && !(c->can.set & CAP_REQUIRETLS))
		reply_set(&c->unfit, 550, "5.7.30", "not sent: it demands TLS all the way (REQUIRETLS), which %s does not offer", c->peer);
}

bool client_send(struct client *c, struct client_job *job)
{
	if (!client_usable(c))
		return false;
	c->fate = calloc(job->n + 1, sizeof *c->fate);
	c->batch = calloc(job->n + 1, sizeof *c->batch);
	if (!c->fate || !c->batch) {
		forget_job(c);
		client_fail(c, "4.3.0", "no memory left");
		return false;
	}
	c->job = job;
	c->unsettled = job->n;
	c->most = 0;
	client_dialogue_begins(c);
	memset(&c->job_why, 0, sizeof c->job_why);
	judge(c, job);
	if (c->unfit.code || job->n == 0)
		finish_job(c, false);
	else
		begin_transaction(c);
	return true;
}

void client_quit(struct client *c)
{
	if (c->phase != C_IDLE) {
		if (client_alive(c) && c->phase != C_QUIT)
			client_fail(c, "4.4.2", "given up by us");
		return;
	}
	c->phase = C_QUIT;
	client_say(c, X_QUIT, STR("QUIT"));
}

void client_abort(struct client *c)
{
	hang_up(c);
	c->phase = C_ABORTED;
	if (!c->telling)
		free_client(c);
}
