/* SPF records as text: a table of terms, and the pieces that a text with macros is made of. */
#include "policy/spf_syntax.h"

#include <arpa/inet.h>
#include <string.h>

static const char spf_letters[] = "slodipvhcrt";

enum {
	NAME_MAX_OCTETS = 253,          /* RFC 7208 7.3 */
	PARTS = 128                     /* of a value; what is beyond goes with the last one */
};

static bool is_alnum(char c) { return ascii_alpha(c) || ascii_digit(c); }

static bool take(struct str *in, char c)
{
	if (!in->n || in->p[0] != c)
		return false;
	*in = str_from(*in, 1);
	return true;
}

/* Takes the octets at the front that are in a set. */
static struct str take_any(struct str *in, const char *set)
{
	size_t n = 0;

	while (n < in->n && in->p[n] && strchr(set, in->p[n]))
		n++;
	*in = str_from(*in, n);
	return (struct str){ in->p - n, n };
}

/* ---- macros */

/* A run of plain text, or something behind a percent sign. */
struct piece {
	struct str literal;             /* what it stands for when it is no macro */
	int macro;                      /* enum spf_macro, or -1 */
	bool plain;                     /* text that is written as it is meant */
	bool escape;                    /* a capital letter: URL escaping */
	bool reverse;
	size_t keep;                    /* so many parts of the right */
	struct str delimiters;
};

static const char *take_macro(struct str *rest, int macros, struct piece *out)
{
	const char *letter;
	struct str digits;
	uint64_t keep = 0;

	letter = rest->n ? memchr(spf_letters, ascii_lower(rest->p[0]), (size_t)macros) : NULL;
	if (!letter)
		return rest->n && rest->p[0] && strchr("crtCRT", rest->p[0]) ? "a macro that is for explanations alone" : "an unknown macro";
	out->macro = (int)(letter - spf_letters);
	out->escape = rest->p[0] != *letter;
	*rest = str_from(*rest, 1);
	digits = take_any(rest, "0123456789");
	if (!str_number(digits, PARTS, &keep))
		keep = PARTS;                   /* none is said, or more than there can be */
	if (keep == 0)
		return "a macro that keeps 0 parts";
	out->keep = (size_t)keep;
	out->reverse = take(rest, 'r') || take(rest, 'R');
	out->delimiters = take_any(rest, ".-+,/_=");
	return take(rest, '}') ? NULL : "a macro without its closing brace";
}

static const char *take_percent(struct str *rest, int macros, struct piece *out)
{
	static const struct { char c; struct str is; } rows[] = { { '%', { "%", 1 } }, { '_', { " ", 1 } }, { '-', { "%20", 3 } } };

	if (take(rest, '{'))
		return take_macro(rest, macros, out);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		if (take(rest, rows[i].c)) {
			out->literal = rows[i].is;
			return NULL;
		}
	return "a percent sign that begins no macro";
}

/* Takes the next piece off a text that is not empty. macros: how many of spf_letters may be used. NULL, or what is wrong. */
static const char *next_piece(struct str *rest, int macros, struct piece *out)
{
	size_t n = 0;

	*out = (struct piece){ .macro = -1 };
	if (take(rest, '%'))
		return take_percent(rest, macros, out);
	while (n < rest->n && rest->p[n] != '%' && ascii_print(rest->p[n]))
		n++;
	if (!n)
		return "an octet that is not printable ASCII";
	out->plain = true;
	out->literal = (struct str){ rest->p, n };
	*rest = str_from(*rest, n);
	return NULL;
}

static const char *text_fault(struct str text, int macros)
{
	const char *wrong = NULL;
	struct piece p;

	while (text.n && !wrong)
		wrong = next_piece(&text, macros, &p);
	return wrong;
}

bool spf_has_macro(struct str text, enum spf_macro m)
{
	struct piece p;
	bool found = false;

	while (text.n && !found) {
		if (next_piece(&text, SPF_MACROS, &p))
			return false;
		found = p.macro == (int)m;
	}
	return found;
}

/* ---- expanding */

static void put(struct spf_text *out, char c)
{
	if (out->n == sizeof out->p && !out->name)
		return;
	if (out->n == sizeof out->p) {          /* what goes is further from the end than a name may be long */
		out->n = sizeof out->p / 2;
		memmove(out->p, out->p + sizeof out->p - out->n, out->n);
	}
	out->p[out->n++] = c;
}

static void put_str(struct spf_text *out, struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		put(out, s.p[i]);
}

/* RFC 7208 7.3 leaves what RFC 3986 calls unreserved. */
static void put_escaped(struct spf_text *out, struct str s)
{
	static const char hex[] = "0123456789ABCDEF";

	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (is_alnum(s.p[i]) || (c && strchr("-._~", c)))
			put(out, s.p[i]);
		else
			put_str(out, (struct str){ (char[]){ '%', hex[c >> 4], hex[c & 15] }, 3 });
	}
}

static size_t split(struct str value, struct str delimiters, struct str part[PARTS])
{
	size_t n = 0, from = 0;

	for (size_t i = 0; i < value.n && n < PARTS - 1; i++)
		if (memchr(delimiters.p, value.p[i], delimiters.n)) {
			part[n++] = (struct str){ value.p + from, i - from };
			from = i + 1;
		}
	part[n++] = str_from(value, from);
	return n;
}

static void put_macro(struct spf_text *out, const struct piece *p, struct str value)
{
	struct str part[PARTS];
	size_t n = split(value, p->delimiters.n ? p->delimiters : STR("."), part);

	for (size_t i = p->keep < n ? n - p->keep : 0, first = i; i < n; i++) {
		if (i > first)
			put(out, '.');
		(p->escape ? put_escaped : put_str)(out, part[p->reverse ? n - 1 - i : i]);
	}
}

static bool expand(struct str text, int macros, const struct spf_values *v, struct spf_text *out)
{
	struct piece p;

	out->n = 0;
	while (text.n) {
		if (next_piece(&text, macros, &p))
			return false;
		if (p.macro == -1)
			put_str(out, p.literal);
		else
			put_macro(out, &p, v->of[p.macro]);
	}
	return true;
}

struct str spf_expand_name(struct str domain, const struct spf_values *v, struct spf_text *out)
{
	struct str name, label;

	out->name = true;
	expand(domain, SPF_M_CLIENT, v, out);
	name = (struct str){ out->p, out->n };
	if (name.n && name.p[name.n - 1] == '.')
		name.n--;
	while (name.n > NAME_MAX_OCTETS)
		if (!str_cut(&name, '.', &label))
			name.n = 0;
	return name;
}

bool spf_expand_text(struct str explanation, const struct spf_values *v, struct spf_text *out)
{
	out->name = false;
	return expand(explanation, SPF_MACROS, v, out);
}

/* ---- domain-spec */

/* RFC 7208 7.1: letters, digits and hyphens, not at its ends, and not digits alone. */
static bool is_toplabel(struct str s)
{
	bool other = false;

	if (!s.n || s.p[0] == '-' || s.p[s.n - 1] == '-')
		return false;
	for (size_t i = 0; i < s.n; i++) {
		if (!is_alnum(s.p[i]) && s.p[i] != '-')
			return false;
		other = other || !ascii_digit(s.p[i]);
	}
	return other;
}

static const char *domain_fault(struct str text)
{
	struct str rest = text, head;
	struct piece p;
	const char *wrong;

	if (!text.n)
		return "the domain is missing";
	if (text.n > SPF_DOMAIN_MAX)
		return "the domain is too long";
	do {
		if ((wrong = next_piece(&rest, SPF_M_CLIENT, &p)))
			return wrong;
	} while (rest.n);
	if (!p.plain)
		return NULL;
	if (text.p[text.n - 1] == '.')
		text.n--;
	return str_cut_last(&text, '.', &head) && is_toplabel(text) ? NULL : "the domain does not end in a name that could be a top level domain";
}

/* ---- terms */

enum argument { NONE, DOMAIN, DOMAIN_MUST, NETWORK };
static const struct mechanism {
	const char *name;
	enum spf_kind kind;
	enum argument argument;
	bool bits;                      /* a network's bits may follow: /24, //64 or both */
} mechanisms[] = {
	{ "all", SPF_ALL, NONE, false },
	{ "include", SPF_INCLUDE, DOMAIN_MUST, false },
	{ "a", SPF_A, DOMAIN, true },
	{ "mx", SPF_MX, DOMAIN, true },
	{ "ptr", SPF_PTR, DOMAIN, false },
	{ "ip4", SPF_IP4, NETWORK, false },
	{ "ip6", SPF_IP6, NETWORK, false },
	{ "exists", SPF_EXISTS, DOMAIN_MUST, false },
};

/* "24": no zero in front (RFC 7208 5.6). */
static bool parse_bits(struct str digits, unsigned max, unsigned *out)
{
	uint64_t n;

	if (digits.n > 1 && digits.p[0] == '0')
		return false;
	if (!str_number(digits, max, &n))
		return false;
	*out = (unsigned)n;
	return true;
}

static struct str trailing_digits(struct str s)
{
	size_t n = 0;

	while (n < s.n && ascii_digit(s.p[s.n - 1 - n]))
		n++;
	return str_from(s, s.n - n);
}

/* Takes "/24//64", "/24" or "//64" off the end; a domain may have slashes of its own in front of that. False: a number too large. */
static bool cut_bits(struct str *s, struct spf_term *t)
{
	struct str digits = trailing_digits(*s), before = { s->p, s->n - digits.n };

	if (!digits.n || !str_ends_nocase(before, STR("/")))
		return true;
	if (str_ends_nocase(before, STR("//"))) {
		if (!parse_bits(digits, 128, &t->bits6))
			return false;
		s->n = before.n - 2;
		digits = trailing_digits(*s);
		before = (struct str){ s->p, s->n - digits.n };
		if (!digits.n || !str_ends_nocase(before, STR("/")))
			return true;
	}
	s->n = before.n - 1;
	return parse_bits(digits, 32, &t->bits4);
}

static const char *parse_network(struct str s, struct spf_term *t)
{
	bool four = t->kind == SPF_IP4;
	char text[INET6_ADDRSTRLEN];
	struct str rest = s, address = s;

	if (str_cut(&rest, '/', &address) && !parse_bits(rest, four ? 32 : 128, four ? &t->bits4 : &t->bits6))
		return "the number of bits behind the slash is none";
	if (!str_copy(text, sizeof text, address) || inet_pton(four ? AF_INET : AF_INET6, text, t->addr) != 1)
		return four ? "that is no IPv4 network" : "that is no IPv6 network";
	return NULL;
}

static const char *parse_argument(const struct mechanism *m, struct str s, struct spf_term *t)
{
	if (m->bits && !cut_bits(&s, t))
		return "the number of bits behind the slash is none";
	if (m->argument == NONE)
		return s.n ? "nothing may follow here" : NULL;
	if (!take(&s, ':')) {
		if (m->argument == DOMAIN && !s.n)
			return NULL;
		return s.n ? "a colon should follow here" : "something is missing behind it";
	}
	if (m->argument == NETWORK)
		return parse_network(s, t);
	t->domain = s;
	return domain_fault(s);
}

static const char *parse_directive(struct str s, struct spf_term *t)
{
	struct str name;
	size_t n = 0;

	t->qualifier = '+';
	if (s.n && s.p[0] && strchr("+-?~", s.p[0])) {
		t->qualifier = s.p[0];
		s = str_from(s, 1);
	}
	while (n < s.n && s.p[n] != ':' && s.p[n] != '/')
		n++;
	name = (struct str){ s.p, n };
	for (size_t i = 0; i < sizeof mechanisms / sizeof *mechanisms; i++)
		if (str_eq_nocase(name, str_of(mechanisms[i].name))) {
			t->kind = mechanisms[i].kind;
			return parse_argument(&mechanisms[i], str_from(s, n), t);
		}
	return "there is no such mechanism";
}

/* RFC 7208 4.6.1: a name and directly behind it an equals sign make a modifier. Not a slice when there is none. */
static bool is_modifier(struct str s, struct str *name, struct str *value)
{
	size_t n = 0;

	if (!s.n || !ascii_alpha(s.p[0]))
		return false;
	while (n < s.n && (is_alnum(s.p[n]) || s.p[n] == '-' || s.p[n] == '_' || s.p[n] == '.'))
		n++;
	if (n == s.n || s.p[n] != '=')
		return false;
	*name = (struct str){ s.p, n };
	*value = str_from(s, n + 1);
	return true;
}

/* The grammar lets a redirect= that is wrong pass as a modifier nobody knows; nobody means that. */
static const char *parse_modifier(struct str name, struct str value, struct spf_term *t)
{
	t->kind = str_eq_nocase(name, STR("redirect")) ? SPF_REDIRECT : str_eq_nocase(name, STR("exp")) ? SPF_EXP : SPF_OTHER;
	if (t->kind == SPF_OTHER)
		return text_fault(value, SPF_MACROS);
	t->domain = value;
	return domain_fault(value);
}

bool spf_is_record(struct str txt, struct str *terms)
{
	static const struct str version = { "v=spf1", 6 };

	*terms = str_from(txt, version.n);
	return str_starts_nocase(txt, version) && (!terms->n || terms->p[0] == ' ');
}

bool spf_next_term(struct str *terms, struct spf_term *out, const char **wrong)
{
	struct str name, value;

	*wrong = NULL;
	take_any(terms, " ");                   /* not a tab: blanks alone part terms */
	if (!terms->n)
		return false;
	*out = (struct spf_term){ .bits4 = 32, .bits6 = 128 };
	if (!str_cut(terms, ' ', &out->text)) {
		out->text = *terms;
		*terms = str_from(*terms, terms->n);
	}
	if (is_modifier(out->text, &name, &value))
		*wrong = parse_modifier(name, value, out);
	else
		*wrong = parse_directive(out->text, out);
	return !*wrong;
}

const char *spf_terms_fault(struct str terms, struct str *where)
{
	unsigned redirects = 0, exps = 0;
	struct spf_term t = { .kind = SPF_OTHER };
	const char *wrong = NULL;

	if (terms.n > SPF_RECORD_MAX) {
		*where = terms;
		return "it is too long";
	}
	while (spf_next_term(&terms, &t, &wrong)) {
		redirects += t.kind == SPF_REDIRECT;
		exps += t.kind == SPF_EXP;
		if (redirects > 1 || exps > 1) {        /* RFC 7208 6 */
			wrong = "it may stand there once only";
			break;
		}
	}
	*where = t.text;
	return wrong;
}
