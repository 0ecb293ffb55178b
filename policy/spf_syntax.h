/* SPF records as text: terms and macros (RFC 7208 4.5, 4.6.1, 7.1, 12). Pure functions; slices point into the text that was parsed. */
#ifndef POLICY_SPF_SYNTAX_H
#define POLICY_SPF_SYNTAX_H

#include "lib/str.h"

enum {
	SPF_RECORD_MAX = 8192,          /* octets: five times what the largest servers of mail publish */
	SPF_DOMAIN_MAX = 512,           /* of a domain with its macros, as it is written: what it costs to expand is bounded */
	SPF_TEXT_MAX = 512              /* of what macros are expanded to */
};

/* In the order of the letters of spf_letters. */
enum spf_macro {
	SPF_M_SENDER, SPF_M_LOCAL, SPF_M_SENDER_DOMAIN, SPF_M_DOMAIN, SPF_M_IP, SPF_M_VALIDATED, SPF_M_FAMILY, SPF_M_HELO,
	SPF_M_CLIENT, SPF_M_RECEIVER, SPF_M_TIME, SPF_MACROS    /* these three stand in explanations alone */
};

/* ---- terms */
enum spf_kind {
	SPF_ALL, SPF_INCLUDE, SPF_A, SPF_MX, SPF_PTR, SPF_IP4, SPF_IP6, SPF_EXISTS,     /* mechanisms */
	SPF_REDIRECT, SPF_EXP, SPF_OTHER                                                /* modifiers; the last: one that we do not know */
};
struct spf_term {
	struct str text;                /* as written */
	enum spf_kind kind;
	char qualifier;                 /* one of + - ? ~ */
	struct str domain;              /* with its macros; empty: the domain whose record this is */
	unsigned char addr[16];         /* ip4 (4 octets), ip6 */
	unsigned bits4, bits6;          /* of networks: 32 and 128 when nothing is said */
};
/* Is this text of a TXT record an SPF record? *terms gets what follows the version. */
bool spf_is_record(struct str txt, struct str *terms);
/* Takes the next term off *terms. False at their end, or with *wrong (else NULL) in words; out->text is what is wrong then. */
bool spf_next_term(struct str *terms, struct spf_term *out, const char **wrong);
/* All of them, as RFC 7208 4.6 wants it before any is looked at. NULL, or what is wrong; *where gets the term. */
const char *spf_terms_fault(struct str terms, struct str *where);

/* ---- macros */
/* What they stand for. An empty value is expanded to nothing. */
struct spf_values {
	struct str of[SPF_MACROS];
};
/* What macros were expanded to. Of a name the end counts, and is kept when there is no room; of other text the beginning. */
struct spf_text {
	bool name;
	size_t n;
	char p[SPF_TEXT_MAX];
};
/* Is that macro in a text? No for one that is not well formed. */
bool spf_has_macro(struct str text, enum spf_macro);
/* Expands a domain-spec that has been parsed. The result is cut from the left to 253 octets (RFC 7208 7.3) and has no dot at its end. */
struct str spf_expand_name(struct str domain, const struct spf_values *, struct spf_text *);
/* Expands an explanation. False: it is not well formed (RFC 7208 6.2: as if there were none). What macros bring in is as it was: any octets. */
bool spf_expand_text(struct str explanation, const struct spf_values *, struct spf_text *);

#endif
