# What the end-to-end cases have in common: starting and ending processes, waiting with a deadline, looking into mailboxes.
# $T is the case's directory, $fardel the program, $tools where the other ends are.

fail() {
	echo "$*" >"$T/why"
	exit 1
}
skip() {
	echo "$*" >"$T/why"
	exit 77
}
# A line below the case's own.
note() { echo "$*" >>"$T/note"; }

pause() { sleep 0.05 2>/dev/null || sleep 1; }
# within SECONDS WHAT COMMAND...: until the command is true; later than that is a failure. A ceiling and no measurement: a machine that is
# slow, or has much else to do, has three times as long.
within() {
	seconds=$((3 * $1))
	what=$2
	shift 2
	deadline=$(($(date +%s) + seconds + 1))
	until "$@"; do
		[ "$(date +%s)" -lt $deadline ] || fail "within $seconds s: $what did not come ($*)"
		pause
	done
}
# may_open N: may a process have so many descriptors? Else the case is skipped.
may_open() { [ "$(ulimit -H -n)" = unlimited ] || [ "$(ulimit -H -n)" -gt "$1" ] || skip "$1 descriptors are not allowed here (ulimit -H -n)"; }
alive() { kill -0 "$1" 2>/dev/null; }
gone() { ! kill -0 "$1" 2>/dev/null; }
# Is it so now? must WHAT COMMAND...
must() {
	what=$1
	shift
	"$@" || fail "$what ($*: status $?)"
}
# status_is WANTED COMMAND...
status_is() {
	wanted=$1
	shift
	"$@"
	got=$?
	[ $got = "$wanted" ] || fail "exit status $got, not $wanted: $*"
}

# ---- processes

# begin NAME COMMAND...: in the background; words in $T/NAME.out and $T/NAME.log, process in $pid.
begin() {
	as=$1
	shift
	: >"$T/$as.out"                 # what one of that name has said before is not taken for this one's words
	"$@" >"$T/$as.out" 2>>"$T/$as.log" &
	pid=$!
	started="$started $pid"
}
# Processes that carry this case's directory in their command line: children of something we killed, too.
# The brackets keep grep from finding itself.
ours() { grep -la "[/]${T#/}/" /proc/[0-9]*/cmdline 2>/dev/null | cut -d / -f 3; }
end_all() {
	trap - EXIT
	for pid in $started; do
		kill "$pid" 2>/dev/null
	done
	turns=0
	for pid in $started; do
		while alive "$pid" && [ $turns -lt 60 ]; do
			turns=$((turns + 1))
			pause
		done
		kill -9 "$pid" 2>/dev/null
		wait "$pid" 2>/dev/null
	done
	for pid in $(ours); do
		kill -9 "$pid" 2>/dev/null
	done
}
# Ends a process that begin() started and waits for it; its status is left in $?.
end() {
	kill "-${2:-TERM}" "$1" 2>/dev/null
	wait "$1" 2>/dev/null
}

# said_port NAME: the port that a tool has printed, in $port.
said_port() {
	within 20 "the port of $1" grep -q '^port ' "$T/$1.out"
	port=$(sed -n 's/^port //p' "$T/$1.out")
}
# A port for somebody who wants to be told one, in $port.
free_port() { port=$("$tools/ports" 1) || fail "the kernel gives no port"; }

# sink NAME OPTION...: a server that keeps what it is sent in $T/NAME/; its port is in $port.
sink() {
	name=$1
	shift
	mkdir -p "$T/$name"
	begin "$name" "$tools/sink" "$@" "$T/$name"
	said_port "$name"
}
# fakedns NAME: answers from $T/NAME.zone; its port is in $port.
fakedns() {
	begin "$1" "$tools/fakedns_main" "$T/$1.zone"
	said_port "$1"
}
inject() { "$tools/inject" "$@"; }

# ---- fardel

# config NAME [SETTING...]: $T/NAME.conf, with a port of its own; domain NAME.test, mailboxes in $T/NAME.mail.
config() {
	name=$1
	shift
	free_port
	echo $port >"$T/$name.port"
	mkdir -p "$T/$name.mail"
	{
		echo "hostname = $name.test"
		echo "listen = smtp://127.0.0.1:$port"
		echo "queue = $T/$name.queue"
		echo "mailbox = $T/$name.mail/{user}/"
		echo "aliases = $T/$name.aliases"
		echo "retry_first = 1s"
		echo "retry_max = 2s"
		echo "resolver = 127.0.0.1:9"
		echo "queue_log = ${queue_log:-256k}"         # made at once, and not 32 MB for each server
		for setting in "$@"; do echo "$setting"; done
	} >"$T/$name.raw"
	# A setting that is said counts; its preset above goes.
	awk -F' *= *' '{ line[NR] = $0; name[NR] = $1; last[$1] = NR }
		END { for (i = 1; i <= NR; i++) if (name[i] == "route" || name[i] == "milter" || last[name[i]] == i) print line[i] }' "$T/$name.raw" >"$T/$name.conf"
}
port_of() { cat "$T/$1.port"; }
mailboxes() {
	name=$1
	shift
	"$fardel" mkmailbox -c "$T/$name.conf" "$@" >/dev/null || fail "mkmailbox $*"
}
# start NAME: serve; its process is in $pid. A word "started" of an earlier run does not count.
start() {
	[ -e "$T/$1.log" ] && cat "$T/$1.log" >>"$T/$1.log.old"
	: >"$T/$1.log"
	begin "$1" "$fardel" serve -c "$T/$1.conf"
	deadline=$(($(date +%s) + 60))
	until grep -q ' started ' "$T/$1.log"; do
		alive $pid || fail "fardel $1 did not start: $(tail -n 1 "$T/$1.log")"
		[ "$(date +%s)" -lt $deadline ] || fail "fardel $1 does not say that it has started"
		pause
	done
}
# serve NAME [SETTING...]: config and start with the mailboxes user, sender and postmaster.
serve() {
	config "$@"
	mailboxes "$1" user sender postmaster
	start "$1"
}
send() { # send NAME OPTION-OR-RECIPIENT... <message
	name=$1
	shift
	"$fardel" sendmail -C "$T/$name.conf" "$@"
}
flush() { "$fardel" flush -c "$T/$1.conf" 2>>"$T/$1.flush.log"; }

# ---- looking

files() { ls "$1" 2>/dev/null | wc -l; }
# arrived NAME USER N: exactly that many, for more would be a fault that waiting does not cure.
arrived() {
	n=$(files "$T/$1.mail/$2/new")
	[ "$n" -le "$3" ] || fail "$n messages for $2 at $1, not $3"
	[ "$n" = "$3" ]
}
queue_empty() { [ "$(ls "$T/$1.queue/cur" "$T/$1.queue/in" "$T/$1.queue/new" "$T/$1.queue/work" | grep -vc -e ':$' -e '^$')" = 0 ]; }
drained() { within "${2:-30}" "an empty queue at $1" queue_empty "$1"; }
# mail NAME USER: the only message in a mailbox, its path.
mail() { ls -d "$T/$1.mail/$2/new/"*; }
# taken NAME: how many transactions a sink has kept.
taken() { ls "$T/$1" | grep -c 'data$'; }
took() { [ "$(taken "$1")" = "$2" ]; }
has() { grep -q -- "$1" "$2" || fail "no \"$1\" in $2: $(head -c 600 "$2")"; }
# original FILE: a delivered message from the first field that its sender wrote, X-E2E, on.
original() { sed -n '/^X-E2E: /,$p' "$1"; }
