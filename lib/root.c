/* The process that stays root: starts children as users, opens files of the configuration. */
#include "lib/root.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/log.h"
#include "lib/str.h"

enum {
	END_S = 2,                      /* for a child whose socket was closed */
	FINISH_S = 60,                  /* for all, when the program is gone: they may hold a message whose result nobody else will write */
	OPEN_MS = 5000,
	FILES = 256,                    /* that a child may have open */
	CPU_S = 600                     /* of processor time: what turns in a circle ends */
};

static struct root_config config;

/* ======== what is asked */

/* As the useradd of any system would have it, and what mail may be addressed to. */
static bool is_user_name(struct str s)
{
	if (!s.n || s.n >= sizeof ((struct account *)0)->name || s.p[0] == '-' || s.p[0] == '.')
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (!ascii_alpha(s.p[i]) && !ascii_digit(s.p[i]) && !(s.p[i] && strchr("._+-", s.p[i])))
			return false;
	return true;
}

enum root_request root_parse(const void *data, size_t n, char name[ROOT_MESSAGE])
{
	const char *p = data;
	struct str rest;

	if (n < 2 || n > ROOT_MESSAGE || memchr(p, '\0', n))
		return ROOT_WRONG;
	rest = (struct str){ p + 1, n - 1 };
	if (!str_copy(name, ROOT_MESSAGE, rest))
		return ROOT_WRONG;
	return p[0] == 'o' ? ROOT_OPEN : p[0] == 'u' && is_user_name(rest) ? ROOT_USER : ROOT_WRONG;
}

/* ======== the process that is root */

struct helper_child {
	pid_t pid;                      /* 0: the place is free */
	int fd;                         /* its end of the socket, to see the other one closed; -1: it was */
	time_t kill_at;                 /* 0: not asked to end */
	char user[64];                  /* "": opens a file */
};
static struct helper_child children[ROOT_CHILDREN];
static int asks = -1;                   /* who asks; -1: is gone */

static time_t now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

/* Anything else that a descriptor may be could hold us up. */
static bool is_socket_pair(int fd)
{
	socklen_t n = sizeof(int);
	int domain = 0, type = 0;

	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n) == 0 && domain == AF_UNIX &&
		getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) == 0 && type == SOCK_SEQPACKET;
}

static void only_socket(int fd)
{
	int null = open("/dev/null", O_RDWR);

	for (int i = 0; i < 3 && null != -1; i++)
		dup2(null, i);
	if (fd != 3)
		dup2(fd, 3);
	fcntl(3, F_SETFD, FD_CLOEXEC);
	if (file_close_range(4, ~0u, 0) == -1)
		for (int i = 4; i < 4 + ROOT_CHILDREN + 8; i++)         /* Linux before 5.9; the process has no more than these */
			close(i);
}

static void set_limit(int what, rlim_t n)
{
	struct rlimit r = { n, n };

	setrlimit(what, &r);
}

static void set_environment(const struct account *a)
{
	clearenv();
	setenv("HOME", a->home, 1);
	setenv("USER", a->name, 1);
	setenv("LOGNAME", a->name, 1);
	setenv("SHELL", a->shell, 1);
	setenv("PATH", "/usr/local/bin:/usr/bin:/bin", 1);
}

static enum root_status become(const char *user, struct account *a, int *error)
{
	const char *wrong;
	char why[256];

	errno = 0;
	wrong = account_find(user, a);
	*error = errno;
	if (wrong)
		return a->uid == 0 && a->name[0] ? ROOT_IS_ROOT : *error ? ROOT_FAILED : ROOT_NOBODY;
	set_environment(a);
	umask(077);
	set_limit(RLIMIT_CORE, 0);
	set_limit(RLIMIT_NOFILE, FILES);
	set_limit(RLIMIT_CPU, CPU_S);
	if (account_settle(a, why, sizeof why) == 0)
		return ROOT_READY;
	*error = errno;
	return ROOT_FAILED;
}

static void finish(int signo)
{
	(void)signo;
	alarm(FINISH_S);                /* which nothing catches */
}

/* Nobody is left who would end it, if the process that stays root ends before it. The kernel forgets this when the account changes. */
static void end_with_parent(void)
{
	signal(SIGALRM, SIG_DFL);
	signal(SIGUSR2, finish);
	prctl(PR_SET_PDEATHSIG, SIGUSR2);
}

static int run_user(const char *user)
{
	struct root_hello hello = { .status = ROOT_FAILED };
	struct account a = { 0 };

	hello.status = become(user, &a, &hello.error);
	end_with_parent();
	if (child_reply(3, &hello, sizeof hello) == -1 || hello.status != ROOT_READY)
		return 1;
	return config.main(3, &a);
}

static bool is_named(const char *path)
{
	for (size_t i = 0; i < config.nfiles; i++)
		if (!strcmp(config.file[i], path))
			return true;
	return false;
}

static int run_open(const char *path)
{
	int error = EACCES, fd = -1;
	struct stat st;

	if (is_named(path)) {
		fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
		error = fd == -1 ? errno : 0;
		if (fd != -1 && (fstat(fd, &st) == -1 || !S_ISREG(st.st_mode)))
			error = EINVAL;
	}
	return child_reply_with(3, &error, sizeof error, &fd, error ? 0 : 1) == -1;
}

/* A free place; NULL: there is none, or this user has as many as he may. */
static struct helper_child *place_for(const char *user)
{
	struct helper_child *free = NULL;
	unsigned has = 0;

	for (size_t i = 0; i < ROOT_CHILDREN; i++) {
		if (!children[i].pid)
			free = &children[i];
		else
			has += !strcmp(children[i].user, user);
	}
	return has < ROOT_CHILDREN_EACH || !*user ? free : NULL;        /* files are opened in no time */
}

/* False: not begun. fd is kept when it is. */
static bool begin(enum root_request what, const char *name, int fd)
{
	const char *user = what == ROOT_USER ? name : "";
	struct helper_child *c = place_for(user);
	sigset_t none;
	pid_t pid;

	if (!c || !is_socket_pair(fd))
		return false;
	pid = fork();
	if (pid == -1)
		return false;
	if (pid == 0) {
		setsid();
		signal(SIGCHLD, SIG_DFL);
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		only_socket(fd);
		_exit(what == ROOT_USER ? run_user(name) : run_open(name));
	}
	*c = (struct helper_child){ .pid = pid, .fd = fd };
	str_copy(c->user, sizeof c->user, str_of(user));
	return true;
}

static void take_request(void)
{
	char message[ROOT_MESSAGE], name[ROOT_MESSAGE];
	enum root_request what;
	size_t nfds = 1;
	int fd = -1;
	ssize_t n = child_receive(asks, message, sizeof message, &fd, &nfds);

	if (n == 0) {
		close(asks);
		asks = -1;
		return;
	}
	what = n > 0 ? root_parse(message, (size_t)n, name) : ROOT_WRONG;
	if (nfds && (what == ROOT_WRONG || !begin(what, name, fd)))
		close(fd);
}

/* The group has the command that a child has started, too. */
static void end_child(struct helper_child *c)
{
	kill(-c->pid, SIGKILL);
	kill(c->pid, SIGKILL);
}

static void reap(void)
{
	siginfo_t ended = { 0 };

	while (waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 && ended.si_pid > 0) {
		pid_t pid = ended.si_pid;

		kill(-pid, SIGKILL);    /* what it has left behind; its number is not free before the next line */
		waitpid(pid, NULL, 0);
		for (size_t i = 0; i < ROOT_CHILDREN; i++)
			if (children[i].pid == pid) {
				if (children[i].fd != -1)
					close(children[i].fd);
				children[i].pid = 0;
			}
		ended.si_pid = 0;
	}
}

static void want_end(struct helper_child *c, time_t within)
{
	time_t at = now_s() + within;

	if (!c->kill_at || within > END_S)
		c->kill_at = at;
}

static void closed(struct helper_child *c)
{
	close(c->fd);
	c->fd = -1;
	want_end(c, asks == -1 ? FINISH_S : END_S);
}

static void kill_late_ones(void)
{
	for (size_t i = 0; i < ROOT_CHILDREN; i++)
		if (children[i].pid && children[i].kill_at && now_s() >= children[i].kill_at)
			end_child(&children[i]);
}

static bool any_left(void)
{
	for (size_t i = 0; i < ROOT_CHILDREN; i++)
		if (children[i].pid)
			return true;
	return false;
}

static void look(void)
{
	struct pollfd p[1 + ROOT_CHILDREN];
	struct helper_child *whose[1 + ROOT_CHILDREN];
	struct timespec second = { 1, 0 };
	nfds_t n = 0;
	bool ending = false;
	sigset_t none;

	p[n++] = (struct pollfd){ .fd = asks, .events = POLLIN };
	for (size_t i = 0; i < ROOT_CHILDREN; i++) {
		if (!children[i].pid)
			continue;
		ending |= children[i].kill_at != 0;
		if (children[i].fd == -1)
			continue;
		whose[n] = &children[i];
		p[n++] = (struct pollfd){ .fd = children[i].fd };
	}
	sigemptyset(&none);
	if (ppoll(p, n, ending ? &second : NULL, &none) <= 0)
		return;
	if (asks != -1 && p[0].revents) {
		take_request();
		if (asks == -1)
			for (size_t i = 0; i < ROOT_CHILDREN; i++)
				if (children[i].pid)
					want_end(&children[i], FINISH_S);
	}
	for (nfds_t i = 1; i < n; i++)
		if (p[i].revents)
			closed(whose[i]);
}

static void child_ended(int signo) { (void)signo; }

static int serve(int socket, void *arg)
{
	sigset_t block;

	(void)arg;
	sigemptyset(&block);
	sigaddset(&block, SIGCHLD);     /* seen by ppoll() alone */
	sigprocmask(SIG_BLOCK, &block, NULL);
	signal(SIGCHLD, child_ended);
	if (config.forget)
		config.forget();
	asks = socket;
	while (asks != -1 || any_left()) {
		look();
		reap();
		kill_late_ones();
	}
	return 0;
}

/* ======== the side of the program */

static struct child helper;

static void answered(struct child *c, const void *data, size_t n, int *fds, size_t nfds)
{
	(void)c;
	(void)data;
	(void)n;
	for (size_t i = 0; i < nfds; i++)
		close(fds[i]);
}

/* Root was given up: nobody can start it anew. */
static void gone(struct child *c)
{
	(void)c;
	log_text(LOG_ERROR, "root-helper", "the process that starts deliveries as users has ended: their mail waits until the program is started again");
}

int root_start(const struct root_config *c)
{
	config = *c;
	helper = (struct child){ .name = "root", .message = answered, .gone = gone };
	return child_start(&helper, serve, NULL);
}

void root_stop(void) { child_stop(&helper); }
struct child *root_helper(void) { return &helper; }
bool root_in_force(void) { return helper.pid != 0; }

/* Our end of a new pair, whose other end goes with the request. -1 with errno. */
static int request(char letter, const char *name)
{
	char message[ROOT_MESSAGE];
	size_t n = strlen(name);
	int pair[2], saved, r;

	if (!n || n + 1 > sizeof message) {
		errno = EINVAL;
		return -1;
	}
	message[0] = letter;
	memcpy(message + 1, name, n);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == -1)
		return -1;
	r = child_send(&helper, message, n + 1, &pair[1], 1);
	saved = errno;
	close(pair[1]);
	if (r == 0)
		return pair[0];
	close(pair[0]);
	errno = saved;
	return -1;
}

int root_child(struct child *c, const char *user)
{
	int fd = request('u', user);

	return fd == -1 ? -1 : child_adopt(c, fd);
}

int root_open(const char *path)
{
	int from = request('o', path), error = EIO, fd = -1;
	struct pollfd p = { .fd = from, .events = POLLIN };
	size_t nfds = 1;

	if (from == -1)
		return -1;
	if (poll(&p, 1, OPEN_MS) != 1)
		error = ETIMEDOUT;
	else if (child_receive(from, &error, sizeof error, &fd, &nfds) != (ssize_t)sizeof error || (!error && !nfds))
		error = EIO;
	close(from);
	if (!error)
		return fd;
	if (nfds && fd != -1)
		close(fd);
	errno = error;
	return -1;
}
