/* What a running server gives up once it has opened all that it needs (the setting `sandbox`). */
#ifndef CMD_CONFINE_H
#define CMD_CONFINE_H

#include "cmd/settings.h"

/* To be called when the helpers run and the ports are open. Writes into the log what is in force from now on. 0, or EX_OSERR
 * when the setting says must and something is missing: then the process must end. */
int confine(const struct settings *);

#endif
