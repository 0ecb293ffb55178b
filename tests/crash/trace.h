/* What the shim (inside fardel's processes) and the driver share: a log of the calls that decide whether mail is safe, in the order
 * in which they were made, and the instruction to end or fail at one of them. */
#ifndef TESTS_CRASH_TRACE_H
#define TESTS_CRASH_TRACE_H

#include <stdint.h>

enum {
	TRACE_EVENTS = 8192,
	TRACE_DATA = 32 << 20,
	TRACE_NAME = 256
};
enum trace_op {
	T_NONE,
	T_CREATE,               /* dir name -> a new ino */
	T_WRITE,                /* ino: data at `at` */
	T_TRUNCATE,             /* ino: to `at` octets */
	T_SYNC_FILE,            /* ino: what was logged before `begin` is durable */
	T_SYNC_DIR,             /* dir: the same for its names */
	T_LINK,                 /* dir name -> dir2 name2 */
	T_RENAME,
	T_UNLINK,
	T_ANSWERED,             /* the driver read 250 for message `name` */
	T_SENT,                 /* a peer took message `name` for recipient `name2` */
	T_SYNC_ALL              /* all that was logged before `begin` is durable */
};
/* What happens at call number `at`, counted from 1. */
enum trace_fault { FAULT_NONE, FAULT_KILL, FAULT_ERROR, FAULT_SHORT };

struct trace_event {
	uint32_t op, ready;     /* ready: the rest is written */
	uint64_t ino, dir, dir2, at;
	uint32_t begin, n, data;
	char name[TRACE_NAME], name2[TRACE_NAME];
};
struct trace {
	uint32_t on;            /* calls are counted and logged */
	uint32_t calls;         /* so far */
	uint32_t fault, fault_at;
	int32_t fault_errno;
	uint32_t struck;        /* the fault has happened */
	uint32_t next, used;    /* events, octets of data */
	char root[512];         /* only what lies below counts */
	struct trace_event event[TRACE_EVENTS];
	unsigned char data[TRACE_DATA];
};

#endif
