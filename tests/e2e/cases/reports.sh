# What other hosts report on our mail.

it a_report_comes_back "why tells where mail went that has left, and what its host's report said when that came back"
a_report_comes_back() {
	sink dead -r 'b=550 5.1.1 nobody of that name'
	dead=$port
	config home
	config far "route = x.test smtp://127.0.0.1:$dead" "route = home.test smtp://127.0.0.1:$(port_of home)"
	config home "listen = smtp://127.0.0.1:$(port_of home)" "route = * smtp://127.0.0.1:$(port_of far)"
	mailboxes home user
	start home
	start far
	printf 'Subject: x\n\ntext\n' | send home -f user@home.test b@x.test || fail "sendmail"
	within 30 "the report" arrived home user 1
	drained home
	within 10 "the lines" grep -rq ' report=.* to=b@x.test' "$T/home.queue/sent"
	within 10 "the other one" grep -rq ' from=user@home.test' "$T/home.queue/sent"
	for about in b@x.test x.test "$(sed -n 's/.* id=\([0-9a-f]*\) from=user@home.test.*/\1/p' "$T/home.queue/sent/"* | head -n 1)"; do
		must "an answer about $about" "$fardel" why -c "$T/home.conf" "$about" >"$T/said"
		has '^[0-9a-f]*, from <user@home.test>, to b@x.test$' "$T/said"
		has 'it left  .*ago)$' "$T/said"
		has "what came   \[127.0.0.1\]:.* said: 250 2" "$T/said"
		has 'came back   .*ago)$' "$T/said"
		has 'a report    far.test reports that it could not be delivered' "$T/said"
		has 'it says     .*said: 550 5.1.1 nobody of that name' "$T/said"
		has 'this means  there is no mailbox of that name' "$T/said"
	done
}

# report SUBJECT FROM TYPE FILE: a message with the file in it, packed by gzip.
report() {
	printf 'From: %s\r\nTo: reports@here.test\r\nSubject: %s\r\nMessage-ID: <%s@%s>\r\nMIME-Version: 1.0\r\n' "$2" "$1" "$1" "${2#*@}"
	printf 'Content-Type: multipart/mixed; boundary="x"\r\n\r\n--x\r\nContent-Type: text/plain\r\n\r\nThis is a report.\r\n'
	printf -- '--x\r\nContent-Type: %s\r\nContent-Transfer-Encoding: base64\r\n\r\n' "$3"
	gzip -c "$4" | base64 | sed 's/$/\r/'
	printf -- '--x--\r\n'
}

it reports_are_shown "reports of DMARC and TLS that strangers who can be known send are kept and shown, with what can be done; others are mail"
reports_are_shown() {
	"$fardel" dkim-key -t rsa good.test s "$T/key" >"$T/record" || fail "dkim-key"
	sed -n '1s/^\([^ ]*\)\. IN TXT ( \(.*\) )$/\1 TXT \2/p' "$T/record" >"$T/dns.zone"
	cat >>"$T/dns.zone" <<-'END'
	good.test MX 10 mx.good.test
	good.test TXT "v=spf1 ip4:127.0.0.1 -all"
	mx.good.test A 192.0.2.1
	_dmarc.good.test TXT "v=DMARC1; p=reject"
	other.test MX 10 mx.good.test
	END
	fakedns dns
	echo 'reports: user' >"$T/here.aliases"
	serve here "resolver = 127.0.0.1:$port" "relay_from = 192.0.2.0/24" "reports_at = reports@here.test"
	at=$(port_of here)
	now=$(date +%s)
	cat >"$T/dmarc.xml" <<-END
	<?xml version="1.0" encoding="UTF-8" ?>
	<feedback><report_metadata><org_name>google.com</org_name><report_id>1</report_id>
	<date_range><begin>$((now - 86400))</begin><end>$((now - 1))</end></date_range></report_metadata>
	<policy_published><domain>here.test</domain><p>none</p></policy_published>
	<record><row><source_ip>203.0.113.66</source_ip><count>40</count>
	<policy_evaluated><disposition>none</disposition><dkim>fail</dkim><spf>fail</spf></policy_evaluated></row>
	<identifiers><header_from>here.test</header_from></identifiers></record></feedback>
	END
	cat >"$T/tls.json" <<-END
	{"organization-name":"Good Inc.","report-id":"t1","contact-info":"x@good.test","date-range":{"start-datetime":"2026-11-01T00:00:00Z",
	"end-datetime":"2026-11-01T23:59:59Z"},"policies":[{"policy":{"policy-type":"sts","policy-domain":"here.test"},
	"summary":{"total-successful-session-count":5,"total-failure-session-count":2},"failure-details":[{"result-type":"certificate-expired",
	"receiving-mx-hostname":"mx.here.test","failed-session-count":2}]}]}
	END
	report one noreply@good.test application/gzip "$T/dmarc.xml" >"$T/message"
	inject -p "$at" -f noreply@good.test -t reports@here.test -m "$T/message" || fail "a report of DMARC"
	report two noreply@other.test application/gzip "$T/dmarc.xml" | sed 's/40/41/' >"$T/message"
	inject -p "$at" -f noreply@other.test -t reports@here.test -m "$T/message" || fail "a report that nobody speaks for"
	report three noreply@good.test application/tlsrpt+gzip "$T/tls.json" >"$T/plain"
	inject -p "$at" -f noreply@good.test -t reports@here.test -m "$T/plain" || fail "a report of TLS without a signature"
	"$fardel" dkim-sign -c "$T/here.conf" -o "dkim_key = good.test s $T/key" "$T/plain" >"$T/message" 2>"$T/said" || fail "dkim-sign: $(cat "$T/said")"
	inject -p "$at" -f noreply@good.test -t reports@here.test -m "$T/message" || fail "a report of TLS"
	sed 's/here.test/elsewhere.test/g' "$T/dmarc.xml" >"$T/other.xml"
	report four noreply@good.test application/gzip "$T/other.xml" >"$T/message"
	inject -p "$at" -f noreply@good.test -t reports@here.test -m "$T/message" || fail "a report of another domain"
	sed "s/<end>.*<.end>/<end>$((now + 86400))<\/end>/" "$T/dmarc.xml" >"$T/other.xml"
	report five noreply@good.test application/gzip "$T/other.xml" >"$T/message"
	inject -p "$at" -f noreply@good.test -t reports@here.test -m "$T/message" || fail "a report of tomorrow"
	within 30 "the mail" arrived here user 6
	"$fardel" reports -c "$T/here.conf" >"$T/said" || fail "reports"
	has '^here.test, DMARC, .* 1 report by google.com$' "$T/said"
	has '40 messages, 0 passed, 40 did not; policy none$' "$T/said"
	has '203.0.113.66  *40  *0  *0  *0  *0  *0$' "$T/said"
	has 'add ip4:203.0.113.66 to the SPF' "$T/said"
	has '^here.test, TLS, 2026-11-01 to 2026-11-01, 1 report by Good Inc.$' "$T/said"
	has '7 sessions, 5 good, 2 failed; policy sts$' "$T/said"
	has '2 certificate-expired at mx.here.test$' "$T/said"
	has 'renew it' "$T/said"
	has 'no-report .*it is one of TLS, and not signed for that' "$T/here.log"
	has 'no-report .*it is about no domain of ours' "$T/here.log"
	has 'no-report .*it is of a time that has not come yet' "$T/here.log"
	has 'no-report .*neither DMARC nor a signature says whose it is' "$T/here.log"
	"$fardel" reports --json -c "$T/here.conf" dmarc | grep -q '"ip":"203.0.113.66","messages":40,' || fail "reports --json"
	status_is 64 "$fardel" reports -c "$T/here.conf" spf 2>/dev/null
}
