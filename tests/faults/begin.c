/* Preloaded into fardel by fail.py: stops it where the loader and the libraries have done their work and main() is next, until a tracer
 * is there. */
#include <signal.h>
#include <stdlib.h>

static __attribute__((constructor)) void begin(void)
{
	unsetenv("LD_PRELOAD");
	raise(SIGSTOP);
}
