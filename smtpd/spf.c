/* SPF of a stranger's sender (RFC 7208): asked when the message is about to come, and awaited before its first octet is stored, as what comes
 * out is a field on top of it. Not asked sooner: a hundred questions to the servers of others for each MAIL and RCPT that nothing follows
 * would make us somebody's tool (RFC 7208 11.1). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/list.h"
#include "policy/spf.h"
#include "smtpd/session.h"

struct vetting {
	struct session *session;
	struct spf_query query;
	struct spf_result result;
	bool known;
	struct facts *facts;                    /* until it is */
	struct task wake;
	struct timer late;
	void (*go_on)(struct session *);        /* P_VETTING: what waits for it */
	char text[480];
	struct refusal refusal;
};

static void known(struct vetting *v)
{
	v->known = true;
	timer_stop(&v->late);
	facts_free(v->facts);
	v->facts = NULL;
}

/* What waited is gone on with, from a task or a timer: nobody stands in the session. */
static void wake_session(struct vetting *v)
{
	struct session *s = v->session;

	if (s->phase != P_VETTING)
		return;
	session_await_command(s);
	v->go_on(s);
	stream_again(&s->stream);
}

static void on_facts(struct task *t)
{
	struct vetting *v = owner_of(t, struct vetting, wake);

	if (spf_check(v->facts, &v->query, &v->result) == WAIT)
		return;
	known(v);
	wake_session(v);
}

static void on_late(struct timer *t)
{
	struct vetting *v = owner_of(t, struct vetting, late);

	spf_late(&v->query, &v->result);
	known(v);
	wake_session(v);
}

static void begin(struct session *s)
{
	struct str domain = str_of(s->who.sender), local = STR("");
	struct vetting *v;

	if (s->config->spf == SMTPD_SPF_OFF || s->who.submission || s->txn->vetting || !session_is_stranger(s))
		return;
	if (!(v = calloc(1, sizeof *v)))
		return;                         /* no memory: as if it had never been asked for */
	s->txn->vetting = v;
	str_cut_last(&domain, '@', &local);
	v->session = s;
	v->query = (struct spf_query){ .peer = (const struct sockaddr *)&s->who.peer, .helo = str_of(s->who.helo), .from = { local, domain },
		.receiver = s->config->hostname, .now = loop_wall() };
	v->wake.run = on_facts;
	v->late.expired = on_late;
	v->facts = facts_new(&v->wake, SPF_LOOKUPS);
	if (!v->facts) {
		vetting_free(s->txn);
		return;
	}
	facts_for_stranger(v->facts);
	if (spf_check(v->facts, &v->query, &v->result) == WAIT)
		timer_set(&v->late, 1000 * SPF_TIME_S);
	else
		known(v);
}

void vetting_free(struct txn *t)
{
	if (!t->vetting)
		return;
	known(t->vetting);
	free(t->vetting);
	t->vetting = NULL;
}

void vetting_await(struct session *s, void (*go_on)(struct session *))
{
	struct vetting *v;

	begin(s);
	v = s->txn->vetting;
	if (!v || v->known) {
		go_on(s);
		return;
	}
	v->go_on = go_on;
	s->phase = P_VETTING;
}

/* ---- what follows from it */

/* RFC 7372 3.2. What the domain has to say is said as its words, not as ours (RFC 7208 8.4). */
const struct refusal *vetting_refusal(struct session *s)
{
	struct vetting *v = s->txn->vetting;

	if (!v || s->config->spf != SMTPD_SPF_REFUSE || (v->result.code != SPF_FAIL && v->result.code != SPF_TEMPERROR))
		return NULL;
	snprintf(v->text, sizeof v->text, "SPF: %.250s%s%.190s", v->result.why, *v->result.explanation ? "; that domain explains: " : "",
		v->result.explanation);
	s->txn->token = v->result.code == SPF_FAIL ? "spf-policy" : "spf-unknown";
	v->refusal = v->result.code == SPF_FAIL ? (struct refusal){ 550, "5.7.23", v->text } : (struct refusal){ 451, "4.7.24", v->text };
	return &v->refusal;
}

bool vetting_field(const struct session *s, struct buf *out)
{
	const struct vetting *v = s->txn->vetting;

	return !v || spf_field(out, &v->query, &v->result);
}

const char *vetting_word(const struct session *s)
{
	return s->txn->vetting ? spf_name(s->txn->vetting->result.code) : "";
}

const struct spf_result *vetting_result(const struct txn *t)
{
	return t->vetting && t->vetting->known ? &t->vetting->result : NULL;
}
