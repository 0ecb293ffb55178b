/* Delivery into Maildirs and the question whether a mailbox exists: both done by helper processes
 * (homes may hang), one message over a socket each.
 *
 * One helper works as the account of the program. Where mailboxes lie in the homes of users, what has to be done there is done by a child
 * of the user's own, which lib/root.h starts and which ends when it has nothing more to do; our helper only finds out whose it is. Deliveries to
 * one user are made one after the other, to several side by side. When one took too long, all of that user's waiting ones are put
 * off, and those that come within five minutes: his home hangs.
 *
 * What holds of the mailbox: tmp/, new/ and cur/ are made when they are missing, the mailbox itself and the home
 * above it never. A mailbox, tmp/, new/ or cur/ that is a symbolic link, may be written by everybody or (tmp/, new/,
 * cur/) belongs to a third party is refused for the time being (451). A user who has no directory is unknown (550).
 * But where the directory of all users is missing, or a user's home is there and only the Maildir in it is missing,
 * a disk may not be mounted (451). With mailboxes in homes a user exists when he has an account whose uid is not 0; his Maildir is made
 * when his home is there and belongs to him.
 *
 * What holds of the lock: while a message is delivered, its descriptor is locked by flock(LOCK_SH). A flock belongs to
 * the open file, which our helper and the queue share (a user's child has one of its own, for reading): it stands in the way of nobody who
 * delivers, but of whoever takes the whole lock of a message that he has opened anew, as another scheduler does. When our process dies during a delivery, the helper
 * keeps the lock until it has finished; it looks for its parent after it took the lock, and begins nothing for one
 * that is gone. So a scheduler that starts later and skips what is locked cannot deliver a second time at the same
 * moment. At the end the lock is given up explicitly, as the queue's copy of the descriptor would keep it.
 * Where there are no locks (some network file systems) delivery goes on without.
 *
 * A helper that is killed in the middle leaves a file in tmp/: by the Maildir convention readers remove it after 36 hours. */
#ifndef DELIVER_MAILDIR_H
#define DELIVER_MAILDIR_H

#include <sys/types.h>

#include "fardel.h"
#include "lib/facts.h"
#include "lib/str.h"

struct account;
struct memory_folders;
struct recall_request;

struct maildir_config {
	const char *template;                   /* "./run/mail/{user}/", "~/Maildir/" */
	bool users;                             /* children of all users can be had by root_child(), or by whoever delivers what we only take */
	bool pipes;                             /* commands are run: root_child() may be asked for children of the account that we are */
	const char *pipe_user;                  /* as whom those of aliases are; NULL: the file's owner */
	const char *aliases, *virtual;          /* the files that may name commands, or NULL */
	unsigned command_s;                     /* for one command; 0: 300 */
	const char *postmaster;                 /* user who gets postmaster's mail; NULL: a mailbox of that name, else fallback */
	const char *fallback;                   /* directory for postmaster when there is no such mailbox, made when needed:
	                                         * "<queue>/postmaster/"; NULL: none, mail for postmaster waits (451) */
	const char *hostname;                   /* for unique names, and behind the @ of <postmaster> */
	char separator;                         /* mail for anna+tag goes to anna when there is no mailbox anna+tag; 0: it does not */
	uint64_t quota;                         /* octets that a mailbox may hold (deliver/maildirsize.h); 0: not looked at */
	bool refuse_full;                       /* for good; else its mail waits */
	bool detail_folders;                    /* mail for anna+tag goes into the folder .tag of anna's mailbox, if there is one */
	unsigned deadline_s;                    /* for one delivery; 0: 60. Then the helper is killed and started anew: deferred */
	bool inline_work;                       /* no helper: the work is done in this process, from a task (inetd, flush, tests) */
	const struct memory_folders *folders;   /* deliver/memory.h: mail that was judged is noted in its mailbox's memory; NULL: it is not */
};
/* NULL, or what is wrong with the configuration. Before maildir_start(), and before the process is forked that starts users' children. */
const char *maildir_configure(const struct maildir_config *);
/* The main() of a user's child (lib/root.h). */
int maildir_user_main(int socket, const struct account *);
/* NULL, or what is wrong with the configuration. Forks the helper; call before the loop runs and before locks are taken.
 * The strings are copied, the folders borrowed until maildir_stop(), which comes before another start. */
const char *maildir_start(const struct maildir_config *);
/* Kills the helper. Jobs that have no answer yet get none (as in a crash); questions are answered UNKNOWN. */
void maildir_stop(void);

/* The mailbox name of a local part, which may be quoted: lower case, only a-z 0-9 . _ + -, not beginning with a dot,
 * 1..64 octets. False: no such user can exist. */
bool maildir_user(struct str local, char user[LOCAL_MAX + 1]);
/* The path of a user's Maildir by the template, without a slash at its end. False: too long, neither {user} nor a home in the template, or
 * no such account. Where it lies in a home the accounts are asked, which may take its time. */
bool maildir_path(struct str template, const char *user, char *path, size_t size);
/* Makes a Maildir with its tmp, new and cur, parents too. 0 or -1 with errno. */
int maildir_make(const char *path);

/* FACT_MAILBOX: name is a local part as sent; FOUND with the path, NO_NAME when no such user, UNKNOWN when it cannot
 * be found out. A second record says that it is full; of a mailbox in a home its user's child says so, and where that cannot be asked, it is not.
 * FACT_FORWARD: name is a user. FOUND with the text of the .forward file in his home and its path, NO_DATA when there is none, NO_NAME, or
 * UNKNOWN, also when it is one that is not to be believed: no regular file of his own, or one that others may write. */
struct fact_source *maildir_source(void);

/* The module's own: something to be done. */
struct maildir_errand {
	struct maildir_errand *next;
	uint64_t ticket;
	int kind;
	bool found;                             /* whose it is */
	char account[LOCAL_MAX + 1];            /* "": our helper's */
};
struct maildir_job {
	const struct addr *to;                  /* the local part says who */
	struct str sender;                      /* Return-Path, "" for <> */
	const char *id;
	int fd;                                 /* message: size octets from at, CR LF lines; stored with LF lines */
	off_t at, size;
	off_t own;                              /* octets at its beginning that we have just written ourselves: no sign of a loop */
	bool command;                           /* to is the address of a command (deliver/alias.h) */
	struct str original;                    /* command: ORCPT of the recipient, or empty */
	/* Later, never from inside. code 250, 4xx or 5xx; host: "maildir" */
	void (*done)(struct maildir_job *, const struct reply *);
	struct maildir_errand errand;
};
/* Borrowed until done(). Deliveries of a helper are made one after the other, in order. */
void maildir_deliver(struct maildir_job *);

/* Something to be done about the memory of a mailbox by the child of the user in whose home it lies. He has a child for that beside the one that
 * delivers; it has 5 s for each, and a home that took longer is left alone for five minutes. Borrowed until done(). */
struct maildir_visit {
	const char *account;                    /* for the call alone */
	struct str local;
	const struct recall_request *request;   /* deliver/recallwork.h */
	int fd;                                 /* for reading, or -1 */
	/* Later, never from inside. A recall_answer of n octets, not yet looked at; NULL: why there is none. */
	void (*done)(struct maildir_visit *, const void *answer, size_t n, const char *why);
	struct maildir_errand errand;
};
void maildir_visit(struct maildir_visit *);

/* ---- for processes that may block, forked after maildir_start() */

/* The mailbox that mail for a local part goes to: its directory, to be closed. -1: there is none (*missing), or it cannot be opened now; or it is
 * for the child of a user to open, whose name is in account then, else "". */
int maildir_open(struct str local, bool *missing, char account[LOCAL_MAX + 1]);
struct letter {
	const char *id;                         /* for its name */
	struct str trace;                       /* fields in front, lines end in LF */
	int fd;                                 /* size octets from at, lines end in CR LF */
	off_t at, size;
};
/* Stores it durably in a directory with tmp, new and cur, which are made when missing. NULL, or the step that failed, with errno. */
const char *maildir_put(int dir, const struct letter *);

#endif
