# MTA-STS with policy hosts of openssl: who shows a certificate that is good for its name is believed, and nobody else.
# Everything is on loopback: policy hosts of their own addresses at one port, one server for all mail.

need_openssl() { command -v openssl >/dev/null 2>&1 || skip "no openssl here to serve policies with"; }

# certified NAME HOST [DAYS]: $T/NAME.pem and .key for that host, by the authority.
certified() {
	printf 'subjectAltName=DNS:%s\n' "$2" >"$T/ext"
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$1" -keyout "$T/$1.key" -out "$T/csr" 2>/dev/null &&
		openssl x509 -req -in "$T/csr" -CA "$T/ca.pem" -CAkey "$T/ca.key" -CAcreateserial -days "${3:-2}" -extfile "$T/ext" -out "$T/$1.pem" 2>/dev/null ||
		skip "openssl makes no certificate"
}
# web NAME ADDRESS CERTIFICATE: what is in $T/NAME.web, at that address.
web() {
	(cd "$T/$1.web" && exec openssl s_server -accept "$2:$web_port" -cert "$T/$3.pem" -key "$T/$3.key" -WWW -quiet) >"$T/$1.web.log" 2>&1 &
	pid=$!
	started="$started $pid"
	within 20 "the policy host of $1" openssl_answers "$2:$web_port"
}
openssl_answers() { echo Q | openssl s_client -connect "$1" >/dev/null 2>&1; }
# policy NAME MODE MX: what the policy host of NAME.test says.
policy() {
	mkdir -p "$T/$1.web/.well-known"
	printf 'version: STSv1\nmode: %s\nmx: %s\nmax_age: 86400\n' "$2" "$3" >"$T/$1.web/.well-known/mta-sts.txt"
}
# sts_domain NAME ADDRESS [MX]: NAME.test has a record, a policy host there, and a mail host (mx-NAME.test).
sts_domain() {
	printf '%s.test MX 10 %s\n_mta-sts.%s.test TXT "v=STSv1; id=1;"\nmta-sts.%s.test A %s\n' "$1" "${3:-mx-$1.test}" "$1" "$1" "$2"
}
# serve_sts: "here" takes all mail, with a certificate for mx-good.test alone; "home" sends.
serve_sts() {
	need_openssl
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=Authority -keyout "$T/ca.key" -out "$T/ca.pem" 2>/dev/null ||
		skip "openssl makes no certificate"
	certified mx mx-good.test
	free_port; web_port=$port
	domains=
	for d in good wrong expired selfmade missing nohost mxwrong unlisted tested; do domains="$domains $d.test"; done
	serve here "local_domains = here.test $domains" "tls_certificate = $T/mx.pem" "tls_key = $T/mx.key"
	{
		sts_domain good 127.0.0.2
		sts_domain wrong 127.0.0.3 mx-good.test
		sts_domain expired 127.0.0.4 mx-good.test
		sts_domain selfmade 127.0.0.5 mx-good.test
		sts_domain missing 127.0.0.6 mx-good.test
		sts_domain nohost 127.0.0.7 mx-good.test
		sts_domain mxwrong 127.0.0.8
		sts_domain unlisted 127.0.0.9 mx-good.test
		sts_domain tested 127.0.0.10
		for m in good mxwrong tested; do echo "mx-$m.test A 127.0.0.1"; done
	} >"$T/dns.zone"
	fakedns dns
	serve home "resolver = 127.0.0.1:$port" "smtp_port = $(port_of here)" "mta_sts_port = $web_port" "tls_ca = $T/ca.pem" "retry_first = 1h" "retry_max = 1h"
}
sts_send() {
	printf 'X-E2E: %s\nSubject: %s\n\ntext\n' "$1" "$1" | send home -f sender@home.test "user@$1.test" || fail "sendmail"
}
sts_came() { grep -l "^X-E2E: $1\$" "$T"/here.mail/user/new/* 2>/dev/null | grep -q .; }
sts_says() { grep "$1" "$T/home.log" | grep -q -- "$2"; }
sts_waits() { grep 'deferred' "$T/home.log" | grep "user@$1.test" | grep -q -- "$2"; }

sts_twice() { [ "$(grep -c "$1" "$T/home.log")" = 2 ]; }

it mtasts_who_is_believed "a policy counts from a host with a certificate that is good for it; wrong name, expired, self-made or no policy host hold nothing up"
mtasts_who_is_believed() {
	serve_sts
	certified good mta-sts.good.test
	certified other mta-sts.elsewhere.test
	certified expired mta-sts.expired.test -1
	certified missing mta-sts.missing.test
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=x -addext subjectAltName=DNS:mta-sts.selfmade.test \
		-keyout "$T/selfmade.key" -out "$T/selfmade.pem" 2>/dev/null
	for d in good wrong expired selfmade; do policy $d enforce nobody.test; done
	mkdir -p "$T/missing.web"
	web good 127.0.0.2 good
	web wrong 127.0.0.3 other
	web expired 127.0.0.4 expired
	web selfmade 127.0.0.5 selfmade
	web missing 127.0.0.6 missing
	for d in good wrong expired selfmade missing nohost; do sts_send $d; done
	for d in wrong expired selfmade missing nohost; do within 20 "mail for $d.test" sts_came $d; done
	within 20 "good.test to wait" sts_waits good 'mx-good.test is not among the mail hosts that the policy of good.test (MTA-STS, enforce) names'
	must "a wrong name is named" sts_says 'policy-not-fetched domain=wrong.test' 'certificate is for another name'
	must "an expired certificate is named" sts_says 'policy-not-fetched domain=expired.test' 'expired'
	must "a self-made certificate is named" sts_says 'policy-not-fetched domain=selfmade.test' 'certificate'
	must "a policy that is not there is named" sts_says 'policy-not-fetched domain=missing.test' 'mta-sts.missing.test'
	must "a host that is not there is named" sts_says 'policy-not-fetched domain=nohost.test' 'refused'
	sts_came good && fail "mail for good.test has been sent"
	[ "$(ls "$T/home.queue/mta-sts")" = good.test ] || fail "kept: $(ls "$T/home.queue/mta-sts")"
	has '^mx: nobody.test$' "$T/home.queue/mta-sts/good.test"
	"$fardel" why -c "$T/home.conf" good.test >"$T/why.txt" || fail "fardel why"
	tr -s ' \n' ' ' <"$T/why.txt" >"$T/why.line"
	has 'the policy of good.test (MTA-STS, enforce) names' "$T/why.line"
}

it mtasts_is_kept_to "enforced: TLS with a certificate for the mail host, or the mail waits; also without the policy host, after a new start; tested: delivered, and logged; mta_sts can be changed while it runs"
mtasts_is_kept_to() {
	serve_sts
	home=$pid
	for d in good mxwrong unlisted tested; do certified $d mta-sts.$d.test; done
	policy good enforce mx-good.test
	policy mxwrong enforce '*.test'
	policy unlisted enforce mx-mxwrong.test
	policy tested testing mx-tested.test
	web good 127.0.0.2 good; good=$pid
	web mxwrong 127.0.0.8 mxwrong; mxwrong=$pid
	web unlisted 127.0.0.9 unlisted
	web tested 127.0.0.10 tested
	for d in good mxwrong unlisted tested; do sts_send $d; done
	for d in good tested; do within 20 "mail for $d.test" sts_came $d; done
	within 20 "mxwrong.test to wait" sts_waits mxwrong 'the policy of mxwrong.test (MTA-STS, enforce) demands TLS and a certificate'
	within 20 "unlisted.test to wait" sts_waits unlisted 'mx-good.test is not among the mail hosts'
	must "the test of a policy is told of" sts_says 'policy-test-failed domain=tested.test' 'certificate'
	has 'with ESMTPS' "$(grep -l 'X-E2E: good' "$T"/here.mail/user/new/*)"
	end "$good"; end "$mxwrong"; end "$home"
	start home
	sts_send mxwrong
	within 20 "the next for mxwrong.test to wait" sts_waits mxwrong 'the policy of mxwrong.test (MTA-STS, enforce) demands TLS and a certificate'
	sts_came mxwrong && fail "mail for mxwrong.test has been sent"
	sts_came unlisted && fail "mail for unlisted.test has been sent"
	echo 'mta_sts = no' >>"$T/home.conf"
	kill -HUP "$pid"
	within 20 "the new setting" sts_says 'in force now' 'mta_sts'
	sts_send mxwrong
	flush home                              # or it would wait for the end of the back-off
	within 20 "mail for mxwrong.test, with mta_sts = no" sts_came mxwrong
	sed -i '/^mta_sts = no$/d' "$T/home.conf"
	kill -HUP "$pid"
	within 20 "the setting that was before" sts_twice 'in force now: mta_sts'
	sts_send unlisted
	flush home
	within 20 "the next for unlisted.test to wait" sts_waits unlisted 'mx-good.test is not among the mail hosts'
	! sts_came unlisted || fail "mail for unlisted.test has been sent"
}
