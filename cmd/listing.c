/* The names in a queue, gathered by message. */
#include "cmd/listing.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "lib/clock.h"

enum { ID_SHORTEST = 4 };

/* False: no memory. Names that are none of ours are for the daemon to judge. */
static bool add_name(struct listing *l, int dir, const char *name)
{
	struct listed x = { .dir = dir };

	if (name[0] == '.')
		return true;
	if (l->n == l->room) {
		size_t room = l->room ? 2 * l->room : 64;
		struct listed *grown = realloc(l->line, room * sizeof *grown);

		if (!grown)
			return false;
		l->line = grown;
		l->room = room;
	}
	if (!(x.name = strdup(name)))
		return false;
	if (entry_parse(x.name, &x.entry))
		l->line[l->n++] = x;
	else
		free(x.name);
	return true;
}

/* Takes dir. 0 or -1 with errno. */
static int gather(struct listing *l, int dir)
{
	int copy = dup(dir);
	DIR *d = copy == -1 ? NULL : fdopendir(copy);
	struct dirent *e;
	int saved = 0;

	if (!d) {
		saved = errno;
		if (copy != -1)
			close(copy);
		errno = saved;
		return -1;
	}
	while (!saved && (errno = 0, e = readdir(d)))
		if (!add_name(l, dir, e->d_name))
			saved = ENOMEM;
	if (!saved)
		saved = errno;
	closedir(d);
	errno = saved;
	return saved ? -1 : 0;
}

/* Oldest message first, the entries of one message together. */
static int by_id(const void *a, const void *b)
{
	const struct listed *x = a, *y = b;
	int order = strcmp(x->entry.id, y->entry.id);

	return order ? order : strcmp(x->name, y->name);
}

/* Text from the disk may have come from anywhere: a terminal gets printable characters. */
void listing_show(FILE *out, struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		putc(ascii_print(s.p[i]) ? s.p[i] : '?', out);
}

void listing_show_addr(FILE *out, const struct addr *a)
{
	listing_show(out, a->local);
	if (a->domain.n) {
		putc('@', out);
		listing_show(out, a->domain);
	}
}

/* Is this recipient waiting under this name? A long domain is a token in names, so what no plain name claims is the token's. */
bool listing_waits_under(const struct listing *l, size_t first, size_t end, const struct listed *x, const struct rcpt *r)
{
	if (str_eq_nocase(x->entry.dest, r->to.addr.domain))
		return true;
	for (size_t i = first; i < end; i++)
		if (str_eq_nocase(l->line[i].entry.dest, r->to.addr.domain))
			return false;
	if (str_eq(x->entry.dest, STR("+")))
		return !r->linked;
	return x->entry.dest.p[0] == '=' && (r->linked || end - first == 1);
}

/* ---- choosing */

static bool is_asked_for(const struct rcpt *r, struct str about)
{
	const struct addr *a = &r->to.addr;
	struct str domain = about, local;

	if (str_cut_last(&domain, '@', &local) && local.n)
		return str_eq(a->local, local) && str_eq_nocase(a->domain, domain);
	return str_eq_nocase(a->domain, domain);
}

bool listing_next_alias(struct str *rest, struct str *address)
{
	struct str word;

	return str_word(rest, &word) && str_cut(&word, '<', address) && str_cut(&word, '>', address);
}

/* Who is asked for may be an alias that this message was made for: one of several, or the only one. */
static bool is_made_for(const struct mail *m, struct str about, bool alone)
{
	struct str rest = m->alias_rcpts, address;
	size_t n = 0, found = 0;

	for (; listing_next_alias(&rest, &address); n++)
		found += str_eq_nocase(address, about);
	return alone ? found && found == n : found;
}

bool listing_about(const struct listing *l, size_t first, const struct mail *m, struct str about)
{
	struct str id = str_of(l->line[first].entry.id);

	if (!about.n || (about.n >= ID_SHORTEST && str_starts_nocase(id, about)))
		return true;
	if (m && is_made_for(m, about, false))
		return true;
	for (size_t i = 0; m && i < m->nrcpt; i++)
		if (m->rcpt[i].state == RCPT_OPEN && is_asked_for(&m->rcpt[i], about))
			return true;
	return false;
}

bool listing_about_entry(const struct listing *l, size_t first, size_t end, const struct listed *x, const struct mail *m, struct str about)
{
	if (listing_about(l, first, NULL, about) || (m && is_made_for(m, about, true)))
		return true;
	for (size_t i = 0; m && i < m->nrcpt; i++)
		if (m->rcpt[i].state == RCPT_OPEN && is_asked_for(&m->rcpt[i], about) && listing_waits_under(l, first, end, x, &m->rcpt[i]))
			return true;
	return false;
}

/* ---- reading */

int listing_read(struct listing *l, const char *path, const char *command)
{
	static const char *const dirs[] = { "cur", "in" };
	int queue = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int status = EX_OK;

	*l = (struct listing){ .now = clock_wall_s(), .dir = { -1, -1 } };
	for (size_t i = 0; queue != -1 && i < 2; i++) {
		l->dir[i] = openat(queue, dirs[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		/* A queue that nothing was ever put into has no directories yet. */
		if (l->dir[i] == -1 ? errno != ENOENT : gather(l, l->dir[i]) == -1)
			status = errno == EACCES ? EX_NOPERM : EX_OSERR;
		if (status)
			break;
	}
	if (queue == -1)
		status = errno == ENOENT ? EX_NOINPUT : errno == EACCES ? EX_NOPERM : EX_OSERR;
	if (status)
		fprintf(stderr, "%s: %s cannot be listed: %s.%s\n", command, path, strerror(errno),
			status == EX_NOPERM ? " Only root and the queue's owner may." :
			status == EX_NOINPUT ? " Is it the right configuration (-c FILE)? `fardel check` tells more." : "");
	if (l->n)
		qsort(l->line, l->n, sizeof *l->line, by_id);
	if (queue != -1)
		close(queue);
	return status;
}

size_t listing_end(const struct listing *l, size_t first)
{
	size_t end = first + 1;

	while (end < l->n && !strcmp(l->line[end].entry.id, l->line[first].entry.id))
		end++;
	return end;
}

struct mail *listing_open(const struct listing *l, size_t first, size_t end, const char **why)
{
	struct mail *m = NULL;

	*why = NULL;
	for (size_t i = first; i < end && !m; i++)
		if (!(m = mail_read(l->line[i].dir, l->line[i].name, why)) && errno == ENOENT)
			*why = NULL;
	return m;
}

void listing_free(struct listing *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->line[i].name);
	free(l->line);
	for (size_t i = 0; i < 2; i++)
		if (l->dir[i] != -1)
			close(l->dir[i]);
}
