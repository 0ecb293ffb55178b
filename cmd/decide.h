/* A question of the command line that an evaluator decides over the DNS, as the server would. */
#ifndef CMD_DECIDE_H
#define CMD_DECIDE_H

#include "cmd/settings.h"
#include "lib/facts.h"

struct decision {
	const char *command;            /* for complaints: "spf" */
	unsigned lookups;               /* facts at most */
	unsigned seconds;               /* then late() decides */
	enum verdict (*check)(void *arg, struct facts *);
	void (*late)(void *arg);
	void *arg;
};
/* Asks the resolvers of the settings until check() says something else than WAIT, or the time is over. 0, or an exit status after a complaint on
 * stderr. dns_stop() is the caller's. */
int decide(const struct decision *, const struct settings *);

#endif
