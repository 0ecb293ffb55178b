/* Filters of others, over the milter protocol: what a session has them say, and what follows from it. They are called when a client says
 * MAIL, so that who only looks around costs them nothing, and asked one after the other; the message is shown to each from the draft, when
 * it is whole, so that each sees what those before it have made of it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/list.h"
#include "lib/log.h"
#include "parse.h"
#include "smtpd/milteredit.h"
#include "smtpd/milterlink.h"
#include "smtpd/session.h"

enum {
	EVENTS_A_TURN = 200,            /* said to a filter, then the others' turn */
	COPY_A_TURN = 16,               /* pieces of a message that is written anew */
	PIECE = 65536,
	LONGEST_MS = 10 * 60 * 1000,    /* for one answer, whatever progress it reports: then the client has given up (RFC 5321 4.5.3.2.6) */
	HELD_MAX = 64 << 20             /* octets of headers that are shown to filters at a time, of all sessions */
};

/* What is told to a filter. Of a message: from E_HEADER to E_END. */
enum event { E_CONNECT, E_HELO, E_MAIL, E_RCPT, E_DATA, E_HEADER, E_EOH, E_BODY, E_END, E_UNKNOWN };
enum stage { ON_CONNECT, ON_HELO, ON_MAIL, ON_RCPT, ON_DATA, ON_END, ON_EOH, NOWHERE };         /* of macros, as the protocol counts */

struct filter {
	struct milter_link link;
	struct milters *all;
	bool connect_said;              /* the connection is known to it, and its HELO */
	bool told;                      /* it knows of a transaction that has not ended for it */
	bool accepts;                   /* whatever comes on this connection */
	bool over;                      /* it has had its say of this message */
	bool failed;                    /* ... or is out of order for it */
	bool awaiting;
	enum event said, next;          /* the last, and what it is to be told then */
	size_t field;                   /* fields that it has been shown */
	uint64_t body;                  /* how far in the draft */
};

struct milters {
	struct session *session;
	enum milter_ask ask;
	bool asking;
	size_t at;                      /* whose turn it is */
	struct buf said, arg;           /* what is asked about, for the filters and for who asks */
	char mail_addr[ADDR_MAX + 1], rcpt_addr[ADDR_MAX + 1];
	char id[ID_MAX];                /* of the message that this transaction is to bring */
	void (*go_on)(struct session *, const struct reply *);
	struct reply why;
	struct refusal refusal;         /* the same */
	bool refused;                   /* by `why` */
	bool turned_away;               /* the connection itself: for good */
	bool discarded, held;
	struct edit *edit;              /* the message that is being shown */
	size_t counted;                 /* octets of it that are in `held_octets` */
	struct draft *fresh;            /* what it becomes */
	uint64_t copied;                /* octets of the body */
	bool is_signed;
	uint64_t looked;                /* octets that are signed */
	struct task work;
	size_t n;
	struct filter filter[];
};

static size_t held_octets;

/* ---- macros */

static char text[ADDR_MAX + 64];        /* one for all: a value is copied before the next is made */

static struct str domain_of(const char *address)
{
	const char *at = strrchr(address, '@');

	return str_of(at ? at + 1 : "");
}

static const char *in_text(struct str s)
{
	str_copy(text, sizeof text, s);
	return text;
}

static const char *client_addr(const struct milters *m)
{
	const char *said = m->session->who.peer_text;

	if (m->session->who.peer.ss_family == AF_UNSPEC)
		return "";
	return strncmp(said, "IPv6:", 5) ? said : said + 5;
}

static const char *client_name(const struct milters *m)
{
	snprintf(text, sizeof text, m->session->who.peer.ss_family == AF_UNSPEC ? "localhost" : "[%s]", client_addr(m));
	return text;
}

static const char *both_names(const struct milters *m)
{
	if (m->session->who.peer.ss_family == AF_UNSPEC)
		return "localhost";
	snprintf(text, sizeof text, "unknown [%s]", client_addr(m));
	return text;
}

static const char *port_text(const struct sockaddr_storage *a)
{
	if (a->ss_family != AF_INET && a->ss_family != AF_INET6)
		return "";
	snprintf(text, sizeof text, "%u", ntohs(a->ss_family == AF_INET ? ((const struct sockaddr_in *)a)->sin_port : ((const struct sockaddr_in6 *)a)->sin6_port));
	return text;
}

static const char *client_port(const struct milters *m) { return port_text(&m->session->who.peer); }

static const char *daemon_name(const struct milters *m)
{
	static const char *const names[] = { [SMTPD_MX] = "smtp", [SMTPD_SUBMISSION] = "submission", [SMTPD_SUBMISSIONS] = "submissions", [SMTPD_LOCAL] = "local" };

	return names[m->session->service];
}

/* BearSSL's suites have keys of 128 or 256 bits. */
static const char *cipher_bits(const struct milters *m)
{
	const char *c = m->session->cipher;

	return !m->session->who.tls ? "" : strstr(c, "256_GCM") || strstr(c, "256_CBC") || strstr(c, "CHACHA") ? "256" : "128";
}

static const char *hostname(const struct milters *m) { return m->session->config->hostname; }
static const char *version(const struct milters *m) { (void)m; return "fardel " FARDEL_VERSION; }
static const char *tls_version_said(const struct milters *m) { return m->session->who.tls ? m->session->tls_version : ""; }
static const char *cipher(const struct milters *m) { return m->session->who.tls ? m->session->cipher : ""; }
static const char *id(const struct milters *m) { return m->id; }
static const char *user(const struct milters *m) { return m->session->who.user; }
static const char *auth_type(const struct milters *m) { return auth_mechanism(m->session); }
static const char *mail_addr(const struct milters *m) { return m->mail_addr; }
static const char *mail_host(const struct milters *m) { return in_text(domain_of(m->mail_addr)); }
static const char *rcpt_addr(const struct milters *m) { return m->rcpt_addr; }
static const char *rcpt_host(const struct milters *m) { return in_text(domain_of(m->rcpt_addr)); }

/* Told at these stages, unless the filter has said itself what it wants to know where. What is not known is left out. */
enum { AT_CONNECT = 1 << ON_CONNECT, AT_HELO = 1 << ON_HELO, AT_MAIL = 1 << ON_MAIL, AT_RCPT = 1 << ON_RCPT,
	AT_ALL_ELSE = 1 << ON_DATA | 1 << ON_END | 1 << ON_EOH };
static const struct {
	const char *name;
	unsigned stages;
	const char *(*value)(const struct milters *);
} macros[] = {
	{ "j", AT_CONNECT, hostname },
	{ "v", AT_CONNECT, version },
	{ "_", AT_CONNECT, both_names },
	{ "{daemon_name}", AT_CONNECT, daemon_name },
	{ "{client_addr}", AT_CONNECT, client_addr },
	{ "{client_name}", AT_CONNECT, client_name },
	{ "{client_ptr}", AT_CONNECT, client_name },
	{ "{client_port}", AT_CONNECT, client_port },
	{ "{tls_version}", AT_HELO, tls_version_said },
	{ "{cipher}", AT_HELO, cipher },
	{ "{cipher_bits}", AT_HELO, cipher_bits },
	{ "i", AT_MAIL | AT_RCPT | AT_ALL_ELSE, id },
	{ "{auth_type}", AT_MAIL, auth_type },
	{ "{auth_authen}", AT_MAIL, user },
	{ "{auth_author}", AT_MAIL, user },
	{ "{mail_addr}", AT_MAIL, mail_addr },
	{ "{mail_host}", AT_MAIL, mail_host },
	{ "{rcpt_addr}", AT_RCPT, rcpt_addr },
	{ "{rcpt_host}", AT_RCPT, rcpt_host },
};

static bool send_macros(struct filter *f, char letter, enum stage stage)
{
	static struct buf data;         /* one for all: it holds nothing from one call to the next */
	const struct milter_options *o = &f->link.options;

	buf_clear(&data);
	buf_char(&data, letter);
	for (size_t i = 0; i < sizeof macros / sizeof *macros; i++) {
		bool told = o->symbols[stage][0] ? milter_wants_symbol(o, stage, macros[i].name) : (macros[i].stages & 1u << stage) != 0;
		const char *value = told ? macros[i].value(f->all) : "";

		if (*value) {
			milter_string(&data, str_of(macros[i].name));
			milter_string(&data, str_of(value));
		}
	}
	return !data.bad && link_send(&f->link, 'D', buf_view(&data));
}

/* ---- what becomes of it */

static void refuse(struct milters *m, int code, const char *enhanced, const char *why)
{
	reply_set(&m->why, code, enhanced, "%s", why);
	m->refused = true;
	if (m->session->txn)
		m->session->txn->token = "milter";
}

static void disk_failed(struct milters *m, const char *step)
{
	data_disk_failed(m->session, step);
	refuse(m, 451, "4.3.0", "The message could not be stored, try again later");
}

static void forget_edit(struct milters *m)
{
	held_octets -= m->counted;
	m->counted = 0;
	edit_free(m->edit);
	m->edit = NULL;
	draft_abort(m->fresh);
	m->fresh = NULL;
}

/* ---- what is said */

static bool put_connect(struct filter *f, struct buf *out) { return milter_address(out, client_name(f->all), &f->all->session->who.peer); }
static bool put_helo(struct filter *f, struct buf *out) { return milter_string(out, str_of(f->all->session->who.helo)); }
static bool put_said(struct filter *f, struct buf *out) { return buf_str(out, buf_view(&f->all->said)); }
static bool put_nothing(struct filter *f, struct buf *out) { (void)f; return !out->bad; }

/* A filter takes no larger packet: of a longer value it sees the beginning. */
static bool put_field(struct filter *f, struct buf *out)
{
	struct str name = STR(""), value = STR("");

	edit_field(f->all->edit, f->field++, &name, &value);
	if (name.n > MILTER_CHUNK / 2)
		name.n = MILTER_CHUNK / 2;
	while (!(f->link.options.steps & MILTER_LEADING_SPACE) && value.n && (value.p[0] == ' ' || value.p[0] == '\t'))
		value = str_from(value, 1);
	if (value.n > MILTER_CHUNK - 3 - name.n)
		value.n = MILTER_CHUNK - 3 - name.n;
	return milter_string(out, name) && milter_string(out, value);
}

static bool put_body(struct filter *f, struct buf *out)
{
	struct session *s = f->all->session;
	char *p = buf_reserve(out, MILTER_CHUNK);
	ssize_t n = p ? draft_read(s->txn->draft, f->body, p, MILTER_CHUNK) : -1;

	if (n <= 0) {
		disk_failed(f->all, "read");
		return false;
	}
	out->n += (size_t)n;
	f->body += (uint64_t)n;
	return true;
}

static const struct {
	char letter;
	enum stage stage;
	uint32_t skipped, silent;       /* steps that a filter may have left out, or answers it may have */
	uint32_t since;                 /* the version that knows it */
	const char *name;               /* for the log */
	bool (*put)(struct filter *, struct buf *);
} events[] = {
	[E_CONNECT] = { 'C', ON_CONNECT, MILTER_NO_CONNECT, MILTER_NR_CONNECT, 2, "CONNECT", put_connect },
	[E_HELO] = { 'H', ON_HELO, MILTER_NO_HELO, MILTER_NR_HELO, 2, "HELO", put_helo },
	[E_MAIL] = { 'M', ON_MAIL, MILTER_NO_MAIL, MILTER_NR_MAIL, 2, "MAIL", put_said },
	[E_RCPT] = { 'R', ON_RCPT, MILTER_NO_RCPT, MILTER_NR_RCPT, 2, "RCPT", put_said },
	[E_DATA] = { 'T', ON_DATA, MILTER_NO_DATA, MILTER_NR_DATA, 4, "DATA", put_nothing },
	[E_HEADER] = { 'L', NOWHERE, MILTER_NO_HEADERS, MILTER_NR_HEADER, 2, "header", put_field },
	[E_EOH] = { 'N', ON_EOH, MILTER_NO_EOH, MILTER_NR_EOH, 2, "end of header", put_nothing },
	[E_BODY] = { 'B', NOWHERE, MILTER_NO_BODY, MILTER_NR_BODY, 2, "body", put_body },
	[E_END] = { 'E', ON_END, 0, 0, 2, "end of message", put_nothing },
	[E_UNKNOWN] = { 'U', NOWHERE, MILTER_NO_UNKNOWN, MILTER_NR_UNKNOWN, 3, "unknown command", put_said },
};

static const struct { enum event first, last; } questions[] = {
	[MILTER_ASK_MAIL] = { E_CONNECT, E_MAIL },
	[MILTER_ASK_RCPT] = { E_RCPT, E_RCPT },
	[MILTER_ASK_DATA] = { E_DATA, E_DATA },
	[MILTER_ASK_MESSAGE] = { E_HEADER, E_END },
	[MILTER_ASK_UNKNOWN] = { E_UNKNOWN, E_UNKNOWN },
};

/* ---- when a filter is out of order */

/* Whatever it has said so far counts for nothing. */
static void out_of_order(struct filter *f, const char *why)
{
	static const char *const actions[] = { [SMTPD_MILTER_TEMPFAIL] = "tempfail", [SMTPD_MILTER_ACCEPT] = "accept", [SMTPD_MILTER_REJECT] = "reject" };
	struct milters *m = f->all;
	enum smtpd_milter_default action = m->session->config->milter_default;
	bool its_turn = m->asking && f == &m->filter[m->at];

	if (why && guest_may_log())
		log_event(LOG_WARN, "milter-failed", LF(L_TEXT("id", m->id), L_TEXT("client", m->session->who.peer_text), L_TEXT("milter", f->link.where->text),
			L_TEXT("during", events[f->said].name), L_TEXT("reason", why), L_TEXT("action", actions[action]),
			L_TEXT("remedy", "see whether the filter runs; milter_default_action says what becomes of mail meanwhile")));
	link_close(&f->link);
	f->awaiting = f->told = f->connect_said = false;
	f->failed = true;
	if (!its_turn)
		return;                 /* its turn will come */
	if (!m->fresh)
		forget_edit(m);
	switch (action) {
	case SMTPD_MILTER_ACCEPT:
		f->over = true;
		break;
	case SMTPD_MILTER_TEMPFAIL:
		refuse(m, 451, "4.7.1", "A mail filter is out of order, try again later");
		break;
	case SMTPD_MILTER_REJECT:
		refuse(m, 550, "5.7.1", "A mail filter is out of order");
		break;
	}
}

/* ---- another message */

/* False: the message is refused. */
static bool read_header(struct milters *m)
{
	const char *why;

	if (m->edit)
		return true;
	m->edit = edit_new(m->session->txn->draft, m->session->txn->utf8, &why);
	if (m->edit) {
		m->counted = edit_holds(m->edit);
		held_octets += m->counted;
	}
	if (!m->edit && *why)
		refuse(m, 554, "5.6.0", why);
	else if (!m->edit || held_octets > HELD_MAX)
		refuse(m, 451, "4.3.0", "Out of memory, try again later");
	return m->edit && !m->refused;
}

static void begin_again(struct milters *m, const struct filter *f)
{
	struct session *s = m->session;
	struct txn *t = s->txn;
	struct envelope e = { .text.max = 2 * ENVELOPE_TEXT_MAX };
	struct buf header = { 0 };

	if (edit_quarantine(m->edit))
		log_event(LOG_INFO, "quarantined", LF(L_TEXT("id", m->id), L_TEXT("milter", f->link.where->text), L_TEXT("reason", edit_quarantine(m->edit))));
	if (!edit_envelope(m->edit, &t->envelope, &e)) {
		refuse(m, 451, "4.3.0", "Out of memory, try again later");
		envelope_free(&e);
		return;
	}
	if (!e.nrcpt) {                 /* it has taken them all */
		m->discarded = true;
		envelope_free(&e);
		return;
	}
	if (!s->who.submission)
		e.room = 0;             /* what we write in front of it stands there already */
	envelope_free(&t->envelope);
	t->envelope = e;
	buf_free(&t->only_rcpt);
	m->copied = 0;
	m->fresh = draft_again(t->draft, &t->envelope);
	if (!m->fresh || !edit_header(m->edit, &header) || draft_write(m->fresh, header.p, header.n) == -1)
		disk_failed(m, "rewrite");
	buf_free(&header);
}

/* True: it is done, or has failed. */
static bool copy_some(struct milters *m)
{
	static char piece[PIECE];
	struct txn *t = m->session->txn;
	const struct draft *from = edit_new_body(m->edit);
	uint64_t start = from ? 0 : edit_body(m->edit);

	if (!from)
		from = t->draft;
	for (unsigned i = 0; i < COPY_A_TURN; i++) {
		ssize_t n = draft_read(from, start + m->copied, piece, sizeof piece);

		if (n > 0 && draft_write(m->fresh, piece, (size_t)n) == 0) {
			m->copied += (uint64_t)n;
			continue;
		}
		if (n != 0) {
			disk_failed(m, "rewrite");
			return true;
		}
		draft_abort(t->draft);
		t->draft = m->fresh;
		m->fresh = NULL;
		forget_edit(m);
		return true;
	}
	return false;
}

/* What users send is signed as the filters have left it. True: it is done. */
static bool sign_some(struct milters *m)
{
	static char piece[EDIT_HEADER_MAX];     /* the first one holds the header */
	struct session *s = m->session;
	size_t all = 0;
	ssize_t n = 1;

	while (all < sizeof piece && (n = draft_read(s->txn->draft, m->looked + all, piece + all, sizeof piece - all)) > 0)
		all += (size_t)n;
	if (n == -1) {
		disk_failed(m, "read");
		return true;
	}
	submission_sign_text(s, (struct str){ piece, all }, m->looked == 0);
	m->looked += all;
	if (all == sizeof piece)
		return false;
	submission_sign(s);
	return true;
}

/* ---- whose turn it is */

/* Before an event: is there anything of its kind? */
static void next_event(struct filter *f)
{
	struct str name, value;

	if (f->next < E_BODY)
		f->body = edit_body(f->all->edit);
	if (f->next == E_HEADER && ((f->link.options.steps & MILTER_NO_HEADERS) || !edit_field(f->all->edit, f->field, &name, &value)))
		f->next = E_EOH;
	if (f->next == E_BODY && ((f->link.options.steps & MILTER_NO_BODY) || f->body >= draft_size(f->all->session->txn->draft)))
		f->next = E_END;
}

static void say(struct filter *f)
{
	static struct buf data;         /* one for all: it holds nothing from one call to the next */
	enum event e = f->next;
	msec patience = 1000 * (msec)(e >= E_HEADER && e <= E_END ? f->all->session->config->milter_content_s : f->all->session->config->milter_command_s);

	if (e != E_HEADER && e != E_BODY)
		f->next++;
	f->connect_said |= e == E_HELO;
	if (f->link.options.steps & events[e].skipped || f->link.options.version < events[e].since)
		return;
	f->told |= e >= E_MAIL && e <= E_END;
	buf_clear(&data);
	if ((events[e].stage != NOWHERE && !send_macros(f, events[e].letter, events[e].stage)) || !events[e].put(f, &data) ||
	    !link_send(&f->link, events[e].letter, buf_view(&data))) {
		if (!f->all->refused)
			out_of_order(f, "memory is out");
		return;
	}
	f->said = e;
	f->awaiting = !(f->link.options.steps & events[e].silent);
	if (f->awaiting)
		link_await(&f->link, patience, LONGEST_MS);
}

/* ACCEPT: it has no more to say of what is asked. */
static enum verdict consult(struct filter *f)
{
	struct milters *m = f->all;

	for (unsigned budget = EVENTS_A_TURN; budget; budget--) {
		if (m->refused)
			return REFUSE;
		if (f->awaiting)
			return WAIT;
		if (f->accepts || f->over || f->next > questions[m->ask].last || m->discarded)
			return ACCEPT;
		if (m->ask == MILTER_ASK_UNKNOWN && f->link.state != LINK_READY)
			return ACCEPT;
		if (f->failed) {
			out_of_order(f, NULL);
			continue;
		}
		if (f->link.state == LINK_CLOSED) {
			f->said = E_CONNECT;
			link_open(&f->link, 1000 * (msec)m->session->config->milter_connect_s);
		}
		if (f->link.state != LINK_READY)
			return WAIT;
		if (m->ask == MILTER_ASK_MESSAGE) {
			if (!read_header(m))
				return REFUSE;
			next_event(f);
		}
		if (link_full(&f->link)) {
			link_await(&f->link, 1000 * (msec)m->session->config->milter_content_s, LONGEST_MS);
			return WAIT;
		}
		say(f);
	}
	task_post(&m->work);
	return WAIT;
}

static void finish(struct milters *m)
{
	struct session *s = m->session;
	bool waited = s->phase == P_MILTER;

	m->asking = false;
	task_cancel(&m->work);
	forget_edit(m);
	if (waited)
		session_await_command(s);
	if (m->refused && m->why.code == 421)
		session_hang_up(s, m->why.enhanced, m->why.text);
	else
		m->go_on(s, m->refused ? &m->why : NULL);
	if (waited)
		stream_again(&s->stream);
}

static void start_turn(struct filter *f)
{
	f->next = questions[f->all->ask].first;
	if (f->next == E_CONNECT && f->connect_said)
		f->next = E_MAIL;
	f->field = 0;
	f->body = 0;
}

/* Goes as far as it can without waiting. */
static void advance(struct milters *m)
{
	while (m->asking) {
		if (m->refused)
			break;
		if (m->fresh) {
			if (!copy_some(m)) {
				task_post(&m->work);
				return;
			}
			continue;
		}
		if (m->at < m->n && !m->discarded) {
			switch (consult(&m->filter[m->at])) {
			case WAIT:
				return;
			case REFUSE:
				break;
			case ACCEPT:
				m->at++;
				break;
			}
			continue;
		}
		if (m->ask != MILTER_ASK_MESSAGE || m->discarded || m->is_signed || !m->session->who.submission || !m->session->config->signer)
			break;
		if (!sign_some(m)) {
			task_post(&m->work);
			return;
		}
		m->is_signed = true;
	}
	if (m->asking)
		finish(m);
}

static void go_on_working(struct task *t) { advance(owner_of(t, struct milters, work)); }

/* ---- what a filter says */

static const char *answered(struct filter *f, char letter, struct str data)
{
	struct milters *m = f->all;
	enum event e = f->said;
	const char *wrong;

	f->awaiting = false;
	link_content(&f->link);
	if (e == E_END)
		f->told = false;
	switch (letter) {
	case 'c':
	case 'a':
		f->over = letter == 'a' && e > E_HELO;
		f->accepts = letter == 'a' && e <= E_HELO;
		if (letter == 'a')
			f->told = false;
		if (e == E_END && edit_wanted(m->edit))
			begin_again(m, f);
		return NULL;
	case 's':
		if (e != E_BODY || !(f->link.options.steps & MILTER_SKIP))
			return "skips what it cannot";
		f->next = E_END;
		return NULL;
	case 'd':
		if (e < E_MAIL || e > E_END)
			return "discards a message where there is none";
		m->discarded = true;
		log_event(LOG_INFO, "discarded", LF(L_TEXT("id", m->id), L_TEXT("client", m->session->who.peer_text), L_TEXT("from", m->mail_addr),
			L_TEXT("milter", f->link.where->text)));
		return NULL;
	case 'r':
		refuse(m, 550, "5.7.1", "Refused by a mail filter");
		break;
	case 't':
	case 'f':
		refuse(m, 451, "4.7.1", "Not taken by a mail filter now, try again later");
		break;
	case '4':
		refuse(m, 421, "4.7.0", "Not served by a mail filter now");
		break;
	case 'y':
		if ((wrong = milter_take_reply(data, &m->why)))
			return wrong;
		m->refused = true;
		if (m->session->txn)
			m->session->txn->token = "milter";
		break;
	default:
		return "sends a letter that is no answer";
	}
	m->turned_away = e <= E_HELO;
	if (e >= E_HEADER && e <= E_END)
		f->told = false;
	return NULL;
}

static void heard(struct milter_link *l, char letter, struct str data)
{
	struct filter *f = owner_of(l, struct filter, link);
	struct milters *m = f->all;
	bool spaces = l->options.steps & MILTER_LEADING_SPACE;
	const char *wrong = NULL;

	if (!f->awaiting)
		wrong = "speaks when it was not asked";
	else if (letter == 'p')
		link_goes_on(l);
	else if (!edit_is_change(letter))
		wrong = answered(f, letter, data);
	else if (f->said != E_END)
		wrong = "wants a change before the end of the message";
	else {
		link_goes_on(l);
		wrong = edit_change(m->edit, l->options.actions, spaces, m->session->config->message_size, letter, data);
		if (wrong && edit_error(m->edit)) {
			errno = edit_error(m->edit);
			disk_failed(m, "rewrite");
			wrong = NULL;
		}
	}
	if (wrong)
		out_of_order(f, wrong);
	if (m->asking && (m->refused || !f->awaiting))
		advance(m);
}

static void ready(struct milter_link *l)
{
	advance(owner_of(l, struct filter, link)->all);
}

static void has_room(struct milter_link *l)
{
	struct filter *f = owner_of(l, struct filter, link);

	if (f->awaiting || !f->all->asking || link_full(l))
		return;
	link_content(l);
	advance(f->all);
}

static void link_failed(struct milter_link *l, const char *why)
{
	struct filter *f = owner_of(l, struct filter, link);

	if (!f->told && !(f->all->asking && f == &f->all->filter[f->all->at])) {
		f->connect_said = false;        /* it is called again when there is something to be said */
		return;
	}
	out_of_order(f, why);
	advance(f->all);
}

/* ---- the session's side */

static bool is_for(const struct session *s, const struct smtpd_milter *where) { return s->who.submission ? where->users : where->servers; }

static size_t how_many(const struct session *s)
{
	size_t n = 0;

	for (size_t i = 0; i < s->config->nmilters; i++)
		n += is_for(s, &s->config->milters[i]);
	return n;
}

bool milters_wanted(const struct session *s) { return s->milters || (s->config->nmilters && how_many(s)); }

static struct milters *make(struct session *s)
{
	size_t n = how_many(s);
	struct milters *m = calloc(1, sizeof *m + n * sizeof m->filter[0]);

	if (!m)
		return NULL;
	m->session = s;
	m->work.run = go_on_working;
	for (size_t i = 0; i < s->config->nmilters; i++) {
		struct filter *f = &m->filter[m->n];

		if (!is_for(s, &s->config->milters[i]))
			continue;
		f->all = m;
		f->link = (struct milter_link){ .where = &s->config->milters[i], .ready = ready, .heard = heard, .room = has_room, .failed = link_failed };
		m->n++;
	}
	return m;
}

void milters_free(struct session *s)
{
	struct milters *m = s->milters;

	if (!m)
		return;
	s->milters = NULL;
	task_cancel(&m->work);
	for (size_t i = 0; i < m->n; i++)
		link_goodbye(&m->filter[i].link);
	forget_edit(m);
	buf_free(&m->said);
	buf_free(&m->arg);
	free(m);
}

/* A filter that owes an answer would give it to the next question. */
void milters_abort(struct session *s)
{
	struct milters *m = s->milters;

	if (!m)
		return;
	m->asking = m->discarded = m->is_signed = false;
	m->looked = 0;
	task_cancel(&m->work);
	forget_edit(m);
	for (size_t i = 0; i < m->n; i++) {
		struct filter *f = &m->filter[i];
		bool in_step = f->link.state == LINK_READY && !f->awaiting;

		if (!in_step || (f->told && !link_send(&f->link, 'A', STR("")))) {
			link_close(&f->link);
			f->connect_said = false;
		}
		link_content(&f->link);
		f->awaiting = f->told = f->over = f->failed = false;
	}
}

/* "<a@x>" and the parameters behind it, each with its NUL. */
static bool put_path(struct buf *out, const struct addr *a, struct str params)
{
	struct str word;

	buf_char(out, '<');
	buf_str(out, a->local);
	if (a->domain.n) {
		buf_char(out, '@');
		buf_str(out, a->domain);
	}
	milter_string(out, STR(">"));
	while (str_word(&params, &word))
		milter_string(out, word);
	return !out->bad;
}

static bool prepare(struct milters *m, enum milter_ask ask, struct str arg, const struct addr *a, struct str params)
{
	char *copy = ask == MILTER_ASK_MAIL ? m->mail_addr : m->rcpt_addr;

	buf_clear(&m->arg);
	buf_clear(&m->said);
	if (!a)
		return buf_str(&m->arg, arg) && milter_string(&m->said, arg);
	str_copy(copy, ADDR_MAX + 1, a->domain.n ? (struct str){ a->local.p, (size_t)(a->domain.p + a->domain.n - a->local.p) } : a->local);
	return buf_str(&m->arg, arg) && put_path(&m->said, a, params);
}

void milters_ask(struct session *s, enum milter_ask ask, struct str arg, const struct addr *a, struct str params, void (*go_on)(struct session *, const struct reply *))
{
	struct milters *m = s->milters;

	if (!m && ask == MILTER_ASK_MAIL && milters_wanted(s)) {
		m = s->milters = make(s);
		if (!m) {
			session_say(s, 451, "4.3.0", "Out of memory, try again later");
			return;
		}
	}
	/* A refusal of before is said again and again between pieces of BDAT: it must stay as it is. */
	if (!m || (ask == MILTER_ASK_UNKNOWN && s->txn && s->txn->refusal)) {
		go_on(s, NULL);
		return;
	}
	m->go_on = go_on;
	m->ask = ask;
	m->at = 0;
	m->refused = m->turned_away && ask == MILTER_ASK_MAIL;
	if (ask == MILTER_ASK_MAIL)
		queue_new_id(m->id);
	for (size_t i = 0; i < m->n; i++)
		start_turn(&m->filter[i]);
	if (!prepare(m, ask, arg, a, params))
		refuse(m, 451, "4.3.0", "Out of memory, try again later");
	m->asking = true;
	advance(m);
	if (m->asking)
		s->phase = P_MILTER;
}

struct str milters_arg(const struct session *s) { return buf_view(&s->milters->arg); }

const char *milters_id(const struct session *s) { return s->milters ? s->milters->id : NULL; }

bool milters_discarded(const struct session *s) { return s->milters && s->milters->discarded; }

const struct refusal *milters_refusal(const struct session *s)
{
	struct milters *m = s->milters;

	m->refusal = (struct refusal){ m->why.code, m->why.enhanced, m->why.text };
	return &m->refusal;
}
