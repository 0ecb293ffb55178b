#include "tests/limits.h"

#include <sys/resource.h>

bool limits_allow(unsigned n)
{
	struct rlimit r;

	return getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur >= n;
}
