/* Who may come in: what judge() has to be told of this server. */
#include "cmd/judging.h"

#include "deliver/recall.h"
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
