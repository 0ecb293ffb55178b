# What scripts written for Postfix make of mailq.

it mailq_for_scripts "mailq is read by what people and monitoring use with Postfix: counts, ids of a recipient, reasons, JSON lines"
mailq_for_scripts() {
	mailq() { "$fardel" mailq -c "$T/home.conf" "$@"; }
	free_port
	config home "route = * smtp://127.0.0.1:$port" "retry_first = 1h" "retry_max = 1h"
	flush home                      # makes the queue
	must "nothing waits" [ "$(mailq | tail -n 1)" = "Mail queue is empty" ]
	must "none are counted" [ "$(mailq | grep -v 'Mail queue is empty' | grep -c '^[0-9A-Z]')" = 0 ]
	for to in b@y.test c@z.test d@z.test; do
		printf 'Subject: x\n\ntext\n' | send home -f user@home.test "$to" e@w.test || fail "sendmail"
	done
	flush home
	"$fardel" queue hold --to d@z.test --yes -c "$T/home.conf" >/dev/null
	mailq >"$T/said"
	must "the total" [ "$(tail -n 1 "$T/said" | cut -d ' ' -f 5)" = 3 ]
	tail -n 1 "$T/said" | grep -qE '^-- [0-9]+ Kbytes in [0-9]+ Requests?\.$' || fail "another last line"
	must "messages by their first letter" [ "$(grep -c '^[0-9A-Z]' "$T/said")" = 3 ]
	must "ids with a mark" [ "$(grep -cE '^[0-9A-Fa-f]{8,}[*!]? ' "$T/said")" = 3 ]
	must "one on hold" [ "$(grep -cE '^[0-9a-f]+! ' "$T/said")" = 1 ]
	must "senders" [ "$(awk '/^[0-9A-Fa-f]+[*!]?[ \t]+[0-9]+ / && NF == 7 { print $7 }' "$T/said" | sort -u)" = user@home.test ]
	# the usual way to remove a recipient's mail: by paragraphs
	mailq | tail -n +2 | awk 'BEGIN { RS = "" } / c@z\.test/ { print $1 }' | tr -d '*!' >"$T/ids"
	must "its id" grep -qE '^[0-9a-f]{24}$' "$T/ids"
	must "recipients" [ "$(grep -cE '^ +[^ (]+@[^ ]+$' "$T/said")" = 6 ]
	grep -qE '^ +\(.*Connection refused.*\)$' "$T/said" || fail "no reason in brackets"
	must "a line of JSON for each" [ "$(mailq --json | grep -cE '^\{"queue_name": "(deferred|hold|incoming)", "queue_id": "[0-9a-f]{24}", "arrival_time": [0-9]+, "message_size": [0-9]+, .*"sender": "user@home.test", "recipients": \[.*\]\}$')" = 3 ]
	must "what is on hold does not tell its tries" [ "$(mailq --json | grep -c '"queue_name": "hold".*"tries": null, "state": "held"')" = 1 ]
	# no resolver answers: not counted, and deferred all the same
	config away
	printf 'Subject: x\n\ntext\n' | send away -f user@away.test e@elsewhere.test || fail "sendmail"
	flush away
	"$fardel" mailq --json -c "$T/away.conf" | grep '"tries": 0' | grep -q '^{"queue_name": "deferred"' || fail "what was put off is not deferred"
	xargs "$fardel" queue drop --yes -c "$T/home.conf" <"$T/ids" >/dev/null || fail "it cannot be dropped by that id"
	must "two are left" [ "$(mailq | tail -n 1 | cut -d ' ' -f 5)" = 2 ]
}

it mailq_says_what_is_waited_for "mailq says of mail that was not tried, as its destination is down, why and when that is tried; and of mail for later, that its lifetime begins then"
mailq_says_what_is_waited_for() {
	free_port
	serve home "route = * smtp://127.0.0.1:$port" "retry_first = 1h" "retry_max = 1h"
	listed() { "$fardel" mailq -c "$T/home.conf" "$@" >"$T/said"; }
	waits() { listed && grep -q "$1" "$T/said"; }
	printf 'Subject: x\n\ntext\n' | send home -f user@home.test b@y.test || fail "sendmail"
	within 10 "the first is tried" waits 'Connection refused; next try'
	printf 'Subject: x\n\ntext\n' | send home -f user@home.test c@y.test || fail "sendmail"
	within 10 "the second waits" waits 'Connection refused; the destination is down, one message tries it '
	must "as JSON" listed --json
	must "none of them is due" [ "$(grep -c '"delay_reason": ".*Connection refused.*"state": "waiting"' "$T/said")" = 2 ]
	"$fardel" sendmail -C "$T/home.conf" -f user@home.test --at '+2d' d@z.test </dev/null || fail "sendmail --at"
	within 10 "the third" waits d@z.test
	must "as JSON" listed --json
	must "its lifetime begins when it may go" [ "$(grep d@z.test "$T/said" | sed 's/.*"expires": \([0-9]*\).*"next_attempt": \([0-9]*\).*/\1 \2/' | awk '{ print $1 - $2 }')" = 432000 ]
}
