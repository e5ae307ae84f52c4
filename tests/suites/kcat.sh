#!/usr/bin/env bash
# What a person does with kcat (an old client: librdkafka 2.0).
set -uo pipefail
. "$(dirname "$0")/lib.sh"
[ "${1:-}" = build ] && exit 0
TOPIC=kcat-$$-$RANDOM
D=$(mktemp -d); trap 'rm -rf "$D"' EXIT
step() { # step NAME COMMAND...: passes when the command succeeds
  local name=$1 out; shift
  if out=$("$@" 2>&1); then printf 'kcat.%s\tpass\t\n' "$name"
  else printf 'kcat.%s\tfail\t%s\n' "$name" "$(printf %s "$out" | tail -c 300 | tr '\n\t' '  ')"; fi
}
# One that waits for ever fails.
kcat() { timeout 60 kcat "$@"; }
# known TOPIC: waits until every broker has heard of it.
known() {
  for b in ${BROKERS//,/ }; do
    for _ in $(seq 300); do kcat -b "$b" -L -t "$1" | grep -q 'with [1-9][0-9]* partitions' && break; sleep 0.1; done
  done
}
for i in $(seq 100); do echo "key-$i:value-$i"; done > "$D/in"
metadata() { [ "$(kcat -b "$BROKERS" -L | grep -oP 'broker \K\d+(?= at)' | sort -n | paste -sd,)" = "$IDS" ]; }
produce() { kcat -b "$BROKERS" -t "$TOPIC" -P -K: -X acks=all -z "$1" -l "$D/in" && known "$TOPIC"; }
consume() { kcat -b "$BROKERS" -t "$TOPIC" -C -o beginning -e -q -K: | sort -u | diff -q - <(sort "$D/in"); }
group() { kcat -b "$BROKERS" -G "$TOPIC-g" -X auto.offset.reset=earliest -c 500 -q "$TOPIC" | wc -l | grep -qx 500; }
tail_offset() { [ "$(kcat -b "$BROKERS" -t "$TOPIC" -p 0 -C -o -1 -e -q | wc -l)" = 1 ]; }
query() { kcat -b "$BROKERS" -Q -t "$TOPIC:0:-1" | grep -q 'offset [1-9]'; }
headers() { echo v | kcat -b "$BROKERS" -t "$TOPIC-h" -P -H a=1 -H a=2 && known "$TOPIC-h" && kcat -b "$BROKERS" -t "$TOPIC-h" -C -e -q -o beginning -f '%h\n' | grep -qx 'a=1,a=2'; }
idempotent() { kcat -b "$BROKERS" -t "$TOPIC-i" -P -X enable.idempotence=true -l "$D/in" && known "$TOPIC-i" && [ "$(kcat -b "$BROKERS" -t "$TOPIC-i" -C -e -q -o beginning | wc -l)" = 100 ]; }
step metadata metadata
for codec in none gzip snappy lz4 zstd; do step "produce_$codec" produce $codec; done
step consume consume
step group group
step tail_offset tail_offset
step query query
step headers headers
step idempotent idempotent
