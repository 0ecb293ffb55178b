#!/bin/sh
# Builds for another machine, with the flags of ./fardel, and runs the unit tests there: tests/cross.sh ARCH [SUITE]
# ARCH is Debian's name for it, and the tests run in qemu's emulation; or musl: this machine with another C library, and without the
# libraries that are optional. What links against it lies in build/cross-ARCH/root, from Debian's packages or built from its sources;
# nothing of this system is changed but for the compiler and what it takes, which root installs when it is missing.
set -u
arch=${1:-}
debian=$arch
case $arch in
arm64) triplet=aarch64-linux-gnu qemu=qemu-aarch64 ;;
armhf) triplet=arm-linux-gnueabihf qemu=qemu-arm ;;
mipsel) triplet=mipsel-linux-gnu qemu=qemu-mipsel ;;    # 32 bits
s390x) triplet=s390x-linux-gnu qemu=qemu-s390x ;;       # big-endian
musl) triplet=$(uname -m)-linux-gnu qemu='' debian=$(dpkg --print-architecture) ;;
*) echo "cross: say arm64, armhf, mipsel, s390x or musl" >&2; exit 2 ;;
esac
shift
base=$(pwd)/build/cross-$arch
root=$base/root
lib=$root/usr/lib/$triplet
mkdir -p "$lib" "$root/usr/include" || exit

# Commands without words: the Makefile's probes quote what they call.
if [ "$qemu" ]; then
	tools="gcc-$triplet qemu-user" compiler=$triplet-gcc
	flags=--sysroot=$root runner="$qemu -L $root"
else
	tools="musl-tools linux-libc-dev dpkg-dev" compiler=musl-gcc
	flags="-I$root/usr/include -L$lib" runner="env LD_LIBRARY_PATH=$lib"
fi
printf '#!/bin/sh\nexec %s "$@"\n' "$compiler $flags" >"$base/cc"
printf '#!/bin/sh\nexec %s "$@"\n' "$runner $base/unit" >"$base/run"
chmod +x "$base/cc" "$base/run"

apt() { DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3 "$@"; }
# shellcheck disable=SC2086
install() { apt install -y $tools; }
if ! command -v "$compiler" >/dev/null || ! command -v "${qemu:-dpkg-source}" >/dev/null; then
	if [ "$(id -u)" != 0 ]; then
		echo "cross: run this as root: apt-get install -y $tools" >&2
		exit 1
	fi
	{ install || { apt update && install; }; } >"$base/fetch.log" 2>&1 || { tail -5 "$base/fetch.log" >&2; exit 1; }
fi

# An apt that knows nothing of what this system has, and the release alone: $1 is deb or deb-src.
stranger() {
	release=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
	mkdir -p "$base/state/lists/partial" "$base/cache/archives/partial" || return
	: >"$base/state/status"
	echo "$1 http://deb.debian.org/debian $release main" >"$base/sources.list"
	cat >"$base/apt.conf" <<-END
	Dir::State "$base/state";
	Dir::State::status "$base/state/status";
	Dir::Cache "$base/cache";
	Dir::Etc::SourceList "$base/sources.list";
	Dir::Etc::SourceParts "-";
	APT::Architecture "$debian";
	APT::Architectures { "$debian"; };
	APT::Sandbox::User "root";
	Debug::NoLocking "1";
	END
	APT_CONFIG=$base/apt.conf
	export APT_CONFIG
	apt update
}
packages() {
	stranger deb && apt install -y --no-install-recommends --download-only libc6-dev libudns-dev libbearssl-dev check libidn2-dev \
		libsodium-dev libseccomp-dev zlib1g-dev libcrypt-dev libpsl-dev libexpat1-dev libjansson-dev libgcc-s1 || return
	for deb in "$base"/cache/archives/*.deb; do
		dpkg -x "$deb" "$root" || return
	done
	for link in "$lib"/*.so; do             # to /lib: of this system, or nowhere
		case $(readlink "$link") in /*) ln -sf "$root$(readlink "$link")" "$link" || return ;; esac
	done
}
# No package has them for musl. The kernel's headers are this system's.
sources() {
	rm -rf "$base/source"
	stranger deb-src && mkdir "$base/source" && cd "$base/source" && apt source bearssl udns check || return
	CC=$base/cc MAKEFLAGS=
	export CC MAKEFLAGS
	ln -sfn /usr/include/linux /usr/include/asm-generic "/usr/include/$triplet/asm" "$root/usr/include" &&
		make -j2 -C bearssl-*/ CC="$CC" LDDLL="$CC" dll && cp bearssl-*/inc/*.h "$root/usr/include" && cp bearssl-*/build/libbearssl.so "$lib" &&
		cd udns-*/ && ./configure && make sharedlib && cp udns.h "$root/usr/include" && cp libudns.so.0 "$lib" && ln -sf libudns.so.0 "$lib/libudns.so" &&
		cd ../check-*/ && ./configure --prefix=/usr --libdir="${lib#"$root"}" --disable-shared --disable-subunit && make -C lib &&
		make -C src install DESTDIR="$root" && cp check_stdint.h "$root/usr/include" && mkdir -p "$lib/pkgconfig" && sed s/_pic// check.pc >"$lib/pkgconfig/check.pc"
}
fetch() { if [ "$qemu" ]; then packages; else sources; fi; }
if [ ! -e "$root/complete" ]; then
	(fetch) >"$base/fetch.log" 2>&1 || { tail -5 "$base/fetch.log" >&2; echo "cross: no libraries for $arch: see $base/fetch.log" >&2; exit 1; }
	touch "$root/complete"
fi

# What deps.sh would install is this system's.
PKG_CONFIG_LIBDIR=$lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$root
export PKG_CONFIG_LIBDIR PKG_CONFIG_SYSROOT_DIR
make --no-print-directory -j2 -o build/deps-build -o build/deps-check B="build/cross-$arch" PROGRAM="$base/fardel" CC="$base/cc" "$base/fardel" "build/cross-$arch/unit" || exit
"$triplet-strip" -o "$base/stripped" "$base/fardel" || exit
found=$(grep -o 'HAVE_[A-Z0-9]*' "$base/flags" | sed 's/HAVE_/ /' | tr -d '\n')
echo "cross: $(wc -c <"$base/stripped") octets stripped; what is optional:${found:- nothing}"

# What qemu-user (7.2) does wrong is left out, three tests by their tags in tests/unit/: it does not know F_SET_RW_HINT; and getsockopt() of
# SO_ERROR gives it this machine's number of an error, which is another one on mipsel.
case $arch in
musl) CK_EXCLUDE_TAGS= ;;
mipsel) CK_EXCLUDE_TAGS="write-hint so-error" ;;
*) CK_EXCLUDE_TAGS=write-hint ;;
esac
CK_TIMEOUT_MULTIPLIER=${CK_TIMEOUT_MULTIPLIER:-10}
export CK_EXCLUDE_TAGS CK_TIMEOUT_MULTIPLIER
sh tests/run-unit.sh "$base/run" "$@" >"$base/tests.log" 2>&1
status=$?
awk '/^[0-9]*%: Checks: / { checks = $3 + 0; bad = $5 + $7; next } { print }
	END { printf "%d passed, %d failed\n", checks - bad, checks ? bad : 1 }' "$base/tests.log"
exit $status
