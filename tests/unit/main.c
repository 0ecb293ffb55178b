/* Runs every suite of tests/unit/: suites.h is made by the Makefile from the names of the files. "unit 1/4" runs the second quarter of
 * them: every fourth one. */
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define SUITE(name) Suite *name##_suite(void);
#include "suites.h"
#undef SUITE

static Suite *(*const suites[])(void) = {
#define SUITE(name) name##_suite,
#include "suites.h"
#undef SUITE
	NULL                            /* no comma is left over */
};

int main(int argc, char **argv)
{
	SRunner *runner = srunner_create(NULL);
	unsigned part = 0, parts = 1;
	int failed;

	if (argc > 1 && (sscanf(argv[1], "%u/%u", &part, &parts) != 2 || part >= parts)) {
		fprintf(stderr, "unit: %s is not PART/PARTS\n", argv[1]);
		return EXIT_FAILURE;
	}

	/* As the program itself does: a peer that goes away is an error of write(), not our end. */
	signal(SIGPIPE, SIG_IGN);
	for (size_t i = part; i < sizeof suites / sizeof *suites - 1; i += parts)
		srunner_add_suite(runner, suites[i]());
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
