/* The transports that the queue is given: SMTP and LMTP couriers, and delivery into local mailboxes. */
#ifndef CMD_COURIER_H
#define CMD_COURIER_H

#include "client.h"
#include "deliver/mx.h"
#include "deliver/tlsrule.h"
#include "policy/tlsrpt.h"
#include "queue.h"

struct courier_config {                 /* borrowed */
	const char *hostname, *marker;  /* as in struct client_config */
	const struct routes *routes;
	const struct mx_self *self;
	const struct sockaddr_storage *source;  /* [2], as in struct client_config */
	const struct socks_proxy *proxy;        /* for MX hosts; NULL: none */
	struct tls_trust *trust;        /* for routes whose host is to be verified */
	bool mix;                       /* domains with the same hosts may share a transaction */
	/* What came of TLS with a host of another domain, for reports (RFC 8460); borrowed. NULL: nobody wants to know. */
	void (*note_tls)(const struct tlsrpt_session *);
	const struct tls_rules *tls_rules;      /* for certain domains and hosts, beside what follows; or NULL */
	enum client_tls tls;            /* MAY: an address that it fails with is called in clear, at once and for an hour */
};
void courier_configure(const struct courier_config *);
unsigned courier_configured(void);              /* how often that was */
/* The same as of when the oldest courier, or connection, began that is still there: what was in force before then is in nobody's use. */
unsigned courier_oldest(void);
/* How the at-th of these hosts is called, and what TLS it must show. Valid until the next call; route and hosts must stay as long. NULL: it may
 * not be called, and *why says what forbids it. */
const struct client_config *courier_demands(const struct route *, struct mx_result *hosts, size_t at, struct reply *why);
/* Tells of so many connections at most: the host, the domain, the message that is being sent ("": none) and how many were before it. */
void courier_measure(size_t most, void (*each)(void *arg, const char *host, const char *domain, const char *id, unsigned served), void *arg);
/* For struct queue_config.way: which key and transport for a domain and a sender. arg is not used. */
void courier_way(void *arg, struct str domain, const struct addr *from, struct way *out);

#endif
