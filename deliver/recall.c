/* The helper process behind the memory of mailboxes: one question at a time, with a deadline. What lies in a home is asked of its user's child. */
#include "deliver/recall.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "deliver/maildir.h"
#include "deliver/recallwork.h"
#include "lib/child.h"
#include "lib/hash.h"
#include "lib/list.h"
#include "lib/log.h"
#include "lib/root.h"
#include "policy/bayes.h"

enum {
	DEADLINE_S = 5,                 /* a client waits for its reply meanwhile */
	HUNG = 32, HUNG_MS = 300000,    /* mailboxes that hung, and how long they are left alone */
	RESTART_MS = 1000,
	WAITING_MOST = 2000             /* questions; one more is answered at once: nobody knows */
};

static struct recall_config config;

/* ======== the work itself: in the helper, or in this process with inline_work */

static void work(const struct recall_request *q, int fd, struct recall_answer *a)
{
	struct str rest = { q->text, q->n }, local;
	bool missing;
	int mailbox;

	*a = (struct recall_answer){ .ticket = q->ticket, .outcome = UNKNOWN };
	if (!str_cut(&rest, '\n', &local))
		return;
	mailbox = maildir_open(local, &missing, a->account);
	if (mailbox == -1) {
		a->outcome = missing ? NO_NAME : UNKNOWN;
		snprintf(a->text, sizeof a->text, "the mailbox cannot be opened");
		return;
	}
	recall_work(q, fd, mailbox, &config.folders, a);
	close(mailbox);
}

static int helper_main(int socket, void *arg)
{
	static struct recall_request q;
	struct recall_answer a;

	(void)arg;
	signal(SIGTERM, SIG_IGN);       /* sent to a whole service at once: we end with our socket */
	signal(SIGXFSZ, SIG_IGN);
	for (;;) {
		size_t nfds = 1;
		int fd = -1;
		ssize_t n = child_receive(socket, &q, sizeof q, &fd, &nfds);

		if (n <= 0 || !recall_is_request(&q, (size_t)n))
			return n == 0 ? 0 : 1;
		work(&q, fd, &a);
		if (nfds)
			close(fd);
		if (child_reply(socket, &a, sizeof a) == -1)
			return 0;
	}
}

/* ======== the side of the loop */

struct ask {
	struct ask *next;
	struct fact_ticket *ticket;     /* RECALL, CONTENT */
	struct refused *refused;        /* KEEP */
	int fd;                         /* of the message that goes with it, ours; or -1 */
	struct maildir_visit visit;     /* to a home */
	struct recall_request request;
};

static struct child helper;
static struct ask *asks, **last_ask = &asks, *sent;
static size_t nwaiting, nvisits;
static uint64_t last_ticket;
static bool started;
static struct { uint64_t mailbox; msec until; } hung[HUNG];
static uint64_t hung_key[2] = { 0x666172646566, 0x72656361 };   /* nobody gains by mailboxes of one hash */

static void pump(struct task *);
static void deadline_passed(struct timer *);
static void try_again(struct timer *);
static struct task pump_task = { .run = pump };
static struct timer deadline = { .expired = deadline_passed };
static struct timer again = { .expired = try_again };

static uint64_t mailbox_of(const struct ask *a)
{
	struct str rest = { a->request.text, a->request.n }, local = rest;

	str_cut(&rest, '\n', &local);
	return siphash(hung_key, local.p, local.n);
}

static bool is_hung(uint64_t mailbox)
{
	for (size_t i = 0; i < HUNG; i++)
		if (hung[i].mailbox == mailbox && hung[i].until > loop_now())
			return true;
	return false;
}

static void note_hung(uint64_t mailbox)
{
	size_t oldest = 0;

	for (size_t i = 1; i < HUNG; i++)
		if (hung[i].until < hung[oldest].until)
			oldest = i;
	hung[oldest].mailbox = mailbox;
	hung[oldest].until = loop_now() + HUNG_MS;
}

static void settle(struct ask *a, const struct recall_answer *answer)
{
	struct record record = { .data = str_of(answer->text) };
	struct fact f = { .outcome = answer->outcome, .n = answer->outcome == FOUND, .record = &record,
		.local_fault = answer->outcome == UNKNOWN, .why = answer->outcome == UNKNOWN ? answer->text : NULL };
	struct fact_ticket *ticket = a->ticket;
	struct refused *refused = a->refused;

	if (refused && answer->outcome == UNKNOWN)
		log_event(LOG_WARN, "not-kept", LF(L_TEXT("id", a->request.id), L_TEXT("reason", answer->text)));
	if (a->fd != -1)
		close(a->fd);
	free(a);
	if (ticket)
		fact_answer(ticket, &f);
	if (refused)
		refused->done(refused, answer->outcome == FOUND);
}

static void fail(struct ask *a, const char *why)
{
	struct recall_answer answer = { .outcome = UNKNOWN };

	snprintf(answer.text, sizeof answer.text, "%s", why);
	settle(a, &answer);
}

static struct ask *take_ask(void)
{
	struct ask *a = asks;

	if (a && !(asks = a->next))
		last_ask = &asks;
	nwaiting -= a != NULL;
	return a;
}

static void put_back(struct ask *a)
{
	a->next = asks;
	if (!asks)
		last_ask = &a->next;
	asks = a;
	nwaiting++;
}

/* CONTENT: opened when its turn has come, and not before. False with errno. */
static bool open_content(struct ask *a)
{
	struct str local, file;
	char path[4096];

	if (a->request.what != CONTENT || a->fd != -1)
		return true;
	errno = EINVAL;
	if (content_asked((struct str){ a->request.text, a->request.n }, &local, &file, &a->request.at) && str_copy(path, sizeof path, file))
		a->fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	return a->fd != -1;
}

static void visited(struct maildir_visit *v, const void *data, size_t n, const char *why)
{
	struct ask *a = owner_of(v, struct ask, visit);
	struct recall_answer answer = { .outcome = UNKNOWN };

	nvisits--;
	memcpy(&answer, data ? data : "", n < sizeof answer ? n : sizeof answer);
	if (data && recall_is_answer(&answer, n))
		settle(a, &answer);
	else
		fail(a, data ? "the user's child talks nonsense" : why);
}

/* A user can read the message, and not write to it. */
static bool open_for_reading(struct ask *a)
{
	char path[40];
	int fd;

	if (a->request.what != KEEP)
		return true;
	snprintf(path, sizeof path, "/proc/self/fd/%d", a->fd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd == -1)
		return false;
	close(a->fd);
	a->fd = fd;
	return true;
}

/* It lies in the home of a user: his child does it. */
static void visit(struct ask *a, const char *account)
{
	struct str rest = { a->request.text, a->request.n }, local;

	if (!root_in_force()) {
		fail(a, "the mailbox is another account's");
		return;
	}
	if (!str_cut(&rest, '\n', &local) || !open_for_reading(a)) {
		fail(a, "it could not be handed to the user's child");
		return;
	}
	nvisits++;
	a->visit = (struct maildir_visit){ .account = account, .local = local, .request = &a->request, .fd = a->fd, .done = visited };
	maildir_visit(&a->visit);
}

static void got(struct ask *a, const struct recall_answer *answer)
{
	if (*answer->account)
		visit(a, answer->account);
	else
		settle(a, answer);
}

static void pump_helper(void)
{
	while (helper.pid && !sent && asks) {
		struct ask *a = take_ask();

		if (is_hung(mailbox_of(a))) {
			fail(a, "the mailbox hung a moment ago");
			continue;
		}
		if (!open_content(a)) {
			fail(a, "the message cannot be read");
			continue;
		}
		if (child_send(&helper, &a->request, recall_size(&a->request), a->fd == -1 ? NULL : &a->fd, a->fd != -1) == 0) {
			sent = a;
			timer_set(&deadline, 1000 * (msec)(config.deadline_s ? config.deadline_s : DEADLINE_S));
		} else if (errno == EAGAIN) {
			put_back(a);
			timer_set(&again, RESTART_MS);
			return;
		} else {
			fail(a, "it could not be handed to its process");
		}
	}
}

static void pump_inline(void)
{
	struct ask *a = take_ask();
	struct recall_answer answer;

	if (a && !open_content(a)) {
		fail(a, "the message cannot be read");
	} else if (a) {
		work(&a->request, a->fd, &answer);
		got(a, &answer);
	}
	if (asks)
		task_post(&pump_task);
}

static void pump(struct task *t)
{
	(void)t;
	if (config.inline_work)
		pump_inline();
	else
		pump_helper();
}

/* ---- the helper's life */

static void answered(struct child *c, const void *data, size_t n, int *fds, size_t nfds)
{
	struct ask *a = sent;
	struct recall_answer answer;

	(void)c;
	for (size_t i = 0; i < nfds; i++)
		close(fds[i]);
	if (n != sizeof answer || !a)
		return;
	memcpy(&answer, data, sizeof answer);
	if (!recall_is_answer(&answer, n) || answer.ticket != a->request.ticket)
		return;
	timer_stop(&deadline);
	sent = NULL;
	got(a, &answer);
	task_post(&pump_task);
}

static void fail_sent(const char *why)
{
	struct ask *a = sent;

	timer_stop(&deadline);
	sent = NULL;
	if (a)
		fail(a, why);
}

static void fail_all(const char *why)
{
	struct ask *a;

	fail_sent(why);
	while ((a = take_ask()))
		fail(a, why);
}

static void helper_gone(struct child *c)
{
	(void)c;
	timer_set(&again, RESTART_MS);
	fail_sent("its process ended unexpectedly");
}

static bool start_helper(void)
{
	helper = (struct child){ .name = "memory", .message = answered, .gone = helper_gone };
	return child_start(&helper, helper_main, NULL) == 0;
}

static void try_again(struct timer *t)
{
	if (!helper.pid && !start_helper()) {
		log_text(LOG_ERROR, "helper-missing", "the process for the memory of mailboxes cannot be started: %s", strerror(errno));
		timer_set(t, 5 * RESTART_MS);
		fail_all("its process cannot be started");
		return;
	}
	task_post(&pump_task);
}

static void deadline_passed(struct timer *t)
{
	(void)t;
	log_text(LOG_WARN, "memory-hangs", "looking into a mailbox took more than %u s: the process is killed and started anew, the mailbox left alone for %u s",
		config.deadline_s ? config.deadline_s : DEADLINE_S, HUNG_MS / 1000);
	if (sent)
		note_hung(mailbox_of(sent));
	child_stop(&helper);
	timer_set(&again, 0);
	fail_sent("the mailbox took too long");
}

/* ---- what the program calls */

const char *recall_start(const struct recall_config *c)
{
	config = *c;
	if (!config.inline_work && !start_helper())
		return "the process for the memory of mailboxes cannot be started";
	started = true;
	return NULL;
}

void recall_stop(void)
{
	if (!started)
		return;
	started = false;
	child_stop(&helper);
	timer_stop(&again);
	task_cancel(&pump_task);
	fail_all("mail is being stopped");
}

/* NULL: no memory, too many wait already, or the text is too long. */
static struct ask *ask_new(enum errand what, struct str text)
{
	struct ask *a = started && nwaiting + nvisits < WAITING_MOST && text.n <= RECALL_TEXT ? calloc(1, sizeof *a - RECALL_TEXT + text.n) : NULL;

	if (!a)
		return NULL;
	a->fd = -1;
	a->request.ticket = ++last_ticket;
	a->request.what = what;
	a->request.now = loop_wall();
	a->request.n = text.n;
	memcpy(a->request.text, text.p, text.n);
	*last_ask = a;
	last_ask = &a->next;
	nwaiting++;
	task_post(&pump_task);
	return a;
}

static void ask(struct fact_source *source, enum fact_kind kind, struct str name, struct fact_ticket *ticket)
{
	static const struct fact not_now = { .outcome = UNKNOWN, .local_fault = true, .why = "mailboxes cannot be looked into now" };
	struct ask *a = ask_new(kind == FACT_CONTENT ? CONTENT : kind == FACT_RULE ? RULE : RECALL, name);

	(void)source;
	if (a)
		a->ticket = ticket;
	else
		fact_answer(ticket, &not_now);
}

struct fact_source *recall_source(void)
{
	static struct fact_source source = { .ask = ask };

	return &source;
}

void recall_wrote(struct str local, struct str address)
{
	struct buf text = { .max = RECALL_TEXT };

	if (started && buf_str(&text, local) && buf_char(&text, '\n') && buf_str(&text, address))
		ask_new(WROTE, buf_view(&text));
	buf_free(&text);
}

static void tell_unkept(struct task *t)
{
	struct refused *r = owner_of(t, struct refused, task);

	r->done(r, false);
}

static void add_plain(struct buf *b, struct str text)
{
	for (size_t i = 0; i < text.n; i++)
		buf_char(b, (unsigned char)text.p[i] < 0x20 || text.p[i] == 0x7f ? '?' : text.p[i]);
}

static struct ask *ask_keep(const struct refused *r)
{
	struct buf text = { .max = RECALL_TEXT };
	struct ask *a = NULL;

	buf_str(&text, r->local);
	buf_char(&text, '\n');
	buf_str(&text, r->reason);
	buf_char(&text, '\n');
	identities_print(&text, r->who);
	buf_puts(&text, "\nReturn-Path: <");
	add_plain(&text, r->sender);
	buf_puts(&text, ">\nDelivered-To: ");
	add_plain(&text, r->to);
	buf_char(&text, '\n');
	if (!text.bad)
		a = ask_new(KEEP, buf_view(&text));
	buf_free(&text);
	return a;
}

void recall_keep(struct refused *r)
{
	int fd = fcntl(r->fd, F_DUPFD_CLOEXEC, 0);
	struct ask *a = fd == -1 ? NULL : ask_keep(r);

	if (a) {
		a->fd = fd;
		a->refused = r;
		a->request.at = r->at;
		a->request.size = r->size;
		a->request.own = r->own;
		memcpy(a->request.id, r->id, sizeof a->request.id);
		return;
	}
	if (fd != -1)
		close(fd);
	r->task.run = tell_unkept;
	task_post(&r->task);
}
