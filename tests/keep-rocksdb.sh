#!/usr/bin/env bash
# Keeps the RocksDB archive that was just compiled, so that the next clone needs not compile it: keep-rocksdb.sh DIR.
set -euo pipefail
dir=$1
[ ! -e "$dir/librocksdb.a" ] || exit 0
built=$(find target/release/build -path '*librocksdb-sys-*/out/librocksdb.a' | head -n 1)
[ -n "$built" ] || exit 0
mkdir -p "$dir"
# Renamed when it is complete, so that nobody links half an archive.
cp "$built" "$dir/librocksdb.a.$$"
mv "$dir/librocksdb.a.$$" "$dir/librocksdb.a"
