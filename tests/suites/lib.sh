# What the suite scripts share. Sourced; needs BROKERS (host:port, with commas), and takes RF, the replication factor,
# and IDS, the ids of all brokers with commas.
export RF=${RF:-1} IDS=${IDS:-0}
CACHE=${MILLRACE_CACHE:-$HOME/.cache/millrace}
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
LIBS=$CACHE/kafka-4.3.1/libs
export CARGO_NET_RETRY=${CARGO_NET_RETRY:-10}

# fetch COMMAND…: with some more attempts.
fetch() { bash "$HERE/../retry.sh" "$@"; }

# crate NAME VERSION: a copy of a published crate with its tests, in the cache folder.
crate() {
  local dir=$CACHE/crates/$1-$2 probe=$CACHE/crates/probe-$1
  if [ ! -f "$dir/Cargo.toml" ]; then
    mkdir -p "$probe/src" && : > "$probe/src/lib.rs"
    printf '[package]\nname = "probe"\nversion = "0.0.0"\nedition = "2021"\n[dependencies]\n%s = "=%s"\n[workspace]\n' "$1" "$2" > "$probe/Cargo.toml"
    (cd "$probe" && fetch cargo fetch >&2) || return 1
    rm -rf "$dir.part" && cp -r "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/"$1-$2" "$dir.part" || return 1
    rm -f "$dir.part/rust-toolchain.toml" && mv "$dir.part" "$dir" || return 1
  fi
  echo "$dir"
}

# Turns `test x ... ok` of cargo test into lines. Tests of several binaries may have one name.
cargo_lines() {
  awk -v suite="$1" '
    /^ +Running |^   Doc-tests/ { bin = $2; if (bin == "unittests") bin = $3; sub(/^tests\//, "", bin); sub(/\.rs$/, "", bin); if ($1 == "Doc-tests") bin = "doc" }
    /^test .* \.\.\. / {
      name = $0; sub(/^test /, "", name); sub(/ \.\.\. .*$/, "", name); sub(/ - should panic$/, "", name); sub(/ \(line [0-9]+\)/, "", name); gsub(/[ \t]+/, " ", name)
      r = $NF; if ($0 ~ /\.\.\. ignored/) r = "skip"; else r = (r == "ok") ? "pass" : "fail"
      print suite "." bin "." name "\t" r "\t"
    }'
}
