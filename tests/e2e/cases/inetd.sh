# Without a daemon: sessions from inetd, deliveries from cron.

# cron's part: flush in a loop, whatever it returns, until the file $T/enough is there.
like_cron() {
	until [ -e "$T/enough" ]; do
		"$fardel" flush -c "$T/here.conf" 2>>"$T/cron.log"
		pause
	done
}
through() { # through PORT: mail flows, to a user and elsewhere
	begin cron like_cron
	must "20 messages are taken" inject -p "$1" -n 20 -s 4 -t user@here.test -t a@there.test
	within 30 "all of them in the Maildir" arrived here user 20
	: >"$T/enough"
	wait "$pid"
	must "flush" flush here
	must "all of them there" took there 20
}

it behind_inetd "behind openbsd-inetd, with flush as cron calls it, mail flows without the daemon"
behind_inetd() {
	need_inetd
	sink there
	config here "route = there.test smtp://127.0.0.1:$port"
	mailboxes here user
	# The file for its process number would lie in /run: there is one in the directory where it runs instead.
	sed 's|/run/inetd\.pid|././/inetd.pid|' "$tree/usr/sbin/inetd" >"$T/inetd"
	chmod 755 "$T/inetd"
	cd "$T" || fail "no directory"
	inetd_port=$(port_of here)
	echo "127.0.0.1:$inetd_port stream tcp nowait.1000 $(id -un) $fardel fardel inetd -c $T/here.conf" >"$T/inetd.conf"
	begin inetd env LD_LIBRARY_PATH="$libraries" "$T/inetd" -i "$T/inetd.conf"
	within 20 "inetd at port $inetd_port" answers "$inetd_port"
	through "$inetd_port"
}
answers() { timeout 3 "$tools/crowd" idle "$1" 1 </dev/null >/dev/null 2>&1; }

it behind_a_superserver "behind anything else that starts a program for a connection, too; log lines do not get into the session"
behind_a_superserver() {
	sink there
	config here "route = there.test smtp://127.0.0.1:$port"
	mailboxes here user
	begin super "$tools/superserver" "$fardel" inetd -c "$T/here.conf"
	said_port super
	through "$port"
}

it flush_exit_codes "flush: 0 when all went, 75 when something was put off; beside a daemon it says 0 and makes that one look at once"
flush_exit_codes() {
	sink there -r 'later=450 4.2.0 not yet'
	first=$pid
	there=$port
	config here "route = there.test smtp://127.0.0.1:$port" "retry_first = 1h" "retry_max = 1h"
	mailboxes here user
	status_is 0 flush here
	printf 'Subject: x\n\nx\n' | send here -f '<>' user later@there.test
	status_is 75 flush here
	must "the local one has it" arrived here user 1
	status_is 0 flush here
	end "$first"
	start here
	mkdir "$T/again"
	begin again "$tools/sink" -p "$there" "$T/again"
	said_port again
	# Rescheduled by hand: unasked the daemon would see it within some ten seconds.
	cd "$T/here.queue/cur" || fail "no cur"
	set -- *
	mv "$1" "$(date +%s).${1#*.}"
	status_is 0 flush here
	drained here 3
	must "the daemon has sent it" took again 1
}
