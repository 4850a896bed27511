#!/usr/bin/env bash
# Writes docs/SOAK.md: what an hour of load, of readers that leave and of faults found on the real model.
#
#     scripts/soak.sh MODEL.gguf [MINUTES]
set -eu -o pipefail
cd "$(dirname "$0")/.."
model=$1
flags="--rps 2 --minutes ${2:-60} --faults 0.2 --ctx-size 2048 --kv-size 4096 --parallel 8"
cargo build --release --quiet --package ballast-cli
out=docs/SOAK.md

{
    printf '# Soak\n\nPrinted by `scripts/soak.sh`; no figure here is typed by hand. The machine is shared with others.\n\n'
    echo "Commit $(git rev-parse --short HEAD), $(rustc --version | cut -d ' ' -f 1,2), $(uname -sr), $(date -u +%Y-%m-%d), $(nproc) CPUs, load $(cut -d ' ' -f 1 /proc/loadavg)."
    printf '\n    ballast soak MODEL %s\n\n```text\n' "$flags"
    # shellcheck disable=SC2086
    "${CARGO_TARGET_DIR:-target}/release/ballast" soak "$model" $flags 2> /dev/null || echo "exit code $?"
    printf '```\n'
} > "$out.new"
mv "$out.new" "$out"
