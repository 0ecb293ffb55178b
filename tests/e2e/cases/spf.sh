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
