/* sendmail --wait: what becomes of a message that the running program has. */
#ifndef CMD_AWAIT_H
#define CMD_AWAIT_H

#include "cmd/settings.h"

/* Waits until every recipient of the message has a first result, for so many seconds at most. Says on stderr what was refused or put off, on
 * stdout (verbose) what was delivered. An exit status: 0: all delivered; 65, 67, 68, 69 or 77: somebody was refused for good; 75: somebody is
 * tried again later, or nothing has been heard, which is said. */
int await_results(const struct settings *, const char *id, int64_t seconds, bool verbose);
/* What a refusal is called among programs that run sendmail; 75 for one that is not final. */
int await_status(int code, struct str enhanced);

#endif
