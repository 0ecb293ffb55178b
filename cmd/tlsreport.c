/* Reports of TLS: written down by day, and sent. One domain after the other: nobody waits for them. */
#include "cmd/tlsreport.h"

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
#include "policy/dmarc.h"
#include "queue.h"

enum {
	DELAY_S = 4 * 3600,             /* RFC 8460 4.1: behind the end of the day, so that not all of the world sends at midnight */
	AGAIN_S = 3600,                 /* for domains whose records could not be had, and to see whether a day is over */
	PATIENCE_S = 24 * 3600,         /* then they get none (5.5) */
	BLOCK = 64 << 10,               /* octets of a file that are counted in a turn */
	LOOKUPS = 2
};

static const struct tlsreport_config *config;
static struct daily kept = { .dir = -1, .fd = -1 };
static struct timer look;
static struct task work;

/* The day that is being reported. */
static struct {
	bool busy;
	int32_t day;
	int fd;                         /* to be read to its end, then -1 */
	struct buf text;
	struct tlsrpt_day counted;
	struct node *next;              /* the domain whose turn it is */
	struct facts *facts;            /* of it */
	bool committing;
	bool undecided;                 /* a domain's turn comes again */
} now = { .fd = -1 };

/* ---- when */

/* Chance, but the same one after a restart. */
static int64_t due_at(int32_t day)
{
	static const uint64_t key[2] = { 0x746c737270742064u, 0x656c61792069730au };
	char text[DOMAIN_MAX + 32];
	int n = snprintf(text, sizeof text, "%.255s %d", config->hostname, (int)day);

	return ((int64_t)day + 1) * DAILY_S + (int64_t)(siphash(key, text, (size_t)n) % DELAY_S);
}

/* The first day that is over and has a file that was not sent. -1: none. */
static int32_t first_due(void)
{
	int fd = openat(kept.dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd == -1 ? NULL : fdopendir(fd);
	int32_t first = -1;

	if (!d) {
		if (fd != -1)
			close(fd);
		return -1;
	}
	for (struct dirent *x; (x = readdir(d));) {
		int32_t day = strchr(x->d_name, '.') ? -1 : daily_day(x->d_name);

		if (day != -1 && due_at(day) <= loop_wall() && (first == -1 || day < first))
			first = day;
	}
	closedir(d);
	return first;
}

static void forget(void)
{
	facts_free(now.facts);
	now.facts = NULL;
	if (now.fd != -1)
		close(now.fd);
	now.fd = -1;
	buf_free(&now.text);
	tlsrpt_day_free(&now.counted);
	now.busy = now.committing = now.undecided = false;
}

/* Soon when there is more to do at once, else when the day that runs is to be told. */
static void look_later(bool more)
{
	int64_t left = due_at((int32_t)(loop_wall() / DAILY_S) - 1) - loop_wall();

	timer_set(&look, more ? 1000 : 1000 * (left > 0 && left < AGAIN_S ? left : AGAIN_S));
}

static void begin(struct timer *t)
{
	char name[DAILY_NAME];
	int32_t day = first_due();

	(void)t;
	if (now.busy)
		return;
	if (day == -1) {
		look_later(false);
		return;
	}
	daily_name(day, name);
	now.fd = openat(kept.dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (now.fd == -1) {
		log_event(LOG_ERROR, "tls-report", LF(L_TEXT("day", name), L_TEXT("error", strerror(errno))));
		look_later(false);
		return;
	}
	now.busy = true;
	now.day = day;
	tlsrpt_day_init(&now.counted);
	task_post(&work);
}

/* ---- the end of a day */

/* It stays to be looked at for as long as others do. */
static void end_day(void)
{
	bool again = now.undecided && loop_wall() < ((int64_t)now.day + 1) * DAILY_S + DELAY_S + PATIENCE_S;
	char name[DAILY_NAME], sent[DAILY_NAME + 8];

	daily_name(now.day, name);
	snprintf(sent, sizeof sent, "%s.sent", name);
	if (!again && now.counted.left_out)
		log_event(LOG_WARN, "tls-report", LF(L_TEXT("day", name), L_NUM("left_out", (long long)now.counted.left_out),
			L_TEXT("reason", "there was no room to count these sessions")));
	if (!again && now.undecided)
		log_event(LOG_WARN, "tls-report", LF(L_TEXT("day", name), L_TEXT("reason", "some could not be made in a day, and are not any more")));
	if (!again && file_sys.rename(kept.dir, name, kept.dir, sent) == -1 &&
	    (errno != EEXIST || file_sys.unlink(kept.dir, name) == -1)) {       /* EEXIST: the clock went back */
		log_event(LOG_ERROR, "tls-report", LF(L_TEXT("day", name), L_TEXT("error", strerror(errno))));
		again = true;
	}
	forget();
	look_later(!again);
}

static struct tlsrpt_domain *domain_now(void) { return owner_of(now.next, struct tlsrpt_domain, node); }

static void next_domain(void)
{
	facts_free(now.facts);
	now.facts = NULL;
	now.next = list_next(&now.counted.domains, now.next);
	task_post(&work);
}

/* ---- one report */

/* Behind what was counted: who starts again does not send it twice. */
static void note_sent(const struct tlsrpt_domain *t)
{
	struct buf line = { 0 };
	char name[DAILY_NAME];
	int fd;

	daily_name(now.day, name);
	fd = file_sys.open(kept.dir, name, O_WRONLY | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd == -1 || !tlsrpt_print(&line, &(struct tlsrpt_session){ .time = loop_wall(), .domain = str_of(t->name), .sent = true }) ||
	    file_write(fd, line.p, line.n) == -1)
		log_event(LOG_ERROR, "tls-report", LF(L_TEXT("day", name), L_TEXT("domain", t->name), L_TEXT("error", strerror(errno))));
	if (fd != -1)
		close(fd);
	buf_free(&line);
}

static void committed(void *arg, bool ok)
{
	(void)arg;
	if (!now.committing)
		return;                 /* we were stopped meanwhile */
	now.committing = false;
	if (ok)
		note_sent(domain_now());
	else
		now.undecided = true;
	next_domain();
}

/* Same day, same domain: the same report, which the queue has at most once. */
static void report_id(char id[ID_MAX], const struct tlsrpt_domain *t)
{
	static const uint64_t key[2] = { 0x746c737270742069u, 0x647320617265206eu };
	char text[2 * DOMAIN_MAX + 64];
	int n = snprintf(text, sizeof text, "%d %s %.255s", (int)now.day, t->name, config->hostname);

	snprintf(id, ID_MAX, "%08" PRIx32 "%016" PRIx64, (uint32_t)due_at(now.day), siphash(key, text, (size_t)n));
}

static bool make_envelope(struct envelope *e, const char *const *to, size_t n)
{
	struct sender nobody = { 0 };   /* a report that does not arrive is nobody's loss: no report of that */
	bool ok = envelope_sender(e, &nobody) && envelope_origin(e, "TLS report for %s", domain_now()->name);

	for (size_t i = 0; ok && i < n; i++) {
		struct recipient r = { .notify = NOTIFY_NEVER };

		ok = !parse_address(str_of(to[i]), false, &r.addr) && envelope_rcpt(e, &r);
	}
	return ok;
}

/* False: it did not get into the queue. */
static bool submit(const char *const *to, size_t n)
{
	struct tlsrpt_report r = { .hostname = config->hostname, .contact = config->contact, .domain = domain_now(), .to = to, .nto = n, .day = now.day,
		.now = loop_wall() };
	struct envelope e = { 0 };
	struct buf text = { 0 };
	struct draft *d = NULL;
	char id[ID_MAX];
	struct reply why;

	report_id(id, r.domain);
	if (queue_accepting(&why) && make_envelope(&e, to, n) && tlsrpt_message(&text, &r)) {
		report_sign(&text, id);
		d = queue_draft(&e, id);
	}
	if (d && draft_write(d, text.p, text.n) == -1) {
		draft_abort(d);
		d = NULL;
	}
	if (d) {
		log_event(LOG_INFO, "tls-report", LF(L_TEXT("id", id), L_TEXT("domain", r.domain->name), L_TEXT("to", to[0])));
		now.committing = true;
		queue_commit(d, committed, NULL);
	}
	envelope_free(&e);
	buf_free(&text);
	return d;
}

/* Addresses alone: what is to go over HTTPS is passed over. */
static size_t take_addresses(struct str rua, struct dmarc_uri *uri, const char **to)
{
	size_t n = 0;

	while (n < TLSRPT_RCPTS && dmarc_uri_next(&rua, &uri[n])) {
		to[n] = uri[n].address;
		n++;
	}
	return n;
}

static bool has_sts(const struct tlsrpt_domain *t)
{
	for (size_t i = 0; i < t->npolicies; i++)
		if (t->policy[i].type == TLSRPT_STS)
			return true;
	return false;
}

static void report_domain(void)
{
	struct tlsrpt_domain *t = domain_now();
	struct dmarc_uri uri[TLSRPT_RCPTS];
	const char *to[TLSRPT_RCPTS];
	const struct fact *txt, *policy = NULL;
	char name[DOMAIN_MAX + 20];
	struct str rua;
	size_t n = 0;

	if (!now.facts && (t->sent || !t->npolicies || !(now.facts = facts_new(&work, LOOKUPS)))) {
		now.undecided = now.undecided || (!t->sent && t->npolicies);
		next_domain();
		return;
	}
	snprintf(name, sizeof name, "_smtp._tls.%s", t->name);
	txt = fact(now.facts, FACT_TXT, str_of(name));
	snprintf(name, sizeof name, "%s ", t->name);
	if (!txt || (has_sts(t) && !(policy = fact(now.facts, FACT_POLICY, str_of(name)))))
		return;
	if (tlsrpt_rua(txt, &rua))
		n = take_addresses(rua, uri, to);
	if (policy && policy->outcome == FOUND && policy->n)
		tlsrpt_domain_policy(t, policy->record[0].data);
	if (n && submit(to, n))
		return;
	now.undecided = now.undecided || n || txt->outcome == UNKNOWN;
	next_domain();
}

static void count_more(void)
{
	char *to = buf_reserve(&now.text, BLOCK);
	ssize_t n = to ? read(now.fd, to, BLOCK) : -1;

	if (n > 0) {
		now.text.n += (size_t)n;
		tlsrpt_day_take(&now.counted, &now.text);
		if (now.text.n > TLSRPT_LINE)   /* no line of ours */
			buf_clear(&now.text);
		task_post(&work);
		return;
	}
	if (n == -1)
		log_event(LOG_ERROR, "tls-report", LF(L_TEXT("error", strerror(errno))));
	close(now.fd);
	now.fd = -1;
	now.next = list_first(&now.counted.domains);
	task_post(&work);
}

static void go_on(struct task *t)
{
	(void)t;
	if (now.committing)
		return;
	if (now.fd != -1)
		count_more();
	else if (now.next)
		report_domain();
	else
		end_day();
}

/* ---- the outside */

int tlsreport_start(const struct tlsreport_config *c, int dir, bool send)
{
	config = c;
	if (kept.dir != -1)
		return 0;
	if (tlsrpt_open(&kept, dir) == -1)
		return -1;
	look.expired = begin;
	work.run = go_on;
	if (send)
		look_later(true);
	return 0;
}

void tlsreport_stop(void)
{
	timer_stop(&look);
	task_cancel(&work);
	if (kept.dir == -1)
		return;
	forget();
	daily_close(&kept);
}

void tlsreport_note(const struct tlsrpt_session *s) { tlsrpt_keep(&kept, s); }
