# HUP: other settings while it runs.

# What the server says first, and to EHLO.
hello() { python3 -c 'import smtplib, sys; s = smtplib.SMTP(); print(s.connect("127.0.0.1", int(sys.argv[1])), s.ehlo()); s.quit()' "$(port_of "$1")"; }
logged() { within 20 "the log has \"$1\"" grep -q -- "$1" "$T/here.log"; }

it hup_sends_what_waits_the_new_way "HUP: a route put right takes the mail that waits for it; what has changed is in the log"
hup_sends_what_waits_the_new_way() {
	needs_here python3 -c 'import smtplib'
	free_port
	serve here "route = there.test smtp://127.0.0.1:$port" "message_size = 1M"
	here=$pid
	must "the message is taken" inject -p "$(port_of here)" -f sender@here.test -t a@there.test
	logged 'deferred'
	sink there
	sed -i -e "s|^route = .*|route = there.test smtp://127.0.0.1:$port|" -e 's/^message_size = .*/message_size = 2M/' "$T/here.conf"
	kill -HUP "$here"
	logged 'in force now: .*message_size.*, route\|in force now: route.*, .*message_size'
	drained here 30
	must "it came" took there 1
	hello here >"$T/said" || fail "no session"
	has 'SIZE 2097152' "$T/said"
	kill -HUP "$here"
	logged 'nothing has changed'
}

it hup_keeps_the_old_settings_when_the_new_ones_are_wrong "HUP: a mistake, or a change that is for the start alone, leaves all as it was and says why"
hup_keeps_the_old_settings_when_the_new_ones_are_wrong() {
	needs_here python3 -c 'import smtplib'
	serve here "message_size = 1M"
	here=$pid
	sed -i -e 's/^message_size = .*/message_size = 1 apple/' "$T/here.conf"
	kill -HUP "$here"
	logged 'here.conf:[0-9]*: .*message_size'
	logged 'the old ones stay in force'
	sed -i -e 's/^message_size = .*/message_size = 2M/' -e 's/^hostname = .*/hostname = other.test/' "$T/here.conf"
	kill -HUP "$here"
	logged 'hostname can only be changed by a restart'
	hello here >"$T/said" || fail "no session"
	has 'SIZE 1048576' "$T/said"
	has "220, b'here.test " "$T/said"
	must "mail is taken" inject -p "$(port_of here)" -f sender@here.test -t user@here.test
	within 20 "the message" arrived here user 1
}

it hup_in_the_middle_of_sessions "HUP: sessions go on as they began, also while one waits for the DNS by a rule that is no more"
hup_in_the_middle_of_sessions() {
	needs_here python3 -c 'import socket'
	printf 'slow.test DELAY 3000\nslow.test MX 10 mx.slow.test\nmx.slow.test A 192.0.2.1\n' >"$T/dns.zone"
	fakedns dns
	dns=$port
	serve here "relay_from =" "check_sender = yes" "spf = off" "check_dkim = no" "message_size = 1M"
	sed -i -e "s/^resolver = .*/resolver = 127.0.0.1:$dns/" "$T/here.conf"
	end "$pid"
	start here
	here=$pid
	cat >"$T/talk.py" <<'END'
import socket, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 20)
f = s.makefile("rwb", 0)
def say(line): f.write(line + b"\r\n")
def hear(code):
    while True:
        line = f.readline()
        assert line.startswith(code), line
        if line[3:4] == b" ": return
hear(b"220")
say(b"EHLO x.test"); hear(b"250")
say(b"MAIL FROM:<a@slow.test>")
print("waits", flush=True)
hear(b"250")
say(b"RCPT TO:<user@here.test>"); hear(b"250")
say(b"DATA"); hear(b"354")
say(b"Subject: x\r\n\r\nx\r\n."); hear(b"250")
say(b"QUIT"); hear(b"221")
END
	begin talk python3 "$T/talk.py" "$(port_of here)"
	talk=$pid
	within 20 "MAIL waits" grep -q waits "$T/talk.out"
	for size in 2M 3M 4M; do
		sed -i -e "s/^message_size = .*/message_size = $size/" -e 's/^check_sender = .*/check_sender = no/' "$T/here.conf"
		kill -HUP "$here"
		pause
	done
	wait "$talk" || fail "the session: $(tail -n 1 "$T/talk.log")"
	within 20 "the message" arrived here user 1
	must "it lives" kill -0 "$here"
}
