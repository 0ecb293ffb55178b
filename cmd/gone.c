/* What became of mail that has left, and what its hosts reported of it later: told from what is kept (cmd/sent.h). */
#include "cmd/gone.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/listing.h"
#include "cmd/sent.h"
#include "dsn.h"
#include "lib/loop.h"

enum {
	GONE_MOST = 20,                 /* recipients that are told of: the last ones */
	TOLD_MOST = 5                   /* reports of one of them, likewise */
};

/* A recipient whose mail has left, and what was reported of it. */
struct gone {
	struct sent s;
	struct sent told[TOLD_MOST];
	size_t ntold;
	bool reports_alone;             /* nothing is known but a report: s is the first one */
};
struct search {
	struct str about;
	size_t n;                       /* that were found; the last GONE_MOST of them are kept */
	struct gone *gone;              /* the i-th is at i % GONE_MOST */
};

static int64_t time_of(const struct sent *s) { return strtoll(s->time, NULL, 10); }

/* ---- finding */

static bool is_address(const char *address, struct str about)
{
	struct str domain = str_of(address), local = STR("");
	struct addr a;

	if (!str_cut_last(&domain, '@', &local))
		local = domain;
	a = (struct addr){ local, domain };
	return *address && listing_address_is(&a, about);
}

static bool is_id(const char *id, struct str about)
{
	return about.n >= ID_SHORTEST && str_starts_nocase(str_of(id), about);
}

static bool is_meant(const struct sent *s, struct str about)
{
	return is_id(s->id, about) || is_id(s->of, about) || is_id(s->report, about) || is_address(s->to, about) || is_address(s->original, about) ||
		is_address(s->from, about) || (s->envid[0] && str_eq(str_of(s->envid), about));
}

static struct gone *add(struct search *q, const struct sent *s)
{
	struct gone *g = &q->gone[q->n++ % GONE_MOST];

	*g = (struct gone){ .s = *s };
	return g;
}

static bool same_rcpt(const struct sent *s, const struct sent *told)
{
	return str_eq_nocase(str_of(s->to), str_of(told->to)) || (told->original[0] && str_eq_nocase(str_of(s->to), str_of(told->original)));
}

/* By the id in what came back; without one by the address, of what left last. A host that sends mail on reports of an address that we have never
 * heard of: then the id has to do, where the message had one recipient alone. */
static struct gone *reported_on(const struct search *q, const struct sent *told)
{
	size_t first = q->n > GONE_MOST ? q->n - GONE_MOST : 0, same = 0;
	struct gone *any = NULL;

	for (size_t i = q->n; i-- > first; ) {
		struct gone *g = &q->gone[i % GONE_MOST];
		bool id = !strcmp(g->s.id, told->id) || !strcmp(g->s.of, told->id);

		if (g->reports_alone || (told->id[0] && !id))
			continue;
		if (same_rcpt(&g->s, told) || (told->envid[0] && !strcmp(g->s.envid, told->envid)))
			return g;
		if (told->id[0]) {
			any = g;
			same++;
		}
	}
	return same == 1 ? any : NULL;
}

static void look_for_mail(void *arg, const struct sent *s)
{
	struct search *q = arg;

	if (!s->report[0] && is_meant(s, q->about))
		add(q, s);
}

/* A report may have come before it was written down where the message went: they are looked for when all mail is known. */
static void look_for_reports(void *arg, const struct sent *s)
{
	struct search *q = arg;
	struct gone *g = s->report[0] ? reported_on(q, s) : NULL;

	if (!g) {
		if (s->report[0] && is_meant(s, q->about))
			add(q, s)->reports_alone = true;
		return;
	}
	if (g->ntold == TOLD_MOST)
		memmove(g->told, g->told + 1, (TOLD_MOST - 1) * sizeof *g->told);
	else
		g->ntold++;
	g->told[g->ntold - 1] = *s;
}

/* ---- telling */

static void say_at(const char *label, const struct sent *s, int64_t now)
{
	printf("    %-12s", label);
	listing_say_time(time_of(s), now);
	putchar('\n');
}

static void say_meaning(const struct sent *s, const char *host)
{
	struct dsn_cause cause = dsn_cause(str_of(host), str_of(s->status), str_of(s->words));

	if (cause.meaning)
		listing_say("this means", str_of(cause.meaning));
}

/* "mx.example.org said: 250 2.0.0 ok" */
static void say_words(const char *label, const char *host, const char *verb, const char *words)
{
	struct buf text = { .max = 4096 };

	if (*host)
		buf_printf(&text, "%s%s%s", host, verb, *words ? ": " : "");
	buf_puts(&text, words);
	listing_say(label, buf_view(&text));
	buf_free(&text);
}

/* "that has failed", by the host that answers for it. */
static const struct { const char *action, *words; } actions[] = {
	{ "failed", "it could not be delivered" }, { "delayed", "it is delayed, and still being tried" },
	{ "delivered", "it is in the mailbox" }, { "relayed", "it went on to a host that reports nothing" },
	{ "expanded", "it went on to several addresses" },
};

static void tell_report(const struct sent *s, int64_t now)
{
	const char *words = s->what;
	struct buf text = { .max = 1024 };

	for (size_t i = 0; i < sizeof actions / sizeof *actions; i++)
		if (!strcmp(actions[i].action, s->what))
			words = actions[i].words;
	say_at("came back", s, now);
	buf_printf(&text, "%s reports that %s", s->host, words);
	if (*s->to)
		buf_printf(&text, " (to %s)", s->to);
	listing_say("a report", buf_view(&text));
	buf_free(&text);
	if (*s->words || *s->remote)
		say_words("it says", s->remote, " said", s->words);
	say_meaning(s, *s->remote ? s->remote : s->host);
	printf("    %-12sis message %s, from [%s]\n", "the report", s->report, s->client);
}

static void say_first_line(const struct gone *g)
{
	const struct sent *s = &g->s;

	printf("%s", *s->id ? s->id : s->report);
	if (g->reports_alone) {
		printf(", of which nothing else is kept\n");
		return;
	}
	printf(", from <");
	listing_show(stdout, str_of(s->from));
	printf(">, to ");
	listing_show(stdout, str_of(s->to));
	if (*s->of)
		printf(", by an alias, of %s", s->of);
	putchar('\n');
}

static void tell(const struct gone *g, int64_t now)
{
	const struct sent *s = &g->s;

	say_first_line(g);
	if (g->reports_alone) {
		tell_report(s, now);
		return;
	}
	if (!strcmp(s->what, "expanded")) {
		say_at("an alias", s, now);
		listing_say("it went to", str_of(s->words));
	} else {
		say_at(!strcmp(s->what, "failed") ? "failed" : "it left", s, now);
		say_words("what came", s->host, " said", s->words);
		if (!strcmp(s->what, "failed"))
			say_meaning(s, s->host);
	}
	for (size_t i = 0; i < g->ntold; i++)
		tell_report(&g->told[i], now);
}

size_t gone_tell(const struct settings *set, struct str about, bool behind)
{
	struct search q = { .about = about, .gone = calloc(GONE_MOST, sizeof *q.gone) };
	size_t first;

	if (!about.n || !q.gone)
		goto out;
	if ((sent_each(set->queue, look_for_mail, &q) == -1 || sent_each(set->queue, look_for_reports, &q) == -1) && errno != ENOENT)
		fprintf(stderr, "fardel why: what was kept of mail that has left cannot be read: %s\n", strerror(errno));
	first = q.n > GONE_MOST ? q.n - GONE_MOST : 0;
	if (first)
		printf("%s%zu more recipients had mail before that. Ask for an id or an address.\n", behind ? "\n" : "", first);
	for (size_t i = first; i < q.n; i++) {
		if (behind || first || i)
			putchar('\n');
		tell(&q.gone[i % GONE_MOST], loop_wall());
	}
out:
	free(q.gone);
	return q.n;
}
