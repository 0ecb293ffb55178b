/* DNS in our loop: name and type -> outcome, with a TTL cache, TCP when an answer is
 * truncated, several servers. Knows of the types that FACT_A .. FACT_TLSA name.
 *
 * Names are asked octet for octet and never completed with a search list: A-labels are the caller's
 * business. What cannot be a name in the DNS (empty, a label over 63, over 255 in all) is NO_NAME at once.
 * FACT_PTR is asked with an address as text ("192.0.2.1", "2001:db8::1"). */
#ifndef DNS_H
#define DNS_H

#include "lib/buf.h"
#include "lib/facts.h"

struct dns_config {
	const char *resolvers;          /* "127.0.0.1:5353 [::1]:53"; NULL: /etc/resolv.conf, re-read when it changes */
	const char *resolv_conf;        /* another path for it (tests); NULL: /etc/resolv.conf */
	bool trust_ad;                  /* believe the AD bit from a resolver that is not on loopback */
	unsigned timeout_ms;            /* first wait for an answer, doubled a round; 0: resolv.conf's, else 3000 */
	unsigned rounds;                /* times that all servers are asked; 0: resolv.conf's, else 3 */
	unsigned in_flight;             /* queries on their way at most, three quarters for strangers, others wait their turn; 0: 200 */
};

/* NULL when well, else what is wrong with the configuration. Strings are borrowed until dns_stop(). */
const char *dns_start(const struct dns_config *);
/* What is still being asked becomes UNKNOWN and all memory goes; dns_start() may follow. */
void dns_stop(void);
/* Appends the resolvers in use, for people: "127.0.0.1 (DNSSEC trusted), 192.0.2.1; 3000 ms, 3 rounds". */
bool dns_resolvers(struct buf *);
/* The source to hand to facts_source() for FACT_A .. FACT_TLSA. */
struct fact_source *dns_source(void);
void dns_forget(void);                          /* empties the cache */

/* The parser of answers, pure (tests and fuzzers call it): packet, and the question it must answer.
 * False: this is no answer to that question (the id is the caller's to check). Follows CNAMEs in whatever order
 * they come, keeps the order of records, leaves out broken ones; when only broken ones came, or the packet
 * itself is, the outcome is UNKNOWN. Records point into `store`, a buffer of the caller. */
enum { DNS_RECORDS = 64, DNS_STORE = 66000 };   /* records kept of an answer; room that every packet fits in */
struct dns_answer {
	enum outcome outcome;
	bool truncated, secure;         /* TC and AD as sent; truncated: ask again by TCP */
	int rcode;                      /* with the upper bits from EDNS */
	uint32_t ttl;                   /* seconds, clamped to 0..3600; negative answers 30..300; UNKNOWN 5 */
	const char *why;                /* UNKNOWN: in a word or two ("SERVFAIL") */
	char end[256];                  /* FOUND behind CNAMEs: whose records they are; else "" */
	size_t n;
	struct record record[DNS_RECORDS];
};
bool dns_parse(const unsigned char *packet, size_t n, struct str name, enum fact_kind, struct dns_answer *out,
	char *store, size_t room);

#endif
