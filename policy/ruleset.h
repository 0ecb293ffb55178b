/* Rules of a mailbox, as text: what becomes of mail that a known domain or list vouches for. Pure; whoever owns the mailbox may have written
 * anything into it. A line is a rule, words of it conditions, which all must hold, and what is done; the first rule whose conditions hold
 * is the one. Of a line with a mistake nothing is done.
 *
 *   verified=lists.example.net list=*fardel* folder=Lists allow
 *   verified=alumni.example.edu forwarder
 *   author=*@shop.example folder="Bought things" refused=Junk     # words with blanks stand between quotes
 *
 * In the operator's file the name of a mailbox, or *, stands in front of it. */
#ifndef POLICY_RULESET_H
#define POLICY_RULESET_H

#include "policy/history.h"

enum {
	RULESET_OWN = 64 << 10,         /* octets of a mailbox's own rules that are read ... */
	RULESET_ALL = 1 << 20,          /* ... and of the operator's */
	RULESET_LINE = 1000,            /* octets of a line */
	RULESET_FOLDER = 100,           /* of a folder's name */
	RULESET_TEXT = 512              /* of a rule as a fact */
};

/* Slices into the text it was read from. */
struct rule {
	bool own;                       /* of the mailbox's own file */
	unsigned line;
	struct str verified;            /* conditions; empty: none. A domain, or one below it, has signed it, or SPF says pass for MAIL FROM or HELO in it */
	struct str author, sender, list;        /* patterns: of From, of MAIL FROM ("<>"), of what stands in List-Id */
	struct str folder;              /* that it goes to, as Maildir++ names it without the first dot; empty: the inbox */
	struct str refused;             /* it is not refused, but goes to that folder */
	bool unfit;                     /* it is all the same: what lies in that folder counts as wanted */
	bool allow;                     /* it is taken, whatever else is known */
	bool forwarder;                 /* whoever is verified sends on what others wrote: only the author counts */
	struct str by;                  /* who has been verified */
};
/* What is asked about. */
struct rule_subject {
	const struct identities *who;
	struct str list;                /* what stands in List-Id, a word as identity_word() writes it; or empty */
};
/* NULL, or what is wrong with it and what to write; an empty line is a rule without conditions. whose: the operator's, a name stands in front,
 * which is taken off. The words of the answer are good until the next call. */
const char *rule_parse(struct str line, struct str *whose, struct rule *);
/* whose: only lines for that mailbox, which may have a detail behind the separator; NULL: they all are. False: none holds. */
bool ruleset_find(struct str text, const struct str *whose, char separator, const struct rule_subject *, struct rule *);
/* Tells of each mistake. Returns the number of rules without one. */
unsigned ruleset_check(struct str text, bool whose, void (*complain)(void *arg, unsigned line, const char *why), void *arg);

/* The identifier in a message's List-Id (RFC 2919), as a word. False: there is none, or no memory. */
bool list_id(struct buf *, struct str header);

/* ---- as a fact. FACT_RULE is asked with whose mailbox it is and of what; FOUND with the rule, NO_DATA when none holds. */
bool rule_ask(struct buf *name, struct str local, const struct rule_subject *);
bool rule_asked(struct str name, struct str *local, struct rule_subject *, struct identities *room);
bool rule_print(struct buf *, const struct rule *);     /* what is done, and by which line */
bool rule_read(struct str, struct rule *);

#endif
