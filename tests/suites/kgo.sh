#!/usr/bin/env bash
# The tests of franz-go's pkg/kgo.
set -uo pipefail
. "$(dirname "$0")/lib.sh"
VERSION=v1.22.2
dir=$CACHE/franz-go-$VERSION
if [ ! -d "$dir" ]; then
  rm -rf "$dir.part"
  from=$(cd "$CACHE" && fetch go mod download -json github.com/twmb/franz-go@$VERSION | sed -n 's/.*"Dir": "\(.*\)".*/\1/p') && cp -r "$from" "$dir.part" && chmod -R u+w "$dir.part" && mv "$dir.part" "$dir" || exit 1
fi
cd "$dir/pkg/kgo" || exit 1
[ -x "$dir/kgo.test" ] || fetch go test -c -o "$dir/kgo.test" . >&2 || exit 1
[ "${1:-}" = build ] && exit 0
# Tests that never end without transactions.
NOT_YET=TestTxnEtl
printf 'kgo.%s\tskip\t\n' "$NOT_YET"
KGO_SEEDS=$BROKERS KGO_TEST_RF=$RF KGO_TEST_RECORDS=${KGO_TEST_RECORDS:-50000} KGO_TEST_UNSAFE=1 KGO_LOG_LEVEL=none \
  timeout "${KGO_LIMIT:-420}" "$dir/kgo.test" -test.skip "^($NOT_YET)\$" -test.v -test.timeout "${KGO_LIMIT:-420}s" 2>&1 | tee "${RAW_LOG:-/dev/null}" |
  awk '/^ *--- (PASS|FAIL|SKIP): / { r = tolower($2); sub(":", "", r); print "kgo." $3 "\t" r "\t" }'
exit 0
