#!/usr/bin/env bash
# Builds the broker of an earlier commit into the cache folder, once per commit, for the upgrade test: the one before
# HEAD, or PREVIOUS=<commit>. Prints its path on standard output. The RocksDB archive that the Makefile keeps is linked
# if it is that commit's. Where there is no earlier commit (a shallow clone), it says so and prints nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
root=${MILLRACE_CACHE:-$HOME/.cache/millrace}
cache=$root/previous
commit=$(git rev-parse --verify --quiet "${PREVIOUS:-HEAD~1}^{commit}") || {
  if [ -n "${PREVIOUS:-}" ]; then echo "PREVIOUS=$PREVIOUS is no commit of this clone" >&2; exit 1; fi
  echo "no earlier commit here: nothing to upgrade from" >&2
  exit 0
}
mkdir -p "$cache/$commit"
built=$cache/$commit/millrace-broker
# Clones that share the cache build one after the other.
exec 9> "$cache/lock"
flock 9
if [ ! -x "$built" ]; then
  rm -rf "$cache/src"
  mkdir "$cache/src"
  # With the time of now: by the commit's, cargo would take what is older than its last build for built.
  git archive "$commit" | tar -x -m -C "$cache/src"
  (
    cd "$cache/src"
    version=$(sed -n '/^name = "librocksdb-sys"/{n;s/.*"\(.*\)"/\1/p}' Cargo.lock)
    kept=$root/rocksdb-$version-$(cat .cargo/config.toml .cargo/cxx | sha256sum | cut -c1-12)
    unset ROCKSDB_LIB_DIR ROCKSDB_STATIC
    [ ! -e "$kept/librocksdb.a" ] || export ROCKSDB_LIB_DIR=$kept ROCKSDB_STATIC=1
    CARGO_TARGET_DIR="$cache/target" ${CARGO:-cargo} build --release -p millrace-broker >&2
  )
  cp "$cache/target/release/millrace-broker" "$built.part"
  mv "$built.part" "$built"
fi
echo "$built"
