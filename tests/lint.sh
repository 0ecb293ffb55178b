#!/bin/sh
# What can be said of the code without running it: who includes whom, a few habits, no warnings. Ends with "N passed, N failed".
set -u
# Where compilers and libraries may lie.
keep="HOME CPATH LIBRARY_PATH PKG_CONFIG_PATH CCACHE_DIR"
. "$(dirname "$0")/clean.sh"
cd "$(dirname "$0")/.." || exit 1
passed=0
failed=0
skipped=0

# verdict WHAT COMPLAINTS: none is a pass.
verdict() {
	if [ -z "$2" ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		printf '%s:\n%s\n' "$1" "$2"
	fi
}
ours() {
	find . \( -path ./.git -o -path ./build -o -path ./run \) -prune -o -type f "$@" -print | sed 's|^\./||' | sort
}
sources=$(ours -name '*.[ch]')

# Who may include whom, downwards only. A module is a file of the root with the folder of its name, or a folder.
# shellcheck disable=SC2016
layers='
function module(path) {
	if (path ~ /^deliver\/(route|alias(file)?|mx|dane|mtasts)\./) return "deliver/route"
	if (path ~ /\//) return substr(path, 1, index(path, "/") - 1)
	sub(/\.[ch]$/, "", path)
	return path
}
BEGIN {
	level["cmd"] = 5
	level["smtpd"] = level["client"] = level["deliver"] = 4
	level["policy"] = level["auth"] = level["deliver/route"] = 3
	level["queue"] = level["dsn"] = level["mime"] = level["dns"] = 2
	level["parse"] = 1
	level["fardel"] = 0.5
	level["lib"] = 0
}
function no(why) { print FILENAME ":" FNR ": " $0 ": " why }
FNR == 1 { me = module(FILENAME) }
me == "tests" || me == "bench" { next }
!(me in level) { if (FNR == 1) print FILENAME ": belongs to no layer (tests/lint.sh)"; next }
/^#[ \t]*include[ \t]*<bearssl/ && me != "lib" { no("BearSSL is behind lib/") }
/^#[ \t]*include[ \t]*<udns/ && me != "dns" { no("udns is behind dns.c") }
/^#[ \t]*include[ \t]*"/ {
	split($0, part, "\"")
	path = part[2]
	it = module(path)
	if (path ~ /^\.\.?\//) no("paths start at the root of the project")
	else if (!(it in level)) no("belongs to no layer")
	else if (it == me) next
	else if (level[it] >= level[me]) no("not a layer below " me)
	else if (me == "dns" && it != "lib") no("dns includes lib/ alone")
	else if (level[me] == 3 && path ~ /^(lib\/stream|dns|queue)\.h$/) no("an evaluator asks facts only")
}'
# shellcheck disable=SC2086
verdict "layers" "$(awk "$layers" $sources)"

# shellcheck disable=SC2086
verdict "typedef struct" "$(grep -nE '^[[:space:]]*typedef[[:space:]]+(struct|union|enum)' $sources)"
# shellcheck disable=SC2046
verdict "trailing blanks" "$(grep -nE '[[:blank:]]+$' $(ours \( -name '*.[ch]' -o -name '*.sh' -o -name Makefile -o -name README -o -path './.ci/*' -o -path './doc/*' -o -path './packaging/*' \)))"
# shellcheck disable=SC2086
verdict "indented by blanks" "$(grep -nE '^ +[^ *]' $sources)"
# An unbounded copy has no place here at all.
# shellcheck disable=SC2086
verdict "unbounded string calls" "$(grep -nE '[^_[:alnum:]](strcpy|strcat|sprintf|vsprintf|gets|strtok|alloca)[[:space:]]*\(' $sources)"
scripts=$(ours \( -name '*.sh' -o -name run -o -path './packaging/*/finish' -o -name '*.init' -o -path './packaging/debian/p*' \))
verdict "shell syntax" "$(for f in $scripts; do sh -n "$f" 2>&1 || echo "$f"; done)"
verdict "documentation" "$(sh tests/doc.sh 2>&1)"

if command -v xmllint >/dev/null 2>&1; then
	verdict "XML of reports" "$(xmllint --noout --schema tests/golden/dmarc-report.xsd tests/golden/dmarc-report.xml 2>&1 | grep -v ' validates$')"
else
	echo "lint: xmllint is not there: whether reports have their form is skipped"
	skipped=$((skipped + 1))
fi

for cc in gcc clang; do
	if ! command -v $cc >/dev/null 2>&1; then
		echo "lint: $cc is not there: its warnings are skipped"
		skipped=$((skipped + 1))
		continue
	fi
	text=$(make --no-print-directory -k CC=$cc VARIANT=lint-$cc objects 2>&1) && text=
	verdict "$cc" "$(printf '%s\n' "$text" | grep -v -e "^CC " -e "^$cc ")"
done

[ $skipped -gt 0 ] && tail=", $skipped skipped" || tail=
echo "$passed passed, $failed failed$tail"
[ $failed = 0 ]
