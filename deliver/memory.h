/* What lies in a mailbox beside its mail: the memory of who wrote (policy/history.h), kept up with what its folders and flags show, and the
 * folder of what was refused. For processes that may block: homes hang. Whoever owns the mailbox may have put there what he likes: nothing
 * is followed but directories and regular files of one name, and all that is read has a ceiling.
 *
 * The memory is the file fardel.history in the Maildir, lines that are appended; who makes it compact holds its lock. It may be removed at any
 * time. Folders are those of Maildir++, .NAME in the Maildir. A message is known again by the id in its file's name or in its field
 * X-Fardel-Reason, wherever it was moved or copied to. */
#ifndef DELIVER_MEMORY_H
#define DELIVER_MEMORY_H

#include <stdbool.h>
#include <sys/types.h>

#include "policy/history.h"
#include "policy/ruleset.h"

enum {
	MEMORY_FOLDERS = 200,           /* that are looked at */
	MEMORY_NAMES = 200000,          /* of files, in all */
	MEMORY_OPENED = 2000,           /* files whose header is read at a time */
	MEMORY_LOOK_MS = 1500,          /* for all of it: what was not seen then is seen when its folder changes again */
	REJECTS_MOST = 1000,            /* messages; one more drives out the oldest */
	REJECTS_OCTETS = 100 << 20,     /* the same, of all of them */
	REJECTS_LARGEST = 10 << 20,     /* a larger message is not kept */
	REJECTS_S = 14 * 86400,         /* how long */
	REJECT_KEY = 16                 /* hex digits by which a message is known that comes again */
};

/* Words: a folder is of a kind when a part of its name begins with one of them, in any case. NULL: none. */
struct memory_folders {
	const char *junk;
	const char *neutral;            /* what lies there tells nothing: Trash */
	const char *sent;
	const char *rejects;            /* one name. NULL: nothing is kept */
	bool untouched;                 /* what is seen is not written down */
	bool words;                     /* what is marked has its words learnt (deliver/words.h) */
	const char *rules;              /* the operator's (policy/ruleset.h), a path. NULL: there are none */
	bool own_rules;                 /* those of the file fardel.rules in a mailbox count, too */
	char separator;                 /* of a detail behind a mailbox's name */
};

/* Appends lines of policy/history.h. 0, or -1 with errno: then they are forgotten. */
int memory_add(int mailbox, struct str lines);

/* The memory, after a look at the folders. 0, or -1 with errno. */
struct memory {
	struct buf text;
	struct history history;         /* points into text */
};
int memory_open(struct memory *, int mailbox, const struct memory_folders *, int64_t now);
void memory_close(struct memory *);

/* ---- rules */
/* The first one that holds of a message, of the operator's and then of the mailbox's own. It points into text. False: none does. */
bool memory_rule(int mailbox, const struct memory_folders *, struct str whose, const struct rule_subject *, struct buf *text, struct rule *);
/* The same of a message whose header is here. Where it says forwarder, who is understood so (room: identities_forward()). */
bool memory_apply(int mailbox, const struct memory_folders *, struct str whose, struct str header, struct identities *who, char room[HISTORY_LINE],
	struct buf *text, struct rule *);
/* A folder, made when missing; what is made is durable with what is put into it. -1 with errno. */
int memory_folder(int mailbox, struct str name);

/* ---- what was refused */
/* What a message is known by when it comes again: its Message-ID. False: it has none; then what its octets are. 0, or -1 with errno. */
bool reject_key(struct str header, char key[REJECT_KEY + 1]);
int reject_hash(int fd, off_t at, off_t size, char key[REJECT_KEY + 1]);
struct rejected {
	const char *id;
	const char *key;
	struct str trace;               /* fields in front, lines end in LF */
	int fd;
	off_t at, size;                 /* lines end in CR LF */
};
/* Keeps it, unless it is there already, and tidies up. 0, or -1 with errno. */
int reject_keep(int mailbox, const struct memory_folders *, const struct rejected *, int64_t now);
/* The message has been accepted after all. */
void reject_forget(int mailbox, const struct memory_folders *, const char *key);

#endif
