#!/bin/sh
# Unit tests, then end to end; the last lines name what failed and sum both up. tests/check.sh UNIT-PROGRAM [SUITE]
set -u
cd "$(dirname "$0")/.." || exit 1
log=$(mktemp "${TMPDIR:-/tmp}/fardel-check.XXXXXX") || exit 1
trap 'rm -f "$log" "$log.failed"' EXIT
trap 'exit 130' INT TERM HUP
passed=0
failed=0
skipped=0

# run NAME COMMAND...: shows its output; its status lands in $status, its text in $log.
run() {
	name=$1
	shift
	echo "== $name"
	{ "$@" 2>&1; echo "status $?"; } | tee "$log" | grep -v '^status [0-9]*$'
	status=$(sed -n '$s/^status //p' "$log")
	# Check's lines say where: "FILE:LINE:F:CASE:TEST:0: why", E if it died; those of end to end begin with FAIL.
	grep -a -e '^[^ :]*:[0-9]*:[FE]:' -e '^FAIL  ' "$log" >>"$log.failed"
}

# count P F S: a step that failed without naming a failed test is a failure too.
count() {
	passed=$((passed + $1))
	failed=$((failed + $2))
	skipped=$((skipped + $3))
	if [ "$2" = 0 ] && [ "$status" != 0 ]; then
		echo "$name: ended with status $status" >&2
		failed=$((failed + 1))
	fi
}

run "unit tests" sh tests/run-unit.sh "$@"
# Check's closing line: "99%: Checks: 250, Failures: 1, Errors: 0"
numbers=$(sed -n 's/^[0-9]*%: Checks: \([0-9]*\), Failures: \([0-9]*\), Errors: \([0-9]*\)$/\1 \2 \3/p' "$log" | tail -n 1)
if [ "$numbers" ]; then
	# shellcheck disable=SC2086
	set -- $numbers ${2+"$2"}
	count $(($1 - $2 - $3)) $(($2 + $3)) 0
	only=${4:-}
else
	echo "unit tests: did not come to their closing line" >&2
	count 0 1 0
	only=
fi

if [ -z "$only" ] && [ -e tests/e2e/run.sh ]; then
	run "end to end" sh tests/e2e/run.sh
	numbers=$(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed\(, \([0-9]*\) skipped\)\{0,1\}$/\1 \2 \4/p' "$log" | tail -n 1)
	if [ "$numbers" ]; then
		# shellcheck disable=SC2086
		set -- $numbers
		count "$1" "$2" "${3:-0}"
	else
		echo "end to end: did not come to its closing line" >&2
		count 0 1 0
	fi
fi

# Once more at the end, where they are found.
head -n 20 "$log.failed" | cut -c 1-400
if [ "$skipped" -gt 0 ]; then
	echo "$passed passed, $failed failed, $skipped skipped"
else
	echo "$passed passed, $failed failed"
fi
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
