#!/usr/bin/env bash
# Fuzzes each target for some seconds: fuzz.sh SECONDS TARGET… One line for each; what a target printed is shown only
# when it fails, and only its end.
set -uo pipefail
cd "$(dirname "$0")/.."
seconds=$1; shift
log=$(mktemp); trap 'rm -f "$log"' EXIT
for target in "$@"; do
  if RUSTC_BOOTSTRAP=1 ${CARGO:-cargo} fuzz run --fuzz-dir tests/fuzz -s none "$target" -- \
      -max_total_time="$seconds" -rss_limit_mb=2048 > "$log" 2>&1; then
    echo "fuzz $target: ok, $(grep -o '^Done [0-9]* runs' "$log" | tail -n 1)"
  else
    tail -n 60 "$log"
    echo "fuzz $target: failed"
    exit 1
  fi
done
