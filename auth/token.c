/* Tokens that commands print. */
#include "auth/token.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/child.h"
#include "lib/clock.h"
#include "lib/str.h"

enum {
	ARGUMENTS = 32,
	BACKSTOP_MS = 5000,             /* a helper that does not keep to the time itself */
	EARLY_S = 30                    /* before its time is over a token is no more used: a login takes a while */
};

struct token {
	unsigned holders;
	char text[];
};

struct source {
	struct node node;               /* of sources: as many as there are commands in the settings, and a few of settings before */
	char command[TOKEN_COMMAND];
	struct token *token;
	int64_t until;                  /* Unix seconds; 0: until it is refused */
	unsigned run;                   /* number of the run that it waits for; 0: none */
	struct timer late;
	struct list waiting;            /* of questions */
	struct task tell;               /* them */
	char why[200];                  /* "": there is a token */
};

static struct list sources;
static struct child helper;
static unsigned last_run;

const char *token_text(const struct token *t) { return t->text; }

struct token *token_hold(struct token *t)
{
	t->holders++;
	return t;
}

void token_drop(struct token *t)
{
	if (!t || --t->holders)
		return;
	explicit_bzero(t->text, strlen(t->text));
	free(t);
}

/* ---- in the helper: a process for each run, so that none waits for another one */

struct request {
	unsigned run;
	char command[TOKEN_COMMAND];
};
struct answer {
	unsigned run;
	int error;                      /* errno: it could not be run */
	int status;                     /* as waitpid() has it */
	bool late, long_one;            /* it took too long; printed too much */
	char text[TOKEN_MAX + 64];
	size_t n;
};

/* "program word word", cut up in place. */
static void run(char *command, int out)
{
	static const int ours[] = { SIGHUP, SIGINT, SIGTERM, SIGALRM, SIGUSR1, SIGUSR2, SIGPIPE };
	char *argv[ARGUMENTS + 1] = { NULL }, *save = NULL;
	int null = open("/dev/null", O_RDONLY);
	size_t n = 0;

	for (char *word = strtok_r(command, " \t", &save); word && n < ARGUMENTS; word = strtok_r(NULL, " \t", &save))
		argv[n++] = word;
	for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
		signal(ours[i], SIG_DFL);
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (dup2(null, 0) == 0 && dup2(out, 1) == 1)
		execv(argv[0], argv);
	_exit(127);
}

/* What it prints, until it has closed its output, printed too much, or the time is over, or nobody wants it any more. */
static void listen_to(int out, int socket, struct answer *a)
{
	int64_t end = clock_monotonic_ms() + TOKEN_RUN_MS;

	for (;;) {
		struct pollfd p[2] = { { .fd = out, .events = POLLIN }, { .fd = socket } };        /* the latter for its end alone */
		int64_t left = end - clock_monotonic_ms();
		ssize_t n;

		a->late = left <= 0 || (poll(p, 2, (int)left) == -1 && errno != EINTR) || p[1].revents;
		if (a->late)
			return;
		if (!p[0].revents)
			continue;
		n = read(out, a->text + a->n, sizeof a->text - a->n);
		if (n <= 0)
			return;
		a->n += (size_t)n;
		a->long_one = a->n == sizeof a->text;
		if (a->long_one)
			return;
	}
}

/* It may have closed its output and go on: that takes too long, too. */
static void wait_for(pid_t pid, struct answer *a)
{
	int64_t end = clock_monotonic_ms() + (a->late || a->long_one ? 0 : BACKSTOP_MS);

	while (waitpid(pid, &a->status, WNOHANG) == 0) {
		if (clock_monotonic_ms() >= end) {
			a->late = a->late || !a->long_one;
			kill(-pid, SIGKILL);
			return;
		}
		poll(NULL, 0, 10);
	}
}

static bool can_run(const char *command)
{
	char program[TOKEN_COMMAND];
	struct str rest = str_of(command), word;

	return str_word(&rest, &word) && str_copy(program, sizeof program, word) && access(program, X_OK) == 0;
}

static void answer(int socket, struct request *r)
{
	static struct answer a;
	int out[2];
	pid_t pid = -1;

	signal(SIGCHLD, SIG_DFL);
	a.run = r->run;
	if (!can_run(r->command) || pipe2(out, O_CLOEXEC) == -1 || (pid = fork()) == -1)
		a.error = errno;
	if (pid == 0)
		run(r->command, out[1]);
	if (pid > 0) {
		close(out[1]);
		listen_to(out[0], socket, &a);
		close(out[0]);
		wait_for(pid, &a);
	}
	child_reply(socket, &a, sizeof a);
}

static int helper_main(int socket, void *arg)
{
	struct request r;
	ssize_t n;

	(void)arg;
	setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
	prctl(PR_SET_DUMPABLE, 0);
	signal(SIGCHLD, SIG_IGN);       /* nobody waits for those who run commands */
	while ((n = child_receive(socket, &r, sizeof r, NULL, NULL)) > 0) {
		struct answer no = { .run = r.run };
		pid_t pid = fork();

		if (pid == 0) {
			answer(socket, &r);
			_exit(0);
		}
		no.error = errno;
		if (pid == -1 && child_reply(socket, &no, sizeof no) == -1)
			return 1;
	}
	return 0;
}

/* ---- ours */

static struct source *source_of(const char *command)
{
	if (!sources.head.next)
		list_init(&sources);
	for (struct node *x = list_first(&sources); x; x = list_next(&sources, x)) {
		struct source *s = owner_of(x, struct source, node);

		if (!strcmp(s->command, command))
			return s;
	}
	return NULL;
}

static void forget(struct source *s)
{
	token_drop(s->token);
	s->token = NULL;
}

struct token *token_known(const char *command)
{
	struct source *s = source_of(command);

	if (s && s->until && loop_wall() >= s->until)
		forget(s);
	return s ? s->token : NULL;
}

void token_refuse(const struct token *t)
{
	for (struct node *x = sources.head.next ? list_first(&sources) : NULL; x; x = list_next(&sources, x)) {
		struct source *s = owner_of(x, struct source, node);

		if (s->token == t)
			forget(s);
	}
}

static void tell(struct task *t)
{
	struct source *s = owner_of(t, struct source, tell);
	struct list now;
	struct node *x;

	list_init(&now);                /* who asks again while he is told waits for the next run */
	while ((x = list_shift(&s->waiting)))
		list_push(&now, x);
	while ((x = list_shift(&now))) {
		struct token_question *q = owner_of(x, struct token_question, node);

		q->done(q, s->why[0] ? s->why : NULL);
	}
}

/* RFC 6750 2.1: letters, digits and -._~+/ with = behind them. */
static bool is_token(struct str t)
{
	for (size_t i = 0; i < t.n; i++)
		if (!ascii_alpha(t.p[i]) && !ascii_digit(t.p[i]) && !memchr("-._~+/=", t.p[i], 7))
			return false;
	return t.n && t.n <= TOKEN_MAX;
}

/* NULL: the token is kept. Else what is wrong with what was printed. */
static const char *take_text(struct source *s, struct str text)
{
	struct str line;
	uint64_t seconds;

	if (!str_cut(&text, '\n', &line)) {
		line = text;
		text = STR("");
	}
	line = str_trim(line);
	text = str_trim(text);
	if (!is_token(line))
		return line.n ? "its first line is no token (letters, digits and -._~+/=, 4096 at most)" : "it has printed nothing";
	if (text.n && (!str_number(text, 10 * 365 * 86400, &seconds) || !seconds))
		return "its second line is no number of seconds from 1 to ten years";
	s->token = calloc(1, sizeof *s->token + line.n + 1);
	if (!s->token)
		return "no memory left";
	s->token->holders = 1;
	memcpy(s->token->text, line.p, line.n);
	s->until = !text.n ? 0 : loop_wall() + (int64_t)(seconds > 2 * EARLY_S ? seconds - EARLY_S : (seconds + 1) / 2);
	return NULL;
}

static void say_why(struct source *s, const struct answer *a)
{
	if (a->error)
		snprintf(s->why, sizeof s->why, "it cannot be run: %s", strerror(a->error));
	else if (a->late)
		snprintf(s->why, sizeof s->why, "it took longer than %d s", TOKEN_RUN_MS / 1000);
	else if (a->long_one)
		snprintf(s->why, sizeof s->why, "it has printed more than a token of %d octets", TOKEN_MAX);
	else if (WIFSIGNALED(a->status))
		snprintf(s->why, sizeof s->why, "it was ended by signal %d", WTERMSIG(a->status));
	else if (WEXITSTATUS(a->status))
		snprintf(s->why, sizeof s->why, "its exit status is %d", WEXITSTATUS(a->status));
}

static void ended(struct source *s)
{
	s->run = 0;
	timer_stop(&s->late);
	task_post(&s->tell);
}

static struct source *source_of_run(unsigned run)
{
	for (struct node *x = list_first(&sources); x; x = list_next(&sources, x))
		if (owner_of(x, struct source, node)->run == run)
			return owner_of(x, struct source, node);
	return NULL;
}

static void take_answer(struct source *s, const struct answer *a)
{
	const char *wrong;

	s->why[0] = '\0';
	say_why(s, a);
	wrong = s->why[0] ? NULL : take_text(s, (struct str){ a->text, a->n <= sizeof a->text ? a->n : 0 });
	if (wrong)
		snprintf(s->why, sizeof s->why, "%s", wrong);
	ended(s);
}

static void answered(struct child *c, const void *p, size_t n, int *fds, size_t nfds)
{
	static struct answer a;
	struct source *s;

	(void)c;
	for (size_t i = 0; i < nfds; i++)
		close(fds[i]);
	if (n != sizeof a)
		return;                 /* who waits hears of it by his timer */
	memcpy(&a, p, sizeof a);
	s = a.run ? source_of_run(a.run) : NULL;
	if (s)
		take_answer(s, &a);
	explicit_bzero(&a, sizeof a);
	explicit_bzero((void *)(uintptr_t)p, n);        /* the buffer of whoever received it */
}

/* It is started again when something is to be run; but a server that is confined by then executes nothing. */
static void gone(struct child *c)
{
	(void)c;
	for (struct node *x = list_first(&sources); x; x = list_next(&sources, x)) {
		struct source *s = owner_of(x, struct source, node);

		if (!s->run)
			continue;
		snprintf(s->why, sizeof s->why, "the helper process that runs it has ended");
		ended(s);
	}
}

static void too_late(struct timer *t)
{
	struct source *s = owner_of(t, struct source, late);

	snprintf(s->why, sizeof s->why, "it took longer than %d s", TOKEN_RUN_MS / 1000);
	ended(s);
}

int token_start(void)
{
	if (helper.pid)
		return 0;
	helper = (struct child){ .name = "token helper", .message = answered, .gone = gone };
	return child_start(&helper, helper_main, NULL);
}

/* 0 or -1 with errno: the command is being run. */
static int begin_run(struct source *s)
{
	struct request r = { .run = last_run + 1 ? last_run + 1 : 1 };

	str_copy(r.command, sizeof r.command, str_of(s->command));
	if (token_start() == -1 || child_send(&helper, &r, sizeof r, NULL, 0) == -1)
		return -1;
	s->run = last_run = r.run;
	timer_set(&s->late, TOKEN_RUN_MS + 2 * BACKSTOP_MS);
	return 0;
}

bool token_ask(struct token_question *q, const char *command)
{
	struct source *s = source_of(command);

	if (!s) {
		s = calloc(1, sizeof *s);
		if (!s)
			return false;
		str_copy(s->command, sizeof s->command, str_of(command));
		list_init(&s->waiting);
		s->tell.run = tell;
		s->late.expired = too_late;
		list_push(&sources, &s->node);
	}
	list_push(&s->waiting, &q->node);
	if (s->run)
		return true;
	s->why[0] = '\0';
	if (token_known(command)) {
		task_post(&s->tell);
	} else if (begin_run(s) == -1) {
		snprintf(s->why, sizeof s->why, "no process for it: %s", strerror(errno));
		task_post(&s->tell);
	}
	return true;
}

void token_stop(void)
{
	struct node *x;

	child_stop(&helper);
	while (sources.head.next && (x = list_shift(&sources))) {
		struct source *s = owner_of(x, struct source, node);

		timer_stop(&s->late);
		task_cancel(&s->tell);
		forget(s);
		while (list_shift(&s->waiting))
			;
		free(s);
	}
}
