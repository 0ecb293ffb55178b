/* The account that the program works as once it needs root no more (the setting `user`). */
#ifndef LIB_ACCOUNT_H
#define LIB_ACCOUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct account {
	char name[64];
	uid_t uid;
	gid_t gid;
	char home[512], shell[256];
};

/* NULL, or what is wrong with the name, with a remedy; errno is 0 when that is how it is, and not that it could not be found out. */
const char *account_find(const char *name, struct account *);
/* The same for anybody: uid 0 may come out, and is no account to become. */
const char *account_look_up(const char *name, struct account *);
/* As root: when path is missing, makes the first missing directory of it (with that mode) and gives it to the account, which then can
 * make the rest; unless what is above it is the account's already. 0 or -1 with errno. */
int account_make_first(const struct account *, const char *path, mode_t mode);
/* For good: groups, gid, uid; no way back, no set-id program, no core dump, no tracing by others of the account. 0, or -1 with
 * errno and *step says what was refused: then the process must end. */
int account_become(const struct account *, const char **step);
/* As account_become(), but nothing to do (0) when the process has the account's uid already. Else it must be root: a sentence
 * in why and -1. */
int account_settle(const struct account *, char *why, size_t size);

#endif
