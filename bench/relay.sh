#!/bin/sh
# Relaying beside Postfix and Exim: bench/relay.sh, as root. A network of its own, with a resolver that knows 100 domains and their three
# hosts, and at these hosts a sink (bench/sink.c) that counts.
#   ROUNDS=5 MESSAGES=3000 bench/relay.sh [rates|counts]          PROGRAM=... measures another fardel, QUEUE_SYNC=log this queue_sync
# On a machine that others use, `chrt -r 1` before it keeps their processes from delaying ours.
# Rates: fardel and Postfix take messages and deliver them, in turns; messages a second until the last one is at the sink, as median
# [least - most] of the rounds, and the ratio of the two within a round. Counts: what goes over the wire for the same mail.
set -u
if [ "${1:-}" != inside ]; then
	[ "$(id -u)" = 0 ] || { echo "bench: a network of its own needs root" >&2; exit 1; }
	exec unshare --net --mount --propagation private sh "$0" inside "$@"
fi
shift
. "$(dirname "$0")/lib.sh"
# A second of fardel at the least: what is measured is not how it begins. The wire is counted with 1000.
messages=${MESSAGES:-3000}
counted=${MESSAGES:-1000}
hosts="192.0.2.1 192.0.2.2 192.0.2.3"
hold_ms=5
# One message through it: it is there, and has asked the resolver.
answers_here() { relay "$1" -n 1 2>/dev/null | grep -q ' 1 0 0 - .*[0-9] $'; }

network() {
	# Segments as an Ethernet carries them.
	ip link set lo up mtu 1500 || fail "no network of our own (ip)"
	for host in $hosts; do ip address add "$host/32" dev lo; done
	echo nameserver 127.0.0.1 >"$T/resolv.conf"
	mount --bind "$T/resolv.conf" /etc/resolv.conf || fail "no resolv.conf of our own"
	{
		n=0
		for host in $hosts; do
			n=$((n + 1))
			echo "mx$n.test A $host"
			for domain in there load $(seq -f d%.0f 0 99); do echo "$domain.test MX 10 mx$n.test"; done
		done
	} >"$T/dns.zone"
	begin dns "$tools/fakedns_main" "$T/dns.zone" 53
	said_port dns
}
start_fardel() {
	config fardel "resolver = 127.0.0.1:53" "log = $T/fardel.mail.log" ${QUEUE_SYNC:+"queue_sync = $QUEUE_SYNC"}
	begin fardel setsid "$fardel" serve -c "$T/fardel.conf"
	fardel_pid=$pid
	fardel_port=$(port_of fardel)
}
# Postfix and Exim as they come, apart from where they are.
start_postfix() {
	postfix_port=
	have_postfix || return 0
	postfix_begins <<TEXT
relay_domains = (default)
transport_maps = (default)
smtp_dns_support_level = (default)
smtp_tls_security_level = (default)
smtp_tls_verify_cert_match = (default)
smtp_tls_CAfile = (default)
smtpd_relay_restrictions = (default)
TEXT
}
start_exim() {
	exim_port=
	(need_exim) >/dev/null 2>&1
	[ -d "$store/exim" ] || return 0
	need_exim
	cp -r "$tree" "$T/exim-tree" && tree=$T/exim-tree
	find_libraries
	mkdir -p "$T/exim/spool"
	wrapped=$(T=$T/exim && accounts Debian-exim && echo "$wrapped")
	free_port
	exim_port=$port
	cat >"$T/exim/conf" <<TEXT
primary_hostname = exim.test
exim_path = $tree/usr/sbin/exim4
exim_user = Debian-exim
exim_group = Debian-exim
keep_environment = LD_LIBRARY_PATH : LD_PRELOAD : NSS_WRAPPER_PASSWD : NSS_WRAPPER_GROUP
spool_directory = $T/exim/spool
log_file_path = $T/exim/%slog
pid_file_path = $T/exim/pid
local_interfaces = 127.0.0.1
daemon_smtp_ports = $exim_port
tls_advertise_hosts =
smtp_accept_max = 100
deliver_drop_privilege = true
acl_smtp_rcpt = all
begin acl
all:
  accept
begin routers
remote:
  driver = dnslookup
  transport = smtp
begin transports
smtp:
  driver = smtp
begin retry
* * F,1h,1m
TEXT
	chown 64001:64001 "$T/exim" "$T/exim/spool"
	# shellcheck disable=SC2086
	begin exim env $wrapped "$tree/usr/sbin/exim4" -C "$T/exim/conf" -bdf -q30m
}

# relay WHO OPTION...: one load through it to the sink; the two lines of load as one.
relay() {
	eval "through=\$$1_port"
	shift
	# shellcheck disable=SC2086
	"$load" "$@" "$through" $hosts | tr '\n' ' '
}
# cpu WHO: hundredths of seconds that its processes have had, those that have ended too.
cpu() {
	eval "first=\$$1_pid"
	cat /proc/[0-9]*/stat 2>/dev/null | sed 's/(.*)/name/' | awk -v first="$first" '
		$1 == first || $4 == first { n += $14 + $15 }
		$1 == first { n += $16 + $17 }
		END { print n + 0 }'
}

rates='1 session, a message each|-c 1
20 sessions, a message each|-c 20
1 session for all|-c 1 -k 0
20 sessions for all|-c 20 -k 0'
measure_rates() {
	round=1
	while [ "$round" -le "$rounds" ]; do
		echo "$rates" | while IFS='|' read -r name options; do
			for who in $(in_turns postfix fardel); do
				sleep 2         # the one before is still at work when its last message has arrived
				had=$(cpu "$who")
				# shellcheck disable=SC2086
				said=$(relay "$who" -n "$messages" $options)
				echo "$name|$who|$round|$said|$(($(cpu "$who") - had))"
			done
		done
		round=$((round + 1))
	done >"$T/rates"
}
# Who is first changes from round to round.
in_turns() { [ $((round % 2)) = 1 ] && echo "$1 $2" || echo "$2 $1"; }
show_rates() {
	awk -F'|' "$awk_lists"'
	function row(a, b, c, d) { printf "%-30s %-24s %-24s %s\n", a, b, c, d }
	{ split($4, f, " "); rate[$1, $2, $3] = f[11] ? f[11] / f[6] : 0; cpu[$1, $2, $3] = f[11] ? 10 * $5 / f[11] : 0; bad[$1, $2] += f[3] + (f[2] != f[11]); if (!seen[$1]++) order[++cases] = $1; if ($3 > rounds) rounds = $3 }
	END {
		row("delivered a second", "fardel", "Postfix", "fardel : Postfix")
		for (c = 1; c <= cases; c++) {
			k = order[c]
			for (r = 1; r <= rounds; r++) { a[r] = rate[k, "fardel", r]; b[r] = rate[k, "postfix", r]; q[r] = b[r] ? a[r] / b[r] : 0 }
			row(k, show(a, rounds, "%.0f"), show(b, rounds, "%.0f"), show(q, rounds, "%.1f") (bad[k, "fardel"] + bad[k, "postfix"] ? sprintf("  (failed: %d and %d)", bad[k, "fardel"], bad[k, "postfix"]) : ""))
		}
		row("\nprocessor, ms a message", "fardel", "Postfix", "Postfix : fardel")
		for (c = 1; c <= cases; c++) {
			k = order[c]
			for (r = 1; r <= rounds; r++) { a[r] = cpu[k, "fardel", r]; b[r] = cpu[k, "postfix", r]; q[r] = a[r] ? b[r] / a[r] : 0 }
			row(k, show(a, rounds, "%.2f"), show(b, rounds, "%.2f"), show(q, rounds, "%.1f"))
		}
	}' "$T/rates"
}

counts="one message, 1000 recipients at 100 domains|-n 1 -r 1000 -D 100 -d $hold_ms
the same without CHUNKING|-n 1 -r 1000 -D 100 -d $hold_ms -C
$counted messages to one domain|-n $counted -c 20 -d $hold_ms
the same without CHUNKING|-n $counted -c 20 -d $hold_ms -C"
measure_counts() {
	echo "$counts" | while IFS='|' read -r name options; do
		echo
		printf '%-44s %11s %12s %9s %11s %9s %9s %9s %9s %7s\n' "$name" connections transactions RCPT "round trips" "kB there" "kB back" "segments" questions seconds
		for who in fardel postfix exim; do
			eval "[ \"\${${who}_port}\" ]" || continue
			asked=$(questions)
			# shellcheck disable=SC2086
			relay "$who" -w 120 $options >"$T/count"
			awk -v who="$who" -v asked="$(($(questions) - asked))" '{
				printf "  %-42s %11d %12d %9d %11d %9.1f %9.1f %9d %9d %7.2f%s\n", who, $7, $9, $10, $12, $13 / 1000, $14 / 1000, $15 + $16, asked / 2, $6, $17 ? "  (" $17 ")" : "" }' "$T/count"
		done
	done
}
# Datagrams of this network: a question and its answer are two.
questions() { awk '/^Udp: [0-9]/ { print $2 }' /proc/net/snmp; }

network
start_fardel
start_postfix
start_exim
within 60 "fardel's intake log" log_is_there
for who in fardel postfix exim; do
	eval "port=\${${who}_port}"
	[ "$port" ] || { echo "(no $who here)"; continue; }
	within 20 "$who at port $port" answers_here "$who"
done
case ${1:-all} in rates|all) measure_rates; show_rates ;; esac
case ${1:-all} in counts|all) measure_counts ;; esac
echo
echo "load average: $(cat /proc/loadavg)"
