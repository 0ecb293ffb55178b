# The tests themselves: they are the same wherever they are started.

it tests_begin_anew "what runs tests sees nothing of where it was started: variables, limits, ignored signals, descriptors, a directory that is no good"
tests_begin_anew() {
	mkdir "$T/a place"
	cat >"$T/anew" <<-'END'
		keep=KEPT
		. tests/clean.sh
		env
		echo "arguments $# <$2>"
		echo "umask $(umask), core $(ulimit -c), descriptors $(ulimit -n)"
		sed -n 's/^SigIgn:[^0-9a-f]*/ignored /p' /proc/self/status
		[ -e /proc/self/fd/7 ] && echo "descriptor 7 is open"
		cat
	END
	(
		umask 077
		ulimit -S -n 100
		trap '' INT HUP QUIT PIPE
		echo outside >"$T/in"
		exec env -i PATH="$PATH" KEPT='a b' TMPDIR="$T/a place" TESTS_CLEAN=1 FARDEL_CONF=outside FARDEL_HOSTNAME=outside RELAYHOST=outside \
			JOURNAL_STREAM=outside SHELL=/outside TERM=outside LANG=outside LC_ALL=outside TZ=outside HOME=/outside USER=outside \
			http_proxy=outside MAKEFLAGS=outside sh "$T/anew" one 'two words' <"$T/in" 7<"$T/in"
	) >"$T/said" 2>"$T/complaint"
	grep outside "$T/said" && fail "something is seen: $(grep outside "$T/said")"
	has '^KEPT=a b$' "$T/said"
	has '^LC_ALL=C$' "$T/said"
	has '^TMPDIR=/[a-z/]*$' "$T/said"
	has 'a place is too long or odd' "$T/complaint"
	has '^arguments 2 <two words>$' "$T/said"
	has '^umask 0022, core 0, descriptors ' "$T/said"
	grep 'descriptors 100$' "$T/said" && fail "the limit is still there"
	grep 'descriptor 7' "$T/said" && fail "a descriptor was left"
	# the 32nd and 33rd are the C library's own, which env leaves alone
	if env --default-signal true 2>/dev/null; then has '^ignored [0-9a-f]*[08]0000000$' "$T/said"; fi
}
