/* SMTP TLS reporting (RFC 8460): what came of TLS with the mail hosts of other domains, kept as lines in a file a day, counted from these when
 * the day is over, and told to the domains that want to know. Pure but for the line that is added. */
#ifndef POLICY_TLSRPT_H
#define POLICY_TLSRPT_H

#include "lib/daily.h"
#include "lib/facts.h"
#include "policy/tally.h"

enum {
	TLSRPT_LINE = 4 << 10,          /* octets of a line; what is longer is not kept */
	TLSRPT_DAY_MAX = 16 << 20,      /* octets of a file: a hundred thousand connections, then none of that day is added */
	TLSRPT_DAYS = 8,                /* older files are removed */
	TLSRPT_POLICY = 2400,           /* octets of a policy, with the NUL: 16 TLSA records */
	TLSRPT_WHY = 200,               /* octets kept of the words for a failure, with the NUL */
	/* Of a day: so many domains, policies of one (its hosts have TLSA records each of their own), details of a policy, and of both in all. */
	TLSRPT_DOMAINS = 1000,
	TLSRPT_POLICIES = 32,
	TLSRPT_DETAILS = 20,
	TLSRPT_IN_ALL = 10000,
	TLSRPT_RCPTS = 4                /* addresses that one domain's report goes to */
};

/* What spoke for the session (4.4, policy-type). */
enum tlsrpt_type { TLSRPT_NO_POLICY, TLSRPT_STS, TLSRPT_TLSA, TLSRPT_TYPES };
/* What came of it (4.3). */
enum tlsrpt_result {
	TLSRPT_OK,
	TLSRPT_NO_STARTTLS, TLSRPT_OTHER_HOST, TLSRPT_EXPIRED, TLSRPT_NOT_TRUSTED, TLSRPT_FAILED,
	TLSRPT_TLSA_INVALID, TLSRPT_DNSSEC_INVALID, TLSRPT_DANE_REQUIRED,
	TLSRPT_STS_NOT_FETCHED,         /* for whatever reason: sts-policy-invalid and sts-webpki-invalid are among its words */
	TLSRPT_RESULTS
};
extern const char *const tlsrpt_type_name[TLSRPT_TYPES];
extern const char *const tlsrpt_result_name[TLSRPT_RESULTS];    /* as the RFC has them; TLSRPT_OK: "ok" */

/* One session, or attempt to have one. Borrowed. */
struct tlsrpt_session {
	int64_t time;                   /* Unix seconds */
	struct str domain;              /* of the recipients, lower case */
	enum tlsrpt_type type;
	enum tlsrpt_result result;
	struct str mx, ip;              /* the host, and "" when none was called */
	struct str policy;              /* TLSA records as "3 1 1 0123ab...", commas between them */
	struct str why;                 /* of a failure, in words */
};
/* Appends the line with its LF (doc/QUEUE has the format). False: it is too long, or no memory; nothing was added. */
bool tlsrpt_print(struct buf *, const struct tlsrpt_session *);

/* Makes the directory `tlsrpt` in `dir`. 0, or -1 with errno. daily_close() ends it. */
int tlsrpt_open(struct daily *, int dir);
void tlsrpt_keep(struct daily *, const struct tlsrpt_session *);

/* ---- counting a day */
struct tlsrpt_detail {
	enum tlsrpt_result result;
	char mx[DOMAIN_MAX + 1], ip[48], why[TLSRPT_WHY];
	uint64_t n;
};
struct tlsrpt_policy {
	enum tlsrpt_type type;
	char mx[DOMAIN_MAX + 1];        /* TLSRPT_TLSA: whose records they are */
	char *text;                     /* what it says, commas or line ends between its parts; owned */
	uint64_t good, bad;
	size_t ndetails;
	struct tlsrpt_detail *detail;
};
struct tlsrpt_domain {
	struct tally_domain tally;      /* policies and details are counted in all */
	size_t npolicies;
	struct tlsrpt_policy *policy;
};
/* Counts a session, or that a report is sent; a line that is none is passed over. */
void tlsrpt_count(struct tally *, struct str line);
void tlsrpt_clear(struct tally_domain *);                       /* for tally_free() */
/* The policy that the domain's sessions under MTA-STS went by. False: no memory. */
bool tlsrpt_domain_policy(struct tlsrpt_domain *, struct str text);

/* ---- the report */

/* What the TXT records at _smtp._tls.DOMAIN say of where reports go: a list of URIs, borrowed. False: nowhere (3). */
bool tlsrpt_rua(const struct fact *txt, struct str *rua);

struct tlsrpt_report {                  /* borrowed */
	const char *hostname;           /* ours */
	const char *contact;            /* an address */
	const struct tlsrpt_domain *domain;
	const char *const *to;          /* addresses */
	size_t nto;
	int32_t day;                    /* since 1970 */
	int64_t now;
};
bool tlsrpt_json(struct buf *, const struct tlsrpt_report *);           /* 4.4 */
/* The whole message (5.3), the report in it compressed where the build can do that. False: no memory. */
bool tlsrpt_message(struct buf *, const struct tlsrpt_report *);

#endif
