#!/usr/bin/env bash
# Runs every test of the project and closes with the names of those that failed and `N passed, N failed`. Needs the
# release build.
set -uo pipefail
cd "$(dirname "$0")/.."
log=$(mktemp) names=$(mktemp); trap 'rm -f "$log" "$names"' EXIT
status=0
${CARGO:-cargo} test --release --workspace --no-fail-fast 2>&1 | tee "$log" || status=1
# A test binary that does not compile or dies has no summary line; it shows in the status.
read -r passed failed < <(awk '/^test result:/ { p += $4; f += $6 } END { print p + 0, f + 0 }' "$log")
if [ "$status" != 0 ] && [ "$failed" = 0 ]; then failed=1; fi
# The names, and binaries that did not compile or died.
sed -n -e 's/^test \(.*\) \.\.\. FAILED$/failed: \1/p' -e 's/^error: could not compile/failed: could not compile/p' \
  -e 's/^    `\(-p .*\)`$/failed: in \1/p' "$log" | sort -u > "$names"
# Against one broker, and against three with replication factor 3.
for mode in "" --cluster; do
  target/release/suites $mode ${SUITES:-} 2>&1 | tee "$log" || status=1
  read -r p f < <(awk '/^suites: / { print $2, $4 }' "$log" | tail -n 1)
  if [ -z "${p:-}" ]; then p=0 f=1 status=1; echo "failed: the suites $mode did not end" >> "$names"; fi
  grep -P '\t(fail|did not run|.* instead of |.*not in the list)' "$log" | cut -c1-200 | sed "s/^/failed: $mode /" >> "$names"
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
