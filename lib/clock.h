/* The two clocks of the machine. Everything else asks loop_now() and loop_wall(). */
#ifndef LIB_CLOCK_H
#define LIB_CLOCK_H

#include <stdint.h>

#define CLOCK_SANE INT64_C(1790000000)          /* September 2026: what is earlier comes from a board without a clock */

int64_t clock_monotonic_ms(void);
int64_t clock_wall_s(void);
/* "Mon, 23 Nov 2026 09:00:00 +0000" (RFC 5322 3.3) in local time; buf holds at least 40. Returns buf. */
char *clock_rfc5322(int64_t wall, char *buf);
/* "2026-11-23T09:00:00Z"; buf holds at least 40. Returns buf. */
char *clock_rfc3339(int64_t wall, char *buf);

#endif
