/* Mail from strangers: its DKIM signatures are checked while it goes by, and what came of them is written in front of it. The keys are
 * asked for as soon as the header is there; at the end it is waited for those that have not come. No mail is refused for it. */
#include <errno.h>
#include <stdlib.h>

#include "lib/list.h"
#include "lib/log.h"
#include "policy/authres.h"
#include "policy/dkim.h"
#include "smtpd/session.h"

enum {
	KEYS_MS = 15000,                /* the client waits for its reply meanwhile */
	HELD_MAX = 64 << 20             /* octets of header of all sessions that are held at a time */
};

static size_t held;

struct inspection {
	struct session *session;
	struct dkim *dkim;
	struct facts *facts;
	struct task wake;               /* a key has come */
	struct authres_filter filter;
	char words[256];                /* for the log */
};

void inspect_free(struct txn *t)
{
	struct inspection *i = t->inspection;

	if (!i)
		return;
	if (i->dkim)
		held -= dkim_holds(i->dkim);
	dkim_free(i->dkim);
	facts_free(i->facts);
	authres_filter_free(&i->filter);
	free(i);
	t->inspection = NULL;
}

static void key_has_come(struct task *);

bool inspect_begin(struct session *s)
{
	struct inspection *i = calloc(1, sizeof *i);

	if (!i)
		return false;
	s->txn->inspection = i;
	i->session = s;
	i->wake.run = key_has_come;
	i->dkim = dkim_new();
	i->facts = facts_new(&i->wake, DKIM_SIGNATURES);
	if (i->facts)
		facts_for_stranger(i->facts);
	authres_filter_begin(&i->filter, s->config->hostname);
	return i->dkim && i->facts;
}

bool inspect_wanted(const struct session *s)
{
	return s->config->check_dkim && !s->who.submission && session_is_stranger(s);
}

size_t inspect_room(void) { return AUTHRES_ROOM; }

/* Stores what the filter has let through. */
static void store(struct session *s, struct buf *text)
{
	if (text->bad) {
		errno = ENOMEM;
		data_disk_failed(s, "memory");
	} else {
		data_store(s, buf_view(text));
	}
}

void inspect_take(struct session *s, struct str text)
{
	static struct buf out;          /* one for all: it holds nothing from one call to the next */
	struct inspection *i = s->txn->inspection;

	held -= dkim_holds(i->dkim);
	dkim_add(i->dkim, text);
	if (held + dkim_holds(i->dkim) > HELD_MAX)      /* ten thousand strangers with a large one each are no friends */
		dkim_abandon(i->dkim, "too many headers are being read at a time");
	held += dkim_holds(i->dkim);
	dkim_judge(i->dkim, i->facts, loop_wall());     /* asks for what is known to be needed */
	buf_clear(&out);
	authres_filter_add(&i->filter, text, &out);
	store(s, &out);
}

/* ---- the end */

static void write_results(struct session *s)
{
	struct inspection *i = s->txn->inspection;
	struct buf field = { 0 };

	authres_words(i->words, sizeof i->words, i->dkim);
	if (!authres_print(&field, s->config->hostname, i->dkim))
		errno = ENOMEM;
	if (field.bad || draft_front(s->txn->draft, field.p, field.n) == -1)
		data_disk_failed(s, "results");
	buf_free(&field);
}

static void finish(struct session *s)
{
	write_results(s);
	data_commit(s);
}

static void key_has_come(struct task *t)
{
	struct inspection *i = owner_of(t, struct inspection, wake);
	struct session *s = i->session;

	if (dkim_judge(i->dkim, i->facts, loop_wall()) && s->phase == P_JUDGING) {
		finish(s);
		stream_again(&s->stream);
	}
}

void inspect_out_of_time(struct session *s)
{
	dkim_give_up(s->txn->inspection->dkim);
	finish(s);
}

void inspect_end(struct session *s)
{
	struct inspection *i = s->txn->inspection;
	struct buf out = { 0 };

	authres_filter_end(&i->filter, &out);
	store(s, &out);
	buf_free(&out);
	held -= dkim_holds(i->dkim);
	dkim_end(i->dkim);
	held += dkim_holds(i->dkim);
	if (s->txn->refusal || dkim_judge(i->dkim, i->facts, loop_wall())) {
		if (!s->txn->refusal)
			write_results(s);
		data_commit(s);
		return;
	}
	s->phase = P_JUDGING;
	session_deadline(s, KEYS_MS);
}

const char *inspect_words(const struct txn *t) { return t->inspection ? t->inspection->words : NULL; }
const struct dkim *inspect_dkim(const struct txn *t) { return t->inspection ? t->inspection->dkim : NULL; }
