# Ways out: by sender, through a proxy, with an access token.

need_python() { /usr/bin/python3 -c 'import ssl' 2>/dev/null || skip "no python3 here to be the other side"; }
python() { # python NAME SCRIPT ARGUMENT...: a server; its port is in $port
	name=$1
	script=$2
	shift 2
	begin "$name" python3 "tests/e2e/$script" "$@"
	said_port "$name"
}
certificate() {
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost -addext 'subjectAltName=DNS:localhost' \
		-keyout "$T/key.pem" -out "$T/cert.pem" 2>/dev/null || skip "no openssl here to make certificates with"
}
given_up() { [ "$(tail -n 1 "$T/relayed")" = quit ]; }
relayed() { [ "$(grep -c message "$T/relayed")" = "$1" ]; }
letter() { printf 'From: %s\nTo: user@away.test\nSubject: a way out\n\ntext\n' "$1"; }

it route_by_sender "two senders with a route each leave by two hosts, and explain says which"
route_by_sender() {
	sink one
	one=$port
	sink two
	two=$port
	serve here "route = * smtp://127.0.0.1:$one" "route = * smtp://127.0.0.1:$two from=anna@here.test"
	for who in anna ben anna; do
		letter $who@here.test | send here -f $who@here.test user@away.test || fail sendmail
	done
	within 20 "the mail of one" took two 2
	within 20 "the mail of the other" took one 1
	drained here
	"$fardel" explain -c "$T/here.conf" --from anna@here.test user@away.test >"$T/said"
	has "\[127.0.0.1\]:$two" "$T/said"
	"$fardel" explain -c "$T/here.conf" user@away.test >"$T/said"
	has "\[127.0.0.1\]:$one" "$T/said"
	has 'For some senders it is another way' "$T/said"
}

it route_by_proxy "mail goes through a SOCKS5 proxy that wants a login; one that is not there or refuses us holds the mail"
route_by_proxy() {
	need_python
	sink far
	far=$port
	python proxy socks.py "$T/proxied" me geheim
	serve here "route = * smtp://127.0.0.1:$far proxy=socks5://me:geheim@127.0.0.1:$port" "route = other.test smtp://127.0.0.1:$far proxy=socks5://me:wrong@127.0.0.1:$port" \
		"route = gone.test smtp://127.0.0.1:$far proxy=socks5://127.0.0.1:9" "route = dead.test smtp://127.0.0.1:9 proxy=socks5://me:geheim@127.0.0.1:$port"
	letter a@here.test | send here -f a@here.test user@away.test || fail sendmail
	within 20 "the message" took far 1
	has "^CONNECT 127.0.0.1:$far\$" "$T/proxied"
	for to in other gone dead; do
		letter a@here.test | send here -f a@here.test user@$to.test || fail sendmail
	done
	within 20 "a line about the login" grep -q 'proxy-failed.*it refuses the login of me' "$T/here.log"
	within 20 "a line about the proxy" grep -q 'proxy-failed.*it cannot be reached' "$T/here.log"
	within 20 "a line about the host" grep -q 'deferred.*user@dead.test.*through the proxy .*connection refused' "$T/here.log"
	grep -q geheim "$T/here.log" && fail "the log holds the password"
	took far 1 || fail "more than one message"
}

it route_by_token "a route logs in with the token that a command prints, asks for another one when it is refused, and holds mail when there is none"
route_by_token() {
	need_python
	certificate
	echo first-token >"$T/good"
	echo first-token >"$T/current"
	python relay oauth.py "$T/cert.pem" "$T/key.pem" "$T/good" "$T/relayed"
	printf '#!/bin/sh\n[ "$1 $2" = "for anna" ] || exit 9\necho run >>"%s/runs"\ncat "%s/current"\n' "$T" "$T" >"$T/command"
	chmod 755 "$T/command"
	serve here "route = * smtps://localhost:$port user=anna token_command=$T/command for anna" "tls_ca = $T/cert.pem"
	letter a@here.test | send here -f a@here.test user@away.test || fail sendmail
	within 20 "the message" grep -q message "$T/relayed"
	has '^login OAUTHBEARER' "$T/relayed"
	within 20 "the end of the connection" given_up
	letter a@here.test | send here -f a@here.test user@away.test || fail sendmail
	within 20 "the second" relayed 2
	[ "$(wc -l <"$T/runs")" = 1 ] || fail "the command ran more than once"
	within 20 "the end of the connection" given_up
	python3 -c 'print("t" * 2000)' | tee "$T/good" >"$T/current"
	letter a@here.test | send here -f a@here.test user@away.test || fail sendmail
	within 20 "the third" relayed 3
	has '^refused' "$T/relayed"
	[ "$(wc -l <"$T/runs")" = 2 ] || fail "the command ran $(wc -l <"$T/runs") times"
	within 20 "the end of the connection" given_up
	echo other >"$T/good"
	rm "$T/current"
	letter a@here.test | send here -f a@here.test user@away.test || fail sendmail
	within 20 "a line about the command" grep -q 'login-failed.*its exit status is 1' "$T/here.log"
	[ "$(files "$T/here.queue/cur")" = 1 ] || fail "the mail is gone"
	[ "$(grep -c ' login-failed ' "$T/here.log")" = 1 ] || fail "said more than once"
	grep -q -e first-token -e tttt "$T/here.log" && fail "the log holds a token"
	cp "$T/good" "$T/current"
	within 30 "the fourth" relayed 4
	drained here
}

it route_tls_rules "a rule names the certificate of a host: the right one takes mail, a wrong one keeps it back, and explain says so"
route_tls_rules() {
	certificate
	digest=$(openssl x509 -in "$T/cert.pem" -noout -fingerprint -sha256 | sed 's/.*=//')
	serve here "local_domains = here.test away.test" "tls_certificate = $T/cert.pem" "tls_key = $T/key.pem"
	at=$(port_of here)
	serve home "route = * smtp://localhost:$at" "tls = localhost fingerprint=$digest"
	letter a@here.test | send home -f a@here.test user@away.test || fail sendmail
	within 20 "the message" arrived here user 1
	grep -q 'with ESMTPS' "$(mail here user)" || fail "not inside TLS"
	"$fardel" explain -c "$T/home.conf" user@away.test >"$T/said"
	has 'a fingerprint that is configured (tls = localhost fingerprint)' "$T/said"
	end "$pid"
	sed "s/fingerprint=../fingerprint=00/" "$T/home.conf" >"$T/new" && mv "$T/new" "$T/home.conf"
	grep -q "fingerprint=$digest" "$T/home.conf" && skip "the digest begins with 00"
	start home
	letter a@here.test | send home -f a@here.test user@away.test || fail sendmail
	within 20 "a line about it" grep -q 'deferred.*the setting tls = localhost fingerprint is not met' "$T/home.log"
	arrived here user 1 || fail "it was sent"
}
