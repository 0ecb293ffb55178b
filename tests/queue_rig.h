/* A queue in a directory of its own, with a clock that jumps, couriers that answer from a table, and a disk that fails on
 * request. One at a time; rig_close() removes it. */
#ifndef TESTS_QUEUE_RIG_H
#define TESTS_QUEUE_RIG_H

#include "queue.h"

enum {
	RIG_WALL = 1796000000,          /* the wall clock at rig_open(), later than any build of ours */
	RIG_SENT_MAX = 32768
};

/* What becomes of a recipient. The first row that fits counts; nothing fits: delivered. */
struct rig_answer {
	const char *who;                /* "user@domain", "@domain", or "" for all */
	enum result_kind what;
	enum blame blame;
	int code;
	const char *words;
};
struct rig_sent {                       /* one transaction */
	char id[ID_MAX];
	char *to;                       /* "a@x b@x", as handed over */
	char *taken;                    /* those of them that it was delivered to */
	char *body;                     /* the message: what the file holds */
	enum body declared;
	int64_t when;
	bool mixed;
};

struct rig {
	struct queue_config conf;
	struct transport transport, near;       /* near: for *.near.example */
	char dir[200];
	struct rig_answer answer[16];   /* the row after the last has who == NULL */
	enum handed handed;             /* of what is delivered */
	const char *said;               /* what couriers say was said; or NULL */
	bool by_hand;                   /* bundles wait in held[] for rig_finish() */
	struct bundle *held[64];
	size_t nheld;
	struct rig_sent sent[RIG_SENT_MAX];
	size_t nsent;
	unsigned running, most;         /* couriers; the most at a time */
	unsigned reports[2];            /* written, by kind */
	unsigned settled[3];            /* recipients told, by result */
	/* the disk: calls of file_sys are counted from rig_disk() on */
	unsigned calls, fail_from, fail_to;     /* ordinals; 0: none fails */
	int fail_errno;
	bool fail_open;                 /* open() counts as well */
	void (*opening)(const char *name);      /* called before each open() */
	pid_t ours;                     /* the process that has it open; another one is its commit helper */
	unsigned life, remembered;      /* of the kernel's memory of files: another one is behind a power cut */
};
extern struct rig rig;

void rig_open(void);                    /* with couriers that deliver everything; with RIG_WAL in the environment, with an intake log */
void rig_start(void);                   /* the queue alone, after rig_crash() */
/* The process is gone at once: nothing more is written, the lock file keeps what it said, bundles are forgotten. */
void rig_crash(void);
/* The same, and of the log's files nothing is left but what was synced: as it was then, or (torn) zeros in the blocks written to since. What is in
 * other directories stays: tests remove what they want. */
void rig_power_cut(bool torn);
void rig_close(void);

void rig_run(int64_t seconds);          /* virtual ones */
void rig_turn(void);                    /* what can be done without time passing */
void rig_answers(const struct rig_answer *rows, size_t n);

/* A message: sender and recipients separated by blanks ("a@x b@y NOTIFY=NEVER"). False: refused. */
bool rig_put(const char *from, const char *to);
bool rig_put_body(const char *from, const char *to, const char *body, const char *id, int64_t release);
extern char rig_id[ID_MAX];             /* of the last one put */
extern const char rig_body[];           /* what rig_put() sends */

/* A bundle that is held: every recipient gets its row of the table; then the courier asks for more or leaves. */
void rig_finish(size_t i, bool more);

/* "0 a.example, 1 b.example": tries and destinations of what is in cur/, sorted; message ids left out. Static. */
const char *rig_cur(void);
unsigned rig_count(const char *dir);    /* names in it */
/* The whole name of the only (or first) entry for dest (NULL: any) in cur/. Static. */
const char *rig_name(const char *dest);
void rig_mv(const char *from, const char *to);          /* in cur/, as a person would */
void rig_rm(const char *name);
/* The text of dir/name. Static, NUL-terminated. */
const char *rig_read(const char *dir, const char *name);
void rig_write(const char *dir, const char *name, const void *, size_t n);
unsigned rig_times(const char *to);     /* transactions that had exactly these recipients */
unsigned rig_got(const char *addr);     /* transactions that had this recipient */

int rig_end_helper(int fd);             /* a sync that ends the commit helper */
/* From now on calls number from..to (1 is the next) fail with error. from 0: none. */
void rig_disk(unsigned from, unsigned to, int error);
unsigned rig_syncs(const char *dir);    /* how often this directory of the queue ("": the queue's own) was synced since then */
bool rig_names_loose(void);             /* names in wal/ were made or have gone, and it was not synced since */

#endif
