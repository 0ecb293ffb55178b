/* A file a day (UTC) in a directory of its own, to which lines are added: what is kept for reports. Nothing is synced: a report that counts a
 * message less after a power cut harms nobody. */
#ifndef LIB_DAILY_H
#define LIB_DAILY_H

#include <sys/types.h>

#include "lib/buf.h"

enum {
	DAILY_S = 86400,
	DAILY_NAME = 16                 /* "2026-11-28", with the NUL and room for a suffix */
};

struct daily {
	const char *event;              /* in the log, when lines are lost */
	off_t octets_max;               /* of a file: then none of that day is added */
	int days;                       /* older files are removed */
	int dir, fd;                    /* -1: none */
	int32_t day;                    /* of fd, since 1970 */
	bool full;                      /* no more of that day */
};

/* Makes the directory `name` in `dir`; the first three members are set. 0, or -1 with errno. */
int daily_open(struct daily *, int dir, const char *name);
void daily_close(struct daily *);
/* Adds a line, with its end, to the file of its day (Unix seconds). One that cannot be written is left out, and the log says so once a day. */
void daily_add(struct daily *, int64_t time, struct str line);
void daily_name(int32_t day, char out[DAILY_NAME]);
/* The day of such a name, whatever suffix it bears behind a dot. -1: it is none. */
int32_t daily_day(const char *name);

/* ---- lines: "1", the version, and behind it " NAME=VALUE" once a field */
void daily_put(struct buf *, const char *name, struct str value);      /* appends the field; nothing for an empty value */
/* The same of text that somebody else has written: a control character, which could not be read back, becomes ?. */
void daily_put_text(struct buf *, const char *name, struct str value);
struct daily_field {
	const char *name;
	size_t at, size;                /* where its value goes in the struct: a string with its NUL */
	bool again;                     /* it may come several times: then with blanks between its values */
};
#define DAILY_ROW(type, name) { #name, offsetof(type, name), sizeof ((type *)0)->name, false }
/* Reads a line back into *out, which is zeros; names that are not in the table are passed over. False: it is no line of ours, or one with a
 * value too long, with a control character, or with a field twice: that is two lines, the first of which was torn off by a crash. */
bool daily_read(struct str line, const struct daily_field *, size_t n, void *out);
/* Hands over each line of a file in `dir`, with its end, until there is none or each() is false. 0, also where there is no such file; or -1 with errno. */
int daily_lines(int dir, const char *name, bool (*each)(void *arg, struct str line), void *arg);
/* Hands over the name of each file of a day in the directory top/name, the oldest first and none before the day `first`, until each() is -1. 0, or
 * -1 with errno; ENOENT: there is no such directory. */
int daily_files(const char *top, const char *name, int32_t first, int (*each)(void *arg, int dir, const char *file), void *arg);

#endif
