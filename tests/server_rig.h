/* For tests of the SMTP server: a queue in a temporary directory, a clock that stands still, clients on socket pairs. */
#ifndef TESTS_SERVER_RIG_H
#define TESTS_SERVER_RIG_H

#include "lib/buf.h"
#include "queue.h"
#include "smtpd.h"

/* Set before rig_start(), or changed before a session begins. Its rcpt rule goes by the local part: "no" is refused for
 * good, "later" for now, "wait" and "wait-no" are asked for first, all others are accepted. */
extern struct smtpd_config rig_config;
extern unsigned rig_questions;                  /* asked of the world so far */
extern bool rig_mute;                           /* the world does not answer */

void rig_start(void);
void rig_start_with_helper(void);               /* commits are made by the queue's helper process, as in the daemon */
void rig_stop(void);                            /* all sessions must be over by themselves or be ended by their client */

struct rig_client {
	int fd;                                 /* -1: we have closed */
	struct buf got;                         /* what the server said and was not expected yet */
	bool ended;                             /* the server has ended the connection */
};
void rig_connect(struct rig_client *);
void rig_adopt(struct rig_client *, int fd);    /* one that is connected already */
void rig_hang_up(struct rig_client *);
void rig_send(struct rig_client *, const void *, size_t);
void rig_say(struct rig_client *, const char *text);    /* as it is */
void rig_listen(struct rig_client *);           /* turns the loop until nothing more comes */
void rig_turn(void);                            /* the same for nobody */
/* Takes the next line from got, without its end, into `line`. False: there is none. */
bool rig_line(struct rig_client *, char *line, size_t size);
/* The next line must match, where '*' is any text. */
void rig_expect(struct rig_client *, const char *pattern);
void rig_expect_nothing(struct rig_client *);
void rig_expect_end(struct rig_client *);
bool rig_match(const char *pattern, const char *text);

size_t rig_messages(void);                      /* in the queue */
/* Envelope and message of the only one that holds `text` (NULL: any); false: none does. */
bool rig_message(const char *text, struct buf *envelope, struct buf *message);
size_t rig_drafts(void);                        /* files left in work/ */

#endif
