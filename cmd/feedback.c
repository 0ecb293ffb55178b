/* Reports of others, read by a helper. */
#include "cmd/feedback.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/child.h"
#include "lib/file.h"
#include "lib/log.h"
#include "lib/sandbox.h"
#include "parse.h"
#include "policy/feedback.h"

enum {
	DEADLINE_MS = 10000,
	WAITING_MOST = 100              /* questions; one more is answered at once: nobody knows */
};

/* ---- what is sent to the helper and back: both ends are the same program, forked */

struct request {
	enum feedback_kind kind;
	int64_t at;
	char hostname[DOMAIN_MAX + 1];
};
struct answer {
	enum outcome outcome;           /* FOUND: the text is what feedback_read() has added; NO_DATA: why it is no report; UNKNOWN: what failed */
	size_t n;
	char text[FEEDBACK_TEXT];
};

/* ======== the work itself: in the helper, or in this process with inline_work */

static void answer_with(struct answer *a, enum outcome outcome, struct str text)
{
	a->outcome = outcome;
	a->n = text.n < sizeof a->text ? text.n : sizeof a->text;
	memcpy(a->text, text.p, a->n);
}

static void work(const struct request *q, int fd, struct answer *a)
{
	struct buf out = { .max = sizeof a->text };
	char *message = malloc(FEEDBACK_READ);
	ssize_t n = message ? file_pread(fd, message, FEEDBACK_READ, q->at) : -1;
	const char *wrong;

	if (n < 0) {
		answer_with(a, UNKNOWN, str_of(strerror(errno)));
	} else {
		wrong = feedback_read(q->kind, (struct str){ message, (size_t)n }, q->hostname, &out);
		answer_with(a, wrong ? NO_DATA : FOUND, wrong ? str_of(wrong) : buf_view(&out));
	}
	free(message);
	buf_free(&out);
}

static size_t answer_size(const struct answer *a) { return offsetof(struct answer, text) + a->n; }

static int helper_main(int socket, void *arg)
{
	static struct answer a;
	struct buf why = { .max = 256 };
	struct request q;

	(void)arg;
	sandbox_enter(&(struct sandbox){ .n = 0 }, &why);
	buf_free(&why);
	for (;;) {
		size_t nfds = 1;
		int fd = -1;
		ssize_t n = child_receive(socket, &q, sizeof q, &fd, &nfds);

		if (n != sizeof q || nfds != 1)
			return n == 0 ? 0 : 1;
		q.hostname[sizeof q.hostname - 1] = '\0';
		work(&q, fd, &a);
		close(fd);
		if (child_reply(socket, &a, answer_size(&a)) == -1)
			return 0;
	}
}

/* ======== the side of the loop */

struct ask {
	struct ask *next;
	struct fact_ticket *ticket;
	int fd;                         /* the message */
	struct request request;
};

static struct child helper;
static struct ask *asks, **last_ask = &asks, *sent;
static size_t nwaiting;
static bool in_line;

static void pump(struct task *);
static void deadline_passed(struct timer *);
static struct task pump_task = { .run = pump };
static struct timer deadline = { .expired = deadline_passed };

static void settle(struct ask *a, enum outcome outcome, struct str text)
{
	char why[200];
	struct record record = { .data = text };
	struct fact f = { .outcome = outcome, .n = outcome == FOUND, .record = &record, .local_fault = outcome == UNKNOWN };

	str_copy(why, sizeof why, (struct str){ text.p, text.n < sizeof why ? text.n : sizeof why - 1 });
	if (outcome != FOUND)
		f.why = why;
	close(a->fd);
	fact_answer(a->ticket, &f);
	free(a);
}

static struct ask *take_ask(void)
{
	struct ask *a = asks;

	if (a && !(asks = a->next))
		last_ask = &asks;
	nwaiting -= a != NULL;
	return a;
}

static void end_sent(enum outcome outcome, struct str text)
{
	struct ask *a = sent;

	sent = NULL;
	timer_stop(&deadline);
	if (a)
		settle(a, outcome, text);
	task_post(&pump_task);
}

static void answered(struct child *c, const void *data, size_t n, int *fds, size_t nfds)
{
	static struct answer a;

	(void)c;
	for (size_t i = 0; i < nfds; i++)
		close(fds[i]);
	if (!sent || n < offsetof(struct answer, text) || n > sizeof a)
		return;
	memcpy(&a, data, n);
	if (n == answer_size(&a) && a.outcome <= UNKNOWN)
		end_sent(a.outcome, (struct str){ a.text, a.n });
}

static void helper_gone(struct child *c)
{
	(void)c;
	end_sent(UNKNOWN, STR("the process that reads reports ended unexpectedly"));
}

static void deadline_passed(struct timer *t)
{
	(void)t;
	log_text(LOG_WARN, "report-hangs", "reading a report took more than %d s: the process is killed, and the message is taken for no report", DEADLINE_MS / 1000);
	child_stop(&helper);
	end_sent(UNKNOWN, STR("it took too long"));
}

static bool have_helper(void)
{
	if (helper.pid)
		return true;
	helper = (struct child){ .name = "reports", .message = answered, .gone = helper_gone };
	if (child_start(&helper, helper_main, NULL) == 0)
		return true;
	log_text(LOG_ERROR, "helper-missing", "the process that reads reports cannot be started: %s", strerror(errno));
	return false;
}

static void pump(struct task *t)
{
	static struct answer a;
	struct ask *next;

	(void)t;
	if (sent || !(next = take_ask()))
		return;
	sent = next;
	if (in_line) {
		work(&next->request, next->fd, &a);
		end_sent(a.outcome, (struct str){ a.text, a.n });
	} else if (have_helper() && child_send(&helper, &next->request, sizeof next->request, &next->fd, 1) == 0) {
		timer_set(&deadline, DEADLINE_MS);
	} else {
		end_sent(UNKNOWN, STR("it could not be handed to the process that reads reports"));
	}
}

/* ---- what the program calls */

static struct ask *ask_new(struct str name)
{
	struct ask *a = nwaiting < WAITING_MOST ? calloc(1, sizeof *a) : NULL;
	struct str hostname, path;
	char file[4096];

	if (!a)
		return NULL;
	a->fd = -1;
	if (feedback_asked(name, &a->request.kind, &hostname, &path, &a->request.at) && str_copy(a->request.hostname, sizeof a->request.hostname, hostname) &&
	    str_copy(file, sizeof file, path))
		a->fd = open(file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (a->fd != -1)
		return a;
	free(a);
	return NULL;
}

static void ask(struct fact_source *source, enum fact_kind kind, struct str name, struct fact_ticket *ticket)
{
	static const struct fact not_now = { .outcome = UNKNOWN, .local_fault = true, .why = "reports cannot be read now" };
	struct ask *a = ask_new(name);

	(void)source;
	(void)kind;
	if (!a) {
		fact_answer(ticket, &not_now);
		return;
	}
	a->ticket = ticket;
	*last_ask = a;
	last_ask = &a->next;
	nwaiting++;
	task_post(&pump_task);
}

void feedback_start(bool inline_work)
{
	static struct fact_source source = { .ask = ask };

	in_line = inline_work;
	facts_source(FACT_FEEDBACK, &source);
}

void feedback_stop(void)
{
	struct ask *a;

	facts_source(FACT_FEEDBACK, NULL);
	if (helper.pid)
		child_stop(&helper);
	end_sent(UNKNOWN, STR("mail is being stopped"));
	while ((a = take_ask()))
		settle(a, UNKNOWN, STR("mail is being stopped"));
	task_cancel(&pump_task);
}
