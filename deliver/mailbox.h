/* What is done with mailboxes by a helper process (deliver/maildir.c), and how it is told. Logs nothing: the answer says all. */
#ifndef DELIVER_MAILBOX_H
#define DELIVER_MAILBOX_H

#include "deliver/maildir.h"
#include "deliver/recallwork.h"
#include "lib/account.h"
#include "lib/buf.h"

enum { PATH_ROOM = 1024, ADDRESS_ROOM = LOCAL_MAX + 1 + DOMAIN_MAX + 1 };

/* Both ends are the same program, forked, so structs as they are. */
enum work_kind {
	WORK_DELIVER,
	WORK_RUN,                               /* of a command that the user has named */
	WORK_ASK,
	WORK_OWNER,                             /* ASK: as whom is the command to be run? */
	WORK_FORWARD,                           /* ASK: what stands in the user's .forward file? */
	WORK_RECALL                             /* ASK: what deliver/recallwork.h does */
};
struct work {
	uint64_t ticket;
	enum work_kind kind;
	bool postmaster;
	off_t at, size, own;
	char user[LOCAL_MAX + 1];
	char delivered_to[ADDRESS_ROOM];        /* "bob@example.org" */
	char sender[ADDR_MAX + 1];
	char id[ID_MAX];
	char command[LOCAL_MAX + 1];            /* WORK_RUN, WORK_OWNER: "staff|1" (deliver/alias.h) */
	char recipient[ADDRESS_ROOM];           /* WORK_RUN: whom the sender has written to */
	struct recall_request recall[];         /* WORK_RECALL: one, as long as its text is */
};
union work_room { struct work work; char octets[sizeof(struct work) + sizeof(struct recall_request)]; };
struct work_result {
	uint64_t ticket;
	struct reply reply;                     /* WORK_DELIVER: the result; WORK_ASK: text says why it is UNKNOWN */
	enum outcome outcome;
	bool full;                              /* FOUND: no message fits */
	char path[PATH_ROOM];
	char account[LOCAL_MAX + 1];            /* FOUND: whose child is to do it; "": this one may */
	size_t text_n;                          /* WORK_FORWARD, WORK_RECALL: octets behind this struct */
};

/* Before any helper is forked. The strings stay borrowed. */
void mailbox_configure(const struct maildir_config *);
/* In a user's child: whose it is. Borrowed. */
void mailbox_become(const struct account *);
/* wanted(): after the message is locked, is there still somebody who will mark the result? NULL: there is. False: this
 * process is to end, with its group: nothing was done, or (a ticket in the result) a command has not ended in time. text: what goes behind the result. */
bool mailbox_work(const struct work *, int fd, bool (*wanted)(void), struct work_result *, struct buf *text);
/* May it be worked on? Who asks a user's child has other rights than it, and is not believed to be sane. */
bool mailbox_is_work(const void *, size_t n, int fd);
/* For maildir_open(). */
int mailbox_open(const struct work *, bool *missing, char account[LOCAL_MAX + 1]);
/* In a helper: works until its socket ends, or something insane comes. */
int mailbox_serve(int socket, bool (*wanted)(void));

/* CR LF becomes LF; any other CR stays. held: the chunk before ended in a CR. The output is never longer than n + 1. */
size_t mailbox_to_lf(const char *in, size_t n, char *out, bool *held);

/* Do mailboxes lie in the homes of the system's users? */
bool mailbox_in_homes(struct str template);
/* {user}, {home} and a ~ at the beginning filled in, without a slash at its end. False: too long, or braces of another kind. */
bool mailbox_fill(struct str template, const char *user, const char *home, char *path, size_t size);

#endif
