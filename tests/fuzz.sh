#!/bin/sh
# Runs each fuzzer for a while: tests/fuzz.sh SECONDS PROGRAM... Seeds come from
# tests/fuzz/corpus/NAME/ and words from tests/fuzz/NAME.dict; new inputs stay in build/fuzz/corpus/ for the next run.
set -u
seconds=$1
shift
cd "$(dirname "$0")/.." || exit 1
passed=0
failed=0
for program in "$@"; do
	name=${program##*/fuzz-}
	corpus=build/fuzz/corpus/$name
	mkdir -p "$corpus"
	seeds=
	dict=
	[ -d "tests/fuzz/corpus/$name" ] && seeds=tests/fuzz/corpus/$name
	[ -f "tests/fuzz/$name.dict" ] && dict=-dict=tests/fuzz/$name.dict
	log=build/fuzz/$name.log
	# shellcheck disable=SC2086
	if "$program" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 $dict \
		-artifact_prefix="build/fuzz/$name-" "$corpus" $seeds >"$log" 2>&1; then
		echo "$name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs in $seconds s"
		passed=$((passed + 1))
	else
		grep -v -e '^#' -e 'NEW_FUNC' "$log" | tail -n 60
		echo "$name: FAILED; the input is beside $log"
		failed=$((failed + 1))
	fi
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
