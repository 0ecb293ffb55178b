/* Aliases: names that stand for others, in the form of /etc/aliases, and a table of addresses in the same form (virtual users).
 * Evaluator: what an address stands for, over the tables and the fact whether a mailbox exists.
 *
 *	# a comment; one may also stand behind a blank
 *	root:       anna, ben@example.net          a name of any local domain, and what it stands for
 *	staff:      :include:/etc/fardel/staff,    a file of such targets, by lines or commas
 *	            \anna, "|command", /file       lines that begin with a blank go on
 *	info@shop.example: anna                    in the table of virtual users: an address,
 *	@shop.example:     ben                     or all others of a domain
 *
 * Names are compared without regard to case. \name is a mailbox: no alias is looked for behind it, nor where a name stands for itself.
 * A file other than /dev/null (which discards) is understood and refused; so is a command, unless commands are run. Then it is an address
 * in the domain COMMAND_DOMAIN, which says whose and which of its commands: "staff|1", or "~anna|2" of the .forward file in anna's home.
 * Where there is an alias owner-NAME, NAME is a
 * list: its mail goes out with owner-NAME as the sender. Of a name with a subaddress (anna+tag) the whole is looked for first. */
#ifndef DELIVER_ALIAS_H
#define DELIVER_ALIAS_H

#include "deliver/route.h"
#include "fardel.h"
#include "lib/buf.h"
#include "lib/facts.h"

#define COMMAND_DOMAIN "command.localhost"      /* RFC 6761 6.3: nobody else's */

enum {
	ALIAS_DEPTH = 10,               /* aliases behind each other: as deep as sendmail goes; who writes more has lost the thread */
	ALIAS_TARGETS = 10000,          /* addresses that one name stands for: as many as a client may name in one transaction */
	ALIAS_FACTS = ALIAS_TARGETS     /* most that one address asks: the limit for facts_new() */
};

struct alias_config {                   /* borrowed */
	const char *aliases, *virtual;  /* paths; NULL: none. A file of aliases that is missing is an empty one */
	const struct routes *routes;    /* local domains: there names have mailboxes and aliases */
	const char *origin;             /* the domain of bare names: it has aliases, too, local or not */
	char separator;                 /* of a subaddress; 0: none */
	bool own_postmaster;            /* postmaster's mail has a user already: no alias of that name is looked for */
	bool forward;                   /* a local user may have a .forward file: FACT_FORWARD */
	bool commands;                  /* are run */
	bool as_owner;                  /* as whose file names them */
	bool quiet;                     /* nothing is logged: the caller shows errors and notes */
};
struct aliases;
struct aliases *aliases_new(const struct alias_config *);       /* reads nothing yet. NULL: no memory */
/* Other routes, another origin; the same files and separator. */
void aliases_configure(struct aliases *, const struct alias_config *);
void aliases_free(struct aliases *);                            /* NULL: nothing */
/* Reads again what has changed, included files too, when it has not been written to for two seconds, or is gone for ten. Looks once in a
 * turn of the loop. Of a file with an error nothing is taken: what was read before stays, and the first error is logged, once. False: no
 * table could be read so far, so nothing is known of any name. */
bool aliases_refresh(struct aliases *);
/* The errors of the files as they are now, a line each with file, line and remedy, and what is understood but will not be done. */
const struct buf *aliases_errors(struct aliases *);
const struct buf *aliases_notes(struct aliases *);
size_t aliases_count(const struct aliases *);
/* A domain that is ours by the table of virtual users alone: it has no mailboxes. For struct routes.also_local; arg is the aliases. */
bool aliases_have_domain(const void *arg, struct str domain);
/* May an address in this domain be an alias? */
bool aliases_concern(const struct aliases *, struct str domain);
bool aliases_forward(const struct aliases *);                   /* may users have .forward files? */

enum alias_answer {
	ALIAS_WAIT,                     /* run again when facts have come */
	ALIAS_NONE,                     /* it stands for itself */
	ALIAS_FOUND,
	ALIAS_FAILED                    /* why says it: 5xx for good, 4xx: may pass, or be put right */
};
enum alias_kind {
	ALIAS_ONE,                      /* one name for another */
	ALIAS_SEVERAL,
	ALIAS_LIST                      /* with an owner */
};
struct expansion {
	enum alias_kind kind;
	size_t n;                       /* 0 (ALIAS_FOUND): to be discarded */
	struct addr *to;                /* each once; nothing is to be looked for behind them */
	char owner[ADDR_MAX + 1];       /* ALIAS_LIST: the new sender */
	struct reply why;               /* ALIAS_FAILED: for the other side */
	char trouble[400];              /* for the administrator: what could not be done, with file and line; "": nothing. Of several, one */
	bool forwards;                  /* set by the caller: .forward files count, too (with alias_config.forward) */
	struct buf *steps;              /* set by the caller, or NULL: gets a line for each step */
	struct buf *errors;             /* the same: for each circle and the like, which no line of a file shows by itself */
	struct expanded *x;
};
/* facts NULL: as if there were no mailboxes. Only out->forwards, out->steps and out->errors count before; expansion_free() after each call. */
enum alias_answer alias_expand(struct aliases *, struct facts *, const struct addr *, struct expansion *out);
void expansion_free(struct expansion *);
/* Expands each name of the tables. Appends to errors what is wrong with any, and to notes (NULL: nothing) which local names that they end
 * at are nobody's, as nobody() finds: a line each, with file and line. False: no memory. */
bool aliases_try_all(struct aliases *, struct buf *errors, struct buf *notes, bool (*nobody)(void *arg, const struct addr *), void *arg);

/* Tests: takes these texts in place of files; included files are read. NULL: as a file that is missing. */
bool aliases_take(struct aliases *, struct str aliases, struct str virtual);

#endif
