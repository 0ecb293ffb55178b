/* The policies of other domains (MTA-STS, RFC 8461): fetched by HTTPS, kept on disk, and handed out as facts. */
#ifndef DELIVER_STSCACHE_H
#define DELIVER_STSCACHE_H

#include <sys/socket.h>

#include "deliver/mtasts.h"
#include "deliver/mx.h"

enum {
	STSCACHE_DOMAINS = 2000,        /* known at a time; the one that was not asked for longest goes */
	STSCACHE_FETCHES = 40,          /* under way at a time */
	STSCACHE_WAIT_MS = 15000,       /* that an answer waits for a fetch; mail is not held longer */
	STSCACHE_FETCH_MS = 60000,      /* that a fetch takes at most (RFC 8461 3.3) */
	STSCACHE_RETRY_S = 300,         /* after a fetch that failed (3.3) */
	STSCACHE_REFRESH_S = 86400,     /* or half of max_age if that is less: then it is fetched again, whether mail comes or not */
	STSCACHE_UNUSED_S = 30 * 86400  /* but not when no mail has come for so long */
};

struct stscache_config {                /* borrowed; may change while it runs: the next fetch goes by it */
	struct tls_trust *trust;        /* whom policy hosts are certified by */
	const struct sockaddr_storage *source;  /* [2], as in struct client_config; or NULL */
	unsigned port;                  /* 0: 443 */
	enum inet inet;                 /* which addresses of policy hosts are called */
};

/* Keeps policies in the directory mta-sts below `dir` (a descriptor, borrowed), one file a domain, as text:
 *
 *	id: 20260831085700Z
 *	fetched: 1796000000 (2026-11-30T09:46:40Z)
 *	version: STSv1
 *	mode: enforce
 *	mx: mail.example.org
 *	max_age: 604800
 *
 * What cannot be written is kept in memory, 1 MB in all. A file is read whenever its domain is asked for, so one that is removed is
 * forgotten. Its time of modification is when that was last. What is no such file is left alone, and the policy in it is not there. 0 or -1 with errno. */
int stscache_start(const struct stscache_config *, int dir);
/* Fetches end; who waits gets no policy. stscache_start() may follow. */
void stscache_stop(void);

/* FACT_POLICY, by "DOMAIN ID": the policy of the domain, if it has one with that id; a fetch that fails, or takes too long, leaves the
 * one that is known, whatever its id, while its max_age lasts (RFC 8461 5.1). An empty ID fetches nothing. FOUND with one record, the
 * text; NO_DATA: none is known, and none is to be had; UNKNOWN: none is known, as it could not be fetched. */
struct fact_source *stscache_source(void);

#endif
