/* mailq: lists what is in the queue, in the form that scripts know from Postfix. Reads names and files; takes no lock. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "cmd/fardel.h"
#include "cmd/settings.h"
#include "lib/clock.h"
#include "parse.h"
#include "queue.h"

struct line {                           /* one name in cur/ or in/ */
	char *name;
	struct entry_name entry;        /* slices into name */
	int dir;
};
struct listing {
	size_t n, room;
	struct line *line;
	int64_t now;
	uint64_t octets;
	size_t messages;
};

/* ---- gathering */

/* False: no memory. Names that are none of ours are for the daemon to judge. */
static bool add_name(struct listing *l, int dir, const char *name)
{
	struct line x = { .dir = dir };

	if (name[0] == '.')
		return true;
	if (l->n == l->room) {
		size_t room = l->room ? 2 * l->room : 64;
		struct line *grown = realloc(l->line, room * sizeof *grown);

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
	const struct line *x = a, *y = b;
	int order = strcmp(x->entry.id, y->entry.id);

	return order ? order : strcmp(x->name, y->name);
}

/* ---- showing */

/* "Mon Nov 23 09:00:00" in local time */
static const char *show_time(int64_t wall, char out[32])
{
	time_t t = (time_t)wall;
	struct tm tm;

	if (!localtime_r(&t, &tm) || strftime(out, 32, "%a %b %d %H:%M:%S", &tm) == 0)
		snprintf(out, 32, "%" PRId64, wall);
	return out;
}

/* Text from the disk may have come from anywhere: a terminal gets printable characters. */
static void show(FILE *out, struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		putc(ascii_print(s.p[i]) ? s.p[i] : '?', out);
}

static void show_addr(FILE *out, const struct addr *a)
{
	show(out, a->local);
	if (a->domain.n) {
		putc('@', out);
		show(out, a->domain);
	}
}

/* Is this recipient waiting under this name? A long domain is a token in names, so what no plain name claims is the token's. */
static bool waits_under(const struct listing *l, size_t first, size_t end, const struct line *x, const struct rcpt *r)
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

static void show_reason(const struct listing *l, const struct line *x, const struct rcpt *r)
{
	char at[32];

	printf("%*s(", 8, "");
	if (r->words.n > 0 && r->host.n > 0 && !str_eq(r->host, STR("-"))) {
		printf("host ");
		show(stdout, r->host);
		printf(" said: ");
	}
	show(stdout, r->words);
	if (r->words.n > 0)
		printf("; ");
	if (x->entry.held)
		printf("on hold");
	else if (x->entry.next <= l->now)
		printf("due now");
	else
		printf("next try %s", show_time(x->entry.next, at));
	printf(", tries %u)\n", x->entry.tries);
}

static bool same_reason(const struct rcpt *a, const struct rcpt *b)
{
	return str_eq(a->words, b->words) && str_eq(a->host, b->host);
}

/* The open recipients under one name; a reason stands above those it is true of. */
static void show_entry(const struct listing *l, size_t first, size_t end, const struct line *x, const struct mail *m)
{
	const struct rcpt *before = NULL;

	for (size_t i = 0; i < m->nrcpt; i++) {
		const struct rcpt *r = &m->rcpt[i];

		if (r->state != RCPT_OPEN || !waits_under(l, first, end, x, r))
			continue;
		if (!before || !same_reason(before, r))
			show_reason(l, x, r);
		before = r;
		printf("%*s", 57, "");
		show_addr(stdout, &r->to.addr);
		putchar('\n');
	}
}

/* The entries first..end-1 are of one message. */
static void show_message(struct listing *l, size_t first, size_t end)
{
	struct mail *m = NULL;
	const char *why = NULL;
	char at[32];

	/* An entry may be moved or finished while we look: another one of the message may still be there. */
	for (size_t i = first; i < end && !m; i++)
		if (!(m = mail_read(l->line[i].dir, l->line[i].name, &why)) && errno == ENOENT)
			why = NULL;
	if (!m && !why)
		return;
	l->messages++;
	if (!m) {
		printf("%-25s %8s %20s (cannot be read: %s)\n\n", l->line[first].entry.id, "-", "-", why);
		return;
	}
	l->octets += (uint64_t)m->size;
	printf("%-24s%c %8lld %20s ", m->id, l->line[first].entry.held ? '!' : ' ', (long long)m->size, show_time(m->arrived, at));
	if (addr_is_null(&m->from.addr))
		printf("MAILER-DAEMON");
	else
		show_addr(stdout, &m->from.addr);
	putchar('\n');
	for (size_t i = first; i < end; i++)
		show_entry(l, first, end, &l->line[i], m);
	putchar('\n');
	mail_free(m);
}

static void show_all(struct listing *l)
{
	if (l->n > 0) {
		qsort(l->line, l->n, sizeof *l->line, by_id);
		printf("%-25s %8s %20s %s\n", "-Queue ID-", "--Size--", "----Arrival Time----", "-Sender/Recipient-------");
	}
	for (size_t first = 0, end; first < l->n; first = end) {
		for (end = first + 1; end < l->n && !strcmp(l->line[end].entry.id, l->line[first].entry.id); end++)
			;
		show_message(l, first, end);
	}
	if (l->messages == 0)
		printf("Mail queue is empty\n");
	else
		printf("-- %" PRIu64 " Kbytes in %zu Request%s.\n", (l->octets + 1023) / 1024, l->messages, l->messages == 1 ? "" : "s");
}

/* ---- the command */

static int list(const char *path)
{
	static const char *const dirs[] = { "cur", "in" };
	struct listing l = { .now = clock_wall_s() };
	int queue = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), dir[2] = { -1, -1 };
	int status = EX_OK;

	for (size_t i = 0; queue != -1 && i < 2; i++) {
		dir[i] = openat(queue, dirs[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		/* A queue that nothing was ever put into has no directories yet. */
		if (dir[i] == -1 ? errno != ENOENT : gather(&l, dir[i]) == -1)
			status = errno == EACCES ? EX_NOPERM : EX_OSERR;
		if (status)
			break;
	}
	if (queue == -1)
		status = errno == ENOENT ? EX_NOINPUT : errno == EACCES ? EX_NOPERM : EX_OSERR;
	if (status)
		fprintf(stderr, "mailq: %s cannot be listed: %s.%s\n", path, strerror(errno),
			status == EX_NOPERM ? " Only root and the queue's owner may." :
			status == EX_NOINPUT ? " Is it the right configuration (-c FILE)? `fardel check` tells more." : "");
	else
		show_all(&l);
	for (size_t i = 0; i < l.n; i++)
		free(l.line[i].name);
	free(l.line);
	for (size_t i = 0; i < 2; i++)
		if (dir[i] != -1)
			close(dir[i]);
	if (queue != -1)
		close(queue);
	return status;
}

int cmd_mailq(int argc, char **argv)
{
	struct settings set;
	int status = settings_for_command(&set, argc, argv);

	if (status == 0)
		status = list(set.queue);
	settings_free(&set);
	if (fflush(stdout) == EOF && status == 0)
		status = EX_IOERR;
	return status;
}
