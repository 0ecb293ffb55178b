/* The message that brings a domain a report of ours (RFC 8460 5.3, RFC 9990, RFC 7489 7.2.1.1): a few words for people, and the report
 * itself, compressed where the build can do that. Pure. */
#ifndef POLICY_REPORTMAIL_H
#define POLICY_REPORTMAIL_H

#include "lib/buf.h"

/* What all reports of a kind have in common. */
struct reportmail_kind {
	const char *multipart;          /* behind "Content-Type: multipart/" */
	const char *packed, *plain;     /* the media type of the report: compressed, or as it is */
	const char *suffix;             /* of its file's name: "xml" */
};
struct reportmail {                     /* borrowed */
	const struct reportmail_kind *kind;
	const char *hostname, *domain;  /* who reports, and to whom of what is his */
	const char *from;               /* an address */
	const char *const *to;          /* addresses */
	size_t nto;
	const char *id;                 /* that of the report, and the message's: local@host, the same however often it is made */
	const char *fields;             /* more of the header, with line ends */
	int64_t begin, end, now;        /* Unix seconds; what happened at `end` is not in it any more */
	struct str words;               /* for people, ASCII, with line ends; no line begins with "--" */
	struct str report;
};
bool reportmail_print(struct buf *, const struct reportmail *);        /* appends it; false: no memory */

#endif
