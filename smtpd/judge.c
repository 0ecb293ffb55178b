/* Who may come in: when a stranger's message is whole, each of its recipients is asked for (policy/judge.h). What nobody wants is refused, and
 * kept for its recipients where the server does that; what somebody wants is taken, for him alone. Nobody is ever sent a report of it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/list.h"
#include "lib/log.h"
#include "lib/map.h"
#include "lib/rand.h"
#include "mime/header.h"
#include "parse.h"
#include "policy/judge.h"
#include "smtpd/session.h"

enum {
	ASK_MS = 10000,                 /* for all recipients; who has not been found out about then is judged without */
	KEEP_MS = 10000,                /* for what was refused to be kept, before that is said */
	REFUSED_MS = 5000,              /* a stranger's reply to a message that nobody wants comes so late */
	HEADER_LOOKED_AT = 64 << 10,    /* octets of the message in which its author is looked for */
	FACTS_A_RCPT = FACTS_A_QUESTION + JUDGE_FACTS
};

struct judging {
	struct session *session;
	enum { J_ASKING, J_KEEPING, J_SLOW, J_DONE } stage;
	struct buf text, path;          /* words of message, and where it is */
	struct judge_message message;
	off_t own;                      /* octets in front of what the client has sent */
	size_t at;                      /* in the envelope's text: the line of the recipient who is asked for */
	struct facts *facts;            /* for him */
	struct task wake;
	bool late;
	struct judgement judgement;
	/* What came of it. */
	struct envelope accepted;       /* who wants it */
	struct list unwanted;           /* struct unwanted, the others */
	bool first_time;
	char reason[JUDGE_TOKEN + 16];  /* for the message and the log */
	size_t keeping;                 /* that have not said whether they were kept */
	struct reply reply;
	struct refusal refusal;
};
/* A recipient who does not want it. */
struct unwanted {
	struct node node;
	struct judging *judging;        /* NULL: it has ended */
	bool asked;                     /* refused.done() will come */
	struct refused refused;
	char local[LOCAL_MAX + 1], to[ADDR_MAX + 1], reason[JUDGE_TOKEN];
};

static bool is_wanted(const struct session *s)
{
	return s->config->judge != SMTPD_JUDGE_OFF && s->service == SMTPD_MX && session_is_stranger(s);
}

size_t judging_room(const struct session *s) { return is_wanted(s) ? HISTORY_LINE : 0; }
enum dmarc_override judging_override(const struct txn *t)
{
	const struct judging *j = t->judging;

	return !j ? DMARC_NO_OVERRIDE : j->judgement.why == JUDGE_LIST ? DMARC_MAILING_LIST : j->judgement.forwarded ? DMARC_FORWARDED : DMARC_NO_OVERRIDE;
}

const char *judging_word(const struct txn *t) { return t->judging ? t->judging->reason : NULL; }

void judging_free(struct txn *t)
{
	struct judging *j = t->judging;
	struct node *x;

	if (!j)
		return;
	facts_free(j->facts);
	buf_free(&j->text);
	buf_free(&j->path);
	envelope_free(&j->accepted);
	while ((x = list_shift(&j->unwanted))) {
		struct unwanted *u = owner_of(x, struct unwanted, node);

		u->judging = NULL;
		if (!u->asked)
			free(u);
	}
	free(j);
	t->judging = NULL;
}

/* ---- what is known of the message */

/* Behind our own fields the client's begin: Received is the last one of ours. */
static struct str skip_own(struct str header, off_t *own)
{
	struct str rest = header;
	struct field f;

	while (header_next(&rest, &f))
		if (str_eq_nocase(f.name, STR("Received")))
			break;
	*own = (off_t)(header.n - rest.n);
	return rest;
}

/* Words are read by whoever may block. */
static bool put_into_file(struct session *s, struct judging *j)
{
	off_t at;

	if (!s->config->judge_content)
		return true;
	if (draft_file(s->txn->draft, &at) == -1 || !draft_path(s->txn->draft, &j->path))
		return false;
	j->message.file = buf_cstr(&j->path);
	j->message.at = at + j->own;
	j->message.jitter = (int)rand_below(1001) - 500;
	return true;
}

static bool look_at_message(struct session *s, struct judging *j)
{
	char *header = malloc(HEADER_LOOKED_AT);
	ssize_t n = header ? draft_peek(s->txn->draft, header, HEADER_LOOKED_AT) : -1;
	bool ok = n >= 0;

	if (ok)
		ok = judge_message_set(&j->message, &j->text, &s->who, vetting_result(s->txn), inspect_dkim(s->txn), inspect_dmarc(s->txn),
			skip_own((struct str){ header, (size_t)n }, &j->own));
	j->message.dmarc_refuses = j->message.dmarc_refuses && s->config->dmarc == SMTPD_DMARC_REFUSE;
	j->message.report = reports_taken(s->txn);
	free(header);
	j->message.no_iprev = inspect_no_iprev(s->txn);
	j->message.listed = lists_score(s);
	j->message.lists = lists_words(s->txn);
	return ok && put_into_file(s, j);
}

/* ---- the end */

static bool write_field(struct session *s, struct judging *j)
{
	struct buf field = { 0 };
	bool ok = reason_print(&field, str_of(j->reason), str_of(session_id(s)), &j->judgement.who);

	/* What is too long to be remembered says its reason all the same. */
	if (!ok)
		ok = buf_printf(&field, REASON_FIELD ": %s\r\n", j->reason);
	ok = ok && draft_front(s->txn->draft, field.p, field.n) == 0;
	buf_free(&field);
	return ok;
}

static bool take_for_the_others(struct session *s, struct judging *j)
{
	if (j->unwanted.n && draft_envelope(s->txn->draft, &j->accepted) == -1)
		return false;
	if (j->unwanted.n) {
		j->accepted.room = s->txn->envelope.room;
		envelope_free(&s->txn->envelope);
		s->txn->envelope = j->accepted;
		j->accepted = (struct envelope){ .nrcpt = s->txn->envelope.nrcpt };
		buf_free(&s->txn->only_rcpt);   /* the log names nobody in place of another */
	}
	return write_field(s, j);
}

/* Goes on with data_commit(). */
static void end(struct session *s, struct judging *j)
{
	j->stage = J_DONE;
	if (j->accepted.nrcpt && !take_for_the_others(s, j))
		data_disk_failed(s, "reason");
	else if (!j->accepted.nrcpt) {
		s->txn->token = j->reason;
		data_refuse(s, &j->refusal);
	}
}

static bool wait_for(struct session *s, msec ms)
{
	s->phase = P_DECIDING;
	session_deadline(s, ms);
	return true;
}

/* True: it is told later. */
static bool slow_down(struct session *s, struct judging *j)
{
	msec ms = j->accepted.nrcpt ? j->first_time ? 1000 * (msec)s->config->first_time_s : 0 : REFUSED_MS;

	j->stage = J_SLOW;
	if (ms && s->config->judge == SMTPD_JUDGE_REFUSE && session_is_counted(s))
		return wait_for(s, ms);
	end(s, j);
	return false;
}

/* ---- keeping what was refused */

static void was_kept(struct refused *r, bool kept)
{
	struct unwanted *u = owner_of(r, struct unwanted, refused);
	struct judging *j = u->judging;
	struct session *s;

	(void)kept;
	u->asked = false;
	if (!j) {
		free(u);
		return;
	}
	s = j->session;
	if (--j->keeping || j->stage != J_KEEPING || s->phase != P_DECIDING || slow_down(s, j))
		return;
	data_commit(s);
	stream_again(&s->stream);
}

static void keep(struct session *s, struct judging *j, struct unwanted *u, int fd, off_t at)
{
	if (!*u->local)
		return;
	u->refused = (struct refused){ .local = str_of(u->local), .to = str_of(u->to), .sender = str_of(s->who.sender), .reason = str_of(u->reason),
		.who = &j->judgement.who, .fd = fd, .at = at, .size = (off_t)draft_size(s->txn->draft), .own = j->own, .done = was_kept };
	memcpy(u->refused.id, s->txn->id, sizeof u->refused.id);
	u->asked = true;
	j->keeping++;
	s->config->keep(s->config->arg, &u->refused);
}

/* True: it is waited for. A disk that takes nothing is no reason to take the message. */
static bool keep_all(struct session *s, struct judging *j)
{
	off_t at;
	int fd = j->unwanted.n && s->config->keep ? draft_file(s->txn->draft, &at) : -1;

	j->stage = J_KEEPING;
	for (struct node *x = fd == -1 ? NULL : list_first(&j->unwanted); x; x = list_next(&j->unwanted, x))
		keep(s, j, owner_of(x, struct unwanted, node), fd, at);
	return j->keeping ? wait_for(s, KEEP_MS) : slow_down(s, j);
}

/* ---- asking for one recipient after the other */

/* Several who want it for different reasons are not told of each other. */
static void note_reason(struct judging *j, const char *before)
{
	char reason[sizeof j->reason];

	snprintf(reason, sizeof reason, "%s%s", before, j->judgement.reason);
	if (*j->reason && strcmp(j->reason, reason) != 0)
		snprintf(reason, sizeof reason, "several");
	memcpy(j->reason, reason, sizeof reason);
}

static bool note_unwanted(struct session *s, struct judging *j, struct str to)
{
	struct unwanted *u = calloc(1, sizeof *u);
	const struct judgement *got = &j->judgement;

	if (!u)
		return false;
	u->judging = j;
	str_copy(u->to, sizeof u->to, to);
	memcpy(u->local, got->local, sizeof u->local);
	memcpy(u->reason, got->reason, sizeof u->reason);
	list_push(&j->unwanted, &u->node);
	if (!j->reply.code || (got->reply.code < 500 && j->reply.code >= 500))  /* what may pass is tried again: so nobody's mail is lost by another's no */
		j->reply = got->reply;
	log_event(LOG_INFO, "unwanted", LF(L_TEXT("id", session_id(s)), L_TEXT("from", *s->who.sender ? s->who.sender : "<>"), L_STR("to", to),
		L_TEXT("client", s->who.peer_text), L_TEXT("reason", got->reason), L_NUM("messages", got->reputation.n)));
	return true;
}

/* He has a folder for what would be refused. Whoever puts it there knows it by the message's reason, which is for him alone then. */
static bool is_spared(const struct session *s, const struct judging *j) { return j->judgement.spared && s->txn->envelope.nrcpt == 1; }

/* False: no memory. */
static bool note_verdict(struct session *s, struct judging *j, const struct recipient *to, struct str address)
{
	bool refused = j->judgement.verdict == REFUSE;

	if (refused && s->config->judge == SMTPD_JUDGE_REFUSE && !is_spared(s, j))
		return note_unwanted(s, j, address);
	note_reason(j, refused ? "unwanted:" : "");
	j->first_time = j->first_time || j->judgement.first_time;
	return envelope_rcpt(&j->accepted, to);
}

static struct str addr_text(const struct addr *a)
{
	return (struct str){ a->local.p, a->local.n + (a->domain.n ? 1 + a->domain.n : 0) };
}

enum asked { A_NOBODY, A_ANSWERED, A_WAITS, A_FAILED };

/* The next line of the envelope. */
static enum asked ask_next(struct session *s, struct judging *j)
{
	struct str rest = str_from(buf_view(&s->txn->envelope.text), j->at), line;
	struct recipient to;

	if (!str_cut(&rest, '\n', &line))
		return A_NOBODY;
	if (!str_starts_nocase(line, STR("RCPT ")) || parse_rcpt(str_from(line, 5), PARAM_ALL, true, &to).text) {
		if (!buf_add(&j->accepted.text, line.p, line.n + 1))
			return A_FAILED;
		j->at += line.n + 1;
		return A_ANSWERED;
	}
	if (!j->facts && !(j->facts = facts_new(&j->wake, FACTS_A_RCPT)))
		return A_FAILED;
	if (s->config->judge_rcpt(s->config->arg, j->facts, &to.addr, &j->message, j->late, &j->judgement) == WAIT)
		return A_WAITS;
	facts_free(j->facts);
	j->facts = NULL;
	j->at += line.n + 1;
	return note_verdict(s, j, &to, addr_text(&to.addr)) ? A_ANSWERED : A_FAILED;
}

/* True: it waits. */
static bool ask_all(struct session *s, struct judging *j)
{
	for (;;)
		switch (ask_next(s, j)) {
		case A_ANSWERED:
			break;
		case A_WAITS:                   /* the time counts from the first one who has to be asked for */
			return s->phase == P_DECIDING || wait_for(s, ASK_MS);
		case A_FAILED:
			errno = ENOMEM;
			data_disk_failed(s, "memory");
			j->stage = J_DONE;
			return false;
		case A_NOBODY:
			j->refusal = (struct refusal){ j->reply.code, j->reply.enhanced, j->reply.text };
			if (!j->accepted.nrcpt)
				snprintf(j->reason, sizeof j->reason, "%s", j->judgement.reason);
			return keep_all(s, j);
		}
}

static void on_facts(struct task *t)
{
	struct judging *j = owner_of(t, struct judging, wake);
	struct session *s = j->session;

	if (j->stage != J_ASKING || s->phase != P_DECIDING || ask_all(s, j))
		return;
	data_commit(s);
	stream_again(&s->stream);
}

void judging_time(struct session *s)
{
	struct judging *j = s->txn->judging;
	bool waits = false;

	switch (j->stage) {
	case J_ASKING:
		j->late = true;
		waits = ask_all(s, j);
		break;
	case J_KEEPING:
		waits = slow_down(s, j);
		break;
	case J_SLOW:
		end(s, j);
		break;
	case J_DONE:
		break;
	}
	if (!waits)
		data_commit(s);
}

bool judging_begin(struct session *s)
{
	struct judging *j;

	if (s->txn->judging || !is_wanted(s))
		return false;
	j = s->txn->judging = calloc(1, sizeof *j);
	if (!j) {
		errno = ENOMEM;
		data_disk_failed(s, "memory");
		return false;
	}
	j->session = s;
	j->wake.run = on_facts;
	j->accepted.release = s->txn->envelope.release;
	list_init(&j->unwanted);
	if (!look_at_message(s, j)) {
		data_disk_failed(s, "header");
		return false;
	}
	return ask_all(s, j);
}

/* ---- more than one recipient */

enum { ALONE = 1024, ALONE_AGAIN_MS = 60000, ALONE_KEPT_MS = 24 * 3600 * 1000 };

/* Who was told to send to one at a time. After a minute he need not any more: so nobody's mail waits for more than one more attempt. */
static struct { uint64_t key; msec since; } alone[ALONE];

static uint64_t key_of(const struct session *s)
{
	static uint64_t seed[2];
	char text[ADDR_MAX + INET6_ADDRSTRLEN + 16];
	struct str network = str_of(s->who.peer_text), host;
	int n;

	if (!seed[0])
		rand_bytes(seed, sizeof seed);
	if (str_cut_last(&network, '.', &host) || str_cut_last(&network, ':', &host))   /* its neighbours send what it could not */
		network = host;
	n = snprintf(text, sizeof text, STR_FMT " %s", STR_ARG(network), s->who.sender);
	return siphash(seed, text, n < (int)sizeof text ? (size_t)n : sizeof text - 1);
}

static bool may_come_again(const struct session *s)
{
	uint64_t key = key_of(s);
	size_t at = key % ALONE;
	msec age = loop_now() - alone[at].since;

	if (alone[at].key == key && age < ALONE_KEPT_MS)
		return age >= ALONE_AGAIN_MS;
	alone[at].key = key;
	alone[at].since = loop_now();
	return false;
}

bool judging_wants_one(const struct session *s)
{
	return is_wanted(s) && s->config->judge == SMTPD_JUDGE_REFUSE && s->config->spf != SMTPD_SPF_OFF && s->txn->envelope.nrcpt > 0;
}

bool judging_has_enough(struct session *s)
{
	const struct spf_result *r = vetting_result(s->txn);

	if (!r || r->code == SPF_TEMPERROR || (r->code == SPF_PASS && !r->helo))
		return false;
	return !may_come_again(s);
}
