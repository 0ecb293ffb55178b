/* A connection to one filter: calling it, agreeing on options, packets in and out, and its time. What they mean is the owner's business. */
#ifndef SMTPD_MILTERLINK_H
#define SMTPD_MILTERLINK_H

#include "lib/facts.h"
#include "lib/stream.h"
#include "smtpd.h"
#include "smtpd/milterwire.h"

enum link_state { LINK_CLOSED, LINK_LOOKING, LINK_CALLING, LINK_OPTIONS, LINK_READY };

struct milter_link {
	/* ---- the owner's */
	const struct smtpd_milter *where;
	/* Each runs from the loop, never from inside a call of ours; the link may be closed in it, but its memory must stay until all return. */
	void (*ready)(struct milter_link *);                            /* options are agreed upon */
	void (*heard)(struct milter_link *, char letter, struct str data);      /* a packet; data is good until it returns */
	void (*room)(struct milter_link *);                             /* more may be sent */
	void (*failed)(struct milter_link *, const char *why);          /* it is closed already */

	/* ---- ours */
	enum link_state state;
	struct milter_options options;
	struct facts *facts;            /* LINK_LOOKING: the name of the host */
	struct task wake;
	struct io dial;                 /* LINK_CALLING: the socket */
	struct stream stream;
	struct timer timer;
	msec patience;                  /* that link_await() was given */
	msec latest;                    /* no later than that, whatever is said meanwhile */
	struct buf in;                  /* of a packet that is not whole */
};

/* Begins. ready() or failed() follows. connect_ms is for the host and the options, too. */
void link_open(struct milter_link *, msec connect_ms);
void link_close(struct milter_link *);                  /* at once; what was not sent is lost. Closed: nothing */
void link_goodbye(struct milter_link *);                /* SMFIC_QUIT, as far as the socket takes it at once; then closes */
/* Queues a packet. False: it does not fit, which cannot come about while link_full() is asked before. */
bool link_send(struct milter_link *, char letter, struct str data);
bool link_full(const struct milter_link *);
/* Something is to come (or to leave) within `patience`, and all of it within `longest`; else failed(). */
void link_await(struct milter_link *, msec patience, msec longest);
void link_goes_on(struct milter_link *);                /* it is at work: patience begins anew */
void link_content(struct milter_link *);                /* nothing is awaited */

#endif
