# Looking at the queue and changing it, many messages at a time.

queue() { "$fardel" queue "$@" -c "$T/home.conf" >"$T/did" 2>&1; }
# Three messages wait: two for y.test, one of them for z.test as well.
some_wait() {
	free_port
	config home "route = * smtp://127.0.0.1:$port" "retry_first = 1h" "retry_max = 1h" "$@"
	mailboxes home user other
	printf 'Subject: one\n\ntext\n' | send home -f user@home.test b@y.test c@z.test || fail "sendmail"
	printf 'Subject: two\n\ntext\n' | send home -f other@home.test b@y.test || fail "sendmail"
	printf 'Subject: three\n\ntext\n' | send home -f user@home.test d@x.test || fail "sendmail"
	# The host is down: each time one of them finds that out for all.
	for each in one two three; do flush home; done
}

it queue_chooses "queue list, show and shape show what is chosen: by sender, recipient, age, size and state"
queue_chooses() {
	some_wait
	must list queue list
	has '^3 messages in ' "$T/did"
	must list queue list --from user@home.test --to y.test
	has '^1 message in ' "$T/did"
	has '<user@home.test> to b@y.test' "$T/did"
	status_is 1 queue list --older 1d
	must list queue list --json --state deferred,due --domain x.test
	has '^{"queue_name": ".*"address": "d@x.test"' "$T/did"
	must show queue show d@x.test --body
	has 'put off: x.test by .*Connection refused' "$T/did"
	has '^text' "$T/did"
	must shape queue shape
	has '^all  *[3-4] ' "$T/did"
	must shape queue shape --json
	has '"destination": "x.test", "entries": 1' "$T/did"
	status_is 64 queue list --older soon
	has 'needs an age' "$T/did"
	status_is 64 queue drop
	has 'needs an id' "$T/did"
	status_is 64 queue drop --older 1d --colour red
	# What a script says whose variable is empty.
	status_is 64 queue drop "" --yes
	has 'needs an id' "$T/did"
	status_is 64 queue drop --from "" --yes
	status_is 64 queue -c "$T/home.conf"
	has 'what is to be done' "$T/did"
	must hold queue hold d@x.test --yes
	status_is 1 queue retry d@x.test --yes
	has '^Passed over: 1, on hold .*release' "$T/did"
	status_is 1 queue hold d@x.test --yes
	has 'on hold already' "$T/did"
	must release queue release d@x.test --yes
	status_is 64 queue drop all --reason "nobody would hear it" --yes
	has '^fardel queue: --reason goes with fail alone' "$T/did"
	status_is 64 queue hold all --json --yes
	status_is 64 queue drop --yes
	has '^fardel queue: drop needs an id' "$T/did"
	must "settings before the verb" "$fardel" queue -c "$T/home.conf" list >"$T/did"
	has '^3 messages in ' "$T/did"
}

it queue_fail_reports "queue fail makes the report now, for those who are meant alone, with a server that runs and without"
queue_fail_reports() {
	some_wait
	status_is 64 queue fail c@z.test --reason "on holiday for ever" </dev/null
	has 'to c@z.test$' "$T/did"
	must "nothing done" [ ! -e "$T/home.queue/orders" ]
	must fail queue fail c@z.test --reason "on holiday for ever" --yes
	has 'Nobody delivers from this queue now' "$T/did"
	start home
	within 20 "the report" arrived home user 1
	has 'c@z.test' "$(mail home user)"
	has 'on holiday for ever' "$(mail home user)"
	must "only for one" [ "$(grep -c '^Final-Recipient' "$(mail home user)")" = 1 ]
	must "the others wait" queue list
	has 'to b@y.test' "$T/did"
	must fail queue fail --from other@home.test --yes
	within 20 "the second report" arrived home other 1
	has 'given up by those who look after' "$(mail home other)"
	must hold queue hold --to x.test --yes
	must fail queue fail --to x.test --yes
	within 20 "the report about what was on hold" arrived home user 2
	within 5 "orders gone" sh -c "[ \$(ls '$T/home.queue/orders' | wc -l) -le 1 ]"
}

it queue_fail_by_hand "an order laid by hand is carried out like one of the program"
queue_fail_by_hand() {
	some_wait
	start home
	id=$("$fardel" queue list -c "$T/home.conf" --to x.test | sed -n 's/^\([0-9a-f]\{24\}\) .*/\1/p')
	mkdir -p "$T/home.queue/orders"
	echo 'fail * by hand' >"$T/home.queue/tmp/o"
	mv "$T/home.queue/tmp/o" "$T/home.queue/orders/$id"
	for name in "$T/home.queue/cur/"*"$id"*; do mv "$name" "$T/home.queue/cur/0.$(basename "$name" | cut -d. -f2-)"; done
	must "woken" flush home
	within 20 "the report" arrived home user 1
	has 'by hand' "$(mail home user)"
}

it queue_bulk "a change of 3,000 messages shows the first, needs --yes, and is done in one go"
queue_bulk() {
	config home "deliver = no"
	start home
	must "3,000 messages" inject -p "$(port_of home)" -t user@away.test -n 3000
	status_is 64 queue hold all </dev/null
	must "fifty lines and what is behind" [ "$(wc -l <"$T/did")" = 52 ]
	has '^... and so with 2950 more' "$T/did"
	must hold queue hold all --yes
	has '3000 of 3000 on hold' "$T/did"
	must shape queue shape
	has '^away.test  *3000 ' "$T/did"
	must drop queue drop --state held --yes
	within 30 "an empty queue" queue_empty home
}

it queue_reroutes "queue reroute sends what waits another way, with a server that runs and without; the settings still say how"
queue_reroutes() {
	some_wait
	sink there
	must reroute queue reroute --to x.test "smtp://127.0.0.1:$port" --yes
	has "send another way, now, [0-9a-f]* by smtp://127.0.0.1:$port from <user@home.test> to d@x.test" "$T/did"
	flush home
	must "the one that was sent another way" took there 1
	must "and no other" queue list
	has '^2 messages' "$T/did"
	status_is 64 queue reroute y.test smtp://a:b@127.0.0.1 --yes
	has 'a login' "$T/did"
	status_is 64 queue reroute mx --yes
	status_is 64 queue reroute y.test gopher://x --yes
	start home
	must reroute queue reroute --from other@home.test "127.0.0.1:$port" --yes
	within 20 "the second" took there 2
	must reroute queue reroute --to y.test "127.0.0.1:$port" --yes
	within 20 "the third" took there 3
	must show queue show
	has 'to  *c@z.test: waits' "$T/did"
	has 'order  *route y.test 127.0.0.1' "$T/did"
	must "a way that is none" sh -c "echo 'route * nonsense://x' >'$T/home.queue/tmp/o' && mv '$T/home.queue/tmp/o' '$T/home.queue/orders/'\$(ls '$T/home.queue/orders')"
	must retry queue retry all --yes
	within 20 "a complaint" sh -c "'$fardel' queue show -c '$T/home.conf' | grep -q 'the way that is ordered for it'"
	must reroute queue reroute all "127.0.0.1:$port" --yes
	within 20 "the last" took there 4
	drained home
}
