# Other people's clients: in clear and, with the certificate verified, inside STARTTLS.

# own_certificate: for localhost, in $T/cert.pem and $T/key.pem.
own_certificate() {
	command -v openssl >/dev/null 2>&1 || skip "no openssl here to make a certificate with"
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
		-addext 'subjectAltName=DNS:localhost,DNS:here.test,IP:127.0.0.1' -keyout "$T/key.pem" -out "$T/cert.pem" 2>/dev/null || skip "openssl makes no certificate"
	chmod 644 "$T/cert.pem"
}
serve_tls() {
	own_certificate
	serve here "tls_certificate = $T/cert.pem" "tls_key = $T/key.pem" "$@"
}
# A message that a careless client or server would change, with LF and with CR LF.
write_odd() {
	printf 'X-E2E: odd\nFrom: a@client.test\nTo: user@here.test\nSubject: odd\nDate: Mon, 2 Nov 2026 10:00:00 +0000\nMessage-ID: <odd@client.test>\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n.\n..\n.one\ngr\303\274\303\237e\n\n%900s\nFrom here\n.\n' x >"$T/lf"
	sed 's/$/\r/' <"$T/lf" >"$T/crlf"
}
# came_whole WITH: the only message is the odd one, and came so ("ESMTP", "ESMTPS"); the mailbox is emptied.
came_whole() {
	within 20 "the message" arrived here user 1
	original "$(mail here user)" | cmp - "$T/lf" || fail "$1: it is not the same"
	came_with "$1"
}
came_with() {
	within 20 "the message" arrived here user 1
	grep -q "^.by here.test with $1 id" "$(mail here user)" || fail "not with $1: $(head -c 400 "$(mail here user)")"
	rm "$(mail here user)"
}
need_msmtp() { need msmtp msmtp; }
need_snail() { need s-nail s-nail; }
need_mutt() { need mutt mutt; }
# needs_here COMMAND: what is not fetched, but used where it is.
needs_here() {
	"$@" >/dev/null 2>&1 </dev/null || skip "no $1 here"
}

it client_msmtp "msmtp: a message arrives as it was, in clear and inside verified TLS"
client_msmtp() {
	need_msmtp
	serve_tls
	write_odd
	at="-C /dev/null --port=$(port_of here) --domain=client.test -f a@client.test"
	# shellcheck disable=SC2086
	must "in clear" of_tree timeout 30 "$tree/usr/bin/msmtp" $at --host=127.0.0.1 --tls=off user@here.test <"$T/lf"
	came_whole ESMTP
	# shellcheck disable=SC2086
	must "inside TLS" of_tree timeout 30 "$tree/usr/bin/msmtp" $at --host=localhost --tls=on --tls-trust-file="$T/cert.pem" user@here.test <"$T/lf"
	came_whole ESMTPS
	# shellcheck disable=SC2086
	of_tree timeout 30 "$tree/usr/bin/msmtp" $at --host=127.0.0.1 --tls=off nobody-here@here.test <"$T/lf" >"$T/said" 2>&1 && fail "an unknown user was taken"
	has '550 5.1.1' "$T/said"
}

it client_snail "s-nail: text and attachment arrive, in clear and inside verified TLS"
client_snail() {
	need_snail
	serve_tls
	head -c 200000 /dev/urandom >"$T/picture"
	export HOME="$T" MAILRC=/dev/null
	for how in smtp smtp-use-starttls; do
		# shellcheck disable=SC2086
		printf '.hello\n.\ngr\303\274\303\237e\n' | must "s-nail" of_tree timeout 30 "$tree/usr/bin/s-nail" -:/ -S v15-compat -S sendwait -S ttycharset=utf-8 \
			-S mta="smtp://localhost:$(port_of here)" -S smtp-auth=none -S from=a@client.test -S hostname=client.test \
			-S tls-verify=strict -S tls-ca-file="$T/cert.pem" -S tls-ca-no-defaults $([ $how = smtp ] && echo -S nosmtp-use-starttls || echo -S smtp-use-starttls) \
			-a "$T/picture" -s "from $how" user@here.test
		within 20 "the message" arrived here user 1
		has "^Subject: from $how" "$(mail here user)"
		has '^\(\.\|=2E\)hello' "$(mail here user)"
		[ $how = smtp ] || has '^.tls TLS_' "$(mail here user)"
		came_with SMTP          # what it says last is HELO, inside TLS too
	done
}

it client_mutt "mutt: text and attachment arrive, in clear and inside verified TLS"
client_mutt() {
	need_mutt
	serve_tls
	head -c 200000 /dev/urandom >"$T/picture"
	export HOME="$T" TERM=dumb
	for tls in no yes; do
		cat >"$T/muttrc" <<TEXT
set smtp_url = "smtp://localhost:$(port_of here)/"
set ssl_starttls = $tls
set ssl_force_tls = $tls
set certificate_file = "$T/cert.pem"
set from = "a@client.test"
set hostname = "client.test"
set copy = no
set charset = "utf-8"
set send_charset = "utf-8"
TEXT
		printf '.hello\n.\ngr\303\274\303\237e\n' | must "mutt" of_tree timeout 30 "$tree/usr/bin/mutt" -n -F "$T/muttrc" -s "tls $tls" -a "$T/picture" -- user@here.test
		within 20 "the message" arrived here user 1
		has "^Subject: tls $tls" "$(mail here user)"
		has '^\(\.\|=2E\)hello' "$(mail here user)"
		came_with "$([ $tls = no ] && echo ESMTP || echo ESMTPS)"
	done
}

it client_python "Python's smtplib: a message arrives as it was, in clear and inside verified TLS; refusals are understood"
client_python() {
	needs_here python3 -c 'import smtplib, ssl'
	serve_tls
	write_odd
	cat >"$T/send.py" <<'TEXT'
import smtplib, ssl, sys
port, secure, cert, message = int(sys.argv[1]), sys.argv[2] == "tls", sys.argv[3], open(sys.argv[4], "rb").read()
with smtplib.SMTP("localhost", port, local_hostname="client.test", timeout=20) as s:
    s.ehlo()
    if secure:
        s.starttls(context=ssl.create_default_context(cafile=cert))
        s.ehlo()
        assert not s.has_extn("starttls")
    refused = s.sendmail("a@client.test", ["user@here.test", "nobody-here@here.test"], message, mail_options=["BODY=8BITMIME"])
    assert list(refused) == ["nobody-here@here.test"] and refused["nobody-here@here.test"][0] == 550, refused
    assert s.noop()[0] == 250 and s.verify("user@here.test")[0] == 252 and s.rset()[0] == 250
    try:
        s.sendmail("a@client.test", ["nobody-here@here.test"], message)
        assert False
    except smtplib.SMTPRecipientsRefused:
        pass
TEXT
	must "in clear" timeout 30 python3 "$T/send.py" "$(port_of here)" clear "$T/cert.pem" "$T/crlf"
	came_whole ESMTP
	must "inside TLS" timeout 30 python3 "$T/send.py" "$(port_of here)" tls "$T/cert.pem" "$T/crlf"
	came_whole ESMTPS
}

# nodemailer comes from npm, once, into build/e2e/nodemailer/.
need_nodemailer() {
	needs_here node --version
	modules=$store/nodemailer/node_modules
	[ -d "$modules/nodemailer" ] && return
	command -v npm >/dev/null 2>&1 || skip "no npm here to fetch nodemailer with"
	mkdir -p "$store"
	into=$(mktemp -d "$store/fetch.XXXXXX") || skip "no room for nodemailer"
	chmod 755 "$into"
	(cd "$into" && outside timeout 60 npm install --no-audit --no-fund --no-save --ignore-scripts nodemailer@6) >/dev/null 2>&1 && mv -T "$into" "$store/nodemailer" 2>/dev/null
	rm -rf "$into"
	[ -d "$modules/nodemailer" ] || skip "nodemailer cannot be had"
}

it client_nodemailer "nodemailer: text and attachment arrive, in clear and inside verified TLS, ten over a pool"
client_nodemailer() {
	need_nodemailer
	serve_tls
	cat >"$T/send.js" <<'TEXT'
const [port, secure, cert, n] = [Number(process.argv[2]), process.argv[3] === "tls", process.argv[4], Number(process.argv[5])];
const nodemailer = require("nodemailer");
const t = nodemailer.createTransport({ host: "localhost", port, secure: false, ignoreTLS: !secure, requireTLS: secure, name: "client.test",
	pool: true, maxConnections: 3, tls: { ca: require("fs").readFileSync(cert) } });
Promise.all([...Array(n).keys()].map(i => t.sendMail({ from: "a@client.test", to: "user@here.test", subject: "n" + i, text: ".hello\n.\ngrüße\n",
	attachments: [{ filename: "x", content: Buffer.alloc(50000, i) }] })))
	.then(done => { t.close(); if (done.some(d => d.accepted.length !== 1)) process.exit(2); })
	.catch(e => { console.error(e); process.exit(1); });
TEXT
	must "in clear" env NODE_PATH="$modules" timeout 40 node "$T/send.js" "$(port_of here)" clear "$T/cert.pem" 1
	came_with ESMTP
	must "inside TLS" env NODE_PATH="$modules" timeout 40 node "$T/send.js" "$(port_of here)" tls "$T/cert.pem" 10
	within 20 "ten messages" arrived here user 10
	must "all inside TLS" [ "$(cat "$T/here.mail/user/new/"* | grep -c '^.by here.test with ESMTPS id')" = 10 ]
}

it client_curl "curl: a message arrives as it was, in clear and inside verified TLS"
client_curl() {
	needs_here curl --version
	curl --version | grep -q '^Protocols:.* smtp' || skip "this curl speaks no SMTP"
	serve_tls
	write_odd
	at="smtp://localhost:$(port_of here)/client.test"
	must "in clear" timeout 30 curl -sS --url "$at" --mail-from a@client.test --mail-rcpt user@here.test --upload-file "$T/crlf"
	came_whole ESMTP
	must "inside TLS" timeout 30 curl -sS --url "$at" --ssl-reqd --cacert "$T/cert.pem" --mail-from a@client.test --mail-rcpt user@here.test --upload-file "$T/crlf"
	came_whole ESMTPS
	timeout 30 curl -sS --url "$at" --mail-from a@client.test --mail-rcpt nobody-here@here.test --upload-file "$T/crlf" 2>"$T/said" && fail "an unknown user was taken"
	has ' 550' "$T/said"
}

it client_openssl "openssl s_client -starttls smtp: the certificate verifies, and a message goes through by hand"
client_openssl() {
	serve_tls
	write_odd
	{
		printf 'EHLO client.test\r\nMAIL FROM:<a@client.test>\r\nRCPT TO:<user@here.test>\r\nDATA\r\n'
		sed 's/^\./../' "$T/crlf"
		printf '.\r\nQUIT\r\n'
	} >"$T/talk"
	must "s_client" timeout 30 openssl s_client -quiet -verify_return_error -CAfile "$T/cert.pem" -verify_hostname localhost -starttls smtp \
		-connect "127.0.0.1:$(port_of here)" <"$T/talk" >"$T/said"
	has '^221 2.0.0' "$T/said"
	came_whole ESMTPS
}

it client_extensions "smtplib asks for DSN and SMTPUTF8: a report of success comes, and a message from a UTF-8 address arrives"
client_extensions() {
	needs_here python3 -c 'import smtplib'
	serve here
	cat >"$T/send.py" <<'TEXT'
import smtplib, sys
from email.message import EmailMessage
with smtplib.SMTP("localhost", int(sys.argv[1]), local_hostname="client.test", timeout=20) as s:
    s.ehlo()
    for word in "dsn", "smtputf8", "chunking", "size", "8bitmime", "pipelining", "enhancedstatuscodes", "limits":
        assert s.has_extn(word), word
    s.sendmail("sender@here.test", ["user@here.test"], b"Subject: wanted\r\n\r\ntext\r\n", mail_options=["RET=HDRS", "ENVID=e+2Bid"],
        rcpt_options=["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;first+2Bone@here.test"])
    m = EmailMessage()
    m["From"], m["To"], m["Subject"] = "grün@client.test", "user@here.test", "grüße"
    m.set_content("text")
    s.send_message(m)
TEXT
	must "smtplib" timeout 30 python3 "$T/send.py" "$(port_of here)"
	within 20 "both messages" arrived here user 2
	within 20 "the report" arrived here sender 1
	report=$(mail here sender)
	has '^Action: delivered' "$report"
	has '^Original-Envelope-I[dD]: e+id' "$report"
	has '^Original-Recipient: rfc822; *first+one@here.test' "$report"
	utf8=$(grep -l '^Subject: gr' "$T/here.mail/user/new/"*)
	has '^.by here.test with UTF8SMTP id' "$utf8"
	has '^From: grün@client.test' "$utf8"
	has '^Return-Path: <grün@client.test>' "$utf8"
	return 0
}
