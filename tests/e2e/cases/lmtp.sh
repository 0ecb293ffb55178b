# LMTP to Dovecot: each recipient has a result of his own.

# dovecot: on $T/lmtp.sock and a port ($lmtp_port), with the mailboxes fine, also, and full, as whoever runs the case.
dovecot() {
	need dovecot dovecot-core dovecot-lmtpd
	me=$(id -un)
	free_port
	lmtp_port=$port
	mkdir "$T/run" "$T/state" "$T/boxes"
	# Root's children do not deliver as root: they have an account without rights.
	mail_id=$(id -u):$(id -g)
	if [ "$(id -u)" = 0 ]; then
		mail_id=65534:65534
		chown 65534:65534 "$T/boxes"
	fi
	for user in fine also full; do
		rule=1G
		[ $user = full ] && rule=1k
		echo "$user:{PLAIN}x:$mail_id::$T/boxes/$user::userdb_quota_rule=*:storage=$rule"
	done >"$T/users"
	cat >"$T/dovecot.conf" <<-END
		protocols = lmtp
		log_path = $T/dovecot.log
		base_dir = $T/run
		state_dir = $T/state
		libexec_dir = $tree/usr/lib/dovecot
		mail_plugin_dir = $tree/usr/lib/dovecot/modules
		import_environment = LD_LIBRARY_PATH=$libraries
		default_internal_user = $me
		default_internal_group = $(id -gn)
		default_login_user = $me
		first_valid_uid = 1
		ssl = no
		auth_username_format = %Ln
		mail_location = maildir:~/Maildir
		mail_plugins = quota
		plugin {
		  quota = maildir:quota
		}
		userdb {
		  driver = passwd-file
		  args = $T/users
		}
		passdb {
		  driver = passwd-file
		  args = $T/users
		}
		service anvil {
		  chroot =
		}
		service stats {
		  chroot =
		}
		service auth {
		  chroot =
		}
		service lmtp {
		  unix_listener $T/lmtp.sock {
		    mode = 0600
		  }
		  inet_listener lmtp {
		    address = 127.0.0.1
		    port = $lmtp_port
		  }
		}
	END
	begin dovecot env LD_LIBRARY_PATH="$libraries" "$tree/usr/sbin/dovecot" -F -c "$T/dovecot.conf"
	within 20 "the socket of Dovecot: $(tail -n 3 "$T/dovecot.log" 2>/dev/null)" [ -S "$T/lmtp.sock" ]
}
has_mail() { [ "$(files "$T/boxes/$1/Maildir/new")" = "$2" ]; }
result() { within 30 "the log has \"$1\"" grep -q -- "$1" "$T/here.log"; }
# deliver_to_dovecot ROUTE: one message to a mailbox that is there, one that is full, one that is not, and another that is.
deliver_to_dovecot() {
	serve here "local_domains = here.test there.test" "route = there.test $1"
	head -c 3000 /dev/zero | tr '\0' x | fold -w 70 >"$T/body"
	{ printf 'From: <sender@here.test>\nSubject: LMTP\n\n'; cat "$T/body"; echo; } | sed 's/$/\r/' >"$T/message"
	must "the message is taken" inject -p "$(port_of here)" -f sender@here.test -m "$T/message" -t fine@there.test -t full@there.test \
		-t unknown@there.test -t also@there.test
	result 'delivered .*to=fine@there.test .*250 2.0.0'
	result 'delivered .*to=also@there.test .*250 2.0.0'
	result 'failed .*to=full@there.test .*55[24] 5.2.2'
	result 'failed .*to=unknown@there.test .*550 5.1.1'
	drained here
	within 20 "the mail of fine" has_mail fine 1
	must "the mail of also" has_mail also 1
	must "full has none" has_mail full 0
	within 20 "one report" arrived here sender 1
	has 'full@there.test' "$(mail here sender)"
	has 'unknown@there.test' "$(mail here sender)"
	has '^Return-Path: <sender@here.test>' "$(ls "$T"/boxes/fine/Maildir/new/*)"
}

it lmtp_dovecot_by_its_socket "LMTP to Dovecot by a unix socket: a mailbox that takes the message, one over its quota, one unknown, each with its own result"
lmtp_dovecot_by_its_socket() {
	dovecot
	deliver_to_dovecot "lmtp://$T/lmtp.sock"
}

it lmtp_dovecot_by_tcp "LMTP to Dovecot by TCP: the same"
lmtp_dovecot_by_tcp() {
	dovecot
	deliver_to_dovecot "lmtp://127.0.0.1:$lmtp_port"
}
