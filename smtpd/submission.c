/* What users and local programs send is completed (RFC 6409 8), and says who it is from. The header is held back until its end; the
 * body is not touched. Mail from other servers never comes here. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/idn.h"
#include "lib/list.h"
#include "lib/log.h"
#include "mime/header.h"
#include "parse.h"
#include "policy/dkim.h"
#include "policy/sign.h"
#include "smtpd/session.h"

enum { HEADER_MAX = 256 << 10 };

struct held {
	struct buf text;                /* what has come, until the header is whole */
	size_t looked;                  /* octets of it that hold no end of a header */
};

static const struct refusal
	too_long = { 554, "5.6.0", "The header is larger than 256 KiB" },
	no_header = { 554, "5.6.0", "There is a line in the header that is no field, or no empty line behind it" },
	no_from = { 550, "5.6.0", "There must be one From field, with an address" },
	no_sender = { 550, "5.6.0", "There can be one Sender field, with an address" },
	not_theirs = { 550, "5.7.1", "From or Sender has an address that is not one of yours" },
	no_memory = { 451, "4.3.0", "Out of memory, try again later" };

static void drop_held(struct txn *t)
{
	if (t->held)
		buf_free(&t->held->text);
	free(t->held);
	t->held = NULL;
}

void submission_free(struct txn *t)
{
	drop_held(t);
	signing_free(t->signing);
	t->signing = NULL;
}

bool submission_begin(struct session *s)
{
	s->txn->held = calloc(1, sizeof *s->txn->held);
	if (!s->txn->held)
		return false;
	s->txn->held->text.max = HEADER_MAX + STREAM_IN;
	return true;
}

/* ---- who it is from */

struct authors {
	const struct session *session;
	unsigned n;
	bool foreign;
};

static bool look_at_author(void *arg, const struct addr *a)
{
	struct authors *who = arg;
	struct buf text = { 0 };
	char domain[256];

	who->n++;
	buf_str(&text, a->local);
	buf_char(&text, '@');
	if (idn_to_ascii(a->domain, domain))
		who->foreign = true;
	else if (!buf_puts(&text, domain) || !auth_may_send_as(who->session, buf_view(&text)))
		who->foreign = true;
	buf_free(&text);
	return !who->foreign;
}

static const struct refusal *check_authors(const struct session *s, struct str value, const struct refusal *otherwise)
{
	struct authors who = { .session = s };
	bool whole = header_authors(value, look_at_author, &who);

	if (who.foreign)
		return &not_theirs;
	return whole && who.n ? NULL : otherwise;
}

/* ---- the header */

enum { SEEN_FROM = 1, SEEN_DATE = 2, SEEN_ID = 4, SEEN_SENDER = 8 };

static const struct {
	const char *name;
	unsigned seen;
	bool drop;                      /* it is for nobody's eyes (RFC 5322 3.6.3), or for final delivery to write (RFC 5321 4.4) */
	const struct refusal *once;     /* one, with addresses of the user's own; or this */
} fields[] = {
	{ "From", SEEN_FROM, false, &no_from },
	{ "Sender", SEEN_SENDER, false, &no_sender },
	{ "Date", SEEN_DATE, false, NULL },
	{ "Message-ID", SEEN_ID, false, NULL },
	{ "Bcc", 0, true, NULL },
	{ "Resent-Bcc", 0, true, NULL },
	{ "Return-Path", 0, true, NULL },
};
enum { FIELDS = sizeof fields / sizeof *fields };

static const struct refusal *put_fields(struct session *s, struct str *rest, struct buf *out, unsigned *seen)
{
	bool user = *s->who.user != '\0';
	struct field f;

	while (header_next(rest, &f)) {
		const struct refusal *wrong = NULL;
		size_t i = 0;

		while (i < FIELDS && !str_eq_nocase(f.name, str_of(fields[i].name)))
			i++;
		if (i < FIELDS && user && fields[i].once)
			wrong = fields[i].seen & *seen ? fields[i].once : check_authors(s, f.value, fields[i].once);
		if (wrong)
			return wrong;
		if (i < FIELDS)
			*seen |= fields[i].seen;
		if (i == FIELDS || !fields[i].drop)
			buf_str(out, f.whole);
	}
	return NULL;
}

static void put_missing(struct session *s, struct buf *out, unsigned seen)
{
	char date[64];

	if (!(seen & SEEN_DATE))
		buf_printf(out, "Date: %s\r\n", clock_rfc5322(loop_wall(), date));
	if (!(seen & SEEN_ID))
		buf_printf(out, "Message-ID: <%s@%s>\r\n", s->txn->id, s->config->hostname);
	if (!(seen & SEEN_FROM) && *s->who.sender)
		buf_printf(out, "From: <%s>\r\n", s->who.sender);
}

/* ---- the signature: for want of one no mail is refused */

static void log_unsigned(const struct session *s, const char *why)
{
	log_event(LOG_WARN, "unsigned", LF(L_TEXT("id", session_id(s)), L_TEXT("from", s->who.sender), L_TEXT("reason", why)));
}

/* The header is stored, with what came of the body behind it. */
static void begin_signing(struct session *s, struct str text)
{
	size_t header = dkim_header_end(text);
	const char *why;

	s->txn->signing = signing_begin(s->config->signer, (struct str){ text.p, header }, &why);
	if (s->txn->signing)
		signing_add(s->txn->signing, str_from(text, header));
	else if (why)
		log_unsigned(s, why);
}

void submission_sign_text(struct session *s, struct str text, bool first)
{
	if (first)
		begin_signing(s, text);
	else if (s->txn->signing)
		signing_add(s->txn->signing, text);
}

void submission_sign(struct session *s)
{
	struct txn *t = s->txn;
	struct buf made = { 0 };

	if (!t->signing || t->refusal)
		return;
	if (!signing_end(t->signing, loop_wall(), &made))
		log_unsigned(s, "out of memory, or a key is broken");
	else if (draft_front(t->draft, made.p, made.n) == 0)
		t->signed_by = signing_domain(t->signing);
	else if (errno == EMSGSIZE)
		log_unsigned(s, "no room is left for the signature");
	else
		data_disk_failed(s, "sign");
	buf_free(&made);
}

/* The header is whole, or the message is over: what was held goes on, completed. */
static void let_go(struct session *s)
{
	struct held *h = s->txn->held;
	struct str all = buf_view(&h->text), rest = all;
	struct buf out = { 0 };
	unsigned seen = 0;
	bool user = *s->who.user != '\0', separated, bare;
	const struct refusal *wrong;

	/* A last field without line end cannot come: messages end in one. */
	wrong = put_fields(s, &rest, &out, &seen);
	separated = rest.p >= all.p + 2 && rest.p[-1] == '\n' && (rest.p == all.p + 2 || rest.p[-3] == '\n');
	bare = rest.p == all.p;                 /* a text without a header gets one */
	if (!wrong && user && !(seen & SEEN_FROM) && !*s->who.sender)
		wrong = &no_from;
	if (!wrong && user && rest.n && !separated && !bare)
		wrong = &no_header;
	if (!wrong) {
		put_missing(s, &out, seen);
		buf_puts(&out, "\r\n");
		buf_str(&out, rest);
		if (out.bad)
			wrong = &no_memory;
	}
	drop_held(s->txn);              /* text is gone from here on */
	if (wrong)
		data_refuse(s, wrong);
	else {
		data_store(s, buf_view(&out));
		if (s->config->signer && !s->txn->refusal && !s->milters)       /* filters may change what is signed */
			begin_signing(s, buf_view(&out));
	}
	buf_free(&out);
}

/* The octets of the header with its empty line, or of what there is of it while that has not come. */
static size_t header_size(struct held *h, bool *whole)
{
	const char *p = h->text.p, *end;
	size_t from = h->looked < 3 ? 0 : h->looked - 3;

	end = h->text.n >= 2 && !memcmp(p, "\r\n", 2) ? p : memmem(p + from, h->text.n - from, "\r\n\r\n", 4);
	h->looked = h->text.n;
	*whole = end;
	if (!end)
		return h->text.n;
	return (size_t)(end - p) + (end == p ? 2 : 4);
}

void submission_take(struct session *s, struct str text)
{
	struct held *h = s->txn->held;
	bool whole;

	if (!buf_str(&h->text, text))
		data_refuse(s, h->text.n + text.n > h->text.max ? &too_long : &no_memory);
	else if (header_size(h, &whole) > HEADER_MAX)
		data_refuse(s, &too_long);
	else if (whole)
		let_go(s);
}

void submission_end(struct session *s)
{
	if (s->txn->held && !s->txn->refusal)
		let_go(s);
}
