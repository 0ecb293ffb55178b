/* Giving up, for good, what this process and all that it forks from now on will never need: Landlock (Linux 5.19 or later) for
 * the file system, a seccomp filter (libseccomp, optional) for system calls. */
#ifndef LIB_SANDBOX_H
#define LIB_SANDBOX_H

#include "lib/buf.h"

enum {
	SANDBOX_FILES = 1,              /* nothing but /dev/null can be written outside the places */
	SANDBOX_EXECUTE = 2,            /* no program can be executed */
	SANDBOX_CALLS = 4               /* no ptrace, mount, module, namespace, keyring, ... : they fail with EPERM */
};
struct sandbox {
	const char *const *place;       /* directories; below them everything may be made, changed and removed. One that is not there is passed over */
	size_t n;
	bool executes;                  /* programs are still started: SANDBOX_EXECUTE is not asked for */
};
/* Sets no_new_privs. Returns what is in force, a sum of the above; for each that is not, *why gets a clause ("; " between them).
 * Reading is not confined: what the account may read, it may. */
unsigned sandbox_enter(const struct sandbox *, struct buf *why);

#endif
