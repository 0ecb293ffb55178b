#!/bin/sh
# Is an optional library here, for the compiler in CC, and how is it had? Prints the name by which a program opens it while it runs; where it is linked and
# nothing has to be found then, as it is an archive, the options that do so; nothing when it is not here.
#   tests/library.sh NAME MODULE HEADER FUNCTION    of -lNAME, of pkg-config; what a program includes and calls
set -u
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
flags=$(pkg-config --libs "$2" 2>/dev/null) || flags=-l$1
printf '#include <%s>\nvoid *volatile needed = (void *)%s;\nint main(void) { return !needed; }\n' "$3" "$4" >"$work/probe.c"
# shellcheck disable=SC2086
$CC $LDFLAGS -w -o "$work/probe" "$work/probe.c" $flags 2>/dev/null || exit 0
name=$(readelf -d "$work/probe" 2>/dev/null | sed -n "s/.*(NEEDED).*\\[\\(lib$1\\.so[^]]*\\)\\].*/\\1/p")
echo "${name:-$flags}"
