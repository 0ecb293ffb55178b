/* Records of DMARC, and the domains of From. */
#include "policy/dmarc_syntax.h"

#include <stdio.h>
#include <string.h>

#include "lib/idn.h"
#include "mime/header.h"
#include "parse.h"

static const char *const policies[] = { [DMARC_NOT_SAID] = "", [DMARC_P_NONE] = "none", [DMARC_P_QUARANTINE] = "quarantine", [DMARC_P_REJECT] = "reject" };

const char *dmarc_policy_name(enum dmarc_policy p) { return policies[p]; }

/* ---- tags */

/* What a record said of p, sp and np before it is decided what that means together. */
struct reading {
	struct dmarc_record *out;
	bool wrong_policy;
};

static bool one_of(struct str value, const char *letters, char *out)
{
	char c = value.n == 1 ? ascii_lower(value.p[0]) : '\0';

	if (!c || !strchr(letters, c))
		return false;
	*out = c;
	return true;
}

static void set_policy(struct reading *r, struct str value, enum dmarc_policy *out)
{
	for (int p = DMARC_P_NONE; p <= DMARC_P_REJECT; p++)
		if (str_eq_nocase(value, str_of(policies[p])))
			*out = (enum dmarc_policy)p;
	r->wrong_policy |= *out == DMARC_NOT_SAID;
}

static void set_p(struct reading *r, struct str value) { set_policy(r, value, &r->out->p); }
static void set_sp(struct reading *r, struct str value) { set_policy(r, value, &r->out->sp); }
static void set_np(struct reading *r, struct str value) { set_policy(r, value, &r->out->np); }

static void set_adkim(struct reading *r, struct str value)
{
	char c;

	if (one_of(value, "rs", &c))
		r->out->strict_dkim = c == 's';
}

static void set_aspf(struct reading *r, struct str value)
{
	char c;

	if (one_of(value, "rs", &c))
		r->out->strict_spf = c == 's';
}

static void set_psd(struct reading *r, struct str value) { one_of(value, "ynu", &r->out->psd); }

static void set_t(struct reading *r, struct str value)
{
	char c;

	if (one_of(value, "yn", &c))
		r->out->testing = c == 'y';
}

static void set_pct(struct reading *r, struct str value)
{
	uint64_t n;

	if (str_number(value, 100, &n))
		r->out->pct = (unsigned)n;
}

static void set_ri(struct reading *r, struct str value)
{
	uint64_t n;

	if (str_number(value, UINT32_MAX, &n))
		r->out->ri = (uint32_t)n;
}

static void set_fo(struct reading *r, struct str value)
{
	static const char letters[] = "01ds";
	struct str rest = value, one;
	unsigned fo = 0;

	for (bool more = true; more;) {
		char c;

		more = str_cut(&rest, ':', &one);
		if (!one_of(str_trim(more ? one : rest), letters, &c))
			return;
		fo |= 1u << (strchr(letters, c) - letters);
	}
	r->out->fo = fo;
}

/* RFC 3986 3: a scheme and something behind it. */
static bool is_uri(struct str s)
{
	struct str scheme, rest = s;
	bool good = str_cut(&rest, ':', &scheme) && scheme.n && ascii_alpha(scheme.p[0]) && rest.n;

	for (size_t i = 0; good && i < s.n; i++)
		good = s.p[i] > ' ' && s.p[i] < 0x7f && !strchr("\"<>\\^`{|}!", s.p[i]);
	return good;
}

/* Takes one piece off a list, without the size. */
static struct str take_uri(struct str *list, struct str *size)
{
	struct str one, uri;

	if (!str_cut(list, ',', &one)) {
		one = *list;
		*list = str_from(*list, list->n);
	}
	one = str_trim(one);
	*size = STR("");
	if (!str_cut(&one, '!', &uri))
		return one;
	*size = one;
	return uri;
}

static struct str useful_list(struct str value)
{
	struct str rest = value, size;

	while (rest.n)
		if (is_uri(take_uri(&rest, &size)))
			return value;
	return STR("");
}

static void set_rua(struct reading *r, struct str value) { r->out->rua = useful_list(value); }
static void set_ruf(struct reading *r, struct str value) { r->out->ruf = useful_list(value); }

static const struct {
	const char *name;
	void (*set)(struct reading *, struct str value);
} tags[] = {
	{ "p", set_p }, { "sp", set_sp }, { "np", set_np }, { "adkim", set_adkim }, { "aspf", set_aspf }, { "psd", set_psd }, { "t", set_t },
	{ "pct", set_pct }, { "fo", set_fo }, { "rua", set_rua }, { "ruf", set_ruf }, { "ri", set_ri },
};

/* ---- records */

/* Takes a tag off the list. *value is empty, which no tag may have, when there is no = or an octet that may not stand in one. */
static void take_tag(struct str *rest, struct str *name, struct str *value)
{
	struct str tag;

	if (!str_cut(rest, ';', &tag)) {
		tag = *rest;
		*rest = str_from(*rest, rest->n);
	}
	*value = STR("");
	if (!str_cut(&tag, '=', name)) {
		*name = str_trim(tag);
		return;
	}
	*name = str_trim(*name);
	tag = str_trim(tag);
	for (size_t i = 0; i < tag.n; i++)
		if (!ascii_print(tag.p[i]))
			return;
	*value = tag;
}

bool dmarc_is_record(struct str text)
{
	struct str name, value;

	if (!text.n || ascii_lower(text.p[0]) != 'v')
		return false;
	take_tag(&text, &name, &value);
	return name.n == 1 && str_eq(value, STR("DMARC1"));
}

const char *dmarc_record_parse(struct str text, struct dmarc_record *out)
{
	struct reading r = { .out = out };
	struct str name, value;
	unsigned seen = 0;

	*out = (struct dmarc_record){ .psd = 'u', .pct = 100, .fo = DMARC_FO_0, .ri = DMARC_RI };
	if (!dmarc_is_record(text))
		return "it does not begin with v=DMARC1";
	if (text.n > DMARC_RECORD_MAX)
		return "it is too long";
	take_tag(&text, &name, &value);
	while (text.n) {
		take_tag(&text, &name, &value);
		if (str_eq_nocase(name, STR("v")))
			return "it says v= twice";
		for (unsigned i = 0; i < sizeof tags / sizeof *tags; i++) {
			if (!str_eq_nocase(name, str_of(tags[i].name)))
				continue;
			if (seen >> i & 1)      /* RFC 6376 3.2: then the list has no meaning */
				return "it says the same tag twice";
			seen |= 1u << i;
			tags[i].set(&r, value);
		}
	}
	if (!r.wrong_policy && out->p != DMARC_NOT_SAID)
		return NULL;
	if (!out->rua.n)
		return r.wrong_policy ? "it says neither none, quarantine nor reject" : "it says no policy (p=)";
	out->p = DMARC_P_NONE;          /* RFC 9989 4.10.1: somebody wants reports at least */
	out->sp = out->np = DMARC_NOT_SAID;
	return NULL;
}

/* ---- addresses for reports */

static int hex(char c)
{
	static const char digits[] = "0123456789abcdef";
	const char *at = c ? strchr(digits, ascii_lower(c)) : NULL;

	return at ? (int)(at - digits) : -1;
}

/* RFC 6068 2: percent signs decoded; fields for the message are not for us. */
static bool mailto(struct str uri, char out[ADDR_MAX + 1])
{
	struct str rest = str_from(uri, 7), path;
	struct addr a;
	size_t n = 0;

	if (!str_starts_nocase(uri, STR("mailto:")))
		return false;
	path = str_cut(&rest, '?', &path) ? path : rest;
	for (size_t i = 0; i < path.n; i++) {
		int c = (unsigned char)path.p[i];

		if (c == '%') {
			if (i + 2 >= path.n || hex(path.p[i + 1]) < 0 || hex(path.p[i + 2]) < 0)
				return false;
			c = hex(path.p[i + 1]) << 4 | hex(path.p[i + 2]);
			i += 2;
		}
		if (n == ADDR_MAX || c < ' ' || c >= 0x7f)
			return false;
		out[n++] = (char)c;
	}
	out[n] = '\0';
	return parse_address((struct str){ out, n }, false, &a) == NULL;
}

static uint64_t octets(struct str size)
{
	static const char units[] = "kmgt";
	uint64_t n, factor = 1;
	const char *unit = size.n ? strchr(units, ascii_lower(size.p[size.n - 1])) : NULL;

	if (unit && *unit) {
		factor <<= 10 * (unit - units + 1);
		size.n--;
	}
	return str_number(size, UINT64_MAX / factor, &n) ? n * factor : 0;
}

bool dmarc_uri_next(struct str *list, struct dmarc_uri *out)
{
	while (list->n) {
		struct str size;

		out->text = take_uri(list, &size);
		out->size_max = octets(size);
		if (is_uri(out->text) && mailto(out->text, out->address))
			return true;
	}
	return false;
}

/* ---- From */

enum { R_NAME, R_COLON, R_OTHER, R_SUBJECT, R_VALUE, R_VALUE_END, R_BODY };

void dmarc_read_begin(struct dmarc_reader *r) { *r = (struct dmarc_reader){ .from = { .max = DMARC_FROM_MAX } }; }

/* "Subject: Report Domain: example.org", blanks left out. */
static void match_subject(struct dmarc_reader *r, char c)
{
	static const char begin[] = "reportdomain:";

	if (c == ' ' || c == '\t')
		return;
	r->matched = ascii_lower(c) == begin[r->matched] ? r->matched + 1 : 0;
	r->report |= r->matched == sizeof begin - 1;
	if (!r->matched || r->report)
		r->state = R_OTHER;
}

/* The first octets of a line, until it is known what line it is. */
static void match(struct dmarc_reader *r, char c)
{
	const char *name;

	if (r->state == R_NAME && r->matched == 0)
		r->subject = ascii_lower(c) == 's';
	name = r->subject ? "subject" : "from";
	if (r->state == R_NAME && r->matched == 0 && c == '\r') {
		r->state = R_BODY;              /* CR LF alone ends the header; a CR elsewhere refuses the message */
	} else if (r->state == R_NAME && ascii_lower(c) == name[r->matched]) {
		if (!name[++r->matched])
			r->state = R_COLON;
	} else if (r->state == R_COLON && c == ':' && r->subject) {
		r->state = R_SUBJECT;
		r->matched = 0;
	} else if (r->state == R_COLON && c == ':') {
		r->state = R_VALUE;
		r->fields++;
	} else if (r->state == R_SUBJECT) {
		match_subject(r, c);
	} else if (r->state != R_COLON || (c != ' ' && c != '\t')) {
		r->state = R_OTHER;
	}
	if (c == '\n') {
		r->state = R_NAME;
		r->matched = 0;
	}
}

static void end_value(struct dmarc_reader *r)
{
	buf_char(&r->from, ',');
	r->state = R_NAME;
	r->matched = 0;
}

/* Takes what needs no look at each octet: the rest of a line. */
static size_t take_line(struct dmarc_reader *r, struct str text)
{
	const char *lf = memchr(text.p, '\n', text.n);
	size_t n = lf ? (size_t)(lf - text.p) + 1 : text.n;

	if (r->state == R_VALUE)
		buf_add(&r->from, text.p, n);
	if (lf) {
		r->state = r->state == R_VALUE ? R_VALUE_END : R_NAME;
		r->matched = 0;
	}
	return n;
}

bool dmarc_read(struct dmarc_reader *r, struct str text)
{
	while (text.n && r->state != R_BODY) {
		size_t n = 1;

		if (r->state == R_VALUE_END && (text.p[0] == ' ' || text.p[0] == '\t'))
			r->state = R_VALUE;
		else if (r->state == R_VALUE_END)
			end_value(r);
		if (r->state == R_VALUE || r->state == R_OTHER)
			n = take_line(r, text);
		else
			match(r, text.p[0]);
		text = str_from(text, n);
	}
	return r->state != R_BODY;
}

/* Domains that mean the same are one. */
static void add_domain(struct dmarc_author *a, struct str domain)
{
	char ascii[DOMAIN_MAX + 1];

	if (domain.p[0] == '[')         /* nobody can have a record for it */
		return;
	if (idn_to_ascii(domain, ascii)) {
		a->unclear = "the domain in From is not a name in the DNS";
		return;
	}
	for (char *p = ascii; *p; p++)
		*p = ascii_lower(*p);
	for (size_t i = 0; i < a->n; i++)
		if (!strcmp(a->domain[i], ascii))
			return;
	if (a->n == DMARC_AUTHORS)
		a->unclear = "From names too many domains";
	else
		str_copy(a->domain[a->n++], sizeof ascii, str_of(ascii));
}

static bool add_author(void *arg, const struct addr *addr)
{
	struct dmarc_author *a = arg;

	if (!addr->domain.n)
		return true;
	if (!a->n && addr->local.n + 1 + addr->domain.n <= ADDR_MAX)
		snprintf(a->first, sizeof a->first, STR_FMT "@" STR_FMT, STR_ARG(addr->local), STR_ARG(addr->domain));
	add_domain(a, addr->domain);
	return !a->unclear;             /* of ten thousand addresses the rest would be for nothing */
}

static bool in_domain(char c) { return ascii_alpha(c) || ascii_digit(c) || (c && strchr("-_.", c)) || (unsigned char)c >= 0x80; }

/* Where no address can be made out, some reader's program makes out one all the same: what stands behind each @ counts. False: there is none. */
static bool scan(struct dmarc_author *a, struct str text)
{
	struct str before;
	bool any = false;

	while (!a->unclear && str_cut(&text, '@', &before)) {
		size_t n = 0;

		while (n < text.n && in_domain(text.p[n]))
			n++;
		while (n && text.p[n - 1] == '.')
			n--;
		any = any || n;
		if (n)
			add_domain(a, (struct str){ text.p, n });
	}
	return any;
}

void dmarc_read_end(struct dmarc_reader *r, struct dmarc_author *out)
{
	*out = (struct dmarc_author){ .fields = r->fields, .report = r->report };
	if (r->state == R_VALUE || r->state == R_VALUE_END)
		end_value(r);
	if (r->from.bad)
		out->unclear = "From is too long";
	else if (!header_addresses(buf_view(&r->from), add_author, out) && !out->n && !out->unclear &&
		memchr(buf_view(&r->from).p, '@', r->from.n) && !scan(out, buf_view(&r->from)))
		out->unclear = "no address can be made out in From";
	if (r->fields > 1)
		out->unclear = "there is more than one From field";
	buf_free(&r->from);
	r->state = R_BODY;
}
