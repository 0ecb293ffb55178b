/* The account of every message and recipient: one array for each, behind one lock. */
#include "tests/soak/ledger.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

enum {
	MESSAGES = 1 << 20,             /* memory is taken as they come */
	ALL_RECIPIENTS = MESSAGES * 4,
	KILLS = 1024,
	SHOWN = 50                      /* complaints */
};
/* The time that a reply takes from the peer's send() until the journal has it: a turn or two of the loop, on a machine that others use, too. */
static const double KILL_S = 1;

const struct soak_domain soak_domains[] = {
	{ "d0.test", false, false }, { "d1.test", false, false }, { "d2.test", false, false }, { "d3.test", false, false },
	{ "d4.test", false, false }, { "d5.test", false, false }, { "lmtp.test", false, false }, { "route.test", false, false },
	{ "here.test", true, false }, { "gone.test", false, true },
};
const unsigned soak_ndomains = sizeof soak_domains / sizeof *soak_domains;

struct recipient {
	float came, reported_at;        /* seconds since the start: the last time */
	uint8_t delivered, doubtful, reported, delayed;
	uint8_t domain;
	bool refused, again;            /* again: once more, and no kill excuses it */
};
struct message {
	uint32_t first, hash;
	uint8_t n, answer;
};

static struct message *messages;
static struct recipient *recipients;
static unsigned nmessages = 1, nrecipients;
static float kills[KILLS], longest;   /* the longest time before a kill that something came which came again */
static unsigned nkills, repeats, wrongs;
static double began;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

double soak_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- chance */

static uint64_t seeds;
static _Thread_local uint64_t chance;

void soak_seed(uint64_t seed) { seeds = seed; }

unsigned soak_random(unsigned below)
{
	while (!chance)
		chance = __atomic_add_fetch(&seeds, 0x9e3779b97f4a7c15u, __ATOMIC_RELAXED);
	chance ^= chance << 13;
	chance ^= chance >> 7;
	chance ^= chance << 17;
	return (unsigned)((chance >> 32) * below >> 32);
}

/* ---- what is promised */

bool ledger_open(void)
{
	messages = calloc(MESSAGES, sizeof *messages);
	recipients = calloc(ALL_RECIPIENTS, sizeof *recipients);
	began = soak_now();
	return messages && recipients;
}

unsigned ledger_new(unsigned n, const unsigned char *domain)
{
	unsigned id = 0;

	pthread_mutex_lock(&lock);
	if (nmessages < MESSAGES && nrecipients + n <= ALL_RECIPIENTS) {
		id = nmessages++;
		messages[id].first = nrecipients;
		messages[id].n = (uint8_t)n;
		for (unsigned i = 0; i < n; i++)
			recipients[nrecipients++].domain = domain[i];
	}
	pthread_mutex_unlock(&lock);
	return id;
}

void ledger_text(unsigned id, uint32_t hash) { messages[id].hash = hash; }

/* FNV-1a. */
uint32_t ledger_hash(uint32_t hash, const char *p, size_t n)
{
	hash ^= 2166136261u;
	for (size_t i = 0; i < n; i++)
		if (p[i] != '\r')
			hash = (hash ^ (unsigned char)p[i]) * 16777619u;
	return hash ^ 2166136261u;
}

void ledger_answer(unsigned id, enum answer answer)
{
	pthread_mutex_lock(&lock);
	messages[id].answer = (uint8_t)answer;
	pthread_mutex_unlock(&lock);
}

/* ---- what comes; all of these are called with the lock held */

static void complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void complain(const char *fmt, ...)
{
	va_list ap;

	if (wrongs++ >= SHOWN)
		return;
	va_start(ap, fmt);
	printf("WRONG at %.0f s: ", soak_now() - began);
	vprintf(fmt, ap);
	putchar('\n');
	va_end(ap);
}

/* NULL: there is none, which has been said. */
static struct recipient *find(unsigned id, unsigned rcpt, const char *domain)
{
	struct recipient *r;

	if (id == 0 || id >= nmessages || rcpt >= messages[id].n) {
		complain("something about recipient %u of message %u: there is none", rcpt, id);
		return NULL;
	}
	r = &recipients[messages[id].first + rcpt];
	if (domain && strcasecmp(domain, soak_domains[r->domain].name)) {
		complain("something about recipient %u of message %u at %s, who is at %s", rcpt, id, domain, soak_domains[r->domain].name);
		return NULL;
	}
	return r;
}

static bool by_a_kill(float at)
{
	for (unsigned i = 0; i < nkills; i++)
		if (at > kills[i] - KILL_S && at < kills[i] + KILL_S) {
			longest = kills[i] - at > longest ? kills[i] - at : longest;
			return true;
		}
	return false;
}

/* What had come at `before` has come once more. */
static void once_more(struct recipient *r, unsigned id, unsigned rcpt, const char *what, float before)
{
	if (by_a_kill(before)) {
		repeats++;
		return;
	}
	r->again = true;
	complain("message %u, recipient %u at %s: %s, and it had come at %.1f s", id, rcpt, soak_domains[r->domain].name, what, (double)before);
}

static void count(uint8_t *n) { *n = *n < UINT8_MAX ? *n + 1 : *n; }

void ledger_refused(unsigned id, unsigned rcpt)
{
	struct recipient *r;

	pthread_mutex_lock(&lock);
	if ((r = find(id, rcpt, NULL)))
		r->refused = true;
	pthread_mutex_unlock(&lock);
}

void ledger_came(unsigned id, unsigned rcpt, const char *domain, uint32_t hash, double at)
{
	struct recipient *r;

	pthread_mutex_lock(&lock);
	if ((r = find(id, rcpt, domain))) {
		if (r->reported)
			once_more(r, id, rcpt, "delivered, though reported as failed", -1e9f);
		else if (r->delivered)
			once_more(r, id, rcpt, "delivered again", r->came);
		if (hash != messages[id].hash)
			complain("message %u, recipient %u at %s: its body is another one", id, rcpt, domain);
		count(&r->delivered);
		r->came = (float)(at - began);
	}
	pthread_mutex_unlock(&lock);
}

void ledger_doubt(unsigned id, unsigned rcpt)
{
	struct recipient *r;

	pthread_mutex_lock(&lock);
	if ((r = find(id, rcpt, NULL)))
		count(&r->doubtful);
	pthread_mutex_unlock(&lock);
}

void ledger_report(unsigned id, unsigned rcpt, const char *domain, const char *action, const char *diagnostic)
{
	float at = (float)(soak_now() - began);
	struct recipient *r;

	pthread_mutex_lock(&lock);
	if (!(r = find(id, rcpt, domain)))
		goto out;
	if (!strcasecmp(action, "failed")) {
		if (r->delivered)
			once_more(r, id, rcpt, "reported as failed", r->came);
		else if (r->reported)
			once_more(r, id, rcpt, "reported again", r->reported_at);
		/* Whoever refuses here says so in these words. */
		if (!soak_domains[r->domain].gone && !strstr(diagnostic, "soak"))
			complain("message %u, recipient %u at %s: reported as failed, and nobody has refused it: %s", id, rcpt, domain, diagnostic);
		count(&r->reported);
		r->reported_at = at;
	} else if (!strcasecmp(action, "delayed")) {
		if (r->delayed)
			once_more(r, id, rcpt, "a second notice of delay", r->reported_at);
		count(&r->delayed);
		r->reported_at = at;
	} else {
		complain("message %u, recipient %u at %s: a report that nobody wants: %s", id, rcpt, domain, action);
	}
out:
	pthread_mutex_unlock(&lock);
}

void ledger_wrong(const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	pthread_mutex_lock(&lock);
	complain("%s", text);
	pthread_mutex_unlock(&lock);
}

void ledger_kill(void)
{
	pthread_mutex_lock(&lock);
	if (nkills < KILLS)
		kills[nkills++] = (float)(soak_now() - began);
	printf("killed at %.1f s\n", soak_now() - began);
	pthread_mutex_unlock(&lock);
}

/* ---- what came of it all */

static bool heard(const struct recipient *r) { return r->delivered || r->reported; }

/* Without an answer, something of it has been seen: it was taken. */
static bool seen(const struct message *m)
{
	for (unsigned i = 0; i < m->n; i++)
		if (heard(&recipients[m->first + i]) || recipients[m->first + i].doubtful)
			return true;
	return false;
}

struct ledger_counts ledger_counts(void)
{
	struct ledger_counts c = { 0 };

	pthread_mutex_lock(&lock);
	c.messages = nmessages - 1;
	c.repeats = repeats;
	c.wrong = wrongs;
	c.longest = (double)longest;
	for (unsigned id = 1; id < nmessages; id++) {
		const struct message *m = &messages[id];

		c.yes += m->answer == ANSWER_YES;
		c.no += m->answer == ANSWER_NO;
		c.lost += m->answer == ANSWER_LOST;
		for (unsigned i = 0; i < m->n; i++) {
			const struct recipient *r = &recipients[m->first + i];

			c.recipients += m->answer == ANSWER_YES && !r->refused;
			c.waiting += m->answer == ANSWER_YES && !r->refused && !heard(r);
			c.delivered += r->delivered > 0;
			c.reported += r->reported > 0;
			c.delayed += r->delayed > 0;
			c.doubtful += r->doubtful;
		}
	}
	pthread_mutex_unlock(&lock);
	return c;
}

static const char *judge(const struct message *m, const struct recipient *r, bool taken)
{
	if (r->again)
		return "came more than once";   /* said before */
	if ((m->answer == ANSWER_NO || r->refused) && (heard(r) || r->doubtful))
		return "was not taken, and came all the same";
	if (taken && !r->refused && !heard(r))
		return "was lost: neither delivered nor reported";
	return NULL;
}

void ledger_judge(unsigned *passed, unsigned *failed)
{
	pthread_mutex_lock(&lock);
	for (unsigned id = 1; id < nmessages; id++) {
		const struct message *m = &messages[id];
		bool taken = m->answer == ANSWER_YES || (m->answer != ANSWER_NO && seen(m));

		for (unsigned i = 0; i < m->n; i++) {
			const char *wrong = judge(m, &recipients[m->first + i], taken);

			*passed += !wrong;
			*failed += wrong != NULL;
			if (wrong)
				complain("message %u, recipient %u at %s %s", id, i, soak_domains[recipients[m->first + i].domain].name, wrong);
		}
	}
	pthread_mutex_unlock(&lock);
}
