/* Files of aliases, line by line. */
#include "deliver/aliasfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/file.h"
#include "lib/list.h"
#include "parse.h"

enum {
	QUIET_S = 2,
	GONE_MS = 10000,
	AGAIN_MS = 5000,
	CHUNK = 16384,
	COMPLAINTS_MAX = 16384          /* octets of errors, and of notes: the first ones tell enough */
};

struct alias_chunk {
	struct alias_chunk *next;
	size_t used, size;
	_Alignas(max_align_t) char text[];
};

/* Where we are: a file, or an included one. */
struct reader {
	struct alias_table *table;
	struct alias_source *source;
	bool virtual, included, forward;
	struct str rest;
	unsigned line;                  /* of the last line that was taken off rest */
	struct buf entry;               /* the lines of one entry, without comments, each behind an LF but for the first */
	unsigned entry_line;
	struct alias_target **last;     /* where the next target goes */
};

/* ---- memory */

static void *take(struct alias_table *t, size_t n)
{
	struct alias_chunk *c = t->chunk;
	void *p;

	n = (n + _Alignof(max_align_t) - 1) / _Alignof(max_align_t) * _Alignof(max_align_t);
	if (!c || c->size - c->used < n) {
		size_t size = n > CHUNK ? n : CHUNK;

		c = calloc(1, sizeof *c + size);
		if (!c) {
			t->no_memory = true;
			return NULL;
		}
		c->size = size;
		c->next = t->chunk;
		t->chunk = c;
	}
	p = c->text + c->used;
	c->used += n;
	return p;
}

/* A copy with a NUL behind it. */
static struct str keep(struct alias_table *t, struct str s)
{
	char *p = take(t, s.n + 1);

	if (!p)
		return STR("");
	if (s.n)
		memcpy(p, s.p, s.n);
	return (struct str){ p, s.n };
}

static struct str keep_lower(struct alias_table *t, struct str s)
{
	struct str kept = keep(t, s);
	char *p = (char *)(uintptr_t)kept.p;

	for (size_t i = 0; i < kept.n; i++)
		p[i] = ascii_lower(p[i]);
	return kept;
}

/* ---- complaints */

static void say_line(struct buf *out, const char *path, unsigned line, const char *fmt, va_list ap)
{
	char text[600], where[500];
	size_t before = out->n;

	vsnprintf(text, sizeof text, fmt, ap);
	ascii_make_printable(text);
	if (line)
		snprintf(where, sizeof where, "%.400s:%u", path, line);
	else
		snprintf(where, sizeof where, "%.400s", path);
	out->max = COMPLAINTS_MAX;
	if (!buf_printf(out, "%s: %s\n", where, text)) {
		out->n = before;
		out->bad = false;
	}
}

/* Of an included file one line is kept: it makes that file unusable, and nothing else. */
static void complain(struct reader *r, unsigned line, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void complain(struct reader *r, unsigned line, const char *fmt, ...)
{
	struct buf one = { 0 };
	va_list ap;

	va_start(ap, fmt);
	if (!r->included) {
		say_line(&r->table->errors, r->source->path, line, fmt, ap);
	} else if (!r->source->wrong[0]) {
		say_line(&one, r->source->path, line, fmt, ap);
		snprintf(r->source->wrong, sizeof r->source->wrong, "%.*s", (int)(one.n ? one.n - 1 : 0), one.n ? one.p : "");
		buf_free(&one);
	}
	va_end(ap);
}

static void note(struct reader *r, unsigned line, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void note(struct reader *r, unsigned line, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say_line(&r->table->notes, r->source->path, line, fmt, ap);
	va_end(ap);
}

/* ---- words */

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

/* Octets up to the one that `ends` accepts, outside quotes. False: a quote is not closed. */
static bool word_end(struct str s, bool (*ends)(char), size_t *at)
{
	bool quoted = false;
	size_t i;

	for (i = 0; i < s.n && (quoted || !ends(s.p[i])); i++) {
		if (s.p[i] == '\\' && i + 1 < s.n)
			i++;
		else if (s.p[i] == '"')
			quoted = !quoted;
	}
	*at = i < s.n ? i : s.n;
	return !quoted;
}

static bool at_comma(char c) { return c == ','; }
static bool at_colon(char c) { return c == ':'; }
static bool at_blank(char c) { return is_blank(c); }
static bool at_colon_or_blank(char c) { return c == ':' || is_blank(c); }

/* A line without its comment: a # at its beginning or behind a blank, outside quotes. */
static struct str without_comment(struct str line)
{
	bool quoted = false;

	for (size_t i = 0; i < line.n; i++) {
		if (line.p[i] == '\\' && i + 1 < line.n)
			i++;
		else if (line.p[i] == '"')
			quoted = !quoted;
		else if (line.p[i] == '#' && !quoted && (i == 0 || is_blank(line.p[i - 1])))
			return (struct str){ line.p, i };
	}
	return line;
}

/* What stands in quotes from beginning to end, without them. False: it does not, or is no whole one. */
static bool unquote(struct str s, struct buf *out)
{
	if (s.n < 2 || s.p[0] != '"')
		return false;
	for (size_t i = 1; i < s.n; i++) {
		if (s.p[i] == '"')
			return i + 1 == s.n && !out->bad;
		if (s.p[i] == '\\' && i + 1 < s.n)
			i++;
		buf_char(out, s.p[i]);
	}
	return false;
}

/* ---- targets */

/* A local part of ours. NULL, or what is wrong. */
static const char *check_local(struct str local)
{
	struct buf whole = { .max = ALIAS_WORD_MAX + 16 };
	const char *wrong = "is too long";
	struct addr a;

	if (buf_str(&whole, local) && buf_puts(&whole, "@a.example"))
		wrong = parse_address(buf_view(&whole), false, &a);
	buf_free(&whole);
	return wrong;
}

static const char *check_address(struct str text)
{
	struct addr a;

	return parse_address(text, false, &a);
}

static void read_included(struct alias_table *, struct alias_source *, bool virtual);

static struct alias_source *find_source(const struct alias_table *t, struct str path)
{
	struct alias_source *s = t->source;

	while (s && !str_eq(str_of(s->path), path))
		s = s->next;
	return s;
}

static struct alias_source *add_source(struct alias_table *t, struct str path)
{
	struct alias_source *s = take(t, sizeof *s);

	if (!s)
		return NULL;
	s->path = (char *)(uintptr_t)keep(t, path).p;
	if (!t->last_source)
		t->last_source = &t->source;
	*t->last_source = s;
	t->last_source = &s->next;
	return s;
}

/* An included file may not include: that is what makes circles impossible. Named twice, it is read once. */
static void add_include(struct reader *r, struct alias_target *target, unsigned line)
{
	struct alias_table *t = r->table;

	if (r->forward) {
		complain(r, line, "includes " STR_FMT ". A .forward file may not include others.", STR_ARG(target->text));
	} else if (r->included) {
		complain(r, line, "includes " STR_FMT ". A file that is included may not include others: name it in the file of aliases.",
			STR_ARG(target->text));
	} else if (!target->text.n || target->text.p[0] != '/') {
		complain(r, line, ":include:" STR_FMT " needs the whole path of a file. Write one that begins with /.", STR_ARG(target->text));
	} else if (t->includes == ALIAS_INCLUDES) {
		complain(r, line, "is more than the %d files that may be included. Put some of them together.", ALIAS_INCLUDES);
	} else {
		target->included = find_source(t, target->text);
		if (!target->included && (target->included = add_source(t, target->text))) {
			t->includes++;
			read_included(t, target->included, r->virtual);
		}
		if (target->included && target->included->wrong[0])
			note(r, line, "%s Until then mail for those it lists waits.", target->included->wrong);
	}
}

static const struct {
	const char *prefix;
	enum alias_target_kind kind;
	size_t cut;                     /* octets that are no part of it */
} prefixes[] = {
	{ ":include:", TARGET_INCLUDE, 9 }, { "|", TARGET_COMMAND, 1 }, { "/", TARGET_FILE, 0 }, { "\\", TARGET_MAILBOX, 1 },
};

/* text: as written; inner: without quotes. */
static struct alias_target judge(struct str text, struct str inner)
{
	struct alias_target t = { .kind = TARGET_NAME, .text = text };

	for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
		if (str_starts_nocase(inner, str_of(prefixes[i].prefix))) {
			t.kind = prefixes[i].kind;
			t.text = str_trim(str_from(inner, prefixes[i].cut));
			if (t.kind == TARGET_FILE && str_eq(t.text, STR("/dev/null")))
				t.kind = TARGET_DISCARD;
			return t;
		}
	if (text.n && memchr(text.p, '@', text.n) && text.p[text.n - 1] != '"')
		t.kind = TARGET_ADDRESS;
	else if (!check_local(inner))
		t.text = inner;         /* the quotes were for nothing */
	return t;
}

static const char *check_target(const struct alias_target *t)
{
	if (t->text.n > ALIAS_WORD_MAX)
		return "is too long";
	switch (t->kind) {
	case TARGET_NAME:
	case TARGET_MAILBOX:
		return check_local(t->text);
	case TARGET_ADDRESS:
		return check_address(t->text);
	case TARGET_DISCARD:
	case TARGET_FILE:
	case TARGET_COMMAND:
	case TARGET_INCLUDE:
		break;
	}
	return memchr(t->text.p, '\0', t->text.n) ? "has a NUL octet in it" : NULL;
}

static void say_refused(struct reader *r, const struct alias_target *t)
{
	if (t->kind == TARGET_COMMAND && r->included && !r->forward)
		note(r, t->line, "|" STR_FMT ": commands in included files are not run. Write it into the file of aliases.", STR_ARG(t->text));
	else if (t->kind == TARGET_COMMAND && !r->table->commands)
		note(r, t->line, "|" STR_FMT ": commands are not run. Mail for it waits and goes back in the end: set pipes = yes, or name an address.",
			STR_ARG(t->text));
	else if (t->kind == TARGET_COMMAND && r->table->as_owner && !r->forward && !r->source->taken && r->source->seen.st_uid == 0)
		note(r, t->line, "|" STR_FMT ": the file is root's, and no command is run as root. Its mail waits: set pipe_user.", STR_ARG(t->text));
	else if (t->kind == TARGET_FILE)
		note(r, t->line, STR_FMT ": mail is not put into files. It waits and goes back in the end: name an address.", STR_ARG(t->text));
}

static bool has_blank(struct str s)
{
	size_t at;

	return word_end(s, at_blank, &at) && at < s.n;
}

static void add_target(struct reader *r, struct str text, unsigned line)
{
	struct buf inner = { .max = ALIAS_FILE_MAX };
	bool quoted = unquote(text, &inner);
	struct alias_target found = judge(text, quoted ? buf_view(&inner) : text), *t;
	const char *wrong = check_target(&found);

	found.line = line;
	found.source = r->source;
	if (!quoted && found.kind <= TARGET_MAILBOX && has_blank(text)) {
		complain(r, line, "\"" STR_FMT "\" has a blank in it. Put commas between targets, and no names beside addresses.", STR_ARG(text));
	} else if (wrong) {
		complain(r, line, "\"" STR_FMT "\" is no target: %s. Write a name, an address or :include:/PATH.", STR_ARG(text), wrong);
	} else if ((t = take(r->table, sizeof *t))) {
		*t = found;
		t->text = keep(r->table, found.text);
		*r->last = t;
		r->last = &t->next;
		say_refused(r, t);
		if (t->kind == TARGET_INCLUDE)
			add_include(r, t, line);
	}
	buf_free(&inner);
}

static unsigned count_lines(struct str s)
{
	unsigned n = 0;

	for (size_t i = 0; i < s.n; i++)
		n += s.p[i] == '\n';
	return n;
}

/* "a, b,\n\tc" of which the first line is `line`. Returns whether there was any. */
static bool add_targets(struct reader *r, struct str list, unsigned line)
{
	bool any = false;

	while (str_trim(list).n) {
		size_t at;
		struct str item;

		if (!word_end(list, at_comma, &at)) {
			complain(r, line, "has a quote that is not closed. Close it before the line ends.");
			return true;
		}
		item = (struct str){ list.p, at };
		while (item.n && is_blank(item.p[0])) {
			line += item.p[0] == '\n';
			item = str_from(item, 1);
		}
		if (str_trim(item).n)
			add_target(r, str_trim(item), line);
		else
			complain(r, line, "has a comma with nothing before it. Take it out.");
		any = true;
		line += count_lines(item);
		list = str_from(list, at + (at < list.n));
	}
	return any;
}

/* ---- entries */

static void add_domain(struct alias_table *t, struct str name)
{
	struct str domain = name, local;
	struct alias_domain *d;

	if (!str_cut_last(&domain, '@', &local) || map_get(&t->domains, domain) || !(d = take(t, sizeof *d)))
		return;
	if (!map_put(&t->domains, &d->node, domain))
		t->no_memory = true;
	d->next = t->domain;
	t->domain = d;
}

/* The name as it is looked for: unquoted, lower case. NULL, or what is wrong with it. */
static const char *read_name(struct reader *r, struct str text, struct buf *out)
{
	struct addr a;
	const char *wrong;

	if (!r->virtual && memchr(text.p, '@', text.n) && text.p[0] != '"')
		return "is an address. Write it into the file that the setting virtual names, or leave out the domain";
	if (!r->virtual) {
		wrong = check_local(text);
		a = (struct addr){ .local = text };
		return wrong ? wrong : addr_local_unquoted(out, &a) ? NULL : "is too long";
	}
	if (text.n && text.p[0] == '@') {
		wrong = parse_domain(str_from(text, 1), false, false);
		return wrong ? wrong : buf_str(out, text) ? NULL : "is too long";
	}
	wrong = check_address(text);
	if (wrong)
		return wrong;
	parse_address(text, false, &a);
	return addr_local_unquoted(out, &a) && buf_char(out, '@') && buf_str(out, a.domain) ? NULL : "is too long";
}

static void add_entry(struct reader *r, struct str name, struct str list, unsigned line)
{
	struct alias_table *t = r->table;
	struct buf plain = { .max = ALIAS_WORD_MAX };
	const char *wrong = name.n ? read_name(r, name, &plain) : "is empty";
	struct str key = keep_lower(t, buf_view(&plain));
	struct map_node *other = wrong ? NULL : map_get(&t->names, key);
	struct alias_entry *e = wrong || other ? NULL : take(t, sizeof *e);
	struct alias_target *none = NULL;

	if (wrong)
		complain(r, line, "the name \"" STR_FMT "\" %s.", STR_ARG(name), wrong);
	if (other) {
		const struct alias_entry *first = owner_of(other, struct alias_entry, node);

		note(r, line, STR_FMT " is there already, at %s:%u, and that one counts. Put their targets on one line.", STR_ARG(name),
			first->source->path, first->line);
	}
	r->last = e ? &e->first : &none;
	if (!add_targets(r, list, line))
		complain(r, line, STR_FMT " stands for nothing. Write who is meant behind the colon, or take the line out.", STR_ARG(name));
	if (e) {
		e->line = line;
		e->source = r->source;
		if (!map_put(&t->names, &e->node, key))
			t->no_memory = true;
		if (!t->last)
			t->last = &t->entry;
		*t->last = e;
		t->last = &e->next;
		t->n++;
		if (r->virtual)
			add_domain(t, e->node.key);
	}
	buf_free(&plain);
}

/* The table of virtual users may also be written without colons, as Postfix has it. */
static void split_entry(struct reader *r)
{
	struct str text = buf_view(&r->entry), name;
	size_t at;

	if (!word_end(text, r->virtual ? at_colon_or_blank : at_colon, &at)) {
		complain(r, r->entry_line, "has a quote that is not closed. Close it before the line ends.");
		return;
	}
	name = str_trim((struct str){ text.p, at });
	text = str_from(text, at);
	if (r->virtual && text.n && text.p[0] != ':' && str_trim(text).n && str_trim(text).p[0] == ':' && !str_starts_nocase(str_trim(text), STR(":include:")))
		text = str_from(text, (size_t)(str_trim(text).p - text.p));
	if (!text.n && !r->virtual)
		complain(r, r->entry_line, "has no colon. Write NAME: TARGET, TARGET, and begin a line that goes on with a blank.");
	else
		add_entry(r, name, str_from(text, text.n && text.p[0] == ':'), r->entry_line);
}

/* ---- lines */

static bool next_line(struct reader *r, struct str *line)
{
	if (!r->rest.n)
		return false;
	if (!str_cut(&r->rest, '\n', line)) {
		*line = r->rest;
		r->rest = STR("");
	}
	r->line++;
	return true;
}

static void end_entry(struct reader *r)
{
	if (r->entry.n)
		split_entry(r);
	buf_clear(&r->entry);
}

static void read_entries(struct reader *r)
{
	struct str line;

	while (!r->table->no_memory && next_line(r, &line)) {
		struct str text = without_comment(line);
		bool goes_on = line.n && is_blank(line.p[0]);

		if (!str_trim(text).n) {
			if (r->entry.n)
				buf_char(&r->entry, '\n');      /* so that lines are counted */
			continue;
		}
		if (goes_on && !r->entry.n) {
			complain(r, r->line, "begins with a blank, but there is no line before it that could go on. Take the blank out.");
			continue;
		}
		if (!goes_on) {
			end_entry(r);
			r->entry_line = r->line;
		} else {
			buf_char(&r->entry, '\n');
		}
		if (!buf_str(&r->entry, text))
			r->table->no_memory = true;
	}
	end_entry(r);
	buf_free(&r->entry);
}

static void read_list(struct reader *r)
{
	struct str line;

	while (!r->table->no_memory && next_line(r, &line))
		add_targets(r, without_comment(line), r->line);
}

/* ---- files */

/* That nobody mends in the file: no descriptor, no memory, a disk that fails. */
static const char *refused(struct alias_source *s)
{
	if (errno != ENOENT && errno != EACCES)
		s->again = loop_now() + AGAIN_MS;
	return strerror(errno);
}

/* NULL, or what is wrong with it. A file that is not there is empty, if it may be. */
static const char *read_source(struct alias_source *s, bool must, struct buf *text)
{
	text->max = ALIAS_FILE_MAX;
	if (stat(s->path, &s->seen) == -1) {
		s->seen = (struct stat){ 0 };
		return errno == ENOENT && !must ? NULL : refused(s);
	}
	if (!S_ISREG(s->seen.st_mode))
		return "is no regular file";
	if (s->seen.st_mode & S_IWOTH)
		return "may be written by everybody. Say chmod o-w";
	if (file_read_all(AT_FDCWD, s->path, text) == 0)
		return NULL;
	return errno == EFBIG ? "is larger than 4 MiB" : refused(s);
}

static void read_included(struct alias_table *t, struct alias_source *s, bool virtual)
{
	struct reader r = { .table = t, .source = s, .virtual = virtual, .included = true, .last = &s->first };
	struct buf text = { 0 };
	const char *wrong = read_source(s, true, &text);

	if (wrong) {
		complain(&r, 0, "%s. Mend the file that is included, or its name.", wrong);
	} else {
		r.rest = buf_view(&text);
		read_list(&r);
	}
	buf_free(&text);
}

void alias_table_add(struct alias_table *t, const char *path, const struct str *given, bool virtual)
{
	struct alias_source *source = find_source(t, str_of(path));
	struct reader r = { .table = t, .virtual = virtual, .source = source ? source : add_source(t, str_of(path)) };
	struct buf text = { 0 };
	const char *wrong = NULL;

	if (!r.source)
		return;
	r.source->taken = given != NULL;
	if (!given)
		wrong = read_source(r.source, virtual, &text);
	if (wrong)
		complain(&r, 0, "%s.", wrong);
	r.rest = given ? *given : buf_view(&text);
	read_entries(&r);
	buf_free(&text);
}

struct alias_entry *alias_table_add_forward(struct alias_table *t, struct str user, struct str path, struct str text)
{
	struct alias_entry *e = take(t, sizeof *e);
	struct reader r = { .table = t, .source = add_source(t, path), .included = true, .forward = true, .rest = text };

	if (!e || !r.source)
		return NULL;
	r.source->taken = true;
	r.last = &e->first;
	e->node.key = keep_lower(t, user);
	e->source = r.source;
	e->line = 1;
	read_list(&r);
	return t->no_memory ? NULL : e;
}

struct alias_entry *alias_table_find(const struct alias_table *t, struct str name)
{
	struct map_node *x = map_get(&t->names, name);

	return x ? owner_of(x, struct alias_entry, node) : NULL;
}

const struct alias_target *alias_command(const struct alias_entry *e, unsigned n)
{
	const struct alias_target *t = e->first;

	while (t && (t->kind != TARGET_COMMAND || --n))
		t = t->next;
	return t;
}

void alias_table_free(struct alias_table *t)
{
	struct alias_chunk *c;

	map_free(&t->names);
	map_free(&t->domains);
	buf_free(&t->errors);
	buf_free(&t->notes);
	while ((c = t->chunk)) {
		t->chunk = c->next;
		free(c);
	}
	*t = (struct alias_table){ 0 };
}

static bool differs(const struct stat *a, const struct stat *b)
{
	return a->st_ino != b->st_ino || a->st_dev != b->st_dev || a->st_size != b->st_size || a->st_mode != b->st_mode ||
		a->st_mtim.tv_sec != b->st_mtim.tv_sec || a->st_mtim.tv_nsec != b->st_mtim.tv_nsec ||
		a->st_ctim.tv_sec != b->st_ctim.tv_sec || a->st_ctim.tv_nsec != b->st_ctim.tv_nsec;
}

bool alias_table_changed(const struct alias_table *t)
{
	for (const struct alias_source *s = t->source; s; s = s->next) {
		struct stat now;

		if (s->again && loop_now() >= s->again)
			return true;
		if (!s->taken && differs(stat(s->path, &now) == 0 ? &now : &(struct stat){ 0 }, &s->seen))
			return true;
	}
	return false;
}

static bool is_quiet(struct alias_source *s)
{
	int64_t now = loop_wall();
	struct stat st;

	if (s->taken || stat(s->path, &st) == 0) {
		s->gone_since = 0;
		return s->taken || st.st_mtim.tv_sec > now || now - st.st_mtim.tv_sec >= QUIET_S;
	}
	if (!s->seen.st_ino)
		return true;            /* it was not there before */
	if (!s->gone_since)
		s->gone_since = loop_now();
	return loop_now() - s->gone_since >= GONE_MS;
}

bool alias_table_is_quiet(struct alias_table *t)
{
	bool quiet = true;

	for (struct alias_source *s = t->source; s; s = s->next)
		quiet &= is_quiet(s);
	return quiet;
}
