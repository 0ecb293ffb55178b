/* Lists in the DNS of addresses and of domains (RFC 5782): who is on them, with weights. An evaluator over facts, and what is remembered
 * of the lists themselves. */
#ifndef POLICY_DNSBL_H
#define POLICY_DNSBL_H

#include "fardel.h"
#include "lib/facts.h"
#include "lib/ip.h"

enum {
	DNSBL_LISTS = 8,                /* more would be asked a message than anybody needs */
	DNSBL_CODES = 8,                /* ranges of codes of one of them */
	DNSBL_DOMAINS = 2,
	DNSBL_WEIGHT_MAX = 1000,
	/* Most facts of one question, the limit for facts_new(): two tests of the list, and a code and words for each thing asked about. */
	DNSBL_LOOKUPS = DNSBL_LISTS * (2 + 2 * DNSBL_DOMAINS)
};

struct dnsbl_codes {
	unsigned char low[4], high[4];  /* of each octet */
};
struct dnsbl_list {
	char zone[DOMAIN_MAX + 1];
	bool domains;                   /* of domains, not of addresses */
	size_t ncodes;                  /* 0: all that a list may say but 127.0.0.1 */
	struct dnsbl_codes codes[DNSBL_CODES];
	int weight;                     /* below 0: a list of those who are welcome */
	/* What is remembered of it; dnsbl_skip() and dnsbl_remember() alone touch it. */
	int64_t ignored_until, second;  /* Unix seconds */
	unsigned asked;                 /* in that second */
	bool unwell;                    /* and it has been said */
};
/* "ZONE[=CODES] [WEIGHT]": codes are addresses in which each octet may be a range, separated by commas: "127.0.0.2-11,127.0.1.4". The
 * weight is 1 when not said. NULL, or what is wrong in words. */
const char *dnsbl_parse(struct str text, bool domains, struct dnsbl_list *out);

/* What is asked. Borrowed; constant over the runs of one question. */
struct dnsbl_query {
	const struct dnsbl_list *list;
	size_t n;                       /* at most DNSBL_LISTS */
	unsigned skip;                  /* bits of those that are not asked now: dnsbl_skip() */
	const struct ip *ip;            /* NULL: lists of addresses are not asked */
	struct str domain[DNSBL_DOMAINS];       /* ASCII; empty: none. What is no name in the DNS is not asked about */
};
/* Which lists are not asked at `now` (Unix seconds), since they are unwell or have been asked enough in this second. Counts the others
 * as asked. Call it once a question. */
unsigned dnsbl_skip(struct dnsbl_list *, size_t n, int64_t now);

struct dnsbl_result {
	int score;                      /* weights of the lists that name it */
	unsigned listed;                /* bits of them */
	unsigned unwell;                /* bits of lists that do not do what such a list does */
	const char *wrong[DNSBL_LISTS]; /* of those, in words */
	char words[200];                /* for the log: "zone:127.0.0.2 zone:127.0.0.4", cut to fit */
	char why[400];                  /* of the heaviest, with what its owner says; printable ASCII */
};
/* WAIT, or ACCEPT when *out is all set. Never REFUSE: what score is too much is the caller's business. A list counts once, however much of
 * what was asked about is on it, and only while its test entry is there and what never may be listed is not (RFC 5782 5). */
enum verdict dnsbl_check(struct facts *, const struct dnsbl_query *, struct dnsbl_result *out);
/* Lists that were unwell are not asked for a while, and the log says so once, and once when they are well again. */
void dnsbl_remember(struct dnsbl_list *, size_t n, unsigned skipped, const struct dnsbl_result *, int64_t now);

#endif
