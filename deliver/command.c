/* Commands of aliases and .forward files. */
#include "deliver/command.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/list.h"
#include "parse.h"

enum {
	TEXT_ROOM = 2048,               /* of a command's words */
	OUTPUT_KEPT = 300,              /* octets for the report: the reason is in the first line */
	CHUNK = 16384,
	FILES_MAX = 1024,               /* more than lib/root.h lets a child have */
	LOOK_MS = 100                   /* at whether it has ended, should it have left its output to somebody else */
};

/* ---- words */

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n'; }
static bool is_for_shell(char c) { return c && strchr("|&;<>()$`*?", c) != NULL; }

const char *command_parse(struct str text, struct buf *room, char *word[COMMAND_WORDS + 1])
{
	size_t n = 0, i = 0, start[COMMAND_WORDS];

	room->max = TEXT_ROOM;
	while (i < text.n) {
		char quote = 0;

		if (is_blank(text.p[i])) {
			i++;
			continue;
		}
		if (n == COMMAND_WORDS)
			return "it has more than 64 words";
		start[n++] = room->n;
		for (; i < text.n && (quote || !is_blank(text.p[i])); i++) {
			char c = text.p[i];

			if (quote ? c == quote : c == '\'' || c == '"') {
				quote = quote ? 0 : c;
			} else if (c == '\\' && quote != '\'') {
				if (++i == text.n)
					return "it ends in a \\";
				buf_char(room, text.p[i]);
			} else if (!quote && is_for_shell(c)) {
				return "it has signs for a shell in it, and there is none: quote them, or write a script";
			} else if (quote == '"' && (c == '$' || c == '`')) {
				return "it has signs for a shell in it, and there is none: quote them, or write a script";
			} else {
				buf_char(room, c);
			}
		}
		if (quote)
			return "it has a quote that is not closed";
		buf_char(room, '\0');
	}
	if (room->bad)
		return "it is too long";
	if (!n || !room->p[start[0]])
		return "it is empty";
	for (size_t k = 0; k < n; k++)
		word[k] = room->p + start[k];
	word[n] = NULL;
	return NULL;
}

/* ---- the process */

struct run {
	const struct command *c;
	pid_t pid;
	int in, out;                    /* -1: closed */
	off_t at, end;
	bool held;                      /* a CR that may belong to a line end */
	char piece[CHUNK + 2];          /* to be written next */
	size_t piece_n, piece_at;
	char output[OUTPUT_KEPT];
	size_t output_n;
};

static long long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

/* What our ancestors ignore, for their own reasons, would be ignored by the command. */
static void usual_signals(void)
{
	static const int all[] = { SIGHUP, SIGINT, SIGTERM, SIGALRM, SIGUSR1, SIGUSR2, SIGPIPE, SIGXFSZ, SIGCHLD };
	sigset_t none;

	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		signal(all[i], SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Above all not the socket to whoever is told the result. */
static void keep_nothing_open(void)
{
	if (file_close_range(3, ~0u, CLOSE_RANGE_CLOEXEC) == 0)
		return;
	for (int fd = 3; fd < FILES_MAX; fd++)          /* Linux before 5.11 */
		fcntl(fd, F_SETFD, FD_CLOEXEC);
}

static void become_command(const struct command *c, char **word, int in, int out, int failed)
{
	const char *home = getenv("HOME");
	int error;

	usual_signals();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (dup2(in, 0) == -1 || dup2(out, 1) == -1 || dup2(out, 2) == -1)
		goto fail;
	for (const char *const *e = c->environment; *e; e++)
		if (putenv((char *)(uintptr_t)*e))
			goto fail;
	if ((!home || chdir(home) == -1) && chdir("/") == -1)
		goto fail;
	keep_nothing_open();
	execvp(word[0], word);
fail:
	error = errno;
	(void)!write(failed, &error, sizeof error);
	_exit(EX_OSERR);
}

/* 0 or an errno. */
static int start(struct run *r, char **word)
{
	int in[2] = { -1, -1 }, out[2] = { -1, -1 }, failed[2] = { -1, -1 }, error = 0;

	if (pipe2(in, O_CLOEXEC) == -1 || pipe2(out, O_CLOEXEC) == -1 || pipe2(failed, O_CLOEXEC) == -1)
		error = errno;
	else if ((r->pid = fork()) == -1)
		error = errno;
	else if (r->pid == 0)
		become_command(r->c, word, in[0], out[1], failed[1]);
	close(in[0]);
	close(out[1]);
	close(failed[1]);
	if (!error && read(failed[0], &error, sizeof error) == (ssize_t)sizeof error)
		waitpid(r->pid, NULL, 0);
	close(failed[0]);
	if (error) {
		close(in[1]);
		close(out[0]);
		return error;
	}
	fcntl(in[1], F_SETFL, O_NONBLOCK);
	fcntl(out[0], F_SETFL, O_NONBLOCK);
	r->in = in[1];
	r->out = out[0];
	return 0;
}

static void stop_writing(struct run *r)
{
	close(r->in);
	r->in = -1;
}

/* False: there is nothing more, or it cannot be read (which the caller tells by r->at). */
static bool next_piece(struct run *r)
{
	char raw[CHUNK];
	size_t want = r->end - r->at < CHUNK ? (size_t)(r->end - r->at) : CHUNK;

	r->piece_at = r->piece_n = 0;
	if (want && file_pread(r->c->fd, raw, want, r->at) != (ssize_t)want)
		return false;
	if (want)
		r->piece_n = mailbox_to_lf(raw, want, r->piece, &r->held);
	else if (r->held)
		r->piece[r->piece_n++] = '\r';
	if (!want)
		r->held = false;
	r->at += (off_t)want;
	return r->piece_n || want;
}

/* A command that does not want to read all of it decides by its exit status alone. */
static void write_some(struct run *r)
{
	while (r->in != -1) {
		ssize_t n;

		if (r->piece_at == r->piece_n && !next_piece(r)) {
			stop_writing(r);
			return;
		}
		n = write(r->in, r->piece + r->piece_at, r->piece_n - r->piece_at);
		if (n == -1 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n == -1)
			stop_writing(r);
		else
			r->piece_at += (size_t)n;
	}
}

static void read_some(struct run *r)
{
	char text[4096];
	ssize_t n = read(r->out, text, sizeof text);

	for (ssize_t i = 0; i < n && r->output_n < OUTPUT_KEPT; i++)
		r->output[r->output_n++] = text[i];
	if (n == 0 || (n == -1 && errno != EAGAIN && errno != EINTR)) {
		close(r->out);
		r->out = -1;
	}
}

/* Until it has ended. False: it is too late. */
static bool attend(struct run *r, int *status)
{
	long long end = now_ms() + r->c->deadline_s * 1000LL;
	unsigned afterwards = 16;       /* looks at what it has said last; who has its output now may go on for ever */
	pid_t got = 0;

	for (;;) {
		struct pollfd p[2] = { { .fd = r->in, .events = POLLOUT }, { .fd = r->out, .events = POLLIN } };
		bool over = got != 0;

		if (poll(p, 2, over ? 0 : LOOK_MS) > 0 && p[1].revents && (!over || afterwards--))
			read_some(r);
		else if (over)
			return true;
		if (r->in != -1 && p[0].revents)
			write_some(r);
		if (!over)
			got = waitpid(r->pid, status, WNOHANG);
		if (r->out == -1 && got != 0)
			return true;
		if (now_ms() >= end)
			return got != 0;
	}
}

/* ---- what it means (sysexits.h) */

static const struct {
	int status, code;
	const char *enhanced, *words;
} exits[] = {
	{ EX_TEMPFAIL, 451, "4.3.0", "try again later" }, { EX_OSERR, 451, "4.3.0", "system error" },
	{ EX_USAGE, 554, "5.3.5", "wrong usage" }, { EX_DATAERR, 554, "5.6.0", "wrong data" }, { EX_NOUSER, 550, "5.1.1", "no such user" },
	{ EX_NOHOST, 550, "5.1.2", "no such host" }, { EX_UNAVAILABLE, 554, "5.3.0", "service unavailable" },
	{ EX_CANTCREAT, 554, "5.2.0", "cannot create a file" }, { EX_NOPERM, 550, "5.7.1", "permission denied" },
	{ EX_CONFIG, 554, "5.3.5", "wrong configuration" },
};

static void set_result(const struct run *r, int status, struct reply *why)
{
	char output[OUTPUT_KEPT + 1];
	size_t n = 0, i = 0;
	int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;

	for (size_t k = 0; k < r->output_n; k++) {
		char c = r->output[k];

		if (ascii_print(c) && (c != ' ' || (n && output[n - 1] != ' ')))
			output[n++] = c;
		else if (n && output[n - 1] != ' ')
			output[n++] = ascii_print(c) || is_blank(c) || c == '\r' ? ' ' : '?';
	}
	output[n] = '\0';
	while (i < sizeof exits / sizeof *exits && exits[i].status != code)
		i++;
	if (code == 0)
		reply_set(why, 250, "2.0.0", "given to the command of %s", r->c->name);
	else if (code == -1)
		reply_set(why, 451, "4.3.0", "the command of %s was ended by signal %d%s%s", r->c->name, WIFSIGNALED(status) ? WTERMSIG(status) : 0,
			n ? ": " : "", output);
	else if (i == sizeof exits / sizeof *exits)
		reply_set(why, 554, "5.3.0", "the command of %s has failed, exit status %d%s%s", r->c->name, code, n ? ": " : "", output);
	else
		reply_set(why, exits[i].code, exits[i].enhanced, "the command of %s has failed, exit status %d (%s)%s%s", r->c->name, code,
			exits[i].words, n ? ": " : "", output);
}

bool command_run(const struct command *c, struct reply *why)
{
	static struct run r;            /* too large for a stack */
	char *word[COMMAND_WORDS + 1];
	struct buf room = { 0 };
	const char *wrong = command_parse(c->text, &room, word);
	int error, status = SIGKILL;
	bool in_time = true;

	r = (struct run){ .c = c, .in = -1, .out = -1, .at = c->at, .end = c->at + c->size };
	r.piece_n = c->front.n < CHUNK ? c->front.n : CHUNK;
	memcpy(r.piece, c->front.p, r.piece_n);
	error = wrong ? 0 : start(&r, word);
	if (wrong || error) {
		reply_set(why, 451, "4.3.5", "the command of %s cannot be run: %s%s%s", c->name, wrong ? wrong : word[0], wrong ? "" : ": ",
			wrong ? "" : strerror(error));
	} else if ((in_time = attend(&r, &status))) {
		set_result(&r, status, why);
	} else {
		kill(r.pid, SIGKILL);
		reply_set(why, 451, "4.3.0", "the command of %s did not end within %u s", c->name, c->deadline_s);
	}
	if (r.in != -1)
		close(r.in);
	if (r.out != -1)
		close(r.out);
	buf_free(&room);
	return in_time;
}
