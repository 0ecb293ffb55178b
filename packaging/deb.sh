#!/bin/sh
# make deb: a Debian package of the sources as they are. packaging/deb.sh DIRECTORY: where it is built, and lies afterwards.
set -u
cd "$(dirname "$0")/.." || exit 1
if [ $# != 1 ]; then
	echo "usage: packaging/deb.sh DIRECTORY" >&2
	exit 64
fi
for tool in dpkg-buildpackage dh; do
	command -v $tool >/dev/null 2>&1 || { echo "deb: there is no $tool: apt-get install -y dpkg-dev debhelper" >&2; exit 69; }
done
version=$(sed -n 's/^#define FARDEL_VERSION "\(.*\)"$/\1/p' fardel.h)
mkdir -p "$1" || exit 1
into=$(cd "$1" && pwd) || exit 1
tree=$into/fardel-$version
rm -rf "$tree" || exit 1
mkdir "$tree" || exit 1
# The sources alone, so that nothing of another build comes in.
tar cf - --exclude=./.git --exclude=./build --exclude=./run --exclude=./fardel . | tar xf - -C "$tree" || exit 1
cp -r packaging/debian "$tree/debian" || exit 1
sed "1s/([^)]*)/($version)/" packaging/debian/changelog >"$tree/debian/changelog" || exit 1
chmod 755 "$tree/debian/rules"
cd "$tree" || exit 1
# What this was called with is for make of the project, not of the package.
unset MAKEFLAGS MFLAGS MAKELEVEL
dpkg-buildpackage -us -uc -b >"$into/log" 2>&1 || { tail -n 30 "$into/log" >&2; echo "deb: failed; all of it is in $into/log" >&2; exit 1; }
cd "$into" && rm -rf "$tree" && ls "$into"/fardel_"$version"_*.deb
