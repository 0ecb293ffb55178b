# fardel setup: from five answers to mail that goes through a relay with a login.

# The relay "here" with its user; its name for those who ask is localhost.
setup_relay() {
	serve_users "local_domains = here.test away.test"
	printf '_submissions._tcp.here.test SRV 0 1 %s localhost\n_submission._tcp.here.test SRV 0 1 %s localhost\n' "$implicit" "$starttls" >"$T/dns.zone"
	fakedns dns
	mkdir "$T/etc"
}
# set_up ANSWERS...: to a new configuration in $T/etc.
set_up() {
	printf '%s\n' "$@" | timeout 60 "$fardel" setup -c "$T/etc/fardel.conf" -o "hostname = home.test" -o "queue = $T/home.queue" -o "listen =" \
		-o "mailbox = $T/home.mail/{user}/" -o "aliases = $T/etc/aliases" -o "resolver = 127.0.0.1:$port" -o "tls_ca = $T/cert.pem" >"$T/said" 2>&1
}

it setup_writes_what_works "fardel setup finds the relay by SRV, tries the login and writes settings that send root's mail through it"
setup_writes_what_works() {
	setup_relay
	status_is 0 set_up user@here.test '' user "$password" ''
	has "localhost:$implicit lets us in, by TLS" "$T/said"
	must "mode of the password" [ "$(stat -c %a "$T/etc/relay-password")" = 600 ]
	must "the password" [ "$(cat "$T/etc/relay-password")" = "$password" ]
	has "^route = \* smtps://user@localhost:$implicit password_file=$T/etc/relay-password" "$T/etc/fardel.conf"
	has '^send_as = \* user@here.test' "$T/etc/fardel.conf"
	has '^root: user@here.test' "$T/etc/aliases"
	grep -qF "$password" "$T/said" "$T/etc/fardel.conf" && fail "the password is shown"
	printf 'Subject: by the relay\n\ntext\n' | "$fardel" sendmail -C "$T/etc/fardel.conf" root || fail "sendmail"
	"$fardel" flush -c "$T/etc/fardel.conf" 2>>"$T/flush.log"
	within 30 "root's mail" arrived here user 1
	grep -q 'with ESMTPSA' "$(mail here user)" || fail "not by a login"
}

it check_tries_the_login "fardel check --login logs in at the relay, says at which step it fails and what to do, and without the word does not call it"
check_tries_the_login() {
	setup_relay
	status_is 0 set_up user@here.test '' user "$password" ''
	status_is 0 "$fardel" check -c "$T/etc/fardel.conf" >"$T/said"
	has "its login was not tried" "$T/said"
	before=$(grep -c ' auth-ok ' "$T/here.log")
	status_is 0 "$fardel" check --login -c "$T/etc/fardel.conf" >"$T/said"
	has "^route smtps://user@localhost:$implicit lets us in" "$T/said"
	[ "$(grep -c ' auth-ok ' "$T/here.log")" = $((before + 1)) ] || fail "no login"
	echo wrong >"$T/etc/relay-password"
	status_is 78 "$fardel" check --login -c "$T/etc/fardel.conf" >"$T/said"
	has 'fardel.conf:2: error: route: smtps://user@localhost:.* failed at the login: .*535 5.7.8.*Look at user and password' "$T/said"
}

it setup_is_corrected "... a wrong password is told with step, cause and remedy, and may be corrected; STARTTLS at a port that says nothing is found"
setup_is_corrected() {
	setup_relay
	status_is 0 set_up user@here.test "localhost:$starttls" user wrong user@here.test c '' '' "$password"
	has 'Step: the login' "$T/said"
	tr -s ' \n' ' ' <"$T/said" >"$T/flat"          # lines are broken where the window ends
	has 'Cause: .*535 5.7.8' "$T/flat"
	has 'Remedy: Look at user and password' "$T/said"
	has 'lets us in, by STARTTLS' "$T/said"
	has "^route = \* smtp+starttls://user@localhost:$starttls " "$T/etc/fardel.conf"
}

it setup_fails_clean "... without a relay, a good name or an end of the answers nothing is written"
setup_fails_clean() {
	setup_relay
	nothing() { [ "$(files "$T/etc")" = 0 ] || fail "it wrote: $(ls "$T/etc")"; }
	status_is 75 set_up
	nothing
	status_is 75 set_up 'no address' user@here.test 'a b' '/x' ''
	has 'that is no mail address' "$T/said"
	has 'that is no name of a host' "$T/said"
	nothing
	dnsport=$port
	free_port
	closed=$port
	port=$dnsport
	status_is 75 set_up user@here.test "localhost:$closed" user "$password" '' e
	has 'Step: connecting to it' "$T/said"
	has 'Connection refused' "$T/said"
	nothing
	status_is 75 set_up user@here.test "nowhere.test:465" user "$password" '' e
	has 'Step: looking for its address' "$T/said"
	nothing
	cp "$T/cert.pem" "$T/right.pem"
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost -keyout "$T/other.key" -out "$T/cert.pem" 2>/dev/null
	status_is 75 set_up user@here.test "localhost:$implicit" user "$password" '' e
	has 'Step: TLS' "$T/said"
	nothing
	head -c 100000 /dev/zero | tr '\0' x >"$T/long"
	status_is 75 set_up "$(cat "$T/long")"
	nothing
}

it setup_asks_before "... a file that is there is replaced after a yes only; its other lines stay, and it is kept"
setup_asks_before() {
	setup_relay
	printf 'route = * smtp://old.test\nroute = x.test mx\nuser = nobody\nsend_as = * old@x.test' >"$T/etc/fardel.conf"
	cp "$T/etc/fardel.conf" "$T/was"
	status_is 75 set_up user@here.test '' user "$password" ''
	must "untouched" cmp -s "$T/was" "$T/etc/fardel.conf"
	status_is 75 set_up user@here.test '' user "$password" '' n
	must "untouched" cmp -s "$T/was" "$T/etc/fardel.conf"
	must "no password" [ ! -e "$T/etc/relay-password" ]
	printf 'root: ann\n' >"$T/etc/aliases"
	status_is 0 set_up user@here.test '' user "$password" '' y
	has '^#route = \* smtp://old.test' "$T/etc/fardel.conf"
	has '^route = x.test mx' "$T/etc/fardel.conf"
	has '^user = nobody' "$T/etc/fardel.conf"
	has '^#send_as = \* old@x.test' "$T/etc/fardel.conf"
	must "kept" cmp -s "$T/was" "$T/etc/fardel.conf.old"
	has 'says already who gets root' "$T/said"
	must "aliases" [ "$(cat "$T/etc/aliases")" = 'root: ann' ]
	if [ "$(id -u)" = 0 ]; then
		must "owner" [ "$(stat -c %U "$T/etc/relay-password")" = nobody ]
	fi
}
