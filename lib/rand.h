/* Random octets from the kernel. They never fail: without a source the program ends. */
#ifndef LIB_RAND_H
#define LIB_RAND_H

#include <stddef.h>
#include <stdint.h>

void rand_bytes(void *, size_t);
uint64_t rand_u64(void);
uint32_t rand_below(uint32_t limit);            /* 0 <= result < limit, without bias; limit > 0 */

#endif
