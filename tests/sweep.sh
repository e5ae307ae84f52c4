#!/usr/bin/env bash
# Removes what test processes that were killed left behind: brokers, mounts, folders, network namespaces and cables.
# Names tell whose they are, `millrace-test-PID-…` and `millrace-PIDx…`; what belongs to a process that lives stays.
gone() { [[ $1 =~ ^[0-9]+$ ]] && [ ! -e "/proc/$1" ]; }

for dir in "${MILLRACE_TEST_DIR:-${TMPDIR:-/tmp}}"/millrace-test-*; do
  pid=${dir##*/millrace-test-}
  gone "${pid%%-*}" || continue
  # The path of its data stands in the command line of a broker.
  for broker in $(pgrep -f -- "$dir/"); do kill -9 "$broker"; done
  for mount in $(awk -v dir="$dir/" 'index($2, dir) == 1 { print $2 }' /proc/mounts); do umount -l "$mount"; done
  rm -rf "$dir"
done

command -v ip > /dev/null || exit 0
for space in $(ip netns list 2> /dev/null | awk '/^millrace-/ { print $1 }'); do
  pid=${space#millrace-}
  gone "${pid%%x*}" || continue
  for process in $(ip netns pids "$space"); do kill -9 "$process"; done
  ip netns del "$space"
done
for cable in /sys/class/net/m[bv]*; do
  cable=${cable##*/}
  pid=${cable#m[bv]}
  if gone "${pid%%x*}"; then ip link del "$cable"; fi
done
exit 0
