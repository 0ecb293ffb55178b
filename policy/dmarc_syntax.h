/* What DMARC reads: records (RFC 9989 4.7, 4.8), the addresses for reports in them, and the domains of From. Pure. */
#ifndef POLICY_DMARC_SYNTAX_H
#define POLICY_DMARC_SYNTAX_H

#include "fardel.h"
#include "lib/buf.h"

enum {
	DMARC_AUTHORS = 4,              /* different domains in From that are looked at; with more it is not told who has written */
	DMARC_FROM_MAX = 16 << 10,      /* octets of From fields that are read */
	DMARC_RECORD_MAX = 4096,        /* octets; a longer record is malformed */
	DMARC_RI = 86400                /* seconds between reports when ri= is not said (RFC 7489 6.3) */
};

enum dmarc_policy { DMARC_NOT_SAID, DMARC_P_NONE, DMARC_P_QUARANTINE, DMARC_P_REJECT };
const char *dmarc_policy_name(enum dmarc_policy);       /* "quarantine"; not said: "" */

/* ---- a record */
enum { DMARC_FO_0 = 1, DMARC_FO_1 = 2, DMARC_FO_DKIM = 4, DMARC_FO_SPF = 8 };
struct dmarc_record {
	enum dmarc_policy p, sp, np;    /* p is always said */
	bool strict_dkim, strict_spf;   /* adkim=s, aspf=s */
	char psd;                       /* 'y', 'n' or 'u' */
	bool testing;                   /* t=y */
	unsigned pct;                   /* 0..100, 100 when not said (RFC 7489 6.3) */
	unsigned fo;                    /* DMARC_FO_ bits */
	uint32_t ri;                    /* seconds, DMARC_RI when not said */
	struct str rua, ruf;            /* as they stand in the text: for dmarc_uri_next(); empty: none of use */
};
bool dmarc_is_record(struct str text);          /* it begins with v=DMARC1: what else is at that name is none of ours */
/* What is unknown or makes no sense is ignored, as 4.8 wants; NULL, or why the record as a whole has no meaning. Borrows text. */
const char *dmarc_record_parse(struct str text, struct dmarc_record *out);

/* An address for reports. False at the end of the list. What is no mailto: with an address is left out. */
struct dmarc_uri {
	struct str text;                /* of the URI, without the size */
	char address[ADDR_MAX + 1];     /* decoded */
	uint64_t size_max;              /* octets: "!10m" (obsolete); 0: none said */
};
bool dmarc_uri_next(struct str *list, struct dmarc_uri *out);

/* ---- who has written a message: the domains of its From field, an address in a display name not counted ("boss@y <a@x>"). Where nothing
 * in it is an address, everything behind an @ is. The header goes by in pieces of any size, lines end in CR LF. */
struct dmarc_author {
	size_t n;                       /* 0: no From, or none with a domain ("undisclosed:;") */
	char domain[DMARC_AUTHORS][DOMAIN_MAX + 1];     /* different ones, lower case, A-labels */
	char first[ADDR_MAX + 1];       /* the first address as written, cut to nothing when too long; "": none */
	unsigned fields;                /* From fields */
	bool report;                    /* Subject has the form that reports of DMARC and TLS must have (RFC 7489 7.2.1.1, RFC 8460 5.3) */
	const char *unclear;            /* why nobody can say who it is, in words; NULL: one can */
};
struct dmarc_reader {
	unsigned char state, matched;   /* octets of the name, or of what Subject begins with */
	bool subject;                   /* it is the name of that field */
	bool report;
	unsigned fields;
	struct buf from;                /* values of From fields, a comma behind each */
};
void dmarc_read_begin(struct dmarc_reader *);
bool dmarc_read(struct dmarc_reader *, struct str);     /* false: the header is over, nothing more is looked at */
/* Once, at the end of the header or later; frees what was held. */
void dmarc_read_end(struct dmarc_reader *, struct dmarc_author *out);

#endif
