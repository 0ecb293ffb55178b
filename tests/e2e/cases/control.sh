# What the running program is asked for by its control socket.

it control_tells "top, metrics, shape and why tell what only the running program knows, and say so when none runs"
control_tells() {
	free_port
	config home "route = * smtp://127.0.0.1:$port" "retry_first = 1h" "retry_max = 1h"
	mailboxes home user
	status_is 69 "$fardel" metrics -c "$T/home.conf" 2>"$T/said"
	has 'no server runs' "$T/said"
	start home
	home=$pid
	printf 'Subject: x\n\ntext\n' | send home -f user@home.test b@y.test || fail "sendmail"
	within 20 "it is put off" grep -q ' deferred ' "$T/home.log"
	printf 'Subject: x\n\ntext\n' | send home -f user@home.test c@y.test || fail "sendmail"
	within 20 "both are seen" sh -c "'$fardel' metrics -c '$T/home.conf' | grep -q '^fardel_queue_messages 2$'"
	must metrics "$fardel" metrics -c "$T/home.conf" >"$T/said"
	has '^fardel_destination_entries{destination="y.test"} 2$' "$T/said"
	has '^fardel_destination_failures{destination="y.test"} 1$' "$T/said"
	awk '!/^#/ && !/^[a-z_]+({[a-z]+="[a-z0-9.-]+"})? [0-9]+$/ { exit 1 }' "$T/said" || fail "a line that is none"
	must top "$fardel" top --once -c "$T/home.conf" >"$T/said"
	has '^queue: 2 messages, 2 entries' "$T/said"
	has 'received 0  taken-in 2 ' "$T/said"
	has '^y.test .* down, tried again in .*Connection refused' "$T/said"
	must shape "$fardel" queue shape -c "$T/home.conf" >"$T/said"
	has '^y.test .* down, next try in .*Connection refused' "$T/said"
	must why "$fardel" why -c "$T/home.conf" c@y.test >"$T/said"
	has 'its destination is down: one message tries it again' "$T/said"
	end "$home"
	must "the socket is gone" [ ! -e "$T/home.queue/control" ]
	must why "$fardel" why -c "$T/home.conf" c@y.test >"$T/said"
	has 'no server says that it runs' "$T/said"
	status_is 69 "$fardel" top --once -c "$T/home.conf" 2>/dev/null
}

it control_survives_kill "a socket that a killed server left behind is in nobody's way"
control_survives_kill() {
	serve home
	end "$pid" KILL
	must "it is there" [ -S "$T/home.queue/control" ]
	start home
	must metrics "$fardel" metrics -c "$T/home.conf" >/dev/null
}

it control_is_for_the_owner "another account hears results of its mail, and nothing else; mailq says so"
control_is_for_the_owner() {
	[ "$(id -u)" = 0 ] || skip "needs root"
	command -v setpriv >/dev/null || skip "needs setpriv"
	mkdir "$T/open"
	chmod 755 "$T" "$T/open"
	serve home "control = $T/open/control" "listen = unix://$T/open/submit"
	other() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
	cp "$fardel" "$T/open/fardel" && chmod 755 "$T/open/fardel"
	chmod 644 "$T/home.conf"
	status_is 69 other "$T/open/fardel" metrics -c "$T/home.conf" 2>"$T/said"
	has 'only root and its own account' "$T/said"
	printf 'Subject: x\n\ntext\n' | TMPDIR=/tmp other "$T/open/fardel" sendmail -C "$T/home.conf" --wait=20 -v user@home.test >"$T/said" 2>&1 || fail "$(cat "$T/said")"
	has 'user@home.test: delivered' "$T/said"
	status_is 77 other "$T/open/fardel" mailq -c "$T/home.conf" 2>"$T/said"
	has "home.queue cannot be listed: Permission denied. Only root and the queue's owner may.*sudo" "$T/said"
	has 'sendmail --wait' "$T/said"
}

it wait_tells_the_result "sendmail --wait exits with what became of the message"
wait_tells_the_result() {
	sink there -r 'no=550 5.1.1 no such user' -r 'later=450 4.2.0 come back'
	serve home "route = there.test smtp://127.0.0.1:$port" "retry_first = 1h" "retry_max = 1h"
	wait_for() { printf 'Subject: x\n\ntext\n' | send home -f user@home.test --wait=20 "$@" >"$T/said" 2>&1; }
	status_is 0 wait_for -v yes@there.test
	has 'yes@there.test: delivered: 250' "$T/said"
	status_is 67 wait_for no@there.test
	has 'no@there.test: refused: 550 5.1.1 no such user' "$T/said"
	status_is 75 wait_for yes@there.test later@there.test
	has 'later@there.test: not now, it stays in the queue: 450 4.2.0 come back' "$T/said"
	status_is 67 wait_for nobody@home.test user@home.test
	status_is 64 wait_for --at +1h user@home.test
	end "$pid"
	status_is 75 wait_for user@home.test
	has 'is queued, but what becomes of it is not known: no server runs' "$T/said"
}

it sendmail_drops_where_nobody_listens "sendmail of another account lays its message into the drop directory when no server can be called"
sendmail_drops_where_nobody_listens() {
	[ "$(id -u)" = 0 ] || skip "needs root"
	command -v setpriv >/dev/null || skip "needs setpriv"
	serve home
	end "$pid"
	chmod 755 "$T"
	chmod 711 "$T/home.queue"
	chmod 1733 "$T/home.queue/tmp" "$T/home.queue/new"
	chmod 644 "$T/home.conf"
	mkdir "$T/open" && cp "$fardel" "$T/open/fardel" && chmod -R 755 "$T/open"
	other() { TMPDIR=/tmp setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs "$@"; }
	printf 'Subject: dropped\n\ntext\n' | other "$T/open/fardel" sendmail -C "$T/home.conf" user@home.test 2>"$T/said" || fail "$(cat "$T/said")"
	start home
	within 20 "the message" arrived home user 1
	has '^Subject: dropped' "$(mail home user)"
	must "one Message-ID" [ "$(grep -ci '^message-id:' "$(mail home user)")" = 1 ]
	has '^Return-Path: <nobody@home.test>' "$(mail home user)"
}

it top_gives_the_terminal_back "top on a terminal draws, ends at q, and leaves the terminal as it was"
top_gives_the_terminal_back() {
	command -v script >/dev/null || skip "needs script"
	serve home
	: >"$T/typed"
	{ within 20 "the screen" grep -q 'queue: 0 messages' "$T/typed"; printf q; } | within_script "$fardel" top -c "$T/home.conf"
	has 'queue: 0 messages' "$T/typed"
	has '1049h' "$T/typed"
	tail -c 200 "$T/typed" | grep -q '1049l' || fail "the screen is not given back"
}
# within_script COMMAND: a shell that runs it on a terminal, the same whatever the account has set.
within_script() { SHELL=/bin/sh TERM=xterm timeout 20 script -qec "$*" /dev/null >"$T/typed" 2>&1 || fail "it ended badly: $(tail -c 300 "$T/typed")"; }

it password_gives_the_terminal_back "^C at the question for a password ends the program, and what is typed is seen again"
password_gives_the_terminal_back() {
	command -v script >/dev/null || skip "needs script"
	: >"$T/typed"
	{ within 20 "the question" grep -q 'assword' "$T/typed"; printf 'geheim\003'; } | within_script "trap : INT; '$fardel' passwd '$T/users' user; echo ended \$?; stty -a"
	has 'ended 130' "$T/typed"
	has ' echo ' "$T/typed"
	grep -q geheim "$T/typed" && fail "the password is shown"
	must "nothing is written" [ ! -s "$T/users" ]
}
