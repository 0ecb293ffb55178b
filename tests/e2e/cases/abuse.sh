# Clients that are no good, many of them, while others want to be served.

# abused KIND N SECONDS: N bad clients; for so long a normal client's messages are taken within a second, most of them. Who is kept waiting
# by others waits for as long as they are there; but a machine with much else to do may take a second, too.
abused() {
	mkfifo "$T/fifo.$1"
	"$tools/abuse" "$1" "$2" "$(port_of here)" <"$T/fifo.$1" >"$T/$1.out" 2>"$T/$1.log" &
	abuser=$!
	started="$started $abuser"
	exec 6>"$T/fifo.$1"
	within 20 "$1" grep -q begun "$T/$1.out"
	worst=0
	quick=0
	slow=0
	until_then=$(($(date +%s) + $3))
	while [ "$(date +%s)" -lt $until_then ] || [ $((quick + slow)) -lt 5 ]; do
		before=$(date +%s%N)
		timeout 20 "$tools/inject" -p "$(port_of here)" -t user@here.test 2>"$T/said" || fail "$1: a normal client waits 20 s, or hears: $(cat "$T/said")"
		took=$((($(date +%s%N) - before) / 1000000))
		[ $took -gt $worst ] && worst=$took
		if [ $took -lt 1000 ]; then quick=$((quick + 1)); else slow=$((slow + 1)); fi
		pause
	done
	must "$1: the program is there" alive "$here_pid"
	must "$1: $slow normal clients wait a second and more, one of them $worst ms; $quick do not" [ $slow -le $quick ]
	exec 6>&-
	wait $abuser
	note "$1: $2 clients, $(tail -n 1 "$T/$1.out"); a normal client waited $worst ms at most; $(sed -n 's/^VmHWM:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$here_pid/status") kB at most"
}

it abused_slowly "500 clients that trickle, 300 silent ones and 300 half handshakes do not keep others waiting"
abused_slowly() {
	may_open 600
	serve_tls
	here_pid=$pid
	abused trickle 500 3
	abused silent 300 2
	abused hello 300 2
}

it abused_quickly "lines without end, a flood of bad commands and clients that never read do not keep others waiting, nor fill the memory"
abused_quickly() {
	serve here
	here_pid=$pid
	abused line 4 3
	abused commands 4 3
	abused deaf 20 3
	must "memory stays small" [ "$(sed -n 's/^VmHWM:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$here_pid/status")" -lt 60000 ]
}
