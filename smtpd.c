/* The SMTP server: everything from accept() to queue_commit(). A command is a row of verbs[], an extension a row of
 * keywords[]; a session is in one phase at a time, and step() says what each phase does with what has come. */
#include "smtpd.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/list.h"
#include "lib/log.h"
#include "lib/map.h"
#include "lib/stream.h"
#include "lib/tls.h"
#include "mime/transfer.h"
#include "parse.h"
#include "queue.h"

enum {
	LINE_MAX_OCTETS = 2048,         /* RFC 5321 4.5.3.1.4 asks for 512, extensions for some hundred more */
	SKIP_MAX = 1 << 20,             /* of a line that has no end: then the session ends */
	COMMANDS_A_TURN = 50,           /* then the others' turn; octets are bounded by what a stream keeps */
	ACCEPTS_A_TURN = 64,
	ACCEPT_PAUSE_MS = 1000,         /* after running out of descriptors */
	HANDSHAKE_MS = 60000,           /* from STARTTLS to the end of the TLS handshake */
	CLOSE_MS = 30000,               /* for our last words to leave */
	LINGER_MS = 2000,               /* for the peer to read them */
	LINGER_MAX = 1 << 20,           /* octets it may still send meanwhile */
	DATA_RATE = 1000,               /* octets that buy a message another second, so that an honest slow line gets there */
	EVICT_MS = 10000,               /* idle this long, a session may have to make place */
	EVICT_LOOK = 32,                /* sessions looked at for it */
	FACTS_A_RCPT = 40,              /* questions that one recipient may raise */
	ENVELOPE_MAX = 4 << 20,         /* octets: ten thousand recipients with parameters of common length */
	DISCARD_SLACK = 64 << 20        /* octets of a message too large that are read to keep the session going */
};

/* What a session may cost us without bringing a message. Each accepted message restores it. */
enum {
	PATIENCE = 10000,
	COST_ERROR = 500,               /* a command that makes no sense: 20 of them */
	COST_REFUSED = 25,              /* a recipient that is not wanted: lists have stale addresses, guessers too */
	COST_IDLE = 1                   /* what brings no mail forward: NOOP and its like */
};

enum phase {
	P_COMMAND,                      /* reads commands */
	P_ASKING,                       /* a RCPT waits for facts: input waits */
	P_DATA,                         /* reads a message */
	P_COMMIT,                       /* it is being made durable: input waits */
	P_STARTTLS,                     /* 220 is on its way out; nothing may come before it is there */
	P_HANDSHAKE,                    /* TLS has begun */
	P_CLOSING,                      /* the last reply is on its way out */
	P_LINGER,                       /* our half has ended; drops what comes until the peer has ended its own */
	P_DEAD                          /* closed; freed by its end task, or when done() has come */
};

enum seen { SEEN_HELO = 1, SEEN_MAIL = 2, SEEN_RCPT = 4 };

/* Counts the Received fields of a header that goes by in pieces. */
struct hops {
	unsigned char at;               /* octets of "received" matched in this line, or one of HOPS_ below */
	bool body;
	unsigned n;
};

/* Sessions that share an address (IPv6: a /64). */
struct guest {
	struct map_node node;
	unsigned char key[9];
	unsigned sessions;
};

/* Why a message will be refused at its end. */
struct refusal {
	int code;
	const char *enhanced, *text;
};

struct session {
	struct node node;               /* in `sessions`, the one that was quiet longest first */
	struct stream stream;
	struct timer timer;
	msec deadline;                  /* when the timer means it */
	msec quiet_since;
	struct task wake, end;
	const struct smtpd_config *config;
	struct guest *guest;
	void (*ended)(void);
	enum phase phase;
	unsigned seen;
	int patience;
	bool talked;                    /* octets have come */
	bool committing;                /* done() will come */
	bool broken;                    /* a reply could not be written */
	size_t lingered;
	struct subject who;
	struct tls *tls;                /* while 220 is on its way; from then on the stream has it */
	const char *tls_version, *cipher;       /* constants, when who.tls */

	/* One transaction: txn_reset() and nobody else puts these back. */
	struct envelope envelope;
	struct buf only_rcpt;           /* the recipient, while there is just one */
	struct buf asked;               /* arguments of the RCPT that waits */
	struct facts *facts;
	struct draft *draft;
	char id[ID_MAX];                /* of the draft, also when it is gone */
	const struct refusal *refusal;
	struct undot undot;
	struct hops hops;
	uint64_t octets;                /* of the message, without dots and our own field */
	msec data_end;
};

struct listener {
	struct listener *next;
	struct io io;
	struct timer pause;
};

static const struct smtpd_config *config;
static struct listener *listeners;
static struct list sessions;
static struct map guests;
static bool stopping;

/* ---- limits */

static unsigned rcpt_max(const struct session *s) { return s->config->rcpt_max ? s->config->rcpt_max : 10000; }
static unsigned hops_max(const struct session *s) { return s->config->hops_max ? s->config->hops_max : 100; }
static msec idle_ms(const struct session *s) { return 1000 * (msec)(s->config->idle_s ? s->config->idle_s : 300); }
static msec data_ms(const struct session *s) { return 1000 * (msec)(s->config->data_s ? s->config->data_s : 1800); }

static bool too_large(const struct session *s, uint64_t octets)
{
	return s->config->message_size && octets > s->config->message_size;
}

/* A session needs a descriptor, and one more while it sends a message; a quarter is left to the queue and to deliveries. */
static unsigned sessions_max(void)
{
	unsigned max = config->sessions_max ? config->sessions_max : 2000;
	struct rlimit r;
	rlim_t room;

	if (getrlimit(RLIMIT_NOFILE, &r) == -1 || r.rlim_cur == RLIM_INFINITY)
		return max;
	room = r.rlim_cur - r.rlim_cur / 4;
	room = room > 40 ? room - 32 : 8;
	return room < max ? (unsigned)room : max;
}

/* ---- saying */

static void reply(struct session *s, int code, const char *enhanced, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* RFC 5321 4.5.3.1.5: a reply line has at most 512 octets. What peers or rules made us say cannot break the line. */
static void reply(struct session *s, int code, const char *enhanced, const char *fmt, ...)
{
	char text[480];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	for (char *p = text; *p; p++)
		if (!ascii_print(*p))
			*p = '?';
	if (stream_printf(&s->stream, "%d %s%s%s\r\n", code, enhanced, *enhanced ? " " : "", text) == -1)
		s->broken = true;
}

static void reply_as(struct session *s, const struct reply *r)
{
	reply(s, r->code, r->enhanced, "%s", r->text);
}

static void spend(struct session *s, int cost)
{
	s->patience -= cost;
}

static void say_error(struct session *s, int code, const char *enhanced, const char *text)
{
	spend(s, COST_ERROR);
	reply(s, code, enhanced, "%s", text);
}

static struct str addr_text(const struct addr *a)
{
	if (!a->domain.n)
		return a->local;
	return (struct str){ a->local.p, (size_t)(a->domain.p + a->domain.n - a->local.p) };
}

/* RFC 3848. HELO has no word for TLS; the tls clause says it all the same. */
static const char *protocol(const struct session *s)
{
	return !s->who.esmtp ? "SMTP" : s->who.tls ? "ESMTPS" : "ESMTP";
}

static void log_refusal(struct session *s, const char *stage, struct str to, int code, const char *enhanced, const char *text)
{
	log_event(LOG_INFO, "rejected", LF(L_TEXT("id", s->id), L_TEXT("stage", stage), L_TEXT("client", s->who.peer_text),
		L_TEXT("helo", s->who.helo), L_TEXT("from", s->who.sender), L_STR("to", to), L_NUM("code", code),
		L_TEXT("status", enhanced), L_TEXT("reason", text)));
}

/* ---- time */

/* The timer is moved only when it would come too late; one that comes too early looks at the deadline and goes on. */
static void set_deadline(struct session *s, msec after)
{
	s->deadline = loop_now() + after;
	if (!timer_armed(&s->timer) || s->timer.node.key > s->deadline)
		timer_set(&s->timer, after);
}

/* Counted from the last whole command, not from the last octet: who sends one octet a second gains nothing. */
static void await_command(struct session *s)
{
	s->phase = P_COMMAND;
	set_deadline(s, idle_ms(s));
}

/* Octets that will be thrown away, since there are too many of them, buy no time. */
static void await_data(struct session *s)
{
	uint64_t bought = too_large(s, s->octets) ? s->config->message_size : s->octets;
	msec left = s->data_end + (msec)(bought * 1000 / DATA_RATE) - loop_now();

	set_deadline(s, left < idle_ms(s) ? left : idle_ms(s));
}

static void touch(struct session *s)
{
	s->quiet_since = loop_now();
	list_remove(&sessions, &s->node);
	list_push(&sessions, &s->node);
}

/* ---- transactions */

static void txn_reset(struct session *s)
{
	if (s->draft)
		draft_abort(s->draft);
	s->draft = NULL;
	s->id[0] = '\0';
	envelope_free(&s->envelope);
	buf_free(&s->only_rcpt);
	buf_free(&s->asked);
	facts_free(s->facts);
	s->facts = NULL;
	task_cancel(&s->wake);
	s->who.sender[0] = '\0';
	s->refusal = NULL;
	s->undot = (struct undot){ 0 };
	s->hops = (struct hops){ 0 };
	s->octets = 0;
	s->seen &= SEEN_HELO;
}

/* ---- ending */

static void leave_guest(struct session *s)
{
	struct guest *g = s->guest;

	s->guest = NULL;
	if (!g || --g->sessions)
		return;
	map_remove(&guests, &g->node);
	free(g);
}

static void end_session(struct task *t)
{
	struct session *s = owner_of(t, struct session, end);
	void (*ended)(void) = s->ended;

	list_remove(&sessions, &s->node);
	free(s);
	if (ended)
		ended();
}

/* At once. A commit that is still pending keeps the struct until its done(). */
static void die(struct session *s)
{
	if (s->phase == P_DEAD)
		return;
	s->phase = P_DEAD;
	log_event(LOG_DEBUG, "disconnected", LF(L_TEXT("client", s->who.peer_text)));
	timer_stop(&s->timer);
	stream_close(&s->stream);
	tls_free(s->tls);
	s->tls = NULL;
	leave_guest(s);
	if (s->committing)
		return;
	txn_reset(s);
	task_post(&s->end);
}

/* Our last words are queued: nothing is read as a command any more. */
static void close_session(struct session *s)
{
	txn_reset(s);
	s->phase = P_CLOSING;
	set_deadline(s, CLOSE_MS);
}

static void hang_up(struct session *s, const char *enhanced, const char *why)
{
	log_event(LOG_INFO, "hung-up", LF(L_TEXT("id", s->id), L_TEXT("client", s->who.peer_text), L_TEXT("helo", s->who.helo),
		L_TEXT("reason", why)));
	reply(s, 421, enhanced, "%s %s", s->config->hostname, why);
	close_session(s);
}

/* ---- HELO and EHLO */

/* Stricter than printable, laxer than the grammar: underscores and bare addresses are common among honest
 * machines, and nothing here can be mistaken for another part of a header field. */
static bool helo_ok(struct str name)
{
	if (!parse_domain(name, false, true))
		return true;
	if (!name.n || name.n > DOMAIN_MAX)
		return false;
	for (size_t i = 0; i < name.n; i++) {
		char c = name.p[i];
		if (!ascii_alpha(c) && !ascii_digit(c) && c != '-' && c != '.' && c != '_')
			return false;
	}
	return true;
}

/* A name we refuse changes nothing; one that we take begins anew (RFC 5321 4.1.4). */
static bool take_helo(struct session *s, struct str arg, bool esmtp)
{
	arg = str_trim(arg);
	if (!helo_ok(arg)) {
		say_error(s, 501, "5.5.4", "That is no domain name and no address literal");
		return false;
	}
	txn_reset(s);
	str_copy(s->who.helo, sizeof s->who.helo, arg);
	s->who.esmtp = esmtp;
	s->seen = SEEN_HELO;
	return true;
}

static void verb_helo(struct session *s, struct str arg)
{
	if (take_helo(s, arg, false))
		reply(s, 250, "", "%s", s->config->hostname);
}

/* What is announced: a keyword and the number it is followed by. The last one has no condition. */
static uint64_t size_offered(const struct session *s) { return s->config->message_size; }
static uint64_t rcpt_offered(const struct session *s) { return rcpt_max(s); }
static bool starttls_offered(const struct session *s) { return s->config->tls && !s->who.tls; }

static const struct keyword {
	const char *words;
	uint64_t (*number)(const struct session *);
	bool (*offered)(const struct session *);        /* NULL: always */
} keywords[] = {
	{ "PIPELINING", NULL, NULL },                         /* RFC 2920 */
	{ "SIZE ", size_offered, NULL },                      /* RFC 1870; 0 is no limit */
	{ "8BITMIME", NULL, NULL },                           /* RFC 6152 */
	{ "ENHANCEDSTATUSCODES", NULL, NULL },                /* RFC 2034 */
	{ "STARTTLS", NULL, starttls_offered },         /* RFC 3207 */
	{ "LIMITS RCPTMAX=", rcpt_offered, NULL },            /* RFC 9422 */
};
enum { NKEYWORDS = sizeof keywords / sizeof keywords[0] };

static void verb_ehlo(struct session *s, struct str arg)
{
	struct buf out = { 0 };

	if (!take_helo(s, arg, true))
		return;
	buf_printf(&out, "250-%s\r\n", s->config->hostname);
	for (size_t i = 0; i < NKEYWORDS; i++) {
		if (keywords[i].offered && !keywords[i].offered(s))
			continue;
		buf_printf(&out, "250%c%s", i + 1 < NKEYWORDS ? '-' : ' ', keywords[i].words);
		if (keywords[i].number)
			buf_printf(&out, "%llu", (unsigned long long)keywords[i].number(s));
		buf_puts(&out, "\r\n");
	}
	if (out.bad || stream_write(&s->stream, out.p, out.n) == -1)
		s->broken = true;
	buf_free(&out);
}

/* ---- MAIL */

/* Parameters belong to extensions, and those to EHLO. */
static unsigned params_offered(const struct session *s)
{
	return s->who.esmtp ? PARAM_SIZE | PARAM_BODY : 0;
}

static void verb_mail(struct session *s, struct str arg)
{
	struct sender from = { 0 };
	struct parse_error e = parse_mail(arg, params_offered(s), &from);
	struct reply why;

	if (e.text) {
		say_error(s, e.code, e.enhanced, e.text);
		return;
	}
	if (from.has_size && too_large(s, from.size)) {
		log_refusal(s, "MAIL", addr_text(&from.addr), 552, "5.3.4", "declared size is over the limit");
		spend(s, COST_REFUSED);
		reply(s, 552, "5.3.4", "Message is larger than %llu octets", (unsigned long long)s->config->message_size);
		return;
	}
	if (!queue_accepting(&why)) {
		log_refusal(s, "MAIL", STR(""), why.code, why.enhanced, why.text);
		reply_as(s, &why);
		return;
	}
	s->envelope.text.max = ENVELOPE_MAX;
	if (!envelope_sender(&s->envelope, &from) ||
	    !envelope_origin(&s->envelope, "%s [%s] %s", s->who.helo, s->who.peer_text, protocol(s))) {
		txn_reset(s);
		reply(s, 451, "4.3.0", "Out of memory, try again later");
		return;
	}
	str_copy(s->who.sender, sizeof s->who.sender, addr_text(&from.addr));
	s->seen |= SEEN_MAIL;
	reply(s, 250, "2.1.0", "Sender ok");
}

/* ---- RCPT */

static void refuse_rcpt(struct session *s, const struct recipient *to, const struct reply *why)
{
	log_refusal(s, "RCPT", addr_text(&to->addr), why->code, why->enhanced, why->text);
	spend(s, COST_REFUSED);
	reply_as(s, why);
}

/* Next to nothing is lost in patience: a client may not know LIMITS and offer all it has (RFC 5321 4.5.3.1.10). */
static void refuse_too_many(struct session *s)
{
	spend(s, COST_IDLE);
	reply(s, 452, "4.5.3", "Too many recipients, send the others in another transaction");
}

static void accept_rcpt(struct session *s, const struct recipient *to)
{
	size_t before = s->envelope.text.n;

	if (!envelope_rcpt(&s->envelope, to)) {
		s->envelope.text.n = before;
		s->envelope.text.bad = false;
		refuse_too_many(s);
		return;
	}
	buf_free(&s->only_rcpt);
	if (s->envelope.nrcpt == 1)
		buf_str(&s->only_rcpt, addr_text(&to->addr));
	s->seen |= SEEN_RCPT;
	reply(s, 250, "2.1.5", "Recipient ok");
}

static void end_question(struct session *s)
{
	facts_free(s->facts);
	s->facts = NULL;
	task_cancel(&s->wake);
	buf_free(&s->asked);
	if (s->phase == P_ASKING)
		await_command(s);
}

/* Runs from the top each time that facts have come. */
static void decide_rcpt(struct session *s, const struct recipient *to)
{
	struct reply why = { .code = 550, .enhanced = "5.7.1", .text = "Recipient refused" };

	switch (s->config->rcpt(s->config->arg, &s->who, s->facts, to, &why)) {
	case WAIT:
		s->phase = P_ASKING;
		return;
	case ACCEPT:
		accept_rcpt(s, to);
		break;
	case REFUSE:
		refuse_rcpt(s, to, &why);
		break;
	}
	end_question(s);
}

static void verb_rcpt(struct session *s, struct str arg)
{
	struct recipient to = { 0 };
	struct parse_error e = parse_rcpt(arg, params_offered(s), false, &to);

	if (e.text) {
		say_error(s, e.code, e.enhanced, e.text);
		return;
	}
	if (s->envelope.nrcpt >= rcpt_max(s)) {
		refuse_too_many(s);
		return;
	}
	s->facts = facts_new(&s->wake, FACTS_A_RCPT);
	if (!s->facts) {
		reply(s, 451, "4.3.0", "Out of memory, try again later");
		return;
	}
	decide_rcpt(s, &to);
	if (s->phase != P_ASKING)
		return;
	set_deadline(s, idle_ms(s));
	/* The line will be gone when the facts come. */
	if (!buf_str(&s->asked, arg)) {
		end_question(s);
		reply(s, 451, "4.3.0", "Out of memory, try again later");
	}
}

static void facts_came(struct task *t)
{
	struct session *s = owner_of(t, struct session, wake);
	struct recipient to = { 0 };
	struct parse_error e;

	if (s->phase != P_ASKING)
		return;
	e = parse_rcpt(buf_view(&s->asked), params_offered(s), false, &to);
	assert(!e.text);
	(void)e;
	decide_rcpt(s, &to);
	if (s->phase != P_ASKING)
		stream_again(&s->stream);
}

/* ---- DATA */

static const struct refusal
	refuse_size = { 552, "5.3.4", "Message is too large" },
	refuse_bare = { 554, "5.6.0", "Message holds a CR or LF that is not part of a CR LF line end" },
	refuse_nul = { 554, "5.6.0", "Message holds a NUL octet" },
	refuse_hops = { 554, "5.4.6", "Too many Received fields, the message seems to loop" },
	refuse_full = { 452, "4.3.1", "No room to store the message, try again later" },
	refuse_disk = { 451, "4.3.0", "The message could not be stored, try again later" };

static const struct refusal *disk_refusal(int error)
{
	return error == ENOSPC || error == EDQUOT ? &refuse_full : &refuse_disk;
}

/* Nothing more is stored; what still comes is read and dropped, so that the reply stands where the client expects it. */
static void refuse_data(struct session *s, const struct refusal *why)
{
	if (s->refusal)
		return;
	s->refusal = why;
	if (s->draft)
		draft_abort(s->draft);
	s->draft = NULL;
}

static void disk_failed(struct session *s, const char *step)
{
	int error = errno;

	log_event(LOG_ERROR, "disk", LF(L_TEXT("id", s->id), L_TEXT("step", step), L_TEXT("error", strerror(error))));
	refuse_data(s, disk_refusal(error));
}

/* RFC 5321 4.4. Of several recipients none is told of the others. */
static bool print_received(struct session *s, struct buf *out)
{
	char date[64];

	buf_printf(out, "Received: from %s (%s%s%s)\r\n", s->who.helo, s->who.local ? "" : "[", s->who.peer_text,
		s->who.local ? "" : "]");
	buf_printf(out, "\tby %s with %s id %s", s->config->hostname, protocol(s), s->id);
	if (s->who.tls)                         /* RFC 8314 4.3 */
		buf_printf(out, "\r\n\ttls %s (%s)", s->cipher, s->tls_version);
	if (s->envelope.nrcpt == 1 && s->only_rcpt.n)
		buf_printf(out, "\r\n\tfor <" STR_FMT ">", STR_ARG(buf_view(&s->only_rcpt)));
	return buf_printf(out, ";\r\n\t%s\r\n", clock_rfc5322(loop_wall(), date)) && !out->bad;
}

/* Begins a draft with our trace field. False: s->refusal says why not. */
static bool begin_draft(struct session *s)
{
	struct buf received = { 0 };
	bool ok = false;

	s->draft = queue_draft(&s->envelope, NULL);
	if (!s->draft) {
		disk_failed(s, "open");
		return false;
	}
	str_copy(s->id, sizeof s->id, str_of(draft_id(s->draft)));
	if (!print_received(s, &received))
		refuse_data(s, &refuse_disk);
	else if (draft_write(s->draft, received.p, received.n) == -1)
		disk_failed(s, "write");
	else
		ok = true;
	buf_free(&received);
	return ok;
}

static void verb_data(struct session *s, struct str arg)
{
	struct reply why;

	(void)arg;
	if (!queue_accepting(&why)) {
		log_refusal(s, "DATA", STR(""), why.code, why.enhanced, why.text);
		reply_as(s, &why);
		txn_reset(s);
		return;
	}
	if (!begin_draft(s)) {
		reply(s, s->refusal->code, s->refusal->enhanced, "%s", s->refusal->text);
		txn_reset(s);
		return;
	}
	reply(s, 354, "", "End data with <CR><LF>.<CR><LF>");
	s->phase = P_DATA;
	s->data_end = loop_now() + data_ms(s);
	await_data(s);
}

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

/* Checks and stores what has come of the message. */
static void take_body(struct session *s, struct str body)
{
	s->octets += body.n;
	if (s->undot.bare)
		refuse_data(s, &refuse_bare);
	if (s->undot.nul)
		refuse_data(s, &refuse_nul);
	if (too_large(s, s->octets))
		refuse_data(s, &refuse_size);
	if (s->refusal)
		return;
	count_hops(&s->hops, body);
	if (s->hops.n > hops_max(s))
		refuse_data(s, &refuse_hops);
	else if (body.n && draft_write(s->draft, body.p, body.n) == -1)
		disk_failed(s, "write");
}

static void log_received(struct session *s)
{
	char tls[80] = "";

	if (s->who.tls)
		snprintf(tls, sizeof tls, "%s:%s", s->tls_version, s->cipher);
	log_event(LOG_INFO, "received", LF(L_TEXT("id", s->id), L_TEXT("from", *s->who.sender ? s->who.sender : "<>"),
		L_STR("to", buf_view(&s->only_rcpt)), L_NUM("size", (long long)s->octets), L_NUM("nrcpt", (long long)s->envelope.nrcpt),
		L_TEXT("client", s->who.peer_text), L_TEXT("helo", s->who.helo), L_TEXT("proto", protocol(s)),
		L_TEXT("tls", tls)));
}

/* The client may be gone since; the mail is ours all the same. */
static void committed(void *arg, bool ok)
{
	struct session *s = arg;

	s->committing = false;
	if (ok)
		log_received(s);
	else
		log_refusal(s, "DATA", STR(""), refuse_disk.code, refuse_disk.enhanced, "not made durable");
	if (s->phase == P_DEAD) {
		txn_reset(s);
		task_post(&s->end);
		return;
	}
	if (ok) {
		s->patience = PATIENCE;
		reply(s, 250, "2.0.0", "Queued as %s", s->id);
	} else {
		reply(s, refuse_disk.code, refuse_disk.enhanced, "%s", refuse_disk.text);
	}
	txn_reset(s);
	await_command(s);
	stream_again(&s->stream);
}

static void end_refused(struct session *s)
{
	const struct refusal *r = s->refusal;

	log_refusal(s, "DATA", buf_view(&s->only_rcpt), r->code, r->enhanced, r->text);
	spend(s, COST_ERROR);
	reply(s, r->code, r->enhanced, "%s", r->text);
	txn_reset(s);
	await_command(s);
}

static void end_of_data(struct session *s)
{
	struct draft *draft = s->draft;

	if (s->refusal) {
		end_refused(s);
		return;
	}
	s->draft = NULL;
	s->phase = P_COMMIT;
	s->committing = true;
	queue_commit(draft, committed, s);
}

/* Takes what has come of the message. False: nothing has. */
static bool read_data(struct session *s)
{
	static struct buf body;         /* one for all: it holds nothing from one call to the next */
	struct str in = stream_peek(&s->stream);
	size_t used;

	if (!in.n)
		return false;
	buf_clear(&body);
	used = undot(&s->undot, in.p, in.n, &body);
	if (body.bad) {
		errno = ENOMEM;
		disk_failed(s, "memory");
	}
	stream_take(&s->stream, used);
	touch(s);
	take_body(s, buf_view(&body));
	await_data(s);
	if (s->undot.ended)
		end_of_data(s);
	else if (too_large(s, s->octets / 8) && s->octets > DISCARD_SLACK)
		hang_up(s, "4.7.0", "Far more data than the size limit");
	return true;
}

/* ---- STARTTLS (RFC 3207) */

static void tls_failed(struct session *s, const char *why)
{
	log_event(LOG_INFO, "tls-failed", LF(L_TEXT("client", s->who.peer_text), L_TEXT("helo", s->who.helo), L_TEXT("reason", why)));
}

/* What somebody put behind STARTTLS in clear must not be taken for the client's words inside TLS. */
static void refuse_injection(struct session *s)
{
	hang_up(s, "4.7.0", "Nothing may follow STARTTLS before its reply");
}

static void verb_starttls(struct session *s, struct str arg)
{
	(void)arg;
	if (s->who.tls) {
		say_error(s, 503, "5.5.1", "TLS is active already");
	} else if (!s->config->tls) {
		say_error(s, 502, "5.5.1", "TLS is not offered here");
	} else if (stream_peek(&s->stream).n) {
		refuse_injection(s);
	} else if (!(s->tls = tls_accept(s->config->tls))) {
		tls_failed(s, errno == ENOENT ? "no certificate can be used" : strerror(errno));
		reply(s, 454, "4.7.0", "TLS is not available now");
	} else {
		reply(s, 220, "2.0.0", "Ready to start TLS");
		stream_flush(&s->stream);
		s->phase = P_STARTTLS;
		set_deadline(s, HANDSHAKE_MS);
	}
}

static bool begin_tls(struct session *s)
{
	if (!stream_drained(&s->stream))
		return false;
	if (stream_starttls(&s->stream, s->tls) == -1) {
		if (errno == EPROTO)
			refuse_injection(s);
		else
			close_session(s);
		return true;
	}
	s->tls = NULL;
	s->phase = P_HANDSHAKE;
	return false;
}

/* RFC 3207 4.2: everything the client has said is forgotten, its name too. */
static bool await_tls(struct session *s)
{
	if (!s->stream.secure)
		return false;
	txn_reset(s);
	s->seen = 0;
	s->who.helo[0] = '\0';
	s->who.esmtp = false;
	s->who.tls = true;
	s->tls_version = tls_version(s->stream.tls);
	s->cipher = tls_cipher(s->stream.tls);
	log_event(LOG_DEBUG, "tls", LF(L_TEXT("client", s->who.peer_text), L_TEXT("version", s->tls_version),
		L_TEXT("cipher", s->cipher), L_TEXT("resumed", tls_resumed(s->stream.tls) ? "yes" : "no")));
	touch(s);
	await_command(s);
	return true;
}

/* ---- the other verbs */

static void verb_rset(struct session *s, struct str arg)
{
	(void)arg;
	txn_reset(s);
	reply(s, 250, "2.0.0", "Ok");
}

static void verb_noop(struct session *s, struct str arg)
{
	(void)arg;
	reply(s, 250, "2.0.0", "Ok");
}

/* RFC 5321 3.5.3 and 7.3: who exists is told to nobody, and 252 is the honest way to say so. */
static void verb_vrfy(struct session *s, struct str arg)
{
	(void)arg;
	reply(s, 252, "2.0.0", "Not verified here; mail for the address is taken or refused at RCPT");
}

static void verb_help(struct session *s, struct str arg)
{
	(void)arg;
	reply(s, 214, "2.0.0", "See RFC 5321; mail to postmaster reaches a human");
}

static void verb_quit(struct session *s, struct str arg)
{
	(void)arg;
	reply(s, 221, "2.0.0", "%s closing", s->config->hostname);
	close_session(s);
}

/* A browser that was made to talk to us must not get as far as what it was told to send. */
static void verb_http(struct session *s, struct str arg)
{
	(void)arg;
	hang_up(s, "4.7.0", "This is not a web server");
}

/* ---- commands */

enum { ARG_NONE, ARG_MAY, ARG_MUST };

static const struct verb {
	const char *name;
	unsigned needs;                 /* SEEN_ bits */
	unsigned forbids;
	int arg;
	int cost;                       /* of patience, when it is well-formed */
	void (*run)(struct session *, struct str arg);
} verbs[] = {
	{ "HELO", 0, 0, ARG_MUST, COST_IDLE, verb_helo },
	{ "EHLO", 0, 0, ARG_MUST, COST_IDLE, verb_ehlo },
	{ "MAIL", SEEN_HELO, SEEN_MAIL, ARG_MUST, COST_IDLE, verb_mail },
	{ "RCPT", SEEN_HELO | SEEN_MAIL, 0, ARG_MUST, 0, verb_rcpt },
	{ "DATA", SEEN_HELO | SEEN_MAIL | SEEN_RCPT, 0, ARG_NONE, 0, verb_data },
	{ "STARTTLS", SEEN_HELO, SEEN_MAIL, ARG_NONE, COST_IDLE, verb_starttls },
	{ "RSET", 0, 0, ARG_NONE, COST_IDLE, verb_rset },
	{ "NOOP", 0, 0, ARG_MAY, COST_IDLE, verb_noop },
	{ "QUIT", 0, 0, ARG_NONE, 0, verb_quit },
	{ "VRFY", 0, 0, ARG_MUST, COST_IDLE, verb_vrfy },
	{ "EXPN", 0, 0, ARG_MUST, COST_IDLE, verb_vrfy },
	{ "HELP", 0, 0, ARG_MAY, COST_IDLE, verb_help },
	{ "GET", 0, 0, ARG_MAY, 0, verb_http },
	{ "POST", 0, 0, ARG_MAY, 0, verb_http },
	{ "PUT", 0, 0, ARG_MAY, 0, verb_http },
	{ "HEAD", 0, 0, ARG_MAY, 0, verb_http },
	{ "OPTIONS", 0, 0, ARG_MAY, 0, verb_http },
	{ "CONNECT", 0, 0, ARG_MAY, 0, verb_http },
	{ "DELETE", 0, 0, ARG_MAY, 0, verb_http },
	{ "PATCH", 0, 0, ARG_MAY, 0, verb_http },
	{ "TRACE", 0, 0, ARG_MAY, 0, verb_http },
	{ "PRI", 0, 0, ARG_MAY, 0, verb_http },            /* how HTTP/2 begins (RFC 9113 3.4) */
};

static const struct verb *find_verb(struct str name)
{
	for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
		if (str_eq_nocase(name, str_of(verbs[i].name)))
			return &verbs[i];
	return NULL;
}

/* RFC 5321 4.1.4 and 3.3: what must have come before, said in the order it must come. */
static const char *out_of_order(const struct session *s, const struct verb *v)
{
	unsigned missing = v->needs & ~s->seen;

	if (missing & SEEN_HELO)
		return "Say HELO or EHLO first";
	if (missing & SEEN_MAIL)
		return "Send MAIL first";
	if (missing & SEEN_RCPT)
		return "No valid recipients";
	if (v->forbids & s->seen)
		return "A transaction is open already";
	return NULL;
}

static bool holds_control(struct str line)
{
	for (size_t i = 0; i < line.n; i++)
		if ((unsigned char)line.p[i] < 0x20 || line.p[i] == 0x7f)
			return true;
	return false;
}

/* RFC 5321 4.1.1: white space before the line end is tolerated, elsewhere it is one SP. */
static struct str trim_end(struct str line)
{
	while (line.n && (line.p[line.n - 1] == ' ' || line.p[line.n - 1] == '\t'))
		line.n--;
	return line;
}

static const char *wrong_argument(const struct verb *v, struct str arg)
{
	if (v->arg == ARG_NONE && arg.n)
		return "No argument is allowed here";
	if (v->arg == ARG_MUST && !arg.n)
		return "An argument is missing";
	return NULL;
}

static void run_command(struct session *s, struct str line)
{
	struct str name, arg = trim_end(line);
	const struct verb *v;
	const char *wrong;

	if (holds_control(arg)) {
		say_error(s, 500, "5.5.2", "Control characters are not allowed");
		return;
	}
	if (!str_cut(&arg, ' ', &name)) {
		name = arg;
		arg = STR("");
	}
	v = find_verb(name);
	if (!v) {
		say_error(s, 500, "5.5.1", "Command not recognized");
	} else if ((wrong = out_of_order(s, v))) {
		say_error(s, 503, "5.5.1", wrong);
	} else if ((wrong = wrong_argument(v, arg))) {
		say_error(s, 501, "5.5.4", wrong);
	} else {
		spend(s, v->cost);
		v->run(s, arg);
	}
}

/* Reasons to read no further, with 421 as the reply. */
static const char *lost_patience(struct session *s, const char **enhanced)
{
	struct str in = stream_peek(&s->stream);
	bool first = in.n && !s->talked;

	s->talked |= in.n > 0;
	*enhanced = "4.3.2";
	if (stopping && (!(s->seen & SEEN_MAIL) || stream_has_line(&s->stream)))
		return "Service is shutting down";
	*enhanced = "4.7.0";
	if (s->stream.skipped > SKIP_MAX)
		return "A line without end";
	/* No command begins like this, but a TLS hello does, and other protocols. */
	if (first && !ascii_print(in.p[0]) && in.p[0] != '\r' && in.p[0] != '\n')
		return "This is not SMTP";
	if (s->patience <= 0 && stream_has_line(&s->stream))
		return "Too many errors or commands without a message";
	return NULL;
}

/* One command. False: none has come, or the client must read its replies first. */
static bool read_command(struct session *s)
{
	struct str line;
	const char *enhanced, *why;

	if (stream_full(&s->stream))
		return false;
	why = lost_patience(s, &enhanced);
	if (why) {
		hang_up(s, enhanced, why);
		return true;
	}
	switch (stream_line(&s->stream, LINE_MAX_OCTETS, &line)) {
	case LINE_NONE:
		return false;
	case LINE_LONG:
		say_error(s, 500, "5.5.2", "Line too long");
		break;
	case LINE_BARE:                 /* RFC 5321 2.3.8: only CR LF ends a line */
		say_error(s, 500, "5.5.2", "Lines end in CR LF and nothing else");
		break;
	case LINE_OK:
		run_command(s, line);
		break;
	}
	touch(s);
	if (s->phase == P_COMMAND)
		set_deadline(s, idle_ms(s));
	return true;
}

/* ---- the session's turn */

/* RFC 1122 4.2.2.13: closing with unread input resets the connection, and the reset may overtake our last reply. */
static bool close_gently(struct session *s)
{
	if (!stream_drained(&s->stream))
		return false;
	stream_shutdown(&s->stream);
	s->phase = P_LINGER;
	set_deadline(s, LINGER_MS);
	return true;
}

static bool linger(struct session *s)
{
	size_t n = stream_peek(&s->stream).n;

	stream_take(&s->stream, n);
	s->lingered += n;
	if (s->stream.eof || s->lingered > LINGER_MAX)
		die(s);
	return false;
}

/* True: something was done, there may be more. */
static bool step(struct session *s)
{
	switch (s->phase) {
	case P_COMMAND: return read_command(s);
	case P_DATA: return read_data(s);
	case P_STARTTLS: return begin_tls(s);
	case P_HANDSHAKE: return await_tls(s);
	case P_CLOSING: return close_gently(s);
	case P_LINGER: return linger(s);
	case P_ASKING:
	case P_COMMIT:
	case P_DEAD: break;
	}
	return false;
}

static bool input_awaited(const struct session *s)
{
	return s->phase == P_COMMAND || s->phase == P_DATA || s->phase == P_STARTTLS;
}

/* The peer went without QUIT; worth a line when it had mail for us. */
static void log_lost(struct session *s)
{
	if (s->phase == P_HANDSHAKE)
		tls_failed(s, stream_error(&s->stream));
	else if (s->seen & SEEN_MAIL && !s->committing)
		log_event(LOG_INFO, "lost", LF(L_TEXT("id", s->id), L_TEXT("client", s->who.peer_text), L_TEXT("helo", s->who.helo),
			L_TEXT("from", s->who.sender), L_TEXT("during", s->phase == P_DATA ? "DATA" : "envelope"),
			L_TEXT("error", s->stream.error ? stream_error(&s->stream) : "")));
}

static void work(struct session *s)
{
	unsigned budget = COMMANDS_A_TURN;
	bool more = true;

	while (more && budget-- && !s->broken && !s->stream.error)
		more = step(s);
	if (s->phase == P_DEAD)
		return;
	if (s->broken || s->stream.error) {
		log_lost(s);
		die(s);
	} else if (more) {
		stream_again(&s->stream);
	} else if (s->stream.eof && input_awaited(s) && !stream_full(&s->stream)) {
		log_lost(s);
		close_session(s);               /* what is queued still leaves: the peer may have ended just its own half */
		stream_again(&s->stream);
	}
}

static void on_event(struct stream *st) { work(owner_of(st, struct session, stream)); }

static void time_is_up(struct session *s)
{
	switch (s->phase) {
	case P_COMMAND:
	case P_DATA:
		hang_up(s, "4.4.2", s->phase == P_DATA ? "Timeout while receiving a message" : "Timeout while waiting for a command");
		stream_again(&s->stream);
		break;
	case P_ASKING:
		log_refusal(s, "RCPT", buf_view(&s->asked), 451, "4.4.3", "no facts in time");
		reply(s, 451, "4.4.3", "The recipient could not be checked in time, try again later");
		end_question(s);
		stream_again(&s->stream);
		break;
	case P_STARTTLS:
	case P_HANDSHAKE:
		tls_failed(s, "the handshake took too long");
		die(s);
		break;
	case P_CLOSING:
	case P_LINGER:
		die(s);
		break;
	case P_COMMIT:                  /* the queue has its own deadline */
	case P_DEAD:
		break;
	}
}

static void timer_expired(struct timer *t)
{
	struct session *s = owner_of(t, struct session, timer);
	msec left = s->deadline - loop_now();

	if (left > 0)
		timer_set(t, left);
	else
		time_is_up(s);
}

/* ---- beginning */

static void unmap(struct sockaddr_storage *a)
{
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)a;
	struct sockaddr_in four = { .sin_family = AF_INET };

	if (a->ss_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&six->sin6_addr))
		return;
	four.sin_port = six->sin6_port;
	memcpy(&four.sin_addr, six->sin6_addr.s6_addr + 12, 4);
	memset(a, 0, sizeof *a);
	memcpy(a, &four, sizeof four);
}

static void describe_peer(struct subject *who, const struct sockaddr_storage *peer)
{
	char text[INET6_ADDRSTRLEN];

	who->peer = *peer;
	unmap(&who->peer);
	switch (who->peer.ss_family) {
	case AF_INET:
		inet_ntop(AF_INET, &((struct sockaddr_in *)&who->peer)->sin_addr, text, sizeof text);
		snprintf(who->peer_text, sizeof who->peer_text, "%s", text);
		break;
	case AF_INET6:
		inet_ntop(AF_INET6, &((struct sockaddr_in6 *)&who->peer)->sin6_addr, text, sizeof text);
		snprintf(who->peer_text, sizeof who->peer_text, "IPv6:%s", text);
		break;
	default:
		memset(&who->peer, 0, sizeof who->peer);
		who->peer.ss_family = AF_UNSPEC;
		str_copy(who->peer_text, sizeof who->peer_text, STR("local"));
		who->local = true;
		break;
	}
}

static struct session *open_session(int in, int out, const struct sockaddr_storage *peer)
{
	struct session *s = calloc(1, sizeof *s);

	assert(config && config->rcpt);
	if (!s)
		return NULL;
	if (stream_open(&s->stream, in, out, on_event) == -1) {
		free(s);
		return NULL;
	}
	if (!sessions.head.next)
		list_init(&sessions);
	s->config = config;
	s->patience = PATIENCE;
	s->timer.expired = timer_expired;
	s->wake.run = facts_came;
	s->end.run = end_session;
	describe_peer(&s->who, peer);
	s->quiet_since = loop_now();
	list_push(&sessions, &s->node);
	log_event(LOG_DEBUG, "connected", LF(L_TEXT("client", s->who.peer_text)));
	reply(s, 220, "", "%s ESMTP fardel", s->config->hostname);
	await_command(s);
	return s;
}

static bool is_internet(int fd)
{
	struct sockaddr_storage own = { 0 };
	socklen_t n = sizeof own;

	return getsockname(fd, (struct sockaddr *)&own, &n) == 0 && (own.ss_family == AF_INET || own.ss_family == AF_INET6);
}

int smtpd_session(int in, int out, void (*ended)(void))
{
	struct sockaddr_storage peer = { 0 };
	socklen_t n = sizeof peer;
	struct session *s;

	if (getpeername(in, (struct sockaddr *)&peer, &n) == -1 || n < sizeof peer.ss_family) {
		if (is_internet(in)) {          /* it has gone already: nobody to be trusted as a local program */
			errno = ENOTCONN;
			return -1;
		}
		peer.ss_family = AF_UNSPEC;
	}
	s = open_session(in, out, &peer);
	if (!s)
		return -1;
	s->ended = ended;
	if (stopping)
		stream_again(&s->stream);
	return 0;
}

/* ---- accepting */

/* IPv6 hosts own a /64 and more: counting single addresses would count nothing. Empty: not counted. */
static struct str guest_key(const struct sockaddr_storage *peer, unsigned char key[9])
{
	struct sockaddr_storage a = *peer;

	unmap(&a);
	if (a.ss_family == AF_INET) {
		struct in_addr four = ((struct sockaddr_in *)&a)->sin_addr;

		if (ntohl(four.s_addr) >> 24 == 127)
			return STR("");
		key[0] = 4;
		memcpy(key + 1, &four, 4);
		return (struct str){ (char *)key, 5 };
	}
	if (a.ss_family == AF_INET6) {
		struct in6_addr *six = &((struct sockaddr_in6 *)&a)->sin6_addr;

		if (IN6_IS_ADDR_LOOPBACK(six))
			return STR("");
		key[0] = 6;
		memcpy(key + 1, six, 8);
		return (struct str){ (char *)key, 9 };
	}
	return STR("");
}

/* False: too many sessions from there already. *out is NULL for one that is not counted. */
static bool count_guest(const struct sockaddr_storage *peer, struct guest **out)
{
	unsigned char key[9];
	struct str k = guest_key(peer, key);
	struct map_node *have;
	struct guest *g;

	*out = NULL;
	if (!config->sessions_per_address || !k.n)
		return true;
	have = map_get(&guests, k);
	if (have) {
		g = owner_of(have, struct guest, node);
		if (g->sessions >= config->sessions_per_address)
			return false;
	} else {
		g = calloc(1, sizeof *g);
		if (!g)
			return false;
		memcpy(g->key, key, k.n);
		if (!map_put(&guests, &g->node, (struct str){ (char *)g->key, k.n })) {
			free(g);
			return false;
		}
	}
	g->sessions++;
	*out = g;
	return true;
}

/* No session begins: one line, and the descriptor is closed. Nothing of the peer's has been read or is awaited. */
static void turn_away(int fd, const struct sockaddr_storage *peer, const char *enhanced, const char *why)
{
	struct subject who = { 0 };
	char line[512];
	int n = snprintf(line, sizeof line, "421 %s %.255s %s\r\n", enhanced, config->hostname, why);

	describe_peer(&who, peer);
	log_event(LOG_INFO, "turned-away", LF(L_TEXT("client", who.peer_text), L_TEXT("reason", why)));
	if (send(fd, line, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT) == -1) {
		/* gone already */
	}
	close(fd);
}

static bool evictable(const struct session *s)
{
	return s->phase == P_COMMAND && !(s->seen & SEEN_MAIL) && loop_now() - s->quiet_since >= EVICT_MS;
}

/* All places are taken: one of the sessions that were quiet longest has to go if it does nothing for us.
 * Its place is free when it has ended. */
static void make_place(void)
{
	unsigned look = EVICT_LOOK;

	for (struct node *x = list_first(&sessions); x && look--; x = list_next(&sessions, x)) {
		struct session *s = owner_of(x, struct session, node);

		if (!evictable(s))
			continue;
		hang_up(s, "4.3.2", "Too busy to wait for you");
		touch(s);
		stream_again(&s->stream);
		return;
	}
}

static void welcome(int fd, const struct sockaddr_storage *peer)
{
	struct guest *g;
	struct session *s;

	if (sessions.n >= sessions_max()) {
		make_place();
		turn_away(fd, peer, "4.3.2", "Too many sessions, try again later");
		return;
	}
	if (!count_guest(peer, &g)) {
		turn_away(fd, peer, "4.7.0", "Too many sessions from your address");
		return;
	}
	s = open_session(fd, fd, peer);
	if (s) {
		s->guest = g;
		return;
	}
	close(fd);
	if (g && !--g->sessions) {
		map_remove(&guests, &g->node);
		free(g);
	}
}

/* Errors of accept() that say nothing about the listening socket: the next connection may be well. */
static bool out_of_room(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

static void listener_ready(struct io *io, short revents)
{
	struct listener *l = owner_of(io, struct listener, io);

	(void)revents;
	for (unsigned i = 0; i < ACCEPTS_A_TURN; i++) {
		struct sockaddr_storage peer = { 0 };
		socklen_t n = sizeof peer;
		int fd = accept4(io->fd, (struct sockaddr *)&peer, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd != -1) {
			welcome(fd, &peer);
			continue;
		}
		if (errno == EAGAIN || errno == EWOULDBLOCK)
			return;
		if (!out_of_room(errno))
			continue;
		/* The socket stays readable: watching it now would be spinning. */
		log_text(LOG_WARN, "accept", "%s; no new connections for %d ms", strerror(errno), ACCEPT_PAUSE_MS);
		io_forget(io);
		timer_set(&l->pause, ACCEPT_PAUSE_MS);
		return;
	}
}

static void pause_over(struct timer *t)
{
	struct listener *l = owner_of(t, struct listener, pause);

	if (io_watch(&l->io, POLLIN) == -1)
		timer_set(t, ACCEPT_PAUSE_MS);
}

int smtpd_listen(int fd)
{
	struct listener *l = calloc(1, sizeof *l);

	if (!l)
		return -1;
	l->io = (struct io){ .fd = fd, .ready = listener_ready };
	l->pause.expired = pause_over;
	if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) == -1 || fcntl(fd, F_SETFD, FD_CLOEXEC) == -1 ||
	    io_watch(&l->io, POLLIN) == -1) {
		int saved = errno;
		free(l);
		errno = saved;
		return -1;
	}
	l->next = listeners;
	listeners = l;
	return 0;
}

void smtpd_configure(const struct smtpd_config *c)
{
	config = c;
	stopping = false;
}

void smtpd_stop(void)
{
	struct listener *l;

	stopping = true;
	while ((l = listeners)) {
		listeners = l->next;
		timer_stop(&l->pause);
		io_forget(&l->io);
		close(l->io.fd);
		free(l);
	}
	if (!sessions.n)
		return;
	for (struct node *x = list_first(&sessions); x; x = list_next(&sessions, x))
		stream_again(&owner_of(x, struct session, node)->stream);
}

unsigned smtpd_sessions(void) { return (unsigned)sessions.n; }
