/* A scripted peer: a server on a local socket that plays a conversation inside our loop and notices
 * every difference. One step a line:
 *
 *   S: 220 mx.test         sends the line and CR LF
 *   W: 220 mx\r\n          sends exactly this (\r \n \t \\ \xHH)
 *   100 S: 250-more        a number before S: or W: sends it so often
 *   C: QUIT                the client's next line is this one
 *   C: MAIL FROM:<a@x>*    ... or begins so
 *   M:                     the message set by peer_message() comes, dots doubled, and its final dot
 *   B:                     ... or as it is, as behind BDAT
 *   take 1000              takes so many octets, whatever they are
 *   quiet                  the client sends nothing for a second
 *   wait 60                does nothing for so many seconds, not even read
 *   drip 60 220 mx\r\n     sends one octet every 60 seconds
 *   tls                    goes over to TLS as a server behind what it has said; the client is to do the same
 *   unmask                 what follows is sent and read in clear again
 *   deaf                   reads no more
 *   shut                   ends its half of the connection
 *   close                  closes the connection
 *   eof                    the client closes the connection
 *
 * Steps that send do not wait for the client, so a reply may come before its command; several C: in a row are
 * met only by a client that does not wait for replies. Empty lines and those that begin with # are skipped.
 * Trouble ends the connection, so that a test never hangs. */
#ifndef TESTS_PEER_H
#define TESTS_PEER_H

#include <sys/socket.h>

#include "lib/str.h"

struct peer;

/* Listens; takes one connection after the other, each going on in the script where the one before was closed.
 * The script and the message are borrowed. Ends the program when the system refuses. */
struct peer *peer_new(const char *script);
/* The same on TCP, 127.0.0.1 and a port of the kernel's choice. */
struct peer *peer_new_tcp(const char *script);
/* ... and on an address of its own, as several hosts of one domain share a port: one of peer_port(). */
struct peer *peer_new_at(const char *script, const char *address, unsigned port);
/* A port that nobody listens on, at any address of this machine, and that the system gives to no other process until peer_port() is
 * called again or this one ends. Who listens on it sets SO_REUSEADDR. */
unsigned peer_port(void);
const struct sockaddr *peer_address(const struct peer *, socklen_t *);
void peer_message(struct peer *, struct str message);
void peer_octets(struct peer *);                /* each octet leaves in a write and a turn of its own */
void peer_cut(struct peer *, unsigned step);    /* closes the connection instead of doing this step (from 0) */
unsigned peer_steps(const struct peer *);       /* steps of the script */
/* NULL: all was played as written. Turns the loop for a while when something is missing. */
const char *peer_trouble(struct peer *);
void peer_free(struct peer *);

#endif
