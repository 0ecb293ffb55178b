/* The helper process that knows what mailboxes remember, and keeps what was refused (deliver/memory.h). Homes may hang: it has a deadline for
 * each question, and the questions about a mailbox that hung are not asked for a while. It stands beside the one that delivers. A mailbox in the
 * home of another account is looked into by a child of that user (maildir_visit()), with the same deadline; the helper says whose it is. */
#ifndef DELIVER_RECALL_H
#define DELIVER_RECALL_H

#include "deliver/memory.h"
#include "lib/facts.h"
#include "policy/judge.h"

struct recall_config {
	struct memory_folders folders;
	unsigned deadline_s;            /* 0: 5 */
	bool inline_work;               /* no helper: the work is done in this process, from a task (inetd, tests) */
};
/* After maildir_start(), before the loop runs. Strings are borrowed. NULL, or what is wrong. */
const char *recall_start(const struct recall_config *);
/* Kills the helper; questions are answered UNKNOWN, what was to be kept is not, and done() says so: where a user's child was asked, in
 * maildir_stop(), which comes behind it. */
void recall_stop(void);

/* FACT_REPUTATION (policy/reputation.h), FACT_CONTENT (policy/bayes.h) and FACT_RULE (policy/ruleset.h). */
struct fact_source *recall_source(void);
/* A user has written to an address: later mail from there is expected. Nobody waits for that. */
void recall_wrote(struct str local, struct str address);
/* Borrowed until done(); not so the descriptor. */
void recall_keep(struct refused *);

#endif
