/* What the files behind courier.c share: a courier, its connection, and what may be done to them. */
#ifndef CMD_COURIER_INSIDE_H
#define CMD_COURIER_INSIDE_H

#include "auth/token.h"
#include "client.h"
#include "cmd/courier.h"
#include "lib/facts.h"
#include "lib/list.h"
#include "lib/loop.h"

enum {
	WAITERS_MAX = 300,              /* each keeps some 6 kB, and neither a place nor a file */
	LONG_MS = 2000,                 /* what waits for an address and would take longer than this is worth a connection more */
	YOUNG_MS = 500                  /* so long it is worth to wait for a connection that is being made */
};

/* A connection. One that the courier has left lives on until its QUIT is answered (RFC 5321 4.1.1.10). */
struct line {
	struct node node;               /* of lines */
	struct courier *courier;        /* NULL: left */
	struct client *client;
	struct sockaddr_storage addr;
	char host[256];
	unsigned settings;              /* as of the courier that made it: the config points into them */
	struct client_config config;
	bool lax;                       /* as a message wished; not for the next one */
	msec since;
	bool ready;                     /* the peer has answered EHLO */
	bool proven;                    /* somebody has got a message over it */
	msec took;                      /* for a message, lately */
	struct dane dane;               /* which the config points into, */
	char domain[256];               /* as the courier may have left */
	enum mtasts_mode policy;        /* of the domain, as far as it is about this host */
	const struct tls_rule *rule;    /* the administrator's for it, or NULL */
	struct token *token;            /* that the config's password is, or NULL */
};

/* The answer that a recipient has had and that is not final, and who gave it: a temporary one, or 5xx in our words, as that host is not
 * able to take the message. */
struct put_off {
	struct reply reply;
	bool refused;                   /* 5xx of the host itself: final, unless another address of it says something else */
	char host[300];
};

/* A bundle of another domain with the same hosts that goes along in the same transaction. Its own courier waits meanwhile for a connection,
 * for what has to go apart. */
struct rider {
	struct bundle *bundle;
	struct put_off **put_off;       /* as the courier's own */
};

/* Whose result a recipient of the job is. */
struct seat {
	struct bundle *bundle;
	size_t nth;                     /* in it */
	struct put_off **put_off;       /* of the nth */
};

struct courier {
	struct bundle *bundle;
	struct dest *dest;
	struct node node;               /* of couriers.all */
	unsigned settings;              /* under which it began: `couriers.renewed` then */
	struct route route;
	const char *misled;             /* the way that was ordered is none, for this reason; NULL: it is one */
	/* finding the hosts */
	struct facts *facts;
	struct mx_self self;
	struct task look;
	uint64_t seed;
	struct mx_result *hosts;
	/* the host */
	size_t at;                      /* of hosts->at: where the client is, or goes next */
	uint32_t passed_over;           /* bits by hosts->at[].nth: the domain's policy is only being tested, and does not hold there */
	unsigned tried, asked;          /* for this bundle */
	unsigned unbound;               /* of those tried: we have no address to call from */
	bool family_tried, chance;      /* for this bundle: another family of addresses was, or is being, tried after a refusal */
	bool unasked;                   /* there is a host before `at`, or one without a known address, that was not asked to the end */
	struct line *line;
	struct idle idle;               /* while there is nothing to do, or no connection to be had */
	struct timer patience;
	bool waits;                     /* for a connection to hosts->at[at], without a bundle, */
	msec waits_since;
	bool in_vain;                   /* it has heard that this address is of no use */
	bool met;                       /* this courier has had a conversation */
	unsigned served;                /* bundles since it last waited, or took a line over */
	bool replaces, proven;          /* it has left a connection for which it may have another one, and which had carried something */
	msec took, sent;                /* likewise; when the client was given the message */
	bool sending;                   /* it still has it */
	struct sockaddr_storage left;   /* where it led */
	struct node waiting;            /* of waiters, */
	bool called;                    /* or called: the next connection is its own, when its aliases have gone */
	struct task again;
	struct token_question token;
	bool fresh_token;               /* it was got for this courier, and nobody has let us in with it yet */
	struct reply last;              /* why the last host was of no use, and who it was */
	char last_host[300];
	/* the bundle's turn */
	bool expanding;                 /* aliases are looked for in it: nothing of it is sent yet */
	bool expanded;                  /* that has been done */
	bool from_best;                 /* what courier_go_on() was told meanwhile */
	size_t began_at;                /* where the courier was */
	/* what is being sent: the bundle's recipients that have no final result */
	struct client_job job;
	const struct recipient **to;
	struct seat *seat;              /* of to[i] */
	size_t rooms;                   /* for so many */
	struct put_off **put_off;       /* by bundle index, or NULL */
	struct rider *rider;
	size_t nriders;
	bool refused;                   /* somebody in the mix was: that counts as no answer */
	bool in_vain_for_some;          /* not everybody of the job has got it */
	struct buf said;                /* to the hosts that were asked for this bundle, where it was in vain */
	char alone[ID_MAX];             /* so the bundle of this message goes without others */
};

/* What all couriers share. */
struct couriers {
	const struct courier_config *config;
	unsigned renewed;               /* how often it has changed */
	struct list all;                /* the oldest first */
	struct list lines;              /* connections, those that were left too */
	struct list waiters;            /* couriers that wait for one, */
	struct list called;             /* or were called: a place is kept for each */
};
extern struct couriers couriers;

static inline const struct mx_address *wanted_address(const struct courier *c) { return &c->hosts->at[c->at]; }

/* ---- the courier's way (courier.c) */

/* After courier_go_on(), courier_send_bundle() or courier_go_apart() the courier may have ended. */

/* The next bundle over the same connection, or a little patience, or goodbye. from_best: with the best host again, on a
 * new connection. */
void courier_go_on(struct courier *, bool from_best);
/* Over the connection that there is; what is waiting for the same hosts may ride along. */
void courier_send_bundle(struct courier *);

/* ---- connections of all couriers (courier_lines.c) */

bool same_address(const struct sockaddr_storage *, const struct sockaddr_storage *);
/* Would this line do for where the courier wants to go, once nobody else uses it? suits: and it can still be used. */
bool line_shares(const struct line *, struct courier *);
bool line_suits(const struct line *, struct courier *);
struct courier *courier_idle_for(struct courier *);     /* one that is idle on a line which would do, or NULL */
/* The first who waits for a connection to this address with mail for another destination, or NULL. */
struct courier *waiter_for(const struct sockaddr_storage *, const struct dest *but);
/* May a connection to its address be made beside those that there are? */
bool courier_may_have_another(struct courier *);
/* The same for one that comes by: who waits goes first. its_turn: it was called. */
bool courier_has_place(struct courier *, bool its_turn);
void call_waiter(struct courier *);                     /* a place is kept for it until its task has run */
void room_soon(void);                                   /* a place may have come free: when all have returned, who waits is called */
/* The address has taken others of our connections and not this one; if so, it is noted. */
bool line_is_one_too_many(const struct line *);
/* Nothing came back from a host of the courier's domain: is it so with all of them, one domain after the other? Or one of them has answered, with
 * whatever. About hosts that the DNS names alone: it is their port that providers close. */
bool courier_port_is_closed(const struct courier *);
void courier_port_is_open(const struct courier *);
/* How good it is to go there now: mail leaves at once, or in a moment, where somebody talks already or is about to. */
enum merit { M_NOBODY_ANSWERS, M_NOBODY_THERE, M_CALLED, M_TALKING };
enum merit courier_merit(struct courier *);
void courier_choose_equal(struct courier *);            /* of equal hosts the best one comes to the place where it goes next */

/* ---- bundles, and what their recipients were told (courier_bundles.c) */

extern const struct reply courier_no_memory;
bool courier_take_bundle(struct courier *, struct bundle *);    /* false: no memory, and put_off is NULL */
/* What its recipients were told goes to the queue, and it has no bundle then. */
void courier_hand_over_answers(struct courier *, enum blame);
/* The bundle and its riders are done: rest is for those who were told nothing. fails: they are put off, whatever the code. */
void courier_bundle_ends(struct courier *, const struct result *rest);
void courier_bundle_fails(struct courier *, enum blame, const struct reply *why);
size_t courier_left_open(const struct courier *);       /* recipients without a final result, those of riders too */
bool courier_goes_alone(const struct courier *, const struct mail *);
/* Bundles of other domains board, as many as the line takes; and go back to their couriers, with the answers that they have had. */
void take_riders(struct courier *);
void riders_alight(struct courier *);
bool courier_refused_as_one(const struct courier *);    /* not the mix, but the transaction was put off */
void courier_go_apart(struct courier *);                /* each domain is asked for again, alone, at once */

/* ---- how a host is called, and what came of TLS (courier_tls.c) */

const struct tls_rule *courier_rule_for(const struct courier *, const struct mx_address *);     /* the administrator's, or NULL */
/* What the administrator, DNSSEC and the domain's policy demand of this host; then how the client is to call it, which points into the line. */
void line_take_demands(struct line *, const struct mx_address *);
struct client_config line_config(const struct route *, const struct sockaddr *, struct line *);
bool courier_may_call(const struct courier *, const struct mx_address *);
/* The same before a call: what a policy does not allow is told for reports, and kept in c->last unless a host has said something. */
bool courier_look_at_policy(struct courier *, const struct mx_address *);
/* A policy that is only being tested does not hold there from now on. */
void courier_test_failed(struct courier *, const struct mx_address *, const char *why);
void line_note_tls(const struct line *);                /* it is ready: was TLS seen there before and is no more? */
/* For reports (RFC 8460): the connection is ready, and the courier's; TLS has failed on it; hosts were left out for want of DNSSEC's word. */
void courier_tell_session(const struct courier *);
void courier_tell_failure(const struct courier *, const struct client *, bool lax, const char *why);
void courier_tell_unknown(const struct courier *);

#endif
