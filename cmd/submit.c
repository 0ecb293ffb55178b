/* Takes the text of a local program apart into envelope and message, and writes both into a draft. */
#include "cmd/submit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/file.h"
#include "lib/list.h"
#include "lib/log.h"
#include "lib/map.h"
#include "mime/header.h"
#include "mime/transfer.h"
#include "parse.h"
#include "policy/authres.h"

enum { BLOCK = 65536 };

enum state {
	S_HEAD,                         /* reading into memory until the header must be whole */
	S_REST,                         /* reading the rest into the spool, to know what it holds before the envelope is written */
	S_BEGIN,                        /* envelope, header and what is in memory go into the draft */
	S_COPY,                         /* then the spool */
	S_DONE, S_REFUSED
};

/* A lone dot on a line may be cut by the end of a block. */
enum lone_dot { DOT_START, DOT_TEXT, DOT_DOT, DOT_CR };

struct rcpt_node {
	struct node node;               /* in order of appearance */
	struct map_node by_text;        /* who is named twice gets one copy */
	struct recipient to;            /* slices into text or the head */
	char text[];                    /* local@domain */
};

/* What a field means to us. */
enum { SEEN_FROM = 1, SEEN_DATE = 2, SEEN_ID = 4, SEEN_RESENT = 8 };

struct submission {
	const struct submit_config *config;
	int fd;
	enum state state;
	enum lone_dot dot;
	bool eof;
	bool eight_bit;
	uint64_t size;                  /* octets read */
	struct buf head;                /* the text's beginning; does not move once parsing has begun */
	struct str header, body;        /* within head */
	int spool;                      /* what is behind head, or -1 */
	off_t spooled, copied;
	struct crlf crlf;
	struct buf out;
	struct signing *signing;        /* or NULL */
	struct sender from;
	char from_text[ADDR_MAX + 1];
	bool enveloped;                 /* the second form */
	struct list rcpts;
	struct map by_text;
	unsigned seen;                  /* SEEN_ bits */
	unsigned hops;
	struct draft *draft;
	int status;
	char why[512];
};

static enum verdict refuse(struct submission *s, int status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static enum verdict refuse(struct submission *s, int status, const char *fmt, ...)
{
	va_list ap;

	/* The first complaint is the cause, what follows from it is not. */
	if (s->state == S_REFUSED)
		return REFUSE;
	va_start(ap, fmt);
	vsnprintf(s->why, sizeof s->why, fmt, ap);
	va_end(ap);
	ascii_make_printable(s->why);
	s->status = status;
	s->state = S_REFUSED;
	return REFUSE;
}

static enum verdict out_of_memory(struct submission *s)
{
	return refuse(s, EX_TEMPFAIL, "out of memory: try again later");
}

/* ---- reading */

/* Takes octets of `in` up to the line with a single dot; returns how many are left in place. */
static size_t dot_filter(struct submission *s, char *in, size_t n)
{
	static const char held[] = ".\r";
	char *out = in;
	char copy[BLOCK];

	memcpy(copy, in, n);
	for (size_t i = 0; i < n; i++) {
		char c = copy[i];
		size_t back = s->dot == DOT_DOT ? 1 : s->dot == DOT_CR ? 2 : 0;

		if (back && c == '\n') {
			s->eof = true;
			break;
		}
		if ((s->dot == DOT_START && c == '.') || (s->dot == DOT_DOT && c == '\r')) {
			s->dot = c == '.' ? DOT_DOT : DOT_CR;
			continue;
		}
		/* What was held back came in an earlier turn or stands before us in `copy`: `in` has room for both. */
		memcpy(out, held, back);
		out += back;
		*out++ = c;
		s->dot = c == '\n' ? DOT_START : DOT_TEXT;
	}
	return (size_t)(out - in);
}

/* One block into `block`, which has BLOCK + 2 octets. Octets, 0 at the end (eof is set), or -1 after a refusal. */
static ssize_t read_block(struct submission *s, char *block)
{
	ssize_t n;

	do
		n = read(s->fd, block, BLOCK);
	while (n == -1 && errno == EINTR);
	if (n == -1) {
		refuse(s, EX_IOERR, "the message cannot be read: %s", strerror(errno));
		return -1;
	}
	if (n == 0) {
		s->eof = true;
		return 0;
	}
	if (s->config->dot_ends)
		n = (ssize_t)dot_filter(s, block, (size_t)n);
	s->size += (size_t)n;
	if (s->size > s->config->message_size) {
		refuse(s, EX_DATAERR, "the message is larger than %llu octets: send less, or raise message_size",
			(unsigned long long)s->config->message_size);
		return -1;
	}
	for (ssize_t i = 0; i < n && !s->eight_bit; i++)
		s->eight_bit = block[i] & 0x80;
	return n;
}

static enum verdict parse(struct submission *);

static enum verdict step_head(struct submission *s)
{
	char block[BLOCK + 2];
	ssize_t n = read_block(s, block);

	if (n == -1)
		return REFUSE;
	if (!buf_add(&s->head, block, (size_t)n))
		return out_of_memory(s);
	if (!s->eof && s->head.n < SUBMIT_HEADER)
		return WAIT;
	return parse(s);
}

/* A file without a name on the queue's disk: it vanishes with us. */
static int open_spool(void)
{
	int fd = openat(queue_dir(), ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	FILE *f;

	if (fd != -1)
		return fd;
	/* Not every file system knows O_TMPFILE. */
	if (!(f = tmpfile()))
		return -1;
	fd = fcntl(fileno(f), F_DUPFD_CLOEXEC, 0);
	fclose(f);
	return fd;
}

static enum verdict step_rest(struct submission *s)
{
	char block[BLOCK + 2];
	ssize_t n = read_block(s, block);

	if (n == -1)
		return REFUSE;
	if (n > 0 && s->spool == -1 && (s->spool = open_spool()) == -1)
		return refuse(s, EX_TEMPFAIL, "no room for the message while it is read: %s; try again later", strerror(errno));
	if (n > 0 && file_write(s->spool, block, (size_t)n) == -1)
		return refuse(s, EX_TEMPFAIL, "the message cannot be kept while it is read: %s; try again later", strerror(errno));
	s->spooled += n;
	if (s->eof)
		s->state = S_BEGIN;
	return WAIT;
}

/* ---- recipients */

static bool has_rcpt(const struct submission *s, struct str text)
{
	return map_get(&s->by_text, text) != NULL;
}

/* Takes a recipient whose slices live long enough, or (copy) one that must be kept as text. */
static bool keep_rcpt(struct submission *s, const struct recipient *to, bool copy)
{
	struct buf text = { .max = ADDR_MAX };
	struct rcpt_node *r = NULL;
	struct str key, at;

	if (!print_addr(&text, &to->addr))
		goto fail;
	/* <postmaster> has no domain: it is a recipient like any other. */
	if (has_rcpt(s, buf_view(&text))) {
		buf_free(&text);
		return true;
	}
	if (s->rcpts.n == SUBMIT_RCPTS) {
		refuse(s, EX_DATAERR, "more than %d recipients: send it in parts", SUBMIT_RCPTS);
		goto fail;
	}
	if (!(r = calloc(1, sizeof *r + text.n)))
		goto fail;
	memcpy(r->text, text.p, text.n);
	r->to = *to;
	key = (struct str){ r->text, text.n };
	if (copy) {
		at = key;
		if (str_cut_last(&at, '@', &r->to.addr.local))
			r->to.addr.domain = at;
	}
	if (!map_put(&s->by_text, &r->by_text, key))
		goto fail;
	list_push(&s->rcpts, &r->node);
	buf_free(&text);
	return true;
fail:
	out_of_memory(s);
	free(r);
	buf_free(&text);
	return false;
}

/* local@domain, the domain completed when there is none. NULL, or what is wrong. */
static const char *complete(const struct submission *s, const struct addr *a, char *text, size_t size, struct addr *out)
{
	struct buf b = { .max = size - 1 };
	const char *wrong = "too long";

	buf_str(&b, a->local);
	buf_char(&b, '@');
	buf_str(&b, a->domain.n ? a->domain : str_of(s->config->origin));
	if (str_copy(text, size, buf_view(&b)) && !b.bad)
		wrong = parse_address(str_of(text), false, out);
	buf_free(&b);
	return wrong;
}

static bool add_rcpt(void *arg, const struct addr *a)
{
	struct submission *s = arg;
	struct recipient to = { .notify = s->config->notify };
	char text[ADDR_MAX + 1];
	const char *wrong = complete(s, a, text, sizeof text, &to.addr);

	if (wrong) {
		refuse(s, EX_DATAERR, "recipient \"" STR_FMT "%s" STR_FMT "\": %s", STR_ARG(a->local), a->domain.n ? "@" : "",
			STR_ARG(a->domain), wrong);
		return false;
	}
	return keep_rcpt(s, &to, true);
}

static void add_rcpts(struct submission *s, const char *what, struct str value)
{
	value = str_trim(value);
	if (!header_addresses(value, add_rcpt, s))
		refuse(s, EX_DATAERR, "%s: \"" STR_FMT "\" holds something that is no address", what,
			(int)(value.n < 200 ? value.n : 200), value.p);
}

/* ---- the sender */

/* What a login name says in an address: itself, or its number when it could not stand there. */
static void sender_of_user(struct submission *s, struct addr *out)
{
	const struct submit_config *c = s->config;
	struct addr name = { .local = str_of(c->user) };
	char number[32];

	if (name.local.n && !complete(s, &name, s->from_text, sizeof s->from_text, out))
		return;
	snprintf(number, sizeof number, "uid%lu", (unsigned long)c->uid);
	name.local = str_of(number);
	if (complete(s, &name, s->from_text, sizeof s->from_text, out))
		*out = (struct addr){ 0 };
}

struct one {
	size_t n;
	struct addr first;
	char text[ADDR_MAX + 1];
	struct submission *s;
	const char *wrong;
};

static bool take_one(void *arg, const struct addr *a)
{
	struct one *one = arg;

	if (one->n++ == 0)
		one->wrong = complete(one->s, a, one->s->from_text, sizeof one->s->from_text, &one->first);
	return true;
}

static void set_sender(struct submission *s)
{
	const char *said = s->config->sender;
	struct one one = { .s = s };

	if (!said) {
		sender_of_user(s, &s->from.addr);
		return;
	}
	if (!*said || !strcmp(said, "<>"))
		return;
	if (!header_addresses(str_of(said), take_one, &one) || one.n != 1)
		refuse(s, EX_DATAERR, "sender \"%.200s\" is not one address", said);
	else if (one.wrong)
		refuse(s, EX_DATAERR, "sender \"%.200s\": %s", said, one.wrong);
	s->from.addr = one.first;
}

/* The envelope of the other name; the header follows when it is written. */
static void rename_sender(struct submission *s)
{
	struct str as = { 0 };

	if (s->config->send_as && !addr_is_null(&s->from.addr))
		as = sendas_find(s->config->send_as, &s->from.addr);
	if (as.n && str_copy(s->from_text, sizeof s->from_text, as))
		parse_address(str_of(s->from_text), false, &s->from.addr);
}

/* ---- the envelope lines of the second form */

/* A drop file may ask for these; what else SMTP knows is between two servers. */
enum { OFFERED = PARAM_SIZE | PARAM_BODY | PARAM_DSN | PARAM_SMTPUTF8 | PARAM_REQUIRETLS | PARAM_HOLD };

static bool take_line(struct str *rest, struct str *line)
{
	if (!str_cut(rest, '\n', line))
		return false;
	if (line->n && line->p[line->n - 1] == '\r')
		line->n--;
	return true;
}

static bool looks_enveloped(struct str text)
{
	return str_starts_nocase(text, STR("MAIL FROM:")) || str_starts_nocase(text, STR("RCPT TO:"));
}

/* When it may leave; 0: at once. */
static int64_t release_of(const struct sender *from)
{
	return from->hold_for ? loop_wall() + (int64_t)from->hold_for : from->hold_until > loop_wall() ? from->hold_until : 0;
}

static struct parse_error mail_line(struct submission *s, struct str args)
{
	struct parse_error e = parse_mail(args, OFFERED, &s->from);

	if (!e.text && (s->from.hold_for > (uint64_t)s->config->future_max || release_of(&s->from) > loop_wall() + s->config->future_max))
		e.text = "it is to be held longer than future_release_max allows";
	return e;
}

static struct parse_error envelope_line(struct submission *s, struct str line, unsigned number)
{
	struct parse_error e = { .text = "is neither MAIL FROM:<...>, RCPT TO:<...> nor the empty line before the message" };
	struct recipient to;
	char text[ADDR_MAX + 1];

	if (str_starts_nocase(line, STR("MAIL "))) {
		if (number > 1)
			return (struct parse_error){ .text = "MAIL FROM:<...> belongs into the first line" };
		return mail_line(s, str_from(line, 5));
	}
	if (!str_starts_nocase(line, STR("RCPT ")))
		return e;
	e = parse_rcpt(str_from(line, 5), OFFERED, s->from.smtputf8, &to);
	if (e.text)
		return e;
	/* <postmaster> alone is allowed (RFC 5321 4.1.1.3): ours. */
	if (to.addr.domain.n == 0)
		e.text = complete(s, &to.addr, text, sizeof text, &to.addr);
	if (!e.text)
		keep_rcpt(s, &to, to.addr.local.p == text);
	return e;
}

/* Takes the lines to the empty one off *text. */
static void take_envelope(struct submission *s, struct str *text)
{
	struct str line;

	s->enveloped = true;
	if (str_starts_nocase(*text, STR("RCPT ")))
		set_sender(s);
	for (unsigned number = 1; s->state != S_REFUSED; number++) {
		struct parse_error e;

		if (!take_line(text, &line)) {
			refuse(s, EX_DATAERR, "line %u: the empty line between the envelope and the message is missing", number);
			return;
		}
		if (line.n == 0)
			return;
		e = envelope_line(s, line, number);
		if (e.text)
			refuse(s, EX_DATAERR, "line %u: %s", number, e.text);
	}
}

/* ---- the header */

/* Rows, so that what we do to a field can be read in one place. */
enum { RCPTS = 1, RESENT_RCPTS = 2, DROP = 4, AUTHOR = 8, OTHERS = 16, ADDRESSES = RCPTS | RESENT_RCPTS | AUTHOR | OTHERS };
static const struct {
	struct str name;
	unsigned what;
	unsigned seen;
} fields[] = {
	{ { "To", 2 }, RCPTS, 0 },
	{ { "Cc", 2 }, RCPTS, 0 },
	{ { "Bcc", 3 }, RCPTS | DROP, 0 },
	{ { "Resent-To", 9 }, RESENT_RCPTS, SEEN_RESENT },
	{ { "Resent-Cc", 9 }, RESENT_RCPTS, SEEN_RESENT },
	{ { "Resent-Bcc", 10 }, RESENT_RCPTS | DROP, SEEN_RESENT },
	{ { "From", 4 }, AUTHOR, SEEN_FROM },
	{ { "Sender", 6 }, AUTHOR, 0 },
	{ { "Reply-To", 8 }, OTHERS, 0 },
	{ { "Resent-From", 11 }, OTHERS, 0 },
	{ { "Resent-Sender", 13 }, OTHERS, 0 },
	{ { "Date", 4 }, 0, SEEN_DATE },
	{ { "Message-ID", 10 }, 0, SEEN_ID },
	{ { "Return-Path", 11 }, DROP, 0 },             /* RFC 5321 4.4: only final delivery writes it */
};

static size_t field_row(struct str name)
{
	size_t i = 0;

	while (i < sizeof fields / sizeof *fields && !str_eq_nocase(name, fields[i].name))
		i++;
	return i;
}

static bool is(unsigned what, struct str name)
{
	size_t i = field_row(name);

	return i < sizeof fields / sizeof *fields && (fields[i].what & what);
}

/* RFC 5322 3.6.6: a resent message goes to whom its Resent- fields name, and to nobody else. */
static void take_rcpts(struct submission *s, const struct field *f, bool resent)
{
	size_t i = field_row(f->name);

	if (i == sizeof fields / sizeof *fields || !(fields[i].what & (resent ? RESENT_RCPTS : RCPTS)))
		return;
	if (str_trim(f->value).n > 0)
		add_rcpts(s, fields[i].name.p, f->value);
}

/* Finds the header's end, and what is in it. */
static void take_header(struct submission *s, struct str *text)
{
	struct str start = *text, before = *text;
	struct field f;

	while (header_next(text, &f)) {
		size_t i = field_row(f.name);

		if (i < sizeof fields / sizeof *fields)
			s->seen |= fields[i].seen;
		s->hops += str_eq_nocase(f.name, STR("Received"));
		before = *text;
	}
	s->header = (struct str){ start.p, (size_t)(before.p - start.p) };
	/* Neither the empty line nor the beginning of a text without one was reached: then the header goes on behind our memory. */
	if (!s->eof && text->p == before.p && (!text->n || !memchr(text->p, '\n', text->n)))
		refuse(s, EX_DATAERR, "the header is larger than %d octets", SUBMIT_HEADER);
}

static void read_rcpts(struct submission *s)
{
	const struct submit_config *c = s->config;
	struct str rest = s->header;
	struct field f;

	for (size_t i = 0; i < c->nrcpt && s->state != S_REFUSED; i++)
		add_rcpts(s, "recipient", str_of(c->rcpt[i]));
	while (c->header_rcpts && !s->enveloped && s->state != S_REFUSED && header_next(&rest, &f))
		take_rcpts(s, &f, s->seen & SEEN_RESENT);
	if (s->rcpts.n > 0)
		return;
	if (s->enveloped)
		refuse(s, EX_DATAERR, "the envelope names no recipient: write RCPT TO:<...> lines");
	else if (c->header_rcpts)
		refuse(s, EX_DATAERR, "nobody is named in To, Cc or Bcc");
	else
		refuse(s, EX_USAGE, "no recipient: name one behind the options, or use -t");
}

/* Mailbox files and some programs put a "From name date" line above the header. */
static void skip_from_line(struct str *text)
{
	struct str rest = *text, line;

	if (text->n > 5 && !memcmp(text->p, "From ", 5) && str_cut(&rest, '\n', &line) && !memchr(line.p, ':', 6))
		*text = rest;
}

static enum verdict parse(struct submission *s)
{
	struct str text = buf_view(&s->head);

	if (s->config->envelope_lines && looks_enveloped(text))
		take_envelope(s, &text);
	else
		set_sender(s);
	rename_sender(s);
	skip_from_line(&text);
	if (s->config->envelope_lines && text.n == 0 && s->state != S_REFUSED)
		refuse(s, EX_DATAERR, "there is no message in it");
	take_header(s, &text);
	s->body = text;
	read_rcpts(s);
	if (s->hops > SUBMIT_HOPS)
		refuse(s, EX_DATAERR, "5.4.6 %u Received fields: the message goes round in a loop", s->hops);
	if (s->state == S_REFUSED)
		return REFUSE;
	s->state = s->eof ? S_BEGIN : S_REST;
	return WAIT;
}

/* ---- writing */

static struct draft *make_draft(struct submission *s)
{
	const struct submit_config *c = s->config;
	struct envelope e = { 0 };
	struct draft *d = NULL;
	bool ok;

	if (!s->from.has_body || s->from.body == BODY_7BIT) {
		s->from.body = s->eight_bit ? BODY_8BITMIME : BODY_7BIT;
		s->from.has_body = s->eight_bit;
	}
	s->from.has_size = false;       /* what a program guessed before our fields came in */
	if (!s->enveloped) {
		s->from.ret = c->ret;
		s->from.envid = str_of(c->envid);
		s->from.hold_until = c->hold_until;
	}
	e.release = release_of(&s->from);
	ok = envelope_sender(&e, &s->from);
	if (c->note)
		ok = ok && envelope_origin(&e, "%s", c->note);
	else
		ok = ok && envelope_origin(&e, "%s uid %lu (%s)", c->how, (unsigned long)c->uid, c->user ? c->user : "no name");
	for (struct node *n = list_first(&s->rcpts); ok && n; n = list_next(&s->rcpts, n))
		ok = envelope_rcpt(&e, &owner_of(n, struct rcpt_node, node)->to);
	errno = ENOMEM;
	e.room = c->signer ? signer_room(c->signer) : 0;
	if (ok)
		d = queue_draft(&e, c->id);
	envelope_free(&e);
	return d;
}

/* A display name that needs no knowledge of character sets: printable ASCII, quoted (RFC 5322 3.2.4). */
static bool quotable(const char *name)
{
	for (const char *p = name; *p; p++)
		if (!ascii_print(*p))
			return false;
	return *name && strlen(name) < 200;
}

static void put_from(struct submission *s, struct buf *out)
{
	const char *name = s->config->full_name;
	struct addr from = s->from.addr;
	struct str as;

	/* A message from nobody still has an author (RFC 5322 3.6.2). */
	if (addr_is_null(&from))
		sender_of_user(s, &from);
	if (s->config->send_as && (as = sendas_find(s->config->send_as, &from)).n)
		parse_address(as, false, &from);
	buf_puts(out, "From: ");
	if (name && quotable(name)) {
		buf_char(out, '"');
		for (; *name; name++) {
			if (*name == '"' || *name == '\\')
				buf_char(out, '\\');
			buf_char(out, *name);
		}
		buf_puts(out, "\" ");
	}
	buf_char(out, '<');
	print_addr(out, &from);
	buf_puts(out, ">\r\n");
}

/* A CR inside a field would become a line end and so begin a field that nobody wrote: it is a blank. */
static void put_field(struct str whole, struct buf *out)
{
	struct str line;

	while (whole.n > 0) {
		if (!take_line(&whole, &line)) {
			line = whole;
			whole.n = 0;
		}
		for (size_t i = 0; i < line.n; i++)
			buf_char(out, line.p[i] == '\r' ? ' ' : line.p[i]);
		buf_puts(out, "\r\n");
	}
}

/* A result that we have not found (RFC 8601 5). */
static bool is_forged(const struct submission *s, const struct field *f)
{
	return str_eq_nocase(f->name, STR("Authentication-Results")) && authres_is_from(f->value, s->config->hostname);
}

/* Trace first (RFC 5321 4.4), then the message's own fields, then what it lacks. */
static void put_header(struct submission *s, struct buf *out)
{
	const struct submit_config *c = s->config;
	struct str rest = s->header;
	struct field f;
	char date[64];

	clock_rfc5322(loop_wall(), date);
	buf_printf(out, "Received: by %s (fardel, %s by uid %lu)\r\n\tid %s;\r\n\t%s\r\n",
		c->hostname, c->how, (unsigned long)c->uid, draft_id(s->draft), date);
	while (header_next(&rest, &f)) {
		const struct sendas_rules *rules = is(AUTHOR, f.name) ? c->send_as : NULL;
		struct buf renamed = { 0 };

		if (is(DROP, f.name) || is_forged(s, &f))
			continue;
		if (is(ADDRESSES, f.name) && sendas_field(rules, f.value, str_of(c->origin), &renamed)) {
			buf_printf(out, STR_FMT ":", STR_ARG(f.name));
			put_field(buf_view(&renamed), out);
		} else {
			put_field(f.whole, out);
		}
		out->bad |= renamed.bad;
		buf_free(&renamed);
	}
	if (!(s->seen & SEEN_DATE))
		buf_printf(out, "Date: %s\r\n", date);
	if (!(s->seen & SEEN_ID))
		buf_printf(out, "Message-ID: <%s@%s>\r\n", draft_id(s->draft), c->hostname);
	if (!(s->seen & SEEN_FROM))
		put_from(s, out);
	buf_puts(out, "\r\n");
}

/* For want of a signature no mail is refused. */
static void log_unsigned(const struct submission *s, const char *why)
{
	log_event(LOG_WARN, "unsigned", LF(L_TEXT("id", draft_id(s->draft)), L_TEXT("from", s->from_text), L_TEXT("reason", why)));
}

/* What is to be written is the header, no more. */
static void begin_signing(struct submission *s)
{
	const char *why;

	if (!s->config->signer || s->out.bad)
		return;
	s->signing = signing_begin(s->config->signer, buf_view(&s->out), &why);
	if (!s->signing && why)
		log_unsigned(s, why);
}

/* All is written. */
static enum verdict sign(struct submission *s)
{
	struct buf made = { 0 };
	enum verdict v = ACCEPT;

	if (!s->signing)
		return ACCEPT;
	if (!signing_end(s->signing, loop_wall(), &made))
		log_unsigned(s, "out of memory, or a key is broken");
	else if (draft_front(s->draft, made.p, made.n) == 0)
		;
	else if (errno == EMSGSIZE)
		log_unsigned(s, "no room is left for the signature");
	else
		v = refuse(s, EX_TEMPFAIL, "the signature cannot be written into the queue: %s; try again later", strerror(errno));
	buf_free(&made);
	return v;
}

static enum verdict write_out(struct submission *s)
{
	if (s->out.bad)
		return out_of_memory(s);
	if (draft_write(s->draft, s->out.p, s->out.n) == -1)
		return refuse(s, EX_TEMPFAIL, "the message cannot be written into the queue: %s; try again later", strerror(errno));
	buf_clear(&s->out);
	return WAIT;
}

static enum verdict write_body(struct submission *s)
{
	if (s->signing && !s->out.bad)
		signing_add(s->signing, buf_view(&s->out));
	return write_out(s);
}

static enum verdict step_begin(struct submission *s)
{
	if (!(s->draft = make_draft(s)))
		return refuse(s, EX_TEMPFAIL, "the message cannot be put into the queue: %s; try again later", strerror(errno));
	put_header(s, &s->out);
	begin_signing(s);
	if (write_out(s) == REFUSE)
		return REFUSE;
	crlf_add(&s->crlf, s->body.p, s->body.n, &s->out);
	s->state = S_COPY;
	return write_body(s);
}

static enum verdict finish(struct submission *s)
{
	crlf_end(&s->crlf, &s->out);
	if (write_body(s) == REFUSE || sign(s) == REFUSE)
		return REFUSE;
	/* Counted as it will be sent: CR LF and our own fields included. */
	if (draft_size(s->draft) > s->config->message_size)
		return refuse(s, EX_DATAERR, "the message is larger than %llu octets: send less, or raise message_size",
			(unsigned long long)s->config->message_size);
	s->state = S_DONE;
	return ACCEPT;
}

static enum verdict step_copy(struct submission *s)
{
	char block[BLOCK];
	off_t left = s->spooled - s->copied;
	ssize_t n;

	if (left == 0)
		return finish(s);
	n = file_pread(s->spool, block, left < BLOCK ? (size_t)left : BLOCK, s->copied);
	if (n <= 0)
		return refuse(s, EX_TEMPFAIL, "the message cannot be read back: %s; try again later", n == 0 ? "it became shorter" : strerror(errno));
	s->copied += n;
	crlf_add(&s->crlf, block, (size_t)n, &s->out);
	return write_body(s);
}

/* ---- the outside */

struct submission *submit_open(const struct submit_config *config, int fd)
{
	struct submission *s = calloc(1, sizeof *s);

	if (!s)
		return NULL;
	s->config = config;
	s->fd = fd;
	s->spool = -1;
	list_init(&s->rcpts);
	return s;
}

enum verdict submit_step(struct submission *s)
{
	switch (s->state) {
	case S_HEAD: return step_head(s);
	case S_REST: return step_rest(s);
	case S_BEGIN: return step_begin(s);
	case S_COPY: return step_copy(s);
	case S_DONE: return ACCEPT;
	case S_REFUSED: return REFUSE;
	}
	return REFUSE;
}

struct draft *submit_draft(struct submission *s)
{
	struct draft *d = s->state == S_DONE ? s->draft : NULL;

	if (d)
		s->draft = NULL;
	return d;
}

const char *submit_why(const struct submission *s)
{
	return s->why;
}

int submit_status(const struct submission *s)
{
	return s->status;
}

void submit_close(struct submission *s)
{
	struct node *n;

	if (!s)
		return;
	while ((n = list_shift(&s->rcpts)))
		free(owner_of(n, struct rcpt_node, node));
	map_free(&s->by_text);
	signing_free(s->signing);
	if (s->draft)
		draft_abort(s->draft);
	if (s->spool != -1)
		close(s->spool);
	buf_free(&s->head);
	buf_free(&s->out);
	free(s);
}
