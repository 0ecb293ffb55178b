/* The drop directory: other programs put files into queue/new (by rename from queue/tmp), we take copies. */
#ifndef CMD_DROP_H
#define CMD_DROP_H

#include <stdbool.h>
#include <stdint.h>

struct sendas_rules;
struct signer;

struct drop_config {                    /* borrowed */
	const char *queue;              /* the queue directory, open */
	const char *hostname, *origin;
	uint64_t message_size;
	int64_t future_max;             /* seconds that one may be held (RFC 4865) */
	const struct signer *signer;    /* DKIM keys, or NULL */
	const struct sendas_rules *send_as;
};
/* Begins with what lies there and watches for more. 0 or -1 with errno. */
int drop_start(const struct drop_config *);
void drop_stop(void);                   /* before queue_close(); a drop being committed is still removed when that has ended */
bool drop_idle(void);                   /* nothing is being taken in, or nothing can be for the moment */
void drop_look(void);                   /* look again now */

#endif
