/* SMTP grammar: commands, parameters, addresses and replies (RFC 5321 4.1, 4.2). Pure functions.
 * A parser returns NULL when all is well, else what was wrong, in plain words fit for a reply.
 * Slices in results point into the text that was parsed. */
#ifndef PARSE_H
#define PARSE_H

#include "fardel.h"
#include "lib/buf.h"

/* ---- addresses */
/* "<local@domain>", "<@route:local@domain>", "<>" (null_ok), "<postmaster>" (postmaster_ok) at the start of *rest,
 * which moves behind the '>'. Octets 0x80.. are taken only when utf8. Lengths as RFC 5321 4.5.3.1. */
const char *parse_path(struct str *rest, bool null_ok, bool postmaster_ok, bool utf8, struct addr *out);
/* A bare "local@domain" (as on a command line); the whole slice must be it, and fit into a path. */
const char *parse_address(struct str text, bool utf8, struct addr *out);
/* Domain name or address literal; the whole slice must be it. No trailing dot, no underscore, no all-numeric top label. */
const char *parse_domain(struct str text, bool utf8, bool literal_ok);
/* "[192.0.2.1]", "[IPv6:2001:db8::1]" -> the address with port 0. False: not a literal that we can use. */
bool parse_literal(struct str text, struct sockaddr_storage *out);
/* Appends local '@' domain, the domain in lower case; nothing for <>. */
bool print_addr(struct buf *, const struct addr *);
bool addr_is_null(const struct addr *);
/* Appends the local part without quoting ("a\ b" -> a b): what it means, for looking up a mailbox. */
bool addr_local_unquoted(struct buf *, const struct addr *);

/* ---- MAIL and RCPT: what follows "MAIL " and "RCPT ", as in "FROM:<a@x> SIZE=5". Used for commands, queue files and drop files. */
enum param {                            /* what the server offers; a parameter not offered is "unknown" */
	PARAM_SIZE = 1, PARAM_BODY = 2, PARAM_SMTPUTF8 = 4, PARAM_REQUIRETLS = 8, PARAM_DSN = 16,
	PARAM_HOLD = 32, PARAM_AUTH = 64, PARAM_BINARY = 128, PARAM_ALL = 255
};
struct parse_error {
	const char *text;               /* NULL: none */
	int code;                       /* 501; 553: 8-bit address without SMTPUTF8 or not UTF-8; 555: parameter or BODY not offered */
	const char *enhanced;           /* "5.5.4" */
};
struct parse_error parse_mail(struct str args, unsigned offered, struct sender *out);
struct parse_error parse_rcpt(struct str args, unsigned offered, bool utf8, struct recipient *out);
/* "MAIL FROM:<a@x> BODY=8BITMIME" without line end; parse_mail(print) gives the same struct (SIZE is not printed). */
bool print_mail(struct buf *, const struct sender *);
bool print_rcpt(struct buf *, const struct recipient *);

/* xtext (RFC 3461 4): valid? and decoded. Text that stands for anything but printable ASCII ("+0A") is not valid.
 * An ORCPT or AUTH taken under SMTPUTF8 may hold UTF-8 (RFC 6533 3): that is no xtext and is not decoded. */
bool xtext_valid(struct str);
bool xtext_decode(struct buf *, struct str);    /* false: not valid, or no memory */
bool xtext_encode(struct buf *, struct str);    /* appends; of printable ASCII. False: something else is in it, or no memory */

/* ---- replies of a server (RFC 5321 4.2) */
/* One line without CR LF: "250-text", "250 text" or "250". False: not a reply line. Codes outside 200..599 are none. */
bool parse_reply_line(struct str line, int *code, bool *last, struct str *text);
/* Splits "2.1.5 text" when its class is the code's class: enhanced gets "2.1.5" and *text what follows; else enhanced is "". */
void parse_enhanced(int code, struct str *text, char enhanced[12]);
/* Sets r from parts; the text is cut, and what is not printable ASCII becomes '?'. */
void reply_set(struct reply *r, int code, const char *enhanced, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* ---- EHLO answer: one keyword line ("SIZE 1000", "LIMITS RCPTMAX=5"). */
enum capability {
	CAP_PIPELINING = 1, CAP_SIZE = 2, CAP_8BITMIME = 4, CAP_ENHANCED = 8, CAP_STARTTLS = 16, CAP_CHUNKING = 32,
	CAP_SMTPUTF8 = 64, CAP_DSN = 128, CAP_LIMITS = 256, CAP_REQUIRETLS = 512, CAP_AUTH = 1024, CAP_BINARYMIME = 2048,
	CAP_FUTURERELEASE = 4096
};
struct capabilities {
	unsigned set;                   /* CAP_ bits */
	uint64_t size;                  /* 0: none said */
	unsigned mail_max, rcpt_max, rcpt_domain_max;   /* LIMITS (RFC 9422); 0: none said */
	char auth[128];                 /* mechanisms, separated by blanks */
};
void parse_capability(struct str line, struct capabilities *);
/* Words kept of an attempt: a peer's reply, which its code opens ("550 5.1.1 no such user")? Else they are ours. */
bool words_are_reply(struct str);

#endif
