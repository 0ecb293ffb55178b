/* MTA-STS (RFC 8461): what a domain says, over HTTPS, of its mail hosts and of TLS with them. Parsers that are pure, and an
 * evaluator over facts. */
#ifndef DELIVER_MTASTS_H
#define DELIVER_MTASTS_H

#include "fardel.h"
#include "lib/buf.h"
#include "lib/facts.h"

enum {
	MTASTS_TEXT = 65536,            /* octets of a policy at most (RFC 8461 3.3) */
	MTASTS_ID = 32,                 /* octets of an id at most (3.1) */
	MTASTS_AGE_MAX = 31557600       /* seconds: one year (3.2) */
};

enum mtasts_mode { MTASTS_NONE, MTASTS_TESTING, MTASTS_ENFORCE };
struct mtasts_policy {
	enum mtasts_mode mode;
	uint32_t max_age;               /* seconds */
	struct str text;                /* that it was read from: its "mx" lines say which hosts are allowed */
	bool unsure;                    /* of mtasts_find(): mode is NONE as it could not be found out whether there is one */
	const char *unfetched;          /* likewise: one is announced and could not be fetched, for this reason; NULL: it is not so */
};

/* A TXT record at _mta-sts.DOMAIN. NULL: *id is what it says, borrowed. Else what is wrong with it (RFC 8461 3.1). */
const char *mtasts_record(struct str txt, struct str *id);
/* The text of a policy (3.2). Lines end by LF or CR LF; fields that are not known are passed over; of fields that come twice the first
 * counts, of "mx" all. A max_age beyond the year is the year. NULL, or what is wrong; the policy borrows the text. */
const char *mtasts_parse(struct str text, struct mtasts_policy *out);
/* May this host get the domain's mail? "*." at the start of a pattern stands for exactly one label (4.1). */
bool mtasts_allows(const struct mtasts_policy *, struct str host);
/* Writes it as mtasts_parse() reads it, with what it knows and nothing else; max_age and a line end come last, so that what was cut
 * off somewhere is no policy. False: no room. */
bool mtasts_print(const struct mtasts_policy *, struct buf *out);

/* The policy that is in force for a domain (in lower case, as the DNS is asked): WAIT, or ACCEPT with *out. Its text is valid as long as
 * the facts. Asks for FACT_TXT at _mta-sts.DOMAIN and for FACT_POLICY by "DOMAIN ID", the ID as that record says it, or "" without
 * a record that counts. Never fails: who has no policy that could be had has MTASTS_NONE. */
enum verdict mtasts_find(struct facts *, struct str domain, struct mtasts_policy *out);

#endif
