/* Who may come in, and why: whether a recipient gets a stranger's message that is whole. Evaluator over facts; the order of the steps is a
 * table in judge.c. */
#ifndef POLICY_JUDGE_H
#define POLICY_JUDGE_H

#include <sys/types.h>

#include "fardel.h"
#include "lib/buf.h"
#include "lib/facts.h"
#include "policy/dmarc.h"
#include "policy/reputation.h"
#include "policy/spf.h"

enum {
	JUDGE_FACTS = 8,                /* questions of one run */
	JUDGE_TOKEN = 32                /* octets of a reason token, with the NUL */
};

/* What the administrator has said. Borrowed. */
struct judge_rules {
	const char *lists;              /* domains of mailing lists, separated by blanks: what they vouch for is taken. NULL: none */
	bool own;                       /* mailboxes have rules (policy/ruleset.h) */
	bool content;                   /* words count (policy/bayes.h) */
	const char *forwarders;         /* domains that send on what others wrote: nothing but the author counts. NULL: none */
	const unsigned char *pass_key;  /* of words for the subject (policy/subjectpass.h). NULL: there are none */
	int64_t pass_s, now;            /* how long they are good; the time */
};
/* What is known of the message, the same for all recipients. Borrowed. */
struct judge_message {
	struct identities who;
	struct str org;                 /* the organizational domain of the author; empty: not known */
	enum spf spf;                   /* SPF_NONE when nobody asked */
	bool spf_of_mail;               /* it is of MAIL FROM, not of HELO */
	bool dmarc_refuses;             /* the author's domain does not want it to be taken */
	bool dmarc_pass;                /* it speaks for it */
	const struct sockaddr *peer;
	bool tls;                       /* it came inside TLS */
	bool report;                    /* one of DMARC or TLS, of a domain of ours, that is kept (smtpd/reports.c) */
	/* Set by whoever has asked: */
	bool no_iprev;                  /* the client's address has no name that leads back to it */
	int listed;                     /* by so much on lists of those who send junk (policy/dnsbl.h) ... */
	const char *lists;              /* ... and on which ones, in words */
	struct str named;               /* addresses in To and Cc, as words separated by commas */
	struct str list;                /* what stands in List-Id, a word; empty: nothing */
	struct str pass;                /* a word in the subject that lets strangers in; empty: none */
	const char *file;               /* where the message lies, for content; NULL: nowhere */
	int64_t at;                     /* octets of the file in front of it */
	int jitter;                     /* -500 .. 500 ten thousandths, by chance, once a message: so nobody finds out where the limit lies */
};
struct judge_rcpt {
	struct str local;               /* whose mailbox; empty: none, or of several */
	const struct addr *to;          /* as it was said */
};
/* Puts it together from what others have found out, and the message's header; spf, dkim and dmarc may be NULL: nobody asked. The message borrows
 * from text, which gets its words, and from dmarc. False: no memory. */
struct dkim;
bool judge_message_set(struct judge_message *, struct buf *text, const struct subject *, const struct spf_result *, const struct dkim *,
	const struct dmarc_result *, struct str header);

enum judge_why {
	JUDGE_LIST, JUDGE_DMARC, JUDGE_REPUTATION, JUDGE_REPORT, JUDGE_SPF, JUDGE_IPREV, JUDGE_PASS, JUDGE_GIVE_PASS, JUDGE_CONTENT, JUDGE_CONTENT_STRICT,
	JUDGE_LISTED, JUDGE_NO_BAD_SIGNALS
};
struct judgement {
	enum verdict verdict;
	enum judge_why why;
	char reason[JUDGE_TOKEN];       /* the token: that of the method where the reputation has decided */
	struct reply reply;             /* REFUSE: for the client */
	char local[LOCAL_MAX + 1];      /* whose mailbox; "": none */
	struct reputation reputation;
	bool first_time;                /* ACCEPT: nobody knows the sender, and nothing speaks against him */
	bool spared;                    /* REFUSE: a rule of the mailbox has a folder for what is refused */
	bool forwarded;
	struct identities who;          /* that the mailbox is to remember; slices into the message's, and into room */
	char room[HISTORY_LINE];
};
/* WAIT: run again when facts have come. ACCEPT or REFUSE: *out is set. late: what has not come by now will not. steps (may be NULL) gets a line
 * for each step that was taken. */
enum verdict judge(struct facts *, const struct judge_rules *, const struct judge_message *, const struct judge_rcpt *, bool late,
	struct judgement *out, struct buf *steps);

/* ---- a message that was refused, for whoever keeps it for its recipient */
struct refused {
	struct str local, to;           /* whose mailbox; the address as it was said */
	struct str sender;              /* "" for <> */
	struct str reason;              /* the token */
	const struct identities *who;
	char id[ID_MAX];
	int fd;                         /* size octets from at; CR LF. The first `own` are trace fields of ours */
	off_t at, size, own;
	/* Later, never from inside. Until then the struct is borrowed; what it points to, and the descriptor, only for the call. */
	void (*done)(struct refused *, bool kept);
	struct task task;               /* the keeper's */
};

#endif
