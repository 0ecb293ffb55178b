/* What the files behind client.c share: one connection, what it waits for, and what may be said on it. */
#ifndef CLIENT_INSIDE_H
#define CLIENT_INSIDE_H

#include <netinet/in.h>

#include "client.h"
#include "lib/socks.h"
#include "lib/stream.h"
#include "mime/transfer.h"

struct saslc;

enum { BLOCK = 65536 };                 /* octets of a message read at once; larger ones are not sent before RCPT is answered */

enum phase {
	C_CONNECT,                      /* connect() is under way */
	C_PROXY,                        /* the proxy is asked for the connection */
	C_HELLO,                        /* greeting, EHLO, HELO or LHLO is awaited */
	C_TLS,                          /* the TLS handshake is under way */
	C_IDLE,                         /* ready for a job */
	C_ENVELOPE,                     /* RSET, MAIL, RCPT and DATA go out and are answered */
	C_BODY,                         /* the message is being sent */
	C_DOT,                          /* all is sent, the final replies are awaited */
	C_QUIT,                         /* QUIT has been sent */
	C_OVER,                         /* hung up; gone() is due */
	C_ABORTED                       /* hung up inside a callback; to be freed without a word */
};

/* What a reply answers. */
enum expect { X_GREETING, X_EHLO, X_HELO, X_LHLO, X_STARTTLS, X_AUTH, X_RSET, X_MAIL, X_RCPT, X_DATA, X_DOT, X_LONE_DOT,
	X_BDAT, X_QUIT };

/* What the envelope is to send next. */
enum next { N_RSET, N_MAIL, N_RCPT, N_DATA, N_NOTHING };

/* What was said, line by line, each ended by LF and with a mark and a blank before it (client_dialogue()). */
struct dialogue {
	char text[CLIENT_DIALOGUE];
	size_t n;
	size_t heard;                   /* where the next line of the peer goes: behind it are commands that are not answered */
	size_t reply;                   /* where the reply begins that is coming in, or came in last */
	unsigned taken;                 /* recipients since the last line */
	bool cut;                       /* older lines have gone */
};

struct client {
	const struct client_config *config;
	const struct client_events *events;
	void *arg;
	char peer[DOMAIN_MAX + INET6_ADDRSTRLEN + 16];
	char host[DOMAIN_MAX + 1];      /* what TLS asks for, "": nothing */
	struct tls_demands demands;     /* what the handshake points to */
	char tls[80];                   /* what it came to, "": in clear */
	struct saslc *login;            /* while it is under way */
	struct buf first;               /* its first words, when they do not fit beside the command */
	bool not_let_in;                /* it was refused, or cannot be done */
	bool securing;                  /* STARTTLS was said, and EHLO inside was not answered yet */
	enum tls_fault tls_fault;       /* why the handshake has failed */
	bool no_tls_offered;            /* and it is a must */
	bool is_self;                   /* the peer has said our marker */
	bool silent;                    /* connect() has had no answer in time */
	enum phase phase;
	struct io dial;                 /* the socket until it is connected */
	struct socks socks;             /* C_PROXY */
	bool proxy_failed;
	struct stream stream;           /* from then on */
	struct timer timer;             /* for the oldest expectation, or the block being sent */
	struct task task;               /* tells the caller */
	bool ready_due, job_over, telling;
	struct reply why;               /* how the connection ended */
	struct capabilities can;
	unsigned transactions;          /* MAIL commands sent */
	bool dirty;                     /* RSET before the next MAIL */

	struct buf expected;            /* enum expect, one octet each, */
	size_t answered;                /* of which so many are answered */

	int code;                       /* of the reply being read; 0: none has begun */
	unsigned lines;
	char enhanced[12];
	char text[REPLY_TEXT];
	size_t text_n;

	struct client_job *job;
	unsigned char *fate;            /* enum fate of each recipient (client.c) */
	size_t unsettled;
	size_t most;                    /* recipients a transaction of this job, as 452 and 552 have taught; 0: nothing learnt */
	size_t learnt;                  /* the same for all jobs, when the peer spoke of the number and of nothing else */
	unsigned mails;                 /* messages a connection, as 421 to MAIL has taught; 0: nothing learnt */
	bool said_too_many;             /* X.5.3, in this transaction */
	struct reply job_why;           /* code 0 and no text: all have results */
	bool untried;
	struct reply unfit;             /* why this message is not sent to this peer */

	size_t *batch;                  /* recipients of this transaction, in the order they are offered */
	size_t batch_n, offered, heard, accepted, deferred;
	size_t final;                   /* LMTP: place in batch behind the last final reply */
	enum next next;
	bool had_others;                /* transactions before this one */
	bool hung_up;                   /* the connection ended by itself, not by us */
	bool mail_answered, mail_refused;
	struct dot dot;
	off_t at, left;                 /* of the message */
	bool dot_leaving;               /* the final dot, or all of the last chunk, is written but may not have left */
	bool chunk, unended;            /* the message goes by BDAT; it has no line end at its end */
	unsigned lame;                  /* CLIENT_LAME_ bits */
	struct dialogue dialogue;
};

/* ---- the conversation (client.c). What sends or expects may end it: see client_alive(). */

bool client_alive(const struct client *);
void client_log_line(const struct client *, const char *direction, struct str line);
void client_note_sent(struct client *, struct str line);        /* in the log and in the dialogue */
/* Both end the connection: why it failed, in our words; or the peer has ended it with a reply. */
void client_fail(struct client *, const char *enhanced, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void client_end_by_reply(struct client *, const char *step, const struct reply *);
/* One time limit for a whole reply, or a whole block, however slowly its octets come or go; from now on. */
void client_arm(struct client *);
void client_expect(struct client *, enum expect);
void client_put(struct client *, const void *, size_t n);     /* octets alone */
/* Sends a command and notes what its reply will answer: one call, so that the two cannot drift apart. `shown` is what the log may
 * know of it. */
void client_say(struct client *, enum expect, struct str line);
void client_say_shown(struct client *, enum expect, struct str line, struct str shown);
void client_be_ready(struct client *);          /* for jobs: greeting, EHLO, TLS and login are done */
void client_on_event(struct stream *);          /* event() of client.stream */

/* ---- the way to the peer (client/connect.c) */

/* Names the peer and begins to connect, to the proxy if there is one. 0, or -1 with errno: the caller hangs up. What fails
 * later is client_fail(). */
int client_dial(struct client *, const struct sockaddr *, socklen_t, const char *host_name);
void client_ask_proxy(struct client *);         /* C_PROXY: octets have come */
void client_proxy_fails(struct client *, const char *why);
void client_begin_tls(struct client *);         /* C_TLS, or the end */

/* ---- logging in (client/login.c) */

void client_begin_login(struct client *);       /* client_be_ready() at its end */
void client_login_taken(struct client *, const struct reply *);         /* X_AUTH */
void client_login_refused(struct client *, const struct reply *);
void client_login_free(struct client *);        /* none: nothing */

/* ---- what was said (client/dialogue.c) */

void client_dialogue_begins(struct client *);           /* a job: what was before it is forgotten, but for what opened the connection */
void client_dialogue_secured(struct client *);
void client_dialogue_sent(struct client *, struct str line);    /* without secrets */
/* A line of a reply, the first or another one, to what was said so; NULL: to nothing. */
void client_dialogue_received(struct client *, struct str line, bool first, const enum expect *);
void client_dialogue_rcpt_taken(struct client *);       /* the reply was to that, */
void client_dialogue_rcpt_refused(struct client *, struct str command);

/* ---- the message (client/message.c) */

/* DATA was taken: sends it, C_BODY, as far as there is room. */
void client_begin_body(struct client *);
/* The whole message as one chunk. A short one leaves in one flight with its envelope: one round trip a message. */
void client_say_chunk(struct client *);
void client_send_block(struct client *);        /* C_BODY: there is room for more */
void client_end_data(struct client *, enum expect, size_t replies);     /* all is written: C_DOT, so many final replies are awaited */
void client_unreadable(struct client *, ssize_t got);   /* our copy: -1 with errno, or it is too short */

#endif
