/* What a mailbox remembers of those who wrote to it, as text: a line for each message, for what its reader did with it, and for each address
 * that he has written to. Pure; whoever owns the mailbox may have written anything into it.
 *
 *   + 1795427177 6b040b696db0f6315eaf30e2 none anna@example.net fm anna@example.net mx.example.net 192.0.2.7 example.net,esp.example
 *   = 1795427999 6b040b696db0f6315eaf30e2 ham
 *   > 1795428000 anna@example.net
 *   ? 1795428001
 *
 * +: a message has come: time, id, reason token, identities. =: its mark is another now. >: the reader has written to that address. ?: his
 * folders were looked at. What is no such line is passed over. */
#ifndef POLICY_HISTORY_H
#define POLICY_HISTORY_H

#include "lib/buf.h"
#include "lib/map.h"

enum {
	HISTORY_OCTETS = 2 << 20,       /* of a file that are read, its last ones; where it is longer it is made compact */
	HISTORY_RECORDS = 6000,         /* messages, and addresses written to: of a lively mailbox half a year and more */
	HISTORY_LINE = 2048,            /* octets of one */
	HISTORY_DKIM = 8,               /* domains that have signed */
	HISTORY_SAME = 20,              /* marked messages of one author that stay: no rule counts more */
	HISTORY_UNMARKED_S = 90 * 86400,        /* how long a message waits for a mark */
	HISTORY_KEPT_S = 3 * 365 * 86400        /* the longest time that a rule looks back */
};

/* Who a message says it is from, and what of that has been shown. Each is a word as identity_word() writes it; empty: there is none. */
struct identities {
	struct str from;                /* "anna@example.net", the only address in From */
	bool validated;                 /* its domain is that of a signature or of SPF, or shares their organizational domain */
	struct str mail, helo;          /* MAIL FROM and HELO ... */
	bool mail_pass, helo_pass;      /* ... and whether SPF says so */
	struct str ip;                  /* "192.0.2.7"; empty: a forwarder's, which tells nothing */
	struct str dkim;                /* domains of signatures that hold, "a.example,b.example" */
	struct str via;                 /* who has sent it on: his name, and nothing else of him, in these words */
};
/* Appends what was said in lower case, without anything that separates words. False: no memory. */
bool identity_word(struct buf *, struct str raw);
/* "anna@example.net" -> "example.net" */
struct str identity_domain(struct str address);
bool identities_signer(struct str *rest, struct str *one);      /* takes one domain off those that have signed */
/* Who speaks for it and is that domain or one below it: has signed, has sent it on, or is whom SPF says pass of. Empty: nobody. */
struct str identities_voucher(const struct identities *, struct str domain);
/* Who sends on what others wrote is not to be blamed for it, and his network says nothing of them. Slices point into room then, too. */
void identities_forward(struct identities *, struct str by, char room[HISTORY_LINE]);
/* Six words, or seven with via, without a blank before or behind them. */
bool identities_print(struct buf *, const struct identities *);
bool identities_parse(struct str *rest, struct identities *);   /* false: they are not all there */

enum mark { MARK_NONE, MARK_HAM, MARK_JUNK };

struct remembered {
	struct map_node node;
	int64_t time;
	struct str id, reason;
	struct identities who;
	unsigned char network[16];      /* who.ip; all zeros: none */
	enum mark mark;
	bool dropped;                   /* history_print() leaves it out */
};
struct written {                        /* to */
	struct map_node node;
	int64_t time;
	struct str address;
};
struct history {
	size_t n, nwritten;
	struct remembered *record;      /* in the order in which they came */
	struct written *written;
	int64_t looked;                 /* when the folders were looked at; 0: never */
	size_t lines;                   /* that there were, also those that say nothing any more */
	struct map by_id, by_address;
};
/* Slices point into the text, which stays the caller's. False: no memory. */
bool history_parse(struct history *, struct str text);
void history_free(struct history *);
struct remembered *history_find(const struct history *, struct str id);        /* the last one of that id, or NULL */
/* Octets of an address as sixteen; mapped where it is IPv4. False: that is no address. */
bool history_network(struct str ip, unsigned char out[16]);

/* Lines, each with its end. False: no memory, or it would be longer than HISTORY_LINE: then nothing is appended. */
bool history_add(struct buf *, int64_t now, struct str id, struct str reason, const struct identities *);
bool history_mark(struct buf *, int64_t now, struct str id, enum mark);
bool history_wrote(struct buf *, int64_t now, struct str address);      /* as said; nothing for what is no address */
bool history_looked(struct buf *, int64_t now);

/* All that still counts, in fewer lines: without what is too old, and where there is too much, without messages that nobody has marked, the
 * oldest first. False: no memory. */
bool history_print(struct history *, int64_t now, struct buf *out);

/* ---- the field that a message carries the same in: "X-Fardel-Reason: none; id=6b04...; WORDS" */
#define REASON_FIELD "X-Fardel-Reason"
/* The whole field with its CR LF. False: no memory, or longer than HISTORY_LINE: then nothing is appended. */
bool reason_print(struct buf *, struct str reason, struct str id, const struct identities *);
struct reason {
	struct str reason, id;
	struct identities who;
	char room[2 * HISTORY_LINE];
};
/* Of its value as it stands in a message, with LF or CR LF. Slices point into room. False: it is none of ours. */
bool reason_parse(struct str value, struct reason *);

#endif
