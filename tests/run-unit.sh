#!/bin/sh
# Runs the unit tests: tests/run-unit.sh PROGRAM [SUITE]. Their temporary files go to one directory that is removed.
# VALGRIND=1 runs them under valgrind.
set -u
program=$1
TMPDIR=$(mktemp -d "${TMPDIR:-/tmp}/fardel-unit.XXXXXX") || exit 1
chmod 711 "$TMPDIR"                # a test may become somebody else
trap 'chmod -R u+rwX "$TMPDIR" 2>/dev/null; rm -rf "$TMPDIR"' EXIT
trap 'exit 130' INT TERM HUP
export TMPDIR

# Slow machines and sanitizers: Check's own limit of 4 s a test measures the machine, not the program.
CK_DEFAULT_TIMEOUT=${CK_DEFAULT_TIMEOUT:-60}
export CK_DEFAULT_TIMEOUT
if [ $# -gt 1 ]; then
	CK_RUN_SUITE=$2
	export CK_RUN_SUITE
fi
ASAN_OPTIONS=${ASAN_OPTIONS:-abort_on_error=0:detect_stack_use_after_return=1}
UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
export ASAN_OPTIONS UBSAN_OPTIONS

if [ "${VALGRIND:-}" ]; then
	CK_TIMEOUT_MULTIPLIER=10
	export CK_TIMEOUT_MULTIPLIER
	valgrind -q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite "$program"
else
	"$program"
fi
