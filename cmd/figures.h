/* Figures for monitoring, as a file in the text form of Prometheus (node_exporter's textfile collector reads such). */
#ifndef CMD_FIGURES_H
#define CMD_FIGURES_H

#include "lib/buf.h"

/* Writes them to path now and every 15 s, whole or not at all, readable for everybody. NULL: no more. Borrowed until the next call. What cannot be
 * written is logged once. Called again when the setting has changed. */
void figures_write_to(const char *path);

/* Appends them to out as they are written to the file, and the queue's by destination. False: no memory. */
bool figures_print(struct buf *out);
/* Appends lines "figure NAME VALUE" with what a screen needs. */
void figures_lines(struct buf *out);

#endif
