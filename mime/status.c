/* Delivery status notifications, read. */
#include "mime/status.h"

#include <stdio.h>
#include <string.h>

#include "lib/codec.h"
#include "mime/header.h"
#include "parse.h"

enum {
	FIELD_MAX = 2048,               /* octets of a field's value, without folding */
	ORIGINAL_MAX = 64 << 10,        /* octets of what came back in which our fields are looked for */
	ID_DIGITS = 24                  /* of our ids */
};

bool status_is_report(struct str header)
{
	struct part p;
	char type[32];

	part_open(header, &p);
	return part_is(&p, "multipart/report") && part_param(&p, "report-type", type, sizeof type) && str_eq_nocase(str_of(type), STR("delivery-status"));
}

/* ---- values */

/* Unfolded: a line end becomes nothing, what cannot be shown a question mark. Octets that do not fit are left out. */
static struct str unfold(struct str value, char out[FIELD_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < value.n && n < FIELD_MAX; i++) {
		char c = value.p[i];

		if (c == '\r' || c == '\n')
			continue;
		out[n++] = c == '\t' ? ' ' : (unsigned char)c < ' ' || c == 0x7f ? '?' : c;
	}
	return str_trim((struct str){ out, n });
}

/* RFC 5322 3.2.2: comments nest; a \ in one takes the next octet with it. In place. */
static struct str without_comments(char *p, struct str s)
{
	size_t n = 0, depth = 0;

	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (depth && c == '\\')
			i++;
		else if (c == '(')
			depth++;
		else if (c == ')' && depth)
			depth--;
		else if (!depth)
			p[n++] = c;
	}
	return str_trim((struct str){ p, n });
}

/* "dns; mx.example.org" */
static bool cut_type(struct str *value, struct str *type)
{
	if (!str_cut(value, ';', type))
		return false;
	*type = str_trim(*type);
	*value = str_trim(*value);
	return type->n && value->n;
}

/* As UTF-8; 0 octets: it is no character. */
static size_t put_character(uint32_t c, char out[4])
{
	if (c < 0x20 || c == 0x7f || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		return 0;
	if (c < 0x80) {
		out[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = (char)(0xc0 | c >> 6);
		out[1] = (char)(0x80 | (c & 63));
		return 2;
	}
	if (c < 0x10000) {
		out[0] = (char)(0xe0 | c >> 12);
		out[1] = (char)(0x80 | (c >> 6 & 63));
		out[2] = (char)(0x80 | (c & 63));
		return 3;
	}
	out[0] = (char)(0xf0 | c >> 18);
	out[1] = (char)(0x80 | (c >> 12 & 63));
	out[2] = (char)(0x80 | (c >> 6 & 63));
	out[3] = (char)(0x80 | (c & 63));
	return 4;
}

/* RFC 6533 3: \x{20AC} stands for a character. *used: its octets. */
static uint32_t escaped(struct str s, size_t *used)
{
	uint32_t c = 0;
	size_t i = 3;

	for (; i < s.n && i < 9 && hex_digit(s.p[i]) >= 0; i++)
		c = c << 4 | (uint32_t)hex_digit(s.p[i]);
	*used = i + 1;
	return i > 3 && i < s.n && s.p[i] == '}' ? c : 0;
}

/* In the form that is 7 bit all others are written so. */
static bool copy_utf8_address(struct str s, bool eight_bit, char *out, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < s.n; ) {
		size_t used = 1, octets = 1;
		char c[4] = { s.p[i] };

		if (i + 3 < s.n && s.p[i] == '\\' && s.p[i + 1] == 'x' && s.p[i + 2] == '{')
			octets = put_character(escaped(str_from(s, i), &used), c);
		if (!octets || n + octets >= size || (!eight_bit && s.p[i] & 0x80))
			return false;
		memcpy(out + n, c, octets);
		n += octets;
		i += used;
	}
	out[n] = '\0';
	return n > 0;
}

/* RFC 3461 4.2: what Original-Recipient holds is what ORCPT held, and its xtext is sometimes left as it was. */
static bool take_address(char *p, struct str value, bool global, char *out, size_t size)
{
	struct str type, address = without_comments(p, value);
	struct addr a;

	if (!cut_type(&address, &type))
		return false;
	if (address.n > 1 && address.p[0] == '<' && address.p[address.n - 1] == '>')
		address = (struct str){ address.p + 1, address.n - 2 };
	if (str_eq_nocase(type, STR("utf-8")))
		return copy_utf8_address(address, global, out, size);
	return str_eq_nocase(type, STR("rfc822")) && !parse_address(address, true, &a) && str_copy(out, size, address);
}

static bool take_mta(char *p, struct str value, char *out, size_t size)
{
	struct str type, name = without_comments(p, value);

	return cut_type(&name, &type) && str_copy(out, size, name);
}

static bool take_words(struct str value, char *out, size_t size)
{
	struct str type, words = value;

	if (!cut_type(&words, &type))
		return false;
	if (words.n >= size)
		words.n = size - 1;
	return str_copy(out, size, words);
}

/* RFC 3463 2: class, subject and detail. */
static bool take_status(char *p, struct str value, char *out, size_t size)
{
	struct str rest = without_comments(p, value), word, class, subject;
	uint64_t n;

	if (!str_word(&rest, &word) || !str_copy(out, size, word))
		return false;
	return str_cut(&word, '.', &class) && str_cut(&word, '.', &subject) && class.n == 1 && strchr("245", class.p[0]) && subject.n <= 3 && word.n <= 3 &&
		str_number(subject, 999, &n) && str_number(word, 999, &n);
}

static bool take_action(char *p, struct str value, char *out, size_t size)
{
	static const char *const known[] = { "failed", "delayed", "delivered", "relayed", "expanded" };
	struct str action = without_comments(p, value);

	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (str_eq_nocase(action, str_of(known[i])))
			return str_copy(out, size, str_of(known[i]));
	return false;
}

/* ---- the part for programs: a block of fields about the message, then one for each recipient */

struct block {
	struct status_report *report;
	struct status_rcpt rcpt;
	bool global;                    /* RFC 6533: it may hold UTF-8 */
	bool of_rcpt;
	unsigned seen;                  /* bits of fields[] */
};

static bool field_mta(struct block *b, char *p, struct str v) { return take_mta(p, v, b->report->mta, sizeof b->report->mta); }
static bool field_envid(struct block *b, char *p, struct str v)
{
	(void)p;
	return v.n && str_copy(b->report->envid, sizeof b->report->envid, (struct str){ v.p, v.n < 100 ? v.n : 100 });
}
static bool field_final(struct block *b, char *p, struct str v) { return take_address(p, v, b->global, b->rcpt.to, sizeof b->rcpt.to); }
static bool field_original(struct block *b, char *p, struct str v)
{
	if (!take_address(p, v, b->global, b->rcpt.original, sizeof b->rcpt.original))
		b->rcpt.original[0] = '\0';     /* it is the sender's own, and may be of a kind that only he knows */
	return true;
}
static bool field_action(struct block *b, char *p, struct str v) { return take_action(p, v, b->rcpt.action, sizeof b->rcpt.action); }
static bool field_status(struct block *b, char *p, struct str v) { return take_status(p, v, b->rcpt.status, sizeof b->rcpt.status); }
static bool field_remote(struct block *b, char *p, struct str v) { return take_mta(p, v, b->rcpt.remote, sizeof b->rcpt.remote) || true; }
static bool field_words(struct block *b, char *p, struct str v)
{
	(void)p;
	return take_words(v, b->rcpt.words, sizeof b->rcpt.words) || true;
}

static const struct field_row {
	const char *name;
	bool of_rcpt;
	bool (*take)(struct block *, char *, struct str);
	const char *wrong, *missing;    /* NULL: it may be missing */
} fields[] = {
	{ "Reporting-MTA", false, field_mta, "its Reporting-MTA names no host", "it has no Reporting-MTA" },
	{ "Original-Envelope-Id", false, field_envid, "its Original-Envelope-Id is empty", NULL },
	{ "Final-Recipient", true, field_final, "a Final-Recipient in it is no address", "a recipient in it has no Final-Recipient" },
	{ "Original-Recipient", true, field_original, "", NULL },
	{ "Action", true, field_action, "an Action in it is none that is known", "a recipient in it has no Action" },
	{ "Status", true, field_status, "a Status in it is none", "a recipient in it has no Status" },
	{ "Remote-MTA", true, field_remote, "", NULL },
	{ "Diagnostic-Code", true, field_words, "", NULL },
};
enum { FIELDS = sizeof fields / sizeof *fields };

static const char *take_field(struct block *b, const struct field *f)
{
	char value[FIELD_MAX];
	size_t i = 0;

	while (i < FIELDS && (fields[i].of_rcpt != b->of_rcpt || !str_eq_nocase(f->name, str_of(fields[i].name))))
		i++;
	if (i == FIELDS)
		return NULL;
	if (b->seen >> i & 1)
		return "a field stands in it twice";
	b->seen |= 1u << i;
	return fields[i].take(b, value, unfold(f->value, value)) ? NULL : fields[i].wrong;
}

/* What was said once it is over. */
static const char *end_block(const struct block *b)
{
	for (size_t i = 0; i < FIELDS; i++)
		if (fields[i].of_rcpt == b->of_rcpt && fields[i].missing && !(b->seen >> i & 1))
			return fields[i].missing;
	return NULL;
}

/* *empty: blank lines were all there was. */
static const char *read_block(struct block *b, struct str *rest, bool *empty)
{
	const char *wrong = NULL;
	struct field f;

	*empty = true;
	while (!wrong && header_next(rest, &f)) {
		*empty = false;
		wrong = take_field(b, &f);
	}
	return wrong;
}

static bool is_at_line(struct str rest) { return rest.n && rest.p[0] != '\r' && rest.p[0] != '\n' && rest.p[0] != ' ' && rest.p[0] != '\t'; }

static const char *read_status(struct str text, bool global, struct status_report *out)
{
	struct str rest = text;
	bool empty;

	for (size_t blocks = 0; rest.n; ) {
		struct block b = { .report = out, .global = global, .of_rcpt = blocks > 0 };
		size_t before = rest.n;
		const char *wrong = read_block(&b, &rest, &empty);

		if (!wrong && rest.n == before)
			return is_at_line(rest) ? "a line in it is no field" : "it begins with a blank";
		if (!wrong && empty)
			continue;
		if (!wrong)
			wrong = end_block(&b);
		if (wrong)
			return wrong;
		if (blocks++ == 0)
			continue;
		if (out->n < STATUS_RCPTS)
			out->rcpt[out->n++] = b.rcpt;
		else
			out->more++;
	}
	return out->n ? NULL : "it tells of no recipient";
}

/* ---- which message of ours it is about */

static bool is_id(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (hex_digit(s.p[i]) < 0 || (s.p[i] >= 'A' && s.p[i] <= 'F'))
			return false;
	return s.n == ID_DIGITS;
}

/* "... by HOSTNAME with ESMTP id 6b04...; ..." */
static bool by_received(struct str value, const char *hostname, char id[ID_MAX])
{
	char text[FIELD_MAX];
	struct str rest = unfold(value, text), word, last = STR("");
	bool ours = false;

	while (str_word(&rest, &word)) {
		if (str_eq_nocase(last, STR("by")))
			ours = str_eq_nocase(word, str_of(hostname));
		if (word.n && word.p[word.n - 1] == ';')
			word.n--;
		if (ours && str_eq_nocase(last, STR("id")) && is_id(word))
			return str_copy(id, ID_MAX, word);
		last = word;
	}
	return false;
}

/* "<6b04...@HOSTNAME>", perhaps among others. */
static bool by_message_id(struct str value, const char *hostname, char id[ID_MAX])
{
	char text[FIELD_MAX];
	struct str rest = unfold(value, text), word, local;

	while (str_cut(&rest, '<', &local) && str_cut(&rest, '>', &word))
		if (str_cut(&word, '@', &local) && is_id(local) && str_eq_nocase(word, str_of(hostname)))
			return str_copy(id, ID_MAX, local);
	return false;
}

static void find_id(struct str header, const char *hostname, struct status_report *out, bool came_back)
{
	static const struct {
		const char *name;
		bool came_back;         /* in what came back; else in the report's own header */
		bool (*take)(struct str value, const char *hostname, char id[ID_MAX]);
	} rows[] = {
		{ "Received", true, by_received }, { "Message-ID", true, by_message_id }, { "References", false, by_message_id },
		{ "In-Reply-To", false, by_message_id },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows && !out->id[0]; i++) {
		struct str rest = header;
		struct field f;

		while (rows[i].came_back == came_back && !out->id[0] && header_next(&rest, &f))
			if (str_eq_nocase(f.name, str_of(rows[i].name)))
				rows[i].take(f.value, hostname, out->id);
	}
}

/* The header is all that is wanted of it, so an encoded one may be cut off. */
static void look_at_original(const struct part *p, const char *hostname, struct status_report *out)
{
	struct buf text = { .max = ORIGINAL_MAX };

	if (p->coding == CODING_NONE) {
		find_id(p->body, hostname, out, true);
		return;
	}
	part_decode(p, &text);
	find_id((struct str){ text.p, text.n }, hostname, out, true);
	buf_free(&text);
}

/* ---- the whole */

static bool is_one_of(const struct part *p, const char *const *types, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (part_is(p, types[i]))
			return true;
	return false;
}

static const char *read_second(const struct part *p, struct status_report *out)
{
	bool global = part_is(p, "message/global-delivery-status");
	struct buf text = { .max = STATUS_TEXT };
	const char *wrong;

	if (!global && !part_is(p, "message/delivery-status"))
		return "its second part is no delivery status";
	wrong = part_decode(p, &text) ? read_status((struct str){ text.p, text.n }, global, out) : "its second part is too long";
	buf_free(&text);
	return wrong;
}

const char *status_read(struct str message, const char *hostname, struct status_report *out)
{
	static const char *const returned[] = { "text/rfc822-headers", "message/global-headers", "message/rfc822", "message/global" };
	struct part whole, part;
	struct str rest;
	const char *wrong;

	memset(out, 0, sizeof *out);
	if (!status_is_report(message))
		return "it is no multipart/report of a delivery status";
	part_open(message, &whole);
	rest = whole.body;
	if (!part_next(&whole, &rest, &part) || !part_next(&whole, &rest, &part))
		return "it has less than two parts";
	if ((wrong = read_second(&part, out)))
		return wrong;
	if (part_next(&whole, &rest, &part) && is_one_of(&part, returned, sizeof returned / sizeof *returned))
		look_at_original(&part, hostname, out);
	find_id(whole.header, hostname, out, false);
	return NULL;
}
