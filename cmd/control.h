/* The control socket: what only the memory of the running program knows, told to who may hear it. */
#ifndef CMD_CONTROL_H
#define CMD_CONTROL_H

#include <stdint.h>

#include "cmd/settings.h"
#include "lib/buf.h"
#include "queue.h"

/* A client connects, says one line (a verb, perhaps a word) and reads until the end: a line "ok" and what was asked for, or a line
 * "no REASON".
 *
 *     metrics         figures, in the text form of Prometheus
 *     destinations    a line each: TAB-separated, as in struct control_dest; those with the most entries first
 *     top             lines "figure NAME VALUE", "session ...", "connection ...", and destinations
 *     wait ID         a line for each recipient that comes to a result, also those of the last minutes: result ADDRESS WHAT CODE STATUS WORDS;
 *                     a line "end" when nobody is left without one. Ends when the client does, or after an hour
 *
 * wait is for everybody: an id is known to who has sent the message. The others are for root and the account of the server, as the kernel
 * names them (SO_PEERCRED). Nobody is waited for: what a client does not take within ten seconds ends the connection. */

enum { CONTROL_DESTS = 200 };           /* destinations that are told of at most */

/* ---- the server */

/* Listens. 0, or -1 and it is logged: the program does without. */
int control_start(const struct settings *);
void control_stop(void);
/* For queue_config.settled: keeps the result for who waits for it, and for who will. arg is not used. */
void control_settled(void *arg, const struct mail *, const struct rcpt *, const struct result *);

/* ---- for commands */

/* Where it is: the setting, or `control` in the queue directory. False: switched off, or the path is too long. */
bool control_path(const struct settings *, char *path, size_t size);
/* Connects and says the line, within so many ms. A descriptor, or -1 with errno: ENOENT, ECONNREFUSED: nobody runs; EACCES: not for this
 * account; EAGAIN: nobody takes the call. */
int control_call(const struct settings *, const char *line, int64_t ms);
/* Asks and reads the whole answer, for 5 s and 4 MB at most. True: it is in `out`, without the "ok". False: *why says what is wrong. */
bool control_ask(const struct settings *, const char *line, struct buf *out, const char **why);

/* Takes a word of a line of an answer, up to the tab behind it; of one without a tab the rest. */
struct str control_field(struct str *line);

struct control_dest {                   /* slices of the answer */
	struct str dest;                /* a domain; "+": what goes to several and was not opened yet */
	uint64_t entries, held, connections, failures;
	int64_t oldest;                 /* Unix seconds of the oldest message */
	int64_t again;                  /* down: Unix seconds at which one message tries it again; 0: up */
	bool ours;                      /* it is down by a fault of this host or its settings */
	struct str words;               /* why */
};
/* Takes the next one off an answer to destinations or top. False: there is none. */
bool control_next_dest(struct str *rest, struct control_dest *);
/* The one of this name. False: nothing is said of it. */
bool control_find_dest(struct str answer, struct str dest, struct control_dest *);

#endif
