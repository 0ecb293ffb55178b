# What bench/run.sh and bench/relay.sh have in common. Sourced; $root is where the project lies, $T a directory of this run.
set -u
LC_ALL=C
export LC_ALL
umask 022
root=$(cd "$(dirname "$0")/.." && pwd) || exit 1
cd "$root" || exit 1
rounds=${ROUNDS:-5}
fardel=${PROGRAM:-$root/fardel}
tools=$root/build/default/e2e
load=$root/build/bench/load
# On the disk that the project lies on: /tmp may be memory, where no sync costs anything.
T=$(mktemp -d "$root/build/bench/run.XXXXXX") || exit 1
# DISK=ext4 or xfs: a new file system of that kind, in a file on the same disk; for root. What others do with the disk's own one is felt less.
# An ext4 without a journal passes over each inode that was freed in the last minutes before it has one for a new file, so that whoever is
# fast pays for those before: there it is ext4 unless DISK= is said.
without_journal() {
	disk=$(findmnt -n -o SOURCE -T "$T" 2>/dev/null)
	grep -qs none "/sys/fs/ext4/${disk##*/}/journal_task"
}
if [ "${DISK-unset}" = unset ] && [ "$(id -u)" = 0 ] && without_journal; then
	echo "bench: the file system here is ext4 without a journal: measured on one with, in a file on it (DISK= takes the one here)" >&2
	DISK=ext4
fi
if [ "${DISK:-}" ]; then
	# An inode for each 2 kB, as messages are small, and all of them written now, not by the kernel beside what is measured.
	case $DISK in ext4) options="-i 2048 -E lazy_itable_init=0,lazy_journal_init=0" ;; *) options= ;; esac
	# shellcheck disable=SC2086
	fallocate -l ${DISK_SIZE:-4G} "$T.disk" && "mkfs.$DISK" -q $options "$T.disk" && mount -o loop "$T.disk" "$T" || { echo "bench: no $DISK of our own" >&2; exit 1; }
fi
chmod 711 "$T"
started=
. tests/e2e/lib.sh
queue_log=$("$fardel" config -c /dev/null | sed -n 's/^#queue_log = //p')       # the preset, where the tests have a small one
skip() { fail "$@"; }
fail() {
	echo "bench: $*" >&2
	exit 1
}
ways_out=               # our environment is left as it is
. tests/e2e/packages.sh
it() { :; }
. tests/e2e/cases/clients.sh
. tests/e2e/cases/servers.sh
leave() {
	end_all
	[ -z "${DISK:-}" ] || umount -l "$T"
	[ "${KEEP:-}" ] || rm -rf "$T" "$T.disk"
}
trap leave EXIT
trap 'exit 143' INT TERM HUP

# For reports: a list in order, and it as median [least - most].
awk_lists='function sorted(list, n,   i, j, x) { for (i = 2; i <= n; i++) { x = list[i]; for (j = i - 1; j && list[j] > x; j--) list[j + 1] = list[j]; list[j + 1] = x } }
	function show(list, n, form) { sorted(list, n); return sprintf(form " [" form " - " form "]", list[int((n + 1) / 2)], list[1], list[n]) }
'
# The intake log is filled beside the service; until then it is as with queue_sync = file. Where there will be none, it is measured so.
log_is_there() { [ -e "$T/fardel.queue/wal/1" ] || [ ! -e "$T/fardel.queue/wal" ]; }
have_postfix() {
	[ "$(id -u)" = 0 ] || return 1
	(need_postfix) >/dev/null 2>&1
	[ -d "$store/postfix" ]
}
# Postfix with the settings that come on standard input in place of those of the end-to-end test; its port is in $postfix_port.
postfix_begins() {
	need_postfix
	own_tree
	accounts postfix postdrop
	free_port
	postfix_port=$port
	mkdir -p "$T/postfix/etc" "$T/postfix/data" "$T/postfix/mail" "$T/postfix/queue"
	postfix_config "$postfix_port" 9
	cat >"$T/postfix/settings"
	while read -r setting rest; do
		sed -i "/^$setting = /d" "$T/postfix/etc/main.cf"
		[ "$rest" = "= (default)" ] || echo "$setting $rest" >>"$T/postfix/etc/main.cf"
	done <"$T/postfix/settings"
	for directory in active bounce corrupt defer deferred flush hold incoming private public maildrop saved trace pid; do
		mkdir "$T/postfix/queue/$directory"
	done
	chown 64001:64001 "$T/postfix/queue/"* "$T/postfix/data" "$T/postfix/mail"
	chown 0:0 "$T/postfix/queue/pid"
	# A session of its own: master ends what is in its process group.
	# shellcheck disable=SC2086
	begin postfix setsid env $wrapped MAIL_CONFIG="$T/postfix/etc" "$tree/usr/lib/postfix/sbin/master" -c "$T/postfix/etc" -d
	postfix_pid=$pid
}
