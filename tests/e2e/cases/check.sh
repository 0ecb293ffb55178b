# What `fardel check` says of this host as others see it.

check() { "$fardel" check "$@" -c "$T/here.conf" >"$T/said" 2>&1; }

it check_names "check tells whether the address that mail leaves from has a name, whether that leads back, and whether EHLO says it"
check_names() {
	cat >"$T/dns.zone" <<'END'
here.test A 127.0.0.5
other.test A 127.0.0.6
alien.test A 127.0.0.99
good.test A 127.0.0.9
5.0.0.127.in-addr.arpa PTR here.test
6.0.0.127.in-addr.arpa PTR other.test
7.0.0.127.in-addr.arpa PTR alien.test
END
	fakedns dns
	dns=$port
	config here "resolver = 127.0.0.1:$dns" "source_address = 127.0.0.5"
	check
	grep -q 'behind a router' "$T/said" && fail "hostname has no address of the family that is private here, if one is"
	has '^address 127.0.0.5 is called here.test' "$T/said"
	config here "resolver = 127.0.0.1:$dns" "inet = only4" "source_address = 127.0.0.5"
	check
	has '^address 127.0.0.5 is called here.test in the DNS, and that leads back; EHLO says the same$' "$T/said"
	has '^port 25 was not tried' "$T/said"
	sed -i 's/^source_address.*/source_address = 127.0.0.6/' "$T/here.conf"
	check
	has 'hostname: here.test does not lead to 127.0.0.6, which mail is sent from and which is called other.test.* Set hostname = other.test' "$T/said"
	sed -i 's/^source_address.*/source_address = 127.0.0.7/' "$T/here.conf"
	check
	has 'source_address: 127.0.0.7 is called alien.test in the DNS (PTR), and that name does not lead back.*Remedy: give the address' "$T/said"
	sed -i 's/^source_address.*/source_address = 127.0.0.8/' "$T/here.conf"
	check
	has 'source_address: 127.0.0.8 has no name in the DNS (PTR).*Remedy: give the address .* PTR record' "$T/said"
	sed -i 's/^hostname.*/hostname = nowhere.test/' "$T/here.conf"
	check
	has 'hostname: nowhere.test has no address in the DNS' "$T/said"
	echo "route = * smtp://127.0.0.1:$dns" >>"$T/here.conf"
	check
	grep -q '127.0.0.8\|port 25' "$T/said" && fail "where all mail leaves by a route, that is its host's business"
	:
}

it check_outside "check --outside calls mail hosts and tells whether port 25 leads out; alone it calls nobody"
check_outside() {
	sink there
	there=$port
	free_port
	cat >"$T/dns.zone" <<END
y.test MX 10 mx.y.test
mx.y.test A 127.0.0.1
z.test MX 10 mx.z.test
mx.z.test A 127.0.0.77
END
	fakedns dns
	config here "resolver = 127.0.0.1:$port" "inet = only4" "smtp_port = $there" "route = * smtp://127.0.0.1:$there"
	check
	must "nobody was called" [ ! -s "$T/there/log" ]
	must "a way out" check --outside=y.test,z.test
	has '^outside: the mail host of y.test answers$' "$T/said"
	has '^outside: note: the mail host of z.test does not: connect to .*refused' "$T/said"
	grep -q MAIL "$T/there/log" && fail "something was sent"
	status_is 78 check --login --outside=z.test
	has '^outside: error: none of them can be reached at port .*ask the provider to open outgoing port 25' "$T/said"
	status_is 64 check --outside=y.test --nonsense
}

it check_clock "check tells of a clock that is behind the queue"
check_clock() {
	config here
	mailboxes here user
	mkdir -p "$T/here.queue/cur"
	printf 'x' >"$T/here.queue/cur/4000000000.0.f00000000000000000000000.y.test"
	check
	has '^clock: note: .*1 entry of the queue came later' "$T/said"
}

it library_gone "an optional library that has gone: the server starts and takes mail, and its log and check say what cannot be done"
library_gone() {
	gone=$(grep -ao 'libsodium\.so\.[0-9]*' "$fardel" | head -n 1)
	[ "$gone" ] || skip "fardel was built without libsodium"
	mkdir "$T/gone"
	: >"$T/gone/$gone"
	LD_LIBRARY_PATH=$T/gone
	export LD_LIBRARY_PATH
	serve here
	has ' info without .*libsodium; what that means is told by .fardel check.' "$T/here.log"
	printf 'Subject: without it\n\nHello\n' | must "sendmail" "$fardel" sendmail -C "$T/here.conf" user@here.test
	within 20 "the message" arrived here user 1
	check
	has '^there is no libsodium here: DKIM signatures by Ed25519 are neither made nor checked$' "$T/said"
	must "nothing else is missed" [ "$(grep -c '^there is no ' "$T/said")" = 1 ]
	"$fardel" dkim-key -t ed25519 here.test one >"$T/said" 2>&1 && fail "an Ed25519 key was made"
	has 'there is no libsodium here' "$T/said"
	unset LD_LIBRARY_PATH
	end "$pid" || fail "the server ended with $?"
}

it check_control_socket "check tells when nobody could listen on the control socket: something else is there, no directory, a path too long, no right"
check_control_socket() {
	config here "control = $T/socket"
	mailboxes here user
	check
	grep -q 'error: ' "$T/said" && fail "nothing is wrong"
	: >"$T/socket"
	status_is 78 check
	has "error: control: $T/socket is there and no socket.*Move it away" "$T/said"
	sed -i "s|^control = .*|control = $T/nowhere/socket|" "$T/here.conf"
	status_is 78 check
	has "error: control: $T/nowhere: no socket can be made there by uid.*Make the directory" "$T/said"
	sed -i "s|^control = .*|control = /$(printf '%0110d' 0)|" "$T/here.conf"
	status_is 78 check
	has 'error: control: the path of the control socket has more than 107 octets.*Set control' "$T/said"
	sed -i "s|^control = .*|control = off|" "$T/here.conf"
	check
	grep -q 'error: ' "$T/said" && fail "there is none"
	[ "$(id -u)" = 0 ] || return 0
	mkdir -m 755 "$T/roots"
	{
		sed "s|^control = .*|control = $T/roots/socket|" "$T/here.conf"
		echo "user = nobody"
	} >"$T/other.conf"
	"$fardel" check -c "$T/other.conf" >"$T/said" 2>&1
	has "error: control: $T/roots: no socket can be made there by uid .*: Permission denied" "$T/said"
}

it check_control_of_a_server "check finds nothing wrong with the control socket of a server that runs, or was killed"
check_control_of_a_server() {
	serve here
	check
	grep -q 'error: ' "$T/said" && fail "it runs"
	kill -9 "$pid"
	within 5 "its end" gone "$pid"
	must "left behind" [ -S "$T/here.queue/control" ]
	check
	grep -q 'error: ' "$T/said" && fail "it is replaced"
	:
}
