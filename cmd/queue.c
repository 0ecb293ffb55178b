/* queue: shows what waits, and does with it what mv and rm would do with its names, after it has said to which. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "cmd/fardel.h"
#include "cmd/views.h"
#include "cmd/select.h"
#include "cmd/settings.h"
#include "lib/file.h"
#include "parse.h"

enum { SHOWN_AT_MOST = 50, ADDRESSES = 20, ROWS_MAX = 1 << 19 };

struct job {
	const struct action *action;
	const struct settings *set;
	struct selection which;
	const char *value;              /* of an order: the reason, the way */
	bool yes;                       /* not to be asked */
	int queue;                      /* the directory */
	size_t meant, done;
	size_t passed;                  /* it is not for these, though they are meant */
};

/* Each names an entry anew, in the same directory. False: it is not for this entry. An empty name: it is removed. */
struct action {
	const char *word, *doing, *done;
	bool (*name)(const struct listed *, int64_t now, char *name, size_t size);
	const char *order;              /* verb of the row that is laid beside it first; NULL: none */
	bool by_domain;                 /* ... for whole domains */
	const char *not_for;            /* what is true of those that it is not for */
};

static bool print(char *name, size_t size, int64_t next, const char *tries, const struct entry_name *e)
{
	return (size_t)snprintf(name, size, "%" PRId64 ".%s.%s." STR_FMT, next, tries, e->id, STR_ARG(e->dest)) < size;
}

static bool due_now(const struct listed *x, int64_t now, char *name, size_t size)
{
	char tries[16];

	snprintf(tries, sizeof tries, "%u", x->entry.tries);
	return print(name, size, now, tries, &x->entry);
}

static bool retry(const struct listed *x, int64_t now, char *name, size_t size)
{
	return !x->entry.held && due_now(x, now, name, size);
}

static bool hold(const struct listed *x, int64_t now, char *name, size_t size)
{
	(void)now;
	return !x->entry.held && print(name, size, x->entry.next, "H", &x->entry);
}

static bool release(const struct listed *x, int64_t now, char *name, size_t size)
{
	return x->entry.held && print(name, size, now, "0", &x->entry);
}

static bool drop(const struct listed *x, int64_t now, char *name, size_t size)
{
	(void)x;
	(void)now;
	(void)size;
	*name = '\0';
	return true;
}

static const struct action actions[] = {
	{ "retry", "try now", "due now", retry, NULL, false, "on hold (`fardel queue release` has them tried)" },
	{ "hold", "hold", "on hold", hold, NULL, false, "on hold already" },
	{ "release", "release", "released", release, NULL, false, "not on hold" },
	{ "drop", "drop, without a word to the sender,", "dropped", drop, NULL, false, NULL },
	{ "fail", "give up, with a report to the sender,", "given up", due_now, "fail", false, NULL },
	{ "reroute", "send another way, now,", "to go another way", due_now, "route", true, NULL },
};

/* ---- one entry */

/* Whom it is about: all that wait under the name, as far as that goes by names; orders may be for some of them. */
static bool concerns(const struct job *j, const struct listing *l, size_t first, size_t end, const struct listed *x, const struct rcpt *r)
{
	return r->state == RCPT_OPEN && listing_waits_under(l, first, end, x, r) && (!j->action->order || select_rcpt(&j->which, l, first, r));
}

static void show(const struct job *j, const struct listing *l, size_t first, size_t end, const struct listed *x, const struct mail *m)
{
	const char *between = "> to ";
	size_t n = 0;

	printf("%s %s", j->action->doing, x->entry.id);
	if (j->action->by_domain)
		printf(" by %s", j->value);
	if (m) {
		printf(" from <");
		listing_show_addr(stdout, &m->from.addr);
	}
	for (size_t i = 0; m && i < m->nrcpt; i++) {
		if (!concerns(j, l, first, end, x, &m->rcpt[i]) || n++ >= ADDRESSES)
			continue;
		printf("%s", between);
		listing_show_addr(stdout, &m->rcpt[i].to.addr);
		between = ", ";
	}
	if (n > ADDRESSES)
		printf(" and %zu more", n - ADDRESSES);
	putchar('\n');
}

static void complain(const struct listed *x, const char *what)
{
	printf("%s: %s: %s\n", x->entry.id, what, strerror(errno));
}

/* A row for each domain that waits under this name, or for each address when only some are meant and that matters. */
static bool make_rows(const struct job *j, const struct listing *l, size_t first, size_t end, const struct listed *x, const struct mail *m,
	struct buf *rows)
{
	bool apart = select_names_rcpts(&j->which) && !j->action->by_domain;
	const struct addr *last = NULL;

	for (size_t i = 0; i < m->nrcpt; i++) {
		const struct addr *a = &m->rcpt[i].to.addr;

		if (!concerns(j, l, first, end, x, &m->rcpt[i]) || (!apart && last && str_eq_nocase(last->domain, a->domain)))
			continue;
		last = a;
		buf_printf(rows, "%s ", j->action->order);
		if (apart)
			print_addr(rows, a);
		else
			buf_str(rows, a->domain.n ? a->domain : STR("*"));
		buf_printf(rows, " %s\n", j->value);
	}
	return !rows->bad;
}

static bool order(struct job *j, const struct listing *l, size_t first, size_t end, const struct listed *x, const struct mail *m)
{
	struct buf rows = { .max = ROWS_MAX };
	bool ok = m && make_rows(j, l, first, end, x, m, &rows);

	errno = m ? EFBIG : ENOENT;
	if (ok)
		ok = queue_order(j->queue, x->entry.id, buf_view(&rows)) == 0;
	buf_free(&rows);
	return ok;
}

/* Whoever delivers may be faster: a name that is not there any more is being tried, or is done. */
static void has_moved_on(const struct job *j, const struct listed *x)
{
	if (!j->action->order) {
		printf("%s has moved on in the meantime: it is being tried, or has left\n", x->entry.id);
		return;
	}
	printf("%s is being tried just now, or has left: if it stays, the order counts next\n", x->entry.id);
}

static void carry_out(struct job *j, const struct listing *l, size_t first, size_t end, const struct listed *x, const struct mail *m)
{
	char name[NAME_MAX + 1];
	int r;

	if (!j->action->name(x, l->now, name, sizeof name))
		return;
	if (j->action->order && !order(j, l, first, end, x, m)) {
		complain(x, "the order cannot be written");
		return;
	}
	r = !*name ? unlinkat(x->dir, x->name, 0) : !strcmp(name, x->name) ? faccessat(x->dir, name, F_OK, AT_SYMLINK_NOFOLLOW) : file_sys.rename(x->dir, x->name, x->dir, name);
	if (r == 0)
		j->done++;
	else if (errno == ENOENT)
		has_moved_on(j, x);
	else
		complain(x, j->action->word);
}

/* ---- all that are meant */

/* Marks them, and shows the first ones. */
static void choose(struct job *j, struct listing *l)
{
	char name[NAME_MAX + 1];
	const char *why;

	for (size_t first = 0, end; first < l->n; first = end) {
		struct mail *m;

		end = listing_end(l, first);
		listing_progress("looked at", first, l->n);
		select_mark(&j->which, l, first, end, &m);
		for (size_t i = first; i < end; i++) {
			struct listed *x = &l->line[i];

			j->passed += x->meant;
			x->meant = x->meant && j->action->name(x, l->now, name, sizeof name);
			j->passed -= x->meant;
			if (!x->meant || j->meant++ >= SHOWN_AT_MOST)
				continue;
			if (!m)
				m = listing_open(l, first, end, &why);
			listing_progress(NULL, 0, 0);
			show(j, l, first, end, x, m);
		}
		mail_free(m);
	}
	listing_progress(NULL, 0, 0);
	if (j->meant > SHOWN_AT_MOST)
		printf("... and so with %zu more. `fardel queue list` with the same words shows all of them.\n", j->meant - SHOWN_AT_MOST);
}

static volatile sig_atomic_t interrupted;

static void interrupt(int signal)
{
	(void)signal;
	interrupted = 1;
}

/* Who stops it is told how far it has come: what is done is done. */
static void carry_out_all(struct job *j, const struct listing *l)
{
	signal(SIGINT, interrupt);
	for (size_t first = 0, end, seen = 0; first < l->n && !interrupted; first = end) {
		struct mail *m = NULL;
		const char *why;

		end = listing_end(l, first);
		for (size_t i = first; i < end; i++) {
			if (!l->line[i].meant || interrupted)
				continue;
			listing_progress(j->action->done, seen++, j->meant);
			if (!m && j->action->order)
				m = listing_open(l, first, end, &why);
			carry_out(j, l, first, end, &l->line[i], m);
		}
		mail_free(m);
	}
	listing_progress(NULL, 0, 0);
}

static bool agreed(const struct job *j)
{
	char answer[16];

	if (j->yes)
		return true;
	if (!isatty(STDIN_FILENO)) {
		printf("Nothing was done. Say --yes if that is what you want.\n");
		return false;
	}
	printf("Shall it be done? [y/N] ");
	fflush(stdout);
	return fgets(answer, sizeof answer, stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

static void say_end(struct job *j)
{
	bool poked = queue_poke(j->set->queue) == 0;

	printf("%zu of %zu %s%s\n", j->done, j->meant, j->action->done, interrupted ? "; the others are as they were" : "");
	if (!poked && j->action->name != hold && j->action->name != drop)
		printf("Nobody delivers from this queue now: it is done by the next `fardel serve` or `fardel flush`.\n");
}

static int run(struct job *j)
{
	struct listing l;
	int status = listing_read(&l, j->set->queue, "queue");

	if (status == 0) {
		choose(j, &l);
		if (j->passed && j->action->not_for)
			printf("Passed over: %zu, %s.\n", j->passed, j->action->not_for);
		if (!j->meant) {
			printf("There is nothing in the queue to %s for that.\n", j->action->word);
			status = 1;
		} else if (!agreed(j)) {
			status = EX_USAGE;
		} else {
			j->queue = open(j->set->queue, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
			carry_out_all(j, &l);
			say_end(j);
			status = j->done == j->meant ? 0 : 1;
			if (j->queue != -1)
				close(j->queue);
		}
	}
	listing_free(&l);
	return status;
}

/* ---- the command */

static const struct {
	const char *word;
	int (*run)(const struct settings *, const struct queue_words *);
} views[] = { { "list", queue_list }, { "show", queue_show }, { "shape", queue_shape } };

static int wrong_use(const char *word, const char *why)
{
	if (word)
		fprintf(stderr, "fardel queue: %s %s. ", *word ? word : "\"\"", why ? why : "is not known");
	else
		fprintf(stderr, "fardel queue: %s. ", why ? why : "what is to be done is missing");
	fprintf(stderr, "`fardel queue --help` and fardel(8) say what may stand there.\n");
	return EX_USAGE;
}

/* fail: a line of its own in the file of orders, and in the report. */
static const char *check_reason(const char *reason)
{
	for (const char *c = reason; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			return "is one line of text";
	return *reason && strlen(reason) < REPLY_TEXT - 1 ? NULL : "needs some words, 510 octets at most";
}

struct line {
	struct arguments a;
	struct queue_words words;
	const char *reason, *way;
	bool yes;
};

/* What may stand behind the verb, which is argv[verb]. False: *why about *word. */
static bool take_words(struct line *c, int argc, char **argv, int verb, const char **word, const char **why)
{
	for (int i = verb + 1; i < argc; i++) {
		*word = argv[i];
		*why = NULL;
		if (arguments_take(&c->a, argc, argv, &i, why)) {
			if (*why) {
				*word = NULL;   /* it is named there */
				return false;
			}
		} else if (select_option(&c->words.which, argc, argv, &i, why)) {
			if (*why)
				return false;
		} else if (!strcmp(argv[i], "--yes")) {
			c->yes = true;
		} else if (!strcmp(argv[i], "--json") || !strcmp(argv[i], "-j")) {
			c->words.json = true;
		} else if (!strcmp(argv[i], "--body")) {
			c->words.body = true;
		} else if (!strcmp(argv[i], "--reason")) {
			c->reason = i + 1 < argc ? argv[++i] : "";
			if ((*why = check_reason(c->reason)))
				return false;
		} else if (argv[i][0] == '-') {
			return false;
		} else if ((*why = select_word(&c->words.which, argv[i]))) {
			return false;
		}
	}
	return true;
}

static int act(const struct action *action, const struct settings *set, const struct line *c)
{
	struct job j = { .action = action, .set = set, .which = c->words.which, .yes = c->yes,
		.value = c->way ? c->way : c->reason ? c->reason : "given up by those who look after this mail system" };
	struct route r;
	const char *wrong = c->way ? route_to(&set->routes, str_of(c->way), STR("example.org"), &r) : NULL;

	return wrong ? wrong_use(c->way, wrong) : run(&j);
}

int cmd_queue(int argc, char **argv)
{
	struct line c = { 0 };
	struct settings set = { 0 };
	const struct action *action = NULL;
	int (*view)(const struct settings *, const struct queue_words *) = NULL;
	const char *word, *why = NULL;
	int status, verb = 1;

	while (verb < argc && arguments_take(&c.a, argc, argv, &verb, &why) && !why)
		verb++;
	word = verb < argc && !why ? argv[verb] : NULL;
	for (size_t i = 0; word && i < sizeof actions / sizeof *actions; i++)
		if (!strcmp(word, actions[i].word))
			action = &actions[i];
	for (size_t i = 0; word && i < sizeof views / sizeof *views; i++)
		if (!strcmp(word, views[i].word))
			view = views[i].run;
	if ((!action && !view) || !take_words(&c, argc, argv, verb, &word, &why))
		return wrong_use(word, why);
	if (c.reason && !(action && action->order && !action->by_domain))
		return wrong_use("--reason", "goes with fail alone: of all else nobody is told a reason");
	if (action && (c.words.json || c.words.body))
		return wrong_use(c.words.json ? "--json" : "--body", "goes with what shows: list, show and shape");
	/* reroute: the last word says where to. */
	if (action && action->by_domain && c.words.which.nwords)
		c.way = c.words.which.word[--c.words.which.nwords].p;
	if (action && action->by_domain && !c.way)
		return wrong_use(action->word, "needs a selection, and behind it a host, the URL of a route, or mx");
	if (action && select_is_empty(&c.words.which))
		return wrong_use(action->word, "needs an id, an address, a domain, options that choose, or the word all");
	status = !settings_load(&set, &c.a) ? settings_complain(&set) : view ? view(&set, &c.words) : act(action, &set, &c);
	settings_free(&set);
	if (fflush(stdout) == EOF && status == 0)
		status = EX_IOERR;
	return status;
}
