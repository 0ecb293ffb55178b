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
