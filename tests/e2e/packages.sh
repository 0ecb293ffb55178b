# Other people's servers: fetched as Debian packages with the libraries that this system does not have, unpacked below
# build/e2e/ and run from there. Nothing is installed.

store=$root/build/e2e
# There when there was no way out: who has waited in vain once in a run does so no more.
no_way_out=${base:-$T}/no_way_out

for name in $ways_out; do
	eval "outside_$name=\${$name:-}"
	unset "$name"
done
# outside COMMAND...: with the home, the proxies and the like of who runs the tests.
outside() {
	for name in $ways_out; do
		eval "value=\$outside_$name"
		[ -z "$value" ] || set -- "$name=$value" "$@"
	done
	env "$@"
}

# Where this system has no package lists, ours are kept in a place of our own.
own_lists() {
	mkdir -p "$store/apt/lists/partial" "$store/apt/cache"
	apt_options="-o Dir::State::Lists=$store/apt/lists -o Dir::Cache=$store/apt/cache -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache="
	[ -e "$store/apt/done" ] && return
	# shellcheck disable=SC2086
	outside timeout 120 apt-get -q $apt_options -o APT::Sandbox::User=root update >/dev/null 2>&1
	# It succeeds without having got any, too.
	if ls "$store/apt/lists/"*_Packages* >/dev/null 2>&1; then
		: >"$store/apt/done"
		return
	fi
	: >"$no_way_out"
	return 1
}
installed() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }
# The packages and the libraries below them that are not installed.
with_libraries() {
	list=$*
	found=" "
	while [ "$list" ]; do
		found="$found$(echo $list) "
		# shellcheck disable=SC2086
		below=$(apt-cache $apt_options depends --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances $list 2>/dev/null |
			sed -n 's/^[ |]*\(Pre\)\{0,1\}Depends: \(lib[^ :]*\).*/\2/p' | sort -u)
		list=
		for package in $below; do
			case $found in *" $package "*) continue ;; esac
			case $package in libc6|libgcc-s1|libstdc++6) continue ;; esac
			installed "$package" || list="$list $package"
		done
	done
	echo $found
}
# fetch DIRECTORY PACKAGE...: several runs may do so at once; the first that is ready counts.
fetch() {
	into=$1
	shift
	work=$(mktemp -d "$store/fetch.XXXXXX") || return 1
	mkdir "$work/deb" "$work/tree"
	chmod 755 "$work" "$work/tree"
	# shellcheck disable=SC2046,SC2086
	(
		cd "$work/deb" && outside timeout 180 apt-get -q $apt_options -o APT::Sandbox::User=root -o Acquire::Retries=2 download $(with_libraries "$@") >/dev/null 2>&1 &&
			for deb in *.deb; do dpkg -x "$deb" ../tree || exit 1; done
	) && find "$work/tree" -type f -perm /6000 -exec chmod ug-s {} + && mv -T "$work/tree" "$into" 2>/dev/null
	rm -rf "$work"
	[ -d "$into" ]
}
# need NAME PACKAGE...: $tree is where they are unpacked, $libraries what the loader must be told; else the case is skipped.
need() {
	tree=$store/$1
	if [ ! -d "$tree" ]; then
		shift
		[ -e "$no_way_out" ] && skip "the package $1 cannot be had: no way out was found before"
		command -v apt-get >/dev/null 2>&1 && command -v dpkg >/dev/null 2>&1 || skip "no apt-get and dpkg here to unpack $1 with"
		mkdir -p "$store"
		apt_options=
		fetch "$tree" "$@" || { own_lists && fetch "$tree" "$@"; } || skip "the package $1 cannot be had"
	fi
	find_libraries
}
find_libraries() {
	libraries=$tree/usr/lib/postfix
	for directory in "$tree"/usr/lib/*-linux-* "$tree"/lib/*-linux-*; do
		[ -d "$directory" ] && libraries=$libraries:$directory
	done
}
need_postfix() { need postfix postfix libnss-wrapper; }
need_exim() { need exim exim4-daemon-light exim4-base libnss-wrapper; }
need_inetd() { need inetd openbsd-inetd; }
need_swaks() { need swaks swaks; }
need_fail2ban() { need fail2ban fail2ban; }
need_haproxy() { need haproxy haproxy; }
need_swaks_tls() { need swaks-tls swaks libnet-ssleay-perl; }
# Runs a program of the tree.
of_tree() { LD_LIBRARY_PATH=$libraries "$@"; }

# accounts NAME...: users and groups that a server wants and this system has not, for the server alone.
# They go through nss_wrapper; $wrapped holds the environment.
accounts() {
	cat /etc/passwd >"$T/passwd"
	cat /etc/group >"$T/group"
	number=64001
	for name in "$@"; do
		account=$number
		[ "$(id -u)" = 0 ] || account=$(id -u)
		echo "$name:x:$account:$account::$T:/bin/false" >>"$T/passwd"
		echo "$name:x:$account:" >>"$T/group"
		number=$((number + 1))
	done
	wrapper=$(find "$tree" -name libnss_wrapper.so | head -n 1)
	[ "$wrapper" ] || skip "libnss_wrapper cannot be had"
	wrapped="LD_PRELOAD=$wrapper NSS_WRAPPER_PASSWD=$T/passwd NSS_WRAPPER_GROUP=$T/group LD_LIBRARY_PATH=$libraries"
}
# own_tree: a copy of the tree in $T, for a server that changes its user and may not get into ours.
own_tree() {
	cp -r "$tree" "$T/tree" || fail "no room for a copy of $tree"
	tree=$T/tree
	find_libraries
}
