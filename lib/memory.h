/* Memory that is free goes back to the system, also where it lies in pieces between what is in use. */
#ifndef LIB_MEMORY_H
#define LIB_MEMORY_H

/* From now on, at the end of a turn, once a minute at most. Where the C library cannot do that (musl), it never happens. */
void memory_give_back(void);

#endif
