/* Figures for monitoring. */
#include "cmd/figures.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/fardel.h"
#include "lib/file.h"
#include "lib/log.h"
#include "lib/loop.h"
#include "lib/metrics.h"
#include "queue.h"
#include "smtpd.h"

enum { EVERY_MS = 15000 };

static const char *target;
static struct timer timer;
static int64_t since;
static bool complained;

static bool print(struct buf *out)
{
	struct queue_figures q;
	int64_t now = loop_wall();

	queue_measure(&q);
	metrics_figure(out, "fardel_start_time_seconds", "gauge", "When the program started, in Unix seconds.", since);
	metrics_figure(out, "fardel_queue_messages", "gauge", "Messages in the queue.", (int64_t)q.messages);
	metrics_figure(out, "fardel_queue_entries", "gauge", "Destinations of messages in the queue.", (int64_t)queue_entries());
	metrics_figure(out, "fardel_queue_held", "gauge", "Of these, on hold.", (int64_t)q.held);
	metrics_figure(out, "fardel_queue_oldest_seconds", "gauge", "Age of the oldest message in the queue; 0: it is empty.",
		q.oldest && q.oldest < now ? now - q.oldest : 0);
	metrics_figure(out, "fardel_sessions", "gauge", "SMTP sessions that are open.", smtpd_sessions());
	return metrics_print(out);
}

/* Beside the target and then in its place: who reads it finds a whole one. */
static int write_file(const struct buf *text)
{
	char fresh[PATH_MAX];
	int fd, saved;

	if (snprintf(fresh, sizeof fresh, "%s.new", target) >= (int)sizeof fresh) {
		errno = ENAMETOOLONG;
		return -1;
	}
	fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd == -1)
		return -1;
	if (fchmod(fd, 0644) == -1 || file_write(fd, text->p, text->n) == -1 || rename(fresh, target) == -1)
		goto fail;
	close(fd);
	return 0;
fail:
	saved = errno;
	close(fd);
	unlink(fresh);
	errno = saved;
	return -1;
}

static void write_now(void)
{
	struct buf text = { 0 };
	int r = -1;

	errno = ENOMEM;
	if (print(&text))
		r = write_file(&text);
	if (r == -1 && !complained)
		log_text(LOG_ERROR, "metrics", "cannot write %s: %s. See the setting metrics_file", target, strerror(errno));
	complained = r == -1;
	buf_free(&text);
}

static void again(struct timer *t)
{
	write_now();
	timer_set(t, EVERY_MS);
}

void figures_write_to(const char *path)
{
	if (!since)
		since = loop_wall();
	timer_stop(&timer);
	target = path;
	complained = false;
	timer.expired = again;
	if (path)
		again(&timer);
}
