/* What is done in a mailbox when its memory is asked, or told something: by the helper of deliver/recall.c, or by a child of the user in whose home
 * the mailbox lies (deliver/mailbox.c). Both ends are the same program, forked, so structs as they are. May block; logs nothing. */
#ifndef DELIVER_RECALLWORK_H
#define DELIVER_RECALLWORK_H

#include "deliver/memory.h"
#include "fardel.h"
#include "lib/facts.h"

enum errand { RECALL, CONTENT, RULE, WROTE, KEEP };

/* Text: RECALL, CONTENT and RULE the fact's name; WROTE local part and address; KEEP local part, token, identities and the fields in front; LF between
 * them. A descriptor goes with CONTENT and KEEP: the message, from `at` on. */
enum { RECALL_TEXT = 3 * HISTORY_LINE };
struct recall_request {
	uint64_t ticket;
	enum errand what;
	int64_t now;
	off_t at, size, own;            /* KEEP: the first `own` of its octets are fields of ours */
	char id[ID_MAX];
	size_t n;
	char text[RECALL_TEXT];
};
struct recall_answer {
	uint64_t ticket;
	enum outcome outcome;
	char text[RULESET_TEXT];        /* FOUND: of RECALL the reputation, of CONTENT what the words say, of RULE which one; UNKNOWN: why */
	char account[LOCAL_MAX + 1];    /* UNKNOWN: this user's child may do it; else "" */
};

size_t recall_size(const struct recall_request *);
/* Neither end is believed to be sane: n octets, as they have come. */
bool recall_is_request(const struct recall_request *, size_t n);
bool recall_is_answer(const struct recall_answer *, size_t n);

void recall_work(const struct recall_request *, int fd, int mailbox, const struct memory_folders *, struct recall_answer *);

#endif
