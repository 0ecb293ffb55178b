#!/bin/sh
# Runs each fuzzer for a while: tests/fuzz.sh SECONDS PROGRAM... New inputs stay in build/fuzz/corpus/ for the next run.
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
	[ -d "tests/fuzz/$name.seeds" ] && seeds=tests/fuzz/$name.seeds
	echo "== $name, $seconds s"
	# shellcheck disable=SC2086
	if "$program" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -print_final_stats=0 -verbosity=0 \
		-artifact_prefix="build/fuzz/$name-" "$corpus" $seeds; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
	fi
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
