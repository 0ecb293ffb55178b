/* Authentication-Results. */
#include "policy/authres.h"

#include <stdio.h>
#include <string.h>

#include "lib/codec.h"
#include "lib/idn.h"
#include "policy/arc.h"
#include "policy/dkim.h"
#include "policy/dmarc.h"
#include "policy/iprev.h"
#include "policy/spf.h"

/* ---- ours */

/* A token of MIME (RFC 2045 5.1), or an address, stays as it is; all else is quoted (RFC 8601 2.2, pvalue). */
static void put_value(struct buf *out, struct str value)
{
	bool plain = value.n > 0;

	for (size_t i = 0; i < value.n; i++)
		plain &= ascii_alpha(value.p[i]) || ascii_digit(value.p[i]) || strchr("-._@+", value.p[i]);
	if (plain) {
		buf_str(out, value);
		return;
	}
	buf_char(out, '"');
	for (size_t i = 0; i < value.n; i++) {
		if (value.p[i] == '"' || value.p[i] == '\\')
			buf_char(out, '\\');
		buf_char(out, ascii_print(value.p[i]) ? value.p[i] : '?');
	}
	buf_char(out, '"');
}

static void put_property(struct buf *out, const char *name, struct str value)
{
	if (!value.n)
		return;
	buf_printf(out, " %s=", name);
	put_value(out, value);
}

static void put_reason(struct buf *out, const char *why)
{
	buf_puts(out, "\r\n\t\treason=");
	put_value(out, str_of(why));
}

static void put_signature(struct buf *out, const struct dkim_signature *s)
{
	struct buf octets = { 0 };

	buf_printf(out, ";\r\n\tdkim=%s", dkim_result_name[s->result]);
	if (s->bits)
		buf_printf(out, " (%u-bit key%s)", s->bits, s->secure ? ", DNSSEC" : "");
	if (s->result != DKIM_PASS)
		put_reason(out, s->why);
	put_property(out, "header.d", str_of(s->domain));
	put_property(out, "header.s", str_of(s->selector));
	put_property(out, "header.a", str_of(s->algorithm));
	put_property(out, "header.i", str_of(s->identity));
	if (base64_encode(&octets, s->octets, s->n))            /* enough to tell one from another (RFC 6008) */
		put_property(out, "header.b", (struct str){ octets.p, octets.n < 8 ? octets.n : 8 });
	buf_free(&octets);
}

static void put_iprev(struct buf *out, const struct authres *r)
{
	buf_printf(out, ";\r\n\tiprev=%s", iprev_name(r->iprev->code));
	if (*r->iprev->name)                    /* dns.h: letters, digits, '-', '_' and dots */
		buf_printf(out, " (%s%s)", r->iprev->name, r->iprev->secure ? ", DNSSEC" : "");
	put_property(out, "policy.iprev", str_of(r->ip->text));
}

static void put_spf(struct buf *out, const struct spf_result *r)
{
	buf_printf(out, ";\r\n\tspf=%s", spf_name(r->code));
	put_property(out, r->helo ? "smtp.helo" : "smtp.mailfrom", str_of(r->domain));
}

/* RFC 9989 9.1: what is wanted, after all that makes it less. */
static void put_dmarc(struct buf *out, const struct dmarc_result *r)
{
	buf_printf(out, ";\r\n\tdmarc=%s", dmarc_name(r->code));
	if (r->secure || r->override)
		buf_printf(out, " (%s%s%s)", r->secure ? "DNSSEC" : "", r->secure && r->override ? ", " : "", dmarc_override_name(r->override));
	if (r->code == DMARC_TEMPERROR || r->code == DMARC_PERMERROR)
		put_reason(out, r->why);
	put_property(out, "header.from", str_of(r->domain));
	if (r->code == DMARC_FAIL)
		put_property(out, "policy.dmarc", str_of(dmarc_policy_name(r->policy)));
}

/* RFC 8617 10.1. */
static void put_arc(struct buf *out, const struct arc *a)
{
	const char *why;
	enum arc_result r = arc_result(a, &why);

	buf_printf(out, ";\r\n\tarc=%s", arc_name(r));
	if (arc_sets(a))                        /* the same letters as in a name of the DNS */
		buf_printf(out, " (%zu, the last by %s)", arc_sets(a), arc_sealer(a, arc_sets(a)));
	if (r != ARC_PASS)
		put_reason(out, why);
}

static void put_fault(struct buf *out, enum dkim_result fault, const char *why)
{
	buf_printf(out, ";\r\n\tdkim=%s", dkim_result_name[fault]);
	if (fault != DKIM_NONE)
		put_reason(out, why);
}

/* A field that is being put together from pieces, of which those are left out for which there is no room. */
struct field {
	struct buf *out, piece;
	size_t from;
	bool bad;
};

static void add_piece(struct field *f)
{
	f->bad |= f->piece.bad;
	if (f->out->n - f->from + f->piece.n + 2 <= AUTHRES_ROOM)
		buf_str(f->out, buf_view(&f->piece));
	buf_clear(&f->piece);
}

static void add_signatures(struct field *f, const struct dkim *d)
{
	const char *why;
	enum dkim_result fault = dkim_fault(d, &why);

	if (fault != DKIM_NONE || !dkim_count(d)) {
		put_fault(&f->piece, fault, why);
		add_piece(f);
	}
	for (size_t i = 0; i < dkim_count(d); i++) {
		put_signature(&f->piece, dkim_at(d, i));
		add_piece(f);
	}
}

bool authres_print(struct buf *out, const char *own, const struct authres *r)
{
	struct field f = { .out = out, .from = out->n };

	buf_puts(out, "Authentication-Results: ");
	put_value(out, str_of(own));
	if (r->iprev)
		put_iprev(&f.piece, r);
	add_piece(&f);
	if (r->spf)
		put_spf(&f.piece, r->spf);
	add_piece(&f);
	if (r->dmarc)
		put_dmarc(&f.piece, r->dmarc);
	add_piece(&f);
	if (r->dkim && dkim_arc(r->dkim))
		put_arc(&f.piece, dkim_arc(r->dkim));
	add_piece(&f);
	if (r->dkim)
		add_signatures(&f, r->dkim);
	buf_free(&f.piece);
	return buf_puts(out, "\r\n") && !out->bad && !f.bad;
}

void authres_words(char *out, size_t size, const struct dkim *d)
{
	const char *why;
	size_t at = 0;

	snprintf(out, size, "%s", dkim_result_name[dkim_fault(d, &why)]);
	for (size_t i = 0; i < dkim_count(d) && at < size; i++) {
		const struct dkim_signature *s = dkim_at(d, i);

		at += (size_t)snprintf(out + at, size - at, "%s%s%s%s", i ? " " : "", dkim_result_name[s->result], s->domain[0] ? ":" : "", s->domain);
	}
}

/* ---- whose is it? */

/* Without blanks, line ends and comments in front. False: a comment does not end. */
static bool skip_comments(struct str *s)
{
	size_t depth = 0, i = 0;

	for (; i < s->n; i++) {
		char c = s->p[i];

		if (c == '(')
			depth++;
		else if (c == ')' && depth)
			depth--;
		else if (c == '\\' && depth)
			i++;
		else if (!depth && c != ' ' && c != '\t' && c != '\r' && c != '\n')
			break;
	}
	*s = str_from(*s, i);
	return !depth;
}

/* RFC 2045 5.1; what is not ASCII may be in a name (RFC 8616 5). */
static bool is_token(char c) { return (unsigned char)c > ' ' && c != 0x7f && !strchr("()<>@,;:\\\"/[]?=", c); }

/* A quoted string, without the blanks in it: nobody's name has any. False: it does not end, or is too long. */
static bool take_quoted(struct str *s, struct buf *id)
{
	for (size_t i = 1; i < s->n; i++) {
		char c = s->p[i];

		if (c == '"') {
			*s = str_from(*s, i + 1);
			return true;
		}
		if (c == '\\' && ++i == s->n)
			break;
		if ((unsigned char)s->p[i] > ' ' && !buf_char(id, s->p[i]))
			break;
	}
	return false;
}

static bool take_token(struct str *s, struct buf *id)
{
	size_t n = 0;

	while (n < s->n && is_token(s->p[n]))
		n++;
	buf_add(id, s->p, n);
	*s = str_from(*s, n);
	return !id->bad;
}

static bool same_host(struct str id, const char *own)
{
	char a[DOMAIN_MAX + 1], b[DOMAIN_MAX + 1];

	while (id.n && id.p[id.n - 1] == '.')
		id.n--;
	return str_eq_nocase(id, str_of(own)) || (!idn_to_ascii(id, a) && !idn_to_ascii(str_of(own), b) && str_eq_nocase(str_of(a), str_of(b)));
}

/* What comes before the results (2.2): a name, perhaps a version. Readers that are not strict would find our name in more than that: between
 * comments, in two lines, encoded; so it must be all of that form. False: it is not. */
static bool read_name(struct str value, struct buf *id)
{
	if (!skip_comments(&value) || !value.n || !(value.p[0] == '"' ? take_quoted : take_token)(&value, id) || !id->n || !skip_comments(&value))
		return false;
	while (value.n && ascii_digit(value.p[0]))
		value = str_from(value, 1);
	return skip_comments(&value) && (!value.n || value.p[0] == ';');
}

bool authres_is_from(struct str value, const char *own)
{
	struct buf id = { .max = 4 * DOMAIN_MAX };
	bool ours = !read_name(value, &id) || same_host(buf_view(&id), own);

	buf_free(&id);
	return ours;
}

/* ---- what another has found */

/* Takes a token or a quoted string, with what is white around it. False: there is none. */
static bool take_word(struct str *s, struct buf *word)
{
	buf_clear(word);
	return skip_comments(s) && s->n && (s->p[0] == '"' ? take_quoted : take_token)(s, word) && word->n && skip_comments(s);
}

/* pvalue, and what others write in its place: everything up to white space. */
static bool take_pvalue(struct str *s, struct buf *value)
{
	size_t n = 0;

	buf_clear(value);
	if (!skip_comments(s) || !s->n)
		return false;
	if (s->p[0] == '"')
		return take_quoted(s, value) && skip_comments(s);
	while (n < s->n && !strchr(" \t\r\n;(\"", s->p[n]))
		n++;
	buf_add(value, s->p, n);
	*s = str_from(*s, n);
	return n && !value->bad && skip_comments(s);
}

static bool take_char(struct str *s, char c)
{
	if (!s->n || s->p[0] != c)
		return false;
	*s = str_from(*s, 1);
	return true;
}

static bool is_word(const struct buf *word, const char *text) { return str_eq_nocase(buf_view(word), str_of(text)); }

/* One result (2.2, resinfo) of method and properties, up to its semicolon. False: it is not of that form. *passed: it is of DMARC, and a pass. */
static bool take_result(struct str *s, struct buf *word, bool *passed, char from[DOMAIN_MAX + 1])
{
	bool dmarc;

	from[0] = '\0';
	if (!take_word(s, word))
		return false;
	dmarc = is_word(word, "dmarc");
	if (take_char(s, '/') && !take_word(s, word))           /* the method's version */
		return false;
	if (!take_char(s, '=') || !take_word(s, word))
		return false;
	*passed = dmarc && is_word(word, "pass");
	while (s->n && s->p[0] != ';') {
		bool wanted;

		if (!take_word(s, word))
			return false;
		wanted = dmarc && is_word(word, "header.from");
		if (!take_char(s, '=') || !take_pvalue(s, word))
			return false;
		if (wanted && !str_copy(from, DOMAIN_MAX + 1, buf_view(word)))
			return false;
	}
	return !s->n || take_char(s, ';');
}

bool authres_dmarc_passed(struct str value, char out[DOMAIN_MAX + 1])
{
	struct buf word = { .max = 1024 };
	struct str id;
	bool passed = false;

	out[0] = '\0';
	if (str_cut(&value, ';', &id))
		while (!passed && value.n && take_result(&value, &word, &passed, out))
			;
	if (!passed)
		out[0] = '\0';
	buf_free(&word);
	return passed && out[0];
}

/* ---- the filter */

enum {
	F_NAME,                         /* a line that may begin such a field: `matched` octets of it are held */
	F_COLON,                        /* the name is whole, blanks and a colon are to come */
	F_PASS,                         /* a line of another kind */
	F_FIELD, F_FIELD_END,           /* inside the field; a line of it is over, the next one may belong to it */
	F_LONG, F_LONG_END,             /* the same, and it is too long: it is dropped */
	F_BODY
};

static const char name[] = "authentication-results";

void authres_filter_begin(struct authres_filter *f, const char *own)
{
	*f = (struct authres_filter){ .own = own, .state = F_NAME };
}

static void let_go(struct authres_filter *f, struct buf *out)
{
	buf_str(out, buf_view(&f->held));
	buf_clear(&f->held);
	f->matched = 0;
}

/* A field of that name is whole. */
static void decide(struct authres_filter *f, struct buf *out)
{
	struct str value = buf_view(&f->held), head;
	bool drop = f->state == F_LONG_END || (str_cut(&value, ':', &head) && authres_is_from(value, f->own));

	f->removed += drop;
	if (drop)
		buf_clear(&f->held);
	let_go(f, out);
	f->state = F_NAME;
}

/* Takes octets that need no look at each of them. 0: there are none. */
static size_t run(struct authres_filter *f, struct str text, struct buf *out)
{
	const char *lf;
	size_t n;

	if (f->state == F_BODY) {
		buf_str(out, text);
		return text.n;
	}
	if (f->state != F_PASS)
		return 0;
	lf = memchr(text.p, '\n', text.n);
	n = lf ? (size_t)(lf - text.p) + 1 : text.n;
	buf_add(out, text.p, n);
	if (lf)
		f->state = F_NAME;
	return n;
}

/* One octet of a line that may begin such a field, or end the header. */
static void match(struct authres_filter *f, char c, struct buf *out)
{
	buf_char(&f->held, c);
	if (f->matched == 0 && (c == '\r' || c == '\n'))
		f->state = F_BODY;
	else if (f->matched < sizeof name - 1 && ascii_lower(c) == name[f->matched])
		f->state = ++f->matched == sizeof name - 1 ? F_COLON : F_NAME;
	else if (f->state == F_COLON && c == ':')
		f->state = F_FIELD;
	else if (f->state != F_COLON || (c != ' ' && c != '\t'))
		f->state = c == '\n' ? F_NAME : F_PASS;
	if (f->state == F_BODY || f->state == F_PASS || (f->state == F_NAME && c == '\n'))
		let_go(f, out);
}

static void keep(struct authres_filter *f, char c)
{
	bool end = c == '\n';

	if (f->state == F_LONG || f->state == F_LONG_END || f->held.n >= AUTHRES_FIELD_MAX) {
		buf_clear(&f->held);
		f->state = end ? F_LONG_END : F_LONG;
		return;
	}
	buf_char(&f->held, c);
	f->state = end ? F_FIELD_END : F_FIELD;
}

bool authres_filter_add(struct authres_filter *f, struct str text, struct buf *out)
{
	while (text.n) {
		size_t n = run(f, text, out);
		char c = text.p[0];

		if (!n && (f->state == F_FIELD_END || f->state == F_LONG_END) && c != ' ' && c != '\t')
			decide(f, out);
		if (!n && (f->state == F_NAME || f->state == F_COLON))
			match(f, c, out);
		else if (!n)
			keep(f, c);
		text = str_from(text, n ? n : 1);
	}
	return !out->bad && !f->held.bad;
}

bool authres_filter_end(struct authres_filter *f, struct buf *out)
{
	if (f->state == F_FIELD || f->state == F_FIELD_END)
		decide(f, out);
	else if (f->state != F_LONG && f->state != F_LONG_END)
		let_go(f, out);
	return !out->bad;
}

bool authres_filter_over(const struct authres_filter *f) { return f->state == F_BODY; }
void authres_filter_free(struct authres_filter *f) { buf_free(&f->held); }
