#!/usr/bin/env bash
# Runs one test binary for at most TEST_SECONDS; cargo calls it for each. One that hangs is ended, and the tests that had
# not ended are named as failed.
limit=${TEST_SECONDS:-1200}
log=$(mktemp); trap 'rm -f "$log"' EXIT
timeout -k 20 "$limit" "$@" 2>&1 | tee "$log"
status=${PIPESTATUS[0]}
if [ "$status" = 124 ] || [ "$status" = 137 ]; then
  echo
  failed=0
  # What takes long is named by the binary itself, once.
  while read -r name; do
    grep -qE "^test $name \.\.\. (ok|FAILED|ignored)" "$log" && continue
    failed=$((failed + 1))
    echo "test $name ... FAILED"
  done < <(sed -n 's/^test \(.*\) has been running for over .*/\1/p' "$log" | sort -u)
  [ "$failed" -gt 0 ] || { failed=1; echo "test $(basename "$1") as a whole ... FAILED"; }
  echo "test result: FAILED. $(grep -cE '^test .* \.\.\. ok$' "$log") passed; $failed failed; ended after $limit s"
fi
exit "$status"
