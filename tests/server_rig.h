/* For tests of the SMTP server: a queue in a temporary directory, a clock that stands still, clients on socket pairs. */
#ifndef TESTS_SERVER_RIG_H
#define TESTS_SERVER_RIG_H

#include "lib/buf.h"
#include "queue.h"
#include "smtpd.h"
#include "tests/wire.h"

/* Set before site_start(), or changed before a session begins. Its rcpt rule goes by the local part: "no" is refused for
 * good, "later" for now, "wait" and "wait-no" are asked for first, all others are accepted. */
extern struct smtpd_config site_config;
extern unsigned site_questions;                  /* asked of the world so far */
extern bool site_mute;                           /* the world does not answer */

void site_start(void);
void site_start_with_helper(void);               /* commits are made by the queue's helper process, as in the daemon */
void site_stop(void);                            /* all sessions must be over by themselves or be ended by their client */

struct site_client {
	int fd;                                 /* -1: we have closed */
	struct buf got;                         /* what the server said and was not expected yet */
	bool ended;                             /* the server has ended the connection */
	struct wire *wire;                      /* NULL: in clear */
};
void site_connect(struct site_client *);
void site_adopt(struct site_client *, int fd);    /* one that is connected already */
/* From this IPv4 address, to a service; it is greeted and has said EHLO h.example. */
void site_come(struct site_client *, const char *from, enum smtpd_service);
/* Goes over to TLS behind a 220, asking for a server's name (or NULL), one octet a call of the kernel if wanted. */
void site_starttls(struct site_client *, const char *name, bool octets);
void site_hang_up(struct site_client *);
void site_send(struct site_client *, const void *, size_t);
void site_say(struct site_client *, const char *text);    /* as it is */
void site_listen(struct site_client *);           /* turns the loop until nothing more comes */
void site_turn(void);                            /* the same for nobody */
/* Takes the next line from got, without its end, into `line`. False: there is none. */
bool site_line(struct site_client *, char *line, size_t size);
/* The next line must match, where '*' is any text. */
void site_expect(struct site_client *, const char *pattern);
/* The last line of the next reply, however many it has. */
void site_expect_reply(struct site_client *, const char *pattern);
void site_expect_nothing(struct site_client *);
void site_expect_end(struct site_client *);
bool site_match(const char *pattern, const char *text);

size_t site_messages(void);                      /* in the queue */
/* Envelope and message of the only one that holds `text` (NULL: any); false: none does. */
bool site_message(const char *text, struct buf *envelope, struct buf *message);
size_t site_drafts(void);                        /* files left in work/ */

#endif
