# Many, and slow.

it thousand_sessions "1,000 sessions are held open while mail flows, and all of them still answer"
thousand_sessions() {
	may_open 1100
	serve here
	mkfifo "$T/fifo"
	"$tools/crowd" idle "$(port_of here)" 1000 <"$T/fifo" >"$T/crowd" &
	holder=$!
	started="$started $holder"
	exec 5>"$T/fifo"
	within 60 "1,000 sessions" grep -q ' of 1000' "$T/crowd"
	has '^1000 of 1000' "$T/crowd"
	must "mail flows" inject -p "$(port_of here)" -n 50 -s 5 -t user@here.test
	within 30 "50 messages" arrived here user 50
	exec 5>&-
	wait $holder || fail "not all sessions answer"
}

it five_thousand_recipients "a message with 5,000 recipients goes out in one transaction"
five_thousand_recipients() {
	sink there
	serve here "route = * smtp://127.0.0.1:$port"
	must "it is taken" inject -p "$(port_of here)" -f sender@here.test -t 'u%d@there.test' -R 5000
	drained here 60
	must "all in one" grep -q 'TOOK 5000' "$T/there/log"
	must "once" took there 1
}

it slow_client "a client that sends octet by octet is served, and others do not wait for it"
slow_client() {
	serve here
	mailboxes here slow
	begin slow "$tools/inject" -b -p "$(port_of here)" -t slow@here.test -n 3
	slow=$pid
	must "others" inject -p "$(port_of here)" -n 20 -t user@here.test
	within 30 "theirs" arrived here user 20
	wait $slow || fail "the slow one: $(cat "$T/slow.log")"
	within 30 "its messages" arrived here slow 3
}

it message_size "what is larger than message_size is refused, announced or not"
message_size() {
	serve here 'message_size = 100k'
	{ printf 'X-E2E: x\n\n'; head -c 300000 /dev/zero | tr '\0' x | fold -b -w 70; echo; } | sed 's/$/\r/' >"$T/large"
	inject -p "$(port_of here)" -m "$T/large" -t user@here.test 2>"$T/said" && fail "it was taken"
	has '^inject: 552 5.3.4' "$T/said"
	must "nothing of it stays" queue_empty here
}
