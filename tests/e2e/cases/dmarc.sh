# What the owner of the domain in From wants: the command that asks, and the server that does it; lists in the DNS.

dmarc() { "$fardel" dmarc -c "$T/here.conf" "$@" >"$T/said" 2>&1; }

it dmarc_asks "fardel dmarc asks the resolver of the settings and says the result first, then why"
dmarc_asks() {
	cat >"$T/dns.zone" <<-'END'
	_dmarc.x.test TXT "v=DMARC1; p=reject; sp=quarantine; np=none; rua=mailto:reports@x.test"
	sub.x.test A 192.0.2.1
	_dmarc.wrong.test TXT "v=DMARC1; p=all"
	_dmarc.broken.test SERVFAIL
	END
	fakedns dns
	config here "resolver = 127.0.0.1:$port"
	must "pass" dmarc --from 'Anna <anna@x.test>' --spf other.test --dkim=sub.x.test
	has '^pass a signature speaks for x.test$' "$T/said"
	has '^organization x.test$' "$T/said"
	has '^reports mailto:reports@x.test$' "$T/said"
	must "fail" dmarc --from x.test --spf other.test --dkim fail:x.test
	has '^fail neither SPF nor a signature speaks for x.test; its owner says p=reject at _dmarc.x.test$' "$T/said"
	has '^policy reject$' "$T/said"
	must "below it" dmarc --from anna@sub.x.test
	has '^policy quarantine$' "$T/said"
	must "what is not there" dmarc --from anna@none.x.test
	has '^policy none$' "$T/said"
	must "none" dmarc --from anna@missing.test
	has '^none missing.test has no DMARC record$' "$T/said"
	must "permerror" dmarc --from wrong.test
	has '^permerror the DMARC record of wrong.test has no meaning: it says neither none, quarantine nor reject$' "$T/said"
	must "two authors" dmarc --from 'a@missing.test, b@x.test'
	has '^fail .* for x.test;' "$T/said"
	status_is 75 dmarc --from broken.test
	has '^temperror cannot look up _dmarc.broken.test: SERVFAIL from 127.0.0.1:[0-9]*$' "$T/said"
	for wrong in '' '--from' '--spf x.test' '--from x.test --dkim' '--from x.test more'; do
		# shellcheck disable=SC2086
		status_is 64 dmarc $wrong
	done
}

it dmarc_in_the_server "mail of strangers whose From nobody speaks for is refused where its owner wants that, and noted otherwise; who is on a list hears so at RCPT"
dmarc_in_the_server() {
	cat >"$T/dns.zone" <<-'END'
	good.test MX 10 mx.good.test
	good.test TXT "v=spf1 ip4:127.0.0.1 -all"
	mx.good.test A 192.0.2.1
	_dmarc.good.test TXT "v=DMARC1; p=reject"
	_dmarc.bank.test TXT "v=DMARC1; p=reject"
	2.0.0.127.bl.test A 127.0.0.2
	1.0.0.127.bl.test A 127.0.0.2
	test.rhs.test A 127.0.0.2
	listed.test MX 10 mx.good.test
	listed.test.rhs.test A 127.0.0.4
	END
	fakedns dns
	serve here "resolver = 127.0.0.1:$port" "relay_from = 192.0.2.0/24" "dnsbl = bl.test" "rhsbl = rhs.test=127.0.0.4"
	at=$(port_of here)
	# says FROM AUTHOR WHAT: the answer has WHAT in it.
	says() {
		printf 'From: %s\r\nSubject: x\r\n\r\ntext\r\n' "$2" >"$T/message"
		heard=$(inject -p "$at" -f "$1" -t user@here.test -m "$T/message" 2>&1)
		case $heard in
		*"$3"*) ;;
		*) fail "mail from <$1> by $2 hears $heard, not $3" ;;
		esac
	}
	says a@good.test a@good.test ''
	within 30 "the message" arrived here user 1
	has '^	iprev=permerror policy.iprev=127.0.0.1;' "$(mail here user)"
	has '^	spf=pass smtp.mailfrom=good.test;' "$(mail here user)"
	has '^	dmarc=pass header.from=good.test;' "$(mail here user)"
	says a@good.test a@bank.test '550 5.7.26 DMARC: neither SPF nor a signature speaks for bank.test; its owner says p=reject at _dmarc.bank.test'
	says a@listed.test a@listed.test '550 5.7.1 listed.test is listed by rhs.test (127.0.0.4)'
	has ' rejected .* code=550 status=5.7.26 token=dmarc-policy reason=' "$T/here.log"
	has ' rejected .* code=550 status=5.7.1 token=dns-blocklisted reason=' "$T/here.log"
	within 30 "the log" grep -q ' dnsbl zone=bl.test error="everything is on it"' "$T/here.log"
	has ' received .* dmarc=pass:good.test' "$T/here.log"
}

it dmarc_reports_are_sent "what came of strangers' mail is told to who asks for it, once, when the day is over: signed, and in the form that the schema has"
dmarc_reports_are_sent() {
	sink there
	mx_port=$port
	must "a key" "$fardel" dkim-key -t rsa here.test k "$T/here.key" >"$T/here.record"
	{
		sed -n '1s/^\([^ ]*\)\. IN TXT ( \(.*\) )$/\1 TXT \2/p' "$T/here.record"
		cat <<-'END'
		good.test MX 10 mx.good.test
		good.test TXT "v=spf1 ip4:127.0.0.1 -all"
		mx.good.test A 127.0.0.1
		_dmarc.good.test TXT "v=DMARC1; p=reject; rua=mailto:dmarc@good.test,mailto:dmarc@elsewhere.test"
		elsewhere.test MX 10 mx.good.test
		END
	} >"$T/dns.zone"
	fakedns dns
	serve here "resolver = 127.0.0.1:$port" "relay_from = 192.0.2.0/24" "smtp_port = $mx_port" "check_sender = no" "judge = off" \
		"dmarc_reports = reports@here.test" "dkim_key = here.test k $T/here.key"
	"$fardel" check -c "$T/here.conf" >"$T/checked" 2>&1
	must "its key is found" [ "$(grep -c 'no dkim_key is for' "$T/checked")" = 0 ]
	"$fardel" check -c "$T/here.conf" -o "dmarc_reports = r@there.test" >"$T/checked" 2>&1
	has ': note: dmarc_reports: no dkim_key is for r@there.test: ' "$T/checked"
	printf 'From: a@good.test\r\nSubject: x\r\n\r\ntext\r\n' >"$T/message"
	must "mail that passes" inject -p "$(port_of here)" -f a@good.test -t user@here.test -m "$T/message"
	within 30 "the message" arrived here user 1
	must "mail that does not" [ "$(inject -p "$(port_of here)" -f a@elsewhere.test -t user@here.test -m "$T/message" 2>&1 | grep -c '550 5.7.26')" = 1 ]
	end "$pid"
	# As if it had come two days ago: that day is over.
	today=$(date -u +%Y-%m-%d)
	[ -e "$T/here.queue/dmarc/$today" ] || today=$(date -u -d yesterday +%Y-%m-%d)
	day=$(date -u -d "$today 2 days ago" +%Y-%m-%d)
	sed 's/^1 time=[0-9]* /1 time='"$(date -u -d "$day 12:00" +%s)"' /' "$T/here.queue/dmarc/$today" >"$T/here.queue/dmarc/$day"
	rm "$T/here.queue/dmarc/$today"
	start here
	within 30 "the report" took there 1
	within 30 "the file is put away" [ -e "$T/here.queue/dmarc/$day.sent" ]
	has ' dmarc-report domain=good.test reason="dmarc@elsewhere.test: its host has not agreed' "$T/here.log"
	report=$(ls "$T"/there/*.data)
	has '^Subject: Report Domain: good.test' "$report"
	"$fardel" dkim-verify -c "$T/here.conf" "$report" >"$T/said" || fail "its signature: $(cat "$T/said")"
	has '^pass d=here.test ' "$T/said"
	tr -d '\r' <"$report" | sed -n '/^Content-Disposition/,/^--/p' | sed -e '1,/^$/d' -e '/^--/,$d' | base64 -d >"$T/attached" || fail "no base64"
	if grep -q 'application/gzip' "$report"; then gzip -dc <"$T/attached" >"$T/xml"; else cp "$T/attached" "$T/xml"; fi
	has '<domain>good.test</domain>' "$T/xml"
	must "two rows" [ "$(grep -c '<count>1</count>' "$T/xml")" = 2 ]
	must "one of them refused" [ "$(grep -c '<disposition>reject</disposition>' "$T/xml")" = 1 ]
	if command -v xmllint >/dev/null 2>&1; then
		xmllint --noout --schema tests/golden/dmarc-report.xsd "$T/xml" 2>"$T/said" || fail "$(cat "$T/said")"
	fi
	end "$pid"
	start here
	drained here
	must "no second one" [ "$(taken there)" = 1 ]
}
