#!/bin/sh
# Builds for another machine and runs the unit tests there, in qemu's emulation of it: tests/cross.sh ARCH [SUITE]
# ARCH is Debian's name. What links against it is fetched as Debian's packages into build/cross-ARCH/root; nothing of this system is
# changed but for the cross compiler and qemu-user, which root installs when they are missing.
set -u
arch=${1:-}
case $arch in
arm64) triplet=aarch64-linux-gnu qemu=aarch64 ;;
armhf) triplet=arm-linux-gnueabihf qemu=arm ;;
mipsel) triplet=mipsel-linux-gnu qemu=mipsel ;;         # 32 bits
s390x) triplet=s390x-linux-gnu qemu=s390x ;;            # big-endian
*) echo "cross: say arm64, armhf, mipsel or s390x" >&2; exit 2 ;;
esac
shift
here=$(pwd)
base=$here/build/cross-$arch
root=$base/root

apt() { DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3 "$@"; }
if ! command -v "$triplet-gcc" >/dev/null || ! command -v "qemu-$qemu" >/dev/null; then
	if [ "$(id -u)" != 0 ]; then
		echo "cross: run this as root: apt-get install -y gcc-$triplet qemu-user" >&2
		exit 1
	fi
	{ apt install -y "gcc-$triplet" qemu-user || { apt update && apt install -y "gcc-$triplet" qemu-user; }; } >"/tmp/cross.$$" 2>&1 ||
		{ tail -5 "/tmp/cross.$$" >&2; rm -f "/tmp/cross.$$"; exit 1; }
	rm -f "/tmp/cross.$$"
fi

# The libraries of that machine, by an apt that knows nothing of this one.
fetch() {
	mkdir -p "$base/state/lists/partial" "$base/cache/archives/partial" "$root" || return
	: >"$base/state/status"
	cat >"$base/apt.conf" <<-END
	Dir::State "$base/state";
	Dir::State::status "$base/state/status";
	Dir::Cache "$base/cache";
	APT::Architecture "$arch";
	APT::Architectures { "$arch"; };
	APT::Sandbox::User "root";
	Debug::NoLocking "1";
	END
	APT_CONFIG=$base/apt.conf
	export APT_CONFIG
	apt update && apt install -y --no-install-recommends --download-only libc6-dev libudns-dev libbearssl-dev check libidn2-dev \
		libsodium-dev libseccomp-dev zlib1g-dev libcrypt-dev libpsl-dev libexpat1-dev libjansson-dev libgcc-s1 || return
	unset APT_CONFIG
	for deb in "$base"/cache/archives/*.deb; do
		dpkg -x "$deb" "$root" || return
	done
	touch "$root/complete"
}
if [ ! -e "$root/complete" ]; then
	mkdir -p "$base"
	fetch >"$base/fetch.log" 2>&1 || { tail -5 "$base/fetch.log" >&2; echo "cross: the libraries of $arch cannot be fetched" >&2; exit 1; }
fi

# Commands without words: the Makefile's probes quote what they call.
printf '#!/bin/sh\nexec %s --sysroot=%s "$@"\n' "$triplet-gcc" "$root" >"$base/cc"
printf '#!/bin/sh\nexec qemu-%s -L %s %s "$@"\n' "$qemu" "$root" "$base/unit" >"$base/run"
chmod +x "$base/cc" "$base/run"
make -j2 VARIANT="cross-$arch" CC="$base/cc" "build/cross-$arch/fardel" "build/cross-$arch/unit" || exit
"$triplet-size" "$base/fardel"
CK_TIMEOUT_MULTIPLIER=${CK_TIMEOUT_MULTIPLIER:-10}
export CK_TIMEOUT_MULTIPLIER
exec sh tests/run-unit.sh "$base/run" "$@"
