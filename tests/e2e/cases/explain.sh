# Where would mail go?

it explain_tells_where_mail_goes "fardel explain: aliases, hosts in their order, TLS; and why no mail can go there"
explain_tells_where_mail_goes() {
	printf 'y.test MX 20 mx2.y.test\ny.test MX 10 mx1.y.test\nmx1.y.test A 192.0.2.1\nmx1.y.test AAAA 2001:db8::1\nmx2.y.test A 192.0.2.2\n' >"$T/dns.zone"
	printf '_mta-sts.y.test TXT "v=STSv1; id=1"\nnull.test MX 0 .\nslow.test SERVFAIL\nrelay.test A 192.0.2.9\n' >>"$T/dns.zone"
	fakedns dns
	dns=$port
	config here "aliases = $T/aliases" "route = r.test smtps://relay.test user=anna password_file=$T/password" "tls_out = may"
	sed -i -e "s/^resolver = .*/resolver = 127.0.0.1:$dns/" "$T/here.conf"
	echo geheim >"$T/password"
	chmod 600 "$T/password"
	printf 'team: ann@y.test, user, bob@y.test\n' >"$T/aliases"
	mailboxes here user
	must "explain" "$fardel" explain -c "$T/here.conf" team >"$T/said" 2>"$T/stderr"
	has '^It stands for several addresses' "$T/said"
	has 'user@here.test: mailbox ' "$T/said"
	has '^Mail for y.test goes to its mail hosts, in this order:' "$T/said"
	has '^  1. mx1.y.test\[192.0.2.1\]:25: TLS if it is offered' "$T/said"
	has '^  2. mx1.y.test\[2001:db8::1\]:25' "$T/said"
	has '^  3. mx2.y.test\[192.0.2.2\]:25' "$T/said"
	has 'announces a policy (MTA-STS)' "$T/said"
	must "once" [ "$(grep -c '^Mail for y.test' "$T/said")" = 1 ]
	must "a route" "$fardel" explain -c "$T/here.conf" x@r.test >"$T/said"
	has '1. relay.test\[192.0.2.9\]:465: TLS, with a certificate for that name' "$T/said"
	has 'log in there as anna' "$T/said"
	grep -q geheim "$T/said" && fail "it tells the password"
	status_is 1 "$fardel" explain -c "$T/here.conf" x@null.test >"$T/said"
	has '556 5.1.10 .*null MX' "$T/said"
	status_is 1 "$fardel" explain -c "$T/here.conf" x@nowhere.test >"$T/said"
	has 'does not exist' "$T/said"
	status_is 75 "$fardel" explain -c "$T/here.conf" x@slow.test >"$T/said"
	has 'Mail waits' "$T/said"
	status_is 64 "$fardel" explain -c "$T/here.conf" 2>"$T/said"
	has 'fardel explain' "$T/said"
}

it explain_connect_calls_the_host "explain --connect talks to the host as far as RCPT, shows what is said and what TLS is worth, and sends nothing"
explain_connect_calls_the_host() {
	sink there -r 'no=550 5.1.1 no such user' -r 'later=450 4.2.0 come back'
	config here "route = there.test smtp://127.0.0.1:$port"
	calls() { "$fardel" explain --connect -c "$T/here.conf" "$@" >"$T/said" 2>&1; }
	status_is 0 calls --from ann@here.test yes@there.test
	has '^    < 220 ' "$T/said"
	has '^    > EHLO here.test' "$T/said"
	has '^    > MAIL FROM:<ann@here.test>' "$T/said"
	has '^    > RCPT TO:<yes@there.test>' "$T/said"
	has '^    > RSET' "$T/said"
	has '^    > QUIT' "$T/said"
	has 'In clear' "$T/said"
	has 'The recipient is taken' "$T/said"
	grep -q 'DATA$\|> BDAT' "$T/said" && fail "it sends a message"
	status_is 1 calls no@there.test
	has 'MAIL FROM:<>' "$T/said"
	has 'The recipient is refused' "$T/said"
	status_is 75 calls later@there.test
	has 'not taken now' "$T/said"
	must "nothing was sent" took there 0
	free_port
	sed -i "s|^route = .*|route = there.test smtp://127.0.0.1:$port|" "$T/here.conf"
	status_is 75 calls yes@there.test
	has 'No answer about the recipient: connect to .*Connection refused' "$T/said"
	has 'Remedy: nothing listens there' "$T/said"
}
