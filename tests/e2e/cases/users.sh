# Local users: their homes, their rules, and the process that starts children as them. As root, with accounts that this case alone sees.

# people: $fardel is run where anna, ben, and toor (another root) have accounts, in a mount namespace of its own; its own account is fardel.
people() {
	[ "$(id -u)" = 0 ] || skip "accounts of our own need root"
	unshare -m true 2>/dev/null || skip "no mount namespaces here"
	command -v runuser >/dev/null 2>&1 || skip "runuser is not there"
	mkdir "$T/home"
	cat >"$T/passwd" <<-END
		root:x:0:0:root:/root:/bin/sh
		toor:x:0:0:root, too:$T/home/toor:/bin/sh
		fardel:x:64100:64100::/nonexistent:/bin/false
		anna:x:64101:64101::$T/home/anna:/bin/sh
		ben:x:64102:64102::$T/home/ben:/bin/sh
		away:x:64103:64103::$T/home/away:/bin/sh
		unmounted:x:64104:64104::$T/home/unmounted:/bin/sh
	END
	sed 's/^\([a-z]*\):x:[0-9]*:\([0-9]*\):.*/\1:x:\2:/' "$T/passwd" | grep -v toor >"$T/group"
	echo 'passwd: files' >"$T/nsswitch.conf"
	mkdir "$T/home/anna" "$T/home/ben" "$T/home/toor" "$T/home/unmounted"
	chown 64101:64101 "$T/home/anna"
	chown 64102:64102 "$T/home/ben"
	chmod 700 "$T/home/anna" "$T/home/ben"
	cat >"$T/inside" <<-END
		#!/bin/sh
		exec unshare -m sh -c 'for f in passwd group nsswitch.conf; do [ ! -e /etc/\$f ] || mount --bind "\$0/\$f" /etc/\$f || exit 1; done; exec "\$@"' "$T" "\$@"
	END
	cat >"$T/run" <<-END
		#!/bin/sh
		exec "$T/inside" "$fardel" "\$@"
	END
	chmod 755 "$T/inside" "$T/run"
	fardel=$T/run
}
# homes [SETTING...]: a server whose users live in homes; its process is in $here.
homes() {
	people
	config here "user = fardel" "mailbox = ~/Maildir/" "log_level = debug" "$@"
	[ -e "$T/here.aliases" ] || echo "root: anna" >"$T/here.aliases"
	start here
	here=$pid
}
to() { inject -p "$(port_of here)" -f sender@here.test -t "$1@here.test"; }
in_home() { [ "$(files "$T/home/$1/Maildir/new")" = "$2" ]; }
nobody_left() { [ -z "$(ours)" ]; }
hear() { within "${2:-20}" "the log has \"$1\"" grep -q -- "$1" "$T/here.log"; }

it users_get_their_mail_as_themselves "mailbox = ~/Maildir/: mail lies in the homes, made by the users themselves; root, other roots and nobody get none"
users_get_their_mail_as_themselves() {
	homes
	"$fardel" mkmailbox -c "$T/here.conf" ben >"$T/said" || fail "mkmailbox: $(cat "$T/said")"
	[ "$(stat -c %u "$T/home/ben/Maildir/new")" = 64102 ] || fail "mkmailbox makes another's"
	status_is 67 "$fardel" mkmailbox -c "$T/here.conf" toor 2>"$T/said"
	"$fardel" alias -c "$T/here.conf" root >"$T/said" 2>&1
	has "$T/home/anna/Maildir" "$T/said"
	printf 'EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<anna@here.test>\r\nRCPT TO:<zoe@here.test>\r\nQUIT\r\n' | "$fardel" inetd -c "$T/here.conf" >"$T/said" 2>/dev/null
	has '^250 2.1.5' "$T/said"
	has '^550 5.1.1' "$T/said"
	for who in anna ben root; do
		must "mail for $who is taken" to $who
	done
	within 20 "anna's mail, and root's" in_home anna 2
	within 20 "ben's mail" in_home ben 1
	[ "$(find "$T/home/anna/Maildir" ! -user 64101 | wc -l)" = 0 ] || fail "not all of it is anna's"
	[ "$(stat -c %a "$T/home/anna/Maildir")" = 700 ] || fail "others may look into it"
	status_is 1 to nobody-here >"$T/said"
	for who in toor unmounted away; do
		to $who >>"$T/said" 2>&1
	done
	must "uid 0 is refused for the time being" [ ! -e "$T/home/toor/Maildir" ]
	must "no home is made" [ ! -e "$T/home/away" ]
	must "a place for a disk stays empty" [ ! -e "$T/home/unmounted/Maildir" ]
	pgrep -P "$here" >/dev/null || fail "there are no helpers"
	end "$here"
	within 10 "the end of all processes" nobody_left
}

it users_without_a_mailbox_are_named "accounts that nobody made a mailbox for are named by check, and by the sendmail of who writes to them"
users_without_a_mailbox_are_named() {
	real=$fardel
	people
	chmod 755 "$T"
	serve here "user = fardel" "listen = unix://$T/door/submit" # which is not there
	mailboxes here anna
	echo "ben: anna" >"$T/here.aliases"
	"$fardel" check -c "$T/here.conf" >"$T/check" 2>&1
	has 'note: mailbox: accounts .* neither a mailbox nor an alias: away unmounted\. .* fardel mkmailbox away unmounted,' "$T/check"
	printf 'Subject: x\n\nx\n' >"$T/mail"
	[ "$(stat -c %u:%a "$T/door")" = 64100:755 ] || fail "the directory of the socket is not made for all"
	status_is 67 "$T/inside" runuser -u ben -- "$real" sendmail -C "$T/here.conf" away nobody-here anna <"$T/mail" 2>"$T/said"
	has '^sendmail: away@here.test: .* 550 5.1.1 no such user here\. The account has no mailbox yet: `fardel mkmailbox`' "$T/said"
	has '^sendmail: nobody-here@here.test: .* 550 5.1.1 no such user here$' "$T/said"
	within 20 "anna's" arrived here anna 1
}

it users_cannot_turn_their_mail_on_others "a Maildir that is a link to another's, a FIFO in its place, a home of root's: the mail waits, and nobody else gets anything"
users_cannot_turn_their_mail_on_others() {
	homes
	must "mail for ben is taken" to ben
	within 20 "ben's mail" in_home ben 1
	ln -s "$T/home/ben/Maildir" "$T/home/anna/Maildir"
	"$fardel" check -c "$T/here.conf" >"$T/check" 2>&1
	has "error: mailbox: $T/home/anna/Maildir is a symbolic link" "$T/check"
	must "mail for anna is taken" to anna
	hear 'mailbox of anna: a symbolic link or no directory'
	must "ben has nothing of hers" in_home ben 1
	rm "$T/home/anna/Maildir"
	mkfifo "$T/home/anna/Maildir"
	hear 'deferred'
	rm "$T/home/anna/Maildir"
	"$fardel" queue retry --yes -c "$T/here.conf" all >/dev/null 2>&1
	within 30 "anna's mail" in_home anna 1
	mkfifo "$T/home/anna/Maildir/new/fifo"
	ln "$(ls "$T"/home/ben/Maildir/new/*)" "$T/home/anna/Maildir/new/hard" 2>/dev/null
	must "mail for anna is taken" to anna
	within 20 "beside a FIFO and a hard link" in_home anna 4
}

# The common name that the server shows.
shown() {
	python3 - "$(port_of here)" <<-'END'
		import smtplib, ssl, sys
		c = ssl.create_default_context()
		c.check_hostname = False
		c.verify_mode = ssl.CERT_NONE
		s = smtplib.SMTP("127.0.0.1", int(sys.argv[1]))
		s.starttls(context=c)
		print(ssl.DER_cert_to_PEM_cert(s.sock.getpeercert(True)))
	END
}
shows() { shown | openssl x509 -noout -subject 2>/dev/null | grep -q "$1"; }
pair() { openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=$1" -keyout "$T/keys/key.pem" -out "$T/keys/cert.pem" 2>/dev/null || fail "no certificate"; }

it users_keys_of_root_are_read_again "a certificate and its key that only root can reach: shown, and shown anew when they are renewed, by a server that is root no more"
users_keys_of_root_are_read_again() {
	needs_here openssl version
	needs_here python3 -c 'import ssl'
	mkdir -m 700 "$T/keys"
	pair old.test
	homes "tls_certificate = $T/keys/cert.pem" "tls_key = $T/keys/key.pem"
	grep '^Uid:' "/proc/$here/status" | grep -qw 0 && fail "it is still root"
	within 20 "the certificate" shows old.test
	pair new.test
	within 20 "the renewed one" shows new.test
	"$fardel" check -c "$T/here.conf" >"$T/check" 2>&1
	grep 'mailbox' "$T/check" && fail "check finds fault with the homes"
	return 0
}

it users_forward_their_mail "forward = yes: a .forward file sends mail on, by the user's own rules; circles end, unsafe ones wait, root's is not looked at"
users_forward_their_mail() {
	sink there
	homes "forward = yes" "route = there.test smtp://127.0.0.1:$port"
	printf '# mine\nben, outside@there.test\n\\anna\n' >"$T/home/anna/.forward"
	printf 'anna\n' >"$T/home/ben/.forward"
	chown 64101:64101 "$T/home/anna/.forward"
	chown 64102:64102 "$T/home/ben/.forward"
	must "mail for anna is taken" to anna
	within 20 "her copy" in_home anna 1
	within 20 "the one outside" took there 1
	drained here
	must "anna's .forward and ben's are a circle: ben gets none of it" [ ! -d "$T/home/ben/Maildir/new" ]
	has '^Delivered-To: anna@here.test' "$(ls "$T"/home/anna/Maildir/new/*)"

	echo anna >"$T/home/anna/.forward"      # himself
	must "mail for anna+shop is taken" to anna+shop
	within 20 "her own mailbox" in_home anna 2

	chmod 666 "$T/home/anna/.forward"
	must "mail for anna is taken" to anna
	hear '.forward: may be written by others'
	rm "$T/home/anna/.forward"
	mkfifo "$T/home/anna/.forward"
	hear '.forward: is no regular file'
	rm "$T/home/anna/.forward"
	truncate -s 1G "$T/home/anna/.forward"
	chown 64101:64101 "$T/home/anna/.forward"
	hear '.forward: is larger than 16 KiB'
	rm "$T/home/anna/.forward"
	ln -s /etc/passwd "$T/home/anna/.forward"
	hear '.forward: is a symbolic link'
	rm "$T/home/anna/.forward"
	echo ':include:/etc/passwd' >"$T/home/anna/.forward"
	chown 64101:64101 "$T/home/anna/.forward"
	hear 'A .forward file may not include others'
	rm "$T/home/anna/.forward"
	within 30 "what waited" in_home anna 3
	drained here
}

it users_run_commands_as_themselves "pipes = yes: commands get the mail as the user or pipe_user, without a shell, and their exit status is the result"
users_run_commands_as_themselves() {
	cat >"$T/command" <<-'END'
		#!/bin/sh
		out=$1
		shift
		{
			id -u; id -G; pwd
			for word; do printf "<%s>\n" "$word"; done
			echo "$SENDER $RECIPIENT $ORIGINAL_RECIPIENT $LOCAL $DOMAIN $EXTENSION $HOME $USER $LOGNAME $SHELL $PATH"
			ls /proc/self/fd | wc -l
			cat
		} >"$out"
	END
	cat >"$T/exits" <<-'END'
		#!/bin/sh
		echo "a line of output"
		echo "and another" >&2
		[ "$1" = kill ] && kill -9 $$
		exit "$1"
	END
	chmod 755 "$T/command" "$T/exits"
	mkdir -m 1777 "$T/spool"
	cat >"$T/here.aliases" <<-END
		root: anna
		staff: "|$T/command $T/spool/staff 'a b' \\\\\"c\\\\\" d\\\\\\\\e"
		no: "|$T/exits 67"
		never: "|$T/exits 1"
		later: "|$T/exits 75"
		killed: "|$T/exits kill"
		none: "|/no/such/command"
		shell: "|cat > $T/spool/shell"
	END
	homes "forward = yes" "pipes = yes" "pipe_user = ben"
	printf '\\anna, "|%s/command mine"\n' "$T" >"$T/home/anna/.forward"
	chown 64101:64101 "$T/home/anna/.forward"
	must "mail for anna is taken" to anna+shop
	within 20 "her mail" in_home anna 1
	within 20 "her command" test -s "$T/home/anna/mine"
	within 20 "its result" grep -q 'given to the command of anna' "$T/here.log"
	printf '64101\n64101\n%s\n' "$T/home/anna" >"$T/wanted"
	head -n 3 "$T/home/anna/mine" | cmp -s - "$T/wanted" || fail "as whom: $(head -n 3 "$T/home/anna/mine")"
	has "^sender@here.test anna+shop@here.test anna+shop@here.test anna here.test shop $T/home/anna anna anna /bin/sh /usr/local/bin:/usr/bin:/bin\$" "$T/home/anna/mine"
	[ "$(sed -n 5p "$T/home/anna/mine")" = 4 ] || fail "it has other files open: $(sed -n 5p "$T/home/anna/mine")"
	has '^Return-Path: <sender@here.test>$' "$T/home/anna/mine"
	has '^Delivered-To: anna+shop@here.test$' "$T/home/anna/mine"
	grep -q "$(printf '\r')" "$T/home/anna/mine" && fail "it has carriage returns"

	must "mail for staff is taken" to staff
	within 20 "the command of staff" test -s "$T/spool/staff"
	within 20 "its result" grep -q 'given to the command of staff' "$T/here.log"
	[ "$(stat -c %u "$T/spool/staff")" = 64102 ] || fail "not as ben"
	printf '<a b>\n<"c">\n<d\\e>\n' >"$T/wanted"
	sed -n '/^</p' "$T/spool/staff" | cmp -s - "$T/wanted" || fail "its words: $(sed -n '/^</p' "$T/spool/staff")"

	for who in no never later killed none shell; do
		must "mail for $who is taken" to $who
	done
	hear 'failed .*no|1.*550 5.1.1 the command of no has failed, exit status 67 (no such user): a line of output and another'
	hear 'failed .*never|1.*554 5.3.0 the command of never has failed, exit status 1: a line of output'
	hear 'deferred .*later|1.*451 4.3.0 the command of later has failed, exit status 75'
	hear 'deferred .*killed|1.*451 4.3.0 the command of killed was ended by signal 9'
	hear 'deferred .*none|1.*451 4.3.5 the command of none cannot be run: /no/such/command: No such file'
	hear 'deferred .*shell|1.*451 4.3.5 the command of shell cannot be run: it has signs for a shell'
	status_is 1 inject -p "$(port_of here)" -f sender@here.test -t '"staff|1"@command.localhost' >"$T/said"
	status_is 1 inject -p "$(port_of here)" -f sender@here.test -t '"staff|1"@here.test' >"$T/said"
	sed -i "s|/no/such/command|$T/exits 0|" "$T/here.aliases"
	hear 'given to the command of none' 40
	end "$here"
	sed -i 's/^pipes = yes/pipes = no/' "$T/here.conf"
	start here
	hear 'deferred .*later|1.*451 4.3.5 commands are not run here any more' 40
}

it users_have_folders_and_a_quota "anna+lists goes into her folder .lists; a mailbox that is full takes no more: 452 for strangers, the rest waits, or goes back"
users_have_folders_and_a_quota() {
	config here "detail_folders = yes" "mailbox_quota = 2k" "spf = off" "check_dkim = no" "check_sender = no"
	mailboxes here anna ben
	mkdir "$T/here.mail/anna/.lists" "$T/here.mail/anna/.lists/sub"
	start here
	here=$pid
	must "mail for anna+lists is taken" to anna+lists
	within 20 "the folder" test -d "$T/here.mail/anna/.lists/new"
	within 20 "mail in it" arrived here anna/.lists 1
	for detail in shop . .. ../ben lists/sub; do
		must "mail for anna+$detail is taken" to "\"anna+$detail\""
	done
	within 20 "mail for other details" arrived here anna 5
	[ "$(files "$T/here.mail/ben/new")" = 0 ] || fail "ben has anna's mail"
	has '^2048S$' "$T/here.mail/anna/maildirsize"
	for n in 1 2 3 4 5 6 7 8; do
		must "mail for anna is taken" to anna
	done
	hear 'deferred .*452 4.2.2 the mailbox of anna is full'
	end "$here"
	echo 'mailbox_full = refuse' >>"$T/here.conf"
	start here
	here=$pid
	hear 'failed .*552 5.2.2 the mailbox of anna is full' 40
	end "$here"
	echo 'relay_from =' >>"$T/here.conf"
	start here
	here=$pid
	printf '2048S\n2048 9\n' >"$T/here.mail/anna/maildirsize"
	to anna >"$T/said" 2>&1
	has '552 5.2.2 the mailbox is full' "$T/said"
	must "ben's is not" to ben
}

# Children of the server that are root.
root_helper() { for p in $(pgrep -P "$here"); do [ "$(stat -c %u /proc/"$p" 2>/dev/null)" = 0 ] && echo "$p"; done; }

check_says() {
	"$fardel" check -c "$T/here.conf" >"$T/check" 2>&1
	grep -q -- "$1" "$T/check"
}

it users_lose_nothing_when_the_root_process_dies "kill -9 of the process that stays root, and then of the server, in the middle of a delivery: what runs ends, nothing is lost, and only what ran then may come twice"
users_lose_nothing_when_the_root_process_dies() {
	mkdir -m 1777 "$T/spool"
	cat >"$T/slow" <<-END
		#!/bin/sh
		cat >/dev/null
		echo run >>$T/spool/runs
		until [ -e $T/go ]; do sleep 0.1; done
		echo done >>$T/spool/runs
	END
	chmod 755 "$T/slow"
	printf 'root: anna\nslow: "|%s/slow"\n' "$T" >"$T/here.aliases"
	homes "pipes = yes" "pipe_user = ben"
	must "mail for slow is taken" to slow
	within 20 "the command" test -s "$T/spool/runs"
	kill -9 "$(root_helper)"
	hear 'the process that starts deliveries as users has ended'
	must "mail for anna is taken" to anna
	hear 'deferred .*to=anna@here.test .*the process that starts them has ended. Start the server again'
	within 10 "check says so" check_says 'has no process that could deliver as another user'
	: >"$T/go"
	hear 'given to the command of slow'
	[ "$(grep -c run "$T/spool/runs")" = 1 ] || fail "it ran more than once"
	end "$here"
	start here
	here=$pid
	within 30 "anna's mail" in_home anna 1
	drained here

	rm "$T/go" "$T/spool/runs"
	must "mail for anna is taken" to anna
	within 20 "anna's mail" in_home anna 2
	drained here                    # what is delivered and not yet written down at a kill may come again
	must "mail for slow is taken" to slow
	within 20 "the command" test -s "$T/spool/runs"
	end "$here" KILL
	start here
	here=$pid
	[ "$(cat "$T/spool/runs")" = run ] || fail "it was begun again beside the first one"
	: >"$T/go"
	drained here 60
	[ "$(grep -c run "$T/spool/runs")" -le 2 ] || fail "it ran more than twice"
	must "anna has each message once" in_home anna 2
}

it users_commands_without_root "pipes = yes without root at the start: commands of the server's own account alone are run, though it has shut itself in"
users_commands_without_root() {
	mkdir -m 1777 "$T/spool"
	chmod 777 "$T"
	if [ "$(id -u)" = 0 ]; then
		printf '#!/bin/sh\nexec setpriv --reuid 65534 --regid 65534 --clear-groups "%s" "$@"\n' "$fardel" >"$T/run"
		chmod 755 "$T/run"
		fardel=$T/run
	fi
	printf '#!/bin/sh\n{ id -u; cat; } >%s/spool/out\n' "$T" >"$T/command"
	chmod 755 "$T/command"
	printf 'mine: "|%s/command"\nothers: "|%s/command"\n' "$T" "$T" >"$T/here.aliases"
	[ "$(id -u)" = 0 ] && chown 65534 "$T/here.aliases"
	config here "pipes = yes"
	"$fardel" newaliases -c "$T/here.conf" 2>&1 | grep -q mkmailbox && fail "a command needs no mailbox"
	start here
	here=$pid
	must "mail for the command is taken" to mine
	hear 'given to the command of mine'
	[ "$(head -n 1 "$T/spool/out")" != 0 ] || fail "it was run as root"
	end "$here"
	[ "$(id -u)" = 0 ] || return 0
	echo 'pipe_user = daemon' >>"$T/here.conf"
	start here
	here=$pid
	must "mail for the other command is taken" to others
	hear 'deferred .*others|1.*no delivery can be started as daemon: Operation not permitted'
}

# From anna@good.test, whom SPF knows; more options of inject behind.
stranger() { inject -p "$(port_of here)" -f anna@good.test -t "$@"; }
of_home() { find "$T/home/$1/Maildir/$2" -type f 2>/dev/null | grep -c '/\(new\|cur\)/'; }
# judging: homes whose mailboxes decide.
judging() {
	cat >"$T/dns.zone" <<-'END'
	good.test MX 10 mx.good.test
	good.test TXT "v=spf1 ip4:127.0.0.1 -all"
	mx.good.test A 192.0.2.1
	END
	fakedns dns
	homes "resolver = 127.0.0.1:$port" "relay_from = 192.0.2.0/24" "judge = refuse" "first_time_delay = 0" "$@"
	for n in 1 2 3; do
		printf 'From: Anna <anna@good.test>\r\nSubject: x\r\nMessage-ID: <%s@good.test>\r\n\r\ncheap pills %s\r\n' $n $n >"$T/$n"
	done
}
children_of() { for p in $(ours); do grep -q "^Uid:[[:space:]]*$1[[:space:]]" "/proc/$p/status" 2>/dev/null && echo "$p"; done; }

it users_homes_decide_who_comes_in "judge = refuse with mailboxes in homes: the user's own child reads and writes what his mailbox remembers, and keeps what was refused; a home that hangs or is full of traps knows nobody"
users_homes_decide_who_comes_in() {
	judging "content_filter = yes" "user_rules = yes"
	inbox=$T/home/anna/Maildir
	must "the first one" stranger anna@here.test -m "$T/1"
	within 20 "the message" in_home anna 1
	has '^X-Fardel-Reason: no-bad-signals; id=' "$(ls "$inbox"/new/*)"
	has '^+ [0-9]* [0-9a-f]* no-bad-signals anna@good.test fm ' "$inbox/fardel.history"
	mkdir -p "$inbox/.Junk/cur"
	mv "$inbox"/new/* "$inbox/.Junk/cur/1:2,S"
	chown -R 64101 "$inbox/.Junk"
	status_is 1 stranger anna@here.test -m "$T/2" >"$T/said" 2>&1
	grep -q '451 4.7.1 ' "$T/said" || fail "what is junk gets $(cat "$T/said")"
	must "words are learnt" [ -s "$inbox/fardel.words" ]
	[ "$(of_home anna .Rejects)" = 1 ] || fail "Rejects holds $(of_home anna .Rejects)"
	[ -z "$(find "$inbox" ! -user 64101)" ] || fail "not all is hers: $(find "$inbox" ! -user 64101)"
	must "ben does not mind" stranger ben@here.test -m "$T/2"
	within 20 "his message" in_home ben 1
	status_is 1 "$fardel" judge -c "$T/here.conf" --ip 127.0.0.1 --helo h.test --from anna@good.test --to anna@here.test "$T/2" >"$T/said"
	has '^refuse msgfromfull 451 4.7.1 ' "$T/said"
	has '^reputation: junk, conclusive, by msgfromfull' "$T/said"

	for p in $(children_of 64101); do
		kill -STOP "$p"
	done
	must "a home that hangs: it is taken" stranger anna@here.test -m "$T/3"
	hear 'memory-hangs.*looking into the mailbox took more than 5 s, as anna'
	must "and the next one at once" stranger anna@here.test -m "$T/3"
	within 20 "both of them" in_home anna 2
	must "nobody else is held up" stranger ben@here.test -m "$T/1"
	end "$here"

	kept=$(find "$inbox/.Rejects/new" -type f)
	mv "$kept" "$inbox/cur/$(basename "$kept"):2,S"
	rm "$inbox"/new/*
	start here
	here=$pid
	must "what was rescued" stranger anna@here.test -m "$T/2"
	within 20 "the message" in_home anna 1
	has '^X-Fardel-Reason: msgfromfull; id=' "$(ls "$inbox"/new/*)"

	echo kept >"$T/secret"
	chmod 600 "$T/secret"
	for trap in "mkfifo fardel.history" "ln -s $T/secret fardel.history" "ln -s $T/secret fardel.words" "mkdir fardel.words" "mkfifo .Rejects" "truncate -s 1T fardel.history"; do
		(cd "$inbox" && rm -rf fardel.history fardel.words .Rejects && $trap && chown -h 64101 fardel.* .Rejects) 2>/dev/null
		must "taken in spite of $trap" stranger anna@here.test -m "$T/3"
	done
	[ "$(cat "$T/secret")" = kept ] || fail "it was written through a link"
	drained here                    # a rule holds for what is still on its way, too
	echo 'verified=good.test folder=Lists allow' >"$inbox/fardel.rules"
	chown 64101 "$inbox/fardel.rules"
	must "hers is the rule" stranger anna@here.test -m "$T/3"
	within 20 "it is in her folder" sh -c '[ "$(ls "$1" | wc -l)" = 1 ]' - "$inbox/.Lists/new" 2>/dev/null
	has '^X-Fardel-Reason: list-allow; id=' "$(ls "$inbox"/.Lists/new/*)"
	[ -z "$(find "$inbox/.Lists" ! -user 64101)" ] || fail "the folder is not all hers"
	drained here
	kill -0 "$here" || fail "it is not there any more"
}

it users_full_homes_are_known_at_rcpt "mailbox_quota with mailboxes in homes: who brings more is told at RCPT; a home that cannot be looked into is not full"
users_full_homes_are_known_at_rcpt() {
	judging "mailbox_quota = 4K" "mailbox_full = refuse"
	printf '%070d\r\n' $(seq 20) >>"$T/1"
	must "there is room" stranger anna@here.test -m "$T/1"
	within 20 "it" in_home anna 1
	rm "$T/home/anna/Maildir/maildirsize"
	cp "$T"/home/anna/Maildir/new/* "$T/home/anna/Maildir/cur/more:2,"
	chown 64101 "$T/home/anna/Maildir/cur/more:2,"
	status_is 1 stranger anna@here.test -m "$T/2" >"$T/said" 2>&1
	grep -q '552 5.2.2 ' "$T/said" || fail "it hears $(cat "$T/said")"
	must "ben has room" stranger ben@here.test -m "$T/2"
	mkdir "$T/away"
	mv "$T/home/ben" "$T/away/"
	must "a home that is not there" stranger ben@here.test -m "$T/2"
	mv "$T/away/ben" "$T/home/"
	within 20 "ben's mail" in_home ben 2
}

it mailbox_that_cannot_be_seen "mail for a mailbox that cannot be looked into is put off, and the log says what is in the way"
mailbox_that_cannot_be_seen() {
	serve here
	echo 'no directory' >"$T/here.mail/odd"
	must "put off" not inject -p "$(port_of here)" -t odd@here.test 2>"$T/said"
	has '451 4.3.0 cannot look the mailbox up now' "$T/said"
	has ' warn mailbox user=odd error="mailbox of odd: .*Not a directory" remedy=' "$T/here.log"
	must "others get theirs" inject -p "$(port_of here)" -t user@here.test
	within 20 "the message" arrived here user 1
}
