/* The hosts that mail goes to: servers of SMTP and LMTP on loopback, a thread for each connection, that fail at random. */
#ifndef TESTS_SOAK_PEERS_H
#define TESTS_SOAK_PEERS_H

#include <stdbool.h>

enum peer {
	PEER_H0, PEER_H1, PEER_H2, PEER_H3, PEER_H4,    /* those that MX records name */
	PEER_LMTP, PEER_ROUTE,
	PEER_BACK,              /* where reports go: it refuses nothing for good */
	PEERS
};

/* At 127.0.1.1 and on, all at this port. NULL, or why there are none. pause: the longest that one stands still, in seconds. */
const char *peers_open(unsigned port, double pause);
const char *peer_address(enum peer);
/* A host that is down refuses connections; those that are open go on. */
void peer_down(enum peer, bool);
void peers_behave(void);                /* no more faults */

#endif
