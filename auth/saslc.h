/* The client's side of a login as octets in and octets out (RFC 4422): SCRAM-SHA-256 and SCRAM-SHA-1 (7677, 5802), PLAIN (4616), LOGIN;
 * with an access token OAUTHBEARER (7628) and XOAUTH2, which was there before it.
 * No base64, no socket. */
#ifndef AUTH_SASLC_H
#define AUTH_SASLC_H

#include "lib/buf.h"

enum {
	/* SCRAM: more would hold up the loop, on a small board for a second. What was worked out is kept for the next connection. */
	SASLC_ITERATIONS_MAX = 100000
};

struct saslc;
enum saslc_kind { SASLC_PASSWORD, SASLC_TOKEN };
/* By the best mechanism of those offered (names separated by blanks) for a password or an access token. In clear only SCRAM is one: others
 * would tell the secret to anybody. User and secret are borrowed. NULL: none can be used, and *why says so. */
struct saslc *saslc_begin(struct str offered, enum saslc_kind, const char *user, const char *secret, bool tls, const char **why);
void saslc_free(struct saslc *);                      /* wipes what it knew. NULL: nothing */
const char *saslc_mechanism(const struct saslc *);    /* a constant */
/* True: the client speaks first, and *out is what it says. False: the server does, *out is empty. */
bool saslc_first(struct saslc *, struct buf *out);
/* What the server said is wrong with a token, before it refused (RFC 7628 3.2.2): one line of printable text, or "". */
const char *saslc_error(const struct saslc *);
/* The answer to a challenge, appended to *out, which is cleared first. NULL, or what is wrong with the challenge. */
const char *saslc_take(struct saslc *, struct str challenge, struct buf *out);
/* The server says yes. NULL, or why it is not to be believed: in SCRAM it has to show that it knows the password too. */
const char *saslc_accepted(const struct saslc *);

#endif
