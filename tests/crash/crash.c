/* Ends fardel at each call that changes a file or makes one durable, fails each such call once, and cuts the power behind each: then
 * starts it again on what is left and looks whether the promises of doc/QUEUE hold. Ends with "N passed, N failed", N being the states tried.
 *   crash PROGRAM SHIM [PART...]        PART: kill, forgotten, power, fail, the name of a scenario, file or log (queue_sync), or control
 *                                       alone; none is all of them
 *
 * A scenario is run once under the shim (shim.c) that logs calls. kill: it is run again and again, ended by SIGKILL at the n-th call.
 * forgotten: the same, and the next start cannot tell that this was all: it does what it does behind a power cut.
 * fail: the n-th call fails, and the scenario goes on; and once more, with the power cut behind each answer. power: the log is played back up
 * to each event, with what no sync has covered kept, lost, torn, or lost in part; names and data apart, since a file system may write them in
 * either order. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/crash/trace.h"
#include "tests/tree.h"

enum {
	PEERS = 6,
	TAKES = 0, OTHER = 1, LATER = 2, NEVER = 3,     /* takes all, takes all, puts off what the driver says, refuses */
	FILTER = 4,                     /* a mail filter, which gives each message another body */
	LATER_TOO = 5,                  /* puts off what the driver says, as well */
	RUN_S = 20,                     /* for one scenario or one recovery */
	MESSAGES = 16,
	SINGLES = 12,                   /* lone losses tried behind one event */
	ROUNDS = 8                      /* flushes until nothing may be left */
};

static const char *program, *shim;
static bool quiet;
static enum defect {                    /* with one, promises must be seen to break */
	SOUND, NO_SYNC, NO_FILE_SYNC, NO_RECOVERY, NOT_TOLD
} defect;
static struct stat drop;
static char drop_said[64];              /* what the shim is told of it; "": there is none */
static char work[256], root[300], trace_path[300], conf[300], listen_port[16];
static const char *method;              /* of making durable: queue_sync */
static struct trace *trace;
static volatile struct shared {
	uint32_t put_off;               /* refusals for now that are still given */
} *shared;
static unsigned peer_port[PEERS];
static pid_t peers;
static unsigned passed, failed, repeats, states_seen;

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "crash: %s: %s\n", what, strerror(errno));
	if (peers > 0)
		kill(peers, SIGTERM);
	exit(2);
}

static void nap(void) { nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL); }

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- the log */

static void note(enum trace_op op, const char *name, const char *name2)
{
	uint32_t i = __atomic_fetch_add(&trace->next, 1, __ATOMIC_SEQ_CST);
	struct trace_event *e = &trace->event[i];

	if (i >= TRACE_EVENTS)
		die("log full");
	snprintf(e->name, sizeof e->name, "%s", name);
	snprintf(e->name2, sizeof e->name2, "%s", name2);
	e->op = op;
	e->ready = 1;
}

static void trace_reset(enum trace_fault fault, unsigned at, int error)
{
	uint32_t used = trace->next < TRACE_EVENTS ? trace->next : TRACE_EVENTS;

	trace->on = 0;
	memset(trace->event, 0, used * sizeof trace->event[0]);
	trace->calls = trace->next = trace->used = trace->struck = 0;
	trace->fault = fault;
	trace->fault_at = at;
	trace->fault_errno = error;
}

/* ---- peers: five SMTP servers and a filter in one process, a child for each connection */

static void peer_talk(int fd, int kind)
{
	FILE *f = fdopen(fd, "r+");
	char line[4096], token[64] = "", rcpt[32][128];
	unsigned n = 0;
	bool data = false;

	if (!f)
		_exit(1);
	setvbuf(f, NULL, _IONBF, 0);
	dprintf(fd, "220 peer\r\n");
	while (fgets(line, sizeof line, f)) {
		if (data) {
			if (strncmp(line, "X-Token: ", 9) == 0)
				sscanf(line + 9, "%63s", token);
			if (strcmp(line, ".\r\n") != 0)
				continue;
			data = false;
			for (unsigned i = 0; i < n; i++)
				note(T_SENT, token, rcpt[i]);
			dprintf(fd, "250 2.0.0 taken\r\n");
			n = 0;
		} else if (strncasecmp(line, "EHLO", 4) == 0) {
			dprintf(fd, "250-peer\r\n250-PIPELINING\r\n250 ENHANCEDSTATUSCODES\r\n");
		} else if (strncasecmp(line, "RCPT", 4) == 0) {
			if (kind == NEVER) {
				dprintf(fd, "550 5.1.1 nobody of that name\r\n");
			} else if ((kind == LATER || kind == LATER_TOO) && shared->put_off > 0) {
				shared->put_off--;
				dprintf(fd, "451 4.7.1 come again\r\n");
			} else if (n < 32 && sscanf(line, "%*[^<]<%127[^>]>", rcpt[n]) == 1) {
				n++;
				dprintf(fd, "250 2.1.5 ok\r\n");
			} else {
				dprintf(fd, "501 5.5.4 what\r\n");
			}
		} else if (strncasecmp(line, "DATA", 4) == 0) {
			data = n > 0;
			dprintf(fd, data ? "354 go\r\n" : "503 5.5.1 nobody\r\n");
		} else if (strncasecmp(line, "QUIT", 4) == 0) {
			dprintf(fd, "221 bye\r\n");
			break;
		} else {
			if (strncasecmp(line, "MAIL", 4) == 0 || strncasecmp(line, "RSET", 4) == 0)
				n = 0;
			dprintf(fd, "250 2.0.0 ok\r\n");
		}
	}
	_exit(0);
}

/* ---- the filter: asked at the end of a message alone, it adds a field and changes the body to one that takes several writes */

static const char filtered[] = "X-Filtered: yes", new_end[] = "the end of the new body";

static void filter_say(int fd, char letter, const char *data, size_t n)
{
	unsigned char head[5] = { (unsigned char)((n + 1) >> 24), (unsigned char)((n + 1) >> 16), (unsigned char)((n + 1) >> 8), (unsigned char)(n + 1),
		(unsigned char)letter };

	if (write(fd, head, sizeof head) != sizeof head || (n && write(fd, data, n) != (ssize_t)n))
		_exit(1);
}

static bool filter_hear(int fd, char *letter)
{
	unsigned char head[4];
	char rest[4096];
	size_t n;

	if (recv(fd, head, sizeof head, MSG_WAITALL) != sizeof head || recv(fd, letter, 1, MSG_WAITALL) != 1)
		return false;
	n = ((size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3]) - 1;
	for (ssize_t k = 0; n > 0; n -= (size_t)k)
		if ((k = recv(fd, rest, n < sizeof rest ? n : sizeof rest, 0)) <= 0)
			return false;
	return true;
}

static void filter_talk(int fd)
{
	/* version 6; fields may be added, the body changed; it wants to see nothing before the end */
	static const char options[] = "\0\0\0\6\0\0\0\3\0\0\3\177", field[] = "X-Filtered\0yes";
	char letter, body[30000];

	while (filter_hear(fd, &letter)) {
		if (letter == 'O')
			filter_say(fd, 'O', options, sizeof options - 1);
		if (letter != 'E')
			continue;
		for (size_t i = 0; i < sizeof body; i++)
			body[i] = "new body\r\n"[i % 10];
		for (int i = 0; i < 3; i++)
			filter_say(fd, 'b', body, sizeof body);
		filter_say(fd, 'b', new_end, sizeof new_end - 1);
		filter_say(fd, 'h', field, sizeof field);
		filter_say(fd, 'c', "", 0);
	}
	_exit(0);
}

static int listen_any(unsigned *port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof a;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd == -1 || bind(fd, (struct sockaddr *)&a, n) == -1 || listen(fd, 64) == -1 || getsockname(fd, (struct sockaddr *)&a, &n) == -1)
		die("listen");
	*port = ntohs(a.sin_port);
	return fd;
}

static void peers_start(void)
{
	struct pollfd p[PEERS];

	for (int i = 0; i < PEERS; i++)
		p[i] = (struct pollfd){ .fd = listen_any(&peer_port[i]), .events = POLLIN };
	if ((peers = fork()) == -1)
		die("fork");
	if (peers > 0) {
		for (int i = 0; i < PEERS; i++)
			close(p[i].fd);
		return;
	}
	signal(SIGCHLD, SIG_IGN);
	while (getppid() != 1 && poll(p, PEERS, 1000) >= 0)
		for (int i = 0; i < PEERS; i++) {
			int fd = p[i].revents & POLLIN ? accept(p[i].fd, NULL, NULL) : -1;

			if (fd == -1)
				continue;
			if (fork() == 0) {
				if (i == FILTER)
					filter_talk(fd);
				peer_talk(fd, i);
			}
			close(fd);
		}
	_exit(0);
}

/* ---- trees */

static void in_tree(const char *dir, void (*each)(const char *path, const struct stat *, void *arg), void *arg)
{
	DIR *d = opendir(dir);
	struct dirent *x;

	while (d && (x = readdir(d))) {
		char path[1024];
		struct stat st;

		if (!strcmp(x->d_name, ".") || !strcmp(x->d_name, ".."))
			continue;
		snprintf(path, sizeof path, "%s/%s", dir, x->d_name);
		if (lstat(path, &st) == -1)
			continue;
		each(path, &st, arg);
		if (S_ISDIR(st.st_mode))
			in_tree(path, each, arg);
	}
	if (d)
		closedir(d);
}

static unsigned count_in(const char *dir)
{
	char path[1024];
	DIR *d;
	struct dirent *x;
	unsigned n = 0;

	snprintf(path, sizeof path, "%s/%s", root, dir);
	d = opendir(path);
	while (d && (x = readdir(d)))
		n += x->d_name[0] != '.';
	if (d)
		closedir(d);
	return n;
}

static char *read_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	char *text;
	ssize_t n;

	if (fd == -1 || fstat(fd, &st) == -1 || !(text = malloc((size_t)st.st_size + 1)))
		die(path);
	n = read(fd, text, (size_t)st.st_size);
	text[n > 0 ? n : 0] = '\0';
	for (ssize_t i = 0; i < n; i++)
		if (!text[i])
			text[i] = '?';
	close(fd);
	return text;
}

static unsigned char *read_octets(const char *path, size_t *n)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	unsigned char *p;

	if (fd == -1 || fstat(fd, &st) == -1 || !(p = malloc((size_t)st.st_size + 1)) || read(fd, p, (size_t)st.st_size) != st.st_size)
		die(path);
	close(fd);
	*n = (size_t)st.st_size;
	return p;
}

/* ---- fardel's processes */

#ifndef F_SET_RW_HINT
#define F_SET_RW_HINT 1036
#endif

static void set_memory(const char *path, const struct stat *st, void *arg)
{
	int fd = S_ISREG(st->st_mode) ? open(path, O_RDONLY | O_CLOEXEC) : -1;

	if (fd != -1 && fcntl(fd, F_SET_RW_HINT, arg) == -1)
		die("the kernel has no memory of files");
	if (fd != -1)
		close(fd);
}

/* Does the kernel say that it has not lost anything? As lib/file.c asks it; of files that were made anew it does not. */
static void remember(bool it_does)
{
	uint64_t hint = it_does ? 2 : 0;
	char path[400];

	snprintf(path, sizeof path, "%s/queue/wal", root);
	in_tree(path, set_memory, &hint);
}

static pid_t launch(bool traced, int in, const char *const *argv)
{
	pid_t pid = fork();
	int log;

	if (pid == -1)
		die("fork");
	if (pid > 0) {
		setpgid(pid, pid);
		return pid;
	}
	setpgid(0, 0);
	log = open("fardel.log", O_WRONLY | O_CREAT | O_APPEND, 0600);
	if (log != -1) {
		dup2(log, 1);
		dup2(log, 2);
	}
	if (in != -1) {
		dup2(in, 0);
		dup2(in, 1);
	}
	setenv("LD_PRELOAD", shim, 1);
	if (defect == NOT_TOLD)
		setenv("CRASH_MUTE", "1", 1);
	if (traced)
		setenv("CRASH_TRACE", trace_path, 1);
	else if (drop_said[0])
		setenv("CRASH_DROP", drop_said, 1);
	execv(program, (char *const *)(uintptr_t)argv);
	_exit(127);
}

static pid_t run_command(bool traced, int in, const char *command)
{
	/* What is looked at afterwards shall not expire meanwhile. */
	const char *argv[] = { "fardel", command, "-c", conf, traced ? NULL : "-o", "queue_lifetime = 5d", NULL };

	return launch(traced, in, argv);
}

/* False: it did not end in time and was killed. */
static bool ended(pid_t pid, int *status)
{
	double end = now() + RUN_S;

	for (;;) {
		pid_t r = waitpid(pid, status, WNOHANG);

		if (r == pid)
			return true;
		if (r == -1)
			die("waitpid");
		if (now() > end)
			break;
		nap();
	}
	kill(-pid, SIGKILL);
	waitpid(pid, status, 0);
	return false;
}

static bool is_over(pid_t pid)
{
	siginfo_t s = { 0 };

	return waitid(P_PID, (id_t)pid, &s, WEXITED | WNOHANG | WNOWAIT) == -1 || s.si_pid == pid;
}

/* ---- the client */

static bool say(int fd, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool say(int fd, const char *fmt, ...)
{
	char text[2048];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	return send(fd, text, (size_t)n, MSG_NOSIGNAL) == n;
}

/* The code of the next reply; 0: there is none. */
static int hear(int fd)
{
	char line[1024];
	size_t n = 0;

	for (;;) {
		if (n == sizeof line - 1 || recv(fd, line + n, 1, 0) != 1)
			return 0;
		if (line[n++] != '\n')
			continue;
		line[n] = '\0';
		if (n >= 4 && line[3] != '-')
			return atoi(line);
		n = 0;
	}
}

static int call(pid_t server)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)atoi(listen_port)) };
	struct timeval limit = { .tv_sec = RUN_S };
	double end = now() + RUN_S;

	while (now() < end && !is_over(server)) {
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
		if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0)
			return fd;
		close(fd);
		nap();
	}
	return -1;
}

static bool talk(int fd, const char *token, const char *const *rcpt)
{
	bool ok = hear(fd) == 220 && say(fd, "EHLO driver.test\r\n") && hear(fd) == 250 && say(fd, "MAIL FROM:<sender@here.test>\r\n") && hear(fd) == 250;

	for (size_t i = 0; ok && rcpt[i]; i++)
		ok = say(fd, "RCPT TO:<%s>\r\n", rcpt[i]) && hear(fd) == 250;
	ok = ok && say(fd, "DATA\r\n") && hear(fd) == 354 &&
		say(fd, "From: sender@here.test\r\nX-Token: %s\r\nSubject: crash\r\n\r\none line\r\n..\r\nanother\r\n.\r\n", token) && hear(fd) == 250;
	if (ok)
		note(T_ANSWERED, token, "");
	return ok;
}

/* ---- what was promised */

static struct message {
	char token[8];
	const char *const *rcpt;
	bool promised_from_start;       /* a drop: it is there before we are */
} messages[MESSAGES];
static unsigned nmessages;
static bool changed;                    /* by the filter */

static const char *const to_all[] = { "user@here.test", "a@takes.test", "b@takes.test", "c@later.test", "d@never.test", NULL };
static const char *const to_one[] = { "a@takes.test", NULL };
static const char *const to_user[] = { "user@here.test", NULL };
static const char *const to_both[] = { "user@here.test", "a@takes.test", NULL };
static const char *const to_aliases[] = { "root@here.test", "a@takes.test", "staff@here.test", NULL };
static const char *const to_list[] = { "list@here.test", NULL };
static const char *const to_apart[] = { "a@takes.test", "c@later.test", "e@apart.test", NULL };
static const char *const to_soon[] = { "user@here.test", "a@takes.test", "e@other.test", "d@never.test", NULL };

static struct message *new_message(const char *const *rcpt)
{
	struct message *m = &messages[nmessages];

	if (nmessages == MESSAGES)
		die("too many messages");
	snprintf(m->token, sizeof m->token, "t%02u", nmessages++);
	m->rcpt = rcpt;
	m->promised_from_start = false;
	return m;
}

/* ---- scenarios */

static unsigned in_mailbox(const char *user, const char *a, const char *b, const char *c);

static bool queue_empty(void)
{
	return !count_in("queue/cur") && !count_in("queue/in") && !count_in("queue/new") && !count_in("queue/work");
}

static bool struck_dead(pid_t pid)
{
	return trace->fault == FAULT_KILL && trace->struck && is_over(pid);
}

static void settle(pid_t server)
{
	double end = now() + (trace->fault >= FAULT_ERROR ? 4 : RUN_S);

	while (now() < end && !is_over(server) && !queue_empty())
		nap();
}

static bool stop(pid_t server)
{
	int status = 0;

	if (!struck_dead(server))
		kill(server, SIGTERM);
	if (!ended(server, &status))
		return false;
	return WIFEXITED(status) || struck_dead(server) || (trace->fault == FAULT_KILL && trace->struck);
}

/* A message that is not taken is offered again, as another one, like any client would. */
static void submit(pid_t server, const char *const *rcpt)
{
	for (int tries = 0; tries < 3; tries++) {
		struct message *m = new_message(rcpt);
		int fd = call(server);
		bool ok = fd != -1 && talk(fd, m->token, rcpt);

		if (fd != -1) {
			say(fd, "QUIT\r\n");
			close(fd);
		}
		if (ok || trace->fault < FAULT_ERROR || is_over(server))
			return;
	}
}

static bool by_smtp(const char *const *rcpt)
{
	pid_t server = run_command(true, -1, "serve");

	submit(server, rcpt);
	settle(server);
	return stop(server);
}
static bool scene_one(void) { return by_smtp(to_one); }
static bool scene_mailbox(void) { return by_smtp(to_user); }
static bool scene_all(void) { shared->put_off = 1; return by_smtp(to_all); }
static bool scene_apart(void) { shared->put_off = 2; return by_smtp(to_apart); }
static bool scene_soon(void) { return by_smtp(to_soon); }

static bool scene_filter(void) { return by_smtp(to_both); }

static bool scene_alias(void) { return by_smtp(to_aliases); }
static bool scene_list(void) { return by_smtp(to_list); }

static bool scene_two(void)
{
	pid_t server = run_command(true, -1, "serve");

	submit(server, to_one);
	submit(server, to_soon);
	settle(server);
	return stop(server);
}

static void prepare_drop(void)
{
	struct message *m = new_message(to_soon);
	char path[400];
	FILE *f;

	snprintf(path, sizeof path, "%s/queue/new/drop", root);
	if (!(f = fopen(path, "w")))
		die(path);
	fprintf(f, "MAIL FROM:<sender@here.test>\n");
	for (size_t i = 0; m->rcpt[i]; i++)
		fprintf(f, "RCPT TO:<%s>\n", m->rcpt[i]);
	fprintf(f, "\nFrom: sender@here.test\nX-Token: %s\nSubject: drop\n\ntext\n", m->token);
	fclose(f);
	m->promised_from_start = true;
}

static bool scene_drop(void)
{
	pid_t server = run_command(true, -1, "serve");

	settle(server);
	return stop(server);
}

static bool scene_inetd(void)
{
	int pair[2], status;
	struct message *m;
	pid_t session, flush;
	bool ok = true;

	for (int tries = 0; tries < 3; tries++) {
		m = new_message(to_soon);
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == -1)
			die("socketpair");
		session = run_command(true, pair[1], "inetd");
		close(pair[1]);
		ok = talk(pair[0], m->token, m->rcpt);
		close(pair[0]);
		if (!ended(session, &status))
			return false;
		if (ok || trace->fault < FAULT_ERROR)
			break;
	}
	if (trace->fault == FAULT_KILL && trace->struck)
		return true;
	flush = run_command(true, -1, "flush");
	return ended(flush, &status);
}

static void note_rename(const char *dir, const char *from, const char *to)
{
	uint32_t i = __atomic_fetch_add(&trace->next, 1, __ATOMIC_SEQ_CST);
	struct trace_event *e = &trace->event[i];
	struct stat st;

	if (i >= TRACE_EVENTS || stat(dir, &st) == -1)
		die("log full");
	snprintf(e->name, sizeof e->name, "%s", from);
	snprintf(e->name2, sizeof e->name2, "%s", to);
	e->dir = e->dir2 = st.st_ino;
	e->op = T_RENAME;
	e->ready = 1;
}

/* By hand, as doc/QUEUE says: `mv` of the first entry. */
static bool rename_held(bool hold)
{
	char path[400], from[800], to[800];
	DIR *d;
	struct dirent *x;
	bool done = false;

	snprintf(path, sizeof path, "%s/queue/cur", root);
	if (!(d = opendir(path)))
		die(path);
	while (!done && (x = readdir(d))) {
		char next[32], tries[32], rest[256];

		if (sscanf(x->d_name, "%31[0-9].%31[0-9H].%255s", next, tries, rest) != 3)
			continue;
		snprintf(from, sizeof from, "%s/%s", path, x->d_name);
		snprintf(to, sizeof to, "%s/%s.%s.%s", path, hold ? next : "0", hold ? "H" : "0", rest);
		done = rename(from, to) == 0;
		if (done)
			note_rename(path, x->d_name, to + strlen(path) + 1);
	}
	closedir(d);
	return done;
}

static void say_wake(void)
{
	char path[400];
	int fd;

	snprintf(path, sizeof path, "%s/queue/wake", root);
	fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd != -1) {
		if (write(fd, "", 1) == -1) {
			/* nobody reads it: the scan will find out */
		}
		close(fd);
	}
}

/* A message that was put off is held by a person; the server runs, and then it is released. */
static void prepare_hold(void)
{
	static const char *const to_later[] = { "c@later.test", NULL };
	double end = now() + RUN_S;
	pid_t server;

	shared->put_off = 1000;
	server = run_command(false, -1, "serve");
	submit(server, to_later);
	while (now() < end && shared->put_off == 1000)
		nap();
	if (!stop(server) || !rename_held(true))
		die("hold");
	messages[0].promised_from_start = true;
	shared->put_off = 0;
}

/* It has read the queue when it greets. */
static void wait_for_greeting(pid_t server)
{
	int fd = call(server);

	if (fd == -1)
		return;
	hear(fd);
	close(fd);
}

static bool scene_hold(void)
{
	pid_t server = run_command(true, -1, "serve");

	wait_for_greeting(server);
	rename_held(false);
	say_wake();
	settle(server);
	return stop(server);
}

/* The lifetime is over before the peer takes it: everything comes back to the sender. */
static bool scene_expiry(void)
{
	static const char *const to_later[] = { "c@later.test", NULL };
	pid_t server;

	shared->put_off = 1000;
	server = run_command(true, -1, "serve");
	submit(server, to_later);
	settle(server);
	shared->put_off = 0;
	return stop(server);
}

/* Killed with mail in the queue, and started again at once. */
static bool scene_again(void)
{
	static const char *const to_some[] = { "a@takes.test", "c@later.test", NULL };
	pid_t server = run_command(true, -1, "serve");
	int status;

	shared->put_off = 1;
	submit(server, to_some);
	if (!struck_dead(server))
		kill(-server, SIGKILL);
	ended(server, &status);
	if (trace->fault == FAULT_KILL && trace->struck)
		return true;
	server = run_command(true, -1, "serve");
	wait_for_greeting(server);
	settle(server);
	return stop(server);
}

/* The power has gone, and nothing has reached the disk but the log, and a mailbox: one message had been delivered to it, another one
 * in part. */
static void prepare_rebuild(void)
{
	static const char *const to_two[] = { "user@here.test", "c@later.test", NULL };
	char path[400];
	double end = now() + RUN_S;
	pid_t server;
	int status;

	shared->put_off = 1000;
	server = run_command(false, -1, "serve");
	submit(server, to_user);
	submit(server, to_two);
	submit(server, to_user);
	while (now() < end && (in_mailbox("user", "X-Token: t02", NULL, NULL) == 0 || shared->put_off == 1000))
		nap();
	for (end = now() + 1.5; now() < end; )          /* marks are in the log within a second */
		nap();
	kill(-server, SIGKILL);
	ended(server, &status);
	snprintf(path, sizeof path, "%s/queue/cur", root);
	tree_remove(path);
	if (mkdir(path, 0700) == -1)
		die(path);
	for (unsigned i = 0; i < nmessages; i++)
		messages[i].promised_from_start = true;
	shared->put_off = 0;
	remember(false);
}

static bool scene_rebuild(void)
{
	pid_t server = run_command(true, -1, "serve");

	wait_for_greeting(server);
	settle(server);
	return stop(server);
}

static const struct scene {
	const char *name;
	void (*prepare)(void);                  /* before anything is logged */
	bool (*run)(void);                      /* false: it did not end as it should */
	const char *setting;                    /* one more line of configuration, or NULL */
	bool slow;                              /* waits for a retry: a call fails in one way */
	const char *method;                     /* the only one that it is for; NULL: all */
	bool filter;                            /* asked about each message; what is delivered is what it has made of it */
} scenes[] = {
	{ "one", NULL, scene_one, NULL, false, NULL, false },                /* accept, relay */
	{ "mailbox", NULL, scene_mailbox, NULL, false, NULL, false },        /* accept, Maildir */
	{ "several", NULL, scene_soon, NULL, false, NULL, false },           /* several destinations, partial delivery, a bounce */
	{ "two", NULL, scene_two, NULL, false, NULL, false },                /* two messages, one connection */
	{ "alias", NULL, scene_alias, NULL, false, NULL, false },            /* two of them: one message more, besides a recipient of its own */
	{ "list", NULL, scene_list, NULL, false, NULL, false },              /* an alias alone, whose message goes when the new one is there */
	{ "filter", NULL, scene_filter, "milter_default_action = tempfail", false, NULL, true },       /* the draft is written once more before 250 */
	{ "drop", prepare_drop, scene_drop, NULL, false, NULL, false },
	{ "inetd", NULL, scene_inetd, NULL, false, NULL, false },            /* and flush */
	{ "retry", NULL, scene_all, NULL, true, NULL, false },
	{ "apart", NULL, scene_apart, NULL, true, NULL, false },             /* two destinations that wait: each gets a name of its own */
	{ "hold", prepare_hold, scene_hold, NULL, false, NULL, false },
	{ "expiry", NULL, scene_expiry, "queue_lifetime = 1s", true, NULL, false },
	{ "again", NULL, scene_again, NULL, true, NULL, false },
	{ "rebuild", prepare_rebuild, scene_rebuild, NULL, false, "log", false },
};
enum { SCENES = sizeof scenes / sizeof *scenes };

/* ---- a fresh place */

/* Whom an address of a message is for; NULL: itself. One that takes all, each once: where an alias is lost, somebody goes without. */
static const struct {
	const char *name, *to[4];
} aliases[] = {
	{ "root", { "user@here.test", NULL } },
	{ "staff", { "user@here.test", "b@takes.test", "c@other.test", NULL } },
	{ "list", { "user@here.test", "b@takes.test", "d@never.test", NULL } },
};
enum { ALIASES = sizeof aliases / sizeof *aliases };

static void write_aliases(void)
{
	char path[400];
	FILE *f;

	snprintf(path, sizeof path, "%s/aliases", work);
	if (!(f = fopen(path, "w")))
		die(path);
	for (size_t i = 0; i < ALIASES; i++) {
		fprintf(f, "%s:", aliases[i].name);
		for (size_t k = 0; aliases[i].to[k]; k++)
			fprintf(f, "%s %s", k ? "," : "", aliases[i].to[k]);
		fprintf(f, "\n");
	}
	fclose(f);
}

static void write_conf(const struct scene *s)
{
	FILE *f = fopen(conf, "w");

	if (!f)
		die(conf);
	fprintf(f, "hostname = here.test\nlocal_domains = here.test\nlisten = smtp://127.0.0.1:%s\nqueue = %s/queue\nmailbox = %s/mail/{user}/\naliases = %s/aliases\n"
		"resolver = 127.0.0.1:9\nretry_first = 1s\nretry_max = 1s\nroute = takes.test smtp://127.0.0.1:%u\nroute = other.test smtp://127.0.0.1:%u\n"
		"route = later.test smtp://127.0.0.1:%u\nroute = never.test smtp://127.0.0.1:%u\nroute = apart.test smtp://127.0.0.1:%u\n",
		listen_port, root, root, work, peer_port[TAKES], peer_port[OTHER], peer_port[LATER], peer_port[NEVER], peer_port[LATER_TOO]);
	if (s->setting)
		fprintf(f, "%s\n", s->setting);
	if (s->filter)
		fprintf(f, "milter = inet:127.0.0.1:%u\n", peer_port[FILTER]);
	changed = s->filter;
	/* so small that segments change within a scenario; not in one where that would make files durable that are to be lost */
	fprintf(f, "queue_sync = %s\nqueue_log = %s\n", method, s->method ? "256k" : "32k");
	fclose(f);
}

static void make_place(const struct scene *s)
{
	const char *argv[] = { "fardel", "mkmailbox", "-c", conf, "user", "sender", "postmaster", NULL };
	unsigned port;
	int status, fd = listen_any(&port);

	close(fd);
	snprintf(listen_port, sizeof listen_port, "%u", port);
	tree_remove(root);
	if (mkdir(root, 0700) == -1)
		die(root);
	write_conf(s);
	write_aliases();
	nmessages = 0;
	drop_said[0] = '\0';
	shared->put_off = 0;
	trace_reset(FAULT_NONE, 0, 0);
	if (!ended(launch(false, -1, argv), &status) || status)
		die("fardel mkmailbox");
	if (!ended(run_command(false, -1, "flush"), &status) || status)
		die("fardel flush");
	if (s->prepare)
		s->prepare();
}

static bool run_scene(const struct scene *s, enum trace_fault fault, unsigned at, int error)
{
	bool ok;

	make_place(s);
	trace_reset(fault, at, error);
	trace->on = 1;
	ok = s->run();
	trace->on = 0;
	return ok;
}

/* ---- do the promises hold? */

static char complaint[1024];

static void complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void complain(const char *fmt, ...)
{
	va_list ap;

	if (complaint[0])
		return;
	va_start(ap, fmt);
	vsnprintf(complaint, sizeof complaint, fmt, ap);
	va_end(ap);
}

static void make_due(void)
{
	char path[400];
	DIR *d;
	struct dirent *x;

	snprintf(path, sizeof path, "%s/queue/cur", root);
	if (!(d = opendir(path)))
		die(path);
	while ((x = readdir(d))) {
		char from[800], to[800], tries[32], rest[256];

		if (sscanf(x->d_name, "%*[0-9].%31[0-9H].%255s", tries, rest) != 2)
			continue;
		snprintf(from, sizeof from, "%s/%s", path, x->d_name);
		snprintf(to, sizeof to, "%s/0.%s.%s", path, tries[0] == 'H' ? "0" : tries, rest);
		rename(from, to);
	}
	closedir(d);
}

struct search {
	const char *a, *b, *c;
	unsigned found;
};

static void look(const char *path, const struct stat *st, void *arg)
{
	struct search *s = arg;
	char *text;

	if (!S_ISREG(st->st_mode))
		return;
	text = read_file(path);
	s->found += strstr(text, s->a) && (!s->b || strstr(text, s->b)) && (!s->c || strstr(text, s->c));
	free(text);
}

static unsigned in_mailbox(const char *user, const char *a, const char *b, const char *c)
{
	struct search s = { a, b, c, 0 };
	char path[400];

	snprintf(path, sizeof path, "%s/mail/%s/new", root, user);
	in_tree(path, look, &s);
	return s.found;
}

/* Of the events before `until`, or of all. */
static unsigned sent(const char *token, const char *rcpt, uint32_t from, uint32_t until)
{
	unsigned n = 0;

	for (uint32_t i = from; i < until; i++)
		n += trace->event[i].op == T_SENT && !strcmp(trace->event[i].name, token) && !strcmp(trace->event[i].name2, rcpt);
	return n;
}

static void check_rcpt(const struct message *m, const char *rcpt, uint32_t until, uint32_t again)
{
	char token_line[32];
	unsigned n;

	snprintf(token_line, sizeof token_line, "X-Token: %.7s", m->token);
	if (in_mailbox("sender", "Action: failed", rcpt, token_line))
		return;
	if (strstr(rcpt, "@never.test")) {
		complain("%s for %s was refused and not reported", m->token, rcpt);
		return;
	}
	if (strstr(rcpt, "@here.test"))
		n = in_mailbox("user", token_line, changed ? filtered : NULL, changed ? new_end : NULL);
	else
		n = sent(m->token, rcpt, 0, until) + sent(m->token, rcpt, again, trace->next);
	if (n == 0)
		complain("%s for %s is lost", m->token, rcpt);
	else
		repeats += n - 1;
	if (n > 2)
		complain("%s for %s came %u times", m->token, rcpt, n);
}

static void check_rcpts(const struct message *m, const char *rcpt, uint32_t until, uint32_t again)
{
	size_t n = strcspn(rcpt, "@"), i = 0;

	while (i < ALIASES && (strlen(aliases[i].name) != n || strncmp(aliases[i].name, rcpt, n) || strcmp(rcpt + n, "@here.test")))
		i++;
	if (i == ALIASES)
		check_rcpt(m, rcpt, until, again);
	for (size_t k = 0; i < ALIASES && aliases[i].to[k]; k++)
		check_rcpt(m, aliases[i].to[k], until, again);
}

static bool answered(const struct message *m, uint32_t until)
{
	for (uint32_t i = 0; i < until; i++)
		if (trace->event[i].op == T_ANSWERED && !strcmp(trace->event[i].name, m->token))
			return true;
	return m->promised_from_start;
}

/* Everything set aside has its reason beside it, and is nothing that was promised. */
static void check_bad(uint32_t until)
{
	char path[400], whole[800];
	DIR *d;
	struct dirent *x;

	snprintf(path, sizeof path, "%s/queue/bad", root);
	if (!(d = opendir(path)))
		return;
	while ((x = readdir(d))) {
		size_t n = strlen(x->d_name);
		char *text;
		struct stat st;

		if (x->d_name[0] == '.' || (n > 4 && !strcmp(x->d_name + n - 4, ".why")))
			continue;
		snprintf(whole, sizeof whole, "%s/%s.why", path, x->d_name);
		if (stat(whole, &st) == -1 || !st.st_size)
			complain("bad/%s has no reason beside it", x->d_name);
		snprintf(whole, sizeof whole, "%s/%s", path, x->d_name);
		text = read_file(whole);
		for (unsigned i = 0; i < nmessages; i++) {
			char token_line[32];

			snprintf(token_line, sizeof token_line, "X-Token: %.7s\r", messages[i].token);
			if (answered(&messages[i], until) && strstr(text, token_line) && !strstr(text, "MAIL FROM:<>"))
				complain("bad/%s is message %s, which was promised", x->d_name, messages[i].token);
		}
		free(text);
	}
	closedir(d);
}

static unsigned char fate[TRACE_EVENTS];        /* enum loss of each event */

static void print_events(uint32_t until)
{
	static const char *const words[] = { "-", "create", "write", "truncate", "sync file", "sync dir", "link", "rename", "unlink", "answered", "sent", "sync all" };

	for (uint32_t i = 0; i < until; i++) {
		const struct trace_event *e = &trace->event[i];

		printf("     %3u %s %-9s ino %llu dir %llu %s -> %s at %llu: %.*s\n", i, fate[i] ? "LOST" : "    ", words[e->op], (unsigned long long)e->ino,
			(unsigned long long)e->dir, e->name, e->name2, (unsigned long long)e->at, e->n > 100 ? 100 : (int)e->n, trace->data + e->data);
	}
}

/* Starts again on what is there. Events from `until` on have not happened; what comes now is behind them. */
static void check_promises(const char *what, uint32_t until)
{
	uint32_t again = trace->next;
	int status;
	unsigned rounds = 0;

	complaint[0] = '\0';
	do {
		make_due();
		if (!ended(run_command(false, -1, "flush"), &status))
			complain("flush does not end");
		else if (!WIFEXITED(status) || (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != 75))
			complain("flush ended with status %d", status);
	} while (!queue_empty() && ++rounds < ROUNDS && !complaint[0]);
	if (!queue_empty())
		complain("the queue is not empty after %u rounds", rounds);
	for (unsigned i = 0; i < nmessages; i++)
		for (size_t k = 0; messages[i].rcpt[k] && answered(&messages[i], until); k++)
			check_rcpts(&messages[i], messages[i].rcpt[k], until, again);
	check_bad(until);
	trace->next = again;
	memset(&trace->event[again], 0, sizeof trace->event[0] * 64);
	states_seen++;
	if (!complaint[0]) {
		passed++;
		return;
	}
	failed++;
	if (quiet)
		return;
	printf("FAIL %s: %s\n", what, complaint);
	if (getenv("KEEP"))
		print_events(until);
	fflush(stdout);
	if (getenv("KEEP")) {
		char kept[400];

		snprintf(kept, sizeof kept, "%s.%u", root, failed);
		rename(root, kept);
		printf("     kept as %s\n", kept);
	}
}

/* ---- kill and fail */

static void each_end(const struct scene *s, const char *how, bool remembered)
{
	for (unsigned n = 1; n < TRACE_EVENTS; n++) {
		char what[128];
		bool ok = run_scene(s, FAULT_KILL, n, 0);

		if (!trace->struck)
			return;
		snprintf(what, sizeof what, "%s, %s at call %u", s->name, how, n);
		if (!ok)
			fprintf(stderr, "crash: %s: a process did not end\n", what);
		if (!remembered)
			remember(false);
		check_promises(what, trace->next);
	}
}

static void each_kill(const struct scene *s) { each_end(s, "killed", true); }
static void each_forgotten(const struct scene *s) { each_end(s, "killed and forgotten", false); }

/* Fails must not end the program, and the sender is told: what it answers 250 counts. */
static const struct {
	const char *name;
	enum trace_fault fault;
	int error;
} faults[] = {
	{ "EIO", FAULT_ERROR, EIO }, { "short", FAULT_SHORT, 0 },
	{ "ENOSPC", FAULT_ERROR, ENOSPC }, { "EDQUOT", FAULT_ERROR, EDQUOT }, { "EMFILE", FAULT_ERROR, EMFILE }, { "ENOMEM", FAULT_ERROR, ENOMEM },
	{ "EINTR", FAULT_ERROR, EINTR }, { "EACCES", FAULT_ERROR, EACCES }, { "EROFS", FAULT_ERROR, EROFS },
};
enum { FAULTS = sizeof faults / sizeof *faults, FAULTS_SHORT = 2 };

/* The first n of them. */
static void each_failure(const struct scene *s, size_t nfaults)
{
	for (size_t i = 0; i < nfaults; i++)
		for (unsigned n = 1; n < TRACE_EVENTS; n++) {
			char what[128];
			bool ok = run_scene(s, faults[i].fault, n, faults[i].error);

			if (!trace->struck)
				break;
			snprintf(what, sizeof what, "%s, call %u fails with %s", s->name, n, faults[i].name);
			if (!ok) {
				failed++;
				printf("FAIL %s: the program ended or did not end when told\n", what);
				continue;
			}
			check_promises(what, trace->next);
		}
}

/* ---- power: what the disk may hold behind an event */

/* A directory entry or a file's octets, as a file system may have kept them. */
struct object {
	uint64_t ino;
	unsigned char *data;
	size_t n;
	unsigned char *was;             /* before anything was logged */
	size_t was_n;
};
struct place {                          /* a name */
	uint64_t dir;
	char name[TRACE_NAME];
	int object;
};
enum { OBJECTS = 2048, PLACES = 4096 };
static struct object objects[OBJECTS];
static int nobjects;
static struct place places[PLACES];
static int nplaces;
static struct {
	uint64_t ino;
	char path[300];                 /* below the root */
} dirs[64];
static int ndirs;
static int base_objects, base_places;
static struct place base_place[256];

static const char *dir_path(uint64_t ino)
{
	for (int i = 0; i < ndirs; i++)
		if (dirs[i].ino == ino)
			return dirs[i].path;
	return NULL;
}

static int object_of(uint64_t ino, const int *live, int nlive)
{
	for (int i = nlive - 1; i >= 0; i--)
		if (objects[live[i]].ino == ino)
			return live[i];
	return -1;
}

static void base_add(const char *path, const struct stat *st, void *arg)
{
	const char *below = path + strlen(root);
	const char *slash = strrchr(below, '/');

	(void)arg;
	if (S_ISDIR(st->st_mode)) {
		if (ndirs == 64)
			die("too many directories");
		dirs[ndirs].ino = st->st_ino;
		snprintf(dirs[ndirs++].path, sizeof dirs[0].path, "%s", below);
	} else if (S_ISREG(st->st_mode)) {
		char dir[400];
		struct stat of;

		snprintf(dir, sizeof dir, "%s%.*s", root, (int)(slash - below), below);
		if (base_places == 256 || stat(dir, &of) == -1)
			die("too many files");
		objects[base_objects] = (struct object){ .ino = st->st_ino, .n = (size_t)st->st_size };
		objects[base_objects].was = read_octets(path, &objects[base_objects].was_n);
		if (!strcmp(below, "/queue/new/drop")) {
			drop = *st;
			snprintf(drop_said, sizeof drop_said, "%llu %lld", (unsigned long long)st->st_ino, (long long)st->st_ctim.tv_sec);
		}
		base_place[base_places] = (struct place){ .dir = of.st_ino, .object = base_objects++ };
		snprintf(base_place[base_places++].name, TRACE_NAME, "%s", slash + 1);
	}
}

static void base_take(void)
{
	struct stat st;

	for (int i = 0; i < base_objects; i++) {
		free(objects[i].data);
		free(objects[i].was);
		objects[i] = (struct object){ 0 };
	}
	ndirs = base_objects = base_places = 0;
	if (stat(root, &st) == -1)
		die(root);
	dirs[ndirs].ino = st.st_ino;
	dirs[ndirs++].path[0] = '\0';
	in_tree(root, base_add, NULL);
}

enum loss { KEEP, LOSE, TORN, ZEROS };
static int of_event[TRACE_EVENTS];              /* the object it is about, -1: none */

/* Which inode each event means: numbers are used again after a removal. */
static void name_objects(uint32_t until)
{
	static int live[OBJECTS];
	int nlive = 0;

	for (int i = 0; i < base_objects; i++)
		live[nlive++] = i;
	nobjects = base_objects;
	for (uint32_t i = 0; i < until; i++) {
		const struct trace_event *e = &trace->event[i];

		of_event[i] = -1;
		if (e->op == T_CREATE) {
			if (nobjects == OBJECTS)
				die("too many objects");
			free(objects[nobjects].data);
			objects[nobjects] = (struct object){ .ino = e->ino };
			of_event[i] = live[nlive++] = nobjects++;
		} else if (e->op == T_WRITE || e->op == T_TRUNCATE || e->op == T_SYNC_FILE) {
			of_event[i] = object_of(e->ino, live, nlive);
		}
	}
}

static bool is_data(const struct trace_event *e) { return e->op == T_WRITE || e->op == T_TRUNCATE; }
static bool is_name(const struct trace_event *e) { return e->op == T_CREATE || e->op == T_LINK || e->op == T_RENAME || e->op == T_UNLINK; }

static uint64_t name_dir(const struct trace_event *e)
{
	return e->op == T_LINK || e->op == T_RENAME ? e->dir2 : e->dir;
}

/* Covered by a sync that began after it and was over before `until`. */
static bool durable(uint32_t i, uint32_t until)
{
	const struct trace_event *e = &trace->event[i];

	for (uint32_t k = i + 1; k < until && defect != NO_SYNC; k++) {
		const struct trace_event *s = &trace->event[k];

		if (s->begin <= i || (s->op == T_SYNC_FILE && defect == NO_FILE_SYNC))
			continue;
		if (s->op == T_SYNC_ALL)
			return true;
		if (is_data(e) && s->op == T_SYNC_FILE && of_event[k] == of_event[i])
			return true;
		if (is_name(e) && s->op == T_SYNC_DIR && s->dir == name_dir(e))
			return true;
	}
	return false;
}

static int place_find(uint64_t dir, const char *name)
{
	for (int i = 0; i < nplaces; i++)
		if (places[i].dir == dir && !strcmp(places[i].name, name))
			return i;
	return -1;
}

static void place_put(uint64_t dir, const char *name, int object)
{
	int i = place_find(dir, name);

	if (i == -1) {
		if (nplaces == PLACES)
			die("too many names");
		i = nplaces++;
		places[i].dir = dir;
		snprintf(places[i].name, TRACE_NAME, "%s", name);
	}
	places[i].object = object;
}

static void place_drop(uint64_t dir, const char *name)
{
	int i = place_find(dir, name);

	if (i != -1)
		places[i] = places[--nplaces];
}

static void object_size(struct object *o, size_t n)
{
	if (n > o->n) {
		unsigned char *p = realloc(o->data, n);

		if (!p)
			die("memory");
		memset(p + o->n, 0, n - o->n);
		o->data = p;
	}
	o->n = n;
}

static void apply_data(const struct trace_event *e, struct object *o, enum loss loss)
{
	size_t n = loss == TORN ? e->n / 2 : e->n;

	if (e->op == T_TRUNCATE) {
		object_size(o, e->at);
		return;
	}
	if (o->n < e->at + n)
		object_size(o, e->at + n);
	if (loss == ZEROS)
		memset(o->data + e->at, 0, n);
	else
		memcpy(o->data + e->at, trace->data + e->data, n);
}

/* The tree that the fates say; a rename is one step, and a name keeps its inode wherever it was when the name was made. */
static uint64_t build(uint32_t until)
{
	uint64_t hash = 14695981039346656037u;

	for (int i = 0; i < nobjects; i++) {
		free(objects[i].data);
		objects[i].data = NULL;
		objects[i].n = 0;
		object_size(&objects[i], objects[i].was_n);
		if (objects[i].n)
			memcpy(objects[i].data, objects[i].was, objects[i].n);
	}
	/* What the names were in the process's eyes says which object an operation was about. */
	memcpy(places, base_place, sizeof base_place[0] * (size_t)base_places);
	nplaces = base_places;
	for (uint32_t i = 0; i < until; i++) {
		const struct trace_event *e = &trace->event[i];
		int from = is_name(e) ? place_find(e->dir, e->name) : -1;

		if (e->op == T_CREATE)
			place_put(e->dir, e->name, of_event[i]);
		else if ((e->op == T_LINK || e->op == T_RENAME) && from != -1)
			place_put(e->dir2, e->name2, of_event[i] = places[from].object);
		if (e->op == T_RENAME || e->op == T_UNLINK)
			place_drop(e->dir, e->name);
	}
	memcpy(places, base_place, sizeof base_place[0] * (size_t)base_places);
	nplaces = base_places;
	for (uint32_t i = 0; i < until; i++) {
		const struct trace_event *e = &trace->event[i];

		if (fate[i] == LOSE)
			continue;
		if (e->op == T_CREATE || e->op == T_LINK || e->op == T_RENAME) {
			if (of_event[i] != -1)
				place_put(name_dir(e), e->op == T_CREATE ? e->name : e->name2, of_event[i]);
		}
		if (e->op == T_RENAME || e->op == T_UNLINK)
			place_drop(e->dir, e->name);
		if (is_data(e) && of_event[i] != -1)
			apply_data(e, &objects[of_event[i]], fate[i]);
	}
	for (int i = 0; i < nplaces; i++) {
		const struct object *o = &objects[places[i].object];
		uint64_t h = places[i].dir * 1099511628211u;

		for (const char *p = places[i].name; *p; p++)
			h = (h ^ (unsigned char)*p) * 1099511628211u;
		for (size_t k = 0; k < o->n; k++)
			h = (h ^ o->data[k]) * 1099511628211u;
		hash += h;              /* in any order */
	}
	return hash;
}

static void write_tree(void)
{
	time_t before = time(NULL) - 60;        /* the power went before the start that finds it */
	char path[1024];

	tree_remove(root);
	for (int i = 0; i < ndirs; i++) {
		snprintf(path, sizeof path, "%s%s", root, dirs[i].path);
		if (mkdir(path, 0700) == -1)
			die(path);
	}
	for (int i = 0; i < nplaces; i++) {
		const char *dir = dir_path(places[i].dir);
		const struct object *o = &objects[places[i].object];
		int fd;

		if (!dir)
			die("a name in an unknown directory");
		for (int k = 0; k < i; k++)             /* the same inode under another name */
			if (places[k].object == places[i].object) {
				char first[1024];

				snprintf(first, sizeof first, "%s%s/%s", root, dir_path(places[k].dir), places[k].name);
				snprintf(path, sizeof path, "%s%s/%s", root, dir, places[i].name);
				if (link(first, path) == -1)
					die(path);
				goto next;
			}
		snprintf(path, sizeof path, "%s%s/%s", root, dir, places[i].name);
		fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (fd == -1 || (o->n && write(fd, o->data, o->n) != (ssize_t)o->n))
			die(path);
		if (drop_said[0] && objects[places[i].object].ino == drop.st_ino)
			futimens(fd, (struct timespec[]){ drop.st_atim, drop.st_mtim });
		else
			futimens(fd, (struct timespec[]){ { .tv_sec = before }, { .tv_sec = before } });
		close(fd);
next:		;
	}
}

/* States met before, with as much promised: they need no second look. */
static uint64_t met[1 << 16];
static unsigned nmet;

static bool met_before(uint64_t hash)
{
	for (unsigned i = 0; i < nmet; i++)
		if (met[i] == hash)
			return true;
	if (nmet < sizeof met / sizeof *met)
		met[nmet++] = hash;
	return false;
}

static void try_state(const struct scene *s, uint32_t until, const char *variant, uint64_t promised)
{
	char what[160];

	if (met_before(build(until) + promised))
		return;
	write_tree();
	if (defect == NO_RECOVERY)
		remember(true);         /* as if nothing had happened: what was running goes on with its files */
	snprintf(what, sizeof what, "%s, power cut behind event %u of %u, %s", s->name, until, trace->next, variant);
	check_promises(what, until);
}

/* For one moment: everything that is not durable kept, lost, torn; names or data alone; and each thing alone. */
static void each_loss(const struct scene *s, uint32_t until)
{
	static const struct {
		const char *name;
		enum loss names, data;
	} variants[] = {
		{ "all kept", KEEP, KEEP }, { "all lost", LOSE, LOSE }, { "data lost", KEEP, LOSE }, { "data zero", KEEP, ZEROS },
		{ "data torn", KEEP, TORN }, { "names lost", LOSE, KEEP },
	};
	uint64_t promised = 0;
	uint32_t loose[TRACE_EVENTS];
	unsigned n = 0;

	for (uint32_t i = 0; i < until; i++) {
		const struct trace_event *e = &trace->event[i];

		promised += e->op == T_ANSWERED || e->op == T_SENT ? (i + 1) * 1000003u : 0;
		fate[i] = KEEP;
		if ((is_data(e) || is_name(e)) && !durable(i, until))
			loose[n++] = i;
	}
	for (size_t v = 0; v < sizeof variants / sizeof *variants; v++) {
		for (unsigned k = 0; k < n; k++)
			fate[loose[k]] = is_data(&trace->event[loose[k]]) ? variants[v].data : variants[v].names;
		try_state(s, until, variants[v].name, promised);
	}
	for (unsigned k = n > SINGLES ? n - SINGLES : 0; k < n; k++) {
		for (unsigned x = 0; x < n; x++)
			fate[loose[x]] = x == k ? LOSE : KEEP;
		try_state(s, until, "one thing lost", promised);
		for (unsigned x = 0; x < n; x++)
			fate[loose[x]] = x == k ? KEEP : LOSE;
		try_state(s, until, "one thing kept", promised);
	}
}

static void each_power_cut(const struct scene *s)
{
	uint32_t n;

	make_place(s);
	base_take();
	trace_reset(FAULT_NONE, 0, 0);
	trace->on = 1;
	if (!s->run())
		die("the scenario did not end");
	trace->on = 0;
	n = trace->next;
	shared->put_off = 0;
	name_objects(n);
	nmet = 0;
	for (uint32_t until = 0; until <= n; until++)
		each_loss(s, until);
}

/* The n-th call fails, and later the power goes, behind each answer and at the end: 250 rests on no sync that has failed. */
static void each_failure_and_cut(const struct scene *s)
{
	for (unsigned n = 1; n < TRACE_EVENTS; n++) {
		char variant[64];
		uint32_t all;

		make_place(s);
		base_take();
		trace_reset(FAULT_ERROR, n, EIO);
		trace->on = 1;
		s->run();
		trace->on = 0;
		if (!trace->struck)
			break;
		all = trace->next;
		name_objects(all);
		nmet = 0;
		snprintf(variant, sizeof variant, "call %u had failed with EIO, all lost", n);
		for (uint32_t until = 1; until <= all; until++) {
			if (trace->event[until - 1].op != T_ANSWERED && until < all)
				continue;
			for (uint32_t i = 0; i < until; i++)
				fate[i] = (is_data(&trace->event[i]) || is_name(&trace->event[i])) && !durable(i, until) ? LOSE : KEEP;
			try_state(s, until, variant, until);
		}
	}
}

/* What loses mail must be seen to. If it is not, nothing else that is said here counts. */
static const struct {
	const char *what;
	enum defect defect;
	const char *method;             /* the only one that it is for; NULL: all */
} controls[] = {
	{ "syncs do nothing", NO_SYNC, NULL },
	{ "a sync of a file does nothing, of a directory it does", NO_FILE_SYNC, NULL },        /* with log: the log's */
	{ "the log is not read", NO_RECOVERY, "log" },
};
enum { CONTROLS = sizeof controls / sizeof *controls };

static void control_run(void)
{
	for (size_t i = 0; i < CONTROLS; i++) {
		unsigned p = passed, f = failed, r = repeats;

		if (controls[i].method && strcmp(controls[i].method, method))
			continue;
		defect = controls[i].defect;
		quiet = true;
		each_power_cut(&scenes[0]);
		defect = SOUND;
		quiet = false;
		printf("control, queue_sync = %s, %s: promises break in %u of %u states%s\n", method, controls[i].what, failed - f, failed - f + passed - p,
			failed == f ? ": FAIL, they must" : "");
		passed = p + (failed > f);
		failed = f + (failed == f);
		repeats = r;
	}
}

static unsigned repeats_of(enum defect is)
{
	unsigned before = repeats, p = passed, f = failed, n;

	defect = is;
	quiet = true;
	each_forgotten(&scenes[0]);
	defect = SOUND;
	quiet = false;
	n = repeats - before;
	repeats = before;
	passed = p;
	failed = f;
	return n;
}

/* What keeps repeats away must be seen to. */
static void control_repeats(void)
{
	unsigned sound, not_told;

	if (strcmp(method, "log"))
		return;
	sound = repeats_of(SOUND);
	not_told = repeats_of(NOT_TOLD);
	printf("control, queue_sync = %s, the log does not hear of what leaves: %u repeats, %u when it does%s\n", method, not_told, sound,
		not_told > sound ? "" : ": FAIL, they must be more");
	passed += not_told > sound;
	failed += not_told <= sound;
}

/* ---- */

static const char *const methods[] = { "file", "log", NULL };
static const char *const part_names[] = { "kill", "forgotten", "power", "fail", NULL };

static bool is_one_of(const char *word, const char *const *kind)
{
	while (*kind && strcmp(word, *kind))
		kind++;
	return *kind != NULL;
}

static bool wanted(int argc, char **argv, const char *name, const char *const *kind)
{
	bool any = false;

	for (int i = 3; i < argc; i++) {
		if (!is_one_of(argv[i], kind))
			continue;
		any = true;
		if (!strcmp(argv[i], name))
			return true;
	}
	return !any;
}

static void each_call_fails(const struct scene *s)
{
	each_failure(s, s == scenes ? FAULTS : s->slow ? 1 : FAULTS_SHORT);
	if (!s->slow)
		each_failure_and_cut(s);
}

static void run_parts(int argc, char **argv, const struct scene *s)
{
	static void (*const parts[])(const struct scene *) = { each_kill, each_forgotten, each_power_cut, each_call_fails };

	for (size_t i = 0; part_names[i]; i++) {
		unsigned before = states_seen, repeated = repeats;

		if (!wanted(argc, argv, part_names[i], part_names) || (parts[i] == each_forgotten && strcmp(method, "log")))
			continue;               /* with file it is a kill */
		parts[i](s);
		printf("%s, %s, queue_sync = %s: %u states, %u repeats\n", s->name, part_names[i], method, states_seen - before, repeats - repeated);
		fflush(stdout);
	}
}

/* Elsewhere the program has no log (lib/file.c), and what is tried would be the other method once more. */
static bool bears_log(void)
{
	struct statfs s;

	return statfs(work, &s) == 0 && (s.f_type == 0xef53 || s.f_type == 0x58465342 || (unsigned long)s.f_type == 0x9123683e);
}

int main(int argc, char **argv)
{
	const char *names[SCENES + 1] = { NULL };
	const char *tmp = getenv("TMPDIR");
	bool only_control = argc == 4 && !strcmp(argv[3], "control");
	int fd;

	if (argc < 3)
		return 2;
	for (size_t i = 0; i < SCENES; i++)
		names[i] = scenes[i].name;
	for (int i = 3; i < argc; i++)
		if (!only_control && !is_one_of(argv[i], names) && !is_one_of(argv[i], methods) && !is_one_of(argv[i], part_names)) {
			fprintf(stderr, "crash: %s is no scenario, part or method\n", argv[i]);
			return 2;
		}
	program = argv[1];
	shim = argv[2];
	signal(SIGPIPE, SIG_IGN);
	snprintf(work, sizeof work, "%s/fardel-crash.XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(work) || chdir(work) == -1)
		die("no directory");
	snprintf(root, sizeof root, "%s/root", work);
	snprintf(conf, sizeof conf, "%s/fardel.conf", work);
	snprintf(trace_path, sizeof trace_path, "%s/trace", work);
	fd = open(trace_path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd == -1 || ftruncate(fd, sizeof *trace) == -1)
		die(trace_path);
	trace = mmap(NULL, sizeof *trace, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (trace == MAP_FAILED || shared == MAP_FAILED)
		die("mmap");
	snprintf(trace->root, sizeof trace->root, "%s", root);
	peers_start();
	for (size_t k = 0; methods[k]; k++)
		if (wanted(argc, argv, methods[k], methods)) {
			method = methods[k];
			repeats = 0;
			if (!strcmp(method, "log") && !bears_log()) {
				printf("FAIL queue_sync = log: %s is not on ext4, XFS or btrfs, so there is no log: set TMPDIR\n", work);
				failed++;
				continue;
			}
			for (size_t i = 0; i < SCENES && !only_control; i++)
				if (wanted(argc, argv, scenes[i].name, names) && (!scenes[i].method || !strcmp(scenes[i].method, method)))
					run_parts(argc, argv, &scenes[i]);
			if (argc == 3 || only_control) {
				control_run();
				control_repeats();
			}
			printf("queue_sync = %s: repeats %u\n", method, repeats);
		}
	kill(peers, SIGTERM);
	waitpid(peers, NULL, 0);
	if (chdir("/") == 0 && !getenv("KEEP"))
		tree_remove(work);
	printf("%u passed, %u failed\n", passed, failed);
	return failed != 0 || passed == 0;
}
