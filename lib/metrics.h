/* How often each event has happened since the start, for monitoring: the names are those of the log, whether its level writes them or not. */
#ifndef LIB_METRICS_H
#define LIB_METRICS_H

#include "lib/buf.h"

/* Called for every log_event(). The name is a constant. Of a name too many for the table nothing is counted. */
void metrics_count(const char *event);
/* Appends the counters in the text form of Prometheus: fardel_events_total{event="delivered"} 5. Those that matter to whoever looks after
 * mail are there from the start, with 0. False: no memory. */
bool metrics_print(struct buf *out);
/* Appends one figure with its help and type ("gauge", "counter"). */
bool metrics_figure(struct buf *out, const char *name, const char *type, const char *help, int64_t value);
/* Appends a line "count<TAB>NAME<TAB>VALUE" for each counter. */
void metrics_lines(struct buf *out);
void metrics_reset(void);                       /* tests */

#endif
