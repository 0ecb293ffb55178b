/* Reads settings into a struct by a table of rows. */
#include "lib/conf.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/file.h"

enum {
	FILE_MAX = 1 << 20,             /* a configuration of this size is a mistake */
	ERRORS_MAX = 1 << 16,
	INCLUDE_DEPTH = 8,              /* more is a file that includes itself */
	INCLUDE_FILES = 1000,
	WORD_MAX = 40,
	NEAR = 2                        /* slips of typing that make a name of the environment suspicious */
};

/* ---- complaints */

void conf_complain(struct conf *c, const char *where, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	ascii_make_printable(text);
	buf_printf(&c->errors, "%s: %s\n", where, text);
}

void conf_no_memory(struct conf *c, const char *where)
{
	c->for_now = true;
	conf_complain(c, where, "out of memory. Start again when there is more of it.");
}

/* ---- values */

bool conf_duration(struct str s, int64_t *seconds)
{
	static const struct { char letter; int64_t seconds; } unit[] = {
		{ 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 }, { 'w', 604800 },
	};
	const int64_t most = INT32_MAX;         /* 68 years: sums of a few never overflow */
	int64_t sum = 0;

	if (str_eq(s, STR("0"))) {
		*seconds = 0;
		return true;
	}
	if (s.n == 0)
		return false;
	while (s.n > 0) {
		size_t digits = 0, u = 0;
		uint64_t number;

		while (digits < s.n && ascii_digit(s.p[digits]))
			digits++;
		if (digits == s.n || !str_number((struct str){ s.p, digits }, (uint64_t)most, &number))
			return false;
		while (u < sizeof unit / sizeof *unit && unit[u].letter != s.p[digits])
			u++;
		if (u == sizeof unit / sizeof *unit || (int64_t)number > most / unit[u].seconds)
			return false;
		sum += (int64_t)number * unit[u].seconds;
		if (sum > most)
			return false;
		s = str_from(s, digits + 1);
	}
	*seconds = sum;
	return true;
}

bool conf_size(struct str s, uint64_t *octets)
{
	static const char units[] = "kmgt";
	unsigned shift = 0;
	uint64_t number;

	if (s.n > 0) {
		const char *unit = memchr(units, ascii_lower(s.p[s.n - 1]), sizeof units - 1);
		if (unit) {
			shift = 10 * (unsigned)(unit - units + 1);
			s.n--;
		}
	}
	if (!str_number(s, (uint64_t)INT64_MAX >> shift, &number))
		return false;
	*octets = number << shift;
	return true;
}

static bool read_yesno(struct str s, uint64_t *out)
{
	static const struct { struct str word; bool value; } word[] = {
		{ { "yes", 3 }, true }, { { "no", 2 }, false }, { { "true", 4 }, true }, { { "false", 5 }, false },
		{ { "on", 2 }, true }, { { "off", 3 }, false }, { { "1", 1 }, true }, { { "0", 1 }, false },
	};

	for (size_t i = 0; i < sizeof word / sizeof *word; i++)
		if (str_eq_nocase(s, word[i].word)) {
			*out = word[i].value;
			return true;
		}
	return false;
}

static bool read_number(struct str s, uint64_t *out)
{
	return str_number(s, UINT_MAX, out);
}

static bool read_duration(struct str s, uint64_t *out)
{
	int64_t seconds = 0;
	bool ok = conf_duration(s, &seconds);

	*out = (uint64_t)seconds;
	return ok;
}

/* How a number of each kind is read, and what to say when it is none. */
static const struct scalar {
	bool (*read)(struct str, uint64_t *);
	const char *what, *remedy;
} scalars[] = {
	[CONF_YESNO] = { read_yesno, "neither yes nor no", "Write yes or no." },
	[CONF_NUMBER] = { read_number, "not a number", "Write digits only, as in 25." },
	[CONF_DURATION] = { read_duration, "not a duration", "Write numbers with s, m, h or d, as in 5m or 1h30m." },
	[CONF_SIZE] = { conf_size, "not a size", "Write a number of octets, or one with k, M or G, as in 35M." },
};

static void print_limit(const struct conf_row *row, uint64_t value, char *out, size_t size)
{
	static const struct { uint64_t span; char letter; } duration[] = { { 86400, 'd' }, { 3600, 'h' }, { 60, 'm' }, { 1, 's' } };
	static const struct { uint64_t span; char letter; } octets[] = { { 1 << 30, 'G' }, { 1 << 20, 'M' }, { 1 << 10, 'k' } };

	if (row->kind == CONF_DURATION && value > 0)
		for (size_t i = 0; i < sizeof duration / sizeof *duration; i++)
			if (value % duration[i].span == 0) {
				snprintf(out, size, "%llu%c", (unsigned long long)(value / duration[i].span), duration[i].letter);
				return;
			}
	if (row->kind == CONF_SIZE && value > 0)
		for (size_t i = 0; i < sizeof octets / sizeof *octets; i++)
			if (value % octets[i].span == 0) {
				snprintf(out, size, "%llu%c", (unsigned long long)(value / octets[i].span), octets[i].letter);
				return;
			}
	snprintf(out, size, "%llu", (unsigned long long)value);
}

/* False after a complaint. */
static bool read_scalar(struct conf *c, const struct conf_row *row, const char *where, struct str text, uint64_t *out)
{
	const struct scalar *s = &scalars[row->kind];
	char limit[32];

	if (!s->read(text, out)) {
		conf_complain(c, where, "%s = \"" STR_FMT "\" is %s. %s", row->name, STR_ARG(text), s->what, s->remedy);
		return false;
	}
	if (*out < row->min) {
		print_limit(row, row->min, limit, sizeof limit);
		conf_complain(c, where, "%s = " STR_FMT " is too small. Write %s or more.", row->name, STR_ARG(text), limit);
		return false;
	}
	if (row->max && *out > row->max) {
		print_limit(row, row->max, limit, sizeof limit);
		conf_complain(c, where, "%s = " STR_FMT " is too large. Write %s or less.", row->name, STR_ARG(text), limit);
		return false;
	}
	return true;
}

/* ---- lists */

static bool is_list(const struct conf_row *row)
{
	return row->kind == CONF_LIST || row->kind == CONF_WORDS;
}

static void list_clear(struct conf_list *l)
{
	for (size_t i = 0; i < l->n; i++) {
		free(l->item[i].text);
		free(l->item[i].where);
	}
	free(l->item);
	*l = (struct conf_list){ 0 };
}

static bool list_add(struct conf_list *l, struct str text, const char *where)
{
	struct conf_item *grown = realloc(l->item, (l->n + 1) * sizeof *grown);

	if (!grown)
		return false;
	l->item = grown;
	grown[l->n] = (struct conf_item){ .text = strndup(text.p, text.n), .where = strdup(where) };
	if (!grown[l->n].text || !grown[l->n].where) {
		free(grown[l->n].text);
		free(grown[l->n].where);
		return false;
	}
	l->n++;
	return true;
}

/* One line of a list: as a whole, or its words. An environment variable holds several lines. */
static bool list_add_line(struct conf_list *l, const struct conf_row *row, struct str text, const char *where)
{
	while (text.n > 0) {
		size_t n = 0;

		while (n < text.n && text.p[n] != '\n' &&
			!(row->kind == CONF_WORDS && (text.p[n] == ' ' || text.p[n] == '\t' || text.p[n] == ',')))
			n++;
		struct str item = str_trim((struct str){ text.p, n });
		if (item.n > 0 && !list_add(l, item, where))
			return false;
		text = str_from(text, n + 1);
	}
	return true;
}

/* ---- setting a row */

static void *value_of(const struct conf *c, const struct conf_row *row)
{
	return (char *)c->target + row->offset;
}

static void put_value(const struct conf *c, const struct conf_row *row, const char *text, uint64_t number)
{
	void *at = value_of(c, row);

	switch (row->kind) {
	case CONF_TEXT: *(const char **)at = text && *text ? text : NULL; break;
	case CONF_YESNO: *(bool *)at = number != 0; break;
	case CONF_NUMBER: *(unsigned *)at = (unsigned)number; break;
	case CONF_DURATION: *(int64_t *)at = (int64_t)number; break;
	case CONF_SIZE: *(uint64_t *)at = number; break;
	case CONF_LIST: case CONF_WORDS: break;
	}
}

/* Whoever says a name first from a source replaces what earlier sources said. False: no memory. */
static bool set_row(struct conf *c, const struct conf_row *row, enum conf_rank rank, const char *where, struct str text)
{
	struct conf_state *state = &c->state[row - c->row];
	char *new_where, *new_text;
	uint64_t number = 0;

	if (rank < state->rank)
		return true;
	if (rank == CONF_FILE && state->rank == CONF_FILE && !is_list(row)) {
		conf_complain(c, where, "%s was set in %s already. Remove one of the two lines.", row->name, state->where);
		return true;
	}
	if (row->kind != CONF_TEXT && !is_list(row) && !read_scalar(c, row, where, text, &number))
		return true;
	if (!(new_where = strdup(where)))
		return false;
	if (!(new_text = strndup(text.p ? text.p : "", text.n))) {
		free(new_where);
		return false;
	}
	if (is_list(row) && rank > state->rank)
		list_clear(value_of(c, row));
	free(state->where);
	free(state->text);
	*state = (struct conf_state){ .rank = rank, .where = new_where, .text = new_text };
	if (is_list(row))
		return list_add_line(value_of(c, row), row, text, where);
	put_value(c, row, new_text, number);
	return true;
}

static void set(struct conf *c, const struct conf_row *row, enum conf_rank rank, const char *where, struct str text)
{
	if (!set_row(c, row, rank, where, text))
		conf_no_memory(c, where);
}

/* ---- names */

static unsigned least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

unsigned conf_distance(struct str a, struct str b)
{
	unsigned row[3][WORD_MAX + 1];          /* the one being filled, the one before, the one before that: i % 3 */

	if (a.n > WORD_MAX || b.n > WORD_MAX)
		return WORD_MAX;
	for (unsigned j = 0; j <= b.n; j++)
		row[0][j] = j;
	for (unsigned i = 1; i <= a.n; i++) {
		unsigned *now = row[i % 3], *before = row[(i + 2) % 3], *earlier = row[(i + 1) % 3];

		now[0] = i;
		for (unsigned j = 1; j <= b.n; j++) {
			bool same = a.p[i - 1] == b.p[j - 1];

			now[j] = least(least(now[j - 1], before[j]) + 1, before[j - 1] + !same);
			if (i > 1 && j > 1 && a.p[i - 1] == b.p[j - 2] && a.p[i - 2] == b.p[j - 1])
				now[j] = least(now[j], earlier[j - 2] + 1);
		}
	}
	return row[a.n % 3][b.n];
}

static const struct conf_row *find_row(const struct conf *c, struct str name)
{
	for (size_t i = 0; i < c->n; i++)
		if (str_eq(name, str_of(c->row[i].name)))
			return &c->row[i];
	return NULL;
}

static const struct conf_row *nearest_row(const struct conf *c, struct str name, unsigned *distance)
{
	const struct conf_row *best = NULL;

	*distance = UINT_MAX;
	for (size_t i = 0; i < c->n; i++) {
		unsigned d = conf_distance(name, str_of(c->row[i].name));
		if (d < *distance) {
			*distance = d;
			best = &c->row[i];
		}
	}
	return best;
}

/* The row for what another program calls so. NULL: none. */
static const struct conf_row *row_elsewhere(const struct conf *c, struct str name)
{
	for (size_t i = 0; i < c->n; i++) {
		struct str rest = str_of(c->row[i].elsewhere), word;

		while (str_word(&rest, &word))
			if (str_eq_nocase(word, name))
				return &c->row[i];
	}
	return NULL;
}

static void complain_of_name(struct conf *c, const char *where, struct str name)
{
	unsigned distance;
	const struct conf_row *near = nearest_row(c, name, &distance), *same = row_elsewhere(c, name);

	if (same)
		conf_complain(c, where, "no setting is called \"" STR_FMT "\". Here it is %s, written in another way: see fardel.conf(5).", STR_ARG(name), same->name);
	else if (near && distance <= name.n / 2)
		conf_complain(c, where, "no setting is called \"" STR_FMT "\". The nearest name is %s.", STR_ARG(name), near->name);
	else
		conf_complain(c, where, "no setting is called \"" STR_FMT "\". See fardel.conf(5) for those that there are.", STR_ARG(name));
}

/* ---- sources */

/* A '#' begins a comment where a line, a value or a word of it could begin: values that hold one ("a#b") stay whole. */
static struct str without_comment(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] == '#' && (i == 0 || memchr(" \t,=", s.p[i - 1], 4)))
			return (struct str){ s.p, i };
	return s;
}

static bool holds_control(struct str s, bool lines)
{
	for (size_t i = 0; i < s.n; i++)
		if (((unsigned char)s.p[i] < ' ' && s.p[i] != '\t' && !(lines && s.p[i] == '\n')) || s.p[i] == 0x7f)
			return true;
	return false;
}

/* "include = conf.d/\*.conf": as if the lines stood here. A pattern that matches nothing is no error, a file that is not there is one. */
static void include(struct conf *c, const char *where, struct str pattern)
{
	const char *slash = c->depth ? strrchr(c->file, '/') : NULL;
	size_t dir = slash && pattern.n && pattern.p[0] != '/' ? (size_t)(slash - c->file) + 1 : 0;
	char path[PATH_MAX];
	glob_t found;
	int got;

	if (c->depth == 0)
		conf_complain(c, where, "include is for files. Name a file with -c.");
	else if (c->depth == INCLUDE_DEPTH)
		conf_complain(c, where, "the %uth file inside each other. Does one of them include itself?", INCLUDE_DEPTH + 1);
	else if (!pattern.n || dir + pattern.n >= sizeof path)
		conf_complain(c, where, "include needs the path of a file, or a pattern such as conf.d/*.conf.");
	if (c->depth == 0 || c->depth == INCLUDE_DEPTH || !pattern.n || dir + pattern.n >= sizeof path)
		return;
	memcpy(path, c->file, dir);
	memcpy(path + dir, pattern.p, pattern.n);
	path[dir + pattern.n] = '\0';
	if ((got = glob(path, GLOB_ERR | (strpbrk(path, "*?[") ? 0 : GLOB_NOCHECK), NULL, &found)) == 0) {
		for (size_t i = 0; i < found.gl_pathc && c->errors.n < ERRORS_MAX / 2; i++)
			conf_file(c, found.gl_pathv[i]);
		globfree(&found);
	} else if (got != GLOB_NOMATCH && errno != ENOENT) {
		conf_complain(c, where, "include = %s: the directory cannot be read: %s.", path, strerror(errno));
	}
}

static void take_line(struct conf *c, enum conf_rank rank, const char *where, struct str text)
{
	const struct conf_row *row;
	struct str name, value;

	text = str_trim(without_comment(text));
	if (text.n == 0)
		return;
	if (holds_control(text, false)) {
		conf_complain(c, where, "holds a control character. Write plain text, one setting a line.");
		return;
	}
	value = text;
	if (!str_cut(&value, '=', &name)) {
		conf_complain(c, where, "\"" STR_FMT "\" is no setting. Write name = value.", STR_ARG(text));
		return;
	}
	name = str_trim(name);
	row = find_row(c, name);
	if (row)
		set(c, row, rank, where, str_trim(value));
	else if (str_eq(name, STR("include")))
		include(c, where, str_trim(value));
	else
		complain_of_name(c, where, name);
}

void conf_text(struct conf *c, const char *file, struct str text)
{
	char where[PATH_MAX + 24];
	struct str line;

	if (str_starts_nocase(text, STR("\xef\xbb\xbf")))
		text = str_from(text, 3);
	for (unsigned number = 1; text.n > 0; number++) {
		if (!str_cut(&text, '\n', &line)) {
			line = text;
			text.n = 0;
		}
		snprintf(where, sizeof where, "%s:%u", file, number);
		take_line(c, CONF_FILE, where, line);
	}
}

/* 0, or -1 with errno. */
static int read_file(struct conf *c, const char *path, struct buf *text)
{
	static const int may_pass[] = { EMFILE, ENFILE, ENOMEM, EINTR, EIO };

	if (file_read_all(AT_FDCWD, path, text) == 0)
		return 0;
	for (size_t i = 0; i < sizeof may_pass / sizeof *may_pass; i++)
		c->for_now |= errno == may_pass[i];
	return -1;
}

void conf_file(struct conf *c, const char *path)
{
	struct buf text = { .max = FILE_MAX };
	const char *outer = c->file;

	c->file = path;
	c->depth++;
	if (c->files++ == INCLUDE_FILES)
		conf_complain(c, path, "is one file too many: %d are enough for a configuration.", INCLUDE_FILES);
	else if (c->files > INCLUDE_FILES)
		;
	else if (read_file(c, path, &text) == -1)
		conf_complain(c, path, "cannot be read: %s.%s", errno == EFBIG ? "larger than any configuration" : strerror(errno),
			errno == EACCES ? " Everybody who sends needs it: chmod 644, and keep passwords in files of their own." : "");
	else
		conf_text(c, path, buf_view(&text));
	c->depth--;
	c->file = outer;
	buf_free(&text);
}

/* FARDEL_NAME_FILE: the value is what that file holds, as containers are given secrets. */
static void set_from_file(struct conf *c, const struct conf_row *row, const char *where, const char *path)
{
	struct buf text = { .max = FILE_MAX };

	if (read_file(c, path, &text) == -1)
		conf_complain(c, where, "%s cannot be read: %s.", path, strerror(errno));
	else if (holds_control(str_trim(buf_view(&text)), is_list(row)))
		conf_complain(c, where, "%s holds a control character. Write plain text.", path);
	else
		set(c, row, CONF_ENVIRONMENT, where, str_trim(buf_view(&text)));
	buf_free(&text);
}

static struct str without_ending(struct str name, struct str ending)
{
	bool has = name.n > ending.n && str_eq(str_from(name, name.n - ending.n), ending);

	return (struct str){ name.p, has ? name.n - ending.n : 0 };
}

void conf_environment(struct conf *c, const char *prefix, char *const *environment)
{
	struct str start = str_of(prefix);

	for (; *environment; environment++) {
		struct str value = str_of(*environment), name;
		char lower[WORD_MAX + 1], where[WORD_MAX * 2];
		const struct conf_row *row;
		unsigned distance;

		if (!str_cut(&value, '=', &name) || name.n <= start.n || !str_eq((struct str){ name.p, start.n }, start) ||
			name.n - start.n > WORD_MAX)
			continue;
		snprintf(where, sizeof where, STR_FMT, STR_ARG(name));
		name = str_from(name, start.n);
		for (size_t i = 0; i < name.n; i++)
			lower[i] = ascii_lower(name.p[i]);
		name.p = lower;
		row = find_row(c, name);
		if (row && holds_control(value, is_list(row)))
			conf_complain(c, where, "holds a control character. Write plain text.");
		else if (row)
			set(c, row, CONF_ENVIRONMENT, where, str_trim(value));
		else if ((row = find_row(c, without_ending(name, STR("_file")))))
			set_from_file(c, row, where, value.p);
		/* Containers get names from others, too (FARDEL_PORT_25_TCP): only a likely slip is an error. */
		else if (row_elsewhere(c, name) || (nearest_row(c, name, &distance) && distance <= NEAR))
			complain_of_name(c, where, name);
	}
}

bool conf_add(struct conf *c, const char *name, const char *variable, struct str item)
{
	const struct conf_row *row = find_row(c, str_of(name));
	struct conf_state *state = &c->state[row - c->row];
	struct buf all = { .max = 2 * PATH_MAX };
	char *where;

	if (state->rank != CONF_PRESET)
		buf_printf(&all, "%s, ", state->where);
	buf_puts(&all, variable);
	where = all.bad ? NULL : strdup(buf_cstr(&all));
	buf_free(&all);
	if (!where)
		return false;
	free(state->where);
	state->where = where;
	if (state->rank < CONF_ENVIRONMENT)
		state->rank = CONF_ENVIRONMENT;
	return list_add(value_of(c, row), item, variable);
}

void conf_option(struct conf *c, const char *text)
{
	take_line(c, CONF_OPTION, "-o", str_of(text));
}

/* ---- the whole */

int conf_start(struct conf *c, const struct conf_row *row, size_t n, void *target)
{
	*c = (struct conf){ .row = row, .n = n, .target = target, .errors = { .max = ERRORS_MAX } };
	if (!(c->state = calloc(n ? n : 1, sizeof *c->state)))
		return -1;
	for (size_t i = 0; i < n; i++) {
		if (is_list(&row[i]))
			*(struct conf_list *)value_of(c, &row[i]) = (struct conf_list){ 0 };
		else
			put_value(c, &row[i], NULL, 0);
	}
	for (size_t i = 0; i < n; i++)
		if (row[i].preset && !set_row(c, &row[i], CONF_PRESET, "preset", str_of(row[i].preset))) {
			conf_end(c);
			errno = ENOMEM;
			return -1;
		}
	return 0;
}

void conf_end(struct conf *c)
{
	for (size_t i = 0; c->state && i < c->n; i++) {
		if (is_list(&c->row[i]))
			list_clear(value_of(c, &c->row[i]));
		else
			put_value(c, &c->row[i], NULL, 0);
		free(c->state[i].where);
		free(c->state[i].text);
	}
	free(c->state);
	c->state = NULL;
	buf_free(&c->errors);
}

bool conf_ok(const struct conf *c)
{
	return c->errors.n == 0 && !c->errors.bad;
}

const char *conf_where(const struct conf *c, const char *name)
{
	const struct conf_row *row = find_row(c, str_of(name));
	const char *where = row ? c->state[row - c->row].where : NULL;

	return where ? where : "preset";
}

static bool same_list(const struct conf_list *a, const struct conf_list *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (strcmp(a->item[i].text, b->item[i].text) != 0)
			return false;
	return true;
}

static bool same_value(const struct conf *a, const struct conf *b, size_t i)
{
	const char *x = a->state[i].text, *y = b->state[i].text;

	if (is_list(&a->row[i]))
		return same_list(value_of(a, &a->row[i]), value_of(b, &b->row[i]));
	return x && y ? !strcmp(x, y) : x == y;
}

bool conf_changed(const struct conf *now, const struct conf *later, struct buf *changed, struct buf *at_start)
{
	for (size_t i = 0; i < now->n; i++) {
		struct buf *out = now->row[i].at_start ? at_start : changed;

		if (!same_value(now, later, i))
			buf_printf(out, "%s%s", out->n ? ", " : "", now->row[i].name);
	}
	return !changed->bad && !at_start->bad;
}

static void print_help(struct buf *out, struct str help)
{
	struct str line;

	while (str_cut(&help, '\n', &line))
		buf_printf(out, "# " STR_FMT "\n", STR_ARG(line));
	buf_printf(out, "# " STR_FMT "\n", STR_ARG(help));
}

static void print_list(struct buf *out, const struct conf_row *row, const struct conf_list *l, const char *mark)
{
	if (row->kind == CONF_LIST) {
		for (size_t i = 0; i < l->n; i++)
			buf_printf(out, "%s%s = %s\n", mark, row->name, l->item[i].text);
		return;
	}
	buf_printf(out, "%s%s =", mark, row->name);
	for (size_t i = 0; i < l->n; i++)
		buf_printf(out, " %s", l->item[i].text);
	buf_char(out, '\n');
}

bool conf_print(const struct conf *c, struct buf *out)
{
	for (size_t i = 0; i < c->n; i++) {
		const struct conf_row *row = &c->row[i];
		const struct conf_state *state = &c->state[i];
		const struct conf_list *list = is_list(row) ? value_of(c, row) : NULL;
		const char *mark = state->rank == CONF_PRESET ? "#" : "";

		if (i > 0)
			buf_char(out, '\n');
		print_help(out, str_of(row->help));
		if (state->rank != CONF_PRESET)
			buf_printf(out, "# (from %s)\n", state->where);
		if (list && list->n > 0)
			print_list(out, row, list, mark);
		else if (state->text && state->text[0] && !list)
			buf_printf(out, "%s%s = %s\n", mark, row->name, state->text);
		else if (state->rank == CONF_PRESET && row->example)
			buf_printf(out, "#%s = %s\n", row->name, row->example);
		else
			buf_printf(out, "%s%s =\n", mark, row->name);
	}
	return !out->bad;
}
