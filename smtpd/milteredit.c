/* Changes of a message by a filter. Indexes count as Sendmail does: a field that was removed keeps its number. */
#include "smtpd/milteredit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/idn.h"
#include "lib/map.h"
#include "mime/header.h"
#include "mime/transfer.h"
#include "parse.h"

struct part {
	struct str name;
	struct str value;               /* for the filter */
	struct str whole;
	char *own;                      /* the text of one that the filter has made; NULL: it is the header's */
	bool hidden;                    /* from filters */
	bool gone;
};

/* A recipient to be added (its line of the envelope) or to be left out. */
struct change {
	struct map_node node;
	struct node order;
	char *line;
	char key[];                     /* local@domain */
};

struct edit {
	struct buf text, values;
	struct part *part;
	size_t n, room;
	size_t own;                     /* parts up to our Received field */
	uint64_t body;
	bool separated;                 /* by an empty line */
	unsigned changes, rcpts;
	bool fields, envelope;          /* have changed */
	size_t added;                   /* octets of new fields */
	struct map add, leave_out;
	struct list added_rcpts;
	struct buf from;                /* "FROM:<a@x> ..."; empty: it stays */
	bool from_params, utf8;
	struct draft *new_body;
	struct crlf line_ends;
	int error;                      /* errno: we could not store it */
	char reason[256];
	bool quarantine;
};

/* ---- reading the header */

static struct part *insert(struct edit *e, size_t at)
{
	struct part *more;

	if (e->n == e->room) {
		e->room = e->room ? 2 * e->room : 64;
		more = realloc(e->part, e->room * sizeof *more);
		if (!more)
			return NULL;
		e->part = more;
	}
	memmove(e->part + at + 1, e->part + at, (e->n - at) * sizeof *e->part);
	e->n++;
	e->part[at] = (struct part){ 0 };
	return &e->part[at];
}

/* Lines end in LF for filters. The room was reserved, so that what was returned before stays where it is. */
static struct str for_filter(struct buf *out, struct str value)
{
	size_t from = out->n;

	for (size_t i = 0; i < value.n; i++)
		if (value.p[i] != '\r' || i + 1 == value.n || value.p[i + 1] != '\n')
			buf_char(out, value.p[i]);
	return (struct str){ out->p + from, out->n - from };
}

static bool read_text(struct edit *e, const struct draft *d)
{
	ssize_t n = 1;

	while (e->text.n < EDIT_HEADER_MAX && n > 0) {
		char *p = buf_reserve(&e->text, 16384);

		n = p ? draft_read(d, e->text.n, p, 16384) : -1;
		if (n > 0)
			e->text.n += (size_t)n;
		if (n > 0 && memmem(e->text.p, e->text.n, "\r\n\r\n", 4))
			break;
	}
	return n >= 0;
}

static bool split(struct edit *e)
{
	struct str rest = buf_view(&e->text);
	struct field f;

	if (!buf_reserve(&e->values, e->text.n + 1))
		return false;
	while (header_next(&rest, &f)) {
		struct part *p = insert(e, e->n);

		if (!p)
			return false;
		*p = (struct part){ .name = f.name, .value = for_filter(&e->values, f.value), .whole = f.whole };
		if (!e->own && str_eq_nocase(f.name, STR("Received"))) {
			p->hidden = true;
			e->own = e->n;
		}
		e->body = (uint64_t)(f.whole.p + f.whole.n - e->text.p);
	}
	if (rest.p && (uint64_t)(rest.p - e->text.p) > e->body) {
		e->separated = true;
		e->body = (uint64_t)(rest.p - e->text.p);
	}
	return true;
}

struct edit *edit_new(const struct draft *d, bool utf8, const char **why)
{
	struct edit *e = calloc(1, sizeof *e);

	*why = "";
	if (!e)
		return NULL;
	e->utf8 = utf8;
	list_init(&e->added_rcpts);
	if (!read_text(e, d) || !split(e)) {
		edit_free(e);
		return NULL;
	}
	/* All lines that were read are of fields, and there is more. */
	if (e->body > EDIT_HEADER_MAX || (!e->separated && e->text.n < draft_size(d) && !memchr(e->text.p + e->body, '\n', e->text.n - e->body))) {
		*why = "The header is larger than 256 KiB";
		edit_free(e);
		return NULL;
	}
	return e;
}

static void free_change(struct edit *e, struct map *map, struct change *c)
{
	map_remove(map, &c->node);
	if (list_holds(&c->order))
		list_remove(&e->added_rcpts, &c->order);
	free(c->line);
	free(c);
}

static void free_changes(struct edit *e, struct map *map)
{
	for (struct map_node *x = map_next(map, NULL), *next; x; x = next) {
		next = map_next(map, x);
		free_change(e, map, owner_of(x, struct change, node));
	}
	map_free(map);
}

void edit_free(struct edit *e)
{
	if (!e)
		return;
	for (size_t i = 0; i < e->n; i++)
		free(e->part[i].own);
	free(e->part);
	free_changes(e, &e->add);
	free_changes(e, &e->leave_out);
	draft_abort(e->new_body);
	buf_free(&e->text);
	buf_free(&e->values);
	buf_free(&e->from);
	free(e);
}

size_t edit_holds(const struct edit *e) { return e->text.room + e->values.room + e->room * sizeof *e->part; }

uint64_t edit_body(const struct edit *e) { return e->body; }

bool edit_field(const struct edit *e, size_t i, struct str *name, struct str *value)
{
	size_t at = e->own && i >= e->own - 1 ? i + 1 : i;

	if (at >= e->n)
		return false;
	*name = e->part[at].name;
	*value = e->part[at].value;
	return true;
}

/* ---- fields */

static bool name_ok(struct str name)
{
	for (size_t i = 0; i < name.n; i++)
		if (name.p[i] <= ' ' || name.p[i] == ':' || name.p[i] > '~')
			return false;
	return name.n > 0 && name.n < 256;
}

/* Whatever stands in the value, it is this one field: a line that does not begin with a blank gets one, empty lines and CR go. */
static void fold(struct buf *out, struct str value)
{
	while (value.n && (unsigned char)value.p[value.n - 1] <= ' ')
		value.n--;
	for (size_t i = 0; i < value.n; i++) {
		if (value.p[i] == '\r')
			continue;
		if (value.p[i] != '\n') {
			buf_char(out, value.p[i]);
			continue;
		}
		while (i + 1 < value.n && (value.p[i + 1] == '\n' || value.p[i + 1] == '\r'))
			i++;
		buf_puts(out, "\r\n");
		if (value.p[i + 1] != ' ' && value.p[i + 1] != '\t')
			buf_char(out, '\t');
	}
	buf_puts(out, "\r\n");
}

static const char *make_field(struct edit *e, struct part *p, struct str name, struct str value, bool spaces)
{
	struct buf text = { .max = EDIT_HEADER_MAX };

	buf_str(&text, name);
	buf_puts(&text, spaces ? ":" : ": ");
	fold(&text, value);
	e->added += text.n;
	if (text.bad || e->added > EDIT_HEADER_MAX) {
		buf_free(&text);
		return "adds too much to the header, or memory is out";
	}
	free(p->own);
	p->own = text.p;
	p->whole = buf_view(&text);
	p->name = (struct str){ text.p, name.n };
	p->gone = false;
	return NULL;
}

static const char *put_field(struct edit *e, size_t at, struct str name, struct str value, bool spaces)
{
	struct part *p = insert(e, at);
	const char *wrong = p ? make_field(e, p, name, value, spaces) : "memory is out";

	if (p && wrong)
		p->gone = true;
	return wrong;
}

static const char *take_field(struct edit *e, struct str *data, struct str *name, struct str *value)
{
	if (++e->changes > EDIT_FIELDS_MAX)
		return "changes too many fields";
	if (!milter_take_string(data, name) || !name_ok(*name))
		return "names a field that cannot be one";
	if (!milter_take_string(data, value))
		*value = STR("");
	e->fields = true;
	return NULL;
}

static const char *add_field(struct edit *e, bool spaces, uint64_t max, struct str data)
{
	struct str name, value;
	const char *wrong = take_field(e, &data, &name, &value);

	(void)max;
	return wrong ? wrong : put_field(e, e->n, name, value, spaces);
}

/* 0 is above all, also above what this hop has written; 1 is directly below that. */
static const char *insert_field(struct edit *e, bool spaces, uint64_t max, struct str data)
{
	struct str name, value;
	const char *wrong;
	uint32_t index;

	(void)max;
	if (!milter_take_number(&data, &index))
		return "inserts a field nowhere";
	if ((wrong = take_field(e, &data, &name, &value)))
		return wrong;
	if (index == 0) {
		wrong = put_field(e, 0, name, value, spaces);
		e->own++;
		return wrong;
	}
	return put_field(e, index - 1 < e->n - e->own ? e->own + index - 1 : e->n, name, value, spaces);
}

static const char *change_field(struct edit *e, bool spaces, uint64_t max, struct str data)
{
	struct str name, value;
	const char *wrong;
	uint32_t index;

	(void)max;
	if (!milter_take_number(&data, &index))
		return "changes no field";
	if ((wrong = take_field(e, &data, &name, &value)))
		return wrong;
	if (index == 0)
		index = 1;
	for (size_t i = 0; i < e->n; i++) {
		struct part *p = &e->part[i];

		if (p->hidden || !str_eq_nocase(p->name, name) || --index)
			continue;
		p->gone = !value.n;
		return value.n ? make_field(e, p, name, value, spaces) : NULL;
	}
	return value.n ? put_field(e, e->n, name, value, spaces) : NULL;
}

bool edit_header(const struct edit *e, struct buf *out)
{
	for (size_t i = 0; i < e->n; i++)
		if (!e->part[i].gone)
			buf_str(out, e->part[i].whole);
	if (e->separated || e->new_body)
		buf_puts(out, "\r\n");
	return !out->bad;
}

/* ---- the envelope */

/* The address of a recipient or sender, "<a@x>" or "a@x", as a line of the envelope: "TO:<a@x> NOTIFY=NEVER". */
static bool envelope_line(struct buf *out, const char *word, struct str address, struct str params)
{
	bool bracketed = address.n && address.p[0] == '<';

	return buf_puts(out, word) && (bracketed || buf_char(out, '<')) && buf_str(out, address) && (bracketed || buf_char(out, '>')) &&
		(!params.n || (buf_char(out, ' ') && buf_str(out, params)));
}

static bool holds_control(struct str text)
{
	for (size_t i = 0; i < text.n; i++)
		if ((unsigned char)text.p[i] < ' ' || text.p[i] == 0x7f)
			return true;
	return false;
}

static const char *remember(struct edit *e, struct map *map, struct buf *line, const struct addr *a)
{
	struct buf key = { 0 };
	struct change *c = NULL;

	if (!print_addr(&key, a) || !(c = calloc(1, sizeof *c + key.n + 1)))
		goto fail;
	memcpy(c->key, key.p, key.n);
	if (!map_put(map, &c->node, (struct str){ c->key, key.n }))
		goto fail;
	buf_free(&key);
	if (line) {
		c->line = strndup(line->p, line->n);
		list_push(&e->added_rcpts, &c->order);
	}
	e->envelope = true;
	return !line || c->line ? NULL : "memory is out";
fail:
	buf_free(&key);
	free(c);
	return "memory is out";
}

static struct change *find(const struct map *map, const struct addr *a)
{
	struct buf key = { 0 };
	struct map_node *x = print_addr(&key, a) ? map_get(map, buf_view(&key)) : NULL;

	buf_free(&key);
	return x ? owner_of(x, struct change, node) : NULL;
}

/* Reads an address with its parameters into a line and what it means. */
static const char *take_rcpt(struct edit *e, struct str *data, struct buf *line, struct recipient *to)
{
	struct str address, params = STR("");

	if (++e->rcpts > EDIT_RCPTS_MAX)
		return "changes too many recipients";
	if (!milter_take_string(data, &address))
		return "names no recipient";
	milter_take_string(data, &params);
	if (holds_control(address) || holds_control(params) || !envelope_line(line, "TO:", address, params))
		return "names a recipient that cannot be one";
	return parse_rcpt(buf_view(line), PARAM_ALL, e->utf8, to).text || !is_ascii(to->addr.domain) ? "names a recipient that cannot be one" : NULL;
}

static const char *add_rcpt(struct edit *e, bool spaces, uint64_t max, struct str data)
{
	struct buf line = { .max = 4096 };
	struct recipient to = { 0 };
	const char *wrong = take_rcpt(e, &data, &line, &to);

	(void)spaces;
	(void)max;
	if (!wrong && !find(&e->add, &to.addr))
		wrong = remember(e, &e->add, &line, &to.addr);
	buf_free(&line);
	return wrong;
}

static const char *delete_rcpt(struct edit *e, bool spaces, uint64_t max, struct str data)
{
	struct buf line = { .max = 4096 };
	struct recipient to = { 0 };
	const char *wrong = take_rcpt(e, &data, &line, &to);
	struct change *added;

	(void)spaces;
	(void)max;
	if (!wrong && (added = find(&e->add, &to.addr)))
		free_change(e, &e->add, added);
	if (!wrong && !find(&e->leave_out, &to.addr))
		wrong = remember(e, &e->leave_out, NULL, &to.addr);
	buf_free(&line);
	return wrong;
}

static const char *change_from(struct edit *e, bool spaces, uint64_t max, struct str data)
{
	struct str address, params = STR("");
	struct sender from = { 0 };

	(void)spaces;
	(void)max;
	if (!milter_take_string(&data, &address))
		return "names no sender";
	milter_take_string(&data, &params);
	buf_clear(&e->from);
	e->from.max = 4096;
	e->envelope = true;
	e->from_params = params.n > 0;
	if (!params.n && e->utf8)
		params = STR("SMTPUTF8");
	if (holds_control(address) || holds_control(params) || !envelope_line(&e->from, "FROM:", address, params) ||
	    parse_mail(buf_view(&e->from), PARAM_ALL, &from).text || !is_ascii(from.addr.domain))
		return "names a sender that cannot be one";
	return NULL;
}

static bool put_sender(struct edit *e, struct str args, struct envelope *out)
{
	struct sender old = { 0 }, from = { 0 };

	if (parse_mail(args, PARAM_ALL, &old).text)
		return false;
	if (!e->from.n)
		return envelope_sender(out, &old);
	parse_mail(buf_view(&e->from), PARAM_ALL, &from);
	if (!e->from_params) {
		old.addr = from.addr;
		from = old;
	}
	from.smtputf8 |= old.smtputf8;
	from.requiretls |= old.requiretls;
	return envelope_sender(out, &from);
}

static bool put_rcpt(struct edit *e, struct str args, struct envelope *out)
{
	struct recipient to = { 0 };

	if (parse_rcpt(args, PARAM_ALL, true, &to).text)
		return false;
	return find(&e->leave_out, &to.addr) || envelope_rcpt(out, &to);
}

bool edit_envelope(struct edit *e, const struct envelope *old, struct envelope *out)
{
	struct str rest = buf_view(&old->text), line;
	bool ok = true;

	out->release = old->release;
	out->room = old->room;
	out->held = old->held || e->quarantine;
	while (ok && str_cut(&rest, '\n', &line)) {
		if (str_starts_nocase(line, STR("MAIL ")))
			ok = put_sender(e, str_from(line, 5), out);
		else if (str_starts_nocase(line, STR("RCPT ")))
			ok = put_rcpt(e, str_from(line, 5), out);
		else if (e->quarantine && str_starts_nocase(line, STR("FROM ")))
			ok = envelope_origin(out, STR_FMT " (quarantined: %s)", STR_ARG(str_from(line, 5)), e->reason);
		else
			ok = buf_str(&out->text, line) && buf_char(&out->text, '\n');
	}
	for (struct node *x = list_first(&e->added_rcpts); ok && x; x = list_next(&e->added_rcpts, x)) {
		struct recipient to = { 0 };

		parse_rcpt(str_of(owner_of(x, struct change, order)->line), PARAM_ALL, true, &to);
		ok = envelope_rcpt(out, &to);
	}
	return ok;
}

/* ---- the body, and holding it all */

static const char *new_body(struct edit *e, bool spaces, uint64_t max, struct str data)
{
	static struct buf lines;        /* one for all: it holds nothing from one call to the next */
	struct envelope none = { 0 };

	(void)spaces;
	if (!e->new_body && !(e->new_body = queue_draft(&none, NULL))) {
		e->error = errno;
		return "memory is out";
	}
	buf_clear(&lines);
	if (memchr(data.p, '\0', data.n))
		return "writes a body with a NUL octet";
	if (max && draft_size(e->new_body) + data.n > max)
		return "writes a body that is larger than message_size";
	errno = ENOMEM;
	if (!crlf_add(&e->line_ends, data.p, data.n, &lines) || draft_write(e->new_body, lines.p, lines.n) == -1) {
		e->error = errno;
		return "writes a body that cannot be stored";
	}
	return NULL;
}

int edit_error(const struct edit *e) { return e->error; }

const struct draft *edit_new_body(const struct edit *e) { return e->new_body; }

static const char *quarantine(struct edit *e, bool spaces, uint64_t max, struct str data)
{
	struct str reason = STR("");

	(void)spaces;
	(void)max;
	milter_take_string(&data, &reason);
	snprintf(e->reason, sizeof e->reason, STR_FMT, STR_ARG(reason));
	ascii_make_printable(e->reason);
	e->quarantine = true;
	return NULL;
}

const char *edit_quarantine(const struct edit *e) { return e->quarantine ? e->reason : NULL; }

static const struct {
	char letter;
	uint32_t action;
	const char *(*change)(struct edit *, bool spaces, uint64_t max, struct str data);
} changes[] = {
	{ 'h', MILTER_ADD_HEADERS, add_field },
	{ 'i', MILTER_ADD_HEADERS | MILTER_CHANGE_HEADERS, insert_field },
	{ 'm', MILTER_CHANGE_HEADERS, change_field },
	{ 'b', MILTER_CHANGE_BODY, new_body },
	{ '+', MILTER_ADD_RCPT, add_rcpt },
	{ '2', MILTER_ADD_RCPT_PAR, add_rcpt },
	{ '-', MILTER_DELETE_RCPT, delete_rcpt },
	{ 'e', MILTER_CHANGE_FROM, change_from },
	{ 'q', MILTER_QUARANTINE, quarantine },
};
enum { CHANGES = sizeof changes / sizeof *changes };

static size_t row_of(char letter)
{
	size_t i = 0;

	while (i < CHANGES && changes[i].letter != letter)
		i++;
	return i;
}

bool edit_is_change(char letter) { return row_of(letter) < CHANGES; }

const char *edit_change(struct edit *e, uint32_t granted, bool spaces, uint64_t body_max, char letter, struct str data)
{
	size_t i = row_of(letter);

	if (i == CHANGES)
		return "wants a change that nobody knows";
	if (!(granted & changes[i].action))
		return "wants a change that it has not announced";
	return changes[i].change(e, spaces, body_max, data);
}

bool edit_wanted(struct edit *e)
{
	static struct buf end;
	bool replaced = e->new_body != NULL;

	buf_clear(&end);
	if (replaced && crlf_end(&e->line_ends, &end))
		draft_write(e->new_body, end.p, end.n);
	return e->fields || e->envelope || e->quarantine || replaced;
}
