/* Aggregate reports of DMARC (RFC 9990, in the form of RFC 7489 appendix C that all of their readers know): what is kept of messages
 * (policy/evaluation.h) is counted by the domain whose record they went by, and told to whom that record names. Pure. */
#ifndef POLICY_AGGREGATE_H
#define POLICY_AGGREGATE_H

#include "policy/evaluation.h"
#include "policy/tally.h"

enum {
	/* Of what is counted at a time: so many domains, rows of one (messages that have all in common) and octets of its rows, and of all rows. */
	AGGREGATE_DOMAINS = 1000,
	AGGREGATE_ROWS = 4000,
	AGGREGATE_OCTETS = 1 << 20,
	AGGREGATE_IN_ALL = 8 << 20,
	AGGREGATE_PERIOD_S = 3600       /* the shortest that is reported (RFC 7489 6.3, ri=); all divide a day */
};

struct aggregate_row {
	struct map_node by_key;
	struct node node;
	int64_t since, until;           /* the period that it belongs to, Unix seconds */
	uint64_t n;                     /* messages */
	bool asks;                      /* one of them is a reason to report */
	size_t at;                      /* where its line begins in the key */
	char key[];                     /* the end of the period, and what their lines have in common; with a NUL */
};
/* What the record said, as it was last seen. */
struct aggregate_policy { char p[12], sp[12], np[12], adkim[2], aspf[2], t[2], pct[4], fo[8]; };
struct aggregate_domain {
	struct tally_domain tally;      /* octets of rows are counted in all */
	struct map by_key;
	struct list rows;               /* in the order in which they came */
	size_t octets;
	bool cut;                       /* some had no room */
	struct aggregate_policy policy;
};
/* Counts a message, or takes away what a report was sent of; a line that is none is passed over. */
void aggregate_count(struct tally *, struct str line);
void aggregate_clear(struct tally_domain *);                    /* for tally_free() */
/* Is there something to report of periods that ended then, or before? */
bool aggregate_asks(const struct aggregate_domain *, int64_t end);

struct aggregate_report {               /* borrowed */
	const char *hostname;           /* ours */
	const char *contact;            /* an address: who sends it, and answers questions */
	const struct aggregate_domain *domain;
	const char *const *to;          /* addresses */
	size_t nto;
	int64_t end, now;               /* Unix seconds; rows of periods that ended then, or before */
};
bool aggregate_xml(struct buf *, const struct aggregate_report *);
/* The whole message, the report in it compressed where the build can do that. False: no memory. */
bool aggregate_message(struct buf *, const struct aggregate_report *);

#endif
