/* Preloaded into fardel, so that the soak must find something: each accepted connection leaves memory or a descriptor behind, as the
 * environment's SOAK_LEAK says. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { LEAK = 256 << 10 };

int accept4(int fd, struct sockaddr *a, socklen_t *n, int flags)
{
	int (*real)(int, struct sockaddr *, socklen_t *, int);
	const char *what = getenv("SOAK_LEAK");
	int got;

	*(void **)&real = dlsym(RTLD_NEXT, "accept4");
	got = real(fd, a, n, flags);
	if (got != -1 && what && !strcmp(what, "memory")) {
		static void *volatile last;

		last = malloc(LEAK);
		if (last)
			memset(last, 1, LEAK);
	}
	if (got != -1 && what && !strcmp(what, "descriptors"))
		fcntl(got, F_DUPFD_CLOEXEC, 0);
	return got;
}
