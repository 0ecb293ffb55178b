# What is installed and how it is started: make install, the Debian package, and the files of packaging/.

# here_from TREE: the program of an installed tree takes a message by its sendmail and delivers it; settings are $T/here.conf.
here_from() {
	real=$fardel
	fardel=$1/usr/sbin/fardel
	config here
	mailboxes here user
	start here
	printf 'From: me@here.test\nTo: user@here.test\nBcc: nobody@here.test\nSubject: from a package\n\nHello\n' |
		must "sendmail -t" "$1/usr/sbin/sendmail" -C "$T/here.conf" -t -i user@here.test
	within 20 "the message" arrived here user 1
	has '^Subject: from a package' "$(mail here user)"
	printf 'Subject: as of old\n\nHello\n' | must "lib/sendmail" "$1/usr/lib/sendmail" -C "$T/here.conf" -oi user@here.test
	within 20 "the second message" arrived here user 2
	must "mailq" "$1/usr/bin/mailq" -c "$T/here.conf" >"$T/list"
	must "newaliases" "$1/usr/bin/newaliases"
	end "$pid" || fail "the server ended with $?"
	fardel=$real
}
tree_of() { (cd "$1" && find . ! -type d -exec ls -ld {} + | awk '{ print $1, $5, $9, $10, $11 }' | sort -k 3); }

it install_and_uninstall "make install twice leaves what once does, and the settings that are there; mail flows through it; make uninstall leaves nothing"
install_and_uninstall() {
	to="DESTDIR=$T/tree PREFIX=/usr"
	# shellcheck disable=SC2086
	must "make install" make -s install-mta install-units $to
	tree_of "$T/tree" >"$T/once"
	for name in usr/sbin/fardel usr/sbin/sendmail usr/lib/sendmail usr/bin/mailq usr/bin/newaliases etc/fardel/fardel.conf etc/fardel/fardel.conf.sample \
		usr/share/man/man5/fardel.conf.5 usr/share/man/man8/fardel.8 usr/share/man/man8/sendmail.8 usr/share/man/man1/mailq.1 usr/share/man/man1/newaliases.1 \
		usr/share/bash-completion/completions/fardel usr/lib/systemd/system/fardel.service usr/lib/sysusers.d/fardel.conf usr/lib/tmpfiles.d/fardel.conf; do
		must "there is no $name" [ -e "$T/tree/$name" ]
	done
	must "the sample is no configuration" "$fardel" config -c "$T/tree/etc/fardel/fardel.conf.sample" >/dev/null
	has '^ExecStart=/usr/sbin/fardel serve$' "$T/tree/usr/lib/systemd/system/fardel.service"
	# shellcheck disable=SC2086
	must "make install again" make -s install-mta install-units $to
	tree_of "$T/tree" | cmp - "$T/once" || fail "the second time changes something"
	here_from "$T/tree"
	cp -r "$T/tree" "$T/changed" || fail "no copy"
	# shellcheck disable=SC2086
	must "make uninstall" make -s uninstall $to
	must "it leaves $(find "$T/tree" ! -type d)" [ -z "$(find "$T/tree" ! -type d)" ]
	# What somebody changed, or another program owns, stays.
	echo 'hostname = mine.test' >"$T/changed/etc/fardel/fardel.conf"
	rm "$T/changed/usr/bin/mailq" && echo other >"$T/changed/usr/bin/mailq"
	make -s install-mta DESTDIR="$T/changed" PREFIX=/usr 2>"$T/said" && fail "another program's mailq is no hindrance"
	has 'usr/bin/mailq is another program' "$T/said"
	must "make install" make -s install DESTDIR="$T/changed" PREFIX=/usr
	must "make uninstall" make -s uninstall DESTDIR="$T/changed" PREFIX=/usr
	must "the rest" [ "$(find "$T/changed" ! -type d | sort | tr '\n' ' ')" = "$T/changed/etc/fardel/fardel.conf $T/changed/usr/bin/mailq " ]
	has '^hostname = mine.test' "$T/changed/etc/fardel/fardel.conf"
}

it debian_package "make deb builds a package that is a mail-transport-agent; mail flows through what is in it"
debian_package() {
	for name in dpkg-buildpackage dh dpkg-deb; do
		command -v $name >/dev/null 2>&1 || skip "no $name here: apt-get install dpkg-dev debhelper, and the package is built and tried"
	done
	dpkg-checkbuilddeps "$root/packaging/debian/control" 2>"$T/said" || skip "the package cannot be built here: $(cat "$T/said")"
	DEB_BUILD_OPTIONS="nocheck parallel=2" must "make deb" sh packaging/deb.sh "$T/deb" >"$T/built"
	deb=$(cat "$T/built")
	must "more than one package" [ -f "$deb" ]
	for field in Provides Conflicts Replaces; do
		must "$field" [ "$(dpkg-deb -f "$deb" $field)" = mail-transport-agent ]
	done
	must "the version" [ "fardel $(dpkg-deb -f "$deb" Version)" = "$("$fardel" --version)" ]
	must "unpacking" dpkg-deb -x "$deb" "$T/root"
	must "control files" dpkg-deb -e "$deb" "$T/control"
	has '^/etc/fardel/fardel.conf$' "$T/control/conffiles"
	for script in "$T/control"/p*; do must "$script" sh -n "$script"; done
	must "a set-id file" [ -z "$(find "$T/root" -perm /6000)" ]
	# Its conffile is understood, but for the account, which may not be there.
	must "the conffile" "$fardel" config -c "$T/root/etc/fardel/fardel.conf" >"$T/said"
	has '^user = fardel' "$T/said"
	here_from "$T/root"
}

it systemd_units "systemd finds nothing wrong with the units, and little that they could do without"
systemd_units() {
	needs_here systemd-analyze --version
	mkdir "$T/units"
	for file in packaging/systemd/fardel*; do sh packaging/place.sh "${fardel%/*}" "$file" >"$T/units/${file##*/}" || fail "$file"; done
	cp "$T/units/fardel@.service" "$T/units/fardel@1.service"
	systemd-analyze verify --man=no "$T"/units/* >"$T/said" 2>&1
	must "complaints: $(cat "$T/said")" [ ! -s "$T/said" ]
	for unit in fardel.service fardel@1.service fardel-flush.service; do
		systemd-analyze security --offline=true --threshold=20 "$T/units/$unit" >"$T/said" 2>&1 || {
			grep -q 'Unknown\|unrecognized' "$T/said" && skip "this systemd-analyze cannot look at files"
			fail "$unit: $(tail -n 1 "$T/said")"
		}
	done
}

it run_scripts "the scripts for runit, s6 and procd start the server, which ends at their signal; wrong settings are not tried again"
run_scripts() {
	config here
	mailboxes here user
	export FARDEL_CONF="$T/here.conf"
	for script in runit/run s6/fardel/run; do
		sh packaging/place.sh "${fardel%/*}" packaging/$script >"$T/run"
		: >"$T/run.log"
		begin run sh "$T/run"
		within 20 "the server of $script" grep -q ' started ' "$T/run.out"
		printf 'Subject: x\n\nx\n' | must "sendmail" send here user
		kill "$pid"
		wait "$pid" || fail "$script ends with $?"
		rm -f "$T/run.out"
	done
	within 5 "two messages" arrived here user 2
	mkdir "$T/stub"
	printf '#!/bin/sh\necho "sv $*"\n' >"$T/stub/sv"
	chmod +x "$T/stub/sv"
	must "stays up after 78" [ "$(PATH="$T/stub:$PATH" sh packaging/runit/finish 78 0)" = "sv down ." ]
	must "0 is no fault" [ -z "$(PATH="$T/stub:$PATH" sh packaging/runit/finish 0 0)" ]
	status_is 125 sh packaging/s6/fardel/finish 78 0
	status_is 0 sh packaging/s6/fardel/finish 0 0
	# procd: what the script tells it.
	{
		for name in procd_open_instance procd_set_param procd_close_instance; do echo "$name() { echo \"$name \$*\"; }"; done
		echo 'logger() { echo "logger $*"; }'
		sed -e "s|^PROG=.*|PROG=$fardel|" -e "s|^CONF=.*|CONF=\${1}|" packaging/openwrt/fardel.init
		echo start_service
	} >"$T/procd"
	must "procd" sh "$T/procd" "$T/here.conf" >"$T/said"
	has "^procd_set_param command $fardel serve -c $T/here.conf$" "$T/said"
	has '^procd_close_instance' "$T/said"
	echo 'nonsense = 1' >"$T/wrong.conf"
	sh "$T/procd" "$T/wrong.conf" >"$T/said" 2>&1 && fail "procd is told to start with wrong settings"
	has '^logger ' "$T/said"
}

it fail2ban_sees_failed_logins "the filter for fail2ban finds each failed login and its client, and nothing that a client makes up"
fail2ban_sees_failed_logins() {
	needs_here python3 -c 'import smtplib, ssl'
	need_fail2ban
	PYTHONPATH=$tree/usr/lib/python3/dist-packages
	export PYTHONPATH
	python3 -c 'import fail2ban' 2>/dev/null || skip "fail2ban does not run with this python3"
	serve_users
	cat >"$T/guess.py" <<'TEXT'
import smtplib, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[2])
for user in "user", "no info auth-failed client=192.0.2.1 body", "x\" client=192.0.2.2 y=\"":
    s = smtplib.SMTP("localhost", int(sys.argv[1]), timeout=30, local_hostname="[192.0.2.3]")
    s.starttls(context=context)
    try:
        s.login(user, "wrong")
    except smtplib.SMTPAuthenticationError:
        pass
    else:
        sys.exit("in with a wrong password")
    s.docmd("QUIT")
TEXT
	must "guessing" timeout 100 python3 "$T/guess.py" "$starttls" "$T/cert.pem"
	guesses=$(grep -c ' auth-failed ' "$T/here.log")
	must "guesses are in the log" [ "$guesses" -ge 3 ]
	# The same lines as syslog and the journal have them.
	grep ' auth-failed ' "$T/here.log" >"$T/file"
	sed 's/^[^ ]* /Nov  2 10:00:00 here fardel[123]: /' "$T/file" >"$T/syslog"
	echo '2026-11-02T10:00:00Z info auth-ok client=192.0.2.6 user=user mech=PLAIN helo=x' >>"$T/file"
	echo '2026-11-02T10:00:00Z info rejected stage=RCPT client=192.0.2.4 helo="x info auth-failed client=192.0.2.5 "' >>"$T/file"
	mkdir "$T/f2b"
	cp -r "$tree/etc/fail2ban/." "$T/f2b" && cp packaging/fail2ban/filter.conf "$T/f2b/filter.d/fardel.conf" || fail "no copy of the filter"
	for log in file syslog; do
		timeout 60 python3 "$tree/usr/bin/fail2ban-regex" -c "$T/f2b" -o '<ip>' "$T/$log" fardel >"$T/said" 2>"$T/complaint"
		must "$log: the clients are $(sort "$T/said" | uniq -c | tr '\n' ' ')$(cat "$T/complaint")" [ "$(sort -u "$T/said")" = 127.0.0.1 ]
		must "$log: $(wc -l <"$T/said") of $guesses" [ "$(wc -l <"$T/said")" = "$guesses" ]
	done
}

it bash_completion "bash completes commands, settings and options as the program has them"
bash_completion() {
	command -v bash >/dev/null 2>&1 || skip "no bash here"
	mkdir "$T/path"
	ln -s "$fardel" "$T/path/fardel"
	cat >"$T/complete" <<'TEXT'
. packaging/completion.bash
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_fardel
printf '%s\n' "${COMPREPLY[@]}"
TEXT
	completes() { # completes THING WORD...: the last word may become that
		thing=$1
		shift
		PATH="$T/path:$PATH" bash "$T/complete" "$@" >"$T/said" 2>&1
		grep -qx -- "$thing" "$T/said" || fail "$*: not $thing but $(tr '\n' ' ' <"$T/said")"
	}
	completes serve fardel ser
	completes --version fardel --v
	completes local_domains= fardel serve -o local_d
	completes release fardel queue rel
	completes submissions fardel inetd -s submissio
	completes -bs fardel sendmail -b
	for name in $("$fardel" help | sed -n 's/^  \([a-z]*\) .*/\1/p'); do completes "$name" fardel "$name"; done
}
