#!/usr/bin/env bash
# Programs on confluent-kafka, kafka-python and aiokafka.
set -uo pipefail
. "$(dirname "$0")/lib.sh"
py=$CACHE/py/bin/python
if ! cmp -s "$HERE/python/requirements.txt" "$CACHE/py/requirements.txt"; then
  python3 -m venv "$CACHE/py" && fetch "$CACHE/py/bin/pip" -q install -r "$HERE/python/requirements.txt" >&2 && cp "$HERE/python/requirements.txt" "$CACHE/py/" || exit 1
fi
[ "${1:-}" = build ] && exit 0
for program in confluent kafka_python aio; do PYTHONDONTWRITEBYTECODE=1 timeout 240 "$py" "$HERE/python/$program.py" 2>>"${RAW_LOG:-/dev/null}"; done
exit 0
