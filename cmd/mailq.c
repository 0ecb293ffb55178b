/* mailq: lists what is in the queue, in the form that scripts know from Postfix. */
#include <inttypes.h>
#include <stdio.h>
#include <sysexits.h>
#include <time.h>

#include "cmd/fardel.h"
#include "cmd/listing.h"
#include "cmd/settings.h"
#include "parse.h"

static uint64_t octets;                 /* shown so far */
static size_t messages;

/* "Mon Nov 23 09:00:00" in local time */
static const char *show_time(int64_t wall, char out[32])
{
	time_t t = (time_t)wall;
	struct tm tm;

	if (!localtime_r(&t, &tm) || strftime(out, 32, "%a %b %d %H:%M:%S", &tm) == 0)
		snprintf(out, 32, "%" PRId64, wall);
	return out;
}

static void show_reason(const struct listing *l, const struct listed *x, const struct rcpt *r)
{
	char at[32];

	printf("%*s(", 8, "");
	if (words_are_reply(r->words) && r->host.n > 0 && !str_eq(r->host, STR("-"))) {
		printf("host ");
		listing_show(stdout, r->host);
		printf(" said: ");
	}
	listing_show(stdout, r->words);
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
static void show_entry(const struct listing *l, size_t first, size_t end, const struct listed *x, const struct mail *m)
{
	const struct rcpt *before = NULL;

	for (size_t i = 0; i < m->nrcpt; i++) {
		const struct rcpt *r = &m->rcpt[i];

		if (r->state != RCPT_OPEN || !listing_waits_under(l, first, end, x, r))
			continue;
		if (!before || !same_reason(before, r))
			show_reason(l, x, r);
		before = r;
		printf("%*s", 57, "");
		listing_show_addr(stdout, &r->to.addr);
		putchar('\n');
	}
}

/* The entries first..end-1 are of one message. */
static void show_message(const struct listing *l, size_t first, size_t end)
{
	const char *why;
	struct mail *m = listing_open(l, first, end, &why);
	char at[32];

	if (!m && !why)
		return;
	messages++;
	if (!m) {
		printf("%-25s %8s %20s (cannot be read: %s)\n\n", l->line[first].entry.id, "-", "-", why);
		return;
	}
	octets += (uint64_t)m->size;
	printf("%-24s%c %8lld %20s ", m->id, l->line[first].entry.held ? '!' : ' ', (long long)m->size, show_time(m->arrived, at));
	if (addr_is_null(&m->from.addr))
		printf("MAILER-DAEMON");
	else
		listing_show_addr(stdout, &m->from.addr);
	putchar('\n');
	for (size_t i = first; i < end; i++)
		show_entry(l, first, end, &l->line[i], m);
	putchar('\n');
	mail_free(m);
}

static void show_all(const struct listing *l)
{
	octets = messages = 0;
	if (l->n > 0)
		printf("%-25s %8s %20s %s\n", "-Queue ID-", "--Size--", "----Arrival Time----", "-Sender/Recipient-------");
	for (size_t first = 0, end; first < l->n; first = end) {
		end = listing_end(l, first);
		show_message(l, first, end);
	}
	if (messages == 0)
		printf("Mail queue is empty\n");
	else
		printf("-- %" PRIu64 " Kbytes in %zu Request%s.\n", (octets + 1023) / 1024, messages, messages == 1 ? "" : "s");
}

int cmd_mailq(int argc, char **argv)
{
	struct settings set;
	struct listing l = { .dir = { -1, -1 } };
	int status = settings_for_command(&set, argc, argv);

	if (status == 0 && (status = listing_read(&l, set.queue, "mailq")) == 0)
		show_all(&l);
	listing_free(&l);
	settings_free(&set);
	if (fflush(stdout) == EOF && status == 0)
		status = EX_IOERR;
	return status;
}
