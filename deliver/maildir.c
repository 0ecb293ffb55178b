/* The last metre: who is asked to put a message into a Maildir, and for how long. */
#include "deliver/maildir.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "deliver/command.h"
#include "deliver/mailbox.h"
#include "lib/child.h"
#include "lib/list.h"
#include "lib/log.h"
#include "lib/map.h"
#include "lib/root.h"
#include "parse.h"

enum {
	OUTSTANDING = 16,               /* requests sent ahead: more would only share the fate of one that hangs */
	USERS_AT_ONCE = 16,             /* children of users */
	COMMANDS_AT_ONCE = 8,           /* of those that run a command: how much that costs is the user's choice */
	DEADLINE_S = 60,
	RESTART_MS = 1000,              /* a helper that dies at once must not be forked in a circle */
	RETRY_MS = 200, REFUSED_MOST = 50,
	HUNG_MS = 300000,
	VISITS_AT_ONCE = 16,            /* children of users that somebody's reply waits for */
	VISIT_S = 5,
	LINGER_MS = 2000                /* such a child waits so long for the next question, which is often the same message's */
};

/* Errands that wait, the first first. */
struct errands {
	struct maildir_errand *first, **last;
};

struct question {
	struct maildir_errand errand;
	struct fact_ticket *ticket;
	bool postmaster;
	char user[LOCAL_MAX + 1];
	char path[PATH_ROOM];           /* it was found; now its user's child is asked whether it is full */
};

/* Children of users, so many at a time. */
struct lane {
	const char *what;               /* they do */
	const unsigned most;
	unsigned running;
	struct list waiting;            /* workers */
};
static struct lane mailboxes = { .what = "delivery to the mailbox", .most = USERS_AT_ONCE },
	commands = { .what = "the command", .most = COMMANDS_AT_ONCE }, visits = { .what = "looking into the mailbox", .most = VISITS_AT_ONCE };

/* A helper process, ours or a user's, and what waits for it. */
struct worker {
	struct map_node node;           /* key: user; ours is in no map */
	struct node waiting;            /* in its lane */
	char user[1 + LOCAL_MAX + 1];   /* "": ours; "|anna": hers for commands, which may take minutes; "?anna": for what a reply waits for */
	struct child helper;
	bool hello;                     /* a user's: he has been become */
	struct maildir_errand *outstanding[OUTSTANDING];        /* sent, the oldest first: answers come in order */
	size_t noutstanding;
	unsigned refused;               /* requests in a row that the kernel had no memory to carry */
	struct errands questions, jobs;
	struct task pump;
	struct timer deadline, again;
	msec hung_until, answered_at;
};

static struct maildir_config config;
static struct worker own;
static struct map users;
static pid_t self;
static uint64_t last_ticket;
static bool started;

static void begin(struct maildir_errand *);

/* ---- errands */

static bool is_job(const struct maildir_errand *e) { return e->kind == WORK_DELIVER || e->kind == WORK_RUN; }
static struct maildir_job *job_of(struct maildir_errand *e) { return owner_of(e, struct maildir_job, errand); }
static struct question *question_of(struct maildir_errand *e) { return owner_of(e, struct question, errand); }
static struct maildir_visit *visit_of(struct maildir_errand *e) { return owner_of(e, struct maildir_visit, errand); }

static void append(struct errands *l, struct maildir_errand *e)
{
	e->next = NULL;
	if (!l->first)
		l->last = &l->first;
	*l->last = e;
	l->last = &e->next;
}

static void put_back(struct errands *l, struct maildir_errand *e)
{
	if (!l->first)
		l->last = &e->next;
	e->next = l->first;
	l->first = e;
}

static struct maildir_errand *take(struct errands *l)
{
	struct maildir_errand *e = l->first;

	if (e)
		l->first = e->next;
	return e;
}

/* Whose mailbox it is must be found out first. */
static bool is_to_be_found(const struct maildir_errand *e)
{
	switch ((enum work_kind)e->kind) {
	case WORK_DELIVER:
		return !e->found && mailbox_in_homes(str_of(config.template));
	case WORK_ASK:
		return !e->found && config.quota && root_in_force() && mailbox_in_homes(str_of(config.template));
	case WORK_RUN:
	case WORK_FORWARD:
		return !e->found;
	case WORK_OWNER:
	case WORK_RECALL:
		break;
	}
	return false;
}

/* What somebody waits for at the other end of a session goes first, and so does what opens the way to a user's child. */
static struct errands *queue_of(struct worker *w, const struct maildir_errand *e)
{
	return is_job(e) && !is_to_be_found(e) ? &w->jobs : &w->questions;
}

static bool anything_waits(const struct worker *w) { return w->questions.first || w->jobs.first; }

/* ---- answers to those who asked */

/* a NULL: it cannot be found out. text: of WORK_FORWARD. A home that tells nothing is not full. */
static void settle_question(struct question *q, const struct work_result *a, struct str text, const char *why)
{
	enum outcome outcome = *q->path ? FOUND : a ? a->outcome : UNKNOWN;
	bool forward = q->errand.kind == WORK_FORWARD;
	struct str path = str_of(*q->path ? q->path : a ? a->path : "");
	struct record record[2] = { { .data = forward ? text : path }, { .data = forward ? path : STR("full") } };
	struct fact f = { .outcome = outcome, .n = outcome != FOUND ? 0 : forward || (a && a->full) ? 2 : 1, .record = record,
		.local_fault = outcome == UNKNOWN, .why = outcome == UNKNOWN ? why : NULL };

	fact_answer(q->ticket, &f);
	free(q);
}

static void fail(struct maildir_errand *e, const char *why)
{
	struct reply r;

	reply_set(&r, 451, "4.3.0", "%s", why);
	if (is_job(e))
		job_of(e)->done(job_of(e), &r);
	else if (e->kind == WORK_RECALL)
		visit_of(e)->done(visit_of(e), NULL, 0, why);
	else
		settle_question(question_of(e), NULL, STR(""), why);
}

/* Of something whose owner was asked for. */
static void found_out(struct maildir_errand *e, struct work_result *a)
{
	switch (a->outcome) {
	case FOUND:
		if (e->kind == WORK_ASK && !*a->account)
			break;
		if (e->kind == WORK_ASK)
			str_copy(question_of(e)->path, PATH_ROOM, str_of(a->path));
		e->found = true;
		str_copy(e->account, sizeof e->account, str_of(a->account));
		begin(e);
		return;
	case NO_NAME:
	case NO_DATA:
		reply_set(&a->reply, 550, "5.1.1", "there is no user of that name here");
		break;
	case UNKNOWN:
		break;
	}
	if (is_job(e))
		job_of(e)->done(job_of(e), &a->reply);
	else
		settle_question(question_of(e), a, STR(""), a->reply.text);
}

static void settle(struct maildir_errand *e, struct work_result *a, struct str text)
{
	if (is_to_be_found(e))
		found_out(e, a);
	else if (e->kind == WORK_RECALL)
		visit_of(e)->done(visit_of(e), text.p, text.n, NULL);
	else if (!is_job(e))
		settle_question(question_of(e), a, text, a->reply.text);
	else
		job_of(e)->done(job_of(e), &a->reply);
}

/* Everything that was sent to the helper is answered as a failure that may pass. */
static void fail_outstanding(struct worker *w, const char *oldest, const char *others)
{
	struct maildir_errand *failed[OUTSTANDING];
	size_t n = w->noutstanding;

	memcpy(failed, w->outstanding, n * sizeof failed[0]);
	w->noutstanding = 0;
	timer_stop(&w->deadline);
	for (size_t i = 0; i < n; i++)
		fail(failed[i], i ? others : oldest);
}

/* Nobody is left waiting for a helper that cannot be had. */
static void fail_waiting(struct worker *w, const char *why)
{
	struct errands jobs = w->jobs, questions = w->questions;
	struct maildir_errand *e;

	w->jobs = w->questions = (struct errands){ 0 };
	while ((e = take(&questions)))
		fail(e, why);
	while ((e = take(&jobs)))
		fail(e, why);
}

static bool is_for_commands(const struct worker *w) { return w->user[0] == '|'; }
static bool is_for_visits(const struct worker *w) { return w->user[0] == '?'; }
static struct lane *lane_of(const struct worker *w) { return is_for_commands(w) ? &commands : is_for_visits(w) ? &visits : &mailboxes; }

/* A command that does not end is given up by its child first, who can tell what it has said. */
static unsigned deadline_s(const struct worker *w)
{
	if (is_for_commands(w))
		return 10 + (config.command_s ? config.command_s : COMMAND_S);
	return is_for_visits(w) ? VISIT_S : config.deadline_s ? config.deadline_s : DEADLINE_S;
}

/* The clock of a request starts when it becomes the oldest: that is when the helper turns to it. */
static void watch_oldest(struct worker *w)
{
	if (w->noutstanding)
		timer_set(&w->deadline, (msec)deadline_s(w) * 1000);
	else
		timer_stop(&w->deadline);
}

/* ---- sending */

/* The mailbox's name; a tag may hold what no such name can (anna+bob=example.org), and then is left out. */
static bool name_of(struct str local, char user[LOCAL_MAX + 1])
{
	struct buf plain = { .max = LOCAL_MAX };
	struct str rest, base;
	bool ok = maildir_user(local, user);

	if (!ok && config.separator && addr_local_unquoted(&plain, &(struct addr){ .local = local })) {
		rest = buf_view(&plain);
		ok = str_cut(&rest, config.separator, &base) && maildir_user(base, user);
	}
	buf_free(&plain);
	return ok;
}

static bool is_postmaster(const char *user) { return !strcmp(user, "postmaster"); }

/* "bob@example.org": the mailbox's name, so that all spellings of an address are one recipient to the loop check. */
static bool print_delivered_to(const struct addr *to, const char *user, char out[ADDRESS_ROOM])
{
	struct str domain = to->domain.n ? to->domain : str_of(config.hostname);
	size_t n = strlen(user);

	if (!str_copy(out, ADDRESS_ROOM, str_of(user)) || n + 1 + domain.n >= ADDRESS_ROOM)
		return false;
	out[n++] = '@';
	for (size_t i = 0; i < domain.n; i++)
		out[n++] = ascii_lower(domain.p[i]);
	out[n] = 0;
	return true;
}

/* Whom a command's message is for: as the sender has written, else what we know of it. */
static bool print_recipient(const struct maildir_job *job, const char *command, char out[ADDRESS_ROOM])
{
	struct str type, address = job->original, name = str_of(command), base;
	struct buf text = { .max = ADDRESS_ROOM - 1 };
	bool ok;

	if (str_cut(&address, ';', &type) && str_eq_nocase(type, STR("rfc822")) && xtext_decode(&text, address)) {
		ok = true;
	} else {
		buf_clear(&text);
		str_cut_last(&name, '|', &base);
		buf_str(&text, str_from(base, base.n && base.p[0] == '~'));
		ok = memchr(text.p, '@', text.n) || buf_printf(&text, "@%s", config.hostname);
	}
	ok = ok && !text.bad && str_copy(out, ADDRESS_ROOM, buf_view(&text));
	buf_free(&text);
	return ok;
}

static bool request_command(const struct maildir_job *job, struct work *q, struct reply *r)
{
	struct buf plain = { .max = LOCAL_MAX };
	bool ok = addr_local_unquoted(&plain, job->to) && memchr(plain.p, '|', plain.n) && str_copy(q->command, sizeof q->command, buf_view(&plain));

	buf_free(&plain);
	q->kind = is_to_be_found(&job->errand) ? WORK_OWNER : WORK_RUN;
	if (ok && config.pipes && print_recipient(job, q->command, q->recipient) && str_copy(q->sender, sizeof q->sender, job->sender)
	    && str_copy(q->id, sizeof q->id, str_of(job->id)))
		return true;
	if (!config.pipes)
		reply_set(r, 451, "4.3.5", "commands are not run here any more: set pipes = yes, or drop the message");
	else
		reply_set(r, 554, "5.1.3", "that is no command's address, or one that is too long");
	return false;
}

/* False: it needs no helper, r says the result. */
static bool request_delivery(const struct maildir_job *job, struct work *q, struct reply *r)
{
	*q = (struct work){ .kind = is_to_be_found(&job->errand) ? WORK_ASK : WORK_DELIVER, .at = job->at, .size = job->size, .own = job->own };
	if (job->errand.kind == WORK_RUN)
		return request_command(job, q, r);
	if (!name_of(job->to->local, q->user)) {
		reply_set(r, 550, "5.1.1", "there is no mailbox of that name here");
		return false;
	}
	q->postmaster = is_postmaster(q->user);
	if (!print_delivered_to(job->to, q->user, q->delivered_to) || !str_copy(q->sender, sizeof q->sender, job->sender)
	    || !str_copy(q->id, sizeof q->id, str_of(job->id))) {
		reply_set(r, 554, "5.1.3", "an address of the message is too long");
		return false;
	}
	return true;
}

static void request_answer(const struct question *question, struct work *q)
{
	const struct maildir_errand *e = &question->errand;

	*q = (struct work){ .kind = is_to_be_found(e) ? WORK_ASK : (enum work_kind)e->kind, .postmaster = question->postmaster };
	str_copy(q->user, sizeof q->user, str_of(question->user));
}

static void request_visit(const struct maildir_visit *v, struct work *q)
{
	*q = (struct work){ .kind = WORK_RECALL };
	name_of(v->local, q->user);
	q->postmaster = is_postmaster(q->user);
	memcpy(q->recall, v->request, recall_size(v->request));
}

/* The next request; q has room for one behind it. NULL: none, or it was settled without one. */
static struct maildir_errand *next_request(struct worker *w, struct work *q)
{
	struct maildir_errand *e = take(&w->questions);
	struct reply r;

	if (!e && !(e = take(&w->jobs)))
		return NULL;
	if (e->kind == WORK_RECALL) {
		request_visit(visit_of(e), q);
	} else if (!is_job(e)) {
		request_answer(question_of(e), q);
	} else if (!request_delivery(job_of(e), q, &r)) {
		job_of(e)->done(job_of(e), &r);
		return NULL;
	}
	q->ticket = e->ticket = ++last_ticket;
	return e;
}

/* A user's child can read the message, and not write to it; and its lock is one of its own. */
static int message_for(const struct worker *w, const struct maildir_job *job)
{
	char path[40];

	if (w == &own)
		return job->fd;
	snprintf(path, sizeof path, "/proc/self/fd/%d", job->fd);
	return open(path, O_RDONLY | O_CLOEXEC);
}

/* False with errno: the request could not be sent now. */
static bool send_request(struct worker *w, struct maildir_errand *e, const struct work *q)
{
	bool with = q->kind == WORK_DELIVER || q->kind == WORK_RUN, visit = q->kind == WORK_RECALL;
	int fd = with ? message_for(w, job_of(e)) : visit ? visit_of(e)->fd : -1, r = -1, saved;

	if (!with || fd != -1)
		r = child_send(&w->helper, q, sizeof *q + (visit ? recall_size(q->recall) : 0), &fd, fd != -1);
	saved = errno;
	if (with && fd != -1 && w != &own)
		close(fd);
	errno = saved;
	if (r == -1)
		return false;
	w->refused = 0;
	w->outstanding[w->noutstanding++] = e;
	if (w->noutstanding == 1)
		watch_oldest(w);
	return true;
}

/* What cannot be sent though nothing is on its way will not be sendable by waiting for an answer: it is tried again for ten seconds, then
 * nothing waits any more until something can be sent, as a client waits for the reply. */
static void cannot_send(struct worker *w, struct maildir_errand *e)
{
	char why[160];

	if (errno == EBADF || errno == EINVAL || errno == EMSGSIZE || errno == ENOENT || errno == EACCES ||
	    (!w->noutstanding && ++w->refused > REFUSED_MOST)) {
		snprintf(why, sizeof why, "%s could not be handed to delivery: %s", is_job(e) ? "the message" : "the question", strerror(errno));
		fail(e, why);
		task_post(&w->pump);
		return;
	}
	put_back(queue_of(w, e), e);
	if (!w->noutstanding)
		timer_set(&w->again, RETRY_MS);
}

static void send_requests(struct worker *w)
{
	static union work_room room;
	struct maildir_errand *e;

	while (w->helper.pid && w->noutstanding < OUTSTANDING && anything_waits(w)) {
		if (!(e = next_request(w, &room.work)))
			continue;
		if (send_request(w, e, &room.work))
			continue;
		cannot_send(w, e);
		return;
	}
}

/* One piece of work a turn: the loop goes on between two messages. */
static void pump_inline(void)
{
	struct maildir_errand *e;
	struct buf text = { 0 };
	struct work_result a;
	struct work q;

	if ((e = next_request(&own, &q))) {
		mailbox_work(&q, q.kind == WORK_DELIVER ? job_of(e)->fd : -1, NULL, &a, &text);
		settle(e, &a, buf_view(&text));
		buf_free(&text);
	}
	if (anything_waits(&own))
		task_post(&own.pump);
}

static void pump_own(struct task *t)
{
	(void)t;
	if (config.inline_work)
		pump_inline();
	else
		send_requests(&own);
}

/* ---- answers of a helper */

static void answered(struct worker *w, const void *data, size_t n)
{
	struct maildir_errand *oldest = w->outstanding[0];
	struct work_result a;

	if (n < sizeof a || !w->noutstanding)
		return;
	memcpy(&a, data, sizeof a);
	if (a.text_n != n - sizeof a)
		return;
	if (a.ticket != oldest->ticket) {
		log_event(LOG_ERROR, "helper-out-of-step", LF(L_TEXT("name", w->helper.name)));
		return;                 /* the deadline settles what is left */
	}
	w->answered_at = loop_now();
	w->noutstanding--;
	memmove(w->outstanding, w->outstanding + 1, w->noutstanding * sizeof w->outstanding[0]);
	watch_oldest(w);
	settle(oldest, &a, (struct str){ (const char *)data + sizeof a, a.text_n });
	task_post(&w->pump);
}

static void close_all(const int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		close(fds[i]);
}

/* ---- our helper's life */

static bool parent_is_there(void) { return getppid() == self; }

static int own_main(int socket, void *arg)
{
	(void)arg;
	return mailbox_serve(socket, parent_is_there);
}

static void own_answered(struct child *c, const void *data, size_t n, int *fds, size_t nfds)
{
	(void)c;
	close_all(fds, nfds);
	answered(&own, data, n);
}

static void own_gone(struct child *c)
{
	(void)c;
	timer_set(&own.again, RESTART_MS);
	fail_outstanding(&own, "the delivery process ended unexpectedly", "the delivery process ended unexpectedly");
}

static bool start_own(void)
{
	own.helper = (struct child){ .name = "maildir", .message = own_answered, .gone = own_gone };
	self = getpid();
	return child_start(&own.helper, own_main, NULL) == 0;
}

static void try_own_again(struct timer *t)
{
	if (!own.helper.pid && !start_own()) {
		log_text(LOG_ERROR, "helper-missing", "the delivery process cannot be started: %s", strerror(errno));
		timer_set(t, 5 * RESTART_MS);
		fail_waiting(&own, "the delivery process cannot be started");
		return;
	}
	task_post(&own.pump);
}

/* ---- lives of users' children */

static int user_socket;

/* The program's end of the socket is closed when it has died, or has given us up. */
static bool somebody_waits(void)
{
	struct pollfd p = { .fd = user_socket };

	return poll(&p, 1, 0) != 1 || !(p.revents & (POLLHUP | POLLERR));
}

int maildir_user_main(int socket, const struct account *a)
{
	user_socket = socket;
	mailbox_become(a);
	return mailbox_serve(socket, somebody_waits);
}

static void user_ended(struct worker *w)
{
	struct node *next = list_shift(&lane_of(w)->waiting);

	w->hello = false;
	lane_of(w)->running--;
	if (next)
		task_post(&owner_of(next, struct worker, waiting)->pump);
}

static const char *account_of(const struct worker *w) { return w->user + (is_for_commands(w) || is_for_visits(w)); }

static void end_user(struct worker *w)
{
	if (!w->helper.pid)
		return;
	child_stop(&w->helper);
	user_ended(w);
}

/* The child says what became of it. False: it is no child to work with. */
static bool greeted(struct worker *w, const void *data, size_t n)
{
	struct root_hello h;
	char why[200];

	if (n != sizeof h)
		return true;
	memcpy(&h, data, sizeof h);
	w->hello = true;
	if (h.status == ROOT_READY)
		return true;
	snprintf(why, sizeof why, "no delivery can be started as %s: %s", account_of(w), h.status == ROOT_NOBODY ? "there is no such account" :
		h.status == ROOT_IS_ROOT ? "that is root" : strerror(h.error));
	end_user(w);
	fail_outstanding(w, why, why);
	fail_waiting(w, why);
	return false;
}

static void user_answered(struct child *c, const void *data, size_t n, int *fds, size_t nfds)
{
	struct worker *w = owner_of(c, struct worker, helper);

	close_all(fds, nfds);
	if (w->hello)
		answered(w, data, n);
	else if (!greeted(w, data, n))
		task_post(&w->pump);
}

static void user_gone(struct child *c)
{
	struct worker *w = owner_of(c, struct worker, helper);
	static const char why[] = "the user's delivery process ended, or could not be started";

	user_ended(w);
	fail_outstanding(w, why, why);
	if (anything_waits(w))
		timer_set(&w->again, RESTART_MS);
	else
		task_post(&w->pump);
}

static void forget_user(struct worker *w)
{
	end_user(w);
	timer_stop(&w->deadline);
	timer_stop(&w->again);
	task_cancel(&w->pump);
	list_remove(&lane_of(w)->waiting, &w->waiting);
	map_remove(&users, &w->node);
	free(w);
}

/* One that waits for a next question makes place. */
static void end_idle(struct lane *lane)
{
	for (struct map_node *x = map_next(&users, NULL); x; x = map_next(&users, x)) {
		struct worker *w = owner_of(x, struct worker, node);

		if (lane_of(w) != lane || !w->helper.pid || w->noutstanding || anything_waits(w))
			continue;
		forget_user(w);
		return;
	}
}

/* False: not now. */
static bool start_user(struct worker *w)
{
	struct lane *lane = lane_of(w);
	char why[160];

	if (lane->running >= lane->most)
		end_idle(lane);
	if (lane->running >= lane->most) {
		if (!list_holds(&w->waiting))
			list_push(&lane->waiting, &w->waiting);
		return false;
	}
	w->helper = (struct child){ .name = "user", .message = user_answered, .gone = user_gone };
	if (root_child(&w->helper, account_of(w)) == 0) {
		lane->running++;
		return true;
	}
	if (errno == EAGAIN) {
		timer_set(&w->again, RETRY_MS);
		return false;
	}
	snprintf(why, sizeof why, "no delivery can be started as %s: %s", account_of(w), root_in_force() ? strerror(errno) :
		"the process that starts them has ended. Start the server again");
	fail_waiting(w, why);
	return false;
}

static void pump_user(struct task *t)
{
	struct worker *w = owner_of(t, struct worker, pump);

	if (w->hung_until > loop_now()) {
		fail_waiting(w, "the user's home did not answer a few minutes ago; it is tried again later");
		timer_set(&w->again, w->hung_until - loop_now());
		return;
	}
	if (anything_waits(w) && !w->helper.pid && !timer_armed(&w->again))
		start_user(w);
	send_requests(w);
	if (w->noutstanding || anything_waits(w))
		return;
	if (is_for_visits(w) && w->helper.pid && loop_now() < w->answered_at + LINGER_MS)
		timer_set(&w->again, w->answered_at + LINGER_MS - loop_now());
	else
		forget_user(w);
}

static void try_user_again(struct timer *t) { task_post(&owner_of(t, struct worker, again)->pump); }

/* ---- workers */

static void deadline_passed(struct timer *t)
{
	struct worker *w = owner_of(t, struct worker, deadline);
	char oldest[100], others[100];

	snprintf(oldest, sizeof oldest, "%s took more than %u s", lane_of(w)->what, deadline_s(w));
	snprintf(others, sizeof others, "the delivery before this one took more than %u s", deadline_s(w));
	log_text(LOG_WARN, is_for_visits(w) ? "memory-hangs" : "delivery-hangs", "%s%s%s: its process is killed and started anew", oldest, w == &own ? "" : ", as ", account_of(w));
	if (w == &own) {
		child_stop(&w->helper);
		timer_set(&w->again, 0);
	} else {
		end_user(w);
		w->hung_until = is_for_commands(w) ? 0 : loop_now() + HUNG_MS;
		task_post(&w->pump);
	}
	fail_outstanding(w, oldest, others);
}

static void init_worker(struct worker *w, const char *user)
{
	*w = (struct worker){ .deadline = { .expired = deadline_passed } };
	str_copy(w->user, sizeof w->user, str_of(user));
	w->pump.run = *user ? pump_user : pump_own;
	w->again.expired = *user ? try_user_again : try_own_again;
}

/* NULL: no memory. */
static struct worker *worker_of(const struct maildir_errand *e)
{
	char user[sizeof own.user];
	struct map_node *x;
	struct worker *w;

	if (!*e->account)
		return &own;
	snprintf(user, sizeof user, "%s%s", e->kind == WORK_RUN ? "|" : e->kind == WORK_RECALL || e->kind == WORK_ASK ? "?" : "", e->account);
	if ((x = map_get(&users, str_of(user))))
		return owner_of(x, struct worker, node);
	if (!(w = malloc(sizeof *w)))
		return NULL;
	init_worker(w, user);
	if (map_put(&users, &w->node, str_of(w->user)))
		return w;
	free(w);
	return NULL;
}

/* Its worker answers, later. */
static void begin(struct maildir_errand *e)
{
	struct worker *w = worker_of(e);

	if (!w) {
		fail(e, "out of memory here");
		return;
	}
	append(queue_of(w, e), e);
	task_post(&w->pump);
}

/* ---- what the program calls */

static const char *check_template(const char *template)
{
	char path[PATH_ROOM];

	if (!template || !*template)
		return "no path for mailboxes is given";
	if (!strstr(template, "{user}") && !mailbox_in_homes(str_of(template)))
		return "the path for mailboxes must hold {user}, or begin with ~/";
	if (!mailbox_fill(str_of(template), "a", "/home/a", path, sizeof path - LOCAL_MAX))
		return "the path for mailboxes is too long, or holds a brace that is neither {user} nor {home}";
	if (mailbox_in_homes(str_of(template)) && (strncmp(path, "/home/a/", 8) != 0 || !path[8]))
		return "the path for mailboxes must go on behind the home: ~/Maildir/";
	return NULL;
}

enum kept { KEEP_TEMPLATE, KEEP_POSTMASTER, KEEP_FALLBACK, KEEP_HOSTNAME, KEEP_PIPE_USER, KEEP_ALIASES, KEEP_VIRTUAL, KEPT };

/* A helper may be forked when whoever has set this is long gone. What is too long here is too long for a path, too. */
static const char *keep(enum kept which, const char *text)
{
	static char kept[KEPT][PATH_ROOM];

	if (text == kept[which])
		return text;            /* configured again */
	return text && str_copy(kept[which], PATH_ROOM, str_of(text)) ? kept[which] : NULL;
}

const char *maildir_configure(const struct maildir_config *c)
{
	char user[LOCAL_MAX + 1];
	const char *wrong = check_template(c->template);

	if (wrong)
		return wrong;
	if (c->postmaster && !maildir_user(str_of(c->postmaster), user))
		return "postmaster's user is no name that a mailbox can have";
	config = *c;
	config.template = keep(KEEP_TEMPLATE, c->template);
	config.postmaster = keep(KEEP_POSTMASTER, c->postmaster);
	config.fallback = keep(KEEP_FALLBACK, c->fallback);
	config.hostname = keep(KEEP_HOSTNAME, c->hostname && *c->hostname ? c->hostname : "localhost");
	config.pipe_user = keep(KEEP_PIPE_USER, c->pipe_user);
	config.aliases = keep(KEEP_ALIASES, c->aliases);
	config.virtual = keep(KEEP_VIRTUAL, c->virtual);
	mailbox_configure(&config);
	return NULL;
}

const char *maildir_start(const struct maildir_config *c)
{
	const char *wrong;

	assert(!started);
	if ((wrong = maildir_configure(c)))
		return wrong;
	init_worker(&own, "");
	list_init(&mailboxes.waiting);
	list_init(&commands.waiting);
	list_init(&visits.waiting);
	if (!config.inline_work && !start_own())
		return "the delivery process cannot be started";
	started = true;
	return NULL;
}

/* Jobs get no answer. */
static void abandon(struct worker *w)
{
	static const char why[] = "mail delivery is being stopped";
	struct maildir_errand *e;

	child_stop(&w->helper);
	timer_stop(&w->deadline);
	timer_stop(&w->again);
	task_cancel(&w->pump);
	for (size_t i = 0; i < w->noutstanding; i++)
		if (!is_job(w->outstanding[i]))
			fail(w->outstanding[i], why);
	w->noutstanding = 0;
	while ((e = take(&w->questions)))
		if (!is_job(e))
			fail(e, why);
	w->jobs.first = NULL;
}

void maildir_stop(void)
{
	struct map_node *x;

	abandon(&own);
	while ((x = map_next(&users, NULL))) {
		struct worker *w = owner_of(x, struct worker, node);

		abandon(w);
		map_remove(&users, x);
		free(w);
	}
	map_free(&users);
	mailboxes.running = commands.running = visits.running = 0;
	started = false;
}

void maildir_deliver(struct maildir_job *job)
{
	job->errand = (struct maildir_errand){ .kind = job->command ? WORK_RUN : WORK_DELIVER };
	begin(&job->errand);
}

void maildir_visit(struct maildir_visit *v)
{
	v->errand = (struct maildir_errand){ .kind = WORK_RECALL, .found = true };
	str_copy(v->errand.account, sizeof v->errand.account, str_of(v->account));
	begin(&v->errand);
}

static void ask(struct fact_source *source, enum fact_kind kind, struct str name, struct fact_ticket *ticket)
{
	static const struct fact no_name = { .outcome = NO_NAME };
	static const struct fact not_now = { .outcome = UNKNOWN, .local_fault = true, .why = "mailboxes cannot be looked up now" };
	struct question *q;
	char user[LOCAL_MAX + 1];

	(void)source;
	if (!name_of(name, user)) {
		fact_answer(ticket, &no_name);
		return;
	}
	q = started ? calloc(1, sizeof *q) : NULL;
	if (!q) {
		fact_answer(ticket, &not_now);
		return;
	}
	q->errand.kind = kind == FACT_FORWARD ? WORK_FORWARD : WORK_ASK;
	q->ticket = ticket;
	q->postmaster = is_postmaster(user);
	str_copy(q->user, sizeof q->user, str_of(user));
	begin(&q->errand);
}

struct fact_source *maildir_source(void)
{
	static struct fact_source source = { .ask = ask };

	return &source;
}

int maildir_open(struct str local, bool *missing, char account[LOCAL_MAX + 1])
{
	struct work q = { .kind = WORK_ASK };

	*missing = !name_of(local, q.user);
	if (*missing)
		return -1;
	q.postmaster = is_postmaster(q.user);
	return mailbox_open(&q, missing, account);
}
