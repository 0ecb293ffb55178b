/* Rules of a mailbox: reading them, and which one holds. */
#include "policy/ruleset.h"

#include <stdio.h>
#include <string.h>

#include "mime/header.h"

/* ---- a line */

/* In the order in which rule_print() writes them. */
enum word { W_VERIFIED, W_AUTHOR, W_SENDER, W_LIST, W_FOLDER, W_REFUSED, W_ALLOW, W_FORWARDER, WORDS };
static const char *const names[WORDS] = { "verified", "author", "sender", "list", "folder", "refused", "allow", "forwarder" };

static struct str *value_of(struct rule *r, enum word w)
{
	struct str *const at[WORDS] = { &r->verified, &r->author, &r->sender, &r->list, &r->folder, &r->refused };

	return at[w];
}

static const char *wrong(const char *fmt, struct str word) __attribute__((format(printf, 1, 0)));
static const char *wrong(const char *fmt, struct str word)
{
	static char text[400];

	snprintf(text, sizeof text, fmt, (int)(word.n < 100 ? word.n : 100), word.p);
	return text;
}

/* The next word, with blanks inside quotes. False: there is none, or (*bad) its quotes have no end. */
static bool next_word(struct str *rest, struct str *out, bool *bad)
{
	bool quoted = false;
	size_t n = 0;

	*rest = str_trim(*rest);
	*bad = false;
	if (!rest->n || rest->p[0] == '#')
		return false;
	for (; n < rest->n && (quoted || (rest->p[n] != ' ' && rest->p[n] != '\t')); n++)
		if (rest->p[n] == '"')
			quoted = !quoted;
	*out = (struct str){ rest->p, n };
	*rest = str_from(*rest, n);
	*bad = quoted;
	return !quoted;
}

static struct str unquote(struct str s)
{
	return s.n >= 2 && s.p[0] == '"' && s.p[s.n - 1] == '"' ? (struct str){ s.p + 1, s.n - 2 } : s;
}

/* One directory beside others: "Lists", "Lists.fardel". */
static bool is_folder(struct str s)
{
	if (!s.n || s.n > RULESET_FOLDER || s.p[0] == '.' || s.p[s.n - 1] == '.' || memmem(s.p, s.n, "..", 2))
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] == '/' || s.p[i] == '"')
			return false;
	return true;
}

static bool is_domain(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!ascii_alpha(s.p[i]) && !ascii_digit(s.p[i]) && s.p[i] != '-' && s.p[i] != '.' && (unsigned char)s.p[i] < 0x80)
			return false;
	return s.n && s.n <= DOMAIN_MAX && s.p[0] != '.' && s.p[0] != '-';
}

static const char *take_word(struct rule *r, struct str word)
{
	struct str value = word, name = word;
	bool with = str_cut(&value, '=', &name);
	enum word w = 0;

	while (w < WORDS && !str_eq_nocase(name, str_of(names[w])))
		w++;
	if (w == WORDS)
		return wrong("%.*s is not known here. Conditions are verified=, author=, sender=, list=; what can be done is folder=, refused=, allow, forwarder", name);
	if (!value_of(r, w)) {
		*(w == W_ALLOW ? &r->allow : &r->forwarder) = true;
		return with ? wrong("%.*s takes no value. Write the word alone", name) : NULL;
	}
	value = with ? unquote(value) : STR("");
	if (!value.n)
		return wrong("%.*s has no value. Write it behind an =", name);
	if (value_of(r, w)->n)
		return wrong("%.*s is there twice. Write two lines", name);
	*value_of(r, w) = value;
	if (w == W_VERIFIED && !is_domain(value))
		return wrong("%.*s is no domain. Write verified=lists.example.net", value);
	if ((w == W_FOLDER || w == W_REFUSED) && !is_folder(value))
		return wrong("%.*s is no folder. Write its name without / and without dots at the ends, a folder in another as Lists.fardel", value);
	return NULL;
}

static const char *check_whole(const struct rule *r)
{
	if (!r->verified.n && !r->author.n && !r->sender.n && !r->list.n)
		return "it has no condition. Write verified=, author=, sender= or list=";
	if (!r->folder.n && !r->refused.n && !r->allow && !r->forwarder)
		return "it says nothing that is to be done. Write folder=, refused=, allow or forwarder";
	if ((r->allow || r->forwarder) && !r->verified.n)
		return "allow and forwarder need verified=: anybody may write a name into a message";
	return NULL;
}

const char *rule_parse(struct str line, struct str *whose, struct rule *r)
{
	const char *why = NULL;
	unsigned words = 0;
	struct str word;
	bool open;

	*r = (struct rule){ .own = !whose };
	if (line.n > RULESET_LINE)
		return "the line is too long. Write two, of at most 1000 octets";
	for (size_t i = 0; i < line.n; i++)
		if ((unsigned char)line.p[i] < 0x20 && line.p[i] != '\t' && line.p[i] != '\r')
			return "it holds a control character. Write plain text";
	if (whose)
		*whose = STR("");
	while (!why && next_word(&line, &word, &open)) {
		if (whose && !words)
			*whose = word;
		else
			why = take_word(r, word);
		words++;
	}
	if (!why && open)
		return "a quote has no end";
	return why || !words ? why : check_whole(r);
}

/* ---- does it hold? */

/* A star is any number of octets. Looks back to the last star alone, so it takes no more than one step for each pair of octets. */
static bool is_like(struct str s, struct str pattern)
{
	size_t i = 0, p = 0, star = SIZE_MAX, from = 0;

	while (i < s.n) {
		if (p < pattern.n && pattern.p[p] == '*') {
			star = p++;
			from = i;
		} else if (p < pattern.n && ascii_lower(pattern.p[p]) == ascii_lower(s.p[i])) {
			p++;
			i++;
		} else if (star != SIZE_MAX) {
			p = star + 1;
			i = ++from;
		} else {
			return false;
		}
	}
	while (p < pattern.n && pattern.p[p] == '*')
		p++;
	return p == pattern.n;
}

static bool holds(struct rule *r, const struct rule_subject *s)
{
	if (r->verified.n && !(r->by = identities_voucher(s->who, r->verified)).n)
		return false;
	return (!r->author.n || is_like(s->who->from, r->author)) && (!r->sender.n || is_like(s->who->mail.n ? s->who->mail : STR("<>"), r->sender)) &&
		(!r->list.n || (s->list.n && is_like(s->list, r->list)));
}

static bool is_for(struct str whose, struct str mailbox, char separator)
{
	struct str base;

	return str_eq(whose, STR("*")) || str_eq_nocase(whose, mailbox) || (separator && str_cut(&mailbox, separator, &base) && str_eq_nocase(whose, base));
}

static bool next_line(struct str *text, struct str *line)
{
	if (!text->n)
		return false;
	if (!str_cut(text, '\n', line)) {
		*line = *text;
		text->n = 0;
	}
	return true;
}

bool ruleset_find(struct str text, const struct str *mailbox, char separator, const struct rule_subject *s, struct rule *r)
{
	struct str line, whose;

	for (unsigned n = 1; next_line(&text, &line); n++) {
		if (rule_parse(line, mailbox ? &whose : NULL, r) || check_whole(r) || (mailbox && !is_for(whose, *mailbox, separator)) || !holds(r, s))
			continue;
		r->line = n;
		return true;
	}
	return false;
}

unsigned ruleset_check(struct str text, bool whose, void (*complain)(void *arg, unsigned line, const char *why), void *arg)
{
	struct str line, name;
	unsigned good = 0;
	struct rule r;

	for (unsigned n = 1; next_line(&text, &line); n++) {
		const char *why = rule_parse(line, whose ? &name : NULL, &r);

		if (why)
			complain(arg, n, why);
		else
			good += !check_whole(&r);
	}
	return good;
}

bool list_id(struct buf *out, struct str header)
{
	struct field f;

	while (header_next(&header, &f)) {
		struct str rest = f.value, id;

		if (!str_eq_nocase(f.name, STR("List-Id")))
			continue;
		while (str_cut(&rest, '<', &id))        /* a phrase may stand before it, with < in it */
			;
		return str_cut(&rest, '>', &id) && identity_word(out, str_trim(id));
	}
	return false;
}

/* ---- as a fact: lines */

bool rule_ask(struct buf *name, struct str local, const struct rule_subject *s)
{
	buf_str(name, local);
	buf_char(name, '\n');
	identities_print(name, s->who);
	buf_char(name, '\n');
	return buf_str(name, s->list);
}

bool rule_asked(struct str name, struct str *local, struct rule_subject *s, struct identities *room)
{
	struct str words;

	if (!str_cut(&name, '\n', local) || !str_cut(&name, '\n', &words) || !identities_parse(&words, room))
		return false;
	*s = (struct rule_subject){ room, name };
	return true;
}

bool rule_print(struct buf *out, const struct rule *r)
{
	return buf_printf(out, "%s %u%s%s%s\n" STR_FMT "\n" STR_FMT "\n" STR_FMT, r->own ? "own" : "all", r->line, r->allow ? " allow" : "",
		r->forwarder ? " forwarder" : "", r->unfit ? " unfit" : "", STR_ARG(r->by), STR_ARG(r->folder), STR_ARG(r->refused));
}

bool rule_read(struct str text, struct rule *r)
{
	struct str first, word;
	uint64_t n;

	*r = (struct rule){ .own = false };
	if (!str_cut(&text, '\n', &first) || !str_cut(&text, '\n', &r->by) || !str_cut(&text, '\n', &r->folder))
		return false;
	r->refused = text;
	if (!str_word(&first, &word))
		return false;
	r->own = str_eq(word, STR("own"));
	if (!str_word(&first, &word) || !str_number(word, UINT32_MAX, &n))
		return false;
	r->line = (unsigned)n;
	while (str_word(&first, &word)) {
		r->allow |= str_eq(word, STR("allow"));
		r->forwarder |= str_eq(word, STR("forwarder"));
		r->unfit |= str_eq(word, STR("unfit"));
	}
	return true;
}
