# The commands, as programs and people use them.

text() { printf 'From: me@elsewhere.test\nTo: user@here.test\nCc: Sender <sender@here.test>\nBcc: secret@here.test\nSubject: %s\n\nHello\n' "$1"; }

it sendmail_as_programs_call_it "sendmail with -t, -f, -r, -F, -i, -oi and what scripts pass besides"
sendmail_as_programs_call_it() {
	serve here
	mailboxes here secret dots plain who
	# -t: recipients from the header, Bcc gone
	text one | must "-t" send here -t -i
	for user in user sender secret; do within 20 "the one for $user" arrived here $user 1; done
	must "Bcc is gone" [ "$(grep -ci '^bcc:' "$(mail here user)")" = 0 ]
	# as PHP and cron do
	printf 'Subject: two\n\nfirst\n.\nlast\n' | must "-oi" send here -oi -oem -odq -f bounce@here.test dots@here.test
	within 20 "the one with a dot" arrived here dots 1
	has '^last' "$(mail here dots)"
	has '^Return-Path: <bounce@here.test>' "$(mail here dots)"
	printf 'Subject: three\n\nfirst\n.\nlast\n' | must "-r" send here -r other@here.test -F 'Ann Other' -- plain
	within 20 "the one that ends at the dot" arrived here plain 1
	must "a dot ends it" [ "$(grep -c '^last' "$(mail here plain)")" = 0 ]
	has '^Return-Path: <other@here.test>' "$(mail here plain)"
	has '^From: .*Ann Other' "$(mail here plain)"
	has '^To:\|^Message-I[dD]:' "$(mail here plain)"
	has '^Date:' "$(mail here plain)"
	printf 'Subject: four\n\nx\n' | must "argv[0]" sh -c 'ln -s "$1" "$2/sendmail" && exec "$2/sendmail" -C "$2/here.conf" -bm -v -f "<>" who@here.test >/dev/null' - "$fardel" "$T"
	within 20 "the one from nobody" arrived here who 1
	has '^Return-Path: <>' "$(mail here who)"
	drained here
}

it sendmail_exit_codes "sendmail says 64 for a wrong call, 65 for a wrong address, 75 when nothing can be queued"
sendmail_exit_codes() {
	config here
	mailboxes here user
	status_is 64 send here </dev/null 2>/dev/null
	printf 'Subject: x\n\nx\n' >"$T/mail"
	status_is 65 send here 'a@@b' <"$T/mail" 2>/dev/null
	printf 'Subject: x\n\nx\n' | status_is 64 send here -bd user 2>/dev/null
	printf 'Subject: x\n\nx\n' | status_is 64 send here --read-envelope-from user 2>"$T/said"
	has '^sendmail: --read-envelope-from is no option' "$T/said"
	: >"$T/here.queue.file"
	sed "s|^queue = .*|queue = $T/here.queue.file|" "$T/here.conf" >"$T/broken.conf"
	status_is 75 send broken user <"$T/mail" 2>/dev/null
}

it every_command_answers_help "every command and every name it is called by says --help, -h (sendmail: a flag of its own) and --version on standard output, with status 0"
every_command_answers_help() {
	for name in fardel sendmail mailq newaliases; do ln -s "$fardel" "$T/$name"; done
	"$fardel" help | sed -n 's/^  \([a-z-]*\) .*/\1/p' >"$T/commands"
	must "a list of commands" [ "$(wc -l <"$T/commands")" -ge 25 ]
	while read -r name; do
		for words in --help -h 'any --help' 'any -h'; do
			[ "$name" = sendmail ] && [ "$words" != --help ] && continue
			# shellcheck disable=SC2086
			status_is 0 "$fardel" "$name" $words </dev/null >"$T/said" 2>"$T/complaint"
			has "^usage: fardel $name" "$T/said"
			must "$name $words complains" [ ! -s "$T/complaint" ]
		done
		"$fardel" help "$name" | cmp -s - "$T/said" || [ "$name" = sendmail ] || fail "help $name says something else"
	done <"$T/commands"
	status_is 64 "$T/mailq" --nonsense 2>"$T/said"
	has '^fardel mailq: does not know' "$T/said"
	for name in fardel sendmail mailq newaliases; do
		status_is 0 "$T/$name" --help </dev/null >"$T/said" 2>"$T/complaint"
		has "^usage: $name" "$T/said"
		status_is 0 "$T/$name" --version </dev/null >>"$T/said" 2>>"$T/complaint"
		has '^fardel [0-9]' "$T/said"
		must "$name complains" [ ! -s "$T/complaint" ]
	done
	status_is 64 "$fardel" nonsense 2>"$T/said"
	must "one line" [ "$(wc -l <"$T/said")" = 1 ]
	status_is 64 "$fardel" mialq 2>"$T/said"
	has 'no command "mialq"; perhaps mailq' "$T/said"
	status_is 64 "$fardel" -c /dev/null serve 2>"$T/said"
	has 'options behind it' "$T/said"
}

it mkmailbox_says_what_it_did "mkmailbox tells what it made and what was there, as root for another account, too"
mkmailbox_says_what_it_did() {
	as=
	[ "$(id -u)" = 0 ] && as="user = nobody"
	for word in made 'is there'; do
		must "mkmailbox" "$fardel" mkmailbox -c /dev/null -o "${as:-log = stderr}" -o "mailbox = $T/boxes/{user}/" anna >"$T/said"
		has "^$T/boxes/anna $word$" "$T/said"
	done
	[ -z "$as" ] || must "whose it is" [ "$(stat -c %U "$T/boxes/anna/new")" = nobody ]
}

it sendmail_speaks_smtp "sendmail -bs is a session; -q delivers what waits; -bp and mailq list it"
sendmail_speaks_smtp() {
	config here
	mailboxes here user
	printf 'EHLO me\r\nMAIL FROM:<a@here.test>\r\nRCPT TO:<user@here.test>\r\nDATA\r\nSubject: x\r\n\r\nx\r\n.\r\nQUIT\r\n' |
		send here -bs >"$T/said" 2>"$T/bs.log"
	has '^221 ' "$T/said"
	must "one line for each reply" [ "$(grep -c '^250 2\.[01]\.' "$T/said")" -ge 3 ]
	send here -bp >"$T/list"
	has '^-Queue ID-' "$T/list"
	has 'user@here.test' "$T/list"
	has '^-- 1 Kbytes in 1 Request\.' "$T/list"
	"$fardel" mailq -c "$T/here.conf" | cmp - "$T/list" || fail "mailq says something else"
	must "-q" send here -q 2>"$T/q.log"
	within 1 "the message" arrived here user 1
	must "empty" [ "$(send here -bp)" = "Mail queue is empty" ]
}

it sendmail_speaks_smtp_for_others "sendmail -bs of an account that may not open the queue is a session with the server, for local users and for elsewhere; without one it says 421"
sendmail_speaks_smtp_for_others() {
	[ "$(id -u)" = 0 ] || skip "needs root"
	command -v setpriv >/dev/null 2>&1 || skip "no setpriv here to be another account with"
	chmod 755 "$T"
	serve here "listen = unix://$T/submit" "route = * smtp://127.0.0.1:9"
	other() { setpriv --reuid 65534 --regid 65534 --clear-groups "$fardel" sendmail -C "$T/here.conf" -bs; }
	{
		printf 'EHLO me\r\nMAIL FROM:<a@here.test>\r\nRCPT TO:<user@here.test>\r\nRCPT TO:<b@elsewhere.test>\r\nDATA\r\nSubject: x\r\n\r\n'
		yes 'all work and no play' | head -n 100000 | sed 's|$|\r|'
		printf '.\r\nQUIT\r\n'
	} >"$T/session"
	other <"$T/session" >"$T/said" 2>"$T/complaint" || fail "status $?: $(cat "$T/complaint")"
	has '^221 ' "$T/said"
	must "both recipients" [ "$(grep -c '^250 2\.1\.5' "$T/said")" = 2 ]
	must "nothing is complained of" [ ! -s "$T/complaint" ]
	within 10 "the message" arrived here user 1
	has 'Received: from .*(uid 65534)' "$(mail here user)"
	# one that says nothing more, and one that nobody listens to
	must "a client that leaves" other </dev/null >"$T/said"
	has '^220 ' "$T/said"
	end "$pid"
	status_is 75 other <"$T/session" >"$T/said" 2>"$T/complaint"
	has '^421 4.3.2 ' "$T/said"
	has 'cannot call the server at unix://' "$T/complaint"
}

it check_looks_around "check sees a clock of long ago, and a mailbox whose parts belong to somebody else"
check_looks_around() {
	config here
	mailboxes here user postmaster
	must "a good one" "$fardel" check -c "$T/here.conf" >"$T/said" 2>&1
	grep -q '^clock: .*younger' "$T/said" && fail "the clock is not liked: $(cat "$T/said")"
	has '^sendmail: note: /usr/sbin/sendmail, .* is \(not there\|another program\)' "$T/said"
	if faketime '2020-01-01 00:00:00' "$fardel" version >/dev/null 2>&1; then       # it does not go with AddressSanitizer
		must "a wrong clock is no error" faketime '2020-01-01 00:00:00' "$fardel" check -c "$T/here.conf" >"$T/said" 2>&1
		has '^clock: note: it says 2020-.*younger' "$T/said"
	fi
	[ "$(id -u)" = 0 ] || return 0
	chown 12345 "$T/here.mail/user/new"
	status_is 78 "$fardel" check -c "$T/here.conf" >"$T/said" 2>&1
	has "here.mail/user/new belongs to uid 12345.* chown -R 0 $T/here.mail/user/new" "$T/said"
	chmod 600 "$T/here.conf"
	command -v setpriv >/dev/null 2>&1 || return 0
	chmod 755 "$T"
	status_is 78 setpriv --reuid 65534 --regid 65534 --clear-groups "$fardel" sendmail -C "$T/here.conf" user </dev/null 2>"$T/said"
	has 'here.conf: cannot be read: Permission denied. .* chmod 644' "$T/said"
}

it check_finds_the_line "check names file and line of what is wrong, and the nearest setting; exit 78"
check_finds_the_line() {
	config here
	mailboxes here postmaster
	must "a good one" "$fardel" check -c "$T/here.conf" >"$T/said" 2>&1
	echo 'retry_frist = 5m' >>"$T/here.conf"
	lines=$(wc -l <"$T/here.conf")
	status_is 78 "$fardel" check -c "$T/here.conf" >"$T/said" 2>&1
	has "here.conf:$lines:.*retry_first" "$T/said"
	status_is 78 "$fardel" serve -c "$T/here.conf" >"$T/said" 2>&1
	has "here.conf:$lines:" "$T/said"
	sed '$d' "$T/here.conf" >"$T/two.conf"
	echo 'queue_lifetime = 5 apples' >>"$T/two.conf"
	status_is 78 "$fardel" check -c "$T/two.conf" >"$T/said" 2>&1
	has "two.conf:$lines:" "$T/said"
	status_is 78 "$fardel" check -c "$T/none.conf" >"$T/said" 2>&1
	has "none.conf" "$T/said"
	sed '$d' "$T/here.conf" >"$T/three.conf"
	"$fardel" config -c "$T/three.conf" -o 'retry_max = 7s' | grep -q '^retry_max = 7s' || fail "-o does not count"
	FARDEL_RETRY_MAX=8s "$fardel" config -c "$T/three.conf" | grep -q '^retry_max = 8s' || fail "the environment does not count"
}

it second_server_is_told "a second serve on the same queue ends with 75 and names the first"
second_server_is_told() {
	serve here
	first=$pid
	free_port
	sed "s|^listen = .*|listen = smtp://127.0.0.1:$port|" "$T/here.conf" >"$T/two.conf"
	status_is 75 "$fardel" serve -c "$T/two.conf" 2>"$T/said"
	has "$first" "$T/said"
	must "the first still takes mail" inject -p "$(port_of here)" -t user@here.test
	within 20 "the message" arrived here user 1
}

it queue_by_hand "mv reschedules, rm drops, both noticed without the daemon being told"
queue_by_hand() {
	sink there -r 'u=450 4.2.0 not now'
	first=$pid
	there=$port
	serve here "route = there.test smtp://127.0.0.1:$port" "retry_first = 1h" "retry_max = 1h"
	must "two messages" inject -p "$(port_of here)" -t user@there.test -n 2
	within 20 "both put off" put_off 2
	end "$first"
	mkdir "$T/again"
	begin again "$tools/sink" -p "$there" "$T/again"
	cd "$T/here.queue/cur" || fail "no cur"
	set -- *
	rm "$1"
	mv "$2" "$(date +%s).${2#*.}"
	within 25 "an empty queue" queue_empty here
	must "the one that was moved" took again 1
}
put_off() { [ "$(ls "$T/here.queue/cur" | grep -c '^[0-9]*\.1\.')" = "$1" ] && [ "$(grep -c ' deferred ' "$T/here.log")" -ge "$1" ]; }

it any_stamp_by_hand "mv to a name that begins with 0. makes a message due, as every stamp of the past does"
any_stamp_by_hand() {
	sink there -r 'u=450 4.2.0 not now'
	first=$pid
	there=$port
	serve here "route = there.test smtp://127.0.0.1:$port" "retry_first = 1h" "retry_max = 1h"
	must "a message" inject -p "$(port_of here)" -t user@there.test
	within 20 "it is put off" put_off 1
	end "$first"
	mkdir "$T/again"
	begin again "$tools/sink" -p "$there" "$T/again"
	said_port again
	cd "$T/here.queue/cur" || fail "no cur"
	for name in *; do mv "$name" "0.${name#*.}"; done
	status_is 0 flush here
	drained here 5
	must "it is there" took again 1
}

it demo_runs_twice "make run ONCE=1 works on a fresh tree and on the one it has made"
demo_runs_twice() {
	mkdir -p "$T/tree/demo"
	ln -s "$fardel" "$T/tree/fardel"
	set -- $("$tools/ports" 2)
	sed "s/127\.0\.0\.1:2525/127.0.0.1:$1/; s/127\.0\.0\.1:2600/127.0.0.1:$2/" demo/run.sh >"$T/tree/demo/run.sh"
	for turn in 1 2; do
		ONCE=1 timeout 60 sh "$T/tree/demo/run.sh" >"$T/said" 2>&1 || fail "turn $turn: $(tail -n 3 "$T/said")"
		has 'nrcpt=3' "$T/said"
		grep -q 'Send another' "$T/said" && fail "nobody listens any more"
	done
	within 5 "the end of its servers" nobody_in "$T/tree"
}
nobody_in() { ! ls -l /proc/[0-9]*/cwd 2>/dev/null | grep -q -- "-> $1"; }
