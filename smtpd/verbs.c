/* Commands: a row of verbs[] each, an extension is a row of keywords[] (RFC 5321 4.1). */
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "parse.h"
#include "smtpd/session.h"

enum {
	LINE_MAX_OCTETS = 2048,         /* RFC 5321 4.5.3.1.4 asks for 512, extensions for some hundred more */
	SKIP_MAX = 1 << 20              /* of a line that has no end: then the session ends */
};

/* ---- HELO and EHLO */

/* Stricter than printable, laxer than the grammar: underscores and bare addresses are common among honest
 * machines, and nothing here can be mistaken for another part of a header field. */
bool helo_ok(struct str name)
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
		session_error(s, 501, "5.5.4", "That is no domain name and no address literal");
		return false;
	}
	txn_reset(s);
	session_forget_helo(s);
	s->helo = strndup(arg.p, arg.n);
	if (!s->helo) {
		session_say(s, 451, "4.3.0", "Out of memory, try again later");
		return false;
	}
	s->who.helo = s->helo;
	s->who.esmtp = esmtp;
	s->seen = SEEN_HELO;
	return true;
}

static void verb_helo(struct session *s, struct str arg)
{
	if (take_helo(s, arg, false))
		session_say(s, 250, "", "%s", s->config->hostname);
}

/* What is announced: a keyword and the number it is followed by. The last one has no condition. */
static uint64_t size_offered(const struct session *s) { return s->config->message_size; }
static uint64_t rcpt_offered(const struct session *s) { return session_rcpt_max(s); }
static uint64_t mails_offered(const struct session *s) { return s->config->mail_max; }
static uint64_t domains_offered(const struct session *s) { return s->config->rcpt_domain_max; }
static bool inside_tls(const struct session *s) { return s->who.tls; }

/* RFC 9422 4: one line for all limits. */
static bool list_limits(const struct session *s, struct buf *out)
{
	static const struct {
		const char *name;
		uint64_t (*number)(const struct session *);
	} limits[] = { { "RCPTMAX", rcpt_offered }, { "MAILMAX", mails_offered }, { "RCPTDOMAINMAX", domains_offered } };

	for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
		if (limits[i].number(s))
			buf_printf(out, " %s=%llu", limits[i].name, (unsigned long long)limits[i].number(s));
	return true;
}

/* RFC 4865 4: the longest span in seconds, and the latest time. */
static bool list_future(const struct session *s, struct buf *out)
{
	char date[32];

	if (!s->who.submission || !s->config->future_max)
		return false;
	clock_rfc3339(loop_wall() + s->config->future_max, date);
	return buf_printf(out, " %lld %s", (long long)s->config->future_max, date);
}

static bool starttls_offered(const struct session *s) { return s->config->tls && !s->who.tls; }

static const struct keyword {
	const char *words;
	uint64_t (*number)(const struct session *);
	bool (*offered)(const struct session *);        /* NULL: always */
	bool (*list)(const struct session *, struct buf *);     /* appends what follows the word; false: not offered */
} keywords[] = {
	{ "PIPELINING", NULL, NULL, NULL },                         /* RFC 2920 */
	{ "SIZE ", size_offered, NULL, NULL },                      /* RFC 1870; 0 is no limit */
	{ "8BITMIME", NULL, NULL, NULL },                           /* RFC 6152 */
	{ "CHUNKING", NULL, NULL, NULL },                     /* RFC 3030 */
	{ "ENHANCEDSTATUSCODES", NULL, NULL, NULL },                /* RFC 2034 */
	{ "STARTTLS", NULL, starttls_offered, NULL },         /* RFC 3207 */
	{ "AUTH", NULL, NULL, auth_offered },                 /* RFC 4954 */
	{ "SMTPUTF8", NULL, NULL, NULL },                     /* RFC 6531 */
	{ "DSN", NULL, NULL, NULL },                          /* RFC 3461 */
	{ "REQUIRETLS", NULL, inside_tls, NULL },             /* RFC 8689 */
	{ "FUTURERELEASE", NULL, NULL, list_future },         /* RFC 4865 */
	{ "XCLIENT", NULL, NULL, xclient_offered },
	{ "LIMITS", NULL, NULL, list_limits },                /* RFC 9422 */
};
enum { NKEYWORDS = sizeof keywords / sizeof keywords[0] };

static void print_keyword(const struct session *s, const struct keyword *k, char join, struct buf *out)
{
	size_t before = out->n;

	if (k->offered && !k->offered(s))
		return;
	buf_printf(out, "250%c%s", join, k->words);
	if (k->number)
		buf_printf(out, "%llu", (unsigned long long)k->number(s));
	if (k->list && !k->list(s, out))
		out->n = before;
	else
		buf_puts(out, "\r\n");
}

/* Who calls himself by our name may be us. */
static bool is_namesake(const struct session *s)
{
	return s->config->marker && s->who.helo && str_eq_nocase(str_of(s->who.helo), str_of(s->config->hostname));
}

static void verb_ehlo(struct session *s, struct str arg)
{
	struct buf out = { 0 };

	if (!take_helo(s, arg, true))
		return;
	buf_printf(&out, "250-%s%s%s\r\n", s->config->hostname, is_namesake(s) ? " " : "", is_namesake(s) ? s->config->marker : "");
	for (size_t i = 0; i < NKEYWORDS; i++)
		print_keyword(s, &keywords[i], i + 1 < NKEYWORDS ? '-' : ' ', &out);
	if (out.bad || stream_write(&s->stream, out.p, out.n) == -1)
		s->broken = true;
	buf_free(&out);
}

/* ---- the other verbs */

static void verb_rset(struct session *s, struct str arg)
{
	(void)arg;
	txn_reset(s);
	session_say(s, 250, "2.0.0", "Ok");
}

static void verb_noop(struct session *s, struct str arg)
{
	(void)arg;
	session_say(s, 250, "2.0.0", "Ok");
}

/* RFC 5321 3.5.3 and 7.3: who exists is told to nobody, and 252 is the honest way to say so. */
static void verb_vrfy(struct session *s, struct str arg)
{
	(void)arg;
	session_say(s, 252, "2.0.0", "Not verified here; mail for the address is taken or refused at RCPT");
}

static void verb_help(struct session *s, struct str arg)
{
	(void)arg;
	session_say(s, 214, "2.0.0", "See RFC 5321; mail to postmaster reaches a human");
}

static void verb_quit(struct session *s, struct str arg)
{
	(void)arg;
	session_say(s, 221, "2.0.0", "%s closing", s->config->hostname);
	session_close(s);
}

/* A browser that was made to talk to us must not get as far as what it was told to send. */
static void verb_http(struct session *s, struct str arg)
{
	(void)arg;
	session_hang_up(s, "4.7.0", "This is not a web server");
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
	{ "RCPT", SEEN_HELO | SEEN_MAIL, SEEN_BDAT, ARG_MUST, 0, verb_rcpt },
	{ "DATA", SEEN_HELO | SEEN_MAIL | SEEN_RCPT, SEEN_BDAT, ARG_NONE, 0, verb_data },
	{ "BDAT", 0, 0, ARG_MAY, 0, verb_bdat },          /* RFC 3030; looks itself at what came before */
	{ "AUTH", SEEN_HELO, SEEN_MAIL, ARG_MUST, COST_IDLE, verb_auth },             /* RFC 4954 */
	{ "STARTTLS", SEEN_HELO, SEEN_MAIL, ARG_NONE, COST_IDLE, verb_starttls },
	{ "XCLIENT", 0, SEEN_MAIL, ARG_MUST, COST_IDLE, verb_xclient },
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

/* RFC 2920 3.1: a client sends RCPT and DATA before it has read what became of MAIL and of the recipients. */
static bool follows_refusal(const struct session *s, const struct verb *v)
{
	return v->needs & SEEN_MAIL && (s->mail_refused || s->seen & SEEN_MAIL);
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

/* What other protocols begin a line with, or end it with: of what a browser was led to send, the first line is all that is read. */
static bool is_foreign(struct str line, struct str name)
{
	static const char *const ends[] = { " HTTP/1.0", " HTTP/1.1", " HTTP/2.0", " RTSP/1.0", " RTSP/2.0", " SIP/2.0", " ICAP/1.0" };

	if (str_starts_nocase(line, STR("SSH-")) || (name.n > 1 && name.p[name.n - 1] == ':'))  /* a header field, "Host:" */
		return true;
	for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
		if (str_ends_nocase(line, str_of(ends[i])))
			return true;
	return false;
}

static void unknown(struct session *s, const struct reply *no)
{
	if (!no) {
		session_error(s, 500, "5.5.1", "Command not recognized");
		return;
	}
	session_offends(s, COST_ERROR);
	session_say_as(s, no);
}

static void run_command(struct session *s, struct str line)
{
	struct str name, arg = trim_end(line);
	const struct verb *v;
	const char *wrong;

	if (holds_control(arg)) {
		session_error(s, 500, "5.5.2", "Control characters are not allowed");
		return;
	}
	if (!str_cut(&arg, ' ', &name)) {
		name = arg;
		arg = STR("");
	}
	v = find_verb(name);
	if (!v && is_foreign(trim_end(line), name)) {
		session_hang_up(s, "4.7.0", "This is not SMTP");
	} else if (!v) {
		milters_ask(s, MILTER_ASK_UNKNOWN, trim_end(line), NULL, STR(""), unknown);
	} else if ((wrong = out_of_order(s, v))) {
		if (follows_refusal(s, v))
			session_spend(s, COST_REFUSED);
		else
			session_offends(s, COST_ERROR);
		session_say(s, 503, "5.5.1", "%s", wrong);
	} else if ((wrong = wrong_argument(v, arg))) {
		session_error(s, 501, "5.5.4", wrong);
	} else {
		s->mail_refused = s->mail_refused && (v->needs & SEEN_MAIL || v->run == verb_bdat);
		session_spend(s, v->cost);
		v->run(s, arg);
	}
}

static msec session_ms(const struct session *s) { return 1000 * (msec)(s->config->session_s ? s->config->session_s : 3600); }

/* Between two chunks, and its time is not over. */
static bool within_message(const struct session *s)
{
	return s->seen & SEEN_BDAT && data_left(s, s->txn->data_end, s->txn->octets) > 0;
}

/* Reasons to read no further, with 421 as the reply. */
static const char *lost_patience(struct session *s, const char **enhanced)
{
	struct str in = stream_peek(&s->stream);
	bool first = in.n && !s->talked;

	s->talked |= in.n > 0;
	*enhanced = "4.3.2";
	if (smtpd_stopping() && !within_message(s) && (!(s->seen & SEEN_MAIL) || stream_has_line(&s->stream)))
		return "Service is shutting down";
	*enhanced = "4.7.0";
	if (s->stream.skipped > SKIP_MAX)
		return "A line without end";
	/* No command begins like this, but a TLS hello does, and other protocols. */
	if (first && in.p[0] == 0x16)
		return "This is not SMTP, but TLS, which begins behind STARTTLS here";
	if (first && !ascii_print(in.p[0]) && in.p[0] != '\r' && in.p[0] != '\n')
		return "This is not SMTP";
	if (s->patience <= 0 && stream_has_line(&s->stream))
		return "Too many errors or commands without a message";
	if (loop_now() - s->since > session_ms(s) && !within_message(s) && stream_has_line(&s->stream))
		return "No message for too long a time";
	return NULL;
}

/* One command. False: none has come, or the client must read its replies first. */
bool command_read(struct session *s)
{
	struct str line;
	const char *enhanced, *why;

	if (stream_full(&s->stream) || session_pause(s))
		return false;
	why = lost_patience(s, &enhanced);
	if (why) {
		session_hang_up(s, enhanced, why);
		return true;
	}
	switch (stream_line(&s->stream, LINE_MAX_OCTETS, &line)) {
	case LINE_NONE:
		return false;
	case LINE_LONG:
		session_error(s, 500, "5.5.2", "Line too long");
		break;
	case LINE_BARE:                 /* RFC 5321 2.3.8: only CR LF ends a line */
		session_error(s, 500, "5.5.2", "Lines end in CR LF and nothing else");
		break;
	case LINE_OK:
		run_command(s, line);
		break;
	}
	session_touch(s);
	if (s->phase == P_COMMAND)
		session_deadline(s, session_idle_ms(s));
	return true;
}
