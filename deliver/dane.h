/* DANE for SMTP (RFC 7672, RFC 6698): what DNSSEC says of the certificate of a mail host. Evaluator over facts. */
#ifndef DELIVER_DANE_H
#define DELIVER_DANE_H

#include "fardel.h"
#include "lib/facts.h"
#include "lib/tls.h"

enum dane_demand {
	DANE_NONE,                      /* no TLSA records that DNSSEC vouches for: as without DANE */
	DANE_ENCRYPT,                   /* there are records and none that can be used: TLS is a must, whatever the certificate (7672 2.2) */
	DANE_VERIFY                     /* the certificate must be one of the pins */
};
struct dane {
	enum dane_demand demand;
	struct tls_pins pins;           /* DANE_VERIFY */
	char base[256];                 /* the name that they were found for, when it is not the host's own; else "" */
};

/* The records at _PORT._tcp.END or, if there are none, at _PORT._tcp.HOST: the end is where the host's name is an alias for, or NULL
 * (RFC 7672 2.2.2). To be asked only when MX and addresses of the host were secure. WAIT; ACCEPT; REFUSE when it cannot
 * be found out: then the host must not be used (RFC 7672 2.1.2), and *why has words. */
enum verdict dane_find(struct facts *, struct str host, const char *end, unsigned port, struct dane *out, struct reply *why);
/* One record's RDATA as a pin. False: it cannot be used for SMTP (usages 0 and 1, unknown numbers, a digest of the wrong length). */
bool dane_pin(struct str rdata, struct tls_pin *out);

#endif
