#!/bin/sh
# Shows fardel at work under ./run/: two servers on loopback, one message to a local user, one to three people elsewhere.
# Stays in the foreground; ONCE=1 ends after the deliveries. `rm -rf run` begins anew.
set -u
cd "$(dirname "$0")/.." || exit 1
program=./fardel
wait_s=60
here=127.0.0.1:2525
there=127.0.0.1:2600
started=

die() {
	echo "demo: $*" >&2
	exit 1
}
stop() {
	trap - EXIT INT TERM HUP
	for pid in $started; do
		kill "$pid" 2>/dev/null
	done
	for pid in $started; do
		wait "$pid" 2>/dev/null
	done
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
pause() { sleep 0.2 2>/dev/null || sleep 1; }

[ -x $program ] || die "there is no $program: run make first"
# What is set outside is for another fardel.
for name in $(env | sed -n 's/^\(FARDEL_[A-Z0-9_]*\)=.*/\1/p'); do unset "$name"; done

# write FILE OPTION...: a configuration with every setting explained. One that is there already may have been edited: it stays.
write() {
	file=$1
	shift
	[ -s "$file" ] && return
	$program config -c /dev/null "$@" | grep -v '^# (from -o)$' >"$file.new" || die "cannot write $file"
	mv "$file.new" "$file" || die "cannot write $file"
}
mkdir -p run/second || die "cannot make the directory run here"
write run/fardel.conf -o 'hostname = fardel.test' -o "listen = smtp://$here" -o 'queue = ./run/queue' \
	-o 'local_domains = fardel.test localhost' -o 'mailbox = ./run/mail/{user}/' -o 'aliases = ./run/aliases' -o "route = remote.test smtp://$there" \
	-o 'retry_first = 2s' -o 'retry_max = 1m'
write run/second/fardel.conf -o 'hostname = second.test' -o "listen = smtp://$there" -o 'queue = ./run/second/queue' \
	-o 'local_domains = remote.test' -o 'mailbox = ./run/second/mail/{user}/' -o 'aliases = ./run/second/aliases' -o 'retry_first = 2s' -o 'retry_max = 1m'
$program mkmailbox -c run/fardel.conf user1 user2 postmaster >/dev/null || die "cannot make the mailboxes"
$program mkmailbox -c run/second/fardel.conf anna ben carl postmaster >/dev/null || die "cannot make the second server's mailboxes"

# begin CONFIG LOG: starts a server and waits until it listens; its process is in $pid.
begin() {
	config=$1
	log=$2
	: >"$log" || die "cannot write $log"
	$program serve -c "$config" >>"$log" 2>&1 &
	pid=$!
	started="$started $pid"
	turns=0
	until grep -q ' listening ' "$log"; do
		if ! kill -0 $pid 2>/dev/null; then
			cat "$log" >&2
			if grep -qi 'in use' "$log"; then
				die "the port is taken (above): stop the program that listens there, or change listen in $config"
			fi
			die "the server of $config did not start: its last words are above"
		fi
		turns=$((turns + 1))
		[ $turns -lt 100 ] || die "the server of $config did not say within 20 s that it listens; see $log"
		pause
	done
}
begin run/second/fardel.conf run/second/log
second=$pid
begin run/fardel.conf run/log
first=$pid

# The token tells this run's messages from those of earlier ones.
token=demo-$$-$(date +%s)
$program sendmail -C run/fardel.conf user1@fardel.test <<TEXT || die "sendmail did not take the message to user1 (exit $?)"
Subject: hello from fardel ($token)
To: user1@fardel.test

This came in through the program's own sendmail and never left this machine.
TEXT
$program sendmail -C run/fardel.conf -t <<TEXT || die "sendmail did not take the message to three people (exit $?)"
Subject: one bundle ($token)
To: anna@remote.test, ben@remote.test
Cc: carl@remote.test

Three people at one domain: the data crosses the wire once.
TEXT

# landed DIRECTORY: the path of this run's message in a Maildir.
landed() { grep -l -- "($token)" "$1"/new/* "$1"/cur/* 2>/dev/null | head -n 1; }
boxes="run/mail/user1 run/second/mail/anna run/second/mail/ben run/second/mail/carl"
turns=0
for box in $boxes; do
	until [ "$(landed "$box")" ]; do
		turns=$((turns + 1))
		if [ $turns -gt $((wait_s * 5)) ]; then
			echo "---- run/log"; tail -n 20 run/log
			echo "---- run/second/log"; tail -n 20 run/second/log
			die "the message did not land in $box within $wait_s s: the logs' ends are above"
		fi
		kill -0 "$first" 2>/dev/null || { tail -n 20 run/log; die "fardel has ended: its last words are above"; }
		kill -0 "$second" 2>/dev/null || { tail -n 20 run/second/log; die "the second fardel has ended: its last words are above"; }
		pause
	done
done

echo "Where they landed:"
for box in $boxes; do
	echo "  $(landed "$box")"
done
echo
echo "The one transaction that brought three of them (run/second/log):"
# The topmost Received field is the second server's.
id=$(sed -n 's/.*id \([0-9a-f]\{24\}\).*/\1/p' "$(landed run/second/mail/anna)" | head -n 1)
grep -e "received.*$id" run/second/log | sed 's/^/  /'
if [ "${ONCE:-}" ]; then
	echo
	echo "Both servers have ended. Without ONCE=1 they stay, and you can send more."
	exit 0
fi

cat <<TEXT

Send another:
  printf 'Subject: hi\n\nHello\n' | ./fardel sendmail -C run/fardel.conf user1@fardel.test anna@remote.test
or by SMTP to $here, for example:
  swaks --server $here --from me@fardel.test --to user2@fardel.test
What is waiting lies in run/queue/cur; ./fardel mailq -c run/fardel.conf lists it.
TEXT

echo
echo "fardel listens on $here; Ctrl-C ends it. Its log (run/log) goes on here:"
tail -n 0 -f run/log &
started="$started $!"
wait "$first"
die "fardel has ended: see run/log"
