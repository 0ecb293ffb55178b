/* Those who send: sessions of SMTP of all kinds, drop files, `fardel sendmail` and `fardel inetd`; some threads, a common pace. */
#ifndef TESTS_SOAK_LOAD_H
#define TESTS_SOAK_LOAD_H

#include <stdbool.h>
#include <sys/types.h>

struct load_config {
	const char *program, *conf, *queue;
	unsigned port;
	double rate;                    /* messages a second, at most */
	unsigned most_waiting;          /* recipients who have heard nothing: nobody sends while there are more */
};

/* NULL, or why nothing is sent. */
const char *load_begin(const struct load_config *);
/* False: somebody is still sending after so many seconds. */
bool load_end(double seconds);
/* How many ways to send have been gone, of how many. */
unsigned load_ways(unsigned *of);
/* The name of a way and how many sessions went it; NULL behind the last one. */
const char *load_way(unsigned i, unsigned *sessions);
/* Runs the program with these words, in its own process; its input and output are `in` and nothing. Ends it after so many seconds.
 * Returns its exit status, or -1 when a signal ended it. */
int soak_command(double seconds, int in, const char *const *argv);
pid_t soak_spawn(int in, int out, const char *const *argv);

#endif
