/* Reports made of what a file a day keeps (lib/daily.h): when a period is over, each domain that asks for it is sent what came of its own,
 * once. One domain after the other: nobody waits for them. */
#ifndef CMD_REPORTER_H
#define CMD_REPORTER_H

#include "lib/daily.h"
#include "lib/facts.h"
#include "lib/loop.h"
#include "policy/rua.h"
#include "policy/tally.h"

struct reporter_message {               /* borrowed */
	struct tally_domain *domain;
	const char *const *to;          /* addresses */
	size_t nto;
	int64_t end, now;               /* Unix seconds; what happened at `end` is not in it any more */
};
struct reporter_kind {
	const char *event;              /* in the log */
	const char *name;               /* "TLS report" */
	int64_t period_s;               /* a day, or a part of it */
	int64_t delay_s;                /* at most, behind the end of a period, so that not all of the world sends at once; no longer than a period */
	size_t line_max;
	unsigned lookups;               /* of one domain */
	void (*count)(struct tally *, struct str line);
	void (*clear)(struct tally_domain *);
	bool (*has_news)(const struct tally_domain *, int64_t end);    /* that it was not told */
	/* Whom to tell, as rua_find() has it: WAIT is run again when facts have come; what it has found by then counts where they are late. */
	enum verdict (*find)(struct facts *, struct tally_domain *, struct rua *out, struct buf *why);
	bool (*print)(struct buf *, const struct reporter_message *);  /* the whole message; false: no memory, or it is too large */
};

struct reporter {
	const struct reporter_kind *kind;       /* set by its owner; the rest is zeros */
	struct daily kept;              /* where lines are added, too */
	const char *hostname;
	bool open;
	struct timer look;
	struct task work;
	int64_t told_until;             /* a period that ended within a day and was told of */
	/* The file that is being looked at; day is -1 between rounds. */
	bool busy;
	int32_t day;
	int64_t end;                    /* of what is told of it */
	int fd;                         /* to be read to its end, then -1 */
	struct buf text;
	struct tally counted;
	struct node *next;              /* the domain whose turn it is */
	struct facts *facts;            /* of it */
	struct timer deadline;          /* for them */
	bool late;                      /* it has passed */
	bool committing;
	unsigned forgotten;             /* commits that have not come to their end, of before it was stopped */
	bool undecided;                 /* a domain's turn comes again */
};
/* Takes the files in r->kept, which is open, and closes them at the end. The queue is open and schedules, and facts have their sources.
 * hostname is borrowed. */
void reporter_start(struct reporter *, const char *hostname);
void reporter_stop(struct reporter *);          /* before the queue is closed; not started: nothing */

#endif
