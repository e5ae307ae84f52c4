#!/usr/bin/env bash
# Installs what build and tests need and is missing, on Debian 12.
set -euo pipefail
need=()
want() { command -v "$1" > /dev/null || need+=("${@:2}"); }
want clang clang
want cmake cmake
want ccache ccache
want make make
want g++ g++
want pkg-config pkg-config
want kcat kcat
want java openjdk-17-jdk-headless
want javac openjdk-17-jdk-headless
want mvn maven
want node nodejs
want npm npm
want python3 python3 python3-venv
want git git
want go golang-go
want ip iproute2
want nft nftables
# bindgen wants the library beside the compiler.
ls /usr/lib/llvm-*/lib/libclang*.so* /usr/lib/*/libclang*.so* > /dev/null 2>&1 || need+=(libclang-dev)
[ -e /usr/include/zlib.h ] || need+=(zlib1g-dev)
if [ ${#need[@]} -gt 0 ]; then
  echo "installing: ${need[*]}"
  [ "$(id -u)" = 0 ] || { echo "run this as root, or install them yourself" >&2; exit 1; }
  export DEBIAN_FRONTEND=noninteractive
  bash "$(dirname "$0")/retry.sh" apt-get update -q
  bash "$(dirname "$0")/retry.sh" apt-get install -q -y --no-install-recommends "${need[@]}"
fi
command -v cargo > /dev/null || { echo "Rust 1.95 or newer is needed (cargo was not found)" >&2; exit 1; }
