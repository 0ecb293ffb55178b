/* Who may come in, and to whom: recipients, and what judge() has to be told of this server. */
#include "cmd/judging.h"

#include "deliver/alias.h"
#include "deliver/recall.h"
#include "lib/log.h"
#include "policy/subjectpass.h"

/* They are for the start alone, and outlive the settings that have said so. */
const struct memory_folders *judging_folders(const struct settings *s)
{
	static char kept[4][1024], rules[1024];
	static struct memory_folders folders;
	const struct { const char *text, **at; } words[] = { { s->junk_folders, &folders.junk }, { s->neutral_folders, &folders.neutral },
		{ s->sent_folders, &folders.sent }, { s->rejects_folder, &folders.rejects } };

	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		*words[i].at = words[i].text && str_copy(kept[i], sizeof kept[i], str_of(words[i].text)) ? kept[i] : NULL;
	folders.words = s->content_filter;
	folders.rules = s->rules && str_copy(rules, sizeof rules, str_of(s->rules)) ? rules : NULL;
	folders.own_rules = s->user_rules;
	folders.separator = s->separator;
	return s->judge == SMTPD_JUDGE_OFF ? NULL : &folders;
}

const char *judging_start(const struct settings *s, bool inline_work, bool looks_only)
{
	const struct memory_folders *folders = judging_folders(s);
	struct recall_config c = { .inline_work = inline_work || looks_only };
	const char *wrong;

	if (folders)
		c.folders = *folders;
	else if (!looks_only)
		return NULL;
	c.folders.untouched = looks_only;
	wrong = recall_start(&c);
	if (!wrong) {
		facts_source(FACT_REPUTATION, recall_source());
		facts_source(FACT_CONTENT, recall_source());
		facts_source(FACT_RULE, recall_source());
	}
	return wrong;
}

static unsigned char pass_key[SUBJECTPASS_KEY];
static bool have_key;

bool judging_key(int queue, bool make)
{
	have_key = have_key || subjectpass_key(queue, "subject-pass", make, pass_key);
	return have_key;
}

bool judging_trusts(const struct settings *s, const struct subject *client)
{
	return client->local || *client->user || networks_hold(&s->relay_from, (const struct sockaddr *)&client->peer);
}

/* An alias may go where it likes: nobody but us has said so. */
static enum alias_answer look_for_alias(struct aliases *aliases, struct facts *f, const struct addr *to, struct reply *why)
{
	struct expansion x = { 0 };
	enum alias_answer answer = alias_expand(aliases, f, to, &x);

	if (answer == ALIAS_FAILED) {
		*why = x.why;
		if (x.trouble[0] && x.why.code != 550)
			log_text(LOG_WARN, "alias", "%s", x.trouble);
	}
	expansion_free(&x);
	return answer;
}

static enum verdict look_for_mailbox(const struct settings *s, struct facts *f, struct str local, bool trusted, struct reply *why)
{
	const struct fact *box = fact(f, FACT_MAILBOX, local);

	if (!box)
		return WAIT;
	switch (box->outcome) {
	case FOUND:
		if (box->n < 2 || trusted)
			return ACCEPT;
		/* full, and who comes again will find out when it is not */
		reply_set(why, s->refuse_full ? 552 : 452, s->refuse_full ? "5.2.2" : "4.2.2", "the mailbox is full");
		return REFUSE;
	case NO_NAME:
	case NO_DATA:
		reply_set(why, 550, "5.1.1", "no such user here");
		return REFUSE;
	case UNKNOWN:
		break;
	}
	log_event(LOG_WARN, "mailbox", LF(L_STR("user", local), L_TEXT("error", box->why), L_TEXT("remedy", "`fardel check` looks at all mailboxes")));
	reply_set(why, 451, "4.3.0", "cannot look the mailbox up now; try again later");
	return REFUSE;
}

enum verdict judging_rcpt(const struct settings *s, struct aliases *aliases, struct facts *f, const struct subject *client, const struct addr *to,
	struct reply *why)
{
	bool trusted = judging_trusts(s, client);
	char domain[DOMAIN_MAX + 1];
	struct route r;

	str_copy(domain, sizeof domain, to->domain);
	for (char *c = domain; *c; c++)
		*c = ascii_lower(*c);
	route_find(&s->routes, str_of(domain), NULL, &r);
	if (!trusted && r.kind != ROUTE_LOCAL && !route_is_local(&s->routes, str_of(domain))) {
		reply_set(why, 550, "5.7.1", "relaying to %s is not allowed from %s", domain, client->peer_text);
		return REFUSE;
	}
	switch (look_for_alias(aliases, f, to, why)) {
	case ALIAS_WAIT:
		return WAIT;
	case ALIAS_FAILED:
		return REFUSE;
	case ALIAS_FOUND:
		return ACCEPT;
	case ALIAS_NONE:
		break;
	}
	return r.kind == ROUTE_LOCAL ? look_for_mailbox(s, f, to->local, trusted, why) : ACCEPT;
}

static bool is_here(const struct settings *s, struct str domain)
{
	return !domain.n || route_is_local(&s->routes, domain);
}

/* False: facts must come first. *local is empty where there is no one mailbox: a list, somebody elsewhere. */
static bool find_mailbox(const struct settings *s, struct aliases *aliases, struct facts *f, const struct addr *to, char local[LOCAL_MAX + 1])
{
	struct expansion x = { .n = 0 };
	enum alias_answer answer = alias_expand(aliases, f, to, &x);

	local[0] = '\0';
	if (answer == ALIAS_NONE && is_here(s, to->domain))
		str_copy(local, LOCAL_MAX + 1, to->local);
	else if (answer == ALIAS_FOUND && x.n == 1 && is_here(s, x.to[0].domain))
		str_copy(local, LOCAL_MAX + 1, x.to[0].local);
	expansion_free(&x);
	return answer != ALIAS_WAIT;
}

enum verdict judging_decide(const struct settings *s, struct aliases *aliases, struct facts *f, const struct addr *to, const struct judge_message *m,
	bool late, struct judgement *out, struct buf *steps)
{
	const struct judge_rules rules = { .lists = s->mailing_lists, .forwarders = s->forwarders, .content = s->content_filter,
		.own = s->rules || s->user_rules, .pass_key = s->subject_pass && have_key ? pass_key : NULL, .pass_s = s->subject_pass, .now = loop_wall() };
	char local[LOCAL_MAX + 1];

	if (!find_mailbox(s, aliases, f, to, local) && !late)
		return WAIT;
	return judge(f, &rules, m, &(struct judge_rcpt){ .local = str_of(local), .to = to }, late, out, steps);
}
