/* A queue with a clock that jumps (tests/queue_rig.h) and a DNS of a few texts, for those who send reports of days. */
#ifndef TESTS_REPORT_RIG_H
#define TESTS_REPORT_RIG_H

#include <stdbool.h>

#include "tests/queue_rig.h"

/* RIG_WALL is soon after its midnight; tests begin five hours later, when the day before is due. */
#define TODAY "2026-11-30"
enum { HOUR = 3600, NIGHT = 24 * HOUR };

struct report_txt { const char *name, *txt; };
struct report_rig {
	unsigned asked;                 /* texts */
	bool dns_is_down;
	const char *silent;             /* what is asked of this domain is never answered */
};
extern struct report_rig report_rig;

void report_rig_open(const struct report_txt *zone, size_t n);         /* borrowed */
void report_rig_close(void);
bool report_rig_has(const char *dir, const char *name);                 /* a file in a directory of the queue */

#endif
