# Who is not in relay_from: what he must be able to show.

# heard PORT FROM: what a stranger's message from there is answered.
heard() {
	if inject -p "$1" -f "$2" -t user@here.test 2>"$T/said"; then
		echo 250
	else
		head -n 1 "$T/said"
	fi
}
hears() { # hears PORT FROM WHAT
	got=$(heard "$1" "$2")
	case $got in
	*"$3"*) ;;
	*) fail "mail from <$2> hears $got, not $3" ;;
	esac
}

it strangers_senders "a stranger's sender must be able to get mail: through the daemon, and through inetd as well"
strangers_senders() {
	cat >"$T/dns.zone" <<-'END'
	good.test MX 10 mx.good.test
	mx.good.test A 192.0.2.1
	plain.test AAAA 2001:db8::1
	null.test MX 0 .
	empty.test TXT nothing
	nowhere.test MX 10 mx.nowhere.test
	mx.nowhere.test TXT nothing
	broken.test SERVFAIL
	END
	fakedns dns
	dns_port=$port
	serve here "resolver = 127.0.0.1:$dns_port" "relay_from = 192.0.2.0/24"
	begin super "$tools/superserver" "$fardel" inetd -c "$T/here.conf"
	said_port super
	for at in $(port_of here) $port; do
		hears "$at" a@good.test 250
		hears "$at" a@plain.test 250
		hears "$at" '' 250
		hears "$at" 'a@[192.0.2.9]' 250
		hears "$at" a@here.test 250
		hears "$at" a@null.test '550 5.7.27'
		hears "$at" a@empty.test '550 5.1.8'
		hears "$at" a@nowhere.test '550 5.1.8'
		hears "$at" a@missing.test '550 5.1.8'
		hears "$at" a@broken.test '451 4.4.3'
	done
	within 30 "what was taken" arrived here user 10
}

it strangers_without_dns "when no resolver answers, strangers are told to come back, and relay_from is not asked"
strangers_without_dns() {
	serve here "relay_from = 192.0.2.0/24"
	hears "$(port_of here)" a@good.test '451 4.4.3'
	hears "$(port_of here)" '' 250
	serve there "relay_from = 127.0.0.0/8"
	must "ours is taken" inject -p "$(port_of there)" -f a@good.test -t user@there.test
	serve open "relay_from = 192.0.2.0/24" "check_sender = no"
	must "nobody is asked" inject -p "$(port_of open)" -f a@good.test -t user@open.test
}

it strangers_and_few_descriptors "with few descriptors the log says at the start how many sessions fit, and new clients are told to come back"
strangers_and_few_descriptors() {
	config here
	mailboxes here user
	begin here sh -c 'ulimit -n 64; exec "$0" serve -c "$1"' "$fardel" "$T/here.conf"
	within 20 "the start" grep -q ' started ' "$T/here.log"
	has 'room for 16 of sessions_max = 12000 sessions: raise it (ulimit -n, or LimitNOFILE=' "$T/here.log"
	mkfifo "$T/fifo"
	"$tools/abuse" silent 16 "$(port_of here)" <"$T/fifo" >"$T/abuse.out" 2>&1 &
	started="$started $!"
	exec 6>"$T/fifo"
	within 20 "16 clients" grep -q begun "$T/abuse.out"
	hears "$(port_of here)" a@good.test '421 4.3.2'
	has '16 sessions are all that the limit of open files leaves room for' "$T/here.log"
	exec 6>&-
	within 10 "a place" inject -p "$(port_of here)" -t user@here.test
}

it strangers_are_counted_on "what a stranger has had of what he may is counted on behind a new start; a file that is torn is no reason not to start"
strangers_are_counted_on() {
	serve here "relay_from = 192.0.2.0/24" "check_sender = no" "spf = off" "check_dkim = no" "sender_domain_mails_per_hour = 2"
	here=$pid
	at=$(port_of here)
	for n in 1 2; do
		must "message $n" inject -p "$at" -f a@x.test -t user@here.test
	done
	for turn in before behind; do
		refused=$(inject -p "$at" -f a@x.test -t user@here.test 2>&1) && fail "a third one is taken, $turn the new start"
		case $refused in *'451 4.7.1 Too much mail comes from x.test'*) ;; *) fail "it hears $refused" ;; esac
		end "$here"
		[ -s "$T/here.queue/limits" ] || fail "nothing is written"
		start here
		here=$pid
	done
	end "$here"
	head -c 90 "$T/here.queue/limits" >"$T/torn"
	cat "$T/torn" >"$T/here.queue/limits"
	start here
	must "counting begins anew" inject -p "$at" -f a@x.test -t user@here.test
	has ' counts msg="limits in the queue directory is not whole' "$T/here.log"
}
