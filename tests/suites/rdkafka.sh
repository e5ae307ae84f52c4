#!/usr/bin/env bash
# The tests of the rdkafka crate (librdkafka 2.12). Some of them take the broker at port 9092 with id 0 and 3 partitions for granted.
set -uo pipefail
. "$(dirname "$0")/lib.sh"
dir=$(crate rdkafka 0.39.0) || exit 1
cd "$dir" && export CARGO_TARGET_DIR=$CACHE/target
[ "${1:-}" = build ] && { fetch cargo test --no-run --test 'test_*'; exit; }
KAFKA_HOST=$BROKERS KAFKA_VERSION=4.0.0 RUST_LOG=off timeout 400 cargo test --no-fail-fast --test 'test_*' -- --test-threads=4 2>&1 | tee "${RAW_LOG:-/dev/null}" | cargo_lines rdkafka
exit 0
