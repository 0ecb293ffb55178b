/* The hosts to try for a destination, in order: MX by preference with chance among equals,
 * implicit MX, null MX, address literals, ourselves in the list (RFC 5321 5.1, RFC 7505). Evaluator over facts. */
#ifndef DELIVER_MX_H
#define DELIVER_MX_H

#include <sys/socket.h>

#include "deliver/dane.h"
#include "deliver/mtasts.h"
#include "deliver/route.h"
#include "fardel.h"
#include "lib/facts.h"

enum {
	MX_HOSTS = 20,                  /* the best of a longer list */
	MX_ADDRESSES = 40,              /* shared out evenly among the hosts */
	MX_LOOKUPS = 3 + 4 * MX_HOSTS   /* most that one question asks: the limit for facts_new() */
};

struct mx_address {
	char host[256];                 /* MX host name, "" for an address literal */
	size_t nth;                     /* of the hosts, for mx_result.dane and .allowed */
	size_t rank;                    /* equal for hosts of equal preference: none of them is better than the others */
	struct sockaddr_storage addr;   /* with the port */
	socklen_t len;
};
struct mx_result {
	size_t n;
	struct mx_address *at;
	struct dane *dane;              /* what DNSSEC demands of each host */
	bool partial;                   /* of a host (n > 0: of another one) the addresses, or its demands, cannot be found out now */
	enum mtasts_mode policy;        /* what the domain's policy (MTA-STS) demands, and whether each host is one of those it names; */
	bool allowed[MX_HOSTS];
	bool unsure;                    /* it could not be found out whether there is one */
	/* For reports: why a policy that is announced could not be fetched, and a host that was left out since its TLSA records could not
	 * be had (why says so, even if n > 0); "": it is not so. */
	char unfetched[200], unknown_tls[256];
	/* n == 0: why. reply.code 5xx: permanent, 4xx: try later. */
	struct reply why;
	bool local_fault;               /* our resolver's or our smarthost's fault: never permanent, counts as no attempt */
};
/* Which family of addresses is called, and which first. */
enum inet { INET_PREFER4, INET_PREFER6, INET_ONLY4, INET_ONLY6 };
/* What must be recognised as ourselves. Borrowed. */
struct mx_self {
	const char *hostname;
	bool dane, mta_sts;             /* ask for it */
	enum inet inet;
	bool (*is_own)(const struct sockaddr *);        /* address and port that we listen on; NULL: none */
};

/* WAIT until enough is known, then ACCEPT (hosts in out->at) or REFUSE (out->why). Not for ROUTE_LOCAL.
 * seed: chance among equal preferences, constant over the runs of one question.
 * A host's IPv4 and IPv6 addresses alternate, the preferred family first. Only one family: a host without an address of it has none. The host of a configured route is taken at its word:
 * it is looked for in /etc/hosts first, not compared with ourselves, and when it cannot be found the fault is local. */
enum verdict mx_find(struct facts *, const struct route *, const struct mx_self *, uint64_t seed, struct mx_result *out);
/* What out points to is valid until the next mx_find(). This is a copy for longer, all in one block for free(); NULL: no memory. */
struct mx_result *mx_keep(const struct mx_result *);

#endif
