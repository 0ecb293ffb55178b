#!/bin/sh
# End to end: the built program against other people's mail servers and against kill -9, all on loopback, as root or not.
#   tests/e2e/run.sh [NAME...]      only the cases whose names begin so
# One line for each case, "N passed, N failed, N skipped" at last; `make e2e` builds what is needed first.
# PROGRAM=build/asan/fardel tests another variant (make VARIANT=asan build/asan/fardel).
# A failed case leaves its directory (KEEP=1: every case does) and says where.
set -u
# What leads out of this machine is for those alone who fetch other people's programs: outside() in packages.sh.
ways_out="HOME http_proxy https_proxy no_proxy APT_CONFIG NODE_EXTRA_CA_CERTS"
keep="KEEP PROGRAM EML ASAN_OPTIONS UBSAN_OPTIONS $ways_out"
. "$(dirname "$0")/../clean.sh"
root=$(cd "$(dirname "$0")/../.." && pwd) || exit 1
cd "$root" || exit 1
fardel=${PROGRAM:-$root/fardel}
tools=$root/build/default/e2e
for program in "$fardel" "$tools/fakedns_main" "$tools/inject"; do
	[ -x "$program" ] || { echo "e2e: there is no $program: type make e2e" >&2; exit 1; }
done

passed=0
failed=0
skipped=0
running=
all=
base=$(mktemp -d "${TMPDIR:-/tmp}/fardel-e2e.XXXXXX") || exit 1
chmod 711 "$base"
# A copy: somebody may build while we run.
mkdir "$base/bin" "$base/home" && cp "$fardel" "$base/bin/fardel" || exit 1
fardel=$base/bin/fardel
chmod 755 "$base/bin" "$fardel"          # for other accounts, too, whatever the umask was when it was built
tidy() {
	trap - EXIT INT TERM HUP
	if [ "$running" ]; then
		kill "$running" 2>/dev/null
		wait "$running" 2>/dev/null
		[ "${KEEP:-}" ] || rm -rf "$T"
	fi
	rm -rf "$base/bin" "$base/home" "$base/store" "$base/no_way_out"
	rmdir "$base" 2>/dev/null
}
trap tidy EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# it NAME PROMISE: the function NAME is a case that shows it.
it() {
	all="$all $1"
	eval "promise_$1=\$2"
}
. tests/e2e/lib.sh
. tests/e2e/packages.sh
# Other people's servers do not go with a blank in their path: there may be one in ours.
mkdir -p "$store" && ln -s "$store" "$base/store" && store=$base/store || exit 1
HOME=$base/home
export HOME
for file in tests/e2e/cases/*.sh; do . "./$file"; done
# One shell reads them all: a second function of a name would take the place of the first.
twice=$(sed -n 's/^\([a-z_][a-z_0-9]*\)().*/\1/p' tests/e2e/lib.sh tests/e2e/packages.sh tests/e2e/cases/*.sh | sort | uniq -d)
if [ -n "$twice" ]; then
	echo "e2e: two functions are called $twice" >&2
	exit 1
fi

wanted() {
	name=$1
	shift
	[ $# = 0 ] && return 0
	for begin in "$@"; do
		case $name in "$begin"*) return 0 ;; esac
	done
	return 1
}

# run_case NAME: in a subshell of its own, with a directory of its own ($T) and its words in $T/out.
run_case() {
	T=$base/$1
	mkdir "$T" || exit 1
	began=$(date +%s)
	(
		started=
		trap end_all EXIT
		trap 'exit 143' INT TERM HUP
		"$1"
	) </dev/null >"$T/out" 2>&1 &
	running=$!
	wait $running
	status=$?
	running=
	# A failure in a part of a pipeline ended that part alone.
	[ $status = 0 ] && [ -e "$T/why" ] && status=1
	eval "promise=\$promise_$1"
	took="$(($(date +%s) - began)) s"
	case $status in
	0) passed=$((passed + 1)); echo "ok    $1: $promise ($took)" ;;
	77) skipped=$((skipped + 1)); echo "skip  $1: $(cat "$T/why")" ;;
	*)
		failed=$((failed + 1))
		echo "FAIL  $1: $promise: $(cat "$T/why" 2>/dev/null || echo "status $status") ($took; see $T)"
		tail -n 15 "$T/out" | sed 's/^/      /'
		return
		;;
	esac
	[ -s "$T/note" ] && sed 's/^/      /' "$T/note"
	[ "${KEEP:-}" ] || rm -rf "$T"
}

for case in $all; do
	wanted "$case" "$@" && run_case "$case"
done
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ] && [ $((passed + skipped)) -gt 0 ]
