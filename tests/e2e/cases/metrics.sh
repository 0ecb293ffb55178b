# Figures for monitoring.

it metrics_are_there_for_a_collector "metrics_file: what has happened and what waits, in the text form of Prometheus; zeros are there"
metrics_are_there_for_a_collector() {
	mkdir "$T/figures"
	serve here "metrics_file = $T/figures/fardel.prom" "route = there.test smtp://127.0.0.1:9" "retry_first = 1h" "retry_max = 1h"
	here=$pid
	figures=$T/figures/fardel.prom
	within 20 "the file" grep -q '^fardel_events_total{event="delivered"} 0$' "$figures"
	has '^fardel_queue_messages 0$' "$figures"
	has '^# TYPE fardel_events_total counter$' "$figures"
	must "the message is taken" inject -p "$(port_of here)" -f sender@here.test -t user@here.test -t a@there.test
	within 20 "one is put off" grep -q ' deferred ' "$T/here.log"
	within 20 "one is delivered" grep -q ' delivered ' "$T/here.log"
	sed -i 's/^retry_max = .*/retry_max = 2h/' "$T/here.conf"
	kill -HUP "$here"                       # writes them now
	within 20 "that is counted" grep -q '^fardel_events_total{event="delivered"} 1$' "$figures"
	has '^fardel_events_total{event="deferred"} 1$' "$figures"
	has '^fardel_queue_messages 1$' "$figures"
	has '^fardel_queue_entries 1$' "$figures"
	must "nothing is left beside it" [ "$(files "$T/figures")" = 1 ]
	awk '!/^#/ && !/^[a-z_]+({[a-z]+="[a-z-]+"})? [0-9]+$/ { exit 1 }' "$figures" || fail "a line that is none"
}

it metrics_are_asked_for "metrics_listen: GET /metrics over HTTP, destinations too, as promtool likes it; a port that is taken is logged and mail goes on"
metrics_are_asked_for() {
	python3 -c 'import urllib.request' 2>/dev/null || skip "no python3 here"
	free_port
	door=$port
	serve here "metrics_listen = 127.0.0.1:$door" "route = there.test smtp://127.0.0.1:9" "retry_first = 1h" "retry_max = 1h"
	has "listening.*on=127.0.0.1:$door" "$T/here.log"
	must "the message is taken" inject -p "$(port_of here)" -f sender@here.test -t a@there.test
	within 20 "one is put off" grep -q ' deferred ' "$T/here.log"
	python3 - "$door" >"$T/figures" <<'END' || fail "no figures"
import sys, urllib.request
r = urllib.request.urlopen("http://127.0.0.1:%s/metrics" % sys.argv[1], timeout=10)
assert r.headers["Content-Type"] == "text/plain; version=0.0.4", r.headers
print(r.read().decode(), end="")
END
	has '^fardel_queue_messages 1$' "$T/figures"
	has '^fardel_events_total{event="delivered"} 0$' "$T/figures"
	has '^fardel_destination_entries{destination="there.test"} 1$' "$T/figures"
	has '^fardel_destination_oldest_seconds{destination="there.test"} [0-9]*$' "$T/figures"
	if command -v promtool >/dev/null; then
		promtool check metrics <"$T/figures" >"$T/promtool" 2>&1 || fail "promtool: $(cat "$T/promtool")"
	else
		note "no promtool here"
	fi
	serve there "metrics_listen = 127.0.0.1:$door"
	has 'cannot listen on 127.0.0.1:.*Address already in use.*metrics_listen' "$T/there.log"
	must "mail is taken all the same" inject -p "$(port_of there)" -f sender@there.test -t user@there.test
}
