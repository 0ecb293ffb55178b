/* A caller of the client, for tests: hands over its jobs one after the other, says QUIT behind the last one, and
 * writes down what it is told, one line each:
 *
 *   ready                                    "ready inside TLS"
 *   b@y.test: 250 2.1.5 taken                a result
 *   done                                     all have results
 *   done: 0 4.4.2 connection lost after ...  the others hear this
 *   untried: ...                             the same, and no failure
 *   left                                     client_send() took a job no more
 *   gone: 221 2.0.0 bye
 *   = mx.test[127.0.0.1]:25                  what was said, if it is wanted
 *   tls failed                               behind gone: another connection in clear may succeed */
#ifndef TESTS_CALLER_H
#define TESTS_CALLER_H

#include <stdio.h>

#include "client.h"
#include "lib/buf.h"

enum { CALLER_JOBS = 8 };

struct errand {
	struct client_job job;
	struct sender from;
	struct recipient *to;
	const struct recipient **to_list;
	unsigned *results;                      /* how many each recipient got */
	FILE *file;
	struct caller *caller;
};
struct caller {
	struct client_config config;
	const char *host;               /* the peer's name; NULL: mx.test */
	struct client *client;
	struct errand errands[CALLER_JOBS];
	size_t n, sent;
	bool dialogue;                          /* behind done, and behind gone when there was no ready: what was said, as client_dialogue() has it */
	bool keep;                              /* leave the connection open behind the last job */
	bool gone;
	msec step;                              /* the loop's time a turn at most; 0: 1000 */
	unsigned turns;                         /* spent in caller_run() */
	struct buf told;
};

void caller_init(struct caller *, bool lmtp);
/* "FROM:<a@x.test> RET=HDRS" begins a job, "TO:<b@y.test>" adds a recipient to the last one. False: not understood. */
bool caller_from(struct caller *, struct str args);
bool caller_to(struct caller *, struct str args);
void caller_message(struct caller *, size_t job, struct str message);   /* copied; jobs count from 0 */
/* Connects and turns the loop until gone(). False: it did not end in a hundred thousand turns. */
bool caller_run(struct caller *, const struct sockaddr *, socklen_t);
const char *caller_told(struct caller *);
void caller_free(struct caller *);

#endif
