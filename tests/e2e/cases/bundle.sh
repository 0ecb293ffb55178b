# One transaction for all recipients of a message at a destination.

# domains: d1.test to d4.test with an MX host each, all of them at the sink's port.
four_domains() {
	for i in 1 2 3 4; do
		echo "d$i.test MX 10 mx.d$i.test"
		echo "mx.d$i.test A 127.0.0.1"
	done >"$T/dns.zone"
	fakedns dns
	dns_port=$port
}
two_hundred() {
	inject -p "$(port_of here)" -f sender@here.test -t u%d@d1.test -t u%d@d2.test -t u%d@d3.test -t u%d@d4.test -R 50
}
# Every recipient once in the dumps of smtp-sink or the log of ours.
all_recipients_once() {
	grep -ho 'u[0-9]*@d[1-4]\.test' "$@" | sort >"$T/got"
	for d in 1 2 3 4; do
		i=0
		while [ $i -lt 50 ]; do
			echo "u$i@d$d.test"
			i=$((i + 1))
		done
	done | sort >"$T/wanted"
	must "every recipient once" cmp -s "$T/wanted" "$T/got"
}

it four_domains_four_transactions "50 recipients at each of 4 domains (MX) reach Postfix's smtp-sink in exactly 4 transactions"
four_domains_four_transactions() {
	need_postfix
	four_domains
	free_port
	sink_port=$port
	mkdir "$T/dump"
	# As root smtp-sink wants to be somebody else.
	user=
	[ "$(id -u)" = 0 ] && user="-u root"
	# shellcheck disable=SC2086
	begin smtpsink env LD_LIBRARY_PATH="$libraries" "$tree/usr/sbin/smtp-sink" $user -d "$T/dump/m." "127.0.0.1:$sink_port" 100
	serve here "resolver = 127.0.0.1:$dns_port" "smtp_port = $sink_port"
	must "the message is taken" two_hundred
	drained here
	must "4 transactions, not $(files "$T/dump")" [ "$(files "$T/dump")" = 4 ]
	grep -h '^X-Rcpt-Args' "$T/dump/"* >"$T/rcpts"
	all_recipients_once "$T/rcpts"
}

it shared_route_one_transaction "with one route for all of them it is exactly 1 transaction"
shared_route_one_transaction() {
	sink there
	serve here "route = * smtp://127.0.0.1:$port"
	must "the message is taken" two_hundred
	drained here
	must "1 transaction, not $(taken there)" took there 1
	grep RCPT "$T/there/log" >"$T/rcpts"
	all_recipients_once "$T/rcpts"
}

it limits_are_obeyed "a peer that announces LIMITS RCPTMAX=20 gets transactions of 20, 20 and 10 on one connection"
limits_are_obeyed() {
	sink there -k 'LIMITS RCPTMAX=20' -n 20
	serve here "route = * smtp://127.0.0.1:$port"
	must "the message is taken" inject -p "$(port_of here)" -f sender@here.test -t u%d@d1.test -R 50
	drained here
	sed -n 's/.*TOOK //p' "$T/there/log" | sort -n | tr '\n' ' ' >"$T/sizes"
	must "sizes are $(cat "$T/sizes")" [ "$(cat "$T/sizes")" = "10 20 20 " ]
	must "one connection" [ "$(grep -c EHLO "$T/there/log")" = 1 ]
	must "nobody is asked for twice" [ "$(grep -c RCPT "$T/there/log")" = 50 ]
}

it next_host_when_the_first_is_down "the second MX host gets the mail when nobody listens at the first"
next_host_when_the_first_is_down() {
	sink there
	printf '%s\n' "two.test MX 10 down.two.test" "two.test MX 20 up.two.test" "down.two.test A 127.0.0.2" "up.two.test A 127.0.0.1" >"$T/dns.zone"
	sink_port=$port
	fakedns dns
	serve here "resolver = 127.0.0.1:$port" "smtp_port = $sink_port"
	must "the message is taken" inject -p "$(port_of here)" -f sender@here.test -t u%d@two.test -R 3
	drained here 15
	must "1 transaction" took there 1
}

# sixty_domains: all at one MX host, which is "here"; "home" sends. Its log has a line for each greeting, that is for each connection.
sixty_domains() {
	free_port; mx=$port
	i=0
	domains=
	: >"$T/dns.zone"
	while [ $i -lt 60 ]; do
		echo "d$i.test MX 10 mx.test" >>"$T/dns.zone"
		domains="$domains d$i.test"
		i=$((i + 1))
	done
	echo "mx.test A 127.0.0.1" >>"$T/dns.zone"
	fakedns dns
	resolver=$port
	serve here "listen = smtp://127.0.0.1:$mx" "local_domains = here.test $domains"
	serve home "resolver = 127.0.0.1:$resolver" "smtp_port = $mx" "log_level = debug"
}
connections() { grep -c 'received="220 ' "$T/home.log"; }

it many_domains_few_connections "60 domains at one host: one message to all of them takes one connection and a transaction or two"
many_domains_few_connections() {
	sixty_domains
	recipients=
	for d in $domains; do recipients="$recipients user@$d"; done
	# shellcheck disable=SC2086
	printf 'Subject: x\n\ntext\n' | send home -f sender@home.test $recipients || fail "sendmail"
	within 30 "60 messages" arrived here user 60
	drained home
	[ "$(connections)" = 1 ] || fail "$(connections) connections"
	# Whose hosts are found later goes in the next one.
	[ "$(grep -c 'sent="MAIL' "$T/home.log")" -le 10 ] || fail "$(grep -c 'sent="MAIL' "$T/home.log") transactions"
	note "$(grep -c 'sent="MAIL' "$T/home.log") transactions"
}

it many_messages_few_connections "600 messages to 60 domains at one host: each arrives once, over few connections, and no domain waits for the others"
many_messages_few_connections() {
	sixty_domains
	n=0
	for d in $domains; do
		inject -p "$(port_of home)" -f sender@home.test -t "user@$d" -n 10 >/dev/null || fail "inject"
	done
	within 60 "600 messages" arrived here user 600
	drained home
	[ "$(connections)" -le 20 ] || fail "$(connections) connections"
	note "$(connections) connections"
}

it many_local_domains_at_one_address "thirty local domains with aliases, whose hosts are one address: who waits for a connection gets one"
many_local_domains_at_one_address() {
	domains= routes= to= i=0
	: >"$T/dns.zone"
	while [ $i -lt 30 ]; do
		i=$((i + 1))
		echo "h$i.test A 127.0.0.1" >>"$T/dns.zone"
		domains="$domains d$i.test"
		to="$to -t user@d$i.test"
	done
	fakedns dns
	dns=$port
	sink there
	there=$port
	set --
	while [ $i -gt 0 ]; do
		set -- "$@" "route = d$i.test smtp://h$i.test:$there"
		i=$((i - 1))
	done
	config here "local_domains =$domains here.test" "aliases = $T/aliases" "tls_out = no" "$@"
	sed -i -e "s/^resolver = .*/resolver = 127.0.0.1:$dns/" "$T/here.conf"
	echo 'foo: bar@d1.test' >"$T/aliases"
	mailboxes here user sender postmaster
	start here
	# shellcheck disable=SC2086
	must "the message is taken" inject -p "$(port_of here)" -f sender@here.test $to
	drained here 30
	must "each has it" took there 30
}
