/* Lists in the DNS. */
#include "policy/dnsbl.h"

#include <stdio.h>
#include <string.h>

#include "lib/list.h"
#include "lib/log.h"
#include "parse.h"

enum {
	IGNORED_S = 600,                /* that an unwell list is not asked */
	ASKED_A_SECOND = 50             /* messages of a second that a list is asked about: a flood of junk is not to become one of questions */
};

/* ---- what stands in the settings */

static bool parse_range(struct str text, unsigned char *low, unsigned char *high)
{
	struct str first;
	uint64_t a, b;

	if (!str_cut(&text, '-', &first))
		first = text;
	if (!str_number(first, 255, &a) || !str_number(text, 255, &b) || a > b)
		return false;
	*low = (unsigned char)a;
	*high = (unsigned char)b;
	return true;
}

static bool parse_code(struct str text, struct dnsbl_codes *out)
{
	struct str octet;

	for (size_t i = 0; i < 3; i++)
		if (!str_cut(&text, '.', &octet) || !parse_range(octet, &out->low[i], &out->high[i]))
			return false;
	return parse_range(text, &out->low[3], &out->high[3]) && out->low[0] == 127 && out->high[0] == 127;
}

static const char *parse_codes(struct str text, struct dnsbl_list *out)
{
	for (bool more = true; more;) {
		struct str one;

		more = str_cut(&text, ',', &one);
		if (out->ncodes == DNSBL_CODES)
			return "there are more than eight codes";
		if (!parse_code(more ? one : text, &out->codes[out->ncodes++]))
			return "a code is an address such as 127.0.0.2 or 127.0.0.4-11";
	}
	return NULL;
}

static bool parse_weight(struct str text, int *out)
{
	bool negative = text.n && text.p[0] == '-';
	uint64_t n;

	if (!str_number(str_from(text, negative), DNSBL_WEIGHT_MAX, &n) || n == 0)
		return false;
	*out = negative ? -(int)n : (int)n;
	return true;
}

const char *dnsbl_parse(struct str text, bool domains, struct dnsbl_list *out)
{
	struct str zone, rest, weight;
	const char *wrong;

	*out = (struct dnsbl_list){ .domains = domains, .weight = 1 };
	if (!str_word(&text, &rest))
		return "the name of the list is missing";
	if (str_word(&text, &weight) && !parse_weight(weight, &out->weight))
		return "a weight is a number from 1 to 1000, or from -1 to -1000 for a list of those who are welcome";
	if (str_word(&text, &weight))
		return "there is more behind the weight";
	if (str_cut(&rest, '=', &zone)) {
		if ((wrong = parse_codes(rest, out)))
			return wrong;
	} else {
		zone = rest;
	}
	if (parse_domain(zone, false, false) || zone.n > 200 || !str_copy(out->zone, sizeof out->zone, zone))
		return "the name of the list is no domain";
	return NULL;
}

/* ---- the lists themselves */

unsigned dnsbl_skip(struct dnsbl_list *lists, size_t n, int64_t now)
{
	unsigned skip = 0;

	for (size_t i = 0; i < n; i++) {
		struct dnsbl_list *l = &lists[i];

		if (l->second != now)
			l->asked = 0;
		l->second = now;
		if (now < l->ignored_until || l->asked >= ASKED_A_SECOND)
			skip |= 1u << i;
		else
			l->asked++;
	}
	return skip;
}

void dnsbl_remember(struct dnsbl_list *lists, size_t n, unsigned skipped, const struct dnsbl_result *r, int64_t now)
{
	for (size_t i = 0; i < n; i++) {
		struct dnsbl_list *l = &lists[i];
		bool unwell = r->unwell >> i & 1;

		if (skipped >> i & 1)
			continue;
		if (unwell)
			l->ignored_until = now + IGNORED_S;
		if (unwell && !l->unwell)
			log_event(LOG_WARN, "dnsbl", LF(L_TEXT("zone", l->zone), L_TEXT("error", r->wrong[i]),
				L_TEXT("remedy", "it is left out and asked again every ten minutes; take it out of dnsbl or rhsbl if it stays so")));
		if (!unwell && l->unwell)
			log_event(LOG_INFO, "dnsbl", LF(L_TEXT("zone", l->zone), L_TEXT("state", "works again")));
		l->unwell = unwell;
	}
}

/* ---- asking */

/* RFC 5782 2.1, 2.4: octets or half octets, the last first. */
static size_t reversed(const struct ip *ip, char out[72])
{
	size_t n = 0;

	for (size_t i = ip->n; i-- > 0;)
		n += (size_t)(ip->n == 4 ? snprintf(out + n, 72 - n, "%u.", ip->octet[i]) :
			snprintf(out + n, 72 - n, "%x.%x.", ip->octet[i] & 15, ip->octet[i] >> 4));
	return n;
}

/* What the DNS says of "NAME.ZONE"; a name that is none is not listed. NULL: it is on its way. */
static const struct fact *look(struct facts *facts, enum fact_kind kind, struct str name, const struct dnsbl_list *l)
{
	static const struct fact none = { .outcome = NO_NAME };
	char text[254];
	int n = snprintf(text, sizeof text, STR_FMT "%s%s", STR_ARG(name), name.n && name.p[name.n - 1] == '.' ? "" : ".", l->zone);

	return n < (int)sizeof text ? fact(facts, kind, (struct str){ text, (size_t)n }) : &none;
}

static const unsigned char *code_of(const struct record *r) { return (const unsigned char *)r->data.p; }

/* 127.255.255.x is said to who asks too much, or by way of a public resolver. */
static bool is_refusal(const unsigned char *c) { return c[1] == 255 && c[2] == 255; }

static bool is_counted(const struct dnsbl_list *l, const unsigned char *c)
{
	if (!l->ncodes)
		return !(c[1] == 0 && c[2] == 0 && c[3] == 1);
	for (size_t i = 0; i < l->ncodes; i++) {
		bool inside = true;

		for (size_t k = 0; k < 4; k++)
			inside = inside && c[k] >= l->codes[i].low[k] && c[k] <= l->codes[i].high[k];
		if (inside)
			return true;
	}
	return false;
}

/* What is wrong with a list that answers so; NULL: nothing. */
static const char *wrong_answer(const struct fact *f)
{
	if (f->outcome == UNKNOWN)
		return "it does not answer";
	for (size_t i = 0; f->outcome == FOUND && i < f->n; i++) {
		if (f->record[i].data.n != 4 || code_of(&f->record[i])[0] != 127)
			return "it answers with addresses of the internet: somebody else has its name";
		if (is_refusal(code_of(&f->record[i])))
			return "it refuses our questions (127.255.255.x): we ask too much, or by way of a public resolver";
	}
	return NULL;
}

/* The first code that counts, or NULL. */
static const unsigned char *listed_as(const struct dnsbl_list *l, const struct fact *f)
{
	for (size_t i = 0; f->outcome == FOUND && i < f->n; i++)
		if (is_counted(l, code_of(&f->record[i])))
			return code_of(&f->record[i]);
	return NULL;
}

/* The two names that tell whether a list works (RFC 5782 5). */
struct tests {
	struct str listed, not_listed;
};

static struct tests tests_of(const struct dnsbl_list *l, const struct ip *ip)
{
	static char room[2][72];
	static const struct ip mapped[] = {
		{ .n = 16, .octet = { [10] = 0xff, 0xff, 127, 0, 0, 2 } }, { .n = 16, .octet = { [10] = 0xff, 0xff, 127, 0, 0, 1 } },
	};

	if (l->domains)
		return (struct tests){ STR("test."), STR("invalid.") };
	if (ip->n == 4)
		return (struct tests){ STR("2.0.0.127."), STR("1.0.0.127.") };
	return (struct tests){ { room[0], reversed(&mapped[0], room[0]) }, { room[1], reversed(&mapped[1], room[1]) } };
}

/* ---- one list */

struct asking {
	struct facts *facts;
	const struct dnsbl_query *q;
	size_t i;                       /* of the list */
	const struct dnsbl_list *list;
	bool later;                     /* something of it is on its way */
	bool useless;                   /* it has nothing of this kind, or the fault is ours */
	const char *wrong;
	struct str what;                /* what is on it, and as what */
	const unsigned char *code;
	const struct fact *words;
	char address[72];
};

static const struct fact *ask(struct asking *a, struct str name)
{
	const struct fact *f = look(a->facts, FACT_A, name, a->list);

	if (!f)
		a->later = true;
	else if (f->local_fault)
		a->useless = true;
	else if (!a->wrong)
		a->wrong = wrong_answer(f);
	return f;
}

static void test_list(struct asking *a)
{
	struct tests names = tests_of(a->list, a->q->ip);
	const struct fact *listed = ask(a, names.listed), *not_listed = ask(a, names.not_listed);

	if (a->wrong || a->useless || !listed || !not_listed)
		return;
	if (not_listed->outcome == FOUND)
		a->wrong = "everything is on it";
	else if (listed->outcome != FOUND && !a->list->domains && a->q->ip->n == 16)
		a->useless = true;      /* most have IPv4 alone */
	else if (listed->outcome != FOUND)
		a->wrong = "its test entry is not there: it seems to have been given up";
}

static void look_up(struct asking *a, struct str name, struct str what)
{
	const struct fact *f = ask(a, name);
	const unsigned char *code = f && !a->wrong ? listed_as(a->list, f) : NULL;

	if (!code || a->code)
		return;
	a->what = what;
	a->code = code;
	if (!(a->words = look(a->facts, FACT_TXT, name, a->list)))
		a->later = true;
}

static void ask_list(struct asking *a)
{
	test_list(a);
	if (!a->list->domains)
		look_up(a, (struct str){ a->address, reversed(a->q->ip, a->address) }, str_of(a->q->ip->text));
	for (size_t k = 0; a->list->domains && k < DNSBL_DOMAINS; k++)
		if (parse_domain(a->q->domain[k], false, false) == NULL)
			look_up(a, a->q->domain[k], a->q->domain[k]);
}

/* ---- all of them */

static void say(struct dnsbl_result *out, const struct asking *a)
{
	const struct fact *f = a->words;
	struct str words = f->outcome == FOUND && f->n ? f->record[0].data : STR("");

	if (words.n > 200)
		words.n = 200;
	snprintf(out->why, sizeof out->why, STR_FMT " is listed by %s (127.%u.%u.%u)%s" STR_FMT, STR_ARG(a->what), a->list->zone, a->code[1],
		a->code[2], a->code[3], words.n ? ": " : "", STR_ARG(words));
	ascii_make_printable(out->why);
}

static void count(struct dnsbl_result *out, const struct asking *a, int *heaviest)
{
	size_t n = strlen(out->words);

	out->listed |= 1u << a->i;
	out->score += a->list->weight;
	snprintf(out->words + n, sizeof out->words - n, "%s%s:127.%u.%u.%u", n ? " " : "", a->list->zone, a->code[1], a->code[2], a->code[3]);
	if (a->list->weight > *heaviest) {
		*heaviest = a->list->weight;
		say(out, a);
	}
}

enum verdict dnsbl_check(struct facts *facts, const struct dnsbl_query *q, struct dnsbl_result *out)
{
	bool later = false;
	int heaviest = 0;

	*out = (struct dnsbl_result){ 0 };
	for (size_t i = 0; i < q->n; i++) {
		struct asking a = { .facts = facts, .q = q, .i = i, .list = &q->list[i] };

		if (q->skip >> i & 1 || (!a.list->domains && !q->ip))
			continue;
		ask_list(&a);
		later |= a.later;
		if (a.later)
			continue;
		out->wrong[i] = a.wrong;
		if (a.wrong)
			out->unwell |= 1u << i;
		else if (a.code && !a.useless)
			count(out, &a, &heaviest);
	}
	return later ? WAIT : ACCEPT;
}
