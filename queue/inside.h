/* What the files behind queue.c share: names and files on disk, the intake, the index. */
#ifndef QUEUE_INSIDE_H
#define QUEUE_INSIDE_H

#include "lib/file.h"
#include "lib/heap.h"
#include "lib/list.h"
#include "lib/clock.h"
#include "lib/map.h"
#include "lib/loop.h"
#include "queue.h"

enum {
	FILE_LINE = 64,                 /* octets of a queue file's first line */
	ID_SIZE = 25,                   /* of an id, with its NUL: those in the index take no more room than they need */
	DEST_MAX = 180,                 /* a longer domain stands in a name as a token */
	NAME_ROOM = 256,                /* any name in cur/, with its NUL */
	SAID_IN_ALL = 128 << 10,        /* conversations in one journal: forty-odd tries, each told something else; it is read at each of them */
	ENVELOPE_MAX = 64 << 20,        /* envelope and journal of one message, read back */
	OPEN_MAX = 200,                 /* messages open for delivery at a time */
	READ_A_TURN = 2 << 20           /* octets of envelopes, journals and what is checked; the entry that crosses it is the last */
};

/* One queue, one process: the directories and what is configured. */
struct queue {
	struct queue_config conf;
	int dir, cur, in, work, bad;
	int lock;
	char *slots;                    /* the lock file, mapped: pid and the ids being tried */
	bool open;
	int64_t began;                  /* to be scheduled, Unix seconds */
};
extern struct queue queue;

/* ---- names (queue/name.c) */

/* What stands for a domain in a name: the domain itself or, too long, "=" and 16 hex digits. */
void dest_token(struct str domain, char token[DEST_MAX + 1]);
void entry_print(char name[NAME_ROOM], int64_t next, bool held, unsigned tries, const char *id, const char *dest);
bool id_valid(struct str id);
void id_make(char id[ID_MAX], int64_t now);
/* The id of the n-th report by `dest`'s entry about message `about`: the same whenever it is asked for. */
void id_of_report(char id[ID_MAX], const char *about, const char *dest, unsigned n);
/* The id of the message that aliases make of `about`, its n-th recipient the first of them: likewise. */
void id_of_alias(char id[ID_MAX], const char *about, size_t n);
int64_t id_arrival(const char *id);             /* Unix seconds */

/* ---- files (queue/file.c) */

uint32_t crc32_add(uint32_t crc, const void *, size_t);        /* as gzip's; start with 0 */
/* The checksum of a text after n octets of it became others: change[i] is old[i] ^ new[i], and `behind` octets follow them. */
uint32_t crc32_change(uint32_t crc, const void *change, size_t n, uint64_t behind);
void file_line_print(char line[FILE_LINE + 1], off_t at, uint64_t size, uint32_t crc);
/* Opens and reads dir/name. verify: compare size and checksum of the whole message. NULL with errno: ENOENT and other failures of the
 * system; EBADMSG: not a whole queue file, *why says what is wrong. writable: for appending to the journal; a torn tail is cut.
 * only: a destination as it stands in a name; of the others it is not known what was said of them and who is named twice, which costs time
 * where there are thousands. Empty: all. */
struct mail *mail_open(int dir, const char *name, bool writable, bool verify, struct str only, const char **why);
/* The same of one whose file we have just written and still have open: at, size as in its first line. Takes the text, and fd unless NULL is
 * returned: no memory. */
struct mail *mail_of(struct buf *file, int fd, off_t at, uint64_t size, struct str only);
bool rcpt_is_at(const struct rcpt *, struct str dest);         /* dest: as it stands in a name */
/* Appends one journal line to out: time what who by status host words. Empty slices become "-". */
void journal_line(struct buf *out, int64_t now, const char *what, struct str who, struct str by, const struct reply *, const char *host);
/* The same for a conversation with a destination. by: the report that tells who has failed of it; empty: nobody has. */
void journal_said(struct buf *out, int64_t now, struct str dest, struct str by, struct str said);
/* Whole lines, behind the last whole line. 0, or nothing is appended: -1 with errno; 1: the file has lost some of its message. */
int journal_append(struct mail *, const char *lines, size_t n);

/* Somebody is at work on it: who writes a draft, or delivers a message, holds its lock (flock). */
bool file_in_use(int dir, const char *name);

/* ---- intake (queue/intake.c): drafts and making things durable */

int intake_open(void);                          /* 0 or -1 with errno */
void intake_fill(const int fd[2]);              /* the log's segments, beside the rounds: see wal_open() */
void intake_close(void);
bool intake_knows(const char *id);              /* a draft with this id is waiting to become durable */
/* The message with this id that is in cur/ and whole, or NULL: there is none (one that is not whole is set aside). */
struct message *intake_whole(const char *id);
/* A message that has become durable just now and is due: what its file holds is in memory still. Owned (mail_free()), once. NULL: not this one;
 * it is in cur/, as all are. name: what it is called there; under another one than we gave it somebody has been at it. only: see mail_open(). */
struct mail *intake_fresh(const char *id, const char *name, struct str only);
/* What was appended to fd becomes durable within a second. The descriptor is duplicated, once for each round: *round is the
 * caller's, 0 at first. 0 or -1 with errno. */
int sync_marks(int fd, unsigned *round);
/* A name went from cur/: that becomes durable within a second. */
void sync_names(void);
/* Runs done() after the next sync of cur/ (links made before now are durable then); ok false: it failed. */
void sync_dir(void (*done)(void *arg, bool ok), void *arg);
/* Marks that could not be written: intake is refused while any is held. */
void intake_hold(int by);
unsigned intake_holds(void);                    /* attempts that are stuck */

/* Names in a directory that do not begin with a dot, at most `room`. Returns how many, or -1 with errno. */
int list_names(int dir, char names[][NAME_ROOM], int room);

/* ---- room on the disk (queue/space.c) */

bool space_left(uint64_t octets);               /* is there room for them beside queue_reserve? */
void space_used(uint64_t octets);               /* written just now */
void space_forget(void);                        /* what is known: another queue is opened */

/* ---- orders (queue/order.c): what is wanted of one message, whatever the settings say */

/* What the last row of this verb ("route", "fail") says that is about this address; empty: there is none. */
struct str order_row(struct str text, const char *verb, const struct addr *);
void order_done(const char *id);                /* its message has left */
/* Which messages have one: by names, when there was a change. at_once: those that are new are tried now, whatever their stamps say. */
void orders_look(bool at_once);
bool order_is_there(const char *id);            /* of a message that is new to the index */
void orders_forget(void);                       /* another queue is opened */

/* ---- the intake log (queue/wal.c): its form and what it promises are in doc/QUEUE */

enum {
	WAL_LINE = 48,                  /* octets of a record's first line */
	WAL_BLOCK = 4096,               /* a segment's head; where a batch begins */
	WAL_HEAD_LINE = 600,            /* of what a record says, the first line: two names at most */
	WAL_MESSAGE_MAX = 1 << 20,      /* octets of a record with a message: a longer one is synced by itself */
	WAL_SEGMENT_MIN = 32768,
	WAL_SEGMENT_MAX = 1 << 30
};
enum wal_kind {
	WAL_MESSAGE = 'M',              /* <name>: the whole file that was made in cur/ under that name */
	WAL_LINES = 'J',                /* <id>: lines that were added to its journal */
	WAL_NAME = 'N',                 /* <from> <to>: an entry has another name; from "-": one name more */
	WAL_GONE = 'G'                  /* done <name>: it has left the queue; away <name>: somebody else took it out, or it was set aside */
};
struct wal_head {
	uint64_t seq;                   /* segments are read in this order */
	uint64_t life;                  /* in all its records: those of an earlier life of the segment have another one; 0: there are none */
};
struct wal_record {
	char kind;                      /* enum wal_kind */
	struct str head;                /* its first line, until the next record is read */
	off_t at;                       /* where in the file the rest is */
	size_t n;
};
void wal_head_print(char block[WAL_BLOCK], const struct wal_head *);
int wal_head_read(int fd, struct wal_head *);   /* 0 or -1 with errno; EBADMSG: none */
/* Adds a record to out. False: no memory, out->bad is set. number: 1 for the first of a segment's life, then growing. */
bool wal_record(struct buf *out, const struct wal_head *, uint32_t number, enum wal_kind, struct str head, const void *, size_t n);
/* Every whole record of this life, in order. 0, or -1 with errno: the disk, or each() was false. */
int wal_read(int fd, const struct wal_head *, bool (*each)(void *arg, const struct wal_record *), void *arg);
int wal_dir(bool make);                         /* descriptor of wal/, or -1 with errno */
bool wal_is_segment(const char *name);
bool wal_is_kept(const char *name);             /* a segment that could not be retired */
void wal_keep(int dir, const char *name, uint64_t seq);
void wal_hold(int fd);                          /* a kept one: open until the queue is closed, lest the kernel forgets what it remembers of it */

/* Begins a log in segments that hold nothing any more, with numbers above seq. When that cannot be, there is none: wal_on() is false. 0; 1:
 * there will be when these two descriptors, which stay ours, have been filled by wal_fill(), in whatever process, and wal_filled() says so;
 * -1 with errno: there is none, and old segments cannot be removed. */
int wal_open(uint64_t seq, int fill[2]);
/* Zeros are written, not only promised: a sync of what is there already needs no word about where it is. 0 or -1 with errno. */
int wal_fill(int fd);
void wal_filled(int error);
void wal_sweep(int dir);                        /* what a start left that did not come so far */
void wal_close(void);                           /* syncs the file system, and the log is empty */
bool wal_on(void);

/* What has happened in cur/, and what leaves it now: in the log with the next batch. Nothing, while there is no log. */
void wal_lines(const char *id, const char *lines, size_t n);
void wal_name(const char *from, const char *to);        /* from NULL: a name more */
void wal_gone(const char *name, bool done);
/* It is in the log now, not durable: where only the process ends nothing of it is missing. Before a name is removed. As long as there is room. */
void wal_tell(void);
bool wal_pending(void);                         /* there is some that no batch has taken */

/* A batch: wal_begin(), wal_add() for each message, wal_write(), a sync of what that returned, wal_synced(). One at a time. */
bool wal_begin(size_t first);                   /* octets of the first record with a message, 0: none. False: nothing can be logged now */
size_t wal_message_size(const char *name, size_t n);    /* octets of a record with a file of n octets */
bool wal_takes(size_t n);                       /* not too large ever */
enum wal_answer { WAL_TAKEN, WAL_NEXT_TIME, WAL_NOT_NOW };      /* NOT_NOW: all is full, it is to be synced by itself */
/* The message that is in cur/ under this name: its n octets, text or (NULL) those in fd. */
enum wal_answer wal_add(const char *name, int fd, const char *text, size_t n);
bool wal_batched(void);                         /* there is something to be synced */
int wal_write(void);                            /* the descriptor to sync, or -1 (told in the log): the batch has failed */
void wal_synced(bool ok);

/* A segment is full, and waits for a sync of the whole file system that begins now. */
bool wal_full(void);
void wal_retired(int error);                    /* what came of it */

/* ---- what a start does about the log (queue/recover.c) */

/* Before cur/ is read: what the log tells of and a power cut took is there again, and durable; then the log is no more, and *seq is its last
 * number. 0, or -1 with errno and *why in plain words, and everything is left for the next try. */
int recover(uint64_t *seq, char *why, size_t why_size);

/* ---- index (queue/index.c): what is in cur/, by name only */

struct message {
	struct map_node node;           /* key: id */
	struct entry *entries;
	char id[ID_SIZE];
	bool checked;                   /* its size and checksum were seen to be right since the start, or we wrote it */
	bool suspect;                   /* was being tried when the program died */
	bool delay_seen;                /* no delay notice is due any more */
	bool delay_told;                /* one is in the queue, or on its way there */
	bool ordered;                   /* there is a file of it in orders/, which is read whenever an entry is opened */
};
struct domain {
	struct map_node node;           /* key: the domain; where senders decide on the way and the file was read, a blank and the sender behind it */
	struct dest *dest;
	bool by_sender;                 /* the sender decides and is not known: there is no dest */
	size_t entries;                 /* that go there, and */
	size_t named;                   /* whose dest is our name: forgotten when both are 0 */
	size_t held;                    /* as last measured; */
	int64_t oldest;                 /* likewise: Unix seconds */
	char name[];
};
enum entry_state {
	ENTRY_SCHEDULED,                /* in the heap, until its stamp */
	ENTRY_WAITING,                  /* due: in its destination's list or among the blind */
	ENTRY_OPEN,                     /* being tried or looked at: x->attempt */
	ENTRY_HELD
};
struct entry {                          /* there may be a million of them */
	struct message *msg;
	struct entry *sibling;
	struct domain *domain;          /* NULL: the file says where to ("+" or a token), and it was not read yet or says several ways */
	const char *dest;               /* as in the name: a domain's, or own */
	union {                         /* by state, one at a time; else zero */
		struct heap_node due;           /* ENTRY_SCHEDULED; key: next */
		struct {
			struct node wait;       /* ENTRY_WAITING */
			struct list *waits_in;
		};
		struct attempt *attempt;        /* ENTRY_OPEN */
	};
	int64_t next;
	unsigned tries : 24, state : 8; /* enum entry_state */
	uint16_t seen;                  /* the last scan that met it; goes round */
	uint16_t looked;                /* look_hour() of the last look_after(); 0: there was none */
	char own[];
};
_Static_assert(sizeof(void *) > 8 || sizeof(struct entry) <= 72, "malloc() would take 96 octets for it, not 80");
/* Takes a name found in cur/ (or made by us) into the index; one that is known is updated to the later stamp.
 * checked: we wrote it. NULL: not a valid name or no memory. */
struct entry *index_name(const char *name, bool checked);
struct message *index_message(struct str id);   /* or NULL */
struct entry *entry_find(const struct message *, struct str dest);      /* or NULL */
void index_drop(struct entry *);                /* its file is gone (state must not be ENTRY_OPEN) */
void index_miss(const struct entry *);          /* its name is gone: if a whole pass does not meet it under another one, the log hears of it */
void entry_name_of(const struct entry *, char name[NAME_ROOM]);        /* in cur/, now */
bool entry_is_in(const struct entry *, const struct attempt *);
/* All that is open of a blind entry goes the way of this domain and sender. */
void index_learn(struct entry *, struct str domain, const struct addr *from);
bool entry_is_blind(const struct entry *);      /* it must be opened to know where to */
void index_ordered(struct message *, bool at_once);     /* somebody has given an order about it; at once: whatever its stamp says */
void index_forget_ways(void);                   /* every domain asks for its destination anew */
size_t index_size(void);
int index_read(void);                           /* all of cur/ at start; 0 or -1 with errno */
void index_scan_soon(void);                     /* look at cur/ from the beginning, now */
void index_open(void);
void index_close(void);
void adopt_in(void);                            /* moves what lies in in/ into cur/ */

/* ---- schedule (queue.c): who is tried when, and where */

struct attempt;
struct lane;
struct dest {
	struct map_node node;           /* key: way.key */
	struct way way;
	char domain[DOMAIN_MAX + 1];
	unsigned refs;                  /* domains, bundles and couriers that point here */
	struct list waiting;            /* entries that are due, not open */
	struct list ready;              /* bundles of open messages */
	struct bundle *gather;          /* the bundle being made by the attempt that is being opened */
	struct list idle;               /* couriers that have nothing to do and keep their connection */
	unsigned couriers;              /* connections, the idle ones too */
	unsigned served;                /* bundles that couriers had as their next one, since it last made way for others */
	unsigned held_up;               /* couriers that wait without a place: no more are sent */
	struct lane *lane;              /* of its transport */
	struct node hungry;             /* for a place in the lane */
	struct list *hungry_in;
	unsigned window;                /* couriers allowed now: grows with success, shrinks with trouble */
	unsigned leaving;               /* of them, those that were told to leave as there are too many */
	unsigned failures;              /* in a row; 0: up */
	enum blame blame;               /* of the last of them */
	bool down;                      /* until `back` expires; then one probe at a time */
	struct timer back;
	struct node runnable;           /* something may be done here */
	struct reply last;              /* why it is down */
};
void schedule_entry(struct entry *);            /* it is new, closed again, or has another stamp */
void schedule_at(struct entry *, int64_t when); /* the same, in memory only, at another time than its stamp */
void unschedule_entry(struct entry *);          /* it goes away or is opened */
void look_after(struct entry *);                /* old enough for a delay notice or its end: open and see */
/* By the configured ways, or by the one that is ordered (empty: none); NULL: no memory. Not held: dest_hold() it. */
struct dest *dest_for(struct str domain, const struct addr *from, struct str order);
void dest_hold(struct dest *);
void dest_release(struct dest *);               /* NULL is fine */
/* A bundle ended. BLAME_RCPT, BLAME_TALK: there was a conversation; delivered: somebody has got it. */
void dest_went(struct dest *, enum blame, const struct reply *why, bool delivered);
void dest_is_runnable(struct dest *);
int64_t dest_again(const struct dest *);        /* Unix seconds at which it is probed; 0: it is not down */
/* The last try of anything where it goes came to no conversation, and that was no fault of this machine. */
bool dest_is_failing(const struct entry *);
bool dest_waits_for_machine(const struct entry *);      /* ... it was: nothing there ends its lifetime */
void attempt_gone(const struct attempt *);
bool attempt_is_alone(const struct attempt *);  /* a suspect: nothing else starts while it is open */
void plan_soon(void);                           /* places are free or work has come */
uint16_t look_hour(void);               /* goes round, and is never 0 */
int64_t back_off(unsigned tries);               /* seconds to wait after that many tries, with chance */
void count_deferred(void);
/* The lock file says what is being tried: after a crash the next start moves it to its next stamp, and tries it last and alone. False:
 * there is no room in it. */
bool slot_take(struct attempt *);
void slot_give(struct attempt *);

/* ---- attempts (queue/attempt.c): one entry, open */

struct attempt {
	struct entry *entry;
	struct mail *mail;
	struct node open;               /* among all */
	bool moved;                     /* the entry has its next stamp: something was tried */
	bool self, counts;              /* a fault of ours stood in the way; something else was tried: only then it counts */
	bool given_back, put_off;       /* a bundle was, before it was tried; something was deferred */
	bool stuck;                     /* our disk refuses something: intake is held */
	bool links_made;
	bool named_twice;               /* by hand: the entry may have another name, which will read the journal */
	bool told;                      /* the log heard that its names go */
	size_t joined;                  /* other entries of the message that end with it: ENTRY_OPEN, their attempt is this one */
	unsigned round;                 /* of marks: sync_marks() */
	int64_t old_next;               /* before it was moved */
	unsigned old_tries;             /* likewise */
	bool unnamed;                   /* moved here and in its slot alone: its name has the old stamp and tries until it stays */
	struct list bundles;            /* not settled yet */
	size_t started;                 /* of them, with a courier */
	unsigned event;                 /* for failures of this attempt */
	struct buf lines;               /* journal lines not written yet */
	struct buf linked;              /* lines that may be written when the names they tell of are durable */
	struct task write;              /* there are some: to be written at the end of the turn */
	struct node unwritten;          /* among those */
	struct timer again;             /* what our disk refused is tried again */
	msec patience;                  /* after so long */
	struct kept *kept;              /* words that results point to */
	struct buf order;               /* what is wanted of it; empty: nothing but the usual */
	size_t slot;                    /* in the lock file, 0: none */
	unsigned reporting;             /* event of the report being committed */
	bool awaits;                    /* a commit or a sync, which will call */
};
struct bundle_private {
	struct bundle *bundle;
	struct attempt *attempt;
	struct node ready;              /* in its destination */
	struct node mine;               /* in its attempt */
	bool started;
	bool deferred, delivered;
	enum blame blame;               /* the gravest of what was deferred */
	struct reply why;               /* of the first deferral, and who said it */
	char host[300];
	struct str said;                /* what was said, not written down yet; kept by the attempt */
};
/* Opens an entry that is in no list, and lays its bundles into dest->ready. NULL: nothing to try (it was settled, set aside or put back). */
struct attempt *attempt_open(struct entry *, bool look_only);
/* Before a connection is made for the bundle: the entry moves to its next stamp. False: not to be tried; the bundle is gone. */
bool bundle_start(struct bundle *);
/* A bundle that was started and not tried to its end: what has no result is to be tried as soon as that may be. */
void bundle_give_back(struct bundle *);
/* A bundle that was not started is taken back: its recipients wait in the queue, no attempt is counted. */
void bundle_unmake(struct bundle *);
size_t attempts_open(void);
/* What was read in this turn to open entries is enough: the others wait for the next one, so that nobody waits for all of them. */
bool attempts_enough(void);
/* Makes room: settles the oldest attempt that only waits for busy destinations. False: there is none. */
bool attempt_park_one(void);
void attempts_close(void);

/* ---- aliases (queue/alias.c) */

/* What aliases have made of the message before a crash, and was not noted: it is noted now. */
void alias_recover(struct attempt *);
/* Before a message that aliases made in an earlier life is tried: the one that it was made of is looked at, and notes it. When this one
 * has left, nothing would tell that it was there. */
void alias_note_in_parent(const struct mail *made);

/* ---- between queue/attempt.c and queue/settle.c */

enum { DELAY_EVENT = 1000000 };                 /* a delay notice: no failure has this number */

/* False while the clock is not set, and for an hour after it has leapt: nothing expires and nothing is reported. */
bool clock_is_sane(void);
bool entry_is_plus(const struct entry *);
/* Renames the entry. 0 or -1 with errno; ENOENT: somebody has moved or removed it. */
int entry_restamp(struct entry *, int64_t next, unsigned tries);
int attempt_name(struct attempt *);             /* what stays gets its new name, if it has none yet. 0 or -1 with errno */
void attempt_unmove(struct attempt *);          /* ... or shall not have it: its entry is as before */
bool entry_has_name(const struct entry *);       /* in cur/: hands may have moved or removed it */
int entry_unlink(const struct entry *);         /* 0 or -1 with errno; the log was told: wal_gone(), wal_tell() */
void event_print(char by[NAME_ROOM], const struct entry *, unsigned event);                 /* "<dest>.<event>" */
void rcpt_print(struct buf *out, const struct attempt *, const struct rcpt *);             /* "3<b@y>" */
void words_of(const struct reply *, char words[REPLY_TEXT + 24]);      /* "550 5.1.1 no such user" or our own words */

/* What this entry's recipients are, and which of its events they belong to. */
void attempt_read_rcpts(struct attempt *);
/* A final result: state, event and journal line. attempt_say() keeps the words, attempt_tell() logs them and tells who waits. */
void attempt_mark(struct attempt *, struct rcpt *, const struct result *);
void attempt_say(struct attempt *, struct rcpt *, const struct result *);
void attempt_tell(const struct attempt *, const struct rcpt *, const struct result *);
void attempt_go_on_soon(struct attempt *);      /* at the end of this turn */
/* Journal lines to the file. 0, or -1 with errno: none is lost, the file is as before. */
int attempt_write(struct attempt *);
/* Our disk refuses `what`: intake is held, and all is tried again in a few seconds, until it is unstuck. */
void attempt_set_stuck(struct attempt *, const char *what);
void attempt_clear_stuck(struct attempt *);
/* Both end the attempt: the entry stays in the queue under its name; or its file is gone. */
void attempt_put_back(struct attempt *);
void attempt_forget_entry(struct attempt *);
/* No bundle is left, or what was waited for has come about: brings the entry where it belongs. Runs from the top each time. */
void attempt_settle(struct attempt *);
int64_t attempt_age(const struct attempt *);    /* seconds of its lifetime */
bool attempt_expired(const struct attempt *);   /* its lifetime is over */

#endif
