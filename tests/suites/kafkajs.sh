#!/usr/bin/env bash
# A program on kafkajs.
set -uo pipefail
. "$(dirname "$0")/lib.sh"
mkdir -p "$CACHE/node" && cp "$HERE/node/package.json" "$CACHE/node/" || exit 1
[ -d "$CACHE/node/node_modules/kafkajs" ] || (cd "$CACHE/node" && fetch npm install --no-audit --no-fund >&2) || exit 1
[ "${1:-}" = build ] && exit 0
NODE_PATH=$CACHE/node/node_modules KAFKAJS_NO_PARTITIONER_WARNING=1 timeout 180 node "$HERE/node/kafkajs.js" 2>>"${RAW_LOG:-/dev/null}"
exit 0
