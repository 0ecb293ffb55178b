/* A scripted mail filter: a server on a local socket that speaks the milter protocol inside our loop, answers as its rules say and notes
 * what it was told. A command that no rule is for is answered with "continue", or not at all where the filter has said so. */
#ifndef TESTS_FILTER_H
#define TESTS_FILTER_H

#include "smtpd.h"

enum filter_deed {
	FILTER_SAYS,                    /* packets, one after the other */
	FILTER_SENDS,                   /* the octets of the first as they are */
	FILTER_CLOSES,                  /* says them, then closes */
	FILTER_IS_MUTE                  /* does not answer */
};
enum { FILTER_PACKETS = 12 };
struct filter_packet { const char *p; size_t n; };      /* its letter and what belongs to it */
#define PACKET(literal) { literal, sizeof(literal) - 1 }

struct filter_rule {                    /* an array ends with letter 0; the first that fits counts */
	char letter;                    /* of the command */
	const char *holds;              /* what it says holds this; NULL: whatever it says */
	enum filter_deed deed;
	struct filter_packet say[FILTER_PACKETS];
};

struct fake_filter;
/* Listens. steps, actions: what it answers to the options. Rules are borrowed. Ends the program when the system refuses. */
struct fake_filter *filter_new(uint32_t version, uint32_t actions, uint32_t steps, const struct filter_rule *rules);
void filter_rules(struct fake_filter *, const struct filter_rule *);
void filter_symbols(struct fake_filter *, const char *p, size_t n);     /* behind the options; borrowed */
void filter_octets(struct fake_filter *);               /* each octet leaves in a write and a turn of its own */
void filter_say(struct fake_filter *, const char *p, size_t n);  /* a packet on all connections, now */
void filter_free(struct fake_filter *);
struct smtpd_milter filter_place(const struct fake_filter *);   /* where it listens, for all sessions */
/* All that it was told: a letter and its data in a line each, '|' for NUL, what is not printable as '.', of a body only its length. */
const char *filter_heard(struct fake_filter *);
void filter_forget(struct fake_filter *);               /* what it was told */
unsigned filter_connections(const struct fake_filter *);        /* since the start */
unsigned filter_open(const struct fake_filter *);               /* now */
void filter_stop_listening(struct fake_filter *);
const struct buf *filter_body(const struct fake_filter *);      /* of all 'B' since filter_forget() */

#endif
