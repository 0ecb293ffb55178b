/* Whether a stranger's message may come in, for one recipient: steps in their order, the first one that is sure decides. */
#include "policy/judge.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "mime/header.h"
#include "policy/bayes.h"
#include "policy/dkim.h"
#include "policy/ruleset.h"
#include "policy/subjectpass.h"

/* ---- the message */

enum { NAMED_MOST = 200 };              /* addresses in To and Cc */

struct author {
	unsigned n;
	struct buf address;
};

static bool take_author(void *arg, const struct addr *a)
{
	struct author *author = arg;

	if (!author->n++ && a->domain.n)
		buf_printf(&author->address, STR_FMT "@" STR_FMT, STR_ARG(a->local), STR_ARG(a->domain));
	return true;
}

/* The only address in the only From; with more of them nobody can say who has written it. */
static void find_author(struct str header, struct author *out)
{
	struct field f;
	unsigned fields = 0;

	while (header_next(&header, &f)) {
		if (!str_eq_nocase(f.name, STR("From")))
			continue;
		fields++;
		if (!header_authors(f.value, take_author, out))
			fields++;
	}
	if (fields != 1 || out->n != 1)
		buf_clear(&out->address);
}

static bool is_signer(struct str list, struct str domain)
{
	struct str one;

	while (str_cut(&list, ',', &one))
		if (str_eq_nocase(one, domain))
			return true;
	return str_eq_nocase(list, domain);
}

static void add_signers(struct buf *text, const struct dkim *dkim)
{
	size_t start = text->n, n = 0;

	for (size_t i = 0; dkim && i < dkim_count(dkim) && n < HISTORY_DKIM; i++) {
		const struct dkim_signature *s = dkim_at(dkim, i);
		struct str have = { text->p + start, text->n - start };

		if (s->result != DKIM_PASS || (n && is_signer(have, str_of(s->domain))))
			continue;
		if (n++)
			buf_char(text, ',');
		identity_word(text, str_of(s->domain));
	}
}

struct named {
	struct buf *text;
	unsigned n;
};

static bool take_named(void *arg, const struct addr *a)
{
	struct named *named = arg;
	struct buf raw = { .max = ADDR_MAX };

	buf_printf(&raw, STR_FMT "@" STR_FMT, STR_ARG(a->local), STR_ARG(a->domain));
	if (named->n++)
		buf_char(named->text, ',');
	identity_word(named->text, buf_view(&raw));
	buf_free(&raw);
	return named->n < NAMED_MOST;
}

static void add_named(struct buf *text, struct str header)
{
	struct named named = { .text = text };
	struct field f;

	while (named.n < NAMED_MOST && header_next(&header, &f))
		if (str_eq_nocase(f.name, STR("To")) || str_eq_nocase(f.name, STR("Cc")))
			header_addresses(f.value, take_named, &named);
}

static bool is_shown(const struct identities *who)
{
	struct str domain = identity_domain(who->from);

	return domain.n && (is_signer(who->dkim, domain) || (who->mail_pass && str_eq(identity_domain(who->mail), domain)) ||
		(who->helo_pass && str_eq(who->helo, domain)));
}

bool judge_message_set(struct judge_message *m, struct buf *text, const struct subject *client, const struct spf_result *spf, const struct dkim *dkim,
	const struct dmarc_result *dmarc, struct str header)
{
	struct author author = { .address = { .max = ADDR_MAX } };
	struct identities *who = &m->who;
	struct str ip = str_of(client->peer_text), *word[] = { &who->from, &who->mail, &who->helo, &who->ip, &who->dkim, &m->named,
		&m->list, &m->pass };
	size_t end[sizeof word / sizeof *word], at = 0;
	bool passed = spf && spf->code == SPF_PASS;
	char pass[SUBJECTPASS_WORD + 1];

	if (str_starts_nocase(ip, STR("IPv6:")))
		ip = str_from(ip, 5);
	find_author(header, &author);
	*m = (struct judge_message){ .peer = (const struct sockaddr *)&client->peer, .spf = spf ? spf->code : SPF_NONE, .spf_of_mail = spf && !spf->helo,
		.tls = client->tls };
	identity_word(text, buf_view(&author.address));
	end[0] = text->n;
	identity_word(text, str_of(client->sender));
	end[1] = text->n;
	identity_word(text, str_of(client->helo));
	end[2] = text->n;
	identity_word(text, ip);
	end[3] = text->n;
	add_signers(text, dkim);
	end[4] = text->n;
	add_named(text, header);
	end[5] = text->n;
	list_id(text, header);
	end[6] = text->n;
	if (subjectpass_find(header, pass))
		buf_puts(text, pass);
	end[7] = text->n;
	buf_free(&author.address);
	if (text->bad)
		return false;
	for (size_t i = 0; i < sizeof word / sizeof *word; i++) {
		*word[i] = (struct str){ text->p + at, end[i] - at };
		at = end[i];
	}
	who->mail_pass = passed && !spf->helo;
	who->helo_pass = passed && spf->helo;
	who->validated = is_shown(who) || (who->from.n && dmarc && (dmarc->spf_aligned || dmarc->dkim_aligned));
	m->dmarc_refuses = dmarc && dmarc->code == DMARC_FAIL && dmarc->policy >= DMARC_P_QUARANTINE && !dmarc->override;
	m->dmarc_pass = dmarc && dmarc->code == DMARC_PASS;
	if (who->from.n && dmarc)
		m->org = str_of(dmarc->organization);
	return true;
}

/* ---- for one recipient */

enum {                                  /* ten thousandths that it is junk */
	CONTENT_LIMIT = 9500,
	CONTENT_MILD = 7500,            /* what a person has written may be so, when it is measured strictly */
	CONTENT_STRICT = 2500           /* from an address without a name, in clear, or to somebody who is not named in it */
};

enum step { GO_ON, NOT_YET, TAKE_IT, TURN_IT_AWAY };

struct run {
	struct facts *facts;
	const struct judge_rules *rules;
	const struct judge_message *m;
	const struct judge_rcpt *to;
	bool late;
	bool known;                     /* the mailbox could be asked */
	struct identities who;          /* who is to be judged: behind a forwarder only the author */
	char room[HISTORY_LINE];
	struct judgement *out;
	struct buf *steps;
};

/* What the client is told names the kind of reason, and not what could be changed to get by. What may be otherwise tomorrow, or be mended by the
 * recipient, is a 4xx: the sender's server tries again. */
static const struct why {
	const char *token;              /* NULL: the method's */
	int code;
	const char *enhanced, *text;
} whys[] = {
	[JUDGE_LIST] = { "list-allow", 0, "", "" },
	[JUDGE_DMARC] = { "dmarc-policy", 550, "5.7.26", "Neither a signature nor SPF speaks for the domain in From, and its policy is against such mail (DMARC)" },
	[JUDGE_REPUTATION] = { NULL, 451, "4.7.1", "Not accepted now, for what came from this sender or network before" },
	[JUDGE_REPORT] = { "reporting", 0, "", "" },
	[JUDGE_SPF] = { "spf-policy", 451, "4.7.23", "Not accepted now: the sender is not known here, and his domain does not want its mail to come from this address (SPF)" },
	[JUDGE_IPREV] = { "iprev", 451, "4.7.25", "Not accepted now: mail like this was not wanted, and the name of this address does not lead back to it" },
	[JUDGE_PASS] = { "subjectpass", 0, "", "" },
	[JUDGE_GIVE_PASS] = { "give-subjectpass", 550, "5.7.1", "Not accepted, as the sender is not known here. Whoever has written it may send it once more with this in the subject: " },
	[JUDGE_CONTENT] = { "junk-content", 451, "4.7.1", "Not accepted now, for its content" },
	[JUDGE_CONTENT_STRICT] = { "junk-content-strict", 451, "4.7.1", "Not accepted now, for its content" },
	[JUDGE_LISTED] = { "dns-blocklisted", 451, "4.7.1", "Not accepted now: the sender is on a list of those who send junk, and not known here" },
	[JUDGE_NO_BAD_SIGNALS] = { "no-bad-signals", 0, "", "" },
};

static void tell(struct run *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void tell(struct run *r, const char *fmt, ...)
{
	char line[512];
	va_list ap;

	if (!r->steps)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	buf_puts(r->steps, line);
	buf_char(r->steps, '\n');
}

static enum step because(struct run *r, enum judge_why why, enum step what)
{
	r->out->why = why;
	return what;
}

/* ---- names that vouch for a message */

static bool is_among(const char *words, struct str domain)
{
	struct str rest = str_of(words), word;

	while (domain.n && str_word(&rest, &word))
		if (str_eq_nocase(domain, word))
			return true;
	return false;
}

/* A mailing list is one of the words itself. */
static struct str list_among(const char *words, const struct identities *who)
{
	struct str rest = who->dkim, one, domain = identity_domain(who->mail);

	while (identities_signer(&rest, &one))
		if (is_among(words, one))
			return one;
	return who->mail_pass && is_among(words, domain) ? domain : STR("");
}

static struct str forwarder_among(const char *words, const struct identities *who)
{
	struct str rest = str_of(words), word, by = STR("");

	while (!by.n && str_word(&rest, &word))
		by = identities_voucher(who, word);
	return by;
}

/* ---- the steps */

static void name_rule(struct run *r, const struct rule *rule)
{
	tell(r, "rule: line %u of %s", rule->line, rule->own ? "the mailbox's own" : "the operator's");
	if (rule->allow)
		tell(r, "rule: " STR_FMT " vouches for it, so it is taken", STR_ARG(rule->by));
	else if (rule->forwarder)
		tell(r, "rule: " STR_FMT " has sent it on; DMARC, SPF and its address do not count", STR_ARG(rule->by));
	if (rule->folder.n)
		tell(r, "rule: folder " STR_FMT, STR_ARG(rule->folder));
	if (rule->refused.n)
		tell(r, "rule: folder " STR_FMT " for what would be refused%s", STR_ARG(rule->refused), rule->unfit ?
			", but what lies there counts as wanted, so it is refused. Name one of junk_folders or neutral_folders" : "");
}

static void send_on(struct run *r, struct str by)
{
	r->out->forwarded = true;
	identities_forward(&r->who, by, r->room);
}

/* The mailbox's own, or the operator's for it. */
static enum step step_rule(struct run *r)
{
	struct buf name = { .max = 3 * HISTORY_LINE };
	const struct fact *f = NULL;
	struct rule rule;

	if (!r->rules->own || !r->to->local.n)
		return GO_ON;
	if (rule_ask(&name, r->to->local, &(struct rule_subject){ &r->m->who, r->m->list }))
		f = fact(r->facts, FACT_RULE, buf_view(&name));
	buf_free(&name);
	if (!f && !r->late)
		return NOT_YET;
	if (!f || f->outcome == UNKNOWN)
		tell(r, "rule: not known (%s)", f && f->why ? f->why : "it takes too long");
	if (!f || f->outcome != FOUND || !f->n || !rule_read(f->record[0].data, &rule))
		return GO_ON;
	name_rule(r, &rule);
	r->out->spared = rule.refused.n && !rule.unfit;
	if (rule.allow)
		return because(r, JUDGE_LIST, TAKE_IT);
	if (rule.forwarder)
		send_on(r, rule.by);
	return GO_ON;
}

static enum step step_list(struct run *r)
{
	struct str list = list_among(r->rules->lists, &r->m->who);

	if (!list.n)
		return GO_ON;
	tell(r, "mailing list: " STR_FMT " vouches for it", STR_ARG(list));
	return because(r, JUDGE_LIST, TAKE_IT);
}

/* For all mailboxes: so they all remember it as sent on. For one whose own rule says so, whoever writes its memory understands it so. */
static enum step step_forwarder(struct run *r)
{
	struct str by = forwarder_among(r->rules->forwarders, &r->m->who);

	if (!by.n)
		return GO_ON;
	tell(r, "forwarder: " STR_FMT " has sent it on; DMARC, SPF and its address do not count", STR_ARG(by));
	identities_forward(&r->out->who, by, r->out->room);
	send_on(r, by);
	return GO_ON;
}

static enum step step_dmarc(struct run *r)
{
	if (!r->m->dmarc_refuses || r->out->forwarded)
		return GO_ON;
	tell(r, "DMARC: the author's domain does not want it taken");
	return because(r, JUDGE_DMARC, TURN_IT_AWAY);
}

static const struct fact *ask_mailbox(struct run *r)
{
	struct buf name = { .max = 3 * HISTORY_LINE };
	const struct fact *f = NULL;

	if (reputation_ask(&name, r->to->local, r->m->org, &r->who))
		f = fact(r->facts, FACT_REPUTATION, buf_view(&name));
	buf_free(&name);
	return f;
}

static enum step step_reputation(struct run *r)
{
	struct reputation *rep = &r->out->reputation;
	const struct fact *f;

	if (!r->to->local.n) {
		tell(r, "reputation: no mailbox of one user, so there is none");
		return GO_ON;
	}
	f = ask_mailbox(r);
	if (!f && !r->late)
		return NOT_YET;
	r->known = f && f->outcome == FOUND && f->n && reputation_parse(f->record[0].data, rep);
	if (!r->known) {
		tell(r, "reputation: not known (%s)", !f ? "it takes too long" : f->outcome == UNKNOWN && f->why ? f->why : "there is no such mailbox");
		return GO_ON;
	}
	tell(r, "reputation: %s, %s, by %s (%u messages)", opinion_name(rep->opinion), rep->conclusive ? "conclusive" : "not conclusive",
		method_name(rep->method), rep->n);
	if (!rep->conclusive || rep->opinion == OPINION_UNKNOWN)
		return GO_ON;
	return because(r, JUDGE_REPUTATION, rep->opinion == OPINION_HAM ? TAKE_IT : TURN_IT_AWAY);
}

/* A report that is kept was asked for: nothing speaks against it but what its sender has sent before. */
static enum step step_report(struct run *r)
{
	if (!r->m->report)
		return GO_ON;
	tell(r, "report: it tells of a domain of ours, as was asked for");
	return because(r, JUDGE_REPORT, TAKE_IT);
}

/* The sender is not known by his address or domain. Where that could not be found out, he may be. */
static bool is_newcomer(const struct run *r)
{
	return r->known && r->out->reputation.method >= METHOD_DKIM_SPF;
}

static enum step step_spf(struct run *r)
{
	if (r->out->forwarded || !is_newcomer(r) || !r->m->spf_of_mail || (r->m->spf != SPF_FAIL && r->m->spf != SPF_SOFTFAIL))
		return GO_ON;
	tell(r, "SPF: %s, and the sender is not known", spf_name(r->m->spf));
	return because(r, JUDGE_SPF, TURN_IT_AWAY);
}

static bool has_no_name(const struct run *r) { return r->m->no_iprev && !r->out->forwarded && is_newcomer(r); }

static enum step step_iprev(struct run *r)
{
	if (!has_no_name(r) || r->out->reputation.opinion != OPINION_JUNK)
		return GO_ON;
	tell(r, "iprev: the address has no name that leads back to it, and what came from there before was not wanted");
	return because(r, JUDGE_IPREV, TURN_IT_AWAY);
}

static enum step step_pass(struct run *r)
{
	struct buf mailbox = { .max = HISTORY_LINE };
	bool holds = r->rules->pass_key && r->m->pass.n && r->to->local.n && identity_word(&mailbox, r->to->local);

	holds = holds && subjectpass_holds(r->m->pass, r->rules->pass_key, buf_view(&mailbox), r->m->who.from, r->rules->now, r->rules->pass_s);
	buf_free(&mailbox);
	if (!holds) {
		if (r->rules->pass_key && r->m->pass.n)
			tell(r, "subject: the word in it is not for this sender and recipient, or too old");
		return GO_ON;
	}
	tell(r, "subject: the word in it was given to this sender");
	return because(r, JUDGE_PASS, TAKE_IT);
}

/* In place of a refusal that rests on little: whoever can read the answer, and whose domain says that it is he, may come in. */
static enum step give_pass(struct run *r, enum judge_why why)
{
	struct reply *reply = &r->out->reply;
	struct buf mailbox = { .max = HISTORY_LINE }, word = { .max = 64 };

	if (r->rules->pass_key && r->m->dmarc_pass && r->m->who.from.n && r->known && r->out->reputation.method == METHOD_NONE && r->to->local.n &&
	    identity_word(&mailbox, r->to->local) && subjectpass_make(&word, r->rules->pass_key, buf_view(&mailbox), r->m->who.from, r->rules->now)) {
		tell(r, "subject: a word for it is given, " STR_FMT, STR_ARG(buf_view(&word)));
		snprintf(reply->text, sizeof reply->text, "%s" STR_FMT, whys[JUDGE_GIVE_PASS].text, STR_ARG(buf_view(&word)));
		why = JUDGE_GIVE_PASS;
	}
	buf_free(&mailbox);
	buf_free(&word);
	return because(r, why, TURN_IT_AWAY);
}

/* A blind copy, or a list of addresses that somebody has bought. */
static bool is_named(const struct run *r)
{
	struct buf raw = { .max = ADDR_MAX }, word = { .max = HISTORY_LINE };
	bool named = r->to->to == NULL;

	if (!named) {
		buf_printf(&raw, STR_FMT "@" STR_FMT, STR_ARG(r->to->to->local), STR_ARG(r->to->to->domain));
		identity_word(&word, buf_view(&raw));
		named = is_signer(r->m->named, buf_view(&word));
	}
	buf_free(&raw);
	buf_free(&word);
	return named;
}

static enum step step_content(struct run *r)
{
	struct buf name = { .max = 8192 };
	struct bayes_result b;
	const struct fact *f;
	bool strict;
	int limit;

	if (!r->rules->content || !r->m->file || !r->to->local.n)
		return GO_ON;
	f = content_ask(&name, r->to->local, r->m->file, r->m->at) ? fact(r->facts, FACT_CONTENT, buf_view(&name)) : NULL;
	buf_free(&name);
	if (!f && !r->late)
		return NOT_YET;
	if (!f || f->outcome != FOUND || !f->n || !content_parse(f->record[0].data, &b)) {
		tell(r, "content: not known (%s)", f && f->why ? f->why : "it takes too long");
		return GO_ON;
	}
	strict = has_no_name(r) || !r->m->tls || (!r->out->forwarded && !is_named(r));
	limit = strict ? CONTENT_STRICT : CONTENT_LIMIT + r->m->jitter;
	tell(r, "content: junk by %.4f, of %.4f at most%s; %u words say so%s", b.probability, limit / 10000.0, strict ? " (strict)" : "", b.words,
		b.significant ? "" : ", too little was learnt");
	if (!b.significant || b.probability * 10000 <= limit)
		return GO_ON;
	if (b.probability * 10000 <= CONTENT_MILD)
		return give_pass(r, JUDGE_CONTENT_STRICT);
	return because(r, strict ? JUDGE_CONTENT_STRICT : JUDGE_CONTENT, TURN_IT_AWAY);
}

/* RFC 5321 4.5.1: who is listed by mistake must be able to say so. */
static bool is_postmaster(const struct judge_rcpt *to) { return to->to && str_eq_nocase(to->to->local, STR("postmaster")); }

/* Lists make mistakes: they count last, and for nobody whom the reader knows. */
static enum step step_lists(struct run *r)
{
	if (r->m->listed <= 0 || r->out->forwarded || is_postmaster(r->to))
		return GO_ON;
	tell(r, "lists: %s", r->m->lists ? r->m->lists : "");
	return give_pass(r, JUDGE_LISTED);
}

static enum step step_end(struct run *r)
{
	tell(r, "nothing speaks against it");
	r->out->first_time = is_newcomer(r) && r->out->reputation.method == METHOD_NONE && !r->out->forwarded;
	return because(r, JUDGE_NO_BAD_SIGNALS, TAKE_IT);
}

static enum step (*const steps[])(struct run *) = {
	step_rule, step_list, step_forwarder, step_dmarc, step_reputation, step_report, step_spf, step_iprev, step_pass, step_content, step_lists,
	step_end
};

static void say_reason(struct judgement *out)
{
	const struct why *w = &whys[out->why];
	char given[REPLY_TEXT];

	memcpy(given, out->reply.text, sizeof given);
	snprintf(out->reason, sizeof out->reason, "%s", w->token ? w->token : method_name(out->reputation.method));
	out->reply = (struct reply){ .code = w->code };
	snprintf(out->reply.enhanced, sizeof out->reply.enhanced, "%s", w->enhanced);
	snprintf(out->reply.text, sizeof out->reply.text, "%s", *given ? given : w->text);
}

enum verdict judge(struct facts *facts, const struct judge_rules *rules, const struct judge_message *m, const struct judge_rcpt *to, bool late,
	struct judgement *out, struct buf *lines)
{
	struct run r = { .facts = facts, .rules = rules, .m = m, .to = to, .late = late, .who = m->who, .out = out, .steps = lines };
	enum step next = GO_ON;

	*out = (struct judgement){ .who = m->who, .reputation = { .method = METHOD_NONE } };
	str_copy(out->local, sizeof out->local, to->local);
	if (lines)
		buf_clear(lines);
	for (size_t i = 0; next == GO_ON; i++)
		next = steps[i](&r);
	if (next == NOT_YET)
		return WAIT;
	say_reason(out);
	return out->verdict = next == TAKE_IT ? ACCEPT : REFUSE;
}
