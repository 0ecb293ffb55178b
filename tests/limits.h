/* What the place allows where tests run. */
#ifndef TESTS_LIMITS_H
#define TESTS_LIMITS_H

#include <stdbool.h>

/* May this process open n descriptors? A test that needs more than are allowed is left out. */
bool limits_allow(unsigned n);

#endif
