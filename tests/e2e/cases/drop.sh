# A file that is written to queue/tmp and renamed to queue/new is mail.

drop() { # drop NAME <content
	cat >"$T/here.queue/tmp/$1" && mv "$T/here.queue/tmp/$1" "$T/here.queue/new/$1"
}
set_aside() { [ -s "$T/here.queue/bad/$1.why" ] && [ ! -e "$T/here.queue/new/$1" ]; }

it drops_are_delivered "a plain message and one below MAIL FROM and RCPT TO lines are delivered"
drops_are_delivered() {
	serve here
	printf 'From: a@here.test\nTo: user@here.test\nBcc: sender@here.test\nSubject: plain\n\nHello\n.\nworld\n' | drop plain
	within 20 "the plain one" arrived here user 1
	within 20 "its blind copy" arrived here sender 1
	has '^world' "$(mail here user)"
	must "Bcc is gone" [ "$(grep -ci '^bcc' "$(mail here user)")" = 0 ]
	rm "$T/here.mail/"*/new/*
	printf 'MAIL FROM:<b@here.test>\nRCPT TO:<user@here.test>\nRCPT TO:<sender@here.test>\n\nTo: nobody@elsewhere.test\nSubject: envelope\n\nHello\n' | drop envelope
	within 20 "the one with an envelope" arrived here user 1
	within 20 "and its second" arrived here sender 1
	has '^Return-Path: <b@here.test>' "$(mail here user)"
	must "nothing is left" [ "$(files "$T/here.queue/new")" = 0 ]
	drained here
}

it drop_is_a_copy "a writer who keeps the file open and scribbles into it changes nothing any more"
drop_is_a_copy() {
	sink there -r 'u=450 4.2.0 not yet'
	first=$pid
	there=$port
	serve here "route = there.test smtp://127.0.0.1:$port"
	exec 5>"$T/here.queue/tmp/open"
	printf 'From: a@here.test\nTo: u@there.test\nX-E2E: kept\n\nas it was\n' >&5
	mv "$T/here.queue/tmp/open" "$T/here.queue/new/open"
	within 20 "the drop is taken" grep -q ' deferred ' "$T/here.log"
	printf 'scribble\n' >&5
	exec 5>&-
	end "$first"
	mkdir "$T/again"
	begin again "$tools/sink" -p "$there" "$T/again"
	drained here
	original "$T/again/"*.data | tr -d '\r' >"$T/got"
	grep -q scribble "$T/got" && fail "the scribble was sent"
	has '^as it was' "$T/got"
}

it drops_for_flush "flush takes drops in, too"
drops_for_flush() {
	config here
	mailboxes here user
	must "a first flush makes the directories" flush here
	printf 'To: user@here.test\nSubject: x\n\nHello\n' | drop one
	must "flush" flush here
	must "delivered" arrived here user 1
}

it hostile_drops_are_set_aside "a broken file goes to bad/ with its reason; links, a FIFO and a directory are refused; the next drop still goes"
hostile_drops_are_set_aside() {
	serve here
	new=$T/here.queue/new
	tmp=$T/here.queue/tmp
	printf 'MAIL FROM:<a@here.test>\nRCPT TO:<two words@here.test>\n\nx\n' | drop broken
	printf 'Subject: for nobody\n\nx\n' | drop nobody
	: | drop empty
	printf 'To: user@here.test\n\nsecret\n' >"$T/secret"
	ln -s "$T/secret" "$tmp/link" && mv "$tmp/link" "$new/link"
	printf 'To: user@here.test\n\nsecret\n' >"$tmp/first" && ln "$tmp/first" "$new/hard"
	mkfifo "$tmp/fifo" && mv "$tmp/fifo" "$new/fifo"
	mkdir "$tmp/dir" && mv "$tmp/dir" "$new/dir"
	for name in broken nobody empty link hard fifo dir; do
		within 20 "$name set aside with its reason" set_aside $name
	done
	has 'symbolic link' "$T/here.queue/bad/link.why"
	has 'hard link' "$T/here.queue/bad/hard.why"
	has 'regular file' "$T/here.queue/bad/fifo.why"
	printf 'To: user@here.test\n\nx\n' | drop good
	within 20 "the good one alone" arrived here user 1
	grep -q secret "$(mail here user)" && fail "a link was followed"
	return 0
}
