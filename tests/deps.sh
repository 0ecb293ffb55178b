#!/bin/sh
# Installs what a step needs when it is missing: as root with apt-get, else says the line that does and fails.
#   tests/deps.sh build|check|deb|clang|valgrind...
set -u
LC_ALL=C
export LC_ALL
cc=${CC:-cc}
case $cc in clang*) cc=cc ;; esac
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

# Compiles and links $1 with the options that follow.
compiles() {
	code=$1
	shift
	printf '%s\nint main(void) { return 0; }\n' "$code" >"$work/probe.c"
	"$cc" -o "$work/probe" "$work/probe.c" "$@" >/dev/null 2>&1
}
have() { command -v "$1" >/dev/null 2>&1; }

# probe WORD: is it there?
probe() {
	case $1 in
	cc) compiles '#include <stdio.h>' ;;
	udns) compiles '#include <udns.h>' -ludns ;;
	bearssl) compiles '#include <bearssl.h>' -lbearssl ;;
	idn2) compiles '#include <idn2.h>' -lidn2 ;;
	psl) compiles '#include <libpsl.h>' -lpsl ;;
	seccomp) compiles '#include <seccomp.h>' -lseccomp ;;
	zlib) compiles '#include <zlib.h>' -lz ;;
	expat) compiles '#include <expat.h>' -lexpat ;;
	jansson) compiles '#include <jansson.h>' -ljansson ;;
	sodium) compiles '#include <sodium.h>' -lsodium ;;
	check) compiles '#include <check.h>' -lcheck ;;
	fuse3) have pkg-config && pkg-config --exists fuse3 && have fusermount3 ;;
	openssl) have openssl && compiles '#include <openssl/ssl.h>' -lssl -lcrypto ;;
	clang) have clang && echo 'int main(void) { return 0; }' | clang -fsanitize=address,undefined -x c -o "$work/probe" - 2>/dev/null ;;
	*) have "$1" ;;
	esac
}
package() {
	case $1 in
	cc) echo gcc libc6-dev ;;
	udns) echo libudns-dev ;;
	bearssl) echo libbearssl-dev ;;
	idn2) echo libidn2-dev ;;
	psl) echo libpsl-dev ;;
	seccomp) echo libseccomp-dev ;;
	sodium) echo libsodium-dev ;;
	zlib) echo zlib1g-dev ;;
	expat) echo libexpat1-dev ;;
	jansson) echo libjansson-dev ;;
	clang) echo clang llvm ;;
	fuse3) echo pkg-config libfuse3-dev fuse3 ;;
	mkfs.ext4) echo e2fsprogs ;;
	mkfs.xfs) echo xfsprogs ;;
	ip) echo iproute2 ;;
	openssl) echo openssl libssl-dev ;;
	dh) echo dpkg-dev debhelper ;;
	*) echo "$1" ;;
	esac
}

# The program is built without them, too.
optional="idn2 psl sodium seccomp zlib expat jansson"
wanted=
for step in "$@"; do
	case $step in
	build) wanted="$wanted cc udns bearssl" ;;
	check) wanted="$wanted cc udns bearssl check pkg-config" ;;
	clang) wanted="$wanted cc udns bearssl check pkg-config clang" ;;
	bench) wanted="$wanted cc openssl strace" ;;
	faults) wanted="$wanted cc python3 strace" ;;
	power) wanted="$wanted cc fuse3 python3 ip mkfs.ext4 mkfs.xfs" ;;
	deb) optional="$optional dh" ;;         # where packages are made so
	valgrind) wanted="$wanted cc udns bearssl check pkg-config valgrind" ;;
	*) echo "deps: no step is called $step" >&2; exit 2 ;;
	esac
done

found=
missing=
lacking=
packages=
look() {
	found=
	missing=
	lacking=
	packages=
	# shellcheck disable=SC2086
	for word in $(printf '%s\n' $wanted $optional | awk '!seen[$0]++'); do
		if probe "$word"; then
			found="$found $word"
		else
			case " $optional " in *" $word "*) lacking="$lacking $word" ;; *) missing="$missing $word" ;; esac
			packages="$packages $(package "$word")"
		fi
	done
}

look
without() { [ -z "$lacking" ] || echo "deps: built without$lacking (optional)"; }
if [ -z "$missing" ] && { [ -z "$lacking" ] || [ "$(id -u)" != 0 ] || ! have apt-get; }; then
	echo "deps: found$found"
	without
	exit 0
fi
echo "deps: found${found:- nothing}; missing$missing"
lean=--no-install-recommends
# The sanitizers' libraries are what clang recommends.
case $packages in *clang*) lean= ;; esac
install="apt-get install -y${lean:+ $lean}$packages"
if ! have apt-get; then
	echo "deps: install$missing by the means of this system, then run make again" >&2
	exit 1
fi
if [ "$(id -u)" != 0 ]; then
	echo "deps: run this as root, then make again:" >&2
	echo "  apt-get update && $install" >&2
	exit 1
fi

# Another apt-get may be at work: wait for it instead of failing.
apt() { DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3 "$@"; }
echo "deps: $install"
# shellcheck disable=SC2086
get() { apt install -y $lean $packages; }
# A failure means no package lists yet, or old ones.
if ! get >"$work/log" 2>&1 && ! { apt update && get; } >"$work/log" 2>&1; then
	tail -n 20 "$work/log" >&2
	echo "deps: apt-get could not install$packages (its last lines are above)" >&2
	[ "$missing" ] && exit 1
fi
look
if [ -n "$missing" ]; then
	echo "deps: installed, but$missing still cannot be used" >&2
	exit 1
fi
echo "deps: found$found"
without
exit 0
