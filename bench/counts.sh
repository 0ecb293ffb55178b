#!/bin/sh
# What a message costs, as counts: bench/counts.sh. They do not depend on what else the machine does, but for how many messages meet in a
# round of the commit helper. Each load is given twice, with few messages and with many, and the difference is divided by the difference:
# so start and end of the program do not count. System calls, syncs and octets written to files are those of all its processes (strace);
# allocations are those of the program itself, seen by build/bench/mallocs.so.
#   QUEUE_SYNC=file                          how fardel makes mail durable (queue_sync)
. "$(dirname "$0")/lib.sh"
few=100
many=400

# run NAME COUNT HOW OPTION...: serve, so many messages, and the end; HOW: kept, sent (until all is gone), late (until all was tried), or again:
# kept, and the queue is as the run before has left it.
run() {
	load_name=$1 n=$2 how=$3
	shift 3
	[ "$how" = again ] || rm -rf "$T/fardel.queue"
	case $how in late) sink_port=$late_port ;; *) sink_port=$taking_port ;; esac
	config fardel "log = $T/fardel.mail.log" "route = * smtp://127.0.0.1:$sink_port" "retry_first = 1h" "retry_max = 1h" \
		${QUEUE_SYNC:+"queue_sync = $QUEUE_SYNC"} "deliver = $(case $how in sent | late) echo yes ;; *) echo no ;; esac)" "queue_log = 1M"
	rm -f "$T/calls" "$T/mallocs"
	: >"$T/fardel.mail.log"
	begin fardel env MALLOCS="$T/mallocs" strace -D -f -o "$T/calls" -E LD_PRELOAD="$root/build/bench/mallocs.so" "$fardel" serve -c "$T/fardel.conf"
	within 20 "fardel at port $(port_of fardel)" grep -q ' started ' "$T/fardel.mail.log"
	[ "$n" = 0 ] || "$load" -n "$n" "$@" "$(port_of fardel)" >"$T/load.out" || fail "the load failed"
	case $how in
	sent) within 60 "all is delivered" queue_is_empty ;;
	late) within 60 "all was tried" all_tried ;;
	esac
	end "$pid"
	within 10 "the count" grep -q "^$pid .*+++" "$T/calls"
	count "$load_name" "$n" <"$T/calls"
}
queue_is_empty() { [ "$(ls "$T/fardel.queue/cur" | wc -l)" = 0 ]; }
all_tried() { [ "$(ls "$T/fardel.queue/cur" | grep -vc '\.1\.')" = 0 ]; }
# One line for each call: NAME|COUNT|call|how often; octets written to files and allocations are calls of their own.
count() {
	awk -v name="$1" -v n="$2" -v mallocs="$(cat "$T/mallocs")" '
	{ sub(/^[0-9]+ +/, "") }
	/^<\.\.\. / { sub(/^<\.\.\. /, ""); call = $1; resumed = 1 }
	!/^<\.\.\. / && !resumed { call = $0; sub(/\(.*/, "", call) }
	call !~ /^[a-z_0-9]+$/ { resumed = 0; next }
	{
		if (!resumed) calls[call]++
		if ((call == "write" || call == "pwrite64") && match($0, /= [0-9]+$/)) octets += substr($0, RSTART + 2)
		resumed = 0
	}
	END {
		for (c in calls) print name "|" n "|" c "|" calls[c]
		print name "|" n "|octets|" octets + 0
		print name "|" n "|allocations|" mallocs
	}' >>"$T/counted"
}
# both NAME DELIVER OPTION...
both() {
	title=$1 until=$2
	shift 2
	run "$title" $few "$until" "$@"
	run "$title" $many "$until" "$@"
}
report() {
	awk -F'|' -v few=$few -v many=$many '
	$1 == "restart" || $1 == "restarted with 1000" || $1 == "filling" { at[$1, $3] = $4; calls[$3]; next }
	{ if (!($1 in row)) { row[$1] = ++rows; title[rows] = $1 } v[$1, $2, $3] = $4; calls[$3] }
	function cost(r, c) { return (v[title[r], many, c] - v[title[r], few, c]) / (many - few) }
	function line(name, total, syncs, octets, mallocs) { printf "%-50s %7.1f %7.2f %9.0f %7.1f\n", name, total, syncs, octets, mallocs }
	function is_call(c) { return c != "octets" && c != "allocations" }
	function is_sync(c) { return c == "fdatasync" || c == "fsync" || c == "syncfs" }
	END {
		printf "%-50s %7s %7s %9s %7s\n", "a message", "calls", "syncs", "octets", "allocs"
		for (r = 1; r <= rows; r++) {
			total = syncs = 0
			for (c in calls) { if (is_call(c)) total += cost(r, c); if (is_sync(c)) syncs += cost(r, c) }
			line(title[r], total, syncs, cost(r, "octets"), cost(r, "allocations"))
		}
		total = syncs = 0
		for (c in calls) { d = at["restarted with 1000", c] - at["restart", c]; if (is_call(c)) total += d / 1000; if (is_sync(c)) syncs += d }
		printf "%-50s %7.2f %7.2f %9.0f %7.1f\n", "restart, a message in the queue", total, syncs / 1000, (at["restarted with 1000", "octets"] - at["restart", "octets"]) / 1000,
			(at["restarted with 1000", "allocations"] - at["restart", "allocations"]) / 1000
		total = 0
		for (c in calls) if (is_call(c)) total += at["restart", c]
		printf "%-50s %7d %7d\n", "start and end with an empty queue", total, at["restart", "fsync"] + at["restart", "fdatasync"] + at["restart", "syncfs"]
		print ""
		for (r = 1; r <= rows; r++) {
			printf "%s:", title[r]
			for (c in calls) if (is_call(c) && cost(r, c) >= 0.005) printf " %s %.2f", c, cost(r, c)
			print ""
		}
	}' "$T/counted"
}

sink taking
taking_port=$port
sink late -r 'u=451 4.7.1 later'
late_port=$port
both "accept, a session of its own" kept -c 1
both "accept, in a session with others" kept -c 1 -k 0
both "accept, of 100 at a time, sessions of their own" kept -c 100
both "accept, of 100 at a time, in sessions with others" kept -c 100 -k 0
both "accept and deliver" sent -c 1 -k 0
both "accept and deliver, of 20 at a time" sent -c 20 -k 0
both "accept and deliver to 10 recipients" sent -c 1 -k 0 -r 10
both "accept and put off" late -c 1 -k 0
run restart 0 kept
run filling 1000 kept -c 20 -k 0
run "restarted with 1000" 0 again
report
