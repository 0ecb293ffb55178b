# What goes in comes out, octet for octet: fardel -> fardel -> Maildir, and fardel -> a server that keeps what it got.

# A message from field X-E2E on, with CRLF line ends, on standard output.
crlf() { sed 's/$/\r/'; }
head_of() { printf 'X-E2E: %s\nSubject: %s\nFrom: <a@client.test>\n\n' "$1" "$1"; }
octets() { tr -d '\000\r\n' </dev/urandom | head -c "$1"; }
compose() {
	case $1 in
	dots) { head_of "$1"; printf '.\n..\n...\n.a\n..b\n \n.\n\n.\n'; } ;;
	eight_bit) { head_of "$1"; octets 20000 | tr -d '\r\n' | fold -b -w 77; echo; printf 'gr\303\274\303\237e \377\376\n'; } ;;
	# RFC 5321 4.5.3.1.6: 1,000 octets with the line end.
	long_lines) { head_of "$1"; octets 49900 | tr '.' '-' | fold -b -w 998; echo; printf '.'; octets 997 | tr '.' '-'; echo; } ;;
	empty_body) head_of "$1" ;;
	no_empty_line) printf 'X-E2E: %s\nSubject: only a header\n' "$1" ;;
	blanks) { head_of "$1"; printf ' \n\t\n  trailing  \n\n\n\n'; } ;;
	from_lines) { head_of "$1"; printf 'From me to you\n>From there\nFrom \n'; } ;;
	large) { head_of "$1"; octets 20500000 | fold -b -w 500; echo; } ;;
	esac
}
contents="dots eight_bit long_lines empty_body no_empty_line blanks from_lines large"

two_and_a_sink() {
	serve there
	sink sink
	serve here "route = there.test smtp://127.0.0.1:$(port_of there)" "route = sink.test smtp://127.0.0.1:$port"
}
same_everywhere() {
	compose "$1" >"$T/$1.lf"
	crlf <"$T/$1.lf" >"$T/$1.crlf"
	mailboxes there "$1"
	rm -f "$T/sink/"*.data
	must "$1 is taken" inject -p "$(port_of here)" -m "$T/$1.crlf" -t "$1@there.test" -t user@sink.test
	within 30 "$1 in the Maildir" arrived there "$1" 1
	within 30 "$1 at the sink" took sink 1
	original "$(mail there "$1")" | cmp - "$T/$1.lf" || fail "$1 is not the same in the Maildir"
	original "$T/sink/"*.data | cmp - "$T/$1.crlf" || fail "$1 is not the same at the sink"
}

it content_is_intact "leading dots, 8-bit, 1,000-octet lines, empty bodies and 20 MB come out octet for octet"
content_is_intact() {
	two_and_a_sink
	for what in $contents; do same_everywhere "$what"; done
}

it content_at_smtp_sink "and Postfix's smtp-sink gets the same octets"
content_at_smtp_sink() {
	need_postfix
	free_port
	sink_port=$port
	mkdir "$T/dump"
	user=
	[ "$(id -u)" = 0 ] && user="-u root"
	# shellcheck disable=SC2086
	begin smtpsink env LD_LIBRARY_PATH="$libraries" "$tree/usr/sbin/smtp-sink" $user -8 -d "$T/dump/m." "127.0.0.1:$sink_port" 100
	serve here "route = * smtp://127.0.0.1:$sink_port"
	for what in dots eight_bit long_lines empty_body large; do
		compose "$what" >"$T/lf"
		crlf <"$T/lf" >"$T/crlf"
		must "$what is taken" inject -p "$(port_of here)" -m "$T/crlf" -t user@sink.test
		drained here
		must "one dump" [ "$(files "$T/dump")" = 1 ]
		# smtp-sink writes LF line ends and an empty line behind each message.
		original "$T/dump/"* >"$T/got"
		cmp -n "$(wc -c <"$T/lf")" "$T/got" "$T/lf" || fail "$what is not the same at smtp-sink"
		[ $(($(wc -c <"$T/got") - $(wc -c <"$T/lf"))) -le 1 ] || fail "$what has grown at smtp-sink"
		rm "$T/dump/"*
	done
}

it nothing_is_smuggled "a bare LF before the dot ends nothing: the message is refused, the session lives"
nothing_is_smuggled() {
	serve here
	printf 'X-E2E: smuggler\r\n\r\none\n.\r\nMAIL FROM:<evil@x.test>\r\nRCPT TO:<user@here.test>\r\nDATA\r\nX-E2E: two\r\n' >"$T/crlf"
	inject -p "$(port_of here)" -m "$T/crlf" -t user@here.test 2>"$T/said" && fail "it was taken"
	has '^inject: 5[0-9][0-9] ' "$T/said"
	must "the next message is taken" inject -p "$(port_of here)" -t user@here.test
	within 20 "that message alone" arrived here user 1
	drained here
	within 1 "still that one" arrived here user 1
}

it content_of_others "messages that other people collected, malformed ones among them, come out octet for octet"
content_of_others() {
	corpus=${EML:-$root/../shared/conformance/eml}
	[ -d "$corpus" ] || skip "no messages in $corpus (EML=DIRECTORY names another)"
	sink sink
	serve here "route = sink.test smtp://127.0.0.1:$port"
	for eml in "$corpus"/*/*.eml; do
		{
			printf 'X-E2E: corpus\n'
			tr -d '\000' <"$eml" | awk '{ sub(/\r$/, ""); gsub(/\r/, " "); print }'         # with an end to its last line
		} | crlf >"$T/crlf"
		rm -f "$T/sink/"*.data
		must "$eml is taken" inject -p "$(port_of here)" -m "$T/crlf" -t user@here.test -t user@sink.test
		within 30 "$eml at the sink" took sink 1
		within 30 "$eml in the Maildir" arrived here user 1
		original "$T/sink/"*.data | cmp - "$T/crlf" || fail "$eml is not the same at the sink"
		original "$(mail here user)" | sed 's/$/\r/' | cmp - "$T/crlf" || fail "$eml is not the same in the Maildir"
		rm "$(mail here user)"
	done
}
