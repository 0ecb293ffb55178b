/* What the administrator demands of TLS with the hosts of a domain, or with a host of a route. Pure. */
#ifndef DELIVER_TLSRULE_H
#define DELIVER_TLSRULE_H

#include "deliver/mx.h"
#include "lib/str.h"
#include "lib/tls.h"

/* None: in clear, and nothing else is asked. May: if the host offers it. Encrypt: always, whatever the certificate. Verify: a certificate for
 * the host's name from somebody who is trusted. DANE: one that DNSSEC vouches for. Fingerprint: one of those named, or one with a key named. */
enum tls_level { TLS_LEVEL_NONE, TLS_LEVEL_MAY, TLS_LEVEL_ENCRYPT, TLS_LEVEL_VERIFY, TLS_LEVEL_DANE, TLS_LEVEL_FINGERPRINT, TLS_LEVELS };
struct tls_rule {
	char name[256];                 /* domain or host, ".example.org" (all below it) or "*" */
	enum tls_level level;
	struct tls_pins pins;           /* TLS_LEVEL_FINGERPRINT: two for each, as it may be of the certificate or of its key */
};
struct tls_rules {
	struct tls_rule *rule;
	size_t n;
};

/* "example.org verify", "* encrypt", "relay.example fingerprint=SHA-256 in hex, colons or not", up to 8 of these. NULL, or what is wrong. */
const char *tls_rule_parse(struct str text, struct tls_rule *out);
/* Exact before suffix (longer first) before "*"; of equal ones the first. NULL: none. */
const struct tls_rule *tls_rule_find(const struct tls_rules *, struct str name);
/* The rule for the hosts of a domain (ROUTE_MX) or for host `nth` of a route. NULL: none. */
const struct tls_rule *tls_rule_of(const struct tls_rules *, const struct route *, size_t nth);
/* What mx_find() is to ask: a rule for the domain says so instead of what stands in *self, one for a route's host in the route. */
void tls_rules_ask(const struct tls_rules *, struct route *, struct mx_self *);
/* For messages: "verify". A constant. */
const char *tls_level_name(enum tls_level);

#endif
