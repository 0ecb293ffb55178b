/* The nouns of fardel: what a stranger should know before reading any other file. No functions. */
#ifndef FARDEL_H
#define FARDEL_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "lib/str.h"

#define FARDEL_VERSION "0.1"

enum {
	ADDR_MAX = 320,         /* local part 64, @, domain 255 (RFC 5321 4.5.3.1) */
	DOMAIN_MAX = 255,
	LOCAL_MAX = 64,
	ID_MAX = 32,            /* a message id with its NUL: 8 hex digits of arrival second, 16 of chance */
	REPLY_TEXT = 512        /* remote words kept, with the NUL */
};

/* An address as written between < and >, without a source route. Both slices point into
 * the same text, local '@' domain; domain is empty only for <postmaster>; both are empty for <>. */
struct addr {
	struct str local;       /* as sent: a quoted local part keeps its quotes */
	struct str domain;      /* or an address literal with its brackets */
};

enum body { BODY_7BIT, BODY_8BITMIME, BODY_BINARYMIME };
enum ret { RET_NONE, RET_FULL, RET_HDRS };
enum { NOTIFY_NEVER = 1, NOTIFY_SUCCESS = 2, NOTIFY_FAILURE = 4, NOTIFY_DELAY = 8 };  /* 0: not said (RFC 3461 4.1) */

/* MAIL FROM and its parameters (RFC 5321 4.1.1.2); slices are borrowed from the line that was parsed. */
struct sender {
	struct addr addr;
	bool has_size;
	uint64_t size;          /* SIZE= */
	enum body body;
	bool has_body;
	bool smtputf8;
	bool requiretls;
	enum ret ret;
	struct str envid;       /* xtext as sent */
	struct str auth;        /* AUTH= as sent */
	uint64_t hold_for;      /* HOLDFOR= seconds, 0: none (RFC 4865) */
	int64_t hold_until;     /* HOLDUNTIL= Unix seconds, 0: none */
};

/* RCPT TO and its parameters. */
struct recipient {
	struct addr addr;
	unsigned notify;        /* NOTIFY_ bits */
	struct str orcpt;       /* "rfc822;xtext" as sent */
};

/* An SMTP reply, ours or a peer's. Text is one line; lines of a longer reply are joined by a blank. */
struct reply {
	int code;               /* 0: there was no reply, text says what happened instead */
	char enhanced[12];      /* "5.1.1" or "" */
	char text[REPLY_TEXT];
};

/* What a rule says of a request. */
enum verdict { WAIT, ACCEPT, REFUSE };

/* Who is talking to us, as far as known: what policy is handed. */
struct subject {
	struct sockaddr_storage peer;   /* AF_UNSPEC: a local program on a pipe */
	char peer_text[INET6_ADDRSTRLEN + 8];   /* "192.0.2.1", "IPv6:2001:db8::1" or "local" */
	const char *helo;               /* "": not said yet */
	bool esmtp;
	bool tls;                       /* what is said is said inside TLS */
	bool local;                     /* a local program or an inetd-less pipe: trusted as the user who started us */
	bool submission;                /* on a service for users, not for other servers (RFC 6409) */
	const char *user;               /* who has logged in; "": nobody */
	long uid;                       /* of a program on a local socket; -1: not known */
	const char *sender;             /* "" for <> or before MAIL */
};

#endif
