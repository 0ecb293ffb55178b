/* The usual names of containers for a host that takes all mail: RELAYHOST, RELAYHOST_USERNAME, RELAYHOST_PASSWORD and
 * RELAYHOST_PASSWORD_FILE in the environment. */
#ifndef CMD_RELAYHOST_H
#define CMD_RELAYHOST_H

#include "lib/buf.h"

#define RELAYHOST "RELAYHOST"
#define RELAYHOST_USERNAME "RELAYHOST_USERNAME"
#define RELAYHOST_PASSWORD "RELAYHOST_PASSWORD"
#define RELAYHOST_PASSWORD_FILE "RELAYHOST_PASSWORD_FILE"

enum { RELAYHOST_RULE = 8192 };         /* octets, most: hosts, and user, password and path with each octet as %XX */

/* Appends what stands for them as a route ("* smtp+starttls://user:secret@host:587"), nothing when none is set; the caller wipes it.
 * NULL, or what is wrong and with which variable. Never shows a password. */
const char *relayhost_rule(struct buf *rule, const char **variable);

#endif
