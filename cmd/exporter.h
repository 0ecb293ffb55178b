/* Figures for monitoring over HTTP, for who has no file collector: GET /metrics and nothing else (setting metrics_listen). */
#ifndef CMD_EXPORTER_H
#define CMD_EXPORTER_H

#include "cmd/settings.h"

/* Listens, if the setting says so. 0, or -1 and it is logged: the program does without. A client gets ten seconds from its first octet to the last
 * of the answer, eight are served at a time, and the figures are at most a second old. */
int exporter_start(const struct settings *);
void exporter_stop(void);

#endif
