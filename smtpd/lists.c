/* Lists in the DNS of those who send junk: asked when a stranger names a recipient that would be taken, so that it is told at once, and
 * nobody is asked for those who guess names. All lists are asked side by side. */
#include <stdlib.h>

#include "lib/idn.h"
#include "parse.h"
#include "policy/dnsbl.h"
#include "smtpd/session.h"

struct lists {
	unsigned skip;                  /* lists that are not asked about this message */
	bool known;
	struct dnsbl_result result;
};

void lists_free(struct txn *t)
{
	free(t->lists);
	t->lists = NULL;
}

static bool wanted(const struct session *s)
{
	return s->config->ndnsbl && !s->who.submission && session_is_stranger(s);
}

static bool begin(struct session *s)
{
	const struct smtpd_config *c = s->config;

	if (!s->txn->lists && (s->txn->lists = calloc(1, sizeof *s->txn->lists)))
		s->txn->lists->skip = dnsbl_skip(c->dnsbl, c->ndnsbl, loop_wall());
	return s->txn->lists;
}

static struct str ascii_domain(struct str address)
{
	struct str local;

	return str_cut_last(&address, '@', &local) && is_ascii(address) ? address : STR("");
}

/* The domain of MAIL, and the name in HELO: who forges the one often is known by the other. */
static enum verdict ask(struct session *s)
{
	const struct smtpd_config *c = s->config;
	struct lists *l = s->txn->lists;
	struct dnsbl_query q = { .list = c->dnsbl, .n = c->ndnsbl, .skip = l->skip,
		.domain = { ascii_domain(str_of(s->who.sender)), is_ascii(str_of(s->who.helo)) ? str_of(s->who.helo) : STR("") } };
	struct ip ip;

	if (ip_of((const struct sockaddr *)&s->who.peer, &ip))
		q.ip = &ip;
	if (dnsbl_check(s->question.facts, &q, &l->result) == WAIT)
		return WAIT;
	dnsbl_remember(c->dnsbl, c->ndnsbl, l->skip, &l->result, loop_wall());
	l->known = true;
	return ACCEPT;
}

/* RFC 5321 4.5.1: who is listed by mistake must be able to say so. */
static bool is_postmaster(const struct recipient *to) { return str_eq_nocase(to->addr.local, STR("postmaster")); }

static bool is_listed(const struct session *s)
{
	return s->config->dnsbl_refuse && s->txn->lists->result.score >= s->config->dnsbl_refuse;
}

enum verdict lists_decide(struct session *s, const struct recipient *to, struct reply *why)
{
	const struct lists *l;

	if (!wanted(s) || !begin(s))    /* no memory: as if they had never been asked for */
		return ACCEPT;
	l = s->txn->lists;
	if (!l->known && ask(s) == WAIT)
		return WAIT;
	if (!is_listed(s) || is_postmaster(to) || s->config->judge == SMTPD_JUDGE_REFUSE)      /* nobody is refused for it whom his reader knows */
		return ACCEPT;
	s->txn->token = "dns-blocklisted";
	reply_set(why, 550, "5.7.1", "%s", l->result.why);
	return REFUSE;
}

const char *lists_words(const struct txn *t) { return t->lists ? t->lists->result.words : ""; }
int lists_score(const struct session *s) { return s->txn->lists && s->txn->lists->known && is_listed(s) ? s->txn->lists->result.score : 0; }
