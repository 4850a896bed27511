#!/usr/bin/env bash
# Runs the tests of the kernels for aarch64 under qemu: all of them on a CPU that has every set, and some on CPUs that
# lack i8mm and dotprod, where a set that used more than it says would be killed. Prints `skipped: ..` where the tools
# cannot be had.
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

# Runs tests as on the CPU $1; what follows goes to cargo.
on() {
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64-static -L /usr/aarch64-linux-gnu -cpu $1"
    cargo test --quiet --target "$target" --package ballast-kernels "${@:2}"
}

every_operation=(detect:: extreme_scales same_attention same_bits same_quants)
on max --lib --tests || exit 1
for cpu in cortex-a76 cortex-a53; do
    on "$cpu" --lib --test sets -- "${every_operation[@]}" || exit 1
done
