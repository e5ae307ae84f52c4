#!/usr/bin/env bash
# Kafka's own command line tools.
set -uo pipefail
. "$(dirname "$0")/lib.sh"
mkdir -p "$CACHE/classes/tools" && javac -nowarn -cp "$LIBS/*" -d "$CACHE/classes/tools" "$HERE"/java/Tools.java >&2 || exit 1
[ "${1:-}" = build ] && exit 0
timeout 400 java -Xmx512m -Dlog4j2.configurationFile="$HERE/java/log4j2.properties" -cp "$CACHE/classes/tools:$LIBS/*" Tools 2>>"${RAW_LOG:-/dev/null}" | grep -a '^tools\.'
exit 0
