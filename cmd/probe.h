/* What the settings name and the server asks while mail comes in: does it answer as such a thing does? For `fardel check`; blocks.
 * Called between decide_begin(), or filters with a host's name and lists do not answer, and dns_stop(). */
#ifndef CMD_PROBE_H
#define CMD_PROBE_H

#include "cmd/settings.h"

/* Calls the filter, agrees on options and takes leave, in 5 s or milter_connect_timeout. NULL, or what is wrong, in words good until the next call. */
const char *probe_milter(const struct settings *, const struct smtpd_milter *);

/* Looks for the test entries of a list (RFC 5782 5), in 10 s. NULL, or what is wrong with it, a constant. *ipv6: it knows addresses of IPv6, too.
 * *unknown: no resolver answers, so nothing can be said. */
const char *probe_list(const struct dnsbl_list *, bool *ipv6, bool *unknown);

#endif
