/* Waiting for the results of a message at the control socket. */
#include "cmd/await.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "cmd/control.h"
#include "cmd/fardel.h"
#include "cmd/listing.h"
#include "lib/clock.h"

enum { HEARD_MAX = 1 << 20 };

int await_status(int code, struct str enhanced)
{
	static const struct {
		struct str enhanced;
		int status;
	} rows[] = {            /* the first that fits */
		{ { "5.1.2", 5 }, EX_NOHOST }, { { "5.1.10", 6 }, EX_NOHOST }, { { "5.4.4", 5 }, EX_NOHOST },
		{ { "5.1.", 4 }, EX_NOUSER }, { { "5.2.", 4 }, EX_NOUSER },
		{ { "5.3.4", 5 }, EX_DATAERR }, { { "5.6.", 4 }, EX_DATAERR },
		{ { "5.7.", 4 }, EX_NOPERM },
	};

	if (code >= 400 && code < 500)
		return EX_TEMPFAIL;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		if (str_starts_nocase(enhanced, rows[i].enhanced))
			return rows[i].status;
	return EX_UNAVAILABLE;
}

/* Of several: what trying again may mend is the last word. */
static void worse(int *status, int other)
{
	if (*status == EX_OK || other == EX_TEMPFAIL)
		*status = other;
}

/* "ADDRESS what code status words" */
static void take_result(struct str line, int *status, bool verbose)
{
	struct str address = control_field(&line), what = control_field(&line), code = control_field(&line), enhanced = control_field(&line);
	bool delivered = str_eq(what, STR("delivered"));
	FILE *to = delivered ? stdout : stderr;
	uint64_t n = 0;

	str_number(code, 999, &n);
	if (str_eq(what, STR("deferred")))
		worse(status, EX_TEMPFAIL);
	else if (!delivered)
		worse(status, await_status(str_eq(what, STR("failed")) && n < 500 ? 550 : (int)n, enhanced));
	if (delivered && !verbose)
		return;
	if (!delivered)
		fputs("sendmail: ", to);
	listing_show(to, address);
	fputs(delivered ? ": delivered: " : str_eq(what, STR("failed")) ? ": refused: " : ": not now, it stays in the queue: ", to);
	if (n)
		fprintf(to, "%d ", (int)n);
	if (n && enhanced.n) {
		listing_show(to, enhanced);
		fputc(' ', to);
	}
	listing_show(to, line);
	fputc('\n', to);
}

/* The whole lines that have come. True: that was all of it. False with *refused: it is not told. */
static bool take_lines(struct buf *heard, bool *begun, bool *refused, int *status, bool verbose)
{
	struct str rest = buf_view(heard), line, word;
	bool over = false;

	while (!over && str_cut(&rest, '\n', &line)) {
		if (!*begun) {
			*begun = str_eq(line, STR("ok"));
			*refused = !*begun;
			over = *refused;
			continue;
		}
		word = control_field(&line);
		if (str_eq(word, STR("result")))
			take_result(line, status, verbose);
		over = str_eq(word, STR("end"));
	}
	buf_drop(heard, (size_t)(rest.p - heard->p));
	return over;
}

static int not_heard(const char *why)
{
	return sendmail_complain(EX_TEMPFAIL, "the message is queued, but what becomes of it is not known: %s", why);
}

static const char *why_not_called(void)
{
	if (errno == EACCES || errno == EPERM)
		return "the control socket is not open to this account; see the setting control in fardel.conf(5)";
	if (errno == EAGAIN)
		return "the server runs and takes no call: too many wait for it, or it stands still";
	return "no server runs, or it has no control socket. `fardel check` tells more";
}

int await_results(const struct settings *set, const char *id, int64_t seconds, bool verbose)
{
	int64_t end = clock_monotonic_ms() + seconds * 1000;
	struct buf heard = { .max = HEARD_MAX };
	bool begun = false, refused = false, over = false;
	int status = EX_OK, fd;
	char line[64];

	if (!*id)
		return not_heard("it lies in the drop directory, and no server has taken it yet");
	snprintf(line, sizeof line, "wait %.32s", id);
	fd = control_call(set, line, seconds * 1000);
	if (fd == -1)
		return not_heard(why_not_called());
	while (!over) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		int64_t left = end - clock_monotonic_ms();
		char *to = buf_reserve(&heard, 4096);
		ssize_t n = 0;

		if (left <= 0 || !to || poll(&p, 1, left > 60000 ? 60000 : (int)left) == -1)
			break;
		if (!p.revents)
			continue;
		n = read(fd, to, 4096);
		if (n <= 0)
			break;
		heard.n += (size_t)n;
		over = take_lines(&heard, &begun, &refused, &status, verbose);
	}
	close(fd);
	buf_free(&heard);
	if (over && !refused)
		return status;
	return not_heard(refused ? "the server has not understood the question" : clock_monotonic_ms() >= end ? "it is still being tried; `fardel why` tells more" :
		"the server has ended");
}
