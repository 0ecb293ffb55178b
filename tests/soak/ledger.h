/* What was promised to whom, and what came of it: every message of the soak with its recipients. Its functions may be called by any
 * thread. A message is a number, a recipient of it another; both stand in the recipient's address. */
#ifndef TESTS_SOAK_LEDGER_H
#define TESTS_SOAK_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RECIPIENTS = 20 };               /* of a message */

/* Where mail is sent to: the domain's place in the table of ledger.c. */
extern const struct soak_domain {
	const char *name;
	bool local, gone;               /* mailboxes here; a domain that does not exist */
} soak_domains[];
extern const unsigned soak_ndomains;

enum answer {
	ANSWER_NONE,            /* yet */
	ANSWER_NO,              /* refused, or its last octet was never sent: it must not appear anywhere */
	ANSWER_YES,             /* 250, exit 0, or the file lies in new/: each recipient hears of it once */
	ANSWER_LOST             /* all of it was sent, no answer came: either is well, but for all recipients alike */
};

double soak_now(void);                  /* CLOCK_MONOTONIC, seconds */
unsigned soak_random(unsigned below);   /* 0 to below - 1; each thread has a sequence of its own */
void soak_seed(uint64_t seed);

bool ledger_open(void);
/* A new message to recipients at these domains; 0: there is no room for more. */
unsigned ledger_new(unsigned n, const unsigned char *domain);
void ledger_text(unsigned id, uint32_t hash);           /* of its body */
uint32_t ledger_hash(uint32_t hash, const char *, size_t);      /* goes on with 0 at first; CR does not count */
void ledger_answer(unsigned id, enum answer);
void ledger_refused(unsigned id, unsigned rcpt);        /* at RCPT: not to be delivered */
/* It has come to a recipient. `at`: when, by soak_now(). */
void ledger_came(unsigned id, unsigned rcpt, const char *domain, uint32_t hash, double at);
/* A peer has taken it and not said so, or to nobody. */
void ledger_doubt(unsigned id, unsigned rcpt);
/* A report: action as in Action, diagnostic what is said in Diagnostic-Code, or "". */
void ledger_report(unsigned id, unsigned rcpt, const char *domain, const char *action, const char *diagnostic);
/* Something that is wrong whatever else happens; the first ones are printed. */
void ledger_wrong(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The server is killed now. What came within KILL_S of it may come once more. */
void ledger_kill(void);

struct ledger_counts {
	unsigned messages, yes, no, lost;       /* by answer */
	unsigned recipients;                    /* of those answered yes */
	unsigned waiting;                       /* of these, who have heard nothing yet */
	unsigned delivered, reported, delayed, doubtful;
	unsigned repeats;                       /* after kills... */
	double longest;                         /* ...of what had come so many seconds before, at most */
	unsigned wrong;
};
struct ledger_counts ledger_counts(void);
/* Goes through all recipients; prints what is wrong. */
void ledger_judge(unsigned *passed, unsigned *failed);

#endif
