#!/usr/bin/env bash
# A program on segmentio/kafka-go.
set -uo pipefail
. "$(dirname "$0")/lib.sh"
mkdir -p "$CACHE/bin" && (cd "$HERE/go" && fetch go build -o "$CACHE/bin/kafka-go-suite" .) >&2 || exit 1
[ "${1:-}" = build ] && exit 0
timeout 240 "$CACHE/bin/kafka-go-suite" 2>>"${RAW_LOG:-/dev/null}"
exit 0
