/* Facts: what an evaluator has asked of the world and what came back. An evaluator is
 * straight-line code that calls fact(), returns WAIT while the answer is NULL, and is run
 * again from the top when wake() says that something new has come in. */
#ifndef LIB_FACTS_H
#define LIB_FACTS_H

#include <stdint.h>

#include "lib/loop.h"
#include "lib/str.h"

enum fact_kind { FACT_A, FACT_AAAA, FACT_MX, FACT_PTR, FACT_TXT, FACT_SRV, FACT_TLSA, FACT_MAILBOX, FACT_FORWARD, FACT_HOSTS, FACT_POLICY, FACT_REPUTATION,
	FACT_CONTENT, FACT_RULE, FACT_FEEDBACK, FACT_KINDS };

/* NXDOMAIN, no data and "could not find out" are three different things; only the first two may cause a permanent decision. */
enum outcome { FOUND, NO_DATA, NO_NAME, UNKNOWN };

struct record {
	int64_t priority;               /* MX preference, SRV priority */
	struct str data;                /* A, AAAA: 4 or 16 octets; MX, PTR: name in lower case without final dot ("" is the root);
	                                 * TXT: strings joined; SRV: weight and port, two octets each in network order, and the target's name, as of MX
	                                 * ("": there is no such service); TLSA: RDATA; MAILBOX: the Maildir's path; FORWARD: a text, and behind it the path of its file;
	                                 * HOSTS: an address of either family; POLICY: a text; REPUTATION, CONTENT, RULE, FEEDBACK: policy/reputation.h, policy/bayes.h,
	                                 * policy/ruleset.h, policy/feedback.h */
};
struct fact {
	enum outcome outcome;
	bool secure;                    /* DNSSEC, from a resolver that is trusted to say so */
	bool local_fault;               /* UNKNOWN since no resolver answered at all: our side's fault */
	const char *why;                /* UNKNOWN: in words, with the server's name ("SERVFAIL from 127.0.0.1") */
	const char *end;                /* FOUND: the name where a chain of CNAMEs from the one that was asked for ends; NULL: there was none */
	size_t n;
	const struct record *record;
};

struct facts;
struct fact_ticket;
/* Answers one question of a kind: calls fact_answer() with `ticket` once, later or at once. */
struct fact_source {
	void (*ask)(struct fact_source *, enum fact_kind, struct str name, struct fact_ticket *ticket);
};
/* One source a kind, set once at start by whoever connects the modules; NULL: the fact is UNKNOWN, "not available". */
void facts_source(enum fact_kind, struct fact_source *);

/* A table for one question to be decided. `wake` is posted after each answer that evaluators waited for; it serves
 * this table alone. limit: most different facts it may ask (then UNKNOWN, "too many lookups"). Returns owned, or
 * NULL (no memory). */
struct facts *facts_new(struct task *wake, unsigned limit);
/* What it asks is for a stranger: sources may let the questions of others go first, and answers that are too large, together 256 KiB or with
 * those of all other strangers 16 MiB, become UNKNOWN. Before the first fact(). */
void facts_for_stranger(struct facts *);
/* Cancels wake; answers still on their way are dropped when they come. NULL is fine. */
void facts_free(struct facts *);
/* The fact, or NULL while its answer is on its way (the first call asks). Valid until facts_free().
 * Names differ when more than the case of ASCII letters does; a mailbox's name also when only that does. */
const struct fact *fact(struct facts *, enum fact_kind, struct str name);
unsigned facts_pending(const struct facts *);
/* All that were asked for, the last one first; f is NULL where the answer is on its way. */
void facts_each(const struct facts *, void (*each)(void *arg, enum fact_kind, struct str name, const struct fact *f), void *arg);

/* For sources: see facts_for_stranger(). False for a table that has been freed. */
bool fact_is_for_stranger(const struct fact_ticket *);
/* For sources. Copies what it needs of f; ends the ticket. Calls no evaluator. */
void fact_answer(struct fact_ticket *, const struct fact *f);
/* A copy with its records and words, all in one block for free(); NULL: no memory. *octets (may be NULL): its size. */
struct fact *fact_copy(const struct fact *f, size_t *octets);

/* Tests: puts a fact in without asking, in place of one of that name. */
void facts_put(struct facts *, enum fact_kind, struct str name, const struct fact *f);

#endif
