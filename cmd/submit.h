/* Text of a local program becomes a message in the queue: what sendmail reads from its standard input and what lies in a drop file.
 * Two forms: a plain message (RFC 5322; recipients from To, Cc and Bcc), or the same below "MAIL FROM:<...>" and
 * "RCPT TO:<...>" lines and an empty line. LF or CR LF ends a line. Works in steps of one block: no message is in memory as a whole. */
#ifndef CMD_SUBMIT_H
#define CMD_SUBMIT_H

#include <sys/types.h>

#include "cmd/sendas.h"
#include "fardel.h"
#include "policy/sign.h"
#include "queue.h"

enum {
	SUBMIT_HEADER = 1 << 20,        /* octets that envelope lines and header may have */
	SUBMIT_RCPTS = 10000,
	SUBMIT_HOPS = 100               /* Received fields: more are a loop (RFC 5321 6.3) */
};

struct submit_config {                  /* all borrowed */
	const char *hostname;
	const char *origin;             /* domain of names that have none */
	const char *user;               /* who submits; NULL or what can be no local part: his number */
	uid_t uid;
	const char *full_name;          /* for From when the message has none; or NULL */
	const char *how;                /* "sendmail", "drop file": for the trace field */
	const char *note;               /* the queue file's FROM line, or NULL: made of the above */
	const char *sender;             /* NULL: user@origin; "" or "<>": the null sender */
	size_t nrcpt;
	const char *const *rcpt;        /* each one address or an address list */
	bool header_rcpts;              /* recipients from To, Cc and Bcc, too */
	bool envelope_lines;            /* the text may begin with an envelope; then header_rcpts holds only without one */
	bool dot_ends;                  /* a line with a single dot ends the text */
	unsigned notify;                /* NOTIFY_ bits for all recipients of the plain form */
	enum ret ret;
	const char *envid;              /* xtext, or NULL */
	int64_t hold_until;             /* of the plain form: Unix seconds, 0: at once */
	int64_t future_max;             /* seconds that a message may be held (RFC 4865) */
	uint64_t message_size;
	const struct signer *signer;    /* DKIM keys, or NULL */
	const struct sendas_rules *send_as;     /* or NULL */
	const char *id;                 /* NULL: a new one */
};

struct submission;
/* Borrows config and fd (which is read, blocking or not a matter of its owner; never closed). NULL: no memory. The queue is open. */
struct submission *submit_open(const struct submit_config *, int fd);
/* One block. WAIT: call it again. ACCEPT: submit_draft() is ready. REFUSE: submit_why() and submit_status() tell. */
enum verdict submit_step(struct submission *);
struct draft *submit_draft(struct submission *);        /* gives it away: once */
const char *submit_why(const struct submission *);      /* a sentence with the remedy */
int submit_status(const struct submission *);           /* sysexits: 65 the text is at fault, 75 and 74 are not */
void submit_close(struct submission *);                 /* aborts a draft that was not taken; NULL is fine */

#endif
