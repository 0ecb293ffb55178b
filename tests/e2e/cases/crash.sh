# kill -9 and SIGTERM at any moment: what was answered 250 arrives.

tokens() { sed -n 's/^X-Token: //p' "$T/$1/"*.data 2>/dev/null | tr -d '\r' | sort; }
# Acknowledged and not there.
missing() { grep -v '^?' "$T/acks" | sort -u | comm -23 - "$T/unique"; }
# A moment between 0.01 and 0.4 s. What is waited for is no event: any moment will do.
some_time() { sleep "$(awk -v seed="$1$$" 'BEGIN { srand(seed); printf "%.3f", 0.01 + 0.39 * rand() }')"; }
weigh() {
	tokens sink >"$T/got"
	sort -u "$T/got" >"$T/unique"
	promised=$(grep -vc '^?' "$T/acks")
	repeated=$(($(wc -l <"$T/got") - $(wc -l <"$T/unique")))
}
# At most what was between the peer's answer and the mark in the journal: one message a connection, ten connections.
weigh_after_kills() {
	weigh
	missing >"$T/missing"
	[ -s "$T/missing" ] && fail "$(wc -l <"$T/missing") of $promised messages answered 250 are lost: $(head -n 3 "$T/missing" | tr '\n' ' ')"
	[ $repeated -le $(($1 * 10)) ] || fail "$repeated repeated after $1 kills"
	[ "$(files "$T/here.queue/bad")" = 0 ] || fail "set aside: $(head -n 1 "$T/here.queue/bad/"*.why)"
	note "$promised answered 250, $(wc -l <"$T/unique" | tr -d ' ') arrived, $repeated of them twice; $1 kills"
}

it killed_while_receiving_and_sending "30 times kill -9 under load: all that was answered 250 arrives, repeats only as promised"
killed_while_receiving_and_sending() {
	sink sink
	config here "route = * smtp://127.0.0.1:$port"
	start here
	server=$pid
	begin inject "$tools/inject" -k -p "$(port_of here)" -n 100000 -s 4 -e 3 -t a@sink.test -t b@sink.test -a "$T/acks" -w 120
	injector=$pid
	kills=0
	while [ $kills -lt 30 ]; do
		some_time $kills
		alive $server || fail "it ended by itself: $(tail -n 1 "$T/here.log")"
		kill -9 $server
		wait $server 2>/dev/null
		kills=$((kills + 1))
		start here
		server=$pid
	done
	end $injector
	drained here 60
	weigh_after_kills $kills
	end $server
	within 10 "the end of the helpers of killed servers" nobody_left_but_sink
}
nobody_left_but_sink() { [ -z "$(ours | while read -r p; do grep -qa inject "/proc/$p/cmdline" || grep -qa /e2e/sink "/proc/$p/cmdline" || echo "$p"; done)" ]; }

it killed_flush "12 times kill -9 of flush: what inetd-like sessions have queued arrives"
killed_flush() {
	sink sink
	config here "route = * smtp://127.0.0.1:$port" "log = $T/here.log"
	begin super "$tools/superserver" "$fardel" inetd -c "$T/here.conf"
	said_port super
	must "60 messages" inject -p "$port" -n 60 -s 4 -t a@sink.test -t b@elsewhere.test -a "$T/acks"
	kills=0
	while [ $kills -lt 12 ]; do
		begin flush "$fardel" flush -c "$T/here.conf"
		some_time $kills
		kill -9 $pid 2>/dev/null
		wait $pid 2>/dev/null
		kills=$((kills + 1))
	done
	within 30 "a flush that leaves nothing" flush_empties
	weigh_after_kills $kills
}
flush_empties() { flush here; queue_empty here; }

# ---- the intake log

can_log() { case $(stat -f -c %T "$1") in ext2/ext3 | xfs | btrfs) ;; *) return 1 ;; esac; }
log_is_there() { [ -s "$T/here.queue/wal/0" ] && [ -s "$T/here.queue/wal/1" ] && [ ! -e "$T/here.queue/wal/1.new" ]; }
# Unlike a kill alone, after which the kernel knows that it has lost nothing.
make_forgotten() { for seg in 0 1; do cp "$T/here.queue/wal/$seg" "$T/copy" && mv "$T/copy" "$T/here.queue/wal/$seg" || fail "cannot copy"; done; }

it log_made_beside "the intake log is made while mail comes in, without a word in the configuration; kills that the kernel forgets repeat no more"
log_made_beside() {
	can_log "$T" || { note "not on this file system"; return; }
	sink sink
	config here "route = * smtp://127.0.0.1:$port" "queue_log = 8M"
	start here
	server=$pid
	begin inject "$tools/inject" -k -p "$(port_of here)" -n 100000 -s 4 -e 3 -t a@sink.test -t b@sink.test -a "$T/acks" -w 120
	injector=$pid
	within 20 "the log is there" log_is_there
	kills=0
	while [ $kills -lt 10 ]; do
		some_time $kills
		kill -9 $server
		wait $server 2>/dev/null
		kills=$((kills + 1))
		make_forgotten
		start here
		server=$pid
	done
	end $injector
	drained here 60
	weigh_after_kills $kills
	grep -q 'recovered' "$T/here.log.old" || fail "no start took its log for one behind a power cut"
}

it log_left_half_made "what is left of a log that was being made goes, and with file all of it"
log_left_half_made() {
	config here "queue_sync = file"
	mailboxes here user sender postmaster
	mkdir -p "$T/here.queue/wal"
	: >"$T/here.queue/wal/0.new"
	start here
	must "it is swept" [ ! -e "$T/here.queue/wal/0.new" ]
	end "$pid"
}

it log_not_in_memory "in memory there is no log, and a line says so"
log_not_in_memory() {
	[ "$(stat -f -c %T /dev/shm 2>/dev/null)" = tmpfs ] && place=$(mktemp -d /dev/shm/fardel.XXXXXX) || { note "there is no /dev/shm"; return; }
	config here "queue = $place/queue"
	mailboxes here user sender postmaster
	start here
	server=$pid
	must "mail is taken" inject -p "$(port_of here)" -f sender@here.test -t user@here.test
	end $server
	[ -e "$place/queue/wal" ] && made=yes || made=no
	rm -r "$place"
	must "no log" [ $made = no ]
	grep -q 'each message is synced by itself' "$T/here.log" || fail "no line says so"
}

it stopped_gracefully "10 times SIGTERM under load: nothing is lost and nothing repeated"
stopped_gracefully() {
	sink sink
	config here "route = * smtp://127.0.0.1:$port"
	start here
	server=$pid
	begin inject "$tools/inject" -k -p "$(port_of here)" -n 100000 -s 4 -e 3 -t a@sink.test -t b@sink.test -a "$T/acks" -w 120
	injector=$pid
	stops=0
	while [ $stops -lt 10 ]; do
		some_time $stops
		end $server
		status=$?
		[ $status = 0 ] || fail "exit status $status after SIGTERM"
		stops=$((stops + 1))
		start here
		server=$pid
	done
	end $injector
	drained here 60
	weigh
	missing >"$T/missing"
	[ -s "$T/missing" ] && fail "$(wc -l <"$T/missing") of $promised are lost"
	[ $repeated = 0 ] || fail "$repeated of $promised were repeated"
	grep -q '^?' "$T/acks" && fail "after $(grep -c '^?' "$T/acks") final dots the session was closed without an answer"
	note "$promised answered 250, $(wc -l <"$T/unique" | tr -d ' ') arrived, none twice; $stops stops"
}

it limit_of_file_sizes "a message over the limit of file sizes is refused for now and ends nobody; smaller ones go through"
limit_of_file_sizes() {
	config here
	mailboxes here user sender postmaster
	: >"$T/here.log"
	{ printf 'Subject: x\r\n\r\n'; head -c 500000 /dev/zero | tr '\0' a | fold -w 70 | sed 's/$/\r/'; } >"$T/large"
	# 200 kB, in blocks of 512 octets
	begin here sh -c 'ulimit -f 400; exec "$0" serve -c "$1"' "$fardel" "$T/here.conf"
	here=$pid
	within 20 "it has started" grep -q ' started ' "$T/here.log"
	inject -w 5 -p "$(port_of here)" -f sender@here.test -t user@here.test -m "$T/large" >"$T/said" 2>&1 && fail "500 kB were taken"
	must "it lives" kill -0 "$here"
	must "a small one is taken" inject -p "$(port_of here)" -f sender@here.test -t user@here.test
	within 20 "the message" arrived here user 1
}
