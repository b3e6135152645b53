#!/bin/sh
# Builds Debian's dm-writeboost for the kernel whose headers are installed: $OUT/VERSION/dm-writeboost.ko.
set -eu

: "${OUT:?the folder for the modules}"
headers=$(echo /usr/src/linux-headers-*-cloud-amd64)
version=${headers#/usr/src/linux-headers-}
cp -r /usr/src/dm-writeboost-* source
make -C "$headers" M="$PWD/source" modules
install -D -m 0644 source/dm-writeboost.ko "$OUT/$version/dm-writeboost.ko"
