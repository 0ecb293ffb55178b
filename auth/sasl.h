/* The server's side of a login as octets in and octets out (RFC 4422): PLAIN (4616), LOGIN, SCRAM-SHA-1 and SCRAM-SHA-256 (5802, 7677),
 * with channel binding tls-server-end-point (5929) as -PLUS. No base64, no socket, no clock. */
#ifndef AUTH_SASL_H
#define AUTH_SASL_H

#include "auth/users.h"

enum { SASL_MAX = 12288 };              /* octets of one response, decoded or not (RFC 4954 4) */

struct sasl_server {
	const struct users *users;      /* refreshed by whoever begins a login */
	bool tls;                       /* the connection is inside TLS */
	struct str binding;             /* tls-server-end-point of this connection; empty: none */
};

enum sasl_next {
	SASL_MORE,                      /* *out is a challenge: send it and come again with the answer */
	SASL_PROVED,                    /* the same, and it is the right one who asks: *out tells so, and is kept back from who may not know */
	SASL_CHECK,                     /* a password is to be compared: sasl_password() and secret_matches(), elsewhere */
	SASL_OK,
	SASL_FAILED,                    /* wrong name, password or binding; sasl_why() for the log */
	SASL_MALFORMED                  /* what came is not of this mechanism; sasl_why() too */
};

struct sasl;
/* Appends the names of the mechanisms that can be used now, each behind a blank. */
void sasl_mechanisms(const struct sasl_server *, struct buf *out);
/* NULL: no such mechanism here and now; *needs_tls: it would be there inside TLS. The server is copied, its users are borrowed. */
struct sasl *sasl_begin(struct str mechanism, const struct sasl_server *, bool *needs_tls);
void sasl_free(struct sasl *);                          /* wipes what it knew. NULL: nothing */
/* True: the client speaks first, so that an initial response may come with the command. Without one the first challenge is empty. */
bool sasl_client_first(const struct sasl *);
/* The next response, or the initial one; for a mechanism whose server speaks first an empty one begins. *out is cleared first. */
enum sasl_next sasl_take(struct sasl *, struct str response, struct buf *out);
const char *sasl_name(const struct sasl *);             /* "SCRAM-SHA-256", a constant */
const char *sasl_user(const struct sasl *);             /* as the client said it; "": not yet */
struct str sasl_secret(const struct sasl *);            /* SASL_CHECK: of that user; empty: nobody */
struct str sasl_password(const struct sasl *);          /* SASL_CHECK */
const char *sasl_why(const struct sasl *);

#endif
