/* A question of the command line that an evaluator decides over the DNS, as the server would. */
#ifndef CMD_DECIDE_H
#define CMD_DECIDE_H

#include "cmd/settings.h"
#include "lib/facts.h"

struct decision {
	const char *command;            /* for complaints of decide(): "spf" */
	unsigned lookups;               /* facts at most */
	unsigned seconds;               /* then late() decides */
	enum verdict (*check)(void *arg, struct facts *);
	void (*late)(void *arg);        /* NULL: nothing more is known then */
	void *arg;
};
/* From here to dns_stop() facts come from the resolvers of the settings and from /etc/hosts. NULL, or what is wrong. */
const char *decide_begin(const struct settings *);
/* Waits until check() says something else than WAIT, or the time is over. False: out of memory. */
bool decide_wait(const struct decision *);
/* Both; dns_stop() is the caller's. 0, or an exit status after a complaint on stderr. */
int decide(const struct decision *, const struct settings *);

#endif
