# Mail leaves through a relay that asks for a login: ourselves, as a server for users, and Postfix where it is installed.

# serve_relay: a relay "here" with users, and "home", whose mail for other domains goes through it by $1 (smtps, smtp+starttls).
serve_relay() {
	serve_users "local_domains = here.test away.test"
	(umask 077; printf '%s\n' "$password" >"$T/password")
	at=$starttls; [ "$1" = smtps ] && at=$implicit
	serve home "route = * $1://user@localhost:$at password_file=$T/password" "tls_ca = $T/cert.pem"
}
write_to_user() {
	printf 'X-E2E: relay\nFrom: user@here.test\nTo: user@away.test\nSubject: by a relay\n\ntext\n'
}
through_relay() {
	serve_relay "$1"
	write_to_user | send home -f user@here.test user@away.test || fail "sendmail"
	within 30 "the message" arrived here user 1
	grep -q 'with ESMTPSA' "$(mail here user)" || fail "not by a login inside TLS: $(grep Received "$(mail here user)")"
	grep ' auth-ok ' "$T/here.log" | grep -q 'mech=SCRAM-SHA-256' || fail "not by SCRAM: $(grep ' auth-' "$T/here.log")"
	grep -qF "$password" "$T/home.log" && fail "the log holds the password"
	drained home
}

it relay_smtps "mail goes through a relay that asks for a login, inside TLS from the first octet, its certificate checked"
relay_smtps() { through_relay smtps; }

it relay_starttls "... and with STARTTLS"
relay_starttls() { through_relay smtp+starttls; }

it relay_wrong_password "a relay's refusal of our password keeps the mail, is said loudly once, and the right password sends it"
relay_wrong_password() {
	serve_relay smtps
	end "$pid"
	echo wrong >"$T/password"
	start home
	write_to_user | send home -f user@here.test user@away.test || fail "sendmail"
	within 20 "a line about the login" grep -q ' login-failed ' "$T/home.log"
	has '535 5.7.8' "$T/home.log"
	[ "$(files "$T/home.queue/cur")" = 1 ] || fail "the mail is gone"
	end "$pid"
	[ "$(grep -c ' login-failed ' "$T/home.log")" = 1 ] || fail "said more than once"
	printf '%s\n' "$password" >"$T/password"
	start home
	within 30 "the message" arrived here user 1
}

it relay_not_trusted "a relay with a certificate from nobody we trust gets neither password nor mail"
relay_not_trusted() {
	serve_relay smtps
	end "$pid"
	mv "$T/cert.pem" "$T/shown.pem"
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost -addext 'subjectAltName=DNS:localhost' \
		-keyout "$T/other.key" -out "$T/cert.pem" 2>/dev/null || fail "openssl"
	start home
	write_to_user | send home -f user@here.test user@away.test || fail "sendmail"
	within 20 "a line about the certificate" grep -q 'nobody who is trusted' "$T/home.log"
	[ "$(files "$T/home.queue/cur")" = 1 ] || fail "the mail is gone"
	grep -q ' auth-' "$T/here.log" && fail "a login was tried"
	return 0
}

it relay_authority "a chain of certificates is checked up to the authority, and for the name"
relay_authority() {
	command -v openssl >/dev/null 2>&1 || skip "no openssl here to make certificates with"
	serve_relay smtp+starttls
	end "$pid"
	openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=Authority -keyout "$T/ca.key" -out "$T/ca.pem" 2>/dev/null || fail "openssl"
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=relay -keyout "$T/key.pem" -out "$T/relay.csr" 2>/dev/null || fail "openssl"
	echo 'subjectAltName=DNS:localhost' >"$T/ext"
	openssl x509 -req -in "$T/relay.csr" -CA "$T/ca.pem" -CAkey "$T/ca.key" -CAcreateserial -days 2 -extfile "$T/ext" -out "$T/cert.pem" 2>/dev/null || fail "openssl"
	sed "s|^tls_ca = .*|tls_ca = $T/ca.pem|" "$T/home.conf" >"$T/home.new" && mv "$T/home.new" "$T/home.conf"
	start home
	write_to_user | send home -f user@here.test user@away.test || fail "sendmail"
	within 30 "the message" arrived here user 1
	grep -q 'with ESMTPSA' "$(mail here user)" || fail "not by a login inside TLS"
}

it check_says_what_keeps_a_relay "fardel check finds authorities that cannot be read, a password that is missing, an address that is not ours"
check_says_what_keeps_a_relay() {
	config home "route = * smtps://relay.test user=a password_file=$T/password" "tls_ca = $T/missing.pem" "source_address = 192.0.2.200"
	"$fardel" check -c "$T/home.conf" >"$T/said" 2>&1 && fail "check is content"
	has "password_file=$T/password: No such file" "$T/said"
	(umask 077; echo secret >"$T/password")
	"$fardel" check -c "$T/home.conf" >"$T/said" 2>&1 && fail "check is content"
	has 'missing.pem: No such file' "$T/said"
	has 'source_address' "$T/said"
	grep -q secret "$T/said" && fail "the password is shown"
	return 0
}

it password_is_for_who_sends "others send while a route's password is closed to them: the server needs it, sendmail does not; check says who cannot read it"
password_is_for_who_sends() {
	serve here "route = relay.test smtp://127.0.0.1:9"
	chmod 755 "$T/here.queue" # found, but not to be written
	echo geheim >"$T/password"
	echo "route = * smtps://relay.test user=anna password_file=$T/password" >>"$T/here.conf"
	as=
	chmod 600 "$T/password"
	if [ "$(id -u)" = 0 ]; then
		command -v setpriv >/dev/null 2>&1 || skip "no setpriv here to be another account with"
		as="setpriv --reuid 65534 --regid 65534 --clear-groups"
	else
		chmod 0 "$T/password"
	fi
	# shellcheck disable=SC2086
	printf 'Subject: x\n\nx\n' | must "sendmail of somebody" $as "$fardel" sendmail -C "$T/here.conf" user@here.test
	within 20 "the message" arrived here user 1
	# shellcheck disable=SC2086
	status_is 78 $as "$fardel" serve -c "$T/here.conf" -o 'listen =' 2>"$T/said"
	has "here.conf:.*password_file=$T/password: Permission denied" "$T/said"
	# shellcheck disable=SC2086
	status_is 78 $as "$fardel" check -c "$T/here.conf" >"$T/said"
	has "password_file=$T/password: Permission denied" "$T/said"
	# Read by root at the start, and closed to the account afterwards: the settings of before stay.
	if [ "$as" ]; then
		serve second "user = nobody" "route = * smtps://relay.test user=anna password_file=$T/password"
		kill -HUP "$pid"
		within 10 "a complaint" grep -q 'password_file=.*Permission denied' "$T/second.log"
	fi
}
