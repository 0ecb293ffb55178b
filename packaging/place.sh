#!/bin/sh
# packaging/place.sh SBINDIR FILE: the file, for a program that lies in SBINDIR, on standard output.
set -u
sed "s|/usr/local/sbin/fardel|$1/fardel|g" "$2"
