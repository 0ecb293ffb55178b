/* Delivery status reports as text (RFC 3464, 6522, 3461). Pure: writes into a buffer. */
#ifndef DSN_H
#define DSN_H

#include "lib/buf.h"
#include "fardel.h"

enum {
	DSN_FULL_MAX = 1024 * 1024,             /* a longer original comes back as its header only, whatever RET said */
	DSN_HEADER_MAX = 64 * 1024              /* of a longer header the first whole lines come back */
};

enum dsn_action { DSN_FAILED, DSN_DELAYED, DSN_RELAYED, DSN_EXPANDED, DSN_DELIVERED };        /* the gravest first */

struct dsn_rcpt {
	struct str addr;                        /* local@domain */
	struct str orcpt;                       /* "rfc822;xtext" or empty */
	enum dsn_action action;
	struct str status;                      /* "5.1.1"; one that does not fit the action becomes "5.0.0", "4.0.0" or "2.0.0" */
	struct str host;                        /* "mx.example.net[192.0.2.1]:25"; without [address] ("maildir", "-",
	                                         * empty) no peer was involved */
	struct str words;                       /* what the peer said ("550 5.1.1 no such user"), or our own words
	                                         * (no reply code in front) */
	struct str said;                        /* the conversation that it came of, lines ended by LF with a mark each (client_dialogue()), or empty.
	                                         * Recipients of the same one share its text */
	int64_t when;                           /* of the last attempt; 0: not known */
	int64_t retry_until;                    /* DSN_DELAYED */
};
/* What a well-known answer means, in plain words for a layman, and what can be done; each NULL where nothing is known. */
struct dsn_cause {
	const char *meaning;
	const char *advice;                     /* for the sender, when it has failed */
	const char *remedy;                     /* for whoever runs this host */
};
/* Arguments as in struct dsn_rcpt; without words it is none. */
struct dsn_cause dsn_cause(struct str host, struct str status, struct str words);
/* Are the words a reply of that host, as in struct dsn_rcpt? Else they are ours: a mailbox, too, is answered for by us, as by a code. */
bool dsn_peer_spoke(struct str host, struct str words);

/* Nothing in it is trusted: what is no printable text is escaped, what is too long is cut or folded. */
struct dsn {
	const char *hostname;                   /* reporting MTA */
	const char *id;                         /* of the reported message */
	const char *report_id;                  /* for our Message-ID and the boundary: unique and repeatable */
	struct str to;                          /* envelope sender of the reported message; empty (a report about a report):
	                                         * addressed to the postmaster of hostname */
	struct str envid;                       /* xtext or empty */
	uint64_t hold_for;                      /* what was asked for (RFC 4865): seconds, or */
	int64_t hold_until;                     /* Unix seconds; 0: nothing */
	int64_t arrived, now;
	int64_t next_try;                       /* DSN_DELAYED; 0: not known */
	bool full;                              /* RET=FULL: the whole original is in `original`, else its header only */
	struct str original;                    /* header (or all) of the reported message, CRLF */
	size_t n;
	const struct dsn_rcpt *rcpt;
};
/* Appends header and body, lines of at most 998 octets ended by CR LF. 7 bit, unless the original or an address
 * is not: then 8bit is declared, and whoever sends it says BODY=8BITMIME (SMTPUTF8 when `to` is not ASCII).
 * The whole original is returned only when a recipient failed (RFC 3461 4.3), it is not too long, and it is legal as 8bit.
 * What holds UTF-8 beyond ASCII in its header comes back as message/global, or its headers; to a sender whose address does, addresses are
 * told in UTF-8, else in 7 bit (RFC 6533). False: no memory, or out->max is reached. */
bool dsn_write(struct buf *out, const struct dsn *);

#endif
