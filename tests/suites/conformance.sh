#!/usr/bin/env bash
# Every served API in every version, compared with Apache Kafka at REFERENCE_PORT.
set -uo pipefail
. "$(dirname "$0")/lib.sh"
mkdir -p "$CACHE/classes/conformance" && javac -nowarn -cp "$LIBS/*" -d "$CACHE/classes/conformance" "$HERE"/../conformance/src/conformance/*.java >&2 || exit 1
[ "${1:-}" = build ] && exit 0
C=$HERE/../conformance
timeout 1200 java -Xmx512m -Dlog4j2.configurationFile="$HERE/java/log4j2.properties" -cp "$CACHE/classes/conformance:$LIBS/*" conformance.Main "${BROKERS##*:}" "$REFERENCE_PORT" "$C/apis.tsv" "$C/differences.tsv" "$@" 2>>"${RAW_LOG:-/dev/null}"
exit 0
