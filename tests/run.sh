#!/usr/bin/env bash
# Runs every test of the project and closes with the names of those that failed and `N passed, N failed`. Needs the
# release build. Whatever hangs is ended and named: a test binary after TEST_SECONDS, everything at TEST_DEADLINE (seconds
# since 1970; three hours from now if nobody says otherwise).
set -uo pipefail
cd "$(dirname "$0")/.."
log=$(mktemp) names=$(mktemp); trap 'bash tests/sweep.sh; rm -f "$log" "$names"' EXIT
deadline=${TEST_DEADLINE:-$(($(date +%s) + 3 * 3600))}
export CARGO_NET_RETRY=${CARGO_NET_RETRY:-10}
status=0

# bounded COMMAND…: shows and keeps what it prints, until the deadline at the latest; at least the start of it is seen.
bounded() {
  local left=$((deadline - $(date +%s)))
  timeout -k 30 $((left > 30 ? left : 30)) "$@" 2>&1 | tee "$log"
}

bounded ${CARGO:-cargo} test --release --workspace --no-fail-fast \
  --config "target.'cfg(all())'.runner = ['bash', '$PWD/tests/bounded.sh']" || status=1
# A test binary that does not compile or dies has no summary line; it shows in the status.
read -r passed failed < <(awk '/^test result:/ { p += $4; f += $6 } END { print p + 0, f + 0 }' "$log")
if [ "$status" != 0 ] && [ "$failed" = 0 ]; then failed=1; fi
# The names, and binaries that did not compile or died.
sed -n -e 's/^test \(.*\) \.\.\. FAILED$/failed: \1/p' -e 's/^error: could not compile/failed: could not compile/p' \
  -e 's/^    `\(-p .*\)`$/failed: in \1/p' "$log" | sort -u > "$names"
if [ "$status" != 0 ] && [ ! -s "$names" ]; then
  echo "failed: cargo test did not end, it was at $(grep -aE '^ +(Running|Compiling|Doc-tests) ' "$log" | tail -n 1 | xargs)" >> "$names"
fi
# Against one broker, and against three with replication factor 3.
for mode in "" --cluster; do
  bounded target/release/suites $mode ${SUITES:-} || status=1
  read -r p f < <(awk '/^suites: / { print $2, $4 }' "$log" | tail -n 1)
  if [ -z "${p:-}" ]; then
    read -r p f < <(awk '/^[a-z_]+: [0-9]+ passed, [0-9]+ failed/ { p += $2; f += $4 } END { print p + 0, f + 1 }' "$log")
    status=1
    echo "failed: the suites $mode did not end: $(sed -n 's/^suite \(.*\) begins$/\1/p' "$log" | tail -n 1)" >> "$names"
  fi
  grep -aP '\t(fail|did not run|.* instead of |.*not in the list)' "$log" | cut -c1-200 | sed "s/^/failed: $mode /" >> "$names"
  passed=$((passed + p)) failed=$((failed + f))
done
[ "$failed" = 0 ] || status=1
# CI prints the closing lines itself, after whatever make has to say.
if [ -n "${SUMMARY:-}" ]; then
  { cat "$names"; echo "$passed passed, $failed failed"; } > "$SUMMARY"
else
  cat "$names"
  echo "$passed passed, $failed failed"
fi
exit $status
