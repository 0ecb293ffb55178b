/* Free memory goes back to the system. */
#include "lib/memory.h"

#include <stdlib.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "lib/loop.h"

enum { EVERY_MS = 60000 };      /* some ms of page faults behind it are then nothing */

/* By itself the library gives back what is free behind the last piece in use, and something small that stays is soon the last one. */
static void trim(struct turn_end *e)
{
	static msec last;

	(void)e;
	if (loop_now() - last < EVERY_MS)
		return;
	last = loop_now();
#ifdef __GLIBC__
	malloc_trim(0);
#endif
}

void memory_give_back(void)
{
	static struct turn_end end = { .run = trim };

	loop_at_turn_end(&end);
}
