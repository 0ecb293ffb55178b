/* The system's table of hosts, /etc/hosts: what the administrator says of names, for the hosts of configured routes. */
#ifndef DELIVER_HOSTS_H
#define DELIVER_HOSTS_H

#include "lib/facts.h"

/* FACT_HOSTS: FOUND with the addresses of a name (4 or 16 octets each, in the order of the file), NO_NAME when the file does not
 * know it or cannot be read. The file is read at each question. */
struct fact_source *hosts_source(void);
void hosts_file(const char *path);              /* another one; borrowed. NULL: /etc/hosts */

#endif
