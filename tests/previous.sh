#!/usr/bin/env bash
# Builds the broker of the previous commit into the cache folder, once per commit, for the upgrade test.
# Where there is no previous commit (a shallow clone), it says so and does nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${MILLRACE_CACHE:-$HOME/.cache/millrace}/previous
commit=$(git rev-parse --verify --quiet 'HEAD~1^{commit}') || { echo "no previous commit here: nothing to upgrade from"; exit 0; }
[ ! -x "$cache/$commit/millrace-broker" ] || exit 0
mkdir -p "$cache"
if [ -e "$cache/src/.git" ]; then
  git -C "$cache/src" checkout --quiet --detach "$commit"
else
  rm -rf "$cache/src"
  git worktree prune
  git worktree add --quiet --detach "$cache/src" "$commit"
fi
(cd "$cache/src" && CARGO_TARGET_DIR="$cache/target" ${CARGO:-cargo} build --release -p millrace-broker)
mkdir -p "$cache/$commit"
cp "$cache/target/release/millrace-broker" "$cache/$commit/"
