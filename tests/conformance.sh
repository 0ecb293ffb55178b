#!/bin/sh
# Runs suites of cases, ours and what others publish: tests/conformance.sh PROGRAMS DATA; PROGRAMS-NAME reads them: of DATA those that are there,
# DATA/{spf,dkim,dmarc,arc}/*.yml and DATA/psl/*.txt. Ends with "N passed, N failed".
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
published() { # published PROGRAM FILE...
	program=$1
	shift
	if [ -e "$1" ]; then
		run "$programs-$program" "$@"
	else
		echo "there is no $1: say where suites lie with CONFORMANCE=DIR"
		failed=$((failed + 1))
	fi
}
published spf "$data"/spf/*.yml
published psl "$data"/psl/*.txt
for suite in tests/conformance/*.yml "$data"/dkim/*.yml "$data"/dmarc/*.yml "$data"/arc/*.yml; do
	[ -e "$suite" ] && run "$programs-mail" "$suite"
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
