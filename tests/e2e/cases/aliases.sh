# Aliases: names that stand for others, from the file to the mailbox.

# A file that was written just now is left alone for two seconds.
settled() { touch -d "@$(($(date +%s) - 5))" "$1"; }
aliases() { # aliases NAME LINE...
	name=$1
	shift
	for line in "$@"; do printf '%s\n' "$line"; done >"$T/$name.aliases.new"
	settled "$T/$name.aliases.new"
	mv "$T/$name.aliases.new" "$T/$name.aliases"
}
to_port() { inject -p "$(port_of "$1")" -f sender@here.test -t "$2" 2>"$T/said"; }
says() { # says STATUS PATTERN COMMAND...
	status=$1
	pattern=$2
	shift 2
	"$@" >"$T/said" 2>&1
	got=$?
	[ $got = "$status" ] || fail "exit status $got, not $status: $* ($(head -c 600 "$T/said"))"
	has "$pattern" "$T/said"
}

it alias_of_root "what cron sends to root lands in an ordinary user's mailbox, whichever way it comes in"
alias_of_root() {
	config here
	aliases here "postmaster: root" "root: user"
	mailboxes here user
	start here
	printf 'From: root\nSubject: cron\n\noutput\n' | send here root || fail "sendmail"
	within 20 "cron's mail" arrived here user 1
	has '^Delivered-To: user@here.test' "$(mail here user)"
	has '^Delivered-To: root@here.test' "$(mail here user)"
	must "by SMTP, to root with a detail" to_port here root+cron@here.test
	must "to postmaster" to_port here postmaster
	within 20 "both" arrived here user 3
	drained here
	end $pid
	has ' expanded .* to=root@here.test into=[0-9a-f]* ' "$T/here.log"
	printf 'Subject: no daemon\n\n' | send here root || fail "sendmail"
	must "flush" flush here
	within 1 "the fourth" arrived here user 4
}

it alias_list "a list goes to mailboxes, elsewhere and to those in an included file, with its owner as the sender; each gets one copy"
alias_list() {
	sink there
	config here "route = there.test smtp://127.0.0.1:$port"
	printf '# the rest\nsender, \\user\nfar@there.test\n' >"$T/list"
	aliases here "staff: user, far@there.test," "	:include:$T/list" "owner-staff: postmaster" "sales: user, far@there.test"
	mailboxes here user sender postmaster
	start here
	inject -p "$(port_of here)" -f a@there.test -t staff@here.test -t sales@here.test || fail "it was not taken"
	drained here
	must "one for user of the list, one of sales" arrived here user 2
	must "one for sender" arrived here sender 1
	must "two transactions there" took there 2
	has 'MAIL FROM:<owner-staff@here.test>' "$T/there/log"
	has 'MAIL FROM:<a@there.test>' "$T/there/log"
	has '^Return-Path: <owner-staff@here.test>' "$(mail here sender)"
	printf 'far2@there.test\n' >"$T/list"
	settled "$T/list"
	must "the file is read again" inject -p "$(port_of here)" -f a@there.test -t staff@here.test
	drained here
	has 'far2@there.test' "$T/there/log"
}

it alias_circle "an alias that leads back to itself is refused at RCPT and reported once; so is mail that two servers send to each other"
alias_circle() {
	config far
	config here "route = far.test smtp://127.0.0.1:$(port_of far)"
	echo "route = here.test smtp://127.0.0.1:$(port_of here)" >>"$T/far.conf"
	aliases here "one: two" "two: one" "away: away@far.test"
	aliases far "away: away@here.test"
	mailboxes here user sender
	mailboxes far user
	start here
	start far
	to_port here one@here.test && fail "a circle was taken"
	has '554 5.4.6' "$T/said"
	printf 'Subject: x\n\n' | send here -f sender@here.test two || fail "sendmail"
	within 20 "the report" arrived here sender 1
	has '^Status: 5.4.6' "$(mail here sender)"
	must "the first round is taken" to_port here away@here.test
	within 20 "the second report" arrived here sender 2
	drained here
	drained far
	must "no third one" arrived here sender 2
	says 78 ':1: the alias one leads back to itself' "$fardel" newaliases -c "$T/here.conf"
}

it alias_file_changes "the file counts as it is now; one with an error keeps what was read before, and says so once, with file, line and remedy"
alias_file_changes() {
	config here "relay_from ="
	mailboxes here user sender
	start here
	to_port here root@here.test && fail "root was taken"
	has '550 5.1.1' "$T/said"
	aliases here "root: user"
	must "the alias is there" to_port here root@here.test
	aliases here "root: user" "x y z"
	must "the old one stays" to_port here root@here.test
	must "and stays" to_port here root@here.test
	[ "$(grep -c ' error aliases .*here.aliases:2: has no colon' "$T/here.log")" = 1 ] || fail "it is not said once: $(cat "$T/here.log")"
	says 78 'here.aliases:2: has no colon. Write NAME: TARGET' "$fardel" newaliases -c "$T/here.conf"
	says 78 'here.aliases:2: error: has no colon' "$fardel" check -c "$T/here.conf"
	ln -s "$fardel" "$T/newaliases"
	aliases here "root: user" "pipe: |prog" "lost: :include:$T/no-list"
	says 0 'newaliases: note: .*here.aliases:2: |prog: commands are not run' env FARDEL_CONF="$T/here.conf" "$T/newaliases"
	has '^3 names in .*: fine. Nothing has to be built' "$T/said"
	if [ "$(id -u)" = 0 ]; then
		says 0 'newaliases: note: .*here.aliases:2: |prog: the file is root.s, .* set pipe_user' "$fardel" newaliases -c "$T/here.conf" -o 'pipes = yes' -o 'user = nobody'
		"$fardel" newaliases -c "$T/here.conf" -o 'pipes = yes' -o 'user = nobody' -o 'pipe_user = nobody' 2>&1 | grep 'prog:' && fail "pipe_user does not help"
	fi
	to_port here pipe@here.test && fail "a command was taken"
	has '451 4.3.5' "$T/said"
	to_port here lost@here.test && fail "a list that is not there was taken"
	has '451 4.3.0' "$T/said"
	echo user >"$T/no-list"
	settled "$T/no-list"
	must "the list has come" to_port here lost@here.test
	drained here
	end $pid
	rm "$T/here.aliases"
	start here
	to_port here root@here.test && fail "there is no alias any more"
	end $pid
	aliases here "broken"
	start here
	to_port here user@here.test && fail "nobody knows who user is now"
	has '451 4.3.0' "$T/said"
	aliases here "fine: user"
	must "it was mended" to_port here user@here.test
	says 0 'note: aliases: root has no alias and no mailbox' "$fardel" check -c "$T/here.conf"
}

it alias_virtual "a domain of the table of virtual users has those users and no others, by name, with details, or all of them"
alias_virtual() {
	config here "relay_from =" "virtual = $T/virtual"
	printf 'info@shop.test: user\npost@shop.test user, sender@here.test\n@other.test: sender\nann@other.test: user\n' >"$T/virtual"
	mailboxes here user sender
	start here
	must "info" to_port here info@shop.test
	must "with a detail" to_port here Info+x@Shop.Test
	must "two" to_port here post@shop.test
	must "all others" to_port here anybody@other.test
	must "but one" to_port here ann@other.test
	to_port here nobody@shop.test && fail "nobody was taken"
	has '550 5.1.1' "$T/said"
	to_port here user@shop.test && fail "a mailbox of another domain was taken"
	must "postmaster is everywhere" to_port here postmaster@shop.test
	drained here
	must "user's mail" arrived here user 4
	must "sender's mail" arrived here sender 2
	must "postmaster's mail" [ "$(files "$T/here.queue/postmaster/new")" = 1 ]
	end $pid
	echo "broken@shop.test" >>"$T/virtual"
	start here
	to_port here info@shop.test && fail "who is info?"
	has '451 4.3.0' "$T/said"
	end $pid
	rm "$T/virtual"
	says 78 'here.conf:[0-9]*: virtual = .*: No such file' "$fardel" serve -c "$T/here.conf"
}

it alias_details "anna+detail is anna, unless there is a mailbox of the whole name"
alias_details() {
	config here
	mailboxes here user user+own
	start here
	must "a detail" to_port here user+shop@here.test
	must "one that no mailbox can have" to_port here user+me=x@here.test
	must "a mailbox of its own" to_port here user+own@here.test
	to_port here nobody+x@here.test && fail "nobody was taken"
	has '550 5.1.1' "$T/said"
	drained here
	must "user's mail" arrived here user 2
	must "the other's" arrived here user+own 1
}

it alias_tells "fardel alias tells step by step who gets mail for an address; why and the log follow it through the queue"
alias_tells() {
	free_port
	config here "route = far.test smtp://127.0.0.1:$port" "retry_first = 1h" "retry_max = 1h"
	aliases here "# names" "root: team" "team: user, far@far.test, \\lost"
	mailboxes here user
	says 0 '^user@here.test: no alias; mailbox .*/here.mail/user' "$fardel" alias -c "$T/here.conf" user
	says 1 'no alias; nobody' "$fardel" alias -c "$T/here.conf" nobody@here.test
	says 0 'no alias; by smtp://127.0.0.1' "$fardel" alias -c "$T/here.conf" x@far.test
	says 64 'is no address' "$fardel" alias -c "$T/here.conf" a@b@c
	says 1 '^  team: an alias, .*here.aliases:3' "$fardel" alias -c "$T/here.conf" root
	has '^It stands for several addresses:' "$T/said"
	has 'user@here.test: mailbox' "$T/said"
	has 'far@far.test: by smtp' "$T/said"
	has 'lost@here.test: nobody' "$T/said"
	aliases here "root: team" "team: user, far@far.test"
	printf 'Subject: x\n\n' | send here -f user root x@far.test || fail "sendmail"
	flush here
	must "user's" arrived here user 1
	says 0 'root@here.test was an alias: sent on as [0-9a-f]*, to 2 recipients' "$fardel" why -c "$T/here.conf" x@far.test
	says 0 'sent on by alias for root@here.test; the message itself is or was [0-9a-f]*' "$fardel" why -c "$T/here.conf" root@here.test
	has 'to far@far.test' "$T/said"
	says 0 'far@far.test' "$fardel" mailq -c "$T/here.conf"
}
