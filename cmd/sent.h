/* What is remembered of mail that has left the queue: where each recipient's went and what was said there, and what reports of other hosts
 * (mime/status.h) say of it later. Lines in a file a day, sent/ in the queue directory (doc/QUEUE), for `fardel why`. They are gathered for a
 * second, so that many messages cost one write; none is synced, and a crash may forget that second. */
#ifndef CMD_SENT_H
#define CMD_SENT_H

#include "queue.h"

enum {
	SENT_LINE = 8 << 10,            /* octets of a line; what is longer is not kept */
	SENT_DAY_MAX = 16 << 20,        /* octets of a file: fifty thousand recipients, then none of that day is added */
	SENT_WORDS = 320                /* octets kept of what was said, with the NUL */
};

/* Opens sent/ in the queue directory `dir`, for so many days; when it is open already, they change. 0 days: ends it. 0, or -1 with errno. */
int sent_start(int dir, unsigned days);
void sent_stop(void);                   /* writes what is gathered; not started: nothing */
/* As queue_config.settled: what is final is kept. Not started: nothing. */
void sent_note(const struct mail *, const struct rcpt *, const struct result *);
/* A report that has come in is in the queue as message `id`, from this client: its lines as feedback_read() made them (policy/feedback.h). */
void sent_told(const char *id, const char *client, struct str lines);

/* ---- reading */

struct sent {                           /* of a line; what was not said is "" */
	char time[24], id[ID_MAX], of[ID_MAX], into[ID_MAX], from[ADDR_MAX + 1], to[ADDR_MAX + 1], what[12], status[12], host[DOMAIN_MAX + 64],
		words[SENT_WORDS], envid[101];
	/* Of a report. */
	char report[ID_MAX], client[64], original[ADDR_MAX + 1], remote[DOMAIN_MAX + 1];
};
/* Calls each() with all that is kept in the queue directory of this path, the oldest first. 0, or -1 with errno; ENOENT: nothing was ever kept. */
int sent_each(const char *queue, void (*each)(void *arg, const struct sent *), void *arg);

#endif
