/* Random octets from the kernel. */
#include "lib/rand.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/random.h>

#include "lib/log.h"

/* Small requests are served from a block, so that an id costs no system call of its own. */
static unsigned char pool[256];
static size_t left;

/* A forked child must not serve what its parent will serve, too. */
static void forget(void)
{
	left = 0;
}

static void from_kernel(unsigned char *p, size_t n)
{
	while (n) {
		ssize_t got = getrandom(p, n, 0);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			log_end("no random octets");    /* ids and ports that can be guessed are worse than no mail server */
		p += got;
		n -= (size_t)got;
	}
}

void rand_bytes(void *out, size_t n)
{
	static bool watching;
	unsigned char *p = out;

	if (n > sizeof pool / 4) {
		from_kernel(p, n);
		return;
	}
	if (left < n) {
		from_kernel(pool, sizeof pool);
		left = sizeof pool;
		if (!watching)
			watching = pthread_atfork(NULL, NULL, forget) == 0;
	}
	for (size_t i = 0; i < n; i++) {
		p[i] = pool[--left];
		pool[left] = 0;
	}
}

uint64_t rand_u64(void)
{
	uint64_t x;

	rand_bytes(&x, sizeof x);
	return x;
}

uint32_t rand_below(uint32_t limit)
{
	uint32_t x, bias = (uint32_t)-limit % limit;     /* 2^32 mod limit */

	do
		rand_bytes(&x, sizeof x);
	while (x < bias);
	return x % limit;
}
