/* why: tells of a message in the queue why it is still here, what happens next, and what can be done; of one that has left, where it went. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "cmd/control.h"
#include "cmd/fardel.h"
#include "cmd/gone.h"
#include "cmd/listing.h"
#include "cmd/settings.h"
#include "deliver/tlsseen.h"
#include "dsn.h"
#include "lib/clock.h"
#include "parse.h"

enum { SHOWN_AT_MOST = 50, ALIASES_AT_MOST = 5 };

struct question {
	struct str said, about;         /* as it was asked, and what it is taken for */
	const struct settings *set;
	struct buf dests;               /* what the running program says of destinations; empty: none runs, or it does not tell */
	bool runs;
	bool verbose;
	size_t told, more;              /* messages */
};

/* ---- one entry: the recipients that wait for the same destination */

static void say_last(const struct rcpt *r, const struct listed *x, int64_t now, bool verbose)
{
	struct buf text = { .max = 4096 };
	struct dsn_cause cause = dsn_cause(r->host, r->status, r->words);

	if (!r->words.n) {
		if (x->entry.tries == 0)
			listing_say("so far", STR("it has not been tried yet."));
		return;
	}
	printf("    %-12s", "last try");
	listing_say_time(r->when, now);
	if (x->entry.tries)
		printf(", attempt %u\n", x->entry.tries);
	else if (x->entry.held)
		putchar('\n');          /* the name of what is on hold does not say */
	else
		printf(", not counted as an attempt\n");
	if (dsn_peer_spoke(r->host, r->words))
		buf_printf(&text, STR_FMT " said: ", STR_ARG(r->host));
	buf_str(&text, r->words);
	listing_say("what came", buf_view(&text));
	buf_free(&text);
	if (verbose && r->said.n) {
		printf("    in detail   > we said, < they said\n");
		listing_show_lines(stdout, r->said, 16);
	}
	if (cause.meaning)
		listing_say("this means", str_of(cause.meaning));
	if (cause.remedy)
		listing_say("remedy", str_of(cause.remedy));
}

/* A domain that has used TLS and does not any more. */
static void say_tls(const struct rcpt *r)
{
	struct tlsseen seen;
	char tls[40], clear[40];

	if (tlsseen_look(r->to.addr.domain, &seen) && seen.clear >= seen.tls)
		printf("    %-12swas used to there until %.10s; on %.10s mail went in clear\n", "TLS", clock_rfc3339(seen.tls, tls),
			clock_rfc3339(seen.clear, clear));
}

static void say_next(const struct question *q, const struct listed *x, const struct mail *m, int64_t now)
{
	int64_t end = mail_began(m) + q->set->queue_lifetime, notice = mail_began(m) + q->set->delay_notice;
	struct control_dest d = { 0 };
	bool known = control_find_dest(buf_view(&q->dests), x->entry.dest, &d);

	if (d.connections && !x->entry.held && m->release <= now)
		printf("    %-12sit is being tried, or waits for its turn: %" PRIu64 " connection%s to there\n", "now", d.connections, d.connections == 1 ? "" : "s");
	printf("    %-12s", "next");
	if (x->entry.held) {
		printf("nothing: it is on hold, until somebody releases it; it is not given up before\n");
		return;
	}
	if (m->release > now) {
		printf("its sender wants it held until ");
		listing_say_time(m->release, now);
	} else if (x->entry.next > now) {
		printf("tried again ");
		listing_say_time(x->entry.next, now);
	} else if (!q->set->deliver)
		printf("nothing: the setting deliver is no");
	else if (known && d.again) {
		printf("its destination is down%s: one message tries it again ", d.ours ? " by a fault of this host or its settings" : "");
		listing_say_time(d.again, now);
		printf(", and when that gets through the others follow");
	} else if (!q->runs)
		printf("due: tried by the next fardel serve or fardel flush; no server says that it runs");
	else if (d.connections)
		printf("if that is in vain, the time of the next try is set then");
	else
		printf("due: tried as soon as a place is free, or when another message to there shows that it is up again");
	putchar('\n');
	if (q->set->delay_notice && !addr_is_null(&m->from.addr) && end > notice) {
		printf("    %-12s", "");
		if (m->delay_told)
			printf("the sender has been told that it takes longer\n");
		else {
			printf("the sender is told that it takes longer ");
			listing_say_time(notice, now);
			putchar('\n');
		}
	}
	printf("    %-12sgiven up ", "");
	listing_say_time(end, now);
	printf("%s%s\n", known && d.ours ? " at the earliest" : "",
		addr_is_null(&m->from.addr) ? "" : "; then its sender gets a report");
}

static void offer(const char *label, const char *what, const char *command, const struct question *q, const struct listed *x)
{
	printf("    %-12s%s:  fardel %s%s%s %s\n", label, what, command, q->set->said.file ? " -c " : "", q->set->said.file ? q->set->said.file : "", x->entry.id);
}

static void say_remedies(const struct question *q, const struct listed *x)
{
	if (x->entry.held)
		offer("you can", "release it", "queue release", q, x);
	else
		offer("you can", "try it now", "queue retry", q, x);
	offer("", "drop it", "queue drop", q, x);
}

static void tell_entry(const struct question *q, const struct listing *l, size_t first, size_t end, const struct listed *x, const struct mail *m)
{
	const struct rcpt *any = NULL;

	for (size_t i = 0; i < m->nrcpt; i++) {
		const struct rcpt *r = &m->rcpt[i];

		if (r->state != RCPT_OPEN || !listing_waits_under(l, first, end, x, r))
			continue;
		/* Those of one destination were told the same, or each has words of its own. */
		if (any && (!str_eq(any->words, r->words) || !str_eq(any->host, r->host)))
			say_last(any, x, l->now, q->verbose);
		printf("  to ");
		listing_show_addr(stdout, &r->to.addr);
		putchar('\n');
		any = r;
	}
	if (!any)
		return;
	say_last(any, x, l->now, q->verbose);
	say_tls(any);
	say_next(q, x, m, l->now);
	say_remedies(q, x);
}

/* ---- one message */

static void say_done(const struct mail *m)
{
	size_t delivered = 0, failed = 0, untold = 0, aliases = 0;

	for (size_t i = 0; i < m->nrcpt; i++) {
		const struct rcpt *r = &m->rcpt[i];

		delivered += r->state == RCPT_DELIVERED && !r->expanded;
		failed += r->state == RCPT_FAILED;
		untold += r->state == RCPT_FAILED && !r->reported && (!r->to.notify || r->to.notify & NOTIFY_FAILURE);
		aliases += r->expanded;
		if (!r->expanded || aliases > ALIASES_AT_MOST)
			continue;
		printf("  ");
		listing_show_addr(stdout, &r->to.addr);
		printf(" was ");
		listing_show(stdout, r->words);
		putchar('\n');
	}
	if (aliases > ALIASES_AT_MOST)
		printf("  and so were %zu other recipients\n", aliases - ALIASES_AT_MOST);
	if (delivered)
		printf("  %zu of %zu recipients have got it\n", delivered, m->nrcpt);
	if (failed)
		printf("  %zu of %zu recipients have failed\n", failed, m->nrcpt);
	if (untold && !addr_is_null(&m->from.addr))
		printf("  its sender is to be told of %zu of them: of many reports one is made a second\n", untold);
}

/* "made by the alias staff@here.example of 6b04..." */
static void say_alias(const struct mail *m)
{
	struct str rest = m->alias_rcpts, address;
	size_t n = 0;

	if (!m->alias_of.n)
		return;
	printf("  sent on by alias for ");
	for (; listing_next_alias(&rest, &address); n++) {
		if (n >= ALIASES_AT_MOST)
			continue;
		printf("%s", n ? ", " : "");
		listing_show(stdout, address);
	}
	printf("%s; the message itself is or was ", n > ALIASES_AT_MOST ? " and others" : "");
	listing_show(stdout, m->alias_of);
	putchar('\n');
}

static void tell_message(struct question *q, const struct listing *l, size_t first, size_t end)
{
	const char *why;
	struct mail *m = listing_open(l, first, end, &why);

	if ((!m && !why) || !listing_about(l, first, m, q->about)) {
		mail_free(m);
		return;
	}
	if (q->told == SHOWN_AT_MOST) {
		q->more++;
		mail_free(m);
		return;
	}
	printf("%s%s", q->told++ ? "\n" : "", l->line[first].entry.id);
	if (!m) {
		printf(": cannot be read: %s\n", why);
		return;
	}
	printf(", %lld octets, from <", (long long)m->size);
	listing_show_addr(stdout, &m->from.addr);
	printf(">, here since ");
	listing_say_time(m->arrived, l->now);
	putchar('\n');
	say_alias(m);
	for (size_t i = first; i < end; i++)
		tell_entry(q, l, first, end, &l->line[i], m);
	say_done(m);
	mail_free(m);
}

/* ---- the command */

static int tell(struct question *q)
{
	struct listing l;
	int status = listing_read(&l, q->set->queue, "why"), dir = open(q->set->queue, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	tlsseen_start(dir, "tls-seen", false);

	for (size_t first = 0, end; status == 0 && first < l.n; first = end) {
		end = listing_end(&l, first);
		tell_message(q, &l, first, end);
	}
	listing_free(&l);
	tlsseen_stop();
	if (dir != -1)
		close(dir);
	if (status == 0 && q->more)
		printf("\n... and %zu more messages. Ask for an id, an address or a domain.\n", q->more);
	if (status == 0 && !q->told && !q->about.n)
		printf("The queue is empty: nothing waits.\n");
	else if (status == 0 && !gone_tell(q->set, q->about, q->told) && !q->told) {
		printf("Nothing in the queue is about \"");
		listing_show(stdout, q->said);
		printf("\", nor anything that left within sent_days: it never came here, or the log has the rest.\n");
		status = 1;
	}
	return status;
}

static int ask_and_tell(struct question *q)
{
	const char *silent;
	int status;

	q->runs = control_ask(q->set, "destinations", &q->dests, &silent);
	if (!q->runs)
		buf_clear(&q->dests);
	status = tell(q);
	buf_free(&q->dests);
	return status;
}

/* Neither an address nor a domain, nor the beginning of an id: whoever has this name, wherever. */
static bool may_be_a_user(struct str word)
{
	bool id = word.n >= ID_SHORTEST;

	for (size_t i = 0; i < word.n; i++) {
		if (strchr("@.:[", word.p[i]))
			return false;
		id = id && strchr("0123456789abcdefABCDEF", word.p[i]);
	}
	return word.n && word.n <= LOCAL_MAX && !id;
}

/* The one word that is no option is the question; the others are for the settings. */
int cmd_why(int argc, char **argv)
{
	struct arguments a = { 0 };
	struct settings set = { 0 };
	struct question q = { .set = &set };
	char user[LOCAL_MAX + 2];
	const char *wrong;
	int status;

	for (int i = 1; i < argc; i++) {
		if (arguments_take(&a, argc, argv, &i, &wrong)) {
			if (!wrong)
				continue;
			fprintf(stderr, "fardel why: %s\n", wrong);
			return EX_USAGE;
		}
		if (!strcmp(argv[i], "-v") || !strcmp(argv[i], "--verbose")) {
			q.verbose = true;
			continue;
		}
		if (!argv[i][0] || argv[i][0] == '-' || q.about.n) {
			fprintf(stderr, "fardel why: does not know \"%s\". Write fardel why [-v] [-c FILE] [ID | ADDRESS | DOMAIN]\n", argv[i]);
			return EX_USAGE;
		}
		q.about = str_of(argv[i]);
	}
	q.said = q.about;
	if (may_be_a_user(q.about)) {
		snprintf(user, sizeof user, STR_FMT "@", STR_ARG(q.about));
		q.about = str_of(user);
	}
	status = settings_load(&set, &a) ? ask_and_tell(&q) : settings_complain(&set);
	settings_free(&set);
	if (fflush(stdout) == EOF && status == 0)
		status = EX_IOERR;
	return status;
}
