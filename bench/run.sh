#!/bin/sh
# Accepting mail beside Postfix: bench/run.sh. Both get the same load in turns, round after round, on the same disk; mail is kept, not
# delivered. Prints messages a second as median [least - most] of the rounds, and the ratio of the two within a round.
#   ROUNDS=5 SECONDS_EACH=1 bench/run.sh     how often, how long
#   bench/run.sh picture FILE.svg            instead: messages a second with more and more sessions, drawn
#   QUEUE_SYNC=file                          how fardel makes mail durable (queue_sync); CASES=4: the first so many
# Postfix is unpacked below build/e2e/ as for the end-to-end tests and needs root; without it fardel is measured alone.
. "$(dirname "$0")/lib.sh"
each=${SECONDS_EACH:-1}
answers() { "$load" -n 1 "$1" >/dev/null 2>&1; }

certificates() {
	for kind in "rsa rsa_keygen_bits:2048" "ec ec_paramgen_curve:prime256v1"; do
		# shellcheck disable=SC2086
		set -- $kind
		openssl req -x509 -newkey "$1" -pkeyopt "$2" -nodes -days 2 -subj /CN=localhost -keyout "$T/$1.key" -out "$T/$1.crt" 2>/dev/null ||
			fail "openssl makes no certificate"
	done
	cp "$T/rsa.crt" "$T/cert.pem"
}
# A new queue each time: files removed under a running queue would be noticed, and that is work of another kind. Nothing is removed before
# the end: ext4 without a journal spends long looking for inodes that have not been removed lately.
start_fardel() {
	[ "${fardel_pid:-}" ] && end "$fardel_pid"
	old=$((${old:-0} + 1))
	[ ! -d "$T/fardel.queue" ] || mv "$T/fardel.queue" "$T/old.$old"
	config fardel "deliver = no" "log = $T/fardel.mail.log" ${QUEUE_SYNC:+"queue_sync = $QUEUE_SYNC"}
	for kind in rsa ec; do printf 'tls_certificate = %s\ntls_key = %s\n' "$T/$kind.crt" "$T/$kind.key"; done >>"$T/fardel.conf"
	begin fardel setsid "$fardel" serve -c "$T/fardel.conf"
	fardel_pid=$pid
	fardel_port=$(port_of fardel)
	within 10 "fardel at port $fardel_port" answers "$fardel_port"
	within 60 "its intake log" log_is_there
}
start_postfix() {
	postfix_port=
	have_postfix || return 0
	postfix_begins <<TEXT
relay_domains = there.test
smtpd_data_restrictions = check_client_access static:HOLD
smtpd_tls_security_level = may
smtpd_tls_cert_file = $T/rsa.crt
smtpd_tls_key_file = $T/rsa.key
smtpd_tls_eccert_file = $T/ec.crt
smtpd_tls_eckey_file = $T/ec.key
smtpd_client_connection_rate_limit = 0
TEXT
	within 20 "Postfix at port $postfix_port" answers "$postfix_port"
}

# What is measured: a name, and how the load is made.
cases='clear, 1 session, a message each|-c 1
clear, 100 sessions, a message each|-c 100
clear, 1 session for all|-c 1 -k 0
clear, 100 sessions for all|-c 100 -k 0
RSA-2048 resumed, 1 session|-c 1 -T rsa -R
RSA-2048 resumed, 100 sessions|-c 100 -T rsa -R
P-256, 1 session|-c 1 -T ec
P-256, 100 sessions|-c 100 -T ec
P-256 resumed, 100 sessions|-c 100 -T ec -R
RSA-2048, 100 sessions|-c 100 -T rsa'
measure() {
	round=1
	while [ "$round" -le "$rounds" ]; do
		start_fardel
		echo "$cases" | head -n "${CASES:-99}" | while IFS='|' read -r name options; do
			for who in postfix fardel; do
				eval "port=\$${who}_port"
				[ "$port" ] || continue
				sleep 2         # the one before is still at work when its last message has been answered
				# shellcheck disable=SC2086
				echo "$name|$who|$round|$("$load" -t "$each" $options "$port")"
			done
		done
		round=$((round + 1))
	done >"$T/raw"
}
report() {
	awk -F'|' "$awk_lists"'
	{ split($4, f, " "); rate[$1, $2, $3] = f[1]; bad[$1, $2] += f[3]; suite[$1, $2] = f[5] " " f[6]; if (!seen[$1]++) order[++cases] = $1; if ($3 > rounds) rounds = $3 }
	END {
		printf "%-36s %-26s %-26s %s\n", "messages a second", "fardel", "Postfix", "fardel : Postfix"
		for (c = 1; c <= cases; c++) {
			k = order[c]; n = 0
			for (r = 1; r <= rounds; r++) { a[r] = rate[k, "fardel", r] + 0; if ((k, "postfix", r) in rate) { b[++n] = rate[k, "postfix", r] + 0; q[n] = b[n] ? a[r] / b[n] : 0 } }
			printf "%-36s %-26s %-26s %s%s\n", k, show(a, rounds, "%.0f"), n ? show(b, n, "%.0f") : "-", n ? show(q, n, "%.2f") : "-", bad[k, "fardel"] + bad[k, "postfix"] ? sprintf("  (failed: %d and %d)", bad[k, "fardel"], bad[k, "postfix"]) : ""
		}
	}' "$T/raw"
}
# What is there to be had with a hundred sessions for all: the dialogue with a server that keeps nothing, and programs that do nothing else
# than keep (bench/disk.c). Who does one after the other in one thread can have as much as both together take.
limits() {
	free_port
	round=1
	while [ "$round" -le "$rounds" ]; do
		sleep 1
		echo "talk $("$load" -t "$each" -c 100 -k 0 -w 5 -p "$port" "$port" 127.0.0.1 2>/dev/null | head -n 1)"
		for how in log syncfs; do
			sleep 1
			echo "$how $("$root/build/bench/disk" "$T/disk" "$how" "$each")"
			rm -rf "$T/disk"
		done
		round=$((round + 1))
	done | awk "$awk_lists"'
	{ n[$1]++; rate[$1, n[$1]] = $2 }
	function row(k, name,   list, i) {
		for (i = 1; i <= n[k]; i++) list[i] = rate[k, i]
		printf "%-36s %s\n", name, show(list, n[k], "%.0f")
		return list[int((n[k] + 1) / 2)]
	}
	END {
		talk = row("talk", "100 sessions, nothing is kept"); keep = row("log", "nothing but files and a log"); row("syncfs", "nothing but files and syncfs")
		if (talk && keep) printf "%-36s %.0f\n", "the first and the second by turns", 1 / (1 / talk + 1 / keep)
	}'
}
# written PID...: octets that they have had written to the disk.
written() { for pid in "$@"; do cat /proc/"$pid"/io; done 2>/dev/null | awk '/^write_bytes/ { n += $2 } END { print n + 0 }'; }
# Counts that no other load on the machine changes, but for how many of 100 sessions a sync serves.
counts() {
	command -v strace >/dev/null 2>&1 || { echo "no strace here: no counts"; return; }
	start_fardel
	processes="$fardel_pid $(pgrep -P "$fardel_pid" | tr '\n' ' ')"
	for how in "1 session, a message each|200|-k 1" "1 session for all|200|-k 0" "100 sessions, a message each|8000|-c 100 -k 1" "100 sessions for all|8000|-c 100 -k 0"; do
		n=${how#*|}
		n=${n%|*}
		before=$(written $processes)
		# shellcheck disable=SC2046
		strace -f -c -qq -o "$T/strace" $(printf -- '-p %s ' $processes) 2>/dev/null &
		tracer=$!
		sleep 0.5
		# shellcheck disable=SC2086
		"$load" -n "$n" ${how##*|} "$fardel_port" >/dev/null
		sleep 0.2
		kill -INT $tracer 2>/dev/null
		wait $tracer 2>/dev/null
		after=$(written $processes)
		awk -v how="${how%%|*}" -v n="$n" -v bytes=$((after - before)) '
			$NF ~ /^[a-z_0-9]+$/ && $4 ~ /^[0-9]+$/ && $NF != "total" { calls += $4; if ($NF ~ /sync/) syncs += $4; list = list sprintf(" %s %.1f", $NF, $4 / n) }
			END { printf "%s: %.1f system calls, %.3f syncs, %.0f octets to the disk a message of 4096\n  %s\n", how, calls / n, syncs / n, bytes / n, list }' "$T/strace"
	done
}

# Messages a second over the number of sessions for all, both logarithmic, a curve for each server and what there is to be had.
picture() {
	free_port
	sink=$port
	round=1
	while [ "$round" -le "$rounds" ]; do
		for who in log file postfix talk keep; do
			case $who in log | file) QUEUE_SYNC=$who start_fardel ;; esac
			for n in 1 2 5 10 20 50 100; do
				sleep 1
				case $who in
				log | file) rate=$("$load" -t "$each" -c "$n" -k 0 "$fardel_port") ;;
				postfix) rate=$([ -z "$postfix_port" ] || "$load" -t "$each" -c "$n" -k 0 "$postfix_port") ;;
				talk) rate=$("$load" -t "$each" -c "$n" -k 0 -w 5 -p "$sink" "$sink" 127.0.0.1 2>/dev/null | head -n 1) ;;
				keep) [ "$n" = 100 ] || continue; rate=$("$root/build/bench/disk" "$T/disk" log "$each" | cut -d " " -f 1); rm -rf "$T/disk" ;;
				esac
				case $who$postfix_port:$rate in postfix:) ;; *: | *:0.0* | *' '*' '[1-9]*) fail "$who, $n sessions: some were refused: $rate" ;; esac
				echo "$who $n ${rate:-0}"
			done
		done
		round=$((round + 1))
	done >"$T/rates"
	awk "$awk_lists"'
	function x(n) { return 60 + 500 * log(n) / log(100) }
	function y(rate) { return 340 - 320 * log(rate / 200) / log(250) }
	{ k = $1 SUBSEP $2; rate[k, ++count[k]] = $3 }
	END {
		print "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 730 390\" font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"730\" height=\"390\" fill=\"#fff\"/>"
		for (i = split("200 500 1000 2000 5000 10000 20000 50000", at, " "); i; i--)
			printf "<path d=\"M60 %.1fH560\" stroke=\"#ddd\"/><text x=\"52\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n", y(at[i]), y(at[i]) + 4, at[i]
		for (i = points = split("1 2 5 10 20 50 100", at, " "); i; i--)
			printf "<text x=\"%.1f\" y=\"360\" text-anchor=\"middle\">%s</text>\n", x(at[i]), at[i]
		print "<text x=\"310\" y=\"380\" text-anchor=\"middle\">sessions</text><text x=\"64\" y=\"16\">messages a second</text>"
		lines = split("talk|nothing is kept|#999;keep|only files and a log|#999;log|fardel, log|#06c;file|fardel, file|#6ae;postfix|Postfix|#c40", line, ";")
		for (l = 1; l <= lines; l++) {
			split(line[l], w, "|")
			path = ""
			last = 0
			for (i = 1; i <= points; i++) {
				k = w[1] SUBSEP at[i]
				if (!count[k]) continue
				n = 0
				for (r = 1; r <= count[k]; r++) list[++n] = rate[k, r]
				sorted(list, n)
				last = list[int((n + 1) / 2)]
				if (last <= 0) continue
				path = path sprintf("%s%.1f %.1f", path == "" ? "M" : "L", x(at[i]), y(last))
				printf "<path d=\"M%.1f %.1fV%.1f\" stroke=\"%s\"/><circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"/>\n", x(at[i]), y(list[1]), y(list[n]), w[3], x(at[i]), y(last), w[3]
			}
			if (last > 0) printf "<path d=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"2\"/><text x=\"568\" y=\"%.1f\" fill=\"%s\">%s</text>\n", path, w[3], y(last) + 4, w[3], w[2]
		}
		print "</svg>"
	}' "$T/rates" >"$1"
}

case ${1:-} in
'' | picture) ;;
*) fail "say run.sh, or run.sh picture FILE.svg" ;;
esac
certificates
start_postfix
if [ "${1:-}" = picture ]; then
	picture "${2:-$root/doc/accept.svg}"
	exit
fi
[ "$postfix_port" ] || echo "(no Postfix here: fardel alone)"
measure
report
echo
limits
echo
counts
