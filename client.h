/* SMTP and LMTP client: one connection, many messages, pipelined (RFC 5321, 2033, 2920, 3030, 1870, 3207,
 * 4954, 6152, 3461, 8689, 9422). Knows nothing of the queue: it is handed jobs and says what the peer answered. */
#ifndef CLIENT_H
#define CLIENT_H

#include <sys/types.h>

#include "fardel.h"
#include "lib/buf.h"
#include "lib/loop.h"
#include "lib/tls.h"
#include "parse.h"

/* One message for some recipients. The caller keeps it alive until done(). */
struct client_job {
	const struct sender *from;
	size_t n;
	const struct recipient **to;            /* n of them */
	int fd;                                 /* the message: `size` octets from `at`, lines ended by CR LF */
	off_t at, size;
	const char *text;                       /* those octets, where they are in memory until the job is over; else NULL */
	const char *id;                         /* for the log */
	bool probe;                             /* nothing is sent: behind the replies to RCPT comes RSET. Whom the peer would take has its 250 as result */
	/* The final word of recipient i, as the peer said it, or ours ("not sent: ...") when the peer cannot take this message
	 * at all: larger than its SIZE, or in need of an extension it has not. Once for each i that gets one, never
	 * from inside client_send(). Must not call the client. */
	void (*result)(struct client_job *, size_t i, const struct reply *);
	/* The job is over. Recipients without a result were not tried to the end: `why` says what happened
	 * (code 421, or 0 with our words: connection lost, protocol error; NULL: all have results; client_is_our_trouble()). With `untried` the peer
	 * was not really asked: MAILMAX is reached, or a connection that has served others ended before MAIL was
	 * answered, or it does not do what it announces (client_lame()). They are due on a new connection at once, it is no failure. */
	void (*done)(struct client_job *, const struct reply *why, bool untried);
	bool doubtful;                          /* set before done(): the final dot is out and was not answered; the peer may have it */
	bool unreadable;                        /* set before done(): our copy of the message cannot be read */
	bool unfit;                             /* set before result(): "not sent: ..."; another host may be able to take it */
};

/* May be: TLS where the peer offers STARTTLS, whatever its certificate says. Must be: a peer without is of no use. Verify: and its
 * certificate must be for its host name and from somebody who is trusted. Pinned: it must be one of those named (DANE, fingerprints). */
enum client_tls { CLIENT_TLS_NO, CLIENT_TLS_MAY, CLIENT_TLS_MUST, CLIENT_TLS_VERIFY, CLIENT_TLS_PINNED };

struct socks_proxy;

struct client_config {
	const char *hostname;                   /* for EHLO */
	const char *marker;                     /* who says this behind his name in the reply to it is ourselves; NULL: nobody is */
	bool lmtp;
	bool pass_hold;                         /* the peer holds what is to be held (RFC 4865); else the caller has done so */
	enum client_tls tls;                    /* not with lmtp */
	bool tls_first;                         /* TLS from the first octet on (RFC 8314), not by STARTTLS; tls is MUST or VERIFY */
	bool unsure;                            /* the host might have to be verified, but that could not be found out: what needs it is put off */
	bool no_chunking, no_pipelining;        /* although the peer announces it */
	size_t rcpt_max;                        /* a transaction, as learnt before (client_rcpt_max()); 0: nothing learnt */
	unsigned mail_max;                      /* messages a connection, likewise (client_mail_max()) */
	const struct socks_proxy *proxy;        /* makes the connection; NULL: none */
	const struct sockaddr_storage *source;  /* [2]: where connections come from, IPv4 and IPv6; AF_UNSPEC: as the system likes. Not with a proxy. Or NULL */
	struct tls_trust *trust;                /* with VERIFY */
	bool verify_too;                        /* with PINNED: it must be as with VERIFY, besides */
	const struct tls_pins *pins;            /* with PINNED: of DNS, or NULL */
	const char *domain;                     /* with pins: where the mail goes, as the certificate may be for that; or NULL */
	const char *alias_for;                  /* with pins: the name that they are for and TLS asks for, if it is not the host's; or NULL */
	const struct tls_pins *fingerprints;    /* with PINNED: it must be one of these, whatever else is demanded; or NULL */
	bool hearsay;                           /* with VERIFY: the host's name is from a DNS that anybody may have changed, so REQUIRETLS wants more */
	const char *user, *password;            /* to log in with (RFC 4954); NULL: nobody */
	bool token;                             /* the password is an access token (RFC 6750) */
	/* Each line of the conversation as the log has it: what is "sent" (secrets left out), what is "received". NULL: nobody looks on. */
	void (*said)(const char *direction, struct str line);
	/* Seconds; 0: RFC 5321 4.5.3.2 (connect 30, by a proxy 60 more; greeting, EHLO, MAIL, RCPT, RSET 300, DATA 120, block 180; final dot 600).
	 * command_s stands for all that are between connect and final dot, a TLS handshake (60) among them. QUIT has 5. */
	unsigned connect_s, command_s, final_s;
};

struct client;
struct client_events {
	/* Greeting and EHLO are done: jobs may be sent. */
	void (*ready)(struct client *, void *arg);
	/* The connection is over; the client is freed when this returns. Before ready(): the host could not be used and
	 * why says at which step ("connect to ... timed out after 30 s", "greeting: ..."), with the peer's code if it gave one.
	 * After it: why tells how it ended (code 221 after our QUIT, whatever the peer made of it). A running job's done()
	 * came before. */
	void (*gone)(struct client *, void *arg, const struct reply *why);
};

/* Connects. The config is borrowed and must outlive the client. Events come later, never from inside. NULL with errno.
 * The address may be a local socket's (AF_UNIX): host_name is then its name in the log. */
struct client *client_open(const struct client_config *, const struct sockaddr *, socklen_t, const char *host_name,
	const struct client_events *, void *arg);
/* "mx.example.net[192.0.2.1]:25" */
const char *client_peer(const struct client *);
const struct capabilities *client_capabilities(const struct client *);
/* "TLSv1.2:TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "" in clear. */
const char *client_tls(const struct client *);
/* In gone(): STARTTLS was said and the conversation did not get as far as a good EHLO inside. Another connection that does
 * without may succeed. */
bool client_tls_failed(const struct client *);
/* In gone(), when TLS has failed: what is wrong with the peer's certificate, if that was it. */
enum tls_fault client_tls_fault(const struct client *);
/* In gone(): TLS is a must, and the peer does not offer it. */
bool client_tls_missing(const struct client *);
/* In a job's done() and in gone(): what the peer announced and did not do, or what its silence may come of. A connection without it may
 * succeed (client_config.no_...). */
enum { CLIENT_LAME_CHUNKING = 1, CLIENT_LAME_PIPELINING = 2 };
unsigned client_lame(const struct client *);
/* Recipients that the peer took in one transaction before it said that more are too many; 0: it did not. */
size_t client_rcpt_max(const struct client *);
/* Messages that it took on one connection before it ended that (421) in place of an answer to MAIL; 0: it did not. */
unsigned client_mail_max(const struct client *);
/* In a job's done() and in gone(): what was said for the job, or since the connection was begun, at most CLIENT_DIALOGUE octets of it and some
 * lines of ours. Nothing when nobody said anything. Lines are ended by LF; the first octet says what each is: "= " the peer, "> " we, "< " he, "* " a
 * remark. Each reply is behind its command; recipients are only named when they were refused. No secret is in it and nothing of the message;
 * what is no printable ASCII is a question mark. False: it did not fit. */
enum { CLIENT_DIALOGUE = 3072 };
bool client_dialogue(const struct client *, struct buf *out);
/* Of a done()'s or gone()'s why: memory or our copy of the message is to blame, and no peer. */
bool client_is_our_trouble(const struct reply *why);
/* In gone(): nothing at all came back from its address, not even a refusal. */
bool client_is_silent(const struct client *);
/* In gone(): the peer is ourselves. */
bool client_is_self(const struct client *);
/* In gone(): the proxy could not be reached, or will not do what it is there for. It will be the same everywhere, too. */
bool client_proxy_failed(const struct client *);
/* In gone(): we were not let in with our name and password. It will be the same everywhere until somebody puts it right. */
bool client_login_failed(const struct client *);
/* May be called in ready(), in a job's done() and any time no job runs. Splits into several transactions as RCPTMAX and
 * 452/552 demand (the next one smaller than the one before). False, and nothing is called: the connection is over, busy,
 * or its MAILMAX is reached. */
bool client_send(struct client *, struct client_job *);
bool client_usable(const struct client *);      /* client_send() would be taken */
void client_quit(struct client *);              /* QUIT, then gone(); before ready() it just hangs up. Only when no job runs. */
void client_abort(struct client *);             /* at once, without events; not from result() */

#endif
