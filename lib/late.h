/* Libraries that few need, opened at their first use: who never asks for them pays no memory, and no time to link them in each session of inetd
 * and each call of sendmail. One that is not there is as if the build had not found it. */
#ifndef LIB_LATE_H
#define LIB_LATE_H

#include <stdbool.h>

struct late {
	const char *file;               /* by this name the loader finds it; "": it is linked as others are */
	void *handle;
};

/* To be asked before its functions are called. False: it is not there, or there is no room for it now; the next time may go well. */
bool late_open(struct late *);
/* Could it be opened? Takes a millisecond and leaves it as it was. */
bool late_is_there(struct late *);
void late_close(struct late *);         /* none of its functions runs, and nothing of what it has given is in use */
/* Of an open library. One that has no such function is another one than it says: ends the program, as the loader would. */
void *late_find(struct late *, const char *function);

/* The function f of `library`, whose name is the string constant `file`. */
#define LATE(library, file, f) \
	__builtin_choose_expr(sizeof(file) > 1, (__typeof__(&(f)))late_find(&(library), #f), &(f))

#endif
