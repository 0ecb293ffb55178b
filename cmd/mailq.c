/* mailq: lists what is in the queue, in the forms that scripts know from Postfix: the text of mailq and the JSON of postqueue -j. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>

#include "cmd/control.h"
#include "cmd/fardel.h"
#include "cmd/listing.h"
#include "cmd/mailq.h"
#include "cmd/settings.h"
#include "dsn.h"
#include "lib/codec.h"
#include "parse.h"

static struct buf dests;                /* what the running program says of destinations; empty: none does */
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

/* "host mx.example said: 450 ...", or our own words */
static bool put_reason(struct buf *out, const struct rcpt *r)
{
	if (dsn_peer_spoke(r->host, r->words))
		buf_printf(out, "host " STR_FMT " said: ", STR_ARG(r->host));
	return buf_str(out, r->words);
}

/* Due, and not tried before another message gets through to there. */
static bool destination_is_down(const struct listing *l, const struct listed *x, struct control_dest *d)
{
	*d = (struct control_dest){ 0 };
	return !x->entry.held && x->entry.next <= l->now && control_find_dest(buf_view(&dests), x->entry.dest, d) && d->again > l->now;
}

static void show_reason(const struct listing *l, const struct listed *x, const struct rcpt *r)
{
	struct buf reason = { 0 };
	struct control_dest d;
	bool down = destination_is_down(l, x, &d);
	char at[32];

	put_reason(&reason, r);
	if (down && !reason.n)
		buf_str(&reason, d.words);
	printf("%*s(", 8, "");
	listing_show(stdout, buf_view(&reason));
	if (reason.n > 0)
		printf("; ");
	buf_free(&reason);
	if (x->entry.held) {
		printf("on hold)\n");    /* its name has forgotten the tries */
		return;
	}
	if (down)
		printf("the destination is down, one message tries it %s", show_time(d.again, at));
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

/* ---- as JSON: a line for each message */

static void put_addr(struct buf *out, const struct addr *a)
{
	struct buf text = { 0 };

	buf_str(&text, a->local);
	if (a->domain.n)
		buf_printf(&text, "@" STR_FMT, STR_ARG(a->domain));
	json_quote(out, buf_view(&text));
	buf_free(&text);
}

static void put_rcpt(struct buf *out, const struct listing *l, const struct listed *x, const struct rcpt *r)
{
	struct buf reason = { 0 };
	struct control_dest d;
	bool down = destination_is_down(l, x, &d);

	buf_puts(out, "{\"address\": ");
	put_addr(out, &r->to.addr);
	put_reason(&reason, r);
	if (down && !reason.n)
		buf_str(&reason, d.words);
	if (reason.n) {
		buf_puts(out, ", \"delay_reason\": ");
		json_quote(out, buf_view(&reason));
	}
	if (r->words.n)
		buf_printf(out, ", \"last_attempt\": %" PRId64, r->when);
	if (x->entry.held)
		buf_puts(out, ", \"tries\": null, \"state\": \"held\"");
	else
		buf_printf(out, ", \"tries\": %u, \"state\": \"%s\", \"next_attempt\": %" PRId64, x->entry.tries,
			down || x->entry.next > l->now ? "waiting" : "due", down ? d.again : x->entry.next);
	buf_char(out, '}');
	buf_free(&reason);
}

/* As Postfix has them: hold, deferred, and incoming for what has not been tried. */
static const char *queue_name(const struct listing *l, size_t first, size_t end, const struct mail *m)
{
	bool held = true, tried = false;

	for (size_t i = first; i < end; i++) {
		held = held && l->line[i].entry.held;
		tried = tried || l->line[i].entry.tries;
	}
	/* What did not count as an attempt was one for who watches the queue. */
	for (size_t k = 0; k < m->nrcpt && !tried; k++)
		tried = m->rcpt[k].state == RCPT_OPEN && m->rcpt[k].words.n;
	return held ? "hold" : tried ? "deferred" : "incoming";
}

static void put_recipients(struct buf *out, const struct listing *l, size_t first, size_t end, const struct mail *m, bool only_meant)
{
	const char *between = "";

	for (size_t i = first; i < end; i++)
		for (size_t k = 0; k < m->nrcpt; k++) {
			if ((only_meant && !l->line[i].meant) || m->rcpt[k].state != RCPT_OPEN ||
			    !listing_waits_under(l, first, end, &l->line[i], &m->rcpt[k]))
				continue;
			buf_puts(out, between);
			put_rcpt(out, l, &l->line[i], &m->rcpt[k]);
			between = ", ";
		}
}

bool mailq_print(const struct listing *l, size_t first, size_t end, const struct mail *m, const char *why, int64_t lifetime, bool only_meant)
{
	struct buf out = { 0 };
	bool printed = true;

	if (m) {
		buf_printf(&out, "{\"queue_name\": \"%s\", \"queue_id\": \"%s\", \"arrival_time\": %" PRId64 ", \"message_size\": %lld, "
			"\"forced_expire\": false, \"expires\": %" PRId64 ", \"sender\": ", queue_name(l, first, end, m), m->id, m->arrived,
			(long long)m->size, mail_began(m) + lifetime);
		put_addr(&out, &m->from.addr);
		buf_puts(&out, ", \"recipients\": [");
		put_recipients(&out, l, first, end, m, only_meant);
		buf_puts(&out, "]}\n");
	} else if (why) {
		buf_printf(&out, "{\"queue_name\": \"corrupt\", \"queue_id\": \"%s\", \"recipients\": [], \"error\": ", l->line[first].entry.id);
		json_quote(&out, str_of(why));
		buf_puts(&out, "}\n");
	}
	if (out.bad)
		printed = false;
	else
		fwrite(out.p, 1, out.n, stdout);
	buf_free(&out);
	return printed;
}

static int print_all(const struct listing *l, int64_t lifetime)
{
	for (size_t first = 0, end; first < l->n; first = end) {
		const char *why;
		struct mail *m;
		bool printed;

		end = listing_end(l, first);
		m = listing_open(l, first, end, &why);
		printed = mailq_print(l, first, end, m, why, lifetime, false);
		mail_free(m);
		if (!printed) {
			fprintf(stderr, "mailq: out of memory\n");
			return EX_OSERR;
		}
	}
	return EX_OK;
}

/* ---- the command */

static bool take_json(int *argc, char **argv)
{
	bool json = false;
	int n = 1;

	for (int i = 1; i < *argc; i++) {
		bool is = !strcmp(argv[i], "--json") || !strcmp(argv[i], "-j");

		json = json || is;
		if (!is)
			argv[n++] = argv[i];
	}
	*argc = n;
	return json;
}

int cmd_mailq(int argc, char **argv)
{
	struct settings set;
	struct listing l = { .dir = { -1, -1 } };
	bool json = take_json(&argc, argv);
	const char *silent;
	int status = settings_for_command(&set, argc, argv);

	if (status == 0 && (status = listing_read(&l, set.queue, "mailq")) == 0) {
		if (!control_ask(&set, "destinations", &dests, &silent))
			buf_clear(&dests);
		if (json)
			status = print_all(&l, set.queue_lifetime);
		else
			show_all(&l);
	}
	listing_free(&l);
	buf_free(&dests);
	settings_free(&set);
	if (fflush(stdout) == EOF && status == 0)
		status = EX_IOERR;
	return status;
}
