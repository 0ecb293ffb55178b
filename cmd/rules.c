/* Rules that connect modules: who may relay, who is a recipient, who may come in. The server is handed them (smtpd.h). */
#include <string.h>

#include "cmd/expand.h"
#include "cmd/judging.h"
#include "cmd/reports.h"
#include "cmd/running.h"
#include "cmd/sent.h"
#include "deliver/alias.h"
#include "deliver/recall.h"
#include "lib/loop.h"
#include "parse.h"
#include "policy/quota.h"
#include "policy/sender.h"

static bool trusted_rule(void *arg, const struct subject *s)
{
	(void)arg;
	return judging_trusts(running.settings, s);
}

static bool proxy_rule(void *arg, const struct subject *s)
{
	(void)arg;
	return networks_hold(&running.settings->proxy_from, (const struct sockaddr *)&s->peer);
}

static bool xclient_rule(void *arg, const struct subject *s)
{
	(void)arg;
	return networks_hold(&running.settings->xclient_from, (const struct sockaddr *)&s->peer);
}

/* Asked of strangers: what claims to come from a domain must be able to go back there. Domains with a way of their own have one. */
static enum verdict mail_rule(void *arg, const struct subject *s, struct facts *f, const struct sender *from, struct reply *why)
{
	char domain[DOMAIN_MAX + 1];
	struct route r;

	(void)arg;
	(void)s;
	str_copy(domain, sizeof domain, from->addr.domain);
	for (char *c = domain; *c; c++)
		*c = ascii_lower(*c);
	route_find(&running.settings->routes, str_of(domain), NULL, &r);
	return r.kind == ROUTE_MX ? sender_domain(f, &from->addr, why) : ACCEPT;
}

/* A stolen password shall not send for long. Counted once, when all else is well. */
static bool within_quota(const struct subject *s, struct reply *why)
{
	if (!*s->user || !running.settings->user_rcpt_per_day || quota_take(running.quota, str_of(s->user), running.settings->user_rcpt_per_day, loop_wall()))
		return true;
	reply_set(why, 451, "4.7.1", "%s has had %u recipients today; try again tomorrow", s->user, running.settings->user_rcpt_per_day);
	return false;
}

static enum verdict rcpt_rule(void *arg, const struct subject *s, struct facts *f, const struct recipient *to, struct reply *why)
{
	enum verdict v;

	(void)arg;
	aliases_refresh(running.aliases);
	v = judging_rcpt(running.settings, running.aliases, f, s, &to->addr, why);
	return v == ACCEPT && !within_quota(s, why) ? REFUSE : v;
}

static enum verdict judge_rule(void *arg, struct facts *f, const struct addr *to, const struct judge_message *m, bool late, struct judgement *out)
{
	(void)arg;
	aliases_refresh(running.aliases);
	return judging_decide(running.settings, running.aliases, f, to, m, late, out, NULL);
}

static void keep_rule(void *arg, struct refused *r)
{
	(void)arg;
	recall_keep(r);
}

/* The user's name is that of his mailbox, with a domain or without. */
static void wrote_rule(void *arg, const struct subject *s, const struct addr *to)
{
	struct str domain = str_of(s->user), local;
	struct buf address = { .max = ADDR_MAX };

	(void)arg;
	if (!str_cut_last(&domain, '@', &local))
		local = domain;
	if (print_addr(&address, to))
		recall_wrote(local, buf_view(&address));
	buf_free(&address);
}

static void reported_rule(void *arg, const struct subject *s, const char *id, struct str text)
{
	struct str kind;

	(void)arg;
	if (!str_cut(&text, '\n', &kind))
		return;
	if (str_eq(kind, STR("status")))
		sent_told(id, s->peer_text, text);
	else
		reports_keep(id, s->peer_text, text);
}

static bool reports_at_rule(void *arg, const struct addr *to)
{
	struct str rest = str_of(running.settings->reports_at), word, local;

	(void)arg;
	while (str_word(&rest, &word))
		if (str_cut_last(&word, '@', &local) && str_eq_nocase(local, to->local) && str_eq_nocase(word, to->domain))
			return true;
	return false;
}

static bool reports_on_rule(void *arg, struct str domain)
{
	char name[DOMAIN_MAX + 1];

	(void)arg;
	if (!str_copy(name, sizeof name, domain))
		return false;
	for (char *c = name; *c; c++)
		*c = ascii_lower(*c);
	return route_is_local(&running.settings->routes, str_of(name)) || str_eq_nocase(domain, str_of(running.settings->hostname));
}

void rules_put(struct smtpd_config *c)
{
	const struct settings *s = running.settings;

	c->mail = s->check_sender ? mail_rule : NULL;
	c->rcpt = rcpt_rule;
	c->trusted = trusted_rule;
	c->proxy = proxy_rule;
	c->xclient = xclient_rule;
	c->judge_rcpt = judge_rule;
	c->keep = s->rejects_folder ? keep_rule : NULL;
	c->reported = s->sent_days || s->reports_at ? reported_rule : NULL;
	c->reports_at = s->reports_at ? reports_at_rule : NULL;
	c->reports_on = reports_on_rule;
	c->wrote = s->judge != SMTPD_JUDGE_OFF ? wrote_rule : NULL;
}
