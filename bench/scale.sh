#!/bin/sh
# What many cost: memory with many sessions and in a large queue, the time a start takes, what slow clients cost the others, and what a large
# queue costs the next message.
#   NAMES="1000 10000 100000 1000000" ROUNDS=5 bench/scale.sh       PROGRAM=... measures another fardel
# Memory is that of all its processes: proportional (Pss: what several share counts once), and the server's own resident set, in which
# libraries count that others have in memory, too.
. "$(dirname "$0")/lib.sh"
crowd=$tools/crowd
median() { sort -n | awk '{ x[NR] = $1 } END { printf "%s [%s - %s]", x[int((NR + 1) / 2)], x[1], x[NR] }'; }

# serve_on QUEUE: its port is in $fardel_port.
serve_on() {
	config fardel "queue = $1" "log = $T/fardel.mail.log" "deliver = ${deliver:-yes}"
	fardel_port=$port
	"$crowd" greet "$port" >"$T/greeted" &
	greeter=$!
	begin fardel setsid "$fardel" serve -c "$T/fardel.conf"
	fardel_pid=$pid
	wait $greeter || fail "fardel does not greet: $(tail -n 3 "$T/fardel.log")"
}
memory() {
	sleep 1                 # helpers that begin, buffers that are given back
	awk '/^Rss:/ && !n++ { rss = $2 } /^Pss:/ { pss += $2 } END { printf "%.1f MB, resident %.1f MB\n", pss / 1024, rss / 1024 }' \
		/proc/"$fardel_pid"/smaps_rollup $(pgrep -P "$fardel_pid" | sed 's|.*|/proc/&/smaps_rollup|')
}
# with WHAT CROWD-WORDS...: the memory while they are there.
with() {
	mkfifo "$T/fifo"
	"$crowd" "$2" "$fardel_port" "$3" ${4:-} <"$T/fifo" >"$T/crowd" &
	holder=$!
	started="$started $holder"
	exec 5>"$T/fifo"
	within 120 "$1" grep -q "^$3 of $3" "$T/crowd"
	printf '%-44s %s\n' "$1" "$(memory)"
	exec 5>&-
	wait $holder
	rm "$T/fifo"
}

# fill QUEUE N: so many messages at 1000 destinations, due tomorrow, by their names: a start reads no more.
fill() {
	mkdir -p -m 700 "$1" "$1/cur"
	(cd "$1/cur" && awk -v n="$2" -v now="$(date +%s)" 'BEGIN { srand(1); for (i = 0; i < n; i++)
		printf "%d.3.%08x%08x%08x.d%d.example\n", now + 86400 + i % 5000, now - 90000 + i % 3600, 4294967295 * rand(), 4294967295 * rand(), i % 1000 }' |
		xargs touch 2>/dev/null)
}
grown() {
	for n in ${NAMES:-1000 10000 100000 1000000}; do
		fill "$T/q$n" "$n" || { echo "$n messages: this disk has no inodes for them"; rm -rf "${T:?}/q$n"; continue; }
		round=0
		: >"$T/starts"
		while [ "$round" -le "$rounds" ]; do    # the first one reads the directory from the disk, if it has to
			serve_on "$T/q$n"
			[ "$round" = 0 ] || cat "$T/greeted" >>"$T/starts"
			[ "$round" = "$rounds" ] && had=$(memory)
			end "$fardel_pid"
			round=$((round + 1))
		done
		printf '%-44s %s; greets after %s ms\n' "$n messages in the queue" "$had" "$(median <"$T/starts")"
		rm -rf "${T:?}/q$n"
	done
}

# A second of 20 sessions: messages a second, and the processor time of the server's thread for each.
burst() {
	had=$(cut -d ' ' -f 1 "/proc/$fardel_pid/schedstat")
	"$load" -c 20 -k 0 -t 1 "$fardel_port" |
		awk -v had="$had" -v now="/proc/$fardel_pid/schedstat" '{ getline x <now; split(x, has, " "); print $1, (has[1] - had) / $2 }'
}
# Both, without and beside 500 clients that send an octet every 200 ms; in turns.
trickled() {
	mkfifo "$T/fifo"
	round=1
	while [ "$round" -le "$rounds" ]; do
		alone=$(burst)
		"$crowd" trickle "$fardel_port" 500 <"$T/fifo" >"$T/crowd" &
		holder=$!
		started="$started $holder"
		exec 5>"$T/fifo"
		within 120 "500 slow clients" grep -q '^500 of 500' "$T/crowd"
		burst | awk -v alone="$alone" '{ split(alone, x, " "); printf "%.2f %.2f\n", $1 / x[1], $2 / x[2] }'
		exec 5>&-
		wait $holder
		round=$((round + 1))
	done >"$T/trickled"
	rm -f "$T/fifo"
}

# What another message costs in a queue of 100,000, to one in an empty queue; in turns.
added() {
	fill "$T/full" 100000 || { echo "100000 messages: this disk has no inodes for them"; return; }
	deliver=no serve_on "$T/full"
	full_pid=$fardel_pid full_port=$fardel_port
	deliver=no serve_on "$T/none"
	none_pid=$fardel_pid none_port=$fardel_port
	round=1
	while [ "$round" -le "$rounds" ]; do
		alone=$(burst)
		fardel_pid=$full_pid fardel_port=$full_port
		burst | awk -v alone="$alone" '{ split(alone, x, " "); printf "%.2f %.2f\n", $1 / x[1], $2 / x[2] }'
		fardel_pid=$none_pid fardel_port=$none_port
		round=$((round + 1))
	done >"$T/added"
	end "$full_pid"
	end "$none_pid"
	printf '%-44s %s\n' "rate in a queue of 100,000 : an empty one" "$(cut -d ' ' -f 1 "$T/added" | median)" \
		"processor time for a message, likewise" "$(cut -d ' ' -f 2 "$T/added" | median)"
	rm -rf "${T:?}/full" "${T:?}/none"
}

deliver=no serve_on "$T/q0"
printf '%-44s %s\n' "idle" "$(memory)"
with "1000 sessions that do nothing" idle 1000
with "100 sessions, 60 kB of a message each" data 100 61440
trickled
printf '%-44s %s\n' "rate beside 500 slow clients : without" "$(cut -d ' ' -f 1 "$T/trickled" | median)" \
	"processor time for a message, likewise" "$(cut -d ' ' -f 2 "$T/trickled" | median)"
end "$fardel_pid"
added
grown
echo
echo "load average: $(cat /proc/loadavg)"
