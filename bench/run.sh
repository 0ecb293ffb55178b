#!/bin/sh
# Accepting mail beside Postfix: bench/run.sh. Both get the same load in turns, round after round, on the same disk; mail is kept, not
# delivered. Prints messages a second as median [least - most] of the rounds, and the ratio of the two within a round.
#   ROUNDS=5 SECONDS_EACH=1 bench/run.sh     how often, how long
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

certificates
start_postfix
[ "$postfix_port" ] || echo "(no Postfix here: fardel alone)"
measure
report
echo
limits
echo
counts
