#!/bin/sh
# Runs the unit tests: tests/run-unit.sh PROGRAM [SUITE]. Their temporary files go to one directory that is removed.
# VALGRIND=1 runs them under valgrind. Much of their time is waiting: several processes share the suites (UNIT_JOBS).
set -u
keep="VALGRIND UNIT_JOBS ASAN_OPTIONS UBSAN_OPTIONS CK_RUN_SUITE CK_RUN_CASE CK_EXCLUDE_TAGS CK_VERBOSITY CK_FORK CK_DEFAULT_TIMEOUT
	CK_TIMEOUT_MULTIPLIER
	FARDEL_GOLDEN SEED CHANCE RIG_LOG RIG_WAL TEST_LOG"
. "$(dirname "$0")/clean.sh"
program=$1
TMPDIR=$(mktemp -d "${TMPDIR:-/tmp}/fardel-unit.XXXXXX") || exit 1
chmod 711 "$TMPDIR"                # a test may become somebody else
trap 'chmod -R u+rwX "$TMPDIR" 2>/dev/null; rm -rf "$TMPDIR"' EXIT
trap 'exit 130' INT TERM HUP
HOME=$TMPDIR
export TMPDIR HOME

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
	# It knows no write hints; and a connection that there is no descriptor for is taken and dropped by it, where the kernel lets it wait.
	CK_EXCLUDE_TAGS=${CK_EXCLUDE_TAGS:-write-hint descriptors}
	export CK_TIMEOUT_MULTIPLIER CK_EXCLUDE_TAGS
	valgrind -q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite "$program"
elif [ "${CK_RUN_SUITE:-}" ]; then
	"$program" >"$TMPDIR/all" 2>&1
	status=$?
	cat "$TMPDIR/all"
	grep -aq '^[0-9]*%: Checks: 0,' "$TMPDIR/all" || exit $status
	echo "unit: no suite is called $CK_RUN_SUITE" >&2
	exit 1
else
	jobs=${UNIT_JOBS:-$(($(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1) + 1))}
	running=
	part=0
	while [ $part -lt "$jobs" ]; do
		"$program" $part/"$jobs" >"$TMPDIR/part.$part" 2>&1 &
		running="$running $!"
		part=$((part + 1))
	done
	trap 'kill $running 2>/dev/null; exit 130' INT TERM HUP
	status=0
	part=0
	for pid in $running; do
		wait "$pid" || status=1
		sed '/^[0-9]*%: Checks: /d' "$TMPDIR/part.$part"
		# A part that died has no closing line, and counts as an error.
		grep -a '^[0-9]*%: Checks: ' "$TMPDIR/part.$part" || echo "0%: Checks: 1, Failures: 0, Errors: 1"
		part=$((part + 1))
	done >"$TMPDIR/all"
	grep -av '^[0-9]*%: Checks: ' "$TMPDIR/all"
	sed -n 's/^[0-9]*%: Checks: \([0-9]*\), Failures: \([0-9]*\), Errors: \([0-9]*\)$/\1 \2 \3/p' "$TMPDIR/all" |
		awk '{ c += $1; f += $2; e += $3 } END { printf "%d%%: Checks: %d, Failures: %d, Errors: %d\n", c ? (c - f - e) * 100 / c : 0, c, f, e }'
	exit $status
fi
