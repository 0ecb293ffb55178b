#!/bin/sh
# Runs what others publish: tests/conformance.sh PROGRAMS DATA; PROGRAMS-NAME reads the files of DATA/NAME/. Ends with "N passed, N failed".
set -u
programs=$1
data=$2
passed=0
failed=0
run() {
	said=$("$@" 2>&1)
	printf '%s\n' "$said"
	counts=$(printf '%s\n' "$said" | sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' | tail -n 1)
	[ -n "$counts" ] || counts="0 1"        # it did not come to its end
	passed=$((passed + ${counts% *}))
	failed=$((failed + ${counts#* }))
}
run "$programs-spf" "$data"/spf/*.yml
run "$programs-psl" "$data"/psl/*.txt
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
