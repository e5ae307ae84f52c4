#!/usr/bin/env bash
# The tests of the rskafka crate, which has a codec of its own.
set -uo pipefail
. "$(dirname "$0")/lib.sh"
dir=$(crate rskafka 0.6.0) || exit 1
cd "$dir" && export CARGO_TARGET_DIR=$CACHE/target
# The locked rsasl does not compile with current Rust.
[ -f .updated ] || { fetch cargo update -q -p rsasl && : > .updated; } || exit 1
[ "${1:-}" = build ] && { fetch cargo test --no-run --all-features; exit; }
TEST_INTEGRATION=1 TEST_BROKER_IMPL=kafka KAFKA_CONNECT=$BROKERS timeout 400 cargo test --no-fail-fast --all-features --lib --tests 2>&1 | tee "${RAW_LOG:-/dev/null}" | cargo_lines rskafka
exit 0
