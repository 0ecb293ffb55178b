/* How much one network, or one who guesses a user's password, may ask of us: counts in memory, of classes of addresses: IPv4
 * /32, /26 and /21, IPv6 /64, /48 and /32. Who has one address has its neighbours too, so each class is counted; a wider one
 * may have 3 and 9 times as much.
 *
 * Pure but for memory: the time is handed in, monotonic seconds. Memory has a ceiling and nobody can choose who collides
 * with whom: a network or a user is known by a keyed hash alone, and what was quiet longest makes place for what is new.
 * An address that is neither IPv4 nor IPv6 (NULL, a local socket) is not counted. IPv4 inside IPv6 counts as IPv4. */
#ifndef POLICY_LIMITS_H
#define POLICY_LIMITS_H

#include <sys/socket.h>

#include "lib/buf.h"
#include "lib/str.h"

enum {
	LIMIT_CLASSES = 3,
	LIMIT_LOGINS = 10, LIMIT_LOGINS_DAY = 50,       /* failed ones of the narrowest class, a minute and in 24 hours */
	LIMIT_LOGINS_USER = 3,                          /* times as many for one user, from wherever */
	LIMIT_LOGINS_KNOWN = 10,                        /* times as many a day for a user from where he has logged in before */
	LIMIT_REFUSED = 400                             /* recipients refused an hour, with no message taken */
};

struct limits;

/* records: the ceiling, at least 64; one needs 56 octets, an address up to three records. Returns owned, or NULL (no memory). */
struct limits *limits_new(size_t records);
void limits_free(struct limits *);                      /* NULL is fine */

/* Most of the narrowest class; 0: no limit. */
struct limits_most {
	unsigned open;                                  /* connections at a time */
	unsigned connects;                              /* connections a minute */
};

/* One connection that is counted; zeros: it is not. */
struct limits_visit { uint32_t record[LIMIT_CLASSES]; };

/* A connection has come. NULL: it may stay, and is counted as open until limits_leave(). Else why not, in words for the peer,
 * and nothing is counted. */
const char *limits_enter(struct limits *, const struct limits_most *, const struct sockaddr *, int64_t now, struct limits_visit *);
void limits_leave(struct limits *, struct limits_visit *);              /* twice is once */

/* A recipient was refused. False: there were so many from there that no more should be asked. */
bool limits_refused(struct limits *, const struct sockaddr *, int64_t now);
/* One more message, within an hour, for a recipient or from a sender's domain; names are compared octet for octet. False: that would be more
 * than `most`, and it is not counted. */
enum limit_what { LIMIT_RCPT, LIMIT_DOMAIN };
bool limits_take(struct limits *, enum limit_what, struct str name, unsigned most, int64_t now);
/* A message was taken: what was refused to that address before is forgotten. */
void limits_taken(struct limits *, const struct sockaddr *);

/* Logins. Ask before a password is looked at; false: whether it is right must not be told. Names are compared octet for octet,
 * those of nobody count too. Neither the guesses of others nor those at his name from elsewhere lock a user out who has logged in from the
 * address within 30 days, and his own old password, which some device says again and again, locks out nobody else there. */
bool limits_login_allowed(struct limits *, const struct sockaddr *, struct str user, int64_t now);
void limits_login_failed(struct limits *, const struct sockaddr *, struct str user, int64_t now);
void limits_login_ok(struct limits *, const struct sockaddr *, struct str user, int64_t now);   /* forgets what failed from that address */

size_t limits_records(const struct limits *);           /* in use */

/* All that still counts, as octets for limits_read() of the same program on this machine; wall: the time that goes on while it does not run, Unix
 * seconds. False: no memory. */
bool limits_print(const struct limits *, int64_t now, int64_t wall, struct buf *);
/* Into a table that has counted nothing yet. False: that is not whole, or not ours; nothing is taken. */
bool limits_read(struct limits *, struct str, int64_t now, int64_t wall);

#endif
