/* Asking the running program by its control socket. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "cmd/control.h"
#include "cmd/fardel.h"
#include "lib/clock.h"

enum { ANSWER_MS = 5000, ANSWER_MAX = 4 << 20 };

int control_call(const struct settings *set, const char *line, int64_t ms)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	const struct timeval within = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };     /* for connect(2), too, when the backlog is full */
	char text[160];
	int fd, n, saved;

	if (!control_path(set, un.sun_path, sizeof un.sun_path)) {
		errno = ENOENT;
		return -1;
	}
	n = snprintf(text, sizeof text, "%s\n", line);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd == -1)
		return -1;
	if (n < (int)sizeof text && setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &within, sizeof within) == 0 && connect(fd, (const struct sockaddr *)&un, sizeof un) == 0 && send(fd, text, (size_t)n, MSG_NOSIGNAL) == n)
		return fd;
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

static bool read_all(int fd, struct buf *out)
{
	int64_t end = clock_monotonic_ms() + ANSWER_MS;

	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		int64_t left = end - clock_monotonic_ms();
		char *to;
		ssize_t n;

		if (left <= 0 || poll(&p, 1, (int)left) <= 0 || !(to = buf_reserve(out, 4096)))
			return false;
		n = read(fd, to, 4096);
		if (n <= 0)
			return n == 0;
		out->n += (size_t)n;
	}
}

bool control_ask(const struct settings *set, const char *line, struct buf *out, const char **why)
{
	int fd = control_call(set, line, ANSWER_MS);
	struct str rest, first;
	bool whole;

	*why = errno == EACCES ? "only root and the account of the server may ask it" : errno == EAGAIN ? "the server runs and takes no call" :
		"no server runs, or it has no control socket";
	if (fd == -1)
		return false;
	buf_clear(out);
	out->max = ANSWER_MAX;
	whole = read_all(fd, out);
	close(fd);
	rest = buf_view(out);
	*why = "the server has not answered in time";
	if (!whole || !str_cut(&rest, '\n', &first))
		return false;
	*why = "the server refuses to tell: only root and its own account may ask";
	if (!str_eq(first, STR("ok")))
		return false;
	buf_drop(out, first.n + 1);
	return true;
}

struct str control_field(struct str *line)
{
	struct str f;

	if (str_cut(line, '\t', &f))
		return f;
	f = *line;
	line->n = 0;
	return f;
}

static bool next_field(struct str *line, struct str *field)
{
	bool there = line->n > 0;

	*field = control_field(line);
	return there;
}

static uint64_t number(struct str *line)
{
	struct str field;
	uint64_t n = 0;

	return next_field(line, &field) && str_number(field, INT64_MAX, &n) ? n : 0;
}

bool control_next_dest(struct str *rest, struct control_dest *d)
{
	struct str line, word;

	while (str_cut(rest, '\n', &line)) {
		if (!str_cut(&line, '\t', &word) || !str_eq(word, STR("dest")) || !next_field(&line, &d->dest))
			continue;
		d->entries = number(&line);
		d->held = number(&line);
		d->oldest = (int64_t)number(&line);
		d->connections = number(&line);
		d->failures = number(&line);
		d->again = (int64_t)number(&line);
		d->ours = number(&line) != 0;
		d->words = line;
		return true;
	}
	return false;
}

bool control_find_dest(struct str answer, struct str dest, struct control_dest *d)
{
	while (control_next_dest(&answer, d))
		if (str_eq_nocase(d->dest, dest))
			return true;
	return false;
}

int cmd_metrics(int argc, char **argv)
{
	struct settings set;
	struct buf out = { 0 };
	const char *why;
	int status = settings_for_command(&set, argc, argv);

	if (status == 0 && !control_ask(&set, "metrics", &out, &why)) {
		fprintf(stderr, "fardel metrics: %s\n", why);
		status = EX_UNAVAILABLE;
	} else if (status == 0) {
		fwrite(out.p, 1, out.n, stdout);
	}
	buf_free(&out);
	settings_free(&set);
	if (fflush(stdout) == EOF && status == 0)
		status = EX_IOERR;
	return status;
}
