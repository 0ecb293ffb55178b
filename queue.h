/* The queue: messages kept as files in a directory that is the schedule (doc/QUEUE),
 * an index of them in memory, and who is tried when. */
#ifndef QUEUE_H
#define QUEUE_H

#include <sys/types.h>

#include "fardel.h"
#include "lib/buf.h"
#include "lib/list.h"
#include "lib/loop.h"

/* ---- what a message is told to the queue as */

/* The envelope in SMTP's own words, as the file will begin: lines ended by LF, MAIL first.
 * Whoever takes a message in appends to text; zeros is an empty one. */
struct envelope {
	struct buf text;                /* "MAIL FROM:<a@x> BODY=8BITMIME\nRCPT TO:<b@y>\n..." */
	size_t nrcpt;
	int64_t release;                /* Unix seconds before which nothing is tried; 0: at once */
	bool several;                   /* recipients at more than one domain */
	size_t room;                    /* octets that draft_front() may need; kept by envelope_clear() */
	bool held;                      /* on hold from the start: nothing is tried until somebody releases it */
	char domain[DOMAIN_MAX + 1];    /* of the first recipient, lower case */
};
bool envelope_sender(struct envelope *, const struct sender *);          /* first; false: no memory */
bool envelope_rcpt(struct envelope *, const struct recipient *);
/* Where it came from, for the reader and for recovery: a "FROM ..." line, no control characters. */
bool envelope_origin(struct envelope *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void envelope_clear(struct envelope *);                                 /* empty, keeps the memory */
void envelope_free(struct envelope *);

/* ---- what a message is when it has been read back */

enum rcpt_state { RCPT_OPEN, RCPT_DELIVERED, RCPT_FAILED };
struct rcpt {
	struct recipient to;            /* slices into mail->text */
	enum rcpt_state state;
	bool busy;                      /* in a bundle that is being tried */
	bool deferred, unchanged;       /* in this attempt; it was told the same words as before */
	bool linked;                    /* its destination has been given an entry of its own */
	bool mine;                      /* its delivery is the business of the entry that is open */
	bool relayed;                   /* RCPT_DELIVERED: to a host that reports nothing */
	bool expanded;                  /* RCPT_DELIVERED: it was an alias, and a message of its own goes to whom it stands for */
	bool reported;                  /* its report is in the queue or sent */
	unsigned event;                 /* the report of this entry that tells it (1, 2 ...); 0: none, or another entry's */
	struct str by;                  /* the same as "<entry's dest>.<event>"; empty: none */
	/* The last that was said of it, from the journal: slices into mail->text, or empty. */
	int64_t when;
	struct str status;              /* "5.1.1" */
	struct str host;                /* "mx.example.net[192.0.2.1]:25" or "-" */
	struct str words;               /* "550 5.1.1 no such user", unescaped */
	struct str said;                /* the conversation that this came of (queue_said()), or empty */
};
struct mail {
	char id[ID_MAX];
	int fd;                         /* open for reading and appending */
	off_t at;                       /* where the message (not the envelope) begins */
	off_t size;                     /* its octets: CRLF lines, exactly as it will be sent */
	off_t end;                      /* of the journal */
	int64_t arrived;
	int64_t first_sane;             /* first time in the journal that was no clock before it was set; 0: none */
	int64_t release;                /* not before, or 0 */
	bool has_sender;
	struct sender from;
	struct str origin;              /* the FROM line's text */
	struct str alias_of;            /* id of the message that aliases have made this of; empty: none have. Its recipients are no aliases */
	struct str alias_rcpts;         /* whom of that one, for people and recovery: "1+<staff@example.org> 3=<root@example.org>" */
	off_t own;                      /* octets at the message's beginning that tell of it: Delivered-To fields */
	size_t nrcpt;
	struct rcpt *rcpt;
	nlink_t names;                  /* of the file, when it was opened */
	bool delay_told;                /* a delay notice was sent */
	size_t said;                    /* octets of the journal that are conversations */
	const char *body;               /* the message's octets, where they are in memory; else NULL: fd has them */
	struct buf text;                /* envelope and journal, as read */
};

/* Reads a queue file by name for a tool (mailq, why): envelope and journal. Returns owned (mail_free()), or NULL with errno and *why. */
struct mail *mail_read(int dir, const char *name, const char **why);
void mail_free(struct mail *);
/* When its lifetime began, Unix seconds: when it came, might go, or was tried first behind the clock's being set (now, if that is to come). */
int64_t mail_began(const struct mail *);
/* What has happened to it, for who wants to read all of it: the journal, read anew. 0 or -1 with errno. */
int mail_story(const struct mail *, struct buf *out);
/* A line of the journal (doc/QUEUE). Empty slices: nothing is said. */
struct told {
	int64_t when;
	struct str what, who, by, status, host, words;
};
/* Takes the next whole line off a story; words are unescaped in place. False: there is none. */
bool mail_told(struct str *rest, struct told *);

/* A name in cur/: <next>.<tries>.<id>.<dest>. */
struct entry_name {
	int64_t next;
	bool held;                      /* H in place of the tries */
	unsigned tries;
	char id[ID_MAX];
	struct str dest;                /* slice into what was parsed */
};
bool entry_parse(const char *name, struct entry_name *);

/* ---- opening */

struct mail;
struct bundle;
struct dest;

enum result_kind { RESULT_DELIVERED, RESULT_DEFERRED, RESULT_FAILED };
enum blame {
	BLAME_RCPT,                     /* the peer spoke of this recipient or message */
	BLAME_TALK,                     /* the conversation failed, or the whole transaction was put off: no word about recipients */
	BLAME_DEST,                     /* no conversation came about: destination down, its other mail waits */
	/* Faults of our side count as no attempt. */
	BLAME_MESSAGE,                  /* with this message alone, or this time: the others go on */
	BLAME_SELF,                     /* of this machine (no resolver, no memory): any other message would meet it, too; once it is over, mail goes soon */
	BLAME_SETUP                     /* of what is configured for the destination (login, host of a route): as BLAME_DEST until somebody mends it */
};
enum handed {                           /* RESULT_DELIVERED: who tells the sender, if he asked for it (RFC 3461 5.2) */
	HANDED_DELIVERED,               /* we do: it is where it belongs */
	HANDED_RELAYED,                 /* we do: the next hop knows no reports */
	HANDED_EXPANDED,                /* we do: an alias, whom several addresses stand behind (RFC 3461 5.2.7.3) */
	HANDED_ON                       /* the next hop, which was told what is wanted */
};
struct result {                         /* what became of a recipient */
	enum result_kind what;
	enum blame blame;
	enum handed handed;
	const struct reply *reply;      /* code 0: words of ours */
	const char *host;               /* "mx.example.net[192.0.2.1]:25", or NULL */
	const char *tls;                /* how it went there, for the log: "TLSv1.2:TLS_ECDHE_..."; NULL or "": in clear */
	const char *into;               /* RESULT_DELIVERED: the id of the message that an alias has made of it; NULL: none */
};

/* A way to bring mail somewhere. The queue calls deliver() with the first bundle of a new courier (one connection, say);
 * the courier reports with queue_result() and queue_done(), asks for more with queue_next() and ends with queue_leave().
 * It never does so from inside deliver(). */
struct transport {
	const char *name;
	unsigned couriers;              /* at most, for one destination */
	unsigned in_all;                /* at most, for all of them; 0: queue_config.couriers */
	void (*deliver)(struct transport *, struct bundle *);
};
/* Which way for a domain (lower case) and a sender. What has an equal key shares a destination; shared: also a transaction. */
enum { WAY_ORDER = 300 };               /* octets of an order's way, with the NUL */
struct way {
	char order[WAY_ORDER];          /* said by the queue before it asks: the way that is ordered for this message (doc/QUEUE); "": none */
	char key[320];
	bool shared;
	bool by_sender;                 /* asked without a sender: for some it is another way, so a file is read before it waits anywhere */
	struct transport *transport;
};

enum report_kind {
	REPORT_FINAL,                   /* who has failed, and who has got it and was to be told of (RFC 3461 NOTIFY=SUCCESS) */
	REPORT_DELAYED
};

enum queue_sync {                        /* how messages are made durable, where a helper process does it; else each file is synced */
	QUEUE_SYNC_FILE,                /* fdatasync() of each, fsync() of the directory */
	QUEUE_SYNC_FS,                  /* syncfs() of the file system */
	QUEUE_SYNC_LOG                  /* fdatasync() of a log that holds them, too */
};

struct queue_config {
	const char *dir;                /* lent until queue_close(), or until queue_reconfigure() is handed the same one again */
	bool schedule;                  /* take queue/lock and deliver; else only accept (inetd, sendmail, tools) */
	bool deliver;                   /* with schedule: false accepts and queues only */
	bool inline_sync;               /* sync in this process at the end of a turn; else a helper process does */
	enum queue_sync sync;           /* QUEUE_SYNC_LOG: only with schedule */
	uint64_t log_size;              /* octets of each of the log's two segments */
	int64_t retry_first, retry_max, lifetime, delay_notice;         /* seconds; delay_notice 0: none */
	uint64_t message_size;          /* ceiling for a file taken back in */
	uint64_t reserve;               /* octets of the disk (a tenth of it at most) that new mail must leave free; 0: it may be full */
	unsigned couriers;              /* in all, of a transport that says nothing else */
	void (*way)(void *arg, struct str domain, const struct addr *from, struct way *out);    /* from NULL: not known yet */
	/* Appends a whole report (header and body, CRLF) about the recipients of m with this event
	 * (or, delayed, all that are open) to out. next_try: Unix seconds of the next attempt (delayed). False: no memory. */
	bool (*report)(void *arg, enum report_kind, const struct mail *m, unsigned event, int64_t next_try, struct buf *out);
	/* A recipient has got its last result, or a bundle was deferred: for a caller who waits (flush, tests). May be NULL. */
	void (*settled)(void *arg, const struct mail *m, const struct rcpt *, const struct result *);
	void *arg;
};

/* Makes missing directories, takes the lock, reads the names in cur/. 0, or -1 with errno and *why in plain words
 * (EWOULDBLOCK: another process schedules this queue; *why names its pid). */
int queue_open(const struct queue_config *, char *why, size_t why_size);
/* Another way, other times and sizes from now on; directories, callbacks, schedule and deliver stay. What waits goes its new way, what is
 * being sent ends as it began. The ways must have changed already, and what they lend to connections must stay. */
void queue_reconfigure(const struct queue_config *);
/* No new connection is begun and no courier gets more; what runs ends. Then queue_close() loses no reply. */
void queue_drain(void);
bool queue_drained(void);                       /* no courier runs, nothing waits for a commit */
void queue_close(void);                         /* gives up the lock; running bundles are forgotten (as by a crash) */
int queue_dir(void);                            /* descriptor of the queue directory */
/* Moves dir/name to bad/ with a NAME.why in plain words. False: it could not be (logged). */
bool queue_set_aside(int dir, const char *name, const char *why);

/* ---- taking in */

struct draft;                                   /* a message being written in work/ */
/* False, with a reply to give, while no mail can be accepted (disk full, commit helper missing, a mark that could not be written). */
bool queue_accepting(struct reply *why);
/* False, with a reply to give, while a message of so many octets (0: not known) would leave less free than the reserve. queue_accepting()
 * asks this too, for 0. Looked at every other second, in between reckoned. */
bool queue_room(uint64_t octets, struct reply *why);
/* A new message. The envelope is copied. id NULL: a new one. NULL with errno. */
struct draft *queue_draft(const struct envelope *, const char *id);
void queue_new_id(char id[ID_MAX]);                     /* for queue_draft(), where it is told before */
/* A draft in place of another, with its id, another envelope and nothing written yet. The other one can only be read and aborted from then
 * on. NULL with errno, and the other one is as before. */
struct draft *draft_again(struct draft *, const struct envelope *);
/* Octets of the message as it is now, from `from` on. How many, less than n at its end; or -1 with errno. */
ssize_t draft_read(const struct draft *, uint64_t from, void *, size_t n);
const char *draft_id(const struct draft *);
int draft_write(struct draft *, const void *, size_t);  /* 0 or -1 with errno; after -1 only draft_abort() */
/* Puts whole fields in front of all that was written, which stays where it is: they take of the envelope's room. May be called again,
 * until queue_commit(). 0, or -1 with errno: EMSGSIZE when there is not so much room left, and the draft is as before; else only draft_abort(). */
int draft_front(struct draft *, const void *, size_t);
uint64_t draft_size(const struct draft *);
/* For who looks at it once more before it is committed. Octets from its beginning, up to n: what was copied to out, or -1 with errno. And its
 * file, with all that was written: the message is draft_size() octets from *at; not to be closed. -1 with errno: only draft_abort(). */
ssize_t draft_peek(struct draft *, void *out, size_t n);
int draft_file(struct draft *, off_t *at);
bool draft_path(const struct draft *, struct buf *);    /* of that file, for who opens it himself; false: no memory */
/* Another envelope in place of its own, which must be no longer: some of its recipients have gone. 0, or -1 with errno: only draft_abort(). */
int draft_envelope(struct draft *, const struct envelope *);
void draft_abort(struct draft *);
/* Takes the draft. done() runs later, never from inside; ok once the mail is durable. EEXIST of a given id counts as ok. */
void queue_commit(struct draft *, void (*done)(void *arg, bool ok), void *arg);
/* For its done() alone, where what the mail came from stays, too: it leaves the queue again, unless somebody has begun to deliver it
 * or the disk refuses. False: it is there. */
bool queue_withdraw(const char *id);
bool queue_has(const char *id);                 /* a message of this id, whole or not */
/* Nothing waits for a commit (inetd and tests run the loop until then). */
bool queue_committed(void);

/* ---- sending */

struct bundle {                                 /* all due recipients of one message at one destination */
	struct mail *mail;
	struct dest *dest;
	size_t n;
	struct rcpt **rcpt;             /* rcpt[i] are mail->rcpt[...] */
	bool mixed;                     /* more than one domain: anything but success is tried again per domain at once */
	struct bundle_private *x;
};
const struct way *dest_way(const struct dest *);
const char *dest_domain(const struct dest *);           /* a domain of it, for the MX lookup */
/* Messages that are due there and not begun: for this destination alone; *parts: and of messages for several. */
size_t queue_waiting(const struct dest *, size_t *parts);

void queue_result(struct bundle *, size_t i, const struct result *);        /* once per recipient; marks the journal */
/* What was said to the peers until now, lines ended by LF (client_dialogue()), for who reads a report. Copied; what comes later takes its place.
 * It is written down at the bundle's end, where a recipient has failed or was put off with new words; else it is forgotten. */
enum { SAID_MAX = 8192 };                       /* octets; of more nothing is kept */
void queue_said(struct bundle *, struct str);
/* Ends the bundle; `rest` is the result of recipients that have none yet (NULL: all have). */
void queue_done(struct bundle *, const struct result *rest);
/* A courier may take along what is ready at another destination: a bundle of the same message. Its results and its end are told as
 * those of its own; the other destination's couriers have nothing to do with it. NULL: there is none that is not begun. False: it is gone. */
struct bundle *queue_ready(struct dest *, const struct mail *);
bool queue_take(struct bundle *);
/* What has no result yet goes back to its destination as if it had not been begun. */
void queue_give_back(struct bundle *);
/* The next bundle for the same connection, or NULL: nothing is due now, or it is the turn of others. Its entry is moved to its next stamp. */
struct bundle *queue_next(struct dest *);
/* A courier that has nothing to do may keep its connection for a while: it stays a courier, and wanted() runs when something is
 * due (or the queue is drained): it takes queue_next(), and leaves when there is none. False: leave at once. */
struct idle {
	struct node node;
	void (*wanted)(struct idle *);
};
bool queue_idle(struct dest *, struct idle *);
void queue_not_idle(struct dest *, struct idle *);      /* it has had enough: before queue_leave(). Not idle: nothing */
/* A courier that cannot begin with its bundle now, as all connections are taken, waits without it and without a place among the others.
 * The bundle goes back as if it had not been begun, but for the results it has. Meanwhile no other courier is sent to the destination.
 * wanted() runs when the queue is drained: it leaves. */
void queue_wait(struct bundle *, struct idle *);
/* It has waited: it has a place again, and goes on with queue_next() or queue_leave(). */
void queue_waited(struct dest *, struct idle *);
/* The courier has ended: its place is free. dest may vanish. */
void queue_leave(struct dest *);

/* ---- aliases: recipients that stand for others become a message of their own, which then is on its own */

/* A draft for n recipients of the bundle, rcpt[which[i]], with this envelope; handed[i] is what queue_result() will be told of each when
 * the commit has come out well. The caller writes the message: `own` octets of header that tell of the aliases, then what the bundle's
 * message holds. Its id is derived from the first recipient and known to recovery: a crash between the commit and the results neither
 * loses nor repeats. NULL with errno; EEXIST: it is in the queue already, which is noted at the next attempt: put them off. */
struct draft *queue_alias_draft(const struct bundle *, const size_t *which, const enum handed *, size_t n, struct envelope *, size_t own);

/* ---- looking after */
void queue_wake(void);                          /* look at cur/, in/ for changes by hand now, and treat every waiting destination as due for a try */
/* Wakes the process that schedules this queue, as queue_wake() does there. 0 or -1 with errno (ENXIO, ENOENT: there is none). */
int queue_poke(const char *dir);
/* Lays rows ("fail example.org the reason\n", doc/QUEUE) beside those that there are for the message: whoever schedules the queue acts on them
 * when it next opens it. queue_fd: its directory; needs nothing else open. 0 or -1 with errno. */
int queue_order(int queue_fd, const char *id, struct str rows);
/* Reads the rows for a message; none when there is no file. NULL, or what is wrong: then it is not known what is wanted. */
const char *order_read(int queue_fd, const char *id, struct buf *text);
/* How many entries are due now or being tried, without those that our disk keeps from being recorded (flush ends at 0);
 * deferred: what was put off since the start, waits for a destination that is down, or cannot be recorded. */
size_t queue_due(void);
size_t queue_deferred(void);
size_t queue_entries(void);
struct queue_figures {
	size_t messages, held;          /* held: names on hold */
	int64_t oldest;                 /* Unix seconds at which the oldest message came; 0: there is none */
};
void queue_measure(struct queue_figures *);     /* walks the index */
/* A domain's mail, and how the destination does that it goes to; "+": what goes to several and was not opened yet. */
struct domain_figures {
	const char *domain;
	size_t entries, held;
	int64_t oldest;                 /* Unix seconds */
	unsigned connections, failures; /* failures in a row to come to a conversation */
	int64_t again;                  /* Unix seconds at which one message tries a destination that is down; 0: it is not */
	bool ours;                      /* the failures are faults of our side */
	const struct reply *why;        /* the last of them, or NULL */
};
/* Tells of those with the most entries first, so many at most; walks the index. False: no memory. */
bool queue_measure_domains(size_t most, void (*each)(void *arg, const struct domain_figures *), void *arg);

#endif
