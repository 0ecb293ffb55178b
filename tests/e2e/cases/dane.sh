# DANE with a zone that is really signed: nsd serves it, unbound validates.

need_dns() { need dnsbed nsd ldnsutils unbound; }
in_tree() { PATH=$tree/usr/sbin:$tree/usr/bin:$PATH LD_LIBRARY_PATH=$libraries "$@"; }

# dane_pki: an authority and a server's certificate for *.signed.test below it.
dane_pki() {
	command -v openssl >/dev/null 2>&1 || skip "no openssl here to make certificates with"
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=Authority -keyout "$T/ca.key" -out "$T/ca.pem" 2>/dev/null &&
		openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=mx -keyout "$T/key.pem" -out "$T/csr" 2>/dev/null &&
		echo 'subjectAltName=DNS:*.signed.test' >"$T/ext" &&
		openssl x509 -req -in "$T/csr" -CA "$T/ca.pem" -CAkey "$T/ca.key" -CAcreateserial -days 2 -extfile "$T/ext" -out "$T/leaf.pem" 2>/dev/null ||
		skip "openssl makes no certificate"
	cat "$T/leaf.pem" "$T/ca.pem" >"$T/cert.pem"
}
# association USAGE SELECTOR MATCHING: the data of a TLSA record for that, as openssl has it.
association() {
	from=$T/leaf.pem; [ "$1" = 2 ] && from=$T/ca.pem
	if [ "$2" = 0 ]; then
		openssl x509 -in "$from" -outform DER >"$T/der"
	else
		openssl x509 -in "$from" -noout -pubkey | openssl pkey -pubin -outform DER >"$T/der"
	fi
	case $3 in
	0) od -An -v -tx1 "$T/der" | tr -d ' \n' ;;
	1) openssl dgst -sha256 -r "$T/der" | cut -d ' ' -f 1 ;;
	2) openssl dgst -sha512 -r "$T/der" | cut -d ' ' -f 1 ;;
	esac
}
zone_head() { printf '$ORIGIN %s.\n$TTL 300\n@ IN SOA ns h 1 3600 600 86400 30\n@ IN NS ns\nns IN A 127.0.0.1\n' "$1"; }
# dane_domain NAME TLSA: NAME.signed.test, whose only host has that record.
dane_domain() {
	printf '%s IN MX 10 mx-%s\nmx-%s IN A 127.0.0.1\n_%s._tcp.mx-%s IN TLSA %s\n' "$1" "$1" "$1" "$mx_port" "$1" "$2"
}
no_digest=0000000000000000000000000000000000000000000000000000000000000000
dane_pins="301 311 302 312 300 310 201 211 202 212 200 210"

# dns_bed: signed.test, plain.test and bogus.test; the validating resolver is at $resolver.
dns_bed() {
	D=$T/dns
	mkdir -p "$D"
	free_port; authority=$port
	free_port; resolver=$port
	{
		zone_head signed.test
		for p in $dane_pins; do
			dane_domain "d$p" "$(echo "$p" | sed 's/./& /g') $(association "$(echo "$p" | cut -c 1)" "$(echo "$p" | cut -c 2)" "$(echo "$p" | cut -c 3)")"
		done
		dane_domain wrong "3 1 1 $no_digest"
		dane_domain wrongca "2 0 1 $no_digest"
		dane_domain oneof "3 1 1 $no_digest"
		printf '_%s._tcp.mx-oneof IN TLSA %s\n' "$mx_port" "3 1 1 $(association 3 1 1)"
		dane_domain unusable "1 1 1 $no_digest"
		printf 'a.name IN MX 10 deep.er\ndeep.er IN A 127.0.0.1\n_%s._tcp.deep.er IN TLSA 2 0 1 %s\n' "$mx_port" "$(association 2 0 1)"
		printf 'no IN MX 10 mx-no\nmx-no IN A 127.0.0.1\n'
		# hosts that are aliases, with records at the end of the chain (2 0 1: the certificate is for that name), at both ends, at the alias alone
		printf 'far IN MX 10 mx-far\nmx-far IN CNAME mx-real\nmx-real IN A 127.0.0.1\n_%s._tcp.mx-real IN TLSA 2 0 1 %s\n' "$mx_port" "$(association 2 0 1)"
		printf 'both IN MX 10 mx-both\nmx-both IN CNAME mx-not\nmx-not IN A 127.0.0.1\n_%s._tcp.mx-not IN TLSA 3 1 1 %s\n' "$mx_port" "$no_digest"
		printf '_%s._tcp.mx-both IN TLSA 3 1 1 %s\n' "$mx_port" "$(association 3 1 1)"
		printf 'near IN MX 10 mx-near\nmx-near IN CNAME mx-no\n_%s._tcp.mx-near IN TLSA 3 1 1 %s\n' "$mx_port" "$(association 3 1 1)"
	} >"$D/signed.test.zone"
	for zone in plain bogus; do
		{
			zone_head $zone.test
			printf '@ IN MX 10 mx\nmx IN A 127.0.0.1\n_%s._tcp.mx IN TLSA 3 1 1 %s\n' "$mx_port" "$no_digest"
		} >"$D/$zone.test.zone"
	done
	(
		cd "$D" || exit 1
		for zone in signed bogus; do
			key=$(in_tree ldns-keygen -r /dev/urandom -a ECDSAP256SHA256 -k $zone.test 2>/dev/null) || exit 1
			in_tree ldns-signzone -e 20401231000000 -i 20200101000000 -f $zone.signed $zone.test.zone "$key" || exit 1
			cp "$key.key" $zone.anchor
		done
		cp "$(in_tree ldns-keygen -r /dev/urandom -a ECDSAP256SHA256 -k bogus.test).key" bogus.anchor
	) >"$T/sign.log" 2>&1 || fail "ldns-signzone: $(tail -n 1 "$T/sign.log")"
	{
		printf 'server:\n ip-address: 127.0.0.1\n port: %s\n username: ""\n chroot: ""\n zonesdir: "%s"\n database: ""\n' "$authority" "$D"
		printf ' pidfile: "%s/nsd.pid"\n logfile: "%s/nsd.log"\n xfrdfile: "%s/xfrd"\n zonelistfile: "%s/zones"\n' "$D" "$D" "$D" "$D"
		printf ' xfrdir: "%s"\n server-count: 1\n rrl-ratelimit: 0\nremote-control:\n control-enable: no\n' "$D"
		printf 'zone:\n name: signed.test\n zonefile: signed.signed\nzone:\n name: bogus.test\n zonefile: bogus.signed\nzone:\n name: plain.test\n zonefile: plain.test.zone\n'
	} >"$D/nsd.conf"
	{
		printf 'server:\n interface: 127.0.0.1@%s\n directory: "%s"\n pidfile: "%s/unbound.pid"\n chroot: ""\n username: ""\n' "$resolver" "$D" "$D"
		printf ' logfile: "%s/unbound.log"\n use-syslog: no\n do-daemonize: no\n num-threads: 1\n do-ip6: no\n do-not-query-localhost: no\n' "$D"
		printf ' module-config: "validator iterator"\n trust-anchor-file: "%s/signed.anchor"\n trust-anchor-file: "%s/bogus.anchor"\n' "$D" "$D"
		printf ' local-zone: "test." nodefault\n access-control: 127.0.0.0/8 allow\n val-log-level: 1\n'
		for zone in signed plain bogus; do printf 'stub-zone:\n name: %s.test\n stub-addr: 127.0.0.1@%s\n' $zone "$authority"; done
		printf 'remote-control:\n control-enable: no\n'
	} >"$D/unbound.conf"
	cp "$tree/usr/sbin/unbound" "$D/unbound" || fail "no unbound"       # under a name that no AppArmor profile has
	begin nsd in_tree nsd -d -c "$D/nsd.conf"
	begin unbound in_tree "$D/unbound" -d -c "$D/unbound.conf"
	within 20 "an answer of the resolver" dane_answers
}
dane_answers() { in_tree drill -p "$resolver" @127.0.0.1 d311.signed.test MX 2>/dev/null | grep -q 'mx-d311.*\|flags:.*ad'; }

# serve_dane: "here" is every MX host, "home" sends.
serve_dane() {
	need_dns
	dane_pki
	domains="plain.test bogus.test a.name.signed.test"
	for p in wrong wrongca oneof unusable no far both near; do domains="$domains $p.signed.test"; done
	for p in $dane_pins; do domains="$domains d$p.signed.test"; done
	serve here "local_domains = here.test $domains" "tls_certificate = $T/cert.pem" "tls_key = $T/key.pem"
	mx_port=$(port_of here)
	dns_bed
	serve home "resolver = 127.0.0.1:$resolver" "smtp_port = $mx_port" "retry_first = 1h" "retry_max = 1h"
}
dane_send() {
	printf 'X-E2E: %s\nSubject: %s\n%s\ntext\n' "$1" "$1" "${2-}" | send home -f sender@home.test "user@$1" || fail "sendmail"
}
dane_came() { grep -l "^X-E2E: $1\$" "$T"/here.mail/user/new/* 2>/dev/null | grep -q .; }
dane_waits() { grep 'deferred' "$T/home.log" | grep "user@$1" | grep -q -- "$2"; }

it dane_matrix "usages 3 and 2, both selectors, all matchings: the right certificate takes the mail, a wrong one keeps it back"
dane_matrix() {
	serve_dane
	for p in $dane_pins; do dane_send "d$p.signed.test"; done
	for p in oneof unusable no wrong wrongca far both near; do dane_send $p.signed.test; done
	dane_send a.name.signed.test
	dane_send plain.test
	dane_send bogus.test
	for p in $dane_pins; do within 20 "mail for d$p.signed.test" dane_came "d$p.signed.test"; done
	for p in oneof.signed.test unusable.signed.test no.signed.test far.signed.test near.signed.test plain.test; do within 20 "mail for $p" dane_came $p; done
	within 20 "wrong.signed.test to wait" dane_waits wrong.signed.test 'none of those that DNS names'
	within 20 "wrongca.signed.test to wait" dane_waits wrongca.signed.test 'none of those that DNS names'
	within 20 "both.signed.test to wait" dane_waits both.signed.test 'none of those that DNS names'
	within 20 "a.name.signed.test to wait" dane_waits a.name.signed.test 'for another name'
	within 20 "bogus.test to wait" dane_waits bogus.test 'SERVFAIL'
	for p in wrong.signed.test wrongca.signed.test a.name.signed.test bogus.test; do dane_came $p && fail "mail for $p has been sent"; done
	grep -q 'with ESMTPS' "$(grep -l 'X-E2E: unusable' "$T"/here.mail/user/new/*)" || fail "in clear where TLS was demanded"
}

it dane_waived "TLS-Required: No passes over what DNS demands"
dane_waived() {
	serve_dane
	dane_send wrong.signed.test 'TLS-Required: No
'
	within 20 "the message" dane_came wrong.signed.test
	dane_send wrong.signed.test
	within 20 "the next one to wait" dane_waits wrong.signed.test 'none of those that DNS names'
}
