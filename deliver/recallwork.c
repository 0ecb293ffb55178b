/* What a mailbox remembers: the work itself. */
#include "deliver/recallwork.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "deliver/words.h"
#include "lib/file.h"
#include "policy/bayes.h"
#include "policy/reputation.h"

enum { HEADER_ROOM = 64 << 10 };        /* octets of what was refused in which its Message-ID is looked for */

size_t recall_size(const struct recall_request *q) { return offsetof(struct recall_request, text) + q->n; }

#define ENDS(text) (memchr((text), '\0', sizeof (text)) != NULL)

bool recall_is_request(const struct recall_request *q, size_t n)
{
	return n >= offsetof(struct recall_request, text) && q->n <= RECALL_TEXT && n == recall_size(q) && (unsigned)q->what <= KEEP && ENDS(q->id) &&
		q->at >= 0 && q->size >= 0 && q->own >= 0 && q->own <= q->size;
}

bool recall_is_answer(const struct recall_answer *a, size_t n)
{
	return n == sizeof *a && (unsigned)a->outcome <= UNKNOWN && ENDS(a->text) && ENDS(a->account);
}

static void not_known(struct recall_answer *a, const char *step)
{
	a->outcome = UNKNOWN;
	snprintf(a->text, sizeof a->text, "%s: %s", step, strerror(errno));
}

static void recall(const struct recall_request *q, int mailbox, const struct memory_folders *folders, struct recall_answer *a)
{
	struct str local, org;
	struct identities who;
	struct reputation r;
	struct memory m;
	struct buf text = { .max = sizeof a->text - 1 };

	if (!reputation_asked((struct str){ q->text, q->n }, &local, &org, &who))
		return;
	if (memory_open(&m, mailbox, folders, q->now) == -1) {
		not_known(a, "the memory of the mailbox cannot be read");
		return;
	}
	reputation_of(&m.history, &who, org, q->now, &r);
	memory_close(&m);
	a->outcome = FOUND;
	if (!reputation_print(&text, &r) || !str_copy(a->text, sizeof a->text, buf_view(&text)))
		a->outcome = UNKNOWN;
	buf_free(&text);
}

static void read_content(const struct recall_request *q, int fd, int mailbox, struct recall_answer *a)
{
	static struct bayes_words words;
	struct buf text = { .max = sizeof a->text - 1 };
	struct bayes_table *table;
	struct bayes_result r;
	bool fresh;

	table = words_open(mailbox, &fresh);
	if (!table || !words_of_fd(fd, q->at, &words)) {
		not_known(a, "the message cannot be read");
	} else {
		bayes_judge(table, &words, &r);
		a->outcome = content_print(&text, &r) && str_copy(a->text, sizeof a->text, buf_view(&text)) ? FOUND : UNKNOWN;
	}
	free(table);
	buf_free(&text);
}

static void wrote(const struct recall_request *q, int mailbox, struct str address)
{
	struct buf line = { 0 };

	if (history_wrote(&line, q->now, address))
		memory_add(mailbox, buf_view(&line));
	buf_free(&line);
}

static void find_rule(const struct recall_request *q, int mailbox, const struct memory_folders *folders, struct recall_answer *a)
{
	struct buf file = { 0 }, text = { .max = sizeof a->text - 1 };
	struct rule_subject subject;
	struct identities who;
	struct str local;
	struct rule r;

	if (!rule_asked((struct str){ q->text, q->n }, &local, &subject, &who))
		return;
	a->outcome = NO_DATA;
	if (memory_rule(mailbox, folders, local, &subject, &file, &r))
		a->outcome = rule_print(&text, &r) && str_copy(a->text, sizeof a->text, buf_view(&text)) ? FOUND : UNKNOWN;
	buf_free(&file);
	buf_free(&text);
}

/* What the sender has written. */
static bool read_header(const struct recall_request *q, int fd, struct str *out)
{
	static char header[HEADER_ROOM];
	off_t size = q->size - q->own;
	ssize_t n = file_pread(fd, header, size < HEADER_ROOM ? (size_t)size : HEADER_ROOM, q->at + q->own);

	*out = (struct str){ header, n > 0 ? (size_t)n : 0 };
	return n >= 0;
}

static int find_key(const struct recall_request *q, int fd, struct str header, char key[REJECT_KEY + 1])
{
	return reject_key(header, key) ? 0 : reject_hash(fd, q->at + q->own, q->size - q->own, key);
}

static void drop_cr(struct buf *text)
{
	size_t kept = 0;

	for (size_t i = 0; i < text->n; i++)
		if (text->p[i] != '\r')
			text->p[kept++] = text->p[i];
	text->n = kept;
}

/* "refused:none": whatever the user does with it later, it says that he need not have been spared it. */
static void keep(const struct recall_request *q, int fd, int mailbox, const struct memory_folders *folders, struct str local, struct str rest,
	struct recall_answer *a)
{
	struct buf trace = { 0 }, reason = { 0 }, line = { 0 }, rules = { 0 };
	static char room[HISTORY_LINE];
	struct str token, words, header;
	struct identities who;
	struct rule rule;
	struct rejected r = { .id = q->id, .fd = fd, .at = q->at, .size = q->size };
	char key[REJECT_KEY + 1];

	if (!str_cut(&rest, '\n', &token) || !str_cut(&rest, '\n', &words) || !identities_parse(&words, &who))
		return;
	if (!read_header(q, fd, &header)) {
		not_known(a, "the message cannot be read");
		return;
	}
	memory_apply(mailbox, folders, local, header, &who, room, &rules, &rule);
	buf_puts(&reason, "refused:");
	buf_str(&reason, token);
	buf_str(&trace, rest);
	reason_print(&trace, buf_view(&reason), str_of(q->id), &who);
	drop_cr(&trace);
	r.trace = buf_view(&trace);
	r.key = key;
	if (trace.bad || find_key(q, fd, header, key) == -1 || reject_keep(mailbox, folders, &r, q->now) == -1) {
		not_known(a, "it could not be kept");
	} else {
		a->outcome = FOUND;
		if (history_add(&line, q->now, str_of(q->id), buf_view(&reason), &who))
			memory_add(mailbox, buf_view(&line));
	}
	buf_free(&trace);
	buf_free(&reason);
	buf_free(&line);
	buf_free(&rules);
}

void recall_work(const struct recall_request *q, int fd, int mailbox, const struct memory_folders *folders, struct recall_answer *a)
{
	struct str rest = { q->text, q->n }, local;

	*a = (struct recall_answer){ .ticket = q->ticket, .outcome = UNKNOWN };
	if (!str_cut(&rest, '\n', &local))
		return;
	switch (q->what) {
	case RECALL:
		recall(q, mailbox, folders, a);
		break;
	case CONTENT:
		read_content(q, fd, mailbox, a);
		break;
	case RULE:
		find_rule(q, mailbox, folders, a);
		break;
	case WROTE:
		wrote(q, mailbox, rest);
		break;
	case KEEP:
		keep(q, fd, mailbox, folders, local, rest, a);
		break;
	}
}
