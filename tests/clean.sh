# Read first by what runs tests: it begins anew in an environment that is the same wherever it is started, so that no test depends on
# an account's shell, terminal, language, limits or settings for another fardel. Kept are PATH, LD_LIBRARY_PATH, TMPDIR
# and the variables in $keep.

# Can programs be run from directory $1, by others too if we can be them? Sockets have short names (108 octets), settings no blanks.
serves() {
	case $1 in [!/]* | *[!A-Za-z0-9/._+-]* | ????????????????????????????????*) return 1 ;; esac
	probe=$(mktemp "$1/fardel.XXXXXX" 2>/dev/null) || return 1
	printf '#!/bin/sh\nexit 0\n' >"$probe" && chmod 755 "$probe"
	other="setpriv --reuid 65534 --regid 65534 --clear-groups"
	$other true 2>/dev/null || other=
	$other "$probe" 2>/dev/null
	probed=$?
	rm -f "$probe"
	return $probed
}

if [ "${TESTS_CLEAN:-}" != $$ ]; then         # exec keeps the number
	PATH=${PATH:-/usr/local/bin:/usr/bin:/bin}
	for directory in /usr/local/sbin /usr/sbin /sbin; do
		case :$PATH: in *:$directory:*) ;; *) PATH=$PATH:$directory ;; esac
	done
	export PATH
	wanted=${TMPDIR:-/tmp}
	for TMPDIR in "$wanted" /tmp /var/tmp /dev/shm ''; do
		serves "$TMPDIR" && break
	done
	[ "$TMPDIR" ] || { echo "tests: no program can be run from $wanted, nor from /tmp: TMPDIR=DIRECTORY names a place where" >&2; exit 1; }
	[ "$TMPDIR" = "$wanted" ] || echo "tests: TMPDIR=$wanted is too long or odd, or programs cannot be run from there: it is $TMPDIR now" >&2
	set -- sh "$0" "$@"
	for name in TMPDIR LD_LIBRARY_PATH $keep; do
		eval "value=\${$name:-}"
		[ -z "$value" ] || set -- "$name=$value" "$@"
	done
	# What is ignored stays so in every program, and a shell cannot take it back: who writes into a pipe would not end with its
	# reader, nor anybody with ^C.
	default=--default-signal
	env $default true 2>/dev/null || default=
	name=$(id -un 2>/dev/null) || name=$(id -u)
	exec env -i $default TESTS_CLEAN=$$ PATH="$PATH" LC_ALL=C TZ=UTC0 TERM=dumb SHELL=/bin/sh USER="$name" LOGNAME="$name" "$@"
fi
unset TESTS_CLEAN
exec </dev/null 3<&- 4<&- 5<&- 6<&- 7<&- 8<&- 9<&-
umask 022
# So many descriptors the larger cases open, and no more are needed. Where fewer are allowed those are left out.
ulimit -n 4096 2>/dev/null || ulimit -n "$(ulimit -H -n)"
ulimit -c 0
