/* A relay for all mail: found by the domain of an address, and tried up to the login. Nothing is sent. */
#ifndef CMD_RELAY_H
#define CMD_RELAY_H

#include "cmd/settings.h"

struct relay {
	char host[256];
	unsigned port;                  /* 0: not known yet */
	bool tls_first;                 /* TLS from the first octet on; else STARTTLS. With another port than 465 and 587 it is found out */
};
/* How far a host let us come. */
enum relay_step { RELAY_ADDRESS, RELAY_CONNECT, RELAY_TLS, RELAY_LOGIN, RELAY_IN };

/* "relay.example", "relay.example:587", "[relay.example]:465". NULL, or what is wrong. */
const char *relay_parse(struct str, struct relay *);
/* Appends it as a rule: "* smtps://user:password@host:465", the password in clear, or as a file. user, password or file NULL: left out. */
bool relay_rule(struct buf *, const struct relay *, const char *user, const char *password, const char *file);
/* Calls the hosts of a route, one after the other, as the queue would, and logs in where the route has a login. RELAY_IN, or the step that
 * failed at the last of them and *why. At most connect_s for a connection and 30 s for a reply; 90 s for a host. */
enum relay_step relay_try(const struct settings *, const struct route *, unsigned connect_s, struct reply *why);
/* The same, but of its first two addresses: is there a way out at all? */
enum relay_step relay_reach(const struct settings *, const struct route *, unsigned connect_s, struct reply *why);
/* Finds port and kind of TLS where they are not known, without a login. As above. */
enum relay_step relay_find(const struct settings *, struct relay *, struct reply *why);
/* What the domain names for those who send mail (SRV, RFC 6186, RFC 8314), else what answers at 465 or 587 of its usual names. */
bool relay_suggest(const struct settings *, struct str domain, struct relay *);
/* "connecting to the host", and what can be done about it; NULL: nothing is known. */
const char *relay_step_name(enum relay_step);
const char *relay_remedy(enum relay_step, const struct reply *why);

#endif
