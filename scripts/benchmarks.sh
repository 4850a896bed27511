#!/usr/bin/env bash
# Writes docs/BENCHMARKS.md: `ballast bench` beside a peer, in interleaved rounds, for every model file given.
#
#     scripts/benchmarks.sh PATH-TO-llama-bench MODEL.gguf..
set -eu -o pipefail
cd "$(dirname "$0")/.."
peer=$1
shift
cargo build --release --quiet
ballast=${CARGO_TARGET_DIR:-target}/release/ballast
out=docs/BENCHMARKS.md
{
    cat <<'TEXT'
# Benchmarks

Printed by `scripts/benchmarks.sh`; no figure here is typed by hand. Every round is a fresh process, ours and the
peer's in turn. A ratio above 1 is more of the thing: good for tokens per second, bad for time and memory. What a
program does not report is "not measured". The machine is shared with others: the spread shows how much.

TEXT
    echo "Commit $(git rev-parse --short HEAD), $(rustc --version | cut -d ' ' -f 1,2), $(uname -sr), $(date -u +%Y-%m-%d)."
    for model in "$@"; do
        printf '\n## %s\n\n' "$(basename "$model" .gguf)"
        printf '    ballast bench MODEL --peer llama-bench --rounds 5 --format markdown\n\n'
        "$ballast" bench "$model" --peer "$peer" --rounds 5 --format markdown
    done
} > "$out.new"
mv "$out.new" "$out"
