#!/bin/sh
# How long a lone message waits for its 250, and how long the loop stands: bench/latency.sh, in quiet, while another program writes 4 GB to
# the same disk, and when the helpers are killed or stand still.
#   SECONDS_EACH=10 bench/latency.sh         how long each; PROGRAM=... measures another fardel
DISK_SIZE=10G
. "$(dirname "$0")/lib.sh"
each=${SECONDS_EACH:-10}
latency=$root/build/bench/latency
answers() { "$load" -n 1 "$1" >/dev/null 2>&1; }
helpers() { pgrep -P "$fardel_pid"; }

# measure WORDS: a row of the table.
measure() {
	"$latency" -t "$each" "$fardel_port" | awk -v words="$1" '{ printf "%-36s %8s %8s %8s   %8s %8s %8s   %s\n", words, $2, $3, $4, $6, $7, $8, $10 ? "(" $10 " of " $12 " refused)" : "" }'
}
beside_writing() {
	dd if=/dev/zero of="$T/large" bs=1M count=4096 2>/dev/null &
	writer=$!
	started="$started $writer"
	measure "$1"
	kill "$writer" 2>/dev/null
	wait "$writer" 2>/dev/null
	rm -f "$T/large"
	sync -f "$T"
}
# meanwhile WORDS COMMAND...: what happens in the middle.
meanwhile() {
	words=$1
	shift
	(sleep $((each / 2)); "$@") &
	measure "$words"
	wait $!
}
kill_helpers() { kill -9 $(helpers); }
stop_helpers() {
	stopped=$(helpers)
	kill -STOP $stopped
	sleep 1
	kill -CONT $stopped
}

printf '%-36s %8s %8s %8s   %8s %8s %8s\n' "ms" "250" "99 %" "most" "NOOP" "99 %" "most"
for method in log file; do
	config fardel "queue = $T/$method.queue" "deliver = no" "log = $T/fardel.mail.log" "queue_sync = $method"
	begin fardel setsid "$fardel" serve -c "$T/fardel.conf"
	fardel_pid=$pid
	fardel_port=$(port_of fardel)
	within 10 "fardel at port $fardel_port" answers "$fardel_port"
	[ $method = file ] || within 60 "its intake log" test -e "$T/$method.queue/wal/1"
	measure "$method"
	beside_writing "$method, beside 4 GB being written"
	meanwhile "$method, the helpers killed" kill_helpers
	meanwhile "$method, the helpers still for 1 s" stop_helpers
	end "$fardel_pid"
done
echo
echo "load average: $(cat /proc/loadavg)"
