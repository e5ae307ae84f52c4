#!/usr/bin/env bash
# Runs a command that fetches something, again after a pause when it fails: retry.sh COMMAND… One hiccup of the network
# must not fail a whole run, and a download that stands still must not hold it up.
pauses=(5 20 60)
for try in 0 1 2 3; do
  timeout -k 10 "${TRY_SECONDS:-900}" "$@" && exit 0
  status=$?
  [ "$try" = 3 ] && exit "$status"
  echo "retry.sh: $1 failed with $status, again in ${pauses[$try]} s" >&2
  sleep "${pauses[$try]}"
done
