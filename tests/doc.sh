#!/bin/sh
# What the documentation must name because the tables of the program do. Prints what is missing; silence is a pass.
set -u
cd "$(dirname "$0")/.." || exit 1
LC_ALL=C
export LC_ALL

# some WHAT TEXT: a list that could not be taken out of the source is no pass.
some() { [ "$2" ] || echo "tests/doc.sh: finds no $1 in the source any more"; }

# Settings: each an item of fardel.conf(5) with its preset, and no item that is no setting.
page=doc/man/fardel.conf.5
settings=$(sed -n 's/^.*{ \.name = "\([a-z_]*\)", \.kind.*$/\1/p' cmd/settings.c)
some settings "$settings"
for name in $settings; do
	item=$(awk -v head=".It Ic $name" '/^\.It Ic / { inside = $0 == head } inside' $page)
	preset=$(sed -n "s/^.*{ \.name = \"$name\", .*\.preset = \"\([^\"]*\)\".*$/.Dl $name = \1/p" cmd/settings.c)
	said=$(printf '%s\n' "$item" | grep -A1 '^Preset:$' | tail -n 1)
	[ "$item" ] || echo "$page: has no item .It Ic $name"
	[ "$preset" = "$said" ] || echo "$page: $name: says \"$said\" where cmd/settings.c says \"$preset\""
done
for name in $(sed -n 's/^\.It Ic \([a-z_]*\)$/\1/p' $page); do
	printf '%s\n' "$settings" | grep -qx "$name" || echo "$page: $name is no setting"
done

# What a HUP cannot change is listed where HUP is explained.
for name in $(sed -n 's/^.*{ \.name = "\([a-z_]*\)", .*\.at_start = true.*$/\1/p' cmd/settings.c); do
	sed -n '/^\.It Dv SIGHUP/,/^\.It Dv SIGUSR1/p' doc/man/fardel.8 | grep -q "\(Ic\| ,\) $name ," || echo "doc/man/fardel.8: SIGHUP does not say that $name is for the start alone"
done

# Commands: each an item of fardel(8), and known to the completion.
page=doc/man/fardel.8
commands=$(sed -n '/^} commands\[\]/,/^};/s/^.*{ "\([a-z-]*\)", cmd_.*$/\1/p' cmd/fardel.c)
some commands "$commands"
for name in $commands; do
	grep -q "^\.It Cm $name\( \|$\)" $page || echo "$page: has no item .It Cm $name"
	grep -qE "^[[:blank:]]*([a-z|-]*\|)?$name[|)]" packaging/completion.bash || echo "packaging/completion.bash: completes nothing behind $name"
done

# Letters of sendmail: with a function each is an item of sendmail(8), without one it is in the list of those ignored.
page=doc/man/sendmail.8
table=$(sed -n '/^} letters\[\]/,/^};/p' cmd/sendmail.c)
letters=$(printf '%s\n' "$table" | grep -oE "\{ '[A-Za-z]', [A-Z_]+, [A-Za-z_]+ \}" | tr -d "{}',")
some "letters of sendmail" "$letters"
ignored=$(grep -A2 '^\.Fl A ,' $page | tr '\n' ' ')
printf '%s\n' "$letters" | while read -r letter kind take; do
	if [ "$take" = NULL ]; then
		case $ignored in *" $letter "*) ;; *) echo "$page: -$letter is not among the ignored" ;; esac
	else
		grep -qE "^\.It.* Fl $letter|^\.It Fl $letter" $page || echo "$page: has no item for -$letter ($kind)"
	fi
done

# Replies, verbs and keywords: doc/SMTP.
page=doc/SMTP
replies=$(grep -ohE '[2-5][0-9]{2}, "([245]\.[0-9]+\.[0-9]+)?"' smtpd.c smtpd/*.c parse.c client.c client/*.c queue/intake.c queue/space.c policy/*.c deliver/mx.c deliver/maildir.c deliver/alias.c cmd/expand.c cmd/rules.c |
	tr -d ',"' | sed 's/ $//' | sort -u
	grep -ohE '(hang_up|turn_away)\(.*"4\.[0-9]+\.[0-9]+"' smtpd.c smtpd/*.c | sed 's/^.*"\(.*\)"$/421 \1/' | sort -u)
some replies "$replies"
printf '%s\n' "$replies" | while read -r code enhanced; do
	# What the client says of its own QUIT is seen by nobody outside.
	grep -qE "^    $code${enhanced:+ $enhanced} +[^ ]" $page || echo "$page: has no line for $code $enhanced"
done
verbs=$(sed -n '/^} verbs\[\]/,/^};/s/^.*{ "\([A-Z]*\)".*$/\1/p' smtpd/verbs.c)
some verbs "$verbs"
keywords=$(sed -n '/^} keywords\[\]/,/^};/s/^.*{ "\([0-9A-Z]*\).*$/\1/p' smtpd/verbs.c)
some keywords "$keywords"
for word in $verbs $keywords; do
	sed -n '/^THE SERVER: COMMANDS$/,/^THE SERVER: LINE ENDS$/p' $page | grep -qw "$word" || echo "$page: does not name $word"
done

# Files and functions that doc/ARCHITECTURE speaks of are there.
page=doc/ARCHITECTURE
for name in $(grep -oE '[a-z_]+\(\)' $page | tr -d '()' | sort -u); do
	[ "$name" = foo_bar_suite ] && continue
	grep -rqw --include='*.[ch]' -- "$name" ./*.[ch] lib mime queue auth policy smtpd deliver cmd tests 2>/dev/null || echo "$page: there is no $name()"
done
for name in $(grep -oE '([a-z0-9_]+/)+[a-z0-9_]+\.(c|h|sh)' $page | sort -u); do
	[ "$name" = foo/bar.c ] || [ -e "$name" ] || echo "$page: there is no $name"
done

# The pages are well formed, where there is something that can tell.
for page in doc/man/*.[1-8]; do
	if command -v mandoc >/dev/null 2>&1; then
		mandoc -T lint -W warning "$page" 2>&1
	elif command -v man >/dev/null 2>&1 && command -v groff >/dev/null 2>&1; then
		man --warnings -l "$page" 2>&1 >/dev/null
	fi
done
exit 0
