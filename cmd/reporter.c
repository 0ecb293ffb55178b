/* When reports are made, and that each goes out once. */
#include "cmd/reporter.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmd/report.h"
#include "lib/file.h"
#include "lib/log.h"
#include "parse.h"
#include "queue.h"

enum {
	AGAIN_S = 3600,                 /* for domains whose records could not be had, and to see whether a day is over */
	PATIENCE_S = 24 * 3600,         /* then they get none (RFC 8460 5.5) */
	ASK_MS = 15000,                 /* for the records of one domain: a thousand that do not answer hold the others up for four hours */
	BLOCK = 64 << 10                /* octets of a file that are counted in a turn */
};

/* ---- when */

static int64_t begin_of(int32_t day) { return (int64_t)day * DAILY_S; }
static bool ends_day(const struct reporter *r) { return r->end == begin_of(r->day + 1); }

static uint64_t chance(const struct reporter *r, int64_t end, const char *domain)
{
	static const uint64_t key[2] = { 0x7265706f72747320u, 0x6f66206120646179u };
	char text[3 * DOMAIN_MAX + 64];
	int n = snprintf(text, sizeof text, "%s %lld %.255s %s", r->kind->event, (long long)end, r->hostname, domain);

	return siphash(key, text, (size_t)n);
}

/* Chance, but the same one after a restart. */
static int64_t due_at(const struct reporter *r, int64_t end)
{
	return end + (int64_t)(chance(r, end, "") % (uint64_t)r->kind->delay_s);
}

/* The end of the last period of a day that is due. 0: there is none. */
static int64_t end_due(const struct reporter *r, int32_t day)
{
	int64_t now = loop_wall(), end = begin_of(day + 1);

	if (now < end)
		end -= (end - now + r->kind->period_s - 1) / r->kind->period_s * r->kind->period_s;
	if (due_at(r, end) > now)
		end -= r->kind->period_s;
	return end > begin_of(day) && end != r->told_until ? end : 0;
}

/* The first day behind `after` that has a file that is due. -1: none. What is too old to be of use is for daily_add() to remove. */
static int32_t next_day(const struct reporter *r, int32_t after)
{
	int fd = openat(r->kept.dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd == -1 ? NULL : fdopendir(fd);
	int32_t first = -1, oldest = (int32_t)(loop_wall() / DAILY_S) - r->kept.days;

	if (!d) {
		if (fd != -1)
			close(fd);
		return -1;
	}
	for (struct dirent *x; (x = readdir(d));) {
		int32_t day = strchr(x->d_name, '.') ? -1 : daily_day(x->d_name);

		if (day > after && day >= oldest && (first == -1 || day < first) && end_due(r, day))
			first = day;
	}
	closedir(d);
	return first;
}

static void look_later(struct reporter *r)
{
	int64_t now = loop_wall(), end = now - now % r->kind->period_s, left;

	left = due_at(r, end) - now;
	if (left <= 0)
		left = due_at(r, end + r->kind->period_s) - now;
	timer_set(&r->look, 1000 * (left < AGAIN_S ? left : AGAIN_S));
}

static void forget_facts(struct reporter *r)
{
	timer_stop(&r->deadline);
	facts_free(r->facts);
	r->facts = NULL;
	r->late = false;
}

static void forget(struct reporter *r)
{
	forget_facts(r);
	if (r->fd != -1)
		close(r->fd);
	r->fd = -1;
	buf_free(&r->text);
	tally_free(&r->counted, r->kind->clear);
	r->busy = r->committing = r->undecided = false;
}

/* The next file of the round, from the oldest to that of today. */
static void next_file(struct reporter *r)
{
	char name[DAILY_NAME];

	r->day = next_day(r, r->day);
	if (r->day == -1) {
		look_later(r);
		return;
	}
	r->end = end_due(r, r->day);
	r->busy = true;
	daily_name(r->day, name);
	r->fd = openat(r->kept.dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (r->fd == -1) {
		log_event(LOG_ERROR, r->kind->event, LF(L_TEXT("day", name), L_TEXT("error", strerror(errno))));
		forget(r);
	}
	task_post(&r->work);
}

static void begin_round(struct timer *t)
{
	struct reporter *r = owner_of(t, struct reporter, look);

	r->day = -1;
	next_file(r);
}

/* ---- the end of a file */

/* No later attempt will be made for it. */
static bool is_last(const struct reporter *r)
{
	return ends_day(r) && loop_wall() + AGAIN_S >= r->end + r->kind->delay_s + PATIENCE_S;
}

static void warn(const struct reporter *r, const char *why)
{
	char name[DAILY_NAME];

	daily_name(r->day, name);
	log_event(LOG_WARN, r->kind->event, LF(L_TEXT("day", name), L_NUM("left_out", (long long)r->counted.left_out), L_TEXT("reason", why)));
}

/* The day is over, and nobody needs its file any more. */
static void put_away(struct reporter *r)
{
	char name[DAILY_NAME], sent[DAILY_NAME + 8];

	daily_name(r->day, name);
	snprintf(sent, sizeof sent, "%s.sent", name);
	if (r->counted.left_out)
		warn(r, "there was no room to count all of it");
	if (r->undecided)
		warn(r, "some could not be made in a day, and are not any more");
	if (file_sys.rename(r->kept.dir, name, r->kept.dir, sent) == -1 &&
	    (errno != EEXIST || file_sys.unlink(r->kept.dir, name) == -1))         /* EEXIST: the clock went back */
		log_event(LOG_ERROR, r->kind->event, LF(L_TEXT("day", name), L_TEXT("error", strerror(errno))));
}

/* It stays to be looked at for as long as others do; a part of a day is looked at with the next one again. */
static void end_file(struct reporter *r)
{
	if (!ends_day(r))
		r->told_until = r->end;
	else if (!r->undecided || is_last(r))
		put_away(r);
	forget(r);
	next_file(r);
}

static struct tally_domain *domain_now(const struct reporter *r) { return owner_of(r->next, struct tally_domain, node); }

static void next_domain(struct reporter *r)
{
	forget_facts(r);
	r->next = list_next(&r->counted.domains, r->next);
	task_post(&r->work);
}

/* ---- one report */

/* Behind what was counted: who starts again does not send it twice. */
static void note_sent(struct reporter *r)
{
	struct buf line = { 0 };
	char name[DAILY_NAME], until[24];
	int fd;

	daily_name(r->day, name);
	snprintf(until, sizeof until, "%lld", (long long)r->end);
	buf_printf(&line, "1 time=%lld", (long long)loop_wall());
	daily_put(&line, "sent", str_of(domain_now(r)->name));
	daily_put(&line, "until", str_of(until));
	buf_char(&line, '\n');
	fd = file_sys.open(r->kept.dir, name, O_WRONLY | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd == -1 || line.bad || file_write(fd, line.p, line.n) == -1)
		log_event(LOG_ERROR, r->kind->event, LF(L_TEXT("day", name), L_TEXT("domain", domain_now(r)->name), L_TEXT("error", strerror(errno))));
	if (fd != -1)
		close(fd);
	buf_free(&line);
}

static void committed(void *arg, bool ok)
{
	struct reporter *r = arg;

	if (r->forgotten) {             /* they come to their end in the order in which they were begun */
		r->forgotten--;
		return;
	}
	r->committing = false;
	if (ok)
		note_sent(r);
	else
		r->undecided = true;
	next_domain(r);
}

/* Same period, same domain: the same report, which the queue has at most once. */
static void report_id(const struct reporter *r, char id[ID_MAX])
{
	snprintf(id, ID_MAX, "%08" PRIx32 "%016" PRIx64, (uint32_t)due_at(r, r->end), chance(r, r->end, domain_now(r)->name));
}

/* Who takes as much as the message has. False: no memory. */
static bool make_envelope(struct reporter *r, struct envelope *e, const struct rua *to, size_t octets)
{
	struct sender nobody = { 0 };   /* a report that does not arrive is nobody's loss: no report of that */
	bool ok = envelope_sender(e, &nobody) && envelope_origin(e, "%s for %s", r->kind->name, domain_now(r)->name);

	for (size_t i = 0; ok && i < to->n; i++) {
		struct recipient one = { .notify = NOTIFY_NEVER };

		if (to->to[i].size_max && octets > to->to[i].size_max)
			log_event(LOG_WARN, r->kind->event, LF(L_TEXT("domain", domain_now(r)->name), L_TEXT("to", to->to[i].address),
				L_NUM("octets", (long long)octets), L_TEXT("reason", "it is larger than the address takes")));
		else
			ok = !parse_address(str_of(to->to[i].address), false, &one.addr) && envelope_rcpt(e, &one);
	}
	return ok;
}

static bool print(struct reporter *r, struct buf *text, const struct rua *to)
{
	const char *address[RUA_MAX];
	struct reporter_message m = { .domain = domain_now(r), .to = address, .nto = to->n, .end = r->end, .now = loop_wall() };

	for (size_t i = 0; i < to->n; i++)
		address[i] = to->to[i].address;
	return r->kind->print(text, &m);
}

/* False: it did not get into the queue, and shall be made later. */
static bool submit(struct reporter *r, const struct rua *to)
{
	struct envelope e = { 0 };
	struct buf text = { 0 };
	struct draft *d = NULL;
	char id[ID_MAX];
	struct reply why;
	bool done = false;

	report_id(r, id);
	if (!queue_accepting(&why) || !print(r, &text, to))
		goto end;
	report_sign(&text, id);
	if (!make_envelope(r, &e, to, text.n))
		goto end;
	if (!e.nrcpt) {                 /* nobody takes it */
		next_domain(r);
		done = true;
		goto end;
	}
	d = queue_draft(&e, id);
	if (!d || draft_write(d, text.p, text.n) == -1)
		goto end;
	log_event(LOG_INFO, r->kind->event, LF(L_TEXT("id", id), L_TEXT("domain", domain_now(r)->name), L_TEXT("to", to->to[0].address)));
	r->committing = true;
	queue_commit(d, committed, r);
	d = NULL;
	done = true;
end:
	if (d)
		draft_abort(d);
	envelope_free(&e);
	buf_free(&text);
	return done;
}

static bool begin_asking(struct reporter *r)
{
	r->facts = facts_new(&r->work, r->kind->lookups);
	if (!r->facts)
		return false;
	facts_for_stranger(r->facts);
	timer_set(&r->deadline, ASK_MS);
	return true;
}

static void facts_are_late(struct timer *t)
{
	struct reporter *r = owner_of(t, struct reporter, deadline);

	r->late = true;
	task_post(&r->work);
}

static void report_domain(struct reporter *r)
{
	struct tally_domain *d = domain_now(r);
	struct buf why = { 0 };
	struct rua to = { 0 };
	enum verdict known;

	if (d->told || !r->kind->has_news(d, r->end)) {
		next_domain(r);
		return;
	}
	if (!r->facts && !begin_asking(r)) {
		r->undecided = true;
		next_domain(r);
		return;
	}
	known = r->kind->find(r->facts, d, &to, &why);
	if (known == WAIT && r->late)
		known = REFUSE;
	if (known != WAIT && why.n)
		log_event(LOG_INFO, r->kind->event, LF(L_TEXT("domain", d->name), L_TEXT("reason", buf_cstr(&why))));
	buf_free(&why);
	if (known == WAIT)
		return;
	if (known == REFUSE && !is_last(r))
		r->undecided = true;
	else if (to.n && !submit(r, &to))
		r->undecided = true;
	else if (to.n)
		return;
	next_domain(r);
}

static void count_more(struct reporter *r)
{
	char *to = buf_reserve(&r->text, BLOCK);
	ssize_t n = to ? read(r->fd, to, BLOCK) : -1;

	if (n > 0) {
		r->text.n += (size_t)n;
		tally_take(&r->counted, &r->text, r->kind->count);
		if (r->text.n > r->kind->line_max)      /* no line of ours */
			buf_clear(&r->text);
		task_post(&r->work);
		return;
	}
	if (n == -1)
		log_event(LOG_ERROR, r->kind->event, LF(L_TEXT("error", strerror(errno))));
	close(r->fd);
	r->fd = -1;
	r->next = list_first(&r->counted.domains);
	task_post(&r->work);
}

static void go_on(struct task *t)
{
	struct reporter *r = owner_of(t, struct reporter, work);

	if (r->committing)
		return;
	if (!r->busy)
		next_file(r);
	else if (r->fd != -1)
		count_more(r);
	else if (r->next)
		report_domain(r);
	else
		end_file(r);
}

/* ---- the outside */

void reporter_start(struct reporter *r, const char *hostname)
{
	r->hostname = hostname;
	if (r->open)
		return;
	r->open = true;
	r->fd = -1;
	r->told_until = 0;
	tally_init(&r->counted);
	r->look.expired = begin_round;
	r->deadline.expired = facts_are_late;
	r->work.run = go_on;
	timer_set(&r->look, 1000);
}

void reporter_stop(struct reporter *r)
{
	if (!r->open)
		return;
	timer_stop(&r->look);
	task_cancel(&r->work);
	r->forgotten += r->committing;
	forget(r);
	r->open = false;
}
