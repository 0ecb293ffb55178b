# Filters of others over the milter protocol: rspamd, OpenDKIM, and one of python3-milter, which is libmilter as Sendmail has it.

need_rspamd() { need rspamd rspamd; }
need_pymilter() {
	need pymilter python3-milter
	[ -x /usr/bin/python3 ] || skip "no /usr/bin/python3 here"
	of_python -c 'import Milter' >/dev/null 2>&1 || skip "python3-milter does not run with this python3"
}
of_python() { LD_LIBRARY_PATH=$libraries PYTHONPATH=$tree/usr/lib/python3/dist-packages PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 "$@"; }
is_socket() { [ -S "$1" ]; }
# mail_of NAME FIELDS: a message for inject in $T/NAME.
mail_of() { printf 'From: a@client.test\r\nTo: user@here.test\r\nSubject: %s\r\nDate: Fri, 27 Nov 2026 09:00:00 +0000\r\nMessage-ID: <%s@client.test>\r\n%b\r\nthe body\r\n' "$1" "$1" "$2" >"$T/$1"; }

# begin_python: the filter listens at $T/filter.sock.
begin_python() {
	need_pymilter
	begin filter env LD_LIBRARY_PATH="$libraries" PYTHONPATH="$tree/usr/lib/python3/dist-packages" PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 tests/e2e/filter.py "$T/filter.sock"
	within 20 "the socket of the filter" is_socket "$T/filter.sock"
}
it filters_libmilter "a filter of libmilter refuses, changes, holds and drops mail, through the daemon and through inetd"
filters_libmilter() {
	begin_python
	serve here "milter = unix:$T/filter.sock" "check_dkim = no" "relay_from = 127.0.0.0/8"
	mailboxes here full
	begin super "$tools/superserver" "$fardel" inetd -c "$T/here.conf"
	said_port super
	mail_of fields 'X-Do: fields\r\nX-Gone: 1\r\nX-Gone: 2\r\n'
	mail_of body 'X-Do: body work\r\n'
	mail_of rcpt 'X-Do: rcpt\r\n'
	mail_of refuse 'X-Do: refuse\r\n'
	mail_of drop 'X-Do: drop\r\n'
	mail_of hold 'X-Do: hold\r\n'
	round=0
	for at in $(port_of here) $port; do
		round=$((round + 1))
		for m in fields body rcpt drop hold; do
			must "$m is taken" inject -p "$at" -f a@client.test -t user@here.test -m "$T/$m"
		done
		must "refused at the end" not inject -p "$at" -f a@client.test -t user@here.test -m "$T/refuse" 2>"$T/said"
		has '554 5.7.77 refused, says the filter' "$T/said"
		must "refused by its sender" not inject -p "$at" -f refuse-me@client.test -t user@here.test 2>"$T/said"
		has '550 5.7.1 Refused by a mail filter' "$T/said"
		must "refused by its recipient" not inject -p "$at" -f a@client.test -t full@here.test 2>"$T/said"
		has '452 4.2.2 full, says the filter' "$T/said"
		within 30 "what was taken" arrived here user $((2 * round))
		within 30 "what was meant for another" arrived here sender $round
		must "held" [ "$(ls "$T/here.queue/cur" "$T/here.queue/in" | grep -c '\.H\.')" = $round ]
	done
	for box in "$T/here.mail/user/new/"*; do
		case $(grep '^Subject: ' "$box") in
		*fields*)
			has '^X-First: one' "$box"
			has '^X-Do: done' "$box"
			has '^X-Gone: 1' "$box"
			must "a field is gone" not grep -q '^X-Gone: 2' "$box"
			must "a field at the end" [ "$(sed '/^$/q' "$box" | tail -n 2 | head -n 1)" = "X-Added: at the end" ]
			has '^the body$' "$box"
			;;
		*body*)
			has '^another body$' "$box"
			must "the old body is gone" not grep -q '^the body$' "$box"
			;;
		*) fail "what is $box?" ;;
		esac
	done
	grep -q 'quarantined: looked odd' "$T/here.queue/cur/"*.H.* || fail "no reason in the file"
	must "let go" "$fardel" queue release --yes -c "$T/here.conf" user@here.test >/dev/null
	within 30 "what was held" arrived here user 6
}
not() { ! "$@"; }

it filters_out_of_order "mail is put off while a filter is not there and comes through when it is back; with accept nobody waits"
filters_out_of_order() {
	need_pymilter
	serve here "milter = unix:$T/filter.sock" "check_dkim = no" "milter_default_action = tempfail"
	here=$pid
	must "put off" not inject -p "$(port_of here)" -t user@here.test 2>"$T/said"
	has '451 4.7.1 A mail filter is out of order' "$T/said"
	has ' milter-failed .*milter=unix:.*during=CONNECT reason="No such file or directory" action=tempfail' "$T/here.log"
	begin_python
	filter=$pid
	must "taken" inject -p "$(port_of here)" -n 100 -s 10 -t user@here.test
	kill -9 "$filter"
	wait "$filter"
	must "put off again" not inject -p "$(port_of here)" -t user@here.test 2>"$T/said"
	has '451 4.7.1 A mail filter is out of order' "$T/said"
	sed 's/^milter_default_action.*/milter_default_action = accept/' "$T/here.conf" >"$T/other.conf" && cp "$T/other.conf" "$T/here.conf"
	kill -HUP "$here"
	within 20 "the settings" grep -q 'in force now: milter_default_action' "$T/here.log"
	must "taken without it" inject -p "$(port_of here)" -t user@here.test
	within 30 "all of it" arrived here user 101
}

# begin_rspamd FILTERS [DNS]: its own settings, with what asks the network turned off; port $port.
begin_rspamd() {
	need_rspamd
	own_tree
	free_port
	r=$T/rspamd
	mkdir -p "$r/db" "$r/run"
	cp -r "$tree/etc/rspamd" "$r/etc"
	for module in fuzzy_check rbl dkim_signing greylist ratelimit history_redis neural reputation phishing asn multimap replies clickhouse elastic \
		force_actions metadata_exporter; do
		echo 'enabled = false;' >"$r/etc/local.d/$module.conf"
	done
	for worker in normal controller fuzzy; do echo 'enabled = false;' >"$r/etc/local.d/worker-$worker.inc"; done
	echo "bind_socket = \"127.0.0.1:$port\"; milter = yes; timeout = 30s; upstream \"local\" { default = yes; self_scan = yes; } count = 1;" >"$r/etc/local.d/worker-proxy.inc"
	echo 'type = "console"; level = "info";' >"$r/etc/local.d/logging.inc"
	echo "dns { nameserver = [\"${2:-127.0.0.1:9}\"]; timeout = 0.2s; retransmits = 1; } pidfile = \"$r/run/pid\"; control_socket = \"$r/run/control mode=0600\"; filters = \"$1\";" >"$r/etc/local.d/options.inc"
	echo 'check_local = true; check_authed = true;' >"$r/etc/local.d/dkim.conf"
	echo 'use = ["x-spamd-bar", "authentication-results"]; skip_local = false; skip_authenticated = false; extended_spam_headers = true;' >"$r/etc/local.d/milter_headers.conf"
	share=$tree/usr/share/rspamd
	chmod -R a+rX "$r" 2>/dev/null
	begin rspamd env LD_LIBRARY_PATH="$libraries:$tree/usr/lib/rspamd" "$tree/usr/bin/rspamd" -f -i -c "$r/etc/rspamd.conf" --var=CONFDIR="$r/etc" --var=LOCAL_CONFDIR="$r/etc" \
		--var=RUNDIR="$r/run" --var=DBDIR="$r/db" --var=LOGDIR="$r" --var=SHAREDIR="$share" --var=RULESDIR="$share/rules" --var=LUALIBDIR="$share/lualib" \
		--var=PLUGINSDIR="$share/plugins" --var=WWWDIR="$share/www"
	within 200 "rspamd at port $port" grep -qE 'rspamd_proxy.*(listening|init|ready)|starting rspamd_proxy' "$T/rspamd.log" "$T/rspamd.out"
}
it filters_rspamd "rspamd marks mail and refuses what is spam, and 200 messages at ten a time pass through both"
filters_rspamd() {
	begin_rspamd ""
	serve here "milter = inet:127.0.0.1:$port" "check_dkim = no"
	mail_of plain ''
	within 200 "an answer by rspamd" inject -p "$(port_of here)" -f a@client.test -t user@here.test -m "$T/plain" 2>/dev/null
	within 30 "a message" arrived here user 1
	has '^X-Spamd-Bar: ' "$(mail here user)"
	has '^the body$' "$(mail here user)"
	mail_of spam ''
	printf 'XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X\r\n' >>"$T/spam"
	must "spam is refused" not inject -p "$(port_of here)" -f a@client.test -t user@here.test -m "$T/spam" 2>"$T/said"
	has '554 5.7.1 Gtube pattern' "$T/said"
	must "many pass" inject -p "$(port_of here)" -n 200 -s 10 -t user@here.test
	within 60 "all of them" arrived here user 201
	must "each is marked" [ "$(grep -l '^X-Spamd-Bar: ' "$T/here.mail/user/new/"* | wc -l)" = 201 ]
	must "no complaint" not grep -q milter-failed "$T/here.log"
}

it filters_rspamd_dkim "rspamd finds valid what we have signed, and not what was changed afterwards"
filters_rspamd_dkim() {
	keys
	begin_rspamd dkim "127.0.0.1:$port"
	serve here "milter = inet:127.0.0.1:$port" "check_dkim = no"
	printf 'From: A <a@example.org>\nTo: b@here.test\nSubject:   two  blanks\n folded\n\n \tbody  \n\n' >"$T/plain"
	"$fardel" dkim-sign -c "$T/dkim.conf" "$T/plain" >"$T/signed" 2>"$T/sign.why" || fail "dkim-sign: $(cat "$T/sign.why")"
	within 200 "an answer by rspamd" inject -p "$(port_of here)" -f a@client.test -t user@here.test -m "$T/signed" 2>/dev/null
	within 30 "the message" arrived here user 1
	must "each holds: $(cat "$(mail here user)")" [ "$(grep -c '^[[:blank:]]*dkim=pass .*header.d=example.org' "$(mail here user)")" = "$nkeys" ]
	sed 's/body/Body/' "$T/signed" >"$T/changed"
	must "a changed one" inject -p "$(port_of here)" -f a@client.test -t sender@here.test -m "$T/changed"
	within 30 "the changed one" arrived here sender 1
	must "none holds: $(cat "$(mail here sender)")" [ "$(grep -c 'dkim=pass' "$(mail here sender)")" = 0 ]
	has "dkim=fail" "$(mail here sender)"
}

begin_opendkim() { # begin_opendkim NAME SETTING...
	need opendkim opendkim
	name=$1
	shift
	for setting in "Socket local:$T/$name.sock" "Syslog no" "PidFile $T/$name.pid" "AuthservID filter.test" "UserID $(id -un)" "RequireSafeKeys false" "$@"; do
		echo "$setting"
	done >"$T/$name.dkim"
	begin "$name" env LD_LIBRARY_PATH="$libraries:$tree/usr/lib" "$tree/usr/sbin/opendkim" -f -x "$T/$name.dkim"
	within 20 "the socket of opendkim: $(cat "$T/$name.log")" is_socket "$T/$name.sock"
}
it filters_opendkim "what OpenDKIM signs behind us we find valid, and what we sign it finds valid, behind a filter that changed the message"
filters_opendkim() {
	keys
	sed 's/ TXT / /; s/" "//g; s/"//g' "$T/dns.zone" >"$T/public"
	begin_opendkim signs "Mode s" "Domain example.org" "Selector rsa" "KeyFile $T/rsa.key" "Canonicalization relaxed/simple" "InternalHosts 127.0.0.1"
	begin_opendkim checks "Mode v" "TestPublicKeys $T/public"
	begin_python
	sink there
	serve here "milter = unix:$T/filter.sock" "milter = unix:$T/signs.sock" "check_dkim = no" "route = * smtp://127.0.0.1:$port"
	mail_of theirs 'X-Do: body fields\r\n'
	sed -i 's/a@client.test/a@example.org/' "$T/theirs"
	must "taken" inject -p "$(port_of here)" -f a@example.org -t x@there.test -m "$T/theirs"
	within 30 "the message" took there 1
	has '^DKIM-Signature: ' "$T/there/"*data
	verdict "$T/there/"*data >"$T/said" || fail "$(cat "$T/said"): $(cat "$T/there/"*data)"
	has '^pass d=example.org s=rsa' "$T/said"
	grep '^dkim_key' "$T/dkim.conf" >"$T/keys.conf"
	free_port
	sender_port=$port
	serve last "milter = unix:$T/checks.sock" "check_dkim = no"
	config first "listen = unix://$T/first.sock" "milter = unix:$T/filter.sock" "route = * smtp://127.0.0.1:$(port_of last)"
	cat "$T/keys.conf" >>"$T/first.conf"
	start first
	mail_of ours 'X-Do: body fields\r\n'
	sed -i 's/a@client.test/a@example.org/' "$T/ours"
	must "handed in" speak "$T/first.sock" a@example.org user@last.test "$T/ours"
	within 30 "the message" arrived last user 1
	has '^X-Added: at the end' "$(mail last user)"
	has '^another body' "$(mail last user)"
	must "OpenDKIM believes each: $(cat "$(mail last user)")" [ "$(grep -c 'dkim=pass' "$(mail last user)")" = "$nkeys" ]
}
# speak SOCKET FROM TO FILE: SMTP over a local socket.
speak() {
	/usr/bin/python3 - "$@" <<-'END'
	import smtplib, socket, sys
	class Local(smtplib.SMTP):
	    def _get_socket(self, host, port, timeout):
	        s = socket.socket(socket.AF_UNIX)
	        s.connect(sys.argv[1])
	        return s
	with Local("local", 25) as s:
	    s.sendmail(sys.argv[2], [sys.argv[3]], open(sys.argv[4], "rb").read())
	END
}

it filters_sendmail "what sendmail reads is shown to filters of users where a local socket listens, whoever calls it; a filter of smtp alone sees none of it"
filters_sendmail() {
	begin_python
	serve here "listen = unix://$T/here.sock" "milter = unix:$T/filter.sock"
	here=$pid
	mail_of fields 'X-Do: fields\r\n'
	mail_of refuse 'X-Do: refuse\r\n'
	must "sendmail" send here -f sender@here.test user@here.test <"$T/fields"
	within 30 "the message" arrived here user 1
	has '^X-First: one' "$(mail here user)"
	status_is 77 send here -f sender@here.test user@here.test <"$T/refuse" 2>"$T/said"
	has '554 5.7.77 refused, says the filter' "$T/said"
	sed -i 's|^milter = .*|& for=smtp|' "$T/here.conf"
	kill -HUP "$here"
	within 20 "the settings" grep -q 'in force now: milter' "$T/here.log"
	must "sendmail" send here -f sender@here.test user@here.test <"$T/refuse"
	within 30 "what no filter has seen" arrived here user 2
	# a filter, and nobody to hand it to: it is kept
	kill "$here"
	within 20 "its end" gone "$here"
	sed -i 's| for=smtp$||' "$T/here.conf"
	must "sendmail without a server" send here -f sender@here.test user@here.test <"$T/fields"
	start here
	within 30 "what was laid down" arrived here user 3
}

it check_asks_filters_and_lists "fardel check calls each filter, looks for the test entries of each list, and says what is wrong with them and what to do"
check_asks_filters_and_lists() {
	begin_python
	printf '%s\n' '2.0.0.127.good.test A 127.0.0.2' '2.0.0.127.all.test A 127.0.0.2' '1.0.0.127.all.test A 127.0.0.2' 'gone.test A 192.0.2.1' \
		'2.0.0.127.both.test A 127.0.0.4' '2.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.both.test A 127.0.0.2' 'test.names.test A 127.0.0.2' \
		'2.0.0.127.angry.test A 127.255.255.254' >"$T/dns.zone"
	fakedns dns
	dns=$port
	free_port
	empty=$port
	config here "resolver = 127.0.0.1:$dns" "milter = unix:$T/filter.sock" "milter = unix:$T/none.sock" "milter = inet:127.0.0.1:$empty" "milter = inet:127.0.0.1:$dns for=smtp" \
		"milter_default_action = accept"
	for list in good.test "both.test=127.0.0.2 3" all.test gone.test angry.test; do echo "dnsbl = $list"; done >>"$T/here.conf"
	printf 'rhsbl = names.test\nrhsbl = none.test\n' >>"$T/here.conf"
	mailboxes here postmaster
	must "notes are no errors" "$fardel" check -c "$T/here.conf" >"$T/said" 2>&1
	has "^milter unix:$T/filter.sock answers$" "$T/said"
	has "here.conf:[0-9]*: note: milter: unix:$T/none.sock: No such file or directory: mail is taken without it meanwhile" "$T/said"
	has "here.conf:[0-9]*: note: milter: inet:127.0.0.1:$empty: Connection refused" "$T/said"
	has '^dnsbl good.test works, for IPv4 alone$' "$T/said"
	has '^dnsbl both.test works, for IPv6, too$' "$T/said"
	has 'here.conf:[0-9]*: note: dnsbl: all.test: everything is on it\..*Or take it out' "$T/said"
	has 'note: dnsbl: gone.test: its test entry is not there' "$T/said"
	has 'note: dnsbl: angry.test: it refuses our questions' "$T/said"
	has '^rhsbl names.test works$' "$T/said"
	has 'note: rhsbl: none.test: its test entry is not there' "$T/said"
	sed "s/^resolver = .*/resolver = 127.0.0.1:9/" "$T/here.conf" >"$T/other.conf"
	"$fardel" check -c "$T/other.conf" >"$T/said" 2>&1
	has '^dnsbl good.test cannot be tried: no resolver answers$' "$T/said"
}
