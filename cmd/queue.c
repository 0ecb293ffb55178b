/* queue: does with messages what mv and rm would do with their names, after it has shown which. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "cmd/fardel.h"
#include "cmd/listing.h"
#include "cmd/settings.h"
#include "lib/file.h"

struct job {
	const struct action *action;
	const struct settings *set;
	struct str about;
	bool yes;                       /* not to be asked */
	size_t meant, done;
};

/* Each names an entry anew, in the same directory. "": it is not for this entry; no name at all: it is removed. */
struct action {
	const char *word, *doing, *done;
	bool (*name)(const struct listed *, int64_t now, char *name, size_t size);
};

static bool print(char *name, size_t size, int64_t next, const char *tries, const struct entry_name *e)
{
	return (size_t)snprintf(name, size, "%" PRId64 ".%s.%s." STR_FMT, next, tries, e->id, STR_ARG(e->dest)) < size;
}

static bool retry(const struct listed *x, int64_t now, char *name, size_t size)
{
	char tries[16];

	snprintf(tries, sizeof tries, "%u", x->entry.tries);
	return !x->entry.held && print(name, size, now, tries, &x->entry);
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
	{ "retry", "try now", "due now", retry },
	{ "hold", "hold", "on hold", hold },
	{ "release", "release", "released", release },
	{ "drop", "drop, without a word to the sender,", "dropped", drop },
};

/* ---- one entry */

static void show(const struct job *j, const struct listing *l, size_t first, size_t end, const struct listed *x, const struct mail *m)
{
	const char *between = " to ";

	printf("%s %s", j->action->doing, x->entry.id);
	if (m) {
		printf(" from <");
		listing_show_addr(stdout, &m->from.addr);
		putchar('>');
	}
	for (size_t i = 0; m && i < m->nrcpt; i++) {
		if (m->rcpt[i].state != RCPT_OPEN || !listing_waits_under(l, first, end, x, &m->rcpt[i]))
			continue;
		printf("%s", between);
		listing_show_addr(stdout, &m->rcpt[i].to.addr);
		between = ", ";
	}
	putchar('\n');
}

static void carry_out(struct job *j, const struct listed *x, int64_t now)
{
	char name[NAME_MAX + 1];
	int r;

	if (!j->action->name(x, now, name, sizeof name))
		return;
	r = !*name ? unlinkat(x->dir, x->name, 0) : !strcmp(name, x->name) ? 0 : file_sys.rename(x->dir, x->name, x->dir, name);
	if (r == 0)
		j->done++;
	else if (errno == ENOENT)
		printf("%s has moved on in the meantime: it is being tried, or has left\n", x->entry.id);
	else
		printf("%s: %s\n", x->entry.id, strerror(errno));
}

/* ---- all that are meant */

typedef void each(struct job *, const struct listing *, size_t first, size_t end, const struct listed *, const struct mail *);

static void count_and_show(struct job *j, const struct listing *l, size_t first, size_t end, const struct listed *x, const struct mail *m)
{
	char name[NAME_MAX + 1];

	if (!j->action->name(x, l->now, name, sizeof name))
		return;
	j->meant++;
	show(j, l, first, end, x, m);
}

static void do_it(struct job *j, const struct listing *l, size_t first, size_t end, const struct listed *x, const struct mail *m)
{
	(void)first;
	(void)end;
	(void)m;
	carry_out(j, x, l->now);
}

static void walk(struct job *j, const struct listing *l, each *call)
{
	for (size_t first = 0, end; first < l->n; first = end) {
		const char *why;
		struct mail *m;

		end = listing_end(l, first);
		m = listing_open(l, first, end, &why);
		for (size_t i = first; (m || why) && i < end; i++)
			if (listing_about_entry(l, first, end, &l->line[i], m, j->about))
				call(j, l, first, end, &l->line[i], m);
		mail_free(m);
	}
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

static int run(struct job *j)
{
	struct listing l;
	int status = listing_read(&l, j->set->queue, "queue");

	if (status == 0) {
		walk(j, &l, count_and_show);
		if (!j->meant) {
			printf("There is nothing in the queue to %s for that.\n", j->action->word);
			status = 1;
		} else if (!agreed(j)) {
			status = EX_USAGE;
		} else {
			walk(j, &l, do_it);
			printf("%zu of %zu %s\n", j->done, j->meant, j->action->done);
			status = j->done == j->meant ? 0 : 1;
			queue_poke(j->set->queue);      /* nobody delivers from it: then the next one who does will see it */
		}
	}
	listing_free(&l);
	return status;
}

/* ---- the command */

static int wrong_use(const char *word)
{
	if (word)
		fprintf(stderr, "fardel queue: does not know \"%s\". ", word);
	fprintf(stderr, "Write fardel queue retry|hold|release|drop [--yes] [-c FILE] ID|ADDRESS|DOMAIN|all\n");
	return EX_USAGE;
}

int cmd_queue(int argc, char **argv)
{
	struct arguments a = { 0 };
	struct settings set = { 0 };
	struct job j = { .set = &set };
	const char *wrong;
	int status;

	for (size_t i = 0; argc > 1 && i < sizeof actions / sizeof *actions; i++)
		if (!strcmp(argv[1], actions[i].word))
			j.action = &actions[i];
	if (!j.action)
		return wrong_use(argc > 1 ? argv[1] : NULL);
	for (int i = 2; i < argc; i++) {
		if (arguments_take(&a, argc, argv, &i, &wrong)) {
			if (wrong)
				return wrong_use(wrong);
		} else if (!strcmp(argv[i], "--yes")) {
			j.yes = true;
		} else if (argv[i][0] == '-' || j.about.n) {
			return wrong_use(argv[i]);
		} else {
			j.about = str_of(argv[i]);
		}
	}
	if (!j.about.n)
		return wrong_use(NULL);
	if (str_eq(j.about, STR("all")))
		j.about = STR("");
	status = settings_load(&set, &a) ? run(&j) : settings_complain(&set);
	settings_free(&set);
	if (fflush(stdout) == EOF && status == 0)
		status = EX_IOERR;
	return status;
}
