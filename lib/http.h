/* One GET over HTTPS in the loop (RFC 9110, 9112, 2818): a small text from a host whose certificate is verified. Follows no redirect,
 * keeps nothing, and says what went wrong in words. */
#ifndef LIB_HTTP_H
#define LIB_HTTP_H

#include <sys/socket.h>

#include "lib/buf.h"
#include "lib/loop.h"

enum {
	HTTP_BODY = 65536,              /* octets of a body at most */
	HTTP_HEAD = 65536,              /* octets of all that is not body */
	HTTP_LINE = 8192,               /* of one line of it */
	HTTP_ADDRESS_MS = 10000         /* for connection and handshake with one address, when there are others */
};

struct tls_trust;

struct http_request {                   /* all of it borrowed until done() or http_cancel() */
	const char *host, *path;        /* the certificate must be for the host */
	size_t n;
	const struct sockaddr_storage *addr;    /* of the host, with the port: tried one after the other until one is connected and secure */
	const struct sockaddr_storage *source;  /* [2]: where connections come from, IPv4 and IPv6; AF_UNSPEC: as the system likes. Or NULL */
	struct tls_trust *trust;
	msec within;                    /* from now until done() */
};
struct http_answer {
	const char *wrong;              /* what happened, in words; NULL: status 200, text/plain, and all of it is there */
	struct str body;                /* "" when something is wrong */
};

struct http;
/* done() comes once, later, never from inside; the answer is valid until it returns. NULL: no memory. */
struct http *http_get(const struct http_request *, void (*done)(void *arg, const struct http_answer *), void *arg);
void http_cancel(struct http *);        /* without done(); not from inside it. NULL: nothing */

/* ---- the parser of answers: pure (tests and fuzzers call it) */
struct http_reply {
	int part;                       /* 0 at the beginning, as all else; of http.c */
	int status;                     /* of the last status line */
	bool plain, coded, chunked, sized;      /* Content-Type is text/plain; the body is coded in some way that we do not know */
	bool typed, other_transfer;
	uint64_t left;                  /* octets of the body, or of the chunk, to come */
	size_t head;                    /* octets seen that are not body */
	struct buf line, body;
	char wrong[200];                /* "": nothing so far */
};
/* More of it. What comes behind its end is not looked at. */
void http_reply_take(struct http_reply *, struct str octets);
/* Nothing more will come: `whole` when the peer has said that this is the end (TLS close_notify), not when it just fell silent. */
void http_reply_end(struct http_reply *, bool whole);
bool http_reply_over(const struct http_reply *);        /* all is there, or something is wrong */
void http_reply_free(struct http_reply *);

#endif
