/* SMTP grammar: addresses, parameters, replies. One pass over the text, nothing allocated, nothing kept. */
#include "parse.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
	LABEL_MAX = 63,         /* RFC 1035 2.3.4 */
	PATH_MAX_OCTETS = 256,  /* RFC 5321 4.5.3.1.3, with the brackets; a source route is not counted, it is dropped */
	ENVID_MAX = 100,        /* RFC 3461 4.4 */
	ORCPT_MAX = 500         /* RFC 3461 4.2 */
};

/* What is wrong with a path decides the reply code, so these are compared by address. */
static const char NO_BRACKET[] = "the address must stand between < and >";
static const char NEEDS_SMTPUTF8[] = "8-bit address without SMTPUTF8";
static const char NOT_UTF8[] = "address is not valid UTF-8";

/* ---- octets */

static bool is_high(char c)
{
	return (unsigned char)c >= 0x80;
}

static bool is_let_dig(char c)
{
	return ascii_alpha(c) || ascii_digit(c);
}

/* RFC 5321 4.1.2 takes atext from RFC 5322 3.2.3. */
static bool is_atext(char c)
{
	return is_let_dig(c) || (c && strchr("!#$%&'*+-/=?^_`{|}~", c));
}

static bool any_high(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (is_high(s.p[i]))
			return true;
	return false;
}

static bool take(struct str *in, char c)
{
	if (in->n == 0 || in->p[0] != c)
		return false;
	*in = str_from(*in, 1);
	return true;
}

/* Cuts the first n octets off *in. */
static struct str take_n(struct str *in, size_t n)
{
	struct str head = { in->p, n };

	*in = str_from(*in, n);
	return head;
}

static bool utf8_valid(struct str s)
{
	size_t n;

	while (s.n) {
		n = utf8_sequence(s);
		if (n == 0)
			return false;
		s = str_from(s, n);
	}
	return true;
}

/* NULL when s has no 8-bit octets, or has them rightly. */
static const char *eight_bit_fault(struct str s, bool utf8)
{
	if (!any_high(s))
		return NULL;
	if (!utf8)
		return NEEDS_SMTPUTF8;
	return utf8_valid(s) ? NULL : NOT_UTF8;
}

/* ---- domains */

bool parse_literal(struct str text, struct sockaddr_storage *out)
{
	static const struct str tag = { "IPv6:", 5 };
	struct sockaddr_in *v4 = (struct sockaddr_in *)out;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
	char name[INET6_ADDRSTRLEN];

	memset(out, 0, sizeof(*out));
	if (text.n < 2 || text.p[0] != '[' || text.p[text.n - 1] != ']')
		return false;
	text = (struct str){ text.p + 1, text.n - 2 };
	if (!str_starts_nocase(text, tag)) {
		v4->sin_family = AF_INET;
		return str_copy(name, sizeof(name), text) && inet_pton(AF_INET, name, &v4->sin_addr) == 1;
	}
	v6->sin6_family = AF_INET6;
	return str_copy(name, sizeof(name), str_from(text, tag.n)) && inet_pton(AF_INET6, name, &v6->sin6_addr) == 1;
}

static const char *label_fault(struct str label)
{
	if (label.n == 0)
		return "the domain has a dot too many";
	if (label.n > LABEL_MAX)
		return "the domain has a part of more than 63 octets";
	if (label.p[0] == '-' || label.p[label.n - 1] == '-')
		return "a part of the domain begins or ends with a hyphen";
	for (size_t i = 0; i < label.n; i++)
		if (!is_let_dig(label.p[i]) && label.p[i] != '-' && !is_high(label.p[i]))
			return "the domain has a character that is not allowed";
	return NULL;
}

static bool all_digits(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!ascii_digit(s.p[i]))
			return false;
	return true;
}

const char *parse_domain(struct str text, bool utf8, bool literal_ok)
{
	struct sockaddr_storage address;
	struct str rest = text, label;
	const char *why;
	bool more = true;

	if (text.n == 0)
		return "the domain is missing";
	if (text.n > DOMAIN_MAX)
		return "the domain is too long";
	if (text.p[0] == '[') {
		if (!literal_ok)
			return "an address literal is not allowed here";
		return parse_literal(text, &address) ? NULL : "the address literal is not an IPv4 or IPv6 address";
	}
	while (more) {
		more = str_cut(&rest, '.', &label);
		if (!more)
			label = rest;
		why = label_fault(label);
		if (why)
			return why;
	}
	/* RFC 3696 2: so that 192.0.2.1 without brackets is never taken for a name. */
	if (all_digits(label))
		return "the last part of the domain is a number";
	return eight_bit_fault(text, utf8);
}

/* Takes what stands before any of `stops` (or all) as a domain. */
static const char *take_domain(struct str *in, const char *stops, bool utf8, bool literal_ok, struct str *out)
{
	size_t n = 0;

	while (n < in->n && !(in->p[n] && strchr(stops, in->p[n])))
		n++;
	*out = take_n(in, n);
	return parse_domain(*out, utf8, literal_ok);
}

/* ---- local parts */

static const char *take_quoted(struct str *in, struct str *out)
{
	size_t i = 1;

	for (; i < in->n && in->p[i] != '"'; i++) {
		bool pair = in->p[i] == '\\';

		if (pair && ++i == in->n)
			break;
		if (!ascii_print(in->p[i]) && (pair || !is_high(in->p[i])))
			return "the quoted local part has a character that is not allowed";
	}
	if (i >= in->n)
		return "the quoted local part has no end";
	*out = take_n(in, i + 1);
	return NULL;
}

static const char *take_dot_string(struct str *in, struct str *out)
{
	size_t n = 0;

	while (n < in->n && (is_atext(in->p[n]) || in->p[n] == '.' || is_high(in->p[n])))
		n++;
	*out = take_n(in, n);
	if (n == 0)
		return "the local part is missing or has a character that is not allowed";
	if (out->p[0] == '.' || out->p[n - 1] == '.' || memmem(out->p, n, "..", 2))
		return "the local part has a dot too many";
	return NULL;
}

static const char *take_local(struct str *in, bool utf8, struct str *out)
{
	bool quoted = in->n && in->p[0] == '"';
	const char *why = quoted ? take_quoted(in, out) : take_dot_string(in, out);

	if (why)
		return why;
	if (out->n > LOCAL_MAX)
		return "the local part is too long";
	return eight_bit_fault(*out, utf8);
}

/* ---- addresses */

/* local '@' domain up to one of `stops`. */
static const char *take_mailbox(struct str *in, const char *stops, bool utf8, struct addr *out)
{
	const char *why = take_local(in, utf8, &out->local);

	if (why)
		return why;
	if (in->n == 0)
		return "there is no @ in the address";
	if (!take(in, '@'))
		return "the local part has a character that is not allowed";
	return take_domain(in, stops, utf8, true, &out->domain);
}

/* "@a,@b:" in front of the mailbox: to be accepted and ignored (RFC 5321 4.1.1.3, appendix C). */
static const char *skip_route(struct str *in, bool utf8)
{
	struct str domain;
	const char *why;

	if (in->n == 0 || in->p[0] != '@')
		return NULL;
	do {
		if (!take(in, '@'))
			return "the source route is not understood";
		why = take_domain(in, ",:>", utf8, false, &domain);
		if (why)
			return why;
	} while (take(in, ','));
	return take(in, ':') ? NULL : "the source route has no end";
}

const char *parse_path(struct str *rest, bool null_ok, bool postmaster_ok, bool utf8, struct addr *out)
{
	static const struct str postmaster = { "postmaster>", 11 };
	struct str in = *rest;
	const char *why, *start;

	memset(out, 0, sizeof(*out));
	if (!take(&in, '<'))
		return NO_BRACKET;
	if (in.n && in.p[0] == '>') {
		if (!null_ok)
			return "the address is empty";
		out->local = out->domain = (struct str){ in.p, 0 };
		*rest = str_from(in, 1);
		return NULL;
	}
	if (postmaster_ok && str_starts_nocase(in, postmaster)) {
		out->local = take_n(&in, postmaster.n - 1);
		out->domain = (struct str){ in.p, 0 };
		*rest = str_from(in, 1);
		return NULL;
	}
	why = skip_route(&in, utf8);
	if (why)
		return why;
	start = in.p;
	why = take_mailbox(&in, ">", utf8, out);
	if (why)
		return why;
	if (!take(&in, '>'))
		return NO_BRACKET;
	if ((size_t)(in.p - start) + 1 > PATH_MAX_OCTETS)
		return "the address is too long";
	*rest = in;
	return NULL;
}

const char *parse_address(struct str text, bool utf8, struct addr *out)
{
	memset(out, 0, sizeof(*out));
	/* What is taken here goes into a path, and has to be read back from there. */
	return text.n + 2 > PATH_MAX_OCTETS ? "the address is too long" : take_mailbox(&text, "", utf8, out);
}

bool addr_is_null(const struct addr *a)
{
	return a->local.n == 0 && a->domain.n == 0;
}

static bool print_mailbox(struct buf *b, const struct addr *a)
{
	buf_str(b, a->local);
	if (a->domain.n)
		buf_char(b, '@');
	return buf_str(b, a->domain) && !b->bad;
}

bool print_addr(struct buf *b, const struct addr *a)
{
	if (!print_mailbox(b, a))
		return false;
	for (size_t i = b->n - a->domain.n; i < b->n; i++)
		b->p[i] = ascii_lower(b->p[i]);
	return true;
}

bool addr_local_unquoted(struct buf *b, const struct addr *a)
{
	struct str s = a->local;

	if (s.n < 2 || s.p[0] != '"')
		return buf_str(b, s) && !b->bad;
	s = (struct str){ s.p + 1, s.n - 2 };
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '\\' && i + 1 < s.n)
			i++;
		buf_char(b, s.p[i]);
	}
	return !b->bad;
}

/* ---- xtext */

static int hex_upper(char c)
{
	if (ascii_digit(c))
		return c - '0';
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The octet that "+HH" at the start of s stands for, or -1. Only printable ones: what is wrapped up would
 * come to light in a report or a log. (RFC 3461 4.2 and 4.4 want printable ASCII, too.) */
static int xtext_hex(struct str s)
{
	int c;

	if (s.n < 3 || hex_upper(s.p[1]) < 0 || hex_upper(s.p[2]) < 0)
		return -1;
	c = hex_upper(s.p[1]) * 16 + hex_upper(s.p[2]);
	return c < 0x80 && ascii_print((char)c) ? c : -1;
}

static bool xtext_ok(struct str s, bool utf8)
{
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '+') {
			if (xtext_hex(str_from(s, i)) < 0)
				return false;
			i += 2;
		} else if (s.p[i] == '=' || s.p[i] == ' ' || (!ascii_print(s.p[i]) && !is_high(s.p[i]))) {
			return false;
		}
	}
	return eight_bit_fault(s, utf8) == NULL;
}

bool xtext_valid(struct str s)
{
	return xtext_ok(s, false);
}

bool xtext_encode(struct buf *b, struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		if (!ascii_print(s.p[i]))
			return false;
		if (s.p[i] == '+' || s.p[i] == '=' || s.p[i] == ' ')
			buf_printf(b, "+%02X", (unsigned char)s.p[i]);
		else
			buf_char(b, s.p[i]);
	}
	return !b->bad;
}

bool xtext_decode(struct buf *b, struct str s)
{
	if (!xtext_valid(s))
		return false;
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (c == '+') {
			c = (char)xtext_hex(str_from(s, i));
			i += 2;
		}
		buf_char(b, c);
	}
	return !b->bad;
}

/* ---- dates (HOLDUNTIL) */

static bool is_leap(unsigned year)
{
	return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static unsigned days_in_month(unsigned year, unsigned month)
{
	static const unsigned char days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };

	return days[month - 1] + (month == 2 && is_leap(year));
}

static int64_t days_before_year(unsigned year)
{
	int64_t y = (int64_t)year - 1;

	return y * 365 + y / 4 - y / 100 + y / 400;
}

/* "2026-03-01T12:00:00Z" -> Unix seconds. RFC 4865 3 has the time normalized to UTC: no other zone.
 * A fraction is dropped. Reckoned here because timegm() stops at 2038 where time_t has 32 bits. */
static bool parse_utc(struct str in, int64_t *out)
{
	enum { YEAR, MONTH, DAY, HOUR, MINUTE, SECOND, FIELDS };
	static const struct { size_t n; unsigned low, high; char after; } row[FIELDS] = {
		[YEAR] = { 4, 1970, 9999, '-' }, [MONTH] = { 2, 1, 12, '-' }, [DAY] = { 2, 1, 31, 't' },
		[HOUR] = { 2, 0, 23, ':' }, [MINUTE] = { 2, 0, 59, ':' }, [SECOND] = { 2, 0, 60, 0 },
	};
	unsigned v[FIELDS];
	uint64_t number;
	int64_t days;

	for (size_t i = 0; i < FIELDS; i++) {
		if (in.n < row[i].n || !str_number(take_n(&in, row[i].n), row[i].high, &number) || number < row[i].low)
			return false;
		v[i] = (unsigned)number;
		if (!row[i].after)
			break;
		if (in.n == 0 || ascii_lower(in.p[0]) != row[i].after)
			return false;
		in = str_from(in, 1);
	}
	if (v[DAY] > days_in_month(v[YEAR], v[MONTH]))
		return false;
	if (take(&in, '.')) {
		if (in.n < 2 || !all_digits((struct str){ in.p, in.n - 1 }))
			return false;
		in = str_from(in, in.n - 1);
	}
	if (in.n != 1 || ascii_lower(in.p[0]) != 'z')
		return false;
	days = days_before_year(v[YEAR]) - days_before_year(1970) + v[DAY] - 1;
	for (unsigned m = 1; m < v[MONTH]; m++)
		days += days_in_month(v[YEAR], m);
	*out = ((days * 24 + v[HOUR]) * 60 + v[MINUTE]) * 60 + v[SECOND];
	return true;
}

static void print_utc(struct buf *b, int64_t when)
{
	const int64_t last = (days_before_year(10000) - days_before_year(1970)) * 86400 - 1;
	int64_t days, second;
	unsigned year = 1970, month = 1;

	if (when > last)
		when = last;
	days = when / 86400;
	second = when % 86400;
	while (days >= 365 + is_leap(year))
		days -= 365 + is_leap(year++);
	while (days >= days_in_month(year, month))
		days -= days_in_month(year, month++);
	buf_printf(b, "%04u-%02u-%02dT%02d:%02d:%02dZ", year, month, (int)days + 1,
		(int)(second / 3600), (int)(second / 60 % 60), (int)(second % 60));
}

/* ---- parameters */

/* What a parameter is taken into; one of the two is NULL. */
struct target {
	unsigned offered;
	bool utf8;              /* for the values; with MAIL judged at the end, SMTPUTF8 may come last */
	struct sender *from;
	struct recipient *to;
};

struct param_row {
	const char *keyword;
	unsigned needs;         /* PARAM_ bit */
	bool value;             /* has one, and must have one */
	struct parse_error (*take)(const struct target *, struct str value);
};

static const struct parse_error fine;

static struct parse_error bad(int code, const char *enhanced, const char *text)
{
	return (struct parse_error){ text, code, enhanced };
}

static struct parse_error bad_param(const char *text)
{
	return bad(501, "5.5.4", text);
}

/* RFC 5321 4.1.1.11: not known, or known and not to be had. */
static struct parse_error not_here(const char *text)
{
	return bad(555, "5.5.4", text);
}

static struct parse_error take_size(const struct target *t, struct str value)
{
	if (value.n == 0 || value.n > 20 || !all_digits(value))
		return bad_param("SIZE must be a number of octets");
	/* RFC 1870 3: 20 digits say more than we can count; what is too large stays too large. */
	if (!str_number(value, INT64_MAX, &t->from->size))
		t->from->size = INT64_MAX;
	t->from->has_size = true;
	return fine;
}

static struct parse_error take_body(const struct target *t, struct str value)
{
	static const struct { const char *word; enum body body; unsigned needs; } row[] = {
		{ "7BIT", BODY_7BIT, PARAM_BODY },
		{ "8BITMIME", BODY_8BITMIME, PARAM_BODY },
		{ "BINARYMIME", BODY_BINARYMIME, PARAM_BINARY },
	};

	for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++) {
		if (!str_eq_nocase(value, str_of(row[i].word)) || !(t->offered & row[i].needs))
			continue;
		t->from->body = row[i].body;
		t->from->has_body = true;
		return fine;
	}
	return not_here("this BODY is not supported");
}

static struct parse_error take_smtputf8(const struct target *t, struct str value)
{
	(void)value;
	t->from->smtputf8 = true;
	return fine;
}

static struct parse_error take_requiretls(const struct target *t, struct str value)
{
	(void)value;
	t->from->requiretls = true;
	return fine;
}

static struct parse_error take_ret(const struct target *t, struct str value)
{
	if (str_eq_nocase(value, STR("FULL")))
		t->from->ret = RET_FULL;
	else if (str_eq_nocase(value, STR("HDRS")))
		t->from->ret = RET_HDRS;
	else
		return bad_param("RET must be FULL or HDRS");
	return fine;
}

static struct parse_error take_envid(const struct target *t, struct str value)
{
	if (value.n > ENVID_MAX)
		return bad_param("ENVID is longer than 100 characters");
	if (!xtext_valid(value))
		return bad_param("ENVID is not valid xtext");
	t->from->envid = value;
	return fine;
}

/* RFC 4954 5. */
static struct parse_error take_auth(const struct target *t, struct str value)
{
	if (!str_eq(value, STR("<>")) && !xtext_ok(value, t->utf8))
		return bad_param("AUTH must be <> or an address in xtext");
	t->from->auth = value;
	return fine;
}

/* RFC 4865 3: one to nine digits, the first not 0; and only one of the two. */
static struct parse_error take_hold_for(const struct target *t, struct str value)
{
	if (value.n > 9 || value.p[0] == '0' || !str_number(value, UINT64_MAX, &t->from->hold_for))
		return bad_param("HOLDFOR must be a number of seconds");
	if (t->from->hold_until)
		return bad_param("HOLDFOR and HOLDUNTIL exclude each other");
	return fine;
}

static struct parse_error take_hold_until(const struct target *t, struct str value)
{
	if (!parse_utc(value, &t->from->hold_until) || t->from->hold_until == 0)
		return bad_param("HOLDUNTIL must be a time as in 2026-12-31T12:00:00Z");
	if (t->from->hold_for)
		return bad_param("HOLDFOR and HOLDUNTIL exclude each other");
	return fine;
}

static const struct { const char *word; unsigned bit; } notify_words[] = {
	{ "NEVER", NOTIFY_NEVER }, { "SUCCESS", NOTIFY_SUCCESS }, { "FAILURE", NOTIFY_FAILURE }, { "DELAY", NOTIFY_DELAY },
};

static unsigned notify_bit(struct str word)
{
	for (size_t i = 0; i < sizeof(notify_words) / sizeof(*notify_words); i++)
		if (str_eq_nocase(word, str_of(notify_words[i].word)))
			return notify_words[i].bit;
	return 0;
}

static struct parse_error take_notify(const struct target *t, struct str value)
{
	unsigned bits = 0, bit;
	struct str word;
	bool more;

	do {
		more = str_cut(&value, ',', &word);
		bit = notify_bit(more ? word : value);
		if (!bit)
			return bad_param("NOTIFY must be NEVER, or a list of SUCCESS, FAILURE and DELAY");
		/* RFC 3461 4.1: NEVER stands alone, and not even twice. */
		if ((bits | bit) & NOTIFY_NEVER && bits)
			return bad_param("NOTIFY=NEVER must stand alone");
		bits |= bit;
	} while (more);
	t->to->notify = bits;
	return fine;
}

/* RFC 3461 4.2; RFC 6533 3 adds UTF-8 where SMTPUTF8 is in force. */
static struct parse_error take_orcpt(const struct target *t, struct str value)
{
	struct str rest = value, type;

	if (value.n > ORCPT_MAX)
		return bad_param("ORCPT is longer than 500 characters");
	if (!str_cut(&rest, ';', &type) || type.n == 0 || rest.n == 0)
		return bad_param("ORCPT must be a type, a semicolon and an address");
	for (size_t i = 0; i < type.n; i++)
		if (!is_atext(type.p[i]))
			return bad_param("ORCPT has a type that is no word");
	if (!xtext_ok(rest, t->utf8))
		return bad_param("ORCPT is not valid xtext");
	t->to->orcpt = value;
	return fine;
}

static const struct param_row mail_params[] = {
	{ "SIZE", PARAM_SIZE, true, take_size },                        /* RFC 1870 */
	{ "BODY", PARAM_BODY | PARAM_BINARY, true, take_body },         /* RFC 6152, 3030 */
	{ "SMTPUTF8", PARAM_SMTPUTF8, false, take_smtputf8 },           /* RFC 6531 */
	{ "REQUIRETLS", PARAM_REQUIRETLS, false, take_requiretls },     /* RFC 8689 */
	{ "RET", PARAM_DSN, true, take_ret },                           /* RFC 3461 */
	{ "ENVID", PARAM_DSN, true, take_envid },
	{ "AUTH", PARAM_AUTH, true, take_auth },                        /* RFC 4954 */
	{ "HOLDFOR", PARAM_HOLD, true, take_hold_for },                 /* RFC 4865 */
	{ "HOLDUNTIL", PARAM_HOLD, true, take_hold_until },
	{ 0 }
};

static const struct param_row rcpt_params[] = {
	{ "NOTIFY", PARAM_DSN, true, take_notify },
	{ "ORCPT", PARAM_DSN, true, take_orcpt },
	{ 0 }
};

/* RFC 5321 4.1.2: esmtp-keyword ["=" esmtp-value]. */
static bool keyword_ok(struct str word)
{
	if (word.n == 0 || !is_let_dig(word.p[0]))
		return false;
	for (size_t i = 1; i < word.n; i++)
		if (!is_let_dig(word.p[i]) && word.p[i] != '-')
			return false;
	return true;
}

static bool value_ok(struct str value)
{
	for (size_t i = 0; i < value.n; i++)
		if (value.p[i] == '=' || (!ascii_print(value.p[i]) && !is_high(value.p[i])))
			return false;
	return value.n > 0;
}

static struct parse_error take_param(const struct target *t, const struct param_row *rows, struct str word,
	unsigned *seen)
{
	struct str keyword, value = word;
	bool has_value = str_cut(&value, '=', &keyword);
	const struct param_row *row = rows;

	if (!has_value)
		keyword = word;
	if (!keyword_ok(keyword) || (has_value && !value_ok(value)))
		return bad_param("a parameter is not understood");
	while (row->keyword && !str_eq_nocase(keyword, str_of(row->keyword)))
		row++;
	if (!row->keyword || !(row->needs & t->offered))
		return not_here("a parameter is not supported");
	if (*seen & 1u << (row - rows))
		return bad_param("a parameter is given twice");
	*seen |= 1u << (row - rows);
	if (has_value != row->value)
		return bad_param(row->value ? "a parameter needs a value" : "a parameter has a value and must not");
	return row->take(t, value);
}

/* What stands behind the path: SP and parameters, or nothing. White space at the end is forgiven
 * (RFC 5321 4.1.1), and so is more than one SP. */
static struct parse_error take_params(struct str rest, const struct target *t, const struct param_row *rows)
{
	struct parse_error e = fine;
	unsigned seen = 0;
	struct str word;

	while (rest.n && (rest.p[rest.n - 1] == ' ' || rest.p[rest.n - 1] == '\t'))
		rest.n--;
	if (rest.n && rest.p[0] != ' ')
		return bad(501, "5.5.2", "there must be a blank behind the >");
	while (rest.n && !e.text) {
		if (take(&rest, ' '))
			continue;
		if (!str_cut(&rest, ' ', &word))
			word = take_n(&rest, rest.n);
		e = take_param(t, rows, word, &seen);
	}
	return e;
}

/* "FROM:" and one blank that should not be there, but is with many clients. */
static bool take_keyword(struct str *args, struct str keyword)
{
	if (!str_starts_nocase(*args, keyword))
		return false;
	*args = str_from(*args, keyword.n);
	take(args, ' ');
	return true;
}

static struct parse_error bad_path(const char *why, const char *enhanced)
{
	if (why == NO_BRACKET)
		return bad(501, "5.5.2", why);
	if (why == NEEDS_SMTPUTF8 || why == NOT_UTF8)
		return bad(553, "5.6.7", why);                  /* RFC 6531 3.5 */
	return bad(501, enhanced, why);
}

struct parse_error parse_mail(struct str args, unsigned offered, struct sender *out)
{
	struct target t = { .offered = offered, .utf8 = true, .from = out };
	struct parse_error e;
	struct str path;
	const char *why;

	memset(out, 0, sizeof(*out));
	if (!take_keyword(&args, STR("FROM:")))
		return bad(501, "5.5.2", "say MAIL FROM:<address>");
	path = args;
	why = parse_path(&args, true, false, true, &out->addr);
	if (why == NOT_UTF8 && !(offered & PARAM_SMTPUTF8))
		why = NEEDS_SMTPUTF8;
	if (why)
		return bad_path(why, "5.1.7");
	path.n -= args.n;
	e = take_params(args, &t, mail_params);
	if (e.text || out->smtputf8)
		return e;
	if (any_high(path))
		return bad_path(NEEDS_SMTPUTF8, "5.1.7");
	if (any_high(out->auth))
		return bad_param("8-bit parameter without SMTPUTF8");
	return fine;
}

struct parse_error parse_rcpt(struct str args, unsigned offered, bool utf8, struct recipient *out)
{
	struct target t = { .offered = offered, .utf8 = utf8, .to = out };
	const char *why;

	memset(out, 0, sizeof(*out));
	if (!take_keyword(&args, STR("TO:")))
		return bad(501, "5.5.2", "say RCPT TO:<address>");
	why = parse_path(&args, false, true, utf8, &out->addr);
	if (why)
		return bad_path(why, "5.1.3");
	return take_params(args, &t, rcpt_params);
}

static void print_value(struct buf *b, const char *keyword, struct str value)
{
	if (value.n == 0)
		return;
	buf_puts(b, keyword);
	buf_str(b, value);
}

bool print_mail(struct buf *b, const struct sender *s)
{
	static const char *const body[] = {
		[BODY_7BIT] = "7BIT", [BODY_8BITMIME] = "8BITMIME", [BODY_BINARYMIME] = "BINARYMIME"
	};
	static const char *const ret[] = { [RET_NONE] = "", [RET_FULL] = " RET=FULL", [RET_HDRS] = " RET=HDRS" };

	buf_puts(b, "MAIL FROM:<");
	print_mailbox(b, &s->addr);
	buf_char(b, '>');
	if (s->has_body)
		print_value(b, " BODY=", str_of(body[s->body]));
	if (s->smtputf8)
		buf_puts(b, " SMTPUTF8");
	if (s->requiretls)
		buf_puts(b, " REQUIRETLS");
	buf_puts(b, ret[s->ret]);
	print_value(b, " ENVID=", s->envid);
	print_value(b, " AUTH=", s->auth);
	if (s->hold_for)
		buf_printf(b, " HOLDFOR=%llu", (unsigned long long)s->hold_for);
	if (s->hold_until > 0) {
		buf_puts(b, " HOLDUNTIL=");
		print_utc(b, s->hold_until);
	}
	return !b->bad;
}

bool print_rcpt(struct buf *b, const struct recipient *r)
{
	const char *between = " NOTIFY=";

	buf_puts(b, "RCPT TO:<");
	print_mailbox(b, &r->addr);
	buf_char(b, '>');
	for (size_t i = 0; i < sizeof(notify_words) / sizeof(*notify_words); i++) {
		if (!(r->notify & notify_words[i].bit))
			continue;
		buf_puts(b, between);
		buf_puts(b, notify_words[i].word);
		between = ",";
	}
	print_value(b, " ORCPT=", r->orcpt);
	return !b->bad;
}

/* ---- replies */

bool parse_reply_line(struct str line, int *code, bool *last, struct str *text)
{
	uint64_t number;

	if (line.n < 3 || !str_number((struct str){ line.p, 3 }, 599, &number) || number < 200)
		return false;
	if (line.n > 3 && line.p[3] != ' ' && line.p[3] != '-')
		return false;
	*code = (int)number;
	*last = line.n == 3 || line.p[3] == ' ';
	*text = str_from(line, 4);
	return true;
}

/* One to three digits; how many, or 0. */
static size_t short_number(struct str s)
{
	size_t n = 0;

	while (n < s.n && ascii_digit(s.p[n]))
		n++;
	return n <= 3 ? n : 0;
}

/* RFC 3463 2, RFC 2034 4: class "." subject "." detail, then a blank or the end. */
void parse_enhanced(int code, struct str *text, char enhanced[12])
{
	struct str rest = *text;
	size_t n;

	enhanced[0] = 0;
	if (rest.n == 0 || rest.p[0] != '0' + code / 100 || !strchr("245", rest.p[0]))
		return;
	rest = str_from(rest, 1);
	for (int i = 0; i < 2; i++) {
		if (!take(&rest, '.'))
			return;
		n = short_number(rest);
		if (n == 0)
			return;
		rest = str_from(rest, n);
	}
	if (rest.n && rest.p[0] != ' ')
		return;
	if (!str_copy(enhanced, 12, (struct str){ text->p, text->n - rest.n }))
		return;
	take(&rest, ' ');
	*text = rest;
}

void reply_set(struct reply *r, int code, const char *enhanced, const char *fmt, ...)
{
	struct reply made = { .code = code };
	va_list ap;

	/* Built aside, because the parts may come from r itself. */
	str_copy(made.enhanced, sizeof(made.enhanced), str_of(enhanced));
	va_start(ap, fmt);
	if (vsnprintf(made.text, sizeof(made.text), fmt, ap) < 0)
		made.text[0] = 0;
	va_end(ap);
	ascii_make_printable(made.text);
	*r = made;
}

/* ---- EHLO */

static void take_cap_size(struct str value, struct capabilities *c)
{
	struct str word;

	if (!str_word(&value, &word) || !str_number(word, INT64_MAX, &c->size))
		c->size = 0;
}

static bool is_mechanism_char(char c)
{
	return is_let_dig(c) || c == '-' || c == '_';
}

/* RFC 4422 3.1 has upper case letters, digits, hyphen and underscore, at most 20. Words that are none
 * or do not fit are left out. */
static void take_cap_auth(struct str value, struct capabilities *c)
{
	size_t used = strlen(c->auth);
	struct str word;

	while (str_word(&value, &word)) {
		size_t i = 0;

		while (i < word.n && is_mechanism_char(word.p[i]))
			i++;
		if (i < word.n || word.n > 20 || used + word.n + 2 > sizeof(c->auth))
			continue;
		if (used)
			c->auth[used++] = ' ';
		for (i = 0; i < word.n; i++)
			c->auth[used++] = ascii_alpha(word.p[i]) ? (char)(word.p[i] & ~0x20) : word.p[i];
		c->auth[used] = 0;
	}
}

struct limit {
	struct str name, value;         /* value.p NULL: no '=' */
};

/* Takes the next limit off *rest (RFC 9422 3). False: syntax error. */
static bool take_limit(struct str *rest, struct limit *out)
{
	struct str word;

	if (!str_cut(rest, ' ', &word))
		word = take_n(rest, rest->n);
	*out = (struct limit){ word, { NULL, 0 } };
	if (str_cut(&word, '=', &out->name))
		out->value = word;
	for (size_t i = 0; i < out->name.n; i++)
		if (!is_mechanism_char(out->name.p[i]))
			return false;
	for (size_t i = 0; i < out->value.n; i++)
		if (!ascii_print(out->value.p[i]) || out->value.p[i] == ';')
			return false;
	return out->name.n && (!out->value.p || out->value.n);
}

static bool limit_seen(struct str before, struct str name)
{
	struct limit l;

	while (before.n)
		if (take_limit(&before, &l) && str_eq_nocase(l.name, name))
			return true;
	return false;
}

static void drop_limits(struct capabilities *c)
{
	c->mail_max = c->rcpt_max = c->rcpt_domain_max = 0;
}

/* A value that makes no sense for its limit is ignored; what breaks the syntax, or a limit given twice,
 * makes all of them worthless. */
static void take_cap_limits(struct str value, struct capabilities *c)
{
	const struct { const char *name; unsigned *to; } row[] = {
		{ "MAILMAX", &c->mail_max }, { "RCPTMAX", &c->rcpt_max }, { "RCPTDOMAINMAX", &c->rcpt_domain_max },
	};
	bool again = c->set & CAP_LIMITS;
	struct str all, rest;
	struct limit l;
	uint64_t n;

	drop_limits(c);
	value = str_trim(value);
	if (again || value.n > 1000)            /* so that looking for names twice stays cheap */
		return;
	all = rest = value;
	while (rest.n) {
		all.n = (size_t)(rest.p - all.p);
		if (!take_limit(&rest, &l) || limit_seen(all, l.name)) {
			drop_limits(c);
			return;
		}
		for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++)
			if (str_eq_nocase(l.name, str_of(row[i].name)) && l.value.n <= 6 && str_number(l.value, 999999, &n))
				*row[i].to = (unsigned)n;
	}
}

void parse_capability(struct str line, struct capabilities *c)
{
	static const struct {
		const char *keyword;
		unsigned bit;
		void (*take)(struct str, struct capabilities *);
	} row[] = {
		{ "PIPELINING", CAP_PIPELINING, NULL },
		{ "SIZE", CAP_SIZE, take_cap_size },
		{ "8BITMIME", CAP_8BITMIME, NULL },
		{ "ENHANCEDSTATUSCODES", CAP_ENHANCED, NULL },
		{ "STARTTLS", CAP_STARTTLS, NULL },
		{ "CHUNKING", CAP_CHUNKING, NULL },
		{ "SMTPUTF8", CAP_SMTPUTF8, NULL },
		{ "DSN", CAP_DSN, NULL },
		{ "LIMITS", CAP_LIMITS, take_cap_limits },
		{ "REQUIRETLS", CAP_REQUIRETLS, NULL },
		{ "AUTH", CAP_AUTH, take_cap_auth },
		{ "BINARYMIME", CAP_BINARYMIME, NULL },
		{ "FUTURERELEASE", CAP_FUTURERELEASE, NULL },
	};
	struct str keyword;

	if (!str_word(&line, &keyword))
		return;
	for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++) {
		if (!str_eq_nocase(keyword, str_of(row[i].keyword)))
			continue;
		if (row[i].take)
			row[i].take(line, c);
		c->set |= row[i].bit;
	}
}

bool words_are_reply(struct str words)
{
	return words.n >= 3 && words.p[0] >= '2' && words.p[0] <= '5' && ascii_digit(words.p[1]) && ascii_digit(words.p[2])
		&& (words.n == 3 || words.p[3] == ' ' || words.p[3] == '-');
}
