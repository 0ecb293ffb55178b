/* The queue over weeks in which anything may happen: hosts that take, put off, refuse or are gone, faults of our own, hands that hold and
 * release, crashes, a disk that fails. What was taken in is delivered or reported; where nothing but the hosts was at fault, once.
 * CHANCE=N in the environment: other weeks. */
#include "queue/inside.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/queue_rig.h"

Suite *queue_chance_suite(void);

enum { SEEDS = 24, MESSAGES = 16, RCPTS = 5, STEPS = 60, DAY = 86400 };

static uint64_t state;

static unsigned below(unsigned limit)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(state >> 33) % limit;
}

static const char *const domains[] = { "a.example", "b.example", "c.example", "d.example", "m.relay.example", "n.relay.example", "x.split.example",
	"p.pool.example", "q.pool.example", "z.near.example", "home.example", "away.example" };
enum { DOMAINS = sizeof domains / sizeof *domains, SENDERS_AT = DOMAINS - 2 };

struct outcome {
	char addr[60];
	bool never, success;
	unsigned delivered, failed, told;       /* told: of its delivery */
};
static struct message_sent {
	char id[ID_MAX], from[60];
	size_t n;
	struct outcome rcpt[RCPTS];
	unsigned notices, aside;        /* aside: its names in bad/ */
} messages[MESSAGES];
static size_t nmessages;

/* Each host takes mail, or does what a row says, to all or to one. */
static void change_answers(unsigned bad)
{
	static const struct rig_answer kinds[] = {
		{ NULL, RESULT_DEFERRED, BLAME_RCPT, 450, "later" }, { NULL, RESULT_FAILED, BLAME_RCPT, 550, "no" },
		{ NULL, RESULT_DEFERRED, BLAME_TALK, 421, "not now" }, { NULL, RESULT_DEFERRED, BLAME_DEST, 0, "connection refused" },
		{ NULL, RESULT_DEFERRED, BLAME_MESSAGE, 0, "not this one" }, { NULL, RESULT_DEFERRED, BLAME_SELF, 0, "no descriptor is left" },
		{ NULL, RESULT_DEFERRED, BLAME_SETUP, 0, "login refused" },
	};
	static char at[DOMAINS][60];
	struct rig_answer rows[DOMAINS];
	size_t n = 0;

	for (size_t i = 0; i < DOMAINS; i++) {
		if (below(100) >= bad)
			continue;
		if (below(2))
			snprintf(at[i], sizeof at[i], "@%s", domains[i]);
		else
			snprintf(at[i], sizeof at[i], "r%u@%s", below(RCPTS), domains[i]);
		rows[n] = kinds[below(sizeof kinds / sizeof *kinds)];
		rows[n++].who = at[i];
	}
	rig_answers(rows, n);
}

static void put(void)
{
	static const char *const notify[] = { "", "", "", " NOTIFY=NEVER", " NOTIFY=FAILURE", " NOTIFY=SUCCESS,FAILURE", " NOTIFY=DELAY,FAILURE" };
	struct message_sent *m = &messages[nmessages];
	struct buf to = { 0 };

	*m = (struct message_sent){ .n = 1 + below(RCPTS) };
	if (below(10))
		snprintf(m->from, sizeof m->from, "s%u@%s", below(3), domains[SENDERS_AT + below(2)]);
	for (size_t i = 0; i < m->n; i++) {
		const char *wants = notify[below(sizeof notify / sizeof *notify)];

		snprintf(m->rcpt[i].addr, sizeof m->rcpt[i].addr, "r%zu@%s", i, domains[below(2) ? below(2) : below(DOMAINS)]);
		m->rcpt[i].never = strstr(wants, "NEVER");
		m->rcpt[i].success = strstr(wants, "SUCCESS");
		buf_printf(&to, "%s%s%s", i ? " " : "", m->rcpt[i].addr, wants);
	}
	if (rig_put(m->from, buf_cstr(&to))) {
		memcpy(m->id, rig_id, sizeof m->id);
		nmessages++;
	}
	buf_free(&to);
}

static void hold_first(void)
{
	const char *name = *rig_cur() ? rig_name(NULL) : "";
	struct entry_name e;
	char held[NAME_ROOM];

	if (!entry_parse(name, &e) || e.held)
		return;
	entry_print(held, e.next, true, 0, e.id, e.dest.p);
	rig_mv(name, held);
}

static void release_all(void)
{
	char path[300], names[200][NAME_ROOM];
	size_t n = 0;
	struct dirent *x;
	DIR *d;

	snprintf(path, sizeof path, "%s/cur", rig.dir);
	ck_assert_ptr_nonnull(d = opendir(path));
	while ((x = readdir(d)) && n < 200)
		if (strstr(x->d_name, ".H."))
			str_copy(names[n++], NAME_ROOM, str_of(x->d_name));
	closedir(d);
	for (size_t i = 0; i < n; i++) {
		struct entry_name e;
		char due[NAME_ROOM];

		ck_assert(entry_parse(names[i], &e));
		entry_print(due, loop_wall(), false, 0, e.id, e.dest.p);
		rig_mv(names[i], due);
	}
	queue_wake();
}

/* ---- what became of it */

static bool holds(const char *words, const char *addr)
{
	struct str rest = str_of(words ? words : ""), word;

	while (str_word(&rest, &word))
		if (str_eq(word, str_of(addr)))
			return true;
	return false;
}

/* A report's text is the rig's: "about ID: a@x(words) ...". */
static void read_report(const char *text)
{
	const char *about = strstr(text, "about ");

	for (size_t i = 0; about && i < nmessages; i++) {
		struct message_sent *m = &messages[i];

		if (strncmp(about + 6, m->id, strlen(m->id)) != 0)
			continue;
		m->notices += strstr(text, "Subject: delayed") != NULL;
		for (size_t k = 0; k < m->n && strstr(text, "Subject: failed"); k++) {
			char told[80];
			const char *at;

			snprintf(told, sizeof told, " %s(", m->rcpt[k].addr);
			at = strstr(about, told);
			m->rcpt[k].told += at && strstr(at, "taken)") == strchr(at, '(') + 1 + strlen("250 ");
			m->rcpt[k].failed += at && strstr(at, "taken)") != strchr(at, '(') + 1 + strlen("250 ");
		}
	}
}

static void look_into_bad(void)
{
	char path[300];
	struct dirent *x;
	DIR *d;

	snprintf(path, sizeof path, "%s/bad", rig.dir);
	ck_assert_ptr_nonnull(d = opendir(path));
	while ((x = readdir(d))) {
		if (x->d_name[0] == '.' || strstr(x->d_name, ".why"))
			continue;
		for (size_t i = 0; i < nmessages; i++)
			messages[i].aside += strstr(x->d_name, messages[i].id) != NULL;
		read_report(rig_read("bad", x->d_name));
	}
	closedir(d);
}

static void count_all(void)
{
	for (size_t i = 0; i < rig.nsent; i++) {
		for (size_t k = 0; k < nmessages; k++)
			for (size_t j = 0; j < messages[k].n && !strcmp(messages[k].id, rig.sent[i].id); j++)
				messages[k].rcpt[j].delivered += holds(rig.sent[i].taken, messages[k].rcpt[j].addr);
		if (rig.sent[i].taken)
			read_report(rig.sent[i].body);
	}
	look_into_bad();
}

static void check(int seed, bool faults)
{
	count_all();
	for (size_t i = 0; i < nmessages; i++) {
		const struct message_sent *m = &messages[i];

		for (size_t k = 0; k < m->n; k++) {
			const struct outcome *r = &m->rcpt[k];
			bool silent = r->never || !*m->from;

			ck_assert_msg(r->delivered || r->failed || (silent && (r->never || m->aside)), "seed %d: %s from <%s> for %s is lost", seed,
				m->id, m->from, r->addr);
			ck_assert_msg(!silent || !r->failed, "seed %d: %s for %s was reported, and must not", seed, m->id, r->addr);
			if (faults)
				continue;
			ck_assert_msg(r->delivered + r->failed <= 1, "seed %d: %s for %s: delivered %u times, reported %u times", seed, m->id, r->addr,
				r->delivered, r->failed);
			ck_assert_msg(r->told == (r->success && r->delivered && *m->from), "seed %d: %s for %s: its delivery was told %u times", seed, m->id,
				r->addr, r->told);
		}
		ck_assert_msg(faults || m->notices <= 1, "seed %d: %s: %u notices", seed, m->id, m->notices);
	}
}

START_TEST(whatever_happens_what_was_taken_in_is_delivered_or_reported)
{
	bool crashes = _i % 2, disk = _i % 4 == 3;
	int seed = _i + (getenv("CHANCE") ? atoi(getenv("CHANCE")) : 0);

	state = (uint64_t)seed * 7919;
	nmessages = 0;
	rig_open();
	rig_crash();
	rig.conf.retry_max = 14400;
	rig.conf.delay_notice = _i % 3 ? 14400 : 0;
	if (_i % 8 > 3)
		rig.conf.sync = QUEUE_SYNC_LOG;
	rig.conf.log_size = 32768;
	rig_start();
	for (int step = 0; step < STEPS && rig.nsent < RIG_SENT_MAX / 8; step++) {
		if (nmessages < MESSAGES && !below(3))
			put();
		if (!below(6))
			change_answers(below(3) ? 30 : 80);
		if (!below(8))
			hold_first();
		if (!below(8))
			release_all();
		if (crashes && !below(8)) {
			rig_crash();
			rig.life += below(2);
			rig_start();
		}
		if (disk && !below(6))
			rig_disk(1 + below(20), 1 + below(40), below(2) ? EIO : ENOSPC);
		rig_run(1 + below(below(4) ? 3600 : 2 * DAY));
		rig_disk(0, 0, 0);
		rig_turn();
	}
	rig_answers(NULL, 0);
	release_all();
	rig_run(2 * DAY);
	ck_assert_msg(!*rig_cur(), "seed %d: still there: %s", seed, rig_cur());
	check(seed, crashes || disk);
	rig_close();
}
END_TEST

Suite *queue_chance_suite(void)
{
	Suite *s = suite_create("queue_chance");
	TCase *c = tcase_create("chance");

	tcase_set_timeout(c, 60);
	tcase_add_loop_test(c, whatever_happens_what_was_taken_in_is_delivered_or_reported, 0, SEEDS);
	suite_add_tcase(s, c);
	return s;
}
