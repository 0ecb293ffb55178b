/* What connects the question who may come in (policy/judge.h) with settings, aliases and mailboxes: for the server and for `fardel judge`. */
#ifndef CMD_JUDGING_H
#define CMD_JUDGING_H

#include "cmd/settings.h"
#include "deliver/memory.h"
#include "policy/judge.h"

/* NULL: nothing is remembered. Constant. */
const struct memory_folders *judging_folders(const struct settings *);
/* Behind maildir_start(): the helper that knows what mailboxes remember, when it is wanted. looks_only: nothing is written, and the work is done
 * in this process. NULL, or what is wrong. */
const char *judging_start(const struct settings *, bool inline_work, bool looks_only);
/* The key of subject_pass, in the directory of the queue; made when missing and `make`. False with errno: there are no such words then. */
bool judging_key(int queue, bool make);
/* The client may send to anybody, and is believed. */
bool judging_trusts(const struct settings *, const struct subject *client);
/* May the client send to this address: relaying, aliases, mailboxes. aliases must be fresh. WAIT: run again when facts have come; REFUSE: *why is the
 * reply. */
enum verdict judging_rcpt(const struct settings *, struct aliases *, struct facts *, const struct subject *client, const struct addr *to, struct reply *why);
/* Whose mailbox the address is, by aliases too, then judge(). aliases must be fresh. */
enum verdict judging_decide(const struct settings *, struct aliases *, struct facts *, const struct addr *to, const struct judge_message *, bool late,
	struct judgement *out, struct buf *steps);

#endif
