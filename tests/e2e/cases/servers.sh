# Whole servers of other people at the other end, unpacked and run with a private configuration.

write_message() {
	{
		printf 'X-E2E: server\nSubject: through and through\nFrom: <a@client.test>\nTo: <u@there.test>\nDate: Mon, 2 Nov 2026 10:00:00 +0000\nMessage-ID: <1@client.test>\nMIME-Version: 1.0\nContent-Transfer-Encoding: 8bit\n\n'
		printf '.\n..two\n.\n\ngr\303\274\303\237e\n'
		head -c 300000 /dev/urandom | tr -d '\000\r\n' | fold -b -w 200
		echo
	} >"$T/lf"
	sed 's/$/\r/' <"$T/lf" >"$T/crlf"
}
# there_and_back DOMAIN PORT LOG PATTERN DIRECTORY: 50 recipients at the server in one transaction, its copy intact;
# then 20 messages and one to three people from there, inside TLS.
there_and_back() {
	write_message
	must "the message is taken" inject -p "$(port_of here)" -f sender@here.test -m "$T/crlf" -t "u%d@$1" -R 50
	drained here
	within 30 "the message in $5" some_file "$5"
	must "one transaction" [ "$(grep -c "$4" "$3")" = 1 ]
	original "$(ls -d "$5"/* | head -n 1)" | cmp - "$T/lf" || fail "it is not the same at $1"
	must "$1 takes 20 messages" inject -p "$2" -f a@client.test -n 20 -s 4 -t user@here.test
	must "$1 takes the large one" inject -p "$2" -f b@client.test -m "$T/crlf" -t one@here.test -t two@here.test -t three@here.test
	within 60 "20 messages from $1" arrived here user 20
	for user in one two three; do within 30 "the message for $user" arrived here $user 1; done
	original "$(mail here two)" | cmp - "$T/lf" || fail "what $1 has sent is not the same"
	must "as one message" [ "$(grep -c ' received .*from=b@client.test .*nrcpt=3' "$T/here.log")" = 1 ]
	must "all inside TLS" [ "$(grep ' received .*from=[ab]@client.test ' "$T/here.log" | grep -vc ' proto=ESMTPS ')" = 0 ]
}
some_file() { [ "$(files "$1")" -gt 0 ]; }

exim_config() { # exim_config PORT FARDEL-PORT
	cat <<TEXT
primary_hostname = exim.test
exim_path = $tree/usr/sbin/exim4
exim_user = Debian-exim
exim_group = Debian-exim
keep_environment = LD_LIBRARY_PATH : LD_PRELOAD : NSS_WRAPPER_PASSWD : NSS_WRAPPER_GROUP
spool_directory = $T/exim/spool
log_file_path = $T/exim/%slog
pid_file_path = $T/exim/pid
local_interfaces = 127.0.0.1
daemon_smtp_ports = $1
tls_advertise_hosts =
host_lookup =
rfc1413_query_timeout = 0s
accept_8bitmime = true
deliver_drop_privilege = true
smtp_accept_queue_per_connection = 0
acl_smtp_rcpt = all
begin acl
all:
  accept
begin routers
back:
  driver = manualroute
  domains = here.test
  transport = smtp
  route_data = 127.0.0.1
  self = send
here:
  driver = accept
  domains = exim.test
  transport = maildir
begin transports
smtp:
  driver = smtp
  port = $2
  allow_localhost
  hosts_require_tls = *
  tls_verify_certificates = $T/cert.pem
  tls_verify_hosts = *
  tls_verify_cert_hostnames = *
maildir:
  driver = appendfile
  directory = $T/exim/mail
  maildir_format
  batch_max = 100
  user = Debian-exim
  group = Debian-exim
begin retry
* * F,1h,1s
TEXT
}
it exim_receives_and_sends "Exim gets 50 recipients in one transaction and 300 kB intact, and what it sends inside verified TLS arrives"
exim_receives_and_sends() {
	need_exim
	[ "$(id -u)" = 0 ] && own_tree
	accounts Debian-exim
	mkdir -p "$T/exim/spool" "$T/exim/mail/tmp" "$T/exim/mail/new" "$T/exim/mail/cur"
	free_port
	exim_port=$port
	serve_tls "route = exim.test smtp://127.0.0.1:$exim_port"
	mailboxes here one two three
	exim_config "$exim_port" "$(port_of here)" >"$T/exim/conf"
	[ "$(id -u)" = 0 ] && chown -R 64001:64001 "$T/exim/spool" "$T/exim/mail" && chown 64001:64001 "$T/exim"
	# shellcheck disable=SC2086
	begin exim-daemon env $wrapped "$tree/usr/sbin/exim4" -C "$T/exim/conf" -bdf -q2s
	within 20 "Exim at port $exim_port ($(tail -n 2 "$T/exim-daemon.log"))" answers "$exim_port"
	there_and_back exim.test "$exim_port" "$T/exim/mainlog" ' <= sender@here.test' "$T/exim/mail/new"
}

postfix_config() { # postfix_config PORT FARDEL-PORT
	cat >"$T/postfix/etc/main.cf" <<TEXT
compatibility_level = 3.6
queue_directory = $T/postfix/queue
command_directory = $tree/usr/sbin
daemon_directory = $tree/usr/lib/postfix/sbin
shlib_directory = $tree/usr/lib/postfix
meta_directory = $T/postfix/etc
data_directory = $T/postfix/data
mail_owner = postfix
setgid_group = postdrop
default_privs = nobody
import_environment = MAIL_CONFIG MAIL_LOGTAG LD_LIBRARY_PATH LD_PRELOAD NSS_WRAPPER_PASSWD NSS_WRAPPER_GROUP
maillog_file = $T/postfix/log
maillog_file_prefixes = $T
myhostname = postfix.test
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
relay_domains = here.test
smtpd_relay_restrictions = permit_mynetworks, reject
virtual_mailbox_domains = postfix.test
virtual_mailbox_base = $T/postfix/mail
virtual_mailbox_maps = static:box/
virtual_minimum_uid = 100
virtual_uid_maps = static:64001
virtual_gid_maps = static:64001
transport_maps = inline:{here.test=smtp:[127.0.0.1]:$2}
alias_maps =
smtp_dns_support_level = disabled
smtp_tls_security_level = verify
smtp_tls_verify_cert_match = localhost
smtp_tls_CAfile = $T/cert.pem
smtpd_tls_security_level = none
TEXT
	cat >"$T/postfix/etc/master.cf" <<TEXT
$1 inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
tlsmgr unix - - n 1000? 1 tlsmgr
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
TEXT
}
it postfix_receives_and_sends "Postfix gets 50 recipients in one transaction and 300 kB intact, and what it sends inside verified TLS arrives"
postfix_receives_and_sends() {
	[ "$(id -u)" = 0 ] || skip "Postfix's master runs as root alone"
	need_postfix
	own_tree
	accounts postfix postdrop
	free_port
	postfix_port=$port
	serve_tls "route = postfix.test smtp://127.0.0.1:$postfix_port"
	mailboxes here one two three
	mkdir -p "$T/postfix/etc" "$T/postfix/data" "$T/postfix/mail" "$T/postfix/queue"
	postfix_config "$postfix_port" "$(port_of here)"
	for directory in active bounce corrupt defer deferred flush hold incoming private public maildrop saved trace; do
		mkdir "$T/postfix/queue/$directory"
	done
	mkdir "$T/postfix/queue/pid"
	chown 64001:64001 "$T/postfix/queue/"* "$T/postfix/data" "$T/postfix/mail"
	chown 0:0 "$T/postfix/queue/pid"
	# A session of its own: master ends what is in its process group.
	# shellcheck disable=SC2086
	begin postfix-master setsid env $wrapped MAIL_CONFIG="$T/postfix/etc" "$tree/usr/lib/postfix/sbin/master" -c "$T/postfix/etc" -d
	within 20 "Postfix at port $postfix_port" answers "$postfix_port"
	there_and_back postfix.test "$postfix_port" "$T/postfix/log" 'qmgr.*from=<sender@here.test>.*nrcpt=50' "$T/postfix/mail/box/new"
}
