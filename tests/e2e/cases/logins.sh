# Other people's clients log in: on the port for users with STARTTLS, and on the one with TLS from the first octet.

# serve_users [SETTING...]: ports in $mx, $starttls and $implicit; user may send as user@here.test, with a password of any octets.
password='p%ss wo"rd\ü$HOME'
serve_users() {
	own_certificate
	free_port; mx=$port
	free_port; starttls=$port
	free_port; implicit=$port
	(umask 077; : >"$T/users")
	printf '%s\n' "$password" | "$fardel" passwd "$T/users" user >/dev/null || fail "fardel passwd"
	serve here "listen = smtp://127.0.0.1:$mx submission://127.0.0.1:$starttls submissions://127.0.0.1:$implicit" "users = $T/users" \
		"tls_certificate = $T/cert.pem" "tls_key = $T/key.pem" "$@"
}
# logged_in HOW: the last login was so; what came is from the user, and the mailbox is emptied.
logged_in() {
	grep ' auth-ok ' "$T/here.log" | tail -n 1 | grep -q "mech=$1" || fail "not by $1: $(grep ' auth-' "$T/here.log" | tail -n 1)"
	came_with ESMTPSA
}
# write_from ADDRESS: a message of hers.
write_from() {
	printf 'From: %s\nTo: user@here.test\nSubject: a login\nDate: Mon, 2 Nov 2026 10:00:00 +0000\nMessage-ID: <login@client.test>\n\ntext\n' "$1" >"$T/lf"
	sed 's/$/\r/' <"$T/lf" >"$T/crlf"
}

it login_msmtp "msmtp logs in by PLAIN, LOGIN and SCRAM on both ports; a wrong password is told"
login_msmtp() {
	need_msmtp
	serve_users
	write_from user@here.test
	at="-C /dev/null --host=localhost --domain=client.test -f user@here.test --user=user --tls=on --tls-trust-file=$T/cert.pem"
	printf '#!/bin/sh\nprintf %%s "$PASSWORD"\n' >"$T/tell" && chmod +x "$T/tell"
	export PASSWORD="$password"
	for how in plain login scram-sha-256; do
		of_tree "$tree/usr/bin/msmtp" --version | grep -A1 '^Supported authentication' | grep -q " *\b$how\b" || { note "this msmtp has no $how"; continue; }
		# shellcheck disable=SC2086
		must "587 $how" of_tree timeout 30 "$tree/usr/bin/msmtp" $at --port="$starttls" --auth=$how --passwordeval="$T/tell" user@here.test <"$T/lf"
		logged_in "$(echo $how | tr a-z A-Z)"
		# shellcheck disable=SC2086
		must "465 $how" of_tree timeout 30 "$tree/usr/bin/msmtp" $at --port="$implicit" --tls-starttls=off --auth=$how --passwordeval="$T/tell" user@here.test <"$T/lf"
		logged_in "$(echo $how | tr a-z A-Z)"
	done
	# shellcheck disable=SC2086
	PASSWORD=wrong of_tree timeout 30 "$tree/usr/bin/msmtp" $at --port="$starttls" --auth=plain --passwordeval="$T/tell" user@here.test <"$T/lf" 2>"$T/said" && fail "in with a wrong password"
	has '535 5.7.8' "$T/said"
	grep -q ' auth-failed .*client=127.0.0.1 .*user=user' "$T/here.log" || fail "no line for fail2ban: $(grep auth-failed "$T/here.log")"
	grep -qF "$password" "$T/here.log" && fail "the log holds the password"
	return 0
}

it login_snail "s-nail logs in on both ports"
login_snail() {
	need_snail
	serve_users
	export HOME="$T" MAILRC=/dev/null
	encoded=$(printf %s "$password" | od -An -v -tu1 | awk '{ for (i = 1; i <= NF; i++) { c = sprintf("%c", $i + 0); printf "%s", c ~ /[A-Za-z0-9._~-]/ ? c : sprintf("%%%02X", $i) } }')
	for how in plain login; do
		for url in "smtp://user:$encoded@localhost:$starttls" "smtps://user:$encoded@localhost:$implicit"; do
			echo text | must "s-nail $how" of_tree timeout 30 "$tree/usr/bin/s-nail" -:/ -S v15-compat -S sendwait -S mta="$url" -S smtp-auth=$how -S smtp-use-starttls \
				-S from=user@here.test -S hostname=client.test -S tls-verify=strict -S tls-ca-file="$T/cert.pem" -S tls-ca-no-defaults -s login user@here.test
			within 20 "the message" arrived here user 1
			logged_in "$(echo $how | tr a-z A-Z)"
		done
	done
}

it login_mutt "mutt logs in on both ports"
login_mutt() {
	need_mutt
	serve_users
	export HOME="$T" TERM=dumb
	for url in "smtp://user@localhost:$starttls/" "smtps://user@localhost:$implicit/"; do
		cat >"$T/muttrc" <<TEXT
set smtp_url = "$url"
set smtp_pass = '$password'
set smtp_authenticators = "plain"
set ssl_force_tls = yes
set certificate_file = "$T/cert.pem"
set from = "user@here.test"
set hostname = "client.test"
set copy = no
set charset = "utf-8"
TEXT
		echo text | must "mutt at $url" of_tree timeout 30 "$tree/usr/bin/mutt" -n -F "$T/muttrc" -s login -- user@here.test
		logged_in PLAIN
	done
}

it login_python "Python's smtplib logs in on both ports, may send as nobody else, and not before it has logged in"
login_python() {
	needs_here python3 -c 'import smtplib, ssl'
	serve_users "route = elsewhere.test smtp://127.0.0.1:9"
	write_from user@here.test
	cat >"$T/send.py" <<'TEXT'
import smtplib, ssl, sys
starttls, implicit, mx, cert, message, password = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], open(sys.argv[5], "rb").read(), sys.argv[6]
context = ssl.create_default_context(cafile=cert)
def refused(what, code, call, *args):
    try:
        got = call(*args)[0]
    except smtplib.SMTPResponseException as e:
        got = e.smtp_code
    except smtplib.SMTPNotSupportedError:
        got = "not offered"
    assert got == code, (what, got)
for port in starttls, implicit:
    s = smtplib.SMTP_SSL("localhost", port, context=context, timeout=20) if port == implicit else smtplib.SMTP("localhost", port, timeout=20)
    s.ehlo()
    if port == starttls:
        assert not s.has_extn("auth"), "AUTH is offered in clear"
        refused("MAIL in clear", 530, s.mail, "user@here.test")
        refused("AUTH in clear", 538, s.docmd, "AUTH", "PLAIN AHVzZXIAeA==")
        s.starttls(context=context)
        s.ehlo()
    refused("MAIL without a login", 530, s.mail, "user@here.test")
    s.esmtp_features["auth"] = "PLAIN" if port == starttls else "LOGIN"
    s.user, s.password = "user", password
    refused("LOGIN cancelled", 501, lambda: (s.docmd("AUTH", "LOGIN"), s.docmd("*"))[1])
    mechanism, response = ("PLAIN", s.auth_plain) if port == starttls else ("LOGIN", s.auth_login)
    import base64
    if port == starttls:
        code, text = s.docmd("AUTH", "PLAIN " + base64.b64encode(("\0user\0" + password).encode()).decode())
    else:
        assert s.docmd("AUTH", "LOGIN")[0] == 334 and s.docmd(base64.b64encode(b"user").decode())[0] == 334
        code, text = s.docmd(base64.b64encode(password.encode()).decode())
    assert code == 235, (code, text)
    refused("AUTH twice", 503, s.docmd, "AUTH", "PLAIN AHVzZXIAeA==")
    refused("another sender", 550, s.mail, "boss@here.test")
    s.sendmail("user@here.test", ["user@here.test", "far@elsewhere.test"], message)
    s.quit()
s = smtplib.SMTP("localhost", mx, timeout=20)
s.ehlo()
assert not s.has_extn("auth")
TEXT
	must "smtplib" timeout 40 python3 "$T/send.py" "$starttls" "$implicit" "$mx" "$T/cert.pem" "$T/crlf" "$password"
	within 20 "both messages" arrived here user 2
	must "both with a login" [ "$(cat "$T/here.mail/user/new/"* | grep -c '^.by here.test with ESMTPSA id')" = 2 ]
}

it login_nodemailer "nodemailer logs in on both ports"
login_nodemailer() {
	need_nodemailer
	serve_users
	cat >"$T/send.js" <<'TEXT'
const [port, secure, cert, method, pass] = [Number(process.argv[2]), process.argv[3] === "tls", process.argv[4], process.argv[5], process.argv[6]];
const nodemailer = require("nodemailer");
const t = nodemailer.createTransport({ host: "localhost", port, secure, requireTLS: !secure, name: "client.test", authMethod: method,
	auth: { user: "user", pass }, tls: { ca: require("fs").readFileSync(cert) } });
t.sendMail({ from: "user@here.test", to: "user@here.test", subject: "login", text: "text" })
	.then(() => t.close(), e => { console.error(e); process.exit(1); });
TEXT
	for how in PLAIN LOGIN; do
		must "587 $how" env NODE_PATH="$modules" timeout 40 node "$T/send.js" "$starttls" starttls "$T/cert.pem" $how "$password"
		logged_in $how
		must "465 $how" env NODE_PATH="$modules" timeout 40 node "$T/send.js" "$implicit" tls "$T/cert.pem" $how "$password"
		logged_in $how
	done
}

it login_curl "curl logs in by PLAIN, LOGIN and SCRAM on both ports"
login_curl() {
	needs_here curl --version
	curl --version | grep -q '^Protocols:.* smtps' || skip "this curl speaks no SMTP"
	serve_users
	write_from user@here.test
	for how in PLAIN LOGIN SCRAM-SHA-256; do
		[ $how != SCRAM-SHA-256 ] || curl --version | grep -qi gsasl || { note "this curl has no SCRAM"; continue; }
		for url in "smtp://localhost:$starttls/client.test" "smtps://localhost:$implicit/client.test"; do
			must "$how at $url" timeout 30 curl -sS --url "$url" --ssl-reqd --cacert "$T/cert.pem" --login-options AUTH=$how -u "user:$password" \
				--mail-from user@here.test --mail-rcpt user@here.test --upload-file "$T/crlf"
			logged_in $how
		done
	done
}

it login_openssl "by hand in openssl s_client: a message goes through on both ports"
login_openssl() {
	serve_users
	write_from user@here.test
	{
		printf 'EHLO client.test\r\nAUTH PLAIN %s\r\nMAIL FROM:<user@here.test>\r\nRCPT TO:<user@here.test>\r\nDATA\r\n' "$(printf '\0user\0%s' "$password" | openssl base64 -A)"
		cat "$T/crlf"
		printf '.\r\nQUIT\r\n'
	} >"$T/talk"
	for at in "-starttls smtp -connect 127.0.0.1:$starttls" "-connect 127.0.0.1:$implicit"; do
		# shellcheck disable=SC2086
		must "s_client $at" timeout 30 openssl s_client -quiet -verify_return_error -CAfile "$T/cert.pem" -verify_hostname localhost $at <"$T/talk" >"$T/said"
		has '^235 2.7.0' "$T/said"
		has '^221 2.0.0' "$T/said"
		logged_in PLAIN
	done
}

it login_swaks "swaks logs in by PLAIN and LOGIN on both ports"
login_swaks() {
	need_swaks_tls
	PERL5LIB=$(ls -d "$tree"/usr/lib/*/perl5/* "$tree/usr/share/perl5" 2>/dev/null | tr '\n' ':')
	export PERL5LIB
	of_tree perl "$tree/usr/bin/swaks" --support 2>&1 | grep -q 'TLS.*supported' || skip "swaks has no TLS here: $(of_tree perl "$tree/usr/bin/swaks" --support 2>&1 | grep TLS | head -n 1)"
	serve_users
	for how in PLAIN LOGIN; do
		for at in "--port $starttls --tls" "--port $implicit --tls-on-connect"; do
			# shellcheck disable=SC2086
			must "swaks $how $at" of_tree timeout 60 perl "$tree/usr/bin/swaks" --server 127.0.0.1 $at --auth $how --auth-user user --auth-password "$password" \
				--from user@here.test --to user@here.test --ehlo client.test --body text
			logged_in $how
		done
	done
}
