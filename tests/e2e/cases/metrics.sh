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
