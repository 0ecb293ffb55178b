# "Why is this mail still here?"

why() { "$fardel" why -c "$T/home.conf" "$@" >"$T/said" 2>&1; }

it why_tells "why says who waits, what came, what it means, what is next and what can be done; by id, address and domain"
why_tells() {
	free_port
	config home "route = * smtp://127.0.0.1:$port" "retry_first = 1h" "retry_max = 1h"
	mailboxes home user
	printf 'Subject: x\n\ntext\n' | send home -f user@home.test user@home.test b@y.test c@z.test || fail "sendmail"
	must "an answer" why
	has 'not been tried yet' "$T/said"
	flush home
	for about in b@y.test Y.TEST "$(sed -n 's/^\([0-9a-f]*\), .*/\1/p' "$T/said" | cut -c 1-10)"; do
		must "an answer about $about" why "$about"
		has 'to b@y.test' "$T/said"
		has 'what came   connect to .*: Connection refused' "$T/said"
		has 'this means  the recipient.s computer is there' "$T/said"
		has 'next        tried again .*(in [0-9hmin ]*)' "$T/said"
		has 'told that it takes longer .*(in 3 h 59 min)\|told that it takes longer .*(in 4 h 0 min)' "$T/said"
		has 'given up .*(in 4 d 23 h)\|given up .*(in 5 d 0 h)' "$T/said"
		has "fardel queue retry -c $T/home.conf" "$T/said"
		has '1 of 3 recipients have got it' "$T/said"
	done
	status_is 1 why nobody@y.test
	must "where it went" why user@home.test
	has "what came   maildir said: 250" "$T/said"
	must "where mail of that name went" why user
	has "what came   maildir said: 250" "$T/said"
	must "who of that name still waits" why B
	has 'to b@y.test' "$T/said"
	status_is 1 why nobody
	has 'is about "nobody"' "$T/said"
	status_is 64 why a b
	status_is 64 why ""
}

it why_tells_what_is_tried_now "while the other side is waited for, why says that it is being tried"
why_tells_what_is_tried_now() {
	needs_here python3 -c 'import socket'
	begin silent python3 -c 'import socket, time; s = socket.create_server(("127.0.0.1", 0)); print("port", s.getsockname()[1], flush=True); time.sleep(300)'
	said_port silent
	serve home "route = * smtp://127.0.0.1:$port"
	printf 'Subject: x\n\ntext\n' | send home -f user@home.test b@y.test || fail "sendmail"
	tried_now() { why && grep -q 'now  *it is being tried, or waits for its turn: 1 connection to there' "$T/said"; }
	within 10 "that it is being tried" tried_now
}

it why_of_our_own_faults "where no resolver answers, why says that this host is to blame, and that the lifetime may not be the end"
why_of_our_own_faults() {
	serve home
	for to in b c; do
		printf 'Subject: x\n\ntext\n' | send home -f user@home.test $to@elsewhere.test || fail "sendmail"
		within 20 "the first is put off" grep -q ' deferred .*to=b@elsewhere.test' "$T/home.log"
	done
	blamed() { why c@elsewhere.test && grep -q 'down by a fault of this host or its settings' "$T/said"; }
	within 10 "whose fault it is" blamed
	has 'given up .* at the earliest; then its sender' "$T/said"
}

it queue_does_what_why_offers "queue shows what it would do and does it when told so: hold, release, retry and drop, for a message or for one destination of it"
queue_does_what_why_offers() {
	free_port
	config home "route = y.test smtp://127.0.0.1:$port" "route = z.test smtp://127.0.0.1:$port" "retry_first = 1h" "retry_max = 1h"
	printf 'Subject: x\n\ntext\n' | send home -f user@home.test b@y.test c@x.test || fail "sendmail"
	flush home
	do_queue() { "$fardel" queue "$@" -c "$T/home.conf" >"$T/did" 2>&1; }
	status_is 64 do_queue hold b@y.test </dev/null
	has 'hold [0-9a-f]* from <user@home.test> to b@y.test' "$T/did"
	has 'Nothing was done' "$T/did"
	must "why" why b@y.test
	grep -q 'on hold' "$T/said" && fail "held without being told so"
	must "hold" do_queue hold --yes y.test
	has '1 of 1 on hold' "$T/did"
	must "why" why y.test
	has 'on hold' "$T/said"
	has "fardel queue release -c $T/home.conf [0-9a-f]*" "$T/said"
	status_is 1 do_queue retry --yes y.test
	must "release" do_queue release --yes b@y.test
	has '1 of 1 released' "$T/did"
	must "retry" do_queue retry --yes all
	must "drop" do_queue drop --yes b@y.test
	has 'drop, without a word to the sender, ' "$T/did"
	must "drop" do_queue drop --yes all
	must "why" why
	has 'The queue is empty' "$T/said"
	status_is 1 do_queue drop --yes all
	status_is 64 do_queue drop
	status_is 64 do_queue burn all
}

it why_on_hold "why says of a message on hold that nothing happens to it"
why_on_hold() {
	free_port
	config home "route = * smtp://127.0.0.1:$port" "retry_first = 1h" "retry_max = 1h"
	printf 'Subject: x\n\ntext\n' | send home -f user@home.test b@y.test || fail "sendmail"
	flush home
	for name in "$T/home.queue/cur/"*; do
		mv "$name" "$(echo "$name" | sed 's/\.[0-9]*\.\([0-9a-f]*\)\.\([^.]*\.*[^/]*\)$/.H.\1.\2/')"
	done
	must "an answer" why b@y.test
	has 'on hold' "$T/said"
	has 'release it:  fardel queue release' "$T/said"
	has 'not given up before' "$T/said"
	grep -q 'then its sender gets a report' "$T/said" && fail "what is on hold is not given up"
	grep -q 'not counted as an attempt' "$T/said" && fail "it was counted; the name of what is on hold does not say so"
	"$fardel" mailq -c "$T/home.conf" | grep -q 'on hold, tries' && fail "mailq tells tries that it cannot know"
	:
}

it why_in_detail "why --verbose and queue show tell what was said when it was in vain, without the message; why alone does not"
why_in_detail() {
	sink there -d '451 4.7.1 come back later'
	config home "route = * smtp://127.0.0.1:$port" "retry_first = 1h" "retry_max = 1h"
	mailboxes home user
	printf 'Subject: private\n\nprivate\n' | send home -f user@home.test b@y.test || fail "sendmail"
	flush home
	must "an answer" why --verbose
	has 'in detail   > we said, < they said' "$T/said"
	has '^ *= .*127.0.0.1.*:[0-9]' "$T/said"
	has '^ *> EHLO home.test' "$T/said"
	has '^ *< 451 4.7.1 come back later' "$T/said"
	grep -q 'private' "$T/said" && fail "the message is told"
	must "an answer" why
	grep -q 'in detail' "$T/said" && fail "details without being asked"
	"$fardel" queue show -c "$T/home.conf" all >"$T/shown" || fail "queue show"
	has 'what was said to y.test:' "$T/shown"
	has '^    < 451 4.7.1 come back later' "$T/shown"
}

it why_a_report_waits "of more than a hundred reports at once the others wait for their turn, and why says so"
why_a_report_waits() {
	sink there -r 'b@=550 5.1.1 nobody' -r 'c@=450 4.2.0 later'
	serve home "route = * smtp://127.0.0.1:$port"
	printf 'Subject: x\n\ntext\n' | send home -N success -f user@x.test b@x.test c@x.test || fail "sendmail"
	has_failed() { why && grep -q '1 of 2 recipients have failed' "$T/said"; }
	within 30 "what nobody wants to hear of" has_failed
	must "no word of a report" [ "$(grep -c 'is to be told' "$T/said")" = 0 ]
	for n in $(seq 140); do
		printf 'Subject: x\n\ntext\n' | send home -f user@x.test b@x.test || fail "sendmail"
	done
	waits() { why && grep -q 'its sender is to be told of 1 of them' "$T/said"; }
	within 30 "a report that waits" waits
	has ' reports-wait ' "$T/home.log"
	has '1 of 1 recipients have failed' "$T/said"
}
