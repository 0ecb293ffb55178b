/* Figures for monitoring, as a file in the text form of Prometheus (node_exporter's textfile collector reads such). */
#ifndef CMD_FIGURES_H
#define CMD_FIGURES_H

#include <stdbool.h>

/* Writes them to path now and every 15 s, whole or not at all, readable for everybody. NULL: no more. Borrowed until the next call. What cannot be
 * written is logged once. Called again when the setting has changed. */
void figures_write_to(const char *path);

#endif
