/* What an address stands for. */
#include "deliver/alias.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "deliver/aliasfile.h"
#include "lib/list.h"
#include "lib/log.h"
#include "lib/loop.h"
#include "parse.h"

struct aliases {
	struct alias_config config;
	struct alias_table table;
	struct alias_table broken;      /* the files as they are now, if there is an error in them */
	bool read;                      /* table is worth asking */
	bool is_broken;
	unsigned looked_in;             /* the turn in which the files were last looked at */
	uint64_t run;
};

/* ---- the files */

struct aliases *aliases_new(const struct alias_config *c)
{
	struct aliases *a = calloc(1, sizeof *a);

	if (a)
		a->config = *c;
	return a;
}

void aliases_configure(struct aliases *a, const struct alias_config *c) { a->config = *c; }

void aliases_free(struct aliases *a)
{
	if (!a)
		return;
	alias_table_free(&a->table);
	alias_table_free(&a->broken);
	free(a);
}

static struct alias_table *newest(struct aliases *a) { return a->is_broken ? &a->broken : &a->table; }
const struct buf *aliases_errors(struct aliases *a) { return &newest(a)->errors; }
const struct buf *aliases_notes(struct aliases *a) { return &newest(a)->notes; }
size_t aliases_count(const struct aliases *a) { return a->table.n; }
bool aliases_forward(const struct aliases *a) { return a->config.forward; }

/* Each line of it, up to a handful. */
static void log_lines(const struct aliases *a, enum log_level level, struct str lines, unsigned most, const char *behind)
{
	struct str line;

	for (unsigned i = 0; !a->config.quiet && i < most && str_cut(&lines, '\n', &line); i++)
		log_text(level, "aliases", STR_FMT "%s", STR_ARG(line), behind);
}

/* Takes the table that has just been read. */
static void settle(struct aliases *a, struct alias_table *new)
{
	if (new->no_memory)
		buf_puts(&new->errors, "aliases: out of memory\n");
	alias_table_free(&a->broken);
	a->is_broken = new->errors.n > 0;
	if (a->is_broken) {
		a->broken = *new;
		log_lines(a, LOG_ERROR, buf_view(&new->errors), 1, a->read ? " What was read before stays in use." :
			" Until then mail for names of this host waits.");
		return;
	}
	if (!a->config.quiet && (a->read || new->n))
		log_text(LOG_INFO, "aliases", "%zu names have been read%s", new->n, a->read ? " again" : "");
	alias_table_free(&a->table);
	a->table = *new;
	a->read = true;
	log_lines(a, LOG_WARN, buf_view(&new->notes), 5, "");
}

bool aliases_refresh(struct aliases *a)
{
	struct alias_table new = { .commands = a->config.commands, .as_owner = a->config.as_owner };

	if (a->read && loop_turns() && a->looked_in == loop_turns())
		return true;
	a->looked_in = loop_turns();
	if ((a->read || a->is_broken) && !alias_table_changed(newest(a)))
		return a->read;
	/* One that is just being written would be read by halves. */
	if (a->read && !alias_table_is_quiet(newest(a)))
		return true;
	if (a->config.aliases)
		alias_table_add(&new, a->config.aliases, NULL, false);
	if (a->config.virtual)
		alias_table_add(&new, a->config.virtual, NULL, true);
	settle(a, &new);
	return a->read;
}

bool aliases_take(struct aliases *a, struct str aliases, struct str virtual)
{
	struct alias_table new = { .commands = a->config.commands, .as_owner = a->config.as_owner };

	alias_table_add(&new, "aliases", &aliases, false);
	alias_table_add(&new, "virtual", &virtual, true);
	settle(a, &new);
	return a->read;
}

/* ---- domains */

static bool is_listed(const struct aliases *a, struct str domain)
{
	const struct routes *r = a->config.routes;

	for (size_t i = 0; i < r->nlocal; i++)
		if (str_eq_nocase(r->local[i], domain))
			return true;
	return !domain.n;
}

static bool is_named(const struct aliases *a, struct str domain)
{
	char key[DOMAIN_MAX + 1];

	if (!str_copy(key, sizeof key, domain))
		return false;
	for (char *c = key; *c; c++)
		*c = ascii_lower(*c);
	/* Also where commands are not run any more: those that wait must not go to the world. */
	if (!strcmp(key, COMMAND_DOMAIN))
		return true;
	/* Of a file that was never right the domains are known all the same: their mail is ours, and waits. */
	return map_get(a->read ? &a->table.domains : &a->broken.domains, str_of(key)) != NULL;
}

bool aliases_have_domain(const void *arg, struct str domain)
{
	const struct aliases *a = arg;

	return domain.n && is_named(a, domain) && !is_listed(a, domain);
}

static bool is_origin(const struct aliases *a, struct str domain)
{
	return a->config.origin && str_eq_nocase(str_of(a->config.origin), domain);
}

bool aliases_concern(const struct aliases *a, struct str domain)
{
	return is_listed(a, domain) || is_origin(a, domain) || is_named(a, domain);
}

/* The domain of a bare name: the one that was written to, if names are at home there. */
static struct str home_of(const struct aliases *a, struct str domain)
{
	const struct routes *r = a->config.routes;

	if (domain.n && (is_listed(a, domain) || (is_origin(a, domain) && !is_named(a, domain))))
		return domain;
	if (a->config.origin && (is_listed(a, str_of(a->config.origin)) || !r->nlocal))
		return str_of(a->config.origin);
	return r->nlocal ? r->local[0] : STR("localhost");
}

/* ---- one question */

/* An address that has been arrived at. */
struct expanded {
	struct expanded *next;
	struct map_node node;           /* key: the whole address, the domain in lower case; of names that are ours, all of it */
	struct addr addr;
	char text[];
};

enum { ALIAS_FORWARDS = 1000 };         /* .forward files that one name leads to */

struct run {
	struct aliases *aliases;
	struct facts *facts;
	struct expansion *out;
	struct str home;
	struct expanded **last;
	struct map seen;
	struct alias_table forwards;    /* of those that were asked for */
	struct alias_entry *forward[ALIAS_FORWARDS];
	size_t nforwards;
	bool waits, discards, no_memory;
	unsigned depth;                 /* aliases behind each other */
	unsigned indent;                /* of steps */
};

static void step(struct run *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void step(struct run *r, const char *fmt, ...)
{
	char text[1200];
	va_list ap;

	if (!r->out->steps)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	buf_printf(r->out->steps, "%*s%s\n", (int)(2 * r->indent), "", text);
}

/* A line that is not there yet: circles are met from each of their names. */
static void add_line(struct buf *out, const char *text)
{
	char line[420];
	size_t n = (size_t)snprintf(line, sizeof line, "%.410s\n", text);

	if (!out->n || !memmem(out->p, out->n, line, n))
		buf_add(out, line, n);
}

enum known {
	NOTED,                          /* when the file was read */
	FOUND_OUT
};

/* Something of it cannot be done; what may pass counts more than what will not. What is told to others names no file. */
static void trouble(struct run *r, enum known known, int code, const char *enhanced, const char *told, const char *fmt, ...)
	__attribute__((format(printf, 6, 7)));
static void trouble(struct run *r, enum known known, int code, const char *enhanced, const char *told, const char *fmt, ...)
{
	char text[sizeof r->out->trouble];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	step(r, "%s", text);
	if (known == FOUND_OUT && r->out->errors)
		add_line(r->out->errors, text);
	if (r->out->trouble[0] && (r->out->why.code < 500 || code >= 500))
		return;
	snprintf(r->out->trouble, sizeof r->out->trouble, "%s", text);
	reply_set(&r->out->why, code, enhanced, "%s", told);
}

static bool is_postmaster(struct str local) { return str_eq_nocase(local, STR("postmaster")); }

/* ---- looking up */

static struct alias_entry *get(const struct run *r, struct str local, struct str domain)
{
	char key[ALIAS_WORD_MAX];
	int n = snprintf(key, sizeof key, STR_FMT "%s" STR_FMT, STR_ARG(local), domain.n ? "@" : "", STR_ARG(domain));
	struct map_node *x;

	if (n < 0 || (size_t)n >= sizeof key || (!domain.n && memchr(key, '@', (size_t)n)))
		return NULL;            /* "a@b"@c is no a@b */
	for (int i = 0; i < n; i++)
		key[i] = ascii_lower(key[i]);
	x = map_get(&r->aliases->table.names, (struct str){ key, (size_t)n });
	return x ? owner_of(x, struct alias_entry, node) : NULL;
}

/* The whole local part, then what is before the separator. */
static struct alias_entry *get_both(const struct run *r, struct str local, struct str domain)
{
	struct alias_entry *e = get(r, local, domain);
	struct str rest = local, base;

	if (!e && r->aliases->config.separator && str_cut(&rest, r->aliases->config.separator, &base) && base.n)
		e = get(r, base, domain);
	return e;
}

static bool mailbox_is_there(struct run *r, struct str local)
{
	const struct fact *box = r->facts ? fact(r->facts, FACT_MAILBOX, local) : NULL;

	if (!r->facts)
		return false;
	if (!box) {
		r->waits = true;
		return true;
	}
	if (box->outcome == UNKNOWN)
		trouble(r, NOTED, 451, "4.3.0", "cannot look the mailbox up now; try again later", "mailbox of " STR_FMT ": %s", STR_ARG(local), box->why);
	return box->outcome == FOUND || box->outcome == UNKNOWN;
}

/* For an address whose domain has aliases. A mailbox is nearer than "all others of the domain". */
static struct alias_entry *look_up(struct run *r, const struct addr *a, struct str plain)
{
	const struct aliases *all = r->aliases;
	bool ours = is_listed(all, a->domain) || is_origin(all, a->domain);
	struct alias_entry *e = a->domain.n ? get_both(r, plain, a->domain) : NULL, *rest;

	if (!e && ours && !(all->config.own_postmaster && is_postmaster(plain)))
		e = get_both(r, plain, STR(""));
	if (e || !a->domain.n || !is_named(all, a->domain))
		return e;
	rest = get(r, STR(""), a->domain);
	if (rest && is_listed(all, a->domain) && (is_postmaster(plain) || mailbox_is_there(r, a->local)))
		return NULL;
	return rest;
}

/* ---- walking */

static void arrive(struct run *r, struct str local, struct str domain)
{
	bool ours = is_listed(r->aliases, domain);
	struct expanded *x = malloc(sizeof *x + local.n + domain.n + 2);
	char *p;

	if (!x) {
		r->no_memory = true;
		return;
	}
	p = x->text;
	memcpy(p, local.p, local.n);
	p[local.n] = '@';
	memcpy(p + local.n + 1, domain.p, domain.n);
	for (size_t i = ours ? 0 : local.n; i < local.n + 1 + domain.n; i++)
		p[i] = ascii_lower(p[i]);
	*x = (struct expanded){ .addr = { { p, local.n }, { p + local.n + 1, domain.n } } };
	step(r, "%.*s", (int)(local.n + 1 + domain.n), p);
	if (map_get(&r->seen, (struct str){ p, local.n + 1 + domain.n })) {
		free(x);
		return;
	}
	if (!map_put(&r->seen, &x->node, (struct str){ p, local.n + 1 + domain.n })) {
		r->no_memory = true;
		free(x);
		return;
	}
	*r->last = x;
	r->last = &x->next;
	r->out->n++;
}

/* ---- .forward files */

/* anna of Anna+tag, quoted or not, as the name of an entry is. */
static bool user_of(const struct run *r, const struct addr *a, char user[LOCAL_MAX + 1])
{
	struct buf plain = { .max = LOCAL_MAX };
	bool ok = addr_local_unquoted(&plain, a);
	struct str rest = buf_view(&plain), base = rest;

	if (r->aliases->config.separator)
		str_cut(&rest, r->aliases->config.separator, &base);
	ok = ok && base.n && str_copy(user, LOCAL_MAX + 1, base);
	for (char *c = user; ok && *c; c++)
		*c = ascii_lower(*c);
	buf_free(&plain);
	return ok;
}

static struct alias_entry *read_forward(struct run *r, struct str user, const struct fact *f)
{
	struct alias_entry *e;

	for (size_t i = 0; i < r->nforwards; i++)
		if (str_eq(r->forward[i]->node.key, user))
			return r->forward[i];
	if (r->nforwards == ALIAS_FORWARDS) {
		trouble(r, FOUND_OUT, 451, "4.3.5", "the alias stands for too many users", "more than %d .forward files behind one name", ALIAS_FORWARDS);
		return NULL;
	}
	r->forwards.commands = r->aliases->config.commands;
	e = alias_table_add_forward(&r->forwards, user, f->record[1].data, f->record[0].data);
	if (!e)
		r->no_memory = true;
	else
		r->forward[r->nforwards++] = e;
	return e;
}

/* The .forward file of whom this address names: NULL, he has none, or (a reply is set, or r->waits) it is not known. */
static struct alias_entry *forward_of(struct run *r, const struct addr *a)
{
	const struct alias_config *c = &r->aliases->config;
	const struct fact *f;
	struct alias_entry *e;
	char user[LOCAL_MAX + 1];
	struct route way;

	if (!c->forward || !r->out->forwards || !r->facts || !is_listed(r->aliases, a->domain) || is_postmaster(a->local) || !user_of(r, a, user))
		return NULL;
	route_find(c->routes, a->domain, NULL, &way);
	if (way.kind != ROUTE_LOCAL)
		return NULL;
	f = fact(r->facts, FACT_FORWARD, str_of(user));
	if (!f) {
		r->waits = true;
		return NULL;
	}
	if (f->outcome == UNKNOWN)
		trouble(r, NOTED, 451, "4.3.0", "the user's .forward file cannot be read now", ".forward of %s: %s", user, f->why);
	if (f->outcome != FOUND || f->n < 2)
		return NULL;
	e = read_forward(r, str_of(user), f);
	if (e && e->source->wrong[0]) {
		trouble(r, NOTED, 451, "4.3.5", "the user's .forward file is wrong", "%s", e->source->wrong);
		return NULL;
	}
	return e && e->first ? e : NULL;
}

/* Is it he whose .forward file this is? Then his mailbox is meant. */
static bool is_himself(const struct run *r, const struct addr *a, const struct alias_entry *from)
{
	char user[LOCAL_MAX + 1];

	for (size_t i = 0; from && i < r->nforwards; i++)
		if (r->forward[i] == from)
			return user_of(r, a, user) && str_eq(from->node.key, str_of(user)) && is_listed(r->aliases, a->domain);
	return false;
}

static void walk_entry(struct run *r, struct alias_entry *e);

/* from NULL: it was asked for, and does not stand behind an alias. */
static void say_nobody(struct run *r, struct str local, struct str domain, const struct alias_entry *from)
{
	static const char told[] = "no such user here", why[] = "is nobody: the table of virtual users does not name it";

	if (from)
		trouble(r, FOUND_OUT, 550, "5.1.1", told, "%s:%u: " STR_FMT "@" STR_FMT " %s", from->source->path, from->line, STR_ARG(local),
			STR_ARG(domain), why);
	else
		trouble(r, NOTED, 550, "5.1.1", told, STR_FMT "@" STR_FMT " %s", STR_ARG(local), STR_ARG(domain), why);
}

/* An address that stands behind an alias, `from`. */
static void walk_address(struct run *r, struct str local, struct str domain, const struct alias_entry *from)
{
	struct addr a = { local, domain };
	struct buf plain = { .max = LOCAL_MAX };
	struct alias_entry *e, *forward;

	if (!aliases_concern(r->aliases, domain) || is_himself(r, &a, from)) {
		arrive(r, local, domain);
		return;
	}
	e = addr_local_unquoted(&plain, &a) ? look_up(r, &a, buf_view(&plain)) : NULL;
	if (!e && aliases_have_domain(r->aliases, domain) && is_postmaster(buf_view(&plain)))
		walk_address(r, STR("postmaster"), r->home, from);
	else if (!e && aliases_have_domain(r->aliases, domain))
		say_nobody(r, local, domain, from);
	else if (e && e != from)
		walk_entry(r, e);
	else if ((forward = forward_of(r, &a)))
		walk_entry(r, forward);
	else
		arrive(r, local, domain);       /* also while a .forward file is out of reach: what it says can wait, the others' mail not */
	buf_free(&plain);
}

/* The address of a command (see alias.h). */
static void arrive_command(struct run *r, const struct alias_target *t, const struct alias_entry *from)
{
	struct buf local = { .max = LOCAL_MAX };
	struct str name = from->node.key;
	unsigned n = 1;
	bool forward = false;

	for (size_t i = 0; i < r->nforwards; i++)
		forward |= r->forward[i] == from;
	while (alias_command(from, n) && alias_command(from, n) != t)
		n++;
	buf_puts(&local, forward ? "\"~" : "\"");
	for (size_t i = 0; i < name.n; i++)
		buf_printf(&local, "%s%c", name.p[i] == '"' || name.p[i] == '\\' ? "\\" : "", name.p[i]);
	buf_printf(&local, "|%u\"", n);
	step(r, "|" STR_FMT, STR_ARG(t->text));
	r->indent++;
	if (local.bad)
		trouble(r, FOUND_OUT, 451, "4.3.5", "the alias names a command that cannot be run", "%s:%u: a name with a command may have 58 octets at most",
			t->source->path, t->line);
	else
		arrive(r, buf_view(&local), STR(COMMAND_DOMAIN));
	r->indent--;
	buf_free(&local);
}

static void walk_target(struct run *r, const struct alias_target *t, const struct alias_entry *from)
{
	const char *path = t->source->path;
	struct str domain = t->text, local;

	switch (t->kind) {
	case TARGET_NAME:
		walk_address(r, t->text, r->home, from);
		return;
	case TARGET_ADDRESS:
		str_cut_last(&domain, '@', &local);
		walk_address(r, local, domain, from);
		return;
	case TARGET_MAILBOX:
		arrive(r, t->text, r->home);
		return;
	case TARGET_DISCARD:
		step(r, "/dev/null: discarded");
		r->discards = true;
		return;
	case TARGET_COMMAND:
		if (r->aliases->config.commands && t->source == from->source) {
			arrive_command(r, t, from);
			return;
		}
		/* fall through */
	case TARGET_FILE:
		trouble(r, NOTED, 451, "4.3.5", "the alias names a file or a command, which is not done here", "%s:%u: %s" STR_FMT ": %s", path, t->line,
			t->kind == TARGET_COMMAND ? "|" : "", STR_ARG(t->text), t->kind == TARGET_COMMAND ? "commands are not run" : "mail is not put into files");
		return;
	case TARGET_INCLUDE:
		step(r, ":include:" STR_FMT, STR_ARG(t->text));
		if (!t->included || t->included->wrong[0])
			trouble(r, NOTED, 451, "4.3.0", "the list cannot be read now; try again later", "%s", t->included ? t->included->wrong : "out of memory");
		r->indent++;
		for (const struct alias_target *i = t->included && !t->included->wrong[0] ? t->included->first : NULL; i && r->out->n <= ALIAS_TARGETS; i = i->next)
			walk_target(r, i, from);
		r->indent--;
		return;
	}
}

static void walk_entry(struct run *r, struct alias_entry *e)
{
	struct str name = e->node.key;

	if (e->on_path) {
		trouble(r, FOUND_OUT, 554, "5.4.6", "the alias leads back to itself", "%s:%u: the alias " STR_FMT " leads back to itself", e->source->path, e->line, STR_ARG(name));
		return;
	}
	if (r->depth == ALIAS_DEPTH) {
		trouble(r, FOUND_OUT, 451, "4.3.5", "too many aliases behind each other", "%s:%u: the alias " STR_FMT " stands behind %d others: that is too deep",
			e->source->path, e->line, STR_ARG(name), ALIAS_DEPTH);
		return;
	}
	step(r, STR_FMT ": an alias, %s:%u", STR_ARG(name), e->source->path, e->line);
	if (e->run == r->aliases->run)
		return;                 /* seen: it adds nothing */
	e->run = r->aliases->run;
	e->on_path = true;
	r->depth++;
	r->indent++;
	for (const struct alias_target *t = e->first; t && r->out->n <= ALIAS_TARGETS; t = t->next)
		walk_target(r, t, e);
	r->depth--;
	r->indent--;
	e->on_path = false;
}

/* ---- the answer */

/* RFC 5321 4.5.1: postmaster is somebody, also where the alias leads to names that are nobody's, as in many a file that came with the
 * system. */
static void drop_nobody(struct run *r)
{
	struct expanded **at = &r->out->x, *x;

	while ((x = *at)) {
		const struct fact *box = NULL;
		struct route way;

		route_find(r->aliases->config.routes, x->addr.domain, NULL, &way);
		if (r->facts && way.kind == ROUTE_LOCAL && !is_postmaster(x->addr.local)) {
			box = fact(r->facts, FACT_MAILBOX, x->addr.local);
			r->waits |= !box;
		}
		if (!box || (box->outcome != NO_NAME && box->outcome != NO_DATA)) {
			at = &x->next;
			continue;
		}
		step(r, STR_FMT " has no mailbox", STR_ARG(x->addr.local));
		*at = x->next;
		map_remove(&r->seen, &x->node);
		free(x);
		r->out->n--;
	}
}

/* "owner-staff@example.org", if there is such an alias. Names that are no plain word of an address have none. */
static void find_owner(struct run *r, const struct alias_entry *e)
{
	char name[LOCAL_MAX + 1], whole[ADDR_MAX + 1];
	struct addr a;

	if ((size_t)snprintf(name, sizeof name, "owner-" STR_FMT, STR_ARG(e->node.key)) >= sizeof name || !get(r, str_of(name), STR("")))
		return;
	if ((size_t)snprintf(whole, sizeof whole, "%s@" STR_FMT, name, STR_ARG(r->home)) >= sizeof whole || parse_address(str_of(whole), false, &a))
		return;
	step(r, "sender: %s", whole);
	str_copy(r->out->owner, sizeof r->out->owner, str_of(whole));
}

static enum alias_answer failed(struct expansion *out, const char *told)
{
	if (!out->why.code)
		reply_set(&out->why, 451, "4.3.5", "%s", told);
	return ALIAS_FAILED;
}

static enum alias_answer finish(struct run *r, const struct alias_entry *e)
{
	struct expansion *out = r->out;
	size_t n = 0;

	if (out->n > ALIAS_TARGETS) {
		out->why.code = 0;              /* what stood in the way of some does not matter now */
		snprintf(out->trouble, sizeof out->trouble, "%s:%u: the alias " STR_FMT " stands for more than %d addresses", e->source->path, e->line,
			STR_ARG(e->node.key), ALIAS_TARGETS);
		if (out->errors)
			add_line(out->errors, out->trouble);
		return failed(out, "the alias stands for too many addresses");
	}
	if (!out->n && !r->discards)
		return failed(out, "the alias stands for nobody");
	if (!(out->to = calloc(out->n + 1, sizeof *out->to)))
		return failed(out, "out of memory");
	for (const struct expanded *x = out->x; x; x = x->next)
		out->to[n++] = x->addr;
	out->kind = out->owner[0] ? ALIAS_LIST : n == 1 ? ALIAS_ONE : ALIAS_SEVERAL;
	return ALIAS_FOUND;
}

static enum alias_answer ask(struct run *r, const struct addr *a)
{
	struct buf plain = { .max = LOCAL_MAX };
	bool whole = addr_local_unquoted(&plain, a), postmaster = is_postmaster(buf_view(&plain)), is_forward = false;
	struct alias_entry *e = whole ? look_up(r, a, buf_view(&plain)) : NULL;

	buf_free(&plain);
	if (r->waits)
		return ALIAS_WAIT;
	if (!e && !r->out->why.code && !aliases_have_domain(r->aliases, a->domain))
		is_forward = (e = forward_of(r, a));
	if (r->waits)
		return ALIAS_WAIT;
	if (!e && r->out->why.code)
		return ALIAS_FAILED;
	if (!e && !aliases_have_domain(r->aliases, a->domain)) {
		step(r, STR_FMT ": no alias", STR_ARG(a->local));
		return ALIAS_NONE;
	}
	if (e)
		walk_entry(r, e);
	else
		walk_address(r, a->local, a->domain, NULL);
	if (postmaster)
		drop_nobody(r);
	if (r->waits)
		return ALIAS_WAIT;
	if (r->no_memory)
		return failed(r->out, "out of memory");
	if (postmaster && !r->out->n && !r->discards)
		return ALIAS_NONE;
	if (e && !is_forward && !memchr(e->node.key.p, '@', e->node.key.n) && r->out->n)
		find_owner(r, e);
	return finish(r, e);
}

enum alias_answer alias_expand(struct aliases *a, struct facts *f, const struct addr *addr, struct expansion *out)
{
	struct run r = { .aliases = a, .facts = f, .out = out, .home = home_of(a, addr->domain) };
	enum alias_answer answer;

	*out = (struct expansion){ .forwards = out->forwards, .steps = out->steps, .errors = out->errors };
	if (!a->read) {
		snprintf(out->trouble, sizeof out->trouble, "the aliases cannot be read: see the first error that was logged");
		reply_set(&out->why, 451, "4.3.0", "the aliases cannot be read now; try again later");
		return ALIAS_FAILED;
	}
	if (!aliases_concern(a, addr->domain))
		return ALIAS_NONE;
	r.last = &out->x;
	a->run++;
	answer = ask(&r, addr);
	map_free(&r.seen);
	alias_table_free(&r.forwards);
	return answer;
}

void expansion_free(struct expansion *out)
{
	struct expanded *x;

	while ((x = out->x)) {
		out->x = x->next;
		free(x);
	}
	free(out->to);
	out->to = NULL;
	out->n = 0;
}

static void note_nobody(struct aliases *a, const struct alias_entry *e, const struct expansion *x, struct buf *notes,
	bool (*nobody)(void *, const struct addr *), void *arg)
{
	char text[400];

	for (size_t i = 0; i < x->n; i++) {
		struct route way;

		route_find(a->config.routes, x->to[i].domain, NULL, &way);
		if (way.kind != ROUTE_LOCAL || str_eq_nocase(x->to[i].domain, STR(COMMAND_DOMAIN)) || !nobody(arg, &x->to[i]))
			continue;
		snprintf(text, sizeof text, "%.200s:%u: " STR_FMT " stands for " STR_FMT ", who has no mailbox. Make it: fardel mkmailbox " STR_FMT,
			e->source->path, e->line, STR_ARG(e->node.key), STR_ARG(x->to[i].local), STR_ARG(x->to[i].local));
		add_line(notes, text);
	}
}

bool aliases_try_all(struct aliases *a, struct buf *errors, struct buf *notes, bool (*nobody)(void *, const struct addr *), void *arg)
{
	for (const struct alias_entry *e = a->table.entry; e; e = e->next) {
		struct expansion x = { .errors = errors };
		struct str domain = e->node.key, local = e->node.key;
		struct addr addr;

		if (!str_cut_last(&domain, '@', &local))
			domain = home_of(a, STR(""));
		addr = (struct addr){ local.n ? local : STR("somebody"), domain };
		if (alias_expand(a, NULL, &addr, &x) == ALIAS_FOUND && notes)
			note_nobody(a, e, &x, notes, nobody, arg);
		expansion_free(&x);
	}
	return !errors->bad && !(notes && notes->bad);
}
