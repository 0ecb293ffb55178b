/* Passwords compared by a helper process. */
#include "auth/verify.h"

#include <errno.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "auth/users.h"
#include "lib/child.h"
#include "lib/log.h"

enum { AGAIN_MS = 1000 };

struct question {
	unsigned number;
	unsigned secret, password;      /* octets of each, behind this */
	char text[1024 + PASSWORD_MAX];
};
struct answer {
	unsigned number, matches;
};

static struct verification *pending[VERIFY_WAITING];
static unsigned last;
static bool in_line;

/* ---- in the helper */

/* What it computes with must not be found in a file afterwards. */
static void keep_secret(void)
{
	setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
	prctl(PR_SET_DUMPABLE, 0);
}

static bool compare(const struct question *q)
{
	return secret_matches((struct str){ q->text, q->secret }, (struct str){ q->text + q->secret, q->password });
}

static int helper_main(int socket, void *arg)
{
	struct question q;
	ssize_t n;

	(void)arg;
	keep_secret();
	while ((n = child_receive(socket, &q, sizeof q, NULL, NULL)) > 0) {
		struct answer a = { .number = q.number };

		a.matches = (size_t)n >= offsetof(struct question, text) && (size_t)q.secret + q.password <= sizeof q.text && compare(&q);
		explicit_bzero(&q, sizeof q);
		if (child_reply(socket, &a, sizeof a) == -1)
			return 1;
	}
	return 0;
}

/* ---- ours */

static void settle(unsigned number, bool matches)
{
	for (size_t i = 0; i < VERIFY_WAITING; i++) {
		struct verification *v = pending[i];

		if (!v || v->number != number)
			continue;
		pending[i] = NULL;
		v->number = 0;
		v->done(v, matches);
		return;
	}
}

static void answered(struct child *c, const void *p, size_t n, int *fds, size_t nfds)
{
	struct answer a;

	(void)c;
	(void)fds;
	(void)nfds;
	if (n != sizeof a)
		return;
	memcpy(&a, p, sizeof a);
	settle(a.number, a.matches == 1);
}

static struct child helper;

/* Not at once: one that dies at once must not be forked in a circle. */
static void start_again(struct timer *t)
{
	if (verify_start(false) == 0)
		return;
	log_text(LOG_ERROR, "login-helper", "cannot be started again: %s. Nobody can log in with a password", strerror(errno));
	timer_set(t, AGAIN_MS);
}
static struct timer again = { .expired = start_again };

/* What it was asked is answered by no; it is started again. */
static void helper_gone(struct child *c)
{
	(void)c;
	for (size_t i = 0; i < VERIFY_WAITING; i++)
		if (pending[i])
			settle(pending[i]->number, false);
	timer_set(&again, AGAIN_MS);
}

/* ---- without a helper */

static struct answer inline_answer;
static void inline_done(struct task *t)
{
	(void)t;
	settle(inline_answer.number, inline_answer.matches);
}
static struct task inline_task = { .run = inline_done };

int verify_start(bool inline_work)
{
	in_line = inline_work;
	if (inline_work)
		return 0;
	helper = (struct child){ .name = "login helper", .message = answered, .gone = helper_gone };
	return child_start(&helper, helper_main, NULL);
}

void verify_stop(void)
{
	if (helper.pid)
		child_stop(&helper);
	helper.pid = 0;
	timer_stop(&again);
	memset(pending, 0, sizeof pending);
	task_cancel(&inline_task);
}

static bool ask(struct question *q, size_t n)
{
	if (in_line) {
		inline_answer = (struct answer){ .number = q->number, .matches = compare(q) };
		task_post(&inline_task);
		return true;
	}
	return helper.pid && child_send(&helper, q, n, NULL, 0) == 0;
}

bool verify_begin(struct verification *v, struct str secret, struct str password)
{
	struct question q = { .secret = (unsigned)secret.n, .password = (unsigned)password.n };
	size_t at = 0;
	bool ok;

	while (at < VERIFY_WAITING && pending[at])
		at++;
	if (at == VERIFY_WAITING || (in_line && inline_task.posted) || password.n > PASSWORD_MAX || secret.n + password.n > sizeof q.text)
		return false;
	q.number = ++last ? last : ++last;
	memcpy(q.text, secret.p, secret.n);
	memcpy(q.text + secret.n, password.p, password.n);
	ok = ask(&q, offsetof(struct question, text) + secret.n + password.n);
	explicit_bzero(&q.text, sizeof q.text);
	if (!ok)
		return false;
	v->number = q.number;
	pending[at] = v;
	return true;
}

void verify_cancel(struct verification *v)
{
	for (size_t i = 0; v->number && i < VERIFY_WAITING; i++)
		if (pending[i] == v)
			pending[i] = NULL;
	v->number = 0;
}
