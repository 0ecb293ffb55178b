/* Requests to the process that stays root, by somebody who has taken over the rest of the program: a user's name that is one, or a path
 * without a NUL, or nothing. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/root.h"
#include "lib/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void must(bool holds)
{
	if (!holds)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	char name[ROOT_MESSAGE];

	switch (root_parse(data, n, name)) {
	case ROOT_WRONG:
		break;
	case ROOT_OPEN:
		must(strlen(name) == n - 1 && memcmp(name, data + 1, n - 1) == 0);
		break;
	case ROOT_USER:
		must(strlen(name) == n - 1 && memcmp(name, data + 1, n - 1) == 0);
		must(n - 1 < sizeof ((struct account *)0)->name && name[0] != '-' && name[0] != '.');
		for (const char *c = name; *c; c++)
			must(ascii_alpha(*c) || ascii_digit(*c) || strchr("._+-", *c));
		break;
	}
	return 0;
}
