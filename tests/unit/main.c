/* Runs every suite of tests/unit/: suites.h is made by the Makefile from the names of the files. */
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
	NULL
};

int main(void)
{
	SRunner *runner = srunner_create(NULL);
	int failed;

	/* As the program itself does: a peer that goes away is an error of write(), not our end. */
	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; suites[i]; i++)
		srunner_add_suite(runner, suites[i]());
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
