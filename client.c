/* SMTP and LMTP client. A conversation is a phase, a queue of expectations (what will the next reply
 * answer?) and a table that says what each kind of reply means. Without PIPELINING the queue is one deep. */
#include "client.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "auth/saslc.h"
#include "lib/codec.h"
#include "lib/file.h"
#include "lib/list.h"
#include "lib/log.h"
#include "lib/socks.h"
#include "lib/stream.h"
#include "lib/tls.h"
#include "mime/transfer.h"

enum {
	REPLY_LINE = 4096,              /* RFC 5321 4.5.3.1.5 asks for 512; many peers write more */
	REPLY_LINES = 100,              /* of one reply */
	COMMAND_LINE = 512,             /* RFC 5321 4.5.3.1.4 */
	AUTH_LINE = 12288,              /* RFC 4954 4 */
	LINES_A_TURN = 100,
	BLOCK = 65536,                  /* octets of a message read at once; larger ones are not sent before RCPT is answered */
	PIECE = 4 * BLOCK,              /* of a file, left to the kernel at once */
	CONNECT_S = 30,
	PROXY_S = 60,                   /* from the connection to the proxy to that to the peer, which it waits for in its turn */
	HANDSHAKE_S = 60,
	BLOCK_S = 180                   /* RFC 5321 4.5.3.2.5 */
};

enum phase {
	C_CONNECT,                      /* connect() is under way */
	C_PROXY,                        /* the proxy is asked for the connection */
	C_HELLO,                        /* greeting, EHLO, HELO or LHLO is awaited */
	C_TLS,                          /* the TLS handshake is under way */
	C_IDLE,                         /* ready for a job */
	C_ENVELOPE,                     /* RSET, MAIL, RCPT and DATA go out and are answered */
	C_BODY,                         /* the message is being sent */
	C_DOT,                          /* all is sent, the final replies are awaited */
	C_QUIT,                         /* QUIT has been sent */
	C_OVER,                         /* hung up; gone() is due */
	C_ABORTED                       /* hung up inside a callback; to be freed without a word */
};

/* What a reply answers. */
enum expect { X_GREETING, X_EHLO, X_HELO, X_LHLO, X_STARTTLS, X_AUTH, X_RSET, X_MAIL, X_RCPT, X_DATA, X_DOT, X_LONE_DOT,
	X_BDAT, X_QUIT };

/* What the envelope is to send next. */
enum next { N_RSET, N_MAIL, N_RCPT, N_DATA, N_NOTHING };

enum fate {
	F_WAITING,                      /* for a transaction, the first or another one */
	F_OFFERED,                      /* in this transaction, not answered */
	F_ACCEPTED,                     /* 2xx to RCPT; the final reply decides */
	F_SETTLED                       /* result() has been called */
};

struct client {
	const struct client_config *config;
	const struct client_events *events;
	void *arg;
	char peer[DOMAIN_MAX + INET6_ADDRSTRLEN + 16];
	char host[DOMAIN_MAX + 1];      /* what TLS asks for, "": nothing */
	struct tls_demands demands;     /* what the handshake points to */
	char tls[80];                   /* what it came to, "": in clear */
	struct saslc *login;            /* while it is under way */
	struct buf first;               /* its first words, when they do not fit beside the command */
	bool not_let_in;                /* it was refused, or cannot be done */
	bool securing;                  /* STARTTLS was said, and EHLO inside was not answered yet */
	enum tls_fault tls_fault;       /* why the handshake has failed */
	bool no_tls_offered;            /* and it is a must */
	bool is_self;                   /* the peer has said our marker */
	enum phase phase;
	struct io dial;                 /* the socket until it is connected */
	struct socks socks;             /* C_PROXY */
	bool proxy_failed;
	struct stream stream;           /* from then on */
	struct timer timer;             /* for the oldest expectation, or the block being sent */
	struct task task;               /* tells the caller */
	bool ready_due, job_over, telling;
	struct reply why;               /* how the connection ended */
	struct capabilities can;
	unsigned transactions;          /* MAIL commands sent */
	bool dirty;                     /* RSET before the next MAIL */

	struct buf expected;            /* enum expect, one octet each, */
	size_t answered;                /* of which so many are answered */

	int code;                       /* of the reply being read; 0: none has begun */
	unsigned lines;
	char enhanced[12];
	char text[REPLY_TEXT];
	size_t text_n;

	struct client_job *job;
	unsigned char *fate;            /* enum fate of each recipient */
	size_t unsettled;
	size_t most;                    /* recipients a transaction of this job, as 452 and 552 have taught; 0: nothing learnt */
	size_t learnt;                  /* the same for all jobs, when the peer spoke of the number and of nothing else */
	bool said_too_many;             /* X.5.3, in this transaction */
	struct reply job_why;           /* code 0 and no text: all have results */
	bool untried;
	struct reply unfit;             /* why this message is not sent to this peer */

	size_t *batch;                  /* recipients of this transaction, in the order they are offered */
	size_t batch_n, offered, heard, accepted, deferred;
	size_t final;                   /* LMTP: place in batch behind the last final reply */
	enum next next;
	bool had_others;                /* transactions before this one */
	bool hung_up;                   /* the connection ended by itself, not by us */
	bool mail_answered, mail_refused;
	struct dot dot;
	off_t at, left;                 /* of the message */
	bool dot_leaving;               /* the final dot, or all of the last chunk, is written but may not have left */
	bool chunk, unended;            /* the message goes by BDAT; it has no line end at its end */
	unsigned lame;                  /* CLIENT_LAME_ bits */
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
static void send_block(struct client *);
static void unreadable(struct client *, ssize_t got);
static void say_chunk(struct client *);

static bool awaiting(const struct client *c) { return c->answered < c->expected.n; }
static enum expect oldest(const struct client *c) { return (enum expect)c->expected.p[c->answered]; }

/* ---- the end */

static bool alive(const struct client *c) { return c->phase != C_OVER && c->phase != C_ABORTED; }

static void hang_up(struct client *c)
{
	timer_stop(&c->timer);
	stream_close(&c->stream);
	if (c->dial.fd != -1) {
		io_forget(&c->dial);
		close(c->dial.fd);
		c->dial.fd = -1;
	}
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

static void wipe(struct buf *b)
{
	if (b->p)
		explicit_bzero(b->p, b->room);
	buf_free(b);
}

static void free_client(struct client *c)
{
	task_cancel(&c->task);
	forget_job(c);
	saslc_free(c->login);
	wipe(&c->first);
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
 * 421, did not look at it. But after silence nobody knows. */
static bool unheard(const struct client *c)
{
	return c->had_others && !c->mail_answered && (c->phase == C_ENVELOPE || c->why.code == 421 || c->hung_up);
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
		if (c->deferred)        /* it said how many it takes, and had enough of the others: do not do that to it again */
			c->learnt = c->accepted;
		c->job_why = c->why;
		finish_job(c, untried);
	}
	task_post(&c->task);
}

__attribute__((format(printf, 3, 4)))
static void fail(struct client *c, const char *enhanced, const char *fmt, ...)
{
	char text[REPLY_TEXT];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	reply_set(&c->why, 0, enhanced, "%s", text);
	end(c);
}

/* The peer has ended it with a reply. */
static void end_by_reply(struct client *c, const char *step, const struct reply *r)
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

/* One time limit for a whole reply, or a whole block, however slowly its octets come or go. */
static void arm(struct client *c)
{
	if (c->phase == C_BODY || c->phase == C_CONNECT || c->phase == C_PROXY || c->phase == C_TLS || awaiting(c))
		timer_set(&c->timer, (msec)seconds(c) * 1000);
	else
		timer_stop(&c->timer);
}

static void expect(struct client *c, enum expect what)
{
	bool first = !awaiting(c);

	if (first) {
		buf_clear(&c->expected);
		c->answered = 0;
	}
	if (!buf_char(&c->expected, (char)what))
		fail(c, "4.3.0", "no memory left");
	else if (first)
		arm(c);
}

static void log_line(const struct client *c, const char *direction, struct str line)
{
	if (c->config->said)
		c->config->said(direction, line);
	log_event(LOG_DEBUG, c->config->lmtp ? "lmtp" : "smtp", LF(L_TEXT("id", c->job ? c->job->id : NULL),
		L_TEXT("peer", c->peer), L_STR(direction, line)));
}

static void put(struct client *c, const void *p, size_t n)
{
	if (alive(c) && stream_write(&c->stream, p, n) == -1)
		fail(c, "4.4.2", "connection lost: %s", strerror(errno));
}

/* Sends a command and notes what its reply will answer: one call, so that the two cannot drift apart. `shown` is what the log may
 * know of it. */
static void say_shown(struct client *c, enum expect what, struct str line, struct str shown)
{
	/* Addresses and parameters have been parsed; a line end in one would be a command of somebody else. */
	assert(!memchr(line.p, '\n', line.n) && !memchr(line.p, '\r', line.n));
	log_line(c, "sent", shown);
	put(c, line.p, line.n);
	put(c, "\r\n", 2);
	if (alive(c))
		expect(c, what);
}

static void say(struct client *c, enum expect what, struct str line) { say_shown(c, what, line, line); }

static void say_built(struct client *c, enum expect what, struct buf *line)
{
	if (line->bad)
		fail(c, "4.3.0", "no memory left");
	else
		say(c, what, buf_view(line));
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

static void be_ready(struct client *c)
{
	c->phase = C_IDLE;
	c->ready_due = true;
	task_post(&c->task);
}

static void begin_login(struct client *);

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
		fail(c, "4.4.6", "%s is this host itself", c->peer);
		return;
	}
	believe(c);
	if (wants_tls(c) && (c->can.set & CAP_STARTTLS)) {
		c->securing = true;
		say(c, X_STARTTLS, STR("STARTTLS"));
		return;
	}
	if (wants_tls(c) && c->config->tls >= CLIENT_TLS_MUST) {
		c->no_tls_offered = true;
		fail(c, "4.7.4", "not sent in clear: %s does not offer STARTTLS, and TLS is a must", c->peer);
		return;
	}
	c->securing = false;
	if (c->config->user)
		begin_login(c);
	else
		be_ready(c);
}

static void ehlo_refused(struct client *c, const struct reply *r)
{
	/* RFC 5321 3.2: only a peer that does not know EHLO is asked in the old way. */
	if (r->code >= 500)
		say_hello(c, X_HELO);
	else
		end_by_reply(c, steps[X_EHLO].name, r);
}

/* ---- login (RFC 4954) */

__attribute__((format(printf, 2, 3)))
static void login_fails(struct client *c, const char *fmt, ...)
{
	char text[REPLY_TEXT];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	c->not_let_in = true;
	fail(c, "4.7.8", "login at %s as %s: %s", c->peer, c->config->user, text);
}

/* Nothing is said in base64 as "=" where it stands beside the command (RFC 4954 4), as an empty line elsewhere. */
static void say_login(struct client *c, const char *command, const struct buf *response)
{
	struct buf line = { .max = AUTH_LINE };

	buf_puts(&line, command);
	if (*command && !response->n)
		buf_char(&line, '=');
	base64_encode(&line, response->p, response->n);
	if (line.bad)
		fail(c, "4.3.0", "no memory left");
	else
		say_shown(c, X_AUTH, buf_view(&line), *command ? str_of(command) : STR("(secret)"));
	wipe(&line);
}

/* The command is no longer than others (RFC 4954 4): what is too long for it waits for an empty challenge. */
static bool fits_beside(const char *command, const struct buf *response)
{
	return strlen(command) + (response->n + 2) / 3 * 4 + 2 <= COMMAND_LINE;
}

static void begin_login(struct client *c)
{
	char command[64];
	const char *why;

	c->login = saslc_begin(str_of(c->can.auth), c->config->token ? SASLC_TOKEN : SASLC_PASSWORD, c->config->user, c->config->password,
		c->tls[0] != '\0', &why);
	if (!c->login) {
		login_fails(c, "%s", (c->can.set & CAP_AUTH) ? why : "the server offers no login (AUTH) here");
		return;
	}
	c->first.max = AUTH_LINE;
	snprintf(command, sizeof command, "AUTH %s ", saslc_mechanism(c->login));
	if (saslc_first(c->login, &c->first) && fits_beside(command, &c->first)) {
		say_login(c, command, &c->first);
		wipe(&c->first);
	} else {
		say(c, X_AUTH, (struct str){ command, strlen(command) - 1 });
	}
}

static void login_challenge(struct client *c, const struct reply *r)
{
	unsigned char challenge[REPLY_TEXT];
	size_t n = sizeof challenge;
	struct buf response = { .max = AUTH_LINE };
	const char *wrong = "the challenge is no base64";

	if (c->first.n && !r->text[0]) {
		say_login(c, "", &c->first);
		wipe(&c->first);
		return;
	}
	if (base64_decode(str_of(r->text), challenge, &n))
		wrong = saslc_take(c->login, (struct str){ (const char *)challenge, n }, &response);
	if (wrong)
		login_fails(c, "%s", wrong);
	else
		say_login(c, "", &response);
	wipe(&response);
}

static void login_taken(struct client *c, const struct reply *r)
{
	const char *wrong;

	if (r->code == 334) {
		login_challenge(c, r);
		return;
	}
	if (r->code != 235) {
		fail(c, "4.5.0", "%s: a reply without meaning here: %d %s", steps[X_AUTH].name, r->code, r->text);
		return;
	}
	wrong = saslc_accepted(c->login);
	saslc_free(c->login);
	c->login = NULL;
	if (wrong) {
		login_fails(c, "%s", wrong);
		return;
	}
	be_ready(c);
}

/* 454 and 421 are the server's trouble and not our password's (RFC 4954 6). What a refusal says is of the login and not of any message:
 * its code must not become a message's. */
static void login_refused(struct client *c, const struct reply *r)
{
	const char *error = saslc_error(c->login);

	if (r->code < 500)
		end_by_reply(c, steps[X_AUTH].name, r);
	else
		login_fails(c, "%s was refused: %d %s%s%s%s%s", saslc_mechanism(c->login), r->code, r->enhanced, r->enhanced[0] ? " " : "", r->text,
			error[0] ? "; before that it said " : "", error);
}

/* ---- TLS */

static void no_tls(struct client *c, int error)
{
	char why[300] = "";

	if (error == ENOENT)
		tls_trust_read(c->config->trust, why, sizeof why);
	fail(c, "4.7.5", "TLS handshake: %s", *why ? why : error == EINVAL ?
		"the certificate cannot be checked, as the host is known by its address only" : strerror(error));
}

static void begin_tls(struct client *c)
{
	const char *host = c->host[0] ? c->host : NULL, *name = c->config->alias_for ? c->config->alias_for : host;
	struct tls *t;

	c->demands = (struct tls_demands){ .pins = c->config->pins, .also = { host, c->config->domain }, .own = c->config->fingerprints,
		.trust = c->config->verify_too ? c->config->trust : NULL };
	t = c->config->tls == CLIENT_TLS_PINNED ? tls_connect_pinned(name, &c->demands) :
		tls_connect(name, c->config->tls == CLIENT_TLS_VERIFY ? c->config->trust : NULL);

	c->securing = true;
	if (!t || stream_starttls(&c->stream, t) == -1) {
		no_tls(c, errno);
		tls_free(t);
		return;
	}
	c->phase = C_TLS;
	arm(c);
}

static void starttls_taken(struct client *c, const struct reply *r)
{
	(void)r;
	begin_tls(c);
}

/* RFC 3207 4.2: what the peer has announced in clear is forgotten (by say_hello), and asked for again. */
static void secured(struct client *c)
{
	snprintf(c->tls, sizeof c->tls, "%s:%s", tls_version(c->stream.tls), tls_cipher(c->stream.tls));
	if (c->config->tls_first) {
		c->phase = C_HELLO;
		expect(c, X_GREETING);
	} else if (stream_peek(&c->stream).n)
		bad_reply(c, "the peer speaks out of turn behind the TLS handshake: \"", stream_peek(&c->stream));
	else
		say_hello(c, X_EHLO);
}

static void starttls_refused(struct client *c, const struct reply *r) { end_by_reply(c, steps[X_STARTTLS].name, r); }
static void greeting_refused(struct client *c, const struct reply *r) { end_by_reply(c, steps[X_GREETING].name, r); }
static void helo_refused(struct client *c, const struct reply *r) { end_by_reply(c, steps[X_HELO].name, r); }
static void lhlo_refused(struct client *c, const struct reply *r) { end_by_reply(c, steps[X_LHLO].name, r); }

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

static bool mail_max_reached(const struct client *c) { return c->can.mail_max && c->transactions >= c->can.mail_max; }

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
		reply_set(&c->job_why, 0, "4.4.5", "the peer takes %u messages on a connection", c->can.mail_max);
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
	arm(c);
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

static void say_rcpt(struct client *c, size_t i)
{
	struct recipient to = *c->job->to[i];
	struct buf line = { 0 };

	if (!(c->can.set & CAP_DSN)) {
		to.notify = 0;
		to.orcpt = STR("");
	}
	print_rcpt(&line, &to);
	c->fate[i] = F_OFFERED;
	say_built(c, X_RCPT, &line);
}

/* RFC 3030 2. In LMTP nobody could say how many replies come before RCPT is answered. */
static bool by_chunk(const struct client *c) { return (c->can.set & CAP_CHUNKING) && !c->config->lmtp; }

/* Behind it all is clean, and not when it is answered: by then the next MAIL may have been said. */
static void say_reset(struct client *c)
{
	c->dirty = false;
	say(c, X_RSET, STR("RSET"));
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
			say_chunk(c);
		else
			say(c, X_DATA, STR("DATA"));
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

static void reset_refused(struct client *c, const struct reply *r) { end_by_reply(c, steps[X_RSET].name, r); }

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

static void rcpt_refused(struct client *c, const struct reply *r)
{
	size_t i = c->batch[c->heard++];

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

static void end_data(struct client *c, enum expect what, size_t replies)
{
	c->phase = C_DOT;
	c->dot_leaving = true;
	while (alive(c) && replies-- > 0)
		expect(c, what);
}

static void begin_body(struct client *c)
{
	c->phase = C_BODY;
	c->dot = (struct dot){ 0 };
	c->at = c->job->at;
	c->left = c->job->size;
	send_block(c);
}

/* Octets of the message that is being sent, to be used at once. */
static char block[BLOCK];

/* False: it is over, as our copy cannot be read. */
static bool read_block(struct client *c, off_t at, size_t n)
{
	ssize_t got = n ? file_pread(c->job->fd, block, n, at) : 0;

	if (got >= 0 && (size_t)got == n)
		return true;
	unreadable(c, got);
	return false;
}

/* The queue's messages end with a line end, unless a program has dropped one that does not: DATA adds it, so a chunk has to, too. A
 * message that is one block is read for this as a whole. */
static bool ends_in_line(struct client *c)
{
	size_t size = (size_t)c->job->size, n = size <= BLOCK ? size : 2;

	if (!read_block(c, c->job->at + c->job->size - (off_t)n, n))
		return false;
	return n >= 2 && block[n - 2] == '\r' && block[n - 1] == '\n';
}

/* The whole message as one chunk. A short one leaves in one flight with its envelope: one round trip a message. */
static void say_chunk(struct client *c)
{
	struct buf line = { 0 };

	c->phase = C_BODY;
	c->chunk = true;
	c->unended = !ends_in_line(c);
	if (!alive(c))
		return;
	buf_printf(&line, "BDAT %lld LAST\r\n", (long long)c->job->size + (c->unended ? 2 : 0));
	log_line(c, "sent", (struct str){ line.p, line.n - 2 });
	put(c, line.p, line.n);
	buf_free(&line);
	if (alive(c))
		begin_body(c);
}

static void data_taken(struct client *c, const struct reply *r)
{
	(void)r;
	if (c->accepted && !c->mail_refused) {
		c->chunk = false;
		begin_body(c);
		return;
	}
	/* RFC 2920 3.1: nobody is to get it, so a lone dot. But to a peer that has recipients all the same that would be an
	 * empty message, and in LMTP nobody knows how many replies will come (RFC 2033 4.2: it must be refused). */
	if (c->accepted || c->config->lmtp) {
		fail(c, "4.5.0", "DATA: accepted although nothing before it was");
		return;
	}
	log_line(c, "sent", STR("."));
	put(c, ".\r\n", 3);
	if (alive(c))
		end_data(c, X_LONE_DOT, 1);
}

static void data_refused(struct client *c, const struct reply *r)
{
	settle_accepted(c, r);
}

/* A message that cannot be read to its end must never get its final dot: what is missing would be lost unseen. */
static void unreadable(struct client *c, ssize_t got)
{
	c->job->unreadable = true;
	fail(c, "4.3.0", "our copy of the message cannot be read: %s", got < 0 ? strerror(errno) : "it ends too early");
}

/* What comes behind a block: the next one, when there is room, or the replies. */
static void block_sent(struct client *c)
{
	if (c->left == 0) {
		log_line(c, "sent", c->chunk ? STR("(message)") : STR("(message and final dot)"));
		c->dirty = false;       /* until a final reply says no */
		end_data(c, c->chunk ? X_BDAT : X_DOT, c->config->lmtp ? c->accepted : 1);
		return;
	}
	arm(c);
	if (!stream_full(&c->stream))
		stream_again(&c->stream);
}

/* A large chunk needs not pass through here. What is shorter than a block leaves together with its envelope. */
static bool send_piece(struct client *c)
{
	size_t n = c->left < PIECE ? (size_t)c->left : PIECE;

	if (!c->chunk || c->unended || c->job->size <= BLOCK || !stream_send_file(&c->stream, c->job->fd, c->at, n))
		return false;
	c->at += (off_t)n;
	c->left -= (off_t)n;
	block_sent(c);
	return true;
}

static void send_block(struct client *c)
{
	static struct buf wire;
	size_t n = c->left < BLOCK ? (size_t)c->left : BLOCK;
	bool at_hand = c->chunk && c->job->size <= BLOCK;       /* since ends_in_line() */

	if (send_piece(c) || (!at_hand && !read_block(c, c->at, n)))
		return;
	c->at += (off_t)n;
	c->left -= (off_t)n;
	buf_clear(&wire);
	if (c->chunk)
		buf_add(&wire, block, n);
	else
		dot_add(&c->dot, block, n, &wire);
	if (c->left == 0 && !c->chunk)
		dot_end(&c->dot, &wire);
	else if (c->left == 0 && c->unended)
		buf_puts(&wire, "\r\n");
	if (wire.bad) {
		fail(c, "4.3.0", "no memory left");
		return;
	}
	put(c, wire.p, wire.n);
	if (alive(c))
		block_sent(c);
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
		end_by_reply(c, steps[X_DOT].name, r);
}

/* RFC 3030 2: a chunk that nobody is to get is refused as well. A peer that does not know BDAT has taken the message for commands:
 * nothing it says from here on has a meaning. */
static void chunk_refused(struct client *c, const struct reply *r)
{
	if (!c->accepted || c->mail_refused) {
		c->dirty = true;
		if (r->code == 421)
			end_by_reply(c, steps[X_BDAT].name, r);
		return;
	}
	if (r->code == 500 || r->code == 502 || r->code == 503 || r->code == 504) {
		c->lame |= CLIENT_LAME_CHUNKING;
		end_by_reply(c, "BDAT, which was announced", r);
		return;
	}
	final_refused(c, r);
}

/* Taken although nobody was to get it: what the peer has done with it nobody knows. */
static void chunk_taken(struct client *c, const struct reply *r)
{
	if (!c->accepted || c->mail_refused)
		fail(c, "4.5.0", "BDAT: accepted although nothing before it was");
	else
		final_reply(c, r);
}

static void discard(struct client *c, const struct reply *r)
{
	if (r->code == 421)
		end_by_reply(c, steps[X_LONE_DOT].name, r);
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
	[X_AUTH] = { "AUTH", 300, 235, 334, false, login_taken, login_refused },
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

/* ---- a proxy */

/* Connected: the peer greets, or TLS comes first. */
static void begin_talk(struct client *c)
{
	if (c->config->tls_first) {
		begin_tls(c);
		return;
	}
	c->phase = C_HELLO;
	expect(c, X_GREETING);
}

static void proxy_fails(struct client *c, const char *why)
{
	c->proxy_failed = true;
	fail(c, "4.4.1", "connect to %s through the proxy %s: %s", c->peer, c->config->proxy->name, why);
}

static void ask_proxy(struct client *c)
{
	struct buf say = { .max = 1024 };
	size_t used;

	while ((used = socks_take(&c->socks, stream_peek(&c->stream), &say)))
		stream_take(&c->stream, used);
	put(c, say.p, say.n);
	if (say.p)
		explicit_bzero(say.p, say.room);
	buf_free(&say);
	if (!alive(c))
		return;
	switch (c->socks.state) {
	case SOCKS_METHOD: case SOCKS_LOGIN: case SOCKS_ANSWER:
		break;
	case SOCKS_OPEN:
		begin_talk(c);
		break;
	case SOCKS_REFUSED:
		fail(c, "4.4.1", "connect to %s through the proxy %s: %s", c->peer, c->config->proxy->name, c->socks.why);
		break;
	case SOCKS_BROKEN:
		proxy_fails(c, c->socks.why);
		break;
	}
}

/* ---- replies */

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
	fail(c, "4.7.5", "TLS handshake failed: %s", cause);
}

static void lost(struct client *c)
{
	const char *cause = c->stream.error ? stream_error(&c->stream) : "closed by the peer";

	c->hung_up = true;
	if (c->stream.error == ENODATA)
		unreadable(c, 0);
	else if (c->phase == C_PROXY && c->socks.state == SOCKS_ANSWER)  /* some say no so */
		fail(c, "4.4.1", "connect to %s through the proxy %s: %s", c->peer, c->config->proxy->name, cause);
	else if (c->phase == C_PROXY)
		proxy_fails(c, cause);
	else if (c->phase == C_TLS)
		handshake_failed(c, cause);
	else if (c->phase == C_BODY || (c->dot_leaving && !*doubt(c)))
		fail(c, "4.4.2", "connection lost in the middle of the message (%s)", cause);
	else if (!awaiting(c))
		fail(c, "4.4.2", "connection lost while idle (%s)", cause);
	else if (oldest(c) == X_GREETING)
		fail(c, "4.4.2", "greeting: connection lost (%s)", cause);
	else
		fail(c, "4.4.2", "connection lost after %s (%s)%s", steps[oldest(c)].name, cause, doubt(c));
}

static void expired(struct timer *t)
{
	struct client *c = owner_of(t, struct client, timer);
	unsigned s = seconds(c);

	if (c->phase == C_CONNECT && c->config->proxy)
		proxy_fails(c, "it cannot be reached: timed out");
	else if (c->phase == C_CONNECT)
		fail(c, "4.4.1", "connect to %s timed out after %u s", c->peer, s);
	else if (c->phase == C_PROXY && c->socks.state == SOCKS_ANSWER)         /* it may be waiting for the peer */
		fail(c, "4.4.1", "connect to %s through the proxy %s timed out after %u s", c->peer, c->config->proxy->name, s);
	else if (c->phase == C_PROXY)
		proxy_fails(c, "it does not answer");
	else if (c->phase == C_TLS)
		fail(c, "4.7.5", "TLS handshake timed out after %u s", s);
	else if (c->phase == C_BODY || c->dot_leaving)
		fail(c, "4.4.2", "the peer did not take the message: a block took more than %u s", s);
	else if (oldest(c) == X_GREETING)
		fail(c, "4.4.2", "greeting: timed out after %u s", s);
	else
		fail(c, "4.4.2", "no reply to %s within %u s%s", steps[oldest(c)].name, s, doubt(c));
}

/* The conversation is out of step: nothing said from here on can be believed. */
static void bad_reply(struct client *c, const char *what, struct str text)
{
	if (text.n > 80)
		text.n = 80;
	fail(c, "4.5.0", "%s%s" STR_FMT "%s%s", awaiting(c) ? steps[oldest(c)].name : "protocol error",
		what, STR_ARG(text), text.n ? "\"" : "", doubt(c));
}

/* A reply to nothing. 421 may come at any time (RFC 5321 3.8). */
static void unasked(struct client *c, const struct reply *r)
{
	const char *when = c->phase == C_BODY || c->phase == C_DOT ? "reply before the end of the message" : "unasked reply";

	if (r->code == 421)
		end_by_reply(c, when, r);
	else
		fail(c, "4.5.0", "%s: %d %s%s%s", when, r->code, r->enhanced, r->enhanced[0] ? " " : "", r->text);
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
	if (r->code == 421 && !step->ends_data) {
		end_by_reply(c, step->name, r);
		return;
	}
	yes = r->code >= step->low && r->code <= step->high;
	if (!yes && r->code < 400) {
		fail(c, "4.5.0", "%s: a reply without meaning here: %d %s%s", step->name, r->code, r->text, doubt(c));
		return;
	}
	c->answered++;
	/* Octets behind the last reply we wait for answer a question not asked yet. A final reply is believed, since the
	 * message is with the peer; after any other we must not go on. */
	chatter = !awaiting(c) && stream_peek(&c->stream).n > 0;
	if (chatter && !step->ends_data) {
		fail(c, "4.5.0", "%s: more than one reply", step->name);
		return;
	}
	arm(c);
	(yes ? step->yes : step->no)(c, r);
	if (chatter && alive(c))
		fail(c, "4.5.0", "%s: more than one reply", step->name);
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
		bad_reply(c, ": a reply line of more than 4096 octets", STR(""));
		return true;
	case LINE_BARE:
	case LINE_OK:
		break;
	}
	log_line(c, "received", line);
	if (!parse_reply_line(line, &code, &last, &text))
		bad_reply(c, ": not a reply: \"", line);
	else if (c->code && c->code != code)
		bad_reply(c, ": the code changes inside a reply: \"", line);
	else if (++c->lines > REPLY_LINES)
		bad_reply(c, ": a reply of more than 100 lines", STR(""));
	else {
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
		send_block(c);
}

static void on_event(struct stream *s)
{
	struct client *c = owner_of(s, struct client, stream);
	int budget = LINES_A_TURN;

	if (c->dot_leaving && !s->error && stream_drained(s)) {
		c->dot_leaving = false;
		arm(c);
	}
	if (c->phase == C_PROXY)
		ask_proxy(c);
	if (c->phase == C_PROXY && !s->error && !s->eof)
		return;
	if (c->phase == C_TLS && s->secure)
		secured(c);
	while (alive(c) && budget > 0 && take_line(c))
		budget--;
	if (!alive(c))
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

/* ---- connecting */

static void begin_proxy(struct client *c)
{
	struct sockaddr_storage to = c->socks.to;
	struct buf say = { .max = 1024 };

	c->phase = C_PROXY;
	socks_begin(&c->socks, c->config->proxy, (const struct sockaddr *)&to, &say);
	put(c, say.p, say.n);
	buf_free(&say);
	if (alive(c))
		arm(c);
}

static void cannot_connect(struct client *c, int error)
{
	char why[200];

	snprintf(why, sizeof why, "it cannot be reached: %s", strerror(error));
	if (c->config->proxy)
		proxy_fails(c, why);
	else
		fail(c, "4.4.1", "connect to %s: %s", c->peer, strerror(error));
}

static void connected(struct client *c)
{
	int fd = c->dial.fd, on = 1;

	io_forget(&c->dial);
	/* Whole commands and blocks are written at once: waiting for more to send only costs time. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	if (stream_open(&c->stream, fd, fd, on_event) == -1) {
		fail(c, "4.3.0", "connect to %s: %s", c->peer, strerror(errno));
		return;
	}
	c->dial.fd = -1;
	if (c->config->proxy)
		begin_proxy(c);
	else
		begin_talk(c);
}

static void dialled(struct io *io, short revents)
{
	struct client *c = owner_of(io, struct client, dial);
	socklen_t n = sizeof(int);
	int error = 0;

	(void)revents;
	if (getsockopt(io->fd, SOL_SOCKET, SO_ERROR, &error, &n) == -1)
		error = errno;
	if (error)
		cannot_connect(c, error);
	else
		connected(c);
}

/* RFC 6066 3: a name in DNS, no address. */
static void name_host(struct client *c, const char *host)
{
	unsigned char address[16];

	if (!parse_domain(str_of(host), false, false) && inet_pton(AF_INET, host, address) != 1 && inet_pton(AF_INET6, host, address) != 1)
		str_copy(c->host, sizeof c->host, str_of(host));
}

static void name_peer(struct client *c, const struct sockaddr *addr, const char *host)
{
	char text[INET6_ADDRSTRLEN] = "?";
	unsigned port = 0;

	if (addr->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const void *)addr;
		inet_ntop(AF_INET, &in->sin_addr, text, sizeof text);
		port = ntohs(in->sin_port);
	} else if (addr->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const void *)addr;
		inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof text);
		port = ntohs(in6->sin6_port);
	} else {
		snprintf(c->peer, sizeof c->peer, "%s", host);
		return;
	}
	snprintf(c->peer, sizeof c->peer, "%.255s[%s]:%u", host, text, port);
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

/* False: errno. An address that this host has not (any more) is the administrator's mistake: nothing goes from another one. */
static bool bind_source(struct client *c, sa_family_t family)
{
	const struct sockaddr_storage *from = c->config->source;

	for (size_t i = 0; from && i < 2; i++)
		if (from[i].ss_family == family)
			return bind(c->dial.fd, (const struct sockaddr *)&from[i],
				family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6)) == 0;
	return true;
}

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
	c->task.run = tell;
	c->timer.expired = expired;
	c->dial = (struct io){ .fd = -1, .ready = dialled };
	name_peer(c, addr, host_name ? host_name : "");
	name_host(c, host_name ? host_name : "");
	memcpy(&c->socks.to, addr, len);
	if (config->proxy) {
		addr = (const struct sockaddr *)&config->proxy->addr;
		len = config->proxy->len;
	}
	c->dial.fd = socket(addr->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->dial.fd == -1)
		goto failed;
	if (!config->proxy && !bind_source(c, addr->sa_family))
		goto failed;
	if (io_watch(&c->dial, POLLOUT) == -1) {
		errno = ENOMEM;
		goto failed;
	}
	arm(c);
	if (connect(c->dial.fd, addr, len) == -1 && errno != EINPROGRESS && errno != EINTR)
		cannot_connect(c, errno);
	return c;
failed:
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
unsigned client_lame(const struct client *c) { return c->lame; }
bool client_is_our_trouble(const struct reply *why) { return why->code == 0 && !strcmp(why->enhanced, "4.3.0"); }
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
		fail(c, "4.3.0", "no memory left");
		return false;
	}
	c->job = job;
	c->unsettled = job->n;
	c->most = 0;
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
		if (alive(c) && c->phase != C_QUIT)
			fail(c, "4.4.2", "given up by us");
		return;
	}
	c->phase = C_QUIT;
	say(c, X_QUIT, STR("QUIT"));
}

void client_abort(struct client *c)
{
	hang_up(c);
	c->phase = C_ABORTED;
	if (!c->telling)
		free_client(c);
}
