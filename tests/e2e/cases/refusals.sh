# What the other side does not take.

it refused_recipients_one_report "550 to 2 of 5 recipients makes one report that names exactly these"
refused_recipients_one_report() {
	sink there -r 'bad=550 5.1.1 no such person here'
	serve here "route = there.test smtp://127.0.0.1:$port"
	must "the message is taken" inject -p "$(port_of here)" -f sender@here.test -t good1@there.test -t bad1@there.test -t good2@there.test \
		-t bad2@there.test -t good3@there.test
	within 30 "the report" arrived here sender 1
	drained here
	within 1 "one report alone" arrived here sender 1
	must "the others in one transaction" grep -q 'TOOK 3' "$T/there/log"
	report=$(mail here sender)
	has '^Content-Type: multipart/report; *report-type=delivery-status' "$(unfold "$report")"
	has '^Return-Path: <>' "$report"
	sed -n 's/^Final-Recipient: rfc822; *//Ip' "$report" | sort | tr '\n' ' ' >"$T/named"
	must "named: $(cat "$T/named")" [ "$(cat "$T/named")" = "bad1@there.test bad2@there.test " ]
	has '^Status: 5.1.1' "$report"
	has 'no such person here' "$report"
	has '^    > RCPT TO:<bad1@there.test>.*' "$report"
	has '^    < 550 5.1.1 no such person here' "$report"
	has '^    (3 recipients were accepted)' "$report"
	grep -q 'good1@there.test' "$report" && fail "the report names somebody who has got it"
	:
}
# With folded fields in one line.
unfold() {
	awk '{ if (!sub(/^[ \t]+/, " ") && NR > 1) print ""; printf "%s", $0 } END { print "" }' "$1" >"$T/unfolded"
	echo "$T/unfolded"
}

it refused_message_is_reported "554 to the final dot makes a report; to a null sender it makes none"
refused_message_is_reported() {
	sink there -d '554 5.7.1 not this one'
	serve here "route = there.test smtp://127.0.0.1:$port"
	must "the message is taken" inject -p "$(port_of here)" -f sender@here.test -t a@there.test -t b@there.test
	must "the one without sender, too" inject -p "$(port_of here)" -f '' -t a@there.test
	within 30 "the report" arrived here sender 1
	drained here
	has 'not this one' "$(mail here sender)"
	must "no report for nobody" [ "$(files "$T/here.mail/postmaster/new")" = 0 ]
	within 1 "one report alone" arrived here sender 1
}

it too_many_recipients "452 after some recipients: the rest goes at once, on the same connection, in ever smaller transactions"
too_many_recipients() {
	sink there -n 20
	serve here "route = * smtp://127.0.0.1:$port" "retry_first = 1h" "retry_max = 1h"
	must "the message is taken" inject -p "$(port_of here)" -f sender@here.test -t u%d@there.test -R 50
	drained here 15
	sed -n 's/.*TOOK //p' "$T/there/log" | tr '\n' ' ' >"$T/sizes"
	must "sizes are $(cat "$T/sizes")" [ "$(cat "$T/sizes")" = "20 20 10 " ]
	must "one connection" [ "$(grep -c EHLO "$T/there/log")" = 1 ]
}

it deferred_then_delivered "4xx to one of three waits and is tried again; the others are not repeated"
deferred_then_delivered() {
	sink there -r 'later=450 4.2.0 not yet'
	first=$pid
	there=$port
	serve here "route = there.test smtp://127.0.0.1:$port"
	must "the message is taken" inject -p "$(port_of here)" -f sender@here.test -t a@there.test -t later@there.test -t b@there.test
	within 20 "two are told to have been taken" grep -q 'TOOK 2' "$T/there/log"
	"$fardel" mailq -c "$T/here.conf" >"$T/list"
	end "$first"
	mkdir "$T/again"
	begin again "$tools/sink" -p "$there" "$T/again"
	drained here 30
	must "the third alone" grep -q 'TOOK 1' "$T/again/log"
	must "once" took again 1
	has 'later@there.test' "$T/list"
	has 'not yet' "$T/list"
	grep -q ' [ab]@there.test' "$T/list" && fail "mailq lists who has it already"
	return 0
}

it mailq_speaks_json "mailq --json is a line of JSON for each message, with Postfix's names and what comes next"
mailq_speaks_json() {
	needs_here python3 -c 'import json'
	sink there -r 'later=450 4.2.0 "not yet"'
	serve here "route = there.test smtp://127.0.0.1:$port" "retry_first = 1h" "retry_max = 1h"
	must "the message is taken" inject -p "$(port_of here)" -f sender@here.test -t a@there.test -t later@there.test
	within 20 "one is told to have been taken" grep -q 'TOOK 1' "$T/there/log"
	"$fardel" mailq -c "$T/here.conf" --json >"$T/list" || fail "mailq --json"
	cat >"$T/look.py" <<'END'
import json, sys
lines = [json.loads(line) for line in sys.stdin]
assert len(lines) == 1, lines
m = lines[0]
assert m["queue_name"] == "deferred" and m["sender"] == "sender@here.test" and m["forced_expire"] is False, m
assert m["message_size"] > 0 and m["expires"] - m["arrival_time"] == 5 * 86400, m
(r,) = m["recipients"]
assert r["address"] == "later@there.test" and r["tries"] == 1 and r["state"] == "waiting", r
assert r["delay_reason"].startswith("host ") and r["delay_reason"].endswith('said: 450 4.2.0 "not yet"'), r
assert r["next_attempt"] > r["last_attempt"] >= m["arrival_time"], r
END
	must "it is what it should be" python3 "$T/look.py" <"$T/list"
	must "a short option" "$fardel" mailq -j -c "$T/here.conf" >"$T/short"
	must "the same" cmp "$T/list" "$T/short"
	"$fardel" queue hold -c "$T/here.conf" --yes all >"$T/said"
	"$fardel" mailq --json -c "$T/here.conf" >"$T/list"
	has '"queue_name": "hold".*"state": "held"}' "$T/list"
}

it lifetime_ends_in_a_report "a message that cannot be delivered goes back when its lifetime is over, saying why"
lifetime_ends_in_a_report() {
	free_port
	serve here "route = there.test smtp://127.0.0.1:$port" "queue_lifetime = 3s"
	must "the message is taken" inject -p "$(port_of here)" -f sender@here.test -t a@there.test
	within 30 "the report" arrived here sender 1
	drained here
	has '^Final-Recipient: rfc822; *a@there.test' "$(mail here sender)"
	has '^Action: failed' "$(mail here sender)"
	has 'refused' "$(mail here sender)"
}
