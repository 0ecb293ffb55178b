/* What still needs root after root has been given up: a process of its own, forked before, that does two things for the rest of the program.
 * It starts a child as a user of this system, and it opens files that were named to it when it was started.
 *
 * Who asks is not trusted: he talks to the world. A request is a letter and a name; a name that no account has, and one of an account with
 * uid 0, is refused, and so is a path that is not one of those files, letter for letter. Nothing is done as root for a user, and nothing in
 * a user's home is touched by it. What may take time (names of accounts may be asked of other hosts) is done in a child, never in the
 * process itself.
 *
 * A child has nothing of ours: a session of its own, /dev/null as 0, 1 and 2, its socket as 3, an environment of a few words. When the
 * other end of its socket is closed it has two seconds to end, then it and its process group are killed; when all of our program is gone,
 * a minute: what it has begun it may finish. */
#ifndef LIB_ROOT_H
#define LIB_ROOT_H

#include "lib/account.h"
#include "lib/child.h"

enum {
	ROOT_MESSAGE = 1024,            /* octets of a request: a letter and a path */
	ROOT_CHILDREN = 64,             /* at a time, of all users */
	ROOT_CHILDREN_EACH = 4          /* of one: to deliver, for commands, to be asked, and one that is just ending. Whose home hangs takes no more places */
};

struct root_config {                    /* borrowed */
	const char *const *file;        /* paths that may be opened */
	size_t nfiles;
	void (*forget)(void);           /* run in the new process: what was read that it need not know; or NULL */
	/* A user's child, after it has become him and sent its first message. Exits with its result. */
	int (*main)(int socket, const struct account *);
};
/* As root; as anybody else it starts children of his own account alone. 0 or -1 with errno. */
int root_start(const struct root_config *);
void root_stop(void);
bool root_in_force(void);

/* The first message of a child. */
enum root_status { ROOT_READY, ROOT_NOBODY, ROOT_IS_ROOT, ROOT_FAILED };
struct root_hello {
	enum root_status status;
	int error;                      /* ROOT_FAILED: errno */
};
/* A child as a user, to be stopped by child_stop(). It says hello; when the process refuses to start one, gone() is called.
 * 0 or -1 with errno (EAGAIN: later). */
int root_child(struct child *, const char *user);
/* A descriptor for reading one of the files, or -1 with errno. Waits for it, a few seconds at most. */
int root_open(const char *path);

/* ---- for tests: who may be sent garbage, and what a request asks for. ROOT_WRONG: nothing that could be done. */
struct child *root_helper(void);
enum root_request { ROOT_WRONG, ROOT_OPEN, ROOT_USER };
enum root_request root_parse(const void *, size_t n, char name[ROOT_MESSAGE]);

#endif
