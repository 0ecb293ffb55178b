/* Lines about mail that has left. */
#include "cmd/sent.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/daily.h"
#include "lib/log.h"

enum {
	GATHER_MS = 1000,
	GATHER_OCTETS = 32 << 10        /* written at once when there is so much */
};

static struct daily kept = { .dir = -1, .fd = -1 };
static struct buf gathered;
static void write_gathered(struct timer *);
static struct timer soon = { .expired = write_gathered };

/* ---- writing */

static void write_gathered(struct timer *t)
{
	timer_stop(t);
	if (gathered.n)
		daily_add(&kept, loop_wall(), buf_view(&gathered));
	buf_clear(&gathered);
}

static void gather(struct buf *line)
{
	buf_char(line, '\n');
	if (line->bad)
		return;
	buf_str(&gathered, buf_view(line));
	if (gathered.n >= GATHER_OCTETS)
		write_gathered(&soon);
	else if (!timer_armed(&soon))
		timer_set(&soon, GATHER_MS);
}

int sent_start(int dir, unsigned days)
{
	if (!days)
		sent_stop();
	kept.days = (int)days;
	if (!days || kept.dir != -1)
		return 0;
	kept = (struct daily){ .event = "sent", .octets_max = SENT_DAY_MAX, .days = (int)days };
	return daily_open(&kept, dir, "sent");
}

void sent_stop(void)
{
	if (kept.dir == -1)
		return;
	write_gathered(&soon);
	daily_close(&kept);
	buf_free(&gathered);
}

static struct str whole(const struct addr *a)
{
	return (struct str){ a->local.p, a->local.n + (a->domain.n ? 1 + a->domain.n : 0) };
}

static struct str at_most(struct str s, size_t n) { return (struct str){ s.p, s.n < n ? s.n : n }; }

void sent_note(const struct mail *m, const struct rcpt *r, const struct result *res)
{
	struct buf line = { .max = SENT_LINE };

	if (kept.dir == -1 || res->what == RESULT_DEFERRED)
		return;
	buf_printf(&line, "1 time=%lld", (long long)loop_wall());
	daily_put_text(&line, "id", str_of(m->id));
	daily_put_text(&line, "of", m->alias_of);
	daily_put_text(&line, "from", whole(&m->from.addr));
	daily_put_text(&line, "to", whole(&r->to.addr));
	daily_put_text(&line, "what", str_of(res->what == RESULT_FAILED ? "failed" : r->expanded ? "expanded" : "delivered"));
	daily_put_text(&line, "status", r->status);
	daily_put_text(&line, "host", str_of(res->host));
	daily_put_text(&line, "words", at_most(r->words, SENT_WORDS - 1));
	daily_put_text(&line, "into", str_of(res->into));
	daily_put_text(&line, "envid", m->from.envid);
	gather(&line);
	buf_free(&line);
}

void sent_told(const char *id, const char *client, struct str lines)
{
	struct str one;

	while (kept.dir != -1 && str_cut(&lines, '\n', &one)) {
		struct buf line = { .max = SENT_LINE };

		buf_printf(&line, "1 time=%lld", (long long)loop_wall());
		daily_put_text(&line, "report", str_of(id));
		daily_put_text(&line, "client", str_of(client));
		buf_str(&line, one);
		gather(&line);
		buf_free(&line);
	}
}

/* ---- reading */

#define ROW(name) DAILY_ROW(struct sent, name)
static const struct daily_field rows[] = {
	ROW(time), ROW(id), ROW(of), ROW(into), ROW(from), ROW(to), ROW(what), ROW(status), ROW(host), ROW(words), ROW(envid), ROW(report),
	ROW(client), ROW(original), ROW(remote),
};

struct reading {
	void (*each)(void *, const struct sent *);
	void *arg;
};

static bool take_kept(void *arg, struct str line)
{
	const struct reading *r = arg;
	struct sent s = { .time = "" };

	if (line.n > SENT_DAY_MAX)
		return false;
	if (line.p[line.n - 1] == '\n' && daily_read((struct str){ line.p, line.n - 1 }, rows, sizeof rows / sizeof *rows, &s) && s.time[0])
		r->each(r->arg, &s);
	return true;
}

static int read_day(void *arg, int dir, const char *name) { return daily_lines(dir, name, take_kept, arg); }

int sent_each(const char *queue, void (*each)(void *arg, const struct sent *), void *arg)
{
	return daily_files(queue, "sent", 0, read_day, &(struct reading){ each, arg });
}
