/* queue list, queue show: what waits, in words for people; as JSON it is what mailq says. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "cmd/mailq.h"
#include "cmd/views.h"
#include "lib/file.h"
#include "parse.h"

enum {
	ADDRESSES = 3,                  /* in one line of a list */
	SHOWN_AT_MOST = 50,             /* messages that are shown whole */
	HEADER_MAX = 256 * 1024,
	BLOCK = 65536
};

static int nothing(const struct queue_words *q, const struct listing *l)
{
	if (l->n == 0)
		printf("The queue is empty.\n");
	else if (!select_is_empty(&q->which))
		printf("Nothing in the queue is meant by that.\n");
	return select_is_empty(&q->which) ? EX_OK : 1;
}

/* ---- list */

static const char *state_of(const struct listing *l, const struct listed *x)
{
	return x->entry.held ? "held" : x->entry.next <= l->now ? "due" : x->entry.tries ? "deferred" : "new";
}

static void list_entry(const struct listing *l, size_t first, size_t end, const struct listed *x, const struct mail *m)
{
	char age[40], next[40] = "-", size[16] = "?", tries[16] = "-";

	if (!x->entry.held)
		snprintf(tries, sizeof tries, "%u", x->entry.tries);
	if (!x->entry.held && x->entry.next > l->now)
		listing_span(x->entry.next - l->now, next);
	printf("%-24s %11s %6s %-8s %11s %5s  ", x->entry.id, listing_span(l->now - listing_arrival(x), age),
		m ? listing_size((uint64_t)m->size, size) : size, state_of(l, x), next, tries);
	if (!m) {
		printf("cannot be read\n");
		return;
	}
	putchar('<');
	listing_show_addr(stdout, &m->from.addr);
	printf("> to ");
	listing_show_waiting(stdout, l, first, end, x, m, ADDRESSES);
	putchar('\n');
}

/* Of one message. Returns how many entries were meant. */
static size_t list_message(const struct settings *set, const struct queue_words *q, struct listing *l, size_t first, size_t end, uint64_t *octets,
	bool title)
{
	struct mail *m;
	size_t n = select_mark(&q->which, l, first, end, &m);
	const char *why = NULL;

	if (n && !m)
		m = listing_open(l, first, end, &why);
	if (!m && !why)
		n = 0;                          /* it has left */
	if (n && q->json)
		mailq_print(l, first, end, m, why, set->queue_lifetime, true);
	if (n && !q->json && title)
		printf("%-24s %11s %6s %-8s %11s %5s  %s\n", "ID", "AGE", "SIZE", "STATE", "NEXT TRY IN", "TRIES", "FROM, TO");
	for (size_t i = first; n && !q->json && i < end; i++)
		if (l->line[i].meant)
			list_entry(l, first, end, &l->line[i], m);
	*octets += n && m ? (uint64_t)m->size : 0;
	mail_free(m);
	return n;
}

int queue_list(const struct settings *set, const struct queue_words *q)
{
	struct listing l;
	int status = listing_read(&l, set->queue, "queue");
	size_t messages = 0, entries = 0;
	uint64_t octets = 0;
	char size[16];

	for (size_t first = 0, end, n; status == 0 && first < l.n; first = end) {
		end = listing_end(&l, first);
		n = list_message(set, q, &l, first, end, &octets, entries == 0);
		messages += n > 0;
		entries += n;
	}
	if (status == 0 && !entries && !q->json)
		status = nothing(q, &l);
	else if (status == 0 && !q->json)
		printf("%zu message%s in %zu %s, %s octets\n", messages, messages == 1 ? "" : "s", entries, entries == 1 ? "entry" : "entries",
			listing_size(octets, size));
	else if (status == 0 && !entries)
		status = select_is_empty(&q->which) ? EX_OK : 1;
	listing_free(&l);
	return status;
}

/* ---- show: envelope */

static void say_time(int64_t at)
{
	time_t t = (time_t)at;
	char text[64];
	struct tm tm;

	if (!localtime_r(&t, &tm) || strftime(text, sizeof text, "%a %b %d %H:%M:%S %Y", &tm) == 0)
		snprintf(text, sizeof text, "%" PRId64, at);
	printf("%s", text);
}

static void field(const char *name, struct str value)
{
	if (!value.n)
		return;
	printf("  %-10s ", name);
	listing_show(stdout, value);
	putchar('\n');
}

static void show_rcpt(const struct listing *l, size_t first, size_t end, const struct mail *m, const struct rcpt *r)
{
	static const char *const words[] = { "waits", "delivered", "failed" };
	char span[40];

	printf("  to         ");
	listing_show_addr(stdout, &r->to.addr);
	printf(": %s", r->expanded ? "sent on by alias" : words[r->state]);
	for (size_t i = first; r->state == RCPT_OPEN && i < end; i++) {
		const struct listed *x = &l->line[i];

		if (!listing_waits_under(l, first, end, x, r))
			continue;
		if (x->entry.held)
			printf(", on hold");
		else if (m->release > l->now)
			printf(", held for its sender");
		else if (x->entry.next > l->now)
			printf(", next try in %s", listing_span(x->entry.next - l->now, span));
		else
			printf(", due now");
		if (!x->entry.held)
			printf(", tries %u", x->entry.tries);
		break;
	}
	putchar('\n');
}

static void show_names(const struct listing *l, size_t first, size_t end)
{
	for (size_t i = first; i < end; i++) {
		printf("  file       %s/", l->line[i].dir == l->dir[0] ? "cur" : "in");
		listing_show(stdout, str_of(l->line[i].name));
		putchar('\n');
	}
}

static void show_orders(const struct settings *set, const char *id)
{
	int queue = open(set->queue, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct buf text = { 0 };
	const char *wrong = queue == -1 ? NULL : order_read(queue, id, &text);
	struct str rest = buf_view(&text), line;

	if (wrong)
		printf("  order      cannot be understood: %s\n", wrong);
	while (str_cut(&rest, '\n', &line))
		field("order", line);
	buf_free(&text);
	if (queue != -1)
		close(queue);
}

static void show_envelope(const struct listing *l, size_t first, size_t end, const struct mail *m)
{
	char size[16];

	printf("%s\n  came       ", m->id);
	say_time(m->arrived);
	putchar('\n');
	field("by", m->origin);
	printf("  size       %s octets\n  from       <", listing_size((uint64_t)m->size, size));
	listing_show_addr(stdout, &m->from.addr);
	printf(">%s%s%s\n", m->from.smtputf8 ? " SMTPUTF8" : "", m->from.requiretls ? " REQUIRETLS" : "",
		m->from.body == BODY_8BITMIME ? " BODY=8BITMIME" : m->from.body == BODY_BINARYMIME ? " BODY=BINARYMIME" : "");
	field("envid", m->from.envid);
	field("alias of", m->alias_of);
	if (m->release) {
		printf("  not before ");
		say_time(m->release);
		putchar('\n');
	}
	for (size_t i = 0; i < m->nrcpt; i++)
		show_rcpt(l, first, end, m, &m->rcpt[i]);
	show_names(l, first, end);
}

/* ---- show: what has happened to it */

static const struct {
	const char *what, *words;
} happenings[] = {
	{ "delivered", "delivered to" }, { "relayed", "handed on for" }, { "expanded", "sent on by alias:" }, { "failed", "failed for" },
	{ "deferred", "put off:" }, { "linked", "from here on apart:" }, { "reported", "its sender has been sent a report" },
	{ "delayed", "its sender has been told that it takes longer" }, { "said", "what was said to" },
};

/* "3<b@y>" -> b@y, which is what people know. */
static struct str who_of(struct str who)
{
	struct str number;

	if (str_cut(&who, '<', &number) && who.n && who.p[who.n - 1] == '>')
		who.n--;
	return who;
}

static void show_told(const struct told *t)
{
	size_t i = 0;

	printf("  ");
	say_time(t->when);
	printf("  ");
	while (i < sizeof happenings / sizeof *happenings && !str_eq(t->what, str_of(happenings[i].what)))
		i++;
	if (i < sizeof happenings / sizeof *happenings)
		printf("%s", happenings[i].words);
	else
		listing_show(stdout, t->what);
	if (t->who.n) {
		putchar(' ');
		listing_show(stdout, who_of(t->who));
	}
	if (t->host.n) {
		printf(" by ");
		listing_show(stdout, t->host);
	}
	if (t->words.n && str_eq(t->what, STR("said"))) {
		printf(":\n");
		listing_show_lines(stdout, t->words, 4);
		return;
	}
	if (t->words.n) {
		printf(": ");
		listing_show(stdout, t->words);
	}
	putchar('\n');
}

static void show_story(const struct mail *m)
{
	struct buf story = { 0 };
	struct str rest;
	struct told t;
	bool any = false;

	if (mail_story(m, &story) == -1) {
		printf("\nIts journal cannot be read: %s\n", strerror(errno));
		buf_free(&story);
		return;
	}
	rest = buf_view(&story);
	while (mail_told(&rest, &t)) {
		if (!any)
			printf("\n");
		any = true;
		show_told(&t);
	}
	if (!any)
		printf("\n  Nothing has been tried yet.\n");
	buf_free(&story);
}

/* ---- show: the message */

/* Lines for a terminal: printable characters, UTF-8 as it is, tabs; CR LF ends a line. */
static void print_text(struct str s)
{
	while (s.n) {
		size_t n = utf8_sequence(s);

		if (*s.p == '\r' && s.n > 1 && s.p[1] == '\n')
			n = 0;
		else if (n && ((unsigned char)*s.p >= 0x80 || ascii_print(*s.p) || *s.p == '\t' || *s.p == '\n'))
			fwrite(s.p, 1, n, stdout);
		else
			putchar('?');
		s = str_from(s, n ? n : 1);
	}
}

/* The empty line that ends a header, or 0. */
static size_t end_of_header(struct str s)
{
	for (size_t i = 0; i + 3 < s.n; i++)
		if (!memcmp(s.p + i, "\r\n\r\n", 4))
			return i + 2;
	return 0;
}

static void show_message(const struct mail *m, bool body)
{
	off_t most = body ? m->size : m->size < HEADER_MAX ? m->size : HEADER_MAX;
	char block[BLOCK];

	putchar('\n');
	for (off_t at = 0; at < most; ) {
		ssize_t n = file_pread(m->fd, block, most - at < BLOCK ? (size_t)(most - at) : BLOCK, m->at + at);
		struct str s = { block, n > 0 ? (size_t)n : 0 };
		size_t end = body ? 0 : end_of_header(s);

		if (n <= 0)
			break;
		print_text(end ? (struct str){ s.p, end } : s);
		if (end)
			break;
		at += n;
	}
}

static bool show_one(const struct settings *set, const struct queue_words *q, struct listing *l, size_t first, size_t end)
{
	const char *why;
	struct mail *m = listing_open(l, first, end, &why);

	if (!m && why)
		printf("%s: cannot be read: %s\n", l->line[first].entry.id, why);
	if (m) {
		show_envelope(l, first, end, m);
		show_orders(set, m->id);
		show_story(m);
		show_message(m, q->body);
		mail_free(m);
	}
	return m || why;
}

int queue_show(const struct settings *set, const struct queue_words *q)
{
	struct listing l;
	int status = listing_read(&l, set->queue, "queue");
	size_t shown = 0, more = 0;

	if (q->json) {
		listing_free(&l);
		fprintf(stderr, "fardel queue show: --json goes with list and shape\n");
		return EX_USAGE;
	}
	for (size_t first = 0, end; status == 0 && first < l.n; first = end) {
		struct mail *m;
		bool meant;

		end = listing_end(&l, first);
		meant = select_mark(&q->which, &l, first, end, &m) > 0;
		mail_free(m);
		if (meant && shown == SHOWN_AT_MOST) {
			more++;
		} else if (meant) {
			if (shown)
				printf("\n----\n");
			shown += show_one(set, q, &l, first, end);
		}
	}
	if (more)
		printf("\n... and %zu more messages. `fardel queue list` lists all of them.\n", more);
	if (status == 0 && !shown)
		status = nothing(q, &l);
	listing_free(&l);
	return status;
}
