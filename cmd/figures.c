/* Figures for monitoring. */
#include "cmd/figures.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
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

/* ---- by destination: those with the most mail, as a queue may have thousands */

struct column {
	const char *name, *help;
	int64_t (*value)(const struct domain_figures *);
	struct buf text;
};

static int64_t entries_of(const struct domain_figures *f) { return (int64_t)f->entries; }
static int64_t age_of(const struct domain_figures *f) { return f->oldest && f->oldest < loop_wall() ? loop_wall() - f->oldest : 0; }
static int64_t failures_of(const struct domain_figures *f) { return f->failures; }
static int64_t wait_of(const struct domain_figures *f) { return f->again > loop_wall() ? f->again - loop_wall() : 0; }
static int64_t connections_of(const struct domain_figures *f) { return f->connections; }

static struct column columns[] = {
	{ "fardel_destination_entries", "Entries that wait for a domain; + is several.", entries_of, { 0 } },
	{ "fardel_destination_oldest_seconds", "Age of the oldest message for a domain.", age_of, { 0 } },
	{ "fardel_destination_failures", "Attempts in a row that came to no conversation.", failures_of, { 0 } },
	{ "fardel_destination_wait_seconds", "Until a destination that is down is tried again; 0: it is not down.", wait_of, { 0 } },
	{ "fardel_destination_connections", "Connections for a domain's destination.", connections_of, { 0 } },
};
enum { COLUMNS = sizeof columns / sizeof *columns, DESTINATIONS = 50 };

static void add_domain(void *arg, const struct domain_figures *f)
{
	(void)arg;
	/* no domain in the index has a quote or a backslash (doc/QUEUE); what routes by sender add is behind a blank */
	for (size_t i = 0; i < COLUMNS; i++)
		buf_printf(&columns[i].text, "%s{destination=\"%.*s\"} %" PRId64 "\n", columns[i].name, (int)strcspn(f->domain, " \"\\"), f->domain,
			columns[i].value(f));
}

bool figures_print(struct buf *out)
{
	bool ok = print(out);

	for (size_t i = 0; i < COLUMNS; i++)
		buf_clear(&columns[i].text);
	ok = queue_measure_domains(DESTINATIONS, add_domain, NULL) && ok;
	for (size_t i = 0; i < COLUMNS; i++) {
		buf_printf(out, "# HELP %s %s\n# TYPE %s gauge\n", columns[i].name, columns[i].help, columns[i].name);
		buf_str(out, buf_view(&columns[i].text));
		buf_free(&columns[i].text);
	}
	return ok && !out->bad;
}

void figures_lines(struct buf *out)
{
	struct queue_figures q;

	queue_measure(&q);
	buf_printf(out, "figure\tnow\t%" PRId64 "\nfigure\tstarted\t%" PRId64 "\nfigure\tmessages\t%zu\nfigure\tentries\t%zu\n"
		"figure\theld\t%zu\nfigure\toldest\t%" PRId64 "\nfigure\tsessions\t%u\n", loop_wall(), since, q.messages, queue_entries(), q.held,
		q.oldest, smtpd_sessions());
	metrics_lines(out);
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
