# Mail comes in from other people's programs.

it smtp_source_to_maildir "Postfix's smtp-source submits 100 messages over 10 sessions, and all lie in the Maildir"
smtp_source_to_maildir() {
	need_postfix
	serve here
	must "smtp-source" of_tree timeout 60 "$tree/usr/sbin/smtp-source" -s 10 -m 100 -l 3000 -f a@source.test -t user@here.test "inet:127.0.0.1:$(port_of here)"
	within 30 "all 100 messages" arrived here user 100
	drained here
}

it smtp_source_to_sink "the same 100 for elsewhere reach the server there once each"
smtp_source_to_sink() {
	need_postfix
	sink there
	serve here "route = * smtp://127.0.0.1:$port"
	must "smtp-source" of_tree timeout 60 "$tree/usr/sbin/smtp-source" -s 10 -m 100 -N -f a@source.test -t user@there.test "inet:127.0.0.1:$(port_of here)"
	drained here
	must "all 100 are there" took there 100
}

it swaks_submits "swaks submits to two recipients with an attachment"
swaks_submits() {
	need_swaks
	swaks=$tree/usr/bin/swaks
	perl "$swaks" --version >/dev/null 2>&1 || skip "swaks needs more of perl than is installed"
	serve here
	head -c 100000 /dev/urandom >"$T/picture"
	must "swaks" timeout 60 perl "$swaks" --server 127.0.0.1 --port "$(port_of here)" --from a@swaks.test --to user@here.test,sender@here.test \
		--header 'X-Kind: swaks' --attach-type image/png --attach "@$T/picture" --body 'Hello'
	within 20 "the message for user" arrived here user 1
	within 20 "the message for sender" arrived here sender 1
	has '^X-Kind: swaks' "$(mail here user)"
	has '^Delivered-To: user@here.test' "$(mail here user)"
	has '^Return-Path: <a@swaks.test>' "$(mail here user)"
}

it strangers_may_not_relay "who is not in relay_from reaches local users alone"
strangers_may_not_relay() {
	serve here "relay_from = 192.0.2.0/24"
	must "local mail is taken" inject -p "$(port_of here)" -f sender@here.test -t user@here.test
	inject -p "$(port_of here)" -f sender@here.test -t user@elsewhere.test 2>"$T/said" && fail "it was relayed"
	has '^inject: 550 5.7.1' "$T/said"
	inject -p "$(port_of here)" -f sender@here.test -t nobody-here@here.test 2>"$T/said" && fail "an unknown user was taken"
	has '^inject: 550 5.1.1' "$T/said"
	within 20 "the message" arrived here user 1
}
