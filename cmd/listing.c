/* The names in a queue, gathered by message. */
#include "cmd/listing.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "lib/loop.h"

enum {
	LOOKS = 2,
	SEARCHES = 20                   /* for what was renamed since; of a large queue each takes a while */
};

/* Read from its beginning, whoever else reads it. NULL with errno. */
static DIR *open_again(int dir)
{
	int own = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), saved;
	DIR *d = own == -1 ? NULL : fdopendir(own);

	if (!d && own != -1) {
		saved = errno;
		close(own);
		errno = saved;
	}
	return d;
}

/* False: no memory. Names that are none of ours are for the daemon to judge. */
static bool add_name(struct listing *l, int dir, unsigned look, const char *name)
{
	struct listed x = { .dir = dir, .look = look };

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

/* 0 or -1 with errno. */
static int gather(struct listing *l, int dir, unsigned look)
{
	DIR *d = open_again(dir);
	struct dirent *e;
	int saved = 0;

	if (!d)
		return -1;
	while (!saved && (errno = 0, e = readdir(d)))
		if (!add_name(l, dir, look, e->d_name))
			saved = ENOMEM;
	if (!saved)
		saved = errno;
	closedir(d);
	errno = saved;
	return saved ? -1 : 0;
}

static bool changed_since(int dir, time_t when)
{
	struct stat st;

	return dir != -1 && (fstat(dir, &st) == -1 || st.st_mtime >= when - 1);
}

/* readdir() may give neither name of what is renamed meanwhile; so where anything was, all is asked again. */
static int gather_all(struct listing *l)
{
	time_t began = time(NULL);

	for (unsigned look = 0; look < LOOKS; look++) {
		for (size_t i = 0; i < 2; i++)
			if (l->dir[i] != -1 && gather(l, l->dir[i], look) == -1)
				return -1;
		if (!changed_since(l->dir[0], began) && !changed_since(l->dir[1], began))
			break;
	}
	return 0;
}

/* The entries of a message together, what was met last of each first. */
static int by_entry(const void *a, const void *b)
{
	const struct listed *x = a, *y = b;
	int order = strcmp(x->entry.id, y->entry.id);

	if (!order)
		order = strcmp(x->entry.dest.p, y->entry.dest.p);       /* names end with it */
	return order ? order : x->look < y->look ? 1 : x->look > y->look ? -1 : strcmp(x->name, y->name);
}

static bool is_again(const struct listed *x, const struct listed *kept)
{
	return x->look < kept->look && !strcmp(x->entry.id, kept->entry.id) && str_eq(x->entry.dest, kept->entry.dest);
}

/* Of what several looks have met under one name or two, the last counts. */
static void drop_earlier(struct listing *l)
{
	size_t kept = 0;

	qsort(l->line, l->n, sizeof *l->line, by_entry);
	for (size_t i = 0; i < l->n; i++)
		if (kept && is_again(&l->line[i], &l->line[kept - 1]))
			free(l->line[i].name);
		else
			l->line[kept++] = l->line[i];
	l->n = kept;
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

enum { WIDTH_LEAST = 40, WIDTH_MOST = 100 };

static size_t terminal_width(void)
{
	struct winsize w;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == -1 || w.ws_col > WIDTH_MOST || !w.ws_col)
		return WIDTH_MOST;
	return w.ws_col < WIDTH_LEAST ? WIDTH_LEAST : w.ws_col;
}

void listing_wrap(size_t at, int indent, struct str words)
{
	size_t width = terminal_width();
	struct str word;
	bool first = true;

	while (str_word(&words, &word)) {
		if (!first && at + 1 + word.n > width)
			at = (size_t)printf("\n%*s", indent, "") - 1;
		else if (!first)
			at += (size_t)printf(" ");
		listing_show(stdout, word);
		at += word.n;
		first = false;
	}
	putchar('\n');
}

void listing_show_lines(FILE *out, struct str text, int indent)
{
	struct str line;

	while (str_cut(&text, '\n', &line)) {
		fprintf(out, "%*s", indent, "");
		listing_show(out, line);
		putc('\n', out);
	}
}

void listing_show_addr(FILE *out, const struct addr *a)
{
	listing_show(out, a->local);
	if (a->domain.n) {
		putc('@', out);
		listing_show(out, a->domain);
	}
}

void listing_show_waiting(FILE *out, const struct listing *l, size_t first, size_t end, const struct listed *x, const struct mail *m, size_t most)
{
	size_t n = 0;

	for (size_t i = 0; i < m->nrcpt; i++) {
		if (m->rcpt[i].state != RCPT_OPEN || !listing_waits_under(l, first, end, x, &m->rcpt[i]) || n++ >= most)
			continue;
		if (n > 1)
			fputs(", ", out);
		listing_show_addr(out, &m->rcpt[i].to.addr);
	}
	if (n > most)
		fprintf(out, " and %zu more", n - most);
}

const char *listing_span(int64_t s, char out[40])
{
	if (s < 0)
		s = 0;                  /* a clock that was set back */
	if (s >= 86400)
		snprintf(out, 40, "%" PRId64 " d %" PRId64 " h", s / 86400, s / 3600 % 24);
	else if (s >= 3600)
		snprintf(out, 40, "%" PRId64 " h %" PRId64 " min", s / 3600, s / 60 % 60);
	else if (s >= 60)
		snprintf(out, 40, "%" PRId64 " min", s / 60);
	else
		snprintf(out, 40, "%" PRId64 " s", s);
	return out;
}

const char *listing_size(uint64_t octets, char out[16])
{
	static const char units[] = "kMGTPE";
	double n = (double)octets / 1024;
	size_t u = 0;

	if (octets < 1024) {
		snprintf(out, 16, "%" PRIu64, octets);
		return out;
	}
	for (; n >= 1024 && units[u + 1]; u++)
		n /= 1024;
	snprintf(out, 16, n < 10 ? "%.1f%c" : "%.0f%c", n, units[u]);
	return out;
}

void listing_progress(const char *what, size_t done, size_t all)
{
	static time_t begun, last;      /* last: something stands there */
	time_t now;

	if (what && done == 0)
		begun = time(NULL);
	if (!what && last)
		fputs("\r\033[K", stderr);
	if (!what)
		last = 0;
	if (!what || done % 64 || !isatty(STDERR_FILENO) || (now = time(NULL)) == last || now == begun)
		return;
	last = now;
	fprintf(stderr, "\r\033[K%zu of %zu %s", done, all, what);
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

bool listing_address_is(const struct addr *a, struct str about)
{
	struct str domain = about, local;

	if (str_cut_last(&domain, '@', &local) && local.n)
		return domain.n ? str_eq(a->local, local) && str_eq_nocase(a->domain, domain) : str_eq_nocase(a->local, local) || str_eq_nocase(a->domain, local);
	return str_eq_nocase(a->domain, domain);
}

int64_t listing_arrival(const struct listed *x)
{
	char second[9] = "";

	str_copy(second, sizeof second, (struct str){ x->entry.id, 8 });
	return (int64_t)strtoul(second, NULL, 16);      /* entry_parse() has seen that these are digits */
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
		if (m->rcpt[i].state == RCPT_OPEN && listing_address_is(&m->rcpt[i].to.addr, about))
			return true;
	return false;
}

bool listing_about_entry(const struct listing *l, size_t first, size_t end, const struct listed *x, const struct mail *m, struct str about)
{
	if (listing_about(l, first, NULL, about) || (m && is_made_for(m, about, true)))
		return true;
	for (size_t i = 0; m && i < m->nrcpt; i++)
		if (m->rcpt[i].state == RCPT_OPEN && listing_address_is(&m->rcpt[i].to.addr, about) && listing_waits_under(l, first, end, x, &m->rcpt[i]))
			return true;
	return false;
}

/* ---- reading */

/* A queue that nothing was ever put into has none yet. */
static int open_dirs(struct listing *l, int queue)
{
	static const char *const name[] = { "cur", "in" };

	for (size_t i = 0; i < 2; i++)
		if ((l->dir[i] = openat(queue, name[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC)) == -1 && errno != ENOENT)
			return -1;
	return 0;
}

int listing_read(struct listing *l, const char *path, const char *command)
{
	int queue = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), status = EX_OK;

	*l = (struct listing){ .now = loop_wall(), .dir = { -1, -1 } };
	if (queue == -1 || open_dirs(l, queue) == -1 || gather_all(l) == -1)
		status = errno == EACCES ? EX_NOPERM : queue == -1 && errno == ENOENT ? EX_NOINPUT : EX_OSERR;
	if (status)
		fprintf(stderr, "fardel %s: %s cannot be listed: %s.%s\n", command, path, strerror(errno),
			status == EX_NOPERM ? " Only root and the queue's owner may, as it tells who writes to whom: call this with sudo.\n"
				"`sendmail --wait` tells everybody what becomes of his own message." :
			status == EX_NOINPUT ? " Is it the right configuration (-c FILE)? `fardel check` tells more." : "");
	if (l->n) {
		drop_earlier(l);
		qsort(l->line, l->n, sizeof *l->line, by_id);
	}
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

/* NULL, and *why NULL, when the name has gone. */
static struct mail *read_by(int dir, const char *name, const char **why)
{
	struct mail *m = mail_read(dir, name, why);

	if (!m && errno == ENOENT)
		*why = NULL;
	return m;
}

/* By the name that it has now. */
static struct mail *search(int dir, const char *id, const char **why)
{
	DIR *d = dir == -1 ? NULL : open_again(dir);
	struct mail *m = NULL;
	struct entry_name entry;
	struct dirent *e;

	while (d && !m && !*why && (e = readdir(d)))
		if (entry_parse(e->d_name, &entry) && !strcmp(entry.id, id))
			m = read_by(dir, e->d_name, why);
	if (d)
		closedir(d);
	return m;
}

struct mail *listing_open(const struct listing *l, size_t first, size_t end, const char **why)
{
	static unsigned searches;
	struct mail *m = NULL;

	*why = NULL;
	for (size_t i = first; i < end && !m; i++)
		m = read_by(l->line[i].dir, l->line[i].name, why);
	if (m || *why || searches++ >= SEARCHES)
		return m;
	for (size_t i = 0; i < 2 && !m && !*why; i++)
		m = search(l->dir[i], l->line[first].entry.id, why);
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

/* ---- sentences */

void listing_say_time(int64_t at, int64_t now)
{
	int64_t span = at > now ? at - now : now - at;
	time_t t = (time_t)at;
	char text[32], span_text[40];
	struct tm tm;

	if (!localtime_r(&t, &tm) || strftime(text, sizeof text, "%a %b %d %H:%M", &tm) == 0)
		snprintf(text, sizeof text, "%" PRId64, at);
	printf("%s (%s", text, at > now ? "in " : "");
	printf("%s%s)", listing_span(span, span_text), at > now ? "" : " ago");
}

void listing_say(const char *label, struct str words) { listing_wrap((size_t)printf("    %-12s", label), 16, words); }
