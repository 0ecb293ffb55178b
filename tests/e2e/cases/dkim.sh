# DKIM beside others: what we sign they believe, what they sign we believe, and neither believes what was changed.

need_opendkim() { need opendkim opendkim; }
need_dkimpy() {
	need dkimpy python3-dkim python3-nacl python3-cffi-backend
	[ -x /usr/bin/python3 ] || skip "no /usr/bin/python3 here"
	dkimpy verify /dev/null /dev/null >/dev/null 2>&1 || skip "python3-dkim does not run with this python3"
}
dkimpy() { LD_LIBRARY_PATH=$libraries PYTHONPATH=$tree/usr/lib/python3/dist-packages PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 tests/e2e/dkimpy.py "$@"; }

# keys: of RSA and, where it is built in, of Ed25519 for example.org; their records in $T/dns.zone, the settings in $T/dkim.conf; $nkeys of them.
keys() {
	: >"$T/dns.zone"
	nkeys=0
	for kind in rsa ed25519; do
		"$fardel" dkim-key -t $kind example.org "$kind" "$T/$kind.key" >"$T/$kind.record" 2>"$T/$kind.why" || {
			[ $kind = ed25519 ] && grep -q libsodium "$T/$kind.why" && continue
			fail "dkim-key: $(cat "$T/$kind.why")"
		}
		# the record as a zone file has it, without the brackets
		sed -n '1s/^\([^ ]*\)\. IN TXT ( \(.*\) )$/\1 TXT \2/p' "$T/$kind.record" >>"$T/dns.zone"
		must "mode of the key" [ "$(stat -c %a "$T/$kind.key")" = 600 ]
		echo "dkim_key = example.org $kind $T/$kind.key" >>"$T/dkim.conf"
		nkeys=$((nkeys + 1))
	done
	fakedns dns
	echo "resolver = 127.0.0.1:$port" >>"$T/dkim.conf"
}
# messages: some with everything that canonical forms are about, LF at the ends of lines.
messages() {
	mkdir "$T/m"
	base='From: A <a@example.org>\nTo: b@example.net\nDate: Fri, 11 Jul 2003 21:00:37 -0700\nMessage-ID: <1@x>\nMIME-Version: 1.0\n'
	printf "${base}Subject: plain\n\nHello\n" >"$T/m/plain"
	printf "${base}Subject:   folded\n \t and \t so\n\ton\n\nHello  \t there \n \n\t\n" >"$T/m/blanks"
	printf "${base}Subject: empty\n\n" >"$T/m/empty"
	printf "${base}Subject: lines\n\n\n\n\n" >"$T/m/lines"
	printf "${base}Subject: leading\n\n\n\nx\n\n\ny\n\n\n" >"$T/m/leading"
	printf "${base}Subject : blank before the colon\nX-A: 1\nX-A: 2\n\n.\n..\n" >"$T/m/colon"
	{ printf "${base}Subject: long\n\n"; head -c 300000 /dev/zero | tr '\0' 'x' | fold -w 900; echo; } >"$T/m/long"
}
verdict() { "$fardel" dkim-verify -c "$T/dkim.conf" "$1" 2>>"$T/verify.log"; }

it dkim_ours_is_believed_by_others "what dkim-sign signs, python3-dkim and OpenDKIM find valid, and not when it was changed"
dkim_ours_is_believed_by_others() {
	keys
	messages
	for m in plain blanks empty lines leading colon long; do
		"$fardel" dkim-sign -c "$T/dkim.conf" "$T/m/$m" >"$T/$m.signed" 2>"$T/$m.why" || fail "dkim-sign $m: $(cat "$T/$m.why")"
		verdict "$T/$m.signed" >"$T/$m.ours" || fail "we do not believe $m: $(cat "$T/$m.ours")"
		must "$m: all of ours hold" [ "$(grep -c '^pass d=example.org ' "$T/$m.ours")" = $nkeys ]
	done
	# the same with a word more in the body
	{ cat "$T/plain.signed"; printf 'PS\r\n'; } >"$T/more"
	status_is 65 verdict "$T/more" >"$T/more.ours"
	must "no pass" [ "$(grep -c '^fail ' "$T/more.ours")" = $nkeys ]
	need_dkimpy
	for m in plain blanks empty lines leading long; do      # a blank before a colon is no mail to it
		dkimpy verify "$T/dns.zone" "$T/$m.signed" >"$T/$m.dkimpy" 2>&1
		must "python3-dkim believes $m: $(cat "$T/$m.dkimpy")" [ "$(grep -c '^pass$' "$T/$m.dkimpy")" = $nkeys ]
	done
	dkimpy verify "$T/dns.zone" "$T/more" >"$T/more.dkimpy" 2>&1
	must "python3-dkim does not believe more" [ "$(grep -c '^pass$' "$T/more.dkimpy")" = 0 ]
	need_opendkim
	sed 's/ TXT / /; s/" "//g; s/"//g' "$T/dns.zone" >"$T/public"
	printf 'Mode v\nTestPublicKeys %s\nSyslog no\n' "$T/public" >"$T/opendkim.conf"
	for m in plain blanks leading colon long; do
		LD_LIBRARY_PATH=$libraries:$tree/usr/lib "$tree/usr/sbin/opendkim" -x "$T/opendkim.conf" -vv -t "$T/$m.signed" >"$T/$m.opendkim" 2>&1 ||
			skip "opendkim does not run here: $(tail -n 1 "$T/$m.opendkim")"
		must "OpenDKIM believes $m: $(cat "$T/$m.opendkim")" [ "$(grep -c 'dkim=pass' "$T/$m.opendkim")" = $nkeys ]
	done
}

it dkim_theirs_is_believed_by_us "what python3-dkim signs in each canonical form, dkim-verify finds valid, and not when it was changed"
dkim_theirs_is_believed_by_us() {
	keys
	messages
	need_dkimpy
	command -v openssl >/dev/null 2>&1 || skip "no openssl here to write the key as python3-dkim wants it"
	openssl rsa -in "$T/rsa.key" -traditional -out "$T/rsa.pkcs1" 2>/dev/null || skip "openssl does not write PKCS#1"
	[ $nkeys = 2 ] && openssl pkey -in "$T/ed25519.key" -outform DER 2>/dev/null | tail -c 32 | base64 >"$T/ed25519.seed"
	for m in plain blanks empty lines leading long; do
		sed 's/$/\r/' "$T/m/$m" >"$T/$m.crlf"
		for canon in simple/simple simple/relaxed relaxed/simple relaxed/relaxed; do
			dkimpy sign "$T/rsa.pkcs1" rsa example.org $canon rsa-sha256 <"$T/$m.crlf" >"$T/field" || fail "python3-dkim signs nothing"
			cat "$T/field" "$T/$m.crlf" >"$T/theirs"
			verdict "$T/theirs" >"$T/said" || fail "$m in $canon: $(cat "$T/said")"
			[ $nkeys = 2 ] || continue
			dkimpy sign "$T/ed25519.seed" ed25519 example.org $canon ed25519-sha256 <"$T/$m.crlf" >"$T/field" || fail "python3-dkim signs nothing"
			cat "$T/field" "$T/$m.crlf" >"$T/theirs"
			verdict "$T/theirs" >"$T/said" || fail "$m in $canon, Ed25519: $(cat "$T/said")"
		done
	done
	sed 's/xxx/xXx/' "$T/theirs" >"$T/changed"
	status_is 65 verdict "$T/changed" >"$T/said"
	has '^fail ' "$T/said"
}

it dkim_by_hand "dkim-key writes no key over another, dkim-verify says first what it found and tells by its status"
dkim_by_hand() {
	keys
	messages
	cp "$T/rsa.key" "$T/before"
	status_is 73 "$fardel" dkim-key example.org rsa "$T/rsa.key" >/dev/null 2>&1
	must "the key is as it was" cmp -s "$T/rsa.key" "$T/before"
	must "nothing is left beside it" [ "$(ls "$T"/rsa.key* | wc -l)" = 1 ]
	"$fardel" dkim-key -p example.org rsa "$T/rsa.key" | cmp - "$T/rsa.record" || fail "-p shows another record"
	status_is 64 "$fardel" dkim-key example rsa "$T/x" 2>/dev/null
	status_is 64 "$fardel" dkim-key -b 512 example.org rsa "$T/x" 2>/dev/null
	status_is 65 verdict "$T/m/plain" >"$T/said"
	has '^none: ' "$T/said"
	"$fardel" dkim-sign -c "$T/dkim.conf" - <"$T/m/plain" >"$T/signed" 2>/dev/null || fail "dkim-sign -"
	"$fardel" dkim-verify -c "$T/dkim.conf" "$T/signed" >/dev/null 2>"$T/noise"
	must "it says nothing else" [ ! -s "$T/noise" ]
	must "-" sh -c '"$1" dkim-verify -c "$2" - <"$3" >/dev/null' - "$fardel" "$T/dkim.conf" "$T/signed"
	sed 's/s=rsa/s=gone/; s/s=ed25519/s=gone/' "$T/signed" >"$T/gone"
	status_is 65 verdict "$T/gone" >"$T/said"
	has '^permerror d=example.org s=gone .*there is no key at gone._domainkey.example.org' "$T/said"
	status_is 75 "$fardel" dkim-verify -o 'resolver = 127.0.0.1:9' "$T/signed" >"$T/said" 2>/dev/null
	has '^temperror ' "$T/said"
	sed 's/@example.org/@elsewhere.test/' "$T/m/plain" >"$T/other"
	status_is 78 "$fardel" dkim-sign -c "$T/dkim.conf" "$T/other" 2>"$T/said"
	has '^unsigned: ' "$T/said"
	status_is 66 verdict "$T/nothing" 2>/dev/null
}

# all_hold FILE: as many good signatures as there are keys, and no other.
all_hold() {
	verdict "$1" >"$T/said" || fail "$1: $(cat "$T/said"): $(head -c 3000 "$1")"
	must "all signatures of $1 hold" [ "$(grep -c '^pass d=example.org ' "$T/said")" = "$nkeys" ]
	must "no other" [ "$(grep -c . "$T/said")" = "$nkeys" ]
}

it dkim_sent_mail_is_signed "what sendmail and a drop file send, and reports, leave signed by the author's domain, what is of another one as it is"
dkim_sent_mail_is_signed() {
	keys
	sink there -r 'no=550 5.1.1 no such user'
	serve here "hostname = mail.example.org" "local_domains = example.org" "route = * smtp://127.0.0.1:$port"
	grep '^dkim_key' "$T/dkim.conf" >>"$T/here.conf"
	end "$pid"
	must "the settings are fine" sh -c '"$1" check -c "$2" >"$3" 2>&1' - "$fardel" "$T/here.conf" "$T/checked"
	start here
	printf 'From: user@example.org\nSubject: one\n\nfirst\n' | must "sendmail" send here x@there.test
	within 20 "the one of sendmail" took there 1
	printf 'From: user@example.org\nTo: y@there.test\nSubject: two\n\n' >"$T/here.queue/tmp/two"
	head -c 200000 /dev/urandom | base64 >>"$T/here.queue/tmp/two"
	mv "$T/here.queue/tmp/two" "$T/here.queue/new/two"
	within 20 "the dropped one" took there 2
	printf 'From: user@elsewhere.test\nSubject: three\n\nthird\n' | must "sendmail" send here z@there.test
	within 20 "one of another domain" took there 3
	for data in "$T"/there/*.data; do
		if grep -q '^Subject: three' "$data"; then
			must "no key is for elsewhere" [ "$(grep -ci '^dkim-signature' "$data")" = 0 ]
		else
			all_hold "$data"
		fi
	done
	# a report about what is refused, to a user here
	printf 'From: user@example.org\nSubject: four\n\nfourth\n' | must "sendmail" send here -f user@example.org no@there.test
	within 20 "the report" arrived here user 1
	all_hold "$(mail here user)"
	drained here
}

it results_in_our_name_are_nobody_elses "what strangers and local programs say in our name is taken out with all checks off; a server of ours may say it"
results_in_our_name_are_nobody_elses() {
	printf 'From: a@example.org\r\nSubject: one\r\nAuthentication-Results: (x) HERE.test 1; dkim=pass\r\n header.d=bank.example\r\nAuthentication-Results: there.test; none\r\n\r\nbody\r\n' >"$T/mail"
	set -- "spf = off" "check_dkim = no" "check_iprev = no" "dmarc = off" "judge = off" "check_sender = no" "greeting_delay_ms = 0"
	serve here "relay_from = 192.0.2.0/24" "$@"
	must "a stranger's is taken" inject -p "$(port_of here)" -f a@example.org -t user@here.test -m "$T/mail"
	within 20 "the stranger's" arrived here user 1
	must "sendmail" send here -f user@here.test sender@here.test <"$T/mail"
	within 20 "the program's" arrived here sender 1
	for user in user sender; do
		tr -d '\r' <"$(mail here $user)" >"$T/got"
		has '^Authentication-Results: there.test; none' "$T/got"
		must "nothing of the forged one is left for $user" [ "$(grep -ci 'bank.example\|HERE.test 1' "$T/got")" = 0 ]
	done
	serve there "hostname = here.test" "relay_from = 127.0.0.0/8" "$@"
	must "our server's is taken" inject -p "$(port_of there)" -f a@example.org -t user@here.test -m "$T/mail"
	within 20 "our server's" arrived there user 1
	has 'HERE.test 1; dkim=pass' "$(mail there user)"
	drained here
	drained there
}

it dkim_is_checked_on_arrival "mail of a stranger bears what came of its signatures, and nothing that he has written in our name"
dkim_is_checked_on_arrival() {
	keys
	echo 'example.org A 127.0.0.1' >>"$T/dns.zone"
	fakedns dns
	serve here "resolver = 127.0.0.1:$port" "relay_from = 192.0.2.0/24" "greeting_delay_ms = 0"
	printf 'From: a@example.org\nSubject: one\n\nfirst\n' >"$T/one"
	"$fardel" dkim-sign -c "$T/dkim.conf" "$T/one" >"$T/signed" 2>/dev/null || fail "dkim-sign"
	{ printf 'Authentication-Results: here.test; dkim=pass\r\n header.d=bank.example\r\nAuthentication-Results: there.test; none\r\n'; cat "$T/signed"; } >"$T/mail"
	must "the message is taken" inject -p "$(port_of here)" -f a@example.org -t user@here.test -m "$T/mail"
	within 20 "the message" arrived here user 1
	tr -d '\r' <"$(mail here user)" >"$T/got"
	must "all signatures passed" [ "$(grep -c '^.dkim=pass .* header.d=example.org ' "$T/got")" = $nkeys ]
	must "one field is ours" [ "$(grep -c '^Authentication-Results: here.test;' "$T/got")" = 1 ]
	has '^Authentication-Results: there.test; none' "$T/got"
	must "nothing of the forged one is left" [ "$(grep -c bank.example "$T/got")" = 0 ]
	has ' received .*dkim="\{0,1\}pass:example.org' "$T/here.log"
	sed 's/^first/First/' "$T/signed" >"$T/mail"
	must "a changed one is taken, too" inject -p "$(port_of here)" -f a@example.org -t sender@here.test -m "$T/mail"
	within 20 "the changed one" arrived here sender 1
	must "and is said to fail" [ "$(grep -c '^.dkim=fail' "$(mail here sender)")" = $nkeys ]
	drained here
}
