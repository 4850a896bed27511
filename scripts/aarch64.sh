#!/usr/bin/env bash
# Runs the tests of the kernels for aarch64 under qemu: NEON, dot products and all. Prints `skipped: ..` where the
# tools cannot be had.
set -u -o pipefail
cd "$(dirname "$0")/.."
target=aarch64-unknown-linux-gnu

skip() { echo "skipped: aarch64 kernels: $1"; exit 0; }

[ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] || skip "this is not x86-64 Linux"
if ! command -v qemu-aarch64-static > /dev/null || ! command -v aarch64-linux-gnu-gcc > /dev/null; then
    command -v apt-get > /dev/null && [ "$(id -u)" = 0 ] || skip "qemu-aarch64-static or aarch64-linux-gnu-gcc is missing"
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends qemu-user-static gcc-aarch64-linux-gnu libc6-dev-arm64-cross; } \
        > /dev/null 2>&1 || skip "apt-get could not install qemu-user-static and gcc-aarch64-linux-gnu"
fi
command -v rustup > /dev/null || skip "there is no rustup to add the target"
rustup target add "$target" > /dev/null 2>&1 || skip "rustup could not add $target"

export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64-static -L /usr/aarch64-linux-gnu -cpu max"
cargo test --quiet --target "$target" --package ballast-kernels --lib --tests
