# Who may send mail from a domain: the command that asks, and the server that notes or refuses.

spf() { "$fardel" spf -c "$T/here.conf" "$@" >"$T/said" 2>&1; }

it spf_asks "fardel spf asks the resolver of the settings and says the result first, then why"
spf_asks() {
	cat >"$T/dns.zone" <<-'END'
	x.test TXT "v=spf1 ip4:192.0.2.0/25 in" "clude:y.test -all exp=why.%{d}"
	y.test TXT "v=spf1 mx/30 ?ip6:2001:db8::/32"
	y.test MX 10 mx.y.test
	mx.y.test A 198.51.100.1
	why.x.test TXT "%{i} is none of ours, %{l}"
	wrong.test TXT "v=spf1 ip4:192.0.2.0/25 foo -all"
	loop.test TXT "v=spf1 redirect=loop.test"
	broken.test SERVFAIL
	END
	fakedns dns
	config here "resolver = 127.0.0.1:$port"
	must "pass" spf --ip 192.0.2.1 --helo h.test --from anna@x.test
	has '^pass 192.0.2.1 may send mail from x.test \[ip4:192.0.2.0/25\]$' "$T/said"
	must "pass by an include" spf --ip=198.51.100.2 --from=x.test
	has '^pass 198.51.100.2 may send mail from x.test \[include:y.test\]$' "$T/said"
	must "fail" spf --ip 192.0.2.200 --from '<anna@x.test>'
	has '^fail 192.0.2.200 may not send mail from x.test \[-all\]$' "$T/said"
	has '^x.test explains: 192.0.2.200 is none of ours, anna$' "$T/said"
	must "the name in HELO" spf --ip 2001:db8::1 --helo y.test --from '<>'
	has '^neutral y.test does not say whether 2001:db8::1 may call itself it \[?ip6:2001:db8::/32\]$' "$T/said"
	must "none" spf --ip 192.0.2.1 --from anna@missing.test
	has '^none missing.test has no SPF record$' "$T/said"
	must "permerror" spf --ip 192.0.2.1 --from anna@wrong.test
	has '^permerror the SPF record of wrong.test cannot be used: "foo" in that of wrong.test: there is no such mechanism$' "$T/said"
	must "permerror" spf --ip 192.0.2.1 --from anna@loop.test
	has '^permerror .*more than 10 terms of it ask the DNS$' "$T/said"
	status_is 75 spf --ip 192.0.2.1 --from anna@broken.test
	has '^temperror .*: cannot look up the record of broken.test: SERVFAIL from 127.0.0.1:[0-9]*$' "$T/said"
	for wrong in '' '--ip x' '--ip 192.0.2.1' '--ip 192.0.2.1 --from' '--ip 192.0.2.1 --from a@b@c' '--ip 192.0.2.1 --from x.test more'; do
		# shellcheck disable=SC2086
		status_is 64 spf $wrong
	done
}

it spf_in_the_server "the server notes what SPF says of strangers, in the message and in the log; with spf = refuse a fail is refused; inetd does the same"
spf_in_the_server() {
	cat >"$T/dns.zone" <<-'END'
	good.test MX 10 mx.good.test
	good.test TXT "v=spf1 ip4:127.0.0.1 -all"
	bad.test MX 10 mx.good.test
	bad.test TXT "v=spf1 ip4:192.0.2.1 -all exp=why.bad.test"
	why.bad.test TXT "%{i} is none of ours"
	late.test MX 10 mx.good.test
	late.test TXT "v=spf1 a:broken.test -all"
	broken.test SERVFAIL
	mx.good.test A 192.0.2.1
	END
	fakedns dns
	dns_port=$port
	serve here "resolver = 127.0.0.1:$dns_port" "relay_from = 192.0.2.0/24"
	hears "$(port_of here)" a@bad.test 250
	within 30 "the message" arrived here user 1
	# The field of final delivery stands in front.
	sed -n '/^Received/,$p' "$(mail here user)" | head -n 12 >"$T/top"
	must "Received-SPF on top" sh -c 'head -n 1 "$0" | grep -q "^Received-SPF: fail"' "$T/top"
	has 'here.test: 127.0.0.1 may not send mail from bad.test \[-all\])' "$T/top"
	has '^	identity=mailfrom' "$T/top"
	has '^Received: from ' "$T/top"
	has ' received .* spf=fail' "$T/here.log"
	hears "$(port_of here)" a@good.test 250
	within 20 "the log" grep -q ' received .* from=a@good.test .* spf=pass' "$T/here.log"
	hears "$(port_of here)" a@late.test 250
	within 20 "the log" grep -q ' received .* from=a@late.test .* spf=temperror' "$T/here.log"
	serve strict "resolver = 127.0.0.1:$dns_port" "relay_from = 192.0.2.0/24" "spf = refuse"
	begin super "$tools/superserver" "$fardel" inetd -c "$T/strict.conf"
	said_port super
	for at in $(port_of strict) $port; do
		refused=$(inject -p "$at" -f a@bad.test -t user@strict.test 2>&1) && fail "a fail was taken"
		case $refused in
		*'550 5.7.23 SPF: 127.0.0.1 may not send mail from bad.test [-all]; that domain explains: 127.0.0.1 is none of ours'*) ;;
		*) fail "a fail hears $refused" ;;
		esac
		refused=$(inject -p "$at" -f a@late.test -t user@strict.test 2>&1) && fail "a temperror was taken"
		case $refused in
		*'451 4.7.24 SPF: '*) ;;
		*) fail "a temperror hears $refused" ;;
		esac
		must "a pass" inject -p "$at" -f a@good.test -t user@strict.test
	done
	has ' rejected stage=DATA .* code=550 status=5.7.23 token=spf-policy ' "$T/strict.log"
	serve silent "resolver = 127.0.0.1:$dns_port" "relay_from = 192.0.2.0/24" "spf = off"
	must "taken" inject -p "$(port_of silent)" -f a@bad.test -t user@silent.test
	within 30 "the message" arrived silent user 1
	grep -q Received-SPF "$(mail silent user)" && fail "it was asked for"
	serve trusting "resolver = 127.0.0.1:$dns_port" "spf = refuse"
	must "relay_from is not asked about" inject -p "$(port_of trusting)" -f a@bad.test -t user@trusting.test
}
