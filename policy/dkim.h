/* DKIM: signatures of a message that goes by in pieces (RFC 6376, 8301, 8463, 8616), its ARC chain (policy/arc.h), and what signing needs of it.
 * Lines end in CR LF.
 * Memory is bounded by DKIM_HEADER_MAX for a header until it is whole, and a few kB afterwards; time by the octets that go by and
 * DKIM_SIGNATURES. */
#ifndef POLICY_DKIM_H
#define POLICY_DKIM_H

#include "fardel.h"
#include "lib/facts.h"
#include "lib/hash.h"
#include "lib/pubkey.h"

enum {
	DKIM_SIGNATURES = 8,            /* of a message that are evaluated: the first ones */
	DKIM_HEADER_MAX = 256 << 10,    /* octets of a header in which signatures are looked for */
	DKIM_FIELD_MAX = 16 << 10,      /* octets of one DKIM-Signature */
	DKIM_TAGS = 40,                 /* in one list */
	DKIM_RECORDS = 4,               /* key records at one name that are tried */
	DKIM_LOOKUPS = DKIM_SIGNATURES + 51,    /* keys: of signatures, and of a chain of 50 sets */
	DKIM_DIGEST = 32,
	DKIM_NO_BODY = DKIM_SIGNATURES + 1
};

/* ---- lists of tags (3.2) */
struct dkim_tag {
	struct str name, value;         /* without the white space around them */
	struct str raw;                 /* all between = and ; */
};
struct dkim_tags {
	size_t n;
	struct dkim_tag tag[DKIM_TAGS];
};
/* Strict: no name twice, none without =, white space where it may be. UTF-8 is allowed in values (RFC 8616). NULL, or what is wrong. */
const char *dkim_tags_parse(struct str text, struct dkim_tags *out);
const struct dkim_tag *dkim_tag(const struct dkim_tags *, const char *name);    /* or NULL */
/* Takes the next item of a list separated by colons, without white space around it; false: there is none. */
bool dkim_next_item(struct str *rest, struct str *item);

/* ---- canonical forms (3.4), hashed */
enum dkim_canon { DKIM_SIMPLE, DKIM_RELAXED };

struct dkim_body {
	enum dkim_canon canon;
	uint64_t limit;                 /* octets that are hashed (l=) */
	uint64_t n;                     /* octets of the canonical form */
	uint64_t lines;                 /* line ends that count once something follows them */
	bool cr, blank;                 /* the same of a CR, and of white space */
	struct hashing hash;
};
void dkim_body_begin(struct dkim_body *, enum dkim_canon, uint64_t limit);
void dkim_body_add(struct dkim_body *, struct str);             /* pieces of any size */
/* The digest; n is final when no more than `limit`, else some number above it. */
void dkim_body_end(struct dkim_body *, unsigned char digest[DKIM_DIGEST]);

/* Octets of a message's header with the empty line that ends it, or all of them when there is none. Only an empty line is its end. */
size_t dkim_header_end(struct str message);

/* The fields of a header, which are taken by name from the bottom up (5.4.2). */
struct dkim_fields;
/* Borrows the header, which may end in its empty line. NULL, with *why: no memory, or a line in it is no field. */
struct dkim_fields *dkim_fields_new(struct str header, const char **why);
void dkim_fields_free(struct dkim_fields *);                    /* NULL: nothing */
size_t dkim_fields_count(const struct dkim_fields *, const char *name);         /* in lower case */
struct str dkim_fields_last(const struct dkim_fields *, const char *name);      /* the lowest, whole; none: empty */
/* Begins a hash with the fields named by an h= ("from : to"); a name without a field left counts for nothing, and so does the signature's
 * own field (or nothing, empty). */
void dkim_fields_hash(struct dkim_fields *, enum dkim_canon, struct str names, struct str own, struct hashing *);
/* Ends it with the signature's own field, without its line end and the value of its b=: that is `raw`, a part of it. False: no memory. */
bool dkim_own_hash(struct hashing *, enum dkim_canon, struct str own, struct str raw, unsigned char digest[DKIM_DIGEST]);
void dkim_field_hash(struct hashing *, enum dkim_canon, struct str whole);       /* adds one */

/* ---- a signature (3.5) */
enum dkim_result {                      /* RFC 8601 2.7.1 */
	DKIM_NONE,                      /* not judged yet */
	DKIM_PASS,
	DKIM_FAIL,                      /* it is not of this message */
	DKIM_POLICY,                    /* it holds, but for a part of the body alone (l=) */
	DKIM_NEUTRAL,                   /* its algorithm is not known here, or its key is marked as a test and it does not hold */
	DKIM_TEMPERROR,                 /* no key could be had now */
	DKIM_PERMERROR                  /* it or its key is malformed, revoked, expired, too weak, or there is none */
};
extern const char *const dkim_result_name[];

struct dkim_signature {
	enum dkim_result result;
	char why[200];                  /* in words, printable ASCII */
	/* What is known of it. Empty where it could not be read. */
	char domain[DOMAIN_MAX + 1], selector[DOMAIN_MAX + 1];   /* d=, s=: lower case, A-labels */
	char identity[ADDR_MAX + 1];    /* i= as written; "": none */
	char algorithm[32];             /* a= as written */
	enum key_kind kind;
	enum dkim_canon header, body;
	uint64_t limit;                 /* l=; UINT64_MAX: none */
	int64_t time, expires;          /* t=, x=; -1: none */
	size_t n;                       /* octets of b= */
	unsigned char octets[SIGNATURE_MAX];
	unsigned char header_digest[DKIM_DIGEST], body_digest[DKIM_DIGEST];     /* the message's; bh= */
	size_t place;                   /* which of the bodies; DKIM_NO_BODY: an ARC-Seal has none */
	unsigned instance;              /* i= of ARC */
	char chain;                     /* cv= of an ARC-Seal: 'n'one, 'p'ass, 'f'ail */
	/* Once judged. */
	unsigned bits;                  /* of its key; 0: there was none */
	bool secure;                    /* the key came with DNSSEC */
	bool for_tlsrpt;                /* it holds for all of the message, and its key may sign reports of TLS (RFC 8460 3), whatever else */
};
/* Of a field's value; what it may hold alone, nothing of the message. *names: its h=, *raw: see dkim_own_hash(). False: result and
 * why say what is wrong. */
bool dkim_signature_parse(struct str value, struct dkim_signature *out, struct str *names, struct str *raw);
/* The same of the fields of ARC, which have much of that in common (RFC 8617 4.1). */
enum dkim_field { DKIM_FIELD = 1, DKIM_ARC_MESSAGE = 2, DKIM_ARC_SEAL = 4 };
bool dkim_field_parse(enum dkim_field, struct str value, struct dkim_signature *out, struct str *names, struct str *raw);

/* ---- a key record (3.6.1) */
struct dkim_key {
	enum key_kind kind;
	bool revoked;                   /* p= is empty */
	bool testing;                   /* t=y */
	bool exact;                     /* t=s: i= must have the domain of d= */
	bool email, tlsrpt;             /* s=: what it may sign */
	size_t n;
	unsigned char octets[1200];
	struct public_key key;          /* into octets, when not revoked */
};
/* NULL, or what is wrong with it. */
const char *dkim_key_parse(struct str record, struct dkim_key *out);

/* ---- a message */
struct dkim;
struct dkim *dkim_new(void);                            /* NULL: no memory */
void dkim_free(struct dkim *);                          /* NULL: nothing */
void dkim_add(struct dkim *, struct str);               /* pieces of any size */
void dkim_end(struct dkim *);                           /* once */
/* Evaluator over facts: asks for keys as soon as the header is there. False: run it again when facts have come. Before dkim_end()
 * it judges only what needs no body. A table of DKIM_LOOKUPS questions is enough. */
bool dkim_judge(struct dkim *, struct facts *, int64_t now);
void dkim_give_up(struct dkim *);                       /* what is not judged by now will not be: temperror */
/* Signatures, first one first. */
size_t dkim_count(const struct dkim *);
const struct dkim_signature *dkim_at(const struct dkim *, size_t i);
size_t dkim_passed_over(const struct dkim *);           /* further ones that were not looked at */
struct arc;
const struct arc *dkim_arc(const struct dkim *);        /* NULL: there is no field of ARC in it */
/* Why no signature could be looked for: DKIM_PERMERROR or, a fault of ours, DKIM_TEMPERROR, and *why. DKIM_NONE: nothing was in the way. */
enum dkim_result dkim_fault(const struct dkim *, const char **why);
/* For policy/arc.c. Judges one that is none of those above, as dkim_judge() does. */
bool dkim_judge_one(struct dkim *, struct dkim_signature *, struct facts *, int64_t now);
/* For who has many of these at a time: the octets that it holds of a header, and how to make it let go of them; why is a constant. */
size_t dkim_holds(const struct dkim *);
void dkim_abandon(struct dkim *, const char *why);

#endif
