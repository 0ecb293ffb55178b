/* The other end of a relay: a server of SMTP that takes everything, keeps nothing and counts what reaches it. A thread of its own. */
#ifndef BENCH_SINK_H
#define BENCH_SINK_H

#include <stdbool.h>

struct sink_config {
	unsigned port;
	unsigned hold_ms;               /* every reply is held back for so long, as by a distant host's round trip */
	bool no_chunking;               /* CHUNKING is not offered */
};

struct sink_counts {
	unsigned long connections, most;        /* in all, and at a time */
	unsigned long transactions;             /* MAIL */
	unsigned long recipients;               /* RCPT */
	unsigned long messages, delivered;      /* taken, and for how many recipients */
	unsigned long turns;                    /* of ours: the greeting, and each answer to all that had come meanwhile */
	unsigned long in, out;                  /* octets of SMTP, to us and from us */
	unsigned long segments_in, segments_out;        /* TCP_INFO's, of connections that have ended */
	double last;                            /* when the last message was taken: CLOCK_MONOTONIC, seconds */
};

/* NULL, or why there is none. Listens at `n` addresses of IPv4. */
const char *sink_open(const struct sink_config *, char *const addresses[], int n);
/* Waits until so many recipients have been served, and then until all connections have ended; each time no longer than so many seconds.
 * False: it did not come about. */
bool sink_wait(unsigned long delivered, double seconds);
bool sink_quiet(double seconds);
struct sink_counts sink_counts(void);

#endif
